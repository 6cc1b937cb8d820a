/* Parameter units. A unit is the parameters of one block (a decoder layer, the embedding, the ViT,
 * ...) as one flat buffer, with their gradients in a second one. The unit is what is initialised,
 * recomputed, reduced over ranks, stepped and checkpointed; a parameter is a named view into it. */
#ifndef LRL_PARAM_H
#define LRL_PARAM_H
#include "kernels/arena.h"
#include "kernels/dtype.h"
#include "kernels/status.h"
#ifdef __cplusplus
extern "C" {
#endif

#define LRL_NAME_MAX 96

struct lrl_param {
  char name[LRL_NAME_MAX]; /* the official name (SPEC 1.6), unique over the model */
  int ndim;
  int64_t dim[4];   /* [out, in] as PyTorch */
  int64_t n;        /* elements */
  int64_t offset;   /* elements from the start of the unit */
  bool decay;       /* weight decay applies (SPEC 5.8) */
  float init_std;   /* N(0, std) at initialisation; < 0: constant 1; 0: zeros */
  float init_bound; /* > 0: uniform in [-bound, bound) instead */
};

struct lrl_param_unit {
  char name[LRL_NAME_MAX];
  int n_params;
  struct lrl_param *params;
  int64_t n;       /* elements of the buffers, a multiple of 64; gaps hold zeros */
  lrl_dtype dtype; /* of data: LRL_F32 or LRL_BF16 */
  void *data;      /* [n] */
  float *grad;     /* [n], NULL when frozen or when nobody made room for it */
  bool trainable;
  /* Of the training pass under way, see lrl_unit_hooks. */
  int uses;         /* begun and not yet gone back through */
  bool touched;     /* something was added to grad */
  uint64_t version; /* >= 1; raised whenever data changes, so packed copies are re-made */
  /* Set while data is on its way from other ranks; see lrl_param_ready. */
  lrl_status (*arrive)(void *user, struct lrl_param_unit *unit);
  void *arrive_user;
};

#define LRL_MAX_UNITS 256
struct lrl_param_set {
  int n_units;
  struct lrl_param_unit units[LRL_MAX_UNITS]; /* in forward order */
};

/* Before the first use of data after an update: ops called from now on find its values. The host
 * does not wait. */
static inline lrl_status lrl_param_ready(struct lrl_param_unit *unit) {
  lrl_status (*arrive)(void *, struct lrl_param_unit *) = unit->arrive;
  unit->arrive = NULL;
  return arrive != NULL ? arrive(unit->arrive_user, unit) : LRL_OK;
}

/* Finds a parameter by official name; NULL when absent. */
struct lrl_param *lrl_param_find(struct lrl_param_set *set, const char *name,
                                 struct lrl_param_unit **unit);

#ifdef __cplusplus
}
#endif
#endif
