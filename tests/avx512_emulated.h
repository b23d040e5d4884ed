/* avx512_emulated.h - lets a machine without AVX-512 test the logic of the 512-bit kernels.
 *
 * Included before everything else (-include) by tools/test-avx512.sh.  SIMDe gives most of the
 * intrinsics in plain C; the ones its Debian version lacks follow. */
#ifndef LOAM_AVX512_EMULATED_H
#define LOAM_AVX512_EMULATED_H

/* always inlined, the emulation takes minutes to compile */
#define LOAM_INLINE static
#define SIMDE_NO_INLINE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <string.h>

static inline simde__m512 emulated_cvtepi32_ps(simde__m512i v) {
    int from[16];
    float to[16];
    memcpy(from, &v, sizeof from);
    for (int i = 0; i < 16; i++) to[i] = (float)from[i];
    return simde_mm512_loadu_ps(to);
}
static inline simde__m512 emulated_maskz_loadu_ps(simde__mmask16 m, const float *p) {
    float to[16];
    for (int i = 0; i < 16; i++) to[i] = m >> i & 1 ? p[i] : 0.0f;
    return simde_mm512_loadu_ps(to);
}
static inline void emulated_mask_storeu_ps(float *p, simde__mmask16 m, simde__m512 v) {
    float from[16];
    memcpy(from, &v, sizeof from);
    for (int i = 0; i < 16; i++)
        if (m >> i & 1) p[i] = from[i];
}
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps(v) emulated_cvtepi32_ps(v)
#undef _mm512_maskz_loadu_ps
#define _mm512_maskz_loadu_ps(m, p) emulated_maskz_loadu_ps(m, p)
#undef _mm512_mask_storeu_ps
#define _mm512_mask_storeu_ps(p, m, v) emulated_mask_storeu_ps(p, m, v)

/* Loads and stores of some lanes touch no others. */
#define EMULATED_LOAD(name, type, element, n)                                                      \
    static inline type emulated_##name(uint64_t m, const void *p) {                                \
        element to[n];                                                                             \
        type v;                                                                                    \
        for (int i = 0; i < n; i++) {                                                              \
            to[i] = 0;                                                                             \
            if (m >> i & 1)                                                                        \
                memcpy(&to[i], (const char *)p + i * sizeof(element), sizeof(element));            \
        }                                                                                          \
        memcpy(&v, to, sizeof v);                                                                  \
        return v;                                                                                  \
    }
EMULATED_LOAD(maskz_loadu_epi32, simde__m512i, int32_t, 16)
EMULATED_LOAD(maskz_loadu_epi16_256, simde__m256i, int16_t, 16)
#undef _mm512_maskz_loadu_epi32
#define _mm512_maskz_loadu_epi32(m, p) emulated_maskz_loadu_epi32(m, p)
#undef _mm256_maskz_loadu_epi16
#define _mm256_maskz_loadu_epi16(m, p) emulated_maskz_loadu_epi16_256(m, p)

static inline simde__m512 emulated_cvtph_ps(simde__m256i v) {
    simde__m256 half[2] = {_mm256_cvtph_ps(_mm256_castsi256_si128(v)),
                           _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1))};
    simde__m512 r;
    memcpy(&r, half, sizeof r);
    return r;
}
static inline simde__m512i emulated_cvtps_epi32(simde__m512 v) {
    simde__m256 half[2];
    simde__m256i to[2];
    simde__m512i r;
    memcpy(half, &v, sizeof half);
    for (int i = 0; i < 2; i++) to[i] = _mm256_cvtps_epi32(half[i]);
    memcpy(&r, to, sizeof r);
    return r;
}
static inline simde__m512i emulated_srai_epi32(simde__m512i v, unsigned n) {
    int32_t x[16];
    simde__m512i r;
    memcpy(x, &v, sizeof x);
    for (int i = 0; i < 16; i++) x[i] >>= n;
    memcpy(&r, x, sizeof r);
    return r;
}
static inline simde__m512i emulated_cvtepu16_epi32(simde__m256i v) {
    uint16_t from[16];
    uint32_t to[16];
    simde__m512i r;
    memcpy(from, &v, sizeof from);
    for (int i = 0; i < 16; i++) to[i] = from[i];
    memcpy(&r, to, sizeof r);
    return r;
}
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps(v) emulated_cvtph_ps(v)
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32(v) emulated_cvtepu16_epi32(v)

#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32(v) emulated_cvtps_epi32(v)
#undef _mm512_srai_epi32
#define _mm512_srai_epi32(v, n) emulated_srai_epi32(v, n)

#endif
