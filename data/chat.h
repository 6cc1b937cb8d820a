/* Chat template, packing of text and image parts into one id sequence, label mask, answer filter.
 */
#ifndef LRL_DATA_CHAT_H
#define LRL_DATA_CHAT_H
#include "data/tokenizer.h"

#define LRL_ID_IMAGE (-1)    /* stands at every position that holds an image token */
#define LRL_ID_IGNORE (-100) /* a target without loss */
#define LRL_CHAT_IMAGE "<ImageHere>"

struct lrl_message {
  const char *role, *content; /* UTF-8 */
};

enum lrl_chat_mode {
  LRL_CHAT_TRAINING, /* content stripped; human/user -> user, system -> system (in any case), else
                        assistant */
  LRL_CHAT_SCORING,  /* content as is; roles other than system, user, assistant are errors */
};

enum lrl_chat_suffix {
  LRL_CHAT_NO_SUFFIX,
  LRL_CHAT_REWARD,            /* "</s>[UNUSED_TOKEN_130]": ... im_end "\n" </s> reward */
  LRL_CHAT_REWARD_NO_NEWLINE, /* as transformers 4.33 made it: ... im_end </s> reward */
  LRL_CHAT_EOS,               /* "</s>", training of answers */
  LRL_CHAT_GENERATE,          /* "[UNUSED_TOKEN_146]assistant\n", the answer follows */
};

/* "[UNUSED_TOKEN_146]" role "\n" content "[UNUSED_TOKEN_145]\n" per message, then the suffix.
 * *out is malloc'ed; free() it. LRL_ERR_FORMAT for an unknown role in scoring mode or NULL fields.
 */
lrl_status lrl_chat_render(const struct lrl_message *messages, int64_t n, enum lrl_chat_mode mode,
                           enum lrl_chat_suffix suffix, char **out);

/* count image tokens of image `image` (0-based) stand at ids[start .. start+count). */
struct lrl_image_span {
  int32_t image;
  int64_t start, count;
};

struct lrl_chat_ids {
  struct lrl_ids ids; /* LRL_ID_IMAGE at image positions */
  struct lrl_image_span *spans;
  int64_t n_spans;
  int64_t n_full; /* length before the cut to max_length */
};
void lrl_chat_ids_free(struct lrl_chat_ids *c);

enum lrl_chat_pack {
  LRL_PACK_REWARD, /* first part tokenised even when empty: <s> image text (also inference) */
  LRL_PACK_SFT,    /* an empty first part is skipped: image <s> text */
};

enum lrl_chat_template {
  LRL_TEMPLATE_CHAT,
  /* For models without a template: <s>, the contents one after another as they are, and, where the
   * suffix ends an answer (all but NO_SUFFIX and GENERATE), </s> or <s>. No images. */
  LRL_TEMPLATE_TEXT_EOS,
  LRL_TEMPLATE_TEXT_BOS, /* stories of llama2.c: each ends where the next begins */
};

struct lrl_chat_options {
  enum lrl_chat_mode mode;
  enum lrl_chat_suffix suffix;
  enum lrl_chat_pack pack;
  int64_t max_length; /* cut on the right to this many positions; 0 = no limit */
  enum lrl_chat_template form;
};

/* Rendered text -> ids. The text is split at <ImageHere>, part k is followed by image k, each part
 * is tokenised on its own, bos once. One image and no <ImageHere>: it is put in front.
 * image_tokens[k] = number of tokens of image k. LRL_ERR_FORMAT when the numbers of images and of
 * <ImageHere> differ. Spans are cut along with the ids; images wholly behind the cut have no span.
 * *out is overwritten; free with lrl_chat_ids_free. */
lrl_status lrl_chat_pack(const struct lrl_tokenizer *t, const char *text,
                         const int64_t *image_tokens, int64_t n_images, enum lrl_chat_pack pack,
                         int64_t max_length, struct lrl_chat_ids *out);
/* lrl_chat_render followed by lrl_chat_pack; or the text template. */
lrl_status lrl_chat_encode(const struct lrl_tokenizer *t, const struct lrl_message *messages,
                           int64_t n, const int64_t *image_tokens, int64_t n_images,
                           const struct lrl_chat_options *options, struct lrl_chat_ids *out);

/* Targets for the language loss (not shifted): ids[i] where the position is an answer, else
 * LRL_ID_IGNORE. Answer = after the header of an assistant turn up to and including its im_end, and
 * the
 * </s> after the last turn; a final answer may be cut off. Other roles, headers, image positions
 * and all after </s> are ignored. Turns are told by their role, not by counting. targets has n
 * entries. */
lrl_status lrl_mask_human_targets(const struct lrl_tokenizer *t, const int32_t *ids, int64_t n,
                                  int32_t *targets);
/* The same for what lrl_chat_encode made with any template: in the text templates every token but
 * the first <s> is a target. */
lrl_status lrl_chat_targets(const struct lrl_tokenizer *t, enum lrl_chat_template form,
                            const int32_t *ids, int64_t n, int32_t *targets);
/* The official function bit for bit, for parity tests only: turns alternate by parity (a system
 * turn flips them), 5 ids after a question's im_end are taken for the assistant header. */
void lrl_mask_human_targets_official(int32_t im_end, int32_t eos, const int32_t *ids, int64_t n,
                                     int32_t *targets);

/* The official data filter, for the last message of both conversations of a pair. NULL when the
 * answer is fit, else a short reason: it holds <|im_start|> or <|im_end|>; it is empty or blank; it
 * is longer than 500 characters and has a word (between ' ' and '\n') longer than 100. Lengths in
 * code points. */
const char *lrl_chat_reject_answer(const char *content);
#endif
