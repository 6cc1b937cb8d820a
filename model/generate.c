/* The scheduler: which prompts and samples are in the cache. Passes are in generate_pass.c. */
#include "model/generate_impl.h"

#include <string.h>

static lrl_status check(const struct lrl_gen_options *o, const struct lrl_gen_prompt *prompts,
                        int64_t n) {
  if (o->max_new_tokens < 1)
    return LRL_FAIL(LRL_ERR_ARG, "max_new_tokens is %lld, it must be at least 1",
                    (long long)o->max_new_tokens);
  if (o->max_samples < 0 || o->prefill_tokens < 0 || o->cache_pages < 0)
    return LRL_FAIL(LRL_ERR_ARG, "a size of the generation options is negative");
  for (int64_t i = 0; i < n; i++) {
    const struct lrl_gen_prompt *p = &prompts[i];
    if (p->n_ids < 1)
      return LRL_FAIL(LRL_ERR_ARG, "prompt %lld is empty", (long long)i);
    if (p->n_samples < 0 || p->n_samples >= (int64_t)1 << 20 || p->key >> 44 != 0)
      return LRL_FAIL(LRL_ERR_ARG, "prompt %lld has too many samples or too large a key",
                      (long long)i);
    for (int64_t t = 0; t < p->n_ids && p->images == NULL; t++)
      if (p->ids[t] == -1)
        return LRL_FAIL(LRL_ERR_ARG, "prompt %lld has image tokens but no images", (long long)i);
  }
  return LRL_OK;
}

static struct lrl_kv_seq new_seq(struct gen *g, int64_t max_pages) {
  return (struct lrl_kv_seq){.page = lrl_arena_host(g->arena, (size_t)max_pages * sizeof(int32_t)),
                             .used = lrl_arena_host(g->arena, (size_t)max_pages * sizeof(int32_t)),
                             .max_pages = max_pages};
}

static lrl_status make_results(struct gen *g, struct lrl_generation *out) {
  int64_t n = 0, max = g->o->max_new_tokens;
  for (int64_t i = 0; i < g->n_prompts; i++)
    n += g->prompts[i].n_samples;
  *out = (struct lrl_generation){.n_samples = n};
  out->sample = lrl_arena_host(g->arena, (size_t)n * sizeof *out->sample);
  g->first = lrl_arena_host(g->arena, (size_t)(g->n_prompts + 1) * sizeof *g->first);
  if (out->sample == NULL || g->first == NULL)
    return LRL_ERR_MEMORY;
  g->first[0] = 0;
  for (int64_t i = 0, k = 0; i < g->n_prompts; i++) {
    for (int64_t s = 0; s < g->prompts[i].n_samples; s++, k++) {
      struct lrl_gen_sample *r = &out->sample[k];
      *r = (struct lrl_gen_sample){.prompt = i, .index = s};
      r->tokens = lrl_arena_host(g->arena, (size_t)max * sizeof *r->tokens);
      r->logprobs = lrl_arena_host(g->arena, (size_t)max * sizeof *r->logprobs);
      r->sampling_logprobs = lrl_arena_host(g->arena, (size_t)max * sizeof(float));
      if (r->tokens == NULL || r->logprobs == NULL || r->sampling_logprobs == NULL)
        return LRL_ERR_MEMORY;
    }
    g->first[i + 1] = k;
  }
  return LRL_OK;
}

/* Slots, and a cache in which at least the largest prompt and one sample fit. */
static lrl_status make_room(struct gen *g) {
  const struct lrl_decoder_config *c = &g->lm->decoder->cfg;
  int64_t longest = 0, longest_ids = 0; /* pages, tokens */
  g->n_slots = g->o->max_samples > 0 ? g->o->max_samples : 32;
  g->n_slots = g->n_slots < g->out->n_samples ? g->n_slots : g->out->n_samples;
  for (int64_t i = 0; i < g->n_prompts; i++)
    if (g->prompts[i].n_samples > 0 && g->prompts[i].n_ids > longest_ids)
      longest_ids = g->prompts[i].n_ids;
  longest = lrl_kv_pages_for(longest_ids);
  /* The last token is drawn, never fed. */
  g->sample_pages = lrl_kv_pages_for(g->o->max_new_tokens - 1);
  int64_t pages =
      g->o->cache_pages > 0 ? g->o->cache_pages : g->n_slots * (longest + g->sample_pages);
  if (pages < longest + g->sample_pages)
    return LRL_FAIL(
        LRL_ERR_ARG,
        "a cache of %lld pages of %d tokens cannot hold the longest prompt (%lld pages) "
        "and one sample (%lld)",
        (long long)pages, (int)LRL_KV_PAGE, (long long)longest, (long long)g->sample_pages);
  LRL_TRY(lrl_kv_cache_init(&g->cache, c,
                            g->lm->decoder->params->units[g->lm->decoder->embed_unit].dtype, pages,
                            g->arena));
  struct lrl_tape tape;
  lrl_tape_init(&tape, g->ctx, g->arena, false);
  LRL_TRY(lrl_rope_keep(&tape, &c->rope, longest_ids + g->o->max_new_tokens, &g->rope));
  g->slot = lrl_arena_host(g->arena, (size_t)g->n_slots * sizeof *g->slot);
  g->live = lrl_arena_host(g->arena, (size_t)g->n_slots * sizeof *g->live);
  if (g->slot == NULL || g->live == NULL)
    return LRL_ERR_MEMORY;
  for (int64_t i = 0; i < g->n_slots; i++) {
    g->slot[i] = (struct gen_slot){.seq = new_seq(g, longest + g->sample_pages)};
    g->live[i] = (struct gen_live){.prompt = -1, .seq = new_seq(g, longest)};
    g->live[i].logits = lrl_arena_alloc(g->arena, (size_t)c->vocab_size * sizeof(float));
    if (g->slot[i].seq.page == NULL || g->live[i].seq.used == NULL || g->live[i].logits == NULL)
      return LRL_ERR_MEMORY;
  }
  return LRL_OK;
}

/* Starts samples of live prompts in free slots; fresh[] receives the slots. */
static lrl_status start_samples(struct gen *g, int64_t *fresh, int64_t *n_fresh) {
  int64_t s = 0;
  *n_fresh = 0;
  for (int64_t i = 0; i < g->n_slots; i++) {
    struct gen_live *live = &g->live[i];
    while (live->prompt >= 0 && live->started < g->prompts[live->prompt].n_samples &&
           g->reserved + g->sample_pages <= g->cache.n_pages) {
      while (s < g->n_slots && g->slot[s].sample != NULL)
        s++;
      if (s == g->n_slots)
        return LRL_OK;
      LRL_TRY(lrl_kv_fork(&g->cache, &live->seq, &g->slot[s].seq));
      g->slot[s].live = live;
      g->slot[s].sample = &g->out->sample[g->first[live->prompt] + live->started];
      g->reserved += g->sample_pages;
      live->started++;
      live->running++;
      fresh[(*n_fresh)++] = s;
    }
  }
  return LRL_OK;
}

/* Takes prompts into the cache while a slot, pages and the token budget allow it. */
static lrl_status start_prompts(struct gen *g) {
  const int64_t budget = g->o->prefill_tokens > 0 ? g->o->prefill_tokens : 4096;
  int64_t tokens = 0, n = 0, free_slots = 0;
  for (int64_t i = 0; i < g->n_slots; i++)
    free_slots += g->slot[i].sample == NULL;
  struct gen_live **batch = lrl_arena_host(g->steps, (size_t)g->n_slots * sizeof(void *));
  if (batch == NULL)
    return LRL_ERR_MEMORY;
  for (int64_t i = 0; i < g->n_slots && free_slots > 0; i++) {
    struct gen_live *live = &g->live[i];
    while (g->next < g->n_prompts && g->prompts[g->next].n_samples == 0)
      g->next++;
    if (g->next == g->n_prompts)
      break;
    const struct lrl_gen_prompt *p = &g->prompts[g->next];
    const int64_t pages = lrl_kv_pages_for(p->n_ids);
    if (live->prompt >= 0)
      continue;
    if ((n > 0 && tokens + p->n_ids > budget) ||
        g->reserved + pages + g->sample_pages > g->cache.n_pages)
      break;
    live->prompt = g->next++;
    live->started = live->running = 0;
    g->reserved += pages + g->sample_pages; /* its first sample's, until it is started below */
    tokens += p->n_ids;
    free_slots -= p->n_samples;
    batch[n++] = live;
  }
  g->reserved -= n * g->sample_pages;
  g->out->prefill_tokens += tokens;
  return n > 0 ? gen_prefill(g, batch, n) : LRL_OK;
}

void gen_finish(struct gen *g, struct gen_slot *slot) {
  struct gen_live *live = slot->live;
  lrl_kv_release(&g->cache, &slot->seq);
  g->reserved -= g->sample_pages;
  slot->sample = NULL;
  live->running--;
  if (live->running == 0 && live->started == g->prompts[live->prompt].n_samples) {
    g->reserved -= live->seq.n_pages;
    lrl_kv_release(&g->cache, &live->seq);
    live->prompt = -1;
  }
}

static lrl_status schedule(struct gen *g) {
  const size_t mark = lrl_arena_mark(g->steps);
  int64_t *list = lrl_arena_host(g->steps, (size_t)g->n_slots * sizeof *list), n;
  if (list == NULL)
    return LRL_ERR_MEMORY;
  const size_t inner = lrl_arena_mark(g->steps);
  for (;;) {
    /* Samples of prompts in the cache first: they cost nothing to start. */
    LRL_TRY(start_samples(g, list, &n));
    if (n == 0) {
      LRL_TRY(start_prompts(g));
      lrl_arena_reset(g->steps, inner);
      LRL_TRY(start_samples(g, list, &n));
    }
    if (n > 0) {
      LRL_TRY(gen_first_tokens(g, list, n));
      lrl_arena_reset(g->steps, inner);
      continue; /* more may fit, and a sample may have ended with its first token */
    }
    for (int64_t s = 0; s < g->n_slots; s++)
      if (g->slot[s].sample != NULL)
        list[n++] = s;
    if (n == 0)
      break;
    LRL_TRY(gen_decode(g, list, n));
    g->out->decode_steps++;
    lrl_arena_reset(g->steps, inner);
  }
  lrl_arena_reset(g->steps, mark);
  return LRL_OK;
}

lrl_status lrl_generate(struct lrl_ctx *ctx, const struct lrl_lm *lm,
                        const struct lrl_gen_options *options, const struct lrl_gen_prompt *prompts,
                        int64_t n_prompts, struct lrl_arena *arena, struct lrl_arena *steps,
                        lrl_gen_token *on_token, void *user, struct lrl_generation *out) {
  struct gen g = {.ctx = ctx,
                  .lm = lm,
                  .o = options,
                  .prompts = prompts,
                  .n_prompts = n_prompts,
                  .arena = arena,
                  .steps = steps,
                  .on_token = on_token,
                  .user = user,
                  .out = out};
  LRL_TRY(check(options, prompts, n_prompts));
  LRL_TRY(make_results(&g, out));
  if (out->n_samples == 0)
    return LRL_OK;
  LRL_TRY(make_room(&g));
  LRL_TRY(schedule(&g));
  LRL_ASSERT(g.cache.n_free == g.cache.n_pages && g.next == n_prompts);
  return LRL_OK;
}
