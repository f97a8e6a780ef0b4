/* Counts what a process, its threads and its children write below a folder, and lets one of these writes fail, kill its
 * process, or stall. Loaded by LD_PRELOAD; see failing_writes.py.
 *
 * A write is the opening of a file for writing, a write to it, its flush to the disk, and a file's move into its place.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FAIL = 1, KILL = 2, STALL = 3 };
enum { FILES = 65536, STALL_SECONDS = 3 };

static struct { long count, at, how; } *control;  /* shared by all processes */
static const char *folder;
static char is_watched[FILES];  /* by file descriptor */

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("FAILING_WRITES_CONTROL");
    folder = getenv("FAILING_WRITES_FOLDER");
    int at = file && folder ? REAL(open)(file, O_RDWR) : -1;
    if (at < 0) return;
    void *shared = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, at, 0);
    if (shared != MAP_FAILED) control = shared;
    close(at);
}

static int is_below(const char *path) {
    return control && path && strncmp(path, folder, strlen(folder)) == 0;
}

/* Whether this write is to fail. */
static int fails(void) {
    if (__atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST) != control->at) return 0;
    if (control->how == KILL) kill(getpid(), SIGKILL);
    if (control->how == STALL) sleep(STALL_SECONDS);
    if (control->how != FAIL) return 0;
    errno = EIO;
    return 1;
}

static int is_watched_file(int file) { return control && file >= 0 && file < FILES && is_watched[file]; }

#define OPENING(name, parameters, arguments)                                                                           \
    int name parameters {                                                                                              \
        mode_t mode = 0;                                                                                               \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                                           \
            va_list rest;                                                                                              \
            va_start(rest, flags);                                                                                     \
            mode = va_arg(rest, mode_t);                                                                               \
            va_end(rest);                                                                                              \
        }                                                                                                              \
        int writes = is_below(path) && (flags & (O_WRONLY | O_RDWR)) && !(flags & O_DIRECTORY);                        \
        if (writes && fails()) return -1;                                                                              \
        int file = REAL(name) arguments;                                                                               \
        if (file >= 0 && file < FILES) is_watched[file] = writes;                                                      \
        return file;                                                                                                   \
    }

OPENING(open, (const char *path, int flags, ...), (path, flags, mode))
OPENING(open64, (const char *path, int flags, ...), (path, flags, mode))
OPENING(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode))
OPENING(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode))

#define WRITING(type, name, parameters, arguments)                                                                     \
    type name parameters {                                                                                             \
        if (is_watched_file(file) && fails()) return -1;                                                               \
        return REAL(name) arguments;                                                                                   \
    }

WRITING(ssize_t, write, (int file, const void *data, size_t size), (file, data, size))
WRITING(ssize_t, writev, (int file, const struct iovec *parts, int count), (file, parts, count))
WRITING(ssize_t, pwrite, (int file, const void *data, size_t size, off_t offset), (file, data, size, offset))
WRITING(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t offset), (file, data, size, offset))
WRITING(int, fsync, (int file), (file))
WRITING(int, fdatasync, (int file), (file))

#define MOVING(name, parameters, arguments)                                                                            \
    int name parameters {                                                                                              \
        if (is_below(to) && fails()) return -1;                                                                        \
        return REAL(name) arguments;                                                                                   \
    }

MOVING(rename, (const char *from, const char *to), (from, to))
MOVING(renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
MOVING(renameat2, (int a, const char *from, int b, const char *to, unsigned flags), (a, from, b, to, flags))
MOVING(link, (const char *from, const char *to), (from, to))
MOVING(linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags))
