/* attend_blocks.h - attention of one head of one sequence without a mask: what every instruction
 * set does alike.
 *
 *     keys [n][head_dim] --transpose--> panels [head_dim][16 keys]      once for all queries
 *     a tile of queries:  scores [..][n] = tile(q, panels);  softmax of each row, in L1;
 *                         y [..][head_dim] = tile(p, values)
 *
 * Values are copied too: rows of a fused q, k, v are several KB apart and would meet in a few
 * sets of the cache.
 *
 * A set's file defines the tile, includes this and then defines the two functions declared below:
 *
 *     #define TILE_RUN loam_avx2_tile     up to TILE_ROWS rows of x times TILE_COLS columns of b
 *     #define TILE_PACK loam_avx2_pack    keys as the tile's b
 *     enum { TILE_ROWS = ..., TILE_COLS = ... };
 */
#ifndef LOAM_ATTEND_BLOCKS_H
#define LOAM_ATTEND_BLOCKS_H

#include "float_tile.h"
#include "kernels.h"

enum { PANEL_KEYS = 16 };

typedef struct attend_room {
    float *keys;   /* [n / 16][head_dim][16] */
    float *values; /* [n][dim] */
    float *scores; /* [TILE_ROWS][n rounded up] */
    float *out;    /* [TILE_ROWS][dim] */
    float *buffer; /* of the set's packing */
    size_t dim, n;
} attend_room;

/* Scores become p, not yet divided by their sum; returns 1 / sum.  The columns beyond n repeat the
 * last key: they change no maximum. */
static float soften_row(float *x, size_t n, float scale);
static void scale_to(float *y, const float *x, size_t n, float by);

static void copy_values(const loam_attend *a, const attend_room *r) {
    for (size_t j = 0; j < a->n; j++) {
        memcpy(r->values + j * r->dim, a->v + j * a->stride, a->head_dim * sizeof *a->v);
        memset(r->values + j * r->dim + a->head_dim, 0, (r->dim - a->head_dim) * sizeof *a->v);
    }
}

/* Queries t .. t + m, m up to TILE_ROWS. */
static void attend_rows(const loam_attend *a, const attend_room *r, size_t t, size_t m) {
    float inverse[TILE_ROWS];

    for (size_t j = 0; j < a->n; j += PANEL_KEYS) {
        const loam_tile tile = {.x = a->q + t * a->stride,
                                .x_stride = a->stride,
                                .b = r->keys + j * a->head_dim,
                                .b_stride = PANEL_KEYS,
                                .n_k = a->head_dim,
                                .y = r->scores + j,
                                .y_stride = r->n,
                                .begin = 1};
        TILE_RUN(&tile, m);
    }
    for (size_t i = 0; i < m; i++) inverse[i] = soften_row(r->scores + i * r->n, a->n, a->scale);
    for (size_t d = 0; d < r->dim; d += TILE_COLS) {
        const loam_tile tile = {.x = r->scores,
                                .x_stride = r->n,
                                .b = r->values + d,
                                .b_stride = r->dim,
                                .n_k = a->n,
                                .y = r->out + d,
                                .y_stride = r->dim,
                                .begin = 1};
        TILE_RUN(&tile, m);
    }
    for (size_t i = 0; i < m; i++)
        scale_to(a->y + (t + i) * a->y_stride, r->out + i * r->dim, a->head_dim, inverse[i]);
}

static void attend_by_blocks(const loam_attend *a, float *scratch) {
    attend_room r = {.dim = (a->head_dim + 15) / 16 * 16, .n = (a->n + 15) / 16 * 16};
    const loam_matrix keys = {.element = LOAM_ELEMENT_F32};
    r.keys = scratch;
    r.values = r.keys + r.n * a->head_dim;
    r.scores = r.values + r.n * r.dim;
    r.out = r.scores + TILE_ROWS * r.n;
    r.buffer = r.out + TILE_ROWS * r.dim;

    for (size_t j = 0; j < a->n; j += PANEL_KEYS)
        TILE_PACK(&keys, (const unsigned char *)a->k, a->stride * sizeof(float), j,
                  a->n - j < PANEL_KEYS ? a->n - j : PANEL_KEYS, 0, a->head_dim,
                  r.keys + j * a->head_dim, r.buffer);
    copy_values(a, &r);
    for (size_t t = 0; t < a->n; t += TILE_ROWS)
        attend_rows(a, &r, t, a->n - t < TILE_ROWS ? a->n - t : TILE_ROWS);
}

#endif
