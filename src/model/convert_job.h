/* convert_job.h - what a conversion is made of, between the files convert*.c.
 *
 *     source --plan--> items (one per tensor or triple) + small files --run--> folder
 *
 * A planner (convert_gguf.c, convert_folder.c) looks at names, shapes and
 * settings only; convert_run.c moves the weights, rows cut over the threads, and
 * knows no model.
 */
#ifndef LOAM_MODEL_CONVERT_JOB_H
#define LOAM_MODEL_CONVERT_JOB_H

#include "base/base.h"
#include "kernels/quantize.h"
#include "model/pyjson.h"

#include <loam/convert.h>

typedef enum convert_action {
    CONVERT_COPY,     /* bytes as they are */
    CONVERT_CAST,     /* any source to a float type, through f32 */
    CONVERT_QUANTIZE, /* any source, through f32, to packed values and scales */
    CONVERT_BLOCKS    /* GGUF blocks rewritten as an affine triple, no value changed */
} convert_action;

typedef struct convert_quant {
    loam_quant_mode mode;
    int bits, group;
} convert_quant;

typedef struct convert_item {
    char *name; /* full name; of triples the module's path, without ".weight" */
    const loam_tensor *src;
    const loam_tensor *src_scales, *src_biases; /* the source is an MLX triple */
    convert_quant src_quant;
    convert_action action;
    loam_dtype dtype;    /* of the values, or of scales and biases */
    convert_quant quant; /* CONVERT_QUANTIZE and CONVERT_BLOCKS */
    int round_first;     /* weights take `dtype` before they are quantised, as in mlx-lm */
    size_t heads;        /* llama's q and k: rows stand pairwise interleaved; 0: they do not */
    uint64_t rows, cols; /* of the values */
    size_t i_out;        /* number of the first output tensor */
} convert_item;

typedef struct convert_file {
    char name[64];
    loam_buf bytes;
} convert_file;

enum { CONVERT_MAX_FILES = 8 };

typedef struct convert_job {
    const char *src; /* as the user gave it */
    const loam_convert_options *options;
    loam_arrays *arrays;
    int from_folder; /* its small files are copied */
    convert_item *items;
    size_t n_items, cap_items;
    convert_file files[CONVERT_MAX_FILES];
    size_t n_files;
    int has_dtype; /* a target type for floats is known: */
    loam_dtype dtype;
    int quantize; /* to `quant` */
    convert_quant quant;
} convert_job;

void loam_convert_job_deinit(convert_job *job);

/* A new item, zeroed but for name, source, rows and cols; NULL: out of memory. */
convert_item *loam_convert_add_item(convert_job *job, const char *name, const loam_tensor *src);
/* Takes the buffer (also on failure). */
loam_status loam_convert_add_file(convert_job *job, const char *name, loam_buf *bytes,
                                  loam_err *err);
/* What --bits or --recipe say of a module; 0: it stays a plain tensor. */
int loam_convert_pick_quant(const convert_job *job, const char *path, const loam_tensor *t,
                            size_t n_layers, convert_quant *out);
/* "quantization" and "quantization_config" of the items, when any is a triple: the
 * commonest setting (or `global`) first, then every module that differs (or, with
 * `all`, every module). */
void loam_convert_put_quantization(loam_pyjson *w, const char *key, const convert_job *job,
                                   const convert_quant *global, int all);

/* The planners. */
loam_status loam_convert_plan_gguf(convert_job *job, loam_err *err);
loam_status loam_convert_plan_folder(convert_job *job, loam_err *err);
loam_status loam_convert_plan_tokenizer(convert_job *job, int64_t context, loam_err *err);

/* Write weights, index, planned files and copied files into the existing `folder`. */
loam_status loam_convert_run(convert_job *job, const char *folder,
                             void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,
                             loam_err *err);

/* GGUF block types that an affine triple of group 32 holds; 0: none. */
int loam_convert_block_bits(loam_dtype d);
/* `n` source values (a multiple of the block) as packed values, scales, biases (f32). */
void loam_convert_blocks(loam_dtype d, const unsigned char *src, size_t n, unsigned char *packed,
                         float *scales, float *biases);
size_t loam_convert_block_bytes(loam_dtype d, size_t n); /* bytes of n values */

static inline int loam_convert_is_float(loam_dtype d) {
    return d == LOAM_F32 || d == LOAM_F16 || d == LOAM_BF16 || d == LOAM_F64;
}
static inline loam_float loam_convert_float(loam_dtype d) {
    return d == LOAM_F16 ? LOAM_FLOAT_F16 : d == LOAM_BF16 ? LOAM_FLOAT_BF16 : LOAM_FLOAT_F32;
}

#endif
