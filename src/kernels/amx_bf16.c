/* amx_bf16.c - bf16 weights times f32 activations by tiles of bf16, for `fast`.
 *
 * TDPBF16PS multiplies bf16 only, so an activation becomes two of them, x ~ hi + lo with sixteen
 * significant bits: hi is x cut off, lo the rest rounded.  The weights are operand A as they lie,
 * sixteen rows of 32 columns; the activations are operand B, packed once for all rows: eight
 * positions a tile, their hi and their lo side by side, so that the sums of both come out apart:
 *
 *     A [16 rows][32 k]    B [16 pairs of k][8 hi | 8 lo][2]    C [16 rows][8 sums | 8 sums] f32
 *
 * A tile's product adds, for every C, sixteen even and sixteen odd products by fma from 0, then
 * (even + odd) to C.  Columns are cut at multiples of 32 from the row's start and never elsewhere,
 * and a position's sums know nothing of its neighbours: the bits do not depend on how rows and
 * positions are cut.
 *
 * 32 rows x 16 positions are four sums, which leaves four tiles for the operands: 64 cycles of the
 * unit, 32 of loads.  512 columns of 32 rows are copied to the scratch (they are 16 to 32 streams
 * of the file), all positions pass, and what comes next in the file is fetched meanwhile.
 */
#include "amx.h"
#include "avx512.h"

#if defined(LOAM_AMX)

enum {
    TILE_ROWS = 16,
    TILE_BYTES = 1024,
    PAIR_ROWS = 32,
    POSITIONS = LOAM_BF16_POSITIONS, /* of a tile */
    COLUMNS = LOAM_BF16_UNIT,        /* columns of a tile */
    CHUNK_UNITS = 16,
    PASS_BLOCKS = 64 /* tiles of positions whose sums wait in the scratch */
};

/* Scratch: 32 KB and 128 KB */
typedef struct workspace {
    unsigned char weights[2][CHUNK_UNITS][TILE_BYTES];
    float sums[PASS_BLOCKS][2][TILE_ROWS][2 * POSITIONS];
} workspace;

/* ---- activations ---- */

/* Sixteen numbers: hi in the upper halves of *hi, lo in those of *lo.  An infinity or a NaN is all
 * in hi. */
LOAM_INLINE void split_terms(__m512 x, __m512i *hi, __m512i *lo) {
    const __m512i bits = _mm512_castps_si512(x), infinity = _mm512_set1_epi32(0x7f800000);
    const __m512i size = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
    const __mmask16 finite = _mm512_cmpgt_epi32_mask(infinity, size);
    const __mmask16 is_nan = _mm512_cmpgt_epi32_mask(size, infinity);
    const __m512i upper = _mm512_and_si512(bits, _mm512_set1_epi32((int)0xffff0000u));
    const __m512i rest = _mm512_castps_si512(_mm512_sub_ps(x, _mm512_castsi512_ps(upper)));
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(rest, 16), _mm512_set1_epi32(1));
    *hi = _mm512_mask_or_epi32(upper, is_nan, upper, _mm512_set1_epi32(0x00400000));
    *lo = _mm512_maskz_mov_epi32(
        finite, _mm512_add_epi32(rest, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))));
}

/* The upper halves of 32 numbers, in order. */
LOAM_INLINE __m512i upper_halves(__m512i a, __m512i b) {
    const __m512i index = _mm512_add_epi16(
        _mm512_set1_epi16(1),
        _mm512_setr_epi32(0x00020000, 0x00060004, 0x000a0008, 0x000e000c, 0x00120010, 0x00160014,
                          0x001a0018, 0x001e001c, 0x00220020, 0x00260024, 0x002a0028, 0x002e002c,
                          0x00320030, 0x00360034, 0x003a0038, 0x003e003c));
    return _mm512_permutex2var_epi16(a, index, b);
}

static void bf16_pack_amx(const float *x, size_t x_stride, size_t m, size_t cols, uint16_t *out) {
    for (size_t i = 0; i < m; i += POSITIONS) {
        for (size_t k = 0; k < cols; k += COLUMNS, out += TILE_BYTES / 2) {
            const size_t left = cols - k;
            const __mmask16 m0 = first_lanes(left), m1 = first_lanes(left > 16 ? left - 16 : 0);
            __m512i v[2 * POSITIONS];
#pragma GCC unroll 8
            for (size_t p = 0; p < POSITIONS; p++) {
                __m512i hi[2], lo[2];
                const int there = i + p < m;
                const float *from = x + (there ? i + p : i) * x_stride + k;
                split_terms(_mm512_maskz_loadu_ps(there ? m0 : 0, from), &hi[0], &lo[0]);
                split_terms(_mm512_maskz_loadu_ps(there ? m1 : 0, from + 16), &hi[1], &lo[1]);
                v[p] = upper_halves(hi[0], hi[1]);
                v[POSITIONS + p] = upper_halves(lo[0], lo[1]);
            }
            transpose16(v);
#pragma GCC unroll 16
            for (size_t j = 0; j < 16; j++) _mm512_storeu_si512(out + 32 * j, v[j]);
        }
    }
}

/* ---- weights ---- */

/* n_units from unit u0 on of sixteen rows, of which n exist; the others repeat the last. */
static void copy_weights(const loam_matrix *w, size_t row, size_t n, size_t u0, size_t n_units,
                         unsigned char out[][TILE_BYTES]) {
    const size_t row_bytes = loam_matrix_row_bytes(w);
    const unsigned char *ahead = w->data + (row + PAIR_ROWS) * row_bytes + u0 * TILE_BYTES;

    for (size_t u = 0; u < n_units; u++, ahead += TILE_BYTES) {
        const size_t k = (u0 + u) * COLUMNS, left = w->cols - k;
        for (size_t r = 0; r < TILE_ROWS; r++) {
            const unsigned char *from = w->data + (row + (r < n ? r : n - 1)) * row_bytes + 2 * k;
            unsigned char *to = out[u] + 64 * r;
            _mm_prefetch((const char *)ahead + 64 * r, _MM_HINT_T1);
            if (left >= COLUMNS) {
                _mm512_storeu_si512(to, load512(from));
                continue;
            }
            memset(to, 0, 64);
            memcpy(to, from, 2 * left);
        }
    }
}

/* ---- products ---- */

/* 16 or 32 rows x one or two tiles of positions x a chunk, into the sums. */
typedef struct tile_job {
    workspace *at;
    const unsigned char *x; /* packed, of the first tile of positions at the chunk */
    size_t x_stride;        /* bytes from one tile of positions to the next */
    size_t block, n_units;
    int begin; /* sums start at 0 */
} tile_job;

/* C tile t holds the sums of rows t / 2 and positions t % 2. */
#define SUMS(j, t) (j)->at->sums[(j)->block + (t) % 2][(t) / 2][0]
#define EACH_SUM(DO)                                                                               \
    do {                                                                                           \
        DO(0);                                                                                     \
        if (blocks == 2) DO(1);                                                                    \
        if (rows == 2) DO(2);                                                                      \
        if (rows == 2 && blocks == 2) DO(3);                                                       \
    } while (0)
#define BEGIN_SUM(t) TILE_ZERO(t)
#define LOAD_SUM(t)  TILE_LOAD(t, SUMS(j, t), 64)
#define STORE_SUM(t) TILE_STORE(t, SUMS(j, t), 64)

LOAM_INLINE void multiply_tiles(const tile_job *j, int rows, int blocks) {
    const unsigned char *x = j->x;

    if (j->begin)
        EACH_SUM(BEGIN_SUM);
    else
        EACH_SUM(LOAD_SUM);
    for (size_t u = 0; u < j->n_units; u++, x += TILE_BYTES) {
        TILE_LOAD(4, j->at->weights[0][u], 64);
        TILE_LOAD(6, x, 64);
        TILE_PRODUCT_BF16(0, 4, 6);
        if (blocks == 2) {
            TILE_LOAD(7, x + j->x_stride, 64);
            TILE_PRODUCT_BF16(1, 4, 7);
        }
        if (rows == 2) {
            TILE_LOAD(5, j->at->weights[1][u], 64);
            TILE_PRODUCT_BF16(2, 5, 6);
            if (blocks == 2) TILE_PRODUCT_BF16(3, 5, 7);
        }
    }
    EACH_SUM(STORE_SUM);
}

static void multiply_block(const tile_job *j, int rows, int blocks) {
    if (rows == 2)
        blocks == 2 ? multiply_tiles(j, 2, 2) : multiply_tiles(j, 2, 1);
    else
        blocks == 2 ? multiply_tiles(j, 1, 2) : multiply_tiles(j, 1, 1);
}

/* Sums of hi and lo joined: n rows of a tile, m positions. */
static void store_sums(float sums[TILE_ROWS][2 * POSITIONS], size_t n, size_t m, float *y,
                       size_t y_stride) {
    for (size_t r = 0; r < n; r += 8) {
        __m256 t[8];
#pragma GCC unroll 8
        for (size_t i = 0; i < 8; i++)
            t[i] = _mm256_add_ps(_mm256_loadu_ps(sums[r + i]), _mm256_loadu_ps(sums[r + i] + 8));
        transpose8(t);
        for (size_t i = 0; i < m; i++) store_part(y + i * y_stride + r, n - r, t[i]);
    }
}

/* Rows row .. row + n (32 at most) x up to PASS_BLOCKS tiles of positions, m positions in all. */
static void multiply_rows(const loam_matrix *w, size_t row, size_t n, const unsigned char *x,
                          size_t m, float *y, size_t y_stride, workspace *at) {
    const size_t n_units = (w->cols + COLUMNS - 1) / COLUMNS,
                 n_blocks = (m + POSITIONS - 1) / POSITIONS;
    const int rows = n > TILE_ROWS ? 2 : 1;

    for (size_t u = 0; u < n_units; u += CHUNK_UNITS) {
        const size_t units = n_units - u < CHUNK_UNITS ? n_units - u : CHUNK_UNITS;
        copy_weights(w, row, n < TILE_ROWS ? n : TILE_ROWS, u, units, at->weights[0]);
        if (rows == 2) copy_weights(w, row + TILE_ROWS, n - TILE_ROWS, u, units, at->weights[1]);
        for (size_t b = 0; b < n_blocks; b += 2) {
            const tile_job j = {.at = at,
                                .x = x + (b * n_units + u) * TILE_BYTES,
                                .x_stride = n_units * TILE_BYTES,
                                .block = b,
                                .n_units = units,
                                .begin = u == 0};
            multiply_block(&j, rows, n_blocks - b >= 2 ? 2 : 1);
        }
    }
    for (size_t b = 0; b < n_blocks; b++) {
        const size_t first = b * POSITIONS, left = m - first < POSITIONS ? m - first : POSITIONS;
        for (size_t t = 0; t < (size_t)rows; t++)
            store_sums(at->sums[b][t],
                       t               ? n - TILE_ROWS
                       : n < TILE_ROWS ? n
                                       : TILE_ROWS,
                       left, y + first * y_stride + t * TILE_ROWS, y_stride);
    }
}

static void bf16_product_amx(const loam_matrix *w, size_t row0, size_t n_rows, const uint16_t *x,
                             size_t m, float *y, size_t y_stride, void *scratch) {
    const size_t n_units = (w->cols + COLUMNS - 1) / COLUMNS, most = PASS_BLOCKS * POSITIONS;
    tile_config config = {.palette = 1};

    if (m == 0 || n_rows == 0) return;
    for (size_t i = 0; w->cols == 0 && i < m; i++) memset(y + i * y_stride, 0, n_rows * sizeof *y);
    if (w->cols == 0) return;
    for (size_t t = 0; t < 8; t++) {
        config.rows[t] = TILE_ROWS;
        config.row_bytes[t] = 64;
    }
    TILE_CONFIGURE(&config);
    for (size_t r = 0; r < n_rows; r += PAIR_ROWS) {
        const size_t n = n_rows - r < PAIR_ROWS ? n_rows - r : PAIR_ROWS;
        for (size_t i = 0; i < m; i += most) {
            const unsigned char *from =
                (const unsigned char *)x + i / POSITIONS * n_units * TILE_BYTES;
            multiply_rows(w, row0 + r, n, from, m - i < most ? m - i : most, y + i * y_stride + r,
                          y_stride, scratch);
        }
    }
    TILE_RELEASE();
}

void loam_amx_use_bf16(loam_kernels *k) {
    k->bf16_pack = bf16_pack_amx;
    k->bf16_product = bf16_product_amx;
}

#endif
