/* Computes graphs of the stand-in for cuDNN in f32, one operation after the other. */
#include "cudnn_descriptor.h"
#include "streams.h"

#include <math.h>

namespace simt_cudnn {
tensor tensor_of(const ref &d) {
  tensor t = {};
  t.id = d->integer(CUDNN_ATTR_TENSOR_UNIQUE_ID);
  t.type = d->choice(CUDNN_ATTR_TENSOR_DATA_TYPE);
  t.is_virtual = d->flag(CUDNN_ATTR_TENSOR_IS_VIRTUAL);
  t.by_value = d->flag(CUDNN_ATTR_TENSOR_IS_BY_VALUE);
  const ref ragged = d->one(CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC);
  t.ragged = ragged ? ragged->integer(CUDNN_ATTR_TENSOR_UNIQUE_ID) : -1;
  const std::vector<int64_t> dim = d->integers(CUDNN_ATTR_TENSOR_DIMENSIONS),
                             stride = d->integers(CUDNN_ATTR_TENSOR_STRIDES);
  for (int k = 0; k < 4; k++) {
    t.dim[k] = dim[(size_t)k];
    t.stride[k] = stride[(size_t)k];
  }
  return t;
}
namespace {
/* bf16, without its header: NVIDIA's and ours clash. */
float value(uint16_t h) {
  const uint32_t u = (uint32_t)h << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}
uint16_t bits(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return (uint16_t)(f != f ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16);
}
float rounded(float f) { return value(bits(f)); }

struct execution {
  const std::map<int64_t, void *> &memory;
  const std::map<int64_t, float> &numbers;
  const int engine;
  const bool backwards;                         /* the order of sums */
  std::map<int64_t, std::vector<float>> values; /* virtual tensors */

  float load(const tensor &t, const int64_t (&i)[4]) {
    if (t.by_value)
      return numbers.at(t.id);
    if (t.is_virtual) {
      const int64_t dense[4] = {t.dim[1] * t.dim[2] * t.dim[3], t.dim[2] * t.dim[3], t.dim[3], 1};
      return values.at(t.id)[(size_t)t.at(i, dense)];
    }
    const char *p = place(t, i, false);
    if (t.type == CUDNN_DATA_BFLOAT16)
      return value(*reinterpret_cast<const uint16_t *>(p));
    if (t.type == CUDNN_DATA_INT32)
      return (float)*reinterpret_cast<const int32_t *>(p);
    return *reinterpret_cast<const float *>(p);
  }
  /* An operand of a product. */
  float factor(const tensor &t, const int64_t (&i)[4]) {
    const float f = load(t, i);
    if (engine != TENSOR_CORES || f != f)
      return f;
    uint32_t u;
    memcpy(&u, &f, 4);
    u = (u + 0xfff + (u >> 13 & 1)) & 0xffffe000u;
    float tf32;
    memcpy(&tf32, &u, 4);
    return tf32;
  }
  void store(const tensor &t, const int64_t (&i)[4], float x) {
    if (t.is_virtual) {
      std::vector<float> &v = values[t.id];
      v.resize((size_t)t.count());
      const int64_t dense[4] = {t.dim[1] * t.dim[2] * t.dim[3], t.dim[2] * t.dim[3], t.dim[3], 1};
      if (t.type == CUDNN_DATA_BFLOAT16)
        x = rounded(x);
      v[(size_t)t.at(i, dense)] = x;
      return;
    }
    char *p = place(t, i, true);
    if (t.type == CUDNN_DATA_BFLOAT16)
      *reinterpret_cast<uint16_t *>(p) = bits(x);
    else
      *reinterpret_cast<float *>(p) = x;
  }
  char *place(const tensor &t, const int64_t (&i)[4], bool write) {
    int64_t step[4] = {t.stride[0], t.stride[1], t.stride[2], t.stride[3]}, start = 0;
    if (t.ragged >= 0) {
      const int32_t *offsets = static_cast<const int32_t *>(memory.at(t.ragged));
      simt::stream_access(offsets + i[0], 4, false);
      step[0] = 0;
      start = offsets[i[0]];
    }
    const size_t bytes = t.type == CUDNN_DATA_BFLOAT16 ? 2 : 4;
    char *p = static_cast<char *>(memory.at(t.id)) + (size_t)(start + t.at(i, step)) * bytes;
    simt::stream_access(p, bytes, write);
    if (write)
      simt::mark_written(p, bytes);
    return p;
  }
  /* A size of batch entry b. */
  int64_t size(const ref &op, int name, int64_t b, int64_t otherwise) {
    const ref d = op->one(name);
    const int64_t i[4] = {b, 0, 0, 0};
    return d ? (int64_t)load(tensor_of(d), i) : otherwise;
  }
  void matmul(const ref &op) {
    const tensor a = tensor_of(op->one(CUDNN_ATTR_OPERATION_MATMUL_ADESC)),
                 b = tensor_of(op->one(CUDNN_ATTR_OPERATION_MATMUL_BDESC)),
                 c = tensor_of(op->one(CUDNN_ATTR_OPERATION_MATMUL_CDESC));
    for (int64_t s = 0; s < c.dim[0]; s++) {
      const int64_t m = size(op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC, s, c.dim[2]),
                    n = size(op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_N_OVERRIDE_DESC, s, c.dim[3]),
                    k = size(op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_K_OVERRIDE_DESC, s, a.dim[3]);
      for (int64_t h = 0; h < c.dim[1]; h++)
        for (int64_t i = 0; i < (c.is_virtual ? c.dim[2] : m); i++)
          for (int64_t j = 0; j < (c.is_virtual ? c.dim[3] : n); j++) {
            float sum = 0.0f;
            for (int64_t t = 0; t < k && i < m && j < n; t++) {
              const int64_t l = backwards ? k - 1 - t : t;
              const int64_t ia[4] = {s, h / (c.dim[1] / a.dim[1]), i, l};
              const int64_t ib[4] = {s, h / (c.dim[1] / b.dim[1]), l, j};
              sum += factor(a, ia) * factor(b, ib);
            }
            const int64_t at[4] = {s, h, i, j};
            store(c, at, sum);
          }
    }
  }
  void convolution(const ref &op) {
    const tensor x = tensor_of(op->one(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X)),
                 w = tensor_of(op->one(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W)),
                 y = tensor_of(op->one(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y));
    const std::vector<int64_t> stride = op->one(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC)
                                            ->integers(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES);
    const int64_t taps = w.dim[1] * w.dim[2] * w.dim[3];
    each(y, [&](const int64_t(&i)[4]) {
      float sum = 0.0f;
      for (int64_t t = 0; t < taps; t++) {
        const int64_t l = backwards ? taps - 1 - t : t;
        const int64_t c = l / (w.dim[2] * w.dim[3]), u = l / w.dim[3] % w.dim[2], v = l % w.dim[3];
        const int64_t ix[4] = {i[0], c, i[2] * stride[0] + u, i[3] * stride[1] + v};
        const int64_t iw[4] = {i[1], c, u, v};
        sum += factor(x, ix) * factor(w, iw);
      }
      store(y, i, sum);
    });
  }
  template <class F> static void each(const tensor &t, F f) {
    int64_t i[4];
    for (i[0] = 0; i[0] < t.dim[0]; i[0]++)
      for (i[1] = 0; i[1] < t.dim[1]; i[1]++)
        for (i[2] = 0; i[2] < t.dim[2]; i[2]++)
          for (i[3] = 0; i[3] < t.dim[3]; i[3]++)
            f(i);
  }
  void pointwise(const ref &op) {
    const ref how = op->one(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR),
              b = op->one(CUDNN_ATTR_OPERATION_POINTWISE_BDESC),
              mask = op->one(CUDNN_ATTR_OPERATION_POINTWISE_TDESC);
    const int mode = how->choice(CUDNN_ATTR_POINTWISE_MODE);
    const int64_t axis = how->integer(CUDNN_ATTR_POINTWISE_AXIS, -1);
    const tensor tx = tensor_of(op->one(CUDNN_ATTR_OPERATION_POINTWISE_XDESC)),
                 ty = tensor_of(op->one(CUDNN_ATTR_OPERATION_POINTWISE_YDESC)),
                 tb = b ? tensor_of(b) : tx, tm = mask ? tensor_of(mask) : tx;
    each(ty, [&](const int64_t(&i)[4]) {
      const float x = mode == CUDNN_POINTWISE_GEN_INDEX ? (float)i[axis] : load(tx, i),
                  y = b ? load(tb, i) : 0.0f;
      store(ty, i,
            mode == CUDNN_POINTWISE_ADD                             ? x + y
            : mode == CUDNN_POINTWISE_SUB                           ? x - y
            : mode == CUDNN_POINTWISE_MUL                           ? x * y
            : mode == CUDNN_POINTWISE_DIV                           ? x / y
            : mode == CUDNN_POINTWISE_EXP                           ? expf(x)
            : mode == CUDNN_POINTWISE_LOG                           ? logf(x)
            : mode == CUDNN_POINTWISE_CMP_LT                        ? (float)(x < y)
            : mode == CUDNN_POINTWISE_CMP_GE                        ? (float)(x >= y)
            : mode == CUDNN_POINTWISE_LOGICAL_AND                   ? (float)(x != 0 && y != 0)
            : mode == CUDNN_POINTWISE_BINARY_SELECT && !load(tm, i) ? y
                                                                    : x);
    });
  }
  void reduce(const ref &op) {
    const int mode =
        op->one(CUDNN_ATTR_OPERATION_REDUCTION_DESC)->choice(CUDNN_ATTR_REDUCTION_OPERATOR);
    const tensor x = tensor_of(op->one(CUDNN_ATTR_OPERATION_REDUCTION_XDESC)),
                 y = tensor_of(op->one(CUDNN_ATTR_OPERATION_REDUCTION_YDESC));
    each(y, [&](const int64_t(&i)[4]) {
      float r = mode == CUDNN_REDUCE_TENSOR_MAX ? -INFINITY : 0.0f;
      for (int64_t j = 0; j < x.dim[3]; j++) {
        const int64_t at[4] = {i[0], i[1], i[2], j};
        const float v = load(x, at);
        r = mode == CUDNN_REDUCE_TENSOR_MAX ? (v > r || v != v ? v : r) : r + v;
      }
      store(y, i, r);
    });
  }
};
} // namespace

void execute(const std::vector<ref> &ops, const std::map<int64_t, void *> &memory,
             const std::map<int64_t, float> &numbers, int engine) {
  static int calls;
  execution e = {memory, numbers, engine, engine == ANY_ORDER && calls++ % 2 == 1, {}};
  for (const ref &op : ops)
    if (op->type == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR)
      e.matmul(op);
    else if (op->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)
      e.convolution(op);
    else if (op->type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
      e.pointwise(op);
    else
      e.reduce(op);
}
} // namespace simt_cudnn
