/* test_threads.c - several handles at once, and two threads at one handle. Meant for -fsanitize=thread. */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

#include "check.h"

enum { HANDLES = 4, FRAMES = 40, WIDTH = 64, HEIGHT = 48 };
static const tvmpose_api *api;

typedef struct {
  const uint8_t *pixels;
  tvmpose_keypoint *keypoints; /* what a handle of its own finds in a first frame */
} expectation;

static size_t keypoint_bytes(void) { return (size_t)api->info()->num_keypoints * sizeof(tvmpose_keypoint); }

static int run(tvmpose_handle *h, const uint8_t *pixels, tvmpose_result *result) {
  tvmpose_image image = {pixels, NULL, WIDTH, HEIGHT, 0, 0, TVMPOSE_RGB};
  return api->run_image(h, &image, NULL, 0, result);
}

static expectation expect(unsigned seed) {
  expectation e = {make_pixels(WIDTH, HEIGHT, 3, seed), zeroed(keypoint_bytes())};
  tvmpose_handle *h = open_or_die(1);
  tvmpose_result result;
  CHECK(run(h, e.pixels, &result) == TVMPOSE_OK);
  memcpy(e.keypoints, result.people[0].keypoints, keypoint_bytes());
  api->close(h);
  return e;
}

static void *use_own_handle(void *argument) {
  const expectation *e = argument;
  tvmpose_handle *h = open_or_die(2);
  tvmpose_result result;
  for (int frame = 0; frame < FRAMES; ++frame) {
    CHECK(api->reset(h) == TVMPOSE_OK && run(h, e->pixels, &result) == TVMPOSE_OK);
    CHECK(!memcmp(result.people[0].keypoints, e->keypoints, keypoint_bytes()));
    if (frame % 16 == 7) CHECK(api->set_threads(h, 1 + frame % 3) == TVMPOSE_OK);
  }
  api->close(h);
  return NULL;
}

static void test_handles_at_once(void) {
  expectation expectations[HANDLES];
  pthread_t threads[HANDLES];
  for (unsigned i = 0; i < HANDLES; ++i) expectations[i] = expect(i);
  for (int i = 0; i < HANDLES; ++i) CHECK(!pthread_create(&threads[i], NULL, use_own_handle, &expectations[i]));
  for (int i = 0; i < HANDLES; ++i) {
    CHECK(!pthread_join(threads[i], NULL));
    free((void *)(uintptr_t)expectations[i].pixels);
    free(expectations[i].keypoints);
  }
}

/* Two threads at one handle: each call is served or refused, never mixed up. */
static void *share_handle(void *argument) {
  tvmpose_handle *h = argument;
  uint8_t *pixels = make_pixels(WIDTH, HEIGHT, 3, 3);
  tvmpose_result result;
  for (int frame = 0; frame < FRAMES; ++frame) {
    int status = run(h, pixels, &result);
    CHECK(status == TVMPOSE_OK || status == TVMPOSE_BUSY);
    if (status) CHECK(strstr(api->last_error(h), "another thread"));
  }
  free(pixels);
  return NULL;
}

static void test_shared_handle(void) {
  tvmpose_handle *h = open_or_die(2);
  pthread_t other;
  CHECK(!pthread_create(&other, NULL, share_handle, h));
  share_handle(h);
  CHECK(!pthread_join(other, NULL));
  api->close(h);
}

#if TINY
static void *wait_inside(void *handle) {
  float input[3 * TINY_PIXELS] = {TINY_WAIT}, peaks[9], frames;
  CHECK(api->run_tensors(handle, (const void *[]){input}, (void *[]){peaks, &frames}) == TVMPOSE_OK);
  return NULL;
}

/* With a thread held inside, every call of another is refused. */
static void test_busy(void) {
  tvmpose_handle *h = open_or_die(2);
  pthread_t inside;
  tvmpose_result result;
  CHECK(!pthread_create(&inside, NULL, wait_inside, h));
  while (!atomic_load(&tiny_inside)) sched_yield();
  CHECK(api->run_image(h, NULL, NULL, 0, &result) == TVMPOSE_BUSY);
  CHECK(api->run_tensors(h, NULL, NULL) == TVMPOSE_BUSY);
  CHECK(api->set_threads(h, 1) == TVMPOSE_BUSY && api->threads(h) == 2);
  CHECK(api->reset(h) == TVMPOSE_BUSY);
  CHECK(!strcmp(api->last_error(h), "another thread is inside this handle"));
  atomic_store(&tiny_go, 1);
  CHECK(!pthread_join(inside, NULL));
  CHECK(api->reset(h) == TVMPOSE_OK && !api->last_error(h)[0]);
  api->close(h);
}
#endif

int main(void) {
  api = POSE_API();
  if (api->info()->num_keypoints) {
    test_handles_at_once();
    test_shared_handle();
  }
#if TINY
  test_busy();
#endif
  puts("ok");
  return 0;
}
