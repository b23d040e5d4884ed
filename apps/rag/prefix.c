/* prefix.c - prompts that were read, kept on disk between runs.
 *
 * $XDG_CACHE_HOME/loam/prefix (else ~/.cache/loam/prefix) holds a file for a prompt:
 *
 *     MODEL-PRECISION-CPU-IDS.kv       fingerprint's start, "fast" or "fast-int8" (of --kv), "avx2",
 *                                      hash of the ids
 *
 * A question takes the file that begins as its prompt does for the longest stretch, if that is
 * worth it; the library verifies what it reads.  After the answer the prompt is kept, if much of
 * it was new, and the files used longest ago go until the rest is within the limit.  A cache
 * that cannot be read or written is no cache: nothing is said.
 */
#include "rag/rag.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Reading a token costs about what loading ten does: a stretch shorter than MIN_GAIN is read. */
enum { MIN_PROMPT = 256, MIN_GAIN = 64, MODEL_DIGITS = 16, STALE_TEMP_SECONDS = 3600 };

/* The folder's path in out[PATH_MAX]; 0: there is no home. */
static int find_folder(char *out) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (cache && cache[0] == '/')
        n = snprintf(out, PATH_MAX, "%s/loam/prefix", cache);
    else if (home && home[0] == '/')
        n = snprintf(out, PATH_MAX, "%s/.cache/loam/prefix", home);
    return n > 0 && n < PATH_MAX;
}

static void make_folders(char *path) {
    for (char *p = path + 1; *p; p++) {
        if (*p != '/') continue;
        *p = 0;
        mkdir(path, 0700);
        *p = '/';
    }
    mkdir(path, 0700);
}

/* A folder that others may write to could hold anything. */
static int is_ours(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* The folder opened; -1: none. */
static int open_folder(const char *path) {
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || is_ours(fd)) return fd;
    close(fd);
    return -1;
}

static const char *key_of(rag_app *app) {
    loam_err err = {0};
    char hex[65];
    if (!app->prefix_key[0] && loam_model_fingerprint(app->model, hex, &err) == LOAM_OK)
        snprintf(app->prefix_key, sizeof app->prefix_key, "%.*s-%s%s-%s-", MODEL_DIGITS, hex,
                 loam_model_precision(app->model) == LOAM_EXACT ? "exact" : "fast",
                 loam_model_kv(app->model) == LOAM_KV_INT8 ? "-int8" : "", loam_cpu_isa());
    return app->prefix_key;
}

static int is_off(const rag_app *app, size_t n_prompt) {
    return !strcmp(app->args->prefix_cache, "off") || n_prompt <= MIN_PROMPT;
}

/* Such a file would be met at every question. */
static void report(const char *path, const loam_err *err) {
    if (err->status != LOAM_ERR_FORMAT && err->status != LOAM_ERR_UNSUPPORTED) return;
    unlink(path);
    cli_warn("prefix cache: %s: the prompt is read anew", err->msg);
}

/* The file of this model that agrees with most of the ids: its path in `best`. */
static size_t find_best(rag_app *app, const char *folder, DIR *d, const loam_ids *ids, char *best) {
    const char *key = key_of(app);
    char path[PATH_MAX];
    size_t most = 0;
    for (struct dirent *e; *key && (e = readdir(d)) != NULL;) {
        size_t n;
        loam_err err = {0};
        if (strncmp(e->d_name, key, strlen(key)) != 0 || !loam_ends_with(e->d_name, ".kv"))
            continue;
        const int length = snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (length < 0 || length >= PATH_MAX) continue;
        if (loam_session_peek(app->session, path, ids->ids, ids->n, &n, &err)) {
            report(path, &err);
        } else if (n > most) {
            most = n;
            memcpy(best, path, (size_t)length + 1);
        }
    }
    return most;
}

/* How much of the prompt the session holds by itself. */
static size_t count_held(const rag_app *app, const loam_ids *ids) {
    const int32_t *held = loam_session_ids(app->session);
    const size_t n = loam_session_position(app->session);
    size_t same = 0;
    while (same < n && same < ids->n && held[same] == ids->ids[same]) same++;
    return same;
}

void rag_prefix_load(rag_app *app, const loam_ids *ids) {
    char folder[PATH_MAX], best[PATH_MAX];
    loam_err err = {0};
    size_t kept;

    if (is_off(app, ids->n) || !find_folder(folder)) return;
    const size_t held = count_held(app, ids);
    if (held + MIN_GAIN > ids->n) return;
    const int fd = open_folder(folder);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (fd >= 0) close(fd);
        return;
    }
    const size_t n = find_best(app, folder, d, ids, best);
    closedir(d);
    if (n < held + MIN_GAIN) return;
    if (loam_session_load(app->session, best, ids->ids, ids->n, &kept, &err))
        report(best, &err);
    else
        utimensat(AT_FDCWD, best, NULL, 0); /* used now */
}

typedef struct entry {
    char name[NAME_MAX + 1];
    uint64_t bytes;
    struct timespec used;
} entry;

static int older(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec) return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    if (x->used.tv_nsec != y->used.tv_nsec) return x->used.tv_nsec < y->used.tv_nsec ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Every file of the cache into *list; what a killed process left half written goes. */
static size_t list_entries(DIR *d, entry **list, uint64_t *total) {
    size_t n = 0, cap = 0;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        struct stat st;
        const int is_temp = strstr(e->d_name, ".kv.tmp-") != NULL;
        if (!is_temp && !loam_ends_with(e->d_name, ".kv")) continue;
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
            continue;
        if (is_temp) {
            if (now.tv_sec - st.st_mtim.tv_sec > STALE_TEMP_SECONDS)
                unlinkat(dirfd(d), e->d_name, 0);
            continue;
        }
        if (n == cap) {
            cap = cap ? cap * 2 : 64;
            entry *more = realloc(*list, cap * sizeof **list);
            if (!more) break;
            *list = more;
        }
        snprintf((*list)[n].name, sizeof(*list)[n].name, "%s", e->d_name);
        (*list)[n].bytes = (uint64_t)st.st_size;
        (*list)[n++].used = st.st_mtim;
        *total += (uint64_t)st.st_size;
    }
    return n;
}

static void keep_within(const char *folder, uint64_t limit) {
    const int fd = open_folder(folder);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    entry *list = NULL;
    uint64_t total = 0;
    if (!d) {
        if (fd >= 0) close(fd);
        return;
    }
    const size_t n = list_entries(d, &list, &total);
    if (total > limit) qsort(list, n, sizeof *list, older);
    for (size_t i = 0; i < n && total > limit; i++)
        if (unlinkat(fd, list[i].name, 0) == 0 || errno == ENOENT) total -= list[i].bytes;
    free(list);
    closedir(d);
}

static uint64_t hash_ids(const int32_t *ids, size_t n) {
    uint64_t h = 1469598103934665603u; /* FNV-1a over ids: a name, nothing that is trusted */
    for (size_t i = 0; i < n; i++) h = (h ^ (uint32_t)ids[i]) * 1099511628211u;
    return h;
}

void rag_prefix_save(rag_app *app, const loam_generate_result *r) {
    char folder[PATH_MAX], path[PATH_MAX + NAME_MAX];
    const size_t n = r->n_prompt;
    loam_err err = {0};

    if (is_off(app, n) || !find_folder(folder) || !*key_of(app)) return;
    if (r->n_reused + MIN_GAIN > n || loam_session_position(app->session) < n) return;
    make_folders(folder);
    const int fd = open_folder(folder);
    if (fd < 0) return;
    close(fd);
    snprintf(path, sizeof path, "%s/%s%016llx.kv", folder, app->prefix_key,
             (unsigned long long)hash_ids(loam_session_ids(app->session), n));
    if (loam_session_save(app->session, n, path, &err) == LOAM_OK)
        keep_within(folder, (uint64_t)app->args->prefix_mib << 20);
}
