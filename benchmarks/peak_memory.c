/* peak_memory.c - the most memory that a process needs which does nothing but run a bundle:
 *
 *     cc -DPOSE=NAME_tvmpose -IBUNDLE peak_memory.c BUNDLE/libNAME.so
 *     ./a.out [-]
 *
 * Ten frames of 640 x 480 pixels of noise on one thread, then VmHWM, the peak of the resident set, in kB; with an
 * argument without having opened the bundle. */
#include <stdio.h>
#include <stdlib.h>

#include "tvmpose.h"

enum { WIDTH = 640, HEIGHT = 480, FRAMES = 10 };

const tvmpose_api *POSE(void);

static int run(const tvmpose_api *api) {
  static uint8_t pixels[WIDTH * HEIGHT * 3];
  const tvmpose_image image = {pixels, NULL, WIDTH, HEIGHT, 0, 0, TVMPOSE_RGB};
  const tvmpose_options options = {sizeof options, 1, 1};
  tvmpose_handle *pose;
  tvmpose_result result;
  for (size_t i = 0; i < sizeof pixels; ++i) pixels[i] = (uint8_t)rand();
  if (api->open(&options, &pose)) return puts(api->last_error(NULL)), 1;
  for (int i = 0; i < FRAMES; ++i)
    if (api->run_image(pose, &image, NULL, 0, &result)) return puts(api->last_error(pose)), 1;
  api->close(pose);
  return 0;
}

int main(int argc, char **argv) {
  char line[256];
  (void)argv;
  if (argc == 1 && run(POSE())) return 1;
  FILE *status = fopen("/proc/self/status", "r");
  int kilobytes, found = 0;
  while (status && !found && fgets(line, sizeof line, status)) found = sscanf(line, "VmHWM: %d", &kilobytes) == 1;
  if (!found) return 1;
  printf("%d\n", kilobytes);
  return 0;
}
