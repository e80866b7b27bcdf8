/* fuzz_api.c - libFuzzer on the C interface: image descriptors, boxes, options, handles, in any order.
 *
 * The judge is a second reading of tvmpose.h, written here in 64-bit arithmetic: a call must succeed exactly when that
 * reading allows it. What is allowed gets a buffer that is really as large as claimed, and the byte after it faults. */
#define _GNU_SOURCE 1
#include <math.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "check.h"

/* Room for the largest NV12 image: two planes under 2 GiB each. Pages that are only read cost no memory. */
#define PIXEL_BYTES (UINT64_C(4) << 30)
#define PAGE 4096
enum { MAX_PEOPLE = 16, MAX_BOXES = 18 };

static const tvmpose_api *api;
static tvmpose_handle *handles[2];
static const uint8_t *pixels_end, *chroma_end;

static const uint8_t *map_pixels(void) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  uint8_t *start = mmap(NULL, PIXEL_BYTES + PAGE, PROT_NONE, flags, -1, 0);
  CHECK(start != MAP_FAILED && !mprotect(start, PIXEL_BYTES, PROT_READ));
  madvise(start, PIXEL_BYTES, MADV_HUGEPAGE); /* a fault for each 2 MiB instead of each 4 KiB */
  return start + PIXEL_BYTES;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  api = POSE_API();
  pixels_end = map_pixels();
  chroma_end = map_pixels();
  handles[0] = open_or_die(1);
  handles[1] = open_or_die(1);
  return 0;
}

/* The input as a stream of small values; past its end come zeros. */
typedef struct {
  const uint8_t *bytes;
  size_t left;
} stream;

static void take(stream *s, void *value, size_t size) {
  memset(value, 0, size);
  size_t given = size < s->left ? size : s->left;
  memcpy(value, s->bytes, given);
  s->bytes += given;
  s->left -= given;
}

static uint8_t take_byte(stream *s) {
  uint8_t value;
  take(s, &value, sizeof value);
  return value;
}

/* Mostly sizes as they occur; now and then anything. */
static int32_t take_size(stream *s) {
  uint16_t small;
  int32_t any;
  uint8_t kind = take_byte(s) % 8;
  if (kind < 5) return take_byte(s);
  take(s, &small, sizeof small);
  if (kind < 7) return small;
  take(s, &any, sizeof any);
  return any;
}

static float take_coordinate(stream *s) {
  float any;
  if (take_byte(s) % 8) return (float)take_size(s) / 4 - 20;
  take(s, &any, sizeof any);
  return any;
}

/* The second reading */

static bool plane_allowed(int64_t stride, int64_t row_bytes, int64_t rows) {
  return stride >= row_bytes && stride * rows < INT64_C(1) << 31;
}

/* Whether the image may be given at all and, if so, how many bytes from data and from chroma it takes. */
static bool image_allowed(const tvmpose_image *image, bool chroma_follows, uint64_t *bytes, uint64_t *chroma_bytes) {
  int64_t width = image->width, height = image->height;
  if (width < 1 || height < 1 || width > 32767 || height > 32767) return false;
  if (image->format < 0 || image->format > 4) return false;
  bool nv12 = image->format == TVMPOSE_NV12;
  int64_t row = nv12 ? width : image->format < TVMPOSE_RGBA ? 3 * width : 4 * width;
  int64_t stride = image->stride ? image->stride : row;
  if (!plane_allowed(stride, row, height)) return false;
  *bytes = (uint64_t)(stride * (height - 1) + row);
  if (!nv12) return true;
  int64_t chroma_stride = image->chroma_stride ? image->chroma_stride : stride;
  if (width % 2 || height % 2 || !plane_allowed(chroma_stride, width, height / 2)) return false;
  *chroma_bytes = (uint64_t)(chroma_stride * (height / 2 - 1) + width);
  if (chroma_follows) *bytes = (uint64_t)(stride * height) + *chroma_bytes;
  return true;
}

static bool box_allowed(const tvmpose_box *box, const tvmpose_image *image) {
  const double x = box->x, y = box->y, w = box->width, h = box->height, most = 1 << 20;
  return fabs(x) < INFINITY && fabs(y) < INFINITY && w > 0 && h > 0 && w <= most && h <= most && x < image->width &&
         y < image->height && x + w > 0 && y + h > 0;
}

/* The calls */

static tvmpose_image take_image(stream *s, bool *allowed) {
  tvmpose_image image = {NULL, NULL, take_size(s), take_size(s), 0, 0, take_byte(s) % 6};
  uint8_t flags = take_byte(s);
  if (flags & 1) image.stride = take_size(s);
  if (flags & 2) image.chroma_stride = take_size(s);
  bool chroma_follows = flags & 4;
  uint64_t bytes = 0, chroma_bytes = 0;
  *allowed = image_allowed(&image, chroma_follows, &bytes, &chroma_bytes);
  image.data = pixels_end - bytes;
  if (!chroma_follows) image.chroma = chroma_end - chroma_bytes;
  if ((flags & 0xf8) == 0xf8) { /* seldom */
    image.data = NULL;
    *allowed = false;
  }
  return image;
}

static void check_people(const tvmpose_result *result, int32_t count) {
  CHECK(result->num_people == count);
  for (int32_t i = 0; i < count; ++i)
    for (int32_t k = 0; k < api->info()->num_keypoints; ++k)
      CHECK(isfinite(result->people[i].keypoints[k].x) && isfinite(result->people[i].keypoints[k].y));
}

static void run_image(stream *s, tvmpose_handle *h, bool turned) {
  bool allowed;
  float angles[MAX_BOXES];
  tvmpose_image image = take_image(s, &allowed);
  tvmpose_box boxes[MAX_BOXES];
  int32_t num_boxes = take_byte(s);
  bool give_boxes = num_boxes & 1;
  num_boxes = num_boxes / 2 % (MAX_BOXES + 2) - 1;
  for (int32_t i = 0; i < num_boxes; ++i) {
    boxes[i] = (tvmpose_box){take_coordinate(s), take_coordinate(s), take_coordinate(s), take_coordinate(s)};
    allowed = allowed && box_allowed(&boxes[i], &image);
    angles[i] = turned ? take_coordinate(s) : 0;
    allowed = allowed && isfinite(angles[i]);
  }
  allowed = allowed && h && num_boxes >= 0 && num_boxes <= (give_boxes ? MAX_PEOPLE : 0) && (give_boxes || !turned);
  tvmpose_result result;
  const tvmpose_box *given = give_boxes ? boxes : NULL;
  int status = turned ? api->run_rotated(h, &image, given, angles, num_boxes, &result)
                      : api->run_image(h, &image, given, num_boxes, &result);
  CHECK((status == TVMPOSE_OK) == allowed);
  CHECK(allowed == !api->last_error(h)[0]);
  if (allowed) check_people(&result, give_boxes ? num_boxes : 1);
}

static void run_tensors(stream *s, tvmpose_handle *h) {
  static _Alignas(64) uint8_t memory[32][1 << 12];
  const void *inputs[16];
  void *outputs[16];
  uint8_t missing = take_byte(s);
  const tvmpose_info *info = api->info();
  for (int32_t i = 0; i < info->num_inputs; ++i) {
    if (info->inputs[i].bytes > sizeof memory[i]) return; /* made for small networks */
    inputs[i] = missing == i ? NULL : memory[i];
    take(s, memory[i], s->left < info->inputs[i].bytes ? s->left : info->inputs[i].bytes);
    memory[i][3] = 0; /* no number that asks tiny_model.c to misbehave */
  }
  for (int32_t i = 0; i < info->num_outputs; ++i) {
    if (info->outputs[i].bytes > sizeof memory[i]) return;
    outputs[i] = missing == 16 + i ? NULL : memory[16 + i];
  }
  bool allowed = h && !(missing < info->num_inputs) && !(missing >= 16 && missing < 16 + info->num_outputs);
  CHECK((api->run_tensors(h, inputs, outputs) == TVMPOSE_OK) == allowed);
}

static void reopen(stream *s) {
  tvmpose_options options = {take_byte(s) % 32, take_byte(s) % 128 - 2, take_size(s)};
  tvmpose_handle *h = NULL;
  bool sized = options.struct_size >= sizeof options && options.threads >= 0 && options.threads <= 64;
  if (sized && options.threads != 0) options.threads = 1; /* starting threads is slow and has its own test */
  int status = api->open(&options, &h);
  CHECK((status == TVMPOSE_OK) == (sized && options.max_people >= 0 && options.max_people <= 4096));
  CHECK(!status == !!h);
  api->close(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  stream s = {data, size};
  while (s.left) {
    uint8_t what = take_byte(&s);
    tvmpose_handle *h = what < 8 ? NULL : handles[what % 16 == 1];
    if (what % 16 == 15) reopen(&s);
    else if (what % 16 == 14) CHECK(api->reset(h) == (h ? TVMPOSE_OK : TVMPOSE_INVALID_ARGUMENT));
    else if (what % 16 == 13) run_tensors(&s, h);
    else run_image(&s, h, what % 16 == 12);
  }
  return 0;
}
