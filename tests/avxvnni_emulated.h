/* avxvnni_emulated.h - VPDPBUSD and VPDPWSSD of 256 bits in AVX2, for machines without AVX-VNNI.
 *
 * Included before everything else (-include) by tools/test-avxvnni.sh. */
#ifndef LOAM_AVXVNNI_EMULATED_H
#define LOAM_AVXVNNI_EMULATED_H

#include <immintrin.h>

/* acc + four products of bytes, q unsigned, x signed, each sum whole in 32 bits */
static inline __m256i emulated_dpbusd(__m256i acc, __m256i q, __m256i x) {
    const __m256i q_even = _mm256_and_si256(q, _mm256_set1_epi16(0xff));
    const __m256i q_odd = _mm256_srli_epi16(q, 8), x_odd = _mm256_srai_epi16(x, 8);
    const __m256i x_even = _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8);
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(q_even, x_even));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(q_odd, x_odd));
}
static inline __m256i emulated_dpwssd(__m256i acc, __m256i a, __m256i b) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
}
#define _mm256_dpbusd_avx_epi32(acc, q, x) emulated_dpbusd(acc, q, x)
#define _mm256_dpwssd_avx_epi32(acc, a, b) emulated_dpwssd(acc, a, b)

#endif
