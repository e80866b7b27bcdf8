/* guard.c - test builds: bands of a known byte around every tensor of the arena, to catch a kernel that oversteps. */
enum { GUARD_BYTE = 0xA5 };

static uint8_t *guard_band(const tvmpose_handle *h, const tvmpose_tensor *tensor, bool after) {
  uint8_t *start = h->arena + tensor->offset;
  return after ? start + tensor->info.bytes : start - the_model()->guard_bytes;
}

static void fill_guards(tvmpose_handle *h) {
  const tvmpose_model *model = the_model();
  for (int32_t i = 0; i < model->num_tensors; ++i)
    for (int after = 0; after < 2 && model->tensors[i].where == TVMPOSE_IN_ARENA; ++after)
      memset(guard_band(h, &model->tensors[i], after), GUARD_BYTE, model->guard_bytes);
}

static bool intact(const uint8_t *band, uint32_t bytes) {
  for (uint32_t i = 0; i < bytes; ++i)
    if (band[i] != GUARD_BYTE) return false;
  return true;
}

static int check_guards(tvmpose_handle *h, const tvmpose_call *call) {
  const tvmpose_model *model = the_model();
  for (int32_t i = 0; i < model->num_tensors; ++i)
    for (int after = 0; after < 2 && model->tensors[i].where == TVMPOSE_IN_ARENA; ++after)
      if (!intact(guard_band(h, &model->tensors[i], after), model->guard_bytes))
        return fail(h->error, TVMPOSE_INTERNAL, "kernel %s wrote %s tensor %d (%s)", call->name,
                    after ? "past the end of" : "before the start of", i,
                    model->tensors[i].info.name ? model->tensors[i].info.name : "unnamed");
  return TVMPOSE_OK;
}
