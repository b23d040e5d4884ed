/* compute.c - the scratch of a computation and how it is laid out. */
#include "ops/split.h"

size_t loam_scratch_worker_bytes(size_t cols) {
    return loam_kernel_scratch(cols) + LOAM_BLOCK_BYTES;
}

size_t loam_scratch_acts_bytes(size_t m, size_t cols) {
    const size_t groups = (cols / 32 + 15) / 16 * 16;
    return m * (loam_acts_stride(cols) + (2 * groups + LOAM_OUTLIERS) * sizeof(float));
}

size_t loam_scratch_bf16_bytes(size_t m, size_t cols) {
    return loam_k.bf16_product ? loam_bf16_bytes(m, cols) : 0;
}

unsigned char *loam_scratch_workers(const loam_compute *c, size_t shared, size_t cols) {
    const size_t workers = c->pool ? loam_pool_size(c->pool) : 1;
    LOAM_ASSERT(shared + workers * loam_scratch_worker_bytes(cols) <= c->scratch_bytes);
    return (unsigned char *)c->scratch + shared;
}

loam_status loam_compute_reserve(loam_compute *c, size_t max_m, size_t max_cols, loam_err *err) {
    const size_t workers = c->pool ? loam_pool_size(c->pool) : 1;

    if (max_m > LOAM_CHUNK) max_m = LOAM_CHUNK;
    if (max_m < (size_t)2 * LOAM_TWICE_CHUNK) max_m = (size_t)2 * LOAM_TWICE_CHUNK;
    if (max_cols > (size_t)1 << 24)
        return loam_fail(err, LOAM_ERR_LIMIT, "scratch: %zu inputs of a matrix", max_cols);
    loam_kernels_ready();
    size_t shared = loam_scratch_acts_bytes(max_m, max_cols);
    const size_t bf16 = loam_scratch_bf16_bytes(max_m, max_cols);
    if (shared < bf16) shared = bf16;
    if (shared < LOAM_PARTIAL_BYTES) shared = LOAM_PARTIAL_BYTES;
    const size_t bytes = shared + workers * loam_scratch_worker_bytes(max_cols);
    if (bytes <= c->scratch_bytes) return LOAM_OK;
    void *p = NULL;
    loam_alloc_check();
    if (posix_memalign(&p, 64, bytes))
        return loam_fail(err, LOAM_ERR_MEMORY, "scratch: %zu bytes", bytes);
    free(c->scratch);
    c->scratch = p;
    c->scratch_bytes = bytes;
    return LOAM_OK;
}

void loam_compute_deinit(loam_compute *c) {
    free(c->scratch);
    c->scratch = NULL;
    c->scratch_bytes = 0;
}

static loam_element element_of(loam_dtype d) {
    switch (d) {
    case LOAM_F16: return LOAM_ELEMENT_F16;
    case LOAM_BF16: return LOAM_ELEMENT_BF16;
    default: LOAM_ASSERT(d == LOAM_F32); return LOAM_ELEMENT_F32;
    }
}

loam_matrix loam_weight_matrix(const loam_weight *w) {
    static const loam_element plain[] = {
        [LOAM_FORMAT_F32] = LOAM_ELEMENT_F32,
        [LOAM_FORMAT_F16] = LOAM_ELEMENT_F16,
        [LOAM_FORMAT_BF16] = LOAM_ELEMENT_BF16,
        [LOAM_FORMAT_AFFINE] = LOAM_ELEMENT_AFFINE,
    };
    loam_matrix k = {.element = plain[w->format], .cols = w->cols, .data = w->data};
    if (w->format == LOAM_FORMAT_AFFINE) {
        LOAM_ASSERT(w->group == 32 || w->group == 64 || w->group == 128);
        LOAM_ASSERT(w->bits >= 2 && w->bits <= 8 && w->bits != 7);
        LOAM_ASSERT(w->cols % (size_t)w->group == 0);
        k.bits = w->bits;
        k.group = w->group;
        k.scale = element_of(w->scale_dtype);
        k.scales = w->scales;
        k.biases = w->biases;
    }
    return k;
}

size_t loam_weight_row_bytes(const loam_weight *w) {
    const loam_matrix k = loam_weight_matrix(w);
    return loam_matrix_row_bytes(&k);
}

void loam_weight_row(const loam_weight *w, size_t row, float *out) {
    const loam_matrix k = loam_weight_matrix(w);
    LOAM_ASSERT(row < w->rows);
    loam_kernels_ready();
    loam_k.row_to_f32(&k, row, out);
}

static float scalar_at(loam_dtype t, const void *p, size_t i) {
    const unsigned char *bytes = p;
    switch (t) {
    case LOAM_F16: return loam_f16_to_f32(loam_read_u16(bytes + 2 * i));
    case LOAM_BF16: return loam_bf16_to_f32(loam_read_u16(bytes + 2 * i));
    default: return loam_read_f32(bytes + 4 * i);
    }
}

typedef struct column_place {
    size_t at, group; /* byte of the row; its scale */
    unsigned shift;
} column_place;

void loam_weight_columns(const loam_weight *w, size_t row, size_t n_rows, const uint32_t *cols,
                         size_t n_cols, float *out) {
    enum { MAX_COLS = 64 };
    const size_t bits = (size_t)w->bits, n_groups = w->cols / (size_t)w->group;
    const size_t row_bytes = w->cols / 8 * bits;
    const unsigned mask = (1u << bits) - 1;
    column_place place[MAX_COLS];

    LOAM_ASSERT(w->format == LOAM_FORMAT_AFFINE && row + n_rows <= w->rows && n_cols <= MAX_COLS);
    for (size_t i = 0; i < n_cols; i++) {
        LOAM_ASSERT(cols[i] < w->cols);
        place[i].at = cols[i] * bits / 8;
        place[i].shift = (unsigned)(cols[i] * bits % 8);
        place[i].group = cols[i] / (size_t)w->group;
    }
    for (size_t r = 0; r < n_rows; r++) {
        const unsigned char *p = (const unsigned char *)w->data + (row + r) * row_bytes;
        for (size_t i = 0; i < n_cols; i++) {
            const unsigned shift = place[i].shift;
            unsigned q = (unsigned)p[place[i].at] >> shift;
            if (shift + bits > 8) q |= (unsigned)p[place[i].at + 1] << (8 - shift);
            const size_t scale = (row + r) * n_groups + place[i].group;
            const float scaled = scalar_at(w->scale_dtype, w->scales, scale) * (float)(q & mask);
            out[i * n_rows + r] = scaled + scalar_at(w->scale_dtype, w->biases, scale);
        }
    }
}
