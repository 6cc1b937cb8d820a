/* Tests on a device: which one, and the simulator behind device=sim, for tests that choose in which
 * order its threads run and ask what it found. Its library is already loaded; tests/simt/simt.h
 * says what the functions do. */
#ifndef LRL_TESTS_SIM_DEVICE_H
#define LRL_TESTS_SIM_DEVICE_H
#include "kernels/backend.h"
#include "tests/simt/simt.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

/* The device that the first argument of the test names, else *device. NULL: this machine has none,
 * and the test has said so. */
static inline const struct lrl_backend *device_of_test(int argc, char **argv, const char **device) {
  struct lrl_ctx ctx;
  *device = argc > 1 ? argv[1] : *device;
  if (lrl_ctx_init(&ctx, *device, 1) != LRL_OK) {
    printf("SKIP: %s\n", lrl_last_error());
    return NULL;
  }
  const struct lrl_backend *backend = ctx.backend;
  lrl_ctx_free(&ctx);
  return backend;
}

struct sim_device {
  void (*configure)(const struct simt_settings *);
  int (*reports)(const char **);
  void (*reset)(void);
  void (*counters)(const char *, struct simt_counters *);
  int (*traced)(void);
  uint64_t (*migrations)(const char **);
};

static inline void sim_symbol(void *library, const char *name, void *function) {
  void *symbol = dlsym(library, name);
  memcpy(function, &symbol, sizeof symbol);
}
static inline int sim_library(struct dl_phdr_info *info, size_t bytes, void *found) {
  (void)bytes;
  if (strstr(info->dlpi_name, "/liblaurel_sim.so") != NULL)
    *(const char **)found = info->dlpi_name;
  return 0;
}
/* False: the library is not loaded, so the device is not `sim`. */
static inline bool sim_device_open(struct sim_device *d) {
  const char *path = NULL;
  dl_iterate_phdr(sim_library, &path);
  void *library = path != NULL ? dlopen(path, RTLD_NOW | RTLD_NOLOAD) : NULL;
  if (library == NULL)
    return false;
  sim_symbol(library, "simt_configure", &d->configure);
  sim_symbol(library, "simt_reports", &d->reports);
  sim_symbol(library, "simt_reset", &d->reset);
  sim_symbol(library, "simt_get_counters", &d->counters);
  sim_symbol(library, "simt_is_traced", &d->traced);
  sim_symbol(library, "simt_migrations", &d->migrations);
  return true;
}
/* Run number i: threads ascending, descending, at random; operations of streams lazy or shuffled.
 */
static inline void sim_order(const struct sim_device *d, int i) {
  struct simt_settings s = {.order = (enum simt_order)(i % 3),
                            .streams = i % 2 == 0 ? SIMT_LAZY : SIMT_SHUFFLED,
                            .seed = (unsigned)i + 1,
                            .strict = 1};
  d->configure(&s);
}
#endif
