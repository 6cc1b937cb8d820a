/* The operation graphs that the backend asks cuDNN for. */
#ifndef LRL_CUDA_CUDNN_PATTERN_CUH
#define LRL_CUDA_CUDNN_PATTERN_CUH
#include "kernels/cuda/cudnn_graph.cuh"

#if LRL_WITH_CUDNN
/* o = softmax(scale q k' + mask) v and its log-sum-exp over packed sequences of up to `longest`
 * tokens; row strides ld_*. Memory by these names: offsets are [n_seqs + 1] in elements, lengths
 * [n_seqs], both int32; stats [n_seqs, n_heads, longest] f32; scale and fill (-infinity) are
 * numbers of the host. */
struct cudnn_attention_shape {
  int64_t n_seqs, longest, n_heads, n_kv_heads, head_dim, ld_q, ld_k, ld_v, ld_o;
  bool causal;
};
enum cudnn_attention_id {
  ATTENTION_Q = 1,
  ATTENTION_K,
  ATTENTION_V,
  ATTENTION_O,
  ATTENTION_STATS,
  ATTENTION_LENGTHS,
  ATTENTION_Q_OFFSETS,
  ATTENTION_K_OFFSETS,
  ATTENTION_V_OFFSETS,
  ATTENTION_O_OFFSETS,
  ATTENTION_SCALE,
  ATTENTION_FILL,
  ATTENTION_IDS
};
void cudnn_attention_graph(cudnn_graph *g, const struct cudnn_attention_shape *s);

/* The convolution of patch_embed_fwd (kernels/ops.h), whose pixels are of `type` here, too. */
struct cudnn_patch_shape {
  int64_t n, channels, size, patch, width;
  cudnnDataType_t type;
};
enum cudnn_patch_id { PATCH_PIXELS = 1, PATCH_WEIGHT, PATCH_OUT, PATCH_IDS };
void cudnn_patch_graph(cudnn_graph *g, const struct cudnn_patch_shape *s);
#endif
#endif
