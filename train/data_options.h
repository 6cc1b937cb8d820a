/* The options that describe preference data ("data.*"), and how they become a corpus. */
#ifndef LRL_DATA_OPTIONS_H
#define LRL_DATA_OPTIONS_H
#include "data/corpus.h"
#include "data/order.h"
#include "data/video.h"
#include "train/option_rows.h"

struct lrl_data_options {
  char train[LRL_OPTION_TEXT], eval[LRL_OPTION_TEXT];
  bool given_num;
  int order, form, text_end, reward_suffix;
  int64_t max_length, interleave_pairs;
  double mix_temperature;
  bool check_data, allow_context_mismatch, filter_overlong, drop_duplicates, share_prefix;
  double length_ratio, holdout;
  int length_unit, holdout_by;
  int image_transform;
  int64_t hd_num, max_pixels, video_frames;
  double video_fps;
  bool withhold_images;
};

#define LRL_DATA_AT(S, m, f) (offsetof(S, m) + offsetof(struct lrl_data_options, f))
#define LRL_DATA_OPTION_ROWS(S, m)                                                                 \
  LRL_ROW_TEXT("data.train", LRL_DATA_AT(S, m, train), "",                                         \
               "preference files (.json, .jsonl, .gz), mixtures (.txt) or one packed corpus "      \
               "(.h5); separated by commas"),                                                      \
      LRL_ROW_TEXT("data.eval", LRL_DATA_AT(S, m, eval), "", "held-out data, in the same forms"),  \
      LRL_ROW_NUM("data.holdout", LRL_DATA_AT(S, m, holdout), "0", 0, 0.99,                        \
                  "share of data.train to hold out for evaluation; data.eval stays empty"),        \
      LRL_ROW_ENUM("data.holdout_by", LRL_DATA_AT(S, m, holdout_by), "prompt", "prompt|image",     \
                   "pairs with the same one are held out together"),                               \
      LRL_ROW_BOOL("data.given_num", LRL_DATA_AT(S, m, given_num), "true",                         \
                   "numbers of a mixture: thousands of pairs an epoch; false: shares of a file"),  \
      LRL_ROW_ENUM("data.order", LRL_DATA_AT(S, m, order), "shuffle",                              \
                   "shuffle|proportional|official",                                                \
                   "how steps draw pairs; official: 2 image steps, 1 text step, in turn"),         \
      LRL_ROW_INT("data.interleave_pairs", LRL_DATA_AT(S, m, interleave_pairs), "0", 0, 1e9,       \
                  "pairs",                                                                         \
                  "official order: pairs of one kind in turn, over all ranks; 0: a step"),         \
      LRL_ROW_NUM("data.mix_temperature", LRL_DATA_AT(S, m, mix_temperature), "1", 1e-3, 1e6,      \
                  "share of a source in an epoch: size^(1/temperature); 1: its size, large: "      \
                  "all sources alike"),                                                            \
      LRL_ROW_INT("data.max_length", LRL_DATA_AT(S, m, max_length), "1024", 8, 1e6, "tokens",      \
                  "longer conversations are cut on the right"),                                    \
      LRL_ROW_BOOL("data.filter_overlong", LRL_DATA_AT(S, m, filter_overlong), "false",            \
                   "set pairs over max_length aside instead of cutting them"),                     \
      LRL_ROW_BOOL("data.check_data", LRL_DATA_AT(S, m, check_data), "true",                       \
                   "the official filter of answers"),                                              \
      LRL_ROW_BOOL("data.allow_context_mismatch", LRL_DATA_AT(S, m, allow_context_mismatch),       \
                   "false", "keep pairs whose conversations differ before the reply"),             \
      LRL_ROW_BOOL("data.drop_duplicates", LRL_DATA_AT(S, m, drop_duplicates), "false",            \
                   "set pairs with the tokens and images of an earlier one aside"),                \
      LRL_ROW_BOOL("data.share_prefix", LRL_DATA_AT(S, m, share_prefix), "true",                   \
                   "compute a pair's prompt once; false repeats it, for comparisons"),             \
      LRL_ROW_NUM("data.length_ratio", LRL_DATA_AT(S, m, length_ratio), "0", 0, 1e6,               \
                  "learn from a pair if len(chosen) <= ratio * len(rejected); 0: from all"),       \
      LRL_ROW_ENUM("data.length_unit", LRL_DATA_AT(S, m, length_unit), "tokens", "tokens|chars",   \
                   "unit of length_ratio"),                                                        \
      LRL_ROW_ENUM("data.template", LRL_DATA_AT(S, m, form), "chat", "chat|text",                  \
                   "text: no turns, the texts of a row as they are, for models without turns"),    \
      LRL_ROW_ENUM("data.text_end", LRL_DATA_AT(S, m, text_end), "eos", "eos|bos",                 \
                   "what ends a text of that template; bos: as in llama2.c"),                      \
      LRL_ROW_ENUM("data.reward_suffix", LRL_DATA_AT(S, m, reward_suffix), "newline",              \
                   "newline|no_newline",                                                           \
                   "tail: im_end \\n </s> reward, or without \\n as transformers 4.33 made it"),   \
      LRL_ROW_ENUM("data.image_transform", LRL_DATA_AT(S, m, image_transform), "training",         \
                   "training|inference", "geometry of tiles: up to 1.5x and centred, or 1x"),      \
      LRL_ROW_INT("data.hd_num", LRL_DATA_AT(S, m, hd_num), "9", 1, 1000, "tiles",                 \
                  "most tiles of an image, the global view not counted"),                          \
      LRL_ROW_INT("data.max_pixels", LRL_DATA_AT(S, m, max_pixels), "178956970", 1, 4e9, "pixels", \
                  "larger images are set aside"),                                                  \
      LRL_ROW_INT("data.video_frames", LRL_DATA_AT(S, m, video_frames), "32", 1,                   \
                  LRL_VIDEO_MAX_FRAMES, "frames", "most frames of a video"),                       \
      LRL_ROW_NUM("data.video_fps", LRL_DATA_AT(S, m, video_fps), "1", 1e-3, 1e3,                  \
                  "frames taken of a second of video, as far as there are no more than those"),    \
      LRL_ROW_BOOL("data.withhold_images", LRL_DATA_AT(S, m, withhold_images), "false",            \
                   "leave images out of multi-modal pairs: a control experiment")

/* The order of training steps of batch_pairs pairs. */
struct lrl_order_options lrl_data_options_order(const struct lrl_data_options *o, uint64_t seed,
                                                int64_t batch_pairs);
enum lrl_chat_template lrl_data_options_template(const struct lrl_data_options *o);
/* Reads the data of `key` ("data.train", "data.eval") and logs what was set aside and why.
 * LRL_ERR_FORMAT when nothing is left. images NULL: pairs with images are set aside. */
lrl_status lrl_data_options_read(const struct lrl_data_options *o, const char *key,
                                 enum lrl_corpus_form form, const struct lrl_tokenizer *tokenizer,
                                 const struct lrl_image_ops *images, struct lrl_corpus **out);
/* Names the content: tokens, images and order of every pair. Two corpora with the same value train
 * the same. */
uint64_t lrl_corpus_fingerprint(const struct lrl_corpus *c);
#endif
