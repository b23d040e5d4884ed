/* outliers.h - which inputs of a decoder's matrices are too large for their group, in `fast`.
 *
 *     st = loam_outliers_find(d, pool, err);       before the first timeline in LOAM_FAST
 *
 * Some channels of the residual stream are tens of times larger than their neighbours, for every
 * token.  In int8 they leave the others of their group a few steps only.  So they are found once,
 * by reading a few ids of the vocabulary, and multiplied apart in f32.  The ids are the same on
 * every machine and so is what is found: `fast` stays a function of weights and prompt.
 */
#ifndef LOAM_SRC_OUTLIERS_H
#define LOAM_SRC_OUTLIERS_H

#include "model/decoder.h"

/* Inputs that matrices of a layer share. */
typedef enum loam_site {
    LOAM_SITE_QKV,
    LOAM_SITE_O,
    LOAM_SITE_GATE_UP,
    LOAM_SITE_DOWN,
    LOAM_SITES
} loam_site;

typedef struct loam_outliers loam_outliers;

/* Of a decoder whose weights are bound: nothing is known yet, and its matrices have none. */
loam_status loam_outliers_new(loam_outliers **out, const loam_decoder *d, loam_err *err);
void loam_outliers_free(loam_outliers *o); /* NULL is allowed */
/* Find those of all layers of `d`, the first time; its weights know them afterwards.  Any
 * thread.  Errors: MEMORY. */
loam_status loam_outliers_find(const loam_decoder *d, loam_pool *pool, loam_err *err);
/* While they are looked for: the input x [m, cols] of a site. */
void loam_outliers_observe(loam_outliers *o, size_t layer, loam_site site, const float *x,
                           size_t m);

/* Its parts.  What each column of x [m, cols] is worth: over positions and groups, what taking the
 * three largest of a group one after the other takes off the square of its largest, as a share of the
 * position's energy; gain [cols] is set.  Returns the sum of the squares themselves, as such shares.
 * Positions whose energy is 0 or not finite do not count.  `room` holds
 * loam_outliers_weigh_room(m, cols) numbers. */
double loam_outliers_weigh(loam_pool *pool, const float *x, size_t m, size_t cols, size_t group,
                           double *gain, double *room);
static inline size_t loam_outliers_weigh_room(size_t m, size_t cols) {
    return m * (1 + cols / 32);
}
/* Columns `ids` of w [rows, cols] as f16 [LOAM_OUTLIERS, rows]. */
void loam_outliers_extract(loam_pool *pool, const loam_weight *w, const uint32_t *ids,
                           uint16_t *out);

#endif
