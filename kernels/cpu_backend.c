/* The cpu backend: one table per instruction set, chosen at run time by what the machine has. */
#include "kernels/backend.h"
#include "kernels/cpu_packed.h"
#include "kernels/cpu_peak.h"

#include <string.h>

#define DECLARE(isa, op)                                                                           \
  lrl_status cpu_##isa##_##op(struct lrl_ctx *ctx, const struct lrl_##op##_args *args);
#define ENTRY(isa, op) .op = cpu_##isa##_##op,
#define DECLARE_GENERIC(op) DECLARE(generic, op)
#define DECLARE_AVX2(op) DECLARE(avx2, op)
#define DECLARE_AVX512(op) DECLARE(avx512, op)
#define ENTRY_GENERIC(op) ENTRY(generic, op)
#define ENTRY_AVX2(op) ENTRY(avx2, op)
#define ENTRY_AVX512(op) ENTRY(avx512, op)
LRL_OPS(DECLARE_GENERIC)
LRL_OPS(DECLARE_AVX2)
LRL_OPS(DECLARE_AVX512)

#define TABLE(ENTRIES)                                                                             \
  { .name = "cpu", .create = lrl_packed_create, .destroy = lrl_packed_destroy, ENTRIES }
static const struct lrl_backend table_generic = TABLE(LRL_OPS(ENTRY_GENERIC));
static const struct lrl_backend table_avx2 = TABLE(LRL_OPS(ENTRY_AVX2));
static const struct lrl_backend table_avx512 = TABLE(LRL_OPS(ENTRY_AVX512));

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
