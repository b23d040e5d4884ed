/* hfcache.c - reading the Hugging Face cache.
 *
 *     $HF_HUB_CACHE/models--org--name/
 *       refs/main                    40 hex digits, no newline
 *       snapshots/COMMIT/path/file   -> ../../blobs/ETAG
 *       blobs/ETAG
 *       trees/COMMIT.json            {"format_version":1,"files":{path:{"size":N,...}}}
 *
 * Nothing is written here.  What a downloader left unfinished must not look like
 * a model: every way a snapshot can be partial ends in the one command that
 * mends it.  A cache filled by mlx-lm has no README.md and the like, so only the
 * kinds of file that a model is read from are asked for.
 */
#include "base/base.h"

#include <dirent.h>
#include <errno.h>
#include <loam/hub.h>
#include <loam/json.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 16, COMMIT_DIGITS = 40, MAX_TREE_BYTES = 64 << 20 };

static int is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
}

/* One half of a repo id: no leading or trailing '-' or '.'. */
static int valid_part(const char *s, size_t n) {
    if (n == 0 || s[0] == '-' || s[0] == '.' || s[n - 1] == '-' || s[n - 1] == '.') return 0;
    for (size_t i = 0; i < n; i++)
        if (!is_name_char(s[i])) return 0;
    return 1;
}

int loam_hub_valid_repo(const char *name) {
    const size_t n = strlen(name);
    if (n == 0 || n > LOAM_HUB_MAX_REPO || strstr(name, "--") || strstr(name, "..")) return 0;
    if (n > 4 && strcmp(name + n - 4, ".git") == 0) return 0;

    const char *slash = strchr(name, '/');
    if (!slash) return valid_part(name, n);
    const size_t org = (size_t)(slash - name);
    return valid_part(name, org) && valid_part(slash + 1, n - org - 1);
}

int loam_hub_valid_path(const char *path) {
    const size_t n = strlen(path);
    if (n == 0 || n > 1024) return 0;
    for (size_t begin = 0; begin <= n;) {
        size_t end = begin;
        while (end < n && path[end] != '/') end++;
        const size_t part = end - begin;
        if (part == 0 || part > 255) return 0;
        if (path[begin] == '.' && (part == 1 || (part == 2 && path[begin + 1] == '.'))) return 0;
        begin = end + 1;
    }
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)path[i] < 0x20 || path[i] == 0x7f || path[i] == '\\') return 0;
    return 1;
}

/* A branch, tag, commit or "refs/pr/1": a path of ordinary characters. */
static int valid_revision(const char *s) {
    if (!loam_hub_valid_path(s) || strlen(s) > LOAM_HUB_MAX_REVISION || s[0] == '-') return 0;
    for (; *s; s++)
        if (!is_name_char(*s) && *s != '/' && *s != '+') return 0;
    return 1;
}

static int copy_part(char *dst, size_t size, const char *s, size_t n) {
    if (n >= size) return 0;
    memcpy(dst, s, n);
    dst[n] = '\0';
    return 1;
}

static const char *skip_prefix(const char *s) {
    static const char *const prefixes[] = {"hf://models/",
                                           "hf://",
                                           "https://huggingface.co/models/",
                                           "https://huggingface.co/",
                                           "http://huggingface.co/",
                                           "https://www.huggingface.co/",
                                           "https://hf.co/",
                                           "http://hf.co/"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(s, prefixes[i], strlen(prefixes[i])) == 0) return s + strlen(prefixes[i]);
    return s;
}

loam_status loam_hub_parse(loam_hub_name *out, const char *name, const char *revision,
                           loam_err *err) {
    memset(out, 0, sizeof *out);
    const char *s = skip_prefix(name);
    const int url = s != name;
    size_t n = strlen(s);
    if (url && n && s[n - 1] == '/') n--;

    const char *at = memchr(s, '@', n);
    size_t repo_n = at ? (size_t)(at - s) : n;
    const char *rev = at ? at + 1 : NULL;
    size_t rev_n = at ? n - repo_n - 1 : 0;

    /* a page's address may go on: org/name/tree/REV */
    const char *slash = memchr(s, '/', repo_n);
    const char *more = slash ? memchr(slash + 1, '/', repo_n - (size_t)(slash + 1 - s)) : NULL;
    if (url && more && !at) {
        const size_t tail = n - (size_t)(more - s);
        repo_n = (size_t)(more - s);
        if (tail > 6 && strncmp(more, "/tree/", 6) == 0) {
            rev = more + 6;
            rev_n = tail - 6;
        } else if (tail != 5 || strncmp(more, "/tree", 5) != 0) {
            return loam_fail(err, LOAM_ERR_ARGUMENT,
                             "%s: not the address of a model: give it as org/name", name);
        }
    }
    if (!copy_part(out->repo, sizeof out->repo, s, repo_n) || !loam_hub_valid_repo(out->repo))
        return loam_fail(err, LOAM_ERR_ARGUMENT,
                         "%.200s: not a model name: expected org/name or org/name@revision", name);
    if (revision && *revision) {
        rev = revision;
        rev_n = strlen(revision);
    }
    if (rev && (!copy_part(out->revision, sizeof out->revision, rev, rev_n) ||
                !valid_revision(out->revision)))
        return loam_fail(err, LOAM_ERR_ARGUMENT, "%s: not a revision: %.200s", out->repo, rev);
    return LOAM_OK;
}

/* A variable that is set and not empty, or NULL. */
static const char *get_variable(const char *name) {
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

static const char *get_home(void) {
    const char *home = get_variable("HOME");
    if (home) return home;
    const struct passwd *pw = getpwuid(getuid());
    return pw && pw->pw_dir && *pw->pw_dir ? pw->pw_dir : NULL;
}

/* "~", "$NAME" and "${NAME}" as Python's expanduser and expandvars do; a
 * variable that is not set stays as it is written. */
static char *expand(const char *path) {
    loam_buf b = {0};
    if (path[0] == '~' && (path[1] == '/' || path[1] == '\0') && get_home()) {
        loam_buf_puts(&b, get_home());
        path++;
    }
    while (*path) {
        const char *start = path;
        if (*path++ == '$') {
            const int brace = *path == '{';
            const char *name = path + brace;
            size_t n = 0;
            while (name[n] == '_' || (is_name_char(name[n]) && name[n] != '.' && name[n] != '-'))
                n++;
            char key[128];
            if (n && copy_part(key, sizeof key, name, n) && (!brace || name[n] == '}') &&
                getenv(key)) {
                loam_buf_puts(&b, getenv(key));
                path = name + n + brace;
                continue;
            }
        }
        loam_buf_append(&b, start, (size_t)(path - start));
    }
    if (b.failed || !b.data) {
        loam_buf_deinit(&b);
        return NULL;
    }
    return b.data;
}

static loam_status expand_join(char **out, const char *base, const char *rest, loam_err *err) {
    char *expanded = expand(base);
    *out = expanded ? (*rest ? loam_path_join(expanded, rest) : expanded) : NULL;
    if (*out != expanded) free(expanded);
    if (!*out) return loam_fail(err, LOAM_ERR_MEMORY, "%s: path", base);
    return LOAM_OK;
}

static loam_status find_home(char **out, const char *rest, loam_err *err) {
    *out = NULL;
    char inside[64];
    const char *v = get_variable("HF_HOME");
    if (v) return expand_join(out, v, rest, err);
    snprintf(inside, sizeof inside, "huggingface%s%s", *rest ? "/" : "", rest);
    v = get_variable("XDG_CACHE_HOME");
    if (v) return expand_join(out, v, inside, err);
    if (!get_home())
        return loam_fail(err, LOAM_ERR_NOT_FOUND,
                         "no home folder: set HF_HOME to where models are kept");
    snprintf(inside, sizeof inside, ".cache/huggingface%s%s", *rest ? "/" : "", rest);
    return expand_join(out, get_home(), inside, err);
}

loam_status loam_hub_home(char **out, loam_err *err) {
    return find_home(out, "", err);
}

loam_status loam_hub_cache_dir(char **out, loam_err *err) {
    *out = NULL;
    const char *v = get_variable("HF_HUB_CACHE");
    if (!v) v = get_variable("HUGGINGFACE_HUB_CACHE");
    if (v) return expand_join(out, v, "", err);
    return find_home(out, "hub", err);
}

loam_status loam_hub_repo_dir(char **out, const char *repo, loam_err *err) {
    *out = NULL;
    if (!loam_hub_valid_repo(repo))
        return loam_fail(err, LOAM_ERR_ARGUMENT, "%.200s: not a model name", repo);
    char *cache = NULL;
    loam_status st = loam_hub_cache_dir(&cache, err);
    if (st) return st;

    const char *slash = strchr(repo, '/');
    if (slash)
        *out = loam_format("%s/models--%.*s--%s", cache, (int)(slash - repo), repo, slash + 1);
    else
        *out = loam_format("%s/models--%s", cache, repo);
    free(cache);
    return *out ? LOAM_OK : loam_fail(err, LOAM_ERR_MEMORY, "%s: path", repo);
}

/* What a lookup carries along: where, and what to tell the user. */
typedef struct lookup {
    loam_hub_name name;
    char *repo_dir, *snapshot;
    char real_repo[4096]; /* links must end inside this folder */
    char commit[COMMIT_DIGITS + 1];
    loam_err *err;
} lookup;

static loam_status fail_missing(const lookup *lk, const char *why, const char *what) {
    return loam_fail(lk->err, LOAM_ERR_NOT_FOUND, "%s: %s%s: run: loam pull %s%s%s", lk->name.repo,
                     why, what, lk->name.repo, lk->name.revision[0] ? "@" : "", lk->name.revision);
}

static loam_status fail_incomplete(const lookup *lk, const char *path, const char *what) {
    char text[400];
    snprintf(text, sizeof text, "(%.300s %s)", path, what);
    return fail_missing(lk, "incomplete download ", text);
}

static int is_commit(const char *s, size_t n) {
    if (n != COMMIT_DIGITS) return 0;
    for (size_t i = 0; i < n; i++)
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f'))) return 0;
    return 1;
}

/* refs/REV holds the commit.  Our own and the library's have no newline; a file
 * edited by hand may. */
static loam_status find_commit(lookup *lk) {
    const char *rev = lk->name.revision[0] ? lk->name.revision : "main";
    loam_buf text = {0};
    char *path = loam_format("%s/refs/%s", lk->repo_dir, rev);
    if (!path) return loam_fail(lk->err, LOAM_ERR_MEMORY, "%s: path", lk->name.repo);

    loam_err ignored;
    loam_status st = loam_file_read(&text, path, 4096, &ignored);
    while (!st && text.n &&
           (text.data[text.n - 1] == '\n' || text.data[text.n - 1] == '\r' ||
            text.data[text.n - 1] == ' '))
        text.n--;
    const char *commit = st ? rev : text.data;
    const size_t n = st ? strlen(rev) : text.n;
    if (commit && is_commit(commit, n))
        memcpy(lk->commit, commit, COMMIT_DIGITS);
    else if (st)
        st = fail_missing(lk, "not in the cache of downloaded models ", lk->repo_dir);
    else
        st = fail_incomplete(lk, path, "holds no commit");
    if (lk->commit[0]) st = LOAM_OK;

    loam_buf_deinit(&text);
    free(path);
    return st;
}

/* The kinds of file that a model is read from (mlx-lm fetches these and no others). */
static int is_model_file(const char *path, int has_model_weights) {
    static const char *const ends[] = {".json", ".jinja", ".txt", "tokenizer.model", ".npz"};
    const size_t n = strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const size_t e = strlen(ends[i]);
        if (n >= e && strcmp(path + n - e, ends[i]) == 0) return 1;
    }
    if (n < 12 || strcmp(path + n - 12, ".safetensors") != 0) return 0;
    if (strchr(path, '/') || !has_model_weights) return 1;
    /* beside model*.safetensors, others at the top are a second copy */
    return strncmp(path, "model", 5) == 0;
}

/* One file of the snapshot: there, a regular file, inside the repository, and of
 * the size that is known (size < 0: not known). */
static loam_status check_file(const lookup *lk, const char *rel, int64_t size) {
    struct stat sb;
    loam_status st = LOAM_OK;
    char *path = loam_format("%s/%s", lk->snapshot, rel), *real = NULL;
    if (!path) return loam_fail(lk->err, LOAM_ERR_MEMORY, "%s: path", rel);

    real = realpath(path, NULL);
    const size_t n = strlen(lk->real_repo);
    if (!real)
        st = fail_incomplete(lk, rel, errno == EACCES ? "is not readable" : "is missing");
    else if (strncmp(real, lk->real_repo, n) != 0 || real[n] != '/')
        st = loam_fail(lk->err, LOAM_ERR_FORMAT, "%s: link leads out of the model's folder", path);
    else if (stat(real, &sb) != 0 || !S_ISREG(sb.st_mode))
        st = fail_incomplete(lk, rel, "is not a file");
    else if (size >= 0 && sb.st_size != size)
        st = fail_incomplete(lk, rel, "is not of its full size");
    free(real);
    free(path);
    return st;
}

/* trees/COMMIT.json lists what the commit holds.  It is an aid: one that is
 * damaged or of another version says nothing. */
static loam_status check_tree(const lookup *lk) {
    loam_json *doc = NULL;
    loam_status st = LOAM_OK;
    loam_err ignored;
    char *path = loam_format("%s/trees/%s.json", lk->repo_dir, lk->commit);
    if (!path) return loam_fail(lk->err, LOAM_ERR_MEMORY, "%s: path", lk->name.repo);

    int64_t version = 0;
    if (loam_json_read(&doc, path, MAX_TREE_BYTES, 0, &ignored) == LOAM_OK &&
        loam_json_int(loam_json_get(loam_json_root(doc), "format_version"), &version) &&
        version == 1) {
        const loam_json_value *files = loam_json_get(loam_json_root(doc), "files");
        int has_model_weights = 0;
        if (loam_json_type_of(files) != LOAM_JSON_OBJECT) files = NULL;
        for (const loam_json_value *f = loam_json_first(files); f; f = loam_json_next(f)) {
            const char *rel = loam_json_own_key(f, NULL);
            const size_t n = strlen(rel);
            if (strncmp(rel, "model", 5) == 0 && n > 12 && !strchr(rel, '/') &&
                strcmp(rel + n - 12, ".safetensors") == 0)
                has_model_weights = 1;
        }
        for (const loam_json_value *f = loam_json_first(files); f && !st; f = loam_json_next(f)) {
            const char *rel = loam_json_own_key(f, NULL);
            int64_t size = -1;
            if (!loam_hub_valid_path(rel) || !is_model_file(rel, has_model_weights)) continue;
            loam_json_int(loam_json_get(f, "size"), &size);
            st = check_file(lk, rel, size);
        }
    }
    loam_json_free(doc);
    free(path);
    return st;
}

/* Every shard that the index names must be there, tree file or not. */
static loam_status check_index(const lookup *lk) {
    loam_json *doc = NULL;
    loam_status st = LOAM_OK;
    loam_err ignored;
    char *path = loam_format("%s/model.safetensors.index.json", lk->snapshot);
    if (!path) return loam_fail(lk->err, LOAM_ERR_MEMORY, "%s: path", lk->name.repo);

    if (loam_json_read(&doc, path, MAX_TREE_BYTES, 0, &ignored) == LOAM_OK) {
        const loam_json_value *map = loam_json_get(loam_json_root(doc), "weight_map");
        const char *last = "";
        if (loam_json_type_of(map) != LOAM_JSON_OBJECT) map = NULL;
        for (const loam_json_value *f = loam_json_first(map); f && !st; f = loam_json_next(f)) {
            const char *rel = loam_json_string(f, NULL);
            /* names run shard by shard: asking once per change is enough */
            if (!rel || !loam_hub_valid_path(rel) || strcmp(rel, last) == 0) continue;
            st = check_file(lk, rel, -1);
            last = rel;
        }
    }
    loam_json_free(doc);
    free(path);
    return st;
}

/* No link may dangle or lead out of the model's folder; returns files seen in *n. */
static loam_status check_links(const lookup *lk, const char *rel, int depth, size_t *n) {
    loam_status st = LOAM_OK;
    char *path = *rel ? loam_format("%s/%s", lk->snapshot, rel) : loam_strdup(lk->snapshot);
    if (!path) return loam_fail(lk->err, LOAM_ERR_MEMORY, "%s: path", lk->name.repo);

    DIR *d = depth < MAX_DEPTH ? opendir(path) : NULL;
    for (const struct dirent *e; d && !st && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        struct stat sb;
        char *inner = loam_format("%s%s%s", rel, *rel ? "/" : "", e->d_name);
        char *full = inner ? loam_format("%s/%s", lk->snapshot, inner) : NULL;
        if (!full)
            st = loam_fail(lk->err, LOAM_ERR_MEMORY, "%s: path", lk->name.repo);
        else if (lstat(full, &sb) == 0 && S_ISDIR(sb.st_mode))
            st = check_links(lk, inner, depth + 1, n);
        else {
            st = check_file(lk, inner, -1);
            *n += 1;
        }
        free(full);
        free(inner);
    }
    if (d) closedir(d);
    free(path);
    return st;
}

static loam_status find_snapshot(lookup *lk) {
    size_t n_files = 0;
    loam_status st = loam_hub_repo_dir(&lk->repo_dir, lk->name.repo, lk->err);
    if (st) return st;
    st = find_commit(lk);
    if (st) return st;

    lk->snapshot = loam_format("%s/snapshots/%s", lk->repo_dir, lk->commit);
    if (!lk->snapshot) return loam_fail(lk->err, LOAM_ERR_MEMORY, "%s: path", lk->name.repo);
    char *real = realpath(lk->repo_dir, NULL);
    if (real && strlen(real) < sizeof lk->real_repo) memcpy(lk->real_repo, real, strlen(real) + 1);
    free(real);
    if (!lk->real_repo[0] || !loam_path_is_folder(lk->snapshot))
        return fail_missing(lk, "not in the cache of downloaded models ", lk->repo_dir);

    st = check_links(lk, "", 0, &n_files);
    if (!st && n_files == 0) st = fail_incomplete(lk, lk->snapshot, "is empty");
    if (!st) st = check_tree(lk);
    if (!st) st = check_index(lk);
    return st;
}

/* A folder of the loam model directory, "name" or "org/name"; NULL: none. */
static char *find_own_folder(const char *name) {
    char *base = NULL, *path = NULL;
    loam_err ignored;
    const char *v = get_variable("LOAM_MODELS");
    loam_status st;
    if (!loam_hub_valid_repo(name)) return NULL;
    if (v)
        st = expand_join(&base, v, "", &ignored);
    else if ((v = get_variable("XDG_DATA_HOME")))
        st = expand_join(&base, v, "loam/models", &ignored);
    else if ((v = get_home()))
        st = expand_join(&base, v, ".local/share/loam/models", &ignored);
    else
        return NULL;
    if (!st) path = loam_path_join(base, name);
    free(base);
    if (path && loam_path_is_folder(path)) return path;
    free(path);
    return NULL;
}

/* What stands at `name` when it is a path and not a folder. */
static loam_status fail_path(const char *name, loam_err *err) {
    const size_t n = strlen(name);
    if (loam_path_exists(name)) {
        if (n > 5 && strcmp(name + n - 5, ".gguf") == 0)
            return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                             "%s: is a GGUF file, not a model folder: run: loam convert %s FOLDER",
                             name, name);
        return loam_fail(err, LOAM_ERR_ARGUMENT, "%s: is a file, not a model folder", name);
    }
    return loam_fail(err, LOAM_ERR_NOT_FOUND,
                     "%s: no such folder: give a model folder or a name as in: loam pull org/name",
                     name);
}

loam_status loam_hub_find(char **out, const char *name, const char *revision, loam_err *err) {
    lookup *lk = NULL;
    loam_status st;
    loam_err bad_name = {0};

    *out = NULL;
    if (!*name) return loam_fail(err, LOAM_ERR_ARGUMENT, "model: empty name");
    if (loam_path_is_folder(name))
        *out = loam_strdup(name);
    else
        *out = find_own_folder(name);
    if (*out) return LOAM_OK;
    if (loam_path_exists(name)) return fail_path(name, err);

    lk = calloc(1, sizeof *lk);
    if (!lk) return loam_fail(err, LOAM_ERR_MEMORY, "%.200s: model lookup", name);
    lk->err = err;
    st = loam_hub_parse(&lk->name, name, revision, &bad_name);
    if (st) {
        /* "./x" and "/x" can only be meant as paths */
        const int path = name[0] == '/' || name[0] == '.' || name[0] == '~';
        st = path ? fail_path(name, err) : loam_fail(err, st, "%s", bad_name.msg);
    } else {
        st = find_snapshot(lk);
    }
    if (!st) {
        *out = lk->snapshot;
        lk->snapshot = NULL;
    }
    free(lk->snapshot);
    free(lk->repo_dir);
    free(lk);
    return st;
}
