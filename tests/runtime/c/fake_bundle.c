/* fake_bundle.c - a bundle's library without a network, so that bindings and the command line are tested without a
 * compiler. It reports what it was given: keypoints 0, 1, 2 are the box's corner, middle and far corner, and their
 * scores are red, green and blue of the pixel in the middle (NV12: Y, U, V), over 255.
 * FAKE_ABI, FAKE_HANGS, FAKE_NO_CARD and FAKE_TARGET change its character; so does FAKE_NEEDS, a mask of CPU features,
 * of which the CPU has those of the mask in the environment's FAKE_CPU. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tvmpose.h"

#ifndef FAKE_NEEDS
#define FAKE_NEEDS 0
#endif
#ifndef FAKE_TARGET
#define FAKE_TARGET "host"
#endif
#ifndef FAKE_ABI
#define FAKE_ABI TVMPOSE_ABI
#endif
#ifdef FAKE_NO_CARD
enum { NUM_KEYPOINTS = 0 };
#else
enum { NUM_KEYPOINTS = 3 };
#endif
enum { MOST_PEOPLE = 64 };

struct tvmpose_handle {
  atomic_flag inside;
  const char *error;
  int32_t threads, max_people;
  tvmpose_person people[MOST_PEOPLE];
  tvmpose_keypoint keypoints[MOST_PEOPLE][3];
};

static _Thread_local const char *open_error = "";
static const char *const keypoint_names[] = {"left_eye", "right_eye", "nose"};
static const char *const step_names[] = {"all"};
static const int64_t shape[] = {2, 3};
static const tvmpose_tensor_info inputs[] = {{"x", shape, 2, 2, 32, 24}, {"q", shape, 2, 0, 8, 6}};
static const tvmpose_tensor_info outputs[] = {{"twice", shape, 2, 2, 32, 24}};
static const tvmpose_info network = {"fake", "0.0.0", FAKE_TARGET, NUM_KEYPOINTS, keypoint_names, 192, 256,       2,
                                     1,      inputs,  outputs,     4096,          1024,           1,   step_names};

static const tvmpose_info *info(void) { return &network; }

static int fail(tvmpose_handle *h, int status, const char *message) {
  h->error = message;
  return status;
}

static int set_threads(tvmpose_handle *h, int32_t threads) {
  if (threads < 0) return fail(h, TVMPOSE_INVALID_ARGUMENT, "threads must not be negative");
  h->threads = threads ? threads : 1;
  return TVMPOSE_OK;
}

static int check_cpu(void) {
  const char *cpu = getenv("FAKE_CPU");
  uint64_t needed = FAKE_NEEDS;
  if (!(needed & ~(cpu ? strtoull(cpu, NULL, 0) : 0))) return TVMPOSE_OK;
  open_error = "this CPU lacks avx9000";
  return TVMPOSE_UNSUPPORTED_CPU;
}

static int open_handle(const tvmpose_options *options, tvmpose_handle **handle) {
  if (check_cpu()) return TVMPOSE_UNSUPPORTED_CPU;
  if (options && (options->threads < 0 || options->max_people < 0 || options->max_people > MOST_PEOPLE)) {
    open_error = "threads or max_people out of range";
    return TVMPOSE_INVALID_ARGUMENT;
  }
  tvmpose_handle *h = calloc(1, sizeof *h);
  if (!h) return TVMPOSE_OUT_OF_MEMORY;
  set_threads(h, options ? options->threads : 0);
  h->max_people = options && options->max_people ? options->max_people : 16;
  *handle = h;
  return TVMPOSE_OK;
}

static void middle_pixel(const tvmpose_image *image, int32_t x, int32_t y, uint8_t out[3]) {
  ptrdiff_t channels = image->format == TVMPOSE_NV12 ? 1 : image->format >= TVMPOSE_RGBA ? 4 : 3;
  ptrdiff_t stride = image->stride ? image->stride : image->width * channels;
  const uint8_t *pixel = image->data + y * stride + x * channels;
  if (image->format == TVMPOSE_NV12) {
    const uint8_t *chroma = image->data + image->height * stride + y / 2 * stride + x / 2 * 2;
    out[0] = pixel[0], out[1] = chroma[0], out[2] = chroma[1];
    return;
  }
  int swapped = image->format == TVMPOSE_BGR || image->format == TVMPOSE_BGRA;
  out[0] = pixel[swapped ? 2 : 0], out[1] = pixel[1], out[2] = pixel[swapped ? 0 : 2];
}

static int look(tvmpose_handle *h, const tvmpose_image *image, tvmpose_box b, int32_t i) {
  if (!isfinite(b.x + b.y + b.width + b.height) || b.width <= 0 || b.height <= 0)
    return fail(h, TVMPOSE_INVALID_BOX, "box is not finite or empty");
  if (b.x >= (float)image->width || b.y >= (float)image->height || b.x + b.width <= 0 || b.y + b.height <= 0)
    return fail(h, TVMPOSE_INVALID_BOX, "box is outside the image");
  float x = fminf(fmaxf(b.x + b.width / 2, 0), (float)image->width - 1);
  float y = fminf(fmaxf(b.y + b.height / 2, 0), (float)image->height - 1);
  uint8_t colour[3];
  middle_pixel(image, (int32_t)x, (int32_t)y, colour);
  for (int k = 0; k < 3; k++)
    h->keypoints[i][k] =
        (tvmpose_keypoint){b.x + b.width * (float)k / 2, b.y + b.height * (float)k / 2, (float)colour[k] / 255};
  h->people[i] = (tvmpose_person){0.5f, b, h->keypoints[i]};
  return TVMPOSE_OK;
}

static int run_image(tvmpose_handle *h, const tvmpose_image *image, const tvmpose_box *boxes, int32_t count,
                     tvmpose_result *result) {
  if (atomic_flag_test_and_set(&h->inside)) return TVMPOSE_BUSY;
  int status = TVMPOSE_OK;
  tvmpose_box whole = {0, 0, (float)image->width, (float)image->height};
  if (!NUM_KEYPOINTS) status = fail(h, TVMPOSE_UNSUPPORTED, "compiled without a model card: use run_tensors");
  else if (count > h->max_people) status = fail(h, TVMPOSE_CAPACITY, "more boxes than max_people");
  if (!boxes) boxes = &whole, count = 1;
  for (int32_t i = 0; i < count && !status; i++) status = look(h, image, boxes[i], i);
  if (!status) *result = (tvmpose_result){count, h->people};
  atomic_flag_clear(&h->inside);
  return status;
}

/* A turned box finds its joints turned with it. */
static int run_rotated(tvmpose_handle *h, const tvmpose_image *image, const tvmpose_box *boxes, const float *angles,
                       int32_t count, tvmpose_result *result) {
  int status = run_image(h, image, boxes, count, result);
  for (int32_t i = 0; i < count && !status; i++)
    for (int k = 0; k < NUM_KEYPOINTS; k++) {
      tvmpose_keypoint *point = &h->keypoints[i][k];
      float x = boxes[i].x + boxes[i].width / 2, y = boxes[i].y + boxes[i].height / 2;
      float dx = point->x - x, dy = point->y - y, c = cosf(angles[i]), s = sinf(angles[i]);
      point->x = x + c * dx - s * dy, point->y = y + s * dx + c * dy;
    }
  return status;
}

static int run_tensors(tvmpose_handle *h, const void *const *in, void *const *out) {
  (void)h;
#ifdef FAKE_HANGS
  for (volatile int forever = 1; forever;) continue;
#endif
  for (int i = 0; i < 6; i++) ((float *)out[0])[i] = 2 * ((const float *)in[0])[i] + (float)((const int8_t *)in[1])[i];
  return TVMPOSE_OK;
}

static int threads(const tvmpose_handle *h) { return h->threads; }
static int reset(tvmpose_handle *h) { return memset(h->people, 0, sizeof h->people), TVMPOSE_OK; }
static const char *last_error(const tvmpose_handle *h) { return h ? h->error : open_error; }
static void close_handle(tvmpose_handle *h) { free(h); }

static int profile(tvmpose_handle *h, uint64_t *nanoseconds) {
  (void)h, (void)nanoseconds;
  return TVMPOSE_OK;
}

const tvmpose_api *fake_tvmpose(void);
const tvmpose_api *fake_tvmpose(void) {
  static const tvmpose_api api = {FAKE_ABI, sizeof api, info,       open_handle,  run_image, run_tensors, set_threads,
                                  threads,  reset,      last_error, close_handle, profile,   check_cpu,   run_rotated};
  return &api;
}
