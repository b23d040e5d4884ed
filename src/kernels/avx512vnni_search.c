/* avx512vnni_search.c - scans of an index with 512-bit registers.
 *
 * A dot's sixteen partial sums are one register: 4 rows x 6 queries are 24, and 10 loads feed 24
 * fma.
 */
#include "vnni.h"

#ifdef LOAM_AVX512

enum { AHEAD = 1024 /* bytes of a scan that are asked for in advance */ };

LOAM_INLINE float sum_lanes(__m512 s) {
    const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(s), 1));
    return sum_tree(_mm512_castps512_ps256(s), high);
}

#define DEFINE_DOT_TILE(R, Q)                                                                      \
    static void dots_##R##_##Q(const loam_dot_tile *t, size_t i, size_t j0, float *y,              \
                               size_t y_stride) {                                                  \
        const float *rows = t->rows + i * t->row_stride, *x = t->x + j0 * t->x_stride;             \
        const size_t dim = t->dim;                                                                 \
        __m512 s[R][Q];                                                                            \
        _Pragma("GCC unroll 4") for (size_t r = 0; r < R; r++)                                     \
            _Pragma("GCC unroll 6") for (size_t j = 0; j < Q; j++) s[r][j] = _mm512_setzero_ps();  \
        for (size_t k = 0; k < dim; k += LOAM_LANES) {                                             \
            const size_t left = dim - k;                                                           \
            const __mmask16 mask = (__mmask16)(left >= 16 ? 0xffff : (1u << left) - 1);            \
            __m512 v[R];                                                                           \
            _Pragma("GCC unroll 4") for (size_t r = 0; r < R; r++) v[r] =                          \
                _mm512_maskz_loadu_ps(mask, rows + r * t->row_stride + k);                         \
            _Pragma("GCC unroll 6") for (size_t j = 0; j < Q; j++) {                               \
                const __m512 xv = _mm512_maskz_loadu_ps(mask, x + j * t->x_stride + k);            \
                _Pragma("GCC unroll 4") for (size_t r = 0; r < R; r++) s[r][j] =                   \
                    _mm512_fmadd_ps(v[r], xv, s[r][j]);                                            \
            }                                                                                      \
        }                                                                                          \
        _Pragma("GCC unroll 4") for (size_t r = 0; r < R; r++)                                     \
            _Pragma("GCC unroll 6") for (size_t j = 0; j < Q; j++) y[j * y_stride + r] =           \
                sum_lanes(s[r][j]);                                                                \
    }

DEFINE_DOT_TILE(4, 6)
DEFINE_DOT_TILE(4, 1)
DEFINE_DOT_TILE(1, 6)
DEFINE_DOT_TILE(1, 1)

static void dot_tile_avx512vnni(const loam_dot_tile *t, float *y, size_t y_stride) {
    for (size_t j = 0, q; j < t->m; j += q, y += q * y_stride) {
        size_t i = 0;
        q = t->m - j >= 6 ? 6 : 1;
        for (; i + 4 <= t->n; i += 4) (q == 6 ? dots_4_6 : dots_4_1)(t, i, j, y + i, y_stride);
        for (; i < t->n; i++) (q == 6 ? dots_1_6 : dots_1_1)(t, i, j, y + i, y_stride);
    }
}

#include "vnni_bytes.h"

DEFINE_BYTES(2, 6)
DEFINE_BYTES(1, 6)
DEFINE_BYTES(1, 1)

static void byte_tile_avx512vnni(const loam_byte_tile *t, float *y, size_t y_stride) {
    for (size_t j = 0, m; j < t->m; j += m) {
        size_t i = 0;
        m = t->m - j >= 6 ? 6 : 1;
        if (m == 6)
            for (; i + 2 * LOAM_PANEL <= t->n; i += 2 * LOAM_PANEL) bytes_2_6(t, i, j, y, y_stride);
        for (; i < t->n; i += LOAM_PANEL) (m == 6 ? bytes_1_6 : bytes_1_1)(t, i, j, y, y_stride);
    }
}

void loam_avx512vnni_use_search(loam_kernels *k) {
    k->dot_tile = dot_tile_avx512vnni;
    k->dot_tile_rows = 4;
    k->byte_tile = byte_tile_avx512vnni;
}

#endif
