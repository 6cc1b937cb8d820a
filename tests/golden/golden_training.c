/* I1: whole optimizer steps of reward training - decoder, head, preference loss, accumulation,
 * clipping, AdamW, schedule - against torch with XTuner's loss. */
#include "model/param_build.h"
#include "model/vlm.h"
#include "tests/golden/decoder_case.h"
#include "train/optimizer.h"
#include "train/schedule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct training_case {
  struct golden *g;
  const char *name;
  struct g5 file;
  struct lrl_ctx ctx;
  struct lrl_arena steps, state;
  struct lrl_vlm model;
  struct lrl_optimizer optimizer;
  char loss_type[32], penalty_type[32];
};

static const char *stored_name(const char *name) {
  return strcmp(name, "score.weight") == 0 ? "v_head.weight" : name;
}

/* Calls with every parameter and its dataset "<group><name>": loads it, or returns the worst error.
 */
static double each_weight(struct training_case *c, const char *group, bool load) {
  double worst = 0;
  for (int u = 0; u < c->model.params.n_units; u++)
    for (int i = 0; i < c->model.params.units[u].n_params; i++) {
      struct lrl_param_unit *unit = &c->model.params.units[u];
      const struct lrl_param *p = &unit->params[i];
      char path[200];
      struct g5_array a;
      snprintf(path, sizeof path, "%s%s", group, stored_name(p->name));
      if (!g5_read_f32(&c->file, path, &a) || a.n != p->n)
        worst = INFINITY;
      else if (load)
        lrl_param_store(unit, p, a.f32);
      else
        worst = fmax(worst, golden_max_abs((float *)unit->data + p->offset, a.f32, p->n));
      g5_free(&a);
    }
  return worst;
}

/* One micro-batch: rows are chosen, rejected, chosen, ... Adds gradients of loss/n_accumulate. */
static lrl_status micro_batch(struct training_case *c, int64_t k, int64_t accumulate,
                              double *loss) {
  char path[64];
  struct g5_array ids, mask, embeds = {0};
  snprintf(path, sizeof path, "/inputs/input_ids.%d", (int)k);
  if (!g5_read_i64(&c->file, path, &ids))
    return LRL_FAIL(LRL_ERR_FORMAT, "no %s", path);
  snprintf(path, sizeof path, "/inputs/attention_mask.%d", (int)k);
  if (!g5_read_i64(&c->file, path, &mask)) {
    g5_free(&ids);
    return LRL_FAIL(LRL_ERR_FORMAT, "no %s", path);
  }
  snprintf(path, sizeof path, "/inputs/image_embeds.%d", (int)k);
  g5_read_f32(&c->file, path, &embeds);
  int64_t rows = ids.dim[0], width = ids.dim[1], n = 0, n_image = 0, pairs = rows / 2;
  struct lrl_tape tape;
  lrl_tape_init(&tape, &c->ctx, &c->steps, true);
  int32_t *packed = lrl_tape_host(&tape, (size_t)(ids.n * 2 + rows * 4) * sizeof *packed);
  int32_t *image_rows = packed + ids.n, *start = image_rows + ids.n, *length = start + rows,
          *last = length + rows;
  for (int64_t r = 0; r < rows; r++) {
    start[r] = (int32_t)n;
    for (int64_t t = 0; t < width; t++)
      if (mask.i64[r * width + t] != 0) {
        packed[n] = (int32_t)ids.i64[r * width + t];
        if (packed[n] == -1)
          image_rows[n_image++] = (int32_t)n;
        n++;
      }
    length[r] = (int32_t)n - start[r];
    last[r % 2 * pairs + r / 2] = (int32_t)n - 1; /* all chosen, then all rejected */
  }
  struct lrl_layout layout = {.n_tokens = n, .n_seqs = rows, .start = start, .length = length};
  struct lrl_tensor *images = NULL;
  if (n_image > 0)
    images = lrl_tensor_wrap(&tape, LRL_F32, n_image, c->model.cfg.decoder.hidden_size, embeds.f32);
  struct lrl_decoder_input in = {.ids = packed,
                                 .layout = &layout,
                                 .images = images,
                                 .image_rows = image_rows,
                                 .n_image_rows = n_image};
  struct lrl_decoder_output out;
  lrl_decoder_forward(&tape, &c->model.decoder, &in, &out);
  struct lrl_tensor *h = lrl_decoder_final(&tape, &c->model.decoder, &out, last, rows);
  struct lrl_tensor *score =
      lrl_nn_head(&tape, h, lrl_tensor_param(&tape, &c->model.params.units[c->model.head_unit], 0));
  lrl_status s = tape.status;
  double *pair_loss = lrl_tape_alloc(&tape, (size_t)pairs * sizeof *pair_loss);
  float *grad = lrl_tape_alloc(&tape, (size_t)rows * sizeof *grad);
  if (s == LRL_OK) {
    const float *x = score->data;
    bool barrier = strcmp(c->penalty_type, "log_barrier") == 0;
    s = lrl_bradley_terry(
        &c->ctx,
        &(struct lrl_bradley_terry_args){
            .n = pairs,
            .rank = strcmp(c->loss_type, "focal") == 0 ? LRL_RANK_FOCAL : LRL_RANK_LOGSIGMOID,
            .penalty = barrier                                  ? LRL_PENALTY_LOG_BARRIER
                       : strcasecmp(c->penalty_type, "l2") == 0 ? LRL_PENALTY_L2
                                                                : LRL_PENALTY_NONE,
            .focal_gamma = 2.0f,
            .penalty_weight = (float)g5_num(&c->file, "penalty_weight", 0.01),
            .barrier_lo = -5.0f,
            .barrier_hi = 5.0f,
            .barrier_eps = 1e-3f,
            .weight = 1.0f / (float)(pairs * accumulate),
            .chosen = x,
            .rejected = x + pairs,
            .loss = pair_loss,
            .d_chosen = grad,
            .d_rejected = grad + pairs});
  }
  if (s == LRL_OK) {
    lrl_grad_seed(&tape, score, grad);
    s = lrl_backward(&tape);
  }
  if (s == LRL_OK)
    s = lrl_ctx_sync(&c->ctx);
  *loss = 0;
  for (int64_t i = 0; i < pairs && s == LRL_OK; i++)
    *loss += pair_loss[i] / (double)pairs;
  lrl_arena_reset(&c->steps, 0);
  g5_free(&ids);
  g5_free(&mask);
  g5_free(&embeds);
  return s;
}

static lrl_status train(struct training_case *c) {
  int64_t steps = (int64_t)g5_num(&c->file, "steps", 0);
  int64_t accumulate = (int64_t)g5_num(&c->file, "grad_accum", 1);
  struct lrl_schedule schedule = {.kind = LRL_SCHEDULE_COSINE,
                                  .lr = g5_num(&c->file, "lr", 0),
                                  .n_warmup = (int64_t)g5_num(&c->file, "warmup_steps", 0),
                                  .n_steps = steps};
  struct g5_array losses = {0}, norms = {0};
  if (!g5_read_f32(&c->file, "/outputs/loss", &losses) || losses.n != steps * accumulate ||
      !g5_read_f32(&c->file, "/outputs/grad_norm", &norms) || norms.n != steps)
    return LRL_FAIL(LRL_ERR_FORMAT, "outputs loss or grad_norm are missing or of another length");
  double worst_loss = 0, worst_norm = 0;
  lrl_status s = LRL_OK;
  for (int64_t step = 0; step < steps && s == LRL_OK; step++) {
    for (int64_t k = step * accumulate; k < (step + 1) * accumulate && s == LRL_OK; k++) {
      double loss = NAN;
      s = micro_batch(c, k, accumulate, &loss);
      worst_loss = fmax(worst_loss, fabs(loss - (double)losses.f32[k]));
    }
    struct lrl_optimizer_stats stats = {0};
    if (s == LRL_OK)
      s = lrl_optimizer_step(&c->optimizer, lrl_schedule_lr(&schedule, step), &stats);
    double norm = (double)norms.f32[step];
    worst_norm = fmax(worst_norm, fabs(stats.grad_norm - norm) / fmax(1.0, norm));
  }
  g5_free(&losses);
  g5_free(&norms);
  LRL_TRY(s);
  LRL_TRY(lrl_ctx_sync(&c->ctx));
  golden_check(c->g, c->name, "loss", worst_loss, 1e-5);
  golden_check(c->g, c->name, "grad norm", worst_norm, 1e-5);
  golden_check(c->g, c->name, "final weights", each_weight(c, "/outputs/final.", false), 1e-5);
  return LRL_OK;
}

static lrl_status open_model(struct training_case *c) {
  struct lrl_vlm_config cfg = {.train_decoder = true, .decoder = g5_decoder(&c->file, -1)};
  struct lrl_optimizer_options o = {.beta1 = g5_num(&c->file, "beta1", 0.9),
                                    .beta2 = g5_num(&c->file, "beta2", 0.999),
                                    .eps = g5_num(&c->file, "eps", 1e-8),
                                    .weight_decay = g5_num(&c->file, "weight_decay", 0),
                                    .max_grad_norm = g5_num(&c->file, "max_grad_norm", 0)};
  LRL_TRY(lrl_ctx_init(&c->ctx, c->g->device, 0));
  LRL_TRY(lrl_arena_init(&c->steps, "step memory", (size_t)4 << 30));
  LRL_TRY(lrl_arena_init(&c->state, "optimizer state", (size_t)4 << 30));
  LRL_TRY(lrl_vlm_init(&c->model, &cfg));
  if (each_weight(c, "/weights/", true) > 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "a weight is missing or of another shape");
  return lrl_optimizer_init(&c->optimizer, &o, &c->ctx, &c->model.params, NULL, &c->state);
}

static void run_training(struct golden *g, const char *path, const char *name) {
  struct training_case *c = calloc(1, sizeof *c);
  c->g = g;
  c->name = name;
  if (!g5_open(&c->file, path)) {
    golden_fail(g, name, "", "cannot open the file");
    free(c);
    return;
  }
  g5_str(&c->file, "loss_type", c->loss_type, sizeof c->loss_type);
  g5_str(&c->file, "penalty_type", c->penalty_type, sizeof c->penalty_type);
  lrl_status s = open_model(c);
  if (s == LRL_OK)
    s = train(c);
  golden_ok(g, name, "", (int)s);
  lrl_vlm_free(&c->model);
  lrl_arena_free(&c->steps);
  lrl_arena_free(&c->state);
  if (c->ctx.backend != NULL)
    lrl_ctx_free(&c->ctx);
  g5_close(&c->file);
  free(c);
}
GOLDEN_FAMILY("I1_", run_training)
