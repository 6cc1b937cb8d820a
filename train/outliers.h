/* Scores that are too low: robust z-scores and lowest shares of a group, and how well scores tell
 * bad rows from good ones. Pure functions; the arrays may hold NaN for "no score" where said. */
#ifndef LRL_OUTLIERS_H
#define LRL_OUTLIERS_H
#include "kernels/status.h"

struct lrl_spread {
  int64_t n;          /* finite scores */
  double median, mad; /* MAD: median of |x - median| */
  double scale;       /* of z: 1.4826 MAD, which is the standard deviation of a normal distribution;
                         where MAD is 0, 1.2533 times the mean of |x - median|; 0: all are equal */
};
/* Of the finite values among x [n]. No finite value: zeros. An even number of values has the mean
 * of the middle two as median. Cost: n log n. LRL_ERR_MEMORY. Source: Iglewicz and Hoaglin, How to
 * Detect and Handle Outliers (1993), modified z-score and its fallback. */
lrl_status lrl_spread_of(const double *x, int64_t n, struct lrl_spread *out);
/* (x - median) / scale; 0 where all are equal. */
double lrl_spread_z(const struct lrl_spread *s, double x);

/* The score below which a value is among the lowest `share` of the finite values: at most
 * floor(share n) values are strictly below *cut. Values equal to *cut stay, so ties are never cut
 * apart; share 0 or nothing finite gives -INFINITY. LRL_ERR_MEMORY. */
lrl_status lrl_lowest_cut(const double *x, int64_t n, double share, double *cut);

/* Area under the ROC curve: P(good > bad) + P(good = bad) / 2 over all finite scores of either
 * kind, and its standard error (Hanley and McNeil 1982). NaN when one kind has none. Cost: n log n.
 * LRL_ERR_MEMORY. */
struct lrl_auc {
  double auc, se;
  int64_t n_good, n_bad;
};
lrl_status lrl_auc_of(const double *good, int64_t n_good, const double *bad, int64_t n_bad,
                      struct lrl_auc *out);
#endif
