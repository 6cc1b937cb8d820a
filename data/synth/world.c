/* Items by domain, split and index. */
#include "data/synth/synth.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

static const struct {
  const char *name;
  lrl_synth_fn *draw;
} domains[LRL_SYNTH_DOMAINS] = {
    {"counting", lrl_synth_counting},     {"relation", lrl_synth_relation},
    {"chart", lrl_synth_chart},           {"receipt", lrl_synth_receipt},
    {"arithmetic", lrl_synth_arithmetic}, {"instruct", lrl_synth_instruct},
    {"video", lrl_synth_video},
};

const char *lrl_synth_domain_name(enum lrl_synth_domain d) { return domains[d].name; }

const char *lrl_synth_level_name(enum lrl_synth_level level) {
  return level == LRL_SYNTH_FULL ? "full" : "easy";
}

const char *lrl_synth_split_name(enum lrl_synth_split s) {
  return s == LRL_SYNTH_TRAIN ? "train" : "validation";
}

lrl_status lrl_synth_domains_parse(const char *list, uint32_t *set) {
  *set = 0;
  for (const char *at = list, *end; *at != '\0'; at = *end == ',' ? end + 1 : end) {
    end = at + strcspn(at, ",");
    uint32_t bit = 0;
    for (int i = 0; i < LRL_SYNTH_DOMAINS; i++)
      if (strlen(domains[i].name) == (size_t)(end - at) &&
          memcmp(domains[i].name, at, (size_t)(end - at)) == 0)
        bit = 1U << i;
    if (bit == 0)
      return LRL_FAIL(LRL_ERR_ARG,
                      "there is no domain '%.*s'; the domains are counting, relation, chart, "
                      "receipt, arithmetic, instruct, video",
                      (int)(end - at), at);
    *set |= bit;
  }
  return *set != 0 ? LRL_OK : LRL_FAIL(LRL_ERR_ARG, "no domain is named");
}

/* One scene in five is for validation. */
static bool is_of(enum lrl_synth_split split, uint64_t key) {
  return (key % 5 == 0) == (split == LRL_SYNTH_VALIDATION);
}

static bool fits(const struct lrl_synth_item *item, enum lrl_synth_split split) {
  uint64_t key = 0;
  for (int i = 0; i < item->n_images; i++) {
    const struct lrl_canvas *c = &item->image[i];
    key = crc32_z(key, c->rgb, (size_t)c->width * (size_t)c->height * 3);
  }
  if (item->n_images > 0)
    return is_of(split, key);
  return is_of(split, crc32_z(0, (const Bytef *)&item->scene, sizeof item->scene)) &&
         is_of(split, crc32_z(0, (const Bytef *)&item->twin, sizeof item->twin));
}

static void clear(struct lrl_synth_item *item) {
  json_decref(item->gold);
  item->gold = NULL;
  item->n_images = 0;
  item->scene = item->twin = 0;
}

/* Which replies are padded: by a stream of its own, so that the bias changes nothing else. */
static void draw_padding(const struct lrl_synth_world *world, uint64_t stream,
                         struct lrl_synth_draw *d) {
  struct lrl_rng rng = lrl_rng_make(world->seed, LRL_RNG_SYNTH, stream | (uint64_t)1 << 46);
  if (!(world->verbose_bias > 0))
    return;
  const bool longer = (double)lrl_rng_uniform(&rng) < world->verbose_bias;
  d->padded[0] = longer || lrl_rng_below(&rng, 2) == 0;
  d->padded[1] = !longer && d->padded[0];
}

/* No word of it is an answer to any question. */
static void pad(char *reply) {
  char bare[LRL_SYNTH_TEXT];
  memcpy(bare, reply, sizeof bare);
  lrl_synth_print(reply, "%.180s That is what can be seen there, as far as one can tell.", bare);
}

lrl_status lrl_synth_item_draw(const struct lrl_synth_world *world, enum lrl_synth_domain domain,
                               enum lrl_synth_split split, int64_t index,
                               struct lrl_synth_item *item) {
  uint64_t stream = (uint64_t)domain << 48 | (uint64_t)split << 47 | (uint64_t)index;
  struct lrl_synth_draw d = {lrl_rng_make(world->seed, LRL_RNG_SYNTH, stream),
                             world->unit,
                             world->level == LRL_SYNTH_EASY,
                             {false, false}};
  draw_padding(world, stream, &d);
  do {
    clear(item);
    LRL_TRY(domains[domain].draw(&d, item));
    if (item->gold == NULL)
      return LRL_FAIL(LRL_ERR_MEMORY, "no memory for a synthetic pair");
  } while (!fits(item, split));
  if (d.padded[0] && domain != LRL_SYNTH_INSTRUCT)
    pad(item->chosen);
  if (d.padded[1] && domain != LRL_SYNTH_INSTRUCT)
    pad(item->rejected);
  return LRL_OK;
}

void lrl_synth_item_free(struct lrl_synth_item *item) {
  clear(item);
  for (int i = 0; i < 2; i++)
    lrl_canvas_free(&item->image[i]);
}
