/* decoder.h - the one forward pass of all decoder families.
 *
 *     loam_decoder *d;      loam_timeline *t;
 *     st = loam_decoder_open(&d, folder, err);
 *     st = loam_timeline_new(&t, d, pool, LOAM_FAST, LOAM_KV_F16, 4096, err);
 *     st = loam_timeline_feed(t, ids, n, NULL, err);
 *     loam_timeline_logits_of(t, two_ids, 2, scores);        a reranker needs two
 *     loam_timeline_truncate(t, n_prefix);                   next candidate, same prefix
 *     loam_timeline_free(t);    loam_decoder_close(d);
 *
 * A decoder is immutable: weights bound once, shared by all timelines.  A timeline
 * is what one sequence needs (KV cache, position, scratch), used by one thread at a
 * time; all its memory is taken when it is made.
 */
#ifndef LOAM_SRC_DECODER_H
#define LOAM_SRC_DECODER_H

#include "model/families.h"
#include "model/weights.h"

typedef struct loam_norm {
    const float *weight, *bias; /* [n]; weight NULL: no norm here; bias NULL: none */
} loam_norm;

typedef struct loam_layer {
    loam_norm attn_in, attn_out, ffn_in, ffn_out;
    const float *q_norm, *k_norm;
    loam_weight q, k, v, o;     /* q, k, v of a fused matrix are slices of it */
    loam_weight gate, up, down; /* gate.data NULL: not gated */
} loam_layer;

typedef struct loam_decoder {
    loam_decoder_config config;
    loam_weights *weights;
    loam_config file;        /* config.json, open as long as the weights */
    loam_weight embed, head; /* tied: the same matrix */
    loam_norm final_norm;
    loam_layer *layers;             /* [n_layers] */
    struct loam_outliers *outliers; /* of the layers' weights, see outliers.h */
    char *folder;
} loam_decoder;

/* Read config.json, map the weights and bind them; no page of a matrix is touched.
 * Errors: NOT_FOUND, FORMAT, UNSUPPORTED, MEMORY, IO, LIMIT. */
loam_status loam_decoder_open(loam_decoder **out, const char *folder, loam_err *err);
void loam_decoder_close(loam_decoder *d); /* NULL is allowed */

typedef struct loam_timeline loam_timeline;

/* Room for `n_ctx` >= 1 positions.  Errors: LIMIT (more than the machine's memory), MEMORY. */
loam_status loam_timeline_new(loam_timeline **out, const loam_decoder *d, loam_pool *pool,
                              loam_precision precision, loam_kv_type kv, size_t n_ctx,
                              loam_err *err);
/* The same in LOAM_FAST, before outliers are known: they learn from what is fed. */
loam_status loam_timeline_new_observed(loam_timeline **out, const loam_decoder *d, loam_pool *pool,
                                       size_t n_ctx, struct loam_outliers *o, loam_err *err);
void loam_timeline_free(loam_timeline *t); /* NULL is allowed */
size_t loam_timeline_position(const loam_timeline *t);
size_t loam_timeline_n_ctx(const loam_timeline *t);
size_t loam_timeline_chunk(const loam_timeline *t); /* positions of one forward call */
/* Forget positions n and later; n >= position is a no-op. */
void loam_timeline_truncate(loam_timeline *t, size_t n);

/* Keys and values as bytes, to keep them elsewhere and to put them back into a timeline of the
 * same decoder, precision and type of keys and values:
 *
 *     for each layer: loam_timeline_kv_get(t, layer, 0, n, bytes)
 *     loam_timeline_truncate(u, 0), for each layer: kv_put(u, layer, n, n, bytes),
 *     loam_timeline_restore(u, n)
 *
 * A layer's bytes are [2 (k, v), n_kv_heads, n] rows. */
typedef struct loam_kv_shape {
    size_t n_layers, n_kv_heads, head_dim;
    loam_kv_type type;
    size_t row_bytes; /* of a head's keys or values at one position */
} loam_kv_shape;
/* What `type` means with a precision; never LOAM_KV_DEFAULT. */
loam_kv_type loam_kv_type_of(loam_precision precision, loam_kv_type type);
size_t loam_kv_type_row_bytes(loam_kv_type type, size_t head_dim);
loam_kv_shape loam_timeline_kv_shape(const loam_timeline *t);
void loam_timeline_kv_get(const loam_timeline *t, size_t layer, size_t first, size_t n, void *out);
/* The first n of n_in positions; asserts position 0. */
void loam_timeline_kv_put(loam_timeline *t, size_t layer, size_t n, size_t n_in, const void *in);
void loam_timeline_restore(loam_timeline *t, size_t n); /* position n, without hidden state */

/* Read n >= 1 ids.  On failure the position is what it was.  Errors: ARGUMENT (id outside
 * the vocabulary), LIMIT (no room), CANCELLED, FORMAT (a layer gave NaN or infinity). */
loam_status loam_timeline_feed(loam_timeline *t, const int32_t *ids, size_t n,
                               const loam_cancel *cancel, loam_err *err);
/* The same; then the final hidden states of all n positions go through `each` in order, as
 * rows of [m, dim] after the final norm, with the position of the first in this call. */
loam_status loam_timeline_feed_each(loam_timeline *t, const int32_t *ids, size_t n,
                                    void (*each)(void *ctx, size_t first, size_t m,
                                                 const float *hidden),
                                    void *ctx, const loam_cancel *cancel, loam_err *err);

/* Of the last position fed (asserts that there is one): */
const float *loam_timeline_hidden(const loam_timeline *t);  /* [dim] after the final norm */
void loam_timeline_logits(loam_timeline *t, float *logits); /* [vocab] */
void loam_timeline_logits_of(loam_timeline *t, const int32_t *ids, size_t n,
                             float *logits); /* [n] */
/* Logits [m, vocab] of hidden states [m, dim], m <= LOAM_FEED_CHUNK. */
void loam_timeline_head(loam_timeline *t, const float *hidden, size_t m, float *logits);

enum { LOAM_FEED_CHUNK = 256 }; /* positions of one forward call: scratch is made for so many */

#endif
