#include "train/data_options.h"

#include "kernels/log.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

struct lrl_order_options lrl_data_options_order(const struct lrl_data_options *o, uint64_t seed,
                                                int64_t batch_pairs) {
  static const enum lrl_order_kind kinds[] = {LRL_ORDER_SHUFFLE, LRL_ORDER_PROPORTIONAL,
                                              LRL_ORDER_OFFICIAL};
  return (struct lrl_order_options){.kind = kinds[o->order],
                                    .seed = seed,
                                    .batch_pairs = batch_pairs,
                                    .temperature = o->mix_temperature,
                                    .run_pairs = o->interleave_pairs};
}

enum lrl_chat_template lrl_data_options_template(const struct lrl_data_options *o) {
  return o->form == 0       ? LRL_TEMPLATE_CHAT
         : o->text_end == 0 ? LRL_TEMPLATE_TEXT_EOS
                            : LRL_TEMPLATE_TEXT_BOS;
}

/* Rows of one source set aside; why is "3 check_data, 1 image (no file a.png)", "" for none. */
static int64_t reasons(const struct lrl_corpus *c, int32_t source, char *out, size_t size) {
  int64_t count[LRL_ASIDE_COUNT] = {0};
  const char *detail[LRL_ASIDE_COUNT] = {0};
  int64_t n = 0;
  for (int64_t i = 0; i < lrl_corpus_n_asides(c); i++) {
    struct lrl_corpus_aside a;
    lrl_corpus_get_aside(c, i, &a);
    if (a.source != source)
      continue;
    n++;
    if (count[a.reason]++ == 0)
      detail[a.reason] = a.detail;
  }
  size_t used = 0;
  out[0] = '\0';
  for (int r = 0; r < LRL_ASIDE_COUNT && used < size; r++)
    if (count[r] > 0)
      used += (size_t)snprintf(out + used, size - used, "%s%lld %s (%.120s)", used ? ", " : ": ",
                               (long long)count[r], lrl_aside_name((enum lrl_aside)r), detail[r]);
  return n;
}

lrl_status lrl_data_options_read(const struct lrl_data_options *o, const char *key,
                                 enum lrl_corpus_form form, const struct lrl_tokenizer *tokenizer,
                                 const struct lrl_image_ops *images, struct lrl_corpus **out) {
  const bool evaluation = strcmp(key, "data.eval") == 0;
  const bool held_out = evaluation && o->holdout > 0;
  const char *list = evaluation && !held_out ? o->eval : o->train;
  if (held_out && o->eval[0] != '\0')
    return LRL_FAIL(LRL_ERR_ARG, "give either data.eval or data.holdout, not both");
  const struct lrl_corpus_options options = {
      .tokenizer = tokenizer,
      .form = form,
      .chat = {.form = lrl_data_options_template(o),
               .mode = LRL_CHAT_TRAINING,
               .suffix = form != LRL_FORM_PAIRS  ? LRL_CHAT_EOS
                         : o->reward_suffix == 0 ? LRL_CHAT_REWARD
                                                 : LRL_CHAT_REWARD_NO_NEWLINE,
               .pack = LRL_PACK_REWARD,
               .max_length = o->max_length},
      .images = images,
      .check_data = o->check_data,
      .allow_context_mismatch = o->allow_context_mismatch,
      .filter_overlong = o->filter_overlong,
      .drop_duplicates = o->drop_duplicates,
      .length_ratio = evaluation ? 0 : o->length_ratio, /* a choice of what to learn from */
      .length_unit = o->length_unit == 0 ? LRL_LENGTH_TOKENS : LRL_LENGTH_CHARS,
      .holdout = o->holdout,
      .held_out = held_out,
      .holdout_by = o->holdout_by == 0 ? LRL_HOLDOUT_PROMPT : LRL_HOLDOUT_IMAGE,
  };
  if (list[0] == '\0')
    return LRL_FAIL(LRL_ERR_ARG, "%s names no file", key);
  LRL_TRY(lrl_corpus_read(list, o->given_num, &options, out));
  for (int64_t i = 0; i < lrl_corpus_n_sources(*out); i++) {
    struct lrl_corpus_source_info s;
    char why[1000];
    lrl_corpus_get_source(*out, i, &s);
    const int64_t n_aside = reasons(*out, (int32_t)i, why, sizeof why);
    lrl_log(LRL_LOG_INFO, "data", "%s%s: %lld %s; %lld of %lld rows set aside%s", s.name,
            held_out ? " (held out)" : "", (long long)s.n_kept,
            form == LRL_FORM_PAIRS ? "pairs" : "chats", (long long)n_aside, (long long)s.n_rows,
            why);
  }
  if (lrl_corpus_n_pairs(*out) == 0)
    return LRL_FAIL(LRL_ERR_FORMAT, "no row of %s (%s) can be used", key, list);
  return LRL_OK;
}

uint64_t lrl_corpus_fingerprint(const struct lrl_corpus *c) {
  uint64_t h = (uint64_t)lrl_corpus_n_pairs(c);
  for (int64_t i = 0; i < lrl_corpus_n_pairs(c); i++) {
    struct lrl_corpus_pair p;
    lrl_corpus_get(c, i, &p);
    h = XXH64(p.prompt, (size_t)p.n_prompt * sizeof *p.prompt, h);
    h = XXH64(p.chosen, (size_t)p.n_chosen * sizeof *p.chosen, h);
    h = XXH64(p.rejected, (size_t)p.n_rejected * sizeof *p.rejected, h);
    h = XXH64(&p.margin, sizeof p.margin, h);
    for (int64_t k = 0; k < p.n_spans; k++) {
      const int32_t at[4] = {p.spans[k].image, p.spans[k].seq, p.spans[k].start, p.spans[k].count};
      h = XXH64(at, sizeof at, h);
    }
  }
  for (int64_t i = 0; i < lrl_corpus_n_images(c); i++) {
    struct lrl_corpus_image image;
    lrl_corpus_get_image(c, i, &image);
    h = XXH64(image.bytes, image.n_bytes, h);
  }
  return h;
}
