/* weights.c - half-precision weights to float, once at open. */

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

static void expand_weights(uint8_t *arena, const tvmpose_model *model) {
  for (int32_t i = 0; i < model->num_half_weights; ++i) {
    const tvmpose_half_weights *w = &model->half_weights[i];
    expand_half((const uint16_t *)(const void *)(model->weights + w->weights_offset),
                (float *)(void *)(arena + w->arena_offset), w->count);
  }
}
