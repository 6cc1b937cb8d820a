/* How `laurel bench ops` measures: a row of the table names an op, sizes and a case; the case makes
 * operands, says how much work one call is, and calls the op for as long as lrl_bench_more says. */
#ifndef LRL_BENCH_OPS_H
#define LRL_BENCH_OPS_H
#include "launch/bench_parts.h"

enum { LRL_BENCH_RUNS = 512 }; /* measured at most; at least 3 */
enum lrl_bench_unit { LRL_BENCH_FLOPS, LRL_BENCH_READ, LRL_BENCH_UPDATE };

/* One row under measurement in one type. */
struct lrl_bench_op {
  struct lrl_ctx *ctx;
  struct lrl_arena *memory; /* of the operands */
  lrl_dtype dtype;
  int64_t a, b, c;  /* sizes, as the row has them */
  int64_t width;    /* of all heads of attention */
  double budget;    /* seconds */
  int64_t spread;   /* bytes to go through where operands shall come from memory */
  uint64_t version; /* of a weight; another one for every measurement */

  /* Per call: flops or bytes. READ and UPDATE say which rate of the memory it is held against:
   * reading, or reading and writing. */
  enum lrl_bench_unit unit;
  double work;

  int n; /* calls measured; starts at -2: the first call warms up */
  struct lrl_bench_watch watch;
  lrl_status status; /* of measuring */
  double total, seconds[LRL_BENCH_RUNS];
};

struct lrl_bench_row {
  const char *op, *what; /* name in kernels/ops.h; which of its uses */
  lrl_status (*run)(struct lrl_bench_op *op);
  int64_t a, b, c;
  int want[2];    /* per cent of the peak to reach (docs/bench.md), f32 and bf16; 0: no threshold */
  bool f32_only;  /* has no dtype */
  bool bf16_only; /* f32 is not what this size is computed in */
};
extern const struct lrl_bench_row lrl_bench_rows[], lrl_bench_7b_rows[];
extern const int lrl_bench_n_rows, lrl_bench_n_7b_rows;

/* Ends the last call's time and begins the next one's; false when there is to be none. */
bool lrl_bench_more(struct lrl_bench_op *op);
#endif
