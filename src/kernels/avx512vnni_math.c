/* avx512vnni_math.c - activations, norms, rotary embedding and the outlier columns with 512 bits:
 * sixteen lanes, the end of a row masked. */
#include "avx512.h"

#ifdef LOAM_AVX512
#include <math.h>

LOAM_INLINE __m512 bits512(__m512i v) {
    return _mm512_castsi512_ps(v);
}
LOAM_INLINE __m512 and512(__m512 x, int mask) {
    return bits512(_mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(mask)));
}

#define FLOATS          __m512
#define INTS            __m512i
#define PS(op)          _mm512_##op##_ps
#define EPI32(op)       _mm512_##op##_epi32
#define NAME(f)         f##16
#define AS_FLOATS(i)    bits512(i)
#define SIGN(x)         and512(x, (int)0x80000000u)
#define WITHOUT_SIGN(x) and512(x, 0x7fffffff)
#define NEGATE(x)                                                                                  \
    bits512(_mm512_xor_si512(_mm512_castps_si512(x), _mm512_set1_epi32((int)0x80000000u)))
#define IF_LESS(a, b, yes, no) _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes)
#include "math_lanes.h"

#define EACH_SIXTEEN(i, n, mask)                                                                   \
    for (size_t i = 0; i < (n); i += 16)                                                           \
        for (__mmask16 mask = first_lanes((n)-i), once = 1; once; once = 0)

static void activate_avx512(loam_act act, const float *x, size_t n, float *y) {
    EACH_SIXTEEN(i, n, mask)
    _mm512_mask_storeu_ps(y + i, mask, act16(act, _mm512_maskz_loadu_ps(mask, x + i)));
}

static void gate_avx512(loam_act act, const float *gate, const float *up, size_t n, float *y) {
    EACH_SIXTEEN(i, n, mask) {
        const __m512 g = act16(act, _mm512_maskz_loadu_ps(mask, gate + i));
        _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(g, _mm512_maskz_loadu_ps(mask, up + i)));
    }
}

static void exp_avx512(const float *x, size_t n, float *y) {
    EACH_SIXTEEN(i, n, mask)
    _mm512_mask_storeu_ps(y + i, mask, exp16(_mm512_maskz_loadu_ps(mask, x + i)));
}

static void add_avx512(const float *x, size_t n, float *y) {
    EACH_SIXTEEN(i, n, mask) {
        const __m512 sum =
            _mm512_add_ps(_mm512_maskz_loadu_ps(mask, y + i), _mm512_maskz_loadu_ps(mask, x + i));
        _mm512_mask_storeu_ps(y + i, mask, sum);
    }
}

LOAM_INLINE float sum_lanes(__m512 s) {
    const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(s), 1));
    return sum_tree(_mm512_castps512_ps256(s), high);
}

/* Of x - mean with itself. */
LOAM_INLINE float dot_self(const float *x, size_t n) {
    __m512 s = _mm512_setzero_ps();
    EACH_SIXTEEN(i, n, mask) {
        const __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        s = _mm512_fmadd_ps(v, v, s);
    }
    return sum_lanes(s);
}

static void rms_norm_avx512(const float *x, const float *weight, float eps, size_t n, float *y) {
    if (n == 0) return;
    const __m512 r = _mm512_set1_ps(1.0f / sqrtf(dot_self(x, n) / (float)n + eps));
    EACH_SIXTEEN(i, n, mask) {
        const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), r);
        _mm512_mask_storeu_ps(y + i, mask,
                              _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, weight + i)));
    }
}

static void layer_norm_avx512(const float *x, const float *weight, const float *bias, float eps,
                              size_t n, float *y) {
    __m512 s = _mm512_setzero_ps();

    if (n == 0) return;
    EACH_SIXTEEN(i, n, mask) s = _mm512_add_ps(s, _mm512_maskz_loadu_ps(mask, x + i));
    const __m512 mean = _mm512_set1_ps(sum_lanes(s) / (float)n);
    EACH_SIXTEEN(i, n, mask)
    _mm512_mask_storeu_ps(y + i, mask, _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), mean));
    const __m512 r = _mm512_set1_ps(1.0f / sqrtf(dot_self(y, n) / (float)n + eps));
    EACH_SIXTEEN(i, n, mask) {
        const __m512 c = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, y + i), r);
        const __m512 w = _mm512_maskz_loadu_ps(mask, weight + i);
        const __m512 v = bias ? _mm512_fmadd_ps(c, w, _mm512_maskz_loadu_ps(mask, bias + i))
                              : _mm512_mul_ps(c, w);
        _mm512_mask_storeu_ps(y + i, mask, v);
    }
}

/* Pairs of halves, sixteen at a time; what is left and the other layout are AVX2's. */
static void (*rope_below)(float *x, size_t n_rot, int traditional, const float *cos_sin);

static void rope_avx512(float *x, size_t n_rot, int traditional, const float *cos_sin) {
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    const size_t half = n_rot / 2;

    if (traditional || half % 16 != 0) {
        rope_below(x, n_rot, traditional, cos_sin);
        return;
    }
    for (size_t i = 0; i < half; i += 16) {
        const __m512 t0 = _mm512_loadu_ps(cos_sin + 2 * i);
        const __m512 t1 = _mm512_loadu_ps(cos_sin + 2 * i + 16);
        const __m512 c = _mm512_permutex2var_ps(t0, even, t1);
        const __m512 s = _mm512_permutex2var_ps(t0, odd, t1);
        const __m512 a = _mm512_loadu_ps(x + i), b = _mm512_loadu_ps(x + half + i);
        _mm512_storeu_ps(x + i, _mm512_sub_ps(_mm512_mul_ps(a, c), _mm512_mul_ps(b, s)));
        _mm512_storeu_ps(x + half + i, _mm512_add_ps(_mm512_mul_ps(b, c), _mm512_mul_ps(a, s)));
    }
}

/* ---- outlier columns: sixteen rows, whose columns stay in registers, x eight positions ---- */

enum { COLUMN_BATCH = 8 };

LOAM_INLINE void add_columns16(const __m512 c[LOAM_OUTLIERS], const float *x, size_t m,
                               __mmask16 mask, float *y, size_t y_stride) {
    __m512 sum[COLUMN_BATCH];
#pragma GCC unroll 8
    for (size_t b = 0; b < m; b++) sum[b] = _mm512_maskz_loadu_ps(mask, y + b * y_stride);
#pragma GCC unroll 16
    for (size_t j = 0; j < LOAM_OUTLIERS; j++)
#pragma GCC unroll 8
        for (size_t b = 0; b < m; b++)
            sum[b] = _mm512_fmadd_ps(c[j], _mm512_set1_ps(x[b * LOAM_OUTLIERS + j]), sum[b]);
#pragma GCC unroll 8
    for (size_t b = 0; b < m; b++) _mm512_mask_storeu_ps(y + b * y_stride, mask, sum[b]);
}

static void add_columns_avx512(const uint16_t *columns, size_t c_stride, size_t n_rows,
                               const float *x, size_t m, float *y, size_t y_stride) {
    for (size_t r = 0; r < n_rows; r += 16) {
        const __mmask16 mask = first_lanes(n_rows - r);
        __m512 c[LOAM_OUTLIERS];
        size_t i = 0;
#pragma GCC unroll 16
        for (size_t j = 0; j < LOAM_OUTLIERS; j++)
            c[j] = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, columns + j * c_stride + r));
        for (; i + COLUMN_BATCH <= m; i += COLUMN_BATCH)
            add_columns16(c, x + i * LOAM_OUTLIERS, COLUMN_BATCH, mask, y + i * y_stride + r,
                          y_stride);
        for (; i < m; i++)
            add_columns16(c, x + i * LOAM_OUTLIERS, 1, mask, y + i * y_stride + r, y_stride);
    }
}

void loam_avx512vnni_use_math(loam_kernels *k) {
    if (k->rope != rope_avx512) rope_below = k->rope;
    k->activate = activate_avx512;
    k->gate = gate_avx512;
    k->exp = exp_avx512;
    k->add = add_avx512;
    k->rms_norm = rms_norm_avx512;
    k->layer_norm = layer_norm_avx512;
    k->rope = rope_avx512;
    k->add_columns = add_columns_avx512;
}

#endif
