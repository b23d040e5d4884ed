/* families.c - the table of decoder families and how a config fills it. */
#include "model/families.h"
#include <math.h>
#include <stdio.h>

#define MUST ((double)NAN) /* a number the config must give */

enum { MAX_DIM = 1 << 18, MAX_VOCAB = 1 << 24, MAX_HEADS = 4096, MAX_CONTEXT = 1 << 28 };

/* clang-format off */
#define LLAMA_ATTENTION                                                                            \
    .q = "self_attn.q_proj", .k = "self_attn.k_proj", .v = "self_attn.v_proj", .o = "self_attn.o_proj"
#define LLAMA_FFN .gate = "mlp.gate_proj", .up = "mlp.up_proj", .down = "mlp.down_proj"
#define LLAMA_TOP .embed = "embed_tokens", .final_norm = "norm", .layers = "layers", .head = "lm_head"

static const loam_names LLAMA = {
    LLAMA_TOP, LLAMA_ATTENTION, LLAMA_FFN,
    .attn_in = "input_layernorm", .ffn_in = "post_attention_layernorm"};
static const loam_names QWEN3 = {
    LLAMA_TOP, LLAMA_ATTENTION, LLAMA_FFN,
    .attn_in = "input_layernorm", .ffn_in = "post_attention_layernorm",
    .q_norm = "self_attn.q_norm", .k_norm = "self_attn.k_norm"};
static const loam_names PHI3 = {
    LLAMA_TOP, .qkv = "self_attn.qkv_proj", .o = "self_attn.o_proj",
    .gate_up = "mlp.gate_up_proj", .down = "mlp.down_proj",
    .attn_in = "input_layernorm", .ffn_in = "post_attention_layernorm"};
static const loam_names GEMMA2 = {
    LLAMA_TOP, LLAMA_ATTENTION, LLAMA_FFN,
    .attn_in = "input_layernorm", .attn_out = "post_attention_layernorm",
    .ffn_in = "pre_feedforward_layernorm", .ffn_out = "post_feedforward_layernorm"};
static const loam_names GEMMA3 = {
    LLAMA_TOP, LLAMA_ATTENTION, LLAMA_FFN,
    .attn_in = "input_layernorm", .attn_out = "post_attention_layernorm",
    .ffn_in = "pre_feedforward_layernorm", .ffn_out = "post_feedforward_layernorm",
    .q_norm = "self_attn.q_norm", .k_norm = "self_attn.k_norm"};
static const loam_names OLMO2 = {
    LLAMA_TOP, LLAMA_ATTENTION, LLAMA_FFN,
    .attn_out = "post_attention_layernorm", .ffn_out = "post_feedforward_layernorm",
    .q_norm = "self_attn.q_norm", .k_norm = "self_attn.k_norm"};
static const loam_names STARCODER2 = {
    LLAMA_TOP, LLAMA_ATTENTION, .up = "mlp.c_fc", .down = "mlp.c_proj",
    .attn_in = "input_layernorm", .ffn_in = "post_attention_layernorm"};
static const loam_names PHI = {
    .embed = "embed_tokens", .final_norm = "final_layernorm", .layers = "layers", .head = "lm_head",
    .q = "self_attn.q_proj", .k = "self_attn.k_proj", .v = "self_attn.v_proj", .o = "self_attn.dense",
    .up = "mlp.fc1", .down = "mlp.fc2", .attn_in = "input_layernorm"};

/* Rows state what differs from a plain pre-norm RMSNorm, SwiGLU decoder (families.h). */
#define LLAMA_BIASES .qkv_bias = "attention_bias", .o_bias = "attention_bias", .ffn_bias = "mlp_bias"
#define LAYER_NORM(key) .layer_norm = 1, .eps_key = key, .eps = 1e-5
#define ALL_BIASES .qkv_bias = "", .o_bias = "", .ffn_bias = ""

static const loam_family FAMILIES[] = {
    {.model_type = "llama", .names = &LLAMA, LLAMA_BIASES, .own_head_dim = 1, .window = LOAM_WINDOW_LAYER_TYPES},
    {.model_type = "mistral", .names = &LLAMA, LLAMA_BIASES, .own_head_dim = 1, .window = LOAM_WINDOW_LAYER_TYPES},
    {.model_type = "smollm3", .names = &LLAMA, LLAMA_BIASES, .own_head_dim = 1, .no_rope_layers = 1},
    {.model_type = "phi3", .names = &PHI3, .n_ctx_max = 131072},
    {.model_type = "qwen2", .names = &LLAMA, .qkv_bias = "", .theta = 1e6, .n_ctx_max = 32768},
    {.model_type = "qwen3", .names = &QWEN3, .qkv_bias = "attention_bias", .o_bias = "attention_bias",
     .own_head_dim = 1, .qk_norm = LOAM_QK_NORM_HEAD, .theta = LOAM_REQUIRED, .n_ctx_max = 32768},
    {.model_type = "gemma", .names = &LLAMA, .own_head_dim = 1, .norm_add = 1.0f, .activation = LOAM_GELU_ERF,
     .embed_scale = LOAM_EMBED_SQRT_DIM, .n_ctx_max = 8192},
    {.model_type = "gemma2", .names = &GEMMA2, .own_head_dim = 1, .norm_add = 1.0f,
     .activation = LOAM_GELU_TANH, .embed_scale = LOAM_EMBED_SQRT_DIM, .query_scalar = 144.0,
     .attn_softcap = 50.0, .final_softcap = 30.0, .n_ctx_max = 8192},
    {.model_type = "gemma3_text", .names = &GEMMA3, .own_head_dim = 1, .norm_add = 1.0f,
     .activation = LOAM_GELU_TANH, .embed_scale = LOAM_EMBED_SQRT_DIM_BF16, .query_scalar = 256.0,
     .qk_norm = LOAM_QK_NORM_HEAD, .theta = 1e6, .window = LOAM_WINDOW_PATTERN, .n_ctx_max = 32768, .eps = 1e-6,
     .head_by_tensor = 1},
    {.model_type = "granite", .names = &LLAMA, LLAMA_BIASES, .embed_scale = LOAM_EMBED_MULTIPLIER, .multipliers = 1},
    {.model_type = "olmo2", .names = &OLMO2, LLAMA_BIASES, .own_head_dim = 1, .qk_norm = LOAM_QK_NORM_ALL},
    {.model_type = "stablelm", .names = &LLAMA, LAYER_NORM("layer_norm_eps"), .qkv_bias = "use_qkv_bias",
     .partial = 0.25, .parallel_key = "use_parallel_residual", .refused_flag = "qk_layernorm"},
    {.model_type = "starcoder2", .names = &STARCODER2, LAYER_NORM("norm_epsilon"), ALL_BIASES,
     .activation = LOAM_GELU_ERF, .theta = 1e5, .n_ctx_max = 16384},
    {.model_type = "phi", .names = &PHI, LAYER_NORM("layer_norm_eps"), ALL_BIASES, .head_bias = 1,
     .activation = LOAM_GELU_TANH, .parallel = 1, .partial = 0.4},
};
/* clang-format on */
enum { N_FAMILIES = sizeof FAMILIES / sizeof *FAMILIES };

static loam_status find_family(const loam_config *c, const loam_family **out, loam_err *err) {
    const char *type;
    char list[256];
    size_t n = 0;
    const loam_status st = loam_config_string(c, c->root, "model_type", NULL, &type, err);

    *out = NULL;
    if (st) return st;
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (strcmp(FAMILIES[i].model_type, type) == 0) *out = &FAMILIES[i];
    if (*out) return LOAM_OK;
    for (size_t i = 0; i < N_FAMILIES && n < sizeof list; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "",
                              FAMILIES[i].model_type);
    return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                     "%s: model_type \"%.64s\" is not a language model loam knows; it knows %s",
                     c->path, type, list);
}

static loam_status read_sizes(loam_decoder_config *d, const loam_config *c, loam_err *err) {
    const loam_json_value *o = c->root;
    const loam_family *f = d->family;
    loam_status st = loam_config_size(c, o, "num_hidden_layers", 1, LOAM_MAX_LAYERS,
                                      LOAM_CONFIG_REQUIRED, &d->n_layers, err);
    if (!st)
        st = loam_config_size(c, o, "hidden_size", 1, MAX_DIM, LOAM_CONFIG_REQUIRED, &d->dim, err);
    if (!st)
        st = loam_config_size(c, o, "intermediate_size", 1, (size_t)8 * MAX_DIM,
                              LOAM_CONFIG_REQUIRED, &d->ffn_dim, err);
    if (!st)
        st = loam_config_size(c, o, "num_attention_heads", 1, MAX_HEADS, LOAM_CONFIG_REQUIRED,
                              &d->n_heads, err);
    if (!st)
        st = loam_config_size(c, o, "num_key_value_heads", 1, MAX_HEADS, d->n_heads, &d->n_kv_heads,
                              err);
    if (!st)
        st = loam_config_size(c, o, "vocab_size", 1, MAX_VOCAB, LOAM_CONFIG_REQUIRED, &d->vocab,
                              err);
    if (!st)
        st = loam_config_size(c, o, "max_position_embeddings", 1, MAX_CONTEXT,
                              f->n_ctx_max ? f->n_ctx_max : 2048, &d->n_ctx_max, err);
    if (!st) st = loam_config_size(c, o, "head_dim", 1, LOAM_HEAD_DIM_MAX, 0, &d->head_dim, err);
    if (st) return st;
    if (d->n_heads % d->n_kv_heads != 0)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: num_attention_heads %zu is not a multiple of num_key_value_heads %zu",
                         c->path, d->n_heads, d->n_kv_heads);
    if (d->head_dim == 0 || !f->own_head_dim) {
        if (d->dim % d->n_heads != 0)
            return loam_fail(err, LOAM_ERR_FORMAT,
                             "%s: hidden_size %zu is not a multiple of num_attention_heads %zu",
                             c->path, d->dim, d->n_heads);
        d->head_dim = d->dim / d->n_heads;
    }
    if (d->head_dim > LOAM_HEAD_DIM_MAX)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: heads of %zu values; at most %d", c->path,
                         d->head_dim, LOAM_HEAD_DIM_MAX);
    return LOAM_OK;
}

static loam_status read_bias(const loam_config *c, loam_bias_key key, int *out, loam_err *err) {
    *out = key != NULL;
    return key && *key ? loam_config_flag(c, c->root, key, 0, out, err) : LOAM_OK;
}

static loam_status read_flags(loam_decoder_config *d, const loam_config *c, loam_err *err) {
    const loam_json_value *o = c->root;
    const loam_family *f = d->family;
    int refused = 0;
    loam_status st = read_bias(c, f->qkv_bias, &d->qkv_bias, err);
    if (!st) st = read_bias(c, f->o_bias, &d->o_bias, err);
    if (!st) st = read_bias(c, f->ffn_bias, &d->ffn_bias, err);
    if (!st) st = loam_config_flag(c, o, "rope_traditional", 0, &d->rope_traditional, err);
    if (!st) st = loam_config_flag(c, o, "tie_word_embeddings", -1, &d->tied, err);
    d->parallel = f->parallel;
    if (!st && f->parallel_key) st = loam_config_flag(c, o, f->parallel_key, 0, &d->parallel, err);
    if (!st && f->refused_flag) st = loam_config_flag(c, o, f->refused_flag, 0, &refused, err);
    if (!st && refused)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: %s is not supported", c->path,
                         f->refused_flag);
    return st;
}

/* The scalars: epsilon, attention scale, soft caps, multipliers. */
static loam_status read_scales(loam_decoder_config *d, const loam_config *c, loam_err *err) {
    const loam_json_value *o = c->root;
    const loam_family *f = d->family;
    double eps, scale = 1.0 / sqrt((double)d->head_dim), attn_cap = 0, final_cap = 0, embed = 1,
                residual = 1, logits = 1;
    loam_status st = loam_config_float(c, o, f->eps_key ? f->eps_key : "rms_norm_eps", 0.0, 1.0,
                                       f->eps > 0 ? f->eps : MUST, &eps, err);
    if (!st && f->query_scalar > 0) {
        double scalar;
        st = loam_config_float(c, o, "query_pre_attn_scalar", 1e-3, 1e6, f->query_scalar, &scalar,
                               err);
        scale = 1.0 / sqrt(scalar);
    }
    if (!st && f->attn_softcap > 0)
        st = loam_config_float(c, o, "attn_logit_softcapping", 1e-3, 1e6, f->attn_softcap,
                               &attn_cap, err);
    if (!st && f->final_softcap > 0)
        st = loam_config_float(c, o, "final_logit_softcapping", 1e-3, 1e6, f->final_softcap,
                               &final_cap, err);
    if (!st && f->multipliers) {
        st = loam_config_float(c, o, "attention_multiplier", 1e-6, 1e6, MUST, &scale, err);
        if (!st)
            st = loam_config_float(c, o, "residual_multiplier", 1e-6, 1e6, MUST, &residual, err);
        if (!st) st = loam_config_float(c, o, "logits_scaling", 1e-6, 1e6, MUST, &logits, err);
    }
    if (!st && f->embed_scale == LOAM_EMBED_MULTIPLIER)
        st = loam_config_float(c, o, "embedding_multiplier", 1e-6, 1e6, MUST, &embed, err);
    if (st) return st;
    if (f->embed_scale == LOAM_EMBED_SQRT_DIM || f->embed_scale == LOAM_EMBED_SQRT_DIM_BF16)
        embed = sqrt((double)d->dim);
    d->embed_scale = (float)embed;
    if (f->embed_scale == LOAM_EMBED_SQRT_DIM_BF16)
        d->embed_scale = loam_bf16_to_f32(loam_f32_to_bf16(d->embed_scale));
    d->eps = (float)eps;
    d->attn_scale = (float)scale;
    d->attn_softcap = (float)attn_cap;
    d->final_softcap = (float)final_cap;
    d->residual_scale = (float)residual;
    d->logit_scale = (float)(1.0 / logits);
    return LOAM_OK;
}

static loam_status read_layer_types(loam_decoder_config *d, const loam_config *c, loam_err *err) {
    const loam_json_value *types = loam_config_get(c->root, "layer_types");
    size_t window, i = 0;

    if (!types) return LOAM_OK;
    if (loam_json_type_of(types) != LOAM_JSON_ARRAY || loam_json_count(types) != d->n_layers)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: layer_types is not a list of %zu names",
                         c->path, d->n_layers);
    for (const loam_json_value *v = loam_json_first(types); v; v = loam_json_next(v), i++) {
        const char *s = loam_json_string(v, NULL);
        if (s && strcmp(s, "full_attention") == 0) continue;
        if (!s || strcmp(s, "sliding_attention") != 0)
            return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                             "%s: layer_types[%zu] is neither full_attention nor sliding_attention",
                             c->path, i);
        const loam_status st = loam_config_size(c, c->root, "sliding_window", 1, MAX_CONTEXT,
                                                LOAM_CONFIG_REQUIRED, &window, err);
        if (st) return st;
        d->layer_window[i] = window;
    }
    return LOAM_OK;
}

/* gemma 3: every pattern-th layer sees everything, the others a window with a rope base of their own. */
static loam_status read_pattern(loam_decoder_config *d, const loam_config *c,
                                loam_rotary_request *request, loam_err *err) {
    size_t window, pattern;
    loam_status st =
        loam_config_size(c, c->root, "sliding_window", 1, MAX_CONTEXT, 512, &window, err);
    if (!st)
        st = loam_config_size(c, c->root, "sliding_window_pattern", 1, LOAM_MAX_LAYERS, 6, &pattern,
                              err);
    if (st) return st;
    for (size_t i = 0; i < d->n_layers; i++) {
        const int full = (i + 1) % pattern == 0;
        d->layer_window[i] = full ? 0 : window;
        d->layer_rope[i] = full ? 0 : 1;
    }
    request->unscaled = 1;
    request->theta = 10000.0;
    request->theta_key = "rope_local_base_freq";
    request->layer_type = "sliding_attention";
    d->n_ropes = 2;
    return loam_rotary_read(&d->rope[1], c, c->root, request, err);
}

static loam_status read_no_rope(loam_decoder_config *d, const loam_config *c, loam_err *err) {
    const loam_json_value *list = loam_config_get(c->root, "no_rope_layers");
    size_t interval, i = 0;
    const loam_status st = loam_config_size(c, c->root, "no_rope_layer_interval", 1,
                                            LOAM_MAX_LAYERS, 4, &interval, err);

    if (st) return st;
    if (!list) {
        for (; i < d->n_layers; i++)
            if ((i + 1) % interval == 0) d->layer_rope[i] = LOAM_NO_ROPE;
        return LOAM_OK;
    }
    if (loam_json_type_of(list) != LOAM_JSON_ARRAY || loam_json_count(list) != d->n_layers)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: no_rope_layers is not a list of %zu numbers",
                         c->path, d->n_layers);
    for (const loam_json_value *v = loam_json_first(list); v; v = loam_json_next(v), i++) {
        int64_t has_rope;
        if (!loam_json_int(v, &has_rope))
            return loam_fail(err, LOAM_ERR_FORMAT, "%s: no_rope_layers[%zu] is not 0 or 1", c->path,
                             i);
        if (!has_rope) d->layer_rope[i] = LOAM_NO_ROPE;
    }
    return LOAM_OK;
}

static loam_status read_positions(loam_decoder_config *d, const loam_config *c, loam_err *err) {
    const loam_family *f = d->family;
    loam_rotary_request request = {.head_dim = d->head_dim,
                                   .partial = f->partial > 0 ? f->partial : 1.0,
                                   .theta = f->theta < 0   ? MUST
                                            : f->theta > 0 ? f->theta
                                                           : 10000.0,
                                   .theta_key = "rope_theta",
                                   .layer_type = "full_attention",
                                   .n_ctx_max = d->n_ctx_max};
    loam_status st = loam_rotary_read(&d->rope[0], c, c->root, &request, err);
    d->n_ropes = 1;
    if (!st && f->window == LOAM_WINDOW_LAYER_TYPES) st = read_layer_types(d, c, err);
    if (!st && f->window == LOAM_WINDOW_PATTERN) st = read_pattern(d, c, &request, err);
    if (!st && f->no_rope_layers) st = read_no_rope(d, c, err);
    return st;
}

loam_status loam_decoder_config_read(loam_decoder_config *out, const loam_config *c,
                                     loam_err *err) {
    loam_status st;

    *out = (loam_decoder_config){0};
    st = find_family(c, &out->family, err);
    if (st) return st;
    snprintf(out->model_type, sizeof out->model_type, "%s", out->family->model_type);
    st = read_sizes(out, c, err);
    if (!st) st = read_flags(out, c, err);
    if (!st) st = read_scales(out, c, err);
    if (!st) st = read_positions(out, c, err);
    return st;
}
