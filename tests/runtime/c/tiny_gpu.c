/* tiny_gpu.c - a hand-written network for a GPU: a warp, two launches that share a step's memory, a decode; as generated
 * code has it, but that its kernels are for stub_opencl.c, which runs none. */
#ifndef TVMPOSE_NAME
#define TVMPOSE_NAME tiny_gpu
#endif
#define TVMPOSE_GPU TVMPOSE_OPENCL
#include "model.h"
#include "runtime.c"

enum { PICTURE = 4 * 4 * 3 * 4, RESULTS = 2 * 3 + 1 };

static const int64_t shape_picture[] = {1, 4, 4, 3}, shape_out[] = {1, 6}, shape_weight[] = {16}, shape_results[] = {7},
                     shape_geometry[] = {8}, shape_matrix[] = {6}, shape_pixels[] = {0}, shape_person[] = {1};
#define FLOATS(name, shape, axes, bytes) {name, shape, axes, 2, 32, bytes}

static const uint8_t weights[256] __attribute__((aligned(64))) = {1, 2, 3};
static const tvmpose_tensor tensors[] = {
    /* 0 */ {FLOATS("picture", shape_picture, 4, PICTURE), TVMPOSE_IN_DEVICE, 0},
    /* 1 */ {FLOATS("out", shape_out, 2, 24), TVMPOSE_IN_DEVICE, 256},
    /* 2 */ {FLOATS("weight", shape_weight, 1, 64), TVMPOSE_IN_DEVICE_WEIGHTS, 0},
    /* 3 */ {FLOATS("results", shape_results, 1, RESULTS * 4), TVMPOSE_IN_DEVICE, 512},
    /* 4 */ {{"geometry", shape_geometry, 1, 0, 32, 32}, TVMPOSE_IN_FRAME, 0},
    /* 5 */ {FLOATS("matrix", shape_matrix, 1, 24), TVMPOSE_IN_FRAME, 256},
    /* 6 */ {{"pixels", shape_pixels, 1, 1, 8, 0}, TVMPOSE_IN_FRAME, 512},
    /* 7 */ {{"host_matrix", shape_matrix, 1, 2, 64, 48}, TVMPOSE_IN_ARENA, 0},
    /* 8 */ {FLOATS("host_results", shape_results, 1, RESULTS * 4), TVMPOSE_IN_ARENA, 64},
    /* 9 */ {FLOATS("person", shape_person, 1, 4), TVMPOSE_IN_ARENA, 64 + 24},
    /* 10: expanded at open */ {FLOATS("half", shape_weight, 1, 64), TVMPOSE_IN_DEVICE, 768},
};
static const tvmpose_compact_weights compact_weights[] = {{64, 768, 16, TVMPOSE_AS_FLOAT16}};

static const uint8_t code[] = "__kernel void stub() {}";
static const tvmpose_gpu_image images[] = {{TVMPOSE_SOURCE, 0, 0, sizeof code - 1}};
static const tvmpose_gpu_kernel kernels[] = {
    {"warp", {16, 1, 1}, 0, 0, 4}, {"net", {8, 2, 1}, 512, 0, 3}, {"decode", {1, 1, 1}, 0, 0, 3}};
static const uint16_t warp_args[] = {6, 4, 5, 0}, net_args[] = {0, 2, 1}, decode_args[] = {1, 5, 3};
static const tvmpose_gpu_launch launches[] = {{0, 0, {1, 1, 1}, warp_args},
                                              {0, 0, {1, 1, 1}, warp_args},
                                              {1, 1, {2, 1, 1}, net_args},
                                              {1, 1, {2, 3, 1}, net_args},
                                              {2, 2, {1, 1, 1}, decode_args}};
static const tvmpose_gpu_download downloads[] = {{3, 8}};
static const tvmpose_gpu gpu = {
    .code = code,
    .images = images,
    .num_images = 1,
    .kernels = kernels,
    .num_kernels = 3,
    .launches = launches,
    .begins = {0, 1, 2, 4, 5},
    .downloads = downloads,
    .num_downloads = 1,
    .arena_bytes = 1024,
    .alignment = 256,
    .matrix_offset = 256,
    .head_bytes = 512,
    .first_frame_bytes = 512 + 64,
    .max_threads = 16,
    .max_shared_bytes = 512,
};

static const uint16_t input_indices[] = {0}, output_indices[] = {1};
static const tvmpose_tensor_info inputs[] = {FLOATS("picture", shape_picture, 4, PICTURE)},
                                 outputs[] = {FLOATS("out", shape_out, 2, 24)};
static const tvmpose_call calls[] = {{NULL, "net", NULL, 0}};
static const char *const step_names[] = {"warp", "net", "decode"}, *const keypoint_names[] = {"left", "right"};
static const tvmpose_model model = {
    .info = {.name = "tiny_gpu",
             .version = "0",
             .target = "stub",
             .num_keypoints = 2,
             .keypoint_names = keypoint_names,
             .input_width = 4,
             .input_height = 4,
             .num_inputs = 1,
             .num_outputs = 1,
             .inputs = inputs,
             .outputs = outputs,
             .arena_bytes = 1024,
             .weight_bytes = sizeof weights,
             .num_steps = 3,
             .step_names = step_names},
    .weights = weights,
    .tensors = tensors,
    .num_tensors = sizeof tensors / sizeof *tensors,
    .compact_weights = compact_weights,
    .num_compact_weights = 1,
    .inputs = input_indices,
    .outputs = output_indices,
    .calls = calls,
    .num_calls = 1,
    .matrix = 7,
    .keypoints = 8,
    .person = 9,
    .crop_padding = 1,
    .arena_bytes = 128,
    .gpu = &gpu,
};
TVMPOSE_EXPORT(model)
