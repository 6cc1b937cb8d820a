#include "train/hf_folder.h"

#include "model/mapped_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SMALL = 64 << 20 }; /* bytes */

static lrl_status cannot(const char *path) {
  return LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno));
}

static void remove_folder(const char *folder) {
  DIR *d = opendir(folder);
  char path[4096 + 300];
  for (struct dirent *f; d != NULL && (f = readdir(d)) != NULL;) {
    snprintf(path, sizeof path, "%s/%s", folder, f->d_name);
    unlink(path);
  }
  if (d != NULL)
    closedir(d);
  rmdir(folder);
}

lrl_status lrl_hf_folder_begin(const char *folder, char *temporary, size_t size) {
  size_t n = strlen(folder);
  while (n > 1 && folder[n - 1] == '/')
    n--;
  if (snprintf(temporary, size, "%.*s.tmp", (int)n, folder) >= (int)size)
    return LRL_FAIL(LRL_ERR_IO, "the path %.200s... is too long", folder);
  if (rmdir(folder) != 0 && errno != ENOENT)
    return LRL_FAIL(LRL_ERR_IO, "cannot write into %s: %s", folder, strerror(errno));
  remove_folder(temporary); /* of a killed run */
  return mkdir(temporary, 0777) == 0 ? LRL_OK : cannot(temporary);
}

lrl_status lrl_hf_folder_end(const char *temporary, const char *folder, lrl_status so_far) {
  if (so_far == LRL_OK && rename(temporary, folder) != 0)
    so_far = cannot(folder);
  if (so_far != LRL_OK)
    remove_folder(temporary);
  return so_far;
}

lrl_status lrl_hf_put_file(const char *folder, const char *name, const void *bytes, size_t n) {
  char path[4096 + 300];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "wb");
  bool ok = f != NULL && fwrite(bytes, 1, n, f) == n && fflush(f) == 0 && fsync(fileno(f)) == 0;
  if (f != NULL && fclose(f) != 0)
    ok = false;
  return ok ? LRL_OK : cannot(path);
}

/* Weights, and what is written anew. */
static bool is_ours(const char *name) {
  static const char *const ends[] = {".safetensors", ".bin",     ".pt",        ".pth",
                                     ".h5",          ".msgpack", ".index.json"};
  const size_t n = strlen(name);
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    const size_t k = strlen(ends[i]);
    if (n >= k && strcmp(name + n - k, ends[i]) == 0)
      return true;
  }
  return name[0] == '.' || strcmp(name, "config.json") == 0 || strcmp(name, "tokenizer.model") == 0;
}

lrl_status lrl_hf_copy_small_files(const char *from, const char *to) {
  DIR *d = opendir(from);
  lrl_status s = LRL_OK;
  if (d == NULL)
    return LRL_FAIL(LRL_ERR_IO, "cannot read %s: %s", from, strerror(errno));
  for (struct dirent *e; s == LRL_OK && (e = readdir(d)) != NULL;) {
    char path[4096 + 300];
    struct stat st;
    struct lrl_mapped_file f;
    snprintf(path, sizeof path, "%s/%s", from, e->d_name);
    if (is_ours(e->d_name) || stat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > SMALL)
      continue;
    s = lrl_mapped_file_open(path, &f);
    if (s == LRL_OK)
      s = lrl_hf_put_file(to, e->d_name, f.n > 0 ? f.data : (const void *)"", f.n);
    lrl_mapped_file_close(&f);
  }
  closedir(d);
  return s;
}
