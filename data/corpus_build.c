/* From preference files to a corpus in memory. */
#include "data/corpus_build_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Whether the row belongs to the part that is not read. */
static bool in_other_part(const struct lrl_corpus_options *o, const struct lrl_pair *p) {
  if (o->holdout <= 0)
    return false;
  uLong key = crc32(0, NULL, 0);
  if (p->aside != LRL_ASIDE_NONE) /* its fields may be missing: told once, with the training part */
    return o->held_out;
  if (o->holdout_by == LRL_HOLDOUT_IMAGE && p->n_images > 0)
    key = crc32_z(key, (const Bytef *)p->images[0], strlen(p->images[0]));
  else
    for (int64_t i = 0; i + 1 < p->n_chosen || (i == 0 && p->n_chosen == 1); i++)
      key = crc32_z(key, (const Bytef *)p->chosen[i].content, strlen(p->chosen[i].content));
  return ((double)key < o->holdout * 4294967296.0) != o->held_out;
}

static lrl_status take(void *user, struct lrl_pair *p) {
  struct lrl_corpus_builder *b = user;
  const struct lrl_pair_checks checks = {b->opt->check_data, b->opt->allow_context_mismatch};
  b->multimodal = b->multimodal || (p->row == 0 && p->has_image_key);
  if (in_other_part(b->opt, p))
    return LRL_OK;
  b->n_rows++;
  lrl_pair_check(p, &checks);
  LRL_TRY(lrl_corpus_add_row(b, p));
  if (p->aside == LRL_ASIDE_NONE)
    return LRL_OK;
  int32_t reason = (int32_t)p->aside;
  LRL_TRY(lrl_column_add(b->c, LRL_COL_aside_source, &b->source, 1));
  LRL_TRY(lrl_column_add_i64(b->c, LRL_COL_aside_line, p->line));
  LRL_TRY(lrl_column_add(b->c, LRL_COL_aside_reason, &reason, 1));
  return lrl_column_add_text(b->c, LRL_COL_aside_text, LRL_COL_aside_start, p->detail);
}

static lrl_status add_source(struct lrl_corpus_builder *b, const struct lrl_corpus_source *s) {
  const char *slash = strrchr(s->path, '/');
  char *folder = lrl_path_folder(s->path);
  if (folder == NULL)
    return LRL_ERR_MEMORY;
  b->image_root = s->image_root != NULL ? s->image_root : folder;
  b->n_rows = 0;
  b->multimodal = false;
  b->first_pair = lrl_corpus_n_pairs(b->c);
  lrl_status status = lrl_pairs_read(s->path, b->opt->form, take, b);
  free(folder);
  LRL_TRY(status);
  int64_t info[LRL_SOURCE_WIDTH] = {s->given_num, b->multimodal, b->n_rows,
                                    lrl_corpus_n_pairs(b->c) - b->first_pair, b->first_pair};
  const char *name = s->name != NULL ? s->name : slash != NULL ? slash + 1 : s->path;
  LRL_TRY(lrl_column_add_text(b->c, LRL_COL_source_text, LRL_COL_source_start, name));
  LRL_TRY(lrl_column_add_text(b->c, LRL_COL_source_text, LRL_COL_source_start, s->path));
  LRL_TRY(lrl_column_add(b->c, LRL_COL_source_number, &s->number, 1));
  b->source++;
  return lrl_column_add(b->c, LRL_COL_source_info, info, LRL_SOURCE_WIDTH);
}

static lrl_status add_settings(struct lrl_corpus *c, const struct lrl_corpus_options *o) {
  char hash[64], text[512];
  lrl_tokenizer_hash(o->tokenizer, hash);
  snprintf(text, sizeof text,
           "{\"form\": %d, \"template\": %d, \"mode\": %d, \"suffix\": %d, \"pack\": %d, "
           "\"max_length\": %lld, " LRL_CORPUS_TILE_SETTING
           ", \"check_data\": %d, \"allow_context_mismatch\": %d, "
           "\"filter_overlong\": %d, \"drop_duplicates\": %d, \"length_ratio\": %g, "
           "\"length_unit\": %d, \"holdout\": %g, \"held_out\": %d, \"holdout_by\": %d}",
           (int)o->form, (int)o->chat.form, (int)o->chat.mode, (int)o->chat.suffix,
           (int)o->chat.pack, (long long)o->chat.max_length,
           o->images == NULL ? 0 : (int)o->images->tile,
           o->images == NULL ? 0 : (int)o->images->merged_side, o->check_data,
           o->allow_context_mismatch, o->filter_overlong, o->drop_duplicates, o->length_ratio,
           (int)o->length_unit, o->holdout, o->held_out, (int)o->holdout_by);
  LRL_TRY(lrl_column_add(c, LRL_COL_tokenizer, hash, (int64_t)strlen(hash) + 1));
  return lrl_column_add(c, LRL_COL_settings, text, (int64_t)strlen(text) + 1);
}

lrl_status lrl_corpus_build(const struct lrl_corpus_source *sources, int64_t n_sources,
                            const struct lrl_corpus_options *options, struct lrl_corpus **out) {
  struct lrl_corpus_builder b = {.opt = options};
  lrl_status status;
  *out = NULL;
  LRL_TRY_GOTO(lrl_corpus_create(&b.c));
  LRL_TRY_GOTO(add_settings(b.c, options));
  for (int64_t i = 0; i < n_sources; i++)
    LRL_TRY_GOTO(add_source(&b, &sources[i]));
  *out = b.c;
  b.c = NULL;
done:
  lrl_corpus_free(b.c);
  lrl_corpus_index_free(&b.images);
  lrl_corpus_index_free(&b.pairs);
  lrl_buffer_free(&b.counts);
  lrl_buffer_free(&b.grids);
  lrl_buffer_free(&b.indices);
  return status;
}
