/* test_cuda.c - a program that uses cuda_model.c as programs use a bundle: two handles at once, frames of two sizes, a
 * larger one than open() made room for, tensors, times. Prints "ok", or the line of the first failure. */
#include <pthread.h>

#define POSE_API small_tvmpose
#include "check.h"

static int report(int status, const tvmpose_handle *handle) {
  if (status) printf("%d %s\n", status, POSE_API()->last_error(handle));
  return status;
}

static int use(tvmpose_handle *handle) {
  static uint8_t pixels[64 * 48 * 3];
  float x[64] = {1}, y[64];
  uint64_t nanoseconds[3] = {0};
  tvmpose_result result = {0};
  tvmpose_image frame = {.data = pixels, .width = 16, .height = 12, .format = TVMPOSE_RGB};
  const tvmpose_box boxes[2] = {{0, 0, 8, 8}, {4, 2, 8, 8}};
  const tvmpose_api *api = POSE_API();
  int status = api->run_image(handle, &frame, NULL, 0, &result);
  if (!status) CHECK(result.num_people == 1 && result.people[0].keypoints[0].x == 0); /* the GPU's zeroed memory */
  if (!status) status = api->run_image(handle, &frame, boxes, 2, &result);
  frame.width = 64, frame.height = 48; /* 9216 bytes, where open() made room for 4096 */
  if (!status) status = api->run_image(handle, &frame, NULL, 0, &result);
  frame.format = TVMPOSE_NV12;
  if (!status) status = api->run_image(handle, &frame, NULL, 0, &result);
  if (!status) status = api->run_tensors(handle, (const void *[]){x}, (void *[]){y});
  if (!status) status = api->profile(handle, nanoseconds);
  if (!status) status = api->run_image(handle, &frame, NULL, 0, &result);
  if (!status) status = api->profile(handle, NULL);
  if (!status) CHECK(nanoseconds[0] == 244 && nanoseconds[1] == 244 && nanoseconds[2] == 488);
  return report(status, handle);
}

static void *use_in_thread(void *handle) { return use(handle) ? handle : NULL; }

int main(void) {
  const tvmpose_api *api = POSE_API();
  tvmpose_handle *first, *second;
  if (report(api->check_cpu(), NULL) || report(api->open(NULL, &first), NULL)) return 0;
  if (report(api->open(NULL, &second), NULL)) return api->close(first), 0;
  pthread_t thread;
  void *failed;
  CHECK(!pthread_create(&thread, NULL, use_in_thread, second));
  int status = use(first);
  CHECK(!pthread_join(thread, &failed));
  api->close(first);
  if (!status && !failed) status = use(second); /* by another thread than before */
  api->close(second);
  if (!status && !failed) puts("ok");
}
