/* laurel bench as a user runs it, on tiny sizes: every op has a row, and what is printed is a
 * number that can be one. How fast the machine is, is not tested. */
#include "kernels/ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What a run prints to stdout and stderr; its exit status is left in *status. */
static char *run(const char *arguments, int *status) {
  char command[1024];
  snprintf(command, sizeof command, "%s bench %s 2>&1", getenv("LAUREL_BIN"), arguments);
  FILE *f = popen(command, "r");
  assert_non_null(f);
  size_t n = 0, room = 1 << 16;
  char *text = malloc(room);
  assert_non_null(text);
  n = fread(text, 1, room - 1, f);
  text[n] = '\0';
  *status = pclose(f);
  return text;
}

static void test_ops(void **state) {
  static const char *const names[] = {
#define NAME(op) #op,
      LRL_OPS(NAME)
#undef NAME
  };
  (void)state;
  int status, seen[sizeof names / sizeof *names] = {0};
  char *text = run("ops seconds=0 shrink=256 threads=1", &status), *rest = text;
  if (status != 0)
    print_error("%s\n", text);
  assert_int_equal(status, 0);
  for (char *row; (row = strsep(&rest, "\n")) != NULL;) {
    char op[64];
    double best, median, rate, ratio;
    const char *type = strstr(row, " f32 ") != NULL ? strstr(row, " f32 ") : strstr(row, " bf16 ");
    if (type == NULL || sscanf(row, "%63s", op) != 1 ||
        sscanf(type + 5, "%lf %lf %lf %*s %lf", &best, &median, &rate, &ratio) != 4)
      continue;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
      seen[i] |= strcmp(op, names[i]) == 0;
    assert_true(best > 0 && median >= best && rate >= 0 && ratio >= 0 && ratio < 1e6);
  }
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (!seen[i])
      print_error("laurel bench ops has no row for %s\n", names[i]);
    assert_true(seen[i]);
  }
  free(text);
}

static void test_step_and_prefix(void **state) {
  static const char *const tiny = "layers=2 hidden=32 ffn=48 heads=2 kv_heads=1 vocab=97";
  static const char *const parts[] = {"step dtype=f32 sequences=2 length=16 steps=2",
                                      "step dtype=bf16 sequences=2 length=16 steps=2",
                                      "prefix prompt=32 answer=8 pairs=3 turns=1"};
  (void)state;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    char arguments[256];
    int status;
    double figure = 0;
    snprintf(arguments, sizeof arguments, "%s %s", parts[i], tiny);
    char *text = run(arguments, &status);
    const char *at = strstr(text, i < 2 ? "\nbest " : "\ngain ");
    if (status != 0 || at == NULL)
      print_error("laurel bench %s: %s\n", arguments, text);
    assert_int_equal(status, 0);
    assert_non_null(at);
    assert_int_equal(sscanf(at, "%*s %lf", &figure), 1);
    assert_true(figure > 0);
    free(text);
  }
}

/* The same on the simulated device, whose clock is counted, not measured: that it works, at the
 * widths of a 7B model too. */
static void test_device(void **state) {
  static const char *const parts[] = {
      "ops device=sim seconds=0 shrink=65536 sizes=7b only=norm",
      "ops device=sim seconds=0 shrink=65536 sizes=7b only=logprob",
      "ops device=sim seconds=0 shrink=65536 only=adamw",
      ("step device=sim dtype=bf16 sequences=2 length=16 steps=2 layers=2 hidden=32 ffn=48 heads=2 "
       "kv_heads=1 vocab=97")};
  (void)state;
  setenv("SIMT_STREAMS", "1", 1); /* nothing runs before it is waited for */
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    int status;
    char *text = run(parts[i], &status), *rest = text;
    int rows = 0;
    if (strstr(text, "no liblaurel_sim.so") != NULL) { /* sanitizer builds have none */
      free(text);
      skip();
    }
    if (status != 0)
      print_error("laurel bench %s: %s\n", parts[i], text);
    assert_int_equal(status, 0);
    for (char *row; (row = strsep(&rest, "\n")) != NULL;) {
      const char *type = strstr(row, " f32 "), *step = strstr(row, "best ");
      double best;
      type = type != NULL                    ? type + 5
             : strstr(row, " bf16 ") != NULL ? strstr(row, " bf16 ") + 6
             : step == row                   ? row + 5
                                             : NULL;
      rows += type != NULL && sscanf(type, "%lf", &best) == 1 && best > 0;
    }
    assert_true(rows >= 1);
    free(text);
  }
}

static void test_refused(void **state) {
  static const char *const wrong[] = {"opps", "ops only=nothing", "ops second=1", "step hidden=33",
                                      "prefix turns=0"};
  (void)state;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    int status;
    char *text = run(wrong[i], &status);
    assert_int_not_equal(status, 0);
    assert_non_null(strstr(text, "laurel bench"));
    free(text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ops),
      cmocka_unit_test(test_step_and_prefix),
      cmocka_unit_test(test_device),
      cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests_name("bench", tests, NULL, NULL);
}
