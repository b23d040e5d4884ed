/* neondot.c - armv8.2 with dot products (Cortex-A76, Neoverse N1, Apple M1 and later): sdot. */
#include "neon.h"

#if defined(__aarch64__)

LOAM_INLINE int32x4_t dot32(int32x4_t acc, int8x16_t q0, int8x16_t q1, int8x16_t x0, int8x16_t x1,
                            int bits) {
    (void)bits;
    return vdotq_s32(vdotq_s32(acc, q0, x0), q1, x1);
}
#define DOT32 dot32
#include "neon_integer.h"

static void integer_product_neondot(const loam_matrix *w, size_t row0, size_t n_rows,
                                    const loam_acts *a, size_t m, float *y, size_t y_stride,
                                    void *scratch) {
    loam_neon_integer_product(rows4_of, w, row0, n_rows, a, m, y, y_stride, scratch);
}
#endif

void loam_kernels_use_neondot(loam_kernels *k) {
    k->isa = LOAM_ISA_NEONDOT;
    k->name = "neondot";
#if defined(__aarch64__)
    k->integer_product = integer_product_neondot;
    k->byte_tile = multiply_byte_tile;
#endif
}
