/* loam.c - the table of subcommands; each lives in apps/loam/. */
#include "cli/cli.h"
#include "loam/commands.h"

#include <string.h>

typedef struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} command;

static const command COMMANDS[] = {
    {"pull", loam_cmd_pull, "download a model into the Hugging Face cache"},
    {"convert", loam_cmd_convert, "make an MLX model folder from GGUF or a model folder"},
    {"search", loam_cmd_search, "the chunks of an index nearest to a question"},
    {"template", loam_cmd_template, "chat messages to a prompt by the model's template"},
    {"tokenize", loam_cmd_tokenize, "text to token ids and back"},
    {"info", loam_cmd_info, "tell what a model folder, an index or a file of arrays holds"},
    {"embed", loam_cmd_embed, "vectors of texts"},
    {"rerank", loam_cmd_rerank, "how well texts answer a query"},
    {"generate", loam_cmd_generate, "let a language model answer or continue a text"},
    {"perplexity", loam_cmd_perplexity, "how well a model predicts a text"},
    {"ingest", loam_cmd_ingest, "index documents; only what changed is redone"},
    {NULL, NULL, NULL},
};

static void print_help(void) {
    printf(
        "loam - local offline AI on any machine\n\nUsage: loam COMMAND [OPTIONS]\n\nCommands:\n");
    for (const command *c = COMMANDS; c->name; c++) printf("  %-12s%s\n", c->name, c->summary);
    printf("\n'loam COMMAND --help' tells a command's options.  Questions over an index: "
           "rag-cli.\n\nExamples:\n"
           "  loam ingest docs/ --vdb-path notes.npz\n"
           "  loam generate --model models/qwen2.5-coder-1.5b --prompt \"What is a mutex?\"\n");
}

static const command *find(const char *name) {
    for (const command *c = COMMANDS; c->name; c++)
        if (!strcmp(c->name, name)) return c;
    return NULL;
}

/* A command that starts the same way, or holds the word: never run, only suggested. */
static const char *suggestion(const char *name) {
    for (const command *c = COMMANDS; c->name; c++)
        if (name[0] &&
            (!strncmp(c->name, name, 3) || strstr(c->name, name) || strstr(name, c->name)))
            return c->name;
    return NULL;
}

int main(int argc, char **argv) {
    cli_start("loam");
    if (argc < 2) {
        print_help();
        return cli_finish(CLI_EXIT_USAGE);
    }
    const char *name = argv[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        print_help();
        return cli_finish(CLI_EXIT_OK);
    }
    if (!strcmp(name, "--version")) {
        printf("loam %s\n", LOAM_VERSION);
        return cli_finish(CLI_EXIT_OK);
    }
    const command *c = find(name);
    if (!c) {
        const char *near = suggestion(name);
        if (near) cli_fail(CLI_EXIT_USAGE, "unknown command '%s': did you mean '%s'?", name, near);
        cli_fail(CLI_EXIT_USAGE, "unknown command '%s': see 'loam --help'", name);
    }
    return cli_finish(c->run(argc - 1, argv + 1));
}
