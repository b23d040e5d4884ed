/* avx2_few.c - eight rows of affine weights times two to eight positions: the part of
 * avx2_vector.c that several positions share.
 *
 * A unit is 32 columns of eight rows (8 bits: 16), straight from the bit stream.  It is
 * transposed as 32-bit words, still packed where the width allows, and taken apart once, into
 * eight registers whose lanes are the rows:
 *
 *     4 bits   8 rows x 16 bytes -> 4 registers of words;   & 15: columns 0 2 4 6,  >> 4: 1 3 5 7
 *     8 bits   8 rows x 16 bytes -> 4 registers of words;   & 0xff: columns 0 2,    >> 8: 1 3
 *
 * They stay there while the positions pass, whose activations are broadcast a word at a time;
 * so a sum crosses no lanes.  For a unit the activations of all positions lie one after another,
 * in the order that meets the weights: word s of a unit meets register s.
 */
#include "avx2.h"

#if defined(__AVX2__)

enum { ROWS = 8, STEPS = 8, UNIT = 32 };

/* gcc would make all products first and spill them. */
#define KEEP(v) __asm__("" : "+x"(v))

/* Four rows of words in each half become columns: t[j] lane r is word j of row r. */
LOAM_INLINE void transpose_words(const __m256i r[4], __m256i t[4]) {
    const __m256i a0 = _mm256_unpacklo_epi32(r[0], r[1]), a1 = _mm256_unpackhi_epi32(r[0], r[1]);
    const __m256i a2 = _mm256_unpacklo_epi32(r[2], r[3]), a3 = _mm256_unpackhi_epi32(r[2], r[3]);
    t[0] = _mm256_unpacklo_epi64(a0, a2);
    t[1] = _mm256_unpackhi_epi64(a0, a2);
    t[2] = _mm256_unpacklo_epi64(a1, a3);
    t[3] = _mm256_unpackhi_epi64(a1, a3);
}

/* Sixteen bytes of eight rows as words. */
LOAM_INLINE void load_words(const unsigned char *p, size_t stride, __m256i t[4]) {
    __m256i r[4];
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++)
        r[i] = _mm256_blend_epi32(_mm256_castsi128_si256(load128(p + i * stride)),
                                  _mm256_broadcastsi128_si256(load128(p + (4 + i) * stride)), 0xf0);
    transpose_words(r, t);
}

LOAM_INLINE void load_unit(const unsigned char *p, size_t stride, int bits, __m256i q[STEPS]) {
    __m256i t[4], r[ROWS];

    if (bits == 4 || bits == 8) {
        const __m256i mask = bits == 4 ? _mm256_set1_epi8(15) : _mm256_set1_epi16(255);
        load_words(p, stride, t);
#pragma GCC unroll 4
        for (size_t j = 0; j < 4; j++) {
            q[2 * j] = _mm256_and_si256(t[j], mask);
            q[2 * j + 1] = _mm256_srli_epi16(t[j], bits);
            if (bits == 4) q[2 * j + 1] = _mm256_and_si256(q[2 * j + 1], mask);
        }
        return;
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < ROWS; i++) r[i] = unpack32(p + i * stride, bits);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        const __m256i low = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
        r[i + 4] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
        r[i] = low;
    }
    transpose_words(r, q);
    transpose_words(r + 4, q + 4);
}

LOAM_INLINE __m256i broadcast_word(const int8_t *x, size_t i) {
    int32_t v;
    memcpy(&v, x + 4 * i, 4);
    return _mm256_set1_epi32(v);
}

/* The products of a unit with one position: eight sums. */
LOAM_INLINE __m256i multiply_unit(const __m256i q[STEPS], const int8_t *x, int bits) {
    const __m256i ones = _mm256_set1_epi16(1);
    const size_t pairs = bits <= 4 ? 8 : bits == 5 ? 4 : 2; /* that fit 16 bits */
    __m256i sum = _mm256_setzero_si256();

    if (bits == 8) {
        sum = _mm256_madd_epi16(q[0], broadcast_word(x, 0));
#pragma GCC unroll 8
        for (size_t i = 1; i < STEPS; i++) {
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(q[i], broadcast_word(x, i)));
            KEEP(sum);
        }
        return sum;
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < STEPS; i += pairs) {
        __m256i part = _mm256_maddubs_epi16(q[i], broadcast_word(x, i));
#pragma GCC unroll 8
        for (size_t j = 1; j < pairs; j++) {
            part = _mm256_add_epi16(part, _mm256_maddubs_epi16(q[i + j], broadcast_word(x, i + j)));
            KEEP(part);
        }
        const __m256i wide = _mm256_madd_epi16(part, ones);
        sum = i ? _mm256_add_epi32(sum, wide) : wide;
    }
    return sum;
}

LOAM_INLINE void fetch_lines(const unsigned char **ahead, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) _mm_prefetch((const char *)*ahead + i, _MM_HINT_T0);
    *ahead += bytes;
}

LOAM_INLINE void rows8(const avx2_few *t, int bits, size_t group, size_t m, __m256 *acc) {
    const size_t columns = bits == 8 ? UNIT / 2 : UNIT, units = group / columns;
    const size_t unit_bytes = columns / 8 * (size_t)bits;
    const unsigned char *p = t->rows, *ahead = t->ahead;
    const int8_t *x = t->x;
    const float *d = t->d, *scales = t->scales;
    __m256i sums[LOAM_AVX2_FEW_MAX] = {0};

    for (size_t i = 0; i < m; i++) acc[i] = _mm256_setzero_ps();
    for (size_t g = 0; g < t->n_groups; g++, scales += ROWS) {
        __m256i q[STEPS];
        const __m256 scale = _mm256_loadu_ps(scales);
#pragma GCC unroll 1
        for (size_t u = 0; u + 1 < units; u++, p += unit_bytes) {
            load_unit(p, t->row_bytes, bits, q);
            fetch_lines(&ahead, t->fetch);
#pragma GCC unroll 8
            for (size_t i = 0; i < m; i++, x += 4 * STEPS) {
                const __m256i sum = multiply_unit(q, x, bits);
                sums[i] = u ? _mm256_add_epi32(sums[i], sum) : sum;
            }
        }
        load_unit(p, t->row_bytes, bits, q);
        fetch_lines(&ahead, t->fetch);
        p += unit_bytes;
#pragma GCC unroll 8
        for (size_t i = 0; i < m; i++, x += 4 * STEPS, d++) {
            __m256i sum = multiply_unit(q, x, bits);
            if (units > 1) sum = _mm256_add_epi32(sum, sums[i]);
            acc[i] = _mm256_fmadd_ps(_mm256_mul_ps(scale, _mm256_broadcast_ss(d)),
                                     _mm256_cvtepi32_ps(sum), acc[i]);
        }
    }
}

/* Beyond, the tile for many positions is faster, also where weights come from memory; for 8 bits
 * it is slower up to sixteen. */
size_t loam_avx2_vector_max(const loam_matrix *w) {
    return w->bits == 8 ? LOAM_AVX2_VECTOR_MAX : w->bits == 4 ? 10 : LOAM_AVX2_FEW_MAX;
}

typedef void (*rows8_fn)(const avx2_few *t, __m256 *acc);

LOAM_INLINE void rows8_any(const avx2_few *t, int bits, size_t m, __m256 *acc) {
    switch (t->group) {
    case 32: rows8(t, bits, 32, m, acc); break;
    case 64: rows8(t, bits, 64, m, acc); break;
    default: rows8(t, bits, 128, m, acc); break;
    }
}

#define DEFINE_ROWS8(BITS, M)                                                                      \
    static void rows8_##BITS##_##M(const avx2_few *t, __m256 *acc) {                               \
        rows8_any(t, BITS, M, acc);                                                                \
    }
#define DEFINE_ANY(BITS)                                                                           \
    static void rows8_##BITS##_any(const avx2_few *t, __m256 *acc) {                               \
        rows8_any(t, BITS, t->m, acc);                                                             \
    }

DEFINE_ROWS8(4, 4)
DEFINE_ROWS8(4, 5)
DEFINE_ROWS8(4, 6)
DEFINE_ROWS8(4, 7)
DEFINE_ROWS8(4, 8)
DEFINE_ROWS8(8, 4)
DEFINE_ROWS8(8, 6)
DEFINE_ROWS8(8, 8)
DEFINE_ANY(2)
DEFINE_ANY(3)
DEFINE_ANY(4)
DEFINE_ANY(5)
DEFINE_ANY(6)
DEFINE_ANY(8)

void loam_avx2_few_rows8(const avx2_few *t, int bits, __m256 *acc) {
    static const rows8_fn any[] = {[2] = rows8_2_any, [3] = rows8_3_any, [4] = rows8_4_any,
                                   [5] = rows8_5_any, [6] = rows8_6_any, [8] = rows8_8_any};
    /* unrolled for the counts that are common: heads in two terms are even */
    static const rows8_fn of4[] = {[4] = rows8_4_4, rows8_4_5, rows8_4_6, rows8_4_7, rows8_4_8};
    static const rows8_fn of8[] = {[4] = rows8_8_4, [6] = rows8_8_6, [8] = rows8_8_8};
    rows8_fn fn = bits == 4 ? of4[t->m] : bits == 8 ? of8[t->m] : NULL;
    if (!fn) fn = any[bits];
    fn(t, acc);
}

/* 32 columns of x as the words of a unit, or of two. */
LOAM_INLINE void arrange_unit(__m256i x, int bits, int8_t *out, size_t next) {
    const __m256i even_first =
        _mm256_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15, 0, 2, 4, 6, 1, 3, 5,
                         7, 8, 10, 12, 14, 9, 11, 13, 15);
    const __m128i even_words = _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);

    if (bits != 8) {
        store256(out, bits == 4 ? _mm256_shuffle_epi8(x, even_first) : x);
        return;
    }
    const __m128i low = _mm256_castsi256_si128(x), high = _mm256_extracti128_si256(x, 1);
    store256(out, _mm256_cvtepi8_epi16(_mm_shuffle_epi8(low, even_words)));
    store256(out + next, _mm256_cvtepi8_epi16(_mm_shuffle_epi8(high, even_words)));
}

void loam_avx2_few_arrange(const loam_matrix *w, const loam_acts *a, size_t first, size_t m,
                           int8_t *x, float *d) {
    const size_t next = m * 4 * STEPS, n_groups = w->cols / (size_t)w->group;
    const size_t stride = w->bits == 8 ? 2 * next : next;

    for (size_t i = 0; i < m; i++) {
        const int8_t *from = a->q + (first + i) * a->q_stride;
        int8_t *out = x + i * 4 * STEPS;
        for (size_t k = 0; k < w->cols; k += UNIT, out += stride) {
            const __m256i v = load256(from + k);
            arrange_unit(v, w->bits, out, next);
        }
        for (size_t g = 0; g < n_groups; g++) d[g * m + i] = a->d[(first + i) * a->g_stride + g];
    }
}

#endif
