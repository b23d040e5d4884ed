/* bench_cli.c - how fast loam is on this machine: language model, embedder, search, tokenizer. */
#include "bench/bench.h"

#include <stddef.h>
#include <string.h>

#define AT(field) offsetof(bench_args, field)
#define OPTION_MODEL                                                                               \
    { "model", 'm', CLI_STRING, AT(model), "MODEL", "model folder or name", 0, 0 }
#define OPTIONS_COMMON                                                                             \
    {"repeat",         'r', CLI_SIZE, AT(repeat), "N", "measurements of each (default: 5)", 1,     \
     BENCH_MAX_SAMPLES},                                                                           \
        {"threads",   't', CLI_SIZE,                                                               \
         AT(threads), "N", "threads (default: the CPUs this process may use)",                     \
         1,           256},                                                                        \
        {"json", 0, CLI_FLAG, AT(json), "", "one JSON object with every sample", 0, 0}, {          \
        "csv", 0, CLI_FLAG, AT(csv), "", "comma-separated values", 0, 0                            \
    }
#define OPTION_PRECISION                                                                           \
    { "precision", 0, CLI_CHOICE, AT(precision), "fast|exact", "arithmetic (default: fast)", 0, 0 }
#define OPTION_END                                                                                 \
    { NULL, 0, CLI_FLAG, 0, NULL, NULL, 0, 0 }

static const cli_option LLM_OPTIONS[] = {
    OPTION_MODEL,
    {"shape", 0, CLI_STRING, AT(shape), "NAME",
     "random weights of a known shape instead of a model, e.g. phi3-mini-4bit", 0, 0},
    {"pp", 0, CLI_SIZES, AT(pp), "N,...", "prompt lengths to read (default: 128,512)", 1, 1e6},
    {"tg", 0, CLI_SIZES, AT(tg), "N,...", "numbers of tokens to write (default: 64)", 1, 1e6},
    {"first", 0, CLI_SIZES, AT(first), "N,...",
     "seconds to the first token after a prompt of N in a fresh process, read and from a file", 1,
     1e6},
    {"verify", 0, CLI_SIZES, AT(verify), "N,...",
     "milliseconds to check a draft: passes over N tokens behind 400", 1, 64},
    {"keep", 0, CLI_FLAG, AT(keep), "",
     "keep the weights of --shape in ~/.cache/loam/shapes, or take those that are there", 0, 0},
    OPTION_PRECISION,
    {"kv", 0, CLI_CHOICE, AT(kv), "f16|int8", "keys and values in fast (default: f16)", 0, 0},
    OPTIONS_COMMON,
    OPTION_END};
static const cli_option EMBED_OPTIONS[] = {
    OPTION_MODEL,
    {"batch", 'b', CLI_SIZE, AT(batch), "N", "texts a call (default: 32)", 1, 65536},
    OPTION_PRECISION,
    OPTIONS_COMMON,
    OPTION_END};
static const cli_option SEARCH_OPTIONS[] = {
    {"count", 'n', CLI_SIZE, AT(count), "N", "vectors (default: 100000)", 1, 1e8},
    {"dim", 'd', CLI_SIZE, AT(dim), "N", "dimensions (default: 384)", 1, 65536},
    {"batch", 'b', CLI_SIZE, AT(batch), "N", "queries of a batch (default: 64)", 1, 4096},
    OPTIONS_COMMON,
    OPTION_END};
static const cli_option TOKENIZE_OPTIONS[] = {
    OPTION_MODEL,
    {"input", 'i', CLI_STRING, AT(input), "FILE", "text to encode", 0, 0},
    OPTIONS_COMMON,
    OPTION_END};

static const cli_program LLM = {"bench-cli llm",
                                "--model MODEL | --shape NAME [OPTIONS]",
                                "prompt reading (pp) and writing (tg) in tokens a second",
                                LLM_OPTIONS,
                                "  bench-cli llm --model default --pp 128,512,2048 --tg 64\n"
                                "  bench-cli llm --shape phi3-mini-4bit --json\n",
                                0,
                                0};
static const cli_program PROMPT = {"bench-cli prompt",
                                   "--model MODEL [OPTIONS]",
                                   "the same as 'bench-cli llm'",
                                   LLM_OPTIONS,
                                   "  bench-cli prompt --model default\n",
                                   0,
                                   0};
static const cli_program EMBED = {
    "bench-cli embed",
    "--model MODEL [OPTIONS]",
    "sentences a second, and one query's time",
    EMBED_OPTIONS,
    "  bench-cli embed --model sentence-transformers/all-MiniLM-L6-v2\n",
    0,
    0};
static const cli_program SEARCH = {
    "bench-cli search",
    "[OPTIONS]",
    "search over random unit vectors: f32, f16, int8, single queries and batches",
    SEARCH_OPTIONS,
    "  bench-cli search --count 1000000\n",
    0,
    0};
static const cli_program TOKENIZE = {
    "bench-cli tokenize",
    "--model MODEL --input FILE [OPTIONS]",
    "megabytes encoded a second",
    TOKENIZE_OPTIONS,
    "  bench-cli tokenize --model default --input docs/ARCHITECTURE.md\n",
    0,
    0};

static void print_help(void) {
    printf("bench-cli - how fast loam is on this machine\n\nUsage: bench-cli COMMAND "
           "[OPTIONS]\n\nCommands:\n"
           "  llm       %s\n  prompt    %s\n  embed     %s\n  search    %s\n  tokenize  %s\n\n"
           "'bench-cli COMMAND --help' tells a command's options.\n\nExamples:\n%s%s",
           LLM.summary, PROMPT.summary, EMBED.summary, SEARCH.summary, TOKENIZE.summary,
           LLM.examples, SEARCH.examples);
}

int main(int argc, char **argv) {
    bench_args a = {.repeat = 5, .batch = 32, .count = 100000, .dim = 384, .precision = "fast"};
    cli_start("bench-cli");
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        print_help();
        return cli_finish(argc < 2 ? CLI_EXIT_USAGE : CLI_EXIT_OK);
    }
    if (!strcmp(argv[1], "--version")) {
        printf("loam %s\n", LOAM_VERSION);
        return cli_finish(CLI_EXIT_OK);
    }
    const char *name = argv[1];
    int code = CLI_EXIT_USAGE;
    argc--;
    argv++;
    if (!strcmp(name, "llm") || !strcmp(name, "prompt")) {
        cli_parse(!strcmp(name, "llm") ? &LLM : &PROMPT, argc, argv, &a, NULL);
        code = bench_llm(&a, name);
    } else if (!strcmp(name, "embed")) {
        cli_parse(&EMBED, argc, argv, &a, NULL);
        code = bench_embed(&a);
    } else if (!strcmp(name, "search")) {
        a.batch = 64;
        cli_parse(&SEARCH, argc, argv, &a, NULL);
        code = bench_search(&a);
    } else if (!strcmp(name, "tokenize")) {
        cli_parse(&TOKENIZE, argc, argv, &a, NULL);
        code = bench_tokenize(&a);
    } else if (!strcmp(name, "flux")) {
        cli_fail(CLI_EXIT_USAGE, "flux: image generation is not part of this version");
    } else {
        cli_fail(CLI_EXIT_USAGE, "unknown command '%s': llm, prompt, embed, search or tokenize",
                 name);
    }
    return cli_finish(code);
}
