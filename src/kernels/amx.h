/* amx.h - what the AMX files share: the eight tile registers as statements.
 *
 *     TILE_LOAD(4, x, x_stride); TILE_LOAD(5, panel, 64); TILE_PRODUCT_S8_U8(0, 4, 5);
 *
 * A tile is up to 16 rows of up to 64 bytes, its shape is set by tile_configure.  Products
 * need  C.rows = A.rows,  C.bytes = B.bytes,  B.rows = A.bytes / 4.  Tiles are configured and
 * released within one kernel call, so that no other code ever runs with live tile data (the
 * system would save its 8 KB at each switch).
 *
 * Plain assembly: gcc 12's _tile_loadconfig tells the optimiser of 8 of the 64 bytes only.
 * tests/amx_emulated.h has the same statements in C, for machines without tiles.
 */
#ifndef LOAM_AMX_H
#define LOAM_AMX_H

#include "avx2.h"

/* gcc's name and clang's */
#if defined(__AMX_INT8__) || defined(__AMXINT8__) || defined(LOAM_AMX_EMULATED)
#define LOAM_AMX 1

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

_Static_assert(sizeof(tile_config) == 64, "as LDTILECFG reads it");

#ifdef LOAM_AMX_EMULATED
#define TILE_CONFIGURE(config)      emulated_tile_configure(config)
#define TILE_RELEASE()              emulated_tile_release()
#define TILE_ZERO(t)                emulated_tile_zero(t)
#define TILE_LOAD(t, from, stride)  emulated_tile_load(t, from, stride)
#define TILE_STORE(t, to, stride)   emulated_tile_store(t, to, stride)
#define TILE_PRODUCT_S8_U8(c, a, b) emulated_tile_product_s8_u8(c, a, b)
#define TILE_PRODUCT_S8(c, a, b)    emulated_tile_product_s8(c, a, b)
#define TILE_PRODUCT_BF16(c, a, b)  emulated_tile_product_bf16(c, a, b)
#else
#define TILE_CONFIGURE(config) __asm__ volatile("ldtilecfg %0" ::"m"(*(config)))
#define TILE_RELEASE()         __asm__ volatile("tilerelease" ::)
#define TILE_ZERO(t)           __asm__ volatile("tilezero %%tmm" #t ::)
#define TILE_LOAD(t, from, stride)                                                                 \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"(from), "r"((size_t)(stride))            \
                     : "memor"                                                                     \
                       "y")
#define TILE_STORE(t, to, stride)                                                                  \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"(to), "r"((size_t)(stride))          \
                     : "memory")
#define TILE_PRODUCT_S8_U8(c, a, b)                                                                \
    __asm__ volatile("tdpbsud %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)
#define TILE_PRODUCT_S8(c, a, b) __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)
#define TILE_PRODUCT_BF16(c, a, b)                                                                 \
    __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)
#endif

void loam_amx_use_integer(loam_kernels *k);
void loam_amx_use_panel(loam_kernels *k);
void loam_amx_use_bf16(loam_kernels *k);

#endif
#endif
