#include "model/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static lrl_status map(int fd, const char *path, struct lrl_mapped_file *out) {
  struct stat st;
  if (fstat(fd, &st) != 0)
    return LRL_FAIL(LRL_ERR_IO, "cannot read %s: %s", path, strerror(errno));
  if (!S_ISREG(st.st_mode))
    return LRL_FAIL(LRL_ERR_IO, "%s is not a file", path);
  if (st.st_size == 0)
    return LRL_OK;
  void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (p == MAP_FAILED)
    return LRL_FAIL(LRL_ERR_IO, "cannot map %s: %s", path, strerror(errno));
  madvise(p, (size_t)st.st_size, MADV_SEQUENTIAL);
  *out = (struct lrl_mapped_file){p, (size_t)st.st_size};
  return LRL_OK;
}

lrl_status lrl_mapped_file_open(const char *path, struct lrl_mapped_file *out) {
  *out = (struct lrl_mapped_file){0};
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* never waits for a pipe */
  if (fd < 0)
    return LRL_FAIL(LRL_ERR_IO, "cannot open %s: %s", path, strerror(errno));
  const lrl_status s = map(fd, path, out);
  close(fd);
  return s;
}

void lrl_mapped_file_close(struct lrl_mapped_file *f) {
  if (f->data != NULL)
    munmap(f->data, f->n);
  *f = (struct lrl_mapped_file){0};
}

void lrl_mapped_file_drop(const struct lrl_mapped_file *f, size_t at, size_t n) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t first = at / page * page, end = at + n < f->n ? at + n : f->n;
  if (first < end)
    madvise(f->data + first, end - first, MADV_DONTNEED);
}
