/* error.c - one line of text for every refusal. */
#include <stdarg.h>
#include <stdio.h>

enum { ERROR_BYTES = 256 };

/* Writes the reason into `error` (ERROR_BYTES long) and returns `status`, so that a check reads `return fail(...)`. */
__attribute__((format(printf, 3, 4))) static int fail(char *error, int status, const char *format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(error, ERROR_BYTES, format, values);
  va_end(values);
  return status;
}
