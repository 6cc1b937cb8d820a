/* A corpus: preference pairs as token ids in shared-prefix form, the files' image bytes (each
 * distinct image once), and what was set aside and why. Built in memory from preference files, and
 * saved to or opened from one HDF5 file; training takes either. Nothing changes after building, so
 * threads may read it at the same time. */
#ifndef LRL_DATA_CORPUS_H
#define LRL_DATA_CORPUS_H
#include "data/image_ops.h"
#include "data/pairs.h"

#include <stdio.h>

struct lrl_corpus;

/* One file of a mixture. */
struct lrl_corpus_source {
  const char *path;
  const char *name;       /* NULL: the file's name */
  const char *image_root; /* where relative image paths start; NULL: the file's folder */
  double number;          /* thousands of pairs per epoch, or a ratio of the file; 0 = all, once */
  bool given_num;         /* which of the two (SPEC 5.7) */
};

/* A mixture file: "<json path> <number>" a line, blank lines ignored. A relative path counts from
 * the mixture file's folder, or from the working folder when it is only there. LRL_ERR_FORMAT names
 * file and line. Free with lrl_mixture_free. */
struct lrl_mixture {
  struct lrl_corpus_source *sources;
  int64_t n;
};
lrl_status lrl_mixture_read(const char *path, bool given_num, struct lrl_mixture *out);
void lrl_mixture_free(struct lrl_mixture *m);

enum lrl_length_unit { LRL_LENGTH_TOKENS, LRL_LENGTH_CHARS };
/* Rows with the same key are held out together: the context's text, or the first image's path (the
 * text where there is none). */
enum lrl_holdout_key { LRL_HOLDOUT_PROMPT, LRL_HOLDOUT_IMAGE };

struct lrl_corpus_options {
  const struct lrl_tokenizer *tokenizer;
  enum lrl_corpus_form form;
  struct lrl_chat_options chat;       /* max_length cuts long conversations */
  const struct lrl_image_ops *images; /* NULL: pairs with images are set aside */
  bool check_data;                    /* SPEC 5.4 */
  bool allow_context_mismatch;        /* keep pairs whose conversations differ before the reply */
  bool filter_overlong;               /* set pairs over max_length aside instead of cutting them */
  bool drop_duplicates;
  double length_ratio; /* keep if len(chosen) <= ratio * len(rejected); 0 = off (SPEC 5.5) */
  enum lrl_length_unit length_unit;
  /* holdout > 0: of every file, read only the share `holdout` (held_out) or only the rest. Which
   * part a row belongs to is a function of its key alone. Rows of the other part count nowhere. */
  double holdout;
  bool held_out;
  enum lrl_holdout_key holdout_by;
};

/* Reads and encodes all sources in order. Rows that cannot be used are set aside; only files that
 * cannot be read, or are not JSON as a whole, and lack of memory are errors. Free *out with
 * lrl_corpus_free. */
lrl_status lrl_corpus_build(const struct lrl_corpus_source *sources, int64_t n_sources,
                            const struct lrl_corpus_options *options, struct lrl_corpus **out);
void lrl_corpus_free(struct lrl_corpus *c); /* NULL is fine */
/* From a comma-separated list: preference files (data/pairs.h), mixture files (*.txt, read with
 * given_num), or one packed corpus (*.h5, which must fit options->tokenizer; the other options were
 * settled when it was packed). Errors as lrl_corpus_build, lrl_mixture_read, lrl_corpus_open. */
lrl_status lrl_corpus_read(const char *list, bool given_num,
                           const struct lrl_corpus_options *options, struct lrl_corpus **out);

/* Writes path.tmp, syncs it and renames it to path. Every dataset carries its CRC-32. */
lrl_status lrl_corpus_save(const struct lrl_corpus *c, const char *path);
/* Reads a saved corpus into memory and checks every checksum and every offset. LRL_ERR_IO,
 * LRL_ERR_FORMAT name the file and the dataset. */
lrl_status lrl_corpus_open(const char *path, struct lrl_corpus **out);

/* Image tokens of one image: `count` positions from `start` within sequence `seq` of the pair. */
struct lrl_corpus_span {
  int32_t image; /* index of the stored image */
  int32_t seq;   /* 0 prompt, 1 chosen, 2 rejected */
  int32_t start, count;
  int32_t rows, cols; /* tile grid */
  int32_t
      n_in_chat; /* images of the conversation (scoring gives two or more fewer tiles, SPEC 3.2) */
};

/* Pointers into the corpus. The chosen conversation is prompt + chosen, the rejected one prompt +
 * rejected; both answers have at least one token. In a corpus of answers all of a conversation is
 * `chosen`, and nothing is rejected. An image normally lies in the prompt; where the
 * shared prefix ends before it, both answers carry it. */
struct lrl_corpus_pair {
  const int32_t *prompt, *chosen, *rejected; /* LRL_ID_IMAGE at image tokens */
  int64_t n_prompt, n_chosen, n_rejected;
  const struct lrl_corpus_span *spans; /* ascending (seq, start) */
  int64_t n_spans;
  int32_t source;
  int64_t line;
  float margin; /* NaN without one */
  const char *id;
};
int64_t lrl_corpus_n_pairs(const struct lrl_corpus *c);
void lrl_corpus_get(const struct lrl_corpus *c, int64_t i, struct lrl_corpus_pair *out);

struct lrl_corpus_image {
  const void *bytes; /* the file as it was */
  size_t n_bytes;
  int32_t width, height;
};
int64_t lrl_corpus_n_images(const struct lrl_corpus *c);
void lrl_corpus_get_image(const struct lrl_corpus *c, int64_t i, struct lrl_corpus_image *out);

struct lrl_corpus_source_info {
  const char *name, *path;
  double number;
  bool given_num;
  bool multimodal;        /* the first row has an image key */
  int64_t n_rows, n_kept; /* n_rows - n_kept were set aside */
  int64_t first_pair;     /* its pairs are first_pair .. first_pair + n_kept - 1 */
};
int64_t lrl_corpus_n_sources(const struct lrl_corpus *c);
void lrl_corpus_get_source(const struct lrl_corpus *c, int64_t i,
                           struct lrl_corpus_source_info *out);

struct lrl_corpus_aside {
  int32_t source;
  int64_t line;
  enum lrl_aside reason;
  const char *detail;
};
int64_t lrl_corpus_n_asides(const struct lrl_corpus *c);
void lrl_corpus_get_aside(const struct lrl_corpus *c, int64_t i, struct lrl_corpus_aside *out);

/* "crc32:xxxxxxxx:bytes" of the tokenizer model the corpus was encoded with. LRL_ERR_ARG from the
 * check, naming both, when `t` is another one. */
const char *lrl_corpus_tokenizer_hash(const struct lrl_corpus *c);
lrl_status lrl_corpus_check_tokenizer(const struct lrl_corpus *c, const struct lrl_tokenizer *t);

/* Prints counts, histograms of token lengths and image sizes, the reasons with an example each, and
 * one pair as text (token counts only when t is NULL). */
lrl_status lrl_corpus_inspect(const struct lrl_corpus *c, const struct lrl_tokenizer *t, FILE *out);
#endif
