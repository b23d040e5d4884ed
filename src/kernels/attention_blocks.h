/* attention_blocks.h - attention by an f32 tile: what every instruction set does alike.
 *
 * A set's file defines the tile, includes this and then defines the four functions declared below:
 *
 *     #define TILE avx2_tile              its arguments
 *     #define TILE_RUN loam_avx2_tile     up to TILE_ROWS rows of x times TILE_COLS columns of b
 *     enum { TILE_ROWS = ..., TILE_COLS = ... };
 */
#ifndef LOAM_ATTENTION_BLOCKS_H
#define LOAM_ATTENTION_BLOCKS_H

#include "kernels.h"

enum { ROWS = LOAM_ATTENTION_ROWS, KEYS = LOAM_KEY_BLOCK, PANEL_KEYS = 16 };

/* What a worker's scratch holds; dim is head_dim rounded up to 16. */
typedef struct attention_room {
    float *q;      /* [ROWS][head_dim] */
    float *keys;   /* [4][head_dim][16] */
    float *buffer; /* of the set's packing: 16 * (head_dim + 8) */
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

static void load_values(const loam_attention *a, size_t key, size_t n, size_t dim, float *out);
/* Scores of all rows for keys key .. key + n (n up to KEYS; columns beyond repeat a key). */
static void score_block(const loam_attention *a, const attention_room *r, size_t key, size_t n);
static float soften(const loam_attention *a, float *x, span s, float *max, float *sum);
static void scale_row(float *out, size_t n, float f);

/* out rows t .. t + m += p * values over keys begin .. end of the block. */
static void add_values(const attention_room *r, float *out, size_t dim, size_t t, size_t m,
                       size_t begin, size_t end) {
    if (begin >= end) return;
    for (size_t d = 0; d < dim; d += TILE_COLS) {
        const TILE tile = {.x = r->scores + t * KEYS + begin,
                           .x_stride = KEYS,
                           .b = r->values + begin * dim + d,
                           .b_stride = dim,
                           .n_k = end - begin,
                           .y = out + t * dim + d,
                           .y_stride = dim,
                           .begin = 0};
        TILE_RUN(&tile, m);
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
    for (size_t t = 0; t < a->n_rows; t += TILE_ROWS)
        add_tile(r, out, dim, s, t, a->n_rows - t < TILE_ROWS ? a->n_rows - t : TILE_ROWS);
}

static void attention_by_blocks(const loam_attention *a, float *max, float *sum, float *out,
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

#endif
