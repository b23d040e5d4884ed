/* peak.c - how many multiply-adds a second the machine can do at all.
 *
 * Twelve independent registers keep every multiplier busy: an instruction takes four or five
 * cycles and two start in each.  Tiles have four accumulators, as many as their operands allow.
 * The values are zeros: the units do not care. */
#include "base/threads.h"
#include "kernels/dispatch.h"

typedef struct unit {
    const char *name;
    void (*run)(size_t steps);
    double per_step; /* multiply-adds */
} unit;

typedef struct peak_job {
    const unit *u;
    size_t steps;
} peak_job;

#define TWELVE(OP)                                                                                 \
    OP("0")                                                                                        \
    OP("1") OP("2") OP("3") OP("4") OP("5") OP("6") OP("7") OP("8") OP("9") OP("10") OP("11")

#if defined(__x86_64__)

#define VECTOR_UNIT(NAME, CLEAR, STEP)                                                             \
    static void NAME(size_t steps) {                                                               \
        __asm__ volatile(TWELVE(CLEAR) CLEAR("12")                                                 \
                             CLEAR("13") "1:\n\t" TWELVE(STEP) "dec %0\n\tjnz 1b\n\tvzeroupper"    \
                         : "+r"(steps)::"cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",      \
                           "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13");    \
    }
#define CLEAR_Y(n)  "vpxor %%ymm" n ",%%ymm" n ",%%ymm" n "\n\t"
#define CLEAR_Z(n)  "vpxord %%zmm" n ",%%zmm" n ",%%zmm" n "\n\t"
#define FMA_Y(n)    "vfmadd231ps %%ymm12,%%ymm13,%%ymm" n "\n\t"
#define FMA_Z(n)    "vfmadd231ps %%zmm12,%%zmm13,%%zmm" n "\n\t"
#define MADDUBS(n)  "vpmaddubsw %%ymm12,%%ymm13,%%ymm" n "\n\t"
#define DPBUSD_Y(n) "%{vex%} vpdpbusd %%ymm12,%%ymm13,%%ymm" n "\n\t"
#define DPBUSD_Z(n) "vpdpbusd %%zmm12,%%zmm13,%%zmm" n "\n\t"
VECTOR_UNIT(run_fma_256, CLEAR_Y, FMA_Y)
VECTOR_UNIT(run_fma_512, CLEAR_Z, FMA_Z)
VECTOR_UNIT(run_maddubs, CLEAR_Y, MADDUBS)
VECTOR_UNIT(run_dpbusd_256, CLEAR_Y, DPBUSD_Y)
VECTOR_UNIT(run_dpbusd_512, CLEAR_Z, DPBUSD_Z)

static void run_tiles(size_t steps) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config __attribute__((aligned(64))) = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    __asm__ volatile("ldtilecfg %1\n\t"
                     "tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3\n\t"
                     "tilezero %%tmm4\n\ttilezero %%tmm5\n\ttilezero %%tmm6\n\ttilezero %%tmm7\n\t"
                     "1:\n\t"
                     "tdpbusd %%tmm6,%%tmm4,%%tmm0\n\ttdpbusd %%tmm7,%%tmm4,%%tmm1\n\t"
                     "tdpbusd %%tmm6,%%tmm5,%%tmm2\n\ttdpbusd %%tmm7,%%tmm5,%%tmm3\n\t"
                     "dec %0\n\tjnz 1b\n\ttilerelease"
                     : "+r"(steps)
                     : "m"(config)
                     : "cc");
}

static int has_avx_vnni(void) {
    const loam_machine m = loam_machine_read();
    return (m.word[LOAM_CPUID_7_1_EAX] & 1u << 4) != 0;
}

static unit find_unit(loam_peak_kind kind) {
    const int wide = loam_isa_available(LOAM_ISA_AVX512VNNI);
    if (!loam_isa_available(LOAM_ISA_AVX2)) return (unit){0};
    if (kind == LOAM_PEAK_F32)
        return wide ? (unit){"vfmadd of 512 bits", run_fma_512, 12 * 16}
                    : (unit){"vfmadd of 256 bits", run_fma_256, 12 * 8};
    if (loam_isa_available(LOAM_ISA_AMX)) return (unit){"tdpbusd", run_tiles, 4 * 16 * 16 * 64};
    if (wide) return (unit){"vpdpbusd of 512 bits", run_dpbusd_512, 12 * 64};
    return has_avx_vnni() ? (unit){"vpdpbusd of 256 bits", run_dpbusd_256, 12 * 32}
                          : (unit){"vpmaddubsw of 256 bits", run_maddubs, 12 * 32};
}

#elif defined(__aarch64__)

#define VECTOR_UNIT(NAME, STEP)                                                                    \
    static void NAME(size_t steps) {                                                               \
        __asm__ volatile(TWELVE(CLEAR) CLEAR("12")                                                 \
                             CLEAR("13") "1:\n\t" TWELVE(STEP) "subs %0,%0,"                       \
                                                               "#1\n\tb.ne 1b"                     \
                         : "+r"(steps)::"cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7",      \
                           "v8", "v9", "v10", "v11", "v12", "v13");                                \
    }
#define CLEAR(n) "movi v" n ".4s,#0\n\t"
#define FMLA(n)  "fmla v" n ".4s,v12.4s,v13.4s\n\t"
/* sdot and smmla vN.4s,v12.16b,v13.16b as numbers: no assembler takes their names in a file that
 * is compiled for every ARM core */
#define SDOT(n)  ".inst 0x4e8d9580+" n "\n\t"
#define SMMLA(n) ".inst 0x4e8da580+" n "\n\t"
VECTOR_UNIT(run_fmla, FMLA)
VECTOR_UNIT(run_sdot, SDOT)
VECTOR_UNIT(run_smmla, SMMLA)

static unit find_unit(loam_peak_kind kind) {
    if (kind == LOAM_PEAK_F32) return (unit){"fmla of 128 bits", run_fmla, 12 * 4};
    if (loam_isa_available(LOAM_ISA_NEONI8MM)) return (unit){"smmla", run_smmla, 12 * 32};
    if (loam_isa_available(LOAM_ISA_NEONDOT)) return (unit){"sdot", run_sdot, 12 * 16};
    return (unit){0};
}

#else

static unit find_unit(loam_peak_kind kind) {
    (void)kind;
    return (unit){0};
}

#endif

static void run_unit(void *ctx, unsigned worker, unsigned n_workers) {
    const peak_job *j = ctx;
    (void)worker;
    (void)n_workers;
    j->u->run(j->steps);
}

static double run_once(loam_pool *pool, peak_job *j) {
    const double start = loam_now();
    loam_pool_run(pool, run_unit, j);
    return loam_now() - start;
}

double loam_measure_peak(loam_pool *pool, loam_peak_kind kind, const char **name) {
    const unit u = find_unit(kind);
    peak_job j = {&u, 1 << 12};
    double best = 0;

    if (name) *name = u.name ? u.name : "";
    if (!u.run) return 0;
    /* long enough for starting the workers not to count; twice, as one may be interrupted */
    for (int n_long = 0; n_long < 2 && j.steps < (size_t)1 << 30;) {
        if (run_once(pool, &j) >= 5e-3) {
            n_long++;
        } else {
            n_long = 0;
            j.steps *= 2;
        }
    }
    for (double end = loam_now() + 0.1; best == 0 || loam_now() < end;) {
        const double rate =
            (double)j.steps * u.per_step * loam_pool_size(pool) / run_once(pool, &j);
        if (rate > best) best = rate;
    }
    return best;
}
