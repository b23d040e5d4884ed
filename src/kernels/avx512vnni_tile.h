/* avx512vnni_tile.h - the f32 tile of avx2_float.c with registers of sixteen columns, up to twelve
 * rows: lanes hold outputs and k ascends, the same bits. */
#ifndef LOAM_AVX512VNNI_TILE_H
#define LOAM_AVX512VNNI_TILE_H

#include "avx512.h"

#ifdef LOAM_AVX512

enum { LOAM_TILE512_ROWS = 12 };

#define TILE512_ROWS_LOOP _Pragma("GCC unroll 12") for (size_t i = 0; i < m; i++)

LOAM_INLINE void tile512_rows(const loam_tile *t, size_t m) {
    const float *b = t->b, *x[LOAM_TILE512_ROWS / 3];
    const size_t stride = t->x_stride;
    __m512 s[LOAM_TILE512_ROWS];

    _Pragma("GCC unroll 4") for (size_t i = 0; i < LOAM_TILE512_ROWS / 3; i++) x[i] =
        t->x + (3 * i < m ? 3 * i : 0) * stride;
    TILE512_ROWS_LOOP s[i] =
        t->begin ? _mm512_setzero_ps() : _mm512_loadu_ps(t->y + i * t->y_stride);
    for (size_t k = 0; k < t->n_k; k++, b += t->b_stride) {
        const __m512 w = _mm512_loadu_ps(b);
        TILE512_ROWS_LOOP s[i] = _mm512_fmadd_ps(w, _mm512_set1_ps(x[i / 3][i % 3 * stride]), s[i]);
        _Pragma("GCC unroll 4") for (size_t i = 0; i < LOAM_TILE512_ROWS / 3; i++) x[i]++;
    }
    TILE512_ROWS_LOOP _mm512_storeu_ps(t->y + i * t->y_stride, s[i]);
}

/* m rows (1 .. 12) and all sixteen columns of y. */
static inline void loam_avx512_tile(const loam_tile *t, size_t m) {
    switch (m) {
    case 1: tile512_rows(t, 1); return;
    case 2: tile512_rows(t, 2); return;
    case 3: tile512_rows(t, 3); return;
    case 4: tile512_rows(t, 4); return;
    case 5: tile512_rows(t, 5); return;
    case 6: tile512_rows(t, 6); return;
    case 7: tile512_rows(t, 7); return;
    case 8: tile512_rows(t, 8); return;
    case 9: tile512_rows(t, 9); return;
    case 10: tile512_rows(t, 10); return;
    case 11: tile512_rows(t, 11); return;
    default: tile512_rows(t, 12); return;
    }
}

#endif
#endif
