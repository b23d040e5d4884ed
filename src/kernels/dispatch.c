/* dispatch.c - picks the kernels once.
 *
 * A set is picked only when the CPU has the instructions AND the system saves their
 * registers (XCR0): a hypervisor may show AVX-512 on a kernel that never enabled it.
 */
#include "kernels.h"
#include <stdatomic.h>

#if defined(__x86_64__)
#include <cpuid.h>

enum { XCR0_AVX = 0x06, XCR0_AVX512 = 0xe6 };

static unsigned read_xcr0(void) {
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo;
}

int loam_isa_available(loam_isa isa) {
    unsigned a, b, c, d, b7 = 0, c7 = 0;

    if (isa == LOAM_ISA_REF) return 1;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if (!(c & bit_OSXSAVE)) return 0;
    const unsigned xcr0 = read_xcr0();
    const int has_base = (c & bit_FMA) && (c & bit_F16C) && (c & bit_AVX);
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        b7 = b;
        c7 = c;
    }
    const int avx2 = has_base && (b7 & bit_AVX2) && (xcr0 & XCR0_AVX) == XCR0_AVX;
    if (isa == LOAM_ISA_AVX2) return avx2;
    const unsigned wide = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    return avx2 && (b7 & wide) == wide && (c7 & bit_AVX512VNNI) &&
           (xcr0 & XCR0_AVX512) == XCR0_AVX512;
}
#else
int loam_isa_available(loam_isa isa) {
    return isa == LOAM_ISA_REF;
}
#endif

loam_kernels loam_k;

/* in the order of loam_isa; each set starts from the one before it */
static void (*const use_set[])(loam_kernels *k) = {
    loam_kernels_use_ref,
#if defined(__x86_64__)
    loam_kernels_use_avx2,
    loam_kernels_use_avx512vnni,
#endif
};

loam_isa loam_kernels_init(loam_isa cap) {
    loam_kernels k = {0};
    for (size_t i = 0; i < sizeof use_set / sizeof *use_set && i <= (size_t)cap; i++)
        if (loam_isa_available((loam_isa)i)) use_set[i](&k);
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
