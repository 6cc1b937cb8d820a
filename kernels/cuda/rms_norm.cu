/* RMSNorm with the residual addition fused. Floor at width h: 4 bytes an element forward, 8 with a
 * residual; 6 backward, 8 with d_sum (bf16). */
#include "kernels/cuda/norm.cuh"

namespace {
template <class T, int NT, int V, int K>
__global__ void __launch_bounds__(NT, NT == 512 && K == 1 ? 2 : 1)
    rms_fwd(int64_t rows, int64_t width, float eps, const T *x, const T *residual, const T *weight,
            T *sum_out, T *y, float *rstd) {
  const row_of<NT, V, K> row = {width / V};
  float w[row.KEPT][V], s[row.KEPT][V];
  row.each([&](int k, int64_t j) { load<T, V>(weight + j, w[k]); });
  auto read = [&](const T *xr, const T *rr, T *sr, float(&v)[V], int64_t j) {
    load<T, V>(xr + j, v);
    if (rr != nullptr) {
      float r[V];
      load<T, V>(rr + j, r);
#pragma unroll
      for (int i = 0; i < V; i++) /* what is stored is what is normalised */
        v[i] = rounded<T>(v[i] + r[i]);
      store<T, V>(sr + j, v);
    }
  };
  auto scaled = [&](float(&v)[V], const float(&g)[V], float r) {
#pragma unroll
    for (int i = 0; i < V; i++)
      v[i] = g[i] * rounded<T>(v[i] * r);
  };
  for (int64_t t = blockIdx.x; t < rows; t += gridDim.x) {
    const T *xr = x + t * width, *rr = residual == nullptr ? nullptr : residual + t * width;
    T *sr = sum_out + (rr != nullptr ? t * width : 0), *yr = y + t * width;
    float sq = 0.0f;
    row.each([&](int k, int64_t j) {
      read(xr, rr, sr, s[k], j);
#pragma unroll
      for (int i = 0; i < V; i++)
        sq += s[k][i] * s[k][i];
    });
    row.rest([&](int64_t j) {
      float v[V];
      read(xr, rr, sr, v, j);
#pragma unroll
      for (int i = 0; i < V; i++)
        sq += v[i] * v[i];
    });
    const float r = rsqrtf(block_sum<NT>(sq) / (float)width + eps);
    row.each([&](int k, int64_t j) {
      scaled(s[k], w[k], r);
      store<T, V>(yr + j, s[k]);
    });
    row.rest([&](int64_t j) {
      float v[V], g[V];
      load<T, V>((rr != nullptr ? sr : xr) + j, v); /* its own stores: no barrier is needed */
      load<T, V>(weight + j, g);
      scaled(v, g, r);
      store<T, V>(yr + j, v);
    });
    if (threadIdx.x == 0)
      rstd[t] = r;
  }
}

/* dx = rstd (g - s_hat mean(g s_hat)) + d_sum, g = w dy; part[block] = sum over its rows of dy
 * s_hat. */
template <class T, int NT, int V, int K>
__global__ void __launch_bounds__(NT, NT == 512 && K == 1 ? 2 : 1)
    rms_bwd(int64_t rows, int64_t width, const T *s, const T *weight, const T *dy, const T *d_sum,
            const float *rstd, T *dx, float *part) {
  const row_of<NT, V, K> row = {width / V};
  float w[row.KEPT][V], dw[row.KEPT][V], xs[row.KEPT][V], g[row.KEPT][V];
  row.each([&](int k, int64_t j) {
    load<T, V>(weight + j, w[k]);
#pragma unroll
    for (int i = 0; i < V; i++)
      dw[k][i] = 0.0f;
  });
  auto finish = [&](int64_t at, float(&v)[V], const float(&grad)[V], float r, float mean) {
#pragma unroll
    for (int i = 0; i < V; i++)
      v[i] = r * (grad[i] - v[i] * mean);
    if (d_sum != nullptr) {
      float more[V];
      load<T, V>(d_sum + at, more);
#pragma unroll
      for (int i = 0; i < V; i++)
        v[i] += more[i];
    }
    store<T, V>(dx + at, v);
  };
  if (part != nullptr) /* sums of what registers do not hold */
    row.rest([&](int64_t j) {
      for (int i = 0; i < V; i++)
        part[blockIdx.x * width + j + i] = 0.0f;
    });
  for (int64_t t = blockIdx.x; t < rows; t += gridDim.x) {
    const float r = rstd[t];
    const int64_t at = t * width;
    float dot = 0.0f;
    row.each([&](int k, int64_t j) {
      load<T, V>(s + at + j, xs[k]);
      load<T, V>(dy + at + j, g[k]);
#pragma unroll
      for (int i = 0; i < V; i++) {
        xs[k][i] *= r;
        dw[k][i] += g[k][i] * xs[k][i];
        g[k][i] *= w[k][i];
        dot += g[k][i] * xs[k][i];
      }
    });
    row.rest([&](int64_t j) {
      float v[V], d[V], m[V];
      load<T, V>(s + at + j, v);
      load<T, V>(dy + at + j, d);
      load<T, V>(weight + j, m);
#pragma unroll
      for (int i = 0; i < V; i++) {
        if (part != nullptr)
          part[blockIdx.x * width + j + i] += d[i] * v[i] * r;
        dot += m[i] * d[i] * v[i] * r;
      }
    });
    if (dx == nullptr)
      continue;
    const float mean = block_sum<NT>(dot) / (float)width;
    row.each([&](int k, int64_t j) { finish(at + j, xs[k], g[k], r, mean); });
    row.rest([&](int64_t j) {
      float v[V], d[V], m[V];
      load<T, V>(s + at + j, v);
      load<T, V>(dy + at + j, d);
      load<T, V>(weight + j, m);
#pragma unroll
      for (int i = 0; i < V; i++) {
        v[i] *= r;
        d[i] *= m[i];
      }
      finish(at + j, v, d, r, mean);
    });
  }
  if (part != nullptr)
    row.each([&](int k, int64_t j) { store<float, V>(part + blockIdx.x * width + j, dw[k]); });
}
} // namespace

lrl_status cuda_rms_norm_fwd(struct lrl_ctx *ctx, const struct lrl_rms_norm_fwd_args *a) {
  if (a->n_tokens == 0 || a->width == 0)
    return LRL_OK;
  cuda_op op(ctx);
  const int64_t rows = a->n_tokens, width = a->width, n = rows * width;
  float *rstd = op.out(a->rstd, rows);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    const T *x = op.in_as<T>(a->x, n), *residual = op.in_as<T>(a->residual, n);
    const T *weight = op.in_as<T>(a->weight, width);
    T *sum = a->residual == NULL ? NULL : op.out_as<T>(a->sum_out, n), *y = op.out_as<T>(a->y, n);
    by_row_shape<T>(width, aligned16(x, residual, weight, sum, y), [&](auto nt, auto v, auto k) {
      LRL_LAUNCH(op, (rms_fwd<T, decltype(nt)::value, decltype(v)::value, decltype(k)::value>),
                 grid_for(op, rows, 4), nt.value, 0, rows, width, a->eps, x, residual, weight, sum,
                 y, rstd);
    });
  });
  return op.done();
}

lrl_status cuda_rms_norm_bwd(struct lrl_ctx *ctx, const struct lrl_rms_norm_bwd_args *a) {
  if (a->n_tokens == 0 || a->width == 0)
    return LRL_OK;
  cuda_op op(ctx);
  const int64_t rows = a->n_tokens, width = a->width, n = rows * width;
  const unsigned grid = grid_for(op, rows, 2);
  const float *rstd = op.in(a->rstd, rows);
  float *d_weight = op.inout(a->d_weight, width);
  float *part = d_weight == NULL ? NULL : op.scratch<float>(grid * width);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    const T *s = op.in_as<T>(a->s, n), *weight = op.in_as<T>(a->weight, width);
    const T *dy = op.in_as<T>(a->dy, n), *d_sum = op.in_as<T>(a->d_sum, n);
    T *dx = op.out_as<T>(a->dx, n);
    by_row_shape<T>(width, aligned16(s, weight, dy, d_sum, dx), [&](auto nt, auto v, auto k) {
      LRL_LAUNCH(op, (rms_bwd<T, decltype(nt)::value, decltype(v)::value, decltype(k)::value>),
                 grid, nt.value, 0, rows, width, s, weight, dy, d_sum, rstd, dx, part);
    });
  });
  if (d_weight != NULL)
    launch_add_parts(op, grid, width, part, d_weight);
  return op.done();
}
