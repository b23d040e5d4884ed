/* avx512vnni_search.c - scans of an index with 512-bit registers.
 *
 * A dot's sixteen partial sums are one register: 4 rows x 6 queries are 24, and 10 loads feed 24
 * fma.
 */
#include "vnni.h"

#ifdef LOAM_AVX512

enum { AHEAD = 1024 /* bytes of a scan that are asked for in advance */ };

LOAM_INLINE float sum_lanes(__m512 s) {
    const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(s), 1));
    return sum_tree(_mm512_castps512_ps256(s), high);
}

/* One step of sixteen columns: the loads are whole, or masked at the end of a row. */
#define TILE_STEP(R, Q, LOAD)                                                                      \
    __m512 v[R];                                                                                   \
    DOT_EACH_ROW(R) v[r] = LOAD(rows + r * t->row_stride + k);                                     \
    DOT_EACH_QUERY(Q) {                                                                            \
        const __m512 xv = LOAD(x + j * t->x_stride + k);                                           \
        DOT_EACH_ROW(R) s[r][j][0] = _mm512_fmadd_ps(v[r], xv, s[r][j][0]);                        \
    }
#define LOAD_END(p) _mm512_maskz_loadu_ps(mask, p)

#define DOT_VECTOR     __m512
#define DOT_ZERO       _mm512_setzero_ps()
#define DOT_STEP(R, Q) TILE_STEP(R, Q, _mm512_loadu_ps)
#define DOT_END(R, Q)                                                                              \
    const __mmask16 mask = first_lanes(dim - k);                                                   \
    TILE_STEP(R, Q, LOAD_END)
#define DOT_SUM(s) sum_lanes((s)[0])
enum { DOT_VECTORS = 1, DOT_ROWS = 4, DOT_QUERIES = 6 };
#include "dot_tiles.h"

#include "vnni_bytes.h"

DEFINE_BYTES(2, 6)
DEFINE_BYTES(1, 6)
DEFINE_BYTES(1, 1)

static void byte_tile_avx512vnni(const loam_byte_tile *t, float *y, size_t y_stride) {
    for (size_t j = 0, m; j < t->m; j += m) {
        size_t i = 0;
        m = t->m - j >= 6 ? 6 : 1;
        if (m == 6)
            for (; i + 2 * LOAM_PANEL <= t->n; i += 2 * LOAM_PANEL) bytes_2_6(t, i, j, y, y_stride);
        for (; i < t->n; i += LOAM_PANEL) (m == 6 ? bytes_1_6 : bytes_1_1)(t, i, j, y, y_stride);
    }
}

void loam_avx512vnni_use_search(loam_kernels *k) {
    k->dot_tile = dot_tile;
    k->dot_tile_rows = DOT_ROWS;
    k->byte_tile = byte_tile_avx512vnni;
}

#endif
