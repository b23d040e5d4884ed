/* neon_attention.c - attention by the f32 tile: up to 32 query rows against 64 keys.
 *
 *     keys [64][head_dim] --convert, transpose--> 4 panels [head_dim][16 keys]
 *     scores [rows][64] = tile(q, panel);   softmax step per row;
 *     out [rows][head_dim] += tile(p [rows][64], values [64][head_dim] as f32)
 *
 * As in avx2_attention.c: the keys that all rows of a tile see go through the tile, the others
 * row by row, so that no key outside a row's sight is ever multiplied, not even by zero.
 */
#include "neon.h"
#include <math.h>

#if defined(__aarch64__)

#define TILE     neon_tile
#define TILE_RUN loam_neon_tile
enum { TILE_ROWS = NEON_TILE_ROWS, TILE_COLS = NEON_TILE_COLS };
#include "attention_blocks.h"

static void load_values(const loam_attention *a, size_t key, size_t n, size_t dim, float *out) {
    for (size_t j = 0; j < n; j++, out += dim) {
        const size_t at = (key + j) * a->kv_stride;
        if (a->f16)
            loam_neon_f16_to_f32((const uint16_t *)a->v + at, a->head_dim, out);
        else
            memcpy(out, (const float *)a->v + at, a->head_dim * sizeof *out);
        for (size_t d = a->head_dim; d < dim; d++) out[d] = 0.0f;
    }
}

/* Scores of all rows for keys key .. key + n (n up to KEYS; columns beyond repeat a key). */
static void score_block(const loam_attention *a, const attention_room *r, size_t key, size_t n) {
    const loam_matrix keys = {.element = a->f16 ? LOAM_ELEMENT_F16 : LOAM_ELEMENT_F32};
    const size_t row_bytes = a->kv_stride * (a->f16 ? 2 : 4);

    for (size_t j = 0; j < n; j += PANEL_KEYS) {
        float *panel = r->keys + j * a->head_dim;
        loam_neon_pack(&keys, a->k, row_bytes, key + j, n - j < PANEL_KEYS ? n - j : PANEL_KEYS, 0,
                       a->head_dim, panel, r->buffer);
        for (size_t t = 0; t < a->n_rows; t += NEON_TILE_ROWS) {
            const neon_tile tile = {.x = r->q + t * a->head_dim,
                                    .x_stride = a->head_dim,
                                    .b = panel,
                                    .b_stride = PANEL_KEYS,
                                    .n_k = a->head_dim,
                                    .y = r->scores + t * KEYS + j,
                                    .y_stride = KEYS,
                                    .begin = 1};
            loam_neon_tile(&tile, a->n_rows - t < NEON_TILE_ROWS ? a->n_rows - t : NEON_TILE_ROWS);
        }
    }
}

LOAM_INLINE uint32x4_t lanes_in(size_t i, span s) {
    static const uint32_t index[4] = {0, 1, 2, 3};
    const uint32x4_t at = vaddq_u32(vld1q_u32(index), vdupq_n_u32((uint32_t)i));
    return vandq_u32(vcgeq_u32(at, vdupq_n_u32((uint32_t)s.begin)),
                     vcltq_u32(at, vdupq_n_u32((uint32_t)s.end)));
}

/* Scores of one row become p; returns the factor for what was summed before. */
static float soften(const loam_attention *a, float *x, span s, float *max, float *sum) {
    const float32x4_t scale = vdupq_n_f32(a->scale), cap = vdupq_n_f32(a->softcap);
    const size_t from = s.begin / 16 * 16, to = (s.end + 15) / 16 * 16;
    float32x4_t top = vdupq_n_f32(*max), lanes[4];

    for (size_t j = from; j < to; j += 4) {
        float32x4_t v = vmulq_f32(vld1q_f32(x + j), scale);
        if (a->softcap > 0.0f) v = vmulq_f32(cap, tanh4(vdivq_f32(v, cap)));
        v = vbslq_f32(lanes_in(j, s), v, vdupq_n_f32(-INFINITY));
        vst1q_f32(x + j, v);
        top = vbslq_f32(vcgtq_f32(v, top), v, top); /* a NaN in v leaves top */
    }
    const float larger = vmaxvq_f32(top);
    const float32x4_t shift = vdupq_n_f32(larger);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) lanes[i] = vdupq_n_f32(0.0f);
    for (size_t j = from; j < to; j += 16) {
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            const float32x4_t p = exp4(vsubq_f32(vld1q_f32(x + j + 4 * i), shift));
            const float32x4_t in =
                vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(p), lanes_in(j + 4 * i, s)));
            vst1q_f32(x + j + 4 * i, in);
            lanes[i] = vaddq_f32(lanes[i], in);
        }
    }
    const float f = vgetq_lane_f32(exp4(vdupq_n_f32(*max - larger)), 0);
    *sum = fmaf(*sum, f, sum_tree(lanes));
    *max = larger;
    return f;
}

static void scale_row(float *out, size_t n, float f) {
    size_t d = 0;
    for (; d + 4 <= n; d += 4) vst1q_f32(out + d, vmulq_n_f32(vld1q_f32(out + d), f));
    for (; d < n; d++) out[d] *= f;
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
    const float f = vgetq_lane_f32(exp4(vdupq_n_f32(*max - larger)), 0);
    const float g = vgetq_lane_f32(exp4(vdupq_n_f32(max2 - larger)), 0);
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
}

#endif
