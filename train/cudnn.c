#include "train/cudnn.h"

#include "kernels/log.h"

lrl_status lrl_cudnn_choose(struct lrl_ctx *ctx, int attention, int patch_embed) {
  if (attention == LRL_KERNEL_CUDNN)
    LRL_TRY(lrl_use_cudnn(ctx, LRL_CUDNN_ATTENTION));
  return patch_embed == LRL_KERNEL_CUDNN ? lrl_use_cudnn(ctx, LRL_CUDNN_PATCH_EMBED) : LRL_OK;
}

void lrl_cudnn_tell(struct lrl_ctx *ctx) {
  for (int i = 0; i < LRL_CUDNN_USES; i++) {
    if (ctx->cudnn[i].refused == NULL || ctx->cudnn[i].told)
      continue;
    ctx->cudnn[i].told = true;
    lrl_log(LRL_LOG_WARN, "train", "%s=cudnn: the native kernel computes %s",
            lrl_cudnn_name((enum lrl_cudnn_use)i), ctx->cudnn[i].refused);
  }
}
