/* Scratch files and hand-made torch archives for the tests of weight files. */
#ifndef WEIGHTS_FIXTURE_H
#define WEIGHTS_FIXTURE_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char fx_dir[64];

static inline int fx_setup(void **state) {
  (void)state;
  strcpy(fx_dir, "/tmp/laurel_weights_XXXXXX");
  return mkdtemp(fx_dir) == NULL;
}

static inline int fx_teardown(void **state) {
  (void)state;
  char command[100];
  snprintf(command, sizeof command, "rm -rf %s", fx_dir);
  return system(command);
}

static inline const char *fx_path(const char *name) {
  static char path[4][256];
  static int turn;
  turn = (turn + 1) % 4;
  snprintf(path[turn], sizeof path[turn], "%s/%s", fx_dir, name);
  return path[turn];
}

static inline const char *fx_write(const char *name, const void *bytes, size_t n) {
  const char *path = fx_path(name);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
  return path;
}

/* A real file of ../shared/assets/weights; false (and a SKIP line) when it is absent. */
static inline bool fx_asset(const char *name, char *path, size_t size) {
  const char *root = getenv("LAUREL_ASSETS"), *source = getenv("LAUREL_SOURCE");
  if (root != NULL)
    snprintf(path, size, "%s/weights/%s", root, name);
  else
    snprintf(path, size, "%s/../shared/assets/weights/%s", source == NULL ? "." : source, name);
  if (access(path, R_OK) == 0)
    return true;
  printf("SKIP: no %s\n", path);
  return false;
}

/* Opens, reads every value when that worked, and expects one sentence when it did not. */
static inline lrl_status fx_open_and_read(const char *path) {
  struct lrl_weights *w;
  lrl_error_clear();
  const lrl_status s = lrl_weights_open(path, &w);
  if (s != LRL_OK) {
    const char *e = lrl_last_error();
    const size_t n = strlen(e);
    if (n < 8 || n > 1500 || strchr(e, '\n') != NULL || e[n - 1] == ' ' || e[n - 1] == '.')
      fail_msg("not one sentence: '%s'", e);
    assert_null(w);
    return s;
  }
  for (int64_t i = 0; i < w->n; i++) {
    const struct lrl_weight *t = &w->items[i];
    const int64_t n = t->n < 5000 ? t->n : 5000;
    double v[5000];
    assert_ptr_equal(lrl_weights_find(w, t->name), t);
    lrl_weight_read(t, 0, n, LRL_F64, v);
    lrl_weight_read(t, t->n - n, n, LRL_F64, v);
    lrl_weight_drop(w, t);
  }
  lrl_weights_close(w);
  return LRL_OK;
}

/* ---- archives ---- */

struct fx_bytes {
  unsigned char data[20000];
  size_t n;
};

static inline void fx_add(struct fx_bytes *b, const void *p, size_t n) {
  assert_true(b->n + n <= sizeof b->data);
  memcpy(b->data + b->n, p, n);
  b->n += n;
}
#define FX_ADD(b, literal) fx_add(b, literal, sizeof(literal) - 1)

static inline void fx_number(struct fx_bytes *b, uint64_t v, int bytes) {
  for (int i = 0; i < bytes; i++, v >>= 8)
    fx_add(b, &(unsigned char){(unsigned char)v}, 1);
}

struct fx_member {
  const char *name;
  const void *data;
  size_t n;
};

/* Stored members; zip64: sizes and places in the extra fields, and the 64-bit end record. */
static inline struct fx_bytes fx_zip(const struct fx_member *m, int n, bool zip64) {
  struct fx_bytes z = {.n = 0}, dir = {.n = 0};
  for (int i = 0; i < n; i++) {
    const size_t at = z.n, n_name = strlen(m[i].name);
    FX_ADD(&z, "PK\3\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    fx_number(&z, m[i].n, 4);
    fx_number(&z, m[i].n, 4);
    fx_number(&z, n_name, 2);
    fx_number(&z, 0, 2);
    fx_add(&z, m[i].name, n_name);
    fx_add(&z, m[i].data, m[i].n);
    FX_ADD(&dir, "PK\1\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    fx_number(&dir, zip64 ? 0xffffffffu : m[i].n, 4);
    fx_number(&dir, zip64 ? 0xffffffffu : m[i].n, 4);
    fx_number(&dir, n_name, 2);
    fx_number(&dir, zip64 ? 28 : 0, 2);
    FX_ADD(&dir, "\0\0\0\0\0\0\0\0\0\0");
    fx_number(&dir, zip64 ? 0xffffffffu : at, 4);
    fx_add(&dir, m[i].name, n_name);
    if (zip64) {
      fx_number(&dir, 1, 2);
      fx_number(&dir, 24, 2);
      fx_number(&dir, m[i].n, 8);
      fx_number(&dir, m[i].n, 8);
      fx_number(&dir, at, 8);
    }
  }
  const size_t at = z.n;
  fx_add(&z, dir.data, dir.n);
  if (zip64) {
    const size_t end = z.n;
    FX_ADD(&z, "PK\6\6");
    fx_number(&z, 44, 8);
    fx_number(&z, 0, 12);
    fx_number(&z, (uint64_t)n, 8);
    fx_number(&z, (uint64_t)n, 8);
    fx_number(&z, dir.n, 8);
    fx_number(&z, at, 8);
    FX_ADD(&z, "PK\6\7\0\0\0\0");
    fx_number(&z, end, 8);
    fx_number(&z, 1, 4);
  }
  FX_ADD(&z, "PK\5\6\0\0\0\0");
  fx_number(&z, zip64 ? 0xffff : (uint64_t)n, 2);
  fx_number(&z, zip64 ? 0xffff : (uint64_t)n, 2);
  fx_number(&z, zip64 ? 0xffffffffu : dir.n, 4);
  fx_number(&z, zip64 ? 0xffffffffu : at, 4);
  fx_number(&z, 0, 2);
  return z;
}

/* An archive of this pickle and a storage "0" of 8 f32: 0, 1, ... 7. */
static inline const char *fx_torch(const char *name, const void *pickle, size_t n, bool zip64) {
  float storage[8];
  for (int i = 0; i < 8; i++)
    storage[i] = (float)i;
  const struct fx_member m[] = {{"archive/data.pkl", pickle, n},
                                {"archive/data/0", storage, 32},
                                {"archive/version", "3\n", 2}};
  const struct fx_bytes z = fx_zip(m, 3, zip64);
  return fx_write(name, z.data, z.n);
}

/* ('storage', torch.FloatStorage, '0', 'cpu', 8) as a persistent id, and a tensor of it. */
#define FX_STORAGE                                                                                 \
  "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"                                               \
  "0X\3\0\0\0cpuK\10tQ"
#define FX_TENSOR(offset, size, stride)                                                            \
  "ctorch._utils\n_rebuild_tensor_v2\n(" FX_STORAGE "K" offset size stride "\x89"                  \
  "ccollections\nOrderedDict\n)RtR"
#endif
