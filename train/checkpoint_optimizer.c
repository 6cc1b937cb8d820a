/* Optimizer state as logical tensors: rank 0 collects the shards, or hands them out. */
#include "train/checkpoint_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define TAG 71

enum { N_KINDS = 3 };
static const char *const kinds[N_KINDS] = {"m", "v", "master"};

/* What is stored of a unit: masters only where they differ from the weights. */
static bool stored(const struct lrl_optimizer *o, int kind, int unit) {
  const struct lrl_param_unit *u = &o->params->units[unit];
  return u->trainable && (kind < 2 || u->dtype != LRL_F32);
}

/* The part [*lo, *hi) of p, in elements of its unit, whose state rank r holds. */
static bool held(const struct lrl_optimizer *o, int unit, const struct lrl_param *p, int r,
                 int64_t *lo, int64_t *hi) {
  lrl_optimizer_range(o, unit, r, lo, hi);
  *lo = *lo > p->offset ? *lo : p->offset;
  *hi = *hi < p->offset + p->n ? *hi : p->offset + p->n;
  return *lo < *hi;
}

/* This rank's state of the elements from `lo` on, which it holds. */
static float *state_at(const struct lrl_optimizer *o, int kind, int unit, int64_t lo) {
  int64_t first, end;
  lrl_optimizer_range(o, unit, lrl_comm_rank(o->comm), &first, &end);
  return (kind == 0 ? o->m : kind == 1 ? o->v : o->master)[unit] + (lo - first);
}

static lrl_status send_floats(struct lrl_comm *c, const float *x, int64_t n, int to) {
  MPI_Request request;
  LRL_MPI(MPI_Isend(x, (int)n, MPI_FLOAT, to, TAG, c->mpi, &request));
  return lrl_comm_wait(c, &request, "a shard of the optimizer's state to leave");
}

static lrl_status receive_floats(struct lrl_comm *c, float *x, int64_t n, int from) {
  MPI_Request request;
  LRL_MPI(MPI_Irecv(x, (int)n, MPI_FLOAT, from, TAG, c->mpi, &request));
  return lrl_comm_wait(c, &request, "a shard of the optimizer's state");
}

/* A tensor of the state and where it is going. *file is the status of the file on rank 0: after a
 * failure there the pieces still travel, so that no rank is left waiting. */
struct transfer {
  struct lrl_checkpoint *k;
  struct lrl_optimizer *o;
  int kind, unit;
  const struct lrl_param *p;
  struct lrl_dataset d;
  lrl_status file;
};

static lrl_status put_shard(struct transfer *t, int owner, int64_t lo, int64_t hi) {
  const int rank = lrl_comm_rank(t->k->comm);
  const size_t bytes = (size_t)(hi - lo) * sizeof(float);
  if (owner == 0) {
    if (rank == 0 && t->file == LRL_OK)
      t->file =
          lrl_tensor_write(t->k, t->o->ctx, &t->d, state_at(t->o, t->kind, t->unit, lo), bytes);
    return LRL_OK;
  }
  float *staging = (float *)(void *)t->k->staging;
  for (int64_t at = lo; at < hi; at += LRL_PIECE_FLOATS) {
    const int64_t n = hi - at < LRL_PIECE_FLOATS ? hi - at : LRL_PIECE_FLOATS;
    if (rank == owner) {
      LRL_TRY(lrl_read(t->o->ctx, staging, state_at(t->o, t->kind, t->unit, at),
                       (size_t)n * sizeof *staging));
      LRL_TRY(send_floats(t->k->comm, staging, n, 0));
    }
    if (rank != 0)
      continue;
    LRL_TRY(receive_floats(t->k->comm, staging, n, owner));
    if (t->file == LRL_OK)
      t->file = lrl_dataset_write(t->k, &t->d, staging, (size_t)n * sizeof *staging);
  }
  return LRL_OK;
}

static lrl_status get_shard(struct transfer *t, int owner, int64_t lo, int64_t hi) {
  const int rank = lrl_comm_rank(t->k->comm);
  const size_t bytes = (size_t)(hi - lo) * sizeof(float);
  if (owner == 0) {
    if (rank == 0 && t->file == LRL_OK)
      t->file = lrl_dataset_read(t->k, &t->d, state_at(t->o, t->kind, t->unit, lo), bytes);
    return LRL_OK;
  }
  float *staging = (float *)(void *)t->k->staging;
  for (int64_t at = lo; at < hi; at += LRL_PIECE_FLOATS) {
    const int64_t n = hi - at < LRL_PIECE_FLOATS ? hi - at : LRL_PIECE_FLOATS;
    if (rank == owner)
      LRL_TRY(receive_floats(t->k->comm, state_at(t->o, t->kind, t->unit, at), n, 0));
    if (rank != 0)
      continue;
    if (t->file == LRL_OK)
      t->file = lrl_dataset_read(t->k, &t->d, staging, (size_t)n * sizeof *staging);
    LRL_TRY(send_floats(t->k->comm, staging, n, owner));
  }
  return LRL_OK;
}

/* Moves one tensor between the file and the ranks that hold it. */
static lrl_status transfer(struct transfer *t, const char *group, bool writing) {
  struct lrl_comm *comm = t->k->comm;
  const bool root = lrl_checkpoint_root(t->k), sharded = t->o->options.zero_stage > 0;
  char name[2 * LRL_NAME_MAX];
  int64_t lo, hi;
  snprintf(name, sizeof name, "%s/%s/%s", group, kinds[t->kind], t->p->name);
  if (root && writing) {
    t->d = lrl_tensor_shape(t->p, LRL_F32);
    t->file = lrl_dataset_create(t->k, name, &t->d);
  } else if (root) {
    t->file = lrl_tensor_open(t->k, name, t->p, &t->d);
    if (t->file == LRL_OK && t->d.type != LRL_DATA_F32)
      t->file = LRL_FAIL(LRL_ERR_FORMAT, "%s: %s is not stored as f32", t->k->path, name);
  }
  for (int r = 0; r < (sharded ? lrl_comm_size(comm) : 1); r++)
    if (held(t->o, t->unit, t->p, r, &lo, &hi))
      LRL_TRY(writing ? put_shard(t, r, lo, hi) : get_shard(t, r, lo, hi));
  if (root)
    t->file = lrl_dataset_end(t->k, &t->d, t->file);
  LRL_TRY(lrl_comm_agree(comm, t->file));
  if (sharded || writing)
    return LRL_OK;
  return lrl_comm_broadcast(comm, state_at(t->o, t->kind, t->unit, t->p->offset),
                            (size_t)t->p->n * sizeof(float), 0);
}

static lrl_status transfer_all(struct lrl_checkpoint *k, const char *group, struct lrl_optimizer *o,
                               bool writing) {
  for (int kind = 0; kind < N_KINDS; kind++)
    for (int u = 0; u < o->params->n_units; u++)
      for (int i = 0; stored(o, kind, u) && i < o->params->units[u].n_params; i++) {
        struct transfer t = {
            .k = k, .o = o, .kind = kind, .unit = u, .p = &o->params->units[u].params[i]};
        LRL_TRY(transfer(&t, group, writing));
      }
  return LRL_OK;
}

static lrl_status begin_optimizer(struct lrl_checkpoint *k, const char *group,
                                  const struct lrl_optimizer *o) {
  uint64_t bytes = 0;
  int64_t n = 0;
  for (int kind = 0; kind < N_KINDS; kind++)
    for (int u = 0; u < o->params->n_units; u++)
      if (stored(o, kind, u)) {
        bytes += (uint64_t)o->params->units[u].n * sizeof(float);
        n += o->params->units[u].n_params;
      }
  LRL_TRY(lrl_file_reserve(k, bytes, n));
  LRL_TRY(lrl_file_group(k, group));
  char name[2 * LRL_NAME_MAX];
  for (int kind = 0; kind < N_KINDS; kind++) {
    snprintf(name, sizeof name, "%s/%s", group, kinds[kind]);
    LRL_TRY(lrl_file_group(k, name));
  }
  return LRL_OK;
}

lrl_status lrl_checkpoint_put_optimizer(struct lrl_checkpoint *k, const char *group,
                                        struct lrl_optimizer *o) {
  char name[2 * LRL_NAME_MAX], step[32];
  lrl_status s = lrl_checkpoint_root(k) ? begin_optimizer(k, group, o) : LRL_OK;
  LRL_TRY(lrl_comm_agree(k->comm, s));
  LRL_TRY(transfer_all(k, group, o, true));
  snprintf(name, sizeof name, "%s/step", group);
  snprintf(step, sizeof step, "%lld", (long long)o->step);
  return lrl_checkpoint_put_text(k, name, step);
}

lrl_status lrl_checkpoint_get_optimizer(struct lrl_checkpoint *k, const char *group,
                                        struct lrl_optimizer *o) {
  char name[2 * LRL_NAME_MAX], *step, *end;
  lrl_status s = LRL_OK;
  for (int kind = 0; kind < N_KINDS && s == LRL_OK && lrl_checkpoint_root(k); kind++) {
    snprintf(name, sizeof name, "%s/%s", group, kinds[kind]);
    s = lrl_tensor_check_names(k, name, o->params, LRL_TENSOR_TRAINED);
  }
  LRL_TRY(lrl_comm_agree(k->comm, s));
  LRL_TRY(transfer_all(k, group, o, false));
  snprintf(name, sizeof name, "%s/step", group);
  LRL_TRY(lrl_checkpoint_get_text(k, name, &step));
  o->step = strtoll(step, &end, 10);
  if (end == step || *end != '\0' || o->step < 0)
    s = LRL_FAIL(LRL_ERR_FORMAT, "%s: %s is no number of updates", k->path, name);
  free(step);
  return s;
}
