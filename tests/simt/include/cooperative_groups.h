/* Cooperative groups of a grid, of a block and of parts of a warp. Not simulated: clusters. */
#pragma once
#include <cuda_runtime.h>

namespace cooperative_groups {
class thread_block {
public:
  static bool is_valid() { return true; }
  static void sync(SIMT_AT) { simt::barrier(0, 0, 0, file_, line_); }
  static unsigned thread_rank() { return (unsigned)simt::self->linear; }
  static unsigned num_threads() { return blockDim.x * blockDim.y * blockDim.z; }
  static unsigned size() { return num_threads(); }
  static dim3 group_index() { return blockIdx; }
  static dim3 thread_index() { return simt::self->id; }
  static dim3 group_dim() { return blockDim; }
  static dim3 dim_threads() { return blockDim; }
};
inline thread_block this_thread_block() { return {}; }
class grid_group {
public:
  static void sync(SIMT_AT) { simt::grid_barrier(file_, line_); }
  static bool is_valid() { return simt::is_cooperative(); }
  static unsigned long long block_rank() {
    const dim3 g = gridDim;
    return ((unsigned long long)blockIdx.z * g.y + blockIdx.y) * g.x + blockIdx.x;
  }
  static unsigned long long num_blocks() {
    return (unsigned long long)gridDim.x * gridDim.y * gridDim.z;
  }
  static unsigned long long thread_rank() {
    return block_rank() * thread_block::num_threads() + thread_block::thread_rank();
  }
  static unsigned long long num_threads() { return num_blocks() * thread_block::num_threads(); }
  static unsigned long long size() { return num_threads(); }
  static dim3 block_index() { return blockIdx; }
  static dim3 dim_blocks() { return gridDim; }
  static dim3 group_dim() { return gridDim; }
};
inline grid_group this_grid() { return {}; }

/* Lanes of one warp: the consecutive lanes of a tile, or those that were together. */
class lanes {
protected:
  unsigned mask_;
  explicit lanes(unsigned m) : mask_(m) {}
  /* Lane in the warp of the group's rank-th member. */
  int lane_of(int rank) const {
    unsigned m = mask_;
    for (; rank > 0; rank--)
      m &= m - 1;
    return m == 0 ? simt::self->lane : __builtin_ctz(m);
  }
  /* Bits by lane of the warp as bits by rank in the group. */
  unsigned ranks(unsigned lanes_of_warp) const {
    unsigned r = 0, n = 0;
    for (unsigned m = mask_; m != 0; m &= m - 1, n++)
      r |= (lanes_of_warp >> __builtin_ctz(m) & 1u) << n;
    return r;
  }

public:
  void sync(SIMT_AT) const { simt::warp_sync(mask_, file_, line_); }
  unsigned thread_rank() const {
    return (unsigned)__builtin_popcount(mask_ & ((1u << simt::self->lane) - 1));
  }
  unsigned num_threads() const { return (unsigned)__builtin_popcount(mask_); }
  unsigned size() const { return num_threads(); }
  template <class T> T shfl(T v, int rank, SIMT_AT) const {
    return simt::shuffled(simt::SHUFFLE_INDEX, mask_, v, lane_of(rank % (int)num_threads()), 32,
                          "shfl", file_, line_);
  }
  template <class T> T shfl_up(T v, unsigned d, SIMT_AT) const {
    const int r = (int)thread_rank() - (int)d;
    return simt::shuffled(simt::SHUFFLE_INDEX, mask_, v, r < 0 ? simt::self->lane : lane_of(r), 32,
                          "shfl_up", file_, line_);
  }
  template <class T> T shfl_down(T v, unsigned d, SIMT_AT) const {
    const unsigned r = thread_rank() + d;
    return simt::shuffled(simt::SHUFFLE_INDEX, mask_, v,
                          r >= num_threads() ? simt::self->lane : lane_of((int)r), 32, "shfl_down",
                          file_, line_);
  }
  template <class T> T shfl_xor(T v, unsigned x, SIMT_AT) const {
    return simt::shuffled(simt::SHUFFLE_INDEX, mask_, v, lane_of((int)(thread_rank() ^ x)), 32,
                          "shfl_xor", file_, line_);
  }
  unsigned ballot(int p, SIMT_AT) const { return ranks(__ballot_sync(mask_, p, file_, line_)); }
  int any(int p, SIMT_AT) const { return __any_sync(mask_, p, file_, line_); }
  int all(int p, SIMT_AT) const { return __all_sync(mask_, p, file_, line_); }
  template <class T> unsigned match_any(T v, SIMT_AT) const {
    return ranks(__match_any_sync(mask_, v, file_, line_));
  }
  template <class T> unsigned match_all(T v, int &pred, SIMT_AT) const {
    return ranks(__match_all_sync(mask_, v, &pred, file_, line_));
  }
  unsigned simt_mask() const { return mask_; }
};

class coalesced_group : public lanes {
public:
  explicit coalesced_group(unsigned m) : lanes(m) {}
};
inline coalesced_group coalesced_threads(SIMT_AT) {
  return coalesced_group(__activemask(file_, line_));
}

/* Any group, where its kind is not known at compile time. */
class thread_group : public lanes {
  bool block_;

public:
  thread_group(const thread_block &) : lanes(0), block_(true) {}
  thread_group(const lanes &g) : lanes(g.simt_mask()), block_(false) {}
  static thread_group tile(unsigned n) {
    const unsigned all = n >= 32 ? 0xffffffffu : (1u << n) - 1;
    return coalesced_group(all << (unsigned)simt::self->lane / n * n);
  }
  void sync(SIMT_AT) const {
    block_ ? thread_block::sync(file_, line_) : lanes::sync(file_, line_);
  }
  unsigned thread_rank() const {
    return block_ ? thread_block::thread_rank() : lanes::thread_rank();
  }
  unsigned num_threads() const {
    return block_ ? thread_block::num_threads() : lanes::num_threads();
  }
  unsigned size() const { return num_threads(); }
};
inline thread_group tiled_partition(const thread_group &, unsigned n) {
  return thread_group::tile(n);
}

/* What a tile is part of: a block, unless it is another tile. */
template <class Parent> struct tiles_of {
  static unsigned rank() { return thread_block::thread_rank(); }
  static unsigned size() { return thread_block::num_threads(); }
};
template <unsigned N, class Parent = void> class thread_block_tile : public lanes {
  static_assert(N >= 1 && N <= 32 && (N & (N - 1)) == 0, "tile size");

public:
  thread_block_tile()
      : lanes(N == 32 ? 0xffffffffu
                      : ((1u << (N & 31)) - 1) << (simt::self->lane / (int)N * (int)N)) {}
  template <class Other>
  thread_block_tile(const thread_block_tile<N, Other> &o) : lanes(o.simt_mask()) {}
  static constexpr unsigned size() { return N; }
  static constexpr unsigned num_threads() { return N; }
  unsigned meta_group_rank() const { return tiles_of<Parent>::rank() / N; }
  unsigned meta_group_size() const { return (tiles_of<Parent>::size() + N - 1) / N; }
};
template <unsigned N, class Parent> struct tiles_of<thread_block_tile<N, Parent>> {
  static unsigned rank() { return (unsigned)simt::self->lane % N; }
  static unsigned size() { return N; }
};
template <unsigned N, class Group>
inline thread_block_tile<N, Group> tiled_partition(const Group &) {
  return {};
}
template <class Group> inline void sync(const Group &g, SIMT_AT) { g.sync(file_, line_); }
inline coalesced_group labeled_partition(const lanes &g, int label, SIMT_AT) {
  simt::match q = {(uint64_t)(unsigned)label, 0, 0};
  simt::meet(simt::do_match, "labeled_partition", g.simt_mask(), &q, file_, line_);
  return coalesced_group(q.result);
}
inline coalesced_group binary_partition(const lanes &g, bool p, SIMT_AT) {
  return labeled_partition(g, p, file_, line_);
}
} // namespace cooperative_groups
