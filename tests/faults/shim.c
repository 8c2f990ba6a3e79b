// Makes calls into the kernel fail or hang, for tests. Loaded with LD_PRELOAD.
//
// The file that SPILLRING_SHIM names holds rules. It is mapped, so the test changes rules while the process runs, and
// reads how often each one struck. tests/faults/shim.rs is the other end: both must agree on the layout of a rule.
//
// A rule strikes in rounds. In each, `skip` matching calls pass, then a fault begins: it hits `calls` calls, or lasts
// `for_ms` from its first hit, or stays. Files are matched by path, so the test's own files are left alone.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum op {
    OP_READ = 1,
    OP_WRITE = 2,
    OP_SYNC = 4,
    OP_CREATE = 8, // of a file that is not there, or of a folder
    OP_OPEN = 16,
    OP_RENAME = 32,
    OP_UNLINK = 64,
    OP_STAT = 128,
};

enum { RULES = 32, PATH_BYTES = 128, LINK_BYTES = 512 };

struct rule {
    uint32_t ops;     // 0: the rule is off. Written last.
    int32_t error;    // What `errno` becomes; 0: the call is only held up.
    uint32_t hang_ms; // A call hangs for at most so long, and no longer than the rule is on.
    uint32_t skip;    // Calls that pass before each fault.
    uint32_t calls;   // Calls that each fault hits; 0: any number.
    uint32_t for_ms;  // How long each fault lasts; 0: it stays.
    uint32_t rounds;  // How many faults there are; 0: any number.
    uint32_t done;    // Faults that are over.
    uint64_t from;    // Reads and writes are hit that touch these bytes of the file;
    uint64_t until;   // 0: all are.
    uint64_t hits;    // Calls hit so far.
    uint64_t began;   // When the present fault began, in nanoseconds; 0: it has not.
    uint32_t passed;  // Calls that have passed in this round.
    uint32_t hit;     // Calls that this fault has hit.
    uint32_t hanging; // Calls that hang now.
    uint32_t unused[13];
    char path[PATH_BYTES]; // A pattern, as fnmatch(3) has it: `*` is anything, `/` included.
};

_Static_assert(sizeof(struct rule) == 256, "tests/faults/shim.rs knows this size");

static struct rule *rules;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void map_rules(void) {
    const char *control = getenv("SPILLRING_SHIM");
    int fd = control ? open(control, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, RULES * sizeof *rules, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        rules = map;
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * UINT64_C(1000000000) + time.tv_nsec;
}

static int is_on(const struct rule *rule, unsigned op) {
    return (__atomic_load_n(&rule->ops, __ATOMIC_ACQUIRE) & op) != 0;
}

// Whether any rule may match: else nobody looks at the path.
static int concerns(unsigned op) {
    for (int i = 0; rules && i < RULES; i++)
        if (is_on(&rules[i], op))
            return 1;
    return 0;
}

static void end_fault(struct rule *rule) {
    rule->began = rule->passed = rule->hit = 0;
    rule->done++;
}

// Whether the rule hits this call, which matches. Called under the lock.
static int strikes(struct rule *rule) {
    if (rule->began && rule->for_ms && now() >= rule->began + rule->for_ms * UINT64_C(1000000))
        end_fault(rule);
    if (rule->rounds && rule->done >= rule->rounds)
        return 0;
    if (!rule->began) {
        if (rule->passed < rule->skip) {
            rule->passed++;
            return 0;
        }
        rule->began = now();
    }
    rule->hits++;
    rule->hit++;
    if (rule->calls && rule->hit >= rule->calls)
        end_fault(rule);
    return 1;
}

static void hang(struct rule *rule, unsigned op) {
    uint64_t until = now() + rule->hang_ms * UINT64_C(1000000);
    __atomic_add_fetch(&rule->hanging, 1, __ATOMIC_SEQ_CST);
    while (is_on(rule, op) && now() < until)
        usleep(500);
    __atomic_sub_fetch(&rule->hanging, 1, __ATOMIC_SEQ_CST);
}

static int touches(const struct rule *rule, uint64_t offset, uint64_t count) {
    return rule->until == 0 || (offset < rule->until && offset + count > rule->from);
}

// Carries out what the rules have for this call; answers the error that it must return, or 0.
static int fault(unsigned op, const char *path, uint64_t offset, uint64_t count) {
    for (int i = 0; i < RULES; i++) {
        struct rule *rule = &rules[i];
        if (!is_on(rule, op) || fnmatch(rule->path, path, 0) != 0 || !touches(rule, offset, count))
            continue;
        pthread_mutex_lock(&lock);
        int struck = strikes(rule), error = rule->error;
        pthread_mutex_unlock(&lock);
        if (!struck)
            continue;
        if (rule->hang_ms)
            hang(rule, op);
        if (error)
            return error;
    }
    return 0;
}

// Returns whether the call must fail, with `errno` set.
static int path_fails(unsigned op, const char *path) {
    int before = errno;
    int error = path && concerns(op) ? fault(op, path, 0, 0) : 0;
    errno = error ? error : before;
    return error != 0;
}

static int file_fails(unsigned op, int fd, uint64_t offset, uint64_t count) {
    int before = errno, error = 0;
    if (concerns(op)) {
        char link[64], path[LINK_BYTES];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        if (length > 0) {
            path[length] = 0;
            char *deleted = strstr(path, " (deleted)");
            if (deleted)
                *deleted = 0;
            error = fault(op, path, offset, count);
        }
    }
    errno = error ? error : before;
    return error != 0;
}

static int open_fails(const char *path, int flags) {
    if (path_fails(OP_OPEN, path))
        return 1;
    // An open that finds the file creates nothing, so that it needs no room.
    int makes = (flags & O_CREAT) && concerns(OP_CREATE) && faccessat(AT_FDCWD, path, F_OK, 0) != 0;
    return makes && path_fails(OP_CREATE, path);
}

#define REAL(type, name, ...)                                                                                          \
    static type (*real)(__VA_ARGS__);                                                                                  \
    if (!real)                                                                                                         \
    real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define MODE(mode, flags)                                                                                              \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                             \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }

int open(const char *path, int flags, ...) {
    REAL(int, "open", const char *, int, ...);
    MODE(mode, flags)
    return open_fails(path, flags) ? -1 : real(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    REAL(int, "open64", const char *, int, ...);
    MODE(mode, flags)
    return open_fails(path, flags) ? -1 : real(path, flags, mode);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    return path_fails(OP_CREATE, path) ? -1 : real(path, mode);
}

ssize_t read(int fd, void *to, size_t count) {
    REAL(ssize_t, "read", int, void *, size_t);
    return file_fails(OP_READ, fd, 0, 0) ? -1 : real(fd, to, count);
}

ssize_t pread(int fd, void *to, size_t count, off_t offset) {
    REAL(ssize_t, "pread", int, void *, size_t, off_t);
    return file_fails(OP_READ, fd, offset, count) ? -1 : real(fd, to, count, offset);
}

ssize_t pread64(int fd, void *to, size_t count, off64_t offset) {
    REAL(ssize_t, "pread64", int, void *, size_t, off64_t);
    return file_fails(OP_READ, fd, offset, count) ? -1 : real(fd, to, count, offset);
}

ssize_t write(int fd, const void *from, size_t count) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return file_fails(OP_WRITE, fd, 0, 0) ? -1 : real(fd, from, count);
}

ssize_t pwrite(int fd, const void *from, size_t count, off_t offset) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    return file_fails(OP_WRITE, fd, offset, count) ? -1 : real(fd, from, count, offset);
}

ssize_t pwrite64(int fd, const void *from, size_t count, off64_t offset) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return file_fails(OP_WRITE, fd, offset, count) ? -1 : real(fd, from, count, offset);
}

int ftruncate64(int fd, off64_t length) {
    REAL(int, "ftruncate64", int, off64_t);
    return file_fails(OP_WRITE, fd, 0, 0) ? -1 : real(fd, length);
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    return file_fails(OP_SYNC, fd, 0, 0) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    return file_fails(OP_SYNC, fd, 0, 0) ? -1 : real(fd);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    return path_fails(OP_RENAME, from) || path_fails(OP_RENAME, to) ? -1 : real(from, to);
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    return path_fails(OP_UNLINK, path) ? -1 : real(path);
}

int stat64(const char *path, struct stat64 *out) {
    REAL(int, "stat64", const char *, struct stat64 *);
    return path_fails(OP_STAT, path) ? -1 : real(path, out);
}

int lstat64(const char *path, struct stat64 *out) {
    REAL(int, "lstat64", const char *, struct stat64 *);
    return path_fails(OP_STAT, path) ? -1 : real(path, out);
}

int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict out) {
    REAL(int, "statx", int, const char *, int, unsigned, struct statx *);
    return path_fails(OP_STAT, path) ? -1 : real(folder, path, flags, mask, out);
}
