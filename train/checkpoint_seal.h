/* The seal of a checkpoint file: behind the HDF5 data stand the extents of the datasets' bytes and
 * a checksum of everything that lies outside of them (names, shapes, checksums of the datasets).
 * With it a damaged or cut file is known before HDF5 reads it, at the cost of reading a few KB a
 * tensor. */
#ifndef LRL_CHECKPOINT_SEAL_H
#define LRL_CHECKPOINT_SEAL_H
#include "kernels/status.h"

struct lrl_extent {
  uint64_t offset, bytes;
};
#define LRL_PIECE                                                                                  \
  ((size_t)4 << 20) /* bytes hashed and written at a time: they stay in the cache                  \
                     */

/* Seals the file: extents ascend and do not overlap. false: errno says why. */
bool lrl_seal_write(int fd, const struct lrl_extent *extents, int64_t n);
/* LRL_ERR_FORMAT when the file is not sealed or was changed since; `path` is for the message. */
lrl_status lrl_seal_check(int fd, const char *path);

/* A number that names the content of a sealed file, from its seal alone. Errors as above. */
lrl_status lrl_seal_name(const char *path, uint64_t *name);

/* All `bytes` bytes at `offset`. false: errno says why, 0 is the end of the file. */
bool lrl_write_at(int fd, const void *data, size_t bytes, uint64_t offset);
bool lrl_read_at(int fd, void *data, size_t bytes, uint64_t offset);
#endif
