/* engine.h - language models: open a folder, feed ids, generate.
 *
 *     loam_model *m;      loam_session *s;
 *     if (loam_model_open(&m, folder, &(loam_model_options){.pool = pool}, &err)) die(err.msg);
 *     if (loam_session_new(&s, m, 4096, &err)) ...
 *     loam_generate(s, ids, n, &options, on_token, ctx, &result, &err);
 *     loam_session_free(s);   loam_model_close(m);
 *
 * A model is immutable and shared by any number of sessions.  A session is one
 * timeline (KV cache, position, sampler state, scratch): one thread at a time.
 */
#ifndef LOAM_ENGINE_H
#define LOAM_ENGINE_H

#include <loam/base.h>

typedef enum loam_precision {
    LOAM_FAST,  /* language models: activations int8 per group for quantised weights, KV f16;
                 * encoders: weights and activations as integers of 12 bits */
    LOAM_EXACT, /* f32 activations, weights dequantised in f32; KV f32 */
    LOAM_PRECISION_DEFAULT /* fast for language models, exact for encoders */
} loam_precision;

/* How sessions hold keys and values.  LOAM_EXACT goes with f32 only. */
typedef enum loam_kv_type {
    LOAM_KV_DEFAULT, /* f16 in LOAM_FAST, f32 in LOAM_EXACT */
    LOAM_KV_F16,
    LOAM_KV_F32,
    LOAM_KV_INT8 /* int8 with a scale for every 16: 56 % of f16's memory, and less precise */
} loam_kv_type;

typedef struct loam_model loam_model;
typedef struct loam_model_options {
    loam_pool *pool; /* borrowed for the model's life; must not be NULL */
    loam_precision precision;
    loam_kv_type kv;
} loam_model_options;

typedef struct loam_model_info {
    char model_type[48]; /* "llama", "qwen2", ... */
    size_t n_layers, dim, n_heads, n_kv_heads, head_dim, vocab, n_ctx_max;
    uint64_t n_params, weight_bytes;
    int bits, group_size; /* 0 when not quantised */
    uint64_t
        layer_params; /* without embedding and head: multiplications that reading a token takes */
    uint64_t token_bytes; /* of the weights that writing a token reads */
    uint64_t kv_bytes;    /* of keys and values that a position takes in a session */
} loam_model_info;

/* Read config.json and map the weights: shapes are checked against the config
 * before anything is multiplied.  A folder without a tokenizer is fine.
 * Errors: NOT_FOUND, FORMAT, UNSUPPORTED (model_type: the message lists those
 * there are; or a custom model_file), ARGUMENT (exact with another kv than f32), MEMORY, LIMIT. */
LOAM_API loam_status loam_model_open(loam_model **out, const char *folder,
                                     const loam_model_options *o, loam_err *err);
LOAM_API void loam_model_close(loam_model *m);
LOAM_API void loam_model_get_info(const loam_model *m, loam_model_info *out);
/* Ids that end an answer: generation_config.json's eos, else config.json's. */
LOAM_API size_t loam_model_eos(const loam_model *m, const int32_t **ids);
LOAM_API loam_precision loam_model_precision(const loam_model *m);
LOAM_API loam_kv_type loam_model_kv(const loam_model *m); /* never LOAM_KV_DEFAULT */
/* Which model this is, wherever its folder stands: 64 hex digits of a SHA-256 over config.json
 * and samples of every array.  Errors: IO, NOT_FOUND (config.json is gone), MEMORY. */
LOAM_API loam_status loam_model_fingerprint(const loam_model *m, char out[65], loam_err *err);

typedef struct loam_session loam_session;
/* Room for `n_ctx` positions (0: the model's maximum, at most 4096).  All memory
 * that later steps need is taken here.  Errors: MEMORY, LIMIT. */
LOAM_API loam_status loam_session_new(loam_session **out, const loam_model *m, size_t n_ctx,
                                      loam_err *err);
LOAM_API void loam_session_free(loam_session *s);
LOAM_API void loam_session_reset(loam_session *s);              /* position 0 */
LOAM_API void loam_session_truncate(loam_session *s, size_t n); /* forget all from position n on */
LOAM_API size_t loam_session_position(const loam_session *s);
LOAM_API size_t loam_session_n_ctx(const loam_session *s);
/* The ids that stand at positions 0 .. position - 1. */
LOAM_API const int32_t *loam_session_ids(const loam_session *s);
/* Of what was read, keep what `ids` begins with and forget the rest: returns how many of the
 * n ids need not be fed.  Less than n, unless the logits behind the last are at hand. */
LOAM_API size_t loam_session_keep_prefix(loam_session *s, const int32_t *ids, size_t n);

/* Read `n` >= 1 ids.  The logits of the last position stay in the session until
 * the next call.  Errors: ARGUMENT (an id outside the vocabulary), LIMIT ("prompt
 * of N tokens is longer than the context of M"), CANCELLED (position unchanged). */
LOAM_API loam_status loam_session_feed(loam_session *s, const int32_t *ids, size_t n,
                                       const loam_cancel *cancel, loam_err *err);
LOAM_API const float *
loam_session_logits(const loam_session *s); /* [vocab]; NULL before the first feed */
/* As feed, and call `each` with the logits of every one of the n positions (perplexity). */
LOAM_API loam_status loam_session_feed_all(loam_session *s, const int32_t *ids, size_t n,
                                           void (*each)(void *ctx, size_t i, const float *logits),
                                           void *ctx, loam_err *err);

/* A session's first n positions in a file, so that a later run need not read the same ids again.
 * It fits sessions of the same model, precision, kv and kind of processor only.  It holds the
 * ids: readable by its owner alone.  Appears whole or not at all; not synced to the disk.
 * Errors: ARGUMENT (n of 0 or above the position), IO, NO_SPACE, MEMORY. */
LOAM_API loam_status loam_session_save(loam_session *s, size_t n, const char *path, loam_err *err);
/* Forget everything, then take from the file as many positions as `ids` agrees with, at most
 * n_ctx: *n_kept of them, 0 when the first id differs.  The session is then as if it had been
 * fed these, to the bit.  Nothing in the file is trusted: sizes and hash must be right, and
 * the last position is computed again and must come out the same.
 * On failure the session is empty.  Errors: FORMAT (cut short, damaged, something else),
 * UNSUPPORTED (of another model, precision, kv, processor or version), IO, NOT_FOUND, MEMORY. */
LOAM_API loam_status loam_session_load(loam_session *s, const char *path, const int32_t *ids,
                                       size_t n, size_t *n_kept, loam_err *err);
/* How many positions it would be: reads the beginning of the file only, changes nothing. */
LOAM_API loam_status loam_session_peek(loam_session *s, const char *path, const int32_t *ids,
                                       size_t n, size_t *n_common, loam_err *err);

/* Sampling, in mlx-lm's order: logits processors (repetition penalty over the last
 * `repetition_window` ids), then temperature 0: argmax, ties to the lowest id; else
 * top_p, min_p, top_k over temperature-1 probabilities, then categorical(logprobs / temp). */
typedef struct loam_sampling {
    float temperature;          /* 0: greedy */
    float top_p;                /* 0 or 1: off */
    float min_p;                /* 0: off */
    uint32_t top_k;             /* 0: off */
    float repetition_penalty;   /* 0 or 1: off */
    uint32_t repetition_window; /* 0: 20 */
    uint64_t seed;
} loam_sampling;

typedef struct loam_logprob {
    int32_t id;
    float logprob;
} loam_logprob;

typedef struct loam_step {
    int32_t id;
    const loam_logprob
        *top; /* [n_top] most likely first, ties by lower id, of this step's distribution */
    size_t n_top;
} loam_step;

typedef struct loam_generate_options {
    size_t max_tokens;
    int ignore_eos;
    loam_sampling sampling;
    size_t n_logprobs; /* how many of the most likely to report a step; 0: none */
    const loam_cancel *cancel;
    int reuse_prefix;   /* the prompt stands at position 0; what the session holds of it is kept */
    int no_speculation; /* read every id in a pass of its own */
} loam_generate_options;

typedef enum loam_stop {
    LOAM_STOP_LENGTH, /* max_tokens */
    LOAM_STOP_EOS,
    LOAM_STOP_CALLER, /* the callback said so */
    LOAM_STOP_CONTEXT /* no room left */
} loam_stop;

typedef struct loam_generate_result {
    size_t n_prompt, n_tokens;
    loam_stop stop;
    double prefill_seconds, first_token_seconds,
        decode_seconds;           /* decode: tokens after the first */
    size_t n_reused;              /* ids of the prompt that were not read again */
    size_t n_passes;              /* through the model, after the prompt's */
    size_t n_drafted, n_accepted; /* ids guessed by prompt lookup; those that came true */
} loam_generate_result;

/* Feed the prompt, then sample until a stop.  An eos id ends the answer and is not
 * reported.  `on_step` (may be NULL) returns non-zero to stop; it may look at the session's
 * logits and must not otherwise use it.
 * Unless told not to, it guesses ids that repeat what prompt and answer hold, and reads several
 * in one pass.  Each is still chosen from its own logits, which are the same bits however the
 * ids are cut into passes: ids, logprobs, draws and the session at the end do not change.  How
 * many are guessed at once is weighed by the time that the session's passes took so far, so
 * the counts of passes and drafts may differ from run to run. */
LOAM_API loam_status loam_generate(loam_session *s, const int32_t *prompt, size_t n,
                                   const loam_generate_options *o,
                                   int (*on_step)(void *ctx, const loam_step *step), void *ctx,
                                   loam_generate_result *result, loam_err *err);

/* Stop strings on streamed text: what could be the start of one is held back until it is
 * certain.  One object per answer. */
typedef struct loam_stops loam_stops;
/* `stops`: n strings, copied; n may be 0.  Errors: ARGUMENT (an empty one), MEMORY. */
LOAM_API loam_status loam_stops_new(loam_stops **out, const char *const *stops, size_t n,
                                    loam_err *err);
LOAM_API void loam_stops_free(loam_stops *s); /* NULL is allowed */
/* Append to `out` the text that may be shown.  1: a stop string is complete; what stands before
 * it has been appended, it and all later text is dropped.  `out->failed` tells of lost memory. */
LOAM_API int loam_stops_push(loam_stops *s, const char *text, size_t n, loam_buf *out);
LOAM_API void loam_stops_flush(loam_stops *s, loam_buf *out); /* at the end: what was held back */

#endif
