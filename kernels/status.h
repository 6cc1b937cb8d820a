/* Errors. Every function that can fail returns an lrl_status and puts its outputs in pointers.
 * The first failure on a thread keeps its message until lrl_error_clear(); later failures while it
 * is pending do not replace it, so the message a user sees is the cause, not a consequence. Library
 * code never prints and never exits. */
#ifndef LRL_STATUS_H
#define LRL_STATUS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lrl_status {
  LRL_OK = 0,
  LRL_ERR_ARG,     /* a value outside its allowed range, an unknown name */
  LRL_ERR_SHAPE,   /* sizes that do not fit together */
  LRL_ERR_DTYPE,   /* a dtype the callee does not take */
  LRL_ERR_MEMORY,  /* no memory */
  LRL_ERR_IO,      /* the operating system refused: missing file, full disk, ... */
  LRL_ERR_FORMAT,  /* a file or text that is damaged or not of the expected format */
  LRL_ERR_COMM,    /* MPI failed or a peer is gone */
  LRL_ERR_LIB,     /* another library failed (HDF5, libjpeg, ...) */
  LRL_ERR_NUMERIC, /* NaN or infinity where none may be */
} lrl_status;

/* Records the message (printf style) with its source position and returns `code`.
 * The message is one sentence for the user that names what to change; no trailing newline. `code`
 * is not LRL_OK. */
lrl_status lrl_fail_at(const char *file, int line, lrl_status code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Tells compilers and static analysis what lrl_fail_at asserts. */
static inline lrl_status lrl_not_ok(lrl_status code) {
  if (code == LRL_OK)
    __builtin_unreachable();
  return code;
}
#define LRL_FAIL(code, ...) lrl_not_ok(lrl_fail_at(__FILE__, __LINE__, (code), __VA_ARGS__))

/* Message of the first failure since the last clear, "" when none. Valid until the next clear. */
const char *lrl_last_error(void);
/* "file.c:123" of that failure, for debug logs. */
const char *lrl_last_error_where(void);
void lrl_error_clear(void);
/* Control characters, which a user's paths and texts may hold, become '?'; messages are one line.
 */
void lrl_one_line(char *text);

#define LRL_TRY(expr)                                                                              \
  do {                                                                                             \
    lrl_status lrl_try_status_ = (expr);                                                           \
    if (lrl_try_status_ != LRL_OK)                                                                 \
      return lrl_try_status_;                                                                      \
  } while (0)
/* As LRL_TRY inside a function that keeps its result in `status` and frees at label `done`. */
#define LRL_TRY_GOTO(expr)                                                                         \
  do {                                                                                             \
    status = (expr);                                                                               \
    if (status != LRL_OK)                                                                          \
      goto done;                                                                                   \
  } while (0)

/* For broken invariants of our own only, never for user input. Always on; prints and aborts. */
#define LRL_ASSERT(cond) ((cond) ? (void)0 : lrl_assert_failed(__FILE__, __LINE__, #cond))
__attribute__((noreturn)) void lrl_assert_failed(const char *file, int line, const char *cond);

#ifdef __cplusplus
}
#endif
#endif
