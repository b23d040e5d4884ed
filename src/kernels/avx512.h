/* avx512.h - what the 512-bit files share: affine weights as bytes, scales by rows, the panel.
 *
 * A unit is 128 columns of a row as two registers of bytes.  Each quarter of both registers holds
 * 32 columns, so that a group is one quarter, two or four, whatever the bit width:
 *
 *     quarter L:   q0 = sixteen of the columns 32 L .. 32 L + 31,   q1 = the others
 *
 * In columns' order q0 has the first sixteen of each 32.  As they come ("raw"), 4 bits give the
 * even and the odd columns and 2 bits something wilder (avx512vnni_vector.c arranges x to meet
 * them), which is an instruction or two less.
 */
#ifndef LOAM_AVX512_H
#define LOAM_AVX512_H

#include "avx2.h"

#if defined(__AVX512VNNI__) || defined(LOAM_AVX512_EMULATED)
#define LOAM_AVX512

enum { UNIT = 128, GROUPS_PAD = 16 };

LOAM_INLINE __m512i load512(const void *p) {
    return _mm512_loadu_si512(p);
}

/* Lanes 0 .. n - 1 of sixteen, any n. */
LOAM_INLINE __mmask16 first_lanes(size_t n) {
    return (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1);
}

/* acc += q . x in fours.  gcc 12 surrounds the intrinsic with register copies when the sums
 * stand in an array, at half the speed. */
LOAM_INLINE __m512i dot4(__m512i acc, __m512i q, __m512i x) {
#if defined(__AVX512VNNI__) && !defined(__clang__)
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(q), "v"(x));
    return acc;
#else
    return _mm512_dpbusd_epi32(acc, q, x);
#endif
}

typedef struct unit512 {
    __m512i q0, q1;
} unit512;

/* Bytes from + 2 * 64 of a row of which only n dwords are there: the rest is 0. */
LOAM_INLINE __m512i load_dwords(const unsigned char *p, size_t from, size_t n) {
    return _mm512_maskz_loadu_epi32(first_lanes(n > from ? n - from : 0), p + 4 * from);
}

/* Elements that straddle bytes.  Each quarter of v holds sixteen of them from its byte `at` on:
 * the two bytes of each even element come into a 16-bit lane whose low byte it shall be, those
 * of the odd one into a lane whose high byte. */
#define WINDOW(bits, e, at) (char)((at) + (e) * (bits) / 8), (char)((at) + (e) * (bits) / 8 + 1)
#define WINDOWS(bits, e, at)                                                                       \
    WINDOW(bits, e, at), WINDOW(bits, (e) + 2, at), WINDOW(bits, (e) + 4, at),                     \
        WINDOW(bits, (e) + 6, at), WINDOW(bits, (e) + 8, at), WINDOW(bits, (e) + 10, at),          \
        WINDOW(bits, (e) + 12, at), WINDOW(bits, (e) + 14, at)
#define SHIFTS_DOWN(bits)                                                                          \
    0, 2 * (bits) % 8, 4 * (bits) % 8, 6 * (bits) % 8, 0, 2 * (bits) % 8, 4 * (bits) % 8,          \
        6 * (bits) % 8
#define SHIFTS_UP(bits)                                                                            \
    8 - (bits) % 8, 8 - 3 * (bits) % 8, 8 - 5 * (bits) % 8, 8 - 7 * (bits) % 8, 8 - (bits) % 8,    \
        8 - 3 * (bits) % 8, 8 - 5 * (bits) % 8, 8 - 7 * (bits) % 8

typedef struct straddle {
    char even[16], odd[16];
    short down[8], up[8];
} straddle;

#define STRADDLE(bits, at)                                                                         \
    {                                                                                              \
        {WINDOWS(bits, 0, at)}, {WINDOWS(bits, 1, at)}, {SHIFTS_DOWN(bits)}, {                     \
            SHIFTS_UP(bits)                                                                        \
        }                                                                                          \
    }

LOAM_INLINE __m512i four_times(const void *p) {
    return _mm512_broadcast_i32x4(load128(p));
}

LOAM_INLINE __m512i unstraddle(__m512i v, int bits, const straddle *s) {
    const __m512i even =
        _mm512_srlv_epi16(_mm512_shuffle_epi8(v, four_times(s->even)), four_times(s->down));
    const __m512i odd =
        _mm512_sllv_epi16(_mm512_shuffle_epi8(v, four_times(s->odd)), four_times(s->up));
    const __m512i low = _mm512_set1_epi16(0xff);
    /* low ? even : odd */
    const __m512i both = _mm512_ternarylogic_epi32(low, even, odd, 0xca);
    return _mm512_and_si512(both, _mm512_set1_epi8((char)((1 << bits) - 1)));
}

/* A unit of which n_columns are there (32, 64, 96; UNIT and more: all), raw or in order. */
LOAM_INLINE unit512 load_unit512(const unsigned char *p, int bits, size_t n_columns, int raw) {
    static const straddle straddle3[2] = {STRADDLE(3, 0), STRADDLE(3, 6)};
    static const straddle straddle5[2] = {STRADDLE(5, 0), STRADDLE(5, 2)};
    static const straddle straddle6[1] = {STRADDLE(6, 0)};
    const int whole = n_columns >= UNIT;
    const size_t dwords = (whole ? (size_t)UNIT : n_columns) / 32 * (size_t)bits;

    switch (bits) {
    case 2: {
        const __m512i v = whole ? _mm512_castsi256_si512(load256(p)) : load_dwords(p, 0, dwords);
        const __m512i m = _mm512_set1_epi8(3);
        const __m512i twice =
            _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3), v);
        const __m512i t = _mm512_srlv_epi64(twice, _mm512_setr_epi64(0, 4, 0, 4, 0, 4, 0, 4));
        const unit512 u = {_mm512_and_si512(t, m), _mm512_and_si512(_mm512_srli_epi16(t, 2), m)};
        if (raw) return u;
        const __m512i a = _mm512_unpacklo_epi8(u.q0, u.q1), b = _mm512_unpackhi_epi8(u.q0, u.q1);
        return (unit512){_mm512_unpacklo_epi16(a, b), _mm512_unpackhi_epi16(a, b)};
    }
    case 3: {
        const __m512i index = _mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
        const __m512i v = _mm512_permutexvar_epi32(index, load_dwords(p, 0, dwords));
        return (unit512){unstraddle(v, 3, &straddle3[0]), unstraddle(v, 3, &straddle3[1])};
    }
    case 4: {
        const __m512i v = whole ? load512(p) : load_dwords(p, 0, dwords);
        const __m512i m = _mm512_set1_epi8(15);
        const unit512 u = {_mm512_and_si512(v, m), _mm512_and_si512(_mm512_srli_epi16(v, 4), m)};
        if (raw) return u;
        return (unit512){_mm512_unpacklo_epi8(u.q0, u.q1), _mm512_unpackhi_epi8(u.q0, u.q1)};
    }
    case 5: {
        const __m512i i0 =
            _mm512_setr_epi32(0, 1, 2, 2, 5, 6, 7, 7, 10, 11, 12, 12, 15, 16, 17, 17);
        const __m512i i1 = _mm512_add_epi32(i0, _mm512_set1_epi32(2));
        const __m512i a = whole ? load512(p) : load_dwords(p, 0, dwords);
        const __m512i b =
            whole ? _mm512_castsi128_si512(load128(p + 64)) : load_dwords(p, 16, dwords);
        return (unit512){unstraddle(_mm512_permutex2var_epi32(a, i0, b), 5, &straddle5[0]),
                         unstraddle(_mm512_permutex2var_epi32(a, i1, b), 5, &straddle5[1])};
    }
    case 6: {
        const __m512i i0 =
            _mm512_setr_epi32(0, 1, 2, 2, 6, 7, 8, 8, 12, 13, 14, 14, 18, 19, 20, 20);
        const __m512i i1 = _mm512_add_epi32(i0, _mm512_set1_epi32(3));
        const __m512i a = whole ? load512(p) : load_dwords(p, 0, dwords);
        const __m512i b =
            whole ? _mm512_castsi256_si512(load256(p + 64)) : load_dwords(p, 16, dwords);
        return (unit512){unstraddle(_mm512_permutex2var_epi32(a, i0, b), 6, straddle6),
                         unstraddle(_mm512_permutex2var_epi32(a, i1, b), 6, straddle6)};
    }
    default: {
        const __m512i a = whole ? load512(p) : load_dwords(p, 0, dwords);
        const __m512i b = whole ? load512(p + 64) : load_dwords(p, 16, dwords);
        return (unit512){_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd)};
    }
    }
}

/* Scales or biases of eight rows, transposed: out[g * stride + row], stride >= 8, room for the
 * groups rounded up to GROUPS_PAD.  Rows repeat where there are fewer.  (avx512vnni_panel.c) */
void loam_avx512_scales8(const loam_matrix *w, const unsigned char *base, const size_t rows[8],
                         size_t end_row, float *out, size_t stride);

/* As loam_avx2_fill_panel, unsigned; scales and biases have room for GROUPS_PAD. */
void loam_avx512_fill_panel(const loam_matrix *w, size_t row0, size_t n_rows, unsigned char *q,
                            float *scales, float *biases);

LOAM_INLINE size_t padded_groups(const loam_matrix *w) {
    return (w->cols / (size_t)w->group + GROUPS_PAD - 1) / GROUPS_PAD * GROUPS_PAD;
}

/* 4 x 4 dwords in each quarter of four registers. */
LOAM_INLINE void transpose_quarters(__m512i r[4]) {
    const __m512i a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpackhi_epi32(r[0], r[1]);
    const __m512i c = _mm512_unpacklo_epi32(r[2], r[3]), d = _mm512_unpackhi_epi32(r[2], r[3]);
    r[0] = _mm512_unpacklo_epi64(a, c);
    r[1] = _mm512_unpackhi_epi64(a, c);
    r[2] = _mm512_unpacklo_epi64(b, d);
    r[3] = _mm512_unpackhi_epi64(b, d);
}

/* Quarter L of the four becomes register L. */
LOAM_INLINE void gather_quarters(__m512i r[4]) {
    const __m512i a = _mm512_shuffle_i32x4(r[0], r[1], 0x44),
                  b = _mm512_shuffle_i32x4(r[0], r[1], 0xee);
    const __m512i c = _mm512_shuffle_i32x4(r[2], r[3], 0x44),
                  d = _mm512_shuffle_i32x4(r[2], r[3], 0xee);
    r[0] = _mm512_shuffle_i32x4(a, c, 0x88);
    r[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
    r[2] = _mm512_shuffle_i32x4(b, d, 0x88);
    r[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
}

/* Dwords of sixteen rows to columns: out + 16 * j holds dword j of each row, 4 bytes a row. */
LOAM_INLINE void transpose16(__m512i r[16]) {
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) transpose_quarters(r + 4 * i);
    /* r[4 i + j], quarter L: dword 4 L + j of rows 4 i .. 4 i + 3 */
    __m512i t[16];
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; j++) {
        __m512i c[4] = {r[j], r[4 + j], r[8 + j], r[12 + j]};
        gather_quarters(c);
#pragma GCC unroll 4
        for (size_t l = 0; l < 4; l++) t[4 * l + j] = c[l];
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < 16; i++) r[i] = t[i];
}

void loam_avx512vnni_vector(const loam_matrix *w, size_t row0, size_t n_rows, const loam_acts *a,
                            size_t m, float *y, size_t y_stride, void *scratch);
void loam_avx512vnni_use_encoder(loam_kernels *k);
void loam_avx512vnni_use_attention(loam_kernels *k);
void loam_avx512vnni_use_attend(loam_kernels *k);
void loam_avx512vnni_use_math(loam_kernels *k);
/* Up to so many positions the bit stream is read as it is, beyond it becomes panels. */
enum { LOAM_AVX512_VECTOR_MAX = 4 };

#endif
#endif
