/* pull.c - loam pull: hands over to loam-pull, the program that has the network code. */
#include "cli/cli.h"
#include "loam/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int loam_cmd_pull(int argc, char **argv) {
    (void)argc;
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
