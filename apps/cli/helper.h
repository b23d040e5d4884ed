/* helper.h - what loam-pdf and loam-html share: limits, sandbox, and their side of the protocol.
 *
 *     cli_helper_start(argc, argv, "loam-pdf", usage);     limits first, from argv
 *     cli_helper_input(&bytes, &n);                        all of stdin
 *     cli_helper_lock(1);                                  from here on: read what is open, compute, write to stdout
 *     cli_helper_put('X', text, n);  ...  cli_helper_end();
 *
 * The records are described in src/data/helper.c, which reads them.
 */
#ifndef LOAM_CLI_HELPER_H
#define LOAM_CLI_HELPER_H

#include <loam/base.h>

/* Arguments: [SECONDS] of processor time (default 20).  With --text the answer is plain text, pages
 * divided by form feeds, for use by hand.  Dies with its parent; no core dumps, no new privileges, no files
 * written, 280 MB of private memory. */
void cli_helper_start(int argc, char **argv, const char *name, const char *summary);

/* The document: mapped when stdin is a file, read when it is a pipe. */
void cli_helper_input(const char **bytes, size_t *n);

/* Give up all rights that are not needed.  `read_data`: font and character-map files of the system may still be
 * opened for reading, where the kernel can confine that to their folders (Landlock); else none. */
void cli_helper_lock(int read_data);

void cli_helper_put(char type, const void *payload, size_t n);
void cli_helper_page(uint32_t number);
void cli_helper_heading(uint32_t level, uint64_t begin, uint64_t end);
/* Ends the process: the document could not be read, and why. */
_Noreturn void cli_helper_fail(loam_status status, const char *fmt, ...) LOAM_PRINTF(2, 3);
/* Ends the process: all is said.  Nothing is freed: freeing walks trees that the document shaped. */
_Noreturn void cli_helper_end(void);

#endif
