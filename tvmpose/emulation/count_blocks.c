/* A TCG plugin of QEMU that counts how often each block of the program is executed.
 *
 * QEMU translates a program block by block: instructions without a branch between them, at most some hundreds. When the
 * program ends, the file that TVMPOSE_COUNTS names gets a line for each block that ran:
 *
 *     EXECUTIONS INSTRUCTIONS ADDRESS CODE
 *
 * in decimal, decimal, hexadecimal, and the bytes of its instructions in hexadecimal. Counters are not atomic: a program
 * has to compute in one thread. Without a header, which Debian does not package: the declarations are those of QEMU's
 * qemu-plugin.h, plugin API 1 (QEMU 4.2 to 8.2). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *counter,
                                              uint64_t immediate);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);

EXPORT int qemu_plugin_version = 1;

typedef struct block {
  struct block *next;
  uint64_t executions, address;
  size_t instructions, bytes;
  uint8_t code[];
} block;

/* Translation holds a lock of QEMU's, so the list needs none. Code that QEMU translates again gets a second entry. */
static block *blocks;
static pid_t process; /* a forked child inherits the counters; they are not its own */

static void give_up(const char *what) {
  perror(what);
  _exit(EXIT_FAILURE);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  size_t instructions = qemu_plugin_tb_n_insns(tb), bytes = 0;
  for (size_t i = 0; i < instructions; i++) bytes += qemu_plugin_insn_size(qemu_plugin_tb_get_insn(tb, i));
  block *b = malloc(sizeof *b + bytes);
  if (!b) give_up("count_blocks");
  *b = (block){blocks, 0, qemu_plugin_tb_vaddr(tb), instructions, bytes};
  uint8_t *end = b->code;
  for (size_t i = 0; i < instructions; i++) {
    const struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(tb, i);
    const uint8_t *data = qemu_plugin_insn_data(instruction);
    for (size_t n = qemu_plugin_insn_size(instruction); n; n--) *end++ = *data++;
  }
  blocks = b;
  qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &b->executions, 1);
}

static void finished(qemu_plugin_id_t id, void *path) {
  (void)id;
  if (getpid() != process) return;
  FILE *file = fopen(path, "w");
  if (!file) give_up(path);
  for (const block *b = blocks; b; b = b->next) {
    if (!b->executions) continue;
    fprintf(file, "%" PRIu64 " %zu %" PRIx64 " ", b->executions, b->instructions, b->address);
    for (size_t i = 0; i < b->bytes; i++) fprintf(file, "%02x", b->code[i]);
    fputc('\n', file);
  }
  if (fclose(file)) give_up(path);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
  (void)info, (void)argc, (void)argv;
  char *path = getenv("TVMPOSE_COUNTS");
  if (!path) {
    fputs("count_blocks: TVMPOSE_COUNTS names no file\n", stderr);
    return -1;
  }
  process = getpid();
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, finished, path);
  return 0;
}
