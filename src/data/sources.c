/* sources.c - where samples come from: names, folders, lines, CSV rows. */
#include "base/base.h"
#include "data/stream.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

/* ---- names and folders: the list is made first, then handed out ---- */

typedef struct names_stage {
    loam_stream base;
    char **names;
    size_t n, cap, at;
} names_stage;

static loam_status next_name(loam_stream *s, loam_sample **out, loam_err *err) {
    names_stage *f = (names_stage *)s;
    if (f->at == f->n) return LOAM_OK;
    *out = loam_sample_new(f->names[f->at]);
    if (!*out) return loam_fail(err, LOAM_ERR_MEMORY, "%s", f->names[f->at]);
    (*out)->index = f->at++;
    return LOAM_OK;
}

static void deinit_names(loam_stream *s) {
    names_stage *f = (names_stage *)s;
    for (size_t i = 0; i < f->n; i++) free(f->names[i]);
    free(f->names);
}

static const stage_class NAMES = {next_name, deinit_names};

static int add_name(names_stage *f, char *name) {
    void *grown = f->names;
    if (!name || !loam_grow(&grown, &f->cap, f->n + 1, sizeof(char *))) {
        free(name);
        return 0;
    }
    f->names = grown;
    f->names[f->n++] = name;
    return 1;
}

static loam_status fail_memory(loam_err *err) {
    return loam_fail(err, LOAM_ERR_MEMORY, "list of files");
}

loam_status loam_stream_from_names(loam_stream **out, const char *const *names, size_t n,
                                   loam_err *err) {
    *out = NULL;
    names_stage *f = stage_new(&NAMES, sizeof *f, NULL);
    if (!f) return fail_memory(err);
    for (size_t i = 0; i < n; i++) {
        if (!add_name(f, loam_strdup(names[i]))) {
            loam_stream_free(&f->base);
            return fail_memory(err);
        }
    }
    *out = &f->base;
    return LOAM_OK;
}

enum { MAX_DEPTH = 200 };

typedef struct folder_id {
    dev_t device;
    ino_t inode;
} folder_id;

/* Every folder is entered once, under the first of its names: symbolic links may make loops,
 * and forty of them that fork make more paths than anyone can walk. */
typedef struct walk {
    names_stage *f;
    loam_path_skip skip;
    void *ctx;
    folder_id *seen; /* open addressing; inode 0 is free */
    size_t n_seen, n_slots;
    loam_err *err;
} walk;

static folder_id *find_seen(folder_id *table, size_t n_slots, folder_id id) {
    size_t at = (size_t)loam_hash(&id.inode, sizeof id.inode, (uint64_t)id.device) & (n_slots - 1);
    while (table[at].inode && (table[at].inode != id.inode || table[at].device != id.device))
        at = (at + 1) & (n_slots - 1);
    return &table[at];
}

/* 1: entered for the first time, 0: seen before, -1: no memory. */
static int enter_folder(walk *w, const struct stat *st) {
    const folder_id id = {st->st_dev, st->st_ino};
    if (2 * (w->n_seen + 1) > w->n_slots) {
        const size_t n = w->n_slots ? 2 * w->n_slots : 64;
        folder_id *grown = loam_alloc(n, sizeof *grown);
        if (!grown) return -1;
        for (size_t i = 0; i < w->n_slots; i++)
            if (w->seen[i].inode) *find_seen(grown, n, w->seen[i]) = w->seen[i];
        free(w->seen);
        w->seen = grown;
        w->n_slots = n;
    }
    folder_id *slot = find_seen(w->seen, w->n_slots, id);
    if (slot->inode) return 0;
    *slot = id;
    w->n_seen++;
    return 1;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static loam_status walk_folder(walk *w, const char *path, int depth);

/* One entry; takes `path` over.  Entries that cannot be looked at are left to the reader to report. */
static loam_status walk_entry(walk *w, char *path, int depth) {
    struct stat st;
    const int known = stat(path, &st) == 0;
    const int is_folder = known && S_ISDIR(st.st_mode);
    loam_status result = LOAM_OK;
    /* reading a socket, FIFO or device may never end */
    const int is_special = known && !is_folder && !S_ISREG(st.st_mode);
    if (is_special || (w->skip && w->skip(w->ctx, path, is_folder))) {
        /* not wanted */
    } else if (is_folder) {
        const int entered = depth < MAX_DEPTH ? enter_folder(w, &st) : 0;
        if (entered < 0) result = fail_memory(w->err);
        if (entered > 0) result = walk_folder(w, path, depth + 1);
    } else {
        if (!add_name(w->f, path)) return fail_memory(w->err);
        return LOAM_OK;
    }
    free(path);
    return result;
}

static loam_status list_folder(const char *path, names_stage *out, loam_err *err) {
    DIR *d = opendir(path);
    if (!d) return loam_fail_errno(err, errno, "%s", path);
    loam_status st = LOAM_OK;
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (!e) {
            if (errno) st = loam_fail_errno(err, errno, "%s", path);
            break;
        }
        if (e->d_name[0] == '.') continue;
        if (!add_name(out, loam_path_join(path, e->d_name))) {
            st = fail_memory(err);
            break;
        }
    }
    closedir(d);
    return st;
}

/* A folder below the start that cannot be listed is handed out as a name: its reader will say why. */
static loam_status walk_folder(walk *w, const char *path, int depth) {
    names_stage entries = {0};
    loam_err own = {0};
    loam_status st = list_folder(path, &entries, &own);
    if (st && st != LOAM_ERR_MEMORY && depth > 0) {
        deinit_names(&entries.base);
        return add_name(w->f, loam_strdup(path)) ? LOAM_OK : fail_memory(w->err);
    }
    if (st && w->err) *w->err = own;
    if (entries.n > 1) qsort(entries.names, entries.n, sizeof(char *), compare_names);
    for (size_t i = 0; i < entries.n && !st; i++) {
        char *name = entries.names[i];
        entries.names[i] = NULL;
        st = walk_entry(w, name, depth);
    }
    deinit_names(&entries.base);
    return st;
}

loam_status loam_stream_from_folder(loam_stream **out, const char *path, loam_path_skip skip,
                                    void *ctx, loam_err *err) {
    struct stat st;
    *out = NULL;
    if (stat(path, &st) != 0) return loam_fail_errno(err, errno, "%s", path);
    if (!S_ISDIR(st.st_mode)) return loam_fail(err, LOAM_ERR_ARGUMENT, "%s: not a folder", path);
    walk w = {
        .f = stage_new(&NAMES, sizeof(names_stage), NULL), .skip = skip, .ctx = ctx, .err = err};
    if (!w.f) return fail_memory(err);
    loam_status result = enter_folder(&w, &st) < 0 ? fail_memory(err) : walk_folder(&w, path, 0);
    free(w.seen);
    if (result) {
        loam_stream_free(&w.f->base);
        return result;
    }
    /* byte order of whole paths: "a-b" comes before "a/b" */
    if (w.f->n > 1) qsort(w.f->names, w.f->n, sizeof(char *), compare_names);
    *out = &w.f->base;
    return LOAM_OK;
}

/* ---- lines and rows: the file is read when it is opened ---- */

typedef struct text_stage {
    loam_stream base;
    char *path;
    loam_buf text;
    size_t at;
    uint64_t index;
    loam_csv csv;
    char **header;
    size_t n_header;
} text_stage;

static void deinit_text(loam_stream *s) {
    text_stage *t = (text_stage *)s;
    free(t->path);
    loam_buf_deinit(&t->text);
    loam_csv_deinit(&t->csv);
    for (size_t i = 0; i < t->n_header; i++) free(t->header[i]);
    free(t->header);
}

static loam_sample *new_numbered(const text_stage *t, size_t n_line) {
    char *name = loam_format("%s:%zu", t->path, n_line);
    loam_sample *s = name ? loam_sample_new(name) : NULL;
    free(name);
    return s;
}

static loam_status next_line(loam_stream *s, loam_sample **out, loam_err *err) {
    text_stage *t = (text_stage *)s;
    if (t->at >= t->text.n) return LOAM_OK;
    const char *from = t->text.data + t->at;
    const char *nl = memchr(from, '\n', t->text.n - t->at);
    const size_t n = nl ? (size_t)(nl - from) : t->text.n - t->at;
    loam_sample *line = new_numbered(t, (size_t)t->index + 1);
    if (line) loam_buf_append(&line->data, from, n);
    if (!line || line->data.failed) {
        loam_sample_free(line);
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: line", t->path);
    }
    line->index = t->index++;
    t->at += n + 1;
    *out = line;
    return LOAM_OK;
}

static const stage_class LINES = {next_line, deinit_text};

static loam_status open_text(text_stage **out, const stage_class *class, const char *path,
                             loam_err *err) {
    loam_buf raw = {0};
    text_stage *t = stage_new(class, sizeof *t, NULL);
    *out = NULL;
    if (!t) return fail_memory(err);
    t->path = loam_strdup(path);
    loam_status st =
        t->path ? loam_file_read(&raw, path, LOAM_DOCUMENT_MAX_BYTES, err) : fail_memory(err);
    if (!st && loam_is_gzip(raw.data, raw.n)) {
        st = loam_gunzip(raw.data, raw.n, LOAM_DOCUMENT_MAX_BYTES, &t->text, err);
    } else if (!st) {
        t->text = raw;
        memset(&raw, 0, sizeof raw);
    }
    loam_buf_deinit(&raw);
    if (st) {
        loam_stream_free(&t->base);
        return st;
    }
    *out = t;
    return LOAM_OK;
}

loam_status loam_stream_from_lines(loam_stream **out, const char *path, loam_err *err) {
    text_stage *t;
    loam_status st = open_text(&t, &LINES, path, err);
    *out = st ? NULL : &t->base;
    return st;
}

static int take_header(text_stage *t) {
    t->header = loam_alloc(t->csv.n_fields, sizeof(char *));
    if (!t->header) return 0;
    for (size_t i = 0; i < t->csv.n_fields; i++) {
        t->header[i] = loam_strdup(loam_csv_field(&t->csv, i, NULL));
        if (!t->header[i]) return 0;
        t->n_header++;
    }
    return 1;
}

static int take_row(const text_stage *t, loam_sample *row) {
    row->fields = loam_alloc(t->n_header, sizeof *row->fields);
    if (!row->fields) return 0;
    for (size_t i = 0; i < t->n_header; i++) {
        size_t n;
        const char *value = loam_csv_field(&t->csv, i, &n);
        row->n_fields = i + 1;
        row->fields[i].name = loam_strdup(t->header[i]);
        row->fields[i].value = loam_strndup(value, n);
        row->fields[i].n = n;
        if (!row->fields[i].name || !row->fields[i].value) return 0;
    }
    return 1;
}

static loam_status next_row(loam_stream *s, loam_sample **out, loam_err *err) {
    text_stage *t = (text_stage *)s;
    loam_err own = {0};
    int r = loam_csv_next(&t->csv, &own);
    if (r > 0 && !t->header) {
        if (!take_header(t)) return loam_fail(err, LOAM_ERR_MEMORY, "%s: header", t->path);
        r = loam_csv_next(&t->csv, &own);
    }
    if (r == 0) return LOAM_OK;
    if (r < 0 && own.status == LOAM_ERR_MEMORY)
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: %s", t->path, own.msg);
    loam_sample *row = new_numbered(t, t->csv.line);
    if (!row || (r > 0 && !take_row(t, row))) {
        loam_sample_free(row);
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: row", t->path);
    }
    if (r < 0) row->err = own;
    row->index = t->index++;
    *out = row;
    return LOAM_OK;
}

static const stage_class ROWS = {next_row, deinit_text};

loam_status loam_stream_from_csv(loam_stream **out, const char *path, char separator,
                                 loam_err *err) {
    text_stage *t = NULL;
    loam_status st = open_text(&t, &ROWS, path, err);
    *out = t ? &t->base : NULL;
    if (!t) return st;
    t->csv = (loam_csv){.text = t->text.data, .n = t->text.n, .separator = separator, .quote = '"'};
    return LOAM_OK;
}
