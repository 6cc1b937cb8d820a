#include "kernels/status.h"

extern int lrl_launch_layer;
int lrl_launch_layer;
