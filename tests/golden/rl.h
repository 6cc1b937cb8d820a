/* Padded [rows, time] arrays with a mask, as the libraries have them, and the packed sequences of
 * Laurel. A row becomes a sequence of the tokens up to its last live one; masked tokens in between
 * (holes) are kept and filled with NaN, so that a golden case also proves that nothing is read
 * there. */
#ifndef LRL_TESTS_GOLDEN_RL_H
#define LRL_TESTS_GOLDEN_RL_H
#include "tests/golden/bag.h"
#include "train/loss_weight.h"

struct rl {
  struct golden *g;
  const char *name;
  double tol;
  struct bag b;
  int64_t rows, time;
  struct lrl_layout layout;
  uint8_t *mask;  /* packed */
  int64_t *where; /* packed token -> row * time + column */
};

/* The layout of a padded mask [rows * time]. */
static inline void rl_set_mask(struct rl *c, const float *padded, int64_t rows, int64_t time) {
  int32_t *start = bag_zeros(&c->b, rows, 4), *length = bag_zeros(&c->b, rows, 4), n = 0;
  c->rows = rows;
  c->time = time;
  c->mask = bag_zeros(&c->b, rows * time, 1);
  c->where = bag_zeros(&c->b, rows * time, sizeof *c->where);
  for (int64_t r = 0; r < rows; r++) {
    int64_t end = time;
    while (end > 0 && !(padded[r * time + end - 1] > 0.0f))
      end--;
    start[r] = n;
    length[r] = (int32_t)end;
    for (int64_t t = 0; t < end; t++) {
      c->where[n] = r * time + t;
      c->mask[n++] = padded[r * time + t] > 0.0f;
    }
  }
  c->layout = (struct lrl_layout){n, rows, start, length, NULL, NULL};
}

static inline int64_t rl_n(const struct rl *c) { return c->layout.n_tokens; }
static inline float *rl_new(struct rl *c) { return bag_floats(&c->b, rl_n(c)); }
/* NULL stays NULL. */
static inline float *rl_pack(struct rl *c, const float *padded) {
  float *p = padded == NULL ? NULL : rl_new(c);
  for (int64_t t = 0; p != NULL && t < rl_n(c); t++)
    p[t] = c->mask[t] != 0 ? padded[c->where[t]] : NAN;
  return p;
}
static inline float *rl_in(struct rl *c, const char *key) {
  return rl_pack(c, bag_read(&c->b, "inputs", "", key, NULL));
}
/* Largest |got - want| / max(1, |want|) over live tokens. */
static inline double rl_error(const struct rl *c, const float *got, const float *padded) {
  double worst = 0.0;
  for (int64_t t = 0; t < rl_n(c); t++)
    if (c->mask[t] != 0) {
      const double want = (double)padded[c->where[t]];
      worst = bag_worse(worst, fabs((double)got[t] - want) / fmax(1.0, fabs(want)));
    }
  return worst;
}
static inline double rl_error1(double got, double want) {
  return fabs(got - want) / fmax(1.0, fabs(want));
}
/* Weights of an aggregation mode over this case alone; the norm of the last mode is the padded
 * length, as verl's default. */
static inline float *rl_weights(struct rl *c, enum lrl_loss_agg mode) {
  float *w = bag_floats(&c->b, c->rows);
  struct lrl_loss_count count = {0};
  lrl_loss_count_add(&count, &c->layout, c->mask);
  lrl_loss_weights(mode, &c->layout, c->mask, &count, (double)c->time, w);
  return w;
}
/* The mode named in a key, token-mean when none is. */
static inline enum lrl_loss_agg rl_mode(const char *key) {
  if (strstr(key, "seq-mean-token-sum-norm") != NULL)
    return LRL_AGG_SEQ_MEAN_TOKEN_SUM_NORM;
  if (strstr(key, "seq-mean-token-sum") != NULL)
    return LRL_AGG_SEQ_MEAN_TOKEN_SUM;
  return strstr(key, "seq-mean-token-mean") != NULL ? LRL_AGG_SEQ_MEAN_TOKEN_MEAN
                                                    : LRL_AGG_TOKEN_MEAN;
}

/* Opens a case and packs by inputs/<mask>; false (reported) when that fails. */
static inline bool rl_open(struct rl *c, struct golden *g, const char *path, const char *name,
                           const char *mask, double tol) {
  struct g5_array shape = {0};
  *c = (struct rl){.g = g, .name = name, .tol = tol};
  if (!bag_open(g, &c->b, path, name))
    return false;
  const float *m = bag_read(&c->b, "inputs", "", mask, &shape);
  if (m != NULL && shape.ndim == 2) {
    rl_set_mask(c, m, shape.dim[0], shape.dim[1]);
    return true;
  }
  golden_fail(g, name, mask, "the mask is missing");
  bag_close(&c->b);
  return false;
}

/* The number behind `text`, itself behind `after`, in the file's note: some options are written
 * down only there. */
static inline double rl_note(const struct g5 *f, const char *after, const char *text,
                             double otherwise) {
  char note[4096];
  const char *at = g5_str(f, "note", note, sizeof note) ? strstr(note, after) : NULL;
  at = at == NULL ? NULL : strstr(at + strlen(after), text);
  if (at == NULL)
    return otherwise;
  char *end;
  const double x = strtod(at + strlen(text), &end);
  return end == at + strlen(text) ? otherwise : x;
}

/* The estimator a key names: kl and k1, abs, mse and k2, k3. */
static inline enum lrl_kl_estimator rl_estimator(const char *name) {
  if (strstr(name, "abs") != NULL)
    return LRL_KL_ABS;
  if (strstr(name, "mse") != NULL || strstr(name, "k2") != NULL)
    return LRL_KL_K2;
  return strstr(name, "k3") != NULL ? LRL_KL_K3 : LRL_KL_K1;
}
static inline lrl_status rl_kl(struct rl *c, enum lrl_kl_estimator e, const float *lp,
                               const float *ref, float *kl) {
  return lrl_approx_kl(&c->b.ctx, &(struct lrl_approx_kl_args){.layout = &c->layout,
                                                               .mask = c->mask,
                                                               .estimator = e,
                                                               .logprobs = lp,
                                                               .ref_logprobs = ref,
                                                               .kl = kl});
}
/* The mask's moments of a packed array less another (NULL: 0). */
static inline lrl_status rl_moments(struct rl *c, const float *x, const float *y,
                                    struct lrl_moments *m) {
  return lrl_moments(&c->b.ctx, &(struct lrl_moments_args){rl_n(c), c->mask, x, y, m});
}

/* A handler checks every quantity whose key starts with its prefix; `rest` is what follows. */
typedef lrl_status rl_handler(struct rl *c, const char *group, const char *key, const char *rest);
/* masked_mean, masked_var (unbiased), masked_var_biased, masked_whiten, masked_whiten_noshift of
 * the advantages (tests/golden/rl_handlers.c). */
rl_handler rl_masked;
/* logprobs_from_logits, entropy_from_logits, entropy_loss and entropy_masked_mean (token means of
 * the entropy), with gradients. */
rl_handler rl_logits;
struct rl_row {
  const char *group, *prefix; /* group: "outputs" or "grads" */
  rl_handler *run;
  const char *skip; /* or the reason why Laurel does not offer it */
};
struct rl_walk {
  struct rl *c;
  const char *group;
  const struct rl_row *rows; /* ends with a NULL prefix; the first match counts */
};
static inline void rl_visit(const char *key, void *user) {
  const struct rl_walk *w = user;
  char what[256];
  snprintf(what, sizeof what, "%s%s", strcmp(w->group, "grads") == 0 ? "grad " : "", key);
  for (const struct rl_row *r = w->rows; r->prefix != NULL; r++) {
    const size_t n = strlen(r->prefix);
    if (strcmp(r->group, w->group) != 0 || strncmp(key, r->prefix, n) != 0)
      continue;
    if (r->run == NULL)
      golden_skip(w->c->g, w->c->name, what, r->skip);
    else
      golden_ok(w->c->g, w->c->name, what, r->run(w->c, w->group, key, key + n));
    return;
  }
  golden_fail(w->c->g, w->c->name, what, "a quantity this runner does not know");
}
/* Every dataset of /outputs and /grads through the table. */
static inline void rl_run(struct rl *c, const struct rl_row *rows) {
  static const char *const groups[] = {"outputs", "grads"};
  for (int i = 0; i < 2; i++) {
    char path[16];
    struct rl_walk w = {c, groups[i], rows};
    snprintf(path, sizeof path, "/%s", groups[i]);
    g5_each(&c->b.file, path, rl_visit, &w);
  }
}
/* Result lines: a packed array, or a number, against the dataset `key`. */
static inline lrl_status rl_check(struct rl *c, const char *group, const char *key,
                                  const float *got) {
  char what[256];
  const float *want = bag_read(&c->b, group, "", key, NULL);
  if (want == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s/%s cannot be read", group, key);
  snprintf(what, sizeof what, "%s%s", strcmp(group, "grads") == 0 ? "grad " : "", key);
  golden_check(c->g, c->name, what, rl_error(c, got, want), c->tol);
  return LRL_OK;
}
static inline lrl_status rl_check1(struct rl *c, const char *group, const char *key, double got) {
  const float *want = bag_read(&c->b, group, "", key, NULL);
  if (want == NULL)
    return LRL_FAIL(LRL_ERR_FORMAT, "%s/%s cannot be read", group, key);
  golden_check(c->g, c->name, key, rl_error1(got, (double)*want), c->tol);
  return LRL_OK;
}
#endif
