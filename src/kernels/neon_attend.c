/* neon_attend.c - attention of one head of one sequence without a mask, by the f32 tile. */
#include "neon.h"
#include <math.h>

#if defined(__aarch64__)

#define TILE_RUN  loam_neon_tile
#define TILE_PACK loam_neon_pack
enum { TILE_ROWS = NEON_TILE_ROWS, TILE_COLS = NEON_TILE_COLS };
#include "attend_blocks.h"

static float soften_row(float *x, size_t n, float scale) {
    float32x4_t top = vdupq_n_f32(-INFINITY), lanes[4];
    size_t j = 0;

    for (; j < n; j += 4) {
        const float32x4_t v = vmulq_n_f32(vld1q_f32(x + j), scale);
        vst1q_f32(x + j, v);
        top = vbslq_f32(vcgtq_f32(v, top), v, top); /* a NaN leaves top */
    }
    const float32x4_t shift = vdupq_n_f32(vmaxvq_f32(top));
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) lanes[i] = vdupq_n_f32(0.0f);
    for (j = 0; j < n; j += 16) {
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            const size_t at = j + 4 * i;
            const float32x4_t p = exp4(vsubq_f32(vld1q_f32(x + at), shift));
            vst1q_f32(x + at, p);
            if (at < n) lanes[i] = vaddq_f32(lanes[i], load_part(x + at, n - at));
        }
    }
    return 1.0f / sum_tree(lanes);
}

static void scale_to(float *y, const float *x, size_t n, float by) {
    for (size_t d = 0; d < n; d += 4) store_part(y + d, n - d, vmulq_n_f32(vld1q_f32(x + d), by));
}

void loam_neon_use_attend(loam_kernels *k) {
    k->attend = attend_by_blocks;
}

#endif
