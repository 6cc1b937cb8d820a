#include "data/chat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define OPEN "[UNUSED_TOKEN_146]"
#define CLOSE "[UNUSED_TOKEN_145]\n"

static int setup(void **state) {
  static const char *const texts[] = {"user\nassistant\nsystem\nWhat is in the image? A red car.",
                                      "The assistant shows the user a dog and a cat.\n\n"};
  char path[64];
  struct lrl_tokenizer *t = NULL;
  snprintf(path, sizeof path, "/tmp/laurel-chat-%d.model", (int)getpid());
  if (lrl_tokenizer_train(texts, 2, 330, path) != LRL_OK || lrl_tokenizer_open(path, &t) != LRL_OK)
    fprintf(stderr, "%s\n", lrl_last_error());
  unlink(path);
  *state = t;
  return t == NULL;
}

static int teardown(void **state) {
  lrl_tokenizer_close(*state);
  return 0;
}

static void assert_render(const struct lrl_message *m, int64_t n, enum lrl_chat_mode mode,
                          enum lrl_chat_suffix suffix, const char *want) {
  char *text;
  assert_int_equal(lrl_chat_render(m, n, mode, suffix, &text), LRL_OK);
  assert_string_equal(text, want);
  free(text);
}

static void test_render(void **state) {
  (void)state;
  const struct lrl_message m[] = {{"Human", " \n hi\t"}, {"gpt", "yo "}};
  assert_render(m, 2, LRL_CHAT_TRAINING, LRL_CHAT_REWARD,
                OPEN "user\nhi" CLOSE OPEN "assistant\nyo" CLOSE "</s>[UNUSED_TOKEN_130]");
  assert_render(m, 2, LRL_CHAT_TRAINING, LRL_CHAT_REWARD_NO_NEWLINE,
                OPEN "user\nhi" CLOSE OPEN "assistant\nyo[UNUSED_TOKEN_145]</s>[UNUSED_TOKEN_130]");
  const struct lrl_message s[] = {{"system", " a "}, {"user", "b\n"}};
  assert_render(s, 2, LRL_CHAT_SCORING, LRL_CHAT_GENERATE,
                OPEN "system\n a " CLOSE OPEN "user\nb\n" CLOSE OPEN "assistant\n");
  assert_render(s, 0, LRL_CHAT_SCORING, LRL_CHAT_NO_SUFFIX, "");
  char *text;
  assert_int_equal(lrl_chat_render(m, 2, LRL_CHAT_SCORING, LRL_CHAT_REWARD, &text), LRL_ERR_FORMAT);
  assert_non_null(strstr(lrl_last_error(), "Human"));
  assert_null(text);
  lrl_error_clear();
  const struct lrl_message bad = {"user", NULL};
  assert_int_equal(lrl_chat_render(&bad, 1, LRL_CHAT_TRAINING, LRL_CHAT_REWARD, &text),
                   LRL_ERR_FORMAT);
  lrl_error_clear();
}

/* ids must be the concatenation of: bos when `bos`, the ids of the parts, images of the given
 * sizes. */
static void assert_packed(const struct lrl_tokenizer *t, const struct lrl_chat_ids *c,
                          const char *const *parts, const int64_t *images, int64_t n_images,
                          bool bos_after_image) {
  struct lrl_ids want = {0};
  for (int64_t k = 0; k <= n_images; k++) {
    bool first = k == (bos_after_image ? 1 : 0);
    if (first || parts[k][0] != '\0')
      assert_int_equal(lrl_tokenizer_encode(t, parts[k], (int64_t)strlen(parts[k]), first, &want),
                       LRL_OK);
    if (k < n_images) {
      assert_int_equal(c->spans[k].start, want.n);
      assert_int_equal(c->spans[k].count, images[k]);
      assert_int_equal(c->spans[k].image, k);
      assert_int_equal(lrl_ids_fill(&want, LRL_ID_IMAGE, images[k]), LRL_OK);
    }
  }
  assert_int_equal(c->ids.n, want.n);
  assert_memory_equal(c->ids.data, want.data, (size_t)want.n * sizeof *want.data);
  lrl_ids_free(&want);
}

static void test_pack(void **state) {
  const struct lrl_tokenizer *t = *state;
  const int64_t images[] = {3, 2};
  struct lrl_chat_ids c;
  assert_int_equal(lrl_chat_pack(t, "a cat", images, 1, LRL_PACK_REWARD, 0, &c), LRL_OK);
  assert_packed(t, &c, (const char *const[]){"", "a cat"}, images, 1, false);
  assert_int_equal(c.ids.data[0], lrl_tokenizer_info(t)->bos);
  assert_int_equal(c.ids.data[1], LRL_ID_IMAGE);
  lrl_chat_ids_free(&c);
  assert_int_equal(lrl_chat_pack(t, "a cat", images, 1, LRL_PACK_SFT, 0, &c), LRL_OK);
  assert_packed(t, &c, (const char *const[]){"", "a cat"}, images, 1, true);
  assert_int_equal(c.ids.data[0], LRL_ID_IMAGE);
  lrl_chat_ids_free(&c);
  assert_int_equal(
      lrl_chat_pack(t, "a <ImageHere><ImageHere> dog", images, 2, LRL_PACK_REWARD, 0, &c), LRL_OK);
  assert_packed(t, &c, (const char *const[]){"a ", "", " dog"}, images, 2, false);
  lrl_chat_ids_free(&c);
}

static void test_pack_mismatch(void **state) {
  const struct lrl_tokenizer *t = *state;
  const int64_t images[] = {3, 2};
  struct lrl_chat_ids c;
  assert_int_equal(lrl_chat_pack(t, "a<ImageHere>b", images, 2, LRL_PACK_REWARD, 0, &c),
                   LRL_ERR_FORMAT);
  assert_non_null(strstr(lrl_last_error(), "2 image"));
  assert_non_null(strstr(lrl_last_error(), "1 <ImageHere>"));
  lrl_error_clear();
  assert_int_equal(lrl_chat_pack(t, "a b", images, 2, LRL_PACK_REWARD, 0, &c), LRL_ERR_FORMAT);
  lrl_error_clear();
  assert_int_equal(lrl_chat_pack(t, "a<ImageHere>b", images, 0, LRL_PACK_REWARD, 0, &c),
                   LRL_ERR_FORMAT);
  lrl_error_clear();
  const int64_t none = 0;
  assert_int_equal(lrl_chat_pack(t, "a", &none, 1, LRL_PACK_REWARD, 0, &c), LRL_ERR_ARG);
  assert_null(c.ids.data);
  lrl_error_clear();
}

static void test_cut(void **state) {
  const struct lrl_tokenizer *t = *state;
  const int64_t images[] = {4, 5};
  struct lrl_chat_ids full, c;
  const char *text = "a<ImageHere>b<ImageHere>cat dog";
  assert_int_equal(lrl_chat_pack(t, text, images, 2, LRL_PACK_REWARD, 0, &full), LRL_OK);
  for (int64_t max = 1; max <= full.ids.n + 1; max++) {
    assert_int_equal(lrl_chat_pack(t, text, images, 2, LRL_PACK_REWARD, max, &c), LRL_OK);
    assert_int_equal(c.ids.n, max < full.ids.n ? max : full.ids.n);
    assert_int_equal(c.n_full, full.ids.n);
    assert_memory_equal(c.ids.data, full.ids.data, (size_t)c.ids.n * sizeof *c.ids.data);
    int64_t n_image = 0, in_spans = 0;
    for (int64_t i = 0; i < c.ids.n; i++)
      n_image += c.ids.data[i] == LRL_ID_IMAGE;
    for (int64_t i = 0; i < c.n_spans; i++) {
      assert_true(c.spans[i].count > 0);
      in_spans += c.spans[i].count;
    }
    assert_int_equal(n_image, in_spans);
    lrl_chat_ids_free(&c);
  }
  lrl_chat_ids_free(&full);
}

static void test_tails(void **state) {
  const struct lrl_tokenizer *t = *state;
  const struct lrl_tokenizer_info *info = lrl_tokenizer_info(t);
  const struct lrl_message m[] = {{"user", "cat"}, {"assistant", "dog"}};
  struct lrl_chat_options options = {.suffix = LRL_CHAT_REWARD};
  struct lrl_chat_ids keep, drop;
  assert_int_equal(lrl_chat_encode(t, m, 2, NULL, 0, &options, &keep), LRL_OK);
  options.suffix = LRL_CHAT_REWARD_NO_NEWLINE;
  assert_int_equal(lrl_chat_encode(t, m, 2, NULL, 0, &options, &drop), LRL_OK);
  assert_int_equal(keep.ids.n, drop.ids.n + 1);
  for (int k = 0; k < 2; k++) {
    const struct lrl_ids *ids = k == 0 ? &keep.ids : &drop.ids;
    assert_int_equal(ids->data[ids->n - 1], info->reward);
    assert_int_equal(ids->data[ids->n - 2], info->eos);
    assert_int_equal(ids->data[ids->n - (k == 0 ? 4 : 3)], info->im_end);
  }
  lrl_chat_ids_free(&keep);
  lrl_chat_ids_free(&drop);
}

/* Decodes the positions that bear loss. */
static char *target_text(const struct lrl_tokenizer *t, const char *text, const int64_t *images,
                         int64_t n_images, int64_t max) {
  struct lrl_chat_ids c;
  struct lrl_ids kept = {0};
  char *out;
  assert_int_equal(lrl_chat_pack(t, text, images, n_images, LRL_PACK_REWARD, max, &c), LRL_OK);
  int32_t *targets = calloc((size_t)c.ids.n + 1, sizeof *targets);
  assert_int_equal(lrl_mask_human_targets(t, c.ids.data, c.ids.n, targets), LRL_OK);
  for (int64_t i = 0; i < c.ids.n; i++)
    if (targets[i] != LRL_ID_IGNORE) {
      assert_int_equal(targets[i], c.ids.data[i]);
      assert_int_equal(lrl_ids_push(&kept, targets[i]), LRL_OK);
    }
  assert_int_equal(lrl_tokenizer_decode(t, kept.data, kept.n, &out), LRL_OK);
  free(targets);
  lrl_ids_free(&kept);
  lrl_chat_ids_free(&c);
  return out;
}

static void test_mask(void **state) {
  const struct lrl_tokenizer *t = *state;
  const int64_t images[] = {3};
  const struct {
    const char *text, *want;
    int64_t n_images;
  } cases[] = {
      {OPEN "user\nq" CLOSE OPEN "assistant\na cat" CLOSE "</s>[UNUSED_TOKEN_130]",
       "a cat[UNUSED_TOKEN_145]</s>", 1},
      /* a system turn does not turn the roles around */
      {OPEN "system\ns" CLOSE OPEN "user\nq" CLOSE OPEN "assistant\na" CLOSE OPEN
            "user\nr" CLOSE OPEN "assistant\nb" CLOSE "</s>",
       "a[UNUSED_TOKEN_145]b[UNUSED_TOKEN_145]</s>", 0},
      /* an answer without its end, a question without an answer, an image inside an answer */
      {OPEN "user\nq" CLOSE OPEN "assistant\nhalf", "half", 0},
      {OPEN "user\nq" CLOSE "</s>", "", 0},
      {OPEN "user\nq" CLOSE OPEN "assistant\na<ImageHere>b" CLOSE, "ab[UNUSED_TOKEN_145]", 1},
      {OPEN "user\nq" CLOSE OPEN "assistant\na" CLOSE "</s> more" OPEN "assistant\nx" CLOSE,
       "a[UNUSED_TOKEN_145]</s>", 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char *got = target_text(t, cases[i].text, images, cases[i].n_images, 0);
    assert_string_equal(got, cases[i].want);
    free(got);
  }
}

static void test_reject(void **state) {
  (void)state;
  char text[1024];
  assert_null(lrl_chat_reject_answer("fine"));
  assert_non_null(lrl_chat_reject_answer(""));
  assert_non_null(lrl_chat_reject_answer(" \n "));
  assert_non_null(lrl_chat_reject_answer("a<|im_end|>"));
  assert_non_null(lrl_chat_reject_answer("<|im_start|>"));
  /* 501 characters with a word of 101, then 100; then exactly 500 */
  memset(text, 'x', 101);
  for (int i = 101; i < 501; i++)
    text[i] = i % 2 ? ' ' : 'y';
  text[501] = '\0';
  assert_non_null(lrl_chat_reject_answer(text));
  text[500] = '\0';
  assert_null(lrl_chat_reject_answer(text));
  text[500] = 'y';
  text[0] = ' ';
  assert_null(lrl_chat_reject_answer(text));
  /* lengths are characters, not bytes: 60 characters of 3 bytes, repeated to 300 */
  text[0] = '\0';
  for (int i = 0; i < 300; i++)
    strcat(text, i % 60 ? "\u56fe" : " ");
  assert_null(lrl_chat_reject_answer(text));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_render),        cmocka_unit_test(test_pack),
      cmocka_unit_test(test_pack_mismatch), cmocka_unit_test(test_cut),
      cmocka_unit_test(test_tails),         cmocka_unit_test(test_mask),
      cmocka_unit_test(test_reject),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
