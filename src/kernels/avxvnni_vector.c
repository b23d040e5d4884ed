/* avxvnni_vector.c - affine weights times one position, or a few: avx2_vector.c by VPDPBUSD. */
#include "vnni.h"

#ifdef LOAM_AVXVNNI

#define VNNI             1
#define loam_avx2_vector loam_avxvnni_vector
#include "avx2_vector.c"

#endif
