/* Tensors on stdin, one after the other, through the network called "net" on one thread; its outputs on stdout. */
#include <stdio.h>
#include <stdlib.h>

#include "tvmpose.h"

const tvmpose_api *net_tvmpose(void);

static void *memory(size_t bytes) {
  void *const allocated = malloc(bytes ? bytes : 1);
  if (!allocated) exit(2);
  return allocated;
}

int main(void) {
  const tvmpose_api *const api = net_tvmpose();
  const tvmpose_info *const info = api->info();
  const tvmpose_options options = {.struct_size = sizeof options, .threads = 1};
  const void **const inputs = memory((size_t)info->num_inputs * sizeof *inputs);
  void **const outputs = memory((size_t)info->num_outputs * sizeof *outputs);
  tvmpose_handle *handle;

  if (api->open(&options, &handle)) return fprintf(stderr, "%s\n", api->last_error(NULL)), 1;
  for (int i = 0; i < info->num_inputs; i++) {
    const size_t bytes = (size_t)info->inputs[i].bytes;
    void *const tensor = memory(bytes);
    if (fread(tensor, 1, bytes, stdin) != bytes) return 3;
    inputs[i] = tensor;
  }
  for (int i = 0; i < info->num_outputs; i++) outputs[i] = memory((size_t)info->outputs[i].bytes);
  if (api->run_tensors(handle, inputs, outputs)) return fprintf(stderr, "%s\n", api->last_error(handle)), 1;
  for (int i = 0; i < info->num_outputs; i++) fwrite(outputs[i], 1, (size_t)info->outputs[i].bytes, stdout);
  return 0;
}
