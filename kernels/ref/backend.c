#include "kernels/ref/ref.h"

#define REF_ENTRY(op) .op = lrl_ref_##op,
const struct lrl_backend lrl_backend_ref = {.name = "ref", LRL_OPS(REF_ENTRY)};
