/* embedder.c - texts to vectors the way the folder's sentence-transformers settings say.
 *
 *     text -> prompt + text -> ids, cut to max_tokens -> encoder -> pooling -> [dense] -> unit
 */
#include "model/encoder.h"
#include "ops/ops.h"
#include "rag/fingerprint.h"
#include "rag/frame.h"
#include "rag/st_settings.h"
#include <loam/rag.h>
#include <loam/text.h>

#include <math.h>
#include <stdio.h>

/* A Dense module, or, with rows 0, a Normalize module. */
typedef struct stage {
    loam_weight weight;
    float *data, *bias; /* owned */
    int has_activation;
    loam_activation activation;
} stage;

struct loam_embedder {
    loam_encoder *encoder;
    loam_tokenizer *tokenizer;
    loam_st_settings settings;
    stage stages[LOAM_MAX_ST_STAGES];
    size_t pooled_dim, dim, max_tokens;
    loam_frame frame;
    loam_compute compute; /* of the dense stages */
    loam_ids ids;         /* of the texts of a call; kept for the next */
    size_t *starts, cap_starts;
    char fingerprint[65];
};

/* ---- opening ---- */

static loam_status find_activation(stage *s, const char *folder, const loam_json_value *root,
                                   loam_err *err) {
    static const struct {
        const char *name;
        loam_activation activation;
    } KNOWN[] = {
        {"Tanh", LOAM_TANH}, {"ReLU", LOAM_RELU}, {"GELU", LOAM_GELU_ERF}, {"SiLU", LOAM_SILU}};
    const char *name = loam_json_string(loam_json_get(root, "activation_function"), NULL);
    const char *dot = name ? strrchr(name, '.') : NULL;
    const char *last = dot ? dot + 1 : name ? name : "Tanh";
    if (strcmp(last, "Identity") == 0) return LOAM_OK;
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
        if (strcmp(last, KNOWN[i].name) != 0) continue;
        s->has_activation = 1;
        s->activation = KNOWN[i].activation;
        return LOAM_OK;
    }
    return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                     "%s/config.json: activation_function \"%s\" is not known", folder, last);
}

static loam_status copy_dense(stage *s, const char *folder, size_t in, loam_err *err) {
    loam_arrays *a;
    loam_status st = loam_arrays_open_folder(&a, folder, err);
    if (st) return st;
    const loam_tensor *w = loam_arrays_find(a, "linear.weight");
    const loam_tensor *b = loam_arrays_find(a, "linear.bias");
    size_t n = 0;
    if (!w || w->rank != 2 || w->shape[1] != in || w->shape[0] == 0 || w->shape[0] > 1 << 16 ||
        (b && (b->rank != 1 || b->shape[0] != w->shape[0])) ||
        !loam_mul((size_t)w->shape[0], in, &n)) {
        st = loam_fail(err, LOAM_ERR_FORMAT, "%s: linear.weight must be a matrix of %zu inputs",
                       folder, in);
        goto done;
    }
    const size_t out = (size_t)w->shape[0];
    s->data = loam_alloc(n, sizeof *s->data);
    s->bias = loam_alloc(out, sizeof *s->bias);
    if (!s->data || !s->bias) {
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: weights", folder);
        goto done;
    }
    st = loam_tensor_to_f32(w, 0, n, s->data, err);
    if (!st && b) st = loam_tensor_to_f32(b, 0, out, s->bias, err);
    s->weight = (loam_weight){
        .format = LOAM_FORMAT_F32, .rows = out, .cols = in, .data = s->data, .bias = s->bias};
done:
    loam_arrays_close(a);
    return st;
}

static loam_status open_stages(loam_embedder *e, loam_err *err) {
    e->dim = e->pooled_dim;
    for (size_t i = 0; i < e->settings.n_stages; i++) {
        const char *folder = e->settings.stages[i].dense;
        if (!folder) continue;
        char *path = loam_path_join(folder, "config.json");
        loam_json *config = NULL;
        if (!path) return loam_fail(err, LOAM_ERR_MEMORY, "%s", folder);
        loam_status st = loam_json_read(&config, path, 1 << 20, 0, err);
        if (!st) st = find_activation(&e->stages[i], folder, loam_json_root(config), err);
        if (!st) st = copy_dense(&e->stages[i], folder, e->dim, err);
        loam_json_free(config);
        free(path);
        if (st) return st;
        const size_t widest = e->dim > e->stages[i].weight.rows ? e->dim : e->stages[i].weight.rows;
        st = loam_compute_reserve(&e->compute, 1, widest, err);
        if (st) return st;
        e->dim = e->stages[i].weight.rows;
    }
    return LOAM_OK;
}

/* A max_seq_length above the positions there are would fail at long texts in the
 * original; here the texts are cut at what the encoder can read. */
static loam_status set_max_tokens(loam_embedder *e, const char *folder, loam_err *err) {
    const size_t positions = loam_encoder_get_info(e->encoder)->n_positions;
    e->max_tokens = e->settings.max_tokens;
    if (e->max_tokens == 0 || e->max_tokens > positions) e->max_tokens = positions;
    if (e->max_tokens <= e->frame.n_prefix + e->frame.n_suffix)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: %zu tokens at most leave no room for text beside %zu special ones",
                         folder, e->max_tokens, e->frame.n_prefix + e->frame.n_suffix);
    return LOAM_OK;
}

loam_status loam_embedder_open(loam_embedder **out, const char *folder,
                               const loam_embedder_options *o, loam_err *err) {
    loam_embedder *e = NULL;
    loam_status st;

    *out = NULL;
    e = loam_alloc(1, sizeof *e);
    if (!e) return loam_fail(err, LOAM_ERR_MEMORY, "%s: embedder", folder);
    const loam_precision precision = o->precision == LOAM_FAST ? LOAM_FAST : LOAM_EXACT;
    e->compute = (loam_compute){.pool = o->pool, .precision = precision};
    st = loam_st_settings_read(&e->settings, folder, err);
    const char *inner = e->settings.transformer;
    if (!st) st = loam_encoder_open(&e->encoder, inner, o->pool, precision, err);
    if (!st) st = loam_tokenizer_open(&e->tokenizer, inner, err);
    if (!st) st = loam_frame_find(&e->frame, e->tokenizer, err);
    if (!st) st = set_max_tokens(e, folder, err);
    if (st) goto done;
    e->pooled_dim = loam_encoder_get_info(e->encoder)->dim * e->settings.n_poolings;
    st = open_stages(e, err);
    if (!st) st = loam_fingerprint(e->fingerprint, e->encoder, &e->settings, e->max_tokens, err);
    if (st) goto done;
    *out = e;
    e = NULL;
done:
    loam_embedder_close(e);
    return st;
}

void loam_embedder_close(loam_embedder *e) {
    if (!e) return;
    for (size_t i = 0; i < LOAM_MAX_ST_STAGES; i++) {
        free(e->stages[i].data);
        free(e->stages[i].bias);
    }
    loam_compute_deinit(&e->compute);
    loam_ids_deinit(&e->ids);
    free(e->starts);
    loam_tokenizer_close(e->tokenizer);
    loam_encoder_close(e->encoder);
    loam_st_settings_deinit(&e->settings);
    free(e);
}

size_t loam_embedder_dim(const loam_embedder *e) {
    return e->dim;
}
size_t loam_embedder_max_tokens(const loam_embedder *e) {
    return e->max_tokens;
}
const char *loam_embedder_fingerprint(const loam_embedder *e) {
    return e->fingerprint;
}

/* ---- text to ids ---- */

loam_status loam_embedder_count_tokens(const loam_embedder *e, loam_text text, size_t *n,
                                       loam_err *err) {
    loam_ids ids = {0};
    *n = 0;
    loam_status st = loam_frame_append(&e->frame, text.data, text.n, 0, &ids, err);
    if (!st) *n = ids.n;
    loam_ids_deinit(&ids);
    return st;
}

/* Each text behind the prompt, in one block that `block` owns. */
static loam_status add_prompt(const loam_text *texts, size_t n, const char *prompt, loam_buf *block,
                              loam_text *out, loam_err *err) {
    for (size_t i = 0; i < n; i++) {
        const size_t at = block->n;
        loam_buf_puts(block, prompt);
        loam_buf_append(block, texts[i].data, texts[i].n);
        out[i].n = block->n - at;
    }
    if (block->failed || !block->data) return loam_fail(err, LOAM_ERR_MEMORY, "%zu texts", n);
    for (size_t i = 0, at = 0; i < n; at += out[i++].n) out[i].data = block->data + at;
    return LOAM_OK;
}

/* Close the gaps of texts that are longer than the model takes. */
static loam_status cut_texts(loam_embedder *e, size_t n, loam_err *err) {
    size_t at = 0;
    for (size_t i = 0, begin = 0; i < n; i++) {
        const size_t end = e->starts[i + 1];
        const size_t kept =
            loam_frame_cut(&e->frame, e->ids.ids + begin, end - begin, e->max_tokens);
        /* a tokenizer without special tokens makes nothing of an empty text */
        if (kept == 0) return loam_fail(err, LOAM_ERR_ARGUMENT, "text %zu: has no tokens", i + 1);
        memmove(e->ids.ids + at, e->ids.ids + begin, kept * sizeof *e->ids.ids);
        begin = end;
        e->starts[i] = at;
        at += kept;
    }
    e->starts[n] = e->ids.n = at;
    return LOAM_OK;
}

static loam_status tokenize(loam_embedder *e, const loam_text *texts, size_t n, const char *prompt,
                            loam_err *err) {
    loam_buf block = {0};
    loam_text *joined = NULL;
    loam_status st = LOAM_OK;
    e->ids.n = 0;
    if (!loam_grow((void **)&e->starts, &e->cap_starts, n + 1, sizeof *e->starts))
        return loam_fail(err, LOAM_ERR_MEMORY, "%zu texts", n);
    if (*prompt) {
        joined = loam_alloc(n, sizeof *joined);
        st = joined ? add_prompt(texts, n, prompt, &block, joined, err)
                    : loam_fail(err, LOAM_ERR_MEMORY, "%zu texts", n);
    }
    if (!st)
        st = loam_tokenizer_encode_batch(e->tokenizer, e->compute.pool, joined ? joined : texts, n,
                                         LOAM_ENCODE_SPECIAL | LOAM_ENCODE_PARSE_SPECIAL, &e->ids,
                                         e->starts, err);
    if (!st) st = cut_texts(e, n, err);
    free(joined);
    loam_buf_deinit(&block);
    return st;
}

/* Tokens that the prompt takes at the head of every text, the leading special ones
 * included: all of the prompt's but its closing special tokens. */
static loam_status count_prompt(const loam_embedder *e, const char *prompt, size_t *n,
                                loam_err *err) {
    *n = 0;
    if (!*prompt || !e->settings.skip_prompt) return LOAM_OK;
    loam_status st = loam_embedder_count_tokens(e, (loam_text){prompt, strlen(prompt)}, n, err);
    if (!st) *n -= *n >= e->frame.n_suffix ? e->frame.n_suffix : *n;
    return st;
}

/* ---- pooling ---- */

typedef struct pool_job {
    const loam_embedder *e;
    size_t skip; /* leading tokens that do not count */
    float *out;  /* [n, pooled_dim] */
} pool_job;

/* out = sum over rows first .. n of weight * row; weights are 1, or the position from 1. */
static double sum_rows(const float *rows, size_t first, size_t n, size_t dim, int weighted,
                       float *out) {
    double total = 0.0;
    for (size_t c = 0; c < dim; c++) out[c] = 0.0f;
    for (size_t i = first; i < n; i++) {
        const float w = weighted ? (float)(i + 1) : 1.0f;
        for (size_t c = 0; c < dim; c++) out[c] += w * rows[i * dim + c];
        total += (double)w;
    }
    return total;
}

static void pool_mode(loam_pooling mode, const float *rows, size_t skip, size_t n, size_t dim,
                      float *out) {
    double total = 0.0;
    switch (mode) {
    case LOAM_POOL_CLS: memcpy(out, rows + skip * dim, dim * sizeof *out); return;
    case LOAM_POOL_LAST: memcpy(out, rows + (n - 1) * dim, dim * sizeof *out); return;
    case LOAM_POOL_MAX:
        memcpy(out, rows + skip * dim, dim * sizeof *out);
        for (size_t i = skip + 1; i < n; i++)
            for (size_t c = 0; c < dim; c++)
                if (rows[i * dim + c] > out[c]) out[c] = rows[i * dim + c];
        return;
    default: break;
    }
    total = sum_rows(rows, skip, n, dim, mode == LOAM_POOL_WEIGHTED, out);
    if (mode == LOAM_POOL_MEAN_SQRT) total = sqrt(total);
    for (size_t c = 0; c < dim; c++) out[c] = (float)((double)out[c] / total);
}

static void pool_sequence(void *ctx, size_t sequence, const float *rows, size_t n_rows) {
    const pool_job *j = ctx;
    const loam_st_settings *s = &j->e->settings;
    const size_t dim = loam_encoder_get_info(j->e->encoder)->dim;
    const size_t skip = j->skip < n_rows ? j->skip : n_rows - 1; /* cut inside the prompt */
    float *out = j->out + sequence * j->e->pooled_dim;
    for (size_t i = 0; i < s->n_poolings; i++)
        pool_mode(s->pooling[i], rows, skip, n_rows, dim, out + i * dim);
}

/* ---- after the pooling ---- */

/* torch's F.normalize: the norm is at least 1e-12. */
static void make_unit(float *x, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    const double norm = sqrt(sum);
    const double divisor = norm > 1e-12 ? norm : 1e-12;
    for (size_t i = 0; i < n; i++) x[i] = (float)((double)x[i] / divisor);
}

/* One pooled vector, in `row`, through all stages; `next` is of the same size.  Returns
 * where the result stands. */
static float *run_stages(loam_embedder *e, float *row, float *next) {
    size_t width = e->pooled_dim;
    for (size_t i = 0; i < e->settings.n_stages; i++) {
        const stage *s = &e->stages[i];
        if (!s->data) {
            make_unit(row, width);
            continue;
        }
        const loam_weight *w = &s->weight;
        loam_linear(&e->compute, &w, 1, row, 1, &next);
        width = w->rows;
        if (s->has_activation) loam_activate(&e->compute, s->activation, next, width);
        float *swap = row;
        row = next;
        next = swap;
    }
    return row;
}

/* Pooled vectors x [n, pooled_dim] to out [n, dim]; they may be the same memory when the
 * widths are equal. */
static loam_status finish(loam_embedder *e, const float *x, size_t n, float *out, loam_err *err) {
    size_t widest = e->pooled_dim;
    for (size_t i = 0; i < e->settings.n_stages; i++)
        if (e->stages[i].weight.rows > widest) widest = e->stages[i].weight.rows;
    float *rows = loam_alloc(2 * widest, sizeof *rows);
    if (!rows) return loam_fail(err, LOAM_ERR_MEMORY, "vectors of %zu numbers", widest);
    for (size_t i = 0; i < n; i++) {
        memcpy(rows, x + i * e->pooled_dim, e->pooled_dim * sizeof *rows);
        memcpy(out + i * e->dim, run_stages(e, rows, rows + widest), e->dim * sizeof *rows);
    }
    free(rows);
    return LOAM_OK;
}

loam_status loam_embedder_encode(loam_embedder *e, const loam_text *texts, size_t n,
                                 loam_embed_kind kind, float *out, const loam_cancel *cancel,
                                 loam_err *err) {
    const char *prompt =
        kind == LOAM_EMBED_QUERY ? e->settings.query_prompt : e->settings.document_prompt;
    if (n == 0) return LOAM_OK;
    pool_job job = {.e = e, .out = out};
    float *pooled = NULL; /* only when the stages change the width */
    size_t n_pooled = 0;
    loam_status st = count_prompt(e, prompt, &job.skip, err);
    if (!st) st = tokenize(e, texts, n, prompt, err);
    if (st) return st;
    if (e->pooled_dim != e->dim) {
        if (loam_mul(n, e->pooled_dim, &n_pooled)) pooled = loam_alloc(n_pooled, sizeof *pooled);
        if (!pooled) return loam_fail(err, LOAM_ERR_MEMORY, "vectors of %zu texts", n);
        job.out = pooled;
    }
    const loam_rows rows =
        e->settings.n_poolings == 1 && job.skip == 0 && e->settings.pooling[0] == LOAM_POOL_CLS
            ? LOAM_ROWS_FIRST
            : LOAM_ROWS_ALL;
    const loam_sequences s = {.ids = e->ids.ids, .starts = e->starts, .n = n};
    st = loam_encoder_run(e->encoder, &s, rows, pool_sequence, &job, cancel, err);
    if (!st) st = finish(e, job.out, n, out, err);
    free(pooled);
    return st;
}
