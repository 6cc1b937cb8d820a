/* Text, images and videos in one corpus, through whole runs: the official recipe at a small size,
 * killed and resumed, packed, and scoring, generating and inspecting with videos. */
#include "run_fixture.h"
#include "video_fixture.h"

#include "data/image_write.h"

/* ---- files ---- */

static const char *in_dir(const char *name) {
  static char path[8][300];
  static int turn;
  turn = (turn + 1) % 8;
  snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
  return path[turn];
}

static void write_bytes(const char *name, const void *bytes, size_t n) {
  FILE *f = fopen(in_dir(name), "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
}

/* A clip of three seconds with something in it that moves. */
static void write_clip(const char *name, const char *format, bool bright) {
  const struct vx_video made = {.format = format,
                                .codec = "mpeg4",
                                .pixels = AV_PIX_FMT_YUV420P,
                                .width = 64,
                                .height = 48,
                                .n = 75,
                                .light = bright ? 100 : 0};
  struct ix_file f = vx_make(&made);
  write_bytes(name, f.bytes, f.n);
  free(f.bytes);
}

static void write_image(const char *name, uint8_t value) {
  uint8_t rgb[40 * 30 * 3];
  memset(rgb, value, sizeof rgb);
  assert_int_equal(lrl_png_write(in_dir(name), rgb, 40, 30), LRL_OK);
}

#define ASK "Which colour is the clip, red or blue?"

/* Rows of every form. Which answer is right depends on the picture or clip alone. */
static void write_rows(void) {
  FILE *f = fopen(in_dir("media.jsonl"), "w");
  assert_non_null(f);
  for (int i = 0; i < 12; i++) {
    const int k = i % 2;
    const char *right = k ? "red" : "blue", *wrong = k ? "blue" : "red";
    fprintf(f,
            "{\"image\": \"%s\", \"conversations_a\": [{\"from\": \"human\", \"value\": \"" ASK
            "\"}, {\"from\": \"bot\", \"value\": \"%s\"}], \"conversations_b\": [{\"from\": "
            "\"human\", \"value\": \"" ASK "\"}, {\"from\": \"bot\", \"value\": \"%s\"}]}\n",
            k ? "bright.avi" : "dark.mp4", right, wrong);
    /* As LLaMA-Factory writes them: a clip and an image, each at its mark. */
    fprintf(f,
            "{\"conversations\": [{\"from\": \"human\", \"value\": \"<video>" ASK
            " Not the picture: <image>\"}], \"chosen\": {\"from\": \"gpt\", \"value\": \"%s\"}, "
            "\"rejected\": {\"from\": \"gpt\", \"value\": \"%s\"}, \"videos\": [\"%s\"], "
            "\"images\": [\"%s\"]}\n",
            right, wrong, k ? "bright.avi" : "dark.mp4", i % 3 ? "white.png" : "black.png");
    fprintf(f,
            "{\"prompt\": \"1: <ImageHere> 2: <ImageHere> Which colour is the second, red or "
            "blue?\", \"chosen\": \"%s\", \"rejected\": \"%s\", \"images\": [\"%s\", \"%s\"]}\n",
            right, wrong, i % 3 ? "white.png" : "black.png", k ? "white.png" : "black.png");
  }
  fprintf(f, "{\"video\": \"cut.mp4\", \"prompt\": \"" ASK
             "\", \"chosen\": \"red\", \"rejected\": \"blue\"}\n"
             "{\"video\": \"absent.mp4\", \"prompt\": \"" ASK
             "\", \"chosen\": \"red\", \"rejected\": \"blue\"}\n");
  fclose(f);
  f = fopen(in_dir("data.txt"), "w");
  fprintf(f, "media.jsonl 0.036\ntrain.jsonl 0.02\n");
  fclose(f);
}

static int make_media(void **state) {
  if (make_files(state) != 0)
    return -1;
  write_clip("dark.mp4", "mp4", false);
  write_clip("bright.avi", "avi", true);
  write_image("white.png", 240);
  write_image("black.png", 15);
  size_t n = 0;
  char *mp4 = slurp("dark.mp4", &n);
  write_bytes("cut.mp4", mp4, n / 2);
  free(mp4);
  write_rows();
  return 0;
}

/* ---- training ---- */

/* The recipe's data section as it is; a small network in f32, on one rank. */
static const char *const small[] = {"model.init_from=",
                                    "model.dtype=f32",
                                    "model.hidden_size=32",
                                    "model.intermediate_size=64",
                                    "model.num_hidden_layers=2",
                                    "model.num_attention_heads=4",
                                    "model.num_key_value_heads=2",
                                    "model.plora_r=8",
                                    "model.plora_alpha=8",
                                    "model.initializer_range=0.1",
                                    "vision.image_size=28",
                                    "vision.patch_size=7",
                                    "vision.hidden_size=16",
                                    "vision.intermediate_size=32",
                                    "vision.num_hidden_layers=1",
                                    "vision.num_attention_heads=2",
                                    "data.interleave_pairs=6",
                                    "optim.lr=3e-3",
                                    "optim.weight_decay=0",
                                    "train.batch_size=12",
                                    "train.micro_batch_tokens=2000",
                                    "train.zero_stage=0",
                                    "train.threads=1",
                                    "train.log_steps=1",
                                    "train.max_steps=24",
                                    "train.save_steps=5"};

static struct command recipe(const char *name, const char *train, const char *const *extra) {
  struct command c = {0};
  add(&c, "%s", getenv("LAUREL_BIN"));
  add(&c, "reward");
  add(&c, "%s/configs/recipes/ixc2_5_reward_7b.yaml", getenv("LAUREL_SOURCE"));
  for (size_t i = 0; i < sizeof small / sizeof *small; i++)
    add(&c, "%s", small[i]);
  add(&c, "model.tokenizer=%s/tok.model", dir);
  add(&c, "data.train=%s", train);
  add(&c, "train.output_dir=%s/%s", dir, name);
  for (; extra != NULL && *extra != NULL; extra++)
    add(&c, "%s", *extra);
  return c;
}

static void test_recipe(void **state) {
  (void)state;
  struct command c = recipe("whole", in_dir("data.txt"), NULL);
  finish(start(&c), 0);
  expect_log("media.jsonl: 36 pairs; 2 of 38 rows set aside: 1 image (cannot read");
  expect_log("1 video (the video is truncated or damaged");
  static const int kills[] = {3, 11, 17};
  c = recipe("killed", in_dir("data.txt"), (const char *const[]){"--resume", "auto", NULL});
  kill_and_resume(&c, "killed", kills, 3);
  expect_same_text("whole/metrics.jsonl", "killed/metrics.jsonl");
  c = recipe("tempered", in_dir("data.txt"),
             (const char *const[]){"data.mix_temperature=4", "data.order=proportional", NULL});
  finish(start(&c), 0);
  char *a = slurp("whole/metrics.jsonl", NULL), *b = slurp("tempered/metrics.jsonl", NULL);
  assert_string_not_equal(a, b);
  free(a);
  free(b);
}

/* The official data.txt and its example as they are, in the folders the official script expects. */
static void test_official_example(void **state) {
  (void)state;
  const char *example = ix_asset("mm_pref/ixc_example");
  if (example == NULL)
    skip();
  char command[900];
  snprintf(command, sizeof command,
           "cd %s && mkdir -p official/data && cp %s/data.txt official && cp %s/example.* "
           "official/data",
           dir, example, example);
  assert_int_equal(system(command), 0);
  struct command c = recipe("example", in_dir("official/data.txt"),
                            (const char *const[]){"train.max_steps=2", "train.batch_size=2", NULL});
  finish(start(&c), 0);
  expect_log("example.json: 1 pairs; 0 of 1 rows set aside");
}

static void laurel(const char *const *words, int want) {
  struct command c = {0};
  add(&c, "%s", getenv("LAUREL_BIN"));
  for (; *words != NULL; words++)
    add(&c, "%s", *words);
  finish(start(&c), want);
}

/* The same bits from a packed corpus, which needs the files no more; and what is in it. */
static void test_packed(void **state) {
  (void)state;
  const char *tok = in_dir("tok.model"), *h5 = in_dir("media.h5");
#define PACK "--tile", "28", "--patch", "7", "--suffix", "no_newline"
  laurel((const char *const[]){"data", "pack", "--tokenizer", tok, "--out", h5, PACK,
                               "--allow-context-mismatch=true", in_dir("data.txt"), NULL},
         0);
  assert_int_equal(rename(in_dir("dark.mp4"), in_dir("away.mp4")), 0);
  struct command c = recipe("packed", h5, NULL);
  finish(start(&c), 0);
  expect_same_text("whole/metrics.jsonl", "packed/metrics.jsonl");
  assert_int_equal(rename(in_dir("away.mp4"), in_dir("dark.mp4")), 0);
  laurel((const char *const[]){"data", "inspect", h5, "--tokenizer", tok, NULL}, 0);
  expect_log("236 pairs, 2 distinct images, 2 distinct videos");
  expect_log("multimodal        38        36         2    0.036         0        12        24");
  expect_log("tokens of a video");
  expect_log("<video 5x1 tiles, 37 tokens>");
  expect_log("video             1  e.g. media.jsonl, line 37: the video is truncated or damaged");
}

/* ---- scoring and generating ---- */

static double score_of(const json_t *row) {
  const json_t *s = json_object_get(row, "score");
  assert_true(json_is_real(s));
  return json_real_value(s);
}

/* A video is told from another, and damage is a sentence; "video" is as good as "image". */
static void test_score(void **state) {
  (void)state;
  static const char *const chat[7][2] = {
      {"\"image\": \"dark.mp4\"", ASK},
      {"\"video\": \"dark.mp4\"", ASK},
      {"\"videos\": [\"dark.mp4\"]", "<video>" ASK},
      {"\"image\": [\"bright.avi\"]", "<ImageHere>" ASK},
      {"\"video\": \"cut.mp4\"", ASK},
      {"\"video\": \"dark.mp4\", \"image\": \"white.png\"", "<image>, <video>"},
      {"\"image\": [\"white.png\", \"dark.mp4\"]", "<ImageHere>, <ImageHere>"}};
  FILE *f = fopen(in_dir("chats.jsonl"), "w");
  assert_non_null(f);
  for (int i = 0; i < 7; i++)
    fprintf(f,
            "{%s, \"messages\": [{\"role\": \"user\", \"content\": \"%s\"}, {\"role\": "
            "\"assistant\", \"content\": \"red\"}]}\n",
            chat[i][0], chat[i][1]);
  fclose(f);
  laurel((const char *const[]){"score", in_dir("whole"), in_dir("chats.jsonl"), "--out",
                               in_dir("scores.jsonl"), NULL},
         0);
  char *text = slurp("scores.jsonl", NULL), *save = NULL;
  json_t *row[7];
  int n = 0;
  for (char *line = strtok_r(text, "\n", &save); line != NULL && n < 7;
       line = strtok_r(NULL, "\n", &save))
    assert_non_null(row[n++] = json_loads(line, 0, NULL));
  assert_int_equal(n, 7);
  assert_true(score_of(row[0]) == score_of(row[1]));      /* in front of the chat */
  assert_true(score_of(row[2]) != score_of(row[0]));      /* within the question */
  assert_true(score_of(row[3]) > score_of(row[2]) + 0.1); /* red is right for the bright one */
  assert_non_null(strstr(json_string_value(json_object_get(row[4], "error")), "truncated"));
  assert_true(score_of(row[5]) == score_of(row[6]));
  for (int i = 0; i < n; i++)
    json_decref(row[i]);
  free(text);
}

/* LLaMA-Factory's own example, with clips in place of those that are not there; then an answer to a
 * video. */
static void test_demo(void **state) {
  (void)state;
  const char *demo = ix_asset("video/mllm_video_demo.json");
  if (demo == NULL)
    skip();
  char command[700];
  snprintf(command, sizeof command,
           "cd %s && mkdir mllm_demo_data && cp dark.mp4 mllm_demo_data/1.mp4 && cp bright.avi "
           "mllm_demo_data/2.avi && cp dark.mp4 mllm_demo_data/3.mp4 && cp %s demo.json",
           dir, demo);
  assert_int_equal(system(command), 0);
  struct command c = {0};
  add(&c, "%s", getenv("LAUREL_BIN"));
  add(&c, "sft");
  add(&c, "%s/configs/text_sft.yaml", getenv("LAUREL_SOURCE"));
  for (size_t i = 2; i < 16; i++)
    if (strstr(small[i], "plora") == NULL)
      add(&c, "%s", small[i]);
  static const char *const more[] = {"model.vision=clip",
                                     "model.freeze_vision_tower=false",
                                     "model.freeze_projector=false",
                                     "data.image_transform=inference",
                                     "train.batch_size=3",
                                     "train.epochs=40",
                                     "train.threads=1",
                                     "train.eval_steps=0"};
  for (size_t i = 0; i < sizeof more / sizeof *more; i++)
    add(&c, "%s", more[i]);
  add(&c, "model.tokenizer=%s/tok.model", dir);
  add(&c, "data.train=%s/demo.json", dir);
  add(&c, "train.output_dir=%s/sft", dir);
  finish(start(&c), 0);
  expect_log("demo.json: 3 chats; 0 of 3 rows set aside");
  static const char ask[] = "{\"video\": \"dark.mp4\", \"prompt\": \"" ASK "\"}\n";
  write_bytes("ask.jsonl", ask, sizeof ask - 1);
  laurel((const char *const[]){"generate", in_dir("sft"), in_dir("ask.jsonl"), "--max_new_tokens",
                               "4", NULL},
         0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_recipe), cmocka_unit_test(test_official_example),
      cmocka_unit_test(test_packed), cmocka_unit_test(test_score),
      cmocka_unit_test(test_demo),
  };
  return cmocka_run_group_tests(tests, make_media, remove_files);
}
