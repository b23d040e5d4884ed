/* amx_integer.c - affine weights times int8 activations by tiles.
 *
 * A is twelve positions as they lie, signed; B is sixteen rows of weights, unsigned, unpacked
 * into the panel of avx2_integer.c; one product of tiles is one group (half of one for 128):
 *
 *     A [12 positions][64 k] s8   B [k/4][16 rows][4 k] u8   C [12 positions][16 rows] s32
 *
 * The tile unit needs 12 cycles for that, what follows needs more: every sum is stored,
 * converted, and added as  fma(scale * d, sum, acc).  So the block is made for the vectors:
 * 12 positions x 32 rows of acc are 24 registers, and a group's d serves two of them.  The
 * work on groups is a pipeline, so that nothing waits for a tile or for a store of one:
 *
 *     step g:   tile products of g   |   store the sums of g - 1   |   vectors take those of g - 2
 *
 * Columns are cut into even chunks: the panel's 32 rows of one (20 KB at most) stay in the
 * first-level cache while all positions pass; acc waits in scratch between chunks, which
 * rounds nothing.
 * What is left of the positions after the twelves is multiplied as the last twelve, and the
 * vectors take only the rows that are new.
 */
#include "amx.h"

#if defined(LOAM_AMX)

enum {
    TILE_POSITIONS = 12,
    TILE_ROWS = 16,
    PAIR_ROWS = 32,      /* two tiles of B share A */
    BLOCK_ROWS = 128,    /* rows unpacked at a time */
    CHUNK_MAX = 640,     /* columns: 576 and 640 are one chunk, 3072 are five */
    POSITIONS_MAX = 528, /* whose acc wait in scratch; a multiple of 12 */
    TILE_PANEL = CHUNK_MAX * TILE_ROWS
};

/* Scratch: 80 KB, 264 KB, and 32 bytes a column for each of the others at most */
typedef struct workspace {
    unsigned char *panel;   /* [tiles][CHUNK_MAX / 4][16][4] */
    float *acc;             /* [pairs][positions][2][16] */
    float *scales, *biases; /* [pairs][n_groups][2][16] */
} workspace;

/* What one call multiplies. */
typedef struct product {
    const loam_matrix *w;
    size_t group, n_groups;
    const loam_acts *a;
    float *y;
    size_t y_stride;
    workspace at;
} product;

/* The weights of the next chunk come in while this one is multiplied. */
typedef struct fetch {
    const unsigned char *next;
    size_t row_bytes, n_rows, n_lines; /* a row's part */
    size_t row, line;
    size_t n_block; /* lines with each block */
} fetch;

static void fetch_lines(fetch *f) {
    for (size_t n = f->n_block; n > 0 && f->row < f->n_rows; n--) {
        _mm_prefetch((const char *)(f->next + f->row * f->row_bytes + 64 * f->line), _MM_HINT_T1);
        if (++f->line < f->n_lines) continue;
        f->line = 0;
        f->row++;
    }
}

/* ---- unpacking ---- */

/* Eight registers of two rows each, (i | i + 4) and (i + 8 | i + 12) for i < 4, 32 bytes a
 * row: out[j] has dword j of all sixteen rows in order. */
LOAM_INLINE void transpose_dwords(const __m512i x[4], const __m512i y[4], __m512i out[8]) {
    __m512i v[2][4];
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        const __m512i *in = half ? y : x;
        const __m512i a = _mm512_unpacklo_epi32(in[0], in[1]);
        const __m512i b = _mm512_unpackhi_epi32(in[0], in[1]);
        const __m512i c = _mm512_unpacklo_epi32(in[2], in[3]);
        const __m512i d = _mm512_unpackhi_epi32(in[2], in[3]);
        v[half][0] = _mm512_unpacklo_epi64(a, c);
        v[half][1] = _mm512_unpackhi_epi64(a, c);
        v[half][2] = _mm512_unpacklo_epi64(b, d);
        v[half][3] = _mm512_unpackhi_epi64(b, d);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        out[j] = _mm512_shuffle_i64x2(v[0][j], v[1][j], 0x88);
        out[4 + j] = _mm512_shuffle_i64x2(v[0][j], v[1][j], 0xdd);
    }
}

LOAM_INLINE __m512i two_rows(__m256i low, __m256i high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* 32 columns of sixteen rows. */
LOAM_INLINE void unpack_columns32(const unsigned char *const row[16], size_t byte, int bits,
                                  unsigned char *out) {
    __m512i x[4], y[4], v[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        x[i] = two_rows(unpack32(row[i] + byte, bits), unpack32(row[i + 4] + byte, bits));
        y[i] = two_rows(unpack32(row[i + 8] + byte, bits), unpack32(row[i + 12] + byte, bits));
    }
    transpose_dwords(x, y, v);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) _mm512_store_si512(out + 64 * j, v[j]);
}

/* 64 columns of 4 bits: transposed while they are packed, eight k a dword. */
LOAM_INLINE void unpack_columns64(const unsigned char *const row[16], size_t byte,
                                  unsigned char *out) {
    const __m512i low = _mm512_set1_epi64(0x2c2824200c080400);  /* where k0 - k3 start */
    const __m512i high = _mm512_set1_epi64(0x3c3834301c181410); /* k4 - k7 */
    const __m512i mask = _mm512_set1_epi8(15);
    __m512i x[4], y[4], v[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        x[i] = two_rows(load256(row[i] + byte), load256(row[i + 4] + byte));
        y[i] = two_rows(load256(row[i + 8] + byte), load256(row[i + 12] + byte));
    }
    transpose_dwords(x, y, v);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        const __m512i a = _mm512_multishift_epi64_epi8(low, v[j]);
        const __m512i b = _mm512_multishift_epi64_epi8(high, v[j]);
        _mm512_store_si512(out + 128 * j, _mm512_and_si512(a, mask));
        _mm512_store_si512(out + 128 * j + 64, _mm512_and_si512(b, mask));
    }
}

LOAM_INLINE void unpack_bits(const unsigned char *const row[16], size_t cols, int bits,
                             unsigned char *out) {
    size_t k = 0;
    if (bits == 4)
        for (; k + 64 <= cols; k += 64) unpack_columns64(row, k / 2, out + k * TILE_ROWS);
    for (; k < cols; k += 32)
        unpack_columns32(row, k / 8 * (size_t)bits, bits, out + k * TILE_ROWS);
}

/* Columns k0 .. k0 + cols of sixteen rows from row0; rows after `last` repeat it. */
static void unpack_tile(const loam_matrix *w, size_t row0, size_t last, size_t k0, size_t cols,
                        unsigned char *out) {
    const unsigned char *row[TILE_ROWS];
    for (size_t i = 0; i < TILE_ROWS; i++) {
        const size_t r = row0 + i < last ? row0 + i : last;
        row[i] = w->data + r * loam_matrix_row_bytes(w) + k0 / 8 * (size_t)w->bits;
    }
    switch (w->bits) {
    case 2: unpack_bits(row, cols, 2, out); return;
    case 3: unpack_bits(row, cols, 3, out); return;
    case 4: unpack_bits(row, cols, 4, out); return;
    case 5: unpack_bits(row, cols, 5, out); return;
    case 6: unpack_bits(row, cols, 6, out); return;
    default: unpack_bits(row, cols, 8, out); return;
    }
}

/* Scales or biases of a pair, out [n_groups][32]. */
static void unpack_scales(const loam_matrix *w, const unsigned char *base, size_t row0, size_t last,
                          float *out) {
    for (size_t i = 0; i < PAIR_ROWS; i += 8) {
        size_t rows[8];
        for (size_t j = 0; j < 8; j++) rows[j] = row0 + i + j < last ? row0 + i + j : last;
        loam_avx2_scales8(w, base, rows, last + 1, out + i, PAIR_ROWS);
    }
}

/* ---- multiplying ---- */

/* Twelve positions x 32 rows x one chunk. */
typedef struct block {
    const int8_t *x; /* of the first position, at the chunk */
    size_t x_stride;
    const int8_t *x_ahead;      /* what the next block will read */
    const unsigned char *panel; /* two tiles, TILE_PANEL apart */
    const float *scales;        /* [n_groups][2][16], or biases */
    const float *d;             /* of the first position, or s */
    size_t g_stride, n_groups;
    float *acc; /* [2][16] of each new position */
    int begin;  /* acc starts at 0 */
} block;

/* sums of a step: [2 tiles][12 positions][16 rows] */
enum { STEP_SUMS = 2 * TILE_POSITIONS * TILE_ROWS };

/* clang takes a count above the loop's own for none at all */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 24")
#endif
#define FOR_POSITIONS(rows) UNROLL for (int c = 0; c < (rows); c++)

/* Twelve rows of floats in five registers: x86 adds 0, 1, 2 strides to a base. */
typedef struct float_rows {
    const char *base[3]; /* rows 0, 4, 8 */
    size_t stride, stride3;
} float_rows;

LOAM_INLINE float_rows rows_of(const float *p, size_t stride) {
    const char *b = (const char *)p;
    const size_t bytes = stride * sizeof *p;
    return (float_rows){{b, b + 4 * bytes, b + 8 * bytes}, bytes, 3 * bytes};
}
LOAM_INLINE __m512 broadcast_row(const float_rows *p, int row) {
    const size_t off = row % 4 == 3 ? p->stride3 : (size_t)(row % 4) * p->stride;
    return _mm512_set1_ps(*(const float *)(const void *)(p->base[row / 4] + off));
}
LOAM_INLINE void next_group(float_rows *p) {
    UNROLL for (int i = 0; i < 3; i++) p->base[i] += sizeof(float);
}

LOAM_INLINE void take_sums(const int32_t *sums, const float *scales, const float_rows *d, int rows,
                           __m512 f[2 * TILE_POSITIONS]) {
    const __m512 s0 = _mm512_load_ps(scales), s1 = _mm512_load_ps(scales + TILE_ROWS);
    FOR_POSITIONS(rows) {
        const int at = TILE_POSITIONS - rows + c;
        const __m512 dc = broadcast_row(d, at);
        const __m512i i0 = _mm512_load_si512(sums + at * TILE_ROWS);
        const __m512i i1 = _mm512_load_si512(sums + (TILE_POSITIONS + at) * TILE_ROWS);
        f[2 * c] = _mm512_fmadd_ps(_mm512_mul_ps(s0, dc), _mm512_cvtepi32_ps(i0), f[2 * c]);
        f[2 * c + 1] = _mm512_fmadd_ps(_mm512_mul_ps(s1, dc), _mm512_cvtepi32_ps(i1), f[2 * c + 1]);
    }
}

/* Sums of a group into tiles c0 and c1. */
#define MULTIPLY_GROUP(c0, c1, a, x, x_stride, panel, group)                                       \
    do {                                                                                           \
        TILE_ZERO(c0);                                                                             \
        TILE_ZERO(c1);                                                                             \
        TILE_LOAD(a, x, x_stride);                                                                 \
        TILE_LOAD(5, panel, 64);                                                                   \
        TILE_PRODUCT_S8_U8(c0, a, 5);                                                              \
        TILE_LOAD(6, (panel) + TILE_PANEL, 64);                                                    \
        TILE_PRODUCT_S8_U8(c1, a, 6);                                                              \
        if ((group) == 128) {                                                                      \
            TILE_LOAD(a, (x) + 64, x_stride);                                                      \
            TILE_LOAD(5, (panel) + 1024, 64);                                                      \
            TILE_PRODUCT_S8_U8(c0, a, 5);                                                          \
            TILE_LOAD(6, (panel) + TILE_PANEL + 1024, 64);                                         \
            TILE_PRODUCT_S8_U8(c1, a, 6);                                                          \
        }                                                                                          \
    } while (0)

LOAM_INLINE void fetch_positions(const int8_t *x, size_t stride) {
    FOR_POSITIONS(TILE_POSITIONS) {
        _mm_prefetch((const char *)x, _MM_HINT_T0);
        x += stride;
        __asm__("" : "+r"(x)); /* or gcc keeps twelve multiples of the stride, on the stack */
    }
}

/* The two kinds of steps differ in the tiles they use.  The loop goes two groups beyond the
 * end: what is not there is skipped. */
LOAM_INLINE void multiply_block(const block *b, int32_t *sums, int group, int rows) {
    const size_t n = b->n_groups, x_stride = b->x_stride;
    const size_t a_step = (size_t)group, b_step = (size_t)group * TILE_ROWS;
    const int8_t *x = b->x, *ahead = b->x_ahead;
    const unsigned char *panel = b->panel;
    const float *scales = b->scales;
    float_rows d = rows_of(b->d, b->g_stride);
    __m512 f[2 * TILE_POSITIONS];

    FOR_POSITIONS(2 * rows) f[c] = _mm512_setzero_ps();
    if (!b->begin) FOR_POSITIONS(2 * rows) f[c] = _mm512_load_ps(b->acc + c * TILE_ROWS);
    for (size_t g = 0; g < n + 2; g += 2) {
        if (g < n) {
            MULTIPLY_GROUP(0, 1, 4, x, x_stride, panel, group);
            fetch_positions(ahead, x_stride);
            if (group == 128) fetch_positions(ahead + 64, x_stride);
        }
        if (g > 0) {
            if (g <= n) {
                TILE_STORE(2, sums + STEP_SUMS, 64);
                TILE_STORE(3, sums + STEP_SUMS + STEP_SUMS / 2, 64);
            }
            take_sums(sums, scales, &d, rows, f);
            next_group(&d);
            scales += PAIR_ROWS;
        }
        if (g + 1 < n) {
            MULTIPLY_GROUP(2, 3, 7, x + a_step, x_stride, panel + b_step, group);
            if (group != 32) fetch_positions(ahead + a_step, x_stride);
            if (group == 128) fetch_positions(ahead + a_step + 64, x_stride);
        }
        if (g < n) {
            TILE_STORE(0, sums, 64);
            TILE_STORE(1, sums + STEP_SUMS / 2, 64);
        }
        if (g > 0 && g <= n) {
            take_sums(sums + STEP_SUMS, scales, &d, rows, f);
            next_group(&d);
            scales += PAIR_ROWS;
        }
        x += 2 * a_step;
        ahead += 2 * a_step;
        panel += 2 * b_step;
    }
    FOR_POSITIONS(2 * rows) _mm512_store_ps(b->acc + c * TILE_ROWS, f[c]);
}

/* All biases, b->scales and b->d being biases and s here, then out.  rows_out[t] of the sixteen
 * rows of each tile exist. */
LOAM_INLINE void finish_block(const block *b, int rows, const __mmask16 live[2], float *y,
                              size_t y_stride) {
    const float *biases = b->scales;
    float_rows s = rows_of(b->d, b->g_stride);
    __m512 f[2 * TILE_POSITIONS];

    FOR_POSITIONS(2 * rows) f[c] = _mm512_load_ps(b->acc + c * TILE_ROWS);
    for (size_t g = 0; g < b->n_groups; g++, biases += PAIR_ROWS) {
        const __m512 b0 = _mm512_load_ps(biases), b1 = _mm512_load_ps(biases + TILE_ROWS);
        FOR_POSITIONS(rows) {
            const __m512 sc = broadcast_row(&s, TILE_POSITIONS - rows + c);
            f[2 * c] = _mm512_fmadd_ps(b0, sc, f[2 * c]);
            f[2 * c + 1] = _mm512_fmadd_ps(b1, sc, f[2 * c + 1]);
        }
        next_group(&s);
    }
    FOR_POSITIONS(rows) {
        _mm512_mask_storeu_ps(y, live[0], f[2 * c]);
        if (live[1]) _mm512_mask_storeu_ps(y + TILE_ROWS, live[1], f[2 * c + 1]);
        y += y_stride;
    }
}

typedef void (*multiply_fn)(const block *b, int32_t *sums);
typedef void (*finish_fn)(const block *b, const __mmask16 live[2], float *y, size_t y_stride);

#define BLOCK_OF(rows)                                                                             \
    static void multiply_32_##rows(const block *b, int32_t *sums) {                                \
        multiply_block(b, sums, 32, rows);                                                         \
    }                                                                                              \
    static void multiply_64_##rows(const block *b, int32_t *sums) {                                \
        multiply_block(b, sums, 64, rows);                                                         \
    }                                                                                              \
    static void multiply_128_##rows(const block *b, int32_t *sums) {                               \
        multiply_block(b, sums, 128, rows);                                                        \
    }                                                                                              \
    static void finish_##rows(const block *b, const __mmask16 live[2], float *y,                   \
                              size_t y_stride) {                                                   \
        finish_block(b, rows, live, y, y_stride);                                                  \
    }

BLOCK_OF(4)
BLOCK_OF(8)
BLOCK_OF(12)

/* [group / 64][new positions / 4 - 1] */
static const multiply_fn multiply_of[3][3] = {{multiply_32_4, multiply_32_8, multiply_32_12},
                                              {multiply_64_4, multiply_64_8, multiply_64_12},
                                              {multiply_128_4, multiply_128_8, multiply_128_12}};
static const finish_fn finish_of[3] = {finish_4, finish_8, finish_12};

/* ---- the product ---- */

static void configure(size_t group) {
    const unsigned k = group == 32 ? 32 : 64; /* of one tile product */
    tile_config c = {.palette = 1};
    for (size_t t = 0; t < 8; t++) {
        const int is_a = t == 4 || t == 7, is_b = t == 5 || t == 6;
        c.rows[t] = (uint8_t)(is_b ? k / 4 : TILE_POSITIONS);
        c.row_bytes[t] = (uint16_t)(is_a ? k : 64);
    }
    TILE_CONFIGURE(&c);
}

/* One pair of tiles (rows from `row`), one chunk, positions i0 .. i0 + m. */
static void multiply_pair(const product *p, size_t row, size_t n_rows, size_t i0, size_t m,
                          size_t k0, size_t cols, fetch *f) {
    _Alignas(64) int32_t sums[2 * STEP_SUMS];
    const size_t pair = row / PAIR_ROWS, left = n_rows - row, g0 = k0 / p->group;
    const loam_acts *a = p->a;
    const int is_last = k0 + cols == p->w->cols;
    const __mmask16 live[2] = {(__mmask16)(left < 16 ? (1u << left) - 1 : 0xffff),
                               (__mmask16)(left < 16   ? 0
                                           : left < 32 ? (1u << (left - 16)) - 1
                                                       : 0xffff)};
    float *acc = p->at.acc + pair * POSITIONS_MAX * PAIR_ROWS;

    for (size_t i = 0; i < m; i += TILE_POSITIONS) {
        /* the last twelve, of them rows that a multiple of four covers: some may come twice */
        const size_t left_m = m - i, n = left_m >= TILE_POSITIONS ? TILE_POSITIONS : left_m;
        const size_t kind = (n + 3) / 4 - 1, rows = 4 * (kind + 1);
        const size_t first = left_m >= TILE_POSITIONS ? i : m - TILE_POSITIONS;
        const size_t at = i0 + first, out = at + TILE_POSITIONS - rows;
        const size_t after = left_m >= 2 * (size_t)TILE_POSITIONS ? i + TILE_POSITIONS
                             : left_m > TILE_POSITIONS            ? m - TILE_POSITIONS
                                                                  : 0;
        const block b = {
            .x = a->q + at * a->q_stride + k0,
            .x_stride = a->q_stride,
            .x_ahead = a->q + (i0 + after) * a->q_stride + k0,
            .panel = p->at.panel + 2 * pair * TILE_PANEL,
            .scales = p->at.scales + (pair * p->n_groups + g0) * PAIR_ROWS,
            .d = a->d + at * a->g_stride + g0,
            .g_stride = a->g_stride,
            .n_groups = cols / p->group,
            .acc = acc + i * PAIR_ROWS,
            .begin = k0 == 0,
        };
        fetch_lines(f);
        multiply_of[p->group / 64][kind](&b, sums);
        if (!is_last) continue;
        const block e = {
            .scales = p->at.biases + pair * p->n_groups * PAIR_ROWS,
            .d = a->s + at * a->g_stride,
            .g_stride = a->g_stride,
            .n_groups = p->n_groups,
            .acc = b.acc,
        };
        finish_of[kind](&e, live, p->y + out * p->y_stride + row, p->y_stride);
    }
}

/* Rows row0 .. row0 + n_rows of w, at most BLOCK_ROWS, into p->y[.., 0 .. n_rows); as many as
 * `n_next` follow. */
static void multiply_rows(const product *p, size_t row0, size_t n_rows, size_t n_next, size_t m) {
    const loam_matrix *w = p->w;
    const size_t last = row0 + n_rows - 1, row_bytes = loam_matrix_row_bytes(w);
    const size_t n_chunks = (w->cols + CHUNK_MAX - 1) / CHUNK_MAX;
    const size_t chunk = (w->cols / n_chunks + 127) / 128 * 128; /* whole groups of any size */

    for (size_t r = 0; r < n_rows; r += PAIR_ROWS) {
        const size_t at = r * p->n_groups;
        unpack_scales(w, w->scales, row0 + r, last, p->at.scales + at);
        unpack_scales(w, w->biases, row0 + r, last, p->at.biases + at);
    }
    for (size_t i = 0; i < m; i += POSITIONS_MAX) {
        size_t n = m - i < POSITIONS_MAX ? m - i : POSITIONS_MAX;
        const size_t i0 = n < TILE_POSITIONS ? m - TILE_POSITIONS : i;
        if (n < TILE_POSITIONS) n = TILE_POSITIONS;
        for (size_t k0 = 0; k0 < w->cols; k0 += chunk) {
            const size_t cols = w->cols - k0 < chunk ? w->cols - k0 : chunk;
            const int is_end = k0 + cols == w->cols;
            const size_t next = is_end ? 0 : k0 + cols;
            const size_t more = w->cols - next < chunk ? w->cols - next : chunk;
            fetch f = {.next = w->data + (is_end ? last + 1 : row0) * row_bytes +
                               next / 8 * (size_t)w->bits,
                       .row_bytes = row_bytes,
                       .n_rows = is_end ? n_next : n_rows,
                       .n_lines = (more / 8 * (size_t)w->bits + 63) / 64};
            const size_t n_blocks =
                (n_rows + PAIR_ROWS - 1) / PAIR_ROWS * ((n + TILE_POSITIONS - 1) / TILE_POSITIONS);
            f.n_block = (f.n_rows * f.n_lines + n_blocks - 1) / n_blocks;
            for (size_t r = 0; r < n_rows; r += TILE_ROWS)
                unpack_tile(w, row0 + r, last, k0, cols, p->at.panel + r / TILE_ROWS * TILE_PANEL);
            if (n_rows % PAIR_ROWS >= 1 && n_rows % PAIR_ROWS <= TILE_ROWS) /* a half of a pair */
                unpack_tile(w, last, last, k0, cols,
                            p->at.panel + (n_rows + TILE_ROWS - 1) / TILE_ROWS * TILE_PANEL);
            for (size_t r = 0; r < n_rows; r += PAIR_ROWS)
                multiply_pair(p, r, n_rows, i0, n, k0, cols, &f);
        }
    }
}

/* The set before: for few positions. */
static void (*narrower)(const loam_matrix *w, size_t row0, size_t n_rows, const loam_acts *a,
                        size_t m, float *y, size_t y_stride, void *scratch);

static void integer_product_amx(const loam_matrix *w, size_t row0, size_t n_rows,
                                const loam_acts *a, size_t m, float *y, size_t y_stride,
                                void *scratch) {
    if (m < TILE_POSITIONS || w->cols == 0) {
        narrower(w, row0, n_rows, a, m, y, y_stride, scratch);
        return;
    }
    const size_t n_groups = w->cols / (size_t)w->group;
    product p = {
        .w = w, .group = (size_t)w->group, .n_groups = n_groups, .a = a, .y_stride = y_stride};
    p.at.panel = scratch;
    p.at.acc = (float *)(void *)(p.at.panel + BLOCK_ROWS * CHUNK_MAX);
    p.at.scales = p.at.acc + BLOCK_ROWS * POSITIONS_MAX;
    p.at.biases = p.at.scales + BLOCK_ROWS * n_groups;
    configure(p.group);
    for (size_t r = 0; r < n_rows; r += BLOCK_ROWS) {
        const size_t rows = n_rows - r < BLOCK_ROWS ? n_rows - r : BLOCK_ROWS;
        const size_t more = n_rows - r - rows;
        p.y = y + r;
        multiply_rows(&p, row0 + r, rows, more < BLOCK_ROWS ? more : BLOCK_ROWS, m);
    }
    TILE_RELEASE();
}

void loam_amx_use_integer(loam_kernels *k) {
    if (k->integer_product != integer_product_amx) narrower = k->integer_product;
    k->integer_product = integer_product_amx;
}

#endif
