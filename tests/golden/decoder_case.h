/* A file of the A families, opened: a decoder with its weights and packed inputs. */
#ifndef LRL_TESTS_DECODER_CASE_H
#define LRL_TESTS_DECODER_CASE_H
#include "model/decoder.h"
#include "tests/golden/golden.h"

struct decoder_case {
  struct golden *g;
  const char *name;
  struct g5 file;
  struct lrl_ctx ctx;
  struct lrl_arena steps, weights;
  struct lrl_param_set params;
  struct lrl_decoder decoder;
  int output_unit;
  lrl_dtype dtype;
  /* packed view of the padded inputs: packed row t is padded cell cell[t] of [B, T] */
  int64_t n_tokens, n_image_rows, batch, width;
  int32_t *ids, *cell, *start, *length, *positions, *image_rows;
  struct lrl_layout layout;
  struct g5_array image_embeds;
  const char *suffix; /* of output names: "" or "_bf16" */
  double hidden_tolerance, worst_hidden;
  int n_hidden;
};

/* The decoder that a file's attributes describe. */
struct lrl_decoder_config g5_decoder(const struct g5 *f, int32_t default_pad_token_id);

/* False, with the reason printed, when the case cannot run; close it in any case. */
bool decoder_case_open(struct decoder_case *d, struct golden *g, const char *path, const char *name,
                       lrl_dtype dtype, bool trainable);
void decoder_case_close(struct decoder_case *d);

/* golden_cache.c: prefills the first n_prompt tokens of every row, then feeds the others one by
 * one. */
void decoder_case_decode(struct decoder_case *d);
#endif
