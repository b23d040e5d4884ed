/* float_tile.h - what a set's f32 tile is given: the products of float_blocks.h and both attentions
 * run on it.
 *
 *     y[i][0 .. 15] (+)= sum over k ascending of x[i][k] * b[k][0 .. 15], one fma each
 */
#ifndef LOAM_FLOAT_TILE_H
#define LOAM_FLOAT_TILE_H

#include <stddef.h>

typedef struct loam_tile {
    const float *x;
    size_t x_stride;
    const float *b;
    size_t b_stride, n_k;
    float *y;
    size_t y_stride;
    int begin; /* from 0, else from y */
} loam_tile;

#endif
