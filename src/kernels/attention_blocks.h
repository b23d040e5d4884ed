/* attention_blocks.h - attention by an f32 tile: what every instruction set does alike.
 *
 *     for 16 keys:     panel [head_dim][16] <- keys;      scores [rows][256] = tile(q, panel)
 *     per row:         softmax over the keys it sees
 *     for 16 columns:  panel [256][16] <- values;         out [rows][16] += tile(scores, panel)
 *
 * Only one panel is held as f32 at a time: it stays in the first-level cache while all rows pass,
 * so a segment is converted once for up to LOAM_ATTENTION_ROWS rows.
 *
 * Rows may see different keys at either end of the segment (causal, window): the keys that all
 * rows of a tile see go through the whole tile, the others through the rows that see them, so
 * that no key outside a row's sight is ever multiplied, not even by zero.
 *
 * A set's file defines the tile, includes this and then defines the functions declared below:
 *
 *     #define TILE_RUN loam_avx2_tile     up to TILE_ROWS rows of x times 16 columns of b
 *     enum { TILE_ROWS = ... };
 */
#ifndef LOAM_ATTENTION_BLOCKS_H
#define LOAM_ATTENTION_BLOCKS_H

#include "float_tile.h"
#include "kernels.h"
#include "math_poly.h"

enum {
    ROWS = LOAM_ATTENTION_ROWS,
    KEYS = LOAM_KEY_SEGMENT,
    COLS = 16,            /* of a panel */
    SCORES = KEYS + COLS, /* stride: an odd number of lines, rows do not share sets */
};

/* What a worker's scratch holds; dim is head_dim rounded up to 16. */
typedef struct attention_room {
    float *q;      /* [rows][head_dim], scaled */
    float *panel;  /* [head_dim or KEYS][16] */
    float *buffer; /* for load_keys: 16 * (head_dim + 8) */
    float *scores; /* [rows][SCORES] */
    float *out;    /* [rows][dim], when head_dim is no multiple of 16 */
} attention_room;

typedef struct span { /* keys of the segment, from a->first on */
    size_t begin, end;
} span;

/* Keys key .. key + n (1 .. 16) of the cache as [head_dim][16]; columns from n on repeat a key.
 * Meanwhile as many bytes from `ahead` on may be fetched as are read: values come while scores are
 * made, the next segment's keys after that. */
static void load_keys(const loam_attention *a, size_t key, size_t n, float *panel, float *buffer,
                      const char *ahead);
/* Columns d .. d + 16 of the values of keys key .. key + n as [n][16], zeros beyond head_dim. */
static void load_values(const loam_attention *a, size_t key, size_t n, size_t d, float *panel,
                        const char *ahead);
/* Scores x of a row become p over s, which is not empty. */
static void soften(const loam_attention *a, float *x, span s, float *max, float *sum);
static void scale_row(const float *x, size_t n, float f, float *y); /* y = x * f */
/* For a call of few rows: out += p * values over keys key .. key + n, all columns, without a panel;
 * p is SCORES apart, out head_dim. */
static int can_add_few(const loam_attention *a);
static void add_few(const loam_attention *a, size_t key, size_t n, const float *p, size_t m,
                    float *out, const char *ahead);

/* Where row `key` of k or v stands.  Prefetching beyond an end does no harm. */
static const char *row_of(const loam_attention *a, const unsigned char *base, size_t key) {
    return (const char *)base + key * a->kv_stride;
}

static loam_element element_of(const loam_attention *a) {
    return a->format == LOAM_KV_ROWS_F16 ? LOAM_ELEMENT_F16 : LOAM_ELEMENT_F32;
}

/* Rows in bytes one value at a time, for heads that are no multiple of 16. */
static void load_keys_bytes(const loam_attention *a, size_t key, size_t n, float *panel) {
    for (size_t i = 0; i < COLS; i++) {
        const unsigned char *row = a->k + (key + (i < n ? i : n - 1)) * a->kv_stride;
        for (size_t d = 0; d < a->head_dim; d++)
            panel[d * COLS + i] = loam_kv_at(row, a->head_dim, d);
    }
}

static void load_values_bytes(const loam_attention *a, size_t key, size_t n, size_t d,
                              float *panel) {
    const unsigned char *row = a->v + key * a->kv_stride;
    for (size_t j = 0; j < n; j++, row += a->kv_stride, panel += COLS)
        for (size_t i = 0; i < COLS; i++)
            panel[i] = d + i < a->head_dim ? loam_kv_at(row, a->head_dim, d + i) : 0.0f;
}

static attention_room lay_out(void *scratch, const loam_attention *a) {
    const size_t hd = a->head_dim, rows = a->n_rows;
    attention_room r = {.panel = scratch};
    r.scores = r.panel + (hd > KEYS ? hd : KEYS) * COLS;
    r.q = r.scores + rows * SCORES;
    r.out = r.q + (rows * hd + 15) / 16 * 16;
    r.buffer = r.out + rows * ((hd + 15) / 16 * 16);
    return r; /* at most 101 K floats: 404 KB */
}

/* What each row sees of the segment, empty as begin == end; both ends ascend with the rows. */
static span find_spans(const loam_attention *a, span *s) {
    span all = {KEYS, 0};
    size_t limit = a->causal ? a->limit : a->last;
    for (size_t t = 0; t < a->n_rows; limit += a->causal ? 1 : 0) {
        size_t end = limit < a->last ? limit : a->last;
        size_t begin = a->window > 0 && limit > a->window ? limit - a->window : 0;
        if (end < a->first) end = a->first;
        if (begin < a->first) begin = a->first;
        if (begin > end) begin = end;
        const span here = {begin - a->first, end - a->first};
        for (size_t i = 0; i < a->n_rep && t < a->n_rows; i++) s[t++] = here;
        if (begin == end) continue;
        if (here.begin < all.begin) all.begin = here.begin;
        if (here.end > all.end) all.end = here.end;
    }
    return all;
}

/* The queries times what brings their scores to log2, or to tanh's argument. */
static void scale_queries(const loam_attention *a, float *to) {
    const float f = a->softcap > 0.0f ? a->scale / a->softcap : a->scale * LOAM_LOG2E;
    const float *q = a->q;
    for (size_t t = 0; t < a->n_rows; q += a->q_stride) {
        const size_t n = a->n_rows - t < a->n_rep ? a->n_rows - t : a->n_rep;
        scale_row(q, n * a->head_dim, f, to + t * a->head_dim);
        t += n;
    }
}

static size_t tile_rows(const loam_attention *a, size_t t) {
    return a->n_rows - t < TILE_ROWS ? a->n_rows - t : TILE_ROWS;
}

/* Scores of all rows that see some of the keys. */
static void score(const loam_attention *a, const attention_room *r, const span *s, span all) {
    for (size_t j = all.begin / COLS * COLS; j < all.end; j += COLS) {
        const size_t n = all.end - j < COLS ? all.end - j : COLS;
        load_keys(a, a->first + j, n, r->panel, r->buffer, row_of(a, a->v, a->first + j));
        for (size_t t = 0; t < a->n_rows; t += TILE_ROWS) {
            const size_t m = tile_rows(a, t);
            const loam_tile tile = {.x = r->q + t * a->head_dim,
                                    .x_stride = a->head_dim,
                                    .b = r->panel,
                                    .b_stride = COLS,
                                    .n_k = a->head_dim,
                                    .y = r->scores + t * SCORES + j,
                                    .y_stride = SCORES,
                                    .begin = 1};
            if (s[t].begin < j + COLS && s[t + m - 1].end > j) TILE_RUN(&tile, m);
        }
    }
}

typedef struct columns { /* sixteen of the outputs, or all where there is no panel */
    const loam_attention *a;
    const float *scores, *panel;
    float *out; /* column of row 0 */
    size_t dim;
} columns;

/* Rows t .. t + m += p * values over keys begin .. end. */
static void add_values(const columns *c, size_t t, size_t m, size_t begin, size_t end) {
    const float *p = c->scores + t * SCORES + begin;
    float *out = c->out + t * c->dim;

    if (begin >= end) return;
    if (!c->panel) {
        add_few(c->a, c->a->first + begin, end - begin, p, m, out,
                row_of(c->a, c->a->k, c->a->first + KEYS + begin));
        return;
    }
    const loam_tile tile = {.x = p,
                            .x_stride = SCORES,
                            .b = c->panel + begin * COLS,
                            .b_stride = COLS,
                            .n_k = end - begin,
                            .y = out,
                            .y_stride = c->dim,
                            .begin = 0};
    TILE_RUN(&tile, m);
}

/* The m rows from t on, each over its span of s, in ascending order of keys. */
static void add_tile(const columns *c, const span *s, size_t t, size_t m) {
    const size_t begin = s[t + m - 1].begin, end = s[t].end;
    if (begin >= end) {
        for (size_t i = t; i < t + m; i++) add_values(c, i, 1, s[i].begin, s[i].end);
        return;
    }
    /* as a row's keys begin it joins those above it, as they end the row leaves */
    for (size_t i = t; s[i].begin < begin; i++)
        add_values(c, t, i + 1 - t, s[i].begin, s[i + 1].begin);
    add_values(c, t, m, begin, end);
    for (size_t i = t; i + 1 < t + m && s[t + m - 1].end > end; i++)
        add_values(c, i + 1, t + m - 1 - i, s[i].end, s[i + 1].end);
}

/* out = p * values. */
static void combine(const loam_attention *a, const attention_room *r, const span *s, span all,
                    float *out, size_t dim) {
    columns c = {.a = a, .scores = r->scores, .out = out, .dim = dim};

    memset(out, 0, a->n_rows * dim * sizeof *out);
    if (all.begin >= all.end) return;
    if (can_add_few(a)) {
        add_tile(&c, s, 0, a->n_rows);
        return;
    }
    c.panel = r->panel;
    for (size_t d = 0; d < dim; d += COLS) {
        load_values(a, a->first + all.begin, all.end - all.begin, d, r->panel + all.begin * COLS,
                    row_of(a, a->k, a->first + KEYS + d * KEYS / dim));
        c.out = out + d;
        for (size_t t = 0; t < a->n_rows; t += TILE_ROWS) add_tile(&c, s, t, tile_rows(a, t));
    }
}

static void attention_by_blocks(const loam_attention *a, float *max, float *sum, float *out,
                                void *scratch) {
    const size_t hd = a->head_dim, dim = (hd + 15) / 16 * 16;
    const attention_room r = lay_out(scratch, a);
    float *o = dim == hd ? out : r.out;
    span s[ROWS];
    const span all = find_spans(a, s);

    if (!a->again) scale_queries(a, r.q);
    score(a, &r, s, all);
    for (size_t t = 0; t < a->n_rows; t++) {
        max[t] = -__builtin_inff();
        sum[t] = 0.0f;
        if (s[t].begin < s[t].end) soften(a, r.scores + t * SCORES, s[t], &max[t], &sum[t]);
    }
    combine(a, &r, s, all, o, dim);
    for (size_t t = 0; t < a->n_rows && o != out; t++)
        memcpy(out + t * hd, o + t * dim, hd * sizeof *out);
}

static void attention_finish(const float *out, float sum, size_t head_dim, float *y) {
    scale_row(out, head_dim, sum == 0.0f ? 0.0f : 1.0f / sum, y);
}

/* attention_merge where one of the two states has seen no key: the other stays.  0: both have. */
LOAM_INLINE int merge_empty(float *max, float *sum, float *out, float max2, float sum2,
                            const float *out2, size_t head_dim) {
    if (max2 == -__builtin_inff() && sum2 == 0.0f) return 1;
    if (*max != -__builtin_inff() || *sum != 0.0f) return 0;
    *max = max2;
    *sum = sum2;
    memcpy(out, out2, head_dim * sizeof *out);
    return 1;
}

#endif
