/* Tiles of the CPU attention. A sequence is cut, from its own first token, into blocks of ATT_BLOCK
 * tokens; blocks are copied into zero-padded tiles whose layouts make every product the same small
 * GEMM: C[m][32] (+)= A[m][k] B[k][32], A row-major and broadcast, B a panel of 32 columns. Scores
 * are kept transposed (keys down, queries across the lanes), so softmax statistics are lane-wise.
 * A tile element is f32, or bf16 where the hardware has bf16 dot products; there B panels hold
 * pairs of consecutive k in one 32-bit word: [k/2][32][2]. */
#ifndef LRL_CPU_ATTENTION_TILE_H
#define LRL_CPU_ATTENTION_TILE_H
#include "kernels/cpu/simd.h"

#if LRL_ISA_AVX512
#include <immintrin.h>
#define ATT_LANES 16
#define ATT_ROWS 8
#elif LRL_ISA_AVX2
#define ATT_LANES 8
#define ATT_ROWS 4
#else
#define ATT_LANES 4
#define ATT_ROWS 4
#endif

enum {
  ATT_BLOCK = 64,                     /* tokens of a block, queries and keys alike */
  ATT_PANEL = 32,                     /* columns of a B panel */
  ATT_PANELS = ATT_BLOCK / ATT_PANEL, /* query panels of a block */
  ATT_VECS = ATT_PANEL / ATT_LANES,   /* vectors of a panel's row */
  ATT_COLS = 2,                       /* vectors held across by the GEMM kernel */
  ATT_TILE = ATT_BLOCK * ATT_BLOCK,   /* scores of a block pair */
  ATT_HALF = ATT_BLOCK * ATT_PANEL,   /* scores of a block and a panel */
};

typedef float att_vf __attribute__((vector_size(ATT_LANES * 4)));
typedef int32_t att_vi __attribute__((vector_size(ATT_LANES * 4)));
typedef uint32_t att_vu __attribute__((vector_size(ATT_LANES * 4)));
#define ATT_INLINE static inline __attribute__((always_inline))

ATT_INLINE att_vf att_load(const float *p) {
  att_vf v;
  memcpy(&v, p, sizeof v);
  return v;
}
ATT_INLINE void att_store(float *p, att_vf v) { memcpy(p, &v, sizeof v); }
ATT_INLINE att_vf att_set(float x) { return (att_vf){0} + x; }
ATT_INLINE att_vf att_select(att_vi mask, att_vf yes, att_vf no) {
  return (att_vf)(((att_vi)yes & mask) | ((att_vi)no & ~mask));
}
/* b when either is NaN. */
ATT_INLINE att_vf att_max(att_vf a, att_vf b) {
#if LRL_ISA_AVX512
  return (att_vf)_mm512_max_ps((__m512)a, (__m512)b);
#else
  return att_select(a > b, a, b);
#endif
}
/* 2^x for x <= 127: within 2 ulp, 0 below -126, NaN stays NaN. */
ATT_INLINE att_vf att_exp2(att_vf x) {
  att_vf low = att_set(-127.0f);
  x = att_max(low, x);
#if LRL_ISA_AVX512
  att_vf n = (att_vf)_mm512_roundscale_ps((__m512)x, 8);
#else
  att_vf magic = att_set(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
  att_vf biased = x + magic;
  att_vf n = biased - magic;
#endif
  att_vf f = x - n;
  att_vf y = f * 1.535336188e-4f + 1.339887440e-3f; /* minimax on [-1/2, 1/2] (Cephes exp2f) */
  y = y * f + 9.618437357e-3f;
  y = y * f + 5.550332471e-2f;
  y = y * f + 2.402264791e-1f;
  y = y * f + 6.931472028e-1f;
  y = y * f + 1.0f;
#if LRL_ISA_AVX512
  y = (att_vf)_mm512_scalef_ps((__m512)y, (__m512)n);
#else
  /* Unsigned: lanes far below -126 wrap around, and are replaced below. */
  y = (att_vf)((att_vu)y + (((att_vu)biased - (att_vu)magic) << 23));
  y = att_select(x != x, x, y);
#endif
  return att_select(x <= -126.0f, att_set(0.0f), y);
}

/* Lanes of column vector `vec` that may see key row kk: lane + diag >= kk. */
ATT_INLINE att_vi att_visible(int vec, int64_t diag, int64_t kk) {
  att_vi lane;
  for (int i = 0; i < ATT_LANES; i++)
    lane[i] = vec * ATT_LANES + i;
  return lane >= (int32_t)(kk - diag);
}

/* c[m][32] = c * col_scale + a b, where col_scale NULL means 1 and `fresh` means c is not read.
 * m is rounded up to ATT_ROWS; a's rows and c's must exist up to there. */
ATT_INLINE void att_mm_f32(float *c, const float *a, int64_t lda, const float *b, int64_t m,
                           int64_t k, bool fresh, const float *col_scale) {
  for (int j = 0; j < ATT_PANEL; j += ATT_COLS * ATT_LANES)
    for (int64_t i = 0; i < m; i += ATT_ROWS) {
      att_vf s[ATT_ROWS][ATT_COLS];
      float *ci = c + i * ATT_PANEL + j;
      const float *ai = a + i * lda;
#pragma GCC unroll 8
      for (int r = 0; r < ATT_ROWS; r++)
#pragma GCC unroll 2
        for (int v = 0; v < ATT_COLS; v++) {
          s[r][v] = fresh ? att_set(0.0f) : att_load(ci + r * ATT_PANEL + v * ATT_LANES);
          if (col_scale != NULL)
            s[r][v] *= att_load(col_scale + j + v * ATT_LANES);
        }
      for (int64_t kk = 0; kk < k; kk++) {
        att_vf b0 = att_load(b + kk * ATT_PANEL + j);
        att_vf b1 = att_load(b + kk * ATT_PANEL + j + ATT_LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ATT_ROWS; r++) {
          float x = ai[r * lda + kk];
          s[r][0] += x * b0;
          s[r][1] += x * b1;
        }
      }
#pragma GCC unroll 8
      for (int r = 0; r < ATT_ROWS; r++)
#pragma GCC unroll 2
        for (int v = 0; v < ATT_COLS; v++)
          att_store(ci + r * ATT_PANEL + v * ATT_LANES, s[r][v]);
    }
}

#if LRL_ISA_AVX512
/* As att_mm_f32 with bf16 operands; k is rounded up to even. */
ATT_INLINE void att_mm_bf16(float *c, const uint16_t *a, int64_t lda, const uint16_t *b, int64_t m,
                            int64_t k, bool fresh, const float *col_scale) {
  for (int64_t i = 0; i < m; i += ATT_ROWS) {
    __m512 s[ATT_ROWS][ATT_COLS];
    float *ci = c + i * ATT_PANEL;
    const uint16_t *ai = a + i * lda;
#pragma GCC unroll 8
    for (int r = 0; r < ATT_ROWS; r++)
#pragma GCC unroll 2
      for (int v = 0; v < ATT_COLS; v++) {
        s[r][v] = fresh ? _mm512_setzero_ps() : _mm512_loadu_ps(ci + r * ATT_PANEL + v * 16);
        if (col_scale != NULL)
          s[r][v] = _mm512_mul_ps(s[r][v], _mm512_loadu_ps(col_scale + v * 16));
      }
    for (int64_t kk = 0; kk < k; kk += 2) {
      __m512bh b0 = (__m512bh)_mm512_loadu_si512(b + kk * ATT_PANEL);
      __m512bh b1 = (__m512bh)_mm512_loadu_si512(b + kk * ATT_PANEL + 32);
#pragma GCC unroll 8
      for (int r = 0; r < ATT_ROWS; r++) {
        int32_t pair;
        memcpy(&pair, ai + r * lda + kk, sizeof pair);
        __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
        s[r][0] = _mm512_dpbf16_ps(s[r][0], x, b0);
        s[r][1] = _mm512_dpbf16_ps(s[r][1], x, b1);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ATT_ROWS; r++)
#pragma GCC unroll 2
      for (int v = 0; v < ATT_COLS; v++)
        _mm512_storeu_ps(ci + r * ATT_PANEL + v * 16, s[r][v]);
  }
}
/* Lane-wise pairs (lo, hi) rounded to bf16: one row of a B panel. */
ATT_INLINE __m512i att_pair(att_vf lo, att_vf hi) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh((__m512)hi, (__m512)lo));
}
#endif

/* One GEMM for both element types; `half` is a constant at every call. */
ATT_INLINE void att_mm(bool half, float *c, const void *a, int64_t lda, const void *b, int64_t m,
                       int64_t k, bool fresh, const float *col_scale) {
#if LRL_ISA_AVX512
  if (half) {
    att_mm_bf16(c, a, lda, b, m, k, fresh, col_scale);
    return;
  }
#endif
  (void)half;
  att_mm_f32(c, a, lda, b, m, k, fresh, col_scale);
}

/* A block of tokens. */
struct att_block {
  int32_t seq, n; /* sequence, tokens (<= ATT_BLOCK) */
  int64_t row;    /* first packed row */
  int64_t pos;    /* of the first token in its sequence */
};

/* The blocks of a layout and the tile geometry, shared by forward and backward. */
struct att_plan {
  const struct lrl_layout *layout;
  struct att_block *block; /* [n_blocks], sequence by sequence */
  int64_t *first;          /* [n_seqs + 1]: first block of a sequence */
  int64_t n_blocks, d, dp; /* head_dim, and rounded up to ATT_PANEL */
  int64_t tile;            /* elements of a packed tile: ATT_BLOCK * dp */
  int64_t elem;            /* bytes of a tile element */
  int n_threads;
  bool half;       /* tiles are bf16 */
  lrl_dtype dtype; /* of the caller's tensors */
};

/* Fills plan from the layout with memory of ctx->scratch. */
lrl_status CPU_FN(att_plan)(struct lrl_ctx *ctx, const struct lrl_layout *layout, int64_t head_dim,
                            lrl_dtype dtype, struct att_plan *plan);

/* Tile layouts of a block's rows of one head. */
enum att_pack {
  ATT_ROWMAJOR, /* [token][dp]: an A operand over d */
  ATT_TURNED,   /* [dp][token]: an A operand over tokens */
  ATT_BY_TOKEN, /* [token / 32][d][32 tokens]: a B operand, k = d */
  ATT_BY_DIM,   /* [dp / 32][token][32 dims]: a B operand, k = token */
};
/* Copies x (row-major, stride ld, first element of the block's head) into a zero-padded tile. */
void CPU_FN(att_pack)(const struct att_plan *plan, enum att_pack layout, const void *x, int64_t ld,
                      int64_t n, void *tile);

/* Element offset into the caller's tensor; plan->dtype decides the width. */
ATT_INLINE const void *att_at(const struct att_plan *p, const void *x, int64_t offset) {
  return (const char *)x + offset * (p->dtype == LRL_BF16 ? 2 : 4);
}
ATT_INLINE float att_get(const struct att_plan *p, const void *x, int64_t i) {
  return p->dtype == LRL_BF16 ? lrl_bf16_to_f32(((const uint16_t *)x)[i]) : ((const float *)x)[i];
}
ATT_INLINE void att_put(const struct att_plan *p, void *x, int64_t i, float v) {
  if (p->dtype == LRL_BF16)
    ((uint16_t *)x)[i] = lrl_f32_to_bf16(v);
  else
    ((float *)x)[i] = v;
}
ATT_INLINE int32_t att_parent(const struct lrl_layout *l, int64_t s) {
  return l->parent == NULL ? -1 : l->parent[s];
}
#endif
