/* no_system_calls.c - a frame on one thread asks nothing of the kernel: any call but read, write and exit kills us. */
#define _GNU_SOURCE 1 /* syscall */
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

enum { WIDTH = 64, HEIGHT = 48 };

int main(void) {
  const tvmpose_api *api = POSE_API();
  const tvmpose_box box = {4, 4, 30, 40};
  tvmpose_handle *h = open_or_die(1);
  tvmpose_image image = {make_pixels(WIDTH, HEIGHT, 3, 1), NULL, WIDTH, HEIGHT, 0, 0, TVMPOSE_RGB};
  tvmpose_result result;
  CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
  int failed = 0;
  for (int frame = 0; frame < 3; ++frame) failed |= api->run_image(h, &image, frame ? &box : NULL, frame != 0, &result);
  failed |= api->reset(h);
  if (!failed) failed = write(STDOUT_FILENO, "ok\n", 3) != 3;
  syscall(SYS_exit, failed); /* exit_group is not allowed */
}
