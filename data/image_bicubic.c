#include "data/image_resize.h"

#include <math.h>

/* Four taps of one output position. */
struct taps {
  int32_t at[4];
  float w[4];
};

static float near_weight(float x) { /* |x| <= 1 */
  const float a = -0.75F;
  return ((a + 2) * x - (a + 3)) * x * x + 1;
}
static float far_weight(float x) { /* 1 < |x| < 2 */
  const float a = -0.75F;
  return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
}

static void find_taps(struct taps *taps, int32_t in, int32_t out) {
  float scale = (float)in / (float)out;
  for (int32_t i = 0; i < out; i++) {
    float centre = scale * ((float)i + 0.5F) - 0.5F, base = floorf(centre), t = centre - base;
    taps[i].w[0] = far_weight(t + 1);
    taps[i].w[1] = near_weight(t);
    taps[i].w[2] = near_weight(1 - t);
    taps[i].w[3] = far_weight(2 - t);
    for (int32_t k = 0; k < 4; k++) {
      int32_t at = (int32_t)base - 1 + k;
      taps[i].at[k] = at < 0 ? 0 : at >= in ? in - 1 : at;
    }
  }
}

static void along_row(const struct taps *x, const float *in, int32_t n, float *out) {
  for (int32_t i = 0; i < n; i++)
    out[i] = in[x[i].at[0]] * x[i].w[0] + in[x[i].at[1]] * x[i].w[1] + in[x[i].at[2]] * x[i].w[2] +
             in[x[i].at[3]] * x[i].w[3];
}

/* Input row y modulo 4 keeps its place in a ring of four resampled rows: the four rows an output
 * row needs never collide. */
lrl_status lrl_plane_bicubic(lrl_plane_row *row, const void *user, int32_t in_w, int32_t in_h,
                             float *out, int32_t out_w, int32_t out_h, struct lrl_buffer *scratch) {
  size_t n_taps = (size_t)out_w + (size_t)out_h;
  LRL_TRY(lrl_buffer_reserve(scratch, n_taps * sizeof(struct taps) +
                                          ((size_t)in_w + 4 * (size_t)out_w) * sizeof(float)));
  struct taps *x = scratch->data, *y = x + out_w;
  float *line = (float *)(x + n_taps), *ring = line + in_w;
  int32_t held[4] = {-1, -1, -1, -1};
  find_taps(x, in_w, out_w);
  find_taps(y, in_h, out_h);
  for (int32_t i = 0; i < out_h; i++, out += out_w) {
    const float *r[4];
    for (int32_t k = 0; k < 4; k++) {
      int32_t at = y[i].at[k], slot = at & 3;
      if (held[slot] != at) {
        row(user, at, line);
        along_row(x, line, out_w, ring + (int64_t)slot * out_w);
        held[slot] = at;
      }
      r[k] = ring + (int64_t)slot * out_w;
    }
    const float *w = y[i].w;
    for (int32_t j = 0; j < out_w; j++)
      out[j] = r[0][j] * w[0] + r[1][j] * w[1] + r[2][j] * w[2] + r[3][j] * w[3];
  }
  return LRL_OK;
}
