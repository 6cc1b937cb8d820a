/* Micro-batches: prompts with their responses as children, packed. */
#include "train/ppo_trainer.h"

#include <string.h>

/* The last token of a response is never fed. */
static int64_t fed(const struct lrl_ppo_experience *e, int64_t response) {
  return e->length[response] - 1;
}

void lrl_ppo_next(const struct lrl_ppo_experience *e, struct lrl_ppo_cursor *cursor,
                  int64_t max_tokens, struct lrl_ppo_slice *slices, int64_t *n_slices) {
  int64_t tokens = 0, n = 0;
  while (cursor->at < cursor->n) {
    const int64_t prompt = cursor->prompts[cursor->at];
    const struct lrl_ppo_prompt *p = &e->prompt[prompt];
    struct lrl_ppo_slice s = {.prompt = prompt, .first = p->first + cursor->done};
    int64_t cost = p->data.n_ids;
    while (cursor->done < p->n) {
      const int64_t more = fed(e, s.first + s.n);
      if (max_tokens > 0 && tokens + cost + more > max_tokens && (n > 0 || s.n > 0))
        break;
      cost += more;
      s.n++;
      cursor->done++;
    }
    if (s.n > 0) {
      slices[n++] = s;
      tokens += cost;
    }
    if (cursor->done < p->n)
      break;
    cursor->at++;
    cursor->done = 0;
  }
  *n_slices = n;
}

struct sizes {
  int64_t tokens, seqs, images, responses, response_tokens;
};
static struct sizes measure(const struct lrl_ppo_experience *e, const struct lrl_ppo_slice *slices,
                            int64_t n) {
  struct sizes z = {0};
  for (int64_t i = 0; i < n; i++) {
    const struct lrl_ppo_prompt *p = &e->prompt[slices[i].prompt];
    z.tokens += p->data.n_ids;
    z.images += p->n_images;
    z.seqs += 1 + slices[i].n;
    z.responses += slices[i].n;
    for (int64_t k = slices[i].first; k < slices[i].first + slices[i].n; k++) {
      z.tokens += fed(e, k);
      z.response_tokens += e->length[k];
    }
  }
  return z;
}

/* Where packing stands, and the arrays it fills. */
struct pack {
  const struct lrl_ppo_experience *e;
  int32_t *ids, *start, *length, *parent, *image_rows;
  int32_t *r_start, *r_length, *row, *token;
  int64_t tokens, seqs, images, responses, response_tokens;
};

static void begin(struct pack *k, int32_t parent, const int32_t *ids, int64_t n) {
  k->start[k->seqs] = (int32_t)k->tokens;
  k->length[k->seqs] = (int32_t)n;
  k->parent[k->seqs++] = parent;
  for (int64_t t = 0; t < n; t++, k->tokens++) {
    k->ids[k->tokens] = ids[t];
    if (ids[t] == LRL_ID_IMAGE)
      k->image_rows[k->images++] = (int32_t)k->tokens;
  }
}

static void add(struct pack *k, const struct lrl_ppo_slice *s) {
  const struct lrl_ppo_experience *e = k->e;
  const struct lrl_prompt *p = &e->prompt[s->prompt].data;
  const int32_t parent = (int32_t)k->seqs;
  begin(k, -1, p->ids, p->n_ids);
  const int32_t last = (int32_t)k->tokens - 1;
  for (int64_t r = s->first; r < s->first + s->n; r++) {
    const int32_t *tokens = e->token + e->start[r];
    const int32_t first = (int32_t)k->tokens;
    k->r_start[k->responses] = (int32_t)k->response_tokens;
    k->r_length[k->responses++] = e->length[r];
    begin(k, parent, tokens, fed(e, r));
    for (int32_t t = 0; t < e->length[r]; t++, k->response_tokens++) {
      k->row[k->response_tokens] = t == 0 ? last : first + t - 1;
      k->token[k->response_tokens] = tokens[t];
    }
  }
}

/* NULL stays NULL. */
static lrl_status gather(struct lrl_tape *tape, const struct lrl_ppo_experience *e,
                         const struct lrl_ppo_slice *slices, int64_t n, int64_t n_tokens,
                         const float *from, const float **out) {
  *out = NULL;
  if (from == NULL)
    return LRL_OK;
  float *to = lrl_tape_host(tape, (size_t)n_tokens * sizeof *to);
  *out = to;
  LRL_TRY(tape->status);
  for (int64_t i = 0; i < n; i++) {
    /* A slice's responses lie side by side. */
    const int64_t begin_at = e->start[slices[i].first], last = slices[i].first + slices[i].n - 1;
    const int64_t count = e->start[last] + e->length[last] - begin_at;
    memcpy(to, from + begin_at, (size_t)count * sizeof *to);
    to += count;
  }
  return LRL_OK;
}

void lrl_ppo_unpack(struct lrl_ctx *ctx, const struct lrl_ppo_experience *e,
                    const struct lrl_ppo_slice *slices, int64_t n, const float *packed, float *to) {
  for (int64_t i = 0; i < n; i++) {
    const int64_t begin_at = e->start[slices[i].first], last = slices[i].first + slices[i].n - 1;
    const int64_t count = e->start[last] + e->length[last] - begin_at;
    lrl_move(ctx, to + begin_at, packed, (size_t)count * sizeof *to);
    packed += count;
  }
}

static lrl_status pack_images(struct lrl_tape *tape, const struct lrl_ppo_experience *e,
                              const struct lrl_ppo_slice *slices, int64_t n, int64_t n_rows,
                              const struct lrl_vlm *model, const void *images, void **out) {
  const size_t row = (size_t)(model->cfg.decoder.hidden_size * lrl_dtype_bytes(model->cfg.dtype));
  char *to = lrl_tape_alloc(tape, (size_t)n_rows * row);
  *out = to;
  LRL_TRY(tape->status);
  for (int64_t i = 0; i < n; i++) {
    const struct lrl_ppo_prompt *p = &e->prompt[slices[i].prompt];
    lrl_move(tape->ctx, to, (const char *)images + (size_t)p->first_image * row,
             (size_t)p->n_images * row);
    to += (size_t)p->n_images * row;
  }
  return LRL_OK;
}

lrl_status lrl_ppo_pack(struct lrl_tape *tape, const struct lrl_ppo_experience *e,
                        const struct lrl_ppo_slice *slices, int64_t n, const struct lrl_vlm *model,
                        const void *images, struct lrl_ppo_packed *out) {
  const struct sizes z = measure(e, slices, n);
  int32_t *all = lrl_tape_host(
      tape, (size_t)(z.tokens + 3 * z.seqs + z.images + 2 * z.responses + 2 * z.response_tokens) *
                sizeof *all);
  LRL_TRY(tape->status);
  struct pack k = {.e = e, .ids = all};
  k.start = k.ids + z.tokens;
  k.length = k.start + z.seqs;
  k.parent = k.length + z.seqs;
  k.image_rows = k.parent + z.seqs;
  k.r_start = k.image_rows + z.images;
  k.r_length = k.r_start + z.responses;
  k.row = k.r_length + z.responses;
  k.token = k.row + z.response_tokens;
  for (int64_t i = 0; i < n; i++)
    add(&k, &slices[i]);
  LRL_ASSERT(k.tokens == z.tokens && k.seqs == z.seqs && k.images == z.images);
  *out = (struct lrl_ppo_packed){.batch = {.ids = k.ids,
                                           .layout = {.n_tokens = z.tokens,
                                                      .n_seqs = z.seqs,
                                                      .start = k.start,
                                                      .length = k.length,
                                                      .parent = k.parent},
                                           .image_rows = k.image_rows,
                                           .n_image_rows = z.images,
                                           .responses = {.n_tokens = z.response_tokens,
                                                         .n_seqs = z.responses,
                                                         .start = k.r_start,
                                                         .length = k.r_length},
                                           .row = k.row,
                                           .token = k.token}};
  struct lrl_ppo_targets *g = &out->targets;
  const int64_t m = z.response_tokens;
  LRL_TRY(gather(tape, e, slices, n, m, e->old_logprobs, &g->old_logprobs));
  LRL_TRY(gather(tape, e, slices, n, m, e->ref_logprobs, &g->ref_logprobs));
  LRL_TRY(gather(tape, e, slices, n, m, e->advantages, &g->advantages));
  LRL_TRY(gather(tape, e, slices, n, m, e->values, &g->old_values));
  LRL_TRY(gather(tape, e, slices, n, m, e->returns, &g->returns));
  return z.images == 0 ? LRL_OK
                       : pack_images(tape, e, slices, n, z.images, model, images, &out->images);
}
