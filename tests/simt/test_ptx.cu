/* Inline PTX: tensor cores against the element tables of the PTX ISA (9.7.14.5), cp.async,
 * ldmatrix, the small instructions people write by hand; and exact counts of memory traffic. */
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdio.h>

#include "tests/simt/test.cuh"

/* Element i of a lane's fragment, as the ISA writes it: groupID = lane >> 2, threadID_in_group =
 * lane % 4. A of m16n8k16: row = groupID for i in 0, 1, 4, 5 else groupID + 8; col = tig * 2 + (i &
 * 1),
 * + 8 for i >= 4. B: row = tig * 2 + (i & 1), + 8 for i >= 2; col = groupID. C: row = groupID, + 8
 * for i >= 2; col = tig * 2 + (i & 1). m16n8k8 has the first half of A's and B's elements. */
struct place {
  int row, col;
};
static place a_place(int lane, int i) {
  return {(lane >> 2) + ((i & 2) ? 8 : 0), (lane % 4) * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
}
static place b_place(int lane, int i) {
  return {(lane % 4) * 2 + (i & 1) + (i >= 2 ? 8 : 0), lane >> 2};
}
static place c_place(int lane, int i) {
  return {(lane >> 2) + (i >= 2 ? 8 : 0), (lane % 4) * 2 + (i & 1)};
}

__global__ void mma_kernel(int kind, const unsigned *a, const unsigned *b, float *c) {
  const int l = threadIdx.x;
  const unsigned *A = a + 4 * l, *B = b + 2 * l;
  float *C = c + 4 * l;
  if (kind == 0)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
                 : "+f"(C[0]), "+f"(C[1]), "+f"(C[2]), "+f"(C[3])
                 : "r"(A[0]), "r"(A[1]), "r"(A[2]), "r"(A[3]), "r"(B[0]), "r"(B[1]));
  else if (kind == 1)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                 "{%8,%9}, {%10,%11,%12,%13};\n"
                 : "=f"(C[0]), "=f"(C[1]), "=f"(C[2]), "=f"(C[3])
                 : "r"(A[0]), "r"(A[1]), "r"(A[2]), "r"(A[3]), "r"(B[0]), "r"(B[1]), "f"(C[0]),
                   "f"(C[1]), "f"(C[2]), "f"(C[3]));
  else
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
                 "{%0,%1,%2,%3};\n"
                 : "+f"(C[0]), "+f"(C[1]), "+f"(C[2]), "+f"(C[3])
                 : "r"(A[0]), "r"(A[1]), "r"(B[0]));
}
template <class H> static unsigned pack(float lo, float hi) {
  H h[2] = {H(lo), H(hi)};
  unsigned u;
  memcpy(&u, h, 4);
  return u;
}
static void fragments() {
  for (int kind = 0; kind < 3; kind++) {
    const int depth = kind == 2 ? 8 : 16;
    float A[16][16], B[16][8], C[16][8], *c;
    unsigned *a, *b;
    for (int i = 0; i < 16; i++)
      for (int k = 0; k < 16; k++)
        A[i][k] = (float)((i * 16 + k) * 7 % 31 - 15);
    for (int k = 0; k < 16; k++)
      for (int j = 0; j < 8; j++)
        B[k][j] = (float)((k * 8 + j) * 5 % 23 - 11);
    cudaMallocManaged(&a, 32 * 16);
    cudaMallocManaged(&b, 32 * 8);
    cudaMallocManaged(&c, 32 * 16);
    for (int l = 0; l < 32; l++) {
      for (int i = 0; i < depth / 2; i += 2) {
        const place p = a_place(l, i), q = a_place(l, i + 1);
        a[4 * l + i / 2] = kind == 1 ? pack<__half>(A[p.row][p.col], A[q.row][q.col])
                                     : pack<__nv_bfloat16>(A[p.row][p.col], A[q.row][q.col]);
      }
      for (int i = 0; i < depth / 4; i += 2) {
        const place p = b_place(l, i), q = b_place(l, i + 1);
        b[2 * l + i / 2] = kind == 1 ? pack<__half>(B[p.row][p.col], B[q.row][q.col])
                                     : pack<__nv_bfloat16>(B[p.row][p.col], B[q.row][q.col]);
      }
      for (int i = 0; i < 4; i++)
        c[4 * l + i] = C[c_place(l, i).row][c_place(l, i).col] = (float)(l - 2 * i);
    }
    mma_kernel<<<1, 32>>>(kind, a, b, c);
    cudaDeviceSynchronize();
    bool good = true;
    for (int l = 0; l < 32; l++)
      for (int i = 0; i < 4; i++) {
        const place p = c_place(l, i);
        float want = C[p.row][p.col];
        for (int k = 0; k < depth; k++)
          want += A[p.row][k] * B[k][p.col];
        good = good && c[4 * l + i] == want;
      }
    CHECK(good);
    cudaFree(a);
    cudaFree(b);
    cudaFree(c);
  }
}

__global__ void load_matrix(unsigned *o, const unsigned short *x) {
  __shared__ __align__(16) unsigned short m[32][8];
  const int l = threadIdx.x;
  const unsigned to = (unsigned)__cvta_generic_to_shared(&m[l][0]);
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], %2;\n" ::"r"(to), "l"(x + l * 8),
               "n"(16));
  asm volatile("cp.async.commit_group;\n" ::);
  asm volatile("cp.async.wait_group %0;\n" ::"n"(0));
  __syncwarp();
  unsigned r[4], t[2], one;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(to));
  asm volatile("ldmatrix.sync.aligned.x2.trans.m8n8.shared.b16 {%0, %1}, [%2];"
               : "=r"(t[0]), "=r"(t[1])
               : "r"(to));
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(one) : "r"(to));
  for (int i = 0; i < 4; i++)
    o[i * 32 + l] = r[i];
  for (int i = 0; i < 2; i++)
    o[(4 + i) * 32 + l] = t[i];
  o[6 * 32 + l] = one;
}
static void matrices() {
  unsigned *o;
  unsigned short *x;
  cudaMallocManaged(&o, 7 * 32 * 4);
  cudaMallocManaged(&x, 32 * 16);
  for (int i = 0; i < 256; i++)
    x[i] = (unsigned short)i;
  load_matrix<<<1, 32>>>(o, x);
  cudaDeviceSynchronize();
  bool good = true;
  for (unsigned l = 0; l < 32; l++) {
    /* row l / 4, elements 2 (l % 4) and the next of matrix i; transposed: of its column */
    for (unsigned i = 0; i < 4; i++) {
      const unsigned first = i * 64 + l / 4 * 8 + l % 4 * 2;
      good = good && o[i * 32 + l] == (first | (first + 1) << 16);
    }
    for (unsigned i = 0; i < 2; i++) {
      const unsigned first = i * 64 + l % 4 * 2 * 8 + l / 4;
      good = good && o[(4 + i) * 32 + l] == (first | (first + 8) << 16);
    }
    good = good && o[6 * 32 + l] == o[l];
  }
  CHECK(good);
  cudaFree(o);
  cudaFree(x);
}

__global__ void small(float *f, unsigned *u, const float *x) {
  __shared__ float s[4];
  float e, g[4];
  unsigned p, lane;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(3.0f));
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  asm("{ cvt.rn.bf16x2.f32 %0, %1, %2; }" : "=r"(p) : "f"(2.0f), "f"(1.0f));
  asm volatile("ld.global.nc.L1::no_allocate.v4.f32 {%0,%1,%2,%3}, [%4+16];"
               : "=f"(g[0]), "=f"(g[1]), "=f"(g[2]), "=f"(g[3])
               : "l"(x));
  asm volatile("{\n.reg .u64 a;\n.reg .u32 b;\ncvta.to.shared.u64 a, %0;\ncvt.u32.u64 b, a;\n"
               "st.shared.f32 [b+4], %1;\n}\n" ::"l"(s),
               "f"(5.5f));
  asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %1, 0;\n\t@p mov.u32 %0, 7;\n\t@!p mov.u32 "
               "%0, 9;\n}"
               : "=r"(u[2])
               : "r"(0));
  asm volatile("bar.sync 0;");
  f[0] = e;
  f[1] = g[0] + g[3];
  f[2] = s[1];
  u[0] = p;
  u[1] = lane;
  asm volatile("mad.lo.s32 %0, %1, %2, %3;" : "=r"(u[3]) : "r"(-3), "r"(5), "r"(1));
}
__global__ void producers(int *o) { /* named barriers: two halves that wait for themselves */
  __shared__ int s[128];
  const int half = threadIdx.x / 64;
  s[threadIdx.x] = threadIdx.x;
  asm volatile("bar.sync %0, %1;" ::"r"(1 + half), "r"(64));
  o[threadIdx.x] = s[half * 64 + 63 - threadIdx.x % 64];
}
static void instructions() {
  float *f, *x;
  unsigned *u;
  int *o;
  cudaMallocManaged(&f, 64);
  cudaMallocManaged(&x, 64);
  cudaMallocManaged(&u, 64);
  cudaMallocManaged(&o, 512);
  for (int i = 0; i < 16; i++)
    x[i] = (float)i;
  small<<<1, 1>>>(f, u, x);
  producers<<<1, 128>>>(o);
  cudaDeviceSynchronize();
  CHECK(f[0] == 8.0f && f[1] == 11.0f && f[2] == 5.5f);
  CHECK(u[0] == 0x40003f80u && u[1] == 0 && u[2] == 9 && (int)u[3] == -14);
  CHECK(o[0] == 63 && o[100] == 64 + 63 - 36);
  cudaFree(f);
  cudaFree(x);
  cudaFree(u);
  cudaFree(o);
}

template <int PAD> __global__ void transpose(float *o, const float *x) {
  __shared__ float s[32][32 + PAD];
  const int tx = threadIdx.x % 32, ty = threadIdx.x / 32;
  for (int r = ty; r < 32; r += 4)
    s[r][tx] = x[r * 32 + tx];
  __syncthreads();
  for (int r = ty; r < 32; r += 4)
    o[r * 32 + tx] = s[tx][r];
}
__global__ void strided(float *o, const float *x) {
  o[threadIdx.x] = x[threadIdx.x % 32 * 32 + threadIdx.x / 32];
}
__global__ void vectors(float4 *o, const float4 *x) { o[threadIdx.x] = x[threadIdx.x]; }
static simt_counters count(const char *kernel) {
  simt_counters c;
  cudaDeviceSynchronize();
  simt_get_counters(kernel, &c);
  return c;
}
static void traffic() {
  float *o, *x;
  cudaMallocManaged(&o, 4096);
  cudaMallocManaged(&x, 4096);
  simt_reset();
  transpose<0><<<1, 128>>>(o, x);
  simt_counters c = count("transpose");
  CHECK(c.shared_requests == 64 && c.shared_wavefronts == 32 * 32 + 32);
  CHECK(c.global_requests == 64 && c.global_sectors == 64 * 4 && c.global_bytes == 64 * 128);
  simt_reset();
  transpose<1><<<1, 128>>>(o, x);
  c = count("transpose");
  CHECK(c.shared_requests == 64 && c.shared_wavefronts == 64);
  strided<<<1, 128>>>(o, x);
  c = count("strided");
  CHECK(c.global_read_sectors == 4 * 32 && c.global_write_sectors == 4 * 4);
  vectors<<<1, 32>>>((float4 *)o, (float4 *)x);
  c = count("vectors");
  CHECK(c.global_requests == 2 && c.global_sectors == 32 && c.global_bytes == 1024);
  cudaFree(o);
  cudaFree(x);
}

int main() {
  for (simt_order order : {SIMT_ASCENDING, SIMT_DESCENDING, SIMT_RANDOM}) {
    const simt_settings s = {order, SIMT_LAZY, 5, 1, 0};
    simt_configure(&s);
    simt_reset();
    fragments();
    matrices();
    instructions();
    CHECK(simt_reports(NULL) == 0);
    if (simt_is_traced())
      traffic();
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
