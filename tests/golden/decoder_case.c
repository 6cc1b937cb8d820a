#include "tests/golden/decoder_case.h"

#include "model/param_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lrl_decoder_config g5_decoder(const struct g5 *f, int32_t default_pad_token_id) {
  char scaling[32];
  g5_str(f, "rope_scaling_type", scaling, sizeof scaling);
  struct lrl_decoder_config c = {
      .vocab_size = (int64_t)g5_num(f, "vocab_size", 0),
      .hidden_size = (int64_t)g5_num(f, "hidden_size", 0),
      .intermediate_size = (int64_t)g5_num(f, "intermediate_size", 0),
      .num_hidden_layers = (int64_t)g5_num(f, "num_hidden_layers", 0),
      .num_attention_heads = (int64_t)g5_num(f, "num_attention_heads", 1),
      .num_key_value_heads = (int64_t)g5_num(f, "num_key_value_heads", 1),
      .rms_norm_eps = g5_num(f, "rms_norm_eps", 1e-5),
      .bias = g5_num(f, "bias", 0) != 0,
      .plora_r = (int64_t)g5_num(f, "plora_r", 0),
      .plora_alpha = g5_num(f, "plora_alpha", 1),
      .initializer_range = 0.02,
      .pad_token_id = (int32_t)g5_num(f, "pad_token_id", default_pad_token_id),
      .rope = {.max_position_embeddings = (int64_t)g5_num(f, "max_position_embeddings", 1 << 20),
               .theta = g5_num(f, "rope_theta", 1e6),
               .factor = g5_num(f, "rope_scaling_factor", 1.0),
               .scaling = strcmp(scaling, "dynamic") == 0  ? LRL_ROPE_DYNAMIC
                          : strcmp(scaling, "linear") == 0 ? LRL_ROPE_LINEAR
                                                           : LRL_ROPE_NONE}};
  c.rope.head_dim = c.hidden_size / c.num_attention_heads;
  return c;
}

static bool load_weights(struct decoder_case *d) {
  for (int u = 0; u < d->params.n_units; u++)
    for (int i = 0; i < d->params.units[u].n_params; i++) {
      struct lrl_param *p = &d->params.units[u].params[i];
      char path[200];
      struct g5_array a;
      snprintf(path, sizeof path, "/weights/%s", p->name);
      bool ok = g5_read_f32(&d->file, path, &a) && a.n == p->n;
      if (ok)
        lrl_param_store(&d->params.units[u], p, a.f32);
      g5_free(&a);
      if (!ok) {
        golden_fail(d->g, d->name, p->name, "weight missing or of another shape");
        return false;
      }
    }
  return true;
}

/* Packs rows by their attention mask (all ones when absent). */
static bool pack_inputs(struct decoder_case *d) {
  struct g5_array ids, mask, pos;
  if (!g5_read_i64(&d->file, "/inputs/input_ids", &ids))
    return false;
  bool has_mask = g5_read_i64(&d->file, "/inputs/attention_mask", &mask);
  bool has_pos = g5_read_i64(&d->file, "/inputs/position_ids", &pos);
  d->batch = ids.dim[0];
  d->width = ids.dim[1];
  int32_t **lists[] = {&d->ids, &d->cell, &d->positions, &d->image_rows, &d->start, &d->length};
  for (int i = 0; i < 6; i++)
    *lists[i] = calloc((size_t)(ids.n + d->batch), sizeof(int32_t));
  for (int64_t b = 0; b < d->batch; b++) {
    d->start[b] = (int32_t)d->n_tokens;
    for (int64_t t = 0; t < d->width; t++) {
      int64_t c = b * d->width + t;
      if (has_mask && mask.i64[c] == 0)
        continue;
      d->ids[d->n_tokens] = (int32_t)ids.i64[c];
      d->cell[d->n_tokens] = (int32_t)c;
      d->positions[d->n_tokens] = has_pos ? (int32_t)pos.i64[c] : d->length[b];
      if (ids.i64[c] == -1)
        d->image_rows[d->n_image_rows++] = (int32_t)d->n_tokens;
      d->n_tokens++;
      d->length[b]++;
    }
  }
  d->layout = (struct lrl_layout){
      .n_tokens = d->n_tokens, .n_seqs = d->batch, .start = d->start, .length = d->length};
  g5_free(&ids);
  if (has_mask)
    g5_free(&mask);
  if (has_pos)
    g5_free(&pos);
  return true;
}

bool decoder_case_open(struct decoder_case *d, struct golden *g, const char *path, const char *name,
                       lrl_dtype dtype, bool trainable) {
  memset(d, 0, sizeof *d);
  d->g = g;
  d->name = name;
  d->dtype = dtype;
  d->suffix = dtype == LRL_BF16 ? "_bf16" : "";
  if (!g5_open(&d->file, path)) {
    golden_fail(g, name, "", "cannot open the file");
    return false;
  }
  struct lrl_decoder_config c = g5_decoder(&d->file, 2);
  if (!golden_ok(g, name, "", lrl_ctx_init(&d->ctx, g->device, 0)) ||
      !golden_ok(g, name, "", lrl_arena_init(&d->steps, "step memory", (size_t)16 << 30)) ||
      !golden_ok(g, name, "", lrl_arena_init(&d->weights, "weights", (size_t)4 << 30)) ||
      !golden_ok(g, name, "", lrl_decoder_build(&d->decoder, &c, &d->params, dtype, trainable)))
    return false;
  d->output_unit = lrl_param_unit_add(&d->params, "output", dtype, trainable);
  lrl_param_add(&d->params, d->output_unit, "output.weight", c.vocab_size, c.hidden_size, 0.02f);
  if (!golden_ok(g, name, "", lrl_param_set_alloc(&d->params, &d->weights)) ||
      !golden_ok(g, name, "", lrl_param_set_alloc_grads(&d->params, &d->weights)) ||
      !load_weights(d) || !pack_inputs(d))
    return false;
  g5_read_f32(&d->file, "/inputs/image_embeds", &d->image_embeds);
  return true;
}

void decoder_case_close(struct decoder_case *d) {
  int32_t *lists[] = {d->ids, d->cell, d->positions, d->image_rows, d->start, d->length};
  for (int i = 0; i < 6; i++)
    free(lists[i]);
  g5_free(&d->image_embeds);
  g5_close(&d->file);
  lrl_decoder_free(&d->decoder);
  lrl_param_set_free(&d->params);
  lrl_arena_free(&d->weights);
  lrl_arena_free(&d->steps);
  lrl_ctx_free(&d->ctx);
}
