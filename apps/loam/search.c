/* loam search - the chunks of an index that are nearest to a question, without a language model. */
#include "cli/cli.h"
#include "loam/commands.h"
#include <loam/hub.h>
#include <loam/json.h>
#include <loam/rag.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_EMBEDDER "sentence-transformers/all-MiniLM-L6-v2"

typedef struct search_args {
    const char *vdb_path, *embed_model, *mode, *precision;
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
     "arithmetic of the embedder (default: fast)", 0, 0},
    {"threads", 't', CLI_SIZE, offsetof(search_args, threads), "N",
     "threads (default: the CPUs this process may use)", 0, 256},
    {"json", 0, CLI_FLAG, offsetof(search_args, json), NULL, "print {\"hits\": [...]}", 0, 0},
    {0}};

static const cli_program PROGRAM = {
    .name = "loam search",
    .usage = "--vdb-path X.npz [OPTIONS] QUERY",
    .summary = "Show the chunks of an index that are nearest to a question.",
    .options = OPTIONS,
    .examples = "  loam search --vdb-path notes.npz \"What is MLX?\"\n"
                "  loam search --vdb-path notes.npz --top-k 20 --json \"who made MLX\"\n",
    .min_rest = 1,
    .max_rest = SIZE_MAX};

/* The words of the command line as one query. */
static void join_query(loam_buf *out, const cli_strings *rest) {
    for (size_t i = 0; i < rest->n; i++) {
        if (i) loam_buf_putc(out, ' ');
        loam_buf_puts(out, rest->items[i]);
    }
    if (out->failed) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    if (strspn(out->data ? out->data : "", " \t\r\n") == out->n)
        cli_fail(CLI_EXIT_USAGE, "the query is empty");
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

static loam_hit *search(const search_args *a, const loam_index *ix, const loam_buf *query,
                        size_t *n) {
    loam_err err = {0};
    loam_pool *pool = cli_pool(a->threads);
    const size_t count = loam_index_count(ix), k = a->top_k < count ? a->top_k : count;
    loam_embedder *e = open_embedder(a, ix, pool);
    float *vector = calloc(loam_embedder_dim(e), sizeof *vector);
    loam_hit *hits = calloc(k ? k : 1, sizeof *hits);
    if (!vector || !hits) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    const loam_text text = {query->data, query->n};
    if (loam_embedder_encode(e, &text, 1, LOAM_EMBED_QUERY, vector, &cli_cancel, &err))
        cli_die(&err);
    *n = loam_index_search(ix, pool, vector, hits, k);
    free(vector);
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

static void print_json(const loam_index *ix, const loam_hit *hits, size_t n) {
    loam_buf b = {0};
    loam_buf_puts(&b, "{\"hits\": [");
    for (size_t i = 0; i < n; i++) {
        const loam_chunk c = loam_index_chunk(ix, hits[i].id);
        loam_buf_printf(&b, "%s\n  {\"id\": %llu, \"score\": ", i ? "," : "",
                        (unsigned long long)hits[i].id);
        loam_json_put_float(&b, hits[i].score);
        loam_buf_puts(&b, ", \"source\": ");
        loam_json_put_string(&b, c.source.data, c.source.n);
        put_number_or_null(&b, "page", c.page, 1);
        put_number_or_null(&b, "begin", c.begin, 0);
        put_number_or_null(&b, "end", c.end, 0);
        if (c.begin >= 0)
            loam_buf_printf(&b, ", \"span\": [%lld, %lld]", (long long)c.begin, (long long)c.end);
        else
            loam_buf_puts(&b, ", \"span\": null");
        loam_buf_puts(&b, ", \"text\": ");
        loam_json_put_string(&b, c.text.data, c.text.n);
        loam_buf_puts(&b, "}");
    }
    loam_buf_puts(&b, n ? "\n]}\n" : "]}\n");
    if (b.failed) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    cli_stdout_text(b.data, b.n);
    loam_buf_deinit(&b);
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

static void print_hits(const loam_index *ix, const loam_hit *hits, size_t n) {
    loam_buf b = {0};
    for (size_t i = 0; i < n; i++) {
        const loam_chunk c = loam_index_chunk(ix, hits[i].id);
        loam_buf_printf(&b, "%zu. %.4f  ", i + 1, (double)hits[i].score);
        if (c.source.n)
            put_snippet(&b, c.source, 400);
        else
            loam_buf_printf(&b, "chunk %llu", (unsigned long long)hits[i].id);
        if (c.page > 0) loam_buf_printf(&b, ", page %lld", (long long)c.page);
        if (c.begin >= 0)
            loam_buf_printf(&b, ", characters %lld-%lld", (long long)c.begin, (long long)c.end);
        loam_buf_puts(&b, "\n   ");
        put_snippet(&b, c.text, 240);
        loam_buf_puts(&b, "\n");
    }
    if (b.failed) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    if (b.n) cli_stdout_text(b.data, b.n);
    loam_buf_deinit(&b);
}

int loam_cmd_search(int argc, char **argv) {
    search_args a = {.top_k = 5};
    cli_strings rest = {0};
    loam_index *ix = NULL;
    loam_buf query = {0};
    loam_err err = {0};
    size_t n = 0;
    cli_parse(&PROGRAM, argc, argv, &a, &rest);
    if (!a.vdb_path) cli_fail(CLI_EXIT_USAGE, "--vdb-path is missing: see 'loam search --help'");
    join_query(&query, &rest);
    if (loam_index_open(&ix, a.vdb_path, &err)) {
        if (err.status == LOAM_ERR_NOT_FOUND)
            cli_fail(CLI_EXIT_NOT_FOUND,
                     "%s: no such index: make it with 'loam ingest PATH --vdb-path %s'", a.vdb_path,
                     a.vdb_path);
        cli_die(&err);
    }
    if (loam_index_was_scaled(ix))
        cli_warn("%s: its vectors are not of unit length: scores are cosines", a.vdb_path);
    loam_hit *hits = NULL;
    if (loam_index_count(ix) == 0)
        cli_warn("%s: the index is empty", a.vdb_path);
    else
        hits = search(&a, ix, &query, &n);
    if (a.json)
        print_json(ix, hits, n);
    else
        print_hits(ix, hits, n);
    free(hits);
    loam_index_close(ix);
    loam_buf_deinit(&query);
    return CLI_EXIT_OK;
}
