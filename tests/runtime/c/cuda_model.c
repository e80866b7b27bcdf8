/* cuda_model.c - a library as `compile` generates it for an NVIDIA GPU, by hand: two kernels, one of which reads the frame.
 * The device code comes from a file of -DCODE's name, with its parts' places in CODE_IMAGES. */
#define TVMPOSE_NAME small
#define TVMPOSE_GPU TVMPOSE_CUDA
#include "model.h"
#include "runtime.c"

__asm__(".section .rodata\n.balign 64\nsmall_code: .incbin \"" CODE "\"\n.byte 0\n.previous\n");
extern const uint8_t small_code[] __attribute__((visibility("hidden")));
static const _Alignas(64) uint8_t weights[256] = {1, 2, 3, 4};

static const int64_t shape_frame[] = {0}, shape_x[] = {64}, shape_matrix[] = {6}, shape_keypoints[] = {2, 3},
                     shape_person[] = {1};
static const tvmpose_tensor tensors[] = {
    {{"x", shape_x, 1, 2, 32, 256}, TVMPOSE_IN_DEVICE, 0},
    {{"y", shape_x, 1, 2, 32, 256}, TVMPOSE_IN_DEVICE, 256},
    {{"weight", shape_x, 1, 2, 32, 256}, TVMPOSE_IN_DEVICE_WEIGHTS, 0},
    {{"pixels", shape_frame, 1, 1, 8, 0}, TVMPOSE_IN_FRAME, 256},
    {{"keypoints", shape_keypoints, 2, 2, 32, 24}, TVMPOSE_IN_DEVICE, 512},
    {{"person", shape_person, 1, 2, 32, 4}, TVMPOSE_IN_DEVICE, 768},
    {{"keypoints", shape_keypoints, 2, 2, 32, 24}, TVMPOSE_IN_ARENA, 0},
    {{"person", shape_person, 1, 2, 32, 4}, TVMPOSE_IN_ARENA, 64},
    {{"matrix", shape_matrix, 1, 2, 64, 48}, TVMPOSE_IN_ARENA, 128},
};
static const uint16_t warp_args[] = {3, 0}, layer_args[] = {0, 2, 1}, decode_args[] = {1, 2, 4},
                      person_args[] = {1, 2, 5};
static const tvmpose_gpu_kernel kernels[] = {
    {.entry = "warp", .block = {64, 1, 1}, .num_args = 2},
    {.entry = "layer", .block = {16, 4, 1}, .shared_bytes = 256, .dynamic_shared_bytes = 1024, .num_args = 3},
};
static const tvmpose_gpu_launch launches[] = {
    {0, 0, {1, 1, 1}, warp_args},   {0, 0, {1, 1, 1}, warp_args},   {1, 1, {1, 1, 1}, layer_args},
    {1, 2, {1, 1, 1}, decode_args}, {1, 2, {1, 1, 1}, person_args},
};
static const tvmpose_gpu_image images[] = CODE_IMAGES;
static const tvmpose_gpu_download downloads[] = {{4, 6}, {5, 7}};
static const tvmpose_gpu gpu = {
    .code = small_code,
    .images = images,
    .num_images = sizeof images / sizeof *images,
    .kernels = kernels,
    .num_kernels = 2,
    .launches = launches,
    .begins = {0, 1, 2, 3, 5},
    .downloads = downloads,
    .num_downloads = 2,
    .arena_bytes = 1024,
    .alignment = 256,
    .matrix_offset = 64,
    .head_bytes = 256,
    .first_frame_bytes = 4096,
    .max_threads = 64,
    .max_shared_bytes = 1280,
};

static const uint16_t input_indices[] = {0}, output_indices[] = {1};
static const tvmpose_tensor_info inputs[] = {{"x", shape_x, 1, 2, 32, 256}},
                                 outputs[] = {{"y", shape_x, 1, 2, 32, 256}};
static const char *const step_names[] = {"warp", "layer", "decode"}, *const keypoint_names[] = {"left", "right"};
static const tvmpose_call calls[] = {{NULL, "layer", NULL, 0}};
static const tvmpose_model model = {
    .info = {.name = "small",
             .version = "0.0.0",
             .target = "jetson",
             .num_keypoints = 2,
             .keypoint_names = keypoint_names,
             .input_width = 8,
             .input_height = 8,
             .num_inputs = 1,
             .num_outputs = 1,
             .inputs = inputs,
             .outputs = outputs,
             .arena_bytes = 192,
             .weight_bytes = 256,
             .num_steps = 3,
             .step_names = step_names},
    .weights = weights,
    .tensors = tensors,
    .num_tensors = 9,
    .inputs = input_indices,
    .outputs = output_indices,
    .calls = calls,
    .num_calls = 1,
    .matrix = 8,
    .keypoints = 6,
    .person = 7,
    .crop_padding = 1,
    .half_pixel_centers = 1,
    .arena_bytes = 192,
    .gpu = &gpu,
};

TVMPOSE_EXPORT(model)
