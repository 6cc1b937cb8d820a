/* `laurel data synth`: the synthetic world as files. */
#include "data/synth/synth.h"
#include "launch/arguments.h"
#include "launch/data_verbs.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

struct synth_options {
  char out[LRL_OPTION_TEXT], size[LRL_OPTION_TEXT], domains[LRL_OPTION_TEXT];
  int64_t seed, validation, tile;
  double verbose_bias, faults;
  int level;
};
#define AT(f) offsetof(struct synth_options, f)
static const struct lrl_option synth_rows[] = {
    {"out", LRL_OPTION_STRING, AT(out), "", 0, 0, NULL, "", "folder to write (required)"},
    {"seed", LRL_OPTION_INT, AT(seed), "0", 0, 1e15, NULL, "",
     "the same seed gives the same bytes"},
    {"size", LRL_OPTION_STRING, AT(size), "small", 0, 0, NULL, "pairs",
     "training pairs of each domain: small (200), medium (1000) or a number"},
    {"validation", LRL_OPTION_INT, AT(validation), "-1", -1, 1e7, NULL, "pairs",
     "validation pairs of each domain; -1: a fifth of --size"},
    {"domains", LRL_OPTION_STRING, AT(domains),
     "counting,relation,chart,receipt,arithmetic,instruct,video", 0, 0, NULL, "",
     "which parts of the world"},
    {"level", LRL_OPTION_ENUM, AT(level), "full", 0, 0, "full|easy", "",
     "easy: one or two kinds of question a domain, plain pictures, bare answers"},
    {"tile", LRL_OPTION_INT, AT(tile), "112", 56, 1120, NULL, "pixels",
     "side of a square picture; others are multiples of it"},
    {"verbose-bias", LRL_OPTION_FLOAT, AT(verbose_bias), "0", 0, 1, NULL, "",
     "share of the pairs whose right reply is padded and so the longer one; of the rest both are "
     "padded or neither"},
    {"faults", LRL_OPTION_FLOAT, AT(faults), "0", 0, 1, NULL, "",
     "also write sft_<split>.json, chats of which this share has a known fault"},
};
#undef AT
const struct lrl_option_table lrl_data_synth_table = {synth_rows,
                                                      sizeof synth_rows / sizeof synth_rows[0]};

static lrl_status parse_size(const char *text, int64_t *n) {
  char *end;
  *n = strcmp(text, "small") == 0 ? 200 : strcmp(text, "medium") == 0 ? 1000 : 0;
  if (*n == 0)
    *n = strtoll(text, &end, 10);
  else
    return LRL_OK;
  if (end == text || *end != '\0' || *n < 1 || *n > 10000000)
    return LRL_FAIL(LRL_ERR_ARG,
                    "command line: size must be small, medium or a number of pairs from 1 to "
                    "10000000, not '%s'",
                    text);
  return LRL_OK;
}

lrl_status lrl_data_synth(int argc, char **argv) {
  struct synth_options o;
  struct lrl_synth_options w = {0};
  int n_rest;
  LRL_TRY(lrl_arguments_parse(&lrl_data_synth_table, &o, argc, argv, &n_rest));
  if (n_rest > 0)
    return LRL_FAIL(LRL_ERR_ARG, "command line: '%s' is not an option", argv[0]);
  if (o.out[0] == '\0')
    return LRL_FAIL(LRL_ERR_ARG, "name the folder to write: --out DIR");
  LRL_TRY(parse_size(o.size, &w.n_train));
  LRL_TRY(lrl_synth_domains_parse(o.domains, &w.domains));
  w.world.seed = (uint64_t)o.seed;
  w.n_validation = o.validation >= 0 ? o.validation : (w.n_train + 4) / 5;
  w.world.unit = (int32_t)o.tile;
  w.world.level = o.level == 0 ? LRL_SYNTH_FULL : LRL_SYNTH_EASY;
  w.world.verbose_bias = o.verbose_bias;
  w.faults = o.faults;
  double t0 = omp_get_wtime();
  LRL_TRY(lrl_synth_write(o.out, &w));
  int n_domains = __builtin_popcount(w.domains);
  printf("%s: %d domains, %lld training and %lld validation pairs, %.1f s\n", o.out, n_domains,
         (long long)n_domains * (long long)w.n_train,
         (long long)n_domains * (long long)w.n_validation, omp_get_wtime() - t0);
  return LRL_OK;
}
