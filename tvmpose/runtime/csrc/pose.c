/* pose.c - one frame, from pixels to people: warp, network and decode for each box. */

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

static void keep_person(tvmpose_handle *h, int32_t index, const tvmpose_box *box) {
  const tvmpose_model *model = the_model();
  int32_t count = model->info.num_keypoints;
  tvmpose_keypoint *keypoints = h->keypoints + (size_t)index * (size_t)count;
  memcpy(keypoints, h->tensors[model->keypoints].data, (size_t)count * sizeof *keypoints);
  h->people[index] = (tvmpose_person){.box = *box, .keypoints = keypoints};
  memcpy(&h->people[index].score, h->tensors[model->person].data, sizeof(float));
}

static int find_person(tvmpose_handle *h, const image_view *view, const tvmpose_box *box, double padding,
                       int32_t index) {
  const tvmpose_model *model = the_model();
  crop_matrix(box, padding, model->info.input_width, model->info.input_height, model->half_pixel_centers,
              h->tensors[model->matrix].data);
  int status = invoke(h, view->nv12 ? &h->warp_nv12 : &h->warp_packed, 0);
  if (!status) status = run_network(h);
  if (!status) status = invoke(h, &h->decode, model->num_calls + 1);
  if (!status) keep_person(h, index, box);
  return status;
}

static int check_boxes(const tvmpose_handle *h, const image_view *view, const tvmpose_box *boxes, int32_t num_boxes,
                       char *error) {
  if (num_boxes < 0 || (!boxes && num_boxes > 0))
    return fail(error, TVMPOSE_INVALID_ARGUMENT, "%d boxes at %s", num_boxes, boxes ? "an address" : "NULL");
  if (num_boxes > h->max_people)
    return fail(error, TVMPOSE_CAPACITY, "%d boxes, but opened for max_people = %d", num_boxes, h->max_people);
  int status = TVMPOSE_OK;
  for (int32_t i = 0; i < num_boxes && !status; ++i) status = check_box(&boxes[i], view->width, view->height, error);
  return status;
}

/* All is checked before the first kernel runs: a refused frame changes no state and no result. */
static int image_to_people(tvmpose_handle *h, const tvmpose_image *image, const tvmpose_box *boxes, int32_t num_boxes,
                           tvmpose_result *result) {
  const tvmpose_model *model = the_model();
  if (!model->info.num_keypoints)
    return fail(h->error, TVMPOSE_UNSUPPORTED, "%s was compiled without a model card: it has run_tensors only",
                model->info.name);
  if (!image || !result) return fail(h->error, TVMPOSE_INVALID_ARGUMENT, "%s is NULL", image ? "result" : "image");
  image_view view = {0};
  int status = view_image(image, &view, h->error);
  if (!status) status = check_boxes(h, &view, boxes, num_boxes, h->error);
  if (status) return status;
  if (!(view.nv12 ? model->warp_nv12 : model->warp_packed).function)
    return fail(h->error, TVMPOSE_UNSUPPORTED, "%s was compiled without this pixel format", model->info.name);

  const tvmpose_box whole = {0, 0, (float)view.width, (float)view.height};
  int32_t count = boxes ? num_boxes : 1;
  bind_image(h, &view);
  for (int32_t i = 0; i < count && !status; ++i)
    status = find_person(h, &view, boxes ? &boxes[i] : &whole, boxes ? model->crop_padding : 1, i);
  if (!status) *result = (tvmpose_result){count, h->people};
  return status;
}
