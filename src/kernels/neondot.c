/* neondot.c - armv8.2 with dot products (Cortex-A76, Neoverse N1, Apple M1 and later): sdot. */
#include "neon.h"

#if defined(__aarch64__)

#include "neon_integer.h"

static void integer_product_neondot(const loam_matrix *w, size_t row0, size_t n_rows,
                                    const loam_acts *a, size_t m, float *y, size_t y_stride,
                                    void *scratch) {
    loam_neon_integer_product(rows4_of, w, row0, n_rows, a, m, y, y_stride, scratch);
}

/* A panel of an index (loam_byte_tile) against Q queries: four registers hold four columns of
 * sixteen rows, the query's four columns are a lane. */
#define BYTES_STEP(Q, L)                                                                           \
    _Pragma("GCC unroll 4") for (size_t r = 0; r < 4; r++) {                                       \
        const int8x16_t v = vreinterpretq_s8_u8(vld1q_u8(rows + 64 * (L) + 16 * r));               \
        _Pragma("GCC unroll 4") for (size_t q = 0; q < Q; q++) s[q][r] =                           \
            vdotq_laneq_s32(s[q][r], v, xv[q], L);                                                 \
    }
#define DEFINE_BYTES(Q)                                                                            \
    static void bytes_##Q(const loam_byte_tile *t, size_t i, size_t j, float *y,                   \
                          size_t y_stride) {                                                       \
        const uint8_t *rows = t->rows + i * t->cols;                                               \
        const int8_t *x = t->x + j * t->cols;                                                      \
        int32x4_t s[Q][4];                                                                         \
        _Pragma("GCC unroll 4") for (size_t q = 0; q < Q; q++)                                     \
            _Pragma("GCC unroll 4") for (size_t r = 0; r < 4; r++) s[q][r] = vdupq_n_s32(0);       \
        for (size_t k = 0; k < t->cols; k += 16, rows += 256) {                                    \
            int8x16_t xv[Q];                                                                       \
            _Pragma("GCC unroll 4") for (size_t q = 0; q < Q; q++) xv[q] =                         \
                vld1q_s8(x + q * t->cols + k);                                                     \
            BYTES_STEP(Q, 0) BYTES_STEP(Q, 1) BYTES_STEP(Q, 2) BYTES_STEP(Q, 3)                    \
        }                                                                                          \
        _Pragma("GCC unroll 4") for (size_t q = 0; q < Q; q++)                                     \
            _Pragma("GCC unroll 4") for (size_t r = 0; r < 4; r++) {                               \
            const int32x4_t sum = vsubq_s32(s[q][r], vdupq_n_s32(t->offsets[j + q]));              \
            vst1q_f32(y + (j + q) * y_stride + i + 4 * r,                                          \
                      vmulq_f32(vld1q_f32(t->scales + i + 4 * r), vcvtq_f32_s32(sum)));            \
        }                                                                                          \
    }

DEFINE_BYTES(4)
DEFINE_BYTES(1)

static void byte_tile_neondot(const loam_byte_tile *t, float *y, size_t y_stride) {
    for (size_t j = 0, m; j < t->m; j += m) {
        m = t->m - j >= 4 ? 4 : 1;
        for (size_t i = 0; i < t->n; i += LOAM_PANEL)
            (m == 4 ? bytes_4 : bytes_1)(t, i, j, y, y_stride);
    }
}
#endif

void loam_kernels_use_neondot(loam_kernels *k) {
    k->isa = LOAM_ISA_NEONDOT;
    k->name = "neondot";
#if defined(__aarch64__)
    k->integer_product = integer_product_neondot;
    k->byte_tile = byte_tile_neondot;
#endif
}
