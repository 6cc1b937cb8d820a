/* Replies to put in a row's place. A Bradley-Terry model learns differences between replies to one
 * prompt; what it adds to all of them is arbitrary and differs from prompt to prompt. The score of
 * a reply less the mean of others to the same prompt and pictures has no such part. */
#include "kernels/philox.h"
#include "launch/filter.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* A reply with the place it stands in: rows of one source and question are neighbours. */
struct reply {
  int32_t source;
  uint64_t question;
  int64_t row;
  char *text; /* NULL: empty, or none */
};
struct lrl_filter_replies {
  struct reply *by_place;
  int64_t *place; /* of a row */
  int64_t n, cap;
  struct lrl_filter *f;
};

static lrl_status on_row(void *user, int64_t file, struct lrl_pair *p) {
  struct lrl_filter_replies *r = user;
  struct reply x = {.row = r->n};
  LRL_TRY(lrl_filter_source(r->f, file, p, &x.source));
  if (p->aside == LRL_ASIDE_NONE) {
    for (int64_t i = 0; i + 1 < p->n_chosen; i++)
      x.question = XXH64(p->chosen[i].content, strlen(p->chosen[i].content), x.question + 1);
    const char *text = p->chosen[p->n_chosen - 1].content;
    if (text[strspn(text, " \t\r\n")] != '\0' && (x.text = strdup(text)) == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the replies");
  }
  if (r->n == r->cap) {
    const int64_t cap = r->cap == 0 ? 1024 : 2 * r->cap;
    struct reply *more = realloc(r->by_place, (size_t)cap * sizeof *more);
    if (more == NULL) {
      free(x.text);
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld replies", (long long)cap);
    }
    r->by_place = more;
    r->cap = cap;
  }
  r->by_place[r->n++] = x;
  return LRL_OK;
}

static int by_place(const void *a, const void *b) {
  const struct reply *x = a, *y = b;
  if (x->source != y->source)
    return x->source < y->source ? -1 : 1;
  if (x->question != y->question)
    return x->question < y->question ? -1 : 1;
  return (x->row > y->row) - (x->row < y->row);
}

lrl_status lrl_filter_replies_read(struct lrl_filter *f, struct lrl_filter_replies **out) {
  struct lrl_filter_replies *r = *out = calloc(1, sizeof *r);
  if (r == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the replies");
  r->f = f;
  LRL_TRY(lrl_filter_read(f, on_row, r));
  r->place = calloc((size_t)r->n + 1, sizeof *r->place);
  if (r->place == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld replies", (long long)r->n);
  if (r->n > 0)
    qsort(r->by_place, (size_t)r->n, sizeof *r->by_place, by_place);
  for (int64_t i = 0; i < r->n; i++)
    r->place[r->by_place[i].row] = i;
  return LRL_OK;
}

void lrl_filter_replies_free(struct lrl_filter_replies *r) {
  for (int64_t i = 0; r != NULL && i < r->n; i++)
    free(r->by_place[i].text);
  if (r != NULL) {
    free(r->by_place);
    free(r->place);
  }
  free(r);
}

static bool is_new(const char *text, const char *own, char *const *out, int n) {
  bool fresh = text != NULL && (own == NULL || strcmp(text, own) != 0);
  for (int i = 0; i < n && fresh; i++)
    fresh = strcmp(text, out[i]) != 0;
  return fresh;
}

/* Distinct replies of the places [from, to), from a random one on. */
static int draw(const struct lrl_filter_replies *r, struct lrl_rng *rng, const char *own,
                int64_t from, int64_t to, char **out, int n, int most) {
  enum { TRIES = 256 };
  const int64_t m = to - from, begin = (int64_t)lrl_rng_below(rng, (uint64_t)m);
  for (int64_t k = 0; k < m && k < TRIES && n < most; k++) {
    char *text = r->by_place[from + (begin + k) % m].text;
    if (is_new(text, own, out, n))
      out[n++] = text;
  }
  return n;
}

int lrl_filter_replies_draw(const struct lrl_filter_replies *r, int64_t row, char **out, int most) {
  struct lrl_rng rng = lrl_rng_make(0, LRL_RNG_SAMPLE, (uint64_t)row);
  const int64_t at = r->place[row];
  const struct reply *mine = &r->by_place[at];
  int64_t from = at, to = at + 1;
  while (from > 0 && r->by_place[from - 1].source == mine->source &&
         r->by_place[from - 1].question == mine->question)
    from--;
  while (to < r->n && r->by_place[to].source == mine->source &&
         r->by_place[to].question == mine->question)
    to++;
  int n = draw(r, &rng, mine->text, from, to, out, 0, most);
  if (n == most)
    return n;
  while (from > 0 && r->by_place[from - 1].source == mine->source)
    from--;
  while (to < r->n && r->by_place[to].source == mine->source)
    to++;
  return draw(r, &rng, mine->text, from, to, out, n, most);
}
