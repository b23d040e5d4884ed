/* avx2_vector.c - affine weights times one position, or a few: the decode step, bound by memory.
 *
 * Eight rows at a time, straight from the bit stream.  A unit is 64 columns of a row as two
 * byte vectors; x is kept in the order that meets them: for 4 bits the even columns, then the
 * odd ones, so that a unit is one load, an and, a shift and an and:
 *
 *     32 bytes = 64 q:   low nibbles  * x even[32]  +  high nibbles * x odd[32]
 *
 * Each row's sum over a group is spread over a register; eight registers are added into one
 * whose lanes are the rows.  With groups of 32 the halves of the registers stay apart and
 * give two groups.  Scales are transposed too, all groups of the eight rows at once.
 *
 * The rows that come next are fetched into the cache eight rows ahead, at the same column.
 */
#include "avx2.h"

#if defined(__AVX2__)

enum { ROWS = 8 };

typedef struct vector_args {
    const loam_matrix *w;
    const int8_t *x;     /* in the order of the units */
    const int32_t *sums; /* 8 bits: 128 * sum of x^ [n_groups] */
    const float *d, *s;
    const unsigned char *row[ROWS];
    size_t rows[ROWS];
    float *scales, *biases; /* [n_groups][ROWS], room */
    size_t ahead;           /* bytes to the rows eight further on */
} vector_args;

/* Halves of one 32-column vector pair: [first 32 columns | next 32]. */
LOAM_INLINE __m256i join_halves(__m256i a, __m256i b) {
    return _mm256_add_epi16(_mm256_permute2x128_si256(a, b, 0x20),
                            _mm256_permute2x128_si256(a, b, 0x31));
}

/* 64 columns of one row: sixteen sums of 16 bits (8 bits: eight of 32).  With `split` the low
 * half holds the first 32 columns. */
LOAM_INLINE __m256i unit(const unsigned char *p, const int8_t *x, int bits, int split) {
    const __m256i x0 = load256(x), x1 = load256(x + 32);
    if (bits == 4) {
        const __m256i v = load256(p), mask = _mm256_set1_epi8(15);
        const __m256i lo = _mm256_and_si256(v, mask);
        const __m256i hi = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
        return _mm256_add_epi16(_mm256_maddubs_epi16(lo, x0), _mm256_maddubs_epi16(hi, x1));
    }
    __m256i q0 = unpack32(p, bits), q1 = unpack32(p + 4 * bits, bits);
    if (bits == 8) {
        const __m256i flip = _mm256_set1_epi8((char)0x80), ones = _mm256_set1_epi16(1);
        q0 = _mm256_xor_si256(q0, flip);
        q1 = _mm256_xor_si256(q1, flip);
        const __m256i p0 = _mm256_maddubs_epi16(_mm256_abs_epi8(q0), _mm256_sign_epi8(x0, q0));
        const __m256i p1 = _mm256_maddubs_epi16(_mm256_abs_epi8(q1), _mm256_sign_epi8(x1, q1));
        const __m256i s0 = _mm256_madd_epi16(p0, ones), s1 = _mm256_madd_epi16(p1, ones);
        if (!split) return _mm256_add_epi32(s0, s1);
        return _mm256_add_epi32(_mm256_permute2x128_si256(s0, s1, 0x20),
                                _mm256_permute2x128_si256(s0, s1, 0x31));
    }
    const __m256i p0 = _mm256_maddubs_epi16(q0, x0), p1 = _mm256_maddubs_epi16(q1, x1);
    return split ? join_halves(p0, p1) : _mm256_add_epi16(p0, p1);
}

/* Eight registers of eight 32-bit sums into one: lane r is the sum of row r, of the low
 * halves (*low) and the high halves (*high). */
LOAM_INLINE void reduce8(const __m256i v[8], __m256i *low, __m256i *high) {
    __m256i a[4], b[2];
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++)
        a[i] = _mm256_add_epi32(_mm256_unpacklo_epi64(v[2 * i], v[2 * i + 1]),
                                _mm256_unpackhi_epi64(v[2 * i], v[2 * i + 1]));
#pragma GCC unroll 2
    for (size_t i = 0; i < 2; i++) {
        const __m256 p = _mm256_castsi256_ps(a[2 * i]), q = _mm256_castsi256_ps(a[2 * i + 1]);
        b[i] = _mm256_add_epi32(_mm256_castps_si256(_mm256_shuffle_ps(p, q, 0x88)),
                                _mm256_castps_si256(_mm256_shuffle_ps(p, q, 0xdd)));
    }
    *low = _mm256_permute2x128_si256(b[0], b[1], 0x20);
    *high = _mm256_permute2x128_si256(b[0], b[1], 0x31);
}

/* The same from sixteen 16-bit sums each, where four of them still fit 16 bits. */
LOAM_INLINE void reduce8_narrow(const __m256i v[8], __m256i *low, __m256i *high) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i a[4], b[2];
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++)
        a[i] = _mm256_add_epi16(_mm256_unpacklo_epi64(v[2 * i], v[2 * i + 1]),
                                _mm256_unpackhi_epi64(v[2 * i], v[2 * i + 1]));
#pragma GCC unroll 2
    for (size_t i = 0; i < 2; i++) {
        const __m256 p = _mm256_castsi256_ps(a[2 * i]), q = _mm256_castsi256_ps(a[2 * i + 1]);
        b[i] =
            _mm256_madd_epi16(_mm256_add_epi16(_mm256_castps_si256(_mm256_shuffle_ps(p, q, 0x88)),
                                               _mm256_castps_si256(_mm256_shuffle_ps(p, q, 0xdd))),
                              ones);
    }
    *low = _mm256_permute2x128_si256(b[0], b[1], 0x20);
    *high = _mm256_permute2x128_si256(b[0], b[1], 0x31);
}

/* 64 columns from `k` of eight rows: sums by row, of the first and the last 32 columns when
 * `split`, else to be added. */
LOAM_INLINE void unit8(const vector_args *t, size_t k, int bits, int split, __m256i *low,
                       __m256i *high) {
    const size_t at = k / 8 * (size_t)bits;
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i v[ROWS];

#pragma GCC unroll 8
    for (size_t r = 0; r < ROWS; r++) {
        v[r] = unit(t->row[r] + at, t->x + k, bits, split);
        _mm_prefetch((const char *)t->row[r] + at + t->ahead, _MM_HINT_T0);
    }
    if (bits <= 4) {
        reduce8_narrow(v, low, high);
        return;
    }
    if (bits != 8) {
#pragma GCC unroll 8
        for (size_t r = 0; r < ROWS; r++) v[r] = _mm256_madd_epi16(v[r], ones);
    }
    reduce8(v, low, high);
}

/* The last 32 columns of a row that is no multiple of 64 (groups of 32): its unit is the
 * first half of a unit made of copies. */
static void unit8_tail(const vector_args *t, size_t k, int bits, __m256i *low) {
    unsigned char copy[ROWS][64] = {{0}};
    int8_t x[64] = {0};
    vector_args part = *t;
    __m256i high;
    const size_t at = k / 8 * (size_t)bits;

    for (size_t r = 0; r < ROWS; r++) {
        memcpy(copy[r], t->row[r] + at, 4 * (size_t)bits);
        part.row[r] = copy[r];
    }
    memcpy(x, t->x + k, 64); /* x is padded with zeros to units */
    part.x = x;
    part.ahead = 0;
    switch (bits) {
    case 2: unit8(&part, 0, 2, 1, low, &high); return;
    case 3: unit8(&part, 0, 3, 1, low, &high); return;
    case 4: unit8(&part, 0, 4, 1, low, &high); return;
    case 5: unit8(&part, 0, 5, 1, low, &high); return;
    case 6: unit8(&part, 0, 6, 1, low, &high); return;
    default: unit8(&part, 0, 8, 1, low, &high); return;
    }
}

LOAM_INLINE __m256 add_group(const vector_args *t, size_t g, __m256i sum, int bits,
                             const float *scales, __m256 acc) {
    const __m256 d = _mm256_broadcast_ss(t->d + g), s = _mm256_loadu_ps(scales);
    if (bits == 8) sum = _mm256_add_epi32(sum, _mm256_set1_epi32(t->sums[g]));
    return _mm256_fmadd_ps(_mm256_mul_ps(s, d), _mm256_cvtepi32_ps(sum), acc);
}

/* Eight outputs. */
LOAM_INLINE __m256 rows8(const vector_args *t, int bits, size_t group) {
    const size_t n_groups = t->w->cols / group;
    const float *scales = t->scales;
    __m256 acc = _mm256_setzero_ps();
    __m256i low, high;

    if (group == 32) {
        for (size_t g = 0; g + 2 <= n_groups; g += 2) {
            unit8(t, g * 32, bits, 1, &low, &high);
            acc = add_group(t, g, low, bits, scales + g * ROWS, acc);
            acc = add_group(t, g + 1, high, bits, scales + (g + 1) * ROWS, acc);
        }
        if (n_groups % 2) {
            unit8_tail(t, (n_groups - 1) * 32, bits, &low);
            acc = add_group(t, n_groups - 1, low, bits, scales + (n_groups - 1) * ROWS, acc);
        }
    } else {
        for (size_t g = 0; g < n_groups; g++) {
            unit8(t, g * group, bits, 0, &low, &high);
            __m256i sum = _mm256_add_epi32(low, high);
            if (group == 128) {
                unit8(t, g * group + 64, bits, 0, &low, &high);
                sum = _mm256_add_epi32(sum, _mm256_add_epi32(low, high));
            }
            acc = add_group(t, g, sum, bits, scales + g * ROWS, acc);
        }
    }
    for (size_t g = 0; g < n_groups; g++)
        acc = _mm256_fmadd_ps(_mm256_loadu_ps(t->biases + g * ROWS), _mm256_broadcast_ss(t->s + g),
                              acc);
    return acc;
}

LOAM_INLINE __m256 rows8_bits(const vector_args *t, int bits) {
    switch (t->w->group) {
    case 32: return rows8(t, bits, 32);
    case 64: return rows8(t, bits, 64);
    default: return rows8(t, bits, 128);
    }
}

static void rows8_2(const vector_args *t, float *y, size_t n) {
    store_part(y, n, rows8_bits(t, 2));
}
static void rows8_3(const vector_args *t, float *y, size_t n) {
    store_part(y, n, rows8_bits(t, 3));
}
static void rows8_4(const vector_args *t, float *y, size_t n) {
    store_part(y, n, rows8_bits(t, 4));
}
static void rows8_5(const vector_args *t, float *y, size_t n) {
    store_part(y, n, rows8_bits(t, 5));
}
static void rows8_6(const vector_args *t, float *y, size_t n) {
    store_part(y, n, rows8_bits(t, 6));
}
static void rows8_8(const vector_args *t, float *y, size_t n) {
    store_part(y, n, rows8_bits(t, 8));
}

/* x in the order of the units, padded with zeros to 64. */
static void arrange(const int8_t *x, size_t cols, int bits, int8_t *out) {
    const size_t whole = cols / 64 * 64;
    if (bits != 4) {
        memcpy(out, x, cols);
        memset(out + cols, 0, (64 - cols % 64) % 64);
        return;
    }
    const __m256i even = _mm256_set1_epi16(0xff);
    for (size_t k = 0; k < whole; k += 64) {
        const __m256i a = load256(x + k), b = load256(x + k + 32);
        const __m256i e = _mm256_packus_epi16(_mm256_and_si256(a, even), _mm256_and_si256(b, even));
        const __m256i o = _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8));
        store256(out + k, _mm256_permute4x64_epi64(e, 0xd8));
        store256(out + k + 32, _mm256_permute4x64_epi64(o, 0xd8));
    }
    if (whole == cols) return;
    memset(out + whole, 0, 64);
    for (size_t k = 0; k < cols - whole; k++) out[whole + k / 2 + k % 2 * 32] = x[whole + k];
}

/* 16-bit scales of sixteen groups at once: as 32-bit lanes they transpose in pairs, and a
 * bf16 becomes f32 by a shift or a mask. */
static size_t scales8_bf16(const unsigned char *const p[8], size_t n, float *out, size_t stride) {
    const __m256i high = _mm256_set1_epi32((int)0xffff0000u);
    size_t g = 0;

    for (; g + 16 <= n; g += 16) {
        __m256 t[8];
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++) t[i] = _mm256_castsi256_ps(load256(p[i] + 2 * g));
        transpose8(t);
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++) {
            const __m256i v = _mm256_castps_si256(t[i]);
            float *o = out + (g + 2 * i) * stride;
            _mm256_storeu_ps(o, _mm256_castsi256_ps(_mm256_slli_epi32(v, 16)));
            _mm256_storeu_ps(o + stride, _mm256_castsi256_ps(_mm256_and_si256(v, high)));
        }
    }
    return g;
}

/* The last groups of a row are loaded together with the next row's first, where there is a
 * next row before `end`. */
LOAM_INLINE void scales8(loam_element e, const unsigned char *const p[8], const unsigned char *end,
                         size_t g, size_t n, float *out, size_t stride) {
    const size_t size = loam_element_bytes(e);
    for (; g < n; g += 8) {
        const size_t left = n - g;
        __m256 t[8];
        if (left >= 8 || (size_t)(end - p[7]) >= (g + 8) * size) {
#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) t[i] = load_scalars(e, p[i], g);
        } else {
            for (size_t i = 0; i < 8; i++) t[i] = load_scalars_part(e, p[i], g, left);
        }
        transpose8(t);
        if (left >= 8) {
#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) _mm256_storeu_ps(out + (g + i) * stride, t[i]);
        } else {
            for (size_t i = 0; i < left; i++) _mm256_storeu_ps(out + (g + i) * stride, t[i]);
        }
    }
}

void loam_avx2_scales8(const loam_matrix *w, const unsigned char *base, const size_t rows[8],
                       size_t end_row, float *out, size_t stride) {
    const size_t n = w->cols / (size_t)w->group, bytes = n * loam_element_bytes(w->scale);
    const unsigned char *p[8], *end = base + end_row * bytes;

    for (size_t i = 0; i < 8; i++) p[i] = base + rows[i] * bytes;
    if (w->scale == LOAM_ELEMENT_BF16)
        scales8(LOAM_ELEMENT_BF16, p, end, scales8_bf16(p, n, out, stride), n, out, stride);
    else if (w->scale == LOAM_ELEMENT_F16)
        scales8(LOAM_ELEMENT_F16, p, end, 0, n, out, stride);
    else
        scales8(LOAM_ELEMENT_F32, p, end, 0, n, out, stride);
}

/* The room of one position in scratch. */
static size_t position_bytes(const loam_matrix *w) {
    const size_t groups = w->cols / (size_t)w->group;
    return (w->cols + 63) / 64 * 64 + (groups * sizeof(int32_t) + 63) / 64 * 64;
}

static void place_position(const loam_matrix *w, const loam_acts *a, size_t i, unsigned char *room,
                           vector_args *t) {
    const size_t group = (size_t)w->group;
    const int8_t *x = a->q + i * a->q_stride;
    int8_t *arranged = (int8_t *)room;
    int32_t *sums = (int32_t *)(void *)(room + (w->cols + 63) / 64 * 64);

    arrange(x, w->cols, w->bits, arranged);
    for (size_t g = 0; w->bits == 8 && g < w->cols / group; g++) {
        int32_t sum = 0;
        for (size_t k = 0; k < group; k++) sum += x[g * group + k];
        sums[g] = 128 * sum;
    }
    t->x = arranged;
    t->sums = sums;
    t->d = a->d + i * a->g_stride;
    t->s = a->s + i * a->g_stride;
}

void loam_avx2_vector(const loam_matrix *w, size_t row0, size_t n_rows, const loam_acts *a,
                      size_t m, float *y, size_t y_stride, void *scratch) {
    static void (*const by_bits[])(const vector_args *t, float *y, size_t n) = {
        [2] = rows8_2, [3] = rows8_3, [4] = rows8_4, [5] = rows8_5, [6] = rows8_6, [8] = rows8_8};
    const size_t row_bytes = loam_matrix_row_bytes(w), n_groups = w->cols / (size_t)w->group;
    unsigned char *room = scratch;
    vector_args positions[LOAM_AVX2_VECTOR_MAX];
    vector_args t = {.w = w, .ahead = ROWS * row_bytes};

    for (size_t i = 0; i < m; i++, room += position_bytes(w))
        place_position(w, a, i, room, &positions[i]);
    t.scales = (float *)(void *)room;
    t.biases = t.scales + n_groups * ROWS;
    for (size_t r = 0; r < n_rows; r += ROWS) {
        const size_t n = n_rows - r < ROWS ? n_rows - r : ROWS;
        for (size_t i = 0; i < ROWS; i++) {
            t.rows[i] = row0 + r + (i < n ? i : n - 1);
            t.row[i] = w->data + t.rows[i] * row_bytes;
        }
        loam_avx2_scales8(w, w->scales, t.rows, row0 + n_rows, t.scales, ROWS);
        loam_avx2_scales8(w, w->biases, t.rows, row0 + n_rows, t.biases, ROWS);
        for (size_t i = 0; i < m; i++) { /* the rows stay in L1 */
            t.x = positions[i].x;
            t.sums = positions[i].sums;
            t.d = positions[i].d;
            t.s = positions[i].s;
            by_bits[w->bits](&t, y + i * y_stride + r, n);
        }
    }
}

#endif
