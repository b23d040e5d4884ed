/* template_check.c - the checks that Jinja makes when it compiles: names of filters and tests,
 * blocks defined twice, break and continue outside of loops.
 */
#include "text/template.h"

typedef struct checker {
    tmpl_ctx *c;
    const tmpl_node *blocks[TMPL_MAX_NESTING];
    size_t n_blocks;
} checker;

static void check_node(checker *k, const tmpl_node *n, int soft, int in_loop);

static void check_items(checker *k, const tmpl_node *n, int soft, int in_loop) {
    for (size_t i = 0; i < n->n_items; i++) check_node(k, n->items[i], soft, in_loop);
}

static void check_name(checker *k, const tmpl_node *n, int soft) {
    const int filter = n->kind == TMPL_N_FILTER;
    if (soft || (filter ? loam_tmpl_filter_exists(n->name) : loam_tmpl_test_exists(n->name)))
        return;
    k->c->line = n->line;
    loam_tmpl_fail(k->c, LOAM_ERR_FORMAT, "No %s named '%.*s'.", filter ? "filter" : "test",
                   (int)n->name.n, n->name.p);
}

static void check_block(checker *k, const tmpl_node *n) {
    k->c->line = n->line;
    for (size_t i = 0; i < k->n_blocks; i++)
        if (loam_tmpl_same(k->blocks[i]->name, n->name))
            loam_tmpl_fail(k->c, LOAM_ERR_FORMAT, "block '%.*s' defined twice", (int)n->name.n,
                           n->name.p);
    if (k->n_blocks == TMPL_MAX_NESTING) loam_tmpl_fail(k->c, LOAM_ERR_LIMIT, "too many blocks");
    k->blocks[k->n_blocks++] = n;
}

/* Unknown filters and tests are found here, but for those under an `if` ("soft": a template may
 * ask first), and break or continue outside a loop. */
static void check_node(checker *k, const tmpl_node *n, int soft, int in_loop) {
    if (!n) return;
    loam_tmpl_enter(k->c);
    switch (n->kind) {
    case TMPL_N_FILTER:
    case TMPL_N_TEST: check_name(k, n, soft); break;
    case TMPL_N_BREAK:
    case TMPL_N_CONTINUE:
        k->c->line = n->line;
        if (!in_loop) loam_tmpl_fail(k->c, LOAM_ERR_FORMAT, "break or continue outside a loop");
        break;
    case TMPL_N_BLOCK:
        check_block(k, n);
        soft = in_loop = 0;
        break;
    case TMPL_N_IF:
    case TMPL_N_COND: soft = 1; break;
    case TMPL_N_FOR:
        check_node(k, n->b, soft, in_loop);
        check_node(k, n->c, soft, 0);
        check_node(k, n->items[0], 0, 1);
        if (n->n_items > 1) check_node(k, n->items[1], 0, in_loop);
        k->c->depth--;
        return;
    case TMPL_N_MACRO: soft = in_loop = 0; break;
    case TMPL_N_SET_BLOCK:
    case TMPL_N_FILTER_BLOCK:
    case TMPL_N_CALL_BLOCK:
    case TMPL_N_WITH:
    case TMPL_N_SCOPE:
    case TMPL_N_AUTOESCAPE: soft = 0; break;
    default: break;
    }
    if (n->call) {
        for (size_t i = 0; i < n->call->n; i++) check_node(k, n->call->pos[i], soft, 0);
        for (size_t i = 0; i < n->call->n_named; i++) check_node(k, n->call->named[i], soft, 0);
        check_node(k, n->call->star, soft, 0);
        check_node(k, n->call->star_star, soft, 0);
    }
    check_node(k, n->a, soft, in_loop);
    check_node(k, n->b, soft, in_loop);
    check_items(k, n, soft, in_loop);
    check_node(k, n->c, soft, in_loop);
    k->c->depth--;
}

void loam_tmpl_check(tmpl_ctx *c, const tmpl_node *tree) {
    checker *k = loam_tmpl_alloc(c, 1, sizeof *k);
    k->c = c;
    check_node(k, tree, 0, 0);
}
