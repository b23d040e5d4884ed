/* weights.c - binding by module path: PATH.weight [+ .scales .biases] [+ .bias].
 *
 * Whether a matrix is quantised is what the file says (PATH.scales exists), never
 * only what the config says: published folders mix both in one model.  Since the
 * number of inputs is known from the config, bits and group size follow from the
 * shapes; an override in `quantization` must agree with them.
 *
 * MLX's fp modes (mxfp4, mxfp8, nvfp4) have no product of their own yet: they are
 * expanded to bf16 when bound, which holds their values exactly.
 */
#include "model/weights.h"

#include "kernels/quantize.h"
#include <stdio.h>

/* Small vectors of a model: pieces of blocks, all freed together. */
typedef struct block {
    struct block *next;
    size_t used, size; /* floats */
    float data[];
} block;

enum { BLOCK_FLOATS = 64 * 1024, MAX_NAME = 512 };

struct loam_weights {
    loam_arrays *arrays;
    const loam_config *config;
    const loam_json_value *quantization; /* object or NULL */
    int bits, group;                     /* of the whole folder, 0: not quantised */
    const char *mode;                    /* of the whole folder */
    char *folder;
    unsigned char *used; /* [count] by index in name order */
    size_t n_tensors;
    block *blocks;
    uint64_t n_params;
};

static int is_bits(size_t b) {
    return b == 2 || b == 3 || b == 4 || b == 5 || b == 6 || b == 8;
}
static int is_group(size_t g) {
    return g == 32 || g == 64 || g == 128;
}

/* mlx-lm's `quantization`, checked; `quantization_config` alone is another program's scheme. */
static loam_status read_quantization(loam_weights *w, loam_err *err) {
    const loam_config *c = w->config;
    const loam_json_value *q = loam_config_get(c->root, "quantization");
    const char *mode = NULL;
    size_t bits, group;
    loam_status st;

    if (!q) {
        const loam_json_value *foreign = loam_config_get(c->root, "quantization_config");
        if (!foreign) return LOAM_OK;
        st = loam_config_string(c, foreign, "quant_method", "", &mode, err);
        if (st) return st;
        if (*mode)
            return loam_fail(
                err, LOAM_ERR_UNSUPPORTED,
                "%s: quantization_config: %s weights are not supported; MLX affine ones are",
                c->path, mode);
        q = foreign; /* a copy of the object under its other name */
    }
    if (loam_json_type_of(q) != LOAM_JSON_OBJECT)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: quantization is not an object", c->path);
    st = loam_config_string(c, q, "mode", "affine", &mode, err);
    if (st) return st;
    w->quantization = q;
    w->mode = mode;
    if (strcmp(mode, "affine") != 0) return LOAM_OK; /* judged when a tensor is bound */
    st = loam_config_size(c, q, "bits", 1, 32, 4, &bits, err);
    if (!st) st = loam_config_size(c, q, "group_size", 0, 1 << 20, 64, &group, err);
    if (st) return st;
    if (!is_bits(bits))
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: quantization.bits is %zu, not 2, 3, 4, 5, 6 or 8", c->path, bits);
    if (!is_group(group))
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: quantization.group_size is %zu, not 32, 64 or 128", c->path, group);
    w->bits = (int)bits;
    w->group = (int)group;
    return LOAM_OK;
}

loam_status loam_weights_open(loam_weights **out, const char *folder, const loam_config *config,
                              loam_err *err) {
    loam_weights *w;
    loam_status st;

    *out = NULL;
    w = loam_alloc(1, sizeof *w);
    if (!w) return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", folder);
    w->config = config;
    w->folder = loam_strdup(folder);
    st = w->folder ? read_quantization(w, err)
                   : loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", folder);
    if (!st) st = loam_arrays_open_folder(&w->arrays, folder, err);
    if (st) goto done;
    w->n_tensors = loam_arrays_count(w->arrays);
    w->used = loam_alloc(w->n_tensors, 1);
    if (!w->used) {
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", folder);
        goto done;
    }
    *out = w;
    w = NULL;
done:
    loam_weights_close(w);
    return st;
}

void loam_weights_close(loam_weights *w) {
    if (!w) return;
    while (w->blocks) {
        block *b = w->blocks;
        w->blocks = b->next;
        free(b);
    }
    loam_arrays_close(w->arrays);
    free(w->used);
    free(w->folder);
    free(w);
}

/* loam_arrays_at is in name order: binary search gives the index to mark. */
static void mark_used(loam_weights *w, const loam_tensor *t) {
    size_t lo = 0, hi = w->n_tensors;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const int order = strcmp(loam_arrays_at(w->arrays, mid)->name, t->name);
        if (order == 0) {
            w->used[mid] = 1;
            return;
        }
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
}

const loam_tensor *loam_weights_find(loam_weights *w, const char *name) {
    const loam_tensor *t = loam_arrays_find(w->arrays, name);
    if (t) mark_used(w, t);
    return t;
}

static const loam_tensor *find_leaf(loam_weights *w, const char *path, const char *leaf) {
    char name[MAX_NAME];
    const int n = snprintf(name, sizeof name, "%s.%s", path, leaf);
    return n > 0 && (size_t)n < sizeof name ? loam_weights_find(w, name) : NULL;
}

static float *take_floats(loam_weights *w, size_t n) {
    block *b = w->blocks;
    if (!b || b->size - b->used < n) {
        const size_t size = n > BLOCK_FLOATS ? n : BLOCK_FLOATS;
        size_t bytes;
        if (!loam_mul(size, sizeof(float), &bytes) || !loam_add(bytes, sizeof *b, &bytes))
            return NULL;
        b = malloc(bytes);
        if (!b) return NULL;
        *b = (block){.next = w->blocks, .size = size};
        w->blocks = b;
    }
    float *p = b->data + b->used;
    b->used += n;
    return p;
}

static int is_float(loam_dtype d) {
    return d == LOAM_F32 || d == LOAM_F16 || d == LOAM_BF16;
}

/* "[49152, 36]" */
static const char *shape_text(const loam_tensor *t, char buf[160]) {
    size_t n = 0;
    buf[n++] = '[';
    for (int i = 0; i < t->rank && n < 120; i++)
        n += (size_t)snprintf(buf + n, 160 - n, "%s%llu", i ? ", " : "",
                              (unsigned long long)t->shape[i]);
    buf[n++] = ']';
    buf[n] = 0;
    return buf;
}

static loam_status fail_shape(const loam_weights *w, const loam_tensor *t, size_t rows, size_t cols,
                              loam_err *err) {
    char buf[160];
    if (cols == 0)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: tensor %s has shape %s, the config asks for [%zu]", w->folder,
                         t->name, shape_text(t, buf), rows);
    return loam_fail(err, LOAM_ERR_FORMAT,
                     "%s: tensor %s has shape %s, the config asks for [%zu, %zu]", w->folder,
                     t->name, shape_text(t, buf), rows, cols);
}

static loam_status convert_vector(loam_weights *w, const loam_tensor *t, size_t n, float add,
                                  const float **out, loam_err *err) {
    if (t->rank != 1 || t->shape[0] != n) return fail_shape(w, t, n, 0, err);
    if (!is_float(t->dtype))
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: tensor %s is %s, not f32, f16 or bf16",
                         w->folder, t->name, loam_dtype_name(t->dtype));
    float *v = take_floats(w, n);
    if (!v)
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: tensor %s: out of memory", w->folder, t->name);
    const loam_status st = loam_tensor_to_f32(t, 0, n, v, err);
    if (st) return st;
    for (size_t i = 0; i < n; i++) v[i] += add;
    w->n_params += n;
    *out = v;
    return LOAM_OK;
}

loam_status loam_weights_vector_optional(loam_weights *w, const char *name, size_t n, float add,
                                         const float **out, loam_err *err) {
    *out = NULL;
    const loam_tensor *t = loam_weights_find(w, name);
    return t ? convert_vector(w, t, n, add, out, err) : LOAM_OK;
}

loam_status loam_weights_vector(loam_weights *w, const char *name, size_t n, float add,
                                const float **out, loam_err *err) {
    const loam_status st = loam_weights_vector_optional(w, name, n, add, out, err);
    if (!st && !*out)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: tensor %s is missing", w->folder, name);
    return st;
}

/* The override of `path` in `quantization`: mode ("" where there is none, affine where it names
 * none), bits and group, 0 where it says nothing. */
static loam_status read_override(const loam_weights *w, const char *path, const char **mode,
                                 size_t *bits, size_t *group, int *off, loam_err *err) {
    const loam_json_value *o = w->quantization ? loam_config_get(w->quantization, path) : NULL;
    loam_status st;

    *mode = "";
    *bits = *group = 0;
    *off = 0;
    if (!o) return LOAM_OK;
    if (loam_json_type_of(o) == LOAM_JSON_FALSE) {
        *off = 1;
        return LOAM_OK;
    }
    if (loam_json_type_of(o) == LOAM_JSON_TRUE) return LOAM_OK;
    if (loam_json_type_of(o) != LOAM_JSON_OBJECT)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: quantization.%s is neither an object nor true or false",
                         w->config->path, path);
    st = loam_config_string(w->config, o, "mode", "affine", mode, err);
    if (!st) st = loam_config_size(w->config, o, "bits", 1, 32, 0, bits, err);
    if (!st) st = loam_config_size(w->config, o, "group_size", 1, 1 << 20, 0, group, err);
    return st;
}

typedef struct fp_mode {
    const char *name;
    loam_quant_mode mode;
    size_t bits, group;
} fp_mode;

static const fp_mode FP_MODES[] = {{"mxfp4", LOAM_QUANT_MXFP4, 4, 32},
                                   {"mxfp8", LOAM_QUANT_MXFP8, 8, 32},
                                   {"nvfp4", LOAM_QUANT_NVFP4, 4, 16}};

/* A matrix with one byte of scale a group, as bf16 in memory of its own. */
static loam_status bind_fp(loam_weights *w, const fp_mode *m, const loam_tensor *t,
                           const loam_tensor *scales, size_t rows, size_t cols, loam_weight *out,
                           loam_err *err) {
    if (t->dtype != LOAM_U32 || scales->dtype != LOAM_U8)
        return loam_fail(
            err, LOAM_ERR_FORMAT, "%s: tensor %s is %s with %s scales; %s is u32 with u8",
            w->folder, t->name, loam_dtype_name(t->dtype), loam_dtype_name(scales->dtype), m->name);
    if (cols % m->group != 0 || t->rank != 2 || t->shape[0] != rows ||
        t->shape[1] != cols / 32 * m->bits)
        return fail_shape(w, t, rows, cols, err);
    if (scales->rank != 2 || scales->shape[0] != rows || scales->shape[1] != cols / m->group)
        return fail_shape(w, scales, rows, cols / m->group, err);
    /* rows and cols are those of a tensor in the file: the product does not wrap */
    uint16_t *wide = (uint16_t *)(void *)take_floats(w, (rows * cols + 1) / 2);
    float *row = malloc(cols * sizeof *row);
    if (!wide || !row) {
        free(row);
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: tensor %s: out of memory", w->folder, t->name);
    }
    const unsigned char *q = t->data, *s = scales->data;
    for (size_t i = 0; i < rows; i++) {
        loam_dequantize_fp_row(q + i * loam_quant_row_bytes(cols, (int)m->bits),
                               s + i * (cols / m->group), cols, m->mode, LOAM_FLOAT_F32, row);
        loam_float_store(row, cols, LOAM_FLOAT_BF16, wide + i * cols);
    }
    free(row);
    out->format = LOAM_FORMAT_BF16;
    out->data = wide;
    return LOAM_OK;
}

static loam_status bind_affine(loam_weights *w, const char *path, const loam_tensor *t,
                               const loam_tensor *scales, size_t bits, size_t group, size_t rows,
                               size_t cols, loam_weight *out, loam_err *err) {
    const loam_tensor *biases = find_leaf(w, path, "biases");
    if (!biases)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: tensor %s.biases is missing beside .scales",
                         w->folder, path);
    if (t->dtype != LOAM_U32)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: tensor %s is %s; packed weights are u32",
                         w->folder, t->name, loam_dtype_name(t->dtype));
    if (!is_float(scales->dtype) || biases->dtype != scales->dtype)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: tensor %s is %s and .biases %s; both must be f32, f16 or bf16",
                         w->folder, scales->name, loam_dtype_name(scales->dtype),
                         loam_dtype_name(biases->dtype));
    if (t->rank != 2 || t->shape[0] != rows || t->shape[1] == 0 || t->shape[1] > cols)
        return fail_shape(w, t, rows, cols, err);
    if (scales->rank != 2 || scales->shape[0] != rows || scales->shape[1] == 0 ||
        cols % scales->shape[1] != 0)
        return fail_shape(w, scales, rows, group ? cols / group : cols / 64, err);
    if (biases->rank != 2 || biases->shape[0] != rows || biases->shape[1] != scales->shape[1])
        return fail_shape(w, biases, rows, (size_t)scales->shape[1], err);

    /* cols <= 2^31 is the binder's business; shape[1] <= cols: nothing below wraps */
    const size_t packed_bits = (size_t)t->shape[1] * 32;
    const size_t file_bits = packed_bits / cols, file_group = cols / (size_t)scales->shape[1];
    if (packed_bits % cols != 0 || !is_bits(file_bits) || !is_group(file_group))
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: tensor %s packs %zu inputs in %llu words and %llu groups: no bits "
                         "and group size fit",
                         w->folder, t->name, cols, (unsigned long long)t->shape[1],
                         (unsigned long long)scales->shape[1]);
    if ((bits && bits != file_bits) || (group && group != file_group))
        return loam_fail(
            err, LOAM_ERR_FORMAT,
            "%s: tensor %s: the config says %zu bits and groups of %zu, the shapes say %zu and %zu",
            w->folder, t->name, bits ? bits : file_bits, group ? group : file_group, file_bits,
            file_group);
    out->format = LOAM_FORMAT_AFFINE;
    out->bits = (int)file_bits;
    out->group = (int)file_group;
    out->scale_dtype = scales->dtype;
    out->data = t->data;
    out->scales = scales->data;
    out->biases = biases->data;
    return LOAM_OK;
}

static loam_status bind_quantised(loam_weights *w, const char *path, const loam_tensor *t,
                                  const loam_tensor *scales, size_t rows, size_t cols,
                                  loam_weight *out, loam_err *err) {
    const char *mode;
    size_t bits, group;
    int off;
    loam_status st = read_override(w, path, &mode, &bits, &group, &off, err);
    if (st) return st;
    if (off)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: tensor %s exists, but the config says %s is not quantized", w->folder,
                         scales->name, path);
    /* the folder's own mode is only a hint: float scales are affine ones */
    if (!*mode) mode = scales->dtype == LOAM_U8 && w->mode ? w->mode : "affine";
    if (strcmp(mode, "affine") == 0 && scales->dtype != LOAM_U8)
        return bind_affine(w, path, t, scales, bits, group, rows, cols, out, err);
    for (size_t i = 0; i < sizeof FP_MODES / sizeof *FP_MODES; i++)
        if (strcmp(mode, FP_MODES[i].name) == 0)
            return bind_fp(w, &FP_MODES[i], t, scales, rows, cols, out, err);
    return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                     "%s: tensor %s is quantised as '%s' with %s scales; affine, mxfp4, mxfp8 and "
                     "nvfp4 are known",
                     w->folder, t->name, mode, loam_dtype_name(scales->dtype));
}

static loam_status bind_plain(loam_weights *w, const loam_tensor *t, size_t rows, size_t cols,
                              loam_weight *out, loam_err *err) {
    if (t->dtype == LOAM_U32)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: tensor %s is packed (u32), but its .scales are missing", w->folder,
                         t->name);
    if (!is_float(t->dtype))
        return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                         "%s: tensor %s is %s; f32, f16, bf16 and MLX affine are supported",
                         w->folder, t->name, loam_dtype_name(t->dtype));
    if (t->rank != 2 || t->shape[0] != rows || t->shape[1] != cols)
        return fail_shape(w, t, rows, cols, err);
    out->format = t->dtype == LOAM_F32   ? LOAM_FORMAT_F32
                  : t->dtype == LOAM_F16 ? LOAM_FORMAT_F16
                                         : LOAM_FORMAT_BF16;
    out->data = t->data;
    return LOAM_OK;
}

loam_status loam_weights_bind(loam_weights *w, const char *path, size_t rows, size_t cols,
                              loam_bias bias, loam_weight *out, loam_err *err) {
    loam_status st;

    *out = (loam_weight){.rows = rows, .cols = cols};
    const loam_tensor *t = find_leaf(w, path, "weight");
    if (!t)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: tensor %s.weight is missing", w->folder, path);
    const loam_tensor *scales = find_leaf(w, path, "scales");
    st = scales ? bind_quantised(w, path, t, scales, rows, cols, out, err)
                : bind_plain(w, t, rows, cols, out, err);
    if (st) return st;
    w->n_params += (uint64_t)rows * cols;
    if (bias == LOAM_BIAS_NONE) return LOAM_OK;
    const loam_tensor *b = find_leaf(w, path, "bias");
    if (b) return convert_vector(w, b, rows, 0.0f, &out->bias, err);
    if (bias == LOAM_BIAS_REQUIRED)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: tensor %s.bias is missing", w->folder, path);
    return LOAM_OK;
}

/* Bytes of one row of scales. */
static size_t scale_row_bytes(const loam_weight *w) {
    return w->cols / (size_t)w->group * loam_dtype_bytes(w->scale_dtype);
}

loam_weight loam_weight_slice(const loam_weight *w, size_t first, size_t rows) {
    LOAM_ASSERT(first <= w->rows && rows <= w->rows - first);
    loam_weight s = *w;
    s.rows = rows;
    s.data = (const char *)w->data + first * loam_weight_row_bytes(w);
    if (w->format == LOAM_FORMAT_AFFINE) {
        s.scales = (const char *)w->scales + first * scale_row_bytes(w);
        s.biases = (const char *)w->biases + first * scale_row_bytes(w);
        if (w->outliers) s.outliers = w->outliers + first;
    }
    if (w->bias) s.bias = w->bias + first;
    return s;
}

const char *loam_weights_unused(const loam_weights *w, const char *prefix) {
    const size_t n = strlen(prefix);
    for (size_t i = 0; i < w->n_tensors; i++) {
        const char *name = loam_arrays_at(w->arrays, i)->name;
        if (w->used[i] || strncmp(name, prefix, n) != 0) continue;
        if (loam_ends_with(name, ".inv_freq") || loam_ends_with(name, ".masked_bias") ||
            loam_ends_with(name, ".attn.bias"))
            continue;
        return name;
    }
    return NULL;
}

const loam_arrays *loam_weights_arrays(const loam_weights *w) {
    return w->arrays;
}
uint64_t loam_weights_n_params(const loam_weights *w) {
    return w->n_params;
}
uint64_t loam_weights_bytes(const loam_weights *w) {
    return loam_arrays_file_bytes(w->arrays);
}

void loam_weights_quantization(const loam_weights *w, int *bits, int *group_size) {
    *bits = w->bits;
    *group_size = w->group;
}
