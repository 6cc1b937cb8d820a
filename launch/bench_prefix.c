/* `laurel bench prefix`: training steps on pairs whose answers share their prompt (a prompt with
 * two children) against the same pairs with the prompt in both answers, by turns. The tokens alone
 * allow (2p + 2a) / (p + 2a). */
#include "launch/bench_parts.h"
#include "model/param_build.h"
#include "train/optimizer.h"
#include "train/reward_step.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

struct prefix_config {
  struct lrl_bench_network net;
  int64_t pairs, prompt, answer, turns, threads;
};
#define AT(f) offsetof(struct prefix_config, f)
static const struct lrl_option rows[] = {
    LRL_BENCH_NETWORK_ROWS(AT(net), "8000", "f32"),
    LRL_ROW_INT("pairs", AT(pairs), "4", 1, 100000, "", "pairs a step"),
    LRL_ROW_INT("prompt", AT(prompt), "512", 1, 1000000, "tokens", "of a pair"),
    LRL_ROW_INT("answer", AT(answer), "128", 1, 1000000, "tokens", "of each answer"),
    LRL_ROW_INT("turns", AT(turns), "3", 1, 100000, "",
                "measured steps each way, after one before"),
    LRL_ROW_INT("threads", AT(threads), "0", 0, 1024, "", "0: as many as the machine has"),
};
static const struct lrl_option_table table = {rows, sizeof rows / sizeof rows[0]};

struct prefix_bench {
  struct prefix_config cfg;
  struct lrl_ctx ctx;
  struct lrl_arena steps, state;
  struct lrl_vlm model;
  struct lrl_optimizer optimizer;
  struct lrl_batch batch[2]; /* shared; the prompt twice */
};

static int32_t *room(struct prefix_bench *b, int64_t n) {
  return lrl_arena_alloc(&b->state, (size_t)n * sizeof(int32_t));
}

/* The same pairs both ways. Token ids are a function of pair, answer and place. */
static lrl_status make_batch(struct prefix_bench *b, bool shared) {
  const struct prefix_config *c = &b->cfg;
  const int64_t per_pair = shared ? c->prompt + 2 * c->answer : 2 * (c->prompt + c->answer);
  const int64_t n = c->pairs * per_pair, n_seqs = c->pairs * (shared ? 3 : 2);
  int32_t *ids = room(b, n), *start = room(b, n_seqs), *length = room(b, n_seqs),
          *parent = room(b, n_seqs), *last = room(b, 2 * c->pairs), *seq = room(b, 2 * c->pairs),
          *source = room(b, c->pairs);
  int64_t *index = lrl_arena_alloc(&b->state, (size_t)(3 * c->pairs) * sizeof *index);
  if (ids == NULL || start == NULL || length == NULL || parent == NULL || last == NULL ||
      seq == NULL || source == NULL || index == NULL)
    return LRL_ERR_MEMORY;
  int64_t s = 0, at = 0;
  for (int64_t p = 0; p < c->pairs; p++) {
    source[p] = 0;
    index[p] = p;
    index[c->pairs + p] = index[2 * c->pairs + p] = c->answer;
    const int64_t prompt_seq = s;
    for (int part = shared ? 0 : 1; part < 3; part++, s++) { /* prompt, chosen, rejected */
      const int64_t from = part > 0 && shared ? c->prompt : 0,
                    to = part == 0 ? c->prompt : c->prompt + c->answer;
      start[s] = (int32_t)at;
      length[s] = (int32_t)(to - from);
      parent[s] = part > 0 && shared ? (int32_t)prompt_seq : -1;
      for (int64_t i = from; i < to; i++)
        ids[at++] =
            (int32_t)((p * 31 + i * 7919 + (i >= c->prompt ? part * 101 : 0)) % c->net.vocab);
      if (part > 0) {
        seq[(part - 1) * c->pairs + p] = (int32_t)s;
        last[(part - 1) * c->pairs + p] = (int32_t)at - 1;
      }
    }
  }
  b->batch[shared ? 0 : 1] = (struct lrl_batch){.n_pairs = c->pairs,
                                                .n_seqs = n_seqs,
                                                .n_tokens = n,
                                                .ids = ids,
                                                .layout = {.n_tokens = n,
                                                           .n_seqs = n_seqs,
                                                           .start = start,
                                                           .length = length,
                                                           .parent = parent},
                                                .chosen_seq = seq,
                                                .rejected_seq = seq + c->pairs,
                                                .chosen_last = last,
                                                .rejected_last = last + c->pairs,
                                                .source = source,
                                                .pair_index = index,
                                                .chosen_len = index + c->pairs,
                                                .rejected_len = index + 2 * c->pairs,
                                                .n_micro = 1,
                                                .n_pairs_step = c->pairs,
                                                .set_aside_reason = ""};
  return LRL_OK;
}

static lrl_status setup(struct prefix_bench *b) {
  const struct prefix_config *c = &b->cfg;
  struct lrl_vlm_config v = {.dtype = lrl_bench_dtype(&c->net), .train_decoder = true};
  LRL_TRY(lrl_bench_decoder(&c->net, c->prompt + c->answer, &v.decoder));
  const struct lrl_optimizer_options o = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8};
  LRL_TRY(lrl_ctx_init(&b->ctx, "cpu", (int)c->threads));
  LRL_TRY(lrl_arena_init(&b->steps, "step memory", (size_t)256 << 30));
  LRL_TRY(lrl_arena_init(&b->state, "optimizer state", (size_t)256 << 30));
  LRL_TRY(lrl_vlm_init(&b->model, &v));
  LRL_TRY(lrl_param_set_init(&b->model.params, 1));
  LRL_TRY(lrl_optimizer_init(&b->optimizer, &o, &b->ctx, &b->model.params, NULL, &b->state));
  LRL_TRY(make_batch(b, true));
  return make_batch(b, false);
}

/* Seconds of one step, update included, and the loss before it. lr 0: both ways see the same
 * weights. */
static lrl_status one_step(struct prefix_bench *b, int way, double *seconds, double *loss) {
  struct lrl_tape tape;
  struct lrl_tally tally = {0};
  struct lrl_optimizer_stats stats;
  const struct lrl_reward_objective objective = {.seed = 1};
  const double t0 = omp_get_wtime();
  lrl_tape_init(&tape, &b->ctx, &b->steps, true);
  lrl_optimizer_attach(&b->optimizer, &tape, true);
  LRL_TRY(lrl_reward_micro_batch(&tape, &b->model, &b->batch[way], &objective, &tally, false, NULL,
                                 NULL));
  LRL_TRY(lrl_optimizer_step(&b->optimizer, 0.0, &stats));
  lrl_arena_reset(&b->steps, 0);
  *seconds = omp_get_wtime() - t0;
  *loss = tally.v[LRL_TALLY_LOSS] / tally.v[LRL_TALLY_PAIRS];
  return LRL_OK;
}

static lrl_status run(void *state) {
  struct prefix_bench *b = state;
  LRL_TRY(setup(b));
  const size_t n = (size_t)b->cfg.turns;
  double *all = calloc(2 * n, sizeof *all), *seconds[2] = {all, all + n}, loss[2], unused;
  if (all == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %zu timings", n);
  lrl_status s = LRL_OK;
  for (size_t turn = 0; turn <= n && s == LRL_OK; turn++)
    for (int way = 0; way < 2 && s == LRL_OK; way++)
      s = one_step(b, way, turn > 0 ? &seconds[way][turn - 1] : &unused, &loss[way]);
  if (s == LRL_OK && fabs(loss[0] - loss[1]) > 1e-2 * fabs(loss[1]))
    s = LRL_FAIL(LRL_ERR_NUMERIC, "the loss is %g with shared prompts and %g without", loss[0],
                 loss[1]);
  if (s == LRL_OK) {
    const struct lrl_batch *batch = b->batch;
    for (int way = 0; way < 2; way++)
      qsort(seconds[way], n, sizeof **seconds, lrl_bench_by_value);
    printf("training step, %s: %lld pairs, prompt %lld, answers %lld tokens\n",
           b->cfg.net.dtype == 0 ? "f32" : "bf16", (long long)b->cfg.pairs,
           (long long)b->cfg.prompt, (long long)b->cfg.answer);
    printf("%-16s %8s %10s %10s\n", "", "tokens", "best s", "median s");
    for (int way = 0; way < 2; way++)
      printf("%-16s %8lld %10.4f %10.4f\n", way == 0 ? "shared prompt" : "prompt twice",
             (long long)batch[way].n_tokens, seconds[way][0], seconds[way][n / 2]);
    printf("%-16s %7.2fx %9.2fx %9.2fx  >= 1.6x\n", "gain",
           (double)batch[1].n_tokens / (double)batch[0].n_tokens, seconds[1][0] / seconds[0][0],
           seconds[1][n / 2] / seconds[0][n / 2]);
  }
  free(all);
  return s;
}

static void clear(void *state) {
  struct prefix_bench *b = state;
  lrl_optimizer_destroy(&b->optimizer);
  lrl_vlm_free(&b->model);
  lrl_arena_free(&b->steps);
  lrl_arena_free(&b->state);
  if (b->ctx.backend != NULL)
    lrl_ctx_free(&b->ctx);
}

int lrl_bench_prefix(int argc, char **argv) {
  static const struct lrl_bench_part part = {"prefix", &table, sizeof(struct prefix_bench), run,
                                             clear};
  return lrl_bench_part_main(&part, argc, argv);
}
