/* lookup.c - the match is found by looking back from the end: 4,000 ids take microseconds
 * where a pass takes milliseconds, so there is no table to keep right. */
#include "llm/lookup.h"

/* Where the estimates start, from answers of small models over documents: places that agree,
 * then places that do not. */
static const double FIRST_HIT[2][LOAM_MAX_MATCH + 1] = {
    {0, 0.45, 0.55, 0.7, 0.78, 0.8, 0.85, 0.9, 0.93},
    {0, 0.15, 0.25, 0.3, 0.4, 0.4, 0.5, 0.5, 0.7}};

/* An estimate moves by so much of its error with each id seen; one that is so low that it is
 * never tried drifts back, so that it is tried again some time. */
static const double LEARN = 0.05, FORGIVE = 0.01;

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
static size_t find_match(const int32_t *ids, size_t n, size_t *at, int *is_contested) {
    size_t best = 0;
    if (n == 0) return 0;
    for (size_t i = n - 1; i > 0; i--) {
        if (ids[i - 1] != ids[n - 1]) continue;
        const size_t m = match_length(ids, n, i);
        if (m > best) {
            best = m;
            *at = i;
            *is_contested = 0;
        } else if (m == best && ids[i] != ids[*at]) {
            *is_contested = 1;
        }
    }
    return best;
}

/* The estimate for the guess at place k of a draft: behind k true ones the match is so much
 * longer, and the other places are out of the race. */
static double *hit_at(loam_lookup *l, size_t k) {
    const size_t m = l->match + k;
    return &l->hit[k == 0 && l->is_contested][m < LOAM_MAX_MATCH ? m : LOAM_MAX_MATCH];
}

/* Ids gained for the cost are most with a draft so long; 0 when none beats a plain step. */
static size_t best_length(loam_lookup *l, const loam_pass_cost *cost) {
    double gain = 1.0, chance = 1.0, best = 1.0;
    size_t n = 0;
    for (size_t k = 1; k <= LOAM_MAX_DRAFT; k++) {
        chance *= *hit_at(l, k - 1);
        gain += chance;
        const double rate = gain / loam_pass_cost_of(cost, k + 1);
        if (rate > best) {
            best = rate;
            n = k;
        }
    }
    return n;
}

size_t loam_lookup_draft(loam_lookup *l, const loam_pass_cost *cost, const int32_t *ids,
                         size_t n_ids, size_t room, int32_t *draft) {
    size_t at = 0;
    l->match = find_match(ids, n_ids, &at, &l->is_contested);
    if (l->match == 0) return 0;
    size_t n = best_length(l, cost);
    if (n == 0) {
        double *hit = hit_at(l, 0);
        *hit += (FIRST_HIT[l->is_contested][l->match] - *hit) * FORGIVE;
    }
    if (n > room) n = room;
    /* past the end the text is the draft itself: a repetition goes on */
    for (size_t i = 0; i < n; i++) draft[i] = at + i < n_ids ? ids[at + i] : draft[at + i - n_ids];
    l->n_draft = n;
    return n;
}

void loam_lookup_learn(loam_lookup *l, size_t n_true) {
    LOAM_ASSERT(n_true <= l->n_draft);
    /* behind the first wrong one nothing is known */
    const size_t seen = n_true < l->n_draft ? n_true + 1 : n_true;
    for (size_t i = 0; i < seen; i++) {
        double *hit = hit_at(l, i);
        *hit += ((i < n_true ? 1.0 : 0.0) - *hit) * LEARN;
    }
}
