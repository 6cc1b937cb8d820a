/* Hugging Face folders: every family converts, comes back byte for byte, and what does not fit is
 * listed. */
#include "hf_fixture.h"

#include "model/hf_map.h"
#include "train/checkpoint.h"
#include "train/hf_model.h"
#include "train/saved_model.h"

#include <time.h>

static void import(const char *folder, const char *checkpoint, const char *kind) {
  struct lrl_hf_summary s;
  if (lrl_hf_import(folder, checkpoint, NULL, LRL_HF_AUTO, &s) != LRL_OK)
    fail_msg("%s", lrl_last_error());
  assert_string_equal(s.kind, kind);
}

static void export(const char *checkpoint, const char *folder, const char *like) {
  struct lrl_hf_summary s;
  const struct lrl_hf_export_options o = {.max_shard_bytes = 100000, .like = like};
  if (lrl_hf_export(checkpoint, folder, &o, &s) != LRL_OK)
    fail_msg("%s", lrl_last_error());
}

static json_t *config_of(const char *folder) {
  json_t *o;
  assert_int_equal(lrl_hf_load_config(folder, &o), LRL_OK);
  return o;
}

/* Import and export give the folder's tensors and every key of its config.json. */
static void round_trip(const char *name, const char *kind) {
  char folder[200], checkpoint[200], back[200];
  snprintf(folder, sizeof folder, "%s/%s", fx_dir, name);
  snprintf(checkpoint, sizeof checkpoint, "%s/%s.h5", fx_dir, name);
  snprintf(back, sizeof back, "%s/%s_back", fx_dir, name);
  import(folder, checkpoint, kind);
  export(checkpoint, back, NULL);
  hf_expect_same(folder, back);
  json_t *a = config_of(folder), *b = config_of(back), *v;
  const char *key;
  json_object_foreach(a, key, v) if (!json_equal(v, json_object_get(b, key)))
      fail_msg("%s of config.json changed", key);
  json_decref(a);
  json_decref(b);
}

/* Values of a tensor and of the checkpoint's parameter of that name, as the network has it. */
static void expect_param(struct lrl_param_set *set, const char *ours, int64_t row,
                         const char *folder, const char *theirs, int64_t their_row, int64_t rows) {
  struct lrl_weights *w;
  struct lrl_param_unit *unit;
  assert_int_equal(lrl_weights_open(folder, &w), LRL_OK);
  const struct lrl_weight *t = lrl_weights_find(w, theirs);
  const struct lrl_param *p = lrl_param_find(set, ours, &unit);
  assert_non_null(t);
  assert_non_null(p);
  const int64_t cols = p->n / p->dim[0], n = rows * cols;
  float *want = malloc((size_t)n * sizeof *want);
  lrl_weight_read(t, their_row * cols, n, LRL_F32, want);
  for (int64_t i = 0; i < n; i++) {
    const int64_t at = p->offset + row * cols + i;
    const float got = unit->dtype == LRL_F32 ? ((float *)unit->data)[at]
                                             : lrl_bf16_to_f32(((uint16_t *)unit->data)[at]);
    if (got != want[i])
      fail_msg("%s: element %d is %g, not %g", ours, (int)i, (double)got, (double)want[i]);
  }
  free(want);
  lrl_weights_close(w);
}

/* ---- InternLM-XComposer2.5 ---- */

static void write_xcomposer(const char *folder, bool reward, int64_t shard) {
  static struct hf_list l;
  char config[2000];
  const int32_t vocab = hf_tokenizer(folder);
  l.n = 0;
  l.dtype = LRL_WEIGHT_BF16;
  hf_xcomposer(&l, vocab);
  HF_M(&l, reward ? 1 : vocab, HF_HIDDEN, reward ? "score.weight" : "output.weight");
  hf_write_tensors(folder, &l, shard);
  snprintf(config, sizeof config,
           "{\"model_type\": \"internlmxcomposer2\", \"architectures\": [\"X\"], " HF_SIZES
           "\"rope_theta\": 1000000, \"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0}, "
           "\"bias\": false, \"auto_map\": {\"AutoModel\": \"modeling.X\"}, "
           "\"torch_dtype\": \"bfloat16\", \"tie_word_embeddings\": false}",
           vocab);
  hf_put(folder, "config.json", config);
  hf_put(folder, "modeling.py", "class X: pass\n");
}

static void test_xcomposer(void **state) {
  (void)state;
  struct lrl_saved_model *m;
  struct lrl_saved_model *lm;
  write_xcomposer(fx_path("reward"), true, 60000);
  round_trip("reward", "reward");
  if (lrl_saved_model_open(fx_path("reward.h5"), "reward", "cpu", 1, &m) != LRL_OK)
    fail_msg("%s", lrl_last_error());
  const struct lrl_vlm_config *c = &m->model.cfg;
  assert_int_equal(c->dtype, LRL_BF16);
  assert_int_equal(c->decoder.plora_r, HF_R);
  assert_true(c->decoder.plora_alpha == HF_R);
  assert_int_equal(c->decoder.rope.scaling, LRL_ROPE_DYNAMIC);
  assert_true(c->decoder.rope.factor == 2.0 && c->decoder.rope.theta == 1e6);
  assert_int_equal(c->vit.image_size, HF_PATCH * HF_GRID);
  assert_int_equal(c->vit.num_attention_heads, 1);
  assert_int_equal(c->vit.num_hidden_layers, HF_VIT_LAYERS);
#define SAME(name, rows) expect_param(&m->model.params, name, 0, fx_path("reward"), name, 0, rows)
  SAME("model.layers.1.attention.wqkv.weight", 96);
  SAME("model.layers.1.feed_forward.w2.Plora_B.weight", HF_HIDDEN);
  SAME("vit.vision_tower.vision_model.embeddings.patch_embedding.weight", HF_VIT);
  expect_param(&m->model.params, "plora_sub_GN", 0, fx_path("reward"), "plora_sub_GN", 0,
               4 * HF_VIT);
  SAME("score.weight", 1);
  lrl_saved_model_close(m);
  write_xcomposer(fx_path("chat"), false, 1 << 30);
  round_trip("chat", "language");
  assert_int_equal(lrl_saved_model_open(fx_path("chat.h5"), "language", "cpu", 1, &lm), LRL_OK);
  lrl_saved_model_close(lm);
  /* The folder of another model gives its config and code. */
  export(fx_path("chat.h5"), fx_path("like"), fx_path("chat"));
  assert_int_equal(access(fx_path("like/modeling.py"), R_OK), 0);
  hf_expect_same(fx_path("chat"), fx_path("like"));
  struct lrl_hf_summary s;
  const struct lrl_hf_export_options o = {.max_shard_bytes = 1 << 30};
  assert_int_equal(lrl_hf_export(fx_path("chat.h5"), fx_path("like"), &o, &s), LRL_ERR_IO);
  assert_non_null(strstr(lrl_last_error(), "not empty"));
}

/* ---- text decoders ---- */

static void write_text(const char *folder, const char *type, enum lrl_weight_dtype dtype,
                       const char *more, const char *head, int64_t head_rows) {
  static struct hf_list l;
  char config[2000];
  const int32_t vocab = hf_tokenizer(folder);
  const bool internlm = strcmp(type, "internlm2") == 0;
  l.n = 0;
  l.dtype = dtype;
  if (internlm)
    hf_internlm2(&l, vocab + 3, false); /* rows that no piece uses */
  else
    hf_llama(&l, vocab + 3, strcmp(type, "qwen2") == 0);
  if (head_rows != 0)
    HF_M(&l, head_rows > 0 ? head_rows : vocab + 3, HF_HIDDEN, "%s", head);
  l.e[1].dtype = LRL_WEIGHT_F32; /* one tensor of another type */
  hf_write_tensors(folder, &l, 1 << 30);
  snprintf(config, sizeof config, "{\"model_type\": \"%s\", " HF_SIZES "%s}", type, vocab + 3,
           more);
  hf_put(folder, "config.json", config);
}

/* SPEC 1.3: query heads of a group, then its key and its value. */
static void expect_packed(const char *name, struct lrl_param_set *set, const char *tail) {
  char ours[96], theirs[96];
  snprintf(ours, sizeof ours, "model.layers.1.attention.wqkv.%s", tail);
  for (int g = 0; g < HF_KV; g++)
    for (int j = 0; j < HF_HEADS / HF_KV + 2; j++) {
      const int k = j < 2 ? 0 : j - 1, head = k == 0 ? g * 2 + j : g;
      snprintf(theirs, sizeof theirs, "model.layers.1.self_attn.%c_proj.%s", "qkv"[k], tail);
      expect_param(set, ours, (4 * g + j) * HF_HEAD, fx_path(name), theirs, head * HF_HEAD,
                   HF_HEAD);
    }
}

static void test_decoders(void **state) {
  (void)state;
  static const struct {
    const char *type, *more, *head;
    enum lrl_weight_dtype dtype;
    int64_t head_rows; /* -1: the vocabulary, 0: tied */
    const char *kind;
  } cases[] = {
      {"llama", "\"rope_theta\": 500000.0, \"tie_word_embeddings\": true", "lm_head.weight",
       LRL_WEIGHT_F32, 0, "language"},
      {"mistral",
       "\"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 4.0, "
       "\"rope_theta\": 10000.0}, \"dtype\": \"float16\"",
       "lm_head.weight", LRL_WEIGHT_F16, -1, "language"},
      {"qwen2", "\"use_sliding_window\": false", "score.weight", LRL_WEIGHT_BF16, 1, "reward"},
      {"internlm2", "\"bias\": false", "v_head.weight", LRL_WEIGHT_F16, 1, "reward"},
      {"internlm2", "\"bias\": false", "output.weight", LRL_WEIGHT_BF16, -1, "language"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char name[40], h5[50];
    snprintf(name, sizeof name, "text%d", (int)i);
    snprintf(h5, sizeof h5, "text%d.h5", (int)i);
    write_text(fx_path(name), cases[i].type, cases[i].dtype, cases[i].more, cases[i].head,
               cases[i].head_rows);
    round_trip(name, cases[i].kind);
    if (strcmp(cases[i].kind, "language") != 0)
      continue;
    struct lrl_saved_model *m;
    if (lrl_saved_model_open(fx_path(h5), "language", "cpu", 1, &m) != LRL_OK)
      fail_msg("%s", lrl_last_error());
    if (strcmp(cases[i].type, "internlm2") != 0)
      expect_packed(name, &m->model.params, "weight");
    if (cases[i].head_rows == 0)
      expect_param(&m->model.params, "output.weight", 0, fx_path(name), "model.embed_tokens.weight",
                   0, 300);
    lrl_saved_model_close(m);
  }
  struct lrl_saved_model *m;
  assert_int_equal(lrl_saved_model_open(fx_path("text2.h5"), "reward", "cpu", 1, &m), LRL_OK);
  expect_packed("text2", &m->model.params, "weight");
  expect_packed("text2", &m->model.params, "bias");
  lrl_saved_model_close(m);
}

/* Tables that older versions saved. */
static void test_buffers(void **state) {
  (void)state;
  static struct hf_list l;
  struct lrl_hf_summary s;
  char config[2000];
  const int32_t vocab = hf_tokenizer(fx_path("old"));
  l.n = 0;
  l.dtype = LRL_WEIGHT_F32;
  hf_llama(&l, vocab, false);
  HF_M(&l, vocab, HF_HIDDEN, "lm_head.weight");
  HF_V(&l, HF_HEAD / 2, "model.layers.1.self_attn.rotary_emb.inv_freq");
  hf_write_tensors(fx_path("old"), &l, 1 << 30);
  snprintf(config, sizeof config, "{\"model_type\": \"llama\", " HF_SIZES "\"x\": 0}", vocab);
  hf_put(fx_path("old"), "config.json", config);
  assert_int_equal(lrl_hf_import(fx_path("old"), fx_path("old.h5"), NULL, LRL_HF_AUTO, &s), LRL_OK);
  assert_int_equal(s.n_passed_over, 1);
  assert_int_equal(s.n_tensors, l.n);
}

static void test_clip(void **state) {
  (void)state;
  static struct hf_list l;
  l.n = 0;
  l.dtype = LRL_WEIGHT_F32;
  hf_tower(&l, "vision_model.");
  mkdir(fx_path("clip"), 0777);
  hf_write_tensors(fx_path("clip"), &l, 1 << 30);
  hf_put(fx_path("clip"), "config.json",
         "{\"model_type\": \"clip_vision_model\", \"num_attention_heads\": 2, "
         "\"hidden_act\": \"quick_gelu\"}");
  round_trip("clip", "vision");
  char path[1000];
  if (!fx_asset("turbo_alignment/clip_tiny", path, sizeof path))
    return;
  struct lrl_hf_summary s;
  assert_int_equal(lrl_hf_import(path, fx_path("tiny.h5"), NULL, LRL_HF_AUTO, &s), LRL_OK);
  assert_int_equal(s.n_tensors, 174);
  assert_int_equal(s.n_passed_over, 87);
  export(fx_path("tiny.h5"), fx_path("tiny"), NULL);
  import(fx_path("tiny"), fx_path("tiny2.h5"), "vision");
  export(fx_path("tiny2.h5"), fx_path("tiny2"), NULL);
  hf_expect_same(fx_path("tiny"), fx_path("tiny2"));
}

/* ---- what does not fit ---- */

static void expect_refused(const char *folder, lrl_status code, const char *why) {
  struct lrl_hf_summary s;
  lrl_error_clear();
  const lrl_status got = lrl_hf_import(folder, fx_path("never.h5"), NULL, LRL_HF_AUTO, &s);
  if (got != code || strstr(lrl_last_error(), why) == NULL)
    fail_msg("%d, '%s' instead of '%s'", (int)got, lrl_last_error(), why);
  assert_int_not_equal(access(fx_path("never.h5"), F_OK), 0);
}

static void test_mismatches(void **state) {
  (void)state;
  static struct hf_list l;
  const int32_t vocab = hf_tokenizer(fx_path("odd"));
  char config[2000];
  l.n = 0;
  l.dtype = LRL_WEIGHT_F32;
  hf_llama(&l, vocab, false);
  HF_M(&l, vocab, HF_HIDDEN + 1, "lm_head.weight");
  HF_V(&l, 3, "model.extra");
  strcpy(l.name[3], "model.layers.0.self_attn.q_proj.wight");
  hf_write_tensors(fx_path("odd"), &l, 1 << 30);
  snprintf(config, sizeof config, "{\"model_type\": \"llama\", " HF_SIZES "\"x\": 0}", vocab);
  hf_put(fx_path("odd"), "config.json", config);
  expect_refused(
      fx_path("odd"), LRL_ERR_SHAPE,
      "1 tensors are missing: model.layers.0.self_attn.q_proj.weight; 2 are unexpected: "
      "model.extra, model.layers.0.self_attn.q_proj.wight; 1 have another shape or type: "
      "lm_head.weight (F32 [");
  static const struct {
    const char *key, *why;
    lrl_status code;
  } keys[] = {
      {"\"model_type\": \"gptj\"", "of type gptj is none that Laurel can compute", LRL_ERR_ARG},
      {"\"rope_scaling\": {\"rope_type\": \"llama3\"}", "the rope scaling llama3 is none",
       LRL_ERR_ARG},
      {"\"rope_scaling\": {\"type\": \"linear\"}", "the rope scaling has no factor",
       LRL_ERR_FORMAT},
      {"\"attention_bias\": true", "missing: model.layers.0.self_attn.", LRL_ERR_SHAPE},
      {"\"hidden_act\": \"gelu\"", "hidden_act is gelu; Laurel can compute silu only", LRL_ERR_ARG},
      {"\"mlp_bias\": true", "a model with mlp_bias", LRL_ERR_ARG},
      {"\"head_dim\": 64", "heads that are not hidden_size / num_attention_heads wide",
       LRL_ERR_ARG},
      {"\"hidden_size\": \"big\"", "hidden_size is not a whole number", LRL_ERR_FORMAT},
      {"\"num_hidden_layers\": -1", "num_hidden_layers is not a whole number", LRL_ERR_FORMAT},
      {"\"num_hidden_layers\": 100000", "100000 decoder layers are more", LRL_ERR_SHAPE},
      {"\"num_attention_heads\": 5", "hidden_size is no multiple of num_attention_heads",
       LRL_ERR_FORMAT},
      {"\"num_key_value_heads\": 3", "no multiple of num_key_value_heads", LRL_ERR_SHAPE},
      {"\"vocab_size\": 20", "have another shape", LRL_ERR_SHAPE},
      {"\"rope_theta\": -1", "rope_theta is not a positive number", LRL_ERR_FORMAT},
  };
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) { /* of equal keys the last counts */
    snprintf(config, sizeof config, "{\"model_type\": \"llama\", " HF_SIZES "%s}", vocab,
             keys[i].key);
    hf_put(fx_path("odd"), "config.json", config);
    expect_refused(fx_path("odd"), keys[i].code, keys[i].why);
  }
  hf_put(fx_path("odd"), "config.json", "[1]");
  expect_refused(fx_path("odd"), LRL_ERR_FORMAT, "is not a JSON object");
  unlink(fx_path("odd/config.json"));
  expect_refused(fx_path("odd"), LRL_ERR_IO, "cannot open");
}

/* Whatever a config.json says, a folder converts or is refused with a sentence. */
static void test_mutated_configs(void **state) {
  (void)state;
  static const char *const pieces[] = {"0",  "-1",   "1e300",    "99999999999", "null",
                                       "[]", "{}",   "true",     "\"x\"",       "16777216",
                                       "7",  "clip", "\"qwen2\""};
  const uint64_t seed = (uint64_t)time(NULL);
  struct lrl_rng rng = lrl_rng_make(seed, LRL_RNG_INIT, 0);
  char config[2000], mutant[2200];
  print_message("seed %llu\n", (unsigned long long)seed);
  write_xcomposer(fx_path("mutant"), true, 1 << 30);
  FILE *f = fopen(fx_path("mutant/config.json"), "r");
  assert_non_null(f);
  const size_t n = fread(config, 1, sizeof config - 1, f);
  fclose(f);
  for (int i = 0; i < 300; i++) {
    struct lrl_hf_summary s;
    const size_t at = lrl_rng_below(&rng, n), k = lrl_rng_below(&rng, 3);
    const char *piece = pieces[lrl_rng_below(&rng, sizeof pieces / sizeof *pieces)];
    if (at + k > n)
      continue;
    snprintf(mutant, sizeof mutant, "%.*s%s%.*s", (int)at, config, piece, (int)(n - at - k),
             config + at + k);
    hf_put(fx_path("mutant"), "config.json", mutant);
    lrl_error_clear();
    if (lrl_hf_import(fx_path("mutant"), fx_path("mutant.h5"), NULL, LRL_HF_AUTO, &s) != LRL_OK)
      assert_true(strlen(lrl_last_error()) > 8);
  }
  lrl_error_clear();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_xcomposer),  cmocka_unit_test(test_decoders),
      cmocka_unit_test(test_buffers),    cmocka_unit_test(test_clip),
      cmocka_unit_test(test_mismatches), cmocka_unit_test(test_mutated_configs),
  };
  return cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
