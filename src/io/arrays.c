/* arrays.c - the set of arrays: filling, finding, closing, and opening one file by its
 * content.  Folders are in folder.c, the formats in files of their names. */
#include "io/arrays.h"
#include "io/zip.h"

loam_tensor *loam_arrays_add(loam_arrays *a, const char *name, loam_err *err) {
    if (a->n >= LOAM_MAX_TENSORS) {
        loam_fail(err, LOAM_ERR_LIMIT, "%s: more than %d arrays", name, LOAM_MAX_TENSORS);
        return NULL;
    }
    void *tensors = a->tensors;
    if (!loam_grow(&tensors, &a->cap, a->n + 1, sizeof *a->tensors)) {
        loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory for %zu arrays", name, a->n + 1);
        return NULL;
    }
    a->tensors = tensors;
    loam_tensor *t = &a->tensors[a->n++];
    *t = (loam_tensor){.name = name};
    return t;
}

loam_status loam_arrays_own(loam_arrays *a, void *block, loam_err *err) {
    void *blocks = a->blocks;
    if (!loam_grow(&blocks, &a->cap_blocks, a->n_blocks + 1, sizeof *a->blocks)) {
        free(block);
        return loam_fail(err, LOAM_ERR_MEMORY, "out of memory for %zu arrays", a->n_blocks + 1);
    }
    a->blocks = blocks;
    a->blocks[a->n_blocks++] = block;
    return LOAM_OK;
}

loam_status loam_arrays_own_json(loam_arrays *a, loam_json *doc, loam_err *err) {
    void *docs = a->docs;
    if (!loam_grow(&docs, &a->cap_docs, a->n_docs + 1, sizeof(loam_json *))) {
        loam_json_free(doc);
        return loam_fail(err, LOAM_ERR_MEMORY, "out of memory for a header");
    }
    a->docs = docs;
    a->docs[a->n_docs++] = doc;
    return LOAM_OK;
}

static int compare_names(const void *x, const void *y) {
    const loam_tensor *a = x, *b = y;
    return strcmp(a->name, b->name);
}

loam_status loam_arrays_finish(loam_arrays *a, const char *what, loam_err *err) {
    if (a->n) qsort(a->tensors, a->n, sizeof *a->tensors, compare_names);
    for (size_t i = 1; i < a->n; i++)
        if (strcmp(a->tensors[i - 1].name, a->tensors[i].name) == 0)
            return loam_fail(err, LOAM_ERR_FORMAT, "%s: array '%s' occurs twice", what,
                             a->tensors[i].name);
    return LOAM_OK;
}

/* Read a file of any kind into `a`, whose first file decides what the set is. */
static loam_status read_any(loam_arrays *a, loam_bytes file, loam_err *err) {
    a->file_bytes += file.n;
    if (file.n >= 4 && memcmp(file.p, "GGUF", 4) == 0) {
        a->container = LOAM_GGUF;
        return loam_gguf_read(a, file, err);
    }
    if (file.n >= 6 && memcmp(file.p, "\x93NUMPY", 6) == 0) {
        a->container = LOAM_NPY;
        return loam_npy_read(a, file, "", err);
    }
    if (file.n >= 9 && file.p[8] == '{') { /* no zip has '{' there: a method's high byte */
        a->container = LOAM_SAFETENSORS;
        return loam_safetensors_read(a, file, err);
    }
    if (loam_zip_looks_like(file.p, file.n)) {
        a->container = LOAM_NPZ;
        return loam_npz_read(a, file, err);
    }
    if (file.n >= 2 && (memcmp(file.p, "\x80\x02", 2) == 0 || memcmp(file.p, "\x80\x04", 2) == 0))
        return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                         "%s: a Python pickle, which loam never opens: convert it to safetensors",
                         file.name);
    return loam_fail(err, LOAM_ERR_FORMAT,
                     "%s: damaged, or not a safetensors, npy, npz or GGUF file (%zu bytes)",
                     file.name, file.n);
}

loam_status loam_arrays_read_file(loam_arrays *a, const char *path, loam_err *err) {
    void *maps = a->maps;
    if (!loam_grow(&maps, &a->cap_maps, a->n_maps + 1, sizeof *a->maps))
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", path);
    a->maps = maps;
    loam_map *map = &a->maps[a->n_maps];
    const loam_status st = loam_map_open(map, path, err);
    if (st) return st;
    a->n_maps++;
    static const unsigned char NOTHING[1];
    return read_any(a, (loam_bytes){map->size ? map->base : NOTHING, map->size, path}, err);
}

loam_status loam_arrays_open(loam_arrays **out, const char *path, loam_err *err) {
    *out = NULL;
    loam_arrays *a = calloc(1, sizeof *a);
    if (!a) return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", path);
    loam_status st = loam_arrays_read_file(a, path, err);
    if (!st) st = loam_arrays_finish(a, path, err);
    if (st) {
        loam_arrays_close(a);
        return st;
    }
    *out = a;
    return LOAM_OK;
}

loam_status loam_arrays_open_memory(loam_arrays **out, loam_bytes file, loam_err *err) {
    *out = NULL;
    loam_arrays *a = calloc(1, sizeof *a);
    if (!a) return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", file.name);
    loam_status st = read_any(a, file, err);
    if (!st) st = loam_arrays_finish(a, file.name, err);
    if (st) {
        loam_arrays_close(a);
        return st;
    }
    *out = a;
    return LOAM_OK;
}

void loam_arrays_close(loam_arrays *a) {
    if (!a) return;
    for (size_t i = 0; i < a->n_maps; i++) loam_map_close(&a->maps[i]);
    for (size_t i = 0; i < a->n_docs; i++) loam_json_free(a->docs[i]);
    for (size_t i = 0; i < a->n_blocks; i++) free(a->blocks[i]);
    free(a->maps);
    free(a->docs);
    free(a->blocks);
    free(a->tensors);
    free(a);
}

loam_container loam_arrays_container(const loam_arrays *a) {
    return a->container;
}
size_t loam_arrays_count(const loam_arrays *a) {
    return a->n;
}
uint64_t loam_arrays_file_bytes(const loam_arrays *a) {
    return a->file_bytes;
}
const loam_json_value *loam_arrays_metadata(const loam_arrays *a) {
    return a->metadata;
}

const loam_tensor *loam_arrays_at(const loam_arrays *a, size_t i) {
    return i < a->n ? &a->tensors[i] : NULL;
}

const loam_tensor *loam_arrays_find(const loam_arrays *a, const char *name) {
    const loam_tensor key = {.name = name};
    return a->n ? bsearch(&key, a->tensors, a->n, sizeof key, compare_names) : NULL;
}
