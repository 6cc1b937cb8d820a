/* Attention backward (docs/kernels/attention.md). Per pair of blocks, with scores transposed:
 *   P = exp2(c K Q^T - lse),  dS = P o (V dO^T - D),  D = rowsum(dO o O),
 *   dV += P dO,  dK += dS Q,  dQ^T += K^T dS, the scale multiplied in at the end.
 * A key block sums over members of its family in order (own sequence, then children), heads of the
 * group, query blocks; a query block sums over the parent's key blocks, then its own. With enough
 * (family, kv head) units one thread does a whole unit with five products per pair; otherwise key
 * blocks and query blocks are separate work with seven. The sums are the same bits either way. */
#include "kernels/cpu/attention_tile.h"

#include <math.h>
#include <omp.h>

#define LOG2E 1.4426950408889634f

enum { UNITS_FOR_FUSED = 16 };

struct bwd {
  struct att_plan p;
  const struct lrl_attention_bwd_args *a;
  int64_t group;      /* query heads of a kv head */
  char *kv;           /* [block][kv head][3 tiles]: K row-major, K turned, V row-major */
  char *qs;           /* [block][head][4 tiles]: Q by token, Q by dim, dO by token, dO by dim */
  float *dsum, *lse2; /* [block][head][64]: D, and lse in base 2 */
  float *dq;          /* [block][head][ATT_PANELS][dp][32] when fused */
};

/* Working memory of one thread. */
struct bwd_work {
  float *st, *dpt; /* [64][32] */
  void *pr, *dsr;  /* [64][64] row-major over keys: A operands */
  void *dsp;       /* [ATT_PANELS][64][32]: a B panel over keys */
  float *dk, *dv;  /* [dp / 32][64][32] */
  float *dq;       /* [ATT_PANELS][dp][32], used when not fused */
};

/* P and dS of a panel from the raw products; rows of dS from nk up to the next even are zeroed. */
ATT_INLINE void grad_scores(bool half, const struct bwd_work *w, const float *lse2,
                            const float *dsum, int panel, int64_t nk, float c, bool mask,
                            int64_t diag) {
  for (int v = 0; v < ATT_VECS; v++) {
    int64_t col = panel * ATT_PANEL + v * ATT_LANES;
    att_vf lse = att_load(lse2 + col), ds_sum = att_load(dsum + col);
    for (int64_t kk = 0; kk < nk; kk += 2) {
      att_vf prob[2], ds[2];
      for (int r = 0; r < 2; r++) {
        int64_t at = (kk + r) * ATT_PANEL + v * ATT_LANES;
        prob[r] = att_exp2(att_load(w->st + at) * c - lse);
        ds[r] = prob[r] * (att_load(w->dpt + at) - ds_sum);
        if (mask) {
          att_vi seen = att_visible(v, diag, kk + r);
          prob[r] = att_select(seen, prob[r], att_set(0.0f));
          ds[r] = att_select(seen, ds[r], att_set(0.0f));
        }
        if (kk + r >= nk)
          prob[r] = ds[r] = att_set(0.0f);
      }
      int64_t rm = kk * ATT_BLOCK + col;
      int64_t bp = panel * ATT_HALF + kk * ATT_PANEL;
#if LRL_ISA_AVX512
      if (half) {
        uint16_t *pr = (uint16_t *)w->pr + rm, *dsr = (uint16_t *)w->dsr + rm;
        for (int r = 0; r < 2; r++) {
          _mm256_storeu_si256((__m256i *)(void *)(pr + r * ATT_BLOCK),
                              (__m256i)_mm512_cvtneps_pbh((__m512)prob[r]));
          _mm256_storeu_si256((__m256i *)(void *)(dsr + r * ATT_BLOCK),
                              (__m256i)_mm512_cvtneps_pbh((__m512)ds[r]));
        }
        _mm512_storeu_si512((uint16_t *)w->dsp + bp + v * 32, att_pair(ds[0], ds[1]));
        continue;
      }
#endif
      for (int r = 0; r < 2; r++) {
        att_store((float *)w->pr + rm + r * ATT_BLOCK, prob[r]);
        att_store((float *)w->dsr + rm + r * ATT_BLOCK, ds[r]);
        att_store((float *)w->dsp + bp + r * ATT_PANEL + v * ATT_LANES, ds[r]);
      }
    }
  }
  (void)half;
}

/* Zeroes rows [from, to) of a panel's half of P and dS: keys that its queries do not see. */
ATT_INLINE void zero_rows(const struct att_plan *p, const struct bwd_work *w, int panel,
                          int64_t from, int64_t to) {
  for (int64_t kk = from; kk < to; kk++) {
    int64_t at = (kk * ATT_BLOCK + panel * ATT_PANEL) * p->elem;
    memset((char *)w->pr + at, 0, (size_t)(ATT_PANEL * p->elem));
    memset((char *)w->dsr + at, 0, (size_t)(ATT_PANEL * p->elem));
  }
}

/* One pair of blocks. dq NULL: only dK, dV are wanted; kv false: only dq. */
ATT_INLINE void bwd_pair(bool half, const struct bwd *g, struct bwd_work *w, int64_t k, int64_t q,
                         int64_t h, bool want_kv, float *dq) {
  const struct att_plan *p = &g->p;
  const struct att_block *kb = &p->block[k], *qb = &p->block[q];
  int64_t bytes = p->tile * p->elem, row = q * g->a->n_heads + h;
  const char *kv = g->kv + (k * g->a->n_kv_heads + h / g->group) * 3 * bytes;
  const char *qs = g->qs + row * 4 * bytes;
  bool causal_here = g->a->causal && kb->seq == qb->seq;
  int64_t half_tile = p->dp * ATT_PANEL;
  for (int panel = 0; panel * ATT_PANEL < qb->n; panel++) {
    int64_t diag = qb->pos + panel * ATT_PANEL - kb->pos, nk = kb->n;
    if (causal_here && diag + ATT_PANEL < nk)
      nk = diag + ATT_PANEL;
    const char *qp = qs + panel * half_tile * p->elem;
    att_mm(half, w->st, kv, p->dp, qp, nk, p->d, true, NULL);
    att_mm(half, w->dpt, kv + 2 * bytes, p->dp, qp + 2 * bytes, nk, p->d, true, NULL);
    grad_scores(half, w, g->lse2 + row * ATT_BLOCK, g->dsum + row * ATT_BLOCK, panel, nk,
                g->a->scale * LOG2E, causal_here && diag < nk - 1, diag);
    if (want_kv)
      zero_rows(p, w, panel, nk, kb->n);
    if (dq != NULL)
      att_mm(half, dq + panel * half_tile, kv + bytes, ATT_BLOCK,
             (char *)w->dsp + panel * ATT_HALF * p->elem, p->d, nk, false, NULL);
  }
  if (!want_kv)
    return;
  for (int64_t j = 0; j * ATT_PANEL < p->d; j++) {
    att_mm(half, w->dv + j * ATT_HALF, w->pr, ATT_BLOCK, qs + 3 * bytes + j * ATT_HALF * p->elem,
           kb->n, qb->n, false, NULL);
    att_mm(half, w->dk + j * ATT_HALF, w->dsr, ATT_BLOCK, qs + bytes + j * ATT_HALF * p->elem,
           kb->n, qb->n, false, NULL);
  }
}

/* dst[t, i] = scale * acc for n tokens; index(t, i) is (i / 32, t, i % 32) or, turned, the query
 * accumulators' (t / 32, i, t % 32). */
static void write_kv(const struct att_plan *p, void *dst, int64_t ld, int64_t at, int64_t n,
                     const float *acc, float scale) {
  if (dst == NULL)
    return;
  for (int64_t t = 0; t < n; t++)
    for (int64_t i = 0; i < p->d; i++)
      att_put(p, dst, at + t * ld + i,
              scale * acc[i / ATT_PANEL * ATT_HALF + t * ATT_PANEL + i % ATT_PANEL]);
}
static void write_q(const struct bwd *g, int64_t q, int64_t h, const float *acc) {
  const struct att_plan *p = &g->p;
  const struct att_block *b = &p->block[q];
  for (int64_t t = 0; t < b->n; t++)
    for (int64_t i = 0; i < p->d; i++)
      att_put(p, g->a->dq, (b->row + t) * g->a->ld_q + h * p->d + i,
              g->a->scale * acc[(t / ATT_PANEL * p->dp + i) * ATT_PANEL + t % ATT_PANEL]);
}

/* Finishes dK, dV of key block k, adding to dQ on the way when `with_q`. */
ATT_INLINE void key_block(bool half, const struct bwd *g, struct bwd_work *w, int64_t k, int64_t kv,
                          bool with_q) {
  const struct att_plan *p = &g->p;
  const struct lrl_layout *l = p->layout;
  const struct att_block *kb = &p->block[k];
  int64_t s = kb->seq;
  bool want_kv = g->a->dk != NULL || g->a->dv != NULL;
  memset(w->dk, 0, (size_t)p->tile * sizeof(float));
  memset(w->dv, 0, (size_t)p->tile * sizeof(float));
  for (int64_t m = s; m < l->n_seqs; m++) {
    if (m != s && att_parent(l, m) != s)
      continue;
    int64_t from = m == s && g->a->causal ? k : p->first[m];
    for (int64_t h = kv * g->group; h < (kv + 1) * g->group; h++)
      for (int64_t q = from; q < p->first[m + 1]; q++)
        bwd_pair(half, g, w, k, q, h, want_kv,
                 with_q ? g->dq + (q * g->a->n_heads + h) * p->tile : NULL);
  }
  write_kv(p, g->a->dk, g->a->ld_k, kb->row * g->a->ld_k + kv * p->d, kb->n, w->dk, g->a->scale);
  write_kv(p, g->a->dv, g->a->ld_v, kb->row * g->a->ld_v + kv * p->d, kb->n, w->dv, 1.0f);
}

/* dQ of one query block and head, when not fused. */
ATT_INLINE void query_block(bool half, const struct bwd *g, struct bwd_work *w, int64_t q,
                            int64_t h) {
  const struct att_plan *p = &g->p;
  int32_t s = p->block[q].seq, parent = att_parent(p->layout, s);
  memset(w->dq, 0, (size_t)p->tile * sizeof(float));
  if (parent >= 0)
    for (int64_t k = p->first[parent]; k < p->first[parent + 1]; k++)
      bwd_pair(half, g, w, k, q, h, false, w->dq);
  int64_t end = g->a->causal ? q + 1 : p->first[s + 1];
  for (int64_t k = p->first[s]; k < end; k++)
    bwd_pair(half, g, w, k, q, h, false, w->dq);
  write_q(g, q, h, w->dq);
}

/* A whole (family, kv head): the root's key blocks, then its children's. */
ATT_INLINE void family(bool half, const struct bwd *g, struct bwd_work *w, int64_t root,
                       int64_t kv) {
  const struct att_plan *p = &g->p;
  const struct lrl_layout *l = p->layout;
  for (int64_t h = kv * g->group; h < (kv + 1) * g->group; h++)
    for (int64_t m = root; m < l->n_seqs; m++)
      if (m == root || att_parent(l, m) == root)
        for (int64_t q = p->first[m]; q < p->first[m + 1]; q++)
          memset(g->dq + (q * g->a->n_heads + h) * p->tile, 0, (size_t)p->tile * sizeof(float));
  for (int64_t m = root; m < l->n_seqs; m++)
    if (m == root || att_parent(l, m) == root)
      for (int64_t k = p->first[m]; k < p->first[m + 1]; k++)
        key_block(half, g, w, k, kv, g->a->dq != NULL);
  if (g->a->dq == NULL)
    return;
  for (int64_t h = kv * g->group; h < (kv + 1) * g->group; h++)
    for (int64_t m = root; m < l->n_seqs; m++)
      if (m == root || att_parent(l, m) == root)
        for (int64_t q = p->first[m]; q < p->first[m + 1]; q++)
          write_q(g, q, h, g->dq + (q * g->a->n_heads + h) * p->tile);
}

static void pack_key(const struct bwd *g, int64_t task) {
  const struct att_plan *p = &g->p;
  const struct lrl_attention_bwd_args *a = g->a;
  const struct att_block *b = &p->block[task / a->n_kv_heads];
  int64_t kv = task % a->n_kv_heads, bytes = p->tile * p->elem;
  char *tile = g->kv + task * 3 * bytes;
  const void *k = att_at(p, a->k, b->row * a->ld_k + kv * p->d);
  const void *v = att_at(p, a->v, b->row * a->ld_v + kv * p->d);
  CPU_FN(att_pack)(p, ATT_ROWMAJOR, k, a->ld_k, b->n, tile);
  CPU_FN(att_pack)(p, ATT_TURNED, k, a->ld_k, b->n, tile + bytes);
  CPU_FN(att_pack)(p, ATT_ROWMAJOR, v, a->ld_v, b->n, tile + 2 * bytes);
}

static void pack_query(const struct bwd *g, int64_t task) {
  const struct att_plan *p = &g->p;
  const struct lrl_attention_bwd_args *a = g->a;
  const struct att_block *b = &p->block[task / a->n_heads];
  int64_t h = task % a->n_heads, bytes = p->tile * p->elem;
  char *tile = g->qs + task * 4 * bytes;
  const void *q = att_at(p, a->q, b->row * a->ld_q + h * p->d);
  const void *o = att_at(p, a->o, b->row * a->ld_o + h * p->d);
  const void *d_o = att_at(p, a->d_o, b->row * a->ld_o + h * p->d);
  CPU_FN(att_pack)(p, ATT_BY_TOKEN, q, a->ld_q, b->n, tile);
  CPU_FN(att_pack)(p, ATT_BY_DIM, q, a->ld_q, b->n, tile + bytes);
  CPU_FN(att_pack)(p, ATT_BY_TOKEN, d_o, a->ld_o, b->n, tile + 2 * bytes);
  CPU_FN(att_pack)(p, ATT_BY_DIM, d_o, a->ld_o, b->n, tile + 3 * bytes);
  for (int64_t t = 0; t < ATT_BLOCK; t++) {
    float sum = 0.0f;
    for (int64_t i = 0; t < b->n && i < p->d; i++)
      sum += att_get(p, o, t * a->ld_o + i) * att_get(p, d_o, t * a->ld_o + i);
    g->dsum[task * ATT_BLOCK + t] = sum;
    g->lse2[task * ATT_BLOCK + t] =
        t < b->n ? a->lse[h * p->layout->n_tokens + b->row + t] * LOG2E : 0.0f;
  }
}

static struct bwd_work carve(const struct att_plan *p, char *slot) {
  struct bwd_work w;
  w.st = (float *)slot;
  w.dpt = w.st + ATT_HALF;
  w.pr = w.dpt + ATT_HALF;
  w.dsr = (float *)w.pr + ATT_TILE;
  w.dsp = (float *)w.dsr + ATT_TILE;
  w.dk = (float *)w.dsp + ATT_TILE;
  w.dv = w.dk + p->tile;
  w.dq = w.dv + p->tile;
  return w;
}

ATT_INLINE void run(bool half, const struct bwd *g, struct bwd_work *w, bool fused,
                    const int32_t *roots, int64_t n_roots) {
  int64_t n_kv = g->a->n_kv_heads, n_blocks = g->p.n_blocks;
  if (fused) {
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < n_roots * n_kv; i++)
      family(half, g, w, roots[i / n_kv], i % n_kv);
    return;
  }
  if (g->a->dk != NULL || g->a->dv != NULL) {
#pragma omp for schedule(dynamic, 1) nowait
    for (int64_t i = 0; i < n_blocks * n_kv; i++)
      key_block(half, g, w, i / n_kv, i % n_kv, false);
  }
  if (g->a->dq != NULL) {
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = n_blocks * g->a->n_heads - 1; i >= 0; i--)
      query_block(half, g, w, i / g->a->n_heads, i % g->a->n_heads);
  }
}

lrl_status CPU_FN(attention_bwd)(struct lrl_ctx *ctx, const struct lrl_attention_bwd_args *a) {
  size_t mark = lrl_arena_mark(&ctx->scratch);
  struct bwd g = {.a = a, .group = a->n_heads / a->n_kv_heads};
  lrl_status status = CPU_FN(att_plan)(ctx, a->layout, a->head_dim, a->dtype, &g.p);
  if (status != LRL_OK)
    goto done;
  const struct att_plan *p = &g.p;
  int32_t *roots = lrl_arena_alloc(&ctx->scratch, (size_t)a->layout->n_seqs * sizeof *roots);
  int64_t n_key = p->n_blocks * a->n_kv_heads, n_query = p->n_blocks * a->n_heads, n_roots = 0;
  int64_t slot = (2 * ATT_HALF + 3 * ATT_TILE + 3 * p->tile) * (int64_t)sizeof(float);
  for (int64_t s = 0; roots != NULL && s < a->layout->n_seqs; s++)
    if (att_parent(a->layout, s) < 0)
      roots[n_roots++] = (int32_t)s;
  bool fused = n_roots * a->n_kv_heads >= UNITS_FOR_FUSED;
  char *slots = lrl_arena_alloc(&ctx->scratch, (size_t)(slot * p->n_threads));
  g.kv = lrl_arena_alloc(&ctx->scratch, (size_t)(n_key * 3 * p->tile * p->elem));
  g.qs = lrl_arena_alloc(&ctx->scratch, (size_t)(n_query * 4 * p->tile * p->elem));
  g.dsum = lrl_arena_alloc(&ctx->scratch, (size_t)n_query * ATT_BLOCK * sizeof(float));
  g.lse2 = lrl_arena_alloc(&ctx->scratch, (size_t)n_query * ATT_BLOCK * sizeof(float));
  g.dq = lrl_arena_alloc(&ctx->scratch,
                         fused ? (size_t)(n_query * p->tile) * sizeof(float) : (size_t)0);
  if (roots == NULL || slots == NULL || g.kv == NULL || g.qs == NULL || g.dsum == NULL ||
      g.lse2 == NULL || g.dq == NULL) {
    status = LRL_ERR_MEMORY;
    goto done;
  }
#pragma omp parallel num_threads(p->n_threads)
  {
    struct bwd_work w = carve(p, slots + slot * omp_get_thread_num());
#pragma omp for schedule(static) nowait
    for (int64_t task = 0; task < n_key; task++)
      pack_key(&g, task);
#pragma omp for schedule(static)
    for (int64_t task = 0; task < n_query; task++)
      pack_query(&g, task);
    if (p->half)
      run(true, &g, &w, fused, roots, n_roots);
    else
      run(false, &g, &w, fused, roots, n_roots);
  }
done:
  lrl_arena_reset(&ctx->scratch, mark);
  return status;
}
