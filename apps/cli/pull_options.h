/* pull_options.h - the options of `loam pull`, known to loam-pull, which does the work, and to
 * loam, which answers --help and wrong usage without loading the network code. */
#ifndef LOAM_CLI_PULL_OPTIONS_H
#define LOAM_CLI_PULL_OPTIONS_H

#include "cli/cli.h"

typedef struct cli_pull_args {
    const char *revision;
    cli_strings include, exclude;
    int json, quiet, retries, timeout;
} cli_pull_args;

extern const cli_program CLI_PULL;

#endif
