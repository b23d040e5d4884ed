/* template_parse.c - tokens to a tree: statements of Jinja's grammar, by recursive descent. */
#include "text/template_parser.h"

static tmpl_node *parse_body(tmpl_parser *p, const char *const *ends);

/* ---- statements; the tag's name is the current token ---- */

static void check_target(tmpl_parser *p, const tmpl_node *n) {
    if (n->kind == TMPL_N_NAME || n->kind == TMPL_N_NSREF) return;
    if (n->kind != TMPL_N_TUPLE) {
        p->c->line = n->line;
        loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "can't assign to this");
    }
    for (size_t i = 0; i < n->n_items; i++) check_target(p, n->items[i]);
}

static tmpl_node *parse_target(tmpl_parser *p, const char *end_name) {
    tmpl_node *n = loam_tmpl_parse_tuple(p, TARGET, end_name);
    check_target(p, n);
    return n;
}

static const char *const NO_ENDS[] = {NULL};

/* The statements up to one of `ends`, which is left as the current token. */
static tmpl_node *parse_until(tmpl_parser *p, const char *const *ends) {
    skip_op(p, ":");
    expect_end(p);
    tmpl_node *n = parse_body(p, ends);
    if (p->t->type == TMPL_T_EOF) {
        p->c->line = p->t->line;
        loam_tmpl_fail(
            p->c, LOAM_ERR_FORMAT,
            "Unexpected end of template. Jinja was looking for the following tags: '%s'.", ends[0]);
    }
    return n;
}

static tmpl_node *parse_until_end(tmpl_parser *p, const char *end) {
    const char *const ends[] = {end, NULL};
    tmpl_node *n = parse_until(p, ends);
    next(p);
    return n;
}

static tmpl_node *parse_set(tmpl_parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_SET);
    next(p);
    n->a = parse_target(p, NULL);
    if (skip_op(p, "=")) {
        n->b = loam_tmpl_parse_tuple(p, 0, NULL);
        return n;
    }
    n->kind = TMPL_N_SET_BLOCK;
    while (skip_op(p, "|")) n->b = loam_tmpl_parse_filter(p, n->b);
    n->c = parse_until_end(p, "endset");
    return n;
}

static tmpl_node *parse_for(tmpl_parser *p) {
    static const char *const ENDS[] = {"endfor", "else", NULL};
    tmpl_node *n = new_node(p, TMPL_N_FOR);
    node_list l = {0};
    next(p);
    n->a = parse_target(p, "in");
    if (!skip_name(p, "in")) fail_expected(p, "in");
    n->b = loam_tmpl_parse_tuple(p, NO_IF, "recursive");
    if (skip_name(p, "if")) n->c = loam_tmpl_parse_expression(p);
    n->op = (uint8_t)skip_name(p, "recursive");
    add_node(p, &l, parse_until(p, ENDS));
    if (at_name(p, "else")) {
        next(p);
        add_node(p, &l, parse_until_end(p, "endfor"));
    } else {
        next(p);
    }
    set_items(n, l);
    return n;
}

static tmpl_node *parse_if(tmpl_parser *p) {
    static const char *const ENDS[] = {"endif", "elif", "else", NULL};
    tmpl_node *first = new_node(p, TMPL_N_IF), *n = first;
    for (;;) {
        next(p);
        n->a = loam_tmpl_parse_tuple(p, NO_IF, NULL);
        n->b = parse_until(p, ENDS);
        if (at_name(p, "elif")) {
            n->c = new_node(p, TMPL_N_IF);
            n = n->c;
            continue;
        }
        const int has_else = at_name(p, "else");
        next(p);
        if (has_else) n->c = parse_until_end(p, "endif");
        return first;
    }
}

static void parse_signature(tmpl_parser *p, tmpl_node *n) {
    node_list defaults = {0};
    size_t cap = 0;
    expect_op(p, "(");
    while (!at_op(p, ")")) {
        if (n->n_params) expect_op(p, ",");
        const tmpl_str name = expect_name(p);
        if (n->n_params == cap) {
            cap = cap ? cap * 2 : 4;
            tmpl_str *more = loam_tmpl_alloc(p->c, cap, sizeof *more);
            if (n->n_params) memcpy(more, n->params, n->n_params * sizeof *more);
            n->params = more;
        }
        n->params[n->n_params++] = name;
        if (skip_op(p, "="))
            add_node(p, &defaults, loam_tmpl_parse_expression(p));
        else if (defaults.n)
            fail_at(p, "non-default argument follows default argument");
    }
    expect_op(p, ")");
    set_items(n, defaults);
}

static void parse_macro_body(tmpl_parser *p, tmpl_node *n, const char *end) {
    nest(p);
    p->macros[p->n_macros++] = n; /* nesting keeps it below its size */
    n->c = parse_until_end(p, end);
    p->n_macros--;
    p->nesting--;
}

static tmpl_node *parse_macro(tmpl_parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_MACRO);
    next(p);
    n->name = expect_name(p);
    parse_signature(p, n);
    parse_macro_body(p, n, "endmacro");
    return n;
}

static tmpl_node *parse_call_block(tmpl_parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_CALL_BLOCK);
    next(p);
    n->b = new_node(p, TMPL_N_MACRO);
    n->b->name = (tmpl_str){"caller", 6};
    if (at_op(p, "(")) parse_signature(p, n->b);
    n->a = loam_tmpl_parse_expression(p);
    if (n->a->kind != TMPL_N_CALL) fail_at(p, "expected call");
    parse_macro_body(p, n->b, "endcall");
    return n;
}

static tmpl_node *parse_filter_block(tmpl_parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_FILTER_BLOCK);
    do {
        next(p);
        n->b = loam_tmpl_parse_filter(p, n->b);
    } while (at_op(p, "|"));
    n->c = parse_until_end(p, "endfilter");
    return n;
}

static tmpl_node *parse_with(tmpl_parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_WITH);
    node_list l = {0};
    next(p);
    while (p->t->type != TMPL_T_BLOCK_END) {
        if (l.n) expect_op(p, ",");
        add_node(p, &l, parse_target(p, NULL));
        expect_op(p, "=");
        add_node(p, &l, loam_tmpl_parse_expression(p));
    }
    set_items(n, l);
    n->c = parse_until_end(p, "endwith");
    return n;
}

static tmpl_node *parse_block(tmpl_parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_BLOCK);
    next(p);
    n->name = expect_name(p);
    n->op = (uint8_t)skip_name(p, "scoped");
    skip_name(p, "required");
    n->c = parse_until_end(p, "endblock");
    if (p->t->type == TMPL_T_NAME && loam_tmpl_same(p->t->text, n->name)) next(p);
    return n;
}

static tmpl_node *parse_print(tmpl_parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_BODY);
    node_list l = {0};
    next(p);
    while (p->t->type != TMPL_T_BLOCK_END) {
        if (l.n) expect_op(p, ",");
        tmpl_node *k = new_node(p, TMPL_N_PRINT);
        k->a = loam_tmpl_parse_expression(p);
        add_node(p, &l, k);
    }
    set_items(n, l);
    return n;
}

static tmpl_node *parse_scope(tmpl_parser *p) {
    const int escape = at_name(p, "autoescape");
    tmpl_node *n = new_node(p, escape ? TMPL_N_AUTOESCAPE : TMPL_N_SCOPE);
    next(p);
    if (escape) n->a = loam_tmpl_parse_expression(p);
    n->c = parse_until_end(p, escape ? "endautoescape" : "endgeneration");
    return n;
}

/* {% include %} and its like: parsed for their first expression; running one is an error. */
static tmpl_node *parse_no_loader(tmpl_parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_NO_LOADER);
    next(p);
    n->a = loam_tmpl_parse_expression(p);
    while (p->t->type == TMPL_T_NAME || at_op(p, ",")) next(p);
    return n;
}

static tmpl_node *parse_jump(tmpl_parser *p) {
    tmpl_node *n = new_node(p, at_name(p, "break") ? TMPL_N_BREAK : TMPL_N_CONTINUE);
    next(p);
    return n;
}

static tmpl_node *parse_statement(tmpl_parser *p) {
    static const struct {
        const char *tag;
        tmpl_node *(*parse)(tmpl_parser *p);
    } TAGS[] = {{"for", parse_for},           {"if", parse_if},
                {"set", parse_set},           {"macro", parse_macro},
                {"call", parse_call_block},   {"filter", parse_filter_block},
                {"with", parse_with},         {"block", parse_block},
                {"print", parse_print},       {"autoescape", parse_scope},
                {"generation", parse_scope},  {"include", parse_no_loader},
                {"import", parse_no_loader},  {"from", parse_no_loader},
                {"extends", parse_no_loader}, {"break", parse_jump},
                {"continue", parse_jump}};
    if (p->t->type != TMPL_T_NAME) fail_at(p, "tag name expected");
    for (size_t i = 0; i < sizeof TAGS / sizeof *TAGS; i++)
        if (at_name(p, TAGS[i].tag)) return TAGS[i].parse(p);
    p->c->line = p->t->line;
    loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "Encountered unknown tag '%s'.", describe(p, p->t));
}

static tmpl_node *parse_body(tmpl_parser *p, const char *const *ends) {
    tmpl_node *body = new_node(p, TMPL_N_BODY);
    node_list l = {0};
    nest(p);
    while (p->t->type != TMPL_T_EOF) {
        if (p->t->type == TMPL_T_DATA) {
            tmpl_node *n = new_node(p, TMPL_N_TEXT);
            n->value = loam_tmpl_str(p->t->text);
            add_node(p, &l, n);
            next(p);
        } else if (p->t->type == TMPL_T_VAR_BEGIN) {
            tmpl_node *n = new_node(p, TMPL_N_PRINT);
            next(p);
            n->a = loam_tmpl_parse_tuple(p, 0, NULL);
            if (p->t->type != TMPL_T_VAR_END) fail_expected(p, "end of print statement");
            next(p);
            add_node(p, &l, n);
        } else {
            next(p); /* {% */
            size_t i = 0;
            while (ends[i] && !at_name(p, ends[i])) i++;
            if (ends[i]) break;
            add_node(p, &l, parse_statement(p));
            expect_end(p);
        }
    }
    p->nesting--;
    set_items(body, l);
    return body;
}

tmpl_node *loam_tmpl_parse(tmpl_ctx *c, tmpl_str source) {
    size_t n;
    tmpl_parser *p = loam_tmpl_alloc(c, 1, sizeof *p);
    p->c = c;
    p->t = loam_tmpl_lex(c, source, &n);
    tmpl_node *tree = parse_body(p, NO_ENDS);
    c->depth = 0;
    loam_tmpl_check(c, tree);
    return tree;
}
