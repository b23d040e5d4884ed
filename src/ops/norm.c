/* norm.c - row-wise operations: norms, rotary embedding, additions, index scans. */
#include "ops/split.h"

/* NOLINTBEGIN(readability-function-size, readability-non-const-parameter): ops.h's signatures */

typedef struct norm_job {
    const float *x, *weight, *bias;
    float eps;
    size_t n;
    float *y;
    int layer;
} norm_job;

static void norm_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const norm_job *j = ctx;
    (void)worker;
    for (size_t i = begin; i < end; i++) {
        const float *x = j->x + i * j->n;
        float *y = j->y + i * j->n;
        if (j->layer)
            loam_k.layer_norm(x, j->weight, j->bias, j->eps, j->n, y);
        else
            loam_k.rms_norm(x, j->weight, j->eps, j->n, y);
    }
}

void loam_rms_norm(loam_compute *c, const float *x, const float *weight, float eps, size_t m,
                   size_t n, float *y) {
    loam_kernels_ready();
    norm_job j = {.x = x, .weight = weight, .eps = eps, .n = n, .y = y};
    loam_split(c->pool, m, 4, m * n, norm_range, &j);
}

void loam_layer_norm(loam_compute *c, const float *x, const float *weight, const float *bias,
                     float eps, size_t m, size_t n, float *y) {
    loam_kernels_ready();
    norm_job j = {.x = x, .weight = weight, .bias = bias, .eps = eps, .n = n, .y = y, .layer = 1};
    loam_split(c->pool, m, 4, m * n, norm_range, &j);
}

typedef struct add_norm_job {
    const float *add, *weight, *bias;
    size_t add_stride, n;
    float eps, *x;
} add_norm_job;

static void add_norm_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const add_norm_job *j = ctx;
    (void)worker;
    for (size_t i = begin; i < end; i++) {
        float *x = j->x + i * j->n;
        loam_k.add(j->add + i * j->add_stride, j->n, x);
        loam_k.layer_norm(x, j->weight, j->bias, j->eps, j->n, x);
    }
}

void loam_add_norm(loam_compute *c, const float *add, size_t add_stride, const float *weight,
                   const float *bias, float eps, size_t m, size_t n, float *x) {
    loam_kernels_ready();
    add_norm_job j = {add, weight, bias, add_stride, n, eps, x};
    loam_split(c->pool, m, 4, m * n * 2, add_norm_range, &j);
}

typedef struct add_job {
    const float *x;
    float *y;
} add_job;

static void add_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const add_job *j = ctx;
    (void)worker;
    loam_k.add(j->x + begin, end - begin, j->y + begin);
}

void loam_residual(loam_compute *c, const float *x, size_t n, float *y) {
    loam_kernels_ready();
    add_job j = {x, y};
    loam_split(c->pool, n, 4096, n / 2, add_range, &j);
}

typedef struct rope_job {
    float *x;
    size_t n_heads, head_dim, n_rot, pos;
    int traditional;
    const float *cos_sin;
} rope_job;

static void rope_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const rope_job *j = ctx;
    (void)worker;
    for (size_t i = begin; i < end; i++) {
        const float *cos_sin = j->cos_sin + (j->pos + i) * j->n_rot; /* [n_rot / 2, 2] */
        for (size_t h = 0; h < j->n_heads; h++)
            loam_k.rope(j->x + (i * j->n_heads + h) * j->head_dim, j->n_rot, j->traditional,
                        cos_sin);
    }
}

void loam_rope(loam_compute *c, float *x, size_t m, size_t n_heads, size_t head_dim, size_t n_rot,
               int traditional, const float *cos_sin, size_t pos) {
    LOAM_ASSERT(n_rot <= head_dim && n_rot % 2 == 0);
    loam_kernels_ready();
    rope_job j = {x, n_heads, head_dim, n_rot, pos, traditional, cos_sin};
    loam_split(c->pool, m, 4, m * n_heads * head_dim, rope_range, &j);
}

typedef struct scan_job {
    const float *rows, *x;
    size_t dim;
    float *scores;
} scan_job;

static void scan_range(void *ctx, size_t begin, size_t end, unsigned worker) {
    const scan_job *j = ctx;
    (void)worker;
    loam_k.dot_rows(j->rows + begin * j->dim, end - begin, j->dim, j->x, j->scores + begin);
}

void loam_dot_rows(loam_pool *pool, const float *rows, size_t n, size_t dim, const float *x,
                   float *scores) {
    loam_kernels_ready();
    scan_job j = {rows, x, dim, scores};
    loam_split(pool, n, 64, n * dim, scan_range, &j);
}

/* NOLINTEND(readability-function-size, readability-non-const-parameter) */
