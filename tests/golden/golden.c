#include "tests/golden/golden.h"

#include "kernels/backend.h"
#include "tests/unit/sim_device.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
  const char *prefix;
  golden_run *run;
} families[64];
static int n_families;

void golden_register(const char *prefix, golden_run *run) {
  LRL_ASSERT(n_families < 64);
  families[n_families].prefix = prefix;
  families[n_families++].run = run;
}

static void line(const char *name, const char *what, const char *numbers, const char *verdict) {
  char label[512];
  snprintf(label, sizeof label, "%s%s%s", name, what[0] ? " " : "", what);
  printf("%-48s %-34s %s\n", label, numbers, verdict);
  fflush(stdout);
}

void golden_check(struct golden *g, const char *name, const char *what, double worst, double tol) {
  char numbers[80];
  bool pass = worst <= tol;
  snprintf(numbers, sizeof numbers, "worst %.3g  tolerance %.3g", worst, tol);
  line(name, what, numbers, pass ? "PASS" : "FAIL");
  *(pass ? &g->n_pass : &g->n_fail) += 1;
}

void golden_fail(struct golden *g, const char *name, const char *what, const char *why) {
  char verdict[2200];
  snprintf(verdict, sizeof verdict, "FAIL  %s", why);
  line(name, what, "", verdict);
  g->n_fail++;
}

void golden_skip(struct golden *g, const char *name, const char *what, const char *why) {
  char verdict[2200];
  snprintf(verdict, sizeof verdict, "SKIP  %s", why);
  line(name, what, "", verdict);
  g->n_skip++;
}

bool golden_ok(struct golden *g, const char *name, const char *what, int status) {
  if (status != LRL_OK)
    golden_fail(g, name, what, lrl_last_error());
  lrl_error_clear();
  return status == LRL_OK;
}

double golden_max_abs(const float *a, const float *b, int64_t n) {
  double worst = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = fabs((double)a[i] - (double)b[i]);
    if (isnan(d))
      d = a[i] == b[i] || (isnan(a[i]) && isnan(b[i])) ? 0 : INFINITY;
    worst = d > worst ? d : worst;
  }
  return worst;
}

double golden_max_abs64(const double *a, const double *b, int64_t n) {
  double worst = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = fabs(a[i] - b[i]);
    if (isnan(d))
      d = a[i] == b[i] || (isnan(a[i]) && isnan(b[i])) ? 0 : INFINITY;
    worst = d > worst ? d : worst;
  }
  return worst;
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Whether the name starts with one of the prefixes between commas. */
static bool starts_with(const char *name, const char *prefixes) {
  for (const char *p = prefixes; *p != '\0'; p += *p == ',') {
    const size_t n = strcspn(p, ",");
    if (n > 0 && strncmp(name, p, n) == 0)
      return true;
    p += n;
  }
  return false;
}

/* What the simulator's checks found in the kernels that the cases ran; nothing on other devices. */
static void check_simulator(struct golden *g) {
  struct sim_device sim;
  const char *found = "";
  if (strcmp(g->device, "sim") != 0 || !sim_device_open(&sim))
    return;
  if (sim.reports(&found) > 0)
    golden_fail(g, "simulator", "reports", found);
  else
    golden_check(g, "simulator", sim.traced() ? "reports, traced" : "reports", 0, 0);
}

int main(int argc, char **argv) {
  struct golden g = {.device = "cpu", .assets = getenv("LAUREL_ASSETS")};
  const char *only = "", *skip = "";
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--device") == 0 && i + 1 < argc)
      g.device = argv[++i];
    else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
      only = argv[++i];
    else if (strcmp(argv[i], "--skip") == 0 && i + 1 < argc)
      skip = argv[++i];
    else if (argv[i][0] != '-' && g.dir == NULL)
      g.dir = argv[i];
    else
      g.dir = NULL, argc = 0;
  }
  if (g.dir == NULL) {
    fprintf(stderr, "usage: laurel_golden DIR [--device " LRL_DEVICES "] [--only PREFIX,...] "
                    "[--skip PREFIX,...]\n");
    return 2;
  }
  if (g.assets == NULL)
    g.assets = "../shared/assets";
  char *names[1024];
  int n = 0;
  DIR *d = opendir(g.dir);
  if (d == NULL) {
    fprintf(stderr, "laurel_golden: cannot open folder %s\n", g.dir);
    return 2;
  }
  for (struct dirent *e; (e = readdir(d)) != NULL && n < 1024;) {
    const char *dot = strrchr(e->d_name, '.');
    if (dot != NULL && (strcmp(dot, ".h5") == 0 || strcmp(dot, ".json") == 0) &&
        (only[0] == '\0' || starts_with(e->d_name, only)) && !starts_with(e->d_name, skip))
      names[n++] = strdup(e->d_name);
  }
  closedir(d);
  qsort(names, (size_t)n, sizeof names[0], by_name);
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  for (int i = 0; i < n; i++) {
    char path[4096], name[256];
    snprintf(path, sizeof path, "%s/%s", g.dir, names[i]);
    snprintf(name, sizeof name, "%.*s", (int)(strrchr(names[i], '.') - names[i]), names[i]);
    bool found = false;
    int before = g.n_pass + g.n_fail + g.n_skip;
    for (int f = 0; f < n_families; f++)
      if (strncmp(name, families[f].prefix, strlen(families[f].prefix)) == 0) {
        families[f].run(&g, path, name);
        found = true;
      }
    if (found && g.n_pass + g.n_fail + g.n_skip == before)
      golden_fail(&g, name, "", "nothing in this file was checked");
    if (!found)
      golden_skip(&g, name, "", "no runner for this family in this version");
    free(names[i]);
  }
  check_simulator(&g);
  printf("%d passed, %d failed, %d skipped\n", g.n_pass, g.n_fail, g.n_skip);
  return g.n_fail > 0 || g.n_pass + g.n_skip == 0;
}
