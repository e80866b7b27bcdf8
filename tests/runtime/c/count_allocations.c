/* count_allocations.c - a frame allocates nothing: every allocator of the process is counted, from whichever thread.
 *
 * The definitions below take the place of libc's for all of the process, shared libraries included. glibc only. */
#include <stdatomic.h>
#include <stddef.h>

static atomic_long allocations;

void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);

void *malloc(size_t bytes) { return atomic_fetch_add(&allocations, 1), __libc_malloc(bytes); }
void *calloc(size_t count, size_t bytes) { return atomic_fetch_add(&allocations, 1), __libc_calloc(count, bytes); }
void *realloc(void *old, size_t bytes) { return atomic_fetch_add(&allocations, 1), __libc_realloc(old, bytes); }
void *memalign(size_t align, size_t bytes) { return atomic_fetch_add(&allocations, 1), __libc_memalign(align, bytes); }
void *aligned_alloc(size_t align, size_t bytes) { return memalign(align, bytes); }
int posix_memalign(void **memory, size_t align, size_t bytes) { return (*memory = memalign(align, bytes)) ? 0 : 12; }

#include "check.h"

enum { WIDTH = 64, HEIGHT = 48, FRAMES = 50 };

static void run_frames(tvmpose_handle *h, const uint8_t *pixels, void *const *inputs, void *const *outputs) {
  const tvmpose_api *api = POSE_API();
  const tvmpose_box boxes[2] = {{0, 0, 20, 30}, {30, 10, 20, 30}};
  tvmpose_result result;
  for (int frame = 0; frame < FRAMES; ++frame) {
    tvmpose_image image = {pixels, NULL, WIDTH, HEIGHT, 0, 0, frame % 5};
    int num_boxes = frame % 3, status = api->run_image(h, &image, num_boxes ? boxes : NULL, num_boxes, &result);
    CHECK(status == TVMPOSE_OK || status == TVMPOSE_UNSUPPORTED);
    CHECK(api->run_tensors(h, (const void *const *)inputs, outputs) == TVMPOSE_OK && api->reset(h) == TVMPOSE_OK);
    image.width = 0; /* refusals allocate nothing either */
    CHECK(api->run_image(h, &image, NULL, 0, &result) != TVMPOSE_OK);
  }
}

int main(void) {
  const tvmpose_info *info = POSE_API()->info();
  void *inputs[16], *outputs[16];
  CHECK(info->num_inputs <= 16 && info->num_outputs <= 16);
  for (int i = 0; i < info->num_inputs; ++i) inputs[i] = zeroed(info->inputs[i].bytes);
  for (int i = 0; i < info->num_outputs; ++i) outputs[i] = zeroed(info->outputs[i].bytes);
  uint8_t *pixels = make_pixels(WIDTH, HEIGHT, 4, 1);
  for (int32_t threads = 1; threads <= 3; ++threads) {
    long before_open = atomic_load(&allocations);
    tvmpose_handle *h = open_or_die(threads);
    CHECK(atomic_load(&allocations) > before_open); /* the count is alive */
    long before = atomic_load(&allocations);
    run_frames(h, pixels, inputs, outputs);
    long counted = atomic_load(&allocations) - before;
    if (counted) fprintf(stderr, "%ld allocations in %d frames on %d threads\n", counted, FRAMES, threads);
    CHECK(counted == 0);
    POSE_API()->close(h);
  }
  puts("ok");
  return 0;
}
