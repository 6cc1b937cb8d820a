/* Checkpoints on one rank: round trip, damage, what does not fit, full disks, folders. Several
 * ranks are in tests/mpi. */
#include "kernels/philox.h"
#include "model/param_build.h"
#include "train/checkpoint.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64] = "/tmp/laurel_checkpoint_XXXXXX";

static int make_dir(void **state) {
  (void)state;
  return mkdtemp(dir) == NULL ? -1 : 0;
}
static int remove_dir(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  return system(command);
}

static const char *in_dir(const char *name) {
  static char path[2][400];
  static int turn;
  turn = 1 - turn;
  snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
  return path[turn];
}

/* A small model with its optimizer. */
struct model {
  struct lrl_ctx ctx;
  struct lrl_arena arena;
  struct lrl_param_set params;
  struct lrl_optimizer o;
};

static void open_model(struct model *m, lrl_dtype dtype, int64_t rows, bool extra, uint64_t seed) {
  memset(m, 0, sizeof *m);
  assert_int_equal(lrl_ctx_init(&m->ctx, "ref", 1), LRL_OK);
  assert_int_equal(lrl_arena_init(&m->arena, "test", (size_t)1 << 30), LRL_OK);
  int a = lrl_param_unit_add(&m->params, "frozen", LRL_F32, false);
  lrl_param_add(&m->params, a, "frozen.weight", 3, 5, 0.5f);
  int b = lrl_param_unit_add(&m->params, "model.layers.0", dtype, true);
  lrl_param_add(&m->params, b, "model.layers.0.w.weight", rows, 7, 0.5f);
  lrl_param_add(&m->params, b, "model.layers.0.w.bias", rows, 0, 0.5f);
  if (extra)
    lrl_param_add(&m->params, b, "model.layers.0.extra", 2, 0, 0.5f);
  assert_int_equal(lrl_param_set_alloc(&m->params, &m->arena), LRL_OK);
  assert_int_equal(lrl_param_set_init(&m->params, seed), LRL_OK);
  struct lrl_optimizer_options o = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8};
  assert_int_equal(lrl_optimizer_init(&m->o, &o, &m->ctx, &m->params, NULL, &m->arena), LRL_OK);
}

static void close_model(struct model *m) {
  lrl_optimizer_destroy(&m->o);
  lrl_param_set_free(&m->params);
  lrl_arena_free(&m->arena);
  lrl_ctx_free(&m->ctx);
}

static void train(struct model *m, uint64_t seed, int steps) {
  struct lrl_rng rng = lrl_rng_make(seed, LRL_RNG_INIT, 1);
  struct lrl_optimizer_stats stats;
  struct lrl_param_unit *u = &m->params.units[1];
  for (int s = 0; s < steps; s++) {
    for (int i = 0; i < u->n_params; i++)
      for (int64_t j = 0; j < u->params[i].n; j++)
        u->grad[u->params[i].offset + j] = lrl_rng_normal(&rng);
    assert_int_equal(lrl_optimizer_step(&m->o, 1e-2, &stats), LRL_OK);
  }
}

static void expect_same_model(const struct model *a, const struct model *b) {
  for (int u = 0; u < a->params.n_units; u++) {
    const struct lrl_param_unit *x = &a->params.units[u], *y = &b->params.units[u];
    assert_memory_equal(x->data, y->data, (size_t)(x->n * lrl_dtype_bytes(x->dtype)));
    if (!x->trainable)
      continue;
    const size_t bytes = (size_t)x->n * sizeof(float);
    assert_memory_equal(a->o.m[u], b->o.m[u], bytes);
    assert_memory_equal(a->o.v[u], b->o.v[u], bytes);
    assert_memory_equal(a->o.master[u], b->o.master[u], bytes);
  }
  assert_int_equal(a->o.step, b->o.step);
}

static lrl_status save_to(struct model *m, struct lrl_checkpoint *k) {
  LRL_TRY(lrl_checkpoint_put_text(k, "config", "{\"optim.lr\": 1}"));
  LRL_TRY(lrl_checkpoint_put_text(k, "nothing", ""));
  LRL_TRY(lrl_checkpoint_put_blob(k, "tokenizer", "\0\1\2\0", 4));
  LRL_TRY(lrl_checkpoint_put_blob(k, "empty", NULL, 0));
  LRL_TRY(lrl_checkpoint_put_params(k, &m->ctx, "params", &m->params));
  return lrl_checkpoint_put_optimizer(k, "optimizer", &m->o);
}

static lrl_status save(struct model *m, const char *path) {
  struct lrl_checkpoint *k;
  LRL_TRY(lrl_checkpoint_create(path, NULL, &k));
  lrl_status s = save_to(m, k);
  if (s == LRL_OK)
    return lrl_checkpoint_commit(k);
  lrl_checkpoint_discard(k);
  return s;
}

/* Opens and reads everything. */
static lrl_status load(struct model *m, const char *path) {
  struct lrl_checkpoint *k;
  static const char *const texts[] = {"config", "nothing"}, *const blobs[] = {"tokenizer", "empty"};
  lrl_error_clear();
  LRL_TRY(lrl_checkpoint_open(path, NULL, &k));
  lrl_status s = LRL_OK;
  for (int i = 0; i < 2 && s == LRL_OK; i++) {
    char *text;
    void *blob = NULL;
    size_t n;
    s = lrl_checkpoint_get_text(k, texts[i], &text);
    free(text);
    if (s == LRL_OK)
      s = lrl_checkpoint_get_blob(k, blobs[i], &blob, &n);
    free(blob);
  }
  if (s == LRL_OK)
    s = lrl_checkpoint_get_params(k, "params", &m->params);
  if (s == LRL_OK)
    s = lrl_checkpoint_get_optimizer(k, "optimizer", &m->o);
  lrl_checkpoint_close(k);
  return s;
}

static void expect_error(lrl_status got, lrl_status want, const char *part) {
  if (got != want || strstr(lrl_last_error(), part) == NULL || strchr(lrl_last_error(), '\n'))
    fail_msg("status %d (want %d), message \"%s\" (want \"%s\")", got, want, lrl_last_error(),
             part);
  lrl_error_clear();
}

static void test_round_trip(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    struct model a, b;
    open_model(&a, i == 0 ? LRL_F32 : LRL_BF16, 11, false, 1);
    open_model(&b, i == 0 ? LRL_F32 : LRL_BF16, 11, false, 2);
    train(&a, 3, 3);
    assert_int_equal(save(&a, in_dir("a.h5")), LRL_OK);
    assert_int_equal(access(in_dir("a.h5.tmp"), F_OK), -1);
    const uint64_t version = b.params.units[1].version;
    assert_int_equal(load(&b, in_dir("a.h5")), LRL_OK);
    assert_true(b.params.units[1].version > version);
    expect_same_model(&a, &b);
    train(&a, 4, 2);
    train(&b, 4, 2);
    expect_same_model(&a, &b);
    close_model(&a);
    close_model(&b);
  }
}

static void test_texts_and_blobs(void **state) {
  (void)state;
  struct model m;
  struct lrl_checkpoint *k;
  char *text;
  void *blob;
  size_t n;
  bool has;
  open_model(&m, LRL_F32, 3, false, 1);
  assert_int_equal(save(&m, in_dir("t.h5")), LRL_OK);
  assert_int_equal(lrl_checkpoint_open(in_dir("t.h5"), NULL, &k), LRL_OK);
  assert_int_equal(lrl_checkpoint_get_text(k, "config", &text), LRL_OK);
  assert_string_equal(text, "{\"optim.lr\": 1}");
  free(text);
  assert_int_equal(lrl_checkpoint_get_blob(k, "tokenizer", &blob, &n), LRL_OK);
  assert_int_equal(n, 4);
  assert_memory_equal(blob, "\0\1\2\0", 4);
  free(blob);
  assert_int_equal(lrl_checkpoint_get_blob(k, "empty", &blob, &n), LRL_OK);
  assert_int_equal(n, 0);
  free(blob);
  assert_int_equal(lrl_checkpoint_has(k, "optimizer", &has), LRL_OK);
  assert_true(has);
  assert_int_equal(lrl_checkpoint_has(k, "critic", &has), LRL_OK);
  assert_false(has);
  expect_error(lrl_checkpoint_get_text(k, "absent", &text), LRL_ERR_FORMAT, "has no absent");
  expect_error(lrl_checkpoint_get_text(k, "tokenizer", &text), LRL_ERR_FORMAT, "is no text");
  expect_error(lrl_checkpoint_get_params(k, "critic", &m.params), LRL_ERR_FORMAT, "has no critic");
  lrl_checkpoint_close(k);
  close_model(&m);
}

static void test_does_not_fit(void **state) {
  (void)state;
  struct model a, wider, larger;
  open_model(&a, LRL_F32, 4, false, 1);
  open_model(&wider, LRL_F32, 5, false, 1);
  open_model(&larger, LRL_F32, 4, true, 1);
  assert_int_equal(save(&a, in_dir("a.h5")), LRL_OK);
  assert_int_equal(save(&larger, in_dir("larger.h5")), LRL_OK);
  expect_error(load(&wider, in_dir("a.h5")), LRL_ERR_SHAPE, "[4, 7] there and [5, 7]");
  expect_error(load(&larger, in_dir("a.h5")), LRL_ERR_FORMAT, "has no params/model.layers.0.extra");
  expect_error(load(&a, in_dir("larger.h5")), LRL_ERR_FORMAT,
               "model.layers.0.extra that the model");
  close_model(&a);
  close_model(&wider);
  close_model(&larger);
}

static void test_converts(void **state) {
  (void)state;
  struct model a, b, c;
  struct lrl_checkpoint *k;
  open_model(&a, LRL_BF16, 9, false, 1);
  open_model(&b, LRL_F32, 9, false, 2);
  open_model(&c, LRL_BF16, 9, false, 3);
  assert_int_equal(save(&a, in_dir("a.h5")), LRL_OK);
  assert_int_equal(lrl_checkpoint_open(in_dir("a.h5"), NULL, &k), LRL_OK);
  assert_int_equal(lrl_checkpoint_get_params(k, "params", &b.params), LRL_OK);
  lrl_checkpoint_close(k);
  const struct lrl_param_unit *u = &a.params.units[1], *w = &b.params.units[1];
  for (int64_t i = 0; i < u->n; i++)
    assert_true(((float *)w->data)[i] == lrl_bf16_to_f32(((uint16_t *)u->data)[i]));
  assert_int_equal(save(&b, in_dir("b.h5")), LRL_OK);
  assert_int_equal(lrl_checkpoint_open(in_dir("b.h5"), NULL, &k), LRL_OK);
  assert_int_equal(lrl_checkpoint_get_params(k, "params", &c.params), LRL_OK);
  lrl_checkpoint_close(k);
  assert_memory_equal(u->data, c.params.units[1].data, (size_t)u->n * 2);
  close_model(&a);
  close_model(&b);
  close_model(&c);
}

static char *read_file(const char *path, size_t *n) {
  struct stat st;
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  assert_int_equal(fstat(fileno(f), &st), 0);
  char *bytes = malloc((size_t)st.st_size);
  assert_int_equal(fread(bytes, 1, (size_t)st.st_size, f), st.st_size);
  fclose(f);
  *n = (size_t)st.st_size;
  return bytes;
}
static void write_file(const char *path, const char *bytes, size_t n) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
}

/* No damage passes: every flipped bit and every cut is found, in a sentence. */
static void test_damage(void **state) {
  (void)state;
  struct model a, b;
  size_t n;
  open_model(&a, LRL_BF16, 6, false, 1);
  open_model(&b, LRL_BF16, 6, false, 1);
  assert_int_equal(save(&a, in_dir("a.h5")), LRL_OK);
  char *bytes = read_file(in_dir("a.h5"), &n), *changed = malloc(n + 1);
  const uint64_t seed = 20240611;
  print_message("%zu bytes, seed %llu\n", n, (unsigned long long)seed);
  struct lrl_rng rng = lrl_rng_make(seed, LRL_RNG_INIT, 2);
  for (int i = 0; i < 600; i++) {
    memcpy(changed, bytes, n);
    size_t at = lrl_rng_u32(&rng) % n;
    changed[at] = (char)(changed[at] ^ (1 << lrl_rng_u32(&rng) % 8));
    write_file(in_dir("bad.h5"), changed, n);
    lrl_status s = load(&b, in_dir("bad.h5"));
    if (s != LRL_ERR_FORMAT)
      fail_msg("byte %zu changed: status %d, %s", at, s, lrl_last_error());
    assert_null(strchr(lrl_last_error(), '\n'));
  }
  for (size_t cut = 0; cut < n; cut += cut < 64 || n - cut < 100 ? 1 : 97) {
    write_file(in_dir("bad.h5"), bytes, cut);
    assert_int_equal(load(&b, in_dir("bad.h5")), LRL_ERR_FORMAT);
  }
  memcpy(changed, bytes, n);
  changed[n] = 0;
  write_file(in_dir("bad.h5"), changed, n + 1);
  assert_int_equal(load(&b, in_dir("bad.h5")), LRL_ERR_FORMAT);
  write_file(in_dir("bad.h5"), bytes, n);
  assert_int_equal(load(&b, in_dir("bad.h5")), LRL_OK);
  expect_same_model(&a, &b);
  free(bytes);
  free(changed);
  close_model(&a);
  close_model(&b);
}

static void test_not_a_checkpoint(void **state) {
  (void)state;
  struct model m;
  char junk[4096];
  open_model(&m, LRL_F32, 3, false, 1);
  memset(junk, 'x', sizeof junk);
  write_file(in_dir("junk.h5"), junk, sizeof junk);
  memcpy(junk, "\211HDF\r\n\032\n", 8);
  write_file(in_dir("hdf.h5"), junk, sizeof junk);
  expect_error(load(&m, in_dir("junk.h5")), LRL_ERR_FORMAT, "is not a checkpoint");
  expect_error(load(&m, in_dir("hdf.h5")), LRL_ERR_FORMAT, "is not a checkpoint");
  expect_error(load(&m, in_dir("absent.h5")), LRL_ERR_IO, "No such file");
  expect_error(load(&m, dir), LRL_ERR_FORMAT, "is not a checkpoint");
  expect_error(save(&m, in_dir("no/folder.h5")), LRL_ERR_IO, "No such file");
  close_model(&m);
}

/* A file that may not grow is an error, and the earlier checkpoint stays. */
static void test_file_limit(void **state) {
  (void)state;
  struct model a, b, c;
  struct rlimit old;
  open_model(&a, LRL_F32, 20000, false, 1);
  open_model(&b, LRL_F32, 20000, false, 2);
  open_model(&c, LRL_F32, 20000, false, 3);
  assert_int_equal(save(&a, in_dir("a.h5")), LRL_OK);
  getrlimit(RLIMIT_FSIZE, &old);
  for (rlim_t limit = 0; limit < 1700000; limit += 130001) {
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, old.rlim_max});
    lrl_status s = save(&b, in_dir("a.h5"));
    setrlimit(RLIMIT_FSIZE, &old);
    expect_error(s, LRL_ERR_IO, "File too large");
    assert_int_equal(access(in_dir("a.h5.tmp"), F_OK), -1);
  }
  assert_int_equal(load(&c, in_dir("a.h5")), LRL_OK);
  expect_same_model(&a, &c);
  close_model(&a);
  close_model(&b);
  close_model(&c);
}

/* The same on a file system of 1 MiB, where root may make one. */
static void test_full_disk(void **state) {
  (void)state;
  struct model a, b, c;
  assert_int_equal(mkdir(in_dir("disk"), 0777), 0);
  if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
      mount("tmpfs", in_dir("disk"), "tmpfs", 0, "size=1m") != 0)
    skip();
  open_model(&a, LRL_F32, 5000, false, 1);
  open_model(&b, LRL_F32, 9000, false, 2);
  open_model(&c, LRL_F32, 5000, false, 3);
  assert_int_equal(save(&a, in_dir("disk/a.h5")), LRL_OK);
  for (int i = 0; i < 3; i++) {
    expect_error(save(&b, in_dir("disk/a.h5")), LRL_ERR_IO, "No space left on device");
    assert_int_equal(access(in_dir("disk/a.h5.tmp"), F_OK), -1);
  }
  assert_int_equal(load(&c, in_dir("disk/a.h5")), LRL_OK);
  expect_same_model(&a, &c);
  close_model(&a);
  close_model(&b);
  close_model(&c);
  assert_int_equal(umount(in_dir("disk")), 0);
}

static void touch_checkpoint(struct model *m, int step) {
  char name[64];
  snprintf(name, sizeof name, "run/step_%d.h5", step);
  assert_int_equal(save(m, in_dir(name)), LRL_OK);
}

static void test_folder(void **state) {
  (void)state;
  struct model m;
  char path[256];
  int64_t step;
  open_model(&m, LRL_F32, 3, false, 1);
  assert_int_equal(lrl_checkpoint_latest(in_dir("run"), path, sizeof path, &step), LRL_OK);
  assert_int_equal(step, -1);
  assert_string_equal(path, "");
  assert_int_equal(mkdir(in_dir("run"), 0777), 0);
  static const int steps[] = {5, 10, 100, 20, 9};
  for (int i = 0; i < 5; i++)
    touch_checkpoint(&m, steps[i]);
  write_file(in_dir("run/step_x.h5"), "x", 1);
  /* A run killed while it writes. */
  if (fork() == 0) {
    struct lrl_checkpoint *k;
    if (lrl_checkpoint_create(in_dir("run/step_200.h5"), NULL, &k) == LRL_OK)
      save_to(&m, k);
    raise(SIGKILL);
  }
  wait(NULL);
  assert_int_equal(access(in_dir("run/step_200.h5.tmp"), F_OK), 0);
  assert_int_equal(lrl_checkpoint_latest(in_dir("run"), path, sizeof path, &step), LRL_OK);
  assert_int_equal(step, 100);
  assert_string_equal(path, in_dir("run/step_100.h5"));
  assert_int_equal(access(in_dir("run/step_200.h5.tmp"), F_OK), -1);
  /* A damaged newest one is passed over. */
  assert_int_equal(truncate(in_dir("run/step_100.h5"), 1000), 0);
  assert_int_equal(lrl_checkpoint_latest(in_dir("run"), path, sizeof path, &step), LRL_OK);
  assert_int_equal(step, 20);
  assert_string_equal(lrl_last_error(), "");
  assert_int_equal(lrl_checkpoint_rotate(in_dir("run"), 2, 9), LRL_OK);
  static const bool stays[] = {false, false, true, true, true};
  for (int i = 0; i < 5; i++) {
    snprintf(path, sizeof path, "run/step_%d.h5", steps[i]);
    assert_int_equal(access(in_dir(path), F_OK), stays[i] ? 0 : -1);
  }
  assert_int_equal(lrl_checkpoint_rotate(in_dir("run"), 0, -1), LRL_OK); /* a run begun anew */
  for (int i = 0; i < 5; i++) {
    snprintf(path, sizeof path, "run/step_%d.h5", steps[i]);
    assert_int_equal(access(in_dir(path), F_OK), -1);
  }
  assert_int_equal(access(in_dir("run/step_x.h5"), F_OK), 0);
  close_model(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_texts_and_blobs),
      cmocka_unit_test(test_does_not_fit), cmocka_unit_test(test_converts),
      cmocka_unit_test(test_damage),       cmocka_unit_test(test_not_a_checkpoint),
      cmocka_unit_test(test_file_limit),   cmocka_unit_test(test_full_disk),
      cmocka_unit_test(test_folder),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
