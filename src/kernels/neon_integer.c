/* neon_integer.c - integer products of every ARM set: the frame; the base set's loop; quantising.
 *
 * Up to NEON_VECTOR_MAX positions: sixteen rows at a time straight from the bit stream (their biases
 * are four independent chains).  More: rows are unpacked into a panel of bytes, which all positions
 * meet, four by four; 8-bit rows are such a panel as they are.
 *
 * The base set adds 32 products by smull, three smlal into 16 bits and one sadalp: 4 * 63 * 127 =
 * 32,004 fits.  8-bit: 2 * 128 * 127 = 32,512, so two products a lane.
 */
#include "neon.h"

#if defined(__aarch64__)

LOAM_INLINE int32x4_t dot32_base(int32x4_t acc, int8x16_t q0, int8x16_t q1, int8x16_t x0,
                                 int8x16_t x1, int bits) {
    int16x8_t p = vmull_s8(vget_low_s8(q0), vget_low_s8(x0));
    p = vmlal_high_s8(p, q0, x0);
    if (bits == 8) {
        acc = vpadalq_s16(acc, p);
        p = vmull_s8(vget_low_s8(q1), vget_low_s8(x1));
    } else {
        p = vmlal_s8(p, vget_low_s8(q1), vget_low_s8(x1));
    }
    return vpadalq_s16(acc, vmlal_high_s8(p, q1, x1));
}
#define DOT32 dot32_base
#include "neon_integer.h"

enum { BLOCK_ROWS = 16, BLOCKS = BLOCK_ROWS / NEON_ROWS, PANEL_BYTES = 128 << 10, PANEL_ROWS = 64 };

/* Scales or biases of four rows, transposed: out[g][4]. */
LOAM_INLINE void scales4(loam_element e, const unsigned char *const p[4], size_t n, float *out) {
    for (size_t g = 0; g < n; g += 4) {
        const size_t left = n - g < 4 ? n - g : 4;
        float32x4_t t[4];
        if (left == 4) {
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++) t[i] = load_scalars(e, p[i], g);
        } else {
            for (size_t i = 0; i < 4; i++) t[i] = load_scalars_part(e, p[i], g, left);
        }
        transpose4(t);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) { /* out has room for a multiple of four groups */
            vst1q_f32(out + (g + i) * NEON_ROWS, t[i]);
        }
    }
}

/* The same for rows from `row` on, the last of n repeated. */
static void place_scales(const loam_matrix *w, const unsigned char *base, size_t row, size_t n,
                         float *out) {
    const size_t n_groups = w->cols / (size_t)w->group;
    const size_t bytes = n_groups * loam_element_bytes(w->scale);
    const unsigned char *p[NEON_ROWS];

    for (size_t i = 0; i < NEON_ROWS; i++) p[i] = base + (row + (i < n ? i : n - 1)) * bytes;
    switch (w->scale) {
    case LOAM_ELEMENT_F16: scales4(LOAM_ELEMENT_F16, p, n_groups, out); return;
    case LOAM_ELEMENT_BF16: scales4(LOAM_ELEMENT_BF16, p, n_groups, out); return;
    default: scales4(LOAM_ELEMENT_F32, p, n_groups, out); return;
    }
}

/* Sums 128 * x^ of a group, a multiple of 32. */
static int32_t sum_128(const int8_t *x, size_t n) {
    int32x4_t sum = vdupq_n_s32(0);
    for (size_t k = 0; k < n; k += 16) sum = vpadalq_s16(sum, vpaddlq_s8(vld1q_s8(x + k)));
    return 128 * vaddvq_s32(sum);
}

/* Four bits: the even columns of each 32, then the odd ones. */
static void arrange(const int8_t *x, size_t cols, int8_t *out) {
    for (size_t k = 0; k < cols; k += 32) {
        const int8x16x2_t v = vld2q_s8(x + k);
        vst1q_s8(out + k, v.val[0]);
        vst1q_s8(out + k + 16, v.val[1]);
    }
}

static size_t round_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

/* The room of one position in scratch: x arranged, or the sums of its groups. */
static size_t position_bytes(const loam_matrix *w) {
    return round_up(w->bits == 8 ? w->cols / (size_t)w->group * sizeof(int32_t) : w->cols, 64);
}

static neon_position place_position(const loam_matrix *w, const loam_acts *a, size_t i, int bits,
                                    unsigned char *room) {
    const size_t group = (size_t)w->group;
    neon_position p = {a->q + i * a->q_stride, NULL, a->d + i * a->g_stride,
                       a->s + i * a->g_stride};
    if (bits == 8) {
        int32_t *sums = (int32_t *)(void *)room;
        for (size_t g = 0; g < w->cols / group; g++) sums[g] = sum_128(p.x + g * group, group);
        p.sums = sums;
    } else if (bits == 4) {
        arrange(p.x, w->cols, (int8_t *)room);
        p.x = (const int8_t *)room;
    }
    return p;
}

/* Four blocks of rows of one position: each output's sum must run through the groups in order,
 * so four at a time hide the latency. */
static void add_biases(const float *biases, size_t block, size_t n_groups, const float *s,
                       float32x4_t sums[BLOCKS]) {
    float32x4_t a0 = sums[0], a1 = sums[1], a2 = sums[2], a3 = sums[3];
    for (size_t g = 0; g < n_groups; g++, biases += NEON_ROWS) {
        a0 = vfmaq_n_f32(a0, vld1q_f32(biases), s[g]);
        a1 = vfmaq_n_f32(a1, vld1q_f32(biases + block), s[g]);
        a2 = vfmaq_n_f32(a2, vld1q_f32(biases + 2 * block), s[g]);
        a3 = vfmaq_n_f32(a3, vld1q_f32(biases + 3 * block), s[g]);
    }
    sums[0] = a0;
    sums[1] = a1;
    sums[2] = a2;
    sums[3] = a3;
}

/* Sixteen rows or fewer: where they are, their scales and biases. */
typedef struct row_block {
    const unsigned char *data; /* of the first row */
    size_t row_bytes, n_rows;
    const float *scales, *biases; /* [BLOCKS][n_groups rounded up to 4][4] */
} row_block;

typedef struct integer_job {
    const loam_matrix *w;
    const neon_rows_fn (*rows)[NEON_POSITIONS];
    int bits; /* of the rows as they stand: of the file, or NEON_BYTES */
    size_t n_groups, scales_block;
    float *y;
    size_t y_stride;
} integer_job;

/* A block of rows against m <= NEON_VECTOR_MAX positions. */
static void multiply_block(const integer_job *j, const row_block *b, const neon_position *at,
                           size_t m, float *y) {
    const neon_rows_fn *fns = j->rows[j->bits];
    const size_t together = fns[NEON_POSITIONS - 1] ? NEON_POSITIONS : 1;
    float32x4_t sums[NEON_VECTOR_MAX * BLOCKS];

    for (size_t r = 0; r < b->n_rows; r += NEON_ROWS) {
        neon_rows t = {.n_groups = j->n_groups, .group = (size_t)j->w->group};
        for (size_t i = 0; i < NEON_ROWS; i++)
            t.row[i] = b->data + (r + i < b->n_rows ? r + i : b->n_rows - 1) * b->row_bytes;
        t.scales = b->scales + r / NEON_ROWS * j->scales_block;
        for (size_t i = 0, k; i < m; i += k) {
            const size_t left = m - i;
            k = left <= together ? left : left < 2 * together ? (left + 1) / 2 : together;
            t.at = at + i;
            fns[k - 1](&t, sums + i * BLOCKS + r / NEON_ROWS, BLOCKS);
        }
    }
    for (size_t i = 0; i < m; i++) {
        for (size_t r = round_up(b->n_rows, NEON_ROWS) / NEON_ROWS; r < BLOCKS; r++)
            sums[i * BLOCKS + r] = vdupq_n_f32(0.0f);
        add_biases(b->biases, j->scales_block, j->n_groups, at[i].s, sums + i * BLOCKS);
        for (size_t r = 0; r < b->n_rows; r += NEON_ROWS)
            store_part(y + i * j->y_stride + r, b->n_rows - r, sums[i * BLOCKS + r / NEON_ROWS]);
    }
}

void loam_neon_place_scales(const loam_matrix *w, const unsigned char *base, size_t row, size_t n,
                            size_t multiple, float *out) {
    const size_t block = round_up(w->cols / (size_t)w->group, 4) * NEON_ROWS;
    for (size_t r = 0; r < round_up(n, multiple); r += NEON_ROWS, out += block) {
        const size_t from = r < n ? r : n - 1;
        place_scales(w, base, row + from, n - from, out);
    }
}

static void vector_product(const integer_job *j, size_t row0, size_t n_rows, const loam_acts *a,
                           size_t m, unsigned char *room) {
    const loam_matrix *w = j->w;
    neon_position at[NEON_VECTOR_MAX];

    for (size_t i = 0; i < m; i++, room += position_bytes(w))
        at[i] = place_position(w, a, i, j->bits, room);
    float *scales = (float *)(void *)room, *biases = scales + BLOCKS * j->scales_block;
    for (size_t r = 0; r < n_rows; r += BLOCK_ROWS) {
        const size_t rows = n_rows - r < BLOCK_ROWS ? n_rows - r : BLOCK_ROWS;
        const size_t bytes = loam_matrix_row_bytes(w);
        const row_block b = {w->data + (row0 + r) * bytes, bytes, rows, scales, biases};
        loam_neon_place_scales(w, w->scales, row0 + r, rows, BLOCK_ROWS, scales);
        loam_neon_place_scales(w, w->biases, row0 + r, rows, BLOCK_ROWS, biases);
        multiply_block(j, &b, at, m, j->y + r);
    }
}

LOAM_INLINE void unpack_row_bits(const unsigned char *p, size_t cols, int bits,
                                 unsigned char *out) {
    for (size_t k = 0; k < cols; k += 32, p += 4 * bits) {
        const uint8x16x2_t q = unpack32(p, bits);
        vst1q_u8(out + k, q.val[0]);
        vst1q_u8(out + k + 16, q.val[1]);
    }
}

static void unpack_row(const loam_matrix *w, size_t row, unsigned char *out) {
    const unsigned char *p = w->data + row * loam_matrix_row_bytes(w);
    switch (w->bits) {
    case 2: unpack_row_bits(p, w->cols, 2, out); return;
    case 3: unpack_row_bits(p, w->cols, 3, out); return;
    case 4: unpack_row_bits(p, w->cols, 4, out); return;
    case 5: unpack_row_bits(p, w->cols, 5, out); return;
    default: unpack_row_bits(p, w->cols, 6, out); return;
    }
}

/* Many positions. */
static void panel_product(integer_job *j, size_t row0, size_t n_rows, const loam_acts *a, size_t m,
                          unsigned char *room) {
    const loam_matrix *w = j->w;
    const int unpack = w->bits != 8;
    size_t block = w->cols ? PANEL_BYTES / w->cols / BLOCK_ROWS * BLOCK_ROWS : PANEL_ROWS;
    block = block < BLOCK_ROWS ? BLOCK_ROWS : block > PANEL_ROWS ? PANEL_ROWS : block;
    unsigned char *panel = room;
    float *scales = (float *)(void *)(panel + (unpack ? block * w->cols : 0));
    float *biases = scales + block / NEON_ROWS * j->scales_block;
    unsigned char *sums = (unsigned char *)(biases + block / NEON_ROWS * j->scales_block);

    if (unpack) j->bits = NEON_BYTES;
    for (size_t r = 0; r < n_rows; r += block) {
        const size_t rows = n_rows - r < block ? n_rows - r : block;
        const size_t bytes = unpack ? w->cols : loam_matrix_row_bytes(w);
        const unsigned char *data = unpack ? panel : w->data + (row0 + r) * bytes;
        for (size_t i = 0; i < rows && unpack; i++) unpack_row(w, row0 + r + i, panel + i * bytes);
        loam_neon_place_scales(w, w->scales, row0 + r, rows, BLOCK_ROWS, scales);
        loam_neon_place_scales(w, w->biases, row0 + r, rows, BLOCK_ROWS, biases);
        for (size_t p = 0; p < m; p += NEON_POSITIONS) {
            const size_t n = m - p < NEON_POSITIONS ? m - p : NEON_POSITIONS;
            neon_position at[NEON_POSITIONS];
            for (size_t i = 0; i < n; i++)
                at[i] = place_position(w, a, p + i, j->bits, sums + i * position_bytes(w));
            for (size_t i = 0; i < rows; i += BLOCK_ROWS) {
                const row_block b = {data + i * bytes, bytes,
                                     rows - i < BLOCK_ROWS ? rows - i : BLOCK_ROWS,
                                     scales + i / NEON_ROWS * j->scales_block,
                                     biases + i / NEON_ROWS * j->scales_block};
                multiply_block(j, &b, at, n, j->y + p * j->y_stride + r + i);
            }
        }
    }
}

void loam_neon_integer_product(const neon_rows_fn rows[][NEON_POSITIONS], const loam_matrix *w,
                               size_t row0, size_t n_rows, const loam_acts *a, size_t m, float *y,
                               size_t y_stride, void *scratch) {
    const size_t n_groups = w->cols / (size_t)w->group;
    integer_job j = {.w = w,
                     .rows = rows,
                     .bits = w->bits,
                     .n_groups = n_groups,
                     .scales_block = round_up(n_groups, 4) * NEON_ROWS,
                     .y = y,
                     .y_stride = y_stride};
    if (m <= NEON_VECTOR_MAX)
        vector_product(&j, row0, n_rows, a, m, scratch);
    else
        panel_product(&j, row0, n_rows, a, m, scratch);
}

static void integer_product_neon(const loam_matrix *w, size_t row0, size_t n_rows,
                                 const loam_acts *a, size_t m, float *y, size_t y_stride,
                                 void *scratch) {
    loam_neon_integer_product(rows4_of, w, row0, n_rows, a, m, y, y_stride, scratch);
}

static void quantize_neon(const float *x, size_t n, size_t group, int8_t *q, float *d, float *s) {
    const float32x4_t largest = vdupq_n_f32(3.402823466e38f);

    for (size_t g = 0; g < n / group; g++, x += group, q += group) {
        float32x4_t a = vdupq_n_f32(0.0f);
        uint32x4_t good = vdupq_n_u32(0xffffffffu);
        for (size_t k = 0; k < group; k += 4) {
            const float32x4_t v = vabsq_f32(vld1q_f32(x + k));
            good = vandq_u32(good, vcleq_f32(v, largest));
            a = vmaxnmq_f32(a, v);
        }
        const float top = vmaxvq_f32(a);
        const int finite = vminvq_u32(good) != 0, live = finite && top >= 0x1p-100f;
        if (!live) {
            memset(q, 0, group);
            d[g] = s[g] = finite ? 0.0f : __builtin_nanf("");
            continue;
        }
        const float inverse = 127.0f / top;
        int32x4_t sum = vdupq_n_s32(0);
        for (size_t k = 0; k < group; k += 16) {
            int32x4_t v[4];
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++)
                v[i] = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + k + 4 * i), inverse));
            const int16x8_t low = vcombine_s16(vqmovn_s32(v[0]), vqmovn_s32(v[1]));
            const int16x8_t high = vcombine_s16(vqmovn_s32(v[2]), vqmovn_s32(v[3]));
            vst1q_s8(q + k, vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
            sum = vpadalq_s16(vpadalq_s16(sum, low), high);
        }
        d[g] = top / 127.0f;
        s[g] = d[g] * (float)vaddvq_s32(sum);
    }
}

void loam_neon_use_integer(loam_kernels *k) {
    k->quantize = quantize_neon;
    k->integer_product = integer_product_neon;
}

#endif
