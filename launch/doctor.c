/* `laurel doctor`: the machine and the build at a glance. */
#include "data/video_decode.h"
#include "kernels/backend.h"
#include "kernels/cpu_peak.h"
#include "launch/commands.h"

#include <omp.h>
#include <stdio.h>
#include <unistd.h>

int lrl_command_doctor(int argc, char **argv) {
  (void)argv;
  if (argc > 0) {
    fprintf(stderr, "laurel doctor takes no arguments\n");
    return 2;
  }
  int threads = omp_get_max_threads();
  double pages = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
  printf("laurel            %s\n", LAUREL_VERSION);
  const struct lrl_backend *cuda;
  if (lrl_backend_load("cuda", &cuda) == LRL_OK) {
    int v;
    printf("devices           cpu, ref, cuda\n");
    if (cuda->cudnn(NULL, LRL_CUDNN_ATTENTION, &v) == LRL_OK)
      printf("cuDNN             %d.%d.%d\n", v / 10000, v / 100 % 100, v % 100);
    else
      printf("cuDNN             not used: %s\n", lrl_last_error());
    lrl_error_clear();
  } else {
    printf("devices           cpu, ref; no cuda: %s\n", lrl_last_error());
    lrl_error_clear();
  }
  const char *video = lrl_video_library();
  printf("videos            %s\n", video != NULL ? video : "refused: built without FFmpeg");
  printf("instruction set   %s, bf16 dot products %s\n", lrl_cpu_isa(),
         lrl_cpu_has_bf16() ? "in hardware" : "emulated in f32");
  printf("threads           %d\n", threads);
  printf("memory            %.1f GiB\n", pages / (double)(1 << 30));
  printf("peak f32          %.0f GFLOP/s measured\n", lrl_cpu_peak(false, threads) / 1e9);
  printf("peak bf16         %.0f GFLOP/s measured\n", lrl_cpu_peak(true, threads) / 1e9);
  return 0;
}
