/* avx512vnni.c */
#include "kernels.h"
void loam_kernels_use_avx512vnni(loam_kernels *k) {
    (void)k;
}
