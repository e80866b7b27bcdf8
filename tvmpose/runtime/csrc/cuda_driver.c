/* cuda_driver.c - CUDA's driver, loaded when it is asked for, and the GPU that the code can run on. */
#include <dlfcn.h>
#include <stdio.h>

#include "cuda_api.h"

typedef struct {
#define CUDA_FUNCTION(name, symbol, parameters) CUresult(*name) parameters;
#define CUDA_OPTIONAL(name, symbol, parameters) CUresult(*name) parameters;
#include "cuda_api.h"
} cuda_functions;

typedef struct {
  cuda_functions cu;
  CUdevice id;
  int capability; /* 10 * major + minor */
  int version;    /* the newest CUDA that the driver is for: 1000 * major + 10 * minor */
  char name[96];
} cuda_driver;

/* Writes what failed, on which GPU and with which code; memory that the GPU does not have is OUT_OF_MEMORY. */
static int cuda_failure(const cuda_driver *driver, const char *what, CUresult code, char *error) {
  const char *name = NULL;
  if (driver->cu.cuGetErrorName(code, &name) != CUDA_SUCCESS || !name) name = "a CUDA error";
  return fail(error, code == CUDA_ERROR_OUT_OF_MEMORY ? TVMPOSE_OUT_OF_MEMORY : TVMPOSE_INTERNAL, "%s on %s: %s (%d)",
              what, driver->name[0] ? driver->name : "CUDA", name, code);
}

/* The library stays loaded until the process ends: threads of the driver outlive its objects. */
static int load_cuda(cuda_functions *cu, char *error) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return fail(error, TVMPOSE_UNSUPPORTED_CPU,
                "compiled for an NVIDIA GPU, and this machine has no libcuda.so.1: install its driver");
#define CUDA_FUNCTION(name, symbol, parameters)                                                                   \
  *(void **)&cu->name = dlsym(library, symbol);                                                                   \
  if (!cu->name) {                                                                                                \
    dlclose(library);                                                                                             \
    return fail(error, TVMPOSE_UNSUPPORTED_CPU, "this machine's CUDA driver is too old: it has no %s: update it", \
                symbol);                                                                                          \
  }
#define CUDA_OPTIONAL(name, symbol, parameters) *(void **)&cu->name = dlsym(library, symbol);
#include "cuda_api.h"
  return TVMPOSE_OK;
}

static uint32_t device_number(const cuda_driver *driver, int attribute) {
  int value = 0;
  return driver->cu.cuDeviceGetAttribute(&value, attribute, driver->id) == CUDA_SUCCESS && value > 0 ? (uint32_t)value
                                                                                                     : 0;
}

/* A cubin is for one compute capability, PTX for all from its own on. */
static bool image_runs(const tvmpose_gpu_image *image, int capability) {
  return image->kind == TVMPOSE_CUBIN ? image->capability == capability : image->capability <= capability;
}

static bool any_image_runs(const tvmpose_gpu *gpu, int capability) {
  for (int32_t i = 0; i < gpu->num_images; ++i)
    if (image_runs(&gpu->images[i], capability)) return true;
  return false;
}

static int check_limits(const cuda_driver *driver, const tvmpose_gpu *gpu, char *error) {
  uint32_t shared = device_number(driver, CUDA_MAX_SHARED_MEMORY_PER_BLOCK),
           dynamic = device_number(driver, CUDA_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
  const struct {
    const char *what;
    uint32_t has, needs;
  } limits[] = {
      {"threads in a block", device_number(driver, CUDA_MAX_THREADS_PER_BLOCK), gpu->max_threads},
      {"bytes of shared memory", dynamic > shared ? dynamic : shared, gpu->max_shared_bytes},
  };
  for (size_t i = 0; i < sizeof limits / sizeof *limits; ++i)
    if (limits[i].has < limits[i].needs)
      return fail(error, TVMPOSE_UNSUPPORTED_CPU, "%s has %u %s, the kernels need %u", driver->name, limits[i].has,
                  limits[i].what, limits[i].needs);
  return TVMPOSE_OK;
}

static int least_capability(const tvmpose_gpu *gpu) {
  int least = gpu->images[0].capability;
  for (int32_t i = 1; i < gpu->num_images; ++i)
    if (gpu->images[i].capability < least) least = gpu->images[i].capability;
  return least;
}

/* The first GPU that some of the code is for; CUDA_VISIBLE_DEVICES, which the driver reads, puts another one first. */
static int find_device(cuda_driver *driver, const tvmpose_gpu *gpu, int count, char *error) {
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    CUresult code = driver->cu.cuDeviceGet(&driver->id, ordinal);
    if (code != CUDA_SUCCESS) return cuda_failure(driver, "looking for a GPU", code, error);
    driver->capability = (int)(10 * device_number(driver, CUDA_COMPUTE_CAPABILITY_MAJOR) +
                               device_number(driver, CUDA_COMPUTE_CAPABILITY_MINOR));
    if (driver->cu.cuDeviceGetName(driver->name, (int)sizeof driver->name, driver->id) != CUDA_SUCCESS)
      snprintf(driver->name, sizeof driver->name, "GPU %d", ordinal);
    if (any_image_runs(gpu, driver->capability)) return check_limits(driver, gpu, error);
  }
  int least = least_capability(gpu);
  return fail(error, TVMPOSE_UNSUPPORTED_CPU, "compiled for compute capability %d.%d and later, %s has %d.%d",
              least / 10, least % 10, driver->name, driver->capability / 10, driver->capability % 10);
}

static int open_driver(const tvmpose_gpu *gpu, cuda_driver *driver, char *error) {
  *driver = (cuda_driver){0};
  int status = load_cuda(&driver->cu, error), count = 0;
  if (status) return status;
  CUresult code = driver->cu.cuInit(0);
  if (code == CUDA_SUCCESS) code = driver->cu.cuDriverGetVersion(&driver->version);
  if (code == CUDA_SUCCESS) code = driver->cu.cuDeviceGetCount(&count);
  if (code == CUDA_ERROR_NO_DEVICE || (code == CUDA_SUCCESS && !count))
    return fail(error, TVMPOSE_UNSUPPORTED_CPU, "compiled for an NVIDIA GPU, and the driver finds none here");
  if (code != CUDA_SUCCESS) { /* driver and kernel module of different versions, mostly */
    cuda_failure(driver, "starting the driver", code, error);
    return TVMPOSE_UNSUPPORTED_CPU;
  }
  return find_device(driver, gpu, count, error);
}
