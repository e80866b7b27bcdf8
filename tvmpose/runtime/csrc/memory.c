/* memory.c - one zeroed block, carved into pieces that each start on a cache line.
 *
 * TVM's kernels load and store whole vectors at 64-byte aligned addresses without checking, so every piece is aligned.
 * calloc gives large blocks as untouched zero pages: memory that no kernel writes costs nothing. Of blocks of megabytes
 * the system is asked for large pages: small ones lie anywhere in memory, which the TLB does not reach over, and get in
 * each other's way in a cache that knows physical addresses. */
#include <stdlib.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

enum { CACHE_LINE = 64, HUGE_PAGE = 2 << 20 };

/* Adds a piece of count * size bytes to a block under plan and returns its offset. *total becomes UINT64_MAX, and stays
 * so, when the sum does not fit. */
static uint64_t reserve(uint64_t *total, uint64_t count, uint64_t size) {
  uint64_t offset = *total, bytes = count * size;
  bool overflow = offset > UINT64_MAX / 4 || (size && count > UINT64_MAX / 4 / size);
  *total = overflow ? UINT64_MAX : (offset + bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
  return offset;
}

/* NULL when there is not so much memory. The pointer that calloc returned is kept just below the block. */
static void *allocate_block(uint64_t bytes) {
  const size_t alignment = bytes < HUGE_PAGE ? CACHE_LINE : HUGE_PAGE, slack = sizeof(void *) + alignment - 1;
  if (bytes > SIZE_MAX - slack) return NULL;
  char *raw = calloc(1, (size_t)bytes + slack);
  if (!raw) return NULL;
  uintptr_t start = ((uintptr_t)raw + slack) / alignment * alignment;
  void **block = (void **)(raw + (start - (uintptr_t)raw));
  block[-1] = raw;
#if defined(MADV_HUGEPAGE)
  if (alignment == HUGE_PAGE) madvise(block, (size_t)bytes, MADV_HUGEPAGE); /* a wish: it may have none */
#endif
  return block;
}

static void free_block(void *block) {
  if (block) free(((void **)block)[-1]);
}
