/* amx.c - AMX tiles (Sapphire Rapids and later): the entries of the family. */
#include "amx.h"

void loam_kernels_use_amx(loam_kernels *k) {
    k->isa = LOAM_ISA_AMX;
    k->name = "amx";
#if defined(LOAM_AMX)
    loam_amx_use_integer(k);
    loam_amx_use_panel(k);
    loam_amx_use_bf16(k);
#endif
}
