/* gpu.c - a frame on a GPU: what comes in, what runs, what comes back. The backend that it is compiled with does the rest.
 *
 * Included behind handle.c's parts; a library for a CPU has none of it. */
static const tvmpose_model *the_model(void); /* defined by TVMPOSE_EXPORT */

#if TVMPOSE_GPU == TVMPOSE_OPENCL
#include "opencl.c"
#else
#include "cuda.c"
#endif

/* Weights in a smaller format are expanded here, one after the other, and go to where the device has room for them. */
static int upload_compact_weights(device *d, const tvmpose_model *model, char *error) {
  uint64_t most = 0;
  for (int32_t i = 0; i < model->num_compact_weights; ++i)
    if (model->compact_weights[i].count > most) most = model->compact_weights[i].count;
  if (!most) return TVMPOSE_OK;
  float *expanded = malloc((size_t)most * sizeof *expanded);
  if (!expanded) return fail(error, TVMPOSE_OUT_OF_MEMORY, "no memory for %llu weights", (unsigned long long)most);
  int status = TVMPOSE_OK;
  for (int32_t i = 0; i < model->num_compact_weights && !status; ++i) {
    const tvmpose_compact_weights *w = &model->compact_weights[i];
    expand_tensor(w, model->weights, expanded);
    status = write_device(d, w->arena_offset, expanded, w->count * sizeof *expanded, error);
  }
  free(expanded);
  return status;
}

static int open_gpu(const tvmpose_model *model, device **opened, char *error) {
  device *d = NULL;
  int status = open_device(model->gpu, &d, error);
  if (status) return status;
  status = upload_compact_weights(d, model, error);
  if (status) close_device(d);
  else *opened = d;
  return status;
}

static uint64_t device_offset(uint16_t tensor) { return the_model()->tensors[tensor].offset; }

static int device_tensors(device *d, const void *const *inputs, void *const *outputs, uint64_t *profile, char *error) {
  const tvmpose_model *model = the_model();
  int status = TVMPOSE_OK;
  for (int32_t i = 0; i < model->info.num_inputs && !status; ++i)
    status = write_device(d, device_offset(model->inputs[i]), inputs[i], model->info.inputs[i].bytes, error);
  if (!status) status = run_parts(d, 1u << TVMPOSE_NETWORK, profile, error);
  for (int32_t i = 0; i < model->info.num_outputs && !status; ++i)
    status = read_device(d, device_offset(model->outputs[i]), outputs[i], model->info.outputs[i].bytes, error);
  return status;
}

/* Head and, where the device does not have them yet, pixels into the staging memory; returns how many bytes to copy. */
static uint64_t fill_frame(uint8_t *staging, const image_view *view, const double matrix[6], bool with_pixels) {
  const tvmpose_gpu *gpu = the_model()->gpu;
  int32_t geometry[8];
  float floats[6];
  memcpy(geometry, view->geometry, sizeof geometry);
  if (view->nv12) geometry[4] = (int32_t)view->plane_bytes[0];
  for (int i = 0; i < 6; ++i) floats[i] = (float)matrix[i];
  memcpy(staging, geometry, sizeof geometry);
  memcpy(staging + gpu->matrix_offset, floats, sizeof floats);
  uint64_t bytes = gpu->head_bytes;
  for (int plane = 0; with_pixels && plane < 1 + view->nv12; ++plane) {
    memcpy(staging + bytes, view->planes[plane], (size_t)view->plane_bytes[plane]);
    bytes += (uint64_t)view->plane_bytes[plane];
  }
  return bytes;
}

/* Pixels of one box to what is downloaded: results, or the outputs that decode takes on the CPU. */
static int device_frame(device *d, const image_view *view, const double matrix[6], bool with_pixels,
                        const DLTensor *tensors, uint64_t *profile, char *error) {
  const tvmpose_gpu *gpu = the_model()->gpu;
  uint64_t pixels = (uint64_t)view->plane_bytes[0] + (view->nv12 ? (uint64_t)view->plane_bytes[1] : 0);
  if (pixels > INT32_MAX)
    return fail(error, TVMPOSE_INVALID_IMAGE, "an image of %llu bytes: on a GPU it must be less than 2 GiB",
                (unsigned long long)pixels);
  uint8_t *staging;
  int status = reserve_frame(d, gpu->head_bytes + pixels, &staging, error);
  if (!status) status = upload_frame(d, fill_frame(staging, view, matrix, with_pixels), error);
  uint32_t warp = view->nv12 ? TVMPOSE_WARP_NV12 : TVMPOSE_WARP_PACKED;
  if (!status) status = run_parts(d, 1u << warp | 1u << TVMPOSE_NETWORK | 1u << TVMPOSE_DECODE, profile, error);
  for (int32_t i = 0; i < gpu->num_downloads && !status; ++i) {
    const tvmpose_gpu_download *download = &gpu->downloads[i];
    status = read_device(d, device_offset(download->device), tensors[download->host].data,
                         the_model()->tensors[download->host].info.bytes, error);
  }
  return status;
}
