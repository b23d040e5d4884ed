/* retrieval.c - embedder, exact search and tokenizer. */
#include "bench/bench.h"

#include <loam/rag.h>
#include <loam/tensor.h>
#include <loam/text.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *WORDS[] = {"the",   "river",   "keeps", "its",    "course", "while",    "people",
                              "build", "houses",  "near",  "water",  "and",    "trade",    "grain",
                              "for",   "tools",   "every", "summer", "brings", "longer",   "days",
                              "to",    "work",    "in",    "fields", "under",  "changing", "light",
                              "with",  "careful", "hands", "again"};

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

static void measure_sentences(bench_report *r, const bench_args *a, loam_embedder *e,
                              size_t words) {
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
    measure_sentences(&r, a, e, 20);
    measure_sentences(&r, a, e, 200);
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

/* Uniform numbers made unit length: what the scan costs does not depend on the values. */
static void fill_unit(float *v, size_t n, size_t dim) {
    uint32_t x = 2463534242u;
    for (size_t i = 0; i < n; i++) {
        float *row = v + i * dim, sum = 0;
        for (size_t k = 0; k < dim; k++) {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            row[k] = (float)(int32_t)x * 0x1p-31f;
            sum += row[k] * row[k];
        }
        for (size_t k = 0; k < dim; k++) row[k] /= sqrtf(sum);
    }
}

/* The index is built as users build it: written to a file and opened. */
static loam_index *make_index(const bench_args *a, char *path) {
    loam_err err = {0};
    loam_index *ix = NULL;
    loam_index_content c = {.n_chunks = a->count, .dim = a->dim};
    float *vectors = malloc(a->count * a->dim * sizeof *vectors);
    loam_chunk *chunks = calloc(a->count, sizeof *chunks);
    if (!vectors || !chunks)
        cli_fail(CLI_EXIT_RESOURCES, "out of memory: %zu x %zu vectors", a->count, a->dim);
    fill_unit(vectors, a->count, a->dim);
    for (size_t i = 0; i < a->count; i++) chunks[i] = (loam_chunk){{"x", 1}, {"y", 1}, 0, -1, -1};
    c.chunks = chunks;
    c.vectors = vectors;
    if (loam_index_write(path, &c, &err) || loam_index_open(&ix, path, &err)) cli_die(&err);
    free(vectors);
    free(chunks);
    return ix;
}

int bench_search(const bench_args *a) {
    bench_report r = {.what = "search"};
    char folder[] = "/tmp/loam-bench.XXXXXX", path[64], side[80];
    if (!mkdtemp(folder)) cli_fail(CLI_EXIT_RUNTIME, "%s: cannot make a temporary folder", folder);
    snprintf(path, sizeof path, "%s/v.npz", folder);
    loam_pool *pool = cli_pool(a->threads);
    loam_index *ix = make_index(a, path);
    unlink(path);
    snprintf(side, sizeof side, "%s.meta.json", path);
    unlink(side);
    snprintf(side, sizeof side, "%s.lock", path);
    unlink(side);
    rmdir(folder);
    float *q = malloc(a->dim * sizeof *q);
    if (!q) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    memcpy(q, loam_index_vector(ix, a->count / 2), a->dim * sizeof *q);
    snprintf(r.subject, sizeof r.subject, "%zu x %zu f32", a->count, a->dim);
    r.threads = loam_pool_size(pool);
    r.bandwidth = loam_measure_read_bandwidth(pool, 256u << 20);
    loam_hit hits[10];
    bench_row *row = bench_add(&r, "queries/s", "one query, top 10");
    row->bytes_per_unit = (double)(a->count * a->dim * sizeof(float));
    loam_index_search(ix, pool, q, hits, 10);
    for (size_t k = 0; k < a->repeat; k++) {
        const double start = bench_now();
        size_t n = 0;
        do {
            loam_index_search(ix, pool, q, hits, 10);
            n++;
        } while (bench_now() - start < 0.3);
        bench_sample(row, (double)n / (bench_now() - start));
    }
    if (hits[0].id != a->count / 2)
        cli_fail(CLI_EXIT_RUNTIME, "search found vector %llu, not the one asked for",
                 (unsigned long long)hits[0].id);
    bench_print(&r, a);
    bench_free(&r);
    free(q);
    loam_index_close(ix);
    loam_pool_free(pool);
    return CLI_EXIT_OK;
}

int bench_tokenize(const bench_args *a) {
    bench_report r = {.what = "tokenize"};
    loam_err err = {0};
    loam_tokenizer *tok = NULL;
    loam_buf text = {0};
    if (!a->model || !a->input) cli_fail(CLI_EXIT_USAGE, "give --model and --input");
    FILE *f = fopen(a->input, "rbe");
    if (!f) cli_fail(CLI_EXIT_RUNTIME, "%s: cannot open", a->input);
    char block[65536];
    for (size_t got; (got = fread(block, 1, sizeof block, f)) > 0;)
        loam_buf_append(&text, block, got);
    fclose(f);
    char *folder = cli_find_model(a->model);
    const double start = bench_now();
    if (loam_tokenizer_open(&tok, folder, &err)) cli_die(&err);
    const double load = bench_now() - start;
    snprintf(r.subject, sizeof r.subject, "%.120s, %.100s", a->model, a->input);
    r.threads = 1;
    bench_sample(bench_add(&r, "ms", "load"), load * 1e3);
    bench_row *row = bench_add(&r, "MB/s", "encode %.1f MB", (double)text.n / 1e6);
    for (size_t k = 0; k < a->repeat; k++) {
        loam_ids ids = {0};
        const double begin = bench_now();
        if (loam_tokenizer_encode(tok, text.data ? text.data : "", text.n, 0, &ids, &err))
            cli_die(&err);
        bench_sample(row, (double)text.n / 1e6 / (bench_now() - begin));
        loam_ids_deinit(&ids);
    }
    bench_print(&r, a);
    bench_free(&r);
    loam_tokenizer_close(tok);
    loam_buf_deinit(&text);
    free(folder);
    return CLI_EXIT_OK;
}
