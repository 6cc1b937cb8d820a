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
bool by_address(const record *a, const record *b) { return a->at < b->at; }
void count_global(const record **r, size_t n) {
  if (!std::is_sorted(r, r + n, by_address))
    std::stable_sort(r, r + n, by_address);
  uintptr_t end = 0, sector_end = 0, k = 0; /* first byte and sector not seen yet */
  for (size_t i = 0; i < n; i++) {
    const uintptr_t from = std::max(r[i]->at, end), to = r[i]->at + (unsigned)r[i]->bytes;
    const uintptr_t first = std::max(r[i]->at / 32, sector_end), last = (to - 1) / 32 + 1;
    counters.global_bytes += to > from ? to - from : 0;
    k += last > first ? last - first : 0;
    end = std::max(end, to);
    sector_end = std::max(sector_end, last);
  }
  counters.global_requests++;
  counters.global_sectors += k;
  (r[0]->kind == READ ? counters.global_read_sectors : counters.global_write_sectors) += k;
}
/* 32 banks of 4 bytes; requests of 8 and 16 bytes go in halves and quarters of the warp. Lanes that
 * want the same word share it. */
void count_shared(const record **r, size_t n) {
  const int lanes = r[0]->bytes >= 16 ? 8 : r[0]->bytes == 8 ? 16 : 32;
  for (int from = 0; from < 32; from += lanes) {
    uintptr_t words[32 * 16];
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
      if (r[i]->lane >= from && r[i]->lane < from + lanes)
        for (int b = 0; b < std::max(r[i]->bytes, 4); b += 4)
          words[k++] = (r[i]->at + (unsigned)b) / 4;
    if (k == 0)
      continue;
    if (!std::is_sorted(words, words + k))
      std::sort(words, words + k);
    k = (size_t)(std::unique(words, words + k) - words);
    int banks[32] = {0}, worst = 0;
    for (size_t i = 0; i < k; i++)
      worst = std::max(worst, ++banks[words[i] % 32]);
    counters.shared_requests++;
    counters.shared_wavefronts += (unsigned)worst;
  }
}
void count(const record **r, size_t n) { (r[0]->shared ? count_shared : count_global)(r, n); }
/* Lanes that went the same way, one after the other: request k is each lane's k-th record. False:
 * they did not. */
bool count_uniform(const std::vector<record> &log) {
  size_t each = 1;
  unsigned seen = 0;
  while (each < log.size() && log[each].lane == log[0].lane)
    each++;
  if (log.size() % each != 0)
    return false;
  for (size_t i = 0; i < log.size(); i++) {
    const record &x = log[i], &first = log[i % each];
    if (i % each == 0 && (seen >> x.lane & 1) != 0)
      return false;
    if (x.pc != first.pc || x.shared != first.shared || x.lane != log[i - i % each].lane)
      return false;
    seen |= 1u << x.lane;
  }
  const record *r[32];
  for (size_t k = 0; k < each; k++) {
    size_t n = 0;
    for (size_t i = k; i < log.size(); i += each)
      r[n++] = &log[i];
    count(r, n);
  }
  return true;
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
  if (count_uniform(log)) {
    log.clear();
    return;
  }
  std::stable_sort(log.begin(), log.end(), [](const record &a, const record &b) {
    return a.pc != b.pc ? a.pc < b.pc : a.lane < b.lane;
  });
  for (size_t i = 1; i < log.size(); i++)
    if (log[i].pc == log[i - 1].pc && log[i].lane == log[i - 1].lane)
      log[i].turn = log[i - 1].turn + 1;
  std::stable_sort(log.begin(), log.end(), [](const record &a, const record &b) {
    return a.pc != b.pc ? a.pc < b.pc : a.turn < b.turn;
  });
  const record *r[32];
  for (size_t i = 0, j; i < log.size(); i = j) {
    for (j = i; j < log.size() && log[j].pc == log[i].pc && log[j].turn == log[i].turn &&
                log[j].shared == log[i].shared && j - i < 32;
         j++)
      r[j - i] = &log[j];
    count(r, j - i);
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
