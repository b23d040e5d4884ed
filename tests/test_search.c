/* test_search.c - scans of vectors: every instruction set gives the reference's bits, a batch the
 * bits of single queries, coarse scans what the exact one finds; order, ties and bad numbers. */
#include "kernels/kernels.h"
#include "test.h"
#include <float.h>
#include <loam/rag.h>

static uint64_t rng_state = 88172645463325252u;

static uint32_t rnd(void) {
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (uint32_t)(rng_state >> 32);
}

static float uniform(void) {
    return (float)rnd() / 2147483648.0f - 1.0f;
}

/* Sum of six uniform numbers: near enough to normal. */
static float normal(void) {
    float s = 0;
    for (int i = 0; i < 6; i++) s += uniform();
    return s * 0.70710678f;
}

static void *room(size_t n, size_t size) {
    void *p = NULL; /* ends at the end of the allocation: sanitizers see one byte too many */
    if (posix_memalign(&p, 64, (n ? n : 1) * size)) exit(2);
    memset(p, 0, (n ? n : 1) * size);
    return p;
}

static void make_unit(float *row, size_t dim) {
    double s = 0;
    for (size_t k = 0; k < dim; k++) s += (double)row[k] * (double)row[k];
    for (size_t k = 0; k < dim; k++) row[k] = (float)((double)row[k] / (s > 0 ? sqrt(s) : 1));
}

/* Unit vectors around `n_centres` centres, noise of `spread` a number. */
static float *make_clustered(size_t n, size_t dim, size_t n_centres, float spread) {
    float *centres = room(n_centres * dim, sizeof *centres), *v = room(n * dim, sizeof *v);
    for (size_t i = 0; i < n_centres * dim; i++) centres[i] = normal();
    for (size_t i = 0; i < n; i++) {
        const float *c = centres + rnd() % n_centres * dim;
        for (size_t k = 0; k < dim; k++) v[i * dim + k] = c[k] + spread * normal();
        make_unit(v + i * dim, dim);
    }
    free(centres);
    return v;
}

/* ---- kernels ---- */

static loam_kernels ref;

static int same_bits(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], 4) != 0 && !(isnan(a[i]) && isnan(b[i]))) return 0;
    return 1;
}

/* y has guard values between and after the rows that a tile must leave alone. */
static void compare_dots(size_t n, size_t dim, size_t m, int special) {
    float *rows = room(n * dim + 1, sizeof *rows), *x = room(m * dim + 1, sizeof *x);
    float *want = room(m * (n + 3), sizeof *want), *got = room(m * (n + 3), sizeof *got);
    for (size_t i = 0; i < n * dim; i++) rows[i + 1] = uniform();
    for (size_t i = 0; i < m * dim; i++) x[i + 1] = uniform();
    if (special && n && m && dim) {
        rows[1 + rnd() % (n * dim)] = NAN;
        x[1 + rnd() % (m * dim)] = INFINITY;
    }
    for (size_t i = 0; i < m * (n + 3); i++) want[i] = got[i] = 77;
    const loam_dot_tile t = {rows + 1, x + 1, n, dim, m, dim, dim};
    ref.dot_tile(&t, want, n + 3);
    loam_k.dot_tile(&t, got, n + 3);
    CHECK(same_bits(want, got, m * (n + 3)), "%s: tile %zu x %zu, dim %zu", loam_k.name, n, m, dim);
    for (size_t j = 0; j < m && !special; j++) {
        loam_k.dot_rows(rows + 1, n, dim, x + 1 + j * dim, got);
        CHECK(same_bits(want + j * (n + 3), got, n), "%s: tile and row, dim %zu", loam_k.name, dim);
        for (size_t i = 0; i < n; i++) {
            double exact = 0, size = 0;
            for (size_t k = 0; k < dim; k++) {
                const double product = (double)rows[1 + i * dim + k] * (double)x[1 + j * dim + k];
                exact += product;
                size += fabs(product);
            }
            CHECK(fabs(exact - (double)got[i]) <=
                      (double)(dim / 16 + 6) * (double)FLT_EPSILON * size,
                  "dot %g, want %g", (double)got[i], exact);
        }
    }
    free(rows);
    free(x);
    free(want);
    free(got);
}

static void compare_halves(size_t n, size_t stride) {
    uint16_t *rows = room(n * stride, sizeof *rows);
    float *x = room(stride, sizeof *x), *wide = room(n * stride, sizeof *wide);
    float *want = room(n, sizeof *want), *got = room(n, sizeof *got);
    for (size_t i = 0; i < n * stride; i++) wide[i] = uniform();
    loam_k.f32_to_f16(wide, n * stride, rows);
    for (size_t k = 0; k < stride; k++) x[k] = uniform();
    ref.dot_rows_f16(rows, n, stride, x, want, 0);
    for (int cached = 0; cached < 2; cached++) {
        loam_k.dot_rows_f16(rows, n, stride, x, got, cached);
        CHECK(same_bits(want, got, n), "%s: f16 rows %zu x %zu", loam_k.name, n, stride);
    }
    loam_k.f16_to_f32(rows, n * stride, wide);
    for (size_t i = 0; i < n * stride; i++)
        CHECK(wide[i] == loam_f16_to_f32(rows[i]), "%s: f16 %zu", loam_k.name, i); // NOLINT
    loam_k.dot_rows(wide, n, stride, x, want);
    CHECK(same_bits(want, got, n), "%s: f16 rows and wide ones", loam_k.name);
    free(rows);
    free(x);
    free(wide);
    free(want);
    free(got);
}

/* n in whole panels.  `extreme`: the largest products, which must not saturate. */
static void compare_bytes(size_t n, size_t m, size_t cols, int extreme) {
    uint8_t *plain = room(n, cols), *rows = room(n, cols);
    int8_t *x = room(m, cols);
    float *scales = room(n, sizeof *scales), *want = room(m * (n + 1), sizeof *want);
    float *got = room(m * (n + 1), sizeof *got);
    int32_t *offsets = room(m, sizeof *offsets);
    for (size_t i = 0; i < n * cols; i++)
        plain[i] = (uint8_t)(extreme ? i / cols % 2 ? 127 : 1 : 1 + rnd() % 127);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < cols; k++)
            rows[i / 16 * 16 * cols + k / 4 * 64 + i % 16 * 4 + k % 4] = plain[i * cols + k];
    for (size_t j = 0; j < m; j++)
        for (size_t k = 0; k < cols; k++) {
            const int sign = j % 2 ? -1 : 1;
            x[j * cols + k] = (int8_t)(extreme ? 31 * sign : (int)(rnd() % 63) - 31);
            offsets[j] += 64 * x[j * cols + k];
        }
    for (size_t i = 0; i < n; i++) scales[i] = uniform();
    for (size_t i = 0; i < m * (n + 1); i++) want[i] = got[i] = 77;
    const loam_byte_tile t = {rows, scales, x, offsets, n, m, cols};
    ref.byte_tile(&t, want, n + 1);
    loam_k.byte_tile(&t, got, n + 1);
    CHECK(same_bits(want, got, m * (n + 1)), "%s: bytes %zu x %zu, cols %zu", loam_k.name, n, m,
          cols);
    for (size_t j = 0; j < m; j++)
        for (size_t i = 0; i < n; i++) {
            int64_t exact = 0;
            for (size_t k = 0; k < cols; k++)
                exact += ((int)plain[i * cols + k] - 64) * x[j * cols + k];
            const float y = scales[i] * (float)exact;
            CHECK(memcmp(&y, &got[j * (n + 1) + i], 4) == 0, "bytes: %g, want %g",
                  (double)got[j * (n + 1) + i], (double)y);
        }
    free(plain);
    free(rows);
    free(x);
    free(scales);
    free(want);
    free(got);
    free(offsets);
}

static void check_find(void) {
    float y[100];
    for (size_t n = 0; n <= 100; n += 1 + n / 8)
        for (size_t at = 0; at <= n; at++) {
            for (size_t i = 0; i < n; i++) y[i] = uniform() - 2;
            if (at < n) y[at] = at % 3 == 0 ? NAN : at % 3 == 1 ? 0.0f : 1.0f;
            CHECK(ref.find_not_below(y, n, 0) == at, "reference: %zu of %zu", at, n);
            CHECK(loam_k.find_not_below(y, n, 0) == at, "%s: %zu of %zu", loam_k.name, at, n);
        }
}

static void test_kernels(void) {
    for (size_t dim = 0; dim <= 70; dim++) compare_dots(dim % 8, dim, 1 + dim % 7, 0);
    for (size_t m = 0; m <= 13; m++) compare_dots(11, 33, m, 0);
    for (size_t n = 0; n <= 13; n++) compare_dots(n, 100, 8, n % 2 == 0);
    compare_dots(25, 384, 65, 0);
    for (size_t n = 0; n <= 9; n++) compare_halves(n, 16 * (1 + n % 5));
    for (size_t n = 0; n <= 64; n += 16)
        for (size_t m = 0; m <= 13; m++) compare_bytes(n, m, 16 * (1 + (m + n / 16) % 5), 0);
    compare_bytes(16, 9, 65536, 1);
    check_find();
    printf("test_search: kernels of %s\n", loam_k.name);
}

/* ---- searches ---- */

static loam_pool *pools[3]; /* 1, 2, 3 workers */

static loam_flat *open_flat(const float *v, size_t n, size_t dim) {
    loam_flat *f = NULL;
    loam_err err = {0};
    CHECK(!loam_flat_new(&f, v, n, dim, &err), "%s", err.msg);
    return f;
}

static void search(loam_flat *f, loam_pool *pool, loam_scan scan, const float *q, size_t n,
                   loam_hit *hits, size_t k) {
    loam_err err = {0};
    CHECK(!loam_flat_search(f, pool, scan, q, n, hits, k, NULL, &err), "%s", err.msg);
}

static int same_hits(const loam_hit *a, const loam_hit *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (a[i].id != b[i].id || memcmp(&a[i].score, &b[i].score, 4) != 0) return 0;
    return 1;
}

typedef struct scored {
    double score;
    size_t id;
} scored;

static int by_score(const void *a, const void *b) {
    const scored *x = a, *y = b;
    if (x->score > y->score || x->score < y->score) return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* Scores within a bound of the exact ones; nothing that belongs in is left out. */
static void check_against_double(const float *v, size_t n, size_t dim, const float *q,
                                 const loam_hit *hits, size_t k) {
    scored *all = room(n, sizeof *all);
    const double bound = (double)(dim / 16 + 6) * (double)FLT_EPSILON; /* of unit vectors */
    for (size_t i = 0; i < n; i++) {
        all[i].id = i;
        for (size_t d = 0; d < dim; d++) all[i].score += (double)v[i * dim + d] * (double)q[d];
    }
    for (size_t i = 0; i < k; i++) {
        CHECK(hits[i].id < n && fabs((double)hits[i].score - all[hits[i].id].score) <= bound,
              "score of %zu", i);
        CHECK(i == 0 || hits[i - 1].score > hits[i].score ||
                  (!(hits[i - 1].score < hits[i].score) && hits[i - 1].id < hits[i].id),
              "order at %zu", i);
    }
    qsort(all, n, sizeof *all, by_score);
    for (size_t i = 0; i < k; i++)
        CHECK(fabs((double)hits[i].score - all[i].score) <= bound, "rank %zu: %.8g, want %.8g", i,
              (double)hits[i].score, all[i].score);
    free(all);
}

/* Every scan, batch size and number of workers against single queries of one worker. */
static void test_batches(size_t n, size_t dim, size_t n_queries, size_t k) {
    float *v = make_clustered(n, dim, 7, 0.7f), *q = make_clustered(n_queries, dim, 9, 0.9f);
    loam_hit *one = room(n_queries * k, sizeof *one), *many = room(n_queries * k, sizeof *many);
    loam_flat *f = open_flat(v, n, dim);
    const size_t m = k < n ? k : n;
    for (int scan = LOAM_SCAN_F32; scan <= LOAM_SCAN_INT8; scan++) {
        for (size_t j = 0; j < n_queries; j++)
            search(f, pools[0], (loam_scan)scan, q + j * dim, 1, one + j * k, k);
        for (size_t p = 0; p < 4; p++) {
            search(f, p < 3 ? pools[p] : NULL, (loam_scan)scan, q, n_queries, many, k);
            for (size_t j = 0; j < n_queries; j++)
                CHECK(same_hits(one + j * k, many + j * k, m),
                      "scan %d, %zu x %zu: query %zu of a batch differs", scan, n, dim, j);
        }
        if (scan == LOAM_SCAN_F32)
            for (size_t j = 0; j < n_queries; j++)
                check_against_double(v, n, dim, q + j * dim, one + j * k, m);
    }
    loam_flat_free(f);
    free(v);
    free(q);
    free(one);
    free(many);
}

/* The results are the reference's, bit for bit, for every instruction set, number of workers and
 * size of a batch.  The first call is the reference's. */
static void test_same_everywhere(void) {
    enum { N = 700, DIM = 40, QUERIES = 65, K = 10 };
    static const size_t sizes[] = {1, 2, 3, 63, 64, 65};
    static loam_hit want[3][QUERIES * K];
    static int have;
    rng_state = 88172645463325252u; /* the same vectors every time */
    float *v = make_clustered(N, DIM, 9, 0.7f), *q = make_clustered(QUERIES, DIM, 9, 0.9f);
    loam_hit *got = room((size_t)QUERIES * K, sizeof *got);
    loam_flat *f = open_flat(v, N, DIM);
    for (int scan = LOAM_SCAN_F32; scan <= LOAM_SCAN_INT8; scan++) {
        if (!have) search(f, NULL, (loam_scan)scan, q, QUERIES, want[scan], K);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (size_t p = 0; p < 4; p++) {
                memset(got, 0xff, (size_t)QUERIES * K * sizeof *got);
                search(f, p < 3 ? pools[p] : NULL, (loam_scan)scan, q, sizes[s], got, K);
                CHECK(same_hits(want[scan], got, sizes[s] * K),
                      "%s: scan %d, batch of %zu, pool %zu: other results than the reference's",
                      loam_k.name, scan, sizes[s], p);
            }
    }
    have = 1;
    loam_flat_free(f);
    free(v);
    free(q);
    free(got);
}

/* Of the exact ten, how many the coarse scans find; what they find has the exact scores.
 * outlier: added to one number of every vector, whose length is one. */
static void test_recall(size_t n, size_t dim, size_t n_centres, float spread, float outlier) {
    enum { QUERIES = 200, K = 10 };
    float *v = make_clustered(n, dim, n_centres, spread), *q = room(QUERIES * dim, sizeof *q);
    for (size_t i = 0; i < n; i++) { /* what the scale of a row in bytes follows */
        v[i * dim + dim / 3] += outlier;
        make_unit(v + i * dim, dim);
    }
    loam_hit *exact = room(QUERIES * K, sizeof *exact), *found = room(QUERIES * K, sizeof *found);
    loam_flat *f = open_flat(v, n, dim);
    for (size_t j = 0; j < QUERIES; j++) {
        for (size_t k = 0; k < dim; k++)
            q[j * dim + k] = v[j * 3 * dim + k] + 0.3f * normal() / sqrtf((float)dim);
        make_unit(q + j * dim, dim);
    }
    search(f, pools[1], LOAM_SCAN_F32, q, QUERIES, exact, K);
    for (int scan = LOAM_SCAN_F16; scan <= LOAM_SCAN_INT8; scan++) {
        size_t same = 0;
        search(f, pools[1], (loam_scan)scan, q, QUERIES, found, K);
        for (size_t i = 0; i < QUERIES * K; i++) {
            const loam_hit *e = exact + i / K * K;
            for (size_t j = 0; j < K; j++)
                if (e[j].id == found[i].id && memcmp(&e[j].score, &found[i].score, 4) == 0) same++;
        }
        const double recall = (double)same / (QUERIES * K);
        printf("test_search: scan %d, %zu x %zu around %zu: recall %.4f\n", scan, n, dim, n_centres,
               recall);
        CHECK(recall >= 0.99, "scan %d: recall %.4f", scan, recall);
    }
    loam_flat_free(f);
    free(v);
    free(q);
    free(exact);
    free(found);
}

static void test_ties(void) {
    enum { N = 5000, DIM = 20, K = 100 };
    float *v = room((size_t)N * DIM, sizeof *v);
    loam_hit hits[2 * K];
    for (size_t i = 0; i < N; i++) v[i * DIM + i % 2] = 1; /* odd ids one way, even the other */
    float q[2 * DIM] = {1};
    q[DIM + 1] = 1;
    loam_flat *f = open_flat(v, N, DIM);
    for (int scan = LOAM_SCAN_F32; scan <= LOAM_SCAN_INT8; scan++) {
        search(f, pools[2], (loam_scan)scan, q, 2, hits, K);
        for (size_t i = 0; i < 2 * K; i++)
            CHECK(hits[i].id == i % K * 2 + i / K && hits[i].score == 1.0f, // NOLINT
                  "scan %d: place %zu is %d", scan, i, (int)hits[i].id);
    }
    loam_flat_free(f);
    free(v);
}

/* Queries and vectors that are no unit vectors: no crash, no NaN in a score, order by id. */
static void test_bad_numbers(void) {
    enum { N = 700, DIM = 33, K = 800 };
    float *v = make_clustered(N, DIM, 5, 0.5f), q[3 * DIM] = {0};
    loam_hit *hits = room(3 * K, sizeof *hits);
    q[3] = NAN;
    q[DIM + 2] = INFINITY;
    loam_flat *f = open_flat(v, N, DIM);
    for (int i = 0; i < 6; i++) { /* all of them, which is an exact scan, and some */
        const loam_scan scan = (loam_scan)(i / 2);
        const size_t k = i % 2 ? K : 10, n = k < N ? k : N;
        memset(hits, 0xff, 3 * K * sizeof *hits);
        search(f, pools[1], scan, q, 3, hits, k);
        for (size_t j = 0; j < 3; j++)
            for (size_t at = 0; at < n; at++)
                CHECK(!isnan(hits[j * k + at].score) && hits[j * k + at].id < N &&
                          (j == 1 || hits[j * k + at].id == at),
                      "scan %d: query %zu, place %zu: %d", (int)scan, j, at,
                      (int)hits[j * k + at].id);
        if (k < N) continue;
        CHECK(hits[N].id == UINT64_MAX, "written beyond min(k, count)");
    }
    loam_flat_free(f);
    f = NULL;
    loam_err err = {0};
    CHECK(loam_flat_new(&f, v, N, 0, &err) == LOAM_ERR_ARGUMENT && !f, "dim 0");
    CHECK(loam_flat_new(&f, v, N, 65537, &err) == LOAM_ERR_ARGUMENT && !f, "dim 65537");
    f = open_flat(v, 0, DIM);
    search(f, pools[1], LOAM_SCAN_INT8, q, 3, hits, K); /* nothing to find */
    loam_flat_free(f);
    f = open_flat(v, N, DIM);
    search(f, pools[1], LOAM_SCAN_F16, q, 3, hits, 0);
    const loam_cancel now = {1};
    CHECK(loam_flat_search(f, pools[1], LOAM_SCAN_F32, q, 3, hits, 5, &now, &err) ==
              LOAM_ERR_CANCELLED,
          "cancelled");
    loam_flat_free(f);
    free(v);
    free(hits);
}

static void test_all(void) {
    test_kernels();
    for (size_t dim = 1; dim <= 70; dim += 1 + dim / 9) test_batches(300 + dim, dim, 5, 7);
    test_batches(9000, 48, 70, 3); /* more queries than a pass, blocks with an end */
    test_batches(1, 384, 3, 10);
    test_batches(40, 17, 2, 1000);
    test_same_everywhere();
    test_ties();
    test_bad_numbers();
}

int main(void) {
    loam_err err = {0};
    for (unsigned i = 0; i < 3; i++) CHECK(!loam_pool_new(&pools[i], i + 1, &err), "%s", err.msg);
    loam_kernels_use_ref(&ref);
    for (int isa = LOAM_ISA_REF; isa < LOAM_ISA_BEST; isa++) {
        if (!loam_isa_available((loam_isa)isa)) continue;
        CHECK(loam_kernels_init((loam_isa)isa) == (loam_isa)isa, "instruction set %d", isa);
        if (test_wants_set(loam_k.name)) test_all();
    }
    test_recall(8000, 384, 100, 0.6f, 0);
    test_recall(8000, 384, 100, 0.6f, 0.6f);
    test_recall(8000, 64, 20, 0.3f, 0);
    test_recall(6000, 50, 1, 1.0f, 0);
#ifdef LOAM_EMULATED_SET /* docs/KERNELS.md: files compiled against intrinsics in C */
    loam_kernels_init(LOAM_ISA_AVX2);
    LOAM_EMULATED_SET(&loam_k);
    test_all();
#endif
    for (size_t i = 0; i < 3; i++) loam_pool_free(pools[i]);
    return TEST_END("test_search");
}
