/* `laurel plan`: what a run would take, reckoned by the plan backend (docs/plan.md). Private to
 * plan*.c. */
#ifndef LRL_LAUNCH_PLAN_H
#define LRL_LAUNCH_PLAN_H
#include "launch/config.h"
#include "train/plan_run.h"

struct lrl_gpu {
  const char *name, *title;
  double bf16, f32; /* TFLOP/s, dense: matrix units with f32 sums; without matrix units */
  double memory;    /* GB/s */
  int memory_mib;   /* as nvidia-smi tells it */
  const char *link; /* how GPUs of a host speak to each other */
  double link_gb_s; /* in one direction */
  int n_sm;
};
extern const struct lrl_gpu lrl_gpus[];
extern const int lrl_n_gpus;
/* LRL_ERR_ARG lists the names. */
lrl_status lrl_gpu_find(const char *name, const struct lrl_gpu **out);

/* The "--" options. */
struct lrl_plan_options {
  char gpu[LRL_OPTION_TEXT], model[LRL_OPTION_TEXT];
  int64_t ranks, zero, prompt, answer, tiles, per_host;
  double network;
  bool ops;
};

/* What is planned besides the config, and what came out. */
struct lrl_plan_request {
  const struct lrl_plan_options *options;
  const struct lrl_gpu *gpu;
};
struct lrl_plan_outcome {
  struct lrl_plan_report report;
  char batch[400]; /* what a step works on, in words: lines that are ready to print */
};

/* A trainer whose configs can be planned. */
struct lrl_planner {
  const char *command; /* "reward" */
  struct lrl_option_table table;
  size_t cfg_bytes;
  lrl_status (*plan)(const struct lrl_plan_request *r, const void *cfg,
                     struct lrl_plan_outcome *out);
  const char *const *remedies; /* assignments that save memory; NULL-terminated */
};
enum lrl_planner_kind { LRL_PLANNER_REWARD, LRL_PLANNER_SFT, LRL_PLANNER_PPO, LRL_N_PLANNERS };
struct lrl_planner lrl_planner(enum lrl_planner_kind kind);
struct lrl_planner lrl_planner_ppo(void); /* plan_ppo.c */
/* The squarest grid of n tiles. */
void lrl_plan_grid(int64_t n, struct lrl_plan_batch *b);

struct lrl_plan_machine lrl_gpu_machine(const struct lrl_gpu *g);
/* Device memory beyond the arenas: the library's work space, and a context, which is assumed. */
#define LRL_PLAN_BLAS ((size_t)32 << 20)
#define LRL_PLAN_CONTEXT ((size_t)1 << 30)
size_t lrl_plan_total(const struct lrl_plan_report *r);
static inline bool lrl_plan_fits(const struct lrl_plan_request *q,
                                 const struct lrl_plan_report *r) {
  return lrl_plan_total(r) <= (size_t)q->gpu->memory_mib << 20;
}
void lrl_plan_print(const struct lrl_planner *p, const struct lrl_plan_request *q, const char *file,
                    int64_t zero_stage, const struct lrl_plan_outcome *o);
/* What to change of a plan that needs `bytes`: each change with what it gives, and together. */
void lrl_plan_advise(const struct lrl_planner *p, const struct lrl_plan_request *q, const void *cfg,
                     size_t bytes);
#endif
