/* gguf.c - the GGUF format, versions 2 and 3, little endian.
 *
 *     | "GGUF" | u32 version | u64 tensors | u64 pairs | pairs | tensor infos | pad | data |
 *
 * Key-value pairs become one JSON object: its text is built, then parsed, which also
 * checks UTF-8 and repeated keys.  Every count is bounded by the bytes left before
 * anything is allocated for it.
 */
#include "io/arrays.h"
#include "io/json_value.h"

#include <math.h>

enum {
    MAX_ENTRIES = 20000000, /* array items in all pairs: 32 bytes each in the document */
    MAX_NAME = 1024,
    MIN_PAIR_BYTES = 8 + 4 + 1,
    MIN_INFO_BYTES = 8 + 4 + 4 + 8
};

enum value_type {
    TYPE_U8,
    TYPE_I8,
    TYPE_U16,
    TYPE_I16,
    TYPE_U32,
    TYPE_I32,
    TYPE_F32,
    TYPE_BOOL,
    TYPE_STRING,
    TYPE_ARRAY,
    TYPE_U64,
    TYPE_I64,
    TYPE_F64,
    N_TYPES
};

/* Fewest bytes a value takes. */
static const uint8_t TYPE_BYTES[N_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

/* ggml's tensor types; -1: known, but not supported. */
static const struct {
    uint8_t id;
    int8_t dtype;
    const char *name;
} TENSOR_TYPES[] = {
    {0, LOAM_F32, "F32"},    {1, LOAM_F16, "F16"},    {2, LOAM_Q4_0, "Q4_0"},
    {3, LOAM_Q4_1, "Q4_1"},  {6, LOAM_Q5_0, "Q5_0"},  {7, LOAM_Q5_1, "Q5_1"},
    {8, LOAM_Q8_0, "Q8_0"},  {10, LOAM_Q2_K, "Q2_K"}, {11, LOAM_Q3_K, "Q3_K"},
    {12, LOAM_Q4_K, "Q4_K"}, {13, LOAM_Q5_K, "Q5_K"}, {14, LOAM_Q6_K, "Q6_K"},
    {24, LOAM_I8, "I8"},     {25, LOAM_I16, "I16"},   {26, LOAM_I32, "I32"},
    {27, LOAM_I64, "I64"},   {28, LOAM_F64, "F64"},   {30, LOAM_BF16, "BF16"},
    {9, -1, "Q8_1"},         {15, -1, "Q8_K"},        {16, -1, "IQ2_XXS"},
    {17, -1, "IQ2_XS"},      {18, -1, "IQ3_XXS"},     {19, -1, "IQ1_S"},
    {20, -1, "IQ4_NL"},      {21, -1, "IQ3_S"},       {22, -1, "IQ2_S"},
    {23, -1, "IQ4_XS"},      {29, -1, "IQ1_M"},       {34, -1, "TQ1_0"},
    {35, -1, "TQ2_0"},       {39, -1, "MXFP4"},
};

typedef struct reader {
    loam_bytes file;
    size_t at;
    uint64_t n_entries;
    loam_err *err;
} reader;

static loam_status fail_here(const reader *r, const char *what) {
    return loam_fail(r->err, LOAM_ERR_FORMAT, "%s: %s at offset %zu", r->file.name, what, r->at);
}

static size_t left(const reader *r) {
    return r->file.n - r->at;
}

/* The next n bytes, or NULL and *err set. */
static const unsigned char *take_bytes(reader *r, size_t n, const char *what) {
    if (n > left(r)) {
        loam_fail(r->err, LOAM_ERR_FORMAT, "%s: file ends in %s at offset %zu", r->file.name, what,
                  r->at);
        return NULL;
    }
    r->at += n;
    return r->file.p + r->at - n;
}

static loam_status read_u32(reader *r, uint32_t *out, const char *what) {
    const unsigned char *p = take_bytes(r, 4, what);
    *out = p ? loam_read_u32(p) : 0;
    return p ? LOAM_OK : LOAM_ERR_FORMAT;
}

static loam_status read_u64(reader *r, uint64_t *out, const char *what) {
    const unsigned char *p = take_bytes(r, 8, what);
    *out = p ? loam_read_u64(p) : 0;
    return p ? LOAM_OK : LOAM_ERR_FORMAT;
}

static loam_status read_text(reader *r, const char **text, size_t *n, const char *what) {
    uint64_t length = 0;
    *text = NULL;
    *n = 0;
    const loam_status st = read_u64(r, &length, what);
    if (st) return st;
    if (length > left(r)) return fail_here(r, "string longer than the file");
    const unsigned char *p = take_bytes(r, (size_t)length, what);
    if (loam_utf8_check((const char *)p, (size_t)length) != length)
        return fail_here(r, "invalid UTF-8 in the string that ends");
    *text = (const char *)p;
    *n = (size_t)length;
    return LOAM_OK;
}

/* ---- key-value pairs ---- */

/* A float stays one: "10000.0", not "10000". */
static void put_float(loam_buf *b, float v) {
    if (isnan(v)) {
        loam_buf_puts(b, "NaN");
    } else if (isinf(v)) {
        loam_buf_puts(b, v < 0 ? "-Infinity" : "Infinity");
    } else {
        const size_t start = b->n;
        loam_json_put_float(b, v);
        if (!b->failed && !strpbrk(b->data + start, ".e")) loam_buf_puts(b, ".0");
    }
}

static void put_double(loam_buf *b, double v) {
    if (isnan(v))
        loam_buf_puts(b, "NaN");
    else if (isinf(v))
        loam_buf_puts(b, v < 0 ? "-Infinity" : "Infinity");
    else
        loam_json_put_repr(b, v);
}

static loam_status read_scalar(reader *r, uint32_t type, loam_buf *b) {
    const char *text;
    size_t n;
    double real;
    if (type == TYPE_STRING) {
        const loam_status st = read_text(r, &text, &n, "a value");
        if (!st) loam_json_put_string(b, text, n);
        return st;
    }
    const unsigned char *p = take_bytes(r, TYPE_BYTES[type], "a value");
    if (!p) return LOAM_ERR_FORMAT;
    switch (type) {
    case TYPE_U8: loam_buf_printf(b, "%u", p[0]); break;
    case TYPE_I8: loam_buf_printf(b, "%d", (int8_t)p[0]); break;
    case TYPE_U16: loam_buf_printf(b, "%u", loam_read_u16(p)); break;
    case TYPE_I16: loam_buf_printf(b, "%d", (int16_t)loam_read_u16(p)); break;
    case TYPE_U32: loam_buf_printf(b, "%u", loam_read_u32(p)); break;
    case TYPE_I32: loam_buf_printf(b, "%d", (int32_t)loam_read_u32(p)); break;
    case TYPE_F32: put_float(b, loam_read_f32(p)); break;
    case TYPE_BOOL:
        if (p[0] > 1) return fail_here(r, "boolean that is neither 0 nor 1");
        loam_buf_puts(b, p[0] ? "true" : "false");
        break;
    case TYPE_U64: loam_buf_printf(b, "%llu", (unsigned long long)loam_read_u64(p)); break;
    case TYPE_I64: loam_buf_printf(b, "%lld", (long long)(int64_t)loam_read_u64(p)); break;
    default: memcpy(&real, p, sizeof real); put_double(b, real);
    }
    return LOAM_OK;
}

static loam_status read_array(reader *r, loam_buf *b) {
    uint32_t type = 0;
    uint64_t n = 0;
    loam_status st = read_u32(r, &type, "an array");
    if (!st) st = read_u64(r, &n, "an array");
    if (st) return st;
    if (type >= N_TYPES) return fail_here(r, "unknown type of array");
    if (type == TYPE_ARRAY) return fail_here(r, "array of arrays");
    if (n > left(r) / TYPE_BYTES[type]) return fail_here(r, "array longer than the file");
    r->n_entries += n;
    if (r->n_entries > MAX_ENTRIES)
        return loam_fail(r->err, LOAM_ERR_LIMIT, "%s: more than %d metadata entries", r->file.name,
                         MAX_ENTRIES);
    loam_buf_putc(b, '[');
    for (uint64_t i = 0; i < n && !st; i++) {
        if (i) loam_buf_putc(b, ',');
        st = read_scalar(r, type, b);
    }
    loam_buf_putc(b, ']');
    return st;
}

static loam_status read_pair(reader *r, loam_buf *b) {
    const char *key;
    size_t n_key;
    uint32_t type = 0;
    loam_status st = read_text(r, &key, &n_key, "a key");
    if (!st) st = read_u32(r, &type, "a type");
    if (st) return st;
    if (n_key == 0 || n_key > 65535) return fail_here(r, "key of impossible length");
    if (type >= N_TYPES) return fail_here(r, "unknown value type");
    loam_json_put_string(b, key, n_key);
    loam_buf_putc(b, ':');
    return type == TYPE_ARRAY ? read_array(r, b) : read_scalar(r, type, b);
}

static loam_status read_pairs(reader *r, uint64_t n, loam_arrays *a) {
    loam_buf b = {0};
    loam_json *doc = NULL;
    loam_status st = LOAM_OK;
    loam_buf_putc(&b, '{');
    for (uint64_t i = 0; i < n && !st; i++) {
        if (i) loam_buf_putc(&b, ',');
        st = read_pair(r, &b);
    }
    loam_buf_putc(&b, '}');
    if (!st && b.failed)
        st = loam_fail(r->err, LOAM_ERR_MEMORY, "%s: out of memory for metadata", r->file.name);
    if (!st)
        st = loam_json_parse(&doc, b.data, b.n, r->file.name,
                             LOAM_JSON_REJECT_DUPLICATES | LOAM_JSON_ALLOW_NAN, r->err);
    loam_buf_deinit(&b);
    if (!st) st = loam_arrays_own_json(a, doc, r->err);
    if (!st) a->metadata = loam_json_root(doc);
    return st;
}

/* ---- tensors ---- */

static loam_status set_dtype(const reader *r, loam_tensor *t, uint32_t type) {
    for (size_t i = 0; i < sizeof TENSOR_TYPES / sizeof TENSOR_TYPES[0]; i++) {
        if (TENSOR_TYPES[i].id != type) continue;
        if (TENSOR_TYPES[i].dtype < 0)
            return loam_fail(r->err, LOAM_ERR_UNSUPPORTED,
                             "%s: tensor '%s': type %s is not supported", r->file.name, t->name,
                             TENSOR_TYPES[i].name);
        t->dtype = (loam_dtype)TENSOR_TYPES[i].dtype;
        return LOAM_OK;
    }
    return loam_fail(r->err, LOAM_ERR_FORMAT, "%s: tensor '%s': unknown type %u", r->file.name,
                     t->name, type);
}

/* `bytes` keeps the offset until all infos are read and the data's start is known. */
static loam_status read_info(reader *r, loam_arrays *a, char **names) {
    const char *name;
    size_t n_name;
    uint32_t rank = 0, type = 0;
    loam_status st = read_text(r, &name, &n_name, "a tensor's name");
    if (!st) st = read_u32(r, &rank, "a tensor's dimensions");
    if (st) return st;
    if (n_name == 0 || n_name > MAX_NAME || memchr(name, 0, n_name))
        return fail_here(r, "impossible tensor name");
    if (rank > LOAM_MAX_RANK) return fail_here(r, "tensor of too many dimensions");
    memcpy(*names, name, n_name);
    (*names)[n_name] = '\0';
    loam_tensor *t = loam_arrays_add(a, *names, r->err);
    if (!t) return LOAM_ERR_MEMORY;
    *names += n_name + 1;
    t->rank = (int)rank;
    for (uint32_t i = 0; i < rank && !st; i++)
        st = read_u64(r, &t->shape[rank - 1 - i], "a tensor's dimensions");
    if (!st) st = read_u32(r, &type, "a tensor's type");
    if (!st) st = set_dtype(r, t, type);
    if (!st) st = read_u64(r, &t->bytes, "a tensor's offset");
    return st;
}

static loam_status place_tensor(const reader *r, loam_tensor *t, loam_bytes data,
                                uint64_t alignment) {
    const uint64_t offset = t->bytes;
    if (!loam_tensor_bytes(t, &t->bytes))
        return loam_fail(r->err, LOAM_ERR_FORMAT, "%s: tensor '%s': impossible shape for %s",
                         r->file.name, t->name, loam_dtype_name(t->dtype));
    if (offset % alignment || offset > data.n || t->bytes > data.n - offset)
        return loam_fail(r->err, LOAM_ERR_FORMAT,
                         "%s: tensor '%s': %llu bytes at %llu are not inside the %zu bytes of data "
                         "(file cut short?)",
                         r->file.name, t->name, (unsigned long long)t->bytes,
                         (unsigned long long)offset, data.n);
    t->data = data.p + offset;
    return LOAM_OK;
}

static int compare_places(const void *x, const void *y) {
    const loam_tensor *a = x, *b = y;
    const unsigned char *p = a->data, *q = b->data;
    if (p != q) return p < q ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

static loam_status place_tensors(reader *r, loam_arrays *a) {
    int64_t alignment = 32;
    const loam_json_value *stated = loam_json_get(a->metadata, "general.alignment");
    if (stated && (!loam_json_int(stated, &alignment) || alignment < 1 || alignment > 1 << 20 ||
                   (alignment & (alignment - 1))))
        return loam_fail(r->err, LOAM_ERR_FORMAT, "%s: general.alignment is no power of two",
                         r->file.name);
    const uint64_t unit = (uint64_t)alignment;
    const uint64_t start = (r->at + unit - 1) / unit * unit; /* at < 2^63: no wrap */
    loam_bytes data = {r->file.p + r->file.n, 0, r->file.name};
    if (start < r->file.n)
        data = (loam_bytes){r->file.p + start, r->file.n - (size_t)start, r->file.name};
    loam_status st = LOAM_OK;
    for (size_t i = 0; i < a->n && !st; i++) st = place_tensor(r, &a->tensors[i], data, unit);
    if (st || !a->n) return st;
    qsort(a->tensors, a->n, sizeof *a->tensors, compare_places);
    for (size_t i = 1; i < a->n; i++) {
        const loam_tensor *before = &a->tensors[i - 1], *t = &a->tensors[i];
        if ((const unsigned char *)before->data + before->bytes > (const unsigned char *)t->data)
            return loam_fail(r->err, LOAM_ERR_FORMAT, "%s: tensors '%s' and '%s' overlap",
                             r->file.name, before->name, t->name);
    }
    return LOAM_OK;
}

static loam_status read_tensors(reader *r, uint64_t n, loam_arrays *a) {
    /* each name stands in the file with its 8-byte length, so that the rest of the file
     * bounds all names with their NULs */
    const size_t most = left(r) < n * (MAX_NAME + 1) ? left(r) : (size_t)n * (MAX_NAME + 1);
    char *names = malloc(most + 1);
    if (!names)
        return loam_fail(r->err, LOAM_ERR_MEMORY, "%s: out of memory for %llu tensors",
                         r->file.name, (unsigned long long)n);
    loam_status st = loam_arrays_own(a, names, r->err);
    for (uint64_t i = 0; i < n && !st; i++) st = read_info(r, a, &names);
    return st ? st : place_tensors(r, a);
}

loam_status loam_gguf_read(loam_arrays *a, loam_bytes file, loam_err *err) {
    reader r = {.file = file, .at = 4, .err = err};
    uint32_t version;
    uint64_t n_tensors, n_pairs;
    loam_status st = read_u32(&r, &version, "the header");
    if (st) return st;
    if (version != 2 && version != 3) {
        if (version == 0x02000000 || version == 0x03000000)
            return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: a big-endian GGUF file", file.name);
        return loam_fail(err, version == 1 ? LOAM_ERR_UNSUPPORTED : LOAM_ERR_FORMAT,
                         "%s: GGUF version %u, not 2 or 3", file.name, version);
    }
    st = read_u64(&r, &n_tensors, "the header");
    if (!st) st = read_u64(&r, &n_pairs, "the header");
    if (st) return st;
    if (n_tensors > LOAM_MAX_TENSORS || n_tensors > left(&r) / MIN_INFO_BYTES)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: tensor count %llu at offset 8", file.name,
                         (unsigned long long)n_tensors);
    if (n_pairs > left(&r) / MIN_PAIR_BYTES)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: pair count %llu at offset 16", file.name,
                         (unsigned long long)n_pairs);
    st = read_pairs(&r, n_pairs, a);
    return st ? st : read_tensors(&r, n_tensors, a);
}
