/* opencl.c - the backend for OpenCL 1.2 and later; for what its functions promise see gpu.h.
 *
 * A tensor is a sub-buffer of the arena, the weights or the frame. Each launch has a kernel object of its own, whose
 * arguments are set at open; one queue runs them in order. */
#include "opencl_driver.c"
#include "program_cache.c"

enum { CL_ARENA, CL_WEIGHTS, CL_FRAME, CL_PIECES };

typedef struct device {
  opencl_driver driver;
  const tvmpose_gpu *gpu;
  cl_context context;
  cl_command_queue queue, timed; /* timed: with times for each launch, made when a profile first asks for them */
  cl_program program;
  cl_mem pieces[CL_PIECES];
  cl_mem *tensors;    /* by tensor; NULL where it is none of the device's or has no launch */
  cl_kernel *kernels; /* by launch */
  uint8_t *staging;
  uint64_t frame_bytes;
} device;

static int32_t count_launches(const tvmpose_gpu *gpu) { return gpu->begins[TVMPOSE_PARTS]; }

/* -1: not on the device. */
static int piece_of(const tvmpose_tensor *tensor) {
  if (tensor->where == TVMPOSE_IN_DEVICE) return CL_ARENA;
  if (tensor->where == TVMPOSE_IN_DEVICE_WEIGHTS) return CL_WEIGHTS;
  return tensor->where == TVMPOSE_IN_FRAME ? CL_FRAME : -1;
}

static int check_device(const tvmpose_gpu *gpu, char *error) {
  opencl_driver driver;
  return open_driver(gpu, &driver, error);
}

static void close_device(device *d) {
  if (!d) return;
  const opencl_functions *cl = &d->driver.cl;
  if (d->queue) cl->clFinish(d->queue);
  for (int32_t i = 0; d->kernels && i < count_launches(d->gpu); ++i)
    if (d->kernels[i]) cl->clReleaseKernel(d->kernels[i]);
  for (int32_t i = 0; d->tensors && i < the_model()->num_tensors; ++i)
    if (d->tensors[i]) cl->clReleaseMemObject(d->tensors[i]);
  for (int i = 0; i < CL_PIECES; ++i)
    if (d->pieces[i]) cl->clReleaseMemObject(d->pieces[i]);
  if (d->program) cl->clReleaseProgram(d->program);
  if (d->timed) cl->clReleaseCommandQueue(d->timed);
  if (d->queue) cl->clReleaseCommandQueue(d->queue);
  if (d->context) cl->clReleaseContext(d->context);
  free(d->kernels);
  free(d->tensors);
  free(d->staging);
  free(d);
}

/* -cl-std: what TVM emits is OpenCL C 1.2. */
static const char build_options[] = "-cl-std=CL1.2 -cl-mad-enable";

static const char *source_of(const tvmpose_gpu *gpu) { return (const char *)gpu->code + gpu->images[0].offset; }

static uint64_t program_key(const device *d) {
  uint64_t hash = hash_text(CACHE_HASH_START, source_of(d->gpu));
  return hash_text(hash_text(hash_text(hash, d->driver.name), d->driver.version), build_options);
}

/* The driver's own words, as far as a line holds them. */
static int report_build(device *d, cl_int code, char *error) {
  char log[4096] = "", *line = log;
  d->driver.cl.clGetProgramBuildInfo(d->program, d->driver.id, CL_PROGRAM_BUILD_LOG, sizeof log - 1, log, NULL);
  char *found = strstr(log, "error");
  if (found) line = found;
  line[strcspn(line, "\r\n")] = '\0';
  char what[160];
  snprintf(what, sizeof what, "building the kernels (%.120s)", line[0] ? line : "no build log");
  return opencl_failure(&d->driver, what, code, error);
}

static bool build_from_cache(device *d, uint64_t key) {
  const opencl_functions *cl = &d->driver.cl;
  uint64_t bytes = 0;
  uint8_t *content = read_cache(key, &bytes);
  if (!content) return false;
  const size_t size = (size_t)bytes;
  const unsigned char *binary = content;
  cl_int of_binary = CL_INVALID_BINARY, code = CL_INVALID_BINARY;
  d->program = cl->clCreateProgramWithBinary(d->context, 1, &d->driver.id, &size, &binary, &of_binary, &code);
  if (code == CL_SUCCESS && of_binary == CL_SUCCESS)
    code = cl->clBuildProgram(d->program, 1, &d->driver.id, build_options, NULL, NULL);
  free(content);
  if (code == CL_SUCCESS && of_binary == CL_SUCCESS) return true;
  if (d->program) cl->clReleaseProgram(d->program); /* of another driver after all: the source is at hand */
  d->program = NULL;
  return false;
}

static void keep_program(const device *d, uint64_t key) {
  size_t bytes = 0;
  if (d->driver.cl.clGetProgramInfo(d->program, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, NULL) || !bytes) return;
  unsigned char *binary = malloc(bytes);
  if (binary && !d->driver.cl.clGetProgramInfo(d->program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL))
    write_cache(key, binary, bytes);
  free(binary);
}

static int build_program(device *d, char *error) {
  const opencl_functions *cl = &d->driver.cl;
  const uint64_t key = program_key(d);
  if (build_from_cache(d, key)) return TVMPOSE_OK;
  const char *source = source_of(d->gpu);
  cl_int code;
  d->program = cl->clCreateProgramWithSource(d->context, 1, &source, NULL, &code);
  if (code != CL_SUCCESS) return opencl_failure(&d->driver, "reading the kernels", code, error);
  code = cl->clBuildProgram(d->program, 1, &d->driver.id, build_options, NULL, NULL);
  if (code != CL_SUCCESS) return report_build(d, code, error);
  keep_program(d, key);
  return TVMPOSE_OK;
}

/* Filled with zeros, so that a driver that puts off getting memory has to get it now. */
static int allocate_piece(device *d, int piece, uint64_t bytes, char *error) {
  const opencl_functions *cl = &d->driver.cl;
  const char zero = 0;
  uint64_t most = device_number(&d->driver, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof(cl_ulong));
  cl_int code = CL_INVALID_BUFFER_SIZE;
  if (bytes <= most) d->pieces[piece] = cl->clCreateBuffer(d->context, CL_MEM_READ_WRITE, (size_t)bytes, NULL, &code);
  if (code == CL_SUCCESS)
    code = cl->clEnqueueFillBuffer(d->queue, d->pieces[piece], &zero, 1, 0, (size_t)bytes, 0, NULL, NULL);
  if (code == CL_SUCCESS) code = cl->clFinish(d->queue);
  if (code == CL_SUCCESS) return TVMPOSE_OK;
  char what[64];
  snprintf(what, sizeof what, "no memory for %llu bytes", (unsigned long long)bytes);
  return opencl_failure(&d->driver, what, code, error);
}

/* The sub-buffer of a tensor; pixels reach to the end of the frame. */
static int bind_tensor(device *d, uint16_t index, char *error) {
  const tvmpose_tensor *tensor = &the_model()->tensors[index];
  int piece = piece_of(tensor);
  if (d->tensors[index]) return TVMPOSE_OK;
  bool is_pixels = piece == CL_FRAME && tensor->info.bytes == 0;
  cl_buffer_region region = {(size_t)tensor->offset,
                             is_pixels ? (size_t)(d->frame_bytes - tensor->offset) : (size_t)tensor->info.bytes};
  cl_int code = CL_INVALID_VALUE;
  if (piece >= 0)
    d->tensors[index] = d->driver.cl.clCreateSubBuffer(d->pieces[piece], CL_MEM_READ_WRITE,
                                                       CL_BUFFER_CREATE_TYPE_REGION, &region, &code);
  return code == CL_SUCCESS ? TVMPOSE_OK : opencl_failure(&d->driver, "a part of a buffer", code, error);
}

/* Sets the arguments of all launches, or of those only that lie in the frame. */
static int bind_launches(device *d, bool frame_only, char *error) {
  const tvmpose_gpu *gpu = d->gpu;
  for (int32_t i = 0; i < count_launches(gpu); ++i) {
    const tvmpose_gpu_launch *launch = &gpu->launches[i];
    for (int32_t arg = 0; arg < gpu->kernels[launch->kernel].num_args; ++arg) {
      uint16_t tensor = launch->args[arg];
      if (frame_only && piece_of(&the_model()->tensors[tensor]) != CL_FRAME) continue;
      int status = bind_tensor(d, tensor, error);
      if (status) return status;
      cl_int code = d->driver.cl.clSetKernelArg(d->kernels[i], (cl_uint)arg, sizeof(cl_mem), &d->tensors[tensor]);
      if (code != CL_SUCCESS) return opencl_failure(&d->driver, gpu->kernels[launch->kernel].entry, code, error);
    }
  }
  return TVMPOSE_OK;
}

static int create_kernels(device *d, char *error) {
  for (int32_t i = 0; i < count_launches(d->gpu); ++i) {
    const char *entry = d->gpu->kernels[d->gpu->launches[i].kernel].entry;
    cl_int code;
    d->kernels[i] = d->driver.cl.clCreateKernel(d->program, entry, &code);
    if (code != CL_SUCCESS) return opencl_failure(&d->driver, entry, code, error);
  }
  return TVMPOSE_OK;
}

static int create_queue(device *d, char *error) {
  const opencl_functions *cl = &d->driver.cl;
  cl_context_property properties[] = {CL_CONTEXT_PLATFORM, (cl_context_property)d->driver.platform, 0};
  cl_int code;
  d->context = cl->clCreateContext(properties, 1, &d->driver.id, NULL, NULL, &code);
  if (code != CL_SUCCESS) return opencl_failure(&d->driver, "a context", code, error);
  d->queue = cl->clCreateCommandQueue(d->context, d->driver.id, 0, &code);
  return code == CL_SUCCESS ? TVMPOSE_OK : opencl_failure(&d->driver, "a queue", code, error);
}

static int upload_weights(device *d, char *error) {
  const tvmpose_model *model = the_model();
  const uint64_t bytes = model->info.weight_bytes;
  if (!bytes) return TVMPOSE_OK;
  int status = allocate_piece(d, CL_WEIGHTS, bytes, error);
  if (status) return status;
  cl_int code = d->driver.cl.clEnqueueWriteBuffer(d->queue, d->pieces[CL_WEIGHTS], 1, 0, (size_t)bytes, model->weights,
                                                  0, NULL, NULL);
  return code == CL_SUCCESS ? TVMPOSE_OK : opencl_failure(&d->driver, "the weights' upload", code, error);
}

/* Frees the old frame, and what is bound to it, for a larger one. */
static int allocate_frame(device *d, uint64_t bytes, char *error) {
  const opencl_functions *cl = &d->driver.cl;
  cl->clFinish(d->queue);
  for (int32_t i = 0; i < the_model()->num_tensors; ++i)
    if (d->tensors[i] && piece_of(&the_model()->tensors[i]) == CL_FRAME) {
      cl->clReleaseMemObject(d->tensors[i]);
      d->tensors[i] = NULL;
    }
  if (d->pieces[CL_FRAME]) cl->clReleaseMemObject(d->pieces[CL_FRAME]);
  d->pieces[CL_FRAME] = NULL;
  free(d->staging);
  d->frame_bytes = 0;
  d->staging = malloc((size_t)bytes);
  if (!d->staging)
    return fail(error, TVMPOSE_OUT_OF_MEMORY, "no memory for a frame of %llu bytes", (unsigned long long)bytes);
  int status = allocate_piece(d, CL_FRAME, bytes, error);
  if (!status) d->frame_bytes = bytes;
  return status;
}

static int fill_device(device *d, char *error) {
  int status = create_queue(d, error);
  if (!status) status = build_program(d, error);
  if (!status) status = create_kernels(d, error);
  if (!status && d->gpu->arena_bytes) status = allocate_piece(d, CL_ARENA, d->gpu->arena_bytes, error);
  if (!status) status = upload_weights(d, error);
  if (!status && d->gpu->first_frame_bytes) status = allocate_frame(d, d->gpu->first_frame_bytes, error);
  return status ? status : bind_launches(d, false, error);
}

static int open_device(const tvmpose_gpu *gpu, device **opened, char *error) {
  device *d = calloc(1, sizeof *d);
  if (d) {
    d->gpu = gpu;
    d->tensors = calloc((size_t)the_model()->num_tensors + 1, sizeof *d->tensors);
    d->kernels = calloc((size_t)count_launches(gpu) + 1, sizeof *d->kernels);
  }
  int status = d && d->tensors && d->kernels ? open_driver(gpu, &d->driver, error)
                                             : fail(error, TVMPOSE_OUT_OF_MEMORY, "no memory for the GPU's tables");
  if (!status) status = fill_device(d, error);
  if (status) close_device(d);
  else *opened = d;
  return status;
}

static int reserve_frame(device *d, uint64_t bytes, uint8_t **staging, char *error) {
  int status = TVMPOSE_OK;
  if (bytes > d->frame_bytes) {
    status = allocate_frame(d, bytes, error);
    if (!status) status = bind_launches(d, true, error);
    if (status) d->frame_bytes = 0; /* the next frame tries again */
  }
  *staging = d->staging;
  return status;
}

static int upload_frame(device *d, uint64_t bytes, char *error) {
  cl_int code =
      d->driver.cl.clEnqueueWriteBuffer(d->queue, d->pieces[CL_FRAME], 0, 0, (size_t)bytes, d->staging, 0, NULL, NULL);
  return code == CL_SUCCESS ? TVMPOSE_OK : opencl_failure(&d->driver, "the frame's upload", code, error);
}

static int write_device(device *d, uint64_t offset, const void *from, uint64_t bytes, char *error) {
  cl_int code = d->driver.cl.clEnqueueWriteBuffer(d->queue, d->pieces[CL_ARENA], 1, (size_t)offset, (size_t)bytes, from,
                                                  0, NULL, NULL);
  return code == CL_SUCCESS ? TVMPOSE_OK : opencl_failure(&d->driver, "an upload", code, error);
}

static int read_device(device *d, uint64_t offset, void *to, uint64_t bytes, char *error) {
  cl_int code = d->driver.cl.clEnqueueReadBuffer(d->queue, d->pieces[CL_ARENA], 1, (size_t)offset, (size_t)bytes, to, 0,
                                                 NULL, NULL);
  return code == CL_SUCCESS ? TVMPOSE_OK : opencl_failure(&d->driver, "a download", code, error);
}

static cl_int enqueue(const device *d, cl_command_queue queue, int32_t index, cl_event *event) {
  const tvmpose_gpu_launch *launch = &d->gpu->launches[index];
  const uint32_t *block = d->gpu->kernels[launch->kernel].block;
  size_t local[3], global[3];
  for (int axis = 0; axis < 3; ++axis) {
    local[axis] = block[axis];
    global[axis] = (size_t)block[axis] * launch->grid[axis];
  }
  return d->driver.cl.clEnqueueNDRangeKernel(queue, d->kernels[index], 3, NULL, global, local, 0, NULL, event);
}

/* One launch by itself, its time by the device's own clock. */
static cl_int enqueue_timed(device *d, int32_t index, uint64_t *profile) {
  const opencl_functions *cl = &d->driver.cl;
  cl_event event = NULL;
  cl_ulong start = 0, end = 0;
  cl_int code = CL_SUCCESS;
  if (!d->timed) d->timed = cl->clCreateCommandQueue(d->context, d->driver.id, CL_QUEUE_PROFILING_ENABLE, &code);
  if (code == CL_SUCCESS) code = cl->clFinish(d->queue); /* what comes before is in the other queue */
  if (code == CL_SUCCESS) code = enqueue(d, d->timed, index, &event);
  if (code == CL_SUCCESS) code = cl->clWaitForEvents(1, &event);
  if (code == CL_SUCCESS)
    code = cl->clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_START, sizeof start, &start, NULL);
  if (code == CL_SUCCESS) code = cl->clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL);
  if (event) cl->clReleaseEvent(event);
  if (code == CL_SUCCESS) profile[d->gpu->launches[index].step] += end - start;
  return code;
}

static int run_parts(device *d, uint32_t parts, uint64_t *profile, char *error) {
  const tvmpose_gpu *gpu = d->gpu;
  for (int part = 0; part < TVMPOSE_PARTS; ++part)
    for (int32_t i = gpu->begins[part]; parts >> part & 1 && i < gpu->begins[part + 1]; ++i) {
      cl_int code = profile ? enqueue_timed(d, i, profile) : enqueue(d, d->queue, i, NULL);
      if (code != CL_SUCCESS)
        return opencl_failure(&d->driver, gpu->kernels[gpu->launches[i].kernel].entry, code, error);
    }
  return TVMPOSE_OK;
}
