/* handle.c - everything one handle owns, laid out once at open: after that a frame only fills in numbers. */
static const tvmpose_model *the_model(void); /* defined by TVMPOSE_EXPORT */

/* A kernel with its arguments bound to their tensors. */
typedef struct {
  const tvmpose_call *call;
  TVMFFIAny *args;
} bound_call;

struct tvmpose_handle {
#ifdef TVMPOSE_GPU
  device *device;
  bool pixels_are_there; /* this frame's, on the device */
#endif
  atomic_bool busy;
  atomic_int num_threads;
  pool *pool;
  uint8_t *arena;
  DLTensor *tensors;
  bound_call *network, warp_packed, warp_nv12, decode;
  uint64_t *profile;      /* the caller's nanoseconds by step, or NULL */
  int64_t plane_bytes[2]; /* shapes of the image and chroma tensors */
  int32_t max_people;
  tvmpose_person *people;
  tvmpose_keypoint *keypoints;
  char error[ERROR_BYTES];
};

enum { DEFAULT_MAX_PEOPLE = 16, MAX_PEOPLE = 4096 };
enum { DEVICE_CPU = 1, TYPE_DLTENSOR = 7 };

static void bind_tensors(tvmpose_handle *h, const tvmpose_model *model) {
  for (int32_t i = 0; i < model->num_tensors; ++i) {
    const tvmpose_tensor *tensor = &model->tensors[i];
    const uint8_t *places[] = {[TVMPOSE_IN_ARENA] = h->arena + tensor->offset,
                               [TVMPOSE_IN_WEIGHTS] = model->weights + tensor->offset,
#ifdef TVMPOSE_GPU
                               [TVMPOSE_IN_FRAME] = NULL, /* the device's, as all but the first two */
#endif
                               NULL};
    h->tensors[i] = (DLTensor){
        .data = (void *)(uintptr_t)places[tensor->where],
        .device = {DEVICE_CPU, 0},
        .ndim = tensor->info.ndim,
        .dtype = {tensor->info.dtype_code, tensor->info.dtype_bits, 1},
        .shape = (int64_t *)(uintptr_t)tensor->info.shape, /* kernels only read shapes and weights */
    };
  }
}

/* Binds `call` to the next free arguments of the table and returns what is free after them. */
static TVMFFIAny *bind_call(tvmpose_handle *h, bound_call *bound, const tvmpose_call *call, TVMFFIAny *args) {
  *bound = (bound_call){call, args};
  for (int32_t i = 0; i < call->num_args; ++i)
    args[i] = (TVMFFIAny){.type_index = TYPE_DLTENSOR, .v_ptr = &h->tensors[call->args[i]]};
  return args + call->num_args;
}

static void bind_calls(tvmpose_handle *h, const tvmpose_model *model, TVMFFIAny *args) {
  for (int32_t i = 0; i < model->num_calls; ++i) args = bind_call(h, &h->network[i], &model->calls[i], args);
  args = bind_call(h, &h->warp_packed, &model->warp_packed, args);
  args = bind_call(h, &h->warp_nv12, &model->warp_nv12, args);
  bind_call(h, &h->decode, &model->decode, args);
}

static uint64_t count_args(const tvmpose_model *model) {
  int64_t count = model->warp_packed.num_args + model->warp_nv12.num_args + model->decode.num_args;
  for (int32_t i = 0; i < model->num_calls; ++i) count += model->calls[i].num_args;
  return (uint64_t)count;
}

/* At most. */
static int32_t people_in_a_box(const tvmpose_model *model) { return model->most_found ? model->most_found : 1; }

/* A handle without threads, all its tables in one block; NULL when there is not so much memory. */
static tvmpose_handle *allocate_handle(const tvmpose_model *model, int32_t max_people) {
  uint64_t people_count = (uint64_t)max_people * (uint64_t)people_in_a_box(model), total = 0;
  reserve(&total, 1, sizeof(tvmpose_handle));
  uint64_t tensors = reserve(&total, (uint64_t)model->num_tensors, sizeof(DLTensor));
  uint64_t network = reserve(&total, (uint64_t)model->num_calls, sizeof(bound_call));
  uint64_t args = reserve(&total, count_args(model), sizeof(TVMFFIAny));
  uint64_t people = reserve(&total, people_count, sizeof(tvmpose_person));
  uint64_t keypoints = reserve(&total, people_count * (uint64_t)model->info.num_keypoints, sizeof(tvmpose_keypoint));
  uint64_t arena = reserve(&total, 1, model->arena_bytes);
  uint8_t *block = allocate_block(total);
  if (!block) return NULL;
  tvmpose_handle *h = (tvmpose_handle *)block;
  h->tensors = (DLTensor *)(block + tensors);
  h->network = (bound_call *)(block + network);
  h->people = (tvmpose_person *)(block + people);
  h->keypoints = (tvmpose_keypoint *)(block + keypoints);
  h->arena = block + arena;
  h->max_people = max_people;
#ifndef TVMPOSE_GPU
  expand_weights(h->arena, model);
#endif
  bind_tensors(h, model);
  bind_calls(h, model, (TVMFFIAny *)(block + args));
  return h;
}

/* Replaces the handle's pool; when there are no threads or memory for the new one the old one stays. */
static int use_threads(tvmpose_handle *h, int32_t threads, char *error) {
  if (threads < 0 || threads > MAX_THREADS)
    return fail(error, TVMPOSE_INVALID_ARGUMENT, "%d threads: must be 0 to %d", threads, MAX_THREADS);
  if (threads == 0) threads = default_threads();
#ifdef TVMPOSE_GPU
  threads = 1; /* there is nothing for others to do */
#endif
  if (h->pool && h->pool->num_workers == threads) return TVMPOSE_OK;
  pool *fresh = open_pool(threads, the_model()->workspace_bytes);
  if (!fresh) return fail(error, TVMPOSE_OUT_OF_MEMORY, "no memory, or no more threads, for %d threads", threads);
  close_pool(h->pool);
  h->pool = fresh;
  atomic_store(&h->num_threads, threads);
  return TVMPOSE_OK;
}
