/* tiny_model.h - input values that make a kernel of tiny_model.c misbehave, and the gate at which one waits. */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H

#include <stdatomic.h>

enum { TINY_WIDTH = 8, TINY_HEIGHT = 6, TINY_PIXELS = TINY_WIDTH * TINY_HEIGHT };

/* As the first float of the input. */
enum {
  TINY_RAISE = 1000001, /* raise an error with a message */
  TINY_RETURN,          /* fail without one */
  TINY_RAISE_IN_TASK,   /* raise in the last parallel task */
  TINY_EXHAUST,         /* ask for more workspace than planned */
  TINY_LEAK,            /* fail with a workspace in hand */
  TINY_OVERSTEP,        /* write one byte past the end of a tensor */
  TINY_WAIT             /* count tiny_inside up and wait until tiny_go */
};

extern atomic_int tiny_inside, tiny_go;

#endif
