/* convert_blocks.c - GGUF blocks as MLX triples, no value changed.
 *
 * Both formats hold w = scale * q + bias for 32 values, with q unsigned; they
 * differ in where the parts stand and in the order of the values:
 *
 *     Q4_0  | d | 16 bytes: value j in the low half of byte j, j + 16 in the high |
 *           w = d * (q - 8)            scale d, bias -8 d
 *     Q4_1  | d m | same |             scale d, bias m
 *     Q5_0  | d | 4 bytes: bit 4 of each value | as Q4_0 |      bias -16 d
 *     Q5_1  | d m | same |             bias m
 *     Q8_0  | d | 32 signed bytes |    q + 128, bias -128 d
 *     Q4_K  | d dmin | 12 bytes: 8 six-bit scales and minimums | 128 bytes |
 *           8 groups of 32: w = (d sc) q - dmin mn; products exact in f32
 *     Q5_K  | d dmin | 12 bytes | 32 bytes: bit g of byte j is bit 4 of value j of group g | 128 |
 *
 * Q2_K, Q3_K and Q6_K have scales for 16 values and cannot be held exactly.
 */
#include "model/convert_job.h"

int loam_convert_block_bits(loam_dtype d) {
    switch (d) {
    case LOAM_Q4_0:
    case LOAM_Q4_1:
    case LOAM_Q4_K: return 4;
    case LOAM_Q5_0:
    case LOAM_Q5_1:
    case LOAM_Q5_K: return 5;
    case LOAM_Q8_0: return 8;
    default: return 0;
    }
}

static size_t bytes_of_32(loam_dtype d) {
    switch (d) {
    case LOAM_Q4_0: return 18;
    case LOAM_Q4_1: return 20;
    case LOAM_Q5_0: return 22;
    case LOAM_Q5_1: return 24;
    case LOAM_Q8_0: return 34;
    case LOAM_Q4_K: return 144 / 8;
    case LOAM_Q5_K: return 176 / 8;
    default: return 0;
    }
}

size_t loam_convert_block_bytes(loam_dtype d, size_t n) {
    return n / 32 * bytes_of_32(d);
}

/* Halves of 16 bytes: 0 .. 15 low, 16 .. 31 high; `high` holds their fifth bits. */
static void unpack_halves(const unsigned char *p, uint32_t high, uint8_t *q) {
    for (int j = 0; j < 16; j++) {
        q[j] = (uint8_t)((p[j] & 15) | (high >> j & 1) << 4);
        q[j + 16] = (uint8_t)(p[j] >> 4 | (high >> (j + 16) & 1) << 4);
    }
}

static void convert_small(loam_dtype d, const unsigned char *p, unsigned char *packed, float *scale,
                          float *bias) {
    uint8_t q[32];
    const float x = loam_f16_to_f32(loam_read_u16(p));
    *scale = x;
    switch (d) {
    case LOAM_Q4_0:
        unpack_halves(p + 2, 0, q);
        *bias = -8.0f * x;
        break;
    case LOAM_Q4_1:
        unpack_halves(p + 4, 0, q);
        *bias = loam_f16_to_f32(loam_read_u16(p + 2));
        break;
    case LOAM_Q5_0:
        unpack_halves(p + 6, loam_read_u32(p + 2), q);
        *bias = -16.0f * x;
        break;
    case LOAM_Q5_1:
        unpack_halves(p + 8, loam_read_u32(p + 4), q);
        *bias = loam_f16_to_f32(loam_read_u16(p + 2));
        break;
    default: /* Q8_0 */
        for (int j = 0; j < 32; j++) q[j] = p[2 + j] ^ 0x80;
        *bias = -128.0f * x;
        break;
    }
    loam_quant_pack(q, 32, loam_convert_block_bits(d), packed);
}

/* Six-bit scale and minimum of group g: the first four stand in the low bits of
 * bytes 0-7, the others in bytes 8-11 with their high bits atop bytes 0-7. */
static void read_k_scale(const unsigned char *s, int g, int *sc, int *mn) {
    if (g < 4) {
        *sc = s[g] & 63;
        *mn = s[g + 4] & 63;
    } else {
        *sc = (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
        *mn = s[g + 4] >> 4 | (s[g] >> 6) << 4;
    }
}

static void convert_k(loam_dtype d, const unsigned char *p, unsigned char *packed, float *scales,
                      float *biases) {
    const int bits = loam_convert_block_bits(d);
    const float x = loam_f16_to_f32(loam_read_u16(p)), min = loam_f16_to_f32(loam_read_u16(p + 2));
    const unsigned char *high = p + 16, *low = d == LOAM_Q5_K ? p + 48 : p + 16;
    uint8_t q[32];
    for (int g = 0; g < 8; g++) {
        int sc, mn;
        read_k_scale(p + 4, g, &sc, &mn);
        scales[g] = x * (float)sc;
        biases[g] = -(min * (float)mn);
        const unsigned char *half = low + (ptrdiff_t)32 * (g / 2); /* two groups share 32 bytes */
        for (int j = 0; j < 32; j++) {
            q[j] = (uint8_t)(g & 1 ? half[j] >> 4 : half[j] & 15);
            if (bits == 5) q[j] |= (uint8_t)((high[j] >> g & 1) << 4);
        }
        loam_quant_pack(q, 32, bits, packed + (ptrdiff_t)4 * bits * g);
    }
}

void loam_convert_blocks(loam_dtype d, const unsigned char *src, size_t n, unsigned char *packed,
                         float *scales, float *biases) {
    const size_t bits = (size_t)loam_convert_block_bits(d);
    LOAM_ASSERT(bits != 0);
    if (d == LOAM_Q4_K || d == LOAM_Q5_K) {
        for (size_t i = 0; i < n / 256; i++)
            convert_k(d, src + i * 8 * bytes_of_32(d), packed + i * 32 * bits, scales + 8 * i,
                      biases + 8 * i);
    } else {
        for (size_t i = 0; i < n / 32; i++)
            convert_small(d, src + i * bytes_of_32(d), packed + i * 4 * bits, scales + i,
                          biases + i);
    }
}
