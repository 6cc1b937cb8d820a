#include "train/attention.h"

#include "kernels/log.h"

lrl_status lrl_attention_choose(struct lrl_ctx *ctx, int attention) {
  return attention == LRL_ATTENTION_CUDNN ? lrl_use_cudnn(ctx) : LRL_OK;
}

void lrl_attention_tell(struct lrl_ctx *ctx) {
  if (ctx->cudnn_refused == NULL || ctx->cudnn_refusal_told)
    return;
  ctx->cudnn_refusal_told = true;
  lrl_log(LRL_LOG_WARN, "train", "attention=cudnn: the native kernel computes %s",
          ctx->cudnn_refused);
}
