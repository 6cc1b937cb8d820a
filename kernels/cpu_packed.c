#include "kernels/cpu_packed.h"

#include <stdlib.h>

enum { BUCKETS = 1024 };
struct packed_set {
  struct lrl_packed *bucket[BUCKETS];
};

lrl_status lrl_packed_create(struct lrl_ctx *ctx) {
  ctx->state = calloc(1, sizeof(struct packed_set));
  return ctx->state != NULL ? LRL_OK
                            : LRL_FAIL(LRL_ERR_MEMORY, "no memory for the cpu backend's state");
}

void lrl_packed_destroy(struct lrl_ctx *ctx) {
  struct packed_set *s = ctx->state;
  for (int i = 0; s != NULL && i < BUCKETS; i++)
    while (s->bucket[i] != NULL) {
      struct lrl_packed *p = s->bucket[i];
      s->bucket[i] = p->next;
      free(p);
    }
  free(s);
  ctx->state = NULL;
}

static size_t bucket(const struct lrl_gemm_args *a) {
  uint64_t h = (uint64_t)(uintptr_t)a->b * 0x9e3779b97f4a7c15u;
  h = (h ^ (h >> 29) ^ (uint64_t)a->n) * 0xbf58476d1ce4e5b9u;
  h = (h ^ (h >> 32) ^ (uint64_t)a->k ^ (uint64_t)a->trans_b) * 0x94d049bb133111ebu;
  return (size_t)(h >> 32) % BUCKETS;
}

lrl_status lrl_packed_get(struct lrl_ctx *ctx, const struct lrl_gemm_args *a, size_t bytes,
                          struct lrl_packed **out) {
  struct packed_set *s = ctx->state;
  struct lrl_packed **head = &s->bucket[bucket(a)];
  for (struct lrl_packed *p = *head; p != NULL; p = p->next)
    if (p->source == a->b && p->n == a->n && p->k == a->k && p->ld == a->ld_b &&
        p->trans == a->trans_b && p->dtype == a->dtype) {
      *out = p;
      return LRL_OK;
    }
  void *data = lrl_arena_alloc(&ctx->packed, bytes);
  if (data == NULL)
    return LRL_ERR_MEMORY;
  struct lrl_packed *p = malloc(sizeof *p);
  if (p == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a re-laid weight");
  *p = (struct lrl_packed){.source = a->b,
                           .n = a->n,
                           .k = a->k,
                           .ld = a->ld_b,
                           .trans = a->trans_b,
                           .dtype = a->dtype,
                           .data = data,
                           .next = *head};
  *head = p;
  *out = p;
  return LRL_OK;
}
