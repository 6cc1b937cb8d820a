/* Starting the program costs next to nothing: no device is asked for before a command needs one,
 * and nothing of CUDA is linked. Without a GPU a device that is asked for is refused in one
 * sentence. */
#include "kernels/backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef __SANITIZE_ADDRESS__
#define MOST 0.5 /* its own start is slow */
#else
#define MOST 0.05
#endif

/* Seconds of processor time of `laurel ARGUMENT`. Not of the clock on the wall: on a busy machine
 * that would measure the neighbours. */
static double seconds(const char *argument) {
  struct rusage use;
  int status;
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    if (freopen("/dev/null", "w", stdout) != NULL)
      execl(getenv("LAUREL_BIN"), "laurel", argument, (char *)NULL);
    _exit(127);
  }
  assert_int_equal(wait4(child, &status, 0, &use), child);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
         1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static void test_seconds(void **state) {
  (void)state;
  double best = 1.0;
  for (int i = 0; i < 50 && best >= MOST / 2; i++) { /* neighbours slow even processor time */
    const double s = seconds("--help");
    best = s < best ? s : best;
  }
  printf("laurel --help: %.1f ms of processor time\n", best * 1e3);
  assert_true(best < MOST);
}

static void test_refused(void **state) {
  (void)state;
  const struct lrl_backend *cuda;
  if (lrl_backend_load("cuda", &cuda) == LRL_OK)
    skip();
  char command[600], text[1000], want[700];
  snprintf(want, sizeof want, "laurel bench step: %s\n", lrl_last_error());
  snprintf(command, sizeof command, "%s bench step device=cuda 2>&1", getenv("LAUREL_BIN"));
  FILE *f = popen(command, "r");
  assert_non_null(f);
  text[fread(text, 1, sizeof text - 1, f)] = '\0';
  const int status = pclose(f);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
  assert_string_equal(text, want);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_seconds),
                                     cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests_name("startup", tests, NULL, NULL);
}
