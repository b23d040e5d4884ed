/* neon_math.c - dots, norms, activations, rotary embedding: four lanes of the reference a register.
 *
 * The padded end of a dot is loaded with zeros, whose products leave the sums as they are.
 */
#include "neon.h"
#include <math.h>

#if defined(__aarch64__)

/* The last n < 16 values of a row as four registers. */
LOAM_INLINE void load_end(const float *x, size_t n, float32x4_t v[4]) {
    float some[LOAM_LANES] = {0};
    memcpy(some, x, n * sizeof *x);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) v[i] = vld1q_f32(some + 4 * i);
}

LOAM_INLINE void clear(float32x4_t v[4]) {
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) v[i] = vdupq_n_f32(0.0f);
}

LOAM_INLINE float dot(const float *x, const float *y, size_t n) {
    float32x4_t s[4];
    size_t k = 0;
    clear(s);
    for (; k + LOAM_LANES <= n; k += LOAM_LANES) {
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++)
            s[i] = vfmaq_f32(s[i], vld1q_f32(x + k + 4 * i), vld1q_f32(y + k + 4 * i));
    }
    if (k < n) {
        float32x4_t a[4], b[4];
        load_end(x + k, n - k, a);
        load_end(y + k, n - k, b);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) s[i] = vfmaq_f32(s[i], a[i], b[i]);
    }
    return sum_tree(s);
}

/* Four rows share the loads of x. */
static void dot_rows_neon(const float *rows, size_t n, size_t dim, const float *x, float *y) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const float *row = rows + i * dim;
        float32x4_t s[4][4];
        size_t k = 0;
#pragma GCC unroll 4
        for (size_t r = 0; r < 4; r++) clear(s[r]);
        for (; k + LOAM_LANES <= dim; k += LOAM_LANES) {
#pragma GCC unroll 4
            for (size_t j = 0; j < 4; j++) {
                const float32x4_t xj = vld1q_f32(x + k + 4 * j);
#pragma GCC unroll 4
                for (size_t r = 0; r < 4; r++)
                    s[r][j] = vfmaq_f32(s[r][j], vld1q_f32(row + r * dim + k + 4 * j), xj);
            }
        }
        if (k < dim) {
            float32x4_t e[4];
            load_end(x + k, dim - k, e);
#pragma GCC unroll 4
            for (size_t r = 0; r < 4; r++) {
                float32x4_t p[4];
                load_end(row + r * dim + k, dim - k, p);
#pragma GCC unroll 4
                for (size_t j = 0; j < 4; j++) s[r][j] = vfmaq_f32(s[r][j], p[j], e[j]);
            }
        }
#pragma GCC unroll 4
        for (size_t r = 0; r < 4; r++) y[i + r] = sum_tree(s[r]);
    }
    for (; i < n; i++) y[i] = dot(rows + i * dim, x, dim);
}

static void rms_norm_neon(const float *x, const float *weight, float eps, size_t n, float *y) {
    if (n == 0) return;
    const float r = 1.0f / sqrtf(dot(x, x, n) / (float)n + eps);
    size_t k = 0;
    for (; k + 4 <= n; k += 4)
        vst1q_f32(y + k, vmulq_f32(vmulq_n_f32(vld1q_f32(x + k), r), vld1q_f32(weight + k)));
    for (; k < n; k++) y[k] = x[k] * r * weight[k];
}

static void layer_norm_neon(const float *x, const float *weight, const float *bias, float eps,
                            size_t n, float *y) {
    float32x4_t s[4];
    size_t k = 0;

    if (n == 0) return;
    clear(s);
    for (; k + LOAM_LANES <= n; k += LOAM_LANES) {
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) s[i] = vaddq_f32(s[i], vld1q_f32(x + k + 4 * i));
    }
    if (k < n) {
        float32x4_t e[4];
        load_end(x + k, n - k, e);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) s[i] = vaddq_f32(s[i], e[i]);
    }
    const float mean = sum_tree(s) / (float)n;
    for (k = 0; k + 4 <= n; k += 4)
        vst1q_f32(y + k, vsubq_f32(vld1q_f32(x + k), vdupq_n_f32(mean)));
    for (; k < n; k++) y[k] = x[k] - mean;
    const float r = 1.0f / sqrtf(dot(y, y, n) / (float)n + eps);
    for (k = 0; k < n; k += 4) {
        const size_t part = n - k < 4 ? n - k : 4;
        const float32x4_t c = vmulq_n_f32(load_part(y + k, part), r);
        const float32x4_t w = load_part(weight + k, part);
        store_part(y + k, part,
                   bias ? vfmaq_f32(load_part(bias + k, part), c, w) : vmulq_f32(c, w));
    }
}

static void add_neon(const float *x, size_t n, float *y) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(y + i, vaddq_f32(vld1q_f32(y + i), vld1q_f32(x + i)));
    for (; i < n; i++) y[i] += x[i];
}

LOAM_INLINE float32x4_t silu4(float32x4_t x) {
    return vdivq_f32(x, vaddq_f32(vdupq_n_f32(1.0f), exp4(vnegq_f32(x))));
}

LOAM_INLINE float32x4_t gelu_tanh4(float32x4_t x) {
    const float32x4_t cube = vmulq_f32(vmulq_f32(x, x), x);
    const float32x4_t u = vfmaq_f32(x, cube, vdupq_n_f32(LOAM_GELU_CUBIC));
    const float32x4_t e = exp4(vmulq_f32(u, vdupq_n_f32(LOAM_MINUS_2_SQRT_2_PI)));
    return vdivq_f32(x, vaddq_f32(vdupq_n_f32(1.0f), e));
}

LOAM_INLINE float32x4_t gelu_erf4(float32x4_t x) {
    const float32x4_t one = vdupq_n_f32(1.0f);
    const float32x4_t z = vmulq_f32(vabsq_f32(x), vdupq_n_f32(LOAM_SQRT_HALF));
    const float32x4_t t = vdivq_f32(one, vfmaq_f32(one, z, vdupq_n_f32(LOAM_ERFC_A)));
    float32x4_t p = vdupq_n_f32(LOAM_ERFC_9);
    p = vfmaq_f32(vdupq_n_f32(LOAM_ERFC_8), p, t);
    p = vfmaq_f32(vdupq_n_f32(LOAM_ERFC_7), p, t);
    p = vfmaq_f32(vdupq_n_f32(LOAM_ERFC_6), p, t);
    p = vfmaq_f32(vdupq_n_f32(LOAM_ERFC_5), p, t);
    p = vfmaq_f32(vdupq_n_f32(LOAM_ERFC_4), p, t);
    p = vfmaq_f32(vdupq_n_f32(LOAM_ERFC_3), p, t);
    p = vfmaq_f32(vdupq_n_f32(LOAM_ERFC_2), p, t);
    p = vfmaq_f32(vdupq_n_f32(LOAM_ERFC_1), p, t);
    p = vfmaq_f32(vdupq_n_f32(LOAM_ERFC_0), p, t);
    const float32x4_t e =
        vmulq_f32(vmulq_f32(vmulq_f32(vdupq_n_f32(0.5f), t), p), exp4(vnegq_f32(vmulq_f32(z, z))));
    return vmulq_f32(x, vbslq_f32(vcltzq_f32(x), e, vsubq_f32(one, e)));
}

LOAM_INLINE float32x4_t relu4(float32x4_t x) {
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(x), vcltzq_f32(x)));
}

LOAM_INLINE float32x4_t act4(loam_act act, float32x4_t x) {
    switch (act) {
    case LOAM_ACT_SILU: return silu4(x);
    case LOAM_ACT_GELU_ERF: return gelu_erf4(x);
    case LOAM_ACT_GELU_TANH: return gelu_tanh4(x);
    case LOAM_ACT_RELU: return relu4(x);
    case LOAM_ACT_TANH: return tanh4(x);
    }
    return x;
}

/* y = act(x), times `up` where there is one; two registers a step hide the latencies. */
LOAM_INLINE void apply(loam_act act, const float *x, const float *up, size_t n, float *y) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        float32x4_t a = act4(act, vld1q_f32(x + i)), b = act4(act, vld1q_f32(x + i + 4));
        if (up) {
            a = vmulq_f32(a, vld1q_f32(up + i));
            b = vmulq_f32(b, vld1q_f32(up + i + 4));
        }
        vst1q_f32(y + i, a);
        vst1q_f32(y + i + 4, b);
    }
    for (; i < n; i += 4) {
        const size_t part = n - i < 4 ? n - i : 4;
        const float32x4_t a = act4(act, load_part(x + i, part));
        store_part(y + i, part, up ? vmulq_f32(a, load_part(up + i, part)) : a);
    }
}

static void apply_act(loam_act act, const float *x, const float *up, size_t n, float *y) {
    switch (act) {
    case LOAM_ACT_SILU: apply(LOAM_ACT_SILU, x, up, n, y); return;
    case LOAM_ACT_GELU_ERF: apply(LOAM_ACT_GELU_ERF, x, up, n, y); return;
    case LOAM_ACT_GELU_TANH: apply(LOAM_ACT_GELU_TANH, x, up, n, y); return;
    case LOAM_ACT_RELU: apply(LOAM_ACT_RELU, x, up, n, y); return;
    case LOAM_ACT_TANH: apply(LOAM_ACT_TANH, x, up, n, y); return;
    }
}

static void activate_neon(loam_act act, const float *x, size_t n, float *y) {
    apply_act(act, x, NULL, n, y);
}

static void gate_neon(loam_act act, const float *gate, const float *up, size_t n, float *y) {
    apply_act(act, gate, up, n, y);
}

static void exp_neon(const float *x, size_t n, float *y) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(y + i, exp4(vld1q_f32(x + i)));
    if (i < n) store_part(y + i, n - i, exp4(load_part(x + i, n - i)));
}

static void rope_one(float *pa, float *pb, const float *cos_sin) {
    const float a = *pa, b = *pb, c = cos_sin[0], s = cos_sin[1];
    *pa = a * c - b * s;
    *pb = b * c + a * s;
}

static void rope_neon(float *x, size_t n_rot, int traditional, const float *cos_sin) {
    const size_t half = n_rot / 2;
    size_t i = 0;
    for (; i + 4 <= half; i += 4) {
        const float32x4x2_t t = vld2q_f32(cos_sin + 2 * i);
        float32x4x2_t v;
        if (traditional) {
            v = vld2q_f32(x + 2 * i);
        } else {
            v.val[0] = vld1q_f32(x + i);
            v.val[1] = vld1q_f32(x + half + i);
        }
        const float32x4_t a = v.val[0], b = v.val[1], c = t.val[0], s = t.val[1];
        v.val[0] = vsubq_f32(vmulq_f32(a, c), vmulq_f32(b, s));
        v.val[1] = vaddq_f32(vmulq_f32(b, c), vmulq_f32(a, s));
        if (traditional) {
            vst2q_f32(x + 2 * i, v);
        } else {
            vst1q_f32(x + i, v.val[0]);
            vst1q_f32(x + half + i, v.val[1]);
        }
    }
    for (; i < half; i++)
        rope_one(traditional ? x + 2 * i : x + i, traditional ? x + 2 * i + 1 : x + half + i,
                 cos_sin + 2 * i);
}

static void f32_to_f16_neon(const float *x, size_t n, uint16_t *y) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const float16x4_t low = vcvt_f16_f32(vld1q_f32(x + i));
        vst1q_u16(y + i, vreinterpretq_u16_f16(vcvt_high_f16_f32(low, vld1q_f32(x + i + 4))));
    }
    for (; i < n; i += 4) {
        const size_t part = n - i < 4 ? n - i : 4;
        uint16_t h[4];
        vst1_u16(h, vreinterpret_u16_f16(vcvt_f16_f32(load_part(x + i, part))));
        memcpy(y + i, h, part * sizeof *h);
    }
}

void loam_neon_use_math(loam_kernels *k) {
    k->dot_rows = dot_rows_neon;
    k->rms_norm = rms_norm_neon;
    k->layer_norm = layer_norm_neon;
    k->add = add_neon;
    k->activate = activate_neon;
    k->gate = gate_neon;
    k->exp = exp_neon;
    k->rope = rope_neon;
    k->f32_to_f16 = f32_to_f16_neon;
}

#endif
