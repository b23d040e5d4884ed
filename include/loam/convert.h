/* convert.h - make an MLX model folder from GGUF or a Hugging Face folder.
 *
 *     loam_convert("model.gguf", "out", &(loam_convert_options){0}, NULL, NULL, &err);
 *
 * Without options GGUF blocks that MLX can hold (Q4_0, Q4_1, Q8_0, Q4_K, Q5_K; Q6_K
 * as 8 bits) are rewritten without requantising; bits/group_size requantise through
 * f32 exactly as mx.quantize on the CPU does (docs/FORMATS.md).
 */
#ifndef LOAM_CONVERT_H
#define LOAM_CONVERT_H

#include <loam/base.h>
#include <loam/tensor.h>

typedef struct loam_convert_options {
    int bits;       /* 0: keep */
    int group_size; /* 0: 64 when bits is given */
    int dtype;      /* loam_dtype + 1: F16, BF16 or F32; 0: keep */
    int dequantize;
    int exact_scales;   /* Q4_K, Q5_K, Q6_K: f32 scales instead of f16 */
    const char *mode;   /* NULL or "affine", "mxfp4", "mxfp8", "nvfp4" (bits and group follow) */
    const char *recipe; /* NULL or "mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6" */
    int force;          /* replace an existing model folder */
    const loam_cancel *cancel;
} loam_convert_options;

/* `dst` must not exist (unless force); it appears whole or not at all.  `progress`
 * (may be NULL) gets bytes done and in all.  Errors: all kinds. */
LOAM_API loam_status loam_convert(const char *src, const char *dst, const loam_convert_options *o,
                                  void (*progress)(void *ctx, uint64_t done, uint64_t total),
                                  void *ctx, loam_err *err);

#endif
