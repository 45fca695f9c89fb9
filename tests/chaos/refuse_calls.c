/* Preloaded into a process: counts its calls that change files below FAULT_UNDER, and at the FAULT_AT-th kills the
   process (FAULT_WITH=kill) or, from there on, lets all of those named in FAULT_CALLS fail with the error FAULT_WITH.
   FAULT_LOG gets a line for each: number, call, path. The variables are read at every call: a fork may set its own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long seen = 0;

static const char *path_of(int fd, char *into) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, into, 4095);
  if (length < 0) return NULL;
  into[length] = 0;
  return into;
}

/* The error to fail with, 0 to go on. */
static int strike(const char *call, const char *path) {
  int saved = errno;
  const char *under = getenv("FAULT_UNDER"), *log = getenv("FAULT_LOG"), *at = getenv("FAULT_AT");
  errno = saved;
  if (!under || !path || !strstr(path, under)) return 0;
  long number = atomic_fetch_add(&seen, 1) + 1;
  if (log) {
    char line[4400];
    int length = snprintf(line, sizeof line, "%ld %s %s\n", number, call, path);
    long fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    syscall(SYS_write, fd, line, length);
    syscall(SYS_close, fd);
  }
  const char *with = getenv("FAULT_WITH");
  errno = saved;
  if (!at || !with || number < atol(at)) return 0;
  if (strcmp(with, "kill") == 0) {
    kill(getpid(), SIGKILL);
    pause();
  }
  const char *calls = getenv("FAULT_CALLS");
  return calls && strstr(calls, call) ? atoi(with) : 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define ON(call, path) do { int e = strike(call, path); if (e) { errno = e; return -1; } } while (0)
#define ON_FD(call, fd) do { char buffer[4096]; ON(call, path_of(fd, buffer)); } while (0)
#define MODE(flags, mode) \
  mode_t mode = 0; \
  if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

ssize_t write(int fd, const void *b, size_t n) { ON_FD("write", fd); return REAL(write)(fd, b, n); }
ssize_t writev(int fd, const struct iovec *v, int n) { ON_FD("write", fd); return REAL(writev)(fd, v, n); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) { ON_FD("write", fd); return REAL(pwrite)(fd, b, n, o); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) { ON_FD("write", fd); return REAL(pwrite64)(fd, b, n, o); }
int fsync(int fd) { ON_FD("sync", fd); return REAL(fsync)(fd); }
int fdatasync(int fd) { ON_FD("sync", fd); return REAL(fdatasync)(fd); }
int ftruncate(int fd, off_t n) { ON_FD("truncate", fd); return REAL(ftruncate)(fd, n); }
int ftruncate64(int fd, off64_t n) { ON_FD("truncate", fd); return REAL(ftruncate64)(fd, n); }
int rename(const char *a, const char *b) { ON("rename", b); return REAL(rename)(a, b); }
int renameat(int x, const char *a, int y, const char *b) { ON("rename", b); return REAL(renameat)(x, a, y, b); }
int link(const char *a, const char *b) { ON("link", b); return REAL(link)(a, b); }
int unlink(const char *a) { ON("unlink", a); return REAL(unlink)(a); }
int mkdir(const char *a, mode_t m) { ON("mkdir", a); return REAL(mkdir)(a, m); }
int rmdir(const char *a) { ON("rmdir", a); return REAL(rmdir)(a); }
int open(const char *p, int f, ...) { MODE(f, m) if (f & O_CREAT) ON("create", p); return REAL(open)(p, f, m); }
int open64(const char *p, int f, ...) { MODE(f, m) if (f & O_CREAT) ON("create", p); return REAL(open64)(p, f, m); }
