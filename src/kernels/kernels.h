/* kernels.h - the table of inner loops, and the one contract of each entry.
 *
 *     loam_kernels_init(LOAM_ISA_BEST);
 *     loam_k.integer_product(&w, 0, rows, &acts, m, y, y_stride, scratch);
 *
 * Kernels know pointers and sizes: no threads, no memory, no errors.  ref*.c says in plain
 * C what each entry means; a variant (avx2*.c, avx512vnni*.c, ...) replaces entries and must
 * give the SAME BITS, for any cut into rows, positions and calls, except that the sign of a
 * NaN and its payload are free (and but for one entry, bf16_product).  To make that possible
 * every order of summation is fixed:
 *
 *   integer product   per output: groups ascending,  acc = fma(scale_g * d_g, (float)I_g, acc)
 *                     from 0, then groups ascending again,  acc = fma(bias_g, s_g, acc);
 *                     I_g is the exact integer sum of q * x^ over the group, d and s are the
 *                     activations' (see quantize); the product scale_g * d_g is rounded once
 *   float product     per output: k ascending from 0, acc = fma(w_k, x_k, acc)
 *   dot               sixteen partial sums, lane j takes k = j, j + 16, ... by fma, the end
 *                     padded with zeros; then lanes j + (j+8), j + (j+4), j + (j+2), 0 + 1
 *   attention         see loam_attention
 *
 * Sizes may be 0 or odd and pointers unaligned, unless an entry says otherwise.
 */
#ifndef LOAM_KERNELS_H
#define LOAM_KERNELS_H

#include "base/base.h"
#include "kernels/panels.h"

/* In the order of preference; dispatch.c knows what each needs of CPU and system. */
typedef enum loam_isa {
    LOAM_ISA_REF,
    LOAM_ISA_AVX2,
    LOAM_ISA_AVXVNNI,
    LOAM_ISA_AVX512VNNI,
    LOAM_ISA_AMX,
    LOAM_ISA_NEON, /* 64-bit ARM: armv8.0, dot products, integer matrices */
    LOAM_ISA_NEONDOT,
    LOAM_ISA_NEONI8MM,
    LOAM_ISA_BEST /* whatever this machine can */
} loam_isa;

typedef enum loam_element {
    LOAM_ELEMENT_F32,
    LOAM_ELEMENT_F16,
    LOAM_ELEMENT_BF16,
    LOAM_ELEMENT_AFFINE
} loam_element;

enum {
    LOAM_LANES = 16,           /* partial sums of a dot */
    LOAM_GROUP_MAX = 128,      /* largest affine group */
    LOAM_KEY_SEGMENT = 256,    /* keys of one softmax; segments are merged */
    LOAM_HEAD_DIM_MAX = 512,   /* of attention */
    LOAM_ATTENTION_ROWS = 120, /* query rows of one attention call, see loam_attention_rows */
    LOAM_ACTS_ALIGN = 64,      /* of quantised activations and of scratch */
    LOAM_PANEL = 16,           /* rows of an index that stand together, see loam_byte_tile */
    LOAM_BYTE_ROW_MAX = 63,
    LOAM_BYTE_ROW_ZERO = 64,
    LOAM_BYTE_QUERY_MAX = 31,
    LOAM_DOT_TILE = 4608, /* see dot_tile: 18 KB */
    LOAM_OUTLIERS = 16,   /* columns of add_columns */
    LOAM_KV_GROUP = 16    /* keys or values of one scale, see loam_kv_format */
};

/* How a cache holds the keys or values of one position and head.  In bytes a row is
 *     int8 q [head_dim],  bf16 d [groups of LOAM_KV_GROUP, the last may be shorter]
 * and value k is d_g * q_k, which f32 holds exactly.  See kv_quantize. */
typedef enum loam_kv_format {
    LOAM_KV_ROWS_F32,
    LOAM_KV_ROWS_F16,
    LOAM_KV_ROWS_INT8
} loam_kv_format;

static inline size_t loam_kv_row_bytes(loam_kv_format f, size_t head_dim) {
    if (f != LOAM_KV_ROWS_INT8) return head_dim * (f == LOAM_KV_ROWS_F32 ? 4 : 2);
    return head_dim + 2 * ((head_dim + LOAM_KV_GROUP - 1) / LOAM_KV_GROUP);
}
/* The scale of a group whose largest size is a: a / 127 rounded up to bf16, 0 for one that is
 * hardly there, NaN where some value is not finite. */
static inline uint16_t loam_kv_make_scale(float a, int finite) {
    const float d = a / 127.0f;
    uint32_t u;
    if (!finite) return 0x7fc0;
    if (a < 0x1p-100f) return 0;
    memcpy(&u, &d, sizeof u);
    return (uint16_t)((u + 0xffff) >> 16);
}
/* The scale of the group that holds value d of a row in bytes. */
static inline float loam_kv_scale(const unsigned char *row, size_t head_dim, size_t d) {
    return loam_bf16_to_f32(loam_read_u16(row + head_dim + d / LOAM_KV_GROUP * 2));
}
static inline float loam_kv_at(const unsigned char *row, size_t head_dim, size_t d) {
    return loam_kv_scale(row, head_dim, d) * (float)(int8_t)row[d];
}

/* A weight matrix in a mapped file, row-major.  An affine row is a little-endian bit stream
 * of `bits` an element, w = scale_g * q + bias_g for its group g of `group` columns:
 *
 *     4 bits:  | q1 q0 | q3 q2 | ...            one byte holds elements 2i (low) and 2i + 1
 *     3 bits:  24-bit units of 8 elements, 5: 40-bit of 8, 6: 24-bit of 4
 *
 * cols is a multiple of group (32, 64, 128); bits are 2 3 4 5 6 8. */
typedef struct loam_matrix {
    loam_element element;
    int bits, group;
    loam_element scale; /* F32, F16, BF16: of scales and biases */
    size_t cols;
    const unsigned char *data;   /* [rows, loam_matrix_row_bytes] */
    const unsigned char *scales; /* [rows, cols / group] */
    const unsigned char *biases;
} loam_matrix;

static inline size_t loam_element_bytes(loam_element e) {
    return e == LOAM_ELEMENT_F32 ? 4 : 2;
}
static inline size_t loam_matrix_row_bytes(const loam_matrix *w) {
    if (w->element == LOAM_ELEMENT_AFFINE) return w->cols / 8 * (size_t)w->bits;
    return w->cols * loam_element_bytes(w->element);
}

/* Quantised activations of m positions: x_k ~ d_g * x^_k with x^ in -127 .. 127. */
typedef struct loam_acts {
    const int8_t *q; /* [m, q_stride], 64-byte aligned rows, readable up to q_stride */
    const float *d;  /* [m, g_stride] */
    const float *s;  /* [m, g_stride]: d_g * (float)(sum of x^ over the group) */
    size_t q_stride, g_stride;
} loam_acts;

/* What bf16_pack makes of m positions: tiles of 8 positions x 32 columns, hi and lo. */
enum { LOAM_BF16_POSITIONS = 8, LOAM_BF16_UNIT = 32 };
static inline size_t loam_bf16_bytes(size_t m, size_t cols) {
    return (m + LOAM_BF16_POSITIONS - 1) / LOAM_BF16_POSITIONS *
           ((cols + LOAM_BF16_UNIT - 1) / LOAM_BF16_UNIT) * 1024;
}

/* The row stride for `cols` activations: an odd number of 64 bytes, so that the rows of a tile
 * do not share sets of the cache. */
static inline size_t loam_acts_stride(size_t cols) {
    return ((cols + 63) / 64 | 1) * 64;
}

/* Scratch that every product of `cols` inputs may use, per worker. */
static inline size_t loam_kernel_scratch(size_t cols) {
    return ((size_t)640 << 10) + 80 * ((cols + 63) / 64 * 64);
}

/* One segment of keys against query rows that share a KV head, at most loam_attention_rows.
 * Row t is query position t / n_rep, head t % n_rep of the group:
 *     q + (t / n_rep) * q_stride + (t % n_rep) * head_dim
 * and sees the keys j in [first, last) with  last_t - window_t <= j < last_t, where
 * last_t = causal ? limit + t / n_rep : last, and window 0 sees all.
 *
 * Per row, over its visible keys, scores in units of log2:
 *     x_j = sum of (q_d * f) * k_jd, d ascending, one fma each from 0;  f = scale * LOG2E, with a
 *           softcap c: f = scale / c and x_j = (c * LOG2E) * tanh(that sum)
 *     max = the largest x_j by `>` from -inf: a NaN poisons p, not the maximum
 *     p_j = exp2(x_j - max), see math_poly.h
 *     sum = lanes16(p)      lanes by j mod 16, tree as in dot, plain additions
 *     out = sum of p_j * v_j, j ascending, one fma each from 0
 * A row that sees no key gets max = -inf, sum = 0, out = 0. */
typedef struct loam_attention {
    const float *q;
    size_t q_stride, n_rep, n_rows;
    const unsigned char *k, *v; /* key j at byte j * kv_stride */
    size_t kv_stride, head_dim;
    loam_kv_format format;
    int causal;
    size_t limit, window;
    size_t first, last; /* this segment; first is a multiple of LOAM_KEY_SEGMENT */
    float scale, softcap;
    int again; /* the last call with this scratch had the same queries */
} loam_attention;

/* Rows of one call: they and their outputs fit a worker's scratch whatever the head's size. */
static inline size_t loam_attention_rows(size_t head_dim) {
    return head_dim <= 128 ? LOAM_ATTENTION_ROWS : (size_t)LOAM_ATTENTION_ROWS * 128 / head_dim;
}

/* f32 rows against queries. */
typedef struct loam_dot_tile {
    const float *rows; /* [n, dim], row_stride apart */
    const float *x;    /* [m, dim], x_stride apart */
    size_t n, row_stride, m, x_stride, dim;
} loam_dot_tile;

/* Rows of a search index in bytes against queries, for a first choice among the rows:
 *     y = scale_i * (float)(I - offset_j),  I the exact sum of row_i[k] * x_j[k]
 * A row holds q + 64 for q in -63 .. 63, a query -31 .. 31: eight products fit 16 bits
 * (127 * 31 * 8 = 31496), so no sign has to move, four sums of pairs are added before they are
 * widened, and every set gives the same integers.  offset_j = 64 * sum of x_j.  Sixteen rows are
 * a panel; its columns stand in groups of four, so that a lane is a row and no sum crosses lanes:
 *     | row 0: k .. k + 3 | row 1: k .. k + 3 | ... | row 15 | row 0: k + 4 .. k + 7 | ...
 * cols <= 65536 is a multiple of 16, n of LOAM_PANEL; what is added to reach them is 64 in a row
 * and 0 in a query.  Rows start at a multiple of 64. */
typedef struct loam_byte_tile {
    const uint8_t *rows;    /* [n / 16, cols / 4, 16, 4] */
    const float *scales;    /* [n] */
    const int8_t *x;        /* [m, cols] */
    const int32_t *offsets; /* [m] */
    size_t n, m, cols;
} loam_byte_tile;

typedef enum loam_act {
    LOAM_ACT_SILU,      /* x / (1 + exp(-x)) */
    LOAM_ACT_GELU_ERF,  /* x * Phi(x) */
    LOAM_ACT_GELU_TANH, /* x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3) */
    LOAM_ACT_RELU,
    LOAM_ACT_TANH
} loam_act;

typedef struct loam_kernels {
    loam_isa isa;
    const char *name;

    /* One row of n activations (n a multiple of group): per group, a = max |x|, d = a / 127,
     * x^ = rint(x * (127 / a)) clamped to -127 .. 127.  a < 2^-100 gives d = 0 and x^ = 0;
     * a group with an infinity or a NaN gives x^ = 0 and d = s = NaN, so that its outputs are
     * NaN.  q beyond n is not written. */
    void (*quantize)(const float *x, size_t n, size_t group, int8_t *q, float *d, float *s);

    /* y[i * y_stride + r] = row (row0 + r) of w times position i, r < n_rows, i < m. */
    void (*integer_product)(const loam_matrix *w, size_t row0, size_t n_rows, const loam_acts *a,
                            size_t m, float *y, size_t y_stride, void *scratch);

    /* The same with f32 activations x[i * x_stride + k]; every element type.  Affine weights
     * are w = scale * q rounded, + bias rounded. */
    void (*float_product)(const loam_matrix *w, size_t row0, size_t n_rows, const float *x,
                          size_t x_stride, size_t m, float *y, size_t y_stride, void *scratch);

    /* bf16 weights in `fast`, where the machine has a unit for them; NULL elsewhere, and
     * float_product serves.  The one product without the reference's bits: y is sums in f32 of
     * w * hi and of w * lo, where x ~ hi + lo, two bf16.  Its bits do not depend on the cut into
     * rows, positions and calls, and without overflow it is within
     *     (2^-16 + (cols / 32 + 20) * 2^-23) * sum |w_k x_k|  +  cols * 2^-124 * (1 + max |w|, |x|)
     * of the exact sum (numbers below 2^-126 count as 0).  What is not finite in float_product is
     * not finite here, and a NaN stays one.
     * bf16_pack: m positions into loam_bf16_bytes, all of a call; a multiple of 8 may be packed
     * apart: position i stands at loam_bf16_bytes(i, cols).  packed is 64-byte aligned. */
    void (*bf16_pack)(const float *x, size_t x_stride, size_t m, size_t cols, uint16_t *packed);
    void (*bf16_product)(const loam_matrix *w, size_t row0, size_t n_rows, const uint16_t *packed,
                         size_t m, float *y, size_t y_stride, void *scratch);

    /* y[i * y_stride + r] = fma(c_jr, x[i * LOAM_OUTLIERS + j], y), j = 0 .. LOAM_OUTLIERS - 1
     * ascending; c_jr is the f16 columns[j * c_stride + r], r < n_rows, i < m. */
    void (*add_columns)(const uint16_t *columns, size_t c_stride, size_t n_rows, const float *x,
                        size_t m, float *y, size_t y_stride);

    /* One row of w as f32, dequantised as in float_product. */
    void (*row_to_f32)(const loam_matrix *w, size_t row, float *out);

    /* y[i] = rows[i] . x, the dot above; rows are dim apart. */
    void (*dot_rows)(const float *rows, size_t n, size_t dim, const float *x, float *y);

    /* y[j * y_stride + i] = rows[i] . x[j], the dot above, for all rows and queries of the tile.
     * Rows stay in the first-level cache when n * dim is at most LOAM_DOT_TILE.  Best is an n that
     * dot_tile_rows divides. */
    void (*dot_tile)(const loam_dot_tile *t, float *y, size_t y_stride);
    size_t dot_tile_rows;

    /* y[i] = rows[i] . x, the dot above with rows of f16, stride apart: a multiple of 16, rows
     * and x padded with zeros.  cached: the rows are likely in a cache, so arithmetic is the limit
     * and not the order in which memory is read; the result is the same. */
    void (*dot_rows_f16)(const uint16_t *rows, size_t n, size_t stride, const float *x, float *y,
                         int cached);

    /* See loam_byte_tile: y[j * y_stride + i] of all its rows and queries. */
    void (*byte_tile)(const loam_byte_tile *t, float *y, size_t y_stride);

    /* The first i with !(y[i] < bound), NaN included; n when there is none. */
    size_t (*find_not_below)(const float *y, size_t n, float bound);

    /* r = 1 / sqrt(dot(x, x) / n + eps);  y = (x * r) * weight.  x == y is allowed. */
    void (*rms_norm)(const float *x, const float *weight, float eps, size_t n, float *y);

    /* mean = lanes16(x) / n;  c = x - mean;  r = 1 / sqrt(dot(c, c) / n + eps);
     * y = fma(c * r, weight, bias), or (c * r) * weight when bias is NULL. */
    void (*layer_norm)(const float *x, const float *weight, const float *bias, float eps, size_t n,
                       float *y);

    void (*add)(const float *x, size_t n, float *y); /* y += x */

    /* y = act(x), y == x allowed.  Bounds against the exact function, relative: silu and tanh
     * 1e-6; gelu (8 + x^2) * 2e-7, as e^(-x^2/2) carries the rounding of its exponent. */
    void (*activate)(loam_act act, const float *x, size_t n, float *y);
    /* y = act(gate) * up; y may be gate or up. */
    void (*gate)(loam_act act, const float *gate, const float *up, size_t n, float *y);

    /* e^x, |relative error| <= 2e-7 on [-87.3, 88.7]; below 0, above inf, NaN stays. */
    void (*exp)(const float *x, size_t n, float *y);

    /* Rotate one head.  cos_sin [n_rot / 2, 2].  Pairs (a, b) are x[i], x[i + n_rot/2], or
     * x[2i], x[2i + 1] (traditional); a' = a*c - b*s, b' = b*c + a*s, each product rounded. */
    void (*rope)(float *x, size_t n_rot, int traditional, const float *cos_sin);

    void (*f32_to_f16)(const float *x, size_t n, uint16_t *y); /* nearest even */
    void (*f16_to_f32)(const uint16_t *x, size_t n, float *y);

    /* A row of n keys or values in bytes.  Per group, a = max |x|, d = a / 127 rounded up to bf16,
     * q = rint(x * (1 / d)), which is within -127 .. 127.  a < 2^-100 gives q = 0 and d = 0, an
     * infinity or a NaN q = 0 and d = NaN: it stays one. */
    void (*kv_quantize)(const float *x, size_t n, unsigned char *row);

    /* See loam_attention: max [n_rows], sum [n_rows], out [n_rows, head_dim]. */
    void (*attention)(const loam_attention *a, float *max, float *sum, float *out, void *scratch);

    /* Join the state of a later segment into that of the earlier ones, one row:
     * M = max(max, max2); f = exp2(max - M); g = exp2(max2 - M);
     * sum = fma(sum2, g, sum * f); out = fma(out2, g, out * f).  A state with max = -inf and
     * sum = 0 saw no keys: joining it changes nothing, joining into it copies. */
    void (*attention_merge)(float *max, float *sum, float *out, float max2, float sum2,
                            const float *out2, size_t head_dim);
    /* y = out * (1 / sum); sum 0 (no keys) gives 0. */
    void (*attention_finish)(const float *out, float sum, size_t head_dim, float *y);

    /* See panels.h.  Sixteen rows of f32, row_stride apart, become a panel. */
    void (*panel_pack)(const float *rows, size_t row_stride, size_t cols, float *panel);
    void (*panel_float)(const loam_panel_float *p);
    /* The same for sixteen rows of wide integers; cols is a multiple of LOAM_WIDE_UNIT. */
    void (*panel_pack_wide)(const int16_t *rows, size_t row_stride, size_t cols, int16_t *panel);
    void (*panel_wide)(const loam_panel_wide *p);
    /* n values: a = max |x|, *d = a / 2047, q = rint(x * (2047 / a)), then zeros up to a multiple
     * of LOAM_WIDE_UNIT.  a < 2^-100 gives q = 0 and d = 0, an infinity or a NaN q = 0 and
     * d = NaN. */
    void (*quantize_wide)(const float *x, size_t n, int16_t *q, float *d);
    void (*attend)(const loam_attend *a, float *scratch);
    /* x = y + bias, y = x * (s * P(s^2) + 0.5) with s = x within +-LOAM_GELU_COARSE: gelu within
     * 7e-5 + 3e-6 |x|, for what wide integers follow.  P by Horner's rule, see math_poly.h. */
    void (*gelu_coarse)(const float *bias, size_t n, float *y);
} loam_kernels;

extern loam_kernels loam_k; /* set by loam_kernels_init(), then read-only */

/* Fill loam_k with the best kernels of this machine, no better than `cap`; returns what was
 * picked.  The library calls it by itself (see loam_kernels_ready); tests call it to force a
 * set.  Not while others compute. */
loam_isa loam_kernels_init(loam_isa cap);
/* Pick once: cheap when already done, safe from any thread. */
void loam_kernels_ready(void);
/* Can this machine run it? */
int loam_isa_available(loam_isa isa);

/* One per instruction set: replace the entries it has better. */
void loam_kernels_use_ref(loam_kernels *k);
void loam_kernels_use_ref_attention(loam_kernels *k);
void loam_kernels_use_ref_math(loam_kernels *k);
void loam_kernels_use_ref_search(loam_kernels *k);
void loam_kernels_use_ref_panel(loam_kernels *k);
void loam_kernels_use_avx2(loam_kernels *k);
void loam_kernels_use_avxvnni(loam_kernels *k);
void loam_kernels_use_avx512vnni(loam_kernels *k);
void loam_kernels_use_amx(loam_kernels *k);
void loam_kernels_use_neon(loam_kernels *k);
void loam_kernels_use_neondot(loam_kernels *k);
void loam_kernels_use_neoni8mm(loam_kernels *k);

#endif
