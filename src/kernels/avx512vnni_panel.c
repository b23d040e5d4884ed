/* avx512vnni_panel.c - sixteen rows of affine weights as bytes whose lanes are rows:
 * the panel of avx2_integer.c, made 128 columns at a time.
 */
#include "avx512.h"

#ifdef LOAM_AVX512

/* Sixteen groups of eight rows, 16 bits a scale: rows r and r + 4 share a register. */
LOAM_INLINE void scales_16bit(const loam_matrix *w, const unsigned char *const p[8], size_t g,
                              size_t n, int f16, float *out, size_t stride) {
    const __mmask16 there = first_lanes(n - g);
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    __m512i c[4];

    (void)w;
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++)
        c[i] = _mm512_inserti64x4(
            _mm512_castsi256_si512(_mm256_maskz_loadu_epi16(there, p[i] + 2 * g)),
            _mm256_maskz_loadu_epi16(there, p[i + 4] + 2 * g), 1);
    const __m512i a0 = _mm512_unpacklo_epi16(c[0], c[1]), a1 = _mm512_unpackhi_epi16(c[0], c[1]);
    const __m512i b0 = _mm512_unpacklo_epi16(c[2], c[3]), b1 = _mm512_unpackhi_epi16(c[2], c[3]);
    /* groups 2 i, 2 i + 1 of each eight, four rows a quarter */
    const __m512i pairs[4] = {_mm512_unpacklo_epi32(a0, b0), _mm512_unpackhi_epi32(a0, b0),
                              _mm512_unpacklo_epi32(a1, b1), _mm512_unpackhi_epi32(a1, b1)};
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        const __m512i v = _mm512_permutexvar_epi64(order, pairs[i]);
#pragma GCC unroll 2
        for (size_t half = 0; half < 2; half++) {
            const __m256i h = half ? _mm512_extracti64x4_epi64(v, 1) : _mm512_castsi512_si256(v);
            const __m512 f =
                f16 ? _mm512_cvtph_ps(h)
                    : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
            float *o = out + (g + 8 * half + 2 * i) * stride;
            if (stride == 8) {
                _mm512_storeu_ps(o, f);
            } else {
                const __m512d d = _mm512_castps_pd(f);
                _mm256_storeu_ps(o, _mm512_castps512_ps256(f));
                _mm256_storeu_ps(o + stride, _mm256_castpd_ps(_mm512_extractf64x4_pd(d, 1)));
            }
        }
    }
}

LOAM_INLINE void scales_all(const loam_matrix *w, const unsigned char *base, const size_t rows[8],
                            int f16, float *out, size_t stride) {
    const size_t n = w->cols / (size_t)w->group;
    const unsigned char *p[8];
    for (size_t i = 0; i < 8; i++) p[i] = base + rows[i] * n * 2;
    for (size_t g = 0; g < n; g += 16) scales_16bit(w, p, g, n, f16, out, stride);
}

void loam_avx512_scales8(const loam_matrix *w, const unsigned char *base, const size_t rows[8],
                         size_t end_row, float *out, size_t stride) {
    const int wide = stride != 8;
    if (w->scale == LOAM_ELEMENT_F32)
        loam_avx2_scales8(w, base, rows, end_row, out, stride);
    else if (w->scale == LOAM_ELEMENT_F16)
        wide ? scales_all(w, base, rows, 1, out, 16) : scales_all(w, base, rows, 1, out, 8);
    else
        wide ? scales_all(w, base, rows, 0, out, 16) : scales_all(w, base, rows, 0, out, 8);
}

/* Sixteen rows, n_columns of a unit: q0 and q1 are the dwords 8 L .. and 8 L + 4 .. of the panel. */
LOAM_INLINE void fill_unit(const unsigned char *const row[16], size_t at, int bits,
                           size_t n_columns, unsigned char *out) {
    __m512i a[16], b[16];
#pragma GCC unroll 16
    for (size_t r = 0; r < 16; r++) {
        const unit512 u = load_unit512(row[r] + at, bits, n_columns, 0);
        a[r] = u.q0;
        b[r] = u.q1;
    }
    transpose16(a);
    transpose16(b);
#pragma GCC unroll 16
    for (size_t j = 0; j < 16; j++) {
        const size_t dword = j / 4 * 8 + j % 4;
        if (4 * dword >= n_columns) break;
        _mm512_storeu_si512(out + 64 * dword, a[j]);
        _mm512_storeu_si512(out + 64 * (dword + 4), b[j]);
    }
}

LOAM_INLINE void fill_rows(const loam_matrix *w, const unsigned char *const row[16], int bits,
                           size_t next, unsigned char *out) {
    const size_t cols = w->cols;
    size_t k = 0;
    for (; k + UNIT <= cols; k += UNIT, out += UNIT * 16) {
        const size_t at = k / 8 * (size_t)bits;
        fill_unit(row, at, bits, UNIT, out);
#pragma GCC unroll 16
        for (size_t r = 0; r < 16; r++) _mm_prefetch((const char *)row[r] + at + next, _MM_HINT_T0);
    }
    if (k < cols) fill_unit(row, k / 8 * (size_t)bits, bits, cols - k, out);
}

void loam_avx512_fill_panel(const loam_matrix *w, size_t row0, size_t n_rows, unsigned char *q,
                            float *scales, float *biases) {
    const size_t row_bytes = loam_matrix_row_bytes(w), next = 16 * row_bytes;
    const unsigned char *row[16];
    size_t rows[16];

    for (size_t r = 0; r < 16; r++) {
        rows[r] = row0 + (r < n_rows ? r : n_rows - 1);
        row[r] = w->data + rows[r] * row_bytes;
    }
    switch (w->bits) {
    case 2: fill_rows(w, row, 2, next, q); break;
    case 3: fill_rows(w, row, 3, next, q); break;
    case 4: fill_rows(w, row, 4, next, q); break;
    case 5: fill_rows(w, row, 5, next, q); break;
    case 6: fill_rows(w, row, 6, next, q); break;
    default: fill_rows(w, row, 8, next, q); break;
    }
    for (size_t half = 0; half < 2; half++) {
        loam_avx512_scales8(w, w->scales, rows + 8 * half, row0 + n_rows, scales + 8 * half, 16);
        loam_avx512_scales8(w, w->biases, rows + 8 * half, row0 + n_rows, biases + 8 * half, 16);
    }
}

#endif
