/* `laurel data stories`: plain texts as training data. */
#include "data/stories.h"
#include "launch/arguments.h"
#include "launch/data_verbs.h"
#include "train/option_rows.h"

struct stories_options {
  char out[LRL_OPTION_TEXT];
  int64_t seed, pairs, min_prompt_words, max_prompt_words, min_words, max_words;
  double validation;
};
#define AT(f) offsetof(struct stories_options, f)
static const struct lrl_option rows[] = {
    LRL_ROW_TEXT("out", AT(out), "", "folder to write (required)"),
    LRL_ROW_INT("seed", AT(seed), "0", 0, 1e15, "", "the same seed gives the same bytes"),
    LRL_ROW_NUM("validation", AT(validation), "0.1", 0, 0.9, "share of the stories kept apart"),
    LRL_ROW_INT("pairs", AT(pairs), "16", 0, 1e6, "pairs", "of a story"),
    LRL_ROW_INT("min-prompt-words", AT(min_prompt_words), "10", 1, 1e6, "words", "of a prompt"),
    LRL_ROW_INT("max-prompt-words", AT(max_prompt_words), "60", 1, 1e6, "words", "of a prompt"),
    LRL_ROW_INT("min-words", AT(min_words), "12", 4, 1e6, "words", "of a continuation"),
    LRL_ROW_INT("max-words", AT(max_words), "40", 4, 1e6, "words", "of a continuation"),
};
#undef AT
const struct lrl_option_table lrl_data_stories_table = {rows, sizeof rows / sizeof rows[0]};

lrl_status lrl_data_stories(int argc, char **argv) {
  struct stories_options o;
  struct lrl_stories_counts c;
  int n_files;
  LRL_TRY(lrl_arguments_parse(&lrl_data_stories_table, &o, argc, argv, &n_files));
  if (o.out[0] == '\0' || n_files == 0)
    return LRL_FAIL(LRL_ERR_ARG, "%s",
                    o.out[0] == '\0' ? "name the folder to write: --out DIR"
                                     : "name the text files to read");
  const struct lrl_stories_options options = {.seed = (uint64_t)o.seed,
                                              .validation = o.validation,
                                              .pairs = o.pairs,
                                              .min_prompt_words = o.min_prompt_words,
                                              .max_prompt_words = o.max_prompt_words,
                                              .min_words = o.min_words,
                                              .max_words = o.max_words};
  LRL_TRY(lrl_stories_write((const char *const *)argv, n_files, o.out, &options, &c));
  printf("%s: %lld stories and %lld pairs, %lld stories and %lld pairs for validation\n", o.out,
         (long long)c.stories, (long long)c.pairs, (long long)c.validation_stories,
         (long long)c.validation_pairs);
  return LRL_OK;
}
