/* index_search.c - the search over an index: its vectors, scanned. */
#include "kernels/kernels.h"
#include "rag/hits.h"
#include "rag/index.h"

enum { BLOCK = 1024 /* rows: 4 KB of scores on the stack */ };

loam_status loam_index_search_batch(const loam_index *ix, loam_pool *pool, loam_scan scan,
                                    const float *queries, size_t n_queries, loam_hit *hits,
                                    size_t k, const loam_cancel *cancel, loam_err *err) {
    return loam_flat_search(loam_index_flat(ix), pool, scan, queries, n_queries, hits, k, cancel,
                            err);
}

/* One thread, no memory but the caller's. */
static void search_without_memory(const loam_index *ix, const float *query, loam_hits *best) {
    const size_t count = loam_index_count(ix), dim = loam_index_dim(ix);
    float scores[BLOCK];
    best->n = 0;
    for (size_t at = 0; at < count; at += BLOCK) {
        const size_t n = count - at < BLOCK ? count - at : BLOCK;
        loam_k.dot_rows(loam_index_vector(ix, at), n, dim, query, scores);
        loam_hits_add_scores(best, scores, n, at);
    }
    loam_hits_sort(best);
}

size_t loam_index_search(const loam_index *ix, loam_pool *pool, const float *query, loam_hit *hits,
                         size_t k) {
    const size_t count = loam_index_count(ix);
    loam_hits best = {hits, 0, k < count ? k : count};
    if (best.room == 0) return 0;
    if (loam_index_search_batch(ix, pool, LOAM_SCAN_F32, query, 1, hits, k, NULL, NULL))
        search_without_memory(ix, query, &best);
    return best.room;
}
