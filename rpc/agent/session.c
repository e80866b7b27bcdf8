/* session.c - TVM's RPC packets (src/runtime/rpc/rpc_endpoint.cc and minrpc/rpc_reference.h of TVM 0.27).
 *
 * A packet is a uint64 length and so many bytes, the first four of which are a code. Values come as an int32 count and,
 * for each, an int32 type index and what belongs to the type. What a call returns has its type index before it as a
 * value of its own. Functions are known by handles: ours are 1 and up. There are no tensors here: programs do the work. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"

enum { SHUTDOWN = 1, INIT_SERVER, CALL, RETURN, EXCEPTION, COPY_FROM, COPY_TO, COPY_ACK };
enum { GET_FUNCTION = 9, FREE_HANDLE, SET_DEVICE, STREAM_SYNC = 15 };
enum { NONE, INT, BOOL, FLOAT, POINTER, DATA_TYPE, DEVICE, TENSOR, RAW_STRING, BYTE_ARRAY, SMALL_STRING = 11 };
enum { SMALL_BYTES = 12, OBJECT = 64, STRING = 65, BYTES = 66, FUNCTION = 68, MODULE = 73, REMOTE_OBJECT = 128 - 13 };
enum { MAX_ARGUMENTS = 16, MAX_DIMENSIONS = 16 };

static const char protocol_version[] = "0.8.0";
#ifndef MAX_PACKET
#define MAX_PACKET ((uint64_t)1 << 30)
#endif

typedef struct {
  const char *at, *end;
  int failed;
} reader;

void buffer_add(buffer *b, const void *data, size_t bytes) {
  if (b->bytes + bytes > b->space) {
    size_t space = 2 * b->space + bytes + 256;
    char *larger = b->failed ? NULL : realloc(b->data, space);
    if (!larger) {
      b->failed = 1;
      return;
    }
    b->data = larger;
    b->space = space;
  }
  if (bytes) memcpy(b->data + b->bytes, data, bytes);
  b->bytes += bytes;
}

static const char *take(reader *r, uint64_t bytes) {
  static const char zeros[16];
  if (r->failed || bytes > (uint64_t)(r->end - r->at)) {
    r->failed = 1;
    return bytes <= sizeof zeros ? zeros : NULL;
  }
  r->at += bytes;
  return r->at - bytes;
}

static int32_t take_i32(reader *r) {
  int32_t value;
  memcpy(&value, take(r, sizeof value), sizeof value);
  return value;
}

static uint64_t take_u64(reader *r) {
  uint64_t value;
  memcpy(&value, take(r, sizeof value), sizeof value);
  return value;
}

static void take_bytes(reader *r, argument *a, int32_t type) {
  uint64_t bytes = take_u64(r);
  a->data = take(r, bytes);
  a->bytes = r->failed ? 0 : (size_t)bytes;
  a->type = type;
}

static void take_object(reader *r, argument *a) {
  int32_t type = take_i32(r);
  if (type == STRING || type == BYTES) take_bytes(r, a, type);
  else if (type == REMOTE_OBJECT) take(r, 8);
  else r->failed = 1;
}

static void take_tensor(reader *r) {
  take(r, 16); /* handle, device */
  int32_t dimensions = take_i32(r);
  if (dimensions < 0 || dimensions > MAX_DIMENSIONS) r->failed = 1;
  else take(r, 4 + 8 * (uint64_t)dimensions + 8); /* type, shape, offset */
}

static void take_argument(reader *r, argument *a) {
  memset(a, 0, sizeof *a);
  a->type = take_i32(r);
  if (a->type == NONE) return;
  if (a->type == RAW_STRING || a->type == BYTE_ARRAY) take_bytes(r, a, a->type == RAW_STRING ? STRING : BYTES);
  else if (a->type == TENSOR) take_tensor(r);
  else if ((a->type >= INT && a->type <= DEVICE) || a->type == FUNCTION || a->type == MODULE) {
    a->integer = (int64_t)take_u64(r);
    if (a->type == FLOAT) memcpy(&a->real, &a->integer, sizeof a->real);
    else a->real = (double)a->integer;
  } else if (a->type >= OBJECT || a->type == SMALL_STRING || a->type == SMALL_BYTES) take_object(r, a);
  else r->failed = 1;
}

/* Their number, or -1 where they are malformed. */
static int take_arguments(reader *r, argument *arguments) {
  int32_t count = take_i32(r);
  if (count < 0 || count > MAX_ARGUMENTS) return -1;
  for (int i = 0; i < count && !r->failed; ++i) take_argument(r, &arguments[i]);
  return r->failed ? -1 : count;
}

static void add_i32(buffer *b, int32_t value) { buffer_add(b, &value, sizeof value); }
static void add_u64(buffer *b, uint64_t value) { buffer_add(b, &value, sizeof value); }

static int send_packet(session *s, int32_t code, const buffer *values, const void *data, size_t bytes) {
  buffer head = {0};
  add_u64(&head, sizeof code + values->bytes + bytes);
  add_i32(&head, code);
  buffer_add(&head, values->data, values->bytes);
  int status = head.failed ? CHANNEL_CLOSED : write_all(s->client, head.data, head.bytes);
  free(head.data);
  return status ? status : write_all(s->client, data, bytes);
}

static int send_text(session *s, const char *text, size_t bytes) {
  buffer values = {0};
  add_i32(&values, 1);
  add_i32(&values, RAW_STRING);
  add_u64(&values, bytes);
  int status = send_packet(s, EXCEPTION, &values, text, bytes);
  free(values.data);
  return status;
}

static int raise(session *s, const char *text) { return send_text(s, text, strlen(text)); }

/* Of a syscall: a handle, or none. */
static int send_handle(session *s, uint64_t handle) {
  buffer values = {0};
  add_i32(&values, 1);
  add_i32(&values, handle ? POINTER : NONE);
  if (handle) add_u64(&values, handle);
  int status = send_packet(s, RETURN, &values, NULL, 0);
  free(values.data);
  return status;
}

static int send_result(session *s, int kind, const buffer *result) {
  buffer values = {0};
  add_i32(&values, 2);
  add_i32(&values, INT);
  add_u64(&values, (uint64_t)kind);
  add_i32(&values, kind == RETURNS_BYTES ? BYTE_ARRAY : kind == RETURNS_STRING ? RAW_STRING : NONE);
  if (kind != RETURNS_NOTHING) add_u64(&values, result->bytes);
  int status = send_packet(s, RETURN, &values, result->data, kind == RETURNS_NOTHING ? 0 : result->bytes);
  free(values.data);
  return status;
}

static int fits(const char *wanted, const argument *arguments, int count) {
  if ((int)strlen(wanted) != count) return 0;
  for (int i = 0; i < count; ++i) {
    int32_t type = arguments[i].type;
    int good = wanted[i] == 's'   ? type == STRING
               : wanted[i] == 'b' ? type == STRING || type == BYTES
               : wanted[i] == 'i' ? type == INT || type == BOOL
                                  : type == FLOAT || type == INT;
    if (!good) return 0;
  }
  return 1;
}

static int call(session *s, const function *f, const argument *arguments, int count) {
  char text[256];
  buffer result = {0};
  if (!fits(f->arguments, arguments, count)) {
    snprintf(text, sizeof text, "%s: takes %d arguments of types %s", f->name, (int)strlen(f->arguments), f->arguments);
    return raise(s, text);
  }
  int kind = f->call(s, arguments, &result);
  int status = result.failed    ? raise(s, "the agent is out of memory")
               : kind == ENDS   ? s->over
               : kind == RAISES ? send_text(s, result.data, result.bytes)
                                : send_result(s, kind, &result);
  free(result.data);
  return status;
}

static int init_server(session *s, reader *r, const char *client_name) {
  argument version, arguments[MAX_ARGUMENTS];
  take_bytes(r, &version, STRING);
  int count = take_arguments(r, arguments);
  if (count < 0) return CHANNEL_CLOSED;
  if (version.bytes != strlen(protocol_version) || memcmp(version.data, protocol_version, version.bytes)) {
    char text[128];
    snprintf(text, sizeof text, "the agent speaks version %s of TVM's protocol, the client %.*s", protocol_version,
             (int)(version.bytes < 32 ? version.bytes : 32), version.data);
    log_line("%s: %s", client_name, text);
    return raise(s, text);
  }
  return count ? raise(s, "the agent makes no sessions of other kinds") : send_handle(s, 0);
}

static int find_function(const function *functions, int count, const argument *name) {
  for (int i = 0; i < count; ++i)
    if (strlen(functions[i].name) == name->bytes && !memcmp(functions[i].name, name->data, name->bytes)) return i + 1;
  return 0;
}

/* CHANNEL_OK to go on. */
static int serve_packet(session *s, reader *r, const function *functions, int count, const char *client_name) {
  argument arguments[MAX_ARGUMENTS];
  int32_t code = take_i32(r);
  if (code == INIT_SERVER) return init_server(s, r, client_name);
  if (code == SHUTDOWN) return CHANNEL_CLOSED;
  if (code == COPY_FROM || code == COPY_TO) return raise(s, "the agent has no tensors: it runs programs");
  if (code != CALL && (code < GET_FUNCTION || code > 32)) r->failed = 1;
  uint64_t handle = code == CALL ? take_u64(r) : 0;
  int given = take_arguments(r, arguments);
  if (r->failed || given < 0) {
    log_line("%s: a packet that is none of TVM's RPC: the session ends", client_name);
    return CHANNEL_CLOSED;
  }
  if (code == CALL && handle >= 1 && handle <= (uint64_t)count)
    return call(s, &functions[handle - 1], arguments, given);
  if (code == CALL) return raise(s, "no function has this handle");
  if (code == GET_FUNCTION && given == 1 && arguments[0].type == STRING)
    return send_handle(s, (uint64_t)find_function(functions, count, &arguments[0]));
  if (code == FREE_HANDLE || code == SET_DEVICE || code == STREAM_SYNC) return send_handle(s, 0);
  return raise(s, "the agent has no tensors and no devices: it runs programs");
}

static int serve_next(session *s, const function *functions, int count, const char *client_name) {
  uint64_t bytes;
  int status = read_all(s->client, &bytes, sizeof bytes);
  if (status || !bytes) return status;
  char *packet = bytes <= MAX_PACKET ? malloc((size_t)bytes) : NULL;
  if (!packet) {
    log_line("%s: a packet of %llu bytes: the session ends", client_name, (unsigned long long)bytes);
    return CHANNEL_CLOSED;
  }
  status = read_all(s->client, packet, (size_t)bytes);
  reader r = {packet, packet + bytes, 0};
  if (!status) status = serve_packet(s, &r, functions, count, client_name);
  free(packet);
  return status;
}

void serve_session(session *s, const function *functions, int count, const char *client_name) {
  int status;
  do status = serve_next(s, functions, count, client_name);
  while (!status);
  if (status != CHANNEL_LATE) return;
  channel last_word = {s->client->fd, -1, now_ms() + 1000};
  s->client = &last_word;
  raise(s, "RPCSessionTimeoutError: the session has expired; ask for a longer session_timeout");
}
