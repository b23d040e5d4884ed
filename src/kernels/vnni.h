/* vnni.h - the registers of AVX-512 VNNI (512 bits) and of AVX-VNNI (256) under one name each, so
 * that an integer loop is one text for both (vnni_integer.h, vnni_bytes.h).
 *
 * VPDPBUSD adds four products u8 * s8 into 32 bits without saturation, VPDPWSSD two of 16 bits.
 */
#ifndef LOAM_VNNI_H
#define LOAM_VNNI_H

#include "avx512.h"

#if defined(LOAM_AVX512)
#define LOAM_VNNI

#define LANES 16
typedef __m512i ints;
typedef __m512 floats;

#define LOAD_INTS(p)       _mm512_loadu_si512(p)
#define SET_INTS(i)        _mm512_set1_epi32(i)
#define TO_FLOATS(v)       _mm512_cvtepi32_ps(v)
#define LOAD_FLOATS(p)     _mm512_loadu_ps(p)
#define STORE_FLOATS(p, v) _mm512_storeu_ps(p, v)
#define SET_FLOATS(f)      _mm512_set1_ps(f)
#define MUL(a, b)          _mm512_mul_ps(a, b)
#define FMA(a, b, c)       _mm512_fmadd_ps(a, b, c)

#elif defined(__AVXVNNI__) || defined(LOAM_AVXVNNI_EMULATED)
#define LOAM_VNNI
#define LOAM_AVXVNNI

#define LANES 8
typedef __m256i ints;
typedef __m256 floats;

#define LOAD_INTS(p)       load256(p)
#define SET_INTS(i)        _mm256_set1_epi32(i)
#define TO_FLOATS(v)       _mm256_cvtepi32_ps(v)
#define LOAD_FLOATS(p)     _mm256_loadu_ps(p)
#define STORE_FLOATS(p, v) _mm256_storeu_ps(p, v)
#define SET_FLOATS(f)      _mm256_set1_ps(f)
#define MUL(a, b)          _mm256_mul_ps(a, b)
#define FMA(a, b, c)       _mm256_fmadd_ps(a, b, c)

/* acc += q . x in fours, and a . b in pairs.  gcc 12 surrounds the intrinsics with register copies
 * when the sums stand in an array. */
LOAM_INLINE __m256i dot4(__m256i acc, __m256i q, __m256i x) {
#if defined(__AVXVNNI__) && !defined(__clang__)
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(q), "x"(x));
    return acc;
#else
    return _mm256_dpbusd_avx_epi32(acc, q, x);
#endif
}
LOAM_INLINE __m256i dot2(__m256i acc, __m256i a, __m256i b) {
#if defined(__AVXVNNI__) && !defined(__clang__)
    __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));
    return acc;
#else
    return _mm256_dpwssd_avx_epi32(acc, a, b);
#endif
}

/* Up to so many positions the bit stream is read as it is, beyond it becomes panels. */
enum { LOAM_AVXVNNI_VECTOR_MAX = 4 };
void loam_avxvnni_vector(const loam_matrix *w, size_t row0, size_t n_rows, const loam_acts *a,
                         size_t m, float *y, size_t y_stride, void *scratch);
void loam_avxvnni_use_search(loam_kernels *k);
void loam_avxvnni_use_panel(loam_kernels *k);
#endif

#endif
