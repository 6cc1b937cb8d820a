#include "kernels/backend.h"

#include "kernels/plan.h"

#include <omp.h>
#include <string.h>

lrl_status lrl_ctx_init(struct lrl_ctx *ctx, const char *name, int n_threads) {
  *ctx = (struct lrl_ctx){.n_threads = n_threads > 0 ? n_threads : omp_get_max_threads()};
  if (strcmp(name, "cpu") == 0)
    ctx->backend = lrl_backend_cpu();
  else if (strcmp(name, "ref") == 0)
    ctx->backend = &lrl_backend_ref;
  else if (strcmp(name, "plan") == 0)
    ctx->backend = &lrl_backend_plan;
  else if (strcmp(name, "cuda") == 0 || strcmp(name, "sim") == 0)
    LRL_TRY(lrl_backend_load(name, &ctx->backend));
  else
    return LRL_FAIL(LRL_ERR_ARG, "unknown device '%s'; there are " LRL_DEVICES, name);
  if (ctx->backend->memory != NULL)
    lrl_arena_use(ctx->backend->memory);
  omp_set_num_threads(ctx->n_threads);
  LRL_TRY(lrl_arena_init(&ctx->scratch, "op scratch memory", (size_t)64 << 30));
  LRL_TRY(lrl_arena_init(&ctx->packed, "packed weights", (size_t)256 << 30));
  return ctx->backend->create != NULL ? ctx->backend->create(ctx) : LRL_OK;
}

void lrl_zero(struct lrl_ctx *ctx, void *p, size_t bytes) {
  if (ctx->backend->zero != NULL)
    ctx->backend->zero(ctx, p, bytes);
  else
    memset(p, 0, bytes);
}

void lrl_move(struct lrl_ctx *ctx, void *to, const void *from, size_t bytes) {
  if (ctx->backend->move != NULL)
    ctx->backend->move(ctx, to, from, bytes);
  else
    memmove(to, from, bytes);
}

lrl_status lrl_read(struct lrl_ctx *ctx, void *to, const void *from, size_t bytes) {
  if (ctx->backend->read != NULL)
    return ctx->backend->read(ctx, to, from, bytes);
  memcpy(to, from, bytes);
  return LRL_OK;
}

lrl_status lrl_ctx_sync(struct lrl_ctx *ctx) {
  return ctx->backend->sync != NULL ? ctx->backend->sync(ctx) : LRL_OK;
}

lrl_status lrl_ctx_end_repeated(struct lrl_ctx *ctx) {
  const lrl_status s = lrl_ctx_sync(ctx);
  ctx->repeated = false;
  return s;
}

lrl_status lrl_use_cudnn(struct lrl_ctx *ctx, enum lrl_cudnn_use use) {
  int version;
  if (ctx->backend->cudnn == NULL)
    return LRL_FAIL(LRL_ERR_ARG, "%s by cuDNN needs device=cuda; device '%s' has its own",
                    lrl_cudnn_name(use), ctx->backend->name);
  LRL_TRY(ctx->backend->cudnn(ctx, use, &version));
  ctx->cudnn[use].asked = true;
  return LRL_OK;
}

void lrl_ctx_free(struct lrl_ctx *ctx) {
  if (ctx->backend != NULL && ctx->backend->destroy != NULL)
    ctx->backend->destroy(ctx);
  lrl_arena_free(&ctx->scratch);
  lrl_arena_free(&ctx->packed);
  memset(ctx, 0, sizeof *ctx);
}
