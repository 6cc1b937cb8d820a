/* safetensors: 8 bytes of header length, a JSON header {name: {dtype, shape, data_offsets}}, data
 * without gaps. */
#ifndef LRL_SAFETENSORS_H
#define LRL_SAFETENSORS_H
#include "model/weights.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Adds the tensors of the mapped file number `file` of w; `path` is for messages. LRL_ERR_FORMAT:
 * a header above 100 MB or that is not what the format says, tensors that overlap, leave gaps or
 * reach behind the end of the file, a type that this program does not know. */
lrl_status lrl_safetensors_read(struct lrl_weights *w, int file, const char *path);

/* A tensor to be written. */
struct lrl_weight_entry {
  const char *name;
  enum lrl_weight_dtype dtype;
  int ndim;
  int64_t dim[LRL_WEIGHT_DIMS];
};
struct lrl_safetensors_writer;
/* Writes model.safetensors into the folder, which must exist, or with more than max_shard_bytes of
 * data model-00001-of-0000N.safetensors and model.safetensors.index.json; the tensors keep their
 * order. The entries are copied. */
lrl_status lrl_safetensors_create(const char *folder, const struct lrl_weight_entry *entries,
                                  int64_t n, int64_t max_shard_bytes,
                                  struct lrl_safetensors_writer **out);
/* `bytes` bytes of tensor i from its byte `at` on; parts may come in any order. */
lrl_status lrl_safetensors_put(struct lrl_safetensors_writer *w, int64_t i, int64_t at,
                               const void *data, size_t bytes);
/* Everything must have been put. Brings the files to the disk and frees w, also on failure. */
lrl_status lrl_safetensors_finish(struct lrl_safetensors_writer *w);
void lrl_safetensors_abandon(struct lrl_safetensors_writer *w); /* frees; NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
