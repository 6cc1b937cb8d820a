/* What model/generate.c and model/generate_pass.c share. */
#ifndef LRL_GENERATE_IMPL_H
#define LRL_GENERATE_IMPL_H
#include "model/generate.h"

/* A prompt in the cache. */
struct gen_live {
  int64_t prompt; /* -1: free */
  struct lrl_kv_seq seq;
  float *logits; /* [vocab] after its last token: the first token of every sample is drawn here */
  int64_t started, running;
};
/* A sample in the cache. */
struct gen_slot {
  struct lrl_gen_sample *sample; /* NULL: free */
  struct gen_live *live;
  struct lrl_kv_seq seq;
};
struct gen {
  struct lrl_ctx *ctx;
  const struct lrl_lm *lm;
  const struct lrl_gen_options *o;
  const struct lrl_gen_prompt *prompts;
  int64_t n_prompts, n_slots;
  int64_t next;     /* prompt that comes next */
  int64_t *first;   /* [n_prompts + 1]: results of a prompt */
  int64_t reserved; /* pages promised: those of live prompts, sample_pages a running sample */
  int64_t sample_pages;
  struct gen_live *live; /* [n_slots] */
  struct gen_slot *slot; /* [n_slots] */
  struct lrl_kv_cache cache;
  struct lrl_rope_kept rope; /* of all positions that come up */
  struct lrl_arena *arena, *steps;
  lrl_gen_token *on_token;
  void *user;
  struct lrl_generation *out;
};

/* Computes n prompts and keeps their last logits. */
lrl_status gen_prefill(struct gen *g, struct gen_live *const *batch, int64_t n);
/* Draws the first token of samples just started. */
lrl_status gen_first_tokens(struct gen *g, const int64_t *slots, int64_t n);
/* Feeds the last token of n samples and draws the next. */
lrl_status gen_decode(struct gen *g, const int64_t *slots, int64_t n);
/* The sample in this slot is complete. */
void gen_finish(struct gen *g, struct gen_slot *slot);
#endif
