/* Answers to imitate: reading, targets, the loss of a micro-batch. Whole runs: test_sft_runs.c. */
#include "corpus_fixture.h"

#include "model/param_build.h"
#include "train/sft_step.h"

#include <math.h>

static struct lrl_corpus *answers(const char *name, enum lrl_chat_template form) {
  struct lrl_corpus_options o = fx_options();
  o.form = LRL_FORM_ANSWERS;
  o.chat.suffix = LRL_CHAT_EOS;
  o.chat.form = form;
  return fx_build(fx_path(name), &o);
}

/* The tokens of chat i that bear a loss, as text. */
static char *target_text(const struct lrl_corpus *c, int64_t i, enum lrl_chat_template form) {
  struct lrl_corpus_pair p;
  struct lrl_ids kept = {0};
  char *text;
  int32_t n;
  lrl_corpus_get(c, i, &p);
  assert_int_equal(p.n_prompt + p.n_rejected, 0);
  int32_t *targets = calloc((size_t)p.n_chosen, sizeof *targets);
  assert_int_equal(lrl_chat_targets(fx_tokenizer, form, p.chosen, p.n_chosen, targets), LRL_OK);
  for (int64_t k = 0; k < p.n_chosen; k++)
    if (targets[k] != LRL_ID_IGNORE)
      assert_int_equal(lrl_ids_push(&kept, targets[k]), LRL_OK);
  assert_int_equal(lrl_sft_count(fx_tokenizer, form, c, i, &n), LRL_OK);
  assert_int_equal(n, kept.n);
  assert_int_equal(lrl_tokenizer_decode(fx_tokenizer, kept.data, kept.n, &text), LRL_OK);
  lrl_ids_free(&kept);
  free(targets);
  return text;
}

#define CLOSE "[UNUSED_TOKEN_145]"

static void test_rows(void **state) {
  (void)state;
  static const struct {
    const char *row, *want; /* NULL: set aside */
  } rows[] = {
      {"{\"prompt\": \"the fox\", \"chosen\": \"Yes\", \"rejected\": \"No\"}", "Yes" CLOSE "</s>"},
      {"{\"prompt\": \"the fox\", \"response\": \" 12 blocks \"}", "12 blocks" CLOSE "</s>"},
      {"{\"conversations\": [{\"from\": \"system\", \"value\": \"s\"}, {\"from\": \"human\", "
       "\"value\": \"q\"}, {\"from\": \"gpt\", \"value\": \"No\"}, {\"from\": \"human\", "
       "\"value\": \"q\"}, {\"from\": \"gpt\", \"value\": \"Yes\"}]}",
       "No" CLOSE "Yes" CLOSE "</s>"},
      {"{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", "
       "\"content\": \"a dog\"}], \"image\": \"b.img\"}",
       "a dog" CLOSE "</s>"},
      {"{\"conversations_a\": [{\"from\": \"human\", \"value\": \"q\"}, {\"from\": \"bot\", "
       "\"value\": \"Yes\"}]}",
       "Yes" CLOSE "</s>"},
      {"{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}]}", NULL},
      {"{\"prompt\": \"q\"}", NULL},
      {"{\"prompt\": \"q\", \"response\": 3}", NULL},
      {"{\"text\": [1]}", NULL},
      {"{\"id\": 1}", NULL},
      {"{\"messages\": [], \"prompt\": null}", NULL},
      {"not json", NULL},
  };
  char text[4096] = "";
  int n_want = 0, n = sizeof rows / sizeof rows[0];
  for (int i = 0; i < n; i++) {
    strcat(strcat(text, rows[i].row), "\n");
    n_want += rows[i].want != NULL;
  }
  fx_write("b.img", "IMG 1 1 3");
  fx_write("rows.jsonl", text);
  struct lrl_corpus *c = answers("rows.jsonl", LRL_TEMPLATE_CHAT);
  assert_int_equal(lrl_corpus_n_pairs(c), n_want);
  assert_int_equal(lrl_corpus_n_asides(c), n - n_want);
  for (int i = 0; i < n_want; i++) {
    char *got = target_text(c, i, LRL_TEMPLATE_CHAT);
    assert_string_equal(got, rows[i].want);
    free(got);
  }
  lrl_corpus_free(c);
}

static void test_all_answers(void **state) {
  (void)state;
  static const char *const want[] = {"Yes" CLOSE "</s>", "No" CLOSE "</s>",
                                     "12 blocks" CLOSE "</s>"};
  struct lrl_corpus_options o = fx_options();
  o.form = LRL_FORM_ALL_ANSWERS;
  o.chat.suffix = LRL_CHAT_EOS;
  fx_write("all.jsonl", "{\"prompt\": \"q\", \"chosen\": \"Yes\", \"rejected\": \"No\"}\n"
                        "{\"prompt\": \"q\", \"response\": \"12 blocks\"}\n"
                        "{\"prompt\": \"q\", \"chosen\": \"Yes\", \"rejected\": \" \"}\n");
  struct lrl_corpus *c = fx_build(fx_path("all.jsonl"), &o);
  assert_int_equal(lrl_corpus_n_pairs(c), 3);
  assert_int_equal(lrl_corpus_n_asides(c), 1);
  for (int i = 0; i < 3; i++) {
    char *got = target_text(c, i, LRL_TEMPLATE_CHAT);
    assert_string_equal(got, want[i]);
    free(got);
  }
  lrl_corpus_free(c);
}

/* The mask is the official one where turns alternate, as they do here; golden D has the rest. */
static void test_official_mask(void **state) {
  (void)state;
  struct lrl_corpus_pair p;
  const struct lrl_tokenizer_info *info = lrl_tokenizer_info(fx_tokenizer);
  fx_pairs_file("mask.jsonl", 5, true);
  struct lrl_corpus *c = answers("mask.jsonl", LRL_TEMPLATE_CHAT);
  struct lrl_ids header = {0};
  static const char text[] = "[UNUSED_TOKEN_146]assistant\n";
  assert_int_equal(
      lrl_tokenizer_encode(fx_tokenizer, text, (int64_t)sizeof text - 1, false, &header), LRL_OK);
  for (int64_t i = 0; i < 5; i++) {
    int32_t ours[200], official[200];
    lrl_corpus_get(c, i, &p);
    assert_true(p.n_chosen <= 200);
    assert_int_equal(lrl_mask_human_targets(fx_tokenizer, p.chosen, p.n_chosen, ours), LRL_OK);
    lrl_mask_human_targets_official(info->im_end, info->eos, p.chosen, p.n_chosen, official);
    int64_t differ = 0;
    for (int64_t k = 0; k < p.n_chosen; k++)
      differ += ours[k] != official[k];
    /* It takes 5 ids for "\n" and the header, and counts the "\n" behind an answer as one. */
    assert_true(header.n != 4 || differ <= 1);
    assert_int_equal(ours[p.n_chosen - 1], info->eos);
    assert_int_equal(official[p.n_chosen - 1], info->eos);
  }
  lrl_ids_free(&header);
  lrl_corpus_free(c);
}

static void test_text(void **state) {
  (void)state;
  const struct lrl_tokenizer_info *info = lrl_tokenizer_info(fx_tokenizer);
  struct lrl_corpus_pair p;
  fx_write("text.jsonl", "{\"text\": \"the fox jumps\"}\n"
                         "{\"prompt\": \"the fox\", \"chosen\": \" jumps\", \"rejected\": \"a\"}\n"
                         "{\"text\": \"over\", \"image\": \"b.img\"}\n");
  for (int k = 0; k < 2; k++) {
    const enum lrl_chat_template form = k == 0 ? LRL_TEMPLATE_TEXT_EOS : LRL_TEMPLATE_TEXT_BOS;
    struct lrl_corpus *c = answers("text.jsonl", form);
    assert_int_equal(lrl_corpus_n_pairs(c), 2);
    assert_int_equal(lrl_corpus_n_asides(c), 1);
    for (int64_t i = 0; i < 2; i++) {
      char *got = target_text(c, i, form);
      assert_string_equal(got, k == 0 ? "the fox jumps</s>" : "the fox jumps<s>");
      lrl_corpus_get(c, i, &p);
      assert_int_equal(p.chosen[0], info->bos);
      assert_int_equal(p.chosen[p.n_chosen - 1], k == 0 ? info->eos : info->bos);
      free(got);
    }
    lrl_corpus_free(c);
  }
}

/* ---- the loss ---- */

struct world {
  struct lrl_ctx ctx;
  struct lrl_arena steps;
  struct lrl_vlm model;
  struct lrl_corpus *c;
};

static void open_world(struct world *w) {
  struct lrl_vlm_config v = {
      .decoder = {.vocab_size = lrl_tokenizer_info(fx_tokenizer)->n_vocab,
                  .hidden_size = 16,
                  .intermediate_size = 24,
                  .num_hidden_layers = 2,
                  .num_attention_heads = 2,
                  .num_key_value_heads = 1,
                  .rms_norm_eps = 1e-5,
                  .initializer_range = 0.3,
                  .pad_token_id = -1,
                  .rope = {.head_dim = 8, .max_position_embeddings = 512, .theta = 1e4}},
      .head = LRL_VLM_LANGUAGE,
      .train_decoder = true};
  assert_int_equal(lrl_ctx_init(&w->ctx, "cpu", 2), LRL_OK);
  assert_int_equal(lrl_arena_init(&w->steps, "steps", (size_t)1 << 34), LRL_OK);
  assert_int_equal(lrl_vlm_init(&w->model, &v), LRL_OK);
  assert_int_equal(lrl_param_set_init(&w->model.params, 7), LRL_OK);
  assert_int_equal(lrl_param_set_alloc_grads(&w->model.params, &w->model.weights), LRL_OK);
  fx_pairs_file("loss.jsonl", 6, false);
  w->c = answers("loss.jsonl", LRL_TEMPLATE_CHAT);
}

static void close_world(struct world *w) {
  lrl_corpus_free(w->c);
  lrl_vlm_free(&w->model);
  lrl_arena_free(&w->steps);
  lrl_ctx_free(&w->ctx);
}

static int n_named;
static void named(void *user, int64_t chat) {
  assert_true(chat >= 0 && chat < 6);
  n_named++;
  (void)user;
}

/* Chats first .. first + n as one micro-batch. */
static void micro(struct world *w, int64_t first, int64_t n, bool record, double weight,
                  double *sums) {
  struct lrl_batch_builder b;
  struct lrl_tape tape;
  const struct lrl_sft_objective o = {.tokenizer = fx_tokenizer, .weight = weight, .seed = 1};
  lrl_batch_builder_init(&b, NULL);
  b.answers_only = true;
  for (int64_t i = first; i < first + n; i++)
    assert_int_equal(lrl_batch_builder_add_pair(&b, w->c, i), LRL_OK);
  lrl_batch_builder_finish(&b);
  assert_int_equal(b.batch.n_seqs, n);
  lrl_tape_init(&tape, &w->ctx, &w->steps, record);
  assert_int_equal(lrl_sft_micro_batch(&tape, &w->model, &b.batch, &o, sums, false, named, NULL),
                   LRL_OK);
  lrl_arena_reset(&w->steps, 0);
  lrl_batch_builder_free(&b);
}

/* -log softmax by hand, from all logits, in f64. */
static double by_hand(struct world *w, int64_t chat) {
  struct lrl_corpus_pair p;
  struct lrl_tape tape;
  struct lrl_decoder_output out;
  int32_t targets[200], start = 0;
  double loss = 0;
  lrl_corpus_get(w->c, chat, &p);
  const int32_t length = (int32_t)p.n_chosen;
  const struct lrl_layout layout = {
      .n_tokens = length, .n_seqs = 1, .start = &start, .length = &length};
  const struct lrl_vlm_input in = {.ids = p.chosen, .layout = &layout};
  lrl_tape_init(&tape, &w->ctx, &w->steps, false);
  lrl_vlm_decode(&tape, &w->model, &in, &out);
  struct lrl_tensor *x = lrl_decoder_final(&tape, &w->model.decoder, &out, NULL, length);
  struct lrl_param_unit *head = &w->model.params.units[w->model.head_unit];
  struct lrl_tensor *y = lrl_nn_linear(&tape, x, lrl_tensor_param(&tape, head, 0), NULL);
  assert_int_equal(tape.status, LRL_OK);
  assert_int_equal(lrl_mask_human_targets(fx_tokenizer, p.chosen, length, targets), LRL_OK);
  for (int32_t t = 1; t < length; t++) {
    const float *row = (const float *)y->data + (t - 1) * y->cols;
    double sum = 0;
    for (int64_t k = 0; k < y->cols && targets[t] >= 0; k++)
      sum += exp((double)row[k]);
    loss += targets[t] >= 0 ? log(sum) - (double)row[targets[t]] : 0;
  }
  lrl_arena_reset(&w->steps, 0);
  return loss;
}

static void test_loss(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  double all[LRL_SFT_N] = {0}, train[LRL_SFT_N] = {0}, alone[LRL_SFT_N] = {0}, hand = 0;
  micro(&w, 0, 6, false, 0, all);
  for (int64_t i = 0; i < 6; i++) {
    micro(&w, i, 1, false, 0, alone);
    hand += by_hand(&w, i);
  }
  assert_true(all[LRL_SFT_CHATS] == 6 && all[LRL_SFT_TARGETS] > 18);
  for (int k = 0; k < LRL_SFT_N; k++) /* a chat's loss has the same bits beside others */
    if (k != LRL_SFT_LOSS)
      assert_true(all[k] == alone[k]);
  assert_true(fabs(all[LRL_SFT_LOSS] - alone[LRL_SFT_LOSS]) <= 1e-12 * hand);
  if (!(fabs(all[LRL_SFT_LOSS] - hand) <= 1e-5 * hand))
    fail_msg("the loss is %.9g, by hand %.9g", all[LRL_SFT_LOSS], hand);
  micro(&w, 0, 6, true, 1 / all[LRL_SFT_TARGETS], train);
  assert_true(fabs(train[LRL_SFT_LOSS] - hand) <= 1e-5 * hand);
  assert_true(train[LRL_SFT_TARGETS] == all[LRL_SFT_TARGETS]);
  close_world(&w);
}

/* The gradient of all is the sum of those of its parts, whatever the cut. */
static void test_cut(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  struct lrl_param_set *set = &w.model.params;
  float *kept[LRL_MAX_UNITS];
  double sums[LRL_SFT_N] = {0}, worst = 0, most = 0;
  micro(&w, 0, 6, true, 0.01, sums);
  for (int u = 0; u < set->n_units; u++) {
    const size_t bytes = (size_t)set->units[u].n * sizeof(float);
    kept[u] = malloc(bytes);
    memcpy(kept[u], set->units[u].grad, bytes);
    memset(set->units[u].grad, 0, bytes);
  }
  micro(&w, 0, 1, true, 0.01, sums);
  micro(&w, 1, 3, true, 0.01, sums);
  micro(&w, 4, 2, true, 0.01, sums);
  for (int u = 0; u < set->n_units; u++) {
    for (int64_t i = 0; i < set->units[u].n; i++) {
      worst = fmax(worst, fabs((double)kept[u][i] - (double)set->units[u].grad[i]));
      most = fmax(most, fabs((double)kept[u][i]));
    }
    free(kept[u]);
  }
  if (!(most > 0 && worst <= 1e-5 * most))
    fail_msg("gradients differ by %g, the largest is %g", worst, most);
  close_world(&w);
}

static void test_nonfinite(void **state) {
  (void)state;
  struct world w;
  open_world(&w);
  struct lrl_param_unit *head = &w.model.params.units[w.model.head_unit];
  double sums[LRL_SFT_N] = {0};
  ((float *)head->data)[3] = NAN;
  head->version++;
  n_named = 0;
  micro(&w, 0, 6, true, 0.01, sums);
  assert_int_equal(n_named, 6);
  assert_true(sums[LRL_SFT_NONFINITE] == 6 && sums[LRL_SFT_CHATS] == 0);
  close_world(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rows),          cmocka_unit_test(test_all_answers),
      cmocka_unit_test(test_official_mask), cmocka_unit_test(test_text),
      cmocka_unit_test(test_loss),          cmocka_unit_test(test_cut),
      cmocka_unit_test(test_nonfinite),
  };
  return cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
