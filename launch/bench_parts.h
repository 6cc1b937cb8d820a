/* The parts of `laurel bench`, each behind a word of its own, and what they share. */
#ifndef LRL_BENCH_PARTS_H
#define LRL_BENCH_PARTS_H
#include "kernels/backend.h"
#include "launch/config.h"
#include "model/decoder.h"
#include "train/option_rows.h"

/* As the commands of launch/commands.h. */
int lrl_bench_ops(int argc, char **argv);
int lrl_bench_step(int argc, char **argv);
int lrl_bench_prefix(int argc, char **argv);
int lrl_bench_comm(int argc, char **argv);
int lrl_bench_checkpoint(int argc, char **argv);
int lrl_bench_generate(int argc, char **argv);

/* A part whose state is one zeroed struct of `size` bytes that begins with what the table
 * describes. */
struct lrl_bench_part {
  const char *name;
  const struct lrl_option_table *table;
  size_t size;
  lrl_status (*run)(void *state);
  void (*clear)(void *state); /* also after a failure */
};
/* Help, options, run, a sentence when it fails: the exit status. */
int lrl_bench_part_main(const struct lrl_bench_part *p, int argc, char **argv);

/* The text decoder that a part trains or decodes with, and its rows of the part's table. */
struct lrl_bench_network {
  int64_t layers, hidden, ffn, heads, kv_heads, vocab;
  int dtype; /* 0: f32, 1: bf16 */
};
#define LRL_BENCH_NETWORK_ROWS(at, vocabulary, type)                                               \
  LRL_ROW_INT("layers", (at) + offsetof(struct lrl_bench_network, layers), "8", 1, 1000, "",       \
              "decoder layers"),                                                                   \
      LRL_ROW_INT("hidden", (at) + offsetof(struct lrl_bench_network, hidden), "512", 1, 65536,    \
                  "", "width"),                                                                    \
      LRL_ROW_INT("ffn", (at) + offsetof(struct lrl_bench_network, ffn), "1408", 1, 262144, "",    \
                  "SwiGLU width"),                                                                 \
      LRL_ROW_INT("heads", (at) + offsetof(struct lrl_bench_network, heads), "8", 1, 1024, "",     \
                  "query heads"),                                                                  \
      LRL_ROW_INT("kv_heads", (at) + offsetof(struct lrl_bench_network, kv_heads), "8", 1, 1024,   \
                  "", "key/value heads"),                                                          \
      LRL_ROW_INT("vocab", (at) + offsetof(struct lrl_bench_network, vocab), vocabulary, 2,        \
                  1000000, "tokens", "vocabulary"),                                                \
      LRL_ROW_ENUM("dtype", (at) + offsetof(struct lrl_bench_network, dtype), type, "f32|bf16",    \
                   "type of weights and activations")
static inline lrl_dtype lrl_bench_dtype(const struct lrl_bench_network *n) {
  return n->dtype == 0 ? LRL_F32 : LRL_BF16;
}
/* Errors: heads do not divide the width. */
lrl_status lrl_bench_decoder(const struct lrl_bench_network *n, int64_t max_positions,
                             struct lrl_decoder_config *out);

/* Prints the keys when the arguments ask for them. */
bool lrl_bench_help(const char *part, const struct lrl_option_table *table, int argc, char **argv);
/* Fills out from the defaults and key=value arguments. */
lrl_status lrl_bench_options(const struct lrl_option_table *table, void *out, int argc,
                             char **argv);
int lrl_bench_by_value(const void *a, const void *b); /* doubles, for qsort */

/* Seconds of what the context computes between the two: the device's own, without the host's
 * waiting, from an empty cache where `cold`; elsewhere those of the clock on the wall, caches as
 * they are. */
struct lrl_bench_watch {
  struct lrl_ctx *ctx;
  double started;
};
lrl_status lrl_bench_start(struct lrl_bench_watch *w, bool cold);
lrl_status lrl_bench_stop(struct lrl_bench_watch *w, double *seconds);

/* What the machine can do: the best that any probe of this run saw. Probe between measurements, so
 * that what slows them slows the yardstick too. */
struct lrl_bench_peaks {
  double flops[2]; /* flop/s, f32 and bf16: of multiply-adds (lrl_cpu_peak); of a device, of a large
                    * product */
  double read, update; /* bytes/s of reading memory; of reading and writing it in place */
};
/* Operands of a device's product come from the arena: `size` rows and columns. */
lrl_status lrl_bench_probe_flops(struct lrl_bench_peaks *p, lrl_dtype t, struct lrl_ctx *ctx,
                                 struct lrl_arena *arena, int64_t size);
/* Streams through as many bytes of the arena; far more than the caches hold is 512 MiB. */
lrl_status lrl_bench_probe_memory(struct lrl_bench_peaks *p, struct lrl_ctx *ctx,
                                  struct lrl_arena *arena, size_t bytes);
#endif
