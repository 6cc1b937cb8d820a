/* What launch/sweep_{file,axes,depends,plan}.c share. */
#ifndef LRL_LAUNCH_SWEEP_IMPL_H
#define LRL_LAUNCH_SWEEP_IMPL_H
#include "launch/sweep.h"
#include "launch/yaml_keys.h"

/* ---- sweep_axes.c ---- */
lrl_status lrl_sweep_no_memory(void);
lrl_status lrl_sweep_copy(char **to, const char *text); /* frees what was there */
/* sweep.NAME: a list of values. */
lrl_status lrl_sweep_axis_list(struct lrl_sweep *s, const char *name, const char *const *item,
                               int64_t n, const char *where);
/* sweep.AXIS.CHOICE.KEY: value, or sweep.AXIS.CHOICE: {}; path is what follows "sweep.". */
lrl_status lrl_sweep_axis_variant(struct lrl_sweep *s, const char *path,
                                  const struct lrl_yaml_key *k);
/* An axis's values anew, or those of its variants that the list with commas names. */
lrl_status lrl_sweep_axis_choose(struct lrl_sweep *s, const char *name, char *list,
                                 const char *where);
void lrl_sweep_axis_clear(struct lrl_sweep_axis *a);

/* ---- sweep_depends.c ---- */

/* The key of an axis's setting if it is one of this stage, else NULL. Keys of trainers have a dot;
 * an axis without one is a variable. */
const char *lrl_sweep_key_of(const struct lrl_sweep *s, const struct lrl_sweep_stage *stage,
                             const char *key);
/* The axis named "seed" is every trainer's seed, but of those that set their own. */
bool lrl_sweep_takes_seed(const struct lrl_sweep_axis *a, const struct lrl_sweep_stage *stage);
/* The end of "${name}" at p; NULL when there is none. */
const char *lrl_sweep_reference(const char *p, const char **name, size_t *n);
/* By name of n bytes; -1: none. Stages: of those before the given one. */
int64_t lrl_sweep_axis_named(const struct lrl_sweep *s, const char *name, size_t n);
int64_t lrl_sweep_stage_named(const struct lrl_sweep *s, int64_t before, const char *name,
                              size_t n);
/* Fills axes and needs of every stage. LRL_ERR_ARG for a reference to nothing, an axis that changes
 * nothing, and a choice's key of no stage. */
lrl_status lrl_sweep_dependencies(struct lrl_sweep *s);
#endif
