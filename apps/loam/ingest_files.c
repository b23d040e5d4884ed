/* ingest_files.c - from the paths of the command line to the files to read. */
#include "loam/ingest.h"

#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void ingest_no_memory(void) {
    cli_fail(CLI_EXIT_RESOURCES, "out of memory");
}

void *ingest_grow(void *items, size_t *cap, size_t need, size_t size) {
    if (need <= *cap) return items;
    size_t want = *cap ? *cap : 64;
    while (want < need && want <= SIZE_MAX / 2) want *= 2;
    if (want < need || want > SIZE_MAX / size) ingest_no_memory();
    void *grown = realloc(items, want * size);
    if (!grown) ingest_no_memory();
    *cap = want;
    return grown;
}

static char *copy(const char *s) {
    char *c = strdup(s);
    if (!c) ingest_no_memory();
    return c;
}

void ingest_fail(ingest_files *files, const char *path, const char *why) {
    files->failures = ingest_grow(files->failures, &files->cap_failures, files->n_failures + 1,
                                  sizeof *files->failures);
    files->failures[files->n_failures++] = (ingest_failure){copy(path), copy(why)};
    cli_error("%s: %s", path, why);
}

/* "./a//b/" -> "a/b". */
static char *tidy_path(const char *path) {
    char *out = copy(path);
    size_t n = 0;
    for (size_t i = 0; path[i]; i++) {
        const int at_start = n == 0 || out[n - 1] == '/';
        if (path[i] == '/' && n > 0 && out[n - 1] == '/') continue;
        if (at_start && path[i] == '.' && path[i + 1] == '/') {
            i++;
            continue;
        }
        out[n++] = path[i];
    }
    while (n > 1 && out[n - 1] == '/') n--;
    out[n] = '\0';
    if (n == 0) memcpy(out, ".", 2); /* "./" had room for it */
    return out;
}

typedef struct selection {
    ingest_files *files;
    const cli_strings *include, *exclude;
    size_t n_root; /* bytes of the folder's own path: patterns are matched below it */
} selection;

/* A pattern is matched against the file's name, or, when it has a '/', against its path below the folder. */
static int matches(const cli_strings *patterns, const char *path, size_t n_root) {
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    const char *below = strlen(path) > n_root ? path + n_root : path;
    while (*below == '/') below++;
    for (size_t i = 0; i < patterns->n; i++) {
        const char *p = patterns->items[i];
        if (fnmatch(p, base, 0) == 0 || (strchr(p, '/') && fnmatch(p, below, 0) == 0)) return 1;
    }
    return 0;
}

static int skip_path(void *ctx, const char *path, int is_folder) {
    selection *s = ctx;
    if (matches(s->exclude, path, s->n_root)) return 1;
    if (is_folder) return 0;
    if (s->include->n > 0) return !matches(s->include, path, s->n_root);
    /* an index's own sidecar, should it lie among the documents */
    const int wanted = (loam_document_kind_of_name(path) != LOAM_DOCUMENT_UNKNOWN &&
                        !loam_ends_with(path, ".npz.meta.json")) ||
                       loam_document_is_foreign(path);
    s->files->n_skipped += !wanted;
    return !wanted;
}

/* File names are bytes; an index holds text.  What is no UTF-8 becomes U+FFFD. */
static char *as_text(const char *path) {
    loam_buf clean = {0};
    if (loam_text_decode(path, strlen(path), "utf-8", &clean, NULL)) ingest_no_memory();
    if (!clean.data) loam_buf_puts(&clean, "");
    if (clean.failed) ingest_no_memory();
    return clean.data;
}

static char *as_line(const char *path) {
    char *text = as_text(path);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20) *c = ' ';
    return text;
}

static void add_file(ingest_files *files, const char *path) {
    struct stat st;
    char *absolute = realpath(path, NULL);
    if (!absolute || stat(path, &st) != 0) {
        ingest_fail(files, path, strerror(errno));
        free(absolute);
        return;
    }
    files->items = ingest_grow(files->items, &files->cap, files->n + 1, sizeof *files->items);
    files->items[files->n++] =
        (ingest_file){as_line(path), absolute, as_text(absolute), (uint64_t)st.st_size};
}

static void add_folder(ingest_files *files, const char *path, const cli_strings *include,
                       const cli_strings *exclude) {
    selection s = {files, include, exclude, strcmp(path, ".") == 0 ? 0 : strlen(path)};
    loam_stream *names = NULL;
    loam_sample *sample = NULL;
    loam_err err = {0};
    loam_status st = loam_stream_from_folder(&names, path, skip_path, &s, &err);
    while (!st && (st = loam_stream_next(names, &sample, &err)) == LOAM_OK && sample) {
        char *tidy = tidy_path(sample->name);
        add_file(files, tidy);
        free(tidy);
        loam_sample_free(sample);
    }
    loam_stream_free(names);
    if (st == LOAM_ERR_MEMORY) ingest_no_memory();
    if (st) {
        const size_t n = strlen(path);
        ingest_fail(files, path,
                    strncmp(err.msg, path, n) == 0 && err.msg[n] == ':' ? err.msg + n + 2
                                                                        : err.msg);
    }
}

static int compare_absolute(const void *a, const void *b) {
    const ingest_file *x = *(ingest_file *const *)a, *y = *(ingest_file *const *)b;
    const int order = strcmp(x->absolute, y->absolute);
    return order ? order : x < y ? -1 : x > y;
}

/* The same file by two names is one document, under the first of them. */
static void drop_twins(ingest_files *files) {
    ingest_file **sorted = calloc(files->n + 1, sizeof *sorted);
    if (!sorted) ingest_no_memory();
    for (size_t i = 0; i < files->n; i++) sorted[i] = &files->items[i];
    qsort(sorted, files->n, sizeof *sorted, compare_absolute);
    char *same = NULL;
    for (size_t i = 0; i < files->n; i++) {
        if (same && strcmp(same, sorted[i]->absolute) == 0) {
            free(sorted[i]->path);
            sorted[i]->path = NULL;
        } else {
            same = sorted[i]->absolute;
        }
    }
    free(sorted);
    size_t to = 0;
    for (size_t i = 0; i < files->n; i++) {
        if (files->items[i].path) {
            files->items[to++] = files->items[i];
        } else {
            free(files->items[i].absolute);
            free(files->items[i].key);
        }
    }
    files->n = to;
}

void ingest_find(ingest_files *files, const cli_strings *paths, const cli_strings *include,
                 const cli_strings *exclude) {
    for (size_t i = 0; i < paths->n; i++) {
        struct stat st;
        char *path = tidy_path(paths->items[i]);
        char *absolute = realpath(path, NULL);
        if (!absolute || stat(path, &st) != 0) {
            ingest_fail(files, path, strerror(errno));
            free(path);
            free(absolute);
            continue;
        }
        files->roots =
            ingest_grow(files->roots, &files->cap_roots, files->n_roots + 1, sizeof *files->roots);
        files->roots[files->n_roots++] = as_text(absolute);
        free(absolute);
        if (S_ISDIR(st.st_mode))
            add_folder(files, path, include, exclude);
        else
            add_file(files, path);
        free(path);
    }
    drop_twins(files);
    for (size_t i = 0; i < files->n; i++) files->bytes += files->items[i].size;
}

int ingest_is_inside(const ingest_files *files, const char *absolute) {
    for (size_t i = 0; i < files->n_roots; i++) {
        const size_t n = strlen(files->roots[i]);
        if (strncmp(files->roots[i], absolute, n) != 0) continue;
        if (absolute[n] == '\0' || absolute[n] == '/' || (n > 0 && absolute[n - 1] == '/'))
            return 1;
    }
    return 0;
}

void ingest_files_deinit(ingest_files *files) {
    for (size_t i = 0; i < files->n; i++) {
        free(files->items[i].path);
        free(files->items[i].absolute);
        free(files->items[i].key);
    }
    for (size_t i = 0; i < files->n_roots; i++) free(files->roots[i]);
    for (size_t i = 0; i < files->n_failures; i++) {
        free(files->failures[i].path);
        free(files->failures[i].why);
    }
    free(files->items);
    free(files->roots);
    free(files->failures);
    memset(files, 0, sizeof *files);
}
