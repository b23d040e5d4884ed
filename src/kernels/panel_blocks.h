/* panel_blocks.h - products with panels made beforehand: the walk, which every instruction set makes
 * alike.  A set's file says what its tile takes and then calls walk_panels:
 *
 *     enum { COLS = ..., PANELS = ... };    positions; panels of sixteen rows
 *
 * A piece of a panel (16 KB at most) stays in L1 while all positions pass.
 */
#ifndef LOAM_PANEL_BLOCKS_H
#define LOAM_PANEL_BLOCKS_H

#include "panels.h"

enum { BLOCK_K = 256, ROWS = LOAM_PANEL_ROWS };

/* One tile; offsets count elements. */
typedef struct panel_step {
    size_t panel, n_panels; /* 1 or PANELS */
    size_t k, n_k;
    size_t position, m; /* m up to COLS */
    size_t piece, next; /* offsets of the panels' piece, and of the one that is read after it */
} panel_step;

/* What a tile of either kind is given; x and panel count elements: f32, or int16 with scales and d. */
typedef struct panel_tile {
    const void *x, *panel, *ahead; /* ahead: what to fetch meanwhile */
    size_t x_stride, panel_stride, n_k;
    const float *scales, *d;
    float *y;
    size_t y_stride;
    int begin;
} panel_tile;

LOAM_INLINE panel_tile float_tile_at(const loam_panel_float *p, const panel_step *at) {
    return (panel_tile){.x = p->x + at->position * p->x_stride + at->k,
                        .x_stride = p->x_stride,
                        .panel = p->panels + at->piece,
                        .panel_stride = p->cols * ROWS,
                        .ahead = p->panels + at->next,
                        .n_k = at->n_k,
                        .y = p->y + at->position * p->y_stride + at->panel * ROWS,
                        .y_stride = p->y_stride,
                        .begin = at->k == 0};
}

LOAM_INLINE panel_tile wide_tile_at(const loam_panel_wide *p, const panel_step *at) {
    return (panel_tile){.x = p->x + at->position * p->x_stride + at->k,
                        .x_stride = p->x_stride,
                        .panel = p->panels + at->piece,
                        .panel_stride = p->cols * ROWS,
                        .ahead = p->panels + at->next,
                        .n_k = at->n_k,
                        .scales = p->scales + at->panel * ROWS,
                        .d = p->d + at->position,
                        .y = p->y + at->position * p->y_stride + at->panel * ROWS,
                        .y_stride = p->y_stride,
                        .begin = at->k == 0};
}

typedef void (*panel_step_fn)(const void *product, const panel_step *at);

/* Where tile i of n begins: they are as even as can be. */
LOAM_INLINE size_t tile_start(size_t m, size_t n, size_t i) {
    return m / n * i + (i < m % n ? i : m % n);
}

/* Columns of a block of f32, as even as can be. */
LOAM_INLINE size_t float_block(size_t cols) {
    const size_t n = cols ? (cols + BLOCK_K - 1) / BLOCK_K : 1;
    return (cols + n - 1) / n;
}

LOAM_INLINE void walk_panels(size_t cols, size_t block, size_t n_panels, size_t m,
                             panel_step_fn run, const void *product) {
    const size_t panel = cols * ROWS, n_tiles = (m + COLS - 1) / COLS;
    size_t k = 0;

    do { /* once for no columns, too: y becomes 0 */
        const size_t n_k = cols - k < block ? cols - k : block;
        for (size_t j = 0, n; j < n_panels; j += n) {
            n = n_panels - j < PANELS ? 1 : PANELS;
            const int last = j + n >= n_panels, end = k + n_k == cols;
            const size_t next_j = last && !end ? 0 : j + n, next_k = last ? end ? 0 : k + n_k : k;
            for (size_t i = 0; i < n_tiles; i++) {
                const size_t from = tile_start(m, n_tiles, i);
                const panel_step at = {.panel = j,
                                       .n_panels = n,
                                       .k = k,
                                       .n_k = n_k,
                                       .position = from,
                                       .m = tile_start(m, n_tiles, i + 1) - from,
                                       .piece = j * panel + k * ROWS,
                                       .next = next_j * panel + next_k * ROWS};
                run(product, &at);
            }
        }
        k += n_k;
    } while (k < cols);
}

#endif
