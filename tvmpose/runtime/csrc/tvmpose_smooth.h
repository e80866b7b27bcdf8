/* tvmpose_smooth.h - steadier keypoints: filters over time, for programs that follow a person through a video.
 *
 *     static tvmpose_smooth_joint joints[33];                      // one for each keypoint, the caller's, zeroed
 *     tvmpose_smoother smoother = tvmpose_smooth_one_euro(joints, 33);
 *     ...
 *     tvmpose_keypoint points[33];                                 // a copy of result.people[0].keypoints
 *     tvmpose_smooth(&smoother, points, seconds, box.height);      // in place
 *
 * One smoother a person. It allocates nothing. `seconds` is the frame's time on any clock; where it does not grow, or
 * leaps by over a second, the filter starts anew. `size` is the person's in pixels, as the longer side of the box: all
 * parameters count in it, so that they hold near and far. Scores pass through; a joint that is not finite does too, and
 * starts anew. smooth.py computes the same. */
#ifndef TVMPOSE_SMOOTH_H
#define TVMPOSE_SMOOTH_H

#include <math.h>
#include <string.h>

#include "tvmpose.h"

enum { TVMPOSE_SMOOTH_WINDOW = 8 }; /* frames that a moving average can hold */

typedef enum tvmpose_smoothing {
  TVMPOSE_ONE_EURO = 0,      /* low pass, the faster the wider (Casiez, Roussel, Vogel 2012) */
  TVMPOSE_KALMAN = 1,        /* constant velocity, disturbed by white acceleration */
  TVMPOSE_MOVING_AVERAGE = 2 /* of the last `window` frames */
} tvmpose_smoothing;

/* One keypoint's past. `count`: frames since it started; 0 in a new one. */
typedef struct tvmpose_smooth_joint {
  int32_t count;
  double position[2], velocity[2], raw[2]; /* x and y */
  double variance[3];                      /* Kalman: of position, of both, of velocity; in sizes */
  double past[TVMPOSE_SMOOTH_WINDOW][2];
} tvmpose_smooth_joint;

typedef struct tvmpose_smoother {
  int32_t kind; /* tvmpose_smoothing */
  int32_t num_joints;
  tvmpose_smooth_joint *joints;
  double time;
  double min_cutoff, beta, speed_cutoff; /* one-euro: Hz, Hz for a speed of one size a second, Hz */
  double noise, acceleration;            /* Kalman: of a sure measurement, sizes; sizes / s^1.5 */
  int32_t window;                        /* moving average: 1 to TVMPOSE_SMOOTH_WINDOW */
} tvmpose_smoother;

static inline tvmpose_smoother tvmpose_smooth_new(int32_t kind, tvmpose_smooth_joint *joints, int32_t num_joints) {
  tvmpose_smoother s;
  memset(&s, 0, sizeof s);
  s.kind = kind, s.joints = joints, s.num_joints = num_joints;
  s.min_cutoff = 1.5, s.beta = 12, s.speed_cutoff = 1;
  s.noise = 0.02, s.acceleration = 1;
  s.window = 2;
  return s;
}

static inline tvmpose_smoother tvmpose_smooth_one_euro(tvmpose_smooth_joint *joints, int32_t num_joints) {
  return tvmpose_smooth_new(TVMPOSE_ONE_EURO, joints, num_joints);
}

static inline tvmpose_smoother tvmpose_smooth_kalman(tvmpose_smooth_joint *joints, int32_t num_joints) {
  return tvmpose_smooth_new(TVMPOSE_KALMAN, joints, num_joints);
}

static inline tvmpose_smoother tvmpose_smooth_moving_average(tvmpose_smooth_joint *joints, int32_t num_joints) {
  return tvmpose_smooth_new(TVMPOSE_MOVING_AVERAGE, joints, num_joints);
}

/* Forgets the past, as before the first frame of another video. */
static inline void tvmpose_smooth_reset(tvmpose_smoother *s) {
  memset(s->joints, 0, (size_t)s->num_joints * sizeof *s->joints);
}

static inline double tvmpose_smooth_alpha(double cutoff, double dt) {
  return 1 / (1 + 1 / (2 * 3.14159265358979323846 * cutoff * dt));
}

static inline void tvmpose_smooth_step_one_euro(const tvmpose_smoother *s, tvmpose_smooth_joint *joint,
                                                const double raw[2], double dt, double size) {
  double speed_alpha = tvmpose_smooth_alpha(s->speed_cutoff, dt);
  for (int i = 0; i < 2; ++i) {
    joint->velocity[i] += speed_alpha * ((raw[i] - joint->raw[i]) / dt - joint->velocity[i]);
    double cutoff = s->min_cutoff + s->beta * fabs(joint->velocity[i]) / (size > 1 ? size : 1);
    joint->position[i] += tvmpose_smooth_alpha(cutoff, dt) * (raw[i] - joint->position[i]);
  }
}

/* The less sure a joint is (score 0 to 1), the noisier it counts. The two coordinates share their variance. */
static inline void tvmpose_smooth_step_kalman(const tvmpose_smoother *s, tvmpose_smooth_joint *joint,
                                              const double raw[2], double score, double dt) {
  double *p = joint->variance, q = s->acceleration * s->acceleration;
  double noise = s->noise / (score > 0.1 ? score < 1 ? score : 1 : 0.1);
  p[0] += dt * (2 * p[1] + dt * p[2]) + q * dt * dt * dt / 3;
  p[1] += dt * p[2] + q * dt * dt / 2;
  p[2] += q * dt;
  double innovation = p[0] + noise * noise, gain = p[0] / innovation, speed_gain = p[1] / innovation;
  for (int i = 0; i < 2; ++i) {
    double predicted = joint->position[i] + dt * joint->velocity[i], error = raw[i] - predicted;
    joint->position[i] = predicted + gain * error;
    joint->velocity[i] += speed_gain * error;
  }
  p[2] -= speed_gain * p[1];
  p[1] -= gain * p[1];
  p[0] -= gain * p[0];
}

static inline void tvmpose_smooth_step_average(const tvmpose_smoother *s, tvmpose_smooth_joint *joint) {
  int32_t held = joint->count < s->window ? joint->count : s->window;
  for (int i = 0; i < 2; ++i) {
    double sum = 0;
    for (int32_t k = 0; k < held; ++k) sum += joint->past[(joint->count - 1 - k) % s->window][i];
    joint->position[i] = sum / held;
  }
}

static inline void tvmpose_smooth_start(const tvmpose_smoother *s, tvmpose_smooth_joint *joint, const double raw[2]) {
  memset(joint, 0, sizeof *joint);
  memcpy(joint->position, raw, sizeof joint->position);
  joint->variance[0] = s->noise * s->noise;
  joint->variance[2] = 1; /* a size a second: at first any speed is possible */
}

static inline void tvmpose_smooth(tvmpose_smoother *s, tvmpose_keypoint *keypoints, double seconds, double size) {
  double dt = seconds - s->time;
  s->time = seconds;
  if (!(dt > 0 && dt <= 1)) tvmpose_smooth_reset(s);
  for (int32_t k = 0; k < s->num_joints; ++k) {
    tvmpose_smooth_joint *joint = &s->joints[k];
    const double raw[2] = {keypoints[k].x, keypoints[k].y};
    if (!isfinite(raw[0]) || !isfinite(raw[1])) {
      joint->count = 0;
      continue;
    }
    if (joint->count == 0) tvmpose_smooth_start(s, joint, raw);
    else if (s->kind == TVMPOSE_ONE_EURO) tvmpose_smooth_step_one_euro(s, joint, raw, dt, size);
    else if (s->kind == TVMPOSE_KALMAN) tvmpose_smooth_step_kalman(s, joint, raw, keypoints[k].score, dt);
    memcpy(joint->raw, raw, sizeof raw);
    if (s->kind == TVMPOSE_MOVING_AVERAGE) memcpy(joint->past[joint->count % s->window], raw, sizeof raw);
    joint->count += 1;
    if (s->kind == TVMPOSE_MOVING_AVERAGE) tvmpose_smooth_step_average(s, joint);
    keypoints[k].x = (float)joint->position[0], keypoints[k].y = (float)joint->position[1];
  }
}

#endif
