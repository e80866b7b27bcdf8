/* test_gpu.c - open, frames of growing size, tensors and a profile with each OpenCL call failing in turn.
 *
 * Whatever fails: a status, one line, nothing left behind, and the next open or frame works. With the argument "open" it
 * only opens; status and line are printed of every open that fails. Linked with --wrap=dlopen and --wrap=mkstemp. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tvmpose.h"

const tvmpose_api *tiny_gpu_tvmpose(void);
int stub_live(void);
int stub_calls(void);
void stub_reset(void);

#define CHECK(condition)                                                                            \
  if (!(condition)) {                                                                               \
    fprintf(stderr, "%s:%d: %s (call %d, error \"%s\")\n", __FILE__, __LINE__, #condition, fail_at, \
            api->last_error(NULL));                                                                 \
    exit(1);                                                                                        \
  }

void *__real_dlopen(const char *name, int flags);
void *__wrap_dlopen(const char *name, int flags) { return getenv("NO_OPENCL") ? NULL : __real_dlopen(name, flags); }

/* Root may write anywhere: a folder that nobody can write to is pretended. */
int __real_mkstemp(char *path);
int __wrap_mkstemp(char *path) {
  return getenv("NO_FOLDER") && !strstr(path, "/tvmpose-tiny_gpu-") ? -1 : __real_mkstemp(path);
}

static uint8_t pixels[64 * 64 * 4];
static int fail_at;

static int frame(const tvmpose_api *api, tvmpose_handle *h, int side, int format) {
  tvmpose_image image = {.data = pixels, .width = side, .height = side, .format = format};
  tvmpose_box boxes[] = {{0, 0, 4, 4}, {1, 1, 2, 2}};
  tvmpose_result result;
  int status = api->run_image(h, &image, boxes, 2, &result);
  return status || result.num_people == 2 ? status : 100;
}

static int work(const tvmpose_api *api, tvmpose_handle *h) {
  float in[48] = {1, 2, 3}, out[6];
  const void *ins[] = {in};
  void *outs[] = {out};
  uint64_t times[3] = {0};
  int status = api->profile(h, NULL); /* work that failed may have left its own */
  if (!status) status = frame(api, h, 4, TVMPOSE_RGB);
  if (!status) status = frame(api, h, 64, TVMPOSE_NV12);
  if (!status) status = frame(api, h, 16, TVMPOSE_BGRA);
  if (!status) status = api->run_tensors(h, ins, outs);
  if (!status) status = api->profile(h, times);
  if (!status) status = frame(api, h, 4, TVMPOSE_RGB);
  if (!status && (times[0] != 2 * 500 || times[1] != 4 * 500)) status = 101;
  return status ? status : api->profile(h, NULL);
}

static void fail_call(int number) {
  char text[16];
  snprintf(text, sizeof text, "%d", number);
  setenv("STUB_FAIL", text, 1);
  fail_at = number;
  stub_reset();
}

static int open_only(const tvmpose_api *api) {
  tvmpose_handle *h = NULL;
  int status = api->open(NULL, &h);
  printf("%d %s\n", status, api->last_error(NULL));
  api->close(h);
  return stub_live();
}

int main(int count, char **arguments) {
  const tvmpose_api *api = tiny_gpu_tvmpose();
  if (count > 1 && !strcmp(arguments[1], "open")) return open_only(api);
  tvmpose_handle *h = NULL;
  fail_call(0);
  CHECK(api->check_cpu() == TVMPOSE_OK);
  stub_reset();
  CHECK(api->open(NULL, &h) == TVMPOSE_OK && work(api, h) == TVMPOSE_OK);
  CHECK(api->threads(h) == 1 && api->set_threads(h, 4) == TVMPOSE_OK && api->threads(h) == 1);
  const int total = stub_calls();
  api->close(h);
  CHECK(stub_live() == 0 && total > 50);
  for (int number = 1; number <= total; ++number) {
    h = NULL;
    fail_call(number);
    int status = api->open(NULL, &h);
    if (status) printf("%d %s\n", status, api->last_error(NULL));
    CHECK(status == TVMPOSE_OK || (!h && api->last_error(NULL)[0] && !strchr(api->last_error(NULL), '\n')));
    if (h) {
      status = work(api, h);
      CHECK(status == TVMPOSE_OK || (status < 100 && api->last_error(h)[0] && !strchr(api->last_error(h), '\n')));
      fail_call(0);
      status = work(api, h);
      CHECK(status == TVMPOSE_OK); /* the handle lives on */
      api->close(h);
    }
    CHECK(stub_live() == 0);
  }
  printf("%d calls\n", total);
  return 0;
}
