/* avx512vnni.c - AVX-512 with VNNI (Ice Lake, Zen 4 and later): products.
 *
 * VPDPBUSD adds four products u8 * s8 into 32 bits, so every bit width is one kernel and an
 * 8-bit q needs no correction.  The panel is the one of avx2_integer.c, sixteen rows being one
 * register:
 *
 *     panel [k/4][16 rows][4 k]  *  x[position][4 k] broadcast   tile: 32 rows x 8 positions
 *
 * Two panels share each broadcast.  Everything else, the step of a single position among it
 * (memory is its limit), is taken from AVX2.
 */
#include "avx2.h"

#if defined(__AVX512VNNI__) || defined(LOAM_AVX512_EMULATED)

enum { TILE_ROWS = 32, TILE_COLS = 8, PANEL_ROWS = 16, PANEL_BYTES = 192 << 10, ROWS_MAX = 64 };

typedef struct tile_args {
    const unsigned char *q[2];          /* panels */
    const float *scales[2], *biases[2]; /* [n_groups][16] */
    size_t n_groups, group;
    const int8_t *x[TILE_COLS];
    const float *d[TILE_COLS], *s[TILE_COLS];
} tile_args;

#define FOR_COLS _Pragma("GCC unroll 8") for (size_t c = 0; c < TILE_COLS; c++)

/* acc += q . x in fours.  gcc 12 surrounds the intrinsic with register copies when the sums
 * stand in an array, at half the speed. */
LOAM_INLINE __m512i dot4(__m512i acc, __m512i q, __m512i x) {
#if defined(__AVX512VNNI__) && !defined(__clang__)
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(q), "v"(x));
    return acc;
#else
    return _mm512_dpbusd_epi32(acc, q, x);
#endif
}

LOAM_INLINE __m512i broadcast4(const int8_t *x) {
    int32_t v;
    memcpy(&v, x, 4);
    return _mm512_set1_epi32(v);
}

/* out [8][32]: all groups, then the biases. */
static void integer_tile(const tile_args *t, float *out) {
    const unsigned char *q0 = t->q[0], *q1 = t->q[1];
    __m512 f0[TILE_COLS], f1[TILE_COLS];

    FOR_COLS f0[c] = f1[c] = _mm512_setzero_ps();
    for (size_t g = 0, k = 0; g < t->n_groups; g++) {
        __m512i a[TILE_COLS], b[TILE_COLS];
        FOR_COLS a[c] = b[c] = _mm512_setzero_si512();
        for (size_t end = k + t->group; k < end; k += 4, q0 += 64, q1 += 64) {
            const __m512i w0 = _mm512_loadu_si512(q0), w1 = _mm512_loadu_si512(q1);
            FOR_COLS {
                const __m512i x = broadcast4(t->x[c] + k);
                a[c] = dot4(a[c], w0, x);
                b[c] = dot4(b[c], w1, x);
            }
        }
        const __m512 s0 = _mm512_loadu_ps(t->scales[0] + g * PANEL_ROWS);
        const __m512 s1 = _mm512_loadu_ps(t->scales[1] + g * PANEL_ROWS);
        FOR_COLS {
            const __m512 d = _mm512_set1_ps(t->d[c][g]);
            f0[c] = _mm512_fmadd_ps(_mm512_mul_ps(s0, d), _mm512_cvtepi32_ps(a[c]), f0[c]);
            f1[c] = _mm512_fmadd_ps(_mm512_mul_ps(s1, d), _mm512_cvtepi32_ps(b[c]), f1[c]);
        }
    }
    for (size_t g = 0; g < t->n_groups; g++) {
        const __m512 b0 = _mm512_loadu_ps(t->biases[0] + g * PANEL_ROWS);
        const __m512 b1 = _mm512_loadu_ps(t->biases[1] + g * PANEL_ROWS);
        FOR_COLS {
            const __m512 s = _mm512_set1_ps(t->s[c][g]);
            f0[c] = _mm512_fmadd_ps(b0, s, f0[c]);
            f1[c] = _mm512_fmadd_ps(b1, s, f1[c]);
        }
    }
    FOR_COLS {
        _mm512_storeu_ps(out + c * TILE_ROWS, f0[c]);
        _mm512_storeu_ps(out + c * TILE_ROWS + PANEL_ROWS, f1[c]);
    }
}

typedef struct integer_panels {
    unsigned char *q;       /* [panels][cols / 4][16][4] */
    float *scales, *biases; /* [panels][n_groups][16] */
} integer_panels;

static void multiply_panels(const loam_matrix *w, const integer_panels *p, const loam_acts *a,
                            size_t m, size_t n_rows, float *y, size_t y_stride) {
    const size_t n_groups = w->cols / (size_t)w->group;

    for (size_t i = 0; i < m; i += TILE_COLS) {
        const size_t cols = m - i < TILE_COLS ? m - i : TILE_COLS;
        tile_args t = {.n_groups = n_groups, .group = (size_t)w->group};
        for (size_t c = 0; c < TILE_COLS; c++) { /* missing positions repeat the last */
            const size_t at = i + (c < cols ? c : cols - 1);
            t.x[c] = a->q + at * a->q_stride;
            t.d[c] = a->d + at * a->g_stride;
            t.s[c] = a->s + at * a->g_stride;
        }
        for (size_t r = 0; r < n_rows; r += TILE_ROWS) {
            const size_t rows = n_rows - r < TILE_ROWS ? n_rows - r : TILE_ROWS;
            float out[TILE_COLS * TILE_ROWS];
            for (size_t half = 0; half < 2; half++) {
                /* a tile's second panel may not exist: the first serves, its sums are dropped */
                const size_t row = rows > half * PANEL_ROWS ? r + half * PANEL_ROWS : r;
                t.q[half] = p->q + row * w->cols;
                t.scales[half] = p->scales + row * n_groups;
                t.biases[half] = p->biases + row * n_groups;
            }
            integer_tile(&t, out);
            for (size_t c = 0; c < cols; c++)
                memcpy(y + (i + c) * y_stride + r, out + c * TILE_ROWS, rows * sizeof *y);
        }
    }
}

static void integer_product_avx512vnni(const loam_matrix *w, size_t row0, size_t n_rows,
                                       const loam_acts *a, size_t m, float *y, size_t y_stride,
                                       void *scratch) {
    if (m <= LOAM_AVX2_VECTOR_MAX) {
        loam_avx2_vector(w, row0, n_rows, a, m, y, y_stride, scratch);
        return;
    }
    const size_t n_groups = w->cols / (size_t)w->group;
    size_t block = w->cols ? PANEL_BYTES / w->cols / TILE_ROWS * TILE_ROWS : ROWS_MAX;
    block = block < TILE_ROWS ? TILE_ROWS : block > ROWS_MAX ? ROWS_MAX : block;
    integer_panels p = {.q = scratch};
    p.scales = (float *)(void *)(p.q + block * w->cols);
    p.biases = p.scales + block * n_groups;
    for (size_t r = 0; r < n_rows; r += block) {
        const size_t rows = n_rows - r < block ? n_rows - r : block;
        for (size_t i = 0; i < rows; i += PANEL_ROWS)
            loam_avx2_fill_panel(w, row0 + r + i, rows - i < PANEL_ROWS ? rows - i : PANEL_ROWS, 0,
                                 p.q + i * w->cols, p.scales + i * n_groups,
                                 p.biases + i * n_groups);
        multiply_panels(w, &p, a, m, rows, y + r, y_stride);
    }
}

void loam_kernels_use_avx512vnni(loam_kernels *k) {
    k->isa = LOAM_ISA_AVX512VNNI;
    k->name = "avx512vnni";
    k->integer_product = integer_product_avx512vnni;
    loam_avx512vnni_use_float(k);
    loam_avx512vnni_use_search(k);
}

#else

void loam_kernels_use_avx512vnni(loam_kernels *k) {
    (void)k;
}

#endif
