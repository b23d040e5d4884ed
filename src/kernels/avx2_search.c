/* avx2_search.c - scans of an index: tiles of rows x queries whose sums stay in registers.
 *
 * A dot's sixteen partial sums are two registers, so a tile of 3 rows x 2 queries takes twelve;
 * each half of sixteen columns costs five loads for six fma.  The bytes need no sign moved (see
 * loam_byte_tile): multiply-add pairs, widen, add; 4 rows x 3 queries.
 */
#include "avx2.h"

#if defined(__AVX2__)

enum { AHEAD = 2048 /* bytes of a scan that are asked for in advance */ };

/* One step of sixteen columns: the loads are whole, or masked at the end of a row. */
#define TILE_STEP(R, Q, LOAD)                                                                      \
    _Pragma("GCC unroll 2") for (size_t h = 0; h < 2; h++) {                                       \
        __m256 xv[Q];                                                                              \
        _Pragma("GCC unroll 2") for (size_t j = 0; j < Q; j++) xv[j] =                             \
            LOAD(x + j * t->x_stride + k, h);                                                      \
        _Pragma("GCC unroll 4") for (size_t r = 0; r < R; r++) {                                   \
            __m256 v = LOAD(rows + r * t->row_stride + k, h);                                      \
            __asm__("" : "+x"(v)); /* gcc would load it for each query */                          \
            _Pragma("GCC unroll 2") for (size_t j = 0; j < Q; j++) s[r][j][h] =                    \
                _mm256_fmadd_ps(v, xv[j], s[r][j][h]);                                             \
        }                                                                                          \
    }
#define LOAD_WHOLE(p, h) _mm256_loadu_ps((p) + 8 * (h))
#define LOAD_END(p, h)   _mm256_maskload_ps((p) + 8 * (h), mask[h])

#define DEFINE_DOT_TILE(R, Q)                                                                      \
    static void dots_##R##_##Q(const loam_dot_tile *t, size_t i, size_t j0, float *y,              \
                               size_t y_stride) {                                                  \
        const float *rows = t->rows + i * t->row_stride, *x = t->x + j0 * t->x_stride;             \
        const size_t dim = t->dim;                                                                 \
        __m256 s[R][Q][2];                                                                         \
        _Pragma("GCC unroll 4") for (size_t r = 0; r < R; r++)                                     \
            _Pragma("GCC unroll 2") for (size_t j = 0; j < Q; j++) s[r][j][0] = s[r][j][1] =       \
                _mm256_setzero_ps();                                                               \
        size_t k = 0;                                                                              \
        for (; k + LOAM_LANES <= dim; k += LOAM_LANES) {                                           \
            TILE_STEP(R, Q, LOAD_WHOLE)                                                            \
        }                                                                                          \
        if (k < dim) {                                                                             \
            const size_t left = dim - k;                                                           \
            const __m256i mask[2] = {lane_mask(left < 8 ? left : 8),                               \
                                     lane_mask(left < 8 ? 0 : left - 8)};                          \
            TILE_STEP(R, Q, LOAD_END)                                                              \
        }                                                                                          \
        _Pragma("GCC unroll 4") for (size_t r = 0; r < R; r++)                                     \
            _Pragma("GCC unroll 2") for (size_t j = 0; j < Q; j++) y[j * y_stride + r] =           \
                sum_tree(s[r][j][0], s[r][j][1]);                                                  \
    }

DEFINE_DOT_TILE(3, 2)
DEFINE_DOT_TILE(3, 1)
DEFINE_DOT_TILE(1, 2)
DEFINE_DOT_TILE(1, 1)

static void dot_tile_avx2(const loam_dot_tile *t, float *y, size_t y_stride) {
    for (size_t j = 0, q; j < t->m; j += q, y += q * y_stride) {
        size_t i = 0;
        q = t->m - j >= 2 ? 2 : 1;
        for (; i + 3 <= t->n; i += 3) (q == 2 ? dots_3_2 : dots_3_1)(t, i, j, y + i, y_stride);
        for (; i < t->n; i++) (q == 2 ? dots_1_2 : dots_1_1)(t, i, j, y + i, y_stride);
    }
}

static void f16_rows(const uint16_t *rows, size_t n, size_t stride, const float *x, float *y) {
    __m256 s[4][2];
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; r++) s[r][0] = s[r][1] = _mm256_setzero_ps();
    for (size_t k = 0; k < stride; k += LOAM_LANES) {
        const __m256 x0 = _mm256_loadu_ps(x + k), x1 = _mm256_loadu_ps(x + k + 8);
#pragma GCC unroll 4
        for (size_t r = 0; r < 4; r++) {
            const uint16_t *p = rows + (r < n ? r : 0) * stride + k;
            s[r][0] = _mm256_fmadd_ps(_mm256_cvtph_ps(load128(p)), x0, s[r][0]);
            s[r][1] = _mm256_fmadd_ps(_mm256_cvtph_ps(load128(p + 8)), x1, s[r][1]);
            if (k % 32 == 0) _mm_prefetch((const char *)(p + 8 * stride), _MM_HINT_T0);
        }
    }
    for (size_t r = 0; r < n; r++) y[r] = sum_tree(s[r][0], s[r][1]);
}

static void dot_rows_f16_avx2(const uint16_t *rows, size_t n, size_t stride, const float *x,
                              float *y) {
    for (size_t i = 0; i < n; i += 4)
        f16_rows(rows + i * stride, n - i < 4 ? n - i : 4, stride, x, y + i);
}

/* The sum of eight integers in each of four registers. */
LOAM_INLINE __m128i sums4(__m256i a, __m256i b, __m256i c, __m256i d) {
    const __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
}

/* R rows (1 or 4) x Q queries of the bytes, scored. */
#define DEFINE_BYTES(R, Q)                                                                          \
    static void bytes_##R##_##Q(const loam_byte_tile *t, size_t i, size_t j, float *y,              \
                                size_t y_stride) {                                                  \
        const uint8_t *rows = t->rows + i * t->stride;                                              \
        const int8_t *x = t->x + j * t->stride;                                                     \
        const size_t stride = t->stride;                                                            \
        const __m256i ones = _mm256_set1_epi16(1);                                                  \
        __m256i s[Q][4];                                                                            \
        _Pragma("GCC unroll 4") for (size_t q = 0; q < Q; q++)                                      \
            _Pragma("GCC unroll 4") for (size_t r = 0; r < 4; r++) s[q][r] =                        \
                _mm256_setzero_si256();                                                             \
        for (size_t k = 0; k < stride; k += 64) {                                                   \
            _Pragma("GCC unroll 4") for (size_t u = 0; u < 2 * R; u += 2) {                         \
                /* two loads of one cycle must not meet in the same half of a line: R 4 takes the \
                 * halves of rows (0, 1) (2, 3) crosswise, then the other halves */ \
                const size_t ra = u % R, rb = R == 1 ? 0 : ra + 1, h = R == 1 ? 0 : u / R * 32;     \
                const __m256i va = load256(rows + ra * stride + k + h);                             \
                const __m256i vb = load256(rows + rb * stride + k + 32 - h);                        \
                if (Q == 1)                                                                         \
                    _mm_prefetch((const char *)(rows + (u / R ? rb : ra) * stride + k) + AHEAD,     \
                                 _MM_HINT_T0);                                                      \
                _Pragma("GCC unroll 4") for (size_t q = 0; q < Q; q++) {                            \
                    const int8_t *xq = x + q * stride + k;                                          \
                    const __m256i pa = _mm256_maddubs_epi16(va, load256(xq + h));                   \
                    s[q][ra] = _mm256_add_epi32(s[q][ra], _mm256_madd_epi16(pa, ones));             \
                    /* gcc 12 would make all products first and spill them */                       \
                    __asm__("" : "+x"(s[q][ra]));                                                   \
                    const __m256i pb = _mm256_maddubs_epi16(vb, load256(xq + 32 - h));              \
                    s[q][rb] = _mm256_add_epi32(s[q][rb], _mm256_madd_epi16(pb, ones));             \
                    __asm__("" : "+x"(s[q][rb]));                                                   \
                }                                                                                   \
            }                                                                                       \
        }                                                                                           \
        /* (masked stores are slow on AMD) */                                                       \
        const __m128 scales = R == 4 ? _mm_loadu_ps(t->scales + i) : _mm_load_ss(t->scales + i);    \
        _Pragma("GCC unroll 4") for (size_t q = 0; q < Q; q++) {                                    \
            const __m128i sums = _mm_sub_epi32(sums4(s[q][0], s[q][1], s[q][2], s[q][3]),           \
                                               _mm_set1_epi32(t->offsets[j + q]));                  \
            const __m128 scores = _mm_mul_ps(scales, _mm_cvtepi32_ps(sums));                        \
            if (R == 4)                                                                             \
                _mm_storeu_ps(y + (j + q) * y_stride + i, scores);                                  \
            else                                                                                    \
                _mm_store_ss(y + (j + q) * y_stride + i, scores);                                   \
        }                                                                                           \
    }

DEFINE_BYTES(4, 3)
DEFINE_BYTES(1, 3)
DEFINE_BYTES(4, 1)
DEFINE_BYTES(1, 1)

static void byte_tile_avx2(const loam_byte_tile *t, float *y, size_t y_stride) {
    for (size_t j = 0, m; j < t->m; j += m) {
        size_t i = 0;
        m = t->m - j >= 3 ? 3 : 1;
        for (; i + 4 <= t->n; i += 4) (m == 3 ? bytes_4_3 : bytes_4_1)(t, i, j, y, y_stride);
        for (; i < t->n; i++) (m == 3 ? bytes_1_3 : bytes_1_1)(t, i, j, y, y_stride);
    }
}

static size_t find_not_below_avx2(const float *y, size_t n, float bound) {
    const __m256 b = _mm256_set1_ps(bound);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        int any = 0;
        for (size_t u = 0; u < 4; u++) {
            const __m256 v = _mm256_loadu_ps(y + i + 8 * u);
            any |= _mm256_movemask_ps(_mm256_cmp_ps(v, b, _CMP_NLT_UQ));
        }
        if (any) break;
    }
    while (i < n && y[i] < bound) i++;
    return i;
}

static void f16_to_f32_avx2(const uint16_t *x, size_t n, float *y) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_cvtph_ps(load128(x + i)));
    if (i < n)
        store_part(y + i, n - i,
                   load_scalars_part(LOAM_ELEMENT_F16, (const unsigned char *)x, i, n - i));
}

void loam_avx2_use_search(loam_kernels *k) {
    k->dot_tile = dot_tile_avx2;
    k->dot_rows_f16 = dot_rows_f16_avx2;
    k->byte_tile = byte_tile_avx2;
    k->find_not_below = find_not_below_avx2;
    k->f16_to_f32 = f16_to_f32_avx2;
}

#endif
