/* B1: the CLIP tower against Hugging Face's CLIPVisionModel. */
#include "model/param_build.h"
#include "model/vit.h"
#include "tests/golden/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct vision_case {
  struct golden *g;
  const char *name;
  struct g5 file;
  struct lrl_param_set params;
  double worst;
};

static double against(const struct vision_case *c, const char *dataset, const float *got,
                      int64_t n) {
  struct g5_array want;
  if (!g5_read_f32(&c->file, dataset, &want))
    return -1;
  double worst = want.n == n ? golden_max_abs(got, want.f32, n) : INFINITY;
  g5_free(&want);
  return worst;
}

static void see_layer(void *user, int64_t layer, struct lrl_tensor *x) {
  struct vision_case *c = user;
  char path[64];
  snprintf(path, sizeof path, "/outputs/hidden_states.%d", (int)layer);
  c->worst = fmax(c->worst, against(c, path, x->data, x->rows * x->cols));
}

static bool load(struct vision_case *c) {
  for (int u = 0; u < c->params.n_units; u++)
    for (int i = 0; i < c->params.units[u].n_params; i++) {
      struct lrl_param *p = &c->params.units[u].params[i];
      char path[200];
      struct g5_array a;
      snprintf(path, sizeof path, "/weights/%s", p->name);
      bool ok = g5_read_f32(&c->file, path, &a) && a.n == p->n;
      if (ok)
        lrl_param_store(&c->params.units[u], p, a.f32);
      else
        golden_fail(c->g, c->name, p->name, "weight missing or of another shape");
      g5_free(&a);
      if (!ok)
        return false;
    }
  return true;
}

static void grads(struct vision_case *c, const float *d_pixels, int64_t n_pixels) {
  double worst = fmax(0, against(c, "/grads/pixel_values", d_pixels, n_pixels));
  for (int u = 0; u < c->params.n_units; u++)
    for (int i = 0; i < c->params.units[u].n_params; i++) {
      const struct lrl_param *p = &c->params.units[u].params[i];
      char path[200];
      snprintf(path, sizeof path, "/grads/%s", p->name);
      if (c->params.units[u].grad != NULL)
        worst = fmax(worst, against(c, path, c->params.units[u].grad + p->offset, p->n));
    }
  golden_check(c->g, c->name, "grads", worst, 1e-6);
}

static void run_tower(struct vision_case *c, struct lrl_ctx *ctx, struct lrl_arena *arena,
                      struct lrl_vit *v) {
  struct g5_array pixels, r;
  if (!g5_read_f32(&c->file, "/inputs/pixel_values", &pixels)) {
    golden_fail(c->g, c->name, "", "no /inputs/pixel_values");
    return;
  }
  int64_t n = pixels.dim[0];
  float *d_pixels = calloc((size_t)pixels.n, sizeof *d_pixels);
  struct lrl_tape tape;
  lrl_tape_init(&tape, ctx, arena, true);
  struct lrl_tensor *x = lrl_vit_forward(&tape, v, pixels.f32, d_pixels, n, see_layer, c);
  struct lrl_tape quiet = tape;
  quiet.record = false;
  struct lrl_tensor *pooled = lrl_vit_pooler(&quiet, v, x, n);
  lrl_tape_ok(&tape, quiet.status);
  lrl_tape_ok(&tape, lrl_ctx_sync(ctx));
  if (golden_ok(c->g, c->name, "hidden", tape.status)) {
    c->worst = fmax(c->worst, against(c, "/outputs/last_hidden_state", x->data, x->rows * x->cols));
    golden_check(c->g, c->name, "hidden", c->worst, 5e-5);
    golden_check(c->g, c->name, "pooler",
                 against(c, "/outputs/pooler_output", pooled->data, pooled->rows * pooled->cols),
                 5e-5);
    if (g5_read_f32(&c->file, "/inputs/R", &r)) { /* loss = sum(last * R) / numel(R) */
      for (int64_t i = 0; i < r.n; i++)
        r.f32[i] /= (float)r.n;
      lrl_grad_seed(&tape, x, r.f32);
      if (golden_ok(c->g, c->name, "grads", lrl_backward(&tape)) &&
          golden_ok(c->g, c->name, "grads", lrl_ctx_sync(ctx)))
        grads(c, d_pixels, pixels.n);
      g5_free(&r);
    }
  }
  free(d_pixels);
  g5_free(&pixels);
}

static void run_clip(struct golden *g, const char *path, const char *name) {
  struct vision_case c = {.g = g, .name = name};
  struct lrl_ctx ctx = {0};
  struct lrl_arena arena = {0};
  struct lrl_vit v = {0};
  if (!g5_open(&c.file, path)) {
    golden_fail(g, name, "", "cannot open the file");
    return;
  }
  struct lrl_vit_config cfg = {
      .image_size = (int64_t)g5_num(&c.file, "image_size", 0),
      .patch_size = (int64_t)g5_num(&c.file, "patch_size", 0),
      .hidden_size = (int64_t)g5_num(&c.file, "hidden_size", 0),
      .intermediate_size = (int64_t)g5_num(&c.file, "intermediate_size", 0),
      .num_hidden_layers = (int64_t)g5_num(&c.file, "num_hidden_layers", 0),
      .num_attention_heads = (int64_t)g5_num(&c.file, "num_attention_heads", 1),
      .layer_norm_eps = g5_num(&c.file, "layer_norm_eps", 1e-5),
      .initializer_range = 0.02};
  if (golden_ok(g, name, "", lrl_ctx_init(&ctx, g->device, 0)) &&
      golden_ok(g, name, "", lrl_arena_init(&arena, "step memory", (size_t)16 << 30)) &&
      golden_ok(g, name, "", lrl_vit_build(&v, &cfg, "vision_model.", &c.params, LRL_F32, true)) &&
      golden_ok(g, name, "", lrl_param_set_alloc(&c.params, &arena)) &&
      golden_ok(g, name, "", lrl_param_set_alloc_grads(&c.params, &arena)) && load(&c))
    run_tower(&c, &ctx, &arena, &v);
  lrl_vit_free(&v);
  lrl_param_set_free(&c.params);
  lrl_arena_free(&arena);
  if (ctx.backend != NULL)
    lrl_ctx_free(&ctx);
  g5_close(&c.file);
}
GOLDEN_FAMILY("B1_", run_clip)
