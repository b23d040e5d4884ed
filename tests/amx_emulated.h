/* amx_emulated.h - tile registers in C, as strict as the hardware.
 *
 * Included before everything else (-include) by tools/test-amx.sh.
 * What would raise #UD aborts: a tile used without a configuration, a shape that does not
 * fit; and so does loading rows of a tile that was left configured by an earlier call. */
#ifndef LOAM_AMX_EMULATED_H
#define LOAM_AMX_EMULATED_H

#include "avx512_emulated.h"
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline simde__m512i emulated_shuffle_i64x2(simde__m512i a, simde__m512i b, int control) {
    unsigned char from[128], to[64];
    memcpy(from, &a, 64);
    memcpy(from + 64, &b, 64);
    for (int i = 0; i < 4; i++)
        memcpy(to + 16 * i, from + 64 * (i / 2) + 16 * (control >> 2 * i & 3), 16);
    simde__m512i r;
    memcpy(&r, to, 64);
    return r;
}
#undef _mm512_shuffle_i64x2
#define _mm512_shuffle_i64x2(a, b, control) emulated_shuffle_i64x2(a, b, control)

typedef struct emulated_tile {
    unsigned rows, row_bytes; /* 0, 0: not configured */
    unsigned char row[16][64];
} emulated_tile;

static _Thread_local emulated_tile emulated_tiles[8];
static _Thread_local int emulated_configured;

static inline void emulated_require(int ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "tiles: %s\n", what);
    abort();
}
static inline emulated_tile *emulated_tile_at(int t) {
    emulated_require(emulated_configured && emulated_tiles[t].rows, "not configured");
    return &emulated_tiles[t];
}
static inline void emulated_tile_configure(const void *config) {
    const unsigned char *c = config;
    emulated_require(!emulated_configured, "configured twice without a release");
    emulated_require(c[0] == 1 && c[1] == 0, "palette or start row");
    for (int i = 2; i < 16; i++) emulated_require(c[i] == 0, "reserved bytes");
    for (int t = 0; t < 16; t++) {
        const unsigned bytes = c[16 + 2 * t] + 256u * c[17 + 2 * t], rows = c[48 + t];
        emulated_require(t < 8 || (!bytes && !rows), "more than eight tiles");
        emulated_require(bytes <= 64 && rows <= 16 && !bytes == !rows, "shape");
        if (t >= 8) continue;
        memset(&emulated_tiles[t], 0, sizeof emulated_tiles[t]);
        emulated_tiles[t].rows = rows;
        emulated_tiles[t].row_bytes = bytes;
    }
    emulated_configured = 1;
}
static inline void emulated_tile_release(void) {
    memset(emulated_tiles, 0, sizeof emulated_tiles);
    emulated_configured = 0;
}
static inline void emulated_tile_zero(int t) {
    emulated_tile *e = emulated_tile_at(t);
    memset(e->row, 0, sizeof e->row);
}
static inline void emulated_tile_load(int t, const void *from, size_t stride) {
    emulated_tile *e = emulated_tile_at(t);
    memset(e->row, 0, sizeof e->row);
    for (unsigned r = 0; r < e->rows; r++)
        memcpy(e->row[r], (const char *)from + r * stride, e->row_bytes);
}
static inline void emulated_tile_store(int t, void *to, size_t stride) {
    const emulated_tile *e = emulated_tile_at(t);
    for (unsigned r = 0; r < e->rows; r++) memcpy((char *)to + r * stride, e->row[r], e->row_bytes);
}
static inline void emulated_tile_fit(const emulated_tile *c, const emulated_tile *a,
                                     const emulated_tile *b) {
    emulated_require(c != a && c != b && a != b, "a product of tiles that are not distinct");
    emulated_require(c->rows == a->rows && c->row_bytes == b->row_bytes &&
                         b->rows == a->row_bytes / 4,
                     "shapes of a product");
    emulated_require(a->row_bytes % 4 == 0 && b->row_bytes % 4 == 0, "bytes that are no dwords");
}
/* C += A . B, A signed; B as b_signed says */
static inline void emulated_tile_product(int ct, int at, int bt, int b_signed) {
    emulated_tile *c = emulated_tile_at(ct);
    const emulated_tile *a = emulated_tile_at(at), *b = emulated_tile_at(bt);
    emulated_tile_fit(c, a, b);
    for (unsigned m = 0; m < c->rows; m++) {
        int32_t sum[16];
        memcpy(sum, c->row[m], sizeof sum);
        for (unsigned k = 0; k < a->row_bytes / 4; k++)
            for (unsigned n = 0; n < b->row_bytes / 4; n++)
                for (unsigned j = 0; j < 4; j++) {
                    const unsigned char byte = b->row[k][4 * n + j];
                    sum[n] += (int8_t)a->row[m][4 * k + j] * (b_signed ? (int8_t)byte : (int)byte);
                }
        memcpy(c->row[m], sum, sizeof sum);
    }
}
/* Numbers below the normal ones are 0, before and after. */
static inline float emulated_flush(float x) {
    return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}
static inline float emulated_bf16(const unsigned char *p) {
    const uint32_t bits = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 24;
    float x;
    memcpy(&x, &bits, sizeof x);
    return emulated_flush(x);
}
/* C += A . B in pairs of bf16: even and odd columns by fma from 0, then their sum to C. */
static inline void emulated_tile_product_bf16(int ct, int at, int bt) {
    emulated_tile *c = emulated_tile_at(ct);
    const emulated_tile *a = emulated_tile_at(at), *b = emulated_tile_at(bt);
    emulated_tile_fit(c, a, b);
    for (unsigned m = 0; m < c->rows; m++) {
        float sum[16], part[16][2] = {{0}};
        memcpy(sum, c->row[m], sizeof sum);
        for (unsigned k = 0; k < a->row_bytes / 4; k++)
            for (unsigned n = 0; n < b->row_bytes / 4; n++)
                for (unsigned j = 0; j < 2; j++)
                    part[n][j] =
                        emulated_flush(fmaf(emulated_bf16(a->row[m] + 4 * k + 2 * j),
                                            emulated_bf16(b->row[k] + 4 * n + 2 * j), part[n][j]));
        for (unsigned n = 0; n < b->row_bytes / 4; n++)
            sum[n] =
                emulated_flush(emulated_flush(sum[n]) + emulated_flush(part[n][0] + part[n][1]));
        memcpy(c->row[m], sum, sizeof sum);
    }
}
static inline void emulated_tile_product_s8_u8(int c, int a, int b) {
    emulated_tile_product(c, a, b, 0);
}
static inline void emulated_tile_product_s8(int c, int a, int b) {
    emulated_tile_product(c, a, b, 1);
}

#endif
