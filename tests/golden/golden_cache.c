/* A5: decoding with a key/value cache against the official past_key_values. */
#include "model/kv_cache.h"
#include "tests/golden/decoder_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Largest difference of a cached sequence to past_key.i and past_value.i [B, kv heads, T, d]. */
static double compare_cache(struct decoder_case *d, const struct lrl_kv_cache *cache,
                            const int32_t *slot, int64_t total) {
  double worst = 0;
  const int64_t hk = cache->n_kv_heads, dim = cache->head_dim;
  for (int64_t l = 0; l < cache->n_layers; l++) {
    struct lrl_kv_view view = lrl_kv_layer(&(struct lrl_kv_step){.cache = cache}, l);
    char path[2][64];
    struct g5_array want[2];
    snprintf(path[0], sizeof path[0], "/outputs/past_key.%d", (int)l);
    snprintf(path[1], sizeof path[1], "/outputs/past_value.%d", (int)l);
    for (int part = 0; part < 2; part++) {
      if (!g5_read_f32(&d->file, path[part], &want[part]))
        continue;
      const float *pages = part == 0 ? view.k_pages : view.v_pages;
      if (want[part].n != d->batch * hk * total * dim)
        worst = INFINITY;
      for (int64_t i = 0; i < want[part].n && worst < INFINITY; i++) {
        const int64_t b = i / (hk * total * dim), h = i / (total * dim) % hk, t = i / dim % total,
                      at = slot[b * total + t];
        const int64_t head = (at / LRL_KV_PAGE * hk + h) * lrl_kv_head_size(dim);
        const int64_t in = part == 0 ? lrl_kv_key_at(LRL_F32, dim, at % LRL_KV_PAGE, i % dim)
                                     : lrl_kv_value_at(LRL_F32, at % LRL_KV_PAGE, i % dim);
        const double e = fabs((double)pages[head + in] - (double)want[part].f32[i]);
        worst = e > worst || isnan(e) ? (isnan(e) ? INFINITY : e) : worst;
      }
      g5_free(&want[part]);
    }
  }
  return worst;
}

/* Logits [B, v] of the last of the tokens [from, to) of every row, attending to the cache. */
static lrl_status cached_pass(struct decoder_case *d, struct lrl_tape *tape,
                              struct lrl_kv_cache *cache, struct lrl_kv_seq **seq, int64_t from,
                              int64_t to, int32_t *slot, struct lrl_tensor **logits) {
  const int64_t n = to - from, w = d->decoder.cfg.hidden_size;
  int32_t *n_new = lrl_tape_alloc(tape, (size_t)d->batch * sizeof *n_new);
  int32_t *last = lrl_tape_alloc(tape, (size_t)d->batch * sizeof *last);
  int32_t *ids = lrl_tape_alloc(tape, (size_t)(d->batch * n) * sizeof *ids);
  int32_t *image_rows = lrl_tape_alloc(tape, (size_t)(d->batch * n) * sizeof *image_rows);
  struct lrl_tensor *images = lrl_tensor_new(tape, LRL_F32, d->batch * n, w);
  struct lrl_decoder_input in = {.ids = ids, .image_rows = image_rows};
  LRL_TRY(tape->status);
  for (int64_t c = 0, image = 0; c < d->batch * d->width; image += d->ids[c] == -1, c++) {
    const int64_t b = c / d->width, t = c % d->width, to_row = b * n + t - from;
    n_new[b] = (int32_t)n;
    last[b] = (int32_t)(b * n + n - 1);
    if (t < from || t >= to)
      continue;
    ids[to_row] = d->ids[c];
    if (d->ids[c] == -1) {
      memcpy((float *)images->data + in.n_image_rows * w, d->image_embeds.f32 + image * w,
             (size_t)w * sizeof(float));
      image_rows[in.n_image_rows++] = (int32_t)to_row;
    }
  }
  images->rows = in.n_image_rows;
  in.images = in.n_image_rows > 0 ? images : NULL;
  LRL_TRY(lrl_kv_pass(tape, cache, seq, d->batch, n_new, &in));
  for (int64_t i = 0; i < d->batch * n; i++)
    slot[i / n * d->width + from + i % n] = in.kv->slot[i];
  struct lrl_decoder_output out;
  lrl_decoder_forward(tape, &d->decoder, &in, &out);
  *logits = lrl_nn_linear(tape, lrl_decoder_final(tape, &d->decoder, &out, last, d->batch),
                          lrl_tensor_param(tape, &d->params.units[d->output_unit], 0), NULL);
  return tape->status;
}

void decoder_case_decode(struct decoder_case *d) {
  const int64_t n_prompt = (int64_t)g5_num(&d->file, "n_prompt", 0), total = d->width;
  const int64_t pages = lrl_kv_pages_for(total), v = d->decoder.cfg.vocab_size;
  struct g5_array want;
  if (!g5_read_f32(&d->file, "/outputs/decode_logits", &want))
    return;
  struct lrl_kv_cache cache;
  struct lrl_kv_seq **seq = calloc((size_t)d->batch, sizeof *seq);
  int32_t *slot = calloc((size_t)(d->batch * total), sizeof *slot);
  bool fits = want.n == d->batch * (total - n_prompt) * v && n_prompt > 0 &&
              d->n_tokens == d->batch * total;
  double worst = fits ? 0 : INFINITY;
  lrl_status s = lrl_kv_cache_init(&cache, &d->decoder.cfg, LRL_F32, d->batch * pages, &d->weights);
  for (int64_t b = 0; b < d->batch; b++) {
    seq[b] = lrl_arena_alloc(&d->weights, sizeof **seq);
    *seq[b] = (struct lrl_kv_seq){.max_pages = pages};
    seq[b]->page = lrl_arena_alloc(&d->weights, (size_t)pages * sizeof(int32_t));
    seq[b]->used = lrl_arena_alloc(&d->weights, (size_t)pages * sizeof(int32_t));
  }
  for (int64_t t = 0; t < total && s == LRL_OK && fits; t = t == 0 ? n_prompt : t + 1) {
    struct lrl_tape tape;
    struct lrl_tensor *logits;
    const size_t mark = lrl_arena_mark(&d->steps);
    lrl_tape_init(&tape, &d->ctx, &d->steps, false);
    s = cached_pass(d, &tape, &cache, seq, t, t == 0 ? n_prompt : t + 1, slot, &logits);
    if (s == LRL_OK)
      s = lrl_ctx_sync(&d->ctx);
    for (int64_t b = 0; b < d->batch && t > 0 && s == LRL_OK; b++) {
      const double e = golden_max_abs((const float *)logits->data + b * v,
                                      want.f32 + (b * (total - n_prompt) + t - n_prompt) * v, v);
      worst = e > worst ? e : worst;
    }
    lrl_arena_reset(&d->steps, mark);
  }
  if (golden_ok(d->g, d->name, "decode_logits", s)) {
    golden_check(d->g, d->name, "decode_logits", worst, 2e-5);
    golden_check(d->g, d->name, "past_key, past_value", compare_cache(d, &cache, slot, total),
                 5e-5);
  }
  free(seq);
  free(slot);
  g5_free(&want);
}
