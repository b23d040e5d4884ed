/* avx512vnni_float.c - f32 products with 512-bit registers: a 12 x 32 tile over the panels of
 * float_blocks.h.  Lanes hold outputs and k ascends: the same bits. */
#include "avx512.h"

#ifdef LOAM_AVX512

#include "float_blocks.h"

#define DEFINE_TILE(M)                                                                             \
    static void tile_##M(const panel_block *t, size_t i0, size_t r, __mmask16 lo, __mmask16 hi) {  \
        __m512 a[M], b[M];                                                                         \
        const float *x = t->x + i0 * t->x_stride;                                                  \
        const float *p0 = t->panels + r * BLOCK_K;                                                 \
        const float *p1 = hi ? p0 + PANEL_ROWS * BLOCK_K : p0;                                     \
        float *y = t->y + i0 * t->y_stride + r;                                                    \
        _Pragma("GCC unroll 12") for (size_t i = 0; i < M; i++) {                                  \
            a[i] =                                                                                 \
                t->begin ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(lo, y + i * t->y_stride);   \
            b[i] = t->begin ? _mm512_setzero_ps()                                                  \
                            : _mm512_maskz_loadu_ps(hi, y + i * t->y_stride + PANEL_ROWS);         \
        }                                                                                          \
        for (size_t k = 0; k < t->n_k; k++, p0 += PANEL_ROWS, p1 += PANEL_ROWS) {                  \
            const __m512 w0 = _mm512_loadu_ps(p0), w1 = _mm512_loadu_ps(p1);                       \
            _Pragma("GCC unroll 12") for (size_t i = 0; i < M; i++) {                              \
                const __m512 xi = _mm512_set1_ps(x[i * t->x_stride + k]);                          \
                a[i] = _mm512_fmadd_ps(w0, xi, a[i]);                                              \
                b[i] = _mm512_fmadd_ps(w1, xi, b[i]);                                              \
            }                                                                                      \
        }                                                                                          \
        _Pragma("GCC unroll 12") for (size_t i = 0; i < M; i++) {                                  \
            _mm512_mask_storeu_ps(y + i * t->y_stride, lo, a[i]);                                  \
            _mm512_mask_storeu_ps(y + i * t->y_stride + PANEL_ROWS, hi, b[i]);                     \
        }                                                                                          \
    }

DEFINE_TILE(1)
DEFINE_TILE(2)
DEFINE_TILE(4)
DEFINE_TILE(8)
DEFINE_TILE(12)

static void multiply_block(const panel_block *t) {
    for (size_t i = 0, n; i < t->m; i += n) {
        const size_t left = t->m - i;
        n = left >= 12 ? 12 : left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        for (size_t r = 0; r < t->n_rows; r += 2 * PANEL_ROWS) {
            const size_t rows = t->n_rows - r;
            const __mmask16 lo = first_lanes(rows),
                            hi = rows > PANEL_ROWS ? first_lanes(rows - PANEL_ROWS) : 0;
            switch (n) {
            case 12: tile_12(t, i, r, lo, hi); break;
            case 8: tile_8(t, i, r, lo, hi); break;
            case 4: tile_4(t, i, r, lo, hi); break;
            case 2: tile_2(t, i, r, lo, hi); break;
            default: tile_1(t, i, r, lo, hi); break;
            }
        }
    }
}

static void place_panel(const loam_matrix *w, const panel_place *at, const void *room, float *out) {
    float *const *buffer = room;
    loam_avx2_pack(w, w->data, loam_matrix_row_bytes(w), at->row, at->n_rows, at->k, at->n_k, out,
                   *buffer);
}

static void float_product_avx512vnni(const loam_matrix *w, size_t row0, size_t n_rows,
                                     const float *x, size_t x_stride, size_t m, float *y,
                                     size_t y_stride, void *scratch) {
    float *panels = scratch, *buffer = panels + BLOCK_ROWS * BLOCK_K;

    /* one position is bound by memory; affine weights are widened by AVX2 */
    if (m <= 1 || w->cols == 0 || w->element == LOAM_ELEMENT_AFFINE)
        loam_avx2_float_product(w, row0, n_rows, x, x_stride, m, y, y_stride, scratch);
    else
        multiply_by_panels(w, row0, n_rows, x, x_stride, m, y, y_stride, panels, place_panel,
                           &buffer);
}

void loam_avx512vnni_use_float(loam_kernels *k) {
    k->float_product = float_product_avx512vnni;
}

#endif
