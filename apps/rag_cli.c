/* rag_cli.c - ask questions over a local index; answers stream, with citations that can be checked. */
#include "rag/rag.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(rag_args, field)
static const cli_option OPTIONS[] = {
    {"vdb-path", 0, CLI_STRING, AT(vdb_path), "FILE", "the index (default: " RAG_DEFAULT_INDEX ")",
     0, 0},
    {"model-id", 0, CLI_STRING, AT(model_id), "MODEL",
     "language model: a folder, or a name as org/name (default: " RAG_DEFAULT_MODEL
     ", or the model that `make demo` installed)",
     0, 0},
    {"reranker-id", 0, CLI_STRING, AT(reranker_id), "MODEL",
     "reranker: a folder or a name (default: " RAG_DEFAULT_RERANKER ")", 0, 0},
    {"top-k", 0, CLI_SIZE, AT(top_k), "N", "passages the model reads (default: 5)", 1,
     RAG_MAX_TOP_K},
    {"max-tokens", 0, CLI_SIZE, AT(max_tokens), "N", "longest answer, in tokens (default: 512)", 1,
     1000000},
    {"no-reranker", 0, CLI_FLAG, AT(no_reranker), "", "take the passages as the search orders them",
     0, 0},
    {"embed-model", 0, CLI_STRING, AT(embed_model), "MODEL",
     "embedder, when the index does not name it: a folder or a name", 0, 0},
    {"temp", 0, CLI_FLOAT, AT(temp), "T", "sampling temperature (default: 0, the likeliest token)",
     0, 100},
    {"seed", 0, CLI_U64, AT(seed), "N", "random seed, for --temp above 0 (default: 0)", 0, 0},
    {"system", 0, CLI_STRING, AT(system), "TEXT", "system message for the model", 0, 0},
    {"json", 0, CLI_FLAG, AT(json), "", "one JSON object a question instead of text", 0, 0},
    {"no-stream", 0, CLI_FLAG, AT(no_stream), "", "print the answer when it is complete", 0, 0},
    {"precision", 0, CLI_CHOICE, AT(precision), "fast|exact",
     "arithmetic of all models (default: fast for the answer, exact for search and reranking)", 0,
     0},
    {"kv", 0, CLI_CHOICE, AT(kv), "f16|int8",
     "keys and values of the answer's model; int8 takes half the memory and is less precise "
     "(default: f16)",
     0, 0},
    {"ctx", 0, CLI_SIZE, AT(n_ctx), "N",
     "context length in tokens (default: what the question needs)", 64, 10000000},
    {"require-citations", 0, CLI_FLAG, AT(require_citations), "",
     "exit with 8 when an answer has no citation that its passage supports", 0, 0},
    {"prefix-cache", 0, CLI_CHOICE, AT(prefix_cache), "on|off",
     "keep what was read of long prompts in ~/.cache/loam/prefix, for the next run (default: off)",
     0, 0},
    {"prefix-cache-size", 0, CLI_SIZE, AT(prefix_mib), "N",
     "how much of them, in MiB; those used longest ago go (default: 1024)", 1, 1 << 20},
    {"no-speculation", 0, CLI_FLAG, AT(no_speculation), "",
     "read the answer's tokens one by one; by default repeated text is guessed, with the same "
     "result",
     0, 0},
    {"threads", 0, CLI_SIZE, AT(threads), "N", "threads (default: the CPUs this process may use)",
     1, 256},
    {NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0},
};

static const cli_program PROGRAM = {
    "rag-cli",
    "[OPTIONS]",
    "ask questions over a local index",
    OPTIONS,
    "  rag-cli --vdb-path models/indexes/combined_vdb.npz --no-reranker\n"
    "  echo \"What is MLX?\" | rag-cli --vdb-path notes.npz --no-reranker --max-tokens 100\n"
    "  rag-cli --vdb-path notes.npz --model-id models/my-model --json < questions.txt\n",
    0,
    0,
};

/* UTF-8 is checked where the text is encoded; here only what is not worth a question. */
static int is_blank(const loam_buf *b) {
    for (size_t i = 0; i < b->n; i++)
        if (!strchr(" \t\r\n\v\f", b->data[i])) return 0;
    return 1;
}

static int ask(rag_app *app, loam_text question) {
    static rag_contexts contexts; /* large: not on the stack */
    loam_err err = {0};
    const loam_status st = rag_retrieve(app, question, &contexts, &err);
    if (st) {
        if (st != LOAM_ERR_CANCELLED) cli_error("question: %s", err.msg);
        return cli_exit_code(st);
    }
    if (contexts.n == 0 && !app->args->json) {
        printf("[!] No documents retrieved for that question.\n");
        return CLI_EXIT_OK;
    }
    return rag_answer(app, question, &contexts);
}

int main(int argc, char **argv) {
    rag_args args = {.vdb_path = RAG_DEFAULT_INDEX,
                     .top_k = 5,
                     .max_tokens = 512,
                     .prefix_cache = "off",
                     .prefix_mib = 1024};
    rag_app app = {0};
    loam_buf line = {0};
    int result = CLI_EXIT_OK;

    cli_start("rag-cli");
    cli_parse(&PROGRAM, argc, argv, &args, NULL);
    rag_load(&app, &args);

    const int interactive = cli_is_tty(stdin) && !args.json;
    if (!args.json) {
        printf("Loaded VDB from %s (%zu chunks)\n", app.index_path, loam_index_count(app.index));
        if (app.reranker)
            printf("Using model %s and reranker %s\n", app.model_name, app.reranker_name);
        else
            printf("Using model %s (reranker disabled)\n", app.model_name);
        printf("\nType a question (Ctrl+C to exit):\n\n");
        cli_flush();
    }
    rag_lines *lines = rag_lines_open(interactive);
    while (rag_lines_next(lines, &line)) {
        if (is_blank(&line)) continue;
        while (line.n > 0 && (line.data[line.n - 1] == '\r' || line.data[line.n - 1] == ' '))
            line.data[--line.n] = 0;
        const int code = ask(&app, (loam_text){line.data, line.n});
        if (code != CLI_EXIT_OK && (result == CLI_EXIT_OK || code == CLI_EXIT_SIGINT))
            result = code;
        if (interactive && code == CLI_EXIT_SIGINT)
            result = CLI_EXIT_OK; /* the answer was stopped, not us */
        if (!interactive && code == CLI_EXIT_SIGINT) break;
        if (ferror(stdout)) break;
    }
    if (cli_cancel.requested && !interactive) result = CLI_EXIT_SIGINT;
    if (!args.json) printf("%sBye.\n", interactive ? "\n" : "");
    rag_lines_close(lines);
    loam_buf_deinit(&line);
    rag_unload(&app);
    return cli_finish(result);
}
