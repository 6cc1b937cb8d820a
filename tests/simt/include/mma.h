#include "simt_wmma.h"
