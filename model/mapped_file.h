/* A file mapped for reading. Its pages are read when they are looked at and may be dropped again,
 * so a file may be larger than memory. It must not shrink while it is mapped: the kernel answers
 * that with a signal. */
#ifndef LRL_MAPPED_FILE_H
#define LRL_MAPPED_FILE_H
#include "kernels/status.h"
#ifdef __cplusplus
extern "C" {
#endif

struct lrl_mapped_file {
  unsigned char *data; /* read only; NULL when n is 0 */
  size_t n;
};
/* LRL_ERR_IO names the path. */
lrl_status lrl_mapped_file_open(const char *path, struct lrl_mapped_file *out);
void lrl_mapped_file_close(struct lrl_mapped_file *f); /* a zeroed one is fine */
/* Bytes [at, at + n) will not be looked at soon: their memory may go. */
void lrl_mapped_file_drop(const struct lrl_mapped_file *f, size_t at, size_t n);

#ifdef __cplusplus
}
#endif
#endif
