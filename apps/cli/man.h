/* man.h - printing the option table in other forms. */
#ifndef LOAM_CLI_MAN_H
#define LOAM_CLI_MAN_H

#include "cli/cli.h"

/* The man page of `p` on stdout. */
void cli_print_man(const cli_program *p, const cli_option *common, size_t n_common);

#endif
