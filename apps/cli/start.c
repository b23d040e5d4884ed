/* start.c - messages, exit codes, signals: how every program begins and ends. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

loam_cancel cli_cancel;

static const char *program_name = "loam";
static volatile sig_atomic_t last_interrupt;
static volatile sig_atomic_t last_signal;
static int output_errno; /* of the first flush that failed: stdio keeps a flag, not the reason */

void cli_set_program(const char *name) {
    program_name = name;
}

static void print_line(const char *prefix, const char *fmt, va_list args) LOAM_PRINTF(2, 0);
static void print_line(const char *prefix, const char *fmt, va_list args) {
    char line[1024];
    vsnprintf(line, sizeof line, fmt, args);
    for (char *s = line; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = '?';
    cli_flush();
    cli_progress_hide();
    fprintf(stderr, "%s: %s%s\n", program_name, prefix, line);
}

void cli_error(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    print_line("", fmt, args);
    va_end(args);
}

void cli_warn(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    print_line("warning: ", fmt, args);
    va_end(args);
}

/* What a shell says of a program that this signal ended. */
static int interrupted_by(int exit_code) {
    return exit_code == CLI_EXIT_SIGINT && last_signal == SIGTERM ? CLI_EXIT_SIGTERM : exit_code;
}

int cli_exit_code(loam_status status) {
    switch (status) {
    case LOAM_OK: return CLI_EXIT_OK;
    case LOAM_ERR_NOT_FOUND: return CLI_EXIT_NOT_FOUND;
    case LOAM_ERR_FORMAT:
    case LOAM_ERR_UNSUPPORTED: return CLI_EXIT_INVALID;
    case LOAM_ERR_NETWORK: return CLI_EXIT_NETWORK;
    case LOAM_ERR_MEMORY:
    case LOAM_ERR_NO_SPACE: return CLI_EXIT_RESOURCES;
    case LOAM_ERR_BUSY: return CLI_EXIT_BUSY;
    case LOAM_ERR_CANCELLED: return CLI_EXIT_SIGINT;
    case LOAM_ERR_IO:
    case LOAM_ERR_ARGUMENT:
    case LOAM_ERR_LIMIT: return CLI_EXIT_RUNTIME;
    }
    return CLI_EXIT_RUNTIME;
}

void cli_die(const loam_err *err) {
    if (err->status == LOAM_ERR_CANCELLED) {
        cli_flush();
        cli_progress_hide();
        exit(interrupted_by(CLI_EXIT_SIGINT));
    }
    cli_error("%s", err->msg);
    exit(cli_exit_code(err->status));
}

void cli_fail(int exit_code, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    print_line("", fmt, args);
    va_end(args);
    exit(interrupted_by(exit_code));
}

static void on_interrupt(int sig) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const sig_atomic_t now = (sig_atomic_t)t.tv_sec;
    if (cli_cancel.requested && now - last_interrupt <= 1) _exit(128 + sig);
    last_interrupt = now;
    last_signal = sig;
    cli_cancel.requested = 1;
}

/* A model or index file was truncated or its disk failed while mapped. */
static void on_bus_error(int sig) {
    static const char text[] = ": a mapped file changed or could not be read while in use\n";
    if (write(2, program_name, strlen(program_name)) >= 0 && write(2, text, sizeof text - 1) >= 0)
        (void)sig; /* and when they fail there is nobody to tell */
    _exit(CLI_EXIT_INVALID);
}

static void catch (int sig, void (*handler)(int), int flags) {
    struct sigaction a = {.sa_handler = handler, .sa_flags = flags};
    sigemptyset(&a.sa_mask);
    sigaction(sig, &a, NULL);
}

/* A program started with 0, 1 or 2 closed would get its files under those numbers and print
 * messages into them (SQLite learned this the hard way). */
static void fill_standard_fds(void) {
    for (;;) {
        const int fd = open("/dev/null", O_RDWR);
        if (fd < 0) return;
        if (fd > 2) {
            close(fd);
            return;
        }
    }
}

void cli_start(const char *program) {
    program_name = program;
    fill_standard_fds();
    catch (SIGINT, on_interrupt, 0);
    catch (SIGTERM, on_interrupt, 0);
    catch (SIGBUS, on_bus_error, 0);
    catch (SIGXFSZ, SIG_IGN, 0); /* a file that may not grow is a failed write, with a message */
}

void cli_flush(void) {
    errno = 0;
    if (fflush(stdout) != 0 && !output_errno) output_errno = errno;
}

int cli_finish(int exit_code) {
    cli_free_lists();
    exit_code = interrupted_by(exit_code);
    cli_flush();
    if (!output_errno && !ferror(stdout)) return exit_code;
    const int e = output_errno;
    if (e == EPIPE) return exit_code ? exit_code : 128 + SIGPIPE;
    cli_error("cannot write the output: %s", e ? strerror(e) : "write error");
    return e == ENOSPC || e == EDQUOT ? CLI_EXIT_RESOURCES : CLI_EXIT_RUNTIME;
}

int cli_is_tty(FILE *f) {
    return isatty(fileno(f));
}

/* On a terminal, text from models and documents must not move the cursor, set the title or
 * reach the clipboard: C0 (but newline and tab), DEL and C1 (U+0080..U+009F) become '?'. */
void cli_stdout_text(const char *text, size_t n) {
    if (!cli_is_tty(stdout)) {
        fwrite(text, 1, n, stdout);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        const int c1 = c == 0xC2 && i + 1 < n && (unsigned char)text[i + 1] < 0xA0;
        if (c1) i++;
        if (c1 || (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
            putchar('?');
        else
            putchar(c);
    }
}

int cli_read_line(loam_buf *line) {
    loam_buf_clear(line);
    for (;;) {
        errno = 0;
        const int c = getchar();
        if (c == EOF) {
            if (cli_cancel.requested) return 0; /* half a line is none */
            if (ferror(stdin) && errno == EINTR) {
                clearerr(stdin);
                continue;
            }
            if (ferror(stdin))
                cli_fail(CLI_EXIT_RUNTIME, "cannot read standard input: %s", strerror(errno));
            return line->n > 0;
        }
        if (c == '\n') break;
        loam_buf_putc(line, (char)c);
        if (line->failed)
            cli_fail(CLI_EXIT_RESOURCES, "out of memory reading a line of standard input");
    }
    if (!line->data) loam_buf_append(line, "", 0);
    return 1;
}

void cli_read_stdin(loam_buf *out) {
    if (cli_is_tty(stdin))
        cli_fail(CLI_EXIT_USAGE, "standard input is a terminal: pipe the text in, or see --help");
    char block[65536];
    size_t got;
    for (;;) {
        errno = 0;
        while ((got = fread(block, 1, sizeof block, stdin)) > 0) loam_buf_append(out, block, got);
        if (!ferror(stdin) || errno != EINTR) break;
        if (cli_cancel.requested) exit(cli_finish(CLI_EXIT_SIGINT));
        clearerr(stdin); /* another signal */
    }
    if (ferror(stdin))
        cli_fail(CLI_EXIT_RUNTIME, "cannot read standard input: %s", strerror(errno));
    loam_buf_append(out, "", 0);
    if (out->failed) cli_fail(CLI_EXIT_RESOURCES, "out of memory reading standard input");
}
