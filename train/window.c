/* Rank 0 makes an anonymous file and the others open it under /proc, which has no size limit of its
 * own (unlike /dev/shm in containers) and leaves nothing behind after a kill. */
#include "train/window.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE ((size_t)2 << 20) /* ranks start on huge pages, where the kernel uses them */

static lrl_status make_file(size_t bytes, int *fd) {
  *fd = memfd_create("laurel", MFD_CLOEXEC);
  if (*fd < 0 || ftruncate(*fd, (off_t)bytes) != 0)
    return LRL_FAIL(LRL_ERR_MEMORY, "cannot make %zu MiB of memory for all ranks: %s", bytes >> 20,
                    strerror(errno));
  return LRL_OK;
}

static lrl_status open_file(long pid, int at, int *fd) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%ld/fd/%d", pid, at);
  if ((*fd = open(path, O_RDWR | O_CLOEXEC)) < 0)
    return LRL_FAIL(LRL_ERR_COMM, "cannot share memory with rank 0: %s", strerror(errno));
  return LRL_OK;
}

/* Takes the pages of this rank's part now: a full memory is an error here, not a signal later. */
static lrl_status take_pages(const struct lrl_window *w, int fd, int rank, size_t bytes) {
  if (fallocate(fd, 0, (off_t)((size_t)rank * w->stride), (off_t)bytes) != 0)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for %zu MiB shared by the ranks: %s", bytes >> 20,
                    strerror(errno));
  char *mine = lrl_window_of(w, rank);
  madvise(mine, bytes, MADV_HUGEPAGE);
  for (size_t i = 0; i < bytes; i += 4096)
    mine[i] = 0;
  return LRL_OK;
}

static lrl_status map_file(struct lrl_window *w, int fd, int rank, size_t bytes) {
  const size_t all = w->stride * (size_t)w->n;
  void *p = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (p == MAP_FAILED)
    return LRL_FAIL(LRL_ERR_MEMORY, "cannot map %zu MiB shared by the ranks: %s", all >> 20,
                    strerror(errno));
  w->base = p;
  return take_pages(w, fd, rank, bytes);
}

lrl_status lrl_window_create(struct lrl_comm *c, size_t bytes, struct lrl_window *out) {
  struct lrl_window w = {.stride = (bytes + PAGE - 1) / PAGE * PAGE, .n = lrl_comm_size(c)};
  const int rank = lrl_comm_rank(c);
  int fd = -1;
  struct {
    long pid;
    int fd;
  } where = {0};
  *out = (struct lrl_window){0};
  lrl_status s = rank == 0 ? make_file(w.stride * (size_t)w.n, &fd) : LRL_OK;
  where.pid = getpid();
  where.fd = fd;
  s = lrl_comm_agree(c, s);
  if (s == LRL_OK)
    s = lrl_comm_broadcast(c, &where, sizeof where, 0);
  if (s == LRL_OK) {
    if (rank != 0)
      s = open_file(where.pid, where.fd, &fd);
    if (s == LRL_OK)
      s = map_file(&w, fd, rank, bytes);
    s = lrl_comm_agree(c, s);
  }
  if (fd >= 0)
    close(fd);
  if (s != LRL_OK)
    lrl_window_destroy(&w);
  else
    *out = w;
  return s;
}

void lrl_window_destroy(struct lrl_window *w) {
  if (w->base != NULL)
    munmap(w->base, w->stride * (size_t)w->n);
  *w = (struct lrl_window){0};
}
