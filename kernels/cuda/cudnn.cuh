/* What of cuDNN the rest of the backend uses. */
#ifndef LRL_CUDA_CUDNN_CUH
#define LRL_CUDA_CUDNN_CUH
#include "kernels/cuda/attention.cuh"

/* The backend's `cudnn` entry: whether cuDNN is there and fit for this use, and, with a context,
 * made ready for it. */
lrl_status cuda_cudnn(struct lrl_ctx *ctx, enum lrl_cudnn_use use, int *version);
void cuda_cudnn_destroy(cuda_state *s);
/* Only after cuda_cudnn for that use. *refused says what cuDNN does not take, and nothing was
 * queued; NULL: it is queued. */
lrl_status cudnn_forward(cuda_op &op, const attention_args<bf16> &g, const struct lrl_layout *l,
                         bf16 *o, float *lse, const char **refused);
lrl_status cudnn_patch_embed(cuda_op &op, const struct lrl_patch_embed_fwd_args *a,
                             const float *pixels, const void *weight, void *out,
                             const char **refused);
#endif
