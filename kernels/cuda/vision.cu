/* Patches of images and the embedding of the vision tower. Copies but for the sums over images. */
#include "kernels/cuda/cudnn.cuh"
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
struct col2im_of {
  patches p;
  int64_t width;
  const float *cols;
  float *pixels;
  template <int V> __device__ void run(int64_t i) const {
    const int64_t x = i % p.size, y = i / p.size % p.size, c = i / (p.size * p.size) % p.channels;
    const int64_t image = i / (p.size * p.size * p.channels);
    float v = 0.0f;
    if (x < p.grid * p.patch && y < p.grid * p.patch) {
      const int64_t row = (image * p.grid + y / p.patch) * p.grid + x / p.patch;
      v = cols[row * width + (c * p.patch + y % p.patch) * p.patch + x % p.patch];
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

/* Without cuDNN the convolution is a product with the patches as rows, which live in scratch
 * memory: they are small beside what the tower keeps for its backward. */
lrl_status cuda_patch_embed_fwd(struct lrl_ctx *ctx, const struct lrl_patch_embed_fwd_args *a) {
  cuda_op op(ctx);
  const int64_t grid = a->size / a->patch, rows = a->n * grid * grid, w = a->width;
  const int64_t k = a->channels * a->patch * a->patch;
  const float *pixels = op.in(a->pixels, a->n * a->channels * a->size * a->size);
  lrl_status s = LRL_OK;
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    const T *weight = op.in_as<T>(a->weight, w * k);
    T *out = op.out_as<T>(a->out, rows * w);
    if (ctx->cudnn[LRL_CUDNN_PATCH_EMBED].asked) {
      const char *refused = NULL;
      s = cudnn_patch_embed(op, a, pixels, weight, out, &refused);
      if (refused == NULL || s != LRL_OK)
        return;
      ctx->cudnn[LRL_CUDNN_PATCH_EMBED].refused = refused;
    }
    T *cols = op.scratch<T>(rows * k);
    map<16 / sizeof(T)>(op, rows * k, aligned16(cols),
                        im2col_of<T>{{a->channels, a->size, a->patch, grid}, k, pixels, cols});
    struct lrl_gemm_args g = {};
    g.m = rows, g.n = w, g.k = k, g.trans_b = true;
    g.dtype = g.c_dtype = a->dtype;
    g.a = cols, g.b = weight, g.c = out;
    g.ld_a = g.ld_b = k, g.ld_c = w;
    if (!op.failed())
      s = cuda_gemm(ctx, &g);
  });
  const lrl_status done = op.done();
  return s != LRL_OK ? s : done;
}
lrl_status cuda_patch_embed_bwd(struct lrl_ctx *ctx, const struct lrl_patch_embed_bwd_args *a) {
  cuda_op op(ctx);
  const int64_t grid = a->size / a->patch, rows = a->n * grid * grid, w = a->width;
  const int64_t k = a->channels * a->patch * a->patch;
  const int64_t n_pixels = a->n * a->channels * a->size * a->size;
  const bool weights = a->d_weight != NULL, images = a->d_pixels != NULL;
  const float *pixels = op.in(weights ? a->pixels : NULL, n_pixels);
  float *d_weight = op.inout(a->d_weight, w * k), *d_pixels = op.out(a->d_pixels, n_pixels);
  const patches p = {a->channels, a->size, a->patch, grid};
  lrl_status s = LRL_OK;
  by_dtype(a->dtype, [&](auto type) {
    typedef decltype(type) T;
    const T *weight = op.in_as<T>(images ? a->weight : NULL, w * k),
            *d_out = op.in_as<T>(a->d_out, rows * w);
    struct lrl_gemm_args g = {};
    g.dtype = a->dtype, g.c_dtype = LRL_F32;
    g.a = d_out, g.ld_a = w, g.ld_b = g.ld_c = k, g.n = k;
    if (weights) {
      T *cols = op.scratch<T>(rows * k);
      map<16 / sizeof(T)>(op, rows * k, aligned16(cols), im2col_of<T>{p, k, pixels, cols});
      g.m = w, g.k = rows, g.trans_a = true;
      g.b = cols, g.c = d_weight, g.beta = 1.0f;
      if (!op.failed())
        s = cuda_gemm(ctx, &g);
    }
    if (images && s == LRL_OK) {
      float *d_cols = op.scratch<float>(rows * k);
      g.m = rows, g.k = w, g.trans_a = false;
      g.b = weight, g.c = d_cols, g.beta = 0.0f;
      if (!op.failed())
        s = cuda_gemm(ctx, &g);
      map<1>(op, n_pixels, false, col2im_of{p, k, d_cols, d_pixels});
    }
  });
  const lrl_status done = op.done();
  return s != LRL_OK ? s : done;
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
