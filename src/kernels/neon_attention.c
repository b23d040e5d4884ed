/* neon_attention.c - what attention_blocks.h leaves to NEON: conversion of keys and values, softmax.
 */
#include "neon.h"
#include <math.h>

#if defined(__aarch64__)

#define TILE_RUN loam_neon_tile
enum { TILE_ROWS = NEON_TILE_ROWS };
#include "attention_blocks.h"

/* Sixteen bytes times the scales, or the scale in all lanes. */
LOAM_INLINE void store_scaled(int8x16_t q, const float32x4_t scales[4], float *to) {
    const int16x8_t low = vmovl_s8(vget_low_s8(q)), high = vmovl_high_s8(q);
    vst1q_f32(to, vmulq_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), scales[0]));
    vst1q_f32(to + 4, vmulq_f32(vcvtq_f32_s32(vmovl_high_s16(low)), scales[1]));
    vst1q_f32(to + 8, vmulq_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), scales[2]));
    vst1q_f32(to + 12, vmulq_f32(vcvtq_f32_s32(vmovl_high_s16(high)), scales[3]));
}

/* Rows to columns: four times the first half of the rows interleaved with the second. */
LOAM_INLINE void transpose_bytes(int8x16_t v[16]) {
    int8x16_t a[16];
#pragma GCC unroll 4
    for (size_t round = 0; round < 4; round++) {
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++) {
            a[2 * i] = vzip1q_s8(v[i], v[i + 8]);
            a[2 * i + 1] = vzip2q_s8(v[i], v[i + 8]);
        }
#pragma GCC unroll 16
        for (size_t i = 0; i < 16; i++) v[i] = a[i];
    }
}

static void load_keys_int8(const loam_attention *a, size_t key, size_t n, float *panel) {
    const unsigned char *rows[16];
    float scales[16];
    float32x4_t s[4] = {vdupq_n_f32(0.0f)};

    for (size_t i = 0; i < 16; i++) rows[i] = a->k + (key + (i < n ? i : n - 1)) * a->kv_stride;
    for (size_t d = 0; d < a->head_dim; d += 16, panel += 16 * COLS) {
        int8x16_t v[16];
        if (d % LOAM_KV_GROUP == 0) {
            for (size_t i = 0; i < 16; i++) scales[i] = loam_kv_scale(rows[i], a->head_dim, d);
            for (size_t i = 0; i < 4; i++) s[i] = vld1q_f32(scales + 4 * i);
        }
#pragma GCC unroll 16
        for (size_t i = 0; i < 16; i++) v[i] = vreinterpretq_s8_u8(vld1q_u8(rows[i] + d));
        transpose_bytes(v);
#pragma GCC unroll 16
        for (size_t i = 0; i < 16; i++) store_scaled(v[i], s, panel + i * COLS);
    }
}

static void load_values_int8(const loam_attention *a, size_t key, size_t n, size_t d,
                             float *panel) {
    const unsigned char *row = a->v + key * a->kv_stride;
    for (size_t j = 0; j < n; j++, row += a->kv_stride, panel += COLS) {
        const float32x4_t scale = vdupq_n_f32(loam_kv_scale(row, a->head_dim, d));
        const float32x4_t scales[4] = {scale, scale, scale, scale};
        store_scaled(vreinterpretq_s8_u8(vld1q_u8(row + d)), scales, panel);
    }
}

static void load_keys(const loam_attention *a, size_t key, size_t n, float *panel, float *buffer,
                      const char *ahead) {
    (void)ahead;
    if (a->format == LOAM_KV_ROWS_INT8) {
        if (a->head_dim % 16 == 0)
            load_keys_int8(a, key, n, panel);
        else
            load_keys_bytes(a, key, n, panel);
        return;
    }
    const loam_matrix keys = {.element = element_of(a)};
    loam_neon_pack(&keys, a->k, a->kv_stride, key, n, 0, a->head_dim, panel, buffer);
}

static void load_values(const loam_attention *a, size_t key, size_t n, size_t d, float *panel,
                        const char *ahead) {
    const loam_element e = element_of(a);
    const size_t left = a->head_dim - d;
    const unsigned char *v = a->v + key * a->kv_stride;
    (void)ahead;

    if (a->format == LOAM_KV_ROWS_INT8) {
        if (left >= COLS)
            load_values_int8(a, key, n, d, panel);
        else
            load_values_bytes(a, key, n, d, panel);
        return;
    }
    for (size_t j = 0; j < n; j++, v += a->kv_stride, panel += COLS) {
#pragma GCC unroll 4
        for (size_t i = 0; i < COLS; i += 4) {
            const size_t part = left > i ? left - i : 0;
            vst1q_f32(panel + i, part >= 4 ? load_scalars(e, v, d + i)
                                           : load_scalars_part(e, v, part ? d + i : d, part));
        }
    }
}

static int can_add_few(const loam_attention *a) {
    (void)a;
    return 0;
}

static void add_few(const loam_attention *a, size_t key, size_t n, const float *p, size_t m,
                    float *out, const char *ahead) {
    (void)a;
    (void)key;
    (void)n;
    (void)p;
    (void)m;
    (void)out;
    (void)ahead;
}

LOAM_INLINE uint32x4_t lanes_in(size_t i, span s) {
    static const uint32_t index[4] = {0, 1, 2, 3};
    const uint32x4_t at = vaddq_u32(vld1q_u32(index), vdupq_n_u32((uint32_t)i));
    return vandq_u32(vcgeq_u32(at, vdupq_n_u32((uint32_t)s.begin)),
                     vcltq_u32(at, vdupq_n_u32((uint32_t)s.end)));
}

static void soften(const loam_attention *a, float *x, span s, float *max, float *sum) {
    const float32x4_t cap = vdupq_n_f32(a->softcap * LOAM_LOG2E);
    const size_t from = s.begin / 16 * 16, to = (s.end + 15) / 16 * 16;
    float32x4_t top = vdupq_n_f32(-INFINITY), lanes[4];

    for (size_t j = from; j < to; j += 4) {
        float32x4_t v = vld1q_f32(x + j);
        if (a->softcap > 0.0f) v = vmulq_f32(cap, tanh4(v));
        v = vbslq_f32(lanes_in(j, s), v, vdupq_n_f32(-INFINITY));
        vst1q_f32(x + j, v);
        top = vbslq_f32(vcgtq_f32(v, top), v, top); /* a NaN in v leaves top */
    }
    *max = vmaxvq_f32(top);
    const float32x4_t shift = vdupq_n_f32(*max);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) lanes[i] = vdupq_n_f32(0.0f);
    for (size_t j = from; j < to; j += 16) { /* -inf becomes 0 */
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            const float32x4_t p = exp2_4(vsubq_f32(vld1q_f32(x + j + 4 * i), shift));
            vst1q_f32(x + j + 4 * i, p);
            lanes[i] = vaddq_f32(lanes[i], p);
        }
    }
    *sum = sum_tree(lanes);
}

static void scale_row(const float *x, size_t n, float f, float *y) {
    size_t d = 0;
    for (; d + 4 <= n; d += 4) vst1q_f32(y + d, vmulq_n_f32(vld1q_f32(x + d), f));
    for (; d < n; d++) y[d] = x[d] * f;
}

static void attention_merge_neon(float *max, float *sum, float *out, float max2, float sum2,
                                 const float *out2, size_t head_dim) {
    if (merge_empty(max, sum, out, max2, sum2, out2, head_dim)) return;
    const float larger = max2 > *max ? max2 : *max;
    const float f = vgetq_lane_f32(exp2_4(vdupq_n_f32(*max - larger)), 0);
    const float g = vgetq_lane_f32(exp2_4(vdupq_n_f32(max2 - larger)), 0);
    *max = larger;
    *sum = fmaf(sum2, g, *sum * f);
    for (size_t d = 0; d < head_dim; d += 4) {
        const size_t part = head_dim - d < 4 ? head_dim - d : 4;
        const float32x4_t o = vmulq_n_f32(load_part(out + d, part), f);
        store_part(out + d, part, vfmaq_n_f32(o, load_part(out2 + d, part), g));
    }
}

static void kv_quantize_neon(const float *x, size_t n, unsigned char *row) {
    const float32x4_t largest = vdupq_n_f32(3.402823466e38f);
    unsigned char *scales = row + n;

    for (size_t k = 0; k < n; k += LOAM_KV_GROUP, scales += 2) {
        const size_t m = n - k < LOAM_KV_GROUP ? n - k : LOAM_KV_GROUP;
        float v[LOAM_KV_GROUP] = {0};
        int8_t q[LOAM_KV_GROUP];
        float32x4_t a = vdupq_n_f32(0.0f);
        uint32x4_t good = vdupq_n_u32(UINT32_MAX);
        memcpy(v, x + k, m * sizeof *v);
        for (size_t i = 0; i < LOAM_KV_GROUP; i += 4) {
            const float32x4_t size = vabsq_f32(vld1q_f32(v + i));
            good = vandq_u32(good, vcleq_f32(size, largest));
            a = vmaxq_f32(a, size);
        }
        const int finite = vminvq_u32(good) != 0;
        const uint16_t d = loam_kv_make_scale(vmaxvq_f32(a), finite);
        memcpy(scales, &d, sizeof d);
        if (!finite || !d) {
            memset(row + k, 0, m);
            continue;
        }
        const float inverse = 1.0f / loam_bf16_to_f32(d);
        for (size_t i = 0; i < LOAM_KV_GROUP; i += 8) {
            const int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(v + i), inverse));
            const int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(v + i + 4), inverse));
            vst1_s8(q + i, vmovn_s16(vcombine_s16(vmovn_s32(low), vmovn_s32(high))));
        }
        memcpy(row + k, q, m);
    }
}

void loam_neon_use_attention(loam_kernels *k) {
    k->kv_quantize = kv_quantize_neon;
    k->attention = attention_by_blocks;
    k->attention_merge = attention_merge_neon;
    k->attention_finish = attention_finish;
}

#endif
