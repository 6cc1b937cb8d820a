/* Whole files in memory, and buffers that grow and are kept. */
#ifndef LRL_DATA_BYTES_H
#define LRL_DATA_BYTES_H
#include "kernels/status.h"

/* Start from {0}. Growing doubles, so a buffer that is reused soon allocates no more. */
struct lrl_buffer {
  void *data;
  size_t cap; /* bytes */
};
/* Makes room for `bytes` in all, keeping what is there. LRL_ERR_MEMORY. */
lrl_status lrl_buffer_reserve(struct lrl_buffer *b, size_t bytes);
void lrl_buffer_free(struct lrl_buffer *b);

/* Reads a text file; a gzip file is unpacked and a UTF-8 byte order mark dropped. *out is malloc'ed
 * with a 0 byte behind the *n_bytes of content; free() it. LRL_ERR_IO or LRL_ERR_FORMAT (damaged
 * gzip) name the file. */
lrl_status lrl_file_read(const char *path, char **out, size_t *n_bytes);
/* The bytes as they are, at most LRL_FILE_RAW_MAX of them. */
#define LRL_FILE_RAW_MAX ((int64_t)1 << 30)
lrl_status lrl_file_read_raw(const char *path, char **out, size_t *n_bytes);

/* Makes a folder and those above it; fine when they are there. LRL_ERR_IO names the one. */
lrl_status lrl_folder_make(const char *path);

/* `path` when it is absolute or root is NULL or "", else root/path; malloc'ed, free() it; NULL (and
 * LRL_ERR_MEMORY recorded) without memory. */
char *lrl_path_join(const char *root, const char *path);
/* Folder of a file, "." without one; as above. */
char *lrl_path_folder(const char *path);
#endif
