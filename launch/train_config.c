#include "launch/train_config.h"

#include "train/checkpoint.h"
#include "train/model_options.h"

#include <stdlib.h>
#include <string.h>

/* "--resume auto" is short for train.resume=auto. */
static lrl_status override(const struct lrl_option_table *t, void *cfg, int argc, char **argv,
                           int *i) {
  if (strcmp(argv[*i], "--resume") != 0)
    return lrl_config_override(t, cfg, argv[*i]);
  if (++*i == argc)
    return LRL_FAIL(LRL_ERR_ARG, "--resume needs \"auto\" or a checkpoint");
  return lrl_config_set(t, cfg, "train.resume", argv[*i], "command line");
}

static const char *text_of(const struct lrl_option_table *t, const void *cfg, const char *path) {
  for (int i = 0; i < t->n; i++)
    if (strcmp(t->options[i].path, path) == 0)
      return (const char *)cfg + t->options[i].offset;
  return "";
}

/* The network that model.init_from describes. A run that is resumed has it in its own config and
 * may have lost what it began from. */
static lrl_status inherit(const struct lrl_option_table *t, void *cfg) {
  const char *from = text_of(t, cfg, "model.init_from");
  const bool resumed = text_of(t, cfg, "train.resume")[0] != '\0';
  char path[LRL_OPTION_TEXT + 96], *text = NULL, *kind = NULL;
  struct lrl_checkpoint *c;
  if (from[0] == '\0')
    return LRL_OK;
  lrl_status s = lrl_checkpoint_find(from, path, sizeof path);
  if (s == LRL_OK)
    s = lrl_checkpoint_open(path, NULL, &c);
  if (s != LRL_OK)
    return resumed ? LRL_OK : s;
  if ((s = lrl_checkpoint_get_text(c, "kind", &kind)) == LRL_OK &&
      (s = lrl_checkpoint_get_text(c, "config", &text)) == LRL_OK) {
    lrl_config_defaults(t, cfg);
    s = lrl_model_options_inherit(t, cfg, text, strcmp(kind, "vision") == 0, path);
  }
  free(kind);
  free(text);
  lrl_checkpoint_close(c);
  return s;
}

static lrl_status read_words(const struct lrl_option_table *t, void *cfg, int argc, char **argv) {
  int first = strchr(argv[0], '=') == NULL && argv[0][0] != '-';
  if (first == 1)
    LRL_TRY(lrl_config_load(t, cfg, argv[0]));
  for (int i = first; i < argc; i++)
    LRL_TRY(override(t, cfg, argc, argv, &i));
  return LRL_OK;
}

lrl_status lrl_train_config_read(const struct lrl_option_table *t, void *cfg, int argc,
                                 char **argv) {
  lrl_config_defaults(t, cfg);
  LRL_TRY(read_words(t, cfg, argc, argv));
  LRL_TRY(inherit(t, cfg));
  return read_words(t, cfg, argc, argv);
}
