#include "model/kv_cache.h"

#include <string.h>

static int64_t page_elements(const struct lrl_decoder_config *c) {
  return c->num_key_value_heads * lrl_kv_head_size(c->rope.head_dim);
}

int64_t lrl_kv_page_bytes(const struct lrl_decoder_config *c, lrl_dtype dtype) {
  return 2 * c->num_hidden_layers * page_elements(c) * lrl_dtype_bytes(dtype);
}

lrl_status lrl_kv_cache_init(struct lrl_kv_cache *cache, const struct lrl_decoder_config *c,
                             lrl_dtype dtype, int64_t n_pages, struct lrl_arena *arena) {
  const size_t half = (size_t)(n_pages * lrl_kv_page_bytes(c, dtype) / 2);
  if (n_pages < 1 || n_pages > INT32_MAX / LRL_KV_PAGE)
    return LRL_FAIL(LRL_ERR_ARG, "a key/value cache cannot have %lld pages", (long long)n_pages);
  *cache = (struct lrl_kv_cache){.n_layers = c->num_hidden_layers,
                                 .n_kv_heads = c->num_key_value_heads,
                                 .head_dim = c->rope.head_dim,
                                 .n_pages = n_pages,
                                 .dtype = dtype};
  cache->k = lrl_arena_alloc(arena, half);
  cache->v = lrl_arena_alloc(arena, half);
  cache->refs = lrl_arena_host(arena, (size_t)n_pages * sizeof *cache->refs);
  cache->free = lrl_arena_host(arena, (size_t)n_pages * sizeof *cache->free);
  if (cache->k == NULL || cache->v == NULL || cache->refs == NULL || cache->free == NULL)
    return LRL_ERR_MEMORY;
  memset(cache->refs, 0, (size_t)n_pages * sizeof *cache->refs);
  cache->n_free = n_pages;
  for (int64_t i = 0; i < n_pages; i++)
    cache->free[i] = (int32_t)(n_pages - 1 - i); /* page 0 goes first */
  return LRL_OK;
}

static int64_t layer_page_bytes(const struct lrl_kv_cache *c) {
  return c->n_kv_heads * lrl_kv_head_size(c->head_dim) * lrl_dtype_bytes(c->dtype);
}

/* Slots that were not written must hold finite values (kernels/kv_page.h). */
static int32_t take_page(struct lrl_ctx *ctx, struct lrl_kv_cache *c) {
  const int32_t page = c->free[--c->n_free];
  const int64_t bytes = layer_page_bytes(c);
  c->refs[page] = 1;
  for (int64_t l = 0; l < c->n_layers; l++) {
    lrl_zero(ctx, c->k + (l * c->n_pages + page) * bytes, (size_t)bytes);
    lrl_zero(ctx, c->v + (l * c->n_pages + page) * bytes, (size_t)bytes);
  }
  return page;
}

/* Makes room for n more tokens and says where they go. */
static lrl_status append(struct lrl_ctx *ctx, struct lrl_kv_cache *cache, struct lrl_kv_seq *seq,
                         int64_t n, int32_t *slot) {
  int64_t room = 0;
  if (seq->n_pages > 0 && !seq->sealed)
    room = LRL_KV_PAGE - seq->used[seq->n_pages - 1];
  const int64_t pages = n > room ? lrl_kv_pages_for(n - room) : 0;
  if (seq->n_pages + pages > seq->max_pages)
    return LRL_FAIL(LRL_ERR_ARG, "a sequence of %lld tokens needs more than its %lld pages",
                    (long long)(seq->length + n), (long long)seq->max_pages);
  if (pages > cache->n_free)
    return LRL_FAIL(LRL_ERR_MEMORY, "the key/value cache is full: %lld pages wanted, %lld free",
                    (long long)pages, (long long)cache->n_free);
  for (int64_t i = 0; i < n; i++) {
    if (room == 0) {
      seq->page[seq->n_pages] = take_page(ctx, cache);
      seq->used[seq->n_pages++] = 0;
      seq->sealed = false;
      room = LRL_KV_PAGE;
    }
    slot[i] = seq->page[seq->n_pages - 1] * LRL_KV_PAGE + seq->used[seq->n_pages - 1]++;
    room--;
  }
  seq->length += n;
  return LRL_OK;
}

lrl_status lrl_kv_fork(struct lrl_kv_cache *cache, struct lrl_kv_seq *parent,
                       struct lrl_kv_seq *child) {
  if (parent->n_pages > child->max_pages)
    return LRL_FAIL(LRL_ERR_ARG,
                    "a prompt of %lld tokens needs more than the %lld pages of a sample",
                    (long long)parent->length, (long long)child->max_pages);
  parent->sealed = child->sealed = true;
  child->n_pages = parent->n_pages;
  child->length = parent->length;
  for (int64_t i = 0; i < parent->n_pages; i++) {
    child->page[i] = parent->page[i];
    child->used[i] = parent->used[i];
    cache->refs[parent->page[i]]++;
  }
  return LRL_OK;
}

void lrl_kv_release(struct lrl_kv_cache *cache, struct lrl_kv_seq *seq) {
  for (int64_t i = 0; i < seq->n_pages; i++) {
    const int32_t page = seq->page[i];
    LRL_ASSERT(cache->refs[page] > 0);
    if (--cache->refs[page] == 0)
      cache->free[cache->n_free++] = page;
  }
  seq->n_pages = seq->length = 0;
  seq->sealed = false;
}

struct lrl_kv_view lrl_kv_layer(const struct lrl_kv_step *step, int64_t layer) {
  const struct lrl_kv_cache *c = step->cache;
  const int64_t at = layer * c->n_pages * layer_page_bytes(c);
  return (struct lrl_kv_view){.n_pages = c->n_pages,
                              .k_pages = c->k + at,
                              .v_pages = c->v + at,
                              .slot = step->slot,
                              .page_start = step->page_start,
                              .page = step->page,
                              .used = step->used};
}

/* The pages of a sequence up to its first `length` tokens. Returns their number. */
static int32_t list_pages(const struct lrl_kv_seq *seq, int64_t length, int32_t *page,
                          int32_t *used) {
  int32_t n = 0;
  for (int64_t left = length; left > 0; n++) {
    page[n] = seq->page[n];
    used[n] = seq->used[n] < left ? seq->used[n] : (int32_t)left;
    left -= used[n];
  }
  return n;
}

lrl_status lrl_kv_pass(struct lrl_tape *tape, struct lrl_kv_cache *cache,
                       struct lrl_kv_seq *const *seq, int64_t n_seqs, const int32_t *n_new,
                       struct lrl_decoder_input *in) {
  int64_t tokens = 0, listed = 0;
  bool prefill = true;
  for (int64_t s = 0; s < n_seqs; s++) {
    tokens += n_new[s];
    listed += n_new[s] * (seq[s]->n_pages + 1 + lrl_kv_pages_for(n_new[s]));
    prefill = prefill && seq[s]->length == 0;
  }
  struct lrl_layout *layout = lrl_tape_host(tape, sizeof *layout);
  struct lrl_kv_step *step = lrl_tape_host(tape, sizeof *step);
  int32_t *start = lrl_tape_host(tape, (size_t)n_seqs * 3 * sizeof *start);
  int32_t *slot = lrl_tape_host(tape, (size_t)tokens * sizeof *slot);
  /* So much that what is allocated next mostly stays where it was. */
  listed = prefill ? 0 : 512 * lrl_kv_room((listed + 511) / 512);
  int32_t *page_start = lrl_tape_host(tape, (size_t)(tokens + 1) * sizeof *page_start);
  int32_t *page = lrl_tape_host(tape, (size_t)listed * 2 * sizeof *page), *used = page + listed;
  if (tape->status != LRL_OK)
    return tape->status;
  int32_t *length = start + n_seqs, *first = length + n_seqs, at = 0, n_listed = 0;
  for (int64_t s = 0; s < n_seqs; s++) {
    start[s] = at;
    length[s] = n_new[s];
    first[s] = (int32_t)seq[s]->length;
    LRL_TRY(append(tape->ctx, cache, seq[s], n_new[s], slot + at));
    for (int32_t i = 0; i < n_new[s] && !prefill; i++) {
      page_start[at + i] = n_listed;
      n_listed += list_pages(seq[s], first[s] + i + 1, page + n_listed, used + n_listed);
    }
    at += n_new[s];
  }
  page_start[at] = n_listed;
  *layout = (struct lrl_layout){tokens, n_seqs, start, length, NULL, first};
  *step = (struct lrl_kv_step){.cache = cache, .slot = slot};
  if (!prefill) {
    step->page_start = page_start;
    step->page = page;
    step->used = used;
  }
  in->layout = layout;
  in->kv = step;
  return LRL_OK;
}
