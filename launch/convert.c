/* `laurel convert IN OUT`: checkpoints of other programs to Laurel's. */
#include "data/llama2c_vocab.h"
#include "launch/arguments.h"
#include "launch/commands.h"
#include "model/llama2c.h"
#include "train/language_model.h"

#include <stdlib.h>
#include <string.h>

struct convert_options {
  char tokenizer[LRL_OPTION_TEXT];
  int dtype;
};
#define AT(f) offsetof(struct convert_options, f)
static const struct lrl_option rows[] = {
    {"tokenizer", LRL_OPTION_STRING, AT(tokenizer), "", 0, 0, NULL, "",
     "tokenizer file of llama2.c (tok512.bin) or a SentencePiece model"},
    {"dtype", LRL_OPTION_ENUM, AT(dtype), "f32", 0, 0, "f32|bf16", "", "type of the weights"},
};
#undef AT
static const struct lrl_option_table table = {rows, sizeof rows / sizeof rows[0]};

/* A SentencePiece model file, or a vocabulary of llama2.c, which has no such structure. */
static lrl_status open_tokenizer(const char *path, struct lrl_tokenizer **out) {
  void *bytes;
  size_t n;
  if (lrl_tokenizer_open(path, out) == LRL_OK)
    return LRL_OK;
  lrl_error_clear();
  LRL_TRY(lrl_llama2c_vocab(path, &bytes, &n));
  const lrl_status s = lrl_tokenizer_open_bytes(bytes, n, path, NULL, out);
  free(bytes);
  return s;
}

/* The decoder's sizes in the words of the options. */
static struct lrl_model_options describe(const struct lrl_decoder_config *d, int dtype) {
  struct lrl_model_options o;
  lrl_language_model_defaults(&o);
  o.hidden_size = d->hidden_size;
  o.intermediate_size = d->intermediate_size;
  o.num_hidden_layers = d->num_hidden_layers;
  o.num_attention_heads = d->num_attention_heads;
  o.num_key_value_heads = d->num_key_value_heads;
  o.max_position_embeddings = d->rope.max_position_embeddings;
  o.rms_norm_eps = d->rms_norm_eps;
  o.rope_theta = d->rope.theta;
  o.dtype = dtype;
  return o;
}

static lrl_status save(const char *path, const struct lrl_model_options *o,
                       const struct lrl_tokenizer *t, struct lrl_vlm *m) {
  struct lrl_checkpoint *c;
  char *config = lrl_language_model_config(o);
  if (config == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the config");
  lrl_status s = lrl_checkpoint_create(path, NULL, &c);
  if (s == LRL_OK) {
    s = lrl_language_model_put(c, config, t, &m->params);
    if (s == LRL_OK)
      s = lrl_checkpoint_commit(c);
    else
      lrl_checkpoint_discard(c);
  }
  free(config);
  return s;
}

static lrl_status convert(const struct convert_options *o, const char *in, const char *out) {
  struct lrl_llama2c *file = NULL;
  struct lrl_tokenizer *t = NULL;
  struct lrl_vlm_config v;
  struct lrl_vlm m = {0};
  lrl_status status;
  if (o->tokenizer[0] == '\0')
    return LRL_FAIL(LRL_ERR_ARG, "name the model's tokenizer: --tokenizer FILE");
  LRL_TRY_GOTO(lrl_llama2c_open(in, &file));
  LRL_TRY_GOTO(open_tokenizer(o->tokenizer, &t));
  const struct lrl_decoder_config d = lrl_llama2c_config(file);
  const struct lrl_model_options options = describe(&d, o->dtype);
  if (lrl_tokenizer_info(t)->n_vocab != d.vocab_size)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_SHAPE, "%s has %d pieces, the model has %lld", o->tokenizer,
                          lrl_tokenizer_info(t)->n_vocab, (long long)d.vocab_size));
  LRL_TRY_GOTO(lrl_model_options_config(&options, lrl_tokenizer_info(t), &v));
  v.head = LRL_VLM_LANGUAGE;
  LRL_TRY_GOTO(lrl_vlm_init(&m, &v));
  LRL_TRY_GOTO(lrl_llama2c_load(file, &m.params));
  LRL_TRY_GOTO(save(out, &options, t, &m));
  printf("%s: %lld layers of %lld, vocabulary %lld\n", out, (long long)d.num_hidden_layers,
         (long long)d.hidden_size, (long long)d.vocab_size);
done:
  lrl_vlm_free(&m);
  lrl_tokenizer_close(t);
  lrl_llama2c_close(file);
  return status;
}

int lrl_command_convert(int argc, char **argv) {
  struct convert_options o;
  int n_rest = 0;
  if (argc == 0 || lrl_arguments_help(argc, argv)) {
    fputs("usage: laurel convert IN OUT.h5 [options]\n\nIN is a checkpoint of llama2.c (.bin). OUT "
          "is a language model for laurel generate.\n\n",
          argc == 0 ? stderr : stdout);
    lrl_config_help(&table, argc == 0 ? stderr : stdout);
    return argc == 0 ? 2 : 0;
  }
  lrl_status s = lrl_arguments_parse(&table, &o, argc, argv, &n_rest);
  if (s == LRL_OK && n_rest != 2)
    s = LRL_FAIL(LRL_ERR_ARG, "two files are needed, the one to read and the one to write");
  if (s == LRL_OK)
    s = convert(&o, argv[0], argv[1]);
  if (s != LRL_OK)
    fprintf(stderr, "laurel convert: %s\n", lrl_last_error());
  return s == LRL_OK ? 0 : 1;
}
