/* runtime.c - the functions of tvmpose.h, and the parts they are made of.
 *
 * A library is one translation unit. Its generated NAME.c reads
 *
 *     #define TVMPOSE_NAME blazepose_lite
 *     #include "model.h"
 *     #include "runtime.c"
 *     ... kernels' declarations, tables ...
 *     static const tvmpose_model model = {...};
 *     TVMPOSE_EXPORT(model)
 *
 * and is compiled for the baseline instruction set with -std=c11 -fvisibility=hidden -pthread. Each part uses only the
 * parts above it. */
#include <stdbool.h>
#include <string.h>

#include "error.c"
#include "memory.c"
#include "cpu.c"
#include "pool.c"
#include "kernel_abi.c"
#include "image.c"
#include "crop.c"
#include "weights.c"
#ifdef TVMPOSE_GPU
#include "gpu.c"
#endif
#include "handle.c"
#include "guard.c"
#include "network.c"
#include "pose.c"

static _Thread_local char open_error[ERROR_BYTES];
/* The handle that last answered BUSY to this thread: the text in it belongs to the thread inside. */
static _Thread_local const tvmpose_handle *refused_by;

static int enter(tvmpose_handle *h) {
  if (!h) return fail(open_error, TVMPOSE_INVALID_ARGUMENT, "the handle is NULL");
  if (atomic_exchange_explicit(&h->busy, true, memory_order_acquire)) {
    refused_by = h;
    return TVMPOSE_BUSY;
  }
  refused_by = NULL;
  h->error[0] = '\0';
  current_worker = &h->pool->workers[0];
  return TVMPOSE_OK;
}

static int leave(tvmpose_handle *h, int status) {
  current_worker = NULL;
  atomic_store_explicit(&h->busy, false, memory_order_release);
  return status;
}

static void forget_state(tvmpose_handle *h) {
  const tvmpose_model *model = the_model();
  memset(h->arena + model->state_offset, 0, (size_t)model->state_bytes);
  if (model->guard_bytes) fill_guards(h);
}

/* Fields that the caller's older header lacks keep their default of 0; those that ours lacks are not read. */
static int read_options(const tvmpose_options *given, tvmpose_options *options) {
  enum { FIRST_SIZE = 12, LARGEST_SIZE = 4096 };
  *options = (tvmpose_options){0};
  if (given) {
    if (given->struct_size < FIRST_SIZE || given->struct_size > LARGEST_SIZE)
      return fail(open_error, TVMPOSE_INVALID_ARGUMENT, "options.struct_size %u is not sizeof(tvmpose_options), %u",
                  (unsigned)given->struct_size, (unsigned)sizeof *options);
    memcpy(options, given, given->struct_size < sizeof *options ? given->struct_size : sizeof *options);
  }
  if (options->max_people == 0) options->max_people = DEFAULT_MAX_PEOPLE;
  if (options->max_people < 0 || options->max_people > MAX_PEOPLE)
    return fail(open_error, TVMPOSE_INVALID_ARGUMENT, "options.max_people %d: must be 0 to %d", options->max_people,
                MAX_PEOPLE);
  return TVMPOSE_OK;
}

static void api_close(tvmpose_handle *h) {
  if (!h) return;
  if (refused_by == h) refused_by = NULL; /* the next handle may get the same address */
#ifdef TVMPOSE_GPU
  close_device(h->device);
#endif
  close_pool(h->pool);
  free_block(h);
}

static int api_check_cpu(void) {
  int status = check_cpu(the_model()->cpu_features, open_error);
#ifdef TVMPOSE_GPU
  if (!status) status = check_device(the_model()->gpu, open_error);
#endif
  return status;
}

static int api_open(const tvmpose_options *given, tvmpose_handle **handle) {
  const tvmpose_model *model = the_model();
  tvmpose_options options;
  if (!handle) return fail(open_error, TVMPOSE_INVALID_ARGUMENT, "handle is NULL");
  int status = read_options(given, &options);
  if (!status) status = check_cpu(model->cpu_features, open_error);
  if (status) return status;
  tvmpose_handle *h = allocate_handle(model, options.max_people);
  if (!h)
    return fail(open_error, TVMPOSE_OUT_OF_MEMORY, "no memory for an arena of %llu bytes",
                (unsigned long long)model->arena_bytes);
  status = use_threads(h, options.threads, open_error);
#ifdef TVMPOSE_GPU
  if (!status) status = open_gpu(model, &h->device, open_error);
#endif
  if (status) {
    api_close(h);
    return status;
  }
  forget_state(h);
  if (refused_by == h) refused_by = NULL;
  open_error[0] = '\0';
  *handle = h;
  return TVMPOSE_OK;
}

static int api_run_image(tvmpose_handle *h, const tvmpose_image *image, const tvmpose_box *boxes, int32_t num_boxes,
                         tvmpose_result *result) {
  int status = enter(h);
  return status ? status : leave(h, image_to_people(h, image, boxes, NULL, num_boxes, result));
}

static int api_run_rotated(tvmpose_handle *h, const tvmpose_image *image, const tvmpose_box *boxes, const float *angles,
                           int32_t num_boxes, tvmpose_result *result) {
  int status = enter(h);
  if (status) return status;
  if (!boxes || !angles)
    return leave(h, fail(h->error, TVMPOSE_INVALID_ARGUMENT, "%s is NULL", boxes ? "angles" : "boxes"));
  return leave(h, image_to_people(h, image, boxes, angles, num_boxes, result));
}

static int api_run_tensors(tvmpose_handle *h, const void *const *inputs, void *const *outputs) {
  int status = enter(h);
  return status ? status : leave(h, tensors_to_tensors(h, inputs, outputs));
}

static int api_set_threads(tvmpose_handle *h, int32_t threads) {
  int status = enter(h);
  return status ? status : leave(h, use_threads(h, threads, h->error));
}

static int api_reset(tvmpose_handle *h) {
  int status = enter(h);
  if (status) return status;
  forget_state(h);
  return leave(h, TVMPOSE_OK);
}

static int api_profile(tvmpose_handle *h, uint64_t *nanoseconds_by_step) {
  int status = enter(h);
  if (status) return status;
  h->profile = nanoseconds_by_step;
  return leave(h, TVMPOSE_OK);
}

static int api_threads(const tvmpose_handle *h) { return h ? atomic_load(&h->num_threads) : 0; }

static const char *api_last_error(const tvmpose_handle *h) {
  if (!h) return open_error;
  return h == refused_by ? "another thread is inside this handle" : h->error;
}

static const tvmpose_info *api_info(void) { return &the_model()->info; }

static const tvmpose_api api_table = {
    .abi = TVMPOSE_ABI,
    .struct_size = sizeof(tvmpose_api),
    .info = api_info,
    .open = api_open,
    .run_image = api_run_image,
    .run_tensors = api_run_tensors,
    .set_threads = api_set_threads,
    .threads = api_threads,
    .reset = api_reset,
    .last_error = api_last_error,
    .close = api_close,
    .profile = api_profile,
    .check_cpu = api_check_cpu,
    .run_rotated = api_run_rotated,
};

/* Ends a library: `model` becomes the one the functions above serve, and NAME_tvmpose() their only way out. */
#define TVMPOSE_EXPORT(model)                                                              \
  static const tvmpose_model *the_model(void) { return &(model); }                         \
  __attribute__((visibility("default"))) const tvmpose_api *TVMPOSE_SYMBOL(tvmpose)(void); \
  const tvmpose_api *TVMPOSE_SYMBOL(tvmpose)(void) { return &api_table; }
