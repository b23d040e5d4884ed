/* quantize.h - MLX's quantiser, bit for bit.
 *
 * The weights that MLX and mlx-lm write on the CPU are the contract: the same
 * f32 steps in the same order, so that a folder converted here equals theirs
 * tensor by tensor.  Groups of `group` values share a scale (and a bias); each
 * row is a little-endian bit stream of `bits` bits a value, so 8 values are
 * `bits` bytes whatever the width:
 *
 *     bits 3:   | v0 v1 v2 v3 v4 v5 v6 v7 |     v_i = bits [3i, 3i+3) of 3 bytes
 *
 * Functions work on one row at a time and keep no state: rows may be given to
 * any number of threads.  Pointers need no alignment.
 */
#ifndef LOAM_QUANTIZE_H
#define LOAM_QUANTIZE_H

#include <stddef.h>
#include <stdint.h>

/* The type that scales and biases are stored in: the source weight's. */
typedef enum loam_float { LOAM_FLOAT_F32, LOAM_FLOAT_F16, LOAM_FLOAT_BF16 } loam_float;

typedef enum loam_quant_mode {
    LOAM_QUANT_AFFINE, /* bits 2,3,4,5,6,8; group 32,64,128 */
    LOAM_QUANT_MXFP4,  /* e2m1, group 32, e8m0 scale */
    LOAM_QUANT_MXFP8,  /* e4m3, group 32, e8m0 scale */
    LOAM_QUANT_NVFP4   /* e2m1, group 16, e4m3 scale */
} loam_quant_mode;

/* 1 when MLX knows this width and group. */
int loam_quant_affine_valid(int bits, int group);

static inline size_t loam_float_bytes(loam_float t) {
    return t == LOAM_FLOAT_F32 ? 4 : 2;
}
/* Bytes of one packed row; cols * bits is a multiple of 32 for any whole group. */
static inline size_t loam_quant_row_bytes(size_t cols, int bits) {
    return cols * (size_t)bits / 8;
}

/* Narrow (nearest even) and widen n values of a stored type. */
void loam_float_store(const float *src, size_t n, loam_float t, void *dst);
void loam_float_load(const void *src, size_t n, loam_float t, float *dst);

/* mx.quantize of a row [cols] whose values are exact in `t`: packed values, then
 * cols / group scales and biases of type `t`.  Per group, all in f32:
 *
 *     scale = max((mx - mn) / n_bins, 1e-7), negative unless |mn| > |mx|
 *     edge  = |mn| > |mx| ? mn : mx;   q0 = rint(edge / scale)
 *     q0 != 0:  scale = edge / q0, bias = edge;   else bias = 0
 *     q_j   = clamp(rint((w_j - bias) / scale), 0, n_bins)
 *
 * and only then scale and bias are rounded.  A NaN weight gives q = 0. */
void loam_quantize_affine_row(const float *w, size_t cols, int bits, int group, loam_float t,
                              void *packed, void *scales, void *biases);

/* mx.dequantize: q * scale, then + bias, each rounded in `t`. */
void loam_dequantize_affine_row(const void *packed, const void *scales, const void *biases,
                                size_t cols, int bits, int group, loam_float t, float *out);

/* The fp modes: scales are one byte a group and there are no biases.  Every step
 * is rounded in `t`, as MLX's CPU graph does. */
void loam_quantize_fp_row(const float *w, size_t cols, loam_quant_mode mode, loam_float t,
                          void *packed, uint8_t *scales);
void loam_dequantize_fp_row(const void *packed, const uint8_t *scales, size_t cols,
                            loam_quant_mode mode, loam_float t, float *out);

/* Pack n values (a multiple of 8), each below 2^bits; and back. */
void loam_quant_pack(const uint8_t *q, size_t n, int bits, void *packed);
void loam_quant_unpack(const void *packed, size_t n, int bits, uint8_t *q);

#endif
