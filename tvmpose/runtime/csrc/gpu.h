/* gpu.h - what generated code tells the runtime about a network on a GPU, and what a backend has to offer.
 *
 * A library for a GPU defines TVMPOSE_GPU as TVMPOSE_OPENCL or TVMPOSE_CUDA before it includes model.h; one for a CPU
 * defines neither, and has nothing of this file in it. On a GPU the network's tensors lie in the device's arena and
 * weights, which the host cannot read; a frame is one copy in, launches in order on one queue, one small copy out.
 *
 *     device arena    tvmpose_gpu.arena_bytes            activations, results, weights that open() expands
 *     device weights  tvmpose_model.info.weight_bytes    uploaded once, at open
 *     device frame    head_bytes + pixels                what comes in; grown when a larger picture than ever comes
 *     host arena      tvmpose_model.arena_bytes          what the host itself reads and writes */
#ifndef TVMPOSE_GPU_H
#define TVMPOSE_GPU_H

#include <stdint.h>

#define TVMPOSE_OPENCL 1
#define TVMPOSE_CUDA 2

/* Where a tensor's bytes are, beside model.h's: offsets into the three pieces of the device's memory, all of them
 * multiples of tvmpose_gpu.alignment. */
enum { TVMPOSE_IN_DEVICE = 3, TVMPOSE_IN_DEVICE_WEIGHTS = 4, TVMPOSE_IN_FRAME = 5 };

/* Device code. OpenCL: one image, its source. CUDA: cubins, each for one compute capability, and PTX for later ones. */
enum { TVMPOSE_SOURCE = 0, TVMPOSE_CUBIN = 1, TVMPOSE_PTX = 2 };

typedef struct {
  uint8_t kind;
  int32_t capability;     /* CUDA: 10 * major + minor; 0 for source */
  uint64_t offset, bytes; /* in tvmpose_gpu.code; a zero byte follows, so that text is a string */
} tvmpose_gpu_image;

typedef struct {
  const char *entry; /* the function's name in the device code */
  uint32_t block[3];
  uint32_t shared_bytes;         /* static, in the code itself: to be checked against the device's limit */
  uint32_t dynamic_shared_bytes; /* to be asked for with the launch, CUDA only */
  int32_t num_args;              /* all of them are device pointers, in the order of tvmpose_gpu_launch.args */
} tvmpose_gpu_kernel;

typedef struct {
  uint16_t kernel;      /* index into tvmpose_gpu.kernels */
  uint16_t step;        /* index among info.step_names; a step may have several launches */
  uint32_t grid[3];     /* in blocks */
  const uint16_t *args; /* indices into tvmpose_model.tensors, those in one of the device's three pieces */
} tvmpose_gpu_launch;

/* A frame is some of these, in this order. Launches of a part lie side by side: from begins[part] to begins[part + 1].
 * A bundle without a card has NETWORK only; one whose decode runs on the CPU has no launches for DECODE. */
enum { TVMPOSE_WARP_PACKED = 0, TVMPOSE_WARP_NV12 = 1, TVMPOSE_NETWORK = 2, TVMPOSE_DECODE = 3, TVMPOSE_PARTS = 4 };

/* What is copied back after a frame that came as pixels: a tensor of the device to one of the host, of equal size. */
typedef struct {
  uint16_t device, host; /* indices into tvmpose_model.tensors */
} tvmpose_gpu_download;

typedef struct {
  const uint8_t *code;
  const tvmpose_gpu_image *images;
  int32_t num_images;
  const tvmpose_gpu_kernel *kernels;
  int32_t num_kernels;
  const tvmpose_gpu_launch *launches;
  int32_t begins[TVMPOSE_PARTS + 1];
  const tvmpose_gpu_download *downloads;
  int32_t num_downloads;
  uint64_t arena_bytes;
  uint32_t alignment; /* of every tensor on the device */
  /* The frame begins with a head: geometry, int32[8] as in model.h, and for NV12 the chroma plane's offset among the
   * pixels as its fifth number; at `matrix_offset` the matrix, float32[6]; at head_bytes the pixels, NV12's planes one
   * behind the other. */
  uint32_t matrix_offset, head_bytes;
  uint64_t first_frame_bytes; /* what open() makes room for: a picture of 1280 x 720 RGBA and the head */
  /* What the code needs of a device; a backend refuses one that has less, in one line. */
  uint32_t max_threads, max_shared_bytes; /* the most that one block of any kernel has */
  uint8_t needs_fp16;                     /* arithmetic in half; storage alone needs nothing */
  uint8_t any_device;                     /* OpenCL: take a device that is no GPU where there is none */
} tvmpose_gpu;

/* ---- What a backend, opencl.c or cuda.c, defines. ----
 *
 * It is part of the library's one translation unit, included by gpu.c behind error.c and memory.c, and may use the_model().
 * Everything is static. Functions that return int return a tvmpose_status, and have written one line to `error`
 * (ERROR_BYTES long) where it is not TVMPOSE_OK: TVMPOSE_UNSUPPORTED_CPU where there is no driver, no device or not the right
 * one, TVMPOSE_OUT_OF_MEMORY where the device's memory does not suffice, TVMPOSE_INTERNAL for what should not happen.
 *
 *     typedef struct device device;       everything of one handle
 *
 *     int check_device(const tvmpose_gpu *, char *error)
 *         Whether there is a device that the code can run on. Called by check_cpu(), without a handle, any thread.
 *     int open_device(const tvmpose_gpu *, device **, char *error)
 *         Driver, device, context, queue, code and kernels; the arena, weights and the frame's first_frame_bytes; the
 *         weights' upload. *device is written on success only; after a failure nothing is left.
 *     void close_device(device *)         NULL is allowed; waits for what is under way
 *     int reserve_frame(device *, uint64_t bytes, uint8_t **staging, char *error)
 *         Room for a frame of so many bytes: *staging is host memory that the device can copy from, valid until the next
 *         call. Grows, and binds the launches that read the frame anew, only where the frame is larger than all before.
 *     int upload_frame(device *, uint64_t bytes, char *error)
 *         Queue the copy of the staging memory's first `bytes` into the device's frame.
 *     int write_device(device *, uint64_t offset, const void *from, uint64_t bytes, char *error)
 *     int read_device(device *, uint64_t offset, void *to, uint64_t bytes, char *error)
 *         Between the host and the device's arena. Both are done when they return; read waits for all before it.
 *     int run_parts(device *, uint32_t parts, uint64_t *profile, char *error)
 *         Queue the launches of the parts whose bits (1 << TVMPOSE_NETWORK) are set, in order. It need not wait: a
 *         read_device follows. Which sets come: {WARP_PACKED, NETWORK, DECODE}, {WARP_NV12, NETWORK, DECODE}, {NETWORK}.
 *         profile, where not NULL: run the launches one by one and add the device's nanoseconds of each to
 *         profile[launch.step].
 *
 * A handle is used by one thread at a time, which need not be always the same; handles work side by side. */

#endif
