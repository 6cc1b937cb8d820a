/* Define-by-run autograd. An operation (model/nn.h) runs at once on the backend and, when one of
 * its inputs needs a gradient, records how to go back; lrl_backward() walks the records in reverse.
 *
 * Everything a step creates - tensors, records, gradients - lives in one stack arena: a step takes
 * a mark, builds, goes back and resets. Gradients of activations are recycled as soon as the
 * operation that produced the activation has used them. Errors are sticky: the first one is kept in
 * tape->status, later operations do nothing, and the caller checks once. */
#ifndef LRL_TAPE_H
#define LRL_TAPE_H
#include "kernels/backend.h"
#include "model/param.h"
#ifdef __cplusplus
extern "C" {
#endif

/* A matrix [rows, cols], dense. A parameter's gradient is f32, an activation's has its dtype. */
struct lrl_tensor {
  int64_t rows, cols;
  lrl_dtype dtype;
  bool needs_grad, is_param;
  bool has_grad;      /* activation: grad holds a value */
  bool grad_borrowed; /* grad belongs to another tensor; never recycled through this one */
  void *data, *grad;
  uint64_t version;            /* parameters: see lrl_gemm_args.b_version */
  struct lrl_param_unit *unit; /* parameters: the unit it is a view of */
};

struct lrl_tape;
/* Goes back through one recorded operation; `saved` is what lrl_tape_record returned. */
typedef lrl_status lrl_back(struct lrl_tape *tape, void *saved);

struct lrl_node {
  struct lrl_node *prev;
  lrl_back *back;
  struct lrl_tensor *out[3];        /* activations produced here; NULL-padded */
  struct lrl_param_unit *unit_done; /* set: a use of the unit begins here */
};

/* Follows the gradients of trainable units through a training pass. Whoever sets it has zeroed
 * `uses` and `touched` of all units before the forward. A failure ends the pass. */
struct lrl_unit_hooks {
  /* Before the pass adds to unit->grad for the first time. */
  lrl_status (*touch)(void *user, struct lrl_param_unit *unit);
  /* Going back, after the pass added to it for the last time: at most once, however often the unit
   * was used and whether blocks were recomputed. Not called for a unit that is not used, or that
   * no gradient reaches. */
  lrl_status (*done)(void *user, struct lrl_param_unit *unit);
  void *user;
};

struct lrl_tape {
  struct lrl_ctx *ctx;
  struct lrl_arena *arena;
  lrl_status status;
  bool record;    /* false: inference, nothing is recorded */
  bool recompute; /* lrl_block keeps only a block's inputs and outputs and runs it again going back
                   */
  bool saw_trainable; /* a parameter that wants a gradient was used, recording or not */
  struct lrl_node *last;
  struct lrl_grad_slot *free_slots;   /* recycled gradient buffers */
  const struct lrl_unit_hooks *hooks; /* NULL: nobody follows the units' gradients */
  bool replay;                        /* runs a block again; its units were counted before */
};

void lrl_tape_init(struct lrl_tape *tape, struct lrl_ctx *ctx, struct lrl_arena *arena,
                   bool record);

/* A new activation with uninitialised data. Never NULL; on error its data is NULL and tape->status
 * is set. needs_grad false. */
struct lrl_tensor *lrl_tensor_new(struct lrl_tape *tape, lrl_dtype dtype, int64_t rows,
                                  int64_t cols);
/* Wraps caller-owned data (needs_grad false). */
struct lrl_tensor *lrl_tensor_wrap(struct lrl_tape *tape, lrl_dtype dtype, int64_t rows,
                                   int64_t cols, void *data);
/* A parameter of a unit as [dim[0], product of the rest] (1-D: [1, dim[0]]); needs a gradient iff
 * the unit is trainable and the tape records. Ops wait for its values (lrl_param_ready). */
struct lrl_tensor *lrl_tensor_param(struct lrl_tape *tape, struct lrl_param_unit *unit, int index);
/* Step memory for operands of ops, a device's: the host uses lrl_zero, lrl_move and lrl_read. NULL
 * on error (status set). */
void *lrl_tape_alloc(struct lrl_tape *tape, size_t bytes);
/* Step memory of the host's: records, and lists that it fills for ops. */
void *lrl_tape_host(struct lrl_tape *tape, size_t bytes);

/* Appends a record with `bytes` of zeroed payload; NULL when not recording or after an error.
 * out0..out2: activations produced, marked as needing gradients. */
void *lrl_tape_record(struct lrl_tape *tape, lrl_back *back, size_t bytes, struct lrl_tensor *out0,
                      struct lrl_tensor *out1, struct lrl_tensor *out2);
/* Call before each place that uses `unit`, for the hooks: everything between here and the next
 * such call for this unit, or the end, is one use. */
void lrl_tape_unit_begin(struct lrl_tape *tape, struct lrl_param_unit *unit);

/* Keeps the first error. */
static inline bool lrl_tape_ok(struct lrl_tape *tape, lrl_status s) {
  if (tape->status == LRL_OK)
    tape->status = s;
  return tape->status == LRL_OK;
}

/* Where to put a contribution to t's gradient: *beta is 0 for the first and 1 for later ones. NULL
 * when t needs none. */
void *lrl_grad_target(struct lrl_tape *tape, struct lrl_tensor *t, float *beta);
/* Where to add to a parameter's f32 gradient; NULL when it needs none. */
float *lrl_param_grad(struct lrl_tape *tape, struct lrl_tensor *p);
/* For backends ops that only overwrite: begin gives a buffer to overwrite, end adds it when t
 * already had a gradient. */
void *lrl_grad_begin(struct lrl_tape *tape, struct lrl_tensor *t);
lrl_status lrl_grad_end(struct lrl_tape *tape, struct lrl_tensor *t, void *buffer);

/* Runs the records from the last to the first. The caller has set the gradients of the results
 * (lrl_grad_seed). Gradients of parameters are accumulated into their units. */
lrl_status lrl_backward(struct lrl_tape *tape);
/* Sets t's gradient by copying `grad` [rows, cols] of t's dtype. */
void lrl_grad_seed(struct lrl_tape *tape, struct lrl_tensor *t, const void *grad);

/* A block: out[0..n_out) = fn(in[0..n_in)). With tape->recompute, where nothing is recorded,
 * or fn is frozen, only inputs and outputs stay in memory; with recompute fn runs again going back.
 * Entries of in may be NULL; in and out may be one array. At most 4 of each. */
typedef void lrl_block_fn(struct lrl_tape *tape, void *user, struct lrl_tensor **in,
                          struct lrl_tensor **out);
void lrl_block(struct lrl_tape *tape, lrl_block_fn *fn, void *user, int n_in,
               struct lrl_tensor **in, int n_out, struct lrl_tensor **out);

#ifdef __cplusplus
}
#endif
#endif
