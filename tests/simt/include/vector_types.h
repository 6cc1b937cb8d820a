/* CUDA's vector types for the simulator, with CUDA's alignments. C and C++. */
#ifndef SIMT_VECTOR_TYPES_H
#define SIMT_VECTOR_TYPES_H

#define SIMT_VECTOR(T, name, align2, align4)                                                       \
  typedef struct name##1 {                                                                         \
    T x;                                                                                           \
  }                                                                                                \
  name##1;                                                                                         \
  typedef struct __attribute__((aligned(align2))) name##2 {                                        \
    T x, y;                                                                                        \
  }                                                                                                \
  name##2;                                                                                         \
  typedef struct name##3 {                                                                         \
    T x, y, z;                                                                                     \
  }                                                                                                \
  name##3;                                                                                         \
  typedef struct __attribute__((aligned(align4))) name##4 {                                        \
    T x, y, z, w;                                                                                  \
  }                                                                                                \
  name##4;                                                                                         \
  static inline name##1 make_##name##1(T x) {                                                      \
    name##1 v = {x};                                                                               \
    return v;                                                                                      \
  }                                                                                                \
  static inline name##2 make_##name##2(T x, T y) {                                                 \
    name##2 v = {x, y};                                                                            \
    return v;                                                                                      \
  }                                                                                                \
  static inline name##3 make_##name##3(T x, T y, T z) {                                            \
    name##3 v = {x, y, z};                                                                         \
    return v;                                                                                      \
  }                                                                                                \
  static inline name##4 make_##name##4(T x, T y, T z, T w) {                                       \
    name##4 v = {x, y, z, w};                                                                      \
    return v;                                                                                      \
  }
SIMT_VECTOR(signed char, char, 2, 4)
SIMT_VECTOR(unsigned char, uchar, 2, 4)
SIMT_VECTOR(short, short, 4, 8)
SIMT_VECTOR(unsigned short, ushort, 4, 8)
SIMT_VECTOR(int, int, 8, 16)
SIMT_VECTOR(unsigned, uint, 8, 16)
SIMT_VECTOR(long, long, 16, 16)
SIMT_VECTOR(unsigned long, ulong, 16, 16)
SIMT_VECTOR(long long, longlong, 16, 16)
SIMT_VECTOR(unsigned long long, ulonglong, 16, 16)
SIMT_VECTOR(float, float, 8, 16)
SIMT_VECTOR(double, double, 16, 16)
#undef SIMT_VECTOR

#ifdef __cplusplus
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return uint3{x, y, z}; }
};
#else
typedef struct dim3 {
  unsigned x, y, z;
} dim3;
#endif
#endif
