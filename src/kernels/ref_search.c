/* ref_search.c - what the scans of an index mean: dots of rows and queries, a bound's first. */
#include "kernels.h"
#include "ref_math.h"
#include <math.h>

static void dot_tile_ref(const loam_dot_tile *t, float *y, size_t y_stride) {
    for (size_t j = 0; j < t->m; j++)
        for (size_t i = 0; i < t->n; i++) {
            const float *row = t->rows + i * t->row_stride, *x = t->x + j * t->x_stride;
            float lanes[LOAM_LANES] = {0};
            for (size_t k = 0; k < t->dim; k++)
                lanes[k % LOAM_LANES] = fmaf(row[k], x[k], lanes[k % LOAM_LANES]);
            y[j * y_stride + i] = loam_ref_tree(lanes);
        }
}

static void dot_rows_f16_ref(const uint16_t *rows, size_t n, size_t stride, const float *x,
                             float *y, int cached) {
    (void)cached;
    for (size_t i = 0; i < n; i++) {
        float lanes[LOAM_LANES] = {0};
        for (size_t k = 0; k < stride; k++)
            lanes[k % LOAM_LANES] =
                fmaf(loam_f16_to_f32(rows[i * stride + k]), x[k], lanes[k % LOAM_LANES]);
        y[i] = loam_ref_tree(lanes);
    }
}

static void byte_tile_ref(const loam_byte_tile *t, float *y, size_t y_stride) {
    for (size_t j = 0; j < t->m; j++)
        for (size_t i = 0; i < t->n; i++) {
            const uint8_t *row = t->rows + i / LOAM_PANEL * LOAM_PANEL * t->cols;
            int32_t sum = 0; /* 65536 * 127 * 31 < 2^28 */
            for (size_t k = 0; k < t->cols; k++)
                sum +=
                    row[(k / 4 * LOAM_PANEL + i % LOAM_PANEL) * 4 + k % 4] * t->x[j * t->cols + k];
            y[j * y_stride + i] = t->scales[i] * (float)(sum - t->offsets[j]);
        }
}

static size_t find_not_below_ref(const float *y, size_t n, float bound) {
    size_t i = 0;
    while (i < n && y[i] < bound) i++;
    return i;
}

static void f16_to_f32_ref(const uint16_t *x, size_t n, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = loam_f16_to_f32(x[i]);
}

void loam_kernels_use_ref_search(loam_kernels *k) {
    k->dot_tile = dot_tile_ref;
    k->dot_tile_rows = 1;
    k->dot_rows_f16 = dot_rows_f16_ref;
    k->byte_tile = byte_tile_ref;
    k->find_not_below = find_not_below_ref;
    k->f16_to_f32 = f16_to_f32_ref;
}
