/* A model as it is saved: a checkpoint with "kind" (reward or language), "config" (the keys of its
 * run that describe it), "tokenizer" and "model". Written by laurel convert and the trainers; read
 * by whatever scores (kind reward, train/reward_model.h) or generates (kind language). */
#ifndef LRL_SAVED_MODEL_H
#define LRL_SAVED_MODEL_H
#include "model/generate.h"
#include "train/checkpoint.h"
#include "train/data_options.h"
#include "train/model_options.h"

struct lrl_saved_model {
  struct lrl_model_options options;
  struct lrl_data_options data; /* image geometry; paths in it may no longer exist */
  char path[LRL_OPTION_TEXT + 96];
  struct lrl_tokenizer *tokenizer;
  struct lrl_vlm model; /* frozen */
  struct lrl_ctx ctx;
  struct lrl_arena steps;
};

/* `path`: a checkpoint or a run's folder (lrl_checkpoint_find). kind: "reward" or "language".
 * device: of LRL_DEVICES; threads 0: all. Free with lrl_saved_model_close. Errors: no such file,
 * another kind, a damaged file, no such device, no memory. */
lrl_status lrl_saved_model_open(const char *path, const char *kind, const char *device, int threads,
                                struct lrl_saved_model **out);
void lrl_saved_model_close(struct lrl_saved_model *m); /* NULL is fine */

/* What generation takes of a model with a language head. */
struct lrl_lm lrl_language_model_lm(struct lrl_vlm *m);

/* Puts the four parts of a language model into a checkpoint that is being written; `config` as
 * lrl_config_text makes it, of a table that has the model.* rows; ctx as for
 * lrl_checkpoint_put_params. Collective. */
lrl_status lrl_language_model_put(struct lrl_checkpoint *c, struct lrl_ctx *ctx, const char *config,
                                  const struct lrl_tokenizer *tokenizer,
                                  struct lrl_param_set *params);
#endif
