/* What launch/generate.c and launch/generate_rows.c share. */
#ifndef LRL_LAUNCH_GENERATE_H
#define LRL_LAUNCH_GENERATE_H
#include "data/chats.h"
#include "train/judge.h"
#include "train/saved_model.h"

#include <stdio.h>

struct lrl_generate_options {
  char prompt[LRL_OPTION_TEXT], reward[LRL_OPTION_TEXT], out[LRL_OPTION_TEXT],
      image_root[LRL_OPTION_TEXT];
  bool raw;
  int64_t samples, max_new_tokens, top_k, seed, best_of, hd_num, max_length, max_samples, threads;
  double temperature, top_p, repetition_penalty;
  int image_transform, device;
};

extern const struct lrl_option_table lrl_generate_table;

/* A row of the file of prompts, kept until its answers are written. */
struct lrl_generate_row {
  json_t *id;
  int64_t row, line, n_messages, n_images;
  struct lrl_message *messages; /* room for one more: the answer, when it is scored */
  const char **images;
  char *text;      /* what they point into */
  char *gold;      /* the row's "gold" as JSON text; NULL: none */
  int64_t seq;     /* its prompt in the batch; -1: none */
  char error[300]; /* "" when the row is good */
};

struct lrl_generator {
  const struct lrl_generate_options *o;
  struct lrl_saved_model *model;
  struct lrl_image_ops images;
  struct lrl_batch_builder batch; /* prompts of the good rows, in order */
  struct lrl_arena memory;
  struct lrl_saved_model *reward; /* NULL: answers are not scored */
  struct lrl_judge judge;
  const char *image_root;
  FILE *out;
  int32_t stop[2];
  int n_stop;
  bool raw, stream; /* raw: asked for, or how the model was trained */
  size_t streamed;  /* bytes printed */
  struct lrl_generate_row *rows;
  int64_t n_rows, cap_rows, n_samples, n_done, n_failed;
};

lrl_status lrl_generate_row_copy(const struct lrl_chat_row *from, struct lrl_generate_row *to);
void lrl_generate_row_free(struct lrl_generate_row *r);
/* Scores the answers when there is a reward model, and writes a line per row. */
lrl_status lrl_generate_write(struct lrl_generator *g, const struct lrl_generation *out);
/* Prints what a new token adds to the text; user is the generator. */
void lrl_generate_stream(void *user, const struct lrl_gen_sample *s, bool done);
#endif
