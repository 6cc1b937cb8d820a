/* kernel<<<...>>>(...), which tests/simt/rewrite.cc turns into simt::launch. */
#pragma once
#include <new>
#include <string.h>
#include <tuple>
#include <type_traits>
#include <utility>

namespace simt {
/* A launch in a stream's queue. `params` is a copy, converted to the kernel's parameter types:
 * later changes of the arguments do not reach the kernel. */
struct job {
  const char *name;
  const void *function; /* NULL when the name is overloaded */
  dim3 grid, block;
  size_t shared_bytes, param_bytes;
  bool cooperative;
  void (*call)(const void *params);
  alignas(16) unsigned char params[];
};
struct config {
  dim3 grid, block;
  size_t shared_bytes;
  cudaStream_t stream;
  bool cooperative = false, clusters = false;
  config(dim3 g, dim3 b, size_t s = 0, cudaStream_t st = 0)
      : grid(g), block(b), shared_bytes(s), stream(st) {}
  explicit config(const cudaLaunchConfig_t &c);
};
job *new_job(const char *name, const void *function, const config &c, size_t param_bytes,
             void (*call)(const void *));
cudaError_t submit(job *j, cudaStream_t stream);

template <class Pack> SIMT_UNTRACED void call_pack(const void *p) {
  std::apply([](auto f, const auto &...x) SIMT_UNTRACED { f(x...); },
             *static_cast<const Pack *>(p));
}
template <class Pack, class... A>
inline cudaError_t enqueue(const config &c, const char *name, const void *function, A &&...a) {
  static_assert(std::is_trivially_destructible<Pack>::value, "kernel parameters are plain data");
  static_assert(sizeof(Pack) <= 32764, "kernel parameters");
  job *j = new_job(name, function, c, sizeof(Pack), call_pack<Pack>);
  new (j->params) Pack(static_cast<A &&>(a)...);
  return submit(j, c.stream);
}
/* A kernel that can be named by itself. */
template <class... P, class... A>
inline cudaError_t launch(const config &c, const char *name, void (*k)(P...), A &&...a) {
  static_assert(sizeof...(P) >= sizeof...(A), "too many kernel arguments");
  typedef std::tuple<void (*)(P...), std::decay_t<P>...> pack;
  return enqueue<pack>(c, name, reinterpret_cast<const void *>(k), k,
                       static_cast<std::decay_t<P>>(a)...);
}
/* A kernel whose template arguments follow from the call. */
template <class K, class... A>
inline cudaError_t launch_deduced(const config &c, const char *name, K k, A &&...a) {
  typedef std::tuple<K, std::decay_t<A>...> pack;
  return enqueue<pack>(c, name, nullptr, k, static_cast<std::decay_t<A>>(a)...);
}
/* A kernel whose parameters come as an array of pointers. */
typedef cudaError_t (*launcher)(const void *function, const char *name, const config &c,
                                void **args);
const void *remember_kernel(const void *function, const char *name, launcher l);
template <class... P> struct by_pointers {
  template <size_t... I>
  static cudaError_t launch_each(void (*k)(P...), const char *name, const config &c, void **args,
                                 std::index_sequence<I...>) {
    (void)args;
    return simt::launch(c, name, k, *static_cast<std::decay_t<P> *>(args[I])...);
  }
  static cudaError_t launch(const void *function, const char *name, const config &c, void **args) {
    return launch_each(reinterpret_cast<void (*)(P...)>(const_cast<void *>(function)), name, c,
                       args, std::index_sequence_for<P...>());
  }
};
/* (void *)kernel, as tests/simt/rewrite.cc writes it. */
template <class... P> inline auto kernel_pointer(const char *name, void (*k)(P...)) {
  remember_kernel(reinterpret_cast<const void *>(k), name, by_pointers<P...>::launch);
  return k;
}
} // namespace simt
