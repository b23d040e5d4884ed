/* avx2_float.c - f32 products: a 6 x 16 tile over panels packed from the weights.
 *
 * Lanes hold outputs, k runs upwards with one fma each, so blocking changes nothing: a tile
 * that stops at a block of k writes its sums to y and the next block goes on from there.
 *
 *     weights [16 rows][256 k]  --convert, transpose-->  panel [256 k][16 rows]   16 KB, L1
 *     y tile [6 positions][16 rows] += x [6][256] broadcast * panel               12 registers
 *
 * Four panels (64 rows) are packed at a time, so that six rows of x stay in L1 for four tiles.
 */
#include "avx2.h"

#if defined(__AVX2__)

enum { BLOCK_K = 256, PANELS = 4, PANEL_ROWS = 16 };

#define DEFINE_TILE(M)                                                                             \
    static void tile_##M(const avx2_tile *t) {                                                     \
        __m256 lo[M], hi[M];                                                                       \
        const float *x[M], *b = t->b;                                                              \
        _Pragma("GCC unroll 6") for (size_t i = 0; i < M; i++) {                                   \
            x[i] = t->x + i * t->x_stride;                                                         \
            float *y = t->y + i * t->y_stride;                                                     \
            lo[i] = t->begin ? _mm256_setzero_ps() : _mm256_loadu_ps(y);                           \
            hi[i] = t->begin ? _mm256_setzero_ps() : _mm256_loadu_ps(y + 8);                       \
        }                                                                                          \
        for (size_t k = 0; k < t->n_k; k++, b += t->b_stride) {                                    \
            const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);                     \
            _Pragma("GCC unroll 6") for (size_t i = 0; i < M; i++) {                               \
                const __m256 xi = _mm256_broadcast_ss(x[i] + k);                                   \
                lo[i] = _mm256_fmadd_ps(b0, xi, lo[i]);                                            \
                hi[i] = _mm256_fmadd_ps(b1, xi, hi[i]);                                            \
            }                                                                                      \
        }                                                                                          \
        _Pragma("GCC unroll 6") for (size_t i = 0; i < M; i++) {                                   \
            float *y = t->y + i * t->y_stride;                                                     \
            _mm256_storeu_ps(y, lo[i]);                                                            \
            _mm256_storeu_ps(y + 8, hi[i]);                                                        \
        }                                                                                          \
    }

DEFINE_TILE(1)
DEFINE_TILE(2)
DEFINE_TILE(3)
DEFINE_TILE(4)
DEFINE_TILE(5)
DEFINE_TILE(6)

void loam_avx2_tile(const avx2_tile *t, size_t m) {
    static void (*const tiles[])(const avx2_tile *t) = {tile_1, tile_2, tile_3,
                                                        tile_4, tile_5, tile_6};
    tiles[m - 1](t);
}

static void dense_to_f32(loam_element e, const unsigned char *p, size_t n, float *out) {
    size_t k = 0;
    for (; k + 8 <= n; k += 8) _mm256_storeu_ps(out + k, load_scalars(e, p, k));
    if (k < n) store_part(out + k, n - k, load_scalars_part(e, p, k, n - k));
}

LOAM_INLINE float scalar(loam_element e, const unsigned char *p, size_t i) {
    if (e == LOAM_ELEMENT_F32) return loam_read_f32(p + 4 * i);
    const uint16_t h = loam_read_u16(p + 2 * i);
    return e == LOAM_ELEMENT_BF16 ? loam_bf16_to_f32(h) : _cvtsh_ss(h);
}

LOAM_INLINE void affine_to_f32_bits(const loam_matrix *w, size_t row, size_t k0, size_t n, int bits,
                                    float *out) {
    const size_t group = (size_t)w->group,
                 at = row * (w->cols / group) * loam_element_bytes(w->scale);
    const unsigned char *data = w->data + row * loam_matrix_row_bytes(w) + k0 / 8 * (size_t)bits;

    for (size_t k = 0; k < n; k += 32, data += 4 * bits) {
        const size_t g = (k0 + k) / group;
        const __m256 scale = _mm256_set1_ps(scalar(w->scale, w->scales + at, g));
        const __m256 bias = _mm256_set1_ps(scalar(w->scale, w->biases + at, g));
        unsigned char q[32];
        store256(q, unpack32(data, bits));
#pragma GCC unroll 4
        for (size_t i = 0; i < 32; i += 8) {
            const __m128i q8 = _mm_loadl_epi64((const __m128i *)(const void *)(q + i));
            const __m256 f = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(q8));
            _mm256_storeu_ps(out + k + i, _mm256_add_ps(_mm256_mul_ps(scale, f), bias));
        }
    }
}

/* Columns k0 .. k0 + n of a row; for affine both are multiples of 32. */
static void affine_to_f32(const loam_matrix *w, size_t row, size_t k0, size_t n, float *out) {
    switch (w->bits) {
    case 2: affine_to_f32_bits(w, row, k0, n, 2, out); return;
    case 3: affine_to_f32_bits(w, row, k0, n, 3, out); return;
    case 4: affine_to_f32_bits(w, row, k0, n, 4, out); return;
    case 5: affine_to_f32_bits(w, row, k0, n, 5, out); return;
    case 6: affine_to_f32_bits(w, row, k0, n, 6, out); return;
    default: affine_to_f32_bits(w, row, k0, n, 8, out); return;
    }
}

static void row_to_f32_avx2(const loam_matrix *w, size_t row, float *out) {
    if (w->element == LOAM_ELEMENT_AFFINE)
        affine_to_f32(w, row, 0, w->cols, out);
    else
        dense_to_f32(w->element, w->data + row * loam_matrix_row_bytes(w), w->cols, out);
}

/* See loam_avx2_pack.  Meanwhile the piece at `ahead` is fetched, which is packed next: sixteen
 * short pieces of rows are no stream that the machine would notice by itself. */
LOAM_INLINE void pack(const loam_matrix *w, const unsigned char *data, size_t row_bytes,
                      size_t row0, size_t n_rows, size_t k0, size_t n, float *out, float *buffer,
                      const unsigned char *ahead) {
    const float *rows[PANEL_ROWS];
    const size_t padded = (n + 7) / 8 * 8;
    const int direct = w->element == LOAM_ELEMENT_F32 && n % 8 == 0;

    for (size_t r = 0; r < PANEL_ROWS; r++) {
        if (r >= n_rows) {
            rows[r] = rows[n_rows - 1];
            continue;
        }
        const unsigned char *p = data + (row0 + r) * row_bytes;
        float *to = buffer + r * padded;
        if (!direct) dense_to_f32(w->element, p + k0 * loam_element_bytes(w->element), n, to);
        rows[r] = direct ? (const float *)(const void *)(p + 4 * k0) : to;
    }
    const size_t line = 64 / loam_element_bytes(w->element);
    for (size_t k = 0; k < n; k += 8) {
        const size_t left = n - k < 8 ? n - k : 8;
        if (ahead && k % line == 0) {
#pragma GCC unroll 16
            for (size_t r = 0; r < PANEL_ROWS; r++)
                _mm_prefetch((const char *)ahead + r * row_bytes, _MM_HINT_T0);
            ahead += 64;
        }
        for (size_t half = 0; half < 2; half++) {
            __m256 t[8];
#pragma GCC unroll 8
            for (size_t r = 0; r < 8; r++) t[r] = _mm256_loadu_ps(rows[8 * half + r] + k);
            transpose8(t);
            if (left == 8) {
#pragma GCC unroll 8
                for (size_t i = 0; i < 8; i++)
                    _mm256_storeu_ps(out + (k + i) * PANEL_ROWS + 8 * half, t[i]);
            } else {
                for (size_t i = 0; i < left; i++)
                    _mm256_storeu_ps(out + (k + i) * PANEL_ROWS + 8 * half, t[i]);
            }
        }
    }
}

void loam_avx2_pack(const loam_matrix *w, const unsigned char *data, size_t row_bytes, size_t row0,
                    size_t n_rows, size_t k0, size_t n, float *out, float *buffer) {
    pack(w, data, row_bytes, row0, n_rows, k0, n, out, buffer, NULL);
}

typedef struct panel_block {
    const float *panels; /* [n_panels][BLOCK_K][16] */
    size_t n_rows, n_k;
    const float *x; /* at the block's first k */
    size_t x_stride, m;
    float *y;
    size_t y_stride;
    int begin;
} panel_block;

/* A panel with fewer than sixteen rows of its own goes through a copy of its part of y. */
static void tile_edge(const panel_block *p, avx2_tile t, size_t m, size_t rows) {
    float y[AVX2_TILE_ROWS][PANEL_ROWS] = {{0}}, *to = t.y;
    for (size_t i = 0; i < m && !p->begin; i++)
        memcpy(y[i], to + i * t.y_stride, rows * sizeof(float));
    t.y = y[0];
    t.y_stride = PANEL_ROWS;
    loam_avx2_tile(&t, m);
    for (size_t i = 0; i < m; i++) memcpy(to + i * p->y_stride, y[i], rows * sizeof(float));
}

static void multiply_block(const panel_block *p) {
    for (size_t i = 0; i < p->m; i += AVX2_TILE_ROWS) {
        const size_t m = p->m - i < AVX2_TILE_ROWS ? p->m - i : AVX2_TILE_ROWS;
        for (size_t r = 0; r < p->n_rows; r += PANEL_ROWS) {
            const size_t rows = p->n_rows - r;
            const avx2_tile t = {.x = p->x + i * p->x_stride,
                                 .x_stride = p->x_stride,
                                 .b = p->panels + r * BLOCK_K,
                                 .b_stride = PANEL_ROWS,
                                 .n_k = p->n_k,
                                 .y = p->y + i * p->y_stride + r,
                                 .y_stride = p->y_stride,
                                 .begin = p->begin};
            if (rows >= PANEL_ROWS)
                loam_avx2_tile(&t, m);
            else
                tile_edge(p, t, m, rows);
        }
    }
}

static void dense_product(const loam_matrix *w, size_t row0, size_t n_rows, const float *x,
                          size_t x_stride, size_t m, float *y, size_t y_stride, void *scratch) {
    float *panels = scratch, *buffer = panels + PANELS * PANEL_ROWS * BLOCK_K;
    const size_t row_bytes = loam_matrix_row_bytes(w);
    const size_t element_bytes = loam_element_bytes(w->element);

    for (size_t r = 0; r < n_rows; r += PANELS * PANEL_ROWS) {
        const size_t left = n_rows - r;
        const size_t rows = left < PANELS * PANEL_ROWS ? left : PANELS * PANEL_ROWS;
        for (size_t k = 0; k < w->cols; k += BLOCK_K) {
            const size_t n = w->cols - k < BLOCK_K ? w->cols - k : BLOCK_K;
            for (size_t i = 0; i < rows; i += PANEL_ROWS) {
                const size_t count = rows - i < PANEL_ROWS ? rows - i : PANEL_ROWS;
                /* the next sixteen rows, then the next columns, then the next block of rows */
                const int last_rows = i + PANEL_ROWS >= rows, last_k = k + n == w->cols;
                const size_t next_row = last_rows && !last_k ? r : r + i + PANEL_ROWS;
                const size_t next_k = !last_rows ? k : last_k ? 0 : k + n;
                const unsigned char *ahead =
                    w->data + (row0 + next_row) * row_bytes + next_k * element_bytes;
                pack(w, w->data, row_bytes, row0 + r + i, count, k, n, panels + i * BLOCK_K, buffer,
                     ahead);
            }
            const panel_block block = {.panels = panels,
                                       .n_rows = rows,
                                       .n_k = n,
                                       .x = x + k,
                                       .x_stride = x_stride,
                                       .m = m,
                                       .y = y + r,
                                       .y_stride = y_stride,
                                       .begin = k == 0};
            multiply_block(&block);
        }
    }
}

/* Affine weights as f32: the byte panels of the integer product, whose lanes are rows already,
 * are widened here, w = scale * q rounded, + bias rounded. */
typedef struct byte_panel {
    unsigned char *q;       /* [cols / 4][16][4] */
    float *scales, *biases; /* [n_groups][16] */
    size_t group;
} byte_panel;

/* Byte j of the eight 32-bit lanes, dequantised. */
LOAM_INLINE __m256 widen(__m256i v, int j, __m256 scale, __m256 bias) {
    const __m256i q = _mm256_and_si256(_mm256_srli_epi32(v, 8 * j), _mm256_set1_epi32(0xff));
    return _mm256_add_ps(_mm256_mul_ps(scale, _mm256_cvtepi32_ps(q)), bias);
}

static void widen_panel(const byte_panel *p, size_t k0, size_t n, float *out) {
    for (size_t k = k0; k < k0 + n; k += 32) {
        const size_t at = k / p->group * PANEL_ROWS;
        for (size_t half = 0; half < 2; half++) {
            const __m256 scale = _mm256_loadu_ps(p->scales + at + 8 * half);
            const __m256 bias = _mm256_loadu_ps(p->biases + at + 8 * half);
            float *o = out + (k - k0) * PANEL_ROWS + 8 * half;
            for (size_t i = 0; i < 8; i++, o += 4 * PANEL_ROWS) {
                const __m256i v = load256(p->q + (k / 4 + i) * 64 + 32 * half);
#pragma GCC unroll 4
                for (int j = 0; j < 4; j++)
                    _mm256_storeu_ps(o + j * PANEL_ROWS, widen(v, j, scale, bias));
            }
        }
    }
}

static void affine_product(const loam_matrix *w, size_t row0, size_t n_rows, const float *x,
                           size_t x_stride, size_t m, float *y, size_t y_stride, void *scratch) {
    const size_t n_groups = w->cols / (size_t)w->group, rows_max = PANELS * PANEL_ROWS;
    float *panels = scratch;
    byte_panel p[PANELS];
    unsigned char *room = (unsigned char *)(panels + rows_max * BLOCK_K);
    for (size_t i = 0; i < PANELS; i++) {
        p[i].q = room;
        p[i].scales = (float *)(void *)(room + PANEL_ROWS * w->cols);
        p[i].biases = p[i].scales + PANEL_ROWS * n_groups;
        p[i].group = (size_t)w->group;
        room = (unsigned char *)(p[i].biases + PANEL_ROWS * n_groups);
    }
    for (size_t r = 0; r < n_rows; r += rows_max) {
        const size_t rows = n_rows - r < rows_max ? n_rows - r : rows_max;
        for (size_t i = 0; i < rows; i += PANEL_ROWS) {
            const byte_panel *b = &p[i / PANEL_ROWS];
            const size_t n = rows - i < PANEL_ROWS ? rows - i : PANEL_ROWS;
            loam_avx2_fill_panel(w, row0 + r + i, n, 0, b->q, b->scales, b->biases);
        }
        for (size_t k = 0; k < w->cols; k += BLOCK_K) {
            const size_t n = w->cols - k < BLOCK_K ? w->cols - k : BLOCK_K;
            for (size_t i = 0; i < rows; i += PANEL_ROWS)
                widen_panel(&p[i / PANEL_ROWS], k, n, panels + i * BLOCK_K);
            const panel_block block = {.panels = panels,
                                       .n_rows = rows,
                                       .n_k = n,
                                       .x = x + k,
                                       .x_stride = x_stride,
                                       .m = m,
                                       .y = y + r,
                                       .y_stride = y_stride,
                                       .begin = k == 0};
            multiply_block(&block);
        }
    }
}

void loam_avx2_float_product(const loam_matrix *w, size_t row0, size_t n_rows, const float *x,
                             size_t x_stride, size_t m, float *y, size_t y_stride, void *scratch) {
    if (m == 0) return;
    if (m == 1 && w->cols) {
        const size_t done = loam_avx2_float_vector(w, row0, n_rows, x, y, scratch);
        row0 += done;
        n_rows -= done;
        y += done;
    }
    if (w->cols == 0) {
        for (size_t i = 0; i < m; i++) memset(y + i * y_stride, 0, n_rows * sizeof *y);
    } else if (w->element == LOAM_ELEMENT_AFFINE) {
        affine_product(w, row0, n_rows, x, x_stride, m, y, y_stride, scratch);
    } else {
        dense_product(w, row0, n_rows, x, x_stride, m, y, y_stride, scratch);
    }
}

void loam_avx2_use_float(loam_kernels *k) {
    k->float_product = loam_avx2_float_product;
    k->row_to_f32 = row_to_f32_avx2;
}

#endif
