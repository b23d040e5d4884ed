/* quantize.c - see quantize.h.
 *
 * Quantising happens once per model, so this is plain C that a compiler turns
 * into vector code; there are no variants.  What must not change is the bits: no
 * contraction (the build says so), true divisions, rounding to nearest even.
 */
#include "kernels/quantize.h"

#include "base/base.h"

#include <math.h>

enum { MAX_GROUP = 128 };

int loam_quant_affine_valid(int bits, int group) {
    const int bits_ok = (bits >= 2 && bits <= 6) || bits == 8;
    return bits_ok && (group == 32 || group == 64 || group == 128);
}

void loam_float_store(const float *src, size_t n, loam_float t, void *dst) {
    unsigned char *p = dst;
    if (t == LOAM_FLOAT_F32) {
        memcpy(p, src, n * sizeof *src);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const uint16_t h = t == LOAM_FLOAT_F16 ? loam_f32_to_f16(src[i]) : loam_f32_to_bf16(src[i]);
        memcpy(p + 2 * i, &h, sizeof h);
    }
}

void loam_float_load(const void *src, size_t n, loam_float t, float *dst) {
    const unsigned char *p = src;
    if (t == LOAM_FLOAT_F32) {
        memcpy(dst, p, n * sizeof *dst);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const uint16_t h = loam_read_u16(p + 2 * i);
        dst[i] = t == LOAM_FLOAT_F16 ? loam_f16_to_f32(h) : loam_bf16_to_f32(h);
    }
}

static float round_to(float x, loam_float t) {
    if (t == LOAM_FLOAT_F32) return x;
    if (t == LOAM_FLOAT_F16) return loam_f16_to_f32(loam_f32_to_f16(x));
    return loam_bf16_to_f32(loam_f32_to_bf16(x));
}

void loam_quant_pack(const uint8_t *q, size_t n, int bits, void *packed) {
    unsigned char *p = packed;
    if (bits == 8) {
        memcpy(p, q, n);
        return;
    }
    if (bits == 4) {
        for (size_t i = 0; i < n / 2; i++) p[i] = (unsigned char)(q[2 * i] | q[2 * i + 1] << 4);
        return;
    }
    for (size_t i = 0; i < n; i += 8, p += bits) {
        uint64_t stream = 0;
        for (int k = 0; k < 8; k++) stream |= (uint64_t)q[i + (size_t)k] << (k * bits);
        for (int k = 0; k < bits; k++) p[k] = (unsigned char)(stream >> (8 * k));
    }
}

void loam_quant_unpack(const void *packed, size_t n, int bits, uint8_t *q) {
    const unsigned char *p = packed;
    const uint64_t mask = ((uint64_t)1 << bits) - 1;
    for (size_t i = 0; i < n; i += 8, p += bits) {
        uint64_t stream = 0;
        for (int k = 0; k < bits; k++) stream |= (uint64_t)p[k] << (8 * k);
        for (int k = 0; k < 8; k++) q[i + (size_t)k] = (uint8_t)(stream >> (k * bits) & mask);
    }
}

/* Round to nearest even by the adder: right for 0 <= x < 2^22, and x is at most
 * 255 here.  (rintf is a call where the machine has no instruction for it.) */
static inline float round_small(float x) {
    const float magic = 0x1.8p23f;
    return (x + magic) - magic;
}

static void quantize_group(const float *w, int group, float n_bins, uint8_t *q, float *scale_out,
                           float *bias_out) {
    float mn = INFINITY, mx = -INFINITY;
    for (int j = 0; j < group; j++) {
        mx = mx < w[j] ? w[j] : mx;
        mn = w[j] < mn ? w[j] : mn;
    }
    const int mask = fabsf(mn) > fabsf(mx);
    float scale = (mx - mn) / n_bins;
    scale = scale < 1e-7f ? 1e-7f : scale;
    scale = mask ? scale : -scale;

    const float edge = mask ? mn : mx;
    const float q0 = rintf(edge / scale);
    float bias = 0.0f;
    if (q0 != 0.0f) {
        scale = edge / q0;
        bias = edge;
    }
    /* clamping to integers commutes with rounding; "not greater" also takes NaN to 0 */
    for (int j = 0; j < group; j++) {
        float v = (w[j] - bias) / scale;
        v = v > 0.0f ? v : 0.0f;
        v = v < n_bins ? v : n_bins;
        q[j] = (uint8_t)(int)round_small(v);
    }
    *scale_out = scale;
    *bias_out = bias;
}

void loam_quantize_affine_row(const float *w, size_t cols, int bits, int group, loam_float t,
                              void *packed, void *scales, void *biases) {
    LOAM_ASSERT(loam_quant_affine_valid(bits, group) && cols % (size_t)group == 0);
    const float n_bins = (float)((1 << bits) - 1);
    const size_t g_bytes = (size_t)(group * bits / 8), s_bytes = loam_float_bytes(t);
    unsigned char *p = packed, *s = scales, *b = biases;
    uint8_t q[MAX_GROUP];

    for (size_t i = 0; i < cols; i += (size_t)group, p += g_bytes, s += s_bytes, b += s_bytes) {
        float scale, bias;
        quantize_group(w + i, group, n_bins, q, &scale, &bias);
        loam_quant_pack(q, (size_t)group, bits, p);
        loam_float_store(&scale, 1, t, s);
        loam_float_store(&bias, 1, t, b);
    }
}

void loam_dequantize_affine_row(const void *packed, const void *scales, const void *biases,
                                size_t cols, int bits, int group, loam_float t, float *out) {
    LOAM_ASSERT(loam_quant_affine_valid(bits, group) && cols % (size_t)group == 0);
    const size_t g_bytes = (size_t)(group * bits / 8), s_bytes = loam_float_bytes(t);
    const unsigned char *p = packed, *s = scales, *b = biases;
    const int by_table = 1 << bits <= group; /* fewer values than weights: round each once */
    uint8_t q[MAX_GROUP];
    float table[MAX_GROUP];

    for (size_t i = 0; i < cols; i += (size_t)group, p += g_bytes, s += s_bytes, b += s_bytes) {
        float scale, bias;
        loam_float_load(s, 1, t, &scale);
        loam_float_load(b, 1, t, &bias);
        loam_quant_unpack(p, (size_t)group, bits, q);
        if (by_table) {
            for (int v = 0; v < 1 << bits; v++)
                table[v] = round_to(round_to((float)v * scale, t) + bias, t);
            for (int j = 0; j < group; j++) out[i + (size_t)j] = table[q[j]];
        } else {
            for (int j = 0; j < group; j++)
                out[i + (size_t)j] = round_to(round_to((float)q[j] * scale, t) + bias, t);
        }
    }
}

static const float e2m1[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};

/* MLX's e4m3: the exponent and mantissa bits of an f16, times 256; 0x7f is 480. */
static float decode_e4m3(uint8_t v) {
    const float x = loam_f16_to_f32((uint16_t)((v & 127) << 7)) * 256.0f;
    return v & 128 ? -x : x;
}

/* Nearest even, saturating to 448. */
static uint8_t encode_e4m3(float x) {
    const uint8_t sign = signbit(x) ? 0x80 : 0;
    const float a = fabsf(x);
    if (a == 0.0f) return sign;
    if (!(a < 448.0f)) return (uint8_t)(sign | 0x7e);
    int e = 0;
    (void)frexpf(a, &e);                       /* a = m * 2^e, m in [0.5, 1) */
    const int shift = e - 4 < -9 ? -9 : e - 4; /* weight of the last kept bit: 2^shift */
    const float steps = rintf(ldexpf(a, -shift));
    /* steps <= 16; 8 .. 15 are normal, and 16 carries into the exponent by itself */
    const int code = shift == -9 ? (int)steps : (shift + 9) * 8 + (int)steps;
    return (uint8_t)(sign | (code > 0x7e ? 0x7e : code));
}

/* The nearest code, ties to the lower one; +0 (code 0) also stands for -0.  Codes of
 * the other sign are never nearer than 0. */
static uint8_t encode_e2m1(float x, loam_float t) {
    const int sign = x < 0.0f ? 8 : 0;
    uint8_t best = 0;
    float least = fabsf(x);
    for (int v = 1; v < 8; v++) {
        const float d = fabsf(round_to(x - (sign ? -e2m1[v] : e2m1[v]), t));
        if (d < least) {
            least = d;
            best = (uint8_t)(v | sign);
        }
    }
    return best;
}

/* Scale byte of a group and the value that its weights are divided by. */
static uint8_t encode_scale(const float *w, int group, loam_quant_mode mode, loam_float t,
                            float *divisor) {
    float amax = 0.0f;
    for (int j = 0; j < group; j++) amax = amax < fabsf(w[j]) ? fabsf(w[j]) : amax;
    const float scale = round_to(amax / (mode == LOAM_QUANT_MXFP8 ? 448.0f : 6.0f), t);
    if (mode == LOAM_QUANT_NVFP4) {
        const uint8_t code = encode_e4m3(scale);
        *divisor = round_to(decode_e4m3(code), t);
        return code;
    }
    float e = 0.0f;
    if (scale != 0.0f) e = ceilf(log2f(scale));
    *divisor = round_to(exp2f(e), t);
    return (uint8_t)((int)e + 127);
}

void loam_quantize_fp_row(const float *w, size_t cols, loam_quant_mode mode, loam_float t,
                          void *packed, uint8_t *scales) {
    const int group = mode == LOAM_QUANT_NVFP4 ? 16 : 32;
    const int bits = mode == LOAM_QUANT_MXFP8 ? 8 : 4;
    LOAM_ASSERT(mode != LOAM_QUANT_AFFINE && cols % (size_t)group == 0);
    unsigned char *p = packed;
    uint8_t q[MAX_GROUP];

    for (size_t i = 0; i < cols; i += (size_t)group, p += group * bits / 8) {
        float divisor;
        *scales++ = encode_scale(w + i, group, mode, t, &divisor);
        for (int j = 0; j < group; j++) {
            const float x = round_to(w[i + (size_t)j] / divisor, t);
            q[j] = bits == 8 ? encode_e4m3(x) : encode_e2m1(x, t);
        }
        loam_quant_pack(q, (size_t)group, bits, p);
    }
}

void loam_dequantize_fp_row(const void *packed, const uint8_t *scales, size_t cols,
                            loam_quant_mode mode, loam_float t, float *out) {
    const int group = mode == LOAM_QUANT_NVFP4 ? 16 : 32;
    const int bits = mode == LOAM_QUANT_MXFP8 ? 8 : 4;
    LOAM_ASSERT(mode != LOAM_QUANT_AFFINE && cols % (size_t)group == 0);
    const unsigned char *p = packed;
    uint8_t q[MAX_GROUP];

    for (size_t i = 0; i < cols; i += (size_t)group, p += group * bits / 8, scales++) {
        float scale;
        if (mode == LOAM_QUANT_NVFP4)
            scale = decode_e4m3(*scales);
        else
            scale = *scales == 255 ? INFINITY : ldexpf(1.0f, *scales - 127);
        loam_quant_unpack(p, (size_t)group, bits, q);
        for (int j = 0; j < group; j++) {
            float v = e2m1[q[j] & 7];
            if (bits == 8)
                v = decode_e4m3(q[j]);
            else if (q[j] & 8)
                v = -v;
            out[i + (size_t)j] = round_to(round_to(scale, t) * v, t);
        }
    }
}
