/* open_refused.c - prints status and reason of an open() that must fail. */
#include "check.h"

int main(void) {
  tvmpose_handle *h = NULL;
  int status = POSE_API()->open(&(tvmpose_options){sizeof(tvmpose_options), 2, 0}, &h);
  printf("%d %s\n", status, POSE_API()->last_error(NULL));
  return h != NULL;
}
