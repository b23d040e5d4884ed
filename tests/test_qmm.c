/* test_qmm.c - products and rows of affine weights against those of MLX. */
#include "kernels/kernels.h"
#include "ops/ops.h"
#include "test.h"
#include <loam/tensor.h>

static loam_compute compute;
static int n_products, n_rows;

static const loam_tensor *find(const loam_arrays *a, const char *set, const char *part) {
    char name[96];
    snprintf(name, sizeof name, "%s%s%s", set, *set ? "." : "", part);
    const loam_tensor *t = loam_arrays_find(a, name);
    CHECK(t != NULL, "%s is missing", name);
    return t;
}

static loam_weight bind(const loam_arrays *a, const char *set, int bits, int group) {
    const loam_tensor *w = find(a, set, "weight"), *s = find(a, set, "scales"),
                      *b = find(a, set, "biases");
    if (!w || !s || !b) exit(1);
    return (loam_weight){.format = LOAM_FORMAT_AFFINE,
                         .bits = bits,
                         .group = group,
                         .scale_dtype = s->dtype,
                         .rows = (size_t)w->shape[0],
                         .cols = (size_t)s->shape[1] * (size_t)group,
                         .data = w->data,
                         .scales = s->data,
                         .biases = b->data};
}

/* `slack` of the row's largest: 1e-5 exact; fast: half a step of 1/127 on each activation. */
static void check_product(const loam_arrays *a, const char *set, const loam_weight *w, size_t m) {
    char x_name[8], y_name[8];
    snprintf(x_name, sizeof x_name, "x%zu", m);
    snprintf(y_name, sizeof y_name, "y%zu", m);
    const loam_tensor *tx = find(a, "", x_name), *ty = find(a, set, y_name);
    if (!tx || !ty) return;
    float *x = malloc(m * w->cols * sizeof *x), *want = malloc(m * w->rows * sizeof *want);
    float *y = malloc(m * w->rows * sizeof *y);
    if (!x || !y || !want) exit(2);
    memcpy(x, tx->data, m * w->cols * sizeof *x);
    memcpy(want, ty->data, m * w->rows * sizeof *want);
    for (int precision = LOAM_FAST; precision <= LOAM_EXACT; precision++) {
        compute.precision = (loam_precision)precision;
        loam_linear(&compute, &w, 1, x, m, &y);
        for (size_t i = 0; i < m; i++) {
            double largest = 0, off = 0;
            for (size_t r = 0; r < w->rows; r++) {
                largest = fmax(largest, fabs((double)want[i * w->rows + r]));
                off = fmax(off, fabs((double)want[i * w->rows + r] - (double)y[i * w->rows + r]));
            }
            CHECK(off <= (precision == LOAM_EXACT ? 1e-5 : 0.02) * largest,
                  "%s: %s precision %d m %zu: off by %g of %g", loam_k.name, set, precision, m, off,
                  largest);
        }
        n_products++;
    }
    free(x);
    free(y);
    free(want);
}

static void test_products(void) {
    static const char *const dtypes[] = {"float32", "float16", "bfloat16"};
    loam_arrays *a = NULL;
    loam_err err = {0};
    CHECK(!loam_arrays_open(&a, "tests/golden/quant/qmm.safetensors", &err), "%s", err.msg);
    if (!a) return;
    for (int bits = 2; bits <= 8; bits++) {
        for (int group = 32; group <= 128; group *= 2) {
            for (int d = 0; d < 3; d++) {
                char set[64], name[80];
                snprintf(set, sizeof set, "affine_b%d_g%d_%s", bits, group, dtypes[d]);
                snprintf(name, sizeof name, "%s.weight", set);
                if (!loam_arrays_find(a, name)) continue;
                const loam_weight w = bind(a, set, bits, group);
                check_product(a, set, &w, 1);
                check_product(a, set, &w, 3);
                check_product(a, set, &w, 17);
            }
        }
    }
    loam_arrays_close(a);
}

/* f32 scales: dequantised rows are MLX's bits (two roundings). */
static void test_rows(void) {
    loam_arrays *a = NULL;
    loam_err err = {0};
    CHECK(!loam_arrays_open(&a, "tests/golden/quant/quant_float32.safetensors", &err), "%s",
          err.msg);
    if (!a) return;
    for (int bits = 2; bits <= 8; bits++) {
        for (int group = 32; group <= 128 && bits != 7; group *= 2) {
            char set[64];
            snprintf(set, sizeof set, "affine_b%d_g%d", bits, group);
            const loam_weight w = bind(a, set, bits, group);
            const loam_tensor *want = find(a, set, "dequantized");
            float row[256];
            for (size_t r = 0; want && r < w.rows && w.cols == 256; r++, n_rows++) {
                loam_weight_row(&w, r, row);
                CHECK(memcmp(row, (const char *)want->data + r * sizeof row, sizeof row) == 0,
                      "%s: %s row %zu", loam_k.name, set, r);
            }
        }
    }
    loam_arrays_close(a);
}

int main(void) {
    loam_err err = {0};
    CHECK(!loam_pool_new(&compute.pool, 2, &err), "%s", err.msg);
    for (int isa = LOAM_ISA_REF; isa < LOAM_ISA_BEST; isa++) {
        if (!loam_isa_available((loam_isa)isa)) continue;
        loam_kernels_init((loam_isa)isa);
        CHECK(!loam_compute_reserve(&compute, 17, 256, &err), "%s", err.msg);
        test_products();
        test_rows();
    }
    loam_compute_deinit(&compute);
    loam_pool_free(compute.pool);
    printf("test_qmm: %d products, %d rows\n", n_products, n_rows);
    return TEST_END("test_qmm");
}
