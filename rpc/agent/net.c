/* net.c - sockets with deadlines. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void log_line(const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  for (char *c = text; *c; ++c)
    if ((unsigned char)*c < 32 || *c == 127) *c = '?'; /* a stranger's bytes do not reach the terminal */
  time_t seconds = time(NULL);
  struct tm parts;
  char stamp[32] = "";
  if (gmtime_r(&seconds, &parts)) strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", &parts);
  fprintf(stderr, "%s agent: %s\n", stamp, text);
  fflush(stderr);
}

static struct addrinfo *resolve(const char *host, int port, int passive) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = passive ? AI_PASSIVE : 0}, *found = NULL;
  char service[16];
  snprintf(service, sizeof service, "%d", port);
  return getaddrinfo(host, service, &hints, &found) ? NULL : found;
}

static int open_socket(const struct addrinfo *a) {
  return socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
}

static void tune_client(int fd) {
  int on = 1, idle = 15, interval = 5, count = 3;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on); /* a client without power frees the board */
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

int listen_on(const char *host, int port, int *bound_port) {
  struct addrinfo *found = resolve(host, port, 1);
  int fd = found ? open_socket(found) : -1, on = 1;
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  } bound;
  socklen_t bytes = sizeof bound;
  if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, 16) || getsockname(fd, &bound.any, &bytes)) {
    if (fd >= 0) close(fd);
    fd = -1;
  } else {
    *bound_port = ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port : bound.v4.sin_port);
  }
  if (found) freeaddrinfo(found);
  return fd;
}

static int wait_until(int fd, short events, int64_t deadline) {
  struct pollfd p = {fd, events, 0};
  int64_t left = deadline - now_ms();
  return poll(&p, 1, left > 0 ? (int)left : 0) == 1;
}

static int connect_to(const struct addrinfo *a, int64_t deadline) {
  int fd = open_socket(a), error = 0;
  socklen_t bytes = sizeof error;
  if (fd < 0) return -1;
  if (!connect(fd, a->ai_addr, a->ai_addrlen)) return fd;
  if (errno == EINPROGRESS && wait_until(fd, POLLOUT, deadline) &&
      !getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) && !error)
    return fd;
  close(fd);
  return -1;
}

int dial(const char *host, int port, int64_t deadline) {
  struct addrinfo *found = resolve(host, port, 0);
  int fd = -1;
  for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next) fd = connect_to(a, deadline);
  if (found) freeaddrinfo(found);
  if (fd >= 0) tune_client(fd);
  return fd;
}

int accept_from(int listener, char *name, size_t name_bytes) {
  struct sockaddr_storage from;
  socklen_t bytes = sizeof from;
  char host[46] = "?", port[8] = "?";
  int fd = accept4(listener, (struct sockaddr *)&from, &bytes, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return -1;
  getnameinfo((struct sockaddr *)&from, bytes, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
  snprintf(name, name_bytes, "%s:%s", host, port);
  tune_client(fd);
  return fd;
}

int is_loopback(const char *host) {
  struct addrinfo *found = resolve(host, 0, 1);
  int loopback = 0;
  if (found && found->ai_family == AF_INET)
    loopback = (ntohl(((struct sockaddr_in *)(void *)found->ai_addr)->sin_addr.s_addr) >> 24) == 127;
  if (found && found->ai_family == AF_INET6)
    loopback = IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)(void *)found->ai_addr)->sin6_addr);
  if (found) freeaddrinfo(found);
  return loopback;
}

/* Until the descriptor is ready. */
static int wait_channel(const channel *c, short events) {
  struct pollfd p[2] = {{c->fd, events, 0}, {c->lifeline, POLLIN, 0}};
  for (;;) {
    int64_t left = c->deadline ? c->deadline - now_ms() : -1;
    if (c->deadline && left <= 0) return CHANNEL_LATE;
    int ready = poll(p, c->lifeline < 0 ? 1 : 2, c->deadline ? (int)(left < 1000000 ? left : 1000000) : -1);
    if (ready < 0 && errno != EINTR) return CHANNEL_CLOSED;
    if (ready > 0 && c->lifeline >= 0 && p[1].revents) return CHANNEL_ORPHANED;
    if (ready > 0 && p[0].revents) return CHANNEL_OK;
  }
}

int read_all(const channel *from, void *data, size_t bytes) {
  for (char *at = data; bytes;) {
    ssize_t got = recv(from->fd, at, bytes, 0);
    if (got > 0) {
      at += got;
      bytes -= (size_t)got;
      continue;
    }
    if (got == 0 || (errno != EAGAIN && errno != EINTR)) return CHANNEL_CLOSED;
    int status = wait_channel(from, POLLIN);
    if (status) return status;
  }
  return CHANNEL_OK;
}

int write_all(const channel *to, const void *data, size_t bytes) {
  for (const char *at = data; bytes;) {
    ssize_t sent = send(to->fd, at, bytes, MSG_NOSIGNAL);
    if (sent > 0) {
      at += sent;
      bytes -= (size_t)sent;
      continue;
    }
    if (errno != EAGAIN && errno != EINTR) return CHANNEL_CLOSED;
    int status = wait_channel(to, POLLOUT);
    if (status) return status;
  }
  return CHANNEL_OK;
}
