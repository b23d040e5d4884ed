/* test_kernels.c - every instruction set gives the reference's bits.
 *
 * The reference is compared with plain double arithmetic in test_ops; here each variant the
 * machine can run meets it over sizes 0, 1, odd and block edges, every bit width, group and
 * scale type, unaligned rows, positions cut into calls, NaN and infinities. */
#include "kernels/kernels.h"
#include "test.h"
#include <float.h>
#include <stdarg.h>

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

/* Mostly ordinary, now and then large or tiny: what breaks saturation and clamping. */
static float wild(void) {
    const uint32_t kind = rnd() % 16;
    return uniform() * (kind == 0 ? 1e4f : kind == 1 ? 1e-6f : 3.0f);
}

static void *room(size_t n, size_t size) {
    void *p = NULL; /* ends at the end of the allocation: sanitizers see one byte too many */
    if (posix_memalign(&p, 64, (n ? n : 1) * size)) exit(2);
    memset(p, 0, (n ? n : 1) * size);
    return p;
}

static loam_kernels ref;
static void *scratch;

/* Bits, but for what NaN a NaN is. */
static int same_bits(const float *a, const float *b, size_t n, size_t *where) {
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&a[i], &b[i], 4) == 0 || (a[i] != a[i] && b[i] != b[i])) continue;
        *where = i;
        return 0;
    }
    return 1;
}

__attribute__((format(printf, 4, 5))) static void check_same(const float *want, const float *got,
                                                             size_t n, const char *fmt, ...) {
    char what[200];
    size_t at = 0;
    va_list args;
    const int same = same_bits(want, got, n, &at);

    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    CHECK(same, "%s: %s: value %zu is %.9g, want %.9g", loam_k.name, what, at, (double)got[at],
          (double)want[at]);
}

typedef struct matrix_room {
    loam_matrix w;
    unsigned char *data, *scales, *biases;
} matrix_room;

static void put(loam_element e, unsigned char *p, size_t i, float v) {
    if (e == LOAM_ELEMENT_F32) {
        memcpy(p + 4 * i, &v, 4);
        return;
    }
    const uint16_t h = e == LOAM_ELEMENT_F16 ? loam_f32_to_f16(v) : loam_f32_to_bf16(v);
    memcpy(p + 2 * i, &h, 2);
}

/* The arrays start `odd` bytes into their allocations and end with them. */
static matrix_room make_matrix(loam_element e, int bits, int group, loam_element scale, size_t rows,
                               size_t cols, size_t odd) {
    matrix_room r = {
        .w = {.element = e, .bits = bits, .group = group, .scale = scale, .cols = cols}};
    const size_t bytes = rows * loam_matrix_row_bytes(&r.w);
    const int extreme = rnd() % 4 == 0;
    r.data = room(bytes + odd, 1);
    if (e != LOAM_ELEMENT_AFFINE) {
        for (size_t i = 0; i < rows * cols; i++) put(e, r.data + odd, i, uniform());
    } else {
        const size_t n = rows * (cols / (size_t)group), size = loam_element_bytes(scale);
        for (size_t i = 0; i < bytes; i++)
            r.data[odd + i] = (unsigned char)(extreme ? 0xff : rnd());
        r.scales = room(n * size + odd, 1);
        r.biases = room(n * size + odd, 1);
        for (size_t i = 0; i < n; i++) {
            put(scale, r.scales + odd, i, uniform() * 0.1f);
            put(scale, r.biases + odd, i, uniform());
        }
        r.w.scales = r.scales + odd;
        r.w.biases = r.biases + odd;
    }
    r.w.data = r.data + odd;
    return r;
}

static void free_matrix(matrix_room *r) {
    free(r->data);
    free(r->scales);
    free(r->biases);
}

typedef struct acts_room {
    loam_acts a;
    int8_t *q;
    float *d, *s;
} acts_room;

static acts_room make_acts(const loam_kernels *k, const float *x, size_t m, size_t cols,
                           size_t group) {
    acts_room r = {.a = {.q_stride = loam_acts_stride(cols), .g_stride = cols / group}};
    r.q = room(m * r.a.q_stride, 1);
    r.d = room(m * r.a.g_stride, sizeof *r.d);
    r.s = room(m * r.a.g_stride, sizeof *r.s);
    for (size_t i = 0; i < m; i++)
        k->quantize(x + i * cols, cols, group, r.q + i * r.a.q_stride, r.d + i * r.a.g_stride,
                    r.s + i * r.a.g_stride);
    r.a.q = r.q;
    r.a.d = r.d;
    r.a.s = r.s;
    return r;
}

static void free_acts(acts_room *r) {
    free(r->q);
    free(r->d);
    free(r->s);
}

static void test_quantize(void) {
    static const size_t groups[] = {32, 64, 128};
    for (size_t g = 0; g < 3; g++) {
        for (size_t n = 0; n <= 5; n++) {
            const size_t cols = n * groups[g];
            float *x = room(cols + 1, sizeof *x);
            for (size_t i = 0; i < cols; i++) x[i + 1] = wild();
            if (n == 2) memset(x, 0, (cols + 1) * sizeof *x);
            if (n == 3) x[1 + 5] = NAN;
            if (n == 4) x[1 + cols - 1] = -INFINITY;
            if (n == 5)
                for (size_t i = 0; i < groups[g]; i++) x[1 + i] *= 1e-38f;
            acts_room a = make_acts(&ref, x + 1, 1, cols, groups[g]);
            acts_room b = make_acts(&loam_k, x + 1, 1, cols, groups[g]);
            CHECK(memcmp(a.q, b.q, cols) == 0, "%s: quantised, %zu x %zu", loam_k.name, n,
                  groups[g]);
            check_same(a.d, b.d, n, "d, %zu groups", n);
            check_same(a.s, b.s, n, "s, %zu groups", n);
            for (size_t i = 0; i < cols; i++) {
                const double d = (double)a.d[i / groups[g]];
                const double off = fabs((double)x[1 + i] - d * a.q[i]);
                if (d == d)
                    CHECK(off <= d * 0.50001 + 0x1p-100, "quantised off by %g of %g", off, d);
            }
            free_acts(&a);
            free_acts(&b);
            free(x);
        }
    }
}

/* One matrix and m positions: reference against variant, whole and cut. */
static void compare_product(const loam_matrix *w, size_t rows, size_t m, int integer) {
    const size_t cols = w->cols, stride = rows + 3;
    float *x = room(m * cols + 1, sizeof *x);
    float *want = room(m * stride, sizeof *want), *got = room(m * stride, sizeof *got);
    /* now and then all alike: with the largest weights, the largest sums there are */
    const float alike = rnd() % 4 == 0 ? (rnd() % 2 ? 3.0f : -3.0f) : 0.0f;
    for (size_t i = 0; i < m * cols; i++) x[i + 1] = alike == 0.0f ? wild() : alike;
    const float *x1 = x + 1;
    acts_room a = {0};

    if (integer) {
        a = make_acts(&ref, x1, m, cols, (size_t)w->group);
        ref.integer_product(w, 0, rows, &a.a, m, want, stride, scratch);
        loam_k.integer_product(w, 0, rows, &a.a, m, got, stride, scratch);
    } else {
        ref.float_product(w, 0, rows, x1, cols, m, want, stride, scratch);
        loam_k.float_product(w, 0, rows, x1, cols, m, got, stride, scratch);
    }
    check_same(want, got, m * stride,
               "product integer %d element %d bits %d group %d cols %zu m %zu", integer,
               (int)w->element, w->bits, w->group, cols, m);
    /* rows and positions cut anywhere */
    memset(got, 0, m * stride * sizeof *got);
    const size_t cut_m = m / 3, cut_r = rows * 2 / 5;
    for (int part = 0; part < 4; part++) {
        const size_t i = part & 1 ? cut_m : 0, r = part & 2 ? cut_r : 0;
        const size_t n_m = part & 1 ? m - cut_m : cut_m, n_r = part & 2 ? rows - cut_r : cut_r;
        float *y = got + i * stride + r;
        if (integer) {
            loam_acts b = a.a;
            b.q += i * b.q_stride;
            b.d += i * b.g_stride;
            b.s += i * b.g_stride;
            loam_k.integer_product(w, r, n_r, &b, n_m, y, stride, scratch);
        } else {
            loam_k.float_product(w, r, n_r, x1 + i * cols, cols, n_m, y, stride, scratch);
        }
    }
    check_same(want, got, m * stride, "cut product, bits %d m %zu", w->bits, m);
    free_acts(&a);
    free(x);
    free(want);
    free(got);
}

static void test_affine(void) {
    static const int bits[] = {2, 3, 4, 5, 6, 8}, groups[] = {32, 64, 128};
    static const loam_element scales[] = {LOAM_ELEMENT_F32, LOAM_ELEMENT_F16, LOAM_ELEMENT_BF16};
    static const size_t row_counts[] = {0, 1, 7, 8, 9, 17, 33, 70},
                        ms[] = {0, 1, 2, 3, 5, 8, 13, 34};
    static const size_t group_counts[] = {1, 2, 3, 7, 8, 9, 17, 18, 26};
    size_t turn = 0;

    for (size_t b = 0; b < 6; b++) {
        for (size_t g = 0; g < 3; g++) {
            for (size_t s = 0; s < 3; s++) {
                for (size_t i = 0; i < 8; i++, turn++) {
                    const size_t rows = row_counts[(i + turn) % 8];
                    const size_t cols = (size_t)groups[g] * group_counts[turn % 9];
                    matrix_room r = make_matrix(LOAM_ELEMENT_AFFINE, bits[b], groups[g], scales[s],
                                                rows, cols, turn % 5);
                    compare_product(&r.w, rows, ms[i], 1);
                    compare_product(&r.w, rows, ms[i], 0);
                    if (rows > 0) {
                        float *want = room(cols, sizeof *want), *got = room(cols, sizeof *got);
                        ref.row_to_f32(&r.w, rows - 1, want);
                        loam_k.row_to_f32(&r.w, rows - 1, got);
                        check_same(want, got, cols, "row, bits %d", bits[b]);
                        free(want);
                        free(got);
                    }
                    free_matrix(&r);
                }
            }
        }
    }
    /* long rows: more than one block of everything */
    for (size_t b = 0; b < 6; b++) {
        matrix_room r =
            make_matrix(LOAM_ELEMENT_AFFINE, bits[b], 64, LOAM_ELEMENT_BF16, 67, 4160, 1);
        compare_product(&r.w, 67, 9, 1);
        memset(r.data, 0xff, 1 + 67 * loam_matrix_row_bytes(&r.w));
        for (int i = 0; i < 8; i++) compare_product(&r.w, 3, 1 + (size_t)i, 1);
        compare_product(&r.w, 67, 1, 1);
        compare_product(&r.w, 67, 1, 0);
        free_matrix(&r);
    }
}

/* Many positions: what is left of blocks of positions, rows and columns, in every kind. */
static void test_many_positions(void) {
    static const int bits[] = {4, 8, 2, 3, 5, 6}, groups[] = {64, 32, 128};
    static const size_t rows[] = {130, 1, 15, 16, 17, 31, 32, 33, 48, 64, 65, 129};
    static const size_t cols[] = {1152, 512, 128, 640, 1664, 1024};
    size_t turn = 0;
    for (size_t g = 0; g < 3; g++) {
        for (size_t m = 11; m <= 37; m++, turn++) {
            /* a group of 32 or 64 is left over now and then */
            const size_t odd = groups[g] < 128 && turn % 2 ? (size_t)groups[g] : 0;
            const size_t n_cols = cols[turn % 6] + odd, n_rows = rows[turn % 12];
            matrix_room r = make_matrix(LOAM_ELEMENT_AFFINE, bits[turn % 6], groups[g],
                                        turn % 3 ? LOAM_ELEMENT_BF16 : LOAM_ELEMENT_F16, n_rows,
                                        n_cols, turn % 5);
            compare_product(&r.w, n_rows, m, 1);
            free_matrix(&r);
        }
        matrix_room r =
            make_matrix(LOAM_ELEMENT_AFFINE, 4, groups[g], LOAM_ELEMENT_BF16, 33, 640, 0);
        compare_product(&r.w, 33, 535, 1);
        compare_product(&r.w, 33, 1057, 1);
        free_matrix(&r);
    }
}

static void test_dense(void) {
    static const loam_element elements[] = {LOAM_ELEMENT_F32, LOAM_ELEMENT_F16, LOAM_ELEMENT_BF16};
    static const size_t cols[] = {0, 1, 7, 8, 15, 16, 17, 100, 255, 256, 257, 600};
    static const size_t rows[] = {0, 1, 15, 16, 17, 63, 64, 65, 130},
                        ms[] = {0, 1, 2, 5, 6, 7, 12, 25};
    size_t turn = 0;
    for (size_t e = 0; e < 3; e++) {
        for (size_t c = 0; c < 12; c++) {
            for (size_t i = 0; i < 8; i++, turn++) {
                matrix_room r = make_matrix(elements[e], 0, 0, LOAM_ELEMENT_F32, rows[turn % 9],
                                            cols[c], turn % 3);
                compare_product(&r.w, rows[turn % 9], ms[i], 0);
                if (rows[turn % 9] > 0) {
                    float want[600] = {0}, got[600] = {0};
                    ref.row_to_f32(&r.w, 0, want);
                    loam_k.row_to_f32(&r.w, 0, got);
                    check_same(want, got, cols[c], "row of element %d", (int)e);
                }
                free_matrix(&r);
            }
        }
    }
}

typedef struct bf16_case {
    size_t rows, cols, m;
} bf16_case;

/* bf16_product of all, and how far it is from the sum in double. */
static void check_bf16(const bf16_case *c, const loam_matrix *w, const float *x, const float *y) {
    float *row = room(c->cols, sizeof *row);
    const double unit = 0x1p-16 + ((double)c->cols / 32 + 20) * 0x1p-23;
    for (size_t r = 0; r < c->rows; r++) {
        ref.row_to_f32(w, r, row);
        for (size_t i = 0; i < c->m; i++) {
            double sum = 0.0, size = 0.0, largest = 1.0;
            for (size_t k = 0; k < c->cols; k++) {
                const double wk = (double)row[k], xk = (double)x[i * c->cols + k];
                sum += wk * xk;
                size += fabs(wk * xk);
                largest = fmax(largest, fmax(fabs(wk), fabs(xk)));
            }
            const double bound = unit * size + (double)c->cols * 0x1p-124 * (1 + largest);
            const double got = (double)y[i * c->rows + r];
            CHECK(fabs(got - sum) <= bound, "bf16 %zu x %zu, %zu positions: %g, want %g (%g)",
                  c->rows, c->cols, c->m, got, sum, bound);
        }
    }
    free(row);
}

/* The same bits for rows cut at `cut` and positions in calls of n. */
static void check_bf16_cut(const bf16_case *c, const loam_matrix *w, const float *x, const float *y,
                           size_t n, size_t cut) {
    float *again = room(c->m * c->rows, sizeof *again);
    uint16_t *packed = room(loam_bf16_bytes(n, c->cols), 1);
    for (size_t i = 0; i < c->m; i += n) {
        const size_t m = c->m - i < n ? c->m - i : n;
        float *to = again + i * c->rows;
        loam_k.bf16_pack(x + i * c->cols, c->cols, m, c->cols, packed);
        loam_k.bf16_product(w, 0, cut, packed, m, to, c->rows, scratch);
        loam_k.bf16_product(w, cut, c->rows - cut, packed, m, to + cut, c->rows, scratch);
    }
    check_same(y, again, c->m * c->rows, "bf16 %zu x %zu cut at row %zu, %zu positions a call",
               c->rows, c->cols, cut, n);
    free(packed);
    free(again);
}

static void test_bf16_case(const bf16_case *c) {
    matrix_room r =
        make_matrix(LOAM_ELEMENT_BF16, 0, 0, LOAM_ELEMENT_F32, c->rows, c->cols, c->cols % 3);
    float *x = room(c->m * c->cols, sizeof *x), *y = room(c->m * c->rows, sizeof *y);
    uint16_t *packed = room(loam_bf16_bytes(c->m, c->cols), 1);
    for (size_t i = 0; i < c->m * c->cols; i++) x[i] = wild();
    for (size_t i = 0; i < c->m; i += 8) /* as ops packs */
        loam_k.bf16_pack(x + i * c->cols, c->cols, c->m - i < 8 ? c->m - i : 8, c->cols,
                         packed + loam_bf16_bytes(i, c->cols) / 2);
    loam_k.bf16_product(&r.w, 0, c->rows, packed, c->m, y, c->rows, scratch);
    check_bf16(c, &r.w, x, y);
    check_bf16_cut(c, &r.w, x, y, 1, c->rows / 3);
    check_bf16_cut(c, &r.w, x, y, 3, c->rows - c->rows / 5);
    check_bf16_cut(c, &r.w, x, y, 16, c->rows / 2);
    free(packed);
    free(y);
    free(x);
    free_matrix(&r);
}

/* What is not finite in float_product is not finite here, and nothing else; small numbers. */
static void test_bf16_specials(void) {
    enum { ROWS = 20, COLS = 70, M = 11 };
    matrix_room r = make_matrix(LOAM_ELEMENT_BF16, 0, 0, LOAM_ELEMENT_F32, ROWS, COLS, 0);
    float x[M * COLS], want[M * ROWS], got[M * ROWS];
    uint16_t *packed = room(loam_bf16_bytes(M, COLS), 1);
    uint32_t quiet = 0x7f800001u; /* a NaN whose upper half alone would be an infinity */
    for (size_t i = 0; i < M * COLS; i++) x[i] = uniform();
    memcpy(&x[3 * COLS + 5], &quiet, 4);
    x[5 * COLS + 69] = INFINITY;
    x[6 * COLS + 40] = -INFINITY;
    x[7 * COLS + 33] = 3.4e38f; /* rounded up, its upper half would be an infinity */
    for (size_t k = 0; k < COLS; k++) x[8 * COLS + k] = 1e-39f * uniform();
    put(LOAM_ELEMENT_BF16, r.data, 4 * COLS + 9, INFINITY);
    put(LOAM_ELEMENT_BF16, r.data, 6 * COLS + 68, NAN);
    for (size_t row = 0; row < ROWS; row++) put(LOAM_ELEMENT_BF16, r.data, row * COLS + 33, 0.5f);
    ref.float_product(&r.w, 0, ROWS, x, COLS, M, want, ROWS, scratch);
    loam_k.bf16_pack(x, COLS, M, COLS, packed);
    loam_k.bf16_product(&r.w, 0, ROWS, packed, M, got, ROWS, scratch);
    for (size_t i = 0; i < M * ROWS; i++) {
        CHECK(!isfinite(want[i]) == !isfinite(got[i]) && (!isnan(want[i]) || isnan(got[i])),
              "bf16: position %zu row %zu: %g, want %g", i / ROWS, i % ROWS, (double)got[i],
              (double)want[i]);
        CHECK(!isfinite(want[i]) || fabsf(got[i] - want[i]) <= 1e-4f + 1e-4f * fabsf(want[i]),
              "bf16: position %zu row %zu: %g, want %g", i / ROWS, i % ROWS, (double)got[i],
              (double)want[i]);
    }
    CHECK(got[5 * ROWS] == want[5 * ROWS], "an infinity times %g", (double)want[5 * ROWS]);
    free(packed);
    free_matrix(&r);
}

static void test_bf16(void) {
    static const bf16_case cases[] = {
        {1, 1, 1},     {16, 32, 8},  {17, 31, 9},   {33, 33, 1},   {15, 2, 7},
        {32, 0, 3},    {70, 300, 5}, {40, 512, 17}, {5, 513, 24},  {65, 1100, 30},
        {31, 64, 530}, {0, 8, 2},    {8, 40, 0},    {48, 2080, 2},
    };
    CHECK(!loam_k.bf16_pack == !loam_k.bf16_product, "one without the other");
    if (!loam_k.bf16_product) return;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) test_bf16_case(&cases[i]);
    test_bf16_specials();
}

/* NaN and infinities flow; a NaN in one position or row touches no other. */
static void test_specials(void) {
    enum { ROWS = 20, COLS = 64, M = 18 };
    static const size_t ms[] = {1, 9, 18}; /* the ways of one, few and many positions */
    matrix_room f = make_matrix(LOAM_ELEMENT_F32, 0, 0, LOAM_ELEMENT_F32, ROWS, COLS, 0);
    matrix_room q = make_matrix(LOAM_ELEMENT_AFFINE, 4, 32, LOAM_ELEMENT_F32, ROWS, COLS, 0);
    float x[M * COLS], want[M * ROWS], got[M * ROWS];
    for (size_t i = 0; i < M * COLS; i++) x[i] = uniform();
    x[3 * COLS + 5] = NAN;
    x[5 * COLS + 7] = INFINITY;
    put(LOAM_ELEMENT_F32, f.data, 4 * COLS + 9, INFINITY);
    put(LOAM_ELEMENT_F32, q.scales, 6 * 2, NAN);
    for (int integer = 0; integer < 2; integer++) {
        acts_room a = make_acts(&loam_k, x, M, COLS, 32);
        for (size_t i_m = 0; i_m < 3; i_m++) {
            const size_t m = ms[i_m];
            for (size_t i = 0; i < M; i += m) {
                loam_acts b = a.a;
                b.q += i * b.q_stride;
                b.d += i * b.g_stride;
                b.s += i * b.g_stride;
                if (integer) {
                    ref.integer_product(&q.w, 0, ROWS, &b, m, want, ROWS, scratch);
                    loam_k.integer_product(&q.w, 0, ROWS, &b, m, got, ROWS, scratch);
                } else {
                    ref.float_product(&f.w, 0, ROWS, x + i * COLS, COLS, m, want, ROWS, scratch);
                    loam_k.float_product(&f.w, 0, ROWS, x + i * COLS, COLS, m, got, ROWS, scratch);
                }
                check_same(want, got, m * ROWS, "specials, integer %d", integer);
                for (size_t p = 0; p < m; p++) {
                    for (size_t r = 0; r < ROWS; r++) {
                        const size_t pos = i + p;
                        const int poisoned = pos == 3 || pos == 5 || r == (integer ? 6 : 4);
                        const float v = got[p * ROWS + r];
                        CHECK(isfinite(v) || poisoned, "position %zu row %zu is %g", pos, r,
                              (double)v);
                        CHECK(!isfinite(v) || !poisoned, "position %zu row %zu is finite", pos, r);
                    }
                }
            }
        }
        free_acts(&a);
    }
    free_matrix(&f);
    free_matrix(&q);
}

static double exact_act(loam_act act, double x) {
    switch (act) {
    case LOAM_ACT_SILU: return x / (1 + exp(-x));
    case LOAM_ACT_GELU_ERF: return 0.5 * x * erfc(-x / sqrt(2.0));
    case LOAM_ACT_GELU_TANH:
        return x / (1 + exp(-2 * sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    case LOAM_ACT_RELU: return x < 0 ? 0 : x;
    case LOAM_ACT_TANH: return tanh(x);
    }
    return x;
}

static void test_activations(void) {
    enum { N = 20011 };
    static float x[N + 1], up[N], want[N], got[N];
    for (size_t i = 0; i < N; i++) {
        x[i + 1] = (float)((double)i - N / 2.0) * 30.0f / N;
        up[i] = uniform();
    }
    static const float special[] = {NAN,    INFINITY, -INFINITY, 0.0f,  -0.0f,
                                    1e-30f, -1e-30f,  88.7f,     88.8f, -87.3f,
                                    -87.4f, 1e30f,    -1e30f,    100,   -100};
    memcpy(x + 100, special, sizeof special);
    for (int act = LOAM_ACT_SILU; act <= LOAM_ACT_TANH; act++) {
        for (size_t n = 0; n < 35; n++) {
            ref.activate((loam_act)act, x + 1, n, want);
            loam_k.activate((loam_act)act, x + 1, n, got);
            check_same(want, got, n, "activation %d, n %zu", act, n);
        }
        ref.gate((loam_act)act, x + 1, up, N, want);
        loam_k.gate((loam_act)act, x + 1, up, N, got);
        check_same(want, got, N, "gate %d", act);
        ref.activate((loam_act)act, x + 1, N, want);
        loam_k.activate((loam_act)act, x + 1, N, got);
        check_same(want, got, N, "activation %d", act);
        for (size_t i = 0; i < N; i++) {
            const double v = (double)x[i + 1], exact = exact_act((loam_act)act, v);
            if (fabs(v) > 80 || v != v) continue;
            const int gelu = act == LOAM_ACT_GELU_ERF || act == LOAM_ACT_GELU_TANH;
            const double bound = (gelu ? (8 + v * v) * 2e-7 : 1e-6) * fabs(exact) + 1e-37;
            CHECK(fabs((double)got[i] - exact) <= bound, "activation %d of %.9g: %.9g, want %.9g",
                  act, v, (double)got[i], exact);
        }
    }
    ref.exp(x + 1, N, want);
    loam_k.exp(x + 1, N, got);
    check_same(want, got, N, "exp");
    for (size_t i = 0; i < N; i++) x[i + 1] = (float)((double)i / N * 176.0 - 87.3);
    ref.exp(x + 1, N, want);
    loam_k.exp(x + 1, N, got);
    check_same(want, got, N, "exp");
    for (size_t i = 0; i < N; i++) {
        const double exact = exp((double)x[i + 1]);
        CHECK(fabs((double)got[i] - exact) <= 2e-7 * exact, "exp %.9g: %.9g", (double)x[i + 1],
              (double)got[i]);
    }
}

/* Columns n apart, rows of y three more: what stands between them must stay. */
static void check_columns(size_t n) {
    enum { M_MAX = 41, N_MAX = 130 };
    static uint16_t columns[LOAM_OUTLIERS * N_MAX];
    static float x[M_MAX * LOAM_OUTLIERS], want[M_MAX * (N_MAX + 3)], got[M_MAX * (N_MAX + 3)];
    const size_t stride = n + 3;
    for (size_t m = 0; m <= M_MAX; m += m < 9 ? 3 : 8) {
        for (size_t i = 0; i < LOAM_OUTLIERS * n; i++) columns[i] = loam_f32_to_f16(uniform());
        for (size_t i = 0; i < M_MAX * LOAM_OUTLIERS; i++) x[i] = 100.0f * uniform();
        for (size_t i = 0; i < m * stride; i++) want[i] = got[i] = uniform();
        ref.add_columns(columns, n, n, x, m, want, stride);
        loam_k.add_columns(columns, n, n, x, m, got, stride);
        check_same(want, got, m * stride, "add_columns, n %zu m %zu", n, m);
    }
}

static void test_rows(void) {
    enum { MAX = 130 };
    static float x[MAX + 1], w[MAX], b[MAX], want[MAX + 9], got[MAX + 9], rows[9 * MAX + 1];
    static float table[MAX];
    uint16_t h0[MAX + 1], h1[MAX + 1];
    for (size_t n = 0; n <= MAX; n++) {
        for (size_t i = 0; i < n; i++) {
            x[i + 1] = wild();
            w[i] = uniform();
            b[i] = uniform();
            table[i] = uniform();
        }
        for (size_t i = 0; i < 9 * n; i++) rows[i + 1] = uniform();
        ref.dot_rows(rows + 1, n % 10, n, x + 1, want);
        loam_k.dot_rows(rows + 1, n % 10, n, x + 1, got);
        check_same(want, got, n % 10, "dot, n %zu", n);
        for (size_t i = 0; i < n % 10; i++) {
            double exact = 0, size = 0;
            for (size_t k = 0; k < n; k++) {
                exact += (double)rows[1 + i * n + k] * (double)x[1 + k];
                size += fabs((double)rows[1 + i * n + k] * (double)x[1 + k]);
            }
            CHECK(fabs(exact - (double)got[i]) <= (double)(n / 16 + 6) * (double)FLT_EPSILON * size,
                  "dot %g, want %g", (double)got[i], exact);
        }
        ref.rms_norm(x + 1, w, 1e-6f, n, want);
        loam_k.rms_norm(x + 1, w, 1e-6f, n, got);
        check_same(want, got, n, "rms_norm, n %zu", n);
        ref.layer_norm(x + 1, w, n % 2 ? b : NULL, 1e-6f, n, want);
        loam_k.layer_norm(x + 1, w, n % 2 ? b : NULL, 1e-6f, n, got);
        check_same(want, got, n, "layer_norm, n %zu", n);
        memcpy(want, b, n * sizeof *b);
        memcpy(got, b, n * sizeof *b);
        ref.add(x + 1, n, want);
        loam_k.add(x + 1, n, got);
        check_same(want, got, n, "add, n %zu", n);
        for (int traditional = 0; traditional < 2; traditional++) {
            memcpy(want, x + 1, n * sizeof *b);
            memcpy(got, x + 1, n * sizeof *b);
            ref.rope(want, n / 2 * 2, traditional, table);
            loam_k.rope(got, n / 2 * 2, traditional, table);
            check_same(want, got, n, "rope, n %zu", n);
        }
        check_columns(n);
        h0[n] = h1[n] = 0x1234;
        ref.f32_to_f16(x + 1, n, h0);
        loam_k.f32_to_f16(x + 1, n, h1);
        CHECK(memcmp(h0, h1, (n + 1) * 2) == 0, "%s: f16, n %zu", loam_k.name, n);
    }
}

/* Every value comes back within half a scale, which is at most a / 127 rounded up to 8 bits. */
static void test_kv_quantize(void) {
    static const size_t sizes[] = {1, 2, 7, 8, 31, 32, 33, 63, 64, 72, 80, 128, 200, 512};
    for (size_t i = 0; i < 40 * sizeof sizes / sizeof *sizes; i++) {
        const size_t n = sizes[i / 40], bytes = loam_kv_row_bytes(LOAM_KV_ROWS_INT8, n);
        float *all = room(n + 1, 4), *x = all + 1;
        unsigned char *r0 = room(bytes, 1), *r1 = room(bytes, 1);
        const float size = ldexpf(1.0f, (int)(rnd() % 250) - 125); /* of what is not denormal */
        for (size_t k = 0; k < n; k++) x[k] = i % 3 ? wild() : uniform() * size;
        if (i % 7 == 0) x[rnd() % n] = i % 2 ? INFINITY : -NAN;
        if (i % 11 == 0) x[rnd() % n] = FLT_MAX;
        ref.kv_quantize(x, n, r0);
        loam_k.kv_quantize(x, n, r1);
        CHECK(memcmp(r0, r1, bytes) == 0, "%s: keys and values in bytes, n %zu", loam_k.name, n);
        for (size_t g = 0; g < n; g += LOAM_KV_GROUP) {
            const size_t end = n - g < LOAM_KV_GROUP ? n : g + LOAM_KV_GROUP;
            double a = 0.0;
            int finite = 1;
            for (size_t k = g; k < end; k++) {
                finite &= isfinite(x[k]) != 0;
                a = fmax(a, fabs((double)x[k]));
            }
            /* 2^-14: the quotient's two roundings, at most 127 * 2^-23 before rint */
            const double bound = a < 0x1p-100 ? a : a / 254 * (1 + 0x1p-7) * (1 + 0x1p-14);
            for (size_t k = g; k < end; k++) {
                const double got = (double)loam_kv_at(r1, n, k);
                CHECK(finite ? fabs(got - (double)x[k]) <= bound : isnan(got),
                      "n %zu: %g comes back as %g, of at most %g", n, (double)x[k], got, a);
                CHECK((int8_t)r1[k] != -128, "n %zu: -128", n);
            }
        }
        free(all);
        free(r0);
        free(r1);
    }
}

typedef struct attention_case {
    size_t hd, n_rep, n_rows, first, last, limit, window;
    loam_kv_format format;
    int causal;
    float softcap;
} attention_case;

static void fill_kv_row(loam_kv_format f, unsigned char *row, size_t n, int unseen) {
    float x[LOAM_HEAD_DIM_MAX];
    for (size_t i = 0; i < n; i++) x[i] = unseen ? NAN : uniform();
    if (f == LOAM_KV_ROWS_INT8)
        ref.kv_quantize(x, n, row);
    else
        for (size_t i = 0; i < n; i++)
            put(f == LOAM_KV_ROWS_F32 ? LOAM_ELEMENT_F32 : LOAM_ELEMENT_F16, row, i, x[i]);
}

static void compare_attention(const attention_case *t) {
    const size_t keys = t->last + 2, row = loam_kv_row_bytes(t->format, t->hd),
                 stride =
                     row + (t->format == LOAM_KV_ROWS_F32 ? 20 : 10), /* the last has no more */
        positions = (t->n_rows + t->n_rep - 1) / t->n_rep;
    const size_t q_stride = t->n_rep * t->hd + 3, bytes = (keys - 1) * stride + row;
    float *q = room(positions * q_stride, sizeof *q);
    unsigned char *k = room(bytes, 1), *v = room(bytes, 1);
    for (size_t i = 0; i < positions * q_stride; i++) q[i] = uniform() * 2;
    for (size_t i = 0; i < keys; i++) {
        fill_kv_row(t->format, k + i * stride, t->hd, i >= t->last); /* what no row may touch */
        fill_kv_row(t->format, v + i * stride, t->hd, i >= t->last);
    }
    loam_attention a = {.q = q,
                        .q_stride = q_stride,
                        .n_rep = t->n_rep,
                        .n_rows = t->n_rows,
                        .k = k,
                        .v = v,
                        .kv_stride = stride,
                        .head_dim = t->hd,
                        .format = t->format,
                        .causal = t->causal,
                        .limit = t->limit,
                        .window = t->window,
                        .first = t->first,
                        .last = t->last,
                        .scale = 0.3f,
                        .softcap = t->softcap};
    float max[2][LOAM_ATTENTION_ROWS], sum[2][LOAM_ATTENTION_ROWS], y[2][LOAM_HEAD_DIM_MAX];
    float *out[2] = {room(t->n_rows * t->hd, 4), room(t->n_rows * t->hd, 4)};
    const loam_kernels *sets[2] = {&ref, &loam_k};
    for (int i = 0; i < 2; i++) {
        for (a.again = 0; a.again < 2; a.again++) { /* the scratch keeps the queries */
            for (size_t r = 0; r < t->n_rows; r++) max[i][r] = sum[i][r] = NAN;
            memset(out[i], 0xff, t->n_rows * t->hd * sizeof *out[i]);
            sets[i]->attention(&a, max[i], sum[i], out[i], scratch);
        }
    }
    check_same(max[0], max[1], t->n_rows, "attention max, hd %zu keys %zu", t->hd, t->last);
    check_same(sum[0], sum[1], t->n_rows, "attention sum, hd %zu keys %zu", t->hd, t->last);
    check_same(out[0], out[1], t->n_rows * t->hd,
               "attention, hd %zu keys %zu .. %zu rows %zu window %zu", t->hd, t->first, t->last,
               t->n_rows, t->window);
    for (size_t i = 0; i < t->n_rows * t->hd; i++)
        CHECK(out[0][i] == out[0][i], "attention saw a key it must not");
    for (size_t r = 0; r + 1 < t->n_rows; r++) {
        for (int i = 0; i < 2; i++) {
            sets[i]->attention_merge(&max[i][r], &sum[i][r], out[i] + r * t->hd, max[i][r + 1],
                                     sum[i][r + 1], out[i] + (r + 1) * t->hd, t->hd);
            sets[i]->attention_finish(out[i] + r * t->hd, sum[i][r], t->hd, y[i]);
        }
        check_same(y[0], y[1], t->hd, "attention merge");
    }
    free(q);
    free(k);
    free(v);
    free(out[0]);
    free(out[1]);
}

static void test_attention(void) {
    static const attention_case cases[] = {
        {64, 3, 3, 0, 1, 1, 0, 1, 1, 0},
        {64, 3, 3, 0, 200, 200, 0, 1, 1, 0},
        {64, 3, 30, 0, 140, 131, 0, 1, 1, 0},
        {128, 6, 30, 256, 300, 296, 0, 1, 1, 0},
        {32, 1, 32, 0, 23, 0, 0, 0, 0, 0},
        {32, 1, 7, 0, 256, 0, 0, 0, 0, 0},
        {20, 2, 17, 0, 70, 62, 5, 0, 1, 0},
        {64, 1, 32, 0, 100, 70, 40, 1, 1, 30},
        {512, 1, 5, 0, 65, 61, 0, 1, 1, 0},
        {1, 1, 1, 0, 64, 64, 0, 0, 1, 0},
        {80, 4, 32, 256, 512, 500, 128, 1, 1, 0},
        {48, 32, 32, 0, 33, 33, 0, 0, 1, 2},
        {8, 1, 20, 256, 270, 251, 0, 0, 1, 0},
        /* few rows, whose values are read where they stand: 64, 32 and 16 columns, an end each */
        {80, 1, 1, 0, 256, 256, 0, 1, 1, 0},
        {48, 2, 2, 256, 400, 400, 0, 1, 1, 0},
        {112, 1, 3, 0, 255, 253, 0, 1, 1, 0},
        {96, 1, 3, 0, 240, 238, 33, 1, 1, 0},
        /* all rows of a call; the first see none of these keys, or the last no longer */
        {64, 1, 120, 256, 512, 250, 0, 1, 1, 0},
        {32, 2, 120, 0, 256, 240, 20, 1, 1, 0},
        {128, 3, 120, 0, 256, 500, 0, 1, 1, 0},
        {256, 1, 60, 0, 250, 200, 0, 1, 1, 50},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        attention_case t = cases[i];
        compare_attention(&t);
        t.format = LOAM_KV_ROWS_INT8;
        compare_attention(&t);
    }
}

static void test_all(void) {
    test_quantize();
    test_affine();
    test_many_positions();
    test_dense();
    test_bf16();
    test_specials();
    test_activations();
    test_rows();
    test_kv_quantize();
    test_attention();
    printf("test_kernels: %s\n", loam_k.name);
}

int main(void) {
    int ran = 0;
    scratch = room(loam_kernel_scratch(4160), 1);
    loam_kernels_use_ref(&ref);
    for (int isa = LOAM_ISA_REF; isa < LOAM_ISA_BEST; isa++) {
        if (!loam_isa_available((loam_isa)isa)) continue;
        CHECK(loam_kernels_init((loam_isa)isa) == (loam_isa)isa, "instruction set %d", isa);
        CHECK(strcmp(loam_k.name, loam_cpu_isa()) == 0, "%s", loam_cpu_isa());
        ran++;
        if (test_wants_set(loam_k.name)) test_all();
    }
#ifdef LOAM_EMULATED_SET /* docs/KERNELS.md: files compiled against intrinsics in C */
    loam_kernels_init(LOAM_ISA_AVX2);
    LOAM_EMULATED_SET(&loam_k);
    test_all();
#endif
    CHECK(ran >= 1, "no instruction set");
    loam_kernels_init(LOAM_ISA_BEST);
    printf("test_kernels: best here: %s\n", loam_k.name);
    free(scratch);
    return TEST_END("test_kernels");
}
