/* test_outliers.c - what columns are worth: in parts, over threads and by one look at a group, the
 * same bits as by the definition, one position after the other. */
#include "kernels/kernels.h"
#include "model/outliers.h"
#include "test.h"

enum { ROUNDS = 3 };

static uint32_t seed = 1;
static float uniform(void) {
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / 8388608.0f - 1.0f;
}

static size_t largest(const float *x, size_t n) {
    size_t at = 0;
    for (size_t k = 1; k < n; k++)
        if (fabsf(x[k]) > fabsf(x[at])) at = k;
    return at;
}

/* The definition; x is a copy. */
static double weigh(float *x, size_t cols, size_t group, double *gain) {
    double energy = 0.0, squares = 0.0;
    for (size_t k = 0; k < cols; k++) energy += (double)x[k] * (double)x[k];
    if (!(energy > 0.0 && energy < HUGE_VAL)) return 0.0;
    for (size_t k = 0; k < cols; k += group) {
        size_t at = k + largest(x + k, group);
        for (int round = 0; round < ROUNDS; round++) {
            const double a = (double)x[at] * (double)x[at] / energy;
            const size_t from = at;
            if (round == 0) squares += a;
            x[at] = 0.0f;
            at = k + largest(x + k, group);
            gain[from] += a - (double)x[at] * (double)x[at] / energy;
        }
    }
    return squares;
}

static void test_weigh(loam_pool *pool, size_t m, size_t cols, size_t group, int kind) {
    float *x = malloc((m * cols + 1) * sizeof *x), *copy = malloc((cols + 1) * sizeof *copy);
    double *want = calloc(cols, sizeof *want), *got = calloc(cols, sizeof *got);
    double *room = calloc(loam_outliers_weigh_room(m, cols), sizeof *room);
    double squares = 0.0;
    if (!x || !copy || !want || !got || !room) exit(2);

    for (size_t i = 0; i < m * cols; i++) {
        x[i] = uniform() * (i % 37 == 0 ? 40.0f : 1.0f);
        if (kind == 1) x[i] = rintf(2.0f * x[i]); /* equal ones and zeros of both signs */
        if (kind == 2) x[i] = i % group == 5 ? -3.0f : 0.0f;
    }
    if (kind == 3 && m > 2) {
        x[cols / 2] = NAN;
        x[cols + 1] = INFINITY;
        memset(x + 2 * cols, 0, cols * sizeof *x);
    }
    for (size_t i = 0; i < m; i++) {
        memcpy(copy, x + i * cols, cols * sizeof *x);
        squares += weigh(copy, cols, group, want);
    }
    for (size_t k = 0; k < cols; k++) got[k] = 7.0; /* is set, not added to */
    const double sum = loam_outliers_weigh(pool, x, m, cols, group, got, room);
    CHECK(sum == squares, "m %zu cols %zu group %zu kind %d: squares %.17g, not %.17g", m, cols,
          group, kind, sum, squares);
    size_t wrong = 0;
    for (size_t k = 0; k < cols; k++) wrong += want[k] != got[k];
    CHECK(wrong == 0, "m %zu cols %zu group %zu kind %d: %zu gains differ", m, cols, group, kind,
          wrong);
    free(x);
    free(copy);
    free(want);
    free(got);
    free(room);
}

int main(void) {
    static const size_t groups[] = {32, 64, 128};
    loam_err err = {0};
    for (unsigned threads = 1; threads <= 3; threads++) {
        loam_pool *pool = NULL;
        if (loam_pool_new(&pool, threads, &err)) return 2;
        for (size_t g = 0; g < 3; g++)
            for (int kind = 0; kind < 4; kind++)
                for (size_t m = 1; m <= 16; m += 5)
                    test_weigh(pool, m, groups[g] * (3 + 2 * m), groups[g], kind);
        loam_pool_free(pool);
    }
    return TEST_END("test_outliers");
}
