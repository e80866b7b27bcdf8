/* greeting.c - what a client says first, as tvm/rpc/server.py takes it: int32 magic, int32 length, and a key
 * "client:KEY [-timeout=SECONDS]". Strangers, silent and old ones get one line in the log. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"

enum { MAGIC = 0xff271, MISMATCH = MAGIC + 2, HEAD = 8, SEND_MS = 5000 };

void greeting_end(greeting *g, const char *why) {
  log_line("%s: refused: %s", g->name, why);
  close(g->fd);
  g->fd = -1;
}

static int refuse(greeting *g, const char *why) {
  greeting_end(g, why);
  return GREETING_OVER;
}

static int refuse_magic(greeting *g, uint32_t magic) {
  char why[96];
  if (magic >> 4 == MAGIC >> 4) snprintf(why, sizeof why, "another version of TVM's protocol, magic %#x", magic);
  else
    snprintf(why, sizeof why, "not TVM's RPC, it begins with %02x %02x %02x %02x", g->bytes[0], g->bytes[1],
             g->bytes[2], g->bytes[3]);
  return refuse(g, why);
}

static int accept_client(greeting *g, const char *server_key) {
  channel c = {g->fd, -1, now_ms() + SEND_MS};
  char key[MAX_KEY + 16];
  int32_t head[2] = {MAGIC, snprintf(key, sizeof key, "server:%s", server_key)};
  if (write_all(&c, head, sizeof head) || write_all(&c, key, (size_t)head[1])) return refuse(g, "is gone");
  return GREETING_ACCEPTED;
}

static int judge_key(greeting *g, const char *server_key, const char *expected, int64_t *session_ms) {
  const char *key = (const char *)g->bytes + HEAD;
  size_t length = strcspn(key, " ");
  const char *limit = strstr(key + length, "-timeout=");
  double seconds = limit ? strtod(limit + strlen("-timeout="), NULL) : 0;
  *session_ms = seconds > 0 && seconds < 1e9 ? (int64_t)(seconds * 1000) : 0;
  if (*expected && length == strlen(expected) + 7 && !strncmp(key, "client:", 7) &&
      !strncmp(key + 7, expected, length - 7))
    return accept_client(g, server_key);
  int32_t answer = MISMATCH;
  channel c = {g->fd, -1, now_ms() + SEND_MS};
  write_all(&c, &answer, sizeof answer);
  return refuse(g, *expected ? "wrong key" : "wrong key, or the board is in use");
}

int greet(greeting *g, const char *server_key, const char *expected, int64_t *session_ms) {
  for (;;) {
    uint32_t head[2] = {0, 0};
    memcpy(head, g->bytes, g->have < HEAD ? g->have : HEAD);
    if (g->have >= 4 && head[0] != MAGIC) return refuse_magic(g, head[0]);
    if (g->have >= HEAD && head[1] > MAX_KEY) return refuse(g, "a key of more than 255 bytes");
    size_t whole = g->have < 4 ? 4 : g->have < HEAD ? HEAD : HEAD + head[1];
    if (g->have == whole && whole >= HEAD) {
      g->bytes[whole] = 0;
      return judge_key(g, server_key, expected, session_ms);
    }
    ssize_t got = recv(g->fd, g->bytes + g->have, whole - g->have, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return GREETING_MORE;
    if (got <= 0) return refuse(g, "closed before it had said who it is");
    g->have += (size_t)got;
  }
}
