/* safetensors.c - the safetensors format, read and written.
 *
 *     | u64 N | N bytes of JSON, maybe padded with spaces | data |
 *
 * Read as strictly as the format's own library does: offsets cover the data without
 * hole, overlap or rest.  MLX writes no padding, so data stands at any address.
 */
#include "io/arrays.h"
#include "io/file_out.h"

#include <stdio.h>

enum { MAX_HEADER_BYTES = 100000000 };

static const struct {
    const char *name;
    loam_dtype dtype;
} DTYPES[] = {
    {"BOOL", LOAM_BOOL},       {"U8", LOAM_U8},           {"I8", LOAM_I8},
    {"U16", LOAM_U16},         {"I16", LOAM_I16},         {"F16", LOAM_F16},
    {"BF16", LOAM_BF16},       {"U32", LOAM_U32},         {"I32", LOAM_I32},
    {"F32", LOAM_F32},         {"U64", LOAM_U64},         {"I64", LOAM_I64},
    {"F64", LOAM_F64},         {"C64", LOAM_C64},         {"F8_E4M3", LOAM_F8_E4M3},
    {"F8_E5M2", LOAM_F8_E5M2}, {"F8_E8M0", LOAM_F8_E8M0},
};
enum { N_DTYPES = sizeof DTYPES / sizeof DTYPES[0] };

/* Sound by the format, but nothing here computes with them. */
static const char *const UNSUPPORTED[] = {"F4", "F6_E2M3", "F6_E3M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"};

/* ---- reading ---- */

static loam_status fail_tensor(loam_bytes file, const char *name, const char *why, loam_err *err) {
    return loam_fail(err, LOAM_ERR_FORMAT, "%s: tensor '%s': %s", file.name, name, why);
}

static loam_status read_dtype(loam_tensor *t, const loam_json_value *info, loam_bytes file,
                              loam_err *err) {
    const char *name = loam_json_string(loam_json_get(info, "dtype"), NULL);
    if (!name) return fail_tensor(file, t->name, "dtype is missing or not a string", err);
    for (size_t i = 0; i < N_DTYPES; i++)
        if (strcmp(name, DTYPES[i].name) == 0) {
            t->dtype = DTYPES[i].dtype;
            return LOAM_OK;
        }
    for (size_t i = 0; i < sizeof UNSUPPORTED / sizeof UNSUPPORTED[0]; i++)
        if (strcmp(name, UNSUPPORTED[i]) == 0)
            return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                             "%s: tensor '%s': dtype %s is not supported", file.name, t->name,
                             name);
    return loam_fail(err, LOAM_ERR_FORMAT, "%s: tensor '%s': unknown dtype '%s'", file.name,
                     t->name, name);
}

/* A count or an offset: written as an integer (2.0 is none here), not negative. */
static int read_count(const loam_json_value *v, uint64_t *out) {
    int64_t i;
    if (loam_json_type_of(v) != LOAM_JSON_INT || !loam_json_int(v, &i) || i < 0) return 0;
    *out = (uint64_t)i;
    return 1;
}

static loam_status read_shape(loam_tensor *t, const loam_json_value *info, loam_bytes file,
                              loam_err *err) {
    const loam_json_value *shape = loam_json_get(info, "shape");
    if (loam_json_type_of(shape) != LOAM_JSON_ARRAY)
        return fail_tensor(file, t->name, "shape is missing or not a list", err);
    const size_t rank = loam_json_count(shape);
    if (rank > LOAM_MAX_RANK)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: tensor '%s': %zu dimensions, at most %d",
                         file.name, t->name, rank, LOAM_MAX_RANK);
    t->rank = (int)rank;
    for (size_t i = 0; i < rank; i++)
        if (!read_count(loam_json_at(shape, i), &t->shape[i]))
            return fail_tensor(file, t->name, "a dimension is not a whole number from 0 up", err);
    return LOAM_OK;
}

/* Only the range is set: `data` holds the offset until check_cover has seen all. */
static loam_status read_tensor(loam_arrays *a, const loam_json_value *info, loam_bytes file,
                               loam_bytes data, loam_err *err) {
    size_t n_name;
    uint64_t begin, end, need;
    const char *name = loam_json_own_key(info, &n_name);
    if (strlen(name) != n_name) return fail_tensor(file, name, "name holds a NUL", err);
    loam_tensor *t = loam_arrays_add(a, name, err);
    if (!t) return LOAM_ERR_MEMORY;
    if (loam_json_type_of(info) != LOAM_JSON_OBJECT)
        return fail_tensor(file, name, "is not an object", err);
    loam_status st = read_dtype(t, info, file, err);
    if (!st) st = read_shape(t, info, file, err);
    if (st) return st;

    const loam_json_value *offsets = loam_json_get(info, "data_offsets");
    if (loam_json_type_of(offsets) != LOAM_JSON_ARRAY || loam_json_count(offsets) != 2 ||
        !read_count(loam_json_at(offsets, 0), &begin) ||
        !read_count(loam_json_at(offsets, 1), &end))
        return fail_tensor(file, name, "data_offsets are not two whole numbers", err);
    if (begin > end || end > data.n)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: tensor '%s': data_offsets [%llu, %llu] outside the %zu bytes of data "
                         "(file cut short?)",
                         file.name, name, (unsigned long long)begin, (unsigned long long)end,
                         data.n);
    if (!loam_tensor_bytes(t, &need) || need != end - begin)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: tensor '%s': shape and dtype do not fill its %llu bytes", file.name,
                         name, (unsigned long long)(end - begin));
    t->data = data.p + begin;
    t->bytes = need;
    return LOAM_OK;
}

static int compare_places(const void *x, const void *y) {
    const loam_tensor *a = x, *b = y;
    const unsigned char *p = a->data, *q = b->data;
    if (p != q) return p < q ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

/* The ranges, sorted, follow each other from the first byte of the data to the last. */
static loam_status check_cover(loam_arrays *a, size_t first, loam_bytes file, loam_bytes data,
                               loam_err *err) {
    const unsigned char *at = data.p;
    const size_t n = a->n - first;
    loam_tensor *tensors = n ? a->tensors + first : NULL;
    if (n) qsort(tensors, n, sizeof *tensors, compare_places);
    for (size_t i = 0; i < n; i++) {
        const unsigned char *begin = tensors[i].data;
        if (begin != at)
            return fail_tensor(file, tensors[i].name,
                               begin < at ? "its data overlaps another tensor's"
                                          : "its data leaves a hole before it",
                               err);
        at = begin + tensors[i].bytes;
    }
    if (at != data.p + data.n)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: %zu bytes after the last tensor", file.name,
                         (size_t)(data.p + data.n - at));
    return LOAM_OK;
}

/* MLX writes null for no metadata; anything but text in it is nothing we could use. */
static void take_metadata(loam_arrays *a, const loam_json_value *v) {
    if (a->metadata || loam_json_type_of(v) != LOAM_JSON_OBJECT) return;
    for (const loam_json_value *m = loam_json_first(v); m; m = loam_json_next(m))
        if (loam_json_type_of(m) != LOAM_JSON_STRING) return;
    a->metadata = v;
}

loam_status loam_safetensors_read(loam_arrays *a, loam_bytes file, loam_err *err) {
    loam_json *doc;
    if (file.n < 8)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: %zu bytes are no safetensors file", file.name,
                         file.n);
    const uint64_t n_header = loam_read_u64(file.p);
    if (n_header < 2 || n_header > MAX_HEADER_BYTES || n_header > file.n - 8)
        return loam_fail(
            err, LOAM_ERR_FORMAT,
            "%s: header of %llu bytes in a file of %zu (cut short, or not safetensors)", file.name,
            (unsigned long long)n_header, file.n);
    if (file.p[8] != '{')
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: header does not start with '{'", file.name);

    const size_t first = a->n;
    char where[256];
    (void)snprintf(where, sizeof where, "%s: header", file.name);
    loam_status st = loam_json_parse(&doc, (const char *)file.p + 8, (size_t)n_header, where,
                                     LOAM_JSON_REJECT_DUPLICATES, err);
    if (st) return st;
    st = loam_arrays_own_json(a, doc, err);
    if (st) return st;
    const loam_bytes data = {file.p + 8 + n_header, file.n - 8 - (size_t)n_header, file.name};
    const loam_json_value *v = loam_json_first(loam_json_root(doc));
    for (; v && !st; v = loam_json_next(v)) {
        if (strcmp(loam_json_own_key(v, NULL), "__metadata__") == 0)
            take_metadata(a, v);
        else
            st = read_tensor(a, v, file, data, err);
    }
    return st ? st : check_cover(a, first, file, data, err);
}

/* ---- writing ---- */

typedef struct entry {
    const loam_tensor *tensor;
    uint64_t begin;
} entry;

static int compare_entries(const void *x, const void *y) {
    const entry *a = x, *b = y;
    return strcmp(a->tensor->name, b->tensor->name);
}

static const char *dtype_name(loam_dtype d) {
    for (size_t i = 0; i < N_DTYPES; i++)
        if (DTYPES[i].dtype == d) return DTYPES[i].name;
    return NULL;
}

static void put_entry(loam_buf *b, const entry *e) {
    const loam_tensor *t = e->tensor;
    const uint64_t end = e->begin + t->bytes;
    loam_buf_putc(b, ',');
    loam_json_put_string(b, t->name, strlen(t->name));
    loam_buf_printf(b, ":{\"data_offsets\":[%llu,%llu],\"dtype\":\"%s\",\"shape\":[",
                    (unsigned long long)e->begin, (unsigned long long)end, dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++)
        loam_buf_printf(b, "%s%llu", i ? "," : "", (unsigned long long)t->shape[i]);
    loam_buf_puts(b, "]}");
}

/* What the reader would refuse is not written. */
static loam_status check_tensors(const loam_tensor *tensors, size_t n, const char *path,
                                 loam_err *err) {
    uint64_t need;
    for (size_t i = 0; i < n; i++) {
        const loam_tensor *t = &tensors[i];
        if (!dtype_name(t->dtype))
            return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: tensor '%s': safetensors has no %s",
                             path, t->name, loam_dtype_name(t->dtype));
        if (t->rank < 0 || t->rank > LOAM_MAX_RANK || !loam_tensor_bytes(t, &need) ||
            need != t->bytes)
            return loam_fail(err, LOAM_ERR_ARGUMENT, "%s: tensor '%s': shape and bytes differ",
                             path, t->name);
    }
    return LOAM_OK;
}

/* Keys sorted, "__metadata__" first, padded with spaces so that data starts at a multiple
 * of 64 (the format lets us; MLX's writer does not). */
static loam_status make_header(loam_buf *b, const loam_tensor *tensors, size_t n,
                               const char *metadata, loam_err *err) {
    entry *entries = loam_alloc(n, sizeof *entries);
    loam_status st = LOAM_OK;
    uint64_t at = 0;
    if (!entries) return loam_fail(err, LOAM_ERR_MEMORY, "out of memory for a header");
    for (size_t i = 0; i < n; i++) {
        entries[i] = (entry){&tensors[i], at};
        at += tensors[i].bytes;
    }
    if (n) qsort(entries, n, sizeof *entries, compare_entries);
    if (metadata) loam_buf_printf(b, ",\"__metadata__\":%s", metadata);
    for (size_t i = 0; i < n && !st; i++) {
        if (i && compare_entries(&entries[i - 1], &entries[i]) == 0)
            st = loam_fail(err, LOAM_ERR_ARGUMENT, "tensor '%s' occurs twice",
                           entries[i].tensor->name);
        put_entry(b, &entries[i]);
    }
    free(entries);
    if (!b->n) loam_buf_putc(b, '{');
    loam_buf_putc(b, '}');
    while (!b->failed && (b->n + 8) % 64) loam_buf_putc(b, ' ');
    if (b->failed) return loam_fail(err, LOAM_ERR_MEMORY, "out of memory for a header");
    b->data[0] = '{'; /* where the first comma stands */
    if (!st && b->n > MAX_HEADER_BYTES)
        st = loam_fail(err, LOAM_ERR_LIMIT, "header of %zu bytes, at most %d", b->n,
                       MAX_HEADER_BYTES);
    return st;
}

loam_status loam_safetensors_write(const char *path, const loam_tensor *tensors, size_t n,
                                   const char *metadata, loam_err *err) {
    loam_buf header = {0};
    loam_file_out o;
    loam_status st = check_tensors(tensors, n, path, err);
    if (!st) st = make_header(&header, tensors, n, metadata, err);
    if (!st) st = loam_file_out_open(&o, path, 0666, err);
    if (!st) {
        const uint64_t n_header = header.n;
        unsigned char length[8];
        for (int i = 0; i < 8; i++) length[i] = (unsigned char)(n_header >> (8 * i));
        loam_file_out_write(&o, length, sizeof length);
        loam_file_out_write(&o, header.data, header.n);
        for (size_t i = 0; i < n; i++)
            loam_file_out_write(&o, tensors[i].data, (size_t)tensors[i].bytes);
        st = loam_file_out_commit(&o, err);
    }
    loam_buf_deinit(&header);
    return st;
}
