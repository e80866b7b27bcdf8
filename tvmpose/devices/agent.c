/* agent.c - runs a bundle's library on a board for a program elsewhere:
 *
 *     agent libNAME.so NAME
 *
 * A request on standard input is three uint32: 'I', width, height, followed by the picture (BGR, no gaps); or 'T', 0, 0,
 * followed by the network's inputs. An answer on standard output is a uint32 status, one more before the first request.
 * Behind 0 come a uint32, how many people there are, and of each the score, box and keypoints as floats, or the network's
 * outputs; behind any other a uint32 length and so many bytes of text. Byte order is the board's. Ends with its input. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tvmpose.h"

enum { MAX_TENSORS = 1024 };

static int write_all(const void *data, size_t bytes) { return fwrite(data, 1, bytes, stdout) == bytes; }

static int answer(int status, const char *text) {
  uint32_t head[2] = {(uint32_t)status, text ? (uint32_t)strlen(text) : 0};
  return write_all(head, status ? sizeof head : sizeof *head) && (!status || write_all(text, head[1]));
}

static const tvmpose_api *load(const char *library, const char *name) {
  const tvmpose_api *(*entry)(void);
  char symbol[256];
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  snprintf(symbol, sizeof symbol, "%s_tvmpose", name);
  void *address = handle ? dlsym(handle, symbol) : NULL;
  if (!address) return NULL;
  memcpy(&entry, &address, sizeof entry); /* ISO C has no cast from an object to a function */
  return entry();
}

static int run_picture(const tvmpose_api *api, tvmpose_handle *pose, uint32_t width, uint32_t height) {
  size_t bytes = (size_t)width * height * 3;
  uint8_t *pixels = malloc(bytes ? bytes : 1);
  tvmpose_image image = {pixels, NULL, (int32_t)width, (int32_t)height, 0, 0, TVMPOSE_BGR};
  tvmpose_result result;
  int whole = pixels && fread(pixels, 1, bytes, stdin) == bytes;
  int status = whole ? api->run_image(pose, &image, NULL, 0, &result) : TVMPOSE_OUT_OF_MEMORY;
  free(pixels);
  if (status) return answer(status, whole ? api->last_error(pose) : "the picture did not arrive");
  uint32_t count = (uint32_t)result.num_people;
  int written = answer(0, NULL) && write_all(&count, sizeof count);
  for (uint32_t i = 0; i < count && written; ++i) {
    const tvmpose_person *person = &result.people[i];
    written = write_all(&person->score, sizeof person->score) && write_all(&person->box, sizeof person->box) &&
              write_all(person->keypoints, sizeof *person->keypoints * (size_t)api->info()->num_keypoints);
  }
  return written;
}

static int run_tensors(const tvmpose_api *api, tvmpose_handle *pose, void **inputs, void **outputs) {
  const tvmpose_info *info = api->info();
  for (int i = 0; i < info->num_inputs; ++i)
    if (fread(inputs[i], 1, info->inputs[i].bytes, stdin) != info->inputs[i].bytes) return 0;
  int status = api->run_tensors(pose, (const void *const *)inputs, outputs);
  int written = answer(status, status ? api->last_error(pose) : NULL);
  for (int i = 0; i < info->num_outputs && !status && written; ++i)
    written = write_all(outputs[i], info->outputs[i].bytes);
  return written;
}

static int allocate(void **tensors, const tvmpose_tensor_info *info, int count) {
  for (int i = 0; i < count; ++i)
    if (!(tensors[i] = malloc(info[i].bytes ? info[i].bytes : 1))) return 0;
  return 1;
}

int main(int argc, char **argv) {
  static void *inputs[MAX_TENSORS], *outputs[MAX_TENSORS]; /* freed with the process */
  tvmpose_handle *pose;
  uint32_t request[3];
  if (argc != 3) return fprintf(stderr, "usage: %s libNAME.so NAME\n", argv[0]), 2;

  const tvmpose_api *api = load(argv[1], argv[2]);
  if (!api) return answer(TVMPOSE_INVALID_ARGUMENT, dlerror()), 1;
  const tvmpose_info *info = api->info();
  if (info->num_inputs > MAX_TENSORS || info->num_outputs > MAX_TENSORS)
    return answer(TVMPOSE_CAPACITY, "more tensors than the agent holds"), 1;
  if (!allocate(inputs, info->inputs, info->num_inputs) || !allocate(outputs, info->outputs, info->num_outputs))
    return answer(TVMPOSE_OUT_OF_MEMORY, "no memory for the tensors"), 1;
  int status = api->open(NULL, &pose);
  if (status) return answer(status, api->last_error(NULL)), 1;

  int alive = answer(0, NULL);
  fflush(stdout);
  while (alive && fread(request, sizeof request, 1, stdin) == 1) {
    alive =
        request[0] == 'I' ? run_picture(api, pose, request[1], request[2]) : run_tensors(api, pose, inputs, outputs);
    fflush(stdout);
  }
  api->close(pose);
  return !alive;
}
