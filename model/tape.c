#include "model/tape.h"

#include <string.h>

struct lrl_grad_slot {
  struct lrl_grad_slot *next;
  size_t bytes;
  void *data;
};

void lrl_tape_init(struct lrl_tape *tape, struct lrl_ctx *ctx, struct lrl_arena *arena,
                   bool record) {
  *tape = (struct lrl_tape){.ctx = ctx, .arena = arena, .record = record};
}

void *lrl_tape_alloc(struct lrl_tape *tape, size_t bytes) {
  void *p = lrl_arena_alloc(tape->arena, bytes);
  if (p == NULL)
    lrl_tape_ok(tape, LRL_ERR_MEMORY);
  return p;
}

void *lrl_tape_host(struct lrl_tape *tape, size_t bytes) {
  void *p = lrl_arena_host(tape->arena, bytes);
  if (p == NULL)
    lrl_tape_ok(tape, LRL_ERR_MEMORY);
  return p;
}

static struct lrl_tensor *new_tensor(struct lrl_tape *tape, struct lrl_tensor value) {
  static struct lrl_tensor nothing; /* read-only in effect: every user checks tape->status first */
  struct lrl_tensor *t = lrl_tape_host(tape, sizeof *t);
  if (t == NULL)
    return &nothing;
  *t = value;
  return t;
}

struct lrl_tensor *lrl_tensor_new(struct lrl_tape *tape, lrl_dtype dtype, int64_t rows,
                                  int64_t cols) {
  size_t bytes = (size_t)(rows * cols * lrl_dtype_bytes(dtype));
  void *data = tape->status == LRL_OK ? lrl_tape_alloc(tape, bytes) : NULL;
  return new_tensor(tape,
                    (struct lrl_tensor){.rows = rows, .cols = cols, .dtype = dtype, .data = data});
}

struct lrl_tensor *lrl_tensor_wrap(struct lrl_tape *tape, lrl_dtype dtype, int64_t rows,
                                   int64_t cols, void *data) {
  return new_tensor(tape,
                    (struct lrl_tensor){.rows = rows, .cols = cols, .dtype = dtype, .data = data});
}

struct lrl_tensor *lrl_tensor_param(struct lrl_tape *tape, struct lrl_param_unit *unit, int index) {
  const struct lrl_param *p = &unit->params[index];
  int64_t rows = p->ndim > 1 ? p->dim[0] : 1;
  bool trains = unit->trainable && unit->grad != NULL, grads = trains && tape->record;
  tape->saw_trainable = tape->saw_trainable || trains;
  lrl_tape_ok(tape, lrl_param_ready(unit));
  return new_tensor(tape, (struct lrl_tensor){
                              .rows = rows,
                              .cols = p->n / rows,
                              .dtype = unit->dtype,
                              .is_param = true,
                              .needs_grad = grads,
                              .data = (char *)unit->data + p->offset * lrl_dtype_bytes(unit->dtype),
                              .grad = grads ? unit->grad + p->offset : NULL,
                              .version = unit->version,
                              .unit = unit,
                          });
}

void *lrl_tape_record(struct lrl_tape *tape, lrl_back *back, size_t bytes, struct lrl_tensor *out0,
                      struct lrl_tensor *out1, struct lrl_tensor *out2) {
  if (!tape->record || tape->status != LRL_OK)
    return NULL;
  struct lrl_node *n = lrl_tape_host(tape, sizeof *n + bytes);
  if (n == NULL)
    return NULL;
  memset(n, 0, sizeof *n + bytes);
  n->prev = tape->last;
  n->back = back;
  struct lrl_tensor *outs[3] = {out0, out1, out2};
  for (int i = 0; i < 3; i++) {
    n->out[i] = outs[i];
    if (outs[i] != NULL)
      outs[i]->needs_grad = true;
  }
  tape->last = n;
  return n + 1;
}

void lrl_tape_unit_begin(struct lrl_tape *tape, struct lrl_param_unit *unit) {
  if (tape->hooks == NULL || !unit->trainable)
    return;
  if (!tape->replay)
    unit->uses++;
  if (!tape->record) /* the first run of a block that is recomputed */
    return;
  lrl_tape_record(tape, NULL, 0, NULL, NULL, NULL);
  if (tape->status == LRL_OK)
    tape->last->unit_done = unit;
}

static size_t grad_bytes(const struct lrl_tensor *t) {
  return (size_t)(t->rows * t->cols * lrl_dtype_bytes(t->dtype));
}

static void *take_slot(struct lrl_tape *tape, size_t bytes) {
  for (struct lrl_grad_slot **s = &tape->free_slots; *s != NULL; s = &(*s)->next)
    if ((*s)->bytes == bytes) {
      void *data = (*s)->data;
      *s = (*s)->next;
      return data;
    }
  return lrl_tape_alloc(tape, bytes);
}

static void give_slot(struct lrl_tape *tape, size_t bytes, void *data) {
  struct lrl_grad_slot *s = lrl_tape_host(tape, sizeof *s);
  if (s == NULL)
    return;
  *s = (struct lrl_grad_slot){.next = tape->free_slots, .bytes = bytes, .data = data};
  tape->free_slots = s;
}

float *lrl_param_grad(struct lrl_tape *tape, struct lrl_tensor *p) {
  if (p == NULL || !p->needs_grad)
    return NULL;
  if (tape->hooks != NULL && !p->unit->touched) {
    p->unit->touched = true;
    if (!lrl_tape_ok(tape, tape->hooks->touch(tape->hooks->user, p->unit)))
      return NULL;
  }
  return p->grad;
}

void *lrl_grad_target(struct lrl_tape *tape, struct lrl_tensor *t, float *beta) {
  *beta = 1.0f;
  if (t == NULL || !t->needs_grad)
    return NULL;
  if (t->is_param)
    return lrl_param_grad(tape, t);
  if (t->has_grad)
    return t->grad;
  *beta = 0.0f;
  t->grad = take_slot(tape, grad_bytes(t));
  t->has_grad = t->grad != NULL;
  return t->grad;
}

void *lrl_grad_begin(struct lrl_tape *tape, struct lrl_tensor *t) {
  if (t == NULL || !t->needs_grad)
    return NULL;
  if (t->has_grad)
    return take_slot(tape, grad_bytes(t));
  float beta;
  return lrl_grad_target(tape, t, &beta);
}

lrl_status lrl_grad_end(struct lrl_tape *tape, struct lrl_tensor *t, void *buffer) {
  if (buffer == NULL || buffer == t->grad)
    return tape->status;
  LRL_TRY(lrl_add(
      tape->ctx,
      &(struct lrl_add_args){
          .n = t->rows * t->cols, .dtype = t->dtype, .a = t->grad, .b = buffer, .y = t->grad}));
  give_slot(tape, grad_bytes(t), buffer);
  return tape->status;
}

void lrl_grad_seed(struct lrl_tape *tape, struct lrl_tensor *t, const void *grad) {
  void *to = lrl_grad_begin(tape, t);
  if (to == NULL)
    return;
  lrl_move(tape->ctx, to, grad, grad_bytes(t));
  lrl_tape_ok(tape, lrl_grad_end(tape, t, to));
}

/* Whether any result of the record received a gradient; without one there is nothing to go back
 * for. */
static bool has_work(const struct lrl_node *n) {
  bool any_out = false;
  for (int i = 0; i < 3; i++)
    if (n->out[i] != NULL) {
      any_out = true;
      if (n->out[i]->has_grad)
        return true;
    }
  return !any_out;
}

lrl_status lrl_backward(struct lrl_tape *tape) {
  for (struct lrl_node *n = tape->last; n != NULL && tape->status == LRL_OK; n = n->prev) {
    if (n->unit_done != NULL) {
      if (--n->unit_done->uses == 0)
        lrl_tape_ok(tape, tape->hooks->done(tape->hooks->user, n->unit_done));
      continue;
    }
    if (has_work(n))
      lrl_tape_ok(tape, n->back(tape, n + 1));
    for (int i = 0; i < 3; i++) {
      struct lrl_tensor *t = n->out[i];
      if (t != NULL && t->has_grad && !t->grad_borrowed)
        give_slot(tape, grad_bytes(t), t->grad);
      if (t != NULL)
        t->has_grad = false;
    }
  }
  tape->last = NULL;
  return tape->status;
}

/* ---- blocks with recomputation ---- */

struct block_saved {
  lrl_block_fn *fn;
  void *user;
  int n_in, n_out;
  struct lrl_tensor *in[4], *out[4];
};

static lrl_status block_back(struct lrl_tape *tape, void *saved) {
  struct block_saved *b = saved;
  /* Gradients of the inputs outlive the inner tape, so they are made before its mark. */
  for (int i = 0; i < b->n_in; i++)
    if (b->in[i] != NULL && b->in[i]->needs_grad && !b->in[i]->has_grad) {
      float beta;
      void *g = lrl_grad_target(tape, b->in[i], &beta);
      if (g != NULL)
        lrl_zero(tape->ctx, g, grad_bytes(b->in[i]));
    }
  struct lrl_tape inner = *tape;
  inner.last = NULL;
  inner.free_slots = NULL;
  inner.replay = true;
  size_t mark = lrl_arena_mark(tape->arena);
  struct lrl_tensor *out[4] = {0};
  b->fn(&inner, b->user, b->in, out);
  for (int i = 0; i < b->n_out && inner.status == LRL_OK; i++)
    if (b->out[i]->has_grad && out[i]->needs_grad) {
      out[i]->grad = b->out[i]->grad;
      out[i]->has_grad = true;
      out[i]->grad_borrowed = true;
    }
  lrl_status s = lrl_backward(&inner);
  lrl_arena_reset(tape->arena, mark);
  return s;
}

void lrl_block(struct lrl_tape *tape, lrl_block_fn *fn, void *user, int n_in,
               struct lrl_tensor **in, int n_out, struct lrl_tensor **out) {
  const bool plain = tape->record && !tape->recompute;
  const struct lrl_node *last = tape->last;
  struct lrl_tensor *kept[4] = {0}; /* in and out may be the same array */
  for (int i = 0; i < n_in; i++)
    kept[i] = in[i];
  /* The outputs' place is not known before fn ran; run it above a mark, then move them down. */
  size_t mark = lrl_arena_mark(tape->arena);
  if (plain || tape->status != LRL_OK)
    fn(tape, user, in, out);
  if (tape->status != LRL_OK || (plain && tape->last != last))
    return;
  struct lrl_tape inner = *tape;
  if (!plain) {
    inner.record = inner.saw_trainable = false;
    fn(&inner, user, in, out);
    if (!lrl_tape_ok(tape, inner.status))
      return;
  }
  bool grads = inner.saw_trainable; /* a frozen block of frozen inputs is not gone back through */
  for (int i = 0; i < n_in; i++)
    grads = grads || (kept[i] != NULL && kept[i]->needs_grad);
  tape->saw_trainable = tape->saw_trainable || inner.saw_trainable;
  struct lrl_tensor made[4];
  for (int i = 0; i < n_out; i++)
    made[i] = *out[i];
  lrl_arena_reset(tape->arena, mark);
  /* Moved in address order, every destination lies at or below its source and above nothing unread.
   */
  struct lrl_tensor moved[4];
  int order[4] = {0, 1, 2, 3};
  for (int i = 0; i < n_out; i++)
    for (int j = i + 1; j < n_out; j++)
      if ((char *)made[order[j]].data < (char *)made[order[i]].data) {
        int t = order[i];
        order[i] = order[j];
        order[j] = t;
      }
  for (int i = 0; i < n_out; i++) {
    struct lrl_tensor *m = &made[order[i]];
    moved[order[i]] = *m;
    void *to = lrl_tape_alloc(tape, grad_bytes(m));
    if (to == NULL)
      return;
    lrl_move(tape->ctx, to, m->data, grad_bytes(m));
    moved[order[i]].data = to;
  }
  for (int i = 0; i < n_out; i++)
    out[i] = new_tensor(tape, moved[i]);
  if (!grads || !tape->record || plain)
    return;
  struct block_saved *b = lrl_tape_record(tape, block_back, sizeof *b, out[0],
                                          n_out > 1 ? out[1] : NULL, n_out > 2 ? out[2] : NULL);
  if (b == NULL)
    return;
  b->fn = fn;
  b->user = user;
  b->n_in = n_in;
  b->n_out = n_out;
  for (int i = 0; i < n_in; i++)
    b->in[i] = kept[i];
  for (int i = 0; i < n_out; i++)
    b->out[i] = out[i];
}
