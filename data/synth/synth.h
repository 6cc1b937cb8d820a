/* A small visual world with a known truth: scenes, charts, receipts and video strips as PNG and
 * JPEG files, arithmetic and instructions as text, and preference pairs about them in the official
 * format (data/pairs.h). docs/data.md describes the domains, the kinds of wrong replies and the
 * gold records. */
#ifndef LRL_SYNTH_H
#define LRL_SYNTH_H
#include "data/synth/item.h"

enum lrl_synth_domain {
  LRL_SYNTH_COUNTING,
  LRL_SYNTH_RELATION,
  LRL_SYNTH_CHART,
  LRL_SYNTH_RECEIPT,
  LRL_SYNTH_ARITHMETIC,
  LRL_SYNTH_INSTRUCT,
  LRL_SYNTH_VIDEO,
  LRL_SYNTH_DOMAINS
};
const char *lrl_synth_domain_name(enum lrl_synth_domain d);
/* Bit set of a comma-separated list of names. LRL_ERR_ARG names the unknown one and the known. */
lrl_status lrl_synth_domains_parse(const char *list, uint32_t *set);

/* Easy: one or two kinds of question a domain, one or few things in a picture, and replies that are
 * the bare answer; what a model of a hundred thousand weights learns in minutes. Full: all. */
enum lrl_synth_level { LRL_SYNTH_FULL, LRL_SYNTH_EASY };
const char *lrl_synth_level_name(enum lrl_synth_level level);

enum lrl_synth_split { LRL_SYNTH_TRAIN, LRL_SYNTH_VALIDATION };
const char *lrl_synth_split_name(enum lrl_synth_split s);

/* What a pair is a function of, besides its domain, split and index. */
struct lrl_synth_world {
  uint64_t seed;
  int32_t unit; /* pixels, see canvas.h; 56 .. 1120 */
  enum lrl_synth_level level;
  /* Share of the pairs whose right reply alone is padded with words that say nothing; of the others
   * both replies are or neither is. What is right does not depend on it. 0: no reply is padded. */
  double verbose_bias;
};

struct lrl_synth_options {
  struct lrl_synth_world world;
  int64_t n_train, n_validation; /* pairs of each domain */
  uint32_t domains;              /* bit set */
  double faults;                 /* share of faulty rows in the chats to imitate; 0: no chats */
};

/* Item `index` of a domain's split: a pure function of these arguments. The splits have no scene in
 * common. *item starts as {0}; its storage is reused from call to call; free it at the end. */
lrl_status lrl_synth_item_draw(const struct lrl_synth_world *world, enum lrl_synth_domain domain,
                               enum lrl_synth_split split, int64_t index,
                               struct lrl_synth_item *item);
void lrl_synth_item_free(struct lrl_synth_item *item);

/* Writes into the folder `dir` (made when missing; files of the same names are replaced):
 *   <domain>_<split>.json           pairs, one a line of a JSON list
 *   images/<domain>/<split>-<n>.png or .jpg
 *   sft_<split>.json            with faults > 0: the right replies as chats to imitate, of all
 *                               domains ("source"), some of them faulty ("fault"; faults.c)
 *   data.txt, data_validation.txt   mixtures of all domains
 *   tokenizer.model                 trained on the replies and prompts of all domains and levels;
 *                                   depends on the seed only
 *   README.txt
 * The same options give the same bytes; more pairs keep those of fewer (chats do not: a wrong
 * picture is another row's). LRL_ERR_IO, LRL_ERR_ARG. */
lrl_status lrl_synth_write(const char *dir, const struct lrl_synth_options *options);
#endif
