/* Plans of the trainers on a fixed corpus. */
#include "launch/plan.h"
#include "train/reward.h"
#include "train/sft.h"

#include <stdio.h>

static int64_t at_least(int64_t n, int64_t least) { return n > least ? n : least; }
static int64_t at_most(int64_t n, int64_t most) { return n < most ? n : most; }

void lrl_plan_grid(int64_t n, struct lrl_plan_batch *b) {
  b->rows = 0;
  while ((b->rows + 1) * (b->rows + 1) <= n)
    b->rows++;
  b->cols = b->rows > 0 ? n / b->rows : 0;
}

/* How many such items the loader puts into a micro-batch. */
static void fill(const struct lrl_trainer_options *o, int64_t per_rank, struct lrl_plan_batch *b) {
  b->n = 1;
  const int64_t tokens = lrl_plan_batch_tokens(b), most = o->micro_batch_tokens;
  b->n = most == 0 ? per_rank : at_most(at_least(most / tokens, 1), per_rank);
}

/* What a step is reckoned with: prompts of half data.max_length with an image of data.hd_num tiles,
 * answers of the other half. */
static lrl_status usual(const struct lrl_plan_request *q, const struct lrl_trainer_options *o,
                        bool pairs, struct lrl_plan_batch *b) {
  const struct lrl_plan_options *a = q->options;
  const struct lrl_vit_config vit = lrl_model_options_tower(&o->model);
  *b = (struct lrl_plan_batch){.pairs = pairs, .share_prefix = o->data.share_prefix};
  if (a->tiles > 0 && o->model.vision == 0)
    return LRL_FAIL(LRL_ERR_ARG, "--tiles %lld: the network has no vision tower (model.vision)",
                    (long long)a->tiles);
  int64_t tiles = a->tiles >= 0 ? a->tiles : o->data.hd_num, image = 0;
  if (o->model.vision == 0 || o->data.withhold_images)
    tiles = 0;
  do { /* an image that data.max_length would cut is planned smaller */
    lrl_plan_grid(tiles, b);
    image = b->rows > 0 ? lrl_vlm_image_tokens(&vit, b->rows, b->cols) : 0;
  } while (a->tiles < 0 && image >= o->data.max_length && tiles-- > 0);
  b->prompt = a->prompt > 0 ? a->prompt : at_least(o->data.max_length / 2, image);
  b->answer = a->answer > 0 ? a->answer : at_least(o->data.max_length - b->prompt, 1);
  return LRL_OK;
}

/* The most tokens that may come together: two answers of almost data.max_length. */
static struct lrl_plan_batch longest(const struct lrl_trainer_options *o, bool pairs) {
  return (struct lrl_plan_batch){.prompt = 1,
                                 .answer = at_least(o->data.max_length - 1, 1),
                                 .pairs = pairs,
                                 .share_prefix = o->data.share_prefix};
}

static void describe(const struct lrl_plan_batch *b, const struct lrl_plan_setting *s,
                     const char *unit, int64_t batch_size, size_t longest_tokens, char *out,
                     size_t size) {
  char image[60] = "";
  if (b->rows > 0)
    snprintf(image, sizeof image, " with an image of %lld x %lld tiles", (long long)b->rows,
             (long long)b->cols);
  int n =
      snprintf(out, size,
               "step           %lld %s: %lld micro-batch%s of each rank\n"
               "micro-batch    %lld x (prompt of %lld tokens%s, %s of %lld): %lld packed tokens\n",
               (long long)batch_size, unit, (long long)s->n_micro, s->n_micro == 1 ? "" : "es",
               (long long)b->n, (long long)b->prompt, image, b->pairs ? "2 answers" : "answer",
               (long long)b->answer, (long long)lrl_plan_batch_tokens(b));
  if (longest_tokens > 0 && n > 0 && (size_t)n < size)
    snprintf(out + n, size - (size_t)n,
             "               memory also holds the longest micro-batch, %zu tokens of text\n",
             longest_tokens);
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

static lrl_status plan(const struct lrl_plan_request *q, const struct lrl_trainer_kind *kind,
                       const struct lrl_trainer_options *o, const void *cfg, bool pairs,
                       struct lrl_plan_outcome *out) {
  const struct lrl_plan_options *a = q->options;
  const int64_t per_rank = (o->batch_size + a->ranks - 1) / a->ranks;
  struct lrl_plan_setting s = {
      .device = "plan", .machine = lrl_gpu_machine(q->gpu), .ranks = (int)a->ranks};
  struct lrl_plan_report text;
  size_t text_tokens = 0;
  LRL_TRY(usual(q, o, pairs, &s.batch));
  fill(o, per_rank, &s.batch);
  s.n_micro = (per_rank + s.batch.n - 1) / s.batch.n;
  LRL_TRY(lrl_plan_training(kind, o, cfg, &s, &out->report));
  struct lrl_plan_setting l = s;
  l.batch = longest(o, pairs);
  fill(o, per_rank, &l.batch);
  if (a->prompt == 0 && a->answer == 0 &&
      lrl_plan_batch_tokens(&l.batch) > lrl_plan_batch_tokens(&s.batch)) {
    text_tokens = (size_t)lrl_plan_batch_tokens(&l.batch);
    l.n_micro = at_most(s.n_micro, 2);
    LRL_TRY(lrl_plan_training(kind, o, cfg, &l, &text));
    struct lrl_plan_bytes *b = &out->report.bytes;
    b->activations = most(b->activations, text.bytes.activations);
    b->scratch = most(b->scratch, text.bytes.scratch);
  }
  describe(&s.batch, &s, kind->unit, o->batch_size, text_tokens, out->batch, sizeof out->batch);
  return LRL_OK;
}

static lrl_status plan_reward(const struct lrl_plan_request *q, const void *cfg,
                              struct lrl_plan_outcome *out) {
  const struct lrl_reward_config *c = cfg;
  return plan(q, &lrl_reward_kind, &c->common, c, true, out);
}
static lrl_status plan_sft(const struct lrl_plan_request *q, const void *cfg,
                           struct lrl_plan_outcome *out) {
  const struct lrl_sft_config *c = cfg;
  return plan(q, &lrl_sft_kind, &c->common, c, false, out);
}

static const char *const remedies[] = {"train.gradient_checkpointing=true",
                                       "train.zero_stage=1",
                                       "train.zero_stage=2",
                                       "model.dtype=bf16",
                                       "train.micro_batch_tokens=/2",
                                       "data.max_length=/2 train.micro_batch_tokens=/2",
                                       "model.lora_r=64",
                                       NULL};
struct lrl_planner lrl_planner(enum lrl_planner_kind kind) {
  if (kind == LRL_PLANNER_PPO)
    return lrl_planner_ppo();
  if (kind == LRL_PLANNER_SFT)
    return (struct lrl_planner){"sft",
                                {lrl_sft_options, lrl_n_sft_options},
                                sizeof(struct lrl_sft_config),
                                plan_sft,
                                remedies};
  return (struct lrl_planner){"reward",
                              {lrl_reward_options, lrl_n_reward_options},
                              sizeof(struct lrl_reward_config),
                              plan_reward,
                              remedies};
}
