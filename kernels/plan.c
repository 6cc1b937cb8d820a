#include "kernels/plan.h"

#include "kernels/cost.h"
#include "kernels/plan_scratch.h"

#include <stdlib.h>
#include <sys/mman.h>

/* ---- memory ---- */

/* Addresses. What the host writes among them (records, index lists) gets small pages. */

enum { MOST = 256 };
static struct {
  char *begin;
  size_t bytes;
} reserved[MOST];

static void *reserve(size_t *bytes) {
  int i = 0;
  while (i < MOST && reserved[i].begin != NULL)
    i++;
  void *p = i == MOST ? MAP_FAILED
                      : mmap(NULL, *bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    return NULL;
  madvise(p, *bytes, MADV_NOHUGEPAGE);
  reserved[i].begin = p;
  reserved[i].bytes = *bytes;
  return p;
}
static void release(void *p, size_t bytes) {
  for (int i = 0; i < MOST; i++)
    if (reserved[i].begin == p)
      reserved[i].begin = NULL;
  munmap(p, bytes);
}
static const struct lrl_arena_source memory = {reserve, release, NULL, true};

bool lrl_plan_reachable(const void *p) {
  const char *c = p;
  for (int i = 0; i < MOST; i++)
    if (reserved[i].begin != NULL && c >= reserved[i].begin &&
        c < reserved[i].begin + reserved[i].bytes)
      return true;
  return false;
}

/* ---- contexts ---- */

static lrl_status create(struct lrl_ctx *ctx) {
  ctx->state = calloc(1, sizeof(struct lrl_plan));
  return ctx->state != NULL ? LRL_OK : LRL_FAIL(LRL_ERR_MEMORY, "no memory for a plan");
}
static void destroy(struct lrl_ctx *ctx) {
  free(ctx->state);
  ctx->state = NULL;
  lrl_arena_use(NULL);
}
struct lrl_plan *lrl_plan_of(const struct lrl_ctx *ctx) {
  return ctx->backend == &lrl_backend_plan ? ctx->state : NULL;
}

static void add(struct lrl_plan_count *c, double flops, double bytes, double seconds) {
  c->calls++;
  c->flops += flops;
  c->bytes += bytes;
  c->seconds += seconds;
}
static void count(struct lrl_ctx *ctx, enum lrl_plan_op op, struct lrl_cost cost) {
  struct lrl_plan *p = ctx->state;
  const double peak = cost.dtype == LRL_BF16 ? p->machine.bf16_flops : p->machine.f32_flops;
  const double math = peak > 0 ? cost.flops / peak : 0;
  const double moved = p->machine.memory > 0 ? cost.bytes / p->machine.memory : 0;
  const double seconds = math > moved ? math : moved;
  add(&p->all, cost.flops, cost.bytes, seconds);
  add(&p->op[op], cost.flops, cost.bytes, seconds);
}
static void zero(struct lrl_ctx *ctx, void *p, size_t bytes) {
  (void)p;
  count(ctx, LRL_PLAN_ZERO, (struct lrl_cost){.bytes = (double)bytes});
}
static void move(struct lrl_ctx *ctx, void *to, const void *from, size_t bytes) {
  const char *a = to, *b = from;
  const size_t mark = lrl_arena_mark(&ctx->scratch);
  if (a != b && a < b + bytes && b < a + bytes)
    (void)lrl_arena_alloc(&ctx->scratch, bytes < LRL_MOVE_PIECE ? bytes : LRL_MOVE_PIECE);
  lrl_arena_reset(&ctx->scratch, mark);
  count(ctx, LRL_PLAN_MOVE, (struct lrl_cost){.bytes = 2.0 * (double)bytes});
}

/* What the host looks at is zeros. */
static lrl_status read(struct lrl_ctx *ctx, void *to, const void *from, size_t bytes) {
  (void)ctx;
  if (lrl_plan_reachable(from))
    memset(to, 0, bytes);
  else
    memcpy(to, from, bytes);
  return LRL_OK;
}

/* ---- collectives: done at once ---- */

static double others(const struct lrl_plan *p) { return (double)p->ranks - 1; }

static lrl_status identify(struct lrl_ctx *ctx, char device[LRL_DEVICE_ID]) {
  (void)ctx;
  memset(device, 0, LRL_DEVICE_ID);
  return LRL_OK;
}
static lrl_status make_id(char id[LRL_GROUP_ID]) {
  memset(id, 0, LRL_GROUP_ID);
  return LRL_OK;
}
static lrl_status join(struct lrl_ctx *ctx, const struct lrl_device_group *group) {
  ((struct lrl_plan *)ctx->state)->ranks = group->size;
  return LRL_OK;
}
static void leave(struct lrl_ctx *ctx) { (void)ctx; }
static lrl_status check(struct lrl_ctx *ctx) {
  (void)ctx;
  return LRL_OK;
}
static lrl_status all_reduce(struct lrl_ctx *ctx, float *x, int64_t n, int64_t *ticket) {
  struct lrl_plan *p = ctx->state;
  (void)x;
  p->traffic.sums += 2 * others(p) / p->ranks * 4.0 * (double)n;
  *ticket = 0;
  return LRL_OK;
}
static lrl_status reduce_scatter(struct lrl_ctx *ctx, float *x, int64_t n, bool is_zero, float *sum,
                                 bool adds, int64_t *ticket) {
  struct lrl_plan *p = ctx->state;
  (void)x;
  (void)is_zero;
  (void)sum;
  (void)adds;
  p->traffic.sums += others(p) * 4.0 * (double)n;
  *ticket = 0;
  return LRL_OK;
}
static lrl_status all_gather(struct lrl_ctx *ctx, void *data, size_t bytes, size_t slice_bytes,
                             void *room, int64_t *ticket) {
  struct lrl_plan *p = ctx->state;
  (void)data;
  (void)bytes;
  (void)room;
  p->traffic.gathers += others(p) * (double)slice_bytes;
  *ticket = 0;
  return LRL_OK;
}
static lrl_status use(struct lrl_ctx *ctx, int64_t ticket) {
  (void)ctx;
  (void)ticket;
  return LRL_OK;
}
static const struct lrl_collectives collectives = {
    identify, make_id, join, leave, check, all_reduce, reduce_scatter, all_gather, use};

/* ---- results that the host looks at ---- */

static void zeros(void *p, int64_t n, size_t size) {
  if (p != NULL)
    memset(p, 0, (size_t)n * size);
}
#define ZEROS(p, n) zeros(p, n, sizeof *(p))
#define RESULT(op) static void op##_result(const struct lrl_##op##_args *a)

RESULT(cross_entropy) {
  ZEROS(a->loss, a->n_tokens);
  ZEROS(a->lse, a->n_tokens);
}
RESULT(head_fwd) { ZEROS(a->score, a->n); }
RESULT(bradley_terry) {
  ZEROS(a->loss, a->n);
  ZEROS(a->d_chosen, a->n);
  ZEROS(a->d_rejected, a->n);
}
RESULT(logprob_fwd) {
  ZEROS(a->logprobs, a->n_tokens);
  ZEROS(a->entropy, a->n_tokens);
  ZEROS(a->lse, a->n_tokens);
}
RESULT(approx_kl) {
  ZEROS(a->kl, a->layout->n_tokens);
  if (a->seq_weight != NULL) {
    ZEROS(a->loss, 1);
    ZEROS(a->d_logprobs, a->layout->n_tokens);
  }
}
RESULT(ppo_policy) {
  ZEROS(a->stats, 1);
  ZEROS(a->d_logprobs, a->layout->n_tokens);
  ZEROS(a->d_entropy, a->layout->n_tokens);
}
RESULT(ppo_value) {
  ZEROS(a->stats, 1);
  ZEROS(a->d_values, a->layout->n_tokens);
}
RESULT(gae) {
  ZEROS(a->advantages, a->layout->n_tokens);
  ZEROS(a->returns, a->layout->n_tokens);
}
RESULT(moments) { ZEROS(a->out, 1); }
RESULT(whiten) { ZEROS(a->out, a->n); }
RESULT(sumsq) { ZEROS(a->out, 1); }
/* Token 0 is <unk>, which ends no sample. */
RESULT(sample) {
  ZEROS(a->token, a->n_tokens);
  ZEROS(a->logprobs, a->n_tokens);
}
#define OPS_WITH_RESULT(X)                                                                         \
  X(cross_entropy)                                                                                 \
  X(head_fwd)                                                                                      \
  X(bradley_terry)                                                                                 \
  X(logprob_fwd)                                                                                   \
  X(approx_kl)                                                                                     \
  X(ppo_policy)                                                                                    \
  X(ppo_value)                                                                                     \
  X(gae)                                                                                           \
  X(moments)                                                                                       \
  X(whiten)                                                                                        \
  X(sumsq)                                                                                         \
  X(sample)

static void give_result(enum lrl_plan_op op, const void *args) {
  switch (op) {
#define CASE(name)                                                                                 \
  case LRL_PLAN_##name:                                                                            \
    name##_result(args);                                                                           \
    return;
    OPS_WITH_RESULT(CASE)
#undef CASE
  default:
    return;
  }
}

/* ---- the table ---- */

/* The wrapper gives the scratch memory back. */
#define OP(op)                                                                                     \
  static lrl_status plan_##op(struct lrl_ctx *ctx, const struct lrl_##op##_args *args) {           \
    struct lrl_plan_need need = {.ctx = ctx};                                                      \
    lrl_##op##_scratch(&need, args);                                                               \
    LRL_TRY(need.status);                                                                          \
    count(ctx, LRL_PLAN_##op, lrl_##op##_cost(args));                                              \
    give_result(LRL_PLAN_##op, args);                                                              \
    return LRL_OK;                                                                                 \
  }
LRL_OPS(OP)
#define ENTRY(op) .op = plan_##op,
const struct lrl_backend lrl_backend_plan = {.name = "plan",
                                             .memory = &memory,
                                             .create = create,
                                             .destroy = destroy,
                                             .zero = zero,
                                             .move = move,
                                             .read = read,
                                             .collectives = &collectives,
                                             LRL_OPS(ENTRY)};

const char *lrl_plan_op_name(enum lrl_plan_op op) {
  static const char *const names[] = {
#define NAME(name) #name,
      LRL_OPS(NAME) "zero", "move"};
  return names[op];
}
