#include "kernels/ref/ref.h"

lrl_status REF_FN(embedding_fwd)(struct lrl_ctx *ctx, const struct lrl_embedding_fwd_args *a) {
  (void)ctx;
  for (int64_t t = 0; t < a->n_tokens; t++)
    for (int64_t j = 0; j < a->width; j++)
      lrl_ref_store(a->dtype, a->out, t * a->width + j,
                    a->ids[t] < 0 ? 0.0
                                  : lrl_ref_load(a->dtype, a->table, a->ids[t] * a->width + j));
  return LRL_OK;
}

lrl_status REF_FN(embedding_bwd)(struct lrl_ctx *ctx, const struct lrl_embedding_bwd_args *a) {
  (void)ctx;
  for (int64_t t = 0; t < a->n_tokens; t++) {
    if (a->ids[t] < 0 || a->ids[t] == a->padding_idx)
      continue;
    for (int64_t j = 0; j < a->width; j++)
      a->d_table[a->ids[t] * a->width + j] +=
          (float)lrl_ref_load(a->dtype, a->d_out, t * a->width + j);
  }
  return LRL_OK;
}
