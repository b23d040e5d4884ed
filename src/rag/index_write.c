/* index_write.c - an index and its sidecar, replaced as one: locked, synced, renamed.
 *
 *     PATH.new, PATH.meta.json.new written and synced
 *     rename PATH.new -> PATH                       the new index counts from here
 *     rename PATH.meta.json.new -> PATH.meta.json   (read as it is until then)
 *
 * Whatever fails or is killed in between, PATH is one whole index and one of the two
 * sidecars is its own.
 */
#include "io/file_out.h"
#include "rag/index.h"
#include "text/utf8.h"
#include <errno.h>
#include <fcntl.h>
#include <loam/tensor.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the lock ---- */

/* flock belongs to an open file, so a second open in this process would wait for the first: locks
 * held here are counted by inode. */
struct loam_index_lock {
    struct loam_index_lock *next;
    char *path;
    int fd;
    dev_t dev;
    ino_t ino;
    int users;
};
static pthread_mutex_t locks_mutex = PTHREAD_MUTEX_INITIALIZER;
static loam_index_lock *locks;

static loam_status fail_busy(int fd, const char *path, loam_err *err) {
    char pid[32] = "";
    const ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    for (ssize_t i = 0; i < n; i++)
        if (pid[i] < '0' || pid[i] > '9') pid[i] = 0;
    return loam_fail(err, LOAM_ERR_BUSY,
                     "%s: being written by another process%s%s: wait for it to end", path,
                     pid[0] ? ", pid " : "", pid);
}

/* Open and lock the file; whoever held it before removes it, so make sure that ours is the one
 * that still has the name.  0: try again. */
static int try_lock(loam_index_lock *l, const char *path, loam_status *status, loam_err *err) {
    struct stat mine, named;
    l->fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (l->fd < 0) {
        *status = loam_fail_errno(err, errno, "%s: cannot be written", path);
        return 1;
    }
    if (flock(l->fd, LOCK_EX | LOCK_NB)) {
        *status = errno == EWOULDBLOCK ? fail_busy(l->fd, path, err)
                                       : loam_fail_errno(err, errno, "%s", l->path);
        close(l->fd);
        return 1;
    }
    if (fstat(l->fd, &mine) || stat(l->path, &named) || mine.st_ino != named.st_ino ||
        mine.st_dev != named.st_dev) {
        close(l->fd);
        return 0;
    }
    l->dev = mine.st_dev;
    l->ino = mine.st_ino;
    *status = LOAM_OK;
    return 1;
}

/* The lock this process already holds on that file, one user more. */
static loam_index_lock *find_held(const char *lock_path) {
    struct stat st;
    if (stat(lock_path, &st)) return NULL;
    for (loam_index_lock *l = locks; l; l = l->next) {
        if (l->ino != st.st_ino || l->dev != st.st_dev) continue;
        l->users++;
        return l;
    }
    return NULL;
}

static loam_status take_lock(loam_index_lock **out, char *lock_path, const char *path,
                             loam_err *err) {
    loam_status status = LOAM_OK;
    *out = find_held(lock_path);
    if (*out) {
        free(lock_path);
        return LOAM_OK;
    }
    loam_index_lock *l = calloc(1, sizeof *l);
    if (!l) {
        free(lock_path);
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", path);
    }
    l->path = lock_path;
    l->users = 1;
    int tries = 0;
    while (!try_lock(l, path, &status, err))
        if (++tries == 1000)
            status = loam_fail(err, LOAM_ERR_BUSY, "%s: cannot be locked", l->path);
    if (status) {
        free(l->path);
        free(l);
        return status;
    }
    char pid[32];
    const int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(l->fd, 0) || pwrite(l->fd, pid, (size_t)n, 0) != n) {
        /* only a message to others: a full disk shows when the index is written */
    }
    l->next = locks;
    locks = l;
    *out = l;
    return LOAM_OK;
}

loam_status loam_index_lock_take(loam_index_lock **out, const char *path, loam_err *err) {
    *out = NULL;
    char *lock_path = loam_format("%s.lock", path);
    if (!lock_path) return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", path);
    pthread_mutex_lock(&locks_mutex);
    const loam_status status = take_lock(out, lock_path, path, err);
    pthread_mutex_unlock(&locks_mutex);
    return status;
}

void loam_index_lock_free(loam_index_lock *lock) {
    if (!lock) return;
    pthread_mutex_lock(&locks_mutex);
    if (--lock->users == 0) {
        loam_index_lock **at = &locks;
        while (*at != lock) at = &(*at)->next;
        *at = lock->next;
        unlink(lock->path); /* while it is locked: see try_lock */
        close(lock->fd);
        free(lock->path);
        free(lock);
    }
    pthread_mutex_unlock(&locks_mutex);
}

/* ---- content to arrays ---- */

typedef struct points {
    int32_t *data, *lengths;
    size_t n_data;
} points;

static loam_text text_of(const loam_chunk *c, int source) {
    return source ? c->source : c->text;
}

/* Code points and lengths of the texts, or the sources, of all chunks. */
static loam_status make_points(points *p, const loam_index_content *c, int source, const char *path,
                               loam_err *err) {
    size_t bytes = 0;
    for (size_t i = 0; i < c->n_chunks; i++)
        if (!loam_add(bytes, text_of(&c->chunks[i], source).n, &bytes) || bytes > INT32_MAX)
            return loam_fail(err, LOAM_ERR_LIMIT, "%s: more than 2 GB of text", path);
    p->data = loam_alloc(bytes ? bytes : 1, sizeof *p->data);
    p->lengths = loam_alloc(c->n_chunks ? c->n_chunks : 1, sizeof *p->lengths);
    if (!p->data || !p->lengths)
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: no memory for %zu bytes of text", path, bytes);
    for (size_t i = 0; i < c->n_chunks; i++) {
        const loam_text t = text_of(&c->chunks[i], source);
        const size_t before = p->n_data, bad = loam_utf8_check(t.data, t.n);
        if (bad != t.n)
            return loam_fail(err, LOAM_ERR_FORMAT, "%s: chunk %zu: %s not UTF-8 at byte %zu", path,
                             i, source ? "source" : "text", bad);
        for (size_t at = 0; at < t.n;) p->data[p->n_data++] = (int32_t)loam_utf8_next(t.data, &at);
        p->lengths[i] = (int32_t)(p->n_data - before);
    }
    return LOAM_OK;
}

static loam_tensor vector_of(const char *name, const int32_t *data, size_t n) {
    return (loam_tensor){.name = name,
                         .dtype = LOAM_I32,
                         .rank = 1,
                         .shape = {n},
                         .data = data,
                         .bytes = n * sizeof *data};
}

static loam_status write_arrays(const char *path, const loam_index_content *c, loam_err *err) {
    points text = {0}, source = {0};
    loam_status st = make_points(&text, c, 0, path, err);
    if (!st) st = make_points(&source, c, 1, path, err);
    if (!st) {
        const loam_tensor tensors[] = {{.name = "embeddings",
                                        .dtype = LOAM_F32,
                                        .rank = 2,
                                        .shape = {c->n_chunks, c->dim},
                                        .data = c->vectors,
                                        .bytes = c->n_chunks * c->dim * sizeof *c->vectors},
                                       vector_of("chunk_data", text.data, text.n_data),
                                       vector_of("chunk_lengths", text.lengths, c->n_chunks),
                                       vector_of("source_data", source.data, source.n_data),
                                       vector_of("source_lengths", source.lengths, c->n_chunks)};
        st = loam_npz_write(path, tensors, sizeof tensors / sizeof *tensors, err);
    }
    free(text.data);
    free(text.lengths);
    free(source.data);
    free(source.lengths);
    return st;
}

/* ---- replacing the pair ---- */

typedef struct paths {
    char *index, *index_new, *side, *side_new; /* index: symbolic links resolved */
} paths;

static void free_paths(paths *p) {
    free(p->index);
    free(p->index_new);
    free(p->side);
    free(p->side_new);
}

static loam_status make_paths(paths *p, const char *path, loam_err *err) {
    p->index = realpath(path, NULL);
    if (!p->index) p->index = loam_strdup(path);
    p->index_new = p->index ? loam_format("%s.new", p->index) : NULL;
    p->side = loam_format("%s.meta.json", path);
    p->side_new = loam_format("%s.meta.json.new", path);
    if (!p->index || !p->index_new || !p->side || !p->side_new)
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", path);
    return LOAM_OK;
}

/* An index that its owner keeps to himself stays so when it is replaced. */
static void keep_mode(const char *old, const char *fresh) {
    struct stat st;
    if (stat(old, &st) == 0) (void)chmod(fresh, st.st_mode & 0777);
}

/* A writer killed between its two renames left the index's own sidecar waiting: put it in its
 * place before the waiting name is used again. */
static void finish_interrupted(const paths *p) {
    if (loam_sidecar_belongs(p->side_new, p->index) && !rename(p->side_new, p->side))
        (void)loam_folder_sync(p->side);
}

/* What was written is removed when it comes to nothing; the old pair was not touched then.  Once
 * the index is renamed, the waiting sidecar is its own and stays. */
static loam_status write_pair(const paths *p, const char *path, const loam_index_content *c,
                              loam_err *err) {
    char check[65];
    loam_buf side = {0};
    loam_status st = write_arrays(p->index_new, c, err);
    if (!st) keep_mode(p->index, p->index_new);
    if (!st) st = loam_index_check_file(p->index_new, check, err);
    if (!st) st = loam_sidecar_format(&side, path, check, c, err);
    if (!st) st = loam_file_write(p->side_new, side.data, side.n, 0666, err);
    if (!st) keep_mode(p->index, p->side_new);
    if (!st && rename(p->index_new, p->index)) st = loam_fail_errno(err, errno, "%s", p->index);
    loam_buf_deinit(&side);
    if (st) {
        unlink(p->index_new);
        unlink(p->side_new);
        return st;
    }
    int e = loam_folder_sync(p->index);
    if (!e && rename(p->side_new, p->side)) e = errno;
    if (!e) e = loam_folder_sync(p->side);
    return e ? loam_fail_errno(err, e, "%s", p->side) : LOAM_OK;
}

loam_status loam_index_write(const char *path, const loam_index_content *c, loam_err *err) {
    paths p = {0};
    loam_index_lock *lock = NULL;
    if (c->dim == 0 || c->dim > LOAM_INDEX_MAX_DIM || c->n_chunks > INT32_MAX)
        return loam_fail(err, LOAM_ERR_LIMIT, "%s: %zu vectors of %zu numbers", path, c->n_chunks,
                         c->dim);
    loam_status st = make_paths(&p, path, err);
    if (!st) st = loam_index_lock_take(&lock, path, err);
    if (!st) finish_interrupted(&p);
    if (!st) st = write_pair(&p, path, c, err);
    loam_index_lock_free(lock);
    free_paths(&p);
    return st;
}
