/* The vision-language model: vision tower -> 2x2 merge with newline tokens -> projector -> splice
 * into the decoder -> a head: scalar for reward and value models (SPEC 2, 5.1), the vocabulary for
 * language models. */
#ifndef LRL_VLM_H
#define LRL_VLM_H
#include "model/decoder.h"
#include "model/vit.h"
#ifdef __cplusplus
extern "C" {
#endif

#define LRL_VLM_TOWER "vit.vision_tower.vision_model." /* begins the names of the vision tower */

enum lrl_vlm_head {
  LRL_VLM_SCORE = 0,    /* "score.weight" [1, hidden] */
  LRL_VLM_LANGUAGE = 1, /* "output.weight" [vocab, hidden] */
};
enum lrl_pooling { LRL_POOLING_LAST = 0, LRL_POOLING_MEAN = 1 };

struct lrl_vlm_config {
  struct lrl_decoder_config decoder;
  enum lrl_vlm_head head;
  bool has_vision;
  struct lrl_vit_config vit;
  enum lrl_pooling pooling; /* of scores */
  lrl_dtype dtype;
  /* What gets gradients. With LoRA (decoder.lora_r) train_decoder speaks of the adapters, and the
   * GN vectors stay frozen; the head trains unless freeze_head, which is the official LoRA script.
   */
  bool train_decoder, train_vision, train_projector, freeze_head;
};

struct lrl_vlm {
  struct lrl_vlm_config cfg;
  struct lrl_param_set params;
  struct lrl_arena weights;
  struct lrl_decoder decoder;
  struct lrl_vit vit;
  int gn_unit, projector_unit, head_unit; /* -1 without vision for the first two */
};

/* Builds and allocates; parameters are zero until lrl_param_set_init or a loader fills them. */
lrl_status lrl_vlm_init(struct lrl_vlm *m, const struct lrl_vlm_config *cfg);
/* The same without memory for values: names and shapes only, for files that are larger than it. */
lrl_status lrl_vlm_describe(struct lrl_vlm *m, const struct lrl_vlm_config *cfg);
void lrl_vlm_free(struct lrl_vlm *m);

/* What two models have in common on the way from pixels to image tokens. */
enum lrl_vision_share { LRL_VISION_OWN, LRL_VISION_TOWER, LRL_VISION_ALL };
/* Makes `to` use the memory of `from`, which must outlive it, for every unit of the vision tower,
 * the separators and the projector that is frozen and holds the same values in both, and gives its
 * own back. TOWER: the features of `from` are those of `to`; ALL: so are the image tokens. */
enum lrl_vision_share lrl_vlm_share_vision(struct lrl_vlm *to, const struct lrl_vlm *from);

/* Images of a batch: tiles f32 [n_tiles, 3, size, size], per image first the global view, then
 * rows*cols tiles in raster order. */
struct lrl_vlm_images {
  int64_t n_images, n_tiles;
  const int32_t *rows, *cols; /* [n_images] */
  const float *tiles;
};
/* Tokens of an image of rows x cols tiles: (rows*cols+1)*g^2 + 1 + (rows+1)*g (SPEC 2.2). */
int64_t lrl_vlm_image_tokens(const struct lrl_vit_config *c, int64_t rows, int64_t cols);
/* [n_tiles * tokens of a tile, vit width]: what the tower makes of the tiles. */
struct lrl_tensor *lrl_vlm_features(struct lrl_tape *tape, struct lrl_vlm *m,
                                    const struct lrl_vlm_images *images);
/* [sum of image tokens, 4*vit width]: merged patches and GN tokens, before the projector; features
 * NULL: they are computed. */
struct lrl_tensor *lrl_vlm_merged(struct lrl_tape *tape, struct lrl_vlm *m,
                                  const struct lrl_vlm_images *images, struct lrl_tensor *features);
/* merged -> Linear, exact GELU, Linear -> [tokens, hidden]. */
struct lrl_tensor *lrl_vlm_project(struct lrl_tape *tape, struct lrl_vlm *m,
                                   struct lrl_tensor *merged);

struct lrl_vlm_input {
  const int32_t *ids;
  const struct lrl_layout *layout;
  const struct lrl_vlm_images *images; /* NULL or n_images 0: text only */
  struct lrl_tensor *image_embeds;     /* [n_image_rows, hidden]: projected before; NULL: not */
  const int32_t *image_rows;           /* packed row of each image token */
  /* Which token of the images (counted through all of them) stands there: a token may stand in two
   * rows or, cut off, in none. NULL: 0, 1, 2, ... */
  const int32_t *image_tokens;
  int64_t n_image_rows;
  uint64_t dropout_seed; /* these three as in struct lrl_decoder_input */
  const uint64_t *row_key, *token_key;
  bool without_lora;
  int64_t n_scores;
  const int32_t *score_rows; /* last pooling: packed row of each score */
  const int32_t *score_seqs; /* mean pooling: sequence of each score */
};
/* Projected tokens of the input's images, a row for each of image_rows; NULL when it has none. */
struct lrl_tensor *lrl_vlm_embed_images(struct lrl_tape *tape, struct lrl_vlm *m,
                                        const struct lrl_vlm_input *in);
/* The decoder over text and images; the n_scores and score_* members are not used. */
void lrl_vlm_decode(struct lrl_tape *tape, struct lrl_vlm *m, const struct lrl_vlm_input *in,
                    struct lrl_decoder_output *out);
/* f32 scores [n_scores, 1] of a model with a scalar head. Errors (in tape->status): image token
 * counts that do not fit. */
struct lrl_tensor *lrl_vlm_scores(struct lrl_tape *tape, struct lrl_vlm *m,
                                  const struct lrl_vlm_input *in);

#ifdef __cplusplus
}
#endif
#endif
