/* float_rows.h - rows of weights as f32: what AVX2 and NEON do alike.
 *
 * A set's file says how many floats a register has and defines three functions, then includes this:
 *
 *     enum { FLOATS = ... };
 *     dense_to_f32    n scalars
 *     scalar          one of them
 *     widen32         32 affine numbers: scale * q rounded, + bias rounded
 */
#ifndef LOAM_FLOAT_ROWS_H
#define LOAM_FLOAT_ROWS_H

#include "kernels.h"

LOAM_INLINE void affine_to_f32_bits(const loam_matrix *w, size_t row, size_t k0, size_t n, int bits,
                                    float *out) {
    const size_t group = (size_t)w->group,
                 at = row * (w->cols / group) * loam_element_bytes(w->scale);
    const unsigned char *data = w->data + row * loam_matrix_row_bytes(w) + k0 / 8 * (size_t)bits;

    for (size_t k = 0; k < n; k += 32, data += 4 * bits) {
        const size_t g = (k0 + k) / group;
        const float scale = scalar(w->scale, w->scales + at, g);
        const float bias = scalar(w->scale, w->biases + at, g);
        widen32(data, bits, scale, bias, out + k);
    }
}

/* Columns k0 .. k0 + n of a row; both are multiples of 32. */
static void affine_to_f32(const loam_matrix *w, size_t row, size_t k0, size_t n, float *out) {
    switch (w->bits) {
    case 2: affine_to_f32_bits(w, row, k0, n, 2, out); return;
    case 3: affine_to_f32_bits(w, row, k0, n, 3, out); return;
    case 4: affine_to_f32_bits(w, row, k0, n, 4, out); return;
    case 5: affine_to_f32_bits(w, row, k0, n, 5, out); return;
    case 6: affine_to_f32_bits(w, row, k0, n, 6, out); return;
    default: affine_to_f32_bits(w, row, k0, n, 8, out); return;
    }
}

static void row_to_f32(const loam_matrix *w, size_t row, float *out) {
    if (w->element == LOAM_ELEMENT_AFFINE)
        affine_to_f32(w, row, 0, w->cols, out);
    else
        dense_to_f32(w->element, w->data + row * loam_matrix_row_bytes(w), w->cols, out);
}

/* Columns k0 .. k0 + n of sixteen rows as f32: in place where the weights are, else in buffer, each
 * readable up to a multiple of FLOATS columns.  The rows from n_rows on repeat the last one. */
LOAM_INLINE void find_rows(const loam_matrix *w, const unsigned char *data, size_t row_bytes,
                           size_t row0, size_t n_rows, size_t k0, size_t n, float *buffer,
                           const float *rows[16]) {
    const size_t padded = (n + FLOATS - 1) / FLOATS * FLOATS;
    const int direct = w->element == LOAM_ELEMENT_F32 && n % FLOATS == 0;

    for (size_t r = 0; r < 16; r++) {
        if (r >= n_rows) {
            rows[r] = rows[n_rows - 1];
            continue;
        }
        float *to = buffer + r * padded;
        rows[r] = to;
        if (w->element == LOAM_ELEMENT_AFFINE) {
            affine_to_f32(w, row0 + r, k0, n, to);
            continue;
        }
        const unsigned char *p =
            data + (row0 + r) * row_bytes + k0 * loam_element_bytes(w->element);
        if (direct)
            rows[r] = (const float *)(const void *)p;
        else
            dense_to_f32(w->element, p, n, to);
    }
}

#endif
