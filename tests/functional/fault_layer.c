/* A layer between a process and the C library that makes one class of calls on files fail.
 *
 * Loaded by LD_PRELOAD; does nothing until `fault_arm` or `fault_trace` is called. What it sees is
 * every call of Python, DuckDB, Arrow and polars that changes a file below the armed folder.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char armed_below[4096];
static char armed_call[16];
static long first, last;       /* numbers of the calls that fail, counted from 1 */
static int failure;            /* errno, or 0: the process is killed instead */
static long seen;
static int trace = -1;
static char traced_below[4096];

/* Let calls number `n` to `n + times - 1` of a kind ("" for all) on files whose path begins like
 * `below` fail with an errno, or kill the process where that is 0. */
void fault_arm(const char *below, const char *call, long n, long times, int number) {
    snprintf(armed_below, sizeof armed_below, "%s", below);
    snprintf(armed_call, sizeof armed_call, "%s", call);
    first = n;
    last = n + times - 1;
    failure = number;
    __atomic_store_n(&seen, 0, __ATOMIC_SEQ_CST);
}

/* Write a line for each call on files below a folder: its kind, a tab, the path. */
void fault_trace(const char *below, const char *file) {
    snprintf(traced_below, sizeof traced_below, "%s", below);
    trace = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND, 0600);
}

static int starts(const char *text, const char *with) {
    return *with && strncmp(text, with, strlen(with)) == 0;
}

static int fails(const char *call, const char *path) {
    if (trace >= 0 && starts(path, traced_below)) {
        char line[4200];
        int n = snprintf(line, sizeof line, "%s\t%s\n", call, path);
        syscall(SYS_write, trace, line, (size_t)n);
    }
    if (!starts(path, armed_below) || (*armed_call && strcmp(call, armed_call) != 0)) return 0;
    long number = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
    if (number < first || number > last) return 0;
    if (!failure) kill(getpid(), SIGKILL);
    errno = failure;
    return 1;
}

static int is_watching(void) { return trace >= 0 || *armed_below; }

static int fails_at(const char *call, int folder, const char *path) {
    char place[4096], whole[8200];
    if (!is_watching()) return 0;
    if (path[0] == '/') return fails(call, path);
    if (folder == AT_FDCWD) {
        if (!getcwd(place, sizeof place)) return 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t n = readlink(link, place, sizeof place - 1);
        if (n < 0) return 0;
        place[n] = 0;
    }
    snprintf(whole, sizeof whole, "%s/%s", place, path);
    return fails(call, whole);
}

static int fails_on(const char *call, int file) {
    char link[64], path[4096];
    if (!is_watching()) return 0;
    int was = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t n = readlink(link, path, sizeof path - 1);
    errno = was;
    if (n < 0) return 0;
    path[n] = 0;
    return fails(call, path);
}

#define NEXT(name) static __typeof__(name) *next; if (!next) next = dlsym(RTLD_NEXT, #name)
#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY || ((flags) & O_CREAT))

#define OPEN(name)                                                                     \
    int name(const char *path, int flags, ...) {                                       \
        NEXT(name);                                                                    \
        va_list more;                                                                  \
        va_start(more, flags);                                                         \
        mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(more, mode_t) : 0;    \
        va_end(more);                                                                  \
        if (WRITES(flags) && fails_at("open", AT_FDCWD, path)) return -1;              \
        return next(path, flags, mode);                                                \
    }
#define OPENAT(name)                                                                   \
    int name(int folder, const char *path, int flags, ...) {                           \
        NEXT(name);                                                                    \
        va_list more;                                                                  \
        va_start(more, flags);                                                         \
        mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(more, mode_t) : 0;    \
        va_end(more);                                                                  \
        if (WRITES(flags) && fails_at("open", folder, path)) return -1;                \
        return next(folder, path, flags, mode);                                        \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

#define ON_FILE(type, name, kind, parameters, arguments)                               \
    type name parameters {                                                             \
        NEXT(name);                                                                    \
        if (fails_on(kind, file)) return -1;                                           \
        return next arguments;                                                         \
    }
ON_FILE(ssize_t, write, "write", (int file, const void *data, size_t n), (file, data, n))
ON_FILE(ssize_t, pwrite, "write", (int file, const void *data, size_t n, off_t at), (file, data, n, at))
ON_FILE(ssize_t, pwrite64, "write", (int file, const void *data, size_t n, off64_t at), (file, data, n, at))
ON_FILE(ssize_t, writev, "write", (int file, const struct iovec *data, int n), (file, data, n))
ON_FILE(int, fsync, "sync", (int file), (file))
ON_FILE(int, fdatasync, "sync", (int file), (file))
ON_FILE(int, ftruncate, "truncate", (int file, off_t n), (file, n))
ON_FILE(int, ftruncate64, "truncate", (int file, off64_t n), (file, n))
ON_FILE(int, fallocate, "truncate", (int file, int mode, off_t at, off_t n), (file, mode, at, n))
ON_FILE(int, fallocate64, "truncate", (int file, int mode, off64_t at, off64_t n), (file, mode, at, n))

#define ON_PATH(name, kind, parameters, folder, path, arguments)                       \
    int name parameters {                                                              \
        NEXT(name);                                                                    \
        if (fails_at(kind, folder, path)) return -1;                                   \
        return next arguments;                                                         \
    }
ON_PATH(rename, "rename", (const char *from, const char *to), AT_FDCWD, to, (from, to))
ON_PATH(renameat, "rename", (int a, const char *from, int b, const char *to), b, to, (a, from, b, to))
ON_PATH(renameat2, "rename", (int a, const char *from, int b, const char *to, unsigned f), b, to, (a, from, b, to, f))
ON_PATH(mkdir, "mkdir", (const char *path, mode_t mode), AT_FDCWD, path, (path, mode))
ON_PATH(mkdirat, "mkdir", (int folder, const char *path, mode_t mode), folder, path, (folder, path, mode))
ON_PATH(chmod, "chmod", (const char *path, mode_t mode), AT_FDCWD, path, (path, mode))
ON_PATH(fchmodat, "chmod", (int folder, const char *path, mode_t mode, int flags), folder, path, (folder, path, mode, flags))
ON_PATH(unlink, "remove", (const char *path), AT_FDCWD, path, (path))
ON_PATH(unlinkat, "remove", (int folder, const char *path, int flags), folder, path, (folder, path, flags))
ON_PATH(rmdir, "remove", (const char *path), AT_FDCWD, path, (path))
