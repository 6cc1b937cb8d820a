/* G3_: learning rates of transformers and verl. G4_: which official parameters decay, which train
 * under the official reward scripts. */
#include "model/param_build.h"
#include "model/vlm.h"
#include "tests/golden/golden.h"
#include "train/schedule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- G3 ---- */

/* The schedule a list is named after; its options are in the name. */
static bool parse_schedule(const char *name, struct lrl_schedule *s) {
  static const struct {
    const char *name;
    enum lrl_schedule_kind kind;
  } plain[] = {{"cosine", LRL_SCHEDULE_COSINE},
               {"linear", LRL_SCHEDULE_LINEAR},
               {"constant", LRL_SCHEDULE_CONSTANT},
               {"constant_with_warmup", LRL_SCHEDULE_CONSTANT_WITH_WARMUP}};
  for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
    if (strcmp(name, plain[i].name) == 0) {
      s->kind = plain[i].kind;
      return true;
    }
  int cycles;
  if (sscanf(name, "cosine_with_restarts_%d", &cycles) == 1) {
    s->kind = LRL_SCHEDULE_COSINE_WITH_RESTARTS;
    s->num_cycles = cycles;
    return true;
  }
  if (sscanf(name, "polynomial_p%lf_end%lf", &s->power, &s->lr_end) == 2) {
    s->kind = LRL_SCHEDULE_POLYNOMIAL;
    return true;
  }
  s->kind = LRL_SCHEDULE_COSINE_WITH_MIN_LR;
  return sscanf(name, "verl_cosine_min%lf", &s->min_lr_ratio) == 1;
}

static void schedules(struct golden *g, const char *path, const char *name) {
  json_t *root = json_load_file(path, 0, NULL), *one, *list;
  size_t i, step;
  double worst = 0;
  int64_t n = 0;
  const char *key, *unknown = NULL;
  json_array_foreach(json_object_get(root, "cases"), i, one) {
    json_object_foreach(one, key, list) {
      if (!json_is_array(list))
        continue;
      struct lrl_schedule s = {
          .lr = json_number_value(json_object_get(one, "base_lr")),
          .n_warmup = json_integer_value(json_object_get(one, "warmup_steps")),
          .n_steps = json_integer_value(json_object_get(one, "total_steps")),
      };
      if (!parse_schedule(key, &s)) {
        unknown = key;
        continue;
      }
      json_t *value;
      json_array_foreach(list, step, value) {
        double want = json_number_value(value), got = lrl_schedule_lr(&s, (int64_t)step);
        double error = want == got ? 0 : fabs(got - want) / fabs(want); /* infinite at want 0 */
        worst = isnan(error) || error > worst ? error : worst;
        n++;
      }
    }
  }
  if (unknown != NULL)
    golden_fail(g, name, unknown, "no schedule of this name");
  golden_check(g, name, "relative", n > 0 ? worst : NAN, 1e-12);
  json_decref(root);
}
GOLDEN_FAMILY("G3_", schedules)

/* ---- G4 ---- */

struct row {
  const char *name;
  int64_t dim[4];
  bool decays, trains;
};

static bool read_row(const json_t *json, struct row *r) {
  const json_t *shape = json_array_get(json, 1);
  if (!json_is_string(json_array_get(json, 0)) || json_array_size(shape) > 4)
    return false;
  *r = (struct row){.name = json_string_value(json_array_get(json, 0)), .dim = {1, 1, 1, 1}};
  for (size_t i = 0; i < json_array_size(shape); i++)
    r->dim[i] = json_integer_value(json_array_get(shape, i));
  r->decays = json_integer_value(json_array_get(json, 2)) != 0;
  r->trains = json_integer_value(json_array_get(json, 3)) != 0;
  return true;
}

static bool find_row(const json_t *rows, const char *name, struct row *r) {
  size_t i;
  json_t *json;
  json_array_foreach(rows, i,
                     json) if (read_row(json, r) && strcmp(r->name, name) == 0) return true;
  *r = (struct row){.dim = {1, 1, 1, 1}};
  return false;
}

static int64_t n_layers(const json_t *rows, const char *prefix) {
  size_t i;
  json_t *json;
  int64_t n = 0;
  struct row r;
  json_array_foreach(rows, i, json) {
    if (read_row(json, &r) && strncmp(r.name, prefix, strlen(prefix)) == 0) {
      int64_t layer = strtoll(r.name + strlen(prefix), NULL, 10);
      n = layer + 1 > n ? layer + 1 : n;
    }
  }
  return n;
}

#define VIT "vit.vision_tower.vision_model."

/* The model whose sizes the rows tell, trained as the official scripts do (SPEC 5.2). Numbers of
 * heads are not told and change no shape: one query and as many key/value heads as wqkv has room
 * for. */
static struct lrl_vlm_config model_of(const json_t *rows) {
  struct row embed, wqkv, w1, plora, patch, position, fc1;
  find_row(rows, "model.tok_embeddings.weight", &embed);
  find_row(rows, "model.layers.0.attention.wqkv.weight", &wqkv);
  find_row(rows, "model.layers.0.feed_forward.w1.weight", &w1);
  bool has_plora = find_row(rows, "model.layers.0.attention.wqkv.Plora_A.weight", &plora);
  bool has_vision = find_row(rows, VIT "embeddings.patch_embedding.weight", &patch);
  find_row(rows, VIT "embeddings.position_embedding.weight", &position);
  find_row(rows, VIT "encoder.layers.0.mlp.fc1.weight", &fc1);
  int64_t hidden = embed.dim[1], heads = 1;
  while (heads < hidden / 2 && (wqkv.dim[0] - hidden) % (2 * (hidden / heads)) != 0)
    heads *= 2;
  int64_t head_dim = hidden / heads, grid = (int64_t)llround(sqrt((double)position.dim[0] - 1));
  return (struct lrl_vlm_config){
      .decoder = {.vocab_size = embed.dim[0],
                  .hidden_size = hidden,
                  .intermediate_size = w1.dim[0],
                  .num_hidden_layers = n_layers(rows, "model.layers."),
                  .num_attention_heads = heads,
                  .num_key_value_heads = (wqkv.dim[0] - hidden) / (2 * head_dim),
                  .rms_norm_eps = 1e-5,
                  .initializer_range = 0.02,
                  .plora_r = has_plora ? plora.dim[0] : 0,
                  .plora_alpha = 1,
                  .rope = {.head_dim = head_dim, .max_position_embeddings = 64, .theta = 1e6}},
      .has_vision = has_vision,
      .vit = {.image_size = grid * patch.dim[2],
              .patch_size = patch.dim[2],
              .hidden_size = patch.dim[0],
              .intermediate_size = fc1.dim[0],
              .num_hidden_layers = n_layers(rows, VIT "encoder.layers."),
              .num_attention_heads = 1,
              .layer_norm_eps = 1e-5,
              .initializer_range = 0.02},
      .train_decoder = true,
  };
}

/* Not in the reward model: the language head became the score head, OmniLive has video_mem_proj. */
static bool left_out(const char *name) {
  return strcmp(name, "output.weight") == 0 || strncmp(name, "video_mem_proj.", 15) == 0;
}

static bool complain(const struct row *r, const char *what) {
  fprintf(stderr, "G4: %s: %s\n", r->name, what);
  return false;
}

static bool row_agrees(struct lrl_vlm *m, const struct row *r, const json_t *fresh) {
  if (lrl_param_decays(r->name) != r->decays)
    return complain(r, "weight decay differs");
  if (left_out(r->name))
    return true;
  struct lrl_param_unit *unit;
  const struct lrl_param *p = lrl_param_find(&m->params, r->name, &unit);
  if (p == NULL)
    return complain(r, "the model lacks it");
  if (p->n != r->dim[0] * r->dim[1] * r->dim[2] * r->dim[3])
    return complain(r, "its size differs");
  if (p->decay != r->decays || unit->trainable != r->trains || (unit->grad != NULL) != r->trains)
    return complain(r, "training differs");
  /* Values that a fresh model sets to a constant. */
  const json_t *mean = json_array_get(fresh, 0), *std = json_array_get(fresh, 1);
  bool constant = r->trains && mean != NULL && json_number_value(std) == 0;
  for (int64_t i = 0; constant && i < p->n; i++)
    if (((const float *)unit->data)[p->offset + i] != (float)json_number_value(mean))
      return complain(r, "its initial value differs");
  return true;
}

static void decay_groups(struct golden *g, const char *path, const char *name) {
  json_t *root = json_load_file(path, 0, NULL), *rows = json_object_get(root, "rows"), *json;
  struct lrl_vlm_config cfg = model_of(rows);
  struct lrl_vlm *m = calloc(1, sizeof *m);
  int64_t wrong = 0, n = 0;
  size_t i;
  int status = m == NULL ? LRL_ERR_MEMORY : (int)lrl_vlm_init(m, &cfg);
  if (status == LRL_OK)
    status = (int)lrl_param_set_alloc_grads(&m->params, &m->weights);
  if (status == LRL_OK)
    status = (int)lrl_param_set_init(&m->params, 1);
  if (golden_ok(g, name, "", status)) {
    json_array_foreach(rows, i, json) {
      struct row r;
      bool ok =
          read_row(json, &r) &&
          row_agrees(m, &r, json_object_get(json_object_get(root, "fresh_init_mean_std"), r.name));
      wrong += !ok;
      n++;
    }
    golden_check(g, name, "decay, trainable", n > 0 ? (double)wrong : NAN, 0);
    lrl_vlm_free(m);
  }
  free(m);
  json_decref(root);
}
GOLDEN_FAMILY("G4_", decay_groups)
