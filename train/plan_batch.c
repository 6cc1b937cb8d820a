#include "train/plan_run.h"

#include <stdlib.h>

int64_t lrl_plan_batch_tokens(const struct lrl_plan_batch *b) {
  const int64_t prompts = b->pairs && !b->share_prefix ? 2 : 1;
  return b->n * (prompts * b->prompt + (b->pairs ? 2 : 1) * b->answer);
}

void lrl_plan_batch_free(struct lrl_batch *b) {
  free(b->ids);
  free(b->im_mask);
  free(b->positions);
  free(b->chosen_seq);
  free(b->pair_index);
  free(b->last_row);
  free(b->images);
  free(b->tiles);
  *b = (struct lrl_batch){0};
}

/* A block each for several arrays; the first of a block is what is freed. */
static bool make_room(struct lrl_batch *b, int64_t n, int64_t seqs, int64_t tokens,
                      int64_t images) {
  int32_t *layout = calloc((size_t)seqs * 4 + 1, sizeof *layout);
  int32_t *pairs = calloc((size_t)n * 5 + 1, sizeof *pairs);
  int64_t *lengths = calloc((size_t)n * 3 + 1, sizeof *lengths);
  b->layout = (struct lrl_layout){.n_tokens = tokens,
                                  .n_seqs = seqs,
                                  .start = layout + seqs,
                                  .length = layout + 2 * seqs,
                                  .parent = layout + 3 * seqs};
  b->last_row = layout;
  b->chosen_seq = pairs;
  b->rejected_seq = pairs + n;
  b->chosen_last = pairs + 2 * n;
  b->rejected_last = pairs + 3 * n;
  b->source = pairs + 4 * n;
  b->pair_index = lengths;
  b->chosen_len = lengths + n;
  b->rejected_len = lengths + 2 * n;
  b->ids = calloc((size_t)tokens + 1, sizeof *b->ids);
  b->im_mask = calloc((size_t)tokens + 1, sizeof *b->im_mask);
  b->positions = calloc((size_t)tokens + 1, sizeof *b->positions);
  b->images = calloc((size_t)images + 1, sizeof *b->images);
  return layout != NULL && pairs != NULL && lengths != NULL && b->ids != NULL &&
         b->im_mask != NULL && b->positions != NULL && b->images != NULL;
}

/* Appends `prompt` tokens, of which the first `image` are an image's, and `answer` ones. A prompt
 * of chats has no id at all, so that it is not learned. */
static int32_t sequence(struct lrl_batch *b, const struct lrl_plan_batch *shape, int32_t parent,
                        int64_t prompt, int64_t image, int64_t answer) {
  const int32_t s = (int32_t)b->n_seqs++, at = (int32_t)b->n_tokens;
  const int64_t seqs = b->layout.n_seqs;
  int32_t *layout = b->last_row + seqs; /* start, length, parent */
  layout[s] = at;
  layout[seqs + s] = (int32_t)(prompt + answer);
  layout[2 * seqs + s] = parent;
  for (int32_t i = 0; i < prompt + answer; i++, b->n_tokens++) {
    b->ids[at + i] = i < image || (!shape->pairs && i < prompt) ? -1 : 1;
    b->im_mask[at + i] = i < image;
    b->positions[at + i] = i + (int32_t)(parent >= 0 ? shape->prompt : 0);
  }
  b->last_row[s] = (int32_t)b->n_tokens - 1;
  if (image > 0) /* a prompt that stands twice has its tiles once */
    b->images[b->n_images++] = (struct lrl_batch_image){.rows = (int32_t)shape->rows,
                                                        .cols = (int32_t)shape->cols,
                                                        .first_tile = b->n_tiles,
                                                        .n_tiles = 1 + shape->rows * shape->cols,
                                                        .first_row = at,
                                                        .n_rows = image};
  return s;
}

static void add(struct lrl_batch *b, const struct lrl_plan_batch *shape, int64_t image) {
  const int64_t i = b->n_pairs++;
  const bool shared = shape->pairs && shape->share_prefix;
  const int32_t prompt = shared ? sequence(b, shape, -1, shape->prompt, image, 0) : -1;
  const int64_t own = shared ? 0 : shape->prompt, own_image = shared ? 0 : image;
  b->chosen_seq[i] = sequence(b, shape, prompt, own, own_image, shape->answer);
  b->rejected_seq[i] =
      shape->pairs ? sequence(b, shape, prompt, own, own_image, shape->answer) : b->chosen_seq[i];
  b->chosen_last[i] = b->last_row[b->chosen_seq[i]];
  b->rejected_last[i] = b->last_row[b->rejected_seq[i]];
  b->pair_index[i] = i;
  b->chosen_len[i] = b->rejected_len[i] = shape->answer;
  b->n_tiles += image > 0 ? 1 + shape->rows * shape->cols : 0;
}

lrl_status lrl_plan_batch_make(const struct lrl_plan_batch *shape, const struct lrl_vit_config *vit,
                               int64_t pairs_step, struct lrl_batch *out) {
  const int64_t image = shape->rows > 0 ? lrl_vlm_image_tokens(vit, shape->rows, shape->cols) : 0;
  *out = (struct lrl_batch){.n_pairs_step = pairs_step, .weight_step = 1, .set_aside_reason = ""};
  if (image > shape->prompt)
    return LRL_FAIL(
        LRL_ERR_ARG,
        "an image of %lld x %lld tiles has %lld tokens, the prompt of %lld tokens has no "
        "room for it",
        (long long)shape->rows, (long long)shape->cols, (long long)image, (long long)shape->prompt);
  const int64_t tokens = lrl_plan_batch_tokens(shape);
  if (tokens > INT32_MAX / 2)
    return LRL_FAIL(LRL_ERR_ARG, "%lld tokens in a micro-batch are too many", (long long)tokens);
  const int64_t seqs = shape->n * (!shape->pairs ? 1 : shape->share_prefix ? 3 : 2);
  if (!make_room(out, shape->n, seqs, tokens, shape->n * 2))
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a batch of %lld tokens", (long long)tokens);
  for (int64_t i = 0; i < shape->n; i++)
    add(out, shape, image);
  if (out->n_tiles == 0)
    return LRL_OK;
  out->tile = (int32_t)vit->image_size;
  const size_t pixels = (size_t)(3 * vit->image_size * vit->image_size);
  out->tiles = calloc((size_t)out->n_tiles * pixels, sizeof *out->tiles);
  return out->tiles != NULL
             ? LRL_OK
             : LRL_FAIL(LRL_ERR_MEMORY, "no memory for %lld tiles", (long long)out->n_tiles);
}
