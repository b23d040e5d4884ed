/* rag.h - embed texts, keep them in an index, find them again, rerank them.
 *
 *     loam_embedder *e;   loam_index *ix;   loam_hit hits[5];
 *     loam_embedder_open(&e, folder, &(loam_embedder_options){.pool = pool}, &err);
 *     loam_embedder_encode(e, &text, 1, LOAM_EMBED_QUERY, q, &err);
 *     loam_index_open(&ix, "vdb.npz", &err);
 *     size_t n = loam_index_search(ix, pool, q, hits, 5);
 *
 * The index file is the reference lab's VectorDB .npz, written so that numpy and
 * MLX read it, with a sidecar INDEX.npz.meta.json (docs/FORMATS.md).
 */
#ifndef LOAM_RAG_H
#define LOAM_RAG_H

#include <loam/base.h>
#include <loam/engine.h>

/* ---- embedder: BERT-type encoders with the folder's own pooling settings ---- */
typedef struct loam_embedder loam_embedder;
typedef struct loam_embedder_options {
    loam_pool *pool; /* borrowed; must not be NULL */
    loam_precision precision;
} loam_embedder_options;

LOAM_API loam_status loam_embedder_open(loam_embedder **out, const char *folder,
                                        const loam_embedder_options *o, loam_err *err);
LOAM_API void loam_embedder_close(loam_embedder *e);
LOAM_API size_t loam_embedder_dim(const loam_embedder *e);
LOAM_API size_t loam_embedder_max_tokens(const loam_embedder *e); /* special tokens included */
/* 64 hex digits + NUL: identifies weights, tokenizer and settings (see docs/FORMATS.md). */
LOAM_API const char *loam_embedder_fingerprint(const loam_embedder *e);
/* Tokens of a text, special ones included, uncut. */
LOAM_API loam_status loam_embedder_count_tokens(const loam_embedder *e, loam_text text, size_t *n,
                                                loam_err *err);
typedef enum loam_embed_kind {
    LOAM_EMBED_DOCUMENT,
    LOAM_EMBED_QUERY /* config_sentence_transformers.json's "query" prompt, when there */
} loam_embed_kind;
/* out: [n, dim], rows of unit length when the folder normalises (else as pooled).  Texts
 * longer than max_tokens are cut, as sentence-transformers does.  Order kept; work is
 * batched by token count inside.  One call at a time per embedder. */
LOAM_API loam_status loam_embedder_encode(loam_embedder *e, const loam_text *texts, size_t n,
                                          loam_embed_kind kind, float *out,
                                          const loam_cancel *cancel, loam_err *err);

/* ---- reranker: cross-encoder (BERT), mxbai-rerank-v2 (qwen2), Qwen3-Reranker ---- */
typedef struct loam_reranker loam_reranker;
LOAM_API loam_status loam_reranker_open(loam_reranker **out, const char *folder,
                                        const loam_embedder_options *o, loam_err *err);
LOAM_API void loam_reranker_close(loam_reranker *r);
/* scores: [n].  raw: the logit, or the logit difference; else the model's own
 * normalised score (docs/FORMATS.md).  Rank by score, ties by lower index. */
LOAM_API loam_status loam_reranker_score(loam_reranker *r, loam_text query, const loam_text *texts,
                                         size_t n, int raw, float *scores,
                                         const loam_cancel *cancel, loam_err *err);

/* ---- search over vectors ---- */
typedef struct loam_hit {
    uint64_t id;
    float score; /* dot product; cosine for unit vectors */
} loam_hit;

/* What a search reads of every vector.  F16 and INT8 choose the best max(4 k, 64) candidates
 * from a smaller copy (half, a quarter of the bytes; made at the first use, kept in memory)
 * and score these from the f32 vectors: the scores are those of F32, and so is the order of
 * what is found. */
typedef enum loam_scan { LOAM_SCAN_F32, LOAM_SCAN_F16, LOAM_SCAN_INT8 } loam_scan;

/* Exact search over vectors [count, dim] of about unit length, dim <= 65536. */
typedef struct loam_flat loam_flat;
/* `vectors` is borrowed until the close.  Errors: ARGUMENT, MEMORY. */
LOAM_API loam_status loam_flat_new(loam_flat **out, const float *vectors, size_t count, size_t dim,
                                   loam_err *err);
LOAM_API void loam_flat_free(loam_flat *f); /* NULL is allowed */
/* Make the copy that `scan` reads now instead of at its first use. */
LOAM_API loam_status loam_flat_prepare(loam_flat *f, loam_pool *pool, loam_scan scan,
                                       loam_err *err);
/* The best m = min(k, count) of each query, hits[q * k + 0 .. m): best first, ties by lower id.
 * queries [n_queries, dim].  f32 sums in a fixed order: the same bits for any number of
 * threads and queries.  The vectors are read once for up to 64 queries.  Any number of
 * threads may search at the same time.  Errors: MEMORY, CANCELLED. */
LOAM_API loam_status loam_flat_search(loam_flat *f, loam_pool *pool, loam_scan scan,
                                      const float *queries, size_t n_queries, loam_hit *hits,
                                      size_t k, const loam_cancel *cancel, loam_err *err);

/* ---- index ---- */
typedef struct loam_index loam_index;

typedef struct loam_chunk {
    loam_text text;
    loam_text source;
    int64_t page;       /* from 1; 0: unknown */
    int64_t begin, end; /* span in the document's text, in code points; -1: unknown */
} loam_chunk;

/* What the sidecar says; empty strings and 0 when there is none. */
typedef struct loam_index_meta {
    char model_id[256];
    char fingerprint[65];
    char chunker[64];
} loam_index_meta;

/* Every member is checked before use.  Errors: NOT_FOUND, FORMAT, MEMORY, LIMIT, IO. */
LOAM_API loam_status loam_index_open(loam_index **out, const char *path, loam_err *err);
LOAM_API void loam_index_close(loam_index *ix);
LOAM_API size_t loam_index_count(const loam_index *ix);
LOAM_API size_t loam_index_dim(const loam_index *ix);
LOAM_API const loam_index_meta *loam_index_get_meta(const loam_index *ix);
LOAM_API loam_chunk loam_index_chunk(const loam_index *ix, uint64_t id); /* borrowed; id < count */
LOAM_API const float *loam_index_vector(const loam_index *ix, uint64_t id); /* [dim] */
/* Chunks whose text, or source, the reference lab's loader would show wrong. */
LOAM_API void loam_index_reference_damage(const loam_index *ix, size_t *texts, size_t *sources);
/* OK, or ARGUMENT with the fix in the message when the index was made with another embedder. */
LOAM_API loam_status loam_index_check_embedder(const loam_index *ix, const loam_embedder *e,
                                               const char *path, loam_err *err);

/* 1 when the rows of the file were not of unit length: they were scaled to it, so that scores are
 * cosines here too. */
LOAM_API int loam_index_was_scaled(const loam_index *ix);

/* The best min(k, count) by dot product, best first, ties by lower id; full scan,
 * bounded heap, f32 sums in a fixed order (same bits on any thread count).  Returns
 * how many.  `query` is [dim].  Any number of threads may search one index. */
LOAM_API size_t loam_index_search(const loam_index *ix, loam_pool *pool, const float *query,
                                  loam_hit *hits, size_t k);
/* The same for queries [n_queries, dim] at once: hits [n_queries, k], see loam_flat_search. */
LOAM_API loam_status loam_index_search_batch(const loam_index *ix, loam_pool *pool, loam_scan scan,
                                             const float *queries, size_t n_queries, loam_hit *hits,
                                             size_t k, const loam_cancel *cancel, loam_err *err);

/* One document of an index being written. */
typedef struct loam_index_document {
    const char *path; /* absolute */
    char hash[65];    /* sha256 of the file's bytes */
    size_t n_chunks;  /* consecutive, documents in order */
} loam_index_document;

typedef struct loam_index_content {
    const loam_chunk *chunks;
    const float *vectors; /* [n_chunks, dim] */
    size_t n_chunks, dim;
    const loam_index_document *documents;
    size_t n_documents;
    loam_index_meta meta;
    size_t chunk_size, chunk_overlap; /* of the chunker; 0 when it has none */
} loam_index_content;

/* Index and sidecar appear whole or not at all: an old index survives any failure;
 * a sidecar that does not belong to its index (hash of the index inside) is ignored
 * on reading.  A lock (flock on PATH.lock) keeps two writers apart: BUSY. */
LOAM_API loam_status loam_index_write(const char *path, const loam_index_content *c, loam_err *err);
/* The lock alone, for who reads an index, works on it and writes it: hold it from before the
 * reading on.  While this process holds it, loam_index_write takes part in it. */
typedef struct loam_index_lock loam_index_lock;
LOAM_API loam_status loam_index_lock_take(loam_index_lock **out, const char *path, loam_err *err);
LOAM_API void loam_index_lock_free(loam_index_lock *lock); /* NULL is allowed */
LOAM_API size_t loam_index_n_documents(const loam_index *ix);
LOAM_API const loam_index_document *loam_index_document_at(const loam_index *ix, size_t i);

#endif
