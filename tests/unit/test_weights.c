/* Weight files: every real one loads with PyTorch's numbers or is refused with its sentence; what
 * we write reads back; half precision; indices of shards. */
#include "weights_fixture.h"

#include "model/half.h"
#include "model/safetensors.h"

#include <jansson.h>
#include <math.h>

/* ---- real files ---- */

static const char *torch_name(enum lrl_weight_dtype t) {
  static const char *const names[] = {
      [LRL_WEIGHT_F64] = "float64",   [LRL_WEIGHT_F32] = "float32", [LRL_WEIGHT_F16] = "float16",
      [LRL_WEIGHT_BF16] = "bfloat16", [LRL_WEIGHT_I64] = "int64",   [LRL_WEIGHT_I32] = "int32",
      [LRL_WEIGHT_I16] = "int16",     [LRL_WEIGHT_I8] = "int8",     [LRL_WEIGHT_U8] = "uint8",
      [LRL_WEIGHT_BOOL] = "bool"};
  return names[t];
}

static void expect_sizes(json_t *list, int ndim, const int64_t *got) {
  assert_int_equal(json_array_size(list), ndim);
  for (int i = 0; i < ndim; i++)
    assert_int_equal(json_integer_value(json_array_get(list, (size_t)i)), got[i]);
}

static void expect_tensor(const struct lrl_weight *t, json_t *want) {
  const char *dtype = json_string_value(json_object_get(want, "dtype"));
  if (strcmp(dtype, torch_name(t->dtype)) != 0)
    assert_string_equal(dtype, lrl_weight_dtype_name(t->dtype));
  expect_sizes(json_object_get(want, "shape"), t->ndim, t->dim);
  json_t *stride = json_object_get(want, "stride"), *first = json_object_get(want, "first");
  if (stride != NULL)
    expect_sizes(stride, t->ndim, t->stride);
  double *v = malloc((size_t)(t->n + 1) * sizeof *v), sum = 0, scale = 1;
  lrl_weight_read(t, 0, t->n, LRL_F64, v);
  for (int64_t i = 0; i < t->n; i++) {
    sum += v[i];
    scale += fabs(v[i]);
  }
  assert_true(fabs(sum - json_number_value(json_object_get(want, "sum"))) <= 1e-9 * scale);
  for (size_t i = 0; i < json_array_size(first); i++) /* printed with 17 digits: exact */
    assert_true(v[i] == json_number_value(json_array_get(first, i)));
  free(v);
}

static void expect_all(const char *path, json_t *tensors) {
  struct lrl_weights *w;
  const char *name;
  json_t *want;
  int64_t n = 0;
  if (lrl_weights_open(path, &w) != LRL_OK)
    fail_msg("%s", lrl_last_error());
  json_object_foreach(tensors, name, want) {
    if (json_object_get(want, "py") != NULL)
      continue; /* a string beside the tensors */
    const struct lrl_weight *t = lrl_weights_find(w, name);
    if (t == NULL)
      fail_msg("%s: no %s", path, name);
    expect_tensor(t, want);
    n++;
  }
  assert_int_equal(w->n, n);
  lrl_weights_close(w);
}

static void expect_refused(const char *path, lrl_status code, const char *why) {
  const lrl_status s = fx_open_and_read(path);
  if (s != code || strstr(lrl_last_error(), why) == NULL)
    fail_msg("%s: %d, '%s' instead of '%s'", path, (int)s, lrl_last_error(), why);
  assert_non_null(strstr(lrl_last_error(), path));
  lrl_error_clear();
}

static void test_real_files(void **state) {
  (void)state;
  char path[1000];
  const char *name;
  json_t *file;
  if (!fx_asset("expected_torch.json", path, sizeof path))
    skip();
  json_t *all = json_load_file(path, 0, NULL);
  assert_non_null(all);
  json_object_foreach(all, name, file) {
    const char *format = json_string_value(json_object_get(file, "format"));
    if (!fx_asset(name, path, sizeof path))
      continue;
    if (strcmp(format, "legacy") == 0)
      expect_refused(path, LRL_ERR_FORMAT, "is in the format of PyTorch before 1.6");
    else if (json_object_get(file, "globals") == NULL)
      expect_all(path, json_object_get(file, "tensors"));
  }
  json_decref(all);
}

static void test_real_refusals(void **state) {
  (void)state;
  static const struct {
    const char *name, *why;
  } files[] = {
#define RUN "turbo_alignment/llama2_classification/trainer/checkpoint-48/"
      {RUN "training_args.bin", "asks for transformers.training_args.TrainingArguments;"},
      {RUN "rng_state.pth", "asks for numpy.core.multiarray._reconstruct;"},
      {"candle_tests/test.npz", "is a zip archive, but not of torch.save"},
      {"candle_tests/test.npy", "is neither safetensors nor a zip archive of torch.save"},
      {"stories260K/tok512.bin", "is neither safetensors nor a zip archive of torch.save"},
      {"turbo_alignment/llama2_tiny_rm", "holds no model.safetensors, no pytorch_model.bin"},
  };
  char path[1000];
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    if (fx_asset(files[i].name, path, sizeof path))
      expect_refused(path, strchr(files[i].name, '.') ? LRL_ERR_FORMAT : LRL_ERR_IO, files[i].why);
  expect_refused(fx_path("nothing.bin"), LRL_ERR_IO, "No such file");
  static const struct {
    const char *bytes, *why;
  } others[] = {{"GGUF\3", "is a GGUF file"},
                {"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"},
                {"<html><body>404", "is a web page"}};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    for (int k = 0; k < 2; k++)
      expect_refused(
          fx_write(k ? "o.safetensors" : "o.bin", others[i].bytes, strlen(others[i].bytes)),
          LRL_ERR_FORMAT, others[i].why);
  fx_write("o.gguf", "GGUF", 4);
  unlink(fx_path("o.safetensors"));
  unlink(fx_path("o.bin"));
  expect_refused(fx_path(""), LRL_ERR_IO, "no index of either, but o.gguf");
  expect_refused("/dev/null", LRL_ERR_IO, "is not a file");
}

/* ---- archives made here ---- */

static void expect_values(const char *path, const char *name, const float *want, int64_t n) {
  struct lrl_weights *w;
  float got[16];
  if (lrl_weights_open(path, &w) != LRL_OK)
    fail_msg("%s", lrl_last_error());
  const struct lrl_weight *t = lrl_weights_find(w, name);
  assert_non_null(t);
  assert_int_equal(t->n, n);
  lrl_weight_read(t, 0, n, LRL_F32, got);
  assert_memory_equal(got, want, (size_t)n * sizeof *want);
  if (n > 2) { /* from the middle on */
    lrl_weight_read(t, 2, n - 2, LRL_F32, got);
    assert_memory_equal(got, want + 2, (size_t)(n - 2) * sizeof *want);
  }
  lrl_weights_close(w);
}

static void test_pickles(void **state) {
  (void)state;
  /* {'a': t[2:8] as 2 x 3, 'b': [t transposed, parameter of no dims]} */
  static const char pickle[] =
      "\x80\2}q\0(X\1\0\0\0a" FX_TENSOR("\2", "K\2K\3\x86", "K\3K\1\x86") "X\1\0\0\0b](" FX_TENSOR(
          "\0", "K\2K\4\x86",
          "K\1K\2\x86") "ctorch._utils\n_rebuild_parameter\n(" FX_TENSOR("\7", ")",
                                                                         ")") "\x88)tReu.";
  for (int zip64 = 0; zip64 < 2; zip64++) {
    const char *path = fx_torch("good.bin", pickle, sizeof pickle - 1, zip64);
    expect_values(path, "a", (const float[]){2, 3, 4, 5, 6, 7}, 6);
    expect_values(path, "b[0]", (const float[]){0, 2, 4, 6, 1, 3, 5, 7}, 8);
    expect_values(path, "b[1]", (const float[]){7}, 1);
  }
}

/* ---- safetensors ---- */

static struct lrl_weight_entry entry(const char *name, enum lrl_weight_dtype t, int ndim, int64_t a,
                                     int64_t b) {
  return (struct lrl_weight_entry){.name = name, .dtype = t, .ndim = ndim, .dim = {a, b}};
}

static void write_model(const char *folder, int64_t shard) {
  const struct lrl_weight_entry entries[] = {
      entry("b.weight", LRL_WEIGHT_F32, 2, 3, 5),
      entry("a \"quoted\" \\ \xc3\xa9", LRL_WEIGHT_BF16, 1, 7, 0),
      entry("empty", LRL_WEIGHT_F16, 2, 4, 0), entry("scalar", LRL_WEIGHT_F64, 0, 0, 0),
      entry("c", LRL_WEIGHT_F16, 2, 2, 2)};
  struct lrl_safetensors_writer *w;
  float b[15];
  uint16_t a[7], c[4] = {0x3c00, 0xc000, 0x7bff, 1};
  const double s = -0.125;
  for (int i = 0; i < 15; i++)
    b[i] = (float)i / 3;
  for (int i = 0; i < 7; i++)
    a[i] = lrl_f32_to_bf16((float)i * 0.5f);
  assert_int_equal(lrl_safetensors_create(folder, entries, 5, shard, &w), LRL_OK);
  assert_int_equal(lrl_safetensors_put(w, 0, 20, b + 5, 40), LRL_OK);
  assert_int_equal(lrl_safetensors_put(w, 0, 0, b, 20), LRL_OK);
  assert_int_equal(lrl_safetensors_put(w, 1, 0, a, sizeof a), LRL_OK);
  assert_int_equal(lrl_safetensors_put(w, 3, 0, &s, sizeof s), LRL_OK);
  assert_int_equal(lrl_safetensors_put(w, 4, 0, c, sizeof c), LRL_OK);
  assert_int_equal(lrl_safetensors_finish(w), LRL_OK);
}

static void expect_model(const char *path) {
  const float b[] = {0, 1.0f / 3,  2.0f / 3,  1, 4.0f / 3,  5.0f / 3, 2, 7.0f / 3, 8.0f / 3,
                     3, 10.0f / 3, 11.0f / 3, 4, 13.0f / 3, 14.0f / 3};
  struct lrl_weights *w;
  expect_values(path, "b.weight", b, 15);
  expect_values(path, "a \"quoted\" \\ \xc3\xa9", (const float[]){0, 0.5f, 1, 1.5f, 2, 2.5f, 3}, 7);
  expect_values(path, "scalar", (const float[]){-0.125f}, 1);
  expect_values(path, "c", (const float[]){1, -2, 65504, 0x1p-24f}, 4);
  assert_int_equal(lrl_weights_open(path, &w), LRL_OK);
  assert_int_equal(w->n, 5);
  assert_int_equal(lrl_weights_find(w, "empty")->n, 0);
  assert_null(lrl_weights_find(w, "emptyx"));
  char shape[40];
  lrl_weight_shape(lrl_weights_find(w, "b.weight"), shape, sizeof shape);
  assert_string_equal(shape, "[3, 5]");
  lrl_weights_close(w);
}

static void test_round_trip(void **state) {
  (void)state;
  char command[200];
  write_model(fx_dir, 1 << 20);
  expect_model(fx_dir);
  expect_model(fx_path("model.safetensors"));
  assert_int_equal(unlink(fx_path("model.safetensors")), 0);
  write_model(fx_dir, 64); /* b | a, empty, scalar, c */
  assert_int_equal(access(fx_path("model-00001-of-00002.safetensors"), R_OK), 0);
  expect_model(fx_dir);
  /* An index that names what is not there, or not all that is. */
  snprintf(command, sizeof command, "sed -i 's/\"scalar\"/\"vector\"/' %s/*.index.json", fx_dir);
  assert_int_equal(system(command), 0);
  assert_int_equal(fx_open_and_read(fx_dir), LRL_ERR_FORMAT);
  assert_non_null(strstr(lrl_last_error(), "names tensors that its files do not hold: vector"));
  snprintf(command, sizeof command, "sed -i '/\"vector\"/d' %s/*.index.json", fx_dir);
  assert_int_equal(system(command), 0);
  assert_int_equal(fx_open_and_read(fx_dir), LRL_ERR_FORMAT);
  assert_non_null(strstr(lrl_last_error(), "hold tensors that it does not name: scalar"));
  snprintf(command, sizeof command, "sed -i 's,model-00002,../model-00002,' %s/*.index.json",
           fx_dir);
  assert_int_equal(system(command), 0);
  assert_int_equal(fx_open_and_read(fx_dir), LRL_ERR_FORMAT);
  assert_non_null(strstr(lrl_last_error(), "is not the name of a file beside it"));
}

static void test_half(void **state) {
  (void)state;
  for (uint32_t h = 0; h < 65536; h++) { /* every value comes back, NaNs as NaNs of the same bits */
    const float f = lrl_f16_to_f32((uint16_t)h);
    assert_int_equal(lrl_f32_to_f16(f), h);
    if ((h & 0x7c00u) == 0x7c00u || (h & 0x7fffu) == 0)
      continue;
    /* Half way to the next value of larger magnitude goes to the even one. */
    const float next =
        (h & 0x7fffu) == 0x7bffu ? copysignf(65536.0f, f) : lrl_f16_to_f32((uint16_t)(h + 1));
    const float half = (f + next) / 2;
    assert_int_equal(lrl_f32_to_f16(half), h % 2 == 0 ? h : h + 1);
    assert_int_equal(lrl_f32_to_f16(nextafterf(half, 0)), h);
    assert_int_equal(lrl_f32_to_f16(nextafterf(half, half * 2)), h + 1);
  }
  assert_int_equal(lrl_f32_to_f16(1e30f), 0x7c00);
  assert_int_equal(lrl_f32_to_f16(1e-30f), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_real_files), cmocka_unit_test(test_real_refusals),
      cmocka_unit_test(test_pickles),    cmocka_unit_test(test_round_trip),
      cmocka_unit_test(test_half),
  };
  return cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
