/* stack.c - products with weights that were copied into panels.
 *
 *     | q rows | k rows | v rows |     one row of panels, 16 rows each, cut over the pool
 *
 * A worker takes a few panels and all positions, CHUNK at a time, so that their inputs stay in
 * the cache; it adds the biases and applies the activation to what it has just written.
 */
#include "ops/split.h"

/* NOLINTBEGIN(readability-function-size, readability-non-const-parameter): ops.h's signatures */

enum { ROWS = LOAM_PANEL_ROWS, CHUNK = 120, BLOCK = 4 * ROWS };

static size_t padded_rows(const loam_stack *s) {
    return loam_stack_stride(s->rows);
}

loam_status loam_stack_init(loam_stack *s, const loam_weight *const *w, size_t n, loam_err *err) {
    *s = (loam_stack){.n = n, .cols = w[0]->cols};
    LOAM_ASSERT(n >= 1 && n <= LOAM_STACK_MAX);
    for (size_t i = 0; i < n; i++) {
        LOAM_ASSERT(w[i]->cols == s->cols);
        s->w[i] = *w[i];
        s->rows += w[i]->rows;
    }
    s->bias = loam_alloc(padded_rows(s), sizeof *s->bias);
    if (!s->bias) return loam_fail(err, LOAM_ERR_MEMORY, "biases of %zu rows", s->rows);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (w[i]->bias) memcpy(s->bias + at, w[i]->bias, w[i]->rows * sizeof *s->bias);
        at += w[i]->rows;
    }
    return LOAM_OK;
}

void loam_stack_deinit(loam_stack *s) {
    free(s->bias);
    free(s->panels);
    free(s->wide);
    free(s->scales);
    *s = (loam_stack){0};
}

uint64_t loam_stack_copy_bytes(const loam_stack *s, loam_precision precision) {
    if (precision == LOAM_EXACT) return (uint64_t)padded_rows(s) * s->cols * sizeof *s->panels;
    return (uint64_t)padded_rows(s) * (loam_wide_stride(s->cols) * sizeof *s->wide + sizeof(float));
}

/* ---- the copies ---- */

typedef struct pack_job {
    loam_stack *s;
    loam_matrix w[LOAM_STACK_MAX];
    float *rows; /* a worker's [16, cols] */
    int16_t *q;  /* a worker's [16, wide stride] */
    int fast;
} pack_job;

/* Row r of the stack; those beyond are zero. */
static void read_row(const pack_job *j, size_t r, float *out) {
    for (size_t i = 0; i < j->s->n; i++) {
        if (r < j->s->w[i].rows) {
            loam_k.row_to_f32(&j->w[i], r, out);
            return;
        }
        r -= j->s->w[i].rows;
    }
    memset(out, 0, j->s->cols * sizeof *out);
}

static void pack_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const pack_job *j = ctx;
    const size_t cols = j->s->cols, stride = loam_wide_stride(cols);
    float *rows = j->rows + (size_t)worker * ROWS * cols;
    int16_t *q = j->fast ? j->q + (size_t)worker * ROWS * stride : NULL;

    for (size_t p = begin; p < end; p++) {
        for (size_t r = 0; r < ROWS; r++) {
            read_row(j, p * ROWS + r, rows + r * cols);
            if (j->fast)
                loam_k.quantize_wide(rows + r * cols, cols, q + r * stride,
                                     &j->s->scales[p * ROWS + r]);
        }
        if (j->fast)
            loam_k.panel_pack_wide(q, stride, stride, j->s->wide + p * ROWS * stride);
        else
            loam_k.panel_pack(rows, cols, cols, j->s->panels + p * ROWS * cols);
    }
}

static void *aligned(size_t n, size_t size) {
    void *p = NULL;
    size_t bytes = 0;
    /* a cache line more: what lies ahead of the last panel is fetched, not read */
    if (!loam_mul(n, size, &bytes) || posix_memalign(&p, 64, bytes + 64)) return NULL;
    return p;
}

loam_status loam_stack_pack(loam_stack *s, loam_pool *pool, loam_precision precision,
                            loam_err *err) {
    const size_t workers = pool ? loam_pool_size(pool) : 1, n = padded_rows(s);
    const size_t stride = loam_wide_stride(s->cols);
    pack_job j = {.s = s, .fast = precision == LOAM_FAST};
    if (j.fast ? s->wide != NULL : s->panels != NULL) return LOAM_OK;

    loam_kernels_ready();
    for (size_t i = 0; i < s->n; i++) j.w[i] = loam_weight_matrix(&s->w[i]);
    float *panels = j.fast ? NULL : aligned(n * s->cols, sizeof *panels);
    int16_t *wide = j.fast ? aligned(n * stride, sizeof *wide) : NULL;
    float *scales = j.fast ? aligned(n, sizeof *scales) : NULL;
    j.rows = loam_alloc(workers * ROWS * s->cols, sizeof *j.rows);
    if (j.fast) j.q = loam_alloc(workers * ROWS * stride, sizeof *j.q);
    if (!j.rows || (j.fast ? !wide || !scales || !j.q : !panels)) {
        free(panels);
        free(wide);
        free(scales);
        free(j.rows);
        free(j.q);
        return loam_fail(err, LOAM_ERR_MEMORY, "panels of %zu x %zu", s->rows, s->cols);
    }
    if (j.fast) {
        s->wide = wide;
        s->scales = scales;
    } else {
        s->panels = panels;
    }
    loam_split(pool, n / ROWS, 1, n * s->cols, pack_range, &j);
    free(j.rows);
    free(j.q);
    return LOAM_OK;
}

/* ---- products ---- */

typedef struct stack_job {
    const loam_stack *s;
    loam_matrix w[LOAM_STACK_MAX];
    int fast, has_act;
    loam_act act;
    const float *x;
    size_t x_stride, m;
    const loam_wide_room *room;
    float *y;
    unsigned char *scratch;
    size_t scratch_stride;
} stack_job;

static void quantize_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const stack_job *j = ctx;
    const size_t stride = loam_wide_stride(j->s->cols);
    (void)worker;
    for (size_t i = begin; i < end; i++)
        loam_k.quantize_wide(j->x + i * j->x_stride, j->s->cols, j->room->q + i * stride,
                             &j->room->d[i]);
}

/* Rows row .. row + n of positions first .. first + m; row is a multiple of 16, n too where
 * there are panels. */
static void multiply(const stack_job *j, size_t row, size_t n, size_t first, size_t m,
                     unsigned worker) {
    const loam_stack *s = j->s;
    const size_t y_stride = padded_rows(s), cols = s->cols, wide_stride = loam_wide_stride(cols);
    float *y = j->y + first * y_stride + row;

    if (j->fast) {
        const loam_panel_wide p = {.panels = s->wide + row * wide_stride,
                                   .scales = s->scales + row,
                                   .n_panels = n / ROWS,
                                   .cols = wide_stride,
                                   .x = j->room->q + first * wide_stride,
                                   .d = j->room->d + first,
                                   .x_stride = wide_stride,
                                   .m = m,
                                   .y = y,
                                   .y_stride = y_stride};
        loam_k.panel_wide(&p);
    } else if (s->panels) {
        const loam_panel_float p = {.panels = s->panels + row * cols,
                                    .n_panels = n / ROWS,
                                    .cols = cols,
                                    .x = j->x + first * j->x_stride,
                                    .x_stride = j->x_stride,
                                    .m = m,
                                    .y = y,
                                    .y_stride = y_stride};
        loam_k.panel_float(&p);
    } else {
        size_t base = 0; /* of the weight's rows in the stack */
        for (size_t i = 0; i < s->n; base += s->w[i].rows, i++) {
            const size_t lo = row > base ? row - base : 0;
            size_t hi = row + n > base ? row + n - base : 0;
            if (hi > s->w[i].rows) hi = s->w[i].rows;
            if (lo < hi)
                loam_k.float_product(&j->w[i], lo, hi - lo, j->x + first * j->x_stride, j->x_stride,
                                     m, y + (base + lo - row), y_stride,
                                     j->scratch + worker * j->scratch_stride);
        }
        const size_t end = row + n > s->rows ? s->rows : row + n;
        for (size_t i = 0; i < m; i++)
            memset(y + i * y_stride + (end - row), 0, (row + n - end) * sizeof *y);
    }
    if (j->fast && j->has_act && j->act == LOAM_ACT_GELU_ERF) {
        for (size_t i = 0; i < m; i++) loam_k.gelu_coarse(s->bias + row, n, y + i * y_stride);
        return;
    }
    for (size_t i = 0; i < m; i++) {
        loam_k.add(s->bias + row, n, y + i * y_stride);
        if (j->has_act) loam_k.activate(j->act, y + i * y_stride, n, y + i * y_stride);
    }
}

static void stack_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const stack_job *j = ctx;
    for (size_t row = begin; row < end; row += BLOCK) {
        const size_t n = end - row < BLOCK ? end - row : BLOCK;
        for (size_t i = 0; i < j->m; i += CHUNK)
            multiply(j, row, n, i, j->m - i < CHUNK ? j->m - i : CHUNK, worker);
    }
}

void loam_stack_linear(loam_compute *c, const loam_stack *s, const loam_activation *act,
                       const float *x, size_t x_stride, size_t m, const loam_wide_room *room,
                       float *y) {
    stack_job j = {.s = s, .x = x, .x_stride = x_stride, .m = m, .room = room, .y = y};
    const size_t work = m * s->rows * s->cols;

    loam_kernels_ready();
    j.fast = c->precision == LOAM_FAST && s->wide;
    if (act) {
        j.has_act = 1;
        j.act = loam_act_of(*act);
    }
    if (j.fast) {
        loam_split(c->pool, m, 8, m * s->cols, quantize_range, &j);
    } else if (!s->panels) {
        for (size_t i = 0; i < s->n; i++) j.w[i] = loam_weight_matrix(&s->w[i]);
        j.scratch = loam_scratch_workers(c, 0, s->cols);
        j.scratch_stride = loam_scratch_worker_bytes(s->cols);
    }
    loam_split(c->pool, padded_rows(s), m > CHUNK ? BLOCK : ROWS, work, stack_range, &j);
}

/* NOLINTEND(readability-function-size, readability-non-const-parameter) */
