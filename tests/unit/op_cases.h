/* One case per op of LRL_OPS: builds operands of about n x w elements and calls the wrapper. */
#ifndef LRL_TESTS_OP_CASES_H
#define LRL_TESTS_OP_CASES_H
#include "tests/unit/op_run.h"

#define IN(count) filled(r, r->dtype, r->values, (count), false)
#define OUT(count) out(r, r->dtype, (count))
#define ACC(count) filled(r, r->dtype, r->values, (count), true)
#define F32_IN(count) filled(r, LRL_F32, LRL_F32, (count), false)
#define F32_OUT(count) out(r, LRL_F32, (count))
#define F32_ACC(count) filled(r, LRL_F32, LRL_F32, (count), true)
#define CASE(op) static lrl_status case_##op(struct op_run *r)
#define CALL(op, ...) lrl_##op(r->ctx, &(struct lrl_##op##_args){__VA_ARGS__})

CASE(gemm) {
  const int64_t m = r->n, k = r->w, n = r->w / 2 + 3;
  for (int mode = 0; mode < 4; mode++) {
    const bool ta = mode == 3, tb = mode == 1 || mode == 2;
    lrl_dtype ct = mode >= 2 ? LRL_F32 : r->dtype;
    void *c = mode == 3 ? F32_ACC(m * n) : out(r, ct, m * n);
    LRL_TRY(CALL(gemm, .m = m, .n = n, .k = k, .trans_a = ta, .trans_b = tb, .dtype = r->dtype,
                 .c_dtype = ct, .a = IN(m * k), .b = IN(k * n), .bias = tb ? IN(n) : NULL,
                 .ld_a = ta ? m : k, .ld_b = tb ? k : n, .ld_c = n, .c = c,
                 .beta = mode == 3 ? 1.0f : 0.0f));
  }
  return LRL_OK;
}
CASE(embedding_fwd) {
  return CALL(embedding_fwd, r->n, r->w, 13, r->dtype, ids(r, r->n, -1, 13), IN(13 * r->w),
              OUT(r->n * r->w));
}
CASE(embedding_bwd) {
  return CALL(embedding_bwd, r->n, r->w, 13, r->dtype, ids(r, r->n, -1, 13), 2, IN(r->n * r->w),
              F32_ACC(13 * r->w));
}
CASE(gather_rows) {
  LRL_TRY(CALL(gather_rows, r->n, 9, r->w, r->dtype, ids(r, r->n, -1, 9), IN(9 * r->w),
               OUT(r->n * r->w), 0.0f));
  return CALL(gather_rows, r->n, 9, r->w, r->dtype, ids(r, r->n, -1, 9), IN(9 * r->w),
              ACC(r->n * r->w), 1.0f);
}
CASE(scatter_rows) {
  int32_t *distinct = ids(r, r->n, 0, 1);
  for (int64_t i = 0; i < r->n; i++)
    distinct[i] = i % 3 == 0 ? -1 : (int32_t)(r->n - 1 - i);
  LRL_TRY(CALL(scatter_rows, r->n, r->n, r->w, r->dtype, distinct, IN(r->n * r->w),
               ACC(r->n * r->w), 0.0f));
  return CALL(scatter_rows, r->n, r->n + 2, r->w, LRL_F32, ids(r, r->n, -1, r->n + 2),
              F32_IN(r->n * r->w), F32_ACC((r->n + 2) * r->w), 1.0f);
}
CASE(rms_norm_fwd) {
  const int64_t n = r->n * r->w;
  LRL_TRY(CALL(rms_norm_fwd, r->n, r->w, r->dtype, 1e-5f, IN(n), NULL, IN(r->w), NULL, OUT(n),
               F32_OUT(r->n)));
  return CALL(rms_norm_fwd, r->n, r->w, r->dtype, 1e-5f, IN(n), IN(n), IN(r->w), OUT(n), OUT(n),
              F32_OUT(r->n));
}
CASE(rms_norm_bwd) {
  const int64_t w = r->w + 1, n = r->n * w; /* of one element dx is 0: nothing to compare */
  void *s = IN(n), *weight = IN(w);
  float *rstd = F32_OUT(r->n);
  LRL_TRY(
      lrl_rms_norm_fwd(r->ref, &(struct lrl_rms_norm_fwd_args){r->n, w, r->dtype, 1e-5f, s, NULL,
                                                               weight, NULL, OUT(n), rstd}));
  return CALL(rms_norm_bwd, r->n, w, r->dtype, s, weight, IN(n), IN(n), rstd, OUT(n), F32_ACC(w));
}
CASE(layer_norm_fwd) {
  const int64_t w = r->w + 1, n = r->n * w; /* of one element all is 0: nothing to compare */
  return CALL(layer_norm_fwd, r->n, w, r->dtype, 1e-5f, IN(n), IN(w), IN(w), OUT(n), F32_OUT(r->n),
              F32_OUT(r->n));
}
CASE(layer_norm_bwd) {
  const int64_t w = r->w + 1, n = r->n * w;
  void *x = IN(n), *weight = IN(w), *bias = IN(w);
  float *mean = F32_OUT(r->n), *rstd = F32_OUT(r->n);
  LRL_TRY(lrl_layer_norm_fwd(r->ref,
                             &(struct lrl_layer_norm_fwd_args){r->n, w, r->dtype, 1e-5f, x, weight,
                                                               bias, OUT(n), mean, rstd}));
  return CALL(layer_norm_bwd, r->n, w, r->dtype, x, weight, IN(n), IN(n), mean, rstd, OUT(n),
              F32_ACC(w), F32_ACC(w));
}
CASE(rope_qkv_fwd) {
  const int64_t d = 2 * (r->w / 4 + 1), n = r->n * d;
  return CALL(rope_qkv_fwd, r->n, 4, 2, d, 9, r->dtype, ids(r, r->n, 0, 9), F32_IN(9 * d / 2),
              F32_IN(9 * d / 2), IN(n * 8), OUT(n * 4), OUT(n * 2), OUT(n * 2));
}
CASE(rope_qkv_bwd) {
  const int64_t d = 2 * (r->w / 4 + 1), n = r->n * d;
  return CALL(rope_qkv_bwd, r->n, 4, 2, d, 9, r->dtype, ids(r, r->n, 0, 9), F32_IN(9 * d / 2),
              F32_IN(9 * d / 2), IN(n * 4), IN(n * 2), IN(n * 2), OUT(n * 8));
}
CASE(attention_fwd) {
  const int64_t d = r->w / 2 + 1, wq = 4 * d, wk = 2 * d;
  struct lrl_layout l;
  int32_t arrays[12];
  split(&l, arrays, r->n);
  for (int causal = 0; causal < 2; causal++)
    LRL_TRY(CALL(attention_fwd, &l, 4, 2, d, r->dtype, causal == 1, 0.3f, IN(r->n * wq),
                 IN(r->n * wk), IN(r->n * wk), wq, wk, wk, wq, OUT(r->n * wq), F32_OUT(r->n * 4)));
  return LRL_OK;
}
CASE(attention_bwd) {
  const int64_t d = r->w / 2 + 1, wq = 4 * d, wk = 2 * d;
  struct lrl_layout l;
  int32_t arrays[12];
  split(&l, arrays, r->n);
  for (int causal = 0; causal < 2; causal++) {
    void *q = IN(r->n * wq), *k = IN(r->n * wk), *v = IN(r->n * wk), *o = OUT(r->n * wq);
    float *lse = F32_OUT(r->n * 4);
    LRL_TRY(lrl_attention_fwd(r->ref, &(struct lrl_attention_fwd_args){&l, 4, 2, d, r->dtype,
                                                                       causal == 1, 0.3f, q, k, v,
                                                                       wq, wk, wk, wq, o, lse}));
    LRL_TRY(CALL(attention_bwd, &l, 4, 2, d, r->dtype, causal == 1, 0.3f, q, k, v, o, IN(r->n * wq),
                 wq, wk, wk, wq, lse, OUT(r->n * wq), OUT(r->n * wk), OUT(r->n * wk)));
  }
  return LRL_OK;
}
/* Where a page keeps an element depends on the type: cases fill pages and read them back in the
 * order [heads of pages][slot][d], in which runs of two types are comparable. */
static int64_t kv_at(const struct op_run *r, int64_t d, bool keys, int64_t i) {
  const int64_t head = i / (LRL_KV_PAGE * d), slot = i / d % LRL_KV_PAGE;
  return head * lrl_kv_head_size(d) +
         (keys ? lrl_kv_key_at(r->dtype, d, slot, i % d) : lrl_kv_value_at(r->dtype, slot, i % d));
}
static void *kv_pages(struct op_run *r, int64_t n_heads, int64_t d, bool keys) {
  void *p = add_buffer(r, r->dtype, n_heads * lrl_kv_head_size(d), false);
  memset(p, 0, (size_t)(n_heads * lrl_kv_head_size(d) * lrl_dtype_bytes(r->dtype)));
  const void *x = IN(n_heads * LRL_KV_PAGE * d);
  for (int64_t i = 0; i < n_heads * LRL_KV_PAGE * d; i++)
    put(r->dtype, p, kv_at(r, d, keys, i), (float)get(r->dtype, x, i));
  return p;
}
static void kv_content(const struct op_run *r, const void *pages, int64_t n_heads, int64_t d,
                       bool keys, void *content) {
  for (int64_t i = 0; i < n_heads * LRL_KV_PAGE * d; i++)
    put(r->dtype, content, i, (float)get(r->dtype, pages, kv_at(r, d, keys, i)));
}
CASE(kv_write) {
  const int64_t d = r->w / 2 + 1, pages = r->n / LRL_KV_PAGE + 2;
  int32_t *slot = ids(r, r->n, 0, 1);
  for (int64_t t = 0; t < r->n; t++) /* from the last page on, odd first slot, one token skipped */
    slot[t] = t == 2 ? -1 : (int32_t)((t + (pages - 1) * LRL_KV_PAGE + 3) % (pages * LRL_KV_PAGE));
  void *k = kv_pages(r, pages * 2, d, true), *v = kv_pages(r, pages * 2, d, false);
  LRL_TRY(
      CALL(kv_write, r->n, 2, d, pages, r->dtype, slot, IN(r->n * 2 * d), IN(r->n * 2 * d), k, v));
  LRL_TRY(lrl_ctx_sync(r->ctx));
  kv_content(r, k, pages * 2, d, true, OUT(pages * 2 * LRL_KV_PAGE * d));
  kv_content(r, v, pages * 2, d, false, OUT(pages * 2 * LRL_KV_PAGE * d));
  return LRL_OK;
}
CASE(attention_decode) {
  const int64_t d = r->w / 2 + 1;
  int32_t *start = ids(r, r->n + 1, 0, 1);
  for (int64_t t = 0; t <= r->n; t++) /* 0..3 pages each */
    start[t] = t == 0 ? 0 : start[t - 1] + (int32_t)(t % 4);
  const int64_t listed = start[r->n];
  return CALL(attention_decode, r->n, 6, 2, d, 5, r->dtype, 0.3f, start, ids(r, listed, 0, 5),
              ids(r, listed, 1, LRL_KV_PAGE + 1), IN(r->n * 6 * d), kv_pages(r, 10, d, true),
              kv_pages(r, 10, d, false), OUT(r->n * 6 * d));
}
/* Few rows, some wider than a block of threads. */
CASE(sample) {
  const int64_t n = r->n < 9 ? r->n : 9, v = r->w < 33 ? r->w : 9 * r->w;
  const double temperature[] = {1.0, 0.0, 0.7, 1.3, 0.8}, top_p[] = {1.0, 1.0, 0.8, 1.0, 0.5};
  const int64_t top_k[] = {0, 0, 0, 5,
                           20}; /* penalty 1.25: exact, so that f32 and f64 find the same ties */
  double *u = add_buffer(r, LRL_F64, n, false);
  struct lrl_rng g = lrl_rng_make(r->seed, LRL_RNG_TEST, 0);
  for (int64_t t = 0; t < n; t++)
    u[t] = (double)lrl_rng_uniform(&g);
  float *logits = F32_IN(n * v);
  for (int64_t i = 0; i < n * v; i++) /* ties, and ids that cannot be drawn */
    logits[i] = i % 7 == 3 && v > 7 ? -INFINITY : roundf(logits[i] * 8.0f) / 4.0f;
  int32_t *start = ids(r, n + 1, 0, 1);
  for (int64_t t = 0; t <= n; t++)
    start[t] = (int32_t)(2 * t);
  for (int kind = 0; kind < 5; kind++) {
    double *token = out(r, LRL_F64, n); /* compared as numbers */
    int32_t *drawn = add_buffer(r, LRL_I32, n, false);
    LRL_TRY(CALL(sample, .n_tokens = n, .n_vocab = v, .logits = logits,
                 .seen_start = kind == 4 ? start : NULL, .seen = ids(r, 2 * n, -1, v), .uniform = u,
                 .temperature = temperature[kind], .top_p = top_p[kind],
                 .repetition_penalty = kind == 4 ? 1.25 : 1.0, .top_k = top_k[kind], .token = drawn,
                 .logprobs = F32_OUT(n), .probs = F32_OUT(n * v)));
    LRL_TRY(lrl_ctx_sync(r->ctx));
    for (int64_t t = 0; t < n; t++)
      token[t] = (double)drawn[t];
  }
  return LRL_OK;
}
CASE(swiglu_fwd) {
  const int64_t n = r->n * r->w;
  return CALL(swiglu_fwd, r->n, r->w, r->w, r->dtype, IN(n), IN(n), OUT(n));
}
CASE(swiglu_bwd) {
  const int64_t n = r->n * r->w;
  return CALL(swiglu_bwd, r->n, r->w, r->w, r->dtype, IN(n), IN(n), IN(n), OUT(n), OUT(n));
}
CASE(gelu_fwd) {
  const int64_t n = r->n * r->w;
  LRL_TRY(CALL(gelu_fwd, n, LRL_GELU_ERF, r->dtype, IN(n), OUT(n)));
  return CALL(gelu_fwd, n, LRL_GELU_QUICK, r->dtype, IN(n), OUT(n));
}
CASE(gelu_bwd) {
  const int64_t n = r->n * r->w;
  LRL_TRY(CALL(gelu_bwd, n, LRL_GELU_ERF, r->dtype, IN(n), IN(n), OUT(n)));
  return CALL(gelu_bwd, n, LRL_GELU_QUICK, r->dtype, IN(n), IN(n), OUT(n));
}
CASE(add) {
  const int64_t n = r->n * r->w;
  return CALL(add, n, r->dtype, IN(n), IN(n), OUT(n));
}
CASE(colsum) { return CALL(colsum, r->n, r->w, r->dtype, IN(r->n * r->w), F32_ACC(r->w)); }
CASE(dropout) {
  const int64_t n = r->n * r->w;
  uint64_t *key = add_buffer(r, LRL_I64, r->n, false);
  for (int64_t t = 0; t < r->n; t++)
    key[t] = (uint64_t)(t * 1000003);
  return CALL(dropout, r->n, r->w, r->dtype, 0.3f, 42, key, IN(n), OUT(n));
}
/* Images of size pixels, at most 4; more widths are the gemm's business. */
CASE(patch_embed_fwd) {
  const int64_t n = r->n % 5, size = r->w % 40, g = size / 3, width = r->w % 41 + 1;
  return CALL(patch_embed_fwd, n, 3, size, 3, width, r->dtype, F32_IN(n * 3 * size * size),
              IN(width * 27), 0, OUT(n * g * g * width));
}
CASE(patch_embed_bwd) {
  const int64_t n = r->n % 5, size = r->w % 40, g = size / 3, width = r->w % 41 + 1;
  const float *pixels = F32_IN(n * 3 * size * size);
  void *weight = IN(width * 27), *d_out = IN(n * g * g * width);
  LRL_TRY(CALL(patch_embed_bwd, n, 3, size, 3, width, r->dtype, pixels, weight, 0, d_out,
               F32_ACC(width * 27), F32_OUT(n * 3 * size * size)));
  LRL_TRY(CALL(patch_embed_bwd, n, 3, size, 3, width, r->dtype, pixels, NULL, 0, d_out,
               F32_ACC(width * 27), NULL));
  return CALL(patch_embed_bwd, n, 3, size, 3, width, r->dtype, NULL, weight, 0, d_out, NULL,
              F32_OUT(n * 3 * size * size));
}
CASE(vit_embed_fwd) {
  return CALL(vit_embed_fwd, 3, r->n, r->w, r->dtype, IN(3 * r->n * r->w), IN(r->w),
              IN((r->n + 1) * r->w), OUT(3 * (r->n + 1) * r->w));
}
CASE(vit_embed_bwd) {
  return CALL(vit_embed_bwd, 3, r->n, r->w, r->dtype, IN(3 * (r->n + 1) * r->w),
              OUT(3 * r->n * r->w), F32_ACC(r->w), F32_ACC((r->n + 1) * r->w));
}
CASE(cross_entropy) {
  int32_t *target = ids(r, r->n, 0, r->w);
  for (int64_t t = 2; t < r->n; t += 3)
    target[t] = -100;
  return CALL(cross_entropy, r->n, r->w, F32_IN(r->n * r->w), F32_IN(r->n), target, F32_OUT(r->n),
              F32_OUT(r->n), r->dtype, OUT(r->n * r->w));
}
CASE(mean_pool_fwd) {
  struct lrl_layout l;
  int32_t arrays[12];
  split(&l, arrays, r->n);
  return CALL(mean_pool_fwd, &l, 3, r->w, r->dtype, ids(r, 3, 0, 4), IN(r->n * r->w),
              OUT(3 * r->w));
}
CASE(mean_pool_bwd) {
  struct lrl_layout l;
  int32_t arrays[12];
  split(&l, arrays, r->n);
  return CALL(mean_pool_bwd, &l, 3, r->w, r->dtype, ids(r, 3, 0, 4), IN(3 * r->w),
              OUT(r->n * r->w));
}
CASE(head_fwd) {
  return CALL(head_fwd, r->n, r->w, r->dtype, IN(r->n * r->w), IN(r->w), F32_OUT(r->n));
}
CASE(head_bwd) {
  return CALL(head_bwd, r->n, r->w, r->dtype, IN(r->n * r->w), IN(r->w), F32_IN(r->n),
              OUT(r->n * r->w), F32_ACC(r->w));
}
CASE(bradley_terry) {
  for (int kind = 0; kind < 6; kind++)
    LRL_TRY(CALL(
        bradley_terry, .n = r->n, .rank = kind % 2 == 0 ? LRL_RANK_LOGSIGMOID : LRL_RANK_FOCAL,
        .penalty = (enum lrl_penalty)(kind / 2), .focal_gamma = 2.0f, .penalty_weight = 0.02f,
        .center_weight = 0.01f, .barrier_lo = -1.5f, .barrier_hi = 1.5f, .barrier_eps = 1e-3f,
        .barrier_gradient_outside = kind == 4, .weight = 0.5f, .chosen = F32_IN(r->n),
        .rejected = F32_IN(r->n), .margin = kind == 0 ? NULL : F32_IN(r->n),
        .loss = out(r, LRL_F64, r->n), .d_chosen = F32_OUT(r->n), .d_rejected = F32_OUT(r->n)));
  return LRL_OK;
}
CASE(logprob_fwd) {
  const int64_t v = r->w + 1; /* of one word all is 0: nothing to compare */
  int32_t *target = ids(r, r->n, 0, v);
  for (int64_t t = 2; t < r->n; t += 3)
    target[t] = -100;
  LRL_TRY(
      CALL(logprob_fwd, r->n, v, 1.0f, F32_IN(r->n * v), target, F32_OUT(r->n), NULL, NULL, false));
  if (r->n > 2)
    target[2] = -1;
  return CALL(logprob_fwd, r->n, v, 0.7f, F32_IN(r->n * v), target, F32_OUT(r->n), F32_OUT(r->n),
              F32_OUT(r->n), true);
}
CASE(logprob_bwd) {
  const int64_t v = r->w + 1; /* of one word the gradient is 0: nothing to compare */
  int32_t *target = ids(r, r->n, 0, v);
  for (int64_t t = 2; t < r->n; t += 3)
    target[t] = -100;
  float *logits = F32_IN(r->n * v), *entropy = F32_OUT(r->n), *lse = F32_OUT(r->n);
  LRL_TRY(
      lrl_logprob_fwd(r->ref, &(struct lrl_logprob_fwd_args){r->n, v, 0.7f, logits, target,
                                                             F32_OUT(r->n), entropy, lse, false}));
  LRL_TRY(CALL(logprob_bwd, r->n, v, 0.7f, logits, target, lse, NULL, F32_IN(r->n), NULL, r->dtype,
               OUT(r->n * v)));
  return CALL(logprob_bwd, r->n, v, 0.7f, logits, target, lse, entropy, F32_IN(r->n), F32_IN(r->n),
              r->dtype, OUT(r->n * v));
}
/* The RL ops run on r->n * r->w tokens in four sequences. */
#define RL_LAYOUT                                                                                  \
  const int64_t n = r->n * r->w;                                                                   \
  struct lrl_layout l;                                                                             \
  int32_t arrays[12];                                                                              \
  split(&l, arrays, n)
CASE(approx_kl) {
  RL_LAYOUT;
  for (int k = 0; k < 8; k++)
    LRL_TRY(CALL(approx_kl, .layout = &l, .mask = k < 4 ? NULL : mask(r, n),
                 .estimator = (enum lrl_kl_estimator)(k % 4), .diff_clamp = k < 4 ? 0.0 : 1.5,
                 .kl_clamp = k < 4 ? 0.0 : 1.0, .logprobs = F32_IN(n), .ref_logprobs = F32_IN(n),
                 .kl = F32_OUT(n), .coef = 0.3, .seq_weight = k == 0 ? NULL : F32_IN(4),
                 .loss = k == 0 ? NULL : out(r, LRL_F64, 1),
                 .d_logprobs = k == 0 ? NULL : F32_ACC(n)));
  return LRL_OK;
}
CASE(ppo_policy) {
  RL_LAYOUT;
  for (int k = 0; k < 5; k++)
    LRL_TRY(CALL(ppo_policy, .layout = &l, .mask = k == 0 ? NULL : mask(r, n),
                 .ratio = (enum lrl_ratio)(k % 3), .clip_low = 0.2, .clip_high = 0.28,
                 .dual_clip = k >= 2 ? 1.5 : 0.0, .log_ratio_clamp = k >= 3 ? 1.0 : 0.0,
                 .entropy_coef = 0.1, .logprobs = F32_IN(n), .old_logprobs = F32_IN(n),
                 .advantages = F32_IN(n), .entropy = k == 1 ? NULL : F32_IN(n),
                 .seq_weight = F32_IN(4),
                 .stats = out(r, LRL_F64, sizeof(struct lrl_ppo_policy_stats) / 8),
                 .d_logprobs = F32_OUT(n), .d_entropy = k == 1 ? NULL : F32_OUT(n)));
  return LRL_OK;
}
CASE(ppo_value) {
  RL_LAYOUT;
  for (int k = 0; k < 3; k++)
    LRL_TRY(CALL(
        ppo_value, .layout = &l, .mask = k == 0 ? NULL : mask(r, n),
        .cliprange = k == 2 ? 0.0 : 0.5, .values = F32_IN(n),
        .old_values = k == 2 ? NULL : F32_IN(n), .returns = F32_IN(n), .seq_weight = F32_IN(4),
        .stats = out(r, LRL_F64, sizeof(struct lrl_ppo_value_stats) / 8), .d_values = F32_OUT(n)));
  return LRL_OK;
}
CASE(gae) {
  RL_LAYOUT;
  for (int k = 0; k < 2; k++)
    LRL_TRY(CALL(gae, .layout = &l, .mask = k == 0 ? NULL : mask(r, n), .gamma = 0.99, .lam = 0.9,
                 .rewards = F32_IN(n), .values = k == 0 ? F32_IN(n) : NULL,
                 .advantages = F32_OUT(n), .returns = k == 0 ? F32_OUT(n) : NULL));
  return LRL_OK;
}
CASE(moments) {
  const int64_t n = r->n * r->w * 7; /* more than one block */
  LRL_TRY(CALL(moments, n, NULL, F32_IN(n), NULL, out(r, LRL_F64, 3)));
  return CALL(moments, n, mask(r, n), F32_IN(n), F32_IN(n), out(r, LRL_F64, 3));
}
CASE(whiten) {
  const int64_t n = r->n * r->w;
  LRL_TRY(CALL(whiten, n, NULL, F32_IN(n), 0.3, 1.7, true, F32_OUT(n)));
  return CALL(whiten, n, mask(r, n), F32_IN(n), 0.3, 1.7, false, F32_OUT(n));
}
CASE(adamw) {
  const int64_t n = r->n * r->w;
  float *master = F32_ACC(n), *m = F32_ACC(n), *v = F32_ACC(n);
  for (int64_t i = 0; i < n; i++)
    v[i] = v[i] * v[i];
  void *param = OUT(n);
  LRL_TRY(CALL(adamw, n, r->dtype, r->dtype == LRL_F32 ? master : param, master, m, v, F32_IN(n),
               1e-2, 0.9, 0.95, 1e-8, 0.1, 0.5, 3));
  LRL_TRY(lrl_ctx_sync(r->ctx));
  if (r->dtype == LRL_F32)
    memcpy(param, master, (size_t)n * sizeof *master);
  return LRL_OK;
}
CASE(sumsq) { return CALL(sumsq, r->n * r->w, F32_IN(r->n * r->w), out(r, LRL_F64, 1)); }
CASE(scale) { return CALL(scale, r->n * r->w, F32_ACC(r->n * r->w), 0.37f); }
CASE(ema) {
  const int64_t n = r->n * r->w;
  LRL_TRY(CALL(ema, n, r->dtype, 0.9, IN(n), F32_ACC(n)));
  return CALL(ema, n, r->dtype, 0.992, IN(n), F32_ACC(n));
}
CASE(cast) {
  const int64_t n = r->n * r->w;
  LRL_TRY(CALL(cast, n, LRL_F32, r->dtype, F32_IN(n), OUT(n)));
  return CALL(cast, n, r->dtype, LRL_F32, IN(n), F32_OUT(n));
}
#endif
