#include "kernels/ref/ref.h"

lrl_status REF_FN(kv_write)(struct lrl_ctx *ctx, const struct lrl_kv_write_args *a) {
  const int64_t d = a->head_dim, size = lrl_kv_head_size(d);
  const lrl_dtype dt = a->dtype;
  (void)ctx;
  for (int64_t t = 0; t < a->n_tokens; t++) {
    const int64_t page = a->slot[t] / LRL_KV_PAGE, slot = a->slot[t] % LRL_KV_PAGE;
    for (int64_t h = 0; h < a->n_kv_heads && a->slot[t] >= 0; h++)
      for (int64_t i = 0; i < d; i++) {
        const int64_t from = (t * a->n_kv_heads + h) * d + i;
        const int64_t head = (page * a->n_kv_heads + h) * size;
        lrl_ref_store(dt, a->k_pages, head + lrl_kv_key_at(dt, d, slot, i),
                      lrl_ref_load(dt, a->k, from));
        lrl_ref_store(dt, a->v_pages, head + lrl_kv_value_at(dt, slot, i),
                      lrl_ref_load(dt, a->v, from));
      }
  }
  return LRL_OK;
}
