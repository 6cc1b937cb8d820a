#include "kernels/onednn/gemm.h"
#include "kernels/onednn/plan.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* Products are cut into pieces of a few fixed sizes: a batch has a different number of tokens each
 * time, and a primitive is generated code, so a primitive per number of tokens would cost more than
 * it saves. Rows: pieces of ROWS, one multiple of ROW_STEP, one remainder. Depth of transposed
 * products (gradients of weights, where the tokens are the depth): pieces of DEPTH, one multiple of
 * DEPTH_STEP, one remainder filled up with zeros. */
#define ROWS 512
#define ROW_STEP 32
#define DEPTH 2048
#define DEPTH_STEP 128

lrl_status lrl_onednn_create(struct lrl_ctx *ctx) {
  struct lrl_onednn *s = calloc(1, sizeof *s);
  if (s == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the cpu backend's state");
  ctx->state = s;
  s->bf16 = ctx->backend == lrl_backend_cpu_isa("avx512");
  dnnl_status_t st = dnnl_engine_create(&s->engine, dnnl_cpu, 0);
  if (st == dnnl_success)
    st = dnnl_stream_create(&s->stream, s->engine, dnnl_stream_default_flags);
  return lrl_onednn_check(st, "start");
}
void lrl_onednn_destroy(struct lrl_ctx *ctx) {
  struct lrl_onednn *s = ctx->state;
  if (s == NULL)
    return;
  lrl_plans_free(s);
  dnnl_stream_destroy(s->stream);
  dnnl_engine_destroy(s->engine);
  free(s);
  ctx->state = NULL;
}

static const void *at(const void *p, int64_t i, lrl_dtype t) {
  return (const char *)p + i * lrl_dtype_bytes(t);
}
static void *at_mut(void *p, int64_t i, lrl_dtype t) { return (char *)p + i * lrl_dtype_bytes(t); }
static dnnl_status_t set(dnnl_memory_t memory, const void *data) {
  union {
    const void *in;
    void *out;
  } p = {.in = data}; /* oneDNN's handles are not const; operands are only read */
  return dnnl_memory_set_data_handle(memory, p.out);
}

/* One primitive: the whole product in `a`, B from `packed` when given. */
static lrl_status run(struct lrl_ctx *ctx, const struct lrl_gemm_args *a,
                      const struct lrl_packed *packed) {
  struct lrl_onednn *s = ctx->state;
  const struct lrl_plan_key key = {.m = a->m,
                                   .n = a->n,
                                   .k = a->k,
                                   .ld_a = a->ld_a,
                                   .ld_b = packed != NULL ? 0 : a->ld_b,
                                   .ld_c = a->ld_c,
                                   .packed = packed,
                                   .trans_a = a->trans_a,
                                   .trans_b = packed == NULL && a->trans_b,
                                   .accumulate = a->beta != 0.0f,
                                   .bias = a->bias != NULL,
                                   .dtype = a->dtype,
                                   .c_dtype = a->c_dtype};
  struct lrl_plan *p;
  LRL_TRY(lrl_plan_get(s, &key, &p));
  const size_t mark = lrl_arena_mark(&ctx->scratch);
  void *scratch = lrl_arena_alloc(&ctx->scratch, p->scratch_bytes);
  if (scratch == NULL)
    return LRL_ERR_MEMORY;
  dnnl_status_t st = set(p->a, a->a);
  if (st == dnnl_success && packed == NULL)
    st = set(p->b, a->b);
  if (st == dnnl_success && a->bias != NULL)
    st = set(p->bias, a->bias);
  if (st == dnnl_success)
    st = dnnl_memory_set_data_handle(p->c, a->c);
  if (st == dnnl_success)
    st = dnnl_memory_set_data_handle(p->scratch, scratch);
  const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, p->a},
                                  {DNNL_ARG_WEIGHTS, packed != NULL ? packed->memory : p->b},
                                  {DNNL_ARG_DST, p->c},
                                  {DNNL_ARG_SCRATCHPAD, p->scratch},
                                  {DNNL_ARG_BIAS, p->bias}};
  if (st == dnnl_success)
    st = dnnl_primitive_execute(p->primitive, s->stream, a->bias != NULL ? 5 : 4, args);
  if (st == dnnl_success)
    st = dnnl_stream_wait(s->stream);
  lrl_arena_reset(&ctx->scratch, mark);
  return lrl_onednn_check(st, "run a matrix product");
}

static int64_t piece(int64_t left, int64_t full, int64_t step) {
  return left >= full ? full : left >= step ? left / step * step : left;
}

static lrl_status by_rows(struct lrl_ctx *ctx, const struct lrl_gemm_args *a,
                          const struct lrl_packed *packed) {
  for (int64_t i = 0, rows; i < a->m; i += rows) {
    struct lrl_gemm_args part = *a;
    rows = part.m = piece(a->m - i, ROWS, ROW_STEP);
    part.a = at(a->a, i * a->ld_a, a->dtype);
    part.c = at_mut(a->c, i * a->ld_c, a->c_dtype);
    LRL_TRY(run(ctx, &part, packed));
  }
  return LRL_OK;
}

/* `rows` rows of `width` from x, followed by zero rows up to DEPTH_STEP; NULL without memory. */
static void *filled_up(struct lrl_ctx *ctx, const void *x, int64_t rows, int64_t width, int64_t ld,
                       lrl_dtype t) {
  const int64_t bytes = width * lrl_dtype_bytes(t);
  char *out = lrl_arena_alloc(&ctx->scratch, (size_t)(DEPTH_STEP * bytes));
  if (out == NULL)
    return NULL;
  for (int64_t r = 0; r < rows; r++)
    memcpy(out + r * bytes, at(x, r * ld, t), (size_t)bytes);
  memset(out + rows * bytes, 0, (size_t)((DEPTH_STEP - rows) * bytes));
  return out;
}
/* A^T B summed over pieces of the depth, in order. C is f32. */
static lrl_status by_depth(struct lrl_ctx *ctx, const struct lrl_gemm_args *a) {
  for (int64_t i = 0, depth; i < a->k; i += depth) {
    const size_t mark = lrl_arena_mark(&ctx->scratch);
    struct lrl_gemm_args part = *a;
    depth = part.k = piece(a->k - i, DEPTH, DEPTH_STEP);
    part.a = at(a->a, i * a->ld_a, a->dtype);
    part.b = at(a->b, i * a->ld_b, a->dtype);
    if (i > 0) {
      part.beta = 1.0f;
      part.bias = NULL;
    }
    if (depth < DEPTH_STEP) {
      part.k = DEPTH_STEP;
      part.a = filled_up(ctx, part.a, depth, a->m, a->ld_a, a->dtype);
      part.b = filled_up(ctx, part.b, depth, a->n, a->ld_b, a->dtype);
      part.ld_a = a->m;
      part.ld_b = a->n;
      if (part.a == NULL || part.b == NULL)
        return LRL_ERR_MEMORY;
    }
    LRL_TRY(run(ctx, &part, NULL));
    lrl_arena_reset(&ctx->scratch, mark);
  }
  return LRL_OK;
}

/* No depth: C = beta*C + bias. */
static lrl_status empty_depth(struct lrl_ctx *ctx, const struct lrl_gemm_args *a) {
  struct lrl_cast_args cast = {a->n, a->dtype, a->c_dtype, a->bias, NULL};
  for (int64_t i = 0; i < a->m; i++) {
    void *row = at_mut(a->c, i * a->ld_c, a->c_dtype);
    if (a->bias == NULL) {
      if (a->beta == 0.0f)
        memset(row, 0, (size_t)(a->n * lrl_dtype_bytes(a->c_dtype)));
      continue;
    }
    cast.y = row;
    if (a->beta == 0.0f) {
      LRL_TRY(ctx->backend->cast(ctx, &cast));
      continue;
    }
    for (int64_t j = 0; j < a->n; j++) {
      const float b = a->dtype == LRL_BF16 ? lrl_bf16_to_f32(((const uint16_t *)a->bias)[j])
                                           : ((const float *)a->bias)[j];
      if (a->c_dtype == LRL_F32)
        ((float *)row)[j] += b;
      else
        ((uint16_t *)row)[j] = lrl_f32_to_bf16(lrl_bf16_to_f32(((uint16_t *)row)[j]) + b);
    }
  }
  return LRL_OK;
}

static lrl_status product(struct lrl_ctx *ctx, const struct lrl_gemm_args *a,
                          const struct lrl_packed *packed) {
  if (a->trans_a)
    return a->c_dtype == LRL_F32 && !a->trans_b ? by_depth(ctx, a) : run(ctx, a, packed);
  return by_rows(ctx, a, packed);
}

/* Dense f32 copy of a bf16 matrix in scratch; NULL without memory. */
static float *widened(struct lrl_ctx *ctx, const void *x, int64_t rows, int64_t width, int64_t ld,
                      lrl_status *status) {
  float *out = lrl_arena_alloc(&ctx->scratch, (size_t)(rows * width) * sizeof *out);
  *status = out == NULL ? LRL_ERR_MEMORY : LRL_OK;
  for (int64_t r = 0; r < rows && *status == LRL_OK; r++) {
    const struct lrl_cast_args cast = {width, LRL_BF16, LRL_F32, at(x, r * ld, LRL_BF16),
                                       out + r * width};
    *status = ctx->backend->cast(ctx, &cast);
  }
  return out;
}
/* bf16 without hardware dot products: operands are widened, the product is f32. */
static lrl_status by_widening(struct lrl_ctx *ctx, const struct lrl_gemm_args *a,
                              const struct lrl_packed *packed) {
  lrl_status st;
  struct lrl_gemm_args w = *a;
  w.dtype = w.c_dtype = LRL_F32;
  w.ld_a = a->trans_a ? a->m : a->k;
  w.a = widened(ctx, a->a, a->trans_a ? a->k : a->m, w.ld_a, a->ld_a, &st);
  LRL_TRY(st);
  if (packed == NULL) {
    w.ld_b = a->trans_b ? a->k : a->n;
    w.b = widened(ctx, a->b, a->trans_b ? a->n : a->k, w.ld_b, a->ld_b, &st);
    LRL_TRY(st);
  }
  if (a->bias != NULL) {
    w.bias = widened(ctx, a->bias, 1, a->n, a->n, &st);
    LRL_TRY(st);
  }
  if (a->c_dtype == LRL_F32)
    return product(ctx, &w, packed);
  w.ld_c = a->n;
  w.c = a->beta != 0.0f ? (void *)widened(ctx, a->c, a->m, a->n, a->ld_c, &st)
                        : lrl_arena_alloc(&ctx->scratch, (size_t)(a->m * a->n) * sizeof(float));
  if (st != LRL_OK || w.c == NULL)
    return LRL_ERR_MEMORY;
  LRL_TRY(product(ctx, &w, packed));
  for (int64_t i = 0; i < a->m; i++) {
    const struct lrl_cast_args cast = {a->n, LRL_F32, LRL_BF16, (float *)w.c + i * a->n,
                                       at_mut(a->c, i * a->ld_c, LRL_BF16)};
    LRL_TRY(ctx->backend->cast(ctx, &cast));
  }
  return LRL_OK;
}

lrl_status lrl_onednn_gemm(struct lrl_ctx *ctx, const struct lrl_gemm_args *a) {
  if (a->m == 0 || a->n == 0)
    return LRL_OK;
  if (a->k == 0)
    return empty_depth(ctx, a);
  if (omp_get_max_threads() != ctx->n_threads)
    omp_set_num_threads(ctx->n_threads); /* oneDNN takes its number of threads from OpenMP */
  const struct lrl_onednn *s = ctx->state;
  const bool widen = a->dtype == LRL_BF16 && !s->bf16;
  struct lrl_packed *packed = NULL;
  if (a->b_version != 0)
    LRL_TRY(lrl_packed_get(ctx, a, widen ? LRL_F32 : a->dtype, &packed));
  const size_t mark = lrl_arena_mark(&ctx->scratch);
  lrl_status status = widen ? by_widening(ctx, a, packed) : product(ctx, a, packed);
  lrl_arena_reset(&ctx->scratch, mark);
  return status;
}
