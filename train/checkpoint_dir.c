/* A folder of checkpoints step_<number>.h5. */
#include "kernels/log.h"
#include "train/checkpoint.h"
#include "train/checkpoint_seal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The number of "step_<number><suffix>", -1 for any other name. */
static int64_t step_of(const char *name, const char *suffix) {
  if (strncmp(name, "step_", 5) != 0 || name[5] < '0' || name[5] > '9')
    return -1;
  char *end;
  errno = 0;
  long long step = strtoll(name + 5, &end, 10);
  return errno == 0 && strcmp(end, suffix) == 0 ? (int64_t)step : -1;
}

struct found {
  int64_t step;
  char name[64];
};

static int newest_first(const void *a, const void *b) {
  const struct found *x = a, *y = b;
  return x->step > y->step ? -1 : x->step < y->step;
}

/* The checkpoints of a folder, newest first (malloc'ed); none when there is no folder. */
static lrl_status list(const char *dir, const char *suffix, struct found **out, size_t *n) {
  *out = NULL;
  *n = 0;
  DIR *d = opendir(dir);
  if (d == NULL && errno == ENOENT)
    return LRL_OK;
  if (d == NULL)
    return LRL_FAIL(LRL_ERR_IO, "cannot read the folder %s: %s", dir, strerror(errno));
  lrl_status s = LRL_OK;
  for (struct dirent *e = readdir(d); e != NULL && s == LRL_OK; e = readdir(d)) {
    int64_t step = step_of(e->d_name, suffix);
    if (step < 0 || strlen(e->d_name) >= sizeof(*out)->name)
      continue;
    void *more = realloc(*out, (*n + 1) * sizeof **out);
    if (more == NULL) {
      s = LRL_FAIL(LRL_ERR_MEMORY, "no memory to list %s", dir);
      break;
    }
    *out = more;
    (*out)[*n].step = step;
    memcpy((*out)[(*n)++].name, e->d_name, strlen(e->d_name) + 1);
  }
  closedir(d);
  if (*n > 0)
    qsort(*out, *n, sizeof **out, newest_first);
  return s;
}

static lrl_status delete_file(const char *dir, const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  if (unlink(path) == 0 || errno == ENOENT)
    return LRL_OK;
  return LRL_FAIL(LRL_ERR_IO, "cannot remove %s: %s", path, strerror(errno));
}

static lrl_status whole(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return LRL_FAIL(LRL_ERR_IO, "cannot open the checkpoint %s: %s", path, strerror(errno));
  lrl_status s = lrl_seal_check(fd, path);
  close(fd);
  return s;
}

lrl_status lrl_checkpoint_latest(const char *dir, char *path, size_t size, int64_t *step) {
  struct found *all;
  size_t n;
  path[0] = '\0';
  *step = -1;
  lrl_status s = list(dir, ".h5.tmp", &all, &n);
  for (size_t i = 0; i < n && s == LRL_OK; i++)
    s = delete_file(dir, all[i].name);
  free(all);
  LRL_TRY(s);
  s = list(dir, ".h5", &all, &n);
  for (size_t i = 0; i < n && s == LRL_OK; i++) {
    if ((size_t)snprintf(path, size, "%s/%s", dir, all[i].name) >= size) {
      s = LRL_FAIL(LRL_ERR_ARG, "the path %s/%s is too long", dir, all[i].name);
    } else if (whole(path) == LRL_OK) {
      *step = all[i].step;
      break;
    } else {
      lrl_log(LRL_LOG_WARN, "checkpoint", "%s; it is passed over", lrl_last_error());
      lrl_error_clear();
    }
  }
  if (*step < 0)
    path[0] = '\0';
  free(all);
  return s;
}

lrl_status lrl_checkpoint_rotate(const char *dir, int64_t keep_last, int64_t keep_step) {
  struct found *all;
  size_t n;
  lrl_status s = list(dir, ".h5", &all, &n);
  for (size_t i = (size_t)keep_last; i < n && s == LRL_OK; i++)
    if (all[i].step != keep_step)
      s = delete_file(dir, all[i].name);
  free(all);
  return s;
}

static bool is_folder(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

lrl_status lrl_checkpoint_find(const char *path, char *out, size_t size) {
  char folder[4096], *state = NULL;
  int64_t step;
  bool has;
  json_int_t best = -1;
  struct lrl_checkpoint *c;
  snprintf(out, size, "%s", path);
  if (!is_folder(path))
    return LRL_OK;
  snprintf(folder, sizeof folder, "%s/checkpoints", path);
  if (!is_folder(folder))
    snprintf(folder, sizeof folder, "%s", path);
  LRL_TRY(lrl_checkpoint_latest(folder, out, size, &step));
  if (out[0] == '\0')
    return LRL_FAIL(LRL_ERR_IO, "%s holds no checkpoint", path);
  LRL_TRY(lrl_checkpoint_open(out, NULL, &c));
  lrl_status status = lrl_checkpoint_has(c, "state", &has);
  if (status == LRL_OK && has)
    status = lrl_checkpoint_get_text(c, "state", &state);
  lrl_checkpoint_close(c);
  LRL_TRY(status);
  json_t *o = state == NULL ? NULL : json_loads(state, 0, NULL);
  if (o != NULL)
    json_unpack(o, "{sI}", "best_step", &best);
  json_decref(o);
  free(state);
  struct stat st;
  char named[4200];
  snprintf(named, sizeof named, "%s/step_%08lld.h5", folder, (long long)best);
  if (best >= 0 && stat(named, &st) == 0)
    snprintf(out, size, "%s", named);
  return LRL_OK;
}
