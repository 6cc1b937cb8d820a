/* Rows by index: gather, scatter, embedding. Sums into a row follow the order of positions: rows
 * are grouped by where they go (host.cuh), and a block adds one group. */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/host.cuh"

namespace {
/* out[i] = x[index[i]] (+ out[i]); index < 0 gives 0. */
template <class T, int V>
__global__ void __launch_bounds__(128)
    gather(int64_t n, int64_t width, const int32_t *index, const T *x, T *out, bool add) {
  for (int64_t i = blockIdx.x; i < n; i += gridDim.x) {
    const int64_t from = index[i];
    for (int64_t j = threadIdx.x * V; j < width; j += 128 * V) {
      float v[V] = {};
      if (from >= 0)
        load<T, V>(x + from * width + j, v);
      if (add) {
        float o[V];
        load<T, V>(out + i * width + j, o);
#pragma unroll
        for (int k = 0; k < V; k++)
          v[k] += o[k];
      }
      store<T, V>(out + i * width + j, v);
    }
  }
}
/* out[index[i]] = x[i], distinct indices. */
template <class T, int V>
__global__ void __launch_bounds__(128, 8)
    scatter(int64_t n, int64_t width, const int32_t *index, const T *x, T *out) {
  for (int64_t i = blockIdx.x; i < n; i += gridDim.x) {
    const int64_t to = index[i];
    for (int64_t j = threadIdx.x * V; j < width && to >= 0; j += 128 * V) {
      float v[V];
      load<T, V>(x + i * width + j, v);
      store<T, V>(out + to * width + j, v);
    }
  }
}
/* out[id of group g] += x[order[...]], one after the other, rounding to Out each time as a loop
 * over positions would. */
template <class T, class Out, int V>
__global__ void __launch_bounds__(128)
    scatter_groups(int64_t n_groups, const int32_t *begin, const int32_t *order, int64_t width,
                   const int32_t *index, const T *x, Out *out) {
  for (int64_t g = blockIdx.x; g < n_groups; g += gridDim.x) {
    const int32_t first = begin[g], last = begin[g + 1];
    Out *to = out + (int64_t)index[order[first]] * width;
    for (int64_t j = threadIdx.x * V; j < width; j += 128 * V) {
      float sum[V];
      load<Out, V>(to + j, sum);
      for (int32_t p = first; p < last; p++) {
        float v[V];
        load<T, V>(x + (int64_t)order[p] * width + j, v);
#pragma unroll
        for (int k = 0; k < V; k++)
          sum[k] = rounded<Out>(sum[k] + v[k]);
      }
      store<Out, V>(to + j, sum);
    }
  }
}

template <class T>
void gather_rows(cuda_op &op, int64_t n, int64_t n_x, int64_t width, const int32_t *index_,
                 const void *x_, void *out_, bool add) {
  constexpr int V = 16 / sizeof(T);
  const int32_t *index = op.in(index_, n);
  const T *x = op.in_as<T>(x_, n_x * width);
  T *out = add ? op.inout_as<T>(out_, n * width) : op.out_as<T>(out_, n * width);
  if (aligned16(x, out) && width % V == 0)
    LRL_LAUNCH(op, (gather<T, V>), grid_for(op, n, 16), 128, 0, n, width, index, x, out, add);
  else
    LRL_LAUNCH(op, (gather<T, 1>), grid_for(op, n, 16), 128, 0, n, width, index, x, out, add);
}
template <class T, class Out>
void add_groups(cuda_op &op, const cuda_groups &g, int64_t width, const int32_t *index, const T *x,
                Out *out) {
  if (g.n_groups == 0)
    return;
  constexpr int V = 16 / sizeof(Out); /* the wider type */
  if (aligned16(x, out) && width % V == 0)
    LRL_LAUNCH(op, (scatter_groups<T, Out, V>), grid_for(op, g.n_groups, 16), 128, 0, g.n_groups,
               g.begin, g.order, width, index, x, out);
  else
    LRL_LAUNCH(op, (scatter_groups<T, Out, 1>), grid_for(op, g.n_groups, 16), 128, 0, g.n_groups,
               g.begin, g.order, width, index, x, out);
}
} // namespace

lrl_status cuda_embedding_fwd(struct lrl_ctx *ctx, const struct lrl_embedding_fwd_args *a) {
  if (a->n_tokens == 0 || a->width == 0)
    return LRL_OK;
  cuda_op op(ctx);
  by_dtype(a->dtype, [&](auto type) {
    gather_rows<decltype(type)>(op, a->n_tokens, a->n_vocab, a->width, a->ids, a->table, a->out,
                                false);
  });
  return op.done();
}
lrl_status cuda_gather_rows(struct lrl_ctx *ctx, const struct lrl_gather_rows_args *a) {
  if (a->n == 0 || a->width == 0)
    return LRL_OK;
  cuda_op op(ctx);
  by_dtype(a->dtype, [&](auto type) {
    gather_rows<decltype(type)>(op, a->n, a->n_x, a->width, a->index, a->x, a->out,
                                a->beta != 0.0f);
  });
  return op.done();
}
lrl_status cuda_scatter_rows(struct lrl_ctx *ctx, const struct lrl_scatter_rows_args *a) {
  if (a->n == 0 || a->width == 0)
    return LRL_OK;
  cuda_op op(ctx);
  const int32_t *index = op.in(a->index, a->n);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    constexpr int V = 16 / sizeof(T);
    const T *x = op.in_as<T>(a->x, a->n * a->width);
    T *out = op.inout_as<T>(a->out, a->n_out * a->width);
    if (a->beta != 0.0f)
      add_groups(op, group_by_id(op, a->index, a->n, a->n_out, -1), a->width, index, x, out);
    else if (aligned16(x, out) && a->width % V == 0)
      LRL_LAUNCH(op, (scatter<T, V>), grid_for(op, a->n, 16), 128, 0, a->n, a->width, index, x,
                 out);
    else
      LRL_LAUNCH(op, (scatter<T, 1>), grid_for(op, a->n, 16), 128, 0, a->n, a->width, index, x,
                 out);
  });
  return op.done();
}
lrl_status cuda_embedding_bwd(struct lrl_ctx *ctx, const struct lrl_embedding_bwd_args *a) {
  if (a->n_tokens == 0 || a->width == 0)
    return LRL_OK;
  cuda_op op(ctx);
  const int32_t *ids = op.in(a->ids, a->n_tokens);
  float *d_table = op.inout(a->d_table, a->n_vocab * a->width);
  const cuda_groups g = group_by_id(op, a->ids, a->n_tokens, a->n_vocab, a->padding_idx);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    add_groups(op, g, a->width, ids, op.in_as<T>(a->d_out, a->n_tokens * a->width), d_table);
  });
  return op.done();
}
