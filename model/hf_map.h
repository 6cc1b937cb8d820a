/* Which tensors of a Hugging Face checkpoint make up a parameter of Laurel, and back. One table per
 * family (hf_map.c); most parameters are one tensor, q, k and v of Llama-like models are the rows
 * of one wqkv (SPEC 1.3). */
#ifndef LRL_HF_MAP_H
#define LRL_HF_MAP_H
#include "model/hf_config.h"
#ifdef __cplusplus
extern "C" {
#endif

struct lrl_hf_tensor {
  char name[LRL_NAME_MAX];
  int ndim;
  int64_t dim[4];
};
/* Rows [row, row + n) of a parameter are rows [their_row, ...) of tensor `which`. */
struct lrl_hf_rows {
  int which;
  int64_t their_row, n;
};
struct lrl_hf_source {
  int n; /* 1, or 3: q, k, v */
  struct lrl_hf_tensor tensor[3];
  int64_t rows, cols;               /* of the parameter; elements = rows * cols */
  int64_t heads, groups, head_rows; /* q, k, v: query heads a group, groups, rows a head */
};

/* The tensors of a parameter. */
void lrl_hf_source(const struct lrl_hf_model *m, const struct lrl_param *p,
                   struct lrl_hf_source *out);
struct lrl_hf_rows lrl_hf_rows_at(const struct lrl_hf_source *s, int64_t row);
/* Whether the parameter has no tensor of its own: the head of a model with a tied embedding. */
bool lrl_hf_is_tied(const struct lrl_hf_model *m, const struct lrl_param *p);

/* That every parameter has its tensors in the right shape and every tensor a parameter, but for
 * buffers that are computed anew; LRL_ERR_SHAPE lists what is missing, unexpected or of another
 * shape. *n_passed_over counts the buffers. */
lrl_status lrl_hf_check(const struct lrl_hf_model *m, const struct lrl_param_set *set,
                        const struct lrl_weights *w, const char *path, int64_t *n_passed_over);
/* Elements [first, first + n) of a parameter in its dtype; lrl_hf_check must have passed. */
void lrl_hf_read(const struct lrl_hf_model *m, const struct lrl_weights *w,
                 const struct lrl_param *p, lrl_dtype dtype, int64_t first, int64_t n, void *out);
/* Their memory may go. */
void lrl_hf_drop(const struct lrl_hf_model *m, const struct lrl_weights *w,
                 const struct lrl_param *p);

#ifdef __cplusplus
}
#endif
#endif
