/* fuzz_session.c - libFuzzer against what a client sends: the first byte says whether to the greeting or to a session. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"

/* In place of net.c's, which would write a line for each. */
void log_line(const char *format, ...) { (void)format; }

static char folder[] = "/tmp/tvmpose-fuzz-XXXXXX";

/* In place of programs, whose bytes would be the fuzzer's. */
static int nothing(session *s, const argument *a, buffer *result) {
  (void)s;
  for (int i = 0; i < 4; ++i) buffer_add(result, a[i].data, a[i].bytes);
  return RETURNS_BYTES;
}

static void serve(int fd) {
  static function functions[8];
  channel client = {fd, -1, 0};
  session s = {.client = &client, .folder = folder};
  memcpy(functions, agent_functions, sizeof *functions * 3);
  functions[3] = (function){"tvmpose.run", "sbfb", nothing};
  serve_session(&s, functions, 4, "the fuzzer");
}

static void greet_all(int fd) {
  static greeting g;
  int64_t session_ms;
  int status;
  g = (greeting){.fd = fd, .deadline = now_ms() + 1000};
  while ((status = greet(&g, "key", "key:0.1", &session_ms)) == GREETING_MORE) {
  }
  if (status == GREETING_ACCEPTED) close(g.fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int ends[2], buffer_bytes = 1 << 20;
  if (size < 1 || size > 1 << 16) return 0;
  if (!folder[0] || folder[strlen(folder) - 1] == 'X') {
    if (!mkdtemp(folder)) abort();
  }
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends)) abort();
  setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes);
  if (send(ends[0], data + 1, size - 1, MSG_NOSIGNAL) != (ssize_t)(size - 1)) abort();
  shutdown(ends[0], SHUT_WR);
  if (data[0] & 1) {
    serve(ends[1]);
    close(ends[1]);
  } else {
    greet_all(ends[1]);
  }
  close(ends[0]);
  return 0;
}
