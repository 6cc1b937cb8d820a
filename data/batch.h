/* A micro-batch: preference pairs as packed sequences, ready for the model. No padding exists. A
 * pair is a prompt sequence followed by its two children, chosen and then rejected; the prompt with
 * its image tokens is stored once (DESIGN 3). With sharing off each pair is two sequences without
 * a parent that both hold the prompt. Single chats (scoring) and the conversations of a batch of
 * answers are sequences without a parent.
 *
 * All arrays belong to whoever handed out the batch (the loader: valid until it is given back; or
 * lrl_batch_builder: valid until the builder is reset). Readers change nothing. */
#ifndef LRL_BATCH_H
#define LRL_BATCH_H
#include "kernels/layout.h"
#include "kernels/status.h"
#ifdef __cplusplus
extern "C" {
#endif

/* One place where an image stands in the packed tokens. An image that stands in two sequences (a
 * pair whose image is not inside the shared prefix, or sharing off) has two entries with the same
 * first_tile: its tiles exist, and need encoding, once. */
struct lrl_batch_image {
  int32_t rows, cols; /* tile grid of the sub images (SPEC 2.2: h and w) */
  int64_t first_tile; /* index into tiles: the global view, then rows*cols tiles in raster order */
  int64_t n_tiles;    /* 1 + rows*cols */
  int64_t first_row;  /* packed row of the first image token */
  int64_t n_rows;     /* image tokens present; fewer than the image has when max_length cut it */
};

struct lrl_batch {
  int64_t n_pairs; /* 0 for a batch of single chats, or when every pair was set aside */
  int64_t n_seqs, n_tokens;
  int32_t *ids;             /* [n_tokens]; -1 at image tokens */
  uint8_t *im_mask;         /* [n_tokens]; 1 at image tokens */
  int32_t *positions;       /* [n_tokens]; children go on where their parent ends */
  struct lrl_layout layout; /* n_tokens, n_seqs, start, length, parent; first_pos is NULL */

  /* Per pair [n_pairs]. */
  int32_t *chosen_seq, *rejected_seq;   /* sequence indices; in a batch of answers the rejected
                                           are the chosen ones again */
  int32_t *chosen_last, *rejected_last; /* packed row of the last token: where the score is read */
  int32_t *source;                      /* index of the source (data set) in the corpus */
  int64_t *pair_index;                  /* index of the pair in the corpus */
  int64_t *chosen_len, *rejected_len;   /* tokens that belong to this answer only */
  float *margin;                        /* NULL when no pair has one; 0 for those without */

  /* Per sequence [n_seqs]: packed row of its last token, -1 for an empty sequence. */
  int32_t *last_row;

  int64_t n_images, n_tiles;
  struct lrl_batch_image *images; /* [n_images], ascending first_row */
  float *tiles;                   /* [n_tiles][3][tile][tile], normalised (SPEC 2.4) */
  int32_t tile;                   /* side of a tile in pixels */

  /* Where this micro-batch stands. */
  int64_t epoch, step;          /* step of the run this belongs to */
  int64_t micro, n_micro;       /* micro-batch of this rank within the step */
  int64_t n_pairs_step;         /* pairs of the whole step over all ranks, before setting aside */
  int64_t weight_step;          /* their weights, see lrl_loader_options */
  int64_t n_set_aside;          /* pairs dropped from this micro-batch while loading */
  const char *set_aside_reason; /* sentence for the last of them, "" when none */
};

#ifdef __cplusplus
}
#endif
#endif
