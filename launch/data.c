/* `laurel data synth|stories|pack|inspect` */
#include "data/corpus.h"
#include "data/text.h"
#include "data/video.h"
#include "launch/arguments.h"
#include "launch/commands.h"
#include "launch/data_verbs.h"

#include <stdlib.h>
#include <string.h>

/* ---- pack and inspect ---- */

struct pack_options {
  char out[LRL_OPTION_TEXT], tokenizer[LRL_OPTION_TEXT];
  int64_t max_length, tile, patch, hd_num, max_pixels, video_frames;
  double length_ratio, holdout, video_fps;
  int form, length_unit, suffix, image_transform, holdout_by;
  bool check_data, allow_context_mismatch, filter_overlong, drop_duplicates, given_num, held_out;
};
#define AT(f) offsetof(struct pack_options, f)
/* inspect takes all but the first. */
static const struct lrl_option pack_rows[] = {
    {"out", LRL_OPTION_STRING, AT(out), "", 0, 0, NULL, "", "corpus file to write (required)"},
    {"tokenizer", LRL_OPTION_STRING, AT(tokenizer), "", 0, 0, NULL, "", "SentencePiece model"},
    {"form", LRL_OPTION_ENUM, AT(form), "pairs", 0, 0, "pairs|answers", "",
     "answers: chats for laurel sft, which reads packed pairs, too"},
    {"max-length", LRL_OPTION_INT, AT(max_length), "8192", 8, 1e9, NULL, "tokens",
     "longer conversations are cut"},
    {"filter-overlong", LRL_OPTION_BOOL, AT(filter_overlong), "false", 0, 0, NULL, "",
     "set them aside instead"},
    {"suffix", LRL_OPTION_ENUM, AT(suffix), "newline", 0, 0, "newline|no_newline", "",
     "whether a newline stands before the reward suffix (transformers 4.33 dropped it)"},
    {"check-data", LRL_OPTION_BOOL, AT(check_data), "true", 0, 0, NULL, "",
     "the official filter of answers"},
    {"allow-context-mismatch", LRL_OPTION_BOOL, AT(allow_context_mismatch), "false", 0, 0, NULL, "",
     "keep pairs whose conversations differ before the last reply"},
    {"drop-duplicates", LRL_OPTION_BOOL, AT(drop_duplicates), "false", 0, 0, NULL, "",
     "set repeated pairs aside"},
    {"length-ratio", LRL_OPTION_FLOAT, AT(length_ratio), "0", 0, 1e6, NULL, "",
     "keep a pair if len(chosen) <= ratio * len(rejected); 0: keep all"},
    {"length-unit", LRL_OPTION_ENUM, AT(length_unit), "tokens", 0, 0, "tokens|chars", "",
     "of those lengths"},
    {"given-num", LRL_OPTION_BOOL, AT(given_num), "true", 0, 0, NULL, "",
     "numbers in a mixture are thousands of pairs; false: ratios of the file"},
    {"holdout", LRL_OPTION_FLOAT, AT(holdout), "0", 0, 0.99, NULL, "",
     "leave this share of every file out"},
    {"held-out", LRL_OPTION_BOOL, AT(held_out), "false", 0, 0, NULL, "",
     "take that share instead of the rest"},
    {"holdout-by", LRL_OPTION_ENUM, AT(holdout_by), "prompt", 0, 0, "prompt|image", "",
     "pairs with the same one stay together"},
    {"tile", LRL_OPTION_INT, AT(tile), "560", 2, 4096, NULL, "pixels", "side of an image tile"},
    {"patch", LRL_OPTION_INT, AT(patch), "14", 1, 2048, NULL, "pixels",
     "side of a patch; a tile is a multiple of two patches"},
    {"hd-num", LRL_OPTION_INT, AT(hd_num), "9", 1, 1000, NULL, "tiles",
     "most tiles of an image, the global view not counted"},
    {"image-transform", LRL_OPTION_ENUM, AT(image_transform), "training", 0, 0,
     "training|inference", "", "geometry of tiles: up to 1.5x and centred, or 1x"},
    {"max-pixels", LRL_OPTION_INT, AT(max_pixels), "178956970", 1, 4e9, NULL, "pixels",
     "larger images are set aside"},
    {"video-frames", LRL_OPTION_INT, AT(video_frames), "32", 1, LRL_VIDEO_MAX_FRAMES, NULL,
     "frames", "most frames of a video"},
    {"video-fps", LRL_OPTION_FLOAT, AT(video_fps), "1", 1e-3, 1e3, NULL, "",
     "frames taken of a second of video, as far as there are no more than those"},
};
#undef AT
enum { N_PACK = sizeof pack_rows / sizeof pack_rows[0] };
static const struct lrl_option_table pack_table = {pack_rows, N_PACK};
static const struct lrl_option_table inspect_table = {pack_rows + 1, N_PACK - 1};

static lrl_status join(int n, char **files, struct lrl_text *list) {
  for (int i = 0; i < n; i++) {
    if (i > 0)
      LRL_TRY(lrl_text_puts(list, ","));
    LRL_TRY(lrl_text_puts(list, files[i]));
  }
  return LRL_OK;
}

/* Reads the files with an open tokenizer. */
static lrl_status read_files(const struct pack_options *o, const struct lrl_tokenizer *t, int n,
                             char **files, struct lrl_corpus **out) {
  const struct lrl_image_ops_options images = {
      .tile = (int32_t)o->tile,
      .patch = (int32_t)o->patch,
      .hd_num = (int32_t)o->hd_num,
      .mode = o->image_transform == 0 ? LRL_IMAGE_TRAINING : LRL_IMAGE_INFERENCE,
      .max_pixels = o->max_pixels,
      .video_frames = o->video_frames,
      .video_fps = o->video_fps};
  struct lrl_image_ops ops;
  LRL_TRY(lrl_image_ops_init(&ops, &images));
  const struct lrl_corpus_options c = {.tokenizer = t,
                                       .form = (enum lrl_corpus_form)o->form,
                                       .chat = {.mode = LRL_CHAT_TRAINING,
                                                .suffix = o->form == 1 ? LRL_CHAT_EOS
                                                          : o->suffix == 0
                                                              ? LRL_CHAT_REWARD
                                                              : LRL_CHAT_REWARD_NO_NEWLINE,
                                                .pack = LRL_PACK_REWARD,
                                                .max_length = o->max_length},
                                       .check_data = o->check_data,
                                       .allow_context_mismatch = o->allow_context_mismatch,
                                       .filter_overlong = o->filter_overlong,
                                       .drop_duplicates = o->drop_duplicates,
                                       .length_ratio = o->length_ratio,
                                       .length_unit = (enum lrl_length_unit)o->length_unit,
                                       .images = &ops,
                                       .holdout = o->holdout,
                                       .held_out = o->held_out,
                                       .holdout_by = (enum lrl_holdout_key)o->holdout_by};
  struct lrl_text list = {0};
  lrl_status status = join(n, files, &list);
  if (status == LRL_OK)
    status = lrl_corpus_read(list.data, o->given_num, &c, out);
  free(list.data);
  lrl_image_ops_free(&ops);
  return status;
}

static void print_packed(const struct lrl_corpus *c, const char *path) {
  int64_t n_rows = 0;
  for (int64_t i = 0; i < lrl_corpus_n_sources(c); i++) {
    struct lrl_corpus_source_info s;
    lrl_corpus_get_source(c, i, &s);
    n_rows += s.n_rows;
    printf("%s: %lld of %lld pairs kept\n", s.path, (long long)s.n_kept, (long long)s.n_rows);
  }
  printf("%s: %lld pairs, %lld images; %lld of %lld rows set aside%s\n", path,
         (long long)lrl_corpus_n_pairs(c), (long long)lrl_corpus_n_images(c),
         (long long)lrl_corpus_n_asides(c), (long long)n_rows,
         lrl_corpus_n_asides(c) > 0 ? ", see laurel data inspect" : "");
}

static lrl_status pack(int argc, char **argv) {
  struct pack_options o;
  struct lrl_tokenizer *t = NULL;
  struct lrl_corpus *c = NULL;
  int n_files;
  LRL_TRY(lrl_arguments_parse(&pack_table, &o, argc, argv, &n_files));
  if (o.tokenizer[0] == '\0' || o.out[0] == '\0' || n_files == 0)
    return LRL_FAIL(LRL_ERR_ARG, "%s",
                    o.tokenizer[0] == '\0' ? "name a tokenizer: --tokenizer MODEL"
                    : o.out[0] == '\0'     ? "name the file to write: --out CORPUS.h5"
                                           : "name the preference files to pack");
  LRL_TRY(lrl_tokenizer_open(o.tokenizer, &t));
  lrl_status status = read_files(&o, t, n_files, argv, &c);
  if (status == LRL_OK)
    status = lrl_corpus_save(c, o.out);
  if (status == LRL_OK)
    print_packed(c, o.out);
  lrl_corpus_free(c);
  lrl_tokenizer_close(t);
  return status;
}

static lrl_status inspect(int argc, char **argv) {
  struct pack_options o;
  struct lrl_tokenizer *t = NULL;
  struct lrl_corpus *c = NULL;
  int n_files;
  LRL_TRY(lrl_arguments_parse(&inspect_table, &o, argc, argv, &n_files));
  if (n_files == 0)
    return LRL_FAIL(LRL_ERR_ARG, "name a corpus or preference files to inspect");
  size_t n = strlen(argv[0]);
  bool packed = n > 3 && strcmp(argv[0] + n - 3, ".h5") == 0;
  if (!packed && o.tokenizer[0] == '\0')
    return LRL_FAIL(LRL_ERR_ARG,
                    "%s is not packed yet; to count its tokens, name a tokenizer: "
                    "--tokenizer MODEL",
                    argv[0]);
  lrl_status status = LRL_OK;
  if (o.tokenizer[0] != '\0')
    status = lrl_tokenizer_open(o.tokenizer, &t);
  if (status == LRL_OK)
    status = packed && n_files == 1 ? lrl_corpus_open(argv[0], &c)
                                    : read_files(&o, t, n_files, argv, &c);
  if (status == LRL_OK)
    status = lrl_corpus_inspect(c, t, stdout);
  lrl_corpus_free(c);
  lrl_tokenizer_close(t);
  return status;
}

/* ---- the command ---- */

static const struct {
  const char *name, *usage, *help;
  lrl_status (*run)(int argc, char **argv);
  const struct lrl_option_table *table;
} verbs[] = {
    {"synth", "--out DIR", "write a small visual world with a known truth", lrl_data_synth,
     &lrl_data_synth_table},
    {"stories", "--out DIR TEXT...",
     "plain stories as texts and as pairs of real against corrupted continuations",
     lrl_data_stories, &lrl_data_stories_table},
    {"pack", "--tokenizer MODEL --out CORPUS.h5 FILE...",
     "encode preference files (.json, .jsonl, .gz, mixture .txt) into one corpus file", pack,
     &pack_table},
    {"inspect", "[--tokenizer MODEL] FILE...",
     "counts, lengths, image sizes, what was set aside and why, one pair as text", inspect,
     &inspect_table},
};
enum { N_VERBS = sizeof verbs / sizeof verbs[0] };

static void usage(FILE *to) {
  fprintf(to, "usage: laurel data COMMAND [arguments]\n\n");
  for (int i = 0; i < N_VERBS; i++)
    fprintf(to, "  %-8s %s\n", verbs[i].name, verbs[i].help);
  fprintf(to, "\nlaurel data COMMAND --help lists the options\n");
}

int lrl_command_data(int argc, char **argv) {
  if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
    usage(stdout);
    return 0;
  }
  for (int i = 0; i < N_VERBS && argc > 0; i++) {
    if (strcmp(verbs[i].name, argv[0]) != 0)
      continue;
    if (lrl_arguments_help(argc - 1, argv + 1)) {
      printf("usage: laurel data %s %s [--key value ...]\n%s\n\n", verbs[i].name, verbs[i].usage,
             verbs[i].help);
      lrl_config_help(verbs[i].table, stdout);
      return 0;
    }
    lrl_status s = verbs[i].run(argc - 1, argv + 1);
    if (s != LRL_OK)
      fprintf(stderr, "laurel data %s: %s\n", verbs[i].name, lrl_last_error());
    return s == LRL_OK ? 0 : 1;
  }
  if (argc > 0)
    fprintf(stderr, "laurel data: unknown command '%s'\n", argv[0]);
  usage(stderr);
  return 2;
}
