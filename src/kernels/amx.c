/* amx.c - AMX int8 and bf16 tiles (Sapphire Rapids and later): the entries of the family. */
#include "kernels.h"

void loam_kernels_use_amx(loam_kernels *k) {
    k->isa = LOAM_ISA_AMX;
    k->name = "amx";
}
