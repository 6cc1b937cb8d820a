/* Memory counters. The k-th execution of one instruction in each lane, between two warp operations,
 * is one request of the warp: exact for uniform loops, an estimate for divergent ones. */
#include "report.h"

#include <algorithm>
#include <map>
#include <vector>

namespace simt {
namespace {
struct record {
  const void *pc;
  uintptr_t at;
  int lane, bytes, shared, kind, turn;
};
std::vector<record> logs[32];
std::map<std::string, simt_counters> by_kernel;

void add(simt_counters *to, const simt_counters &from) {
  const uint64_t *f = reinterpret_cast<const uint64_t *>(&from);
  uint64_t *t = reinterpret_cast<uint64_t *>(to);
  for (size_t i = 0; i < sizeof from / 8; i++)
    t[i] += f[i];
}
void count_global(const record *r, size_t n) {
  uintptr_t sectors[128];
  size_t k = 0;
  for (size_t i = 0; i < n; i++)
    for (uintptr_t s = r[i].at / 32; s <= (r[i].at + (unsigned)r[i].bytes - 1) / 32; s++)
      sectors[k++] = s;
  std::sort(sectors, sectors + k);
  k = (size_t)(std::unique(sectors, sectors + k) - sectors);
  std::vector<record> sorted(r, r + n);
  std::sort(sorted.begin(), sorted.end(),
            [](const record &a, const record &b) { return a.at < b.at; });
  uintptr_t end = 0;
  for (const record &x : sorted) {
    const uintptr_t from = std::max(x.at, end), to = x.at + (unsigned)x.bytes;
    counters.global_bytes += to > from ? to - from : 0;
    end = std::max(end, to);
  }
  counters.global_requests++;
  counters.global_sectors += k;
  (r->kind == READ ? counters.global_read_sectors : counters.global_write_sectors) += k;
}
/* 32 banks of 4 bytes; requests of 8 and 16 bytes go in halves and quarters of the warp. Lanes that
 * want the same word share it. */
void count_shared(const record *r, size_t n) {
  const int lanes = r->bytes >= 16 ? 8 : r->bytes == 8 ? 16 : 32;
  for (int from = 0; from < 32; from += lanes) {
    std::vector<uintptr_t> words;
    for (size_t i = 0; i < n; i++)
      if (r[i].lane >= from && r[i].lane < from + lanes)
        for (int b = 0; b < std::max(r[i].bytes, 4); b += 4)
          words.push_back((r[i].at + (unsigned)b) / 4);
    if (words.empty())
      continue;
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    int banks[32] = {0}, worst = 0;
    for (uintptr_t w : words)
      worst = std::max(worst, ++banks[w % 32]);
    counters.shared_requests++;
    counters.shared_wavefronts += (unsigned)worst;
  }
}
} // namespace

void count_access(const void *p, int bytes, bool shared, access_kind kind, const void *pc) {
  if (kind == VOLATILE_READ)
    kind = READ;
  kind == READ ? counters.reads++ : counters.writes++;
  if (kind != ASYNC_LAND)
    logs[self->warp].push_back(
        {pc, (uintptr_t)p, self->lane, bytes, shared, kind == ASYNC_ISSUE ? WRITE : kind, 0});
}
void trace_warp_op(int w) {
  std::vector<record> &log = logs[w];
  if (log.empty())
    return;
  std::stable_sort(log.begin(), log.end(), [](const record &a, const record &b) {
    return a.pc != b.pc ? a.pc < b.pc : a.lane < b.lane;
  });
  for (size_t i = 1; i < log.size(); i++)
    if (log[i].pc == log[i - 1].pc && log[i].lane == log[i - 1].lane)
      log[i].turn = log[i - 1].turn + 1;
  std::stable_sort(log.begin(), log.end(), [](const record &a, const record &b) {
    return a.pc != b.pc ? a.pc < b.pc : a.turn < b.turn;
  });
  for (size_t i = 0, j; i < log.size(); i = j) {
    for (j = i; j < log.size() && log[j].pc == log[i].pc && log[j].turn == log[i].turn &&
                log[j].shared == log[i].shared && j - i < 32;
         j++)
      ;
    log[i].shared ? count_shared(&log[i], j - i) : count_global(&log[i], j - i);
  }
  log.clear();
}
void counters_of_launch(const char *kernel) {
  add(&by_kernel[kernel], counters);
  counters = {};
}
} // namespace simt

void simt_reset_counters() { simt::by_kernel.clear(); }
void simt_get_counters(const char *kernel, struct simt_counters *out) {
  *out = {};
  for (const auto &k : simt::by_kernel)
    if (kernel == NULL || k.first == kernel)
      simt::add(out, k.second);
}
