/* Copies into shared memory by a whole group, in the background until the group waits. */
#pragma once
#include "../cooperative_groups.h"

namespace cooperative_groups {
template <class Group>
inline void memcpy_async(const Group &g, void *to, const void *from, size_t n) {
  simt::copy_async(to, from, n, g.thread_rank(), g.num_threads());
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
