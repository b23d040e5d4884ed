/* neon_float.c - f32 products: a 4 x 16 tile over panels packed from the weights.
 *
 * Lanes hold outputs, k runs upwards with one fma each, so blocking changes nothing: a tile
 * that stops at a block of k writes its sums to y and the next block goes on from there.
 *
 *     y tile [4 positions][16 rows] += x [4][256] by element * panel [256][16]   16 registers
 *
 * Sixteen sums are what four units of latency four need; x takes four registers of four k.
 * Blocks of panels are those of float_blocks.h.  One position goes without panels: four rows of
 * four columns are transposed in registers.
 */
#include "neon.h"

#if defined(__aarch64__)

#define TILE_RUN loam_neon_tile
enum { TILE_ROWS = NEON_TILE_ROWS, FLOATS = 4 };
#include "float_blocks.h"

/* One k of a tile of m positions: lane `l` of each x. */
#define TILE_K(M, L)                                                                               \
    {                                                                                              \
        float32x4_t v[4];                                                                          \
        _Pragma("GCC unroll 4") for (size_t j = 0; j < 4; j++) v[j] = vld1q_f32(b + 4 * j);        \
        _Pragma("GCC unroll 4") for (size_t i = 0; i < M; i++)                                     \
            _Pragma("GCC unroll 4") for (size_t j = 0; j < 4; j++) s[i][j] =                       \
                vfmaq_laneq_f32(s[i][j], v[j], xv[i], L);                                          \
        b += t->b_stride;                                                                          \
    }

#define DEFINE_TILE(M)                                                                             \
    static void tile_##M(const loam_tile *t) {                                                     \
        float32x4_t s[M][4], xv[M];                                                                \
        const float *b = t->b, *x = t->x;                                                          \
        size_t k = 0;                                                                              \
        _Pragma("GCC unroll 4") for (size_t i = 0; i < M; i++)                                     \
            _Pragma("GCC unroll 4") for (size_t j = 0; j < 4; j++) s[i][j] =                       \
                t->begin ? vdupq_n_f32(0.0f) : vld1q_f32(t->y + i * t->y_stride + 4 * j);          \
        for (; k + 4 <= t->n_k; k += 4) {                                                          \
            _Pragma("GCC unroll 4") for (size_t i = 0; i < M; i++) xv[i] =                         \
                vld1q_f32(x + i * t->x_stride + k);                                                \
            TILE_K(M, 0) TILE_K(M, 1) TILE_K(M, 2) TILE_K(M, 3)                                    \
        }                                                                                          \
        for (; k < t->n_k; k++) {                                                                  \
            _Pragma("GCC unroll 4") for (size_t i = 0; i < M; i++) xv[i] =                         \
                vld1q_dup_f32(x + i * t->x_stride + k);                                            \
            TILE_K(M, 0)                                                                           \
        }                                                                                          \
        _Pragma("GCC unroll 4") for (size_t i = 0; i < M; i++)                                     \
            _Pragma("GCC unroll 4") for (size_t j = 0; j < 4; j++)                                 \
                vst1q_f32(t->y + i * t->y_stride + 4 * j, s[i][j]);                                \
    }

DEFINE_TILE(1)
DEFINE_TILE(2)
DEFINE_TILE(3)
DEFINE_TILE(4)

void loam_neon_tile(const loam_tile *t, size_t m) {
    static void (*const tiles[])(const loam_tile *t) = {tile_1, tile_2, tile_3, tile_4};
    tiles[m - 1](t);
}

static void dense_to_f32(loam_element e, const unsigned char *p, size_t n, float *out) {
    size_t k = 0;
    for (; k + 4 <= n; k += 4) vst1q_f32(out + k, load_scalars(e, p, k));
    if (k < n) store_part(out + k, n - k, load_scalars_part(e, p, k, n - k));
}

static float scalar(loam_element e, const unsigned char *p, size_t i) {
    return vgetq_lane_f32(load_scalars_part(e, p, i, 1), 0);
}

/* w = scale * q rounded, + bias rounded, of sixteen bytes. */
LOAM_INLINE void dequantize16(uint8x16_t q, float32x4_t scale, float32x4_t bias, float *out) {
    const uint16x8_t h[2] = {vmovl_u8(vget_low_u8(q)), vmovl_high_u8(q)};
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        const uint32x4_t w = i % 2 ? vmovl_high_u16(h[i / 2]) : vmovl_u16(vget_low_u16(h[i / 2]));
        vst1q_f32(out + 4 * i, vaddq_f32(vmulq_f32(scale, vcvtq_f32_u32(w)), bias));
    }
}

LOAM_INLINE void widen32(const unsigned char *data, int bits, float scale, float bias, float *out) {
    const uint8x16x2_t q = unpack32(data, bits);
    dequantize16(q.val[0], vdupq_n_f32(scale), vdupq_n_f32(bias), out);
    dequantize16(q.val[1], vdupq_n_f32(scale), vdupq_n_f32(bias), out + 16);
}

#include "float_rows.h"

void loam_neon_pack(const loam_matrix *w, const unsigned char *data, size_t row_bytes, size_t row0,
                    size_t n_rows, size_t k0, size_t n, float *out, float *buffer) {
    const float *rows[PANEL_ROWS];

    find_rows(w, data, row_bytes, row0, n_rows, k0, n, buffer, rows);
    for (size_t k = 0; k < n; k += 4) {
        const size_t left = n - k < 4 ? n - k : 4;
        for (size_t quarter = 0; quarter < PANEL_ROWS; quarter += 4) {
            float32x4_t t[4];
            float *o = out + k * PANEL_ROWS + quarter;
#pragma GCC unroll 4
            for (size_t r = 0; r < 4; r++) t[r] = vld1q_f32(rows[quarter + r] + k);
            transpose4(t);
            if (left == 4) {
#pragma GCC unroll 4
                for (size_t i = 0; i < 4; i++) vst1q_f32(o + i * PANEL_ROWS, t[i]);
            } else {
                for (size_t i = 0; i < left; i++) vst1q_f32(o + i * PANEL_ROWS, t[i]);
            }
        }
    }
}

/* One position against sixteen rows, columns k0 .. k0 + n: s (+)= rows * x. */
static void multiply_rows(const float *const rows[PANEL_ROWS], size_t n, const float *x,
                          float32x4_t s[4]) {
    size_t k = 0;
    for (; k + 4 <= n; k += 4) {
        const float32x4_t xk = vld1q_f32(x + k);
#pragma GCC unroll 4
        for (size_t j = 0; j < 4; j++) {
            float32x4_t t[4];
#pragma GCC unroll 4
            for (size_t r = 0; r < 4; r++) t[r] = vld1q_f32(rows[4 * j + r] + k);
            transpose4(t);
            s[j] = vfmaq_laneq_f32(s[j], t[0], xk, 0);
            s[j] = vfmaq_laneq_f32(s[j], t[1], xk, 1);
            s[j] = vfmaq_laneq_f32(s[j], t[2], xk, 2);
            s[j] = vfmaq_laneq_f32(s[j], t[3], xk, 3);
        }
    }
    for (; k < n; k++) { /* few: the last columns */
        for (size_t j = 0; j < 4; j++) {
            const float t[4] = {rows[4 * j][k], rows[4 * j + 1][k], rows[4 * j + 2][k],
                                rows[4 * j + 3][k]};
            s[j] = vfmaq_n_f32(s[j], vld1q_f32(t), x[k]);
        }
    }
}

static void vector_product(const loam_matrix *w, size_t row0, size_t n_rows, const float *x,
                           float *y, float *buffer) {
    const size_t row_bytes = loam_matrix_row_bytes(w);

    for (size_t r = 0; r < n_rows; r += PANEL_ROWS) {
        const size_t rows = n_rows - r < PANEL_ROWS ? n_rows - r : PANEL_ROWS;
        const float *at[PANEL_ROWS];
        float32x4_t s[4];
#pragma GCC unroll 4
        for (size_t j = 0; j < 4; j++) s[j] = vdupq_n_f32(0.0f);
        for (size_t k = 0; k < w->cols; k += BLOCK_K) {
            const size_t n = w->cols - k < BLOCK_K ? w->cols - k : BLOCK_K;
            find_rows(w, w->data, row_bytes, row0 + r, rows, k, n, buffer, at);
            multiply_rows(at, n, x + k, s);
        }
        for (size_t j = 0; 4 * j < rows; j++) store_part(y + r + 4 * j, rows - 4 * j, s[j]);
    }
}

static void place_panel(const loam_matrix *w, const panel_place *at, const void *room, float *out) {
    float *const *buffer = room;
    loam_neon_pack(w, w->data, loam_matrix_row_bytes(w), at->row, at->n_rows, at->k, at->n_k, out,
                   *buffer);
}

static void panel_product(const loam_matrix *w, size_t row0, size_t n_rows, const float *x,
                          size_t x_stride, size_t m, float *y, size_t y_stride, void *scratch) {
    float *panels = scratch, *buffer = panels + BLOCK_ROWS * BLOCK_K;
    multiply_by_panels(w, row0, n_rows, x, x_stride, m, y, y_stride, panels, place_panel, &buffer);
}

static void float_product_neon(const loam_matrix *w, size_t row0, size_t n_rows, const float *x,
                               size_t x_stride, size_t m, float *y, size_t y_stride,
                               void *scratch) {
    if (m == 0) return;
    if (w->cols == 0) {
        for (size_t i = 0; i < m; i++) memset(y + i * y_stride, 0, n_rows * sizeof *y);
    } else if (m == 1) {
        vector_product(w, row0, n_rows, x, y, scratch);
    } else {
        panel_product(w, row0, n_rows, x, x_stride, m, y, y_stride, scratch);
    }
}

void loam_neon_use_float(loam_kernels *k) {
    k->float_product = float_product_neon;
    k->row_to_f32 = row_to_f32;
}

#endif
