/* Attention of bf16 heads of 64 and 128 elements on tensor cores (FlashAttention-2's scheme). A
 * block has 64 rows, a warp 16 of them alone, so that no sum crosses warps; tiles of the other side
 * stream through two buffers of shared memory. Backward is two kernels without atomics: dk and dv
 * per tile of keys, over the group's heads and all sequences that see them, and dq per tile of
 * queries. Tiles come from a list the host makes, longest first. */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/mma.cuh"

#include <algorithm>

namespace {
typedef attention_args<bf16> args;
const float LOG2E = 1.44269504f, LN2 = 0.69314718f;
enum { ROWS = 64 };
struct tile {
  int32_t seq, first; /* rows first..first + 63 of a sequence */
};

template <int D>
__global__ void __launch_bounds__(128) flash_fwd(args a, const tile *tiles, bf16 *o, float *lse) {
  constexpr int T = ROWS * D;
  extern __shared__ __align__(128) unsigned char shared[];
  bf16 *sq = reinterpret_cast<bf16 *>(shared), *sk = sq + T, *sv = sq + 3 * T;
  const int w = threadIdx.x / 32, l = threadIdx.x % 32, g = l / 4, t = l % 4;
  const tile mine = tiles[blockIdx.x];
  const int64_t h = blockIdx.y, kv = h / (a.n_heads / a.n_kv), start = a.l.start[mine.seq];
  const int length = a.l.length[mine.seq], m0 = mine.first;
  key_range keys = a.keys_of(start + (m0 + ROWS < length ? m0 + ROWS : length) - 1);
  const int n_keys = (int)keys.n,
            shift = (int)keys.n_parent; /* query i sees keys up to i + shift */
  auto load_keys = [&](int b) {
    load_tile<D, ROWS>(sk + (b & 1) * T, a.q, [&](int r) {
      const int j = b * ROWS + r;
      return j < n_keys ? a.k + keys.row(j) * a.ld_k + kv * D : nullptr;
    });
    load_tile<D, ROWS>(sv + (b & 1) * T, a.q, [&](int r) {
      const int j = b * ROWS + r;
      return j < n_keys ? a.v + keys.row(j) * a.ld_v + kv * D : nullptr;
    });
  };
  load_tile<D, ROWS>(sq, a.q, [&](int r) {
    return m0 + r < length ? a.q + (start + m0 + r) * a.ld_q + h * D : nullptr;
  });
  load_keys(0);
  cp_async_commit();
  float acc[D / 8][4] = {}, top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
  const float scale = a.scale * LOG2E;
  const int blocks = (n_keys + ROWS - 1) / ROWS;
  for (int b = 0; b < blocks; b++) {
    if (b + 1 < blocks)
      load_keys(b + 1);
    cp_async_commit(); /* an empty group at the end keeps the count */
    cp_async_wait<1>();
    __syncthreads();
    float s[8][4] = {};
    multiply_rows<D, 8>(s, sq, w * 16, sk + (b & 1) * T);
    float most[2] = {top[0], top[1]};
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int j = b * ROWS + n * 8 + t * 2 + i % 2, row = m0 + w * 16 + g + i / 2 * 8;
        const bool seen = j < n_keys && (!a.causal || j <= row + shift);
        s[n][i] = seen ? s[n][i] * scale : -INFINITY;
        most[i / 2] = fmaxf(most[i / 2], s[n][i]);
      }
#pragma unroll
    for (int r = 0; r < 2; r++) { /* four lanes have a row */
      most[r] = fmaxf(most[r], __shfl_xor_sync(0xffffffffu, most[r], 1));
      most[r] = fmaxf(most[r], __shfl_xor_sync(0xffffffffu, most[r], 2));
      const float fade = most[r] == -INFINITY ? 1.0f : exp2f(top[r] - most[r]);
      top[r] = most[r];
      sum[r] *= fade;
#pragma unroll
      for (int n = 0; n < D / 8; n++) {
        acc[n][2 * r] *= fade;
        acc[n][2 * r + 1] *= fade;
      }
    }
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        s[n][i] = top[i / 2] == -INFINITY ? 0.0f : exp2f(s[n][i] - top[i / 2]);
        sum[i / 2] += s[n][i];
      }
    multiply_weights<D, 8>(acc, s, sv + (b & 1) * T);
    __syncthreads(); /* the buffer is loaded again */
  }
  float inverse[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 1);
    sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 2);
    inverse[r] = sum[r] > 0.0f ? 1.0f / sum[r] : 0.0f;
    const int row = m0 + w * 16 + g + r * 8;
    if (t == 0 && row < length)
      lse[h * a.n + start + row] = sum[r] > 0.0f ? top[r] * LN2 + logf(sum[r]) : INFINITY;
  }
  store_tile<D>(acc, inverse[0], inverse[1], sq, w * 16, [&](int r) {
    const int row = m0 + w * 16 + r;
    return row < length ? o + (start + row) * a.ld_o + h * D : nullptr;
  });
}

/* dq of 64 queries: over key tiles of 32. */
template <int D>
__global__ void __launch_bounds__(128) flash_dq(args a, const tile *tiles, const bf16 *d_o,
                                                const float *lse, const float *delta, bf16 *dq) {
  constexpr int B = 32, T = ROWS * D, U = B * D;
  extern __shared__ __align__(128) unsigned char shared[];
  bf16 *sq = reinterpret_cast<bf16 *>(shared), *so = sq + T, *sk = so + T, *sv = sk + 2 * U;
  const int w = threadIdx.x / 32, l = threadIdx.x % 32, g = l / 4, t = l % 4;
  const tile mine = tiles[blockIdx.x];
  const int64_t h = blockIdx.y, kv = h / (a.n_heads / a.n_kv), start = a.l.start[mine.seq];
  const int length = a.l.length[mine.seq], m0 = mine.first;
  key_range keys = a.keys_of(start + (m0 + ROWS < length ? m0 + ROWS : length) - 1);
  const int n_keys = (int)keys.n, shift = (int)keys.n_parent;
  auto load_keys = [&](int b) {
    load_tile<D, B>(sk + (b & 1) * U, a.q, [&](int r) {
      const int j = b * B + r;
      return j < n_keys ? a.k + keys.row(j) * a.ld_k + kv * D : nullptr;
    });
    load_tile<D, B>(sv + (b & 1) * U, a.q, [&](int r) {
      const int j = b * B + r;
      return j < n_keys ? a.v + keys.row(j) * a.ld_v + kv * D : nullptr;
    });
  };
  load_tile<D, ROWS>(sq, a.q, [&](int r) {
    return m0 + r < length ? a.q + (start + m0 + r) * a.ld_q + h * D : nullptr;
  });
  load_tile<D, ROWS>(so, a.q, [&](int r) {
    return m0 + r < length ? d_o + (start + m0 + r) * a.ld_o + h * D : nullptr;
  });
  load_keys(0);
  cp_async_commit();
  float acc[D / 8][4] = {}, ls[2], dl[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const int row = m0 + w * 16 + g + r * 8;
    ls[r] = row < length ? lse[h * a.n + start + row] * LOG2E : INFINITY; /* p = 0 */
    dl[r] = row < length ? delta[h * a.n + start + row] : 0.0f;
  }
  const float scale = a.scale * LOG2E;
  const int blocks = (n_keys + B - 1) / B;
  for (int b = 0; b < blocks; b++) {
    if (b + 1 < blocks)
      load_keys(b + 1);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    float s[4][4] = {}, dp[4][4] = {};
    multiply_rows<D, 4>(s, sq, w * 16, sk + (b & 1) * U);
    multiply_rows<D, 4>(dp, so, w * 16, sv + (b & 1) * U);
#pragma unroll
    for (int n = 0; n < 4; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int j = b * B + n * 8 + t * 2 + i % 2, row = m0 + w * 16 + g + i / 2 * 8;
        const bool seen = j < n_keys && (!a.causal || j <= row + shift);
        const float p = seen ? exp2f(s[n][i] * scale - ls[i / 2]) : 0.0f;
        s[n][i] = p * (dp[n][i] - dl[i / 2]);
      }
    multiply_weights<D, 4>(acc, s, sk + (b & 1) * U);
    __syncthreads();
  }
  store_tile<D>(acc, a.scale, a.scale, sq, w * 16, [&](int r) {
    const int row = m0 + w * 16 + r;
    return row < length ? dq + (start + row) * a.ld_q + h * D : nullptr;
  });
}

/* Tiles of 32 queries that see a tile of keys: heads of the group, then sequences (its own and
 * those that continue it), then positions. */
struct query_walk {
  int32_t h, last_h, own, seq, first;
  bool more;
  /* First position of a sequence that sees the keys from k0 on. */
  __device__ __forceinline__ void begin_sequence(const args &a, int k0) {
    for (; seq < a.l.n_seqs; seq++) {
      first = seq == own && a.causal ? k0 : 0;
      if ((seq == own || a.l.parent[seq] == own) && first < a.l.length[seq])
        return;
    }
    seq = own;
    first = a.causal ? k0 : 0;
    more = ++h < last_h;
  }
  __device__ __forceinline__ void next(const args &a, int k0) {
    first += 32;
    if (first < a.l.length[seq])
      return;
    seq++;
    begin_sequence(a, k0);
  }
};
template <int D>
__global__ void __launch_bounds__(128, 2)
    flash_dkv(args a, const tile *tiles, const bf16 *d_o, const float *lse, const float *delta,
              bf16 *dk, bf16 *dv) {
  constexpr int B = 32, T = ROWS * D, U = B * D;
  extern __shared__ __align__(128) unsigned char shared[];
  bf16 *sk = reinterpret_cast<bf16 *>(shared), *sv = sk + T, *sq = sv + T, *so = sq + 2 * U;
  __shared__ float sl[2][B], sd[2][B];
  const int w = threadIdx.x / 32, l = threadIdx.x % 32, g = l / 4, t = l % 4;
  const tile mine = tiles[blockIdx.x];
  const int64_t kv = blockIdx.y, start = a.l.start[mine.seq];
  const int group = (int)a.n_heads / (int)a.n_kv, length = a.l.length[mine.seq], k0 = mine.first;
  auto load_queries = [&](const query_walk &q, int b) {
    const int64_t begin = a.l.start[q.seq];
    const int n = a.l.length[q.seq];
    load_tile<D, B>(sq + (b & 1) * U, a.q, [&](int r) {
      const int i = q.first + r;
      return i < n ? a.q + (begin + i) * a.ld_q + q.h * D : nullptr;
    });
    load_tile<D, B>(so + (b & 1) * U, a.q, [&](int r) {
      const int i = q.first + r;
      return i < n ? d_o + (begin + i) * a.ld_o + q.h * D : nullptr;
    });
    if (threadIdx.x < B) {
      const int i = q.first + threadIdx.x;
      sl[b & 1][threadIdx.x] = i < n ? lse[q.h * a.n + begin + i] * LOG2E : INFINITY;
      sd[b & 1][threadIdx.x] = i < n ? delta[q.h * a.n + begin + i] : 0.0f;
    }
  };
  load_tile<D, ROWS>(sk, a.q, [&](int r) {
    return k0 + r < length ? a.k + (start + k0 + r) * a.ld_k + kv * D : nullptr;
  });
  load_tile<D, ROWS>(sv, a.q, [&](int r) {
    return k0 + r < length ? a.v + (start + k0 + r) * a.ld_v + kv * D : nullptr;
  });
  query_walk q = {(int)blockIdx.y * group,
                  ((int)blockIdx.y + 1) * group,
                  mine.seq,
                  mine.seq,
                  a.causal ? k0 : 0,
                  true};
  load_queries(q, 0); /* a tile of keys is seen by its own positions at least */
  cp_async_commit();
  float gk[D / 8][4] = {}, gv[D / 8][4] = {};
  const float scale = a.scale * LOG2E;
  for (int b = 0; q.more; b++) {
    const int first = q.first, seq = q.seq;
    q.next(a, k0);
    if (q.more)
      load_queries(q, b + 1);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    const bool diagonal = a.causal && seq == q.own;
    const int n_queries = a.l.length[seq];
    float p[4][4] = {}, ds[4][4] = {};
    multiply_rows<D, 4>(p, sk, w * 16, sq + (b & 1) * U);
#pragma unroll
    for (int n = 0; n < 4; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int c = n * 8 + t * 2 + i % 2, query = first + c;
        const int key = k0 + w * 16 + g + i / 2 * 8;
        const bool seen = query < n_queries && (!diagonal || key <= query);
        p[n][i] = seen ? exp2f(p[n][i] * scale - sl[b & 1][c]) : 0.0f;
      }
    multiply_weights<D, 4>(gv, p, so + (b & 1) * U);
    multiply_rows<D, 4>(ds, sv, w * 16, so + (b & 1) * U);
#pragma unroll
    for (int n = 0; n < 4; n++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        ds[n][i] = p[n][i] * (ds[n][i] - sd[b & 1][n * 8 + t * 2 + i % 2]);
    multiply_weights<D, 4>(gk, ds, sq + (b & 1) * U);
    __syncthreads();
  }
  const tile own = tiles[blockIdx.x]; /* again: what lives through the loop costs it registers */
  const int64_t own_start = a.l.start[own.seq];
  const int own_length = a.l.length[own.seq];
  auto row_of_keys = [&](bf16 *base, int64_t ld) {
    return [=](int r) {
      const int row = own.first + w * 16 + r;
      return row < own_length ? base + (own_start + row) * ld + blockIdx.y * D : nullptr;
    };
  };
  store_tile<D>(gk, a.scale, a.scale, sk, w * 16, row_of_keys(dk, a.ld_k));
  store_tile<D>(gv, 1.0f, 1.0f, sv, w * 16, row_of_keys(dv, a.ld_v));
}

/* Tiles of 64 rows of every sequence, those with the most work first. */
int64_t make_tiles(cuda_op &op, const struct lrl_layout *l, bool causal, const tile **out) {
  std::vector<std::pair<int64_t, tile>> list;
  for (int64_t s = 0; s < l->n_seqs; s++)
    for (int32_t first = 0; first < l->length[s]; first += ROWS) {
      const int32_t p = l->parent == NULL ? -1 : l->parent[s];
      list.push_back(
          {(p < 0 ? 0 : l->length[p]) + (causal ? first : l->length[s]), tile{(int32_t)s, first}});
    }
  std::stable_sort(list.begin(), list.end(),
                   [](const auto &x, const auto &y) { return x.first > y.first; });
  std::vector<tile> tiles;
  for (const auto &x : list)
    tiles.push_back(x.second);
  *out = op.upload(tiles.data(), (int64_t)tiles.size());
  return (int64_t)list.size();
}
template <int D>
void forward(cuda_op &op, const args &g, const struct lrl_layout *l, bf16 *o, float *lse) {
  const size_t shared = 5 * ROWS * D * sizeof(bf16);
  const tile *tiles;
  const int64_t n = make_tiles(op, l, g.causal, &tiles);
  allow_shared(flash_fwd<D>, shared);
  LRL_LAUNCH(op, flash_fwd<D>, dim3((unsigned)n, (unsigned)g.n_heads), 128, shared, g, tiles, o,
             lse);
}
template <int D>
void backward(cuda_op &op, const args &g, const struct lrl_layout *l, const bf16 *d_o,
              const float *lse, const float *delta, bf16 *dq, bf16 *dk, bf16 *dv) {
  const size_t shared = (2 * ROWS + 4 * 32) * D * sizeof(bf16);
  const tile *tiles;
  const int64_t n = make_tiles(op, l, g.causal, &tiles);
  allow_shared(flash_dq<D>, shared);
  allow_shared(flash_dkv<D>, shared);
  LRL_LAUNCH(op, flash_dq<D>, dim3((unsigned)n, (unsigned)g.n_heads), 128, shared, g, tiles, d_o,
             lse, delta, dq);
  LRL_LAUNCH(op, flash_dkv<D>, dim3((unsigned)n, (unsigned)g.n_kv), 128, shared, g, tiles, d_o, lse,
             delta, dk, dv);
}
} // namespace

bool flash_takes(const args &g, const bf16 *o) {
  return (g.d == 64 || g.d == 128) && aligned16(g.q, g.k, g.v, o) && g.ld_q % 8 == 0 &&
         g.ld_k % 8 == 0 && g.ld_v % 8 == 0 && g.ld_o % 8 == 0;
}
void flash_forward(cuda_op &op, const args &g, const struct lrl_layout *l, bf16 *o, float *lse) {
  if (g.d == 64)
    forward<64>(op, g, l, o, lse);
  else
    forward<128>(op, g, l, o, lse);
}
void flash_backward(cuda_op &op, const args &g, const struct lrl_layout *l, const bf16 *d_o,
                    const float *lse, const float *delta, bf16 *dq, bf16 *dk, bf16 *dv) {
  if (g.d == 64)
    backward<64>(op, g, l, d_o, lse, delta, dq, dk, dv);
  else
    backward<128>(op, g, l, d_o, lse, delta, dq, dk, dv);
}
