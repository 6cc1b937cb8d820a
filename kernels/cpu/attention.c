/* Attention forward: flash style over packed sequences (docs/kernels/attention.md). */
#include "kernels/cpu/attention_tile.h"

#include <math.h>
#include <omp.h>

#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f

/* Working memory of one thread, carved out of its slot. */
struct fwd_work {
  float *ot; /* [ATT_PANELS][dp][32]: output, transposed, not yet divided by the row sums */
  float *st; /* [64][32] scores */
  void *p;   /* [64][32] probabilities, a B panel over keys */
  void *q;   /* ATT_BY_TOKEN tile */
  float m[ATT_BLOCK], sum[ATT_BLOCK], alpha[ATT_PANEL];
};

/* One key block's online softmax for a panel of queries: st -> p, running maximum m and sum
 * (base 2), alpha = what the old output must be scaled by. */
ATT_INLINE void softmax(bool half, struct fwd_work *w, int panel, int64_t nk, float c, bool mask,
                        int64_t diag) {
  float *m = w->m + panel * ATT_PANEL, *sum = w->sum + panel * ATT_PANEL;
  for (int v = 0; v < ATT_VECS; v++) {
    att_vf old = att_load(m + v * ATT_LANES), top = old, total = att_set(0.0f);
    float *st = w->st + v * ATT_LANES;
    for (int64_t kk = 0; kk < nk; kk++) {
      att_vf s = att_load(st + kk * ATT_PANEL) * c;
      if (mask)
        s = att_select(att_visible(v, diag, kk), s, att_set(-INFINITY));
      top = att_max(top, s);
    }
    att_vf base = att_select(top == -INFINITY, att_set(0.0f), top);
    for (int64_t kk = 0; kk < nk; kk += 2) {
      att_vf x[2];
      for (int r = 0; r < 2; r++) {
        x[r] = att_exp2(att_load(st + (kk + r) * ATT_PANEL) * c - base);
        if (mask)
          x[r] = att_select(att_visible(v, diag, kk + r), x[r], att_set(0.0f));
        if (kk + r >= nk)
          x[r] = att_set(0.0f);
        total += x[r];
      }
#if LRL_ISA_AVX512
      if (half) {
        _mm512_storeu_si512((uint16_t *)w->p + kk * ATT_PANEL + v * 32, att_pair(x[0], x[1]));
        continue;
      }
#endif
      att_store((float *)w->p + kk * ATT_PANEL + v * ATT_LANES, x[0]);
      att_store((float *)w->p + (kk + 1) * ATT_PANEL + v * ATT_LANES, x[1]);
    }
    att_vf alpha = att_exp2(old - base);
    att_store(w->alpha + v * ATT_LANES, alpha);
    att_store(sum + v * ATT_LANES, att_load(sum + v * ATT_LANES) * alpha + total);
    att_store(m + v * ATT_LANES, top);
  }
  (void)half;
}

/* All queries of block b against one key block. own: keys are of the queries' own sequence. */
ATT_INLINE void fwd_step(bool half, const struct att_plan *p,
                         const struct lrl_attention_fwd_args *a, const struct att_block *qb,
                         const struct att_block *kb, const void *k_tile, const void *v_tile,
                         struct fwd_work *w) {
  bool mask_here = a->causal && kb->seq == qb->seq;
  for (int panel = 0; panel * ATT_PANEL < qb->n; panel++) {
    int64_t diag = qb->pos + panel * ATT_PANEL - kb->pos, nk = kb->n;
    if (mask_here && diag + ATT_PANEL < nk)
      nk = diag + ATT_PANEL;
    if (nk <= 0)
      continue;
    const char *q = (const char *)w->q + panel * p->dp * ATT_PANEL * p->elem;
    float *ot = w->ot + panel * p->dp * ATT_PANEL;
    att_mm(half, w->st, k_tile, p->dp, q, nk, p->d, true, NULL);
    softmax(half, w, panel, nk, a->scale * LOG2E, mask_here && diag < nk - 1, diag);
    att_mm(half, ot, v_tile, ATT_BLOCK, w->p, p->d, nk, false, w->alpha);
  }
}

static void fwd_finish(const struct att_plan *p, const struct lrl_attention_fwd_args *a, int64_t h,
                       const struct att_block *qb, struct fwd_work *w) {
  for (int64_t t = 0; t < qb->n; t++) {
    const float *ot = w->ot + (t / ATT_PANEL * p->dp * ATT_PANEL + t % ATT_PANEL);
    float sum = w->sum[t], inv = sum == 0.0f ? 0.0f : 1.0f / sum;
    int64_t to = (qb->row + t) * a->ld_o + h * p->d;
    for (int64_t i = 0; i < p->d; i++)
      att_put(p, a->o, to + i, ot[i * ATT_PANEL] * inv);
    if (a->lse != NULL)
      a->lse[h * p->layout->n_tokens + qb->row + t] =
          sum == 0.0f ? INFINITY : (w->m[t] + log2f(sum)) * LN2;
  }
}

ATT_INLINE void fwd_block(bool half, const struct att_plan *p,
                          const struct lrl_attention_fwd_args *a, const char *tiles, int64_t h,
                          int64_t b, struct fwd_work *w) {
  const struct att_block *qb = &p->block[b];
  int64_t kv = h / (a->n_heads / a->n_kv_heads);
  CPU_FN(att_pack)
  (p, ATT_BY_TOKEN, att_at(p, a->q, qb->row * a->ld_q + h * p->d), a->ld_q, qb->n, w->q);
  memset(w->ot, 0, (size_t)p->tile * sizeof(float));
  for (int i = 0; i < ATT_BLOCK; i++) {
    w->m[i] = -INFINITY;
    w->sum[i] = 0.0f;
  }
  int32_t parent = att_parent(p->layout, qb->seq);
  for (int pass = parent < 0; pass < 2; pass++) {
    int64_t s = pass == 0 ? parent : qb->seq;
    int64_t end = pass == 1 && a->causal ? b + 1 : p->first[s + 1];
    for (int64_t k = p->first[s]; k < end; k++) {
      const char *tile = tiles + (k * a->n_kv_heads + kv) * 2 * p->tile * p->elem;
      fwd_step(half, p, a, qb, &p->block[k], tile, tile + p->tile * p->elem, w);
    }
  }
  fwd_finish(p, a, h, qb, w);
}

static void pack_kv(const struct att_plan *p, const struct lrl_attention_fwd_args *a, char *tiles,
                    int64_t task) {
  const struct att_block *b = &p->block[task / a->n_kv_heads];
  int64_t kv = task % a->n_kv_heads;
  char *tile = tiles + task * 2 * p->tile * p->elem;
  CPU_FN(att_pack)
  (p, ATT_ROWMAJOR, att_at(p, a->k, b->row * a->ld_k + kv * p->d), a->ld_k, b->n, tile);
  CPU_FN(att_pack)
  (p, ATT_TURNED, att_at(p, a->v, b->row * a->ld_v + kv * p->d), a->ld_v, b->n,
   tile + p->tile * p->elem);
}

static struct fwd_work carve(const struct att_plan *p, char *slot) {
  struct fwd_work w;
  w.ot = (float *)slot;
  w.st = w.ot + p->tile;
  w.p = w.st + ATT_HALF;
  w.q = (float *)w.p + ATT_HALF;
  return w;
}

lrl_status CPU_FN(attention_fwd)(struct lrl_ctx *ctx, const struct lrl_attention_fwd_args *a) {
  size_t mark = lrl_arena_mark(&ctx->scratch);
  struct att_plan p;
  lrl_status status = CPU_FN(att_plan)(ctx, a->layout, a->head_dim, a->dtype, &p);
  if (status != LRL_OK)
    goto done;
  int64_t slot = (2 * p.tile + 2 * ATT_HALF) * (int64_t)sizeof(float);
  char *slots = lrl_arena_alloc(&ctx->scratch, (size_t)(slot * p.n_threads));
  char *tiles =
      lrl_arena_alloc(&ctx->scratch, (size_t)(p.n_blocks * a->n_kv_heads * 2 * p.tile * p.elem));
  if (slots == NULL || tiles == NULL) {
    status = LRL_ERR_MEMORY;
    goto done;
  }
  int64_t n_pack = p.n_blocks * a->n_kv_heads, n_task = p.n_blocks * a->n_heads;
#pragma omp parallel num_threads(p.n_threads)
  {
    struct fwd_work w = carve(&p, slots + slot * omp_get_thread_num());
#pragma omp for schedule(static)
    for (int64_t task = 0; task < n_pack; task++)
      pack_kv(&p, a, tiles, task);
      /* Last blocks first: with a causal mask they are the long ones. */
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < n_task; i++) {
      int64_t task = n_task - 1 - i;
      if (p.half)
        fwd_block(true, &p, a, tiles, task % a->n_heads, task / a->n_heads, &w);
      else
        fwd_block(false, &p, a, tiles, task % a->n_heads, task / a->n_heads, &w);
    }
  }
done:
  lrl_arena_reset(&ctx->scratch, mark);
  return status;
}
