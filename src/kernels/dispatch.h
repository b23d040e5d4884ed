/* dispatch.h - what a machine says of itself, and which sets of kernels it can run.
 *
 *     loam_machine m = loam_machine_read();
 *     if (loam_isa_possible(LOAM_ISA_AMX, &m)) ...
 *
 * The question is a pure function of the machine's words, so that a test can ask it about
 * machines with any of them masked.
 */
#ifndef LOAM_KERNELS_DISPATCH_H
#define LOAM_KERNELS_DISPATCH_H

#include "kernels.h"

enum {
    LOAM_CPUID_1_ECX,
    LOAM_CPUID_7_EBX,
    LOAM_CPUID_7_ECX,
    LOAM_CPUID_7_EDX,
    LOAM_CPUID_7_1_EAX,
    LOAM_XCR0,   /* registers that the system saves; 0 without OSXSAVE */
    LOAM_TILES,  /* LOAM_TILES_* */
    LOAM_HWCAP,  /* of the auxiliary vector, 64-bit ARM */
    LOAM_HWCAP2, /* the same */
    LOAM_MACHINE_WORDS
};

enum {
    LOAM_TILES_SHAPE = 1,    /* palette 1: eight tiles of 16 rows x 64 bytes */
    LOAM_TILES_PERMITTED = 2 /* the system lets this process use tile data */
};

typedef struct loam_machine {
    uint64_t word[LOAM_MACHINE_WORDS];
} loam_machine;

/* This machine.  Asks the system for permission to use tiles where there are any: it is
 * given to the whole process, once and for all. */
loam_machine loam_machine_read(void);

/* Does a machine that says so have all that the set executes? */
int loam_isa_possible(loam_isa isa, const loam_machine *machine);

#endif
