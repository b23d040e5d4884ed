/* index.c - an index opened for reading: every member checked, texts decoded, vectors as f32.
 *
 * The file holds texts as code points, four bytes or more each; they become one
 * UTF-8 block at opening.  The reference's own loader forgets to add up offsets
 * and shows most texts wrong: here lengths are summed, and what it would show
 * wrong is only counted.
 */
#include "rag/index.h"
#include "text/utf8.h"
#include <loam/tensor.h>
#include <math.h>

/* Strings of the file: UTF-8 in one block, string i at text + at[i] .. at[i + 1]. */
typedef struct strings {
    const loam_tensor *data, *lengths; /* NULL: the file has none */
    char *text;
    size_t *begin, *end; /* [n] */
} strings;

struct loam_index {
    loam_arrays *arrays;
    size_t count, dim;
    strings chunks, sources;
    const float *vectors; /* [count, dim] */
    float *own_vectors;   /* when they could not be used in place */
    loam_flat *flat;      /* over them */
    int scaled;
    loam_sidecar side;
};

/* ---- integers of any width ---- */

static int is_integer(loam_dtype d) {
    return d == LOAM_U8 || d == LOAM_I8 || d == LOAM_U16 || d == LOAM_I16 || d == LOAM_U32 ||
           d == LOAM_I32 || d == LOAM_U64 || d == LOAM_I64;
}

/* Element i; what does not fit int64 is as wrong as a negative number. */
static int64_t read_int(const loam_tensor *t, size_t i) {
    const unsigned char *p = t->data;
    switch (t->dtype) {
    case LOAM_U8: return p[i];
    case LOAM_I8: return (int8_t)p[i];
    case LOAM_U16: return loam_read_u16(p + 2 * i);
    case LOAM_I16: return (int16_t)loam_read_u16(p + 2 * i);
    case LOAM_U32: return loam_read_u32(p + 4 * i);
    case LOAM_I32: return (int32_t)loam_read_u32(p + 4 * i);
    default: return (int64_t)loam_read_u64(p + 8 * i);
    }
}

static loam_status check_vector_of_ints(const loam_tensor *t, const char *path, loam_err *err) {
    if (t->rank != 1)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: %s has %d dimensions, not 1", path, t->name,
                         t->rank);
    if (!is_integer(t->dtype) && t->shape[0] > 0) /* mlx writes an empty array as f32 */
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: %s is %s, not integers", path, t->name,
                         loam_dtype_name(t->dtype));
    return LOAM_OK;
}

/* ---- strings ---- */

/* Find the pair NAME_data, NAME_lengths: both, or neither. */
static loam_status find_pair(strings *s, const loam_arrays *a, const char *data,
                             const char *lengths, const char *path, loam_err *err) {
    s->data = loam_arrays_find(a, data);
    s->lengths = loam_arrays_find(a, lengths);
    if (!s->data && !s->lengths) return LOAM_OK;
    if (!s->data || !s->lengths)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: has %s but no %s: not a whole index", path,
                         s->data ? data : lengths, s->data ? lengths : data);
    const loam_status st = check_vector_of_ints(s->data, path, err);
    return st ? st : check_vector_of_ints(s->lengths, path, err);
}

/* Lengths are not negative and add up to the data. */
static loam_status check_lengths(const strings *s, size_t n, const char *path, loam_err *err) {
    if (s->lengths->shape[0] != n)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: %s has %llu entries for %zu chunks", path,
                         s->lengths->name, (unsigned long long)s->lengths->shape[0], n);
    uint64_t left = s->data->shape[0];
    for (size_t i = 0; i < n; i++) {
        const int64_t len = read_int(s->lengths, i);
        if (len < 0 || (uint64_t)len > left)
            return loam_fail(err, LOAM_ERR_FORMAT,
                             "%s: %s[%zu] is %lld, more than the %llu code points left", path,
                             s->lengths->name, i, (long long)len, (unsigned long long)left);
        left -= (uint64_t)len;
    }
    if (left)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: %llu of %s left over after the last chunk",
                         path, (unsigned long long)left, s->data->name);
    return LOAM_OK;
}

static size_t element_bytes(const loam_tensor *t) {
    return loam_dtype_bytes(t->dtype);
}

/* UTF-8 of code points [from, from + n) at `out`; NULL when one is none, its index in *bad. */
static char *decode_run(const loam_tensor *t, size_t from, size_t n, char *out, size_t *bad) {
    for (size_t i = from; i < from + n; i++) {
        const int64_t c = read_int(t, i);
        if (c >= 0 && c < 0x80) {
            *out++ = (char)c;
            continue;
        }
        if (c < 0 || c > 0x10ffff) {
            *bad = i;
            return NULL;
        }
        /* Python can hold half a surrogate pair; UTF-8 cannot */
        out += loam_utf8_put(out, c >= 0xd800 && c < 0xe000 ? 0xfffd : (uint32_t)c);
    }
    return out;
}

static size_t utf8_bytes(const loam_tensor *t, size_t n) {
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const int64_t c = read_int(t, i);
        bytes += c >= 0x10000 ? 4 : c >= 0x800 ? 3 : c >= 0x80 ? 2 : 1;
    }
    return bytes;
}

static loam_status decode_strings(strings *s, size_t n, const char *path, loam_err *err) {
    const size_t n_data = (size_t)s->data->shape[0], size = element_bytes(s->data);
    const unsigned char *raw = s->data->data;
    s->text = malloc(utf8_bytes(s->data, n_data) + 1);
    s->begin = loam_alloc(n, sizeof *s->begin);
    s->end = loam_alloc(n, sizeof *s->end);
    if (!s->text || !s->begin || !s->end)
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: no memory for the texts of %zu chunks", path,
                         n);
    char *out = s->text;
    size_t at = 0, before = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t len = (size_t)read_int(s->lengths, i);
        const size_t last = i ? (size_t)read_int(s->lengths, i - 1) : SIZE_MAX;
        /* the same source stands once for each of its chunks: keep it once */
        if (len == last && memcmp(raw + at * size, raw + before * size, len * size) == 0) {
            s->begin[i] = s->begin[i - 1];
            s->end[i] = s->end[i - 1];
        } else {
            size_t bad = 0;
            s->begin[i] = (size_t)(out - s->text);
            out = decode_run(s->data, at, len, out, &bad);
            if (!out)
                return loam_fail(err, LOAM_ERR_FORMAT, "%s: %s[%zu] is %lld, not a code point",
                                 path, s->data->name, bad, (long long)read_int(s->data, bad));
            s->end[i] = (size_t)(out - s->text);
        }
        before = at;
        at += len;
    }
    return LOAM_OK;
}

static void free_strings(strings *s) {
    free(s->text);
    free(s->begin);
    free(s->end);
}

/* ---- vectors ---- */

static double sum_squares(const float *x, size_t n) {
    double s[4] = {0};
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (size_t k = 0; k < 4; k++) s[k] += (double)x[i + k] * (double)x[i + k];
    for (; i < n; i++) s[0] += (double)x[i] * (double)x[i];
    return s[0] + s[1] + s[2] + s[3];
}

/* f32 where they are when the file allows, else a copy. */
static loam_status load_vectors(loam_index *ix, const loam_tensor *t, int copy, const char *path,
                                loam_err *err) {
    const size_t n = ix->count * ix->dim; /* bounded by the tensor's bytes */
    if (t->dtype == LOAM_F32 && !copy && (uintptr_t)t->data % sizeof(float) == 0) {
        ix->vectors = (const float *)t->data;
        return LOAM_OK;
    }
    ix->own_vectors = loam_alloc(n ? n : 1, sizeof *ix->own_vectors);
    if (!ix->own_vectors)
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: no memory for %zu vectors of %zu", path,
                         ix->count, ix->dim);
    ix->vectors = ix->own_vectors;
    if (t->dtype != LOAM_F32) return loam_tensor_to_f32(t, 0, n, ix->own_vectors, err);
    if (n) memcpy(ix->own_vectors, t->data, n * sizeof *ix->own_vectors);
    return LOAM_OK;
}

/* Every number is finite; sets `far` when a row is not of unit length (bf16 rows stray by 1e-3). */
static loam_status check_vectors(const loam_index *ix, const char *path, int *far, loam_err *err) {
    *far = 0;
    for (size_t i = 0; i < ix->count; i++) {
        const double s = sum_squares(ix->vectors + i * ix->dim, ix->dim);
        if (!isfinite(s))
            return loam_fail(err, LOAM_ERR_FORMAT, "%s: embeddings row %zu holds NaN or infinity",
                             path, i);
        if (fabs(s - 1) > 0.02) *far = 1;
    }
    return LOAM_OK;
}

static void scale_rows(loam_index *ix) {
    for (size_t i = 0; i < ix->count; i++) {
        float *row = ix->own_vectors + i * ix->dim;
        const double s = sum_squares(row, ix->dim), by = s > 0 ? 1 / sqrt(s) : 1;
        for (size_t k = 0; k < ix->dim; k++) row[k] = (float)((double)row[k] * by);
    }
    ix->scaled = 1;
}

static loam_status bind_vectors(loam_index *ix, const char *path, loam_err *err) {
    const loam_tensor *t = loam_arrays_find(ix->arrays, "embeddings");
    if (!t) return loam_fail(err, LOAM_ERR_FORMAT, "%s: no member embeddings: not an index", path);
    if (t->rank != 2)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: embeddings has %d dimensions, not 2", path,
                         t->rank);
    if (t->dtype != LOAM_F32 && t->dtype != LOAM_F16 && t->dtype != LOAM_BF16 &&
        t->dtype != LOAM_F64)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: embeddings is %s, not floating point", path,
                         loam_dtype_name(t->dtype));
    if (t->shape[1] == 0 || t->shape[1] > LOAM_INDEX_MAX_DIM)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: embeddings has rows of %llu numbers", path,
                         (unsigned long long)t->shape[1]);
    if (t->shape[0] != ix->count)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: %llu vectors for %zu chunks", path,
                         (unsigned long long)t->shape[0], ix->count);
    ix->dim = (size_t)t->shape[1];
    int far = 0;
    loam_status st = load_vectors(ix, t, 0, path, err);
    if (!st) st = check_vectors(ix, path, &far, err);
    if (st || !far) return st;
    if (!ix->own_vectors) st = load_vectors(ix, t, 1, path, err);
    if (!st) scale_rows(ix);
    return st;
}

/* ---- opening ---- */

static loam_status bind_members(loam_index *ix, const char *path, loam_err *err) {
    strings meta = {0}; /* JSON texts of a later revision of the reference: checked, not used */
    const loam_container kind = loam_arrays_container(ix->arrays);
    if (kind != LOAM_NPZ && kind != LOAM_SAFETENSORS)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: not an index (.npz)", path);
    loam_status st = find_pair(&ix->chunks, ix->arrays, "chunk_data", "chunk_lengths", path, err);
    if (!st && !ix->chunks.data)
        st = loam_fail(err, LOAM_ERR_FORMAT,
                       "%s: no members chunk_data and chunk_lengths: not an index", path);
    if (!st) st = find_pair(&ix->sources, ix->arrays, "source_data", "source_lengths", path, err);
    if (!st) st = find_pair(&meta, ix->arrays, "metadata_data", "metadata_lengths", path, err);
    if (st) return st;
    ix->count = (size_t)ix->chunks.lengths->shape[0];
    st = check_lengths(&ix->chunks, ix->count, path, err);
    if (!st && ix->sources.data) st = check_lengths(&ix->sources, ix->count, path, err);
    if (!st && meta.data) st = check_lengths(&meta, ix->count, path, err);
    if (!st) st = bind_vectors(ix, path, err);
    if (!st) st = decode_strings(&ix->chunks, ix->count, path, err);
    if (!st && ix->sources.data) st = decode_strings(&ix->sources, ix->count, path, err);
    return st;
}

loam_status loam_index_open(loam_index **out, const char *path, loam_err *err) {
    *out = NULL;
    loam_index *ix = calloc(1, sizeof *ix);
    if (!ix) return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", path);
    loam_status st = loam_arrays_open(&ix->arrays, path, err);
    if (!st) st = bind_members(ix, path, err);
    if (!st) st = loam_sidecar_read(&ix->side, path, ix->count, err);
    if (!st) st = loam_flat_new(&ix->flat, ix->vectors, ix->count, ix->dim, err);
    if (st) {
        loam_index_close(ix);
        return st;
    }
    *out = ix;
    return LOAM_OK;
}

void loam_index_close(loam_index *ix) {
    if (!ix) return;
    free_strings(&ix->chunks);
    free_strings(&ix->sources);
    loam_flat_free(ix->flat);
    free(ix->own_vectors);
    loam_sidecar_deinit(&ix->side);
    loam_arrays_close(ix->arrays);
    free(ix);
}

/* ---- asking ---- */

size_t loam_index_count(const loam_index *ix) {
    return ix->count;
}
size_t loam_index_dim(const loam_index *ix) {
    return ix->dim;
}
const loam_index_meta *loam_index_get_meta(const loam_index *ix) {
    return &ix->side.meta;
}
int loam_index_was_scaled(const loam_index *ix) {
    return ix->scaled;
}
size_t loam_index_n_documents(const loam_index *ix) {
    return ix->side.n_documents;
}

const loam_index_document *loam_index_document_at(const loam_index *ix, size_t i) {
    LOAM_ASSERT(i < ix->side.n_documents);
    return &ix->side.documents[i];
}

const float *loam_index_vector(const loam_index *ix, uint64_t id) {
    LOAM_ASSERT(id < ix->count);
    return ix->vectors + id * ix->dim;
}

loam_flat *loam_index_flat(const loam_index *ix) {
    return ix->flat;
}

static loam_text string_at(const strings *s, size_t i) {
    if (!s->data) return (loam_text){"", 0};
    return (loam_text){s->text + s->begin[i], s->end[i] - s->begin[i]};
}

loam_chunk loam_index_chunk(const loam_index *ix, uint64_t id) {
    LOAM_ASSERT(id < ix->count);
    const loam_sidecar *s = &ix->side;
    return (loam_chunk){.text = string_at(&ix->chunks, (size_t)id),
                        .source = string_at(&ix->sources, (size_t)id),
                        .page = s->pages ? s->pages[id] : 0,
                        .begin = s->begins ? s->begins[id] : -1,
                        .end = s->ends ? s->ends[id] : -1};
}

/* The reference sets its offset to each length instead of adding it: from the third string on it
 * shows data[length before : length before + length]. */
static size_t count_damage(const strings *s, size_t n) {
    size_t wrong = 0, at = 0;
    if (!s->data) return 0;
    const size_t total = (size_t)s->data->shape[0], size = element_bytes(s->data);
    const unsigned char *raw = s->data->data;
    for (size_t i = 0; i < n; i++) {
        const size_t len = (size_t)read_int(s->lengths, i);
        const size_t shown = i == 0 ? 0 : (size_t)read_int(s->lengths, i - 1);
        if (len &&
            (total - len < shown || memcmp(raw + at * size, raw + shown * size, len * size) != 0))
            wrong++;
        at += len;
    }
    return wrong;
}

void loam_index_reference_damage(const loam_index *ix, size_t *texts, size_t *sources) {
    *texts = count_damage(&ix->chunks, ix->count);
    *sources = count_damage(&ix->sources, ix->count);
}

loam_status loam_index_check_embedder(const loam_index *ix, const loam_embedder *e,
                                      const char *path, loam_err *err) {
    const loam_index_meta *m = &ix->side.meta;
    const char *name = m->model_id[0] ? m->model_id : "another embedder";
    if (m->fingerprint[0] && strcmp(m->fingerprint, loam_embedder_fingerprint(e)) != 0)
        return loam_fail(err, LOAM_ERR_ARGUMENT,
                         "%s: made with another embedder (%s, fingerprint %.12s; this one: %.12s): "
                         "pass --embed-model with that one, or make the index again with 'loam "
                         "ingest'",
                         path, name, m->fingerprint, loam_embedder_fingerprint(e));
    if (ix->count && loam_embedder_dim(e) != ix->dim)
        return loam_fail(err, LOAM_ERR_ARGUMENT,
                         "%s: holds vectors of %zu numbers (%s), this embedder makes %zu: pass "
                         "--embed-model with the one that made it, or make the index again with "
                         "'loam ingest'",
                         path, ix->dim, name, loam_embedder_dim(e));
    return LOAM_OK;
}
