/* avx2.c */
#include "kernels.h"
void loam_kernels_use_avx2(loam_kernels *k) {
    (void)k;
}
