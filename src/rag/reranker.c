/* reranker.c - scores of texts for a query, by whatever reranker the folder holds.
 *
 * config.json's architecture decides:
 *
 *     BertForSequenceClassification (RoBERTa and XLM-R too)   cross-encoder, here
 *     Qwen2ForCausalLM                                        mxbai-rerank-v2   reranker_lm.c
 *     Qwen3ForCausalLM                                        Qwen3-Reranker    reranker_lm.c
 *
 * A cross-encoder reads "[CLS] query [SEP] text [SEP]", cut longest first; an empty text
 * leaves "[CLS] query [SEP]", as transformers makes of it.  Its normalised
 * score is the logit through the activation that the config names, a sigmoid when it names
 * none, as sentence-transformers' CrossEncoder.predict gives it.
 */
#include "model/config.h"
#include "model/encoder.h"
#include "rag/frame.h"
#include "rag/reranker_lm.h"
#include "rag/st_settings.h"
#include <loam/rag.h>
#include <loam/text.h>

#include <math.h>

enum { MIN_TOKENS = 8 }; /* special tokens and something between them */

typedef enum activation { ACTIVATION_SIGMOID, ACTIVATION_IDENTITY, ACTIVATION_TANH } activation;

struct loam_reranker {
    loam_lm_reranker *lm; /* then nothing below is used */
    loam_encoder *encoder;
    loam_tokenizer *tokenizer;
    activation activation;
    loam_frame frame;
    size_t max_tokens;
    loam_ids ids, types;
    size_t *starts, cap_starts;
};

/* ---- opening ---- */

static const char *last_word(const char *type) {
    const char *dot = strrchr(type, '.');
    return dot ? dot + 1 : type;
}

/* "sentence_transformers": {"activation_fn": ...}, or the older key of its own. */
static loam_status read_activation(loam_reranker *r, const loam_config *c, loam_err *err) {
    const char *name = NULL;
    loam_status st = loam_config_string(c, loam_config_get(c->root, "sentence_transformers"),
                                        "activation_fn", "", &name, err);
    if (!st && !*name)
        st = loam_config_string(c, c->root, "sbert_ce_default_activation_function", "Sigmoid",
                                &name, err);
    if (st) return st;
    name = last_word(name);
    if (strcmp(name, "Identity") == 0)
        r->activation = ACTIVATION_IDENTITY;
    else if (strcmp(name, "Sigmoid") == 0)
        r->activation = ACTIVATION_SIGMOID;
    else if (strcmp(name, "Tanh") == 0)
        r->activation = ACTIVATION_TANH;
    else
        return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                         "%s: activation function \"%s\" is not known (Identity, Sigmoid, Tanh)",
                         c->path, name);
    return LOAM_OK;
}

static loam_status open_cross_encoder(loam_reranker *r, const char *folder, const loam_config *c,
                                      const loam_embedder_options *o, loam_err *err) {
    size_t limit = 0;
    loam_status st = read_activation(r, c, err);
    if (!st)
        st = loam_encoder_open(&r->encoder, folder, o->pool,
                               o->precision == LOAM_FAST ? LOAM_FAST : LOAM_EXACT, err);
    if (st) return st;
    const loam_encoder_info *info = loam_encoder_get_info(r->encoder);
    if (!info->has_head)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                         "%s: not a reranker: no classifier with one output in the weights "
                         "(an embedding model?)",
                         folder);
    st = loam_tokenizer_open(&r->tokenizer, folder, err);
    if (!st) st = loam_frame_find(&r->frame, r->tokenizer, err);
    if (!st) st = loam_read_model_max_length(&limit, folder, err);
    r->max_tokens = info->n_positions;
    if (limit && limit < r->max_tokens) r->max_tokens = limit;
    if (!st && r->max_tokens < MIN_TOKENS)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: %zu tokens at most leave no room for a pair",
                         folder, r->max_tokens);
    return st;
}

static const char *architecture_of(const loam_config *c) {
    const char *name =
        loam_json_string(loam_json_at(loam_config_get(c->root, "architectures"), 0), NULL);
    return name ? name : "";
}

static int starts_with(const char *s, const char *start) {
    return strncmp(s, start, strlen(start)) == 0;
}

static loam_status open_by_architecture(loam_reranker *r, const char *folder, const loam_config *c,
                                        const loam_embedder_options *o, loam_err *err) {
    const char *model = "", *name = architecture_of(c);
    loam_status st = loam_config_string(c, c->root, "model_type", "", &model, err);
    if (st) return st;
    /* conversions sometimes drop `architectures`: then the model type must do */
    const int classifier = strstr(name, "ForSequenceClassification") != NULL;
    if (strcmp(name, "Qwen2ForCausalLM") == 0 || (!*name && strcmp(model, "qwen2") == 0))
        return loam_lm_reranker_open(&r->lm, folder, LOAM_RERANK_MXBAI, 0, o, err);
    if (strcmp(name, "Qwen3ForCausalLM") == 0 || (!*name && strcmp(model, "qwen3") == 0))
        return loam_lm_reranker_open(&r->lm, folder, LOAM_RERANK_QWEN3, 0, o, err);
    const int bert = starts_with(name, "Bert") || starts_with(name, "Roberta") ||
                     starts_with(name, "XLMRoberta") || starts_with(name, "Camembert");
    if ((classifier && bert) || (!*name && *model)) return open_cross_encoder(r, folder, c, o, err);
    return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                     "%s: %s is not a reranker loam knows (BertForSequenceClassification, "
                     "Qwen2ForCausalLM, Qwen3ForCausalLM)",
                     c->path, *name ? name : "the model");
}

loam_status loam_reranker_open(loam_reranker **out, const char *folder,
                               const loam_embedder_options *o, loam_err *err) {
    loam_reranker *r = NULL;
    loam_config config = {0};
    loam_status st;

    *out = NULL;
    if (!loam_path_is_folder(folder))
        return loam_fail(err, LOAM_ERR_NOT_FOUND, "%s: no such folder", folder);
    r = loam_alloc(1, sizeof *r);
    if (!r) return loam_fail(err, LOAM_ERR_MEMORY, "%s: reranker", folder);
    st = loam_config_open(&config, folder, err);
    if (!st) st = open_by_architecture(r, folder, &config, o, err);
    if (st) goto done;
    *out = r;
    r = NULL;
done:
    loam_reranker_close(r);
    loam_config_close(&config);
    return st;
}

void loam_reranker_close(loam_reranker *r) {
    if (!r) return;
    loam_lm_reranker_close(r->lm);
    loam_encoder_close(r->encoder);
    loam_tokenizer_close(r->tokenizer);
    loam_ids_deinit(&r->ids);
    loam_ids_deinit(&r->types);
    free(r->starts);
    free(r);
}

/* ---- scoring ---- */

static loam_status append_pair(loam_reranker *r, loam_text query, loam_text text, loam_err *err) {
    const char *q = query.data ? query.data : "", *t = text.data ? text.data : "";
    if (text.n > 0)
        return loam_tokenizer_encode_pair(r->tokenizer, q, query.n, t, text.n, r->max_tokens,
                                          LOAM_ENCODE_PARSE_SPECIAL, &r->ids, &r->types, err);
    loam_status st = loam_frame_append(&r->frame, q, query.n, r->max_tokens, &r->ids, err);
    while (!st && r->types.n < r->ids.n)
        if (!loam_ids_push(&r->types, 0)) st = loam_fail(err, LOAM_ERR_MEMORY, "token ids");
    return st;
}

static loam_status tokenize_pairs(loam_reranker *r, loam_text query, const loam_text *texts,
                                  size_t n, loam_err *err) {
    r->ids.n = r->types.n = 0;
    if (!loam_grow((void **)&r->starts, &r->cap_starts, n + 1, sizeof *r->starts))
        return loam_fail(err, LOAM_ERR_MEMORY, "%zu texts", n);
    for (size_t i = 0; i < n; i++) {
        loam_err inner = {0};
        r->starts[i] = r->ids.n;
        loam_status st = append_pair(r, query, texts[i], &inner);
        if (st) return loam_fail(err, st, "text %zu: %s", i + 1, inner.msg);
        if (r->ids.n == r->starts[i])
            return loam_fail(err, LOAM_ERR_ARGUMENT, "text %zu: has no tokens", i + 1);
    }
    r->starts[n] = r->ids.n;
    return LOAM_OK;
}

static float activate(activation a, float x) {
    if (a == ACTIVATION_IDENTITY) return x;
    if (a == ACTIVATION_TANH) return tanhf(x);
    return (float)(1.0 / (1.0 + exp(-(double)x)));
}

loam_status loam_reranker_score(loam_reranker *r, loam_text query, const loam_text *texts, size_t n,
                                int raw, float *scores, const loam_cancel *cancel, loam_err *err) {
    loam_status st;
    if (n == 0) return LOAM_OK;
    if (r->lm) {
        st = loam_lm_reranker_score(r->lm, query, texts, n, scores, cancel, err);
        for (size_t i = 0; i < n && !st && !raw; i++)
            scores[i] = loam_lm_reranker_normalise(r->lm, scores[i]);
        return st;
    }
    st = tokenize_pairs(r, query, texts, n, err);
    if (st) return st;
    const loam_sequences s = {
        .ids = r->ids.ids, .types = r->types.ids, .starts = r->starts, .n = n};
    st = loam_encoder_score(r->encoder, &s, scores, cancel, err);
    for (size_t i = 0; i < n && !st && !raw; i++) scores[i] = activate(r->activation, scores[i]);
    return st;
}
