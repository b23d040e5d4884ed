/* retrieval.c - embedder, search and tokenizer. */
#include "bench/bench.h"

#include <limits.h>
#include <loam/json.h>
#include <loam/rag.h>
#include <loam/text.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const WORDS[] = {
    "the",    "river",  "keeps",    "its",    "course", "while",   "people", "build",
    "houses", "near",   "water",    "and",    "trade",  "grain",   "for",    "tools",
    "every",  "summer", "brings",   "longer", "days",   "to",      "work",   "in",
    "fields", "under",  "changing", "light",  "with",   "careful", "hands",  "again"};

/* A sentence of n words, different for every index. */
static void put_sentence(loam_buf *b, size_t index, size_t n) {
    uint64_t x = index * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        if (i) loam_buf_putc(b, ' ');
        loam_buf_puts(b, WORDS[x % (sizeof WORDS / sizeof *WORDS)]);
    }
    loam_buf_putc(b, '.');
}

static void encode(loam_embedder *e, const loam_text *texts, size_t n, float *out) {
    loam_err err = {0};
    if (loam_embedder_encode(e, texts, n, LOAM_EMBED_DOCUMENT, out, &cli_cancel, &err))
        cli_die(&err);
}

/* Parameters of the layers' matrices, from the folder's config.json; 0: it does not say. */
static double count_layer_params(const char *folder) {
    static const char *const NAMES[] = {"num_hidden_layers", "hidden_size", "intermediate_size"};
    char path[PATH_MAX];
    loam_json *doc = NULL;
    int64_t n[3] = {0};
    snprintf(path, sizeof path, "%s/config.json", folder);
    if (loam_json_read(&doc, path, 1 << 20, 0, NULL)) return 0;
    for (int i = 0; i < 3; i++)
        if (!loam_json_int(loam_json_get(loam_json_root(doc), NAMES[i]), &n[i])) n[0] = 0;
    loam_json_free(doc);
    return (double)n[0] * (4.0 * (double)n[1] * (double)n[1] + 2.0 * (double)n[1] * (double)n[2]);
}

/* Multiply-adds of the layers' matrices for a text, on average; attention is left out. */
static double count_products(loam_embedder *e, const loam_text *texts, size_t n, double layers) {
    loam_err err = {0};
    size_t all = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t most = loam_embedder_max_tokens(e);
        size_t tokens;
        if (loam_embedder_count_tokens(e, texts[i], &tokens, &err)) cli_die(&err);
        all += tokens < most ? tokens : most;
    }
    return layers * (double)all / (double)n;
}

static void measure_sentences(bench_report *r, const bench_args *a, loam_embedder *e, size_t words,
                              double layers) {
    loam_buf text = {0};
    size_t *ends = malloc((a->batch + 1) * sizeof *ends);
    loam_text *texts = malloc(a->batch * sizeof *texts);
    float *out = malloc(a->batch * loam_embedder_dim(e) * sizeof *out);
    if (!ends || !texts || !out) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    ends[0] = 0;
    for (size_t i = 0; i < a->batch; i++) {
        put_sentence(&text, i, words);
        ends[i + 1] = text.n;
    }
    for (size_t i = 0; i < a->batch; i++)
        texts[i] = (loam_text){text.data + ends[i], ends[i + 1] - ends[i]};
    bench_row *row = bench_add(r, "sentences/s", "batch %zu, %zu words", a->batch, words);
    row->macs_per_unit = count_products(e, texts, a->batch, layers);
    row->is_integer = !strcmp(a->precision, "fast");
    encode(e, texts, a->batch, out);
    for (size_t k = 0; k < a->repeat; k++) {
        const double start = bench_now();
        size_t done = 0;
        do {
            encode(e, texts, a->batch, out);
            done += a->batch;
        } while (bench_now() - start < 0.3);
        bench_sample(row, (double)done / (bench_now() - start));
    }
    loam_buf_deinit(&text);
    free(ends);
    free(texts);
    free(out);
}

int bench_embed(const bench_args *a) {
    bench_report r = {.what = "embed"};
    loam_err err = {0};
    loam_embedder *e = NULL;
    if (!a->model) cli_fail(CLI_EXIT_USAGE, "give --model");
    char *folder = cli_find_model(a->model);
    loam_pool *pool = cli_pool(a->threads);
    const loam_embedder_options o = {pool, !strcmp(a->precision, "exact") ? LOAM_EXACT : LOAM_FAST};
    if (loam_embedder_open(&e, folder, &o, &err)) cli_die(&err);
    snprintf(r.subject, sizeof r.subject, "%.200s (%s)", a->model, a->precision);
    r.threads = loam_pool_size(pool);
    r.limits = bench_measure_limits(pool);
    const double layers = count_layer_params(folder);
    measure_sentences(&r, a, e, 20, layers);
    measure_sentences(&r, a, e, 200, layers);
    loam_buf query = {0};
    put_sentence(&query, 7, 8);
    const loam_text text = {query.data, query.n};
    float *out = malloc(loam_embedder_dim(e) * sizeof *out);
    if (!out) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    bench_row *row = bench_add(&r, "ms", "one query, 8 words");
    for (size_t k = 0; k < a->repeat; k++) {
        const double start = bench_now();
        for (int i = 0; i < 50; i++) encode(e, &text, 1, out);
        bench_sample(row, (bench_now() - start) / 50 * 1e3);
    }
    bench_print(&r, a);
    bench_free(&r);
    loam_buf_deinit(&query);
    free(out);
    loam_embedder_close(e);
    loam_pool_free(pool);
    free(folder);
    return CLI_EXIT_OK;
}

typedef struct vectors {
    float *data, *queries; /* [count, dim], [batch, dim] */
    uint32_t x;
} vectors;

static float next_number(vectors *v) {
    v->x ^= v->x << 13;
    v->x ^= v->x >> 17;
    v->x ^= v->x << 5;
    return (float)(int32_t)v->x * 0x1p-31f;
}

/* Unit vectors around 1000 centres: what a scan costs does not depend on the values, but what
 * int8 finds does. */
static void fill_vectors(vectors *v, const bench_args *a) {
    enum { CENTRES = 1000 };
    float *centres = malloc(CENTRES * a->dim * sizeof *centres);
    v->data = malloc(a->count * a->dim * sizeof *v->data);
    v->queries = malloc(a->batch * a->dim * sizeof *v->queries);
    v->x = 2463534242u;
    if (!centres || !v->data || !v->queries)
        cli_fail(CLI_EXIT_RESOURCES, "out of memory: %zu x %zu vectors", a->count, a->dim);
    for (size_t i = 0; i < CENTRES * a->dim; i++) centres[i] = next_number(v);
    for (size_t i = 0; i < a->count + a->batch; i++) {
        float *row = i < a->count ? v->data + i * a->dim : v->queries + (i - a->count) * a->dim;
        const float *centre = centres + i * 7919 % CENTRES * a->dim;
        float sum = 0;
        for (size_t k = 0; k < a->dim; k++) {
            /* NOLINTNEXTLINE(clang-analyzer-core.*): all 1000 are set above */
            row[k] = 0.6f * centre[k] + next_number(v);
            sum += row[k] * row[k];
        }
        for (size_t k = 0; k < a->dim; k++) row[k] /= sqrtf(sum);
    }
    free(centres);
}

enum { SEARCH_K = 10 };

static void run_search(loam_flat *f, loam_pool *pool, loam_scan scan, const float *queries,
                       size_t n, loam_hit *hits) {
    loam_err err = {0};
    if (loam_flat_search(f, pool, scan, queries, n, hits, SEARCH_K, &cli_cancel, &err))
        cli_die(&err);
}

/* Queries a second, n at a time. */
static bench_row *measure_search(bench_report *r, const bench_args *a, loam_flat *f,
                                 loam_pool *pool, loam_scan scan, const float *queries, size_t n) {
    static const char *names[] = {"f32", "f16", "int8"};
    loam_hit *hits = malloc(n * SEARCH_K * sizeof *hits);
    if (!hits) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    bench_row *row = n == 1 ? bench_add(r, "queries/s", "%s, one query", names[scan])
                            : bench_add(r, "queries/s", "%s, batch %zu", names[scan], n);
    run_search(f, pool, scan, queries, n, hits);
    for (size_t k = 0; k < a->repeat; k++) {
        const double start = bench_now();
        size_t done = 0;
        do {
            run_search(f, pool, scan, queries + (n == 1 ? done % a->batch * a->dim : 0), n, hits);
            done += n;
        } while (bench_now() - start < 0.3);
        bench_sample(row, (double)done / (bench_now() - start));
    }
    free(hits);
    return row;
}

/* Percent of the exact results that the scan finds, over the batch. */
static void measure_recall(bench_report *r, const bench_args *a, loam_flat *f, loam_pool *pool,
                           loam_scan scan, const float *queries) {
    const size_t n = a->batch * SEARCH_K;
    loam_hit *exact = malloc(n * sizeof *exact), *found = calloc(n, sizeof *found);
    size_t same = 0;
    if (!exact || !found) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    run_search(f, pool, LOAM_SCAN_F32, queries, a->batch, exact);
    run_search(f, pool, scan, queries, a->batch, found);
    const size_t k = SEARCH_K < a->count ? SEARCH_K : a->count;
    for (size_t q = 0; q < n; q += SEARCH_K)
        for (size_t i = 0; i < k; i++)
            for (size_t j = 0; j < k; j++) same += exact[q + i].id == found[q + j].id;
    bench_sample(
        bench_add(r, "%", "%s, recall of %d", scan == LOAM_SCAN_F16 ? "f16" : "int8", SEARCH_K),
        100 * (double)same / (double)(a->batch * k));
    free(exact);
    free(found);
}

int bench_search(const bench_args *a) {
    static const size_t bytes[] = {4, 2, 1};
    bench_report r = {.what = "search"};
    vectors v;
    fill_vectors(&v, a);
    loam_pool *pool = cli_pool(a->threads);
    snprintf(r.subject, sizeof r.subject, "%zu x %zu, top %d", a->count, a->dim, SEARCH_K);
    r.threads = loam_pool_size(pool);
    r.limits = bench_measure_limits(pool);
    for (int scan = LOAM_SCAN_F32; scan <= LOAM_SCAN_INT8; scan++) {
        loam_err err = {0};
        loam_flat *f = NULL; /* a new one each time: one copy in memory */
        if (loam_flat_new(&f, v.data, a->count, a->dim, &err)) cli_die(&err);
        const double start = bench_now();
        if (loam_flat_prepare(f, pool, (loam_scan)scan, &err)) cli_die(&err);
        const double made = bench_now() - start;
        bench_row *row = measure_search(&r, a, f, pool, (loam_scan)scan, v.queries, 1);
        row->bytes_per_unit = (double)(a->count * a->dim * bytes[scan]);
        if (a->batch > 1) measure_search(&r, a, f, pool, (loam_scan)scan, v.queries, a->batch);
        if (scan != LOAM_SCAN_F32) {
            measure_recall(&r, a, f, pool, (loam_scan)scan, v.queries);
            bench_sample(
                bench_add(&r, "ms", "%s, making the copy", scan == LOAM_SCAN_F16 ? "f16" : "int8"),
                made * 1e3);
        }
        loam_flat_free(f);
    }
    bench_print(&r, a);
    bench_free(&r);
    free(v.data);
    free(v.queries);
    loam_pool_free(pool);
    return CLI_EXIT_OK;
}

static void read_input(const char *path, loam_buf *text) {
    FILE *f = fopen(path, "rbe");
    if (!f) cli_fail(CLI_EXIT_RUNTIME, "%s: cannot open", path);
    char block[65536];
    for (size_t got; (got = fread(block, 1, sizeof block, f)) > 0;)
        loam_buf_append(text, block, got);
    fclose(f);
    if (text->failed) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
}

static void measure_text(bench_report *r, const bench_args *a, const loam_tokenizer *tok,
                         const loam_buf *text) {
    bench_row *row = bench_add(r, "MB/s", "encode %.1f MB", (double)text->n / 1e6);
    for (size_t k = 0; k < a->repeat; k++) {
        loam_ids ids = {0};
        loam_err err = {0};
        const double begin = bench_now();
        if (loam_tokenizer_encode(tok, text->data ? text->data : "", text->n, 0, &ids, &err))
            cli_die(&err);
        bench_sample(row, (double)text->n / 1e6 / (bench_now() - begin));
        loam_ids_deinit(&ids);
    }
}

/* The text as documents that end with a line, over the pool (NULL: on this thread). */
static void measure_documents(bench_report *r, const bench_args *a, const loam_tokenizer *tok,
                              const loam_buf *text, loam_pool *pool) {
    enum { LEAST = 8192 };
    const size_t room = text->n / LEAST + 1;
    loam_text *docs = malloc(room * sizeof *docs);
    size_t *starts = malloc((room + 1) * sizeof *starts), n = 0;
    if (!docs || !starts) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    for (size_t at = 0; at < text->n; at += docs[n++].n) {
        const size_t left = text->n - at;
        const char *p = text->data + at;
        const char *end = left > LEAST ? memchr(p + LEAST, '\n', left - LEAST) : NULL;
        docs[n] = (loam_text){p, end ? (size_t)(end + 1 - p) : left};
    }
    bench_row *row =
        bench_add(r, "MB/s", "%zu documents, %u thread%s", n, pool ? loam_pool_size(pool) : 1,
                  pool && loam_pool_size(pool) > 1 ? "s" : "");
    for (size_t k = 0; k < a->repeat; k++) {
        loam_ids ids = {0};
        loam_err err = {0};
        const double begin = bench_now();
        if (loam_tokenizer_encode_batch(tok, pool, docs, n, 0, &ids, starts, &err)) cli_die(&err);
        bench_sample(row, (double)text->n / 1e6 / (bench_now() - begin));
        loam_ids_deinit(&ids);
    }
    free(docs);
    free(starts);
}

int bench_tokenize(const bench_args *a) {
    bench_report r = {.what = "tokenize"};
    loam_err err = {0};
    loam_tokenizer *tok = NULL;
    loam_buf text = {0};
    if (!a->model || !a->input) cli_fail(CLI_EXIT_USAGE, "give --model and --input");
    read_input(a->input, &text);
    char *folder = cli_find_model(a->model);
    loam_pool *pool = cli_pool(a->threads);
    const double start = bench_now();
    if (loam_tokenizer_open(&tok, folder, &err)) cli_die(&err);
    const double load = bench_now() - start;
    snprintf(r.subject, sizeof r.subject, "%.120s, %.100s", a->model, a->input);
    r.threads = loam_pool_size(pool);
    bench_sample(bench_add(&r, "ms", "load"), load * 1e3);
    measure_text(&r, a, tok, &text);
    measure_documents(&r, a, tok, &text, NULL);
    if (loam_pool_size(pool) > 1) measure_documents(&r, a, tok, &text, pool);
    bench_print(&r, a);
    bench_free(&r);
    loam_tokenizer_close(tok);
    loam_pool_free(pool);
    loam_buf_deinit(&text);
    free(folder);
    return CLI_EXIT_OK;
}
