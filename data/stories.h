/* Plain stories as training data for a model without a chat template: texts to learn to write, and
 * preference pairs of how a story goes on against a corruption of the same number of words, so that
 * length says nothing. */
#ifndef LRL_DATA_STORIES_H
#define LRL_DATA_STORIES_H
#include "kernels/status.h"

struct lrl_stories_options {
  uint64_t seed;
  double validation;                          /* share of the stories that is kept apart */
  int64_t pairs;                              /* of a story */
  int64_t min_prompt_words, max_prompt_words; /* of a prompt, as long as the story allows */
  int64_t min_words, max_words;               /* of a continuation */
};
struct lrl_stories_counts {
  int64_t stories, pairs, validation_stories, validation_pairs;
};

/* Reads text files (also .gz). A story begins at a line that starts as one of the usual openings
 * does ("Once upon a time", "Once there", "There once", "One day, a"), and ends before the next or
 * at a line "<|endoftext|>"; empty lines are dropped. Writes into the folder `dir` (made when
 * missing):
 *   texts.jsonl, texts_validation.jsonl   {"text"}: a story a line, for laurel sft
 *   pairs.jsonl, pairs_validation.jsonl   {"prompt", "chosen", "rejected", "kind"} for laurel
 *                                         reward and laurel ppo, which use data.template=text
 * A prompt is the story up to some word; chosen are the words that follow it, rejected is one of
 *   swapped    a quarter of the words change places with the next one
 *   replaced   a fifth of the words become words of other stories
 *   shuffled   the words in any order
 *   elsewhere  words in a row from another story
 *   repeated   the first few words again and again
 * The same options and files give the same bytes. LRL_ERR_IO; LRL_ERR_FORMAT when fewer than two
 * stories are found. */
lrl_status lrl_stories_write(const char *const *files, int64_t n_files, const char *dir,
                             const struct lrl_stories_options *options,
                             struct lrl_stories_counts *counts);
#endif
