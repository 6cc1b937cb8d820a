#include "kernels/onednn/plan.h"

#include <stdlib.h>

#define PACK_ROWS 512 /* the product whose favourite weight layout is used for every m */

lrl_status lrl_onednn_check(dnnl_status_t s, const char *what) {
  if (s == dnnl_success)
    return LRL_OK;
  if (s == dnnl_out_of_memory)
    return LRL_FAIL(LRL_ERR_MEMORY, "oneDNN found no memory to %s", what);
  return LRL_FAIL(LRL_ERR_LIB, "oneDNN could not %s on this CPU (its status code is %d)", what,
                  (int)s);
}

static dnnl_data_type_t type_of(lrl_dtype t) { return t == LRL_BF16 ? dnnl_bf16 : dnnl_f32; }

/* A matrix of `rows` x `cols` whose stored rows are ld apart; transposed: stored [cols, rows]. */
static lrl_status matrix(dnnl_memory_desc_t *md, int64_t rows, int64_t cols, int64_t ld, bool trans,
                         lrl_dtype t) {
  const dnnl_dims_t dims = {rows, cols}, strides = {trans ? 1 : ld, trans ? ld : 1};
  return lrl_onednn_check(dnnl_memory_desc_init_by_strides(md, 2, dims, type_of(t), strides),
                          "describe a matrix");
}

static bool same_key(const struct lrl_plan_key *x, const struct lrl_plan_key *y) {
  return x->m == y->m && x->n == y->n && x->k == y->k && x->ld_a == y->ld_a && x->ld_b == y->ld_b &&
         x->ld_c == y->ld_c && x->packed == y->packed && x->trans_a == y->trans_a &&
         x->trans_b == y->trans_b && x->accumulate == y->accumulate && x->bias == y->bias &&
         x->dtype == y->dtype && x->c_dtype == y->c_dtype;
}
static size_t bucket(int64_t a, int64_t b, int64_t c, uintptr_t d) {
  uint64_t h = (uint64_t)a * 0x9e3779b97f4a7c15u;
  h = (h ^ (h >> 29) ^ (uint64_t)b) * 0xbf58476d1ce4e5b9u;
  h = (h ^ (h >> 32) ^ (uint64_t)c) * 0x94d049bb133111ebu;
  h = (h ^ (h >> 29) ^ (uint64_t)d) * 0x9e3779b97f4a7c15u;
  return (size_t)(h >> 32) % LRL_PLAN_BUCKETS;
}

/* The primitive descriptor of a product. weights: the layout of B, or NULL for oneDNN's choice. */
static lrl_status describe(struct lrl_onednn *s, const struct lrl_plan_key *key,
                           const dnnl_memory_desc_t *weights, dnnl_primitive_desc_t *out) {
  dnnl_memory_desc_t a, b, c, bias;
  LRL_TRY(matrix(&a, key->m, key->k, key->ld_a, key->trans_a, key->dtype));
  LRL_TRY(matrix(&c, key->m, key->n, key->ld_c, false, key->c_dtype));
  LRL_TRY(matrix(&bias, 1, key->n, key->n, false, key->dtype));
  if (weights != NULL) {
    b = *weights;
  } else {
    const dnnl_dims_t dims = {key->k, key->n};
    LRL_TRY(lrl_onednn_check(
        dnnl_memory_desc_init_by_tag(&b, 2, dims, type_of(key->dtype), dnnl_format_tag_any),
        "describe a weight"));
  }
  dnnl_matmul_desc_t desc;
  LRL_TRY(lrl_onednn_check(dnnl_matmul_desc_init(&desc, &a, &b, key->bias ? &bias : NULL, &c),
                           "describe a matrix product"));
  dnnl_primitive_attr_t attr = NULL;
  dnnl_post_ops_t ops = NULL;
  dnnl_status_t st = dnnl_primitive_attr_create(&attr);
  if (st == dnnl_success)
    st = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
  if (st == dnnl_success && key->accumulate) {
    st = dnnl_post_ops_create(&ops);
    if (st == dnnl_success)
      st = dnnl_post_ops_append_sum(ops, 1.0f);
    if (st == dnnl_success)
      st = dnnl_primitive_attr_set_post_ops(attr, ops);
  }
  if (st == dnnl_success)
    st = dnnl_primitive_desc_create(out, &desc, attr, s->engine, NULL);
  dnnl_post_ops_destroy(ops);
  dnnl_primitive_attr_destroy(attr);
  return lrl_onednn_check(st, "make a matrix product");
}

/* Memory objects without data; the data is set before each call. */
static dnnl_status_t memories(struct lrl_onednn *s, dnnl_primitive_desc_t pd, struct lrl_plan *p) {
  const dnnl_memory_desc_t *scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
  p->scratch_bytes = dnnl_memory_desc_get_size(scratch);
  dnnl_status_t st = dnnl_memory_create(&p->scratch, scratch, s->engine, DNNL_MEMORY_NONE);
  if (st == dnnl_success)
    st = dnnl_memory_create(&p->a, dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0),
                            s->engine, DNNL_MEMORY_NONE);
  if (st == dnnl_success && p->key.packed == NULL)
    st = dnnl_memory_create(&p->b, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0),
                            s->engine, DNNL_MEMORY_NONE);
  if (st == dnnl_success && p->key.bias)
    st = dnnl_memory_create(&p->bias, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 1),
                            s->engine, DNNL_MEMORY_NONE);
  if (st == dnnl_success)
    st = dnnl_memory_create(&p->c, dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0),
                            s->engine, DNNL_MEMORY_NONE);
  return st;
}
static void plan_free(struct lrl_plan *p) {
  dnnl_primitive_destroy(p->primitive);
  dnnl_memory_destroy(p->a);
  dnnl_memory_destroy(p->b);
  dnnl_memory_destroy(p->bias);
  dnnl_memory_destroy(p->c);
  dnnl_memory_destroy(p->scratch);
}

lrl_status lrl_plan_get(struct lrl_onednn *s, const struct lrl_plan_key *key,
                        struct lrl_plan **out) {
  struct lrl_plan_node **head = &s->plans[bucket(key->m, key->n, key->k, (uintptr_t)key->packed)];
  for (struct lrl_plan_node *i = *head; i != NULL; i = i->next)
    if (same_key(&i->plan.key, key)) {
      *out = &i->plan;
      return LRL_OK;
    }
  dnnl_memory_desc_t b;
  if (key->packed != NULL)
    b = key->packed->md;
  else
    LRL_TRY(matrix(&b, key->k, key->n, key->ld_b, key->trans_b, key->dtype));
  dnnl_primitive_desc_t pd = NULL;
  LRL_TRY(describe(s, key, &b, &pd));
  struct lrl_plan_node *node = calloc(1, sizeof *node);
  if (node == NULL) {
    dnnl_primitive_desc_destroy(pd);
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a matrix product's plan");
  }
  node->plan.key = *key;
  dnnl_status_t st = dnnl_primitive_create(&node->plan.primitive, pd);
  if (st == dnnl_success)
    st = memories(s, pd, &node->plan);
  dnnl_primitive_desc_destroy(pd);
  if (st != dnnl_success) {
    plan_free(&node->plan);
    free(node);
    return lrl_onednn_check(st, "prepare a matrix product");
  }
  node->next = *head;
  *head = node;
  *out = &node->plan;
  return LRL_OK;
}

static void packed_free(struct lrl_packed *p) {
  dnnl_primitive_destroy(p->reorder);
  dnnl_memory_destroy(p->memory);
  dnnl_memory_destroy(p->plain);
  free(p);
}
/* Chooses the layout, takes the memory and makes the primitive that fills it. */
static lrl_status packed_init(struct lrl_ctx *ctx, struct lrl_packed *p) {
  struct lrl_onednn *s = ctx->state;
  const struct lrl_plan_key key = {.m = PACK_ROWS,
                                   .n = p->n,
                                   .k = p->k,
                                   .ld_a = p->k,
                                   .ld_c = p->n,
                                   .dtype = p->to,
                                   .c_dtype = p->to};
  dnnl_primitive_desc_t pd = NULL;
  LRL_TRY(describe(s, &key, NULL, &pd));
  p->md = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
  dnnl_primitive_desc_destroy(pd);
  dnnl_memory_desc_t plain;
  LRL_TRY(matrix(&plain, p->k, p->n, p->ld, p->trans, p->from));
  void *data = lrl_arena_alloc(&ctx->packed, dnnl_memory_desc_get_size(&p->md));
  if (data == NULL)
    return LRL_ERR_MEMORY;
  dnnl_status_t st = dnnl_memory_create(&p->memory, &p->md, s->engine, data);
  if (st == dnnl_success)
    st = dnnl_memory_create(&p->plain, &plain, s->engine, DNNL_MEMORY_NONE);
  pd = NULL;
  if (st == dnnl_success)
    st = dnnl_reorder_primitive_desc_create(&pd, &plain, s->engine, &p->md, s->engine, NULL);
  if (st == dnnl_success)
    st = dnnl_primitive_create(&p->reorder, pd);
  dnnl_primitive_desc_destroy(pd);
  return lrl_onednn_check(st, "re-lay a weight");
}
static lrl_status packed_fill(struct lrl_onednn *s, struct lrl_packed *p, uint64_t version) {
  p->version = 0;
  union {
    const void *in;
    void *out;
  } source = {.in = p->source}; /* oneDNN's handles are not const; the source is only read */
  dnnl_status_t st = dnnl_memory_set_data_handle(p->plain, source.out);
  const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, p->plain}, {DNNL_ARG_TO, p->memory}};
  if (st == dnnl_success)
    st = dnnl_primitive_execute(p->reorder, s->stream, 2, args);
  if (st == dnnl_success)
    st = dnnl_stream_wait(s->stream);
  LRL_TRY(lrl_onednn_check(st, "re-lay a weight"));
  p->version = version;
  return LRL_OK;
}

lrl_status lrl_packed_get(struct lrl_ctx *ctx, const struct lrl_gemm_args *a, lrl_dtype to,
                          struct lrl_packed **out) {
  struct lrl_onednn *s = ctx->state;
  struct lrl_packed **head = &s->packed[bucket(a->n, a->k, a->trans_b, (uintptr_t)a->b)];
  struct lrl_packed *p = *head;
  while (p != NULL && (p->source != a->b || p->n != a->n || p->k != a->k || p->ld != a->ld_b ||
                       p->trans != a->trans_b || p->from != a->dtype || p->to != to))
    p = p->next;
  if (p == NULL) {
    p = calloc(1, sizeof *p);
    if (p == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a re-laid weight");
    p->source = a->b;
    p->n = a->n;
    p->k = a->k;
    p->ld = a->ld_b;
    p->trans = a->trans_b;
    p->from = a->dtype;
    p->to = to;
    lrl_status status = packed_init(ctx, p);
    if (status != LRL_OK) {
      packed_free(p);
      return status;
    }
    p->next = *head;
    *head = p;
  }
  *out = p;
  return p->version == a->b_version ? LRL_OK : packed_fill(s, p, a->b_version);
}

void lrl_plans_free(struct lrl_onednn *s) {
  for (int i = 0; i < LRL_PLAN_BUCKETS; i++) {
    while (s->plans[i] != NULL) {
      struct lrl_plan_node *node = s->plans[i];
      s->plans[i] = node->next;
      plan_free(&node->plan);
      free(node);
    }
    while (s->packed[i] != NULL) {
      struct lrl_packed *p = s->packed[i];
      s->packed[i] = p->next;
      packed_free(p);
    }
  }
}
