/* Validation of model files. libsentencepiece rejects most damage by itself, but walks the
 * normaliser's double-array trie (darts-clone layout) without bounds checks, so that trie is
 * checked here. */
#include "data/spm.h"

#include <string.h>

struct view {
  const uint8_t *p, *end;
};

static bool read_varint(struct view *v, uint64_t *out) {
  *out = 0;
  for (int shift = 0; shift < 64 && v->p < v->end; shift += 7) {
    uint8_t b = *v->p++;
    *out |= (uint64_t)(b & 0x7f) << shift;
    if (b < 0x80)
      return true;
  }
  return false;
}

/* Reads one field; `body` is its payload when the wire type is 2 (length-delimited), else empty. */
static bool read_field(struct view *v, uint64_t *number, struct view *body) {
  uint64_t tag, skip;
  *body = (struct view){v->p, v->p};
  if (!read_varint(v, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
    return false;
  *number = tag >> 3;
  switch (tag & 7) {
  case 0:
    return read_varint(v, &skip);
  case 1:
    skip = 8;
    break;
  case 2:
    if (!read_varint(v, &skip))
      return false;
    break;
  case 5:
    skip = 4;
    break;
  default: /* groups are not used by this format */
    return false;
  }
  if (skip > (uint64_t)(v->end - v->p))
    return false;
  if ((tag & 7) == 2)
    *body = (struct view){v->p, v->p + skip};
  v->p += skip;
  return true;
}

static uint32_t unit_at(const uint8_t *trie, uint64_t i) {
  uint32_t u;
  memcpy(&u, trie + 4 * i, sizeof u);
  return u;
}

/* charsmap = u32 size of the trie, the trie's u32 units, then zero-terminated replacement strings.
 * Every child block a unit leads to must lie inside, and every value must point at a string. */
static bool charsmap_is_safe(struct view v) {
  uint64_t total = (uint64_t)(v.end - v.p);
  if (total == 0)
    return true;
  if (total < 8)
    return false;
  uint64_t trie_size = unit_at(v.p, 0), n = trie_size / 4;
  if (trie_size % 4 != 0 || n == 0 || trie_size >= total - 4 || v.end[-1] != 0)
    return false;
  const uint8_t *trie = v.p + 4;
  uint64_t n_strings = total - 4 - trie_size;
  for (uint64_t i = 0; i < n; i++) {
    uint32_t u = unit_at(trie, i);
    if (u >> 31) /* a value, never stepped through */
      continue;
    uint64_t base = i ^ ((uint64_t)(u >> 10) << ((u & 0x200) >> 6));
    if ((base | 0xff) >= n)
      return false;
    if ((u & 0x100) && (unit_at(trie, base) & 0x7fffffff) >= n_strings)
      return false;
  }
  return true;
}

static lrl_status check_normalizer(struct view v, const char *name) {
  uint64_t number;
  struct view body;
  while (v.p < v.end) {
    if (!read_field(&v, &number, &body))
      return LRL_FAIL(LRL_ERR_FORMAT, "%s: the normaliser section is damaged", name);
    if (number == 2 && !charsmap_is_safe(body))
      return LRL_FAIL(LRL_ERR_FORMAT, "%s: the normaliser's character map is damaged", name);
  }
  return LRL_OK;
}

lrl_status lrl_spm_check(const void *bytes, size_t size, const char *name) {
  enum { FIELD_PIECES = 1, FIELD_NORMALIZER = 3, FIELD_DENORMALIZER = 5 };
  if (size == 0 || size > INT32_MAX)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s is not a SentencePiece model: it has %zu bytes", name,
                    size);
  struct view v = {bytes, (const uint8_t *)bytes + size}, body;
  uint64_t number;
  int64_t n_pieces = 0;
  while (v.p < v.end) {
    if (!read_field(&v, &number, &body))
      return LRL_FAIL(LRL_ERR_FORMAT, "%s is not a SentencePiece model, or is cut off or damaged",
                      name);
    n_pieces += number == FIELD_PIECES;
    if (number == FIELD_NORMALIZER || number == FIELD_DENORMALIZER)
      LRL_TRY(check_normalizer(body, name));
  }
  if (n_pieces == 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s is not a SentencePiece model: it has no pieces", name);
  return LRL_OK;
}
