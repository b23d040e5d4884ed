/* avx2_wide.h - wide integers (panels.h) with registers of 256 bits: a tile of 6 positions x 16 rows,
 * for AVX2 and AVX-VNNI.  Whoever includes it defines dot2: acc += pairs of products, exactly. */
enum { COLS = 6, PANELS = 1 };
#include "panel_blocks.h"

#define FOR_COLS(M) _Pragma("GCC unroll 6") for (size_t i = 0; i < (M); i++)

/* Tiles begin at a cache line: elsewhere they lose up to 5 %, by where they happen to lie. */
#define DEFINE_WIDE_TILE(M)                                                                        \
    __attribute__((aligned(64))) static void wide_tile_##M(const panel_tile *t) {                  \
        __m256i lo[M], hi[M];                                                                      \
        const int16_t *x[M], *b = t->panel;                                                        \
        const char *ahead = t->ahead;                                                              \
        FOR_COLS(M) {                                                                              \
            x[i] = (const int16_t *)t->x + i * t->x_stride;                                        \
            lo[i] = hi[i] = _mm256_setzero_si256();                                                \
        }                                                                                          \
        for (size_t k = 0; k < t->n_k; k += 2, b += 2 * ROWS, ahead += 64) {                       \
            const __m256i b0 = load256(b), b1 = load256(b + 16);                                   \
            _mm_prefetch(ahead, _MM_HINT_T1);                                                      \
            FOR_COLS(M) {                                                                          \
                int32_t pair;                                                                      \
                memcpy(&pair, x[i] + k, 4);                                                        \
                const __m256i xi = _mm256_set1_epi32(pair);                                        \
                lo[i] = dot2(lo[i], b0, xi);                                                       \
                hi[i] = dot2(hi[i], b1, xi);                                                       \
            }                                                                                      \
        }                                                                                          \
        const __m256 s0 = _mm256_loadu_ps(t->scales), s1 = _mm256_loadu_ps(t->scales + 8);         \
        FOR_COLS(M) {                                                                              \
            float *y = t->y + i * t->y_stride;                                                     \
            const __m256 d = _mm256_broadcast_ss(t->d + i);                                        \
            const __m256 y0 = t->begin ? _mm256_setzero_ps() : _mm256_loadu_ps(y);                 \
            const __m256 y1 = t->begin ? _mm256_setzero_ps() : _mm256_loadu_ps(y + 8);             \
            _mm256_storeu_ps(                                                                      \
                y, _mm256_fmadd_ps(_mm256_mul_ps(s0, d), _mm256_cvtepi32_ps(lo[i]), y0));          \
            _mm256_storeu_ps(                                                                      \
                y + 8, _mm256_fmadd_ps(_mm256_mul_ps(s1, d), _mm256_cvtepi32_ps(hi[i]), y1));      \
        }                                                                                          \
    }

DEFINE_WIDE_TILE(1)
DEFINE_WIDE_TILE(2)
DEFINE_WIDE_TILE(3)
DEFINE_WIDE_TILE(4)
DEFINE_WIDE_TILE(5)
DEFINE_WIDE_TILE(6)

static void step_wide(const void *product, const panel_step *at) {
    static void (*const tiles[])(const panel_tile *t) = {wide_tile_1, wide_tile_2, wide_tile_3,
                                                         wide_tile_4, wide_tile_5, wide_tile_6};
    const panel_tile t = wide_tile_at(product, at);
    tiles[at->m - 1](&t);
}

static void panel_wide_256(const loam_panel_wide *p) {
    walk_panels(p->cols, LOAM_WIDE_BLOCK, p->n_panels, p->m, step_wide, p);
}
