/* Decoding from the paged key/value cache (docs/kernels/generation.md). A block has a kv head
 * of a token and SPLIT of its pages; a warp has panels of 32 tokens. The query heads of a group are
 * the rows of one tile, so that keys and values are read once for all of them.
 *
 * A page keeps keys as [dimension][token] and values as [token][dimension], in bf16 two of the
 * first index to a word: just what a lane holds of the second operand of mma.m16n8k16. So operands
 * come from memory by words of 16 bytes, without shared memory: lane = 4 g + t reads columns
 * 4g..4g+3 of rows 8t..8t+7 (bf16: row pairs 4t..4t+3) of a panel of 32 x 32 elements. Of the four
 * words of a load each goes to a product of its own, whose column g is column 4g + j of the panel.
 */
#include "kernels/cuda/host.cuh"
#include "kernels/cuda/mma.cuh"

namespace {
enum { WARPS = 4, SPLIT = 4, PANEL = LRL_KV_PANEL };

/* Columns 4g..4g+3 of N rows from N * t on, of a panel that has `rows` rows and `cols` columns. */
template <int N> struct fragment {
  uint32_t word[N][4];
  __device__ __forceinline__ fragment(const void *panel, int64_t rows, int64_t cols) {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const uint4 *from = static_cast<const uint4 *>(panel) + (N * t) * (PANEL / 4) + g;
#pragma unroll
    for (int i = 0; i < N; i++) {
      uint4 x = make_uint4(0, 0, 0, 0);
      if (N * t + i < rows && 4 * g < cols)
        x = from[i * (PANEL / 4)];
      word[i][0] = x.x;
      word[i][1] = x.y;
      word[i][2] = x.z;
      word[i][3] = x.w;
    }
  }
};
__device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}
/* What subtracts from scores: a row that has seen nothing has no maximum. */
__device__ __forceinline__ float base_of(float top) { return top == -INFINITY ? 0.0f : top; }

/* A warp's part: softmax over the tokens it has seen, o not divided by the sum. Rows of o are D + 1
 * apart when they are published, those of q LD_Q, so that no two lanes meet in a bank. */
template <class T, int PANELS> struct tile;

/* Row g of the products is query head g. Rows 8 to 15 stay empty: groups are rarely larger, and the
 * tensor cores wait for memory anyway. */
template <int PANELS> struct tile<bf16, PANELS> {
  enum { HEADS = 8, D = 32 * PANELS, LD_Q = D % 64 == 0 ? D + 32 : D };
  const bf16 *q;
  float o[PANELS][4][4] = {}, top = -INFINITY, sum = 0.0f;
  __device__ __forceinline__ explicit tile(const bf16 *q_) : q(q_) {}
  /* n tokens. k: dp x 32 of a panel of tokens; v: 32 tokens of the page's first panel. */
  __device__ __forceinline__ void add(const bf16 *k, const bf16 *v, int64_t d, int n, float scale) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    float s[4][4] = {}, p[8];
#pragma unroll
    for (int b = 0; b < PANELS; b++)
      if (32 * b < d) {
        const fragment<4> f(k + 32 * b * PANEL, (d - 32 * b + 1) / 2, n);
        const uint4 w = *reinterpret_cast<const uint4 *>(q + g * LD_Q + 32 * b + 8 * t);
#pragma unroll
        for (int u = 0; u < 2; u++) {
          const uint32_t a[4] = {u == 0 ? w.x : w.z, 0, u == 0 ? w.y : w.w, 0};
#pragma unroll
          for (int j = 0; j < 4; j++)
            mma_bf16(s[j], a, f.word[2 * u][j], f.word[2 * u + 1][j]);
        }
      }
    float most = top;
#pragma unroll
    for (int i = 0; i < 8; i++) { /* token 8t + i */
      p[i] = 8 * t + i < n ? s[i % 4][i / 4] * scale : -INFINITY;
      most = fmaxf(most, p[i]);
    }
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
    const float base = base_of(most), fade = exp2f(top - base);
    top = most;
    sum *= fade;
#pragma unroll
    for (int i = 0; i < 8; i++)
      sum += p[i] = exp2f(p[i] - base);
#pragma unroll
    for (int b = 0; b < PANELS; b++)
      if (32 * b < d) {
        const fragment<4> f(v + b * LRL_KV_PAGE * PANEL, (n + 1) / 2, d - 32 * b);
#pragma unroll
        for (int j = 0; j < 4; j++) {
          o[b][j][0] *= fade;
          o[b][j][1] *= fade;
        }
#pragma unroll
        for (int u = 0; u < 2; u++) {
          const uint32_t a[4] = {pack_bf16(p[4 * u], p[4 * u + 1]), 0,
                                 pack_bf16(p[4 * u + 2], p[4 * u + 3]), 0};
#pragma unroll
          for (int j = 0; j < 4; j++)
            mma_bf16(o[b][j], a, f.word[2 * u][j], f.word[2 * u + 1][j]);
        }
      }
  }
  __device__ __forceinline__ void publish(float *to, float2 *stats) {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    sum = quad_sum(sum);
    if (t == 0)
      stats[g] = make_float2(top, sum);
#pragma unroll
    for (int b = 0; b < PANELS; b++)
#pragma unroll
      for (int i = 0; i < 8; i++)
        to[g * (D + 1) + 32 * b + 8 * t + i] = o[b][i % 4][i / 4];
  }
};

/* In f32, for tests and small models: a lane adds up its own dimensions of four tokens, then its
 * own tokens of four dimensions. */
template <int PANELS> struct tile<float, PANELS> {
  enum { HEADS = PANELS > 4 ? 2 : 4, D = 32 * PANELS, LD_Q = D };
  const float *q;
  float o[PANELS][HEADS][4] = {}, top[HEADS], sum[HEADS] = {};
  __device__ __forceinline__ explicit tile(const float *q_) : q(q_) {
#pragma unroll
    for (int h = 0; h < HEADS; h++)
      top[h] = -INFINITY;
  }
  __device__ __forceinline__ void add(const float *k, const float *v, int64_t d, int n,
                                      float scale) {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float p[HEADS][4] = {}, fade[HEADS];
#pragma unroll
    for (int b = 0; b < PANELS; b++)
      if (32 * b < d) {
        const fragment<8> f(k + 32 * b * PANEL, d - 32 * b, n);
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
          for (int h = 0; h < HEADS; h++)
#pragma unroll
            for (int j = 0; j < 4; j++)
              p[h][j] += q[h * LD_Q + 32 * b + 8 * t + i] * __uint_as_float(f.word[i][j]);
      }
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
      float most = top[h];
#pragma unroll
      for (int j = 0; j < 4; j++) { /* token 4g + j */
        const float s = quad_sum(p[h][j]) * scale;
        p[h][j] = 4 * g + j < n ? s : -INFINITY;
        most = fmaxf(most, p[h][j]);
      }
#pragma unroll
      for (int x = 4; x < 32; x *= 2)
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, x));
      const float base = base_of(most);
      fade[h] = exp2f(top[h] - base);
      top[h] = most;
      sum[h] *= fade[h];
#pragma unroll
      for (int j = 0; j < 4; j++)
        sum[h] += p[h][j] = exp2f(p[h][j] - base);
    }
#pragma unroll
    for (int b = 0; b < PANELS; b++)
      if (32 * b < d) {
        const fragment<8> f(v + b * LRL_KV_PAGE * PANEL, n, d - 32 * b);
#pragma unroll
        for (int h = 0; h < HEADS; h++)
#pragma unroll
          for (int j = 0; j < 4; j++)
            o[b][h][j] *= fade[h];
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
          for (int h = 0; h < HEADS; h++) {
            const float w = __shfl_sync(0xffffffffu, p[h][i % 4], (2 * t + i / 4) * 4);
#pragma unroll
            for (int j = 0; j < 4; j++)
              o[b][h][j] += w * __uint_as_float(f.word[i][j]);
          }
      }
  }
  __device__ __forceinline__ void publish(float *to, float2 *stats) {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
#pragma unroll
      for (int x = 4; x < 32; x *= 2)
        sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], x);
      if (lane == 0)
        stats[h] = make_float2(top[h], sum[h]);
#pragma unroll
      for (int b = 0; b < PANELS; b++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
          const float x = quad_sum(o[b][h][j]);
          if (t == j)
            to[h * (D + 1) + 32 * b + 4 * g + j] = x;
        }
    }
  }
};

/* One element of n parts, in order: those of stats and o lie stat_step and o_step apart. */
struct merged {
  float top, sum, o;
};
__device__ __forceinline__ merged merge(int n, const float2 *stats, int64_t stat_step,
                                        const float *o, int64_t o_step) {
  merged m = {-INFINITY, 0.0f, 0.0f};
  for (int i = 0; i < n; i++)
    m.top = fmaxf(m.top, stats[i * stat_step].x);
  const float base = base_of(m.top);
  for (int i = 0; i < n; i++) {
    const float w = exp2f(stats[i * stat_step].x - base);
    m.sum += w * stats[i * stat_step].y;
    m.o += w * o[i * o_step];
  }
  return m;
}
/* NaN stays NaN. */
__device__ __forceinline__ float quotient(const merged &m) {
  return m.sum == 0.0f ? 0.0f : m.o / m.sum;
}

/* Splits of a token: as many as its own pages want, so its bits do not depend on the batch. */
__host__ __device__ __forceinline__ int splits_of(int pages) {
  return pages <= SPLIT ? 1 : (pages + SPLIT - 1) / SPLIT;
}
/* Where split 0 of token t is among all splits. With floors they do not overlap, and a block finds
 * its token by page_start alone; a few places stay empty. */
__host__ __device__ __forceinline__ int64_t first_split(const int32_t *page_start, int64_t t) {
  return page_start[t] / SPLIT + t;
}
/* The last token whose first split is at or before x, by all lanes of a warp. */
__device__ __forceinline__ int64_t token_of(const int32_t *page_start, int64_t n, int64_t x) {
  int64_t low = 0;
  while (n > 1) {
    const int64_t step = (n + 31) / 32, at = (threadIdx.x % 32) * step;
    const bool before = at < n && first_split(page_start, low + at) <= x;
    const int64_t skip = (__popc(__ballot_sync(0xffffffffu, before)) - 1) * step;
    low += skip;
    n = n - skip < step ? n - skip : step;
  }
  return low;
}

template <class T> struct args {
  int64_t n_tokens, n_heads, n_kv, d, head_size;
  float scale; /* times log2 e */
  const int32_t *page_start, *page, *used;
  const T *q, *k_pages, *v_pages;
  T *o;
  float *part;   /* [splits, n_heads, d] */
  float2 *stats; /* [splits, n_heads] */
};

template <class T, int PANELS> __global__ void __launch_bounds__(WARPS * 32) decode(args<T> a) {
  typedef tile<T, PANELS> tile_t;
  constexpr int H = tile_t::HEADS, D = tile_t::D, LD_Q = tile_t::LD_Q;
  __shared__ __align__(16) float part[WARPS * H * (D + 1)];
  __shared__ float2 stats[WARPS * H];
  T *q = reinterpret_cast<T *>(part); /* before there are parts */
  const int64_t t = token_of(a.page_start, a.n_tokens, blockIdx.x);
  const int begin = a.page_start[t], pages = a.page_start[t + 1] - begin;
  const int split = (int)(blockIdx.x - first_split(a.page_start, t)), n_splits = splits_of(pages);
  const int group = (int)(a.n_heads / a.n_kv), tiles = (group + H - 1) / H;
  const int64_t kv = blockIdx.y / tiles, first = blockIdx.y % tiles * H, h0 = kv * group + first;
  const int heads = group - first < H ? (int)(group - first) : H;
  if (split < n_splits) {
    const int warp = threadIdx.x / 32, from = begin + split * SPLIT;
    const int to = begin + pages < from + SPLIT ? begin + pages : from + SPLIT;
    const T *rows = a.q + (t * a.n_heads + h0) * a.d;
    for (int i = threadIdx.x; i < H * D; i += WARPS * 32) {
      const int h = i / D, c = i % D;
      from_float(&q[h * LD_Q + c], h < heads && c < a.d ? to_float(rows[h * a.d + c]) : 0.0f);
    }
    __syncthreads();
    tile_t mine(q);
    for (int i = warp; i < 2 * (to - from); i += WARPS) {
      const int e = from + i / 2, half = i % 2;
      const int n = a.used[e] - half * PANEL < PANEL ? a.used[e] - half * PANEL : PANEL;
      const int64_t head = (a.page[e] * a.n_kv + kv) * a.head_size;
      if (n > 0)
        mine.add(a.k_pages + head + half * (a.head_size / 2),
                 a.v_pages + head + half * PANEL * PANEL, a.d, n, a.scale);
    }
    __syncthreads(); /* q is read no more */
    mine.publish(part + warp * H * (D + 1), stats + warp * H);
    __syncthreads();
    for (int i = threadIdx.x; i < heads * D; i += WARPS * 32) {
      const int h = i / D, c = i % D;
      const int64_t at = blockIdx.x * a.n_heads + h0 + h;
      if (c >= a.d)
        continue;
      const merged m = merge(WARPS, stats + h, H, part + h * (D + 1) + c, H * (D + 1));
      if (n_splits == 1)
        from_float(&a.o[(t * a.n_heads + h0 + h) * a.d + c], quotient(m));
      else
        a.part[at * a.d + c] = m.o;
      if (n_splits > 1 && c == 0)
        a.stats[at] = make_float2(m.top, m.sum);
    }
  }
}

/* Heads of tokens that were split. */
template <class T> __global__ void __launch_bounds__(128) combine(args<T> a) {
  const int64_t t = blockIdx.x, h = blockIdx.y;
  const int n = splits_of(a.page_start[t + 1] - a.page_start[t]);
  const int64_t at = first_split(a.page_start, t) * a.n_heads + h;
  for (int64_t c = threadIdx.x; c < a.d && n > 1; c += 128)
    from_float(&a.o[(t * a.n_heads + h) * a.d + c],
               quotient(merge(n, a.stats + at, a.n_heads, a.part + at * a.d + c, a.n_heads * a.d)));
}

template <class T, int PANELS>
void launch(cuda_op &op, const args<T> &a, int64_t splits, bool split) {
  const int H = tile<T, PANELS>::HEADS, group = (int)(a.n_heads / a.n_kv);
  const dim3 grid((unsigned)splits, (unsigned)(a.n_kv * ceil_div(group, H)));
  LRL_LAUNCH(op, (decode<T, PANELS>), grid, WARPS * 32, 0, a);
  if (split)
    LRL_LAUNCH(op, combine<T>, dim3((unsigned)a.n_tokens, (unsigned)a.n_heads), 128, 0, a);
}
} // namespace

lrl_status cuda_attention_decode(struct lrl_ctx *ctx, const struct lrl_attention_decode_args *a) {
  const int64_t n = a->n_tokens * a->n_heads * a->head_dim;
  if (n == 0)
    return LRL_OK;
  if (a->head_dim > 256)
    return LRL_FAIL(LRL_ERR_ARG, "device cuda: heads of %lld elements, at most 256 are possible",
                    (long long)a->head_dim);
  if (!aligned16(static_cast<const char *>(a->k_pages), static_cast<const char *>(a->v_pages)))
    return LRL_FAIL(LRL_ERR_ARG, "device cuda: pages of keys and values start at a multiple of 16");
  cuda_op op(ctx);
  const int64_t pages = a->n_pages * a->n_kv_heads * lrl_kv_head_size(a->head_dim);
  const int64_t listed = a->page_start[a->n_tokens];
  /* Those before a token that came next, and some that find nothing to do: see lrl_kv_room. */
  const int64_t splits = lrl_kv_room(first_split(a->page_start, a->n_tokens));
  bool split = false;
  for (int64_t t = 0; t < a->n_tokens; t++)
    split = split || splits_of(a->page_start[t + 1] - a->page_start[t]) > 1;
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    args<T> g;
    g.n_tokens = a->n_tokens;
    g.n_heads = a->n_heads;
    g.n_kv = a->n_kv_heads;
    g.d = a->head_dim;
    g.head_size = lrl_kv_head_size(a->head_dim);
    g.scale = a->scale * 1.44269504f;
    g.page_start = op.in(a->page_start, a->n_tokens + 1);
    g.page = op.in(a->page, listed);
    g.used = op.in(a->used, listed);
    g.q = op.in_as<T>(a->q, n);
    g.k_pages = op.in_as<T>(a->k_pages, pages);
    g.v_pages = op.in_as<T>(a->v_pages, pages);
    g.o = op.out_as<T>(a->o, n);
    g.part = split ? op.scratch<float>(splits * a->n_heads * a->head_dim) : NULL;
    g.stats = split ? op.scratch<float2>(splits * a->n_heads) : NULL;
    if (a->head_dim <= 32)
      launch<T, 1>(op, g, splits, split);
    else if (a->head_dim <= 64)
      launch<T, 2>(op, g, splits, split);
    else if (a->head_dim <= 128)
      launch<T, 4>(op, g, splits, split);
    else
      launch<T, 8>(op, g, splits, split);
  });
  return op.done();
}
