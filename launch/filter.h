/* The parts of `laurel filter`: filter.c (the command), filter_score.c (rows and their scores),
 * filter_contrast.c (other replies to measure against), filter_log.c (scores that are known
 * already), filter_flag.c (which are too low), filter_write.c and filter_sheet.c (what comes out).
 * Private to them. */
#ifndef LRL_FILTER_H
#define LRL_FILTER_H
#include "data/pairs.h"
#include "data/rows.h"
#include "data/whole_file.h"
#include "train/options.h"
#include "train/outliers.h"

struct lrl_filter_options {
  char model[LRL_OPTION_TEXT], data[LRL_OPTION_TEXT], out[LRL_OPTION_TEXT], below[LRL_OPTION_TEXT],
      source_key[LRL_OPTION_TEXT], fault_key[LRL_OPTION_TEXT], image_root[LRL_OPTION_TEXT];
  double z, lowest;
  bool per_source;
  int64_t contrast, sheet, hd_num, max_length, batch_tokens, threads;
  int image_transform, device;
};

struct lrl_filter_row {
  double score, z;       /* NaN: it could not be scored */
  double reward;         /* of the model; the score, unless that is a contrast */
  int32_t n_others;      /* replies that the score is measured against */
  int32_t source, fault; /* index of its name; fault -1: not labelled */
  bool flagged;
  char *reason; /* why it is flagged, or could not be scored; NULL */
};

/* Names in the order in which they first appear. */
struct lrl_filter_names {
  char **name;
  int32_t n;
};
enum { LRL_FILTER_MOST_NAMES = 1000 };

/* Rows of one source, or all rows. */
struct lrl_filter_group {
  int64_t n_rows, n_flagged;
  struct lrl_spread spread;
  double cut; /* of --lowest; -INFINITY: none */
};

struct lrl_filter {
  struct lrl_filter_options o;
  double below; /* -INFINITY: no threshold */
  char **file;  /* of --data */
  int64_t n_files;
  struct lrl_filter_row *row;
  int64_t n, cap, n_scored, n_flagged, n_cut;
  bool relative_images; /* some row names a picture from its file's folder on */
  struct lrl_filter_names sources, faults;
  struct lrl_filter_group *group; /* one a source; with per_source false one in all */
};

/* Index of the source of a row. */
lrl_status lrl_filter_source(struct lrl_filter *f, int64_t file, const struct lrl_pair *p,
                             int32_t *source);

/* filter_contrast.c: the replies of all rows. draw gives at most `most` distinct ones, none empty
 * and none the row's own: of rows with the same source and question, then of the same source. A
 * function of the data and the row alone. */
struct lrl_filter_replies;
lrl_status lrl_filter_replies_read(struct lrl_filter *f, struct lrl_filter_replies **out);
int lrl_filter_replies_draw(const struct lrl_filter_replies *r, int64_t row, char **out, int most);
void lrl_filter_replies_free(struct lrl_filter_replies *r);
enum { LRL_FILTER_MOST_OTHERS = 64 };

/* filter_log.c: (out)/scoring.jsonl. open reads what an earlier call over the same data with the
 * same model wrote, up to the first line that is damaged, and begins anew after anything else. */
struct lrl_filter_known {
  double score, reward;
  char *reason;
};
struct lrl_filter_log {
  FILE *f;
  char path[LRL_OPTION_TEXT + 32];
  struct lrl_filter_known *known; /* of rows 0, 1, ... */
  int64_t n_known, cap_known;
};
lrl_status lrl_filter_log_open(struct lrl_filter_log *s, const struct lrl_filter *f,
                               const char *checkpoint);
lrl_status lrl_filter_log_put(struct lrl_filter_log *s, int64_t i, const struct lrl_filter_row *r);
lrl_status lrl_filter_log_flush(struct lrl_filter_log *s);
lrl_status lrl_filter_log_close(struct lrl_filter_log *s); /* fine when it was never opened */

/* filter_score.c: reads the files and scores their rows, going on where an earlier call over the
 * same data with the same model stopped: (out)/scoring.jsonl keeps every score as soon as it is
 * known. LRL_ERR_FORMAT when there is no row, or none can be scored. */
lrl_status lrl_filter_score(struct lrl_filter *f);
/* Calls fn for every row of every file in the order of f->row. */
lrl_status lrl_filter_read(struct lrl_filter *f,
                           lrl_status (*fn)(void *user, int64_t file, struct lrl_pair *pair),
                           void *user);
/* Folder where a file's relative image paths start; malloc'ed. */
char *lrl_filter_image_root(const struct lrl_filter *f, int64_t file);

/* filter_flag.c: fills group, and z, flagged and reason of the rows. */
lrl_status lrl_filter_flag(struct lrl_filter *f);
static inline struct lrl_filter_group *lrl_filter_group_of(const struct lrl_filter *f,
                                                           const struct lrl_filter_row *r) {
  return &f->group[f->o.per_source ? r->source : 0];
}
/* Rows with fault k, and AUC of the scores ([0]) and of z ([1]) of the rows without a fault against
 * theirs: NaN for "none" and where one of the two has no scores. */
struct lrl_filter_fault {
  int64_t n_rows, n_flagged;
  struct lrl_auc auc[2];
};
lrl_status lrl_filter_fault_of(const struct lrl_filter *f, int32_t k, struct lrl_filter_fault *out);

/* filter_write.c: kept.json, flagged.json, scores.jsonl and sheet.html, all or none. */
lrl_status lrl_filter_write(struct lrl_filter *f);

/* filter_sheet.c: of the rows with these numbers, in this order, the first n_flagged flagged. take
 * is called for every row while the files are read. */
struct lrl_filter_sheet;
lrl_status lrl_filter_sheet_create(const struct lrl_filter *f, struct lrl_filter_sheet **out);
lrl_status lrl_filter_sheet_take(struct lrl_filter_sheet *s, int64_t row, int64_t file,
                                 const struct lrl_pair *pair);
lrl_status lrl_filter_sheet_write(const struct lrl_filter_sheet *s, FILE *to);
void lrl_filter_sheet_free(struct lrl_filter_sheet *s);
#endif
