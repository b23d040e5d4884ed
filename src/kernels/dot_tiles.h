/* dot_tiles.h - dots of rows x queries of an index whose sums stay in registers: what every
 * instruction set does alike.  A set's file defines
 *
 *     DOT_VECTOR, DOT_ZERO              a register of f32, and one of zeros
 *     enum { DOT_VECTORS = ... };       of them sixteen partial sums are
 *     DOT_ROWS, DOT_QUERIES             the largest tile
 *     DOT_STEP(R, Q)                    s[R][Q][DOT_VECTORS] += columns k .. k + 15 of rows and x
 *     DOT_END(R, Q)                     the same for the last columns, fewer than sixteen
 *     DOT_SUM(s)                        the end of a dot: the tree over its partial sums
 */
#ifndef LOAM_DOT_TILES_H
#define LOAM_DOT_TILES_H

#include "kernels.h"

#define DOT_EACH_ROW(R)   _Pragma("GCC unroll 4") for (size_t r = 0; r < (R); r++)
#define DOT_EACH_QUERY(Q) _Pragma("GCC unroll 6") for (size_t j = 0; j < (Q); j++)
#define DOT_EACH_VECTOR   _Pragma("GCC unroll 4") for (size_t h = 0; h < DOT_VECTORS; h++)

#define DEFINE_DOTS(NAME, R, Q)                                                                    \
    static void NAME(const loam_dot_tile *t, size_t i, size_t j0, float *y, size_t y_stride) {     \
        const float *rows = t->rows + i * t->row_stride, *x = t->x + j0 * t->x_stride;             \
        const size_t dim = t->dim;                                                                 \
        DOT_VECTOR s[R][Q][DOT_VECTORS];                                                           \
        DOT_EACH_ROW(R) DOT_EACH_QUERY(Q) DOT_EACH_VECTOR s[r][j][h] = DOT_ZERO;                   \
        size_t k = 0;                                                                              \
        for (; k + LOAM_LANES <= dim; k += LOAM_LANES) {                                           \
            DOT_STEP(R, Q)                                                                         \
        }                                                                                          \
        if (k < dim) {                                                                             \
            DOT_END(R, Q)                                                                          \
        }                                                                                          \
        DOT_EACH_ROW(R) DOT_EACH_QUERY(Q) y[j * y_stride + r] = DOT_SUM(s[r][j]);                  \
    }

DEFINE_DOTS(dots_rows_queries, DOT_ROWS, DOT_QUERIES)
DEFINE_DOTS(dots_rows_1, DOT_ROWS, 1)
DEFINE_DOTS(dots_1_queries, 1, DOT_QUERIES)
DEFINE_DOTS(dots_1_1, 1, 1)

static void dot_tile(const loam_dot_tile *t, float *y, size_t y_stride) {
    for (size_t j = 0, q; j < t->m; j += q, y += q * y_stride) {
        const int many = t->m - j >= DOT_QUERIES;
        size_t i = 0;
        q = many ? DOT_QUERIES : 1;
        for (; i + DOT_ROWS <= t->n; i += DOT_ROWS)
            (many ? dots_rows_queries : dots_rows_1)(t, i, j, y + i, y_stride);
        for (; i < t->n; i++) (many ? dots_1_queries : dots_1_1)(t, i, j, y + i, y_stride);
    }
}

#endif
