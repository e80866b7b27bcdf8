/* measure.c - times kernels that were made for the same work, each in a process of its own.
 *
 *     measure DATA THREADS ROUNDS SECONDS LIMIT FLUSH [KERNEL]
 *
 * DATA holds the arguments of a call, the expected results behind them, at the offsets of the generated table. In each
 * round every kernel, or KERNEL alone, runs once to warm up and then REPEATS times as often as takes SECONDS; a kernel
 * that takes longer than LIMIT seconds is killed. FLUSH bytes are written over before each single call, where not 0.
 * For each kernel and round a line is printed:
 *
 *     KERNEL ok DIFFERENCE SECONDS ...     a call's time in each repeat; DIFFERENCE: see compare()
 *     KERNEL failed REASON
 *
 * SECONDS 0: it is called LIMIT times and not timed, for whoever counts instructions. */
#include "model.h"

#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "error.c"
#include "memory.c"
#include "pool.c"
#include "kernel_abi.c"

typedef struct {
  DLDataType dtype;
  int32_t ndim;
  const int64_t *shape;
  uint64_t bytes, offset; /* in DATA */
  bool result;
} measured_tensor;

#include "table.h" /* TENSORS, NUM_TENSORS, KERNELS, NUM_KERNELS, WORKSPACES */

enum { REPEATS = 3 };

typedef struct {
  const char *data;
  int threads, rounds, limit;
  double seconds;
  size_t flush;
} settings;

static const uint8_t *data;
static void *buffers[NUM_TENSORS];

/* Of one element, as a double: all that a kernel's results can be. */
static double element(const measured_tensor *tensor, const void *values, uint64_t i) {
  int bits = tensor->dtype.bits;
  switch (tensor->dtype.code) {
    case 2: return bits == 32 ? ((const float *)values)[i] : ((const double *)values)[i];
    case 0:
      return bits == 8    ? ((const int8_t *)values)[i]
             : bits == 16 ? ((const int16_t *)values)[i]
             : bits == 32 ? ((const int32_t *)values)[i]
                          : (double)((const int64_t *)values)[i];
    default: return bits == 8 ? ((const uint8_t *)values)[i] : ((const uint32_t *)values)[i];
  }
}

/* The largest difference from what is expected: of floats as a share of the largest expected value, else in steps. */
static double compare(void) {
  double worst = 0;
  for (int t = 0; t < NUM_TENSORS; ++t) {
    const measured_tensor *tensor = &TENSORS[t];
    if (!tensor->result) continue;
    double difference = 0, largest = 0;
    for (uint64_t i = 0, n = tensor->bytes * 8 / tensor->dtype.bits; i < n; ++i) {
      double expected = element(tensor, data + tensor->offset, i), found = element(tensor, buffers[t], i);
      double distance = fabs(expected - found);
      if (!(distance <= difference)) difference = distance; /* a NaN stays */
      if (fabs(expected) > largest) largest = fabs(expected);
    }
    if (tensor->dtype.code == 2 && difference > 0) difference = largest > 0 ? difference / largest : INFINITY;
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}

static void prepare(void) {
  for (int t = 0; t < NUM_TENSORS; ++t) {
    buffers[t] = allocate_block(TENSORS[t].bytes);
    if (!buffers[t]) printf("failed no memory for %llu bytes\n", (unsigned long long)TENSORS[t].bytes), exit(0);
    if (!TENSORS[t].result) memcpy(buffers[t], data + TENSORS[t].offset, TENSORS[t].bytes);
  }
}

static void call(pool *p, int kernel) {
  DLTensor tensors[NUM_TENSORS];
  TVMFFIAny arguments[NUM_TENSORS], result;
  for (int t = 0; t < NUM_TENSORS; ++t) {
    tensors[t] = (DLTensor){buffers[t], {1, 0}, TENSORS[t].ndim, TENSORS[t].dtype, (int64_t *)TENSORS[t].shape, 0, 0};
    arguments[t] = (TVMFFIAny){.type_index = 7, .v_ptr = &tensors[t]};
  }
  if (KERNELS[kernel](NULL, arguments, NUM_TENSORS, &result)) printf("failed %s\n", p->error), exit(0);
}

static void overwrite(volatile uint8_t *memory, size_t bytes) {
  for (size_t i = 0; i < bytes; i += CACHE_LINE) memory[i]++;
}

/* Seconds of `times` calls, without what flushes the cache between them. */
static double timed(pool *p, int kernel, int64_t times, uint8_t *flushed, size_t flush) {
  int64_t taken = 0, start = nanoseconds();
  if (!flush) {
    for (int64_t i = 0; i < times; ++i) call(p, kernel);
    return (double)(nanoseconds() - start) * 1e-9;
  }
  for (int64_t i = 0; i < times; ++i, taken += nanoseconds() - start) {
    overwrite(flushed, flush);
    start = nanoseconds();
    call(p, kernel);
  }
  return (double)taken * 1e-9;
}

/* In a process of its own, which has an alarm. */
static void measure(const settings *s, int kernel) {
  prepare();
  uint8_t *flushed = s->flush ? calloc(1, s->flush) : NULL;
  pool *p = s->flush && !flushed ? NULL : open_pool(s->threads, WORKSPACES[kernel]);
  if (!p) printf("failed no memory, or no threads\n"), exit(0);
  current_worker = &p->workers[0];
  if (s->seconds <= 0) {
    for (int i = 0; i < s->limit; ++i) call(p, kernel);
    printf("ok %.6g\n", compare());
    return;
  }
  double once = timed(p, kernel, 1, flushed, s->flush);
  double difference = compare();
  if (once < s->seconds) once = timed(p, kernel, 1, flushed, s->flush); /* the first one finds nothing in the caches */
  int64_t times = once > 0 ? (int64_t)ceil(s->seconds / once) : 1;
  if (times < 1) times = 1;
  printf("ok %.6g", difference);
  for (int i = 0; i < REPEATS; ++i) printf(" %.9g", timed(p, kernel, times, flushed, s->flush) / (double)times);
  printf("\n");
}

static void measure_apart(const settings *s, int kernel) {
  int status;
  printf("%d ", kernel);
  fflush(stdout);
  if (s->seconds <= 0) { /* QEMU's plugin counts this process alone */
    measure(s, kernel);
    return;
  }
  pid_t child = fork();
  if (child < 0) {
    printf("failed no process\n");
    return;
  }
  if (!child) {
    if (s->seconds > 0) alarm((unsigned)s->limit);
    measure(s, kernel);
    fflush(stdout);
    _exit(0);
  }
  while (waitpid(child, &status, 0) < 0) {
  }
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
    printf("failed not done after %d s\n", s->limit);
  else if (WIFSIGNALED(status))
    printf("failed signal %d\n", WTERMSIG(status));
}

static bool map_data(const char *path) {
  struct stat about;
  int file = open(path, O_RDONLY);
  if (file < 0 || fstat(file, &about) || (uint64_t)about.st_size < DATA_BYTES) return false;
  data = mmap(NULL, DATA_BYTES, PROT_READ, MAP_PRIVATE, file, 0);
  return data != MAP_FAILED;
}

int main(int argc, char **argv) {
  if (argc != 7 && argc != 8)
    return fprintf(stderr, "usage: %s DATA THREADS ROUNDS SECONDS LIMIT FLUSH [KERNEL]\n", argv[0]), 2;
  settings s = {argv[1], atoi(argv[2]), atoi(argv[3]), atoi(argv[5]), atof(argv[4]), strtoull(argv[6], NULL, 10)};
  if (s.threads < 1) s.threads = default_threads();
  if (!map_data(s.data)) return fprintf(stderr, "%s: missing or too short\n", s.data), 1;
  int only = argc == 8 ? atoi(argv[7]) : -1;
  if (only >= NUM_KERNELS) return fprintf(stderr, "there are %d kernels\n", NUM_KERNELS), 2;
  for (int round = 0; round < s.rounds; ++round)
    for (int kernel = 0; kernel < NUM_KERNELS; ++kernel)
      if (only < 0 || kernel == only) measure_apart(&s, kernel);
  return 0;
}
