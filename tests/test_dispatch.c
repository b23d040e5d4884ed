/* test_dispatch.c - a machine never runs instructions that it, or its system, lacks. */
#include "kernels/dispatch.h"
#include "test.h"

static void test_this_machine(void) {
    const loam_machine m = loam_machine_read();
    loam_isa best = LOAM_ISA_REF;

    for (int isa = LOAM_ISA_REF; isa < LOAM_ISA_BEST; isa++) {
        CHECK(loam_isa_available((loam_isa)isa) == loam_isa_possible((loam_isa)isa, &m), "set %d",
              isa);
        if (!loam_isa_possible((loam_isa)isa, &m)) continue;
        best = (loam_isa)isa;
        CHECK(loam_kernels_init((loam_isa)isa) == best, "set %d was asked for", isa);
    }
    CHECK(loam_kernels_init(LOAM_ISA_BEST) == best, "the best is %d", (int)best);
    CHECK(loam_k.isa == best && loam_k.name, "the table says %d", (int)loam_k.isa);
}

/* A machine that has everything. */
static loam_machine rich(void) {
    loam_machine m;
    memset(&m, 0xff, sizeof m);
    return m;
}

static void test_nothing(void) {
    const loam_machine none = {0};
    CHECK(loam_isa_possible(LOAM_ISA_REF, &none), "the reference needs nothing");
    for (int isa = LOAM_ISA_REF + 1; isa <= LOAM_ISA_BEST; isa++)
        CHECK(!loam_isa_possible((loam_isa)isa, &none), "set %d on a machine without anything",
              isa);
}

/* One bit that a set needs, and so do the sets above it, unless it needs the bit alone. */
typedef struct need {
    loam_isa first;
    int word;
    unsigned bit;
    int alone;
} need;

#if defined(__x86_64__)
enum { FOREIGN = LOAM_ISA_NEON };
static const loam_isa sets[] = {LOAM_ISA_AVX2, LOAM_ISA_AVXVNNI, LOAM_ISA_AVX512VNNI, LOAM_ISA_AMX};
static const need needs[] = {
    {LOAM_ISA_AVX2, LOAM_CPUID_1_ECX, 12, 0},       /* fma */
    {LOAM_ISA_AVX2, LOAM_CPUID_1_ECX, 27, 0},       /* osxsave */
    {LOAM_ISA_AVX2, LOAM_CPUID_1_ECX, 28, 0},       /* avx */
    {LOAM_ISA_AVX2, LOAM_CPUID_1_ECX, 29, 0},       /* f16c */
    {LOAM_ISA_AVX2, LOAM_CPUID_7_EBX, 5, 0},        /* avx2 */
    {LOAM_ISA_AVX2, LOAM_XCR0, 1, 0},               /* xmm */
    {LOAM_ISA_AVX2, LOAM_XCR0, 2, 0},               /* ymm */
    {LOAM_ISA_AVXVNNI, LOAM_CPUID_7_1_EAX, 4, 1},   /* avx-vnni */
    {LOAM_ISA_AVX512VNNI, LOAM_CPUID_7_EBX, 16, 0}, /* avx512f */
    {LOAM_ISA_AVX512VNNI, LOAM_CPUID_7_EBX, 17, 0}, /* avx512dq */
    {LOAM_ISA_AVX512VNNI, LOAM_CPUID_7_EBX, 30, 0}, /* avx512bw */
    {LOAM_ISA_AVX512VNNI, LOAM_CPUID_7_EBX, 31, 0}, /* avx512vl */
    {LOAM_ISA_AVX512VNNI, LOAM_CPUID_7_ECX, 11, 0}, /* avx512-vnni */
    {LOAM_ISA_AVX512VNNI, LOAM_XCR0, 5, 0},         /* masks */
    {LOAM_ISA_AVX512VNNI, LOAM_XCR0, 6, 0},         /* upper halves of zmm0 - 15 */
    {LOAM_ISA_AVX512VNNI, LOAM_XCR0, 7, 0},         /* zmm16 - 31 */
    {LOAM_ISA_AMX, LOAM_CPUID_7_ECX, 1, 0},         /* avx512-vbmi */
    {LOAM_ISA_AMX, LOAM_CPUID_7_EDX, 22, 0},        /* amx-bf16 */
    {LOAM_ISA_AMX, LOAM_CPUID_7_EDX, 24, 0},        /* amx-tile */
    {LOAM_ISA_AMX, LOAM_CPUID_7_EDX, 25, 0},        /* amx-int8 */
    {LOAM_ISA_AMX, LOAM_XCR0, 17, 0},               /* tile configuration */
    {LOAM_ISA_AMX, LOAM_XCR0, 18, 0},               /* tile data */
    {LOAM_ISA_AMX, LOAM_TILES, 0, 0},               /* shape */
    {LOAM_ISA_AMX, LOAM_TILES, 1, 0},               /* permission */
};
#elif defined(__aarch64__)
enum { FOREIGN = LOAM_ISA_AVX2 };
static const loam_isa sets[] = {LOAM_ISA_NEON, LOAM_ISA_NEONDOT, LOAM_ISA_NEONI8MM};
static const need needs[] = {
    {LOAM_ISA_NEON, LOAM_HWCAP, 0, 0},      /* fp */
    {LOAM_ISA_NEON, LOAM_HWCAP, 1, 0},      /* asimd */
    {LOAM_ISA_NEONDOT, LOAM_HWCAP, 20, 0},  /* asimddp */
    {LOAM_ISA_NEONI8MM, LOAM_HWCAP2, 13, 0} /* i8mm */
};
#else
enum { FOREIGN = LOAM_ISA_AVX2 };
static const loam_isa sets[] = {LOAM_ISA_REF};
static const need needs[] = {{LOAM_ISA_BEST, 0, 0}};
#endif

static void test_masked(void) {
    loam_machine m = rich();
    CHECK(!loam_isa_possible((loam_isa)FOREIGN, &m), "another architecture's set");
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++)
        CHECK(loam_isa_possible(sets[s], &m), "set %d on a machine with everything", (int)sets[s]);
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++) {
        m = rich();
        m.word[needs[i].word] &= ~((uint64_t)1 << needs[i].bit);
        for (size_t s = 0; s < sizeof sets / sizeof *sets; s++)
            CHECK(loam_isa_possible(sets[s], &m) ==
                      (sets[s] < needs[i].first || (needs[i].alone && sets[s] > needs[i].first)),
                  "set %d, word %d without bit %u", (int)sets[s], needs[i].word, needs[i].bit);
    }
}

int main(void) {
    test_this_machine();
    test_nothing();
    test_masked();
    return TEST_END("test_dispatch");
}
