/* Following instructions, as text: a length or a format. Two replies are drawn alike, each with a
 * value for every trait below; the prompt asks for a trait they differ in, as the first has it. So
 * a long reply is right as often as a short one, and so on. */
#include "data/synth/item.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum trait { TOPIC, LENGTH, CASE, ENDING, OPENER, SHAPE, N_TRAITS };
enum { N_TOPICS = 12, N_WORDS = 12 };

static const char *const topics[N_TOPICS] = {"cat",  "dog",   "river", "house", "garden", "train",
                                             "bird", "apple", "moon",  "sea",   "book",   "city"};
static const char *const words[N_WORDS] = {"small", "big",  "old",  "new",    "quiet", "loud",
                                           "warm",  "cold", "soft", "bright", "dark",  "nice"};
static const char *const openers[] = {"Today", "Perhaps", "Well"};
static const int n_values[N_TRAITS] = {N_TOPICS, 2, 2, 3, 3, 2};

struct style {
  int value[N_TRAITS];
  int word[4];
  bool padded;
};

static struct style draw_style(struct lrl_synth_draw *d) {
  struct style s = {0};
  for (int k = 0; k < N_TRAITS; k++)
    s.value[k] = lrl_synth_int(d, 0, n_values[k] - 1);
  lrl_synth_choose(d, N_WORDS, 4, s.word);
  return s;
}

/* "Today, the cat is old and quiet!" or "Today, cat: old, quiet, warm!"; padding breaks no rule but
 * those about length. */
static void write_reply(char *out, const struct style *s) {
  const char *topic = topics[s->value[TOPIC]], *w[4];
  char body[LRL_SYNTH_TEXT];
  for (int i = 0; i < 4; i++)
    w[i] = words[s->word[i]];
  bool is_long = s->value[LENGTH] != 0;
  if (s->value[SHAPE] == 0 && !is_long)
    lrl_synth_print(body, "the %s is %s", topic, w[0]);
  else if (s->value[SHAPE] == 0)
    lrl_synth_print(body, "the %s is %s and also %s and it is both %s and %s", topic, w[0], w[1],
                    w[2], w[3]);
  else if (!is_long)
    lrl_synth_print(body, "%s: %s, %s", topic, w[0], w[1]);
  else
    lrl_synth_print(body, "%s: very %s, rather %s, quite %s, not so %s", topic, w[0], w[1], w[2],
                    w[3]);
  lrl_synth_print(out, "%s, %.180s%s%c", openers[s->value[OPENER]], body,
                  s->padded ? " and that is what one can say about it" : "",
                  ".!?"[s->value[ENDING]]);
  if (s->value[CASE] == 1)
    for (char *p = out; *p != '\0'; p++)
      *p = (char)toupper((unsigned char)*p);
}

/* The instruction for one value of a trait, and the rule that verify.c checks. */
static void ask(struct lrl_synth_item *item, enum trait k, int value, const char *topic) {
  static const char *const length[] = {"Use at most seven words.", "Use at least nine words."};
  static const char *const letters[] = {"Use small letters after the first.",
                                        "Use capital letters only."};
  static const char *const ending[] = {"End with a full stop.", "End with an exclamation mark.",
                                       "End with a question mark."};
  static const char *const shape[] = {"Write a sentence.", "Write a list."};
  const char *text = "", *rule = "none", *argument = "";
  char opener[64];
  switch (k) {
  case LENGTH:
    text = length[value];
    rule = value == 0 ? "max_words" : "min_words";
    argument = value == 0 ? "7" : "9";
    break;
  case CASE:
    text = letters[value];
    rule = value == 0 ? "lower" : "upper";
    break;
  case ENDING:
    text = ending[value];
    rule = "ends_with";
    argument = value == 0 ? "." : value == 1 ? "!" : "?";
    break;
  case OPENER:
    snprintf(opener, sizeof opener, "Begin with \"%s\".", openers[value]);
    text = opener;
    rule = "starts_with";
    argument = openers[value];
    break;
  case SHAPE:
    text = shape[value];
    rule = value == 0 ? "sentence" : "list";
    break;
  default:
    break;
  }
  lrl_synth_print(item->prompt, "Write about the %s.%s%s", topic, text[0] ? " " : "", text);
  item->gold = json_pack("{ss ss ss ss}", "check", "format", "topic", topic, "rule", rule,
                         "argument", argument);
}

lrl_status lrl_synth_instruct(struct lrl_synth_draw *d, struct lrl_synth_item *item) {
  static const char *const names[N_TRAITS] = {"topic",  "length", "case",
                                              "ending", "opener", "shape"};
  static const enum trait easy[] = {LENGTH, CASE, ENDING, SHAPE};
  enum trait k = (enum trait)lrl_synth_int(d, 0, N_TRAITS - 1);
  if (d->easy)
    k = easy[lrl_synth_int(d, 0, 3)];
  struct style right = draw_style(d), wrong = draw_style(d);
  while (wrong.value[k] == right.value[k])
    wrong.value[k] = lrl_synth_int(d, 0, n_values[k] - 1);
  if (k != TOPIC)
    wrong.value[TOPIC] = right.value[TOPIC];
  item->question = names[k];
  item->kind = k == TOPIC                 ? "mismatch"
               : k != LENGTH              ? "wrong_format"
               : right.value[LENGTH] == 0 ? "verbose"
                                          : "too_short";
  int a = right.value[k], b = wrong.value[k], low = a < b ? a : b;
  item->scene = item->twin = ((uint64_t)k << 24) + ((uint64_t)low << 16) +
                             ((uint64_t)(a + b) << 8) +
                             (k == TOPIC ? 0 : (uint64_t)right.value[TOPIC]);
  right.padded = d->padded[0] && k != LENGTH;
  wrong.padded = d->padded[1] && k != LENGTH;
  write_reply(item->chosen, &right);
  write_reply(item->rejected, &wrong);
  ask(item, k, right.value[k], topics[right.value[TOPIC]]);
  return LRL_OK;
}
