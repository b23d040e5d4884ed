/* avx2_panel.c - products with panels made beforehand: a tile of 6 positions x 16 rows.
 *
 *     f32     per k: 2 loads of the panel, 6 broadcasts, 12 fma              12 sums, 3 more
 *     wide    per pair of k: the same loads, 12 vpmaddwd, 12 vpaddd          all 16 registers
 *
 * A piece of a panel (16 KB at most) stays in L1 while all positions pass; meanwhile the piece
 * that comes next is fetched into L2, a cache line a step: panels are read once a call and may
 * come from memory.  vpmaddwd adds two products of 12 bits exactly.
 */
#include "avx2.h"

#if defined(__AVX2__)
#include <math.h>

/* See avx2_integer.c: the asm keeps gcc from making all products first. */
LOAM_INLINE __m256i dot2(__m256i acc, __m256i a, __m256i b) {
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
    __asm__("" : "+x"(acc));
    return acc;
}

#include "avx2_wide.h"

#define DEFINE_FLOAT_TILE(M)                                                                       \
    static void float_tile_##M(const panel_tile *t) {                                              \
        __m256 lo[M], hi[M];                                                                       \
        const float *x[M], *b = t->panel;                                                          \
        const char *ahead = t->ahead;                                                              \
        FOR_COLS(M) {                                                                              \
            float *y = t->y + i * t->y_stride;                                                     \
            x[i] = (const float *)t->x + i * t->x_stride;                                          \
            lo[i] = t->begin ? _mm256_setzero_ps() : _mm256_loadu_ps(y);                           \
            hi[i] = t->begin ? _mm256_setzero_ps() : _mm256_loadu_ps(y + 8);                       \
        }                                                                                          \
        for (size_t k = 0; k < t->n_k; k++, b += ROWS, ahead += 64) {                              \
            const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);                     \
            _mm_prefetch(ahead, _MM_HINT_T1);                                                      \
            FOR_COLS(M) {                                                                          \
                const __m256 xi = _mm256_broadcast_ss(x[i] + k);                                   \
                lo[i] = _mm256_fmadd_ps(b0, xi, lo[i]);                                            \
                hi[i] = _mm256_fmadd_ps(b1, xi, hi[i]);                                            \
            }                                                                                      \
        }                                                                                          \
        FOR_COLS(M) {                                                                              \
            float *y = t->y + i * t->y_stride;                                                     \
            _mm256_storeu_ps(y, lo[i]);                                                            \
            _mm256_storeu_ps(y + 8, hi[i]);                                                        \
        }                                                                                          \
    }

DEFINE_FLOAT_TILE(1)
DEFINE_FLOAT_TILE(2)
DEFINE_FLOAT_TILE(3)
DEFINE_FLOAT_TILE(4)
DEFINE_FLOAT_TILE(5)
DEFINE_FLOAT_TILE(6)

static void step_float(const void *product, const panel_step *at) {
    static void (*const tiles[])(const panel_tile *t) = {float_tile_1, float_tile_2, float_tile_3,
                                                         float_tile_4, float_tile_5, float_tile_6};
    const panel_tile t = float_tile_at(product, at);
    tiles[at->m - 1](&t);
}

static void panel_float_avx2(const loam_panel_float *p) {
    walk_panels(p->cols, float_block(p->cols), p->n_panels, p->m, step_float, p);
}

static void panel_pack_avx2(const float *rows, size_t row_stride, size_t cols, float *panel) {
    size_t k = 0;
    for (; k + 8 <= cols; k += 8) {
        for (size_t half = 0; half < 2; half++) {
            __m256 t[8];
#pragma GCC unroll 8
            for (size_t r = 0; r < 8; r++)
                t[r] = _mm256_loadu_ps(rows + (8 * half + r) * row_stride + k);
            transpose8(t);
#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++)
                _mm256_storeu_ps(panel + (k + i) * ROWS + 8 * half, t[i]);
        }
    }
    for (; k < cols; k++)
        for (size_t r = 0; r < ROWS; r++) panel[k * ROWS + r] = rows[r * row_stride + k];
}

/* A pair of int16 is a lane of 32 bits: the same transposition, half as many columns. */
static void panel_pack_wide_avx2(const int16_t *rows, size_t row_stride, size_t cols,
                                 int16_t *panel) {
    for (size_t k = 0; k < cols; k += 16) {
        for (size_t half = 0; half < 2; half++) {
            __m256 t[8];
#pragma GCC unroll 8
            for (size_t r = 0; r < 8; r++)
                t[r] = _mm256_castsi256_ps(load256(rows + (8 * half + r) * row_stride + k));
            transpose8(t);
#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++)
                store256(panel + (k / 2 + i) * 2 * ROWS + 16 * half, _mm256_castps_si256(t[i]));
        }
    }
}

static void quantize_wide_avx2(const float *x, size_t n, int16_t *q, float *d) {
    const __m256 sign = _mm256_set1_ps(-0.0f), largest = _mm256_set1_ps(3.402823466e38f);
    __m256 a = _mm256_setzero_ps(), bad = _mm256_setzero_ps();
    for (size_t k = 0; k < n; k += 8) {
        const __m256 v = n - k >= 8 ? _mm256_loadu_ps(x + k) : load_part(x + k, n - k);
        const __m256 size = _mm256_andnot_ps(sign, v);
        bad = _mm256_or_ps(bad, _mm256_cmp_ps(size, largest, _CMP_NLE_UQ));
        a = _mm256_max_ps(size, a);
    }
    const float top = max_lanes(a);
    const int finite = _mm256_movemask_ps(bad) == 0, live = finite && top >= 0x1p-100f;
    const size_t padded = (n + LOAM_WIDE_UNIT - 1) / LOAM_WIDE_UNIT * LOAM_WIDE_UNIT;
    *d = live ? top / (float)LOAM_WIDE_MAX : finite ? 0.0f : __builtin_nanf("");
    if (!live) {
        memset(q, 0, padded * sizeof *q);
        return;
    }
    const __m256 inverse = _mm256_set1_ps((float)LOAM_WIDE_MAX / top);
    size_t k = 0;
    for (; k < n; k += 16) {
        const size_t left = n - k;
        const __m256 v0 = left >= 8 ? _mm256_loadu_ps(x + k) : load_part(x + k, left);
        const __m256 v1 = left >= 16  ? _mm256_loadu_ps(x + k + 8)
                          : left <= 8 ? _mm256_setzero_ps()
                                      : load_part(x + k + 8, left - 8);
        const __m256i pair = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(v0, inverse)),
                                                _mm256_cvtps_epi32(_mm256_mul_ps(v1, inverse)));
        store256(q + k, _mm256_permute4x64_epi64(pair, 0xd8));
    }
    if (k < padded) memset(q + k, 0, (padded - k) * sizeof *q);
}

LOAM_INLINE __m256 gelu_coarse8(__m256 x) {
    static const float P[] = LOAM_GELU_COARSE_P;
    const __m256 top = _mm256_set1_ps(LOAM_GELU_COARSE), low = _mm256_set1_ps(-LOAM_GELU_COARSE);
    /* the second operand is what min and max return for a NaN */
    const __m256 s = _mm256_min_ps(top, _mm256_max_ps(low, x)), t = _mm256_mul_ps(s, s);
    __m256 p = _mm256_set1_ps(P[0]);
#pragma GCC unroll 8
    for (size_t k = 1; k < sizeof P / sizeof *P; k++)
        p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(P[k]));
    return _mm256_mul_ps(x, _mm256_fmadd_ps(s, p, _mm256_set1_ps(0.5f)));
}

static void gelu_coarse_avx2(const float *bias, size_t n, float *y) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(
            y + i, gelu_coarse8(_mm256_add_ps(_mm256_loadu_ps(y + i), _mm256_loadu_ps(bias + i))));
    if (i < n)
        store_part(
            y + i, n - i,
            gelu_coarse8(_mm256_add_ps(load_part(y + i, n - i), load_part(bias + i, n - i))));
}

void loam_avx2_use_panel(loam_kernels *k) {
    k->panel_pack = panel_pack_avx2;
    k->panel_float = panel_float_avx2;
    k->panel_pack_wide = panel_pack_wide_avx2;
    k->panel_wide = panel_wide_256;
    k->quantize_wide = quantize_wide_avx2;
    k->gelu_coarse = gelu_coarse_avx2;
}

#endif
