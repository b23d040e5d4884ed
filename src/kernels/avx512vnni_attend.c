/* avx512vnni_attend.c - attention of avx2_attend.c with the tile of 512 bits (its scratch holds
 * six rows). */
#include "avx512vnni_tile.h"

#ifdef LOAM_AVX512

#define loam_avx2_tile       loam_avx512_tile
#define loam_avx2_use_attend loam_avx512vnni_use_attend
#include "avx2_attend.c"

#endif
