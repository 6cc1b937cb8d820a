/* The cpu backend's GEMM: oneDNN's matmul primitive behind the contract of lrl_gemm
 * (kernels/ops.h). State (engine, stream, cached primitives, packed weights) lives in ctx->state.
 */
#ifndef LRL_ONEDNN_GEMM_H
#define LRL_ONEDNN_GEMM_H
#include "kernels/backend.h"

/* Creates ctx->state. Errors: LRL_ERR_LIB, LRL_ERR_MEMORY. */
lrl_status lrl_onednn_create(struct lrl_ctx *ctx);
void lrl_onednn_destroy(struct lrl_ctx *ctx);
/* lrl_gemm. Errors: LRL_ERR_LIB when oneDNN has no implementation, LRL_ERR_MEMORY. */
lrl_status lrl_onednn_gemm(struct lrl_ctx *ctx, const struct lrl_gemm_args *a);
#endif
