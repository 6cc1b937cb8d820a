/* add, scale, cast, dropout; column sums. */
#include "kernels/cuda/map.cuh"
#include "kernels/cuda/philox.cuh"

namespace {
template <class T> struct add_of {
  const T *a, *b;
  T *y;
  template <int V> __device__ void run(int64_t i) const {
    float p[V], q[V];
    load<T, V>(a + i, p);
    load<T, V>(b + i, q);
#pragma unroll
    for (int k = 0; k < V; k++)
      p[k] += q[k];
    store<T, V>(y + i, p);
  }
};
struct scale_of {
  float *x, alpha;
  template <int V> __device__ void run(int64_t i) const {
    float p[V];
    load<float, V>(x + i, p);
#pragma unroll
    for (int k = 0; k < V; k++)
      p[k] *= alpha;
    store<float, V>(x + i, p);
  }
};
template <class From, class To> struct cast_of {
  const From *x;
  To *y;
  template <int V> __device__ void run(int64_t i) const {
    float p[V];
    load<From, V>(x + i, p);
    store<To, V>(y + i, p);
  }
};
/* Rows of width w; element j uses word j % 4 of Philox block j / 4. V > 1 divides the width. */
template <class T> struct dropout_of {
  const T *x;
  T *y;
  const uint64_t *key;
  int64_t width;
  uint64_t seed;
  float p, keep; /* keep: 1 / (1 - p) */
  template <int V> __device__ void run(int64_t i) const {
    float v[V];
    load<T, V>(x + i, v);
    const int64_t row = i / width, column = i - row * width;
    static_assert(V == 1 || V % 4 == 0, "a vector is one element or whole Philox blocks");
#pragma unroll
    for (int k = 0; k < V; k += 4) {
      uint32_t r[4];
      philox(seed, LRL_RNG_DROPOUT, key[row], (uint32_t)((column + k) / 4), r);
#pragma unroll
      for (int m = 0; m < (V < 4 ? V : 4); m++) {
        /* An index known at run time only would put the array into local memory. */
        const int w = V == 1 ? (int)(column % 4) : m;
        const uint32_t word = w == 0 ? r[0] : w == 1 ? r[1] : w == 2 ? r[2] : r[3];
        v[k + m] = (float)(word >> 8) * 0x1p-24f >= p ? v[k + m] * keep : 0.0f;
      }
    }
    store<T, V>(y + i, v);
  }
};

/* Rows [blockIdx.y * ROWS, ...) of 32 columns, eight rows at a time; then the partial sums in
 * order. */
enum { ROWS = 256 };
template <class T>
__global__ void __launch_bounds__(256)
    colsum_part(int64_t n, int64_t width, const T *x, float *part) {
  __shared__ float sums[8][33];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t column = (int64_t)blockIdx.x * 32 + lane;
  const int64_t begin = (int64_t)blockIdx.y * ROWS;
  const int64_t end = begin + ROWS < n ? begin + ROWS : n;
  float s = 0.0f;
  for (int64_t t = begin + warp; t < end && column < width; t += 8)
    s += to_float(x[t * width + column]);
  sums[warp][lane] = s;
  __syncthreads();
  if (warp == 0 && column < width) {
    s = 0.0f;
#pragma unroll
    for (int w = 0; w < 8; w++)
      s += sums[w][lane];
    part[(int64_t)blockIdx.y * width + column] = s;
  }
}
} // namespace

/* out[j] += sum over parts in order. */
__global__ void __launch_bounds__(128)
    add_parts(int64_t parts, int64_t width, const float *part, float *out) {
  const int64_t j = (int64_t)blockIdx.x * 128 + threadIdx.x;
  if (j >= width)
    return;
  float s = 0.0f;
  for (int64_t p = 0; p < parts; p++)
    s += part[p * width + j];
  out[j] += s;
}
void launch_add_parts(cuda_op &op, int64_t parts, int64_t width, const float *part, float *out) {
  LRL_LAUNCH(op, add_parts, (unsigned)ceil_div(width, 128), 128, 0, parts, width, part, out);
}

lrl_status cuda_add(struct lrl_ctx *ctx, const struct lrl_add_args *args) {
  cuda_op op(ctx);
  by_dtype(args->dtype, [&](auto type) {
    typedef decltype(type) T;
    const T *a = op.in_as<T>(args->a, args->n), *b = op.in_as<T>(args->b, args->n);
    T *y = op.out_as<T>(args->y, args->n);
    map<16 / sizeof(T)>(op, args->n, aligned16(a, b, y), add_of<T>{a, b, y});
  });
  return op.done();
}
lrl_status cuda_scale(struct lrl_ctx *ctx, const struct lrl_scale_args *args) {
  cuda_op op(ctx);
  float *x = op.inout(args->x, args->n);
  map<4>(op, args->n, aligned16(x), scale_of{x, args->alpha});
  return op.done();
}
lrl_status cuda_cast(struct lrl_ctx *ctx, const struct lrl_cast_args *args) {
  cuda_op op(ctx);
  by_dtype(args->from, [&](auto from) {
    by_dtype(args->to, [&](auto to) {
      typedef decltype(from) From;
      typedef decltype(to) To;
      const From *x = op.in_as<From>(args->x, args->n);
      To *y = op.out_as<To>(args->y, args->n);
      map<16 / (sizeof(From) > sizeof(To) ? sizeof(From) : sizeof(To))>(
          op, args->n, aligned16(x, y), cast_of<From, To>{x, y});
    });
  });
  return op.done();
}
lrl_status cuda_dropout(struct lrl_ctx *ctx, const struct lrl_dropout_args *args) {
  cuda_op op(ctx);
  const int64_t n = args->n_tokens * args->width;
  const uint64_t *key = op.in(args->row_key, args->n_tokens);
  by_dtype(args->dtype, [&](auto type) {
    typedef decltype(type) T;
    constexpr int V = 16 / sizeof(T);
    const T *x = op.in_as<T>(args->x, n);
    T *y = op.out_as<T>(args->y, n);
    map<V>(op, n, aligned16(x, y) && args->width % V == 0,
           dropout_of<T>{x, y, key, args->width, args->seed, args->p, 1.0f / (1.0f - args->p)});
  });
  return op.done();
}
lrl_status cuda_colsum(struct lrl_ctx *ctx, const struct lrl_colsum_args *args) {
  if (args->n_tokens == 0 || args->width == 0)
    return LRL_OK;
  cuda_op op(ctx);
  const int64_t w = args->width, parts = ceil_div(args->n_tokens, ROWS);
  float *part = op.scratch<float>(parts * w), *out = op.inout(args->out, w);
  by_dtype(args->dtype, [&](auto type) {
    typedef decltype(type) T;
    const T *x = op.in_as<T>(args->x, args->n_tokens * w);
    LRL_LAUNCH(op, colsum_part<T>, dim3((unsigned)ceil_div(w, 32), (unsigned)parts), 256, 0,
               args->n_tokens, w, x, part);
  });
  launch_add_parts(op, parts, w, part, out);
  return op.done();
}
