/* cuda::atomic, cuda::barrier and cuda::pipeline of libcu++, as far as kernels of one block or grid
 * use them. The checks take what passes a barrier or pipeline as ordered for the whole block. */
#pragma once
#include <cooperative_groups.h>

namespace cuda {
enum thread_scope {
  thread_scope_system,
  thread_scope_device,
  thread_scope_block,
  thread_scope_thread
};
namespace std {
enum memory_order {
  memory_order_relaxed,
  memory_order_consume,
  memory_order_acquire,
  memory_order_release,
  memory_order_acq_rel,
  memory_order_seq_cst
};
} // namespace std
using namespace std;

/* A word that threads share. Whoever finds it unchanged lets others run. */
template <class T, thread_scope S = thread_scope_system> class atomic_ref {
  T *p_;
  template <class F> T change(F f, std::memory_order o) const {
    if (o != std::memory_order_relaxed)
      simt::fence();
    return simt::modify(p_, f, SIMT_PC);
  }

public:
  explicit atomic_ref(T &x) : p_(&x) {}
  T load(std::memory_order o = std::memory_order_seq_cst) const {
    return change([](T old) { return old; }, o);
  }
  void store(T v, std::memory_order o = std::memory_order_seq_cst) const {
    change([v](T) { return v; }, o);
  }
  T exchange(T v, std::memory_order o = std::memory_order_seq_cst) const {
    return change([v](T) { return v; }, o);
  }
  bool compare_exchange_strong(T &expected, T v,
                               std::memory_order o = std::memory_order_seq_cst) const {
    if (o != std::memory_order_relaxed)
      simt::fence();
    const T old = simt::compare_swap(p_, expected, v, SIMT_PC);
    const bool same = memcmp(&old, &expected, sizeof old) == 0;
    expected = old;
    return same;
  }
  bool compare_exchange_strong(T &expected, T v, std::memory_order o, std::memory_order) const {
    return compare_exchange_strong(expected, v, o);
  }
  template <class... O> bool compare_exchange_weak(T &expected, T v, O... o) const {
    return compare_exchange_strong(expected, v, o...);
  }
#define SIMT_FETCH(name, expr)                                                                     \
  T fetch_##name(T v, std::memory_order o = std::memory_order_seq_cst) const {                     \
    return change([v](T old) { return (T)(expr); }, o);                                            \
  }
  SIMT_FETCH(add, old + v)
  SIMT_FETCH(sub, old - v)
  SIMT_FETCH(and, old &v)
  SIMT_FETCH(or, old | v)
  SIMT_FETCH(xor, old ^ v)
  SIMT_FETCH(min, v < old ? v : old)
  SIMT_FETCH(max, v > old ? v : old)
#undef SIMT_FETCH
  operator T() const { return load(); }
  T operator=(T v) const {
    store(v);
    return v;
  }
  T operator++() const { return fetch_add(1) + 1; }
  T operator++(int) const { return fetch_add(1); }
  T operator--() const { return fetch_sub(1) - 1; }
  T operator--(int) const { return fetch_sub(1); }
  T operator+=(T v) const { return fetch_add(v) + v; }
  T operator-=(T v) const { return fetch_sub(v) - v; }
};
template <class T, thread_scope S = thread_scope_system> class atomic {
  T value_;
  atomic_ref<T, S> ref() const { return atomic_ref<T, S>(const_cast<T &>(value_)); }

public:
  atomic() = default;
  constexpr atomic(T v) : value_(v) {}
  template <class... O> T load(O... o) const { return ref().load(o...); }
  template <class... O> void store(T v, O... o) { ref().store(v, o...); }
  template <class... O> T exchange(T v, O... o) { return ref().exchange(v, o...); }
  template <class... O> bool compare_exchange_strong(T &e, T v, O... o) {
    return ref().compare_exchange_strong(e, v, o...);
  }
  template <class... O> bool compare_exchange_weak(T &e, T v, O... o) {
    return ref().compare_exchange_strong(e, v, o...);
  }
  template <class... O> T fetch_add(T v, O... o) { return ref().fetch_add(v, o...); }
  template <class... O> T fetch_sub(T v, O... o) { return ref().fetch_sub(v, o...); }
  template <class... O> T fetch_and(T v, O... o) { return ref().fetch_and(v, o...); }
  template <class... O> T fetch_or(T v, O... o) { return ref().fetch_or(v, o...); }
  template <class... O> T fetch_xor(T v, O... o) { return ref().fetch_xor(v, o...); }
  template <class... O> T fetch_min(T v, O... o) { return ref().fetch_min(v, o...); }
  template <class... O> T fetch_max(T v, O... o) { return ref().fetch_max(v, o...); }
  operator T() const { return load(); }
  T operator=(T v) { return ref() = v; }
  T operator++() { return ++ref(); }
  T operator++(int) { return ref()++; }
  T operator--() { return --ref(); }
  T operator--(int) { return ref()--; }
  T operator+=(T v) { return ref() += v; }
  T operator-=(T v) { return ref() -= v; }
};
inline void atomic_thread_fence(std::memory_order, thread_scope = thread_scope_system) {
  simt::fence();
}

/* Copies of a thread land when it arrives. */
template <thread_scope S> class barrier {
  unsigned expected_, pending_, phase_;

public:
  typedef unsigned arrival_token;
  SIMT_UNTRACED friend void init(barrier *b, long long n) {
    b->expected_ = b->pending_ = (unsigned)n;
    b->phase_ = 0;
  }
  barrier() = default;
  explicit barrier(long long n) { init(this, n); }
  SIMT_UNTRACED arrival_token arrive(long long n = 1) {
    simt::cp_async_commit();
    simt::cp_async_wait(0);
    const unsigned token = phase_;
    pending_ -= (unsigned)n;
    if (pending_ == 0) {
      simt::all_ordered();
      pending_ = expected_;
      phase_++;
    }
    return token;
  }
  SIMT_UNTRACED void wait(arrival_token token) const {
    while (*(volatile const unsigned *)&phase_ == token)
      simt::yield();
  }
  SIMT_UNTRACED void wait_parity(bool odd) const {
    while ((*(volatile const unsigned *)&phase_ & 1) == (unsigned)odd)
      simt::yield();
  }
  void arrive_and_wait() { wait(arrive()); }
  SIMT_UNTRACED void arrive_and_drop() {
    expected_--;
    arrive();
  }
};

template <size_t Alignment> struct aligned_size_t {
  size_t value;
  explicit aligned_size_t(size_t n) : value(n) {}
  operator size_t() const { return value; }
};

/* Stages that producers fill and consumers use, in order. Without a state of its own in shared
 * memory it is one thread's, and copies stay under way until the thread waits for them. */
template <thread_scope S, unsigned char Stages> struct pipeline_shared_state {
  unsigned committed[Stages], released[Stages]; /* how often, by all threads together */
};
enum class pipeline_role { producer, consumer };
template <thread_scope S> class pipeline {
  unsigned *committed_, *released_;
  unsigned stages_, producers_, consumers_, filled_ = 0, used_ = 0;

public:
  pipeline(unsigned *committed, unsigned *released, unsigned stages, unsigned producers,
           unsigned consumers)
      : committed_(committed), released_(released), stages_(stages), producers_(producers),
        consumers_(consumers) {}
  SIMT_UNTRACED void producer_acquire() {
    if (committed_ != nullptr && filled_ >= stages_)
      await(released_, filled_, consumers_ * (filled_ / stages_));
  }
  SIMT_UNTRACED void producer_commit() {
    simt::cp_async_commit();
    if (committed_ != nullptr) {
      simt::cp_async_wait(0);
      simt::all_ordered();
      committed_[filled_ % stages_]++;
    }
    filled_++;
  }
  SIMT_UNTRACED void consumer_wait() {
    if (committed_ == nullptr)
      simt::cp_async_wait((int)(filled_ - used_ - 1));
    else
      await(committed_, used_, producers_ * (used_ / stages_ + 1));
  }
  SIMT_UNTRACED void consumer_release() {
    if (committed_ != nullptr) {
      simt::all_ordered();
      released_[used_ % stages_]++;
    }
    used_++;
  }
  void quit() {}

private:
  SIMT_UNTRACED void await(const unsigned *counts, unsigned stage, unsigned n) const {
    while (((const volatile unsigned *)counts)[stage % stages_] < n)
      simt::yield();
  }
};
inline pipeline<thread_scope_thread> make_pipeline() { return {nullptr, nullptr, 1, 1, 1}; }
template <class Group, thread_scope S, unsigned char Stages>
SIMT_UNTRACED inline pipeline<S> make_pipeline(const Group &g, pipeline_shared_state<S, Stages> *s,
                                               unsigned producers, unsigned consumers) {
  g.sync(__FILE__, __LINE__);
  if (g.thread_rank() == 0)
    memset(s, 0, sizeof *s);
  g.sync(__FILE__, __LINE__);
  return {s->committed, s->released, Stages, producers, consumers};
}
template <class Group, thread_scope S, unsigned char Stages>
inline pipeline<S> make_pipeline(const Group &g, pipeline_shared_state<S, Stages> *s) {
  const unsigned n = (unsigned)g.num_threads();
  return make_pipeline(g, s, n, n);
}
template <class Group, thread_scope S, unsigned char Stages>
inline pipeline<S> make_pipeline(const Group &g, pipeline_shared_state<S, Stages> *s,
                                 size_t producers) {
  return make_pipeline(g, s, (unsigned)producers, (unsigned)(g.num_threads() - producers));
}
template <class Group, thread_scope S, unsigned char Stages>
inline pipeline<S> make_pipeline(const Group &g, pipeline_shared_state<S, Stages> *s,
                                 pipeline_role role) {
  const int n = __syncthreads_count(role == pipeline_role::producer);
  return make_pipeline(g, s, (unsigned)n, (unsigned)((int)g.num_threads() - n));
}
template <unsigned char Prior, thread_scope S>
inline void pipeline_consumer_wait_prior(pipeline<S> &) {
  simt::cp_async_wait(Prior);
}

/* By one thread. */
template <class Sync> inline void memcpy_async(void *to, const void *from, size_t n, Sync &) {
  simt::copy_async(to, from, n, 0, 1);
}
template <class T, class Sync> inline void memcpy_async(T *to, const T *from, size_t n, Sync &) {
  simt::copy_async(to, from, n, 0, 1);
}
/* By a group. */
template <class Group, class T, class Sync>
inline void memcpy_async(const Group &g, T *to, const T *from, size_t n, Sync &) {
  simt::copy_async(to, from, n, g.thread_rank(), g.num_threads());
}
template <class Group, class Sync>
inline void memcpy_async(const Group &g, void *to, const void *from, size_t n, Sync &) {
  simt::copy_async(to, from, n, g.thread_rank(), g.num_threads());
}
} // namespace cuda
