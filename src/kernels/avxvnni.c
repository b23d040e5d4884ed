/* avxvnni.c - AVX-VNNI: VPDPBUSD and VPDPWSSD with 256 bits, without AVX-512 (Alder Lake and later):
 * the list of its entries, and the integer product of many positions: tiles of 16 rows (one panel) x
 * 6 positions, 12 of the 16 registers for sums.
 */
#include "vnni.h"

#ifdef LOAM_AVXVNNI

enum { PANEL_BYTES = 96 << 10, VECTOR_MAX = LOAM_AVXVNNI_VECTOR_MAX };
#define TILE_COLS    6
#define multiply_few loam_avxvnni_vector

static size_t groups_room(const loam_matrix *w) {
    return w->cols / (size_t)w->group;
}

static void fill_panel(const loam_matrix *w, size_t row0, size_t n_rows, unsigned char *q,
                       float *scales, float *biases) {
    loam_avx2_fill_panel(w, row0, n_rows, 0, q, scales, biases);
}

#include "vnni_integer.h"

void loam_kernels_use_avxvnni(loam_kernels *k) {
    k->isa = LOAM_ISA_AVXVNNI;
    k->name = "avxvnni";
    k->integer_product = integer_product_vnni;
    loam_avxvnni_use_search(k);
    loam_avxvnni_use_panel(k);
}

#else

void loam_kernels_use_avxvnni(loam_kernels *k) {
    (void)k;
}

#endif
