/* What `laurel filter` writes. Rows go over byte by byte as they stand in the file. */
#include "launch/filter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT, FLAGGED, SCORES, SHEET, N_FILES };
static const char *const names[N_FILES] = {"kept.json", "flagged.json", "scores.jsonl",
                                           "sheet.html"};

struct writer {
  struct lrl_filter *f;
  struct lrl_whole_file file[N_FILES];
  struct lrl_filter_sheet *sheet;
  int64_t at, n_in[2];
};

static lrl_status put_score(struct writer *w, int64_t file, const struct lrl_pair *p,
                            const struct lrl_filter_row *r) {
  const struct lrl_filter *f = w->f;
  json_t *o = json_pack("{sI sI}", "row", (json_int_t)w->at, "line", (json_int_t)p->line);
  if (f->n_files > 1)
    json_object_set_new(o, "file", json_string(f->file[file]));
  if (p->id[0] != '\0')
    json_object_set_new(o, "id", json_string(p->id));
  json_object_set_new(o, "source", json_string(f->sources.name[r->source]));
  if (r->fault >= 0)
    json_object_set_new(o, f->o.fault_key, json_string(f->faults.name[r->fault]));
  json_object_set_new(o, "score", isfinite(r->score) ? json_real(r->score) : json_null());
  if (f->o.contrast > 0)
    json_object_set_new(o, "reward", isfinite(r->reward) ? json_real(r->reward) : json_null());
  json_object_set_new(o, "z", isfinite(r->z) ? json_real(r->z) : json_null());
  json_object_set_new(o, "flagged", json_boolean(r->flagged));
  json_object_set_new(o, "reason", json_string(r->reason == NULL ? "" : r->reason));
  char *line = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
  json_decref(o);
  if (line == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the scores");
  fprintf(w->file[SCORES].f, "%s\n", line); /* errors show when the file is finished */
  free(line);
  return LRL_OK;
}

static lrl_status on_row(void *user, int64_t file, struct lrl_pair *p) {
  struct writer *w = user;
  if (w->at == w->f->n)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s has grown since it was scored", w->f->file[file]);
  const struct lrl_filter_row *r = &w->f->row[w->at];
  const int to = r->flagged ? FLAGGED : KEPT;
  LRL_TRY(put_score(w, file, p, r));
  LRL_TRY(lrl_filter_sheet_take(w->sheet, w->at, file, p));
  if (p->aside != LRL_ASIDE_JSON) { /* a line that is not JSON has no place in a list */
    fprintf(w->file[to].f, "%s\n", w->n_in[to]++ == 0 ? "" : ",");
    fwrite(p->from->text, 1, p->from->n_text, w->file[to].f);
  }
  w->at++;
  return LRL_OK;
}

static lrl_status write_all(struct writer *w) {
  for (int k = 0; k < N_FILES; k++) {
    char path[LRL_OPTION_TEXT + 32];
    snprintf(path, sizeof path, "%s/%s", w->f->o.out, names[k]);
    LRL_TRY(lrl_whole_file_open(&w->file[k], path));
  }
  LRL_TRY(lrl_filter_sheet_create(w->f, &w->sheet));
  fputs("[", w->file[KEPT].f);
  fputs("[", w->file[FLAGGED].f);
  LRL_TRY(lrl_filter_read(w->f, on_row, w));
  fputs("\n]\n", w->file[KEPT].f);
  fputs("\n]\n", w->file[FLAGGED].f);
  LRL_TRY(lrl_filter_sheet_write(w->sheet, w->file[SHEET].f));
  for (int k = 0; k < N_FILES; k++)
    LRL_TRY(lrl_whole_file_finish(&w->file[k]));
  for (int k = 0; k < N_FILES; k++)
    LRL_TRY(lrl_whole_file_commit(&w->file[k]));
  return LRL_OK;
}

lrl_status lrl_filter_write(struct lrl_filter *f) {
  struct writer w = {.f = f};
  const lrl_status status = write_all(&w);
  for (int k = 0; k < N_FILES; k++)
    lrl_whole_file_close(&w.file[k]);
  lrl_filter_sheet_free(w.sheet);
  return status;
}
