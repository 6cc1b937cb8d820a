#include "kernels/ref/ref.h"

#include <math.h>
#include <string.h>

/* Row of the j-th key that sequence s sees: its parent's tokens come first. */
static int64_t key_row(const struct lrl_layout *l, int64_t s, int64_t j) {
  const int32_t p = l->parent == NULL ? -1 : l->parent[s];
  const int64_t n_parent = p < 0 ? 0 : l->length[p];
  return j < n_parent ? l->start[p] + j : l->start[s] + (j - n_parent);
}

/* Number of keys that token i of sequence s sees. */
static int64_t n_keys(const struct lrl_layout *l, int64_t s, int64_t i, bool causal) {
  const int32_t p = l->parent == NULL ? -1 : l->parent[s];
  return (p < 0 ? 0 : l->length[p]) + (causal ? i + 1 : l->length[s]);
}

static double dot(lrl_dtype t, const void *x, int64_t ix, const void *y, int64_t iy, int64_t d) {
  double sum = 0.0;
  for (int64_t i = 0; i < d; i++)
    sum += lrl_ref_load(t, x, ix + i) * lrl_ref_load(t, y, iy + i);
  return sum;
}

static void forward_row(const struct lrl_attention_fwd_args *a, int64_t s, int64_t i, int64_t h,
                        double *acc) {
  const struct lrl_layout *l = a->layout;
  const int64_t d = a->head_dim, hk = h / (a->n_heads / a->n_kv_heads), row = l->start[s] + i;
  const int64_t n = n_keys(l, s, i, a->causal);
  double max = -INFINITY, sum = 0.0;
  for (int64_t j = 0; j < n; j++)
    max = fmax(max, (double)a->scale * dot(a->dtype, a->q, row * a->ld_q + h * d, a->k,
                                           key_row(l, s, j) * a->ld_k + hk * d, d));
  memset(acc, 0, (size_t)d * sizeof *acc);
  for (int64_t j = 0; j < n; j++) {
    const int64_t r = key_row(l, s, j);
    const double p = exp((double)a->scale * dot(a->dtype, a->q, row * a->ld_q + h * d, a->k,
                                                r * a->ld_k + hk * d, d) -
                         max);
    sum += p;
    for (int64_t c = 0; c < d; c++)
      acc[c] += p * lrl_ref_load(a->dtype, a->v, r * a->ld_v + hk * d + c);
  }
  for (int64_t c = 0; c < d; c++)
    lrl_ref_store(a->dtype, a->o, row * a->ld_o + h * d + c, acc[c] / sum);
  a->lse[h * l->n_tokens + row] = (float)(max + log(sum));
}

lrl_status REF_FN(attention_fwd)(struct lrl_ctx *ctx, const struct lrl_attention_fwd_args *a) {
  const int64_t d = a->head_dim;
  double *acc = lrl_arena_alloc(&ctx->scratch, (size_t)(a->n_heads * d) * sizeof *acc);
  if (acc == NULL)
    return LRL_ERR_MEMORY;
#pragma omp parallel for
  for (int64_t h = 0; h < a->n_heads; h++)
    for (int64_t s = 0; s < a->layout->n_seqs; s++)
      for (int64_t i = 0; i < a->layout->length[s]; i++)
        forward_row(a, s, i, h, acc + h * d);
  return LRL_OK;
}

/* Adds the gradients of one query row: p = exp(score - lse), ds = p*(do.v - do.o). */
static void backward_row(const struct lrl_attention_bwd_args *a, int64_t s, int64_t i, int64_t h,
                         double *dq, double *dk, double *dv) {
  const struct lrl_layout *l = a->layout;
  const lrl_dtype t = a->dtype;
  const int64_t d = a->head_dim, hk = h / (a->n_heads / a->n_kv_heads), row = l->start[s] + i;
  const int64_t iq = row * a->ld_q + h * d, io = row * a->ld_o + h * d;
  const int64_t n = n_keys(l, s, i, a->causal);
  const double delta = dot(t, a->d_o, io, a->o, io, d);
  for (int64_t j = 0; j < n; j++) {
    const int64_t r = key_row(l, s, j), ik = r * a->ld_k + hk * d, iv = r * a->ld_v + hk * d;
    const double p = exp((double)a->scale * dot(t, a->q, iq, a->k, ik, d) -
                         (double)a->lse[h * l->n_tokens + row]);
    const double ds = (double)a->scale * p * (dot(t, a->d_o, io, a->v, iv, d) - delta);
    const int64_t out_q = (row * a->n_heads + h) * d, out_k = (r * a->n_kv_heads + hk) * d;
    for (int64_t c = 0; c < d; c++) {
      dq[out_q + c] += ds * lrl_ref_load(t, a->k, ik + c);
      dk[out_k + c] += ds * lrl_ref_load(t, a->q, iq + c);
      dv[out_k + c] += p * lrl_ref_load(t, a->d_o, io + c);
    }
  }
}

static void store_rows(lrl_dtype t, void *out, int64_t ld, const double *x, int64_t n,
                       int64_t width) {
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < width; j++)
      lrl_ref_store(t, out, i * ld + j, x[i * width + j]);
}

lrl_status REF_FN(attention_bwd)(struct lrl_ctx *ctx, const struct lrl_attention_bwd_args *a) {
  const int64_t n = a->layout->n_tokens, wq = a->n_heads * a->head_dim,
                wk = a->n_kv_heads * a->head_dim;
  if (n == 0 || wq == 0)
    return LRL_OK;
  const size_t bytes = (size_t)(n * (wq + 2 * wk)) * sizeof(double);
  double *dq = lrl_arena_alloc(&ctx->scratch, bytes);
  if (dq == NULL)
    return LRL_ERR_MEMORY;
  memset(dq, 0, bytes);
  double *dk = dq + n * wq, *dv = dk + n * wk;
  const int64_t group = a->n_heads / a->n_kv_heads;
#pragma omp parallel for
  for (int64_t hk = 0; hk < a->n_kv_heads; hk++)
    for (int64_t h = hk * group; h < (hk + 1) * group; h++)
      for (int64_t s = 0; s < a->layout->n_seqs; s++)
        for (int64_t i = 0; i < a->layout->length[s]; i++)
          backward_row(a, s, i, h, dq, dk, dv);
  store_rows(a->dtype, a->dq, a->ld_q, dq, n, wq);
  store_rows(a->dtype, a->dk, a->ld_k, dk, n, wk);
  store_rows(a->dtype, a->dv, a->ld_v, dv, n, wk);
  return LRL_OK;
}
