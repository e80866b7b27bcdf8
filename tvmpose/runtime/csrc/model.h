/* model.h - what generated code tells the runtime about one network. Private to a library.
 *
 * A library is one translation unit: the generated NAME.c defines TVMPOSE_NAME, includes model.h and runtime.c, fills a
 * tvmpose_model and ends with TVMPOSE_EXPORT, which defines NAME_tvmpose(). All else is static, so two bundles can be
 * linked into one program. The kernels are TVM's objects; every symbol they share with us is prefixed with the bundle's
 * name through TVMPOSE_SYMBOL. */
#ifndef TVMPOSE_MODEL_H
#define TVMPOSE_MODEL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* runtime.c: sched_getaffinity; has to stand before the first system header */
#endif

#include "tvmpose.h"
#ifdef TVMPOSE_GPU
#include "gpu.h"
#endif

/* TVMPOSE_NAME, the bundle's name as a C identifier, prefixes what the library and its kernels share. */
#define TVMPOSE_JOIN(name, symbol) name##_##symbol
#define TVMPOSE_PREFIX(name, symbol) TVMPOSE_JOIN(name, symbol)
#define TVMPOSE_SYMBOL(symbol) TVMPOSE_PREFIX(TVMPOSE_NAME, symbol)

/* TVM 0.27's packed-function ABI, little endian (DLPack's DLTensor and tvm-ffi's TVMFFIAny). */
typedef struct {
  int32_t device_type, device_id;
} DLDevice;
typedef struct {
  uint8_t code, bits;
  uint16_t lanes;
} DLDataType;
typedef struct {
  void *data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
} DLTensor;
typedef struct {
  int32_t type_index; /* 7: a DLTensor pointer */
  uint32_t zero_padding;
  union {
    int64_t v_int64;
    void *v_ptr;
  };
} TVMFFIAny;
typedef int32_t (*tvmpose_kernel)(void *self, const TVMFFIAny *args, int32_t num_args, TVMFFIAny *ret);

/* Where a tensor's bytes are. CALLER: pixels, set anew for each frame, one-dimensional uint8. */
enum { TVMPOSE_IN_ARENA = 0, TVMPOSE_IN_WEIGHTS = 1, TVMPOSE_IN_CALLER = 2 };

typedef struct {
  tvmpose_tensor_info info;
  uint8_t where;
  uint64_t offset; /* from the start of the arena or the weights; a multiple of 64 */
} tvmpose_tensor;

/* Weights that a smaller format holds exactly lie in the library as such; open() expands them to float in the arena. */
enum { TVMPOSE_AS_INT8 = 0, TVMPOSE_AS_FLOAT16 = 1, TVMPOSE_AS_BFLOAT16 = 2 };

typedef struct {
  uint64_t weights_offset, arena_offset, count; /* count: elements */
  uint8_t format;                               /* TVMPOSE_AS_... */
} tvmpose_compact_weights;

typedef struct {
  tvmpose_kernel function; /* NULL: this network has no such step */
  const char *name;
  const uint16_t *args; /* indices into tvmpose_model.tensors */
  int32_t num_args;
} tvmpose_call;

typedef struct {
  tvmpose_info info;
  const uint8_t *weights; /* 64-byte aligned */
  const tvmpose_tensor *tensors;
  int32_t num_tensors;
  const tvmpose_compact_weights *compact_weights;
  int32_t num_compact_weights;
  const uint16_t *inputs, *outputs; /* info.num_inputs / num_outputs indices, all of them in the arena */
  const tvmpose_call *calls;        /* the network, a straight line */
  int32_t num_calls;

  /* From pixels to keypoints; num_keypoints == 0: none of these. The tensors are the arguments of the three calls.
   * warp_packed(image u8[n], geometry i32[8], matrix f64[6], network input)
   *   geometry = {width, height, stride, bytes per pixel, offset of red, of green, of blue, 0}
   * warp_nv12(luma u8[n], chroma u8[m], geometry i32[8], matrix f64[6], network input)
   *   geometry = {width, height, luma stride, chroma stride, 0, 0, 0, 0}
   * decode(head outputs ..., matrix f64[6], keypoints f32[num_keypoints * 3] as x, y, score, person f32[1])
   * or, of a network that finds people itself, most_found times as many of both, and behind them
   *   boxes f32[most_found * 4] as x, y, width, height, found i32[1], how many of them there are
   * matrix = {a, b, c, d, e, f}: network pixel (x, y) lies at image (a x + b y + c, d x + e y + f), pixel centres being
   * whole numbers in both. decode applies it, so its keypoints are image coordinates. */
  tvmpose_call warp_packed, warp_nv12, decode;
  uint16_t image, chroma, geometry, matrix, keypoints, person; /* tensor indices; image and chroma IN_CALLER */
  uint16_t boxes, found;                                       /* likewise, where most_found > 0 */
  int32_t most_found; /* people that the network can find by itself in one box; 0: it looks at the one in the box */
  float crop_padding; /* a box's sides are multiplied by this */
  uint8_t half_pixel_centers; /* 1: the crop's edges meet the edges of the corner pixels; 0: their centres, as OpenCV's
                                 warpAffine is commonly used: image = corner + x * scale */

  uint64_t arena_bytes;
  uint64_t state_offset, state_bytes; /* part of the arena that reset() zeroes: what is carried between frames */
  uint64_t workspace_bytes;           /* scratch a kernel may ask for, for each thread */
  uint64_t cpu_features;              /* TVMPOSE_CPU_* bits that the kernels need */
  /* Test builds: bytes before and after every arena tensor, filled at open and checked after every call. The plan then
   * leaves that much room around each tensor and reuses no memory: a band must be nobody's. */
  uint32_t guard_bytes;
#ifdef TVMPOSE_GPU /* the network runs there: its calls have names, and no function */
  const tvmpose_gpu *gpu;
#endif
} tvmpose_model;

#endif
