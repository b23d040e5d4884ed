/* float_blocks.h - f32 products by panels: what every instruction set does alike.
 *
 *     weights [16 rows][256 k]  --convert, transpose-->  panel [256 k][16 rows]   16 KB, L1
 *
 * Four panels (64 rows) are made at a time and all positions pass them.  A block of k that is not
 * the first goes on from the sums in y.
 *
 * A set's file defines multiply_block, or what makes one here, and calls multiply_by_panels:
 *
 *     #define TILE_RUN loam_avx2_tile     up to TILE_ROWS positions of x times a panel
 *     enum { TILE_ROWS = ... };
 */
#ifndef LOAM_FLOAT_BLOCKS_H
#define LOAM_FLOAT_BLOCKS_H

#include "float_tile.h"
#include "kernels.h"

enum { BLOCK_K = 256, PANELS = 4, PANEL_ROWS = 16, BLOCK_ROWS = PANELS * PANEL_ROWS };

typedef struct panel_block {
    const float *panels; /* [PANELS][BLOCK_K][16] */
    size_t n_rows, n_k;
    const float *x; /* at the block's first k */
    size_t x_stride, m;
    float *y;
    size_t y_stride;
    int begin; /* from 0, else from y */
} panel_block;

#ifdef TILE_RUN
/* A panel with fewer than sixteen rows of its own goes through a copy of its part of y. */
static void tile_edge(const panel_block *p, loam_tile t, size_t m, size_t rows) {
    float y[TILE_ROWS][PANEL_ROWS] = {{0}}, *to = t.y;
    for (size_t i = 0; i < m && !p->begin; i++)
        memcpy(y[i], to + i * t.y_stride, rows * sizeof(float));
    t.y = y[0];
    t.y_stride = PANEL_ROWS;
    TILE_RUN(&t, m);
    for (size_t i = 0; i < m; i++) memcpy(to + i * p->y_stride, y[i], rows * sizeof(float));
}

static void multiply_block(const panel_block *p) {
    for (size_t i = 0; i < p->m; i += TILE_ROWS) {
        const size_t m = p->m - i < TILE_ROWS ? p->m - i : TILE_ROWS;
        for (size_t r = 0; r < p->n_rows; r += PANEL_ROWS) {
            const size_t rows = p->n_rows - r;
            const loam_tile t = {.x = p->x + i * p->x_stride,
                                 .x_stride = p->x_stride,
                                 .b = p->panels + r * BLOCK_K,
                                 .b_stride = PANEL_ROWS,
                                 .n_k = p->n_k,
                                 .y = p->y + i * p->y_stride + r,
                                 .y_stride = p->y_stride,
                                 .begin = p->begin};
            if (rows >= PANEL_ROWS)
                TILE_RUN(&t, m);
            else
                tile_edge(p, t, m, rows);
        }
    }
}
#else
static void multiply_block(const panel_block *p);
#endif

/* A panel to be made, and the one after it. */
typedef struct panel_place {
    size_t index;       /* of the panel among its block's */
    size_t row, n_rows; /* its first row of the matrix; how many of sixteen there are */
    size_t k, n_k;
    size_t next_row, next_k;
} panel_place;

/* `place` makes a panel in out, with what `room` has. */
typedef void (*place_fn)(const loam_matrix *w, const panel_place *at, const void *room, float *out);

LOAM_INLINE void multiply_by_panels(const loam_matrix *w, size_t row0, size_t n_rows,
                                    const float *x, size_t x_stride, size_t m, float *y,
                                    size_t y_stride, float *panels, place_fn place,
                                    const void *room) {
    for (size_t r = 0; r < n_rows; r += BLOCK_ROWS) {
        const size_t rows = n_rows - r < BLOCK_ROWS ? n_rows - r : BLOCK_ROWS;
        for (size_t k = 0; k < w->cols; k += BLOCK_K) {
            const size_t n = w->cols - k < BLOCK_K ? w->cols - k : BLOCK_K;
            for (size_t i = 0; i < rows; i += PANEL_ROWS) {
                /* the next sixteen rows, then the next columns, then the next block of rows */
                const int last_rows = i + PANEL_ROWS >= rows, last_k = k + n == w->cols;
                const panel_place at = {.index = i / PANEL_ROWS,
                                        .row = row0 + r + i,
                                        .n_rows = rows - i < PANEL_ROWS ? rows - i : PANEL_ROWS,
                                        .k = k,
                                        .n_k = n,
                                        .next_row =
                                            row0 + (last_rows && !last_k ? r : r + i + PANEL_ROWS),
                                        .next_k = !last_rows ? k
                                                  : last_k   ? 0
                                                             : k + n};
                place(w, &at, room, panels + i * BLOCK_K);
            }
            const panel_block block = {.panels = panels,
                                       .n_rows = rows,
                                       .n_k = n,
                                       .x = x + k,
                                       .x_stride = x_stride,
                                       .m = m,
                                       .y = y + r,
                                       .y_stride = y_stride,
                                       .begin = k == 0};
            multiply_block(&block);
        }
    }
}

#endif
