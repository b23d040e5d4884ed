/* file_out.c - crash-safe writing: see file_out.h.
 *
 * A failed fsync is final: the kernel may have dropped the dirty pages, so trying again
 * would report success for data that is gone. */
#include "io/file_out.h"

#include <loam/tensor.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 16, STALE_SECONDS = 3600 };

/* Where the file really goes: through a symbolic link, so that the link stays. */
static char *resolve_target(const char *path) {
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) {
        char *real = realpath(path, NULL);
        if (real) return real;
    }
    return loam_strdup(path);
}

/* What a killed process left half written beside `target`: files of this very pattern that are
 * ours, that nobody writes to (a writer holds a lock) and that are an hour old (a writer may have
 * made its file and not locked it yet). */
static void remove_stale(const char *target) {
    static const char HEX[] = "0123456789abcdef";
    const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target;
    char *folder = slash == target ? loam_strdup("/")
                   : slash         ? loam_strndup(target, (size_t)(slash - target))
                                   : loam_strdup(".");
    const size_t n = strlen(name);
    DIR *d = folder ? opendir(folder) : NULL;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        struct stat st;
        if (strncmp(e->d_name, name, n) != 0 || strncmp(e->d_name + n, ".tmp-", 5) != 0 ||
            strspn(e->d_name + n + 5, HEX) != 8 || e->d_name[n + 13])
            continue;
        const int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) continue;
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
            time(NULL) - st.st_mtim.tv_sec > STALE_SECONDS && flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(dirfd(d), e->d_name, 0);
        close(fd);
    }
    if (d) closedir(d);
    free(folder);
}

/* Create a new file beside `target`; its name in *temp. */
static int create_temp(const char *target, unsigned mode, char **temp) {
    for (int attempt = 0; attempt < 100; attempt++) {
        uint32_t tag = (uint32_t)attempt;
        if (getrandom(&tag, sizeof tag, GRND_NONBLOCK) != sizeof tag)
            tag = (uint32_t)getpid() * 100u + (uint32_t)attempt;
        *temp = loam_format("%s.tmp-%08x", target, tag);
        if (!*temp) {
            errno = ENOMEM;
            return -1;
        }
        const int fd = open(*temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd >= 0) {
            flock(fd, LOCK_EX | LOCK_NB); /* where there are no locks, the age alone tells */
            return fd;
        }
        free(*temp);
        *temp = NULL;
        if (errno != EEXIST) return -1;
    }
    return -1;
}

loam_status loam_file_out_open(loam_file_out *o, const char *path, unsigned mode, loam_err *err) {
    struct stat st;
    *o = (loam_file_out){.fd = -1};
    o->target = resolve_target(path);
    o->buffer = malloc(BUFFER_BYTES);
    if (!o->target || !o->buffer) {
        loam_file_out_abandon(o);
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: no memory to write it", path);
    }
    const int exists = stat(o->target, &st) == 0;
    if (exists && S_ISDIR(st.st_mode)) {
        loam_file_out_abandon(o);
        return loam_fail(err, LOAM_ERR_IO, "%s: cannot write: is a folder", path);
    }
    if (exists && !S_ISREG(st.st_mode))
        o->fd = open(o->target, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    else {
        remove_stale(o->target);
        o->fd = create_temp(o->target, mode, &o->temp);
    }
    /* what the user keeps to himself stays so: a replaced file keeps its mode */
    if (o->fd >= 0 && o->temp && exists && fchmod(o->fd, st.st_mode & 0777) != 0) {
        const int e = errno;
        loam_file_out_abandon(o);
        return loam_fail_errno(err, e, "%s: cannot write", path);
    }
    if (o->fd < 0) {
        const int e = errno;
        loam_file_out_abandon(o);
        return loam_fail_errno(err, e, "%s: cannot write", path);
    }
    return LOAM_OK;
}

static void write_all(loam_file_out *o, const unsigned char *p, size_t n) {
    while (n && !o->failed) {
        const size_t part = n < (size_t)1 << 30 ? n : (size_t)1 << 30;
        const ssize_t done = write(o->fd, p, part);
        if (done < 0) {
            if (errno != EINTR) o->failed = errno;
            continue;
        }
        p += done;
        n -= (size_t)done;
    }
}

static void flush_buffer(loam_file_out *o) {
    write_all(o, o->buffer, o->n_buffer);
    o->n_buffer = 0; /* NOLINT(clang-analyzer-unix.Malloc): commit and abandon free it */
}

void loam_file_out_write(loam_file_out *o, const void *bytes, size_t n) {
    o->n_written += n;
    LOAM_ASSERT(o->buffer); /* open succeeded */
    if (n > BUFFER_BYTES - o->n_buffer) flush_buffer(o);
    if (n >= BUFFER_BYTES) {
        write_all(o, bytes, n);
        return;
    }
    if (n) memcpy(o->buffer + o->n_buffer, bytes, n);
    o->n_buffer += n;
}

int loam_folder_sync(const char *path) {
    char *copy = loam_strdup(path);
    if (!copy) return ENOMEM;
    const int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int e = fd < 0 ? errno : 0;
    if (fd >= 0) {
        if (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP) e = errno;
        close(fd);
    }
    free(copy);
    /* a folder that may be written but not read cannot be synced */
    return e == EACCES ? 0 : e;
}

loam_status loam_file_out_commit(loam_file_out *o, loam_err *err) {
    loam_status st = LOAM_OK;
    flush_buffer(o);
    if (!o->failed && o->temp && !o->no_sync && fsync(o->fd) != 0) o->failed = errno;
    if (close(o->fd) != 0 && !o->failed) o->failed = errno;
    o->fd = -1;
    if (!o->failed && o->temp) {
        if (rename(o->temp, o->target) != 0) {
            o->failed = errno;
        } else {
            free(o->temp);
            o->temp = NULL;
            o->failed = o->no_sync ? 0 : loam_folder_sync(o->target);
        }
    }
    if (o->failed) st = loam_fail_errno(err, o->failed, "%s: cannot write", o->target);
    loam_file_out_abandon(o);
    return st;
}

void loam_file_out_abandon(loam_file_out *o) {
    if (o->fd >= 0) close(o->fd);
    if (o->temp) unlink(o->temp);
    free(o->temp);
    free(o->target);
    free(o->buffer);
    *o = (loam_file_out){.fd = -1};
}

loam_status loam_file_write(const char *path, const void *bytes, size_t n, unsigned mode,
                            loam_err *err) {
    loam_file_out o;
    const loam_status st = loam_file_out_open(&o, path, mode, err);
    if (st) return st;
    loam_file_out_write(&o, bytes, n);
    return loam_file_out_commit(&o, err);
}
