/* Nanoseconds of each call of the smoother KIND over JOINTS joints: smooth_time KIND JOINTS CALLS, a line each. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tvmpose_smooth.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  const int kind = atoi(argv[1]), joints = atoi(argv[2]), calls = atoi(argv[3]);
  tvmpose_smooth_joint *past = calloc((size_t)joints, sizeof *past);
  tvmpose_keypoint *points = calloc((size_t)joints, sizeof *points);
  tvmpose_smoother (*const make[])(tvmpose_smooth_joint *, int32_t) = {tvmpose_smooth_one_euro, tvmpose_smooth_kalman,
                                                                       tvmpose_smooth_moving_average};
  tvmpose_smoother smoother = make[kind](past, joints);
  for (int i = 0; i < calls; ++i) {
    for (int k = 0; k < joints; ++k)
      points[k] = (tvmpose_keypoint){(float)(100 + (i * 7 + k) % 5), (float)(90 + (i * 3 + k) % 7), 0.9f};
    double start = now();
    tvmpose_smooth(&smoother, points, 1 + i / 25.0, 200);
    printf("%.0f\n", now() - start);
  }
  free(past);
  free(points);
  return 0;
}
