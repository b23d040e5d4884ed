/* template_parser.h - what the parser's two files share: where it is among the tokens, and nodes. */
#ifndef LOAM_TEMPLATE_PARSER_H
#define LOAM_TEMPLATE_PARSER_H

#include "text/template.h"

typedef struct tmpl_parser {
    tmpl_ctx *c;
    const tmpl_token *t;                 /* current */
    tmpl_node *macros[TMPL_MAX_NESTING]; /* being parsed, outermost first */
    size_t n_macros;
    int nesting;
} tmpl_parser;

typedef struct node_list {
    tmpl_node **items;
    size_t n, cap;
} node_list;

static inline void add_node(tmpl_parser *p, node_list *l, tmpl_node *n) {
    if (l->n == l->cap) {
        const size_t cap = l->cap ? l->cap * 2 : 4;
        tmpl_node **more = loam_tmpl_alloc(p->c, cap, sizeof *more);
        if (l->n) memcpy(more, l->items, l->n * sizeof *more);
        l->items = more;
        l->cap = cap;
    }
    l->items[l->n++] = n;
}

static inline tmpl_node *new_node(tmpl_parser *p, tmpl_kind kind) {
    tmpl_node *n = loam_tmpl_alloc(p->c, 1, sizeof *n);
    n->kind = (uint8_t)kind;
    n->line = p->t->line;
    return n;
}

static inline void set_items(tmpl_node *n, node_list l) {
    n->items = l.items;
    n->n_items = l.n;
}

/* ---- tokens ---- */

static inline const char *describe(tmpl_parser *p, const tmpl_token *t) {
    switch (t->type) {
    case TMPL_T_EOF: return "end of template";
    case TMPL_T_DATA: return "template data / text";
    case TMPL_T_VAR_BEGIN: return "begin of print statement";
    case TMPL_T_VAR_END: return "end of print statement";
    case TMPL_T_BLOCK_BEGIN: return "begin of statement block";
    case TMPL_T_BLOCK_END: return "end of statement block";
    case TMPL_T_STRING: return "string";
    case TMPL_T_NUMBER: return t->value.type == TMPL_INT ? "integer" : "float";
    default: break;
    }
    tmpl_buf b = loam_tmpl_buf(p->c);
    loam_tmpl_put(&b, t->text.p, t->text.n);
    loam_tmpl_put(&b, "", 1);
    return b.p;
}

_Noreturn static inline void fail_at(tmpl_parser *p, const char *what) {
    p->c->line = p->t->line;
    loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "%s", what);
}

_Noreturn static inline void fail_expected(tmpl_parser *p, const char *what) {
    p->c->line = p->t->line;
    if (p->t->type == TMPL_T_EOF)
        loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "unexpected end of template, expected '%s'.", what);
    loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "expected token '%s', got '%s'", what, describe(p, p->t));
}

static inline int at_op(const tmpl_parser *p, const char *op) {
    return p->t->type == TMPL_T_OP && loam_tmpl_is(p->t->text, op);
}

static inline int at_name(const tmpl_parser *p, const char *name) {
    return p->t->type == TMPL_T_NAME && loam_tmpl_is(p->t->text, name);
}

static inline void next(tmpl_parser *p) {
    if (p->t->type != TMPL_T_EOF) p->t++;
}

static inline int skip_op(tmpl_parser *p, const char *op) {
    if (!at_op(p, op)) return 0;
    next(p);
    return 1;
}

static inline int skip_name(tmpl_parser *p, const char *name) {
    if (!at_name(p, name)) return 0;
    next(p);
    return 1;
}

static inline void expect_op(tmpl_parser *p, const char *op) {
    if (!skip_op(p, op)) fail_expected(p, op);
}

static inline tmpl_str expect_name(tmpl_parser *p) {
    if (p->t->type != TMPL_T_NAME) fail_expected(p, "name");
    const tmpl_str name = p->t->text;
    next(p);
    return name;
}

static inline void expect_end(tmpl_parser *p) {
    if (p->t->type != TMPL_T_BLOCK_END) fail_expected(p, "end of statement block");
    next(p);
}

static inline void nest(tmpl_parser *p) {
    if (++p->nesting > TMPL_MAX_NESTING) loam_tmpl_fail(p->c, LOAM_ERR_LIMIT, "nested too deeply");
}

/* ---- expressions (template_expression.c) ---- */

/* How a list of expressions without brackets is read. */
enum { EXPLICIT = 1 /* in parentheses: may be empty */, NO_IF = 2, TARGET = 4 };

/* One expression, or several between commas, up to the end of the tag or the name `end_name`. */
tmpl_node *loam_tmpl_parse_tuple(tmpl_parser *p, int how, const char *end_name);
tmpl_node *loam_tmpl_parse_expression(tmpl_parser *p);
/* One filter after "|" (or at the start of {% filter %}). */
tmpl_node *loam_tmpl_parse_filter(tmpl_parser *p, tmpl_node *input);

#endif
