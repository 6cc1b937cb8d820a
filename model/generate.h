/* Text generation: continuous batching over a paged key/value cache. Prompts are prefilled once in
 * packed batches, however many samples they have; samples decode together and a finished one makes
 * room for the next at once.
 *
 * A sample is a pure function of the model, its prompt, the options, its number and the seed: not
 * of what else runs, of slots, of the number of threads or ranks. Its log-probs have the bits of a
 * packed training forward in which the sample is a child of its prompt (model/kv_cache.h). */
#ifndef LRL_GENERATE_H
#define LRL_GENERATE_H
#include "model/kv_cache.h"
#ifdef __cplusplus
extern "C" {
#endif

/* A decoder with its output projection [vocab, hidden]: parameter `head` of head_unit, which for
 * tied embeddings is parameter 0 of the embedding's unit. */
struct lrl_lm {
  struct lrl_decoder *decoder;
  struct lrl_param_unit *head_unit;
  int head;
};

struct lrl_gen_options {
  /* Sampling as struct lrl_sample_args says; temperature 0 is greedy. */
  double temperature, top_p, repetition_penalty; /* the penalty sees the prompt's ids too */
  int64_t top_k;
  int64_t max_new_tokens;
  const int32_t *stop_ids; /* [n_stop_ids]: a sample ends with the first of these, which it keeps */
  int64_t n_stop_ids;
  uint64_t seed;
  int64_t max_samples;    /* decoded at once; 0: 32 */
  int64_t prefill_tokens; /* of prompts computed at once; 0: 4096. A longer prompt goes alone */
  int64_t cache_pages;    /* 0: what max_samples samples of the longest prompts need */
  bool without_lora;      /* sample from the base model */
};

struct lrl_gen_prompt {
  const int32_t *ids; /* [n_ids], -1 at image tokens; at least one */
  int64_t n_ids;
  const void *images; /* [image tokens, hidden] in the model's dtype; NULL without */
  int64_t n_samples;
  uint64_t key; /* names the prompt in the random stream, below 2^44: its index in the data */
};

enum lrl_finish { LRL_FINISH_STOP, LRL_FINISH_LENGTH };
struct lrl_gen_sample {
  int64_t prompt, index, n; /* index among the prompt's samples, below 2^20; n: tokens */
  int32_t *tokens;
  /* Of each token: log-prob among all ids at the same temperature (1 when greedy), without the
   * penalty, top-k and top-p; and under the distribution it was drawn from. */
  float *logprobs, *sampling_logprobs;
  enum lrl_finish finish; /* never to be guessed from the tokens */
};
struct lrl_generation {
  int64_t n_samples; /* prompt by prompt */
  struct lrl_gen_sample *sample;
  int64_t prefill_tokens, new_tokens, decode_steps;
};

/* Each new token as it is drawn, samples interleaved; done: it was the sample's last. */
typedef void lrl_gen_token(void *user, const struct lrl_gen_sample *s, bool done);

/* Results and the cache come from `arena`, passes run in `steps`, which is given back. on_token may
 * be NULL. Errors: options out of range, an empty prompt, a cache too small for one sample, logits
 * that are not finite (the message names prompt, sample and token). */
lrl_status lrl_generate(struct lrl_ctx *ctx, const struct lrl_lm *lm,
                        const struct lrl_gen_options *options, const struct lrl_gen_prompt *prompts,
                        int64_t n_prompts, struct lrl_arena *arena, struct lrl_arena *steps,
                        lrl_gen_token *on_token, void *user, struct lrl_generation *out);

/* f32 logits [x->rows, vocab] of final hidden states, as the training passes make them. */
struct lrl_tensor *lrl_lm_logits(struct lrl_tape *tape, const struct lrl_lm *lm,
                                 struct lrl_tensor *x);
/* The number in [0, 1) that draws token `position` of a sample. */
double lrl_gen_uniform(uint64_t seed, uint64_t prompt_key, int64_t sample, int64_t position);

#ifdef __cplusplus
}
#endif
#endif
