/* engine.c - models and sessions: the decoder with the ids that end an answer, and a
 * timeline with the logits of its last position. */
#include "llm/session.h"
#include "model/config.h"
#include <stdio.h>

enum { DEFAULT_CONTEXT = 4096 };

/* eos_token_id: an id or a list of ids. */
static loam_status read_eos(loam_model *m, const loam_json_value *v, const char *file,
                            loam_err *err) {
    const int is_list = loam_json_type_of(v) == LOAM_JSON_ARRAY;
    const size_t vocab = m->decoder->config.vocab;

    m->n_eos = 0;
    for (const loam_json_value *item = is_list ? loam_json_first(v) : v; item;
         item = is_list ? loam_json_next(item) : NULL) {
        int64_t id;
        if (!loam_json_int(item, &id) || id < 0 || id > INT32_MAX || m->n_eos == LOAM_MAX_EOS)
            return loam_fail(err, LOAM_ERR_FORMAT,
                             "%s: eos_token_id is not a token id or a list of at most %d", file,
                             LOAM_MAX_EOS);
        /* ids above the vocabulary never come up; some exports name the padded ones */
        if ((size_t)id < vocab) m->eos[m->n_eos++] = (int32_t)id;
    }
    return LOAM_OK;
}

/* generation_config.json's eos wins over config.json's. */
static loam_status find_eos(loam_model *m, const char *folder, loam_err *err) {
    const loam_json_value *v = loam_config_get(m->decoder->file.root, "eos_token_id");
    loam_json *doc = NULL;
    loam_status st = v ? read_eos(m, v, m->decoder->file.path, err) : LOAM_OK;
    char *path = loam_path_join(folder, "generation_config.json");

    if (!path) return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", folder);
    if (!st && loam_path_exists(path)) {
        st = loam_json_read(&doc, path, 1 << 20, LOAM_JSON_ALLOW_NAN, err);
        v = st ? NULL : loam_config_get(loam_json_root(doc), "eos_token_id");
        if (v) st = read_eos(m, v, path, err);
    }
    loam_json_free(doc);
    free(path);
    return st;
}

loam_status loam_model_open(loam_model **out, const char *folder, const loam_model_options *o,
                            loam_err *err) {
    loam_status st;

    *out = NULL;
    LOAM_ASSERT(o && o->pool);
    const loam_precision precision = o->precision == LOAM_EXACT ? LOAM_EXACT : LOAM_FAST;
    const loam_kv_type kv = loam_kv_type_of(precision, o->kv);
    if (precision == LOAM_EXACT && kv != LOAM_KV_F32)
        return loam_fail(err, LOAM_ERR_ARGUMENT,
                         "exact holds keys and values in f32: another type goes with fast only");
    loam_model *m = loam_alloc(1, sizeof *m);
    if (!m) return loam_fail(err, LOAM_ERR_MEMORY, "%s: out of memory", folder);
    m->pool = o->pool;
    m->precision = precision;
    m->kv = kv;
    st = loam_decoder_open(&m->decoder, folder, err);
    if (!st) st = find_eos(m, folder, err);
    if (st) goto done;
    *out = m;
    m = NULL;
done:
    loam_model_close(m);
    return st;
}

void loam_model_close(loam_model *m) {
    if (!m) return;
    loam_decoder_close(m->decoder);
    free(m);
}

static uint64_t matrix_bytes(const loam_weight *w) {
    const size_t scale = w->scale_dtype == LOAM_F32 ? 4 : 2;
    const size_t groups = w->format == LOAM_FORMAT_AFFINE ? w->cols / (size_t)w->group : 0;
    return (uint64_t)w->rows * (loam_weight_row_bytes(w) + 2 * scale * groups);
}

void loam_model_get_info(const loam_model *m, loam_model_info *out) {
    const loam_decoder_config *c = &m->decoder->config;
    const loam_weight *embed = &m->decoder->embed;
    const int tied = m->decoder->head.data == embed->data;
    *out = (loam_model_info){.n_layers = c->n_layers,
                             .dim = c->dim,
                             .n_heads = c->n_heads,
                             .n_kv_heads = c->n_kv_heads,
                             .head_dim = c->head_dim,
                             .vocab = c->vocab,
                             .n_ctx_max = c->n_ctx_max,
                             .n_params = loam_weights_n_params(m->decoder->weights),
                             .weight_bytes = loam_weights_bytes(m->decoder->weights)};
    snprintf(out->model_type, sizeof out->model_type, "%s", c->model_type);
    loam_weights_quantization(m->decoder->weights, &out->bits, &out->group_size);
    out->layer_params = out->n_params - (uint64_t)c->vocab * c->dim * (tied ? 1 : 2);
    out->token_bytes = out->weight_bytes - (tied ? 0 : matrix_bytes(embed));
    out->kv_bytes =
        (uint64_t)2 * c->n_layers * c->n_kv_heads * loam_kv_type_row_bytes(m->kv, c->head_dim);
}

size_t loam_model_eos(const loam_model *m, const int32_t **ids) {
    *ids = m->eos;
    return m->n_eos;
}

loam_precision loam_model_precision(const loam_model *m) {
    return m->precision;
}

loam_kv_type loam_model_kv(const loam_model *m) {
    return m->kv;
}

loam_status loam_session_new(loam_session **out, const loam_model *m, size_t n_ctx, loam_err *err) {
    const loam_decoder_config *c = &m->decoder->config;
    loam_status st;

    *out = NULL;
    if (n_ctx == 0) n_ctx = c->n_ctx_max < DEFAULT_CONTEXT ? c->n_ctx_max : DEFAULT_CONTEXT;
    if (n_ctx > c->n_ctx_max)
        return loam_fail(err, LOAM_ERR_LIMIT,
                         "a context of %zu tokens is more than the model's %zu", n_ctx,
                         c->n_ctx_max);
    loam_session *s = loam_alloc(1, sizeof *s);
    if (!s) return loam_fail(err, LOAM_ERR_MEMORY, "no memory for a session");
    s->model = m;
    s->vocab = c->vocab;
    loam_pass_cost_init(&s->pass_cost);
    st = loam_timeline_new(&s->timeline, m->decoder, m->pool, m->precision, m->kv, n_ctx, err);
    if (st) goto done;
    s->ids = loam_alloc(n_ctx, sizeof *s->ids);
    s->last_logits = loam_alloc(c->vocab, sizeof *s->last_logits);
    s->logprobs = loam_alloc(c->vocab, sizeof *s->logprobs);
    s->sort = loam_alloc(c->vocab, sizeof *s->sort);
    if (!s->ids || !s->last_logits || !s->logprobs || !s->sort) {
        st = loam_fail(err, LOAM_ERR_MEMORY, "no memory for a session");
        goto done;
    }
    *out = s;
    s = NULL;
done:
    loam_session_free(s);
    return st;
}

void loam_session_free(loam_session *s) {
    if (!s) return;
    loam_timeline_free(s->timeline);
    free(s->ids);
    free(s->last_logits);
    free(s->logprobs);
    free(s->sort);
    free(s->all_logits);
    free(s);
}

void loam_session_reset(loam_session *s) {
    loam_session_truncate(s, 0);
}

void loam_session_truncate(loam_session *s, size_t n) {
    if (n >= loam_timeline_position(s->timeline)) return;
    loam_timeline_truncate(s->timeline, n);
    s->logits = NULL;
}

size_t loam_session_keep_prefix(loam_session *s, const int32_t *ids, size_t n) {
    const size_t position = loam_timeline_position(s->timeline);
    size_t same = 0;
    while (same < n && same < position && s->ids[same] == ids[same]) same++;
    if (same == n && n > 0 && !(position == n && s->logits)) same--;
    loam_session_truncate(s, same);
    return same;
}

size_t loam_session_position(const loam_session *s) {
    return loam_timeline_position(s->timeline);
}
size_t loam_session_n_ctx(const loam_session *s) {
    return loam_timeline_n_ctx(s->timeline);
}
const int32_t *loam_session_ids(const loam_session *s) {
    return s->ids;
}
const float *loam_session_logits(const loam_session *s) {
    return s->logits;
}

/* The n ids before the position are these. */
static void note_ids(loam_session *s, const int32_t *ids, size_t n) {
    memcpy(s->ids + loam_timeline_position(s->timeline) - n, ids, n * sizeof *ids);
}

loam_status loam_session_feed(loam_session *s, const int32_t *ids, size_t n,
                              const loam_cancel *cancel, loam_err *err) {
    const loam_status st = loam_timeline_feed(s->timeline, ids, n, cancel, err);
    if (st) return st; /* the old logits still belong to the old position */
    note_ids(s, ids, n);
    loam_timeline_logits(s->timeline, s->last_logits);
    s->logits = s->last_logits;
    return LOAM_OK;
}

typedef struct each_position {
    loam_session *s;
    void (*each)(void *ctx, size_t i, const float *logits); /* NULL: the rows are what is wanted */
    void *ctx;
} each_position;

static void head_of_chunk(void *ctx, size_t first, size_t m, const float *hidden) {
    const each_position *e = ctx;
    const loam_session *s = e->s;
    const size_t dim = s->model->decoder->config.dim;
    for (size_t i = 0; i < m; i += LOAM_LOGIT_ROWS) {
        const size_t rows = m - i < LOAM_LOGIT_ROWS ? m - i : LOAM_LOGIT_ROWS;
        loam_timeline_head(s->timeline, hidden + i * dim, rows, s->all_logits);
        for (size_t j = 0; e->each && j < rows; j++)
            e->each(e->ctx, first + i + j, s->all_logits + j * s->vocab);
    }
}

loam_status loam_session_make_rows(loam_session *s, loam_err *err) {
    if (!s->all_logits)
        s->all_logits = loam_alloc(LOAM_LOGIT_ROWS * s->vocab, sizeof *s->all_logits);
    return s->all_logits ? LOAM_OK
                         : loam_fail(err, LOAM_ERR_MEMORY,
                                     "no memory for the logits of %d positions", LOAM_LOGIT_ROWS);
}

/* As feed_each of the timeline; the session's logits become the last row. */
static loam_status feed_each(each_position *e, const int32_t *ids, size_t n,
                             const loam_cancel *cancel, loam_err *err) {
    loam_session *s = e->s;
    loam_status st = loam_session_make_rows(s, err);
    /* a failure after the first chunk must not have written over what is there */
    const int at_risk =
        n > loam_timeline_chunk(s->timeline) && s->logits && s->logits != s->last_logits;
    if (!st && at_risk) {
        memcpy(s->last_logits, s->logits, s->vocab * sizeof *s->last_logits);
        s->logits = s->last_logits;
    }
    if (!st) st = loam_timeline_feed_each(s->timeline, ids, n, head_of_chunk, e, cancel, err);
    if (st) return st;
    note_ids(s, ids, n);
    const size_t in_chunk = (n - 1) % loam_timeline_chunk(s->timeline);
    s->logits = s->all_logits + in_chunk % LOAM_LOGIT_ROWS * s->vocab;
    return LOAM_OK;
}

loam_status loam_session_feed_all(loam_session *s, const int32_t *ids, size_t n,
                                  void (*each)(void *ctx, size_t i, const float *logits), void *ctx,
                                  loam_err *err) {
    return feed_each(&(each_position){s, each, ctx}, ids, n, NULL, err);
}

loam_status loam_session_feed_rows(loam_session *s, const int32_t *ids, size_t n,
                                   const loam_cancel *cancel, loam_err *err) {
    LOAM_ASSERT(n <= LOAM_LOGIT_ROWS && n <= loam_timeline_chunk(s->timeline));
    return feed_each(&(each_position){s, NULL, NULL}, ids, n, cancel, err);
}

void loam_session_settle(loam_session *s, size_t n, size_t row) {
    loam_timeline_truncate(s->timeline, n);
    s->logits = s->all_logits + row * s->vocab;
}
