/* amx_panel.c - wide integers (panels.h) by tiles of bytes.
 *
 * A number of 12 bits is two signed bytes,  q = 64 * high + low,  high in -32 .. 32 and low in
 * -32 .. 31, and a product of two is four products of tiles, summed exactly apart:
 *
 *     64 * 64 * (high . high)  +  64 * (high . low + low . high)  +  low . low
 *
 * A panel holds for every 64 columns a tile of high bytes and one of low ones, which is the
 * size of what it replaces; positions are split on the way, sixteen and a block of columns at
 * a time.  Byte 2i of a tile's row is column i of the 64, byte 2i + 1 column 32 + i: so two
 * registers of 16-bit numbers become one of bytes by shifts alone.
 */
#include "amx.h"

#if defined(LOAM_AMX)

enum {
    ROWS = LOAM_PANEL_ROWS,
    POSITIONS = 16,
    UNIT = 64, /* columns of a product of tiles */
    TILE = 16 * 64,
    BLOCK_UNITS = LOAM_WIDE_BLOCK / UNIT
};

static void panel_pack_wide_amx(const int16_t *rows, size_t row_stride, size_t cols,
                                int16_t *panel) {
    int8_t *out = (int8_t *)panel; /* [cols / 64][high, low][64 / 4][16 rows][4] */
    for (size_t k0 = 0; k0 < cols; k0 += UNIT, out += 2 * TILE) {
        for (size_t r = 0; r < ROWS; r++) {
            for (size_t k = 0; k < UNIT; k++) {
                const int q = rows[r * row_stride + k0 + k], high = (q + 32) >> 6;
                const size_t byte = 2 * (k % 32) + k / 32, at = byte / 4 * 64 + 4 * r + byte % 4;
                out[at] = (int8_t)high;
                out[TILE + at] = (int8_t)(q - 64 * high);
            }
        }
    }
}

/* n positions of n_units times 64 columns: out [n_units][high, low][16][64]. */
static void split_positions(const int16_t *x, size_t x_stride, size_t n, size_t n_units,
                            int8_t *out) {
    const __m512i half = _mm512_set1_epi16(32), low_six = _mm512_set1_epi8(63);
    const __m512i low_byte = _mm512_set1_epi16(0xff), bias = _mm512_set1_epi8(32);
    for (size_t i = 0; i < n; i++) {
        for (size_t u = 0; u < n_units; u++) {
            const int16_t *from = x + i * x_stride + u * UNIT;
            const __m512i a = _mm512_add_epi16(_mm512_loadu_si512(from), half);
            const __m512i b = _mm512_add_epi16(_mm512_loadu_si512(from + 32), half);
            const __m512i high_a = _mm512_and_si512(_mm512_srai_epi16(a, 6), low_byte);
            const __m512i high_b = _mm512_andnot_si512(low_byte, _mm512_slli_epi16(b, 2));
            const __m512i low_a = _mm512_and_si512(a, low_byte), low_b = _mm512_slli_epi16(b, 8);
            const __m512i low = _mm512_and_si512(_mm512_or_si512(low_a, low_b), low_six);
            int8_t *to = out + u * 2 * TILE + i * UNIT;
            _mm512_store_si512(to, _mm512_or_si512(high_a, high_b));
            _mm512_store_si512(to + TILE, _mm512_sub_epi8(low, bias));
        }
    }
}

/* Tiles 0 - 3 are sums: high high, high low, low high, low low. */
static void multiply_units(const int8_t *x, const int8_t *panel, size_t n_units) {
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
    for (; n_units > 0; n_units--, x += 2 * TILE, panel += 2 * TILE) {
        TILE_LOAD(4, x, 64);
        TILE_LOAD(6, panel, 64);
        TILE_PRODUCT_S8(0, 4, 6);
        TILE_LOAD(7, panel + TILE, 64);
        TILE_PRODUCT_S8(1, 4, 7);
        TILE_LOAD(5, x + TILE, 64);
        TILE_PRODUCT_S8(2, 5, 6);
        TILE_PRODUCT_S8(3, 5, 7);
    }
}

/* Sixteen rows of n positions whose sums are done. */
typedef struct wide_out {
    const float *scales, *d;
    size_t n;
    int begin; /* y starts at 0 */
    float *y;
    size_t y_stride;
} wide_out;

static void take_wide_sums(const int32_t *sums, const wide_out *o) {
    const __m512 s = _mm512_loadu_ps(o->scales);
    float *y = o->y;
    for (size_t i = 0; i < o->n; i++, sums += ROWS, y += o->y_stride) {
        const __m512i high = _mm512_load_si512(sums), low = _mm512_load_si512(sums + 3 * TILE / 4);
        const __m512i mixed = _mm512_add_epi32(_mm512_load_si512(sums + TILE / 4),
                                               _mm512_load_si512(sums + 2 * TILE / 4));
        const __m512i sum = _mm512_add_epi32(
            _mm512_slli_epi32(_mm512_add_epi32(_mm512_slli_epi32(high, 6), mixed), 6), low);
        const __m512 acc = o->begin ? _mm512_setzero_ps() : _mm512_loadu_ps(y);
        const __m512 scale = _mm512_mul_ps(s, _mm512_set1_ps(o->d[i]));
        _mm512_storeu_ps(y, _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(sum), acc));
    }
}

static void panel_wide_amx(const loam_panel_wide *p) {
    _Alignas(64) int8_t x[BLOCK_UNITS * 2 * TILE]; /* 16 KB */
    _Alignas(64) int32_t sums[TILE];               /* of four tiles */
    wide_out o = {.scales = p->scales, .y_stride = p->y_stride};
    if (p->m == 0 || p->n_panels == 0) return;
    const size_t positions = p->m < POSITIONS ? p->m : POSITIONS;
    tile_config config = {.palette = 1};
    for (size_t t = 0; t < 8; t++) {
        config.rows[t] = (uint8_t)(t >= 6 ? 16 : positions);
        config.row_bytes[t] = 64;
    }
    /* rows that no position fills are multiplied too: what they give is not read */
    memset(x, 0, sizeof x);
    TILE_CONFIGURE(&config);
    for (size_t i = 0; i < p->m; i += POSITIONS) {
        const size_t n = p->m - i < POSITIONS ? p->m - i : POSITIONS;
        for (size_t k = 0; k == 0 || k < p->cols; k += LOAM_WIDE_BLOCK) {
            const size_t n_k = p->cols - k < LOAM_WIDE_BLOCK ? p->cols - k : LOAM_WIDE_BLOCK;
            split_positions(p->x + i * p->x_stride + k, p->x_stride, n, n_k / UNIT, x);
            for (size_t j = 0; j < p->n_panels; j++) {
                const int8_t *panel = (const int8_t *)(p->panels + (j * p->cols + k) * ROWS);
                multiply_units(x, panel, n_k / UNIT);
                take_wide_sums(sums, &o); /* of the panel before, while the tiles are at it */
                TILE_STORE(0, sums, 64);
                TILE_STORE(1, sums + TILE / 4, 64);
                TILE_STORE(2, sums + 2 * TILE / 4, 64);
                TILE_STORE(3, sums + 3 * TILE / 4, 64);
                o.scales = p->scales + j * ROWS;
                o.d = p->d + i;
                o.n = n;
                o.begin = k == 0;
                o.y = p->y + i * p->y_stride + j * ROWS;
            }
        }
    }
    take_wide_sums(sums, &o);
    TILE_RELEASE();
}

void loam_amx_use_panel(loam_kernels *k) {
    k->panel_pack_wide = panel_pack_wide_amx;
    k->panel_wide = panel_wide_amx;
}

#endif
