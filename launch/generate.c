/* `laurel generate MODEL PROMPTS.jsonl`: samples, best-of-N, and one prompt streamed. */
#include "launch/generate.h"

#include "launch/arguments.h"
#include "launch/commands.h"
#include "train/feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define AT(f) offsetof(struct lrl_generate_options, f)
static const struct lrl_option rows[] = {
    LRL_ROW_TEXT("prompt", AT(prompt), "", "one prompt instead of a file; the answer is streamed"),
    LRL_ROW_BOOL("raw", AT(raw), "false",
                 "go on with the text itself, without the chat template; as models of "
                 "data.template=text do"),
    LRL_ROW_INT("samples", AT(samples), "1", 1, 1e6, "", "answers to a prompt"),
    LRL_ROW_INT("max_new_tokens", AT(max_new_tokens), "1024", 1, 1e6, "tokens", "of an answer"),
    LRL_ROW_NUM("temperature", AT(temperature), "1", 0, 100, "0: greedy"),
    LRL_ROW_NUM("top_p", AT(top_p), "0.8", 0, 1, "1: off"),
    LRL_ROW_INT("top_k", AT(top_k), "0", 0, 1e6, "", "0: off"),
    LRL_ROW_NUM("repetition_penalty", AT(repetition_penalty), "1.005", 0.01, 100, "1: off"),
    LRL_ROW_INT("seed", AT(seed), "0", 0, 1e15, "",
                "an answer depends on this, its row and number"),
    LRL_ROW_TEXT("reward", AT(reward), "", "reward model that scores every answer"),
    LRL_ROW_INT("best_of", AT(best_of), "0", 0, 1e6, "",
                "sample so many answers, score them and name the best; needs --reward"),
    LRL_ROW_TEXT("out", AT(out), "", "file to write instead of standard output"),
    LRL_ROW_TEXT("image_root", AT(image_root), "", "where image paths start; else PROMPTS' folder"),
    LRL_ROW_ENUM("image_transform", AT(image_transform), "inference", "training|inference",
                 "geometry of tiles"),
    LRL_ROW_INT("hd_num", AT(hd_num), "24", 1, 1000, "tiles", "most tiles of an image"),
    LRL_ROW_INT("max_length", AT(max_length), "16384", 1, 1e6, "tokens",
                "longer prompts are set aside"),
    LRL_ROW_INT("max_samples", AT(max_samples), "32", 1, 4096, "", "answers decoded at once"),
    LRL_ROW_INT("threads", AT(threads), "0", 0, 1024, "", "0: as many as the machine has"),
    LRL_ROW_ENUM("device", AT(device), "cpu", LRL_DEVICES, "backend"),
};
const struct lrl_option_table lrl_generate_table = {rows, sizeof rows / sizeof rows[0]};

static const char usage_text[] =
    "usage: laurel generate MODEL PROMPTS.jsonl [options]\n"
    "       laurel generate MODEL --prompt TEXT [options]\n"
    "\n"
    "MODEL is a language model or the folder of a run. A row of PROMPTS is {\"prompt\": TEXT} or\n"
    "another form of data/chats.h; of a preference pair the turns before the answers count. One\n"
    "JSON line per row is written: \"responses\", each with text, tokens, finish (stop or "
    "length),\n"
    "logprob and, with --reward, score; and \"best\". Rows of laurel data synth carry what is "
    "true\n"
    "in \"gold\", by which each response gets a \"gold\" of 0 to 1, too. An answer does not "
    "depend\n"
    "on what else is generated. laurel bon-curve reads what is written.\n\n";

/* Ids that end an answer. */
static void stop_ids(struct lrl_generator *g) {
  const struct lrl_tokenizer_info *t = lrl_tokenizer_info(g->model->tokenizer);
  const int32_t ids[] = {t->eos, g->raw ? t->bos : t->im_end};
  for (int i = 0; i < 2; i++)
    if (ids[i] >= 0)
      g->stop[g->n_stop++] = ids[i];
}

static lrl_status set_up(struct lrl_generator *g, const char *model) {
  const struct lrl_generate_options *o = g->o;
  const struct lrl_image_ops *images = NULL;
  const char *device = lrl_device_name(o->device);
  LRL_TRY(lrl_saved_model_open(model, "language", device, (int)o->threads, &g->model));
  g->raw = o->raw || lrl_data_options_template(&g->model->data) != LRL_TEMPLATE_CHAT;
  if (!g->raw && lrl_tokenizer_info(g->model->tokenizer)->im_start < 0)
    return LRL_FAIL(LRL_ERR_ARG, "%s knows no chat template; use --raw", g->model->path);
  if (g->model->model.cfg.has_vision) {
    struct lrl_image_ops_options i = lrl_reward_image_options(&g->model->options, &g->model->data);
    i.mode = o->image_transform == 0 ? LRL_IMAGE_TRAINING : LRL_IMAGE_INFERENCE;
    i.hd_num = (int32_t)o->hd_num;
    LRL_TRY(lrl_image_ops_init(&g->images, &i));
    images = &g->images;
  }
  lrl_batch_builder_init(&g->batch, images);
  LRL_TRY(lrl_arena_init(&g->memory, "answers and cache", (size_t)256 << 30));
  stop_ids(g);
  if (o->reward[0] != '\0') {
    LRL_TRY(lrl_saved_model_open(o->reward, "reward", device, (int)o->threads, &g->reward));
    LRL_TRY(lrl_judge_init(&g->judge, g->reward, &(struct lrl_judge_options){.max_length = 16384}));
  }
  g->out = o->out[0] == '\0' ? stdout : fopen(o->out, "w");
  return g->out != NULL ? LRL_OK
                        : LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", o->out, strerror(errno));
}

static void tear_down(struct lrl_generator *g) {
  if (g->out != NULL && g->out != stdout)
    fclose(g->out);
  for (int64_t i = 0; i < g->n_rows; i++)
    lrl_generate_row_free(&g->rows[i]);
  free(g->rows);
  if (g->reward != NULL)
    lrl_judge_free(&g->judge);
  lrl_saved_model_close(g->reward);
  lrl_arena_free(&g->memory);
  lrl_batch_builder_free(&g->batch);
  lrl_image_ops_free(&g->images);
  lrl_saved_model_close(g->model);
}

/* Prompts of the good rows; their image tokens are computed here, once. */
static lrl_status make_prompts(struct lrl_generator *g, struct lrl_gen_prompt **out, int64_t *n) {
  const struct lrl_batch *b = &g->batch.batch;
  struct lrl_tape tape;
  struct lrl_vlm_input in;
  lrl_tape_init(&tape, &g->model->ctx, &g->memory, false);
  LRL_TRY(lrl_feed(&tape, &g->model->model, b, &(struct lrl_feed_options){0}, &in));
  const struct lrl_tensor *images = lrl_vlm_embed_images(&tape, &g->model->model, &in);
  struct lrl_gen_prompt *p = lrl_tape_alloc(&tape, (size_t)b->n_seqs * sizeof *p);
  LRL_TRY(tape.status);
  int64_t first_image = 0;
  *out = p;
  *n = 0;
  for (int64_t r = 0; r < g->n_rows; r++) {
    const int64_t s = g->rows[r].seq;
    if (s < 0)
      continue;
    const int32_t *ids = b->ids + b->layout.start[s];
    if (g->rows[r].error[0] == '\0')
      p[(*n)++] = (struct lrl_gen_prompt){.ids = ids,
                                          .n_ids = b->layout.length[s],
                                          .n_samples = g->n_samples,
                                          .key = (uint64_t)g->rows[r].row,
                                          .images = images == NULL
                                                        ? NULL
                                                        : (const char *)images->data +
                                                              first_image * images->cols *
                                                                  lrl_dtype_bytes(images->dtype)};
    for (int32_t t = 0; t < b->layout.length[s]; t++)
      first_image += ids[t] == LRL_ID_IMAGE;
  }
  return LRL_OK;
}

static lrl_status flush(struct lrl_generator *g) {
  const struct lrl_generate_options *o = g->o;
  const struct lrl_gen_options options = {.temperature = o->temperature,
                                          .top_p = o->top_p,
                                          .top_k = o->top_k,
                                          .repetition_penalty = o->repetition_penalty,
                                          .max_new_tokens = o->max_new_tokens,
                                          .stop_ids = g->stop,
                                          .n_stop_ids = g->n_stop,
                                          .seed = (uint64_t)o->seed,
                                          .max_samples = o->max_samples};
  struct lrl_lm lm = lrl_language_model_lm(&g->model->model);
  struct lrl_gen_prompt *prompts = NULL;
  struct lrl_generation out = {0};
  int64_t n_prompts = 0;
  lrl_batch_builder_finish(&g->batch);
  if (g->batch.batch.n_seqs > 0)
    LRL_TRY(make_prompts(g, &prompts, &n_prompts));
  LRL_TRY(lrl_generate(&g->model->ctx, &lm, &options, prompts, n_prompts, &g->memory,
                       &g->model->steps, g->stream ? lrl_generate_stream : NULL, g, &out));
  LRL_TRY(lrl_generate_write(g, &out));
  for (int64_t i = 0; i < g->n_rows; i++)
    lrl_generate_row_free(&g->rows[i]);
  g->n_rows = 0;
  lrl_batch_builder_reset(&g->batch);
  lrl_arena_reset(&g->memory, 0);
  return LRL_OK;
}

/* The row's ids into the batch; what is wrong with it into row->error. */
static lrl_status encode(struct lrl_generator *g, struct lrl_generate_row *row) {
  const struct lrl_message *last = &row->messages[row->n_messages - 1];
  const int64_t before = g->batch.batch.n_tokens;
  lrl_status s;
  if (strcmp(last->role, "assistant") == 0 && !g->raw) {
    snprintf(row->error, sizeof row->error, "the last turn is an answer already");
    return LRL_OK;
  }
  const struct lrl_chat_options chat = {
      .mode = LRL_CHAT_SCORING, .suffix = LRL_CHAT_GENERATE, .pack = LRL_PACK_REWARD};
  if (g->raw)
    s = lrl_batch_builder_add_text(&g->batch, g->model->tokenizer, last->content);
  else
    s = lrl_batch_builder_add_chat(&g->batch, g->model->tokenizer, &chat, row->messages,
                                   row->n_messages, row->images, row->n_images, g->image_root);
  const struct lrl_batch *b = &g->batch.batch;
  if (s == LRL_ERR_MEMORY)
    return s;
  if (s != LRL_OK) {
    snprintf(row->error, sizeof row->error, "%s", lrl_last_error());
    lrl_error_clear();
    return LRL_OK;
  }
  row->seq = b->n_seqs - 1;
  if (b->n_tokens - before > g->o->max_length)
    snprintf(row->error, sizeof row->error, "a prompt of %lld tokens is longer than --max_length",
             (long long)(b->n_tokens - before));
  return LRL_OK;
}

static lrl_status on_row(void *user, const struct lrl_chat_row *row) {
  enum { ROWS_AT_ONCE = 256, TILES_AT_ONCE = 128 };
  struct lrl_generator *g = user;
  struct lrl_generate_row copy;
  LRL_TRY(lrl_generate_row_copy(row, &copy));
  if (g->n_rows == g->cap_rows) {
    g->cap_rows = g->cap_rows == 0 ? 64 : 2 * g->cap_rows;
    void *p = realloc(g->rows, (size_t)g->cap_rows * sizeof *g->rows);
    if (p == NULL) {
      lrl_generate_row_free(&copy);
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld rows", (long long)g->cap_rows);
    }
    g->rows = p;
  }
  g->rows[g->n_rows++] = copy;
  if (copy.error[0] == '\0')
    LRL_TRY(encode(g, &g->rows[g->n_rows - 1]));
  return g->n_rows < ROWS_AT_ONCE && g->batch.batch.n_tiles < TILES_AT_ONCE ? LRL_OK : flush(g);
}

static lrl_status generate(const struct lrl_generate_options *o, int n_rest, char **argv) {
  struct lrl_generator g = {.o = o, .n_samples = o->best_of > 0 ? o->best_of : o->samples};
  const bool one = o->prompt[0] != '\0';
  char *folder = NULL;
  lrl_status status;
  if (n_rest != (one ? 1 : 2))
    return LRL_FAIL(LRL_ERR_ARG, "a model and %s are needed; see laurel generate --help",
                    one ? "nothing else beside --prompt" : "a file of prompts (or --prompt)");
  if (o->best_of > 0 && o->reward[0] == '\0')
    return LRL_FAIL(LRL_ERR_ARG, "--best_of needs a reward model: --reward MODEL");
  LRL_TRY_GOTO(set_up(&g, argv[0]));
  if (one) {
    const struct lrl_message m = {"user", o->prompt};
    const struct lrl_chat chat = {&m, 1, NULL, 0};
    g.stream = g.n_samples == 1 && g.reward == NULL && o->out[0] == '\0';
    LRL_TRY_GOTO(on_row(&g, &(struct lrl_chat_row){.line = 1, .chats = &chat, .n_chats = 1}));
  } else {
    g.image_root = o->image_root[0] != '\0' ? o->image_root : (folder = lrl_path_folder(argv[1]));
    if (g.image_root == NULL)
      LRL_TRY_GOTO(LRL_ERR_MEMORY);
    LRL_TRY_GOTO(lrl_chats_read(argv[1], on_row, &g));
  }
  LRL_TRY_GOTO(flush(&g));
  if (g.n_failed > 0)
    fprintf(stderr, "laurel generate: %lld of %lld rows were set aside\n", (long long)g.n_failed,
            (long long)g.n_failed + (long long)g.n_done);
  if (g.n_done == 0)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_FORMAT, "no prompt could be used"));
done:
  tear_down(&g);
  free(folder);
  return status;
}

int lrl_command_generate(int argc, char **argv) {
  struct lrl_generate_options o;
  int n_rest = 0;
  const int shown = lrl_arguments_usage(&lrl_generate_table, usage_text, argc, argv);
  if (shown >= 0)
    return shown;
  lrl_status s = lrl_arguments_parse(&lrl_generate_table, &o, argc, argv, &n_rest);
  if (s == LRL_OK)
    s = generate(&o, n_rest, argv);
  if (s != LRL_OK)
    fprintf(stderr, "laurel generate: %s\n", lrl_last_error());
  return s == LRL_OK ? 0 : 1;
}
