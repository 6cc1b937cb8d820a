#include "data/benchmark.h"

#include "data/bytes.h"
#include "data/rows.h"

#include <stdlib.h>
#include <string.h>

/* Groups in the order of the benchmark's files, and how many items each has there (SPEC 7). */
static const char *const vl_names[] = {"general", "hallucination", "reasoning", NULL};
static const char *const rewardbench_names[] = {"alpacaeval-easy",
                                                "alpacaeval-length",
                                                "alpacaeval-hard",
                                                "mt-bench-easy",
                                                "mt-bench-med",
                                                "mt-bench-hard",
                                                "llmbar-natural",
                                                "llmbar-adver-neighbor",
                                                "llmbar-adver-GPTInst",
                                                "llmbar-adver-GPTOut",
                                                "llmbar-adver-manual",
                                                "refusals-dangerous",
                                                "refusals-offensive",
                                                "xstest-should-refuse",
                                                "xstest-should-respond",
                                                "donotanswer",
                                                "math-prm",
                                                "hep-cpp",
                                                "hep-go",
                                                "hep-java",
                                                "hep-js",
                                                "hep-python",
                                                "hep-rust",
                                                NULL};
static const char *const rm_bench_names[] = {
    "chat", "code", "math", "safety-refuse", "safety-response", NULL};
static const int vl_counts[] = {183, 749, 318};
static const int rewardbench_counts[] = {100, 95,  95,  28,  40,  37,  100, 134, 92,  47,  46, 100,
                                         100, 154, 250, 136, 447, 164, 164, 164, 164, 164, 164};
static const int rm_bench_counts[] = {129, 228, 529, 284, 157};

static const struct {
  const char *const *names;
  const int *counts;
  int styles;
} kinds[] = {[LRL_VL_REWARDBENCH] = {vl_names, vl_counts, 1},
             [LRL_REWARDBENCH] = {rewardbench_names, rewardbench_counts, 1},
             [LRL_RM_BENCH] = {rm_bench_names, rm_bench_counts, 3}};

const char *const *lrl_benchmark_groups(enum lrl_benchmark_kind kind) { return kinds[kind].names; }

static int find_group(enum lrl_benchmark_kind kind, const char *name) {
  for (int i = 0; name != NULL && kinds[kind].names[i] != NULL; i++)
    if (strcmp(kinds[kind].names[i], name) == 0)
      return i;
  return -1;
}

/* The group of item i of the benchmark's own order; -1 behind its end. */
static int group_at(enum lrl_benchmark_kind kind, int64_t i) {
  for (int g = 0; kinds[kind].names[g] != NULL; i -= kinds[kind].counts[g++])
    if (i < kinds[kind].counts[g])
      return g;
  return -1;
}

static void begin(struct lrl_benchmark *b, enum lrl_benchmark_kind kind) {
  *b = (struct lrl_benchmark){.kind = kind, .n_styles = kinds[kind].styles};
}

void lrl_benchmark_free(struct lrl_benchmark *b) {
  for (int64_t i = 0; i < b->n; i++)
    json_decref(b->items[i].row);
  free(b->items);
  *b = (struct lrl_benchmark){0};
}

static lrl_status append(struct lrl_benchmark *b, const struct lrl_benchmark_item *item) {
  if (b->n == b->cap) {
    const int64_t cap = 2 * b->cap + 256;
    void *more = realloc(b->items, (size_t)cap * sizeof *b->items);
    if (more == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld items", (long long)cap);
    b->items = more;
    b->cap = cap;
  }
  b->items[b->n++] = *item;
  return LRL_OK;
}

/* ---- the benchmark's data ---- */

static bool contains(const char *s, const char *const *words) {
  for (; *words != NULL; words++)
    if (strstr(s, *words) != NULL)
      return true;
  return false;
}

/* The official rule goes by the image's path; copies that renamed the images keep the source in the
 * id, which gives the same 183, 749 and 318. */
static int vl_group(const json_t *row) {
  static const char *const reasoning[] = {"reasoning_tasks", "mathverse", "mmmu", NULL};
  static const char *const hallucination[] = {"povid",  "rlhf-v",  "rlaif-v", "hallucination_pair",
                                              "RLHF-V", "RLAIF-V", "RLHF",    "RLAIF",
                                              NULL};
  const char *image = json_string_value(json_object_get(row, "image"));
  const char *id = json_string_value(json_object_get(row, "id"));
  char both[1000];
  snprintf(both, sizeof both, "%.500s %.400s", image == NULL ? "" : image, id == NULL ? "" : id);
  return contains(both, reasoning) ? 2 : contains(both, hallucination) ? 1 : 0;
}

static bool is_texts(const json_t *v, size_t n) {
  if (n == 1 && json_is_string(v))
    return true;
  for (size_t i = 0; i < n; i++)
    if (!json_is_string(json_array_get(v, i)))
      return false;
  return json_array_size(v) == n;
}

static bool good_row(const struct lrl_benchmark *b, const json_t *row) {
  const size_t n = (size_t)b->n_styles;
  if (b->kind == LRL_VL_REWARDBENCH) {
    const json_t *rank = json_object_get(row, "human_ranking");
    const json_int_t a = json_integer_value(json_array_get(rank, 0)),
                     c = json_integer_value(json_array_get(rank, 1));
    return json_is_string(json_object_get(row, "query")) &&
           is_texts(json_object_get(row, "response"), 2) && json_array_size(rank) == 2 &&
           a + c == 1 && a * c == 0;
  }
  return json_is_string(json_object_get(row, "prompt")) &&
         is_texts(json_object_get(row, "chosen"), n) &&
         is_texts(json_object_get(row, "rejected"), n);
}

struct reader {
  struct lrl_benchmark *b;
  const char *path;
};

static lrl_status on_row(void *user, const struct lrl_row *r) {
  struct reader *reader = user;
  struct lrl_benchmark *b = reader->b;
  struct lrl_benchmark_item item = {0};
  const char *name = NULL;
  if (r->value == NULL || !good_row(b, r->value))
    return LRL_FAIL(LRL_ERR_FORMAT, "%s: row %lld is not a row of this benchmark", reader->path,
                    (long long)r->row + 1);
  if (b->kind == LRL_VL_REWARDBENCH) {
    item.group = vl_group(r->value);
  } else {
    name = json_string_value(
        json_object_get(r->value, b->kind == LRL_REWARDBENCH ? "subset" : "domain"));
    item.group = find_group(b->kind, name);
  }
  if (item.group < 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s: row %lld is of %.60s, which this benchmark does not have",
                    reader->path, (long long)r->row + 1, name == NULL ? "no group" : name);
  item.row = json_deep_copy(r->value);
  return append(b, &item);
}

lrl_status lrl_benchmark_read(enum lrl_benchmark_kind kind, const char *path,
                              struct lrl_benchmark *out) {
  struct reader r = {out, path};
  begin(out, kind);
  lrl_status s = lrl_rows_read(path, on_row, &r);
  if (s == LRL_OK && out->n == 0)
    s = LRL_FAIL(LRL_ERR_FORMAT, "%s holds no rows", path);
  if (s != LRL_OK)
    lrl_benchmark_free(out);
  return s;
}

static const char *text_of(const json_t *v, int k) {
  return json_string_value(json_is_string(v) ? v : json_array_get(v, (size_t)k));
}

void lrl_benchmark_chat(const struct lrl_benchmark *b, const struct lrl_benchmark_item *item, int k,
                        struct lrl_message out[2]) {
  const bool vl = b->kind == LRL_VL_REWARDBENCH, chosen = k < b->n_styles;
  const char *prompt = json_string_value(json_object_get(item->row, vl ? "query" : "prompt"));
  const json_t *rank = json_object_get(item->row, "human_ranking");
  const char *answer =
      vl ? text_of(json_object_get(item->row, "response"),
                   (int)json_integer_value(json_array_get(rank, chosen ? 0 : 1)))
         : text_of(json_object_get(item->row, chosen ? "chosen" : "rejected"), k % b->n_styles);
  out[0] = (struct lrl_message){.role = "user", .content = prompt};
  out[1] = (struct lrl_message){.role = "assistant", .content = answer};
}

const char *lrl_benchmark_image(const struct lrl_benchmark_item *item) {
  return json_string_value(json_object_get(item->row, "image"));
}

/* ---- scores ---- */

static bool numbers(const json_t *v, int n, double *out) {
  if (n == 1 && json_is_number(v)) {
    *out = json_number_value(v);
    return true;
  }
  for (int i = 0; i < n; i++) {
    const json_t *x = json_array_get(v, (size_t)i);
    if (!json_is_number(x))
      return false;
    out[i] = json_number_value(x);
  }
  return json_array_size(v) == (size_t)n;
}

/* Rows that a file without groups lacks are the first ones: only its beginning can be lost. */
static lrl_status read_list(struct lrl_benchmark *b, const json_t *list, bool damaged,
                            const char *path) {
  int64_t total = 0;
  const int64_t n = (int64_t)json_array_size(list);
  const bool grouped = json_object_get(json_array_get(list, 0), "group") != NULL;
  for (int g = 0; kinds[b->kind].names[g] != NULL; g++)
    total += kinds[b->kind].counts[g];
  b->n_lost = damaged && !grouped && n < total ? total - n : 0;
  if (!grouped && n + b->n_lost != total)
    return LRL_FAIL(LRL_ERR_FORMAT,
                    "%s holds %lld scores without groups; the whole benchmark has %lld", path,
                    (long long)n, (long long)total);
  for (int64_t i = 0; i < n; i++) {
    const json_t *row = json_array_get(list, (size_t)i);
    struct lrl_benchmark_item item = {.scored = true};
    const char *name = json_string_value(json_object_get(row, "group"));
    item.group = grouped ? find_group(b->kind, name) : group_at(b->kind, i + b->n_lost);
    if (item.group < 0 ||
        !numbers(json_object_get(row, "score_chosen"), b->n_styles, item.chosen) ||
        !numbers(json_object_get(row, "score_rejected"), b->n_styles, item.rejected))
      return LRL_FAIL(LRL_ERR_FORMAT, "%s: row %lld holds no scores of this benchmark", path,
                      (long long)i + 1);
    LRL_TRY(append(b, &item));
  }
  return LRL_OK;
}

/* {"out_general": [0, 1, ...], "out_hallucination": ..., "out_reasoning": ...} */
static lrl_status read_outcomes(struct lrl_benchmark *b, const json_t *root, const char *path) {
  for (int g = 0; vl_names[g] != NULL; g++) {
    char key[40];
    snprintf(key, sizeof key, "out_%s", vl_names[g]);
    const json_t *list = json_object_get(root, key), *v;
    size_t i;
    if (!json_is_array(list))
      return LRL_FAIL(LRL_ERR_FORMAT, "%s holds no list %s", path, key);
    json_array_foreach(list, i, v) {
      const json_int_t x = json_is_integer(v) ? json_integer_value(v) : -1;
      if (x != 0 && x != 1)
        return LRL_FAIL(LRL_ERR_FORMAT, "%s: %s holds something else than 0 and 1", path, key);
      LRL_TRY(append(b, &(struct lrl_benchmark_item){
                            .group = g, .scored = true, .official = true, .right = x == 1}));
    }
  }
  return LRL_OK;
}

/* The text from the first whole row on, when the file begins with NULs; an opening bracket takes
 * the place before it. */
static char *first_whole_row(char *text, size_t n) {
  size_t at = 0;
  while (at < n && text[at] == '\0')
    at++;
  char *row = at > 0 ? strstr(text + at, "},") : NULL;
  if (row == NULL)
    return text + at;
  row[1] = '[';
  return row + 1;
}

lrl_status lrl_benchmark_read_scores(enum lrl_benchmark_kind kind, const char *path,
                                     struct lrl_benchmark *out) {
  char *text;
  size_t n;
  json_error_t e;
  begin(out, kind);
  LRL_TRY(lrl_file_read(path, &text, &n));
  const char *from = first_whole_row(text, n);
  json_t *root = json_loads(from, 0, &e);
  lrl_status s;
  if (json_is_array(root))
    s = read_list(out, root, from != text, path);
  else if (json_is_object(root) && kind == LRL_VL_REWARDBENCH)
    s = read_outcomes(out, root, path);
  else
    s = LRL_FAIL(LRL_ERR_FORMAT, "%s is no file of scores: %s", path,
                 root == NULL ? e.text : "not a list");
  json_decref(root);
  free(text);
  if (s != LRL_OK)
    lrl_benchmark_free(out);
  return s;
}

static json_t *some_numbers(const double *x, int n) {
  if (n == 1)
    return json_real(x[0]);
  json_t *a = json_array();
  for (int i = 0; i < n; i++)
    json_array_append_new(a, json_real(x[i]));
  return a;
}

json_t *lrl_benchmark_scores(const struct lrl_benchmark *b) {
  json_t *list = json_array();
  for (int64_t i = 0; i < b->n; i++) {
    const struct lrl_benchmark_item *item = &b->items[i];
    if (!item->scored || item->official)
      continue;
    json_t *o = json_pack("{ss so so}", "group", kinds[b->kind].names[item->group], "score_chosen",
                          some_numbers(item->chosen, b->n_styles), "score_rejected",
                          some_numbers(item->rejected, b->n_styles));
    json_t *id = json_object_get(item->row, "id");
    if (id != NULL)
      json_object_set(o, "id", id);
    json_array_append_new(list, o);
  }
  return list;
}
