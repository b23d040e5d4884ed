/* embed.c - loam embed: lines to vectors. */
#include "cli/cli.h"
#include "loam/commands.h"
#include "loam/lines.h"
#include <loam/json.h>
#include <loam/rag.h>
#include <loam/tensor.h>

#include <stdlib.h>
#include <string.h>

typedef struct args {
    const char *model, *precision, *output;
    int query, json;
    size_t threads;
} args;

static const cli_option OPTIONS[] = {
    {"model", 'm', CLI_STRING, offsetof(args, model), "DIR",
     "embedding model: folder or name (required)", 0, 0},
    {"precision", 0, CLI_CHOICE, offsetof(args, precision), "exact|fast",
     "exact (default): f32; fast: integers of 12 bits, cosine to exact above 0.9998", 0, 0},
    {"output", 'o', CLI_STRING, offsetof(args, output), "FILE.npy",
     "write the vectors as a float32 array", 0, 0},
    {"query", 'q', CLI_FLAG, offsetof(args, query), NULL,
     "the texts are questions: use the model's query prompt", 0, 0},
    {"json", 0, CLI_FLAG, offsetof(args, json), NULL,
     "one JSON object: model, fingerprint, dim, count, embeddings (or output)", 0, 0},
    {"threads", 't', CLI_SIZE, offsetof(args, threads), "N",
     "threads (default: the CPUs this process may use)", 0, 256},
    {0}};

static const cli_program PROGRAM = {
    "loam embed",
    "--model DIR [OPTIONS] < TEXTS",
    "Vectors of texts, a text a line: plain, or a JSON string. Prints a JSON array a line.",
    OPTIONS,
    "  printf 'first text\\nsecond text\\n' | loam embed --model models/minilm\n"
    "  loam embed --model models/minilm --output vectors.npy < texts.txt\n"
    "  echo 'What is MLX?' | loam embed --model models/bge-small --query\n",
    0,
    0};

enum { SLAB = 1024 }; /* texts between two looks at progress and Ctrl-C */

static void put_vector(loam_buf *b, const float *v, size_t dim) {
    loam_buf_putc(b, '[');
    for (size_t i = 0; i < dim; i++) {
        if (i) loam_buf_puts(b, ", ");
        loam_json_put_float(b, v[i]);
    }
    loam_buf_putc(b, ']');
}

static void print_buffer(loam_buf *b) {
    if (b->failed) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    (void)fwrite(b->data, 1, b->n, stdout);
    loam_buf_clear(b);
}

/* All vectors [n, dim]; with `print` set each slab is printed as lines and forgotten. */
static float *embed_all(loam_embedder *e, const lines *l, loam_embed_kind kind, int print) {
    const size_t dim = loam_embedder_dim(e), room = print && l->n > SLAB ? SLAB : l->n;
    float *vectors = room <= SIZE_MAX / sizeof *vectors / dim
                         ? calloc(room ? room * dim : 1, sizeof *vectors)
                         : NULL;
    if (!vectors) cli_fail(CLI_EXIT_RESOURCES, "out of memory for %zu vectors", l->n);
    cli_progress *progress = l->n > SLAB ? cli_progress_new("embedding", l->n, "texts") : NULL;
    loam_buf text = {0};
    for (size_t done = 0; done < l->n; done += SLAB) {
        const size_t n = l->n - done < SLAB ? l->n - done : SLAB;
        float *out = print ? vectors : vectors + done * dim;
        loam_err err = {0};
        if (loam_embedder_encode(e, l->items + done, n, kind, out, &cli_cancel, &err)) {
            cli_progress_end(progress);
            cli_die(&err);
        }
        for (size_t i = 0; i < n && print; i++) {
            put_vector(&text, out + i * dim, dim);
            loam_buf_putc(&text, '\n');
            print_buffer(&text);
        }
        if (progress) cli_progress_set(progress, done + n, l->n);
    }
    cli_progress_end(progress);
    loam_buf_deinit(&text);
    return vectors;
}

static void write_npy(const char *path, const float *vectors, size_t n, size_t dim) {
    const loam_tensor t = {.name = "embeddings",
                           .dtype = LOAM_F32,
                           .rank = 2,
                           .shape = {n, dim},
                           .data = vectors,
                           .bytes = (uint64_t)n * dim * sizeof *vectors};
    loam_err err = {0};
    if (loam_npy_write(path, &t, &err)) cli_die(&err);
}

static void print_json(const args *a, const loam_embedder *e, const float *vectors, size_t n) {
    const size_t dim = loam_embedder_dim(e);
    loam_buf b = {0};
    loam_buf_puts(&b, "{\"model\": ");
    loam_json_put_string(&b, a->model, strlen(a->model));
    loam_buf_printf(&b, ", \"fingerprint\": \"%s\", \"dim\": %zu, \"count\": %zu",
                    loam_embedder_fingerprint(e), dim, n);
    if (a->output) {
        loam_buf_puts(&b, ", \"output\": ");
        loam_json_put_string(&b, a->output, strlen(a->output));
    } else {
        loam_buf_puts(&b, ", \"embeddings\": [");
        for (size_t i = 0; i < n; i++) {
            if (i) loam_buf_puts(&b, ", ");
            put_vector(&b, vectors + i * dim, dim);
            print_buffer(&b);
        }
        loam_buf_putc(&b, ']');
    }
    loam_buf_puts(&b, "}\n");
    print_buffer(&b);
    loam_buf_deinit(&b);
}

int loam_cmd_embed(int argc, char **argv) {
    args a = {0};
    cli_strings rest = {0};
    cli_parse(&PROGRAM, argc, argv, &a, &rest);
    if (!a.model) cli_fail(CLI_EXIT_USAGE, "--model is missing: see 'loam embed --help'");

    char *folder = cli_find_model(a.model);
    loam_pool *pool = cli_pool(a.threads);
    loam_embedder *e = NULL;
    loam_err err = {0};
    const loam_embedder_options options = {.pool = pool, .precision = cli_precision(a.precision)};
    if (loam_embedder_open(&e, folder, &options, &err)) cli_die(&err);

    lines l = {0};
    lines_read(&l);
    const int print = !a.output && !a.json;
    float *vectors = embed_all(e, &l, a.query ? LOAM_EMBED_QUERY : LOAM_EMBED_DOCUMENT, print);
    if (a.output) write_npy(a.output, vectors, l.n, loam_embedder_dim(e));
    if (a.json) print_json(&a, e, vectors, l.n);

    free(vectors);
    lines_deinit(&l);
    loam_embedder_close(e);
    loam_pool_free(pool);
    free(folder);
    return CLI_EXIT_OK;
}
