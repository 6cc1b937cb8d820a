#include "kernels/status.h"

int main(void) { return LRL_OK; }
