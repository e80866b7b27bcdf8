/* measure.h - what the generated tables of a measuring program are made of. */
#include "model.h"

#include <stdbool.h>

typedef struct {
  DLDataType dtype;
  int32_t ndim;
  const int64_t *shape;
  uint64_t bytes, offset; /* in DATA */
  bool result;
} measured_tensor;
