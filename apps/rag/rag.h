/* rag.h - the parts of rag-cli: what it holds open, one question's way through it.
 *
 *   rag_cli.c    options, the loop over questions
 *   load.c       index, embedder, reranker, language model
 *   retrieve.c   question -> hits -> [rerank] -> contexts, printed
 *   prefix.c     prompts that were read, kept on disk between runs
 *   answer.c     contexts -> prompt -> streamed answer -> citations, printed
 *   cite.c       "[2]" in an answer checked against the context it names
 *   line.c       questions from a pipe or the terminal
 */
#ifndef LOAM_RAG_APP_H
#define LOAM_RAG_APP_H

#include "cli/cli.h"
#include <loam/engine.h>
#include <loam/rag.h>
#include <loam/text.h>

/* The seed's defaults. */
#define RAG_DEFAULT_INDEX    "models/indexes/vdb.npz"
#define RAG_DEFAULT_MODEL    "mlx-community/Phi-3-mini-4k-instruct-unsloth-4bit"
#define RAG_DEFAULT_RERANKER "mlx-community/mxbai-rerank-large-v2"
#define RAG_DEFAULT_EMBEDDER "sentence-transformers/all-MiniLM-L6-v2"

/* How a passage came to be named as a source: the answer cites it and it holds the words, or
 * a sentence without a citation stands in it. */
enum { RAG_CITED = 1, RAG_MATCHED = 2 };

enum { RAG_CANDIDATES = 20, RAG_MAX_TOP_K = 100 };

typedef struct rag_args {
    const char *vdb_path, *model_id, *reranker_id, *embed_model, *system, *precision, *kv,
        *prefix_cache;
    size_t top_k, max_tokens, n_ctx, threads, prefix_mib;
    uint64_t seed;
    float temp;
    int no_reranker, json, no_stream, require_citations, no_speculation;
} rag_args;

typedef struct rag_app {
    const rag_args *args;
    loam_kv_type kv;
    loam_pool *pool;
    loam_index *index;
    loam_embedder *embedder;
    loam_reranker *reranker;
    loam_model *model;
    loam_tokenizer *tokenizer;
    loam_template *template; /* NULL: the model has none */
    loam_session *session;
    char *index_path; /* absolute */
    const char *model_name, *reranker_name;
    char prefix_key[48]; /* how the names of this model's files on disk begin; "": not known */
} rag_app;

/* One passage of the question at hand, best first. */
typedef struct rag_context {
    uint64_t id;
    float score, rerank_score;
    loam_chunk chunk;
    int cited; /* 0, RAG_CITED or RAG_MATCHED */
} rag_context;

typedef struct rag_contexts {
    rag_context items[RAG_MAX_TOP_K];
    size_t n;
} rag_contexts;

/* load.c: exits with one line on failure. */
void rag_load(rag_app *app, const rag_args *args);
void rag_unload(rag_app *app);

/* retrieve.c */
loam_status rag_retrieve(rag_app *app, loam_text question, rag_contexts *out, loam_err *err);
/* 0 when the best cosine is so low that the documents hardly speak of the question. */
int rag_related(const rag_contexts *c);
void rag_print_contexts(const rag_contexts *c);
/* "source, page 3, characters 120-640" */
void rag_put_place(loam_buf *b, const loam_chunk *c);
void rag_put_context_json(loam_buf *b, const rag_context *c, size_t number);

/* answer.c: returns the exit code of this question. */
int rag_answer(rag_app *app, loam_text question, rag_contexts *c);

/* prefix.c: put into the session what the disk holds of this prompt, if that is worth it; keep
 * the prompt that the session has read. */
void rag_prefix_load(rag_app *app, const loam_ids *ids);
void rag_prefix_save(rag_app *app, const loam_generate_result *r);

/* cite.c: sets `cited` of every context that the answer rests on; returns how many. */
size_t rag_cite(loam_text answer, rag_contexts *c);

/* line.c: next question, without its newline: 1; 0 at the end. */
typedef struct rag_lines rag_lines;
rag_lines *rag_lines_open(int prompt);
int rag_lines_next(rag_lines *l, loam_buf *line);
void rag_lines_close(rag_lines *l);

#endif
