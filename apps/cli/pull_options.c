/* pull_options.c - the option table of `loam pull`. */
#include "cli/pull_options.h"

#include <stddef.h>

static const cli_option OPTIONS[] = {
    {"revision", 0, CLI_STRING, offsetof(cli_pull_args, revision), "REV",
     "branch, tag or commit (default: main; also REPO@REV)", 0, 0},
    {"include", 0, CLI_STRINGS, offsetof(cli_pull_args, include), "GLOB",
     "only files that match; may be repeated", 0, 0},
    {"exclude", 0, CLI_STRINGS, offsetof(cli_pull_args, exclude), "GLOB",
     "not the files that match; may be repeated", 0, 0},
    {"retries", 0, CLI_INT, offsetof(cli_pull_args, retries), "N",
     "attempts without progress before giving up (default: 5)", 1, 100},
    {"timeout", 0, CLI_INT, offsetof(cli_pull_args, timeout), "SECONDS",
     "silence that counts as a lost connection (default: HF_HUB_DOWNLOAD_TIMEOUT or 10)", 1, 3600},
    {"json", 0, CLI_FLAG, offsetof(cli_pull_args, json), "",
     "print one JSON object instead of the path", 0, 0},
    {"quiet", 'q', CLI_FLAG, offsetof(cli_pull_args, quiet), "", "no progress and no notes", 0, 0},
    {0}};

static const char EXAMPLES[] =
    "  loam pull mlx-community/Qwen2.5-1.5B-Instruct-4bit\n"
    "  loam pull org/name@v1.0 --include '*.safetensors' --include '*.json'\n"
    "  HF_TOKEN=... loam pull org/private-model\n"
    "  HF_ENDPOINT=https://mirror.example loam pull org/name\n\n"
    "Files go to the Hugging Face cache (HF_HOME, HF_HUB_CACHE); the last line on stdout is the\n"
    "model's folder.  An interrupted download goes on where it stopped.\n";

const cli_program CLI_PULL = {
    "loam pull",
    "REPO[@REV] [OPTIONS]",
    "download a model into the Hugging Face cache",
    OPTIONS,
    EXAMPLES,
    1,
    1,
};
