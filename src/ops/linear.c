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

enum { MAX_WEIGHTS = 8, ROW_UNIT = 16, MAX_WORKERS = 256 };

typedef struct linear_job {
    size_t n_w, m;
    loam_matrix w[MAX_WEIGHTS];
    size_t rows[MAX_WEIGHTS];
    const float *bias[MAX_WEIGHTS];
    float *y[MAX_WEIGHTS]; /* [m, rows] of this chunk */
    const float *x;        /* [m, cols] */
    size_t cols;
    int integer[MAX_WEIGHTS];
    loam_acts acts[2]; /* one for each group size in use */
    int8_t *q;
    float *d, *s;
    size_t group;
    unsigned char *scratch;
    size_t scratch_stride;
    loam_act act; /* gated only */
    /* argmax */
    struct best {
        float value;
        size_t id;
        char pad[48];
    } * best;
} linear_job;

static size_t padded(size_t rows) {
    return (rows + ROW_UNIT - 1) / ROW_UNIT * ROW_UNIT;
}

static void quantize_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const linear_job *j = ctx;
    const size_t q_stride = j->acts[0].q_stride, g_stride = j->acts[0].g_stride;

    (void)worker;
    for (size_t i = begin; i < end; i++)
        loam_k.quantize(j->x + i * j->cols, j->cols, j->group, j->q + i * q_stride,
                        j->d + i * g_stride, j->s + i * g_stride);
}

/* Quantise the chunk's activations with groups of `group` into the shared scratch. */
static void quantize(loam_compute *c, linear_job *j, size_t group) {
    loam_acts *a = &j->acts[0];
    a->q_stride = loam_acts_stride(j->cols);
    a->g_stride = (j->cols / 32 + 15) / 16 * 16;
    j->q = c->scratch;
    j->d = (float *)(void *)(j->q + j->m * a->q_stride);
    j->s = j->d + j->m * a->g_stride;
    a->q = j->q;
    a->d = j->d;
    a->s = j->s;
    j->group = group;
    loam_split(c->pool, j->m, 4, j->m * j->cols, quantize_range, j);
}

static void multiply(const linear_job *j, size_t i_w, size_t row, size_t n, float *y, size_t stride,
                     unsigned worker) {
    void *scratch = j->scratch + worker * j->scratch_stride;
    if (j->integer[i_w])
        loam_k.integer_product(&j->w[i_w], row, n, &j->acts[0], j->m, y, stride, scratch);
    else
        loam_k.float_product(&j->w[i_w], row, n, j->x, j->cols, j->m, y, stride, scratch);
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

static unsigned char *block_of(const linear_job *j, unsigned worker) {
    return j->scratch + (worker + 1) * j->scratch_stride - LOAM_BLOCK_BYTES;
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

static void argmax_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const linear_job *j = ctx;
    float *y = (float *)(void *)block_of(j, worker);
    const size_t room = 4096; /* of LOAM_BLOCK_BYTES / 4 */
    struct best *best = &j->best[worker];

    for (size_t row = begin; row < end && row < j->rows[0]; row += room) {
        size_t n = end - row < room ? end - row : room;
        if (n > j->rows[0] - row) n = j->rows[0] - row;
        multiply(j, 0, row, n, y, n, worker);
        for (size_t r = 0; r < n; r++) {
            if (y[r] > best->value || (y[r] == best->value && row + r < best->id)) {
                best->value = y[r];
                best->id = row + r;
            }
        }
    }
}

static void run(loam_compute *c, linear_job *j, size_t line, loam_range_fn fn) {
    size_t shared = 0, work = 0, group = 0;

    for (size_t i = 0; i < j->n_w; i++) {
        work += j->rows[i] * j->cols * j->m;
        if (j->integer[i]) group = (size_t)j->w[i].group;
    }
    if (group) {
        shared = loam_scratch_acts_bytes(j->m, j->cols);
        j->scratch = loam_scratch_workers(c, shared, j->cols);
        quantize(c, j, group);
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
}

/* Weights begin .. end of the list agree in what their activations look like. */
static int same_activations(const loam_compute *c, const loam_weight *a, const loam_weight *b) {
    if (c->precision != LOAM_FAST) return 1;
    const int integer_a = a->format == LOAM_FORMAT_AFFINE,
              integer_b = b->format == LOAM_FORMAT_AFFINE;
    return !integer_a || !integer_b || a->group == b->group;
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
            j.m = m - done < LOAM_CHUNK ? m - done : LOAM_CHUNK;
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

void loam_linear_argmax(loam_compute *c, const loam_weight *w, const float *x, int32_t *id,
                        float *logit) {
    struct best best[MAX_WORKERS];

    loam_kernels_ready();
    const size_t workers = c->pool ? loam_pool_size(c->pool) : 1;
    LOAM_ASSERT(w->rows > 0 && w->rows <= INT32_MAX);
    LOAM_ASSERT(workers >= 1 && workers <= MAX_WORKERS);
    best[0] = (struct best){.value = -INFINITY, .id = SIZE_MAX};
    for (size_t i = 1; i < workers; i++) best[i] = best[0];
    linear_job j = {.best = best, .m = 1, .x = x};
    set_weight(c, &j, w);
    run(c, &j, padded(w->rows), argmax_range);
    for (size_t i = 1; i < workers; i++) {
        if (best[i].value > best[0].value ||
            (best[i].value == best[0].value && best[i].id < best[0].id))
            best[0] = best[i];
    }
    /* nothing was found when every logit is NaN */
    *id = best[0].id == SIZE_MAX ? 0 : (int32_t)best[0].id;
    if (logit) *logit = best[0].id == SIZE_MAX ? NAN : best[0].value;
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
