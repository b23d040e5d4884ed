/* avx512vnni.c - AVX-512 with VNNI (Ice Lake, Zen 4 and later): the list of its entries, and the
 * integer product of many positions: tiles of 32 rows (two panels) x 12 positions, 24 registers of
 * sums.
 */
#include "vnni.h"

#ifdef LOAM_AVX512

enum { PANEL_BYTES = 192 << 10, VECTOR_MAX = LOAM_AVX512_VECTOR_MAX };
#define TILE_COLS    12
#define multiply_few loam_avx512vnni_vector
#define fill_panel   loam_avx512_fill_panel
#define groups_room  padded_groups
#include "vnni_integer.h"

void loam_kernels_use_avx512vnni(loam_kernels *k) {
    k->isa = LOAM_ISA_AVX512VNNI;
    k->name = "avx512vnni";
    k->integer_product = integer_product_vnni;
    loam_avx512vnni_use_float(k);
    loam_avx512vnni_use_search(k);
    loam_avx512vnni_use_encoder(k);
    loam_avx512vnni_use_attention(k);
    loam_avx512vnni_use_attend(k);
    loam_avx512vnni_use_math(k);
}

#else

void loam_kernels_use_avx512vnni(loam_kernels *k) {
    (void)k;
}

#endif
