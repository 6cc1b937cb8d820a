/* Sums and gathers between the devices of several ranks, each rank driving one. They are queued
 * like ops of a device, on a queue of their own: a collective begins when the ops called before it
 * are done, runs beside those called after it, and they see its result once `use` was called. Every
 * rank calls the same ones in the same order. A context belongs to one group.
 *
 * A failure (a peer that is gone, an error of the network) ends the group: waiting ends, and every
 * later call fails with LRL_ERR_COMM. */
#ifndef LRL_COLLECTIVES_H
#define LRL_COLLECTIVES_H
#include "kernels/status.h"
#ifdef __cplusplus
extern "C" {
#endif

struct lrl_ctx;
#define LRL_DEVICE_ID 16
#define LRL_GROUP_ID 128

struct lrl_device_group {
  char id[LRL_GROUP_ID]; /* from make_id of one rank */
  int rank, size;
  /* One turn of every wait of the host for the device: sleeps a little, and fails when it lasted
   * too long or a peer is gone. `first`: a new wait begins. */
  lrl_status (*pause)(void *user, bool first);
  void *user; /* outlives the group */
};

struct lrl_collectives {
  /* Bytes that name the context's device, the same in every process that uses it. */
  lrl_status (*identify)(struct lrl_ctx *ctx, char device[LRL_DEVICE_ID]);
  lrl_status (*make_id)(char id[LRL_GROUP_ID]);
  /* Collective. Joining again counts; the group ends with the last leave. */
  lrl_status (*join)(struct lrl_ctx *ctx, const struct lrl_device_group *group);
  void (*leave)(struct lrl_ctx *ctx);
  /* Whether the group still works; never waits. */
  lrl_status (*check)(struct lrl_ctx *ctx);

  /* x[n] f32: summed over ranks in place. The order of the sum is the library's. Each call's
   * *ticket is what `use` takes. */
  lrl_status (*all_reduce)(struct lrl_ctx *ctx, float *x, int64_t n, int64_t *ticket);
  /* x[size, n] f32, n a multiple of 16: row r summed over ranks becomes rank r's sum[n], or is
   * added to it; other rows are lost. sum may be this rank's row. `zero`: this rank has zeros,
   * whatever is in x. */
  lrl_status (*reduce_scatter)(struct lrl_ctx *ctx, float *x, int64_t n, bool zero, float *sum,
                               bool add, int64_t *ticket);
  /* data[bytes] is cut into slices of slice_bytes, the last ones shorter or empty: every rank's
   * slice goes to all. room: size * slice_bytes bytes that are lost where slices do not fill the
   * data. */
  lrl_status (*all_gather)(struct lrl_ctx *ctx, void *data, size_t bytes, size_t slice_bytes,
                           void *room, int64_t *ticket);
  /* Ops called from here on come after the collective of that ticket and all before it. */
  lrl_status (*use)(struct lrl_ctx *ctx, int64_t ticket);
};

#ifdef __cplusplus
}
#endif
#endif
