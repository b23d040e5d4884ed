/* convert_gguf.c - planning a conversion of a GGUF file: tensor names and config.json.
 *
 * GGUF keeps the hyperparameters under its own names and, for the llama
 * architecture, the rows of q and k in another order.  A row of ARCHITECTURES
 * says what differs; a new one that needs nothing else is a new row.
 */
#include "model/convert_job.h"

#include <math.h>
#include <stdio.h>

typedef struct architecture {
    const char *gguf, *model_type, *class_name;
    int permuted;  /* q and k rows interleaved by llama.cpp's converter */
    int fused;     /* phi3: one tensor for q, k, v and one for gate and up */
    int head_norm; /* qwen3: norms of q and k heads */
} architecture;

static const architecture ARCHITECTURES[] = {
    {"llama", "llama", "LlamaForCausalLM", 1, 0, 0},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", 0, 0, 0},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", 0, 0, 1},
    {"phi3", "phi3", "Phi3ForCausalLM", 0, 1, 0},
};

enum { MAX_LAYERS = 1024, MAX_HEADS = 4096, MAX_WIDTH = 1 << 20 };

typedef struct gguf_plan {
    convert_job *job;
    const loam_json_value *kv;
    const architecture *arch;
    int64_t n_layers, hidden, intermediate, n_heads, n_kv_heads, head_dim, context, vocab;
    int64_t rope_dim;
    double eps, rope_base;
    int tied, qkv_bias;
    int64_t bos, eos, pad; /* -1: none */
} gguf_plan;

/* "ARCH.key" of the metadata. */
static const loam_json_value *get(const gguf_plan *p, const char *key) {
    char name[128];
    snprintf(name, sizeof name, "%s.%s", p->arch->gguf, key);
    return loam_json_get(p->kv, name);
}

/* An integer in its range; `fallback` < 0 means that it must be there. */
static loam_status get_int(const gguf_plan *p, const char *key, int64_t max, int64_t fallback,
                           int64_t *out, loam_err *err) {
    const loam_json_value *v = get(p, key);
    *out = fallback;
    if (!v && fallback >= 0) return LOAM_OK;
    if (!v) return loam_fail(err, LOAM_ERR_FORMAT, "%s: no %s.%s", p->job->src, p->arch->gguf, key);
    if (loam_json_type_of(v) == LOAM_JSON_ARRAY)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: %s.%s differs from layer to layer",
                         p->job->src, p->arch->gguf, key);
    if (!loam_json_int(v, out) || *out < 1 || *out > max)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: %s.%s is not 1 .. %lld", p->job->src,
                         p->arch->gguf, key, (long long)max);
    return LOAM_OK;
}

static int64_t get_token(const gguf_plan *p, const char *key) {
    int64_t id = -1;
    if (!loam_json_int(loam_json_get(p->kv, key), &id) || id < 0 || id >= p->vocab) return -1;
    return id;
}

static loam_status find_architecture(gguf_plan *p, loam_err *err) {
    const char *name = loam_json_string(loam_json_get(p->kv, "general.architecture"), NULL);
    if (!name) return loam_fail(err, LOAM_ERR_FORMAT, "%s: no general.architecture", p->job->src);
    for (size_t i = 0; i < sizeof ARCHITECTURES / sizeof *ARCHITECTURES; i++)
        if (strcmp(name, ARCHITECTURES[i].gguf) == 0) p->arch = &ARCHITECTURES[i];
    if (p->arch) return LOAM_OK;
    return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                     "%s: architecture %.60s: converted are llama, qwen2, qwen3 and phi3",
                     p->job->src, name);
}

static loam_status read_hyperparameters(gguf_plan *p, loam_err *err) {
    loam_status st = get_int(p, "block_count", MAX_LAYERS, -1, &p->n_layers, err);
    if (!st) st = get_int(p, "embedding_length", MAX_WIDTH, -1, &p->hidden, err);
    if (!st) st = get_int(p, "feed_forward_length", MAX_WIDTH, -1, &p->intermediate, err);
    if (!st) st = get_int(p, "attention.head_count", MAX_HEADS, -1, &p->n_heads, err);
    if (!st) st = get_int(p, "attention.head_count_kv", MAX_HEADS, p->n_heads, &p->n_kv_heads, err);
    if (!st) st = get_int(p, "context_length", (int64_t)1 << 31, -1, &p->context, err);
    if (st) return st;
    st = get_int(p, "rope.dimension_count", MAX_WIDTH, 0, &p->rope_dim, err);
    const int64_t by_heads = p->hidden / p->n_heads;
    if (!st) st = get_int(p, "attention.key_length", MAX_WIDTH, by_heads, &p->head_dim, err);
    if (st) return st;
    if (!p->head_dim || p->n_heads % p->n_kv_heads != 0)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: %lld heads, %lld of keys, width %lld",
                         p->job->src, (long long)p->n_heads, (long long)p->n_kv_heads,
                         (long long)p->hidden);
    int64_t experts = 0;
    loam_json_int(get(p, "expert_count"), &experts);
    if (experts > 0)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: a mixture of experts", p->job->src);

    p->eps = 1e-5;
    p->rope_base = 10000.0;
    loam_json_number(get(p, "attention.layer_norm_rms_epsilon"), &p->eps);
    loam_json_number(get(p, "rope.freq_base"), &p->rope_base);
    if (!(p->eps >= 0 && p->eps < 1) || !(p->rope_base > 1 && p->rope_base < 1e12))
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: norm epsilon %g, rope base %g", p->job->src,
                         p->eps, p->rope_base);
    return LOAM_OK;
}

/* "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj" + ".weight"; 0: unknown. */
static int hf_name(const gguf_plan *p, const char *name, char *path, size_t size,
                   const char **part) {
    static const char *const names[][2] = {
        {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
        {"attn_v", "self_attn.v_proj"},      {"attn_output", "self_attn.o_proj"},
        {"attn_qkv", "self_attn.qkv_proj"},  {"attn_q_norm", "self_attn.q_norm"},
        {"attn_k_norm", "self_attn.k_norm"}, {"ffn_gate", "mlp.gate_proj"},
        {"ffn_up", "mlp.up_proj"},           {"ffn_down", "mlp.down_proj"},
        {"attn_norm", "input_layernorm"},    {"ffn_norm", "post_attention_layernorm"},
    };
    const char *dot = strrchr(name, '.');
    if (!dot || (strcmp(dot, ".weight") != 0 && strcmp(dot, ".bias") != 0)) return 0;
    *part = dot;
    const size_t n = (size_t)(dot - name);
    if (n == 10 && strncmp(name, "token_embd", n) == 0) {
        snprintf(path, size, "model.embed_tokens");
        return 1;
    }
    if (n == 11 && strncmp(name, "output_norm", n) == 0) {
        snprintf(path, size, "model.norm");
        return 1;
    }
    if (n == 6 && strncmp(name, "output", n) == 0) {
        snprintf(path, size, "lm_head");
        return 1;
    }
    if (strncmp(name, "blk.", 4) != 0) return 0;
    char *end;
    const unsigned long layer = strtoul(name + 4, &end, 10);
    if (end == name + 4 || *end != '.' || layer >= (unsigned long)p->n_layers) return 0;
    const size_t inner = (size_t)(dot - end - 1);
    if (dot <= end) return 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i][0]) != inner || strncmp(end + 1, names[i][0], inner) != 0) continue;
        const int both = p->arch->fused && strcmp(names[i][0], "ffn_up") == 0;
        snprintf(path, size, "model.layers.%lu.%s", layer, both ? "mlp.gate_up_proj" : names[i][1]);
        return 1;
    }
    return 0;
}

/* How finely a type holds a matrix: bits a weight, about. */
static int fineness(loam_dtype d) {
    switch (d) {
    case LOAM_F64:
    case LOAM_F32: return 32;
    case LOAM_F16: return 17;
    case LOAM_BF16: return 16;
    case LOAM_Q8_0: return 8;
    case LOAM_Q6_K: return 6;
    case LOAM_Q5_0:
    case LOAM_Q5_1:
    case LOAM_Q5_K: return 5;
    case LOAM_Q3_K: return 3;
    case LOAM_Q2_K: return 2;
    default: return 4;
    }
}

/* Whether two matrices are the same one, quantised twice.  GGUF does not say that
 * a head is tied; independent matrices have a cosine near 0 in any row, two
 * quantisations of one near 1.  Some rows over the whole vocabulary decide. */
static loam_status same_matrix(const loam_tensor *a, const loam_tensor *b, int *same,
                               loam_err *err) {
    *same = 0;
    if (a->rank != 2 || b->rank != 2 || a->shape[0] != b->shape[0] || a->shape[1] != b->shape[1])
        return LOAM_OK;
    enum { SAMPLES = 64 };
    const size_t cols = (size_t)a->shape[1];
    const uint64_t rows = a->shape[0], step = rows > SAMPLES ? rows / SAMPLES : 1;
    float *x = loam_alloc(cols, 2 * sizeof *x);
    double sum = 0;
    size_t n = 0;
    loam_status st = x ? LOAM_OK : loam_fail(err, LOAM_ERR_MEMORY, "%s: rows", a->name);
    for (uint64_t r = 0; r < rows && !st; r += step) {
        double aa = 0, bb = 0, ab = 0;
        st = loam_tensor_to_f32(a, r * cols, cols, x, err);
        if (!st) st = loam_tensor_to_f32(b, r * cols, cols, x + cols, err);
        for (size_t j = 0; j < cols && !st; j++) {
            aa += (double)x[j] * (double)x[j];
            bb += (double)x[cols + j] * (double)x[cols + j];
            ab += (double)x[j] * (double)x[cols + j];
        }
        if (!(aa > 0 && bb > 0)) continue;
        sum += ab / sqrt(aa * bb);
        n++;
    }
    free(x);
    *same = n > 0 && sum / (double)n > 0.75;
    return st;
}

static loam_status fail_shape(const gguf_plan *p, const loam_tensor *t, loam_err *err) {
    return loam_fail(err, LOAM_ERR_FORMAT, "%s: tensor %.60s: shape does not fit the model",
                     p->job->src, t->name);
}

/* q and k of the llama architecture are put back in order. */
static loam_status set_heads(const gguf_plan *p, const char *path, convert_item *it,
                             loam_err *err) {
    const int64_t heads = strstr(path, ".q_proj")   ? p->n_heads
                          : strstr(path, ".k_proj") ? p->n_kv_heads
                                                    : 0;
    if (!p->arch->permuted || !heads) return LOAM_OK;
    if (it->src->rank == 1) { /* a bias: each value is a row */
        it->rows = it->cols;
        it->cols = 1;
    }
    if (it->rows % (2 * (uint64_t)heads) != 0) return fail_shape(p, it->src, err);
    it->heads = (size_t)heads;
    return LOAM_OK;
}

/* f16 holds the products of Q4_K's scales unless they overflow. */
static int fits_f16(const loam_tensor *t) {
    const size_t n = (size_t)loam_tensor_count(t), step = 256;
    const size_t bytes = loam_convert_block_bytes(t->dtype, step);
    unsigned char packed[256];
    float scales[8], biases[8];
    if (n % step != 0) return 0;
    for (size_t i = 0; i < n / step; i++) {
        loam_convert_blocks(t->dtype, (const unsigned char *)t->data + i * bytes, step, packed,
                            scales, biases);
        for (int g = 0; g < 8; g++)
            if (fabsf(scales[g]) > 65504.0f || fabsf(biases[g]) > 65504.0f) return 0;
    }
    return 1;
}

static loam_status set_action(const gguf_plan *p, const char *path, convert_item *it,
                              loam_err *err) {
    const convert_job *job = p->job;
    const loam_convert_options *o = job->options;
    const loam_tensor *t = it->src;
    const int plain = loam_convert_is_float(t->dtype);
    const loam_dtype dtype = job->has_dtype ? job->dtype : LOAM_F16;

    if (job->quantize || o->dequantize) {
        it->dtype = dtype;
        it->action = CONVERT_CAST;
        if (loam_convert_pick_quant(job, path, t, (size_t)p->n_layers, &it->quant)) {
            it->action = CONVERT_QUANTIZE;
            it->round_first = 1;
        }
        if (it->action == CONVERT_CAST && t->dtype == dtype) it->action = CONVERT_COPY;
        return LOAM_OK;
    }
    if (plain) {
        it->dtype = job->has_dtype ? job->dtype : t->dtype;
        it->action = it->dtype == t->dtype ? CONVERT_COPY : CONVERT_CAST;
        return LOAM_OK;
    }
    if (t->rank < 2 || it->cols % 32 != 0) return fail_shape(p, t, err);
    const int bits = loam_convert_block_bits(t->dtype);
    it->dtype = o->exact_scales ? LOAM_F32 : dtype;
    it->quant = (convert_quant){LOAM_QUANT_AFFINE, bits ? bits : 8, 32};
    it->action = bits ? CONVERT_BLOCKS : CONVERT_QUANTIZE;
    const int by_32 = t->dtype != LOAM_Q4_K && t->dtype != LOAM_Q5_K;
    if (bits && by_32 && it->dtype == LOAM_F32 && !job->has_dtype) it->dtype = LOAM_F16;
    if (bits && it->dtype == LOAM_F16 && !fits_f16(t) && loam_tensor_count(t) % 256 == 0)
        it->dtype = LOAM_F32;
    return LOAM_OK;
}

static loam_status add_tensor(gguf_plan *p, const loam_tensor *t, const char *path,
                              const char *part, loam_err *err) {
    convert_job *job = p->job;
    char *name = loam_format("%s%s", path, part);
    convert_item *it = name ? loam_convert_add_item(job, name, t) : NULL;
    if (!it) {
        free(name);
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: plan", t->name);
    }
    loam_status st = set_action(p, path, it, err);
    if (!st) st = set_heads(p, path, it, err);
    if (!st && (it->action == CONVERT_QUANTIZE || it->action == CONVERT_BLOCKS)) {
        if (strcmp(part, ".weight") != 0) st = fail_shape(p, t, err);
        it->name[strlen(path)] = '\0';
    }
    free(name);
    return st;
}

/* Every tensor that a layer of the architecture needs. */
static loam_status check_complete(const gguf_plan *p, loam_err *err) {
    static const char *const common[] = {"attn_norm", "ffn_norm", "attn_output", "ffn_down",
                                         "ffn_up"};
    static const char *const split[] = {"attn_q", "attn_k", "attn_v", "ffn_gate"};
    for (int64_t i = 0; i < p->n_layers; i++) {
        for (int k = 0; k < 12; k++) {
            const char *base = NULL;
            if (k < 5)
                base = common[k];
            else if (k < 9)
                base = p->arch->fused ? NULL : split[k - 5];
            else if (k == 9)
                base = p->arch->fused ? "attn_qkv" : NULL;
            else if (p->arch->head_norm)
                base = k == 10 ? "attn_q_norm" : "attn_k_norm";
            if (!base) continue;
            char name[64];
            snprintf(name, sizeof name, "blk.%lld.%s.weight", (long long)i, base);
            if (!loam_arrays_find(p->job->arrays, name))
                return loam_fail(err, LOAM_ERR_FORMAT, "%s: tensor %s is missing", p->job->src,
                                 name);
        }
    }
    if (!loam_arrays_find(p->job->arrays, "output_norm.weight"))
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: tensor output_norm.weight is missing",
                         p->job->src);
    return LOAM_OK;
}

static int compare_items(const void *a, const void *b) {
    const convert_item *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static loam_status plan_tensors(gguf_plan *p, loam_err *err) {
    loam_arrays *a = p->job->arrays;
    const loam_tensor *embed = loam_arrays_find(a, "token_embd.weight");
    const loam_tensor *head = loam_arrays_find(a, "output.weight");
    if (!embed || embed->rank != 2 || embed->shape[1] != (uint64_t)p->hidden || !embed->shape[0] ||
        embed->shape[0] > (uint64_t)1 << 24)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: tensor token_embd.weight is missing or odd",
                         p->job->src);
    p->vocab = (int64_t)embed->shape[0];
    p->tied = head == NULL;
    loam_status st = check_complete(p, err);
    if (!st && head) st = same_matrix(embed, head, &p->tied, err);
    if (st) return st;
    /* one matrix held twice: the finer copy serves for both */
    const loam_tensor *dropped = NULL;
    if (p->tied && head) dropped = fineness(head->dtype) > fineness(embed->dtype) ? embed : head;

    for (size_t i = 0; i < loam_arrays_count(a) && !st; i++) {
        const loam_tensor *t = loam_arrays_at(a, i);
        char path[160];
        const char *part;
        if (t == dropped || strncmp(t->name, "rope_f", 6) == 0) continue; /* see put_rope */
        if (!hf_name(p, t->name, path, sizeof path, &part))
            return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                             "%s: tensor %.80s has no place in a %s model", p->job->src, t->name,
                             p->arch->model_type);
        if (t == head && p->tied) snprintf(path, sizeof path, "model.embed_tokens");
        if (strcmp(part, ".bias") == 0 && strstr(path, ".q_proj")) p->qkv_bias = 1;
        st = add_tensor(p, t, path, part, err);
    }
    if (!st) qsort(p->job->items, p->job->n_items, sizeof *p->job->items, compare_items);
    return st;
}

static loam_status put_factors(const gguf_plan *p, loam_pyjson *w, const char *key,
                               const char *tensor, loam_err *err) {
    const loam_tensor *t = loam_arrays_find(p->job->arrays, tensor);
    float x[512];
    if (!t || t->rank != 1 || t->shape[0] < 1 || t->shape[0] > 512)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: tensor %s is missing or odd", p->job->src,
                         tensor);
    loam_status st = loam_tensor_to_f32(t, 0, t->shape[0], x, err);
    loam_pyjson_open(w, key, '[');
    for (size_t i = 0; i < t->shape[0] && !st; i++) loam_pyjson_float(w, NULL, x[i]);
    loam_pyjson_close(w);
    return st;
}

/* llama 3.1 and later: GGUF holds the frequencies' divisors, not the rule.  The
 * rule with its published constants is written when it gives these divisors. */
static loam_status put_llama3(const gguf_plan *p, loam_pyjson *w, const loam_tensor *t,
                              loam_err *err) {
    float x[512];
    const uint64_t n = t->rank == 1 ? t->shape[0] : 0;
    if (!n || n > 512) return fail_shape(p, t, err);
    loam_status st = loam_tensor_to_f32(t, 0, n, x, err);
    if (st) return st;
    double factor = 1;
    for (size_t i = 0; i < n; i++) factor = (double)x[i] > factor ? (double)x[i] : factor;
    const double low = 1, high = 4, old = 8192;
    for (size_t i = 0; i < n; i++) {
        const double wave = 2 * 3.14159265358979323846 * pow(p->rope_base, (double)i / (double)n);
        const double s = (old / wave - low) / (high - low);
        double want = 1 / ((1 - s) / factor + s);
        if (wave < old / high) want = 1;
        if (wave > old / low) want = factor;
        if (!(fabs(want - (double)x[i]) <= 1e-3 * want))
            return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: rope factors of an unknown rule",
                             p->job->src);
    }
    loam_pyjson_open(w, "rope_scaling", '{');
    loam_pyjson_float(w, "factor", (float)factor);
    loam_pyjson_float(w, "low_freq_factor", (float)low);
    loam_pyjson_float(w, "high_freq_factor", (float)high);
    loam_pyjson_int(w, "original_max_position_embeddings", (int64_t)old);
    loam_pyjson_string(w, "rope_type", "llama3");
    loam_pyjson_close(w);
    return LOAM_OK;
}

static loam_status put_rope(const gguf_plan *p, loam_pyjson *w, loam_err *err) {
    loam_status st = LOAM_OK;
    const loam_tensor *freqs = loam_arrays_find(p->job->arrays, "rope_freqs.weight");
    const char *type = loam_json_string(get(p, "rope.scaling.type"), NULL);
    double factor = 0;
    int64_t old = 0;
    loam_json_number(get(p, "rope.scaling.factor"), &factor);
    loam_json_int(get(p, "rope.scaling.original_context_length"), &old);
    if (freqs) return put_llama3(p, w, freqs, err);
    if (loam_arrays_find(p->job->arrays, "rope_factors_long.weight")) {
        loam_pyjson_int(w, "original_max_position_embeddings", old > 0 ? old : p->context);
        loam_pyjson_open(w, "rope_scaling", '{');
        st = put_factors(p, w, "long_factor", "rope_factors_long.weight", err);
        if (!st) st = put_factors(p, w, "short_factor", "rope_factors_short.weight", err);
        loam_pyjson_string(w, "type", "longrope");
        loam_pyjson_close(w);
        return st;
    }
    if (type && strcmp(type, "none") != 0 && factor > 0) {
        if (strcmp(type, "linear") != 0 && strcmp(type, "yarn") != 0)
            return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: rope scaling %.40s", p->job->src,
                             type);
        loam_pyjson_open(w, "rope_scaling", '{');
        loam_pyjson_string(w, "type", type);
        loam_pyjson_float(w, "factor", (float)factor);
        if (old > 0) loam_pyjson_int(w, "original_max_position_embeddings", old);
        loam_pyjson_close(w);
        return LOAM_OK;
    }
    if (p->arch->permuted) loam_pyjson_null(w, "rope_scaling");
    if (p->arch->fused) loam_pyjson_int(w, "original_max_position_embeddings", p->context);
    return LOAM_OK;
}

/* The setting that most triples have stands for all; the others are named. */
static const convert_quant *commonest_quant(const convert_job *job) {
    const convert_quant *best = NULL;
    size_t most = 0;
    for (size_t i = 0; i < job->n_items; i++) {
        const convert_item *a = &job->items[i];
        size_t n = 0;
        if (a->action != CONVERT_QUANTIZE && a->action != CONVERT_BLOCKS) continue;
        for (size_t k = 0; k < job->n_items; k++) {
            const convert_item *b = &job->items[k];
            n += b->action == a->action && b->quant.bits == a->quant.bits &&
                 b->quant.group == a->quant.group;
        }
        if (n > most) {
            most = n;
            best = &a->quant;
        }
    }
    return best;
}

static const char *torch_name(loam_dtype d) {
    return d == LOAM_F32 ? "float32" : d == LOAM_BF16 ? "bfloat16" : "float16";
}

static loam_status plan_config(gguf_plan *p, loam_err *err) {
    convert_job *job = p->job;
    const architecture *a = p->arch;
    const int llama = a->permuted, qwen2 = strcmp(a->model_type, "qwen2") == 0;
    loam_pyjson w = {.indent = 2};
    loam_pyjson_open(&w, NULL, '{');
    loam_pyjson_open(&w, "architectures", '[');
    loam_pyjson_string(&w, NULL, a->class_name);
    loam_pyjson_close(&w);
    loam_pyjson_string(&w, "model_type", a->model_type);
    loam_pyjson_int(&w, "hidden_size", p->hidden);
    loam_pyjson_int(&w, "num_hidden_layers", p->n_layers);
    loam_pyjson_int(&w, "intermediate_size", p->intermediate);
    loam_pyjson_int(&w, "num_attention_heads", p->n_heads);
    loam_pyjson_int(&w, "num_key_value_heads", p->n_kv_heads);
    if (llama || a->head_norm || p->head_dim * p->n_heads != p->hidden)
        loam_pyjson_int(&w, "head_dim", p->head_dim);
    loam_pyjson_float(&w, "rms_norm_eps", (float)p->eps);
    loam_pyjson_int(&w, "vocab_size", p->vocab);
    loam_pyjson_int(&w, "max_position_embeddings", p->context);
    loam_pyjson_float(&w, "rope_theta", (float)p->rope_base);
    loam_status st = put_rope(p, &w, err);
    if (a->fused && p->rope_dim && p->rope_dim < p->head_dim)
        loam_pyjson_float(&w, "partial_rotary_factor", (float)p->rope_dim / (float)p->head_dim);
    if (llama || a->head_norm) loam_pyjson_bool(&w, "attention_bias", p->qkv_bias);
    if (llama) loam_pyjson_bool(&w, "mlp_bias", 0);
    loam_pyjson_string(&w, "hidden_act", "silu");
    loam_pyjson_bool(&w, "tie_word_embeddings", p->tied);
    if (qwen2 || a->head_norm) loam_pyjson_bool(&w, "use_sliding_window", 0);
    if (p->bos >= 0) loam_pyjson_int(&w, "bos_token_id", p->bos);
    if (p->eos >= 0) loam_pyjson_int(&w, "eos_token_id", p->eos);
    loam_pyjson_string(&w, "torch_dtype", torch_name(job->has_dtype ? job->dtype : LOAM_F16));
    const convert_quant *global = job->quantize ? &job->quant : commonest_quant(job);
    if (global) {
        const int all = job->options->recipe != NULL;
        loam_convert_put_quantization(&w, "quantization", job, global, all);
        loam_convert_put_quantization(&w, "quantization_config", job, global, all);
    }
    loam_pyjson_close(&w);
    loam_buf_putc(&w.out, '\n');
    if (!st) return loam_convert_add_file(job, "config.json", &w.out, err);
    loam_buf_deinit(&w.out);
    return st;
}

/* Tokens that end a turn besides eos: the ones GGUF names, and those that the
 * chat formats of these families use. */
static size_t find_ends(const gguf_plan *p, int64_t *ends, size_t max) {
    static const char *const keys[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    size_t n = 0;
    if (p->eos >= 0) ends[n++] = p->eos;
    for (size_t k = 0; k < 2; k++) {
        const int64_t id = get_token(p, keys[k]);
        int known = id < 0;
        for (size_t i = 0; i < n; i++) known |= ends[i] == id;
        if (!known && n < max) ends[n++] = id;
    }
    const loam_json_value *tokens = loam_json_get(p->kv, "tokenizer.ggml.tokens");
    if (p->arch->permuted || loam_json_type_of(tokens) != LOAM_JSON_ARRAY) return n;
    /* qwen: a base model's document end; phi3: the end of a turn */
    const char *also = p->arch->fused ? "<|end|>" : "<|endoftext|>";
    int64_t id = 0;
    for (const loam_json_value *t = loam_json_first(tokens); t; t = loam_json_next(t), id++) {
        const char *text = loam_json_string(t, NULL);
        if (!text || strcmp(text, also) != 0) continue;
        int known = id >= p->vocab;
        for (size_t i = 0; i < n; i++) known |= ends[i] == id;
        if (!known && n < max) ends[n++] = id;
        break;
    }
    return n;
}

static loam_status plan_generation(gguf_plan *p, loam_err *err) {
    int64_t ends[8];
    const size_t n = find_ends(p, ends, 8);
    loam_pyjson w = {.indent = 2};
    loam_pyjson_open(&w, NULL, '{');
    if (p->bos >= 0) loam_pyjson_int(&w, "bos_token_id", p->bos);
    if (n == 1) {
        loam_pyjson_int(&w, "eos_token_id", ends[0]);
    } else if (n > 1) {
        loam_pyjson_open(&w, "eos_token_id", '[');
        for (size_t i = 0; i < n; i++) loam_pyjson_int(&w, NULL, ends[i]);
        loam_pyjson_close(&w);
    }
    if (p->pad >= 0) loam_pyjson_int(&w, "pad_token_id", p->pad);
    loam_pyjson_close(&w);
    loam_buf_putc(&w.out, '\n');
    return loam_convert_add_file(p->job, "generation_config.json", &w.out, err);
}

loam_status loam_convert_plan_gguf(convert_job *job, loam_err *err) {
    gguf_plan p = {.job = job, .kv = loam_arrays_metadata(job->arrays)};
    loam_status st = find_architecture(&p, err);
    if (!st) st = read_hyperparameters(&p, err);
    if (!st) st = plan_tensors(&p, err);
    if (st) return st;
    p.bos = get_token(&p, "tokenizer.ggml.bos_token_id");
    p.eos = get_token(&p, "tokenizer.ggml.eos_token_id");
    p.pad = get_token(&p, "tokenizer.ggml.padding_token_id");
    st = plan_config(&p, err);
    if (!st) st = plan_generation(&p, err);
    if (!st) st = loam_convert_plan_tokenizer(job, p.context, err);
    return st;
}
