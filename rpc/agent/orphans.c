/* orphans.c - nothing that was started or written for a session stays behind. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"

int child_ended[2] = {-1, -1};

static void on_child(int number) {
  int before = errno;
  (void)number;
  if (write(child_ended[1], "", 1) < 0) {
  } /* full is as good */
  errno = before;
}

void watch_children(void) {
  struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
  if (child_ended[0] >= 0) close(child_ended[0]), close(child_ended[1]); /* those of the process that forked us */
  if (pipe2(child_ended, O_CLOEXEC | O_NONBLOCK)) exit(1);
  sigaction(SIGCHLD, &action, NULL);
}

void child_ended_clear(void) {
  char part[64];
  while (read(child_ended[0], part, sizeof part) > 0) {
  }
}

void adopt_orphans(void) { prctl(PR_SET_CHILD_SUBREAPER, 1); }

/* One of our children, or 0. Read from /proc, as waitpid only knows those that have ended. */
static pid_t some_child(void) {
  DIR *processes = opendir("/proc");
  pid_t found = 0;
  for (struct dirent *entry; processes && !found && (entry = readdir(processes));) {
    char path[64], text[512];
    pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
    if (pid <= 0 || pid == getpid()) continue;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file) continue;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    const char *name_end = strrchr(text, ')'); /* a name may have spaces and brackets in it */
    int parent = 0;
    if (name_end && sscanf(name_end + 1, " %*c %d", &parent) == 1 && parent == getpid()) found = pid;
  }
  if (processes) closedir(processes);
  return found;
}

void kill_children(void) {
  for (pid_t child; (child = some_child()) > 0;) {
    kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
  }
}

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *where) {
  (void)about, (void)where;
  if (kind == FTW_DNR) chmod(path, 0700);
  return remove(path), 0;
}

void remove_tree(const char *folder) { nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS); }
