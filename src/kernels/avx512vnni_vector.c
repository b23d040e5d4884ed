/* avx512vnni_vector.c - affine weights times one position, or up to four: decoding, bound by
 * memory.
 *
 * Eight rows at a time, straight from the bit stream, 128 columns a step (avx512.h, "unit").  Two
 * VPDPBUSD make sixteen sums of a row, four in each quarter; eight rows become two registers whose
 * quarters hold the sums of four rows each by 18 instructions, and a few more join the quarters of
 * a group and put the eight rows side by side:
 *
 *     group 32:   [g | g + 1]  [g + 2 | g + 3]     eight rows each
 *     group 64:   [g | g + 1]
 *     group 128:  [g]
 *
 * x stands in the order that meets the weights as they come.  Scales are transposed for all groups
 * of the eight rows, sixteen groups at a time.  Several positions share a step's weights.
 *
 * The eight rows lie one after another in memory, then come the next eight: while column k is at
 * work, the part of those that is as far along is fetched, each cache line once and in order, LOOK
 * bytes ahead.
 */
#include "avx512.h"

#ifdef LOAM_AVX512

enum { ROWS = 8, BLOCKS = 4, M_MAX = LOAM_AVX512_VECTOR_MAX, LOOK = 2048 };

typedef struct position {
    const int8_t *x; /* in the order of the units, padded with zeros to whole ones */
    const float *d;  /* [padded groups][ROWS], each eight times */
    const float *s;  /* [n_groups] */
} position;

typedef struct vector_args {
    const position *at;
    const unsigned char *row[ROWS];
    const float *scales; /* [padded groups][ROWS] */
    size_t cols, group, log_group;
    const unsigned char *ahead; /* what to fetch at column 0 */
} vector_args;

/* Four registers of sums: quarter L of the result holds the sums of their quarters L. */
LOAM_INLINE __m512i add_pairs(__m512i a, __m512i b) {
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}
LOAM_INLINE __m512i join_pairs(__m512i ab, __m512i cd) {
    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

/* acc += scale * d * sum of two groups, [g | g + 1] x eight rows; of the first only if n is 1. */
LOAM_INLINE __m256 add_two(const float *scales, const float *d, __m512i sum, size_t n, __m256 acc) {
    const __m512 f = _mm512_mul_ps(_mm512_loadu_ps(scales), _mm512_loadu_ps(d));
    const __m512 i = _mm512_cvtepi32_ps(sum);
    acc = _mm256_fmadd_ps(_mm512_castps512_ps256(f), _mm512_castps512_ps256(i), acc);
    if (n == 1) return acc;
    const __m256 f1 = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(f), 1));
    const __m256 i1 = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(i), 1));
    return _mm256_fmadd_ps(f1, i1, acc);
}

/* Quarters L of rows 0 - 3 and 4 - 7, n_columns of a unit, into acc. */
LOAM_INLINE __m256 add_unit(const vector_args *t, const position *p, size_t k, size_t n_columns,
                            __m512i lo, __m512i hi, __m256 acc) {
    const size_t g = k >> t->log_group;
    const float *scales = t->scales + g * ROWS, *d = p->d + g * ROWS;

    if (t->group == 32) {
        const __m512i i01 = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
        const __m512i i23 = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
        const size_t n = n_columns / 32;
        acc = add_two(scales, d, _mm512_permutex2var_epi64(lo, i01, hi), n < 2 ? n : 2, acc);
        if (n <= 2) return acc;
        return add_two(scales + 2 * ROWS, d + 2 * ROWS, _mm512_permutex2var_epi64(lo, i23, hi),
                       n - 2 < 2 ? n - 2 : 2, acc);
    }
    const __m512i i02 = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    const __m512i i13 = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    const __m512i sum = _mm512_add_epi32(_mm512_permutex2var_epi64(lo, i02, hi),
                                         _mm512_permutex2var_epi64(lo, i13, hi));
    if (t->group == 64) return add_two(scales, d, sum, n_columns <= 64 ? 1 : 2, acc);
    const __m256i all =
        _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64(sum, 1));
    const __m256 f = _mm256_mul_ps(_mm256_loadu_ps(scales), _mm256_loadu_ps(d));
    return _mm256_fmadd_ps(f, _mm256_cvtepi32_ps(all), acc);
}

/* n_columns (UNIT, or fewer at the end of the rows) from column k on. */
LOAM_INLINE void step8(const vector_args *t, size_t k, size_t n_columns, int bits, size_t m,
                       __m256 acc[M_MAX]) {
    const size_t at = k / 8 * (size_t)bits;
    __m512i half[2][M_MAX];

    /* 128 columns of eight rows are 128 * bits bytes */
#pragma GCC unroll 16
    for (size_t i = 0; i < 2 * (size_t)bits; i++)
        _mm_prefetch((const char *)t->ahead + ROWS * at + 64 * i, _MM_HINT_T0);
#pragma GCC unroll 2
    for (size_t h = 0; h < 2; h++) {
        __m512i pair[M_MAX];
#pragma GCC unroll 2
        for (size_t j = 0; j < 2; j++) {
            __m512i first[M_MAX];
#pragma GCC unroll 2
            for (size_t e = 0; e < 2; e++) {
                const unsigned char *p = t->row[4 * h + 2 * j + e] + at;
                const unit512 u = load_unit512(p, bits, n_columns, 1);
#pragma GCC unroll 4
                for (size_t i = 0; i < m; i++) {
                    const int8_t *x = t->at[i].x + k;
                    __m512i v = dot4(_mm512_setzero_si512(), u.q0, load512(x));
                    v = dot4(v, u.q1, load512(x + 64));
                    if (e == 0)
                        first[i] = v;
                    else if (j == 0)
                        pair[i] = add_pairs(first[i], v);
                    else
                        half[h][i] = join_pairs(pair[i], add_pairs(first[i], v));
                }
            }
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < m; i++)
        acc[i] = add_unit(t, &t->at[i], k, n_columns, half[0][i], half[1][i], acc[i]);
}

typedef void (*rows8_fn)(const vector_args *t, float *out, size_t out_stride);

/* Eight outputs of each of m positions, still without the biases. */
LOAM_INLINE void rows8(const vector_args *t, int bits, size_t m, float *out, size_t out_stride) {
    __m256 acc[M_MAX];
    size_t k = 0;

#pragma GCC unroll 4
    for (size_t i = 0; i < m; i++) acc[i] = _mm256_setzero_ps();
    for (; k + UNIT <= t->cols; k += UNIT) step8(t, k, UNIT, bits, m, acc);
    if (k < t->cols) step8(t, k, t->cols - k, bits, m, acc);
#pragma GCC unroll 4
    for (size_t i = 0; i < m; i++) _mm256_storeu_ps(out + i * out_stride, acc[i]);
}

#define DEFINE_ROWS8(BITS, M)                                                                      \
    static void rows8_##BITS##_##M(const vector_args *t, float *out, size_t out_stride) {          \
        rows8(t, BITS, M, out, out_stride);                                                        \
    }
#define DEFINE_BITS(BITS)                                                                          \
    DEFINE_ROWS8(BITS, 1)                                                                          \
    DEFINE_ROWS8(BITS, 2)                                                                          \
    DEFINE_ROWS8(BITS, 3)                                                                          \
    DEFINE_ROWS8(BITS, 4)
#define LIST_BITS(BITS)                                                                            \
    { rows8_##BITS##_1, rows8_##BITS##_2, rows8_##BITS##_3, rows8_##BITS##_4 }

DEFINE_BITS(2)
DEFINE_BITS(3)
DEFINE_BITS(4)
DEFINE_BITS(5)
DEFINE_BITS(6)
DEFINE_BITS(8)

/* x in the order of raw units: bytes within sixteen, then dwords of all 128. */
static void arrange(const int8_t *x, size_t cols, int bits, int8_t *out) {
    static const char in_order[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static const char by_two[16] = {0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15};
    static const char by_four[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
    /* dwords 0 - 3 of q0's first quarter, those of q1's: the further quarters are 8 on */
    static const int dwords[3][8] = {
        {0, 1, 2, 3, 4, 5, 6, 7}, {0, 1, 4, 5, 2, 3, 6, 7}, {0, 4, 2, 6, 1, 5, 3, 7}};
    const int kind = bits == 4 ? 1 : bits == 2 ? 2 : 0;
    const __m512i bytes = four_times(kind == 1 ? by_two : kind == 2 ? by_four : in_order);
    const __m512i quarter =
        _mm512_setr_epi32(0, 0, 0, 0, 8, 8, 8, 8, 16, 16, 16, 16, 24, 24, 24, 24);
    const __m512i i0 = _mm512_add_epi32(quarter, four_times(dwords[kind]));
    const __m512i i1 = _mm512_add_epi32(quarter, four_times(dwords[kind] + 4));

    for (size_t k = 0; k < cols; k += UNIT) {
        const unsigned char *p = (const unsigned char *)x + k;
        const size_t n = (cols - k) / 4;
        const __m512i a = _mm512_shuffle_epi8(load_dwords(p, 0, n), bytes);
        const __m512i b = _mm512_shuffle_epi8(load_dwords(p, 16, n), bytes);
        _mm512_storeu_si512(out + k, _mm512_permutex2var_epi32(a, i0, b));
        _mm512_storeu_si512(out + k + 64, _mm512_permutex2var_epi32(a, i1, b));
    }
}

static position place_position(const loam_matrix *w, const loam_acts *a, size_t i,
                               unsigned char *room) {
    const size_t padded = (w->cols + UNIT - 1) / UNIT * UNIT, groups = w->cols / (size_t)w->group;
    int8_t *x = (int8_t *)room;
    float *d = (float *)(void *)(room + padded);
    const float *from = a->d + i * a->g_stride;

    arrange(a->q + i * a->q_stride, w->cols, w->bits, x);
    for (size_t g = 0; g < padded_groups(w); g++)
        _mm256_storeu_ps(d + g * ROWS, _mm256_set1_ps(g < groups ? from[g] : 0.0f));
    return (position){x, d, a->s + i * a->g_stride};
}

static size_t position_bytes(const loam_matrix *w) {
    return (w->cols + UNIT - 1) / UNIT * UNIT + padded_groups(w) * ROWS * sizeof(float);
}

typedef struct vector_job {
    const loam_matrix *w;
    const position *at;
    const rows8_fn *fns;
    size_t m, end_row;
    float *scales; /* [padded groups][ROWS] */
    float *biases; /* [BLOCKS][padded groups][ROWS] */
} vector_job;

static void fetch_scales(const loam_matrix *w, size_t row) {
    const size_t bytes = w->cols / (size_t)w->group * loam_element_bytes(w->scale);
    for (size_t i = 0; i < ROWS * bytes; i += 64) {
        _mm_prefetch((const char *)w->scales + row * bytes + i, _MM_HINT_T0);
        _mm_prefetch((const char *)w->biases + row * bytes + i, _MM_HINT_T0);
    }
}

/* Eight rows, of which n exist, without the biases: out [position][BLOCKS * ROWS]. */
static void multiply_rows8(const vector_job *j, size_t row, size_t n, float *biases, float *out) {
    const loam_matrix *w = j->w;
    const size_t row_bytes = loam_matrix_row_bytes(w);
    size_t rows[ROWS];
    vector_args t = {.at = j->at,
                     .scales = j->scales,
                     .cols = w->cols,
                     .group = (size_t)w->group,
                     .log_group = w->group == 32   ? 5
                                  : w->group == 64 ? 6
                                                   : 7};

    for (size_t i = 0; i < ROWS; i++) {
        rows[i] = row + (i < n ? i : n - 1);
        t.row[i] = w->data + rows[i] * row_bytes;
    }
    t.ahead = w->data + (row + ROWS) * row_bytes + LOOK;
    fetch_scales(w, row + 2 * ROWS);
    loam_avx512_scales8(w, w->scales, rows, j->end_row, j->scales, ROWS);
    loam_avx512_scales8(w, w->biases, rows, j->end_row, biases, ROWS);
    j->fns[j->m - 1](&t, out, BLOCKS * ROWS);
}

/* Each output's sum must run through the groups in order: four blocks of rows at a time hide the
 * latency. */
static void add_biases(const float *biases, size_t block, size_t n_groups, const float *s,
                       float *out) {
    __m256 a[BLOCKS];
#pragma GCC unroll 4
    for (size_t b = 0; b < BLOCKS; b++) a[b] = _mm256_loadu_ps(out + b * ROWS);
    for (size_t g = 0; g < n_groups; g++, biases += ROWS) {
        const __m256 sg = _mm256_broadcast_ss(s + g);
#pragma GCC unroll 4
        for (size_t b = 0; b < BLOCKS; b++)
            a[b] = _mm256_fmadd_ps(_mm256_loadu_ps(biases + b * block), sg, a[b]);
    }
#pragma GCC unroll 4
    for (size_t b = 0; b < BLOCKS; b++) _mm256_storeu_ps(out + b * ROWS, a[b]);
}

void loam_avx512vnni_vector(const loam_matrix *w, size_t row0, size_t n_rows, const loam_acts *a,
                            size_t m, float *y, size_t y_stride, void *scratch) {
    static const rows8_fn by_bits[][M_MAX] = {
        [2] = LIST_BITS(2), [3] = LIST_BITS(3), [4] = LIST_BITS(4),
        [5] = LIST_BITS(5), [6] = LIST_BITS(6), [8] = LIST_BITS(8)};
    const size_t n_groups = w->cols / (size_t)w->group, block = padded_groups(w) * ROWS;
    unsigned char *room = scratch;
    position positions[M_MAX];
    float sums[M_MAX * BLOCKS * ROWS];

    if (m == 0) return;
    for (size_t i = 0; i < m; i++, room += position_bytes(w))
        positions[i] = place_position(w, a, i, room);
    vector_job j = {.w = w,
                    .at = positions,
                    .fns = by_bits[w->bits],
                    .m = m,
                    .end_row = row0 + n_rows,
                    .scales = (float *)(void *)room};
    j.biases = j.scales + block;
    for (size_t r = 0; r < n_rows; r += BLOCKS * ROWS) {
        const size_t rows = n_rows - r < BLOCKS * ROWS ? n_rows - r : BLOCKS * ROWS;
        for (size_t b = 0; b * ROWS < rows; b++) {
            const size_t left = rows - b * ROWS;
            multiply_rows8(&j, row0 + r + b * ROWS, left < ROWS ? left : ROWS, j.biases + b * block,
                           sums + b * ROWS);
        }
        for (size_t i = 0; i < m; i++) {
            float *out = sums + i * BLOCKS * ROWS;
            add_biases(j.biases, block, n_groups, positions[i].s, out);
            memcpy(y + i * y_stride + r, out, rows * sizeof *y);
        }
    }
}

#endif
