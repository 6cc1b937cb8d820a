#include "kernels/status.h"

extern int lrl_model_layer;
int lrl_model_layer;
