/* neon.c - NEON of armv8.0 (every 64-bit ARM core): the entries of the family. */
#include "neon.h"

void loam_kernels_use_neon(loam_kernels *k) {
    k->isa = LOAM_ISA_NEON;
    k->name = "neon";
#if defined(__aarch64__)
    loam_neon_use_float(k);
    loam_neon_use_integer(k);
    loam_neon_use_math(k);
    loam_neon_use_attend(k);
    loam_neon_use_attention(k);
    loam_neon_use_search(k);
    loam_neon_use_panel(k);
#endif
}
