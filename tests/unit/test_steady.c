/* A steady training step takes no memory from the system: no heap allocation above 64 KiB and no
 * mapping on any thread, the loader's included, and hardly a page fault. One exception, which
 * still may not fault: what libjpeg, libpng and libwebp take for themselves while they decode an
 * image on the loader's thread, since they offer no way to hand them memory.
 * malloc and its family and mmap are replaced in this program; the linker puts a counter before
 * lrl_optimizer_step and a mark around lrl_image_decode. A finding ends the test with its size and
 * where it came from. */
#define IX_W 450
#define IX_H 340
#include <errno.h>
#include <execinfo.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "image_fixture.h"
#include "kernels/arena.h"
#include "launch/config.h"
#include "train/optimizer.h"
#include "train/reward.h"

enum {
  LARGE = 64 << 10, /* bytes */
  STEPS = 40,       /* of a run */
  WARM = 20,        /* steps until buffers have found their sizes */
  FAULTS = 32,      /* a steady step may have on average: what is not ours, such as the kernel's */
};

/* ---- watching ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WATCHED 0 /* the sanitizers replace malloc themselves */
#else
#define WATCHED 1
#endif

static atomic_bool armed;
static _Thread_local bool decoding;
static atomic_int n_found;
static struct {
  size_t bytes;
  int n;
  void *at[24];
} found; /* the first */

#if WATCHED
static void saw(size_t bytes) {
  if (bytes <= LARGE || decoding || !atomic_load(&armed) || atomic_fetch_add(&n_found, 1) > 0)
    return;
  atomic_store(&armed, false); /* backtrace may allocate */
  found.bytes = bytes;
  found.n = backtrace(found.at, sizeof found.at / sizeof found.at[0]);
}

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

void *malloc(size_t n) {
  saw(n);
  return __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
  saw(size != 0 && n > SIZE_MAX / size ? SIZE_MAX : n * size);
  return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
  saw(n);
  return __libc_realloc(p, n);
}
void *memalign(size_t align, size_t n) {
  saw(n);
  return __libc_memalign(align, n);
}
void *aligned_alloc(size_t align, size_t n) { return memalign(align, n); }
int posix_memalign(void **out, size_t align, size_t n) {
  *out = memalign(align, n);
  return *out == NULL ? ENOMEM : 0;
}
void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset) {
  saw(n);
  const long address = syscall(SYS_mmap, at, n, prot, flags, fd, offset);
  void *p;
  memcpy(&p, &address, sizeof p);
  return p;
}
#endif

static int n_steps, n_runs;
static long faults;
static long minor_faults(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u.ru_minflt;
}

lrl_status __real_lrl_optimizer_step(struct lrl_optimizer *o, double lr,
                                     struct lrl_optimizer_stats *stats);
lrl_status __wrap_lrl_optimizer_step(struct lrl_optimizer *o, double lr,
                                     struct lrl_optimizer_stats *stats);
/* From the end of step WARM to the end of the last but one: the last evaluates and saves. */
lrl_status __wrap_lrl_optimizer_step(struct lrl_optimizer *o, double lr,
                                     struct lrl_optimizer_stats *stats) {
  lrl_status s = __real_lrl_optimizer_step(o, lr, stats);
  if (++n_steps == WARM) {
    faults = minor_faults();
    atomic_store(&armed, true);
  } else if (n_steps == STEPS - 1) {
    atomic_store(&armed, false);
    faults = minor_faults() - faults;
  }
  return s;
}

lrl_status __real_lrl_image_decode(const void *bytes, size_t n_bytes, int64_t max_pixels,
                                   struct lrl_image *out);
lrl_status __wrap_lrl_image_decode(const void *bytes, size_t n_bytes, int64_t max_pixels,
                                   struct lrl_image *out);
lrl_status __wrap_lrl_image_decode(const void *bytes, size_t n_bytes, int64_t max_pixels,
                                   struct lrl_image *out) {
  int32_t w, h;
  lrl_status s = lrl_image_size(bytes, n_bytes, max_pixels, &w, &h);
  if (s == LRL_OK)
    s = lrl_image_resize_buffer(out, w, h); /* ours, and watched */
  decoding = true;
  if (s == LRL_OK)
    s = __real_lrl_image_decode(bytes, n_bytes, max_pixels, out);
  decoding = false;
  return s;
}

/* ---- the runs ---- */

static char dir[64] = "/tmp/laurel_steady_XXXXXX";

static const char *const colours[] = {"red", "green", "blue", "white", "black", "grey"};

static void write_pairs(const char *name, bool images) {
  char path[128], image[64] = "";
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  for (int i = 0; i < 96; i++) {
    if (images)
      snprintf(image, sizeof image, ", \"images\": [\"%d.image\"]", i % 11);
    fprintf(
        f,
        "{\"prompt\": \"%sThe ball number %d is %s. Which colour has it?\", \"chosen\": \"%s\", "
        "\"rejected\": \"%s\"%s}\n",
        images ? "<ImageHere> " : "", i, colours[i % 6], colours[i % 6],
        colours[(i + 1 + i % 5) % 6], image);
  }
  fclose(f);
}

static int make_files(void **state) {
  (void)state;
  lrl_malloc_setup();
  if (mkdtemp(dir) == NULL)
    return -1;
  write_pairs("text.jsonl", false);
  write_pairs("images.jsonl", true);
  struct ix_file files[16];
  const int n = ix_all(files);
  for (int i = 0; i < n; i++) {
    char path[128];
    snprintf(path, sizeof path, "%s/%d.image", dir, i);
    FILE *f = fopen(path, "w");
    if (f == NULL || fwrite(files[i].bytes, 1, files[i].n, f) != files[i].n || fclose(f) != 0)
      return -1;
    free(files[i].bytes);
  }
  const char *texts[60];
  for (int i = 0; i < 60; i++)
    texts[i] = i % 2 ? "The ball number 12 is red. Which colour has it?" : colours[i / 2 % 6];
  char path[128];
  snprintf(path, sizeof path, "%s/tok.model", dir);
  return lrl_tokenizer_train(texts, 60, 300, path) == LRL_OK ? 0 : -1;
}

static int remove_files(void **state) {
  char command[128];
  (void)state;
  snprintf(command, sizeof command, "rm -rf %s", dir);
  return system(command);
}

static void steady(const char *name, const char *const *extra) {
  static const char *const base[] = {"model.hidden_size=128",
                                     "model.intermediate_size=256",
                                     "model.num_hidden_layers=2",
                                     "train.batch_size=12",
                                     "train.micro_batch_tokens=400",
                                     "train.log_steps=1",
                                     "train.threads=2",
                                     "optim.lr=1e-3"};
  const struct lrl_option_table table = {lrl_reward_options, lrl_n_reward_options};
  struct lrl_reward_config cfg;
  char text[200];
  lrl_config_defaults(&table, &cfg);
  for (size_t i = 0; i < sizeof base / sizeof *base; i++)
    assert_int_equal(lrl_config_override(&table, &cfg, base[i]), LRL_OK);
  for (; *extra != NULL; extra++)
    assert_int_equal(lrl_config_override(&table, &cfg, *extra), LRL_OK);
  const char *const files[][2] = {{"model.tokenizer", "tok.model"}, {"data.train", name}};
  for (int i = 0; i < 2; i++) {
    snprintf(text, sizeof text, "%s=%s/%s", files[i][0], dir, files[i][1]);
    assert_int_equal(lrl_config_override(&table, &cfg, text), LRL_OK);
  }
  snprintf(text, sizeof text, "train.output_dir=%s/run%d", dir, n_runs++);
  assert_int_equal(lrl_config_override(&table, &cfg, text), LRL_OK);
  snprintf(text, sizeof text, "train.max_steps=%d", STEPS);
  assert_int_equal(lrl_config_override(&table, &cfg, text), LRL_OK);

  n_steps = 0;
  atomic_store(&n_found, 0);
  if (lrl_reward_train(&cfg, NULL, "") != LRL_OK)
    fail_msg("%s", lrl_last_error());
  assert_int_equal(n_steps, STEPS);
  if (n_found > 0) {
    fprintf(stderr, "an allocation of %zu bytes in a steady step:\n", found.bytes);
    backtrace_symbols_fd(found.at, found.n, 2);
    fail();
  }
  print_message("%s: %.1f page faults a steady step\n", name, (double)faults / (STEPS - 1 - WARM));
  assert_true(faults <= FAULTS * (STEPS - 1 - WARM));
}

static void test_text(void **state) {
  (void)state;
  steady("text.jsonl", (const char *const[]){NULL});
}
static void test_bf16_recomputed(void **state) {
  (void)state;
  steady("text.jsonl",
         (const char *const[]){"model.dtype=bf16", "train.gradient_checkpointing=true",
                               "model.lora_r=4", NULL});
}
static void test_images(void **state) {
  (void)state;
  steady("images.jsonl",
         (const char *const[]){"model.vision=clip", "vision.image_size=56", "vision.hidden_size=64",
                               "vision.intermediate_size=128", "vision.num_hidden_layers=2",
                               "vision.num_attention_heads=4", "model.freeze_vision_tower=false",
                               "model.freeze_projector=false", "data.hd_num=4", NULL});
}

/* The watcher sees what it is there to see. */
static void test_watch(void **state) {
  (void)state;
  void *(*volatile take)(size_t) = malloc;
  atomic_store(&n_found, 0);
  atomic_store(&armed, true);
  free(take(LARGE));
  assert_int_equal(n_found, 0);
  free(take(LARGE + 1));
  assert_int_equal(n_found, 1);
  assert_int_equal(found.bytes, LARGE + 1);
  atomic_store(&armed, false);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_watch),
      cmocka_unit_test(test_text),
      cmocka_unit_test(test_bf16_recomputed),
      cmocka_unit_test(test_images),
  };
  if (!WATCHED) {
    print_message("SKIP: a sanitizer has replaced malloc\n");
    return 0;
  }
  void *warm[1];
  backtrace(warm, 1); /* loads what it needs */
  return cmocka_run_group_tests_name("steady steps", tests, make_files, remove_files);
}
