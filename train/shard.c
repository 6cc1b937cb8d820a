#include "model/param_build.h"
#include "train/shard_impl.h"

#include <stdio.h>
#include <string.h>

/* ---- slices ---- */

void lrl_shard_range(const struct lrl_shard *s, int unit, int rank, int64_t *lo, int64_t *hi) {
  const int64_t n = s->params->units[unit].n, size = lrl_comm_size(s->comm);
  const int64_t chunk = ((n + size - 1) / size + 15) / 16 * 16; /* whole cache lines */
  *lo = rank * chunk < n ? rank * chunk : n;
  *hi = *lo + chunk < n ? *lo + chunk : n;
}

int64_t lrl_shard_chunk(const struct lrl_shard *s, int place) {
  int64_t lo, hi;
  lrl_shard_range(s, s->unit_at[place], 0, &lo, &hi);
  return hi - lo;
}

static int64_t room(const struct lrl_shard *s, int place) {
  return s->device != NULL ? lrl_shard_chunk(s, place) * lrl_comm_size(s->comm)
                           : lrl_shard_unit(s, place)->n;
}

int64_t lrl_shard_layout(const struct lrl_shard *s, int64_t at[LRL_MAX_UNITS]) {
  int64_t end = 0;
  for (int i = 0; i < s->n; i++) {
    const int64_t n = room(s, i);
    const int64_t next = i + 1 < s->n ? room(s, i + 1) : 0;
    at[i] = s->stage == 2 ? 0 : end;
    end = s->stage < 2 ? end + n : n + next > end ? n + next : end;
  }
  for (int i = 1; s->stage == 2 && i < s->n; i += 2)
    at[i] = end - room(s, i);
  return end;
}

/* ---- rounds ---- */

static void name_wait(const struct lrl_shard *s, char *out, size_t size) {
  int rank = -1,
      place = s->local != NULL ? lrl_shard_local_consumed(s, &rank) : lrl_shard_mpi_consumed(s);
  const char *unit = place < s->n ? lrl_shard_unit(s, place)->name : "the last unit";
  if (rank >= 0)
    snprintf(out, size, "the gradient of %s from rank %d", unit, rank);
  else
    snprintf(out, size, "the gradient of %s", unit);
}

static lrl_status advance(struct lrl_shard *s) {
  if (s->device != NULL)
    return lrl_shard_device_advance(s);
  return s->local != NULL ? lrl_shard_local_advance(s) : lrl_shard_mpi_advance(s);
}

/* Waits until the gradients of the first `places` places are not needed any more; `all`: and all
 * sums have arrived. On devices it is the ops called next that wait. */
static lrl_status wait_for(struct lrl_shard *s, int places, bool all) {
  struct lrl_wait w = {0};
  char what[LRL_NAME_MAX + 64] = "gradients";
  for (;;) {
    LRL_TRY(advance(s));
    if (s->device != NULL)
      return lrl_shard_device_wait(s, places);
    int rank, consumed =
                  s->local != NULL ? lrl_shard_local_consumed(s, &rank) : lrl_shard_mpi_consumed(s);
    if (consumed >= places && (!all || s->local != NULL || lrl_shard_mpi_idle(s)))
      return LRL_OK;
    if (w.turns % 256 == 0)
      name_wait(s, what, sizeof what);
    LRL_TRY(lrl_comm_pause(s->comm, &w, what));
  }
}

static void open_round(struct lrl_shard *s) {
  s->open = true;
  s->ready = 0;
  memset(s->complete, 0, sizeof s->complete);
  memset(s->used, 0, sizeof s->used);
}

/* Stage 2: whether any rank still has a micro-batch. All ranks ask once for every round. */
static lrl_status any_work(struct lrl_shard *s, bool mine, bool *any) {
  double n = mine;
  LRL_TRY(lrl_comm_sum_f64(s->comm, &n, 1));
  *any = n > 0;
  return LRL_OK;
}

static lrl_status note_complete(struct lrl_shard *s) {
  while (s->ready < s->n && s->complete[s->ready])
    s->ready++;
  if (s->device == NULL)
    LRL_TRY(lrl_ctx_sync(s->ctx)); /* the host sums */
  return advance(s);
}

/* Places that the pass under way does not use need not wait for its end. */
static void complete_unused(struct lrl_shard *s) {
  for (int i = s->ready; i < s->n; i++)
    if (lrl_shard_unit(s, i)->uses == 0)
      s->complete[i] = true;
}

static lrl_status close_round(struct lrl_shard *s) {
  memset(s->complete, 1, sizeof s->complete);
  LRL_TRY(note_complete(s));
  LRL_TRY(wait_for(s, s->n, true));
  if (s->device != NULL)
    lrl_shard_device_close(s);
  else if (s->local != NULL)
    lrl_shard_local_close(s);
  else
    lrl_shard_mpi_close(s);
  s->open = false;
  s->rounds++;
  return LRL_OK;
}

/* ---- hooks ---- */

/* In stage 2 a gradient takes the place of the one before the last. No gather uses it any more:
 * they are made in descending order of places, this unit's own is done, for its values were used,
 * and with it those before; the sum of the place before the last waited for its gather. */
static lrl_status make_room(struct lrl_shard *s, int place) {
  if (place >= 2) {
    if (s->ready < place - 1) {
      complete_unused(s);
      LRL_TRY(note_complete(s));
    }
    if (s->ready < place - 1)
      return LRL_FAIL(LRL_ERR_ARG,
                      "ZeRO stage 2 goes back through each unit once, in order, but %s came before "
                      "%s was complete; use stage 1",
                      lrl_shard_unit(s, place)->name, lrl_shard_unit(s, s->ready)->name);
    LRL_TRY(wait_for(s, place - 1, false));
  }
  struct lrl_param_unit *u = lrl_shard_unit(s, place);
  lrl_zero(s->ctx, u->grad, (size_t)u->n * sizeof *u->grad);
  return LRL_OK;
}

static lrl_status touch(void *user, struct lrl_param_unit *unit) {
  struct lrl_shard *s = user;
  const int place = s->place_of[unit - s->params->units];
  if (s->stage == 2 && !s->open) {
    bool any;
    LRL_TRY(any_work(s, true, &any));
    open_round(s);
  }
  s->used[place] = true;
  return s->stage == 2 ? make_room(s, place) : LRL_OK;
}

static lrl_status done(void *user, struct lrl_param_unit *unit) {
  struct lrl_shard *s = user;
  if (!s->open) /* stage 2, and no gradient reached a unit yet */
    return LRL_OK;
  s->complete[s->place_of[unit - s->params->units]] = true;
  complete_unused(s);
  return note_complete(s);
}

/* ---- life ---- */

static lrl_status alloc_alone(struct lrl_shard *s, struct lrl_arena *arena) {
  LRL_TRY(lrl_param_set_alloc_grads(s->params, arena));
  for (int i = 0; i < s->n; i++)
    s->slice[i] = lrl_shard_unit(s, i)->grad;
  return LRL_OK;
}

lrl_status lrl_shard_init(struct lrl_shard *s, int stage, bool host_sums, struct lrl_ctx *ctx,
                          struct lrl_param_set *params, struct lrl_comm *comm,
                          struct lrl_arena *arena) {
  *s = (struct lrl_shard){
      .ctx = ctx, .params = params, .comm = comm, .stage = lrl_comm_size(comm) > 1 ? stage : 0};
  if (stage < 0 || stage > 2)
    return LRL_FAIL(LRL_ERR_ARG, "ZeRO stage %d is not 0, 1 or 2", stage);
  s->hooks = (struct lrl_unit_hooks){.touch = touch, .done = done, .user = s};
  for (int i = params->n_units - 1; i >= 0; i--)
    if (params->units[i].trainable) {
      s->place_of[i] = s->n;
      s->unit_at[s->n++] = i;
    }
  if (lrl_comm_size(comm) == 1)
    return alloc_alone(s, arena);
  if (!host_sums && ctx->backend->collectives != NULL)
    return lrl_shard_device_init(s, arena);
  return lrl_comm_shares_memory(comm) ? lrl_shard_local_init(s) : lrl_shard_mpi_init(s, arena);
}

void lrl_shard_destroy(struct lrl_shard *s) {
  if (s->local != NULL)
    lrl_shard_local_destroy(s);
  if (s->mpi != NULL)
    lrl_shard_mpi_destroy(s);
  if (s->device != NULL)
    lrl_shard_device_destroy(s);
  *s = (struct lrl_shard){0};
}

/* ---- a step ---- */

void lrl_shard_attach(struct lrl_shard *s, struct lrl_tape *tape, bool last_micro_batch) {
  if (lrl_comm_size(s->comm) == 1)
    return;
  for (int i = 0; i < s->n; i++) {
    lrl_shard_unit(s, i)->uses = 0;
    lrl_shard_unit(s, i)->touched = false;
  }
  if (s->open)
    lrl_tape_ok(tape, close_round(s));
  if (s->stage < 2 && !last_micro_batch)
    return;
  if (s->stage < 2)
    open_round(s);
  tape->hooks = &s->hooks;
}

lrl_status lrl_shard_finish(struct lrl_shard *s) {
  if (lrl_comm_size(s->comm) == 1)
    return LRL_OK;
  if (s->open)
    LRL_TRY(close_round(s));
  bool more = s->rounds == 0;
  if (s->stage == 2)
    LRL_TRY(any_work(s, false, &more));
  while (more) { /* without work of our own */
    open_round(s);
    LRL_TRY(close_round(s));
    more = false;
    if (s->stage == 2)
      LRL_TRY(any_work(s, false, &more));
  }
  if (s->rounds == 0)
    for (int i = 0; i < s->n; i++) {
      int64_t lo, hi;
      lrl_shard_own(s, i, &lo, &hi);
      lrl_zero(s->ctx, s->slice[i], (size_t)(hi - lo) * sizeof(float));
    }
  s->rounds = 0;
  if (s->stage > 0 || s->mpi == NULL)
    return LRL_OK;
  for (int i = 0; i < s->n; i++)
    LRL_TRY(lrl_shard_mpi_gather(s, i, lrl_shard_unit(s, i)->grad, sizeof(float)));
  return LRL_OK;
}

lrl_status lrl_shard_updated(struct lrl_shard *s, int place) {
  return s->stage > 0 && s->device != NULL ? lrl_shard_device_send(s, place) : LRL_OK;
}

lrl_status lrl_shard_gather(struct lrl_shard *s) {
  if (s->stage == 0)
    return LRL_OK;
  if (s->device != NULL)
    return lrl_shard_device_gather(s);
  if (s->local != NULL)
    return lrl_shard_local_gather(s);
  LRL_TRY(lrl_ctx_sync(s->ctx)); /* the host copies */
  for (int i = 0; i < s->n; i++) {
    const struct lrl_param_unit *u = lrl_shard_unit(s, i);
    LRL_TRY(lrl_shard_mpi_gather(s, i, u->data, lrl_dtype_bytes(u->dtype)));
  }
  return LRL_OK;
}

lrl_status lrl_shard_clear(struct lrl_shard *s) {
  for (int i = 0; i < s->n && s->stage < 2; i++) {
    struct lrl_param_unit *u = lrl_shard_unit(s, i);
    if (u->arrive != NULL) /* its gather may use the gradient's room */
      continue;
    lrl_zero(s->ctx, u->grad, (size_t)u->n * sizeof *u->grad);
  }
  return LRL_OK;
}
