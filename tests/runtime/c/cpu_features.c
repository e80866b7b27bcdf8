/* cpu_features.c - prints the features that cpu.c finds here, one a line. */
#include "model.h"

#include <stdbool.h>
#include <string.h>

#include "error.c"
#include "cpu.c"

int main(void) {
  char error[ERROR_BYTES];
  for (int i = 0; i < NUM_CPU_FEATURES; ++i)
    if (!check_cpu(UINT64_C(1) << cpu_features[i].bit, error)) puts(cpu_features[i].name);
  return 0;
}
