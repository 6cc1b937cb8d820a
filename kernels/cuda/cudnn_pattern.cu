#include "kernels/cuda/cudnn_pattern.cuh"
#if LRL_WITH_CUDNN

/* The operations one by one, which cuDNN knows as fused attention. */
void cudnn_attention_graph(cudnn_graph *g, const struct cudnn_attention_shape *s) {
  typedef cudnn_graph::node node;
  const cudnnDataType_t f32 = CUDNN_DATA_FLOAT, bf16 = CUDNN_DATA_BFLOAT16, i32 = CUDNN_DATA_INT32,
                        flag = CUDNN_DATA_BOOLEAN;
  const int64_t b = s->n_seqs, h = s->n_heads, kv = s->n_kv_heads, n = s->longest, d = s->head_dim;
  const int64_t one[4] = {1, 1, 1, 1}, offsets[4] = {b + 1, 1, 1, 1}, lengths[4] = {b, 1, 1, 1},
                rows[4] = {b, h, n, 1}, scores[4] = {b, h, n, n};
  auto packed = [&](int id, int offsets_id, int64_t heads, int64_t ld, bool transposed) {
    node start = g->tensor(offsets_id, i32, offsets, one);
    const int64_t dim[4] = {b, heads, transposed ? d : n, transposed ? n : d};
    const int64_t stride[4] = {n * ld, d, transposed ? 1 : ld, transposed ? ld : 1};
    return g->tensor(id, bf16, dim, stride, cudnn_graph::REAL, start);
  };
  node q = packed(ATTENTION_Q, ATTENTION_Q_OFFSETS, h, s->ld_q, false),
       k = packed(ATTENTION_K, ATTENTION_K_OFFSETS, kv, s->ld_k, true),
       v = packed(ATTENTION_V, ATTENTION_V_OFFSETS, kv, s->ld_v, false),
       o = packed(ATTENTION_O, ATTENTION_O_OFFSETS, h, s->ld_o, false);
  const int64_t stats_stride[4] = {h * n, n, 1, 1};
  node stats = g->tensor(ATTENTION_STATS, f32, rows, stats_stride);
  node length = g->tensor(ATTENTION_LENGTHS, i32, lengths, one);
  node scale = g->tensor(ATTENTION_SCALE, f32, one, one, cudnn_graph::VALUE),
       fill = g->tensor(ATTENTION_FILL, f32, one, one, cudnn_graph::VALUE);
  auto step = [&](cudnnPointwiseMode_t mode, cudnnDataType_t type, cudnnDataType_t compute, node x,
                  node y, node mask, const int64_t(&dim)[4], int64_t axis) {
    node out = g->virtual_tensor(type, dim);
    g->pointwise(mode, compute, x, y, mask, out, axis);
    return out;
  };
  node raw = g->virtual_tensor(f32, scores);
  g->matmul(q, k, raw, length, length, NULL);
  node x = step(CUDNN_POINTWISE_MUL, f32, f32, raw, scale, NULL, scores, -1);
  auto index = [&](int64_t axis, cudnnDataType_t compute) {
    return step(CUDNN_POINTWISE_GEN_INDEX, i32, compute, x, NULL, NULL, scores, axis);
  };
  auto keep = [&](node mask) {
    x = step(CUDNN_POINTWISE_BINARY_SELECT, f32, f32, x, fill, mask, scores, -1);
  };
  node row = index(2, i32), column = index(3, i32);
  node in_rows = step(CUDNN_POINTWISE_CMP_LT, flag, flag, row, length, NULL, scores, -1),
       in_columns = step(CUDNN_POINTWISE_CMP_LT, flag, flag, column, length, NULL, scores, -1);
  keep(step(CUDNN_POINTWISE_LOGICAL_AND, flag, flag, in_rows, in_columns, NULL, scores, -1));
  if (s->causal) {
    row = index(2, f32);
    column = index(3, f32);
    keep(step(CUDNN_POINTWISE_CMP_GE, flag, flag, row, column, NULL, scores, -1));
  }
  node top = g->virtual_tensor(f32, rows), sum = g->virtual_tensor(f32, rows);
  g->reduce(CUDNN_REDUCE_TENSOR_MAX, x, top);
  node e = step(CUDNN_POINTWISE_SUB, f32, f32, x, top, NULL, scores, -1);
  e = step(CUDNN_POINTWISE_EXP, f32, f32, e, NULL, NULL, scores, -1);
  g->reduce(CUDNN_REDUCE_TENSOR_ADD, e, sum);
  node log_sum = step(CUDNN_POINTWISE_LOG, f32, f32, sum, NULL, NULL, rows, -1);
  g->pointwise(CUDNN_POINTWISE_ADD, f32, top, log_sum, NULL, stats);
  node p = step(CUDNN_POINTWISE_DIV, bf16, f32, e, sum, NULL, scores, -1);
  g->matmul(p, v, o, length, NULL, length);
}

/* Pixels as they are, [n, c, y, x]; out with the channel last, which makes its rows those of the
 * tower. cuDNN has tensor cores for the two together. */
void cudnn_patch_graph(cudnn_graph *g, const struct cudnn_patch_shape *s) {
  const int64_t n = s->n, c = s->channels, z = s->size, p = s->patch, w = s->width, side = z / p;
  const int64_t pixels[4] = {n, c, z, z}, pixels_stride[4] = {c * z * z, z * z, z, 1};
  const int64_t weight[4] = {w, c, p, p}, weight_stride[4] = {c * p * p, p * p, p, 1};
  const int64_t out[4] = {n, w, side, side}, out_stride[4] = {side * side * w, 1, side * w, w};
  g->convolution(g->tensor(PATCH_PIXELS, s->type, pixels, pixels_stride),
                 g->tensor(PATCH_WEIGHT, s->type, weight, weight_stride),
                 g->tensor(PATCH_OUT, s->type, out, out_stride), p);
}
#endif
