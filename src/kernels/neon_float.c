/* neon_float.c - f32 products: a 4 x 16 tile over panels packed from the weights.
 *
 * Lanes hold outputs, k runs upwards with one fma each, so blocking changes nothing: a tile
 * that stops at a block of k writes its sums to y and the next block goes on from there.
 *
 *     weights [16 rows][256 k]  --convert, transpose-->  panel [256 k][16 rows]   16 KB, L1
 *     y tile [4 positions][16 rows] += x [4][256] by element * panel              16 registers
 *
 * Sixteen sums are what four units of latency four need; x takes four registers of four k.
 * Four panels (64 rows) are packed at a time.  One position goes without panels: four rows of
 * four columns are transposed in registers.
 */
#include "neon.h"

#if defined(__aarch64__)

enum { BLOCK_K = 256, PANELS = 4, PANEL_ROWS = 16 };

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
    static void tile_##M(const neon_tile *t) {                                                     \
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

void loam_neon_tile(const neon_tile *t, size_t m) {
    static void (*const tiles[])(const neon_tile *t) = {tile_1, tile_2, tile_3, tile_4};
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

LOAM_INLINE void affine_to_f32_bits(const loam_matrix *w, size_t row, size_t k0, size_t n, int bits,
                                    float *out) {
    const size_t group = (size_t)w->group,
                 at = row * (w->cols / group) * loam_element_bytes(w->scale);
    const unsigned char *data = w->data + row * loam_matrix_row_bytes(w) + k0 / 8 * (size_t)bits;

    for (size_t k = 0; k < n; k += 32, data += 4 * bits) {
        const size_t g = (k0 + k) / group;
        const float32x4_t scale = vdupq_n_f32(scalar(w->scale, w->scales + at, g));
        const float32x4_t bias = vdupq_n_f32(scalar(w->scale, w->biases + at, g));
        const uint8x16x2_t q = unpack32(data, bits);
        dequantize16(q.val[0], scale, bias, out + k);
        dequantize16(q.val[1], scale, bias, out + k + 16);
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

static void row_to_f32_neon(const loam_matrix *w, size_t row, float *out) {
    if (w->element == LOAM_ELEMENT_AFFINE)
        affine_to_f32(w, row, 0, w->cols, out);
    else
        dense_to_f32(w->element, w->data + row * loam_matrix_row_bytes(w), w->cols, out);
}

/* Columns k0 .. k0 + n of sixteen rows as f32: in place where the weights are, else in buffer.
 * Each is readable up to a multiple of four columns. */
static void find_rows(const loam_matrix *w, const unsigned char *data, size_t row_bytes,
                      size_t row0, size_t n_rows, size_t k0, size_t n, float *buffer,
                      const float *rows[PANEL_ROWS]) {
    const size_t padded = (n + 3) / 4 * 4;
    const int direct = w->element == LOAM_ELEMENT_F32 && n % 4 == 0;

    for (size_t r = 0; r < PANEL_ROWS; r++) {
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

typedef struct panel_block {
    const float *panels; /* [n_panels][BLOCK_K][16] */
    size_t n_rows, n_k;
    const float *x; /* at the block's first k */
    size_t x_stride, m;
    float *y;
    size_t y_stride;
    int begin;
} panel_block;

/* A panel with fewer than sixteen rows of its own goes through a copy of its part of y. */
static void tile_edge(const panel_block *p, neon_tile t, size_t m, size_t rows) {
    float y[NEON_TILE_ROWS][PANEL_ROWS] = {{0}}, *to = t.y;
    for (size_t i = 0; i < m && !p->begin; i++)
        memcpy(y[i], to + i * t.y_stride, rows * sizeof(float));
    t.y = y[0];
    t.y_stride = PANEL_ROWS;
    loam_neon_tile(&t, m);
    for (size_t i = 0; i < m; i++) memcpy(to + i * p->y_stride, y[i], rows * sizeof(float));
}

static void multiply_block(const panel_block *p) {
    for (size_t i = 0; i < p->m; i += NEON_TILE_ROWS) {
        const size_t m = p->m - i < NEON_TILE_ROWS ? p->m - i : NEON_TILE_ROWS;
        for (size_t r = 0; r < p->n_rows; r += PANEL_ROWS) {
            const size_t rows = p->n_rows - r;
            const neon_tile t = {.x = p->x + i * p->x_stride,
                                 .x_stride = p->x_stride,
                                 .b = p->panels + r * BLOCK_K,
                                 .b_stride = PANEL_ROWS,
                                 .n_k = p->n_k,
                                 .y = p->y + i * p->y_stride + r,
                                 .y_stride = p->y_stride,
                                 .begin = p->begin};
            if (rows >= PANEL_ROWS)
                loam_neon_tile(&t, m);
            else
                tile_edge(p, t, m, rows);
        }
    }
}

static void panel_product(const loam_matrix *w, size_t row0, size_t n_rows, const float *x,
                          size_t x_stride, size_t m, float *y, size_t y_stride, void *scratch) {
    float *panels = scratch, *buffer = panels + PANELS * PANEL_ROWS * BLOCK_K;
    const size_t row_bytes = loam_matrix_row_bytes(w);

    for (size_t r = 0; r < n_rows; r += PANELS * PANEL_ROWS) {
        const size_t left = n_rows - r;
        const size_t rows = left < PANELS * PANEL_ROWS ? left : PANELS * PANEL_ROWS;
        for (size_t k = 0; k < w->cols; k += BLOCK_K) {
            const size_t n = w->cols - k < BLOCK_K ? w->cols - k : BLOCK_K;
            for (size_t i = 0; i < rows; i += PANEL_ROWS)
                loam_neon_pack(w, w->data, row_bytes, row0 + r + i,
                               rows - i < PANEL_ROWS ? rows - i : PANEL_ROWS, k, n,
                               panels + i * BLOCK_K, buffer);
            const panel_block block = {.panels = panels,
                                       .n_rows = rows,
                                       .n_k = n,
                                       .x = x + k,
                                       .x_stride = x_stride,
                                       .m = m,
                                       .y = y + r,
                                       .y_stride = y_stride,
                                       .begin = k == 0};
            multiply_block(&block);
        }
    }
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
    k->row_to_f32 = row_to_f32_neon;
}

#endif
