/* avx2_vector.c - affine weights times one position, or a few: decoding, bound by memory.
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
 * A few positions share a unit's unpacked weights; more of them go through avx2_few.c.
 *
 * The eight rows lie one after another in memory, and so do the next eight: while column k is
 * at work, the part of that line that is as far along is fetched, LOOK bytes ahead.
 *
 * avxvnni_vector.c includes this with VNNI 1: then products are added in 32 bits by one instruction,
 * and q of 8 bits is taken as it is.
 */
#include "avx2.h"

#if defined(__AVX2__)

#ifndef VNNI
#define VNNI 0
LOAM_INLINE __m256i dot4(__m256i acc, __m256i q, __m256i x) { /* never called */
    (void)q;
    (void)x;
    return acc;
}
#endif

enum { ROWS = 8, M_MAX = 4, BLOCKS = 4, UNIT = 64, LOOK = 1024 };

typedef struct position {
    const int8_t *x;     /* in the order of the units */
    const int32_t *sums; /* 8 bits: 128 * sum of x^ [n_groups] */
    const float *d;
} position;

typedef struct vector_args {
    const loam_matrix *w;
    const position *at; /* the positions at work */
    const unsigned char *row[ROWS];
    const float *scales;        /* [n_groups][ROWS] */
    const unsigned char *ahead; /* what to fetch at column 0 */
} vector_args;

/* Of the lines of 64 columns of eight rows, how many are fetched while scales are placed. */
LOAM_INLINE int placed_lines(int bits) {
    return bits / 4;
}

/* Halves of one 32-column vector pair: [first 32 columns | next 32]. */
LOAM_INLINE __m256i join_halves(__m256i a, __m256i b) {
    return _mm256_add_epi16(_mm256_permute2x128_si256(a, b, 0x20),
                            _mm256_permute2x128_si256(a, b, 0x31));
}

/* 64 columns of one row as two vectors of q (8 bits: q - 128, but for VNNI). */
typedef struct row_unit {
    __m256i q0, q1;
} row_unit;

LOAM_INLINE row_unit load_unit(const unsigned char *p, int bits) {
    if (bits == 4) {
        const __m256i v = load256(p), mask = _mm256_set1_epi8(15);
        return (row_unit){_mm256_and_si256(v, mask),
                          _mm256_and_si256(_mm256_srli_epi16(v, 4), mask)};
    }
    const __m256i q0 = unpack32(p, bits), q1 = unpack32(p + 4 * bits, bits);
    if (bits != 8 || VNNI) return (row_unit){q0, q1};
    const __m256i flip = _mm256_set1_epi8((char)0x80);
    return (row_unit){_mm256_xor_si256(q0, flip), _mm256_xor_si256(q1, flip)};
}

/* Its products with x: sixteen sums of 16 bits (8 bits and VNNI: eight of 32).  With `split` the
 * low half holds the first 32 columns. */
LOAM_INLINE __m256i multiply_unit(row_unit u, const int8_t *x, int bits, int split) {
    const __m256i x0 = load256(x), x1 = load256(x + 32);
    if (VNNI) {
        const __m256i s0 = dot4(_mm256_setzero_si256(), u.q0, x0);
        if (!split || bits == 4) return dot4(s0, u.q1, x1);
        const __m256i s1 = dot4(_mm256_setzero_si256(), u.q1, x1);
        return _mm256_add_epi32(_mm256_permute2x128_si256(s0, s1, 0x20),
                                _mm256_permute2x128_si256(s0, s1, 0x31));
    }
    if (bits == 8) {
        const __m256i ones = _mm256_set1_epi16(1);
        const __m256i p0 = _mm256_maddubs_epi16(_mm256_abs_epi8(u.q0), _mm256_sign_epi8(x0, u.q0));
        const __m256i p1 = _mm256_maddubs_epi16(_mm256_abs_epi8(u.q1), _mm256_sign_epi8(x1, u.q1));
        const __m256i s0 = _mm256_madd_epi16(p0, ones), s1 = _mm256_madd_epi16(p1, ones);
        if (!split) return _mm256_add_epi32(s0, s1);
        return _mm256_add_epi32(_mm256_permute2x128_si256(s0, s1, 0x20),
                                _mm256_permute2x128_si256(s0, s1, 0x31));
    }
    const __m256i p0 = _mm256_maddubs_epi16(u.q0, x0), p1 = _mm256_maddubs_epi16(u.q1, x1);
    return split && bits != 4 ? join_halves(p0, p1) : _mm256_add_epi16(p0, p1);
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

/* 64 columns from `k` of eight rows and m positions: sums by row, of the first and the last
 * 32 columns when `split`, else to be added. */
LOAM_INLINE void unit8(const vector_args *t, size_t k, int bits, int split, size_t m,
                       __m256i low[M_MAX], __m256i high[M_MAX]) {
    const size_t at = k / 8 * (size_t)bits;
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i v[M_MAX][ROWS];

#pragma GCC unroll 8
    for (size_t r = 0; r < ROWS; r++) {
        const row_unit u = load_unit(t->row[r] + at, bits);
#pragma GCC unroll 4
        for (size_t i = 0; i < m; i++) v[i][r] = multiply_unit(u, t->at[i].x + k, bits, split);
    }
    /* 64 columns of eight rows are 64 * bits bytes */
#pragma GCC unroll 8
    for (size_t i = 0; i < (size_t)(bits - placed_lines(bits)); i++)
        _mm_prefetch((const char *)t->ahead + k / UNIT * 64 * (size_t)(bits - placed_lines(bits)) +
                         64 * i,
                     _MM_HINT_T0);
#pragma GCC unroll 4
    for (size_t i = 0; i < m; i++) {
        if (bits <= 4 && !VNNI) {
            reduce8_narrow(v[i], &low[i], &high[i]);
            continue;
        }
        if (bits != 8 && !VNNI) {
#pragma GCC unroll 8
            for (size_t r = 0; r < ROWS; r++) v[i][r] = _mm256_madd_epi16(v[i][r], ones);
        }
        reduce8(v[i], &low[i], &high[i]);
    }
}

LOAM_INLINE __m256 add_group(const position *p, size_t g, __m256i sum, int bits, __m256 scale,
                             __m256 acc) {
    const __m256 d = _mm256_broadcast_ss(p->d + g);
    if (bits == 8 && !VNNI) sum = _mm256_add_epi32(sum, _mm256_set1_epi32(p->sums[g]));
    return _mm256_fmadd_ps(_mm256_mul_ps(scale, d), _mm256_cvtepi32_ps(sum), acc);
}

/* The last 32 columns of a row that is no multiple of 64 (groups of 32): its unit is the
 * first half of a unit made of copies. */
LOAM_INLINE void tail8(const vector_args *t, size_t g, int bits, size_t m, __m256 acc[M_MAX]) {
    unsigned char copy[ROWS][64] = {{0}};
    int8_t x[M_MAX][64];
    position at[M_MAX];
    vector_args part = *t;
    __m256i low[M_MAX], high[M_MAX];

    for (size_t r = 0; r < ROWS; r++) {
        memcpy(copy[r], t->row[r] + 4 * g * (size_t)bits, 4 * (size_t)bits);
        part.row[r] = copy[r];
    }
    for (size_t i = 0; i < m; i++) {
        memcpy(x[i], t->at[i].x + 32 * g, 64); /* x is padded with zeros to units */
        at[i] = (position){.x = x[i]};
    }
    part.at = at;
    part.ahead = t->row[0];
    unit8(&part, 0, bits, 1, m, low, high);
    const __m256 scale = _mm256_loadu_ps(t->scales + g * ROWS);
    for (size_t i = 0; i < m; i++) acc[i] = add_group(&t->at[i], g, low[i], bits, scale, acc[i]);
}

/* Eight outputs of each of m positions, still without the biases. */
LOAM_INLINE void rows8(const vector_args *t, int bits, size_t group, size_t m, __m256 acc[M_MAX]) {
    const size_t n_groups = t->w->cols / group, step = group == 32 ? 2 : 1;
    __m256i low[M_MAX], high[M_MAX], low2[M_MAX], high2[M_MAX];
    size_t g = 0;

#pragma GCC unroll 4
    for (size_t i = 0; i < m; i++) acc[i] = _mm256_setzero_ps();
    for (; g + step <= n_groups; g += step) {
        const __m256 scale = _mm256_loadu_ps(t->scales + g * ROWS);
        unit8(t, g * group, bits, group == 32, m, low, high);
        if (group == 128) unit8(t, g * group + 64, bits, 0, m, low2, high2);
#pragma GCC unroll 4
        for (size_t i = 0; i < m; i++) {
            if (group == 32) {
                const __m256 scale2 = _mm256_loadu_ps(t->scales + (g + 1) * ROWS);
                acc[i] = add_group(&t->at[i], g, low[i], bits, scale, acc[i]);
                acc[i] = add_group(&t->at[i], g + 1, high[i], bits, scale2, acc[i]);
                continue;
            }
            __m256i sum = _mm256_add_epi32(low[i], high[i]);
            if (group == 128) sum = _mm256_add_epi32(sum, _mm256_add_epi32(low2[i], high2[i]));
            acc[i] = add_group(&t->at[i], g, sum, bits, scale, acc[i]);
        }
    }
    if (g < n_groups) tail8(t, g, bits, m, acc);
}

typedef void (*rows8_fn)(const vector_args *t, __m256 *out, size_t out_stride);

LOAM_INLINE void rows8_any(const vector_args *t, int bits, size_t m, __m256 *out,
                           size_t out_stride) {
    __m256 acc[M_MAX];
    switch (t->w->group) {
    case 32: rows8(t, bits, 32, m, acc); break;
    case 64: rows8(t, bits, 64, m, acc); break;
    default: rows8(t, bits, 128, m, acc); break;
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < m; i++) out[i * out_stride] = acc[i];
}

#define DEFINE_ROWS8(BITS, M)                                                                      \
    static void rows8_##BITS##_##M(const vector_args *t, __m256 *out, size_t out_stride) {         \
        rows8_any(t, BITS, M, out, out_stride);                                                    \
    }

DEFINE_ROWS8(2, 1)
DEFINE_ROWS8(3, 1)
DEFINE_ROWS8(4, 1)
DEFINE_ROWS8(4, 2)
DEFINE_ROWS8(4, 3)
DEFINE_ROWS8(5, 1)
DEFINE_ROWS8(6, 1)
DEFINE_ROWS8(8, 1)
DEFINE_ROWS8(8, 2)
DEFINE_ROWS8(8, 3)
DEFINE_ROWS8(8, 4)

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

/* Memory to be fetched along with other work, `bytes` of it for each group; 0: there is none. */
typedef struct fetch {
    const unsigned char *at;
    size_t bytes;
} fetch;

LOAM_INLINE void fetch_some(fetch *f, size_t n_groups) {
    if (f->bytes == 0) return;
    const unsigned char *end = f->at + n_groups * f->bytes;
    for (; f->at < end; f->at += 64) _mm_prefetch((const char *)f->at, _MM_HINT_T0);
}

/* 16-bit scales of sixteen groups at once: as 32-bit lanes they transpose in pairs, and a
 * bf16 becomes f32 by a shift or a mask. */
LOAM_INLINE size_t scales8_bf16(const unsigned char *const p[8], size_t n, float *out,
                                size_t stride, fetch *f) {
    const __m256i high = _mm256_set1_epi32((int)0xffff0000u);
    size_t g = 0;

    for (; g + 16 <= n; g += 16) {
        __m256 t[8];
        fetch_some(f, 16);
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

/* f16: sixteen groups are transposed as they are, then widened. */
LOAM_INLINE size_t scales8_f16(const unsigned char *const p[8], size_t n, float *out, size_t stride,
                               fetch *f) {
    size_t g = 0;
    for (; g + 16 <= n; g += 16) {
        __m256i r[8], a[8];
        fetch_some(f, 16);
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++) r[i] = load256(p[i] + 2 * g);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) { /* rows 2i, 2i + 1: groups 0 - 3, 4 - 7 of each lane */
            a[i] = _mm256_unpacklo_epi16(r[2 * i], r[2 * i + 1]);
            a[i + 4] = _mm256_unpackhi_epi16(r[2 * i], r[2 * i + 1]);
        }
#pragma GCC unroll 2
        for (size_t i = 0; i < 2; i++) { /* rows 0 - 3 to r[4i ..], rows 4 - 7 to r[4i + 2 ..] */
#pragma GCC unroll 2
            for (size_t j = 0; j < 2; j++) {
                r[4 * i + 2 * j] = _mm256_unpacklo_epi32(a[4 * i + 2 * j], a[4 * i + 2 * j + 1]);
                r[4 * i + 2 * j + 1] =
                    _mm256_unpackhi_epi32(a[4 * i + 2 * j], a[4 * i + 2 * j + 1]);
            }
        }
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) { /* groups 2i, 2i + 1 in the low lane, + 8 in the high */
            const __m256i x = r[i / 2 * 4 + i % 2], y = r[i / 2 * 4 + i % 2 + 2];
            const __m256i even = _mm256_unpacklo_epi64(x, y), odd = _mm256_unpackhi_epi64(x, y);
            float *o = out + (g + 2 * i) * stride;
            _mm256_storeu_ps(o, _mm256_cvtph_ps(_mm256_castsi256_si128(even)));
            _mm256_storeu_ps(o + stride, _mm256_cvtph_ps(_mm256_castsi256_si128(odd)));
            o += 8 * stride;
            _mm256_storeu_ps(o, _mm256_cvtph_ps(_mm256_extracti128_si256(even, 1)));
            _mm256_storeu_ps(o + stride, _mm256_cvtph_ps(_mm256_extracti128_si256(odd, 1)));
        }
    }
    return g;
}

/* The last two groups of a row, 16 bits each. */
LOAM_INLINE void scales8_pair(loam_element e, const unsigned char *const p[8], size_t g, float *out,
                              size_t stride) {
    const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0,
                                           1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    uint32_t v[8];
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) memcpy(&v[i], p[i] + 2 * g, 4);
    const __m256i all = _mm256_setr_epi32((int)v[0], (int)v[1], (int)v[2], (int)v[3], (int)v[4],
                                          (int)v[5], (int)v[6], (int)v[7]);
    const __m256i h = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(all, order), 0xd8);
    const __m128i h0 = _mm256_castsi256_si128(h), h1 = _mm256_extracti128_si256(h, 1);
    _mm256_storeu_ps(out + g * stride, widen8(e, h0));
    _mm256_storeu_ps(out + (g + 1) * stride, widen8(e, h1));
}

/* The last groups of a row are loaded together with the next row's first, where there is a
 * next row before `end`. */
LOAM_INLINE void scales8(loam_element e, const unsigned char *const p[8], const unsigned char *end,
                         size_t g, size_t n, float *out, size_t stride, fetch *f) {
    const size_t size = loam_element_bytes(e);
    for (; g < n; g += 8) {
        const size_t left = n - g;
        __m256 t[8];
        fetch_some(f, left < 8 ? left : 8);
        if (left == 2 && size == 2) {
            scales8_pair(e, p, g, out, stride);
            return;
        }
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

LOAM_INLINE void scales8_all(const loam_matrix *w, const unsigned char *const p[8],
                             const unsigned char *end, float *out, size_t stride, fetch *f) {
    const size_t n = w->cols / (size_t)w->group;
    if (w->scale == LOAM_ELEMENT_BF16)
        scales8(LOAM_ELEMENT_BF16, p, end, scales8_bf16(p, n, out, stride, f), n, out, stride, f);
    else if (w->scale == LOAM_ELEMENT_F16)
        scales8(LOAM_ELEMENT_F16, p, end, scales8_f16(p, n, out, stride, f), n, out, stride, f);
    else
        scales8(LOAM_ELEMENT_F32, p, end, 0, n, out, stride, f);
}

static size_t scales_bytes(const loam_matrix *w) {
    return w->cols / (size_t)w->group * loam_element_bytes(w->scale);
}

#if !VNNI
void loam_avx2_scales8(const loam_matrix *w, const unsigned char *base, const size_t rows[8],
                       size_t end_row, float *out, size_t stride) {
    const size_t bytes = scales_bytes(w);
    const unsigned char *p[8];

    for (size_t i = 0; i < 8; i++) p[i] = base + rows[i] * bytes;
    scales8_all(w, p, base + end_row * bytes, out, stride, &(fetch){0});
}
#endif

/* The same for n rows from `row` on, the last of them repeated, in the layout of rows8. */
static void place_scales(const loam_matrix *w, const unsigned char *base, size_t row, size_t n,
                         size_t end_row, float *out, fetch *f) {
    const size_t bytes = scales_bytes(w);
    const unsigned char *p[8], *at = base + row * bytes;

    if (n == 8) {
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++) p[i] = at + i * bytes;
    } else {
        for (size_t i = 0; i < 8; i++) p[i] = at + (i < n ? i : n - 1) * bytes;
    }
    scales8_all(w, p, base + end_row * bytes, out, ROWS, f);
}

/* 128 * sum of n values, n a multiple of 32. */
static int32_t sum_128(const int8_t *x, size_t n) {
    const __m256i ones8 = _mm256_set1_epi8(1), ones16 = _mm256_set1_epi16(1);
    __m256i sum = _mm256_setzero_si256();
    for (size_t k = 0; k < n; k += 32)
        sum = _mm256_add_epi32(
            sum, _mm256_madd_epi16(_mm256_maddubs_epi16(ones8, load256(x + k)), ones16));
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return 128 * _mm_cvtsi128_si32(s);
}

/* The room of one position in scratch. */
static size_t position_bytes(const loam_matrix *w) {
    const size_t groups = w->cols / (size_t)w->group;
    return (w->cols + 63) / 64 * 64 + (groups * sizeof(int32_t) + 63) / 64 * 64;
}

static position place_position(const loam_matrix *w, const loam_acts *a, size_t i,
                               unsigned char *room) {
    const size_t group = (size_t)w->group;
    const int8_t *x = a->q + i * a->q_stride;
    int8_t *arranged = (int8_t *)room;
    int32_t *sums = (int32_t *)(void *)(room + (w->cols + 63) / 64 * 64);

    arrange(x, w->cols, w->bits, arranged);
    for (size_t g = 0; w->bits == 8 && !VNNI && g < w->cols / group; g++)
        sums[g] = sum_128(x + g * group, group);
    return (position){arranged, sums, a->d + i * a->g_stride};
}

static void fetch_scales(const loam_matrix *w, size_t row) {
    const size_t bytes = scales_bytes(w);
    for (size_t i = 0; i < ROWS * bytes; i += 64) {
        _mm_prefetch((const char *)w->scales + row * bytes + i, _MM_HINT_T0);
        _mm_prefetch((const char *)w->biases + row * bytes + i, _MM_HINT_T0);
    }
}

/* Four blocks of rows of one or two positions: their sums must run through the groups in
 * order, so four or eight at a time hide the latency. */
LOAM_INLINE void add_some_biases(const float *biases, size_t n_groups, const loam_acts *a, size_t i,
                                 size_t n, __m256 *sums) {
    const float *s0 = a->s + i * a->g_stride, *s1 = s0 + (n - 1) * a->g_stride;
    const size_t block = n_groups * ROWS;
    __m256 acc[2][BLOCKS];

#pragma GCC unroll 4
    for (size_t b = 0; b < BLOCKS; b++) {
        acc[0][b] = sums[b];
        acc[1][b] = sums[(n - 1) * BLOCKS + b];
    }
    for (size_t g = 0; g < n_groups; g++, biases += ROWS) {
        const __m256 sg0 = _mm256_broadcast_ss(s0 + g), sg1 = _mm256_broadcast_ss(s1 + g);
#pragma GCC unroll 4
        for (size_t b = 0; b < BLOCKS; b++) {
            const __m256 bias = _mm256_loadu_ps(biases + b * block);
            acc[0][b] = _mm256_fmadd_ps(bias, sg0, acc[0][b]);
            if (n == 2) acc[1][b] = _mm256_fmadd_ps(bias, sg1, acc[1][b]);
        }
    }
#pragma GCC unroll 4
    for (size_t b = 0; b < BLOCKS; b++) {
        sums[b] = acc[0][b];
        if (n == 2) sums[BLOCKS + b] = acc[1][b];
    }
}

/* sums [m][BLOCKS] */
static void add_biases(const float *biases, size_t n_groups, const loam_acts *a, size_t m,
                       __m256 *sums) {
    size_t i = 0;
    for (; i + 2 <= m; i += 2) add_some_biases(biases, n_groups, a, i, 2, sums + i * BLOCKS);
    if (i < m) add_some_biases(biases, n_groups, a, i, 1, sums + i * BLOCKS);
}

typedef struct vector_job {
    const loam_matrix *w;
    const position *at;  /* [m], or */
    const avx2_few *few; /* what avx2_few.c needs to know of them, in one or two parts */
    size_t m, end_row;   /* rows from end_row on may not be there */
    float *scales;       /* [n_groups][ROWS] */
    float *biases;       /* [BLOCKS][n_groups][ROWS] */
    unsigned char *copy; /* [ROWS][row bytes], see multiply_few */
} vector_job;

/* The positions from which avx2_few.c is faster, measured: up to there the products are fewer
 * than what it takes to transpose the weights.  8 bits cost it four sums a group of 64. */
static size_t few_from(const loam_matrix *w) {
    if (w->bits == 4) return 4;
    if (w->bits == 8) return w->group == 32 ? 4 : LOAM_AVX2_FEW_MAX + 1;
    return 2;
}

/* Eight rows are wanted: of the last few, copies. */
static void multiply_few(const vector_job *j, const unsigned char *at, size_t n,
                         const unsigned char *ahead, __m256 *out) {
    const size_t bytes = loam_matrix_row_bytes(j->w);
    const unsigned char *rows = at;
    __m256 acc[LOAM_AVX2_FEW_MAX];

    if (n < ROWS) {
        for (size_t i = 0; i < ROWS; i++)
            memcpy(j->copy + i * bytes, at + (i < n ? i : n - 1) * bytes, bytes);
        rows = j->copy;
    }
    for (size_t first = 0, part = 0; first < j->m; part++) {
        avx2_few t = j->few[part];
        t.rows = rows;
        t.scales = j->scales;
        t.ahead = ahead;
        if (part > 0) t.fetch = 0;
        loam_avx2_few_rows8(&t, j->w->bits, acc);
        for (size_t i = 0; i < t.m; i++) out[(first + i) * BLOCKS] = acc[i];
        first += t.m;
    }
}

static void multiply_positions(const vector_job *j, const unsigned char *at, size_t n,
                               const unsigned char *ahead, __m256 *out) {
    static const rows8_fn by_bits[][M_MAX] = {
        [2] = {rows8_2_1}, [3] = {rows8_3_1}, [4] = {rows8_4_1, rows8_4_2, rows8_4_3},
        [5] = {rows8_5_1}, [6] = {rows8_6_1}, [8] = {rows8_8_1, rows8_8_2, rows8_8_3, rows8_8_4}};
    const size_t row_bytes = loam_matrix_row_bytes(j->w);
    const rows8_fn *fns = by_bits[j->w->bits];
    vector_args t;

    t.w = j->w;
    t.scales = j->scales;
    t.ahead = ahead;
    for (size_t i = 0; i < ROWS; i++) {
        t.row[i] = at;
        if (i + 1 < n) at += row_bytes;
    }
    for (size_t i = 0, k; i < j->m; i += k) { /* the rows stay in L1 */
        const size_t left = j->m - i;
        k = left <= M_MAX ? left : left < 2 * M_MAX ? (left + 1) / 2 : M_MAX;
        t.at = j->at + i;
        fns[k - 1](&t, out + i * BLOCKS, BLOCKS);
    }
}

/* Eight rows, of which n exist, without the biases: out [position][BLOCKS]. */
static void multiply_rows8(const vector_job *j, size_t row, size_t n, float *biases, __m256 *out) {
    const loam_matrix *w = j->w;
    const size_t row_bytes = loam_matrix_row_bytes(w), lines = (size_t)placed_lines(w->bits);
    const unsigned char *at = w->data + row * row_bytes;

    fetch_scales(w, row + 2 * ROWS);
    /* a quarter of what comes next is fetched here: lines of 64 columns, from two passes */
    fetch f = {at + ROWS * row_bytes + LOOK, j->few ? 0 : 64 * (size_t)w->group / 128 * lines};
    place_scales(w, w->scales, row, n, j->end_row, j->scales, &f);
    place_scales(w, w->biases, row, n, j->end_row, biases, &f);
    if (j->few)
        multiply_few(j, at, n, at + ROWS * row_bytes + LOOK, out);
    else
        multiply_positions(j, at, n, at + ROWS * row_bytes + LOOK + w->cols / UNIT * 64 * lines,
                           out);
}

static unsigned char *place_few(const loam_matrix *w, const loam_acts *a, size_t first, size_t m,
                                unsigned char *room, avx2_few *few) {
    const size_t n_groups = w->cols / (size_t)w->group;
    int8_t *x = (int8_t *)room;
    float *d = (float *)(void *)(room + m * w->cols * (w->bits == 8 ? 2 : 1));

    loam_avx2_few_arrange(w, a, first, m, x, d);
    *few = (avx2_few){.row_bytes = loam_matrix_row_bytes(w),
                      .n_groups = n_groups,
                      .group = (size_t)w->group,
                      .m = m,
                      .x = x,
                      .d = d,
                      .fetch = w->bits == 8 ? 128 : 32 * (size_t)w->bits};
    return (unsigned char *)(d + n_groups * m);
}

void loam_avx2_vector(const loam_matrix *w, size_t row0, size_t n_rows, const loam_acts *a,
                      size_t m, float *y, size_t y_stride, void *scratch) {
    const size_t n_groups = w->cols / (size_t)w->group;
    unsigned char *room = scratch;
    position positions[LOAM_AVX2_VECTOR_MAX];
    avx2_few few[2];
    __m256 sums[LOAM_AVX2_VECTOR_MAX * BLOCKS];
    vector_job j = {.w = w, .at = positions, .m = m, .end_row = row0 + n_rows};

    if (m >= few_from(w)) {
        const size_t half = m > LOAM_AVX2_FEW_MAX ? (m + 1) / 2 : m;
        room = place_few(w, a, 0, half, room, &few[0]);
        if (half < m) room = place_few(w, a, half, m - half, room, &few[1]);
        j.few = few;
    } else {
        for (size_t i = 0; i < m; i++, room += position_bytes(w))
            positions[i] = place_position(w, a, i, room);
    }
    j.scales = (float *)(void *)room;
    j.biases = j.scales + n_groups * ROWS;
    j.copy = (unsigned char *)(j.biases + BLOCKS * n_groups * ROWS);
    for (size_t r = 0; r < n_rows; r += BLOCKS * ROWS) {
        const size_t rows = n_rows - r < BLOCKS * ROWS ? n_rows - r : BLOCKS * ROWS;
        for (size_t b = 0; b * ROWS < rows; b++) {
            const size_t left = rows - b * ROWS;
            multiply_rows8(&j, row0 + r + b * ROWS, left < ROWS ? left : ROWS,
                           j.biases + b * n_groups * ROWS, sums + b);
        }
        add_biases(j.biases, n_groups, a, m, sums);
        for (size_t i = 0; i < m; i++)
            for (size_t b = 0; b * ROWS < rows; b++)
                store_part(y + i * y_stride + r + b * ROWS, rows - b * ROWS, sums[i * BLOCKS + b]);
    }
}

#endif
