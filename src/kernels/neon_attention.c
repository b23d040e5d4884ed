/* neon_attention.c - what attention_blocks.h leaves to NEON: conversion of keys and values, softmax.
 */
#include "neon.h"
#include <math.h>

#if defined(__aarch64__)

#define TILE_RUN loam_neon_tile
enum { TILE_ROWS = NEON_TILE_ROWS };
#include "attention_blocks.h"

static void load_keys(const loam_attention *a, size_t key, size_t n, float *panel, float *buffer,
                      const char *ahead) {
    const loam_matrix keys = {.element = a->f16 ? LOAM_ELEMENT_F16 : LOAM_ELEMENT_F32};
    const size_t row_bytes = a->kv_stride * (a->f16 ? 2 : 4);
    (void)ahead;
    loam_neon_pack(&keys, a->k, row_bytes, key, n, 0, a->head_dim, panel, buffer);
}

static void load_values(const loam_attention *a, size_t key, size_t n, size_t d, float *panel,
                        const char *ahead) {
    const loam_element e = a->f16 ? LOAM_ELEMENT_F16 : LOAM_ELEMENT_F32;
    const size_t row_bytes = a->kv_stride * (a->f16 ? 2 : 4), left = a->head_dim - d;
    const unsigned char *v = (const unsigned char *)a->v + key * row_bytes;
    (void)ahead;

    for (size_t j = 0; j < n; j++, v += row_bytes, panel += COLS) {
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
    for (size_t j = from; j < to; j += 16) {
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            const float32x4_t p = exp2_4(vsubq_f32(vld1q_f32(x + j + 4 * i), shift));
            const float32x4_t in =
                vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(p), lanes_in(j + 4 * i, s)));
            vst1q_f32(x + j + 4 * i, in);
            lanes[i] = vaddq_f32(lanes[i], in);
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
    if (max2 == -INFINITY && sum2 == 0.0f) return;
    if (*max == -INFINITY && *sum == 0.0f) {
        *max = max2;
        *sum = sum2;
        memcpy(out, out2, head_dim * sizeof *out);
        return;
    }
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

void loam_neon_use_attention(loam_kernels *k) {
    k->attention = attention_by_blocks;
    k->attention_merge = attention_merge_neon;
    k->attention_finish = attention_finish;
}

#endif
