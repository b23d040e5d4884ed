/* loam search - the chunks of an index that are nearest to a question, or to many in one pass, without
 * a language model. */
#include "cli/cli.h"
#include "loam/commands.h"
#include "loam/lines.h"
#include <loam/hub.h>
#include <loam/json.h>
#include <loam/rag.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_EMBEDDER "sentence-transformers/all-MiniLM-L6-v2"

typedef struct search_args {
    const char *vdb_path, *embed_model, *mode, *precision, *scan;
    size_t top_k, threads;
    int json;
} search_args;

static const cli_option OPTIONS[] = {
    {"vdb-path", 0, CLI_STRING, offsetof(search_args, vdb_path), "X.npz", "the index to search", 0,
     0},
    {"embed-model", 'm', CLI_STRING, offsetof(search_args, embed_model), "E",
     "embedder, by folder or name (default: the one the index names, else all-MiniLM-L6-v2)", 0, 0},
    {"mode", 0, CLI_CHOICE, offsetof(search_args, mode), "dense",
     "how to search: by vectors (default dense)", 0, 0},
    {"top-k", 'k', CLI_SIZE, offsetof(search_args, top_k), "K", "how many chunks (default 5)", 1,
     100000},
    {"precision", 0, CLI_CHOICE, offsetof(search_args, precision), "exact|fast",
     "arithmetic of the embedder (default: exact)", 0, 0},
    {"scan", 0, CLI_CHOICE, offsetof(search_args, scan), "f32|f16|int8",
     "what is read of every vector (default f32); f16 and int8 make a smaller copy first, which "
     "pays for many queries, and rank by the exact scores",
     0, 0},
    {"threads", 't', CLI_SIZE, offsetof(search_args, threads), "N",
     "threads (default: the CPUs this process may use)", 0, 256},
    {"json", 0, CLI_FLAG, offsetof(search_args, json), NULL,
     "print {\"hits\": [...]}; of standard input {\"queries\": [{\"query\", \"hits\"}, ...]}", 0,
     0},
    {0}};

static const cli_program PROGRAM = {
    .name = "loam search",
    .usage = "--vdb-path X.npz [OPTIONS] [QUERY]",
    .summary =
        "Show the chunks of an index that are nearest to a question.  Without QUERY: to each "
        "line of standard input (plain, or a JSON string), all in one search.",
    .options = OPTIONS,
    .examples = "  loam search --vdb-path notes.npz \"What is MLX?\"\n"
                "  loam search --vdb-path notes.npz --top-k 20 --json \"who made MLX\"\n"
                "  loam search --vdb-path notes.npz --scan int8 --json < questions.txt\n",
    .min_rest = 0,
    .max_rest = SIZE_MAX};

/* The words of the command line as one query, else the lines of standard input. */
static void read_queries(lines *l, const cli_strings *rest) {
    if (rest->n == 0) {
        if (isatty(STDIN_FILENO))
            cli_fail(CLI_EXIT_USAGE, "give a QUERY, or queries on standard input, one a line");
        lines_read(l);
    } else {
        for (size_t i = 0; i < rest->n; i++) {
            if (i) loam_buf_putc(&l->bytes, ' ');
            loam_buf_puts(&l->bytes, rest->items[i]);
        }
        l->items = calloc(1, sizeof *l->items);
        if (l->bytes.failed || !l->items) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
        l->items[l->n++] = (loam_text){l->bytes.data ? l->bytes.data : "", l->bytes.n};
    }
    if (l->n == 0) cli_fail(CLI_EXIT_USAGE, "no query: standard input is empty");
    for (size_t i = 0; i < l->n; i++) {
        size_t blank = 0;
        while (blank < l->items[i].n && strchr(" \t\r\n", l->items[i].data[blank])) blank++;
        if (blank == l->items[i].n && rest->n)
            cli_fail(CLI_EXIT_USAGE, "the query is empty");
        else if (blank == l->items[i].n)
            cli_fail(CLI_EXIT_USAGE, "standard input: line %zu: the query is empty", i + 1);
    }
}

static loam_embedder *open_embedder(const search_args *a, const loam_index *ix, loam_pool *pool) {
    loam_err err = {0};
    loam_embedder *e = NULL;
    const char *name = a->embed_model ? a->embed_model : loam_index_get_meta(ix)->model_id;
    char *folder = NULL;
    /* as rag-cli: an index that names none is tried with the default, if that is here */
    const int guessed = !name[0];
    if (!guessed)
        folder = cli_find_model(name);
    else if (loam_hub_find(&folder, DEFAULT_EMBEDDER, NULL, &err))
        cli_fail(CLI_EXIT_USAGE, "%s: does not say which embedder made it: pass --embed-model",
                 a->vdb_path);
    const loam_embedder_options o = {.pool = pool, .precision = cli_precision(a->precision)};
    if (loam_embedder_open(&e, folder, &o, &err)) cli_die(&err);
    if (guessed && loam_embedder_dim(e) != loam_index_dim(ix))
        cli_fail(CLI_EXIT_USAGE,
                 "%s: does not say which embedder made its vectors of %zu: pass --embed-model",
                 a->vdb_path, loam_index_dim(ix));
    if (loam_index_check_embedder(ix, e, a->vdb_path, &err)) cli_die(&err);
    free(folder);
    return e;
}

static loam_scan get_scan(const char *name) {
    if (name && strcmp(name, "f16") == 0) return LOAM_SCAN_F16;
    return name && strcmp(name, "int8") == 0 ? LOAM_SCAN_INT8 : LOAM_SCAN_F32;
}

/* Hits [queries, k]. */
static loam_hit *search(const search_args *a, const loam_index *ix, const lines *queries,
                        size_t k) {
    loam_err err = {0};
    loam_pool *pool = cli_pool(a->threads);
    loam_embedder *e = open_embedder(a, ix, pool);
    const size_t n = queries->n;
    float *vectors = calloc(n, loam_embedder_dim(e) * sizeof *vectors);
    loam_hit *hits = calloc(n, k * sizeof *hits);
    if (!vectors || !hits)
        cli_fail(CLI_EXIT_RESOURCES, "out of memory: %zu queries, %zu hits each", n, k);
    if (loam_embedder_encode(e, queries->items, n, LOAM_EMBED_QUERY, vectors, &cli_cancel, &err) ||
        loam_index_search_batch(ix, pool, get_scan(a->scan), vectors, n, hits, k, &cli_cancel,
                                &err))
        cli_die(&err);
    free(vectors);
    loam_embedder_close(e);
    loam_pool_free(pool);
    return hits;
}

static void put_number_or_null(loam_buf *b, const char *key, int64_t v, int64_t least) {
    if (v < least)
        loam_buf_printf(b, ", \"%s\": null", key);
    else
        loam_buf_printf(b, ", \"%s\": %lld", key, (long long)v);
}

static void put_json(loam_buf *b, const loam_index *ix, const loam_hit *hits, size_t n) {
    loam_buf_puts(b, "\"hits\": [");
    for (size_t i = 0; i < n; i++) {
        const loam_chunk c = loam_index_chunk(ix, hits[i].id);
        loam_buf_printf(b, "%s\n  {\"id\": %llu, \"score\": ", i ? "," : "",
                        (unsigned long long)hits[i].id);
        loam_json_put_float(b, hits[i].score);
        loam_buf_puts(b, ", \"source\": ");
        loam_json_put_string(b, c.source.data, c.source.n);
        put_number_or_null(b, "page", c.page, 1);
        put_number_or_null(b, "begin", c.begin, 0);
        put_number_or_null(b, "end", c.end, 0);
        if (c.begin >= 0)
            loam_buf_printf(b, ", \"span\": [%lld, %lld]", (long long)c.begin, (long long)c.end);
        else
            loam_buf_puts(b, ", \"span\": null");
        loam_buf_puts(b, ", \"text\": ");
        loam_json_put_string(b, c.text.data, c.text.n);
        loam_buf_puts(b, "}");
    }
    loam_buf_puts(b, n ? "\n]}" : "]}");
}

/* A text in one line of at most `max` bytes: white space folded, cut between words. */
static void put_snippet(loam_buf *out, loam_text t, size_t max) {
    const size_t from = out->n;
    size_t word = out->n; /* end of the last whole word */
    int space = 0;
    for (size_t i = 0; i < t.n; i++) {
        if (strchr(" \t\r\n\f\v", t.data[i])) {
            space = out->n > from;
            if (space) word = out->n;
            continue;
        }
        if (space) loam_buf_putc(out, ' ');
        space = 0;
        loam_buf_putc(out, t.data[i]);
        if (out->n - from > max) {
            size_t cut = word > from ? word : from + max;
            while (cut > from && ((unsigned char)out->data[cut] & 0xc0) == 0x80) cut--;
            out->n = cut;
            loam_buf_puts(out, " ...");
            return;
        }
    }
}

static void put_hits(loam_buf *b, const loam_index *ix, const loam_hit *hits, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const loam_chunk c = loam_index_chunk(ix, hits[i].id);
        loam_buf_printf(b, "%zu. %.4f  ", i + 1, (double)hits[i].score);
        if (c.source.n)
            put_snippet(b, c.source, 400);
        else
            loam_buf_printf(b, "chunk %llu", (unsigned long long)hits[i].id);
        if (c.page > 0) loam_buf_printf(b, ", page %lld", (long long)c.page);
        if (c.begin >= 0)
            loam_buf_printf(b, ", characters %lld-%lld", (long long)c.begin, (long long)c.end);
        loam_buf_puts(b, "\n   ");
        put_snippet(b, c.text, 240);
        loam_buf_puts(b, "\n");
    }
}

static void print(const loam_buf *b) {
    if (b->failed) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    if (b->n) cli_stdout_text(b->data, b->n);
}

/* The result of one query of the command line is printed alone, of standard input each under its
 * query. */
static void print_results(const search_args *a, const loam_index *ix, const lines *queries,
                          int alone, const loam_hit *hits, size_t k) {
    loam_buf b = {0};
    if (a->json) loam_buf_puts(&b, alone ? "{" : "{\"queries\": [");
    for (size_t i = 0; i < queries->n; i++) {
        const loam_text q = queries->items[i];
        if (a->json && !alone) {
            loam_buf_puts(&b, i ? ",\n{\"query\": " : "\n{\"query\": ");
            loam_json_put_string(&b, q.data, q.n);
            loam_buf_puts(&b, ", ");
        } else if (!alone) {
            loam_buf_puts(&b, i ? "\n== " : "== ");
            put_snippet(&b, q, 400);
            loam_buf_putc(&b, '\n');
        }
        if (a->json)
            put_json(&b, ix, hits + i * k, k);
        else
            put_hits(&b, ix, hits + i * k, k);
    }
    if (a->json) loam_buf_puts(&b, alone ? "\n" : "\n]}\n");
    print(&b);
    loam_buf_deinit(&b);
}

int loam_cmd_search(int argc, char **argv) {
    search_args a = {.top_k = 5};
    cli_strings rest = {0};
    loam_index *ix = NULL;
    lines queries = {0};
    loam_err err = {0};
    cli_parse(&PROGRAM, argc, argv, &a, &rest);
    if (!a.vdb_path) cli_fail(CLI_EXIT_USAGE, "--vdb-path is missing: see 'loam search --help'");
    read_queries(&queries, &rest);
    if (loam_index_open(&ix, a.vdb_path, &err)) {
        if (err.status == LOAM_ERR_NOT_FOUND)
            cli_fail(CLI_EXIT_NOT_FOUND,
                     "%s: no such index: make it with 'loam ingest PATH --vdb-path %s'", a.vdb_path,
                     a.vdb_path);
        cli_die(&err);
    }
    if (loam_index_was_scaled(ix))
        cli_warn("%s: its vectors are not of unit length: scores are cosines", a.vdb_path);
    const size_t count = loam_index_count(ix), k = a.top_k < count ? a.top_k : count;
    loam_hit *hits = NULL;
    if (count == 0)
        cli_warn("%s: the index is empty", a.vdb_path);
    else
        hits = search(&a, ix, &queries, k);
    print_results(&a, ix, &queries, rest.n > 0, hits, k);
    free(hits);
    loam_index_close(ix);
    lines_deinit(&queries);
    return CLI_EXIT_OK;
}
