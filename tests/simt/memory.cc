/* Device memory of the simulator: plain host memory with exact bounds, and its shadow. */
#include "simt.h"

#include <map>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unordered_map>
#include <vector>

namespace simt {
enum { GAP = 256 };
static const size_t LARGE = (size_t)64 << 20; /* from here on: mapped, and untouched until used */
static const size_t QUARANTINE = (size_t)64 << 20;
static std::map<uintptr_t, allocation> allocations;
static std::vector<uintptr_t> dead; /* freed, kept to catch uses after */
static size_t dead_bytes;
static std::unordered_map<uintptr_t, shadow_page *> pages;

void *allocate(size_t bytes, memory_kind kind) {
  unsigned char *p;
  if (bytes >= LARGE) {
    void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (m == MAP_FAILED)
      return NULL;
    p = static_cast<unsigned char *>(m);
  } else {
    void *m = aligned_alloc(GAP, (bytes + 3 * GAP - 1) / GAP * GAP);
    if (m == NULL)
      return NULL;
    p = static_cast<unsigned char *>(m) + GAP;
    memset(m, 0xff, (bytes + 3 * GAP - 1) / GAP * GAP);
  }
  allocations[(uintptr_t)p] = {p, bytes, kind, true};
  if (bytes < LARGE && kind == DEVICE)
    for (uintptr_t page = (uintptr_t)p >> 12; page <= ((uintptr_t)p + bytes) >> 12; page++) {
      const auto s = pages.find(page);
      if (s != pages.end())
        for (int i = 0; i < 4096; i++)
          if ((page << 12) + i >= (uintptr_t)p && (page << 12) + i < (uintptr_t)p + bytes)
            s->second->written[i] = false;
    }
  return p;
}
bool release(void *p) {
  const auto a = allocations.find((uintptr_t)p);
  if (a == allocations.end() || !a->second.live)
    return false;
  if (a->second.bytes >= LARGE) {
    munmap(p, a->second.bytes);
    allocations.erase(a);
    return true;
  }
  a->second.live = false;
  memset(p, 0xfd, a->second.bytes);
  dead.push_back((uintptr_t)p);
  dead_bytes += a->second.bytes;
  while (dead_bytes > QUARANTINE) {
    const auto oldest = allocations.find(dead.front());
    dead_bytes -= oldest->second.bytes;
    free(oldest->second.at - GAP);
    allocations.erase(oldest);
    dead.erase(dead.begin());
  }
  return true;
}
const allocation *find_allocation(const void *p) {
  static uintptr_t last;
  const uintptr_t u = (uintptr_t)p;
  auto a = allocations.find(last);
  if (a != allocations.end() && u >= a->first && u < a->first + a->second.bytes)
    return &a->second;
  a = allocations.upper_bound(u);
  if (a == allocations.begin())
    return NULL;
  --a;
  last = a->first;
  return &a->second;
}
bool is_device_memory(const void *p) {
  const allocation *a = find_allocation(p);
  return a != NULL && a->live && a->kind != PINNED &&
         static_cast<const unsigned char *>(p) < a->at + (a->bytes > 0 ? a->bytes : 1);
}
shadow_page *shadow_of(const void *p) {
  static uintptr_t last_page = ~(uintptr_t)0;
  static shadow_page *last;
  const uintptr_t page = (uintptr_t)p >> 12;
  if (page != last_page) {
    shadow_page *&s = pages[page];
    if (s == NULL)
      s = static_cast<shadow_page *>(calloc(1, sizeof *s));
    last_page = page;
    last = s;
  }
  return last;
}
void mark_written(const void *p, size_t bytes) {
  if (!traced)
    return;
  const unsigned char *c = static_cast<const unsigned char *>(p);
  const allocation *a = find_allocation(p);
  if (a == NULL || a->kind != DEVICE)
    return;
  for (size_t i = 0; i < bytes;) {
    const size_t in_page = (uintptr_t)(c + i) & 4095;
    const size_t n = 4096 - in_page < bytes - i ? 4096 - in_page : bytes - i;
    memset(shadow_of(c + i)->written + in_page, 1, n);
    i += n;
  }
}
void clear_race_shadow() {
  for (auto &p : pages)
    memset((void *)p.second->bytes, 0, sizeof p.second->bytes);
}
} // namespace simt

void *simt_alloc(size_t bytes) { return simt::allocate(bytes, simt::MANAGED); }
void simt_free(void *p) { simt::release(p); }
