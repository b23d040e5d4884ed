/* index_search.c - exact search: a full scan and a bounded heap.
 *
 * The scan is the design, not a first step: a million vectors of 384 numbers are one
 * pass of 1.5 GB at memory speed, exact, and nothing to tune or to keep up to date.
 */
#include "ops/ops.h"
#include <loam/rag.h>
#include <math.h>

enum { BLOCK = 4096 /* rows scored at a time: 16 KB of scores on the stack */ };

/* Order of a result list: higher score first, then lower id. */
static int is_better(loam_hit a, loam_hit b) {
    if (a.score > b.score) return 1;
    return !(a.score < b.score) && a.id < b.id;
}

/* Restore the heap (worst hit at the root) below `i`. */
static void sift_down(loam_hit *h, size_t n, size_t i) {
    for (;;) {
        size_t worst = i;
        const size_t l = 2 * i + 1, r = l + 1;
        if (l < n && is_better(h[worst], h[l])) worst = l;
        if (r < n && is_better(h[worst], h[r])) worst = r;
        if (worst == i) return;
        const loam_hit t = h[i];
        h[i] = h[worst];
        h[worst] = t;
        i = worst;
    }
}

static void sift_up(loam_hit *h, size_t i) {
    while (i > 0) {
        const size_t up = (i - 1) / 2;
        if (!is_better(h[up], h[i])) return;
        const loam_hit t = h[i];
        h[i] = h[up];
        h[up] = t;
        i = up;
    }
}

size_t loam_index_search(const loam_index *ix, loam_pool *pool, const float *query, loam_hit *hits,
                         size_t k) {
    const size_t count = loam_index_count(ix), dim = loam_index_dim(ix);
    float scores[BLOCK];
    size_t n = 0;
    if (k == 0) return 0;
    for (size_t from = 0; from < count; from += BLOCK) {
        const size_t rows = count - from < BLOCK ? count - from : BLOCK;
        loam_dot_rows(pool, loam_index_vector(ix, from), rows, dim, query, scores);
        for (size_t i = 0; i < rows; i++) {
            /* a query that is not finite must not break the order */
            const loam_hit hit = {from + i, isnan(scores[i]) ? -INFINITY : scores[i]};
            if (n < k) {
                hits[n] = hit;
                sift_up(hits, n++);
            } else if (is_better(hit, hits[0])) {
                hits[0] = hit;
                sift_down(hits, n, 0);
            }
        }
    }
    for (size_t i = n; i > 1; i--) { /* the worst goes to the end */
        const loam_hit t = hits[0];
        hits[0] = hits[i - 1];
        hits[i - 1] = t;
        sift_down(hits, i - 1, 0);
    }
    return n;
}
