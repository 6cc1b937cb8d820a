#include "train/reward.h"

#include "data/loader.h"
#include "kernels/log.h"
#include "model/param_build.h"
#include "model/vlm.h"
#include "train/optimizer.h"
#include "train/schedule.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct trainer {
  const struct lrl_reward_config *cfg;
  struct lrl_tokenizer *tokenizer;
  struct lrl_corpus *train, *eval;
  struct lrl_ctx ctx;
  struct lrl_arena steps, state;
  struct lrl_vlm model;
  struct lrl_optimizer optimizer;
  FILE *metrics;
};

/* Sums over pairs; means are taken when they are reported. */
struct tally {
  double loss, chosen, rejected, square;
  int64_t n, correct, ties, longer_correct, tokens;
};

/* ---- set-up ---- */

static lrl_status make_folders(const char *path) {
  char part[LRL_OPTION_TEXT];
  snprintf(part, sizeof part, "%s", path);
  for (char *p = part + 1;; p++) {
    char c = *p;
    if (c != '/' && c != '\0')
      continue;
    *p = '\0';
    if (mkdir(part, 0777) != 0 && errno != EEXIST)
      return LRL_FAIL(LRL_ERR_IO, "cannot make the folder %s: %s", part, strerror(errno));
    *p = c;
    if (c == '\0')
      return LRL_OK;
  }
}

static lrl_status open_outputs(struct trainer *t, const char *config_text) {
  char path[LRL_OPTION_TEXT + 32];
  LRL_TRY(make_folders(t->cfg->output_dir));
  snprintf(path, sizeof path, "%s/config.yaml", t->cfg->output_dir);
  FILE *f = fopen(path, "w");
  bool ok = f != NULL && fputs(config_text, f) >= 0;
  if (f != NULL)
    ok = fclose(f) == 0 && ok;
  if (!ok)
    return LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno));
  snprintf(path, sizeof path, "%s/metrics.jsonl", t->cfg->output_dir);
  if ((t->metrics = fopen(path, "w")) == NULL)
    return LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno));
  return LRL_OK;
}

/* Builds a corpus from comma-separated files and tells what was set aside. */
static lrl_status read_corpus(struct trainer *t, const char *key, const char *files,
                              struct lrl_corpus **out) {
  char list[LRL_OPTION_TEXT], *save = NULL;
  struct lrl_corpus_source sources[64] = {0};
  int64_t n = 0;
  snprintf(list, sizeof list, "%s", files);
  for (char *p = strtok_r(list, ",", &save); p != NULL; p = strtok_r(NULL, ",", &save)) {
    if (n == 64)
      return LRL_FAIL(LRL_ERR_ARG, "%s names more than 64 files", key);
    sources[n++].path = p;
  }
  if (n == 0)
    return LRL_FAIL(LRL_ERR_ARG, "%s names no file", key);
  struct lrl_corpus_options o = {
      .tokenizer = t->tokenizer,
      .chat = {.mode = LRL_CHAT_TRAINING,
               .suffix = LRL_CHAT_REWARD,
               .pack = LRL_PACK_REWARD,
               .max_length = t->cfg->max_length},
      .check_data = t->cfg->check_data,
      .length_ratio = t->cfg->length_ratio,
  };
  LRL_TRY(lrl_corpus_build(sources, n, &o, out));
  for (int64_t i = 0; i < lrl_corpus_n_sources(*out); i++) {
    struct lrl_corpus_source_info s;
    lrl_corpus_get_source(*out, i, &s);
    lrl_log(LRL_LOG_INFO, "data", "%s: %lld pairs, %lld of %lld rows set aside", s.name,
            (long long)s.n_kept, (long long)(s.n_rows - s.n_kept), (long long)s.n_rows);
  }
  if (lrl_corpus_n_pairs(*out) == 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "no pair of %s can be used", key);
  return LRL_OK;
}

static lrl_status build_model(struct trainer *t) {
  const struct lrl_reward_config *c = t->cfg;
  const struct lrl_tokenizer_info *info = lrl_tokenizer_info(t->tokenizer);
  if (c->hidden_size % c->num_attention_heads != 0)
    return LRL_FAIL(LRL_ERR_SHAPE,
                    "model.hidden_size %lld is no multiple of model.num_attention_heads %lld",
                    (long long)c->hidden_size, (long long)c->num_attention_heads);
  struct lrl_vlm_config m = {
      .decoder = {.vocab_size = info->n_vocab,
                  .hidden_size = c->hidden_size,
                  .intermediate_size = c->intermediate_size,
                  .num_hidden_layers = c->num_hidden_layers,
                  .num_attention_heads = c->num_attention_heads,
                  .num_key_value_heads = c->num_key_value_heads,
                  .rms_norm_eps = c->rms_norm_eps,
                  .initializer_range = c->initializer_range,
                  .pad_token_id = info->pad,
                  .rope = {.head_dim = c->hidden_size / c->num_attention_heads,
                           .max_position_embeddings = c->max_position_embeddings,
                           .theta = c->rope_theta}},
      .pooling = c->pooling == 0 ? LRL_POOLING_LAST : LRL_POOLING_MEAN,
      .dtype = c->dtype == 0 ? LRL_F32 : LRL_BF16,
      .train_decoder = true,
  };
  LRL_TRY(lrl_ctx_init(&t->ctx, c->device == 0 ? "cpu" : "ref", (int)c->threads));
  LRL_TRY(lrl_arena_init(&t->steps, "step memory", (size_t)256 << 30));
  LRL_TRY(lrl_arena_init(&t->state, "optimizer state", (size_t)256 << 30));
  LRL_TRY(lrl_vlm_init(&t->model, &m));
  LRL_TRY(lrl_param_set_init(&t->model.params, (uint64_t)c->seed));
  struct lrl_optimizer_options o = {.beta1 = c->beta1,
                                    .beta2 = c->beta2,
                                    .eps = c->eps,
                                    .weight_decay = c->weight_decay,
                                    .max_grad_norm = c->max_grad_norm};
  return lrl_optimizer_init(&t->optimizer, &o, &t->ctx, &t->model.params, NULL, &t->state);
}

/* ---- one micro-batch ---- */

static void count(struct tally *y, const struct lrl_batch *b, const float *score,
                  const double *loss) {
  for (int64_t i = 0; i < b->n_pairs; i++) {
    double c = (double)score[i], r = (double)score[b->n_pairs + i];
    y->loss += loss[i];
    y->chosen += c;
    y->rejected += r;
    y->square += (c - r) * (c - r);
    y->correct += c > r; /* strict: ties are wrong */
    y->ties += !(c > r) && !(c < r);
    y->longer_correct += b->chosen_len[i] > b->rejected_len[i];
  }
  y->n += b->n_pairs;
  y->tokens += b->n_tokens;
}

/* Scores the pairs of b and, when training, adds the gradient of sum(loss) / n_pairs_step. */
static lrl_status micro_batch(struct trainer *t, const struct lrl_batch *b, bool training,
                              struct tally *y) {
  int64_t n = b->n_pairs;
  if (n == 0)
    return LRL_OK;
  struct lrl_tape tape;
  lrl_tape_init(&tape, &t->ctx, &t->steps, training);
  tape.recompute = t->cfg->gradient_checkpointing;
  int32_t *rows = lrl_tape_alloc(&tape, (size_t)n * 4 * sizeof *rows);
  double *loss = lrl_tape_alloc(&tape, (size_t)n * sizeof *loss);
  float *grad = lrl_tape_alloc(&tape, (size_t)n * 2 * sizeof *grad);
  LRL_TRY(tape.status);
  for (int64_t i = 0; i < n; i++) {
    rows[i] = b->chosen_last[i];
    rows[n + i] = b->rejected_last[i];
    rows[2 * n + i] = b->chosen_seq[i];
    rows[3 * n + i] = b->rejected_seq[i];
  }
  struct lrl_vlm_input in = {.ids = b->ids,
                             .layout = &b->layout,
                             .n_scores = 2 * n,
                             .score_rows = rows,
                             .score_seqs = rows + 2 * n};
  struct lrl_tensor *score = lrl_vlm_scores(&tape, &t->model, &in);
  LRL_TRY(tape.status);
  const struct lrl_reward_config *c = t->cfg;
  const float *s = score->data;
  LRL_TRY(lrl_bradley_terry(&t->ctx, &(struct lrl_bradley_terry_args){
                                         .n = n,
                                         .rank = (enum lrl_rank_loss)c->rank_loss,
                                         .penalty = (enum lrl_penalty)c->penalty,
                                         .focal_gamma = (float)c->focal_gamma,
                                         .penalty_weight = (float)c->penalty_weight,
                                         .center_weight = (float)c->center_rewards_coefficient,
                                         .barrier_lo = -(float)c->barrier,
                                         .barrier_hi = (float)c->barrier,
                                         .barrier_eps = 1e-3f,
                                         .barrier_gradient_outside = true,
                                         .weight = 1.0f / (float)b->n_pairs_step,
                                         .chosen = s,
                                         .rejected = s + n,
                                         .margin = b->margin,
                                         .loss = loss,
                                         .d_chosen = grad,
                                         .d_rejected = grad + n,
                                     }));
  count(y, b, s, loss);
  if (training) {
    lrl_grad_seed(&tape, score, grad);
    LRL_TRY(lrl_backward(&tape));
  }
  lrl_arena_reset(&t->steps, 0);
  return LRL_OK;
}

/* ---- metrics ---- */

static lrl_status write_metrics(struct trainer *t, json_t *o) {
  char *line = o == NULL ? NULL : json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
  json_decref(o);
  bool ok = line != NULL && fprintf(t->metrics, "%s\n", line) > 0 && fflush(t->metrics) == 0;
  free(line);
  return ok ? LRL_OK : LRL_FAIL(LRL_ERR_IO, "cannot write metrics.jsonl: %s", strerror(errno));
}

static json_t *number(double v) { return isfinite(v) ? json_real(v) : json_null(); }

static lrl_status evaluate(struct trainer *t, int64_t step) {
  struct lrl_loader_options o = {.order = LRL_ORDER_SEQUENTIAL,
                                 .batch_pairs = t->cfg->batch_size,
                                 .n_ranks = 1,
                                 .max_tokens = t->cfg->micro_batch_tokens,
                                 .share_prefix = t->cfg->share_prefix,
                                 .prefetch = 2};
  struct lrl_loader *loader = NULL;
  struct tally y = {0};
  LRL_TRY(lrl_loader_create(t->eval, &o, &loader));
  lrl_status status = LRL_OK;
  for (;;) {
    const struct lrl_batch *b;
    status = lrl_loader_next(loader, &b);
    if (status != LRL_OK || b == NULL)
      break;
    status = micro_batch(t, b, false, &y);
    if (status != LRL_OK)
      break;
  }
  lrl_loader_destroy(loader);
  LRL_TRY(status);
  double n = (double)y.n, margin = (y.chosen - y.rejected) / n;
  double std = sqrt(fmax(0.0, y.square / n - margin * margin));
  lrl_log(LRL_LOG_INFO, "eval",
          "step %lld: accuracy %.4f on %lld held-out pairs (chosen longer in %.4f), loss %.4f, "
          "margin %.3f +- %.3f, %lld ties",
          (long long)step, (double)y.correct / n, (long long)y.n, (double)y.longer_correct / n,
          y.loss / n, margin, std, (long long)y.ties);
  return write_metrics(t, json_pack("{sI sf sf sf sf sf sI}", "step", (json_int_t)step,
                                    "eval/accuracy", (double)y.correct / n, "eval/loss", y.loss / n,
                                    "eval/margin", margin, "eval/margin_std", std,
                                    "eval/length_baseline", (double)y.longer_correct / n,
                                    "eval/ties", (json_int_t)y.ties));
}

static lrl_status log_step(struct trainer *t, int64_t step, int64_t n_steps, const struct tally *y,
                           double lr, double grad_norm, double seconds) {
  double n = (double)y->n;
  lrl_log(
      LRL_LOG_INFO, "train",
      "step %lld/%lld loss %.4f accuracy %.3f margin %.3f grad_norm %.3f lr %.3g, %.0f tokens/s",
      (long long)step, (long long)n_steps, y->loss / n, (double)y->correct / n,
      (y->chosen - y->rejected) / n, grad_norm, lr, (double)y->tokens / seconds);
  json_t *o = json_object();
  json_object_set_new(o, "step", json_integer(step));
  json_object_set_new(o, "train/loss", number(y->loss / n));
  json_object_set_new(o, "train/accuracy", number((double)y->correct / n));
  json_object_set_new(o, "train/margin", number((y->chosen - y->rejected) / n));
  json_object_set_new(o, "train/mean_reward", number((y->chosen + y->rejected) / (2 * n)));
  json_object_set_new(o, "train/grad_norm", number(grad_norm));
  json_object_set_new(o, "train/learning_rate", json_real(lr));
  json_object_set_new(o, "train/num_tokens", json_integer(y->tokens));
  return write_metrics(t, o);
}

/* ---- the loop ---- */

static lrl_status loop(struct trainer *t, struct lrl_loader *loader, int64_t n_steps) {
  const struct lrl_reward_config *c = t->cfg;
  struct lrl_schedule schedule = {.kind = (enum lrl_schedule_kind)c->schedule,
                                  .lr = c->lr,
                                  .n_warmup = (int64_t)ceil(c->warmup_ratio * (double)n_steps),
                                  .n_steps = n_steps,
                                  .num_cycles = c->num_cycles,
                                  .power = c->power,
                                  .lr_end = c->lr_end,
                                  .min_lr_ratio = c->min_lr_ratio};
  int64_t skipped = 0;
  struct tally since = {0};
  double t0 = omp_get_wtime();
  for (int64_t step = 0; step < n_steps; step++) {
    const struct lrl_batch *b;
    do {
      LRL_TRY(lrl_loader_next(loader, &b));
      if (b == NULL)
        return LRL_FAIL(LRL_ERR_FORMAT, "the data ended at step %lld of %lld", (long long)step,
                        (long long)n_steps);
      LRL_TRY(micro_batch(t, b, true, &since));
    } while (b->micro + 1 < b->n_micro);
    double lr = lrl_schedule_lr(&schedule, step);
    struct lrl_optimizer_stats stats;
    LRL_TRY(lrl_optimizer_step(&t->optimizer, lr, &stats));
    if (stats.skipped) {
      lrl_log(LRL_LOG_WARN, "train", "step %lld was skipped: its gradient is not finite",
              (long long)step + 1);
      if (++skipped > c->max_nonfinite)
        return LRL_FAIL(LRL_ERR_NUMERIC,
                        "%lld steps had a gradient that is not finite; lower optim.lr",
                        (long long)skipped);
    }
    if ((step + 1) % c->log_steps == 0 || step + 1 == n_steps) {
      LRL_TRY(log_step(t, step + 1, n_steps, &since, lr, stats.grad_norm, omp_get_wtime() - t0));
      since = (struct tally){0};
      t0 = omp_get_wtime();
    }
    bool due = c->eval_steps > 0 && (step + 1) % c->eval_steps == 0;
    if (t->eval != NULL && (due || step + 1 == n_steps)) {
      LRL_TRY(evaluate(t, step + 1));
      t0 = omp_get_wtime();
    }
  }
  return LRL_OK;
}

static lrl_status run(struct trainer *t, const char *config_text) {
  const struct lrl_reward_config *c = t->cfg;
  static const enum lrl_order_kind orders[] = {LRL_ORDER_SHUFFLE, LRL_ORDER_PROPORTIONAL,
                                               LRL_ORDER_OFFICIAL};
  if (c->tokenizer[0] == '\0')
    return LRL_FAIL(LRL_ERR_ARG, "model.tokenizer names no SentencePiece model file");
  LRL_TRY(lrl_tokenizer_open(c->tokenizer, &t->tokenizer));
  LRL_TRY(read_corpus(t, "data.train", c->train, &t->train));
  if (c->eval[0] != '\0')
    LRL_TRY(read_corpus(t, "data.eval", c->eval, &t->eval));
  LRL_TRY(build_model(t));
  LRL_TRY(open_outputs(t, config_text));
  struct lrl_loader_options o = {.order = orders[c->order],
                                 .seed = (uint64_t)c->seed,
                                 .batch_pairs = c->batch_size,
                                 .n_ranks = 1,
                                 .max_tokens = c->micro_batch_tokens,
                                 .share_prefix = c->share_prefix,
                                 .prefetch = 4};
  struct lrl_loader *loader = NULL;
  LRL_TRY(lrl_loader_create(t->train, &o, &loader));
  int64_t per_epoch = lrl_loader_epoch_steps(loader);
  int64_t n_steps =
      c->max_steps > 0 ? c->max_steps : (int64_t)llround(c->epochs * (double)per_epoch);
  int64_t n_params = 0;
  for (int i = 0; i < t->model.params.n_units; i++)
    n_params += t->model.params.units[i].n;
  lrl_log(
      LRL_LOG_INFO, "train", "%.2f M parameters, %lld steps of %lld pairs (%lld steps an epoch)",
      (double)n_params / 1e6, (long long)n_steps, (long long)c->batch_size, (long long)per_epoch);
  lrl_status s = loop(t, loader, n_steps);
  lrl_loader_destroy(loader);
  return s;
}

lrl_status lrl_reward_train(const struct lrl_reward_config *cfg, const char *config_text) {
  struct trainer *t = calloc(1, sizeof *t);
  if (t == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the trainer");
  t->cfg = cfg;
  lrl_status s = run(t, config_text);
  if (t->metrics != NULL && fclose(t->metrics) != 0 && s == LRL_OK)
    s = LRL_FAIL(LRL_ERR_IO, "cannot write metrics.jsonl: %s", strerror(errno));
  lrl_vlm_free(&t->model);
  lrl_arena_free(&t->steps);
  lrl_arena_free(&t->state);
  if (t->ctx.backend != NULL)
    lrl_ctx_free(&t->ctx);
  lrl_corpus_free(t->train);
  lrl_corpus_free(t->eval);
  lrl_tokenizer_close(t->tokenizer);
  free(t);
  return s;
}
