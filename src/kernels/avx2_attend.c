/* avx2_attend.c - attention of one head of one sequence without a mask, by the f32 tile.
 *
 *     keys [n][head_dim] --transpose--> panels [head_dim][16 keys]      once for all queries
 *     six queries:  scores [6][n] = tile(q, panels);  softmax of each row, in L1;
 *                   y [6][head_dim] = tile(p, values)
 *
 * Values are copied too: rows of a fused q, k, v are several KB apart and would meet in a few
 * sets of the cache.
 */
#include "avx2.h"
#include <math.h>

#if defined(__AVX2__)

enum { KEYS = 16 };

typedef struct attend_room {
    float *keys;   /* [n / 16][head_dim][16] */
    float *values; /* [n][dim] */
    float *scores; /* [6][n rounded up] */
    float *out;    /* [6][dim] */
    float *buffer; /* of loam_avx2_pack */
    size_t dim, n;
} attend_room;

/* Scores become p, not yet divided by their sum; returns 1 / sum. */
static float soften_row(float *x, size_t n, float scale_by) {
    const __m256 scale = _mm256_set1_ps(scale_by);
    __m256 top = _mm256_set1_ps(-INFINITY), low = _mm256_setzero_ps(), high = low;
    size_t j = 0;

    /* the columns beyond n repeat the last key: they change no maximum */
    for (; j < n; j += 16) {
        const __m256 a = _mm256_mul_ps(_mm256_loadu_ps(x + j), scale);
        const __m256 b = _mm256_mul_ps(_mm256_loadu_ps(x + j + 8), scale);
        _mm256_storeu_ps(x + j, a);
        _mm256_storeu_ps(x + j + 8, b);
        top = _mm256_max_ps(b, _mm256_max_ps(a, top)); /* a NaN leaves top */
    }
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(top), _mm256_extractf128_ps(top, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    const __m256 shift = _mm256_set1_ps(_mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h))));
    for (j = 0; j + 16 <= n; j += 16) {
        const __m256 a = exp8(_mm256_sub_ps(_mm256_loadu_ps(x + j), shift));
        const __m256 b = exp8(_mm256_sub_ps(_mm256_loadu_ps(x + j + 8), shift));
        _mm256_storeu_ps(x + j, a);
        _mm256_storeu_ps(x + j + 8, b);
        low = _mm256_add_ps(low, a);
        high = _mm256_add_ps(high, b);
    }
    if (j < n) {
        const size_t left = n - j;
        const __m256 a = exp8(_mm256_sub_ps(_mm256_loadu_ps(x + j), shift));
        const __m256 b = exp8(_mm256_sub_ps(_mm256_loadu_ps(x + j + 8), shift));
        _mm256_storeu_ps(x + j, a);
        _mm256_storeu_ps(x + j + 8, b);
        const __m256 in_a = _mm256_castsi256_ps(lane_mask(left));
        const __m256 in_b = _mm256_castsi256_ps(lane_mask(left > 8 ? left - 8 : 0));
        low = _mm256_add_ps(low, _mm256_and_ps(a, in_a));
        high = _mm256_add_ps(high, _mm256_and_ps(b, in_b));
    }
    return 1.0f / sum_tree(low, high);
}

static void copy_values(const loam_attend *a, const attend_room *r) {
    for (size_t j = 0; j < a->n; j++) {
        memcpy(r->values + j * r->dim, a->v + j * a->stride, a->head_dim * sizeof *a->v);
        memset(r->values + j * r->dim + a->head_dim, 0, (r->dim - a->head_dim) * sizeof *a->v);
    }
}

/* Queries t .. t + m, m up to six. */
static void attend_rows(const loam_attend *a, const attend_room *r, size_t t, size_t m) {
    float inverse[AVX2_TILE_ROWS];

    for (size_t j = 0; j < a->n; j += KEYS) {
        const avx2_tile tile = {.x = a->q + t * a->stride,
                                .x_stride = a->stride,
                                .b = r->keys + j * a->head_dim,
                                .b_stride = KEYS,
                                .n_k = a->head_dim,
                                .y = r->scores + j,
                                .y_stride = r->n,
                                .begin = 1};
        loam_avx2_tile(&tile, m);
    }
    for (size_t i = 0; i < m; i++) inverse[i] = soften_row(r->scores + i * r->n, a->n, a->scale);
    for (size_t d = 0; d < r->dim; d += AVX2_TILE_COLS) {
        const avx2_tile tile = {.x = r->scores,
                                .x_stride = r->n,
                                .b = r->values + d,
                                .b_stride = r->dim,
                                .n_k = a->n,
                                .y = r->out + d,
                                .y_stride = r->dim,
                                .begin = 1};
        loam_avx2_tile(&tile, m);
    }
    for (size_t i = 0; i < m; i++) {
        float *y = a->y + (t + i) * a->y_stride;
        const __m256 by = _mm256_set1_ps(inverse[i]);
        for (size_t d = 0; d < a->head_dim; d += 8)
            store_part(y + d, a->head_dim - d,
                       _mm256_mul_ps(_mm256_loadu_ps(r->out + i * r->dim + d), by));
    }
}

static void attend_avx2(const loam_attend *a, float *scratch) {
    attend_room r = {.dim = (a->head_dim + 15) / 16 * 16, .n = (a->n + 15) / 16 * 16};
    const loam_matrix keys = {.element = LOAM_ELEMENT_F32};
    r.keys = scratch;
    r.values = r.keys + r.n * a->head_dim;
    r.scores = r.values + r.n * r.dim;
    r.out = r.scores + AVX2_TILE_ROWS * r.n;
    r.buffer = r.out + AVX2_TILE_ROWS * r.dim;

    for (size_t j = 0; j < a->n; j += KEYS)
        loam_avx2_pack(&keys, (const unsigned char *)a->k, a->stride * sizeof(float), j,
                       a->n - j < KEYS ? a->n - j : KEYS, 0, a->head_dim, r.keys + j * a->head_dim,
                       r.buffer);
    copy_values(a, &r);
    for (size_t t = 0; t < a->n; t += AVX2_TILE_ROWS)
        attend_rows(a, &r, t, a->n - t < AVX2_TILE_ROWS ? a->n - t : AVX2_TILE_ROWS);
}

void loam_avx2_use_attend(loam_kernels *k) {
    k->attend = attend_avx2;
}

#endif
