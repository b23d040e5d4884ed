/* loam tokenize - text to token ids and back, a JSON value a line.
 *
 * Ids are what Hugging Face's tokenizer.encode(text) gives: special tokens are added, and
 * special tokens written in the text are recognised.  --no-special is
 * add_special_tokens=False, or skip_special_tokens=True with --decode. */
#include "cli/cli.h"
#include "loam/commands.h"
#include <errno.h>
#include <loam/json.h>
#include <loam/text.h>
#include <stdlib.h>
#include <string.h>

typedef struct tokenize_args {
    const char *model;
    int decode, no_special, plain;
} tokenize_args;

static const cli_option OPTIONS[] = {
    {"model", 'm', CLI_STRING, offsetof(tokenize_args, model), "M",
     "model folder or name, folder of tokenizer files, or a tokenizer file", 0, 0},
    {"decode", 'd', CLI_FLAG, offsetof(tokenize_args, decode), NULL, "ids in, text out", 0, 0},
    {"no-special", 0, CLI_FLAG, offsetof(tokenize_args, no_special), NULL,
     "add no special tokens; with --decode: leave them out", 0, 0},
    {"plain", 0, CLI_FLAG, offsetof(tokenize_args, plain), NULL,
     "special tokens written in the text are plain text", 0, 0},
    {0}};

static const cli_program PROGRAM = {
    .name = "loam tokenize",
    .usage = "--model M [--decode] [--no-special] < LINES",
    .summary = "Turn JSON strings, one a line, into JSON lists of token ids, or back.",
    .options = OPTIONS,
    .examples = "  echo '\"Hello, world!\"' | loam tokenize --model models/smollm2\n"
                "  echo '[19556, 28, 905, 17]' | loam tokenize --model models/smollm2 --decode\n"};

static void encode_line(const loam_tokenizer *tok, const tokenize_args *a, const loam_json_value *v,
                        size_t line, loam_ids *ids, loam_buf *out) {
    loam_err err = {0};
    size_t n = 0;
    const char *text = loam_json_string(v, &n);
    if (!text)
        cli_fail(CLI_EXIT_INVALID, "line %zu: not a JSON string: give one string a line, in quotes",
                 line);
    const unsigned flags =
        (a->no_special ? 0u : LOAM_ENCODE_SPECIAL) | (a->plain ? 0u : LOAM_ENCODE_PARSE_SPECIAL);
    ids->n = 0;
    if (loam_tokenizer_encode(tok, text, n, flags, ids, &err))
        cli_fail(cli_exit_code(err.status), "line %zu: %s", line, err.msg);
    loam_buf_putc(out, '[');
    for (size_t i = 0; i < ids->n; i++) loam_buf_printf(out, i ? ", %d" : "%d", ids->ids[i]);
    loam_buf_putc(out, ']');
}

/* A JSON string in one line whatever the reader takes for a line break: the three that
 * JSON leaves as they are, U+0085, U+2028 and U+2029, are escaped too. */
static void put_line(loam_buf *out, const char *s, size_t n) {
    loam_buf json = {0};
    loam_json_put_string(&json, s, n);
    for (size_t i = 0; i < json.n;) {
        const unsigned char *p = (const unsigned char *)json.data + i;
        const size_t left = json.n - i;
        if (left >= 2 && p[0] == 0xc2 && p[1] == 0x85) {
            loam_buf_puts(out, "\\u0085");
            i += 2;
        } else if (left >= 3 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9)) {
            loam_buf_puts(out, p[2] == 0xa8 ? "\\u2028" : "\\u2029");
            i += 3;
        } else {
            loam_buf_putc(out, json.data[i++]);
        }
    }
    out->failed |= json.failed;
    loam_buf_deinit(&json);
}

static void decode_line(const loam_tokenizer *tok, const tokenize_args *a, const loam_json_value *v,
                        size_t line, loam_ids *ids, loam_buf *out) {
    loam_err err = {0};
    loam_buf text = {0};
    ids->n = 0;
    if (loam_json_type_of(v) != LOAM_JSON_ARRAY)
        cli_fail(CLI_EXIT_INVALID,
                 "line %zu: not a JSON list of ids: give one list a line, like [1, 2, 3]", line);
    for (const loam_json_value *x = loam_json_first(v); x; x = loam_json_next(x)) {
        int64_t id;
        if (!loam_json_int(x, &id) || id < 0 || id > INT32_MAX)
            cli_fail(CLI_EXIT_INVALID, "line %zu: item %zu is not a token id", line, ids->n);
        if (!loam_ids_push(ids, (int32_t)id))
            cli_fail(CLI_EXIT_RESOURCES, "line %zu: out of memory", line);
    }
    if (loam_tokenizer_decode(tok, ids->ids, ids->n, a->no_special ? LOAM_DECODE_SKIP_SPECIAL : 0,
                              &text, &err))
        cli_fail(err.status == LOAM_ERR_ARGUMENT ? CLI_EXIT_INVALID : cli_exit_code(err.status),
                 "line %zu: %s", line, err.msg);
    put_line(out, text.data ? text.data : "", text.n);
    loam_buf_deinit(&text);
}

/* `model` as a path when it is one, else as the name of a cached model. */
static loam_tokenizer *open_tokenizer(const char *model) {
    loam_err err = {0};
    loam_tokenizer *tok = NULL;
    if (loam_tokenizer_open(&tok, model, &err) == LOAM_ERR_NOT_FOUND &&
        !strstr(err.msg, "no tokenizer")) {
        char *folder = cli_find_model(model);
        err = (loam_err){0};
        loam_tokenizer_open(&tok, folder, &err);
        free(folder);
    }
    if (!tok) cli_die(&err);
    return tok;
}

int loam_cmd_tokenize(int argc, char **argv) {
    tokenize_args a = {0};
    cli_strings rest = {0};
    cli_parse(&PROGRAM, argc, argv, &a, &rest);
    if (!a.model)
        cli_fail(CLI_EXIT_USAGE, "--model is missing: give a model folder or a tokenizer file");
    loam_tokenizer *tok = open_tokenizer(a.model);
    loam_buf line = {0}, out = {0};
    loam_ids ids = {0};
    for (size_t i = 1; cli_read_line(&line); i++) {
        loam_err err = {0};
        loam_json *doc = NULL;
        char name[40];
        snprintf(name, sizeof name, "line %zu", i);
        if (loam_json_parse(&doc, line.data ? line.data : "", line.n, name,
                            LOAM_JSON_LONE_SURROGATES, &err))
            cli_die(&err);
        loam_buf_clear(&out);
        (a.decode ? decode_line : encode_line)(tok, &a, loam_json_root(doc), i, &ids, &out);
        loam_buf_putc(&out, '\n');
        if (out.failed) cli_fail(CLI_EXIT_RESOURCES, "line %zu: out of memory", i);
        if (fwrite(out.data, 1, out.n, stdout) != out.n)
            cli_fail(errno == ENOSPC || errno == EDQUOT ? CLI_EXIT_RESOURCES : CLI_EXIT_RUNTIME,
                     "cannot write the output: %s", strerror(errno));
        loam_json_free(doc);
        if (cli_cancel.requested) break;
    }
    if (cli_cancel.requested) exit(cli_finish(CLI_EXIT_SIGINT));
    loam_ids_deinit(&ids);
    loam_buf_deinit(&line);
    loam_buf_deinit(&out);
    loam_tokenizer_close(tok);
    return cli_cancel.requested ? CLI_EXIT_SIGINT : CLI_EXIT_OK;
}
