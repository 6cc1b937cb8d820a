/* The option train.attention: whose kernel computes attention on the device. */
#ifndef LRL_TRAIN_ATTENTION_H
#define LRL_TRAIN_ATTENTION_H
#include "kernels/backend.h"

enum lrl_attention { LRL_ATTENTION_NATIVE = 0, LRL_ATTENTION_CUDNN = 1 };
#define LRL_ATTENTIONS "native|cudnn"
#define LRL_ATTENTION_HELP "kernel of attention on a GPU; cudnn: where it takes the operands"

/* Errors: cudnn is not there (lrl_use_cudnn). */
lrl_status lrl_attention_choose(struct lrl_ctx *ctx, int attention);
/* Logs once what cuDNN did not take. To be called with every line of the log. */
void lrl_attention_tell(struct lrl_ctx *ctx);
#endif
