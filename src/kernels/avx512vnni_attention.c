/* avx512vnni_attention.c - attention of avx2_attention.c with the tile of 512 bits, twelve rows at a
 * time: both products are that tile, and what is left is softmax. */
#include "avx512vnni_tile.h"

#ifdef LOAM_AVX512

#define AVX2_TILE_ROWS          LOAM_TILE512_ROWS
#define loam_avx2_tile          loam_avx512_tile
#define loam_avx2_use_attention loam_avx512vnni_use_attention
#include "avx2_attention.c"

#endif
