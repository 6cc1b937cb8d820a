/* nvcuda::wmma: a fragment's elements lie anyhow among the lanes, as CUDA promises nothing either;
 * sums are in f32 (f64, s32), in no order of the hardware's. */
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace nvcuda {
namespace wmma {
struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
namespace precision {
struct tf32 {};
} // namespace precision
enum layout_t { mem_row_major, mem_col_major };
inline float __float_to_tf32(float x) {
  return __uint_as_float((__float_as_uint(x) + 0x1000u) & 0xffffe000u);
}

template <class T> struct element { typedef T type; };
template <> struct element<precision::tf32> { typedef float type; };
template <class Use, int M, int N, int K> struct shape;
template <int M, int N, int K> struct shape<matrix_a, M, N, K> {
  static constexpr int rows = M, cols = K;
};
template <int M, int N, int K> struct shape<matrix_b, M, N, K> {
  static constexpr int rows = K, cols = N;
};
template <int M, int N, int K> struct shape<accumulator, M, N, K> {
  static constexpr int rows = M, cols = N;
};
/* Element i of a lane is element 32 i + lane of the matrix, row by row. */
template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
  typedef shape<Use, M, N, K> matrix;
  typedef typename element<T>::type element_type, storage_element_type;
  static constexpr int num_elements = matrix::rows * matrix::cols / 32;
  static constexpr int num_storage_elements = num_elements;
  element_type x[num_elements];
};
template <class F, class T> inline void fill_fragment(F &f, const T &v) {
  for (int i = 0; i < F::num_elements; i++)
    f.x[i] = (typename F::element_type)v;
}
template <class F> __forceinline__ size_t place(int i, bool by_rows, unsigned ld) {
  const int at = 32 * i + simt::self->lane, row = at / F::matrix::cols, col = at % F::matrix::cols;
  return by_rows ? (size_t)row * ld + (size_t)col : (size_t)col * ld + (size_t)row;
}
template <class Use, int M, int N, int K, class T, class Layout>
__forceinline__ void load_matrix_sync(fragment<Use, M, N, K, T, Layout> &f,
                                      const typename element<T>::type *p, unsigned ld) {
  typedef fragment<Use, M, N, K, T, Layout> F;
  for (int i = 0; i < F::num_elements; i++)
    f.x[i] = p[place<F>(i, std::is_same<Layout, row_major>::value, ld)];
}
template <int M, int N, int K, class T>
__forceinline__ void load_matrix_sync(fragment<accumulator, M, N, K, T> &f, const T *p, unsigned ld,
                                      layout_t layout) {
  typedef fragment<accumulator, M, N, K, T> F;
  for (int i = 0; i < F::num_elements; i++)
    f.x[i] = p[place<F>(i, layout == mem_row_major, ld)];
}
template <int M, int N, int K, class T>
__forceinline__ void store_matrix_sync(T *p, const fragment<accumulator, M, N, K, T> &f,
                                       unsigned ld, layout_t layout) {
  typedef fragment<accumulator, M, N, K, T> F;
  for (int i = 0; i < F::num_elements; i++)
    p[place<F>(i, layout == mem_row_major, ld)] = f.x[i];
}

template <class T> struct sum_of { typedef float type; };
template <> struct sum_of<double> { typedef double type; };
template <> struct sum_of<int> { typedef int type; };
template <class D, class A, class B, class C> struct product {
  D *d;
  const A *a;
  const B *b;
  const C *c;
  SIMT_UNTRACED static void run(simt::thread *warp, unsigned) {
    typedef typename sum_of<typename C::element_type>::type sum;
    constexpr int M = A::matrix::rows, K = A::matrix::cols, N = B::matrix::cols;
    static sum a[M * K], b[K * N];
    for (int lane = 0; lane < 32; lane++) {
      const product *o = static_cast<const product *>(warp[lane].operand);
      for (int i = 0; i < A::num_elements; i++)
        a[32 * i + lane] = (sum)o->a->x[i];
      for (int i = 0; i < B::num_elements; i++)
        b[32 * i + lane] = (sum)o->b->x[i];
    }
    for (int lane = 0; lane < 32; lane++) {
      const product *o = static_cast<const product *>(warp[lane].operand);
      for (int i = 0; i < D::num_elements; i++) {
        const int at = 32 * i + lane, row = at / N, col = at % N;
        sum s = (sum)o->c->x[i];
        for (int k = 0; k < K; k++)
          s += a[row * K + k] * b[k * N + col];
        o->d->x[i] = (typename D::element_type)s;
      }
    }
  }
};
template <class D, class A, class B, class C>
SIMT_UNTRACED inline void mma_sync(D &d, const A &a, const B &b, const C &c, SIMT_AT) {
  product<D, A, B, C> p = {&d, &a, &b, &c};
  simt::counters_mma();
  simt::meet(product<D, A, B, C>::run, "mma_sync", 0xffffffffu, &p, file_, line_);
}
} // namespace wmma
} // namespace nvcuda
