/* neoni8mm.c - 8-bit integer matrices (Neoverse V1 and N2, Apple M2, and later): usmmla.
 *
 * The instruction multiplies 2 rows x 8 columns (u8) with 8 columns x 2 positions (s8) and adds the
 * 2 x 2 sums to a register: 32 products.  From four positions on, eight rows meet four positions:
 *
 *     panel [k/8][4 row pairs][2 rows][8]     x [k/8][2 position pairs][2 positions][8]
 *     8 registers of sums, lanes (row 0 pos 0, row 0 pos 1, row 1 pos 0, row 1 pos 1)
 *
 * so a step of eight columns is six loads and eight usmmla.  q of 8 bits is unsigned here, too.  Within
 * each 32 columns of 4 bits the even ones come first, in weights and activations alike, which saves
 * putting the nibbles in order.  Fewer positions: sdot, straight from the bit stream.
 */
#include "neon.h"

#if defined(__aarch64__)

#include "neon_integer.h"

enum {
    VECTOR_MAX = 3,
    ROWS = 8,
    PAIRS = ROWS / 2,
    COLS = 4,
    STEP_BYTES = 8 * ROWS, /* of eight columns of the panel */
    X_BYTES = 8 * COLS,
    PANEL_BYTES = 384 << 10,
    BLOCK_MAX = 64
};

/* Two rows of 32 columns into the panel: out[4 steps][this pair's 16 bytes]. */
LOAM_INLINE void place_pair(const unsigned char *a, const unsigned char *b, int bits,
                            unsigned char *out) {
    uint8x16_t u[2], v[2];
    if (bits == 4) {
        const uint8x16_t low = vdupq_n_u8(15), ua = vld1q_u8(a), ub = vld1q_u8(b);
        u[0] = vandq_u8(ua, low);
        u[1] = vshrq_n_u8(ua, 4);
        v[0] = vandq_u8(ub, low);
        v[1] = vshrq_n_u8(ub, 4);
    } else {
        const uint8x16x2_t ua = unpack32(a, bits), ub = unpack32(b, bits);
        u[0] = ua.val[0];
        u[1] = ua.val[1];
        v[0] = ub.val[0];
        v[1] = ub.val[1];
    }
#pragma GCC unroll 2
    for (size_t i = 0; i < 2; i++) {
        const uint64x2_t p = vreinterpretq_u64_u8(u[i]), q = vreinterpretq_u64_u8(v[i]);
        vst1q_u8(out + 2 * i * STEP_BYTES, vreinterpretq_u8_u64(vzip1q_u64(p, q)));
        vst1q_u8(out + (2 * i + 1) * STEP_BYTES, vreinterpretq_u8_u64(vzip2q_u64(p, q)));
    }
}

LOAM_INLINE void place_rows_bits(const unsigned char *const row[ROWS], size_t cols, int bits,
                                 unsigned char *out) {
    for (size_t k = 0, at = 0; k < cols; k += 32, at += 4 * (size_t)bits, out += 4 * STEP_BYTES) {
#pragma GCC unroll 4
        for (size_t p = 0; p < PAIRS; p++)
            place_pair(row[2 * p] + at, row[2 * p + 1] + at, bits, out + 16 * p);
    }
}

/* Eight rows, of which n exist; the others repeat the last. */
static void place_rows(const loam_matrix *w, size_t row0, size_t n, unsigned char *out) {
    const size_t bytes = loam_matrix_row_bytes(w);
    const unsigned char *row[ROWS];
    for (size_t i = 0; i < ROWS; i++) row[i] = w->data + (row0 + (i < n ? i : n - 1)) * bytes;
    switch (w->bits) {
    case 2: place_rows_bits(row, w->cols, 2, out); return;
    case 3: place_rows_bits(row, w->cols, 3, out); return;
    case 4: place_rows_bits(row, w->cols, 4, out); return;
    case 5: place_rows_bits(row, w->cols, 5, out); return;
    case 6: place_rows_bits(row, w->cols, 6, out); return;
    default: place_rows_bits(row, w->cols, 8, out); return;
    }
}

/* Four positions for the tile. */
typedef struct columns {
    int8_t *x;    /* [cols / 8][2 pairs][2][8] */
    float *d, *s; /* [n_groups][2 pairs]{d0 d1 d0 d1} */
} columns;

LOAM_INLINE void load_x(const int8_t *x, int bits, int8x16_t v[2]) {
    if (bits == 4) {
        const int8x16x2_t apart = vld2q_s8(x);
        v[0] = apart.val[0];
        v[1] = apart.val[1];
    } else {
        v[0] = vld1q_s8(x);
        v[1] = vld1q_s8(x + 16);
    }
}

static void place_scalars(const float *a, const float *b, size_t n, float *out) {
    for (size_t g = 0; g < n; g++, out += 4 * 2) {
        out[0] = out[2] = a[g];
        out[1] = out[3] = b[g];
    }
}

/* Positions i .. i + n of a; the missing ones repeat the last. */
static void place_columns(const loam_matrix *w, const loam_acts *a, size_t i, size_t n,
                          const columns *c) {
    const size_t n_groups = w->cols / (size_t)w->group;
    for (size_t p = 0; p < COLS / 2; p++) {
        const size_t p0 = i + (2 * p < n ? 2 * p : n - 1),
                     p1 = i + (2 * p + 1 < n ? 2 * p + 1 : n - 1);
        const int8_t *x0 = a->q + p0 * a->q_stride, *x1 = a->q + p1 * a->q_stride;
        int8_t *out = c->x + 16 * p;
        for (size_t k = 0; k < w->cols; k += 32, out += 4 * X_BYTES) {
            int8x16_t u[2], v[2];
            load_x(x0 + k, w->bits, u);
            load_x(x1 + k, w->bits, v);
#pragma GCC unroll 2
            for (size_t h = 0; h < 2; h++) {
                const int64x2_t l = vreinterpretq_s64_s8(u[h]), r = vreinterpretq_s64_s8(v[h]);
                vst1q_s8(out + 2 * h * X_BYTES, vreinterpretq_s8_s64(vzip1q_s64(l, r)));
                vst1q_s8(out + (2 * h + 1) * X_BYTES, vreinterpretq_s8_s64(vzip2q_s64(l, r)));
            }
        }
        place_scalars(a->d + p0 * a->g_stride, a->d + p1 * a->g_stride, n_groups, c->d + 4 * p);
        place_scalars(a->s + p0 * a->g_stride, a->s + p1 * a->g_stride, n_groups, c->s + 4 * p);
    }
}

/* Scales of eight rows as the lanes of the sums: (0 0 1 1) (2 2 3 3) ... */
LOAM_INLINE void load_pairs(const float *first, const float *second, float32x4_t v[PAIRS]) {
    const float32x4_t a = vld1q_f32(first), b = vld1q_f32(second);
    v[0] = vzip1q_f32(a, a);
    v[1] = vzip2q_f32(a, a);
    v[2] = vzip1q_f32(b, b);
    v[3] = vzip2q_f32(b, b);
}

typedef struct tile_args {
    const unsigned char *q;
    const float *scales, *biases; /* [2][`four` floats: n_groups][4 rows] */
    size_t four, n_groups, group;
    const columns *c;
} tile_args;

#define FOR_PAIRS                                                                                  \
    _Pragma("GCC unroll 4") for (size_t r = 0; r < PAIRS; r++)                                     \
        _Pragma("GCC unroll 2") for (size_t c = 0; c < COLS / 2; c++)

/* y [4 positions][8 rows] */
static void multiply_tile(const tile_args *t, float y[COLS][ROWS]) {
    const unsigned char *q = t->q;
    const int8_t *x = t->c->x;
    float32x4_t f[PAIRS][COLS / 2];

    FOR_PAIRS f[r][c] = vdupq_n_f32(0.0f);
    for (size_t g = 0; g < t->n_groups; g++) {
        int32x4_t v[PAIRS][COLS / 2];
        FOR_PAIRS v[r][c] = vdupq_n_s32(0);
        for (size_t k = 0; k < t->group; k += 16) {
#pragma GCC unroll 2
            for (size_t h = 0; h < 2; h++, q += STEP_BYTES, x += X_BYTES) {
                const int8x16_t x0 = vld1q_s8(x), x1 = vld1q_s8(x + 16);
#pragma GCC unroll 4
                for (size_t r = 0; r < PAIRS; r++) {
                    const uint8x16_t qr = vld1q_u8(q + 16 * r);
                    v[r][0] = vusmmlaq_s32(v[r][0], qr, x0);
                    v[r][1] = vusmmlaq_s32(v[r][1], qr, x1);
                }
            }
        }
        float32x4_t scale[PAIRS];
        load_pairs(t->scales + 4 * g, t->scales + t->four + 4 * g, scale);
        const float32x4_t d[2] = {vld1q_f32(t->c->d + 8 * g), vld1q_f32(t->c->d + 8 * g + 4)};
        FOR_PAIRS f[r][c] = vfmaq_f32(f[r][c], vmulq_f32(scale[r], d[c]), vcvtq_f32_s32(v[r][c]));
    }
    for (size_t g = 0; g < t->n_groups; g++) {
        float32x4_t bias[PAIRS];
        load_pairs(t->biases + 4 * g, t->biases + t->four + 4 * g, bias);
        const float32x4_t s[2] = {vld1q_f32(t->c->s + 8 * g), vld1q_f32(t->c->s + 8 * g + 4)};
        FOR_PAIRS f[r][c] = vfmaq_f32(f[r][c], bias[r], s[c]);
    }
    FOR_PAIRS {
        const float32x4_t v = f[r][c];
        vst1_f32(y[2 * c] + 2 * r, vget_low_f32(vuzp1q_f32(v, v)));
        vst1_f32(y[2 * c + 1] + 2 * r, vget_low_f32(vuzp2q_f32(v, v)));
    }
}

static void tile_product(const loam_matrix *w, size_t row0, size_t n_rows, const loam_acts *a,
                         size_t m, float *y, size_t y_stride, void *scratch) {
    const size_t n_groups = w->cols / (size_t)w->group, four = (n_groups + 3) / 4 * 4 * NEON_ROWS;
    size_t block = w->cols ? PANEL_BYTES / w->cols / ROWS * ROWS : BLOCK_MAX;
    block = block < 2 * ROWS ? 2 * ROWS : block > BLOCK_MAX ? BLOCK_MAX : block;
    unsigned char *panel = scratch;
    float *scales = (float *)(void *)(panel + block * w->cols);
    float *biases = scales + block / NEON_ROWS * four;
    columns c = {.d = biases + block / NEON_ROWS * four};
    c.s = c.d + 8 * n_groups;
    c.x = (int8_t *)(c.s + 8 * n_groups);
    tile_args t = {.four = four, .n_groups = n_groups, .group = (size_t)w->group, .c = &c};

    for (size_t b = 0; b < n_rows; b += block) {
        const size_t rows = n_rows - b < block ? n_rows - b : block;
        for (size_t r = 0; r < rows; r += ROWS)
            place_rows(w, row0 + b + r, rows - r, panel + r * w->cols);
        loam_neon_place_scales(w, w->scales, row0 + b, rows, ROWS, scales);
        loam_neon_place_scales(w, w->biases, row0 + b, rows, ROWS, biases);
        for (size_t i = 0; i < m; i += COLS) {
            const size_t n = m - i < COLS ? m - i : COLS;
            place_columns(w, a, i, n, &c);
            for (size_t r = 0; r < rows; r += ROWS) {
                const size_t here = rows - r < ROWS ? rows - r : ROWS;
                float out[COLS][ROWS];
                t.q = panel + r * w->cols;
                t.scales = scales + r / NEON_ROWS * four;
                t.biases = biases + r / NEON_ROWS * four;
                multiply_tile(&t, out);
                for (size_t p = 0; p < n; p++)
                    memcpy(y + (i + p) * y_stride + b + r, out[p], here * sizeof *y);
            }
        }
    }
}

static void integer_product_neoni8mm(const loam_matrix *w, size_t row0, size_t n_rows,
                                     const loam_acts *a, size_t m, float *y, size_t y_stride,
                                     void *scratch) {
    if (m <= VECTOR_MAX)
        loam_neon_integer_product(rows4_of, w, row0, n_rows, a, m, y, y_stride, scratch);
    else
        tile_product(w, row0, n_rows, a, m, y, y_stride, scratch);
}
#endif

void loam_kernels_use_neoni8mm(loam_kernels *k) {
    k->isa = LOAM_ISA_NEONI8MM;
    k->name = "neoni8mm";
#if defined(__aarch64__)
    k->integer_product = integer_product_neoni8mm;
#endif
}
