/* neon_panel.c - products with panels made beforehand, by the f32 tile.
 *
 *     f32     the tile of neon_float.c over [256 k][16 rows], four positions
 *     wide    panels stand as [cols][16 rows] here: smlal by element makes four products of 16 bits,
 *             as many as fmla; what is saved is half the memory.  16 rows x 4 positions.
 */
#include "neon.h"

#if defined(__aarch64__)

enum { COLS = NEON_TILE_ROWS, PANELS = 1 };
#include "panel_blocks.h"

static void step_float(const void *product, const panel_step *at) {
    const loam_panel_float *p = product;
    const loam_tile t = {.x = p->x + at->position * p->x_stride + at->k,
                         .x_stride = p->x_stride,
                         .b = p->panels + at->piece,
                         .b_stride = ROWS,
                         .n_k = at->n_k,
                         .y = p->y + at->position * p->y_stride + at->panel * ROWS,
                         .y_stride = p->y_stride,
                         .begin = at->k == 0};
    loam_neon_tile(&t, at->m);
}

static void panel_float_neon(const loam_panel_float *p) {
    walk_panels(p->cols, float_block(p->cols), p->n_panels, p->m, step_float, p);
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
    static void wide_tile_##M(const panel_tile *t) {                                               \
        int32x4_t s[M][4];                                                                         \
        int16x8_t xv[M];                                                                           \
        const int16_t *x = t->x, *b = t->panel;                                                    \
        _Pragma("GCC unroll 4") for (size_t i = 0; i < M; i++)                                     \
            _Pragma("GCC unroll 4") for (size_t r = 0; r < 4; r++) s[i][r] = vdupq_n_s32(0);       \
        for (size_t k = 0; k < t->n_k; k += 8) {                                                   \
            _Pragma("GCC unroll 4") for (size_t i = 0; i < M; i++) xv[i] =                         \
                vld1q_s16(x + i * t->x_stride + k);                                                \
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

static void step_wide(const void *product, const panel_step *at) {
    static void (*const tiles[])(const panel_tile *t) = {wide_tile_1, wide_tile_2, wide_tile_3,
                                                         wide_tile_4};
    const panel_tile t = wide_tile_at(product, at);
    tiles[at->m - 1](&t);
}

static void panel_wide_neon(const loam_panel_wide *p) {
    walk_panels(p->cols, LOAM_WIDE_BLOCK, p->n_panels, p->m, step_wide, p);
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

void loam_neon_use_panel(loam_kernels *k) {
    k->panel_pack = panel_pack_neon;
    k->panel_float = panel_float_neon;
    k->panel_pack_wide = panel_pack_wide_neon;
    k->panel_wide = panel_wide_neon;
    k->quantize_wide = quantize_wide_neon;
}

#endif
