/* board_run.c - runs a library's network on a board that has nothing but Linux:
 *
 *     board_run libNAME.so NAME inputs.bin THREADS SECONDS
 *
 * inputs.bin has the inputs one after the other. On standard output: uint64 count, so many uint64 nanoseconds of a frame,
 * and the outputs of the last one. With -DENTRY=NAME_tvmpose it is linked with the library, and ignores the first two. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tvmpose.h"

enum { MAX_FRAMES = 1 << 16, FEWEST_FRAMES = 5, UNTIMED_FRAMES = 3 };

static void *memory(size_t bytes) {
  void *allocated = malloc(bytes ? bytes : 1);
  if (!allocated) exit(3);
  return allocated;
}

#ifdef ENTRY
const tvmpose_api *ENTRY(void);
static const tvmpose_api *load(const char *library, const char *name) {
  (void)library, (void)name;
  return ENTRY();
}
#else
static const tvmpose_api *load(const char *library, const char *name) {
  const tvmpose_api *(*entry)(void);
  char symbol[256];
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  snprintf(symbol, sizeof symbol, "%s_tvmpose", name);
  void *address = handle ? dlsym(handle, symbol) : NULL;
  if (!address) fprintf(stderr, "%s\n", dlerror()), exit(4);
  memcpy(&entry, &address, sizeof entry); /* ISO C has no cast from an object to a function */
  return entry();
}
#endif

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv) {
  static uint64_t times[MAX_FRAMES];
  if (argc != 6) return fprintf(stderr, "usage: %s libNAME.so NAME inputs.bin THREADS SECONDS\n", argv[0]), 2;
  const tvmpose_api *api = load(argv[1], argv[2]);
  const tvmpose_info *info = api->info();
  const tvmpose_options options = {.struct_size = sizeof options, .threads = atoi(argv[4])};
  const void **inputs = memory((size_t)info->num_inputs * sizeof *inputs);
  void **outputs = memory((size_t)info->num_outputs * sizeof *outputs);
  tvmpose_handle *handle;
  FILE *file = fopen(argv[3], "rb");
  if (!file) return perror(argv[3]), 4;
  for (int i = 0; i < info->num_inputs; ++i) {
    size_t bytes = info->inputs[i].bytes;
    void *tensor = memory(bytes);
    if (fread(tensor, 1, bytes, file) != bytes) return fprintf(stderr, "%s is too short\n", argv[3]), 4;
    inputs[i] = tensor;
  }
  for (int i = 0; i < info->num_outputs; ++i) outputs[i] = memory(info->outputs[i].bytes);
  if (api->open(&options, &handle)) return fprintf(stderr, "%s\n", api->last_error(NULL)), 1;

  uint64_t count = 0, end = 0;
  for (int frame = -UNTIMED_FRAMES; count < FEWEST_FRAMES || (now_ns() < end && count < MAX_FRAMES); ++frame) {
    uint64_t start = now_ns();
    if (frame == 0) end = start + (uint64_t)(atof(argv[5]) * 1e9);
    if (api->run_tensors(handle, inputs, outputs)) return fprintf(stderr, "%s\n", api->last_error(handle)), 1;
    if (frame >= 0) times[count++] = now_ns() - start;
  }
  fwrite(&count, sizeof count, 1, stdout);
  fwrite(times, sizeof *times, count, stdout);
  for (int i = 0; i < info->num_outputs; ++i) fwrite(outputs[i], 1, info->outputs[i].bytes, stdout);
  return 0;
}
