/* Mean and variance over the live tokens of all ranks, and what is made of them. `comm` NULL is a
 * single rank. All ranks get the same bits. */
#ifndef LRL_MOMENTS_H
#define LRL_MOMENTS_H
#include "kernels/backend.h"
#include "train/comm.h"

/* Of n host numbers. */
struct lrl_moments lrl_moments_of(int64_t n, const double *x);
/* Each of m[n] becomes the moments of all ranks' elements, merged in rank order. Collective. */
lrl_status lrl_moments_all(struct lrl_comm *comm, struct lrl_moments *m, int64_t n);
/* m2/n, or m2/(n-1) when unbiased; 0 when there are too few elements. */
double lrl_variance(const struct lrl_moments *m, bool unbiased);

/* The two conventions of whitening (SPEC 10.15). */
enum lrl_whiten_kind {
  LRL_WHITEN_UNBIASED = 0, /* 1/sqrt(m2/(n-1) + 1e-8): TRL, verl */
  LRL_WHITEN_BIASED = 1,   /* 1/sqrt(max(m2/n, 1e-8)): OpenRLHF */
};
double lrl_whiten_rstd(enum lrl_whiten_kind kind, const struct lrl_moments *m);
/* x [n], in place, to mean 0 (or its old mean unless shift_mean) and variance 1 over the live
 * elements of all ranks; masked elements become 0. Collective. */
lrl_status lrl_whiten_all(struct lrl_ctx *ctx, struct lrl_comm *comm, enum lrl_whiten_kind kind,
                          bool shift_mean, int64_t n, const uint8_t *mask, float *x);

/* From the moments of returns - values and of returns. verl: 1 - Var(R-V)/(Var(R) + 1e-5); TRL
 * 0.9: 1 - mean((R-V)^2)/Var(R), which a constant offset of the critic lowers too. */
double lrl_explained_variance(const struct lrl_moments *residual,
                              const struct lrl_moments *returns);
double lrl_explained_variance_mse(const struct lrl_moments *residual,
                                  const struct lrl_moments *returns);
#endif
