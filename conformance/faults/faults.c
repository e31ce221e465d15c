/* Loaded into a server with LD_PRELOAD: file operations on chosen paths fail, are cut short or are slow.
 *
 * STERNPOST_FAULTS names a file of 4096 bytes that the test maps as well. It holds the rule in force as text,
 *
 *     <kind> <part of the path> <number>
 *
 * or nothing. Kinds: "sync", "read" and "write" fail with the errno <number>; "short" writes half of what
 * it should, and fails with <number> where that is too little to be halved; "slow" syncs after <number>
 * milliseconds. At its end the file counts how often the rule was hit. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define CONTROL_BYTES 4096
#define RULE_BYTES 1024

struct control {
  _Atomic unsigned armed;
  char rule[RULE_BYTES];
  _Atomic unsigned hits;
};

static struct control *control;

__attribute__((constructor)) static void attach(void) {
  const char *path = getenv("STERNPOST_FAULTS");
  int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void *at = mmap(NULL, CONTROL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (at != MAP_FAILED) control = at;
}

/* Whether a rule of this kind is in force for the file; its number. */
static int hit(const char *kind, int fd, long *number) {
  if (!control || !atomic_load(&control->armed)) return 0;
  char has[16], part[RULE_BYTES], link[64], path[4096];
  if (sscanf(control->rule, "%15s %1023s %ld", has, part, number) != 3 || strcmp(has, kind)) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  if (!strstr(path, part)) return 0;
  atomic_fetch_add(&control->hits, 1);
  return 1;
}

/* Whether the call fails now; errno is set. */
static int fails(const char *kind, int fd) {
  long number;
  int saved = errno;
  int is_hit = hit(kind, fd, &number);
  errno = is_hit ? (int)number : saved;
  return is_hit;
}

/* How much of a write is done: all of it, half of it, or nothing (-1). */
static ssize_t part_of(int fd, size_t count) {
  if (fails("write", fd)) return -1;
  if (!fails("short", fd)) return (ssize_t)count;
  return count >= 16 ? (ssize_t)(count / 2) : -1;
}

static void delay(int fd) {
  long millis;
  if (!hit("slow", fd, &millis)) return;
  struct timespec left = {millis / 1000, millis % 1000 * 1000000};
  while (nanosleep(&left, &left) && errno == EINTR) {
  }
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) {
  delay(fd);
  return fails("sync", fd) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd) {
  delay(fd);
  return fails("sync", fd) ? -1 : REAL(fdatasync)(fd);
}

int sync_file_range(int fd, off64_t from, off64_t count, unsigned flags) {
  return fails("sync", fd) ? -1 : REAL(sync_file_range)(fd, from, count, flags);
}

ssize_t read(int fd, void *to, size_t count) {
  return fails("read", fd) ? -1 : REAL(read)(fd, to, count);
}

ssize_t pread(int fd, void *to, size_t count, off_t at) {
  return fails("read", fd) ? -1 : REAL(pread)(fd, to, count, at);
}

ssize_t pread64(int fd, void *to, size_t count, off64_t at) {
  return fails("read", fd) ? -1 : REAL(pread64)(fd, to, count, at);
}

ssize_t write(int fd, const void *from, size_t count) {
  ssize_t part = part_of(fd, count);
  return part < 0 ? -1 : REAL(write)(fd, from, (size_t)part);
}

ssize_t pwrite(int fd, const void *from, size_t count, off_t at) {
  ssize_t part = part_of(fd, count);
  return part < 0 ? -1 : REAL(pwrite)(fd, from, (size_t)part, at);
}

ssize_t pwrite64(int fd, const void *from, size_t count, off64_t at) {
  ssize_t part = part_of(fd, count);
  return part < 0 ? -1 : REAL(pwrite64)(fd, from, (size_t)part, at);
}

int fallocate(int fd, int mode, off_t from, off_t count) {
  return fails("write", fd) || fails("short", fd) ? -1 : REAL(fallocate)(fd, mode, from, count);
}

int posix_fallocate(int fd, off_t from, off_t count) {
  if (fails("write", fd) || fails("short", fd)) return errno;
  return REAL(posix_fallocate)(fd, from, count);
}
