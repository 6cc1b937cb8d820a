/* Scores of responses: the reward model reads the chat in its own template; the gold rules read the
 * text. */
#include "data/synth/verify.h"
#include "train/ppo_trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS_AT_ONCE = 8192 };

/* Text of a response without the token that ended it; malloc'ed. In raw mode it goes on with the
 * prompt's text, so both are decoded together: a tokenizer may drop a blank that begins a text. */
static lrl_status response_text(const struct lrl_ppo_trainer *t, const struct lrl_prompt *p,
                                const struct lrl_gen_sample *s, char **text) {
  const struct lrl_tokenizer *tokenizer = t->models.tokenizer;
  const int64_t n = s->n - (s->finish == LRL_FINISH_STOP);
  struct lrl_ids ids = {0};
  char *before = NULL;
  lrl_status status;
  *text = NULL;
  if (!t->cfg->raw)
    return lrl_tokenizer_decode(tokenizer, s->tokens, n, text);
  LRL_TRY_GOTO(lrl_ids_append(&ids, p->ids, p->n_ids));
  LRL_TRY_GOTO(lrl_tokenizer_decode(tokenizer, ids.data, ids.n, &before));
  LRL_TRY_GOTO(lrl_ids_append(&ids, s->tokens, n));
  LRL_TRY_GOTO(lrl_tokenizer_decode(tokenizer, ids.data, ids.n, text));
  const size_t skip = strlen(before), len = strlen(*text);
  memmove(*text, *text + (skip < len ? skip : len), len - (skip < len ? skip : len) + 1);
done:
  free(before);
  lrl_ids_free(&ids);
  return status;
}

/* Image tokens that were computed for the reward model, or that are those of the policy. */
static lrl_status judge_seen(struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e,
                             const struct lrl_ppo_prompt *p, const struct lrl_message *messages) {
  const struct lrl_vlm_config *c = &t->models.reward->model.cfg;
  const char *images = t->models.reward_vision == LRL_VISION_ALL ? e->images[0] : e->reward_images;
  int64_t *counts = calloc((size_t)p->data.n_images, sizeof *counts);
  if (counts == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld images", (long long)p->data.n_images);
  for (int64_t k = 0; k < p->data.n_images; k++)
    counts[k] = p->data.image[k].count;
  const lrl_status s = lrl_judge_add_seen(
      &t->judge, messages, p->data.n_messages + 1, counts, p->data.n_images,
      images + p->first_image * c->decoder.hidden_size * lrl_dtype_bytes(c->dtype));
  free(counts);
  return s;
}

static lrl_status judge(struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e,
                        const struct lrl_ppo_prompt *prompt, const char *text,
                        struct lrl_message *messages) {
  const struct lrl_prompt *p = &prompt->data;
  for (int64_t i = 0; i < p->n_messages; i++)
    messages[i] = p->messages[i];
  messages[p->n_messages] = (struct lrl_message){"assistant", text};
  if (p->n_images > 0 && t->models.reward_same_tiles)
    return judge_seen(t, e, prompt, messages);
  return lrl_judge_add(&t->judge, messages, p->n_messages + 1, p->images, p->n_images,
                       p->image_root);
}

/* Scores of the chats added since sample `from`, up to `to`. */
static lrl_status flush(struct lrl_ppo_trainer *t, int64_t from, int64_t to, float *buffer,
                        double *scores) {
  LRL_TRY(lrl_judge_scores(&t->judge, buffer));
  for (int64_t k = from; k < to; k++)
    scores[k] = (double)buffer[k - from];
  return LRL_OK;
}

lrl_status lrl_ppo_score(struct lrl_ppo_trainer *t, const struct lrl_ppo_experience *e,
                         const struct lrl_generation *g, double *scores, double *gold) {
  int64_t most = 0, from = 0;
  for (int64_t i = 0; i < e->n_prompts; i++)
    most = e->prompt[i].data.n_messages > most ? e->prompt[i].data.n_messages : most;
  struct lrl_message *messages = calloc((size_t)most + 1, sizeof *messages);
  float *buffer = calloc((size_t)g->n_samples + 1, sizeof *buffer);
  char *text = NULL;
  lrl_status status = LRL_OK;
  if (messages == NULL || buffer == NULL)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_MEMORY, "no memory for scores"));
  for (int64_t k = 0; k < g->n_samples; k++) {
    const struct lrl_gen_sample *s = &g->sample[k];
    const struct lrl_prompt *p = &e->prompt[s->prompt].data;
    scores[k] = gold[k] = NAN;
    LRL_TRY_GOTO(response_text(t, p, s, &text));
    if (p->gold != NULL)
      LRL_TRY_GOTO(lrl_synth_verify(p->gold, text, s->finish == LRL_FINISH_STOP, &gold[k]));
    else if (t->cfg->reward_source != LRL_REWARD_SOURCE_MODEL)
      LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_FORMAT, "%s, line %lld has no \"gold\" to score by", p->file,
                            (long long)p->line));
    if (t->models.reward != NULL)
      LRL_TRY_GOTO(judge(t, e, &e->prompt[s->prompt], text, messages));
    free(text);
    text = NULL;
    if (t->models.reward != NULL &&
        (lrl_judge_tokens(&t->judge) >= TOKENS_AT_ONCE || k + 1 == g->n_samples)) {
      LRL_TRY_GOTO(flush(t, from, k + 1, buffer, scores));
      from = k + 1;
    }
  }
done:
  free(text);
  free(messages);
  free(buffer);
  return status;
}

double lrl_ppo_objective_score(const struct lrl_ppo_config *c, double score, double gold) {
  return c->reward_source == LRL_REWARD_SOURCE_MODEL  ? score
         : c->reward_source == LRL_REWARD_SOURCE_GOLD ? gold
                                                      : score + c->gold_coef * gold;
}
