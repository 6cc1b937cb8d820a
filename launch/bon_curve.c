/* `laurel bon-curve ANSWERS.jsonl`: learned and gold reward of best-of-N against its KL. */
#include "data/rows.h"
#include "launch/arguments.h"
#include "launch/commands.h"
#include "train/best_of.h"
#include "train/option_rows.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct curve_options {
  char out[LRL_OPTION_TEXT];
};
static const struct lrl_option option_rows[] = {
    LRL_ROW_TEXT("out", offsetof(struct curve_options, out), "",
                 "file for the curve, a JSON line per N"),
};
static const struct lrl_option_table table = {option_rows, 1};

static const char usage_text[] =
    "usage: laurel bon-curve ANSWERS.jsonl [options]\n"
    "\n"
    "ANSWERS is what laurel generate --reward MODEL --samples N wrote. For N = 1, 2, 4, ... up to\n"
    "the answers of each row: the mean score, gold (where rows have it) and length of the answer\n"
    "with the highest score among N, over every subset of a row's answers, with the standard "
    "error\n"
    "over rows, and KL(best-of-N || policy) = log N - (N - 1)/N.\n\n";

enum { SCORE, GOLD, TOKENS, N_KINDS };
static const char *const names[N_KINDS] = {"score", "gold", "tokens"};

/* Answers of a row: n values of each kind, one behind the other. */
struct row {
  int64_t n;
  double *value[N_KINDS];
};
struct rows {
  struct row *row;
  int64_t n, cap, n_aside;
  bool gold; /* all rows have it */
};

/* Whether the row can be used; then its memory is the caller's. */
static lrl_status take(const json_t *value, struct row *r, bool *gold, bool *usable) {
  const json_t *list = json_object_get(value, "responses");
  const size_t n = json_array_size(list);
  *usable = n > 0;
  *r = (struct row){.n = (int64_t)n};
  double *v = calloc(n * N_KINDS + 1, sizeof *v);
  if (v == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %zu answers", n);
  for (int k = 0; k < N_KINDS; k++)
    r->value[k] = v + (size_t)k * n;
  for (size_t i = 0; i < n && *usable; i++)
    for (int k = 0; k < N_KINDS; k++) {
      const json_t *x = json_object_get(json_array_get(list, i), names[k]);
      r->value[k][i] = json_number_value(x);
      *usable = *usable && (json_is_number(x) || k == GOLD);
      *gold = *gold && (json_is_number(x) || k != GOLD || !*usable);
    }
  if (!*usable)
    free(v);
  return LRL_OK;
}

static lrl_status on_row(void *user, const struct lrl_row *from) {
  struct rows *all = user;
  bool usable;
  if (all->n == all->cap) {
    const int64_t cap = all->cap == 0 ? 256 : 2 * all->cap;
    void *more = realloc(all->row, (size_t)cap * sizeof *all->row);
    if (more == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld rows", (long long)cap);
    all->row = more;
    all->cap = cap;
  }
  LRL_TRY(take(from->value, &all->row[all->n], &all->gold, &usable));
  all->n += usable;
  all->n_aside += !usable;
  return LRL_OK;
}

/* Mean over rows of what best-of-n picks, and its standard error (0 for a single row). */
static void point(const struct rows *all, int64_t n, double *weight, double mean[N_KINDS],
                  double error[N_KINDS]) {
  double sum[N_KINDS] = {0}, square[N_KINDS] = {0};
  for (int64_t i = 0; i < all->n; i++) {
    const struct row *r = &all->row[i];
    lrl_best_of_weights(r->value[SCORE], r->n, n, weight);
    for (int k = 0; k < N_KINDS; k++) {
      double x = 0;
      for (int64_t j = 0; j < r->n; j++)
        x += weight[j] * r->value[k][j];
      sum[k] += x;
      square[k] += x * x;
    }
  }
  const double m = (double)all->n;
  for (int k = 0; k < N_KINDS; k++) {
    mean[k] = sum[k] / m;
    error[k] = m < 2 ? 0 : sqrt(fmax(0, square[k] / m - mean[k] * mean[k]) / (m - 1));
  }
}

static lrl_status write_point(FILE *out, int64_t n, const struct rows *all, const double *mean,
                              const double *error) {
  json_t *o = json_pack("{sI sf sI}", "n", (json_int_t)n, "kl", lrl_best_of_kl(n), "num_prompts",
                        (json_int_t)all->n);
  char key[32];
  for (int k = 0; k < N_KINDS; k++) {
    if (k == GOLD && !all->gold)
      continue;
    json_object_set_new(o, names[k], json_real(mean[k]));
    snprintf(key, sizeof key, "%s_se", names[k]);
    json_object_set_new(o, key, json_real(error[k]));
  }
  char *line = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
  const bool ok = line != NULL && fprintf(out, "%s\n", line) > 0;
  free(line);
  json_decref(o);
  return ok ? LRL_OK : LRL_FAIL(LRL_ERR_IO, "cannot write the curve: %s", strerror(errno));
}

static lrl_status print_curve(const struct rows *all, int64_t most, FILE *out) {
  double *weight = NULL, mean[N_KINDS], error[N_KINDS];
  int64_t widest = 1;
  for (int64_t i = 0; i < all->n; i++)
    widest = all->row[i].n > widest ? all->row[i].n : widest;
  weight = malloc((size_t)widest * sizeof *weight);
  if (weight == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the curve");
  printf("%6s %8s %18s %18s %8s\n", "N", "KL", "score", all->gold ? "gold" : "", "tokens");
  lrl_status status = LRL_OK;
  for (int64_t n = 1; n <= most && status == LRL_OK; n *= 2) {
    point(all, n, weight, mean, error);
    printf("%6lld %8.3f %9.4f +- %5.4f", (long long)n, lrl_best_of_kl(n), mean[SCORE],
           error[SCORE]);
    if (all->gold)
      printf(" %9.4f +- %5.4f", mean[GOLD], error[GOLD]);
    else
      printf(" %18s", "");
    printf(" %8.1f\n", mean[TOKENS]);
    if (out != NULL)
      status = write_point(out, n, all, mean, error);
  }
  free(weight);
  return status;
}

static lrl_status curve(const struct curve_options *o, const char *path) {
  struct rows all = {.gold = true};
  FILE *out = NULL;
  lrl_status status;
  LRL_TRY_GOTO(lrl_rows_read(path, on_row, &all));
  if (all.n_aside > 0)
    fprintf(stderr, "laurel bon-curve: %lld of %lld rows have no scored answers\n",
            (long long)all.n_aside, (long long)all.n + (long long)all.n_aside);
  if (all.n == 0)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_FORMAT,
                          "%s has no row with scored answers; write it with laurel generate "
                          "--reward MODEL --samples N",
                          path));
  int64_t most = all.row[0].n;
  for (int64_t i = 1; i < all.n; i++)
    most = all.row[i].n < most ? all.row[i].n : most;
  if (o->out[0] != '\0' && (out = fopen(o->out, "w")) == NULL)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", o->out, strerror(errno)));
  LRL_TRY_GOTO(print_curve(&all, most, out));
done:
  if (out != NULL && fclose(out) != 0 && status == LRL_OK)
    status = LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", o->out, strerror(errno));
  for (int64_t i = 0; i < all.n; i++)
    free(all.row[i].value[0]);
  free(all.row);
  return status;
}

int lrl_command_bon_curve(int argc, char **argv) {
  struct curve_options o;
  int n_rest = 0;
  const int shown = lrl_arguments_usage(&table, usage_text, argc, argv);
  if (shown >= 0)
    return shown;
  lrl_status s = lrl_arguments_parse(&table, &o, argc, argv, &n_rest);
  if (s == LRL_OK && n_rest != 1)
    s = LRL_FAIL(LRL_ERR_ARG, "one file of answers is needed");
  if (s == LRL_OK)
    s = curve(&o, argv[0]);
  if (s != LRL_OK)
    fprintf(stderr, "laurel bon-curve: %s\n", lrl_last_error());
  return s == LRL_OK ? 0 : 1;
}
