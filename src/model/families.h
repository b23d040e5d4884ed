/* families.h - decoder families: a row of flags and a map of names each.
 *
 * A family is data.  The forward pass (decoder.c) asks which norms, biases and
 * scales there are, never which family it runs.  A new family is a row in
 * families.c, a name map where its tensors are called differently, and a golden.
 */
#ifndef LOAM_SRC_FAMILIES_H
#define LOAM_SRC_FAMILIES_H

#include "model/rope.h"
#include "ops/ops.h"

/* Names below a layer ("model.layers.3.") or, the first group, below "model.". NULL: no such part. */
typedef struct loam_names {
    const char *embed, *final_norm, *layers;
    const char *head;                       /* from the root: "lm_head" */
    const char *q, *k, *v, *qkv, *o;        /* qkv: the three fused, rows in this order */
    const char *gate, *up, *gate_up, *down; /* neither gate nor gate_up: down(act(up(x))) */
    const char *attn_in, *attn_out;         /* norms before attention and on its output */
    const char *ffn_in, *ffn_out;           /* the same of the feed-forward half */
    const char *q_norm, *k_norm;
} loam_names;

typedef enum loam_qk_norm {
    LOAM_QK_NORM_NONE,
    LOAM_QK_NORM_HEAD, /* over each head */
    LOAM_QK_NORM_ALL   /* over all heads together */
} loam_qk_norm;

typedef enum loam_embed_scale {
    LOAM_EMBED_PLAIN,
    LOAM_EMBED_SQRT_DIM,
    LOAM_EMBED_SQRT_DIM_BF16, /* the root rounded to bf16, as gemma 3 was trained */
    LOAM_EMBED_MULTIPLIER     /* config: embedding_multiplier */
} loam_embed_scale;

typedef enum loam_window_rule {
    LOAM_WINDOW_NONE,
    LOAM_WINDOW_LAYER_TYPES, /* layer_types[i] == "sliding_attention" and sliding_window */
    LOAM_WINDOW_PATTERN /* all but each sliding_window_pattern-th; these have their own rope base */
} loam_window_rule;

/* A bias set: NULL: none; "": always; else the config key that says. */
typedef const char *loam_bias_key;

#define LOAM_REQUIRED (-1.0)

/* Zero everywhere is a pre-norm RMSNorm decoder with SwiGLU and full rotary attention. */
typedef struct loam_family {
    const char *model_type;
    const loam_names *names;
    int layer_norm;           /* LayerNorm with bias instead of RMSNorm */
    float norm_add;           /* 1 where the file holds w and the norm multiplies by 1 + w */
    int parallel;             /* x += attn(n) + ffn(n), n = attn_in(x) */
    const char *parallel_key; /* config flag for the same */
    loam_qk_norm qk_norm;
    loam_activation activation;
    loam_bias_key qkv_bias, o_bias, ffn_bias;
    int head_bias;
    int head_by_tensor;  /* a head in the file counts even when tie_word_embeddings is true */
    const char *eps_key; /* NULL: rms_norm_eps */
    double eps;          /* default; 0: the config must say */
    double theta;        /* default rope base; 0: 10000 */
    double partial;      /* default part of a head that is rotated; 0: all */
    size_t n_ctx_max;    /* default of max_position_embeddings; 0: 2048 */
    int own_head_dim;    /* config key head_dim counts; else hidden_size / heads */
    loam_window_rule window;
    loam_embed_scale embed_scale;
    double query_scalar; /* > 0: attention scale is query_pre_attn_scalar ^ -1/2, this by default */
    double attn_softcap,
        final_softcap;        /* defaults of *_logit_softcapping; 0: the family has none */
    int multipliers;          /* attention_multiplier, residual_multiplier, logits_scaling */
    int no_rope_layers;       /* smollm3: some layers have no positions */
    const char *refused_flag; /* a config flag that loam does not handle when it is true */
} loam_family;

enum { LOAM_NO_ROPE = 255, LOAM_MAX_ROPES = 2, LOAM_MAX_LAYERS = 1024 };

typedef struct loam_decoder_config {
    const loam_family *family;
    char model_type[48];
    size_t n_layers, dim, ffn_dim, n_heads, n_kv_heads, head_dim, vocab, n_ctx_max;
    float eps, attn_scale, attn_softcap, final_softcap, embed_scale, residual_scale, logit_scale;
    int parallel, rope_traditional;
    int tied; /* tie_word_embeddings: 1, 0, or -1 when the config does not say */
    int qkv_bias, o_bias, ffn_bias;
    size_t n_ropes;
    loam_rotary rope[LOAM_MAX_ROPES];
    unsigned char layer_rope[LOAM_MAX_LAYERS]; /* index into rope, or LOAM_NO_ROPE */
    size_t layer_window[LOAM_MAX_LAYERS];      /* 0: all positions */
} loam_decoder_config;

/* Find the family of model_type and read all that it needs, each value in its range.
 * Errors: UNSUPPORTED (the message lists the families there are), FORMAT. */
loam_status loam_decoder_config_read(loam_decoder_config *out, const loam_config *c, loam_err *err);

#endif
