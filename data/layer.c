#include "kernels/status.h"

extern int lrl_data_layer;
int lrl_data_layer;
