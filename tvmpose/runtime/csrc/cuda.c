/* cuda.c - the backend for NVIDIA's GPUs, by the driver alone; for what its functions promise see gpu.h.
 *
 * Each kind of frame is captured once as a CUDA graph, whose launch costs the CPU about as much as that of one kernel. A
 * driver without graphs gets its launches one by one. All that needs the GPU's context pushes it and pops it again: it
 * is the process's primary one, in which other code of the program may work too. */
#include "cuda_driver.c"

enum { ARENA, WEIGHTS, FRAME, PIECES };
enum { PACKED_FRAME, NV12_FRAME, TENSORS_FRAME, FRAMES };

static const uint32_t frame_parts[FRAMES] = {
    [PACKED_FRAME] = 1u << TVMPOSE_WARP_PACKED | 1u << TVMPOSE_NETWORK | 1u << TVMPOSE_DECODE,
    [NV12_FRAME] = 1u << TVMPOSE_WARP_NV12 | 1u << TVMPOSE_NETWORK | 1u << TVMPOSE_DECODE,
    [TENSORS_FRAME] = 1u << TVMPOSE_NETWORK,
};

typedef struct device {
  cuda_driver driver;
  const tvmpose_gpu *gpu;
  bool retained;
  CUcontext context;
  CUmodule module;
  CUstream stream;
  CUevent start, end;
  CUdeviceptr pieces[PIECES];
  uint8_t *staging, *results; /* pinned: what comes in, and one tensor of what goes out */
  uint64_t frame_bytes, result_bytes;
  CUfunction *functions;  /* by kernel */
  CUdeviceptr *addresses; /* the arguments of all launches, one launch behind the other */
  void **parameters;      /* where each of them is */
  int32_t *first;         /* by launch: its first argument's place among them */
  CUgraphExec graphs[FRAMES];
} device;

static int check_device(const tvmpose_gpu *gpu, char *error) {
  cuda_driver driver;
  return open_driver(gpu, &driver, error);
}

static void drop_graph(device *d, int frame) {
  if (d->graphs[frame]) d->driver.cu.cuGraphExecDestroy(d->graphs[frame]);
  d->graphs[frame] = NULL;
}

/* Waits first: a copy out of the staging memory may be under way. */
static void free_frame(device *d) {
  if (d->stream) d->driver.cu.cuStreamSynchronize(d->stream);
  if (d->pieces[FRAME]) d->driver.cu.cuMemFree(d->pieces[FRAME]);
  if (d->staging) d->driver.cu.cuMemFreeHost(d->staging);
  d->pieces[FRAME] = 0;
  d->staging = NULL;
  d->frame_bytes = 0;
}

/* Inside of the context. */
static void free_objects(device *d) {
  const cuda_functions *cu = &d->driver.cu;
  for (int frame = 0; frame < FRAMES; ++frame) drop_graph(d, frame);
  free_frame(d);
  if (d->pieces[WEIGHTS]) cu->cuMemFree(d->pieces[WEIGHTS]);
  if (d->pieces[ARENA]) cu->cuMemFree(d->pieces[ARENA]);
  if (d->results) cu->cuMemFreeHost(d->results);
  if (d->start) cu->cuEventDestroy(d->start);
  if (d->end) cu->cuEventDestroy(d->end);
  if (d->module) cu->cuModuleUnload(d->module);
  if (d->stream) cu->cuStreamDestroy(d->stream);
}

static void close_device(device *d) {
  if (!d) return;
  const cuda_functions *cu = &d->driver.cu;
  if (d->retained) {
    if (cu->cuCtxPushCurrent(d->context) == CUDA_SUCCESS) {
      free_objects(d);
      cu->cuCtxPopCurrent(&d->context);
    }
    cu->cuDevicePrimaryCtxRelease(d->driver.id);
  }
  free(d->functions);
  free(d->addresses);
  free(d->parameters);
  free(d->first);
  free(d);
}

static int enter_context(const device *d, char *error) {
  CUresult code = d->driver.cu.cuCtxPushCurrent(d->context);
  return code == CUDA_SUCCESS ? TVMPOSE_OK : cuda_failure(&d->driver, "entering the context", code, error);
}

/* Returns `status`, so that the end of a function reads `return leave_context(...)`. */
static int leave_context(const device *d, int status) {
  CUcontext popped;
  d->driver.cu.cuCtxPopCurrent(&popped);
  return status;
}

/* TVMPOSE_OK, or the failure with what was being done. */
static int report(const device *d, CUresult code, const char *what, char *error) {
  return code == CUDA_SUCCESS ? TVMPOSE_OK : cuda_failure(&d->driver, what, code, error);
}

/* The cubin for this GPU, and PTX where there is none or the driver does not take it. */
static int load_module(device *d, char *error) {
  static const uint8_t order[] = {TVMPOSE_CUBIN, TVMPOSE_PTX};
  CUresult code = CUDA_SUCCESS;
  for (size_t kind = 0; kind < sizeof order; ++kind)
    for (int32_t i = 0; i < d->gpu->num_images; ++i) {
      const tvmpose_gpu_image *image = &d->gpu->images[i];
      if (image->kind != order[kind] || !image_runs(image, d->driver.capability)) continue;
      code = d->driver.cu.cuModuleLoadData(&d->module, d->gpu->code + image->offset);
      if (code == CUDA_SUCCESS) return TVMPOSE_OK;
      d->module = NULL;
    }
  if (code == CUDA_ERROR_OUT_OF_MEMORY) return cuda_failure(&d->driver, "loading the kernels", code, error);
  cuda_failure(&d->driver, "loading the kernels", code, error);
  size_t used = strlen(error);
  snprintf(error + used, ERROR_BYTES - used, "; its driver is for CUDA %d.%d: update it", d->driver.version / 1000,
           d->driver.version % 1000 / 10);
  return TVMPOSE_UNSUPPORTED_CPU;
}

static int get_functions(device *d, char *error) {
  for (int32_t i = 0; i < d->gpu->num_kernels; ++i) {
    const tvmpose_gpu_kernel *kernel = &d->gpu->kernels[i];
    CUresult code = d->driver.cu.cuModuleGetFunction(&d->functions[i], d->module, kernel->entry);
    if (code == CUDA_SUCCESS && kernel->dynamic_shared_bytes)
      code = d->driver.cu.cuFuncSetAttribute(d->functions[i], CUDA_FUNC_MAX_DYNAMIC_SHARED_BYTES,
                                             (int)kernel->dynamic_shared_bytes);
    if (code != CUDA_SUCCESS) return cuda_failure(&d->driver, kernel->entry, code, error);
  }
  return TVMPOSE_OK;
}

/* Memory of the GPU filled with zeros, as the host's arena is. */
static int allocate_piece(device *d, int piece, uint64_t bytes, char *error) {
  if (!bytes) return TVMPOSE_OK;
  CUresult code = d->driver.cu.cuMemAlloc(&d->pieces[piece], (size_t)bytes);
  if (code == CUDA_SUCCESS) code = d->driver.cu.cuMemsetD8Async(d->pieces[piece], 0, (size_t)bytes, d->stream);
  char what[64];
  snprintf(what, sizeof what, "no memory for %llu bytes", (unsigned long long)bytes);
  return report(d, code, what, error);
}

static int allocate_pinned(device *d, uint8_t **pinned, uint64_t bytes, char *error) {
  if (!bytes) return TVMPOSE_OK;
  void *memory = NULL;
  CUresult code = d->driver.cu.cuMemHostAlloc(&memory, (size_t)bytes, 0);
  *pinned = memory;
  char what[64];
  snprintf(what, sizeof what, "no pinned memory for %llu bytes", (unsigned long long)bytes);
  return report(d, code, what, error);
}

static int allocate_frame(device *d, uint64_t bytes, char *error) {
  int status = allocate_piece(d, FRAME, bytes, error);
  if (!status) status = allocate_pinned(d, &d->staging, bytes, error);
  if (status) free_frame(d);
  else d->frame_bytes = bytes;
  return status;
}

static uint64_t largest_result(const tvmpose_gpu *gpu) {
  const tvmpose_model *model = the_model();
  uint64_t most = 0;
  for (int32_t i = 0; i < gpu->num_downloads; ++i)
    if (model->tensors[gpu->downloads[i].device].info.bytes > most)
      most = model->tensors[gpu->downloads[i].device].info.bytes;
  for (int32_t i = 0; i < model->info.num_outputs; ++i)
    if (model->info.outputs[i].bytes > most) most = model->info.outputs[i].bytes;
  return most;
}

static int upload_weights(device *d, char *error) {
  const tvmpose_model *model = the_model();
  int status = allocate_piece(d, WEIGHTS, model->info.weight_bytes, error);
  if (status || !model->info.weight_bytes) return status;
  CUresult code =
      d->driver.cu.cuMemcpyHtoDAsync(d->pieces[WEIGHTS], model->weights, (size_t)model->info.weight_bytes, d->stream);
  if (code == CUDA_SUCCESS) code = d->driver.cu.cuStreamSynchronize(d->stream);
  return report(d, code, "the weights' upload", error);
}

static CUdeviceptr address_of(const device *d, const tvmpose_tensor *tensor) {
  int piece = tensor->where == TVMPOSE_IN_DEVICE ? ARENA : tensor->where == TVMPOSE_IN_FRAME ? FRAME : WEIGHTS;
  return d->pieces[piece] + (CUdeviceptr)tensor->offset;
}

static void bind_launches(device *d) {
  const tvmpose_gpu *gpu = d->gpu;
  for (int32_t i = 0; i < gpu->begins[TVMPOSE_PARTS]; ++i) {
    const tvmpose_gpu_launch *launch = &gpu->launches[i];
    for (int32_t arg = 0; arg < gpu->kernels[launch->kernel].num_args; ++arg)
      d->addresses[d->first[i] + arg] = address_of(d, &the_model()->tensors[launch->args[arg]]);
  }
}

static CUresult launch_one(const device *d, int32_t index) {
  const tvmpose_gpu_launch *l = &d->gpu->launches[index];
  const tvmpose_gpu_kernel *k = &d->gpu->kernels[l->kernel];
  return d->driver.cu.cuLaunchKernel(d->functions[l->kernel], l->grid[0], l->grid[1], l->grid[2], k->block[0],
                                     k->block[1], k->block[2], k->dynamic_shared_bytes, d->stream,
                                     d->parameters + d->first[index], NULL);
}

/* One launch by itself, its time by the device's own clock. */
static CUresult launch_timed(const device *d, int32_t index, uint64_t *profile) {
  const cuda_functions *cu = &d->driver.cu;
  float milliseconds = 0;
  CUresult code = cu->cuEventRecord(d->start, d->stream);
  if (code == CUDA_SUCCESS) code = launch_one(d, index);
  if (code == CUDA_SUCCESS) code = cu->cuEventRecord(d->end, d->stream);
  if (code == CUDA_SUCCESS) code = cu->cuEventSynchronize(d->end);
  if (code == CUDA_SUCCESS) code = cu->cuEventElapsedTime(&milliseconds, d->start, d->end);
  if (code == CUDA_SUCCESS) profile[d->gpu->launches[index].step] += (uint64_t)((double)milliseconds * 1e6);
  return code;
}

static int launch_all(const device *d, uint32_t parts, uint64_t *profile, char *error) {
  const tvmpose_gpu *gpu = d->gpu;
  for (int part = 0; part < TVMPOSE_PARTS; ++part)
    for (int32_t i = gpu->begins[part]; parts >> part & 1 && i < gpu->begins[part + 1]; ++i) {
      CUresult code = profile ? launch_timed(d, i, profile) : launch_one(d, i);
      if (code != CUDA_SUCCESS)
        return cuda_failure(&d->driver, gpu->kernels[gpu->launches[i].kernel].entry, code, error);
    }
  return TVMPOSE_OK;
}

static bool has_graphs(const cuda_functions *cu) {
  return cu->cuStreamBeginCapture && cu->cuStreamEndCapture && cu->cuGraphLaunch && cu->cuGraphExecDestroy &&
         cu->cuGraphDestroy && (cu->cuGraphInstantiateWithFlags || cu->cuGraphInstantiate);
}

static CUresult instantiate(const cuda_functions *cu, CUgraph graph, CUgraphExec *executable) {
  if (cu->cuGraphInstantiateWithFlags) return cu->cuGraphInstantiateWithFlags(executable, graph, 0);
  CUgraphNode culprit;
  char log[64];
  return cu->cuGraphInstantiate(executable, graph, &culprit, log, sizeof log);
}

/* Launches between begin and end of a capture run nothing; their arguments are copied. */
static int capture_frame(device *d, int frame, char *error) {
  const cuda_functions *cu = &d->driver.cu;
  drop_graph(d, frame);
  CUgraph graph = NULL;
  CUresult code = cu->cuStreamBeginCapture(d->stream, CUDA_CAPTURE_THREAD_LOCAL);
  if (code == CUDA_ERROR_NOT_SUPPORTED) return TVMPOSE_OK; /* then there is no graph, and launches go one by one */
  if (code != CUDA_SUCCESS) return cuda_failure(&d->driver, "capturing a frame", code, error);
  int status = launch_all(d, frame_parts[frame], NULL, error);
  code = cu->cuStreamEndCapture(d->stream, &graph); /* ends it after a failed launch, too */
  if (!status && code == CUDA_SUCCESS) code = instantiate(cu, graph, &d->graphs[frame]);
  if (code != CUDA_SUCCESS) d->graphs[frame] = NULL;
  if (graph) cu->cuGraphDestroy(graph);
  return status ? status : report(d, code, "capturing a frame", error);
}

static bool has_launches(const tvmpose_gpu *gpu, int frame) {
  if (frame == TENSORS_FRAME) return gpu->begins[TVMPOSE_NETWORK] < gpu->begins[TVMPOSE_NETWORK + 1];
  int part = frame == NV12_FRAME ? TVMPOSE_WARP_NV12 : TVMPOSE_WARP_PACKED;
  return gpu->begins[part] < gpu->begins[part + 1];
}

static int capture_frames(device *d, char *error) {
  int status = TVMPOSE_OK;
  if (!has_graphs(&d->driver.cu)) return status;
  for (int frame = 0; frame < FRAMES && !status; ++frame)
    if (has_launches(d->gpu, frame)) status = capture_frame(d, frame, error);
  return status;
}

static int create_objects(device *d, char *error) {
  const cuda_functions *cu = &d->driver.cu;
  CUresult code = cu->cuStreamCreate(&d->stream, CUDA_STREAM_NON_BLOCKING);
  if (code == CUDA_SUCCESS) code = cu->cuEventCreate(&d->start, 0);
  if (code == CUDA_SUCCESS) code = cu->cuEventCreate(&d->end, 0);
  return report(d, code, "a stream and its events", error);
}

/* Inside of the context. */
static int fill_device(device *d, char *error) {
  const tvmpose_gpu *gpu = d->gpu;
  int status = create_objects(d, error);
  if (!status) status = load_module(d, error);
  if (!status) status = get_functions(d, error);
  if (!status) status = allocate_piece(d, ARENA, gpu->arena_bytes, error);
  if (!status) status = upload_weights(d, error);
  if (!status) status = allocate_frame(d, gpu->first_frame_bytes, error);
  d->result_bytes = largest_result(gpu);
  if (!status) status = allocate_pinned(d, &d->results, d->result_bytes, error);
  if (status) return status;
  bind_launches(d);
  return capture_frames(d, error);
}

static int retain_context(device *d, char *error) {
  CUresult code = d->driver.cu.cuDevicePrimaryCtxRetain(&d->context, d->driver.id);
  d->retained = code == CUDA_SUCCESS;
  return report(d, code, "a context", error);
}

/* The tables of one handle; the arguments' places in them. NULL where there is no memory. */
static device *allocate_device(const tvmpose_gpu *gpu) {
  int32_t launches = gpu->begins[TVMPOSE_PARTS], count = 0;
  device *d = calloc(1, sizeof *d);
  if (!d) return NULL;
  d->gpu = gpu;
  d->first = calloc((size_t)launches + 1, sizeof *d->first);
  for (int32_t i = 0; d->first && i < launches; ++i) {
    d->first[i] = count;
    count += gpu->kernels[gpu->launches[i].kernel].num_args;
  }
  d->functions = calloc((size_t)gpu->num_kernels + 1, sizeof *d->functions);
  d->addresses = calloc((size_t)count + 1, sizeof *d->addresses);
  d->parameters = calloc((size_t)count + 1, sizeof *d->parameters);
  if (!d->first || !d->functions || !d->addresses || !d->parameters) {
    close_device(d);
    return NULL;
  }
  for (int32_t i = 0; i < count; ++i) d->parameters[i] = &d->addresses[i];
  return d;
}

static int open_device(const tvmpose_gpu *gpu, device **opened, char *error) {
  device *d = allocate_device(gpu);
  if (!d) return fail(error, TVMPOSE_OUT_OF_MEMORY, "no memory for the GPU's tables");
  int status = open_driver(gpu, &d->driver, error);
  if (!status) status = retain_context(d, error);
  if (!status) status = enter_context(d, error);
  if (!status) status = leave_context(d, fill_device(d, error));
  if (status) close_device(d);
  else *opened = d;
  return status;
}

/* Inside of the context. */
static int grow_frame(device *d, uint64_t bytes, char *error) {
  drop_graph(d, PACKED_FRAME);
  drop_graph(d, NV12_FRAME);
  free_frame(d);
  int status = allocate_frame(d, bytes, error);
  if (status) return status;
  bind_launches(d);
  status = capture_frames(d, error);
  if (status) free_frame(d); /* the next frame tries again */
  return status;
}

static int reserve_frame(device *d, uint64_t bytes, uint8_t **staging, char *error) {
  int status = TVMPOSE_OK;
  if (bytes > d->frame_bytes) {
    status = enter_context(d, error);
    if (!status) status = leave_context(d, grow_frame(d, bytes, error));
  }
  *staging = d->staging;
  return status;
}

static int upload_frame(device *d, uint64_t bytes, char *error) {
  int status = enter_context(d, error);
  if (status) return status;
  CUresult code = d->driver.cu.cuMemcpyHtoDAsync(d->pieces[FRAME], d->staging, (size_t)bytes, d->stream);
  return leave_context(d, report(d, code, "the frame's upload", error));
}

static int write_device(device *d, uint64_t offset, const void *from, uint64_t bytes, char *error) {
  int status = enter_context(d, error);
  if (status) return status;
  CUresult code =
      d->driver.cu.cuMemcpyHtoDAsync(d->pieces[ARENA] + (CUdeviceptr)offset, from, (size_t)bytes, d->stream);
  if (code == CUDA_SUCCESS) code = d->driver.cu.cuStreamSynchronize(d->stream);
  return leave_context(d, report(d, code, "an upload", error));
}

/* By way of pinned memory, where the copy is the device's own work; and a kernel that failed is heard of here. */
static int read_device(device *d, uint64_t offset, void *to, uint64_t bytes, char *error) {
  int status = enter_context(d, error);
  if (status) return status;
  uint8_t *landing = bytes <= d->result_bytes ? d->results : to;
  CUresult code =
      d->driver.cu.cuMemcpyDtoHAsync(landing, d->pieces[ARENA] + (CUdeviceptr)offset, (size_t)bytes, d->stream);
  if (code == CUDA_SUCCESS) code = d->driver.cu.cuStreamSynchronize(d->stream);
  if (code == CUDA_SUCCESS && landing != to) memcpy(to, landing, (size_t)bytes);
  return leave_context(d, report(d, code, "a frame", error));
}

static int run_frame(device *d, int frame, uint32_t parts, uint64_t *profile, char *error) {
  if (profile || !d->graphs[frame]) return launch_all(d, parts, profile, error);
  return report(d, d->driver.cu.cuGraphLaunch(d->graphs[frame], d->stream), "a frame", error);
}

static int run_parts(device *d, uint32_t parts, uint64_t *profile, char *error) {
  int frame = parts >> TVMPOSE_WARP_NV12 & 1     ? NV12_FRAME
              : parts >> TVMPOSE_WARP_PACKED & 1 ? PACKED_FRAME
                                                 : TENSORS_FRAME;
  int status = enter_context(d, error);
  if (status) return status;
  status = run_frame(d, frame, parts, profile, error);
  if (status) d->driver.cu.cuStreamSynchronize(d->stream); /* the next frame may write to the staging memory at once */
  return leave_context(d, status);
}
