/* Gradients that stay on the devices: the backend's collectives (kernels/collectives.h), queued as
 * soon as a unit is complete and beside the backward; after the update parameters are gathered
 * beside the next forward, whose ops wait for a unit when they first use it (lrl_param_ready). The
 * host waits for nothing here. */
#include "train/shard_impl.h"

#include <stdlib.h>
#include <string.h>

struct lrl_shard_device {
  const struct lrl_collectives *ops;
  bool joined;
  float *room[LRL_MAX_UNITS];      /* by place: the unit's gradient, and slices of equal size */
  int64_t summed[LRL_MAX_UNITS];   /* tickets */
  int posted;                      /* places of this round whose sum is queued */
  int64_t gathered[LRL_MAX_UNITS]; /* tickets */
  bool sent[LRL_MAX_UNITS];        /* gathers of this step that are queued */
};

/* ---- life ---- */

static lrl_status pause_turn(void *user, bool first) {
  struct lrl_comm *c = user;
  if (first)
    c->device_wait = (struct lrl_wait){0};
  return lrl_comm_pause(c, &c->device_wait, "its device, and a collective of the other ranks");
}
static lrl_status poll(void *user) {
  struct lrl_ctx *ctx = user;
  return ctx->backend->collectives->check(ctx);
}

/* No two ranks may use one device. */
static lrl_status compare_devices(struct lrl_shard *s) {
  const int size = lrl_comm_size(s->comm);
  if (s->comm->planned)
    return LRL_OK;
  char mine[LRL_DEVICE_ID];
  lrl_status status = s->device->ops->identify(s->ctx, mine);
  LRL_TRY(lrl_comm_agree(s->comm, status));
  char(*all)[LRL_DEVICE_ID] = calloc((size_t)size, sizeof *all);
  LRL_ASSERT(all != NULL);
  MPI_Request request;
  const int code = MPI_Iallgather(mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE,
                                  s->comm->mpi, &request);
  status = code == MPI_SUCCESS ? lrl_comm_wait(s->comm, &request, "the other ranks' devices")
                               : lrl_comm_failed(code, "MPI_Iallgather");
  for (int i = 0; i < size && status == LRL_OK; i++)
    for (int j = i + 1; j < size && status == LRL_OK; j++)
      if (memcmp(all[i], all[j], sizeof all[i]) == 0)
        status = LRL_FAIL(LRL_ERR_ARG,
                          "ranks %d and %d would use the same GPU, and NCCL needs one for each "
                          "rank: start fewer ranks on a host, or set train.nccl=false",
                          i, j);
  free(all);
  return status;
}

static lrl_status join(struct lrl_shard *s) {
  struct lrl_device_group g = {.rank = lrl_comm_rank(s->comm),
                               .size = lrl_comm_size(s->comm),
                               .pause = pause_turn,
                               .user = s->comm};
  LRL_TRY(compare_devices(s));
  LRL_TRY(lrl_comm_agree(s->comm, g.rank == 0 ? s->device->ops->make_id(g.id) : LRL_OK));
  LRL_TRY(lrl_comm_broadcast(s->comm, g.id, sizeof g.id, 0));
  s->device->joined = true;
  s->comm->poll = poll;
  s->comm->poll_user = s->ctx;
  return lrl_comm_agree(s->comm, s->device->ops->join(s->ctx, &g));
}

static lrl_status alloc(struct lrl_shard *s, struct lrl_arena *arena) {
  struct lrl_shard_device *d = s->device;
  int64_t at[LRL_MAX_UNITS];
  const int64_t n = lrl_shard_layout(s, at);
  float *grads = lrl_arena_alloc(arena, (size_t)n * sizeof *grads);
  if (grads == NULL)
    return LRL_ERR_MEMORY;
  lrl_zero(s->ctx, grads, (size_t)n * sizeof *grads);
  for (int i = 0; i < s->n; i++) {
    const int64_t chunk = lrl_shard_chunk(s, i);
    d->room[i] = lrl_shard_unit(s, i)->grad = grads + at[i];
    s->slice[i] = grads + at[i] + lrl_comm_rank(s->comm) * chunk;
    if (s->stage == 2 &&
        (s->slice[i] = lrl_arena_alloc(arena, (size_t)chunk * sizeof(float))) == NULL)
      return LRL_ERR_MEMORY;
  }
  return LRL_OK;
}

lrl_status lrl_shard_device_init(struct lrl_shard *s, struct lrl_arena *arena) {
  s->device = calloc(1, sizeof *s->device);
  lrl_status status = LRL_OK;
  if (s->device == NULL)
    status = LRL_FAIL(LRL_ERR_MEMORY, "no memory for sharding");
  else
    s->device->ops = s->ctx->backend->collectives;
  if (status == LRL_OK)
    status = alloc(s, arena);
  LRL_TRY(lrl_comm_agree(s->comm, status));
  LRL_ASSERT(s->device != NULL); /* lrl_comm_agree fails where this rank failed */
  return join(s);
}

void lrl_shard_device_destroy(struct lrl_shard *s) {
  if (s->device->joined)
    s->device->ops->leave(s->ctx);
  for (int i = 0; i < s->n; i++)
    lrl_shard_unit(s, i)->arrive = NULL;
  s->comm->poll = NULL;
  free(s->device);
}

/* ---- sums ---- */

static lrl_status post(struct lrl_shard *s, int place) {
  struct lrl_shard_device *d = s->device;
  LRL_TRY(lrl_param_ready(lrl_shard_unit(s, place))); /* where the batch did not use it */
  if (s->stage == 0)
    return d->ops->all_reduce(s->ctx, d->room[place], lrl_shard_unit(s, place)->n,
                              &d->summed[place]);
  return d->ops->reduce_scatter(s->ctx, d->room[place], lrl_shard_chunk(s, place),
                                s->stage == 2 && !s->used[place], s->slice[place],
                                s->stage == 2 && s->rounds > 0, &d->summed[place]);
}

lrl_status lrl_shard_device_advance(struct lrl_shard *s) {
  for (; s->device->posted < s->ready; s->device->posted++)
    LRL_TRY(post(s, s->device->posted));
  return LRL_OK;
}

lrl_status lrl_shard_device_wait(struct lrl_shard *s, int places) {
  return places > 0 ? s->device->ops->use(s->ctx, s->device->summed[places - 1]) : LRL_OK;
}

void lrl_shard_device_close(struct lrl_shard *s) { s->device->posted = 0; }

/* ---- gathers ---- */

static lrl_status wait_for_gather(struct lrl_shard *s, int place) {
  return s->device->ops->use(s->ctx, s->device->gathered[place]);
}

/* A unit's values are here, and the room of its gradient is free again. */
static lrl_status arrive(void *user, struct lrl_param_unit *u) {
  struct lrl_shard *s = user;
  LRL_TRY(wait_for_gather(s, s->place_of[u - s->params->units]));
  if (s->stage < 2)
    lrl_zero(s->ctx, u->grad, (size_t)u->n * sizeof *u->grad);
  return LRL_OK;
}

lrl_status lrl_shard_device_send(struct lrl_shard *s, int place) {
  struct lrl_shard_device *d = s->device;
  struct lrl_param_unit *u = lrl_shard_unit(s, place);
  const size_t width = (size_t)lrl_dtype_bytes(u->dtype);
  LRL_TRY(d->ops->all_gather(s->ctx, u->data, (size_t)u->n * width,
                             (size_t)lrl_shard_chunk(s, place) * width, d->room[place],
                             &d->gathered[place]));
  d->sent[place] = true;
  u->arrive = arrive;
  u->arrive_user = s;
  return LRL_OK;
}

lrl_status lrl_shard_device_gather(struct lrl_shard *s) {
  struct lrl_shard_device *d = s->device;
  for (int i = s->n - 1; i >= 0; i--)
    if (!d->sent[i])
      LRL_TRY(lrl_shard_device_send(s, i));
  memset(d->sent, 0, sizeof d->sent);
  return LRL_OK;
}
