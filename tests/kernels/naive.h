/* Included ahead of every file of kernels/ref when the op test compiles them once more: the same
 * plain loops in f32. Their error against the f64 loops is the yardstick for the fast backends. */
#ifndef LRL_TESTS_NAIVE_H
#define LRL_TESTS_NAIVE_H
#include "kernels/backend.h"
#include "kernels/philox.h"

#include <math.h>
#include <stdlib.h>

#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wfloat-conversion"
#pragma GCC diagnostic ignored "-Wabsolute-value"
#define REF_FN(op) lrl_naive_##op
#define double float
#define exp expf
#define expm1 expm1f
#define log logf
#define log1p log1pf
#define sqrt sqrtf
#define pow powf
#define erfc erfcf
#define fabs fabsf
#define fmax fmaxf
#define fmin fminf
#define copysign copysignf
#endif
