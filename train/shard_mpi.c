/* Gradients between hosts: a ring of buckets of at most 1 MiB, each one nonblocking collective that
 * runs while the backward goes on and is looked after whenever a unit completes. All ranks post the
 * same buckets in the same order. */
#include "train/shard_impl.h"

#include <stdlib.h>
#include <string.h>

enum { RING = 8 };

struct bucket {
  MPI_Request request;
  int place;
  int64_t at, n; /* bytes or floats of each rank's slice */
  char *send, *receive;
};

/* Pieces are cut from slices of lrl_shard_chunk elements on all ranks. */
struct lrl_shard_mpi {
  MPI_Comm comm;
  int64_t piece; /* floats of a slice in a bucket */
  struct bucket ring[RING];
  int64_t posted, finished; /* buckets ever */
  int place;                /* the next bucket to post: place and float of the slices */
  int64_t at;
};

/* ---- life ---- */

static lrl_status alloc(struct lrl_shard *s, struct lrl_arena *arena) {
  struct lrl_shard_mpi *m = s->mpi;
  int64_t at[LRL_MAX_UNITS], size = lrl_comm_size(s->comm);
  const int64_t n = lrl_shard_layout(s, at);
  float *grads = lrl_arena_zeros(arena, (size_t)n * sizeof *grads);
  if (grads == NULL)
    return LRL_ERR_MEMORY;
  for (int i = 0; i < s->n; i++) {
    int64_t lo, hi;
    lrl_shard_own(s, i, &lo, &hi);
    lrl_shard_unit(s, i)->grad = grads + at[i];
    s->slice[i] = grads + at[i] + lo;
    if (s->stage == 2 &&
        (s->slice[i] = lrl_arena_alloc(arena, (size_t)(hi - lo) * sizeof(float))) == NULL)
      return LRL_ERR_MEMORY;
  }
  m->piece = (int64_t)(LRL_COMM_BUCKET / sizeof(float)) / size;
  m->piece = m->piece < 16 ? 16 : m->piece / 16 * 16;
  for (int i = 0; i < RING; i++) {
    const size_t bytes = (size_t)(m->piece * size) * sizeof(float);
    m->ring[i].send = lrl_arena_alloc(arena, bytes);
    m->ring[i].receive = lrl_arena_alloc(arena, bytes);
    if (m->ring[i].send == NULL || m->ring[i].receive == NULL)
      return LRL_ERR_MEMORY;
  }
  return LRL_OK;
}

lrl_status lrl_shard_mpi_init(struct lrl_shard *s, struct lrl_arena *arena) {
  s->mpi = calloc(1, sizeof *s->mpi);
  lrl_status status = LRL_OK;
  if (s->mpi == NULL)
    status = LRL_FAIL(LRL_ERR_MEMORY, "no memory for sharding");
  else
    s->mpi->comm = MPI_COMM_NULL;
  if (status == LRL_OK)
    status = alloc(s, arena);
  LRL_TRY(lrl_comm_agree(s->comm, status));
  LRL_MPI(MPI_Comm_dup(s->comm->mpi, &s->mpi->comm));
  return LRL_OK;
}

void lrl_shard_mpi_destroy(struct lrl_shard *s) {
  if (s->mpi->comm != MPI_COMM_NULL)
    MPI_Comm_free(&s->mpi->comm);
  free(s->mpi);
}

/* ---- sums ---- */

/* The part of a piece at `at` of rank r's slice that exists: the last slices are shorter. */
static int64_t present(const struct lrl_shard *s, int place, int r, int64_t at, int64_t n,
                       int64_t *from) {
  int64_t lo, hi;
  lrl_shard_range(s, s->unit_at[place], r, &lo, &hi);
  *from = lo + at;
  return hi - lo - at < 0 ? 0 : hi - lo - at < n ? hi - lo - at : n;
}

static lrl_status post(struct lrl_shard *s) {
  struct lrl_shard_mpi *m = s->mpi;
  struct bucket *b = &m->ring[m->posted % RING];
  const struct lrl_param_unit *u = lrl_shard_unit(s, m->place);
  const int64_t rest = lrl_shard_chunk(s, m->place) - m->at, n = rest < m->piece ? rest : m->piece;
  const bool used = s->stage < 2 || s->used[m->place];
  float *send = (float *)(void *)b->send;
  b->place = m->place;
  b->at = m->at;
  b->n = n;
  for (int r = 0; r < lrl_comm_size(s->comm); r++) {
    int64_t from, have = used ? present(s, m->place, r, m->at, n, &from) : 0;
    if (have > 0)
      memcpy(send + r * n, u->grad + from, (size_t)have * sizeof *send);
    memset(send + r * n + have, 0, (size_t)(n - have) * sizeof *send);
  }
  LRL_MPI(MPI_Ireduce_scatter_block(send, b->receive, (int)n, MPI_FLOAT, MPI_SUM, m->comm,
                                    &b->request));
  m->posted++;
  m->at += n;
  if (m->at == lrl_shard_chunk(s, m->place)) {
    m->place++;
    m->at = 0;
  }
  return LRL_OK;
}

static void store(struct lrl_shard *s, const struct bucket *b) {
  int64_t from;
  const int64_t n = present(s, b->place, lrl_comm_rank(s->comm), b->at, b->n, &from);
  const float *sum = (const float *)(void *)b->receive;
  float *slice = s->slice[b->place] + b->at;
  if (n <= 0)
    return;
  if (s->stage == 2 && s->rounds > 0)
    for (int64_t i = 0; i < n; i++)
      slice[i] += sum[i];
  else
    memcpy(slice, sum, (size_t)n * sizeof *slice);
}

lrl_status lrl_shard_mpi_advance(struct lrl_shard *s) {
  struct lrl_shard_mpi *m = s->mpi;
  for (;;) {
    int done = 1;
    while (m->finished < m->posted && done) {
      struct bucket *b = &m->ring[m->finished % RING];
      LRL_MPI(MPI_Test(&b->request, &done, MPI_STATUS_IGNORE));
      if (done) {
        store(s, b);
        m->finished++;
      }
    }
    if (m->place >= s->ready || m->posted - m->finished == RING)
      return LRL_OK;
    LRL_TRY(post(s));
  }
}

int lrl_shard_mpi_consumed(const struct lrl_shard *s) { return s->mpi->place; }
bool lrl_shard_mpi_idle(const struct lrl_shard *s) { return s->mpi->finished == s->mpi->posted; }
void lrl_shard_mpi_close(struct lrl_shard *s) { s->mpi->place = 0; }

/* ---- gathers ---- */

static void unpack(struct lrl_shard *s, const struct bucket *b, char *data, int64_t width) {
  for (int r = 0; r < lrl_comm_size(s->comm); r++) {
    int64_t from, n = present(s, b->place, r, b->at, b->n, &from);
    if (n > 0 && r != lrl_comm_rank(s->comm))
      memcpy(data + from * width, b->receive + r * b->n * width, (size_t)(n * width));
  }
}

static lrl_status finish_oldest(struct lrl_shard *s, char *data, int64_t width) {
  struct bucket *b = &s->mpi->ring[s->mpi->finished % RING];
  LRL_TRY(lrl_comm_wait(s->comm, &b->request, "the slices of the other ranks"));
  unpack(s, b, data, width);
  s->mpi->finished++;
  return LRL_OK;
}

lrl_status lrl_shard_mpi_gather(struct lrl_shard *s, int place, void *data, int64_t width) {
  struct lrl_shard_mpi *m = s->mpi;
  const int64_t all = lrl_shard_chunk(s, place);
  for (int64_t at = 0; at < all; at += m->piece) {
    if (m->posted - m->finished == RING)
      LRL_TRY(finish_oldest(s, data, width));
    struct bucket *b = &m->ring[m->posted % RING];
    int64_t from;
    b->place = place;
    b->at = at;
    b->n = all - at < m->piece ? all - at : m->piece;
    const int64_t have = present(s, place, lrl_comm_rank(s->comm), at, b->n, &from);
    if (have > 0)
      memcpy(b->send, (char *)data + from * width, (size_t)(have * width));
    if (have < b->n)
      memset(b->send + have * width, 0, (size_t)((b->n - have) * width));
    LRL_MPI(MPI_Iallgather(b->send, (int)(b->n * width), MPI_BYTE, b->receive, (int)(b->n * width),
                           MPI_BYTE, m->comm, &b->request));
    m->posted++;
  }
  while (m->finished < m->posted)
    LRL_TRY(finish_oldest(s, data, width));
  return LRL_OK;
}
