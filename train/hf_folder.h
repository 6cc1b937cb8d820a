/* The folder an export writes: FOLDER.tmp until all of it is there. */
#ifndef LRL_HF_FOLDER_H
#define LRL_HF_FOLDER_H
#include "kernels/status.h"

/* Makes folder.tmp; LRL_ERR_IO when `folder` is there and not empty. */
lrl_status lrl_hf_folder_begin(const char *folder, char *temporary, size_t size);
/* Renames it, or removes it when `so_far` is a failure, which is returned. */
lrl_status lrl_hf_folder_end(const char *temporary, const char *folder, lrl_status so_far);
lrl_status lrl_hf_put_file(const char *folder, const char *name, const void *bytes, size_t n);
/* Copies what is beside the weights: code, tokenizer, generation settings. */
lrl_status lrl_hf_copy_small_files(const char *from, const char *to);
#endif
