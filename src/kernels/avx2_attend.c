/* avx2_attend.c - attention of one head of one sequence without a mask, by the f32 tile. */
#include "avx2.h"
#include <math.h>

#if defined(__AVX2__)

#define TILE_RUN  loam_avx2_tile
#define TILE_PACK loam_avx2_pack
enum { TILE_ROWS = AVX2_TILE_ROWS, TILE_COLS = AVX2_TILE_COLS };
#include "attend_blocks.h"

static float soften_row(float *x, size_t n, float scale_by) {
    const __m256 scale = _mm256_set1_ps(scale_by);
    __m256 top = _mm256_set1_ps(-INFINITY), low = _mm256_setzero_ps(), high = low;
    size_t j = 0;

    for (; j < n; j += 16) {
        const __m256 a = _mm256_mul_ps(_mm256_loadu_ps(x + j), scale);
        const __m256 b = _mm256_mul_ps(_mm256_loadu_ps(x + j + 8), scale);
        _mm256_storeu_ps(x + j, a);
        _mm256_storeu_ps(x + j + 8, b);
        top = _mm256_max_ps(b, _mm256_max_ps(a, top)); /* a NaN leaves top */
    }
    const __m256 shift = _mm256_set1_ps(max_lanes(top));
    for (j = 0; j + 16 <= n; j += 16) {
        const __m256 a = exp8(_mm256_sub_ps(_mm256_loadu_ps(x + j), shift));
        const __m256 b = exp8(_mm256_sub_ps(_mm256_loadu_ps(x + j + 8), shift));
        _mm256_storeu_ps(x + j, a);
        _mm256_storeu_ps(x + j + 8, b);
        low = _mm256_add_ps(low, a);
        high = _mm256_add_ps(high, b);
    }
    if (j < n) {
        const size_t left = n - j;
        const __m256 a = exp8(_mm256_sub_ps(_mm256_loadu_ps(x + j), shift));
        const __m256 b = exp8(_mm256_sub_ps(_mm256_loadu_ps(x + j + 8), shift));
        _mm256_storeu_ps(x + j, a);
        _mm256_storeu_ps(x + j + 8, b);
        const __m256 in_a = _mm256_castsi256_ps(lane_mask(left));
        const __m256 in_b = _mm256_castsi256_ps(lane_mask(left > 8 ? left - 8 : 0));
        low = _mm256_add_ps(low, _mm256_and_ps(a, in_a));
        high = _mm256_add_ps(high, _mm256_and_ps(b, in_b));
    }
    return 1.0f / sum_tree(low, high);
}

static void scale_to(float *y, const float *x, size_t n, float by) {
    for (size_t d = 0; d < n; d += 8)
        store_part(y + d, n - d, _mm256_mul_ps(_mm256_loadu_ps(x + d), _mm256_set1_ps(by)));
}

void loam_avx2_use_attend(loam_kernels *k) {
    k->attend = attend_by_blocks;
}

#endif
