/* flat.h - inside the search: vectors and the smaller copies that scans read. */
#ifndef LOAM_RAG_FLAT_H
#define LOAM_RAG_FLAT_H

#include "base/base.h"
#include "base/threads.h"
#include <loam/rag.h>
#include <pthread.h>

struct loam_flat {
    const float *vectors; /* [count, dim], borrowed */
    size_t count, dim;
    pthread_mutex_t lock; /* of the making of the copies; they do not change afterwards */
    uint16_t *half;       /* [count, half_stride], zeros at the end of a row */
    size_t half_stride;
    uint8_t *bytes; /* [count in whole panels, byte_cols], see loam_byte_tile */
    float *scales;  /* [count in whole panels] */
    size_t byte_cols;
};

/* x ~ scale * q with q = rint(x * by) in -most .. most; returns the scale.  Both are 0 when x is
 * all but zero or not finite: then q must be 0. */
float loam_flat_scale(const float *x, size_t n, int most, float *by);

/* loam_pool_for, or one call when there is no pool. */
static inline void loam_flat_for(loam_pool *pool, size_t n, size_t grain,
                                 void (*fn)(void *ctx, size_t begin, size_t end, unsigned worker),
                                 void *ctx) {
    if (pool)
        loam_pool_for(pool, n, grain, fn, ctx);
    else if (n)
        fn(ctx, 0, n, 0);
}

#endif
