/* Best-of-N from more than N candidates: unbiased, because it averages over every subset. */
#ifndef LRL_BEST_OF_H
#define LRL_BEST_OF_H
#include "kernels/status.h"

/* weight[k]: the probability that candidate k has the highest score of n drawn without replacement
 * from n_candidates (1 <= n <= n_candidates); equal scores share. So sum_k weight[k] y[k] is the
 * mean of y over what best-of-n picks: y = score gives the learned reward, y = gold the true one.
 * With i candidates below and g that share the score (itself one of them):
 * (C(i + g, n) - C(i, n)) / (g C(n_candidates, n)). Scores are finite. */
void lrl_best_of_weights(const double *score, int64_t n_candidates, int64_t n, double *weight);
/* KL(best-of-n policy || policy) in nats, when no two candidates share a score:
 * log n - (n - 1) / n. */
double lrl_best_of_kl(int64_t n);
#endif
