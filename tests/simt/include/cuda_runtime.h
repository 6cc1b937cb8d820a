/* What a .cu sees instead of nvcc's built-ins: built by g++ after tests/simt/rewrite.cc. */
#ifndef SIMT_CUDA_RUNTIME_H
#define SIMT_CUDA_RUNTIME_H
#define __CUDA_RUNTIME_H__
#include "cuda_runtime_api.h"
#ifdef __cplusplus
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "simt_core.h"

#include "simt_launch.h"

#include "simt_runtime.h"

#include "simt_warp.h"

#include "simt_atomic.h"

#include "simt_math.h"

#include "simt_ptx.h"
#endif
#endif
