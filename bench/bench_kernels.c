/* bench_kernels.c - how fast the kernels are, against what the machine can.
 *
 *     bench_kernels [threads [set]]     set: avx2, avx512vnni, amx, ...; the best otherwise
 *
 * Prints the read bandwidth and the fma peak it measures first, then GB/s of weights (one
 * position, matrices too large for the caches) and GMAC/s (many positions).  Best of several
 * runs: the machine may be busy.
 */
#include "kernels/kernels.h"
#include "ops/ops.h"
#include <stdio.h>

static loam_compute compute;

static void *room(size_t bytes) {
    void *p = NULL;
    if (posix_memalign(&p, 64, bytes)) exit(2);
    uint64_t s = 88172645463325252u;
    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        memcpy((char *)p + i, &s, 8);
    }
    return p;
}

static float *floats(size_t n) {
    float *x = room(n * sizeof *x);
    uint32_t s = 12345;
    for (size_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = (float)(s >> 8) / 8388608.0f - 1.0f;
    }
    return x;
}

static loam_weight make_weight(loam_weight_format f, int bits, int group, size_t rows,
                               size_t cols) {
    loam_weight w = {.format = f,
                     .bits = bits,
                     .group = group,
                     .scale_dtype = LOAM_BF16,
                     .rows = rows,
                     .cols = cols};
    if (f == LOAM_FORMAT_F32)
        w.data = floats(rows * cols);
    else
        w.data = room(rows * loam_weight_row_bytes(&w));
    if (f == LOAM_FORMAT_AFFINE) {
        const size_t n = rows * cols / (size_t)group;
        uint16_t *s = room(n * 4);
        for (size_t i = 0; i < 2 * n; i++) s[i] = loam_f32_to_bf16(0.01f);
        w.scales = s;
        w.biases = s + n;
    }
    if (f == LOAM_FORMAT_F16 || f == LOAM_FORMAT_BF16) {
        uint16_t *h = room(rows * cols * 2);
        for (size_t i = 0; i < rows * cols; i++) h[i] = (uint16_t)(0x3c00 | (i & 0xff));
        w.data = h;
    }
    return w;
}

static double time_linear(const loam_weight *w, size_t m, int exact, double seconds) {
    float *x = floats(m * w->cols), *y = floats(m * w->rows);
    double best = 1e30;
    compute.precision = exact ? LOAM_EXACT : LOAM_FAST;
    for (double end = loam_now() + seconds; loam_now() < end;) {
        const double t = loam_now();
        loam_linear(&compute, &w, 1, x, m, &y);
        const double d = loam_now() - t;
        if (d < best) best = d;
    }
    free(x);
    free(y);
    return best;
}

static void row(const char *name, const loam_weight *w, int exact) {
    const size_t group_bytes =
        w->format == LOAM_FORMAT_AFFINE ? w->rows * w->cols / (size_t)w->group * 4 : 0;
    const double bytes = (double)(w->rows * loam_weight_row_bytes(w) + group_bytes);
    const double mac = (double)w->rows * (double)w->cols;
    const double t1 = time_linear(w, 1, exact, 0.3), t4 = time_linear(w, 4, exact, 0.3);
    const double t16 = time_linear(w, 16, exact, 0.3), t128 = time_linear(w, 128, exact, 0.5);
    const double t512 = time_linear(w, 512, exact, 0.5);
    printf("%-22s m=1 %6.1f GB/s %6.1f GMAC/s   m=4 %6.1f   m=16 %6.1f   m=128 %6.1f   m=512 "
           "%6.1f GMAC/s\n",
           name, bytes / t1 * 1e-9, mac / t1 * 1e-9, 4 * mac / t4 * 1e-9, 16 * mac / t16 * 1e-9,
           128 * mac / t128 * 1e-9, 512 * mac / t512 * 1e-9);
    fflush(stdout);
}

static void scan_row(void) {
    enum { DIM = 384, N = 200000 };
    float *rows = floats((size_t)DIM * N), *scores = floats(N);
    double best = 1e30;
    for (int i = 0; i < 8; i++) {
        const double t = loam_now();
        loam_dot_rows(compute.pool, rows, N, DIM, rows, scores);
        const double d = loam_now() - t;
        if (d < best) best = d;
    }
    printf("%-22s %6.1f GB/s (f32 rows of 384)\n", "index scan", (double)DIM * N * 4 / best * 1e-9);
    free(rows);
    free(scores);
}

static void attention_row(size_t n_heads, size_t n_kv, size_t hd, size_t m, size_t pos,
                          loam_kv_format format) {
    loam_kv kv = {.format = format, .n_kv_heads = n_kv, .head_dim = hd, .stride = pos + m};
    const size_t n = n_kv * kv.stride * loam_kv_row_bytes(format, hd);
    kv.k = room(n);
    kv.v = room(n);
    /* as f16 0.0625 .. 0.125, as bf16 of a scale 2^-39 .. 2^-37 */
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)kv.k)[i] = ((unsigned char *)kv.v)[i] =
            (unsigned char)(i % 2 ? 0x2c : i / 2);
    float *q = floats(m * n_heads * hd), *y = floats(m * n_heads * hd);
    const loam_attention_params p = {.n_heads = n_heads, .scale = 0.1f};
    double best = 1e30;
    for (int i = 0; i < 10; i++) {
        const double t = loam_now();
        loam_attention_causal(&compute, &kv, &p, q, m, pos, y);
        const double d = loam_now() - t;
        if (d < best) best = d;
    }
    const double mac =
        2.0 * (double)(n_heads * hd) * (double)m * ((double)pos + (double)(m + 1) / 2);
    printf("attention %2zu/%zu x %3zu %s m=%zu after %zu: %.1f us, %.1f GMAC/s\n", n_heads, n_kv,
           hd, format == LOAM_KV_ROWS_INT8 ? "i8" : "  ", m, pos, best * 1e6, mac / best * 1e-9);
    free(kv.k);
    free(kv.v);
    free(q);
    free(y);
}

/* The set of that name, if this machine has it. */
static int pick(const char *name) {
    for (int isa = LOAM_ISA_REF; isa < LOAM_ISA_BEST; isa++)
        if (loam_kernels_init((loam_isa)isa) == (loam_isa)isa && strcmp(loam_k.name, name) == 0)
            return 1;
    return 0;
}

int main(int argc, char **argv) {
    loam_err err = {0};
    if (argc > 2 && !pick(argv[2])) {
        fprintf(stderr, "bench_kernels: this machine has no set %s\n", argv[2]);
        return 1;
    }
    const unsigned threads = argc > 1 ? (unsigned)atoi(argv[1]) : 0;
    if (loam_pool_new(&compute.pool, threads, &err) ||
        loam_compute_reserve(&compute, 512, 16384, &err)) {
        fprintf(stderr, "bench_kernels: %s\n", err.msg);
        return 1;
    }
    printf("kernels %s, %u threads\n", loam_cpu_isa(), loam_pool_size(compute.pool));
    static const int bits[] = {4, 8, 2, 3, 5, 6};
    for (size_t b = 0; b < 6; b++) {
        for (int group = 32; group <= 128; group *= 2) {
            if (bits[b] != 4 && group != 64) continue;
            const loam_weight w = make_weight(LOAM_FORMAT_AFFINE, bits[b], group, 53248, 1536);
            char name[64];
            snprintf(name, sizeof name, "affine %d bits, g%d", bits[b], group);
            row(name, &w, 0);
            free((void *)(uintptr_t)w.data);
            free((void *)(uintptr_t)w.scales);
        }
    }
    const loam_weight wide = make_weight(LOAM_FORMAT_AFFINE, 4, 64, 8192, 8960);
    row("4 bits, g64, K 8960", &wide, 0);
    row("  the same, exact", &wide, 1);
    const loam_weight f = make_weight(LOAM_FORMAT_F32, 0, 0, 1536, 384);
    row("f32 1536 x 384", &f, 1);
    const loam_weight f2 = make_weight(LOAM_FORMAT_F32, 0, 0, 16384, 1536);
    row("f32", &f2, 1);
    const loam_weight h = make_weight(LOAM_FORMAT_BF16, 0, 0, 16384, 1536);
    row("bf16", &h, 1);
    scan_row();
    attention_row(9, 3, 64, 512, 0, LOAM_KV_ROWS_F16);
    attention_row(9, 3, 64, 1, 1023, LOAM_KV_ROWS_F16);
    attention_row(12, 2, 128, 512, 0, LOAM_KV_ROWS_F16);
    attention_row(12, 2, 128, 1, 1023, LOAM_KV_ROWS_F16);
    attention_row(12, 2, 128, 1, 8191, LOAM_KV_ROWS_F16);
    attention_row(12, 2, 128, 512, 0, LOAM_KV_ROWS_INT8);
    attention_row(12, 2, 128, 1, 1023, LOAM_KV_ROWS_INT8);
    attention_row(12, 2, 128, 1, 8191, LOAM_KV_ROWS_INT8);
    loam_compute_deinit(&compute);
    loam_pool_free(compute.pool);
    return 0;
}
