#include "kernels/arena.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define COMMIT_STEP ((size_t)64 << 20)
#define HUGE_PAGE ((size_t)2 << 20)

static const struct lrl_arena_source *current_source;
void lrl_arena_use(const struct lrl_arena_source *source) { current_source = source; }

static lrl_status init_from_source(struct lrl_arena *a, const char *name, size_t bytes) {
  char *p = current_source->reserve(&bytes);
  if (p == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "the device has no memory for %s", name);
  const size_t lead = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
  *a = (struct lrl_arena){.base = p + lead,
                          .source = current_source,
                          .reservation = p,
                          .reservation_bytes = bytes,
                          .reserved = (bytes - lead) / HUGE_PAGE * HUGE_PAGE,
                          .name = name};
  return LRL_OK;
}

lrl_status lrl_arena_init(struct lrl_arena *a, const char *name, size_t reserve_bytes) {
  if (current_source != NULL)
    return init_from_source(a, name, reserve_bytes + HUGE_PAGE);
  size_t bytes = (reserve_bytes + COMMIT_STEP - 1) / COMMIT_STEP * COMMIT_STEP + HUGE_PAGE;
  char *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    return LRL_FAIL(LRL_ERR_MEMORY, "cannot reserve %zu MiB of address space for %s: %s",
                    bytes >> 20, name, strerror(errno));
  size_t lead = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
  if (lead > 0)
    munmap(p, lead);
  if (HUGE_PAGE - lead > 0)
    munmap(p + lead + (bytes - HUGE_PAGE), HUGE_PAGE - lead);
  *a = (struct lrl_arena){.base = p + lead, .reserved = bytes - HUGE_PAGE, .name = name};
  return LRL_OK;
}

void lrl_arena_free(struct lrl_arena *a) {
  if (a->host != NULL)
    munmap(a->host, a->reserved);
  if (a->source != NULL)
    a->source->release(a->reservation, a->reservation_bytes);
  else if (a->base != NULL)
    munmap(a->base, a->reserved);
  memset(a, 0, sizeof *a);
}

/* Bytes that can still be touched without swapping; SIZE_MAX when the system does not tell. Linux
 * promises more memory than there is and ends a process that takes it at its word. */
static size_t available(void) {
  unsigned long long kib = 0;
  char line[128];
  FILE *f = fopen("/proc/meminfo", "r");
  while (f != NULL && fgets(line, sizeof line, f) != NULL)
    if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
      break;
  if (f != NULL)
    fclose(f);
  return kib > 0 ? (size_t)kib << 10 : SIZE_MAX;
}

static lrl_status commit(struct lrl_arena *a, size_t bytes) {
  /* Doubles, so that a small arena stays cheap: touching 64 MiB takes a second on a bad machine. */
  size_t step = a->committed < COMMIT_STEP ? a->committed : COMMIT_STEP;
  size_t want = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
  if (want > a->committed && want < a->committed + step)
    want = a->committed + step < a->reserved ? a->committed + step : a->reserved;
  if (bytes > a->reserved || want > a->reserved)
    return LRL_FAIL(LRL_ERR_MEMORY, "%s needs %zu MiB but %zu MiB were reserved", a->name,
                    bytes >> 20, a->reserved >> 20);
  if (want <= a->committed)
    return LRL_OK;
  if (a->source != NULL) {
    if (a->source->settle != NULL)
      a->source->settle(a->base + a->committed, want - a->committed);
    a->committed = want;
    return LRL_OK;
  }
  char *p = a->base + a->committed;
  size_t n = want - a->committed, left = available();
  if (n > left)
    return LRL_FAIL(LRL_ERR_MEMORY, "%s: %zu MiB more are needed, the machine has %zu MiB left",
                    a->name, n >> 20, left >> 20);
  if (mprotect(p, n, PROT_READ | PROT_WRITE) != 0)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %zu MiB of %s: %s", want >> 20, a->name,
                    strerror(errno));
  madvise(p, n, MADV_HUGEPAGE);
  for (size_t i = 0; i < n; i += 4096)
    p[i] = 0;
  a->committed = want;
  return LRL_OK;
}

void *lrl_arena_alloc(struct lrl_arena *a, size_t bytes) {
  size_t size = (bytes + LRL_ALIGN - 1) / LRL_ALIGN * LRL_ALIGN;
  if (size < bytes || size > a->reserved - a->used) {
    LRL_FAIL(LRL_ERR_MEMORY, "%s: no room for %zu more bytes (%zu of %zu MiB are used)", a->name,
             bytes, a->used >> 20, a->reserved >> 20);
    return NULL;
  }
  if (a->used + size > a->committed && commit(a, a->used + size) != LRL_OK)
    return NULL;
  void *p = a->base + a->used;
  a->used += size;
  if (a->used > a->peak)
    a->peak = a->used;
  return p;
}

void *lrl_arena_zeros(struct lrl_arena *a, size_t bytes) {
  void *p = lrl_arena_alloc(a, bytes);
  if (p != NULL && !(a->source != NULL && a->source->counted))
    memset(p, 0, bytes);
  return p;
}

/* A twin of the whole arena, of which only the pages in use take memory. */
static lrl_status map_host(struct lrl_arena *a) {
  void *p = mmap(NULL, a->reserved, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    return LRL_FAIL(LRL_ERR_MEMORY, "cannot reserve %zu MiB of address space for records of %s: %s",
                    a->reserved >> 20, a->name, strerror(errno));
  madvise(p, a->reserved, MADV_NOHUGEPAGE);
  a->host = p;
  return LRL_OK;
}

void *lrl_arena_host(struct lrl_arena *a, size_t bytes) {
  char *p = lrl_arena_alloc(a, bytes);
  if (p == NULL || a->source == NULL)
    return p;
  return a->host != NULL || map_host(a) == LRL_OK ? a->host + (p - a->base) : NULL;
}

void lrl_arena_settle(struct lrl_arena *a) {
  if (a->source != NULL && a->source->settle != NULL)
    a->source->settle(a->base, a->used);
}

void lrl_arena_release(struct lrl_arena *a, void *p, size_t bytes) {
  const uintptr_t page = 4096, from = ((uintptr_t)p + page - 1) / page * page;
  const uintptr_t to = ((uintptr_t)p + bytes) / page * page;
  LRL_ASSERT((char *)p >= a->base && (char *)p + bytes <= a->base + a->used);
  if (from < to && a->source == NULL)
    madvise((char *)p + (from - (uintptr_t)p), to - from, MADV_DONTNEED);
}

lrl_status lrl_arena_pretouch(struct lrl_arena *a, size_t bytes) {
  return bytes > a->committed ? commit(a, bytes) : LRL_OK;
}

void lrl_malloc_setup(void) {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, INT32_MAX);
  mallopt(M_TOP_PAD, 64 << 20);
}
