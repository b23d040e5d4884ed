/* avx512vnni_encoder.c - products with panels made beforehand (panels.h),
 * 512 bits wide.
 *
 *     f32     per k: a load a panel, a broadcast a position, one fma for each pair of them
 *     wide    per pair of k: the same with VPDPWSSD, which multiplies, adds the pair and sums
 *
 * A tile is two panels (32 rows) x up to twelve positions: 24 sums.
 */
#include "avx512.h"

#ifdef LOAM_AVX512

enum { COLS = 12, PANELS = 2 };
#include "panel_blocks.h"

#define FOR_COLS   _Pragma("GCC unroll 12") for (size_t i = 0; i < m; i++)
#define FOR_PANELS _Pragma("GCC unroll 2") for (size_t j = 0; j < p; j++)

LOAM_INLINE void float_tile(const panel_tile *t, size_t p, size_t m) {
    const float *b = t->panel, *x[COLS / 3];
    const char *ahead = t->ahead;
    const size_t stride = t->x_stride;
    __m512 s[COLS][2];

    _Pragma("GCC unroll 4") for (size_t i = 0; i < COLS / 3; i++) x[i] =
        (const float *)t->x + (3 * i < m ? 3 * i : 0) * stride;
    FOR_COLS FOR_PANELS s[i][j] =
        t->begin ? _mm512_setzero_ps() : _mm512_loadu_ps(t->y + i * t->y_stride + j * ROWS);
    for (size_t k = 0; k < t->n_k; k++, b += ROWS, ahead += 64) {
        __m512 w[2];
        FOR_PANELS {
            w[j] = _mm512_loadu_ps(b + j * t->panel_stride);
            _mm_prefetch(ahead + j * t->panel_stride * sizeof *b, _MM_HINT_T1);
        }
        FOR_COLS {
            const __m512 v = _mm512_set1_ps(x[i / 3][i % 3 * stride]);
            FOR_PANELS s[i][j] = _mm512_fmadd_ps(w[j], v, s[i][j]);
        }
        _Pragma("GCC unroll 4") for (size_t i = 0; i < COLS / 3; i++) x[i]++;
    }
    FOR_COLS FOR_PANELS _mm512_storeu_ps(t->y + i * t->y_stride + j * ROWS, s[i][j]);
}

/* See dot4 (avx512.h). */
LOAM_INLINE __m512i dot2(__m512i acc, __m512i a, __m512i b) {
#if defined(__AVX512VNNI__) && !defined(__clang__)
    __asm__("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
    return acc;
#else
    return _mm512_dpwssd_epi32(acc, a, b);
#endif
}

LOAM_INLINE void wide_tile(const panel_tile *t, size_t p, size_t m) {
    const int16_t *b = t->panel, *x[COLS / 3];
    const char *ahead = t->ahead;
    const size_t stride = t->x_stride;
    __m512i s[COLS][2];

    _Pragma("GCC unroll 4") for (size_t i = 0; i < COLS / 3; i++) x[i] =
        (const int16_t *)t->x + (3 * i < m ? 3 * i : 0) * stride;
    FOR_COLS FOR_PANELS s[i][j] = _mm512_setzero_si512();
    for (size_t k = 0; k < t->n_k; k += 2, b += 2 * ROWS, ahead += 64) {
        __m512i w[2];
        FOR_PANELS {
            w[j] = load512(b + j * t->panel_stride);
            _mm_prefetch(ahead + j * t->panel_stride * sizeof *b, _MM_HINT_T1);
        }
        FOR_COLS {
            int32_t pair;
            memcpy(&pair, x[i / 3] + i % 3 * stride, 4);
            const __m512i v = _mm512_set1_epi32(pair);
            FOR_PANELS s[i][j] = dot2(s[i][j], w[j], v);
        }
        _Pragma("GCC unroll 4") for (size_t i = 0; i < COLS / 3; i++) x[i] += 2;
    }
    FOR_COLS {
        const __m512 d = _mm512_set1_ps(t->d[i]);
        FOR_PANELS {
            float *y = t->y + i * t->y_stride + j * ROWS;
            const __m512 f = _mm512_mul_ps(_mm512_loadu_ps(t->scales + j * ROWS), d);
            const __m512 from = t->begin ? _mm512_setzero_ps() : _mm512_loadu_ps(y);
            _mm512_storeu_ps(y, _mm512_fmadd_ps(f, _mm512_cvtepi32_ps(s[i][j]), from));
        }
    }
}

typedef void (*tile_fn)(const panel_tile *t);

#define DEFINE_TILES(KIND, M)                                                                      \
    static void KIND##_1_##M(const panel_tile *t) {                                                \
        KIND(t, 1, M);                                                                             \
    }                                                                                              \
    static void KIND##_2_##M(const panel_tile *t) {                                                \
        KIND(t, 2, M);                                                                             \
    }
#define DEFINE_ALL(KIND)                                                                           \
    DEFINE_TILES(KIND, 1)                                                                          \
    DEFINE_TILES(KIND, 2)                                                                          \
    DEFINE_TILES(KIND, 3)                                                                          \
    DEFINE_TILES(KIND, 4)                                                                          \
    DEFINE_TILES(KIND, 5)                                                                          \
    DEFINE_TILES(KIND, 6)                                                                          \
    DEFINE_TILES(KIND, 7)                                                                          \
    DEFINE_TILES(KIND, 8)                                                                          \
    DEFINE_TILES(KIND, 9)                                                                          \
    DEFINE_TILES(KIND, 10)                                                                         \
    DEFINE_TILES(KIND, 11)                                                                         \
    DEFINE_TILES(KIND, 12)                                                                         \
    static const tile_fn KIND##s[2][COLS] = {                                                      \
        {KIND##_1_1, KIND##_1_2, KIND##_1_3, KIND##_1_4, KIND##_1_5, KIND##_1_6, KIND##_1_7,       \
         KIND##_1_8, KIND##_1_9, KIND##_1_10, KIND##_1_11, KIND##_1_12},                           \
        {KIND##_2_1, KIND##_2_2, KIND##_2_3, KIND##_2_4, KIND##_2_5, KIND##_2_6, KIND##_2_7,       \
         KIND##_2_8, KIND##_2_9, KIND##_2_10, KIND##_2_11, KIND##_2_12}};

DEFINE_ALL(float_tile)
DEFINE_ALL(wide_tile)

static void step_float(const void *product, const panel_step *at) {
    const panel_tile t = float_tile_at(product, at);
    float_tiles[at->n_panels - 1][at->m - 1](&t);
}

static void panel_float_avx512vnni(const loam_panel_float *p) {
    walk_panels(p->cols, float_block(p->cols), p->n_panels, p->m, step_float, p);
}

static void step_wide(const void *product, const panel_step *at) {
    const panel_tile t = wide_tile_at(product, at);
    wide_tiles[at->n_panels - 1][at->m - 1](&t);
}

static void panel_wide_avx512vnni(const loam_panel_wide *p) {
    walk_panels(p->cols, LOAM_WIDE_BLOCK, p->n_panels, p->m, step_wide, p);
}

void loam_avx512vnni_use_encoder(loam_kernels *k) {
    k->panel_float = panel_float_avx512vnni;
    k->panel_wide = panel_wide_avx512vnni;
}

#endif
