/* One rank of the tests in tests/unit/test_ranks.c, started by mpirun:
 *   rank_worker train DIR key=value ... [then key=value ...]   trains tiny models, each of which
 *                                           leaves DIR/<name>.txt and DIR/<name>.h5
 *   rank_worker comm                        checks the collectives
 *   rank_worker faults DIR                  gradients and files that go wrong on one rank
 *   rank_worker die|stuck|fail              rank 1 is killed, hangs, fails */
#include "kernels/philox.h"
#include "model/param_build.h"
#include "model/vlm.h"
#include "train/checkpoint.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(cond)                                                                                \
  do {                                                                                             \
    if (!(cond)) {                                                                                 \
      fprintf(stderr, "rank %d, line %d: %s: %s\n", lrl_comm_rank(comm), __LINE__, #cond,          \
              lrl_last_error());                                                                   \
      lrl_comm_abort(comm, 3);                                                                     \
    }                                                                                              \
  } while (0)
#define OK(expr) CHECK((expr) == LRL_OK)

static struct lrl_comm *comm;

struct options {
  int stage, steps, recompute, bf16, pairs, only_rank; /* only_rank: who gets all pairs; -1: all */
  char name[64], load[128];
};

struct model {
  struct lrl_ctx ctx;
  struct lrl_arena steps, state;
  struct lrl_vlm vlm;
  struct lrl_optimizer optimizer;
};

static void open_model(struct model *m, const struct options *o) {
  struct lrl_vlm_config c = {
      .decoder = {.vocab_size = 67,
                  .hidden_size = 24,
                  .intermediate_size = 40,
                  .num_hidden_layers = 3,
                  .num_attention_heads = 2,
                  .num_key_value_heads = 1,
                  .rms_norm_eps = 1e-5,
                  .initializer_range = 0.1,
                  .pad_token_id = -1,
                  .plora_r = 4,
                  .plora_alpha = 4,
                  .rope = {.head_dim = 12, .max_position_embeddings = 64, .theta = 1e4}},
      .has_vision = true,
      .vit = {.image_size = 28,
              .patch_size = 14,
              .hidden_size = 8,
              .intermediate_size = 12,
              .num_hidden_layers = 2,
              .num_attention_heads = 2,
              .layer_norm_eps = 1e-5,
              .initializer_range = 0.1},
      .dtype = o->bf16 ? LRL_BF16 : LRL_F32,
      .train_decoder = true,
      .train_vision = true,
      .train_projector = true,
  };
  struct lrl_optimizer_options options = {.beta1 = 0.9,
                                          .beta2 = 0.95,
                                          .eps = 1e-8,
                                          .weight_decay = 0.1,
                                          .max_grad_norm = 0.5,
                                          .zero_stage = o->stage};
  memset(m, 0, sizeof *m);
  OK(lrl_ctx_init(&m->ctx, "cpu", 1));
  OK(lrl_arena_init(&m->steps, "step memory", (size_t)1 << 30));
  OK(lrl_arena_init(&m->state, "optimizer state", (size_t)1 << 30));
  OK(lrl_vlm_init(&m->vlm, &c));
  OK(lrl_param_set_init(&m->vlm.params, 7));
  OK(lrl_optimizer_init(&m->optimizer, &options, &m->ctx, &m->vlm.params, comm, &m->state));
}

static void close_model(struct model *m) {
  lrl_optimizer_destroy(&m->optimizer);
  lrl_vlm_free(&m->vlm);
  lrl_arena_free(&m->steps);
  lrl_arena_free(&m->state);
  lrl_ctx_free(&m->ctx);
}

/* Forward and backward of one pair of the step; every third has an image in the chosen answer. */
static double micro_batch(struct model *m, const struct options *o, int step, int pair, int pairs,
                          bool last, bool bad) {
  enum { LENGTH = 5 };
  struct lrl_rng rng = lrl_rng_make(99, LRL_RNG_TEST, (uint64_t)step * 100 + (uint64_t)pair);
  const bool image = (step + pair) % 3 == 0;
  const int32_t one = 1;
  const int n_image = image ? (int)lrl_vlm_image_tokens(&m->vlm.cfg.vit, 1, 1) : 0;
  int32_t ids[64], image_rows[64], start[2] = {0, LENGTH + n_image},
                                   length[2] = {LENGTH + n_image, LENGTH - 1}, last_row[2];
  float tiles[2 * 3 * 28 * 28];
  for (int i = 0; i < length[0] + length[1]; i++) {
    bool is_image = i >= 1 && i < 1 + n_image;
    ids[i] = is_image ? -1 : (int32_t)(lrl_rng_u32(&rng) % 67);
    if (is_image)
      image_rows[i - 1] = i;
  }
  for (size_t i = 0; i < sizeof tiles / sizeof tiles[0]; i++)
    tiles[i] = lrl_rng_normal(&rng);
  last_row[0] = length[0] - 1;
  last_row[1] = length[0] + length[1] - 1;
  struct lrl_layout layout = {
      .n_tokens = length[0] + length[1], .n_seqs = 2, .start = start, .length = length};
  struct lrl_vlm_images images = {
      .n_images = 1, .n_tiles = 2, .rows = &one, .cols = &one, .tiles = tiles};
  struct lrl_vlm_input in = {.ids = ids,
                             .layout = &layout,
                             .images = image ? &images : NULL,
                             .image_rows = image_rows,
                             .n_image_rows = n_image,
                             .n_scores = 2,
                             .score_rows = last_row};
  struct lrl_tape tape;
  lrl_tape_init(&tape, &m->ctx, &m->steps, true);
  tape.recompute = o->recompute != 0;
  lrl_optimizer_attach(&m->optimizer, &tape, last);
  struct lrl_tensor *score = lrl_vlm_scores(&tape, &m->vlm, &in);
  OK(tape.status);
  const float *s = score->data;
  double loss;
  float grad[2];
  OK(lrl_bradley_terry(&m->ctx, &(struct lrl_bradley_terry_args){.n = 1,
                                                                 .weight = 1.0f / (float)pairs,
                                                                 .chosen = s,
                                                                 .rejected = s + 1,
                                                                 .loss = &loss,
                                                                 .d_chosen = grad,
                                                                 .d_rejected = grad + 1}));
  grad[0] = bad ? NAN : grad[0];
  lrl_grad_seed(&tape, score, grad);
  OK(lrl_backward(&tape));
  lrl_arena_reset(&m->steps, 0);
  return loss;
}

/* bad: the gradient of the last rank's pairs is not a number, and the step must change nothing. */
static void train_step(struct model *m, const struct options *o, int step, FILE *log, bool bad) {
  const int rank = lrl_comm_rank(comm), size = lrl_comm_size(comm);
  const int pairs = step % 4 == 3 ? 1 : o->pairs; /* then most ranks have nothing */
  double loss = 0;
  bool any = false;
  for (int p = 0; p < pairs; p++)
    if (o->only_rank >= 0 ? rank == o->only_rank : p % size == rank) {
      bool last = o->only_rank >= 0 ? p + 1 == pairs : p + size >= pairs;
      loss += micro_batch(m, o, step, p, pairs, last, bad && rank == size - 1) / pairs;
      any = true;
    }
  if (!any) { /* as the loader does: one micro-batch of no pairs */
    struct lrl_tape tape;
    lrl_tape_init(&tape, &m->ctx, &m->steps, true);
    lrl_optimizer_attach(&m->optimizer, &tape, true);
    OK(tape.status);
  }
  struct lrl_optimizer_stats stats;
  OK(lrl_optimizer_step(&m->optimizer, 1e-3, &stats));
  OK(lrl_comm_sum_f64(comm, &loss, 1));
  CHECK(stats.skipped == bad);
  if (log != NULL)
    fprintf(log, "%.17g %.17g\n", loss, stats.grad_norm);
}

/* All ranks must hold the same parameters. */
static void check_same_params(const struct model *m) {
  for (int i = 0; i < m->vlm.params.n_units; i++) {
    const struct lrl_param_unit *u = &m->vlm.params.units[i];
    const size_t bytes = (size_t)(u->n * lrl_dtype_bytes(u->dtype));
    char *root = malloc(bytes);
    memcpy(root, u->data, bytes);
    OK(lrl_comm_broadcast(comm, root, bytes, 0));
    CHECK(memcmp(root, u->data, bytes) == 0);
    free(root);
  }
}

static void write_checkpoint(struct model *m, const char *path) {
  struct lrl_checkpoint *k;
  OK(lrl_checkpoint_create(path, comm, &k));
  OK(lrl_checkpoint_put_text(k, "config", "{}"));
  OK(lrl_checkpoint_put_params(k, &m->ctx, "params", &m->vlm.params));
  OK(lrl_checkpoint_put_optimizer(k, "optimizer", &m->optimizer));
  OK(lrl_checkpoint_commit(k));
}

static void train(const char *dir, const struct options *o) {
  struct model m;
  struct lrl_checkpoint *k;
  char path[256];
  open_model(&m, o);
  if (o->load[0] != '\0') {
    OK(lrl_checkpoint_open(o->load, comm, &k));
    OK(lrl_checkpoint_get_params(k, "params", &m.vlm.params));
    OK(lrl_checkpoint_get_optimizer(k, "optimizer", &m.optimizer));
    lrl_checkpoint_close(k);
  }
  snprintf(path, sizeof path, "%s/%s.txt", dir, o->name);
  FILE *log = lrl_comm_rank(comm) == 0 ? fopen(path, "w") : NULL;
  const int first = (int)m.optimizer.step;
  for (int step = first; step < first + o->steps; step++)
    train_step(&m, o, step, log, false);
  if (log != NULL)
    fclose(log);
  check_same_params(&m);
  snprintf(path, sizeof path, "%s/%s.h5", dir, o->name);
  write_checkpoint(&m, path);
  close_model(&m);
}

static struct options parse(int argc, char **argv) {
  struct options o = {.steps = 20, .pairs = 5, .only_rank = -1, .name = "run"};
  const struct {
    const char *key;
    int *value;
  } numbers[] = {{"stage", &o.stage}, {"steps", &o.steps}, {"recompute", &o.recompute},
                 {"bf16", &o.bf16},   {"pairs", &o.pairs}, {"only_rank", &o.only_rank}};
  for (int i = 0; i < argc; i++) {
    const char *value = strchr(argv[i], '=');
    CHECK(value != NULL);
    const size_t n = (size_t)(value++ - argv[i]);
    for (size_t j = 0; j < sizeof numbers / sizeof numbers[0]; j++)
      if (strlen(numbers[j].key) == n && strncmp(argv[i], numbers[j].key, n) == 0)
        *numbers[j].value = atoi(value);
    if (n == 4 && strncmp(argv[i], "name", n) == 0)
      snprintf(o.name, sizeof o.name, "%s", value);
    if (n == 4 && strncmp(argv[i], "load", n) == 0)
      snprintf(o.load, sizeof o.load, "%s", value);
  }
  return o;
}

/* ---- what goes wrong ---- */

static void check_skipped_step(int stage) {
  struct options o = {.stage = stage, .pairs = 4, .only_rank = -1};
  struct model m;
  open_model(&m, &o);
  train_step(&m, &o, 0, NULL, false);
  const struct lrl_param_unit *u = &m.vlm.params.units[m.vlm.decoder.embed_unit];
  char *before = malloc((size_t)u->n * sizeof(float));
  memcpy(before, u->data, (size_t)u->n * sizeof(float));
  train_step(&m, &o, 1, NULL, true);
  CHECK(memcmp(before, u->data, (size_t)u->n * sizeof(float)) == 0 && m.optimizer.step == 1);
  train_step(&m, &o, 2, NULL, false); /* nothing of it is left */
  CHECK(memcmp(before, u->data, (size_t)u->n * sizeof(float)) != 0);
  check_same_params(&m);
  free(before);
  close_model(&m);
}

/* Stage 2 has room for two gradients; a tape that uses units twice needs more. */
static void check_order(void) {
  struct options o = {.stage = 2, .pairs = 4, .only_rank = -1};
  struct model m;
  struct lrl_tape tape;
  open_model(&m, &o);
  const struct lrl_shard *s = &m.optimizer.shard;
  for (int i = 2; i < s->n; i++) {
    const struct lrl_param_unit *a = &m.vlm.params.units[s->unit_at[i]];
    const struct lrl_param_unit *b = &m.vlm.params.units[s->unit_at[i - 2]];
    CHECK(i % 2 == 0 ? a->grad == b->grad : a->grad + a->n == b->grad + b->n);
  }
  static const int32_t ids[3] = {1, 2, 3}, start = 0, length = 3, last = 2;
  static const float one = 1.0f;
  struct lrl_layout layout = {.n_tokens = 3, .n_seqs = 1, .start = &start, .length = &length};
  struct lrl_vlm_input in = {.ids = ids, .layout = &layout, .n_scores = 1, .score_rows = &last};
  lrl_tape_init(&tape, &m.ctx, &m.steps, true);
  lrl_optimizer_attach(&m.optimizer, &tape, true);
  for (int i = 0; i < 2; i++)
    lrl_grad_seed(&tape, lrl_vlm_scores(&tape, &m.vlm, &in), &one);
  CHECK(lrl_backward(&tape) == LRL_ERR_ARG && strstr(lrl_last_error(), "use stage 1") != NULL);
  lrl_error_clear();
  close_model(&m);
}

static void flip_byte(const char *path, double where) {
  FILE *f = fopen(path, "r+b");
  CHECK(f != NULL && fseek(f, 0, SEEK_END) == 0);
  const long at = (long)(where * (double)ftell(f));
  fseek(f, at, SEEK_SET);
  const int old = fgetc(f);
  fseek(f, at, SEEK_SET);
  CHECK(fputc(old ^ 4, f) != EOF && fclose(f) == 0);
}

/* Damage that rank 0 alone can see reaches all ranks, and nobody is left waiting for a shard. */
static void check_damaged_state(const char *dir) {
  struct options o = {.stage = 2, .pairs = 4, .only_rank = -1};
  struct model m;
  struct lrl_checkpoint *k;
  char path[256];
  open_model(&m, &o);
  train_step(&m, &o, 0, NULL, false);
  snprintf(path, sizeof path, "%s/damaged.h5", dir);
  for (double where = 0.5; where < 0.95; where += 0.08) { /* the moments */
    write_checkpoint(&m, path);
    if (lrl_comm_rank(comm) == 0)
      flip_byte(path, where);
    lrl_status s = lrl_checkpoint_open(path, comm, &k);
    if (s == LRL_OK) {
      s = lrl_checkpoint_get_optimizer(k, "optimizer", &m.optimizer);
      lrl_checkpoint_close(k);
    }
    CHECK(s == LRL_ERR_FORMAT && strstr(lrl_last_error(), "damaged") != NULL);
    lrl_error_clear();
  }
  snprintf(path, sizeof path, "%s/no/such/folder.h5", dir);
  CHECK(lrl_checkpoint_create(path, comm, &k) == LRL_ERR_IO && k == NULL);
  CHECK(strstr(lrl_last_error(), "No such file") != NULL);
  lrl_error_clear();
  close_model(&m);
}

/* State that takes several messages a rank goes into a checkpoint and comes back. */
static void check_large_state(const char *dir) {
  enum { ROWS = 2001, COLS = 1024 };
  struct lrl_ctx ctx;
  struct lrl_arena arena;
  struct lrl_optimizer o;
  struct lrl_checkpoint *k;
  static struct lrl_param_set set;
  char path[256];
  int64_t lo, hi;
  const int unit = lrl_param_unit_add(&set, "large", LRL_F32, true);
  lrl_param_add(&set, unit, "large", ROWS, COLS, 0);
  OK(lrl_ctx_init(&ctx, "cpu", 1));
  OK(lrl_arena_init(&arena, "memory", (size_t)1 << 27));
  OK(lrl_param_set_alloc(&set, &arena));
  OK(lrl_optimizer_init(&o, &(struct lrl_optimizer_options){.zero_stage = 1}, &ctx, &set, comm,
                        &arena));
  lrl_optimizer_range(&o, unit, lrl_comm_rank(comm), &lo, &hi);
  for (int64_t i = lo; i < hi; i++)
    o.v[unit][i - lo] = -(o.m[unit][i - lo] = (float)i);
  snprintf(path, sizeof path, "%s/large.h5", dir);
  OK(lrl_checkpoint_create(path, comm, &k));
  OK(lrl_checkpoint_put_optimizer(k, "optimizer", &o));
  OK(lrl_checkpoint_commit(k));
  memset(o.m[unit], 0, (size_t)(hi - lo) * sizeof(float));
  memset(o.v[unit], 0, (size_t)(hi - lo) * sizeof(float));
  OK(lrl_checkpoint_open(path, comm, &k));
  OK(lrl_checkpoint_get_optimizer(k, "optimizer", &o));
  lrl_checkpoint_close(k);
  for (int64_t i = lo; i < hi; i++)
    CHECK(o.m[unit][i - lo] == (float)i && o.v[unit][i - lo] == -(float)i);
  lrl_optimizer_destroy(&o);
  lrl_param_set_free(&set);
  lrl_arena_free(&arena);
  lrl_ctx_free(&ctx);
}

/* ---- collectives ---- */

static void check_sum(void) {
  const int size = lrl_comm_size(comm), rank = lrl_comm_rank(comm);
  enum { N = 20000 };
  double *x = malloc(N * sizeof *x);
  for (int i = 0; i < N; i++)
    x[i] = ldexp(1.0 + rank + i, rank * 40); /* the order of the sum shows in the last bits */
  OK(lrl_comm_sum_f64(comm, x, N));
  for (int i = 0; i < N; i++) {
    double want = 1.0 + i;
    for (int r = 1; r < size; r++)
      want += ldexp(1.0 + r + i, r * 40);
    CHECK(x[i] == want);
  }
  free(x);
}

static void check_broadcast(void) {
  const size_t n = 3 * 1024 * 1024 + 17;
  unsigned char *x = malloc(n);
  for (size_t i = 0; i < n; i++)
    x[i] = lrl_comm_rank(comm) == 1 ? (unsigned char)(i * 7 % 251) : 0;
  OK(lrl_comm_broadcast(comm, x, n, 1));
  for (size_t i = 0; i < n; i++)
    CHECK(x[i] == i * 7 % 251);
  OK(lrl_comm_broadcast(comm, NULL, 0, 0));
  free(x);
}

static void check_agree(void) {
  const int rank = lrl_comm_rank(comm);
  OK(lrl_comm_agree(comm, LRL_OK));
  lrl_status mine = rank == 0 ? LRL_OK : LRL_FAIL(LRL_ERR_IO, "rank %d has no disk", rank);
  CHECK(lrl_comm_agree(comm, mine) == LRL_ERR_IO);
  CHECK(strcmp(lrl_last_error(), "rank 1 has no disk") == 0);
  lrl_error_clear();
}

static void check_comm(void) {
  CHECK(lrl_comm_size(comm) > 1);
  check_sum();
  check_broadcast();
  check_agree();
}

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "";
  struct lrl_comm_options options = {.timeout_s = strcmp(mode, "stuck") == 0 ? 2 : 60,
                                     .no_shared = getenv("RANK_WORKER_APART") != NULL};
  OK(lrl_comm_create_with(&options, &comm));
  CHECK(options.no_shared ? !lrl_comm_shares_memory(comm) : true);
  const int rank = lrl_comm_rank(comm);
  if (strcmp(mode, "train") == 0) {
    for (int i = 3, end; i < argc; i = end + 1) {
      for (end = i; end < argc && strcmp(argv[end], "then") != 0;)
        end++;
      struct options o = parse(end - i, argv + i);
      train(argv[2], &o);
    }
  } else if (strcmp(mode, "comm") == 0) {
    check_comm();
  } else if (strcmp(mode, "faults") == 0) {
    for (int stage = 0; stage <= 2; stage++)
      check_skipped_step(stage);
    check_order();
    check_damaged_state(argv[2]);
    check_large_state(argv[2]);
  } else { /* die, stuck, fail */
    struct options o = {.stage = 1, .pairs = 4, .only_rank = -1, .name = "run"};
    struct model m;
    open_model(&m, &o);
    for (int step = 0; step < 3; step++)
      train_step(&m, &o, step, NULL, false);
    if (rank == 1 && strcmp(mode, "die") == 0)
      raise(SIGKILL);
    if (rank == 1 && strcmp(mode, "stuck") == 0)
      sleep(30);
    if (rank == 1 && strcmp(mode, "fail") == 0) {
      fprintf(stderr, "rank 1 cannot go on\n");
      lrl_comm_abort(comm, 7);
    }
    for (int step = 3; step < 10000000; step++)
      train_step(&m, &o, step, NULL, false);
  }
  lrl_comm_destroy(comm);
  return 0;
}
