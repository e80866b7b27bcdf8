/* stub_code.c - reads kernels from a cubin (ELF, machine 190) or from PTX, as a driver would before it runs them. */
#include "stub_cuda.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  EM_NVIDIA = 190,
  INVALID_IMAGE = 200,
  NO_BINARY_FOR_GPU = 209,
  INVALID_PTX = 218,
  UNSUPPORTED_PTX_VERSION = 222
};
enum { FORM_SIZED = 4, MAX_THREADS = 0x05, PARAMETER_BYTES = 0x19 };

static const Elf64_Shdr *sections_of(const uint8_t *image, uint16_t *count, const char **names) {
  const Elf64_Ehdr *header = (const void *)image;
  const Elf64_Shdr *sections = (const void *)(image + header->e_shoff);
  *count = header->e_shnum;
  *names = (const char *)image + sections[header->e_shstrndx].sh_offset;
  return sections;
}

static void read_attributes(const uint8_t *at, uint64_t bytes, stub_kernel *kernel) {
  for (const uint8_t *end = at + bytes; at + 4 <= end;) {
    uint16_t value;
    memcpy(&value, at + 2, sizeof value);
    uint8_t form = at[0], attribute = at[1];
    at += 4;
    if (attribute == PARAMETER_BYTES) kernel->parameter_bytes = value;
    if (form != FORM_SIZED) continue;
    uint32_t threads[3];
    if (attribute == MAX_THREADS) {
      memcpy(threads, at, sizeof threads);
      kernel->max_threads = threads[0] * threads[1] * threads[2];
    }
    at += value;
  }
}

/* The kernel's other sections are called like its code's. */
static void read_kernel(const uint8_t *image, const char *name, stub_kernel *kernel) {
  uint16_t count;
  const char *names, *prefixes[] = {".nv.info.", ".nv.shared."};
  const Elf64_Shdr *sections = sections_of(image, &count, &names);
  snprintf(kernel->name, sizeof kernel->name, "%s", name);
  kernel->max_threads = 1024;
  for (uint16_t i = 0; i < count; ++i)
    for (int p = 0; p < 2; ++p) {
      const char *section = names + sections[i].sh_name;
      if (strncmp(section, prefixes[p], strlen(prefixes[p])) || strcmp(section + strlen(prefixes[p]), name)) continue;
      if (p == 1) kernel->static_shared = (uint32_t)sections[i].sh_size;
      else read_attributes(image + sections[i].sh_offset, sections[i].sh_size, kernel);
    }
}

static int read_cubin(const uint8_t *image, int capability, stub_code *code) {
  const Elf64_Ehdr *header = (const void *)image;
  if (header->e_machine != EM_NVIDIA || !header->e_shoff) return INVALID_IMAGE;
  uint32_t flags = header->e_flags, made_for = header->e_ident[EI_ABIVERSION] >= 8 ? flags >> 8 & 0xff : flags & 0xff;
  if ((int)made_for != capability) return NO_BINARY_FOR_GPU;
  uint16_t count;
  const char *names;
  const Elf64_Shdr *sections = sections_of(image, &count, &names);
  for (uint16_t i = 0; i < count && code->num_kernels < STUB_MOST_KERNELS; ++i)
    if (!strncmp(names + sections[i].sh_name, ".text.", 6))
      read_kernel(image, names + sections[i].sh_name + 6, &code->kernels[code->num_kernels++]);
  return 0;
}

/* The newest PTX of a driver: NVIDIA, PTX ISA, release history. */
static int newest_ptx(int driver_version) {
  if (driver_version < 11000) return 65;
  if (driver_version < 12000) return 70 + driver_version % 1000 / 10;
  return driver_version < 13000 ? 80 : 90;
}

/* All parameters are pointers. */
static void read_entry(const char *entry, stub_kernel *kernel) {
  sscanf(entry, "%127[^( \n\t]", kernel->name);
  const char *list = strchr(entry, '('), *end = list ? strchr(list, ')') : NULL;
  for (const char *at = list; at && (at = strstr(at, ".param")) && at < end; at += 6) kernel->parameter_bytes += 8;
  kernel->max_threads = 1024;
  if (end && !strncmp(end + strspn(end, ")\n\t "), ".maxntid", 8)) {
    unsigned x = 1, y = 1, z = 1;
    sscanf(strstr(end, ".maxntid") + 8, " %u, %u, %u", &x, &y, &z);
    kernel->max_threads = x * y * z;
  }
}

static int read_ptx(const char *text, int capability, int driver_version, stub_code *code) {
  const char *version = strstr(text, "\n.version "), *target = strstr(text, "\n.target sm_");
  if (!version || !target) return INVALID_PTX;
  int major = 0, minor = 0;
  sscanf(version, "\n.version %d.%d", &major, &minor);
  if (10 * major + minor > newest_ptx(driver_version)) return UNSUPPORTED_PTX_VERSION;
  if (atoi(target + strlen("\n.target sm_")) > capability) return NO_BINARY_FOR_GPU;
  for (const char *at = text; (at = strstr(at, ".entry ")) && code->num_kernels < STUB_MOST_KERNELS; at += 7)
    read_entry(at + 7, &code->kernels[code->num_kernels++]);
  return code->num_kernels ? 0 : INVALID_PTX;
}

int stub_read_code(const void *image, int capability, int driver_version, stub_code *code) {
  *code = (stub_code){0};
  if (!memcmp(image, ELFMAG, SELFMAG)) return read_cubin(image, capability, code);
  const unsigned char first = *(const unsigned char *)image; /* text, or a cubin that lost its head */
  return first == '/' || first == '.' || first == '\n' ? read_ptx(image, capability, driver_version, code)
                                                       : INVALID_IMAGE;
}
