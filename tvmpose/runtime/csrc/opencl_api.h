/* opencl_api.h - the part of OpenCL 1.2 that opencl.c calls: types, numbers and functions as the specification has them
 * (Khronos, OpenCL 1.2, appendix and chapters 4 and 5). No header of a driver's is needed to compile a library.
 *
 * Include with OPENCL_FUNCTION(result, name, parameters) defined for the list of functions; it is undefined at the end. */
#ifndef TVMPOSE_OPENCL_API_H
#define TVMPOSE_OPENCL_API_H

#include <stddef.h>
#include <stdint.h>

typedef int32_t cl_int;
typedef uint32_t cl_uint, cl_bool;
typedef uint64_t cl_ulong, cl_bitfield;
typedef intptr_t cl_context_property;
typedef struct _cl_platform_id *cl_platform_id;
typedef struct _cl_device_id *cl_device_id;
typedef struct _cl_context *cl_context;
typedef struct _cl_command_queue *cl_command_queue;
typedef struct _cl_mem *cl_mem;
typedef struct _cl_program *cl_program;
typedef struct _cl_kernel *cl_kernel;
typedef struct _cl_event *cl_event;
typedef struct {
  size_t origin, size;
} cl_buffer_region;

enum {
  CL_SUCCESS = 0,
  CL_DEVICE_NOT_FOUND = -1,
  CL_MEM_OBJECT_ALLOCATION_FAILURE = -4,
  CL_OUT_OF_RESOURCES = -5,
  CL_OUT_OF_HOST_MEMORY = -6,
  CL_BUILD_PROGRAM_FAILURE = -11,
  CL_INVALID_VALUE = -30,
  CL_INVALID_BINARY = -42,
  CL_INVALID_BUFFER_SIZE = -61,
  CL_PLATFORM_NOT_FOUND_KHR = -1001
};
enum {
  CL_DEVICE_MAX_WORK_GROUP_SIZE = 0x1004,
  CL_DEVICE_MAX_MEM_ALLOC_SIZE = 0x1010,
  CL_DEVICE_MEM_BASE_ADDR_ALIGN = 0x1019, /* in bits */
  CL_DEVICE_LOCAL_MEM_SIZE = 0x1023,
  CL_DEVICE_NAME = 0x102B,
  CL_DRIVER_VERSION = 0x102D,
  CL_DEVICE_VERSION = 0x102F,
  CL_DEVICE_EXTENSIONS = 0x1030,
  CL_CONTEXT_PLATFORM = 0x1084,
  CL_PROGRAM_BINARY_SIZES = 0x1165,
  CL_PROGRAM_BINARIES = 0x1166,
  CL_PROGRAM_BUILD_LOG = 0x1183,
  CL_PROFILING_COMMAND_START = 0x1282,
  CL_PROFILING_COMMAND_END = 0x1283,
  CL_BUFFER_CREATE_TYPE_REGION = 0x1220
};
#define CL_DEVICE_TYPE_GPU ((cl_bitfield)1 << 2)
#define CL_DEVICE_TYPE_ALL ((cl_bitfield)0xFFFFFFFF)
#define CL_QUEUE_PROFILING_ENABLE ((cl_bitfield)1 << 1)
#define CL_MEM_READ_WRITE ((cl_bitfield)1 << 0)

#endif

#ifdef OPENCL_FUNCTION
OPENCL_FUNCTION(cl_int, clGetPlatformIDs, (cl_uint, cl_platform_id *, cl_uint *))
OPENCL_FUNCTION(cl_int, clGetDeviceIDs, (cl_platform_id, cl_bitfield, cl_uint, cl_device_id *, cl_uint *))
OPENCL_FUNCTION(cl_int, clGetDeviceInfo, (cl_device_id, cl_uint, size_t, void *, size_t *))
OPENCL_FUNCTION(cl_context, clCreateContext,
                (const cl_context_property *, cl_uint, const cl_device_id *,
                 void (*)(const char *, const void *, size_t, void *), void *, cl_int *))
OPENCL_FUNCTION(cl_int, clReleaseContext, (cl_context))
OPENCL_FUNCTION(cl_command_queue, clCreateCommandQueue, (cl_context, cl_device_id, cl_bitfield, cl_int *))
OPENCL_FUNCTION(cl_int, clReleaseCommandQueue, (cl_command_queue))
OPENCL_FUNCTION(cl_mem, clCreateBuffer, (cl_context, cl_bitfield, size_t, void *, cl_int *))
OPENCL_FUNCTION(cl_mem, clCreateSubBuffer, (cl_mem, cl_bitfield, cl_uint, const void *, cl_int *))
OPENCL_FUNCTION(cl_int, clReleaseMemObject, (cl_mem))
OPENCL_FUNCTION(cl_program, clCreateProgramWithSource, (cl_context, cl_uint, const char **, const size_t *, cl_int *))
OPENCL_FUNCTION(cl_program, clCreateProgramWithBinary,
                (cl_context, cl_uint, const cl_device_id *, const size_t *, const unsigned char **, cl_int *, cl_int *))
OPENCL_FUNCTION(cl_int, clBuildProgram,
                (cl_program, cl_uint, const cl_device_id *, const char *, void (*)(cl_program, void *), void *))
OPENCL_FUNCTION(cl_int, clGetProgramBuildInfo, (cl_program, cl_device_id, cl_uint, size_t, void *, size_t *))
OPENCL_FUNCTION(cl_int, clGetProgramInfo, (cl_program, cl_uint, size_t, void *, size_t *))
OPENCL_FUNCTION(cl_int, clReleaseProgram, (cl_program))
OPENCL_FUNCTION(cl_kernel, clCreateKernel, (cl_program, const char *, cl_int *))
OPENCL_FUNCTION(cl_int, clReleaseKernel, (cl_kernel))
OPENCL_FUNCTION(cl_int, clSetKernelArg, (cl_kernel, cl_uint, size_t, const void *))
OPENCL_FUNCTION(cl_int, clEnqueueNDRangeKernel,
                (cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *, const size_t *, cl_uint,
                 const cl_event *, cl_event *))
OPENCL_FUNCTION(cl_int, clEnqueueWriteBuffer,
                (cl_command_queue, cl_mem, cl_bool, size_t, size_t, const void *, cl_uint, const cl_event *,
                 cl_event *))
OPENCL_FUNCTION(cl_int, clEnqueueReadBuffer,
                (cl_command_queue, cl_mem, cl_bool, size_t, size_t, void *, cl_uint, const cl_event *, cl_event *))
OPENCL_FUNCTION(cl_int, clEnqueueFillBuffer,
                (cl_command_queue, cl_mem, const void *, size_t, size_t, size_t, cl_uint, const cl_event *, cl_event *))
OPENCL_FUNCTION(cl_int, clFinish, (cl_command_queue))
OPENCL_FUNCTION(cl_int, clWaitForEvents, (cl_uint, const cl_event *))
OPENCL_FUNCTION(cl_int, clGetEventProfilingInfo, (cl_event, cl_uint, size_t, void *, size_t *))
OPENCL_FUNCTION(cl_int, clReleaseEvent, (cl_event))
#undef OPENCL_FUNCTION
#endif
