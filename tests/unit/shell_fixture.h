/* Commands as a user types them, for tests: in a scratch folder, with what they say. The including
 * test is one program; everything is static. */
#ifndef LRL_SHELL_FIXTURE_H
#define LRL_SHELL_FIXTURE_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64] = "/tmp/laurel_shell_XXXXXX";
static char output[1 << 16]; /* of the last command, both streams */

/* In dir; $L is laurel and $S the source tree. Gives the exit status. */
static int shell(const char *text) {
  char command[2048];
  snprintf(command, sizeof command, "cd %s && export L='%s' S='%s' && { %s; } 2>&1", dir,
           getenv("LAUREL_BIN"), getenv("LAUREL_SOURCE"), text);
  FILE *f = popen(command, "r");
  assert_non_null(f);
  const size_t n = fread(output, 1, sizeof output - 1, f);
  output[n] = '\0';
  const int status = pclose(f);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void expect(int want, const char *text, const char *part) {
  const int got = shell(text);
  if (got != want || strstr(output, part) == NULL)
    fail_msg("'%s' ended with %d and said '%s', without '%s'", text, got, output, part);
}

/* A file of dir; free() it. */
static char *slurp(const char *name) {
  char path[200], *text = NULL;
  size_t n = 0;
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "rb"), *to = open_memstream(&text, &n);
  if (f == NULL || to == NULL)
    fail_msg("no %s", path);
  for (int c; (c = fgetc(f)) != EOF;)
    fputc(c, to);
  fclose(f);
  fclose(to);
  return text;
}

static void write_text(const char *name, const char *text) {
  char path[200];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_true(fputs(text, f) >= 0);
  assert_int_equal(fclose(f), 0);
}

static int remove_files(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  return system(command);
}
#endif
