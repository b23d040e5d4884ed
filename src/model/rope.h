/* rope.h - rotary position embedding: what a config asks for, as frequencies and tables.
 *
 *     loam_rotary r;
 *     st = loam_rotary_read(&r, &config, object, &request, err);
 *     loam_rotary_fill(&r, 0, n, table);                table [n, r.n_rot / 2, 2]
 *
 * Every kind of scaling ends in one frequency per pair and one factor on the rotated
 * values, so the forward pass knows tables only.
 */
#ifndef LOAM_SRC_ROPE_H
#define LOAM_SRC_ROPE_H

#include "kernels/kernels.h"
#include "model/config.h"

typedef struct loam_rotary {
    size_t n_rot;                          /* rotated values of a head, even */
    float position_scale;                  /* "linear": 1 / factor */
    float scale;                           /* on the rotated values (yarn, longrope); 1 otherwise */
    float inv_freq[LOAM_HEAD_DIM_MAX / 2]; /* [n_rot / 2] radians a position */
} loam_rotary;

typedef struct loam_rotary_request {
    size_t head_dim;
    double partial;        /* part of the head that is rotated when the config does not say */
    double theta;          /* base when the config does not say; NAN: it must */
    const char *theta_key; /* "rope_theta" */
    const char
        *layer_type; /* "full_attention": that member of rope_parameters where it is nested */
    int unscaled;    /* base only: gemma3's local layers */
    size_t n_ctx_max;
} loam_rotary_request;

/* Reads rope_theta + rope_scaling, or rope_parameters (transformers 5), of `object`.
 * Errors: FORMAT, UNSUPPORTED (dynamic NTK and unknown kinds). */
loam_status loam_rotary_read(loam_rotary *out, const loam_config *c, const loam_json_value *object,
                             const loam_rotary_request *request, loam_err *err);

/* cos and sin, times the scale, of positions first .. first + n - 1: table [n, n_rot / 2, 2]. */
void loam_rotary_fill(const loam_rotary *r, size_t first, size_t n, float *table);

#endif
