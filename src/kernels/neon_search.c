/* neon_search.c - scans of an index: tiles of rows x queries whose sums stay in registers.
 *
 * A dot's sixteen partial sums are four registers, so a tile of 3 rows x 2 queries takes 24; each
 * quarter of sixteen columns costs five loads for six fma.
 */
#include "neon.h"

#if defined(__aarch64__)

/* One step of sixteen columns; ROW and X point at a row's and a query's values. */
#define TILE_STEP(R, Q, ROW, X)                                                                    \
    DOT_EACH_VECTOR {                                                                              \
        float32x4_t xv[Q];                                                                         \
        DOT_EACH_QUERY(Q) xv[j] = vld1q_f32((X) + 4 * h);                                          \
        DOT_EACH_ROW(R) {                                                                          \
            const float32x4_t v = vld1q_f32((ROW) + 4 * h);                                        \
            DOT_EACH_QUERY(Q) s[r][j][h] = vfmaq_f32(s[r][j][h], v, xv[j]);                        \
        }                                                                                          \
    }

#define DOT_VECTOR     float32x4_t
#define DOT_ZERO       vdupq_n_f32(0.0f)
#define DOT_STEP(R, Q) TILE_STEP(R, Q, rows + r * t->row_stride + k, x + j * t->x_stride + k)
#define DOT_END(R, Q)                                                                              \
    float re[R][LOAM_LANES] = {{0}}, xe[Q][LOAM_LANES] = {{0}};                                    \
    for (size_t r = 0; r < R; r++)                                                                 \
        memcpy(re[r], rows + r * t->row_stride + k, (dim - k) * sizeof(float));                    \
    for (size_t j = 0; j < Q; j++)                                                                 \
        memcpy(xe[j], x + j * t->x_stride + k, (dim - k) * sizeof(float));                         \
    TILE_STEP(R, Q, re[r], xe[j])
#define DOT_SUM sum_tree
enum { DOT_VECTORS = 4, DOT_ROWS = 3, DOT_QUERIES = 2 };
#include "dot_tiles.h"

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
                              float *y, int cached) {
    (void)cached;
    for (size_t i = 0; i < n; i += 4)
        f16_rows(rows + i * stride, n - i < 4 ? n - i : 4, stride, x, y + i);
}

/* A panel of an index (loam_byte_tile) against one query: products of a column group are 16-bit
 * lanes (two rows a register), eight of which fit (8 * 127 * 31 = 31,496) before they are widened. */
static void bytes_panel(const uint8_t *rows, const int8_t *x, size_t cols, int32x4_t sums[4]) {
    int32x4_t wide[8];
#pragma GCC unroll 8
    for (size_t r = 0; r < 8; r++) wide[r] = vdupq_n_s32(0);
    for (size_t k = 0; k < cols; k += 16, rows += 256) { /* four groups of columns */
        int16x8_t narrow[8];
#pragma GCC unroll 4
        for (size_t g = 0; g < 4; g++) {
            uint32_t four;
            memcpy(&four, x + k + 4 * g, 4);
            const int8x16_t xg = vreinterpretq_s8_u32(vdupq_n_u32(four));
#pragma GCC unroll 4
            for (size_t r = 0; r < 4; r++) {
                const int8x16_t v = vreinterpretq_s8_u8(vld1q_u8(rows + 64 * g + 16 * r));
                int16x8_t *a = &narrow[2 * r], *b = &narrow[2 * r + 1];
                *a = g ? vmlal_s8(*a, vget_low_s8(v), vget_low_s8(xg))
                       : vmull_s8(vget_low_s8(v), vget_low_s8(xg));
                *b = g ? vmlal_high_s8(*b, v, xg) : vmull_high_s8(v, xg);
            }
        }
#pragma GCC unroll 8
        for (size_t r = 0; r < 8; r++) wide[r] = vpadalq_s16(wide[r], narrow[r]);
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; r++) sums[r] = vpaddq_s32(wide[2 * r], wide[2 * r + 1]);
}

static void byte_tile_neon(const loam_byte_tile *t, float *y, size_t y_stride) {
    for (size_t i = 0; i < t->n; i += LOAM_PANEL) {
        for (size_t j = 0; j < t->m; j++) {
            int32x4_t sums[4];
            bytes_panel(t->rows + i * t->cols, t->x + j * t->cols, t->cols, sums);
            for (size_t r = 0; r < 4; r++) {
                const int32x4_t sum = vsubq_s32(sums[r], vdupq_n_s32(t->offsets[j]));
                vst1q_f32(y + j * y_stride + i + 4 * r,
                          vmulq_f32(vld1q_f32(t->scales + i + 4 * r), vcvtq_f32_s32(sum)));
            }
        }
    }
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
    k->dot_tile = dot_tile;
    k->dot_tile_rows = DOT_ROWS;
    k->byte_tile = byte_tile_neon;
    k->dot_rows_f16 = dot_rows_f16_neon;
    k->find_not_below = find_not_below_neon;
    k->f16_to_f32 = loam_neon_f16_to_f32;
}

#endif
