/* rlhf_golden: masked statistics and KL estimators. */
#include "tests/golden/rl_json.h"
#include "train/moments.h"

lrl_status rj_masked(struct rl_json *j, const char *name, json_t *section) {
  struct rl *c = &j->c;
  struct lrl_moments m;
  const char *key;
  json_t *value;
  const float *x = rj_in(j, "inputs/values");
  LRL_TRY(rl_moments(c, x, NULL, &m));
  json_object_foreach(section, key, value) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", name, key);
    if (strstr(key, "_mean") != NULL) {
      rj_check1(j, path, m.mean);
    } else if (strstr(key, "_var") != NULL) {
      rj_check1(j, path, lrl_variance(&m, true));
    } else if (strstr(key, "whiten") != NULL) {
      float *y = rj_in(j, "inputs/values");
      LRL_TRY(lrl_whiten_all(&c->b.ctx, NULL, LRL_WHITEN_UNBIASED, strstr(key, "noshift") == NULL,
                             rl_n(c), c->mask, y));
      rj_check(j, path, y);
    } else { /* openrlhf_normalize_dim1: each row for itself */
      float *y = rj_in(j, "inputs/values");
      for (int64_t s = 0; s < c->rows; s++)
        LRL_TRY(lrl_whiten_all(&c->b.ctx, NULL, LRL_WHITEN_BIASED, true, c->layout.length[s],
                               c->mask + c->layout.start[s], y + c->layout.start[s]));
      rj_check(j, path, y);
    }
  }
  return LRL_OK;
}

/* A whole unmasked array of log-probs and references. `key` names library and estimator. */
static lrl_status kl_values(struct rl_json *j, const char *path, const char *key,
                            const char *logprobs, const char *ref) {
  int64_t rows, width, n;
  struct rl *c = &j->c;
  rj_list(j, rj_get(j, logprobs), &rows, &width);
  n = rows * width;
  const int32_t start = 0, length = (int32_t)n;
  const struct lrl_layout all = {n, 1, &start, &length, NULL, NULL};
  const enum lrl_kl_estimator e = rl_estimator(key);
  const bool plain = strstr(key, "unclamped") != NULL;
  /* NeMo clamps 20 and 10, OpenRLHF the result, verl k3 only. */
  const bool diff = !plain && (strstr(key, "nemo") || (strstr(key, "verl") && e == LRL_KL_K3));
  const bool out = diff || (!plain && strstr(key, "openrlhf") != NULL);
  float *kl = bag_floats(&c->b, n);
  LRL_TRY(lrl_approx_kl(&c->b.ctx, &(struct lrl_approx_kl_args){.layout = &all,
                                                                .estimator = e,
                                                                .diff_clamp = diff ? 20.0 : 0.0,
                                                                .kl_clamp = out ? 10.0 : 0.0,
                                                                .logprobs = rj_padded(j, logprobs),
                                                                .ref_logprobs = rj_padded(j, ref),
                                                                .kl = kl}));
  const float *want = rj_padded(j, path);
  golden_check(c->g, c->name, path, want == NULL ? NAN : golden_max_abs(kl, want, n), c->tol);
  return LRL_OK;
}
/* The inputs of verl's gradients are not in the file; k2's gradient is the difference itself. */
static lrl_status kl_grads(struct rl_json *j, const char *path, const char *key) {
  struct rl *c = &j->c;
  int64_t rows = 0, width = 0;
  rj_list(j, rj_get(j, "kl/verl_grad_k2"), &rows, &width);
  const int64_t n = rows * width;
  const int32_t start = 0, length = (int32_t)n;
  const struct lrl_layout all = {n, 1, &start, &length, NULL, NULL};
  const float one = 1.0f;
  double loss;
  float *d = bag_floats(&c->b, n);
  LRL_TRY(lrl_approx_kl(&c->b.ctx,
                        &(struct lrl_approx_kl_args){.layout = &all,
                                                     .estimator = rl_estimator(key),
                                                     .logprobs = rj_padded(j, "kl/verl_grad_k2"),
                                                     .ref_logprobs = bag_floats(&c->b, n),
                                                     .coef = 1.0,
                                                     .seq_weight = &one,
                                                     .loss = &loss,
                                                     .d_logprobs = d}));
  const float *want = rj_padded(j, path);
  golden_check(c->g, c->name, path, want == NULL ? NAN : golden_max_abs(d, want, n), c->tol);
  return LRL_OK;
}
lrl_status rj_kl(struct rl_json *j, const char *name, json_t *section) {
  const char *key;
  json_t *value;
  json_object_foreach(section, key, value) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", name, key);
    if (strcmp(key, "big_inputs") == 0)
      continue;
    if (json_is_string(value))
      rj_skip(j, path, json_string_value(value));
    else if (strncmp(key, "big_", 4) == 0)
      LRL_TRY(kl_values(j, path, key, "kl/big_inputs/logp", "kl/big_inputs/ref"));
    else if (strncmp(key, "verl_grad", 9) == 0)
      LRL_TRY(kl_grads(j, path, key));
    else
      LRL_TRY(kl_values(j, path, key, "inputs/logp", "inputs/ref"));
  }
  return LRL_OK;
}
