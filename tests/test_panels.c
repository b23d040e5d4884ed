/* test_panels.c - products with panels and unmasked attention: every instruction set gives the
 * reference's bits, and the reference what double arithmetic says. */
#include "kernels/kernels.h"
#include "ops/ops.h"
#include "test.h"
#include <math.h>

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

/* Ends with its allocation, so that sanitizers see one element too many. */
static void *room(size_t n, size_t size) {
    void *p = calloc(n ? n : 1, size);
    if (!p) exit(2);
    return p;
}

static float *floats(size_t n) {
    float *x = room(n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = uniform();
    return x;
}

static loam_kernels ref;

static void check_same(const float *want, const float *got, size_t n, const char *what, size_t m,
                       size_t cols) {
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&want[i], &got[i], 4) == 0 || (want[i] != want[i] && got[i] != got[i])) continue;
        CHECK(0, "%s: %s, m %zu, %zu columns: value %zu is %.9g, want %.9g", loam_k.name, what, m,
              cols, i, (double)got[i], (double)want[i]);
        return;
    }
}

static const float UNTOUCHED = 12345.0f;

static void fill(float *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = UNTOUCHED;
}

/* ---- f32 ---- */

static void check_float(size_t n_panels, size_t cols, size_t m) {
    const size_t rows = 16 * n_panels, x_stride = cols + 3, y_stride = rows + 5;
    float *w = floats(rows * cols), *x = floats(m * x_stride);
    float *panels = room(rows * cols, 4), *other = room(rows * cols, 4);
    float *want = room(m * y_stride, 4), *got = room(m * y_stride, 4);

    if (m > 2) x[1 * x_stride + cols / 2] = INFINITY;
    if (m > 3) x[2 * x_stride] = NAN;
    for (size_t j = 0; j < n_panels; j++) {
        ref.panel_pack(w + j * 16 * cols, cols, cols, panels + j * 16 * cols);
        loam_k.panel_pack(w + j * 16 * cols, cols, cols, other + j * 16 * cols);
    }
    CHECK(memcmp(panels, other, rows * cols * 4) == 0, "%s: panels of %zu columns", loam_k.name,
          cols);
    fill(want, m * y_stride);
    fill(got, m * y_stride);
    const loam_panel_float p = {panels, n_panels, cols, x, x_stride, m, want, y_stride};
    ref.panel_float(&p);
    loam_panel_float q = p;
    q.y = got;
    loam_k.panel_float(&q);
    check_same(want, got, m * y_stride, "float", m, cols);
    /* the sums of float_product, to the bit */
    const loam_matrix matrix = {
        .element = LOAM_ELEMENT_F32, .cols = cols, .data = (const unsigned char *)w};
    fill(got, m * y_stride);
    ref.float_product(&matrix, 0, rows, x, x_stride, m, got, y_stride, NULL);
    check_same(want, got, m * y_stride, "float against float_product", m, cols);
    free(w);
    free(x);
    free(panels);
    free(other);
    free(want);
    free(got);
}

/* ---- wide integers ---- */

static int16_t wide(int extreme) {
    const int v = (int)(rnd() % (2 * LOAM_WIDE_MAX + 1)) - LOAM_WIDE_MAX;
    return (int16_t)(!extreme ? v : v < 0 ? -LOAM_WIDE_MAX : LOAM_WIDE_MAX);
}

static void check_wide(size_t n_panels, size_t cols, size_t m, int extreme) {
    const size_t rows = 16 * n_panels, x_stride = cols + 2, y_stride = rows + 5;
    int16_t *w = room(rows * cols, 2), *x = room(m * x_stride, 2);
    int16_t *panels = room(rows * cols, 2), *other = room(rows * cols, 2);
    float *want = room(m * y_stride, 4), *got = room(m * y_stride, 4);
    float *scales = floats(rows), *d = floats(m);

    /* the same sign everywhere makes the largest sum there is */
    for (size_t i = 0; i < rows * cols; i++) w[i] = extreme > 1 ? LOAM_WIDE_MAX : wide(extreme);
    for (size_t i = 0; i < m * x_stride; i++) x[i] = extreme > 1 ? -LOAM_WIDE_MAX : wide(extreme);
    if (m > 1) d[1] = NAN;
    for (size_t j = 0; j < n_panels; j++) {
        ref.panel_pack_wide(w + j * 16 * cols, cols, cols, panels + j * 16 * cols);
        loam_k.panel_pack_wide(w + j * 16 * cols, cols, cols, other + j * 16 * cols);
    }
    fill(want, m * y_stride);
    fill(got, m * y_stride);
    loam_panel_wide p = {panels, scales, n_panels, cols, x, d, x_stride, m, want, y_stride};
    ref.panel_wide(&p);
    p.panels = other;
    p.y = got;
    loam_k.panel_wide(&p);
    check_same(want, got, m * y_stride, extreme > 1 ? "wide, largest sums" : "wide", m, cols);

    /* the reference against integers of 64 bits */
    double worst = 0;
    for (size_t i = 0; i < m && i != 1; i++) {
        for (size_t r = 0; r < rows; r++) {
            int64_t sum = 0;
            for (size_t k = 0; k < cols; k++) sum += w[r * cols + k] * x[i * x_stride + k];
            const double exact = (double)sum * (double)scales[r] * (double)d[i];
            double size = 0;
            for (size_t k = 0; k < cols; k++) size += abs(w[r * cols + k] * x[i * x_stride + k]);
            size *= fabs((double)scales[r] * (double)d[i]);
            const double off = fabs(exact - (double)want[i * y_stride + r]);
            if (size > 0 && off / size > worst) worst = off / size;
        }
    }
    /* each block rounds four times at most: the integer, the scale, the sum */
    CHECK(worst <= 4 * 6e-8 * (1 + (double)cols / LOAM_WIDE_BLOCK), "wide: off by %g", worst);
    free(w);
    free(x);
    free(panels);
    free(other);
    free(want);
    free(got);
    free(scales);
    free(d);
}

static void test_panels_products(void) {
    static const size_t COLS[] = {1, 2, 7, 8, 64, 255, 256, 257, 384, 513};
    static const size_t M[] = {0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 16, 25, 33};
    for (size_t c = 0; c < sizeof COLS / sizeof *COLS; c++)
        for (size_t i = 0; i < sizeof M / sizeof *M; i++) check_float(1 + c % 3, COLS[c], M[i]);
    static const size_t WIDE[] = {64, 128, 448, 512, 576, 1024, 1088};
    for (size_t c = 0; c < sizeof WIDE / sizeof *WIDE; c++)
        for (size_t i = 0; i < sizeof M / sizeof *M; i++)
            for (int extreme = 0; extreme < 3; extreme++)
                check_wide(1 + c % 3, WIDE[c], M[i], extreme);
}

static void check_quantize(const float *x, size_t n) {
    const size_t padded = (n + LOAM_WIDE_UNIT - 1) / LOAM_WIDE_UNIT * LOAM_WIDE_UNIT;
    int16_t *want = room(padded, 2), *got = room(padded, 2);
    float d = -1, e = -1;
    memset(want, 0x55, padded * 2);
    memset(got, 0x55, padded * 2);
    ref.quantize_wide(x, n, want, &d);
    loam_k.quantize_wide(x, n, got, &e);
    CHECK(memcmp(want, got, padded * 2) == 0 && (memcmp(&d, &e, 4) == 0 || (d != d && e != e)),
          "%s: quantize_wide of %zu", loam_k.name, n);
    for (size_t k = 0; k < n; k++) {
        CHECK(abs(want[k]) <= LOAM_WIDE_MAX, "%d", want[k]);
        if (d == d && d > 0)
            CHECK(fabs((double)x[k] - (double)want[k] * (double)d) <= 0.501 * (double)d,
                  "rounding");
    }
    for (size_t k = n; k < padded; k++) CHECK(want[k] == 0, "filled up with %d", want[k]);
    free(want);
    free(got);
}

static void test_panels_quantize(void) {
    for (size_t n = 0; n < 140; n++) {
        float *x = floats(n);
        check_quantize(x, n);
        if (n) {
            x[rnd() % n] = n % 3 ? 1e30f : -1e-30f;
            check_quantize(x, n);
            x[rnd() % n] = n % 2 ? INFINITY : NAN;
            check_quantize(x, n);
            memset(x, 0, n * sizeof *x);
            check_quantize(x, n);
            x[n - 1] = 1e-38f;
            check_quantize(x, n);
        }
        free(x);
    }
}

static void test_panels_gelu(void) {
    enum { N = 4003 };
    float *x = room(N, 4), *bias = floats(N), *want = room(N, 4), *got = room(N, 4);
    for (size_t i = 0; i < N; i++) x[i] = 9 * uniform();
    x[7] = 60;
    x[8] = -60;
    x[9] = NAN;
    x[10] = INFINITY;
    for (size_t n = N; n; n = n > 40 ? n / 2 : n - 1) {
        memcpy(want, x, N * 4);
        memcpy(got, x, N * 4);
        ref.gelu_coarse(bias, n, want);
        loam_k.gelu_coarse(bias, n, got);
        check_same(want, got, N, "gelu_coarse", 1, n);
    }
    memcpy(want, x, N * 4);
    ref.gelu_coarse(bias, N, want);
    for (size_t i = 0; i < N; i++) {
        const float sum = x[i] + bias[i];
        const double v = (double)sum, exact = 0.5 * v * erfc(-v / sqrt(2.0));
        if (i == 9 || i == 10) continue;
        CHECK(fabs((double)want[i] - exact) <= 7e-5 + 3e-6 * fabs(v), "gelu_coarse of %g is %g", v,
              (double)want[i]);
    }
    free(x);
    free(bias);
    free(want);
    free(got);
}

/* ---- attention ---- */

static void check_attend(size_t n, size_t head_dim, int nan) {
    const size_t stride = 3 * head_dim + 1, y_stride = head_dim + 2;
    float *all = floats(n * stride), *want = room(n * y_stride, 4), *got = room(n * y_stride, 4);
    float *scratch = room(loam_attend_scratch(n, head_dim), 4);
    if (nan) all[(n / 2) * stride + head_dim] = NAN; /* a key */
    fill(want, n * y_stride);
    fill(got, n * y_stride);
    loam_attend a = {.q = all,
                     .k = all + head_dim,
                     .v = all + 2 * head_dim,
                     .stride = stride,
                     .n = n,
                     .head_dim = head_dim,
                     .scale = 1.5f,
                     .y = want,
                     .y_stride = y_stride};
    ref.attend(&a, scratch);
    a.y = got;
    loam_k.attend(&a, scratch);
    check_same(want, got, n * y_stride, "attend", n, head_dim);

    double worst = 0;
    for (size_t t = 0; t < n && !nan; t++) {
        double p[600], sum = 0, top = -1e300;
        for (size_t j = 0; j < n; j++) {
            p[j] = 0;
            for (size_t d = 0; d < head_dim; d++)
                p[j] += 1.5 * (double)all[t * stride + d] * (double)a.k[j * stride + d];
            top = fmax(top, p[j]);
        }
        for (size_t j = 0; j < n; j++) sum += p[j] = exp(p[j] - top);
        for (size_t d = 0; d < head_dim; d++) {
            double y = 0;
            for (size_t j = 0; j < n; j++) y += p[j] / sum * (double)a.v[j * stride + d];
            worst = fmax(worst, fabs(y - (double)want[t * y_stride + d]));
        }
    }
    /* scores are sums of head_dim products below 1.5, values below 1 */
    CHECK(worst <= 4e-7 * (double)(head_dim + 8), "n %zu, %zu wide: off by %g", n, head_dim, worst);
    free(all);
    free(want);
    free(got);
    free(scratch);
}

static void test_panels_attend(void) {
    static const size_t N[] = {1, 2, 5, 6, 7, 15, 16, 17, 24, 31, 33, 64, 65, 100, 257};
    static const size_t HEAD[] = {1, 7, 8, 15, 16, 32, 33, 64};
    for (size_t i = 0; i < sizeof N / sizeof *N; i++)
        for (size_t h = 0; h < sizeof HEAD / sizeof *HEAD; h++)
            check_attend(N[i], HEAD[h], (i + h) % 5 == 0);
}

/* ---- stacks of weights ---- */

/* Three weights of odd sizes one above the other: with and without the copy, and by
 * loam_linear, the same bits; fast near to exact. */
static void check_stack(loam_pool *pool, size_t cols, size_t m) {
    static const size_t ROWS[] = {5, 33, 20};
    enum { ALL = 58, STRIDE = 64 };
    const loam_activation act = LOAM_GELU_ERF;
    loam_compute c = {.pool = pool, .precision = LOAM_EXACT};
    loam_weight w[3];
    const loam_weight *list[3];
    float *x = floats(m * (cols + 3)), *plain = room(m * cols, 4), *data[3], *bias[3], *single[3];
    float *y[3] = {room(m * STRIDE, 4), room(m * STRIDE, 4), room(m * STRIDE, 4)};
    loam_stack s;

    for (size_t i = 0; i < 3; i++) {
        data[i] = floats(ROWS[i] * cols);
        bias[i] = i == 1 ? NULL : floats(ROWS[i]);
        single[i] = room(m * ROWS[i], 4);
        w[i] = (loam_weight){.format = LOAM_FORMAT_F32,
                             .rows = ROWS[i],
                             .cols = cols,
                             .data = data[i],
                             .bias = bias[i]};
        list[i] = &w[i];
    }
    for (size_t i = 0; i < m; i++) memcpy(plain + i * cols, x + i * (cols + 3), cols * 4);
    CHECK(!loam_compute_reserve(&c, m, cols, NULL), "reserve");
    CHECK(!loam_stack_init(&s, list, 3, NULL) && s.rows == ALL, "init");
    loam_linear(&c, list, 3, plain, m, single);
    loam_stack_linear(&c, &s, &act, x, cols + 3, m, NULL, y[0]);
    CHECK(!loam_stack_pack(&s, pool, LOAM_EXACT, NULL) && s.panels, "pack");
    loam_stack_linear(&c, &s, &act, x, cols + 3, m, NULL, y[1]);
    CHECK(memcmp(y[0], y[1], m * STRIDE * 4) == 0, "%zu columns, m %zu: with a copy", cols, m);
    CHECK(!loam_stack_pack(&s, pool, LOAM_FAST, NULL) && s.wide, "pack");
    c.precision = LOAM_FAST;
    const loam_wide_room wide = {room(m * loam_wide_stride(cols), 2), room(m, 4)};
    loam_stack_linear(&c, &s, &act, x, cols + 3, m, &wide, y[2]);
    for (size_t i = 0; i < m; i++) {
        size_t at = i * STRIDE;
        for (size_t k = 0; k < 3; k++) {
            float *row = single[k] + i * ROWS[k];
            loam_activate(&c, act, row, ROWS[k]);
            CHECK(memcmp(row, y[1] + at, ROWS[k] * 4) == 0, "%zu columns, m %zu: row %zu", cols, m,
                  i);
            at += ROWS[k];
        }
        for (size_t r = 0; r < ALL; r++) {
            const double off = fabs((double)y[2][i * STRIDE + r] - (double)y[1][i * STRIDE + r]);
            /* both factors below 1 and off by half a step of 1/2047; gelu's slope is at most 1.13 */
            CHECK(off <= 1.13 * (double)cols * 1.001 / 2047 + 1e-6, "fast: off by %g", off);
        }
    }
    for (size_t i = 0; i < 3; i++) {
        free(data[i]);
        free(bias[i]);
        free(single[i]);
        free(y[i]);
    }
    free(wide.q);
    free(wide.d);
    free(x);
    free(plain);
    loam_stack_deinit(&s);
    loam_compute_deinit(&c);
}

static void test_panels_stack(void) {
    static const unsigned THREADS[] = {1, 2, 5};
    for (size_t i = 0; i < sizeof THREADS / sizeof *THREADS; i++) {
        loam_pool *pool = NULL;
        CHECK(!loam_pool_new(&pool, THREADS[i], NULL), "pool");
        for (size_t m = 1; m < 300; m = 3 * m + 1) {
            check_stack(pool, 13, m);
            check_stack(pool, 130, m);
        }
        loam_pool_free(pool);
    }
}

static void test_all(void) {
    test_panels_products();
    test_panels_quantize();
    test_panels_gelu();
    test_panels_attend();
    test_panels_stack();
}

int main(void) {
    loam_kernels_init(LOAM_ISA_REF);
    ref = loam_k;
    for (loam_isa isa = LOAM_ISA_REF; isa < LOAM_ISA_BEST; isa++) {
        if (!loam_isa_available(isa)) continue;
        CHECK(loam_kernels_init(isa) == isa, "set %d", isa);
        if (test_wants_set(loam_k.name)) test_all();
    }
#ifdef LOAM_EMULATED_SET /* docs/KERNELS.md: files compiled against intrinsics in C */
    loam_kernels_init(LOAM_ISA_AVX2);
    LOAM_EMULATED_SET(&loam_k);
    test_all();
#endif
    return TEST_END("test_panels");
}
