/* What the attention kernels share: operands, and which keys a query sees. */
#ifndef LRL_CUDA_ATTENTION_CUH
#define LRL_CUDA_ATTENTION_CUH
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/host.cuh"

enum { WARPS = 4 };
/* The parent's rows come first. */
struct key_range {
  int64_t n, n_parent, parent, own;
  __device__ __forceinline__ int64_t row(int64_t j) const {
    return j < n_parent ? parent + j : own + (j - n_parent);
  }
};
template <class T> struct attention_args {
  cuda_layout l;
  const int32_t *seq_of; /* [n] sequence of a row */
  int64_t n, n_heads, n_kv;
  int d;
  bool causal;
  float scale;
  const T *q, *k, *v;
  int64_t ld_q, ld_k, ld_v, ld_o;
  __device__ __forceinline__ key_range keys_of(int64_t row) const {
    const int32_t s = seq_of[row], p = l.parent[s];
    key_range r;
    r.n_parent = p < 0 ? 0 : l.length[p];
    r.parent = p < 0 ? 0 : l.start[p];
    r.own = l.start[s];
    r.n = r.n_parent + (causal ? row - r.own + 1 : l.length[s]);
    return r;
  }
};

/* kernels/cuda/flash.cu: whether these operands can go through tensor cores, and the launches.
 * delta [n_heads, n] is rowsum(do o). */
bool flash_takes(const attention_args<bf16> &g, const bf16 *o);
void flash_forward(cuda_op &op, const attention_args<bf16> &g, const struct lrl_layout *l, bf16 *o,
                   float *lse);
void flash_backward(cuda_op &op, const attention_args<bf16> &g, const struct lrl_layout *l,
                    const bf16 *d_o, const float *lse, const float *delta, bf16 *dq, bf16 *dk,
                    bf16 *dv);
#endif
