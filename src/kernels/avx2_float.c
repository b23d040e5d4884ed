/* avx2_float.c - f32 products: a 6 x 16 tile over panels packed from the weights.
 *
 * Lanes hold outputs, k runs upwards with one fma each, so blocking changes nothing: a tile
 * that stops at a block of k writes its sums to y and the next block goes on from there.
 *
 *     y tile [6 positions][16 rows] += x [6][256] broadcast * panel [256][16]    12 registers
 *
 * Blocks of panels are those of float_blocks.h, so that six rows of x stay in L1 for four tiles.
 */
#include "avx2.h"

#if defined(__AVX2__)

#define TILE_RUN loam_avx2_tile
enum { TILE_ROWS = AVX2_TILE_ROWS, FLOATS = 8 };
#include "float_blocks.h"

#define DEFINE_TILE(M)                                                                             \
    static void tile_##M(const loam_tile *t) {                                                     \
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

void loam_avx2_tile(const loam_tile *t, size_t m) {
    static void (*const tiles[])(const loam_tile *t) = {tile_1, tile_2, tile_3,
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

LOAM_INLINE void widen32(const unsigned char *data, int bits, float scale, float bias, float *out) {
    unsigned char q[32];
    store256(q, unpack32(data, bits));
#pragma GCC unroll 4
    for (size_t i = 0; i < 32; i += 8) {
        const __m128i q8 = _mm_loadl_epi64((const __m128i *)(const void *)(q + i));
        const __m256 f = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(q8));
        _mm256_storeu_ps(
            out + i, _mm256_add_ps(_mm256_mul_ps(_mm256_set1_ps(scale), f), _mm256_set1_ps(bias)));
    }
}

#include "float_rows.h"

/* See loam_avx2_pack.  Meanwhile the piece at `ahead` is fetched, which is packed next: sixteen
 * short pieces of rows are no stream that the machine would notice by itself. */
LOAM_INLINE void pack(const loam_matrix *w, const unsigned char *data, size_t row_bytes,
                      size_t row0, size_t n_rows, size_t k0, size_t n, float *out, float *buffer,
                      const unsigned char *ahead) {
    const float *rows[PANEL_ROWS];

    find_rows(w, data, row_bytes, row0, n_rows, k0, n, buffer, rows);
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

static void place_dense(const loam_matrix *w, const panel_place *at, const void *room, float *out) {
    float *const *buffer = room;
    const size_t row_bytes = loam_matrix_row_bytes(w);
    const unsigned char *ahead =
        w->data + at->next_row * row_bytes + at->next_k * loam_element_bytes(w->element);
    pack(w, w->data, row_bytes, at->row, at->n_rows, at->k, at->n_k, out, *buffer, ahead);
}

static void dense_product(const loam_matrix *w, size_t row0, size_t n_rows, const float *x,
                          size_t x_stride, size_t m, float *y, size_t y_stride, void *scratch) {
    float *panels = scratch, *buffer = panels + BLOCK_ROWS * BLOCK_K;
    multiply_by_panels(w, row0, n_rows, x, x_stride, m, y, y_stride, panels, place_dense, &buffer);
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

static void place_affine(const loam_matrix *w, const panel_place *at, const void *room,
                         float *out) {
    const byte_panel *p = (const byte_panel *)room + at->index;
    if (at->k == 0) loam_avx2_fill_panel(w, at->row, at->n_rows, 0, p->q, p->scales, p->biases);
    widen_panel(p, at->k, at->n_k, out);
}

static void affine_product(const loam_matrix *w, size_t row0, size_t n_rows, const float *x,
                           size_t x_stride, size_t m, float *y, size_t y_stride, void *scratch) {
    const size_t n_groups = w->cols / (size_t)w->group;
    float *panels = scratch;
    byte_panel p[PANELS];
    unsigned char *room = (unsigned char *)(panels + BLOCK_ROWS * BLOCK_K);
    for (size_t i = 0; i < PANELS; i++) {
        p[i].q = room;
        p[i].scales = (float *)(void *)(room + PANEL_ROWS * w->cols);
        p[i].biases = p[i].scales + PANEL_ROWS * n_groups;
        p[i].group = (size_t)w->group;
        room = (unsigned char *)(p[i].biases + PANEL_ROWS * n_groups);
    }
    multiply_by_panels(w, row0, n_rows, x, x_stride, m, y, y_stride, panels, place_affine, p);
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
    k->row_to_f32 = row_to_f32;
}

#endif
