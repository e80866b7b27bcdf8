/* two_models.c - two libraries linked statically into one program, with an enemy of their shared names beside them. */
#include "check.h"

const tvmpose_api *other_tvmpose(void);

/* What TVM's loader would overwrite, were it ours. */
void *__TVMBackendParallelLaunch, *__TVMBackendAllocWorkspace, *__TVMBackendFreeWorkspace;
int TVMFFIErrorSetRaisedFromCStrParts(void) { abort(); }

static void run_interleaved(const tvmpose_api *first, const tvmpose_api *second) {
  tvmpose_handle *a, *b;
  uint8_t *pixels = make_pixels(16, 12, 3, 1);
  tvmpose_image image = {pixels, NULL, 16, 12, 0, 0, TVMPOSE_RGB};
  tvmpose_result of_a, of_b;
  CHECK(!first->open(NULL, &a) && !second->open(NULL, &b));
  for (int frame = 0; frame < 20; ++frame) {
    CHECK(!first->run_image(a, &image, NULL, 0, &of_a) && !second->run_image(b, &image, NULL, 0, &of_b));
    CHECK(!memcmp(of_a.people->keypoints, of_b.people->keypoints, 3 * sizeof(tvmpose_keypoint)));
  }
  first->close(a);
  second->close(b);
  free(pixels);
}

int main(void) {
  CHECK(tiny_tvmpose() != other_tvmpose());
  CHECK(!strcmp(tiny_tvmpose()->info()->name, "tiny") && !strcmp(other_tvmpose()->info()->name, "other"));
  run_interleaved(tiny_tvmpose(), other_tvmpose());
  puts("ok");
  return 0;
}
