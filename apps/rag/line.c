/* line.c - questions, one a line: from a pipe, or at a prompt with history and editing (libedit). */
#include "rag/rag.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct rag_lines {
    EditLine *edit; /* NULL: plain lines from a pipe */
    History *history;
    char history_path[PATH_MAX];
};

static char *prompt(EditLine *e) {
    static char text[] = "❓> ";
    (void)e;
    return text;
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
    l->edit = el_init("rag-cli", stdin, stdout, stderr);
    l->history = history_init();
    if (!l->edit || !l->history) return l;
    el_set(l->edit, EL_PROMPT, prompt);
    el_set(l->edit, EL_EDITOR, "emacs");
    el_set(l->edit, EL_SIGNAL, 1);
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
