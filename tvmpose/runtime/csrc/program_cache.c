/* program_cache.c - what a driver made of the device code, kept in a file: building it takes seconds on a phone.
 *
 * The file lies beside the library, or in the user's cache where that cannot be written to. Its name holds a hash of the
 * source, the device and the driver, so that an update of any of them asks for another file; its head holds that hash
 * and one of its content. A file that is damaged counts as none, and is replaced. No file at all costs time only. */
#include <limits.h>
#include <unistd.h>

#ifndef PATH_MAX
#define PATH_MAX 4096
#endif

typedef struct {
  uint64_t magic, key, bytes, content;
} cache_head;

#define CACHE_MAGIC UINT64_C(0x31435f65736f7074) /* "tpose_C1" */

/* FNV-1a: finds damage, is no protection against anybody. */
static uint64_t hash_bytes(uint64_t hash, const void *data, uint64_t bytes) {
  const uint8_t *at = data;
  for (uint64_t i = 0; i < bytes; ++i) hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
  return hash;
}

static uint64_t hash_text(uint64_t hash, const char *text) { return hash_bytes(hash, text, strlen(text) + 1); }

enum { CACHE_HASH_START = 0x811c9dc5, MOST_CACHED = 1 << 30 };

/* place 0: beside the file that this code is in; place 1: $XDG_CACHE_HOME or ~/.cache. False where there is none. */
static bool cache_path(int place, uint64_t key, char path[PATH_MAX]) {
  Dl_info here;
  int length = -1;
  if (place == 0) {
    if (!dladdr((const void *)&opencl_libraries, &here) || !here.dli_fname || !strchr(here.dli_fname, '/'))
      return false;
    length = snprintf(path, PATH_MAX, "%s.%016llx.clbin", here.dli_fname, (unsigned long long)key);
  } else {
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME"), *under = "";
    if (!base || base[0] != '/') base = home, under = "/.cache";
    if (!base || base[0] != '/') return false;
    length = snprintf(path, PATH_MAX, "%s%s/tvmpose-%s-%016llx.clbin", base, under, the_model()->info.name,
                      (unsigned long long)key);
  }
  return length > 0 && length < PATH_MAX - 16;
}

/* The caller frees *content; NULL where the file is not there or not whole. */
static uint8_t *read_cache_file(const char *path, uint64_t key, uint64_t *bytes) {
  FILE *file = fopen(path, "rb");
  if (!file) return NULL;
  cache_head head = {0};
  uint8_t *content = NULL;
  uint8_t more;
  bool whole = fread(&head, sizeof head, 1, file) == 1 && head.magic == CACHE_MAGIC && head.key == key && head.bytes &&
               head.bytes <= MOST_CACHED;
  if (whole && (content = malloc((size_t)head.bytes))) {
    whole = fread(content, (size_t)head.bytes, 1, file) == 1 && fread(&more, 1, 1, file) == 0 &&
            hash_bytes(CACHE_HASH_START, content, head.bytes) == head.content;
    if (!whole) free(content), content = NULL;
  }
  fclose(file);
  *bytes = head.bytes;
  return content;
}

static uint8_t *read_cache(uint64_t key, uint64_t *bytes) {
  char path[PATH_MAX];
  uint8_t *content = NULL;
  for (int place = 0; place < 2 && !content; ++place)
    if (cache_path(place, key, path)) content = read_cache_file(path, key, bytes);
  return content;
}

/* Under another name first: two handles may write at once, and a reader must never see half of it. */
static bool write_cache_file(const char *path, uint64_t key, const uint8_t *content, uint64_t bytes) {
  char partial[PATH_MAX];
  int length = snprintf(partial, sizeof partial, "%s.XXXXXX", path);
  if (length < 0 || length >= PATH_MAX) return false;
  int descriptor = mkstemp(partial);
  FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "wb");
  if (!file) return false;
  cache_head head = {CACHE_MAGIC, key, bytes, hash_bytes(CACHE_HASH_START, content, bytes)};
  bool written = fwrite(&head, sizeof head, 1, file) == 1 && fwrite(content, (size_t)bytes, 1, file) == 1;
  written = !fclose(file) && written;
  if (written) written = !rename(partial, path);
  if (!written) unlink(partial);
  return written;
}

static void write_cache(uint64_t key, const uint8_t *content, uint64_t bytes) {
  char path[PATH_MAX];
  for (int place = 0; place < 2; ++place)
    if (cache_path(place, key, path) && write_cache_file(path, key, content, bytes)) return;
}
