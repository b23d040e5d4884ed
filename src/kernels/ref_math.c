/* ref_math.c - dots, norms, activations and rotary embedding: the meaning.
 *
 * Bounds of the approximations are stated in kernels.h, the polynomials in math_poly.h; a
 * variant evaluates the very same steps, so that its results are the same bits.
 */
#include "ref_math.h"
#include "kernels.h"
#include "math_poly.h"
#include <math.h>

float loam_ref_exp(float x) {
    if (x != x) return x;
    if (x < LOAM_EXP_MIN) return 0.0f;
    if (x > LOAM_EXP_MAX) return INFINITY;
    const float nf = rintf(x * LOAM_LOG2E);
    float r = fmaf(nf, -LOAM_LN2_HI, x);
    r = fmaf(nf, -LOAM_LN2_LO, r);
    float p = LOAM_EXP_4;
    p = fmaf(p, r, LOAM_EXP_3);
    p = fmaf(p, r, LOAM_EXP_2);
    p = fmaf(p, r, LOAM_EXP_1);
    p = fmaf(p, r, LOAM_EXP_0);
    p = fmaf(r * r, p, r) + 1.0f;
    const int n = (int)nf, half = n >> 1; /* two steps: 2^128 is no float */
    return p * ldexpf(1.0f, half) * ldexpf(1.0f, n - half);
}

float loam_ref_exp2(float x) {
    if (x < LOAM_EXP2_MIN) return 0.0f;
    const float t = x + LOAM_EXP2_ROUND, n = t - LOAM_EXP2_ROUND, r = x - n;
    float p = LOAM_EXP2_5;
    p = fmaf(p, r, LOAM_EXP2_4);
    p = fmaf(p, r, LOAM_EXP2_3);
    p = fmaf(p, r, LOAM_EXP2_2);
    p = fmaf(p, r, LOAM_EXP2_1);
    p = fmaf(p, r, 1.0f);
    return x != x ? x : p * ldexpf(1.0f, (int)n);
}

float loam_ref_tanh(float x) {
    const float a = fabsf(x);
    if (a < LOAM_TANH_SPLIT) {
        const float z = x * x;
        float p = LOAM_TANH_4;
        p = fmaf(p, z, LOAM_TANH_3);
        p = fmaf(p, z, LOAM_TANH_2);
        p = fmaf(p, z, LOAM_TANH_1);
        p = fmaf(p, z, LOAM_TANH_0);
        return fmaf(x * z, p, x);
    }
    return copysignf(1.0f - 2.0f / (loam_ref_exp(2.0f * a) + 1.0f), x);
}

static float gelu_erf(float x) {
    const float z = fabsf(x) * LOAM_SQRT_HALF;
    const float t = 1.0f / fmaf(z, LOAM_ERFC_A, 1.0f);
    float p = LOAM_ERFC_9;
    p = fmaf(p, t, LOAM_ERFC_8);
    p = fmaf(p, t, LOAM_ERFC_7);
    p = fmaf(p, t, LOAM_ERFC_6);
    p = fmaf(p, t, LOAM_ERFC_5);
    p = fmaf(p, t, LOAM_ERFC_4);
    p = fmaf(p, t, LOAM_ERFC_3);
    p = fmaf(p, t, LOAM_ERFC_2);
    p = fmaf(p, t, LOAM_ERFC_1);
    p = fmaf(p, t, LOAM_ERFC_0);
    const float e = 0.5f * t * p * loam_ref_exp(-(z * z));
    return x * (x < 0.0f ? e : 1.0f - e);
}

static float gelu_tanh(float x) {
    const float u = fmaf(x * x * x, LOAM_GELU_CUBIC, x);
    return x / (1.0f + loam_ref_exp(u * LOAM_MINUS_2_SQRT_2_PI));
}

static float act_one(loam_act act, float x) {
    switch (act) {
    case LOAM_ACT_SILU: return x / (1.0f + loam_ref_exp(-x));
    case LOAM_ACT_GELU_ERF: return gelu_erf(x);
    case LOAM_ACT_GELU_TANH: return gelu_tanh(x);
    case LOAM_ACT_RELU: return x < 0.0f ? 0.0f : x;
    case LOAM_ACT_TANH: return loam_ref_tanh(x);
    }
    return x;
}

static void activate_ref(loam_act act, const float *x, size_t n, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = act_one(act, x[i]);
}

static void gate_ref(loam_act act, const float *gate, const float *up, size_t n, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = act_one(act, gate[i]) * up[i];
}

static void exp_ref(const float *x, size_t n, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = loam_ref_exp(x[i]);
}

float loam_ref_tree(const float lanes[LOAM_LANES]) {
    float s[LOAM_LANES / 2];
    for (size_t j = 0; j < 8; j++) s[j] = lanes[j] + lanes[j + 8];
    for (size_t j = 0; j < 4; j++) s[j] = s[j] + s[j + 4];
    return (s[0] + s[2]) + (s[1] + s[3]);
}

static float dot_ref(const float *x, const float *y, size_t n) {
    float lanes[LOAM_LANES] = {0};
    for (size_t k = 0; k < n; k++) lanes[k % LOAM_LANES] = fmaf(x[k], y[k], lanes[k % LOAM_LANES]);
    return loam_ref_tree(lanes);
}

static void dot_rows_ref(const float *rows, size_t n, size_t dim, const float *x, float *y) {
    for (size_t i = 0; i < n; i++) y[i] = dot_ref(rows + i * dim, x, dim);
}

static void rms_norm_ref(const float *x, const float *weight, float eps, size_t n, float *y) {
    if (n == 0) return;
    const float r = 1.0f / sqrtf(dot_ref(x, x, n) / (float)n + eps);
    for (size_t k = 0; k < n; k++) y[k] = x[k] * r * weight[k];
}

static void layer_norm_ref(const float *x, const float *weight, const float *bias, float eps,
                           size_t n, float *y) {
    float lanes[LOAM_LANES] = {0};

    if (n == 0) return;
    for (size_t k = 0; k < n; k++) lanes[k % LOAM_LANES] += x[k];
    const float mean = loam_ref_tree(lanes) / (float)n;
    for (size_t k = 0; k < n; k++) y[k] = x[k] - mean;
    const float r = 1.0f / sqrtf(dot_ref(y, y, n) / (float)n + eps);
    for (size_t k = 0; k < n; k++)
        y[k] = bias ? fmaf(y[k] * r, weight[k], bias[k]) : y[k] * r * weight[k];
}

static void add_ref(const float *x, size_t n, float *y) {
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

static void rope_ref(float *x, size_t n_rot, int traditional, const float *cos_sin) {
    const size_t half = n_rot / 2;
    for (size_t i = 0; i < half; i++) {
        float *pa = traditional ? x + 2 * i : x + i;
        float *pb = traditional ? x + 2 * i + 1 : x + i + half;
        const float a = *pa, b = *pb, c = cos_sin[2 * i], s = cos_sin[2 * i + 1];
        *pa = a * c - b * s;
        *pb = b * c + a * s;
    }
}

static void f32_to_f16_ref(const float *x, size_t n, uint16_t *y) {
    for (size_t i = 0; i < n; i++) y[i] = loam_f32_to_f16(x[i]);
}

void loam_kernels_use_ref_math(loam_kernels *k) {
    k->dot_rows = dot_rows_ref;
    k->rms_norm = rms_norm_ref;
    k->layer_norm = layer_norm_ref;
    k->add = add_ref;
    k->activate = activate_ref;
    k->gate = gate_ref;
    k->exp = exp_ref;
    k->rope = rope_ref;
    k->f32_to_f16 = f32_to_f16_ref;
}
