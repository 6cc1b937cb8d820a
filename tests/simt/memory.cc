/* Device memory of the simulator: plain host memory with exact bounds, and its shadow. */
#include "sanitizer.h"
#include "simt.h"

#include <iterator>
#include <map>
#include <set>
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
static std::set<uintptr_t> adopted;                                     /* of the host */
static auto &pages = *new std::unordered_map<uintptr_t, shadow_page *>; /* for ever */
static const allocation *found[64]; /* by page: what was found last */
static void forget(uintptr_t p) {
  allocations.erase(p);
  memset(found, 0, sizeof found);
}

static void give_back(const allocation &a) {
  SIMT_ALLOW(a.at - GAP, a.bytes + GAP);
  free(a.at - GAP);
}
/* What was freed is no leak; what was not, is one. */
static struct at_exit {
  ~at_exit() {
    for (const uintptr_t p : dead)
      give_back(allocations[p]);
  }
} at_exit;

/* What nobody has written is NaN, but zero where nothing is asked for: as mostly on a device. */
static int unwritten() {
  return !traced && settings.order == SIMT_ASCENDING && settings.streams == SIMT_EAGER ? 0 : 0xff;
}
void *allocate(size_t bytes, memory_kind kind) {
  unsigned char *p;
  const bool watched = kind == MANAGED && migrates(), mapped = bytes >= LARGE || watched;
  if (mapped) {
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
    const size_t whole = (bytes + 3 * GAP - 1) / GAP * GAP;
    memset(m, unwritten(), whole);
    SIMT_FORBID(m, GAP);
    SIMT_FORBID(p + bytes, whole - GAP - bytes);
  }
  allocations[(uintptr_t)p] = {p, bytes, kind, true, mapped};
  if (watched)
    watch(p, bytes);
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
  if (a == allocations.end() || !a->second.live || adopted.count((uintptr_t)p) > 0)
    return false;
  if (a->second.mapped) {
    unwatch(p);
    munmap(p, a->second.bytes);
    forget((uintptr_t)p);
    return true;
  }
  a->second.live = false;
  memset(p, 0xfd, a->second.bytes);
  SIMT_FORBID(p, a->second.bytes);
  dead.push_back((uintptr_t)p);
  dead_bytes += a->second.bytes;
  while (dead_bytes > QUARANTINE) {
    const auto oldest = allocations.find(dead.front());
    dead_bytes -= oldest->second.bytes;
    give_back(oldest->second);
    forget(oldest->first);
    dead.erase(dead.begin());
  }
  return true;
}
bool adopt(void *p, size_t bytes) {
  const allocation *a = find_allocation(static_cast<char *>(p) + bytes - 1);
  if (a != NULL && a->live && a->at + a->bytes > static_cast<unsigned char *>(p))
    return false;
  allocations[(uintptr_t)p] = {static_cast<unsigned char *>(p), bytes, PINNED, true, false};
  adopted.insert((uintptr_t)p);
  return true;
}
bool disown(void *p) {
  if (adopted.erase((uintptr_t)p) == 0)
    return false;
  forget((uintptr_t)p);
  return true;
}
const allocation *find_allocation(const void *p) {
  const uintptr_t u = (uintptr_t)p;
  const allocation *&slot = found[u >> 12 & 63];
  if (slot != NULL && u - (uintptr_t)slot->at < slot->bytes)
    return slot;
  const auto a = allocations.upper_bound(u);
  return a == allocations.begin() ? NULL : slot = &std::prev(a)->second;
}
bool is_device_memory(const void *p) {
  const allocation *a = find_allocation(p);
  return a != NULL && a->live && a->kind != PINNED &&
         static_cast<const unsigned char *>(p) < a->at + (a->bytes > 0 ? a->bytes : 1);
}
shadow_page *shadow_of(const void *p) {
  static struct {
    uintptr_t page;
    shadow_page *shadow;
  } last[256];
  const uintptr_t page = (uintptr_t)p >> 12;
  auto &slot = last[page & 255];
  if (slot.shadow == NULL || slot.page != page) {
    shadow_page *&s = pages[page];
    if (s == NULL)
      s = static_cast<shadow_page *>(calloc(1, sizeof *s));
    slot = {page, s};
  }
  return slot.shadow;
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
