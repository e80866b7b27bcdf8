/* stub_cuda.h - what the parts of the stand-in for libcuda.so.1 share. */
#ifndef STUB_CUDA_H
#define STUB_CUDA_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a kernel is, read from its own cubin or PTX, never from the library's table. */
typedef struct {
  char name[128];
  uint32_t parameter_bytes, static_shared, max_threads;
} stub_kernel;

enum { STUB_MOST_KERNELS = 512 };

typedef struct {
  int32_t num_kernels;
  stub_kernel kernels[STUB_MOST_KERNELS];
} stub_code;

/* A CUresult: 0, 200 for what is no image, 209 for another GPU's, 218 for broken PTX, 222 for PTX that is too new. */
int stub_read_code(const void *image, int capability, int driver_version, stub_code *code);

/* Ends the process with one line: a caller broke the rules of CUDA's driver. */
_Noreturn void stub_violation(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
