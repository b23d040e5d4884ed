/* retrieve.c - a question's passages: embed, search, rerank, show. */
#include "rag/rag.h"

#include <stdlib.h>
#include <string.h>

enum { SNIPPET_CHARACTERS = 180 };

static int better(const rag_context *a, const rag_context *b) {
    if (a->rerank_score > b->rerank_score) return 1;
    return !(a->rerank_score < b->rerank_score) && a->id < b->id;
}

/* At most a hundred: insertion sort, ties by lower id. */
static void sort_by_rerank(rag_context *c, size_t n) {
    for (size_t i = 1; i < n; i++) {
        const rag_context x = c[i];
        size_t j = i;
        for (; j > 0 && better(&x, &c[j - 1]); j--) c[j] = c[j - 1];
        c[j] = x;
    }
}

static loam_status rerank(rag_app *app, loam_text question, rag_contexts *c, loam_err *err) {
    loam_text texts[RAG_MAX_TOP_K];
    float scores[RAG_MAX_TOP_K];
    for (size_t i = 0; i < c->n; i++) texts[i] = c->items[i].chunk.text;
    const loam_status st =
        loam_reranker_score(app->reranker, question, texts, c->n, 0, scores, &cli_cancel, err);
    if (st) return st;
    for (size_t i = 0; i < c->n; i++) c->items[i].rerank_score = scores[i];
    sort_by_rerank(c->items, c->n);
    return LOAM_OK;
}

loam_status rag_retrieve(rag_app *app, loam_text question, rag_contexts *out, loam_err *err) {
    loam_hit hits[RAG_MAX_TOP_K];
    size_t want = app->args->top_k;
    out->n = 0;
    float *vector = malloc(loam_embedder_dim(app->embedder) * sizeof *vector);
    if (!vector) return loam_fail(err, LOAM_ERR_MEMORY, "question vector");
    loam_status st = loam_embedder_encode(app->embedder, &question, 1, LOAM_EMBED_QUERY, vector,
                                          &cli_cancel, err);
    if (!st) {
        if (app->reranker && want < RAG_CANDIDATES) want = RAG_CANDIDATES;
        out->n = loam_index_search(app->index, app->pool, vector, hits, want);
        for (size_t i = 0; i < out->n; i++)
            out->items[i] = (rag_context){hits[i].id, hits[i].score, hits[i].score,
                                          loam_index_chunk(app->index, hits[i].id), 0};
    }
    free(vector);
    if (!st && app->reranker && out->n > 0) st = rerank(app, question, out, err);
    if (out->n > app->args->top_k) out->n = app->args->top_k;
    return st;
}

/* Questions beside the documents score under 0.2 with MiniLM, those inside them over 0.35. */
int rag_related(const rag_contexts *c) {
    float best = -1.0f;
    for (size_t i = 0; i < c->n; i++)
        if (c->items[i].score > best) best = c->items[i].score;
    return best >= 0.25f;
}

/* As Python's textwrap.shorten(text, 180, placeholder="..."): white space folded, cut at a word. */
static void put_snippet(loam_buf *b, loam_text t) {
    const size_t start = b->n;
    size_t characters = 0, fits = b->n; /* where the text may end so that "..." still fits */
    for (size_t i = 0; i < t.n;) {
        while (i < t.n && strchr(" \t\r\n\v\f", t.data[i]) && t.data[i]) i++;
        size_t j = i, width = 0;
        for (; j < t.n && !(strchr(" \t\r\n\v\f", t.data[j]) && t.data[j]); j++)
            width += ((unsigned char)t.data[j] & 0xC0) != 0x80;
        if (j == i) break;
        const size_t space = b->n > start ? 1 : 0;
        if (characters + space + width > SNIPPET_CHARACTERS) {
            b->n = fits;
            loam_buf_puts(b, "...");
            return;
        }
        if (space) loam_buf_putc(b, ' ');
        loam_buf_append(b, t.data + i, j - i);
        characters += space + width;
        if (characters + 3 <= SNIPPET_CHARACTERS) fits = b->n;
        i = j;
    }
}

void rag_put_place(loam_buf *b, const loam_chunk *c) {
    loam_buf_append(b, c->source.data, c->source.n);
    if (c->page > 0) loam_buf_printf(b, ", page %lld", (long long)c->page);
    if (c->begin >= 0)
        loam_buf_printf(b, ", characters %lld-%lld", (long long)c->begin, (long long)c->end);
}

void rag_print_contexts(const rag_contexts *c) {
    loam_buf line = {0};
    printf("\n🔎 Retrieved context:\n");
    for (size_t i = 0; i < c->n; i++) {
        loam_buf_clear(&line);
        loam_buf_printf(&line, "[%zu] [", i + 1);
        rag_put_place(&line, &c->items[i].chunk);
        loam_buf_puts(&line, "] ");
        put_snippet(&line, c->items[i].chunk.text);
        loam_buf_putc(&line, '\n');
        if (line.data) cli_stdout_text(line.data, line.n);
    }
    cli_flush();
    loam_buf_deinit(&line);
}
