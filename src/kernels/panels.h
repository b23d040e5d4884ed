/* panels.h - products with a copy of the weights that was made for them.
 *
 * A weight that meets many positions again and again (an encoder's) is copied once into panels
 * of sixteen rows, whose lanes are outputs:
 *
 *     f32     [cols][16 rows]                  the sums of float_product, k ascending
 *     wide    [cols / 2][16 rows][2] int16     (a set may choose another order of the same size)
 *
 * Wide numbers are integers of 12 bits, -2047 .. 2047, with one scale a row of weights and one a
 * position: w_k ~ scale_r * q_k, x_k ~ d_i * x^_k.  512 products of two fit an int32, so every
 * set gives the same bits:  acc = 0, then columns in blocks of LOAM_WIDE_BLOCK ascending,
 * acc = fma(scale_r * d_i, (float)I, acc) with the exact integer I of the block.
 *
 * cols of a wide panel is a multiple of LOAM_WIDE_UNIT, filled up with zeros.  Rows that a
 * panel has too many are copies or zeros: y must have room for all sixteen.
 */
#ifndef LOAM_PANELS_H
#define LOAM_PANELS_H

#include <stddef.h>
#include <stdint.h>

enum {
    LOAM_PANEL_ROWS = 16,
    LOAM_WIDE_MAX = 2047,
    LOAM_WIDE_BLOCK = 512, /* columns of one integer sum: 512 * 2047^2 < 2^31 */
    LOAM_WIDE_UNIT = 64
};

/* x [m, cols], y [m, 16 * n_panels]; strides in elements. */
typedef struct loam_panel_float {
    const float *panels; /* [n_panels][cols][16] */
    size_t n_panels, cols;
    const float *x;
    size_t x_stride, m;
    float *y;
    size_t y_stride;
} loam_panel_float;

typedef struct loam_panel_wide {
    const int16_t *panels; /* [n_panels][16 * cols] */
    const float *scales;   /* [n_panels][16] */
    size_t n_panels, cols;
    const int16_t *x;
    const float *d; /* [m] */
    size_t x_stride, m;
    float *y;
    size_t y_stride;
} loam_panel_wide;

/* Full attention of one head of one sequence: every query sees all n keys.
 *     x_j = (q . k_j, d ascending, one fma each from 0) * scale;   M = max x_j, by `>`
 *     p_j = exp(x_j - M);   sum = lanes16(p), as in loam_attention
 *     y = (j ascending, one fma(p_j, v_j, out) each from 0) * (1 / sum)
 * Rows of q, k, v are `stride` apart, those of y y_stride; n > 0. */
typedef struct loam_attend {
    const float *q, *k, *v;
    size_t stride, n, head_dim;
    float scale;
    float *y;
    size_t y_stride;
} loam_attend;

/* Floats of scratch that it needs. */
static inline size_t loam_attend_scratch(size_t n, size_t head_dim) {
    const size_t keys = (n + 15) / 16 * 16, dim = (head_dim + 15) / 16 * 16;
    return keys * (head_dim + dim + 6) + 16 * (head_dim + 8) + 6 * dim;
}

#endif
