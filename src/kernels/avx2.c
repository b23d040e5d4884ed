/* avx2.c - AVX2 + FMA + F16C (Haswell, Zen and later): the entries of the family. */
#include "avx2.h"

void loam_kernels_use_avx2(loam_kernels *k) {
    k->isa = LOAM_ISA_AVX2;
    k->name = "avx2";
#if defined(__AVX2__)
    loam_avx2_use_float(k);
    loam_avx2_use_integer(k);
    loam_avx2_use_math(k);
    loam_avx2_use_attention(k);
    loam_avx2_use_search(k);
    loam_avx2_use_panel(k);
    loam_avx2_use_attend(k);
#endif
}
