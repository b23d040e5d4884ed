/* test_template.c - chat templates against Jinja 3.1 in transformers' environment: 40 real templates
 * on 22 conversations byte by byte, language snippets, limits, damaged sources. */
#include "test.h"
#include <loam/text.h>

#define GOLDEN "tests/golden/templates/"
enum { FROZEN = 1770091506 /* 2026-02-03 04:05:06 UTC, when the goldens were made */ };

static loam_json *read_json(const char *path) {
    loam_err err = {0};
    loam_json *doc = NULL;
    CHECK(!loam_json_read(&doc, path, 0, 0, &err), "%s", err.msg);
    return doc;
}

typedef void row_fn(void *ctx, const loam_json_value *row);

static size_t for_each_row(const char *path, row_fn *fn, void *ctx) {
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0, n = 0;
    ssize_t len;
    CHECK(f != NULL, "%s", path);
    while (f && (len = getline(&line, &cap, f)) > 0) {
        loam_json *doc;
        loam_err err = {0};
        CHECK(!loam_json_parse(&doc, line, (size_t)len, path, 0, &err), "%s", err.msg);
        fn(ctx, loam_json_root(doc));
        loam_json_free(doc);
        n++;
    }
    free(line);
    if (f) fclose(f);
    return n;
}

static const char *member(const loam_json_value *v, const char *key) {
    size_t n;
    return loam_json_string(loam_json_get(v, key), &n);
}

/* The message of an error is one line: control characters show as '?'. */
static int is_message(const char *shown, const char *raised) {
    for (; *shown && *raised; shown++, raised++)
        if (*shown != *raised && !(*shown == '?' && (unsigned char)*raised < 0x20)) return 0;
    return *shown == *raised;
}

/* ---- language snippets ---- */

static void check_snippet(void *ctx, const loam_json_value *row) {
    const loam_json *vars = ctx;
    size_t n, n_want = 0;
    const char *source = loam_json_string(loam_json_get(row, "template"), &n);
    const char *want = loam_json_string(loam_json_get(row, "expected"), &n_want);
    const loam_json_value *error = loam_json_get(row, "error");
    const char *type = member(error, "type");
    int is_free = 0;
    loam_template *t = NULL;
    loam_buf out = {0};
    loam_err err = {0};
    loam_json_bool(loam_json_get(row, "free"), &is_free);
    loam_status st = loam_template_new(&t, source, n, "snippet", &err);
    const int compiled = !st;
    if (!st)
        st = loam_template_render(t, loam_json_root(vars), LOAM_TEMPLATE_UTC, FROZEN, &out, &err);
    if (error) {
        CHECK(st != LOAM_OK, "%s gave [%s], wanted %s", source, out.data, member(error, "message"));
        CHECK(out.n == 0, "%s: text left behind an error", source);
        if (strcmp(member(row, "when"), "compile") == 0) CHECK(!compiled, "%s: compiled", source);
        if (type && strcmp(type, "TemplateError") == 0)
            CHECK(is_message(err.msg, member(error, "message")), "%s: [%s]", source, err.msg);
    } else if (!is_free) {
        CHECK(!st, "%s: %s", source, err.msg);
        CHECK(out.n == n_want && memcmp(out.data ? out.data : "", want, n_want) == 0,
              "%s\n   gave [%s]\n wanted [%s]", source, out.data ? out.data : "", want);
    }
    loam_buf_deinit(&out);
    loam_template_free(t);
}

static void test_snippets(const char *path, const char *context) {
    loam_json *vars = read_json(context);
    const size_t n = for_each_row(path, check_snippet, vars);
    printf("%s: %zu snippets\n", path, n);
    CHECK(n > 0, "%s is empty", path);
    loam_json_free(vars);
}

/* ---- real templates ---- */

typedef struct renderer {
    loam_json *sources, *conversations;
    const char *name; /* of the open template */
    loam_template *template;
    loam_buf text;
} renderer;

static void open_template(renderer *r, const char *name) {
    char path[512];
    loam_err err = {0};
    if (r->name && strcmp(r->name, name) == 0) return;
    loam_template_free(r->template);
    r->template = NULL;
    for (size_t i = 0; i < loam_json_count(loam_json_root(r->sources)); i++) {
        const char *key = loam_json_key(loam_json_root(r->sources), i, NULL);
        if (strcmp(key, name) == 0) r->name = key;
    }
    snprintf(path, sizeof path, GOLDEN "src/%s.jinja", name);
    CHECK(!loam_template_open(&r->template, path, &err), "%s", err.msg);
}

/* {messages, add_generation_prompt, bos_token, ..., arguments} as JSON text. */
static void put_vars(renderer *r, const loam_json_value *row) {
    const loam_json_value *conversation =
        loam_json_get(loam_json_root(r->conversations), member(row, "conversation"));
    const loam_json_value *arguments = loam_json_get(conversation, "arguments");
    const loam_json_value *source =
        loam_json_get(loam_json_root(r->sources), member(row, "template"));
    loam_buf *b = &r->text;
    loam_buf_clear(b);
    loam_buf_puts(b, "{\"messages\": ");
    loam_json_put_value(b, loam_json_get(conversation, "messages"), -1, 0);
    loam_buf_puts(b, ", \"add_generation_prompt\": ");
    loam_json_put_value(b, loam_json_get(row, "add_generation_prompt"), -1, 0);
    for (int i = 0; i < 2; i++) {
        const char *token = i ? "eos_token" : "bos_token";
        if (!member(source, token)) continue;
        loam_buf_printf(b, ", \"%s\": ", token);
        loam_json_put_value(b, loam_json_get(source, token), -1, 0);
    }
    for (size_t i = 0; i < loam_json_count(arguments); i++) {
        loam_buf_puts(b, ", ");
        size_t n;
        const char *key = loam_json_key(arguments, i, &n);
        loam_json_put_string(b, key, n);
        loam_buf_puts(b, ": ");
        loam_json_put_value(b, loam_json_at(arguments, i), -1, 0);
    }
    loam_buf_puts(b, "}");
}

static void check_rendered(void *ctx, const loam_json_value *row) {
    renderer *r = ctx;
    loam_json *vars;
    loam_err err = {0};
    loam_buf out = {0};
    size_t n_want = 0;
    const char *want = loam_json_string(loam_json_get(row, "expected"), &n_want);
    open_template(r, member(row, "template"));
    if (!r->template) return;
    put_vars(r, row);
    CHECK(!loam_json_parse(&vars, r->text.data, r->text.n, "variables", 0, &err), "%s", err.msg);
    const loam_status st =
        loam_template_render(r->template, loam_json_root(vars),
                             LOAM_TEMPLATE_CHAT | LOAM_TEMPLATE_UTC, FROZEN, &out, &err);
    const char *name = member(row, "template"), *talk = member(row, "conversation");
    if (want) {
        CHECK(!st, "%s, %s: %s", name, talk, err.msg);
        CHECK(out.n == n_want && memcmp(out.data ? out.data : "", want, n_want) == 0,
              "%s, %s\n   gave [%s]\n wanted [%s]", name, talk, out.data, want);
    } else {
        const loam_json_value *error = loam_json_get(row, "error");
        CHECK(st != LOAM_OK, "%s, %s: gave [%s], wanted %s", name, talk, out.data,
              member(error, "message"));
        if (strcmp(member(error, "type"), "TemplateError") == 0)
            CHECK(is_message(err.msg, member(error, "message")), "%s, %s: [%s], wanted [%s]", name,
                  talk, err.msg, member(error, "message"));
    }
    loam_buf_deinit(&out);
    loam_json_free(vars);
}

static void test_real_templates(void) {
    renderer r = {0};
    r.sources = read_json(GOLDEN "sources.json");
    r.conversations = read_json(GOLDEN "conversations.json");
    const size_t n = for_each_row(GOLDEN "rendered.jsonl", check_rendered, &r);
    printf("%zu renderings of real templates\n", n);
    CHECK(n == 1760, "%zu rows", n);
    loam_template_free(r.template);
    loam_buf_deinit(&r.text);
    loam_json_free(r.sources);
    loam_json_free(r.conversations);
}

/* ---- limits and damage ---- */

static loam_status run(const char *source, size_t n, const char *vars, loam_buf *out,
                       loam_err *err) {
    loam_template *t;
    loam_json *doc = NULL;
    loam_status st = loam_json_parse(&doc, vars, strlen(vars), "vars", 0, err);
    if (!st) st = loam_template_new(&t, source, n, "t", err);
    if (!st) {
        st = loam_template_render(t, loam_json_root(doc), LOAM_TEMPLATE_UTC, 0, out, err);
        loam_template_free(t);
    }
    loam_json_free(doc);
    return st;
}

static void test_limits(void) {
    static const char *const HUNGRY[] = {
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 100000000 }}",
        "{{ ('x' * 60000000) ~ ('x' * 60000000) }}",
        "{{ [0] * 1000000000 }}",
        "{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(x) %}{{ m(x ~ x) }}{% endmacro %}{{ m('xy') }}",
        "{{ 2 ** 1000 }}",
        "{{ 10 ** 30 * 10 ** 30 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ range(1000000000000000000000) | list }}",
        "{% set n=namespace(l=[])%}{% for i in range(9999)%}{% set n.l=[n.l]%}{%endfor%}{{n.l}}",
        "{{ ['x' * 50000000] | join(attribute=none) | list | length }}"};
    for (size_t i = 0; i < sizeof HUNGRY / sizeof *HUNGRY; i++) {
        loam_buf out = {0};
        loam_err err = {0};
        const loam_status st = run(HUNGRY[i], strlen(HUNGRY[i]), "{}", &out, &err);
        CHECK(st == LOAM_ERR_LIMIT, "%s: status %d, %zu bytes, %s", HUNGRY[i], st, out.n, err.msg);
        loam_buf_deinit(&out);
    }
    char deep[4001];
    memset(deep, '(', 2000);
    memset(deep + 2000, ')', 2000);
    memcpy(deep, "{{", 2);
    loam_buf out = {0};
    loam_err err = {0};
    CHECK(run(deep, 4000, "{}", &out, &err) == LOAM_ERR_LIMIT, "%s", err.msg);
    loam_buf_deinit(&out);
}

/* Appending in a loop must not cost the square of the length. */
static void test_growth(void) {
    static const char SOURCE[] =
        "{% set ns = namespace(s='', l=[]) %}{% for i in range(100000) %}"
        "{% set ns.s = ns.s + 'abcdefghij' %}{% set ns.l = ns.l + [i] %}{% endfor %}"
        "{{ ns.s | length }} {{ ns.l | length }} {{ ns.l[99999] }} {{ ns.s[:11] }}";
    loam_buf out = {0};
    loam_err err = {0};
    CHECK(!run(SOURCE, strlen(SOURCE), "{}", &out, &err), "%s", err.msg);
    CHECK(out.data && strcmp(out.data, "1000000 100000 99999 abcdefghija") == 0, "%s", out.data);
    loam_buf_deinit(&out);
    /* a shared prefix keeps its own length */
    static const char SHARED[] =
        "{% set a = 'x' ~ 'y' %}{% set b = a ~ '1' %}{% set b2 = b ~ '2' %}"
        "{% set c = a ~ '3' %}{% set d = b ~ '4' %}{{ a }} {{ b }} {{ b2 }} {{ c }} {{ d }}";
    CHECK(!run(SHARED, strlen(SHARED), "{}", &out, &err), "%s", err.msg);
    CHECK(out.data && strcmp(out.data, "xy xy1 xy12 xy3 xy14") == 0, "%s", out.data);
    loam_buf_deinit(&out);
}

/* Every prefix of a source either renders or is refused; neither may crash. */
static void test_truncated(void) {
    renderer r = {0};
    loam_err err = {0};
    FILE *f = fopen(GOLDEN "src/Qwen3-Coder.jinja", "r");
    char source[8192];
    const size_t n = f ? fread(source, 1, sizeof source, f) : 0;
    CHECK(n > 1000, "%zu", n);
    for (size_t i = 0; i <= n; i++) {
        loam_buf out = {0};
        char *copy = malloc(i ? i : 1);
        memcpy(copy, source, i);
        run(copy, i, "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}", &out, &err);
        free(copy);
        loam_buf_deinit(&out);
    }
    if (f) fclose(f);
    (void)r;
}

int main(void) {
    test_snippets(GOLDEN "snippets.jsonl", GOLDEN "context.json");
    FILE *more = fopen(GOLDEN "more.jsonl", "r");
    if (more) {
        fclose(more);
        test_snippets(GOLDEN "more.jsonl", GOLDEN "context.json");
    }
    test_real_templates();
    test_limits();
    test_growth();
    test_truncated();
    return TEST_END("test_template");
}
