/* encoder.h - BERT-type encoders: token ids in, hidden states or one score out.
 *
 *     loam_encoder *m;
 *     if (loam_encoder_open(&m, folder, pool, LOAM_EXACT, &err)) ...
 *     loam_sequences s = {.ids = ids, .starts = starts, .n = n};
 *     loam_encoder_run(m, &s, LOAM_ROWS_ALL, each, ctx, NULL, &err);
 *     loam_encoder_close(m);
 *
 * Sequences are packed: no padding exists, so the work is what the tokens need and a
 * text's result does not depend on its neighbours.  The weights are immutable, the
 * scratch is not: one call at a time per encoder.
 */
#ifndef LOAM_MODEL_ENCODER_H
#define LOAM_MODEL_ENCODER_H

#include "base/base.h"
#include <loam/engine.h>
#include <loam/tensor.h>

typedef struct loam_encoder loam_encoder;

typedef struct loam_encoder_info {
    size_t n_layers, dim, n_heads, inter, vocab;
    size_t n_positions; /* longest sequence there are position rows for */
    size_t n_types;
    int activation; /* loam_activation of ops.h */
    float eps;      /* of the norms */
    int has_head;   /* a sequence classifier with one output */
} loam_encoder_info;

/* Read config.json and map the weights; every shape is checked against the config.
 * Accepts Hugging Face names (with or without "bert.", "roberta.") and those of the
 * reference lab's npz; f32, f16, bf16 and MLX affine weights.
 * Errors: NOT_FOUND, FORMAT, UNSUPPORTED, MEMORY, IO. */
loam_status loam_encoder_open(loam_encoder **out, const char *folder, loam_pool *pool,
                              loam_precision precision, loam_err *err);
void loam_encoder_close(loam_encoder *m); /* NULL is allowed */
const loam_encoder_info *loam_encoder_get_info(const loam_encoder *m);
const loam_arrays *
loam_encoder_arrays(const loam_encoder *m); /* the mapped weights (fingerprints) */

/* n sequences one after another: sequence s is ids[starts[s] .. starts[s + 1]), at
 * least one id; types (segment ids) may be NULL for all 0. */
typedef struct loam_sequences {
    const int32_t *ids, *types;
    const size_t *starts; /* [n + 1] */
    size_t n;
} loam_sequences;

typedef enum loam_rows {
    LOAM_ROWS_ALL,  /* hidden states of every token */
    LOAM_ROWS_FIRST /* only of each first token: the last layer does less */
} loam_rows;

/* Called once a sequence, not in order, from any worker but one at a time: rows is
 * [n_rows, dim], valid during the call. */
typedef void (*loam_encoder_each)(void *ctx, size_t sequence, const float *rows, size_t n_rows);

/* Batches are made by length and token count.  Errors: FORMAT (an id or type outside
 * the tables; NaN or infinity in the result), LIMIT (longer than n_positions), MEMORY, CANCELLED. */
loam_status loam_encoder_run(loam_encoder *m, const loam_sequences *s, loam_rows rows,
                             loam_encoder_each each, void *ctx, const loam_cancel *cancel,
                             loam_err *err);

/* The classifier's logit of each sequence: logits [n].  Needs has_head. */
loam_status loam_encoder_score(loam_encoder *m, const loam_sequences *s, float *logits,
                               const loam_cancel *cancel, loam_err *err);

#endif
