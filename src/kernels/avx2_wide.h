/* avx2_wide.h - wide integers (panels.h) with registers of 256 bits: a tile of 6 positions x 16 rows,
 * for AVX2 and AVX-VNNI.  Whoever includes it defines dot2: acc += pairs of products, exactly. */
enum { ROWS = LOAM_PANEL_ROWS, COLS = 6 };

#define FOR_COLS(M) _Pragma("GCC unroll 6") for (size_t i = 0; i < (M); i++)

/* Positions of tile i of n: as even as can be. */
LOAM_INLINE size_t tile_start(size_t m, size_t n, size_t i) {
    return m / n * i + (i < m % n ? i : m % n);
}

typedef struct wide_tile {
    const int16_t *x, *b, *ahead;
    size_t x_stride, n_k;
    const float *scales, *d;
    float *y;
    size_t y_stride;
    int begin;
} wide_tile;

#define DEFINE_WIDE_TILE(M)                                                                        \
    static void wide_tile_##M(const wide_tile *t) {                                                \
        __m256i lo[M], hi[M];                                                                      \
        const int16_t *x[M], *b = t->b;                                                            \
        const char *ahead = (const char *)t->ahead;                                                \
        FOR_COLS(M) {                                                                              \
            x[i] = t->x + i * t->x_stride;                                                         \
            lo[i] = hi[i] = _mm256_setzero_si256();                                                \
        }                                                                                          \
        for (size_t k = 0; k < t->n_k; k += 2, b += 2 * ROWS, ahead += 64) {                       \
            const __m256i b0 = load256(b), b1 = load256(b + 16);                                   \
            _mm_prefetch(ahead, _MM_HINT_T1);                                                      \
            FOR_COLS(M) {                                                                          \
                int32_t pair;                                                                      \
                memcpy(&pair, x[i] + k, 4);                                                        \
                const __m256i xi = _mm256_set1_epi32(pair);                                        \
                lo[i] = dot2(lo[i], b0, xi);                                                       \
                hi[i] = dot2(hi[i], b1, xi);                                                       \
            }                                                                                      \
        }                                                                                          \
        const __m256 s0 = _mm256_loadu_ps(t->scales), s1 = _mm256_loadu_ps(t->scales + 8);         \
        FOR_COLS(M) {                                                                              \
            float *y = t->y + i * t->y_stride;                                                     \
            const __m256 d = _mm256_broadcast_ss(t->d + i);                                        \
            const __m256 y0 = t->begin ? _mm256_setzero_ps() : _mm256_loadu_ps(y);                 \
            const __m256 y1 = t->begin ? _mm256_setzero_ps() : _mm256_loadu_ps(y + 8);             \
            _mm256_storeu_ps(                                                                      \
                y, _mm256_fmadd_ps(_mm256_mul_ps(s0, d), _mm256_cvtepi32_ps(lo[i]), y0));          \
            _mm256_storeu_ps(                                                                      \
                y + 8, _mm256_fmadd_ps(_mm256_mul_ps(s1, d), _mm256_cvtepi32_ps(hi[i]), y1));      \
        }                                                                                          \
    }

DEFINE_WIDE_TILE(1)
DEFINE_WIDE_TILE(2)
DEFINE_WIDE_TILE(3)
DEFINE_WIDE_TILE(4)
DEFINE_WIDE_TILE(5)
DEFINE_WIDE_TILE(6)

static void panel_wide_256(const loam_panel_wide *p) {
    static void (*const tiles[])(const wide_tile *t) = {wide_tile_1, wide_tile_2, wide_tile_3,
                                                        wide_tile_4, wide_tile_5, wide_tile_6};
    const size_t panel = p->cols * ROWS, n_tiles = (p->m + COLS - 1) / COLS;

    for (size_t k = 0; k == 0 || k < p->cols; k += LOAM_WIDE_BLOCK) {
        const size_t n_k = p->cols - k < LOAM_WIDE_BLOCK ? p->cols - k : LOAM_WIDE_BLOCK;
        for (size_t j = 0; j < p->n_panels; j++) {
            const size_t next_j = j + 1 < p->n_panels || k + n_k == p->cols ? j + 1 : 0;
            const size_t next_k = j + 1 < p->n_panels ? k : k + n_k == p->cols ? 0 : k + n_k;
            for (size_t i = 0; i < n_tiles; i++) {
                const size_t from = tile_start(p->m, n_tiles, i);
                const wide_tile t = {.x = p->x + from * p->x_stride + k,
                                     .x_stride = p->x_stride,
                                     .b = p->panels + j * panel + k * ROWS,
                                     .ahead = p->panels + next_j * panel + next_k * ROWS,
                                     .n_k = n_k,
                                     .scales = p->scales + j * ROWS,
                                     .d = p->d + from,
                                     .y = p->y + from * p->y_stride + j * ROWS,
                                     .y_stride = p->y_stride,
                                     .begin = k == 0};
                tiles[tile_start(p->m, n_tiles, i + 1) - from - 1](&t);
            }
        }
    }
}
