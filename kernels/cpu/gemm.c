/* Matrix product: packed panels, a register tile, one task per block of C (docs/kernels/gemm.md).
 */
#include "kernels/cpu/gemm.h"

#include "kernels/cpu_packed.h"

#include <omp.h>

enum {
  FEW = GEMM_ROWS < 4 ? GEMM_ROWS : 4, /* rows for which a bf16 B is widened in registers */
  UNPACKED_ROWS = 384,                 /* of a block when B is not a packed weight */
  PARALLEL_MIN = 1 << 19, /* multiply-adds; below it opening a parallel region costs more */
};

/* What every task of a product shares. */
struct product {
  const struct lrl_gemm_args *a;
  bool half;              /* operands are bf16 */
  int64_t chunks, depth;  /* of k: chunks of `depth`, the last one smaller */
  int64_t panels;         /* of B */
  const uint32_t *packed; /* B: [chunk][panel][words][GEMM_COLS], or NULL */
  int64_t rows, cols;     /* most of a task; multiples of the tile's */
  int64_t sums;           /* floats of a task's f32 sums, 0 when C holds them */
};
/* A task's memory. */
struct slot {
  float *a, *sums;
  uint32_t *b, *wide; /* B's panels unless packed beforehand; one of them widened */
};

CPU_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
CPU_INLINE int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
static int64_t a_words(const struct product *p, int64_t depth) {
  return gemm_words(p->half, !GEMM_DOT, depth);
}
static int64_t b_words(const struct product *p, int64_t depth) {
  return gemm_words(p->half, false, depth);
}
static const void *element(const void *x, int64_t i, lrl_dtype t) {
  return (const char *)x + i * lrl_dtype_bytes(t);
}

/* Chunks of equal size, so that none is a costly remainder; a function of k only. */
static void cut_depth(struct product *p) {
  const int64_t k = p->a->k;
  p->chunks = k > GEMM_DEPTH ? (k + GEMM_DEPTH - 1) / GEMM_DEPTH : 1;
  p->depth = round_up((k + p->chunks - 1) / p->chunks, 8);
  if (k > 0)
    p->chunks = (k + p->depth - 1) / p->depth;
}

/* Columns j to j + n of B, j a multiple of GEMM_COLS. */
static void pack_b(const struct product *p, int64_t chunk, int64_t j, int64_t n, void *panels) {
  const struct lrl_gemm_args *a = p->a;
  const int64_t k = chunk * p->depth;
  if (a->k == 0)
    return;
  const struct gemm_source x = {
      .data = element(a->b, a->trans_b ? j * a->ld_b + k : k * a->ld_b + j, a->dtype),
      .ld = a->ld_b,
      .half = p->half,
      .by_columns = !a->trans_b};
  CPU_FN(gemm_pack)(&x, panels, GEMM_COLS, GEMM_COLS, n, smaller(a->k - k, p->depth), false);
}

/* Widths an A panel may have: the remainder of a block takes the smallest that holds it. */
static int tile_rows(int64_t rows) {
  return rows <= 1 ? 1 : rows <= 2 ? 2 : rows <= 4 ? 4 : rows <= 8 && GEMM_ROWS > 8 ? 8 : GEMM_ROWS;
}
static void pack_a(const struct product *p, int64_t chunk, int64_t i, int64_t m, float *panels) {
  const struct lrl_gemm_args *a = p->a;
  const int64_t k = chunk * p->depth;
  if (a->k == 0)
    return;
  const struct gemm_source x = {
      .data = element(a->a, a->trans_a ? k * a->ld_a + i : i * a->ld_a + k, a->dtype),
      .ld = a->ld_a,
      .half = p->half,
      .by_columns = a->trans_a};
  CPU_FN(gemm_pack)
  (&x, panels, GEMM_ROWS, tile_rows(m % GEMM_ROWS), m, smaller(a->k - k, p->depth),
   p->half && !GEMM_DOT);
}

static void run_f32(int width, int64_t words, const float *a, const uint32_t *b,
                    const struct gemm_tile *t) {
  switch (width) {
  case 1:
    gemm_run(false, 1, words, a, b, t);
    break;
  case 2:
    gemm_run(false, 2, words, a, b, t);
    break;
  case 4:
    gemm_run(false, 4, words, a, b, t);
    break;
#if LRL_ISA_AVX512
  case 8:
    gemm_run(false, 8, words, a, b, t);
    break;
#endif
  default:
    gemm_run(false, GEMM_ROWS, words, a, b, t);
  }
}
/* b holds pairs of bf16; without dot products only for FEW rows. */
static void run_bf16(int width, int64_t words, const float *a, const uint32_t *b,
                     const struct gemm_tile *t) {
  switch (width) {
  case 1:
    gemm_run(true, 1, words, a, b, t);
    break;
  case 2:
    gemm_run(true, 2, words, a, b, t);
    break;
#if LRL_ISA_AVX512
  case 8:
    gemm_run(true, 8, words, a, b, t);
    break;
  case GEMM_ROWS:
    gemm_run(true, GEMM_ROWS, words, a, b, t);
    break;
#endif
  default:
    gemm_run(true, 4, words, a, b, t);
  }
}

static void widen(const uint32_t *b, int64_t words, uint32_t *to) {
  for (int64_t k = 0; k < words; k++)
    for (int v = 0; v < 2; v++) {
      const gemm_vf first = gemm_first(b + k * GEMM_COLS + v * GEMM_LANES),
                    second = gemm_second(b + k * GEMM_COLS + v * GEMM_LANES);
      memcpy(to + 2 * k * GEMM_COLS + v * GEMM_LANES, &first, sizeof first);
      memcpy(to + (2 * k + 1) * GEMM_COLS + v * GEMM_LANES, &second, sizeof second);
    }
}

/* Where the tile at (i, j) goes after this chunk; the task's block starts at (i0, j0). */
static struct gemm_tile target(const struct product *p, const struct slot *s, int64_t chunk,
                               int64_t i, int64_t j, int64_t i0, int64_t j0) {
  const struct lrl_gemm_args *a = p->a;
  const bool first = chunk == 0, last = chunk == p->chunks - 1;
  struct gemm_tile t = {.ld_c = a->ld_c, .ld_add = a->ld_c};
  if (a->c_dtype == LRL_F32) {
    t.c = (float *)a->c + i * a->ld_c + j;
    t.add = first && a->beta == 0.0f ? NULL : t.c;
    return t;
  }
  uint16_t *c = (uint16_t *)a->c + i * a->ld_c + j;
  float *sums = p->sums == 0 ? NULL : s->sums + (i - i0) * p->cols + (j - j0);
  if (first) {
    t.add_bf = a->beta == 0.0f ? NULL : c;
  } else {
    t.add = sums;
    t.ld_add = p->cols;
  }
  if (last) {
    t.c_bf = c;
  } else {
    t.c = sums;
    t.ld_c = p->cols;
  }
  return t;
}

/* All tiles of a block that share one panel of B. */
static void column(const struct product *p, const struct slot *s, int64_t chunk, int64_t i0,
                   int64_t m, int64_t j, int64_t j0) {
  const struct lrl_gemm_args *a = p->a;
  const int64_t depth = smaller(a->k - chunk * p->depth, p->depth), words = b_words(p, depth);
  const uint32_t *b = s->b + (j - j0) * words;
  if (p->packed != NULL)
    b = p->packed + chunk * b_words(p, p->depth) * p->panels * GEMM_COLS + j * words;
  bool half = p->half;
  if (half && !GEMM_DOT && m > FEW) {
    widen(b, words, s->wide);
    b = s->wide;
    half = false;
  }
  float bias[GEMM_COLS];
  const int cols = (int)smaller(a->n - j, GEMM_COLS);
  for (int c = 0; a->bias != NULL && c < cols; c++)
    bias[c] = cpu_get(a->bias, j + c, p->half);
  for (int64_t r = 0; r < m; r += GEMM_ROWS) {
    const int rows = (int)smaller(m - r, GEMM_ROWS);
    struct gemm_tile t = target(p, s, chunk, i0 + r, j, i0, j0);
    t.rows = rows;
    t.cols = cols;
    t.bias = a->bias != NULL && chunk == 0 ? bias : NULL;
    if (half)
      run_bf16(tile_rows(rows), words, s->a + r * a_words(p, depth), b, &t);
    else
      run_f32(tile_rows(rows), a_words(p, depth), s->a + r * a_words(p, depth), b, &t);
  }
}

static void block(const struct product *p, const struct slot *s, int64_t i0, int64_t j0) {
  const int64_t m = smaller(p->a->m - i0, p->rows), n = smaller(p->a->n - j0, p->cols);
  for (int64_t chunk = 0; chunk < p->chunks; chunk++) {
    pack_a(p, chunk, i0, m, s->a);
    if (p->packed == NULL)
      pack_b(p, chunk, j0, n, s->b);
    for (int64_t j = 0; j < n; j += GEMM_COLS)
      column(p, s, chunk, i0, m, j0 + j, j0);
  }
}

/* Words of all of B: its chunks, the last one smaller. */
static int64_t all_words(const struct product *p) {
  const int64_t last = p->a->k - (p->chunks - 1) * p->depth;
  return ((p->chunks - 1) * b_words(p, p->depth) + b_words(p, last)) * p->panels * GEMM_COLS;
}
static void pack_all(const struct lrl_ctx *ctx, const struct product *p, uint32_t *to) {
  enum { GROUP = 16 * GEMM_COLS }; /* columns packed together */
  const int64_t n = p->a->n, k = p->a->k, groups = (n + GROUP - 1) / GROUP;
  const int64_t chunk_words = b_words(p, p->depth) * p->panels * GEMM_COLS;
  const int threads = n * k >= CPU_PARALLEL_MIN ? ctx->n_threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t i = 0; i < p->chunks * groups; i++) {
    const int64_t chunk = i / groups, j = i % groups * GROUP;
    const int64_t words = b_words(p, smaller(k - chunk * p->depth, p->depth));
    pack_b(p, chunk, j, smaller(n - j, GROUP), to + chunk * chunk_words + j * words);
  }
}
/* B from the cache, packed again when its version changed. Any other B that many blocks of rows
 * share is packed once, into scratch. */
static lrl_status packed_b(struct lrl_ctx *ctx, struct product *p) {
  const size_t bytes = (size_t)all_words(p) * 4;
  if (p->a->b_version == 0 && p->a->m < 4 * UNPACKED_ROWS)
    return LRL_OK;
  if (p->a->b_version == 0) {
    uint32_t *scratch = lrl_arena_alloc(&ctx->scratch, bytes);
    if (scratch == NULL)
      return LRL_ERR_MEMORY;
    pack_all(ctx, p, scratch);
    p->packed = scratch;
    return LRL_OK;
  }
  struct lrl_packed *e;
  LRL_TRY(lrl_packed_get(ctx, p->a, bytes, &e));
  p->packed = e->data;
  if (e->version != p->a->b_version)
    pack_all(ctx, p, e->data);
  e->version = p->a->b_version;
  return LRL_OK;
}

/* Even parts of n, multiples of step, at most `most` large (and at most `parts` times as many). */
static int64_t part(int64_t n, int64_t most, int64_t step, int64_t times) {
  const int64_t parts = (n + most - 1) / most * times;
  return round_up((n + parts - 1) / parts, step);
}
/* Blocks of C for the tasks: large ones amortise packing (a row of A is packed once per block of
 * columns, a column of an unpacked B once per block of rows), several per thread even out the
 * load. */
static int64_t cut_blocks(struct product *p, int threads) {
  const int64_t m = p->a->m, n = p->a->n;
  for (int64_t down = 1, right = 1;;) {
    p->rows = part(m, p->a->b_version != 0 ? 192 : UNPACKED_ROWS, GEMM_ROWS, down);
    p->cols = part(n, p->packed != NULL ? 1024 : 512, GEMM_COLS, right);
    const int64_t tasks = ((m + p->rows - 1) / p->rows) * ((n + p->cols - 1) / p->cols);
    const bool wide = p->cols > GEMM_COLS, tall = p->rows > 4 * GEMM_ROWS;
    if (threads == 1 || tasks >= 3 * threads || (!wide && !tall))
      return tasks;
    if (wide && (p->cols > p->rows || !tall))
      right *= 2;
    else
      down *= 2;
  }
}

lrl_status CPU_FN(gemm)(struct lrl_ctx *ctx, const struct lrl_gemm_args *a) {
  if (a->m == 0 || a->n == 0)
    return LRL_OK;
  struct product p = {.a = a, .half = a->dtype == LRL_BF16};
  cut_depth(&p);
  p.panels = (a->n + GEMM_COLS - 1) / GEMM_COLS;
  const size_t mark = lrl_arena_mark(&ctx->scratch);
  LRL_TRY(packed_b(ctx, &p));
  int threads = a->m * a->n * (a->k + 8) < PARALLEL_MIN ? 1 : ctx->n_threads;
  const int64_t tasks = cut_blocks(&p, threads);
  threads = (int)smaller(threads, tasks);
  p.sums = a->c_dtype == LRL_BF16 && p.chunks > 1 ? p.rows * p.cols : 0;
  const int64_t a_size = p.rows * a_words(&p, p.depth) + 16, /* a store may end past a panel */
      b_size = p.packed == NULL ? p.cols * b_words(&p, p.depth) : 0,
                wide_size = p.half && !GEMM_DOT ? GEMM_DEPTH * GEMM_COLS : 0;
  const int64_t slot = a_size + b_size + wide_size + p.sums;
  float *slots = lrl_arena_alloc(&ctx->scratch, (size_t)(slot * threads) * sizeof *slots);
  if (slots == NULL) {
    lrl_arena_reset(&ctx->scratch, mark);
    return LRL_ERR_MEMORY;
  }
  const int64_t down = (a->m + p.rows - 1) / p.rows;
#pragma omp parallel num_threads(threads)
  {
    float *mine = slots + slot * omp_get_thread_num();
    const struct slot s = {.a = mine,
                           .b = (uint32_t *)mine + a_size,
                           .wide = (uint32_t *)mine + a_size + b_size,
                           .sums = mine + a_size + b_size + wide_size};
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < tasks; i++)
      block(&p, &s, i % down * p.rows, i / down * p.cols);
  }
  lrl_arena_reset(&ctx->scratch, mark);
  return LRL_OK;
}
