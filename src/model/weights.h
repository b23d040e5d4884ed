/* weights.h - the weights of a model folder, bound to what layers multiply with.
 *
 *     loam_weights *w;
 *     loam_weight q;      const float *norm;
 *     st = loam_weights_open(&w, folder, &config, err);
 *     st = loam_weights_bind(w, "model.layers.0.self_attn.q_proj", rows, cols, LOAM_BIAS_OPTIONAL, &q, err);
 *     st = loam_weights_vector(w, "model.norm.weight", dim, 0.0f, &norm, err);
 *     loam_weights_close(w);
 *
 * Matrices stay in the mapped file as they are (but for MLX's fp modes); opening touches headers only.
 * Vectors (norms, biases) become f32 in memory that lives as long as this does.
 * Every shape is compared with what the config asks for, so whoever binds may
 * multiply.  Not thread-safe while binding, read-only afterwards.
 */
#ifndef LOAM_SRC_WEIGHTS_H
#define LOAM_SRC_WEIGHTS_H

#include "model/config.h"
#include "ops/ops.h"

typedef struct loam_weights loam_weights;

/* Map the weights of `folder`; `config` gives `quantization` and must stay open until close.
 * Errors: those of loam_arrays_open_folder; FORMAT, UNSUPPORTED (foreign quantisation). */
loam_status loam_weights_open(loam_weights **out, const char *folder, const loam_config *config,
                              loam_err *err);
void loam_weights_close(loam_weights *w); /* NULL is allowed */

typedef enum loam_bias {
    LOAM_BIAS_NONE,     /* PATH.bias is not looked for */
    LOAM_BIAS_OPTIONAL, /* taken when it is there */
    LOAM_BIAS_REQUIRED
} loam_bias;

/* The matrix PATH.weight [rows, cols], quantised when PATH.scales exists: parameters from
 * the override that `quantization` has under PATH, else from the shapes.  mxfp4, mxfp8 and
 * nvfp4 come as bf16, expanded in memory of w.
 * Errors: FORMAT (missing, wrong shape or type; the message names the tensor), UNSUPPORTED
 * (an unknown mode; integer matrices), MEMORY. */
loam_status loam_weights_bind(loam_weights *w, const char *path, size_t rows, size_t cols,
                              loam_bias bias, loam_weight *out, loam_err *err);
/* The vector NAME of `n` values as f32, `add` added to each. */
loam_status loam_weights_vector(loam_weights *w, const char *name, size_t n, float add,
                                const float **out, loam_err *err);
/* The same, but *out is NULL when there is none. */
loam_status loam_weights_vector_optional(loam_weights *w, const char *name, size_t n, float add,
                                         const float **out, loam_err *err);
/* The tensor NAME as it is, counted as used; NULL: none. */
const loam_tensor *loam_weights_find(loam_weights *w, const char *name);

/* Rows first .. first + rows - 1 of `w` as a weight of their own (q of a fused qkv). */
loam_weight loam_weight_slice(const loam_weight *w, size_t first, size_t rows);

/* The first tensor whose name starts with `prefix` and that nobody has bound; NULL: all are.
 * Precomputed rotary tables and attention masks that old exporters left are not counted. */
const char *loam_weights_unused(const loam_weights *w, const char *prefix);

/* The set itself, to walk over (fingerprints). */
const loam_arrays *loam_weights_arrays(const loam_weights *w);
uint64_t loam_weights_n_params(const loam_weights *w); /* of what was bound, unpacked */
uint64_t loam_weights_bytes(const loam_weights *w);    /* of the files */
/* Of `quantization`; 0 when the folder is not quantised. */
void loam_weights_quantization(const loam_weights *w, int *bits, int *group_size);

#endif
