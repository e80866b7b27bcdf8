/* load.c - what tvmpose_load chooses on CPUs with the masks of features that are given, one a line; built with
 * -include NAME_libraries.h. As a shared library: pick(). */
#include <stdlib.h>

#include "tvmpose_load.h"

/* The target of the library that is chosen, or the error. */
const char *pick(const char *folder, const char *cpu, char *error, size_t size);
const char *pick(const char *folder, const char *cpu, char *error, size_t size) {
  setenv("FAKE_CPU", cpu, 1);
  const tvmpose_api *api = tvmpose_load(folder, fake_libraries, "fake_tvmpose", error, size);
  return api ? api->info()->target : error;
}

int main(int argc, char **argv) {
  char error[256];
  for (int i = 2; i < argc; ++i) puts(pick(argv[1][0] ? argv[1] : NULL, argv[i], error, sizeof error));
  return 0;
}
