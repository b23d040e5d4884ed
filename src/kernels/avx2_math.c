/* avx2_math.c - dots, norms, activations, rotary embedding: eight lanes of the reference.
 *
 * The reference's sixteen partial sums are two registers here.  The padded end is loaded with
 * zeros, whose products leave the sums as they are.
 */
#include "avx2.h"
#include <math.h>

#if defined(__AVX2__)

typedef struct lanes {
    __m256 low, high;
} lanes;

/* The last n < 16 values of a row as two registers. */
LOAM_INLINE lanes load_end(const float *x, size_t n) {
    const lanes l = {load_part(x, n < 8 ? n : 8), load_part(x + 8, n < 8 ? 0 : n - 8)};
    return l;
}

LOAM_INLINE float dot(const float *x, const float *y, size_t n) {
    lanes s = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t k = 0;
    for (; k + LOAM_LANES <= n; k += LOAM_LANES) {
        s.low = _mm256_fmadd_ps(_mm256_loadu_ps(x + k), _mm256_loadu_ps(y + k), s.low);
        s.high = _mm256_fmadd_ps(_mm256_loadu_ps(x + k + 8), _mm256_loadu_ps(y + k + 8), s.high);
    }
    if (k < n) {
        const lanes a = load_end(x + k, n - k), b = load_end(y + k, n - k);
        s.low = _mm256_fmadd_ps(a.low, b.low, s.low);
        s.high = _mm256_fmadd_ps(a.high, b.high, s.high);
    }
    return sum_tree(s.low, s.high);
}

/* Four rows share the loads of x and hide the latency of the fma.  The next four are asked for in
 * the order of their addresses: memory is fastest in one stream. */
static void dot_rows_avx2(const float *rows, size_t n, size_t dim, const float *x, float *y) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const float *row = rows + i * dim;
        lanes s[4];
#pragma GCC unroll 4
        for (size_t r = 0; r < 4; r++) s[r].low = s[r].high = _mm256_setzero_ps();
        size_t k = 0;
        for (; k + LOAM_LANES <= dim; k += LOAM_LANES) {
            const __m256 x0 = _mm256_loadu_ps(x + k), x1 = _mm256_loadu_ps(x + k + 8);
            const char *next = (const char *)(row + 4 * (dim + k));
#pragma GCC unroll 4
            for (size_t r = 0; r < 4; r++) {
                const float *p = row + r * dim + k;
                _mm_prefetch(next + 64 * r, _MM_HINT_T0);
                s[r].low = _mm256_fmadd_ps(_mm256_loadu_ps(p), x0, s[r].low);
                s[r].high = _mm256_fmadd_ps(_mm256_loadu_ps(p + 8), x1, s[r].high);
            }
        }
        if (k < dim) {
            const lanes e = load_end(x + k, dim - k);
#pragma GCC unroll 4
            for (size_t r = 0; r < 4; r++) {
                const lanes p = load_end(row + r * dim + k, dim - k);
                s[r].low = _mm256_fmadd_ps(p.low, e.low, s[r].low);
                s[r].high = _mm256_fmadd_ps(p.high, e.high, s[r].high);
            }
        }
#pragma GCC unroll 4
        for (size_t r = 0; r < 4; r++) y[i + r] = sum_tree(s[r].low, s[r].high);
    }
    for (; i < n; i++) y[i] = dot(rows + i * dim, x, dim);
}

static void rms_norm_avx2(const float *x, const float *weight, float eps, size_t n, float *y) {
    if (n == 0) return;
    const float r = 1.0f / sqrtf(dot(x, x, n) / (float)n + eps);
    const __m256 rv = _mm256_set1_ps(r);
    size_t k = 0;
    for (; k + 8 <= n; k += 8)
        _mm256_storeu_ps(y + k, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + k), rv),
                                              _mm256_loadu_ps(weight + k)));
    for (; k < n; k++) y[k] = x[k] * r * weight[k];
}

static void layer_norm_avx2(const float *x, const float *weight, const float *bias, float eps,
                            size_t n, float *y) {
    lanes s = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t k = 0;

    if (n == 0) return;
    for (; k + LOAM_LANES <= n; k += LOAM_LANES) {
        s.low = _mm256_add_ps(s.low, _mm256_loadu_ps(x + k));
        s.high = _mm256_add_ps(s.high, _mm256_loadu_ps(x + k + 8));
    }
    if (k < n) {
        const lanes e = load_end(x + k, n - k);
        s.low = _mm256_add_ps(s.low, e.low);
        s.high = _mm256_add_ps(s.high, e.high);
    }
    const float mean = sum_tree(s.low, s.high) / (float)n;
    for (k = 0; k + 8 <= n; k += 8)
        _mm256_storeu_ps(y + k, _mm256_sub_ps(_mm256_loadu_ps(x + k), _mm256_set1_ps(mean)));
    for (; k < n; k++) y[k] = x[k] - mean;
    const float r = 1.0f / sqrtf(dot(y, y, n) / (float)n + eps);
    for (k = 0; k < n; k += 8) {
        const size_t part = n - k < 8 ? n - k : 8;
        const __m256 c = _mm256_mul_ps(load_part(y + k, part), _mm256_set1_ps(r));
        const __m256 w = load_part(weight + k, part);
        store_part(y + k, part,
                   bias ? _mm256_fmadd_ps(c, w, load_part(bias + k, part)) : _mm256_mul_ps(c, w));
    }
}

static void add_avx2(const float *x, size_t n, float *y) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(y + i), _mm256_loadu_ps(x + i)));
    for (; i < n; i++) y[i] += x[i];
}

/* Positions whose chains of sums hide one another's latency; columns that registers hold; positions
 * of a tile, and from how many on it pays. */
enum { COLUMN_BATCH = 4, COLUMN_PART = 8, COLUMN_TILE = 6, COLUMN_TILE_LEAST = 24 };

/* Eight rows; c are columns of x's part that starts at x. */
LOAM_INLINE void add_columns8(const __m256 c[COLUMN_PART], const float *x, size_t m, float *y,
                              size_t y_stride) {
    size_t i = 0;
    for (; i + COLUMN_BATCH <= m; i += COLUMN_BATCH) {
        __m256 sum[COLUMN_BATCH];
#pragma GCC unroll 4
        for (size_t b = 0; b < COLUMN_BATCH; b++) sum[b] = _mm256_loadu_ps(y + (i + b) * y_stride);
#pragma GCC unroll 8
        for (size_t j = 0; j < COLUMN_PART; j++)
#pragma GCC unroll 4
            for (size_t b = 0; b < COLUMN_BATCH; b++)
                sum[b] = _mm256_fmadd_ps(c[j], _mm256_broadcast_ss(x + (i + b) * LOAM_OUTLIERS + j),
                                         sum[b]);
#pragma GCC unroll 4
        for (size_t b = 0; b < COLUMN_BATCH; b++) _mm256_storeu_ps(y + (i + b) * y_stride, sum[b]);
    }
    for (; i < m; i++) {
        __m256 sum = _mm256_loadu_ps(y + i * y_stride);
#pragma GCC unroll 8
        for (size_t j = 0; j < COLUMN_PART; j++)
            sum = _mm256_fmadd_ps(c[j], _mm256_broadcast_ss(x + i * LOAM_OUTLIERS + j), sum);
        _mm256_storeu_ps(y + i * y_stride, sum);
    }
}

/* Sixteen rows and whole sixes of the positions: twelve sums, two columns and a broadcast. */
static size_t add_columns16(const uint16_t *columns, size_t c_stride, const float *x, size_t m,
                            float *y, size_t y_stride) {
    float __attribute__((aligned(32))) c[LOAM_OUTLIERS][16];
    size_t i = 0;

    for (size_t j = 0; j < 2 * LOAM_OUTLIERS; j++)
        _mm256_store_ps(&c[j / 2][j % 2 * 8],
                        _mm256_cvtph_ps(load128(columns + j / 2 * c_stride + j % 2 * 8)));
    for (; i + COLUMN_TILE <= m; i += COLUMN_TILE, y += COLUMN_TILE * y_stride) {
        __m256 lo[COLUMN_TILE], hi[COLUMN_TILE];
#pragma GCC unroll 6
        for (size_t b = 0; b < COLUMN_TILE; b++) {
            lo[b] = _mm256_loadu_ps(y + b * y_stride);
            hi[b] = _mm256_loadu_ps(y + b * y_stride + 8);
        }
#pragma GCC unroll 2
        for (size_t j = 0; j < LOAM_OUTLIERS; j++) {
            const __m256 c_lo = _mm256_load_ps(c[j]), c_hi = _mm256_load_ps(c[j] + 8);
#pragma GCC unroll 6
            for (size_t b = 0; b < COLUMN_TILE; b++) {
                const __m256 xb = _mm256_broadcast_ss(x + (i + b) * LOAM_OUTLIERS + j);
                lo[b] = _mm256_fmadd_ps(c_lo, xb, lo[b]);
                hi[b] = _mm256_fmadd_ps(c_hi, xb, hi[b]);
            }
        }
#pragma GCC unroll 6
        for (size_t b = 0; b < COLUMN_TILE; b++) {
            _mm256_storeu_ps(y + b * y_stride, lo[b]);
            _mm256_storeu_ps(y + b * y_stride + 8, hi[b]);
        }
    }
    return i;
}

static void add_columns_avx2(const uint16_t *columns, size_t c_stride, size_t n_rows,
                             const float *x, size_t m, float *y, size_t y_stride) {
    size_t r = 0, done = 0;

    for (; m >= COLUMN_TILE_LEAST && r + 16 <= n_rows; r += 16)
        done = add_columns16(columns + r, c_stride, x, m, y + r, y_stride);
    if (done > 0 && r > 0) /* positions that are left over */
        add_columns_avx2(columns, c_stride, r, x + done * LOAM_OUTLIERS, m - done,
                         y + done * y_stride, y_stride);
    for (; r + 8 <= n_rows; r += 8)
        for (size_t part = 0; part < LOAM_OUTLIERS; part += COLUMN_PART) {
            const uint16_t *from = columns + part * c_stride + r;
            __m256 c[COLUMN_PART];
#pragma GCC unroll 8
            for (size_t j = 0; j < COLUMN_PART; j++)
                c[j] = _mm256_cvtph_ps(
                    _mm_loadu_si128((const __m128i *)(const void *)(from + j * c_stride)));
            add_columns8(c, x + part, m, y + r, y_stride);
        }
    for (; r < n_rows; r++)
        for (size_t i = 0; i < m; i++) {
            float sum = y[i * y_stride + r];
            for (size_t j = 0; j < LOAM_OUTLIERS; j++)
                sum = __builtin_fmaf(_cvtsh_ss(columns[j * c_stride + r]), x[i * LOAM_OUTLIERS + j],
                                     sum);
            y[i * y_stride + r] = sum;
        }
}

static void activate_avx2(loam_act act, const float *x, size_t n, float *y) {
    for (size_t i = 0; i < n; i += 8) {
        const size_t part = n - i < 8 ? n - i : 8;
        const __m256 v = part == 8 ? _mm256_loadu_ps(x + i) : load_part(x + i, part);
        store_part(y + i, part, act8(act, v));
    }
}

static void gate_avx2(loam_act act, const float *gate, const float *up, size_t n, float *y) {
    for (size_t i = 0; i < n; i += 8) {
        const size_t part = n - i < 8 ? n - i : 8;
        const __m256 g = part == 8 ? _mm256_loadu_ps(gate + i) : load_part(gate + i, part);
        const __m256 u = part == 8 ? _mm256_loadu_ps(up + i) : load_part(up + i, part);
        store_part(y + i, part, _mm256_mul_ps(act8(act, g), u));
    }
}

static void exp_avx2(const float *x, size_t n, float *y) {
    for (size_t i = 0; i < n; i += 8) {
        const size_t part = n - i < 8 ? n - i : 8;
        store_part(y + i, part, exp8(load_part(x + i, part)));
    }
}

/* Eight (cos, sin) pairs apart. */
LOAM_INLINE void load_cos_sin(const float *p, __m256 *c, __m256 *s) {
    const __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + 8);
    const __m256d even = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88));
    const __m256d odd = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd));
    *c = _mm256_castpd_ps(_mm256_permute4x64_pd(even, 0xd8));
    *s = _mm256_castpd_ps(_mm256_permute4x64_pd(odd, 0xd8));
}

static void rope_halves(float *x, size_t half, const float *cos_sin) {
    size_t i = 0;
    for (; i + 8 <= half; i += 8) {
        __m256 c, s;
        load_cos_sin(cos_sin + 2 * i, &c, &s);
        const __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + half + i);
        _mm256_storeu_ps(x + i, _mm256_sub_ps(_mm256_mul_ps(a, c), _mm256_mul_ps(b, s)));
        _mm256_storeu_ps(x + half + i, _mm256_add_ps(_mm256_mul_ps(b, c), _mm256_mul_ps(a, s)));
    }
    for (; i < half; i++) {
        const float a = x[i], b = x[half + i], c = cos_sin[2 * i], s = cos_sin[2 * i + 1];
        x[i] = a * c - b * s;
        x[half + i] = b * c + a * s;
    }
}

/* Pairs lie as (a, b): a*c - b*s and b*c + a*s are one vaddsubps. */
static void rope_pairs(float *x, size_t half, const float *cos_sin) {
    size_t i = 0;
    for (; i + 4 <= half; i += 4) {
        const __m256 v = _mm256_loadu_ps(x + 2 * i), t = _mm256_loadu_ps(cos_sin + 2 * i);
        const __m256 c = _mm256_moveldup_ps(t), s = _mm256_movehdup_ps(t);
        const __m256 swapped = _mm256_permute_ps(v, 0xb1);
        _mm256_storeu_ps(x + 2 * i,
                         _mm256_addsub_ps(_mm256_mul_ps(v, c), _mm256_mul_ps(swapped, s)));
    }
    for (; i < half; i++) {
        const float a = x[2 * i], b = x[2 * i + 1], c = cos_sin[2 * i], s = cos_sin[2 * i + 1];
        x[2 * i] = a * c - b * s;
        x[2 * i + 1] = b * c + a * s;
    }
}

static void rope_avx2(float *x, size_t n_rot, int traditional, const float *cos_sin) {
    if (traditional)
        rope_pairs(x, n_rot / 2, cos_sin);
    else
        rope_halves(x, n_rot / 2, cos_sin);
}

static void f32_to_f16_avx2(const float *x, size_t n, uint16_t *y) {
    for (size_t i = 0; i < n; i += 8) {
        const size_t part = n - i < 8 ? n - i : 8;
        uint16_t h[8];
        const __m128i v = _mm256_cvtps_ph(load_part(x + i, part), _MM_FROUND_TO_NEAREST_INT);
        if (part == 8) {
            _mm_storeu_si128((__m128i *)(void *)(y + i), v);
            continue;
        }
        _mm_storeu_si128((__m128i *)(void *)h, v);
        memcpy(y + i, h, part * sizeof *h);
    }
}

void loam_avx2_use_math(loam_kernels *k) {
    k->dot_rows = dot_rows_avx2;
    k->rms_norm = rms_norm_avx2;
    k->layer_norm = layer_norm_avx2;
    k->add = add_avx2;
    k->add_columns = add_columns_avx2;
    k->activate = activate_avx2;
    k->gate = gate_avx2;
    k->exp = exp_avx2;
    k->rope = rope_avx2;
    k->f32_to_f16 = f32_to_f16_avx2;
}

#endif
