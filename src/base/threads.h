/* threads.h - running work on the pool of loam/base.h. */
#ifndef LOAM_SRC_THREADS_H
#define LOAM_SRC_THREADS_H

#include <loam/base.h>

/* Call fn(ctx, worker, n_workers) once on every worker; returns when all are done. */
void loam_pool_run(loam_pool *pool, void (*fn)(void *ctx, unsigned worker, unsigned n_workers),
                   void *ctx);

/* Cut 0 .. n into ranges of at least `grain` (and multiples of it, but for the last)
 * and call fn(ctx, begin, end, worker) for each range.  Static ranges, one stealing
 * pass over what is left whole.  With one worker: one call fn(ctx, 0, n, 0). */
void loam_pool_for(loam_pool *pool, size_t n, size_t grain,
                   void (*fn)(void *ctx, size_t begin, size_t end, unsigned worker), void *ctx);

/* Barrier between the workers inside a loam_pool_run job. */
void loam_pool_barrier(loam_pool *pool);

#endif
