/* neon_panel.c - products with panels made beforehand, and attention without a mask, by the f32 tile.
 *
 *     f32     the tile of neon_float.c over [256 k][16 rows], four positions
 *     wide    panels stand as [cols][16 rows] here: smlal by element makes four products of 16 bits,
 *             as many as fmla; what is saved is half the memory.  16 rows x 4 positions.
 *
 * A piece of a panel (16 KB at most) stays in L1 while all positions pass.
 */
#include "neon.h"

#if defined(__aarch64__)
#include <math.h>

enum { BLOCK_K = 256, ROWS = LOAM_PANEL_ROWS, COLS = NEON_TILE_ROWS };

static void panel_float_neon(const loam_panel_float *p) {
    size_t k = 0;
    do {
        const size_t n_k = p->cols - k < BLOCK_K ? p->cols - k : BLOCK_K;
        for (size_t j = 0; j < p->n_panels; j++) {
            for (size_t i = 0; i < p->m; i += COLS) {
                const neon_tile t = {.x = p->x + i * p->x_stride + k,
                                     .x_stride = p->x_stride,
                                     .b = p->panels + (j * p->cols + k) * ROWS,
                                     .b_stride = ROWS,
                                     .n_k = n_k,
                                     .y = p->y + i * p->y_stride + j * ROWS,
                                     .y_stride = p->y_stride,
                                     .begin = k == 0};
                loam_neon_tile(&t, p->m - i < COLS ? p->m - i : COLS);
            }
        }
        k += BLOCK_K;
    } while (k < p->cols);
}

static void panel_pack_neon(const float *rows, size_t row_stride, size_t cols, float *panel) {
    size_t k = 0;
    for (; k + 4 <= cols; k += 4) {
        for (size_t quarter = 0; quarter < ROWS; quarter += 4) {
            float32x4_t t[4];
#pragma GCC unroll 4
            for (size_t r = 0; r < 4; r++) t[r] = vld1q_f32(rows + (quarter + r) * row_stride + k);
            transpose4(t);
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++) vst1q_f32(panel + (k + i) * ROWS + quarter, t[i]);
        }
    }
    for (; k < cols; k++)
        for (size_t r = 0; r < ROWS; r++) panel[k * ROWS + r] = rows[r * row_stride + k];
}

static void panel_pack_wide_neon(const int16_t *rows, size_t row_stride, size_t cols,
                                 int16_t *panel) {
    for (size_t k = 0; k < cols; k++)
        for (size_t r = 0; r < ROWS; r++) panel[k * ROWS + r] = rows[r * row_stride + k];
}

typedef struct wide_tile {
    const int16_t *x, *b;
    size_t x_stride, n_k;
    const float *scales, *d;
    float *y;
    size_t y_stride;
    int begin;
} wide_tile;

#define WIDE_K(M, L)                                                                               \
    {                                                                                              \
        const int16x8_t w0 = vld1q_s16(b), w1 = vld1q_s16(b + 8);                                  \
        b += ROWS;                                                                                 \
        _Pragma("GCC unroll 4") for (size_t i = 0; i < M; i++) {                                   \
            s[i][0] = vmlal_laneq_s16(s[i][0], vget_low_s16(w0), xv[i], L);                        \
            s[i][1] = vmlal_high_laneq_s16(s[i][1], w0, xv[i], L);                                 \
            s[i][2] = vmlal_laneq_s16(s[i][2], vget_low_s16(w1), xv[i], L);                        \
            s[i][3] = vmlal_high_laneq_s16(s[i][3], w1, xv[i], L);                                 \
        }                                                                                          \
    }

#define DEFINE_WIDE_TILE(M)                                                                        \
    static void wide_tile_##M(const wide_tile *t) {                                                \
        int32x4_t s[M][4];                                                                         \
        int16x8_t xv[M];                                                                           \
        const int16_t *b = t->b;                                                                   \
        _Pragma("GCC unroll 4") for (size_t i = 0; i < M; i++)                                     \
            _Pragma("GCC unroll 4") for (size_t r = 0; r < 4; r++) s[i][r] = vdupq_n_s32(0);       \
        for (size_t k = 0; k < t->n_k; k += 8) {                                                   \
            _Pragma("GCC unroll 4") for (size_t i = 0; i < M; i++) xv[i] =                         \
                vld1q_s16(t->x + i * t->x_stride + k);                                             \
            WIDE_K(M, 0)                                                                           \
            WIDE_K(M, 1)                                                                           \
            WIDE_K(M, 2) WIDE_K(M, 3) WIDE_K(M, 4) WIDE_K(M, 5) WIDE_K(M, 6) WIDE_K(M, 7)          \
        }                                                                                          \
        _Pragma("GCC unroll 4") for (size_t i = 0; i < M; i++)                                     \
            _Pragma("GCC unroll 4") for (size_t r = 0; r < 4; r++) {                               \
            float *y = t->y + i * t->y_stride + 4 * r;                                             \
            const float32x4_t by = vmulq_n_f32(vld1q_f32(t->scales + 4 * r), t->d[i]);             \
            const float32x4_t to = t->begin ? vdupq_n_f32(0.0f) : vld1q_f32(y);                    \
            vst1q_f32(y, vfmaq_f32(to, by, vcvtq_f32_s32(s[i][r])));                               \
        }                                                                                          \
    }

DEFINE_WIDE_TILE(1)
DEFINE_WIDE_TILE(2)
DEFINE_WIDE_TILE(3)
DEFINE_WIDE_TILE(4)

static void panel_wide_neon(const loam_panel_wide *p) {
    static void (*const tiles[])(const wide_tile *t) = {wide_tile_1, wide_tile_2, wide_tile_3,
                                                        wide_tile_4};
    for (size_t k = 0; k == 0 || k < p->cols; k += LOAM_WIDE_BLOCK) {
        const size_t n_k = p->cols - k < LOAM_WIDE_BLOCK ? p->cols - k : LOAM_WIDE_BLOCK;
        for (size_t j = 0; j < p->n_panels; j++) {
            for (size_t i = 0; i < p->m; i += COLS) {
                const wide_tile t = {.x = p->x + i * p->x_stride + k,
                                     .x_stride = p->x_stride,
                                     .b = p->panels + (j * p->cols + k) * ROWS,
                                     .n_k = n_k,
                                     .scales = p->scales + j * ROWS,
                                     .d = p->d + i,
                                     .y = p->y + i * p->y_stride + j * ROWS,
                                     .y_stride = p->y_stride,
                                     .begin = k == 0};
                tiles[(p->m - i < COLS ? p->m - i : COLS) - 1](&t);
            }
        }
    }
}

static void quantize_wide_neon(const float *x, size_t n, int16_t *q, float *d) {
    const float32x4_t largest = vdupq_n_f32(3.402823466e38f);
    float32x4_t a = vdupq_n_f32(0.0f);
    uint32x4_t good = vdupq_n_u32(0xffffffffu);
    for (size_t k = 0; k < n; k += 4) {
        const float32x4_t v = vabsq_f32(load_part(x + k, n - k));
        good = vandq_u32(good, vcleq_f32(v, largest));
        a = vmaxnmq_f32(a, v);
    }
    const float top = vmaxvq_f32(a);
    const int finite = vminvq_u32(good) != 0, live = finite && top >= 0x1p-100f;
    const size_t padded = (n + LOAM_WIDE_UNIT - 1) / LOAM_WIDE_UNIT * LOAM_WIDE_UNIT;
    *d = live ? top / (float)LOAM_WIDE_MAX : finite ? 0.0f : __builtin_nanf("");
    if (!live) {
        memset(q, 0, padded * sizeof *q);
        return;
    }
    const float inverse = (float)LOAM_WIDE_MAX / top;
    size_t k = 0;
    for (; k < n; k += 4) /* the end of x is zeros, and so becomes the end of q */
        vst1_s16(q + k, vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(load_part(x + k, n - k), inverse))));
    if (k < padded) memset(q + k, 0, (padded - k) * sizeof *q);
}

/* Attention: keys transposed once for all queries, four queries at a time. */
typedef struct attend_room {
    float *keys;   /* [n / 16][head_dim][16] */
    float *values; /* [n][dim] */
    float *scores; /* [4][n rounded up] */
    float *out;    /* [4][dim] */
    float *buffer; /* of loam_neon_pack */
    size_t dim, n;
} attend_room;

/* Scores become p, not yet divided by their sum; returns 1 / sum. */
static float soften_row(float *x, size_t n, float scale) {
    float32x4_t top = vdupq_n_f32(-INFINITY), lanes[4];
    size_t j = 0;

    /* the columns beyond n repeat the last key: they change no maximum */
    for (; j < n; j += 4) {
        const float32x4_t v = vmulq_n_f32(vld1q_f32(x + j), scale);
        vst1q_f32(x + j, v);
        top = vbslq_f32(vcgtq_f32(v, top), v, top); /* a NaN leaves top */
    }
    const float32x4_t shift = vdupq_n_f32(vmaxvq_f32(top));
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) lanes[i] = vdupq_n_f32(0.0f);
    for (j = 0; j < n; j += 16) {
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            const size_t at = j + 4 * i;
            const float32x4_t p = exp4(vsubq_f32(vld1q_f32(x + at), shift));
            vst1q_f32(x + at, p);
            if (at < n) lanes[i] = vaddq_f32(lanes[i], load_part(x + at, n - at));
        }
    }
    return 1.0f / sum_tree(lanes);
}

/* Queries t .. t + m, m up to four. */
static void attend_rows(const loam_attend *a, const attend_room *r, size_t t, size_t m) {
    float inverse[COLS];

    for (size_t j = 0; j < a->n; j += 16) {
        const neon_tile tile = {.x = a->q + t * a->stride,
                                .x_stride = a->stride,
                                .b = r->keys + j * a->head_dim,
                                .b_stride = 16,
                                .n_k = a->head_dim,
                                .y = r->scores + j,
                                .y_stride = r->n,
                                .begin = 1};
        loam_neon_tile(&tile, m);
    }
    for (size_t i = 0; i < m; i++) inverse[i] = soften_row(r->scores + i * r->n, a->n, a->scale);
    for (size_t d = 0; d < r->dim; d += 16) {
        const neon_tile tile = {.x = r->scores,
                                .x_stride = r->n,
                                .b = r->values + d,
                                .b_stride = r->dim,
                                .n_k = a->n,
                                .y = r->out + d,
                                .y_stride = r->dim,
                                .begin = 1};
        loam_neon_tile(&tile, m);
    }
    for (size_t i = 0; i < m; i++) {
        float *y = a->y + (t + i) * a->y_stride;
        for (size_t d = 0; d < a->head_dim; d += 4)
            store_part(y + d, a->head_dim - d,
                       vmulq_n_f32(vld1q_f32(r->out + i * r->dim + d), inverse[i]));
    }
}

static void attend_neon(const loam_attend *a, float *scratch) {
    attend_room r = {.dim = (a->head_dim + 15) / 16 * 16, .n = (a->n + 15) / 16 * 16};
    const loam_matrix keys = {.element = LOAM_ELEMENT_F32};
    r.keys = scratch;
    r.values = r.keys + r.n * a->head_dim;
    r.scores = r.values + r.n * r.dim;
    r.out = r.scores + COLS * r.n;
    r.buffer = r.out + COLS * r.dim;

    for (size_t j = 0; j < a->n; j += 16)
        loam_neon_pack(&keys, (const unsigned char *)a->k, a->stride * sizeof(float), j,
                       a->n - j < 16 ? a->n - j : 16, 0, a->head_dim, r.keys + j * a->head_dim,
                       r.buffer);
    for (size_t j = 0; j < a->n; j++) {
        memcpy(r.values + j * r.dim, a->v + j * a->stride, a->head_dim * sizeof *a->v);
        memset(r.values + j * r.dim + a->head_dim, 0, (r.dim - a->head_dim) * sizeof *a->v);
    }
    for (size_t t = 0; t < a->n; t += COLS)
        attend_rows(a, &r, t, a->n - t < COLS ? a->n - t : COLS);
}

void loam_neon_use_panel(loam_kernels *k) {
    k->panel_pack = panel_pack_neon;
    k->panel_float = panel_float_neon;
    k->panel_pack_wide = panel_pack_wide_neon;
    k->panel_wide = panel_wide_neon;
    k->quantize_wide = quantize_wide_neon;
    k->attend = attend_neon;
}

#endif
