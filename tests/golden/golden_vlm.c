/* B2: tiles -> CLIP tower -> 2x2 merge with GN tokens -> projector, and the gradients of the last
 * two, against the official code. loss = 0.5 mean(projected^2); the tower is frozen. */
#include "data/image_transform.h"
#include "model/param_build.h"
#include "model/vlm.h"
#include "tests/golden/golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_IMAGES = 16 };

struct vlm_case {
  struct golden *g;
  const char *name;
  struct g5 file;
  struct lrl_ctx ctx;
  struct lrl_arena arena;
  struct lrl_vlm model;
  int n_images;
  int32_t rows[MAX_IMAGES], cols[MAX_IMAGES];
  struct lrl_buffer tiles;
  int64_t n_tiles;
};

static struct lrl_vlm_config read_config(const struct g5 *f) {
  struct lrl_vit_config vit = {.image_size = (int64_t)g5_num(f, "image_size", 0),
                               .patch_size = (int64_t)g5_num(f, "patch_size", 0),
                               .hidden_size = (int64_t)g5_num(f, "hidden_size", 0),
                               .intermediate_size = (int64_t)g5_num(f, "intermediate_size", 0),
                               .num_hidden_layers = (int64_t)g5_num(f, "num_hidden_layers", 0),
                               .num_attention_heads = (int64_t)g5_num(f, "num_attention_heads", 1),
                               .layer_norm_eps = g5_num(f, "layer_norm_eps", 1e-5),
                               .initializer_range = 0.02};
  int64_t width = (int64_t)g5_num(f, "llm_width", 0);
  /* The decoder behind the projector has no layers here. */
  struct lrl_decoder_config decoder = {.vocab_size = 1,
                                       .hidden_size = width,
                                       .intermediate_size = 1,
                                       .num_attention_heads = 1,
                                       .num_key_value_heads = 1,
                                       .rms_norm_eps = 1e-5,
                                       .rope = {.head_dim = width, .theta = 1e4},
                                       .initializer_range = 0.02,
                                       .pad_token_id = -1};
  return (struct lrl_vlm_config){.decoder = decoder,
                                 .has_vision = true,
                                 .vit = vit,
                                 .dtype = LRL_F32,
                                 .train_decoder = true,
                                 .train_projector = true};
}

/* Weights of the file into the model; those of the decoder are not in it. */
static lrl_status load(struct vlm_case *c) {
  struct lrl_param_set *set = &c->model.params;
  int64_t n_loaded = 0;
  for (int u = 0; u < set->n_units; u++)
    for (int i = 0; i < set->units[u].n_params; i++) {
      struct lrl_param *p = &set->units[u].params[i];
      struct g5_array a;
      char path[256];
      snprintf(path, sizeof path, "/weights/%s", p->name);
      if (!g5_read_f32(&c->file, path, &a)) {
        if (u < c->model.decoder.embed_unit)
          return LRL_FAIL(LRL_ERR_FORMAT, "the file has no weight %s", p->name);
        continue;
      }
      bool fits = a.n == p->n;
      if (fits)
        lrl_param_store(&set->units[u], p, a.f32);
      g5_free(&a);
      if (!fits)
        return LRL_FAIL(LRL_ERR_SHAPE, "weight %s has another shape", p->name);
      n_loaded++;
    }
  return n_loaded > 0 ? LRL_OK : LRL_FAIL(LRL_ERR_FORMAT, "the file has no weights");
}

/* Tiles of every image of the file, one after the other. */
static lrl_status read_images(struct vlm_case *c) {
  double h[MAX_IMAGES], w[MAX_IMAGES];
  int64_t tile = c->model.cfg.vit.image_size, one = 3 * tile * tile;
  c->n_images = g5_list(&c->file, "tiles_h", h, MAX_IMAGES);
  if (c->n_images < 1 || g5_list(&c->file, "tiles_w", w, MAX_IMAGES) != c->n_images)
    return LRL_FAIL(LRL_ERR_FORMAT, "tiles_h and tiles_w do not name the same images");
  for (int i = 0; i < c->n_images; i++) {
    struct g5_array a;
    char path[40];
    snprintf(path, sizeof path, "/inputs/image.%d", i);
    if (!g5_read_u8(&c->file, path, &a))
      return LRL_FAIL(LRL_ERR_FORMAT, "the file has no image %d", i);
    struct lrl_image im = {
        .width = (int32_t)a.dim[1], .height = (int32_t)a.dim[0], .rgb = {a.u8, (size_t)a.n}};
    struct lrl_buffer scratch = {0};
    c->rows[i] = (int32_t)h[i];
    c->cols[i] = (int32_t)w[i];
    int64_t n = 1 + (int64_t)c->rows[i] * c->cols[i];
    lrl_status s = LRL_OK;
    if (a.ndim != 3 || im.height != c->rows[i] * tile || im.width != c->cols[i] * tile)
      s = LRL_FAIL(LRL_ERR_SHAPE, "image %d has not the size its tiles say", i);
    if (s == LRL_OK)
      s = lrl_buffer_reserve(&c->tiles, (size_t)((c->n_tiles + n) * one) * sizeof(float));
    if (s == LRL_OK)
      s = lrl_image_tiles(&im, (int32_t)tile, (float *)c->tiles.data + c->n_tiles * one, &scratch);
    c->n_tiles += n;
    lrl_buffer_free(&scratch);
    g5_free(&a);
    LRL_TRY(s);
  }
  return LRL_OK;
}

static double against(const struct vlm_case *c, const char *dataset, const float *got, int64_t n) {
  struct g5_array want;
  if (!g5_read_f32(&c->file, dataset, &want))
    return INFINITY;
  double worst = want.n == n ? golden_max_abs(got, want.f32, n) : INFINITY;
  g5_free(&want);
  return worst;
}

/* Rows sub_idx of every tile's tokens against [n_tiles, n_idx, width]. */
static void check_tokens(struct vlm_case *c, const char *dataset, const struct lrl_tensor *x) {
  static double index[4096];
  int n_index = g5_list(&c->file, "sub_idx", index, 4096);
  int64_t tokens = lrl_vit_tokens(&c->model.cfg.vit), w = x->cols;
  struct g5_array a;
  if (!g5_read_f32(&c->file, dataset, &a))
    return;
  double worst = a.n == c->n_tiles * n_index * w ? 0 : INFINITY;
  for (int64_t t = 0; t < c->n_tiles && worst < INFINITY; t++)
    for (int64_t k = 0; k < n_index; k++)
      worst =
          fmax(worst, golden_max_abs((const float *)x->data + (t * tokens + (int64_t)index[k]) * w,
                                     a.f32 + (t * n_index + k) * w, w));
  golden_check(c->g, c->name, dataset + strlen("/outputs/"), worst, 5e-5);
  g5_free(&a);
}

static void see_layer(void *user, int64_t layer, struct lrl_tensor *x) {
  char dataset[60];
  snprintf(dataset, sizeof dataset, "/outputs/hidden_states_%d_sub", (int)layer);
  check_tokens(user, dataset, x);
}

/* The tower alone, for its own outputs. */
static lrl_status check_tower(struct vlm_case *c) {
  size_t mark = lrl_arena_mark(&c->arena);
  struct lrl_tape tape;
  lrl_tape_init(&tape, &c->ctx, &c->arena, false);
  struct lrl_tensor *x =
      lrl_vit_forward(&tape, &c->model.vit, c->tiles.data, NULL, c->n_tiles, see_layer, c);
  struct lrl_tensor *pooled = lrl_vit_pooler(&tape, &c->model.vit, x, c->n_tiles);
  LRL_TRY(tape.status);
  LRL_TRY(lrl_ctx_sync(&c->ctx));
  check_tokens(c, "/outputs/hidden_states_last_sub", x);
  if (g5_has(&c->file, "/outputs/pooler_output"))
    golden_check(c->g, c->name, "pooler_output",
                 against(c, "/outputs/pooler_output", pooled->data, pooled->rows * pooled->cols),
                 5e-5);
  lrl_arena_reset(&c->arena, mark);
  return LRL_OK;
}

static void check_global_view(struct vlm_case *c) {
  struct g5_array mean, crop;
  int64_t side = c->model.cfg.vit.image_size;
  const float *view = c->tiles.data;
  if (g5_read_f64(&c->file, "/outputs/glb_view_channel_mean", &mean)) {
    double worst = 0;
    for (int64_t ch = 0; ch < 3; ch++) {
      double sum = 0;
      for (int64_t i = 0; i < side * side; i++)
        sum += (double)view[ch * side * side + i];
      worst = fmax(worst, fabs(sum / (double)(side * side) - mean.f64[ch]));
    }
    golden_check(c->g, c->name, "glb_view_channel_mean", worst, 1e-5);
    g5_free(&mean);
  }
  if (g5_read_f32(&c->file, "/outputs/glb_view_crop", &crop)) { /* taken at row 200, column 300 */
    double worst = side >= 200 + crop.dim[1] && side >= 300 + crop.dim[2] ? 0 : INFINITY;
    for (int64_t k = 0; k < crop.n && worst < INFINITY; k++) {
      int64_t x = k % crop.dim[2], y = k / crop.dim[2] % crop.dim[1];
      int64_t ch = k / crop.dim[2] / crop.dim[1];
      worst = fmax(
          worst, fabs((double)view[(ch * side + 200 + y) * side + 300 + x] - (double)crop.f32[k]));
    }
    golden_check(c->g, c->name, "glb_view_crop", worst, 1e-5);
    g5_free(&crop);
  }
}

static void check_grads(struct vlm_case *c) {
  const int units[2] = {c->model.gn_unit, c->model.projector_unit};
  double worst = 0;
  for (int k = 0; k < 2; k++) {
    const struct lrl_param_unit *u = &c->model.params.units[units[k]];
    for (int i = 0; i < u->n_params; i++) {
      char path[200];
      snprintf(path, sizeof path, "/grads/%s", u->params[i].name);
      worst = fmax(worst, against(c, path, u->grad + u->params[i].offset, u->params[i].n));
    }
  }
  golden_check(c->g, c->name, "grads", worst, 5e-6); /* that of plora_glb_GN is 1e-4 */
}

static void check_counts(struct vlm_case *c) {
  struct g5_array a;
  if (!g5_read_i64(&c->file, "/outputs/token_count", &a))
    return;
  double wrong = a.n != c->n_images;
  for (int64_t i = 0; i < a.n && i < c->n_images; i++)
    wrong += a.i64[i] != lrl_vlm_image_tokens(&c->model.cfg.vit, c->rows[i], c->cols[i]);
  golden_check(c->g, c->name, "token_count", wrong, 0);
  g5_free(&a);
}

static lrl_status check_model(struct vlm_case *c) {
  const struct lrl_vlm_images images = {.n_images = c->n_images,
                                        .n_tiles = c->n_tiles,
                                        .rows = c->rows,
                                        .cols = c->cols,
                                        .tiles = c->tiles.data};
  struct lrl_tape tape;
  lrl_tape_init(&tape, &c->ctx, &c->arena, true);
  struct lrl_tensor *merged = lrl_vlm_merged(&tape, &c->model, &images, NULL);
  struct lrl_tensor *projected = lrl_vlm_project(&tape, &c->model, merged);
  LRL_TRY(tape.status);
  LRL_TRY(lrl_ctx_sync(&c->ctx));
  int64_t n = projected->rows * projected->cols;
  golden_check(c->g, c->name, "merged",
               against(c, "/outputs/merged", merged->data, merged->rows * merged->cols), 5e-5);
  golden_check(c->g, c->name, "projected", against(c, "/outputs/projected", projected->data, n),
               5e-5);
  float *d = lrl_tape_alloc(&tape, (size_t)n * sizeof *d);
  LRL_TRY(tape.status);
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    float v = ((const float *)projected->data)[i];
    sum += (double)v * (double)v;
    d[i] = v / (float)n;
  }
  float loss = (float)(0.5 * sum / (double)n);
  golden_check(c->g, c->name, "loss", against(c, "/outputs/loss", &loss, 1), 5e-5);
  lrl_grad_seed(&tape, projected, d);
  LRL_TRY(lrl_backward(&tape));
  LRL_TRY(lrl_ctx_sync(&c->ctx));
  check_grads(c);
  return LRL_OK;
}

static lrl_status run_case(struct vlm_case *c) {
  struct lrl_vlm_config cfg = read_config(&c->file);
  LRL_TRY(lrl_ctx_init(&c->ctx, c->g->device, 0));
  LRL_TRY(lrl_arena_init(&c->arena, "step memory", (size_t)16 << 30));
  LRL_TRY(lrl_vlm_init(&c->model, &cfg));
  LRL_TRY(lrl_param_set_alloc_grads(&c->model.params, &c->model.weights));
  LRL_TRY(load(c));
  LRL_TRY(read_images(c));
  check_counts(c);
  check_global_view(c);
  LRL_TRY(check_tower(c));
  return check_model(c);
}

static void run_vlm(struct golden *g, const char *path, const char *name) {
  struct vlm_case *c = calloc(1, sizeof *c);
  if (c == NULL)
    return;
  c->g = g;
  c->name = name;
  if (!g5_open(&c->file, path)) {
    golden_fail(g, name, "", "cannot be opened as HDF5");
    free(c);
    return;
  }
  golden_ok(g, name, "", (int)run_case(c));
  lrl_vlm_free(&c->model);
  lrl_arena_free(&c->arena);
  lrl_buffer_free(&c->tiles);
  if (c->ctx.backend != NULL)
    lrl_ctx_free(&c->ctx);
  g5_close(&c->file);
  free(c);
}
GOLDEN_FAMILY("B2_", run_vlm)
