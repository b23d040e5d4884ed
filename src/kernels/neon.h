/* neon.h - what the files of 64-bit ARM's NEON share: loads, transposes, exp, unpacking, the f32 tile.
 *
 * Base is armv8.0, which every 64-bit ARM core has.  Sixteen partial sums of a dot are four
 * registers; conversions from and to f16 are part of the base.  Intrinsics that may fuse on
 * their own (vmlaq_f32) are not used: a fused step is vfmaq_f32, anything else two roundings.
 */
#ifndef LOAM_NEON_H
#define LOAM_NEON_H

#include "float_tile.h"
#include "kernels.h"
#include "math_poly.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#define LOAM_INLINE static inline __attribute__((always_inline))

/* The first n <= 4 values, zeros after them. */
LOAM_INLINE float32x4_t load_part(const float *x, size_t n) {
    if (n >= 4) return vld1q_f32(x);
    float v[4] = {0};
    for (size_t i = 0; i < n; i++) v[i] = x[i];
    return vld1q_f32(v);
}
LOAM_INLINE void store_part(float *y, size_t n, float32x4_t v) {
    if (n >= 4) {
        vst1q_f32(y, v);
        return;
    }
    float some[4];
    vst1q_f32(some, v);
    for (size_t i = 0; i < n; i++) y[i] = some[i];
}

/* Four scalars of 16 bits as f32. */
LOAM_INLINE float32x4_t widen4(loam_element e, uint16x4_t v) {
    if (e == LOAM_ELEMENT_F16) return vcvt_f32_f16(vreinterpret_f16_u16(v));
    return vreinterpretq_f32_u32(vshll_n_u16(v, 16));
}

/* Four scalars of type e at p + i of them, as f32; p need not be aligned. */
LOAM_INLINE float32x4_t load_scalars(loam_element e, const unsigned char *p, size_t i) {
    if (e == LOAM_ELEMENT_F32) return vreinterpretq_f32_u8(vld1q_u8(p + 4 * i));
    return widen4(e, vreinterpret_u16_u8(vld1_u8(p + 2 * i)));
}

/* The same, of them only n < 4 are there; the others are 0. */
static inline float32x4_t load_scalars_part(loam_element e, const unsigned char *p, size_t i,
                                            size_t n) {
    unsigned char some[16] = {0};
    const size_t size = loam_element_bytes(e);
    memcpy(some, p + i * size, n * size);
    return load_scalars(e, some, 0);
}

/* Rows to columns: out[j] lane i = in[i] lane j. */
LOAM_INLINE void transpose4(float32x4_t r[4]) {
    const float64x2_t a0 = vreinterpretq_f64_f32(vtrn1q_f32(r[0], r[1]));
    const float64x2_t a1 = vreinterpretq_f64_f32(vtrn2q_f32(r[0], r[1]));
    const float64x2_t a2 = vreinterpretq_f64_f32(vtrn1q_f32(r[2], r[3]));
    const float64x2_t a3 = vreinterpretq_f64_f32(vtrn2q_f32(r[2], r[3]));
    r[0] = vreinterpretq_f32_f64(vtrn1q_f64(a0, a2));
    r[1] = vreinterpretq_f32_f64(vtrn1q_f64(a1, a3));
    r[2] = vreinterpretq_f32_f64(vtrn2q_f64(a0, a2));
    r[3] = vreinterpretq_f32_f64(vtrn2q_f64(a1, a3));
}

/* The end of a sum over sixteen lanes: 8 apart, 4, 2, 1. */
LOAM_INLINE float sum_tree(const float32x4_t s[4]) {
    const float32x4_t t = vaddq_f32(vaddq_f32(s[0], s[2]), vaddq_f32(s[1], s[3]));
    return vpadds_f32(vadd_f32(vget_low_f32(t), vget_high_f32(t)));
}

LOAM_INLINE float32x4_t exp4(float32x4_t x) {
    const float32x4_t lo = vdupq_n_f32(LOAM_EXP_MIN), hi = vdupq_n_f32(LOAM_EXP_MAX);
    const float32x4_t in = vminq_f32(vmaxq_f32(x, lo), hi); /* a NaN stays */
    const float32x4_t nf = vrndnq_f32(vmulq_f32(in, vdupq_n_f32(LOAM_LOG2E)));
    const int32x4_t n = vcvtq_s32_f32(nf);
    float32x4_t r = vfmaq_f32(in, nf, vdupq_n_f32(-LOAM_LN2_HI));
    r = vfmaq_f32(r, nf, vdupq_n_f32(-(LOAM_LN2_LO)));
    float32x4_t p = vdupq_n_f32(LOAM_EXP_4);
    p = vfmaq_f32(vdupq_n_f32(LOAM_EXP_3), p, r);
    p = vfmaq_f32(vdupq_n_f32(LOAM_EXP_2), p, r);
    p = vfmaq_f32(vdupq_n_f32(LOAM_EXP_1), p, r);
    p = vfmaq_f32(vdupq_n_f32(LOAM_EXP_0), p, r);
    p = vaddq_f32(vfmaq_f32(r, vmulq_f32(r, r), p), vdupq_n_f32(1.0f));
    const int32x4_t half = vshrq_n_s32(n, 1), rest = vsubq_s32(n, half), bias = vdupq_n_s32(127);
    p = vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23)));
    p = vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23)));
    p = vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(p), vcltq_f32(x, lo)));
    return vbslq_f32(vcgtq_f32(x, hi), vdupq_n_f32(__builtin_inff()), p);
}

/* 2^x for x <= 0 or NaN, see math_poly.h. */
LOAM_INLINE float32x4_t exp2_4(float32x4_t x) {
    const float32x4_t round = vdupq_n_f32(LOAM_EXP2_ROUND);
    const float32x4_t t = vaddq_f32(x, round), r = vsubq_f32(x, vsubq_f32(t, round));
    float32x4_t p = vdupq_n_f32(LOAM_EXP2_5);
    p = vfmaq_f32(vdupq_n_f32(LOAM_EXP2_4), p, r);
    p = vfmaq_f32(vdupq_n_f32(LOAM_EXP2_3), p, r);
    p = vfmaq_f32(vdupq_n_f32(LOAM_EXP2_2), p, r);
    p = vfmaq_f32(vdupq_n_f32(LOAM_EXP2_1), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f), p, r);
    p = vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(vreinterpretq_s32_f32(t), 23)));
    return vreinterpretq_f32_u32(
        vbicq_u32(vreinterpretq_u32_f32(p), vcltq_f32(x, vdupq_n_f32(LOAM_EXP2_MIN))));
}

LOAM_INLINE float32x4_t with_sign(float32x4_t size, float32x4_t sign) {
    return vbslq_f32(vdupq_n_u32(0x80000000u), sign, size);
}

LOAM_INLINE float32x4_t tanh4(float32x4_t x) {
    const float32x4_t one = vdupq_n_f32(1.0f), two = vdupq_n_f32(2.0f);
    const float32x4_t a = vabsq_f32(x), z = vmulq_f32(x, x);
    float32x4_t p = vdupq_n_f32(LOAM_TANH_4);
    p = vfmaq_f32(vdupq_n_f32(LOAM_TANH_3), p, z);
    p = vfmaq_f32(vdupq_n_f32(LOAM_TANH_2), p, z);
    p = vfmaq_f32(vdupq_n_f32(LOAM_TANH_1), p, z);
    p = vfmaq_f32(vdupq_n_f32(LOAM_TANH_0), p, z);
    const float32x4_t small = vfmaq_f32(x, vmulq_f32(x, z), p);
    const float32x4_t e = vaddq_f32(exp4(vmulq_f32(two, a)), one);
    const float32x4_t large = vsubq_f32(one, vdivq_f32(two, e));
    return vbslq_f32(vcltq_f32(a, vdupq_n_f32(LOAM_TANH_SPLIT)), small, with_sign(large, x));
}

/* Sixteen bytes whose elements straddle bytes: bring the two bytes of each element into a
 * 16-bit lane, shift it down, keep the low bytes. */
#define NEON_PICK(bits, e, at)                                                                     \
    (at) + (e) * (bits) / 8, ((e) * (bits) % 8 + (bits) > 8 ? (at) + (e) * (bits) / 8 + 1 : 0xff)
#define NEON_PICK8(bits, e, at)                                                                    \
    {                                                                                              \
        NEON_PICK(bits, e, at), NEON_PICK(bits, (e) + 1, at), NEON_PICK(bits, (e) + 2, at),        \
            NEON_PICK(bits, (e) + 3, at), NEON_PICK(bits, (e) + 4, at),                            \
            NEON_PICK(bits, (e) + 5, at), NEON_PICK(bits, (e) + 6, at),                            \
            NEON_PICK(bits, (e) + 7, at)                                                           \
    }
/* elements 0 - 15 start at byte 0 of the first load, 16 - 31 at `high` of the second */
#define NEON_PICKS(bits, high)                                                                     \
    {                                                                                              \
        NEON_PICK8(bits, 0, 0), NEON_PICK8(bits, 8, 0), NEON_PICK8(bits, 0, high),                 \
            NEON_PICK8(bits, 8, high)                                                              \
    }
#define NEON_SHIFT(bits, e) -((e) * (bits) % 8)
/* eight elements are a whole number of bytes: the shifts repeat */
#define NEON_SHIFTS(bits)                                                                          \
    {                                                                                              \
        NEON_SHIFT(bits, 0), NEON_SHIFT(bits, 1), NEON_SHIFT(bits, 2), NEON_SHIFT(bits, 3),        \
            NEON_SHIFT(bits, 4), NEON_SHIFT(bits, 5), NEON_SHIFT(bits, 6), NEON_SHIFT(bits, 7)     \
    }

LOAM_INLINE uint8x16_t unpack_straddling(uint8x16_t v, int bits, const unsigned char pick[2][16],
                                         const int16_t shift[8]) {
    const int16x8_t down = vld1q_s16(shift);
    const uint16x8_t a = vreinterpretq_u16_u8(vqtbl1q_u8(v, vld1q_u8(pick[0])));
    const uint16x8_t b = vreinterpretq_u16_u8(vqtbl1q_u8(v, vld1q_u8(pick[1])));
    const uint8x16_t low = vuzp1q_u8(vreinterpretq_u8_u16(vshlq_u16(a, down)),
                                     vreinterpretq_u8_u16(vshlq_u16(b, down)));
    return vandq_u8(low, vdupq_n_u8((uint8_t)((1 << bits) - 1)));
}

/* 32 elements of an affine bit stream in order (32 * bits / 8 bytes, no more are read). */
LOAM_INLINE uint8x16x2_t unpack32(const unsigned char *p, int bits) {
    static const unsigned char pick3[4][16] = NEON_PICKS(3, 6), pick5[4][16] = NEON_PICKS(5, 6);
    static const unsigned char pick6[4][16] = NEON_PICKS(6, 4);
    static const int16_t shift3[8] = NEON_SHIFTS(3), shift5[8] = NEON_SHIFTS(5),
                         shift6[8] = NEON_SHIFTS(6);
    uint8x16x2_t out;

    switch (bits) {
    case 2: {
        static const signed char shift2[16] = {0, -2, -4, -6, 0, -2, -4, -6,
                                               0, -2, -4, -6, 0, -2, -4, -6};
        const uint8x8_t v = vld1_u8(p);
        const uint8x16_t twice = vcombine_u8(vzip1_u8(v, v), vzip2_u8(v, v));
        const uint8x16_t mask = vdupq_n_u8(3);
        const int8x16_t down = vld1q_s8(shift2);
        out.val[0] = vandq_u8(vshlq_u8(vzip1q_u8(twice, twice), down), mask);
        out.val[1] = vandq_u8(vshlq_u8(vzip2q_u8(twice, twice), down), mask);
        return out;
    }
    case 3: {
        uint32_t tail;
        memcpy(&tail, p + 8, 4);
        const uint8x16_t v = vcombine_u8(vld1_u8(p), vcreate_u8(tail));
        out.val[0] = unpack_straddling(v, 3, pick3, shift3);
        out.val[1] = unpack_straddling(v, 3, pick3 + 2, shift3);
        return out;
    }
    case 4: {
        const uint8x16_t v = vld1q_u8(p);
        const uint8x16_t lo = vandq_u8(v, vdupq_n_u8(15)), hi = vshrq_n_u8(v, 4);
        out.val[0] = vzip1q_u8(lo, hi);
        out.val[1] = vzip2q_u8(lo, hi);
        return out;
    }
    case 5:
        out.val[0] = unpack_straddling(vld1q_u8(p), 5, pick5, shift5);
        out.val[1] = unpack_straddling(vld1q_u8(p + 4), 5, pick5 + 2, shift5);
        return out;
    case 6:
        out.val[0] = unpack_straddling(vld1q_u8(p), 6, pick6, shift6);
        out.val[1] = unpack_straddling(vld1q_u8(p + 8), 6, pick6 + 2, shift6);
        return out;
    default:
        out.val[0] = vld1q_u8(p);
        out.val[1] = vld1q_u8(p + 16);
        return out;
    }
}

void loam_neon_f16_to_f32(const uint16_t *x, size_t n, float *y);

/* Each file of the family puts its entries. */
void loam_neon_use_float(loam_kernels *k);
void loam_neon_use_integer(loam_kernels *k);
void loam_neon_use_math(loam_kernels *k);
void loam_neon_use_attend(loam_kernels *k);
void loam_neon_use_attention(loam_kernels *k);
void loam_neon_use_search(loam_kernels *k);
void loam_neon_use_panel(loam_kernels *k);

enum { NEON_TILE_ROWS = 4, NEON_TILE_COLS = 16 };

/* m rows (1 .. 4) and all sixteen columns of y. */
void loam_neon_tile(const loam_tile *t, size_t m);

/* Transpose columns k0 .. k0 + n of the sixteen rows from row0 on into the tile's b:
 * out[k * 16 + r]; the rows from n_rows on repeat the last one.  `buffer` holds
 * 16 * (n + 4) floats.  Rows are row_bytes apart; for affine k0 and n are multiples of 32. */
void loam_neon_pack(const loam_matrix *w, const unsigned char *data, size_t row_bytes, size_t row0,
                    size_t n_rows, size_t k0, size_t n, float *out, float *buffer);

/* Integer products.  The frame (neon_integer.c) lays out positions, scales and panels; the loop over
 * four rows comes from the set (neon_integer.h). */
enum { NEON_ROWS = 4, NEON_POSITIONS = 4, NEON_VECTOR_MAX = 8 };

typedef struct neon_position {
    const int8_t *x;     /* in the order of the units */
    const int32_t *sums; /* 8 bits: 128 * sum of x^ [n_groups] */
    const float *d, *s;
} neon_position;

typedef struct neon_rows {
    const unsigned char *row[NEON_ROWS];
    const float *scales; /* [n_groups][4] */
    size_t n_groups, group;
    const neon_position *at; /* the positions at work */
} neon_rows;

typedef void (*neon_rows_fn)(const neon_rows *t, float32x4_t *out, size_t out_stride);

/* `rows` by bits and positions - 1. */
void loam_neon_integer_product(const neon_rows_fn rows[][NEON_POSITIONS], const loam_matrix *w,
                               size_t row0, size_t n_rows, const loam_acts *a, size_t m, float *y,
                               size_t y_stride, void *scratch);

/* Scales or biases of n rows from `row` on, transposed four by four: out[rows / 4][`four` floats:
 * n_groups][4], where `four` is n_groups rounded up to 4, times 4.  Rows up to a multiple of
 * `multiple` repeat the last. */
void loam_neon_place_scales(const loam_matrix *w, const unsigned char *base, size_t row, size_t n,
                            size_t multiple, float *out);

#endif
#endif
