/* dtype.c - element types: names, sizes, and reading any of them as f32.
 *
 * GGUF's block formats are unpacked in blocks.c. */
#include "tensor/blocks.h"

#include "base/base.h"

#include <math.h>

static const uint64_t MAX_DIM = (uint64_t)1 << 48;

static const struct {
    const char *name;
    uint8_t bytes; /* an element; 0: blocks */
} DTYPES[LOAM_N_DTYPES] = {
    [LOAM_BOOL] = {"bool", 1},       [LOAM_U8] = {"u8", 1},
    [LOAM_I8] = {"i8", 1},           [LOAM_U16] = {"u16", 2},
    [LOAM_I16] = {"i16", 2},         [LOAM_F16] = {"f16", 2},
    [LOAM_BF16] = {"bf16", 2},       [LOAM_U32] = {"u32", 4},
    [LOAM_I32] = {"i32", 4},         [LOAM_F32] = {"f32", 4},
    [LOAM_U64] = {"u64", 8},         [LOAM_I64] = {"i64", 8},
    [LOAM_F64] = {"f64", 8},         [LOAM_C64] = {"c64", 8},
    [LOAM_F8_E4M3] = {"f8_e4m3", 1}, [LOAM_F8_E5M2] = {"f8_e5m2", 1},
    [LOAM_F8_E8M0] = {"f8_e8m0", 1}, [LOAM_Q4_0] = {"q4_0", 0},
    [LOAM_Q4_1] = {"q4_1", 0},       [LOAM_Q5_0] = {"q5_0", 0},
    [LOAM_Q5_1] = {"q5_1", 0},       [LOAM_Q8_0] = {"q8_0", 0},
    [LOAM_Q2_K] = {"q2_k", 0},       [LOAM_Q3_K] = {"q3_k", 0},
    [LOAM_Q4_K] = {"q4_k", 0},       [LOAM_Q5_K] = {"q5_k", 0},
    [LOAM_Q6_K] = {"q6_k", 0},
};

const char *loam_dtype_name(loam_dtype d) {
    return (unsigned)d < LOAM_N_DTYPES ? DTYPES[d].name : "unknown";
}

size_t loam_dtype_bytes(loam_dtype d) {
    return (unsigned)d < LOAM_N_DTYPES ? DTYPES[d].bytes : 0;
}

uint64_t loam_tensor_count(const loam_tensor *t) {
    uint64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->shape[i];
    return n;
}

int loam_tensor_bytes(const loam_tensor *t, uint64_t *out) {
    const loam_block_format *block = loam_block_format_of(t->dtype);
    uint64_t n = 1;
    for (int i = 0; i < t->rank; i++) /* the bound keeps strides sound beside a zero dimension */
        if (t->shape[i] > MAX_DIM || __builtin_mul_overflow(n, t->shape[i], &n)) return 0;
    if (block) {
        if (t->rank == 0 || t->shape[t->rank - 1] % block->elements)
            return 0; /* rows are whole blocks */
        n /= block->elements;
        return !__builtin_mul_overflow(n, (uint64_t)block->bytes, out);
    }
    return !__builtin_mul_overflow(n, (uint64_t)loam_dtype_bytes(t->dtype), out);
}

/* 1 sign, 4 exponent bits (bias 7), 3 of mantissa; no infinities, 0x7f and 0xff are NaN. */
static float f8_e4m3_to_f32(uint8_t b) {
    const int exponent = b >> 3 & 15, mantissa = b & 7;
    float v;
    if ((b & 0x7f) == 0x7f)
        v = NAN;
    else if (exponent == 0)
        v = ldexpf((float)mantissa, -9);
    else
        v = ldexpf((float)(8 + mantissa), exponent - 10);
    return b & 0x80 ? -v : v;
}

/* Elements of `t` from `first` on, one macro line per type: unaligned loads by memcpy. */
#define CONVERT(TYPE, EXPRESSION)                                                                  \
    for (uint64_t i = 0; i < n; i++) {                                                             \
        TYPE x;                                                                                    \
        memcpy(&x, p + i * sizeof x, sizeof x);                                                    \
        out[i] = EXPRESSION;                                                                       \
    }                                                                                              \
    break

loam_status loam_tensor_to_f32(const loam_tensor *t, uint64_t first, uint64_t n, float *out,
                               loam_err *err) {
    const loam_block_format *block = loam_block_format_of(t->dtype);
    if (first > loam_tensor_count(t) || n > loam_tensor_count(t) - first)
        return loam_fail(err, LOAM_ERR_ARGUMENT, "%s: elements outside the tensor", t->name);
    if (n == 0) return LOAM_OK;
    if (block) {
        if (first % block->elements || n % block->elements)
            return loam_fail(err, LOAM_ERR_ARGUMENT, "%s: not at the edge of a block", t->name);
        const unsigned char *at =
            (const unsigned char *)t->data + first / block->elements * block->bytes;
        block->unpack(at, (size_t)(n / block->elements), out);
        return LOAM_OK;
    }
    const unsigned char *p = (const unsigned char *)t->data + first * loam_dtype_bytes(t->dtype);
    switch (t->dtype) {
    case LOAM_BOOL: CONVERT(uint8_t, x ? 1.0f : 0.0f);
    case LOAM_U8: CONVERT(uint8_t, (float)x);
    case LOAM_I8: CONVERT(int8_t, (float)x);
    case LOAM_U16: CONVERT(uint16_t, (float)x);
    case LOAM_I16: CONVERT(int16_t, (float)x);
    case LOAM_F16: CONVERT(uint16_t, loam_f16_to_f32(x));
    case LOAM_BF16: CONVERT(uint16_t, loam_bf16_to_f32(x));
    case LOAM_U32: CONVERT(uint32_t, (float)x);
    case LOAM_I32: CONVERT(int32_t, (float)x);
    case LOAM_F32: memcpy(out, p, (size_t)n * sizeof *out); break;
    case LOAM_U64: CONVERT(uint64_t, (float)x);
    case LOAM_I64: CONVERT(int64_t, (float)x);
    case LOAM_F64: CONVERT(double, (float)x);
    case LOAM_F8_E4M3: CONVERT(uint8_t, f8_e4m3_to_f32(x));
    case LOAM_F8_E5M2:
        CONVERT(uint8_t, loam_f16_to_f32((uint16_t)(x << 8))); /* half's upper byte */
    case LOAM_F8_E8M0: CONVERT(uint8_t, x == 0xff ? NAN : ldexpf(1.0f, (int)x - 127));
    default:
        return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: %s cannot be read as f32", t->name,
                         loam_dtype_name(t->dtype));
    }
    return LOAM_OK;
}

void loam_tensor_sha256(const loam_tensor *t, char out[65]) {
    loam_sha256 h;
    loam_sha256_init(&h);
    loam_sha256_update(&h, t->data, (size_t)t->bytes);
    loam_sha256_hex(&h, out);
}
