/* neon_search.c - scans of an index: tiles of rows x queries whose sums stay in registers.
 *
 * A dot's sixteen partial sums are four registers, so a tile of 3 rows x 2 queries takes 24; each
 * quarter of sixteen columns costs five loads for six fma.  Bytes: neon_integer.h.
 */
#include "neon.h"

#if defined(__aarch64__)

/* One step of sixteen columns; P points at a row's or a query's values. */
#define TILE_STEP(R, Q, ROW, X)                                                                    \
    _Pragma("GCC unroll 4") for (size_t h = 0; h < 4; h++) {                                       \
        float32x4_t xv[Q];                                                                         \
        _Pragma("GCC unroll 2") for (size_t j = 0; j < Q; j++) xv[j] = vld1q_f32((X) + 4 * h);     \
        _Pragma("GCC unroll 4") for (size_t r = 0; r < R; r++) {                                   \
            const float32x4_t v = vld1q_f32((ROW) + 4 * h);                                        \
            _Pragma("GCC unroll 2") for (size_t j = 0; j < Q; j++) s[r][j][h] =                    \
                vfmaq_f32(s[r][j][h], v, xv[j]);                                                   \
        }                                                                                          \
    }

#define DEFINE_DOT_TILE(R, Q)                                                                      \
    static void dots_##R##_##Q(const loam_dot_tile *t, size_t i, size_t j0, float *y,              \
                               size_t y_stride) {                                                  \
        const float *rows = t->rows + i * t->row_stride, *x = t->x + j0 * t->x_stride;             \
        float32x4_t s[R][Q][4];                                                                    \
        _Pragma("GCC unroll 4") for (size_t r = 0; r < R; r++)                                     \
            _Pragma("GCC unroll 2") for (size_t j = 0; j < Q; j++)                                 \
                _Pragma("GCC unroll 4") for (size_t h = 0; h < 4; h++) s[r][j][h] =                \
                    vdupq_n_f32(0.0f);                                                             \
        size_t k = 0;                                                                              \
        for (; k + LOAM_LANES <= t->dim; k += LOAM_LANES) {                                        \
            TILE_STEP(R, Q, rows + r * t->row_stride + k, x + j * t->x_stride + k)                 \
        }                                                                                          \
        if (k < t->dim) {                                                                          \
            float re[R][LOAM_LANES] = {{0}}, xe[Q][LOAM_LANES] = {{0}};                            \
            for (size_t r = 0; r < R; r++)                                                         \
                memcpy(re[r], rows + r * t->row_stride + k, (t->dim - k) * sizeof(float));         \
            for (size_t j = 0; j < Q; j++)                                                         \
                memcpy(xe[j], x + j * t->x_stride + k, (t->dim - k) * sizeof(float));              \
            TILE_STEP(R, Q, re[r], xe[j])                                                          \
        }                                                                                          \
        _Pragma("GCC unroll 4") for (size_t r = 0; r < R; r++)                                     \
            _Pragma("GCC unroll 2") for (size_t j = 0; j < Q; j++) y[j * y_stride + r] =           \
                sum_tree(s[r][j]);                                                                 \
    }

DEFINE_DOT_TILE(3, 2)
DEFINE_DOT_TILE(3, 1)
DEFINE_DOT_TILE(1, 2)
DEFINE_DOT_TILE(1, 1)

static void dot_tile_neon(const loam_dot_tile *t, float *y, size_t y_stride) {
    for (size_t j = 0, q; j < t->m; j += q, y += q * y_stride) {
        size_t i = 0;
        q = t->m - j >= 2 ? 2 : 1;
        for (; i + 3 <= t->n; i += 3) (q == 2 ? dots_3_2 : dots_3_1)(t, i, j, y + i, y_stride);
        for (; i < t->n; i++) (q == 2 ? dots_1_2 : dots_1_1)(t, i, j, y + i, y_stride);
    }
}

static void f16_rows(const uint16_t *rows, size_t n, size_t stride, const float *x, float *y) {
    float32x4_t s[4][4];
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; r++)
#pragma GCC unroll 4
        for (size_t h = 0; h < 4; h++) s[r][h] = vdupq_n_f32(0.0f);
    for (size_t k = 0; k < stride; k += LOAM_LANES) {
#pragma GCC unroll 2
        for (size_t h = 0; h < 2; h++) {
            const float32x4_t x0 = vld1q_f32(x + k + 8 * h), x1 = vld1q_f32(x + k + 8 * h + 4);
#pragma GCC unroll 4
            for (size_t r = 0; r < 4; r++) {
                const uint16_t *p = rows + (r < n ? r : 0) * stride + k + 8 * h;
                const float16x8_t v = vreinterpretq_f16_u16(vld1q_u16(p));
                s[r][2 * h] = vfmaq_f32(s[r][2 * h], vcvt_f32_f16(vget_low_f16(v)), x0);
                s[r][2 * h + 1] = vfmaq_f32(s[r][2 * h + 1], vcvt_high_f32_f16(v), x1);
            }
        }
    }
    for (size_t r = 0; r < n; r++) y[r] = sum_tree(s[r]);
}

static void dot_rows_f16_neon(const uint16_t *rows, size_t n, size_t stride, const float *x,
                              float *y) {
    for (size_t i = 0; i < n; i += 4)
        f16_rows(rows + i * stride, n - i < 4 ? n - i : 4, stride, x, y + i);
}

static size_t find_not_below_neon(const float *y, size_t n, float bound) {
    const float32x4_t b = vdupq_n_f32(bound);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const uint32x4_t low =
            vandq_u32(vcltq_f32(vld1q_f32(y + i), b), vcltq_f32(vld1q_f32(y + i + 4), b));
        const uint32x4_t high =
            vandq_u32(vcltq_f32(vld1q_f32(y + i + 8), b), vcltq_f32(vld1q_f32(y + i + 12), b));
        if (vminvq_u32(vandq_u32(low, high)) == 0) break;
    }
    while (i < n && y[i] < bound) i++;
    return i;
}

void loam_neon_f16_to_f32(const uint16_t *x, size_t n, float *y) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const float16x8_t v = vreinterpretq_f16_u16(vld1q_u16(x + i));
        vst1q_f32(y + i, vcvt_f32_f16(vget_low_f16(v)));
        vst1q_f32(y + i + 4, vcvt_high_f32_f16(v));
    }
    for (; i < n; i += 4) {
        const size_t part = n - i < 4 ? n - i : 4;
        store_part(y + i, part,
                   load_scalars_part(LOAM_ELEMENT_F16, (const unsigned char *)x, i, part));
    }
}

void loam_neon_use_search(loam_kernels *k) {
    k->dot_tile = dot_tile_neon;
    k->dot_rows_f16 = dot_rows_f16_neon;
    k->find_not_below = find_not_below_neon;
    k->f16_to_f32 = loam_neon_f16_to_f32;
}

#endif
