/* LayerNorm. The variance is of the row in registers around its mean, never E[x^2] - E[x]^2. Floor
 * at width h: 4 bytes an element forward, 6 backward, 8 with d_add (bf16). */
#include "kernels/cuda/norm.cuh"

namespace {
template <class T, int NT, int V, int K>
__global__ void __launch_bounds__(NT, NT == 512 && K == 1 ? 2 : 1)
    layer_fwd(int64_t rows, int64_t width, float eps, const T *x, const T *weight, const T *bias,
              T *y, float *mean, float *rstd) {
  const row_of<NT, V, K> row = {width / V};
  float w[row.KEPT][V], b[row.KEPT][V], s[row.KEPT][V];
  row.each([&](int k, int64_t j) {
    load<T, V>(weight + j, w[k]);
    load<T, V>(bias + j, b[k]);
  });
  for (int64_t t = blockIdx.x; t < rows; t += gridDim.x) {
    const T *xr = x + t * width;
    float sum = 0.0f, sq = 0.0f;
    row.each([&](int k, int64_t j) {
      load<T, V>(xr + j, s[k]);
#pragma unroll
      for (int i = 0; i < V; i++)
        sum += s[k][i];
    });
    row.rest([&](int64_t j) {
      float v[V];
      load<T, V>(xr + j, v);
#pragma unroll
      for (int i = 0; i < V; i++)
        sum += v[i];
    });
    const float m = block_sum<NT>(sum) / (float)width;
    row.each([&](int k, int64_t) {
#pragma unroll
      for (int i = 0; i < V; i++) {
        s[k][i] -= m;
        sq += s[k][i] * s[k][i];
      }
    });
    row.rest([&](int64_t j) {
      float v[V];
      load<T, V>(xr + j, v);
#pragma unroll
      for (int i = 0; i < V; i++)
        sq += (v[i] - m) * (v[i] - m);
    });
    const float r = rsqrtf(block_sum<NT>(sq) / (float)width + eps);
    row.each([&](int k, int64_t j) {
#pragma unroll
      for (int i = 0; i < V; i++)
        s[k][i] = s[k][i] * r * w[k][i] + b[k][i];
      store<T, V>(y + t * width + j, s[k]);
    });
    row.rest([&](int64_t j) {
      float v[V], g[V], c[V];
      load<T, V>(xr + j, v);
      load<T, V>(weight + j, g);
      load<T, V>(bias + j, c);
#pragma unroll
      for (int i = 0; i < V; i++)
        v[i] = (v[i] - m) * r * g[i] + c[i];
      store<T, V>(y + t * width + j, v);
    });
    if (threadIdx.x == 0) {
      mean[t] = m;
      rstd[t] = r;
    }
  }
}

/* dx = rstd (g - mean(g) - x_hat mean(g x_hat)) + d_add, g = w dy; a block's sums of dy x_hat and
 * of dy go to rows of dw_part and db_part. */
template <class T, int NT, int V, int K>
__global__ void __launch_bounds__(NT, 1)
    layer_bwd(int64_t rows, int64_t width, const T *x, const T *weight, const T *dy, const T *d_add,
              const float *mean, const float *rstd, T *dx, float *dw_part, float *db_part) {
  const row_of<NT, V, K> row = {width / V};
  const int64_t mine = blockIdx.x * width;
  float w[row.KEPT][V], dw[row.KEPT][V], db[row.KEPT][V], xs[row.KEPT][V], g[row.KEPT][V];
  row.each([&](int k, int64_t j) {
    load<T, V>(weight + j, w[k]);
#pragma unroll
    for (int i = 0; i < V; i++)
      dw[k][i] = db[k][i] = 0.0f;
  });
  row.rest([&](int64_t j) {
    for (int i = 0; i < V; i++)
      dw_part[mine + j + i] = db_part[mine + j + i] = 0.0f;
  });
  auto finish = [&](int64_t at, float(&v)[V], const float(&grad)[V], float r, float m1, float m2) {
#pragma unroll
    for (int i = 0; i < V; i++)
      v[i] = r * (grad[i] - m1 - v[i] * m2);
    if (d_add != nullptr) {
      float more[V];
      load<T, V>(d_add + at, more);
#pragma unroll
      for (int i = 0; i < V; i++)
        v[i] += more[i];
    }
    store<T, V>(dx + at, v);
  };
  for (int64_t t = blockIdx.x; t < rows; t += gridDim.x) {
    const float r = rstd[t], m = mean[t];
    const int64_t at = t * width;
    float sum = 0.0f, dot = 0.0f;
    row.each([&](int k, int64_t j) {
      load<T, V>(x + at + j, xs[k]);
      load<T, V>(dy + at + j, g[k]);
#pragma unroll
      for (int i = 0; i < V; i++) {
        xs[k][i] = (xs[k][i] - m) * r;
        dw[k][i] += g[k][i] * xs[k][i];
        db[k][i] += g[k][i];
        g[k][i] *= w[k][i];
        sum += g[k][i];
        dot += g[k][i] * xs[k][i];
      }
    });
    row.rest([&](int64_t j) {
      float v[V], d[V], c[V];
      load<T, V>(x + at + j, v);
      load<T, V>(dy + at + j, d);
      load<T, V>(weight + j, c);
#pragma unroll
      for (int i = 0; i < V; i++) {
        v[i] = (v[i] - m) * r;
        dw_part[mine + j + i] += d[i] * v[i];
        db_part[mine + j + i] += d[i];
        sum += c[i] * d[i];
        dot += c[i] * d[i] * v[i];
      }
    });
    if (dx == nullptr)
      continue;
    const float m1 = block_sum<NT>(sum) / (float)width, m2 = block_sum<NT>(dot) / (float)width;
    row.each([&](int k, int64_t j) { finish(at + j, xs[k], g[k], r, m1, m2); });
    row.rest([&](int64_t j) {
      float v[V], d[V], c[V];
      load<T, V>(x + at + j, v);
      load<T, V>(dy + at + j, d);
      load<T, V>(weight + j, c);
#pragma unroll
      for (int i = 0; i < V; i++) {
        v[i] = (v[i] - m) * r;
        d[i] *= c[i];
      }
      finish(at + j, v, d, r, m1, m2);
    });
  }
  row.each([&](int k, int64_t j) {
    store<float, V>(dw_part + mine + j, dw[k]);
    store<float, V>(db_part + mine + j, db[k]);
  });
}
} // namespace

lrl_status cuda_layer_norm_fwd(struct lrl_ctx *ctx, const struct lrl_layer_norm_fwd_args *a) {
  if (a->n_tokens == 0 || a->width == 0)
    return LRL_OK;
  cuda_op op(ctx);
  const int64_t rows = a->n_tokens, width = a->width, n = rows * width;
  float *mean = op.out(a->mean, rows), *rstd = op.out(a->rstd, rows);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    const T *x = op.in_as<T>(a->x, n), *weight = op.in_as<T>(a->weight, width);
    const T *bias = op.in_as<T>(a->bias, width);
    T *y = op.out_as<T>(a->y, n);
    by_row_shape<T>(width, aligned16(x, weight, bias, y), [&](auto nt, auto v, auto k) {
      LRL_LAUNCH(op, (layer_fwd<T, decltype(nt)::value, decltype(v)::value, decltype(k)::value>),
                 grid_for(op, rows, 4), nt.value, 0, rows, width, a->eps, x, weight, bias, y, mean,
                 rstd);
    });
  });
  return op.done();
}

lrl_status cuda_layer_norm_bwd(struct lrl_ctx *ctx, const struct lrl_layer_norm_bwd_args *a) {
  if (a->n_tokens == 0 || a->width == 0)
    return LRL_OK;
  cuda_op op(ctx);
  const int64_t rows = a->n_tokens, width = a->width, n = rows * width;
  const unsigned grid = grid_for(op, rows, 2);
  const float *mean = op.in(a->mean, rows), *rstd = op.in(a->rstd, rows);
  float *d_weight = op.inout(a->d_weight, width), *d_bias = op.inout(a->d_bias, width);
  float *dw_part = op.scratch<float>(grid * width), *db_part = op.scratch<float>(grid * width);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    const T *x = op.in_as<T>(a->x, n), *weight = op.in_as<T>(a->weight, width);
    const T *dy = op.in_as<T>(a->dy, n), *d_add = op.in_as<T>(a->d_add, n);
    T *dx = op.out_as<T>(a->dx, n);
    by_row_shape<T>(width, aligned16(x, weight, dy, d_add, dx), [&](auto nt, auto v, auto k) {
      LRL_LAUNCH(op, (layer_bwd<T, decltype(nt)::value, decltype(v)::value, decltype(k)::value>),
                 grid, nt.value, 0, rows, width, x, weight, dy, d_add, mean, rstd, dx, dw_part,
                 db_part);
    });
  });
  if (d_weight != NULL)
    launch_add_parts(op, grid, width, dw_part, d_weight);
  if (d_bias != NULL)
    launch_add_parts(op, grid, width, db_part, d_bias);
  return op.done();
}
