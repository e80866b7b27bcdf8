/* test_api.c - every function of the API and every way it refuses. */
#include <math.h>
#include <limits.h>

#include "check.h"

enum { WIDTH = 96, HEIGHT = 64 };
static const tvmpose_api *api;

static void check_refused(tvmpose_handle *h, int status, int expected, const char *word) {
  if (status != expected || !strstr(api->last_error(h), word))
    fprintf(stderr, "status %d, expected %d with '%s': %s\n", status, expected, word, api->last_error(h));
  CHECK(status == expected && strstr(api->last_error(h), word));
}

static void test_info(void) {
  const tvmpose_info *info = api->info();
  CHECK(api->abi == TVMPOSE_ABI && api->struct_size == sizeof(tvmpose_api));
  CHECK(info->name[0] && info->version[0] && info->target[0]);
  CHECK(info->num_inputs > 0 && info->num_outputs > 0);
  for (int32_t i = 0; i < info->num_outputs; ++i) {
    uint64_t elements = 1;
    for (int32_t d = 0; d < info->outputs[i].ndim; ++d) elements *= (uint64_t)info->outputs[i].shape[d];
    CHECK(info->outputs[i].bytes == elements * info->outputs[i].dtype_bits / 8);
  }
  for (int32_t k = 0; k < info->num_keypoints; ++k) CHECK(info->keypoint_names[k][0]);
}

static void test_open(void) {
  tvmpose_handle *h = NULL;
  tvmpose_options options = {sizeof options, 0, 0};
  check_refused(NULL, api->open(NULL, NULL), TVMPOSE_INVALID_ARGUMENT, "NULL");
  check_refused(NULL, api->open(&(tvmpose_options){0, 0, 0}, &h), TVMPOSE_INVALID_ARGUMENT, "struct_size");
  check_refused(NULL, api->open(&(tvmpose_options){sizeof options, -1, 0}, &h), TVMPOSE_INVALID_ARGUMENT, "threads");
  check_refused(NULL, api->open(&(tvmpose_options){sizeof options, 65, 0}, &h), TVMPOSE_INVALID_ARGUMENT, "threads");
  check_refused(NULL, api->open(&(tvmpose_options){sizeof options, 0, -1}, &h), TVMPOSE_INVALID_ARGUMENT, "max_people");
  check_refused(NULL, api->open(&(tvmpose_options){sizeof options, 0, INT_MAX}, &h), TVMPOSE_INVALID_ARGUMENT,
                "max_people");
  CHECK(!h);
  CHECK(api->open(&options, &h) == TVMPOSE_OK && h && !api->last_error(NULL)[0]);
  CHECK(api->threads(h) >= 1 && api->threads(h) <= 4);
  api->close(h);
  api->close(NULL);
}

static void test_null_handle(void) {
  tvmpose_result result;
  CHECK(api->run_image(NULL, NULL, NULL, 0, &result) == TVMPOSE_INVALID_ARGUMENT);
  CHECK(api->run_tensors(NULL, NULL, NULL) == TVMPOSE_INVALID_ARGUMENT);
  CHECK(api->reset(NULL) == TVMPOSE_INVALID_ARGUMENT);
  check_refused(NULL, api->set_threads(NULL, 1), TVMPOSE_INVALID_ARGUMENT, "handle");
  CHECK(api->threads(NULL) == 0);
}

static void test_set_threads(void) {
  tvmpose_handle *h = open_or_die(1);
  CHECK(api->threads(h) == 1);
  CHECK(api->set_threads(h, 3) == TVMPOSE_OK && api->threads(h) == 3);
  check_refused(h, api->set_threads(h, 65), TVMPOSE_INVALID_ARGUMENT, "65 threads");
  CHECK(api->threads(h) == 3);
  CHECK(api->set_threads(h, 0) == TVMPOSE_OK && api->threads(h) >= 1 && !api->last_error(h)[0]);
  api->close(h);
}

/* Image and boxes */

static void test_bad_images(tvmpose_handle *h, const uint8_t *rgb) {
  const struct {
    tvmpose_image image;
    int status;
    const char *word;
  } cases[] = {
      {{NULL, NULL, WIDTH, HEIGHT, 0, 0, TVMPOSE_RGB}, TVMPOSE_INVALID_ARGUMENT, "data"},
      {{rgb, NULL, 0, HEIGHT, 0, 0, TVMPOSE_RGB}, TVMPOSE_INVALID_IMAGE, "0x64"},
      {{rgb, NULL, WIDTH, -1, 0, 0, TVMPOSE_RGB}, TVMPOSE_INVALID_IMAGE, "96x-1"},
      {{rgb, NULL, 32768, HEIGHT, 0, 0, TVMPOSE_RGB}, TVMPOSE_INVALID_IMAGE, "32767"},
      {{rgb, NULL, INT_MIN, INT_MAX, INT_MIN, 0, TVMPOSE_RGB}, TVMPOSE_INVALID_IMAGE, "32767"},
      {{rgb, NULL, WIDTH, HEIGHT, WIDTH * 3 - 1, 0, TVMPOSE_RGB}, TVMPOSE_INVALID_IMAGE, "stride 287"},
      {{rgb, NULL, WIDTH, HEIGHT, WIDTH * 3, 0, TVMPOSE_BGRA}, TVMPOSE_INVALID_IMAGE, "384 bytes"},
      {{rgb, NULL, WIDTH, HEIGHT, -300, 0, TVMPOSE_RGB}, TVMPOSE_INVALID_IMAGE, "stride -300"},
      {{rgb, NULL, WIDTH, HEIGHT, INT_MAX, 0, TVMPOSE_RGB}, TVMPOSE_INVALID_IMAGE, "2 GiB"},
      {{rgb, NULL, WIDTH, HEIGHT, 0, 0, 5}, TVMPOSE_INVALID_IMAGE, "format 5"},
      {{rgb, NULL, WIDTH, HEIGHT, 0, 0, -1}, TVMPOSE_INVALID_IMAGE, "format -1"},
      {{rgb, NULL, WIDTH - 1, HEIGHT, 0, 0, TVMPOSE_NV12}, TVMPOSE_INVALID_IMAGE, "even"},
      {{rgb, NULL, WIDTH, HEIGHT - 1, 0, 0, TVMPOSE_NV12}, TVMPOSE_INVALID_IMAGE, "even"},
      {{rgb, NULL, WIDTH, HEIGHT, WIDTH - 1, 0, TVMPOSE_NV12}, TVMPOSE_INVALID_IMAGE, "luma"},
      {{rgb, NULL, WIDTH, HEIGHT, 0, WIDTH - 1, TVMPOSE_NV12}, TVMPOSE_INVALID_IMAGE, "chroma"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    tvmpose_result result = {-1, NULL};
    check_refused(h, api->run_image(h, &cases[i].image, NULL, 0, &result), cases[i].status, cases[i].word);
    CHECK(result.num_people == -1);
  }
}

static void test_bad_boxes(tvmpose_handle *h, const tvmpose_image *image) {
  const struct {
    tvmpose_box box;
    const char *word;
  } cases[] = {
      {{NAN, 0, 10, 10}, "finite"},     {{0, -INFINITY, 10, 10}, "finite"}, {{0, 0, INFINITY, 10}, "finite"},
      {{0, 0, 10, NAN}, "finite"},      {{0, 0, 0, 10}, "empty"},           {{0, 0, 10, -1}, "empty"},
      {{WIDTH, 0, 10, 10}, "outside"},  {{-10, 0, 10, 10}, "outside"},      {{0, HEIGHT, 10, 10}, "outside"},
      {{0, -10.5f, 10, 10}, "outside"}, {{-3e38f, 0, 3e38f, 10}, "larger"},
  };
  tvmpose_result result;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    tvmpose_box boxes[2] = {{0, 0, 10, 10}, cases[i].box};
    check_refused(h, api->run_image(h, image, boxes, 2, &result), TVMPOSE_INVALID_BOX, cases[i].word);
  }
  tvmpose_box many[17];
  for (int i = 0; i < 17; ++i) many[i] = (tvmpose_box){1, 1, 10, 10};
  check_refused(h, api->run_image(h, image, many, 17, &result), TVMPOSE_CAPACITY, "max_people = 16");
  check_refused(h, api->run_image(h, image, many, -1, &result), TVMPOSE_INVALID_ARGUMENT, "-1 boxes");
  check_refused(h, api->run_image(h, image, NULL, 1, &result), TVMPOSE_INVALID_ARGUMENT, "1 boxes at NULL");
  CHECK(api->run_image(h, image, many, 16, &result) == TVMPOSE_OK && result.num_people == 16);
  CHECK(api->run_image(h, image, many, 0, &result) == TVMPOSE_OK && result.num_people == 0);
}

/* The first person's keypoints of one frame from a fresh state, in memory of their own. */
static tvmpose_keypoint *find(tvmpose_handle *h, const tvmpose_image *image, const tvmpose_box *box) {
  size_t bytes = (size_t)api->info()->num_keypoints * sizeof(tvmpose_keypoint);
  tvmpose_result result;
  CHECK(api->reset(h) == TVMPOSE_OK);
  CHECK(api->run_image(h, image, box, box ? 1 : 0, &result) == TVMPOSE_OK);
  CHECK(result.num_people == 1 && isfinite(result.people[0].score));
  tvmpose_box whole = {0, 0, (float)image->width, (float)image->height};
  CHECK(!memcmp(&result.people[0].box, box ? box : &whole, sizeof whole));
  tvmpose_keypoint *keypoints = memcpy(zeroed(bytes), result.people[0].keypoints, bytes);
  for (int32_t k = 0; k < api->info()->num_keypoints; ++k)
    CHECK(isfinite(keypoints[k].x) && isfinite(keypoints[k].y) && isfinite(keypoints[k].score));
  return keypoints;
}

static void check_same(tvmpose_handle *h, const tvmpose_image *a, const tvmpose_image *b, const tvmpose_box *box) {
  tvmpose_keypoint *first = find(h, a, box), *second = find(h, b, box);
  CHECK(!memcmp(first, second, (size_t)api->info()->num_keypoints * sizeof *first));
  free(first);
  free(second);
}

/* The same picture in another order of channels and with gaps between rows gives the same keypoints. */
static void test_formats(tvmpose_handle *h, const uint8_t *rgb) {
  enum { STRIDE = WIDTH * 4 + 13 };
  static const int orders[][4] = {[TVMPOSE_RGB] = {3, 0, 1, 2},
                                  [TVMPOSE_BGR] = {3, 2, 1, 0},
                                  [TVMPOSE_RGBA] = {4, 0, 1, 2},
                                  [TVMPOSE_BGRA] = {4, 2, 1, 0}};
  const tvmpose_box box = {10, 5, 50, 40};
  const tvmpose_image image = {rgb, NULL, WIDTH, HEIGHT, 0, 0, TVMPOSE_RGB};
  for (int32_t format = TVMPOSE_RGB; format <= TVMPOSE_BGRA; ++format) {
    /* exactly as large as the last pixel needs, so that a sanitizer sees one byte too many */
    uint8_t *pixels = zeroed(STRIDE * (HEIGHT - 1) + WIDTH * orders[format][0]);
    for (int32_t i = 0; i < WIDTH * HEIGHT; ++i)
      for (int channel = 0; channel < 3; ++channel)
        pixels[i / WIDTH * STRIDE + i % WIDTH * orders[format][0] + orders[format][1 + channel]] = rgb[3 * i + channel];
    tvmpose_image other = {pixels, NULL, WIDTH, HEIGHT, STRIDE, 0, format};
    check_same(h, &image, &other, NULL);
    check_same(h, &image, &other, &box);
    free(pixels);
  }
}

static void test_nv12(tvmpose_handle *h) {
  uint8_t *planes = make_pixels(WIDTH, HEIGHT * 3 / 2, 1, 7), *chroma = zeroed(WIDTH * HEIGHT / 2);
  memcpy(chroma, planes + WIDTH * HEIGHT, WIDTH * HEIGHT / 2);
  tvmpose_image together = {planes, NULL, WIDTH, HEIGHT, 0, 0, TVMPOSE_NV12};
  tvmpose_image apart = {planes, chroma, WIDTH, HEIGHT, WIDTH, WIDTH, TVMPOSE_NV12};
  check_same(h, &together, &apart, NULL);
  free(planes);
  free(chroma);
}

static void test_people(tvmpose_handle *h, const tvmpose_image *image) {
  const tvmpose_box boxes[3] = {{0, 0, 40, 60}, {-20, -10, 60, 50}, {30.5f, 20.25f, 100, 9}};
  size_t bytes = (size_t)api->info()->num_keypoints * sizeof(tvmpose_keypoint);
  tvmpose_keypoint *alone[3];
  for (int i = 0; i < 3; ++i) alone[i] = find(h, image, &boxes[i]);
  tvmpose_result result;
  CHECK(api->reset(h) == TVMPOSE_OK && api->run_image(h, image, boxes, 3, &result) == TVMPOSE_OK);
  CHECK(result.num_people == 3);
  for (int i = 0; i < 3; ++i) {
    CHECK(!memcmp(&result.people[i].box, &boxes[i], sizeof boxes[i]));
    CHECK(!memcmp(result.people[i].keypoints, alone[i], bytes));
    free(alone[i]);
  }
}

/* No turn is run_image. */
static void test_rotated(tvmpose_handle *h, const tvmpose_image *image) {
  const tvmpose_box boxes[2] = {{10, 5, 50, 40}, {0, 0, 40, 60}};
  const float none[2] = {0, 0}, turned[2] = {0.5f, -3}, bad[2] = {0, NAN};
  size_t bytes = (size_t)api->info()->num_keypoints * sizeof(tvmpose_keypoint);
  tvmpose_result result;
  for (int i = 0; i < 2; ++i) {
    tvmpose_keypoint *upright = find(h, image, &boxes[i]);
    CHECK(api->reset(h) == TVMPOSE_OK && api->run_rotated(h, image, boxes, none, 2, &result) == TVMPOSE_OK);
    CHECK(result.num_people == 2 && !memcmp(result.people[i].keypoints, upright, bytes));
    free(upright);
  }
  CHECK(api->reset(h) == TVMPOSE_OK && api->run_rotated(h, image, boxes, turned, 2, &result) == TVMPOSE_OK);
  CHECK(result.num_people == 2 && !memcmp(&result.people[1].box, &boxes[1], sizeof *boxes));
  check_refused(h, api->run_rotated(h, image, boxes, bad, 2, &result), TVMPOSE_INVALID_BOX, "angle nan");
  check_refused(h, api->run_rotated(h, image, boxes, NULL, 2, &result), TVMPOSE_INVALID_ARGUMENT, "angles is NULL");
  check_refused(h, api->run_rotated(h, image, NULL, none, 0, &result), TVMPOSE_INVALID_ARGUMENT, "boxes is NULL");
}

static void test_run_image(void) {
  tvmpose_handle *h = open_or_die(2);
  uint8_t *rgb = make_pixels(WIDTH, HEIGHT, 3, 1);
  tvmpose_image image = {rgb, NULL, WIDTH, HEIGHT, 0, 0, TVMPOSE_RGB};
  tvmpose_result result;
  if (!api->info()->num_keypoints) {
    check_refused(h, api->run_image(h, &image, NULL, 0, &result), TVMPOSE_UNSUPPORTED, "model card");
  } else {
    check_refused(h, api->run_image(h, NULL, NULL, 0, &result), TVMPOSE_INVALID_ARGUMENT, "image is NULL");
    check_refused(h, api->run_image(h, &image, NULL, 0, NULL), TVMPOSE_INVALID_ARGUMENT, "result is NULL");
    test_bad_images(h, rgb);
    test_bad_boxes(h, &image);
    test_formats(h, rgb);
    test_nv12(h);
    test_people(h, &image);
    test_rotated(h, &image);
  }
  free(rgb);
  api->close(h);
}

/* Raw tensors */

typedef struct {
  void *inputs[16], *outputs[16];
} tensors;

static tensors make_tensors(void) {
  tensors t = {0};
  CHECK(api->info()->num_inputs <= 16 && api->info()->num_outputs <= 16);
  for (int32_t i = 0; i < api->info()->num_inputs; ++i) t.inputs[i] = zeroed(api->info()->inputs[i].bytes);
  for (int32_t i = 0; i < api->info()->num_outputs; ++i) t.outputs[i] = zeroed(api->info()->outputs[i].bytes);
  return t;
}

static void free_tensors(tensors *t) {
  for (int i = 0; i < 16; ++i) {
    free(t->inputs[i]);
    free(t->outputs[i]);
  }
}

static int run(tvmpose_handle *h, tensors *t) {
  return api->run_tensors(h, (const void *const *)t->inputs, t->outputs);
}

/* The same from any number of threads, and from a state that was reset. */
static void test_run_tensors(void) {
  tvmpose_handle *h = open_or_die(1);
  tensors t = make_tensors(), again = make_tensors();
  void *none[16] = {0};
  check_refused(h, api->run_tensors(h, NULL, t.outputs), TVMPOSE_INVALID_ARGUMENT, "inputs is NULL");
  check_refused(h, api->run_tensors(h, (const void *const *)t.inputs, NULL), TVMPOSE_INVALID_ARGUMENT,
                "outputs is NULL");
  check_refused(h, api->run_tensors(h, (const void *const *)none, t.outputs), TVMPOSE_INVALID_ARGUMENT, "inputs[0]");
  check_refused(h, api->run_tensors(h, (const void *const *)t.inputs, none), TVMPOSE_INVALID_ARGUMENT, "outputs[0]");
  CHECK(run(h, &t) == TVMPOSE_OK && !api->last_error(h)[0]);
  for (int32_t threads = 1; threads <= 4; ++threads) {
    CHECK(api->set_threads(h, threads) == TVMPOSE_OK && api->reset(h) == TVMPOSE_OK && run(h, &again) == TVMPOSE_OK);
    for (int32_t i = 0; i < api->info()->num_outputs; ++i)
      CHECK(!memcmp(t.outputs[i], again.outputs[i], api->info()->outputs[i].bytes));
  }
  free_tensors(&t);
  free_tensors(&again);
  api->close(h);
}

/* Every step of a network takes time; after NULL nothing is added any more. */
static void test_profile(void) {
  tvmpose_handle *h = open_or_die(1);
  tensors t = make_tensors();
  int32_t steps = api->info()->num_steps;
  uint64_t *times = calloc((size_t)steps, sizeof *times), sum = 0;
  for (int32_t i = 0; i < steps; ++i) CHECK(api->info()->step_names[i][0]);
  CHECK(api->profile(h, times) == TVMPOSE_OK && run(h, &t) == TVMPOSE_OK);
  for (int32_t i = 0; i < steps; ++i) sum += times[i];
  CHECK(sum > 0 && times[0] == 0 && times[steps - 1] == 0); /* tensors in: nothing cropped or decoded */
  CHECK(api->profile(h, NULL) == TVMPOSE_OK && run(h, &t) == TVMPOSE_OK);
  for (int32_t i = 0; i < steps; ++i) sum -= times[i];
  CHECK(sum == 0);
  free(times);
  free_tensors(&t);
  api->close(h);
}

/* What is known of tiny_model.c */
#if TINY

static void check_point(const tvmpose_keypoint *point, float x, float y, float score) {
  if (fabsf(point->x - x) > 1e-5f || fabsf(point->y - y) > 1e-5f || point->score != score)
    fprintf(stderr, "(%g, %g, %g), expected (%g, %g, %g)\n", point->x, point->y, point->score, x, y, score);
  CHECK(fabsf(point->x - x) <= 1e-5f && fabsf(point->y - y) <= 1e-5f && point->score == score);
}

/* A white dot at (6, 4) of 16x12. Whole image: scale 2. Box: padded by 1.25 to 8x6 at (3.2, 2.4), scale 1. */
static void test_tiny_keypoints(void) {
  uint8_t gray[16 * 12] = {[4 * 16 + 6] = 255}, rgb[16 * 12 * 3];
  for (size_t i = 0; i < sizeof rgb; ++i) rgb[i] = gray[i / 3];
  tvmpose_image image = {rgb, NULL, 16, 12, 0, 0, TVMPOSE_RGB};
  const tvmpose_box box = {4, 3, 6.4f, 4.8f};
  tvmpose_handle *h = open_or_die(1);
  tvmpose_keypoint *whole = find(h, &image, NULL), *boxed = find(h, &image, &box);
  check_point(&whole[0], 6, 4, 510);
  check_point(&whole[1], 6, 4, 127.5f);
  check_point(&whole[2], 6, 4, 255);
  check_point(&boxed[0], 6.2f, 4.4f, 510);
  free(whole);
  free(boxed);
  api->close(h);
}

static void test_tiny_state(void) {
  tvmpose_handle *h = open_or_die(1);
  tensors t = make_tensors();
  for (int frame = 1; frame < 4; ++frame) CHECK(run(h, &t) == TVMPOSE_OK && *(float *)t.outputs[1] == frame);
  CHECK(api->reset(h) == TVMPOSE_OK && run(h, &t) == TVMPOSE_OK && *(float *)t.outputs[1] == 1);
  free_tensors(&t);
  api->close(h);
}

static void test_tiny_failures(int32_t threads) {
  static const struct {
    float input;
    const char *error;
  } cases[] = {
      {TINY_RAISE, "kernel scale: TypeError: expected something else"},
      {TINY_RETURN, "kernel scale returned -7"},
      {TINY_RAISE_IN_TASK, "kernel scale: ValueError: task refuses its rows"},
      {TINY_EXHAUST, "kernel peaks: MemoryError: the kernel's workspace is larger than planned"},
      {TINY_LEAK, "kernel peaks returned -1"},
#ifdef TINY_GUARD
      {TINY_OVERSTEP, "kernel peaks wrote past the end of tensor 7 (peaks)"},
#endif
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    tvmpose_handle *h = open_or_die(threads);
    tensors t = make_tensors();
    *(float *)t.inputs[0] = cases[i].input;
    check_refused(h, run(h, &t), TVMPOSE_INTERNAL, cases[i].error);
    *(float *)t.inputs[0] = 1;
    CHECK(api->reset(h) == TVMPOSE_OK && run(h, &t) == TVMPOSE_OK && !api->last_error(h)[0]);
    free_tensors(&t);
    api->close(h);
  }
}
#endif

int main(void) {
  api = POSE_API();
  test_info();
  test_open();
  test_null_handle();
  test_set_threads();
  test_run_image();
  test_run_tensors();
  test_profile();
#if TINY
  test_tiny_keypoints();
  test_tiny_state();
  test_tiny_failures(1);
  test_tiny_failures(3);
#endif
  puts("ok");
  return 0;
}
