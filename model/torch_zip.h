/* Zip archives (also zip64) whose members are stored as they are, so that they can be used in the
 * mapped file. Checksums are not compared: torch.save can be told to leave them out. */
#ifndef LRL_TORCH_ZIP_H
#define LRL_TORCH_ZIP_H
#include "model/mapped_file.h"
#ifdef __cplusplus
extern "C" {
#endif

struct lrl_zip_member {
  const char *name; /* in the file, not terminated */
  size_t name_n;
  const unsigned char *data;
  size_t n;
};
struct lrl_zip {
  struct lrl_zip_member *members;
  size_t n;
};
/* LRL_ERR_FORMAT: damaged, compressed or encrypted. Free with lrl_zip_close. */
lrl_status lrl_zip_open(const struct lrl_mapped_file *f, const char *path, struct lrl_zip *out);
void lrl_zip_close(struct lrl_zip *z);

#ifdef __cplusplus
}
#endif
#endif
