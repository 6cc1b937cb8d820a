/* Patches of images and the embedding of the vision tower. Copies but for the sums over images. */
#include "kernels/cuda/map.cuh"

namespace {
struct patches {
  int64_t channels, size, patch, grid;
  /* Pixel that is element e of column row r. */
  __device__ __forceinline__ int64_t pixel(int64_t r, int64_t e) const {
    const int64_t image = r / (grid * grid), cell = r % (grid * grid), c = e / (patch * patch);
    const int64_t y = cell / grid * patch + e / patch % patch, x = cell % grid * patch + e % patch;
    return ((image * channels + c) * size + y) * size + x;
  }
};
template <class T> struct im2col_of {
  patches p;
  int64_t width;
  const float *pixels;
  T *cols;
  template <int V> __device__ void run(int64_t i) const {
    float v[V];
#pragma unroll
    for (int k = 0; k < V; k++)
      v[k] = pixels[p.pixel((i + k) / width, (i + k) % width)];
    store<T, V>(cols + i, v);
  }
};
/* Pixel i from its place in the columns; the border outside all patches is 0. */
template <class T> struct col2im_of {
  patches p;
  int64_t width;
  const T *cols;
  float *pixels;
  template <int V> __device__ void run(int64_t i) const {
    const int64_t x = i % p.size, y = i / p.size % p.size, c = i / (p.size * p.size) % p.channels;
    const int64_t image = i / (p.size * p.size * p.channels);
    float v = 0.0f;
    if (x < p.grid * p.patch && y < p.grid * p.patch) {
      const int64_t row = (image * p.grid + y / p.patch) * p.grid + x / p.patch;
      v = to_float(cols[row * width + (c * p.patch + y % p.patch) * p.patch + x % p.patch]);
    }
    pixels[i] = v;
  }
};
template <class T> struct vit_fwd_of {
  int64_t n_patches, width;
  const T *patches_, *cls, *pos;
  T *out;
  template <int V> __device__ void run(int64_t i) const {
    const int64_t row = i / width, j = i - row * width;
    const int64_t image = row / (n_patches + 1), t = row - image * (n_patches + 1);
    float v[V], p[V];
    load<T, V>(t == 0 ? cls + j : patches_ + (image * n_patches + t - 1) * width + j, v);
    load<T, V>(pos + t * width + j, p);
#pragma unroll
    for (int k = 0; k < V; k++)
      v[k] += p[k];
    store<T, V>(out + i, v);
  }
};
/* Element i of [1 + n_patches, width]: summed over the images in order. */
template <class T> struct vit_bwd_of {
  int64_t n, n_patches, width;
  const T *d_out;
  T *d_patches;
  float *d_cls, *d_pos;
  template <int V> __device__ void run(int64_t i) const {
    const int64_t size = (n_patches + 1) * width;
    float sum[V] = {};
    for (int64_t image = 0; image < n; image++) {
      float d[V];
      load<T, V>(d_out + image * size + i, d);
#pragma unroll
      for (int k = 0; k < V; k++)
        sum[k] += d[k];
      if (d_patches != nullptr && i >= width)
        store<T, V>(d_patches + image * (size - width) + i - width, d);
    }
    add(d_pos == nullptr ? nullptr : d_pos + i, sum);
    if (i < width)
      add(d_cls == nullptr ? nullptr : d_cls + i, sum);
  }
  template <int V> static __device__ void add(float *to, const float (&sum)[V]) {
    if (to == nullptr)
      return;
    float v[V];
    load<float, V>(to, v);
#pragma unroll
    for (int k = 0; k < V; k++)
      v[k] += sum[k];
    store<float, V>(to, v);
  }
};
} // namespace

lrl_status cuda_im2col_fwd(struct lrl_ctx *ctx, const struct lrl_im2col_fwd_args *a) {
  cuda_op op(ctx);
  const int64_t grid = a->size / a->patch, width = a->channels * a->patch * a->patch;
  const int64_t n = a->n * grid * grid * width;
  const float *pixels = op.in(a->pixels, a->n * a->channels * a->size * a->size);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    T *cols = op.out_as<T>(a->cols, n);
    map<16 / sizeof(T)>(op, n, aligned16(cols),
                        im2col_of<T>{{a->channels, a->size, a->patch, grid}, width, pixels, cols});
  });
  return op.done();
}
lrl_status cuda_im2col_bwd(struct lrl_ctx *ctx, const struct lrl_im2col_bwd_args *a) {
  cuda_op op(ctx);
  const int64_t grid = a->size / a->patch, width = a->channels * a->patch * a->patch;
  const int64_t n = a->n * a->channels * a->size * a->size;
  float *pixels = op.out(a->d_pixels, n);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    const T *cols = op.in_as<T>(a->d_cols, a->n * grid * grid * width);
    map<1>(op, n, false, col2im_of<T>{{a->channels, a->size, a->patch, grid}, width, cols, pixels});
  });
  return op.done();
}
lrl_status cuda_vit_embed_fwd(struct lrl_ctx *ctx, const struct lrl_vit_embed_fwd_args *a) {
  cuda_op op(ctx);
  const int64_t w = a->width, n = a->n * (a->n_patches + 1) * w;
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    constexpr int V = 16 / sizeof(T);
    const T *patches = op.in_as<T>(a->patches, a->n * a->n_patches * w),
            *cls = op.in_as<T>(a->cls, w);
    const T *pos = op.in_as<T>(a->pos, (a->n_patches + 1) * w);
    T *out = op.out_as<T>(a->out, n);
    map<V>(op, n, aligned16(patches, cls, pos, out) && w % V == 0,
           vit_fwd_of<T>{a->n_patches, w, patches, cls, pos, out});
  });
  return op.done();
}
lrl_status cuda_vit_embed_bwd(struct lrl_ctx *ctx, const struct lrl_vit_embed_bwd_args *a) {
  cuda_op op(ctx);
  const int64_t w = a->width, size = (a->n_patches + 1) * w;
  float *d_cls = op.inout(a->d_cls, w), *d_pos = op.inout(a->d_pos, size);
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    constexpr int V = 16 / sizeof(T);
    const T *d_out = op.in_as<T>(a->d_out, a->n * size);
    T *d_patches = op.out_as<T>(a->d_patches, a->n * a->n_patches * w);
    map<V>(op, size, aligned16(d_out, d_patches, d_cls, d_pos) && w % V == 0,
           vit_bwd_of<T>{a->n, a->n_patches, w, d_out, d_patches, d_cls, d_pos});
  });
  return op.done();
}
