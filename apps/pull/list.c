/* list.c - what the repository holds, and which of it is wanted. */
#include "pull/pull.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILES = 100000 };

void pull_put_escaped(loam_buf *b, const char *s, int keep_slash) {
    for (; *s; s++) {
        const unsigned char c = (unsigned char)*s;
        const int plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') || strchr("-_.~", c) != NULL ||
                          (c == '/' && keep_slash);
        if (plain)
            loam_buf_putc(b, (char)c);
        else
            loam_buf_printf(b, "%%%02X", c);
    }
}

static loam_json *parse(const char *what, const loam_buf *text) {
    loam_json *doc = NULL;
    loam_err err;
    if (loam_json_parse(&doc, text->data ? text->data : "", text->n, what, 0, &err))
        cli_fail(CLI_EXIT_NETWORK, "%s: %s: not what a hub answers: %s", pulling.name.repo, what,
                 err.msg);
    return doc;
}

int pull_is_hex(const char *s, size_t n) {
    return s && strlen(s) == n && strspn(s, "0123456789abcdef") == n;
}

static pull_file *add_file(const char *path) {
    if (!loam_hub_valid_path(path))
        cli_fail(CLI_EXIT_INVALID, "%s: the list of files names %.100s, which leads elsewhere",
                 pulling.name.repo, path);
    if (pulling.n_files >= MAX_FILES)
        cli_fail(CLI_EXIT_INVALID, "%s: too many files", pulling.name.repo);
    if ((pulling.n_files & (pulling.n_files + 1)) == 0 || !pulling.files)
        pulling.files =
            pull_must(realloc(pulling.files, (2 * pulling.n_files + 2) * sizeof *pulling.files));
    pull_file *f = &pulling.files[pulling.n_files++];
    memset(f, 0, sizeof *f);
    f->path = pull_must(strdup(path));
    f->size = -1;
    return f;
}

static char *copy_if(const char *s) {
    return s ? pull_must(strdup(s)) : NULL;
}

/* Pin the revision to its commit; keep the plain list of files for hubs that have no tree. */
loam_json *pull_find_commit(void) {
    loam_buf url = {0}, text = {0};
    pull_reply r;
    const char *rev = pulling.name.revision[0] ? pulling.name.revision : "main";
    loam_buf_printf(&url, "%s/api/models/%s/revision/", pulling.endpoint, pulling.name.repo);
    pull_put_escaped(&url, rev, 0);
    long status = pull_fetch("model", pull_must(url.data), 0, &text, &r);
    if (status == 404 && !*r.error_code && strcmp(rev, "main") == 0) {
        loam_buf_clear(&url);
        loam_buf_printf(&url, "%s/api/models/%s", pulling.endpoint, pulling.name.repo);
        status = pull_fetch("model", url.data, 0, &text, &r);
    }
    if (status != 200) pull_fail_transfer("model", CURLE_OK, &r);
    loam_json *doc = parse("model", &text);
    const char *sha = loam_json_string(loam_json_get(loam_json_root(doc), "sha"), NULL);
    if (!pull_is_hex(sha, 40))
        cli_fail(CLI_EXIT_NETWORK, "%s: the hub tells no commit", pulling.name.repo);
    memcpy(pulling.commit, sha, sizeof pulling.commit);
    loam_buf_deinit(&url);
    loam_buf_deinit(&text);
    return doc;
}

static void add_tree(const loam_json_value *list) {
    for (const loam_json_value *v = loam_json_first(list); v; v = loam_json_next(v)) {
        const char *type = loam_json_string(loam_json_get(v, "type"), NULL);
        const char *path = loam_json_string(loam_json_get(v, "path"), NULL);
        const loam_json_value *lfs = loam_json_get(v, "lfs");
        if (!path || (type && strcmp(type, "file") != 0)) continue;
        pull_file *f = add_file(path);
        if (!loam_json_int(loam_json_get(lfs, "size"), &f->size) &&
            !loam_json_int(loam_json_get(v, "size"), &f->size))
            f->size = -1;
        const char *oid = loam_json_string(loam_json_get(v, "oid"), NULL);
        const char *sha = loam_json_string(loam_json_get(lfs, "oid"), NULL);
        if (!sha) sha = loam_json_string(loam_json_get(lfs, "sha256"), NULL);
        f->oid = copy_if(oid);
        f->sha256 = copy_if(pull_is_hex(sha, 64) ? sha : NULL);
        f->xet = copy_if(loam_json_string(loam_json_get(v, "xetHash"), NULL));
    }
}

void pull_list_files(const loam_json *info) {
    loam_buf url = {0}, text = {0};
    pull_reply r;
    loam_buf_printf(&url, "%s/api/models/%s/tree/%s?recursive=true", pulling.endpoint,
                    pulling.name.repo, pulling.commit);
    for (int page = 0; page < 1000; page++) {
        const long status = pull_fetch("list of files", pull_must(url.data), 0, &text, &r);
        if (status != 200 && (page || status == 401 || status == 403))
            pull_fail_transfer("list of files", CURLE_OK, &r);
        if (status != 200) break;
        loam_json *doc = parse("list of files", &text);
        if (loam_json_type_of(loam_json_root(doc)) == LOAM_JSON_ARRAY)
            add_tree(loam_json_root(doc));
        loam_json_free(doc);
        if (!*r.next) break;
        const int relative = r.next[0] == '/';
        loam_buf_clear(&url);
        if (relative) loam_buf_append(&url, pulling.endpoint, pull_origin_length(pulling.endpoint));
        loam_buf_puts(&url, r.next);
    }
    const loam_json_value *siblings = loam_json_get(loam_json_root(info), "siblings");
    for (const loam_json_value *v = pulling.n_files ? NULL : loam_json_first(siblings); v;
         v = loam_json_next(v)) {
        const char *path = loam_json_string(loam_json_get(v, "rfilename"), NULL);
        if (path) (void)add_file(path);
    }
    if (!pulling.n_files) cli_fail(CLI_EXIT_NOT_FOUND, "%s: holds no files", pulling.name.repo);
    loam_buf_deinit(&url);
    loam_buf_deinit(&text);
}

static int matches(const cli_strings *globs, const char *path) {
    for (size_t i = 0; i < globs->n; i++) {
        const char *g = globs->items[i];
        const size_t n = strlen(g);
        if (n && g[n - 1] == '/') { /* a folder: everything in it */
            if (strncmp(path, g, n) == 0) return 1;
        } else if (fnmatch(g, path, FNM_NOESCAPE) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Small files first: with the weights last, a folder that has them is complete. */
static int compare_files(const void *a, const void *b) {
    const pull_file *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return strcmp(x->path, y->path);
}

size_t pull_choose_files(void) {
    size_t n = 0;
    for (size_t i = 0; i < pulling.n_files; i++) {
        pull_file *f = &pulling.files[i];
        f->wanted = (!pulling.a.include.n || matches(&pulling.a.include, f->path)) &&
                    !matches(&pulling.a.exclude, f->path);
        n += (size_t)f->wanted;
    }
    if (!n)
        cli_fail(CLI_EXIT_NOT_FOUND, "%s: no file matches --include/--exclude", pulling.name.repo);
    qsort(pulling.files, pulling.n_files, sizeof *pulling.files, compare_files);
    return n;
}
