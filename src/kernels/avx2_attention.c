/* avx2_attention.c - attention by the f32 tile: up to 32 query rows against 64 keys.
 *
 *     keys [64][head_dim] --convert, transpose--> 4 panels [head_dim][16 keys]
 *     scores [rows][64] = tile(q, panel);   softmax step per row;
 *     out [rows][head_dim] += tile(p [rows][64], values [64][head_dim] as f32)
 *
 * Lanes hold keys in the first product and head dimensions in the second, so both sums run
 * upwards one fma at a time.  Rows of a tile may see different keys at either end of the block
 * (causal, window): the keys all of them see go through the tile, the others row by row, so
 * that no key outside a row's sight is ever multiplied, not even by zero.
 */
#include "avx2.h"
#include <math.h>

#if defined(__AVX2__)

#define TILE     avx2_tile
#define TILE_RUN loam_avx2_tile
enum { TILE_ROWS = AVX2_TILE_ROWS, TILE_COLS = AVX2_TILE_COLS };
#include "attention_blocks.h"

static void load_values(const loam_attention *a, size_t key, size_t n, size_t dim, float *out) {
    for (size_t j = 0; j < n; j++, out += dim) {
        const size_t at = (key + j) * a->kv_stride;
        size_t d = 0;
        if (!a->f16) {
            memcpy(out, (const float *)a->v + at, a->head_dim * sizeof *out);
            d = a->head_dim;
        }
        for (; d + 8 <= a->head_dim; d += 8)
            _mm256_storeu_ps(out + d, _mm256_cvtph_ps(load128((const uint16_t *)a->v + at + d)));
        for (; d < a->head_dim; d++) out[d] = _cvtsh_ss(((const uint16_t *)a->v)[at + d]);
        for (; d < dim; d++) out[d] = 0.0f;
    }
}

/* Scores of all rows for keys key .. key + n (n up to KEYS; columns beyond repeat a key). */
static void score_block(const loam_attention *a, const attention_room *r, size_t key, size_t n) {
    const loam_matrix keys = {.element = a->f16 ? LOAM_ELEMENT_F16 : LOAM_ELEMENT_F32};
    const size_t row_bytes = a->kv_stride * (a->f16 ? 2 : 4);

    for (size_t j = 0; j < n; j += PANEL_KEYS) {
        float *panel = r->keys + j * a->head_dim;
        loam_avx2_pack(&keys, a->k, row_bytes, key + j, n - j < PANEL_KEYS ? n - j : PANEL_KEYS, 0,
                       a->head_dim, panel, r->buffer);
        for (size_t t = 0; t < a->n_rows; t += AVX2_TILE_ROWS) {
            const avx2_tile tile = {.x = r->q + t * a->head_dim,
                                    .x_stride = a->head_dim,
                                    .b = panel,
                                    .b_stride = PANEL_KEYS,
                                    .n_k = a->head_dim,
                                    .y = r->scores + t * KEYS + j,
                                    .y_stride = KEYS,
                                    .begin = 1};
            loam_avx2_tile(&tile, a->n_rows - t < AVX2_TILE_ROWS ? a->n_rows - t : AVX2_TILE_ROWS);
        }
    }
}

LOAM_INLINE __m256 lanes_in(size_t i, span s) {
    const __m256i index =
        _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32((int)i));
    const __m256i from = _mm256_cmpgt_epi32(index, _mm256_set1_epi32((int)s.begin - 1));
    const __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)s.end), index);
    return _mm256_castsi256_ps(_mm256_and_si256(from, below));
}

/* Scores of one row become p; returns the factor for what was summed before. */
static float soften(const loam_attention *a, float *x, span s, float *max, float *sum) {
    const __m256 scale = _mm256_set1_ps(a->scale), cap = _mm256_set1_ps(a->softcap);
    const size_t from = s.begin / 16 * 16, to = (s.end + 15) / 16 * 16;
    __m256 top = _mm256_set1_ps(*max);
    __m256 low = _mm256_setzero_ps(), high = _mm256_setzero_ps();

    for (size_t j = from; j < to; j += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + j), scale);
        if (a->softcap > 0.0f) v = _mm256_mul_ps(cap, tanh8(_mm256_div_ps(v, cap)));
        v = _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), v, lanes_in(j, s));
        _mm256_storeu_ps(x + j, v);
        top = _mm256_max_ps(v, top); /* a NaN in v leaves top */
    }
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(top), _mm256_extractf128_ps(top, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    const float larger = _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
    const __m256 shift = _mm256_set1_ps(larger);
    for (size_t j = from; j < to; j += 16) {
        const __m256 p0 = exp8(_mm256_sub_ps(_mm256_loadu_ps(x + j), shift));
        const __m256 p1 = exp8(_mm256_sub_ps(_mm256_loadu_ps(x + j + 8), shift));
        const __m256 in0 = _mm256_and_ps(p0, lanes_in(j, s)),
                     in1 = _mm256_and_ps(p1, lanes_in(j + 8, s));
        _mm256_storeu_ps(x + j, in0);
        _mm256_storeu_ps(x + j + 8, in1);
        low = _mm256_add_ps(low, in0);
        high = _mm256_add_ps(high, in1);
    }
    const float f = _mm256_cvtss_f32(exp8(_mm256_set1_ps(*max - larger)));
    *sum = _mm_cvtss_f32(
        _mm_fmadd_ss(_mm_set_ss(*sum), _mm_set_ss(f), _mm_set_ss(sum_tree(low, high))));
    *max = larger;
    return f;
}

static void scale_row(float *out, size_t n, float f) {
    size_t d = 0;
    for (; d + 8 <= n; d += 8)
        _mm256_storeu_ps(out + d, _mm256_mul_ps(_mm256_loadu_ps(out + d), _mm256_set1_ps(f)));
    for (; d < n; d++) out[d] *= f;
}

static void attention_merge_avx2(float *max, float *sum, float *out, float max2, float sum2,
                                 const float *out2, size_t head_dim) {
    if (max2 == -INFINITY && sum2 == 0.0f) return;
    if (*max == -INFINITY && *sum == 0.0f) {
        *max = max2;
        *sum = sum2;
        memcpy(out, out2, head_dim * sizeof *out);
        return;
    }
    const float larger = max2 > *max ? max2 : *max;
    const __m256 f = exp8(_mm256_set1_ps(*max - larger)), g = exp8(_mm256_set1_ps(max2 - larger));
    const __m128 scaled = _mm_set_ss(*sum * _mm256_cvtss_f32(f));
    *max = larger;
    *sum = _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(sum2), _mm256_castps256_ps128(g), scaled));
    for (size_t d = 0; d < head_dim; d += 8) {
        const size_t part = head_dim - d < 8 ? head_dim - d : 8;
        const __m256 o = _mm256_mul_ps(load_part(out + d, part), f);
        store_part(out + d, part, _mm256_fmadd_ps(load_part(out2 + d, part), g, o));
    }
}

void loam_avx2_use_attention(loam_kernels *k) {
    k->attention = attention_by_blocks;
    k->attention_merge = attention_merge_avx2;
}

#endif
