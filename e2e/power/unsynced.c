/*
 * A disk without power: what a program wrote and did not sync can be taken back after its end.
 *
 * Loaded by LD_PRELOAD. Before each change of a file below ARGOSY_POWER_ROOT, what it replaces is
 * appended to a journal of that file in ARGOSY_POWER_JOURNALS; fsync and fdatasync empty the journal.
 * `kill -9` leaves the journals behind, and the test undoes what is in them (e2e/src/power.rs). With
 * ARGOSY_POWER_LIES set, fsync keeps the journal: a disk that lies, which the tests must notice. Without
 * ARGOSY_POWER_JOURNALS nothing is kept.
 *
 * The disk is full while the file ARGOSY_POWER_FULL exists: no watched file grows, but for PostgreSQL's log
 * of what it does, which is kept on a disk of its own where people know what they do. It is slow while
 * ARGOSY_POWER_SLOW exists: each sync takes as many milliseconds as that file says.
 *
 * Not modelled: names (creation, renaming, removal are durable at once), and memory maps.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* One change. Followed by `old_bytes` bytes that were there at `offset` and `new_bytes` bytes that came. */
struct change {
    uint64_t offset;
    uint64_t file_bytes; /* of the whole file before */
    uint64_t old_bytes;
    uint64_t new_bytes;
    uint64_t truncated_to; /* or UINT64_MAX for a write */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_fallocate)(int, off_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

__attribute__((constructor)) static void find(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_pwritev = dlsym(RTLD_NEXT, "pwritev64");
    real_fallocate = dlsym(RTLD_NEXT, "posix_fallocate64");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
}

/* Whether a file is watched, and its name. */
static int watched(int fd, struct stat *file, char *name) {
    const char *root = getenv("ARGOSY_POWER_ROOT");
    char link[64];
    if (!root || fstat(fd, file) != 0 || !S_ISREG(file->st_mode))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, PATH_MAX - 1);
    if (length < 0)
        return 0;
    name[length] = 0;
    size_t root_length = strlen(root);
    /* The index of SQLite's log is shared memory, made anew by whoever comes first. */
    return strncmp(name, root, root_length) == 0 && name[root_length] == '/' &&
           !(length > 4 && strcmp(name + length - 4, "-shm") == 0);
}

/* The journal of a watched file; 0 where none is kept. */
static int journal_of(int fd, struct stat *file, char *path) {
    const char *journals = getenv("ARGOSY_POWER_JOURNALS");
    char name[PATH_MAX];
    if (!journals || !watched(fd, file, name))
        return 0;
    snprintf(path, PATH_MAX, "%s/%llu", journals, (unsigned long long)file->st_ino);
    return 1;
}

/* Whether there is no room for a file to reach this size. */
static int full(int fd, uint64_t bytes) {
    const char *flag = getenv("ARGOSY_POWER_FULL");
    struct stat file;
    char name[PATH_MAX];
    return flag && access(flag, F_OK) == 0 && watched(fd, &file, name) && !strstr(name, "/pg_wal/") &&
           bytes > (uint64_t)file.st_size;
}

/* How long a sync takes at least, in milliseconds. */
static useconds_t slowness(void) {
    const char *flag = getenv("ARGOSY_POWER_SLOW");
    FILE *file = flag ? fopen(flag, "re") : NULL;
    unsigned milliseconds = 0;
    if (file && fscanf(file, "%u", &milliseconds) != 1)
        milliseconds = 0;
    if (file)
        fclose(file);
    return milliseconds;
}

static void all(int fd, const void *bytes, size_t length) {
    const char *next = bytes;
    while (length > 0) {
        ssize_t written = real_write(fd, next, length);
        if (written <= 0)
            abort();
        next += written;
        length -= (size_t)written;
    }
}

/* Keeps what a change replaces. The caller holds the lock until the change is made. */
static void keep(int fd, uint64_t offset, const void *fresh, size_t fresh_bytes, uint64_t truncated_to) {
    struct stat file;
    char path[PATH_MAX], own[64];
    if (!journal_of(fd, &file, path))
        return;
    uint64_t size = (uint64_t)file.st_size, from = offset, old_bytes = 0;
    if (truncated_to != UINT64_MAX) {
        from = truncated_to;
        old_bytes = size > from ? size - from : 0;
    } else if (size > from) {
        old_bytes = size - from < fresh_bytes ? size - from : fresh_bytes;
    }
    char *old = malloc(old_bytes + 1);
    /* The file may be open for writing only. */
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    int reader = open(own, O_RDONLY | O_CLOEXEC);
    if (!old || reader < 0)
        abort();
    for (uint64_t read = 0; read < old_bytes;) {
        ssize_t some = pread(reader, old + read, old_bytes - read, (off_t)(from + read));
        if (some <= 0)
            abort();
        read += (uint64_t)some;
    }
    close(reader);
    struct change change = {from, size, old_bytes, fresh_bytes, truncated_to};
    int journal = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0)
        abort();
    all(journal, &change, sizeof change);
    all(journal, old, old_bytes);
    all(journal, fresh, fresh_bytes);
    close(journal);
    free(old);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    pthread_mutex_lock(&lock);
    off_t at = lseek(fd, 0, SEEK_CUR);
    struct stat file;
    if (at >= 0 && (fcntl(fd, F_GETFL) & O_APPEND) && fstat(fd, &file) == 0)
        at = file.st_size;
    if (at >= 0 && full(fd, (uint64_t)at + length)) {
        pthread_mutex_unlock(&lock);
        errno = ENOSPC;
        return -1;
    }
    if (at >= 0)
        keep(fd, (uint64_t)at, bytes, length, UINT64_MAX);
    /* A pipe may block; nobody else has to wait for it. */
    if (at < 0)
        pthread_mutex_unlock(&lock);
    ssize_t written = real_write(fd, bytes, length);
    if (at >= 0)
        pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
    if (full(fd, (uint64_t)offset + length)) {
        errno = ENOSPC;
        return -1;
    }
    pthread_mutex_lock(&lock);
    keep(fd, (uint64_t)offset, bytes, length, UINT64_MAX);
    ssize_t written = real_pwrite(fd, bytes, length, offset);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return pwrite64(fd, bytes, length, offset);
}

/* PostgreSQL writes so, and keeps no journal here. */
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) {
    uint64_t bytes = 0;
    for (int part = 0; part < count; part++)
        bytes += parts[part].iov_len;
    if (full(fd, (uint64_t)offset + bytes)) {
        errno = ENOSPC;
        return -1;
    }
    return real_pwritev(fd, parts, count, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return pwritev64(fd, parts, count, offset);
}

int posix_fallocate64(int fd, off_t offset, off_t length) {
    return full(fd, (uint64_t)(offset + length)) ? ENOSPC : real_fallocate(fd, offset, length);
}

int posix_fallocate(int fd, off_t offset, off_t length) {
    return posix_fallocate64(fd, offset, length);
}

int ftruncate64(int fd, off_t length) {
    if (full(fd, (uint64_t)length)) {
        errno = ENOSPC;
        return -1;
    }
    pthread_mutex_lock(&lock);
    keep(fd, 0, NULL, 0, (uint64_t)length);
    int done = real_ftruncate(fd, length);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t length) {
    return ftruncate64(fd, length);
}

/* Goes through to the real disk, for the time that it takes: long enough to be killed meanwhile. */
static int synced(int fd, int (*real)(int)) {
    struct stat file;
    char path[PATH_MAX];
    if (watched(fd, &file, path))
        usleep(slowness() * 1000);
    if (!journal_of(fd, &file, path))
        return real(fd);
    pthread_mutex_lock(&lock);
    int done = real(fd);
    if (done == 0 && !getenv("ARGOSY_POWER_LIES") && truncate(path, 0) != 0 && errno != ENOENT)
        abort();
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int fd) {
    return synced(fd, real_fsync);
}

int fdatasync(int fd) {
    return synced(fd, real_fdatasync);
}
