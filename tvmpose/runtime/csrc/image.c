/* image.c - from the caller's description of an image to the planes and numbers that the warp kernels take.
 *
 * Nothing here touches a pixel: what passes these checks can be read by a kernel without any further one. */
enum { MAX_IMAGE_SIDE = 32767 };

typedef struct {
  int32_t width, height;
  bool nv12;
  const uint8_t *planes[2]; /* packed pixels; or luma, chroma */
  int64_t plane_bytes[2];   /* up to the last pixel of the last row, whose padding need not exist */
  int32_t geometry[8];      /* as model.h says */
} image_view;

static const struct {
  int32_t bytes, red, green, blue;
} packed_formats[] = {
    [TVMPOSE_RGB] = {3, 0, 1, 2},
    [TVMPOSE_BGR] = {3, 2, 1, 0},
    [TVMPOSE_RGBA] = {4, 0, 1, 2},
    [TVMPOSE_BGRA] = {4, 2, 1, 0},
};

static int check_stride(const char *plane, int32_t stride, int32_t row_bytes, int32_t rows, char *error) {
  if (stride < row_bytes)
    return fail(error, TVMPOSE_INVALID_IMAGE, "%s stride %d is less than a row's %d bytes", plane, stride, row_bytes);
  if ((int64_t)stride * rows > INT32_MAX)
    return fail(error, TVMPOSE_INVALID_IMAGE, "%s of %d rows of %d bytes is 2 GiB or more", plane, rows, stride);
  return TVMPOSE_OK;
}

static int view_packed(const tvmpose_image *image, image_view *view, char *error) {
  int32_t pixel = packed_formats[image->format].bytes, row = image->width * pixel;
  int32_t stride = image->stride ? image->stride : row;
  int status = check_stride("image", stride, row, image->height, error);
  if (status) return status;
  *view = (image_view){
      .planes = {image->data},
      .plane_bytes = {(int64_t)stride * (image->height - 1) + row},
      .geometry = {image->width, image->height, stride, pixel, packed_formats[image->format].red,
                   packed_formats[image->format].green, packed_formats[image->format].blue, 0},
  };
  return TVMPOSE_OK;
}

static int view_nv12(const tvmpose_image *image, image_view *view, char *error) {
  int32_t width = image->width, rows = image->height / 2;
  if (width % 2 || image->height % 2)
    return fail(error, TVMPOSE_INVALID_IMAGE, "NV12 image of %dx%d: both must be even", width, image->height);
  int32_t stride = image->stride ? image->stride : width;
  int32_t chroma_stride = image->chroma_stride ? image->chroma_stride : stride;
  int status = check_stride("luma plane", stride, width, image->height, error);
  if (!status) status = check_stride("chroma plane", chroma_stride, width, rows, error);
  if (status) return status;
  *view = (image_view){
      .nv12 = true,
      .planes = {image->data, image->chroma ? image->chroma : image->data + (int64_t)stride * image->height},
      .plane_bytes = {(int64_t)stride * (image->height - 1) + width, (int64_t)chroma_stride * (rows - 1) + width},
      .geometry = {width, image->height, stride, chroma_stride, 0, 0, 0, 0},
  };
  return TVMPOSE_OK;
}

static int view_image(const tvmpose_image *image, image_view *view, char *error) {
  if (!image->data) return fail(error, TVMPOSE_INVALID_ARGUMENT, "image.data is NULL");
  if (image->width < 1 || image->width > MAX_IMAGE_SIDE || image->height < 1 || image->height > MAX_IMAGE_SIDE)
    return fail(error, TVMPOSE_INVALID_IMAGE, "image of %dx%d: width and height must be 1 to %d", image->width,
                image->height, MAX_IMAGE_SIDE);
  if (image->format < TVMPOSE_RGB || image->format > TVMPOSE_NV12)
    return fail(error, TVMPOSE_INVALID_IMAGE, "pixel format %d is not one of tvmpose_pixel_format", image->format);
  int status = image->format == TVMPOSE_NV12 ? view_nv12(image, view, error) : view_packed(image, view, error);
  view->width = image->width;
  view->height = image->height;
  return status;
}
