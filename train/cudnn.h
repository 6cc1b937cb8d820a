/* The options train.attention and train.patch_embed: whose kernel computes these on the device. */
#ifndef LRL_TRAIN_CUDNN_H
#define LRL_TRAIN_CUDNN_H
#include "kernels/backend.h"

enum lrl_kernel { LRL_KERNEL_NATIVE = 0, LRL_KERNEL_CUDNN = 1 };
#define LRL_KERNELS "native|cudnn"
#define LRL_ATTENTION_HELP "kernel of attention on a GPU; cudnn: where it takes the operands"
#define LRL_PATCH_EMBED_HELP "the same of the vision tower's convolution"

/* Errors: cudnn is not there (lrl_use_cudnn). */
lrl_status lrl_cudnn_choose(struct lrl_ctx *ctx, int attention, int patch_embed);
/* Logs once what cuDNN did not take. To be called with every line of the log. */
void lrl_cudnn_tell(struct lrl_ctx *ctx);
#endif
