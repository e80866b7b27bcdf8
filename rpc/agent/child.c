/* child.c - a program with limits of time, memory and output, in a process group of its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"

enum { OUT, ERR, START, PIPES, DRAIN_MS = 1000, PART = 65536 };

static void limit(int resource, uint64_t value) {
  struct rlimit both = {(rlim_t)value, (rlim_t)value};
  if (value) setrlimit(resource, &both);
}

/* In the child, which becomes the program. Only what is safe after fork. */
_Noreturn static void become(const order *what, int pipes[PIPES][2], pid_t parent) {
  struct rlimit none = {0, 0};
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  signal(SIGCHLD, SIG_DFL);
  signal(SIGPIPE, SIG_DFL);
  setrlimit(RLIMIT_CORE, &none);
  limit(RLIMIT_DATA, what->memory_bytes); /* not the address space, of which emulators reserve gigabytes */
  int nothing = open("/dev/null", O_RDONLY);
  int ready = nothing >= 0 && dup2(nothing, 0) >= 0 && dup2(pipes[OUT][1], 1) >= 0 && dup2(pipes[ERR][1], 2) >= 0 &&
              !chdir(what->folder);
  if (ready && strchr(what->argv[0], '/')) execv(what->argv[0], what->argv); /* execvp would try a shell on it */
  else if (ready) execvp(what->argv[0], what->argv);
  int32_t error = errno;
  if (write(pipes[START][1], &error, sizeof error) < 0) _exit(126);
  _exit(127);
}

static void keep_tail(ending *end, const char *data, size_t bytes) {
  if (bytes > ERROR_TAIL) data += bytes - ERROR_TAIL, bytes = ERROR_TAIL;
  size_t keep = end->error_bytes + bytes > ERROR_TAIL ? ERROR_TAIL - bytes : end->error_bytes;
  memmove(end->error, end->error + end->error_bytes - keep, keep);
  memcpy(end->error + keep, data, bytes);
  end->error_bytes = keep + bytes;
}

/* 0 when there is no more. */
static int take_output(int fd, int which, uint64_t limit_bytes, ending *end, int *too_much) {
  static char part[PART];
  ssize_t got = read(fd, part, sizeof part);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (which == ERR) keep_tail(end, part, (size_t)got);
  else if (end->output.bytes + (size_t)got > limit_bytes) *too_much = 1;
  else buffer_add(&end->output, part, (size_t)got);
  return got > 0;
}

static int earlier(int64_t a, int64_t b) { return a && (!b || a < b); }

typedef struct {
  pid_t pid;
  int status, reaped, too_much, timed_out;
  int64_t deadline;
} running;

static void reap(running *r) {
  child_ended_clear();
  for (pid_t pid; !r->reaped && (pid = waitpid(r->pid, &r->status, WNOHANG)) != 0;) {
    if (pid < 0 && errno == EINTR) continue;
    r->reaped = 1;
  }
}

/* Until it has ended, or must. */
static int watch(const channel *client, const order *what, int pipes[PIPES][2], running *r, ending *end) {
  struct pollfd p[5] = {{pipes[OUT][0], POLLIN, 0},
                        {pipes[ERR][0], POLLIN, 0},
                        {child_ended[0], POLLIN, 0},
                        {client->fd, POLLRDHUP, 0},
                        {client->lifeline, POLLIN, 0}};
  int64_t until = earlier(client->deadline, r->deadline) ? client->deadline : r->deadline;
  while (!r->reaped && !r->too_much) {
    int64_t left = until - now_ms();
    if (left <= 0) {
      r->timed_out = until == r->deadline;
      return r->timed_out ? CHANNEL_OK : CHANNEL_LATE;
    }
    if (poll(p, client->lifeline < 0 ? 4 : 5, left < 1000000 ? (int)left : 1000000) <= 0) continue;
    if (client->lifeline >= 0 && p[4].revents) return CHANNEL_ORPHANED;
    if (p[3].revents & (POLLRDHUP | POLLHUP | POLLERR)) return CHANNEL_CLOSED;
    for (int i = OUT; i <= ERR; ++i)
      if (p[i].revents && !take_output(p[i].fd, i, what->output_bytes, end, &r->too_much)) p[i].fd = -1;
    if (p[2].revents) reap(r);
  }
  return CHANNEL_OK;
}

/* What it printed at last. All writers are dead, so this ends at once; a deadline in case one could not be killed. */
static void drain(const order *what, int pipes[PIPES][2], running *r, ending *end) {
  int64_t deadline = now_ms() + DRAIN_MS;
  for (int i = OUT; i <= ERR; ++i) {
    struct pollfd p = {pipes[i][0], POLLIN, 0};
    int64_t left;
    while (!r->too_much && (left = deadline - now_ms()) > 0 && poll(&p, 1, (int)left) > 0)
      if (!take_output(p.fd, i, what->output_bytes, end, &r->too_much)) break;
  }
}

static void tell(const running *r, uint64_t output_bytes, ending *end) {
  char text[96];
  end->how = r->timed_out ? ENDED_KILLED : WIFSIGNALED(r->status) ? ENDED_SIGNALED : ENDED_EXITED;
  end->number = WIFSIGNALED(r->status) ? WTERMSIG(r->status) : WEXITSTATUS(r->status);
  if (!r->too_much) return;
  end->how = ENDED_SIGNALED;
  end->number = SIGXFSZ;
  keep_tail(end, text,
            (size_t)snprintf(text, sizeof text, "\nprinted over %llu bytes, the agent's limit\n",
                             (unsigned long long)output_bytes));
}

static int open_pipes(int pipes[PIPES][2]) {
  for (int i = 0; i < PIPES; ++i)
    if (pipe2(pipes[i], O_CLOEXEC)) {
      while (i--) close(pipes[i][0]), close(pipes[i][1]);
      return 0;
    }
  for (int i = 0; i < PIPES; ++i) fcntl(pipes[i][0], F_SETFL, O_NONBLOCK); /* the program's ends do block */
  return 1;
}

int run_child(const channel *client, const order *what, ending *end) {
  int pipes[PIPES][2];
  int32_t error = 0;
  if (!open_pipes(pipes)) return end->how = ENDED_NOT_STARTED, end->number = errno, CHANNEL_OK;
  int64_t start = now_ms();
  pid_t parent = getpid();
  running r = {.deadline = start + (int64_t)(what->timeout * 1000)};
  r.pid = fork();
  if (r.pid == 0) become(what, pipes, parent);
  if (r.pid > 0) setpgid(r.pid, r.pid); /* whoever is first */
  error = r.pid < 0 ? errno : 0;
  for (int i = 0; i < PIPES; ++i) close(pipes[i][1]);
  int over = r.pid > 0 ? watch(client, what, pipes, &r, end) : CHANNEL_OK;
  end->seconds = (double)(now_ms() - start) / 1000;
  if (r.pid > 0) {
    kill(-r.pid, SIGKILL);
    while (!r.reaped && waitpid(r.pid, &r.status, 0) < 0 && errno == EINTR) {
    }
    kill_children();
    drain(what, pipes, &r, end);
    if (read(pipes[START][0], &error, sizeof error) != sizeof error) error = 0;
    tell(&r, what->output_bytes, end);
  }
  if (error) end->how = ENDED_NOT_STARTED, end->number = error;
  for (int i = 0; i < PIPES; ++i) close(pipes[i][0]);
  return over;
}
