#include "kernels/ref/ref.h"

lrl_status REF_FN(gemm)(struct lrl_ctx *ctx, const struct lrl_gemm_args *a) {
  (void)ctx;
#pragma omp parallel for
  for (int64_t i = 0; i < a->m; i++)
    for (int64_t j = 0; j < a->n; j++) {
      double sum = a->bias == NULL ? 0.0 : lrl_ref_load(a->dtype, a->bias, j);
      for (int64_t l = 0; l < a->k; l++)
        sum += lrl_ref_load(a->dtype, a->a, a->trans_a ? l * a->ld_a + i : i * a->ld_a + l) *
               lrl_ref_load(a->dtype, a->b, a->trans_b ? j * a->ld_b + l : l * a->ld_b + j);
      if (a->beta != 0.0f)
        sum += lrl_ref_load(a->c_dtype, a->c, i * a->ld_c + j);
      lrl_ref_store(a->c_dtype, a->c, i * a->ld_c + j, sum);
    }
  return LRL_OK;
}
