/* ops.h - the operations a forward pass is written in.
 *
 * Ops check shapes (LOAM_ASSERT: a wrong shape is a bug of the caller, files are
 * checked in model/), split rows over the pool and call kernels.  Everything is
 * row-major f32: x [m, cols] is m positions.  Results do not depend on the number
 * of threads, nor on how m positions are cut into calls.
 */
#ifndef LOAM_OPS_H
#define LOAM_OPS_H

#include "base/base.h"
#include "base/threads.h"
#include "kernels/kernels.h"
#include <loam/engine.h>
#include <loam/tensor.h>

/* What a layer multiplies with: rows outputs, cols inputs.  Points into a mapped
 * file, any alignment.  Formats are data, never function names in models. */
typedef enum loam_weight_format {
    LOAM_FORMAT_F32,
    LOAM_FORMAT_F16,
    LOAM_FORMAT_BF16,
    LOAM_FORMAT_AFFINE /* MLX: w = scale * q + bias, little-endian bit stream a row (spec: MLX quantize) */
} loam_weight_format;

typedef struct loam_weight {
    loam_weight_format format;
    int bits, group;             /* affine: 2 3 4 5 6 8; 32 64 128 */
    loam_dtype scale_dtype;      /* affine: F16, BF16, F32 (scales and biases alike) */
    size_t rows, cols;           /* affine: cols is a multiple of group */
    const void *data;            /* [rows, cols] or packed [rows, cols*bits/8 bytes] */
    const void *scales, *biases; /* affine: [rows, cols/group] */
    const float *bias;           /* [rows] added to the product, or NULL (owned by the model) */
    int two_terms;               /* affine, in LOAM_FAST: see loam_linear */
    /* affine, in LOAM_FAST: columns whose activations are so much larger than others that they
     * would spoil the scale of their group; they are multiplied in f32.  NULL: none.  Weights
     * that share x share the ids. */
    const uint32_t *outlier_ids; /* [LOAM_OUTLIERS] ascending */
    const uint16_t *outliers;    /* f16 [LOAM_OUTLIERS, outlier_stride] */
    size_t outlier_stride;
} loam_weight;

/* Bytes of one row of `data`. */
size_t loam_weight_row_bytes(const loam_weight *w);

/* Scratch and threads of whoever computes: one per session, never shared at once. */
typedef struct loam_compute {
    loam_pool *pool;
    loam_precision precision;
    void *scratch; /* grown by loam_compute_reserve; ops never allocate */
    size_t scratch_bytes;
} loam_compute;

/* Make room for products with up to max_m positions of up to max_cols inputs. */
loam_status loam_compute_reserve(loam_compute *c, size_t max_m, size_t max_cols, loam_err *err);
void loam_compute_deinit(loam_compute *c);

/* y[i] [m, w[i]->rows] = x [m, cols] * w[i]^T + bias, for n_w weights that share x
 * (q, k, v; gate, up): activations are quantised once.  LOAM_FAST: affine weights take
 * int8 activations per group, integer sums exact, groups ascending, one fma a group (see
 * kernels/kernels.h), then one fma an outlier.  A weight of two terms takes x as the sum of two
 * int8 vectors, the second the quantised error of the first: y = y1 + y2.  It shares its
 * activations with no other.  f32/f16/bf16 weights as in LOAM_EXACT.  LOAM_EXACT: f32, k
 * ascending, one fma each. */
void loam_linear(loam_compute *c, const loam_weight *const *w, size_t n_w, const float *x, size_t m,
                 float *const *y);

/* y [m, rows] = act(x*gate^T) * (x*up^T): both weights have the same shape. */
typedef enum loam_activation {
    LOAM_SILU,
    LOAM_GELU_ERF,
    LOAM_GELU_TANH,
    LOAM_RELU,
    LOAM_TANH
} loam_activation;
void loam_linear_gated(loam_compute *c, const loam_weight *gate, const loam_weight *up,
                       loam_activation act, const float *x, size_t m, float *y);
/* x[i] = act(x[i]) in place, n values, error bound stated in kernels.h. */
void loam_activate(loam_compute *c, loam_activation act, float *x, size_t n);
/* gate[i] = act(gate[i]) * up[i]; rows of `n` values at strides (for fused gate_up matrices). */
void loam_gate(loam_compute *c, loam_activation act, const float *gate, const float *up, size_t m,
               size_t n, size_t stride, float *y);

/* Weights that share their inputs, one above the other (q, k and v), for many calls: copies in
 * the order of the kernels' panels may be made (kernels/panels.h).  Products are those of
 * loam_linear, with the bias and an activation added while the sums are in the cache.
 *     LOAM_EXACT  the same bits with a copy and without
 *     LOAM_FAST   wide integers (12 bits, a scale a row and a position); needs the copy */
enum { LOAM_STACK_MAX = 3 };
typedef struct loam_stack {
    size_t n, rows, cols;
    loam_weight w[LOAM_STACK_MAX];
    float *bias;   /* [rows rounded up to 16], of all */
    float *panels; /* exact: [rows / 16][cols][16], or NULL */
    int16_t *wide; /* fast: [rows / 16][16 * cols rounded up to 64], or NULL */
    float *scales; /* fast: [rows rounded up] */
} loam_stack;
/* The weights must outlive it.  Errors: MEMORY. */
loam_status loam_stack_init(loam_stack *s, const loam_weight *const *w, size_t n, loam_err *err);
void loam_stack_deinit(loam_stack *s);
uint64_t loam_stack_copy_bytes(const loam_stack *s, loam_precision precision);
/* Make the copy for `precision`, once.  Errors: MEMORY. */
loam_status loam_stack_pack(loam_stack *s, loam_pool *pool, loam_precision precision,
                            loam_err *err);
/* Rows of y: outputs are written in sixteens. */
static inline size_t loam_stack_stride(size_t rows) {
    return (rows + 15) / 16 * 16;
}
/* Positions as wide integers: q [m, cols rounded up to 64], d [m]. */
typedef struct loam_wide_room {
    int16_t *q;
    float *d;
} loam_wide_room;
static inline size_t loam_wide_stride(size_t cols) {
    return (cols + 63) / 64 * 64;
}

/* y [m, loam_stack_stride(rows)] = act(x [m, x_stride] * w^T + bias), act NULL: none.  `room` is
 * used in LOAM_FAST. */
void loam_stack_linear(loam_compute *c, const loam_stack *s, const loam_activation *act,
                       const float *x, size_t x_stride, size_t m, const loam_wide_room *room,
                       float *y);

/* Some columns (at most 64) of n_rows rows from `row`, dequantised to f32: out [n_cols, n_rows];
 * affine only. */
void loam_weight_columns(const loam_weight *w, size_t row, size_t n_rows, const uint32_t *cols,
                         size_t n_cols, float *out);
/* One row of an embedding table, dequantised to f32: out [cols]. */
void loam_weight_row(const loam_weight *w, size_t row, float *out);

/* y = x / sqrt(mean(x^2) + eps) * weight; weight [n] f32.  x == y is allowed. */
void loam_rms_norm(loam_compute *c, const float *x, const float *weight, float eps, size_t m,
                   size_t n, float *y);
/* LayerNorm; bias may be NULL. */
void loam_layer_norm(loam_compute *c, const float *x, const float *weight, const float *bias,
                     float eps, size_t m, size_t n, float *y);
/* x = LayerNorm(add + x): x [m, n], rows of `add` add_stride apart. */
void loam_add_norm(loam_compute *c, const float *add, size_t add_stride, const float *weight,
                   const float *bias, float eps, size_t m, size_t n, float *x);
/* y += x, n values. */
void loam_residual(loam_compute *c, const float *x, size_t n, float *y);

/* Rotary position embedding in place on x [m, n_heads, head_dim], row i at position pos + i.
 * `cos_sin` is a table [n_positions, n_rot/2, 2] made by model/rope (so every kind of
 * scaling is data); the first n_rot of head_dim are rotated.  traditional: pairs (2i, 2i+1),
 * else halves (i, i + n_rot/2). */
void loam_rope(loam_compute *c, float *x, size_t m, size_t n_heads, size_t head_dim, size_t n_rot,
               int traditional, const float *cos_sin, size_t pos);

/* Causal attention of m new positions over a cache that already holds their keys and values.
 * q [m, n_heads, head_dim]; y the same shape; query i stands at position pos + i and sees keys
 * 0 .. pos + i, of them only the last `window` when window > 0.  scale multiplies q.k;
 * softcap > 0: s = softcap * tanh(s / softcap).  Keys are cut in blocks at fixed multiples, so
 * that chunked prefill gives the same bits.  f32 softmax (online). */
typedef struct loam_kv {
    loam_kv_format format; /* of the rows of k and v */
    size_t n_kv_heads, head_dim,
        stride; /* stride: positions of room; k, v are [n_kv_heads, stride] rows */
    void *k, *v;
} loam_kv;
void loam_kv_store(loam_compute *c, const loam_kv *kv, const float *k, const float *v, size_t m,
                   size_t pos);
typedef struct loam_attention_params {
    size_t n_heads;
    float scale, softcap;
    size_t window;
} loam_attention_params;
void loam_attention_causal(loam_compute *c, const loam_kv *kv, const loam_attention_params *p,
                           const float *q, size_t m, size_t pos, float *y);

/* Full (bidirectional) attention of packed sequences: q, k, v [total, n_heads, head_dim] with row
 * stride `stride` floats; sequence s covers rows starts[s] .. starts[s+1]. */
void loam_attention_packed(loam_compute *c, const float *q, const float *k, const float *v,
                           size_t stride, const size_t *starts, size_t n_seq, size_t n_heads,
                           size_t head_dim, float scale, float *y);

/* scores[i] = rows[i] . x over n rows of dim f32 (index search): fixed summation order. */
void loam_dot_rows(loam_pool *pool, const float *rows, size_t n, size_t dim, const float *x,
                   float *scores);

#endif
