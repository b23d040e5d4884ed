/* The quantiser against mx.quantize and mx.dequantize, byte for byte: bits x groups x
 * types x 26 rows of edge cases, and the fp modes. */
#include "test.h"

#include "../src/kernels/quantize.h"

#include <loam/tensor.h>

#define FOLDER "tests/golden/quant/"

static void check_bytes(const char *what, const void *got, const loam_tensor *want, size_t n) {
    CHECK(want && want->bytes == n, "%s: %zu bytes, want %llu", what, n,
          want ? (unsigned long long)want->bytes : 0);
    if (!want || want->bytes != n) return;
    const unsigned char *a = got, *b = want->data;
    size_t i = 0;
    while (i < n && a[i] == b[i]) i++;
    CHECK(i == n, "%s: byte %zu is %02x, want %02x", what, i, a[i < n ? i : 0], b[i < n ? i : 0]);
}

static const loam_tensor *find(const loam_arrays *a, const char *prefix, const char *end) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", prefix, end);
    return loam_arrays_find(a, name);
}

/* Values as bytes of type t, compared with the golden; NaN equals NaN. */
static void check_values(const char *what, const float *got, size_t n, loam_float t,
                         const loam_tensor *want) {
    CHECK(want && want->bytes == n * loam_float_bytes(t), "%s: size", what);
    if (!want) return;
    size_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        float w;
        uint32_t a, b;
        loam_float_load((const char *)want->data + i * loam_float_bytes(t), 1, t, &w);
        memcpy(&a, &got[i], 4);
        memcpy(&b, &w, 4);
        if (a != b && !(isnan(got[i]) && isnan(w))) {
            if (!bad++) printf("  %s: [%zu] %a, want %a\n", what, i, (double)got[i], (double)w);
        }
    }
    CHECK(bad == 0, "%s: %zu of %zu values differ", what, bad, n);
}

static void test_affine(const loam_arrays *a, const float *w, size_t rows, size_t cols,
                        loam_float t, const char *file) {
    static const int all_bits[] = {2, 3, 4, 5, 6, 8}, groups[] = {32, 64, 128};
    unsigned char *packed = malloc(rows * cols), *scales = malloc(rows * cols / 8),
                  *biases = malloc(rows * cols / 8);
    float *out = malloc(rows * cols * sizeof *out);
    for (int i = 0; i < 18; i++) {
        const int bits = all_bits[i / 3], group = groups[i % 3];
        char p[64], what[128];
        snprintf(p, sizeof p, "affine_b%d_g%d", bits, group);
        const size_t pb = loam_quant_row_bytes(cols, bits),
                     sb = cols / (size_t)group * loam_float_bytes(t);
        for (size_t r = 0; r < rows; r++)
            loam_quantize_affine_row(w + r * cols, cols, bits, group, t, packed + r * pb,
                                     scales + r * sb, biases + r * sb);
        snprintf(what, sizeof what, "%s %s weight", file, p);
        check_bytes(what, packed, find(a, p, "weight"), rows * pb);
        snprintf(what, sizeof what, "%s %s scales", file, p);
        check_bytes(what, scales, find(a, p, "scales"), rows * sb);
        snprintf(what, sizeof what, "%s %s biases", file, p);
        check_bytes(what, biases, find(a, p, "biases"), rows * sb);
        for (size_t r = 0; r < rows; r++)
            loam_dequantize_affine_row(packed + r * pb, scales + r * sb, biases + r * sb, cols,
                                       bits, group, t, out + r * cols);
        snprintf(what, sizeof what, "%s %s dequantized", file, p);
        check_values(what, out, rows * cols, t, find(a, p, "dequantized"));
    }
    free(packed), free(scales), free(biases), free(out);
}

static void test_fp(const loam_arrays *a, const float *w, size_t rows, size_t cols, loam_float t,
                    const char *file) {
    static const struct {
        const char *name;
        loam_quant_mode mode;
        size_t group, bits;
    } modes[] = {{"mxfp4", LOAM_QUANT_MXFP4, 32, 4},
                 {"mxfp8", LOAM_QUANT_MXFP8, 32, 8},
                 {"nvfp4", LOAM_QUANT_NVFP4, 16, 4}};
    unsigned char *packed = malloc(rows * cols), *scales = malloc(rows * cols / 8);
    float *out = malloc(rows * cols * sizeof *out);
    for (int i = 0; i < 3; i++) {
        char what[128];
        const size_t pb = cols * modes[i].bits / 8, sb = cols / modes[i].group;
        for (size_t r = 0; r < rows; r++)
            loam_quantize_fp_row(w + r * cols, cols, modes[i].mode, t, packed + r * pb,
                                 scales + r * sb);
        snprintf(what, sizeof what, "%s %s weight", file, modes[i].name);
        check_bytes(what, packed, find(a, modes[i].name, "weight"), rows * pb);
        snprintf(what, sizeof what, "%s %s scales", file, modes[i].name);
        check_bytes(what, scales, find(a, modes[i].name, "scales"), rows * sb);
        const loam_tensor *gw = find(a, modes[i].name, "weight"),
                          *gs = find(a, modes[i].name, "scales");
        if (!gw || !gs || gw->bytes != rows * pb || gs->bytes != rows * sb) continue;
        for (size_t r = 0; r < rows; r++)
            loam_dequantize_fp_row((const unsigned char *)gw->data + r * pb,
                                   (const unsigned char *)gs->data + r * sb, cols, modes[i].mode, t,
                                   out + r * cols);
        snprintf(what, sizeof what, "%s %s dequantized", file, modes[i].name);
        check_values(what, out, rows * cols, t, find(a, modes[i].name, "dequantized"));
    }
    free(packed), free(scales), free(out);
}

static void test_file(const char *name, loam_float t) {
    char path[256];
    loam_arrays *a = NULL;
    loam_err err = {0};
    snprintf(path, sizeof path, FOLDER "%s", name);
    CHECK(loam_arrays_open(&a, path, &err) == LOAM_OK, "%s", err.msg);
    const loam_tensor *in = a ? loam_arrays_find(a, "input") : NULL;
    CHECK(in && in->rank == 2, "%s: no input", name);
    if (in && in->rank == 2) {
        const size_t rows = (size_t)in->shape[0], cols = (size_t)in->shape[1];
        float *w = malloc(rows * cols * sizeof *w);
        loam_float_load(in->data, rows * cols, t, w);
        test_affine(a, w, rows, cols, t, name);
        test_fp(a, w, rows, cols, t, name);
        free(w);
    }
    loam_arrays_close(a);
}

static void test_pack_round_trip(void) {
    static const int all_bits[] = {2, 3, 4, 5, 6, 8};
    for (int i = 0; i < 6; i++) {
        uint8_t q[128], back[128], packed[128];
        uint64_t x = 88172645463325252u;
        for (int j = 0; j < 128; j++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            q[j] = (uint8_t)(x & ((1u << all_bits[i]) - 1));
        }
        loam_quant_pack(q, 128, all_bits[i], packed);
        loam_quant_unpack(packed, 128, all_bits[i], back);
        CHECK(memcmp(q, back, sizeof q) == 0, "bits %d", all_bits[i]);
    }
}

static void test_not_finite(void) {
    float w[32] = {0};
    uint8_t packed[32], q[32];
    float scale, bias;
    for (int j = 0; j < 32; j++) w[j] = (float)j / 31.0f;
    w[7] = NAN;
    loam_quantize_affine_row(w, 32, 4, 32, LOAM_FLOAT_F32, packed, &scale, &bias);
    loam_quant_unpack(packed, 32, 4, q);
    CHECK(q[7] == 0 && isfinite(scale) && isfinite(bias), "NaN: q %d scale %g bias %g", q[7],
          (double)scale, (double)bias);
    CHECK(!loam_quant_affine_valid(7, 64) && !loam_quant_affine_valid(4, 48) &&
              loam_quant_affine_valid(5, 128),
          "valid settings");
}

int main(void) {
    test_file("quant_float32.safetensors", LOAM_FLOAT_F32);
    test_file("quant_float16.safetensors", LOAM_FLOAT_F16);
    test_file("quant_bfloat16.safetensors", LOAM_FLOAT_BF16);
    test_pack_round_trip();
    test_not_finite();
    return TEST_END("test_quantize");
}
