/* tracker.c - the side of TVM's tracker protocol (tvm/rpc/tracker.py) that servers speak.
 *
 * Both sides begin with the magic; then messages, each an int32 length and JSON, are answered one by one. A server says
 * who it is, then offers itself under a key that it makes up, once for each client; when the tracker has given that
 * away and nobody comes, it makes up another. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent.h"

enum { TRACKER_MAGIC = 0x2f271, PUT = 3, UPDATE_INFO = 5, PENDING_KEYS = 7 };
enum { ANSWER_MS = 5000, RETRY_MS = 2000, CHECK_MS = 2000, UNUSED_CHECKS = 3, MAX_ANSWER = 1 << 20 };

void tracker_drop(tracker *t, const char *why) {
  if (!t->complained) log_line("tracker %s:%d: %s; trying again every %d s", t->host, t->port, why, RETRY_MS / 1000);
  t->complained = 1;
  if (t->fd >= 0) close(t->fd);
  t->fd = -1;
  t->match_key[0] = 0;
  t->next = now_ms() + RETRY_MS;
}

/* The answer, to be freed, or NULL. */
__attribute__((format(printf, 2, 3))) static char *ask(tracker *t, const char *format, ...) {
  channel c = {t->fd, -1, now_ms() + ANSWER_MS};
  char text[1024];
  int32_t bytes;
  va_list arguments;
  va_start(arguments, format);
  bytes = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (bytes < 0 || (size_t)bytes >= sizeof text) return NULL;
  if (write_all(&c, &bytes, sizeof bytes) || write_all(&c, text, (size_t)bytes)) return NULL;
  if (read_all(&c, &bytes, sizeof bytes) || bytes < 0 || bytes > MAX_ANSWER) return NULL;
  char *answer = malloc((size_t)bytes + 1);
  if (!answer || read_all(&c, answer, (size_t)bytes)) return free(answer), NULL;
  answer[bytes] = 0;
  return answer;
}

static int succeeded(char *answer) {
  int done = answer && !strcmp(answer, "0");
  free(answer);
  return done;
}

static const char *quoted_address(const tracker *t, char *text, size_t bytes) {
  if (!t->address) return "null";
  snprintf(text, bytes, "\"%s\"", t->address);
  return text;
}

static void connect_tracker(tracker *t) {
  int32_t magic = TRACKER_MAGIC;
  char address[128];
  t->fd = dial(t->host, t->port, now_ms() + ANSWER_MS);
  if (t->fd < 0) return tracker_drop(t, "cannot be reached");
  channel c = {t->fd, -1, now_ms() + ANSWER_MS};
  if (write_all(&c, &magic, sizeof magic) || read_all(&c, &magic, sizeof magic) || magic != TRACKER_MAGIC)
    return tracker_drop(t, "is not TVM's tracker");
  quoted_address(t, address, sizeof address);
  if (!succeeded(ask(t, "[%d, {\"key\": \"server:%s\", \"addr\": [%s, %d]}]", UPDATE_INFO, t->key,
                     quoted_address(t, address, sizeof address), t->own_port)))
    return tracker_drop(t, "does not answer");
  log_line("registered as %s with the tracker %s:%d", t->key, t->host, t->port);
  t->complained = 0;
  t->match_key[0] = 0;
}

static void offer(tracker *t) {
  uint64_t number = 0;
  char address[128];
  if (getrandom(&number, sizeof number, 0) != sizeof number) number = (uint64_t)now_ms();
  /* TVM takes the key's name back out of it by splitting at the last colon */
  snprintf(t->match_key, sizeof t->match_key, "%s:0.%020llu", t->key, (unsigned long long)number);
  t->unused_checks = 0;
  if (!succeeded(ask(t, "[%d, \"%s\", [%d, \"%s\"], %s]", PUT, t->key, t->own_port, t->match_key,
                     quoted_address(t, address, sizeof address))))
    tracker_drop(t, "does not answer");
}

static void check(tracker *t) {
  char *keys = ask(t, "[%d]", PENDING_KEYS);
  if (!keys) return tracker_drop(t, "is gone");
  int wanted = strstr(keys, t->match_key) != NULL;
  free(keys);
  t->unused_checks = wanted ? 0 : t->unused_checks + 1;
  if (t->unused_checks > UNUSED_CHECKS) offer(t);
}

void tracker_tick(tracker *t, int awaiting) {
  if (now_ms() < t->next && (t->fd < 0 || !awaiting || t->match_key[0])) return;
  if (t->fd < 0) connect_tracker(t);
  else if (!awaiting) free(ask(t, "[%d]", PENDING_KEYS)); /* only to learn whether it is still there */
  else if (t->match_key[0]) check(t);
  if (t->fd < 0) return;
  if (awaiting && !t->match_key[0]) offer(t);
  if (t->fd >= 0) t->next = now_ms() + CHECK_MS;
}
