/* Files of torch.save since PyTorch 1.6: an uncompressed zip archive of NAME/data.pkl, a pickle
 * that describes tensors, and NAME/data/KEY, their storages. */
#ifndef LRL_TORCH_BIN_H
#define LRL_TORCH_BIN_H
#include "model/weights.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Adds every tensor found in dicts, lists and tuples of the mapped file number `file` of w; `path`
 * is for messages. LRL_ERR_FORMAT: a damaged file; a pickle that asks for anything but tensors and
 * plain containers, with the name of what it asks for; the format from before 1.6. */
lrl_status lrl_torch_bin_read(struct lrl_weights *w, int file, const char *path);

#ifdef __cplusplus
}
#endif
#endif
