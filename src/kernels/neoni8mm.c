/* neoni8mm.c - armv8.6's integer matrices (Neoverse V1 and N2, Apple M2 and later): smmla. */
#include "neon.h"

#if defined(__aarch64__)

LOAM_INLINE int32x4_t dot32(int32x4_t acc, int8x16_t q0, int8x16_t q1, int8x16_t x0, int8x16_t x1,
                            int bits) {
    (void)bits;
    return vdotq_s32(vdotq_s32(acc, q0, x0), q1, x1);
}
#define DOT32 dot32
#include "neon_integer.h"

static void integer_product_neoni8mm(const loam_matrix *w, size_t row0, size_t n_rows,
                                     const loam_acts *a, size_t m, float *y, size_t y_stride,
                                     void *scratch) {
    loam_neon_integer_product(rows4_of, w, row0, n_rows, a, m, y, y_stride, scratch);
}
#endif

void loam_kernels_use_neoni8mm(loam_kernels *k) {
    k->isa = LOAM_ISA_NEONI8MM;
    k->name = "neoni8mm";
#if defined(__aarch64__)
    k->integer_product = integer_product_neoni8mm;
    k->byte_tile = multiply_byte_tile;
#endif
}
