/* encoder_open.c - config.json and weight names of BERT-type encoders.
 *
 * A family is a row of names (NAMES) plus flags from the config; the forward pass in
 * encoder.c knows neither.
 */
#include "kernels/kernels.h"
#include "model/encoder_state.h"

#include <stdio.h>

enum {
    MAX_LAYERS = 512,
    MAX_DIM = 1 << 16,
    MAX_ROWS = 1 << 24, /* vocabulary, positions */
    MAX_NAME = 192
};

typedef struct names {
    const char *prefix; /* tried by looking for the word table */
    const char *word, *position, *type, *norm;
    const char *layers; /* then ".N." */
    const char *q, *k, *v, *o, *norm1, *up, *down, *norm2;
} names;

#define HUGGING_FACE_NAMES(prefix)                                                                 \
    {                                                                                              \
        prefix, "embeddings.word_embeddings", "embeddings.position_embeddings",                    \
            "embeddings.token_type_embeddings", "embeddings.LayerNorm", "encoder.layer",           \
            "attention.self.query", "attention.self.key", "attention.self.value",                  \
            "attention.output.dense", "attention.output.LayerNorm", "intermediate.dense",          \
            "output.dense", "output.LayerNorm"                                                     \
    }

static const names NAMES[] = {
    /* the reference lab's gte npz; first, as its word table has the same name */
    {"", "embeddings.word_embeddings", "embeddings.position_embeddings",
     "embeddings.token_type_embeddings", "embeddings.norm", "encoder.layers",
     "attention.query_proj", "attention.key_proj", "attention.value_proj", "attention.out_proj",
     "ln1", "linear1", "linear2", "ln2"},
    HUGGING_FACE_NAMES(""),
    HUGGING_FACE_NAMES("bert."),
    HUGGING_FACE_NAMES("roberta."),
    HUGGING_FACE_NAMES("model."),
};

typedef struct binder {
    loam_encoder *m;
    const names *names;
    const char *folder;
    loam_err *err;
} binder;

/* ---- config ---- */

static loam_status read_activation(loam_encoder *m, loam_err *err) {
    static const struct {
        const char *name;
        loam_activation activation;
    } KNOWN[] = {{"gelu", LOAM_GELU_ERF},       {"gelu_new", LOAM_GELU_TANH},
                 {"gelu_fast", LOAM_GELU_TANH}, {"gelu_pytorch_tanh", LOAM_GELU_TANH},
                 {"relu", LOAM_RELU},           {"silu", LOAM_SILU},
                 {"swish", LOAM_SILU}};
    const loam_config *c = &m->config;
    const char *name;
    loam_status st = loam_config_string(c, c->root, "hidden_act", "gelu", &name, err);
    if (st) return st;
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
        if (strcmp(name, KNOWN[i].name) == 0) {
            m->info.activation = (int)KNOWN[i].activation;
            return LOAM_OK;
        }
    }
    return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: hidden_act \"%s\" is not known", c->path,
                     name);
}

/* bert has its own positions from 0; the RoBERTa family starts after the padding id. */
static loam_status read_family(loam_encoder *m, loam_err *err) {
    const loam_config *c = &m->config;
    const char *type; /* the lab's npz folders name none */
    loam_status st = loam_config_string(c, c->root, "model_type", "bert", &type, err);
    if (st || strcmp(type, "bert") == 0) return st;
    if (strcmp(type, "roberta") == 0 || strcmp(type, "xlm-roberta") == 0 ||
        strcmp(type, "camembert") == 0) {
        size_t pad;
        st = loam_config_size(c, c->root, "pad_token_id", 0, 1024, 1, &pad, err);
        m->position_offset = pad + 1;
        m->ignore_types = 1;
        return st;
    }
    return loam_fail(
        err, LOAM_ERR_UNSUPPORTED,
        "%s: model_type \"%s\" is not an encoder loam knows (bert, roberta, xlm-roberta, "
        "camembert)",
        c->path, type);
}

static loam_status read_config(loam_encoder *m, loam_err *err) {
    const loam_config *c = &m->config;
    const loam_json_value *root = c->root;
    loam_encoder_info *info = &m->info;
    double eps = 0.0;
    const char *positions = NULL;

    loam_status st = read_family(m, err);
    /* the lab's npz folders call the width "dim" */
    const int lab = !loam_config_get(root, "hidden_size") && loam_config_get(root, "dim");
    const size_t required = LOAM_CONFIG_REQUIRED;
    if (!st)
        st = loam_config_size(c, root, lab ? "dim" : "hidden_size", 1, MAX_DIM, required,
                              &info->dim, err);
    if (!st)
        st = loam_config_size(c, root, "num_hidden_layers", 1, MAX_LAYERS, required,
                              &info->n_layers, err);
    if (!st)
        st = loam_config_size(c, root, "num_attention_heads", 1, MAX_DIM, required, &info->n_heads,
                              err);
    if (!st) st = loam_config_size(c, root, "vocab_size", 1, MAX_ROWS, required, &info->vocab, err);
    if (!st)
        st = loam_config_size(c, root, "intermediate_size", 1, MAX_DIM, 4 * info->dim, &info->inter,
                              err);
    if (!st)
        st = loam_config_size(c, root, "max_position_embeddings", 1, MAX_ROWS, 512,
                              &info->n_positions, err);
    if (!st) st = loam_config_size(c, root, "type_vocab_size", 1, MAX_ROWS, 2, &info->n_types, err);
    if (!st) st = loam_config_float(c, root, "layer_norm_eps", 0.0, 1.0, 1e-12, &eps, err);
    if (!st)
        st = loam_config_string(c, root, "position_embedding_type", "absolute", &positions, err);
    if (!st) st = read_activation(m, err);
    if (st) return st;

    m->info.eps = (float)eps;
    if (strcmp(positions, "absolute") != 0)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                         "%s: position_embedding_type \"%s\" is not supported", c->path, positions);
    if (info->dim % info->n_heads != 0)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: hidden_size %zu is not a multiple of %zu heads",
                         c->path, info->dim, info->n_heads);
    if (info->dim / info->n_heads > LOAM_HEAD_DIM_MAX)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: heads of %zu values; at most %d", c->path,
                         info->dim / info->n_heads, LOAM_HEAD_DIM_MAX);
    if (info->n_positions <= m->position_offset)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: max_position_embeddings %zu leaves no room for text", c->path,
                         info->n_positions);
    return LOAM_OK;
}

/* ---- weights ---- */

/* PREFIX + PATH + SUFFIX.  Names come from the table above; one that did not fit would
 * become "", which no tensor is called. */
static void make_name(const binder *b, const char *path, const char *suffix, char out[MAX_NAME]) {
    const int n = snprintf(out, MAX_NAME, "%s%s%s", b->names->prefix, path, suffix);
    if (n < 0 || n >= MAX_NAME) out[0] = 0;
}

static int exists(const binder *b, const char *path, const char *suffix) {
    char name[MAX_NAME];
    make_name(b, path, suffix, name);
    return loam_weights_find(b->m->weights, name) != NULL;
}

static loam_status bind(const binder *b, const char *path, size_t rows, size_t cols, loam_bias bias,
                        loam_weight *w) {
    char name[MAX_NAME];
    make_name(b, path, "", name);
    return loam_weights_bind(b->m->weights, name, rows, cols, bias, w, b->err);
}

/* Folders converted from old TensorFlow checkpoints say gamma and beta. */
static loam_status bind_norm(const binder *b, const char *path, encoder_norm *norm) {
    char name[MAX_NAME];
    const int old = exists(b, path, ".gamma");
    make_name(b, path, old ? ".gamma" : ".weight", name);
    loam_status st =
        loam_weights_vector(b->m->weights, name, b->m->info.dim, 0.0f, &norm->weight, b->err);
    if (st) return st;
    make_name(b, path, old ? ".beta" : ".bias", name);
    return loam_weights_vector(b->m->weights, name, b->m->info.dim, 0.0f, &norm->bias, b->err);
}

static void layer_path(const binder *b, size_t i, const char *part, char out[MAX_NAME]) {
    const int n = snprintf(out, MAX_NAME, "%s.%zu.%s", b->names->layers, i, part);
    if (n < 0 || n >= MAX_NAME) out[0] = 0;
}

static loam_status bind_layer(const binder *b, size_t i, encoder_layer *l) {
    const size_t dim = b->m->info.dim, inter = b->m->info.inter;
    const names *n = b->names;
    const struct {
        const char *name;
        size_t rows, cols;
        loam_weight *weight;
    } matrices[] = {{n->q, dim, dim, &l->q},     {n->k, dim, dim, &l->k},
                    {n->v, dim, dim, &l->v},     {n->o, dim, dim, &l->o},
                    {n->up, inter, dim, &l->up}, {n->down, dim, inter, &l->down}};
    char path[MAX_NAME];
    for (size_t k = 0; k < sizeof matrices / sizeof *matrices; k++) {
        layer_path(b, i, matrices[k].name, path);
        loam_status st = bind(b, path, matrices[k].rows, matrices[k].cols, LOAM_BIAS_REQUIRED,
                              matrices[k].weight);
        if (st) return st;
    }
    layer_path(b, i, n->norm1, path);
    loam_status st = bind_norm(b, path, &l->norm1);
    if (st) return st;
    layer_path(b, i, n->norm2, path);
    st = bind_norm(b, path, &l->norm2);

    const loam_weight *qkv[] = {&l->q, &l->k, &l->v}, *o = &l->o, *up = &l->up, *down = &l->down;
    if (!st) st = loam_stack_init(&l->qkv, qkv, 3, b->err);
    if (!st) st = loam_stack_init(&l->out, &o, 1, b->err);
    if (!st) st = loam_stack_init(&l->in, &up, 1, b->err);
    if (!st) st = loam_stack_init(&l->back, &down, 1, b->err);
    return st;
}

/* The classifier: BERT has pooler.dense and classifier, RoBERTa classifier.dense and
 * classifier.out_proj.  Either is dense, tanh, one output row; the classifier's own
 * names carry no prefix.  Several labels are no ranking head: has_head stays 0. */
static loam_status bind_head(const binder *b) {
    loam_encoder *m = b->m;
    const size_t dim = m->info.dim;
    const int roberta = loam_weights_find(m->weights, "classifier.out_proj.weight") != NULL;
    const char *out = roberta ? "classifier.out_proj" : "classifier";
    const loam_tensor *t =
        loam_weights_find(m->weights, roberta ? "classifier.out_proj.weight" : "classifier.weight");
    if (!t || t->rank != 2 || t->shape[0] != 1) return LOAM_OK;

    loam_status st =
        loam_weights_bind(m->weights, out, 1, dim, LOAM_BIAS_REQUIRED, &m->head_out, b->err);
    if (!st && roberta)
        st = loam_weights_bind(m->weights, "classifier.dense", dim, dim, LOAM_BIAS_REQUIRED,
                               &m->head_dense, b->err);
    else if (!st)
        st = bind(b, "pooler.dense", dim, dim, LOAM_BIAS_REQUIRED, &m->head_dense);
    m->info.has_head = !st;
    return st;
}

/* The first row of NAMES whose word table and first layer are there. */
static int find_names(binder *b) {
    char path[MAX_NAME];
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        b->names = &NAMES[i];
        layer_path(b, 0, b->names->q, path);
        if (exists(b, b->names->word, ".weight") && exists(b, path, ".weight")) return 1;
    }
    return 0;
}

static loam_status bind_all(binder *b) {
    loam_encoder *m = b->m;
    loam_encoder_info *info = &m->info;
    if (!find_names(b))
        return loam_fail(
            b->err, LOAM_ERR_FORMAT,
            "%s: the weights hold no BERT-type encoder (embeddings.word_embeddings and layer 0 "
            "are missing)",
            b->folder);
    const names *n = b->names;
    loam_status st = bind(b, n->word, info->vocab, info->dim, LOAM_BIAS_NONE, &m->word);
    if (!st) st = bind(b, n->position, info->n_positions, info->dim, LOAM_BIAS_NONE, &m->position);
    if (!st) st = bind(b, n->type, info->n_types, info->dim, LOAM_BIAS_NONE, &m->type);
    if (!st) st = bind_norm(b, n->norm, &m->norm);
    if (st) return st;

    m->layers = loam_alloc(info->n_layers, sizeof *m->layers);
    if (!m->layers)
        return loam_fail(b->err, LOAM_ERR_MEMORY, "%s: %zu layers", b->folder, info->n_layers);
    for (size_t i = 0; i < info->n_layers; i++) {
        st = bind_layer(b, i, &m->layers[i]);
        if (st) return st;
    }
    st = bind_head(b);
    info->n_positions -= m->position_offset; /* what a text may use */
    return st;
}

loam_status loam_encoder_open(loam_encoder **out, const char *folder, loam_pool *pool,
                              loam_precision precision, loam_err *err) {
    loam_encoder *m = NULL;
    loam_status st;

    *out = NULL;
    m = loam_alloc(1, sizeof *m);
    if (!m) return loam_fail(err, LOAM_ERR_MEMORY, "%s: model", folder);
    m->compute.pool = pool;
    m->compute.precision = precision == LOAM_FAST ? LOAM_FAST : LOAM_EXACT;
    st = loam_config_open(&m->config, folder, err);
    if (!st) st = read_config(m, err);
    if (!st) st = loam_weights_open(&m->weights, folder, &m->config, err);
    binder b = {.m = m, .folder = folder, .err = err};
    if (!st) st = bind_all(&b);
    if (st) goto done;
    *out = m;
    m = NULL;
done:
    loam_encoder_close(m);
    return st;
}
