/* pull.c - loam pull: checks the command line, then hands over to loam-pull, the program that has the network code. */
#include "cli/pull_options.h"
#include "loam/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Help and wrong usage are answered here, before libcurl and all it needs are loaded. */
static void check_usage(int argc, char **argv) {
    cli_pull_args a = {0};
    cli_strings rest;
    char **copy = calloc((size_t)argc + 1, sizeof *copy);
    if (!copy) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    memcpy(copy, argv, (size_t)argc * sizeof *copy);
    cli_parse(&CLI_PULL, argc, copy, &a, &rest);
    cli_free_lists();
    free(copy);
}

int loam_cmd_pull(int argc, char **argv) {
    check_usage(argc, argv);
    char *path = cli_helper_path("loam-pull");
    if (!path)
        cli_fail(CLI_EXIT_RUNTIME,
                 "loam-pull: not found beside loam: build or install it (needs libcurl)");
    execv(path, argv);
    const int e = errno;
    cli_error("%s: %s", path, strerror(e));
    free(path);
    return CLI_EXIT_RUNTIME;
}
