/* What `laurel bench ops` measures: a case for each op of kernels/ops.h and the table of sizes.
 * Flops and bytes of a call are those of kernels/cost.h. */
#include "launch/bench_ops.h"

#include "kernels/cost.h"
#include "model/nn.h"
#include "model/param_build.h"

#include <string.h>

/* ---- operands ---- */

static void *raw(struct lrl_bench_op *o, lrl_dtype t, int64_t n) {
  return lrl_arena_alloc(o->memory, (size_t)(n * lrl_dtype_bytes(t)));
}
/* Numbers in [-1, 1). */
static void *in(struct lrl_bench_op *o, lrl_dtype t, int64_t n) {
  void *p = raw(o, t, n);
#pragma omp parallel for num_threads(o->ctx->n_threads) schedule(static) if (p != NULL)
  for (int64_t i = 0; i < (p == NULL ? 0 : n); i++) {
    const uint32_t h = (uint32_t)i * 2654435761u;
    const float x = (float)(int32_t)(h ^ h >> 15) * 0x1p-31f;
    if (t == LRL_BF16)
      ((uint16_t *)p)[i] = lrl_f32_to_bf16(x);
    else
      ((float *)p)[i] = x;
  }
  return p;
}
static void *zeros(struct lrl_bench_op *o, lrl_dtype t, int64_t n) {
  void *p = raw(o, t, n);
  return p == NULL ? NULL : memset(p, 0, (size_t)(n * lrl_dtype_bytes(t)));
}
/* 0, step, 2 step, ... modulo n */
static int32_t *indices(struct lrl_bench_op *o, int64_t count, int64_t n, int64_t step) {
  int32_t *p = raw(o, LRL_I32, count);
  for (int64_t i = 0; p != NULL && i < count; i++)
    p[i] = (int32_t)(i * step % n);
  return p;
}
/* Sequences of equal length. */
static const struct lrl_layout *layout(struct lrl_bench_op *o, int64_t n_seqs, int64_t length) {
  struct lrl_layout *l = lrl_arena_alloc(o->memory, sizeof *l);
  int32_t *start = raw(o, LRL_I32, n_seqs), *len = raw(o, LRL_I32, n_seqs);
  if (l == NULL || start == NULL || len == NULL)
    return NULL;
  for (int64_t s = 0; s < n_seqs; s++) {
    start[s] = (int32_t)(s * length);
    len[s] = (int32_t)length;
  }
  *l = (struct lrl_layout){
      .n_tokens = n_seqs * length, .n_seqs = n_seqs, .start = start, .length = len};
  return l;
}

#define CASE(name) static lrl_status name(struct lrl_bench_op *o)
/* What the row is held against: arithmetic, reading memory, or reading and writing it. */
#define FLOPS (o->unit = LRL_BENCH_FLOPS)
#define READS (o->unit = LRL_BENCH_READ)
#define UPDATES (o->unit = LRL_BENCH_UPDATE)
static void weigh(struct lrl_bench_op *o, struct lrl_cost cost) {
  o->work = o->unit == LRL_BENCH_FLOPS ? cost.flops : cost.bytes;
}
#define CALLS(name, ...)                                                                           \
  do {                                                                                             \
    const struct lrl_##name##_args args_ = {__VA_ARGS__};                                          \
    while (lrl_bench_more(o))                                                                      \
      LRL_TRY(lrl_##name(o->ctx, &args_));                                                         \
    weigh(o, lrl_##name##_cost(&args_));                                                           \
    return LRL_OK;                                                                                 \
  } while (0)
#define IN(n) in(o, o->dtype, (n))
#define OUT(n) raw(o, o->dtype, (n))
#define F32_IN(n) in(o, LRL_F32, (n))
#define F32_OUT(n) raw(o, LRL_F32, (n))
#define F32_ACC(n) zeros(o, LRL_F32, (n))
#define F64_OUT(n) raw(o, LRL_F64, (n))

/* ---- matrix products: a tokens, b inputs, c outputs of a linear ---- */

CASE(gemm_forward) {
  FLOPS;
  CALLS(gemm, .m = o->a, .n = o->c, .k = o->b, .trans_b = true, .dtype = o->dtype,
        .c_dtype = o->dtype, .a = IN(o->a * o->b), .b = IN(o->b * o->c), .ld_a = o->b, .ld_b = o->b,
        .ld_c = o->c, .c = OUT(o->a * o->c), .b_version = o->version);
}
CASE(gemm_bwd_data) {
  FLOPS;
  CALLS(gemm, .m = o->a, .n = o->b, .k = o->c, .dtype = o->dtype, .c_dtype = o->dtype,
        .a = IN(o->a * o->c), .b = IN(o->b * o->c), .ld_a = o->c, .ld_b = o->b, .ld_c = o->b,
        .c = OUT(o->a * o->b), .b_version = o->version);
}
CASE(gemm_bwd_weight) {
  FLOPS;
  CALLS(gemm, .m = o->c, .n = o->b, .k = o->a, .trans_a = true, .dtype = o->dtype,
        .c_dtype = LRL_F32, .a = IN(o->a * o->c), .b = IN(o->a * o->b), .ld_a = o->c, .ld_b = o->b,
        .ld_c = o->b, .c = F32_ACC(o->b * o->c), .beta = 1.0f);
}
/* As in decoding: the weights come from memory, a different matrix each call. */
CASE(gemm_decode) {
  const int64_t size = o->b * o->c, n = o->spread / (size * lrl_dtype_bytes(o->dtype)) + 1;
  READS;
  char *weights = IN(size * n);
  struct lrl_gemm_args g = {.m = o->a,
                            .n = o->c,
                            .k = o->b,
                            .trans_b = true,
                            .dtype = o->dtype,
                            .c_dtype = o->dtype,
                            .a = IN(o->a * o->b),
                            .ld_a = o->b,
                            .ld_b = o->b,
                            .ld_c = o->c,
                            .c = OUT(o->a * o->c),
                            .b_version = o->version};
  for (int64_t i = 0; i < n; i++) { /* re-lays each once */
    g.b = weights + i * size * lrl_dtype_bytes(o->dtype);
    LRL_TRY(lrl_gemm(o->ctx, &g));
  }
  for (int64_t i = 0; lrl_bench_more(o); i++) {
    g.b = weights + i % n * size * lrl_dtype_bytes(o->dtype);
    LRL_TRY(lrl_gemm(o->ctx, &g));
  }
  weigh(o, lrl_gemm_cost(&g));
  return LRL_OK;
}

/* ---- attention: a sequences, b tokens each, width / c heads of c ---- */

struct heads {
  const struct lrl_layout *layout;
  int64_t n, n_heads, d, width;
};
static struct heads heads(struct lrl_bench_op *o) {
  return (struct heads){layout(o, o->a, o->b), o->a * o->b * o->width, o->width / o->c, o->c,
                        o->width};
}
CASE(attention_forward) {
  const struct heads h = heads(o);
  FLOPS;
  CALLS(attention_fwd, h.layout, h.n_heads, h.n_heads, h.d, o->dtype, true, 0.1f, IN(h.n), IN(h.n),
        IN(h.n), h.width, h.width, h.width, h.width, OUT(h.n), F32_OUT(h.n / h.d));
}
CASE(attention_backward) {
  const struct heads h = heads(o);
  void *q = IN(h.n), *k = IN(h.n), *v = IN(h.n), *out = OUT(h.n);
  float *lse = F32_OUT(h.n / h.d);
  const struct lrl_attention_fwd_args fwd = {h.layout, h.n_heads, h.n_heads, h.d, o->dtype, true,
                                             0.1f,     q,         k,         v,   h.width,  h.width,
                                             h.width,  h.width,   out,       lse};
  FLOPS;
  LRL_TRY(lrl_attention_fwd(o->ctx, &fwd));
  CALLS(attention_bwd, h.layout, h.n_heads, h.n_heads, h.d, o->dtype, true, 0.1f, q, k, v, out,
        IN(h.n), h.width, h.width, h.width, h.width, lse, OUT(h.n), OUT(h.n), OUT(h.n));
}
CASE(attention_decode) { /* each token has b cached ones */
  const int64_t pages = o->b / LRL_KV_PAGE, n_heads = o->width / o->c;
  const int64_t size = o->a * pages * n_heads * lrl_kv_head_size(o->c);
  int32_t *start = indices(o, o->a + 1, INT32_MAX, pages), *used = indices(o, o->a * pages, 1, 0);
  for (int64_t i = 0; used != NULL && i < o->a * pages; i++)
    used[i] = LRL_KV_PAGE;
  READS;
  CALLS(attention_decode, o->a, n_heads, n_heads, o->c, o->a * pages, o->dtype, 0.1f, start,
        indices(o, o->a * pages, o->a * pages, 1), used, IN(o->a * o->width), IN(size), IN(size),
        OUT(o->a * o->width));
}
CASE(kv_write) {
  const int64_t pages = (o->a + LRL_KV_PAGE - 1) / LRL_KV_PAGE, n_heads = o->b / o->c;
  const int64_t size = pages * n_heads * lrl_kv_head_size(o->c);
  UPDATES;
  CALLS(kv_write, o->a, n_heads, o->c, pages, o->dtype, indices(o, o->a, INT32_MAX, 1),
        IN(o->a * o->b), IN(o->a * o->b), zeros(o, o->dtype, size), zeros(o, o->dtype, size));
}

/* ---- ops on rows: a tokens, b wide ---- */

CASE(embedding_forward) {
  UPDATES;
  CALLS(embedding_fwd, o->a, o->b, o->c, o->dtype, indices(o, o->a, o->c, 7919), IN(o->b * o->c),
        OUT(o->a * o->b));
}
CASE(embedding_backward) {
  UPDATES;
  CALLS(embedding_bwd, o->a, o->b, o->c, o->dtype, indices(o, o->a, o->c, 7919), -1,
        IN(o->a * o->b), F32_ACC(o->b * o->c));
}
CASE(gather_rows) {
  UPDATES;
  CALLS(gather_rows, o->a, o->a, o->b, o->dtype, indices(o, o->a, o->a, 1), IN(o->a * o->b),
        OUT(o->a * o->b), 0.0f);
}
CASE(scatter_rows) {
  UPDATES;
  CALLS(scatter_rows, o->a, o->a, o->b, o->dtype, indices(o, o->a, o->a, 1), IN(o->a * o->b),
        OUT(o->a * o->b), 0.0f);
}
CASE(rms_norm_forward) {
  const int64_t n = o->a * o->b;
  UPDATES;
  CALLS(rms_norm_fwd, o->a, o->b, o->dtype, 1e-5f, IN(n), IN(n), IN(o->b), OUT(n), OUT(n),
        F32_OUT(o->a));
}
CASE(rms_norm_backward) {
  const int64_t n = o->a * o->b;
  UPDATES;
  CALLS(rms_norm_bwd, o->a, o->b, o->dtype, IN(n), IN(o->b), IN(n), IN(n), F32_IN(o->a), OUT(n),
        F32_ACC(o->b));
}
CASE(layer_norm_forward) {
  const int64_t n = o->a * o->b;
  UPDATES;
  CALLS(layer_norm_fwd, o->a, o->b, o->dtype, 1e-5f, IN(n), IN(o->b), IN(o->b), OUT(n),
        F32_OUT(o->a), F32_OUT(o->a));
}
CASE(layer_norm_backward) {
  const int64_t n = o->a * o->b;
  UPDATES;
  CALLS(layer_norm_bwd, o->a, o->b, o->dtype, IN(n), IN(o->b), IN(n), IN(n), F32_IN(o->a),
        F32_IN(o->a), OUT(n), F32_ACC(o->b), F32_ACC(o->b));
}
CASE(rope_forward) {
  const int64_t h = o->b / o->c, n = o->a * o->b;
  UPDATES;
  CALLS(rope_qkv_fwd, o->a, h, h, o->c, 512, o->dtype, indices(o, o->a, 512, 1), F32_IN(256 * o->c),
        F32_IN(256 * o->c), IN(3 * n), OUT(n), OUT(n), OUT(n));
}
CASE(rope_backward) {
  const int64_t h = o->b / o->c, n = o->a * o->b;
  UPDATES;
  CALLS(rope_qkv_bwd, o->a, h, h, o->c, 512, o->dtype, indices(o, o->a, 512, 1), F32_IN(256 * o->c),
        F32_IN(256 * o->c), IN(n), IN(n), IN(n), OUT(3 * n));
}
CASE(swiglu_forward) {
  const int64_t n = o->a * o->b;
  UPDATES;
  CALLS(swiglu_fwd, o->a, o->b, o->b, o->dtype, IN(n), IN(n), OUT(n));
}
CASE(swiglu_backward) {
  const int64_t n = o->a * o->b;
  UPDATES;
  CALLS(swiglu_bwd, o->a, o->b, o->b, o->dtype, IN(n), IN(n), IN(n), OUT(n), OUT(n));
}
CASE(gelu_forward) {
  UPDATES;
  CALLS(gelu_fwd, o->a * o->b, LRL_GELU_ERF, o->dtype, IN(o->a * o->b), OUT(o->a * o->b));
}
CASE(gelu_backward) {
  UPDATES;
  CALLS(gelu_bwd, o->a * o->b, LRL_GELU_ERF, o->dtype, IN(o->a * o->b), IN(o->a * o->b),
        OUT(o->a * o->b));
}
CASE(gelu_quick_forward) {
  UPDATES;
  CALLS(gelu_fwd, o->a * o->b, LRL_GELU_QUICK, o->dtype, IN(o->a * o->b), OUT(o->a * o->b));
}
CASE(add) {
  UPDATES;
  CALLS(add, o->a * o->b, o->dtype, IN(o->a * o->b), IN(o->a * o->b), OUT(o->a * o->b));
}
CASE(colsum) {
  READS;
  CALLS(colsum, o->a, o->b, o->dtype, IN(o->a * o->b), F32_ACC(o->b));
}
CASE(dropout) {
  UPDATES;
  CALLS(dropout, o->a, o->b, o->dtype, 0.1f, 1, zeros(o, LRL_I64, o->a), IN(o->a * o->b),
        OUT(o->a * o->b));
}
CASE(head_forward) {
  READS;
  CALLS(head_fwd, o->a, o->b, o->dtype, IN(o->a * o->b), IN(o->b), F32_OUT(o->a));
}
CASE(head_backward) {
  UPDATES;
  CALLS(head_bwd, o->a, o->b, o->dtype, IN(o->a * o->b), IN(o->b), F32_IN(o->a), OUT(o->a * o->b),
        F32_ACC(o->b));
}

/* a sequences of b tokens, c wide */
CASE(mean_pool_forward) {
  const int64_t n = o->a * o->b * o->c;
  READS;
  CALLS(mean_pool_fwd, layout(o, o->a, o->b), o->a, o->c, o->dtype, indices(o, o->a, o->a, 1),
        IN(n), OUT(o->a * o->c));
}
CASE(mean_pool_backward) {
  const int64_t n = o->a * o->b * o->c;
  UPDATES;
  CALLS(mean_pool_bwd, layout(o, o->a, o->b), o->a, o->c, o->dtype, indices(o, o->a, o->a, 1),
        IN(o->a * o->c), OUT(n));
}

/* ---- images: a of 3 x b x b pixels, patches of c; or a of b patches, c wide ---- */

/* 1024 wide, as CLIP's ViT-L. */
CASE(patch_embed_forward) {
  FLOPS;
  CALLS(patch_embed_fwd, o->a, 3, o->b, o->c, 1024, o->dtype, F32_IN(o->a * 3 * o->b * o->b),
        IN(1024 * 3 * o->c * o->c), o->version, OUT(o->a * (o->b / o->c) * (o->b / o->c) * 1024));
}
CASE(patch_embed_backward) {
  FLOPS;
  CALLS(patch_embed_bwd, o->a, 3, o->b, o->c, 1024, o->dtype, F32_IN(o->a * 3 * o->b * o->b), NULL,
        0, IN(o->a * (o->b / o->c) * (o->b / o->c) * 1024), F32_ACC(1024 * 3 * o->c * o->c), NULL);
}
CASE(vit_embed_forward) {
  const int64_t n = o->a * o->b * o->c;
  UPDATES;
  CALLS(vit_embed_fwd, o->a, o->b, o->c, o->dtype, IN(n), IN(o->c), IN((o->b + 1) * o->c),
        OUT(n + o->a * o->c));
}
CASE(vit_embed_backward) {
  const int64_t n = o->a * o->b * o->c;
  UPDATES;
  CALLS(vit_embed_bwd, o->a, o->b, o->c, o->dtype, IN(n + o->a * o->c), OUT(n), F32_ACC(o->c),
        F32_ACC((o->b + 1) * o->c));
}

/* ---- losses: a tokens, vocabulary b; a pairs; a sequences of b tokens ---- */

CASE(cross_entropy) {
  const int64_t n = o->a * o->b;
  UPDATES;
  CALLS(cross_entropy, o->a, o->b, F32_IN(n), NULL, indices(o, o->a, o->b, 7919), F32_OUT(o->a),
        NULL, o->dtype, OUT(n));
}
CASE(logprob_forward) {
  READS;
  CALLS(logprob_fwd, o->a, o->b, 1.0f, F32_IN(o->a * o->b), indices(o, o->a, o->b, 7919),
        F32_OUT(o->a), F32_OUT(o->a), F32_OUT(o->a), false);
}
CASE(logprob_backward) {
  const int64_t n = o->a * o->b;
  float *lse = F32_ACC(o->a);
  for (int64_t i = 0; lse != NULL && i < o->a; i++)
    lse[i] = 10.0f;
  UPDATES;
  CALLS(logprob_bwd, o->a, o->b, 1.0f, F32_IN(n), indices(o, o->a, o->b, 7919), lse, NULL,
        F32_IN(o->a), NULL, o->dtype, OUT(n));
}
/* The whole output layer: logits, loss and both gradients, in chunks (model/nn.h). a tokens, b
 * wide, vocabulary c. */
CASE(linear_cross_entropy) {
  struct lrl_param_set params = {0};
  const int unit = lrl_param_unit_add(&params, "output", o->dtype, true);
  lrl_param_add(&params, unit, "output.weight", o->c, o->b, 0.02f);
  lrl_status s = lrl_param_set_alloc(&params, o->memory);
  if (s == LRL_OK)
    s = lrl_param_set_alloc_grads(&params, o->memory);
  params.units[unit].version = o->version;
  void *x = IN(o->a * o->b);
  int32_t *target = indices(o, o->a, o->c, 7919);
  const size_t mark = lrl_arena_mark(o->memory);
  const struct lrl_gemm_args logits = {.m = o->a, .n = o->c, .k = o->b};
  FLOPS;
  o->work = 3 * lrl_gemm_cost(&logits).flops; /* and as much for each gradient */
  while (s == LRL_OK && lrl_bench_more(o)) {
    struct lrl_tape tape;
    lrl_tape_init(&tape, o->ctx, o->memory, true);
    struct lrl_tensor *in_tensor = lrl_tensor_wrap(&tape, o->dtype, o->a, o->b, x);
    in_tensor->needs_grad = true;
    lrl_nn_linear_cross_entropy(&tape, in_tensor, lrl_tensor_param(&tape, &params.units[unit], 0),
                                target, 1.0f);
    s = tape.status;
    lrl_arena_reset(o->memory, mark);
  }
  lrl_param_set_free(&params);
  return s;
}
CASE(sample) {
  READS;
  CALLS(sample, .n_tokens = o->a, .n_vocab = o->b, .logits = F32_IN(o->a * o->b),
        .uniform = zeros(o, LRL_F64, o->a), .temperature = 1.0, .top_p = 0.9,
        .repetition_penalty = 1.0, .token = raw(o, LRL_I32, o->a), .logprobs = F32_OUT(o->a));
}
CASE(bradley_terry) {
  UPDATES;
  CALLS(bradley_terry, .n = o->a, .weight = 1.0f, .chosen = F32_IN(o->a), .rejected = F32_IN(o->a),
        .loss = F64_OUT(o->a), .d_chosen = F32_OUT(o->a), .d_rejected = F32_OUT(o->a));
}
CASE(approx_kl) {
  const int64_t n = o->a * o->b;
  UPDATES;
  CALLS(approx_kl, .layout = layout(o, o->a, o->b), .estimator = LRL_KL_K3, .logprobs = F32_IN(n),
        .ref_logprobs = F32_IN(n), .kl = F32_OUT(n), .coef = 0.1, .seq_weight = F32_IN(o->a),
        .loss = F64_OUT(1), .d_logprobs = F32_ACC(n));
}
CASE(ppo_policy) {
  const int64_t n = o->a * o->b;
  UPDATES;
  CALLS(ppo_policy, .layout = layout(o, o->a, o->b), .clip_low = 0.2, .clip_high = 0.2,
        .logprobs = F32_IN(n), .old_logprobs = F32_IN(n), .advantages = F32_IN(n),
        .seq_weight = F32_IN(o->a),
        .stats = lrl_arena_alloc(o->memory, sizeof(struct lrl_ppo_policy_stats)),
        .d_logprobs = F32_OUT(n));
}
CASE(ppo_value) {
  const int64_t n = o->a * o->b;
  UPDATES;
  CALLS(ppo_value, .layout = layout(o, o->a, o->b), .cliprange = 0.2, .values = F32_IN(n),
        .old_values = F32_IN(n), .returns = F32_IN(n), .seq_weight = F32_IN(o->a),
        .stats = lrl_arena_alloc(o->memory, sizeof(struct lrl_ppo_value_stats)),
        .d_values = F32_OUT(n));
}
CASE(gae) {
  const int64_t n = o->a * o->b;
  UPDATES;
  CALLS(gae, .layout = layout(o, o->a, o->b), .gamma = 1.0, .lam = 0.95, .rewards = F32_IN(n),
        .values = F32_IN(n), .advantages = F32_OUT(n), .returns = F32_OUT(n));
}

/* ---- ops on a numbers ---- */

CASE(moments) {
  READS;
  CALLS(moments, .n = o->a, .x = F32_IN(o->a),
        .out = lrl_arena_alloc(o->memory, sizeof(struct lrl_moments)));
}
CASE(whiten) {
  UPDATES;
  CALLS(whiten, .n = o->a, .x = F32_IN(o->a), .mean = 0.1, .rstd = 1.1, .out = F32_OUT(o->a));
}
CASE(adamw) {
  float *master = F32_IN(o->a);
  UPDATES;
  CALLS(adamw, .n = o->a, .param_dtype = o->dtype,
        .param = o->dtype == LRL_BF16 ? OUT(o->a) : (void *)master, .master = master,
        .m = F32_ACC(o->a), .v = F32_ACC(o->a), .grad = F32_IN(o->a), .lr = 1e-4, .beta1 = 0.9,
        .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .grad_scale = 1.0, .step = 1);
}
CASE(sumsq) {
  READS;
  CALLS(sumsq, .n = o->a, .x = F32_IN(o->a), .out = F64_OUT(1));
}
CASE(scale) {
  UPDATES;
  CALLS(scale, .n = o->a, .x = F32_IN(o->a), .alpha = 1.0f);
}
CASE(ema) {
  UPDATES;
  CALLS(ema, .n = o->a, .dtype = o->dtype, .beta = 0.992, .x = IN(o->a), .y = F32_ACC(o->a));
}
CASE(cast_from_f32) {
  UPDATES;
  CALLS(cast, .n = o->a, .from = LRL_F32, .to = o->dtype, .x = F32_IN(o->a), .y = OUT(o->a));
}

#define WANT_ROW(op, what, run, a, b, c, want_f32, want_bf16)                                      \
  { op, what, run, a, b, c, {want_f32, want_bf16}, false, false }
#define ROW(op, what, run, a, b, c) WANT_ROW(op, what, run, a, b, c, 0, 0)
#define F32_ROW(op, what, run, a, b, c)                                                            \
  { op, what, run, a, b, c, {0, 0}, true, false }
#define BF16_ROW(op, what, run, a, b, c, want)                                                     \
  { op, what, run, a, b, c, {0, want}, false, true }

/* Thresholds are those of docs/bench.md. */
const struct lrl_bench_row lrl_bench_rows[] = {
    WANT_ROW("gemm", "forward", gemm_forward, 512, 256, 1024, 84, 83),
    WANT_ROW("gemm", "bwd-data", gemm_bwd_data, 512, 256, 1024, 84, 83),
    WANT_ROW("gemm", "bwd-weight", gemm_bwd_weight, 512, 256, 1024, 78, 73),
    WANT_ROW("gemm", "forward", gemm_forward, 2048, 512, 2048, 84, 83),
    WANT_ROW("gemm", "bwd-data", gemm_bwd_data, 2048, 512, 2048, 84, 83),
    WANT_ROW("gemm", "bwd-weight", gemm_bwd_weight, 2048, 512, 2048, 78, 73),
    WANT_ROW("gemm", "forward", gemm_forward, 2048, 1024, 4096, 84, 83),
    WANT_ROW("gemm", "bwd-data", gemm_bwd_data, 2048, 1024, 4096, 84, 83),
    WANT_ROW("gemm", "bwd-weight", gemm_bwd_weight, 2048, 1024, 4096, 78, 73),
    WANT_ROW("gemm", "forward", gemm_forward, 64, 512, 512, 0, 83),
    WANT_ROW("gemm", "bwd-data", gemm_bwd_data, 64, 512, 512, 0, 83),
    WANT_ROW("gemm", "bwd-weight", gemm_bwd_weight, 64, 512, 512, 0, 73),
    ROW("gemm", "decode", gemm_decode, 8, 1024, 4096),
    WANT_ROW("gemm", "decode", gemm_decode, 1, 1024, 4096, 60, 60),
    WANT_ROW("attention_fwd", "", attention_forward, 8, 512, 64, 0, 42),
    WANT_ROW("attention_fwd", "", attention_forward, 4, 1024, 64, 0, 42),
    ROW("attention_fwd", "", attention_forward, 8, 512, 128),
    ROW("attention_fwd", "", attention_forward, 4, 1024, 128),
    ROW("attention_bwd", "", attention_backward, 8, 512, 64),
    ROW("attention_bwd", "", attention_backward, 4, 1024, 64),
    ROW("attention_bwd", "", attention_backward, 8, 512, 128),
    ROW("attention_bwd", "", attention_backward, 4, 1024, 128),
    ROW("attention_decode", "", attention_decode, 32, 1024, 64),
    ROW("kv_write", "", kv_write, 8192, 512, 64),
    ROW("rms_norm_fwd", "+ residual", rms_norm_forward, 8192, 1024, 0),
    ROW("rms_norm_bwd", "", rms_norm_backward, 8192, 1024, 0),
    ROW("layer_norm_fwd", "", layer_norm_forward, 8192, 1024, 0),
    ROW("layer_norm_bwd", "", layer_norm_backward, 8192, 1024, 0),
    ROW("rope_qkv_fwd", "", rope_forward, 8192, 512, 64),
    ROW("rope_qkv_bwd", "", rope_backward, 8192, 512, 64),
    ROW("swiglu_fwd", "", swiglu_forward, 8192, 1408, 0),
    ROW("swiglu_bwd", "", swiglu_backward, 8192, 1408, 0),
    ROW("gelu_fwd", "erf", gelu_forward, 8192, 1024, 0),
    ROW("gelu_fwd", "quick", gelu_quick_forward, 8192, 1024, 0),
    ROW("gelu_bwd", "erf", gelu_backward, 8192, 1024, 0),
    ROW("embedding_fwd", "", embedding_forward, 16384, 512, 32000),
    ROW("embedding_bwd", "", embedding_backward, 16384, 512, 32000),
    ROW("gather_rows", "", gather_rows, 16384, 1024, 0),
    ROW("scatter_rows", "", scatter_rows, 16384, 1024, 0),
    ROW("add", "", add, 8192, 1024, 0),
    ROW("colsum", "", colsum, 16384, 1024, 0),
    ROW("dropout", "", dropout, 8192, 1024, 0),
    ROW("patch_embed_fwd", "", patch_embed_forward, 4, 560, 14),
    ROW("patch_embed_bwd", "", patch_embed_backward, 4, 560, 14),
    ROW("vit_embed_fwd", "", vit_embed_forward, 16, 1600, 1024),
    ROW("vit_embed_bwd", "", vit_embed_backward, 16, 1600, 1024),
    ROW("mean_pool_fwd", "", mean_pool_forward, 32, 512, 1024),
    ROW("mean_pool_bwd", "", mean_pool_backward, 32, 512, 1024),
    ROW("head_fwd", "", head_forward, 16384, 1024, 0),
    ROW("head_bwd", "", head_backward, 16384, 1024, 0),
    ROW("linear_cross_entropy", "", linear_cross_entropy, 512, 512, 32000),
    ROW("cross_entropy", "", cross_entropy, 512, 32000, 0),
    F32_ROW("logprob_fwd", "", logprob_forward, 512, 32000, 0),
    ROW("logprob_bwd", "", logprob_backward, 512, 32000, 0),
    F32_ROW("sample", "top_p 0.9", sample, 32, 32000, 0),
    F32_ROW("bradley_terry", "", bradley_terry, 1 << 22, 0, 0),
    F32_ROW("approx_kl", "k3", approx_kl, 8192, 512, 0),
    F32_ROW("ppo_policy", "", ppo_policy, 8192, 512, 0),
    F32_ROW("ppo_value", "", ppo_value, 8192, 512, 0),
    F32_ROW("gae", "", gae, 8192, 512, 0),
    F32_ROW("moments", "", moments, 1 << 24, 0, 0),
    F32_ROW("whiten", "", whiten, 1 << 24, 0, 0),
    WANT_ROW("adamw", "", adamw, 42 << 20, 0, 0, 83, 83),
    F32_ROW("sumsq", "", sumsq, 42 << 20, 0, 0),
    F32_ROW("scale", "", scale, 1 << 25, 0, 0),
    ROW("ema", "", ema, 1 << 25, 0, 0),
    ROW("cast", "", cast_from_f32, 1 << 25, 0, 0),
};
const int lrl_bench_n_rows = sizeof lrl_bench_rows / sizeof lrl_bench_rows[0];

/* A layer of a 7B model at 16384 tokens, its vocabulary in chunks of 2048 and its share of the
 * optimizer over eight GPUs; the vision tower's widths. Thresholds are those of docs/bench.md. */
const struct lrl_bench_row lrl_bench_7b_rows[] = {
    BF16_ROW("gemm", "qkv", gemm_forward, 16384, 4096, 6144, 0),
    BF16_ROW("gemm", "ffn up", gemm_forward, 16384, 4096, 14336, 0),
    BF16_ROW("gemm", "ffn up, bwd-data", gemm_bwd_data, 16384, 4096, 14336, 0),
    BF16_ROW("gemm", "ffn up, bwd-weight", gemm_bwd_weight, 16384, 4096, 14336, 0),
    BF16_ROW("gemm", "decode", gemm_decode, 1, 4096, 14336, 0),
    BF16_ROW("attention_fwd", "", attention_forward, 4, 4096, 128, 45),
    BF16_ROW("attention_bwd", "", attention_backward, 4, 4096, 128, 0),
    BF16_ROW("attention_fwd", "", attention_forward, 4, 4096, 64, 0),
    BF16_ROW("attention_bwd", "", attention_backward, 4, 4096, 64, 0),
    BF16_ROW("attention_decode", "", attention_decode, 64, 2048, 128, 0),
    BF16_ROW("kv_write", "", kv_write, 16384, 4096, 128, 0),
    WANT_ROW("rms_norm_fwd", "+ residual", rms_norm_forward, 16384, 4096, 0, 80, 80),
    WANT_ROW("rms_norm_bwd", "", rms_norm_backward, 16384, 4096, 0, 65, 65),
    WANT_ROW("layer_norm_fwd", "", layer_norm_forward, 16384, 1024, 0, 80, 80),
    WANT_ROW("layer_norm_bwd", "", layer_norm_backward, 16384, 1024, 0, 65, 65),
    WANT_ROW("rope_qkv_fwd", "", rope_forward, 16384, 4096, 128, 80, 80),
    WANT_ROW("rope_qkv_bwd", "", rope_backward, 16384, 4096, 128, 80, 80),
    WANT_ROW("swiglu_fwd", "", swiglu_forward, 16384, 14336, 0, 80, 80),
    WANT_ROW("swiglu_bwd", "", swiglu_backward, 16384, 14336, 0, 80, 80),
    ROW("gelu_fwd", "quick", gelu_quick_forward, 16384, 4096, 0),
    WANT_ROW("embedding_fwd", "", embedding_forward, 16384, 4096, 92544, 80, 80),
    ROW("embedding_bwd", "", embedding_backward, 16384, 4096, 92544),
    WANT_ROW("add", "", add, 16384, 4096, 0, 80, 80),
    ROW("colsum", "", colsum, 16384, 4096, 0),
    ROW("head_fwd", "", head_forward, 16384, 4096, 0),
    ROW("head_bwd", "", head_backward, 16384, 4096, 0),
    BF16_ROW("linear_cross_entropy", "", linear_cross_entropy, 4096, 4096, 92544, 0),
    WANT_ROW("cross_entropy", "", cross_entropy, 2048, 92544, 0, 80, 80),
    F32_ROW("logprob_fwd", "", logprob_forward, 2048, 92544, 0),
    WANT_ROW("logprob_bwd", "", logprob_backward, 2048, 92544, 0, 80, 80),
    F32_ROW("sample", "top_p 0.9", sample, 256, 92544, 0),
    F32_ROW("ppo_policy", "", ppo_policy, 64, 4096, 0),
    F32_ROW("ppo_value", "", ppo_value, 64, 4096, 0),
    F32_ROW("gae", "", gae, 64, 4096, 0),
    WANT_ROW("adamw", "", adamw, 1 << 28, 0, 0, 80, 80),
    F32_ROW("sumsq", "", sumsq, 1 << 28, 0, 0),
    ROW("ema", "", ema, 1 << 28, 0, 0),
    ROW("cast", "", cast_from_f32, 1 << 28, 0, 0),
};
const int lrl_bench_n_7b_rows = sizeof lrl_bench_7b_rows / sizeof lrl_bench_7b_rows[0];
