/* dispatch.c - picks the kernels once.
 *
 * A set is picked only when the CPU has the instructions AND the system saves their
 * registers (XCR0): a hypervisor may show AVX-512 on a kernel that never enabled it.  Tiles
 * need the system's permission besides, asked for here.
 *
 * A new set is one line of `sets` (and a value of loam_isa).
 */
#include "dispatch.h"
#include <stdatomic.h>

typedef struct isa_set {
    loam_isa isa;
    uint64_t needs[LOAM_MACHINE_WORDS]; /* bits that must be there */
    void (*use)(loam_kernels *k);
} isa_set;

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* names of bits that older <cpuid.h> lack */
enum {
    EAX_AVXVNNI = 1 << 4,
    EDX_AMX_BF16 = 1 << 22,
    EDX_AMX_TILE = 1 << 24,
    EDX_AMX_INT8 = 1 << 25,
    XCR0_AVX = 0x06,
    XCR0_AVX512 = 0xe6,
    XCR0_TILES = 0x60000, /* configuration and data */
    TILE_DATA = 18,       /* the feature's bit in XCR0 */
    ARCH_REQ_PERMISSION = 0x1023
};

#define AVX2_NEEDS  [LOAM_CPUID_1_ECX] = bit_FMA | bit_F16C | bit_AVX | bit_OSXSAVE
#define AVX512_BITS (bit_AVX2 | bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL)
#endif

#if defined(__aarch64__)
#if defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__linux__)
#include <sys/auxv.h>
#endif

/* bits of Linux's AT_HWCAP and AT_HWCAP2, which stand for the features elsewhere, too */
enum { HAS_FP = 1 << 0, HAS_ASIMD = 1 << 1, HAS_ASIMDDP = 1 << 20, HAS_I8MM = 1 << 13 };
#endif

/* In the order of loam_isa; each set starts from the one before it that is possible. */
static const isa_set sets[] = {
    {LOAM_ISA_REF, {0}, loam_kernels_use_ref},
#if defined(__x86_64__)
    {LOAM_ISA_AVX2,
     {AVX2_NEEDS, [LOAM_CPUID_7_EBX] = bit_AVX2, [LOAM_XCR0] = XCR0_AVX},
     loam_kernels_use_avx2},
    {LOAM_ISA_AVXVNNI,
     {AVX2_NEEDS, [LOAM_CPUID_7_EBX] = bit_AVX2, [LOAM_CPUID_7_1_EAX] = EAX_AVXVNNI,
      [LOAM_XCR0] = XCR0_AVX},
     loam_kernels_use_avxvnni},
    {LOAM_ISA_AVX512VNNI,
     {AVX2_NEEDS, [LOAM_CPUID_7_EBX] = AVX512_BITS, [LOAM_CPUID_7_ECX] = bit_AVX512VNNI,
      [LOAM_XCR0] = XCR0_AVX512},
     loam_kernels_use_avx512vnni},
    {LOAM_ISA_AMX,
     {AVX2_NEEDS, [LOAM_CPUID_7_EBX] = AVX512_BITS,
      [LOAM_CPUID_7_ECX] = bit_AVX512VNNI | bit_AVX512VBMI,
      [LOAM_CPUID_7_EDX] = EDX_AMX_TILE | EDX_AMX_INT8 | EDX_AMX_BF16,
      [LOAM_XCR0] = XCR0_AVX512 | XCR0_TILES,
      [LOAM_TILES] = LOAM_TILES_SHAPE | LOAM_TILES_PERMITTED},
     loam_kernels_use_amx},
#elif defined(__aarch64__)
    {LOAM_ISA_NEON, {[LOAM_HWCAP] = HAS_FP | HAS_ASIMD}, loam_kernels_use_neon},
    {LOAM_ISA_NEONDOT, {[LOAM_HWCAP] = HAS_FP | HAS_ASIMD | HAS_ASIMDDP}, loam_kernels_use_neondot},
    {LOAM_ISA_NEONI8MM,
     {[LOAM_HWCAP] = HAS_FP | HAS_ASIMD | HAS_ASIMDDP, [LOAM_HWCAP2] = HAS_I8MM},
     loam_kernels_use_neoni8mm},
#endif
};

enum { N_SETS = sizeof sets / sizeof *sets };

int loam_isa_possible(loam_isa isa, const loam_machine *machine) {
    for (size_t i = 0; i < N_SETS; i++) {
        if (sets[i].isa != isa) continue;
        for (size_t j = 0; j < LOAM_MACHINE_WORDS; j++)
            if ((machine->word[j] & sets[i].needs[j]) != sets[i].needs[j]) return 0;
        return 1;
    }
    return 0; /* of another architecture */
}

#if defined(__x86_64__)
static uint64_t read_tiles(void) {
    unsigned a, b, c, d;
    uint64_t said = 0;
    if (!__get_cpuid_count(0x1d, 1, &a, &b, &c, &d)) return 0;
    /* bytes of a tile and of all, tiles and bytes of a row, rows */
    if (a == 0x04002000 && b == 0x00080040 && (c & 0xffff) == 16) said |= LOAM_TILES_SHAPE;
    if (syscall(SYS_arch_prctl, ARCH_REQ_PERMISSION, TILE_DATA) == 0) said |= LOAM_TILES_PERMITTED;
    return said;
}

loam_machine loam_machine_read(void) {
    loam_machine m = {0};
    unsigned a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d)) return m;
    m.word[LOAM_CPUID_1_ECX] = c;
    if (c & bit_OSXSAVE) {
        unsigned lo, hi;
        __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
        m.word[LOAM_XCR0] = (uint64_t)hi << 32 | lo;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        m.word[LOAM_CPUID_7_EBX] = b;
        m.word[LOAM_CPUID_7_ECX] = c;
        m.word[LOAM_CPUID_7_EDX] = d;
        if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) m.word[LOAM_CPUID_7_1_EAX] = a;
    }
    if ((m.word[LOAM_CPUID_7_EDX] & EDX_AMX_TILE) && (m.word[LOAM_XCR0] & XCR0_TILES) == XCR0_TILES)
        m.word[LOAM_TILES] = read_tiles();
    return m;
}
#elif defined(__aarch64__) && defined(__APPLE__)
static int has_feature(const char *name) {
    int there = 0;
    size_t size = sizeof there;
    return sysctlbyname(name, &there, &size, NULL, 0) == 0 && there;
}

loam_machine loam_machine_read(void) {
    loam_machine m = {0};
    m.word[LOAM_HWCAP] = HAS_FP | HAS_ASIMD; /* every Apple core */
    if (has_feature("hw.optional.arm.FEAT_DotProd")) m.word[LOAM_HWCAP] |= HAS_ASIMDDP;
    if (has_feature("hw.optional.arm.FEAT_I8MM")) m.word[LOAM_HWCAP2] |= HAS_I8MM;
    return m;
}
#elif defined(__aarch64__) && defined(__linux__)
loam_machine loam_machine_read(void) {
    loam_machine m = {0};
    m.word[LOAM_HWCAP] = getauxval(AT_HWCAP);
    m.word[LOAM_HWCAP2] = getauxval(AT_HWCAP2);
    return m;
}
#else
loam_machine loam_machine_read(void) {
    return (loam_machine){0};
}
#endif

int loam_isa_available(loam_isa isa) {
    const loam_machine m = loam_machine_read();
    return loam_isa_possible(isa, &m);
}

loam_kernels loam_k;

loam_isa loam_kernels_init(loam_isa cap) {
    const loam_machine m = loam_machine_read();
    loam_kernels k = {0};
    for (size_t i = 0; i < N_SETS && sets[i].isa <= cap; i++)
        if (loam_isa_possible(sets[i].isa, &m)) sets[i].use(&k);
    loam_k = k;
    return k.isa;
}

void loam_kernels_ready(void) {
    static atomic_int state; /* 0 unset, 1 being set, 2 done */
    int seen = atomic_load_explicit(&state, memory_order_acquire);
    if (seen == 2) return;
    seen = 0;
    if (atomic_compare_exchange_strong(&state, &seen, 1)) {
        if (!loam_k.name) loam_kernels_init(LOAM_ISA_BEST);
        atomic_store_explicit(&state, 2, memory_order_release);
    }
    while (atomic_load_explicit(&state, memory_order_acquire) != 2) {
    }
}

const char *loam_cpu_isa(void) {
    loam_kernels_ready();
    return loam_k.name;
}
