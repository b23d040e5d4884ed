/* neon_attention.c - attention by the f32 tile: up to 32 query rows against 64 keys.
 *
 *     keys [64][head_dim] --convert, transpose--> 4 panels [head_dim][16 keys]
 *     scores [rows][64] = tile(q, panel);   softmax step per row;
 *     out [rows][head_dim] += tile(p [rows][64], values [64][head_dim] as f32)
 *
 * As in neon_attention.c: the keys that all rows of a tile see go through the tile, the others
 * row by row, so that no key outside a row's sight is ever multiplied, not even by zero.
 */
#include "neon.h"
#include <math.h>

#if defined(__aarch64__)

enum { ROWS = LOAM_ATTENTION_ROWS, KEYS = LOAM_KEY_BLOCK, PANEL_KEYS = 16 };

/* What a worker's scratch holds; dim is head_dim rounded up to 16. */
typedef struct attention_room {
    float *q;      /* [ROWS][head_dim] */
    float *keys;   /* [4][head_dim][16] */
    float *buffer; /* of loam_neon_pack: 16 * (head_dim + 8) */
    float *values; /* [KEYS][dim] */
    float *out;    /* [ROWS][dim], when head_dim is no multiple of 16 */
    float *scores; /* [ROWS][KEYS] */
} attention_room;

typedef struct span { /* keys of the block that a row sees */
    size_t begin, end;
} span;

static attention_room lay_out(void *scratch, size_t head_dim) {
    const size_t dim = (head_dim + 15) / 16 * 16;
    attention_room r = {.q = scratch};
    r.keys = r.q + ROWS * head_dim;
    r.buffer = r.keys + KEYS * head_dim;
    r.values = r.buffer + PANEL_KEYS * (head_dim + 8);
    r.out = r.values + KEYS * dim;
    r.scores = r.out + ROWS * dim;
    return r; /* at most 217 * 512 + 2176 floats: 452 KB */
}

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

/* out rows t .. t + m += p * values over keys begin .. end of the block. */
static void add_values(const attention_room *r, float *out, size_t dim, size_t t, size_t m,
                       size_t begin, size_t end) {
    if (begin >= end) return;
    for (size_t d = 0; d < dim; d += NEON_TILE_COLS) {
        const neon_tile tile = {.x = r->scores + t * KEYS + begin,
                                .x_stride = KEYS,
                                .b = r->values + begin * dim + d,
                                .b_stride = dim,
                                .n_k = end - begin,
                                .y = out + t * dim + d,
                                .y_stride = dim,
                                .begin = 0};
        loam_neon_tile(&tile, m);
    }
}

static void add_tile(const attention_room *r, float *out, size_t dim, const span *s, size_t t,
                     size_t m) {
    size_t begin = 0, end = KEYS;
    for (size_t i = t; i < t + m; i++) {
        if (s[i].begin > begin) begin = s[i].begin;
        if (s[i].end < end) end = s[i].end;
    }
    if (begin >= end) {
        for (size_t i = t; i < t + m; i++) add_values(r, out, dim, i, 1, s[i].begin, s[i].end);
        return;
    }
    for (size_t i = t; i < t + m; i++) add_values(r, out, dim, i, 1, s[i].begin, begin);
    add_values(r, out, dim, t, m, begin, end);
    for (size_t i = t; i < t + m; i++) add_values(r, out, dim, i, 1, end, s[i].end);
}

/* What each row sees of the block, empty as begin == end; returns the end of all. */
static size_t find_spans(const loam_attention *a, size_t key, span *s, size_t *first) {
    size_t last = 0;
    *first = KEYS;
    for (size_t t = 0; t < a->n_rows; t++) {
        const size_t limit = a->causal ? a->limit + t / a->n_rep : a->last;
        size_t end = limit < a->last ? limit : a->last;
        size_t begin = a->window > 0 && limit > a->window ? limit - a->window : 0;
        if (end > key + KEYS) end = key + KEYS;
        if (begin < key) begin = key;
        if (begin >= end) begin = end = key;
        s[t].begin = begin - key;
        s[t].end = end - key;
        if (begin == end) continue;
        if (s[t].end > last) last = s[t].end;
        if (s[t].begin < *first) *first = s[t].begin;
    }
    return last;
}

static void attend_block(const loam_attention *a, const attention_room *r, size_t key, float *max,
                         float *sum, float *out, size_t dim) {
    span s[ROWS];
    size_t first;
    const size_t n = find_spans(a, key, s, &first);

    if (n == 0) return;
    score_block(a, r, key, n);
    load_values(a, key + first, n - first, dim, r->values + first * dim);
    for (size_t t = 0; t < a->n_rows; t++) {
        if (s[t].begin == s[t].end) continue;
        const float f = soften(a, r->scores + t * KEYS, s[t], &max[t], &sum[t]);
        scale_row(out + t * dim, dim, f);
    }
    for (size_t t = 0; t < a->n_rows; t += NEON_TILE_ROWS)
        add_tile(r, out, dim, s, t,
                 a->n_rows - t < NEON_TILE_ROWS ? a->n_rows - t : NEON_TILE_ROWS);
}

static void attention_neon(const loam_attention *a, float *max, float *sum, float *out,
                           void *scratch) {
    const size_t hd = a->head_dim, dim = (hd + 15) / 16 * 16;
    const attention_room r = lay_out(scratch, hd);
    float *o = dim == hd ? out : r.out;

    for (size_t t = 0; t < a->n_rows; t++) {
        const float *q = a->q + t / a->n_rep * a->q_stride + t % a->n_rep * hd;
        memcpy(r.q + t * hd, q, hd * sizeof *q);
        if (o == out) continue;
        memcpy(o + t * dim, out + t * hd, hd * sizeof *q);
        memset(o + t * dim + hd, 0, (dim - hd) * sizeof *q);
    }
    for (size_t key = a->first; key < a->last; key += KEYS)
        attend_block(a, &r, key, max, sum, o, dim);
    for (size_t t = 0; t < a->n_rows && o != out; t++)
        memcpy(out + t * hd, o + t * dim, hd * sizeof *out);
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
    k->attention = attention_neon;
    k->attention_merge = attention_merge_neon;
}

#endif
