/* The PTX instructions the backend uses, one function each, and tiles for tensor cores: bf16 rows
 * of D elements in shared memory whose 16-byte chunks are swizzled, so that ldmatrix and cp.async
 * never meet in a bank. Fragments: PTX ISA 9.7.14.5; lane = 4 group + t holds rows group, group + 8
 * and columns 2t, 2t + 1 of a 16 x 8 result, and two neighbouring results, rounded, are one A
 * operand. */
#ifndef LRL_CUDA_MMA_CUH
#define LRL_CUDA_MMA_CUH
#include "kernels/cuda/device.cuh"

__device__ __forceinline__ uint32_t shared_address(const void *p) {
  return (uint32_t)__cvta_generic_to_shared(p);
}
/* 16 bytes to shared memory, zeros when not `valid`. */
__device__ __forceinline__ void cp_async16(void *to, const void *from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(to)),
               "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}
template <int PENDING> __device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(PENDING) : "memory");
}
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const bf16 *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const bf16 *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
/* d += a b: 16 x 16 times 16 x 8. */
__device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                         uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
               "{%8,%9}, {%0,%1,%2,%3};\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ uint32_t pack_bf16(float lo, float hi) {
  const __nv_bfloat162 h = __floats2bfloat162_rn(lo, hi);
  uint32_t u;
  memcpy(&u, &h, 4);
  return u;
}

/* Element offset of chunk c (8 elements) of row r. */
template <int D> __device__ __forceinline__ int tile_at(int r, int c) {
  return r * D + (c ^ (r & 7)) * 8;
}
/* ROWS rows into a tile by 128 threads; row(i) is the address of row i, NULL for zeros; any: some
 * global address. */
template <int D, int ROWS, class F>
__device__ __forceinline__ void load_tile(bf16 *tile, const bf16 *any, F row) {
#pragma unroll
  for (int i = threadIdx.x; i < ROWS * (D / 8); i += 128) {
    const int r = i / (D / 8), c = i % (D / 8);
    const bf16 *from = row(r);
    cp_async16(tile + tile_at<D>(r, c), from == nullptr ? any : from + c * 8, from != nullptr);
  }
}
/* acc[16 x 8N] += a[16 rows from row0, D] b[8N rows, D]' */
template <int D, int N>
__device__ __forceinline__ void multiply_rows(float (&acc)[N][4], const bf16 *a, int row0,
                                              const bf16 *b) {
  /* Chunk 2k + c of a row is where chunk c is, xor 2k. */
  const int l = threadIdx.x % 32, at = tile_at<D>(row0 + l % 16, l / 16),
            bt = tile_at<D>(l % 8 + l / 16 * 8, l / 8 % 2);
#pragma unroll
  for (int k = 0; k < D / 16; k++) {
    uint32_t x[4], y[4];
    ldmatrix_x4(x, a + (at ^ k * 16));
#pragma unroll
    for (int n = 0; n < N / 2; n++) {
      ldmatrix_x4(y, b + n * 16 * D + (bt ^ k * 16));
      mma_bf16(acc[2 * n], x, y[0], y[1]);
      mma_bf16(acc[2 * n + 1], x, y[2], y[3]);
    }
  }
}
/* acc[16 x D] += p[16 x 8N], rounded, b[8N rows, D] */
template <int D, int N>
__device__ __forceinline__ void multiply_weights(float (&acc)[D / 8][4], const float (&p)[N][4],
                                                 const bf16 *b) {
  const int l = threadIdx.x % 32, bt = tile_at<D>(l % 16, l / 16);
#pragma unroll
  for (int k = 0; k < N / 2; k++) {
    const uint32_t x[4] = {pack_bf16(p[2 * k][0], p[2 * k][1]), pack_bf16(p[2 * k][2], p[2 * k][3]),
                           pack_bf16(p[2 * k + 1][0], p[2 * k + 1][1]),
                           pack_bf16(p[2 * k + 1][2], p[2 * k + 1][3])};
#pragma unroll
    for (int n = 0; n < D / 16; n++) {
      uint32_t y[4];
      ldmatrix_x4_trans(y, b + k * 16 * D + (bt ^ n * 16));
      mma_bf16(acc[2 * n], x, y[0], y[1]);
      mma_bf16(acc[2 * n + 1], x, y[2], y[3]);
    }
  }
}
/* 16 rows of a warp's results, times scale, to row(i) (NULL: nowhere) in whole 16-byte words,
 * through the rows row0... of a tile that only this warp uses any more, after a barrier that all
 * its readers have passed. */
template <int D, class F>
__device__ __forceinline__ void store_tile(const float (&acc)[D / 8][4], float low, float high,
                                           bf16 *tile, int row0, F row) {
  const int l = threadIdx.x % 32, g = l / 4, t = l % 4;
#pragma unroll
  for (int n = 0; n < D / 8; n++) {
    const uint32_t a = pack_bf16(acc[n][0] * low, acc[n][1] * low);
    const uint32_t b = pack_bf16(acc[n][2] * high, acc[n][3] * high);
    memcpy(tile + tile_at<D>(row0 + g, n) + 2 * t, &a, 4);
    memcpy(tile + tile_at<D>(row0 + g + 8, n) + 2 * t, &b, 4);
  }
  __syncwarp();
#pragma unroll
  for (int i = l; i < 16 * (D / 8); i += 32) {
    const int r = i / (D / 8), c = i % (D / 8);
    bf16 *to = row(r);
    if (to != nullptr)
      *reinterpret_cast<uint4 *>(to + c * 8) =
          *reinterpret_cast<const uint4 *>(tile + tile_at<D>(row0 + r, c));
  }
}
#endif
