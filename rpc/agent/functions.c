/* functions.c - what a client can call. The first three are TVM's own. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

enum { MAX_PATH = 1024, MAX_NAME = 200, MAX_PARTS = 256 };

static int fail(buffer *result, const char *what, const char *why) {
  buffer_add(result, what, strlen(what));
  buffer_add(result, ": ", 2);
  buffer_add(result, why, strlen(why));
  return RAISES;
}

/* Whether `name` is a plain file name; path: of that in the folder. */
static int path_of(char *path, const char *folder, const char *name, size_t bytes) {
  if (!bytes || bytes > MAX_NAME || name[0] == '.' || memchr(name, '/', bytes) || memchr(name, 0, bytes)) return 0;
  return snprintf(path, MAX_PATH, "%s/%.*s", folder, (int)bytes, name) < MAX_PATH;
}

static int write_file(const char *path, const char *data, size_t bytes) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700), error = 0;
  if (fd < 0) return errno;
  while (bytes && !error) {
    ssize_t written = write(fd, data, bytes);
    if (written < 0 && errno != EINTR) error = errno;
    if (written > 0) {
      data += written;
      bytes -= (size_t)written;
    }
  }
  if (close(fd) && !error) error = errno;
  return error;
}

static int upload(session *s, const argument *a, buffer *result) {
  char path[MAX_PATH];
  if (!path_of(path, s->folder, a[0].data, a[0].bytes)) return fail(result, "upload", "not a plain file name");
  unlink(path); /* a program that still runs keeps the old file */
  int error = write_file(path, a[1].data, a[1].bytes);
  if (error) unlink(path);
  return error ? fail(result, "upload", strerror(error)) : RETURNS_NOTHING;
}

static int download(session *s, const argument *a, buffer *result) {
  char path[MAX_PATH], part[65536];
  if (!path_of(path, s->folder, a[0].data, a[0].bytes)) return fail(result, "download", "not a plain file name");
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(result, "download", strerror(errno));
  ssize_t got;
  while ((got = read(fd, part, sizeof part)) > 0) buffer_add(result, part, (size_t)got);
  close(fd);
  return RETURNS_BYTES;
}

static int remove_file(session *s, const argument *a, buffer *result) {
  char path[MAX_PATH];
  if (!path_of(path, s->folder, a[0].data, a[0].bytes)) return fail(result, "remove", "not a plain file name");
  return unlink(path) ? fail(result, "remove", strerror(errno)) : RETURNS_NOTHING;
}

/* Of one of the board's own programs, "=python3", or of an uploaded one. */
static int find_program(char *path, const session *s, const argument *name) {
  char wanted[MAX_NAME + 1];
  if (!name->bytes || name->data[0] != '=') return path_of(path, s->folder, name->data, name->bytes);
  if (!path_of(path, "", name->data + 1, name->bytes - 1)) return 0;
  snprintf(wanted, sizeof wanted, "%.*s", (int)name->bytes - 1, name->data + 1);
  for (const char *at = getenv("PATH"); at && *at; at += strspn(at, ":")) {
    int length = (int)strcspn(at, ":");
    if (snprintf(path, MAX_PATH, "%.*s/%s", length, at, wanted) < MAX_PATH && !access(path, X_OK)) return 1;
    at += length;
  }
  return 0;
}

/* Texts of which each ends with a zero. Their number, or -1. */
static int split(const argument *a, const char **parts, int max) {
  int count = 0;
  if (a->bytes && a->data[a->bytes - 1]) return -1;
  for (const char *at = a->data, *end = at + a->bytes; at < end; at += strlen(at) + 1) {
    if (count == max) return -1;
    parts[count++] = at;
  }
  return count;
}

/* A folder in which the files have the names that the program wants them under. pairs: name, name in the session. */
static int make_folder(session *s, const char *folder, const char **pairs, int count) {
  char from[MAX_PATH], to[MAX_PATH];
  remove_tree(folder);
  if (mkdir(folder, 0700)) return 0;
  for (int i = 0; i < count; i += 2) {
    if (!path_of(to, folder, pairs[i], strlen(pairs[i])) ||
        !path_of(from, s->folder, pairs[i + 1], strlen(pairs[i + 1])))
      return errno = EINVAL, 0;
    if (symlink(from, to)) return 0;
  }
  return 1;
}

static void pack_ending(buffer *result, const ending *end) {
  uint64_t sizes[2] = {end->output.bytes, end->error_bytes};
  buffer_add(result, &end->how, sizeof end->how);
  buffer_add(result, &end->number, sizeof end->number);
  buffer_add(result, &end->seconds, sizeof end->seconds);
  buffer_add(result, sizes, sizeof sizes);
  buffer_add(result, end->output.data, end->output.bytes);
  buffer_add(result, end->error, end->error_bytes);
}

/* run(program, arguments, timeout, files): int32 how it ended, int32 number, float64 seconds, uint64 sizes of what it
 * printed and of the end of its errors, and both. The files are uploaded ones, and so is the program, or else it is "=name",
 * one of the board's own. */
static int run(session *s, const argument *a, buffer *result) {
  static ending end; /* too large for a small stack */
  char program[MAX_PATH], folder[MAX_PATH];
  const char *argv[2 * MAX_PARTS] = {0}, *pairs[2 * MAX_PARTS];
  int before = 0, pair_count = split(&a[3], pairs, 2 * MAX_PARTS);
  while (s->through && s->through[before] && before < MAX_PARTS - 2) argv[before] = s->through[before], ++before;
  argv[before] = program;
  if (!find_program(program, s, &a[0])) return fail(result, "run", "no such program");
  if (split(&a[1], argv + before + 1, MAX_PARTS) < 0 || pair_count < 0 || pair_count % 2)
    return fail(result, "run", "malformed arguments or files");
  if (!(a[2].real > 0 && a[2].real < 1e6)) return fail(result, "run", "a time limit must be positive");
  snprintf(folder, sizeof folder, "%s/.run", s->folder);
  if (!make_folder(s, folder, pairs, pair_count)) return fail(result, "run", strerror(errno));

  order what = {folder, (char *const *)argv, a[2].real, s->memory_bytes, s->output_bytes};
  memset(&end, 0, sizeof end);
  s->over = run_child(s->client, &what, &end);
  remove_tree(folder);
  if (!s->over) pack_ending(result, &end);
  if (end.output.failed) result->failed = 1;
  free(end.output.data);
  return s->over ? ENDS : RETURNS_BYTES;
}

static int state(session *s, const argument *a, buffer *result) {
  (void)s, (void)a;
  describe_state(result);
  return RETURNS_STRING;
}

const function agent_functions[] = {
    {"tvm.rpc.server.upload", "sb", upload},
    {"tvm.rpc.server.download", "s", download},
    {"tvm.rpc.server.remove", "s", remove_file},
    {"tvmpose.run", "sbfb", run},
    {"tvmpose.state", "", state},
};
const int agent_function_count = (int)(sizeof agent_functions / sizeof *agent_functions);
