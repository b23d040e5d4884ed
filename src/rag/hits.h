/* hits.h - the best n hits seen so far: a heap whose root is the worst of them.
 *
 * The order is total (score, then id), so what is kept depends neither on the order of
 * arrival nor on how the hits were shared out.
 */
#ifndef LOAM_RAG_HITS_H
#define LOAM_RAG_HITS_H

#include <loam/rag.h>

typedef struct loam_hits {
    loam_hit *items; /* [room] */
    size_t n, room;  /* room > 0 */
} loam_hits;

void loam_hits_add(loam_hits *h, loam_hit hit);
/* Take the scores of rows first .. first + n, NaN as -infinity. */
void loam_hits_add_scores(loam_hits *h, const float *scores, size_t n, uint64_t first);
/* Best first; afterwards no heap. */
void loam_hits_sort(loam_hits *h);

#endif
