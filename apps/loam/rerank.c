/* rerank.c - loam rerank: a score for each line. */
#include "cli/cli.h"
#include "loam/commands.h"
#include "loam/lines.h"
#include <loam/json.h>
#include <loam/rag.h>

#include <stdlib.h>
#include <string.h>

typedef struct args {
    const char *model, *query, *precision;
    int raw, json;
    size_t threads;
} args;

static const cli_option OPTIONS[] = {
    {"model", 'm', CLI_STRING, offsetof(args, model), "DIR", "reranker: folder or name (required)",
     0, 0},
    {"query", 'q', CLI_STRING, offsetof(args, query), "Q", "the question (required)", 0, 0},
    {"raw-scores", 0, CLI_FLAG, offsetof(args, raw), NULL,
     "the logit, or the logit difference, instead of the model's normalised score", 0, 0},
    {"precision", 0, CLI_CHOICE, offsetof(args, precision), "exact|fast",
     "default: exact for cross-encoders, fast (8-bit activations) for language models", 0, 0},
    {"json", 0, CLI_FLAG, offsetof(args, json), NULL,
     "one JSON object: scores in input order, ranking by score", 0, 0},
    {"threads", 't', CLI_SIZE, offsetof(args, threads), "N",
     "threads (default: the CPUs this process may use)", 0, 256},
    {0}};

static const cli_program PROGRAM = {
    "loam rerank",
    "--model DIR --query Q [OPTIONS] < TEXTS",
    "How well each text answers a query, a text a line: plain, or a JSON string. Prints a "
    "score a line, in the order of the texts.",
    OPTIONS,
    "  loam rerank --model models/ms-marco --query 'What is MLX?' < candidates.txt\n"
    "  loam rerank --model models/mxbai-rerank-base --query 'What is MLX?' --raw-scores < c.txt\n",
    0,
    0};

typedef struct ranked {
    float score;
    size_t index;
} ranked;

static int compare(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static void put_ranking(loam_buf *b, const float *scores, size_t n) {
    ranked *order = calloc(n ? n : 1, sizeof *order);
    if (!order) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    for (size_t i = 0; i < n; i++) order[i] = (ranked){scores[i], i};
    qsort(order, n, sizeof *order, compare);
    loam_buf_puts(b, ", \"ranking\": [");
    for (size_t i = 0; i < n; i++) {
        loam_buf_printf(b, "%s{\"index\": %zu, \"score\": ", i ? ", " : "", order[i].index);
        loam_json_put_float(b, order[i].score);
        loam_buf_putc(b, '}');
    }
    loam_buf_putc(b, ']');
    free(order);
}

static void print_scores(const args *a, const float *scores, size_t n) {
    loam_buf b = {0};
    if (a->json) loam_buf_puts(&b, "{\"scores\": [");
    for (size_t i = 0; i < n; i++) {
        if (a->json && i) loam_buf_puts(&b, ", ");
        loam_json_put_float(&b, scores[i]);
        if (!a->json) loam_buf_putc(&b, '\n');
    }
    if (a->json) {
        loam_buf_putc(&b, ']');
        put_ranking(&b, scores, n);
        loam_buf_puts(&b, "}\n");
    }
    if (b.failed) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    if (b.n) (void)fwrite(b.data, 1, b.n, stdout);
    loam_buf_deinit(&b);
}

int loam_cmd_rerank(int argc, char **argv) {
    args a = {0};
    cli_strings rest = {0};
    cli_parse(&PROGRAM, argc, argv, &a, &rest);
    if (!a.model) cli_fail(CLI_EXIT_USAGE, "--model is missing: see 'loam rerank --help'");
    if (!a.query) cli_fail(CLI_EXIT_USAGE, "--query is missing: see 'loam rerank --help'");
    lines_check_utf8(a.query, strlen(a.query), "--query", 0);

    char *folder = cli_find_model(a.model);
    loam_pool *pool = cli_pool(a.threads);
    loam_reranker *r = NULL;
    loam_err err = {0};
    const loam_embedder_options options = {.pool = pool, .precision = cli_precision(a.precision)};
    if (loam_reranker_open(&r, folder, &options, &err)) cli_die(&err);

    lines l = {0};
    lines_read(&l);
    float *scores = calloc(l.n ? l.n : 1, sizeof *scores);
    if (!scores) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    const loam_text query = {a.query, strlen(a.query)};
    if (loam_reranker_score(r, query, l.items, l.n, a.raw, scores, &cli_cancel, &err))
        cli_die(&err);
    print_scores(&a, scores, l.n);

    free(scores);
    lines_deinit(&l);
    loam_reranker_close(r);
    loam_pool_free(pool);
    free(folder);
    return CLI_EXIT_OK;
}
