#include "data/image_resize.h"

#include <math.h>
#include <string.h>

enum { WEIGHT_BITS = 22 };

/* Taps of every output position of one axis: out[i] = sum_k w[i*ld + k] in[first[i] + k]. */
struct axis {
  int32_t *first, *count, *w;
  int64_t ld;
};

static double triangle(double x) {
  x = fabs(x);
  return x < 1 ? 1 - x : 0;
}
static double keys(double x) {
  const double a = -0.5;
  x = fabs(x);
  if (x < 1)
    return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double support_of(enum lrl_image_filter f, int32_t in, int32_t out) {
  return (f == LRL_IMAGE_BICUBIC ? 2.0 : 1.0) * fmax((double)in / out, 1);
}
static int64_t max_taps(enum lrl_image_filter f, int32_t in, int32_t out) {
  return (int64_t)ceil(support_of(f, in, out)) * 2 + 1;
}

/* The order of operations is Pillow's; w is scratch for max_taps doubles. */
static void find_taps(struct axis *a, enum lrl_image_filter f, int32_t in, int32_t out, double *w) {
  double scale = (double)in / out, support = support_of(f, in, out), inv = 1 / fmax(scale, 1);
  for (int32_t i = 0; i < out; i++) {
    double centre = (i + 0.5) * scale, sum = 0;
    int32_t lo = (int32_t)(centre - support + 0.5), hi = (int32_t)(centre + support + 0.5);
    lo = lo < 0 ? 0 : lo;
    hi = hi > in ? in : hi;
    for (int32_t k = lo; k < hi; k++) {
      double x = (k - centre + 0.5) * inv;
      sum += w[k - lo] = f == LRL_IMAGE_BICUBIC ? keys(x) : triangle(x);
    }
    a->first[i] = lo;
    a->count[i] = hi - lo;
    for (int32_t k = 0; k < hi - lo; k++) {
      double v = (sum != 0 ? w[k] / sum : w[k]) * (1 << WEIGHT_BITS);
      a->w[i * a->ld + k] = (int32_t)(v < 0 ? v - 0.5 : v + 0.5);
    }
  }
}

static uint8_t clip8(int32_t sum) {
  int32_t v = sum >> WEIGHT_BITS;
  return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void resample_row(const struct axis *a, const uint8_t *restrict in, int32_t width,
                         uint8_t *restrict out) {
  const int32_t half = 1 << (WEIGHT_BITS - 1);
  for (int32_t x = 0; x < width; x++) {
    const uint8_t *p = in + 3 * (int64_t)a->first[x];
    const int32_t *w = a->w + x * a->ld;
    int32_t r = half, g = half, b = half;
    for (int32_t k = 0; k < a->count[x]; k++, p += 3) {
      r += p[0] * w[k];
      g += p[1] * w[k];
      b += p[2] * w[k];
    }
    out[3 * x] = clip8(r);
    out[3 * x + 1] = clip8(g);
    out[3 * x + 2] = clip8(b);
  }
}

static void add_row(int32_t *restrict sum, const uint8_t *restrict row, int32_t w, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    sum[i] += row[i] * w;
}

struct resizer {
  const struct lrl_image *in;
  struct axis x, y;
  int32_t width; /* of the output */
  bool columns, rows, rows_first;
  int32_t *sum;  /* one row */
  uint8_t *ring; /* rows between the passes */
  int64_t n_ring, row_bytes;
  int32_t next; /* first input row that is not in the ring yet */
};

static const uint8_t *input_row(const struct resizer *r, int32_t y) {
  return (const uint8_t *)r->in->rgb.data + (int64_t)y * r->in->width * 3;
}

/* Input row y after the column pass. Such rows stay in the ring as long as they may be needed. */
static const uint8_t *narrowed_row(struct resizer *r, int32_t y) {
  if (!r->columns || r->rows_first)
    return input_row(r, y);
  for (; r->next <= y; r->next++)
    resample_row(&r->x, input_row(r, r->next), r->width,
                 r->ring + r->next % r->n_ring * r->row_bytes);
  return r->ring + y % r->n_ring * r->row_bytes;
}

/* The row pass: output row y as a weighted sum of n bytes of rows. */
static void sum_rows(struct resizer *r, int32_t y, int64_t n, uint8_t *out) {
  for (int64_t i = 0; i < n; i++)
    r->sum[i] = 1 << (WEIGHT_BITS - 1);
  for (int32_t k = 0; k < r->y.count[y]; k++)
    add_row(r->sum, narrowed_row(r, r->y.first[y] + k), r->y.w[y * r->y.ld + k], n);
  for (int64_t i = 0; i < n; i++)
    out[i] = clip8(r->sum[i]);
}

static void output_row(struct resizer *r, int32_t y, uint8_t *out) {
  int64_t n_in = 3 * (int64_t)r->in->width, n_out = 3 * (int64_t)r->width;
  if (r->rows && r->columns && r->rows_first) {
    sum_rows(r, y, n_in, r->ring);
    resample_row(&r->x, r->ring, r->width, out);
  } else if (r->rows)
    sum_rows(r, y, n_out, out);
  else if (r->columns)
    resample_row(&r->x, input_row(r, y), r->width, out);
  else
    memcpy(out, input_row(r, y), (size_t)n_out);
}

/* Hands out the parts of `scratch`; doubles first for their alignment. */
static lrl_status set_up(struct resizer *r, int32_t width, int32_t height, enum lrl_image_filter f,
                         struct lrl_buffer *scratch) {
  r->x.ld = max_taps(f, r->in->width, width);
  r->y.ld = max_taps(f, r->in->height, height);
  r->n_ring = r->rows_first ? 1 : r->y.ld;
  r->row_bytes = 3 * (int64_t)(r->rows_first && r->in->width > width ? r->in->width : width);
  int64_t n_w = r->x.ld > r->y.ld ? r->x.ld : r->y.ld, n_sum = r->row_bytes;
  int64_t n_int = width * (2 + r->x.ld) + height * (2 + r->y.ld) + n_sum;
  LRL_TRY(lrl_buffer_reserve(scratch, (size_t)n_w * sizeof(double) +
                                          (size_t)n_int * sizeof(int32_t) +
                                          (size_t)(r->n_ring * r->row_bytes)));
  double *w = scratch->data;
  int32_t *p = (int32_t *)(w + n_w);
  r->x.first = p;
  r->x.count = p += width;
  r->x.w = p += width;
  r->y.first = p += width * r->x.ld;
  r->y.count = p += height;
  r->y.w = p += height;
  r->sum = p += height * r->y.ld;
  r->ring = (uint8_t *)(p + n_sum);
  find_taps(&r->x, f, r->in->width, width, w);
  find_taps(&r->y, f, r->in->height, height, w);
  return LRL_OK;
}

lrl_status lrl_image_resize(const struct lrl_image *in, int32_t width, int32_t height,
                            enum lrl_image_filter filter, bool rows_first, struct lrl_image *out,
                            struct lrl_buffer *scratch) {
  struct resizer r = {.in = in,
                      .width = width,
                      .columns = width != in->width,
                      .rows = height != in->height,
                      .rows_first = rows_first};
  LRL_TRY(lrl_image_resize_buffer(out, width, height));
  LRL_TRY(set_up(&r, width, height, filter, scratch));
  for (int32_t y = 0; y < height; y++)
    output_row(&r, y, (uint8_t *)out->rgb.data + (int64_t)y * width * 3);
  return LRL_OK;
}
