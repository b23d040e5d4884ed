/* npy.c - one array of numpy's format.
 *
 *     | 93 "NUMPY" | major, minor | u16 or u32 length | header text | data |
 *
 * The header is a Python dict literal with exactly the keys descr, fortran_order and
 * shape.  It is parsed as such a literal: MLX and old writers differ in spacing, commas
 * and padding.  Object arrays (pickles) are refused.
 */
#include "io/npy.h"

#include <stdio.h>

enum { MAGIC_BYTES = 8, MAX_HEADER_BYTES = 1 << 20 };

/* ---- the header's literal ---- */

typedef struct literal {
    const char *at, *end;
    const char *name;
    loam_err *err;
} literal;

typedef struct text {
    const char *p;
    size_t n;
} text;

static loam_status fail_header(const literal *l, const char *why) {
    return loam_fail(l->err, LOAM_ERR_FORMAT, "%s: npy header: %s", l->name, why);
}

static void skip_space(literal *l) {
    while (l->at < l->end && (*l->at == ' ' || *l->at == '\n' || *l->at == '\t' || *l->at == '\r'))
        l->at++;
}

static int take(literal *l, char c) {
    skip_space(l);
    if (l->at == l->end || *l->at != c) return 0;
    l->at++;
    return 1;
}

static int take_word(literal *l, const char *word) {
    const size_t n = strlen(word);
    skip_space(l);
    if ((size_t)(l->end - l->at) < n || memcmp(l->at, word, n) != 0) return 0;
    l->at += n;
    return 1;
}

/* A quoted string without escapes. */
static int take_string(literal *l, text *out) {
    skip_space(l);
    if (l->at == l->end || (*l->at != '\'' && *l->at != '"')) return 0;
    const char quote = *l->at++;
    out->p = l->at;
    while (l->at < l->end && *l->at != quote && *l->at != '\\' && *l->at != '\n') l->at++;
    if (l->at == l->end || *l->at != quote) return 0;
    out->n = (size_t)(l->at - out->p);
    l->at++;
    return 1;
}

static int take_count(literal *l, uint64_t *out) {
    skip_space(l);
    uint64_t v = 0;
    const char *start = l->at;
    for (; l->at < l->end && *l->at >= '0' && *l->at <= '9'; l->at++)
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*l->at - '0'), &v))
            return 0;
    if (l->at == start) return 0;
    if (l->at < l->end && *l->at == 'L') l->at++; /* Python 2 */
    *out = v;
    return 1;
}

static loam_status read_shape(literal *l, loam_tensor *t) {
    if (!take(l, '(')) return fail_header(l, "shape is not a tuple");
    t->rank = 0;
    while (!take(l, ')')) {
        if (t->rank == LOAM_MAX_RANK)
            return loam_fail(l->err, LOAM_ERR_UNSUPPORTED, "%s: more than %d dimensions", l->name,
                             LOAM_MAX_RANK);
        if (!take_count(l, &t->shape[t->rank]))
            return fail_header(l, "a dimension is not a whole number from 0 up, or too large");
        t->rank++;
        if (take(l, ',')) continue;
        if (!take(l, ')')) return fail_header(l, "shape is not closed");
        /* "(3)" is a number in Python, not a tuple */
        return t->rank == 1 ? fail_header(l, "shape is not a tuple") : LOAM_OK;
    }
    return LOAM_OK;
}

static const struct {
    const char *code;
    loam_dtype dtype;
} DTYPES[] = {
    {"b1", LOAM_BOOL}, {"u1", LOAM_U8},   {"i1", LOAM_I8},  {"u2", LOAM_U16}, {"i2", LOAM_I16},
    {"f2", LOAM_F16},  {"V2", LOAM_BF16}, {"u4", LOAM_U32}, {"i4", LOAM_I32}, {"f4", LOAM_F32},
    {"u8", LOAM_U64},  {"i8", LOAM_I64},  {"f8", LOAM_F64}, {"c8", LOAM_C64},
};

static loam_status read_descr(literal *l, loam_npy *out) {
    text s;
    skip_space(l);
    if (l->at < l->end && *l->at == '[')
        return loam_fail(l->err, LOAM_ERR_UNSUPPORTED, "%s: structured arrays are not supported",
                         l->name);
    if (!take_string(l, &s)) return fail_header(l, "descr is not a string");
    if (s.n >= 2 && s.p[1] == 'O')
        return loam_fail(l->err, LOAM_ERR_UNSUPPORTED,
                         "%s: an array of Python objects (pickle), which loam never opens",
                         l->name);
    if (s.n == 3 && strchr("<>|=", s.p[0]))
        for (size_t i = 0; i < sizeof DTYPES / sizeof DTYPES[0]; i++)
            if (memcmp(s.p + 1, DTYPES[i].code, 2) == 0) {
                out->tensor.dtype = DTYPES[i].dtype;
                out->big_endian = s.p[0] == '>' && loam_dtype_bytes(DTYPES[i].dtype) > 1;
                return LOAM_OK;
            }
    return loam_fail(l->err, LOAM_ERR_UNSUPPORTED, "%s: npy header: dtype '%.*s' is not supported",
                     l->name, (int)(s.n < 40 ? s.n : 40), s.p);
}

static loam_status read_order(literal *l, loam_npy *out) {
    if (take_word(l, "True"))
        out->fortran = 1;
    else if (!take_word(l, "False"))
        return fail_header(l, "fortran_order is neither True nor False");
    return LOAM_OK;
}

static loam_status read_literal(literal *l, loam_npy *out) {
    enum { DESCR = 1, ORDER = 2, SHAPE = 4, ALL = 7 };
    int seen = 0;
    if (!take(l, '{')) return fail_header(l, "is not a dict");
    while (!take(l, '}')) {
        text key;
        int what = 0;
        if (!take_string(l, &key) || !take(l, ':')) return fail_header(l, "expected a key");
        if (key.n == 5 && memcmp(key.p, "descr", 5) == 0) what = DESCR;
        if (key.n == 13 && memcmp(key.p, "fortran_order", 13) == 0) what = ORDER;
        if (key.n == 5 && memcmp(key.p, "shape", 5) == 0) what = SHAPE;
        if (!what || (seen & what)) return fail_header(l, "unknown or repeated key");
        seen |= what;
        const loam_status st = what == DESCR   ? read_descr(l, out)
                               : what == ORDER ? read_order(l, out)
                                               : read_shape(l, &out->tensor);
        if (st) return st;
        if (take(l, ',')) continue;
        if (!take(l, '}')) return fail_header(l, "is not closed");
        break;
    }
    if (seen != ALL) return fail_header(l, "descr, fortran_order or shape is missing");
    skip_space(l);
    return l->at == l->end ? LOAM_OK : fail_header(l, "text after the dict");
}

loam_status loam_npy_prefix(const unsigned char *p, size_t n, const char *name, size_t *n_header,
                            loam_err *err) {
    if (n < MAGIC_BYTES + 2 || memcmp(p, "\x93NUMPY", 6) != 0)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: not an npy array (cut short?)", name);
    if (p[6] < 1 || p[6] > 3 || p[7] != 0)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: npy version %u.%u, not 1.0 to 3.0", name, p[6],
                         p[7]);
    const size_t n_length = p[6] == 1 ? 2 : 4;
    if (n < MAGIC_BYTES + n_length)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: npy header cut short", name);
    const size_t length = n_length == 2 ? loam_read_u16(p + 8) : loam_read_u32(p + 8);
    if (length > MAX_HEADER_BYTES)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: npy header of %zu bytes", name, length);
    *n_header = MAGIC_BYTES + n_length + length;
    return LOAM_OK;
}

loam_status loam_npy_parse(loam_npy *out, const unsigned char *p, size_t n, const char *name,
                           loam_err *err) {
    *out = (loam_npy){0};
    loam_status st = loam_npy_prefix(p, n, name, &out->n_header, err);
    if (st) return st;
    if (out->n_header > n) return loam_fail(err, LOAM_ERR_FORMAT, "%s: npy header cut short", name);
    const size_t start = MAGIC_BYTES + (p[6] == 1 ? 2u : 4u);
    literal l = {(const char *)p + start, (const char *)p + out->n_header, name, err};
    st = read_literal(&l, out);
    if (st) return st;
    if (!loam_tensor_bytes(&out->tensor, &out->tensor.bytes) ||
        out->tensor.bytes > UINT64_MAX - out->n_header)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: npy header: shape too large", name);
    return LOAM_OK;
}

/* ---- data ---- */

/* Fortran order with at most one dimension above 1 is C order too. */
static int is_permuted(const loam_npy *h) {
    int wide = 0;
    for (int i = 0; i < h->tensor.rank; i++) wide += h->tensor.shape[i] > 1;
    return h->fortran && wide > 1 && h->tensor.bytes > 0;
}

/* Column-major `in` to row-major `out`: out index counts up, its last axis innermost. */
static void permute(const loam_tensor *t, size_t size, const unsigned char *in,
                    unsigned char *out) {
    uint64_t stride[LOAM_MAX_RANK], index[LOAM_MAX_RANK] = {0}, step = 1;
    const uint64_t n = loam_tensor_count(t);
    for (int i = 0; i < t->rank; i++) {
        stride[i] = step;
        step *= t->shape[i];
    }
    uint64_t from = 0;
    for (uint64_t k = 0; k < n; k++, out += size) {
        memcpy(out, in + from * size, size);
        for (int i = t->rank; i-- > 0;) {
            from += stride[i];
            if (++index[i] < t->shape[i]) break;
            from -= stride[i] * t->shape[i];
            index[i] = 0;
        }
    }
}

static void swap_bytes(unsigned char *p, uint64_t bytes, size_t size) {
    for (uint64_t at = 0; at < bytes; at += size)
        for (size_t i = 0; i < size / 2; i++) {
            const unsigned char c = p[at + i];
            p[at + i] = p[at + size - 1 - i];
            p[at + size - 1 - i] = c;
        }
}

loam_status loam_npy_place(loam_arrays *a, const loam_npy *h, const unsigned char *data,
                           const char *tensor_name, const char *name, loam_err *err) {
    loam_tensor *t = loam_arrays_add(a, tensor_name, err);
    if (!t) return LOAM_ERR_MEMORY;
    *t = h->tensor;
    t->name = tensor_name;
    t->data = data;
    if (!h->big_endian && !is_permuted(h)) return LOAM_OK;
    const size_t size = loam_dtype_bytes(t->dtype);
    unsigned char *copy = malloc(t->bytes ? (size_t)t->bytes : 1);
    if (!copy)
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory for %llu bytes", name,
                         (unsigned long long)t->bytes);
    if (is_permuted(h))
        permute(t, size, data, copy);
    else if (t->bytes)
        memcpy(copy, data, (size_t)t->bytes);
    if (h->big_endian) swap_bytes(copy, t->bytes, t->dtype == LOAM_C64 ? 4 : size);
    t->data = copy;
    return loam_arrays_own(a, copy, err);
}

loam_status loam_npy_read(loam_arrays *a, loam_bytes file, const char *tensor_name, loam_err *err) {
    loam_npy h;
    const loam_status st = loam_npy_parse(&h, file.p, file.n, file.name, err);
    if (st) return st;
    if (h.tensor.bytes != file.n - h.n_header)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: shape and dtype need %llu bytes of data, the file has %zu", file.name,
                         (unsigned long long)h.tensor.bytes, file.n - h.n_header);
    return loam_npy_place(a, &h, file.p + h.n_header, tensor_name, file.name, err);
}

/* ---- writing ---- */

loam_status loam_npy_header(loam_buf *out, const loam_tensor *t, loam_err *err) {
    loam_buf b = {0};
    const char *code = NULL;
    uint64_t need;
    for (size_t i = 0; i < sizeof DTYPES / sizeof DTYPES[0]; i++)
        if (DTYPES[i].dtype == t->dtype) code = DTYPES[i].code;
    if (!code)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED, "array '%s': npy has no %s", t->name,
                         loam_dtype_name(t->dtype));
    if (t->rank < 0 || t->rank > LOAM_MAX_RANK || !loam_tensor_bytes(t, &need) || need != t->bytes)
        return loam_fail(err, LOAM_ERR_ARGUMENT, "array '%s': shape and bytes differ", t->name);
    /* MLX reads descr and the order from fixed places: this is the one spelling for both */
    loam_buf_printf(&b, "{'descr': '%c%s', 'fortran_order': False, 'shape': (",
                    loam_dtype_bytes(t->dtype) == 1 ? '|' : '<', code);
    for (int i = 0; i < t->rank; i++)
        loam_buf_printf(&b, "%s%llu", i ? ", " : "", (unsigned long long)t->shape[i]);
    loam_buf_puts(&b, t->rank == 1 ? ",), }" : "), }");
    while (!b.failed && (MAGIC_BYTES + 2 + b.n + 1) % 64) loam_buf_putc(&b, ' ');
    loam_buf_putc(&b, '\n');
    loam_buf_append(out, "\x93NUMPY\x01\x00", MAGIC_BYTES);
    loam_buf_putc(out, (char)(b.n & 0xff));
    loam_buf_putc(out, (char)(b.n >> 8 & 0xff));
    loam_buf_append(out, b.data, b.n);
    const int failed = b.failed || out->failed;
    loam_buf_deinit(&b);
    return failed ? loam_fail(err, LOAM_ERR_MEMORY, "out of memory for a header") : LOAM_OK;
}
