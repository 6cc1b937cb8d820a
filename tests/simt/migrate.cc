/* Managed memory that stays with the device (SIMT_MIGRATE=1): the host may not touch its pages
 * unless they come over, one block at a time, as the driver moves them. The pages are open to this
 * process only while the device runs (device_window); a touch by the host in between faults, brings
 * its block over and is counted with the place in the code. Stricter than a GPU in one thing: a
 * page that no kernel ever touched counts, too. */
#include "simt.h"

#include <atomic>
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace simt {
static const size_t BLOCK = (size_t)64 << 10;
enum { MAX_RANGES = 512, MAX_PLACES = 32, FRAMES = 10 };
static struct {
  unsigned char *begin;
  size_t bytes;
} ranges[MAX_RANGES];
static bool open_now;
static int depth;
static std::atomic<uint64_t> migrations;
struct place {
  void *at[FRAMES];
  int n;
  uint64_t times;
};
static place places[MAX_PLACES];
static int n_places;
static std::atomic_flag busy = ATOMIC_FLAG_INIT;
static struct sigaction before;

static bool wanted() {
  static const char *text = getenv("SIMT_MIGRATE");
  static const bool on = text != NULL && atoi(text) != 0;
  return on;
}
static void protect(unsigned char *p, size_t bytes, bool open) {
  if (mprotect(p, bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE) == 0)
    return;
  static const char text[] = "SIMT: mprotect of managed memory failed\n";
  (void)!write(2, text, sizeof text - 1);
  abort();
}

static void note(place p) {
  while (busy.test_and_set())
    ;
  int i = 0;
  while (i < n_places && memcmp(places[i].at, p.at, sizeof p.at) != 0)
    i++;
  if (i < MAX_PLACES) {
    p.times = i < n_places ? places[i].times + 1 : 1;
    places[i] = p;
    n_places = i < n_places ? n_places : i + 1;
  }
  busy.clear();
}

static void fault(int number, siginfo_t *info, void *context) {
  unsigned char *at = static_cast<unsigned char *>(info->si_addr);
  for (const auto &r : ranges)
    if (r.begin != NULL && at >= r.begin && at < r.begin + r.bytes) {
      void *frames[FRAMES + 2] = {};
      const int n = backtrace(frames, FRAMES + 2); /* this function and the signal's frame first */
      place p = {};
      p.n = n > 2 ? n - 2 : 0;
      memcpy(p.at, frames + 2, sizeof p.at);
      note(p);
      migrations++;
      const size_t block = (size_t)(at - r.begin) / BLOCK * BLOCK;
      protect(r.begin + block, r.bytes - block < BLOCK ? r.bytes - block : BLOCK, true);
      return;
    }
  if ((before.sa_flags & SA_SIGINFO) != 0 && before.sa_sigaction != NULL) {
    before.sa_sigaction(number, info, context);
  } else { /* as without us: the instruction faults again */
    signal(SIGSEGV, SIG_DFL);
  }
}

/* Again and again: test runners set handlers of their own. */
static void listen() {
  struct sigaction a = {}, was;
  a.sa_sigaction = fault;
  a.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &a, &was);
  if (was.sa_sigaction != fault)
    before = was;
}
bool migrates() {
  static bool ready;
  if (wanted() && !ready) {
    ready = true;
    void *frames[2];
    backtrace(frames, 2); /* loads what it needs now, not in the handler */
  }
  return wanted();
}
void watch(void *p, size_t bytes) {
  for (auto &r : ranges)
    if (r.begin == NULL) {
      r = {static_cast<unsigned char *>(p), bytes};
      listen();
      protect(r.begin, bytes, open_now);
      return;
    }
  fprintf(stderr, "SIMT: more than %d managed allocations to watch\n", MAX_RANGES);
  abort();
}
void unwatch(const void *p) {
  for (auto &r : ranges)
    if (r.begin == p)
      r = {};
}

device_window::device_window() { depth++; }
void device_window::open() {
  if (open_now || !wanted())
    return;
  open_now = true;
  for (const auto &r : ranges)
    if (r.begin != NULL)
      protect(r.begin, r.bytes, true);
}
device_window::~device_window() {
  if (--depth > 0 || !open_now)
    return;
  open_now = false;
  listen();
  for (const auto &r : ranges)
    if (r.begin != NULL)
      protect(r.begin, r.bytes, false);
}

void forget_migrations() {
  migrations = 0;
  n_places = 0;
}
} // namespace simt

/* One line a place: how often, and the callers from the inside out as file+offset (addr2line -fe).
 */
uint64_t simt_migrations(const char **text) {
  static std::string all;
  all.clear();
  for (int i = 0; i < simt::n_places; i++) {
    all += std::to_string(simt::places[i].times) + " times:";
    for (int k = 0; k < simt::places[i].n; k++) {
      Dl_info d;
      char line[300];
      if (dladdr(simt::places[i].at[k], &d) == 0 || d.dli_fname == NULL)
        continue;
      const char *file = strrchr(d.dli_fname, '/');
      snprintf(line, sizeof line, " %s+0x%lx%s%s%s", file != NULL ? file + 1 : d.dli_fname,
               (unsigned long)((char *)simt::places[i].at[k] - (char *)d.dli_fbase - 1),
               d.dli_sname != NULL ? " (" : "", d.dli_sname != NULL ? d.dli_sname : "",
               d.dli_sname != NULL ? ")" : "");
      all += line;
    }
    all += '\n';
  }
  if (text != NULL)
    *text = all.c_str();
  return simt::migrations;
}
