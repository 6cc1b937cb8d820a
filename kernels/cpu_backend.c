/* The cpu backend: one table per instruction set, chosen at run time by what the machine has. */
#include "kernels/backend.h"
#include "kernels/cpu_peak.h"
#include "kernels/onednn/gemm.h"

#include <string.h>

#define DECLARE(isa, op)                                                                           \
  lrl_status cpu_##isa##_##op(struct lrl_ctx *ctx, const struct lrl_##op##_args *args);
#define DECLARE_GENERIC(op) DECLARE(generic, op)
#define DECLARE_AVX2(op) DECLARE(avx2, op)
#define DECLARE_AVX512(op) DECLARE(avx512, op)
LRL_OPS(DECLARE_GENERIC)
LRL_OPS(DECLARE_AVX2)
LRL_OPS(DECLARE_AVX512)

#define E(isa, op) .op = cpu_##isa##_##op
#define TABLE(isa)                                                                                 \
  {                                                                                                \
    .name = "cpu", .create = lrl_onednn_create, .destroy = lrl_onednn_destroy,                     \
    .gemm = lrl_onednn_gemm, E(isa, embedding_fwd), E(isa, embedding_bwd), E(isa, gather_rows),    \
    E(isa, scatter_rows), E(isa, rms_norm_fwd), E(isa, rms_norm_bwd), E(isa, layer_norm_fwd),      \
    E(isa, layer_norm_bwd), E(isa, rope_qkv_fwd), E(isa, rope_qkv_bwd), E(isa, attention_fwd),     \
    E(isa, attention_bwd), E(isa, swiglu_fwd), E(isa, swiglu_bwd), E(isa, gelu_fwd),               \
    E(isa, gelu_bwd), E(isa, add), E(isa, colsum), E(isa, dropout), E(isa, im2col_fwd),            \
    E(isa, im2col_bwd), E(isa, vit_embed_fwd), E(isa, vit_embed_bwd), E(isa, cross_entropy),       \
    E(isa, mean_pool_fwd), E(isa, mean_pool_bwd), E(isa, head_fwd), E(isa, head_bwd),              \
    E(isa, bradley_terry), E(isa, logprob_fwd), E(isa, logprob_bwd), E(isa, approx_kl),            \
    E(isa, ppo_policy), E(isa, ppo_value), E(isa, gae), E(isa, moments), E(isa, whiten),           \
    E(isa, adamw), E(isa, sumsq), E(isa, scale), E(isa, cast)                                      \
  }
static const struct lrl_backend table_generic = TABLE(generic);
static const struct lrl_backend table_avx2 = TABLE(avx2);
static const struct lrl_backend table_avx512 = TABLE(avx512);

static bool has_avx2(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}
bool lrl_cpu_has_bf16(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16");
}
static bool has_avx512(void) {
  return has_avx2() && lrl_cpu_has_bf16() && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

const char *lrl_cpu_isa(void) { return has_avx512() ? "avx512" : has_avx2() ? "avx2" : "generic"; }

const struct lrl_backend *lrl_backend_cpu_isa(const char *isa) {
  if (strcmp(isa, "avx512") == 0)
    return has_avx512() ? &table_avx512 : NULL;
  if (strcmp(isa, "avx2") == 0)
    return has_avx2() ? &table_avx2 : NULL;
  return strcmp(isa, "generic") == 0 ? &table_generic : NULL;
}
const struct lrl_backend *lrl_backend_cpu(void) { return lrl_backend_cpu_isa(lrl_cpu_isa()); }

double lrl_cpu_peak(bool bf16, int n_threads) {
  return (has_avx512() ? cpu_avx512_peak
          : has_avx2() ? cpu_avx2_peak
                       : cpu_generic_peak)(bf16, n_threads);
}
