/* roofline.c - the two limits of a core, as loops: multiply-adds in registers, and memory read and written. */
#include <stdint.h>

typedef float vector __attribute__((vector_size(VECTOR_BYTES), aligned(VECTOR_BYTES)));

/* ACCUMULATORS independent chains, enough to hide the latency of a multiply-add and few enough to stay in registers;
 * repeats * ACCUMULATORS * lanes multiply-adds. The sum keeps the compiler from dropping them. */
float multiply_add(int64_t repeats, float scale, float offset) {
  vector chains[ACCUMULATORS], factor = (vector){0} + scale, addend = (vector){0} + offset, sum = {0};
#pragma GCC unroll 32
  for (int i = 0; i < ACCUMULATORS; ++i) chains[i] = addend * (float)i;
  for (int64_t repeat = 0; repeat < repeats; ++repeat) {
#pragma GCC unroll 32
    for (int i = 0; i < ACCUMULATORS; ++i) chains[i] = chains[i] * factor + addend;
  }
#pragma GCC unroll 32
  for (int i = 0; i < ACCUMULATORS; ++i) sum += chains[i];
  float result = 0;
  for (unsigned lane = 0; lane < sizeof sum / sizeof(float); ++lane) result += sum[lane];
  return result;
}

/* destination = source * scale, as a layer does it: 2 * bytes of traffic a pass. Aligned to VECTOR_BYTES. */
void scale_memory(const void *source, void *destination, int64_t bytes, int64_t passes, float scale) {
  const vector *from = source;
  vector *to = destination, factor = (vector){0} + scale;
  for (int64_t pass = 0; pass < passes; ++pass) {
    for (int64_t i = 0; i < bytes / (int64_t)sizeof(vector); ++i) to[i] = from[i] * factor;
    __asm__ volatile("" ::: "memory");
  }
}
