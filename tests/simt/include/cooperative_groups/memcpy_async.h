/* Copies into shared memory by a whole group, in the background until the group waits. */
#pragma once
#include "../cooperative_groups.h"

namespace cooperative_groups {
template <class Group>
inline void memcpy_async(const Group &g, void *to, const void *from, size_t n) {
  char *d = static_cast<char *>(to);
  const char *s = static_cast<const char *>(from);
  const uintptr_t all = (uintptr_t)d | (uintptr_t)s | n;
  const size_t size = all % 16 == 0 ? 16 : all % 8 == 0 ? 8 : all % 4 == 0 ? 4 : 1;
  const size_t step = size * g.num_threads();
  for (size_t at = g.thread_rank() * size; at < n; at += step)
    if (size == 1 || !simt::is_shared(d + at, size))
      for (size_t i = 0; i < size; i++)
        d[at + i] = s[at + i];
    else
      simt::cp_async(d + at, s + at, (int)size, (int)size, __FILE__, __LINE__);
  simt::cp_async_commit();
}
template <class Group, class T>
inline void memcpy_async(const Group &g, T *to, const T *from, size_t n) {
  memcpy_async(g, static_cast<void *>(to), static_cast<const void *>(from), n);
}
template <unsigned Stages, class Group> inline void wait_prior(const Group &g, SIMT_AT) {
  simt::cp_async_wait((int)Stages);
  g.sync(file_, line_);
}
template <class Group> inline void wait(const Group &g, SIMT_AT) { wait_prior<0>(g, file_, line_); }
} // namespace cooperative_groups
