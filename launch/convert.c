/* `laurel convert IN OUT`: checkpoints of other programs to Laurel's, and back to Hugging Face's.
 */
#include "data/llama2c_vocab.h"
#include "launch/arguments.h"
#include "launch/commands.h"
#include "model/llama2c.h"
#include "model/weights.h"
#include "train/hf_model.h"
#include "train/option_rows.h"
#include "train/saved_model.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct convert_options {
  int to, dtype;
  char tokenizer[LRL_OPTION_TEXT], like[LRL_OPTION_TEXT];
  double shard_gb;
  bool list;
};
#define AT(f) offsetof(struct convert_options, f)
static const struct lrl_option rows[] = {
    LRL_ROW_ENUM("to", AT(to), "laurel", "laurel|hf", "what to write"),
    LRL_ROW_TEXT("tokenizer", AT(tokenizer), "",
                 "SentencePiece model, or a tokenizer file of llama2.c (tok512.bin); else the "
                 "folder's tokenizer.model"),
    LRL_ROW_ENUM("dtype", AT(dtype), "auto", "auto|f32|bf16|f16",
                 "type of the weights; auto: as they are, f16 becoming f32 in a checkpoint; f16 is "
                 "for --to hf"),
    LRL_ROW_TEXT("like", AT(like), "",
                 "--to hf: a folder of the same family whose config.json and small files (code, "
                 "tokenizer) are taken"),
    LRL_ROW_NUM("shard_gb", AT(shard_gb), "5", 1e-6, 1e6, "--to hf: largest file, in 1e9 bytes"),
    LRL_ROW_BOOL("list", AT(list), "false", "print the tensors of IN and write nothing"),
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

static lrl_status save(const char *path, const struct lrl_model_options *o,
                       const struct lrl_tokenizer *t, struct lrl_vlm *m) {
  struct lrl_checkpoint *c;
  char *config = lrl_model_options_text(o);
  if (config == NULL)
    return LRL_FAIL(LRL_ERR_MEMORY, "no memory for the config");
  lrl_status s = lrl_checkpoint_create(path, NULL, &c);
  if (s == LRL_OK) {
    s = lrl_language_model_put(c, NULL, config, t, &m->params);
    if (s == LRL_OK)
      s = lrl_checkpoint_commit(c);
    else
      lrl_checkpoint_discard(c);
  }
  free(config);
  return s;
}

static lrl_status convert_llama2c(const struct convert_options *o, const char *in,
                                  const char *out) {
  struct lrl_llama2c *file = NULL;
  struct lrl_tokenizer *t = NULL;
  struct lrl_model_options options;
  struct lrl_vlm_config v = {0};
  struct lrl_vlm m = {0};
  lrl_status status;
  LRL_TRY_GOTO(lrl_llama2c_open(in, &file));
  if (o->tokenizer[0] == '\0')
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_ARG, "name the model's tokenizer: --tokenizer FILE"));
  LRL_TRY_GOTO(open_tokenizer(o->tokenizer, &t));
  v.decoder = lrl_llama2c_config(file);
  v.dtype = o->dtype == LRL_HF_BF16 ? LRL_BF16 : LRL_F32;
  lrl_model_options_defaults(&options);
  lrl_model_options_describe(&v, &options);
  if (lrl_tokenizer_info(t)->n_vocab != v.decoder.vocab_size)
    LRL_TRY_GOTO(LRL_FAIL(LRL_ERR_SHAPE, "%s has %d pieces, the model has %lld", o->tokenizer,
                          lrl_tokenizer_info(t)->n_vocab, (long long)v.decoder.vocab_size));
  LRL_TRY_GOTO(lrl_model_options_config(&options, lrl_tokenizer_info(t), &v));
  v.head = LRL_VLM_LANGUAGE;
  LRL_TRY_GOTO(lrl_vlm_init(&m, &v));
  LRL_TRY_GOTO(lrl_llama2c_load(file, &m.params));
  LRL_TRY_GOTO(save(out, &options, t, &m));
  printf("%s: %lld layers of %lld, vocabulary %lld\n", out, (long long)v.decoder.num_hidden_layers,
         (long long)v.decoder.hidden_size, (long long)v.decoder.vocab_size);
done:
  lrl_vlm_free(&m);
  lrl_tokenizer_close(t);
  lrl_llama2c_close(file);
  return status;
}

static lrl_status list(const char *path) {
  struct lrl_weights *w;
  int64_t n = 0;
  LRL_TRY(lrl_weights_open(path, &w));
  for (int64_t i = 0; i < w->n; i++) {
    char shape[128];
    lrl_weight_shape(&w->items[i], shape, sizeof shape);
    lrl_one_line(w->items[i].name);
    printf("%-5s %-20s %s\n", lrl_weight_dtype_name(w->items[i].dtype), shape, w->items[i].name);
    n += w->items[i].n;
  }
  printf("%lld tensors, %lld elements\n", (long long)w->n, (long long)n);
  lrl_weights_close(w);
  return LRL_OK;
}

static lrl_status to_hf(const struct convert_options *o, const char *in, const char *out) {
  struct lrl_hf_summary s;
  const struct lrl_hf_export_options e = {.dtype = (enum lrl_hf_dtype)o->dtype,
                                          .max_shard_bytes = (int64_t)(o->shard_gb * 1e9),
                                          .like = o->like[0] != '\0' ? o->like : NULL};
  LRL_TRY(lrl_hf_export(in, out, &e, &s));
  printf("%s: a %s model of %.6g M parameters in %lld tensors\n", out, s.kind,
         (double)s.n_params / 1e6, (long long)s.n_tensors);
  return LRL_OK;
}

static lrl_status from_hf(const struct convert_options *o, const char *in, const char *out) {
  struct lrl_hf_summary s;
  LRL_TRY(lrl_hf_import(in, out, o->tokenizer[0] != '\0' ? o->tokenizer : NULL,
                        (enum lrl_hf_dtype)o->dtype, &s));
  printf("%s: a %s model of %.6g M parameters; all %lld tensors of %s are in it", out, s.kind,
         (double)s.n_params / 1e6, (long long)(s.n_tensors - s.n_passed_over), in);
  if (s.n_passed_over > 0)
    printf(", %lld more are not needed", (long long)s.n_passed_over);
  printf("\n");
  return LRL_OK;
}

static lrl_status convert(const struct convert_options *o, const char *in, const char *out) {
  struct stat st;
  if (o->to == 1)
    return to_hf(o, in, out);
  if (o->dtype == LRL_HF_F16)
    return LRL_FAIL(LRL_ERR_ARG, "a checkpoint of Laurel is f32 or bf16");
  if (stat(in, &st) == 0 && S_ISDIR(st.st_mode))
    return from_hf(o, in, out);
  return convert_llama2c(o, in, out);
}

static const char usage_text[] =
    "usage: laurel convert IN OUT.h5 [options]\n"
    "       laurel convert MODEL FOLDER --to hf [options]\n"
    "       laurel convert IN --list\n"
    "\n"
    "IN is a folder of Hugging Face (InternLM-XComposer2.5 and InternLM2, chat and reward; "
    "Llama,\nMistral, Qwen2; CLIP) or a checkpoint of llama2.c (.bin); with --list also one "
    "file of\nsafetensors or torch.save. OUT.h5 is for laurel generate, score and "
    "model.init_from. MODEL is\na checkpoint or the folder of a run.\n\n";

int lrl_command_convert(int argc, char **argv) {
  struct convert_options o;
  int n_rest = 0;
  const int shown = lrl_arguments_usage(&table, usage_text, argc, argv);
  if (shown >= 0)
    return shown;
  lrl_status s = lrl_arguments_parse(&table, &o, argc, argv, &n_rest);
  if (s == LRL_OK && n_rest != (o.list ? 1 : 2))
    s = LRL_FAIL(LRL_ERR_ARG, o.list
                                  ? "one file or folder is needed"
                                  : "two paths are needed, the one to read and the one to write");
  if (s == LRL_OK)
    s = o.list ? list(argv[0]) : convert(&o, argv[0], argv[1]);
  if (s != LRL_OK)
    fprintf(stderr, "laurel convert: %s\n", lrl_last_error());
  return s == LRL_OK ? 0 : 1;
}
