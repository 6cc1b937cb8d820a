/* What of cuDNN the rest of the backend uses. */
#ifndef LRL_CUDA_CUDNN_CUH
#define LRL_CUDA_CUDNN_CUH
#include "kernels/cuda/attention.cuh"

/* The backend's `cudnn` entry: whether cuDNN is there, and, with a context, from now on its
 * attention where it takes the operands. */
lrl_status cuda_cudnn(struct lrl_ctx *ctx, int *version);
void cuda_cudnn_destroy(cuda_state *s);
/* *refused says what cuDNN does not take, and nothing was queued; NULL: it is queued. */
lrl_status cudnn_forward(cuda_op &op, const attention_args<bf16> &g, const struct lrl_layout *l,
                         bf16 *o, float *lse, const char **refused);
#endif
