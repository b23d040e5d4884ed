/* ref.c - what every product means, in the plainest C that says it.
 *
 * Compiled without vectorisation.  The only liberty: weights are unpacked a group (or 128
 * elements) at a time, because calling a bit reader per product would make the reference too
 * slow to test against.
 */
#include "kernels.h"
#include <math.h>

/* One bit-stream element.  Never reads beyond the byte that holds its last bit. */
static unsigned get_bits(const unsigned char *row, size_t i, unsigned bits) {
    const size_t at = i * bits, byte = at / 8;
    const unsigned shift = (unsigned)(at % 8);
    unsigned v = (unsigned)row[byte] >> shift;
    if (shift + bits > 8) v |= (unsigned)row[byte + 1] << (8 - shift);
    return v & ((1u << bits) - 1);
}

static float get_scalar(loam_element e, const unsigned char *p, size_t i) {
    switch (e) {
    case LOAM_ELEMENT_F16: return loam_f16_to_f32(loam_read_u16(p + 2 * i));
    case LOAM_ELEMENT_BF16: return loam_bf16_to_f32(loam_read_u16(p + 2 * i));
    default: return loam_read_f32(p + 4 * i);
    }
}

/* scales or biases of `row` start here */
static const unsigned char *scales_row(const loam_matrix *w, const unsigned char *p, size_t row) {
    return p + row * (w->cols / (size_t)w->group) * loam_element_bytes(w->scale);
}

static void quantize_ref(const float *x, size_t n, size_t group, int8_t *q, float *d, float *s) {
    for (size_t g = 0; g < n / group; g++, x += group, q += group) {
        float a = 0.0f;
        int finite = 1, sum = 0;
        for (size_t k = 0; k < group; k++) {
            const float v = fabsf(x[k]);
            if (!(v <= 3.402823466e38f)) finite = 0;
            if (v > a) a = v;
        }
        const int live = finite && a >= 0x1p-100f;
        const float inverse = live ? 127.0f / a : 0.0f;
        for (size_t k = 0; k < group; k++) {
            float v = live ? rintf(x[k] * inverse) : 0.0f;
            v = v > 127.0f ? 127.0f : v;
            v = v < -127.0f ? -127.0f : v;
            q[k] = (int8_t)v;
            sum += q[k];
        }
        d[g] = live ? a / 127.0f : (finite ? 0.0f : NAN);
        s[g] = d[g] * (float)sum;
    }
}

static void integer_row(const loam_matrix *w, size_t row, const loam_acts *a, size_t m, float *y,
                        size_t y_stride) {
    const size_t group = (size_t)w->group, n_groups = w->cols / group;
    const unsigned char *data = w->data + row * loam_matrix_row_bytes(w);
    const unsigned char *scales = scales_row(w, w->scales, row);
    const unsigned char *biases = scales_row(w, w->biases, row);
    unsigned char q[LOAM_GROUP_MAX];

    for (size_t i = 0; i < m; i++) y[i * y_stride] = 0.0f;
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t k = 0; k < group; k++)
            q[k] = (unsigned char)get_bits(data, g * group + k, (unsigned)w->bits);
        const float scale = get_scalar(w->scale, scales, g);
        for (size_t i = 0; i < m; i++) {
            const int8_t *x = a->q + i * a->q_stride + g * group;
            int32_t sum = 0; /* 128 * 255 * 127 < 2^24 */
            for (size_t k = 0; k < group; k++) sum += q[k] * x[k];
            y[i * y_stride] = fmaf(scale * a->d[i * a->g_stride + g], (float)sum, y[i * y_stride]);
        }
    }
    for (size_t g = 0; g < n_groups; g++) {
        const float bias = get_scalar(w->scale, biases, g);
        for (size_t i = 0; i < m; i++)
            y[i * y_stride] = fmaf(bias, a->s[i * a->g_stride + g], y[i * y_stride]);
    }
}

static void integer_product_ref(const loam_matrix *w, size_t row0, size_t n_rows,
                                const loam_acts *a, size_t m, float *y, size_t y_stride,
                                void *scratch) {
    (void)scratch;
    for (size_t r = 0; r < n_rows; r++) integer_row(w, row0 + r, a, m, y + r, y_stride);
}

/* Elements begin .. begin + n of a row as f32; begin is a multiple of LOAM_GROUP_MAX. */
static void unpack_f32(const loam_matrix *w, size_t row, size_t begin, size_t n, float *out) {
    const unsigned char *data = w->data + row * loam_matrix_row_bytes(w);
    if (w->element != LOAM_ELEMENT_AFFINE) {
        for (size_t k = 0; k < n; k++) out[k] = get_scalar(w->element, data, begin + k);
        return;
    }
    const unsigned char *scales = scales_row(w, w->scales, row);
    const unsigned char *biases = scales_row(w, w->biases, row);
    for (size_t k = 0; k < n; k++) {
        const size_t g = (begin + k) / (size_t)w->group;
        const float scaled =
            get_scalar(w->scale, scales, g) * (float)get_bits(data, begin + k, (unsigned)w->bits);
        out[k] = scaled + get_scalar(w->scale, biases, g);
    }
}

static void float_product_ref(const loam_matrix *w, size_t row0, size_t n_rows, const float *x,
                              size_t x_stride, size_t m, float *y, size_t y_stride, void *scratch) {
    float weights[LOAM_GROUP_MAX];

    (void)scratch;
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t i = 0; i < m; i++) y[i * y_stride + r] = 0.0f;
        for (size_t begin = 0; begin < w->cols; begin += LOAM_GROUP_MAX) {
            const size_t left = w->cols - begin, n = left < LOAM_GROUP_MAX ? left : LOAM_GROUP_MAX;
            unpack_f32(w, row0 + r, begin, n, weights);
            for (size_t i = 0; i < m; i++) {
                const float *xi = x + i * x_stride + begin;
                float acc = y[i * y_stride + r];
                for (size_t k = 0; k < n; k++) acc = fmaf(weights[k], xi[k], acc);
                y[i * y_stride + r] = acc;
            }
        }
    }
}

static void add_columns_ref(const uint16_t *columns, size_t c_stride, size_t n_rows, const float *x,
                            size_t m, float *y, size_t y_stride) {
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < LOAM_OUTLIERS; j++)
                y[i * y_stride + r] = fmaf(loam_f16_to_f32(columns[j * c_stride + r]),
                                           x[i * LOAM_OUTLIERS + j], y[i * y_stride + r]);
}

static void row_to_f32_ref(const loam_matrix *w, size_t row, float *out) {
    unpack_f32(w, row, 0, w->cols, out);
}

void loam_kernels_use_ref(loam_kernels *k) {
    k->isa = LOAM_ISA_REF;
    k->name = "ref";
    k->quantize = quantize_ref;
    k->integer_product = integer_product_ref;
    k->float_product = float_product_ref;
    k->add_columns = add_columns_ref;
    k->row_to_f32 = row_to_f32_ref;
    loam_kernels_use_ref_math(k);
    loam_kernels_use_ref_attention(k);
    loam_kernels_use_ref_search(k);
    loam_kernels_use_ref_panel(k);
}
