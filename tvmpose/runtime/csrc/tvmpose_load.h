/* tvmpose_load.h - opens the library of a bundle that suits this CPU, for programs that are not linked with one.
 *
 *     #include "tvmpose_load.h"
 *     #include "NAME_libraries.h"
 *
 *     char error[256];
 *     const tvmpose_api *api = tvmpose_load("path/of/the/bundle", NAME_libraries, "NAME_tvmpose", error, sizeof error);
 *     if (!api) puts(error);
 *
 * Needs dlopen: link with -ldl where the C library keeps it apart, as glibc did before 2.34. */
#ifndef TVMPOSE_LOAD_H
#define TVMPOSE_LOAD_H

#include <dlfcn.h>
#include <stdio.h>

#include "tvmpose.h"

/* The table of an opened library; NULL, and why in `error`, where it has none that this header fits. */
static inline const tvmpose_api *tvmpose_load_table(void *library, const char *symbol, char *error, size_t size) {
  const tvmpose_api *(*entry)(void) = NULL;
  *(void **)&entry = dlsym(library, symbol);
  const tvmpose_api *api = entry ? entry() : NULL;
  if (api && api->abi == TVMPOSE_ABI && api->struct_size >= sizeof *api) return api;
  if (!api) snprintf(error, size, "exports no %s", symbol);
  else snprintf(error, size, "another version of tvmpose than this header (ABI %u, here %d)", api->abi, TVMPOSE_ABI);
  return NULL;
}

/* The table of the first of `libraries` that this CPU runs, which stays loaded for good; NULL, and why in `error`, where
 * it runs none.
 *
 * folder: where they lie; NULL: where the system looks for libraries, as in an Android app. libraries: file names, the
 * most demanding first, then NULL; one that is not there is passed over. symbol: the bundle's entry. error: of `size`
 * bytes, gets one line about the last library, the least demanding. */
static inline const tvmpose_api *tvmpose_load(const char *folder, const char *const *libraries, const char *symbol,
                                              char *error, size_t size) {
  snprintf(error, size, "no libraries are listed");
  for (; *libraries; ++libraries) {
    char path[1024], reason[160];
    int length = snprintf(path, sizeof path, "%s%s%s", folder ? folder : "", folder ? "/" : "", *libraries);
    if (length >= (int)sizeof path) return snprintf(error, size, "%s: a path of %d bytes", *libraries, length), NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      snprintf(error, size, "%s", dlerror());
      continue;
    }
    const tvmpose_api *api = tvmpose_load_table(library, symbol, reason, sizeof reason);
    if (api && api->check_cpu() == TVMPOSE_OK) return api;
    snprintf(error, size, "%s: %s", *libraries, api ? api->last_error(NULL) : reason);
    dlclose(library);
    if (!api) return NULL;
  }
  return NULL;
}

#endif
