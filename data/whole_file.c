#include "data/whole_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

lrl_status lrl_whole_file_open(struct lrl_whole_file *w, const char *path) {
  const size_t n = strlen(path);
  *w = (struct lrl_whole_file){.path = strdup(path), .temporary = malloc(n + 5)};
  if (w->path == NULL || w->temporary == NULL) {
    lrl_whole_file_close(w);
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a path");
  }
  memcpy(w->temporary, path, n);
  memcpy(w->temporary + n, ".tmp", 5);
  w->f = fopen(w->temporary, "wb");
  if (w->f == NULL) {
    const int why = errno;
    free(w->temporary); /* nothing of ours is there to be removed */
    w->temporary = NULL;
    lrl_whole_file_close(w);
    return LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(why));
  }
  return LRL_OK;
}

lrl_status lrl_whole_file_finish(struct lrl_whole_file *w) {
  errno = 0;
  bool ok = fflush(w->f) == 0 && !ferror(w->f) && fsync(fileno(w->f)) == 0;
  int why = errno;
  ok = fclose(w->f) == 0 && ok;
  why = why != 0 ? why : errno;
  w->f = NULL;
  return ok ? LRL_OK
            : LRL_FAIL(LRL_ERR_IO, "cannot write all of %s: %s", w->path,
                       why != 0 ? strerror(why) : "an earlier write failed");
}

lrl_status lrl_whole_file_commit(struct lrl_whole_file *w) {
  if (w->f != NULL)
    LRL_TRY(lrl_whole_file_finish(w));
  if (rename(w->temporary, w->path) != 0)
    return LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", w->path, strerror(errno));
  free(w->temporary);
  w->temporary = NULL;
  return LRL_OK;
}

void lrl_whole_file_close(struct lrl_whole_file *w) {
  if (w->f != NULL)
    fclose(w->f);
  if (w->temporary != NULL)
    unlink(w->temporary);
  free(w->path);
  free(w->temporary);
  *w = (struct lrl_whole_file){0};
}
