/* reranker_lm.c - two logits of a decoder as a relevance score.
 *
 *     mxbai   prefix | query: Q | \n | document: D | \n | task | suffix      '|': tokenised apart
 *     qwen3   prefix | <Instruct>: I \n <Query>: Q \n <Document>: D | suffix
 *
 * The parts are tokenised one by one and their ids joined, because merges must not cross
 * them.  What all candidates of a call begin with (prefix and query) is read once: each
 * candidate is fed from there and forgotten again.  Only two rows of the head are computed.
 *
 * Special tokens written out in a query or text become their ids, as in the libraries
 * whose scores these are.
 */
#include "rag/reranker_lm.h"

#include "model/decoder.h"
#include <loam/text.h>

#include <math.h>

enum {
    MAX_LENGTH = 8192,  /* of query and document (mxbai), of everything (qwen3) */
    CONTEXT_STEP = 256, /* contexts grow by this, so that a longer text seldom means a new one */
    BASE_DIM = 896      /* mxbai-rerank-base-v2; large-v2 has 1536 */
};

static const char MXBAI_PREFIX[] =
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
    "assistant.<|im_end|>\n<|im_start|>user\n";
static const char MXBAI_TASK[] =
    "You are a search relevance expert who evaluates how well documents match search queries. "
    "For each query-document pair, carefully analyze the semantic relationship between them, "
    "then provide your binary relevance judgment (0 for not relevant, 1 for relevant).\n"
    "Relevance:";
static const char MXBAI_SUFFIX[] = "<|im_end|>\n<|im_start|>assistant\n";
static const char QWEN3_PREFIX[] =
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    "the Instruct provided. Note that the answer can only be \"yes\" or "
    "\"no\".<|im_end|>\n<|im_start|>user\n";
static const char QWEN3_SUFFIX[] = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
static const char QWEN3_INSTRUCT[] =
    "Given a web search query, retrieve relevant passages that answer the query";

struct loam_lm_reranker {
    loam_rerank_prompt prompt;
    loam_decoder *decoder;
    loam_tokenizer *tokenizer;
    loam_timeline *timeline;
    loam_pool *pool;
    loam_precision precision;
    size_t max_length;
    float half_max;        /* mxbai: the score that counts as one half */
    int32_t judge[2];      /* ids of "1", "0" or "yes", "no" */
    loam_ids prefix, tail; /* fixed parts; tail: all that follows the document */
    loam_ids fed;          /* what the timeline holds */
    loam_ids ids, query;   /* of a call */
    loam_buf text;
    size_t *starts, cap_starts; /* [n + 1] into ids */
};

/* ---- opening ---- */

static loam_status append(const loam_lm_reranker *r, const char *text, size_t n, loam_ids *out,
                          loam_err *err) {
    return loam_tokenizer_encode(r->tokenizer, text, n, LOAM_ENCODE_PARSE_SPECIAL, out, err);
}

static loam_status append_text(const loam_lm_reranker *r, const char *text, loam_ids *out,
                               loam_err *err) {
    return append(r, text, strlen(text), out, err);
}

static loam_status find_judge(loam_lm_reranker *r, const char *folder, loam_err *err) {
    static const char *const WORDS[2][2] = {
        [LOAM_RERANK_MXBAI] = {"1", "0"}, [LOAM_RERANK_QWEN3] = {"yes", "no"}};
    for (int i = 0; i < 2; i++) {
        const char *word = WORDS[r->prompt][i];
        r->ids.n = 0;
        loam_status st = append_text(r, word, &r->ids, err);
        if (st) return st;
        if (r->ids.n != 1 || r->ids.ids[0] < 0 || (size_t)r->ids.ids[0] >= r->decoder->config.vocab)
            return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                             "%s: the tokenizer has no single token for \"%s\": not the tokenizer "
                             "of this reranker",
                             folder, word);
        r->judge[i] = r->ids.ids[0];
    }
    return LOAM_OK;
}

/* The fixed parts, and how long the rest may be. */
static loam_status prepare_prompt(loam_lm_reranker *r, const char *folder, size_t max_length,
                                  loam_err *err) {
    const int mxbai = r->prompt == LOAM_RERANK_MXBAI;
    loam_status st = append_text(r, mxbai ? MXBAI_PREFIX : QWEN3_PREFIX, &r->prefix, err);
    if (!st && mxbai) st = append_text(r, "\n", &r->tail, err);
    if (!st && mxbai) st = append_text(r, MXBAI_TASK, &r->tail, err);
    if (!st) st = append_text(r, mxbai ? MXBAI_SUFFIX : QWEN3_SUFFIX, &r->tail, err);
    if (st) return st;

    const size_t fixed = r->prefix.n + r->tail.n, room = r->decoder->config.n_ctx_max;
    if (room < fixed + 16)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: a context of %zu positions does not hold the prompt of %zu tokens",
                         folder, room, fixed);
    r->max_length = max_length ? max_length : MAX_LENGTH;
    if (!mxbai) r->max_length = r->max_length > fixed ? r->max_length - fixed : 1;
    if (r->max_length > room - fixed) r->max_length = room - fixed;
    return LOAM_OK;
}

loam_status loam_lm_reranker_open(loam_lm_reranker **out, const char *folder,
                                  loam_rerank_prompt prompt, size_t max_length,
                                  const loam_embedder_options *o, loam_err *err) {
    loam_lm_reranker *r = NULL;
    loam_status st;

    *out = NULL;
    r = loam_alloc(1, sizeof *r);
    if (!r) return loam_fail(err, LOAM_ERR_MEMORY, "%s: reranker", folder);
    r->prompt = prompt;
    r->pool = o->pool;
    r->precision = o->precision == LOAM_EXACT ? LOAM_EXACT : LOAM_FAST;
    st = loam_decoder_open(&r->decoder, folder, err);
    if (!st) {
        /* plain weights gain nothing but a rounded cache from LOAM_FAST */
        int bits, group;
        loam_weights_quantization(r->decoder->weights, &bits, &group);
        if (!bits) r->precision = LOAM_EXACT;
    }
    if (!st) st = loam_tokenizer_open(&r->tokenizer, folder, err);
    if (!st) st = find_judge(r, folder, err);
    if (!st) st = prepare_prompt(r, folder, max_length, err);
    if (st) goto done;
    const int base = r->decoder->config.dim == BASE_DIM || strstr(folder, "mxbai-rerank-base");
    r->half_max = prompt == LOAM_RERANK_QWEN3 ? 0.0f : base ? 4.5f : 6.0f;
    *out = r;
    r = NULL;
done:
    loam_lm_reranker_close(r);
    return st;
}

void loam_lm_reranker_close(loam_lm_reranker *r) {
    if (!r) return;
    loam_timeline_free(r->timeline);
    loam_decoder_close(r->decoder);
    loam_tokenizer_close(r->tokenizer);
    loam_ids_deinit(&r->prefix);
    loam_ids_deinit(&r->tail);
    loam_ids_deinit(&r->fed);
    loam_ids_deinit(&r->ids);
    loam_ids_deinit(&r->query);
    loam_buf_deinit(&r->text);
    free(r->starts);
    free(r);
}

/* sigmoid(d - max / 2) with the largest score that the makers expect (12, base model 9);
 * Qwen3-Reranker: P(yes) of the two. */
float loam_lm_reranker_normalise(const loam_lm_reranker *r, float difference) {
    return (float)(1.0 / (1.0 + exp(-((double)difference - (double)r->half_max))));
}

/* ---- prompt ---- */

static int push_all(loam_ids *to, const loam_ids *from) {
    for (size_t i = 0; i < from->n; i++)
        if (!loam_ids_push(to, from->ids[i])) return 0;
    return 1;
}

/* Append the ids of head + text as one string, cut to `max`. */
static loam_status append_cut(loam_lm_reranker *r, const char *head, loam_text text, size_t max,
                              loam_ids *out, loam_err *err) {
    loam_buf_puts(&r->text, head);
    loam_buf_append(&r->text, text.data ? text.data : "", text.n);
    if (r->text.failed) return loam_fail(err, LOAM_ERR_MEMORY, "a text of %zu bytes", text.n);
    const size_t start = out->n;
    loam_status st = append(r, r->text.data, r->text.n, out, err);
    if (!st && out->n - start > max) out->n = start + max;
    return st;
}

/* mxbai: the query may take three quarters; separator and document the rest. */
static loam_status append_mxbai(loam_lm_reranker *r, loam_text text, loam_err *err) {
    const size_t rest = r->max_length - r->query.n;
    if (!push_all(&r->ids, &r->query)) return loam_fail(err, LOAM_ERR_MEMORY, "token ids");
    const size_t start = r->ids.n;
    loam_status st = append_text(r, "\n", &r->ids, err);
    if (st) return st;
    loam_buf_clear(&r->text);
    st = append_cut(r, "document: ", text, r->max_length, &r->ids, err);
    if (!st && r->ids.n - start > rest) r->ids.n = start + rest;
    return st;
}

static loam_status append_qwen3(loam_lm_reranker *r, loam_text query, loam_text text,
                                loam_err *err) {
    loam_buf_clear(&r->text);
    loam_buf_printf(&r->text, "<Instruct>: %s\n<Query>: ", QWEN3_INSTRUCT);
    loam_buf_append(&r->text, query.data ? query.data : "", query.n);
    return append_cut(r, "\n<Document>: ", text, r->max_length, &r->ids, err);
}

static loam_status build_candidates(loam_lm_reranker *r, loam_text query, const loam_text *texts,
                                    size_t n, loam_err *err) {
    loam_err inner = {0};
    loam_status st = LOAM_OK;
    r->ids.n = r->query.n = 0;
    loam_buf_clear(&r->text);
    if (!loam_grow((void **)&r->starts, &r->cap_starts, n + 1, sizeof *r->starts))
        return loam_fail(err, LOAM_ERR_MEMORY, "%zu texts", n);
    if (r->prompt == LOAM_RERANK_MXBAI)
        st = append_cut(r, "query: ", query, r->max_length * 3 / 4, &r->query, &inner);
    if (st) return loam_fail(err, st, "query: %s", inner.msg);
    for (size_t i = 0; i < n; i++) {
        r->starts[i] = r->ids.n;
        if (!push_all(&r->ids, &r->prefix)) return loam_fail(err, LOAM_ERR_MEMORY, "token ids");
        st = r->prompt == LOAM_RERANK_MXBAI ? append_mxbai(r, texts[i], &inner)
                                            : append_qwen3(r, query, texts[i], &inner);
        if (st) return loam_fail(err, st, "text %zu: %s", i + 1, inner.msg);
        if (!push_all(&r->ids, &r->tail)) return loam_fail(err, LOAM_ERR_MEMORY, "token ids");
    }
    r->starts[n] = r->ids.n;
    return LOAM_OK;
}

/* ---- scoring ---- */

static size_t length_of(const loam_lm_reranker *r, size_t i) {
    return r->starts[i + 1] - r->starts[i];
}

static size_t count_equal(const int32_t *a, const int32_t *b, size_t n) {
    size_t k = 0;
    while (k < n && a[k] == b[k]) k++;
    return k;
}

/* How many ids all candidates share at their head, at least one id of each left over. */
static size_t count_shared(const loam_lm_reranker *r, size_t n) {
    size_t shared = n > 1 ? length_of(r, 0) - 1 : 0;
    for (size_t i = 1; i < n; i++) {
        const size_t most = length_of(r, i) - 1 < shared ? length_of(r, i) - 1 : shared;
        shared = count_equal(r->ids.ids, r->ids.ids + r->starts[i], most);
    }
    return shared;
}

static loam_status reserve_timeline(loam_lm_reranker *r, size_t n, loam_err *err) {
    if (r->timeline && loam_timeline_n_ctx(r->timeline) >= n) return LOAM_OK;
    loam_timeline_free(r->timeline);
    r->timeline = NULL;
    r->fed.n = 0;
    n = (n + CONTEXT_STEP - 1) / CONTEXT_STEP * CONTEXT_STEP;
    return loam_timeline_new(&r->timeline, r->decoder, r->pool, r->precision, LOAM_KV_DEFAULT, n,
                             err);
}

/* Make the timeline hold exactly the first `n` of `ids`, reading only what it lacks. */
static loam_status feed_shared(loam_lm_reranker *r, const int32_t *ids, size_t n,
                               const loam_cancel *cancel, loam_err *err) {
    const size_t most = n < r->fed.n ? n : r->fed.n;
    const size_t same = count_equal(ids, r->fed.ids, most);
    loam_timeline_truncate(r->timeline, same);
    r->fed.n = same;
    if (same == n) return LOAM_OK;
    loam_status st = loam_timeline_feed(r->timeline, ids + same, n - same, cancel, err);
    for (size_t i = same; i < n && !st; i++)
        if (!loam_ids_push(&r->fed, ids[i])) st = loam_fail(err, LOAM_ERR_MEMORY, "token ids");
    return st;
}

loam_status loam_lm_reranker_score(loam_lm_reranker *r, loam_text query, const loam_text *texts,
                                   size_t n, float *differences, const loam_cancel *cancel,
                                   loam_err *err) {
    size_t longest = 0;
    if (n == 0) return LOAM_OK;
    loam_status st = build_candidates(r, query, texts, n, err);
    if (st) return st;
    for (size_t i = 0; i < n; i++)
        if (length_of(r, i) > longest) longest = length_of(r, i);
    st = reserve_timeline(r, longest, err);
    const size_t shared = count_shared(r, n);
    if (!st) st = feed_shared(r, r->ids.ids, shared, cancel, err);
    for (size_t i = 0; i < n && !st; i++) {
        float logits[2];
        loam_timeline_truncate(r->timeline, shared);
        st = loam_timeline_feed(r->timeline, r->ids.ids + r->starts[i] + shared,
                                length_of(r, i) - shared, cancel, err);
        if (st) break;
        loam_timeline_logits_of(r->timeline, r->judge, 2, logits);
        differences[i] = logits[0] - logits[1];
    }
    /* whatever happened, only the shared part is known to be there */
    if (r->timeline) loam_timeline_truncate(r->timeline, r->fed.n);
    return st;
}
