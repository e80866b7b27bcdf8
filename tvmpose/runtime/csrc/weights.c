/* weights.c - weights of smaller formats to float, once at open. */

/* A finite half's exponent and mantissa, moved to a float's places, are the float scaled by 2^-112: so one multiplication
 * converts normal and subnormal numbers alike. */
static void expand_half(const uint16_t *half, float *out, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    uint32_t magnitude = (uint32_t)(half[i] & 0x7fff) << 13, sign = (uint32_t)(half[i] & 0x8000) << 16, bits;
    float value;
    memcpy(&value, &magnitude, sizeof value);
    value *= 0x1p112f;
    memcpy(&bits, &value, sizeof bits);
    bits |= sign;
    memcpy(&out[i], &bits, sizeof bits);
  }
}

/* A bfloat16 is the upper half of a float. */
static void expand_brain(const uint16_t *brain, float *out, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    uint32_t bits = (uint32_t)brain[i] << 16;
    memcpy(&out[i], &bits, sizeof bits);
  }
}

static void expand_bytes(const int8_t *bytes, float *out, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) out[i] = bytes[i];
}

static void expand_tensor(const tvmpose_compact_weights *w, const uint8_t *weights, float *out) {
  const void *stored = weights + w->weights_offset;
  if (w->format == TVMPOSE_AS_INT8) expand_bytes(stored, out, w->count);
  else if (w->format == TVMPOSE_AS_FLOAT16) expand_half(stored, out, w->count);
  else expand_brain(stored, out, w->count);
}

#ifndef TVMPOSE_GPU
static void expand_weights(uint8_t *arena, const tvmpose_model *model) {
  for (int32_t i = 0; i < model->num_compact_weights; ++i) {
    const tvmpose_compact_weights *w = &model->compact_weights[i];
    expand_tensor(w, model->weights, (float *)(void *)(arena + w->arena_offset));
  }
}
#endif
