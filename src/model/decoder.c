/* decoder.c - opening: every tensor a layer needs, found by the family's names. */
#include "model/decoder.h"
#include "model/outliers.h"
#include <stdio.h>

typedef struct binder {
    loam_weights *w;
    const loam_decoder_config *c;
    const loam_names *names;
    const char *prefix; /* "model." or "" */
    size_t layer;
    loam_err *err;
} binder;

enum { MAX_PATH = 256 };

/* "model.layers.3.self_attn.q_proj" */
static const char *layer_path(const binder *b, const char *name, const char *leaf,
                              char path[MAX_PATH]) {
    snprintf(path, MAX_PATH, "%s%s.%zu.%s%s%s", b->prefix, b->names->layers, b->layer, name,
             *leaf ? "." : "", leaf);
    return path;
}

static loam_status bind_layer(const binder *b, const char *name, size_t rows, size_t cols, int bias,
                              loam_weight *out) {
    char path[MAX_PATH];
    return loam_weights_bind(b->w, layer_path(b, name, "", path), rows, cols,
                             bias ? LOAM_BIAS_REQUIRED : LOAM_BIAS_NONE, out, b->err);
}

/* A norm by its full path; LayerNorm's bias is optional in some exports. */
static loam_status bind_norm_path(const binder *b, const char *path, size_t n, loam_norm *out) {
    const loam_family *f = b->c->family;
    char name[MAX_PATH + 8];
    snprintf(name, sizeof name, "%s.weight", path);
    loam_status st = loam_weights_vector(b->w, name, n, f->norm_add, &out->weight, b->err);
    if (st || !f->layer_norm) return st;
    snprintf(name, sizeof name, "%s.bias", path);
    return loam_weights_vector_optional(b->w, name, n, 0.0f, &out->bias, b->err);
}

static loam_status bind_norm(const binder *b, const char *name, size_t n, loam_norm *out) {
    char path[MAX_PATH];
    *out = (loam_norm){0};
    return name ? bind_norm_path(b, layer_path(b, name, "", path), n, out) : LOAM_OK;
}

static loam_status bind_attention(const binder *b, loam_layer *l) {
    const loam_decoder_config *c = b->c;
    const loam_names *names = b->names;
    const size_t q_dim = c->n_heads * c->head_dim, kv_dim = c->n_kv_heads * c->head_dim;
    loam_status st;

    if (names->qkv) {
        loam_weight all;
        st = bind_layer(b, names->qkv, q_dim + 2 * kv_dim, c->dim, c->qkv_bias, &all);
        if (st) return st;
        l->q = loam_weight_slice(&all, 0, q_dim);
        l->k = loam_weight_slice(&all, q_dim, kv_dim);
        l->v = loam_weight_slice(&all, q_dim + kv_dim, kv_dim);
    } else {
        st = bind_layer(b, names->q, q_dim, c->dim, c->qkv_bias, &l->q);
        if (!st) st = bind_layer(b, names->k, kv_dim, c->dim, c->qkv_bias, &l->k);
        if (!st) st = bind_layer(b, names->v, kv_dim, c->dim, c->qkv_bias, &l->v);
        if (st) return st;
    }
    st = bind_layer(b, names->o, c->dim, q_dim, c->o_bias, &l->o);
    if (st || c->family->qk_norm == LOAM_QK_NORM_NONE) return st;

    const int per_head = c->family->qk_norm == LOAM_QK_NORM_HEAD;
    char path[MAX_PATH];
    st = loam_weights_vector(b->w, layer_path(b, names->q_norm, "weight", path),
                             per_head ? c->head_dim : q_dim, c->family->norm_add, &l->q_norm,
                             b->err);
    if (st) return st;
    return loam_weights_vector(b->w, layer_path(b, names->k_norm, "weight", path),
                               per_head ? c->head_dim : kv_dim, c->family->norm_add, &l->k_norm,
                               b->err);
}

/* The feed-forward half.  A family of experts binds its router and stacks here. */
static loam_status bind_ffn(const binder *b, loam_layer *l) {
    const loam_decoder_config *c = b->c;
    const loam_names *names = b->names;
    loam_status st = LOAM_OK;

    if (names->gate_up) {
        loam_weight both;
        st = bind_layer(b, names->gate_up, 2 * c->ffn_dim, c->dim, c->ffn_bias, &both);
        if (st) return st;
        l->gate = loam_weight_slice(&both, 0, c->ffn_dim);
        l->up = loam_weight_slice(&both, c->ffn_dim, c->ffn_dim);
    } else {
        if (names->gate) st = bind_layer(b, names->gate, c->ffn_dim, c->dim, c->ffn_bias, &l->gate);
        if (!st) st = bind_layer(b, names->up, c->ffn_dim, c->dim, c->ffn_bias, &l->up);
        if (st) return st;
    }
    return bind_layer(b, names->down, c->dim, c->ffn_dim, c->ffn_bias, &l->down);
}

static loam_status bind_one_layer(const binder *b, loam_layer *l) {
    const size_t dim = b->c->dim;
    loam_status st = bind_norm(b, b->names->attn_in, dim, &l->attn_in);
    if (!st) st = bind_norm(b, b->names->attn_out, dim, &l->attn_out);
    if (!st) st = bind_norm(b, b->c->parallel ? NULL : b->names->ffn_in, dim, &l->ffn_in);
    if (!st) st = bind_norm(b, b->names->ffn_out, dim, &l->ffn_out);
    if (!st) st = bind_attention(b, l);
    if (!st) st = bind_ffn(b, l);
    return st;
}

/* The head is a matrix of its own unless there is none, or the config says it is tied
 * (some exports keep a copy then).  Programs differ on what a missing key means: the
 * tensors decide. */
static loam_status bind_head(loam_decoder *d, binder *b) {
    char name[MAX_PATH];
    snprintf(name, sizeof name, "%s.weight", b->names->head);
    if ((d->config.tied == 1 && !d->config.family->head_by_tensor) ||
        !loam_weights_find(b->w, name)) {
        d->head = d->embed;
        d->config.tied = 1;
        return LOAM_OK;
    }
    d->config.tied = 0;
    return loam_weights_bind(b->w, b->names->head, d->config.vocab, d->config.dim,
                             d->config.family->head_bias ? LOAM_BIAS_REQUIRED : LOAM_BIAS_NONE,
                             &d->head, b->err);
}

/* Folders of embedding models leave the "model." out. */
static const char *find_prefix(const loam_decoder *d) {
    static const char *const PREFIXES[] = {"model.", ""};
    char name[MAX_PATH];
    for (size_t i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s%s.weight", PREFIXES[i], d->config.family->names->embed);
        if (loam_weights_find(d->weights, name)) return PREFIXES[i];
    }
    return PREFIXES[0];
}

static loam_status check_unused(const loam_decoder *d, const binder *b) {
    char prefix[MAX_PATH];
    snprintf(prefix, sizeof prefix, "%s%s.", b->prefix, b->names->layers);
    const char *name = loam_weights_unused(d->weights, prefix);
    if (!name) return LOAM_OK;
    return loam_fail(b->err, LOAM_ERR_UNSUPPORTED,
                     "%s: tensor %s is not part of a %s model of %zu layers: config.json and "
                     "weights do not belong together",
                     d->folder, name, d->config.model_type, d->config.n_layers);
}

static loam_status bind_all(loam_decoder *d, loam_err *err) {
    const loam_decoder_config *c = &d->config;
    binder b = {
        .w = d->weights, .c = c, .names = c->family->names, .prefix = find_prefix(d), .err = err};
    char path[MAX_PATH];
    loam_status st;

    snprintf(path, sizeof path, "%s%s", b.prefix, b.names->embed);
    st = loam_weights_bind(b.w, path, c->vocab, c->dim, LOAM_BIAS_NONE, &d->embed, err);
    if (st) return st;
    d->layers = loam_alloc(c->n_layers, sizeof *d->layers);
    if (!d->layers) return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", d->folder);
    for (b.layer = 0; b.layer < c->n_layers && !st; b.layer++)
        st = bind_one_layer(&b, &d->layers[b.layer]);
    if (st) return st;
    snprintf(path, sizeof path, "%s%s", b.prefix, b.names->final_norm);
    st = bind_norm_path(&b, path, c->dim, &d->final_norm);
    if (!st) st = bind_head(d, &b);
    d->head.two_terms = 1; /* its errors reach the choice of a token undiluted */
    if (!st) st = check_unused(d, &b);
    return st;
}

loam_status loam_decoder_open(loam_decoder **out, const char *folder, loam_err *err) {
    loam_status st;

    *out = NULL;
    loam_decoder *d = loam_alloc(1, sizeof *d);
    if (!d) return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", folder);
    d->folder = loam_strdup(folder);
    st = d->folder ? loam_config_open(&d->file, folder, err)
                   : loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", folder);
    if (!st) st = loam_decoder_config_read(&d->config, &d->file, err);
    if (!st) st = loam_weights_open(&d->weights, folder, &d->file, err);
    if (!st) st = bind_all(d, err);
    if (!st) st = loam_outliers_new(&d->outliers, d, err);
    if (st) goto done;
    *out = d;
    d = NULL;
done:
    loam_decoder_close(d);
    return st;
}

void loam_decoder_close(loam_decoder *d) {
    if (!d) return;
    loam_outliers_free(d->outliers);
    loam_weights_close(d->weights);
    loam_config_close(&d->file);
    free(d->layers);
    free(d->folder);
    free(d);
}
