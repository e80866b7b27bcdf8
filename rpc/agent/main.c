/* main.c - the agent: a board that TVM's tracker can give away, in one static program.
 *
 * One client at a time has the board. It is served by a process of its own, which the agent outlives whatever happens
 * in it; and if it is the agent that dies, that process notices and clears up. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"

static const char usage[] =
    "usage: tvmpose-agent --key KEY [--tracker HOST:PORT] [option ...]\n\n"
    "  --host HOST       to listen on (default: 127.0.0.1; there is no authentication: reach it through ssh)\n"
    "  --port PORT       to listen on (default: a free one)\n"
    "  --address HOST[:PORT]  that the tracker tells clients, where they see another than the tracker does\n"
    "  --through WORDS   a command that every program is run with, as 'taskset -c 3'\n"
    "  --memory MB       of a program's data (default: three quarters of the machine's)\n"
    "  --output MB       that a program may print (default: 64)\n"
    "  --folder FOLDER   where sessions have their files (default: TMPDIR, else /tmp)\n"
    "  --until-eof       end with standard input\n";

enum { MAX_WORDS = 64, CLOSING_MS = 3000 };

typedef struct {
  const char *key, *host, *folder;
  int port, until_eof;
  uint64_t memory_bytes, output_bytes;
  const char *through[MAX_WORDS + 1];
} options;

typedef struct {
  options what;
  tracker tracker; /* host NULL: without */
  int listener;
  greeting greetings[MAX_GREETINGS];
  pid_t session; /* 0: none */
  int lifeline;  /* its writing end, which nobody writes to */
  char folder[512];
  int64_t session_start;
} agent;

static volatile sig_atomic_t stopping;
static void on_stop(int number) {
  (void)number;
  stopping = 1;
  if (write(child_ended[1], "", 1) < 0) {
  } /* wakes poll */
}

_Noreturn static void misuse(const char *why, const char *value) {
  fprintf(stderr, "tvmpose-agent: %s%s%s\n", why, value ? ": " : "", value ? value : "");
  exit(2);
}

static long number(const char *text, long most, const char *option) {
  char *end;
  long value = strtol(text, &end, 10);
  if (*end || !*text || value < 0 || value > most) misuse(option, text);
  return value;
}

static void plain(const char *text, const char *option) {
  for (const char *c = text; *c; ++c)
    if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:[]%", *c)) misuse(option, text);
}

static void set_tracker(agent *a, char *text) {
  char *colon = strrchr(text, ':');
  if (!colon) misuse("--tracker must be HOST:PORT", text);
  *colon = 0;
  a->tracker.host = text;
  a->tracker.port = (int)number(colon + 1, 65535, "--tracker must be HOST:PORT");
}

static void set_address(agent *a, char *text) {
  char *colon = strrchr(text, ':');
  plain(text, "--address must be HOST[:PORT]");
  if (colon && strchr(text, ':') == colon) { /* more are an IPv6 address */
    a->tracker.own_port = (int)number(colon + 1, 65535, "--address must be HOST[:PORT]");
    *colon = 0;
  }
  a->tracker.address = text;
}

static uint64_t memory_of_machine(void) {
  long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
  return pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes : 0;
}

static void split_words(options *o, char *text) {
  int count = 0;
  setenv("TVMPOSE_THROUGH", text, 1); /* for programs that start others */
  for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
    if (count == MAX_WORDS) misuse("--through has too many words", NULL);
    o->through[count++] = word;
  }
}

static void parse(agent *a, int argc, char **argv) {
  static const struct option known[] = {{"key", 1, 0, 'k'},    {"tracker", 1, 0, 't'},   {"host", 1, 0, 'h'},
                                        {"port", 1, 0, 'p'},   {"address", 1, 0, 'a'},   {"through", 1, 0, 'w'},
                                        {"memory", 1, 0, 'm'}, {"output", 1, 0, 'o'},    {"folder", 1, 0, 'f'},
                                        {"help", 0, 0, '?'},   {"until-eof", 0, 0, 'e'}, {0, 0, 0, 0}};
  options *o = &a->what;
  const char *temporary = getenv("TMPDIR");
  *o = (options){.host = "127.0.0.1", .folder = temporary ? temporary : "/tmp", .output_bytes = 64u << 20};
  o->memory_bytes = memory_of_machine() / 4 * 3;
  for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
    if (c == 'k') plain(o->key = optarg, "--key may have letters, digits, . _ and -");
    else if (c == 't') set_tracker(a, optarg);
    else if (c == 'h') o->host = optarg;
    else if (c == 'p') o->port = (int)number(optarg, 65535, "--port");
    else if (c == 'a') set_address(a, optarg);
    else if (c == 'w') split_words(o, optarg);
    else if (c == 'm') o->memory_bytes = (uint64_t)number(optarg, 1 << 30, "--memory") << 20;
    else if (c == 'o') o->output_bytes = (uint64_t)number(optarg, 1024, "--output") << 20;
    else if (c == 'f') o->folder = optarg;
    else if (c == 'e') o->until_eof = 1;
    else fputs(usage, stderr), exit(2);
  }
  if (!o->key || !*o->key || strlen(o->key) > 48 || strchr(o->key, ':') || optind != argc)
    fputs(usage, stderr), exit(2);
}

_Noreturn static void serve(agent *a, int fd, int lifeline, int64_t session_ms, const char *name) {
  for (int i = 0; i < MAX_GREETINGS; ++i)
    if (a->greetings[i].fd >= 0 && a->greetings[i].fd != fd) close(a->greetings[i].fd);
  close(a->listener);
  if (a->tracker.fd >= 0) close(a->tracker.fd);
  signal(SIGTERM, SIG_IGN); /* the agent's end reaches us by the lifeline */
  signal(SIGINT, SIG_IGN);
  adopt_orphans();
  watch_children();
  channel client = {fd, lifeline, session_ms ? now_ms() + session_ms : 0};
  session s = {&client, a->folder, a->what.through, a->what.memory_bytes, a->what.output_bytes, 0};
  serve_session(&s, agent_functions, agent_function_count, name);
  kill_children();
  remove_tree(a->folder);
  _exit(0);
}

static void begin_session(agent *a, greeting *g, int64_t session_ms) {
  int ends[2] = {-1, -1};
  snprintf(a->folder, sizeof a->folder, "%s/tvmpose-agent-XXXXXX", a->what.folder);
  int ready = mkdtemp(a->folder) && !pipe2(ends, O_CLOEXEC);
  a->session = ready ? fork() : -1;
  if (a->session == 0) {
    close(ends[1]);
    serve(a, g->fd, ends[0], session_ms, g->name);
  }
  if (a->session < 0) log_line("%s: no session: %s (%s)", g->name, strerror(errno), a->folder), a->session = 0;
  else log_line("%s: session begins", g->name);
  if (ends[0] >= 0) close(ends[0]);
  a->lifeline = ends[1];
  close(g->fd);
  g->fd = -1;
  a->session_start = now_ms();
  a->tracker.match_key[0] = 0;
}

static void reap(agent *a) {
  int status;
  child_ended_clear();
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid != a->session) continue;
    double seconds = (double)(now_ms() - a->session_start) / 1000;
    if (WIFSIGNALED(status)) log_line("session ends after %.1f s, by signal %d", seconds, WTERMSIG(status));
    else log_line("session ends after %.1f s", seconds);
    close(a->lifeline);
    a->session = 0;
    kill_children(); /* what a session that was killed has left */
    remove_tree(a->folder);
  }
}

static void accept_client(agent *a) {
  char name[sizeof a->greetings[0].name];
  int fd = accept_from(a->listener, name, sizeof name);
  if (fd < 0) return;
  greeting *g = a->greetings;
  while (g < a->greetings + MAX_GREETINGS && g->fd >= 0) ++g;
  if (g == a->greetings + MAX_GREETINGS) {
    log_line("%s: refused: %d others have not said yet who they are", name, MAX_GREETINGS);
    close(fd);
    return;
  }
  *g = (greeting){.fd = fd, .deadline = now_ms() + GREETING_MS};
  memcpy(g->name, name, sizeof name);
}

static void hear(agent *a, greeting *g) {
  int64_t session_ms;
  const char *expected = a->session ? "" : a->tracker.host ? a->tracker.match_key : a->what.key;
  if (greet(g, a->what.key, expected, &session_ms) == GREETING_ACCEPTED) begin_session(a, g, session_ms);
}

/* Until something happens, or is due. */
static void wait_and_handle(agent *a) {
  enum { LISTENER, CHILD, INPUT, FIRST };
  struct pollfd p[FIRST + MAX_GREETINGS] = {{a->listener, POLLIN, 0}, {child_ended[0], POLLIN, 0}};
  int64_t due = a->tracker.host ? a->tracker.next : now_ms() + 60000;
  p[INPUT] = (struct pollfd){a->what.until_eof ? 0 : -1, POLLIN, 0};
  if (a->session && !a->tracker.host) p[LISTENER].fd = -1; /* the next one waits in the queue */
  for (int i = 0; i < MAX_GREETINGS; ++i) {
    p[FIRST + i] = (struct pollfd){a->greetings[i].fd, POLLIN, 0};
    if (a->greetings[i].fd >= 0 && a->greetings[i].deadline < due) due = a->greetings[i].deadline;
  }
  int64_t left = due - now_ms();
  if (poll(p, FIRST + MAX_GREETINGS, left > 0 ? (int)left + 1 : 0) < 0) return;
  if (p[CHILD].revents) reap(a);
  char byte;
  if (p[INPUT].revents && read(0, &byte, 1) <= 0) stopping = 1;
  for (int i = 0; i < MAX_GREETINGS; ++i) {
    greeting *g = &a->greetings[i];
    if (g->fd >= 0 && p[FIRST + i].fd == g->fd && p[FIRST + i].revents) hear(a, g);
    if (g->fd >= 0 && now_ms() >= g->deadline) greeting_end(g, "silent for 10 s");
  }
  if (p[LISTENER].revents) accept_client(a);
}

static void stop(agent *a) {
  int64_t deadline = now_ms() + CLOSING_MS;
  log_line("stopping");
  if (!a->session) return;
  close(a->lifeline);
  while (waitpid(a->session, NULL, WNOHANG) == 0 && now_ms() < deadline) {
    struct pollfd p = {child_ended[0], POLLIN, 0};
    poll(&p, 1, 100);
  }
  kill_children();
  remove_tree(a->folder);
}

int main(int argc, char **argv) {
  static agent a;
  struct sigaction action = {.sa_handler = on_stop};
  a.tracker.fd = -1;
  for (int i = 0; i < MAX_GREETINGS; ++i) a.greetings[i].fd = -1;
  parse(&a, argc, argv);
  signal(SIGPIPE, SIG_IGN);
  watch_children();
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGHUP, &action, NULL);
  adopt_orphans();
  remember_clock_limit();
  a.listener = listen_on(a.what.host, a.what.port, &a.what.port);
  if (a.listener < 0) misuse("cannot listen", strerror(errno));
  log_line("listening on %s:%d as %s", a.what.host, a.what.port, a.what.key);
  if (!is_loopback(a.what.host))
    log_line("warning: TVM's RPC has no authentication: whoever reaches port %d can run programs here", a.what.port);
  a.tracker.key = a.what.key;
  if (!a.tracker.own_port) a.tracker.own_port = a.what.port;
  while (!stopping) {
    if (a.tracker.host) tracker_tick(&a.tracker, !a.session);
    if (!stopping) wait_and_handle(&a);
  }
  stop(&a);
  return 0;
}
