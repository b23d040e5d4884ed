/* avx2_integer.c - affine weights times int8 activations by vpmaddubsw.
 *
 * The instruction adds two products u8 * s8 into 16 bits.  With q <= 15 a pair is at most
 * 3,810 and eight pairs fit before they are widened; 5 bits: four (31,496), 6 bits: two
 * (32,004).  8-bit q becomes q - 128, whose sign moves onto x: |w| * sign(x, w), a pair at
 * most 32,512; the missing 128 * sum(x) of the group is added as an integer.
 *
 * Many positions: 16 rows are unpacked into a panel of bytes, so that lanes hold rows and the
 * sums need no shuffle.  A tile is 16 rows x 4 positions:
 *
 *     panel [k/4][16 rows][4 k] bytes     x [position][k] bytes, four k broadcast
 *     vpmaddubsw: 8 rows x (k0 k1 | k2 k3) in 16-bit lanes;  vpmaddwd with ones joins the pair
 *
 * Few positions: avx2_vector.c works on the bit stream directly.
 */
#include "avx2.h"

#if defined(__AVX2__)

enum { TILE_ROWS = 16, TILE_COLS = 4, PANEL_BYTES = 96 << 10, ROWS_MAX = 64 };

typedef struct panel {
    const loam_matrix *w;
    unsigned char *q;       /* [n_tiles][cols / 4][16][4] */
    float *scales, *biases; /* [n_tiles][n_groups][16] */
    int32_t *sums;          /* 8 bits: [n_groups][4], 128 * sum of x^ of the tile's positions */
    size_t n_groups;
} panel;

LOAM_INLINE void transpose8_bytes(__m256i r[8]) {
    __m256 t[8];
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) t[i] = _mm256_castsi256_ps(r[i]);
    transpose8(t);
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) r[i] = _mm256_castps_si256(t[i]);
}

/* Eight rows into lanes 8 * half .. of a tile's panel. */
LOAM_INLINE void unpack_rows(const loam_matrix *w, const unsigned char *const row[8], int bits,
                             __m256i flip, unsigned char *out) {
    for (size_t k = 0; k < w->cols; k += 32, out += 8 * 64) {
        __m256i r[8];
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++)
            r[i] = _mm256_xor_si256(unpack32(row[i] + k / 8 * (size_t)bits, bits), flip);
        transpose8_bytes(r);
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++) store256(out + 64 * i, r[i]);
    }
}

/* Four bits, all sixteen rows: units of four columns are transposed before they become bytes.  Lanes
 * hold rows 0 - 3 and 8 - 11, and rows 4 - 7 and 12 - 15, as spreading needs them. */
static void unpack_nibbles(const loam_matrix *w, const unsigned char *const row[TILE_ROWS],
                           unsigned char *out) {
    const __m256i low = _mm256_set1_epi8(15);
    const char *ahead = (const char *)row[0] + TILE_ROWS * (w->cols / 2);

    for (size_t k = 0; k < w->cols; k += 32, out += 32 * TILE_ROWS, ahead += 256) {
        __m256i r[8], t[8];
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++) {
            const size_t at = i < 4 ? i : i + 4;
            r[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(load128(row[at] + k / 2)),
                                           load128(row[at + 4] + k / 2), 1);
        }
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            _mm_prefetch(ahead + 64 * i, _MM_HINT_T1); /* the next sixteen rows */
            t[i] = _mm256_unpacklo_epi16(r[2 * i], r[2 * i + 1]);
            t[i + 4] = _mm256_unpackhi_epi16(r[2 * i], r[2 * i + 1]);
        }
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) { /* r[2 i], r[2 i + 1]: two units of four rows each */
            r[2 * i] = _mm256_unpacklo_epi32(t[2 * i], t[2 * i + 1]);
            r[2 * i + 1] = _mm256_unpackhi_epi32(t[2 * i], t[2 * i + 1]);
        }
#pragma GCC unroll 8
        for (size_t u = 0; u < 8; u++) {
            const __m256i a = r[u / 4 * 4 + u % 4 / 2], b = r[u / 4 * 4 + u % 4 / 2 + 2];
            const __m256i v = u % 2 ? _mm256_unpackhi_epi64(a, b) : _mm256_unpacklo_epi64(a, b);
            const __m256i even = _mm256_and_si256(v, low);
            const __m256i odd = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
            store256(out + 64 * u, _mm256_unpacklo_epi8(even, odd));
            store256(out + 64 * u + 32, _mm256_unpackhi_epi8(even, odd));
        }
    }
}

static void unpack_half(const loam_matrix *w, const unsigned char *const row[8], int is_signed,
                        unsigned char *out) {
    const __m256i zero = _mm256_setzero_si256();

    switch (w->bits) {
    case 2: unpack_rows(w, row, 2, zero, out); return;
    case 3: unpack_rows(w, row, 3, zero, out); return;
    case 5: unpack_rows(w, row, 5, zero, out); return;
    case 6: unpack_rows(w, row, 6, zero, out); return;
    default: unpack_rows(w, row, 8, is_signed ? _mm256_set1_epi8((char)0x80) : zero, out); return;
    }
}

void loam_avx2_fill_panel(const loam_matrix *w, size_t row0, size_t n_rows, int is_signed,
                          unsigned char *q, float *scales, float *biases) {
    const size_t row_bytes = loam_matrix_row_bytes(w);
    const unsigned char *row[TILE_ROWS];
    size_t rows[TILE_ROWS];

    for (size_t i = 0; i < TILE_ROWS; i++) {
        rows[i] = row0 + (i < n_rows ? i : n_rows - 1);
        row[i] = w->data + rows[i] * row_bytes;
    }
    if (w->bits == 4) unpack_nibbles(w, row, q);
    for (size_t at = 0; at < TILE_ROWS; at += 8) {
        if (w->bits != 4) unpack_half(w, row + at, is_signed, q + 4 * at);
        loam_avx2_scales8(w, w->scales, rows + at, row0 + n_rows, scales + at, TILE_ROWS);
        loam_avx2_scales8(w, w->biases, rows + at, row0 + n_rows, biases + at, TILE_ROWS);
    }
}

typedef struct tile_args {
    const unsigned char *q;       /* of this tile of the panel */
    const float *scales, *biases; /* [n_groups][16] */
    const int32_t *sums;
    size_t n_groups, group;
    const int8_t *x[TILE_COLS];
    const float *d[TILE_COLS], *s[TILE_COLS];
    float *y[TILE_COLS];
} tile_args;

/* The loops below are written in the order in which a Zen 3 runs them best: two products, then the two
 * sums of the products before.  A compiler would reorder them (gcc makes all products of an
 * unrolled loop first and spills them, at half the speed); volatile statements stay in order. */
#define LOAD(v, p) __asm__ volatile("vmovdqu %1, %0" : "=x"(v) : "m"(*(const bytes32 *)(p)))
#define BROADCAST(v, p)                                                                            \
    __asm__ volatile("vpbroadcastd %1, %0" : "=x"(v) : "m"(*(const bytes4 *)(p)))
#define PRODUCT(v, q, x) __asm__ volatile("vpmaddubsw %2, %1, %0" : "=x"(v) : "x"(q), "x"(x))
#define SUM(v, p)        __asm__ volatile("vpaddw %1, %0, %0" : "+x"(v) : "x"(p))

typedef struct bytes32 {
    char byte[32];
} bytes32;
typedef struct bytes4 {
    char byte[4];
} bytes4;

#define IN_MEMORY(a) __asm__ volatile("" : "+m"(a))

#define FOR_COLS _Pragma("GCC unroll 4") for (size_t c = 0; c < TILE_COLS; c++)

/* Sums of `steps` times four columns in 16 bits. */
LOAM_INLINE void sum_narrow(const unsigned char *q, const int8_t *const x[TILE_COLS], size_t k,
                            size_t steps, __m256i lo[TILE_COLS], __m256i hi[TILE_COLS]) {
    __m256i p_lo[2], p_hi[2]; /* products whose sums come next */
#pragma GCC unroll 8
    for (size_t i = 0; i < steps; i++) {
        __m256i q0, q1, xc;
        LOAD(q0, q + 64 * i);
        LOAD(q1, q + 64 * i + 32);
        FOR_COLS {
            const size_t last = (c + TILE_COLS - 1) % TILE_COLS;
            BROADCAST(xc, x[c] + k + 4 * i);
            if (i == 0) {
                PRODUCT(lo[c], q0, xc);
                PRODUCT(hi[c], q1, xc);
                continue;
            }
            PRODUCT(p_lo[c % 2], q0, xc);
            PRODUCT(p_hi[c % 2], q1, xc);
            if (i == 1 && c == 0) continue;
            SUM(lo[last], p_lo[last % 2]);
            SUM(hi[last], p_hi[last % 2]);
        }
    }
    if (steps > 1) {
        SUM(lo[TILE_COLS - 1], p_lo[(TILE_COLS - 1) % 2]);
        SUM(hi[TILE_COLS - 1], p_hi[(TILE_COLS - 1) % 2]);
    }
}

#define KEEP(v) __asm__("" : "+x"(v))

LOAM_INLINE __m256i broadcast4(const int8_t *x) {
    int32_t v;
    memcpy(&v, x, 4);
    return _mm256_set1_epi32(v);
}

LOAM_INLINE void sum_wide(const unsigned char *q, const int8_t *const x[TILE_COLS], size_t k,
                          __m256i lo[TILE_COLS], __m256i hi[TILE_COLS]) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (int i = 0; i < 8; i++, k += 4, q += 64) {
        const __m256i q0 = load256(q), q1 = load256(q + 32);
        const __m256i a0 = _mm256_abs_epi8(q0), a1 = _mm256_abs_epi8(q1);
        FOR_COLS {
            const __m256i xc = broadcast4(x[c] + k);
            const __m256i p0 = _mm256_maddubs_epi16(a0, _mm256_sign_epi8(xc, q0));
            const __m256i p1 = _mm256_maddubs_epi16(a1, _mm256_sign_epi8(xc, q1));
            lo[c] = _mm256_add_epi32(lo[c], _mm256_madd_epi16(p0, ones));
            hi[c] = _mm256_add_epi32(hi[c], _mm256_madd_epi16(p1, ones));
            KEEP(lo[c]);
            KEEP(hi[c]);
        }
    }
}

/* The exact sums of a group. */
LOAM_INLINE void sum_group(const unsigned char *q, const int8_t *const x[TILE_COLS], size_t k,
                           size_t group, int bits, __m256i lo[TILE_COLS], __m256i hi[TILE_COLS]) {
    const size_t steps = bits <= 4 ? 8 : bits == 5 ? 4 : 2;
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i part[2 * TILE_COLS];

    if (bits == 8) {
        FOR_COLS lo[c] = hi[c] = _mm256_setzero_si256();
        for (size_t end = k + group; k < end; k += 32, q += 512) sum_wide(q, x, k, lo, hi);
        return;
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < group; i += 4 * steps) {
        sum_narrow(q + 16 * i, x, k + i, steps, lo, hi);
        FOR_COLS {
            lo[c] = _mm256_madd_epi16(lo[c], ones);
            hi[c] = _mm256_madd_epi16(hi[c], ones);
            if (i > 0) lo[c] = _mm256_add_epi32(lo[c], part[2 * c]);
            if (i > 0) hi[c] = _mm256_add_epi32(hi[c], part[2 * c + 1]);
            if (i + 4 * steps < group) part[2 * c] = lo[c];
            if (i + 4 * steps < group) part[2 * c + 1] = hi[c];
        }
        IN_MEMORY(part);
    }
}

/* All groups, then the biases. */
LOAM_INLINE void tile_bits(const tile_args *t, int bits, size_t group) {
    float __attribute__((aligned(32))) out[TILE_COLS * TILE_ROWS];
    const unsigned char *q = t->q;
    const float *scales = t->scales;
    const float *d[TILE_COLS];
    const int8_t *x[TILE_COLS];
    const size_t n_groups = t->n_groups;

    FOR_COLS {
        d[c] = t->d[c];
        x[c] = t->x[c];
        _mm256_store_ps(out + c * TILE_ROWS, _mm256_setzero_ps());
        _mm256_store_ps(out + c * TILE_ROWS + 8, _mm256_setzero_ps());
    }
    for (size_t g = 0; g < n_groups; g++, q += group * TILE_ROWS) {
        __m256i lo[TILE_COLS], hi[TILE_COLS];
        sum_group(q, x, g * group, group, bits, lo, hi);
        FOR_COLS {
            float *y = out + c * TILE_ROWS;
            const __m256 dc = _mm256_broadcast_ss(d[c] + g);
            if (bits == 8) {
                const __m256i extra = _mm256_set1_epi32(t->sums[g * TILE_COLS + c]);
                lo[c] = _mm256_add_epi32(lo[c], extra);
                hi[c] = _mm256_add_epi32(hi[c], extra);
            }
            const __m256 s_lo = _mm256_mul_ps(_mm256_loadu_ps(scales + g * TILE_ROWS), dc);
            const __m256 s_hi = _mm256_mul_ps(_mm256_loadu_ps(scales + g * TILE_ROWS + 8), dc);
            _mm256_store_ps(y, _mm256_fmadd_ps(s_lo, _mm256_cvtepi32_ps(lo[c]), _mm256_load_ps(y)));
            _mm256_store_ps(
                y + 8, _mm256_fmadd_ps(s_hi, _mm256_cvtepi32_ps(hi[c]), _mm256_load_ps(y + 8)));
        }
        IN_MEMORY(out);
    }
    __m256 f_lo[TILE_COLS], f_hi[TILE_COLS];
    FOR_COLS {
        f_lo[c] = _mm256_load_ps(out + c * TILE_ROWS);
        f_hi[c] = _mm256_load_ps(out + c * TILE_ROWS + 8);
    }
    for (size_t g = 0; g < n_groups; g++) {
        const __m256 b_lo = _mm256_loadu_ps(t->biases + g * TILE_ROWS);
        const __m256 b_hi = _mm256_loadu_ps(t->biases + g * TILE_ROWS + 8);
        FOR_COLS {
            const __m256 s = _mm256_broadcast_ss(t->s[c] + g);
            f_lo[c] = _mm256_fmadd_ps(b_lo, s, f_lo[c]);
            f_hi[c] = _mm256_fmadd_ps(b_hi, s, f_hi[c]);
        }
    }
    FOR_COLS {
        _mm256_storeu_ps(t->y[c], f_lo[c]);
        _mm256_storeu_ps(t->y[c] + 8, f_hi[c]);
    }
}

#define DEFINE_TILE(bits)                                                                          \
    static void tile_##bits(const tile_args *t) {                                                  \
        if (t->group == 32)                                                                        \
            tile_bits(t, bits, 32);                                                                \
        else if (t->group == 64)                                                                   \
            tile_bits(t, bits, 64);                                                                \
        else                                                                                       \
            tile_bits(t, bits, 128);                                                               \
    }
DEFINE_TILE(4)
DEFINE_TILE(5)
DEFINE_TILE(6)
DEFINE_TILE(8)

/* 128 * sum of x^ for each group of the tile's positions. */
static void sum_groups(const tile_args *t, int32_t *sums) {
    const __m256i ones8 = _mm256_set1_epi8(1), ones16 = _mm256_set1_epi16(1);
    for (size_t g = 0; g < t->n_groups; g++) {
        for (size_t c = 0; c < TILE_COLS; c++) {
            __m256i sum = _mm256_setzero_si256();
            for (size_t k = 0; k < t->group; k += 32) {
                const __m256i x = load256(t->x[c] + g * t->group + k);
                sum = _mm256_add_epi32(sum,
                                       _mm256_madd_epi16(_mm256_maddubs_epi16(ones8, x), ones16));
            }
            __m128i s =
                _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
            s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
            s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
            sums[g * TILE_COLS + c] = 128 * _mm_cvtsi128_si32(s);
        }
    }
}

static void multiply_panel(const panel *p, const loam_acts *a, size_t m, size_t n_rows, float *y,
                           size_t y_stride) {
    static void (*const tiles[])(const tile_args *t) = {
        [2] = tile_4, [3] = tile_4, [4] = tile_4, [5] = tile_5, [6] = tile_6, [8] = tile_8};
    const size_t tile_floats = p->n_groups * TILE_ROWS;

    for (size_t i = 0; i < m; i += TILE_COLS) {
        tile_args t = {.sums = p->sums, .n_groups = p->n_groups, .group = (size_t)p->w->group};
        size_t at[TILE_COLS]; /* missing positions repeat the last */
        for (size_t c = 0; c < TILE_COLS; c++) {
            at[c] = i + c < m ? i + c : m - 1;
            t.x[c] = a->q + at[c] * a->q_stride;
            t.d[c] = a->d + at[c] * a->g_stride;
            t.s[c] = a->s + at[c] * a->g_stride;
        }
        if (p->w->bits == 8) sum_groups(&t, p->sums);
        for (size_t r = 0; r < n_rows; r += TILE_ROWS) {
            const size_t tile = r / TILE_ROWS;
            const size_t rows = n_rows - r < TILE_ROWS ? n_rows - r : TILE_ROWS;
            float some[TILE_COLS][TILE_ROWS]; /* where not all sixteen rows exist */
            t.q = p->q + r * p->w->cols;
            t.scales = p->scales + tile * tile_floats;
            t.biases = p->biases + tile * tile_floats;
            for (size_t c = 0; c < TILE_COLS; c++)
                /* cppcheck-suppress legacyUninitvar; its address */
                t.y[c] = rows < TILE_ROWS ? some[c] : y + at[c] * y_stride + r;
            tiles[p->w->bits](&t);
            for (size_t c = 0; rows < TILE_ROWS && c < TILE_COLS; c++)
                memcpy(y + at[c] * y_stride + r, some[c], rows * sizeof *y);
        }
    }
}

static void integer_product_avx2(const loam_matrix *w, size_t row0, size_t n_rows,
                                 const loam_acts *a, size_t m, float *y, size_t y_stride,
                                 void *scratch) {
    if (m <= loam_avx2_vector_max(w)) {
        loam_avx2_vector(w, row0, n_rows, a, m, y, y_stride, scratch);
        return;
    }
    size_t block = w->cols ? PANEL_BYTES / w->cols / TILE_ROWS * TILE_ROWS : ROWS_MAX;
    block = block < TILE_ROWS ? TILE_ROWS : block > ROWS_MAX ? ROWS_MAX : block;
    panel p = {.w = w, .q = scratch, .n_groups = w->cols / (size_t)w->group};
    p.scales = (float *)(void *)(p.q + block * w->cols);
    p.biases = p.scales + block * p.n_groups;
    p.sums = (int32_t *)(void *)(p.biases + block * p.n_groups);
    for (size_t r = 0; r < n_rows; r += block) {
        const size_t rows = n_rows - r < block ? n_rows - r : block;
        for (size_t i = 0; i < rows; i += TILE_ROWS)
            loam_avx2_fill_panel(w, row0 + r + i, rows - i < TILE_ROWS ? rows - i : TILE_ROWS, 1,
                                 p.q + i * w->cols, p.scales + i * p.n_groups,
                                 p.biases + i * p.n_groups);
        multiply_panel(&p, a, m, rows, y + r, y_stride);
    }
}

static void quantize_avx2(const float *x, size_t n, size_t group, int8_t *q, float *d, float *s) {
    const __m256 sign = _mm256_set1_ps(-0.0f), largest = _mm256_set1_ps(3.402823466e38f);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7), ones16 = _mm256_set1_epi16(1);
    const __m256i ones8 = _mm256_set1_epi8(1);

    for (size_t g = 0; g < n / group; g++, x += group, q += group) {
        __m256 a = _mm256_setzero_ps(), bad = _mm256_setzero_ps();
        for (size_t k = 0; k < group; k += 8) {
            const __m256 v = _mm256_andnot_ps(sign, _mm256_loadu_ps(x + k));
            bad = _mm256_or_ps(bad, _mm256_cmp_ps(v, largest, _CMP_NLE_UQ));
            a = _mm256_max_ps(v, a);
        }
        const float top = max_lanes(a);
        const int finite = _mm256_movemask_ps(bad) == 0, live = finite && top >= 0x1p-100f;
        if (!live) {
            memset(q, 0, group);
            d[g] = s[g] = finite ? 0.0f : __builtin_nanf("");
            continue;
        }
        const __m256 inverse = _mm256_set1_ps(127.0f / top);
        __m256i sum = _mm256_setzero_si256();
        for (size_t k = 0; k < group; k += 32) {
            __m256i v[4];
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++)
                v[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + k + 8 * i), inverse));
            const __m256i b = _mm256_permutevar8x32_epi32(
                _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3])),
                order);
            store256(q + k, b);
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(ones8, b), ones16));
        }
        __m128i t = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0x4e));
        t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0xb1));
        d[g] = top / 127.0f;
        s[g] = d[g] * (float)_mm_cvtsi128_si32(t);
    }
}

void loam_avx2_use_integer(loam_kernels *k) {
    k->quantize = quantize_avx2;
    k->integer_product = integer_product_avx2;
}

#endif
