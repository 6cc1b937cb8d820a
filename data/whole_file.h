/* Files that appear only when all of them is on the disk: written to PATH.tmp, then renamed. A
 * kill, a failure or a full disk leaves what was at PATH before. */
#ifndef LRL_WHOLE_FILE_H
#define LRL_WHOLE_FILE_H
#include "kernels/status.h"

#include <stdio.h>

struct lrl_whole_file {
  FILE *f; /* NULL: not open */
  char *path, *temporary;
};
/* Start from {0}. LRL_ERR_IO names the file; LRL_ERR_MEMORY. */
lrl_status lrl_whole_file_open(struct lrl_whole_file *w, const char *path);
/* Brings what was written to the disk. LRL_ERR_IO when any of it could not be written; the file at
 * PATH is still the old one. */
lrl_status lrl_whole_file_finish(struct lrl_whole_file *w);
/* Finishes unless that is done, and renames. What belongs together is finished first, all of it. */
lrl_status lrl_whole_file_commit(struct lrl_whole_file *w);
/* Removes what was not committed and frees; fine for one never opened. */
void lrl_whole_file_close(struct lrl_whole_file *w);
#endif
