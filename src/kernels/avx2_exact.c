/* avx2_exact.c - f32 products of one position: sixteen rows straight from the mapped bytes.
 *
 * Lanes are rows, so that each output is one chain of fma over ascending columns.  Eight rows'
 * 32-bit words are transposed in registers, word j of each in one register, and taken apart
 * there:
 *
 *     bf16, f16: two columns a word     4 bits: eight     8 bits: four
 *     3, 5, 6, 2 bits: unpacked to bytes first
 *
 * Two times eight rows share a broadcast column of x and hide each other's latency.  The next
 * sixteen rows are fetched meanwhile, each line once.
 */
#include "avx2.h"

#if defined(__AVX2__)

enum { ROWS = 16, HALF = 8 };

typedef struct rows16 {
    const unsigned char *p, *ahead;
    size_t row_bytes;
} rows16;

/* 16 bytes at p + at of eight rows from `row`: word j of all in t[j]. */
LOAM_INLINE void turn_words(const rows16 *r, size_t row, size_t at, __m256i t[4]) {
    __m256 v[4];
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        const unsigned char *p = r->p + (row + i) * r->row_bytes + at;
        v[i] = _mm256_castsi256_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(load128(p)),
                                                           load128(p + 4 * r->row_bytes), 1));
    }
    const __m256 a = _mm256_unpacklo_ps(v[0], v[1]), b = _mm256_unpackhi_ps(v[0], v[1]);
    const __m256 c = _mm256_unpacklo_ps(v[2], v[3]), d = _mm256_unpackhi_ps(v[2], v[3]);
    t[0] = _mm256_castps_si256(_mm256_shuffle_ps(a, c, 0x44));
    t[1] = _mm256_castps_si256(_mm256_shuffle_ps(a, c, 0xee));
    t[2] = _mm256_castps_si256(_mm256_shuffle_ps(b, d, 0x44));
    t[3] = _mm256_castps_si256(_mm256_shuffle_ps(b, d, 0xee));
}

/* The columns of a word: two of 16 bits, or one. */
LOAM_INLINE void split_word(__m256i t, loam_element e, __m256 out[2]) {
    if (e == LOAM_ELEMENT_F32) {
        out[0] = _mm256_castsi256_ps(t);
    } else if (e == LOAM_ELEMENT_BF16) {
        out[0] = _mm256_castsi256_ps(_mm256_slli_epi32(t, 16));
        out[1] = _mm256_castsi256_ps(_mm256_and_si256(t, _mm256_set1_epi32((int)0xffff0000u)));
    } else {
        const __m256i order =
            _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0, 1, 4, 5, 8, 9,
                             12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
        const __m256i h = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(t, order), 0xd8);
        out[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(h));
        out[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1));
    }
}

/* `n` columns that stand in 16 bytes of each of sixteen rows. */
LOAM_INLINE void dense_piece(const rows16 *r, size_t at, const float *x, size_t n, loam_element e,
                             __m256 acc[2]) {
    const size_t per_word = e == LOAM_ELEMENT_F32 ? 1 : 2;
    __m256i t[2][4];
    turn_words(r, 0, at, t[0]);
    turn_words(r, HALF, at, t[1]);
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; j++) {
        __m256 lo[2], hi[2];
        split_word(t[0][j], e, lo);
        split_word(t[1][j], e, hi);
#pragma GCC unroll 2
        for (size_t i = 0; i < per_word; i++) {
            const size_t k = j * per_word + i;
            if (k >= n) return;
            const __m256 xk = _mm256_broadcast_ss(x + k);
            acc[0] = _mm256_fmadd_ps(lo[i], xk, acc[0]);
            acc[1] = _mm256_fmadd_ps(hi[i], xk, acc[1]);
        }
    }
}

LOAM_INLINE void dense_rows(const rows16 *r, size_t cols, const float *x, loam_element e,
                            float *y) {
    const size_t step = 16 / loam_element_bytes(e);
    const unsigned char *ahead = r->ahead;
    __m256 acc[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t k = 0;

    for (; k + step <= cols; k += step, ahead += 256) {
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) _mm_prefetch((const char *)ahead + 64 * i, _MM_HINT_T0);
        dense_piece(r, k * loam_element_bytes(e), x + k, step, e, acc);
    }
    if (k < cols) { /* the rows' ends, copied to whole pieces */
        unsigned char copy[ROWS * 16] = {0};
        const size_t bytes = (cols - k) * loam_element_bytes(e);
        for (size_t i = 0; i < ROWS; i++)
            memcpy(copy + 16 * i, r->p + i * r->row_bytes + k * loam_element_bytes(e), bytes);
        const rows16 end = {copy, NULL, 16};
        dense_piece(&end, 0, x + k, cols - k, e, acc);
    }
    _mm256_storeu_ps(y, acc[0]);
    _mm256_storeu_ps(y + HALF, acc[1]);
}

/* Scales and biases of a group: of eight rows, and eight. */
typedef struct affine_group {
    __m256 scale[2], bias[2];
} affine_group;

LOAM_INLINE void affine_column(const affine_group *g, __m256i q0, __m256i q1, const float *x,
                               __m256 acc[2]) {
    const __m256 xk = _mm256_broadcast_ss(x);
    const __m256 w0 = _mm256_add_ps(_mm256_mul_ps(g->scale[0], _mm256_cvtepi32_ps(q0)), g->bias[0]);
    const __m256 w1 = _mm256_add_ps(_mm256_mul_ps(g->scale[1], _mm256_cvtepi32_ps(q1)), g->bias[1]);
    acc[0] = _mm256_fmadd_ps(w0, xk, acc[0]);
    acc[1] = _mm256_fmadd_ps(w1, xk, acc[1]);
}

/* 16 bytes of each row: 32 columns of 4 bits, or 16 of a byte each. */
LOAM_INLINE void affine_piece(const rows16 *r, size_t at, const affine_group *g, const float *x,
                              int bits, __m256 acc[2]) {
    const __m256i mask = _mm256_set1_epi32(bits == 4 ? 15 : 255);
    const int per_word = 32 / bits;
    __m256i t[2][4];
    turn_words(r, 0, at, t[0]);
    turn_words(r, HALF, at, t[1]);
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; j++, x += per_word) {
#pragma GCC unroll 8
        for (int i = 0; i < per_word; i++)
            affine_column(g, _mm256_and_si256(_mm256_srli_epi32(t[0][j], bits * i), mask),
                          _mm256_and_si256(_mm256_srli_epi32(t[1][j], bits * i), mask), x + i, acc);
    }
}

typedef struct affine_rows {
    rows16 rows;
    const float *scales, *biases; /* [n_groups][16] */
    size_t cols, group;
} affine_rows;

LOAM_INLINE void affine_any(const affine_rows *a, const float *x, int bits, float *y) {
    const unsigned char *ahead = a->rows.ahead;
    __m256 acc[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};

    for (size_t k = 0; k < a->cols; k += 32) {
        const size_t at = k / 8 * (size_t)bits, g = k / a->group * ROWS;
        const affine_group group = {
            {_mm256_loadu_ps(a->scales + g), _mm256_loadu_ps(a->scales + g + HALF)},
            {_mm256_loadu_ps(a->biases + g), _mm256_loadu_ps(a->biases + g + HALF)}};
        for (size_t i = 0; i < (size_t)bits; i++, ahead += 64) /* 32 columns of sixteen rows */
            _mm_prefetch((const char *)ahead, _MM_HINT_T0);
        if (bits == 4) {
            affine_piece(&a->rows, at, &group, x + k, 4, acc);
            continue;
        }
        unsigned char bytes[ROWS * 32];
        rows16 part = a->rows;
        size_t from = at;
        if (bits != 8) {
            for (size_t r = 0; r < ROWS; r++)
                store256(bytes + 32 * r, unpack32(a->rows.p + r * a->rows.row_bytes + at, bits));
            part = (rows16){bytes, NULL, 32};
            from = 0;
        }
        affine_piece(&part, from, &group, x + k, 8, acc);
        affine_piece(&part, from + 16, &group, x + k + 16, 8, acc);
    }
    _mm256_storeu_ps(y, acc[0]);
    _mm256_storeu_ps(y + HALF, acc[1]);
}

static void affine_rows16(const affine_rows *a, const float *x, int bits, float *y) {
    switch (bits) {
    case 2: affine_any(a, x, 2, y); return;
    case 3: affine_any(a, x, 3, y); return;
    case 4: affine_any(a, x, 4, y); return;
    case 5: affine_any(a, x, 5, y); return;
    case 6: affine_any(a, x, 6, y); return;
    default: affine_any(a, x, 8, y); return;
    }
}

static void place_scales16(const loam_matrix *w, size_t row, size_t end_row, float *scales,
                           float *biases) {
    for (size_t half = 0; half < ROWS; half += HALF) {
        size_t rows[HALF];
        for (size_t i = 0; i < HALF; i++) rows[i] = row + half + i;
        loam_avx2_scales8(w, w->scales, rows, end_row, scales + half, ROWS);
        loam_avx2_scales8(w, w->biases, rows, end_row, biases + half, ROWS);
    }
}

size_t loam_avx2_float_vector(const loam_matrix *w, size_t row0, size_t n_rows, const float *x,
                              float *y, void *scratch) {
    const size_t row_bytes = loam_matrix_row_bytes(w);
    size_t r = 0;

    for (; r + ROWS <= n_rows; r += ROWS) {
        const unsigned char *p = w->data + (row0 + r) * row_bytes;
        const rows16 rows = {p, p + ROWS * row_bytes, row_bytes};
        switch (w->element) {
        case LOAM_ELEMENT_F32: dense_rows(&rows, w->cols, x, LOAM_ELEMENT_F32, y + r); break;
        case LOAM_ELEMENT_F16: dense_rows(&rows, w->cols, x, LOAM_ELEMENT_F16, y + r); break;
        case LOAM_ELEMENT_BF16: dense_rows(&rows, w->cols, x, LOAM_ELEMENT_BF16, y + r); break;
        default: {
            float *scales = scratch, *biases = scales + w->cols / (size_t)w->group * ROWS;
            place_scales16(w, row0 + r, row0 + n_rows, scales, biases);
            affine_rows16(&(affine_rows){rows, scales, biases, w->cols, (size_t)w->group}, x,
                          w->bits, y + r);
        }
        }
    }
    return r;
}

#endif
