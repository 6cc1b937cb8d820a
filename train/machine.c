#include "train/machine.h"

#include "kernels/backend.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

const char *lrl_commit = "unknown";

/* "model name : ..." of the first processor; where the kernel has none, its architecture. */
static void processor(char *out, size_t size, const struct utsname *u) {
  char line[256];
  FILE *f = fopen("/proc/cpuinfo", "r");
  snprintf(out, size, "%s", u->machine);
  while (f != NULL && fgets(line, sizeof line, f) != NULL) {
    const char *colon = strchr(line, ':');
    if (strncmp(line, "model name", 10) != 0 || colon == NULL)
      continue;
    line[strcspn(line, "\n")] = '\0';
    snprintf(out, size, "%s", colon + 1 + (colon[1] == ' '));
    break;
  }
  if (f != NULL)
    fclose(f);
}

static json_t *describe(int n_ranks) {
  struct utsname u = {0};
  char cpu[256], now[32];
  const time_t t = time(NULL);
  struct tm utc;
  (void)uname(&u);
  processor(cpu, sizeof cpu, &u);
  strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &utc));
  return json_pack("{ss ss ss ss ss sI ss sI ss sI}", "laurel", LAUREL_VERSION, "commit",
                   lrl_commit, "started", now, "host", u.nodename, "processor", cpu, "cores",
                   (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "instruction_set", lrl_cpu_isa(),
                   "memory_bytes",
                   (json_int_t)sysconf(_SC_PHYS_PAGES) * (json_int_t)sysconf(_SC_PAGESIZE),
                   "kernel", u.release, "ranks", (json_int_t)n_ranks);
}

lrl_status lrl_machine_record(const char *folder, int n_ranks, bool anew) {
  char path[1024];
  snprintf(path, sizeof path, "%s/machine.jsonl", folder);
  json_t *o = describe(n_ranks);
  char *line = o == NULL ? NULL : json_dumps(o, JSON_COMPACT);
  FILE *f = fopen(path, anew ? "w" : "a");
  bool ok = f != NULL && line != NULL && fprintf(f, "%s\n", line) > 0;
  if (f != NULL)
    ok = fclose(f) == 0 && ok;
  free(line);
  json_decref(o);
  return ok ? LRL_OK : LRL_FAIL(LRL_ERR_IO, "cannot write %s: %s", path, strerror(errno));
}
