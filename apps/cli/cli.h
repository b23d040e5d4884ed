/* cli.h - what the programs share: options, messages, exit codes, progress, signals.
 *
 *     static const cli_option OPTIONS[] = {
 *         {"model", 'm', CLI_STRING, offsetof(args, model), "DIR", "model folder or name", NULL}, ... {0}};
 *     static const cli_program PROGRAM = {"loam embed", "[OPTIONS]", "one line", OPTIONS, EXAMPLES};
 *     cli_parse(&PROGRAM, argc, argv, &a, &rest);       exits for --help, --version, bad usage
 *
 * One option table gives parsing, --help and the man page.
 */
#ifndef LOAM_CLI_H
#define LOAM_CLI_H

#include <loam/base.h>
#include <loam/engine.h>
#include <stdio.h>

enum {
    CLI_EXIT_OK = 0,
    CLI_EXIT_RUNTIME = 1,
    CLI_EXIT_USAGE = 2,
    CLI_EXIT_NOT_FOUND = 3, /* model or index missing or incomplete */
    CLI_EXIT_INVALID = 4,   /* damaged or hostile input */
    CLI_EXIT_NETWORK = 5,
    CLI_EXIT_RESOURCES = 6, /* memory or disk */
    CLI_EXIT_BUSY = 7,      /* locked by another process */
    CLI_EXIT_CITATION = 8,  /* answer without a supported citation (--require-citations) */
    CLI_EXIT_PARTIAL = 9,   /* done, but some inputs failed and were reported */
    CLI_EXIT_SIGINT = 130,  /* the exits below turn it into 143 when it was SIGTERM */
    CLI_EXIT_SIGTERM = 143
};

typedef enum cli_kind {
    CLI_FLAG,    /* int: set to 1 */
    CLI_STRING,  /* const char * */
    CLI_SIZE,    /* size_t, decimal, min .. max */
    CLI_INT,     /* int, min .. max */
    CLI_FLOAT,   /* float, finite, min .. max */
    CLI_U64,     /* uint64_t */
    CLI_CHOICE,  /* const char *, one of `choices` separated by '|' */
    CLI_STRINGS, /* cli_strings, may be repeated */
    CLI_SIZES    /* cli_sizes, min .. max each: joined by commas, or repeated */
} cli_kind;

typedef struct cli_strings {
    const char **items;
    size_t n;
} cli_strings;

enum { CLI_MAX_SIZES = 32 };
typedef struct cli_sizes {
    size_t items[CLI_MAX_SIZES], n;
} cli_sizes;

typedef struct cli_option {
    const char *name; /* long name without dashes */
    char letter;      /* or 0 */
    cli_kind kind;
    size_t offset;     /* into the program's argument struct */
    const char *value; /* "N", "DIR", ...; for CLI_CHOICE the choices "exact|fast" */
    const char *help;  /* one line; defaults are stated in it */
    double min, max;   /* numbers; both 0: any (sizes and ints: >= 0) */
} cli_option;

typedef struct cli_program {
    const char *name;          /* "rag-cli", "loam embed" */
    const char *usage;         /* what follows the name */
    const char *summary;       /* one sentence */
    const cli_option *options; /* ends with a zeroed row; -h/--help and --version are added */
    const char *examples;      /* lines, each indented by two spaces */
    size_t min_rest, max_rest; /* positional arguments; usage error outside */
} cli_program;

/* Fill `args`; *rest gets the positional arguments (argv is permuted).  Prints help or version
 * and exits 0; on wrong usage prints one line with a suggestion for near misses and exits 2.
 * "--" ends options; "--name=value" and "--name value" are the same.
 * Lists are lent: cli_finish() frees them. */
void cli_parse(const cli_program *p, int argc, char **argv, void *args, cli_strings *rest);
void cli_free_lists(void);

/* One line "program: what: why" on stderr. */
void cli_set_program(const char *name);
void cli_error(const char *fmt, ...) LOAM_PRINTF(1, 2);
void cli_warn(const char *fmt, ...) LOAM_PRINTF(1, 2);
int cli_exit_code(loam_status status);
/* Print err.msg as the one line, clean up, and exit with the status's code. */
_Noreturn void cli_die(const loam_err *err);
_Noreturn void cli_fail(int exit_code, const char *fmt, ...) LOAM_PRINTF(2, 3);

/* Start-up common to all: closed fds 0-2 reopened on /dev/null, SIGPIPE default, SIGINT/SIGTERM
 * set cli_cancel (a second SIGINT within a second exits 130 at once), SIGBUS reports a file
 * truncated under its mapping. */
void cli_start(const char *program);
extern loam_cancel cli_cancel;
/* Flush stdout; why it failed the first time is kept for cli_finish. */
void cli_flush(void);
/* The same, and report a write error (full disk: exit 6; closed pipe: quiet).  Call before exit 0. */
int cli_finish(int exit_code);
/* To stdout; on a terminal control characters are shown as '?'. */
void cli_stdout_text(const char *text, size_t n);

int cli_is_tty(FILE *f);

/* Progress on stderr, only on a terminal: bar, rate, time left.  total 0: a counter. */
typedef struct cli_progress cli_progress;
cli_progress *cli_progress_new(const char *what, uint64_t total,
                               const char *unit); /* unit "B": bytes */
void cli_progress_set(cli_progress *p, uint64_t done, uint64_t total);
void cli_progress_end(cli_progress *p); /* clears the line; NULL is allowed */
/* Clear the line of the bar that is shown, until it is drawn again; messages do so themselves. */
void cli_progress_hide(void);

/* Folder of a model by name: cache lookup; when missing, loam-pull fetches it for a person at a
 * terminal, and scripts get exit 3 with the `loam pull` command.  Caller frees. */
char *cli_find_model(const char *name);
loam_pool *cli_pool(size_t n_threads); /* exits on failure */
/* Of --precision's word; NULL: what the kind of model has by default. */
loam_precision cli_precision(const char *word);
/* Of --kv's word, for a language model of that --precision; NULL: what goes with it.  Exits 2 for
 * a word that exact does not go with. */
loam_kv_type cli_kv(const char *word, const char *precision);
/* Seconds since 1970 for templates that print a date: SOURCE_DATE_EPOCH (then *utc is 1), else now.
 * Exits 2 when the variable is no such number. */
int64_t cli_clock(int *utc);

/* Next line from stdin without its newline (growing buffer): 1; 0 at the end, or when cli_cancel asks to
 * stop.  Exits on read errors. */
int cli_read_line(loam_buf *line);
/* All of stdin; exits 2 when it is a terminal, 130 when asked to stop. */
void cli_read_stdin(loam_buf *out);

/* Helpers of the library beside the program: BIN/../libexec/loam/NAME, or BIN/NAME,
 * or $LOAM_LIBEXEC/NAME.  Caller frees; NULL: not found. */
char *cli_helper_path(const char *name);

#endif
