/* sampler.c - filters and draws; vocabularies have up to 262,144 entries, so nothing
 * sorts more than it must: at 150,000 entries a full sort costs as much as a layer. */
#include "llm/sampler.h"
#include <math.h>

void loam_sample_penalise(float *logits, const int32_t *ids, size_t n_ids, float penalty) {
    for (size_t i = 0; i < n_ids; i++) {
        int seen = 0; /* windows are short (20): a quadratic look back is the cheapest set */
        for (size_t j = 0; j < i && !seen; j++) seen = ids[j] == ids[i];
        if (seen) continue;
        float *l = &logits[ids[i]];
        *l = *l < 0.0f ? *l * penalty : *l / penalty;
    }
}

static float max_of(const float *x, size_t n) {
    float m = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (x[i] > m) m = x[i];
    return m;
}

double loam_sample_log_softmax(const float *logits, size_t n, float *logprobs) {
    const float top = max_of(logits, n);
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += (double)expf(logits[i] - top);
    /* cppcheck-suppress invalidFunctionArg; the largest logit adds 1 to the sum */
    const double log_sum = (double)top + log(sum);
    for (size_t i = 0; i < n; i++) logprobs[i] = (float)((double)logits[i] - log_sum);
    return log_sum;
}

static int compare_descending(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Values >= floor to scratch, largest first; returns how many. */
static size_t sort_above(const float *x, size_t n, float floor, float *scratch) {
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (x[i] >= floor) scratch[m++] = x[i];
    qsort(scratch, m, sizeof *scratch, compare_descending);
    return m;
}

static void drop_below(float *x, size_t n, float threshold) {
    for (size_t i = 0; i < n; i++)
        if (x[i] < threshold) x[i] = -INFINITY;
}

void loam_sample_top_p(float *logprobs, size_t n, float top_p, float *scratch) {
    const float top = max_of(logprobs, n);
    double total = 0.0;
    for (size_t i = 0; i < n; i++) total += exp((double)logprobs[i]);
    const double limit = (double)top_p * total;

    /* Look at a few nats below the best first; deeper only when they do not hold the mass.
     * NOLINTNEXTLINE(cert-flp30-c): doubling is exact */
    for (float depth = 4.0f;; depth *= 2.0f) {
        const float floor = depth > 1000.0f ? -INFINITY : top - depth;
        const size_t m = sort_above(logprobs, n, floor, scratch);
        double above = 0.0;
        size_t kept = 0;
        while (kept < m && (kept == 0 || above < limit)) above += exp((double)scratch[kept++]);
        if (above < limit && m < n && floor > -INFINITY) continue;
        if (kept) drop_below(logprobs, n, scratch[kept - 1]);
        return;
    }
}

void loam_sample_min_p(float *logprobs, size_t n, float min_p) {
    drop_below(logprobs, n, max_of(logprobs, n) + (float)log((double)min_p));
}

/* Order of candidates: more likely first, then lower id. */
static int comes_before(loam_logprob a, loam_logprob b) {
    return a.logprob > b.logprob || (a.logprob == b.logprob && a.id < b.id);
}

/* k-th largest value by quickselect on scratch. */
static float select_kth(float *x, size_t n, size_t k) {
    size_t lo = 0, hi = n - 1;
    while (lo < hi) {
        const float pivot = x[lo + (hi - lo) / 2];
        size_t i = lo, j = hi;
        for (;;) {
            while (x[i] > pivot) i++;
            while (x[j] < pivot) j--;
            if (i >= j) break;
            const float swap = x[i];
            x[i++] = x[j];
            x[j--] = swap;
        }
        if (k <= j)
            hi = j;
        else
            lo = j + 1;
    }
    return x[k];
}

void loam_sample_top_k(float *logprobs, size_t n, size_t k, float *scratch) {
    if (k == 0 || k >= n) return;
    memcpy(scratch, logprobs, n * sizeof *scratch);
    const float edge = select_kth(scratch, n, k - 1);
    size_t above = 0;
    for (size_t i = 0; i < n; i++) above += logprobs[i] > edge;
    size_t ties = k - above; /* of the values at the edge, so many stay */
    for (size_t i = 0; i < n; i++) {
        if (logprobs[i] > edge) continue;
        if (logprobs[i] == edge && ties)
            ties--;
        else
            logprobs[i] = -INFINITY;
    }
}

/* Blocks whose largest is not above the best so far are passed over; NaN is never the largest,
 * but a first one stays, as nothing compares above it. */
size_t loam_sample_argmax(const float *x, size_t n) {
    enum { LANES = 8, BLOCK = 64 };
    size_t best = 0, i = 0;

    for (; i + BLOCK <= n; i += BLOCK) {
        float most[LANES];
        int look = 0;
        memcpy(most, x + i, sizeof most);
        for (size_t k = LANES; k < BLOCK; k += LANES)
            for (size_t l = 0; l < LANES; l++)
                most[l] = x[i + k + l] > most[l] ? x[i + k + l] : most[l];
        for (size_t l = 0; l < LANES; l++) look |= !(most[l] <= x[best]);
        for (size_t k = i; look && k < i + BLOCK; k++)
            if (x[k] > x[best]) best = k;
    }
    for (; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

size_t loam_sample_draw(const float *logprobs, size_t n, float temperature, double u) {
    const float top = max_of(logprobs, n);
    const double inverse = 1.0 / (double)temperature;
    double total = 0.0, below = 0.0;
    size_t last = loam_sample_argmax(logprobs, n);

    for (size_t i = 0; i < n; i++)
        if (logprobs[i] > -INFINITY) total += exp(((double)logprobs[i] - (double)top) * inverse);
    for (size_t i = 0; i < n; i++) {
        if (!(logprobs[i] > -INFINITY)) continue;
        below += exp(((double)logprobs[i] - (double)top) * inverse);
        last = i;
        if (below > u * total) break;
    }
    return last;
}

void loam_sample_top(const float *logprobs, size_t n, size_t k, loam_logprob *out) {
    size_t m = 0;
    if (k == 0) return;
    for (size_t i = 0; i < n; i++) {
        const loam_logprob c = {(int32_t)i, logprobs[i]};
        if (m == k && !comes_before(c, out[m - 1])) continue;
        size_t at = m < k ? m++ : m - 1;
        for (; at > 0 && comes_before(c, out[at - 1]); at--) out[at] = out[at - 1];
        out[at] = c;
    }
}
