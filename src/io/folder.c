/* folder.c - the weights of a model folder: which files they are, and that they belong
 * together.  Pickles are never opened. */
#include "io/arrays.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <sys/stat.h>

static const char INDEX[] = "model.safetensors.index.json";

typedef struct names {
    char **items;
    size_t n, cap;
} names;

static void names_deinit(names *l) {
    for (size_t i = 0; i < l->n; i++) free(l->items[i]);
    free(l->items);
    *l = (names){0};
}

static int names_add(names *l, const char *name) {
    void *items = l->items;
    if (!loam_grow(&items, &l->cap, l->n + 1, sizeof *l->items)) return 0;
    l->items = items;
    l->items[l->n] = loam_strdup(name);
    return l->items[l->n] ? (l->n++, 1) : 0;
}

static int compare_strings(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void names_sort(names *l) {
    if (l->n) qsort(l->items, l->n, sizeof *l->items, compare_strings);
}

static loam_status fail_memory(const char *folder, loam_err *err) {
    return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", folder);
}

static loam_status list_folder(names *all, const char *folder, loam_err *err) {
    DIR *d = opendir(folder);
    if (!d) return loam_fail_errno(err, errno, "%s: cannot open the model folder", folder);
    loam_status st = LOAM_OK;
    for (struct dirent *e = readdir(d); e && !st; e = readdir(d))
        if (!names_add(all, e->d_name)) st = fail_memory(folder, err);
    closedir(d);
    names_sort(all);
    return st;
}

static loam_status select_names(names *out, const names *all, const char *pattern,
                                const char *folder, loam_err *err) {
    for (size_t i = 0; i < all->n; i++)
        if (fnmatch(pattern, all->items[i], FNM_PERIOD) == 0 && !names_add(out, all->items[i]))
            return fail_memory(folder, err);
    return LOAM_OK;
}

/* A plain file name: it cannot lead out of the folder. */
static int is_plain_name(const char *name, size_t n) {
    return n > 0 && n < 256 && strlen(name) == n && !strchr(name, '/') && !strchr(name, '\\') &&
           strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* In a download cache (REPO/snapshots/REVISION/FILE -> REPO/blobs/...) a link that leads
 * out of REPO was not made by a download.  Elsewhere links are the user's own business. */
static loam_status check_link(const char *folder, const char *path, loam_err *err) {
    struct stat st;
    loam_status status = LOAM_OK;
    if (lstat(path, &st) != 0 || !S_ISLNK(st.st_mode)) return LOAM_OK;
    char *real = realpath(path, NULL), *base = realpath(folder, NULL);
    if (!real) {
        status = loam_fail(
            err, LOAM_ERR_NOT_FOUND,
            "%s: link to a file that is not there: incomplete download, run `loam pull`", path);
    } else if (base) {
        char *snapshots = strstr(base, "/snapshots/");
        if (snapshots) {
            snapshots[1] = '\0';
            if (strncmp(real, base, strlen(base)) != 0)
                status =
                    loam_fail(err, LOAM_ERR_FORMAT, "%s: link out of the model's folder", path);
        }
    }
    free(real);
    free(base);
    return status;
}

/* Drop tensors that the index assigns to another file: it decides between copies. */
static void apply_index(loam_arrays *a, size_t first, const loam_json_value *weight_map,
                        const char *file) {
    size_t n = first;
    for (size_t i = first; i < a->n; i++) {
        const char *owner = loam_json_string(loam_json_get(weight_map, a->tensors[i].name), NULL);
        if (owner && strcmp(owner, file) != 0) continue;
        a->tensors[n++] = a->tensors[i];
    }
    a->n = n;
}

static loam_status read_files(loam_arrays *a, const char *folder, const names *files,
                              const loam_json_value *weight_map, loam_err *err) {
    loam_status st = LOAM_OK;
    for (size_t i = 0; i < files->n && !st; i++) {
        const size_t first = a->n;
        char *path = loam_path_join(folder, files->items[i]);
        if (!path) return fail_memory(folder, err);
        st = check_link(folder, path, err);
        if (!st && weight_map && !loam_path_exists(path))
            st = loam_fail(err, LOAM_ERR_NOT_FOUND,
                           "%s: named by %s but missing: incomplete download, run `loam pull`",
                           path, INDEX);
        if (!st) st = loam_arrays_read_file(a, path, err);
        if (!st && weight_map) apply_index(a, first, weight_map, files->items[i]);
        free(path);
    }
    return st ? st : loam_arrays_finish(a, folder, err);
}

/* Every value of the map is a plain name; each file once, sorted. */
static loam_status index_files(names *files, const loam_json_value *weight_map, const char *path,
                               loam_err *err) {
    names all = {0};
    loam_status st = LOAM_OK;
    for (const loam_json_value *m = loam_json_first(weight_map); m && !st; m = loam_json_next(m)) {
        size_t n;
        const char *name = loam_json_string(m, &n);
        if (!name || !is_plain_name(name, n))
            st = loam_fail(err, LOAM_ERR_FORMAT, "%s: '%s' in weight_map is not a plain file name",
                           path, name ? name : "(not a string)");
        else if (!all.n || strcmp(all.items[all.n - 1], name) != 0)
            st = names_add(&all, name) ? LOAM_OK : fail_memory(path, err);
    }
    names_sort(&all);
    for (size_t i = 0; i < all.n && !st; i++)
        if (!files->n || strcmp(files->items[files->n - 1], all.items[i]) != 0)
            st = names_add(files, all.items[i]) ? LOAM_OK : fail_memory(path, err);
    names_deinit(&all);
    return st;
}

static loam_status check_index_complete(const loam_arrays *a, const loam_json_value *weight_map,
                                        const char *path, loam_err *err) {
    for (const loam_json_value *m = loam_json_first(weight_map); m; m = loam_json_next(m)) {
        const char *name = loam_json_own_key(m, NULL);
        if (!loam_arrays_find(a, name))
            return loam_fail(err, LOAM_ERR_FORMAT, "%s: tensor '%s' is not in %s", path, name,
                             loam_json_string(m, NULL));
    }
    return LOAM_OK;
}

static loam_status read_by_index(loam_arrays *a, const char *folder, loam_err *err) {
    loam_json *doc = NULL;
    names files = {0};
    char *path = loam_path_join(folder, INDEX);
    loam_status st = path ? check_link(folder, path, err) : fail_memory(folder, err);
    if (!st) st = loam_json_read(&doc, path, 0, LOAM_JSON_REJECT_DUPLICATES, err);
    const loam_json_value *weight_map = loam_json_get(loam_json_root(doc), "weight_map");
    if (!st && (loam_json_type_of(weight_map) != LOAM_JSON_OBJECT || !loam_json_count(weight_map)))
        st = loam_fail(err, LOAM_ERR_FORMAT, "%s: no weight_map", path);
    if (!st) st = index_files(&files, weight_map, path, err);
    if (!st) st = read_files(a, folder, &files, weight_map, err);
    if (!st) st = check_index_complete(a, weight_map, path, err);
    names_deinit(&files);
    loam_json_free(doc);
    free(path);
    return st;
}

/* Nothing to read: say what there is instead and what to do about it. */
static loam_status fail_no_weights(const names *all, const char *folder, loam_err *err) {
    static const char *const PICKLES[] = {"*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl"};
    for (size_t k = 0; k < sizeof PICKLES / sizeof PICKLES[0]; k++)
        for (size_t i = 0; i < all->n; i++)
            if (fnmatch(PICKLES[k], all->items[i], 0) == 0)
                return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                                 "%s: only pickled weights (%s), which loam never opens: take the "
                                 "model's safetensors version",
                                 folder, all->items[i]);
    for (size_t i = 0; i < all->n; i++)
        if (fnmatch("*.gguf", all->items[i], 0) == 0)
            return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                             "%s: only GGUF weights: run `loam convert %s/%s DST` first", folder,
                             folder, all->items[i]);
    for (size_t i = 0; i < all->n; i++)
        if (fnmatch("*.onnx", all->items[i], 0) == 0)
            return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                             "%s: only ONNX weights (%s): take the model's safetensors version",
                             folder, all->items[i]);
    return loam_fail(err, LOAM_ERR_NOT_FOUND,
                     "%s: no weights (model*.safetensors): incomplete download? run `loam pull`",
                     folder);
}

static loam_status read_folder(loam_arrays *a, const char *folder, loam_err *err) {
    static const char *const PATTERNS[] = {"model*.safetensors", "weights*.safetensors", "*.npz"};
    names all = {0}, files = {0};
    loam_status st = list_folder(&all, folder, err);
    for (size_t i = 0; i < all.n && !st; i++)
        if (strcmp(all.items[i], INDEX) == 0) {
            st = read_by_index(a, folder, err);
            goto done;
        }
    for (size_t k = 0; k < sizeof PATTERNS / sizeof PATTERNS[0] && !files.n && !st; k++)
        st = select_names(&files, &all, PATTERNS[k], folder, err);
    if (!st && !files.n) st = fail_no_weights(&all, folder, err);
    if (!st) st = read_files(a, folder, &files, NULL, err);
done:
    names_deinit(&all);
    names_deinit(&files);
    return st;
}

loam_status loam_arrays_open_folder(loam_arrays **out, const char *folder, loam_err *err) {
    *out = NULL;
    loam_arrays *a = calloc(1, sizeof *a);
    if (!a) return fail_memory(folder, err);
    const loam_status st = read_folder(a, folder, err);
    if (st) {
        loam_arrays_close(a);
        return st;
    }
    *out = a;
    return LOAM_OK;
}
