/* template_parse.c - tokens to a tree: Jinja's grammar, by recursive descent.
 *
 * Precedence, loosest first: x if c else y; or; and; not; comparisons, in; + -;
 * ~; * / // %; ** ; unary; postfix . [] (); filters and tests.  Unary minus binds
 * tighter than **, and ** is left-associative, as in Jinja (not as in Python).
 */
#include "text/template.h"

typedef struct parser {
    tmpl_ctx *c;
    const tmpl_token *t;                 /* current */
    tmpl_node *macros[TMPL_MAX_NESTING]; /* being parsed, outermost first */
    size_t n_macros;
    int nesting;
} parser;

typedef struct node_list {
    tmpl_node **items;
    size_t n, cap;
} node_list;

static tmpl_node *parse_expression(parser *p);
static tmpl_node *parse_condition(parser *p, int with_if);
static tmpl_node *parse_unary(parser *p, int filters);
static tmpl_node *parse_body(parser *p, const char *const *ends);

static void add_node(parser *p, node_list *l, tmpl_node *n) {
    if (l->n == l->cap) {
        const size_t cap = l->cap ? l->cap * 2 : 4;
        tmpl_node **more = loam_tmpl_alloc(p->c, cap, sizeof *more);
        if (l->n) memcpy(more, l->items, l->n * sizeof *more);
        l->items = more;
        l->cap = cap;
    }
    l->items[l->n++] = n;
}

static tmpl_node *new_node(parser *p, tmpl_kind kind) {
    tmpl_node *n = loam_tmpl_alloc(p->c, 1, sizeof *n);
    n->kind = (uint8_t)kind;
    n->line = p->t->line;
    return n;
}

static tmpl_node *new_pair(parser *p, tmpl_kind kind, tmpl_node *a, tmpl_node *b) {
    tmpl_node *n = new_node(p, kind);
    n->a = a;
    n->b = b;
    return n;
}

static void set_items(tmpl_node *n, node_list l) {
    n->items = l.items;
    n->n_items = l.n;
}

/* ---- tokens ---- */

static const char *describe(parser *p, const tmpl_token *t) {
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

_Noreturn static void fail_at(parser *p, const char *what) {
    p->c->line = p->t->line;
    loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "%s", what);
}

_Noreturn static void fail_expected(parser *p, const char *what) {
    p->c->line = p->t->line;
    if (p->t->type == TMPL_T_EOF)
        loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "unexpected end of template, expected '%s'.", what);
    loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "expected token '%s', got '%s'", what, describe(p, p->t));
}

static int at_op(const parser *p, const char *op) {
    return p->t->type == TMPL_T_OP && loam_tmpl_is(p->t->text, op);
}

static int at_name(const parser *p, const char *name) {
    return p->t->type == TMPL_T_NAME && loam_tmpl_is(p->t->text, name);
}

static void next(parser *p) {
    if (p->t->type != TMPL_T_EOF) p->t++;
}

static int skip_op(parser *p, const char *op) {
    if (!at_op(p, op)) return 0;
    next(p);
    return 1;
}

static int skip_name(parser *p, const char *name) {
    if (!at_name(p, name)) return 0;
    next(p);
    return 1;
}

static void expect_op(parser *p, const char *op) {
    if (!skip_op(p, op)) fail_expected(p, op);
}

static tmpl_str expect_name(parser *p) {
    if (p->t->type != TMPL_T_NAME) fail_expected(p, "name");
    const tmpl_str name = p->t->text;
    next(p);
    return name;
}

static void expect_end(parser *p) {
    if (p->t->type != TMPL_T_BLOCK_END) fail_expected(p, "end of statement block");
    next(p);
}

static void nest(parser *p) {
    if (++p->nesting > TMPL_MAX_NESTING) loam_tmpl_fail(p->c, LOAM_ERR_LIMIT, "nested too deeply");
}

/* ---- primaries ---- */

static tmpl_node *parse_name(parser *p) {
    const tmpl_str s = p->t->text;
    tmpl_node *n = new_node(p, TMPL_N_CONST);
    next(p);
    if (loam_tmpl_is(s, "true") || loam_tmpl_is(s, "True")) {
        n->value = loam_tmpl_bool(1);
    } else if (loam_tmpl_is(s, "false") || loam_tmpl_is(s, "False")) {
        n->value = loam_tmpl_bool(0);
    } else if (loam_tmpl_is(s, "none") || loam_tmpl_is(s, "None")) {
        n->value = loam_tmpl_none();
    } else {
        n->kind = TMPL_N_NAME;
        n->name = s;
        const unsigned uses = loam_tmpl_is(s, "caller")    ? TMPL_USES_CALLER
                              : loam_tmpl_is(s, "varargs") ? TMPL_USES_VARARGS
                              : loam_tmpl_is(s, "kwargs")  ? TMPL_USES_KWARGS
                                                           : 0;
        for (size_t i = 0; i < p->n_macros && uses; i++)
            p->macros[i]->flags = (uint8_t)(p->macros[i]->flags | uses);
    }
    return n;
}

static tmpl_node *parse_strings(parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_CONST);
    n->value = p->t->value;
    next(p);
    while (p->t->type == TMPL_T_STRING) {
        n->value = loam_tmpl_concat_str(p->c, n->value, p->t->text);
        next(p);
    }
    n->value.ref = NULL; /* a shared tree must not lend room to grow in */
    return n;
}

/* Items up to the closing bracket; a comma at the end is fine.  `pairs`: "key: value". */
static tmpl_node *parse_items(parser *p, tmpl_kind kind, const char *close, int pairs) {
    tmpl_node *n = new_node(p, kind);
    node_list l = {0};
    next(p);
    while (!at_op(p, close)) {
        if (l.n) expect_op(p, ",");
        if (at_op(p, close)) break;
        add_node(p, &l, parse_expression(p));
        if (!pairs) continue;
        expect_op(p, ":");
        add_node(p, &l, parse_expression(p));
    }
    expect_op(p, close);
    set_items(n, l);
    return n;
}

/* How a list of expressions without brackets is read. */
enum { EXPLICIT = 1 /* in parentheses: may be empty */, NO_IF = 2, TARGET = 4 };

static int at_tuple_end(const parser *p, const char *end_name) {
    return p->t->type == TMPL_T_VAR_END || p->t->type == TMPL_T_BLOCK_END || at_op(p, ")") ||
           (end_name && at_name(p, end_name));
}

static tmpl_node *parse_primary(parser *p, int target);

static tmpl_node *parse_tuple(parser *p, int how, const char *end_name) {
    tmpl_node *n = new_node(p, TMPL_N_TUPLE);
    node_list l = {0};
    int is_tuple = 0;
    for (;;) {
        if (l.n) expect_op(p, ",");
        if (at_tuple_end(p, end_name)) break;
        add_node(p, &l,
                 how & TARGET  ? parse_primary(p, 1)
                 : how & NO_IF ? parse_condition(p, 0)
                               : parse_expression(p));
        if (!at_op(p, ",")) break;
        is_tuple = 1;
    }
    if (!is_tuple && l.n) return l.items[0];
    if (!is_tuple && !(how & EXPLICIT)) {
        p->c->line = p->t->line;
        loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "Expected an expression, got '%s'",
                       describe(p, p->t));
    }
    set_items(n, l);
    return n;
}

static tmpl_node *parse_primary(parser *p, int target) {
    tmpl_node *n;
    if (p->t->type == TMPL_T_NAME) {
        n = parse_name(p);
        if (target && n->kind == TMPL_N_NAME && skip_op(p, ".")) {
            n->kind = TMPL_N_NSREF;
            n->value = loam_tmpl_str(expect_name(p));
        }
        return n;
    }
    if (p->t->type == TMPL_T_STRING) return parse_strings(p);
    if (p->t->type == TMPL_T_NUMBER) {
        n = new_node(p, TMPL_N_CONST);
        n->value = p->t->value;
        next(p);
        return n;
    }
    nest(p);
    if (at_op(p, "(")) {
        next(p);
        n = parse_tuple(p, EXPLICIT, NULL);
        expect_op(p, ")");
    } else if (at_op(p, "[")) {
        n = parse_items(p, TMPL_N_LIST, "]", 0);
    } else if (at_op(p, "{")) {
        n = parse_items(p, TMPL_N_DICT, "}", 1);
    } else {
        p->c->line = p->t->line;
        loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "unexpected '%s'", describe(p, p->t));
    }
    p->nesting--;
    return n;
}

/* ---- postfix ---- */

static tmpl_node *parse_subscript(parser *p) {
    tmpl_node *s = new_node(p, TMPL_N_SLICE);
    if (!at_op(p, ":")) {
        tmpl_node *n = parse_expression(p);
        if (!at_op(p, ":")) return n;
        s->a = n;
    }
    next(p);
    if (!at_op(p, ":") && !at_op(p, "]") && !at_op(p, ",")) s->b = parse_expression(p);
    if (skip_op(p, ":") && !at_op(p, "]") && !at_op(p, ",")) s->c = parse_expression(p);
    return s;
}

static tmpl_node *parse_brackets(parser *p, tmpl_node *object) {
    tmpl_node *n = new_pair(p, TMPL_N_ITEM, object, NULL);
    node_list l = {0};
    next(p);
    while (!at_op(p, "]")) {
        if (l.n) expect_op(p, ",");
        add_node(p, &l, parse_subscript(p));
    }
    expect_op(p, "]");
    if (l.n == 1) {
        n->b = l.items[0];
    } else {
        n->b = new_node(p, TMPL_N_TUPLE);
        set_items(n->b, l);
    }
    return n;
}

static tmpl_node *parse_dot(parser *p, tmpl_node *object) {
    tmpl_node *n = new_pair(p, TMPL_N_ATTR, object, NULL);
    next(p);
    if (p->t->type == TMPL_T_NAME) {
        n->name = p->t->text;
    } else if (p->t->type == TMPL_T_NUMBER && p->t->value.type == TMPL_INT) {
        n->kind = TMPL_N_ITEM;
        n->b = new_node(p, TMPL_N_CONST);
        n->b->value = p->t->value;
    } else {
        fail_at(p, "expected name or number");
    }
    next(p);
    return n;
}

static tmpl_call *parse_arguments(parser *p) {
    tmpl_call *k = loam_tmpl_alloc(p->c, 1, sizeof *k);
    node_list pos = {0}, named = {0};
    tmpl_str *names = NULL;
    size_t names_cap = 0;
    int first = 1;
    nest(p);
    expect_op(p, "(");
    while (!at_op(p, ")")) {
        if (!first) {
            expect_op(p, ",");
            if (at_op(p, ")")) break;
        }
        first = 0;
        if (skip_op(p, "*")) {
            if (k->star || k->star_star) fail_at(p, "invalid syntax for function call expression");
            k->star = parse_expression(p);
        } else if (skip_op(p, "**")) {
            if (k->star_star) fail_at(p, "invalid syntax for function call expression");
            k->star_star = parse_expression(p);
        } else if (p->t->type == TMPL_T_NAME && p->t[1].type == TMPL_T_OP &&
                   loam_tmpl_is(p->t[1].text, "=")) {
            if (k->star_star) fail_at(p, "invalid syntax for function call expression");
            if (named.n == names_cap) {
                names_cap = names_cap ? names_cap * 2 : 4;
                tmpl_str *more = loam_tmpl_alloc(p->c, names_cap, sizeof *more);
                if (named.n) memcpy(more, names, named.n * sizeof *more);
                names = more;
            }
            names[named.n] = p->t->text;
            next(p);
            next(p);
            add_node(p, &named, parse_expression(p));
        } else {
            if (k->star || k->star_star || named.n)
                fail_at(p, "invalid syntax for function call expression");
            add_node(p, &pos, parse_expression(p));
        }
    }
    expect_op(p, ")");
    p->nesting--;
    k->pos = pos.items;
    k->n = pos.n;
    k->names = names;
    k->named = named.items;
    k->n_named = named.n;
    return k;
}

static tmpl_node *parse_call(parser *p, tmpl_node *f) {
    tmpl_node *n = new_pair(p, TMPL_N_CALL, f, NULL);
    n->call = parse_arguments(p);
    return n;
}

static tmpl_node *parse_postfix(parser *p, tmpl_node *n) {
    for (;;) {
        if (at_op(p, "."))
            n = parse_dot(p, n);
        else if (at_op(p, "["))
            n = parse_brackets(p, n);
        else if (at_op(p, "("))
            n = parse_call(p, n);
        else
            return n;
    }
}

static tmpl_str parse_dotted(parser *p) {
    tmpl_str name = expect_name(p);
    while (skip_op(p, ".")) { /* "a.b": a name nobody has */
        const tmpl_str more = expect_name(p);
        name.n = (size_t)(more.p + more.n - name.p);
    }
    return name;
}

/* One filter after "|" (or at the start of {% filter %}). */
static tmpl_node *parse_filter(parser *p, tmpl_node *input) {
    tmpl_node *n = new_pair(p, TMPL_N_FILTER, input, NULL);
    n->name = parse_dotted(p);
    if (at_op(p, "(")) n->call = parse_arguments(p);
    return n;
}

static int at_test_argument(const parser *p) {
    if (p->t->type == TMPL_T_STRING || p->t->type == TMPL_T_NUMBER) return 1;
    if (p->t->type == TMPL_T_NAME)
        return !at_name(p, "else") && !at_name(p, "or") && !at_name(p, "and");
    return at_op(p, "[") || at_op(p, "{");
}

static tmpl_node *parse_test(parser *p, tmpl_node *input) {
    tmpl_node *n = new_pair(p, TMPL_N_TEST, input, NULL);
    next(p);
    const int negated = skip_name(p, "not");
    n->name = parse_dotted(p);
    if (at_op(p, "(")) {
        n->call = parse_arguments(p);
    } else if (at_test_argument(p)) {
        if (at_name(p, "is")) fail_at(p, "You cannot chain multiple tests with is");
        node_list l = {0};
        add_node(p, &l, parse_postfix(p, parse_primary(p, 0)));
        n->call = loam_tmpl_alloc(p->c, 1, sizeof *n->call);
        n->call->pos = l.items;
        n->call->n = 1;
    }
    return negated ? new_pair(p, TMPL_N_NOT, n, NULL) : n;
}

/* ---- operators ---- */

static tmpl_node *parse_unary(parser *p, int filters) {
    tmpl_node *n;
    if (at_op(p, "-") || at_op(p, "+")) {
        const tmpl_kind kind = at_op(p, "-") ? TMPL_N_NEG : TMPL_N_POS;
        nest(p);
        next(p);
        n = new_pair(p, kind, parse_unary(p, 0), NULL);
        p->nesting--;
    } else {
        n = parse_primary(p, 0);
    }
    n = parse_postfix(p, n);
    while (filters) {
        if (skip_op(p, "|"))
            n = parse_filter(p, n);
        else if (at_name(p, "is"))
            n = parse_test(p, n);
        else if (at_op(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

static tmpl_node *parse_binary(parser *p, int level) {
    static const struct {
        const char *op;
        uint8_t level, code;
    } OPS[] = {{"**", 0, TMPL_OP_POW},      {"*", 1, TMPL_OP_MUL}, {"/", 1, TMPL_OP_DIV},
               {"//", 1, TMPL_OP_FLOORDIV}, {"%", 1, TMPL_OP_MOD}, {"+", 3, TMPL_OP_ADD},
               {"-", 3, TMPL_OP_SUB}};
    if (level < 0) return parse_unary(p, 1);
    tmpl_node *n = parse_binary(p, level - 1);
    if (level == 2) { /* a ~ b ~ c is one node */
        if (!at_op(p, "~")) return n;
        node_list l = {0};
        add_node(p, &l, n);
        n = new_node(p, TMPL_N_CONCAT);
        while (skip_op(p, "~")) add_node(p, &l, parse_binary(p, 1));
        set_items(n, l);
        return n;
    }
    for (;;) {
        size_t i = 0;
        while (i < sizeof OPS / sizeof *OPS && !(OPS[i].level == level && at_op(p, OPS[i].op))) i++;
        if (i == sizeof OPS / sizeof *OPS) return n;
        tmpl_node *both = new_pair(p, TMPL_N_BINARY, n, NULL);
        both->op = OPS[i].code;
        next(p);
        both->b = parse_binary(p, level - 1);
        n = both;
    }
}

/* The comparison operator at hand, skipped; -1: none. */
static int take_comparison(parser *p) {
    static const char *const OPS[] = {"==", "!=", "<", "<=", ">", ">="};
    for (int i = 0; i < 6; i++)
        if (skip_op(p, OPS[i])) return TMPL_OP_EQ + i;
    if (skip_name(p, "in")) return TMPL_OP_IN;
    if (at_name(p, "not") && p->t[1].type == TMPL_T_NAME && loam_tmpl_is(p->t[1].text, "in")) {
        next(p);
        next(p);
        return TMPL_OP_NOT_IN;
    }
    return -1;
}

static tmpl_node *parse_comparison(parser *p) {
    tmpl_node *first = parse_binary(p, 3), *n = NULL;
    node_list l = {0};
    for (;;) {
        const int op = take_comparison(p);
        if (op < 0) break;
        if (!n) n = new_pair(p, TMPL_N_COMPARE, first, NULL);
        uint8_t *ops = loam_tmpl_alloc(p->c, l.n + 1, 1); /* chains are short */
        if (l.n) memcpy(ops, n->ops, l.n);
        ops[l.n] = (uint8_t)op;
        n->ops = ops;
        add_node(p, &l, parse_binary(p, 3));
    }
    if (!n) return first;
    set_items(n, l);
    return n;
}

static tmpl_node *parse_not(parser *p) {
    if (!at_name(p, "not")) return parse_comparison(p);
    nest(p);
    next(p);
    tmpl_node *n = new_pair(p, TMPL_N_NOT, parse_not(p), NULL);
    p->nesting--;
    return n;
}

static tmpl_node *parse_and(parser *p) {
    tmpl_node *n = parse_not(p);
    while (skip_name(p, "and")) n = new_pair(p, TMPL_N_AND, n, parse_not(p));
    return n;
}

static tmpl_node *parse_or(parser *p) {
    tmpl_node *n = parse_and(p);
    while (skip_name(p, "or")) n = new_pair(p, TMPL_N_OR, n, parse_and(p));
    return n;
}

static tmpl_node *parse_condition(parser *p, int with_if) {
    nest(p);
    tmpl_node *n = parse_or(p);
    while (with_if && skip_name(p, "if")) {
        tmpl_node *k = new_pair(p, TMPL_N_COND, n, parse_or(p));
        if (skip_name(p, "else")) k->c = parse_condition(p, 1);
        n = k;
    }
    p->nesting--;
    return n;
}

static tmpl_node *parse_expression(parser *p) {
    return parse_condition(p, 1);
}

/* ---- statements; the tag's name is the current token ---- */

static void check_target(parser *p, const tmpl_node *n) {
    if (n->kind == TMPL_N_NAME || n->kind == TMPL_N_NSREF) return;
    if (n->kind != TMPL_N_TUPLE) {
        p->c->line = n->line;
        loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "can't assign to this");
    }
    for (size_t i = 0; i < n->n_items; i++) check_target(p, n->items[i]);
}

static tmpl_node *parse_target(parser *p, const char *end_name) {
    tmpl_node *n = parse_tuple(p, TARGET, end_name);
    check_target(p, n);
    return n;
}

static const char *const NO_ENDS[] = {NULL};

/* The statements up to one of `ends`, which is left as the current token. */
static tmpl_node *parse_until(parser *p, const char *const *ends) {
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

static tmpl_node *parse_until_end(parser *p, const char *end) {
    const char *const ends[] = {end, NULL};
    tmpl_node *n = parse_until(p, ends);
    next(p);
    return n;
}

static tmpl_node *parse_set(parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_SET);
    next(p);
    n->a = parse_target(p, NULL);
    if (skip_op(p, "=")) {
        n->b = parse_tuple(p, 0, NULL);
        return n;
    }
    n->kind = TMPL_N_SET_BLOCK;
    while (skip_op(p, "|")) n->b = parse_filter(p, n->b);
    n->c = parse_until_end(p, "endset");
    return n;
}

static tmpl_node *parse_for(parser *p) {
    static const char *const ENDS[] = {"endfor", "else", NULL};
    tmpl_node *n = new_node(p, TMPL_N_FOR);
    node_list l = {0};
    next(p);
    n->a = parse_target(p, "in");
    if (!skip_name(p, "in")) fail_expected(p, "in");
    n->b = parse_tuple(p, NO_IF, "recursive");
    if (skip_name(p, "if")) n->c = parse_expression(p);
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

static tmpl_node *parse_if(parser *p) {
    static const char *const ENDS[] = {"endif", "elif", "else", NULL};
    tmpl_node *first = new_node(p, TMPL_N_IF), *n = first;
    for (;;) {
        next(p);
        n->a = parse_tuple(p, NO_IF, NULL);
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

static void parse_signature(parser *p, tmpl_node *n) {
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
            add_node(p, &defaults, parse_expression(p));
        else if (defaults.n)
            fail_at(p, "non-default argument follows default argument");
    }
    expect_op(p, ")");
    set_items(n, defaults);
}

static void parse_macro_body(parser *p, tmpl_node *n, const char *end) {
    nest(p);
    p->macros[p->n_macros++] = n; /* nesting keeps it below its size */
    n->c = parse_until_end(p, end);
    p->n_macros--;
    p->nesting--;
}

static tmpl_node *parse_macro(parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_MACRO);
    next(p);
    n->name = expect_name(p);
    parse_signature(p, n);
    parse_macro_body(p, n, "endmacro");
    return n;
}

static tmpl_node *parse_call_block(parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_CALL_BLOCK);
    next(p);
    n->b = new_node(p, TMPL_N_MACRO);
    n->b->name = (tmpl_str){"caller", 6};
    if (at_op(p, "(")) parse_signature(p, n->b);
    n->a = parse_expression(p);
    if (n->a->kind != TMPL_N_CALL) fail_at(p, "expected call");
    parse_macro_body(p, n->b, "endcall");
    return n;
}

static tmpl_node *parse_filter_block(parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_FILTER_BLOCK);
    do {
        next(p);
        n->b = parse_filter(p, n->b);
    } while (at_op(p, "|"));
    n->c = parse_until_end(p, "endfilter");
    return n;
}

static tmpl_node *parse_with(parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_WITH);
    node_list l = {0};
    next(p);
    while (p->t->type != TMPL_T_BLOCK_END) {
        if (l.n) expect_op(p, ",");
        add_node(p, &l, parse_target(p, NULL));
        expect_op(p, "=");
        add_node(p, &l, parse_expression(p));
    }
    set_items(n, l);
    n->c = parse_until_end(p, "endwith");
    return n;
}

static tmpl_node *parse_block(parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_BLOCK);
    next(p);
    n->name = expect_name(p);
    n->op = (uint8_t)skip_name(p, "scoped");
    skip_name(p, "required");
    n->c = parse_until_end(p, "endblock");
    if (p->t->type == TMPL_T_NAME && loam_tmpl_same(p->t->text, n->name)) next(p);
    return n;
}

static tmpl_node *parse_print(parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_BODY);
    node_list l = {0};
    next(p);
    while (p->t->type != TMPL_T_BLOCK_END) {
        if (l.n) expect_op(p, ",");
        tmpl_node *k = new_node(p, TMPL_N_PRINT);
        k->a = parse_expression(p);
        add_node(p, &l, k);
    }
    set_items(n, l);
    return n;
}

static tmpl_node *parse_scope(parser *p) {
    const int escape = at_name(p, "autoescape");
    tmpl_node *n = new_node(p, escape ? TMPL_N_AUTOESCAPE : TMPL_N_SCOPE);
    next(p);
    if (escape) n->a = parse_expression(p);
    n->c = parse_until_end(p, escape ? "endautoescape" : "endgeneration");
    return n;
}

/* {% include %} and its like: parsed for their first expression; running one is an error. */
static tmpl_node *parse_no_loader(parser *p) {
    tmpl_node *n = new_node(p, TMPL_N_NO_LOADER);
    next(p);
    n->a = parse_expression(p);
    while (p->t->type == TMPL_T_NAME || at_op(p, ",")) next(p);
    return n;
}

static tmpl_node *parse_jump(parser *p) {
    tmpl_node *n = new_node(p, at_name(p, "break") ? TMPL_N_BREAK : TMPL_N_CONTINUE);
    next(p);
    return n;
}

static tmpl_node *parse_statement(parser *p) {
    static const struct {
        const char *tag;
        tmpl_node *(*parse)(parser *p);
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

static tmpl_node *parse_body(parser *p, const char *const *ends) {
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
            n->a = parse_tuple(p, 0, NULL);
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
    parser *p = loam_tmpl_alloc(c, 1, sizeof *p);
    p->c = c;
    p->t = loam_tmpl_lex(c, source, &n);
    tmpl_node *tree = parse_body(p, NO_ENDS);
    c->depth = 0;
    loam_tmpl_check(c, tree);
    return tree;
}
