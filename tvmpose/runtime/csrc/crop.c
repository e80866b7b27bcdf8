/* crop.c - from a person's box to the matrix that says where in the image each pixel of the network's input lies.
 *
 * A box is given by its edges, as in COCO: {0, 0, width, height} is the whole image. Keypoints and the matrix count
 * from pixel centres, half a pixel further in. An angle turns the box about its centre. */
#include <math.h>

/* Far beyond any image, and small enough for a kernel to compute with in float and int32. */
enum { MAX_BOX_SIDE = 1 << 20 };

static int check_box(const tvmpose_box *box, int32_t image_width, int32_t image_height, char *error) {
  const double x = box->x, y = box->y, width = box->width, height = box->height;
  const char *why = NULL;
  if (!isfinite(x) || !isfinite(y) || !isfinite(width) || !isfinite(height)) why = "is not finite";
  else if (width <= 0 || height <= 0) why = "is empty";
  else if (width > MAX_BOX_SIDE || height > MAX_BOX_SIDE) why = "is larger than 2^20 pixels";
  else if (x >= image_width || y >= image_height || x + width <= 0 || y + height <= 0) why = "lies outside the image";
  if (!why) return TVMPOSE_OK;
  return fail(error, TVMPOSE_INVALID_BOX, "box x %g, y %g, width %g, height %g %s of %dx%d", x, y, width, height, why,
              image_width, image_height);
}

static int check_angle(float angle, char *error) {
  if (isfinite(angle)) return TVMPOSE_OK;
  return fail(error, TVMPOSE_INVALID_BOX, "angle %g is not finite", (double)angle);
}

/* Grows the box about its centre to the network's aspect ratio, multiplies its sides by `padding` and writes
 * {a, 0, c, 0, e, f}: network pixel (x, y) lies at image (a x + c, e y + f), pixel centres being whole numbers. */
static void crop_matrix(const tvmpose_box *box, double padding, int32_t input_width, int32_t input_height,
                        bool half_pixel_centers, double matrix[6]) {
  double scale = fmax(box->width / (double)input_width, box->height / (double)input_height) * padding;
  double left = box->x + (box->width - scale * input_width) / 2;
  double top = box->y + (box->height - scale * input_height) / 2;
  double shift = half_pixel_centers ? (scale - 1) / 2 : 0;
  memcpy(matrix, (double[6]){scale, 0, left + shift, 0, scale, top + shift}, 6 * sizeof(double));
}

/* Turns what crop_matrix wrote about the middle of the network's input: clockwise, as y points down. */
static void turn_matrix(double angle, int32_t input_width, int32_t input_height, bool half_pixel_centers,
                        double matrix[6]) {
  double scale = matrix[0], sine = scale * sin(angle), cosine = scale * cos(angle);
  double x = input_width / 2.0 - (half_pixel_centers ? 0.5 : 0),
         y = input_height / 2.0 - (half_pixel_centers ? 0.5 : 0);
  double middle_x = scale * x + matrix[2], middle_y = scale * y + matrix[5];
  double turned[6] = {cosine, -sine,  middle_x - (cosine * x - sine * y),
                      sine,   cosine, middle_y - (sine * x + cosine * y)};
  memcpy(matrix, turned, sizeof turned);
}
