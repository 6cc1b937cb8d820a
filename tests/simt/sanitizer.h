/* Marks memory that no program may touch for AddressSanitizer, in builds that have it. */
#ifndef SIMT_SANITIZER_H
#define SIMT_SANITIZER_H
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define SIMT_FORBID(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define SIMT_ALLOW(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define SIMT_FORBID(p, n) ((void)(p), (void)(n))
#define SIMT_ALLOW(p, n) ((void)(p), (void)(n))
#endif
#endif
