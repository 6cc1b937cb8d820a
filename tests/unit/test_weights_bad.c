/* Weight files that are damaged or hostile: one sentence each, never a crash, nothing run (under
 * the sanitizers by ./check). */
#include "weights_fixture.h"

#include "kernels/philox.h"

#include <time.h>

static void expect(const char *path, const char *why) {
  const lrl_status s = fx_open_and_read(path);
  if (s != LRL_ERR_FORMAT || strstr(lrl_last_error(), why) == NULL)
    fail_msg("%d, '%s' instead of '%s'", (int)s, lrl_last_error(), why);
  lrl_error_clear();
}

static void expect_pickle(const char *pickle, size_t n, const char *why) {
  expect(fx_torch("bad.bin", pickle, n, false), why);
}
#define PICKLE(literal, why) expect_pickle(literal, sizeof(literal) - 1, why)

static void test_pickles(void **state) {
  (void)state;
  PICKLE("\x80\2cposix\nsystem\nX\4\0\0\0true\x85R.", "asks for posix.system;");
  PICKLE("\x80\4\x8c\2os\x8c\6system\x93\x8c\4true\x85R.", "asks for os.system;");
  PICKLE("\x80\2cbuiltins\neval\n.", "asks for builtins.eval;");
  PICKLE("\x80\2(i__main__\nX\n.", "has the opcode 0x69");
  PICKLE("\x80\2ccollections\nOrderedDict\n)\x81.", "has the opcode 0x81");
  PICKLE("\x80\2", "it is cut off");
  PICKLE("\x80\2.", "its stack is empty");
  PICKLE("\x80\2X\xff\xff\xff\xff"
         "abc.",
         "it is cut off");
  PICKLE("\x80\2h\1.", "takes something from its memo");
  PICKLE("\x80\2Nr\xff\xff\xff\xff.", "its memo is too large");
  PICKLE("\x80\2}Ns.", "something is put into what is no container");
  PICKLE("\x80\2}(Nu.", "a key has no value");
  PICKLE("\x80\2(Nt(a.", "something is put into what is no container");
  PICKLE("\x80\2](N(e.", "something is put into what is no container");
  PICKLE("\x80\2N)R.", "something is called that cannot be");
  PICKLE("\x80\2ctorch\nFloatStorage\n)R.", "something is called that cannot be");
  PICKLE("\x80\2NQ.", "a storage is not named as torch.save does");
  PICKLE("\x80\2]q\0h\0a.", "containers inside of containers without end");
  PICKLE("\x80\2}X\1\0\0\0a" FX_TENSOR("\3", "K\2K\3\x86", "K\3K\1\x86") "s.",
         "a tensor reaches behind the end of its storage");
  PICKLE("\x80\2}X\1\0\0\0a" FX_TENSOR("\0", "K\2K\3\x86", "K\3\x85") "s.",
         "a tensor is not described as torch.save does");
  PICKLE("\x80\2}X\1\0\0\0a" FX_TENSOR("\0", "J\xff\xff\xff\xff\x85", "K\1\x85") "s.",
         "a tensor is not described as torch.save does");
  PICKLE("\x80\2}X\1\0\0\0a" FX_TENSOR("\0", "\x8a\10\0\0\0\0\0\0\0\x7f\x85", "K\1\x85") "s.",
         "a tensor is not described as torch.save does");
  PICKLE("\x80\2}X\1\0\0\0a" FX_TENSOR("\1", "K\2\x85",
                                       "\x8a\10\xff\xff\xff\xff\xff\xff\xff\x7f\x85") "s.",
         "a tensor reaches behind the end of its storage");
  PICKLE("\x80\2}(X\1\0\0\0a" FX_TENSOR("\0", "K\1\x85", "K\1\x85") "X\1\0\0\0a" FX_TENSOR(
             "\0", "K\1\x85", "K\1\x85") "u.",
         "holds the tensor a twice");
}

/* A few bytes that would unfold to millions of tensors, or of items. */
static void test_bombs(void **state) {
  (void)state;
  struct fx_bytes b = {.n = 0};
  FX_ADD(&b, "\x80\2" FX_TENSOR("\0", "K\1\x85", "K\1\x85") "q\0");
  for (int i = 0; i < 30; i++) {
    FX_ADD(&b, "0](");
    for (int k = 0; k < 4; k++) {
      FX_ADD(&b, "h");
      fx_number(&b, (uint64_t)i, 1);
    }
    FX_ADD(&b, "eq");
    fx_number(&b, (uint64_t)i + 1, 1);
  }
  FX_ADD(&b, ".");
  expect_pickle((const char *)b.data, b.n, "holds");
  b.n = 0;
  FX_ADD(&b, "\x80\2](");
  for (int i = 0; i < 1000; i++)
    FX_ADD(&b, "NN\x86");
  FX_ADD(&b, "e\x85q\0"
             "0");
  for (int i = 0; i < 400; i++)
    FX_ADD(&b, "ccollections\nOrderedDict\nh\0R");
  expect_pickle((const char *)b.data, b.n, "its containers are too large for it");
}

static void expect_header(const char *json, size_t n_data, const char *why) {
  struct fx_bytes b = {.n = 0};
  fx_number(&b, strlen(json), 8);
  fx_add(&b, json, strlen(json));
  for (size_t i = 0; i < n_data; i++)
    fx_number(&b, 1, 1);
  const char *path = fx_write("bad.safetensors", b.data, b.n);
  if (why == NULL)
    assert_int_equal(fx_open_and_read(path), LRL_OK);
  else
    expect(path, why);
}
#define ONE(rest) "{\"a\":{\"dtype\":\"F32\"," rest "}}"

static void test_headers(void **state) {
  (void)state;
  expect_header(ONE("\"shape\":[2],\"data_offsets\":[0,8]"), 8, NULL);
  expect_header("{\"__metadata__\":{\"x\":\"y\"}}", 0, NULL);
  expect_header("[]", 0, "its header is not JSON (no object)");
  expect_header("{\"a\":", 0, "its header is not JSON");
  expect_header("{\"a\":1}", 0, "has no dtype");
  expect_header("{\"a\":{\"dtype\":\"F8_E5M2\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
                "is of type F8_E5M2, which this program does not read");
  expect_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"a\":{}}", 0,
                "its header is not JSON");
  expect_header(ONE("\"shape\":[2],\"data_offsets\":[0,8]"), 9, "its tensors end at byte 8 of 9");
  expect_header(ONE("\"shape\":[2],\"data_offsets\":[0,8]"), 7, "does not lie inside the file");
  expect_header(ONE("\"shape\":[2],\"data_offsets\":[4,12]"), 12,
                "overlap or leave a gap at byte 0");
  expect_header(ONE("\"shape\":[2],\"data_offsets\":[8,0]"), 8, "does not lie inside the file");
  expect_header(ONE("\"shape\":[2],\"data_offsets\":[-8,0]"), 8, "does not lie inside the file");
  expect_header(ONE("\"shape\":[2],\"data_offsets\":[0]"), 8, "has no data_offsets");
  expect_header(ONE("\"shape\":[3],\"data_offsets\":[0,8]"), 8, "has 8 bytes, its shape needs 12");
  expect_header(ONE("\"shape\":[-2],\"data_offsets\":[0,8]"), 8,
                "the shape of the tensor a is not");
  expect_header(ONE("\"shape\":[1.5],\"data_offsets\":[0,8]"), 8,
                "the shape of the tensor a is not");
  expect_header(ONE("\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]"), 8,
                "the shape of the tensor a is not");
  expect_header(ONE("\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]"), 4,
                "no shape of at most 8 dimensions");
  expect_header("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
                3, "overlap or leave a gap at byte 2");
  struct fx_bytes b = {.n = 0};
  fx_number(&b, 1000, 8);
  FX_ADD(&b, "{}");
  expect(fx_write("short.safetensors", b.data, b.n), "its header does not fit");
  expect(fx_write("empty.safetensors", "", 0), "its header does not fit");
  expect(fx_write("empty.bin", "", 0), "is neither safetensors nor a zip archive");
  expect(fx_write("pickle.bin", "\x80\4N.", 4), "is a bare pickle");
}

/* ---- mutated copies ---- */

static unsigned char *slurp(const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  fseek(f, 0, SEEK_END);
  *n = (size_t)ftell(f);
  rewind(f);
  unsigned char *b = malloc(*n + 1);
  assert_int_equal(fread(b, 1, *n, f), *n);
  fclose(f);
  return b;
}

/* Where damage hurts: the first and the last kilobytes, else anywhere. */
static size_t spot(struct lrl_rng *rng, size_t n) {
  const uint32_t where = lrl_rng_u32(rng) % 4, r = lrl_rng_u32(rng);
  const size_t near = n < 6000 ? n : 6000;
  return where == 0 ? r % n : where < 3 ? r % near : n - 1 - r % near;
}

static size_t mutate(struct lrl_rng *rng, unsigned char *b, size_t n) {
  const uint32_t hits = 1 + lrl_rng_u32(rng) % 6;
  for (uint32_t i = 0; i < hits; i++) {
    const size_t at = spot(rng, n);
    switch (lrl_rng_u32(rng) % 4) {
    case 0:
      b[at] = (unsigned char)lrl_rng_u32(rng);
      break;
    case 1:
      b[at] ^= (unsigned char)(1u << lrl_rng_u32(rng) % 8);
      break;
    case 2:
      b[at] = (unsigned char)(lrl_rng_u32(rng) % 2 == 0 ? 0xff : 0);
      break;
    default: /* a piece from elsewhere */
      memmove(b + at, b + spot(rng, n) / 2, n - at < 16 ? (n - at) / 2 : 8);
    }
  }
  return lrl_rng_u32(rng) % 8 == 0 ? lrl_rng_u32(rng) % (n + 1) : n;
}

static void test_mutations(void **state) {
  (void)state;
  static const char *const names[] = {
      "align_anything/preference_train_tokenized.pt",
      "candle_tests/fortran_tensor_3d.pth",
      "candle_tests/jfk-codes.safetensors",
      "candle_tests/test_with_key.pt",
      "promptpg/ckpt_best_reward.pt",
      "turbo_alignment/llama2_tiny_rm/adapter_model.bin",
      "turbo_alignment/clip_tiny/model.safetensors",
      "lpips_legacy_pth/v0.1_alex.pth",
      "candle_tests/test.npz",
      "turbo_alignment/llama2_classification/trainer/checkpoint-48/rng_state.pth"};
  const uint64_t seed = (uint64_t)time(NULL);
  char path[1000];
  print_message("seed %llu\n", (unsigned long long)seed);
  for (size_t f = 0; f < sizeof names / sizeof *names; f++) {
    if (!fx_asset(names[f], path, sizeof path))
      continue;
    size_t n;
    unsigned char *whole = slurp(path, &n), *b = malloc(n + 1);
    struct lrl_rng rng = lrl_rng_make(seed, LRL_RNG_INIT, f);
    const int rounds = n > 100000 ? 40 : 250;
    for (int i = 0; i < rounds; i++) {
      memcpy(b, whole, n);
      const size_t m = mutate(&rng, b, n);
      fx_open_and_read(fx_write(i % 2 == 0 ? "mutant.safetensors" : "mutant.bin", b, m));
    }
    free(whole);
    free(b);
  }
  lrl_error_clear();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_pickles),
      cmocka_unit_test(test_bombs),
      cmocka_unit_test(test_headers),
      cmocka_unit_test(test_mutations),
  };
  return cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
