/* One rank of test_ranks' statistics: whitening, reward normalisation and running moments over all
 * ranks against the same numbers on one. Rank 0 holds a third, the last rank the rest, those
 * between nothing. */
#include "kernels/philox.h"
#include "train/rewards.h"

#include <math.h>
#include <stdio.h>

enum { N = 900 };
static struct lrl_comm *comm;

#define CHECK(cond)                                                                                \
  do {                                                                                             \
    if (!(cond)) {                                                                                 \
      fprintf(stderr, "rank %d, line %d: %s: %s\n", lrl_comm_rank(comm), __LINE__, #cond,          \
              lrl_last_error());                                                                   \
      lrl_comm_abort(comm, 3);                                                                     \
    }                                                                                              \
  } while (0)

int main(void) {
  CHECK(lrl_comm_create(&comm) == LRL_OK);
  const int rank = lrl_comm_rank(comm), size = lrl_comm_size(comm);
  struct lrl_ctx ctx;
  CHECK(size > 1 && lrl_ctx_init(&ctx, "cpu", 1) == LRL_OK);
  const int first = rank == 0 ? 0 : N / 3;
  const int end = rank == 0 ? N / 3 : rank == size - 1 ? N : first;
  float whole[N], part[N];
  uint8_t mask[N];
  double scores[N], mine[N];
  int32_t length[N] = {0};
  bool finished[N] = {false};
  struct lrl_rng r = lrl_rng_make(3, LRL_RNG_TEST, 0);
  for (int i = 0; i < N; i++) {
    scores[i] = mine[i] = 50.0 + (double)lrl_rng_normal(&r);
    mask[i] = i % 5 != 2;
    whole[i] = part[i] = mask[i] != 0 ? (float)scores[i] : NAN;
  }
  CHECK(lrl_whiten_all(&ctx, NULL, LRL_WHITEN_UNBIASED, true, N, mask, whole) == LRL_OK);
  CHECK(lrl_whiten_all(&ctx, comm, LRL_WHITEN_UNBIASED, true, end - first, mask + first,
                       part + first) == LRL_OK);
  for (int i = first; i < end; i++)
    CHECK(fabsf(part[i] - whole[i]) < 1e-6f);

  const struct lrl_score_options o = {.normalize = true};
  struct lrl_moments alone = {0}, together = {0}, root;
  for (int round = 0; round < 2; round++) {
    CHECK(lrl_shape_scores(&o, NULL, &alone, N, scores, length, finished) == LRL_OK);
    CHECK(lrl_shape_scores(&o, comm, &together, end - first, mine + first, length + first,
                           finished + first) == LRL_OK);
    for (int i = first; i < end; i++)
      CHECK(fabs(mine[i] - scores[i]) < 1e-9);
    CHECK(together.n == alone.n && fabs(together.m2 - alone.m2) < 1e-7);
    root = together; /* all ranks keep the same bits */
    CHECK(lrl_comm_broadcast(comm, &root, sizeof root, 0) == LRL_OK);
    CHECK(root.n == together.n && root.mean == together.mean && root.m2 == together.m2);
  }
  lrl_ctx_free(&ctx);
  lrl_comm_destroy(comm);
  return 0;
}
