/* flat.c - vectors to be searched, and the copies of them in 16 and 8 bits.
 *
 * A scan costs what it reads.  The copies only choose candidates, whose scores come from the
 * f32 vectors, so they may be coarse: one scale a vector, no training, made in one pass.
 */
#include "rag/flat.h"
#include "kernels/kernels.h"
#include <math.h>
#include <sys/mman.h>

enum { MAX_DIM = 65536, ROW_ALIGN = 64, HUGE_PAGE = 2 << 20 };

static size_t round_up(size_t n, size_t unit) {
    return (n + unit - 1) / unit * unit;
}

loam_status loam_flat_new(loam_flat **out, const float *vectors, size_t count, size_t dim,
                          loam_err *err) {
    *out = NULL;
    if (dim == 0 || dim > MAX_DIM)
        return loam_fail(err, LOAM_ERR_ARGUMENT, "vectors of %zu numbers: 1 to %d are possible",
                         dim, MAX_DIM);
    loam_flat *f = calloc(1, sizeof *f);
    if (!f) return loam_fail(err, LOAM_ERR_MEMORY, "search over %zu vectors", count);
    f->vectors = vectors;
    f->count = count;
    f->dim = dim;
    f->half_stride = round_up(dim, LOAM_LANES);
    f->byte_cols = round_up(dim, 16);
    pthread_mutex_init(&f->lock, NULL);
    *out = f;
    return LOAM_OK;
}

void loam_flat_free(loam_flat *f) {
    if (!f) return;
    pthread_mutex_destroy(&f->lock);
    free(f->half);
    free(f->bytes);
    free(f->scales);
    free(f);
}

float loam_flat_scale(const float *x, size_t n, int most, float *by) {
    float a = 0;
    int finite = 1;
    for (size_t k = 0; k < n; k++) {
        const float v = fabsf(x[k]);
        a = v > a ? v : a;
        finite &= v <= 3.402823466e38f;
    }
    *by = 0;
    if (!finite || a < 0x1p-100f) return 0;
    *by = (float)most / a;
    return a / (float)most;
}

static void halve_rows(void *ctx, size_t begin, size_t end, unsigned worker) {
    const loam_flat *f = ctx;
    (void)worker;
    for (size_t i = begin; i < end; i++) {
        uint16_t *row = f->half + i * f->half_stride;
        loam_k.f32_to_f16(f->vectors + i * f->dim, f->dim, row);
        memset(row + f->dim, 0, (f->half_stride - f->dim) * sizeof *row);
    }
}

/* Panels begin .. end.  Rows beyond the last have scale 0. */
static void quantize_panels(void *ctx, size_t begin, size_t end, unsigned worker) {
    const loam_flat *f = ctx;
    (void)worker;
    for (size_t i = begin * LOAM_PANEL; i < end * LOAM_PANEL; i++) {
        uint8_t *panel = f->bytes + i / LOAM_PANEL * LOAM_PANEL * f->byte_cols;
        uint8_t *to = panel + i % LOAM_PANEL * 4;
        const float *row = f->vectors + i * f->dim;
        float scale = 0, by = 0;
        if (i < f->count) scale = loam_flat_scale(row, f->dim, LOAM_BYTE_ROW_MAX, &by);
        f->scales[i] = scale;
        for (size_t k = 0; k < f->byte_cols; k += 4, to += (size_t)4 * LOAM_PANEL)
            for (size_t u = 0; u < 4; u++) {
                const float v = by > 0 && k + u < f->dim ? row[k + u] * by : 0;
                to[u] = (uint8_t)(LOAM_BYTE_ROW_ZERO + (int)lrintf(v));
            }
    }
}

/* count * stride elements of `size` bytes at the start of a cache line, in large pages where the
 * system has them; free() releases them. */
static void *alloc_rows(size_t count, size_t stride, size_t size) {
    void *p = NULL;
    if (count > SIZE_MAX / 2 / stride / size) return NULL;
    const size_t bytes = count * stride * size;
    const int large = bytes / 2 >= HUGE_PAGE;
    if (posix_memalign(&p, large ? HUGE_PAGE : ROW_ALIGN, bytes)) return NULL;
    if (large) madvise(p, bytes, MADV_HUGEPAGE);
    return p;
}

static int make_half(loam_flat *f, loam_pool *pool) {
    if (f->half) return 1;
    f->half = alloc_rows(f->count, f->half_stride, sizeof *f->half);
    if (!f->half) return 0;
    loam_flat_for(pool, f->count, 64, halve_rows, f);
    return 1;
}

static int make_bytes(loam_flat *f, loam_pool *pool) {
    if (f->bytes) return 1;
    const size_t n_panels = f->count / LOAM_PANEL + (f->count % LOAM_PANEL != 0);
    uint8_t *bytes = alloc_rows(n_panels, LOAM_PANEL * f->byte_cols, sizeof *bytes);
    float *scales = alloc_rows(n_panels, LOAM_PANEL, sizeof *scales);
    if (!bytes || !scales) {
        free(bytes);
        free(scales);
        return 0;
    }
    f->bytes = bytes;
    f->scales = scales;
    loam_flat_for(pool, n_panels, 4, quantize_panels, f);
    return 1;
}

loam_status loam_flat_prepare(loam_flat *f, loam_pool *pool, loam_scan scan, loam_err *err) {
    loam_kernels_ready();
    if (scan == LOAM_SCAN_F32 || f->count == 0) return LOAM_OK;
    pthread_mutex_lock(&f->lock);
    const int made = scan == LOAM_SCAN_F16 ? make_half(f, pool) : make_bytes(f, pool);
    pthread_mutex_unlock(&f->lock);
    if (made) return LOAM_OK;
    return loam_fail(err, LOAM_ERR_MEMORY, "a copy of %zu vectors of %zu numbers in %d bits",
                     f->count, f->dim, scan == LOAM_SCAN_F16 ? 16 : 8);
}
