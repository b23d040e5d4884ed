/* blocks.h - GGUF's block formats: their sizes, and how they unpack to f32.
 *
 * loam_tensor_to_f32 (loam/tensor.h) is what others call. */
#ifndef LOAM_TENSOR_BLOCKS_H
#define LOAM_TENSOR_BLOCKS_H

#include <loam/tensor.h>

typedef struct loam_block_format {
    uint16_t elements, bytes; /* of one block */
    void (*unpack)(const unsigned char *blocks, size_t n_blocks, float *out);
} loam_block_format;

/* NULL for types that are no blocks. */
const loam_block_format *loam_block_format_of(loam_dtype d);

/* Bytes that `t` needs by its shape and dtype into *out; 0 when that does not fit, or when
 * its rows are no whole blocks. */
int loam_tensor_bytes(const loam_tensor *t, uint64_t *out);

#endif
