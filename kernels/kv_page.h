/* Pages of a key/value cache. A page holds LRL_KV_PAGE consecutive tokens of one sequence, for one
 * layer: [n_kv_heads][64 * dp] elements of keys and as many of values, dp = head_dim rounded up to
 * 32. Inside, elements lie as the CPU attention wants its tiles: panels of 32 columns - tokens for
 * keys, dimensions for values - so that decoding reads them as they are; in bf16 two consecutive
 * rows of a panel share a 32-bit word, as bf16 dot products take them. What is not yet written must
 * be finite: a cache hands out zeroed pages. */
#ifndef LRL_KV_PAGE_H
#define LRL_KV_PAGE_H
#include "kernels/dtype.h"
#ifdef __cplusplus
extern "C" {
#endif

enum { LRL_KV_PAGE = 64, LRL_KV_PANEL = 32 };

/* Elements of one kv head in a page, keys or values. */
static inline int64_t lrl_kv_head_size(int64_t head_dim) {
  return LRL_KV_PAGE * ((head_dim + LRL_KV_PANEL - 1) / LRL_KV_PANEL * LRL_KV_PANEL);
}
/* Row k, column c of a panel. */
static inline int64_t lrl_kv_in_panel(lrl_dtype t, int64_t k, int64_t c) {
  return t == LRL_BF16 ? (k / 2 * LRL_KV_PANEL + c) * 2 + k % 2 : k * LRL_KV_PANEL + c;
}
/* Where dimension i of the token in `slot` (0..63) lies in its head of a page. */
static inline int64_t lrl_kv_key_at(lrl_dtype t, int64_t head_dim, int64_t slot, int64_t i) {
  int64_t panel = lrl_kv_head_size(head_dim) / (LRL_KV_PAGE / LRL_KV_PANEL);
  return slot / LRL_KV_PANEL * panel + lrl_kv_in_panel(t, i, slot % LRL_KV_PANEL);
}
static inline int64_t lrl_kv_value_at(lrl_dtype t, int64_t slot, int64_t i) {
  return i / LRL_KV_PANEL * LRL_KV_PAGE * LRL_KV_PANEL + lrl_kv_in_panel(t, slot, i % LRL_KV_PANEL);
}

/* Sizes that grow with the tokens in a cache go up in steps of a quarter at most, so that many
 * decoding steps look the same to a device: n up to 8, then 10, 12, 14, 16, 20, ... */
static inline int64_t lrl_kv_room(int64_t n) {
  int64_t step = 1;
  while (n > 8 * step)
    step *= 2;
  return (n + step - 1) / step * step;
}

#ifdef __cplusplus
}
#endif
#endif
