/* check.h - what the test programs share: the library under test, and CHECK.
 *
 * Compile with -DPOSE_API=NAME_tvmpose to test any bundle's library instead of tiny_model.c; what only that model can
 * be asked for is then left out. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tvmpose.h"

#ifndef POSE_API
#define POSE_API tiny_tvmpose
#define TINY 1
#include "tiny_model.h"
#else
#define TINY 0
#endif
const tvmpose_api *POSE_API(void);

#define CHECK(condition)                                            \
  do {                                                              \
    if (condition) break;                                           \
    fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
    exit(EXIT_FAILURE);                                             \
  } while (0)

static inline tvmpose_handle *open_or_die(int32_t threads) {
  tvmpose_options options = {sizeof options, threads, 0};
  tvmpose_handle *handle = NULL;
  if (POSE_API()->open(&options, &handle)) fprintf(stderr, "%s\n", POSE_API()->last_error(NULL));
  CHECK(handle);
  return handle;
}

static inline void *zeroed(uint64_t bytes) {
  void *memory = calloc(1, bytes ? bytes : 1);
  CHECK(memory);
  return memory;
}

/* A picture with structure at every scale, the same for the same seed. */
static inline uint8_t *make_pixels(int32_t width, int32_t height, int32_t channels, unsigned seed) {
  uint8_t *pixels = zeroed((uint64_t)width * height * channels);
  for (int32_t i = 0; i < width * height * channels; ++i) {
    int32_t x = i / channels % width, y = i / channels / width, channel = i % channels;
    seed = seed * 1664525u + 1013904223u;
    pixels[i] = (uint8_t)((x * 5 + y * 3 * (channel + 1) + (seed >> 28)) & 255);
  }
  return pixels;
}

#endif
