/* loam template - messages to the prompt text that a model's chat template makes of them, byte-equal
 * to transformers' apply_chat_template(tokenize=False). */
#include "cli/cli.h"
#include "loam/commands.h"
#include <loam/json.h>
#include <loam/text.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct template_args {
    const char *model;
    int no_generation_prompt;
} template_args;

static const cli_option OPTIONS[] = {{"model", 'm', CLI_STRING, offsetof(template_args, model), "M",
                                      "model folder or name, or the path of a template file", 0, 0},
                                     {"no-generation-prompt", 0, CLI_FLAG,
                                      offsetof(template_args, no_generation_prompt), NULL,
                                      "do not open the assistant's turn at the end", 0, 0},
                                     {0}};

static const cli_program PROGRAM = {
    .name = "loam template",
    .usage = "--model M [--no-generation-prompt] < JSON",
    .summary = "Render chat messages by a model's chat template; stdin is a JSON list of messages, "
               "or an object with \"messages\" and any other variables (tools, documents, ...).",
    .options = OPTIONS,
    .examples = "  echo '[{\"role\": \"user\", \"content\": \"Hi\"}]' | loam template --model "
                "models/smollm2\n"
                "  loam template --model qwen3.jinja < conversation.json\n"};

/* The variables as one JSON object: the input's, or the list as "messages". */
static loam_json *read_variables(const template_args *a) {
    loam_buf in = {0}, text = {0};
    loam_json *given = NULL, *vars = NULL;
    loam_err err = {0};
    const unsigned flags = LOAM_JSON_ALLOW_NAN | LOAM_JSON_LONE_SURROGATES;
    cli_read_stdin(&in);
    if (loam_json_parse(&given, in.data ? in.data : "", in.n, "stdin", flags, &err)) cli_die(&err);
    const loam_json_value *root = loam_json_root(given);
    const loam_json_type type = loam_json_type_of(root);
    if (type != LOAM_JSON_ARRAY && type != LOAM_JSON_OBJECT)
        cli_fail(CLI_EXIT_INVALID,
                 "stdin: give a JSON list of messages, or an object with \"messages\"");
    if (type == LOAM_JSON_OBJECT && !loam_json_get(root, "messages"))
        cli_fail(CLI_EXIT_INVALID, "stdin: the object has no \"messages\"");
    /* a member of the input stands over the default, an option over the input */
    const loam_json_value *generation =
        type == LOAM_JSON_OBJECT ? loam_json_get(root, "add_generation_prompt") : NULL;
    loam_buf_puts(&text, "{");
    if (type == LOAM_JSON_ARRAY) {
        loam_buf_puts(&text, "\"messages\": ");
        loam_buf_append(&text, in.data, in.n);
        loam_buf_puts(&text, ", ");
    }
    for (const loam_json_value *v = type == LOAM_JSON_OBJECT ? loam_json_first(root) : NULL; v;
         v = loam_json_next(v)) {
        size_t n;
        const char *key = loam_json_own_key(v, &n);
        if (v == generation) continue;
        loam_json_put_string(&text, key, n);
        loam_buf_puts(&text, ": ");
        loam_json_put_value(&text, v, -1, 0);
        loam_buf_puts(&text, ", ");
    }
    loam_buf_puts(&text, "\"add_generation_prompt\": ");
    if (a->no_generation_prompt)
        loam_buf_puts(&text, "false");
    else if (generation)
        loam_json_put_value(&text, generation, -1, 0);
    else
        loam_buf_puts(&text, "true");
    loam_buf_puts(&text, "}");
    if (text.failed) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    if (loam_json_parse(&vars, text.data, text.n, "stdin", flags, &err)) cli_die(&err);
    loam_json_free(given);
    loam_buf_deinit(&in);
    loam_buf_deinit(&text);
    return vars;
}

/* A template file as it is; else a model by folder or name.  Caller frees. */
static char *find_source(const char *model) {
    struct stat st;
    if (stat(model, &st) || !S_ISREG(st.st_mode)) return cli_find_model(model);
    char *copy = strdup(model);
    if (!copy) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
    return copy;
}

int loam_cmd_template(int argc, char **argv) {
    template_args a = {0};
    cli_strings rest = {0};
    loam_err err = {0};
    loam_template *t = NULL;
    loam_buf out = {0};
    cli_parse(&PROGRAM, argc, argv, &a, &rest);
    if (!a.model) cli_fail(CLI_EXIT_USAGE, "--model is missing: see 'loam template --help'");
    int utc;
    const int64_t now = cli_clock(&utc);
    const unsigned flags = LOAM_TEMPLATE_CHAT | (utc ? (unsigned)LOAM_TEMPLATE_UTC : 0);
    char *folder = find_source(a.model);
    if (loam_template_open(&t, folder, &err)) cli_die(&err);
    loam_json *vars = read_variables(&a);
    if (loam_template_render(t, loam_json_root(vars), flags, now, &out, &err)) cli_die(&err);
    if (out.n) cli_stdout_text(out.data, out.n);
    loam_json_free(vars);
    loam_buf_deinit(&out);
    loam_template_free(t);
    free(folder);
    return CLI_EXIT_OK;
}
