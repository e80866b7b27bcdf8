/* frames.c - two frames with the library that a bundle's folder has for this machine, and the times of a third: prints the
 * library's target and the nose, or the error. Built with -include NAME_libraries.h and -DPOSE=NAME. */
#include "tvmpose_load.h"

#define JOIN(name, part) name##_##part
#define NAMED(name, part) JOIN(name, part)
#define TEXT(text) #text
#define TEXT_OF(text) TEXT(text)

static int report(int status, const tvmpose_api *api, const tvmpose_handle *handle) {
  if (status) printf("%d %s\n", status, api->last_error(handle));
  return status;
}

static int look(const tvmpose_api *api, tvmpose_handle *handle, const tvmpose_image *image) {
  tvmpose_result result = {0};
  const tvmpose_box boxes[] = {{0, 0, 32, 24}, {8, 4, 40, 30}};
  uint64_t times[512] = {0};
  int status = api->run_image(handle, image, NULL, 0, &result);
  if (!status) status = api->run_image(handle, image, boxes, 2, &result);
  if (!status) printf("%.3f %.3f\n", result.people[0].keypoints[0].x, result.people[0].keypoints[0].y);
  if (!status && api->info()->num_steps <= 512) status = api->profile(handle, times);
  if (!status) status = api->run_image(handle, image, NULL, 0, &result);
  return report(status ? status : api->profile(handle, NULL), api, handle);
}

int main(int argc, char **argv) {
  static uint8_t pixels[48 * 64 * 3];
  const tvmpose_image image = {.data = pixels, .width = 64, .height = 48, .format = TVMPOSE_RGB};
  char error[256];
  tvmpose_handle *handle;
  for (size_t i = 0; i < sizeof pixels; ++i) pixels[i] = (uint8_t)(i * 7);
  const char *folder = argc > 1 ? argv[1] : ".", *entry = TEXT_OF(POSE) "_tvmpose";
  const tvmpose_api *api = tvmpose_load(folder, NAMED(POSE, libraries), entry, error, sizeof error);
  if (!api) return puts(error), 1;
  puts(api->info()->target);
  if (report(api->open(NULL, &handle), api, NULL)) return 1;
  int status = look(api, handle, &image);
  api->close(handle);
  return status != 0;
}
