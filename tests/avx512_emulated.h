/* avx512_emulated.h - lets a machine without AVX-512 test the logic of the 512-bit kernels.
 *
 * Included before everything else (-include) by tools/test-avx512.sh.  SIMDe gives most of the
 * intrinsics in plain C; the ones its Debian version lacks follow. */
#ifndef LOAM_AVX512_EMULATED_H
#define LOAM_AVX512_EMULATED_H

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

#endif
