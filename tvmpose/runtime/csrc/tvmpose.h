/* tvmpose.h - the C interface of a compiled pose network (one bundle = one library = one network).
 *
 * A bundle's library exports one symbol, NAME_tvmpose(), which returns this table of functions:
 *
 *     const tvmpose_api *api = blazepose_lite_tvmpose();
 *     tvmpose_handle *pose;
 *     if (api->open(NULL, &pose)) { puts(api->last_error(NULL)); return 1; }
 *     tvmpose_image frame = {pixels, NULL, width, height, stride, 0, TVMPOSE_RGB};
 *     tvmpose_result result;
 *     if (api->run_image(pose, &frame, NULL, 0, &result)) puts(api->last_error(pose));
 *     api->close(pose);
 *
 * A handle is one caller at a time: a second thread gets TVMPOSE_BUSY and nothing happens. Any number of handles may
 * work at once. open() and set_threads() make the only allocations; a frame allocates nothing, opens nothing and blocks
 * only while its own worker threads finish. Coordinates are pixels of the image, x right, y down; (0, 0) is the centre of the first. */
#ifndef TVMPOSE_H
#define TVMPOSE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TVMPOSE_ABI 1 /* raised when a field or function below changes meaning; new ones are only ever appended */

typedef enum tvmpose_status {
  TVMPOSE_OK = 0,
  TVMPOSE_INVALID_ARGUMENT = 1, /* a null pointer, an impossible count or size */
  TVMPOSE_INVALID_IMAGE = 2,    /* size, stride or pixel format that cannot be */
  TVMPOSE_INVALID_BOX = 3,      /* not finite, empty, above 2^20 pixels, or outside the image */
  TVMPOSE_CAPACITY = 4,         /* more boxes than options.max_people */
  TVMPOSE_BUSY = 5,             /* another thread is inside this handle */
  TVMPOSE_UNSUPPORTED_CPU = 6,  /* compiled for instructions that this CPU lacks, or for a GPU */
  TVMPOSE_OUT_OF_MEMORY = 7,    /* the arena or a thread could not be had */
  TVMPOSE_UNSUPPORTED = 8,      /* this network has no such input: compiled without a model card */
  TVMPOSE_INTERNAL = 9          /* a kernel refused its arguments: a defect of the compiler, please report it */
} tvmpose_status;

typedef enum tvmpose_pixel_format {
  TVMPOSE_RGB = 0,
  TVMPOSE_BGR = 1,
  TVMPOSE_RGBA = 2,
  TVMPOSE_BGRA = 3,
  TVMPOSE_NV12 = 4 /* luma plane, then U and V interleaved at half size; BT.601 limited range; even width, height */
} tvmpose_pixel_format;

/* A view of the caller's pixels, only read and only during the call. Any alignment. */
typedef struct tvmpose_image {
  const uint8_t *data;   /* first row; for NV12 the luma plane */
  const uint8_t *chroma; /* NV12: the UV plane, or NULL when it follows the luma plane directly; else ignored */
  int32_t width, height; /* pixels, 1..32767 */
  int32_t stride;        /* bytes from row to row, or 0 for tightly packed rows */
  int32_t chroma_stride; /* NV12: likewise for the UV plane, 0 for the luma stride */
  int32_t format;        /* tvmpose_pixel_format */
} tvmpose_image;

/* A person's place in the image: corner and size in pixels, as COCO gives it: by edges, {0, 0, width, height} being the
 * whole image. The model card's padding is added inside. */
typedef struct tvmpose_box {
  float x, y, width, height;
} tvmpose_box;

typedef struct tvmpose_keypoint {
  float x, y, score;
} tvmpose_keypoint;

typedef struct tvmpose_person {
  float score;     /* the network's own where it has one, else the mean of the keypoints' */
  tvmpose_box box; /* the box that was looked at, before padding; of a network that finds people: where this one is */
  const tvmpose_keypoint *keypoints; /* info()->num_keypoints of them */
} tvmpose_person;

/* Owned by the handle and valid until its next run, reset or close. */
typedef struct tvmpose_result {
  int32_t num_people;
  const tvmpose_person *people;
} tvmpose_result;

/* Raw tensor: row-major, no gaps. dtype is DLPack's: code 0 int, 1 uint, 2 float, 6 bool. */
typedef struct tvmpose_tensor_info {
  const char *name;
  const int64_t *shape;
  int32_t ndim;
  uint8_t dtype_code, dtype_bits;
  uint64_t bytes;
} tvmpose_tensor_info;

typedef struct tvmpose_info {
  const char *name;    /* bundle name */
  const char *version; /* of the tvmpose that compiled it */
  const char *target;
  int32_t num_keypoints;             /* 0 when compiled without a model card */
  const char *const *keypoint_names; /* num_keypoints of them */
  int32_t input_width, input_height; /* of the network, in pixels */
  int32_t num_inputs, num_outputs;
  const tvmpose_tensor_info *inputs, *outputs;
  uint64_t arena_bytes, weight_bytes;
  int32_t num_steps;             /* of a frame: crop, the network's kernels, decode */
  const char *const *step_names; /* num_steps of them */
} tvmpose_info;

/* Pass NULL for the defaults. struct_size lets an old program meet a new library: set it to sizeof(tvmpose_options). */
typedef struct tvmpose_options {
  uint32_t struct_size;
  int32_t threads;    /* including the caller's; 0: as many as there are CPUs, up to 4 */
  int32_t max_people; /* most boxes in one run_image; 0: 16 */
} tvmpose_options;

typedef struct tvmpose_handle tvmpose_handle;

typedef struct tvmpose_api {
  uint32_t abi; /* TVMPOSE_ABI of the library */
  uint32_t struct_size;
  const tvmpose_info *(*info)(void);
  /* Checks the CPU, allocates the arena, starts the threads. *handle is written on success only; the caller closes it. */
  int (*open)(const tvmpose_options *options, tvmpose_handle **handle);
  /* Pixels to keypoints, one person a box (a network that finds people itself: any number, the best score first);
   * boxes == NULL && num_boxes == 0 looks at the whole image as one box. All is checked before the first kernel runs;
   * *result is written on success only. */
  int (*run_image)(tvmpose_handle *, const tvmpose_image *, const tvmpose_box *boxes, int32_t num_boxes,
                   tvmpose_result *);
  /* Tensors in, tensors out, in info()'s order and sizes: the caller's memory, any alignment. */
  int (*run_tensors)(tvmpose_handle *, const void *const *inputs, void *const *outputs);
  int (*set_threads)(tvmpose_handle *, int32_t threads); /* as options.threads; between frames */
  int (*threads)(const tvmpose_handle *);
  int (*reset)(tvmpose_handle *); /* forget what was carried from frame to frame */
  /* Why the last call on this handle failed; NULL handle: why this thread's last open() failed. Never NULL. */
  const char *(*last_error)(const tvmpose_handle *);
  void (*close)(tvmpose_handle *); /* NULL is allowed; not while another thread is inside */
  /* From now on every run adds the time of each step to nanoseconds[info()->num_steps], the caller's; NULL stops it. */
  int (*profile)(tvmpose_handle *, uint64_t *nanoseconds);
  /* TVMPOSE_OK, or TVMPOSE_UNSUPPORTED_CPU: then last_error(NULL) says what this CPU lacks. open() asks it first. */
  int (*check_cpu)(void);
  /* run_image with boxes that are turned about their centres: angles[i] in radians, clockwise as one sees the image; a
   * person who leans that far to the right is then upright for the network. Keypoints are in the image as ever. */
  int (*run_rotated)(tvmpose_handle *, const tvmpose_image *, const tvmpose_box *boxes, const float *angles,
                     int32_t num_boxes, tvmpose_result *);
} tvmpose_api;

#ifdef __cplusplus
}
#endif
#endif
