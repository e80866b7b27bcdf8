/* stub_cuda.c - a stand-in for libcuda.so.1 that runs no kernel but minds the rules: every call inside of a context, launches
 * as the code itself says, arguments that point into memory which is still there, nothing but launches in a capture,
 * nothing freed twice or while it is in use, nothing left at the end. Copies are done, those of pinned memory only when the
 * stream is waited for.
 *
 * STUB_CUDA in the environment, of these words: no_device, no_cubins (as of a CUDA that is too new), capability=53, version=10020, allocation=N (the N-th has no
 * memory), FUNCTION=CODE or FUNCTION=CODE@N (its N-th call fails). STUB_CUDA_COUNTS names a file for what was done.
 * Without STUB_GRAPHS there are no graphs, as before CUDA 10, with STUB_ANCIENT not even pinned memory. */
#include "stub_cuda.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int CUresult;
enum { OUT_OF_MEMORY = 2, NO_DEVICE = 100, NOT_FOUND = 500 };
enum { MOST = 4096, MOST_ARGUMENTS = 32, STACK = 8 };

typedef enum { DEVICE_MEMORY, PINNED, MODULE, STREAM, EVENT, GRAPH, EXECUTABLE } kind;
static const char *const kind_names[] = {"device memory", "pinned memory", "module",          "stream",
                                         "event",         "graph",         "executable graph"};

typedef struct {
  const stub_kernel *kernel;
  uintptr_t arguments[MOST_ARGUMENTS];
} recorded_launch;

typedef struct {
  void *to;
  const void *from;
  size_t bytes;
} waiting_copy;

typedef struct object {
  kind is;
  void *memory; /* what the caller holds */
  size_t bytes;
  stub_code *code;
  struct object *user; /* of memory: the last stream that was told of it */
  bool capturing, busy, recorded;
  recorded_launch *launches;
  int num_launches;
  waiting_copy copies[64];
  int num_copies;
} object;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static object *objects[MOST];
static int retained;
static _Thread_local int depth, captures; /* contexts that this thread is in, captures that it began */
static struct {
  unsigned long allocations, launches, captured, graph_launches, uploads, downloads, upload_bytes, download_bytes,
      opened;
} counts;

void stub_violation(const char *format, ...) {
  va_list values;
  va_start(values, format);
  fprintf(stderr, "stub_cuda: ");
  vfprintf(stderr, format, values);
  fprintf(stderr, "\n");
  _exit(99);
}

/* ---- What is asked of it by the environment ---- */

static const char *setting(const char *name) {
  static _Thread_local char value[64];
  const char *all = getenv("STUB_CUDA");
  for (size_t length = strlen(name); all && *all; all += strcspn(all, " ")) {
    all += strspn(all, " ");
    if (!strncmp(all, name, length) && strchr("= ", all[length])) {
      snprintf(value, sizeof value, "%.*s", (int)strcspn(all + length + (all[length] == '='), " "),
               all + length + (all[length] == '='));
      return value;
    }
  }
  return NULL;
}

static int number(const char *name, int otherwise) {
  const char *value = setting(name);
  return value ? atoi(value) : otherwise;
}

/* The failure that this call of the function is to have, or 0. */
static CUresult asked_failure(const char *function, unsigned long *calls) {
  const char *value = setting(function), *at = value ? strchr(value, '@') : NULL;
  ++*calls;
  if (!value || (at && (unsigned long)atoi(at + 1) != *calls)) return 0;
  return atoi(value);
}

static CUresult enter(const char *function, unsigned long *calls, bool in_context) {
  pthread_mutex_lock(&lock);
  if (in_context && (!depth || !retained)) stub_violation("%s without a context", function);
  return asked_failure(function, calls);
}

static CUresult leave(CUresult result) { return pthread_mutex_unlock(&lock), result; }

/* Begins a function: from here on it holds the lock, until leave(). */
#define ENTER(in_context)                                \
  static unsigned long calls;                            \
  CUresult result = enter(__func__, &calls, in_context); \
  if (result) return leave(result)

/* ---- Objects ---- */

static object *add(kind is, void *memory, size_t bytes) {
  for (int i = 0; i < MOST; ++i)
    if (!objects[i]) {
      objects[i] = calloc(1, sizeof *objects[i]);
      *objects[i] = (object){.is = is, .memory = memory ? memory : objects[i], .bytes = bytes};
      return objects[i];
    }
  stub_violation("more than %d objects", MOST);
}

static object *find(kind is, const void *memory, const char *function) {
  for (int i = 0; i < MOST; ++i)
    if (objects[i] && objects[i]->is == is && objects[i]->memory == memory) return objects[i];
  stub_violation("%s of what is no %s, or no more", function, kind_names[is]);
}

/* The memory that so many bytes at the address are part of, or NULL. */
static object *around(kind is, uintptr_t address, size_t bytes) {
  for (int i = 0; i < MOST; ++i)
    if (objects[i] && objects[i]->is == is) {
      uintptr_t start = (uintptr_t)objects[i]->memory;
      if (address >= start && address + bytes <= start + objects[i]->bytes) return objects[i];
    }
  return NULL;
}

static void forget(object *gone) {
  for (int i = 0; i < MOST; ++i)
    if (objects[i] == gone) objects[i] = NULL;
  free(gone->code);
  free(gone->launches);
  if (gone->is == DEVICE_MEMORY || gone->is == PINNED) free(gone->memory);
  free(gone);
}

/* In the mode in which streams are captured here it is only the capturing thread that must not. */
static void refuse_in_capture(const char *function) {
  if (captures) stub_violation("%s while a stream is captured", function);
}

static void use(object *stream, object *memory) {
  stream->busy = true;
  memory->user = stream;
}

static CUresult allocate(kind is, size_t bytes, void **memory, const char *function) {
  refuse_in_capture(function);
  if (!bytes) stub_violation("%s of no bytes", function);
  if ((int)++counts.allocations == number("allocation", 0)) return OUT_OF_MEMORY;
  *memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (!*memory) return OUT_OF_MEMORY;
  memset(*memory, 0xa5, bytes);
  add(is, *memory, bytes);
  return 0;
}

static void release(kind is, void *memory, const char *function) {
  refuse_in_capture(function);
  object *gone = find(is, memory, function);
  if (gone->user && gone->user->busy) stub_violation("%s while work with it is under way", function);
  for (int i = 0; is == STREAM && i < MOST; ++i)
    if (objects[i] && objects[i]->user == gone) objects[i]->user = NULL;
  forget(gone);
}

/* ---- The driver and its devices ---- */

CUresult cuInit(unsigned flags) {
  ENTER(false);
  return leave(flags || setting("no_device") ? NO_DEVICE : 0);
}

CUresult cuDriverGetVersion(int *version) { return *version = number("version", 11040), 0; }

CUresult cuGetErrorName(CUresult code, const char **name) {
  static const struct {
    CUresult code;
    const char *name;
  } names[] = {{2, "CUDA_ERROR_OUT_OF_MEMORY"},
               {200, "CUDA_ERROR_INVALID_IMAGE"},
               {209, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
               {218, "CUDA_ERROR_INVALID_PTX"},
               {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"},
               {500, "CUDA_ERROR_NOT_FOUND"},
               {700, "CUDA_ERROR_ILLEGAL_ADDRESS"},
               {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"}};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i)
    if (names[i].code == code) return *name = names[i].name, 0;
  return *name = NULL, 1;
}

CUresult cuDeviceGetCount(int *count) { return *count = 1, 0; }
CUresult cuDeviceGet(int *device, int ordinal) { return *device = ordinal, ordinal ? 101 : 0; }

CUresult cuDeviceGetName(char *name, int room, int device) {
  snprintf(name, (size_t)room, "Stub sm_%d", number("capability", 87));
  return device;
}

CUresult cuDeviceGetAttribute(int *value, int attribute, int device) {
  int capability = number("capability", 87);
  *value = attribute == 1    ? 1024
           : attribute == 8  ? 49152
           : attribute == 75 ? capability / 10
           : attribute == 76 ? capability % 10
           : attribute == 97 ? (capability >= 70 ? 98304 : 49152)
                             : -1;
  return device || *value < 0;
}

/* ---- Contexts ---- */

CUresult cuDevicePrimaryCtxRetain(void **context, int device) {
  ENTER(false);
  ++retained;
  ++counts.opened;
  *context = &retained;
  return leave(device);
}

CUresult cuDevicePrimaryCtxRelease(int device) {
  ENTER(false);
  if (!retained--) stub_violation("a context is released that nobody has");
  for (int i = 0; !retained && i < MOST; ++i)
    if (objects[i]) stub_violation("%s is left when the context goes", kind_names[objects[i]->is]);
  return leave(device);
}

CUresult cuCtxPushCurrent_v2(void *context) {
  ENTER(false);
  if (context != &retained || !retained) stub_violation("a context is entered that nobody has");
  if (++depth > STACK) stub_violation("contexts are entered and never left");
  return leave(0);
}

CUresult cuCtxPopCurrent_v2(void **context) {
  ENTER(true);
  --depth;
  *context = &retained;
  return leave(0);
}

/* ---- Memory ---- */

CUresult cuMemAlloc_v2(uintptr_t *pointer, size_t bytes) {
  ENTER(true);
  return leave(allocate(DEVICE_MEMORY, bytes, (void **)pointer, __func__));
}

CUresult cuMemFree_v2(uintptr_t pointer) {
  ENTER(true);
  release(DEVICE_MEMORY, (void *)pointer, __func__);
  return leave(0);
}

#ifndef STUB_ANCIENT
CUresult cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags) {
  ENTER(true);
  return leave(flags ? 1 : allocate(PINNED, bytes, pointer, __func__));
}
#endif

CUresult cuMemFreeHost(void *pointer) {
  ENTER(true);
  release(PINNED, pointer, __func__);
  return leave(0);
}

CUresult cuMemsetD8Async(uintptr_t at, unsigned char value, size_t bytes, void *stream) {
  ENTER(true);
  object *memory = around(DEVICE_MEMORY, at, bytes);
  if (!memory) stub_violation("%s beyond the memory", __func__);
  use(find(STREAM, stream, __func__), memory);
  memset((void *)at, value, bytes);
  return leave(0);
}

/* From or to pinned memory it is done when the stream comes to it: at the latest when somebody waits. */
static void copy(void *to, const void *from, size_t bytes, object *pinned, void *stream, const char *function) {
  refuse_in_capture(function);
  object *s = find(STREAM, stream, function);
  s->busy = true;
  if (!pinned) {
    memcpy(to, from, bytes);
    return;
  }
  use(s, pinned);
  if (s->num_copies == sizeof s->copies / sizeof *s->copies) stub_violation("nobody waits for the copies");
  s->copies[s->num_copies++] = (waiting_copy){to, from, bytes};
}

CUresult cuMemcpyHtoDAsync_v2(uintptr_t to, const void *from, size_t bytes, void *stream) {
  ENTER(true);
  object *memory = around(DEVICE_MEMORY, to, bytes);
  if (!memory) stub_violation("%s beyond the memory", __func__);
  copy((void *)to, from, bytes, around(PINNED, (uintptr_t)from, bytes), stream, __func__);
  use(find(STREAM, stream, __func__), memory);
  ++counts.uploads;
  counts.upload_bytes += bytes;
  return leave(0);
}

CUresult cuMemcpyDtoHAsync_v2(void *to, uintptr_t from, size_t bytes, void *stream) {
  ENTER(true);
  object *memory = around(DEVICE_MEMORY, from, bytes);
  if (!memory) stub_violation("%s beyond the memory", __func__);
  copy(to, (const void *)from, bytes, around(PINNED, (uintptr_t)to, bytes), stream, __func__);
  use(find(STREAM, stream, __func__), memory);
  ++counts.downloads;
  counts.download_bytes += bytes;
  return leave(0);
}

/* ---- Streams and events ---- */

static void finish(object *stream) {
  for (int i = 0; i < stream->num_copies; ++i)
    memcpy(stream->copies[i].to, stream->copies[i].from, stream->copies[i].bytes);
  stream->num_copies = 0;
  stream->busy = false;
}

CUresult cuStreamCreate(void **stream, unsigned flags) {
  ENTER(true);
  *stream = add(STREAM, NULL, 0)->memory;
  return leave(flags != 1);
}

CUresult cuStreamDestroy_v2(void *stream) {
  ENTER(true);
  release(STREAM, stream, __func__);
  return leave(0);
}

CUresult cuStreamSynchronize(void *stream) {
  static unsigned long calls;
  CUresult result = enter(__func__, &calls, true);
  refuse_in_capture(__func__);
  finish(find(STREAM, stream, __func__)); /* after a failure, too, nothing is under way any more */
  return leave(result);
}

CUresult cuEventCreate(void **event, unsigned flags) {
  ENTER(true);
  *event = add(EVENT, NULL, 0)->memory;
  return leave((CUresult)flags);
}

CUresult cuEventDestroy_v2(void *event) {
  ENTER(true);
  release(EVENT, event, __func__);
  return leave(0);
}

CUresult cuEventRecord(void *event, void *stream) {
  ENTER(true);
  refuse_in_capture(__func__);
  find(STREAM, stream, __func__);
  find(EVENT, event, __func__)->recorded = true;
  return leave(0);
}

CUresult cuEventSynchronize(void *event) {
  ENTER(true);
  if (!find(EVENT, event, __func__)->recorded) stub_violation("%s before it is recorded", __func__);
  return leave(0);
}

/* A quarter of a microsecond, which a float holds exactly. */
CUresult cuEventElapsedTime(float *milliseconds, void *start, void *end) {
  ENTER(true);
  if (!find(EVENT, start, __func__)->recorded || !find(EVENT, end, __func__)->recorded)
    stub_violation("%s before they are recorded", __func__);
  *milliseconds = 0.000244140625f;
  return leave(0);
}

/* ---- Code and launches ---- */

CUresult cuModuleLoadData(void **module, const void *image) {
  ENTER(true);
  stub_code *code = malloc(sizeof *code);
  if (setting("no_cubins") && *(const char *)image == 0x7f) result = 200;
  else result = stub_read_code(image, number("capability", 87), number("version", 11040), code);
  if (result) return free(code), leave(result);
  object *added = add(MODULE, NULL, 0);
  added->code = code;
  *module = added->memory;
  return leave(0);
}

CUresult cuModuleUnload(void *module) {
  ENTER(true);
  release(MODULE, module, __func__);
  return leave(0);
}

CUresult cuModuleGetFunction(void **function, void *module, const char *name) {
  ENTER(true);
  stub_code *code = find(MODULE, module, __func__)->code;
  for (int32_t i = 0; i < code->num_kernels; ++i)
    if (!strcmp(code->kernels[i].name, name)) return *function = &code->kernels[i], leave(0);
  return leave(NOT_FOUND);
}

CUresult cuFuncSetAttribute(void *function, int attribute, int value) {
  ENTER(true);
  return leave(!function || attribute != 8 || value < 0);
}

static void use_arguments(object *stream, const recorded_launch *launch) {
  for (uint32_t i = 0; i < launch->kernel->parameter_bytes / 8; ++i) {
    object *memory = around(DEVICE_MEMORY, launch->arguments[i], 1);
    if (!memory) stub_violation("argument %u of %s points to no memory, or it is gone", i, launch->kernel->name);
    if (!stream->capturing) use(stream, memory);
  }
}

static void check_dimensions(const stub_kernel *kernel, const unsigned grid[3], const unsigned block[3],
                             unsigned shared) {
  unsigned long threads = (unsigned long)block[0] * block[1] * block[2];
  if (!threads || threads > kernel->max_threads)
    stub_violation("%s with %lu threads in a block, it is for %u", kernel->name, threads, kernel->max_threads);
  if (!grid[0] || !grid[1] || !grid[2] || grid[0] > 0x7fffffff || grid[1] > 65535 || grid[2] > 65535 || block[2] > 64)
    stub_violation("%s with a grid of %u x %u x %u", kernel->name, grid[0], grid[1], grid[2]);
  if (kernel->static_shared + shared > (number("capability", 87) >= 70 ? 98304u : 49152u))
    stub_violation("%s with %u bytes of shared memory", kernel->name, kernel->static_shared + shared);
}

CUresult cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                        unsigned block_y, unsigned block_z, unsigned shared, void *stream, void **parameters,
                        void **extra) {
  ENTER(true);
  object *s = find(STREAM, stream, __func__);
  recorded_launch launch = {.kernel = function};
  check_dimensions(function, (unsigned[]){grid_x, grid_y, grid_z}, (unsigned[]){block_x, block_y, block_z}, shared);
  uint32_t count = launch.kernel->parameter_bytes / 8;
  if (extra || count > MOST_ARGUMENTS) stub_violation("%s has %u arguments", launch.kernel->name, count);
  for (uint32_t i = 0; i < count; ++i) memcpy(&launch.arguments[i], parameters[i], sizeof(uintptr_t));
  use_arguments(s, &launch);
  if (!s->capturing) return ++counts.launches, leave(0);
  s->launches = realloc(s->launches, (size_t)(s->num_launches + 1) * sizeof launch);
  s->launches[s->num_launches++] = launch;
  ++counts.captured;
  return leave(0);
}

/* ---- Graphs ---- */

#ifdef STUB_GRAPHS
CUresult cuStreamBeginCapture_v2(void *stream, int mode) {
  ENTER(true);
  object *s = find(STREAM, stream, __func__);
  if (s->capturing || mode != 1) stub_violation("%s in mode %d", __func__, mode);
  s->capturing = true;
  ++captures;
  return leave(0);
}

CUresult cuStreamEndCapture(void *stream, void **graph) {
  static unsigned long calls;
  CUresult result = enter(__func__, &calls, true);
  object *s = find(STREAM, stream, __func__);
  if (!s->capturing) stub_violation("%s without a beginning", __func__);
  s->capturing = false; /* a capture that failed is over, too */
  --captures;
  object *added = result ? NULL : add(GRAPH, NULL, 0);
  if (added) added->launches = s->launches, added->num_launches = s->num_launches;
  else free(s->launches);
  s->launches = NULL;
  s->num_launches = 0;
  *graph = added;
  return leave(result);
}

static void *executable_of(void *graph, const char *function) {
  object *from = find(GRAPH, graph, function), *added = add(EXECUTABLE, NULL, 0);
  if (!from->num_launches) stub_violation("a graph of nothing");
  size_t bytes = (size_t)from->num_launches * sizeof *from->launches;
  added->launches = memcpy(malloc(bytes), from->launches, bytes);
  added->num_launches = from->num_launches;
  return added->memory;
}

#if STUB_GRAPHS >= 11
CUresult cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
  ENTER(true);
  *executable = executable_of(graph, __func__);
  return leave(flags != 0);
}
#endif

CUresult cuGraphInstantiate(void **executable, void *graph, void **culprit, char *log, size_t room) {
  ENTER(true);
  *executable = executable_of(graph, __func__);
  *culprit = NULL;
  if (room) log[0] = '\0';
  return leave(0);
}

CUresult cuGraphLaunch(void *executable, void *stream) {
  ENTER(true);
  refuse_in_capture(__func__);
  object *e = find(EXECUTABLE, executable, __func__);
  object *s = find(STREAM, stream, __func__);
  for (int i = 0; i < e->num_launches; ++i) use_arguments(s, &e->launches[i]);
  counts.launches += (unsigned long)e->num_launches;
  ++counts.graph_launches;
  return leave(0);
}

CUresult cuGraphExecDestroy(void *executable) {
  ENTER(true);
  release(EXECUTABLE, executable, __func__);
  return leave(0);
}

CUresult cuGraphDestroy(void *graph) {
  ENTER(true);
  release(GRAPH, graph, __func__);
  return leave(0);
}
#endif

__attribute__((destructor)) static void at_exit(void) {
  const char *path = getenv("STUB_CUDA_COUNTS");
  FILE *file = path ? fopen(path, "w") : NULL;
  if (file) {
    fprintf(file,
            "{\"opened\": %lu, \"allocations\": %lu, \"launches\": %lu, \"captured\": %lu, \"graph_launches\": %lu, "
            "\"uploads\": %lu, \"upload_bytes\": %lu, \"downloads\": %lu, \"download_bytes\": %lu}\n",
            counts.opened, counts.allocations, counts.launches, counts.captured, counts.graph_launches, counts.uploads,
            counts.upload_bytes, counts.downloads, counts.download_bytes);
    fclose(file);
  }
  if (retained) stub_violation("%d contexts are left at the end", retained);
}
