#include "train/outliers.h"

#include <math.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The finite values, ascending; malloc'ed with room for n. */
static lrl_status sorted(const double *x, int64_t n, double **out, int64_t *n_out) {
  double *v = malloc((size_t)(n + 1) * sizeof *v);
  if (v == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld scores", (long long)n);
  int64_t m = 0;
  for (int64_t i = 0; i < n; i++)
    if (isfinite(x[i]))
      v[m++] = x[i];
  qsort(v, (size_t)m, sizeof *v, ascending);
  *out = v;
  *n_out = m;
  return LRL_OK;
}

static double middle(const double *v, int64_t n) {
  return n % 2 == 1 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

lrl_status lrl_spread_of(const double *x, int64_t n, struct lrl_spread *out) {
  double *v, mean = 0;
  *out = (struct lrl_spread){0};
  LRL_TRY(sorted(x, n, &v, &out->n));
  if (out->n > 0) {
    out->median = middle(v, out->n);
    for (int64_t i = 0; i < out->n; i++) {
      v[i] = fabs(v[i] - out->median);
      mean += v[i] / (double)out->n;
    }
    qsort(v, (size_t)out->n, sizeof *v, ascending);
    out->mad = middle(v, out->n);
    out->scale = out->mad > 0 ? 1.482602218505602 * out->mad : 1.2533141373155003 * mean;
  }
  free(v);
  return LRL_OK;
}

double lrl_spread_z(const struct lrl_spread *s, double x) {
  return s->scale > 0 ? (x - s->median) / s->scale : 0.0;
}

lrl_status lrl_lowest_cut(const double *x, int64_t n, double share, double *cut) {
  double *v;
  int64_t m;
  LRL_TRY(sorted(x, n, &v, &m));
  /* The small sum: a share of 0.3 of 10 values is 3 of them, though 0.3 * 10 < 3 in binary. */
  int64_t k = (int64_t)floor(share * (double)m + 1e-9);
  *cut = k <= 0 || m == 0 ? -INFINITY : k >= m ? INFINITY : v[k];
  free(v);
  return LRL_OK;
}

lrl_status lrl_auc_of(const double *good, int64_t n_good, const double *bad, int64_t n_bad,
                      struct lrl_auc *out) {
  double *g = NULL, *b = NULL, twice = 0;
  *out = (struct lrl_auc){NAN, NAN, 0, 0};
  lrl_status status;
  LRL_TRY_GOTO(sorted(good, n_good, &g, &out->n_good));
  LRL_TRY_GOTO(sorted(bad, n_bad, &b, &out->n_bad));
  if (out->n_good == 0 || out->n_bad == 0)
    goto done;
  for (int64_t i = 0, below = 0, upto = 0; i < out->n_good; i++) {
    while (below < out->n_bad && b[below] < g[i])
      below++;
    while (upto < out->n_bad && b[upto] <= g[i])
      upto++;
    twice += (double)(below + upto);
  }
  const double p = (double)out->n_good, q = (double)out->n_bad, a = twice / (2 * p * q);
  const double q1 = a / (2 - a), q2 = 2 * a * a / (1 + a);
  out->auc = a;
  out->se = sqrt(fmax(0, a * (1 - a) + (p - 1) * (q1 - a * a) + (q - 1) * (q2 - a * a)) / (p * q));
done:
  free(g);
  free(b);
  return status;
}
