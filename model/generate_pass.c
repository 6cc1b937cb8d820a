/* The passes of generation: prefill, decode, draw. */
#include "model/generate_impl.h"

#include "kernels/philox.h"

#include <string.h>

double lrl_gen_uniform(uint64_t seed, uint64_t prompt_key, int64_t sample, int64_t position) {
  uint32_t r[4];
  lrl_philox(seed, LRL_RNG_SAMPLE, prompt_key << 20 | (uint64_t)sample, (uint32_t)position, r);
  return (double)(((uint64_t)r[0] << 32 | r[1]) >> 11) * 0x1p-53;
}

struct lrl_tensor *lrl_lm_logits(struct lrl_tape *tape, const struct lrl_lm *lm,
                                 struct lrl_tensor *x) {
  const struct lrl_tensor *w = lrl_tensor_param(tape, lm->head_unit, lm->head);
  struct lrl_tensor *y = lrl_tensor_new(tape, LRL_F32, x->rows, w->rows);
  if (tape->status == LRL_OK)
    lrl_tape_ok(tape, lrl_gemm(tape->ctx, &(struct lrl_gemm_args){.m = x->rows,
                                                                  .n = w->rows,
                                                                  .k = x->cols,
                                                                  .trans_b = true,
                                                                  .dtype = x->dtype,
                                                                  .c_dtype = LRL_F32,
                                                                  .a = x->data,
                                                                  .b = w->data,
                                                                  .ld_a = x->cols,
                                                                  .ld_b = x->cols,
                                                                  .ld_c = y->cols,
                                                                  .c = y->data,
                                                                  .b_version = w->version}));
  return y;
}

/* Every id a sample has seen, for the repetition penalty. */
static lrl_status list_seen(struct gen *g, struct lrl_tape *tape, const int64_t *slots, int64_t n,
                            struct lrl_sample_args *a) {
  int64_t total = 0;
  for (int64_t i = 0; i < n; i++) {
    const struct lrl_gen_sample *s = g->slot[slots[i]].sample;
    total += g->prompts[s->prompt].n_ids + s->n;
  }
  int32_t *start = lrl_tape_host(tape, (size_t)(n + 1) * sizeof *start);
  int32_t *seen = lrl_tape_host(tape, (size_t)lrl_kv_room(total) * sizeof *seen);
  if (tape->status != LRL_OK)
    return tape->status;
  start[0] = 0;
  for (int64_t i = 0; i < n; i++) {
    const struct lrl_gen_sample *s = g->slot[slots[i]].sample;
    const struct lrl_gen_prompt *p = &g->prompts[s->prompt];
    memcpy(seen + start[i], p->ids, (size_t)p->n_ids * sizeof *seen);
    memcpy(seen + start[i] + p->n_ids, s->tokens, (size_t)s->n * sizeof *seen);
    start[i + 1] = start[i] + (int32_t)(p->n_ids + s->n);
  }
  a->seen_start = start;
  a->seen = seen;
  return LRL_OK;
}

static bool is_stop(const struct lrl_gen_options *o, int32_t id) {
  for (int64_t i = 0; i < o->n_stop_ids; i++)
    if (o->stop_ids[i] == id)
      return true;
  return false;
}

/* Takes the drawn token into the sample. */
static lrl_status take(struct gen *g, struct gen_slot *slot, int32_t token, float logprob,
                       float sampling_logprob) {
  struct lrl_gen_sample *s = slot->sample;
  if (token < 0)
    return LRL_FAIL(LRL_ERR_NUMERIC,
                    "the logits of token %lld of sample %lld of prompt %lld are not finite",
                    (long long)s->n, (long long)s->index, (long long)s->prompt);
  s->tokens[s->n] = token;
  s->logprobs[s->n] = logprob;
  s->sampling_logprobs[s->n++] = sampling_logprob;
  g->out->new_tokens++;
  const bool stop = is_stop(g->o, token), done = stop || s->n == g->o->max_new_tokens;
  s->finish = stop ? LRL_FINISH_STOP : LRL_FINISH_LENGTH;
  if (g->on_token != NULL)
    g->on_token(g->user, s, done);
  if (done)
    gen_finish(g, slot);
  return LRL_OK;
}

/* What was drawn, [n] each, one after the other. */
struct drawn {
  int32_t *token;
  float *sampling_logprob, *logprob;
};
static struct drawn parts_of(void *p, int64_t n) {
  int32_t *token = p;
  float *logprob = (float *)(token + n);
  return (struct drawn){token, logprob, logprob + n};
}

/* Draws one token for each of n samples from rows of logits, in one go on a device. */
static lrl_status draw(struct gen *g, struct lrl_tape *tape, const float *logits,
                       const int64_t *slots, int64_t n, struct drawn *out) {
  const struct lrl_gen_options *o = g->o;
  const int64_t v = g->lm->decoder->cfg.vocab_size;
  const size_t bytes = (size_t)n * (sizeof(int32_t) + 2 * sizeof(float));
  double *uniform = lrl_tape_host(tape, (size_t)n * sizeof *uniform);
  void *results = lrl_tape_alloc(tape, bytes);
  LRL_TRY(tape->status);
  const struct drawn d = *out = parts_of(results, n);
  struct lrl_sample_args a = {.n_tokens = n,
                              .n_vocab = v,
                              .logits = logits,
                              .uniform = uniform,
                              .temperature = o->temperature,
                              .top_p = o->top_p,
                              .repetition_penalty = o->repetition_penalty,
                              .top_k = o->top_k,
                              .token = d.token,
                              .logprobs = d.sampling_logprob};
  for (int64_t i = 0; i < n; i++) {
    const struct lrl_gen_sample *s = g->slot[slots[i]].sample;
    uniform[i] = lrl_gen_uniform(o->seed, g->prompts[s->prompt].key, s->index, s->n);
  }
  if (o->repetition_penalty < 1.0 || o->repetition_penalty > 1.0)
    LRL_TRY(list_seen(g, tape, slots, n, &a));
  LRL_TRY(lrl_sample(tape->ctx, &a));
  return lrl_logprob_fwd(tape->ctx,
                         &(struct lrl_logprob_fwd_args){
                             .n_tokens = n,
                             .n_vocab = v,
                             .temperature = o->temperature > 0.0 ? (float)o->temperature : 1.0f,
                             .logits = logits,
                             .target = d.token,
                             .drawn = true,
                             .logprobs = d.logprob});
}

/* Here the host waits. */
static lrl_status take_all(struct gen *g, struct lrl_tape *tape, const int64_t *slots, int64_t n,
                           const struct drawn *drawn) {
  const size_t bytes = (size_t)n * (sizeof(int32_t) + 2 * sizeof(float));
  void *copy = lrl_tape_host(tape, bytes);
  LRL_TRY(tape->status);
  LRL_TRY(lrl_read(tape->ctx, copy, drawn->token, bytes));
  const struct drawn d = parts_of(copy, n);
  for (int64_t i = 0; i < n; i++)
    LRL_TRY(take(g, &g->slot[slots[i]], d.token[i], d.logprob[i], d.sampling_logprob[i]));
  return LRL_OK;
}

/* Packs the prompts' ids and images; last[i] is the row of prompt i's last token. */
static lrl_status pack_prompts(struct gen *g, struct lrl_tape *tape, struct gen_live *const *batch,
                               int64_t n, struct lrl_decoder_input *in, int32_t *last) {
  const int64_t w = g->lm->decoder->cfg.hidden_size;
  int64_t tokens = 0, n_images = 0;
  for (int64_t i = 0; i < n; i++) {
    const struct lrl_gen_prompt *p = &g->prompts[batch[i]->prompt];
    tokens += p->n_ids;
    for (int64_t t = 0; t < p->n_ids; t++)
      n_images += p->ids[t] == -1;
  }
  int32_t *ids = lrl_tape_host(tape, (size_t)tokens * sizeof *ids);
  int32_t *rows = lrl_tape_host(tape, (size_t)n_images * sizeof *rows);
  struct lrl_tensor *images = lrl_tensor_new(tape, g->cache.dtype, n_images, w);
  LRL_TRY(tape->status);
  const int64_t row_bytes = w * lrl_dtype_bytes(g->cache.dtype);
  for (int64_t i = 0, at = 0; i < n; i++) {
    const struct lrl_gen_prompt *p = &g->prompts[batch[i]->prompt];
    const int64_t before = in->n_image_rows;
    memcpy(ids + at, p->ids, (size_t)p->n_ids * sizeof *ids);
    for (int64_t t = 0; t < p->n_ids; t++)
      if (p->ids[t] == -1)
        rows[in->n_image_rows++] = (int32_t)(at + t);
    if (in->n_image_rows > before)
      lrl_move(tape->ctx, (char *)images->data + before * row_bytes, p->images,
               (size_t)((in->n_image_rows - before) * row_bytes));
    at += p->n_ids;
    last[i] = (int32_t)(at - 1);
  }
  in->ids = ids;
  in->image_rows = rows;
  in->images = n_images > 0 ? images : NULL;
  return LRL_OK;
}

/* Runs the decoder; logits of rows[0..n). */
static struct lrl_tensor *pass(struct gen *g, struct lrl_tape *tape,
                               const struct lrl_decoder_input *in, const int32_t *rows, int64_t n) {
  struct lrl_decoder_output out;
  lrl_decoder_forward(tape, g->lm->decoder, in, &out);
  return lrl_lm_logits(tape, g->lm, lrl_decoder_final(tape, g->lm->decoder, &out, rows, n));
}

lrl_status gen_prefill(struct gen *g, struct gen_live *const *batch, int64_t n) {
  const int64_t v = g->lm->decoder->cfg.vocab_size;
  struct lrl_tape tape;
  lrl_tape_init(&tape, g->ctx, g->steps, false);
  struct lrl_decoder_input in = {.without_lora = g->o->without_lora, .rope = &g->rope};
  struct lrl_kv_seq **seq = lrl_tape_host(&tape, (size_t)n * sizeof(void *));
  int32_t *n_new = lrl_tape_host(&tape, (size_t)n * sizeof *n_new);
  int32_t *last = lrl_tape_host(&tape, (size_t)n * sizeof *last);
  LRL_TRY(tape.status);
  for (int64_t i = 0; i < n; i++) {
    seq[i] = &batch[i]->seq;
    n_new[i] = (int32_t)g->prompts[batch[i]->prompt].n_ids;
  }
  LRL_TRY(pack_prompts(g, &tape, batch, n, &in, last));
  LRL_TRY(lrl_kv_pass(&tape, &g->cache, seq, n, n_new, &in));
  const struct lrl_tensor *logits = pass(g, &tape, &in, last, n);
  LRL_TRY(tape.status);
  for (int64_t i = 0; i < n; i++)
    lrl_move(g->ctx, batch[i]->logits, (const float *)logits->data + i * v,
             (size_t)v * sizeof(float));
  return LRL_OK;
}

lrl_status gen_first_tokens(struct gen *g, const int64_t *slots, int64_t n) {
  const int64_t v = g->lm->decoder->cfg.vocab_size;
  struct lrl_tape tape;
  lrl_tape_init(&tape, g->ctx, g->steps, false);
  float *rows = lrl_tape_alloc(&tape, (size_t)(n * v) * sizeof *rows);
  LRL_TRY(tape.status);
  for (int64_t i = 0; i < n; i++)
    lrl_move(g->ctx, rows + i * v, g->slot[slots[i]].live->logits, (size_t)v * sizeof *rows);
  struct drawn d;
  LRL_TRY(draw(g, &tape, rows, slots, n, &d));
  return take_all(g, &tape, slots, n, &d);
}

lrl_status gen_decode(struct gen *g, const int64_t *slots, int64_t n) {
  struct lrl_tape tape;
  struct drawn d;
  lrl_tape_init(&tape, g->ctx, g->steps, false);
  struct lrl_decoder_input in = {.without_lora = g->o->without_lora, .rope = &g->rope};
  struct lrl_kv_seq **seq = lrl_tape_host(&tape, (size_t)n * sizeof(void *));
  int32_t *n_new = lrl_tape_host(&tape, (size_t)n * sizeof *n_new);
  int32_t *ids = lrl_tape_host(&tape, (size_t)n * sizeof *ids);
  LRL_TRY(tape.status);
  for (int64_t i = 0; i < n; i++) {
    struct gen_slot *slot = &g->slot[slots[i]];
    seq[i] = &slot->seq;
    n_new[i] = 1;
    ids[i] = slot->sample->tokens[slot->sample->n - 1];
  }
  in.ids = ids;
  LRL_TRY(lrl_kv_pass(&tape, &g->cache, seq, n, n_new, &in));
  lrl_ctx_begin_repeated(g->ctx);
  const struct lrl_tensor *logits = pass(g, &tape, &in, NULL, 0);
  if (tape.status == LRL_OK)
    lrl_tape_ok(&tape, draw(g, &tape, logits->data, slots, n, &d));
  lrl_tape_ok(&tape, lrl_ctx_end_repeated(g->ctx));
  LRL_TRY(tape.status);
  return take_all(g, &tape, slots, n, &d);
}
