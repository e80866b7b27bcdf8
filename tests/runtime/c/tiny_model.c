/* tiny_model.c - a network written by hand in the form of a generated library, so that the runtime's tests need no TVM.
 *
 * Input 6x8 RGB, nearest neighbour, black outside the image. Its three keypoints are the brightest pixel of red, of
 * green and of blue; each channel is halved, doubled or kept on the way (weights). Output 0 are the peaks, output 1
 * counts the frames since reset. NV12 is read as R = luma, G = U, B = V.
 *
 * Variants: TVMPOSE_NAME, TINY_GUARD, TINY_CPU_FEATURES, TINY_ARENA_BYTES, TINY_NO_CARD, TINY_HALF_PIXEL. */
#ifndef TVMPOSE_NAME
#define TVMPOSE_NAME tiny
#endif
#ifndef TINY_GUARD
#define TINY_GUARD 0
#endif
#ifndef TINY_CPU_FEATURES
#define TINY_CPU_FEATURES 0
#endif
#ifndef TINY_HALF_PIXEL
#define TINY_HALF_PIXEL 0
#endif
#include "model.h"
#include "runtime.c"

#include "tiny_model.h"

atomic_int TVMPOSE_SYMBOL(inside), TVMPOSE_SYMBOL(go);

static void *data_of(const TVMFFIAny *args, int index) { return ((DLTensor *)args[index].v_ptr)->data; }

/* warp_packed and warp_nv12 */

static int sample(const double *matrix, const int32_t *geometry, int x, int y, long *u, long *v) {
  double image_x = matrix[0] * x + matrix[1] * y + matrix[2], image_y = matrix[3] * x + matrix[4] * y + matrix[5];
  *u = (long)floor(image_x + 0.5);
  *v = (long)floor(image_y + 0.5);
  return *u >= 0 && *u < geometry[0] && *v >= 0 && *v < geometry[1];
}

static int32_t warp_packed(void *self, const TVMFFIAny *args, int32_t num_args, TVMFFIAny *ret) {
  (void)self, (void)num_args, (void)ret;
  const uint8_t *image = data_of(args, 0);
  const int32_t *geometry = data_of(args, 1);
  float (*out)[3] = data_of(args, 3);
  for (int i = 0; i < TINY_PIXELS; ++i) {
    long u, v;
    int inside = sample(data_of(args, 2), geometry, i % TINY_WIDTH, i / TINY_WIDTH, &u, &v);
    for (int channel = 0; channel < 3; ++channel)
      out[i][channel] = inside ? image[v * geometry[2] + u * geometry[3] + geometry[4 + channel]] : 0;
  }
  return 0;
}

static int32_t warp_nv12(void *self, const TVMFFIAny *args, int32_t num_args, TVMFFIAny *ret) {
  (void)self, (void)num_args, (void)ret;
  const uint8_t *luma = data_of(args, 0), *chroma = data_of(args, 1);
  const int32_t *geometry = data_of(args, 2);
  float (*out)[3] = data_of(args, 4);
  for (int i = 0; i < TINY_PIXELS; ++i) {
    long u, v;
    memset(out[i], 0, sizeof out[i]);
    if (!sample(data_of(args, 3), geometry, i % TINY_WIDTH, i / TINY_WIDTH, &u, &v)) continue;
    out[i][0] = luma[v * geometry[2] + u];
    for (int k = 0; k < 2; ++k) out[i][1 + k] = chroma[v / 2 * geometry[3] + u / 2 * 2 + k];
  }
  return 0;
}

/* The network: scale (parallel), peaks (workspace), count (state) */

typedef struct {
  const float *input, *weights;
  float *output;
} scale_closure;

static int scale_rows(int task_id, parallel_env *env, void *closure) {
  const scale_closure *scale = closure;
  if (scale->input[0] == TINY_RAISE_IN_TASK && task_id == env->num_task - 1) {
    const char *parts[] = {"task refuses ", "its rows"};
    TVMPOSE_SYMBOL(TVMFFIErrorSetRaisedFromCStrParts)("ValueError", parts, 2);
    return -1;
  }
  for (int y = task_id; y < TINY_HEIGHT; y += env->num_task)
    for (int i = y * TINY_WIDTH * 3; i < (y + 1) * TINY_WIDTH * 3; ++i)
      scale->output[i] = scale->input[i] * scale->weights[i % 3];
  return 0;
}

static int32_t scale(void *self, const TVMFFIAny *args, int32_t num_args, TVMFFIAny *ret) {
  (void)self, (void)num_args, (void)ret;
  scale_closure closure = {data_of(args, 0), data_of(args, 1), data_of(args, 2)};
  if (closure.input[0] == TINY_RAISE) {
    TVMPOSE_SYMBOL(TVMFFIErrorSetRaisedFromCStr)("TypeError", "expected something else");
    return -1;
  }
  if (closure.input[0] == TINY_RETURN) return -7;
  if (closure.input[0] == TINY_WAIT) {
    atomic_fetch_add(&TVMPOSE_SYMBOL(inside), 1);
    while (!atomic_load(&TVMPOSE_SYMBOL(go))) sched_yield();
  }
  return TVMPOSE_SYMBOL(__TVMBackendParallelLaunch)(scale_rows, &closure, 0);
}

static void find_peak(const float *plane, float *peak) {
  int best = 0;
  for (int i = 1; i < TINY_PIXELS; ++i)
    if (plane[i] > plane[best]) best = i;
  peak[0] = best % TINY_WIDTH;
  peak[1] = best / TINY_WIDTH;
  peak[2] = plane[best];
}

static int32_t peaks(void *self, const TVMFFIAny *args, int32_t num_args, TVMFFIAny *ret) {
  (void)self, (void)num_args, (void)ret;
  const float *scaled = data_of(args, 0);
  float *out = data_of(args, 1);
  uint64_t bytes = scaled[0] == 2 * TINY_EXHAUST ? 1 << 20 : TINY_PIXELS * sizeof(float);
  float *plane = TVMPOSE_SYMBOL(__TVMBackendAllocWorkspace)(1, 0, bytes, 2, 32);
  if (!plane || scaled[0] == 2 * TINY_LEAK) return -1;
  for (int channel = 0; channel < 3; ++channel) {
    for (int i = 0; i < TINY_PIXELS; ++i) plane[i] = scaled[3 * i + channel];
    find_peak(plane, out + 3 * channel);
  }
  if (scaled[0] == 2 * TINY_OVERSTEP) ((uint8_t *)out)[36] = 0;
  return TVMPOSE_SYMBOL(__TVMBackendFreeWorkspace)(1, 0, plane);
}

static int32_t count(void *self, const TVMFFIAny *args, int32_t num_args, TVMFFIAny *ret) {
  (void)self, (void)num_args, (void)ret;
  float *state = data_of(args, 0), *frames = data_of(args, 1);
  *frames = *state += 1;
  return 0;
}

static int32_t decode(void *self, const TVMFFIAny *args, int32_t num_args, TVMFFIAny *ret) {
  (void)self, (void)num_args, (void)ret;
  const float *peak = data_of(args, 0);
  const double *matrix = data_of(args, 1);
  float *keypoints = data_of(args, 2), *person = data_of(args, 3);
  *person = 0;
  for (int k = 0; k < 3; ++k, peak += 3, keypoints += 3) {
    keypoints[0] = (float)(matrix[0] * peak[0] + matrix[1] * peak[1] + matrix[2]);
    keypoints[1] = (float)(matrix[3] * peak[0] + matrix[4] * peak[1] + matrix[5]);
    *person += (keypoints[2] = peak[2]) / 3;
  }
  return 0;
}

/* The tables */

enum { IMAGE, CHROMA, GEOMETRY, MATRIX, INPUT, WEIGHTS, SCALED, PEAKS, STATE, FRAMES, KEYPOINTS, PERSON, NUM_TENSORS };

/* Every tensor has a slot of its own with room for its guard bands. */
enum { SLOT = 640 + 2 * TINY_GUARD };
#define OFFSET(tensor) ((tensor) * SLOT + TINY_GUARD)
#ifndef TINY_ARENA_BYTES
#define TINY_ARENA_BYTES (NUM_TENSORS * SLOT)
#endif

#define SHAPE(...) ((const int64_t[]){__VA_ARGS__})
static const tvmpose_tensor_info input_info = {"input", SHAPE(1, TINY_HEIGHT, TINY_WIDTH, 3), 4, 2, 32, 576};
static const tvmpose_tensor_info output_infos[] = {{"peaks", SHAPE(3, 3), 2, 2, 32, 36},
                                                   {"frames", SHAPE(1), 1, 2, 32, 4}};
static _Alignas(64) const float weights[16] = {2, 0.5f, 1};

static const tvmpose_tensor tensors[NUM_TENSORS] = {
    [IMAGE] = {{"image", NULL, 1, 1, 8, 0}, TVMPOSE_IN_CALLER, 0},
    [CHROMA] = {{"chroma", NULL, 1, 1, 8, 0}, TVMPOSE_IN_CALLER, 0},
    [GEOMETRY] = {{"geometry", SHAPE(8), 1, 0, 32, 32}, TVMPOSE_IN_ARENA, OFFSET(GEOMETRY)},
    [MATRIX] = {{"matrix", SHAPE(6), 1, 2, 64, 48}, TVMPOSE_IN_ARENA, OFFSET(MATRIX)},
    [INPUT] = {{"input", SHAPE(1, TINY_HEIGHT, TINY_WIDTH, 3), 4, 2, 32, 576}, TVMPOSE_IN_ARENA, OFFSET(INPUT)},
    [WEIGHTS] = {{"weights", SHAPE(3), 1, 2, 32, 12}, TVMPOSE_IN_WEIGHTS, 0},
    [SCALED] = {{"scaled", SHAPE(TINY_HEIGHT, TINY_WIDTH, 3), 3, 2, 32, 576}, TVMPOSE_IN_ARENA, OFFSET(SCALED)},
    [PEAKS] = {{"peaks", SHAPE(3, 3), 2, 2, 32, 36}, TVMPOSE_IN_ARENA, OFFSET(PEAKS)},
    [STATE] = {{"state", SHAPE(1), 1, 2, 32, 4}, TVMPOSE_IN_ARENA, OFFSET(STATE)},
    [FRAMES] = {{"frames", SHAPE(1), 1, 2, 32, 4}, TVMPOSE_IN_ARENA, OFFSET(FRAMES)},
    [KEYPOINTS] = {{"keypoints", SHAPE(9), 1, 2, 32, 36}, TVMPOSE_IN_ARENA, OFFSET(KEYPOINTS)},
    [PERSON] = {{"person", SHAPE(1), 1, 2, 32, 4}, TVMPOSE_IN_ARENA, OFFSET(PERSON)},
};

#define CALL(function, ...) \
  {function, #function, (const uint16_t[]){__VA_ARGS__}, sizeof((uint16_t[]){__VA_ARGS__}) / sizeof(uint16_t)}
static const tvmpose_call calls[] = {
    CALL(scale, INPUT, WEIGHTS, SCALED),
    CALL(peaks, SCALED, PEAKS),
    CALL(count, STATE, FRAMES),
};

#define TEXT(x) #x
#define NAME_TEXT(x) TEXT(x)
static const tvmpose_model model = {
    .info = {.name = NAME_TEXT(TVMPOSE_NAME),
             .version = "0",
             .target = "host",
#ifndef TINY_NO_CARD
             .num_keypoints = 3,
             .keypoint_names = (const char *const[]){"red", "green", "blue"},
#endif
             .input_width = TINY_WIDTH,
             .input_height = TINY_HEIGHT,
             .num_inputs = 1,
             .num_outputs = 2,
             .inputs = &input_info,
             .outputs = output_infos,
             .arena_bytes = TINY_ARENA_BYTES,
             .weight_bytes = sizeof weights,
             .num_steps = 5,
             .step_names = (const char *const[]){"warp", "scale", "peaks", "count", "decode"}},
    .weights = (const uint8_t *)weights,
    .tensors = tensors,
    .num_tensors = NUM_TENSORS,
    .inputs = (const uint16_t[]){INPUT},
    .outputs = (const uint16_t[]){PEAKS, FRAMES},
    .calls = calls,
    .num_calls = sizeof calls / sizeof calls[0],
    .warp_packed = CALL(warp_packed, IMAGE, GEOMETRY, MATRIX, INPUT),
    .warp_nv12 = CALL(warp_nv12, IMAGE, CHROMA, GEOMETRY, MATRIX, INPUT),
    .decode = CALL(decode, PEAKS, MATRIX, KEYPOINTS, PERSON),
    .image = IMAGE,
    .chroma = CHROMA,
    .geometry = GEOMETRY,
    .matrix = MATRIX,
    .keypoints = KEYPOINTS,
    .person = PERSON,
    .crop_padding = 1.25f,
    .half_pixel_centers = TINY_HALF_PIXEL,
    .arena_bytes = TINY_ARENA_BYTES,
    .state_offset = OFFSET(STATE),
    .state_bytes = 4,
    .workspace_bytes = TINY_PIXELS * sizeof(float),
    .cpu_features = TINY_CPU_FEATURES,
    .guard_bytes = TINY_GUARD,
};
TVMPOSE_EXPORT(model)
