/* Building a parameter set: networks add units and parameters, then memory is allocated once. */
#ifndef LRL_PARAM_BUILD_H
#define LRL_PARAM_BUILD_H
#include "model/param.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Both return the index of what was added. cols 0: a vector of `rows` elements. init_std as in
 * struct lrl_param. Weight decay follows lrl_param_decays. */
int lrl_param_unit_add(struct lrl_param_set *set, const char *name, lrl_dtype dtype,
                       bool trainable);
int lrl_param_add(struct lrl_param_set *set, int unit, const char *name, int64_t rows, int64_t cols,
                  float init_std);
/* Std of a new weight: initializer_range, or 1/sqrt(fan_in) when that is 0 (fan_in: how many inputs
 * are summed up; 1 for tables of vectors). */
float lrl_param_std(double initializer_range, int64_t fan_in);
/* The HF Trainer's rule with the official model: everything decays but biases and torch LayerNorm
 * weights; RMSNorm weights and the GN vectors do decay (SPEC 5.8). */
bool lrl_param_decays(const char *name);

/* Data (zeros) of every unit, from `arena`. */
lrl_status lrl_param_set_alloc(struct lrl_param_set *set, struct lrl_arena *arena);
/* Gradients (zeros) of the trainable units, from `arena`, where no optimizer makes room for them.
 */
lrl_status lrl_param_set_alloc_grads(struct lrl_param_set *set, struct lrl_arena *arena);
/* Random values by (seed, parameter name). */
lrl_status lrl_param_set_init(struct lrl_param_set *set, uint64_t seed);
/* Copies `values` [p->n] into p, rounding to the unit's dtype; raises the unit's version. */
void lrl_param_store(struct lrl_param_unit *u, const struct lrl_param *p, const float *values);
void lrl_param_set_free(struct lrl_param_set *set);

#ifdef __cplusplus
}
#endif
#endif
