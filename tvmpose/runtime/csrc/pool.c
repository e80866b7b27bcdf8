/* pool.c - the threads of one handle: fork and join over numbered tasks.
 *
 * Tasks are claimed by counting `unclaimed` down, whoever comes first, so a worker that wakes late delays nobody: the
 * caller has done its tasks by then. A claim also guards the job: launch() cannot write the next one before the claimed
 * task is finished, so its fields are plain memory.
 *
 * Whoever waits spins for SPIN_NANOSECONDS and then parks. No wakeup is lost: the one who parks first announces it and
 * then looks at the counter again, the other first changes the counter and then looks for the announcement, all
 * sequentially consistent (the default of the operations below), so at least one of the two sees the other. */
#include <pthread.h>
#include <sched.h>
#ifndef __wasi__
#include <signal.h>
#endif
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

enum { MAX_THREADS = 64, DEFAULT_MAX_THREADS = 4, STACK_BYTES = 512 * 1024 };

/* Longer than the serial stretches between two parallel kernels, shorter than a core's share that anyone would miss. */
enum { SPIN_NANOSECONDS = 30000 };

typedef struct {
  void *sync_handle;
  int32_t num_task;
} parallel_env; /* TVMParallelGroupEnv */
typedef int (*parallel_task)(int task_id, parallel_env *env, void *closure);

typedef struct worker {
  _Alignas(CACHE_LINE) struct pool *pool;
  pthread_t thread;   /* not of worker 0, which is whoever calls */
  uint8_t *workspace; /* pool.workspace_bytes, handed out as a stack */
  uint64_t workspace_used;
  bool in_task; /* a launch from here runs serially */
} worker;

typedef struct pool {
  parallel_task task; /* the job */
  void *closure;
  int num_tasks;

  _Alignas(CACHE_LINE) atomic_int unclaimed;
  _Alignas(CACHE_LINE) atomic_int unfinished;
  atomic_int failure; /* some failed task's return value, or 0 */
  atomic_int parked_workers, parked_caller, stop;

  _Alignas(CACHE_LINE) pthread_mutex_t mutex;
  pthread_cond_t work, done;
  int num_workers, num_started, spins;
  worker *workers;
  uint64_t workspace_bytes;
  atomic_bool raised; /* the first thread to raise an error owns the text until the kernel has returned */
  char error[ERROR_BYTES];
} pool;

static _Thread_local worker *current_worker; /* NULL outside a frame */

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory"); /* `yield` does nothing on most cores; this waits some ten cycles */
#elif defined(__arm__)
  __asm__ volatile("yield" ::: "memory");
#endif
}

static int64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* A pause takes 2 to 60 ns, by CPU; a frame shall not ask the clock. The shortest of a few trials was not interrupted. */
static int measure_spins(void) {
  enum { TRIALS = 4, PAUSES = 200 };
  int64_t shortest = SPIN_NANOSECONDS;
  for (int trial = 0; trial < TRIALS; ++trial) {
    int64_t start = nanoseconds();
    for (int i = 0; i < PAUSES; ++i) relax();
    int64_t taken = nanoseconds() - start;
    if (taken > 0 && taken < shortest) shortest = taken;
  }
  return (int)(SPIN_NANOSECONDS * (int64_t)PAUSES / shortest);
}

static void finish_task(pool *p, int status) {
  if (status) atomic_store(&p->failure, status);
  if (atomic_fetch_sub(&p->unfinished, 1) > 1 || !atomic_load(&p->parked_caller)) return;
  pthread_mutex_lock(&p->mutex);
  pthread_cond_signal(&p->done);
  pthread_mutex_unlock(&p->mutex);
}

static void work_off(worker *w) {
  pool *p = w->pool;
  int left = atomic_load(&p->unclaimed);
  while (left > 0) {
    if (!atomic_compare_exchange_weak(&p->unclaimed, &left, left - 1)) continue;
    parallel_env env = {NULL, p->num_tasks};
    w->in_task = true;
    int status = p->task(p->num_tasks - left, &env, p->closure);
    w->in_task = false;
    finish_task(p, status);
    left = atomic_load(&p->unclaimed);
  }
}

/* False: the pool is being stopped. */
static bool wait_for_work(pool *p) {
  for (int i = 0; i < p->spins; ++i) {
    if (atomic_load_explicit(&p->unclaimed, memory_order_relaxed) > 0) return true;
    if (atomic_load_explicit(&p->stop, memory_order_relaxed)) return false;
    relax();
  }
  pthread_mutex_lock(&p->mutex);
  atomic_fetch_add(&p->parked_workers, 1);
  while (atomic_load(&p->unclaimed) <= 0 && !atomic_load(&p->stop)) pthread_cond_wait(&p->work, &p->mutex);
  atomic_fetch_sub(&p->parked_workers, 1);
  pthread_mutex_unlock(&p->mutex);
  return !atomic_load(&p->stop);
}

static void wait_for_others(pool *p) {
  for (int i = 0; i < p->spins; ++i) {
    if (atomic_load_explicit(&p->unfinished, memory_order_acquire) == 0) return;
    relax();
  }
  pthread_mutex_lock(&p->mutex);
  atomic_store(&p->parked_caller, 1);
  while (atomic_load(&p->unfinished) > 0) pthread_cond_wait(&p->done, &p->mutex);
  atomic_store(&p->parked_caller, 0);
  pthread_mutex_unlock(&p->mutex);
}

static int launch_serially(parallel_task task, void *closure, int num_tasks) {
  parallel_env env = {NULL, num_tasks};
  int status = 0;
  for (int i = 0; i < num_tasks && !status; ++i) status = task(i, &env, closure);
  return status;
}

/* Runs task(0..num_tasks-1) on all workers, the calling one (worker 0) among them. Returns 0 or a task's failure. */
static int launch(pool *p, parallel_task task, void *closure, int num_tasks) {
  if (p->num_workers == 1) return launch_serially(task, closure, num_tasks);
  p->task = task;
  p->closure = closure;
  p->num_tasks = num_tasks;
  atomic_store_explicit(&p->failure, 0, memory_order_relaxed);
  atomic_store_explicit(&p->unfinished, num_tasks, memory_order_relaxed);
  atomic_store(&p->unclaimed, num_tasks);
  if (atomic_load(&p->parked_workers)) {
    pthread_mutex_lock(&p->mutex);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->mutex);
  }
  work_off(&p->workers[0]);
  wait_for_others(p);
  return atomic_load_explicit(&p->failure, memory_order_relaxed);
}

static void *worker_main(void *argument) {
  current_worker = argument;
  while (wait_for_work(current_worker->pool)) work_off(current_worker);
  return NULL;
}

#ifdef __wasi__ /* neither threads nor signals */
static bool start_workers(pool *p) { return (void)worker_main, p->num_workers == 1; }
#else
/* Workers take no signals: those belong to the program's own threads. */
static bool start_workers(pool *p) {
  sigset_t all, before;
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes)) return false;
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (worker *w = p->workers + 1; w < p->workers + p->num_workers; ++w, ++p->num_started)
    if (pthread_create(&w->thread, &attributes, worker_main, w)) break;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return p->num_started == p->num_workers - 1;
}
#endif

/* Stops and joins the workers and frees the pool; no launch may be under way. */
static void close_pool(pool *p) {
  if (!p) return;
  pthread_mutex_lock(&p->mutex);
  atomic_store(&p->stop, 1);
  pthread_cond_broadcast(&p->work);
  pthread_mutex_unlock(&p->mutex);
  for (int i = 1; i <= p->num_started; ++i) pthread_join(p->workers[i].thread, NULL);
  pthread_cond_destroy(&p->done);
  pthread_cond_destroy(&p->work);
  pthread_mutex_destroy(&p->mutex);
  free_block(p);
}

/* A pool of num_threads, the caller's own included, each with a workspace. NULL: memory or threads could not be had. */
static pool *open_pool(int num_threads, uint64_t workspace_bytes) {
  uint64_t total = 0, rounded = 0;
  reserve(&rounded, 1, workspace_bytes);
  reserve(&total, 1, sizeof(pool));
  uint64_t workers = reserve(&total, (uint64_t)num_threads, sizeof(worker));
  uint64_t workspaces = reserve(&total, (uint64_t)num_threads, rounded);
  pool *p = allocate_block(total);
  if (!p) return NULL;
  p->num_workers = num_threads;
  p->workspace_bytes = rounded;
  p->workers = (worker *)((uint8_t *)p + workers);
  for (int i = 0; i < num_threads; ++i) {
    p->workers[i].pool = p;
    p->workers[i].workspace = (uint8_t *)p + workspaces + (uint64_t)i * rounded;
  }
  p->spins = num_threads > 1 ? measure_spins() : 0;
  pthread_mutex_init(&p->mutex, NULL);
  pthread_cond_init(&p->work, NULL);
  pthread_cond_init(&p->done, NULL);
  if (start_workers(p)) return p;
  close_pool(p);
  return NULL;
}

/* As many as the CPUs this thread may run on, up to 4: more cores seldom pay for one small network. */
static int default_threads(void) {
  long cpus = sysconf(_SC_NPROCESSORS_ONLN);
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) cpus = CPU_COUNT(&allowed);
#endif
  return cpus < 1 ? 1 : cpus < DEFAULT_MAX_THREADS ? (int)cpus : DEFAULT_MAX_THREADS;
}
