/* avx512vnni_search.c - scans of an index with 512-bit registers.
 *
 * A dot's sixteen partial sums are one register: 4 rows x 6 queries are 24, and 10 loads feed 24
 * fma.  Bytes are unsigned rows and signed queries, which is what VPDPBUSD multiplies.
 */
#include "avx2.h"

#if defined(__AVX512VNNI__) || defined(LOAM_AVX512_EMULATED)

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

/* The sum of sixteen integers in each of four registers. */
LOAM_INLINE __m128i sums4(const __m512i s[4]) {
    __m256i half[4];
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; r++)
        half[r] =
            _mm256_add_epi32(_mm512_castsi512_si256(s[r]), _mm512_extracti64x4_epi64(s[r], 1));
    const __m256i t =
        _mm256_hadd_epi32(_mm256_hadd_epi32(half[0], half[1]), _mm256_hadd_epi32(half[2], half[3]));
    return _mm_add_epi32(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1));
}

/* R rows (1 or 4) x Q queries. */
#define DEFINE_BYTES(R, Q)                                                                         \
    static void bytes_##R##_##Q(const uint8_t *rows, const int8_t *x, size_t stride,               \
                                int32_t sums[Q][4]) {                                              \
        __m512i s[Q][4];                                                                           \
        _Pragma("GCC unroll 6") for (size_t j = 0; j < Q; j++)                                     \
            _Pragma("GCC unroll 4") for (size_t r = 0; r < 4; r++) s[j][r] =                       \
                _mm512_setzero_si512();                                                            \
        for (size_t k = 0; k < stride; k += 64) {                                                  \
            __m512i v[R];                                                                          \
            _Pragma("GCC unroll 4") for (size_t r = 0; r < R; r++) {                               \
                v[r] = _mm512_loadu_si512(rows + r * stride + k);                                  \
                if (Q == 1)                                                                        \
                    _mm_prefetch((const char *)(rows + (r + 8) * stride + k), _MM_HINT_T0);        \
            }                                                                                      \
            _Pragma("GCC unroll 6") for (size_t j = 0; j < Q; j++) {                               \
                const __m512i xv = _mm512_loadu_si512(x + j * stride + k);                         \
                _Pragma("GCC unroll 4") for (size_t r = 0; r < R; r++) s[j][r] =                   \
                    _mm512_dpbusd_epi32(s[j][r], v[r], xv);                                        \
            }                                                                                      \
        }                                                                                          \
        _Pragma("GCC unroll 6") for (size_t j = 0; j < Q; j++)                                     \
            _mm_storeu_si128((__m128i *)(void *)sums[j], sums4(s[j]));                             \
    }

DEFINE_BYTES(4, 6)
DEFINE_BYTES(1, 6)
DEFINE_BYTES(4, 1)
DEFINE_BYTES(1, 1)

static void byte_tile_avx512vnni(const loam_byte_tile *t, float *y, size_t y_stride) {
    int32_t sums[6][4];
    for (size_t j = 0, m; j < t->m; j += m) {
        const int8_t *x = t->x + j * t->stride;
        m = t->m - j >= 6 ? 6 : 1;
        for (size_t i = 0, n; i < t->n; i += n) {
            const uint8_t *rows = t->rows + i * t->stride;
            n = t->n - i >= 4 ? 4 : 1;
            if (m == 6)
                (n == 4 ? bytes_4_6 : bytes_1_6)(rows, x, t->stride, sums);
            else
                (n == 4 ? bytes_4_1 : bytes_1_1)(rows, x, t->stride, sums);
            for (size_t q = 0; q < m; q++)
                for (size_t r = 0; r < n; r++)
                    y[(j + q) * y_stride + i + r] =
                        t->scales[i + r] * (float)(sums[q][r] - t->offsets[j + q]);
        }
    }
}

void loam_avx512vnni_use_search(loam_kernels *k) {
    k->dot_tile = dot_tile_avx512vnni;
    k->byte_tile = byte_tile_avx512vnni;
}

#endif
