/* I2: whole PPO iterations - log-probs, values, KL in the reward, GAE, whitening, minibatches with
 * clipped losses, two optimizers - against torch with TRL's mathematics. The responses are given.
 */
#include "model/param_build.h"
#include "tests/golden/bag.h"
#include "tests/golden/decoder_case.h"
#include "train/advantages.h"
#include "train/optimizer.h"
#include "train/ppo_step.h"
#include "train/rewards.h"

enum {
  STAT_PG,
  STAT_VF,
  STAT_PG_NORM,
  STAT_VF_NORM,
  STAT_ENTROPY,
  STAT_KL,
  STAT_PG_CLIP,
  STAT_VF_CLIP,
  N_STATS
};

struct ppo_case {
  struct golden *g;
  const char *name;
  struct bag bag;
  struct lrl_arena steps, state;
  struct lrl_vlm policy, ref, critic;
  struct lrl_optimizer actor, value;
  struct lrl_ppo_objective objective;
  struct lrl_estimator_options estimator;
  double kl_coef, worst_rollout, worst_stats, policy_lr, critic_lr;
  /* One iteration: padded arrays as stored, [rows, width] and [rows, width - context]. */
  int64_t rows, width, context, most;
  int64_t *ids, *mask, *response;
  float *images;
  double *scores;
};

/* The response tokens of rows [lo, hi), packed, from and to the padded form. */
struct piece {
  struct lrl_ppo_batch b;
  float *images;
  int64_t *cell; /* [response tokens]: place in [rows, width - context] */
};

static struct lrl_vlm_config config(const struct g5 *f, enum lrl_vlm_head head) {
  return (struct lrl_vlm_config){.train_decoder = true, .head = head, .decoder = g5_decoder(f, 2)};
}

/* Loads every parameter from "<group><name>", or returns the worst error against it. */
static double each_weight(struct ppo_case *c, struct lrl_vlm *m, const char *group, bool load) {
  double worst = 0;
  for (int u = 0; u < m->params.n_units; u++)
    for (int i = 0; i < m->params.units[u].n_params; i++) {
      struct lrl_param_unit *unit = &m->params.units[u];
      const struct lrl_param *p = &unit->params[i];
      char path[200];
      struct g5_array a;
      snprintf(path, sizeof path, "%s%s", group,
               strcmp(p->name, "score.weight") == 0 ? "v_head.weight" : p->name);
      if (!g5_read_f32(&c->bag.file, path, &a) || a.n != p->n)
        worst = INFINITY;
      else if (load)
        lrl_param_store(unit, p, a.f32);
      else
        worst = fmax(worst, golden_max_abs((float *)unit->data + p->offset, a.f32, p->n));
      g5_free(&a);
    }
  return worst;
}

static lrl_status open_models(struct ppo_case *c) {
  const struct g5 *f = &c->bag.file;
  struct lrl_vlm_config language = config(f, LRL_VLM_LANGUAGE), score = config(f, LRL_VLM_SCORE);
  struct lrl_optimizer_options o = {.beta1 = g5_num(f, "beta1", 0.9),
                                    .beta2 = g5_num(f, "beta2", 0.999),
                                    .eps = g5_num(f, "eps", 1e-8),
                                    .weight_decay = g5_num(f, "weight_decay", 0),
                                    .max_grad_norm = g5_num(f, "max_grad_norm", 0)};
  LRL_TRY(lrl_arena_init(&c->steps, "step memory", (size_t)4 << 30));
  LRL_TRY(lrl_arena_init(&c->state, "optimizer state", (size_t)4 << 30));
  LRL_TRY(lrl_vlm_init(&c->policy, &language));
  LRL_TRY(lrl_vlm_init(&c->ref, &language));
  LRL_TRY(lrl_vlm_init(&c->critic, &score));
  if (each_weight(c, &c->policy, "/weights/policy.", true) > 0 ||
      each_weight(c, &c->ref, "/weights/policy.", true) > 0 ||
      each_weight(c, &c->critic, "/weights/critic.", true) > 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "a weight is missing or of another shape");
  LRL_TRY(lrl_optimizer_init(&c->actor, &o, &c->bag.ctx, &c->policy.params, NULL, &c->state));
  return lrl_optimizer_init(&c->value, &o, &c->bag.ctx, &c->critic.params, NULL, &c->state);
}

static void *read_numbered(struct ppo_case *c, const char *what, int64_t k, bool integers,
                           struct g5_array *a) {
  char path[80];
  snprintf(path, sizeof path, "%s.%d", what, (int)k);
  bool ok = integers ? g5_read_i64(&c->bag.file, path, a) : g5_read_f32(&c->bag.file, path, a);
  return !ok ? NULL : bag_keep(&c->bag, integers ? (void *)a->i64 : (void *)a->f32);
}

static lrl_status read_iteration(struct ppo_case *c, int64_t k) {
  struct g5_array ids, a, scores;
  c->ids = read_numbered(c, "/inputs/input_ids", k, true, &ids);
  c->mask = read_numbered(c, "/inputs/attention_mask", k, true, &a);
  c->response = read_numbered(c, "/inputs/response_mask", k, true, &a);
  float *s = read_numbered(c, "/inputs/scores", k, false, &scores);
  c->images = read_numbered(c, "/inputs/image_embeds", k, false, &a);
  if (c->ids == NULL || c->mask == NULL || c->response == NULL || s == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "inputs of iteration %d are missing", (int)k);
  c->rows = ids.dim[0];
  c->width = ids.dim[1];
  c->most = c->width - c->context;
  c->scores = bag_zeros(&c->bag, c->rows, sizeof *c->scores);
  for (int64_t r = 0; r < c->rows; r++)
    c->scores[r] = (double)s[r];
  return LRL_OK;
}

/* Rows [lo, hi) as a batch: a sequence a row, without its last token. */
static struct piece pack(struct ppo_case *c, int64_t lo, int64_t hi) {
  struct bag *bag = &c->bag;
  const int64_t n_rows = hi - lo, most = n_rows * c->width,
                hidden = c->policy.cfg.decoder.hidden_size;
  int32_t *ids = bag_zeros(bag, most, 4), *image_rows = bag_zeros(bag, most, 4);
  int32_t *row = bag_zeros(bag, most, 4), *token = bag_zeros(bag, most, 4);
  int32_t *start = bag_zeros(bag, n_rows, 4), *length = bag_zeros(bag, n_rows, 4);
  int32_t *r_start = bag_zeros(bag, n_rows, 4), *r_length = bag_zeros(bag, n_rows, 4);
  struct piece p = {.cell = bag_zeros(bag, most, sizeof *p.cell),
                    .images = bag_floats(bag, most * hidden)};
  int64_t n = 0, n_images = 0, n_response = 0, image = 0;
  for (int64_t r = 0; r < lo * c->width; r++)
    image += c->ids[r] == -1;
  for (int64_t r = lo; r < hi; r++) {
    const int64_t *id = c->ids + r * c->width;
    start[r - lo] = (int32_t)n;
    r_start[r - lo] = (int32_t)n_response;
    for (int64_t t = 0; t < c->width && c->mask[r * c->width + t] != 0; t++) {
      if (t >= c->context && c->response[r * c->most + t - c->context] != 0) {
        row[n_response] = (int32_t)n - 1;
        token[n_response] = (int32_t)id[t];
        p.cell[n_response++] = r * c->most + t - c->context;
      }
      if (id[t] == -1) {
        image_rows[n_images] = (int32_t)n;
        memcpy(p.images + n_images++ * hidden, c->images + image++ * hidden,
               (size_t)hidden * sizeof(float));
      }
      ids[n++] = (int32_t)id[t];
    }
    n -= n > start[r - lo]; /* the last token is never fed */
    length[r - lo] = (int32_t)n - start[r - lo];
    r_length[r - lo] = (int32_t)n_response - r_start[r - lo];
  }
  p.b = (struct lrl_ppo_batch){
      .ids = ids,
      .layout = {.n_tokens = n, .n_seqs = n_rows, .start = start, .length = length},
      .image_rows = image_rows,
      .n_image_rows = n_images,
      .responses = {.n_tokens = n_response, .n_seqs = n_rows, .start = r_start, .length = r_length},
      .row = row,
      .token = token};
  return p;
}

static float *spread(struct ppo_case *c, const struct piece *p, const float *x) {
  float *out = bag_floats(&c->bag, c->rows * c->most);
  for (int64_t t = 0; t < p->b.responses.n_tokens; t++)
    out[p->cell[t]] = x[t];
  return out;
}
static float *gather(struct ppo_case *c, const struct piece *p, const float *padded) {
  float *out = bag_floats(&c->bag, p->b.responses.n_tokens);
  for (int64_t t = 0; t < p->b.responses.n_tokens; t++)
    out[t] = padded[p->cell[t]];
  return out;
}

/* A no-gradient pass; padded result. */
static lrl_status run(struct ppo_case *c, struct lrl_vlm *m, const struct piece *p, float **out) {
  struct lrl_tape tape;
  struct lrl_ppo_pass pass = {.images = p->images, .temperature = 1.0f};
  lrl_tape_init(&tape, &c->bag.ctx, &c->steps, false);
  struct lrl_tensor *x = m == &c->critic ? lrl_ppo_values(&tape, m, &p->b, &pass)
                                         : lrl_ppo_logprobs(&tape, m, &p->b, &pass, NULL);
  lrl_status s = tape.status != LRL_OK ? tape.status : lrl_ctx_sync(&c->bag.ctx);
  if (s == LRL_OK)
    *out = spread(c, p, x->data);
  lrl_arena_reset(&c->steps, 0);
  return s;
}

static void compare(struct ppo_case *c, const struct piece *p, const char *what, int64_t k,
                    const float *padded) {
  struct g5_array a;
  char path[64];
  snprintf(path, sizeof path, "/outputs/%s", what);
  const float *want = read_numbered(c, path, k, false, &a);
  for (int64_t t = 0; t < p->b.responses.n_tokens; t++)
    c->worst_rollout =
        fmax(c->worst_rollout,
             want == NULL ? INFINITY : golden_max_abs(&padded[p->cell[t]], &want[p->cell[t]], 1));
}

struct experience {
  float *old, *ref, *values, *advantages, *returns; /* padded */
};

static lrl_status experience(struct ppo_case *c, int64_t k, struct experience *e) {
  struct piece all = pack(c, 0, c->rows);
  const struct lrl_layout *responses = &all.b.responses;
  LRL_TRY(run(c, &c->policy, &all, &e->old));
  LRL_TRY(run(c, &c->ref, &all, &e->ref));
  LRL_TRY(run(c, &c->critic, &all, &e->values));
  const float *old = gather(c, &all, e->old), *ref = gather(c, &all, e->ref);
  const float *values = gather(c, &all, e->values);
  float *kl = bag_floats(&c->bag, responses->n_tokens),
        *rewards = bag_floats(&c->bag, responses->n_tokens);
  float *advantages = bag_floats(&c->bag, responses->n_tokens);
  float *returns = bag_floats(&c->bag, responses->n_tokens);
  LRL_TRY(lrl_approx_kl(&c->bag.ctx, &(struct lrl_approx_kl_args){.layout = responses,
                                                                  .estimator = LRL_KL_K1,
                                                                  .logprobs = old,
                                                                  .ref_logprobs = ref,
                                                                  .kl = kl}));
  lrl_token_rewards(responses, NULL, kl, c->kl_coef, c->scores, rewards);
  LRL_TRY(lrl_advantages(&c->estimator, &c->bag.ctx, NULL, responses, NULL, rewards, values,
                         advantages, returns));
  e->advantages = spread(c, &all, advantages);
  e->returns = spread(c, &all, returns);
  compare(c, &all, "old_logprobs", k, e->old);
  compare(c, &all, "ref_logprobs", k, e->ref);
  compare(c, &all, "values", k, e->values);
  compare(c, &all, "rewards", k, spread(c, &all, rewards));
  compare(c, &all, "advantages", k, e->advantages);
  compare(c, &all, "returns", k, e->returns);
  return LRL_OK;
}

/* One update of both networks on rows [lo, hi). */
static lrl_status minibatch(struct ppo_case *c, const struct experience *e, int64_t lo, int64_t hi,
                            double stats[N_STATS]) {
  struct piece p = pack(c, lo, hi);
  struct lrl_ppo_targets targets = {.old_logprobs = gather(c, &p, e->old),
                                    .ref_logprobs = gather(c, &p, e->ref),
                                    .advantages = gather(c, &p, e->advantages),
                                    .old_values = gather(c, &p, e->values),
                                    .returns = gather(c, &p, e->returns)};
  struct lrl_ppo_pass pass = {.images = p.images, .temperature = 1.0f};
  struct lrl_loss_count count = {0};
  struct lrl_ppo_policy_sums policy = {0};
  struct lrl_ppo_value_stats value = {0};
  struct lrl_optimizer_stats actor_step, value_step;
  struct lrl_tape tape;
  lrl_loss_count_add(&count, &p.b.responses, NULL);
  lrl_tape_init(&tape, &c->bag.ctx, &c->steps, true);
  lrl_optimizer_attach(&c->actor, &tape, true);
  LRL_TRY(lrl_ppo_policy_micro_batch(&tape, &c->policy, &p.b, &pass, &targets, &c->objective,
                                     &count, &policy));
  LRL_TRY(lrl_optimizer_step(&c->actor, c->policy_lr, &actor_step));
  lrl_arena_reset(&c->steps, 0);
  lrl_tape_init(&tape, &c->bag.ctx, &c->steps, true);
  lrl_optimizer_attach(&c->value, &tape, true);
  LRL_TRY(lrl_ppo_value_micro_batch(&tape, &c->critic, &p.b, &pass, &targets, &c->objective, &count,
                                    &value));
  LRL_TRY(lrl_optimizer_step(&c->value, c->critic_lr, &value_step));
  lrl_arena_reset(&c->steps, 0);
  stats[STAT_PG] = policy.policy.loss;
  stats[STAT_VF] = value.loss;
  stats[STAT_PG_NORM] = actor_step.grad_norm;
  stats[STAT_VF_NORM] = value_step.grad_norm;
  stats[STAT_ENTROPY] = policy.policy.entropy / policy.policy.tokens;
  stats[STAT_KL] = policy.policy.kl2 / policy.policy.tokens;
  stats[STAT_PG_CLIP] = policy.policy.clipped / policy.policy.tokens;
  stats[STAT_VF_CLIP] = value.clipped / value.tokens;
  return LRL_OK;
}

static lrl_status train(struct ppo_case *c) {
  const struct g5 *f = &c->bag.file;
  const int64_t size = (int64_t)g5_num(f, "minibatch", 1),
                epochs = (int64_t)g5_num(f, "ppo_epochs", 1);
  const int64_t iterations = (int64_t)g5_num(f, "iterations", 0);
  struct g5_array want = {0};
  if (!g5_read_f64(f, "/outputs/stats", &want) || want.dim[1] != N_STATS)
    return LRL_FAIL(LRL_ERR_FORMAT, "outputs/stats is missing or has other columns");
  bag_keep(&c->bag, want.f64);
  int64_t at = 0;
  for (int64_t k = 0; k < iterations; k++) {
    struct experience e;
    LRL_TRY(read_iteration(c, k));
    LRL_TRY(experience(c, k, &e));
    for (int64_t epoch = 0; epoch < epochs; epoch++)
      for (int64_t lo = 0; lo < c->rows; lo += size, at++) {
        double stats[N_STATS];
        LRL_TRY(minibatch(c, &e, lo, lo + size < c->rows ? lo + size : c->rows, stats));
        if (at >= want.dim[0])
          return LRL_FAIL(LRL_ERR_FORMAT, "outputs/stats has too few rows");
        for (int i = 0; i < N_STATS; i++) {
          const double w = want.f64[at * N_STATS + i];
          c->worst_stats = fmax(c->worst_stats, fabs(stats[i] - w) / fmax(1.0, fabs(w)));
        }
      }
  }
  golden_check(c->g, c->name, "rollout", c->worst_rollout, 2e-5);
  golden_check(c->g, c->name, "stats", c->worst_stats, 1e-4);
  LRL_TRY(lrl_ctx_sync(&c->bag.ctx));
  golden_check(c->g, c->name, "final policy",
               each_weight(c, &c->policy, "/outputs/final_policy.", false), 2e-5);
  golden_check(c->g, c->name, "final critic",
               each_weight(c, &c->critic, "/outputs/final_critic.", false), 2e-5);
  return LRL_OK;
}

static void run_ppo(struct golden *g, const char *path, const char *name) {
  struct ppo_case *c = calloc(1, sizeof *c);
  if (c == NULL || !bag_open(g, &c->bag, path, name)) {
    free(c);
    return;
  }
  const struct g5 *f = &c->bag.file;
  const double clip = g5_num(f, "cliprange", 0.2);
  c->g = g;
  c->name = name;
  c->context = (int64_t)g5_num(f, "context_length", 1);
  c->kl_coef = g5_num(f, "kl_coef", 0);
  c->policy_lr = g5_num(f, "policy_lr", 0);
  c->critic_lr = g5_num(f, "critic_lr", 0);
  c->objective = (struct lrl_ppo_objective){.cliprange = clip,
                                            .cliprange_high = clip,
                                            .cliprange_value = g5_num(f, "cliprange_value", 0.2),
                                            .vf_coef = g5_num(f, "vf_coef", 1)};
  c->estimator = (struct lrl_estimator_options){.estimator = LRL_EST_GAE,
                                                .gamma = g5_num(f, "gamma", 1),
                                                .lam = g5_num(f, "lam", 0.95),
                                                .whiten = true,
                                                .whiten_kind = LRL_WHITEN_UNBIASED};
  lrl_status s = open_models(c);
  if (s == LRL_OK)
    s = train(c);
  golden_ok(g, name, "", (int)s);
  lrl_optimizer_destroy(&c->actor);
  lrl_optimizer_destroy(&c->value);
  lrl_vlm_free(&c->policy);
  lrl_vlm_free(&c->ref);
  lrl_vlm_free(&c->critic);
  lrl_arena_free(&c->steps);
  lrl_arena_free(&c->state);
  bag_close(&c->bag);
  free(c);
}
GOLDEN_FAMILY("I2_", run_ppo)
