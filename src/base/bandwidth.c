/* bandwidth.c - the machine's read bandwidth, the limit that decoding is measured against. */
#include "base/base.h"
#include "base/threads.h"

typedef struct read_job {
    const uint64_t *words;
    _Atomic uint64_t sum; /* keeps the loop from being optimised away */
} read_job;

enum { PIECE = 1 << 13 }; /* words: 64 KiB */

static void read_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    read_job *j = ctx;
    const uint64_t *p = j->words + begin * PIECE, *last = j->words + end * PIECE;
    uint64_t s[16] = {0};
    (void)worker;
    for (; p < last; p += 16) {
        __builtin_prefetch(p + 512);
        __builtin_prefetch(p + 520);
        for (int i = 0; i < 16; i++) s[i] += p[i];
    }
    uint64_t sum = 0;
    for (int i = 0; i < 16; i++) sum += s[i];
    j->sum += sum;
}

double loam_measure_read_bandwidth(loam_pool *pool, size_t bytes) {
    const size_t pieces = bytes / (PIECE * sizeof(uint64_t));
    uint64_t *words = pieces ? malloc(pieces * PIECE * sizeof *words) : NULL;
    if (!words) return 0.0;
    memset(words, 1,
           pieces * PIECE * sizeof *words); /* pages must exist, and differ from the zero page */
    read_job j = {words, 0};
    double best = 0.0;
    for (int pass = 0; pass < 5; pass++) {
        const double start = loam_now();
        loam_pool_for(pool, pieces, 1, read_range, &j);
        const double rate = (double)(pieces * PIECE * sizeof *words) / (loam_now() - start);
        if (rate > best) best = rate;
    }
    free(words);
    return best;
}
