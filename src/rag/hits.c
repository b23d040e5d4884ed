/* hits.c - a bounded heap of search results. */
#include "rag/hits.h"
#include "kernels/kernels.h"
#include <math.h>

/* Order of a result list: higher score first, then lower id.  (No branch: it would be a coin.) */
static inline int is_better(loam_hit a, loam_hit b) {
    return (a.score > b.score) | (!(a.score < b.score) & (a.id < b.id));
}

/* Restore the heap below `i`. */
static void sift_down(loam_hit *h, size_t n, size_t i) {
    const loam_hit x = h[i];
    for (size_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n) c += (size_t)is_better(h[c], h[c + 1]);
        if (!is_better(x, h[c])) break;
        h[i] = h[c];
    }
    h[i] = x;
}

static void sift_up(loam_hit *h, size_t i) {
    const loam_hit x = h[i];
    for (size_t up; i > 0 && is_better(h[up = (i - 1) / 2], x); i = up) h[i] = h[up];
    h[i] = x;
}

void loam_hits_add(loam_hits *h, loam_hit hit) {
    /* a query that is not finite must not break the order */
    if (isnan(hit.score)) hit.score = -INFINITY;
    if (h->n < h->room) {
        h->items[h->n] = hit;
        sift_up(h->items, h->n++);
    } else if (is_better(hit, h->items[0])) {
        h->items[0] = hit;
        sift_down(h->items, h->n, 0);
    }
}

void loam_hits_add_scores(loam_hits *h, const float *scores, size_t n, uint64_t first) {
    size_t i = 0;
    for (; i < n && h->n < h->room; i++) loam_hits_add(h, (loam_hit){first + i, scores[i]});
    while (i < n) { /* nearly all are worse than the worst that is kept */
        i += loam_k.find_not_below(scores + i, n - i, h->items[0].score);
        if (i < n) loam_hits_add(h, (loam_hit){first + i, scores[i]});
        i++;
    }
}

void loam_hits_sort(loam_hits *h) {
    for (size_t i = h->n; i > 1; i--) { /* the worst goes to the end */
        const loam_hit t = h->items[0];
        h->items[0] = h->items[i - 1];
        h->items[i - 1] = t;
        sift_down(h->items, i - 1, 0);
    }
}
