/* Prompts to answer: the chats of JSON files up to the answer, as token ids ready for generation,
 * with what a judge of the answers needs. Encoded once when read; images are decoded when they are
 * needed. Nothing changes after reading. */
#ifndef LRL_DATA_PROMPTS_H
#define LRL_DATA_PROMPTS_H
#include "data/chat.h"
#include "data/image_ops.h"

/* Image tokens ids[first .. first + count) of a prompt. */
struct lrl_prompt_image {
  const char *path; /* from the file's folder on */
  struct lrl_image_grid grid;
  int64_t first, count;
};
/* Pointers into the set. */
struct lrl_prompt {
  const int32_t *ids; /* LRL_ID_IMAGE at image tokens; ends with the header of the answer */
  int64_t n_ids;
  const struct lrl_message *messages; /* the chat without the answer */
  int64_t n_messages;
  const char *const *images; /* as the row names them, from image_root on */
  const struct lrl_prompt_image *image;
  int64_t n_images;
  const char *image_root;
  const char *gold; /* the row's "gold" object as JSON text; NULL without one */
  const char *file;
  int64_t i_file, line; /* i_file: which of the files read */
};

struct lrl_prompts_options {
  const struct lrl_tokenizer *tokenizer;
  const struct lrl_image_ops *images; /* NULL: prompts with images are set aside */
  int64_t max_length;                 /* tokens of a prompt; 0: no limit */
  bool cut_left; /* longer ones lose tokens behind <s>, if they have no images; else they are set
                    aside */
  bool raw;      /* the last message's text is the prompt, without a template */
};
struct lrl_prompts;
/* `list`: files of chats or pairs (data/chats.h; of a pair the common prompt), or mixtures (*.txt,
 * whose numbers are not used), separated by commas. An answer that ends a chat is dropped. Rows
 * that cannot be used are set aside. Errors: a file that cannot be read, nothing left. Free with
 * lrl_prompts_free. */
lrl_status lrl_prompts_read(const char *list, const struct lrl_prompts_options *options,
                            struct lrl_prompts **out);
void lrl_prompts_free(struct lrl_prompts *p); /* NULL is fine */
int64_t lrl_prompts_n(const struct lrl_prompts *p);
void lrl_prompts_get(const struct lrl_prompts *p, int64_t i, struct lrl_prompt *out);
/* The files read, in order. */
int64_t lrl_prompts_n_files(const struct lrl_prompts *p);
const char *lrl_prompts_file(const struct lrl_prompts *p, int64_t i);
/* Rows set aside, and a sentence about the first ("" when none). */
int64_t lrl_prompts_n_aside(const struct lrl_prompts *p, const char **reason);
/* Tiles of all images of a prompt, in order: per image 1 + rows*cols of them. */
int64_t lrl_prompt_n_tiles(const struct lrl_prompt *p);
lrl_status lrl_prompt_tiles(const struct lrl_prompt *p, const struct lrl_image_ops *images,
                            float *out);
#endif
