/* cuda_api.h - the part of CUDA's driver interface that cuda.c calls: types, numbers and functions as NVIDIA documents
 * them (CUDA Driver API). No header of NVIDIA's is needed to compile a library.
 *
 * Include with CUDA_FUNCTION(name, symbol, parameters) defined for the list of functions, all of which return a CUresult;
 * `symbol` is the version of it whose parameters these are, as libcuda exports it. CUDA_OPTIONAL is for those that not
 * every driver has. Both are undefined at the end. */
#ifndef TVMPOSE_CUDA_API_H
#define TVMPOSE_CUDA_API_H

#include <stddef.h>
#include <stdint.h>

typedef int CUresult;
typedef int CUdevice;
typedef uintptr_t CUdeviceptr; /* NVIDIA's is unsigned long long where pointers have 64 bits, as everywhere here */
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;
typedef struct CUgraphNode_st *CUgraphNode;

enum { CUDA_SUCCESS = 0, CUDA_ERROR_OUT_OF_MEMORY = 2, CUDA_ERROR_NO_DEVICE = 100, CUDA_ERROR_NOT_SUPPORTED = 801 };
enum { /* CUdevice_attribute */
       CUDA_MAX_THREADS_PER_BLOCK = 1,
       CUDA_MAX_SHARED_MEMORY_PER_BLOCK = 8,
       CUDA_COMPUTE_CAPABILITY_MAJOR = 75,
       CUDA_COMPUTE_CAPABILITY_MINOR = 76,
       CUDA_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97
};
enum { CUDA_STREAM_NON_BLOCKING = 1, CUDA_CAPTURE_THREAD_LOCAL = 1, CUDA_FUNC_MAX_DYNAMIC_SHARED_BYTES = 8 };

#endif

#ifdef CUDA_FUNCTION
CUDA_FUNCTION(cuInit, "cuInit", (unsigned flags))
CUDA_FUNCTION(cuDriverGetVersion, "cuDriverGetVersion", (int *version))
CUDA_FUNCTION(cuGetErrorName, "cuGetErrorName", (CUresult code, const char **name))
CUDA_FUNCTION(cuDeviceGetCount, "cuDeviceGetCount", (int *count))
CUDA_FUNCTION(cuDeviceGet, "cuDeviceGet", (CUdevice * device, int ordinal))
CUDA_FUNCTION(cuDeviceGetName, "cuDeviceGetName", (char *name, int room, CUdevice device))
CUDA_FUNCTION(cuDeviceGetAttribute, "cuDeviceGetAttribute", (int *value, int attribute, CUdevice device))
CUDA_FUNCTION(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (CUcontext * context, CUdevice device))
CUDA_FUNCTION(cuDevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease", (CUdevice device))
CUDA_FUNCTION(cuCtxPushCurrent, "cuCtxPushCurrent_v2", (CUcontext context))
CUDA_FUNCTION(cuCtxPopCurrent, "cuCtxPopCurrent_v2", (CUcontext * context))
CUDA_FUNCTION(cuModuleLoadData, "cuModuleLoadData", (CUmodule * module, const void *image))
CUDA_FUNCTION(cuModuleUnload, "cuModuleUnload", (CUmodule module))
CUDA_FUNCTION(cuModuleGetFunction, "cuModuleGetFunction", (CUfunction * function, CUmodule module, const char *name))
CUDA_FUNCTION(cuFuncSetAttribute, "cuFuncSetAttribute", (CUfunction function, int attribute, int value))
CUDA_FUNCTION(cuMemAlloc, "cuMemAlloc_v2", (CUdeviceptr * pointer, size_t bytes))
CUDA_FUNCTION(cuMemFree, "cuMemFree_v2", (CUdeviceptr pointer))
CUDA_FUNCTION(cuMemHostAlloc, "cuMemHostAlloc", (void **pointer, size_t bytes, unsigned flags))
CUDA_FUNCTION(cuMemFreeHost, "cuMemFreeHost", (void *pointer))
CUDA_FUNCTION(cuMemsetD8Async, "cuMemsetD8Async", (CUdeviceptr at, unsigned char value, size_t bytes, CUstream stream))
CUDA_FUNCTION(cuMemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2",
              (CUdeviceptr to, const void *from, size_t bytes, CUstream stream))
CUDA_FUNCTION(cuMemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2", (void *to, CUdeviceptr from, size_t bytes, CUstream stream))
CUDA_FUNCTION(cuStreamCreate, "cuStreamCreate", (CUstream * stream, unsigned flags))
CUDA_FUNCTION(cuStreamDestroy, "cuStreamDestroy_v2", (CUstream stream))
CUDA_FUNCTION(cuStreamSynchronize, "cuStreamSynchronize", (CUstream stream))
CUDA_FUNCTION(cuLaunchKernel, "cuLaunchKernel",
              (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
               unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void **parameters,
               void **extra))
CUDA_FUNCTION(cuEventCreate, "cuEventCreate", (CUevent * event, unsigned flags))
CUDA_FUNCTION(cuEventRecord, "cuEventRecord", (CUevent event, CUstream stream))
CUDA_FUNCTION(cuEventSynchronize, "cuEventSynchronize", (CUevent event))
CUDA_FUNCTION(cuEventElapsedTime, "cuEventElapsedTime", (float *milliseconds, CUevent start, CUevent end))
CUDA_FUNCTION(cuEventDestroy, "cuEventDestroy_v2", (CUevent event))
/* Graphs came with CUDA 10, capture by thread with 10.1; cuGraphInstantiateWithFlags is 11.4's, and JetPack 4 has 10.2. */
CUDA_OPTIONAL(cuStreamBeginCapture, "cuStreamBeginCapture_v2", (CUstream stream, int mode))
CUDA_OPTIONAL(cuStreamEndCapture, "cuStreamEndCapture", (CUstream stream, CUgraph *graph))
CUDA_OPTIONAL(cuGraphInstantiateWithFlags, "cuGraphInstantiateWithFlags",
              (CUgraphExec * executable, CUgraph graph, unsigned long long flags))
CUDA_OPTIONAL(cuGraphInstantiate, "cuGraphInstantiate",
              (CUgraphExec * executable, CUgraph graph, CUgraphNode *culprit, char *log, size_t room))
CUDA_OPTIONAL(cuGraphLaunch, "cuGraphLaunch", (CUgraphExec executable, CUstream stream))
CUDA_OPTIONAL(cuGraphExecDestroy, "cuGraphExecDestroy", (CUgraphExec executable))
CUDA_OPTIONAL(cuGraphDestroy, "cuGraphDestroy", (CUgraph graph))

#undef CUDA_FUNCTION
#undef CUDA_OPTIONAL
#endif
