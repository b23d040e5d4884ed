/* linear.c - products of activations and weights.
 *
 * The rows of all weights that share x stand in one line, each weight's part padded to
 * ROW_UNIT, and that line is cut over the pool:
 *
 *     | q rows ........ | k rows .. | v rows .. |        one barrier for all three
 *
 * Positions go in chunks of LOAM_CHUNK, so that scratch is bounded; a chunk's activations
 * are quantised once, for all weights and workers.
 */
#include "ops/split.h"
#include <math.h>

/* NOLINTBEGIN(readability-function-size, readability-non-const-parameter): ops.h's signatures */

enum {
    MAX_WEIGHTS = 8,
    ROW_UNIT = 16,
    PIECE = 4096,     /* columns that are copied to be quantised: a multiple of every group */
    TWICE_ROWS = 2048 /* of a product of two terms, before they are added */
};

typedef struct linear_job {
    size_t n_w, m;
    int two_terms; /* acts hold 2 m positions: first and second term of each */
    loam_matrix w[MAX_WEIGHTS];
    size_t rows[MAX_WEIGHTS];
    const float *bias[MAX_WEIGHTS];
    float *y[MAX_WEIGHTS]; /* [m, rows] of this chunk */
    const float *x;        /* [m, cols] */
    size_t cols;
    int integer[MAX_WEIGHTS];
    int bf16[MAX_WEIGHTS];
    uint16_t *packed;  /* x for bf16_product, when all weights are of bf16 */
    loam_acts acts[2]; /* one for each group size in use */
    int8_t *q;
    float *d, *s;
    size_t group;
    const uint32_t *outlier_ids; /* of all integer weights here, or NULL */
    float *outlier_x;            /* [m, LOAM_OUTLIERS] */
    const uint16_t *outliers[MAX_WEIGHTS];
    size_t outlier_stride[MAX_WEIGHTS];
    unsigned char *scratch;
    size_t scratch_stride;
    loam_act act; /* gated only */
} linear_job;

static size_t padded(size_t rows) {
    return (rows + ROW_UNIT - 1) / ROW_UNIT * ROW_UNIT;
}

static unsigned char *block_of(const linear_job *j, unsigned worker) {
    return j->scratch + (worker + 1) * j->scratch_stride - LOAM_BLOCK_BYTES;
}

/* One position: its outliers aside, the rest quantised with zeros in their places. */
static void quantize_split(const linear_job *j, const float *x, float *outliers, int8_t *q,
                           float *d, float *s, unsigned worker) {
    float *part = (float *)(void *)block_of(j, worker);
    size_t next = 0;

    for (size_t k = 0; k < j->cols; k += PIECE) {
        const size_t n = j->cols - k < PIECE ? j->cols - k : PIECE;
        memcpy(part, x + k, n * sizeof *part);
        for (; next < LOAM_OUTLIERS && j->outlier_ids[next] < k + n; next++) {
            outliers[next] = x[j->outlier_ids[next]];
            part[j->outlier_ids[next] - k] = 0.0f;
        }
        loam_k.quantize(part, n, j->group, q + k, d + k / j->group, s + k / j->group);
    }
}

/* One position as two terms: the second is what the first leaves. */
static void quantize_twice(const linear_job *j, const float *x, size_t i, unsigned worker) {
    const size_t q_stride = j->acts[0].q_stride, g_stride = j->acts[0].g_stride;
    float *rest = (float *)(void *)block_of(j, worker);
    int8_t *q = j->q + 2 * i * q_stride;
    float *d = j->d + 2 * i * g_stride, *s = j->s + 2 * i * g_stride;

    for (size_t k = 0; k < j->cols; k += PIECE) {
        const size_t n = j->cols - k < PIECE ? j->cols - k : PIECE, g = k / j->group;
        loam_k.quantize(x + k, n, j->group, q + k, d + g, s + g);
        for (size_t c = 0; c < n; c++) {
            const float first = d[g + c / j->group] * (float)q[k + c];
            rest[c] = x[k + c] - first;
        }
        loam_k.quantize(rest, n, j->group, q + q_stride + k, d + g_stride + g, s + g_stride + g);
    }
}

static void quantize_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const linear_job *j = ctx;
    const size_t q_stride = j->acts[0].q_stride, g_stride = j->acts[0].g_stride;

    for (size_t i = begin; i < end; i++) {
        const float *x = j->x + i * j->cols;
        int8_t *q = j->q + i * q_stride;
        float *d = j->d + i * g_stride, *s = j->s + i * g_stride;
        if (j->two_terms)
            quantize_twice(j, x, i, worker);
        else if (j->outlier_ids)
            quantize_split(j, x, j->outlier_x + i * LOAM_OUTLIERS, q, d, s, worker);
        else
            loam_k.quantize(x, j->cols, j->group, q, d, s);
    }
}

/* Quantise the chunk's activations with groups of `group` into the shared scratch. */
static void quantize(loam_compute *c, linear_job *j, size_t group) {
    loam_acts *a = &j->acts[0];
    a->q_stride = loam_acts_stride(j->cols);
    a->g_stride = (j->cols / 32 + 15) / 16 * 16;
    j->q = c->scratch;
    const size_t n = j->two_terms ? 2 * j->m : j->m;
    j->d = (float *)(void *)(j->q + n * a->q_stride);
    j->s = j->d + n * a->g_stride;
    a->q = j->q;
    a->d = j->d;
    a->s = j->s;
    j->outlier_x = j->s + n * a->g_stride;
    j->group = group;
    loam_split(c->pool, j->m, 4, j->m * j->cols, quantize_range, j);
}

/* y = first term + second term, for rows in blocks. */
static void multiply_twice(const linear_job *j, size_t row, size_t n, float *y, size_t stride,
                           unsigned worker) {
    void *scratch = j->scratch + worker * j->scratch_stride;
    float *terms = (float *)(void *)block_of(j, worker);

    for (size_t r = 0; r < n; r += TWICE_ROWS) {
        const size_t rows = n - r < TWICE_ROWS ? n - r : TWICE_ROWS;
        loam_k.integer_product(&j->w[0], row + r, rows, &j->acts[0], 2 * j->m, terms, rows,
                               scratch);
        for (size_t i = 0; i < j->m; i++) {
            float *to = y + i * stride + r;
            memcpy(to, terms + 2 * i * rows, rows * sizeof *to);
            loam_k.add(terms + (2 * i + 1) * rows, rows, to);
        }
    }
}

static void multiply(const linear_job *j, size_t i_w, size_t row, size_t n, float *y, size_t stride,
                     unsigned worker) {
    void *scratch = j->scratch + worker * j->scratch_stride;
    if (j->integer[i_w] && j->two_terms)
        multiply_twice(j, row, n, y, stride, worker);
    else if (j->integer[i_w])
        loam_k.integer_product(&j->w[i_w], row, n, &j->acts[0], j->m, y, stride, scratch);
    else if (j->packed)
        loam_k.bf16_product(&j->w[i_w], row, n, j->packed, j->m, y, stride, scratch);
    else
        loam_k.float_product(&j->w[i_w], row, n, j->x, j->cols, j->m, y, stride, scratch);
    if (j->integer[i_w] && j->outlier_ids)
        loam_k.add_columns(j->outliers[i_w] + row, j->outlier_stride[i_w], n, j->outlier_x, j->m, y,
                           stride);
    if (!j->bias[i_w]) return;
    for (size_t i = 0; i < j->m; i++) loam_k.add(j->bias[i_w] + row, n, y + i * stride);
}

static void linear_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const linear_job *j = ctx;
    size_t base = 0; /* of the weight's part of the line */

    for (size_t i = 0; i < j->n_w; base += padded(j->rows[i]), i++) {
        const size_t lo = begin > base ? begin - base : 0;
        size_t hi = end > base ? end - base : 0;
        if (hi > j->rows[i]) hi = j->rows[i];
        if (lo < hi) multiply(j, i, lo, hi - lo, j->y[i] + lo, j->rows[i], worker);
    }
}

static void gated_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const linear_job *j = ctx;
    float *up = (float *)(void *)block_of(j, worker); /* [m, n] */
    /* few positions: long stretches, as each begins with memory that nobody has fetched */
    const size_t room = LOAM_BLOCK_BYTES / sizeof *up / j->m / ROW_UNIT * ROW_UNIT;
    const size_t step = j->m <= 8 ? room : LOAM_ROW_BLOCK;

    for (size_t row = begin; row < end && row < j->rows[0]; row += step) {
        size_t n = end - row < step ? end - row : step;
        if (n > j->rows[0] - row) n = j->rows[0] - row;
        float *y = j->y[0] + row;
        multiply(j, 0, row, n, y, j->rows[0], worker);
        multiply(j, 1, row, n, up, n, worker);
        for (size_t i = 0; i < j->m; i++)
            loam_k.gate(j->act, y + i * j->rows[0], up + i * n, n, y + i * j->rows[0]);
    }
}

/* Tiles begin .. end of positions. */
static void pack_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const linear_job *j = ctx;
    const size_t first = begin * LOAM_BF16_POSITIONS, last = end * LOAM_BF16_POSITIONS;
    (void)worker;
    loam_k.bf16_pack(j->x + first * j->cols, j->cols, (last < j->m ? last : j->m) - first, j->cols,
                     j->packed + loam_bf16_bytes(first, j->cols) / sizeof *j->packed);
}

static void run(loam_compute *c, linear_job *j, size_t line, loam_range_fn fn) {
    size_t shared = 0, work = 0, group = 0, n_bf16 = 0;

    for (size_t i = 0; i < j->n_w; i++) {
        work += j->rows[i] * j->cols * j->m;
        n_bf16 += (size_t)j->bf16[i];
        if (j->integer[i]) group = (size_t)j->w[i].group;
    }
    if (group) {
        shared = loam_scratch_acts_bytes(j->two_terms ? 2 * j->m : j->m, j->cols);
        j->scratch = loam_scratch_workers(c, shared, j->cols);
        j->scratch_stride = loam_scratch_worker_bytes(j->cols);
        quantize(c, j, group);
    } else if (n_bf16 == j->n_w) {
        j->packed = c->scratch;
        shared = loam_scratch_bf16_bytes(j->m, j->cols);
        j->scratch = loam_scratch_workers(c, shared, j->cols);
        const size_t tiles = (j->m + LOAM_BF16_POSITIONS - 1) / LOAM_BF16_POSITIONS;
        loam_split(c->pool, tiles, 1, j->m * j->cols, pack_range, j);
    } else {
        j->scratch = loam_scratch_workers(c, 0, j->cols);
    }
    j->scratch_stride = loam_scratch_worker_bytes(j->cols);
    const size_t grain = j->m > 8 ? LOAM_ROW_BLOCK : ROW_UNIT;
    loam_split(c->pool, line, grain, work, fn, j);
}

static void set_weight(const loam_compute *c, linear_job *j, const loam_weight *w) {
    const size_t i = j->n_w++;
    LOAM_ASSERT(i < MAX_WEIGHTS && (i == 0 || w->cols == j->cols));
    j->cols = w->cols;
    j->w[i] = loam_weight_matrix(w);
    j->rows[i] = w->rows;
    j->bias[i] = w->bias;
    j->integer[i] = c->precision == LOAM_FAST && w->format == LOAM_FORMAT_AFFINE;
    j->bf16[i] =
        c->precision == LOAM_FAST && w->format == LOAM_FORMAT_BF16 && loam_k.bf16_product != NULL;
    if (!j->integer[i]) return;
    j->two_terms = w->two_terms;
    LOAM_ASSERT(!w->two_terms || !w->outlier_ids);
    j->outlier_ids = w->outlier_ids;
    j->outliers[i] = w->outliers;
    j->outlier_stride[i] = w->outlier_stride;
}

/* Weights begin .. end of the list agree in what their activations look like. */
static int same_activations(const loam_compute *c, const loam_weight *a, const loam_weight *b) {
    if (c->precision != LOAM_FAST) return 1;
    const int integer_a = a->format == LOAM_FORMAT_AFFINE,
              integer_b = b->format == LOAM_FORMAT_AFFINE;
    return !integer_a || !integer_b ||
           (a->group == b->group && a->outlier_ids == b->outlier_ids && !a->two_terms &&
            !b->two_terms);
}

void loam_linear(loam_compute *c, const loam_weight *const *w, size_t n_w, const float *x, size_t m,
                 float *const *y) {
    loam_kernels_ready();
    for (size_t first = 0; first < n_w;) {
        linear_job j = {0};
        size_t line = 0, end = first;
        for (; end < n_w && end - first < MAX_WEIGHTS; end++) {
            int fits = 1;
            for (size_t i = first; i < end; i++) fits &= same_activations(c, w[i], w[end]);
            if (!fits) break;
            set_weight(c, &j, w[end]);
            line += padded(w[end]->rows);
        }
        for (size_t done = 0; done < m; done += j.m) {
            const size_t most = j.two_terms ? LOAM_TWICE_CHUNK : LOAM_CHUNK;
            j.m = m - done < most ? m - done : most;
            j.x = x + done * j.cols;
            for (size_t i = 0; i < j.n_w; i++) j.y[i] = y[first + i] + done * j.rows[i];
            run(c, &j, line, linear_range);
        }
        first = end;
    }
}

loam_act loam_act_of(loam_activation act) {
    static const loam_act map[] = {
        [LOAM_SILU] = LOAM_ACT_SILU,           [LOAM_GELU_ERF] = LOAM_ACT_GELU_ERF,
        [LOAM_GELU_TANH] = LOAM_ACT_GELU_TANH, [LOAM_RELU] = LOAM_ACT_RELU,
        [LOAM_TANH] = LOAM_ACT_TANH,
    };
    return map[act];
}

void loam_linear_gated(loam_compute *c, const loam_weight *gate, const loam_weight *up,
                       loam_activation act, const float *x, size_t m, float *y) {
    LOAM_ASSERT(gate->rows == up->rows && gate->cols == up->cols);
    LOAM_ASSERT(same_activations(c, gate, up));
    loam_kernels_ready();
    linear_job j = {.act = loam_act_of(act)};
    set_weight(c, &j, gate);
    set_weight(c, &j, up);
    for (size_t done = 0; done < m; done += j.m) {
        j.m = m - done < LOAM_CHUNK ? m - done : LOAM_CHUNK;
        j.x = x + done * j.cols;
        j.y[0] = y + done * j.rows[0];
        run(c, &j, padded(gate->rows), gated_range);
    }
}

void loam_activate(loam_compute *c, loam_activation act, float *x, size_t n) {
    (void)c;
    loam_kernels_ready();
    loam_k.activate(loam_act_of(act), x, n, x);
}

typedef struct gate_job {
    loam_act act;
    const float *gate, *up;
    size_t n, stride;
    float *y;
} gate_job;

static void gate_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const gate_job *j = ctx;
    (void)worker;
    for (size_t i = begin; i < end; i++)
        loam_k.gate(j->act, j->gate + i * j->stride, j->up + i * j->stride, j->n, j->y + i * j->n);
}

void loam_gate(loam_compute *c, loam_activation act, const float *gate, const float *up, size_t m,
               size_t n, size_t stride, float *y) {
    loam_kernels_ready();
    gate_job j = {loam_act_of(act), gate, up, n, stride, y};
    loam_split(c->pool, m, 1, m * n * 8, gate_range, &j);
}

/* NOLINTEND(readability-function-size, readability-non-const-parameter) */
