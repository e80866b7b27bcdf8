/* pose.c - one frame, from pixels to people: warp, network and decode for each box. */

#ifdef TVMPOSE_GPU
static void bind_image(tvmpose_handle *h, const image_view *view) {
  (void)view;
  h->pixels_are_there = false; /* they go with the first box */
}

static bool takes_image(const tvmpose_model *model, const image_view *view) {
  const int32_t *begins = &model->gpu->begins[view->nv12 ? TVMPOSE_WARP_NV12 : TVMPOSE_WARP_PACKED];
  return begins[0] < begins[1];
}
#else
static void bind_plane(tvmpose_handle *h, uint16_t tensor, const image_view *view, int plane) {
  h->plane_bytes[plane] = view->plane_bytes[plane];
  h->tensors[tensor].data = (void *)(uintptr_t)view->planes[plane];
  h->tensors[tensor].shape = &h->plane_bytes[plane];
}

static void bind_image(tvmpose_handle *h, const image_view *view) {
  const tvmpose_model *model = the_model();
  bind_plane(h, model->image, view, 0);
  if (view->nv12) bind_plane(h, model->chroma, view, 1);
  memcpy(h->tensors[model->geometry].data, view->geometry, sizeof view->geometry);
}

static bool takes_image(const tvmpose_model *model, const image_view *view) {
  return (view->nv12 ? model->warp_nv12 : model->warp_packed).function;
}
#endif

/* Copies what decode found, of a box or of the people in it, behind the `first` people that were found before; returns
 * how many there are then. */
static int32_t keep_people(tvmpose_handle *h, int32_t first, const tvmpose_box *box) {
  const tvmpose_model *model = the_model();
  size_t num_keypoints = (size_t)model->info.num_keypoints;
  tvmpose_keypoint *keypoints = h->keypoints + (size_t)first * num_keypoints;
  tvmpose_person *people = h->people + first;
  int32_t count = 1;
  if (model->most_found) memcpy(&count, h->tensors[model->found].data, sizeof count);
  memcpy(keypoints, h->tensors[model->keypoints].data, (size_t)count * num_keypoints * sizeof *keypoints);
  const float *scores = h->tensors[model->person].data;
  const tvmpose_box *boxes = model->most_found ? h->tensors[model->boxes].data : box;
  for (int32_t i = 0; i < count; ++i)
    people[i] = (tvmpose_person){scores[i], boxes[i], keypoints + (size_t)i * num_keypoints};
  return first + count;
}

static int find_people(tvmpose_handle *h, const image_view *view, const tvmpose_box *box, double padding, float angle,
                       int32_t *found) {
  const tvmpose_model *model = the_model();
  const int32_t width = model->info.input_width, height = model->info.input_height;
  double *matrix = h->tensors[model->matrix].data;
  crop_matrix(box, padding, width, height, model->half_pixel_centers, matrix);
  if (angle != 0) turn_matrix(angle, width, height, model->half_pixel_centers, matrix);
#ifdef TVMPOSE_GPU /* where it has a decode, that is among its launches */
  int status = device_frame(h->device, view, matrix, !h->pixels_are_there, h->tensors, h->profile, h->error);
  h->pixels_are_there = !status;
  if (!status && model->decode.function) status = invoke(h, &h->decode, model->num_calls + 1);
#else
  int status = invoke(h, view->nv12 ? &h->warp_nv12 : &h->warp_packed, 0);
  if (!status) status = run_network(h);
  if (!status) status = invoke(h, &h->decode, model->num_calls + 1);
#endif
  if (!status) *found = keep_people(h, *found, box);
  return status;
}

static int check_boxes(const tvmpose_handle *h, const image_view *view, const tvmpose_box *boxes, const float *angles,
                       int32_t num_boxes, char *error) {
  if (num_boxes < 0 || (!boxes && num_boxes > 0))
    return fail(error, TVMPOSE_INVALID_ARGUMENT, "%d boxes at %s", num_boxes, boxes ? "an address" : "NULL");
  if (num_boxes > h->max_people)
    return fail(error, TVMPOSE_CAPACITY, "%d boxes, but opened for max_people = %d", num_boxes, h->max_people);
  int status = TVMPOSE_OK;
  for (int32_t i = 0; i < num_boxes && !status; ++i) status = check_box(&boxes[i], view->width, view->height, error);
  for (int32_t i = 0; angles && i < num_boxes && !status; ++i) status = check_angle(angles[i], error);
  return status;
}

/* All is checked before the first kernel runs: a refused frame changes no state and no result. angles: of the boxes, or
 * NULL for upright ones. */
static int image_to_people(tvmpose_handle *h, const tvmpose_image *image, const tvmpose_box *boxes, const float *angles,
                           int32_t num_boxes, tvmpose_result *result) {
  const tvmpose_model *model = the_model();
  if (!model->info.num_keypoints)
    return fail(h->error, TVMPOSE_UNSUPPORTED, "%s was compiled without a model card: it has run_tensors only",
                model->info.name);
  if (!image || !result) return fail(h->error, TVMPOSE_INVALID_ARGUMENT, "%s is NULL", image ? "result" : "image");
  image_view view = {0};
  int status = view_image(image, &view, h->error);
  if (!status) status = check_boxes(h, &view, boxes, angles, num_boxes, h->error);
  if (status) return status;
  if (!takes_image(model, &view))
    return fail(h->error, TVMPOSE_UNSUPPORTED, "%s was compiled without this pixel format", model->info.name);

  const tvmpose_box whole = {0, 0, (float)view.width, (float)view.height};
  int32_t count = boxes ? num_boxes : 1, found = 0;
  bind_image(h, &view);
  for (int32_t i = 0; i < count && !status; ++i)
    status = find_people(h, &view, boxes ? &boxes[i] : &whole, boxes ? model->crop_padding : 1,
                         boxes && angles ? angles[i] : 0, &found);
  if (!status) *result = (tvmpose_result){found, h->people};
  return status;
}
