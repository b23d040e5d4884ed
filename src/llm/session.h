/* session.h - what a session holds, for the parts of src/llm. */
#ifndef LOAM_SRC_SESSION_H
#define LOAM_SRC_SESSION_H

#include "model/decoder.h"
#include <loam/engine.h>

enum { LOAM_MAX_EOS = 64 };

struct loam_model {
    loam_decoder *decoder;
    loam_pool *pool;
    loam_precision precision;
    int32_t eos[LOAM_MAX_EOS];
    size_t n_eos;
};

struct loam_session {
    const loam_model *model;
    loam_timeline *timeline;
    size_t vocab;
    float *logits; /* [vocab] of the last position, untouched by sampling */
    int has_logits;
    float *logprobs;   /* [vocab] sampling scratch */
    float *sort;       /* [vocab] sampling scratch */
    float *all_logits; /* feed_all: a few rows of [vocab]; NULL before */
};

#endif
