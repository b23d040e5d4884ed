/* line.c - questions, one a line: from a pipe, or at a prompt with history and editing (libedit). */
#include "rag/rag.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

struct rag_lines {
    EditLine *edit; /* NULL: plain lines from a pipe */
    History *history;
    char history_path[PATH_MAX];
};

static char prompt_text[] = "❓> ";
static char prompt_plain[] = "> ";
static int utf8_terminal;

static char *prompt(EditLine *e) {
    (void)e;
    return utf8_terminal ? prompt_text : prompt_plain;
}

/* libedit reads and draws wide characters: it needs a locale with UTF-8, or ASCII alone. */
static void choose_locale(void) {
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8");
    utf8_terminal = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

/* One character for libedit.  It would wait in read(), and miss a Ctrl-C that comes a moment
 * before: look at the flag ten times a second instead. */
static int read_character(EditLine *e, wchar_t *out) {
    static mbstate_t state;
    char byte;
    (void)e;
    for (;;) {
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        if (cli_cancel.requested) return 0;
        const int ready = poll(&p, 1, 100);
        if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
        const ssize_t got = ready < 0 ? -1 : read(STDIN_FILENO, &byte, 1);
        if (got <= 0) return got < 0 ? -1 : 0;
        const size_t used = mbrtowc(out, &byte, 1, &state);
        if (used == 1 || used == 0) return 1;
        if (used == (size_t)-1) memset(&state, 0, sizeof state); /* not UTF-8: drop the byte */
    }
}

/* $XDG_STATE_HOME/loam/history, else ~/.local/state/loam/history, readable by the user alone. */
static void open_history(rag_lines *l) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char folder[PATH_MAX - 16];
    int n;
    if (state && *state)
        n = snprintf(folder, sizeof folder, "%s/loam", state);
    else if (home && *home)
        n = snprintf(folder, sizeof folder, "%s/.local/state/loam", home);
    else
        return;
    if (n < 0 || n >= (int)sizeof folder) return;
    for (char *s = folder + 1; *s; s++) {
        if (*s != '/') continue;
        *s = 0;
        mkdir(folder, 0700);
        *s = '/';
    }
    mkdir(folder, 0700);
    snprintf(l->history_path, sizeof l->history_path, "%s/history", folder);
    const int fd = open(l->history_path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        l->history_path[0] = 0;
    else
        close(fd);
}

rag_lines *rag_lines_open(int at_prompt) {
    rag_lines *l = calloc(1, sizeof *l);
    HistEvent ev;
    if (!l) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    if (!at_prompt) return l;
    choose_locale();
    l->edit = el_init("rag-cli", stdin, stdout, stderr);
    l->history = history_init();
    if (!l->edit || !l->history) return l;
    el_set(l->edit, EL_PROMPT, prompt);
    el_set(l->edit, EL_EDITOR, "emacs");
    el_set(l->edit, EL_SIGNAL, 1);
    el_set(l->edit, EL_GETCFN, read_character);
    history(l->history, &ev, H_SETSIZE, 1000);
    history(l->history, &ev, H_SETUNIQUE, 1);
    el_set(l->edit, EL_HIST, history, l->history);
    open_history(l);
    if (l->history_path[0]) history(l->history, &ev, H_LOAD, l->history_path);
    return l;
}

int rag_lines_next(rag_lines *l, loam_buf *line) {
    if (!l->edit) return cli_read_line(line);
    int n = 0;
    HistEvent ev;
    cli_cancel.requested = 0;
    errno = 0;
    /* libedit would draw the prompt first: what is typed then reached the terminal's own editing */
    el_set(l->edit, EL_PREP_TERM, 1);
    const char *text = el_gets(l->edit, &n);
    if (!text || n <= 0 || cli_cancel.requested) return 0; /* Ctrl-D, Ctrl-C at the prompt */
    loam_buf_clear(line);
    loam_buf_append(line, text, (size_t)n);
    while (line->n > 0 && line->data[line->n - 1] == '\n') line->data[--line->n] = 0;
    if (line->n > 0) history(l->history, &ev, H_ENTER, line->data);
    return 1;
}

void rag_lines_close(rag_lines *l) {
    HistEvent ev;
    if (l->edit) {
        if (l->history_path[0]) history(l->history, &ev, H_SAVE, l->history_path);
        if (l->history) history_end(l->history);
        el_end(l->edit);
    }
    free(l);
}
