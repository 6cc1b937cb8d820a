/* One optimizer step of a trainer with made-up data of given sizes, through the code that trains:
 * network, tape, losses, optimizer, ZeRO. On the plan backend (kernels/plan.h) it takes no memory
 * and says what a rank needs; on a real device it is what the plan is held against in tests. */
#ifndef LRL_PLAN_RUN_H
#define LRL_PLAN_RUN_H
#include "kernels/plan.h"
#include "train/ppo_config.h"
#include "train/trainer.h"

/* A micro-batch: n pairs of a prompt and two answers, or n chats of a prompt and an answer; each
 * prompt has an image of rows x cols tiles (0: none), whose tokens are among the prompt's. */
struct lrl_plan_batch {
  int64_t n, prompt, answer; /* the last two: tokens */
  int64_t rows, cols;
  bool pairs, share_prefix; /* share_prefix: a pair's prompt stands once */
};
int64_t lrl_plan_batch_tokens(const struct lrl_plan_batch *b); /* packed */

/* Bytes of a rank: the peaks of its arenas. */
struct lrl_plan_bytes {
  size_t weights, gradients, optimizer, activations;
  size_t cache;   /* of generation: keys and values, responses */
  size_t scratch; /* of ops */
};
static inline size_t lrl_plan_bytes_sum(const struct lrl_plan_bytes *b) {
  return b->weights + b->gradients + b->optimizer + b->activations + b->cache + b->scratch;
}

struct lrl_plan_report {
  int64_t n_params, n_trained; /* parameters, without the padding of units */
  struct lrl_plan_bytes bytes;
  struct lrl_plan work;            /* of a step; on the plan backend */
  struct lrl_plan_traffic traffic; /* of a step */
  /* Parts of the work, in order; PPO has several. */
  int n_phases;
  struct {
    const char *name;
    struct lrl_plan_count all;
  } phase[8];
};

/* device: "plan", or for tests another. comm: ranks that exist; NULL: rank 0 of `ranks` that do
 * not, see lrl_comm_create_planned. n_micro: micro-batches of this rank in a step, all alike.
 * Errors: those of building and training; the vocabulary is not known; train.nccl is false. */
struct lrl_plan_setting {
  const char *device;
  struct lrl_plan_machine machine;
  struct lrl_comm *comm;
  int ranks;
  int64_t n_micro;
  struct lrl_plan_batch batch;
};
lrl_status lrl_plan_training(const struct lrl_trainer_kind *kind,
                             const struct lrl_trainer_options *o, const void *cfg,
                             const struct lrl_plan_setting *setting, struct lrl_plan_report *out);

/* One iteration of PPO likewise: rollout, scores, log-probs, values, advantages, updates, answers
 * mixed in. All networks are alike: `model`, with an LM or a scalar head, their vision parts the
 * same weights. batch: n is not used; prompt and answer are tokens of a prompt and of a response,
 * of which none ends early. */
struct lrl_plan_ppo {
  const struct lrl_model_options *model;
  const char *tokenizer; /* for lrl_plan_vocabulary */
};
lrl_status lrl_plan_ppo(const struct lrl_ppo_config *cfg, const struct lrl_plan_ppo *networks,
                        const struct lrl_plan_setting *setting, struct lrl_plan_report *out);

/* ---- for plan_*.c ---- */

/* A batch of ids that mean nothing, in host memory. Free with lrl_plan_batch_free, also after a
 * failure. pairs_step: of the whole step. */
lrl_status lrl_plan_batch_make(const struct lrl_plan_batch *shape, const struct lrl_vit_config *vit,
                               int64_t pairs_step, struct lrl_batch *out);
void lrl_plan_batch_free(struct lrl_batch *b);
/* The communicator of a setting: its own, or a planned one for the caller to destroy, *made. */
lrl_status lrl_plan_comm(const struct lrl_plan_setting *s, bool nccl, struct lrl_comm **comm,
                         struct lrl_comm **made);
/* Adds what an optimizer took of its arena to `optimizer`; the rest are gradients. */
void lrl_plan_optimizer_bytes(const struct lrl_optimizer *o, struct lrl_plan_bytes *out);
/* The network's vocabulary without a tokenizer: LRL_ERR_ARG when model.vocab_size and the
 * tokenizer's file are missing. */
lrl_status lrl_plan_vocabulary(const struct lrl_model_options *model, const char *tokenizer,
                               struct lrl_tokenizer_info *out);
void lrl_plan_count_params(const struct lrl_param_set *set, struct lrl_plan_report *out);
/* work += n times what p counted since it was cleared; clears it. */
void lrl_plan_take(struct lrl_plan *p, int64_t n, struct lrl_plan *work);
/* The same once, as a phase of the report. */
void lrl_plan_phase(struct lrl_plan *p, const char *name, struct lrl_plan_report *out);
#endif
