/* Checkpoints of llama2.c (karpathy/llama2.c, version 0 ".bin"): seven int32 - dim, hidden_dim,
 * n_layers, n_heads, n_kv_heads, vocab_size (negative: the classifier is not the embedding),
 * seq_len - then f32 weights. Rotary pairs there are neighbours (2i, 2i+1); ours are halves
 * (i, i + d/2), so the rows of q and k are permuted on the way. */
#ifndef LRL_LLAMA2C_H
#define LRL_LLAMA2C_H
#include "model/decoder.h"
#ifdef __cplusplus
extern "C" {
#endif

struct lrl_llama2c;
/* Reads and checks the file. Errors: LRL_ERR_IO; LRL_ERR_FORMAT when sizes and length disagree. */
lrl_status lrl_llama2c_open(const char *path, struct lrl_llama2c **out);
void lrl_llama2c_close(struct lrl_llama2c *m); /* NULL is fine */
/* The decoder the weights are for: theta 10000, eps 1e-5, no bias; pad_token_id -1. */
struct lrl_decoder_config lrl_llama2c_config(const struct lrl_llama2c *m);
/* Fills a decoder built from that config and, where the set has it, "output.weight"; a shared
 * classifier is copied there. */
lrl_status lrl_llama2c_load(const struct lrl_llama2c *m, struct lrl_param_set *set);

#ifdef __cplusplus
}
#endif
#endif
