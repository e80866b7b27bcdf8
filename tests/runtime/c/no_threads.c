/* no_threads.c - a machine that gives no more threads. Link with -Wl,--wrap=pthread_create. */
#include <errno.h>
#include <pthread.h>

#include "check.h"

static int threads_left;

int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
  return threads_left-- > 0 ? __real_pthread_create(thread, attributes, run, argument) : EAGAIN;
}

int main(void) {
  const tvmpose_api *api = POSE_API();
  tvmpose_handle *h = NULL;
  threads_left = 1; /* of the two that three threads need: the first is started, then joined */
  CHECK(api->open(&(tvmpose_options){sizeof(tvmpose_options), 3, 0}, &h) == TVMPOSE_OUT_OF_MEMORY && !h);
  CHECK(strstr(api->last_error(NULL), "3 threads"));

  threads_left = 3;
  h = open_or_die(2);
  CHECK(api->set_threads(h, 4) == TVMPOSE_OUT_OF_MEMORY && api->threads(h) == 2);
  CHECK(strstr(api->last_error(h), "4 threads"));
  CHECK(api->reset(h) == TVMPOSE_OK);
  api->close(h);
  puts("ok");
  return 0;
}
