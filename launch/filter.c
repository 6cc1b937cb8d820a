/* `laurel filter`: finds rows of SFT data that a reward model thinks little of. */
#include "launch/filter.h"

#include "launch/arguments.h"
#include "launch/commands.h"
#include "train/model_options.h"
#include "train/option_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define AT(f) offsetof(struct lrl_filter_options, f)
static const struct lrl_option rows[] = {
    LRL_ROW_TEXT("model", AT(model), "", "reward model: a checkpoint or the folder of a run"),
    LRL_ROW_TEXT("data", AT(data), "",
                 "chats to look at, .json or .jsonl (also .gz), as laurel sft reads them; commas "
                 "between files"),
    LRL_ROW_TEXT("out", AT(out), "", "folder for what comes out"),
    LRL_ROW_INT("contrast", AT(contrast), "0", 0, LRL_FILTER_MOST_OTHERS, "replies",
                "score a row by how much better it is than so many replies of other rows in its "
                "place (of the same question where there are some); 0: by its reward"),
    LRL_ROW_TEXT("below", AT(below), "", "flag scores below this number; empty: off"),
    LRL_ROW_NUM("z", AT(z), "0", 0, 1e6,
                "flag scores so many robust deviations below the median; 0: off, but 3.5 when "
                "below and lowest are off, too"),
    LRL_ROW_NUM("lowest", AT(lowest), "0", 0, 1,
                "flag this share of the scores, ties at its end excepted; 0: off"),
    LRL_ROW_BOOL("per_source", AT(per_source), "true",
                 "median, deviation and share of every source on its own"),
    LRL_ROW_TEXT("source_key", AT(source_key), "source",
                 "key of a row that names its source; rows without one: the name of their file"),
    LRL_ROW_TEXT("fault_key", AT(fault_key), "fault",
                 "key that names a known fault, or none: then AUCs are printed"),
    LRL_ROW_INT("sheet", AT(sheet), "120", 0, 100000, "rows", "most flagged rows on the sheet"),
    LRL_ROW_TEXT("image_root", AT(image_root), "",
                 "where relative image paths start; empty: the folder of each file"),
    LRL_ROW_ENUM("image_transform", AT(image_transform), "inference", "inference|training",
                 "geometry of images"),
    LRL_ROW_INT("hd_num", AT(hd_num), "0", 0, 1000, "tiles",
                "most tiles of an image; 0: as the model was trained"),
    LRL_ROW_INT("max_length", AT(max_length), "16384", 1, 1e9, "tokens",
                "longer chats are cut on the right"),
    LRL_ROW_INT("batch_tokens", AT(batch_tokens), "8192", 1, 1e9, "tokens", "scored at a time"),
    LRL_ROW_INT("threads", AT(threads), "0", 0, 1024, "", "0: as many as the machine has"),
    LRL_ROW_ENUM("device", AT(device), "cpu", LRL_DEVICES, "backend"),
};
#undef AT
static const struct lrl_option_table table = {rows, sizeof rows / sizeof rows[0]};

static const char usage_text[] =
    "usage: laurel filter --model MODEL --data SFT.json --out DIR [options]\n"
    "\n"
    "Scores every row and flags low ones. DIR then holds kept.json and flagged.json (the rows as\n"
    "they were), scores.jsonl (every row with score and reason) and sheet.html (a contact sheet\n"
    "for a browser). scoring.jsonl keeps the scores themselves: the same call again goes on where\n"
    "it was stopped, and with other limits it need not score anything again.\n\n";

static lrl_status check(struct lrl_filter *f) {
  struct lrl_filter_options *o = &f->o;
  const char *missing = o->model[0] == '\0'  ? "a reward model: --model MODEL"
                        : o->data[0] == '\0' ? "the chats to look at: --data SFT.json"
                        : o->out[0] == '\0'  ? "the folder to write: --out DIR"
                                             : NULL;
  if (missing != NULL)
    return LRL_FAIL(LRL_ERR_ARG, "name %s", missing);
  f->below = -INFINITY;
  if (o->below[0] != '\0') {
    char *end;
    f->below = strtod(o->below, &end);
    if (end == o->below || *end != '\0' || !isfinite(f->below))
      return LRL_FAIL(LRL_ERR_ARG, "command line: below must be a number, not '%s'", o->below);
  } else if (!(o->z > 0) && !(o->lowest > 0)) {
    o->z = 3.5; /* what Iglewicz and Hoaglin recommend */
  }
  return LRL_OK;
}

static lrl_status split_files(struct lrl_filter *f) {
  char *copy = strdup(f->o.data), *rest = copy;
  f->file = calloc(strlen(f->o.data) + 1, sizeof *f->file);
  bool ok = copy != NULL && f->file != NULL;
  for (char *name; ok && (name = strsep(&rest, ",")) != NULL;)
    if (name[0] != '\0')
      ok = (f->file[f->n_files++] = strdup(name)) != NULL;
  free(copy);
  return ok ? LRL_OK : LRL_FAIL(LRL_ERR_MEMORY, "no memory for the names of files");
}

/* ---- what the user reads ---- */

static void print_groups(const struct lrl_filter *f) {
  const int32_t n = f->o.per_source ? f->sources.n : 1;
  printf("%-24s %8s %8s %9s %9s\n", "source", "rows", "flagged", "median", "MAD");
  for (int32_t i = 0; i < n; i++) {
    const struct lrl_filter_group *g = &f->group[i];
    const char *note = g->spread.n == 0         ? "  no scores"
                       : !(g->spread.scale > 0) ? "  all scores are equal"
                       : !(g->spread.mad > 0)   ? "  MAD 0: z by the mean deviation"
                                                : "";
    printf("%-24.24s %8lld %8lld %9.3f %9.3f%s\n",
           f->o.per_source ? f->sources.name[i] : "all rows", (long long)g->n_rows,
           (long long)g->n_flagged, g->spread.median, g->spread.mad, note);
  }
}

static lrl_status print_faults(const struct lrl_filter *f) {
  printf("\n%-20s %7s %8s   %-18s %s\n", "fault", "rows", "flagged", "AUC of the score",
         "AUC of z");
  for (int32_t k = 0; k < f->faults.n; k++) {
    struct lrl_filter_fault x;
    LRL_TRY(lrl_filter_fault_of(f, k, &x));
    printf("%-20.20s %7lld %8lld", f->faults.name[k], (long long)x.n_rows, (long long)x.n_flagged);
    if (!isnan(x.auc[0].auc))
      printf("   %.3f +- %.3f     %.3f +- %.3f", x.auc[0].auc, x.auc[0].se, x.auc[1].auc,
             x.auc[1].se);
    printf("\n");
  }
  return LRL_OK;
}

static lrl_status print_all(const struct lrl_filter *f) {
  const char *out = f->o.out;
  printf("%s: %lld rows, %lld flagged, %lld kept; %lld could not be scored\n\n", f->o.data,
         (long long)f->n, (long long)f->n_flagged, (long long)(f->n - f->n_flagged),
         (long long)(f->n - f->n_scored));
  print_groups(f);
  if (f->faults.n > 0)
    LRL_TRY(print_faults(f));
  printf("\n%s/kept.json, flagged.json, scores.jsonl; open %s/sheet.html in a browser\n", out, out);
  if (f->n_cut > 0)
    printf("%lld chats were cut to %lld tokens and read at their last one\n", (long long)f->n_cut,
           (long long)f->o.max_length);
  if (f->o.image_root[0] == '\0' && f->relative_images)
    printf("relative image paths still start at the folder of %s: put kept.json there to train on "
           "it\n",
           f->file[0]);
  return LRL_OK;
}

/* ---- the command ---- */

static void clear(struct lrl_filter *f) {
  for (int64_t i = 0; i < f->n; i++)
    free(f->row[i].reason);
  for (int64_t i = 0; i < f->n_files; i++)
    free(f->file[i]);
  for (int32_t i = 0; i < f->sources.n; i++)
    free(f->sources.name[i]);
  for (int32_t i = 0; i < f->faults.n; i++)
    free(f->faults.name[i]);
  free(f->sources.name);
  free(f->faults.name);
  free(f->row);
  free(f->file);
  free(f->group);
}

static lrl_status filter(struct lrl_filter *f) {
  LRL_TRY(check(f));
  LRL_TRY(split_files(f));
  LRL_TRY(lrl_folder_make(f->o.out));
  LRL_TRY(lrl_filter_score(f));
  LRL_TRY(lrl_filter_flag(f));
  LRL_TRY(lrl_filter_write(f));
  return print_all(f);
}

int lrl_command_filter(int argc, char **argv) {
  static struct lrl_filter f; /* large */
  int n_rest = 0;
  const int shown = lrl_arguments_usage(&table, usage_text, argc, argv);
  if (shown >= 0)
    return shown;
  lrl_status s = lrl_arguments_parse(&table, &f.o, argc, argv, &n_rest);
  if (s == LRL_OK && n_rest > 0)
    s = LRL_FAIL(LRL_ERR_ARG, "command line: '%s' is not an option", argv[0]);
  if (s == LRL_OK)
    s = filter(&f);
  clear(&f);
  if (s != LRL_OK)
    fprintf(stderr, "laurel filter: %s\n", lrl_last_error());
  return s == LRL_OK ? 0 : 1;
}
