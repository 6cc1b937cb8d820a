/* Backends in libraries of their own: a program linked with CUDA's would take half a second longer
 * to start, and not start at all where some of them are missing. */
#include "kernels/plugin.h"

#include "kernels/backend.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *lrl_library_open(const char *folder, const char *name, char *path, size_t size) {
  char self[512] = "";
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  char *slash = n > 0 ? strrchr(self, '/') : NULL;
  if (slash != NULL)
    *slash = '\0';
  const char *const formats[] = {"%s/liblaurel_%s.so", "%s/../liblaurel_%s.so"};
  for (int i = 0; i < (folder != NULL ? 1 : 2); i++) {
    snprintf(path, size, formats[i], folder != NULL ? folder : self, name);
    if (access(path, R_OK) == 0)
      return dlopen(path, RTLD_NOW | RTLD_LOCAL);
  }
  path[0] = '\0';
  return NULL;
}

lrl_status lrl_backend_load(const char *name, const struct lrl_backend **out) {
  char path[640];
  if (strcmp(name, "cuda") == 0 && dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) == NULL)
    return LRL_FAIL(LRL_ERR_LIB, "device 'cuda': there is no NVIDIA driver on this machine");
  void *library = lrl_library_open(getenv("LAUREL_BACKENDS"), name, path, sizeof path);
  if (library == NULL)
    return path[0] != '\0' ? LRL_FAIL(LRL_ERR_LIB, "device '%s': %s", name, dlerror())
                           : LRL_FAIL(LRL_ERR_LIB, "device '%s': this build has no liblaurel_%s.so",
                                      name, name);
  lrl_backend_open_fn *open;
  void *symbol = dlsym(library, "lrl_backend_open");
  memcpy(&open, &symbol, sizeof open);
  *out = open != NULL ? open(LRL_BACKEND_ABI) : NULL;
  return *out != NULL
             ? LRL_OK
             : LRL_FAIL(LRL_ERR_LIB, "device '%s': %s is of another version of laurel", name, path);
}
