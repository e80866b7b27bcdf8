/* kernel_abi.c - what TVM's kernels call back: errors, scratch memory and parallel loops.
 *
 * Five symbols, prefixed with the bundle's name and hidden: neither another bundle nor TVM's own loader, which writes
 * to every visible __TVMBackend* variable it finds, can reach them. The functions get no handle; the thread knows it. */
#define KERNEL_ABI __attribute__((visibility("hidden")))

/* The first error of a kernel wins; the caller reads it once all tasks are done. */
static void raise_error(const char *kind, const char *const *parts, int32_t num_parts) {
  if (!current_worker || atomic_exchange(&current_worker->pool->raised, true)) return;
  char *text = current_worker->pool->error;
  int used = snprintf(text, ERROR_BYTES, "%s: ", kind ? kind : "Error");
  for (int32_t i = 0; i < num_parts && used < ERROR_BYTES; ++i)
    if (parts[i]) used += snprintf(text + used, (size_t)(ERROR_BYTES - used), "%s", parts[i]);
}

/* Workspaces are freed in the reverse order of their allocation, so a thread's scratch is a stack. */
static void *allocate_workspace(int device_type, int device_id, uint64_t bytes, int code_hint, int bits_hint) {
  (void)device_type, (void)device_id, (void)code_hint, (void)bits_hint;
  worker *w = current_worker;
  if (!w) return NULL;
  if (bytes > w->pool->workspace_bytes - w->workspace_used) {
    raise_error("MemoryError", (const char *[]){"the kernel's workspace is larger than planned"}, 1);
    return NULL;
  }
  void *piece = w->workspace + w->workspace_used;
  w->workspace_used += (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
  return piece;
}

static int free_workspace(int device_type, int device_id, void *piece) {
  (void)device_type, (void)device_id;
  worker *w = current_worker;
  uint64_t offset = w ? (uint64_t)((uintptr_t)piece - (uintptr_t)w->workspace) : UINT64_MAX;
  if (!w || offset > w->workspace_used) return -1;
  w->workspace_used = offset;
  return 0;
}

/* Several for each thread, where the kernel leaves the number to us: whoever is done first takes the next, so that a
 * slow core, or one that something else runs on, holds up the others by a fraction of the loop only. */
enum { TASKS_PER_THREAD = 4 };

static int default_tasks(const pool *p) { return p->num_workers > 1 ? TASKS_PER_THREAD * p->num_workers : 1; }

static int parallel_launch(parallel_task task, void *closure, int num_tasks) {
  worker *w = current_worker;
  if (!w || w->in_task) return launch_serially(task, closure, num_tasks > 0 ? num_tasks : 1);
  return launch(w->pool, task, closure, num_tasks > 0 ? num_tasks : default_tasks(w->pool));
}

KERNEL_ABI void TVMPOSE_SYMBOL(TVMFFIErrorSetRaisedFromCStrParts)(const char *, const char **, int32_t);
KERNEL_ABI void TVMPOSE_SYMBOL(TVMFFIErrorSetRaisedFromCStr)(const char *, const char *);
extern KERNEL_ABI void *(*const TVMPOSE_SYMBOL(__TVMBackendAllocWorkspace))(int, int, uint64_t, int, int);
extern KERNEL_ABI int (*const TVMPOSE_SYMBOL(__TVMBackendFreeWorkspace))(int, int, void *);
extern KERNEL_ABI int (*const TVMPOSE_SYMBOL(__TVMBackendParallelLaunch))(parallel_task, void *, int);

void TVMPOSE_SYMBOL(TVMFFIErrorSetRaisedFromCStrParts)(const char *kind, const char **parts, int32_t num_parts) {
  raise_error(kind, parts, num_parts);
}
void TVMPOSE_SYMBOL(TVMFFIErrorSetRaisedFromCStr)(const char *kind, const char *text) { raise_error(kind, &text, 1); }
void *(*const TVMPOSE_SYMBOL(__TVMBackendAllocWorkspace))(int, int, uint64_t, int, int) = allocate_workspace;
int (*const TVMPOSE_SYMBOL(__TVMBackendFreeWorkspace))(int, int, void *) = free_workspace;
int (*const TVMPOSE_SYMBOL(__TVMBackendParallelLaunch))(parallel_task, void *, int) = parallel_launch;
