/* What the simulated device has. */
#ifndef SIMT_DEVICE_LIMITS_H
#define SIMT_DEVICE_LIMITS_H
enum {
  DEFAULT_SHARED = 48 * 1024,
  OPT_IN_SHARED = 227 * 1024,
  MULTIPROCESSORS = 4, /* few, so that persistent kernels walk several rows a block */
  MULTIPROCESSOR_THREADS = 2048,
  MULTIPROCESSOR_BLOCKS = 32
};
#endif
