/* The benchmarks of reward models that the paper reports (SPEC 7): their files, files of scores,
 * and the averages of the paper and of the leaderboards. All comparisons are strict: a tie is
 * wrong. */
#ifndef LRL_DATA_BENCHMARK_H
#define LRL_DATA_BENCHMARK_H
#include "data/chat.h"

#include <jansson.h>

enum lrl_benchmark_kind {
  LRL_VL_REWARDBENCH, /* image, query, response[2], human_ranking; JSON */
  LRL_REWARDBENCH,    /* prompt, chosen, rejected, subset; JSON or JSONL */
  LRL_RM_BENCH,       /* prompt, chosen[3], rejected[3], domain; JSON: concise, plain, markdown */
};

struct lrl_benchmark_item {
  int group;     /* category, subset or domain: index into lrl_benchmark_groups */
  json_t *row;   /* its row of the data; NULL from a file of scores */
  bool scored;   /* else it counts nowhere */
  bool official; /* of a file that says right or wrong only: `right` */
  bool right;
  double chosen[3], rejected[3]; /* n_styles of each */
};
struct lrl_benchmark {
  enum lrl_benchmark_kind kind;
  int n_styles; /* 3 for RM-Bench, else 1 */
  int64_t n, cap;
  struct lrl_benchmark_item *items;
  int64_t n_lost; /* rows that a damaged file of scores no longer holds, the first ones */
};

/* Names in the order of the benchmark's own files; NULL ends them. */
const char *const *lrl_benchmark_groups(enum lrl_benchmark_kind kind);

/* The benchmark's data. Rows that are not of its form are an error with their number. Free with
 * lrl_benchmark_free. */
lrl_status lrl_benchmark_read(enum lrl_benchmark_kind kind, const char *path,
                              struct lrl_benchmark *out);
/* A file of scores: what laurel eval writes, a list of {group, score_chosen, score_rejected}; or
 * the official ones, which name no groups and have the benchmark's order: a list of
 * {score_chosen, score_rejected}, for VL-RewardBench {out_general, ...} of 0 and 1. NULs at the
 * beginning (the official RewardBench file) are passed over, and the rows lost with them counted.
 */
lrl_status lrl_benchmark_read_scores(enum lrl_benchmark_kind kind, const char *path,
                                     struct lrl_benchmark *out);
/* The scored items as such a list. New reference; NULL without memory. */
json_t *lrl_benchmark_scores(const struct lrl_benchmark *b);
void lrl_benchmark_free(struct lrl_benchmark *b);

struct lrl_benchmark_figure {
  const char *name, *of;      /* "easy"; what it is the mean of, "" for items */
  int64_t n, n_right, n_ties; /* comparisons; 0 for means of means */
  double percent, paper;      /* NaN: nothing counted; the paper has none */
};
enum { LRL_BENCHMARK_FIGURES = 16 };
/* Fills out[LRL_BENCHMARK_FIGURES]; returns their number. */
int lrl_benchmark_figures(const struct lrl_benchmark *b, struct lrl_benchmark_figure *out);

/* The chats of an item with data: its prompt and response k, 0 .. 2 n_styles - 1, first the chosen
 * ones. The texts live as long as the item. */
void lrl_benchmark_chat(const struct lrl_benchmark *b, const struct lrl_benchmark_item *item, int k,
                        struct lrl_message out[2]);
/* Its image's path, NULL for none. */
const char *lrl_benchmark_image(const struct lrl_benchmark_item *item);
#endif
