/* `laurel report`: one page about one or more runs. */
#include "launch/report.h"

#include "data/whole_file.h"
#include "launch/arguments.h"
#include "launch/commands.h"
#include "train/option_rows.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_RUNS = 16 };

struct report_options {
  char out[LRL_OPTION_TEXT], title[LRL_OPTION_TEXT];
};
#define AT(f) offsetof(struct report_options, f)
static const struct lrl_option rows[] = {
    LRL_ROW_TEXT("out", AT(out), "report.html", "file to write"),
    LRL_ROW_TEXT("title", AT(title), "", "heading; empty: the names of the runs"),
};
#undef AT
static const struct lrl_option_table table = {rows, sizeof rows / sizeof rows[0]};

static const char usage_text[] =
    "usage: laurel report RUN [RUN ...] [--out report.html]\n"
    "\n"
    "RUN is the folder of a run of laurel reward, sft or ppo, finished or not. The page has "
    "curves\n"
    "of all metrics with the runs over each other, accuracy by source, margins, samples, what the\n"
    "configs differ in, machines and commits. It is one file that loads nothing.\n\n";

/* Two runs "run" are told apart by their paths. */
static void name_runs(struct lrl_report_run *r, int n) {
  bool twice[MOST_RUNS] = {false};
  for (int i = 0; i < n; i++)
    for (int k = 0; k < n; k++)
      twice[i] = twice[i] || (i != k && strcmp(r[i].name, r[k].name) == 0);
  for (int i = 0; i < n; i++)
    if (twice[i]) {
      const size_t len = strlen(r[i].path), most = sizeof r[i].name - 1;
      snprintf(r[i].name, sizeof r[i].name, "%s", r[i].path + (len > most ? len - most : 0));
    }
}

static lrl_status write_page(const struct report_options *o, const struct lrl_report_run *r,
                             int n) {
  struct lrl_whole_file file = {0};
  char title[LRL_OPTION_TEXT] = "";
  for (int i = 0; i < n; i++) {
    const size_t used = strlen(title);
    snprintf(title + used, sizeof title - used, "%s%s", i > 0 ? ", " : "", r[i].name);
  }
  lrl_status s = lrl_whole_file_open(&file, o->out);
  if (s == LRL_OK)
    s = lrl_report_page(file.f, o->title[0] != '\0' ? o->title : title, r, n);
  if (s == LRL_OK)
    s = lrl_whole_file_commit(&file);
  lrl_whole_file_close(&file);
  return s;
}

static lrl_status report(const struct report_options *o, int n, char **paths) {
  static struct lrl_report_run r[MOST_RUNS];
  if (n == 0 || n > MOST_RUNS)
    return LRL_FAIL(LRL_ERR_ARG, "name one to %d folders of runs", MOST_RUNS);
  lrl_status s = LRL_OK;
  int n_read = 0;
  while (n_read < n && s == LRL_OK)
    s = lrl_report_read(paths[n_read], &r[n_read]), n_read++;
  name_runs(r, n_read);
  if (s == LRL_OK)
    s = write_page(o, r, n);
  for (int i = 0; i < n_read && s == LRL_OK; i++)
    if (r[i].n_damaged > 0)
      fprintf(stderr, "laurel report: %s: %lld lines are no metrics and are left out\n", r[i].path,
              (long long)r[i].n_damaged);
  for (int i = 0; i < n_read; i++)
    lrl_report_run_free(&r[i]);
  if (s == LRL_OK)
    printf("%s\n", o->out);
  return s;
}

int lrl_command_report(int argc, char **argv) {
  struct report_options o;
  int n_rest = 0;
  const int shown = lrl_arguments_usage(&table, usage_text, argc, argv);
  if (shown >= 0)
    return shown;
  lrl_status s = lrl_arguments_parse(&table, &o, argc, argv, &n_rest);
  if (s == LRL_OK)
    s = report(&o, n_rest, argv);
  if (s != LRL_OK)
    fprintf(stderr, "laurel report: %s\n", lrl_last_error());
  return s == LRL_OK ? 0 : 1;
}
