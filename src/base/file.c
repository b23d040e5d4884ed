/* file.c - reading regular files: whole, or mapped read-only.
 *
 * O_NONBLOCK at open keeps a FIFO from hanging us before fstat can refuse it. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static loam_status open_regular(int *fd, size_t *size, const char *path, loam_err *err) {
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0) return loam_fail_errno(err, errno, "%s: cannot open", path);
    if (fstat(*fd, &st) != 0) {
        const int e = errno;
        close(*fd);
        return loam_fail_errno(err, e, "%s: cannot stat", path);
    }
    if (!S_ISREG(st.st_mode)) {
        close(*fd);
        return loam_fail(err, LOAM_ERR_IO, "%s: %s", path,
                         S_ISDIR(st.st_mode) ? "is a folder, a file was expected"
                                             : "not a regular file");
    }
    *size = (size_t)st.st_size;
    return LOAM_OK;
}

loam_status loam_map_open(loam_map *out, const char *path, loam_err *err) {
    int fd;
    *out = (loam_map){0};
    loam_status st = open_regular(&fd, &out->size, path, err);
    if (st) return st;
    if (out->size > 0) {
        void *p = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            st = loam_fail_errno(err, errno, "%s: cannot map %zu bytes", path, out->size);
            *out = (loam_map){0};
        } else {
            out->base = p;
        }
    }
    close(fd);
    return st;
}

void loam_map_close(loam_map *m) {
    /* munmap takes void *: the mapping is ours, the const is for its readers */
    if (m->base) munmap((void *)(uintptr_t)m->base, m->size);
    *m = (loam_map){0};
}

loam_status loam_file_read(loam_buf *out, const char *path, size_t max_bytes, loam_err *err) {
    int fd = -1;
    size_t size = 0;
    loam_status st = open_regular(&fd, &size, path, err);
    if (st) return st;
    if (size > max_bytes) {
        st = loam_fail(err, LOAM_ERR_LIMIT, "%s: %zu bytes, the limit is %zu", path, size,
                       max_bytes);
        goto done;
    }
    const size_t start = out->n;
    /* one byte more than stated: notices a file that grows while we read */
    for (size_t want = size + 1;;) {
        if (!loam_buf_reserve(out, want)) {
            st = loam_fail(err, LOAM_ERR_MEMORY, "%s: cannot hold the file", path);
            goto done;
        }
        const ssize_t got = read(fd, out->data + out->n, want);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            st = loam_fail_errno(err, errno, "%s: cannot read", path);
            goto done;
        }
        if (got == 0) break;
        out->n += (size_t)got;
        want = want > (size_t)got ? want - (size_t)got : 4096;
        if (out->n - start > max_bytes) {
            st = loam_fail(err, LOAM_ERR_LIMIT, "%s: grew past the limit of %zu bytes", path,
                           max_bytes);
            goto done;
        }
    }
    if (out->data) out->data[out->n] = 0;
done:
    close(fd);
    return st;
}

int loam_path_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

int loam_path_is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *loam_path_join(const char *a, const char *b) {
    const size_t n = strlen(a);
    return loam_format("%s%s%s", a, n > 0 && a[n - 1] == '/' ? "" : "/", b);
}
