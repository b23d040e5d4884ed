/* session.h - what a session holds, for the parts of src/llm. */
#ifndef LOAM_SRC_SESSION_H
#define LOAM_SRC_SESSION_H

#include "llm/pass_cost.h"
#include "model/decoder.h"
#include <loam/engine.h>

enum { LOAM_MAX_EOS = 64, LOAM_LOGIT_ROWS = LOAM_MAX_PASS };

struct loam_model {
    loam_decoder *decoder;
    loam_pool *pool;
    loam_precision precision;
    loam_kv_type kv;
    int32_t eos[LOAM_MAX_EOS];
    size_t n_eos;
};

struct loam_session {
    const loam_model *model;
    loam_timeline *timeline;
    size_t vocab;
    int32_t *ids;             /* [n_ctx]; those at 0 .. position - 1 are what was read */
    const float *logits;      /* [vocab] of the last position, in one of the next two; NULL: none */
    float *last_logits;       /* [vocab] */
    float *all_logits;        /* [LOAM_LOGIT_ROWS, vocab] of several positions; NULL before */
    float *logprobs;          /* [vocab] sampling scratch */
    float *sort;              /* [vocab] sampling scratch */
    loam_pass_cost pass_cost; /* as passes of answers were timed so far */
    char fingerprint[65];     /* of the model, once a file was asked for; "" before */
};

/* Take the memory of all_logits, once. */
loam_status loam_session_make_rows(loam_session *s, loam_err *err);
/* Read 1 <= n <= LOAM_LOGIT_ROWS ids; the logits of each stay in all_logits, and those of the
 * last are the session's. */
loam_status loam_session_feed_rows(loam_session *s, const int32_t *ids, size_t n,
                                   const loam_cancel *cancel, loam_err *err);
/* Back to position n, of which `row` of all_logits holds the logits. */
void loam_session_settle(loam_session *s, size_t n, size_t row);

#endif
