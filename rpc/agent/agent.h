/* agent.h - what the parts of the agent know of each other.
 *
 * main.c     options, the loop that accepts clients, one session at a time
 * tracker.c  registers with TVM's tracker: its JSON protocol
 * greeting.c the first bytes of a client: magic and key
 * session.c  TVM's RPC packets, version 0.8.0, as far as calling functions by name goes
 * functions.c what can be called: files up and down, tvmpose.run, tvmpose.state
 * child.c    a program with limits
 * state.c    load, clock, temperature
 * orphans.c  processes and folders that are left behind
 * net.c      sockets with deadlines
 *
 * All numbers on the wire are little-endian, as are the machines it is built for. */
#ifndef TVMPOSE_AGENT_H
#define TVMPOSE_AGENT_H

#include <stddef.h>
#include <stdint.h>

#define AGENT_VERSION "1"

/* ---- net.c: descriptors do not block and are closed on exec; deadlines are of now_ms ---- */

int64_t now_ms(void);
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A socket that listens, or -1. port: 0 takes a free one; *bound_port is which. */
int listen_on(const char *host, int port, int *bound_port);
int dial(const char *host, int port, int64_t deadline);
int accept_from(int listener, char *name, size_t name_bytes); /* name: "127.0.0.1:51234" */
int is_loopback(const char *host);

/* What a session waits on besides its client: lifeline is readable as soon as the agent itself is gone; -1 without. */
typedef struct {
  int fd, lifeline;
  int64_t deadline; /* of the session; 0 without */
} channel;

enum { CHANNEL_OK, CHANNEL_CLOSED, CHANNEL_LATE, CHANNEL_ORPHANED };
int read_all(const channel *from, void *data, size_t bytes);
int write_all(const channel *to, const void *data, size_t bytes);

/* ---- tracker.c ---- */

typedef struct {
  const char *host, *key, *address; /* address: that clients shall use, NULL for that which the tracker sees */
  int port, own_port;
  int fd;             /* -1: not connected */
  int complained;     /* of a tracker that cannot be reached: once is enough */
  int unused_checks;  /* how often the key had been given away and nobody had come */
  char match_key[96]; /* what the next client has to say; "" while nobody is awaited */
  int64_t next;       /* when to connect, or to ask whether the key is still wanted */
} tracker;

void tracker_tick(tracker *t, int awaiting); /* whatever is due; awaiting: for a client */
void tracker_drop(tracker *t, const char *why);

/* ---- greeting.c: several clients may be half-way at the same time ---- */

enum { MAX_GREETINGS = 16, MAX_KEY = 255, GREETING_MS = 10000 };

typedef struct {
  int fd; /* -1: free */
  int64_t deadline;
  size_t have;
  unsigned char bytes[8 + MAX_KEY + 1];
  char name[64];
} greeting;

enum { GREETING_MORE, GREETING_OVER, GREETING_ACCEPTED };
/* Reads what there is. expected: the key, "" for none; *session_ms: the client's limit, 0 without. Closes and logs
 * when it is over; an accepted one's socket is the caller's. */
int greet(greeting *g, const char *server_key, const char *expected, int64_t *session_ms);
void greeting_end(greeting *g, const char *why);

/* ---- session.c ---- */

typedef struct {
  int32_t type; /* TVM's type index */
  int64_t integer;
  double real;
  const char *data; /* of strings and bytes, not terminated */
  size_t bytes;
} argument;

typedef struct {
  char *data;
  size_t bytes, space;
  int failed; /* out of memory */
} buffer;
void buffer_add(buffer *b, const void *data, size_t bytes);

typedef struct {
  const channel *client;
  const char *folder;         /* the session's own */
  const char *const *through; /* that programs are started with, NULL at the end */
  uint64_t memory_bytes, output_bytes;
  int over; /* why, where a function says that it ENDS */
} session;

enum { RETURNS_NOTHING = 0, RETURNS_STRING = 65, RETURNS_BYTES = 66, RAISES = -1, ENDS = -2 };
/* A function writes what it returns, or the text of its error, into the buffer; ENDS: the session is over. */
typedef struct {
  const char *name, *arguments; /* a letter each: s string, b bytes or string, i integer, f number */
  int (*call)(session *s, const argument *arguments, buffer *result);
} function;

void serve_session(session *s, const function *functions, int count, const char *client_name);

/* ---- functions.c ---- */

extern const function agent_functions[];
extern const int agent_function_count;

/* ---- child.c ---- */

typedef struct {
  const char *folder; /* where it runs */
  char *const *argv;
  double timeout; /* seconds */
  uint64_t memory_bytes, output_bytes;
} order;

enum { ENDED_EXITED, ENDED_SIGNALED, ENDED_KILLED, ENDED_NOT_STARTED };
enum { ERROR_TAIL = 8192 };
typedef struct {
  int32_t how, number; /* exit code, signal, or errno where it could not be started */
  double seconds;
  buffer output;
  char error[ERROR_TAIL]; /* the end of it */
  size_t error_bytes;
} ending;

/* CHANNEL_OK, or why the session is over. Everything that the program started is gone when it returns. */
int run_child(const channel *client, const order *what, ending *end);

/* ---- state.c ---- */

void remember_clock_limit(void); /* at the start, before heat lowers it */
void describe_state(buffer *json);

/* ---- orphans.c ---- */

void adopt_orphans(void); /* what our descendants leave becomes our child */
void kill_children(void); /* and theirs, until there is none */
void remove_tree(const char *folder);
extern int child_ended[2]; /* a pipe: readable after a child has ended */
void watch_children(void);
void child_ended_clear(void);

#endif
