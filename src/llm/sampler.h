/* sampler.h - from logits to the next id, in mlx-lm's order.
 *
 *     logits -> repetition penalty -> log softmax -> greedy
 *                                                 -> top-p -> min-p -> top-k -> draw at temperature
 *
 * All filters look at temperature-1 probabilities; what they drop becomes -inf.
 * Every function works on caller's memory and allocates nothing.
 */
#ifndef LOAM_SRC_SAMPLER_H
#define LOAM_SRC_SAMPLER_H

#include "base/base.h"
#include <loam/engine.h>

/* Once per distinct id of `ids`: l < 0 ? l * penalty : l / penalty.  Ids are < n. */
void loam_sample_penalise(float *logits, const int32_t *ids, size_t n_ids, float penalty);

/* logprobs = logits - log(sum(exp(logits))); in place is allowed.  Returns the log sum. */
double loam_sample_log_softmax(const float *logits, size_t n, float *logprobs);

/* An id is dropped when the mass above it reaches top_p of the whole; the rest is decided by
 * value, so ties at the edge stay.  scratch [n]. */
void loam_sample_top_p(float *logprobs, size_t n, float top_p, float *scratch);
/* Dropped below log(min_p) + the largest. */
void loam_sample_min_p(float *logprobs, size_t n, float min_p);
/* The k most likely stay, of equal ones the lower ids.  scratch [n]. */
void loam_sample_top_k(float *logprobs, size_t n, size_t k, float *scratch);

/* Index of the largest, ties to the lowest. */
size_t loam_sample_argmax(const float *x, size_t n);
/* Draw from softmax(logprobs / temperature) with u in [0, 1). */
size_t loam_sample_draw(const float *logprobs, size_t n, float temperature, double u);

/* The `k` <= n largest with their values, largest first, ties by lower id. */
void loam_sample_top(const float *logprobs, size_t n, size_t k, loam_logprob *out);

#endif
