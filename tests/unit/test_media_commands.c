/* What a user types with pictures, videos and texts side by side: training, scoring, a benchmark
 * and cleaning data. */
#include "shell_fixture.h"
#include "video_fixture.h"

#include "data/image_write.h"

#include <jansson.h>

static void write_file(const char *name, const void *bytes, size_t n) {
  char path[200];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
}

/* Two seconds of something that moves; `part` of the file. */
static void write_clip(const char *name, const char *format, int light, double part) {
  const struct vx_video made = {.format = format,
                                .codec = "mpeg4",
                                .pixels = AV_PIX_FMT_YUV420P,
                                .width = 64,
                                .height = 48,
                                .n = 50,
                                .light = light};
  struct ix_file f = vx_make(&made);
  write_file(name, f.bytes, (size_t)((double)f.n * part));
  free(f.bytes);
}

static void write_image(const char *name, uint8_t value) {
  uint8_t rgb[40 * 30 * 3];
  char path[200];
  memset(rgb, value, sizeof rgb);
  snprintf(path, sizeof path, "%s/%s", dir, name);
  assert_int_equal(lrl_png_write(path, rgb, 40, 30), LRL_OK);
}

/* Pairs of every kind; the last two cannot be used. */
static const char pairs[] =
    "{\"prompt\": \"Which colour is blood?\", \"chosen\": \"red\", \"rejected\": \"blue\"}\n"
    "{\"image\": \"black.png\", \"prompt\": \"Bright?\", \"chosen\": \"No\", \"rejected\": "
    "\"Yes\"}\n"
    "{\"video\": \"dark.mp4\", \"prompt\": \"Bright?\", \"chosen\": \"No\", \"rejected\": "
    "\"Yes\"}\n"
    "{\"video\": \"bright.avi\", \"prompt\": \"Bright?\", \"chosen\": \"Yes\", \"rejected\": "
    "\"No\"}\n"
    "{\"images\": [\"white.png\", \"dark.mp4\"], \"prompt\": \"<ImageHere> and <ImageHere>: which "
    "is "
    "brighter?\", \"chosen\": \"the first\", \"rejected\": \"the second\"}\n"
    "{\"video\": \"cut.mp4\", \"prompt\": \"Bright?\", \"chosen\": \"No\", \"rejected\": \"Yes\"}\n"
    "{\"video\": \"black.txt\", \"prompt\": \"Bright?\", \"chosen\": \"No\", \"rejected\": "
    "\"Yes\"}\n";

static int make_model(void **state) {
  (void)state;
  if (getenv("LAUREL_BIN") == NULL || mkdtemp(dir) == NULL)
    return -1;
  write_clip("dark.mp4", "mp4", 0, 1);
  write_clip("bright.avi", "avi", 100, 1);
  write_clip("cut.mp4", "mp4", 0, 0.5);
  write_image("white.png", 240);
  write_image("black.png", 15);
  write_text("black.txt", "not a film");
  write_text("pairs.jsonl", pairs);
  return shell("$L data synth --out w --size 2 --domains arithmetic") == 0 ? 0 : -1;
}

static void test_train(void **state) {
  (void)state;
  expect(0,
         "$L reward $S/configs/quickstart/reward.yaml model.tokenizer=w/tokenizer.model "
         "data.train=pairs.jsonl train.output_dir=model train.max_steps=2 train.batch_size=5 "
         "train.threads=1",
         "pairs.jsonl: 5 pairs; 2 of 7 rows set aside: ");
  assert_non_null(strstr(output, "1 video (the video is truncated or damaged"));
  assert_non_null(strstr(output, "1 image (the file is no JPEG, PNG or WebP"));
}

/* ---- scores ---- */

/* The lines of a file as JSON, at most n; how many. */
static int read_lines(const char *name, json_t **rows, int n) {
  char *text = slurp(name), *save = NULL;
  int k = 0;
  for (char *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
    assert_true(k < n);
    rows[k] = json_loads(line, 0, NULL);
    assert_non_null(rows[k++]);
  }
  free(text);
  return k;
}

static double number(const json_t *row, const char *key) {
  const json_t *x = json_object_get(row, key);
  if (!json_is_real(x))
    fail_msg("no number %s in %s", key, json_dumps(row, 0));
  return json_real_value(x);
}

static const char *text_of(const json_t *row, const char *key) {
  const char *text = json_string_value(json_object_get(row, key));
  if (text == NULL)
    fail_msg("no text %s in %s", key, json_dumps(row, 0));
  return text;
}

enum { ROWS = 8 };
/* With what each chat is about, in the file's order. */
static const char *const about[ROWS] = {"",
                                        "\"image\": \"white.png\", ",
                                        "\"video\": \"dark.mp4\", ",
                                        "\"images\": [\"white.png\", \"black.png\"], ",
                                        "\"image\": \"white.png\", \"video\": \"bright.avi\", ",
                                        "\"video\": \"cut.mp4\", ",
                                        "\"image\": \"nowhere.png\", ",
                                        "\"image\": \"bright.avi\", "};
static const char *const question[ROWS] = {"Bright?",
                                           "Bright?",
                                           "Bright?",
                                           "<ImageHere>, <ImageHere>: which is brighter?",
                                           "<image>, <video>: which is brighter?",
                                           "Bright?",
                                           "Bright?",
                                           "Bright?"};

/* Rows from..to as chats. */
static void write_chats(const char *name, int from, int to) {
  char text[4000];
  int n = 0;
  for (int i = from; i < to; i++)
    n += snprintf(text + n, sizeof text - (size_t)n,
                  "{%s\"messages\": [{\"role\": \"user\", \"content\": \"%s\"}, {\"role\": "
                  "\"assistant\", \"content\": \"Yes\"}]}\n",
                  about[i], question[i]);
  write_text(name, text);
}

static double score[ROWS];

/* All in one file, and each alone: the same scores; what cannot be read says why and hurts none. */
static void test_score(void **state) {
  (void)state;
  json_t *rows[ROWS], *one[1];
  write_chats("chats.jsonl", 0, ROWS);
  expect(0, "$L score model chats.jsonl --hd-num 9 --out scores.jsonl", "");
  assert_int_equal(read_lines("scores.jsonl", rows, ROWS), ROWS);
  assert_non_null(strstr(text_of(rows[5], "error"), "truncated"));
  assert_non_null(strstr(text_of(rows[6], "error"), "nowhere.png"));
  for (int i = 0; i < ROWS; i++) {
    score[i] = i == 5 || i == 6 ? 0 : number(rows[i], "score");
    json_decref(rows[i]);
  }
  for (int i = 0; i < ROWS; i++) {
    if (i == 5 || i == 6)
      continue;
    write_chats("one.jsonl", i, i + 1);
    expect(0, "$L score model one.jsonl --hd-num 9 --batch-tokens 1 --out one_score.jsonl", "");
    assert_int_equal(read_lines("one_score.jsonl", one, 1), 1);
    assert_true(number(one[0], "score") == score[i]);
    json_decref(one[0]);
    for (int k = 0; k < i; k++)
      assert_true(k == 5 || k == 6 || score[k] != score[i]);
  }
  write_text("one.jsonl", "{\"image\": \"\", \"prompt\": \"Bright?\", \"response\": \"Yes\"}\n");
  expect(1, "$L score model one.jsonl", "line 1 is set aside: an image path is empty");
  static const char ranked[] =
      "{\"video\": \"dark.mp4\", \"chats\": [[{\"role\": \"user\", \"content\": \"Bright?\"}, "
      "{\"role\": \"assistant\", \"content\": \"Yes\"}], [{\"role\": \"user\", \"content\": "
      "\"Bright?\"}, {\"role\": \"assistant\", \"content\": \"No\"}]]}\n";
  write_text("ranked.jsonl", ranked);
  expect(0, "$L score model ranked.jsonl --rank --hd-num 9 --out ranks.jsonl", "");
  assert_int_equal(read_lines("ranks.jsonl", rows, 1), 1);
  const json_t *scores = json_object_get(rows[0], "scores"),
               *rank = json_object_get(rows[0], "rank");
  const double yes = json_real_value(json_array_get(scores, 0)),
               no = json_real_value(json_array_get(scores, 1));
  assert_true(yes == score[2] && yes != no);
  assert_int_equal(json_integer_value(json_array_get(rank, 0)), yes < no);
  json_decref(rows[0]);
}

/* ---- a benchmark whose pictures are films ---- */

static void test_eval(void **state) {
  (void)state;
  static const char data[] =
      "{\"id\": \"RLAIF-V_0\", \"image\": \"dark.mp4\", \"query\": \"Bright?\", \"response\": "
      "[\"Yes\", \"No\"], \"human_ranking\": [0, 1]}\n"
      "{\"id\": \"reasoning_tasks_1\", \"image\": \"white.png\", \"query\": \"Bright?\", "
      "\"response\": "
      "[\"Yes\", \"No\"], \"human_ranking\": [0, 1]}\n"
      "{\"id\": \"RLAIF-V_2\", \"image\": \"cut.mp4\", \"query\": \"Bright?\", \"response\": "
      "[\"Yes\", "
      "\"No\"], \"human_ranking\": [0, 1]}\n"
      "{\"id\": \"RLAIF-V_3\", \"image\": \"bright.avi\", \"query\": \"Bright?\", \"response\": "
      "[\"No\", \"Yes\"], \"human_ranking\": [1, 0]}\n";
  write_text("vl.jsonl", data);
  expect(0, "$L eval model --bench vl-rewardbench --data vl.jsonl --out eval.json", "truncated");
  assert_non_null(strstr(output, "hallucination"));
  char path[200];
  snprintf(path, sizeof path, "%s/eval.json", dir);
  json_t *items = json_load_file(path, 0, NULL);
  const int row[3] = {2, 1, 7}; /* of the chats */
  int n = 0;
  const json_t *item;
  size_t i;
  json_array_foreach(items, i, item) if (json_is_real(json_object_get(item, "score_chosen")))
      assert_true((float)number(item, "score_chosen") == (float)score[row[n++]]);
  assert_int_equal(n, 3);
  json_decref(items);
  expect(0, "$L eval --bench vl-rewardbench --from-scores eval.json", "hallucination");
}

/* ---- cleaning ---- */

static void test_filter(void **state) {
  (void)state;
  char text[4000];
  int n = 0;
  for (int i = 0; i < ROWS; i++)
    n += snprintf(text + n, sizeof text - (size_t)n,
                  "{\"id\": %d, %s\"prompt\": \"%s\", \"response\": \"Yes\"}\n", i, about[i],
                  question[i]);
  write_text("sft.jsonl", text);
  expect(0, "$L filter --model model --data sft.jsonl --out clean --lowest 0.5 --hd_num 9",
         "8 rows, 5 flagged, 3 kept; 2 could not be scored");
  json_t *rows[ROWS];
  assert_int_equal(read_lines("clean/scores.jsonl", rows, ROWS), ROWS);
  for (int i = 0; i < ROWS; i++) {
    if (i != 5 && i != 6)
      assert_true(number(rows[i], "score") == score[i]);
    json_decref(rows[i]);
  }
  char *page = slurp("clean/sheet.html");
  int thumbnails = 0;
  for (const char *p = page; (p = strstr(p, "<img ")) != NULL; p++)
    thumbnails++;
  assert_true(thumbnails > 0 && strstr(page, "data:image/jpeg;base64,") != NULL);
  free(page);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_train),
      cmocka_unit_test(test_score),
      cmocka_unit_test(test_eval),
      cmocka_unit_test(test_filter),
  };
  return cmocka_run_group_tests(tests, make_model, remove_files);
}
