/* SwiGLU and GELU: one pass, arithmetic in f32. Floor at width f: 6 bytes an element forward, 10
 * backward (bf16). */
#include "kernels/cuda/map.cuh"

namespace {
/* V divides width where V > 1, so that a vector lies in one row. */
template <class T> struct swiglu_fwd_of {
  const T *gate, *up;
  T *y;
  int64_t width, ld;
  template <int V> __device__ void run(int64_t i) const {
    const int64_t row = i / width, at = row * ld + (i - row * width);
    float g[V], u[V];
    load<T, V>(gate + at, g);
    load<T, V>(up + at, u);
#pragma unroll
    for (int k = 0; k < V; k++)
      g[k] = g[k] / (1.0f + expf(-g[k])) * u[k];
    store<T, V>(y + i, g);
  }
};
template <class T> struct swiglu_bwd_of {
  const T *gate, *up, *dy;
  T *d_gate, *d_up;
  int64_t width, ld;
  template <int V> __device__ void run(int64_t i) const {
    const int64_t row = i / width, at = row * ld + (i - row * width);
    float g[V], u[V], d[V];
    load<T, V>(gate + at, g);
    load<T, V>(up + at, u);
    load<T, V>(dy + i, d);
#pragma unroll
    for (int k = 0; k < V; k++) {
      const float sig = 1.0f / (1.0f + expf(-g[k])), silu = g[k] * sig;
      g[k] = d[k] * u[k] * sig * (1.0f + g[k] * (1.0f - sig));
      u[k] = d[k] * silu;
    }
    if (d_gate != nullptr)
      store<T, V>(d_gate + at, g);
    if (d_up != nullptr)
      store<T, V>(d_up + at, u);
  }
};
template <class T> struct gelu_of {
  const T *x, *dy; /* dy NULL: forward */
  T *out;
  bool quick;
  template <int V> __device__ void run(int64_t i) const {
    float v[V], d[V];
    load<T, V>(x + i, v);
    if (dy != nullptr)
      load<T, V>(dy + i, d);
#pragma unroll
    for (int k = 0; k < V; k++) {
      const float z = v[k];
      const float gate =
          quick ? 1.0f / (1.0f + expf(-1.702f * z)) : 0.5f * erfcf(-z * 0.70710678118654752f);
      const float slope = quick ? gate * (1.0f + 1.702f * z * (1.0f - gate))
                                : gate + z * 0.39894228040143268f * expf(-0.5f * z * z);
      v[k] = dy == nullptr ? z * gate : slope * d[k];
    }
    store<T, V>(out + i, v);
  }
};
lrl_status gelu(struct lrl_ctx *ctx, lrl_dtype dtype, int64_t n, bool quick, const void *x_,
                const void *dy_, void *out_) {
  cuda_op op(ctx);
  by_dtype(dtype, [&](auto type) {
    typedef decltype(type) T;
    const T *x = op.in_as<T>(x_, n), *dy = op.in_as<T>(dy_, n);
    T *out = op.out_as<T>(out_, n);
    map<16 / sizeof(T)>(op, n, aligned16(x, dy, out), gelu_of<T>{x, dy, out, quick});
  });
  return op.done();
}
/* Elements from the first to the last of [rows, width] with row stride ld. */
int64_t span(int64_t rows, int64_t width, int64_t ld) {
  return rows > 0 && width > 0 ? (rows - 1) * ld + width : 0;
}
} // namespace

lrl_status cuda_swiglu_fwd(struct lrl_ctx *ctx, const struct lrl_swiglu_fwd_args *a) {
  cuda_op op(ctx);
  const int64_t n = a->n_tokens * a->width, in = span(a->n_tokens, a->width, a->ld_in);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    constexpr int V = 16 / sizeof(T);
    const T *gate = op.in_as<T>(a->gate, in), *up = op.in_as<T>(a->up, in);
    T *y = op.out_as<T>(a->y, n);
    map<V>(op, n, aligned16(gate, up, y) && a->width % V == 0 && a->ld_in % V == 0,
           swiglu_fwd_of<T>{gate, up, y, a->width, a->ld_in});
  });
  return op.done();
}
lrl_status cuda_swiglu_bwd(struct lrl_ctx *ctx, const struct lrl_swiglu_bwd_args *a) {
  cuda_op op(ctx);
  const int64_t n = a->n_tokens * a->width, in = span(a->n_tokens, a->width, a->ld_in);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    constexpr int V = 16 / sizeof(T);
    const T *gate = op.in_as<T>(a->gate, in), *up = op.in_as<T>(a->up, in);
    const T *dy = op.in_as<T>(a->dy, n);
    /* Rows between the strided ones are the caller's: they go through a copy untouched. */
    T *d_gate = op.inout_as<T>(a->d_gate, in), *d_up = op.inout_as<T>(a->d_up, in);
    map<V>(op, n, aligned16(gate, up, dy, d_gate, d_up) && a->width % V == 0 && a->ld_in % V == 0,
           swiglu_bwd_of<T>{gate, up, dy, d_gate, d_up, a->width, a->ld_in});
  });
  return op.done();
}
lrl_status cuda_gelu_fwd(struct lrl_ctx *ctx, const struct lrl_gelu_fwd_args *a) {
  return gelu(ctx, a->dtype, a->n, a->kind == LRL_GELU_QUICK, a->x, NULL, a->y);
}
lrl_status cuda_gelu_bwd(struct lrl_ctx *ctx, const struct lrl_gelu_bwd_args *a) {
  return gelu(ctx, a->dtype, a->n, a->kind == LRL_GELU_QUICK, a->x, a->dy, a->dx);
}
