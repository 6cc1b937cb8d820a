/* Order and loader: what a step holds does not depend on ranks, resuming or micro-batch size. */
#include "corpus_fixture.h"

#include "data/loader.h"

#include <math.h>

static struct lrl_corpus *two_sources(void) {
  struct lrl_corpus_options o = fx_options();
  char image[256], text[256];
  snprintf(image, sizeof image, "%s", fx_pairs_file("mm.jsonl", 11, true));
  snprintf(text, sizeof text, "%s", fx_pairs_file("tx.jsonl", 8, false));
  struct lrl_corpus_source s[2] = {{.path = image}, {.path = text}};
  struct lrl_corpus *c;
  assert_int_equal(lrl_corpus_build(s, 2, &o, &c), LRL_OK);
  assert_int_equal(lrl_corpus_n_pairs(c), 19);
  return c;
}

static struct lrl_loader_options loader_options(enum lrl_order_kind order) {
  return (struct lrl_loader_options){.order = {.kind = order, .seed = 5, .batch_pairs = 6},
                                     .n_ranks = 1,
                                     .n_steps = 7,
                                     .max_tokens = 120,
                                     .share_prefix = true,
                                     .prefetch = 2,
                                     .images = &fx_images};
}

#define N_SEEN 20
/* How often each pair comes in each step. */
static void collect(const struct lrl_corpus *c, const struct lrl_loader_options *o,
                    int seen[][N_SEEN]) {
  struct lrl_loader *l;
  const struct lrl_batch *b;
  int64_t micro = 0, last_step = o->first_step - 1;
  assert_int_equal(lrl_loader_create(c, o, &l), LRL_OK);
  for (;;) {
    assert_int_equal(lrl_loader_next(l, &b), LRL_OK);
    if (b == NULL)
      break;
    assert_int_equal(b->step, micro == 0 ? last_step + 1 : last_step);
    assert_int_equal(b->micro, micro);
    last_step = b->step;
    micro = micro + 1 == b->n_micro ? 0 : micro + 1;
    assert_int_equal(lrl_layout_check(&b->layout), LRL_OK);
    assert_true(b->n_tokens <= o->max_tokens || b->n_pairs == 1);
    for (int64_t k = 0; k < b->n_pairs; k++)
      seen[b->step][b->pair_index[k]]++;
  }
  assert_int_equal(micro, 0);
  lrl_loader_destroy(l);
}

static void test_ranks_and_resume(void **state) {
  (void)state;
  struct lrl_corpus *c = two_sources();
  static const enum lrl_order_kind kinds[] = {LRL_ORDER_SHUFFLE, LRL_ORDER_PROPORTIONAL,
                                              LRL_ORDER_OFFICIAL};
  for (int k = 0; k < 6; k++) { /* the last three with another mixture */
    int one[8][N_SEEN] = {{0}}, three[8][N_SEEN] = {{0}}, tail[8][N_SEEN] = {{0}};
    struct lrl_loader_options o = loader_options(kinds[k % 3]);
    o.order.temperature = k < 3 ? 0 : 3;
    const struct lrl_order_options order = o.order;
    collect(c, &o, one);
    o.n_ranks = 3;
    o.max_tokens = 90;
    for (o.rank = 0; o.rank < 3; o.rank++)
      collect(c, &o, three);
    assert_memory_equal(one, three, sizeof one);
    o = loader_options(kinds[k % 3]);
    o.order = order;
    o.first_step = 4;
    o.n_steps = 3;
    collect(c, &o, tail);
    assert_memory_equal(one[4], tail[4], 3 * sizeof one[0]);
    o.order.seed = 6;
    memset(tail, 0, sizeof tail);
    collect(c, &o, tail);
    assert_memory_not_equal(one[4], tail[4], 3 * sizeof one[0]);
    for (int s = 0; s < 7 && kinds[k % 3] == LRL_ORDER_OFFICIAL; s++)
      for (int i = 0; i < 19; i++)
        if (one[s][i] > 0)
          assert_int_equal(i < 11, s % 3 < 2);
  }
  lrl_corpus_free(c);
}

static void test_epoch_is_a_permutation(void **state) {
  (void)state;
  struct lrl_corpus *c = two_sources();
  struct lrl_order *o;
  int64_t step[1], n, seen[3][N_SEEN] = {{0}};
  assert_int_equal(
      lrl_order_create(c, &(struct lrl_order_options){LRL_ORDER_SHUFFLE, 1, 1, 0, 0}, &o), LRL_OK);
  for (int64_t e = 0; e < 3; e++)
    for (int64_t s = 0; s < 19; s++) {
      assert_int_equal(lrl_order_step(o, e * 19 + s, step, &n), LRL_OK);
      seen[e][step[0]]++;
    }
  for (int e = 0; e < 3; e++)
    for (int i = 0; i < 19; i++)
      assert_int_equal(seen[e][i], 1);
  lrl_order_destroy(o);
  lrl_corpus_free(c);
}

/* number = 0.5 takes a subset without repeats; 0.02 thousand tops 8 pairs up to 20. */
static void test_numbers(void **state) {
  (void)state;
  struct lrl_corpus_options opt = fx_options();
  char a[256], b[256];
  snprintf(a, sizeof a, "%s", fx_pairs_file("na.jsonl", 10, false));
  snprintf(b, sizeof b, "%s", fx_pairs_file("nb.jsonl", 8, false));
  struct lrl_corpus_source s[2] = {{.path = a, .number = 0.5},
                                   {.path = b, .number = 0.02, .given_num = true}};
  struct lrl_corpus *c;
  struct lrl_order *o;
  assert_int_equal(lrl_corpus_build(s, 2, &opt, &c), LRL_OK);
  assert_int_equal(
      lrl_order_create(c, &(struct lrl_order_options){LRL_ORDER_SHUFFLE, 1, 25, 0, 0}, &o), LRL_OK);
  assert_int_equal(lrl_order_epoch_pairs(o), 25);
  int64_t step[25], n, seen[N_SEEN] = {0}, first = 0;
  assert_int_equal(lrl_order_step(o, 0, step, &n), LRL_OK);
  for (int i = 0; i < 25; i++)
    seen[step[i]]++;
  for (int i = 0; i < 18; i++) {
    first += i < 10 ? seen[i] : 0;
    assert_true(i < 10 ? seen[i] <= 1 : seen[i] >= 1);
  }
  assert_int_equal(first, 5);
  lrl_order_destroy(o);
  lrl_corpus_free(c);
}

/* 81 and 9 pairs at temperature 2: nine to three, of 90; at a high one alike. */
static void test_temperature(void **state) {
  (void)state;
  struct lrl_corpus_options opt = fx_options();
  char a[256], b[256];
  snprintf(a, sizeof a, "%s", fx_pairs_file("ta.jsonl", 81, true));
  snprintf(b, sizeof b, "%s", fx_pairs_file("tb.jsonl", 9, false));
  const struct lrl_corpus_source s[2] = {{.path = a}, {.path = b}};
  struct lrl_corpus *c;
  assert_int_equal(lrl_corpus_build(s, 2, &opt, &c), LRL_OK);
  static const enum lrl_order_kind kinds[] = {LRL_ORDER_SHUFFLE, LRL_ORDER_PROPORTIONAL};
  for (int k = 0; k < 4; k++) {
    const struct lrl_order_options options = {
        .kind = kinds[k / 2], .seed = 3, .batch_pairs = 90, .temperature = k % 2 == 0 ? 2 : 1e6};
    struct lrl_order *o;
    int64_t step[90], n, first = 0;
    assert_int_equal(lrl_order_create(c, &options, &o), LRL_OK);
    assert_int_equal(lrl_order_epoch_pairs(o), 90);
    for (int e = 0; e < 10; e++) {
      assert_int_equal(lrl_order_step(o, e, step, &n), LRL_OK);
      for (int i = 0; i < 90; i++)
        first += step[i] < 81;
    }
    const double share = k % 2 == 0 ? 0.75 : 0.5, want = 900 * share;
    if (k < 2) /* 67.5 is rounded to 68 */
      assert_int_equal(first, k == 0 ? 680 : 450);
    else /* five standard deviations */
      assert_true(fabs((double)first - want) < 5 * sqrt(want * (1 - share)));
    lrl_order_destroy(o);
  }
  lrl_corpus_free(c);
}

/* Runs shorter than a step, that go on over its end. */
static void test_official_runs(void **state) {
  (void)state;
  struct lrl_corpus *c = two_sources();
  const struct lrl_order_options options = {
      .kind = LRL_ORDER_OFFICIAL, .seed = 3, .batch_pairs = 7, .run_pairs = 2};
  struct lrl_order *o;
  int64_t step[7], n;
  assert_int_equal(lrl_order_create(c, &options, &o), LRL_OK);
  for (int64_t k = 0; k < 9; k++) {
    assert_int_equal(lrl_order_step(o, k, step, &n), LRL_OK);
    for (int64_t i = 0; i < 7; i++)
      assert_int_equal(step[i] < 11, (7 * k + i) / 2 % 3 < 2);
  }
  lrl_order_destroy(o);
  lrl_corpus_free(c);
}

/* Following parents gives the same conversations with the prefix shared, repeated and, but for the
 * image rows, withheld. */
static void test_sharing(void **state) {
  (void)state;
  struct lrl_corpus *c = two_sources();
  struct lrl_corpus_pair p;
  lrl_corpus_get(c, 0, &p);
  for (int mode = 0; mode < 3; mode++) {
    struct lrl_batch_builder b;
    lrl_batch_builder_init(&b, &fx_images);
    b.share_prefix = mode != 1;
    b.withhold_images = mode == 2;
    assert_int_equal(lrl_batch_builder_add_pair(&b, c, 0), LRL_OK);
    assert_int_equal(lrl_batch_builder_add_pair(&b, c, 12), LRL_OK);
    lrl_batch_builder_finish(&b);
    const struct lrl_batch *t = &b.batch;
    assert_int_equal(lrl_layout_check(&t->layout), LRL_OK);
    assert_int_equal(t->n_seqs, mode == 1 ? 4 : 6);
    assert_int_equal(t->n_tokens, lrl_batch_pair_cost(&b, c, 0) + lrl_batch_pair_cost(&b, c, 12));
    assert_int_equal(t->n_tiles, mode == 2 ? 0 : 7);
    assert_int_equal(t->n_images, mode == 2 ? 0 : mode == 1 ? 2 : 1);
    int32_t seq = t->rejected_seq[0], last = t->rejected_last[0];
    assert_int_equal(last, t->layout.start[seq] + t->layout.length[seq] - 1);
    int64_t n = p.n_prompt + p.n_rejected - (mode == 2 ? p.spans[0].count : 0);
    assert_int_equal(t->positions[last], n - 1);
    assert_int_equal(t->ids[last], p.rejected[p.n_rejected - 1]);
    assert_int_equal(t->ids[last], lrl_tokenizer_info(fx_tokenizer)->reward);
    for (int64_t r = 0; r < t->n_tokens; r++)
      assert_int_equal(t->im_mask[r], t->ids[r] == -1);
    for (int64_t s = 0; s < t->n_seqs; s++)
      for (int32_t k = 0; k < t->layout.length[s]; k++)
        assert_int_equal(t->positions[t->layout.start[s] + k],
                         lrl_layout_first_pos(&t->layout, s) + k);
    for (int64_t k = 0; k < t->n_tiles * 48; k++)
      assert_float_equal(t->tiles[k], 7, 0);
    lrl_batch_builder_free(&b);
  }
  lrl_corpus_free(c);
}

/* A pair whose image cannot be decoded is left out, counted, and the step goes on. */
static void test_late_image(void **state) {
  (void)state;
  struct lrl_corpus_options opt = fx_options();
  fx_write("late.img", "LATE 1 1");
  fx_write("good.img", "IMG 1 1 3");
  struct lrl_corpus *c = fx_build(
      fx_write(
          "late.jsonl",
          "{\"prompt\":\"q\",\"chosen\":\"Y\",\"rejected\":\"N\",\"images\":[\"late.img\"]}\n"
          "{\"prompt\":\"q\",\"chosen\":\"Y\",\"rejected\":\"N\",\"images\":[\"good.img\"]}\n"),
      &opt);
  assert_int_equal(lrl_corpus_n_pairs(c), 2);
  struct lrl_loader_options o = loader_options(LRL_ORDER_SEQUENTIAL);
  o.n_steps = 0;
  struct lrl_loader *l;
  const struct lrl_batch *b;
  assert_int_equal(lrl_loader_create(c, &o, &l), LRL_OK);
  assert_int_equal(lrl_loader_next(l, &b), LRL_OK);
  assert_int_equal(b->n_pairs, 1);
  assert_int_equal(b->n_set_aside, 1);
  assert_non_null(strstr(b->set_aside_reason, "line 1"));
  assert_int_equal(b->n_tiles, 2);
  assert_float_equal(b->tiles[0], 3, 0);
  assert_int_equal(lrl_loader_next(l, &b), LRL_OK);
  assert_null(b);
  lrl_loader_destroy(l);
  lrl_corpus_free(c);
}

static lrl_status no_memory(void *user, const void *bytes, size_t n, int64_t n_images, float *out) {
  (void)user;
  (void)bytes;
  (void)n;
  (void)n_images;
  (void)out;
  return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the test");
}

static void test_errors_and_stop(void **state) {
  (void)state;
  struct lrl_corpus *c = two_sources();
  struct lrl_loader_options o = loader_options(LRL_ORDER_SHUFFLE);
  struct lrl_loader *l;
  const struct lrl_batch *b = NULL;
  struct lrl_image_ops failing = fx_images;
  failing.tiles = no_memory;
  o.images = &failing;
  assert_int_equal(lrl_loader_create(c, &o, &l), LRL_OK);
  lrl_status status;
  while ((status = lrl_loader_next(l, &b)) == LRL_OK && b != NULL)
    ;
  assert_int_equal(status, LRL_ERR_MEMORY);
  assert_string_equal(lrl_last_error(), "no memory for the test");
  lrl_error_clear();
  lrl_loader_destroy(l);
  o = loader_options(LRL_ORDER_SHUFFLE);
  o.n_steps = 0; /* endless: stopping must not hang */
  assert_int_equal(lrl_loader_create(c, &o, &l), LRL_OK);
  assert_int_equal(lrl_loader_next(l, &b), LRL_OK);
  lrl_loader_destroy(l);
  o.rank = 1;
  assert_int_equal(lrl_loader_create(c, &o, &l), LRL_ERR_ARG);
  assert_null(l);
  lrl_error_clear();
  lrl_corpus_free(c);
}

/* More ranks than pairs: every rank still gets its (empty) micro-batch. */
static void test_empty_rank(void **state) {
  (void)state;
  struct lrl_corpus *c = two_sources();
  struct lrl_loader_options o = loader_options(LRL_ORDER_SHUFFLE);
  o.order.batch_pairs = 2;
  o.n_ranks = 3;
  o.rank = 2;
  o.n_steps = 2;
  struct lrl_loader *l;
  const struct lrl_batch *b;
  assert_int_equal(lrl_loader_create(c, &o, &l), LRL_OK);
  for (int s = 0; s < 2; s++) {
    assert_int_equal(lrl_loader_next(l, &b), LRL_OK);
    assert_int_equal(b->step, s);
    assert_int_equal(b->n_pairs, 0);
    assert_int_equal(b->n_micro, 1);
  }
  lrl_loader_destroy(l);
  lrl_corpus_free(c);
}

static void test_chat(void **state) {
  (void)state;
  struct lrl_corpus_options opt = fx_options();
  struct lrl_message m[2] = {{"user", "q"}, {"assistant", "Yes"}};
  const char *images[1] = {"chat.img"};
  fx_write("chat.img", "IMG 1 1 9");
  struct lrl_batch_builder b;
  lrl_batch_builder_init(&b, &fx_images);
  for (int k = 0; k < 2; k++)
    assert_int_equal(
        lrl_batch_builder_add_chat(&b, fx_tokenizer, &opt.chat, m, 2, images, k, fx_dir), LRL_OK);
  images[0] = "absent.img";
  assert_int_equal(lrl_batch_builder_add_chat(&b, fx_tokenizer, &opt.chat, m, 2, images, 1, fx_dir),
                   LRL_ERR_IO);
  lrl_error_clear();
  lrl_batch_builder_finish(&b);
  assert_int_equal(b.batch.n_pairs, 0);
  assert_int_equal(b.batch.n_seqs, 2);
  assert_int_equal(b.batch.n_images, 1);
  assert_int_equal(b.batch.ids[b.batch.images[0].first_row], -1);
  assert_int_equal(b.batch.last_row[1], b.batch.n_tokens - 1);
  assert_int_equal(b.batch.ids[b.batch.last_row[0]], lrl_tokenizer_info(fx_tokenizer)->reward);
  lrl_batch_builder_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ranks_and_resume), cmocka_unit_test(test_epoch_is_a_permutation),
      cmocka_unit_test(test_numbers),          cmocka_unit_test(test_temperature),
      cmocka_unit_test(test_official_runs),    cmocka_unit_test(test_sharing),
      cmocka_unit_test(test_late_image),       cmocka_unit_test(test_errors_and_stop),
      cmocka_unit_test(test_empty_rank),       cmocka_unit_test(test_chat),
  };
  return cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
