/* test_ops.c - operations against plain double arithmetic, and their promise that results do
 * not depend on threads, on how positions are cut into calls, or on the instruction set. */
#include "kernels/kernels.h"
#include "ops/ops.h"
#include "test.h"

static uint64_t rng_state = 0x9e3779b97f4a7c15u;

static uint32_t rnd(void) {
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (uint32_t)(rng_state >> 32);
}

static float uniform(void) {
    return (float)rnd() / 2147483648.0f - 1.0f;
}

static void fill(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = uniform();
}

static void *room(size_t n, size_t size) {
    void *p = calloc(n ? n : 1, size);
    if (!p) exit(2);
    return p;
}

/* What y must be, over several pools and cuts: the results of the first run. */
enum { N_POOLS = 3 };
static loam_compute computes[N_POOLS];
static const unsigned pool_sizes[N_POOLS] = {1, 2, 5};

static void open_pools(void) {
    loam_err err = {0};
    for (int i = 0; i < N_POOLS; i++) {
        CHECK(loam_pool_new(&computes[i].pool, pool_sizes[i], &err) == LOAM_OK, "%s", err.msg);
        CHECK(loam_compute_reserve(&computes[i], 600, 2048, &err) == LOAM_OK, "%s", err.msg);
    }
}

static void close_pools(void) {
    for (int i = 0; i < N_POOLS; i++) {
        loam_compute_deinit(&computes[i]);
        loam_pool_free(computes[i].pool);
    }
}

typedef struct weight_room {
    loam_weight w;
    unsigned char *data, *scales, *biases;
    float *bias;
} weight_room;

static float f16_scale(void) {
    return loam_f16_to_f32(loam_f32_to_f16(uniform() * 0.1f));
}

static void put_scalar(loam_dtype d, unsigned char *p, size_t i, float v) {
    if (d == LOAM_F32) {
        memcpy(p + 4 * i, &v, 4);
        return;
    }
    const uint16_t h = d == LOAM_F16 ? loam_f32_to_f16(v) : loam_f32_to_bf16(v);
    memcpy(p + 2 * i, &h, 2);
}

/* A random matrix at an odd address. */
static weight_room make_weight(loam_weight_format f, int bits, int group, loam_dtype scale,
                               size_t rows, size_t cols, int with_bias) {
    weight_room r = {.w = {.format = f,
                           .bits = bits,
                           .group = group,
                           .scale_dtype = scale,
                           .rows = rows,
                           .cols = cols}};
    const size_t bytes = rows * loam_weight_row_bytes(&r.w);
    r.data = room(bytes + 1, 1);
    if (f == LOAM_FORMAT_AFFINE) {
        const size_t n = rows * (cols / (size_t)group);
        for (size_t i = 0; i < bytes; i++) r.data[1 + i] = (unsigned char)rnd();
        r.scales = room(n * 4 + 1, 1);
        r.biases = room(n * 4 + 1, 1);
        for (size_t i = 0; i < n; i++) {
            put_scalar(scale, r.scales + 1, i, f16_scale());
            put_scalar(scale, r.biases + 1, i, uniform());
        }
    } else {
        const loam_dtype d = f == LOAM_FORMAT_F32   ? LOAM_F32
                             : f == LOAM_FORMAT_F16 ? LOAM_F16
                                                    : LOAM_BF16;
        for (size_t i = 0; i < rows * cols; i++) put_scalar(d, r.data + 1, i, uniform());
    }
    r.w.data = r.data + 1;
    r.w.scales = r.scales + 1;
    r.w.biases = r.biases + 1;
    if (with_bias) {
        r.bias = room(rows, sizeof *r.bias);
        fill(r.bias, rows);
        r.w.bias = r.bias;
    }
    return r;
}

static void free_weight(weight_room *r) {
    free(r->data);
    free(r->scales);
    free(r->biases);
    free(r->bias);
}

static int is_outlier(const loam_weight *w, size_t k) {
    for (size_t j = 0; w->outlier_ids && j < LOAM_OUTLIERS; j++)
        if (w->outlier_ids[j] == k) return 1;
    return 0;
}

/* The product in double from dequantised rows; `unit` adds the error bound of a term. */
static void check_linear(const loam_weight *w, loam_precision precision, const float *x, size_t m,
                         const float *y) {
    float *row = room(w->cols, sizeof *row);
    for (size_t r = 0; r < w->rows; r++) {
        loam_weight_row(w, r, row);
        for (size_t i = 0; i < m; i++) {
            double sum = w->bias ? (double)w->bias[r] : 0.0, size = fabs(sum), quant = 0.0;
            const size_t group = w->format == LOAM_FORMAT_AFFINE ? (size_t)w->group : w->cols;
            for (size_t k = 0; k < w->cols; k += group) {
                double largest = 0.0, weights = 0.0;
                for (size_t l = k; l < k + group && l < w->cols; l++) {
                    const double xv = (double)x[i * w->cols + l];
                    sum += (double)row[l] * xv;
                    size += fabs((double)row[l] * xv);
                    if (is_outlier(w, l)) { /* its weight is rounded to f16 */
                        quant += fabs((double)row[l] * xv) * 0x1p-11 + fabs(xv) * 0x1p-24;
                        continue;
                    }
                    weights += fabs((double)row[l]);
                    largest = fmax(largest, fabs(xv));
                }
                /* the second term's step is 1/254 of the first's */
                quant += weights * largest * (w->two_terms ? 0.2502 / 127 / 127 : 0.5001 / 127);
            }
            const int fast = precision == LOAM_FAST && w->format == LOAM_FORMAT_AFFINE;
            /* fast: every activation is off by at most half a step; the scale and bias terms
             * are each larger than their sum, hence the factor on the rounding part */
            /* a unit for bf16: activations of sixteen bits */
            const int halves = precision == LOAM_FAST && w->format == LOAM_FORMAT_BF16 &&
                               loam_k.bf16_product != NULL;
            const double bound = ((double)w->cols + 8) * 1.2e-7 * size * (fast ? 40 : 2) +
                                 (fast ? quant : 0.0) + (halves ? size * 0x1p-16 : 0.0) + 1e-30;
            const double got = (double)y[i * w->rows + r];
            CHECK(fabs(got - sum) <= bound, "format %d bits %d row %zu pos %zu: %g, want %g (%g)",
                  (int)w->format, w->bits, r, i, got, sum, bound);
        }
    }
    free(row);
}

/* Root of the mean square that fast is off from exact. */
static double mean_error(const loam_weight *w, const float *x, size_t m) {
    float *y = room(m * w->rows, sizeof *y), *exact = room(m * w->rows, sizeof *y);
    double squares = 0.0;
    computes[0].precision = LOAM_FAST;
    loam_linear(&computes[0], &w, 1, x, m, &y);
    computes[0].precision = LOAM_EXACT;
    loam_linear(&computes[0], &w, 1, x, m, &exact);
    for (size_t i = 0; i < m * w->rows; i++) {
        const double off = (double)y[i] - (double)exact[i];
        squares += off * off;
    }
    free(y);
    free(exact);
    return sqrt(squares / (double)(m * w->rows));
}

static void test_linear(const loam_weight *w, loam_precision precision, size_t m) {
    float *x = room(m * w->cols, sizeof *x), *y = room(m * w->rows, sizeof *y);
    float *again = room(m * w->rows, sizeof *again);
    fill(x, m * w->cols);
    for (int p = 0; p < N_POOLS; p++) {
        loam_compute *c = &computes[p];
        c->precision = precision;
        float *out = p == 0 ? y : again;
        loam_linear(c, &w, 1, x, m, &out);
        if (p == 0) check_linear(w, precision, x, m, y);
        CHECK(memcmp(y, out, m * w->rows * sizeof *y) == 0, "%u threads differ", pool_sizes[p]);
        /* cut into calls of 1, 2, 3, ... positions */
        for (size_t i = 0, n = 1; i < m; i += n, n++) {
            if (n > m - i) n = m - i;
            float *part = again + i * w->rows;
            loam_linear(c, &w, 1, x + i * w->cols, n, &part);
        }
        CHECK(memcmp(y, again, m * w->rows * sizeof *y) == 0, "cut calls differ, bits %d m %zu",
              w->bits, m);
    }
    free(x);
    free(y);
    free(again);
}

static void test_linears(void) {
    static const int bits[] = {2, 3, 4, 5, 6, 8}, groups[] = {32, 64, 128};
    static const loam_dtype scales[] = {LOAM_F16, LOAM_BF16, LOAM_F32};
    int turn = 0;
    for (size_t b = 0; b < 6; b++) {
        for (size_t g = 0; g < 3; g++) {
            for (int fast = 0; fast < 2; fast++, turn++) {
                weight_room r =
                    make_weight(LOAM_FORMAT_AFFINE, bits[b], groups[g], scales[turn % 3],
                                37 + (size_t)turn, (size_t)groups[g] * 5, turn % 2);
                test_linear(&r.w, fast ? LOAM_FAST : LOAM_EXACT, 1 + (size_t)turn % 21);
                free_weight(&r);
            }
        }
    }
    for (int f = LOAM_FORMAT_F32; f <= LOAM_FORMAT_BF16; f++) {
        for (size_t m = 0; m < 22; m += 7) {
            weight_room r = make_weight((loam_weight_format)f, 0, 0, LOAM_F32, 53, 301, 1);
            test_linear(&r.w, LOAM_EXACT, m);
            test_linear(&r.w, LOAM_FAST, m);
            free_weight(&r);
        }
    }
}

/* Several weights at once, the gate and the greedy head, against plain calls. */
/* Columns that are multiplied apart: every 40th, so that pieces and groups are met. */
static void add_outliers(loam_weight *w, uint32_t *ids, uint16_t *columns) {
    const size_t step = w->cols / LOAM_OUTLIERS;
    for (size_t j = 0; j < LOAM_OUTLIERS; j++) {
        ids[j] = (uint32_t)(j * step + rnd() % step);
    }
    float *row = room(w->cols, sizeof *row), *some = room(w->rows * LOAM_OUTLIERS, sizeof *some);
    loam_weight_columns(w, 0, w->rows, ids, LOAM_OUTLIERS, some);
    for (size_t r = 0; r < w->rows; r++) {
        loam_weight_row(w, r, row);
        for (size_t j = 0; j < LOAM_OUTLIERS; j++) {
            CHECK(some[j * w->rows + r] == row[ids[j]], "row %zu column %u: %.9g, not %.9g", r,
                  ids[j], (double)some[j * w->rows + r], (double)row[ids[j]]);
            columns[j * w->rows + r] = loam_f32_to_f16(row[ids[j]]);
        }
    }
    free(row);
    free(some);
    w->outlier_ids = ids;
    w->outliers = columns;
    w->outlier_stride = w->rows;
}

static void test_precise(int bits, int group, size_t groups, size_t m) {
    weight_room r =
        make_weight(LOAM_FORMAT_AFFINE, bits, group, LOAM_F16, 69, groups * (size_t)group, 1);
    uint32_t ids[LOAM_OUTLIERS];
    uint16_t *columns = room(LOAM_OUTLIERS * r.w.rows, sizeof *columns);
    float *x = room(m * r.w.cols, sizeof *x);

    fill(x, m * r.w.cols);
    const double one = mean_error(&r.w, x, m);
    r.w.two_terms = 1;
    const double two = mean_error(&r.w, x, m);
    CHECK(two < one / 30, "bits %d group %d: two terms off by %g, one by %g", bits, group, two,
          one);
    test_linear(&r.w, LOAM_FAST, m);
    r.w.two_terms = 0;
    add_outliers(&r.w, ids, columns);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < LOAM_OUTLIERS; j++) x[i * r.w.cols + ids[j]] *= 50.0f;
    const double apart = mean_error(&r.w, x, m);
    r.w.outlier_ids = NULL;
    const double together = mean_error(&r.w, x, m);
    CHECK(apart < together / 3, "bits %d group %d: outliers apart %g, together %g", bits, group,
          apart, together);
    r.w.outlier_ids = ids;
    test_linear(&r.w, LOAM_FAST, m);
    free(x);
    free(columns);
    free_weight(&r);
}

static void test_fused(void) {
    enum { M = 9, COLS = 192 };
    weight_room q = make_weight(LOAM_FORMAT_AFFINE, 4, 64, LOAM_BF16, 70, COLS, 1);
    weight_room k = make_weight(LOAM_FORMAT_AFFINE, 8, 32, LOAM_F16, 30, COLS, 0);
    weight_room v = make_weight(LOAM_FORMAT_F32, 0, 0, LOAM_F32, 70, COLS, 0);
    const loam_weight *all[] = {&q.w, &k.w, &v.w, &q.w};
    static float x[M * COLS], y[4][M * 70], z[M * 70], up[M * 70];
    float *outs[] = {y[0], y[1], y[2], y[3]};
    loam_compute *c = &computes[1];

    fill(x, M * COLS);
    c->precision = LOAM_FAST;
    loam_linear(c, all, 4, x, M, outs);
    for (int i = 0; i < 4; i++) {
        float *out = z;
        loam_linear(c, &all[i], 1, x, M, &out);
        CHECK(memcmp(z, y[i], M * all[i]->rows * sizeof *z) == 0, "weight %d of several", i);
    }
    float *gated = y[1]; /* 30 rows do not fit 70: use y[3] */
    gated = y[3];
    loam_linear_gated(c, &q.w, &q.w, LOAM_SILU, x, M, gated);
    memcpy(up, y[0], sizeof up);
    loam_gate(c, LOAM_SILU, up, y[0], M, 70, 70, z);
    CHECK(memcmp(z, gated, sizeof z) == 0, "gated product");
    free_weight(&q);
    free_weight(&k);
    free_weight(&v);
}

typedef struct attention_case {
    size_t n_heads, n_kv, head_dim, n, window;
    float softcap;
    loam_kv_format format;
} attention_case;

/* One query row in double. */
static void attend_plain(const attention_case *t, const float *q, const float *k, const float *v,
                         size_t stride, size_t begin, size_t end, float scale, double *out) {
    double total = 0.0, largest = -1e300;
    double *p = room(end, sizeof *p);
    for (size_t j = begin; j < end; j++) {
        double s = 0.0;
        for (size_t d = 0; d < t->head_dim; d++) s += (double)q[d] * (double)k[j * stride + d];
        s *= (double)scale;
        if (t->softcap > 0) s = (double)t->softcap * tanh(s / (double)t->softcap);
        p[j] = s;
        largest = fmax(largest, s);
    }
    for (size_t d = 0; d < t->head_dim; d++) out[d] = 0.0;
    for (size_t j = begin; j < end; j++) {
        const double e = exp(p[j] - largest);
        total += e;
        for (size_t d = 0; d < t->head_dim; d++) out[d] += e * (double)v[j * stride + d];
    }
    for (size_t d = 0; d < t->head_dim; d++) out[d] /= total;
    free(p);
}

static float round_f16(float x) {
    return loam_f16_to_f32(loam_f32_to_f16(x));
}

/* The cache's rows in bytes become what they stand for; returns the largest change there can be:
 * half a scale of a / 127, which is rounded up to 8 bits. */
static double read_back(const loam_kv *kv, const void *base, size_t n, float *x) {
    double largest = 0.0;
    for (size_t i = 0; i < n * kv->n_kv_heads; i++) {
        const size_t h = i % kv->n_kv_heads, at = h * kv->stride + i / kv->n_kv_heads;
        const unsigned char *row =
            (const unsigned char *)base + at * loam_kv_row_bytes(kv->format, kv->head_dim);
        for (size_t d = 0; d < kv->head_dim; d++) {
            largest = fmax(largest, fabs((double)x[i * kv->head_dim + d]));
            x[i * kv->head_dim + d] = loam_kv_at(row, kv->head_dim, d);
        }
    }
    return largest / 254 * (1 + 0x1p-7) * (1 + 0x1p-14);
}

/* How far attention over a cache in bytes may be from attention over what was stored: values off
 * by v_change; scores by s = |q|_1 * k_change * scale, so weights by a factor within e^(+-2s). */
static double bytes_bound(const attention_case *t, const float *q, double k_change, double v_change,
                          double v_max, float scale) {
    double sum = 0.0;
    for (size_t d = 0; d < t->head_dim; d++) sum += fabs((double)q[d]);
    return v_change + v_max * (exp(2 * sum * k_change * (double)scale) - 1);
}

static void test_causal(const attention_case *t) {
    const size_t n = t->n, hd = t->head_dim, q_row = t->n_heads * hd, kv_row = t->n_kv * hd;
    float *q = room(n * q_row, sizeof *q), *k = room(n * kv_row, sizeof *k);
    float *v = room(n * kv_row, sizeof *v), *y = room(n * q_row, sizeof *y);
    float *again = room(n * q_row, sizeof *again);
    double *want = room(hd, sizeof *want);
    loam_kv kv = {.format = t->format, .n_kv_heads = t->n_kv, .head_dim = hd, .stride = n + 3};
    const loam_attention_params p = {.n_heads = t->n_heads,
                                     .scale = 2.0f / sqrtf((float)hd),
                                     .softcap = t->softcap,
                                     .window = t->window};
    kv.k = room(kv.stride * kv_row, 4);
    kv.v = room(kv.stride * kv_row, 4);
    fill(q, n * q_row);
    for (size_t i = 0; i < n * kv_row; i++) {
        k[i] = round_f16(uniform() * 3);
        v[i] = round_f16(uniform());
    }
    loam_kv_store(&computes[0], &kv, k, v, n, 0);
    loam_attention_causal(&computes[0], &kv, &p, q, n, 0, y);
    float *k0 = room(n * kv_row, sizeof *k0), *v0 = room(n * kv_row, sizeof *v0);
    memcpy(k0, k, n * kv_row * sizeof *k);
    memcpy(v0, v, n * kv_row * sizeof *v);
    const int bytes = t->format == LOAM_KV_ROWS_INT8;
    const double k_change = bytes ? read_back(&kv, kv.k, n, k) : 0;
    const double v_change = bytes ? read_back(&kv, kv.v, n, v) : 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t h = 0; h < t->n_heads; h++) {
            const size_t at = h / (t->n_heads / t->n_kv) * hd,
                         begin = t->window && i + 1 > t->window ? i + 1 - t->window : 0;
            attend_plain(t, q + i * q_row + h * hd, k + at, v + at, kv_row, begin, i + 1, p.scale,
                         want);
            for (size_t d = 0; d < hd; d++) {
                const double got = (double)y[i * q_row + h * hd + d];
                CHECK(fabs(got - want[d]) <= 2e-6, "n %zu row %zu head %zu: %.9g, want %.9g", n, i,
                      h, got, want[d]);
            }
            if (!bytes) continue;
            const double bound =
                bytes_bound(t, q + i * q_row + h * hd, k_change, v_change, 1.0, p.scale) + 2e-6;
            attend_plain(t, q + i * q_row + h * hd, k0 + at, v0 + at, kv_row, begin, i + 1, p.scale,
                         want);
            for (size_t d = 0; d < hd; d++) {
                const double got = (double)y[i * q_row + h * hd + d];
                CHECK(fabs(got - want[d]) <= bound, "in bytes, n %zu: %.9g, want %.9g +- %g", n,
                      got, want[d], bound);
            }
        }
    }
    for (int pool = 0; pool < N_POOLS; pool++) {
        for (size_t i = 0, m = 1; i < n; i += m, m += 1 + m / 2) {
            if (m > n - i) m = n - i;
            loam_attention_causal(&computes[pool], &kv, &p, q + i * q_row, m, i, again + i * q_row);
        }
        CHECK(memcmp(y, again, n * q_row * sizeof *y) == 0, "n %zu: chunks, %u threads", n,
              pool_sizes[pool]);
        for (size_t i = 0; i < n; i += i < 300 ? 37 : 1)
            loam_attention_causal(&computes[pool], &kv, &p, q + i * q_row, 1, i, again + i * q_row);
        CHECK(memcmp(y, again, n * q_row * sizeof *y) == 0, "n %zu: one by one, %u threads", n,
              pool_sizes[pool]);
    }
    free(q);
    free(k);
    free(v);
    free(k0);
    free(v0);
    free(y);
    free(again);
    free(want);
    free(kv.k);
    free(kv.v);
}

/* A context so long that the states of its segments need several rounds of scratch. */
static void test_long_context(void) {
    enum { HEADS = 64, HD = 512, N = 4000 };
    loam_kv kv = {.format = LOAM_KV_ROWS_F16, .n_kv_heads = 1, .head_dim = HD, .stride = N};
    const loam_attention_params p = {.n_heads = HEADS, .scale = 0.05f};
    uint16_t *k = room((size_t)N * HD, sizeof *k), *v = room((size_t)N * HD, sizeof *v);
    float *q = room((size_t)HEADS * HD, sizeof *q), *y = room((size_t)HEADS * HD, sizeof *y);
    float *again = room((size_t)HEADS * HD, sizeof *again);

    kv.k = k;
    kv.v = v;
    for (size_t i = 0; i < (size_t)N * HD; i++) {
        k[i] = (uint16_t)(0x3000 | (rnd() & 0x8fff)); /* 0.125 .. 1 */
        v[i] = (uint16_t)(0x3000 | (rnd() & 0x8fff));
    }
    fill(q, (size_t)HEADS * HD);
    loam_attention_causal(&computes[0], &kv, &p, q, 1, N - 1, y);
    loam_attention_causal(&computes[1], &kv, &p, q, 1, N - 1, again);
    CHECK(memcmp(y, again, HEADS * HD * sizeof *y) == 0, "long context: threads differ");
    free(k);
    free(v);
    free(q);
    free(y);
    free(again);
}

static void test_packed(void) {
    enum { HEADS = 3, HD = 20, STRIDE = 3 * HEADS * HD + 5 };
    static const size_t starts[] = {0, 1, 1, 34, 100, 400};
    const size_t n_seq = sizeof starts / sizeof *starts - 1, total = starts[n_seq];
    const attention_case t = {.head_dim = HD};
    float *x = room(total * STRIDE, sizeof *x), *y = room(total * HEADS * HD, sizeof *y);
    float *again = room(total * HEADS * HD, sizeof *again);
    double want[HD];

    fill(x, total * STRIDE);
    for (int pool = 0; pool < N_POOLS; pool++) {
        float *out = pool ? again : y;
        loam_attention_packed(&computes[pool], x, x + HEADS * HD, x + 2 * HEADS * HD, STRIDE,
                              starts, n_seq, HEADS, HD, 0.7f, out);
        CHECK(memcmp(y, out, total * HEADS * HD * sizeof *y) == 0, "packed: %u threads",
              pool_sizes[pool]);
    }
    for (size_t s = 0; s < n_seq; s++) {
        for (size_t i = starts[s]; i < starts[s + 1]; i++) {
            for (size_t h = 0; h < HEADS; h++) {
                const float *base = x + starts[s] * STRIDE + h * HD;
                attend_plain(&t, x + i * STRIDE + h * HD, base + HEADS * HD, base + 2 * HEADS * HD,
                             STRIDE, 0, starts[s + 1] - starts[s], 0.7f, want);
                for (size_t d = 0; d < HD; d++) {
                    const double got = (double)y[(i * HEADS + h) * HD + d];
                    CHECK(fabs(got - want[d]) <= 1e-6, "packed row %zu: %.9g, want %.9g", i, got,
                          want[d]);
                }
            }
        }
    }
    free(x);
    free(y);
    free(again);
}

static void test_norms(void) {
    enum { M = 5, N = 77 };
    float x[M * N], w[N], b[N], y[M * N];
    fill(x, M * N);
    fill(w, N);
    fill(b, N);
    for (int layer = 0; layer < 2; layer++) {
        if (layer)
            loam_layer_norm(&computes[1], x, w, b, 1e-5f, M, N, y);
        else
            loam_rms_norm(&computes[1], x, w, 1e-5f, M, N, y);
        for (size_t i = 0; i < M; i++) {
            double mean = 0, var = 0;
            for (size_t k = 0; layer && k < N; k++) mean += (double)x[i * N + k] / N;
            for (size_t k = 0; k < N; k++) var += pow((double)x[i * N + k] - mean, 2) / N;
            for (size_t k = 0; k < N; k++) {
                const double want =
                    ((double)x[i * N + k] - mean) / sqrt(var + 1e-5) * (double)w[k] +
                    (layer ? (double)b[k] : 0.0);
                CHECK(fabs((double)y[i * N + k] - want) <= 2e-6, "norm %d: %g, want %g", layer,
                      (double)y[i * N + k], want);
            }
        }
    }
}

static void test_rope(void) {
    enum { M = 3, HEADS = 2, HD = 22, ROT = 18, POS = 4 };
    float table[(M + POS) * ROT], x[M * HEADS * HD], y[M * HEADS * HD];
    for (size_t p = 0; p < M + POS; p++) {
        for (size_t i = 0; i < ROT / 2; i++) {
            table[p * ROT + 2 * i] = cosf((float)p * (float)(i + 1) * 0.1f);
            table[p * ROT + 2 * i + 1] = sinf((float)p * (float)(i + 1) * 0.1f);
        }
    }
    for (int traditional = 0; traditional < 2; traditional++) {
        fill(x, M * HEADS * HD);
        memcpy(y, x, sizeof y);
        loam_rope(&computes[1], y, M, HEADS, HD, ROT, traditional, table, POS);
        for (size_t i = 0; i < M * HEADS; i++) {
            const float *a = x + i * HD, *b = y + i * HD;
            for (size_t r = 0; r < ROT / 2; r++) {
                const size_t i0 = traditional ? 2 * r : r,
                             i1 = traditional ? 2 * r + 1 : r + ROT / 2;
                const double angle = (double)(POS + i / HEADS) * (double)(r + 1) * 0.1;
                const double want = (double)a[i0] * cos(angle) - (double)a[i1] * sin(angle);
                const double want1 = (double)a[i1] * cos(angle) + (double)a[i0] * sin(angle);
                CHECK(fabs((double)b[i0] - want) <= 2e-6, "rope %d: %g, want %g", traditional,
                      (double)b[i0], want);
                CHECK(fabs((double)b[i1] - want1) <= 2e-6, "rope %d: %g, want %g", traditional,
                      (double)b[i1], want1);
            }
            for (size_t r = ROT; r < HD; r++) CHECK(a[r] == b[r], "rope touched %zu", r);
        }
    }
}

static void test_all(void) {
    static const attention_case cases[] = {
        {4, 2, 32, 70, 0, 0, 1},    {3, 1, 64, 300, 0, 0, 1},   {6, 2, 24, 530, 0, 0, 0},
        {2, 2, 16, 330, 100, 0, 1}, {4, 2, 16, 700, 300, 0, 1}, {4, 1, 48, 66, 7, 20.0f, 0},
        {4, 2, 32, 70, 0, 0, 2},    {3, 1, 64, 300, 0, 0, 2},   {4, 1, 50, 330, 100, 20.0f, 2},
    };
    test_linears();
    for (size_t m = 1; m < 30; m += 9) {
        test_precise(4, 32, 16, m);
        test_precise(8, 64, 7, m);
    }
    test_precise(4, 128, 33, 3);                                       /* more than one piece */
    for (int bits = 3; bits < 7; bits++) test_precise(bits, 64, 8, 2); /* columns across bytes */
    test_fused();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) test_causal(&cases[i]);
    if (loam_k.isa != LOAM_ISA_REF) test_long_context(); /* slow in the reference */
    test_packed();
    test_norms();
    test_rope();
}

int main(void) {
    open_pools();
    for (int isa = LOAM_ISA_REF; isa < LOAM_ISA_BEST; isa++) {
        if (!loam_isa_available((loam_isa)isa)) continue;
        loam_kernels_init((loam_isa)isa);
        if (test_wants_set(loam_k.name)) test_all();
    }
#ifdef LOAM_EMULATED_SET /* docs/KERNELS.md: files compiled against intrinsics in C */
    loam_kernels_init(LOAM_ISA_AVX2);
    LOAM_EMULATED_SET(&loam_k);
    close_pools();
    open_pools(); /* their scratch depends on the set */
    test_all();
#endif
    loam_kernels_init(LOAM_ISA_BEST);
    close_pools();
    return TEST_END("test_ops");
}
