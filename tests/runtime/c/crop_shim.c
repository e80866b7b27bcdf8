/* crop_shim.c - image.c and crop.c for ctypes. */
#include "model.h"

#include <stdbool.h>
#include <string.h>

#include "error.c"
#include "image.c"
#include "crop.c"

void shim_crop_matrix(const tvmpose_box *box, double padding, int32_t width, int32_t height, int half_pixel_centers,
                      double *matrix) {
  crop_matrix(box, padding, width, height, half_pixel_centers, matrix);
}

void shim_turn_matrix(double angle, int32_t width, int32_t height, int half_pixel_centers, double *matrix) {
  turn_matrix(angle, width, height, half_pixel_centers, matrix);
}

int shim_check_box(const tvmpose_box *box, int32_t width, int32_t height, char *error) {
  return check_box(box, width, height, error);
}

int shim_view_image(const tvmpose_image *image, int32_t *geometry, int64_t *plane_bytes, char *error) {
  image_view view = {0};
  int status = view_image(image, &view, error);
  memcpy(geometry, view.geometry, sizeof view.geometry);
  memcpy(plane_bytes, view.plane_bytes, sizeof view.plane_bytes);
  return status;
}
