/* Filters keypoints from standard input to standard output: int32 kind, joints, frames, then for each frame double
 * seconds, size and float x, y, score of each joint; out come the joints of each frame. */
#include <stdio.h>
#include <stdlib.h>

#include "tvmpose_smooth.h"

int main(void) {
  int32_t head[3];
  if (fread(head, sizeof head, 1, stdin) != 1) return 1;
  const int32_t kind = head[0], num_joints = head[1], frames = head[2];
  tvmpose_smooth_joint *joints = calloc((size_t)num_joints, sizeof *joints);
  tvmpose_keypoint *points = calloc((size_t)num_joints, sizeof *points);
  tvmpose_smoother (*const make[])(tvmpose_smooth_joint *, int32_t) = {tvmpose_smooth_one_euro, tvmpose_smooth_kalman,
                                                                       tvmpose_smooth_moving_average};
  tvmpose_smoother smoother = make[kind](joints, num_joints);
  for (int32_t i = 0; i < frames; ++i) {
    double when[2];
    if (fread(when, sizeof when, 1, stdin) != 1) return 2;
    if (fread(points, sizeof *points, (size_t)num_joints, stdin) != (size_t)num_joints) return 3;
    tvmpose_smooth(&smoother, points, when[0], when[1]);
    fwrite(points, sizeof *points, (size_t)num_joints, stdout);
  }
  free(joints);
  free(points);
  return 0;
}
