/* pass_cost.c - estimates of the time of a pass, quick to go down and slow to go up. */
#include "llm/pass_cost.h"

/* Before any was timed a further position costs so much of the first.  It is less than on most
 * machines: a length that looks cheap is tried and then known, one that looks dear never is. */
static const double PRIOR = 0.2;

/* A sample moves the estimate by so much of the difference, and is taken for at most MOST times
 * what was expected.  With each pass the others drift towards the prior, so that an estimate
 * that came out too high is looked at again some time. */
static const double DOWN = 0.5, UP = 0.25, MOST = 2.0, FORGIVE = 0.002;

void loam_pass_cost_init(loam_pass_cost *c) {
    *c = (loam_pass_cost){0};
}

static double prior_of(size_t m) {
    return 1.0 + PRIOR * (double)(m - 1);
}

/* From the nearest length that was timed, the shorter of two; 0: there is none. */
static double expect(const loam_pass_cost *c, size_t m) {
    for (size_t away = 0; away < LOAM_MAX_PASS; away++) {
        if (m > away && c->seconds[m - away] > 0)
            return c->seconds[m - away] * prior_of(m) / prior_of(m - away);
        if (m + away <= LOAM_MAX_PASS && c->seconds[m + away] > 0)
            return c->seconds[m + away] * prior_of(m) / prior_of(m + away);
    }
    return 0;
}

void loam_pass_cost_learn(loam_pass_cost *c, size_t m, double seconds) {
    LOAM_ASSERT(m >= 1 && m <= LOAM_MAX_PASS);
    const double expected = expect(c, m);
    if (!(seconds > 0)) return;
    if (expected > 0 && seconds > MOST * expected) seconds = MOST * expected;
    double *s = &c->seconds[m];
    *s = *s > 0 ? *s + (seconds - *s) * (seconds < *s ? DOWN : UP) : seconds;
    for (size_t k = 2; k <= LOAM_MAX_PASS; k++)
        if (k != m && c->seconds[k] > 0 && c->seconds[1] > 0)
            c->seconds[k] += (c->seconds[1] * prior_of(k) - c->seconds[k]) * FORGIVE;
}

double loam_pass_cost_of(const loam_pass_cost *c, size_t m) {
    const double one = expect(c, 1);
    return one > 0 ? expect(c, m) / one : prior_of(m);
}
