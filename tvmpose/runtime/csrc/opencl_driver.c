/* opencl_driver.c - OpenCL's library, loaded when it is asked for, and the device that the code can run on. */
#include <dlfcn.h>

#include "opencl_api.h"

typedef struct {
#define OPENCL_FUNCTION(result, name, parameters) result(*name) parameters;
#include "opencl_api.h"
} opencl_functions;

typedef struct {
  opencl_functions cl;
  cl_platform_id platform;
  cl_device_id id;
  char name[96], version[96]; /* version: the driver's and OpenCL's */
} opencl_driver;

/* A loader of several drivers, or the one driver itself, as phones and boards have it. */
static const char *const opencl_libraries[] = {
    "libOpenCL.so.1",
    "libOpenCL.so",
    "/vendor/lib64/libOpenCL.so",        /* Adreno */
    "/system/vendor/lib64/libOpenCL.so", /* Adreno, before Android 8 */
    "libOpenCL-pixel.so",                /* Pixel */
    "/vendor/lib64/egl/libGLES_mali.so", /* Mali */
    "libmali.so",                        /* Mali under Linux: RK3588 */
};

static const struct {
  cl_int code;
  const char *name;
} opencl_codes[] = {
    {CL_DEVICE_NOT_FOUND, "CL_DEVICE_NOT_FOUND"},
    {-2, "CL_DEVICE_NOT_AVAILABLE"},
    {-3, "CL_COMPILER_NOT_AVAILABLE"},
    {CL_MEM_OBJECT_ALLOCATION_FAILURE, "CL_MEM_OBJECT_ALLOCATION_FAILURE"},
    {CL_OUT_OF_RESOURCES, "CL_OUT_OF_RESOURCES"},
    {CL_OUT_OF_HOST_MEMORY, "CL_OUT_OF_HOST_MEMORY"},
    {CL_BUILD_PROGRAM_FAILURE, "CL_BUILD_PROGRAM_FAILURE"},
    {-13, "CL_MISALIGNED_SUB_BUFFER_OFFSET"},
    {-14, "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST"},
    {CL_INVALID_VALUE, "CL_INVALID_VALUE"},
    {CL_INVALID_BINARY, "CL_INVALID_BINARY"},
    {-46, "CL_INVALID_KERNEL_NAME"},
    {-54, "CL_INVALID_WORK_GROUP_SIZE"},
    {CL_INVALID_BUFFER_SIZE, "CL_INVALID_BUFFER_SIZE"},
    {CL_PLATFORM_NOT_FOUND_KHR, "CL_PLATFORM_NOT_FOUND_KHR"},
};

/* Writes what failed, on which device and with which code; memory that the driver does not have is OUT_OF_MEMORY. */
static int opencl_failure(const opencl_driver *driver, const char *what, cl_int code, char *error) {
  const char *name = "an OpenCL error";
  for (size_t i = 0; i < sizeof opencl_codes / sizeof *opencl_codes; ++i)
    if (opencl_codes[i].code == code) name = opencl_codes[i].name;
  bool memory = code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_RESOURCES ||
                code == CL_OUT_OF_HOST_MEMORY || code == CL_INVALID_BUFFER_SIZE;
  return fail(error, memory ? TVMPOSE_OUT_OF_MEMORY : TVMPOSE_INTERNAL, "%s on %s: %s (%d)", what,
              driver->name[0] ? driver->name : "OpenCL", name, (int)code);
}

/* The library stays loaded until the process ends: threads of a driver outlive its objects. */
static int load_opencl(opencl_functions *cl, char *error) {
  void *library = NULL;
  for (size_t i = 0; i < sizeof opencl_libraries / sizeof *opencl_libraries && !library; ++i)
    library = dlopen(opencl_libraries[i], RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return fail(error, TVMPOSE_UNSUPPORTED_CPU,
                "compiled for a GPU with OpenCL, and this machine has no libOpenCL.so.1: install its driver");
#define OPENCL_FUNCTION(result, name, parameters)                                                                \
  *(void **)&cl->name = dlsym(library, #name);                                                                   \
  if (!cl->name) {                                                                                               \
    dlclose(library);                                                                                            \
    return fail(error, TVMPOSE_UNSUPPORTED_CPU, "this machine's OpenCL is older than 1.2: it has no %s", #name); \
  }
#include "opencl_api.h"
  return TVMPOSE_OK;
}

static uint64_t device_number(const opencl_driver *driver, cl_uint what, size_t bytes) {
  uint64_t number = 0; /* little endian: a cl_uint or a size_t fills the lower bytes */
  return driver->cl.clGetDeviceInfo(driver->id, what, bytes, &number, NULL) == CL_SUCCESS ? number : 0;
}

static void device_text(const opencl_driver *driver, cl_uint what, char *text, size_t room) {
  text[0] = '\0'; /* where it does not fit nothing is written */
  if (driver->cl.clGetDeviceInfo(driver->id, what, room, text, NULL) != CL_SUCCESS) snprintf(text, room, "unknown");
  text[room - 1] = '\0';
}

/* Half precision is an extension, and the text of all of them has any length. */
static bool device_has(const opencl_driver *driver, const char *extension) {
  size_t bytes = 0;
  if (driver->cl.clGetDeviceInfo(driver->id, CL_DEVICE_EXTENSIONS, 0, NULL, &bytes) != CL_SUCCESS) return false;
  char *all = calloc(1, bytes + 1);
  bool has = all && driver->cl.clGetDeviceInfo(driver->id, CL_DEVICE_EXTENSIONS, bytes, all, NULL) == CL_SUCCESS &&
             strstr(all, extension);
  free(all);
  return has;
}

/* TVMPOSE_OK where the chosen device can run the code. */
static int check_limits(const opencl_driver *driver, const tvmpose_gpu *gpu, char *error) {
  const struct {
    const char *what;
    uint64_t has, needs;
  } limits[] = {
      {"threads in a work-group", device_number(driver, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof(size_t)),
       gpu->max_threads},
      {"bytes of local memory", device_number(driver, CL_DEVICE_LOCAL_MEM_SIZE, sizeof(cl_ulong)),
       gpu->max_shared_bytes},
  };
  for (size_t i = 0; i < sizeof limits / sizeof *limits; ++i)
    if (limits[i].has < limits[i].needs)
      return fail(error, TVMPOSE_UNSUPPORTED_CPU, "%s has %llu %s, the kernels need %llu", driver->name,
                  (unsigned long long)limits[i].has, limits[i].what, (unsigned long long)limits[i].needs);
  uint64_t alignment = device_number(driver, CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof(cl_uint)) / 8;
  if (!alignment || gpu->alignment % alignment)
    return fail(error, TVMPOSE_UNSUPPORTED_CPU,
                "%s wants buffers aligned to %llu bytes, the bundle has %u: compile it "
                "with `alignment` in the target's [gpu]",
                driver->name, (unsigned long long)alignment, gpu->alignment);
  if (gpu->needs_fp16 && !device_has(driver, "cl_khr_fp16"))
    return fail(error, TVMPOSE_UNSUPPORTED_CPU, "%s cannot compute in half precision, for which this was compiled",
                driver->name);
  return TVMPOSE_OK;
}

enum { MOST_PLATFORMS = 16 };

static bool find_device(opencl_driver *driver, cl_bitfield type) {
  cl_platform_id platforms[MOST_PLATFORMS];
  cl_uint count = 0;
  if (driver->cl.clGetPlatformIDs(MOST_PLATFORMS, platforms, &count) != CL_SUCCESS) return false;
  for (cl_uint i = 0; i < count && i < MOST_PLATFORMS; ++i) {
    driver->platform = platforms[i];
    if (driver->cl.clGetDeviceIDs(platforms[i], type, 1, &driver->id, NULL) == CL_SUCCESS) return true;
  }
  return false;
}

/* Loads OpenCL and takes the first GPU, or where the bundle allows it the first device of any kind. */
static int open_driver(const tvmpose_gpu *gpu, opencl_driver *driver, char *error) {
  *driver = (opencl_driver){0};
  int status = load_opencl(&driver->cl, error);
  if (status) return status;
  if (!find_device(driver, CL_DEVICE_TYPE_GPU) && !(gpu->any_device && find_device(driver, CL_DEVICE_TYPE_ALL)))
    return fail(error, TVMPOSE_UNSUPPORTED_CPU, "compiled for a GPU, and this machine's OpenCL has none");
  device_text(driver, CL_DEVICE_NAME, driver->name, sizeof driver->name);
  device_text(driver, CL_DRIVER_VERSION, driver->version, sizeof driver->version / 2);
  size_t used = strlen(driver->version);
  device_text(driver, CL_DEVICE_VERSION, driver->version + used, sizeof driver->version - used);
  return check_limits(driver, gpu, error);
}
