/* avx2_search.c - scans of an index: tiles of rows x queries whose sums stay in registers.
 *
 * A dot's sixteen partial sums are two registers, so a tile of 3 rows x 2 queries takes twelve;
 * each half of sixteen columns costs five loads for six fma.  In bytes a lane is a row (see
 * loam_byte_tile): a panel is two registers, a query's four columns are broadcast, and one
 * widening serves four multiply-adds; 16 rows x 4 queries.
 *
 * Scans of one query live from memory.  It is read fastest in one stream: bytes stand that way,
 * rows of f32 go four at once behind a prefetch in the order of addresses, rows of f16 one after
 * the other.
 */
#include "avx2.h"

#if defined(__AVX2__)

enum { AHEAD = 1024 /* bytes of a scan that are asked for in advance */ };

/* Lanes j + (j+8), j + (j+4), j + (j+2), 0 + 1 of four dots. */
LOAM_INLINE __m128 sum_trees4(__m256 s[4][2]) {
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; r++) s[r][0] = _mm256_add_ps(s[r][0], s[r][1]);
    const __m256 ab = _mm256_add_ps(_mm256_permute2f128_ps(s[0][0], s[1][0], 0x20),
                                    _mm256_permute2f128_ps(s[0][0], s[1][0], 0x31));
    const __m256 cd = _mm256_add_ps(_mm256_permute2f128_ps(s[2][0], s[3][0], 0x20),
                                    _mm256_permute2f128_ps(s[2][0], s[3][0], 0x31));
    const __m256 pairs =
        _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    const __m256 t = _mm256_add_ps(pairs, _mm256_movehdup_ps(pairs)); /* a . c . | b . d . */
    const __m128 ac = _mm256_castps256_ps128(t), bd = _mm256_extractf128_ps(t, 1);
    return _mm_unpacklo_ps(_mm_shuffle_ps(ac, ac, 0x08), _mm_shuffle_ps(bd, bd, 0x08));
}

/* One step of sixteen columns: the loads are whole, or masked at the end of a row. */
#define TILE_STEP(R, Q, LOAD)                                                                      \
    DOT_EACH_VECTOR {                                                                              \
        __m256 xv[Q];                                                                              \
        DOT_EACH_QUERY(Q) xv[j] = LOAD(x + j * t->x_stride + k, h);                                \
        DOT_EACH_ROW(R) {                                                                          \
            __m256 v = LOAD(rows + r * t->row_stride + k, h);                                      \
            __asm__("" : "+x"(v)); /* gcc would load it for each query */                          \
            DOT_EACH_QUERY(Q) s[r][j][h] = _mm256_fmadd_ps(v, xv[j], s[r][j][h]);                  \
        }                                                                                          \
    }
#define LOAD_WHOLE(p, h) _mm256_loadu_ps((p) + 8 * (h))
#define LOAD_END(p, h)   _mm256_maskload_ps((p) + 8 * (h), mask[h])

#define DOT_VECTOR     __m256
#define DOT_ZERO       _mm256_setzero_ps()
#define DOT_STEP(R, Q) TILE_STEP(R, Q, LOAD_WHOLE)
#define DOT_END(R, Q)                                                                              \
    const size_t left = dim - k;                                                                   \
    const __m256i mask[2] = {lane_mask(left < 8 ? left : 8), lane_mask(left < 8 ? 0 : left - 8)};  \
    TILE_STEP(R, Q, LOAD_END)
#define DOT_SUM(s) sum_tree((s)[0], (s)[1])
enum { DOT_VECTORS = 2, DOT_ROWS = 3, DOT_QUERIES = 2 };
#include "dot_tiles.h"

/* Four rows at once, n of them real: the most that a core can convert. */
static void f16_rows(const uint16_t *rows, size_t n, size_t stride, const float *x, float *y) {
    __m256 s[4][2];
    const char *next = (const char *)(rows + 4 * stride);
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; r++) s[r][0] = s[r][1] = _mm256_setzero_ps();
    for (size_t k = 0; k < stride; k += LOAM_LANES) {
        const __m256 x0 = _mm256_loadu_ps(x + k), x1 = _mm256_loadu_ps(x + k + 8);
        _mm_prefetch(next, _MM_HINT_T0);
        _mm_prefetch(next + 64, _MM_HINT_T0);
        next += 128;
#pragma GCC unroll 4
        for (size_t r = 0; r < 4; r++) {
            const uint16_t *p = rows + (r < n ? r : 0) * stride + k;
            s[r][0] = _mm256_fmadd_ps(_mm256_cvtph_ps(load128(p)), x0, s[r][0]);
            s[r][1] = _mm256_fmadd_ps(_mm256_cvtph_ps(load128(p + 8)), x1, s[r][1]);
        }
    }
    float sums[4];
    _mm_storeu_ps(sums, sum_trees4(s));
    memcpy(y, sums, n * sizeof *y);
}

/* One row after the other: the most that memory can deliver. */
static void f16_stream(const uint16_t *rows, size_t stride, const float *x, float *y) {
    __m256 s0 = _mm256_setzero_ps(), s1 = s0;
    size_t k = 0;
    for (; k + 2 * LOAM_LANES <= stride; k += 2 * LOAM_LANES) {
        const uint16_t *p = rows + k;
        _mm_prefetch((const char *)p + AHEAD, _MM_HINT_T0);
#pragma GCC unroll 2
        for (size_t h = 0; h < 32; h += 16) {
            s0 = _mm256_fmadd_ps(_mm256_cvtph_ps(load128(p + h)), _mm256_loadu_ps(x + k + h), s0);
            s1 = _mm256_fmadd_ps(_mm256_cvtph_ps(load128(p + h + 8)),
                                 _mm256_loadu_ps(x + k + h + 8), s1);
        }
    }
    if (k < stride) {
        s0 = _mm256_fmadd_ps(_mm256_cvtph_ps(load128(rows + k)), _mm256_loadu_ps(x + k), s0);
        s1 =
            _mm256_fmadd_ps(_mm256_cvtph_ps(load128(rows + k + 8)), _mm256_loadu_ps(x + k + 8), s1);
    }
    *y = sum_tree(s0, s1);
}

static void dot_rows_f16_avx2(const uint16_t *rows, size_t n, size_t stride, const float *x,
                              float *y, int cached) {
    if (cached)
        for (size_t i = 0; i < n; i += 4)
            f16_rows(rows + i * stride, n - i < 4 ? n - i : 4, stride, x, y + i);
    else
        for (size_t i = 0; i < n; i++) f16_stream(rows + i * stride, stride, x, y + i);
}

/* One panel x Q queries of the bytes, scored; FAR bytes of rows are asked for in advance. */
#define DEFINE_BYTES(Q, FAR)                                                                       \
    static void bytes_##Q(const loam_byte_tile *t, size_t i, size_t j, float *y,                   \
                          size_t y_stride) {                                                       \
        const uint8_t *rows = t->rows + i * t->cols;                                               \
        const int8_t *x = t->x + j * t->cols;                                                      \
        const __m256i ones = _mm256_set1_epi16(1);                                                 \
        __m256i s[Q][2];                                                                           \
        _Pragma("GCC unroll 4") for (size_t q = 0; q < Q; q++) s[q][0] = s[q][1] =                 \
            _mm256_set1_epi32(-t->offsets[j + q]);                                                 \
        for (size_t k = 0; k < t->cols; k += 16, rows += 16 * LOAM_PANEL) {                        \
            __m256i h[Q][2];                                                                       \
            _Pragma("GCC unroll 4") for (size_t u = 0; u < 4; u++) {                               \
                const __m256i v0 = load256(rows + 64 * u), v1 = load256(rows + 64 * u + 32);       \
                if (FAR) _mm_prefetch((const char *)rows + 64 * u + FAR, _MM_HINT_T0);             \
                _Pragma("GCC unroll 4") for (size_t q = 0; q < Q; q++) {                           \
                    int32_t four;                                                                  \
                    memcpy(&four, x + q * t->cols + k + 4 * u, 4);                                 \
                    const __m256i xv = _mm256_set1_epi32(four);                                    \
                    const __m256i p0 = _mm256_maddubs_epi16(v0, xv),                               \
                                  p1 = _mm256_maddubs_epi16(v1, xv);                               \
                    h[q][0] = u ? _mm256_add_epi16(h[q][0], p0) : p0;                              \
                    h[q][1] = u ? _mm256_add_epi16(h[q][1], p1) : p1;                              \
                    /* gcc 12 would make all products first and spill them */                      \
                    __asm__("" : "+x"(h[q][0]), "+x"(h[q][1]));                                    \
                }                                                                                  \
            }                                                                                      \
            _Pragma("GCC unroll 4") for (size_t q = 0; q < Q; q++) {                               \
                s[q][0] = _mm256_add_epi32(s[q][0], _mm256_madd_epi16(h[q][0], ones));             \
                s[q][1] = _mm256_add_epi32(s[q][1], _mm256_madd_epi16(h[q][1], ones));             \
            }                                                                                      \
        }                                                                                          \
        _Pragma("GCC unroll 4") for (size_t q = 0; q < Q; q++)                                     \
            _Pragma("GCC unroll 2") for (size_t b = 0; b < 2; b++)                                 \
                _mm256_storeu_ps(y + (j + q) * y_stride + i + 8 * b,                               \
                                 _mm256_mul_ps(_mm256_loadu_ps(t->scales + i + 8 * b),             \
                                               _mm256_cvtepi32_ps(s[q][b])));                      \
    }

DEFINE_BYTES(1, AHEAD)
DEFINE_BYTES(2, AHEAD)
DEFINE_BYTES(3, 0)
DEFINE_BYTES(4, 0)

static void byte_tile_avx2(const loam_byte_tile *t, float *y, size_t y_stride) {
    for (size_t j = 0; j < t->m; j += 4) {
        const size_t q = t->m - j;
        for (size_t i = 0; i < t->n; i += LOAM_PANEL)
            (q == 1   ? bytes_1
             : q == 2 ? bytes_2
             : q == 3 ? bytes_3
                      : bytes_4)(t, i, j, y, y_stride);
    }
}

/* One bit for each of 32 numbers. */
LOAM_INLINE uint32_t not_below32(const float *y, __m256 bound) {
    uint32_t bits = 0;
#pragma GCC unroll 4
    for (unsigned u = 0; u < 4; u++) {
        const __m256 v = _mm256_cmp_ps(_mm256_loadu_ps(y + 8 * u), bound, _CMP_NLT_UQ);
        bits |= (uint32_t)_mm256_movemask_ps(v) << 8 * u;
    }
    return bits;
}

static size_t find_not_below_avx2(const float *y, size_t n, float bound) {
    const __m256 b = _mm256_set1_ps(bound);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        const uint32_t bits = not_below32(y + i, b);
        if (bits) return i + (size_t)__builtin_ctz(bits);
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
    k->dot_tile = dot_tile;
    k->dot_tile_rows = DOT_ROWS;
    k->dot_rows_f16 = dot_rows_f16_avx2;
    k->byte_tile = byte_tile_avx2;
    k->find_not_below = find_not_below_avx2;
    k->f16_to_f32 = f16_to_f32_avx2;
}

#endif
