/* Gradients in memory that all ranks map. A rank publishes how many places it has completed; when
 * all have completed a place, each adds up its own slice straight from the others' gradients. */
#include "train/shard_impl.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* At the start of every rank's window. Counters only grow; they count places over all rounds. */
struct board {
  _Alignas(64) _Atomic int64_t ready;      /* complete on this rank */
  _Alignas(64) _Atomic int64_t summed;     /* whose slice of this rank is summed */
  _Alignas(64) _Atomic int64_t updated;    /* gathers whose slices stand in the window */
  _Alignas(64) _Atomic int64_t copied;     /* gathers this rank has finished reading */
  _Alignas(64) bool unused[LRL_MAX_UNITS]; /* stage 2: no contribution to this round */
};

struct lrl_shard_local {
  struct lrl_window window;
  int64_t base; /* places of closed rounds */
  int summed;   /* places of this round whose slice of ours is summed */
  int64_t gathers;
  int64_t grad_at[LRL_MAX_UNITS];  /* floats behind the board: a rank's gradient of a place */
  int64_t slice_at[LRL_MAX_UNITS]; /* stage 2: a rank's summed slice */
  const float **from;              /* [ranks + 1] operands and results of a sum */
  float **to;                      /* [ranks] */
};

static struct board *board(const struct lrl_shard *s, int rank) {
  return lrl_window_of(&s->local->window, rank);
}
static float *floats(const struct lrl_shard *s, int rank, int64_t at) {
  return (float *)(void *)(board(s, rank) + 1) + at;
}

/* Where a rank keeps the sum of its slice of a place. */
static float *slice_of(const struct lrl_shard *s, int rank, int place) {
  int64_t lo, hi;
  if (s->stage == 2)
    return floats(s, rank, s->local->slice_at[place]);
  lrl_shard_range(s, s->unit_at[place], rank, &lo, &hi);
  return floats(s, rank, s->local->grad_at[place] + lo);
}

/* ---- life ---- */

lrl_status lrl_shard_local_init(struct lrl_shard *s) {
  struct lrl_shard_local *l = s->local = calloc(1, sizeof *l);
  if (l != NULL) {
    l->from = calloc((size_t)lrl_comm_size(s->comm) + 1, sizeof *l->from);
    l->to = calloc((size_t)lrl_comm_size(s->comm), sizeof *l->to);
  }
  lrl_status status = LRL_OK;
  if (l == NULL || l->from == NULL || l->to == NULL)
    status = LRL_FAIL(LRL_ERR_MEMORY, "no memory for sharding");
  LRL_TRY(lrl_comm_agree(s->comm, status));
  LRL_ASSERT(l != NULL); /* lrl_comm_agree fails where this rank failed */
  int64_t n = lrl_shard_layout(s, l->grad_at), lo, hi;
  const int rank = lrl_comm_rank(s->comm);
  for (int i = 0; s->stage == 2 && i < s->n; i++) {
    lrl_shard_range(s, s->unit_at[i], 0, &lo, &hi); /* rank 0 has the largest */
    l->slice_at[i] = n;
    n += hi - lo;
  }
  LRL_TRY(lrl_window_create(s->comm, sizeof(struct board) + (size_t)n * sizeof(float), &l->window));
  for (int i = 0; i < s->n; i++) {
    lrl_shard_unit(s, i)->grad = floats(s, rank, l->grad_at[i]);
    s->slice[i] = slice_of(s, rank, i);
  }
  return LRL_OK;
}

void lrl_shard_local_destroy(struct lrl_shard *s) {
  lrl_window_destroy(&s->local->window);
  free(s->local->from);
  free(s->local->to);
  free(s->local);
}

/* ---- sums ---- */

enum { BLOCK = 4096 }; /* floats; with their copy they stay in the first cache */

/* to[0..n_to)[i] = from[0][i] + from[1][i] + ..., in this order. */
static void add_block(const float *const *from, int n_from, float *const *to, int n_to, int64_t at,
                      int64_t n) {
  float sum[BLOCK];
  memcpy(sum, from[0] + at, (size_t)n * sizeof *sum);
  for (int r = 1; r < n_from; r++)
    for (int64_t i = 0; i < n; i++)
      sum[i] += from[r][at + i];
  for (int r = 0; r < n_to; r++)
    memcpy(to[r] + at, sum, (size_t)n * sizeof *sum);
}

/* The same for two ranks without the detour. Nothing is read behind where it is written. */
static void add_two(const float *a, const float *b, float *x, float *y, int64_t at, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = at; i < at + n; i++)
    x[i] = y[i] = a[i] + b[i];
}

/* Sums this rank's slice of a place over the ranks. */
static void sum_slice(struct lrl_shard *s, int place) {
  const float **from = s->local->from;
  float **to = s->local->to;
  const int size = lrl_comm_size(s->comm);
  int n_from = 0, n_to = 0;
  int64_t lo, hi;
  lrl_shard_own(s, place, &lo, &hi);
  if (s->stage == 2 && s->rounds > 0)
    from[n_from++] = s->slice[place];
  for (int r = 0; r < size; r++) {
    float *grad = floats(s, r, s->local->grad_at[place] + lo);
    if (s->stage < 2 || !board(s, r)->unused[place])
      from[n_from++] = grad;
    if (s->stage == 0)
      to[n_to++] = grad;
  }
  if (s->stage > 0)
    to[n_to++] = s->slice[place];
  if (n_from == 0)
    memset(s->slice[place], 0, (size_t)(hi - lo) * sizeof(float));
  if (n_from == 0 || (n_from == 1 && from[0] == to[0]))
    return;
  const int64_t n = hi - lo, blocks = (n + BLOCK - 1) / BLOCK;
  const int threads = blocks >= 16 ? s->ctx->n_threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t b = 0; b < blocks; b++) {
    const int64_t at = b * BLOCK, m = n - at < BLOCK ? n - at : BLOCK;
    if (n_from == 2)
      add_two(from[0], from[1], to[0], to[n_to - 1], at, m);
    else
      add_block(from, n_from, to, n_to, at, m);
  }
}

static int64_t least(const struct lrl_shard *s, size_t counter, int *rank) {
  int64_t low = INT64_MAX;
  for (int r = 0; r < lrl_comm_size(s->comm); r++) {
    _Atomic int64_t *c = (_Atomic int64_t *)(void *)((char *)board(s, r) + counter);
    const int64_t n = atomic_load_explicit(c, memory_order_acquire);
    if (n < low) {
      low = n;
      *rank = r;
    }
  }
  return low;
}

lrl_status lrl_shard_local_advance(struct lrl_shard *s) {
  struct lrl_shard_local *l = s->local;
  struct board *mine = board(s, lrl_comm_rank(s->comm));
  int rank;
  if (atomic_load_explicit(&mine->ready, memory_order_relaxed) < l->base + s->ready) {
    for (int i = 0; i < s->ready; i++)
      mine->unused[i] = !s->used[i];
    atomic_store_explicit(&mine->ready, l->base + s->ready, memory_order_release);
  }
  const int64_t ready = least(s, offsetof(struct board, ready), &rank) - l->base;
  for (; l->summed < s->n && l->summed < ready; l->summed++) {
    sum_slice(s, l->summed);
    atomic_store_explicit(&mine->summed, l->base + l->summed + 1, memory_order_release);
  }
  return LRL_OK;
}

int lrl_shard_local_consumed(const struct lrl_shard *s, int *slowest_rank) {
  return (int)(least(s, offsetof(struct board, summed), slowest_rank) - s->local->base);
}

void lrl_shard_local_close(struct lrl_shard *s) {
  s->local->base += s->n;
  s->local->summed = 0;
}

/* ---- parameters ---- */

static lrl_status wait_counter(struct lrl_shard *s, size_t counter, int64_t value) {
  struct lrl_wait w = {0};
  int rank;
  while (least(s, counter, &rank) < value)
    LRL_TRY(lrl_comm_pause(s->comm, &w, "the updated parameters of the other ranks"));
  return LRL_OK;
}

lrl_status lrl_shard_local_gather(struct lrl_shard *s) {
  struct board *mine = board(s, lrl_comm_rank(s->comm));
  const int64_t turn = ++s->local->gathers;
  int64_t lo, hi;
  for (int i = 0; i < s->n; i++) {
    const struct lrl_param_unit *u = lrl_shard_unit(s, i);
    const int64_t width = lrl_dtype_bytes(u->dtype);
    lrl_shard_own(s, i, &lo, &hi);
    LRL_TRY(
        lrl_read(s->ctx, s->slice[i], (char *)u->data + lo * width, (size_t)((hi - lo) * width)));
  }
  atomic_store_explicit(&mine->updated, turn, memory_order_release);
  LRL_TRY(wait_counter(s, offsetof(struct board, updated), turn));
  for (int i = 0; i < s->n; i++) {
    const struct lrl_param_unit *u = lrl_shard_unit(s, i);
    const int64_t width = lrl_dtype_bytes(u->dtype);
    for (int r = 0; r < lrl_comm_size(s->comm); r++) {
      lrl_shard_range(s, s->unit_at[i], r, &lo, &hi);
      if (r != lrl_comm_rank(s->comm))
        lrl_move(s->ctx, (char *)u->data + lo * width, slice_of(s, r, i),
                 (size_t)((hi - lo) * width));
    }
  }
  /* What was moved is free: the others may overwrite their slices. */
  atomic_store_explicit(&mine->copied, turn, memory_order_release);
  return wait_counter(s, offsetof(struct board, copied), turn);
}
