#include "kernels/ref/ref.h"

#include <math.h>
#include <stdlib.h>

struct entry {
  double z;
  int64_t id;
};
/* Ascending; of equal ones the higher id first. */
static int by_value(const void *x, const void *y) {
  const struct entry *a = x, *b = y;
  if (a->z < b->z || a->z > b->z)
    return a->z < b->z ? -1 : 1;
  return a->id > b->id ? -1 : 1;
}

static bool usable(const float *x, int64_t v) {
  bool any = false;
  for (int64_t i = 0; i < v; i++) {
    if (isnan(x[i]) || x[i] == INFINITY)
      return false;
    any = any || x[i] > -INFINITY;
  }
  return any;
}

static void finish(const struct lrl_sample_args *a, int64_t t, int64_t id, double logprob) {
  a->token[t] = (int32_t)id;
  a->logprobs[t] = (float)logprob;
}

/* Draws from the entries, which are in order of id. */
static void draw(const struct lrl_sample_args *a, int64_t t, const struct entry *e, double max) {
  const int64_t v = a->n_vocab;
  double total = 0.0, sum = 0.0;
  int64_t id = -1;
  for (int64_t i = 0; i < v; i++)
    total += exp(e[i].z - max);
  for (int64_t i = 0; i < v; i++) {
    const double p = exp(e[i].z - max);
    if (a->probs != NULL)
      a->probs[t * v + i] = (float)(p / total);
    if (p > 0.0 && sum <= a->uniform[t] * total)
      id = i; /* the last one that starts at or below */
    sum += p;
  }
  finish(a, t, id, e[id].z - max - log(total));
}

static void sample_row(const struct lrl_sample_args *a, int64_t t, struct entry *e,
                       struct entry *sorted) {
  const int64_t v = a->n_vocab;
  const float *x = a->logits + t * v;
  for (int64_t i = 0; i < v && a->probs != NULL; i++)
    a->probs[t * v + i] = 0.0f;
  if (!usable(x, v)) {
    finish(a, t, -1, NAN);
    return;
  }
  for (int64_t i = 0; i < v; i++)
    e[i] = (struct entry){(double)x[i], i};
  for (int64_t i = a->seen_start == NULL ? 0 : a->seen_start[t];
       a->seen_start != NULL && i < a->seen_start[t + 1]; i++)
    if (a->seen[i] >= 0) {
      const double z = (double)x[a->seen[i]];
      e[a->seen[i]].z = z < 0.0 ? z * a->repetition_penalty : z / a->repetition_penalty;
    }
  for (int64_t i = 0; i < v; i++) {
    e[i].z = a->temperature > 0.0 ? e[i].z / a->temperature : e[i].z;
    sorted[i] = e[i];
  }
  qsort(sorted, (size_t)v, sizeof *sorted, by_value);
  const double max = sorted[v - 1].z;
  if (!(a->temperature > 0.0)) {
    finish(a, t, sorted[v - 1].id, 0.0);
    if (a->probs != NULL)
      a->probs[t * v + sorted[v - 1].id] = 1.0f;
    return;
  }
  const double least = a->top_k > 0 && a->top_k < v ? sorted[v - a->top_k].z : -INFINITY;
  double total = 0.0, dropped = 0.0;
  for (int64_t i = 0; i < v; i++)
    total += sorted[i].z < least ? 0.0 : exp(sorted[i].z - max);
  for (int64_t i = 0; i < v; i++) {
    dropped += sorted[i].z < least ? 0.0 : exp(sorted[i].z - max);
    const bool beyond_p = a->top_p < 1.0 && dropped / total <= 1.0 - a->top_p && i < v - 1;
    if (sorted[i].z < least || beyond_p)
      e[sorted[i].id].z = -INFINITY;
  }
  draw(a, t, e, max);
}

lrl_status REF_FN(sample)(struct lrl_ctx *ctx, const struct lrl_sample_args *a) {
  const size_t bytes = (size_t)a->n_vocab * sizeof(struct entry);
  struct entry *e = lrl_arena_alloc(&ctx->scratch, bytes);
  struct entry *sorted = lrl_arena_alloc(&ctx->scratch, bytes);
  if (e == NULL || sorted == NULL)
    return LRL_ERR_MEMORY;
  for (int64_t t = 0; t < a->n_tokens; t++)
    sample_row(a, t, e, sorted);
  return LRL_OK;
}
