/* GPUs that plans may be made for; docs/plan.md says where each number is from. Rates are dense:
 * the data sheets print those with 2:4 sparsity, twice as much. GeForce cards do half of their
 * matrix units' rate when sums are f32. PCIe of 16 lanes: 32 GB/s in its fourth, 64 in its fifth
 * generation; NVLink: half of what the sheets add up over both directions. */
#include "launch/plan.h"

#include <stdio.h>
#include <string.h>

#define NVLINK3 "NVLink", 300
#define NVLINK4 "NVLink", 450
#define PCIE4 "PCIe 4", 32
#define PCIE5 "PCIe 5", 64
const struct lrl_gpu lrl_gpus[] = {
    {"a100-40", "A100 SXM 40 GB", 312, 19.5, 1555, 40960, NVLINK3, 108},
    {"a100", "A100 SXM 80 GB", 312, 19.5, 2039, 81920, NVLINK3, 108},
    {"a100-pcie", "A100 PCIe 80 GB", 312, 19.5, 1935, 81920, PCIE4, 108},
    {"h100", "H100 SXM 80 GB", 989.4, 66.9, 3352, 81559, NVLINK4, 132},
    {"h100-pcie", "H100 PCIe 80 GB", 756.5, 51.2, 2039, 81559, PCIE5, 114},
    {"h200", "H200 SXM 141 GB", 989.4, 66.9, 4800, 143771, NVLINK4, 132},
    {"l40s", "L40S 48 GB", 362, 91.6, 864, 46068, PCIE4, 142},
    {"l4", "L4 24 GB", 121, 30.3, 300, 23034, PCIE4, 58},
    {"rtx4090", "GeForce RTX 4090 24 GB", 165.2, 82.6, 1008, 24564, PCIE4, 128},
    {"rtx3090", "GeForce RTX 3090 24 GB", 71.2, 35.6, 936, 24576, PCIE4, 82},
};
const int lrl_n_gpus = sizeof lrl_gpus / sizeof lrl_gpus[0];

lrl_status lrl_gpu_find(const char *name, const struct lrl_gpu **out) {
  char names[400] = "";
  size_t used = 0;
  for (int i = 0; i < lrl_n_gpus; i++) {
    if (strcmp(lrl_gpus[i].name, name) == 0) {
      *out = &lrl_gpus[i];
      return LRL_OK;
    }
    used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "",
                             lrl_gpus[i].name);
  }
  return LRL_FAIL(LRL_ERR_ARG, "no GPU is called '%s' here; there are %s", name, names);
}

struct lrl_plan_machine lrl_gpu_machine(const struct lrl_gpu *g) {
  return (struct lrl_plan_machine){g->bf16 * 1e12, g->f32 * 1e12, g->memory * 1e9, g->n_sm};
}
