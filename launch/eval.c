/* `laurel eval`: a reward model on VL-RewardBench, RewardBench or RM-Bench, or the tables of a file
 * of scores, beside the paper's numbers. */
#include "data/benchmark.h"
#include "data/bytes.h"
#include "launch/arguments.h"
#include "launch/commands.h"
#include "train/judge.h"
#include "train/option_rows.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct eval_options {
  int bench, device;
  char data[LRL_OPTION_TEXT], from_scores[LRL_OPTION_TEXT], image_root[LRL_OPTION_TEXT],
      out[LRL_OPTION_TEXT];
  int64_t limit, hd_num, max_length, batch_tokens, threads;
};
#define AT(f) offsetof(struct eval_options, f)
static const struct lrl_option rows[] = {
    LRL_ROW_ENUM("bench", AT(bench), "vl-rewardbench", "vl-rewardbench|rewardbench|rm-bench",
                 "which benchmark"),
    LRL_ROW_TEXT("data", AT(data), "", "its published file, JSON or JSONL (also .gz)"),
    LRL_ROW_TEXT("from_scores", AT(from_scores), "",
                 "instead of a model: a file of scores that --out wrote, or the official results"),
    LRL_ROW_TEXT("image_root", AT(image_root), "", "where image paths start; else DATA's folder"),
    LRL_ROW_TEXT("out", AT(out), "", "file for the scores of every item"),
    LRL_ROW_INT("limit", AT(limit), "0", 0, 1e9, "items", "the first so many only; 0: all"),
    LRL_ROW_INT("hd_num", AT(hd_num), "9", 1, 1000, "tiles", "most tiles of an image"),
    LRL_ROW_INT("max_length", AT(max_length), "16384", 1, 1e6, "tokens",
                "longer chats are cut on the right"),
    LRL_ROW_INT("batch_tokens", AT(batch_tokens), "8192", 1, 1e9, "tokens", "scored at a time"),
    LRL_ROW_INT("threads", AT(threads), "0", 0, 1024, "", "0: as many as the machine has"),
    LRL_ROW_ENUM("device", AT(device), "cpu", LRL_DEVICES, "backend"),
};
#undef AT
static const struct lrl_option_table table = {rows, sizeof rows / sizeof rows[0]};

/* ---- scoring ---- */

struct scorer {
  const struct eval_options *o;
  struct lrl_benchmark *b;
  struct lrl_saved_model *model;
  struct lrl_judge judge;
  const char *image_root;
  int64_t first; /* item of the batch's first chat */
  int64_t n_failed;
  float *scores;
  int64_t cap;
};

/* Scores what is in the batch: all chats of the items [first, end) that are marked. */
static lrl_status flush(struct scorer *s, int64_t end) {
  const int64_t n = lrl_judge_chats(&s->judge);
  if (n > s->cap) {
    float *more = realloc(s->scores, (size_t)n * sizeof *more);
    if (more == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the scores");
    s->scores = more;
    s->cap = n;
  }
  LRL_TRY(lrl_judge_scores(&s->judge, s->scores));
  const float *x = s->scores;
  for (int64_t i = s->first; i < end; i++) {
    struct lrl_benchmark_item *item = &s->b->items[i];
    for (int k = 0; k < 2 * s->b->n_styles && item->scored; k++)
      *(k < s->b->n_styles ? &item->chosen[k] : &item->rejected[k - s->b->n_styles]) = (double)*x++;
  }
  s->first = end;
  return LRL_OK;
}

/* All chats of an item, or none: the first one fails when its image cannot be read. */
static lrl_status add_item(struct scorer *s, int64_t i) {
  struct lrl_benchmark_item *item = &s->b->items[i];
  const char *image = lrl_benchmark_image(item);
  for (int k = 0; k < 2 * s->b->n_styles; k++) {
    struct lrl_message chat[2];
    lrl_benchmark_chat(s->b, item, k, chat);
    const lrl_status status =
        lrl_judge_add(&s->judge, chat, 2, &image, image == NULL ? 0 : 1, s->image_root);
    if (status == LRL_ERR_MEMORY || (status != LRL_OK && k > 0))
      return status;
    if (status != LRL_OK) {
      if (++s->n_failed <= 3)
        fprintf(stderr, "laurel eval: item %lld is left out: %s\n", (long long)i + 1,
                lrl_last_error());
      lrl_error_clear();
      return LRL_OK;
    }
  }
  item->scored = true;
  return LRL_OK;
}

static lrl_status score_items(struct scorer *s) {
  const int64_t n = s->o->limit > 0 && s->o->limit < s->b->n ? s->o->limit : s->b->n;
  for (int64_t i = 0; i < n; i++) {
    LRL_TRY(add_item(s, i));
    if (lrl_judge_tokens(&s->judge) >= s->o->batch_tokens || i + 1 == n)
      LRL_TRY(flush(s, i + 1));
  }
  if (s->n_failed > 0)
    fprintf(stderr, "laurel eval: %lld of %lld items are left out\n", (long long)s->n_failed,
            (long long)n);
  return s->n_failed < n ? LRL_OK
                         : LRL_FAIL(LRL_ERR_FORMAT, "no item of %s could be scored", s->o->data);
}

static lrl_status score(const struct eval_options *o, const char *model, struct lrl_benchmark *b) {
  struct scorer s = {.o = o, .b = b, .image_root = o->image_root};
  char *folder = NULL;
  lrl_status status;
  LRL_TRY(lrl_benchmark_read((enum lrl_benchmark_kind)o->bench, o->data, b));
  LRL_TRY_GOTO(
      lrl_saved_model_open(model, "reward", lrl_device_name(o->device), (int)o->threads, &s.model));
  LRL_TRY_GOTO(lrl_judge_init(&s.judge, s.model,
                              &(struct lrl_judge_options){false, o->hd_num, o->max_length}));
  if (o->image_root[0] == '\0' && (s.image_root = folder = lrl_path_folder(o->data)) == NULL)
    LRL_TRY_GOTO(LRL_ERR_MEMORY);
  LRL_TRY_GOTO(score_items(&s));
done:
  lrl_judge_free(&s.judge);
  lrl_saved_model_close(s.model);
  free(s.scores);
  free(folder);
  return status;
}

/* ---- output ---- */

static void print_table(const struct lrl_benchmark *b) {
  struct lrl_benchmark_figure f[LRL_BENCHMARK_FIGURES];
  const int n = lrl_benchmark_figures(b, f);
  printf("%-24s %8s %8s  %s\n", "", "percent", "paper", "right / all");
  for (int i = 0; i < n; i++) {
    char percent[16] = "-", paper[16] = "", ties[40] = "";
    if (!isnan(f[i].percent))
      snprintf(percent, sizeof percent, "%.2f", f[i].percent);
    if (!isnan(f[i].paper))
      snprintf(paper, sizeof paper, "%.1f", f[i].paper);
    if (f[i].n_ties > 0)
      snprintf(ties, sizeof ties, ", %lld ties", (long long)f[i].n_ties);
    if (f[i].of[0] != '\0')
      printf("%-24s %8s %8s  mean of %s\n", f[i].name, percent, paper, f[i].of);
    else
      printf("%-24s %8s %8s  %lld / %lld%s\n", f[i].name, percent, paper, (long long)f[i].n_right,
             (long long)f[i].n, ties);
  }
  if (b->n_lost > 0)
    printf("%lld items at the beginning of the file are damaged and count nowhere\n",
           (long long)b->n_lost);
}

static lrl_status save(const struct lrl_benchmark *b, const char *path) {
  json_t *list = lrl_benchmark_scores(b);
  const bool ok = list != NULL && json_dump_file(list, path, JSON_INDENT(1)) == 0;
  json_decref(list);
  return ok ? LRL_OK : LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno));
}

static lrl_status eval(const struct eval_options *o, int n_rest, char **rest) {
  struct lrl_benchmark b = {0};
  const bool scores = o->from_scores[0] != '\0';
  if (n_rest != (scores ? 0 : 1) || scores == (o->data[0] != '\0'))
    return LRL_FAIL(LRL_ERR_ARG, "a model and --data FILE are needed, or --from-scores FILE alone");
  lrl_status s =
      scores ? lrl_benchmark_read_scores((enum lrl_benchmark_kind)o->bench, o->from_scores, &b)
             : score(o, rest[0], &b);
  if (s == LRL_OK)
    print_table(&b);
  if (s == LRL_OK && o->out[0] != '\0')
    s = save(&b, o->out);
  lrl_benchmark_free(&b);
  return s;
}

static const char usage_text[] =
    "usage: laurel eval MODEL --bench NAME --data FILE [options]\n"
    "       laurel eval --bench NAME --from-scores FILE\n"
    "\n"
    "MODEL is a reward model or the folder of a run. Percent of pairs in which the chosen\n"
    "answer has the higher score (a tie is wrong), beside the paper's numbers.\n\n";

int lrl_command_eval(int argc, char **argv) {
  struct eval_options o;
  int n_rest = 0;
  const int shown = lrl_arguments_usage(&table, usage_text, argc, argv);
  if (shown >= 0)
    return shown;
  lrl_status s = lrl_arguments_parse(&table, &o, argc, argv, &n_rest);
  if (s == LRL_OK)
    s = eval(&o, n_rest, argv);
  if (s != LRL_OK)
    fprintf(stderr, "laurel eval: %s\n", lrl_last_error());
  return s == LRL_OK ? 0 : 1;
}
