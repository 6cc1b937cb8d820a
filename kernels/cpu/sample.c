/* Sampling without sorting: the k-th largest and the mass of the smallest are found by partition,
 * so a row costs a few passes. */
#include "kernels/cpu/simd.h"

#include <math.h>
#include <omp.h>

/* Working memory of one thread, [v] each (z and e rounded up to whole vectors). */
struct work {
  float *z, *e, *keys;
  int32_t *id;
};

static void swap(struct work *w, int64_t i, int64_t j) {
  const float k = w->keys[i];
  const int32_t id = w->id[i];
  w->keys[i] = w->keys[j];
  w->id[i] = w->id[j];
  w->keys[j] = k;
  w->id[j] = id;
}
static float median(float a, float b, float c) {
  const float lo = a < b ? a : b, hi = a < b ? b : a;
  return c < lo ? lo : c > hi ? hi : c;
}
/* Reorders keys [lo, hi): those below a pivot, those equal to it, those above. */
static void partition(struct work *w, int64_t lo, int64_t hi, int64_t *equal, int64_t *above) {
  const float pivot = median(w->keys[lo], w->keys[lo + (hi - lo) / 2], w->keys[hi - 1]);
  int64_t less = lo, more = hi, i = lo;
  while (i < more) {
    if (w->keys[i] < pivot)
      swap(w, i++, less++);
    else if (w->keys[i] > pivot)
      swap(w, i, --more);
    else
      i++;
  }
  *equal = less;
  *above = more;
}

/* Finite rows only: true and the largest value. */
static bool usable(const float *x, int64_t v, float *max) {
  cpu_vf top = cpu_set(-INFINITY);
  cpu_vi bad = {0};
  for (int64_t j = 0; j < v; j += CPU_LANES) {
    cpu_vf z = cpu_load(x, j, cpu_lanes(v, j), false);
    const cpu_vi id = CPU_IDS;
    z = cpu_select(id < cpu_lanes(v, j), z, cpu_set(-INFINITY));
    bad |= (z != z);
    top = cpu_select(z > top, z, top);
  }
  int32_t any = 0;
  for (int l = 0; l < CPU_LANES; l++)
    any |= bad[l];
  *max = cpu_hmax(top);
  return any == 0 && *max > -INFINITY && *max < INFINITY;
}

/* Sets logits below the k-th largest to -infinity. */
static void keep_top_k(struct work *w, int64_t v, int64_t k) {
  int64_t lo = 0, hi = v;
  const int64_t want = v - k;
  memcpy(w->keys, w->z, (size_t)v * sizeof *w->keys);
  for (;;) {
    int64_t equal, above;
    partition(w, lo, hi, &equal, &above);
    if (want < equal)
      hi = equal;
    else if (want >= above)
      lo = above;
    else
      break;
  }
  const float least = w->keys[want];
  for (int64_t i = 0; i < v; i++)
    w->z[i] = w->z[i] < least ? -INFINITY : w->z[i];
}

/* e = exp(z - max); returns the sum, in blocks of lanes. */
static double exponentials(struct work *w, int64_t v, float max) {
  double total = 0.0;
  for (int64_t j = 0; j < v; j += CPU_LANES) {
    const cpu_vf e = cpu_exp(cpu_load(w->z, j, CPU_LANES, false) - max);
    cpu_store(w->e, j, CPU_LANES, false, e);
    total += (double)cpu_hsum(e);
  }
  return total;
}

static void drop(struct work *w, int32_t id) {
  w->z[id] = -INFINITY;
  w->e[id] = 0.0f;
}

/* Of n ids with the same e, drops the `count` highest. They are in no order: select by id. */
static void drop_equal(struct work *w, int64_t from, int64_t n, int64_t count) {
  for (int64_t d = 0; d < count; d++) {
    int64_t high = from + d;
    for (int64_t i = high + 1; i < from + n; i++)
      if (w->id[i] > w->id[high])
        high = i;
    swap(w, high, from + d);
    drop(w, w->id[from + d]);
  }
}

/* Drops the least probable ids while their share of `total` is <= limit. The keys are the ids that
 * may stay; `gone` is the mass of those already dropped. */
static void drop_to_limit(struct work *w, int64_t n, double gone, double total, float limit) {
  int64_t lo = 0, hi = n;
  while (lo < hi) {
    int64_t equal, above;
    double below = 0.0;
    partition(w, lo, hi, &equal, &above);
    for (int64_t i = lo; i < equal; i++)
      below += (double)w->keys[i];
    if (equal > lo && (float)((gone + below) / total) > limit) {
      hi = equal; /* everything from the pivot on stays */
      continue;
    }
    for (int64_t i = lo; i < equal; i++)
      drop(w, w->id[i]);
    gone += below;
    const double each = (double)w->keys[equal];
    int64_t count = 0;
    while (count < above - equal && (float)((gone + each * (double)(count + 1)) / total) <= limit)
      count++;
    if (above == n && count == above - equal)
      count--; /* one always stays */
    drop_equal(w, equal, above - equal, count);
    if (count < above - equal)
      return;
    gone += each * (double)count;
    lo = above;
  }
}

static void keep_top_p(struct work *w, int64_t v, double total, double top_p) {
  const float limit = (float)(1.0 - top_p);
  /* Ids this small cannot reach the limit together, and most ids are. */
  const double small = (double)limit * total / (double)v * 0.999;
  double gone = 0.0;
  int64_t n = 0;
  for (int32_t i = 0; i < v; i++) {
    if ((double)w->e[i] < small) {
      gone += (double)w->e[i];
      drop(w, i);
    } else if (w->z[i] > -INFINITY) {
      w->keys[n] = w->e[i];
      w->id[n++] = i;
    }
  }
  drop_to_limit(w, n, gone, total, limit);
}

/* First id at which the sum of e exceeds `target`; rounding at the very end gives the last kept id.
 */
static int32_t find(const struct work *w, int64_t v, double target) {
  int32_t last = -1;
  double sum = 0.0;
  for (int64_t j = 0; j < v; j += CPU_LANES) {
    const double block = (double)cpu_hsum(cpu_load(w->e, j, CPU_LANES, false));
    const bool here = sum + block > target;
    double within = sum;
    for (int64_t i = j; i < j + CPU_LANES && block > 0.0; i++) {
      within += (double)w->e[i];
      last = w->e[i] > 0.0f ? (int32_t)i : last;
      if (here && w->e[i] > 0.0f && within > target)
        return last;
    }
    if (here)
      return last;
    sum += block;
  }
  return last;
}

static void finish(const struct lrl_sample_args *a, int64_t t, int32_t id, float logprob) {
  a->token[t] = id;
  a->logprobs[t] = logprob;
  if (a->probs != NULL) {
    memset(a->probs + t * a->n_vocab, 0, (size_t)a->n_vocab * sizeof(float));
    if (id >= 0)
      a->probs[t * a->n_vocab + id] = 1.0f;
  }
}

static void penalize(const struct lrl_sample_args *a, int64_t t, struct work *w) {
  const float penalty = (float)a->repetition_penalty;
  if (a->seen_start == NULL)
    return;
  for (int64_t i = a->seen_start[t]; i < a->seen_start[t + 1]; i++)
    if (a->seen[i] >= 0) {
      const float x = a->logits[t * a->n_vocab + a->seen[i]];
      w->z[a->seen[i]] = x < 0.0f ? x * penalty : x / penalty;
    }
}

static void sample_row(const struct lrl_sample_args *a, int64_t t, struct work *w) {
  const int64_t v = a->n_vocab;
  const float temperature = (float)a->temperature;
  float max;
  if (!usable(a->logits + t * v, v, &max)) {
    finish(a, t, -1, NAN);
    return;
  }
  memcpy(w->z, a->logits + t * v, (size_t)v * sizeof *w->z);
  for (int64_t i = v; i % CPU_LANES != 0; i++)
    w->z[i] = -INFINITY;
  penalize(a, t, w);
  if (temperature > 0.0f)
    for (int64_t i = 0; i < v; i++)
      w->z[i] /= temperature;
  int32_t best = 0;
  for (int32_t i = 1; i < v; i++)
    best = w->z[i] > w->z[best] ? i : best;
  max = w->z[best];
  if (!(temperature > 0.0f)) {
    finish(a, t, best, 0.0f);
    return;
  }
  if (a->top_k > 0 && a->top_k < v)
    keep_top_k(w, v, a->top_k);
  double total = exponentials(w, v, max);
  if (a->top_p < 1.0) {
    keep_top_p(w, v, total, a->top_p);
    total = exponentials(w, v, max);
  }
  const int32_t id = find(w, v, a->uniform[t] * total);
  const double own = (double)w->z[id] - (double)max - log(total);
  finish(a, t, id, own > 0.0 ? 0.0f : (float)own);
  for (int64_t i = 0; i < v && a->probs != NULL; i++)
    a->probs[t * v + i] = (float)((double)w->e[i] / total);
}

lrl_status CPU_FN(sample)(struct lrl_ctx *ctx, const struct lrl_sample_args *a) {
  const int64_t v = a->n_vocab, stride = (v + CPU_LANES - 1) / CPU_LANES * CPU_LANES;
  const int64_t threads = a->n_tokens < ctx->n_threads ? a->n_tokens : ctx->n_threads;
  float *slots = lrl_arena_alloc(&ctx->scratch, (size_t)(threads * stride * 4) * sizeof *slots);
  if (slots == NULL)
    return LRL_ERR_MEMORY;
  if (a->n_tokens == 0)
    return LRL_OK;
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)threads)
  for (int64_t t = 0; t < a->n_tokens; t++) {
    float *at = slots + omp_get_thread_num() * stride * 4;
    struct work w = {at, at + stride, at + 2 * stride, (int32_t *)(void *)(at + 3 * stride)};
    sample_row(a, t, &w);
  }
  return LRL_OK;
}
