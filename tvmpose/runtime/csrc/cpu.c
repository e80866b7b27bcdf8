/* cpu.c - which of the needed CPU features this CPU, under this operating system, does not have.
 *
 * Runs before any kernel, so it is compiled for the baseline instruction set like the rest of the runtime. */
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* XCR0 bits: SSE and AVX halves; mask registers and both AVX-512 halves; AMX tile configuration and data. */
enum { STATE_NONE = 0, STATE_AVX = 0x6, STATE_AVX512 = 0xe6, STATE_AMX = 0x60000 };
enum { REG_EAX, REG_EBX, REG_ECX, REG_EDX };

typedef struct {
  uint32_t leaf, subleaf, reg, position, state;
} cpu_probe;
#define X86(leaf, subleaf, reg, position, state) {leaf, subleaf, REG_##reg, position, STATE_##state}
#define ARM(word64, position64, word32, position32, apple) {0, 0, 0, 0, 0}

static uint32_t saved_state(void) {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
  __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  return a;
}

/* Linux gives a process AMX tiles only when asked: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA). */
static bool amx_permitted(void) {
#if defined(__linux__) && defined(SYS_arch_prctl)
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
  return false;
#endif
}

static bool cpu_has(const cpu_probe *probe) {
  uint32_t r[4];
  if (!probe->leaf || !__get_cpuid_count(probe->leaf, probe->subleaf, &r[0], &r[1], &r[2], &r[3])) return false;
  if (!(r[probe->reg] >> probe->position & 1)) return false;
  if ((saved_state() & probe->state) != probe->state) return false;
  return probe->state != STATE_AMX || amx_permitted();
}

#elif (defined(__aarch64__) || defined(__arm__)) && defined(__linux__)
#include <sys/auxv.h>

enum { WORD_NONE = 0, WORD_HWCAP = AT_HWCAP, WORD_HWCAP2 = AT_HWCAP2 };

typedef struct {
  unsigned long word, position;
} cpu_probe;
#define X86(leaf, subleaf, reg, position, state) {0, 0}
#ifdef __aarch64__
#define ARM(word64, position64, word32, position32, apple) {WORD_##word64, position64}
#else
#define ARM(word64, position64, word32, position32, apple) {WORD_##word32, position32}
#endif

static bool cpu_has(const cpu_probe *probe) { return probe->word && getauxval(probe->word) >> probe->position & 1; }

#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>

typedef struct {
  const char *name;
} cpu_probe;
#define X86(leaf, subleaf, reg, position, state) {""}
#define ARM(word64, position64, word32, position32, apple) {apple}

static bool cpu_has(const cpu_probe *probe) {
  int value = 0;
  size_t size = sizeof value;
  return probe->name[0] && sysctlbyname(probe->name, &value, &size, NULL, 0) == 0 && value;
}

#else /* a target whose features we cannot ask for: its models must not need any */

typedef struct {
  int unused;
} cpu_probe;
#define X86(leaf, subleaf, reg, position, state) {0}
#define ARM(word64, position64, word32, position32, apple) {0}

static bool cpu_has(const cpu_probe *probe) { return (void)probe, false; }

#endif

typedef struct {
  uint8_t bit;
  const char *name;
  cpu_probe probe;
} cpu_feature;

static const cpu_feature cpu_features[] = {
#define TVMPOSE_CPU_FEATURE(bit, name, probe) {bit, name, probe},
#include "cpu_features.h"
};
enum { NUM_CPU_FEATURES = sizeof cpu_features / sizeof cpu_features[0] };

/* TVMPOSE_OK, or TVMPOSE_UNSUPPORTED_CPU with the names of the missing features. */
static int check_cpu(uint64_t needed, char *error) {
  char missing[160] = "";
  for (int i = 0; i < NUM_CPU_FEATURES; ++i) {
    uint64_t mask = UINT64_C(1) << cpu_features[i].bit;
    if (!(needed & mask)) continue;
    needed &= ~mask;
    if (cpu_has(&cpu_features[i].probe)) continue;
    size_t used = strlen(missing);
    snprintf(missing + used, sizeof missing - used, " %s", cpu_features[i].name);
  }
  if (needed) return fail(error, TVMPOSE_UNSUPPORTED_CPU, "compiled for CPU features unknown to this library");
  if (!missing[0]) return TVMPOSE_OK;
  return fail(error, TVMPOSE_UNSUPPORTED_CPU, "compiled for instructions that this CPU lacks:%s", missing);
}
