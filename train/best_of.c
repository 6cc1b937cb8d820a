#include "train/best_of.h"

#include <math.h>

/* C(m, n) / C(k, n): that all of n drawn from k are among the m lowest. */
static double all_among(int64_t m, int64_t k, int64_t n) {
  double p = 1;
  for (int64_t j = 0; j < n && p > 0; j++)
    p *= (double)(m > j ? m - j : 0) / (double)(k - j);
  return p;
}

void lrl_best_of_weights(const double *score, int64_t n_candidates, int64_t n, double *weight) {
  for (int64_t k = 0; k < n_candidates; k++) {
    int64_t below = 0, equal = 0;
    for (int64_t i = 0; i < n_candidates; i++) {
      below += score[i] < score[k];
      equal += !(score[i] < score[k]) && !(score[i] > score[k]);
    }
    weight[k] = (all_among(below + equal, n_candidates, n) - all_among(below, n_candidates, n)) /
                (double)equal;
  }
}

double lrl_best_of_kl(int64_t n) { return log((double)n) - (double)(n - 1) / (double)n; }
