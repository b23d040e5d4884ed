/* encoder_state.h - the inside of loam_encoder, shared by its two files. */
#ifndef LOAM_MODEL_ENCODER_STATE_H
#define LOAM_MODEL_ENCODER_STATE_H

#include "model/config.h"
#include "model/encoder.h"
#include "model/weights.h"
#include "ops/ops.h"

typedef struct encoder_norm {
    const float *weight, *bias; /* [dim] */
} encoder_norm;

typedef struct encoder_layer {
    loam_weight q, k, v, o;        /* [dim, dim] */
    encoder_norm norm1;            /* after attention */
    loam_weight up, down;          /* [inter, dim], [dim, inter] */
    encoder_norm norm2;            /* after the feed-forward part */
    loam_stack qkv, out, in, back; /* of the same, as they are multiplied */
} encoder_layer;

/* The activations of one group of sequences, for `room` tokens: grown when a longer one comes,
 * then kept. */
typedef struct encoder_lane {
    loam_compute compute; /* without a pool, for who works alone */
    size_t room;
    float *x, *qkv, *context, *mid, *sum;
    loam_wide_room wide;
    size_t *starts, cap_starts; /* of the group */
} encoder_lane;

typedef struct encoder_group {
    size_t first, n; /* of `order` */
} encoder_group;

struct loam_encoder {
    loam_encoder_info info;
    size_t position_offset; /* row of the first token's position (RoBERTa: pad id + 1) */
    int ignore_types;       /* every token is of type 0 whatever the tokenizer says */

    loam_config config;
    loam_weights *weights;
    loam_weight word, position, type; /* [vocab | positions | types, dim] */
    encoder_norm norm;
    encoder_layer *layers;
    loam_weight head_dense, head_out; /* [dim, dim] then tanh, [1, dim] */

    loam_compute compute; /* of the whole pool */
    encoder_lane *lanes;  /* a worker's each */
    size_t n_lanes;
    size_t *order, cap_order;
    encoder_group *groups;
    size_t n_groups, cap_groups;
    size_t n_seen; /* tokens since the opening, until the panels are made */
    int packed;
};

#endif
