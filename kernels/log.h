/* Log records for people: one line each, "[rank] subsystem: text", on stderr. Metrics are not logs
 * (train/metrics.h). Only launch/ and train/ call this; lower layers return statuses. */
#ifndef LRL_LOG_H
#define LRL_LOG_H
#ifdef __cplusplus
extern "C" {
#endif

enum lrl_log_level { LRL_LOG_ERROR, LRL_LOG_WARN, LRL_LOG_INFO, LRL_LOG_DEBUG };

/* Highest level that is printed (default LRL_LOG_INFO), and the rank that prefixes a line; info and
 * debug lines are printed by rank 0 only. */
void lrl_log_setup(enum lrl_log_level max_level, int rank, int world_size);
void lrl_log(enum lrl_log_level level, const char *subsystem, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __cplusplus
}
#endif
#endif
