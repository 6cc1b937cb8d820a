/* A language model as it is saved: a checkpoint with "kind" = language, "config" (the model.* and
 * data.* keys that describe it), "tokenizer" and "model". Written by laurel convert and by every
 * trainer of policies; read by whatever generates. */
#ifndef LRL_LANGUAGE_MODEL_H
#define LRL_LANGUAGE_MODEL_H
#include "model/generate.h"
#include "train/checkpoint.h"
#include "train/data_options.h"
#include "train/model_options.h"

struct lrl_language_model {
  struct lrl_model_options options;
  struct lrl_data_options data; /* image geometry: image_transform, hd_num, max_pixels */
  char path[LRL_OPTION_TEXT + 96];
  struct lrl_tokenizer *tokenizer;
  struct lrl_vlm model; /* frozen */
  struct lrl_ctx ctx;
  struct lrl_arena steps;
};

/* `path`: a checkpoint or a run's folder (lrl_checkpoint_find). device "cpu" or "ref"; threads 0:
 * all. Free with lrl_language_model_close. */
lrl_status lrl_language_model_open(const char *path, const char *device, int threads,
                                   struct lrl_language_model **out);
void lrl_language_model_close(struct lrl_language_model *m); /* NULL is fine */

/* What generation takes of a model with a language head. */
struct lrl_lm lrl_language_model_lm(struct lrl_vlm *m);

/* Puts the four parts into a checkpoint that is being written; `config` as lrl_config_text makes
 * it, of a table that has the model.* rows. Collective. */
lrl_status lrl_language_model_put(struct lrl_checkpoint *c, const char *config,
                                  const struct lrl_tokenizer *tokenizer,
                                  struct lrl_param_set *params);
#endif
