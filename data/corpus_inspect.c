/* What is in a corpus, for a person. */
#include "data/corpus.h"
#include "data/video_decode.h"

#include <stdlib.h>

#define N_BINS 16 /* powers of two: bin k holds 2^k .. 2^(k+1) - 1 */

static void add_bin(int64_t *bins, int64_t value) {
  int k = 0;
  while (k + 1 < N_BINS && value >= (int64_t)2 << k)
    k++;
  bins[k]++;
}

static void print_bins(FILE *out, const char *title, const int64_t *bins) {
  int64_t most = 1;
  for (int k = 0; k < N_BINS; k++)
    most = bins[k] > most ? bins[k] : most;
  fprintf(out, "%s\n", title);
  for (int k = 0; k < N_BINS; k++) {
    if (bins[k] == 0)
      continue;
    fprintf(out, "  %6d - %-6d %8lld ", 1 << k, (2 << k) - 1, (long long)bins[k]);
    for (int64_t j = 0; j < (bins[k] * 40 + most - 1) / most; j++)
      fputc('#', out);
    fputc('\n', out);
  }
}

static bool is_video(const struct lrl_corpus *c, int64_t image) {
  struct lrl_corpus_image im;
  lrl_corpus_get_image(c, image, &im);
  return lrl_video_container(im.bytes, im.n_bytes) != NULL;
}

static int64_t count_videos(const struct lrl_corpus *c) {
  int64_t n = 0;
  for (int64_t i = 0; i < lrl_corpus_n_images(c); i++)
    n += is_video(c, i);
  return n;
}

/* Pairs of a source by what they show: text alone, images, at least one video. */
static void count_media(const struct lrl_corpus *c, const struct lrl_corpus_source_info *s,
                        int64_t count[3]) {
  for (int64_t i = s->first_pair; i < s->first_pair + s->n_kept; i++) {
    struct lrl_corpus_pair p;
    lrl_corpus_get(c, i, &p);
    int kind = p.n_spans > 0;
    for (int64_t k = 0; k < p.n_spans && kind < 2; k++)
      kind = is_video(c, p.spans[k].image) ? 2 : 1;
    count[kind]++;
  }
}

static void print_sources(const struct lrl_corpus *c, FILE *out) {
  fprintf(out, "%-32s %-10s %9s %9s %9s %8s %9s %9s %9s\n", "source", "kind", "rows", "kept",
          "aside", "number", "text", "image", "video");
  for (int64_t i = 0; i < lrl_corpus_n_sources(c); i++) {
    struct lrl_corpus_source_info s;
    int64_t n[3] = {0};
    lrl_corpus_get_source(c, i, &s);
    count_media(c, &s, n);
    fprintf(out, "%-32.60s %-10s %9lld %9lld %9lld %8g %9lld %9lld %9lld\n", s.name,
            s.multimodal ? "multimodal" : "text", (long long)s.n_rows, (long long)s.n_kept,
            (long long)(s.n_rows - s.n_kept), s.number, (long long)n[0], (long long)n[1],
            (long long)n[2]);
  }
}

static void print_histograms(const struct lrl_corpus *c, FILE *out) {
  int64_t prompt[N_BINS] = {0}, reply[N_BINS] = {0}, side[2][N_BINS] = {{0}}, tokens[N_BINS] = {0};
  for (int64_t i = 0; i < lrl_corpus_n_pairs(c); i++) {
    struct lrl_corpus_pair p;
    lrl_corpus_get(c, i, &p);
    add_bin(prompt, p.n_prompt);
    add_bin(reply, p.n_chosen);
    if (p.n_rejected > 0)
      add_bin(reply, p.n_rejected);
    for (int64_t k = 0; k < p.n_spans; k++)
      if (is_video(c, p.spans[k].image))
        add_bin(tokens, p.spans[k].count);
  }
  for (int64_t i = 0; i < lrl_corpus_n_images(c); i++) {
    struct lrl_corpus_image image;
    lrl_corpus_get_image(c, i, &image);
    add_bin(side[is_video(c, i)], image.width > image.height ? image.width : image.height);
  }
  print_bins(out, "tokens of the shared prompt (images included)", prompt);
  print_bins(out, "tokens of a reply", reply);
  const int64_t n_videos = count_videos(c);
  if (lrl_corpus_n_images(c) > n_videos)
    print_bins(out, "longer side of an image, pixels", side[0]);
  if (n_videos > 0) {
    print_bins(out, "longer side of a video's frames, pixels", side[1]);
    print_bins(out, "tokens of a video", tokens);
  }
}

static void print_asides(const struct lrl_corpus *c, FILE *out) {
  int64_t count[LRL_ASIDE_COUNT] = {0}, example[LRL_ASIDE_COUNT] = {0};
  struct lrl_corpus_aside a;
  struct lrl_corpus_source_info s;
  for (int64_t i = 0; i < lrl_corpus_n_asides(c); i++) {
    lrl_corpus_get_aside(c, i, &a);
    int k = (unsigned)a.reason < LRL_ASIDE_COUNT ? (int)a.reason : 0;
    if (count[k]++ == 0)
      example[k] = i;
  }
  fprintf(out, "set aside: %lld\n", (long long)lrl_corpus_n_asides(c));
  for (int k = 0; k < LRL_ASIDE_COUNT; k++) {
    if (count[k] == 0)
      continue;
    lrl_corpus_get_aside(c, example[k], &a);
    lrl_corpus_get_source(c, a.source, &s);
    fprintf(out, "  %-10s %8lld  e.g. %s, line %lld: %s\n", lrl_aside_name((enum lrl_aside)k),
            (long long)count[k], s.name, (long long)a.line, a.detail);
  }
}

/* Text of one part; each image as <image RxC tiles, N tokens>, a video likewise. */
static lrl_status print_part(const struct lrl_corpus *c, const struct lrl_corpus_pair *p,
                             int32_t part, const struct lrl_tokenizer *t, FILE *out) {
  const int32_t *ids[3] = {p->prompt, p->chosen, p->rejected};
  const int64_t n[3] = {p->n_prompt, p->n_chosen, p->n_rejected};
  static const char *const names[3] = {"prompt", "chosen", "rejected"};
  fprintf(out, "--- %s: %lld tokens\n", names[part], (long long)n[part]);
  if (t == NULL)
    return LRL_OK;
  int64_t at = 0;
  for (int64_t k = 0; k <= p->n_spans; k++) {
    const struct lrl_corpus_span *s = k < p->n_spans ? &p->spans[k] : NULL;
    if (s != NULL && s->seq != part)
      continue;
    int64_t end = s != NULL ? s->start : n[part];
    char *text;
    LRL_TRY(lrl_tokenizer_decode(t, ids[part] + at, end - at, &text));
    fputs(text, out);
    free(text);
    if (s != NULL) {
      fprintf(out, "<%s %dx%d tiles, %d tokens>", is_video(c, s->image) ? "video" : "image",
              (int)s->rows, (int)s->cols, (int)s->count);
      at = s->start + s->count;
    }
  }
  fputc('\n', out);
  return LRL_OK;
}

lrl_status lrl_corpus_inspect(const struct lrl_corpus *c, const struct lrl_tokenizer *t,
                              FILE *out) {
  if (t != NULL)
    LRL_TRY(lrl_corpus_check_tokenizer(c, t));
  const int64_t n_videos = count_videos(c);
  fprintf(out, "%lld pairs, %lld distinct images, %lld distinct videos, tokenizer %s\n",
          (long long)lrl_corpus_n_pairs(c), (long long)(lrl_corpus_n_images(c) - n_videos),
          (long long)n_videos, lrl_corpus_tokenizer_hash(c));
  print_sources(c, out);
  print_histograms(c, out);
  print_asides(c, out);
  if (lrl_corpus_n_pairs(c) > 0) {
    struct lrl_corpus_pair p;
    lrl_corpus_get(c, 0, &p);
    fprintf(out, "the first pair (id \"%s\", line %lld)\n", p.id, (long long)p.line);
    for (int32_t part = 0; part < 3; part++)
      LRL_TRY(print_part(c, &p, part, t, out));
  }
  if (ferror(out))
    return LRL_FAIL(LRL_ERR_IO, "cannot write the description of the corpus");
  return LRL_OK;
}
