/* reranker_lm.h - rerankers that are language models: mxbai-rerank-v2 and Qwen3-Reranker.
 *
 *     loam_lm_reranker *r;
 *     if (loam_lm_reranker_open(&r, folder, LOAM_RERANK_MXBAI, 0, &options, &err)) ...
 *     loam_lm_reranker_score(r, query, texts, n, differences, NULL, &err);
 *     loam_lm_reranker_close(r);
 */
#ifndef LOAM_RAG_RERANKER_LM_H
#define LOAM_RAG_RERANKER_LM_H

#include <loam/rag.h>

typedef enum loam_rerank_prompt {
    LOAM_RERANK_MXBAI, /* logit("1") - logit("0") */
    LOAM_RERANK_QWEN3  /* logit("yes") - logit("no") */
} loam_rerank_prompt;

typedef struct loam_lm_reranker loam_lm_reranker;
/* max_length 0: 8192, as in the makers' programs; of query, separator and document (mxbai:
 * the query at most three quarters of it) or of everything (Qwen3).  Longer texts are cut. */
loam_status loam_lm_reranker_open(loam_lm_reranker **out, const char *folder,
                                  loam_rerank_prompt prompt, size_t max_length,
                                  const loam_embedder_options *o, loam_err *err);
void loam_lm_reranker_close(loam_lm_reranker *r);
/* Logit differences [n]. */
loam_status loam_lm_reranker_score(loam_lm_reranker *r, loam_text query, const loam_text *texts,
                                   size_t n, float *differences, const loam_cancel *cancel,
                                   loam_err *err);
/* The model's own normalised score of a difference. */
float loam_lm_reranker_normalise(const loam_lm_reranker *r, float difference);

#endif
