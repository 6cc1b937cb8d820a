/* Inline PTX, parsed once per text. */
#ifndef SIMT_PTX_H
#define SIMT_PTX_H
#include <cuda_runtime_api.h>

#include "include/simt_core.h"

#include "include/simt_ptx.h"

#include <map>
#include <string>
#include <vector>

namespace simt {
/* One operand as written: %3, r1, 16, {a, b}, [addr+8]. */
struct ptx_arg {
  bool memory = false;
  int64_t offset = 0;             /* of a memory operand */
  std::vector<std::string> names; /* more than one: a vector in braces */
};
struct ptx_line {
  std::string guard; /* name of the predicate, "" none */
  bool negated = false;
  std::string op;                 /* as written */
  std::vector<std::string> parts; /* split at the dots */
  std::vector<ptx_arg> args;
  bool has(const char *part) const {
    for (const std::string &p : parts)
      if (p == part)
        return true;
    return false;
  }
};
std::vector<ptx_line> parse_ptx(const char *text);

/* mma.sync and ldmatrix: fragments as in the PTX ISA, 9.7.14.5. */
struct mma_operand {
  uint32_t a[4], b[2], c[4], d[4];
};
enum mma_kind { MMA_BF16_K16, MMA_F16_K16, MMA_BF16_K8, MMA_F16_K8, MMA_TF32_K8 };
void mma_sync(mma_kind kind, bool f16_result, mma_operand *o, const char *file, int line);
void ldmatrix(uint32_t *out, const void *row, int n, bool trans, const char *file, int line);
} // namespace simt
#endif
