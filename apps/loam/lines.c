/* lines.c - texts from standard input and lists of ids; the header says how they are read. */
#include "loam/lines.h"

#include "cli/cli.h"
#include <loam/json.h>

#include <stdlib.h>
#include <string.h>

void lines_check_utf8(const char *text, size_t n, const char *what, size_t number) {
    const size_t at = loam_utf8_check(text, n);
    if (at == n) return;
    if (number)
        cli_fail(CLI_EXIT_INVALID,
                 "%s: line %zu: not UTF-8 at byte %zu: convert it first (iconv -t utf-8)", what,
                 number, at + 1);
    cli_fail(CLI_EXIT_INVALID, "%s: not UTF-8 at byte %zu: convert it first (iconv -t utf-8)", what,
             at + 1);
}

/* Append the text of a line. */
static void append_line(loam_buf *out, const loam_buf *line) {
    loam_json *doc = NULL;
    if (line->n >= 2 && line->data[0] == '"' &&
        !loam_json_parse(&doc, line->data, line->n, "line", LOAM_JSON_LONE_SURROGATES, NULL)) {
        size_t n = 0;
        const char *s = loam_json_string(loam_json_root(doc), &n);
        loam_buf_append(out, s, n);
    } else {
        loam_buf_append(out, line->data, line->n);
    }
    loam_json_free(doc);
}

void lines_read(lines *l) {
    loam_buf line = {0};
    while (cli_read_line(&line)) {
        lines_check_utf8(line.data, line.n, "standard input", l->n + 1);
        const size_t start = l->bytes.n;
        append_line(&l->bytes, &line);
        if (l->n == l->cap) {
            l->cap = l->cap ? 2 * l->cap : 256;
            loam_text *grown = realloc(l->items, l->cap * sizeof *grown);
            if (!grown) cli_fail(CLI_EXIT_RESOURCES, "out of memory reading standard input");
            l->items = grown;
        }
        l->items[l->n++].n = l->bytes.n - start;
        if (l->bytes.failed) cli_fail(CLI_EXIT_RESOURCES, "out of memory reading standard input");
    }
    if (cli_cancel.requested) exit(cli_finish(CLI_EXIT_SIGINT));
    loam_buf_deinit(&line);
    /* the buffer stands still now */
    size_t at = 0;
    for (size_t i = 0; i < l->n; i++) {
        l->items[i].data = l->bytes.data ? l->bytes.data + at : "";
        at += l->items[i].n;
    }
}

void lines_deinit(lines *l) {
    free(l->items);
    loam_buf_deinit(&l->bytes);
    *l = (lines){0};
}

void lines_ids(const char *text, loam_ids *out) {
    loam_json *doc = NULL;
    loam_err err = {0};
    if (loam_json_parse(&doc, text, strlen(text), "--ids", 0, &err))
        cli_fail(CLI_EXIT_USAGE, "%s", err.msg);
    const loam_json_value *list = loam_json_root(doc);
    if (loam_json_type_of(list) != LOAM_JSON_ARRAY)
        cli_fail(CLI_EXIT_USAGE, "--ids: not a list such as '[1, 2, 3]'");
    for (const loam_json_value *v = loam_json_first(list); v; v = loam_json_next(v)) {
        int64_t id;
        if (!loam_json_int(v, &id) || id < 0 || id > INT32_MAX)
            cli_fail(CLI_EXIT_USAGE, "--ids: item %zu is not a token id", out->n);
        if (!loam_ids_push(out, (int32_t)id)) cli_fail(CLI_EXIT_RESOURCES, "--ids: out of memory");
    }
    if (out->n == 0) cli_fail(CLI_EXIT_USAGE, "--ids: the list is empty");
    loam_json_free(doc);
}
