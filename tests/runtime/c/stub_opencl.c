/* stub_opencl.c - a libOpenCL.so.1 without a device behind it: counts what is created and released, and refuses the call
 * that it is told to. Kernels compute nothing; buffers are the host's memory.
 *
 * STUB_FAIL: the call, counted from 1, that fails; STUB_CODE: with which code. stub_live(): objects that are not released;
 * stub_calls(): calls so far; stub_reset() starts again. */
#include <stdlib.h>
#include <string.h>

#include "opencl_api.h"

enum { PLATFORM, CONTEXT, QUEUE, BUFFER, PROGRAM, KERNEL, EVENT };

typedef struct {
  int kind;
  size_t bytes;
  uint8_t *memory;
} object;

static int live, calls;

int stub_live(void) { return live; }
int stub_calls(void) { return calls; }
void stub_reset(void) { calls = 0; }

/* CL_SUCCESS, or the code that this call is to fail with. */
static cl_int next_call(void) {
  const char *fail = getenv("STUB_FAIL"), *code = getenv("STUB_CODE");
  ++calls;
  if (fail && atoi(fail) == calls) return code ? atoi(code) : CL_OUT_OF_RESOURCES;
  return CL_SUCCESS;
}

static void *make(int kind) {
  object *made = calloc(1, sizeof *made);
  made->kind = kind;
  ++live;
  return made;
}

static void *create(int kind, cl_int *code) {
  cl_int result = next_call();
  if (code) *code = result;
  return result == CL_SUCCESS ? make(kind) : NULL;
}

static cl_int release(void *released, int kind) {
  object *o = released;
  if (!o || o->kind != kind) abort(); /* twice, or of another kind */
  o->kind = -1;
  free(o->memory);
  free(o);
  --live;
  return CL_SUCCESS;
}

static cl_int answer(const void *value, size_t bytes, size_t room, void *out, size_t *size) {
  cl_int code = next_call();
  if (code != CL_SUCCESS) return code;
  if (size) *size = bytes;
  if (out && room < bytes) return CL_INVALID_VALUE;
  if (out) memcpy(out, value, bytes);
  return CL_SUCCESS;
}

cl_int clGetPlatformIDs(cl_uint room, cl_platform_id *platforms, cl_uint *count) {
  static int platform;
  if (room && platforms) platforms[0] = (cl_platform_id)(void *)&platform;
  if (count) *count = 1;
  return next_call();
}

cl_int clGetDeviceIDs(cl_platform_id platform, cl_bitfield type, cl_uint room, cl_device_id *devices, cl_uint *count) {
  static int device;
  (void)platform, (void)room;
  const char *only = getenv("STUB_NO_GPU");
  if (only && type == CL_DEVICE_TYPE_GPU) return CL_DEVICE_NOT_FOUND;
  if (devices) devices[0] = (cl_device_id)(void *)&device;
  if (count) *count = 1;
  return next_call();
}

cl_int clGetDeviceInfo(cl_device_id device, cl_uint what, size_t room, void *out, size_t *size) {
  (void)device;
  const char *threads = getenv("STUB_THREADS"), *align = getenv("STUB_ALIGN");
  size_t group = threads ? (size_t)atoi(threads) : 1024;
  cl_ulong memory = 1u << 30, local = 65536;
  cl_uint bits = align ? (cl_uint)atoi(align) : 1024;
  if (what == CL_DEVICE_MAX_WORK_GROUP_SIZE) return answer(&group, sizeof group, room, out, size);
  if (what == CL_DEVICE_MAX_MEM_ALLOC_SIZE) return answer(&memory, sizeof memory, room, out, size);
  if (what == CL_DEVICE_LOCAL_MEM_SIZE) return answer(&local, sizeof local, room, out, size);
  if (what == CL_DEVICE_MEM_BASE_ADDR_ALIGN) return answer(&bits, sizeof bits, room, out, size);
  return answer("stub", 5, room, out, size);
}

cl_context clCreateContext(const cl_context_property *properties, cl_uint count, const cl_device_id *devices,
                           void (*notify)(const char *, const void *, size_t, void *), void *data, cl_int *code) {
  (void)properties, (void)count, (void)devices, (void)notify, (void)data;
  return create(CONTEXT, code);
}
cl_int clReleaseContext(cl_context o) { return release(o, CONTEXT); }

cl_command_queue clCreateCommandQueue(cl_context context, cl_device_id device, cl_bitfield properties, cl_int *code) {
  (void)context, (void)device, (void)properties;
  return create(QUEUE, code);
}
cl_int clReleaseCommandQueue(cl_command_queue o) { return release(o, QUEUE); }

cl_mem clCreateBuffer(cl_context context, cl_bitfield flags, size_t bytes, void *host, cl_int *code) {
  (void)context, (void)flags, (void)host;
  object *made = create(BUFFER, code);
  if (made) made->bytes = bytes, made->memory = malloc(bytes);
  return (cl_mem)(void *)made;
}
cl_mem clCreateSubBuffer(cl_mem buffer, cl_bitfield flags, cl_uint type, const void *info, cl_int *code) {
  (void)flags, (void)type;
  const cl_buffer_region *region = info;
  if (region->origin % 128 || !region->size || region->origin + region->size > ((object *)(void *)buffer)->bytes)
    abort();
  return create(BUFFER, code);
}
cl_int clReleaseMemObject(cl_mem o) { return release(o, BUFFER); }

cl_program clCreateProgramWithSource(cl_context context, cl_uint count, const char **text, const size_t *sizes,
                                     cl_int *code) {
  (void)context, (void)count, (void)sizes;
  if (!strstr(text[0], "__kernel")) abort();
  return create(PROGRAM, code);
}
cl_program clCreateProgramWithBinary(cl_context context, cl_uint count, const cl_device_id *devices,
                                     const size_t *sizes, const unsigned char **binaries, cl_int *each, cl_int *code) {
  (void)context, (void)count, (void)devices;
  *each = sizes[0] == 4 && !memcmp(binaries[0], "stub", 4) ? CL_SUCCESS : CL_INVALID_BINARY;
  if (*each != CL_SUCCESS) return *code = CL_INVALID_BINARY, NULL;
  return create(PROGRAM, code);
}
cl_int clBuildProgram(cl_program program, cl_uint count, const cl_device_id *devices, const char *options,
                      void (*notify)(cl_program, void *), void *data) {
  (void)program, (void)count, (void)devices, (void)options, (void)notify, (void)data;
  return next_call();
}
cl_int clGetProgramBuildInfo(cl_program program, cl_device_id device, cl_uint what, size_t room, void *out,
                             size_t *size) {
  (void)program, (void)device, (void)what;
  return answer("<source>:1: error: no such thing\nmore", 38, room, out, size);
}
cl_int clGetProgramInfo(cl_program program, cl_uint what, size_t room, void *out, size_t *size) {
  (void)program;
  size_t bytes = 4;
  if (what == CL_PROGRAM_BINARY_SIZES) return answer(&bytes, sizeof bytes, room, out, size);
  memcpy(*(unsigned char **)out, "stub", 4);
  return next_call();
}
cl_int clReleaseProgram(cl_program o) { return release(o, PROGRAM); }

cl_kernel clCreateKernel(cl_program program, const char *name, cl_int *code) {
  (void)program, (void)name;
  return create(KERNEL, code);
}
cl_int clReleaseKernel(cl_kernel o) { return release(o, KERNEL); }
cl_int clSetKernelArg(cl_kernel kernel, cl_uint index, size_t bytes, const void *value) {
  (void)kernel, (void)index;
  if (bytes != sizeof(cl_mem) || !*(void *const *)value) abort();
  return next_call();
}

cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint axes, const size_t *from,
                              const size_t *global, const size_t *local, cl_uint waits, const cl_event *list,
                              cl_event *event) {
  (void)queue, (void)kernel, (void)from, (void)waits, (void)list;
  for (cl_uint i = 0; i < axes; ++i)
    if (!local[i] || global[i] % local[i]) abort();
  cl_int code = next_call();
  if (code == CL_SUCCESS && event) *event = make(EVENT);
  return code;
}

static object *checked(cl_mem buffer, size_t offset, size_t bytes) {
  object *o = (object *)(void *)buffer;
  if (!o || o->kind != BUFFER || offset + bytes > o->bytes) abort();
  return o;
}

cl_int clEnqueueWriteBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t bytes,
                            const void *from, cl_uint waits, const cl_event *list, cl_event *event) {
  (void)queue, (void)blocking, (void)waits, (void)list, (void)event;
  memcpy(checked(buffer, offset, bytes)->memory + offset, from, bytes);
  return next_call();
}
cl_int clEnqueueReadBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t bytes,
                           void *to, cl_uint waits, const cl_event *list, cl_event *event) {
  (void)queue, (void)blocking, (void)waits, (void)list, (void)event;
  memcpy(to, checked(buffer, offset, bytes)->memory + offset, bytes);
  return next_call();
}
cl_int clEnqueueFillBuffer(cl_command_queue queue, cl_mem buffer, const void *pattern, size_t size, size_t offset,
                           size_t bytes, cl_uint waits, const cl_event *list, cl_event *event) {
  (void)queue, (void)size, (void)waits, (void)list, (void)event;
  memset(checked(buffer, offset, bytes)->memory + offset, *(const char *)pattern, bytes);
  return next_call();
}
cl_int clFinish(cl_command_queue queue) { return queue ? CL_SUCCESS : CL_INVALID_VALUE; }
cl_int clWaitForEvents(cl_uint count, const cl_event *events) {
  if (count != 1 || !events[0]) abort();
  return next_call();
}
cl_int clGetEventProfilingInfo(cl_event event, cl_uint what, size_t room, void *out, size_t *size) {
  cl_ulong time = what == CL_PROFILING_COMMAND_END ? 1500 : 1000;
  (void)event;
  return answer(&time, sizeof time, room, out, size);
}
cl_int clReleaseEvent(cl_event o) { return release(o, EVENT); }
