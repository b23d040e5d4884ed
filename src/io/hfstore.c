/* hfstore.c - writing the Hugging Face cache, in the order that is safe:
 *
 *     blobs/ETAG (by rename)  ->  snapshots/COMMIT/path (link)  ->  refs/REV
 *
 * A reader that follows refs/ finds a snapshot whose links lead to whole blobs.
 * See hfcache.c for the layout.
 */
#include "base/base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <loam/hub.h>
#include <loam/json.h>
#include <loam/tensor.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FOREIGN_STALE = 60 }; /* quiet seconds after which another machine's partial is dead */

static const char CACHE_TAG[] =
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This file is a cache directory tag created by loam.\n"
    "# For information about cache directory tags, see: https://bford.info/cachedir/\n";

/* mkdir -p */
static loam_status make_folders(const char *path, loam_err *err) {
    loam_status st = LOAM_OK;
    char *p = loam_strdup(path);
    if (!p) return loam_fail(err, LOAM_ERR_MEMORY, "%s: path", path);
    for (char *at = p + 1; !st; at++) {
        if (*at != '/' && *at != '\0') continue;
        const char kept = *at;
        *at = '\0';
        if (mkdir(p, 0777) != 0 && errno != EEXIST && !loam_path_is_folder(p))
            st = loam_fail_errno(err, errno, "%s: create folder", p);
        *at = kept;
        if (!kept) break;
    }
    free(p);
    return st;
}

/* The folder that `path` stands in. */
static loam_status make_parent(const char *path, loam_err *err) {
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path) return LOAM_OK;
    char *parent = loam_strndup(path, (size_t)(slash - path));
    if (!parent) return loam_fail(err, LOAM_ERR_MEMORY, "%s: path", path);
    loam_status st = make_folders(parent, err);
    free(parent);
    return st;
}

/* "REPO_DIR/FORMAT..." */
static loam_status repo_path(char **out, const char *repo, const char *folder, const char *name,
                             loam_err *err) {
    char *dir = NULL;
    *out = NULL;
    loam_status st = loam_hub_repo_dir(&dir, repo, err);
    if (st) return st;
    *out = loam_format("%s/%s/%s", dir, folder, name);
    free(dir);
    return *out ? LOAM_OK : loam_fail(err, LOAM_ERR_MEMORY, "%s: path", repo);
}

loam_status loam_hub_prepare(const char *repo, loam_err *err) {
    static const char *const folders[] = {"blobs", "refs", "snapshots"};
    char *cache = NULL, *tag = NULL;
    loam_status st = loam_hub_cache_dir(&cache, err);
    if (!st) st = make_folders(cache, err);
    if (!st && !(tag = loam_path_join(cache, "CACHEDIR.TAG")))
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: path", cache);
    if (!st && !loam_path_exists(tag)) {
        loam_err ignored; /* a courtesy to backup programs */
        (void)loam_file_write(tag, CACHE_TAG, sizeof CACHE_TAG - 1, 0666, &ignored);
    }
    for (size_t i = 0; i < sizeof folders / sizeof *folders && !st; i++) {
        char *path = NULL;
        st = repo_path(&path, repo, folders[i], "", err);
        if (!st) st = make_folders(path, err);
        free(path);
    }
    free(tag);
    free(cache);
    return st;
}

static int compare_paths(const void *a, const void *b) {
    const loam_hub_file *const *x = a, *const *y = b;
    return strcmp((*x)->path, (*y)->path);
}

static void put_text(loam_buf *b, const char *key, const char *value) {
    loam_buf_printf(b, ",\n   \"%s\": ", key);
    if (value)
        loam_json_put_string(b, value, strlen(value));
    else
        loam_buf_puts(b, "null");
}

/* Laid out as huggingface_hub writes it: sorted, indented by one. */
static void put_tree(loam_buf *b, const loam_hub_file *const *files, size_t n) {
    loam_buf_puts(b, "{\n \"format_version\": 1,\n \"files\": {");
    for (size_t i = 0; i < n; i++) {
        const loam_hub_file *f = files[i];
        loam_buf_puts(b, i ? ",\n  " : "\n  ");
        loam_json_put_string(b, f->path, strlen(f->path));
        loam_buf_printf(b, ": {\n   \"size\": %llu", (unsigned long long)f->size);
        put_text(b, "blob_id", f->blob_id);
        if (f->lfs_sha256) {
            put_text(b, "lfs_sha256", f->lfs_sha256);
            loam_buf_printf(b, ",\n   \"lfs_size\": %llu", (unsigned long long)f->size);
        }
        if (f->xet_hash) put_text(b, "xet_hash", f->xet_hash);
        loam_buf_puts(b, "\n  }");
    }
    loam_buf_puts(b, n ? "\n }\n}" : "}\n}");
}

loam_status loam_hub_write_tree(const char *repo, const char *commit, const loam_hub_file *files,
                                size_t n, loam_err *err) {
    loam_buf b = {0};
    char *path = NULL, *name = loam_format("%s.json", commit);
    const loam_hub_file **sorted = loam_alloc(n, sizeof *sorted);
    loam_status st = LOAM_OK;
    if (!name || !sorted)
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: list of files", repo);
    else
        st = repo_path(&path, repo, "trees", name, err);
    if (!st && sorted) {
        for (size_t i = 0; i < n; i++) sorted[i] = &files[i];
        if (n) qsort(sorted, n, sizeof *sorted, compare_paths);
        put_tree(&b, sorted, n);
        if (b.failed) st = loam_fail(err, LOAM_ERR_MEMORY, "%s: list of files", repo);
    }
    if (!st) st = make_parent(path, err);
    if (!st) st = loam_file_write(path, b.data, b.n, 0666, err);
    loam_buf_deinit(&b);
    free(sorted);
    free(path);
    free(name);
    return st;
}

loam_status loam_hub_write_ref(const char *repo, const char *revision, const char *commit,
                               loam_err *err) {
    char *path = NULL;
    loam_buf now = {0};
    loam_err ignored;
    loam_status st = repo_path(&path, repo, "refs", revision, err);
    if (st) return st;
    const int same = loam_file_read(&now, path, 4096, &ignored) == LOAM_OK &&
                     now.n == strlen(commit) && memcmp(now.data, commit, now.n) == 0;
    if (!same) st = make_parent(path, err);
    if (!same && !st) st = loam_file_write(path, commit, strlen(commit), 0666, err);
    loam_buf_deinit(&now);
    free(path);
    return st;
}

int loam_hub_valid_etag(const char *etag) {
    const size_t n = strlen(etag);
    if (n == 0 || n > 128) return 0;
    for (size_t i = 0; i < n; i++) {
        const char c = etag[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '-'))
            return 0;
    }
    return 1;
}

loam_status loam_hub_blob_path(char **out, const char *repo, const char *etag, loam_err *err) {
    *out = NULL;
    if (!loam_hub_valid_etag(etag))
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: unusable etag %.140s", repo, etag);
    return repo_path(out, repo, "blobs", etag, err);
}

loam_status loam_hub_snapshot_dir(char **out, const char *repo, const char *commit, loam_err *err) {
    return repo_path(out, repo, "snapshots", commit, err);
}

int loam_hub_has_file(const char *repo, const char *commit, const char *path, uint64_t size) {
    char *dir = NULL, *full = NULL;
    struct stat sb;
    int has = 0;
    if (loam_hub_snapshot_dir(&dir, repo, commit, NULL) == LOAM_OK &&
        (full = loam_path_join(dir, path)))
        has = stat(full, &sb) == 0 && S_ISREG(sb.st_mode) && (uint64_t)sb.st_size == size;
    free(full);
    free(dir);
    return has;
}

/* "../../blobs/ETAG", with one more "../" for every folder in `path`. */
static char *link_target(const char *path, const char *etag) {
    loam_buf b = {0};
    for (const char *p = path; (p = strchr(p, '/')); p++) loam_buf_puts(&b, "../");
    loam_buf_printf(&b, "../../blobs/%s", etag);
    if (b.failed) loam_buf_deinit(&b);
    return b.data;
}

loam_status loam_hub_link(const char *repo, const char *commit, const char *path, const char *etag,
                          int plain, loam_err *err) {
    char *dir = NULL, *full = NULL, *tmp = NULL, *target = NULL, *blob = NULL;
    loam_status st;
    if (!loam_hub_valid_path(path))
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: file name %.200s leads elsewhere", repo, path);
    st = loam_hub_blob_path(&blob, repo, etag, err);
    if (!st) st = loam_hub_snapshot_dir(&dir, repo, commit, err);
    if (st) goto done;
    full = loam_path_join(dir, path);
    tmp = full ? loam_format("%s.%ld.link", full, (long)getpid()) : NULL;
    target = link_target(path, etag);
    if (!tmp || !target) {
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: path", path);
        goto done;
    }
    st = make_parent(full, err);
    if (st) goto done;
    if (!plain) {
        (void)unlink(tmp);
        if (symlink(target, tmp) == 0) {
            if (rename(tmp, full) != 0) {
                st = loam_fail_errno(err, errno, "%s: put in place", full);
                (void)unlink(tmp);
            }
            goto done;
        }
        if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL) {
            st = loam_fail_errno(err, errno, "%s: link", full);
            goto done;
        }
    }
    if (rename(blob, full) != 0) st = loam_fail_errno(err, errno, "%s: put in place", full);
done:
    free(blob);
    free(target);
    free(tmp);
    free(full);
    free(dir);
    return st;
}

loam_status loam_hub_lock(int *fd, const char *repo, const char *etag, loam_err *err) {
    char *cache = NULL, *dir = NULL, *path = NULL;
    *fd = -1;
    loam_status st = loam_hub_cache_dir(&cache, err);
    if (!st) st = loam_hub_repo_dir(&dir, repo, err);
    if (!st) {
        path = loam_format("%s/.locks/%s/%s.lock", cache, strrchr(dir, '/') + 1, etag);
        if (!path) st = loam_fail(err, LOAM_ERR_MEMORY, "%s: path", repo);
    }
    if (!st) st = make_parent(path, err);
    if (!st) {
        *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0664);
        if (*fd < 0)
            st = loam_fail_errno(err, errno, "%s: open", path);
        else if (flock(*fd, LOCK_EX | LOCK_NB) != 0)
            st = errno == EWOULDBLOCK
                     ? loam_fail(err, LOAM_ERR_BUSY, "%s: locked by another process", path)
                     : loam_fail(err, LOAM_ERR_IO, "%s: cannot be locked", path);
        if (st && *fd >= 0) {
            close(*fd);
            *fd = -1;
        }
    }
    free(path);
    free(dir);
    free(cache);
    return st;
}

/* Tells machines apart that share a cache. */
static unsigned long host_number(void) {
    char name[256] = "";
    (void)gethostname(name, sizeof name - 1);
    return (unsigned long)(loam_hash(name, strlen(name), 0) & 0xffffff);
}

/* Take over what an earlier run left of this blob: only one process can win the
 * rename, so two never write one file, even where locks do nothing. */
static void adopt_partial(const char *blob, const char *own) {
    const char *base = strrchr(blob, '/') + 1;
    const size_t n = strlen(base);
    char *folder = loam_strndup(blob, (size_t)(base - blob));
    DIR *d = folder ? opendir(folder) : NULL;
    for (const struct dirent *e; d && (e = readdir(d));) {
        unsigned long pid, host;
        int end = 0;
        struct stat sb;
        if (strncmp(e->d_name, base, n) != 0 ||
            /* NOLINTNEXTLINE(cert-err34-c): too large a number names no process */
            sscanf(e->d_name + n, ".loam-%lu-%lx.incomplete%n", &pid, &host, &end) != 2 || !end ||
            e->d_name[n + (size_t)end])
            continue;
        if (fstatat(dirfd(d), e->d_name, &sb, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(sb.st_mode))
            continue;
        const int alive = host == host_number() ? kill((pid_t)pid, 0) == 0 || errno != ESRCH
                                                : difftime(time(NULL), sb.st_mtime) < FOREIGN_STALE;
        if (!alive && renameat(dirfd(d), e->d_name, AT_FDCWD, own) == 0) break;
    }
    if (d) closedir(d);
    free(folder);
}

loam_status loam_hub_open_partial(int *fd, char **path, const char *repo, const char *etag,
                                  loam_err *err) {
    char *blob = NULL;
    *fd = -1;
    *path = NULL;
    loam_status st = loam_hub_blob_path(&blob, repo, etag, err);
    if (st) return st;
    *path = loam_format("%s.loam-%ld-%lx.incomplete", blob, (long)getpid(), host_number());
    if (*path) {
        adopt_partial(blob, *path);
        *fd = open(*path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (*fd < 0) st = loam_fail_errno(err, errno, "%s: create", *path);
    } else {
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: path", repo);
    }
    free(blob);
    return st;
}
