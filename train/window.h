/* Memory that all ranks can read and write, where they share a host: `bytes` bytes of every rank,
 * zeroed, on its own pages. Access is plain loads and stores; order them with atomics. */
#ifndef LRL_WINDOW_H
#define LRL_WINDOW_H
#include "train/comm.h"

struct lrl_window {
  char *base;
  size_t stride; /* bytes from one rank's part to the next */
  int n;
};

/* Collective; LRL_ERR_COMM where the ranks cannot share memory (see lrl_comm_shares_memory). */
lrl_status lrl_window_create(struct lrl_comm *c, size_t bytes, struct lrl_window *out);
/* A zeroed window is fine. The memory is gone when the last rank let go of it, however it ended. */
void lrl_window_destroy(struct lrl_window *w);
static inline void *lrl_window_of(const struct lrl_window *w, int rank) {
  return w->base + (size_t)rank * w->stride;
}
#endif
