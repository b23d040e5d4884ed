/* avx2.h - what the AVX2 + FMA + F16C files share: loads, transposes, exp, the f32 tile. */
#ifndef LOAM_AVX2_H
#define LOAM_AVX2_H

#include "float_tile.h"
#include "kernels.h"
#include "math_poly.h"

#if defined(__AVX2__)
#include <immintrin.h>

#ifndef LOAM_INLINE
#define LOAM_INLINE static inline __attribute__((always_inline))
#endif

/* Memory is never assumed aligned; these hide the casts. */
LOAM_INLINE __m256i load256(const void *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}
LOAM_INLINE __m128i load128(const void *p) {
    return _mm_loadu_si128((const __m128i *)p);
}
LOAM_INLINE void store256(void *p, __m256i v) {
    _mm256_storeu_si256((__m256i *)p, v);
}

/* Lanes 0 .. n - 1 of eight, n <= 8. */
LOAM_INLINE __m256i lane_mask(size_t n) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), index);
}
LOAM_INLINE __m256 load_part(const float *x, size_t n) {
    return _mm256_maskload_ps(x, lane_mask(n));
}
LOAM_INLINE void store_part(float *y, size_t n, __m256 v) {
    if (n >= 8)
        _mm256_storeu_ps(y, v);
    else
        _mm256_maskstore_ps(y, lane_mask(n), v);
}

/* Eight scalars of 16 bits as f32. */
LOAM_INLINE __m256 widen8(loam_element e, __m128i v) {
    if (e == LOAM_ELEMENT_F16) return _mm256_cvtph_ps(v);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}

/* Eight scalars of type e at p + i of them, as f32. */
LOAM_INLINE __m256 load_scalars(loam_element e, const unsigned char *p, size_t i) {
    if (e != LOAM_ELEMENT_F32) return widen8(e, load128(p + 2 * i));
    return _mm256_loadu_ps((const float *)(const void *)(p + 4 * i));
}

/* The same, of them only n < 8 are there. */
static inline __m256 load_scalars_part(loam_element e, const unsigned char *p, size_t i, size_t n) {
    if (e == LOAM_ELEMENT_F32) return load_part((const float *)(const void *)(p + 4 * i), n);
    uint16_t some[16] = {0}; /* a whole register, whatever the compiler thinks of e */
    for (size_t j = 0; j < n; j++) some[j] = loam_read_u16(p + 2 * (i + j));
    return load_scalars(e, (const unsigned char *)some, 0);
}

/* Rows to columns: out[j] lane i = in[i] lane j. */
LOAM_INLINE void transpose8(__m256 r[8]) {
    const __m256 a0 = _mm256_unpacklo_ps(r[0], r[1]), a1 = _mm256_unpackhi_ps(r[0], r[1]);
    const __m256 a2 = _mm256_unpacklo_ps(r[2], r[3]), a3 = _mm256_unpackhi_ps(r[2], r[3]);
    const __m256 a4 = _mm256_unpacklo_ps(r[4], r[5]), a5 = _mm256_unpackhi_ps(r[4], r[5]);
    const __m256 a6 = _mm256_unpacklo_ps(r[6], r[7]), a7 = _mm256_unpackhi_ps(r[6], r[7]);
    const __m256 b0 = _mm256_shuffle_ps(a0, a2, 0x44), b1 = _mm256_shuffle_ps(a0, a2, 0xee);
    const __m256 b2 = _mm256_shuffle_ps(a1, a3, 0x44), b3 = _mm256_shuffle_ps(a1, a3, 0xee);
    const __m256 b4 = _mm256_shuffle_ps(a4, a6, 0x44), b5 = _mm256_shuffle_ps(a4, a6, 0xee);
    const __m256 b6 = _mm256_shuffle_ps(a5, a7, 0x44), b7 = _mm256_shuffle_ps(a5, a7, 0xee);
    r[0] = _mm256_permute2f128_ps(b0, b4, 0x20);
    r[1] = _mm256_permute2f128_ps(b1, b5, 0x20);
    r[2] = _mm256_permute2f128_ps(b2, b6, 0x20);
    r[3] = _mm256_permute2f128_ps(b3, b7, 0x20);
    r[4] = _mm256_permute2f128_ps(b0, b4, 0x31);
    r[5] = _mm256_permute2f128_ps(b1, b5, 0x31);
    r[6] = _mm256_permute2f128_ps(b2, b6, 0x31);
    r[7] = _mm256_permute2f128_ps(b3, b7, 0x31);
}

/* The end of a sum over sixteen lanes: 8 apart, 4, 2, 1. */
LOAM_INLINE float sum_tree(__m256 low, __m256 high) {
    const __m256 s = _mm256_add_ps(low, high);
    __m128 t = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_add_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
}

LOAM_INLINE float max_lanes(__m256 v) {
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
}

#define FLOATS                 __m256
#define INTS                   __m256i
#define PS(op)                 _mm256_##op##_ps
#define EPI32(op)              _mm256_##op##_epi32
#define NAME(f)                f##8
#define AS_FLOATS(i)           _mm256_castsi256_ps(i)
#define SIGN(x)                _mm256_and_ps(_mm256_set1_ps(-0.0f), x)
#define WITHOUT_SIGN(x)        _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x)
#define NEGATE(x)              _mm256_xor_ps(x, _mm256_set1_ps(-0.0f))
#define IF_LESS(a, b, yes, no) _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ))
#include "math_lanes.h"

/* 2^x for x <= 0 or NaN, see math_poly.h. */
LOAM_INLINE __m256 exp2_8(__m256 x) {
    const __m256 round = _mm256_set1_ps(LOAM_EXP2_ROUND);
    const __m256 t = _mm256_add_ps(x, round), r = _mm256_sub_ps(x, _mm256_sub_ps(t, round));
    __m256 p = _mm256_set1_ps(LOAM_EXP2_5);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(LOAM_EXP2_4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(LOAM_EXP2_3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(LOAM_EXP2_2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(LOAM_EXP2_1));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(t), 23)));
    return _mm256_andnot_ps(_mm256_cmp_ps(x, _mm256_set1_ps(LOAM_EXP2_MIN), _CMP_LT_OQ), p);
}

/* Each file of the family puts its entries. */
void loam_avx2_use_float(loam_kernels *k);
void loam_avx2_use_integer(loam_kernels *k);
void loam_avx2_use_math(loam_kernels *k);
void loam_avx2_use_attention(loam_kernels *k);
void loam_avx2_use_search(loam_kernels *k);
void loam_avx2_use_panel(loam_kernels *k);
void loam_avx2_use_attend(loam_kernels *k);
void loam_avx512vnni_use_float(loam_kernels *k);
void loam_avx512vnni_use_search(loam_kernels *k);

/* A few positions (avx2_vector.c), for integer_product: up to how many it is best, at most
 * LOAM_AVX2_VECTOR_MAX. */
enum { LOAM_AVX2_VECTOR_MAX = 16, LOAM_AVX2_FEW_MAX = 8 };
size_t loam_avx2_vector_max(const loam_matrix *w);
void loam_avx2_vector(const loam_matrix *w, size_t row0, size_t n_rows, const loam_acts *a,
                      size_t m, float *y, size_t y_stride, void *scratch);
/* Its eight rows times 2 to LOAM_AVX2_FEW_MAX positions (avx2_few.c), still without the biases. */
typedef struct avx2_few {
    const unsigned char *rows; /* eight, row_bytes apart */
    size_t row_bytes, n_groups, group, m;
    const int8_t *x;            /* of loam_avx2_few_arrange */
    const float *d;             /* [n_groups][m] */
    const float *scales;        /* [n_groups][8] */
    const unsigned char *ahead; /* what to fetch, `fetch` bytes a unit of 32 columns (8 bits: 16) */
    size_t fetch;
} avx2_few;
/* acc [m]: eight outputs each. */
void loam_avx2_few_rows8(const avx2_few *t, int bits, __m256 *acc);
/* Positions first .. first + m.  x: m * cols bytes, 8 bits: twice as many; d [n_groups][m]. */
void loam_avx2_few_arrange(const loam_matrix *w, const loam_acts *a, size_t first, size_t m,
                           int8_t *x, float *d);
/* Scales or biases of eight rows, transposed: out[g * stride + row] for all groups.
 * rows ascend; rows up to `end_row` exist. */
void loam_avx2_scales8(const loam_matrix *w, const unsigned char *base, const size_t rows[8],
                       size_t end_row, float *out, size_t stride);

/* Sixteen rows from row0, of which n_rows exist (the others repeat the last): their bytes
 * q [cols / 4][16 rows][4], scales and biases [n_groups][16].  8-bit q become q - 128 when
 * `is_signed`. */
void loam_avx2_fill_panel(const loam_matrix *w, size_t row0, size_t n_rows, int is_signed,
                          unsigned char *q, float *scales, float *biases);

enum { AVX2_TILE_ROWS = 6, AVX2_TILE_COLS = 16 };

/* m rows (1 .. 6) and all sixteen columns of y. */
void loam_avx2_tile(const loam_tile *t, size_t m);

void loam_avx2_float_product(const loam_matrix *w, size_t row0, size_t n_rows, const float *x,
                             size_t x_stride, size_t m, float *y, size_t y_stride, void *scratch);

/* One position (avx2_exact.c): whole sixteens of the rows; returns how many rows it did. */
size_t loam_avx2_float_vector(const loam_matrix *w, size_t row0, size_t n_rows, const float *x,
                              float *y, void *scratch);

/* Transpose rows of dense weights into the tile's b: out[k * 16 + r], r < 16, for
 * columns k0 .. k0 + n of rows row0 ..; the rows from n_rows on repeat the last one.
 * `buffer` holds 16 * (n + 8) floats.  Rows are row_bytes apart. */
void loam_avx2_pack(const loam_matrix *w, const unsigned char *data, size_t row_bytes, size_t row0,
                    size_t n_rows, size_t k0, size_t n, float *out, float *buffer);

LOAM_INLINE __m256i interleave4(__m128i a, __m128i b, __m128i c, __m128i d) {
    const __m128i ab = _mm_unpacklo_epi8(a, b), cd = _mm_unpacklo_epi8(c, d);
    return _mm256_set_m128i(_mm_unpackhi_epi16(ab, cd), _mm_unpacklo_epi16(ab, cd));
}

/* Elements that straddle bytes: bring the two bytes of each into a 16-bit lane, multiply so
 * that the element's top bit is bit 15, shift down.  Each half of the register makes sixteen
 * elements, from its byte `at` on; vector 0 makes elements 0 - 7 of each half, 1 the rest. */
#define PICK(bits, e, at)                                                                          \
    (at) + (e) * (bits) / 8, ((e) * (bits) % 8 + (bits) > 8 ? (at) + (e) * (bits) / 8 + 1 : 0x80)
#define PICK8(bits, e, at)                                                                         \
    PICK(bits, e, at), PICK(bits, (e) + 1, at), PICK(bits, (e) + 2, at), PICK(bits, (e) + 3, at),  \
        PICK(bits, (e) + 4, at), PICK(bits, (e) + 5, at), PICK(bits, (e) + 6, at),                 \
        PICK(bits, (e) + 7, at)
#define PICKS(bits, low, high)                                                                     \
    {                                                                                              \
        {PICK8(bits, 0, low), PICK8(bits, 0, high)}, {                                             \
            PICK8(bits, 8, low), PICK8(bits, 8, high)                                              \
        }                                                                                          \
    }
#define LIFT(bits, e) 1 << (16 - (e) * (bits) % 8 - (bits))
/* eight elements are a whole number of bytes: the factors repeat */
#define LIFTS(bits)                                                                                \
    {                                                                                              \
        LIFT(bits, 0), LIFT(bits, 1), LIFT(bits, 2), LIFT(bits, 3), LIFT(bits, 4), LIFT(bits, 5),  \
            LIFT(bits, 6), LIFT(bits, 7)                                                           \
    }

LOAM_INLINE __m256i unpack_straddling(__m256i v, int bits, const unsigned char pick[2][32],
                                      const uint16_t lift[8]) {
    const __m256i factor = _mm256_broadcastsi128_si256(load128(lift));
    const __m256i a = _mm256_mullo_epi16(_mm256_shuffle_epi8(v, load256(pick[0])), factor);
    const __m256i b = _mm256_mullo_epi16(_mm256_shuffle_epi8(v, load256(pick[1])), factor);
    return _mm256_packus_epi16(_mm256_srli_epi16(a, 16 - bits), _mm256_srli_epi16(b, 16 - bits));
}

/* 32 elements of an affine bit stream (32 * bits / 8 bytes, no more are read). */
LOAM_INLINE __m256i unpack32(const unsigned char *p, int bits) {
    static const unsigned char pick3[2][32] = PICKS(3, 0, 6), pick5[2][32] = PICKS(5, 0, 6);
    static const unsigned char pick6[2][32] = PICKS(6, 0, 4);
    static const uint16_t lift3[] = LIFTS(3), lift5[] = LIFTS(5), lift6[] = LIFTS(6);

    switch (bits) {
    case 2: {
        const __m128i v = _mm_loadl_epi64((const __m128i *)(const void *)p);
        const __m128i mask = _mm_set1_epi8(3);
        return interleave4(_mm_and_si128(v, mask), _mm_and_si128(_mm_srli_epi16(v, 2), mask),
                           _mm_and_si128(_mm_srli_epi16(v, 4), mask),
                           _mm_and_si128(_mm_srli_epi16(v, 6), mask));
    }
    case 3: {
        uint32_t tail;
        memcpy(&tail, p + 8, 4);
        const __m128i v =
            _mm_insert_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p), (int)tail, 2);
        return unpack_straddling(_mm256_broadcastsi128_si256(v), 3, pick3, lift3);
    }
    case 4: {
        const __m128i v = load128(p), mask = _mm_set1_epi8(15);
        const __m128i lo = _mm_and_si128(v, mask), hi = _mm_and_si128(_mm_srli_epi16(v, 4), mask);
        return _mm256_set_m128i(_mm_unpackhi_epi8(lo, hi), _mm_unpacklo_epi8(lo, hi));
    }
    case 5: return unpack_straddling(_mm256_set_m128i(load128(p + 4), load128(p)), 5, pick5, lift5);
    case 6: return unpack_straddling(_mm256_set_m128i(load128(p + 8), load128(p)), 6, pick6, lift6);
    default: return load256(p);
    }
}

#endif
#endif
