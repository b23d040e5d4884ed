/* lookup.c - the match is found by looking back from the end: 4,000 ids take microseconds
 * where a pass takes milliseconds, so there is no table to keep right. */
#include "llm/lookup.h"

/* Seconds of a pass over m positions, of one over one position: decode waits for the weights, and
 * some positions more cost little until the multiplications take longer than the waiting.
 * Measured with 4-bit weights on a machine with AVX2 (docs/SPEED.md); where integer products
 * are faster the drafts are shorter than they could be, never worse than none. */
static const double PASS_COST[LOAM_MAX_DRAFT + 2] = {0, 1.0, 1.2, 1.5, 1.75, 2.15, 2.5, 2.7, 2.85};

/* Where the estimates start, from answers of small models over documents. */
static const double FIRST_HIT[LOAM_MAX_MATCH + 1] = {0,    0.15, 0.35, 0.5, 0.65,
                                                     0.75, 0.8,  0.85, 0.9};

/* An estimate moves by so much of its error with each id seen; one that is so low that it is
 * never tried drifts back, so that it is tried again some time. */
static const double LEARN = 0.1, FORGIVE = 0.01;

void loam_lookup_init(loam_lookup *l) {
    *l = (loam_lookup){0};
    memcpy(l->hit, FIRST_HIT, sizeof l->hit);
}

/* How many ids before `at` are those at the end, up to LOAM_MAX_MATCH. */
static size_t match_length(const int32_t *ids, size_t n, size_t at) {
    size_t m = 0;
    while (m < LOAM_MAX_MATCH && m < at && ids[at - 1 - m] == ids[n - 1 - m]) m++;
    return m;
}

/* The longest match, the latest of equal ones; its continuation starts at *at. */
static size_t find_match(const int32_t *ids, size_t n, size_t *at) {
    size_t best = 0;
    if (n == 0) return 0;
    for (size_t i = n - 1; i > 0 && best < LOAM_MAX_MATCH; i--) {
        if (ids[i - 1] != ids[n - 1]) continue;
        const size_t m = match_length(ids, n, i);
        if (m > best) {
            best = m;
            *at = i;
        }
    }
    return best;
}

/* Ids gained for the cost are most with a draft so long; 0 when none beats a plain step. */
static size_t best_length(double hit) {
    double gain = 1.0, chance = 1.0, best = 1.0;
    size_t n = 0;
    for (size_t k = 1; k <= LOAM_MAX_DRAFT; k++) {
        chance *= hit;
        gain += chance;
        if (gain / PASS_COST[k + 1] > best) {
            best = gain / PASS_COST[k + 1];
            n = k;
        }
    }
    return n;
}

size_t loam_lookup_draft(loam_lookup *l, const int32_t *ids, size_t n_ids, size_t room,
                         int32_t *draft) {
    size_t at = 0;
    l->match = find_match(ids, n_ids, &at);
    if (l->match == 0) return 0;
    size_t n = best_length(l->hit[l->match]);
    if (n == 0) l->hit[l->match] += (FIRST_HIT[l->match] - l->hit[l->match]) * FORGIVE;
    if (n > room) n = room;
    /* past the end the text is the draft itself: a repetition goes on */
    for (size_t i = 0; i < n; i++) draft[i] = at + i < n_ids ? ids[at + i] : draft[at + i - n_ids];
    l->n_draft = n;
    return n;
}

void loam_lookup_learn(loam_lookup *l, size_t n_true) {
    double *hit = &l->hit[l->match];
    LOAM_ASSERT(n_true <= l->n_draft);
    /* behind the first wrong one nothing is known */
    const size_t seen = n_true < l->n_draft ? n_true + 1 : n_true;
    for (size_t i = 0; i < seen; i++) *hit += ((i < n_true ? 1.0 : 0.0) - *hit) * LEARN;
}
