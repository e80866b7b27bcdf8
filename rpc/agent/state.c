/* state.c - what Linux says of load, clock and temperature, in JSON; null where it says nothing. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "agent.h"

enum { MAX_CPUS = 256, MAX_ZONES = 64 };
static double limit_at_start = -1;

/* A number in a file, or -1e9. */
static double number_in(const char *path) {
  double value;
  FILE *file = fopen(path, "re");
  int found = file && fscanf(file, "%lf", &value) == 1;
  if (file) fclose(file);
  return found ? value : -1e9;
}

/* In MHz, or -1. */
static double highest_clock(const char *name) {
  double highest = -1000;
  for (int cpu = 0; cpu < MAX_CPUS; ++cpu) {
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/%s", cpu, name);
    double khz = number_in(path);
    if (khz > highest) highest = khz;
  }
  return highest > 0 ? highest / 1000 : -1;
}

static double highest_temperature(void) {
  double highest = -1e9;
  for (int zone = 0; zone < MAX_ZONES; ++zone) {
    char path[64];
    snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%d/temp", zone);
    double degrees = number_in(path) / 1000;
    if (degrees > highest && degrees < 200) highest = degrees; /* a sensor that is off says anything */
  }
  return highest;
}

void remember_clock_limit(void) {
  limit_at_start = highest_clock("scaling_max_freq");
  if (limit_at_start < 0) limit_at_start = highest_clock("cpuinfo_max_freq");
}

static void add_number(buffer *json, const char *name, double value, double least) {
  char text[64];
  if (value < least) snprintf(text, sizeof text, "\"%s\": null, ", name);
  else snprintf(text, sizeof text, "\"%s\": %.3f, ", name, value);
  buffer_add(json, text, strlen(text));
}

void describe_state(buffer *json) {
  struct utsname system;
  char text[sizeof system + 96];
  buffer_add(json, "{", 1);
  add_number(json, "load", number_in("/proc/loadavg"), 0);
  add_number(json, "clock", highest_clock("scaling_cur_freq"), 0);
  add_number(json, "clock_limit", limit_at_start, 0);
  add_number(json, "temperature", highest_temperature(), -100);
  uname(&system);
  snprintf(text, sizeof text, "\"machine\": \"%s\", \"system\": \"%s %s\", \"server\": \"agent %s\"}", system.machine,
           system.sysname, system.release, AGENT_VERSION);
  buffer_add(json, text, strlen(text));
}
