/* Tensor-core instructions. The layouts are written from the PTX ISA's pictures: groupID = lane /
 * 4, threadID_in_group = lane % 4; tests/simt/test_fragments.cu asserts them from its own table. */
#include "ptx.h"
#include "simt.h"

#include "include/cuda_bf16.h"

#include "include/cuda_fp16.h"

#include <string.h>

namespace simt {
static float half_of(uint32_t u, int high, bool bf16) {
  const uint16_t h = (uint16_t)(high ? u >> 16 : u);
  return bf16 ? bf16_value(h) : half_value(h);
}
static float tf32(uint32_t u) {
  u &= 0xffffe000u; /* 10 bits of mantissa are used */
  float f;
  memcpy(&f, &u, 4);
  return f;
}
static void mma(thread *warp, mma_kind kind, bool f16_result) {
  const bool bf16 = kind == MMA_BF16_K16 || kind == MMA_BF16_K8;
  const int depth = kind == MMA_BF16_K16 || kind == MMA_F16_K16 ? 16 : 8;
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; lane++) {
    const mma_operand *o = static_cast<mma_operand *>(warp[lane].operand);
    const int g = lane / 4, t = lane % 4;
    if (kind == MMA_TF32_K8) {
      for (int i = 0; i < 4; i++)
        a[g + i % 2 * 8][t + i / 2 * 4] = tf32(o->a[i]);
      for (int i = 0; i < 2; i++)
        b[t + i * 4][g] = tf32(o->b[i]);
      continue;
    }
    for (int i = 0; i < depth / 4; i++) /* registers of A: row g, g + 8; then columns + 8 */
      for (int h = 0; h < 2; h++)
        a[g + i % 2 * 8][t * 2 + h + i / 2 * 8] = half_of(o->a[i], h, bf16);
    for (int i = 0; i < depth / 8; i++)
      for (int h = 0; h < 2; h++)
        b[t * 2 + h + i * 8][g] = half_of(o->b[i], h, bf16);
  }
  counters.mma++;
  for (int lane = 0; lane < 32; lane++) {
    mma_operand *o = static_cast<mma_operand *>(warp[lane].operand);
    float d[4];
    for (int i = 0; i < 4; i++) { /* rows g, g, g + 8, g + 8; columns 2t, 2t + 1 */
      const int row = lane / 4 + i / 2 * 8, col = lane % 4 * 2 + i % 2;
      float sum = 0.0f, c;
      for (int k = 0; k < depth; k++)
        sum += a[row][k] * b[k][col];
      if (f16_result)
        c = half_of(o->c[i / 2], i % 2, false);
      else
        memcpy(&c, &o->c[i], 4);
      d[i] = c + sum;
    }
    if (f16_result)
      for (int i = 0; i < 2; i++)
        o->d[i] = half_bits(d[2 * i]) | (uint32_t)half_bits(d[2 * i + 1]) << 16;
    else
      memcpy(o->d, d, sizeof d);
  }
}
template <mma_kind kind, bool f16_result> static void do_mma(thread *warp, unsigned mask) {
  if (mask == 0xffffffffu)
    mma(warp, kind, f16_result);
  else
    report("mma.sync by a part of a warp (%08x)", mask);
}
void mma_sync(mma_kind kind, bool f16_result, mma_operand *o, const char *file, int line) {
  static const collective f32[] = {do_mma<MMA_BF16_K16, false>, do_mma<MMA_F16_K16, false>,
                                   do_mma<MMA_BF16_K8, false>, do_mma<MMA_F16_K8, false>,
                                   do_mma<MMA_TF32_K8, false>};
  static const collective f16[] = {NULL, do_mma<MMA_F16_K16, true>, NULL, do_mma<MMA_F16_K8, true>,
                                   NULL};
  meet((f16_result ? f16 : f32)[kind], "mma.sync", 0xffffffffu, o, file, line);
}

struct ldmatrix_operand {
  const void *row;
  uint32_t out[4];
};
/* Matrix j is 8 rows of 16 bytes at the addresses of lanes 8j..8j+7; lane l gets the two elements
 * at row l/4, columns 2(l%4) and the next; transposed: rows and columns swapped. */
static void do_ldmatrix(thread *warp, unsigned mask, int n, bool trans) {
  if (mask != 0xffffffffu) {
    report("ldmatrix by a part of a warp (%08x)", mask);
    return;
  }
  for (int j = 0; j < n; j++) {
    const uint16_t *rows[8];
    for (int r = 0; r < 8; r++)
      rows[r] = static_cast<const uint16_t *>(
          static_cast<ldmatrix_operand *>(warp[8 * j + r].operand)->row);
    for (int l = 0; l < 32; l++) {
      const int p = l / 4, q = l % 4 * 2;
      static_cast<ldmatrix_operand *>(warp[l].operand)->out[j] =
          trans ? rows[q][p] | (uint32_t)rows[q + 1][p] << 16
                : rows[p][q] | (uint32_t)rows[p][q + 1] << 16;
    }
  }
}
template <int n, bool trans> static void do_ldm(thread *warp, unsigned mask) {
  do_ldmatrix(warp, mask, n, trans);
}
void ldmatrix(uint32_t *out, const void *row, int n, bool trans, const char *file, int line) {
  static const uint16_t nothing[8] = {0};
  ldmatrix_operand o = {row, {0, 0, 0, 0}};
  if (self->lane < 8 * n) {
    if ((uintptr_t)row % 16 != 0)
      report("%s:%d: the row address of ldmatrix is not a multiple of 16", file, line);
    if (!is_shared(row, 16)) {
      report("%s:%d: ldmatrix reads outside shared memory", file, line);
      o.row = nothing;
    } else {
      access(row, 16, READ, self->ptx_site);
    }
  }
  static const collective plain[] = {do_ldm<1, false>, do_ldm<2, false>, do_ldm<4, false>};
  static const collective turned[] = {do_ldm<1, true>, do_ldm<2, true>, do_ldm<4, true>};
  const collective *of = trans ? turned : plain; /* g++ 12 miscompiles (a ? b : c)[i] with UBSan */
  meet(of[n / 2], "ldmatrix", 0xffffffffu, &o, file, line);
  memcpy(out, o.out, (size_t)n * 4);
}
} // namespace simt
