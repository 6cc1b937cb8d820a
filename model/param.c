#include "model/param.h"
#include "model/param_build.h"

#include "kernels/philox.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lrl_param *lrl_param_find(struct lrl_param_set *set, const char *name,
                                 struct lrl_param_unit **unit) {
  for (int u = 0; u < set->n_units; u++)
    for (int i = 0; i < set->units[u].n_params; i++)
      if (strcmp(set->units[u].params[i].name, name) == 0) {
        *unit = &set->units[u];
        return &set->units[u].params[i];
      }
  return NULL;
}

int lrl_param_unit_add(struct lrl_param_set *set, const char *name, lrl_dtype dtype,
                       bool trainable) {
  LRL_ASSERT(set->n_units < LRL_MAX_UNITS);
  struct lrl_param_unit *u = &set->units[set->n_units];
  *u = (struct lrl_param_unit){.dtype = dtype, .trainable = trainable, .version = 1};
  snprintf(u->name, sizeof u->name, "%s", name);
  return set->n_units++;
}

int lrl_param_add(struct lrl_param_set *set, int unit, const char *name, int64_t rows, int64_t cols,
                  float init_std) {
  struct lrl_param_unit *u = &set->units[unit];
  u->params = realloc(u->params, (size_t)(u->n_params + 1) * sizeof *u->params);
  LRL_ASSERT(u->params != NULL);
  struct lrl_param *p = &u->params[u->n_params];
  int64_t n = rows * (cols > 0 ? cols : 1);
  *p = (struct lrl_param){
      .ndim = cols > 0 ? 2 : 1, .dim = {rows, cols}, .n = n, .offset = u->n, .init_std = init_std};
  snprintf(p->name, sizeof p->name, "%s", name);
  p->decay = lrl_param_decays(p->name);
  u->n = (u->n + n + 15) / 16 * 16;
  return u->n_params++;
}

float lrl_param_std(double initializer_range, int64_t fan_in) {
  return initializer_range > 0 ? (float)initializer_range : 1.0f / sqrtf((float)fan_in);
}

bool lrl_param_decays(const char *name) {
  size_t n = strlen(name);
  if (n >= 5 && strcmp(name + n - 5, ".bias") == 0)
    return false;
  /* torch.nn.LayerNorm modules of the vision tower; InternLM2RMSNorm is not one (SPEC 5.8, 10.12).
   */
  return strstr(name, "layer_norm1") == NULL && strstr(name, "layer_norm2") == NULL &&
         strstr(name, "pre_layrnorm") == NULL && strstr(name, "post_layernorm") == NULL;
}

lrl_status lrl_param_set_alloc(struct lrl_param_set *set, struct lrl_arena *arena) {
  for (int i = 0; i < set->n_units; i++) {
    struct lrl_param_unit *u = &set->units[i];
    u->n = (u->n + 63) / 64 * 64;
    size_t bytes = (size_t)(u->n * lrl_dtype_bytes(u->dtype));
    if ((u->data = lrl_arena_zeros(arena, bytes)) == NULL)
      return LRL_ERR_MEMORY;
  }
  return LRL_OK;
}

lrl_status lrl_param_set_alloc_grads(struct lrl_param_set *set, struct lrl_arena *arena) {
  for (int i = 0; i < set->n_units; i++) {
    struct lrl_param_unit *u = &set->units[i];
    if (!u->trainable)
      continue;
    if ((u->grad = lrl_arena_zeros(arena, (size_t)u->n * sizeof *u->grad)) == NULL)
      return LRL_ERR_MEMORY;
  }
  return LRL_OK;
}

void lrl_param_set_free(struct lrl_param_set *set) {
  for (int i = 0; i < set->n_units; i++)
    free(set->units[i].params);
  memset(set, 0, sizeof *set);
}

void lrl_param_store(struct lrl_param_unit *u, const struct lrl_param *p, const float *values) {
  for (int64_t i = 0; i < p->n; i++) {
    if (u->dtype == LRL_F32)
      ((float *)u->data)[p->offset + i] = values[i];
    else
      ((uint16_t *)u->data)[p->offset + i] = lrl_f32_to_bf16(values[i]);
  }
  u->version++;
}

/* A parameter's stream is named by its name, so that adding a layer leaves the others' values
 * alone. */
static uint64_t name_hash(const char *name) {
  uint64_t h = 1469598103934665603u; /* FNV-1a */
  for (; *name != '\0'; name++)
    h = (h ^ (unsigned char)*name) * 1099511628211u;
  return h;
}

static float initial(const struct lrl_param *p, struct lrl_rng *rng) {
  if (p->init_bound > 0)
    return p->init_bound * (2.0f * lrl_rng_uniform(rng) - 1.0f);
  return p->init_std < 0 ? 1.0f : p->init_std > 0 ? p->init_std * lrl_rng_normal(rng) : 0.0f;
}

lrl_status lrl_param_set_init(struct lrl_param_set *set, uint64_t seed) {
  for (int i = 0; i < set->n_units; i++) {
    struct lrl_param_unit *u = &set->units[i];
    for (int j = 0; j < u->n_params; j++) {
      const struct lrl_param *p = &u->params[j];
      float *v = malloc((size_t)(p->n + 1) * sizeof *v);
      if (v == NULL)
        return LRL_FAIL(LRL_ERR_MEMORY, "no memory to initialise %s", p->name);
      struct lrl_rng rng = lrl_rng_make(seed, LRL_RNG_INIT, name_hash(p->name));
      for (int64_t k = 0; k < p->n; k++)
        v[k] = initial(p, &rng);
      lrl_param_store(u, p, v);
      free(v);
    }
  }
  return LRL_OK;
}
