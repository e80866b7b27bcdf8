/* test_pool.c - the thread pool alone: every task of every job runs once, whether the workers are hot, cold or late. */
#define TVMPOSE_NAME pool_test
#include "model.h"

#include <stdbool.h>
#include <string.h>

#include "error.c"
#include "memory.c"
#include "pool.c"
#include "kernel_abi.c"

#define POSE_API unused
#include "check.h"

enum { MAX_TASKS = 40 };

typedef struct {
  int num_tasks, slow_task, failing_task;
  int runs[MAX_TASKS]; /* plain memory: the pool orders the accesses, or a race is reported */
  atomic_int nested;
} job;

static int nested_task(int id, parallel_env *env, void *closure) {
  CHECK(id >= 0 && id < env->num_task);
  atomic_fetch_add((atomic_int *)closure, 1);
  return 0;
}

static int task(int id, parallel_env *env, void *closure) {
  job *j = closure;
  CHECK(id >= 0 && id < j->num_tasks && env->num_task == j->num_tasks);
  if (id == j->slow_task) nanosleep(&(struct timespec){0, 100000}, NULL);
  j->runs[id] += 1;
  CHECK(parallel_launch(nested_task, &j->nested, 3) == 0);
  return id == j->failing_task ? -5 : 0;
}

static void run_job(int num_tasks, int slow, int failing) {
  job j = {.num_tasks = num_tasks > 0 ? num_tasks : default_tasks(current_worker->pool),
           .slow_task = slow,
           .failing_task = failing};
  int status = parallel_launch(task, &j, num_tasks);
  CHECK(status == (failing >= 0 && failing < j.num_tasks ? -5 : 0));
  if (status) return; /* a single thread stops at the failure */
  for (int i = 0; i < j.num_tasks; ++i) CHECK(j.runs[i] == 1);
  CHECK(atomic_load(&j.nested) == 3 * j.num_tasks);
}

static void test_jobs(int threads, int jobs) {
  pool *p = open_pool(threads, 0);
  CHECK(p);
  current_worker = &p->workers[0];
  unsigned random = 1;
  for (int i = 0; i < jobs; ++i) {
    random = random * 1664525u + 1013904223u;
    int num_tasks = (int)(random >> 26) % MAX_TASKS;
    int slow = random >> 8 & 15 ? -1 : 0, failing = random >> 16 & 15 ? -1 : 0;
    if ((random >> 20 & 31) == 0) nanosleep(&(struct timespec){0, 80000}, NULL); /* long enough for workers to park */
    run_job(num_tasks, slow, failing);
  }
  current_worker = NULL;
  close_pool(p);
}

static int meet(int id, parallel_env *env, void *closure) {
  (void)id;
  atomic_fetch_add((atomic_int *)closure, 1);
  while (atomic_load((atomic_int *)closure) < env->num_task) sched_yield();
  return 0;
}

/* Tasks that wait for each other end only if every worker takes part, whether it spins or has parked. */
static void test_all_take_part(void) {
  pool *p = open_pool(3, 0);
  CHECK(p);
  current_worker = &p->workers[0];
  for (int i = 0; i < 300; ++i) {
    atomic_int arrived = 0;
    if (i % 3) nanosleep(&(struct timespec){0, i % 3 * 40000}, NULL);
    CHECK(parallel_launch(meet, &arrived, 3) == 0 && atomic_load(&arrived) == 3);
  }
  current_worker = NULL;
  close_pool(p);
}

/* Workspaces are a stack of 64-byte aligned pieces, one stack a thread; too large a piece is refused with a reason. */
static void test_workspace(void) {
  pool *p = open_pool(2, 1000);
  CHECK(p && p->workspace_bytes == 1024);
  CHECK(!allocate_workspace(1, 0, 1, 0, 8)); /* no frame under way */
  current_worker = &p->workers[0];
  uint8_t *a = allocate_workspace(1, 0, 1, 0, 8), *b = allocate_workspace(1, 0, 960, 0, 8);
  CHECK(a && b == a + 64 && (uintptr_t)a % 64 == 0);
  memset(b, 1, 960);
  CHECK(!allocate_workspace(1, 0, 1, 0, 8) && strstr(p->error, "larger than planned"));
  CHECK(free_workspace(1, 0, b) == 0 && free_workspace(1, 0, a) == 0 && free_workspace(1, 0, a + 64) == -1);
  CHECK(allocate_workspace(1, 0, 1024, 0, 8) == a && !allocate_workspace(1, 0, UINT64_MAX, 0, 8));
  current_worker = NULL;
  close_pool(p);
}

static void test_memory(void) {
  uint64_t total = 0;
  CHECK(reserve(&total, 3, 1) == 0 && total == 64 && reserve(&total, 1, 65) == 64 && total == 192);
  reserve(&total, 1, UINT64_MAX / 2);
  CHECK(total == UINT64_MAX && (reserve(&total, 1, 1), total == UINT64_MAX));
  CHECK(!allocate_block(UINT64_MAX) && !open_pool(2, UINT64_MAX / 8));
}

int main(int argc, char **argv) {
  int jobs = argc > 1 ? atoi(argv[1]) : 2000;
  alarm(300); /* a lost wakeup would wait for ever */
  for (int threads = 1; threads <= 5; ++threads) test_jobs(threads, jobs);
  for (int i = 0; i < 50; ++i) test_jobs(4, i % 3); /* opened and closed while workers spin, park or start */
  test_all_take_part();
  test_workspace();
  test_memory();
  puts("ok");
  return 0;
}
