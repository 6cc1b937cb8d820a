#include "kernels/status.h"

extern int lrl_train_layer;
int lrl_train_layer;
