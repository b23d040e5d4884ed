/* ref_panel.c - products with panels, and attention that sees everything: the meaning. */
#include "kernels.h"
#include "math_poly.h"
#include "ref_math.h"
#include <math.h>

static void panel_pack_ref(const float *rows, size_t row_stride, size_t cols, float *panel) {
    for (size_t k = 0; k < cols; k++)
        for (size_t r = 0; r < LOAM_PANEL_ROWS; r++)
            panel[k * LOAM_PANEL_ROWS + r] = rows[r * row_stride + k];
}

static void panel_float_ref(const loam_panel_float *p) {
    const size_t n_rows = p->n_panels * LOAM_PANEL_ROWS;
    for (size_t i = 0; i < p->m; i++) {
        for (size_t r = 0; r < n_rows; r++) {
            const float *w = p->panels + r / LOAM_PANEL_ROWS * p->cols * LOAM_PANEL_ROWS;
            float acc = 0.0f;
            for (size_t k = 0; k < p->cols; k++)
                acc = fmaf(w[k * LOAM_PANEL_ROWS + r % LOAM_PANEL_ROWS], p->x[i * p->x_stride + k],
                           acc);
            p->y[i * p->y_stride + r] = acc;
        }
    }
}

static size_t wide_at(size_t k, size_t r) {
    return k / 2 * 2 * LOAM_PANEL_ROWS + 2 * r + k % 2;
}

static void panel_pack_wide_ref(const int16_t *rows, size_t row_stride, size_t cols,
                                int16_t *panel) {
    for (size_t k = 0; k < cols; k++)
        for (size_t r = 0; r < LOAM_PANEL_ROWS; r++)
            panel[wide_at(k, r)] = rows[r * row_stride + k];
}

static void panel_wide_ref(const loam_panel_wide *p) {
    const size_t n_rows = p->n_panels * LOAM_PANEL_ROWS;
    for (size_t i = 0; i < p->m; i++) {
        for (size_t r = 0; r < n_rows; r++) {
            const int16_t *w = p->panels + r / LOAM_PANEL_ROWS * p->cols * LOAM_PANEL_ROWS;
            const float scale = p->scales[r] * p->d[i];
            float acc = 0.0f;
            for (size_t k = 0; k < p->cols;) {
                int32_t sum = 0;
                do sum += w[wide_at(k, r % LOAM_PANEL_ROWS)] * p->x[i * p->x_stride + k];
                while (++k < p->cols && k % LOAM_WIDE_BLOCK);
                acc = fmaf(scale, (float)sum, acc);
            }
            p->y[i * p->y_stride + r] = acc;
        }
    }
}

static void quantize_wide_ref(const float *x, size_t n, int16_t *q, float *d) {
    float a = 0.0f;
    int finite = 1;
    for (size_t k = 0; k < n; k++) {
        const float v = fabsf(x[k]);
        if (!(v <= 3.402823466e38f)) finite = 0;
        if (v > a) a = v;
    }
    const int live = finite && a >= 0x1p-100f;
    const float inverse = live ? (float)LOAM_WIDE_MAX / a : 0.0f;
    for (size_t k = 0; k < n; k++) q[k] = live ? (int16_t)rintf(x[k] * inverse) : 0;
    for (size_t k = n; k % LOAM_WIDE_UNIT; k++) q[k] = 0;
    *d = live ? a / (float)LOAM_WIDE_MAX : finite ? 0.0f : NAN;
}

static void attend_row(const loam_attend *a, const float *q, float *p, float *y) {
    float lanes[LOAM_LANES] = {0}, max = -INFINITY;
    for (size_t j = 0; j < a->n; j++) {
        float x = 0.0f;
        for (size_t d = 0; d < a->head_dim; d++) x = fmaf(q[d], a->k[j * a->stride + d], x);
        p[j] = x * a->scale;
        if (p[j] > max) max = p[j];
    }
    for (size_t j = 0; j < a->n; j++) {
        p[j] = loam_ref_exp(p[j] - max);
        lanes[j % LOAM_LANES] += p[j];
    }
    const float inverse = 1.0f / loam_ref_tree(lanes);
    for (size_t d = 0; d < a->head_dim; d++) {
        float acc = 0.0f;
        for (size_t j = 0; j < a->n; j++) acc = fmaf(p[j], a->v[j * a->stride + d], acc);
        y[d] = acc * inverse;
    }
}

static void attend_ref(const loam_attend *a, float *scratch) {
    for (size_t t = 0; t < a->n; t++)
        attend_row(a, a->q + t * a->stride, scratch, a->y + t * a->y_stride);
}

static void gelu_coarse_ref(const float *bias, size_t n, float *y) {
    static const float P[] = LOAM_GELU_COARSE_P;
    for (size_t i = 0; i < n; i++) {
        const float x = y[i] + bias[i];
        float s = x < -LOAM_GELU_COARSE ? -LOAM_GELU_COARSE : x;
        s = s > LOAM_GELU_COARSE ? LOAM_GELU_COARSE : s;
        const float t = s * s;
        float p = P[0];
        for (size_t k = 1; k < sizeof P / sizeof *P; k++) p = fmaf(p, t, P[k]);
        y[i] = x * fmaf(s, p, 0.5f);
    }
}

void loam_kernels_use_ref_panel(loam_kernels *k) {
    k->panel_pack = panel_pack_ref;
    k->panel_float = panel_float_ref;
    k->panel_pack_wide = panel_pack_wide_ref;
    k->panel_wide = panel_wide_ref;
    k->quantize_wide = quantize_wide_ref;
    k->attend = attend_ref;
    k->gelu_coarse = gelu_coarse_ref;
}
