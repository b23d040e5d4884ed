/* template_expression.c - expressions of Jinja's grammar, by recursive descent.
 *
 * Precedence, loosest first: x if c else y; or; and; not; comparisons, in; + -;
 * ~; * / // %; ** ; unary; postfix . [] (); filters and tests.  Unary minus binds
 * tighter than **, and ** is left-associative, as in Jinja (not as in Python).
 */
#include "text/template_parser.h"

static tmpl_node *parse_condition(tmpl_parser *p, int with_if);
static tmpl_node *parse_unary(tmpl_parser *p, int filters);

static tmpl_node *new_pair(tmpl_parser *p, tmpl_kind kind, tmpl_node *a, tmpl_node *b) {
    tmpl_node *n = new_node(p, kind);
    n->a = a;
    n->b = b;
    return n;
}

/* ---- primaries ---- */

static tmpl_node *parse_name(tmpl_parser *p) {
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

static tmpl_node *parse_strings(tmpl_parser *p) {
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
static tmpl_node *parse_items(tmpl_parser *p, tmpl_kind kind, const char *close, int pairs) {
    tmpl_node *n = new_node(p, kind);
    node_list l = {0};
    next(p);
    while (!at_op(p, close)) {
        if (l.n) expect_op(p, ",");
        if (at_op(p, close)) break;
        add_node(p, &l, loam_tmpl_parse_expression(p));
        if (!pairs) continue;
        expect_op(p, ":");
        add_node(p, &l, loam_tmpl_parse_expression(p));
    }
    expect_op(p, close);
    set_items(n, l);
    return n;
}

static int at_tuple_end(const tmpl_parser *p, const char *end_name) {
    return p->t->type == TMPL_T_VAR_END || p->t->type == TMPL_T_BLOCK_END || at_op(p, ")") ||
           (end_name && at_name(p, end_name));
}

static tmpl_node *parse_primary(tmpl_parser *p, int target);

tmpl_node *loam_tmpl_parse_tuple(tmpl_parser *p, int how, const char *end_name) {
    tmpl_node *n = new_node(p, TMPL_N_TUPLE);
    node_list l = {0};
    int is_tuple = 0;
    for (;;) {
        if (l.n) expect_op(p, ",");
        if (at_tuple_end(p, end_name)) break;
        add_node(p, &l,
                 how & TARGET  ? parse_primary(p, 1)
                 : how & NO_IF ? parse_condition(p, 0)
                               : loam_tmpl_parse_expression(p));
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

static tmpl_node *parse_primary(tmpl_parser *p, int target) {
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
        n = loam_tmpl_parse_tuple(p, EXPLICIT, NULL);
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

static tmpl_node *parse_subscript(tmpl_parser *p) {
    tmpl_node *s = new_node(p, TMPL_N_SLICE);
    if (!at_op(p, ":")) {
        tmpl_node *n = loam_tmpl_parse_expression(p);
        if (!at_op(p, ":")) return n;
        s->a = n;
    }
    next(p);
    if (!at_op(p, ":") && !at_op(p, "]") && !at_op(p, ",")) s->b = loam_tmpl_parse_expression(p);
    if (skip_op(p, ":") && !at_op(p, "]") && !at_op(p, ",")) s->c = loam_tmpl_parse_expression(p);
    return s;
}

static tmpl_node *parse_brackets(tmpl_parser *p, tmpl_node *object) {
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

static tmpl_node *parse_dot(tmpl_parser *p, tmpl_node *object) {
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

static tmpl_call *parse_arguments(tmpl_parser *p) {
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
            k->star = loam_tmpl_parse_expression(p);
        } else if (skip_op(p, "**")) {
            if (k->star_star) fail_at(p, "invalid syntax for function call expression");
            k->star_star = loam_tmpl_parse_expression(p);
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
            add_node(p, &named, loam_tmpl_parse_expression(p));
        } else {
            if (k->star || k->star_star || named.n)
                fail_at(p, "invalid syntax for function call expression");
            add_node(p, &pos, loam_tmpl_parse_expression(p));
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

static tmpl_node *parse_call(tmpl_parser *p, tmpl_node *f) {
    tmpl_node *n = new_pair(p, TMPL_N_CALL, f, NULL);
    n->call = parse_arguments(p);
    return n;
}

static tmpl_node *parse_postfix(tmpl_parser *p, tmpl_node *n) {
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

static tmpl_str parse_dotted(tmpl_parser *p) {
    tmpl_str name = expect_name(p);
    while (skip_op(p, ".")) { /* "a.b": a name nobody has */
        const tmpl_str more = expect_name(p);
        name.n = (size_t)(more.p + more.n - name.p);
    }
    return name;
}

/* One filter after "|" (or at the start of {% filter %}). */
tmpl_node *loam_tmpl_parse_filter(tmpl_parser *p, tmpl_node *input) {
    tmpl_node *n = new_pair(p, TMPL_N_FILTER, input, NULL);
    n->name = parse_dotted(p);
    if (at_op(p, "(")) n->call = parse_arguments(p);
    return n;
}

static int at_test_argument(const tmpl_parser *p) {
    if (p->t->type == TMPL_T_STRING || p->t->type == TMPL_T_NUMBER) return 1;
    if (p->t->type == TMPL_T_NAME)
        return !at_name(p, "else") && !at_name(p, "or") && !at_name(p, "and");
    return at_op(p, "[") || at_op(p, "{");
}

static tmpl_node *parse_test(tmpl_parser *p, tmpl_node *input) {
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

static tmpl_node *parse_unary(tmpl_parser *p, int filters) {
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
            n = loam_tmpl_parse_filter(p, n);
        else if (at_name(p, "is"))
            n = parse_test(p, n);
        else if (at_op(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

static tmpl_node *parse_binary(tmpl_parser *p, int level) {
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
static int take_comparison(tmpl_parser *p) {
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

static tmpl_node *parse_comparison(tmpl_parser *p) {
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

static tmpl_node *parse_not(tmpl_parser *p) {
    if (!at_name(p, "not")) return parse_comparison(p);
    nest(p);
    next(p);
    tmpl_node *n = new_pair(p, TMPL_N_NOT, parse_not(p), NULL);
    p->nesting--;
    return n;
}

static tmpl_node *parse_and(tmpl_parser *p) {
    tmpl_node *n = parse_not(p);
    while (skip_name(p, "and")) n = new_pair(p, TMPL_N_AND, n, parse_not(p));
    return n;
}

static tmpl_node *parse_or(tmpl_parser *p) {
    tmpl_node *n = parse_and(p);
    while (skip_name(p, "or")) n = new_pair(p, TMPL_N_OR, n, parse_and(p));
    return n;
}

static tmpl_node *parse_condition(tmpl_parser *p, int with_if) {
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

tmpl_node *loam_tmpl_parse_expression(tmpl_parser *p) {
    return parse_condition(p, 1);
}
