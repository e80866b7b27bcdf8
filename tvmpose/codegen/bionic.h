/* bionic.h - what the runtime needs of Android's C library, for building without the NDK, whose headers zig lacks.
 *
 * Sizes, values and signatures are those of Android's 64-bit ABI (bionic/libc/include, android10-release and later);
 * bionic keeps them for ever, as applications are compiled against them. An opaque type is as large and as aligned. */
#ifndef TVMPOSE_BIONIC_H
#define TVMPOSE_BIONIC_H
#ifndef __LP64__
#error "bionic.h describes 64-bit Android only; set ANDROID_NDK_HOME"
#endif
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* string.h, stdio.h, stdlib.h, math.h */
void *memcpy(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
size_t strlen(const char *text);
int snprintf(char *to, size_t bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));
int vsnprintf(char *to, size_t bytes, const char *format, va_list arguments);
void *calloc(size_t count, size_t size);
void *malloc(size_t bytes);
void free(void *memory);
double cos(double x);
double floor(double x);
double fmax(double x, double y);
double sin(double x);
#define isfinite(x) __builtin_isfinite(x)

/* what libraries for GPUs call beside: more of string.h, stdio.h, stdlib.h and unistd.h; dlfcn.h */
char *strchr(const char *text, int character);
size_t strcspn(const char *text, const char *characters);
char *strstr(const char *text, const char *part);
char *getenv(const char *name);
typedef struct __sFILE FILE;
FILE *fopen(const char *path, const char *mode);
FILE *fdopen(int descriptor, const char *mode);
size_t fread(void *to, size_t size, size_t count, FILE *file);
size_t fwrite(const void *from, size_t size, size_t count, FILE *file);
int fclose(FILE *file);
int rename(const char *old_path, const char *new_path);
int mkstemp(char *path);
int unlink(const char *path);
typedef struct {
  const char *dli_fname;
  void *dli_fbase;
  const char *dli_sname;
  void *dli_saddr;
} Dl_info;
#define RTLD_LOCAL 0
#define RTLD_NOW 2
void *dlopen(const char *name, int flags);
void *dlsym(void *library, const char *symbol);
int dladdr(const void *address, Dl_info *info);
int dlclose(void *library);

/* sys/mman.h */
#define MADV_HUGEPAGE 14
int madvise(void *address, size_t bytes, int advice);

/* time.h, unistd.h, sys/auxv.h */
typedef long time_t;
struct timespec {
  time_t tv_sec;
  long tv_nsec;
};
#define CLOCK_MONOTONIC 1
int clock_gettime(int clock, struct timespec *now);
#define _SC_NPROCESSORS_ONLN 97
long sysconf(int name);
#define AT_HWCAP 16
#define AT_HWCAP2 26
unsigned long getauxval(unsigned long type);

/* sched.h */
typedef struct {
  unsigned long bits[1024 / 64];
} cpu_set_t;
int sched_getaffinity(int process, size_t bytes, cpu_set_t *set);
int __sched_cpucount(size_t bytes, const cpu_set_t *set);
#define CPU_COUNT(set) __sched_cpucount(sizeof(cpu_set_t), set)

/* signal.h */
typedef unsigned long sigset_t;
#define SIG_SETMASK 2
int sigfillset(sigset_t *set);
int pthread_sigmask(int how, const sigset_t *set, sigset_t *before);

/* pthread.h */
typedef long pthread_t;
typedef struct {
  int32_t opaque[10];
} pthread_mutex_t;
typedef struct {
  int32_t opaque[12];
} pthread_cond_t;
typedef struct {
  uint64_t opaque[7];
} pthread_attr_t;
int pthread_attr_init(pthread_attr_t *attributes);
int pthread_attr_setstacksize(pthread_attr_t *attributes, size_t bytes);
int pthread_attr_destroy(pthread_attr_t *attributes);
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);
int pthread_join(pthread_t thread, void **result);
int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes);
int pthread_mutex_lock(pthread_mutex_t *mutex);
int pthread_mutex_unlock(pthread_mutex_t *mutex);
int pthread_mutex_destroy(pthread_mutex_t *mutex);
int pthread_cond_init(pthread_cond_t *condition, const void *attributes);
int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int pthread_cond_signal(pthread_cond_t *condition);
int pthread_cond_broadcast(pthread_cond_t *condition);
int pthread_cond_destroy(pthread_cond_t *condition);
#endif
