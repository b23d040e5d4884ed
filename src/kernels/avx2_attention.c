/* avx2_attention.c - what attention_blocks.h leaves to AVX2: conversion of keys and values, softmax.
 */
#include "avx2.h"
#include <math.h>

#if defined(__AVX2__)

#define TILE_RUN loam_avx2_tile
enum { TILE_ROWS = AVX2_TILE_ROWS };
#include "attention_blocks.h"

/* Eight rows of sixteen f16: v[i] becomes columns i (low half) and i + 8 of all rows. */
LOAM_INLINE void transpose8x16(__m256i v[8]) {
    __m256i a[8];
#pragma GCC unroll 4
    for (size_t i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_epi16(v[i], v[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi16(v[i], v[i + 1]);
    }
#pragma GCC unroll 2
    for (size_t i = 0; i < 8; i += 4) { /* a: columns 0 .. 3 and 4 .. 7 of two rows */
        v[i] = _mm256_unpacklo_epi32(a[i], a[i + 2]);
        v[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 2]);
        v[i + 2] = _mm256_unpacklo_epi32(a[i + 1], a[i + 3]);
        v[i + 3] = _mm256_unpackhi_epi32(a[i + 1], a[i + 3]);
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) { /* v: two columns of four rows */
        a[2 * i] = _mm256_unpacklo_epi64(v[i], v[i + 4]);
        a[2 * i + 1] = _mm256_unpackhi_epi64(v[i], v[i + 4]);
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) v[i] = a[i];
}

static void load_keys_f16(const unsigned char *rows[16], size_t head_dim, float *panel,
                          const char *ahead) {
    for (size_t d = 0; d < head_dim; d += 16) {
        for (size_t half = 0; half < 16; half += 8) {
            float *to = panel + d * COLS + half;
            __m256i v[8];
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++, ahead += 64) _mm_prefetch(ahead, _MM_HINT_T1);
#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) v[i] = load256(rows[half + i] + 2 * d);
            transpose8x16(v);
#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) {
                _mm256_storeu_ps(to + i * COLS, _mm256_cvtph_ps(_mm256_castsi256_si128(v[i])));
                _mm256_storeu_ps(to + (i + 8) * COLS,
                                 _mm256_cvtph_ps(_mm256_extracti128_si256(v[i], 1)));
            }
        }
    }
}

/* Eight rows of sixteen bytes in each half: v[i] becomes columns 2i and 2i + 1, of the rows of
 * the low half, then of those of the high half. */
LOAM_INLINE void transpose_bytes(__m256i v[8]) {
    __m256i a[8];
#pragma GCC unroll 3
    for (size_t round = 0; round < 3; round++) {
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            a[2 * i] = _mm256_unpacklo_epi8(v[i], v[i + 4]);
            a[2 * i + 1] = _mm256_unpackhi_epi8(v[i], v[i + 4]);
        }
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++) v[i] = a[i];
    }
}

LOAM_INLINE __m256 bytes_to_f32(const signed char *p) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

static void load_keys_int8(const unsigned char *rows[16], size_t head_dim, float *panel,
                           const char *ahead) {
    signed char bytes[256];
    float scales[16];
    __m256 low = _mm256_setzero_ps(), high = low;

    for (size_t d = 0; d < head_dim; d += 16, panel += 16 * COLS) {
        __m256i v[8];
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++, ahead += 64) _mm_prefetch(ahead, _MM_HINT_T1);
        if (d % LOAM_KV_GROUP == 0) {
            for (size_t i = 0; i < 16; i++) scales[i] = loam_kv_scale(rows[i], head_dim, d);
            low = _mm256_loadu_ps(scales);
            high = _mm256_loadu_ps(scales + 8);
        }
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++)
            v[i] = _mm256_set_m128i(load128(rows[i + 8] + d), load128(rows[i] + d));
        transpose_bytes(v);
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++) store256(bytes + 32 * i, v[i]);
#pragma GCC unroll 8
        for (size_t i = 0; i < 16; i++) { /* column i */
            const signed char *column = bytes + i / 2 * 32 + i % 2 * 8;
            _mm256_storeu_ps(panel + i * COLS, _mm256_mul_ps(bytes_to_f32(column), low));
            _mm256_storeu_ps(panel + i * COLS + 8, _mm256_mul_ps(bytes_to_f32(column + 16), high));
        }
    }
}

static void load_keys(const loam_attention *a, size_t key, size_t n, float *panel, float *buffer,
                      const char *ahead) {
    if (a->format != LOAM_KV_ROWS_F32 && a->head_dim % 16 == 0) {
        const unsigned char *rows[16];
        for (size_t i = 0; i < 16; i++) rows[i] = a->k + (key + (i < n ? i : n - 1)) * a->kv_stride;
        if (a->format == LOAM_KV_ROWS_INT8)
            load_keys_int8(rows, a->head_dim, panel, ahead);
        else
            load_keys_f16(rows, a->head_dim, panel, ahead);
        return;
    }
    if (a->format == LOAM_KV_ROWS_INT8) {
        load_keys_bytes(a, key, n, panel);
        return;
    }
    const loam_matrix keys = {.element = element_of(a)};
    loam_avx2_pack(&keys, a->k, a->kv_stride, key, n, 0, a->head_dim, panel, buffer);
}

/* Columns d .. d + 16 of head_dim, all there. */
static void load_values_int8(const loam_attention *a, size_t key, size_t n, size_t d, float *panel,
                             const char *ahead) {
    const unsigned char *row = a->v + key * a->kv_stride;
    for (size_t j = 0; j < n; j++, row += a->kv_stride, panel += COLS) {
        const __m256 scale = _mm256_set1_ps(loam_kv_scale(row, a->head_dim, d));
        const signed char *q = (const signed char *)row + d;
        _mm_prefetch(ahead + 16 * j, _MM_HINT_T1);
        _mm256_storeu_ps(panel, _mm256_mul_ps(bytes_to_f32(q), scale));
        _mm256_storeu_ps(panel + 8, _mm256_mul_ps(bytes_to_f32(q + 8), scale));
    }
}

static void load_values(const loam_attention *a, size_t key, size_t n, size_t d, float *panel,
                        const char *ahead) {
    const loam_element e = element_of(a);
    const size_t left = a->head_dim - d;
    const unsigned char *v = a->v + key * a->kv_stride;

    if (a->format == LOAM_KV_ROWS_INT8) {
        if (left >= COLS)
            load_values_int8(a, key, n, d, panel, ahead);
        else
            load_values_bytes(a, key, n, d, panel);
        return;
    }
    for (size_t j = 0; j < n; j++, v += a->kv_stride, panel += COLS) {
        if (left >= COLS) {
            _mm_prefetch(ahead + 32 * j, _MM_HINT_T1);
            _mm256_storeu_ps(panel, load_scalars(e, v, d));
            _mm256_storeu_ps(panel + 8, load_scalars(e, v, d + 8));
            continue;
        }
        const size_t low = left < 8 ? left : 8;
        _mm256_storeu_ps(panel, load_scalars_part(e, v, d, low));
        _mm256_storeu_ps(panel + 8, load_scalars_part(e, v, d + low, left - low));
    }
}

/* m rows of 8 * regs columns from d on. */
LOAM_INLINE void add_columns(const loam_attention *a, size_t key, size_t n, size_t d,
                             const float *p, size_t m, size_t regs, float *out, const char *ahead) {
    const unsigned char *v = a->v + key * a->kv_stride + 2 * d;
    __m256 acc[12];

    out += d;
#pragma GCC unroll 3
    for (size_t i = 0; i < m; i++)
#pragma GCC unroll 8
        for (size_t c = 0; c < regs; c++)
            acc[i * regs + c] = _mm256_loadu_ps(out + i * a->head_dim + 8 * c);
    for (size_t j = 0; j < n; j++, v += a->kv_stride) {
        __m256 x[3];
        _mm_prefetch(ahead, _MM_HINT_T1);
        if (regs > 4) _mm_prefetch(ahead + 64, _MM_HINT_T1);
        ahead += 16 * regs;
#pragma GCC unroll 3
        for (size_t i = 0; i < m && regs > 2; i++) x[i] = _mm256_broadcast_ss(p + i * SCORES + j);
#pragma GCC unroll 8
        for (size_t c = 0; c < regs; c++) {
            const __m256 b = _mm256_cvtph_ps(load128(v + 16 * c));
#pragma GCC unroll 3
            for (size_t i = 0; i < m; i++)
                acc[i * regs + c] =
                    _mm256_fmadd_ps(b, regs > 2 ? x[i] : _mm256_broadcast_ss(p + i * SCORES + j),
                                    acc[i * regs + c]);
        }
    }
#pragma GCC unroll 3
    for (size_t i = 0; i < m; i++)
#pragma GCC unroll 8
        for (size_t c = 0; c < regs; c++)
            _mm256_storeu_ps(out + i * a->head_dim + 8 * c, acc[i * regs + c]);
}

/* With four rows and more, values in a panel are as fast. */
static int can_add_few(const loam_attention *a) {
    return a->format == LOAM_KV_ROWS_F16 && a->n_rows <= 3 && a->head_dim % 16 == 0;
}

static void add_few(const loam_attention *a, size_t key, size_t n, const float *p, size_t m,
                    float *out, const char *ahead) {
    size_t d = 0;
    const size_t hd = a->head_dim;
    for (; m == 1 && d + 64 <= hd; d += 64)
        add_columns(a, key, n, d, p, 1, 8, out, ahead + 2 * d * n);
    for (; m == 2 && d + 32 <= hd; d += 32)
        add_columns(a, key, n, d, p, 2, 4, out, ahead + 2 * d * n);
    for (; m == 3 && d + 32 <= hd; d += 32)
        add_columns(a, key, n, d, p, 3, 4, out, ahead + 2 * d * n);
    for (; d < hd; d += 16) {
        if (m == 1)
            add_columns(a, key, n, d, p, 1, 2, out, ahead + 2 * d * n);
        else if (m == 2)
            add_columns(a, key, n, d, p, 2, 2, out, ahead + 2 * d * n);
        else
            add_columns(a, key, n, d, p, 3, 2, out, ahead + 2 * d * n);
    }
}

LOAM_INLINE __m256 lanes_in(size_t i, span s) {
    const __m256i index =
        _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32((int)i));
    const __m256i from = _mm256_cmpgt_epi32(index, _mm256_set1_epi32((int)s.begin - 1));
    const __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)s.end), index);
    return _mm256_castsi256_ps(_mm256_and_si256(from, below));
}

/* x over s, with f's meaning of a softcap; what is not of s becomes -inf. */
LOAM_INLINE __m256 score8(const loam_attention *a, const float *x, size_t j, span s, int edge) {
    __m256 v = _mm256_loadu_ps(x + j);
    if (a->softcap > 0.0f) v = _mm256_mul_ps(_mm256_set1_ps(a->softcap * LOAM_LOG2E), tanh8(v));
    return edge ? _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), v, lanes_in(j, s)) : v;
}

static void soften(const loam_attention *a, float *x, span s, float *max, float *sum) {
    const size_t from = s.begin / 16 * 16, to = (s.end + 15) / 16 * 16;
    __m256 top[2], lanes[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};

    top[0] = top[1] = _mm256_set1_ps(-INFINITY);
    for (size_t j = from; j < to; j += 16) {
        const int edge = j < s.begin || j + 16 > s.end;
#pragma GCC unroll 2
        for (size_t i = 0; i < 2; i++) {
            const __m256 v = score8(a, x, j + 8 * i, s, edge);
            if (edge || a->softcap > 0.0f) _mm256_storeu_ps(x + j + 8 * i, v);
            top[i] = _mm256_max_ps(v, top[i]); /* a NaN in v leaves top */
        }
    }
    *max = max_lanes(_mm256_max_ps(top[0], top[1]));
    const __m256 shift = _mm256_set1_ps(*max);
    for (size_t j = from; j < to; j += 16) { /* -inf becomes 0 */
#pragma GCC unroll 2
        for (size_t i = 0; i < 2; i++) {
            const __m256 p = exp2_8(_mm256_sub_ps(_mm256_loadu_ps(x + j + 8 * i), shift));
            _mm256_storeu_ps(x + j + 8 * i, p);
            lanes[i] = _mm256_add_ps(lanes[i], p);
        }
    }
    *sum = sum_tree(lanes[0], lanes[1]);
}

static void scale_row(const float *x, size_t n, float f, float *y) {
    size_t d = 0;
    for (; d + 8 <= n; d += 8)
        _mm256_storeu_ps(y + d, _mm256_mul_ps(_mm256_loadu_ps(x + d), _mm256_set1_ps(f)));
    for (; d < n; d++) y[d] = x[d] * f;
}

static void attention_merge_avx2(float *max, float *sum, float *out, float max2, float sum2,
                                 const float *out2, size_t head_dim) {
    if (merge_empty(max, sum, out, max2, sum2, out2, head_dim)) return;
    const float larger = max2 > *max ? max2 : *max;
    const __m256 f = exp2_8(_mm256_set1_ps(*max - larger));
    const __m256 g = exp2_8(_mm256_set1_ps(max2 - larger));
    const __m128 scaled = _mm_set_ss(*sum * _mm256_cvtss_f32(f));
    *max = larger;
    *sum = _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(sum2), _mm256_castps256_ps128(g), scaled));
    for (size_t d = 0; d < head_dim; d += 8) {
        const size_t part = head_dim - d < 8 ? head_dim - d : 8;
        const __m256 o = _mm256_mul_ps(load_part(out + d, part), f);
        store_part(out + d, part, _mm256_fmadd_ps(load_part(out2 + d, part), g, o));
    }
}

static void kv_quantize_avx2(const float *x, size_t n, unsigned char *row) {
    const __m256 sign = _mm256_set1_ps(-0.0f), largest = _mm256_set1_ps(3.402823466e38f);
    unsigned char *scales = row + n;

    for (size_t k = 0; k < n; k += LOAM_KV_GROUP, scales += 2) {
        const size_t m = n - k < LOAM_KV_GROUP ? n - k : LOAM_KV_GROUP;
        __m256 a = _mm256_setzero_ps(), bad = _mm256_setzero_ps(), v[LOAM_KV_GROUP / 8];
#pragma GCC unroll 4
        for (size_t i = 0; i < LOAM_KV_GROUP / 8; i++) {
            v[i] = m >= 8 * i + 8 ? _mm256_loadu_ps(x + k + 8 * i)
                                  : load_part(x + k + 8 * i, m > 8 * i ? m - 8 * i : 0);
            const __m256 size = _mm256_andnot_ps(sign, v[i]);
            bad = _mm256_or_ps(bad, _mm256_cmp_ps(size, largest, _CMP_NLE_UQ));
            a = _mm256_max_ps(size, a);
        }
        const int finite = _mm256_movemask_ps(bad) == 0;
        const uint16_t d = loam_kv_make_scale(max_lanes(a), finite);
        memcpy(scales, &d, sizeof d);
        if (!finite || !d) {
            memset(row + k, 0, m);
            continue;
        }
        const __m256 inverse = _mm256_set1_ps(1.0f / loam_bf16_to_f32(d));
        unsigned char q[LOAM_KV_GROUP];
#pragma GCC unroll 4
        for (size_t i = 0; i < LOAM_KV_GROUP / 8; i++) {
            const __m256i r = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
            const __m128i pair =
                _mm_packs_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
            _mm_storel_epi64((__m128i *)(void *)(q + 8 * i), _mm_packs_epi16(pair, pair));
        }
        memcpy(row + k, q, m);
    }
}

void loam_avx2_use_attention(loam_kernels *k) {
    k->kv_quantize = kv_quantize_avx2;
    k->attention = attention_by_blocks;
    k->attention_merge = attention_merge_avx2;
    k->attention_finish = attention_finish;
}

#endif
