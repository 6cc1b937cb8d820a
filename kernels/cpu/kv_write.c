#include "kernels/cpu/simd.h"

CPU_INLINE void write_head(const struct lrl_kv_write_args *a, int64_t t, int64_t h, bool bf) {
  const lrl_dtype dt = bf ? LRL_BF16 : LRL_F32;
  const int64_t d = a->head_dim, slot = a->slot[t] % LRL_KV_PAGE;
  const int64_t from = (t * a->n_kv_heads + h) * d;
  const int64_t head = (a->slot[t] / LRL_KV_PAGE * a->n_kv_heads + h) * lrl_kv_head_size(d);
  for (int64_t i = 0; i < d; i++) {
    const int64_t k = head + lrl_kv_key_at(dt, d, slot, i);
    const int64_t v = head + lrl_kv_value_at(dt, slot, i);
    if (bf) {
      ((uint16_t *)a->k_pages)[k] = ((const uint16_t *)a->k)[from + i];
      ((uint16_t *)a->v_pages)[v] = ((const uint16_t *)a->v)[from + i];
    } else {
      ((float *)a->k_pages)[k] = ((const float *)a->k)[from + i];
      ((float *)a->v_pages)[v] = ((const float *)a->v)[from + i];
    }
  }
}

CPU_INLINE void write_row(const struct lrl_kv_write_args *a, int64_t t, bool bf) {
  for (int64_t h = 0; h < a->n_kv_heads && a->slot[t] >= 0; h++)
    write_head(a, t, h, bf);
}

lrl_status CPU_FN(kv_write)(struct lrl_ctx *ctx, const struct lrl_kv_write_args *a) {
  CPU_EACH_ROW(ctx, a->dtype, a->n_tokens, a->n_kv_heads * a->head_dim, write_row, a);
  return LRL_OK;
}
