/* What `laurel plan` prints. */
#include "launch/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double gib(size_t bytes) { return (double)bytes / (double)(1 << 30); }

size_t lrl_plan_total(const struct lrl_plan_report *r) {
  return lrl_plan_bytes_sum(&r->bytes) + LRL_PLAN_BLAS + LRL_PLAN_CONTEXT;
}

/* 1234567 as 1,234,567 */
static const char *commas(int64_t n, char out[32]) {
  char digits[24];
  const int len = snprintf(digits, sizeof digits, "%lld", (long long)n);
  int k = 0;
  for (int i = 0; i < len; i++) {
    out[k++] = digits[i];
    if ((len - 1 - i) % 3 == 0 && i + 1 < len)
      out[k++] = ',';
  }
  out[k] = '\0';
  return out;
}

static void memory(const struct lrl_plan_request *q, const struct lrl_plan_report *r) {
  const struct lrl_plan_bytes *b = &r->bytes;
  const struct {
    const char *name;
    size_t bytes;
  } rows[] = {{"weights", b->weights},
              {"gradients", b->gradients},
              {"optimizer", b->optimizer},
              {"activations", b->activations},
              {"cache and responses", b->cache},
              {"scratch of ops", b->scratch},
              {"cuBLASLt; 1 GiB assumed for driver and NCCL", LRL_PLAN_BLAS + LRL_PLAN_CONTEXT}};
  printf("\nmemory of a rank                                   GiB\n");
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
    if (rows[i].bytes > 0)
      printf("  %-44s %8.3f\n", rows[i].name, gib(rows[i].bytes));
  const double all = gib(lrl_plan_total(r)), has = (double)q->gpu->memory_mib / 1024;
  printf("  %-44s %8.3f of %.2f: %s, %.2f GiB %s\n", "together", all, has,
         all <= has ? "fits" : "DOES NOT FIT", fabs(has - all),
         all <= has ? "to spare" : "too much");
}

static void work(const struct lrl_plan_report *r, bool all_ops) {
  const struct lrl_plan_count *all = &r->work.all;
  double products = 0;
  int order[LRL_PLAN_N], n = 0;
  for (int i = 0; i < LRL_PLAN_N; i++) {
    products += r->work.op[i].flops > 0 ? r->work.op[i].seconds : 0;
    if (r->work.op[i].calls > 0)
      order[n++] = i;
  }
  for (int i = 1; i < n; i++)
    for (int k = i; k > 0 && r->work.op[order[k]].seconds > r->work.op[order[k - 1]].seconds; k--) {
      const int swap = order[k];
      order[k] = order[k - 1];
      order[k - 1] = swap;
    }
  if (r->n_phases > 0)
    printf("\nphase                                       TFLOP   TB moved  seconds at least\n");
  for (int i = 0; i < r->n_phases; i++)
    printf("  %-38s %9.1f %10.3f %9.3f\n", r->phase[i].name, r->phase[i].all.flops / 1e12,
           r->phase[i].all.bytes / 1e12, r->phase[i].all.seconds);
  printf("\nwork of a rank in a step              calls     TFLOP   TB moved  seconds at least\n");
  for (int i = 0; i < n && (all_ops || i < 6); i++) {
    const struct lrl_plan_count *c = &r->work.op[order[i]];
    printf("  %-30s %12lld %9.1f %10.3f %9.3f\n", lrl_plan_op_name((enum lrl_plan_op)order[i]),
           (long long)c->calls, c->flops / 1e12, c->bytes / 1e12, c->seconds);
  }
  if (!all_ops && n > 6)
    printf("  ... (--ops lists all %d)\n", n);
  printf("  %-30s %12lld %9.1f %10.3f %9.3f, %.0f %% of it in products\n", "together",
         (long long)all->calls, all->flops / 1e12, all->bytes / 1e12, all->seconds,
         100 * products / all->seconds);
}

/* Bytes that travel are counted per rank for a ring over all of them; a hierarchy of rings sends
 * (g - 1) / g of the whole between the g GPUs of a host and 1 / g of it, over each one's network
 * card, between n hosts. */
static double messages(const struct lrl_plan_request *q, const struct lrl_plan_report *r) {
  const double ranks = (double)q->options->ranks;
  const double g = fmin(ranks, (double)q->options->per_host), hosts = ceil(ranks / g);
  const double sent = r->traffic.sums + r->traffic.gathers;
  if (ranks < 2)
    return 0;
  const double whole = sent * ranks / (ranks - 1);
  const double inside = whole * (g - 1) / g / (q->gpu->link_gb_s * 1e9);
  const double outside = whole / g * (hosts - 1) / hosts / (q->options->network * 1e9);
  printf("\nmessages       a rank sends %.2f GB of gradients and %.2f GB of parameters in a step\n",
         r->traffic.sums / 1e9, r->traffic.gathers / 1e9);
  printf("               at least %.3f s over %s of %.0f GB/s", inside, q->gpu->link,
         q->gpu->link_gb_s);
  if (hosts > 1)
    printf(", %.3f s between %.0f hosts at %g GB/s a rank", outside, hosts, q->options->network);
  printf("\n");
  return fmax(inside, outside);
}

void lrl_plan_print(const struct lrl_planner *p, const struct lrl_plan_request *q, const char *file,
                    int64_t zero_stage, const struct lrl_plan_outcome *o) {
  const struct lrl_plan_report *r = &o->report;
  char a[32], b[32];
  printf("laurel %s %s\n", p->command, file);
  printf("machine        %lld x %s, ZeRO stage %lld\n", (long long)q->options->ranks, q->gpu->title,
         (long long)(q->options->ranks > 1 ? zero_stage : 0));
  printf("parameters     %s, %s of them trained\n", commas(r->n_params, a),
         commas(r->n_trained, b));
  printf("%s", o->batch);
  memory(q, r);
  work(r, q->options->ops);
  const double talk = messages(q, r), compute = r->work.all.seconds;
  printf("\na step takes at least %.3f s", fmax(talk, compute));
  if (talk > 0)
    printf(" when work and messages overlap, %.3f s when they do not", talk + compute);
  printf("\n");
}

/* ---- what to change ---- */

/* Where a whole number is; NULL for other keys. */
static int64_t *int_of(const struct lrl_planner *p, void *cfg, const char *path, size_t n) {
  for (int i = 0; i < p->table.n; i++) {
    const struct lrl_option *o = &p->table.options[i];
    if (o->type == LRL_OPTION_INT && strncmp(o->path, path, n) == 0 && o->path[n] == '\0')
      return (int64_t *)(void *)((char *)cfg + o->offset);
  }
  return NULL;
}

/* One "key=value", or "key=/2", which halves. A ZeRO stage is never lowered. Returns whether
 * anything changed; adds what was assigned to `text`. */
static bool assign(const struct lrl_planner *p, void *cfg, const char *remedy, size_t length,
                   char *text, size_t size) {
  static const char zero[] = "train.zero_stage=";
  const char *value = (const char *)memchr(remedy, '=', length) + 1;
  int64_t *now = int_of(p, cfg, remedy, (size_t)(value - remedy - 1));
  const int64_t before = now == NULL ? 0 : *now;
  char one[96];
  snprintf(one, sizeof one, "%.*s", (int)length, remedy);
  if (value[0] == '/')
    snprintf(one, sizeof one, "%.*s%lld", (int)(value - remedy), remedy, (long long)before / 2);
  if (strncmp(remedy, zero, sizeof zero - 1) == 0 && before >= strtol(value, NULL, 10))
    return false;
  const size_t used = strlen(text);
  snprintf(text + used, size - used, "%s%s", used > 0 ? " " : "", one);
  return lrl_config_override(&p->table, cfg, one) == LRL_OK;
}

/* A remedy is one or several assignments. Nothing changes when one of them cannot be made, being
 * out of range, say. */
static bool apply(const struct lrl_planner *p, void *cfg, const char *remedy, char *text,
                  size_t size) {
  void *before = malloc(p->cfg_bytes);
  bool done = before != NULL;
  text[0] = '\0';
  if (done)
    memcpy(before, cfg, p->cfg_bytes);
  for (const char *at = remedy; done && at != NULL; at = strchr(at, ' ')) {
    at += at[0] == ' ';
    done = assign(p, cfg, at, strcspn(at, " "), text, size);
  }
  if (before != NULL && memcmp(before, cfg, p->cfg_bytes) == 0)
    done = false;
  if (before != NULL && !done)
    memcpy(cfg, before, p->cfg_bytes);
  lrl_error_clear();
  free(before);
  return done;
}

static void tell(const struct lrl_plan_request *q, const char *what,
                 const struct lrl_plan_report *r) {
  const double over = gib(lrl_plan_total(r)) - (double)q->gpu->memory_mib / 1024;
  printf("  %-44s %8.3f, a step of at least %.1f s: ", what, gib(lrl_plan_total(r)),
         r->work.all.seconds);
  if (over <= 0)
    printf("fits\n");
  else
    printf("%.2f too much\n", over);
}

/* Whether a plan can be made and needs less than `bytes`. */
static bool replan(const struct lrl_planner *p, const struct lrl_plan_request *q, const void *cfg,
                   size_t bytes, struct lrl_plan_outcome *out) {
  const bool made = p->plan(q, cfg, out) == LRL_OK;
  lrl_error_clear();
  return made && lrl_plan_total(&out->report) < bytes;
}

static void more_ranks(const struct lrl_planner *p, const struct lrl_plan_request *q,
                       const void *cfg, size_t bytes, struct lrl_plan_outcome *o) {
  struct lrl_plan_options options = *q->options;
  struct lrl_plan_request wider = {&options, q->gpu};
  char text[40];
  options.ranks *= 2;
  snprintf(text, sizeof text, "--ranks %lld", (long long)options.ranks);
  if (replan(p, &wider, cfg, bytes, o))
    tell(q, text, &o->report);
}

/* Remedies that help, one after the other until it fits. A value that a later one changes again is
 * not named twice. */
static bool combine(const struct lrl_planner *p, const struct lrl_plan_request *q, char *cfg[2],
                    size_t bytes, struct lrl_plan_outcome *o, char *names, size_t size) {
  char text[96];
  for (int i = 0; p->remedies[i] != NULL; i++) {
    memcpy(cfg[1], cfg[0], p->cfg_bytes);
    if (!apply(p, cfg[1], p->remedies[i], text, sizeof text) || !replan(p, q, cfg[1], bytes, o))
      continue;
    memcpy(cfg[0], cfg[1], p->cfg_bytes);
    bytes = lrl_plan_total(&o->report);
    const char *last = strrchr(names, ' ');
    const bool same = last != NULL && strncmp(last + 1, text, strcspn(text, "=") + 1) == 0;
    const size_t at = same ? (size_t)(last - names) : strlen(names);
    snprintf(names + at, size - at, " %s", text);
    if (lrl_plan_fits(q, &o->report))
      return true;
  }
  return false;
}

void lrl_plan_advise(const struct lrl_planner *p, const struct lrl_plan_request *q, const void *cfg,
                     size_t bytes) {
  struct lrl_plan_outcome *o = calloc(1, sizeof *o);
  char *copy[2] = {malloc(p->cfg_bytes), malloc(p->cfg_bytes)};
  char text[96], together[400] = "";
  if (o != NULL && copy[0] != NULL && copy[1] != NULL) {
    bool one_fits = false;
    printf("\nwhat each change would give                        GiB\n");
    more_ranks(p, q, cfg, bytes, o);
    for (int i = 0; p->remedies[i] != NULL; i++) {
      memcpy(copy[0], cfg, p->cfg_bytes);
      if (apply(p, copy[0], p->remedies[i], text, sizeof text) && replan(p, q, copy[0], bytes, o)) {
        tell(q, text, &o->report);
        one_fits = one_fits || lrl_plan_fits(q, &o->report);
      }
    }
    memcpy(copy[0], cfg, p->cfg_bytes);
    if (one_fits) {
      printf("any of those that fit will do\n");
    } else if (combine(p, q, copy, bytes, o, together, sizeof together)) {
      printf("it fits with%s\n", together);
    } else {
      printf("nor does it fit with all of them; take more ranks or a GPU with more memory\n");
    }
  }
  free(o);
  free(copy[0]);
  free(copy[1]);
}
