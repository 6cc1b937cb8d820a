/* Hugging Face folders of small random models, written name by name as SPEC 1.6 and the classes of
 * transformers have them. */
#ifndef HF_FIXTURE_H
#define HF_FIXTURE_H
#include "weights_fixture.h"

#include "data/tokenizer.h"
#include "kernels/philox.h"
#include "model/half.h"
#include "model/param.h"
#include "model/safetensors.h"

#include <jansson.h>
#include <sys/stat.h>

enum { HF_HIDDEN = 48, HF_HEADS = 4, HF_KV = 2, HF_HEAD = 12, HF_FFN = 80, HF_LAYERS = 2 };
enum { HF_VIT = 64, HF_VIT_FFN = 96, HF_VIT_LAYERS = 2, HF_PATCH = 14, HF_GRID = 4, HF_R = 8 };

struct hf_list {
  struct lrl_weight_entry e[200];
  char name[200][LRL_NAME_MAX];
  int64_t n;
  enum lrl_weight_dtype dtype; /* of what is added next */
};

static inline void hf_add(struct hf_list *l, int ndim, int64_t a, int64_t b, int64_t c, int64_t d,
                          const char *fmt, ...) __attribute__((format(printf, 7, 8)));
static inline void hf_add(struct hf_list *l, int ndim, int64_t a, int64_t b, int64_t c, int64_t d,
                          const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vsnprintf(l->name[l->n], LRL_NAME_MAX, fmt, args);
  va_end(args);
  l->e[l->n] = (struct lrl_weight_entry){
      .name = l->name[l->n], .dtype = l->dtype, .ndim = ndim, .dim = {a, b, c, d}};
  l->n++;
}
#define HF_V(l, a, ...) hf_add(l, 1, a, 0, 0, 0, __VA_ARGS__)
#define HF_M(l, a, b, ...) hf_add(l, 2, a, b, 0, 0, __VA_ARGS__)

static inline void hf_plora(struct hf_list *l, int layer, const char *name, int64_t out, int64_t in,
                            bool plora) {
  HF_M(l, out, in, "model.layers.%d.%s.weight", layer, name);
  if (plora) {
    HF_M(l, HF_R, in, "model.layers.%d.%s.Plora_A.weight", layer, name);
    HF_M(l, out, HF_R, "model.layers.%d.%s.Plora_B.weight", layer, name);
  }
}

static inline void hf_internlm2(struct hf_list *l, int64_t vocab, bool plora) {
  HF_M(l, vocab, HF_HIDDEN, "model.tok_embeddings.weight");
  for (int i = 0; i < HF_LAYERS; i++) {
    HF_V(l, HF_HIDDEN, "model.layers.%d.attention_norm.weight", i);
    HF_V(l, HF_HIDDEN, "model.layers.%d.ffn_norm.weight", i);
    hf_plora(l, i, "attention.wqkv", (HF_HEADS + 2 * HF_KV) * HF_HEAD, HF_HIDDEN, plora);
    hf_plora(l, i, "attention.wo", HF_HIDDEN, HF_HIDDEN, plora);
    hf_plora(l, i, "feed_forward.w1", HF_FFN, HF_HIDDEN, plora);
    hf_plora(l, i, "feed_forward.w3", HF_FFN, HF_HIDDEN, plora);
    hf_plora(l, i, "feed_forward.w2", HF_HIDDEN, HF_FFN, plora);
  }
  HF_V(l, HF_HIDDEN, "model.norm.weight");
}

static inline void hf_tower(struct hf_list *l, const char *prefix) {
  static const char *const linears[] = {"self_attn.q_proj", "self_attn.k_proj",
                                        "self_attn.v_proj", "self_attn.out_proj",
                                        "mlp.fc1",          "mlp.fc2"};
  HF_V(l, HF_VIT, "%sembeddings.class_embedding", prefix);
  hf_add(l, 4, HF_VIT, 3, HF_PATCH, HF_PATCH, "%sembeddings.patch_embedding.weight", prefix);
  HF_M(l, 1 + HF_GRID * HF_GRID, HF_VIT, "%sembeddings.position_embedding.weight", prefix);
  static const char *const norms[] = {"pre_layrnorm", "post_layernorm"};
  for (int k = 0; k < 2; k++) {
    HF_V(l, HF_VIT, "%s%s.weight", prefix, norms[k]);
    HF_V(l, HF_VIT, "%s%s.bias", prefix, norms[k]);
  }
  for (int i = 0; i < HF_VIT_LAYERS; i++) {
    for (int k = 1; k <= 2; k++) {
      HF_V(l, HF_VIT, "%sencoder.layers.%d.layer_norm%d.weight", prefix, i, k);
      HF_V(l, HF_VIT, "%sencoder.layers.%d.layer_norm%d.bias", prefix, i, k);
    }
    for (int k = 0; k < 6; k++) {
      const int64_t out = k == 4 ? HF_VIT_FFN : HF_VIT, in = k == 5 ? HF_VIT_FFN : HF_VIT;
      HF_M(l, out, in, "%sencoder.layers.%d.%s.weight", prefix, i, linears[k]);
      HF_V(l, out, "%sencoder.layers.%d.%s.bias", prefix, i, linears[k]);
    }
  }
}

static inline void hf_xcomposer(struct hf_list *l, int64_t vocab) {
  hf_tower(l, "vit.vision_tower.vision_model.");
  hf_add(l, 3, 1, 1, 4 * HF_VIT, 0, "plora_glb_GN");
  hf_add(l, 4, 1, 1, 1, 4 * HF_VIT, "plora_sub_GN");
  HF_M(l, HF_HIDDEN, 4 * HF_VIT, "vision_proj.0.weight");
  HF_V(l, HF_HIDDEN, "vision_proj.0.bias");
  HF_M(l, HF_HIDDEN, HF_HIDDEN, "vision_proj.2.weight");
  HF_V(l, HF_HIDDEN, "vision_proj.2.bias");
  hf_internlm2(l, vocab, true);
}

static inline void hf_llama(struct hf_list *l, int64_t vocab, bool qkv_bias) {
  static const int64_t rows[3] = {HF_HEADS * HF_HEAD, HF_KV * HF_HEAD, HF_KV * HF_HEAD};
  HF_M(l, vocab, HF_HIDDEN, "model.embed_tokens.weight");
  for (int i = 0; i < HF_LAYERS; i++) {
    HF_V(l, HF_HIDDEN, "model.layers.%d.input_layernorm.weight", i);
    HF_V(l, HF_HIDDEN, "model.layers.%d.post_attention_layernorm.weight", i);
    for (int k = 0; k < 3; k++) {
      HF_M(l, rows[k], HF_HIDDEN, "model.layers.%d.self_attn.%c_proj.weight", i, "qkv"[k]);
      if (qkv_bias)
        HF_V(l, rows[k], "model.layers.%d.self_attn.%c_proj.bias", i, "qkv"[k]);
    }
    HF_M(l, HF_HIDDEN, HF_HIDDEN, "model.layers.%d.self_attn.o_proj.weight", i);
    HF_M(l, HF_FFN, HF_HIDDEN, "model.layers.%d.mlp.gate_proj.weight", i);
    HF_M(l, HF_FFN, HF_HIDDEN, "model.layers.%d.mlp.up_proj.weight", i);
    HF_M(l, HF_HIDDEN, HF_FFN, "model.layers.%d.mlp.down_proj.weight", i);
  }
  HF_V(l, HF_HIDDEN, "model.norm.weight");
}

/* ---- files ---- */

static inline int64_t hf_count(const struct lrl_weight_entry *e) {
  int64_t n = 1;
  for (int d = 0; d < e->ndim; d++)
    n *= e->dim[d];
  return n;
}

/* Normal values of a size that keeps a small network lively; norms around 1. */
static inline void hf_write_tensors(const char *folder, const struct hf_list *l, int64_t shard) {
  struct lrl_safetensors_writer *w;
  assert_int_equal(lrl_safetensors_create(folder, l->e, l->n, shard, &w), LRL_OK);
  for (int64_t i = 0; i < l->n; i++) {
    const int64_t n = hf_count(&l->e[i]), width = lrl_weight_dtype_bytes(l->e[i].dtype);
    struct lrl_rng rng = lrl_rng_make(7, LRL_RNG_INIT, (uint64_t)i);
    char *bytes = malloc((size_t)(n * width) + 1);
    const bool norm = strstr(l->e[i].name, "norm") != NULL && strstr(l->e[i].name, "bias") == NULL;
    for (int64_t k = 0; k < n; k++) {
      const float v = (norm ? 1.0f : 0.0f) + 0.1f * lrl_rng_normal(&rng);
      const uint16_t half =
          l->e[i].dtype == LRL_WEIGHT_F16 ? lrl_f32_to_f16(v) : lrl_f32_to_bf16(v);
      if (width == 4)
        memcpy(bytes + k * 4, &v, 4);
      else
        memcpy(bytes + k * 2, &half, 2);
    }
    assert_int_equal(lrl_safetensors_put(w, i, 0, bytes, (size_t)(n * width)), LRL_OK);
    free(bytes);
  }
  assert_int_equal(lrl_safetensors_finish(w), LRL_OK);
}

static inline void hf_put(const char *folder, const char *name, const char *text) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
  assert_int_equal(fclose(f), 0);
}

#define HF_SIZES                                                                                   \
  "\"hidden_size\": 48, \"intermediate_size\": 80, \"num_hidden_layers\": 2, "                     \
  "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"max_position_embeddings\": 512, "     \
  "\"rms_norm_eps\": 1e-05, \"hidden_act\": \"silu\", \"vocab_size\": %d, "

/* A tokenizer for the folder; its pieces. */
static inline int32_t hf_tokenizer(const char *folder) {
  static const char *const texts[] = {"What colour is the ball?", "The ball is red.",
                                      "How many boats are there?", "There are 12 boats."};
  char path[512];
  struct lrl_tokenizer *t;
  mkdir(folder, 0777);
  snprintf(path, sizeof path, "%s/tokenizer.model", folder);
  assert_int_equal(lrl_tokenizer_train(texts, 4, 300, path), LRL_OK);
  assert_int_equal(lrl_tokenizer_open(path, &t), LRL_OK);
  const int32_t n = lrl_tokenizer_info(t)->n_vocab;
  lrl_tokenizer_close(t);
  return n;
}

/* The same tensors of the same bytes. */
static inline void hf_expect_same(const char *a, const char *b) {
  struct lrl_weights *x, *y;
  if (lrl_weights_open(a, &x) != LRL_OK || lrl_weights_open(b, &y) != LRL_OK)
    fail_msg("%s", lrl_last_error());
  assert_int_equal(x->n, y->n);
  for (int64_t i = 0; i < x->n; i++) {
    const struct lrl_weight *s = &x->items[i], *t = &y->items[i];
    assert_string_equal(s->name, t->name);
    assert_int_equal(s->dtype, t->dtype);
    assert_int_equal(s->ndim, t->ndim);
    assert_memory_equal(s->dim, t->dim, sizeof s->dim);
    if (memcmp(s->data, t->data, (size_t)(s->n * lrl_weight_dtype_bytes(s->dtype))) != 0)
      fail_msg("%s differs", s->name);
  }
  lrl_weights_close(x);
  lrl_weights_close(y);
}
#endif
