/* split.h - inside ops: when to wake the pool, and where a worker's scratch lies. */
#ifndef LOAM_OPS_SPLIT_H
#define LOAM_OPS_SPLIT_H

#include "kernels/kernels.h"
#include "ops/ops.h"

enum {
    LOAM_CHUNK = 512,             /* positions of one pass over the weights */
    LOAM_TWICE_CHUNK = 8,         /* the same for a weight of two terms */
    LOAM_ROW_BLOCK = 64,          /* weight rows of one kernel call when m is large */
    LOAM_BLOCK_BYTES = 160 << 10, /* a worker's results before they are combined */
    LOAM_PARTIAL_BYTES = 2 << 20, /* attention states of segments, shared */
    LOAM_SMALL_WORK = 1 << 16     /* multiply-adds below which a barrier costs more */
};

typedef void (*loam_range_fn)(void *ctx, size_t begin, size_t end, unsigned worker);

/* fn over 0 .. n; on the caller alone when `work` (about a multiply-add each) is small. */
static inline void loam_split(loam_pool *pool, size_t n, size_t grain, size_t work,
                              loam_range_fn fn, void *ctx) {
    if (n == 0) return;
    if (!pool || work < LOAM_SMALL_WORK || loam_pool_size(pool) == 1)
        fn(ctx, 0, n, 0);
    else
        loam_pool_for(pool, n, grain, fn, ctx);
}

/* Scratch: | shared | worker 0: kernel, block | worker 1 | ...   sizes are multiples of 64 */
size_t loam_scratch_worker_bytes(size_t cols);
size_t loam_scratch_acts_bytes(size_t m, size_t cols);
size_t loam_scratch_bf16_bytes(size_t m, size_t cols); /* 0 without a unit for bf16 */
/* Worker's part behind `shared` bytes; asserts that the reserve was large enough for all. */
unsigned char *loam_scratch_workers(const loam_compute *c, size_t shared, size_t cols);

loam_matrix loam_weight_matrix(const loam_weight *w);
loam_act loam_act_of(loam_activation act); /* the kernels' name of it */

#endif
