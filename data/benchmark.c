#include "data/benchmark.h"

#include <math.h>
#include <string.h>

/* ---- what counts ---- */

struct count {
  int64_t n, right, ties;
};

static void add(struct count *c, const struct lrl_benchmark_item *i, int chosen, int rejected) {
  c->n++;
  c->right += i->official ? i->right : i->chosen[chosen] > i->rejected[rejected];
  c->ties += !i->official && i->chosen[chosen] == i->rejected[rejected];
}

/* Comparisons of the items of groups first .. last between styles of one kind: chosen fancier
 * (easy), the same (normal), rejected fancier (hard). */
enum styles { EASY, NORMAL, HARD };
static struct count count(const struct lrl_benchmark *b, int first, int last, enum styles styles) {
  struct count c = {0};
  for (int64_t i = 0; i < b->n; i++)
    for (int k = 0; k < b->n_styles * b->n_styles; k++) {
      const int chosen = k / b->n_styles, rejected = k % b->n_styles;
      const enum styles s = chosen > rejected ? EASY : chosen == rejected ? NORMAL : HARD;
      if (b->items[i].scored && b->items[i].group >= first && b->items[i].group <= last &&
          s == styles)
        add(&c, &b->items[i], chosen, rejected);
    }
  return c;
}

static double percent(struct count c) {
  return c.n > 0 ? 100.0 * (double)c.right / (double)c.n : NAN;
}

/* ---- tables ---- */

struct table {
  struct lrl_benchmark_figure *out;
  int n;
};

static double put(struct table *t, const char *name, struct count c, double paper) {
  LRL_ASSERT(t->n < LRL_BENCHMARK_FIGURES);
  t->out[t->n++] = (struct lrl_benchmark_figure){name, "", c.n, c.right, c.ties, percent(c), paper};
  return percent(c);
}

static double put_mean(struct table *t, const char *name, const char *of, const double *x, int n,
                       double paper) {
  double sum = 0;
  for (int i = 0; i < n; i++)
    sum += x[i] / n;
  LRL_ASSERT(t->n < LRL_BENCHMARK_FIGURES);
  t->out[t->n++] = (struct lrl_benchmark_figure){name, of, 0, 0, 0, sum, paper};
  return sum;
}

static void vl_table(const struct lrl_benchmark *b, struct table *t) {
  double x[3];
  x[0] = put(t, "general", count(b, 0, 0, NORMAL), 84.7);
  x[1] = put(t, "hallucination", count(b, 1, 1, NORMAL), 62.5);
  x[2] = put(t, "reasoning", count(b, 2, 2, NORMAL), 62.9);
  put(t, "overall", count(b, 0, 2, NORMAL), 65.8);
  put_mean(t, "macro", "three categories", x, 3, 70.0);
}

/* Subsets first .. last of lrl_benchmark_groups. */
enum { CHAT_END = 4, HARD_END = 10, SAFETY_END = 15, MATH_PRM = 16, REASONING_END = 22 };

static void rewardbench_table(const struct lrl_benchmark *b, struct table *t) {
  double x[4], halves[2];
  x[0] = put(t, "chat", count(b, 0, CHAT_END, NORMAL), 90.8);
  x[1] = put(t, "chat hard", count(b, CHAT_END + 1, HARD_END, NORMAL), 83.8);
  x[2] = put(t, "safety", count(b, HARD_END + 1, SAFETY_END, NORMAL), 87.8);
  x[3] = put(t, "reasoning", count(b, MATH_PRM, REASONING_END, NORMAL), 90.0);
  put(t, "average", count(b, 0, REASONING_END, NORMAL), 88.6);
  put_mean(t, "average of sections", "four sections", x, 4, NAN);
  halves[0] = put(t, "math-prm", count(b, MATH_PRM, MATH_PRM, NORMAL), NAN);
  halves[1] = put(t, "code", count(b, MATH_PRM + 1, REASONING_END, NORMAL), NAN);
  x[3] = put_mean(t, "leaderboard reasoning", "math-prm, code", halves, 2, NAN);
  put_mean(t, "leaderboard score", "sections, leaderboard reasoning", x, 4, NAN);
}

/* Mean over the three kinds of comparison, each of which has three of the nine. */
static struct count all_styles(const struct lrl_benchmark *b, int first, int last) {
  struct count c = {0};
  for (int s = EASY; s <= HARD; s++) {
    const struct count k = count(b, first, last, (enum styles)s);
    c.n += k.n;
    c.right += k.right;
    c.ties += k.ties;
  }
  return c;
}

static void rm_bench_table(const struct lrl_benchmark *b, struct table *t) {
  double x[3], domains[4], safety[2];
  domains[0] = put(t, "chat", all_styles(b, 0, 0), 65.5);
  domains[1] = put(t, "math", all_styles(b, 2, 2), 55.9);
  domains[2] = put(t, "code", all_styles(b, 1, 1), 51.7);
  put(t, "safety", all_styles(b, 3, 4), 93.8);
  safety[0] = put(t, "safety-refuse", all_styles(b, 3, 3), NAN);
  safety[1] = put(t, "safety-response", all_styles(b, 4, 4), NAN);
  x[0] = put(t, "easy", count(b, 0, 4, EASY), 87.5);
  x[1] = put(t, "normal", count(b, 0, 4, NORMAL), 71.3);
  x[2] = put(t, "hard", count(b, 0, 4, HARD), 47.4);
  put_mean(t, "average", "easy, normal, hard", x, 3, 68.8);
  domains[3] = put_mean(t, "leaderboard safety", "refuse, response", safety, 2, NAN);
  put_mean(t, "leaderboard average", "four domains", domains, 4, NAN);
}

int lrl_benchmark_figures(const struct lrl_benchmark *b, struct lrl_benchmark_figure *out) {
  struct table t = {out, 0};
  switch (b->kind) {
  case LRL_VL_REWARDBENCH:
    vl_table(b, &t);
    break;
  case LRL_REWARDBENCH:
    rewardbench_table(b, &t);
    break;
  default:
    rm_bench_table(b, &t);
  }
  return t.n;
}
