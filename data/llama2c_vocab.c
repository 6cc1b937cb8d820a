#include "data/llama2c_vocab.h"

#include "data/bytes.h"

#include <stdlib.h>
#include <string.h>

/* Protocol buffer fields of sentencepiece_model.proto, tag = number << 3 | wire type. */
enum {
  MODEL_PIECE = 0x0a,
  MODEL_TRAINER = 0x12,
  MODEL_NORMALIZER = 0x1a,
  PIECE_TEXT = 0x0a,
  PIECE_SCORE = 0x15,
  PIECE_TYPE = 0x18,
  TYPE_UNKNOWN = 2,
  TYPE_CONTROL = 3,
  TYPE_BYTE = 6,
};

/* Trainer: BPE with byte fallback. Normaliser: identity, dummy prefix, blanks kept and escaped. */
static const uint8_t trainer[] = {0x18, 2, 0x98, 0x02, 1};
static const uint8_t normalizer[] = {0x0a, 8,   'i',  'd', 'e',  'n', 't',  'i',
                                     't',  'y', 0x18, 1,   0x20, 0,   0x28, 1};

static uint8_t *put_varint(uint8_t *p, size_t x) {
  for (; x >= 0x80; x >>= 7)
    *p++ = (uint8_t)(x | 0x80);
  *p++ = (uint8_t)x;
  return p;
}
static uint8_t *put_field(uint8_t *p, uint8_t tag, const void *bytes, size_t n) {
  *p++ = tag;
  p = put_varint(p, n);
  memcpy(p, bytes, n);
  return p + n;
}

/* The piece as SentencePiece had it; returns its length. */
static size_t original(int64_t id, const char *text, size_t n, char *out, uint8_t *type) {
  static const char *const names[] = {"<unk>", "<s>", "</s>"};
  size_t len = 0;
  *type = 0;
  if (id < 3) {
    *type = id == 0 ? TYPE_UNKNOWN : TYPE_CONTROL;
    len = strlen(names[id]);
    memcpy(out, names[id], len);
    return len;
  }
  if (n == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>')
    *type = TYPE_BYTE;
  for (size_t i = 0; i < n; i++) {
    memcpy(out + len, text[i] == ' ' ? "\xe2\x96\x81" : text + i, text[i] == ' ' ? 3 : 1);
    len += text[i] == ' ' ? 3 : 1;
  }
  return len;
}

/* Writes the model for the pieces in [in, end); NULL when they are damaged. `scratch` has room for
 * three times the file. */
static uint8_t *convert(const char *in, const char *end, char *scratch, uint8_t *out) {
  for (int64_t id = 0; in < end; id++) {
    int32_t n;
    uint8_t piece[32], *p = piece, type;
    if (end - in < 8)
      return NULL;
    memcpy(&n, in + 4, sizeof n);
    if (n < 0 || n > end - in - 8)
      return NULL;
    const size_t len = original(id, in + 8, (size_t)n, scratch, &type);
    *p++ = PIECE_SCORE;
    memcpy(p, in, 4);
    p += 4;
    if (type != 0) {
      *p++ = PIECE_TYPE;
      *p++ = type;
    }
    uint8_t head[16], *h = head;
    *h++ = PIECE_TEXT;
    h = put_varint(h, len);
    *out++ = MODEL_PIECE;
    out = put_varint(out, (size_t)(h - head) + len + (size_t)(p - piece));
    memcpy(out, head, (size_t)(h - head));
    out += h - head;
    memcpy(out, scratch, len);
    out += len;
    memcpy(out, piece, (size_t)(p - piece));
    out += p - piece;
    in += 8 + n;
  }
  out = put_field(out, MODEL_TRAINER, trainer, sizeof trainer);
  return put_field(out, MODEL_NORMALIZER, normalizer, sizeof normalizer);
}

lrl_status lrl_llama2c_vocab(const char *path, void **bytes, size_t *size) {
  char *file;
  size_t n;
  int32_t longest;
  *bytes = NULL;
  LRL_TRY(lrl_file_read_raw(path, &file, &n));
  char *scratch = malloc(3 * n + 1);
  uint8_t *out = malloc(6 * n + 64), *end = NULL; /* 8 bytes of a piece become at most 28 */
  lrl_status status = LRL_OK;
  if (scratch == NULL || out == NULL)
    status = LRL_FAIL(LRL_ERR_MEMORY, "no memory to read %s", path);
  else if (n > 4 + 3 * 8)
    end = convert(file + 4, file + n, scratch, out);
  memcpy(&longest, n >= 4 ? file : "\0\0\0", 4);
  if (status == LRL_OK && (end == NULL || longest < 1 || (size_t)longest > n))
    status = LRL_FAIL(LRL_ERR_FORMAT, "%s is no tokenizer file of llama2.c, or damaged", path);
  free(file);
  free(scratch);
  if (status != LRL_OK) {
    free(out);
    return status;
  }
  *bytes = out;
  *size = (size_t)(end - out);
  return LRL_OK;
}
