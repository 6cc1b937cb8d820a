/* Attention over cached pages. A page is a key block of the training kernel in the layout of a B
 * panel (kernels/kv_page.h), so the same small GEMM runs, with query heads as rows: the heads of a
 * group share one read of their keys and values. Every element goes through the chain of operations
 * of attention.c - dot products over d in order, pages in order, sums over keys in order - so the
 * bits agree with it.
 *
 * A task is a token and a kv head. With fewer tasks than threads a task's work is shared without
 * breaking a chain: scores by page, statistics by row, values by panel of dimensions. */
#include "kernels/cpu/attention_tile.h"

#include <math.h>
#include <omp.h>

#define LOG2E 1.4426950408889634f

struct decode {
  const struct lrl_attention_decode_args *a;
  int64_t group, rows; /* query heads of a kv head; the same rounded up to ATT_ROWS */
  int64_t d, dp, panels;
  bool half, widen; /* tiles are bf16; pages are bf16 but tiles are f32 */
};
/* Tile elements [rows][dp], [rows][64]; f32 [2][rows][32], [panels][rows][32], [rows]. */
struct work {
  void *q, *p;
  float *st, *ot, *alpha, *m, *sum;
  float *wide; /* a widened panel */
};

static const char *panel_at(const struct decode *g, const void *pages, int64_t i, int64_t kv,
                            int64_t offset) {
  const int64_t head = g->a->page[i] * g->a->n_kv_heads + kv;
  return (const char *)pages + (head * LRL_KV_PAGE * g->dp + offset) * lrl_dtype_bytes(g->a->dtype);
}

/* `k` rows of a panel as the GEMM takes them. */
static const void *tile_of(const struct decode *g, const char *panel, int64_t k, float *wide) {
  if (!g->widen)
    return panel;
  for (int64_t r = 0; r < k; r += 2)
    for (int64_t c = 0; c < LRL_KV_PANEL; c++) {
      uint16_t pair[2];
      memcpy(pair, panel + (r / 2 * LRL_KV_PANEL + c) * 4, sizeof pair);
      wide[r * LRL_KV_PANEL + c] = lrl_bf16_to_f32(pair[0]);
      wide[(r + 1) * LRL_KV_PANEL + c] = lrl_bf16_to_f32(pair[1]);
    }
  return wide;
}

static void load_queries(const struct decode *g, int64_t t, int64_t kv, void *q) {
  memset(q, 0, (size_t)(g->rows * g->dp * (g->half ? 2 : 4)));
  for (int64_t r = 0; r < g->group; r++)
    for (int64_t i = 0; i < g->d; i++) {
      const int64_t from = (t * g->a->n_heads + kv * g->group + r) * g->d + i;
      if (g->half)
        ((uint16_t *)q)[r * g->dp + i] = ((const uint16_t *)g->a->q)[from];
      else if (g->a->dtype == LRL_BF16)
        ((float *)q)[r * g->dp + i] = lrl_bf16_to_f32(((const uint16_t *)g->a->q)[from]);
      else
        ((float *)q)[r * g->dp + i] = ((const float *)g->a->q)[from];
    }
}

/* Raw scores of list entry i. */
ATT_INLINE void page_scores(bool half, const struct decode *g, int64_t i, int64_t kv,
                            const struct work *w) {
  memset(w->p, 0, (size_t)(g->rows * LRL_KV_PAGE) * sizeof(float)); /* rows without a query */
  memset(w->alpha, 0, (size_t)g->rows * sizeof(float));
  for (int64_t k = 0; k < g->a->used[i]; k += LRL_KV_PANEL) {
    const char *keys = panel_at(g, g->a->k_pages, i, kv, k * g->dp);
    att_mm(half, w->st + k * g->rows, w->q, g->dp, tile_of(g, keys, g->d, w->wide), g->rows, g->d,
           true, NULL);
  }
}

/* One page's online softmax for row r: scores -> p; alpha is what the old output must be scaled by.
 */
ATT_INLINE void row_softmax(bool half, const struct decode *g, int64_t n, int64_t r,
                            const struct work *w) {
  const float c = g->a->scale * LOG2E;
  float x[LRL_KV_PAGE], top = w->m[r], total = 0.0f;
  for (int64_t k = 0; k < n; k += ATT_LANES) {
    const float *st = w->st + (k / LRL_KV_PANEL * g->rows + r) * LRL_KV_PANEL + k % LRL_KV_PANEL;
    att_store(x + k, att_load(st) * c);
  }
  for (int64_t k = 0; k < n; k++)
    top = top > x[k] ? top : x[k];
  const float base = top == -INFINITY ? 0.0f : top;
  for (int64_t k = 0; k < LRL_KV_PAGE; k += ATT_LANES) {
    const float *st = w->st + (k / LRL_KV_PANEL * g->rows + r) * LRL_KV_PANEL + k % LRL_KV_PANEL;
    att_vf e = att_set(0.0f);
    if (k < n)
      e = att_select(att_visible(0, 0, n - k), e, att_exp2(att_load(st) * c - base));
    att_store(x + k, e);
#if LRL_ISA_AVX512
    if (half) {
      _mm256_storeu_si256((__m256i *)(void *)((uint16_t *)w->p + r * LRL_KV_PAGE + k),
                          (__m256i)_mm512_cvtneps_pbh((__m512)e));
      continue;
    }
#endif
    att_store((float *)w->p + r * LRL_KV_PAGE + k, e);
  }
  for (int64_t k = 0; k < n; k++)
    total += x[k];
  const att_vf alpha = att_exp2(att_set(w->m[r]) - base);
  w->alpha[r] = alpha[0];
  w->sum[r] = w->sum[r] * alpha[0] + total;
  w->m[r] = top;
  (void)half;
}

/* Adds list entry i's values to panel j of the output. */
ATT_INLINE void page_values(bool half, const struct decode *g, int64_t i, int64_t kv, int64_t j,
                            const struct work *w) {
  const char *values = panel_at(g, g->a->v_pages, i, kv, j * (int64_t)LRL_KV_PAGE * LRL_KV_PANEL);
  float *ot = w->ot + j * g->rows * LRL_KV_PANEL;
  for (int64_t r = 0; r < g->rows; r++)
    for (int c = 0; c < LRL_KV_PANEL; c++)
      ot[r * LRL_KV_PANEL + c] *= w->alpha[r];
  const int64_t n = g->a->used[i];
  att_mm(half, ot, w->p, LRL_KV_PAGE, tile_of(g, values, n, w->wide), g->rows, n, false, NULL);
}

static void finish_panel(const struct decode *g, int64_t t, int64_t kv, int64_t j,
                         const struct work *w) {
  for (int64_t r = 0; r < g->group; r++) {
    const float sum = w->sum[r], inv = sum == 0.0f ? 0.0f : 1.0f / sum;
    const float *ot = w->ot + (j * g->rows + r) * LRL_KV_PANEL;
    const int64_t to = (t * g->a->n_heads + kv * g->group + r) * g->d + j * LRL_KV_PANEL;
    for (int64_t i = 0; i < LRL_KV_PANEL && j * LRL_KV_PANEL + i < g->d; i++) {
      const float v = ot[i] * inv;
      if (g->a->dtype == LRL_BF16)
        ((uint16_t *)g->a->o)[to + i] = lrl_f32_to_bf16(v);
      else
        ((float *)g->a->o)[to + i] = v;
    }
  }
}

static void start_rows(const struct decode *g, const struct work *w) {
  for (int64_t r = 0; r < g->rows; r++) {
    w->m[r] = -INFINITY;
    w->sum[r] = 0.0f;
  }
  memset(w->ot, 0, (size_t)(g->rows * g->dp) * sizeof(float));
}

ATT_INLINE void whole_task(bool half, const struct decode *g, int64_t t, int64_t kv,
                           const struct work *w) {
  load_queries(g, t, kv, w->q);
  start_rows(g, w);
  for (int64_t i = g->a->page_start[t]; i < g->a->page_start[t + 1]; i++) {
    page_scores(half, g, i, kv, w);
    for (int64_t r = 0; r < g->group; r++)
      row_softmax(half, g, g->a->used[i], r, w);
    for (int64_t j = 0; j < g->panels; j++)
      page_values(half, g, i, kv, j, w);
  }
  for (int64_t j = 0; j < g->panels; j++)
    finish_panel(g, t, kv, j, w);
}

/* f32 words of a task's, a page's and a thread's part of struct work. */
static int64_t task_size(const struct decode *g) { return g->rows * (2 * g->dp + 2); }
static int64_t page_size(const struct decode *g) { return g->rows * (2 * LRL_KV_PAGE + 1); }
static int64_t wide_size(const struct decode *g) {
  return (g->dp > LRL_KV_PAGE ? g->dp : LRL_KV_PAGE) * LRL_KV_PANEL;
}
static struct work carve(const struct decode *g, float *task, float *page, float *wide) {
  struct work w = {.q = task, .st = page, .wide = wide};
  w.ot = task + g->rows * g->dp;
  w.m = w.ot + g->rows * g->dp;
  w.sum = w.m + g->rows;
  w.p = page + g->rows * LRL_KV_PAGE;
  w.alpha = page + 2 * g->rows * LRL_KV_PAGE;
  return w;
}

static lrl_status by_task(struct lrl_ctx *ctx, const struct decode *g) {
  const int64_t task = task_size(g), page = page_size(g), hk = g->a->n_kv_heads;
  const int64_t slot = (task + page + wide_size(g) + 15) / 16 * 16;
  float *slots = lrl_arena_alloc(&ctx->scratch, (size_t)(slot * ctx->n_threads) * sizeof *slots);
  if (slots == NULL)
    return LRL_ERR_MEMORY;
#pragma omp parallel for schedule(dynamic, 1) num_threads(ctx->n_threads)
  for (int64_t i = 0; i < g->a->n_tokens * hk; i++) {
    float *at = slots + slot * omp_get_thread_num();
    const struct work w = carve(g, at, at + task, at + task + page);
    if (g->half)
      whole_task(true, g, i / hk, i % hk, &w);
    else
      whole_task(false, g, i / hk, i % hk, &w);
  }
  return LRL_OK;
}

/* The three stages, each over units that no chain crosses. */
struct shared_work {
  float *task, *page, *wide; /* [tasks], [listed pages][kv heads], [threads] */
  int32_t *owner;            /* [listed pages]: its token */
};
static struct work work_of(const struct decode *g, const struct shared_work *s, int64_t t,
                           int64_t i, int64_t kv) {
  const int64_t hk = g->a->n_kv_heads;
  return carve(g, s->task + (t * hk + kv) * task_size(g), s->page + (i * hk + kv) * page_size(g),
               s->wide + omp_get_thread_num() * wide_size(g));
}
ATT_INLINE void all_scores(bool half, const struct decode *g, const struct shared_work *s,
                           int64_t i, int64_t kv) {
  const struct work w = work_of(g, s, s->owner[i], i, kv);
  page_scores(half, g, i, kv, &w);
}
ATT_INLINE void all_softmax(bool half, const struct decode *g, const struct shared_work *s,
                            int64_t t, int64_t kv) {
  for (int64_t i = g->a->page_start[t]; i < g->a->page_start[t + 1]; i++) {
    const struct work w = work_of(g, s, t, i, kv);
    for (int64_t r = 0; r < g->group; r++)
      row_softmax(half, g, g->a->used[i], r, &w);
  }
}
ATT_INLINE void all_values(bool half, const struct decode *g, const struct shared_work *s,
                           int64_t t, int64_t kv, int64_t j) {
  for (int64_t i = g->a->page_start[t]; i < g->a->page_start[t + 1]; i++) {
    const struct work w = work_of(g, s, t, i, kv);
    page_values(half, g, i, kv, j, &w);
  }
  const struct work w = work_of(g, s, t, 0, kv);
  finish_panel(g, t, kv, j, &w);
}

static lrl_status by_stage(struct lrl_ctx *ctx, const struct decode *g) {
  const struct lrl_attention_decode_args *a = g->a;
  const int64_t hk = a->n_kv_heads, tasks = a->n_tokens * hk, listed = a->page_start[a->n_tokens];
  struct shared_work s = {
      .task = lrl_arena_alloc(&ctx->scratch, (size_t)(tasks * task_size(g)) * sizeof(float)),
      .page = lrl_arena_alloc(&ctx->scratch, (size_t)(listed * hk * page_size(g)) * sizeof(float)),
      .wide = lrl_arena_alloc(&ctx->scratch, (size_t)(ctx->n_threads * wide_size(g)) * 4),
      .owner = lrl_arena_alloc(&ctx->scratch, (size_t)listed * sizeof(int32_t))};
  if (s.task == NULL || s.page == NULL || s.wide == NULL || s.owner == NULL)
    return LRL_ERR_MEMORY;
  for (int64_t t = 0; t < a->n_tokens; t++)
    for (int64_t i = a->page_start[t]; i < a->page_start[t + 1]; i++)
      s.owner[i] = (int32_t)t;
#pragma omp parallel num_threads(ctx->n_threads)
  {
#pragma omp for schedule(static)
    for (int64_t i = 0; i < tasks; i++) {
      const struct work w = work_of(g, &s, i / hk, 0, i % hk);
      load_queries(g, i / hk, i % hk, w.q);
      start_rows(g, &w);
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < listed * hk; i++) {
      if (g->half)
        all_scores(true, g, &s, i / hk, i % hk);
      else
        all_scores(false, g, &s, i / hk, i % hk);
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < tasks; i++) {
      if (g->half)
        all_softmax(true, g, &s, i / hk, i % hk);
      else
        all_softmax(false, g, &s, i / hk, i % hk);
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < tasks * g->panels; i++) {
      const int64_t task = i / g->panels;
      if (g->half)
        all_values(true, g, &s, task / hk, task % hk, i % g->panels);
      else
        all_values(false, g, &s, task / hk, task % hk, i % g->panels);
    }
  }
  return LRL_OK;
}

lrl_status CPU_FN(attention_decode)(struct lrl_ctx *ctx,
                                    const struct lrl_attention_decode_args *a) {
  if (a->n_tokens == 0 || a->n_heads == 0 || a->head_dim == 0)
    return LRL_OK;
  struct decode g = {.a = a, .group = a->n_heads / a->n_kv_heads, .d = a->head_dim};
  g.rows = (g.group + ATT_ROWS - 1) / ATT_ROWS * ATT_ROWS;
  g.dp = lrl_kv_head_size(g.d) / LRL_KV_PAGE;
  g.panels = g.dp / LRL_KV_PANEL;
#if LRL_ISA_AVX512
  g.half = a->dtype == LRL_BF16;
#endif
  g.widen = a->dtype == LRL_BF16 && !g.half;
  return a->n_tokens * a->n_kv_heads < 2 * ctx->n_threads ? by_stage(ctx, &g) : by_task(ctx, &g);
}
