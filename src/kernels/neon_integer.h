/* neon_integer.h - affine weights times int8 activations, for the three ARM sets that differ in
 * how 32 products are added: smull/sadalp (neon), sdot (neondot), and tiles (neoni8mm).
 *
 * acc = DOT32(acc, q0, q1, x0, x1, bits)  adds the 32 products of q0, q1 (int8x16_t: 0 .. 63, or
 * -128 .. 127 when bits is 8) with x0, x1 to the four lanes of acc, in any lane.  It is sdot where the
 * includer has not defined another.
 *
 * Four rows at a time against one to four positions.  A unit is 32 columns of a row as two vectors; x
 * stands in the order that meets them: for 4 bits the 16 even columns, then the 16 odd ones, so that a
 * unit is one load, an and, a shift.  Each sum of a group is spread over a register's four lanes; four
 * rows' registers become one, whose lanes are the rows, by three pairwise additions.
 *
 *     v[r] += DOT32(row r)  over the group;   lanes of addp(addp(v0, v1), addp(v2, v3)) = rows
 *
 * 8-bit q become q - 128; 128 * sum of x^ is added back as an integer.  Rows come straight from the bit
 * stream, or (many positions) from a panel of bytes, `bits` then being NEON_BYTES.
 */
#ifndef LOAM_NEON_INTEGER_H
#define LOAM_NEON_INTEGER_H

#include "neon.h"

#if defined(__aarch64__)

/* gcc would reorder the integer sums of an unrolled loop and spill them; this fixes one in its
 * register and costs nothing. */
#define NEON_KEEP(v) __asm__("" : "+w"(v))

#ifndef DOT32 /* sdot, which neondot and neoni8mm share */
LOAM_INLINE int32x4_t dot32(int32x4_t acc, int8x16_t q0, int8x16_t q1, int8x16_t x0, int8x16_t x1,
                            int bits) {
    (void)bits;
    return vdotq_s32(vdotq_s32(acc, q0, x0), q1, x1);
}
#define DOT32 dot32
#endif

enum { NEON_BYTES = 7 }; /* unpacked q of up to 6 bits, in order */

LOAM_INLINE void load_unit(const unsigned char *p, int bits, int8x16_t q[2]) {
    if (bits == 4) { /* even columns, odd columns */
        const uint8x16_t v = vld1q_u8(p);
        q[0] = vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15)));
        q[1] = vreinterpretq_s8_u8(vshrq_n_u8(v, 4));
        return;
    }
    const uint8x16x2_t u = unpack32(p, bits == NEON_BYTES ? 8 : bits);
    const uint8x16_t flip = vdupq_n_u8(bits == 8 ? 0x80 : 0);
    q[0] = vreinterpretq_s8_u8(veorq_u8(u.val[0], flip));
    q[1] = vreinterpretq_s8_u8(veorq_u8(u.val[1], flip));
}

/* 32 columns from k of four rows (whose bytes are `at`) and m positions. */
LOAM_INLINE void add_unit(const neon_rows *t, size_t at, size_t k, int bits, size_t m,
                          int32x4_t v[NEON_POSITIONS][NEON_ROWS]) {
#pragma GCC unroll 4
    for (size_t r = 0; r < NEON_ROWS; r++) {
        int8x16_t q[2];
        load_unit(t->row[r] + at, bits, q);
#pragma GCC unroll 4
        for (size_t i = 0; i < m; i++) {
            v[i][r] = DOT32(v[i][r], q[0], q[1], vld1q_s8(t->at[i].x + k),
                            vld1q_s8(t->at[i].x + k + 16), bits);
            NEON_KEEP(v[i][r]);
        }
    }
}

/* acc[i], lanes = rows: all groups of four rows and m positions, without the biases. */
LOAM_INLINE void rows4(const neon_rows *t, int bits, size_t units, size_t m, float32x4_t *acc) {
    const size_t unit_bytes = bits == NEON_BYTES ? 32 : 4 * (size_t)bits;
    size_t at = 0, k = 0;

#pragma GCC unroll 4
    for (size_t i = 0; i < m; i++) acc[i] = vdupq_n_f32(0.0f);
    for (size_t g = 0; g < t->n_groups; g++) {
        int32x4_t v[NEON_POSITIONS][NEON_ROWS];
#pragma GCC unroll 4
        for (size_t i = 0; i < m; i++)
#pragma GCC unroll 4
            for (size_t r = 0; r < NEON_ROWS; r++) v[i][r] = vdupq_n_s32(0);
        if (m > 2) { /* unrolled, this would not fit the registers */
            size_t n = units;
            __asm__("" : "+r"(n));
            for (; n > 0; n--, at += unit_bytes, k += 32) add_unit(t, at, k, bits, m, v);
        } else {
#pragma GCC unroll 2
            for (size_t u = 0; u < units; u++, at += unit_bytes, k += 32)
                add_unit(t, at, k, bits, m, v);
        }
        const float32x4_t scale = vld1q_f32(t->scales + g * NEON_ROWS);
#pragma GCC unroll 4
        for (size_t i = 0; i < m; i++) {
            int32x4_t sum = vpaddq_s32(vpaddq_s32(v[i][0], v[i][1]), vpaddq_s32(v[i][2], v[i][3]));
            if (bits == 8) sum = vaddq_s32(sum, vdupq_n_s32(t->at[i].sums[g]));
            acc[i] = vfmaq_f32(acc[i], vmulq_n_f32(scale, t->at[i].d[g]), vcvtq_f32_s32(sum));
        }
    }
}

LOAM_INLINE void rows4_any(const neon_rows *t, int bits, size_t m, float32x4_t *out,
                           size_t out_stride) {
    float32x4_t acc[NEON_POSITIONS];
    switch (t->group) {
    case 32: rows4(t, bits, 1, m, acc); break;
    case 64: rows4(t, bits, 2, m, acc); break;
    default: rows4(t, bits, 4, m, acc); break;
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < m; i++) out[i * out_stride] = acc[i];
}

#define DEFINE_ROWS4(BITS, M)                                                                      \
    static void rows4_##BITS##_##M(const neon_rows *t, float32x4_t *out, size_t out_stride) {      \
        rows4_any(t, BITS, M, out, out_stride);                                                    \
    }

DEFINE_ROWS4(2, 1)
DEFINE_ROWS4(3, 1)
DEFINE_ROWS4(4, 1)
DEFINE_ROWS4(4, 2)
DEFINE_ROWS4(4, 3)
DEFINE_ROWS4(4, 4)
DEFINE_ROWS4(5, 1)
DEFINE_ROWS4(6, 1)
DEFINE_ROWS4(7, 1)
DEFINE_ROWS4(7, 2)
DEFINE_ROWS4(7, 3)
DEFINE_ROWS4(7, 4)
DEFINE_ROWS4(8, 1)
DEFINE_ROWS4(8, 2)
DEFINE_ROWS4(8, 3)
DEFINE_ROWS4(8, 4)

/* by bits, then positions - 1; NULL: one position at a time, or from a panel */
static const neon_rows_fn rows4_of[][NEON_POSITIONS] = {
    [2] = {rows4_2_1},
    [3] = {rows4_3_1},
    [4] = {rows4_4_1, rows4_4_2, rows4_4_3, rows4_4_4},
    [5] = {rows4_5_1},
    [6] = {rows4_6_1},
    [NEON_BYTES] = {rows4_7_1, rows4_7_2, rows4_7_3, rows4_7_4},
    [8] = {rows4_8_1, rows4_8_2, rows4_8_3, rows4_8_4}};

#endif
#endif
