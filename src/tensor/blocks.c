/* blocks.c - unpacking of GGUF's block formats, value for value as ggml does it.
 *
 * Scales are f16; products and differences are single f32 operations in ggml's order,
 * so the results are equal bit for bit (-ffp-contract=off).  In the K formats 256
 * elements share one or two f16 scales, and sub-blocks of 16 or 32 have small integer
 * scales (and minima) of their own.
 */
#include "tensor/blocks.h"

#include "base/base.h"

enum { K = 256 }; /* elements of a K block */

static float half_at(const unsigned char *p) {
    return loam_f16_to_f32(loam_read_u16(p));
}

/* | d | 16 bytes: low nibbles are elements 0-15, high ones 16-31 |   x = (q - 8) * d */
static void unpack_q4_0(const unsigned char *b, size_t n, float *out) {
    for (; n--; b += 18, out += 32) {
        const float d = half_at(b);
        for (int i = 0; i < 16; i++) {
            out[i] = (float)((b[2 + i] & 15) - 8) * d;
            out[i + 16] = (float)((b[2 + i] >> 4) - 8) * d;
        }
    }
}

/* | d | m | nibbles |   x = q * d + m */
static void unpack_q4_1(const unsigned char *b, size_t n, float *out) {
    for (; n--; b += 20, out += 32) {
        const float d = half_at(b), m = half_at(b + 2);
        for (int i = 0; i < 16; i++) {
            out[i] = (float)(b[4 + i] & 15) * d + m;
            out[i + 16] = (float)(b[4 + i] >> 4) * d + m;
        }
    }
}

/* | d | 32 fifth bits | nibbles |   x = (q - 16) * d */
static void unpack_q5_0(const unsigned char *b, size_t n, float *out) {
    for (; n--; b += 22, out += 32) {
        const float d = half_at(b);
        const uint32_t high = loam_read_u32(b + 2);
        for (int i = 0; i < 16; i++) {
            const int low = (b[6 + i] & 15) | (int)(high >> i << 4 & 16);
            const int up = (b[6 + i] >> 4) | (int)(high >> (i + 16) << 4 & 16);
            out[i] = (float)(low - 16) * d;
            out[i + 16] = (float)(up - 16) * d;
        }
    }
}

static void unpack_q5_1(const unsigned char *b, size_t n, float *out) {
    for (; n--; b += 24, out += 32) {
        const float d = half_at(b), m = half_at(b + 2);
        const uint32_t high = loam_read_u32(b + 4);
        for (int i = 0; i < 16; i++) {
            const int low = (b[8 + i] & 15) | (int)(high >> i << 4 & 16);
            const int up = (b[8 + i] >> 4) | (int)(high >> (i + 16) << 4 & 16);
            out[i] = (float)low * d + m;
            out[i + 16] = (float)up * d + m;
        }
    }
}

static void unpack_q8_0(const unsigned char *b, size_t n, float *out) {
    for (; n--; b += 34, out += 32) {
        const float d = half_at(b);
        for (int i = 0; i < 32; i++) out[i] = (float)(int8_t)b[2 + i] * d;
    }
}

/* | 16 bytes: scale | min << 4 | 64 bytes: 2-bit q | d | dmin |
 * Each half of 128 takes 32 bytes; its four groups of 32 are the four bit pairs of these. */
static void unpack_q2_k(const unsigned char *b, size_t n, float *out) {
    for (; n--; b += 84) {
        const float d = half_at(b + 80), dmin = half_at(b + 82);
        for (int i = 0; i < K; i++, out++) {
            const int half = i / 128, group = i % 128 / 32, at = i % 32;
            const unsigned char scale = b[i / 16];
            const int q = b[16 + 32 * half + at] >> (2 * group) & 3;
            *out = d * (float)(scale & 15) * (float)q - dmin * (float)(scale >> 4);
        }
    }
}

/* The 12 bytes of Q3_K hold sixteen 6-bit scales: low nibbles first, then bit pairs. */
static int q3_k_scale(const unsigned char *s, int i) {
    const int low = i < 8 ? s[i] & 15 : s[i - 8] >> 4;
    const int high = s[8 + i % 4] >> (2 * (i / 4)) & 3;
    return (low | high << 4) - 32;
}

/* | 32 bytes: third bits | 64 bytes: 2-bit q | 12 bytes: scales | d |
 * A third bit that is 0 subtracts 4. */
static void unpack_q3_k(const unsigned char *b, size_t n, float *out) {
    for (; n--; b += 110) {
        const float d = half_at(b + 108);
        for (int i = 0; i < K; i++, out++) {
            const int half = i / 128, group = i % 128 / 32, at = i % 32;
            const int high = b[at] >> (4 * half + group) & 1;
            const int q = (b[32 + 32 * half + at] >> (2 * group) & 3) - (high ? 0 : 4);
            *out = d * (float)q3_k_scale(b + 96, i / 16) * (float)q;
        }
    }
}

/* Scale and minimum of sub-block i of 8, 6 bits each, of the 12 bytes in Q4_K and Q5_K. */
static void k_scale_min(const unsigned char *s, int i, int *scale, int *min) {
    if (i < 4) {
        *scale = s[i] & 63;
        *min = s[i + 4] & 63;
    } else {
        *scale = (s[i + 4] & 15) | (s[i - 4] >> 6 << 4);
        *min = (s[i + 4] >> 4) | (s[i] >> 6 << 4);
    }
}

/* | d | dmin | 12 bytes: scales and minima | 128 bytes of nibbles |
 * Of 32 bytes the low nibbles are one sub-block, the high ones the next. */
static void unpack_q4_k(const unsigned char *b, size_t n, float *out) {
    for (; n--; b += 144) {
        const float d = half_at(b), dmin = half_at(b + 2);
        for (int sub = 0; sub < 8; sub++, out += 32) {
            const unsigned char *q = b + 16 + (size_t)(sub / 2) * 32;
            int scale, min;
            k_scale_min(b + 4, sub, &scale, &min);
            const float ds = d * (float)scale, m = dmin * (float)min;
            for (int i = 0; i < 32; i++) out[i] = ds * (float)(q[i] >> (sub % 2 * 4) & 15) - m;
        }
    }
}

/* As Q4_K with 32 bytes of fifth bits between: bit `sub` of byte i. */
static void unpack_q5_k(const unsigned char *b, size_t n, float *out) {
    for (; n--; b += 176) {
        const float d = half_at(b), dmin = half_at(b + 2);
        for (int sub = 0; sub < 8; sub++, out += 32) {
            const unsigned char *high = b + 16, *q = b + 48 + (size_t)(sub / 2) * 32;
            int scale, min;
            k_scale_min(b + 4, sub, &scale, &min);
            const float ds = d * (float)scale, m = dmin * (float)min;
            for (int i = 0; i < 32; i++) {
                const int low = q[i] >> (sub % 2 * 4) & 15;
                out[i] = ds * (float)(low | (high[i] >> sub & 1) << 4) - m;
            }
        }
    }
}

/* | 128 bytes: low nibbles | 64 bytes: upper bit pairs | 16 int8 scales | d |   x = (q - 32) * s * d
 * Each half of 128 takes 64 and 32 of these bytes. */
static void unpack_q6_k(const unsigned char *b, size_t n, float *out) {
    for (; n--; b += 210) {
        const float d = half_at(b + 208);
        for (int i = 0; i < K; i++, out++) {
            const int half = i / 128, group = i % 128 / 32, at = i % 32;
            const int low = b[64 * half + 32 * (group % 2) + at] >> (group / 2 * 4) & 15;
            const int high = b[128 + 32 * half + at] >> (2 * group) & 3;
            const float scale = d * (float)(int8_t)b[192 + i / 16];
            *out = scale * (float)((low | high << 4) - 32);
        }
    }
}

static const loam_block_format FORMATS[] = {
    {32, 18, unpack_q4_0}, {32, 20, unpack_q4_1}, {32, 22, unpack_q5_0}, {32, 24, unpack_q5_1},
    {32, 34, unpack_q8_0}, {K, 84, unpack_q2_k},  {K, 110, unpack_q3_k}, {K, 144, unpack_q4_k},
    {K, 176, unpack_q5_k}, {K, 210, unpack_q6_k},
};
_Static_assert(sizeof FORMATS / sizeof FORMATS[0] == LOAM_N_DTYPES - LOAM_Q4_0, "a row per format");

const loam_block_format *loam_block_format_of(loam_dtype d) {
    return d >= LOAM_Q4_0 && d < LOAM_N_DTYPES ? &FORMATS[d - LOAM_Q4_0] : NULL;
}
