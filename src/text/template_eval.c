/* template_eval.c - walking the tree: names and scopes, expressions, statements, loops, macros.
 *
 * Scopes are frames linked to the one around them.  `if` has none; a loop's body,
 * a macro, a block and `with` have their own, so what they set does not leak.
 */
#include "text/template.h"

/* ---- scopes ---- */

tmpl_frame *loam_tmpl_frame_new(tmpl_ctx *c, tmpl_frame *parent) {
    tmpl_frame *f = loam_tmpl_alloc(c, 1, sizeof *f);
    f->parent = parent;
    return f;
}

void loam_tmpl_define(tmpl_ctx *c, tmpl_frame *f, tmpl_str name, tmpl_value v) {
    for (size_t i = 0; i < f->n; i++) {
        if (!loam_tmpl_same(f->vars[i].name, name)) continue;
        f->vars[i].value = v;
        return;
    }
    if (f->n == f->cap) {
        f->cap = f->cap ? f->cap * 2 : 4;
        tmpl_var *more = loam_tmpl_alloc(c, f->cap, sizeof *more);
        if (f->n) memcpy(more, f->vars, f->n * sizeof *more);
        f->vars = more;
    }
    f->vars[f->n++] = (tmpl_var){name, v};
}

static tmpl_value find_name(tmpl_ctx *c, tmpl_str name) {
    tmpl_value out;
    for (const tmpl_frame *f = c->frame; f; f = f->parent)
        for (size_t i = 0; i < f->n; i++)
            if (loam_tmpl_same(f->vars[i].name, name)) return f->vars[i].value;
    if (loam_tmpl_global(name, &out)) return out;
    return loam_tmpl_undefined_name(c, name);
}

static void assign(tmpl_ctx *c, tmpl_frame *f, const tmpl_node *target, tmpl_value v) {
    size_t n;
    if (target->kind == TMPL_N_NAME) {
        loam_tmpl_define(c, f, target->name, v);
        return;
    }
    if (target->kind == TMPL_N_NSREF) {
        const tmpl_value ns = find_name(c, target->name);
        const tmpl_str attr = target->value.as.s;
        if (ns.type != TMPL_NAMESPACE)
            loam_tmpl_fail(c, LOAM_ERR_FORMAT, "cannot assign attribute on non-namespace object");
        if (attr.n && attr.p[0] == '_')
            loam_tmpl_fail(c, LOAM_ERR_FORMAT,
                           "Chat templates cannot store underscore-prefixed attributes on a "
                           "namespace, but got '%.*s'. Please rename the attribute.",
                           (int)attr.n, attr.p);
        loam_tmpl_dict_set(c, ns.ref, target->value, v);
        return;
    }
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    if (n > target->n_items)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "too many values to unpack (expected %zu)",
                       target->n_items);
    if (n < target->n_items)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "not enough values to unpack (expected %zu, got %zu)",
                       target->n_items, n);
    for (size_t i = 0; i < n; i++) assign(c, f, target->items[i], items[i]);
}

/* What must come back after running a piece of template elsewhere. */
typedef struct saved {
    tmpl_buf *out;
    tmpl_frame *frame;
    int leaving;
} saved;

static saved redirect(tmpl_ctx *c, tmpl_buf *out, tmpl_frame *frame) {
    const saved s = {c->out, c->frame, c->leaving};
    if (out) c->out = out;
    c->frame = frame;
    c->leaving = 0;
    return s;
}

static void restore(tmpl_ctx *c, saved s) {
    c->out = s.out;
    c->frame = s.frame;
    c->leaving = s.leaving;
}

static tmpl_value take_text(tmpl_ctx *c, tmpl_buf *b) {
    tmpl_value v = loam_tmpl_take(b);
    v.flags = c->autoescape ? TMPL_SAFE : 0;
    return v;
}

/* The text a body makes in a scope of its own.  break and continue inside stay in force. */
static tmpl_value capture(tmpl_ctx *c, const tmpl_node *body) {
    tmpl_buf b = loam_tmpl_buf(c);
    saved s = redirect(c, &b, loam_tmpl_frame_new(c, c->frame));
    loam_tmpl_exec(c, body);
    s.leaving |= c->leaving;
    restore(c, s);
    return take_text(c, &b);
}

static void mark_captured(tmpl_frame *f) {
    for (; f && !f->captured; f = f->parent) f->captured = 1;
}

static tmpl_value make_macro(tmpl_ctx *c, const tmpl_node *n) {
    tmpl_macro *m = loam_tmpl_alloc(c, 1, sizeof *m);
    *m = (tmpl_macro){n, c->frame};
    mark_captured(c->frame);
    return loam_tmpl_ref(TMPL_MACRO, m);
}

static void print_value(tmpl_ctx *c, tmpl_value v) {
    if (c->autoescape && v.type != TMPL_UNDEFINED) v = loam_tmpl_escape(c, v);
    loam_tmpl_put_str(c->out, v);
}

/* ---- macros and blocks ---- */

static tmpl_value missing_argument(tmpl_ctx *c, tmpl_str name) {
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_puts(&b, "parameter ");
    loam_tmpl_put_repr(&b, loam_tmpl_str(name));
    loam_tmpl_puts(&b, " was not provided");
    loam_tmpl_put(&b, "", 1);
    return loam_tmpl_undefined_hint(c, b.p);
}

static size_t find_named(const tmpl_args *a, tmpl_str name) {
    size_t i = 0;
    while (i < a->n_named && !loam_tmpl_same(a->names[i], name)) i++;
    return i;
}

static int is_param(const tmpl_node *n, tmpl_str name) {
    for (size_t i = 0; i < n->n_params; i++)
        if (loam_tmpl_same(n->params[i], name)) return 1;
    return 0;
}

/* Parameters into the macro's frame, which is current: defaults may use the ones before. */
static void bind_params(tmpl_ctx *c, const tmpl_node *n, const tmpl_args *a) {
    for (size_t i = 0; i < n->n_params; i++) {
        const tmpl_str name = n->params[i];
        const size_t named = find_named(a, name), first = n->n_params - n->n_items;
        tmpl_value v;
        if (i < a->n)
            v = a->pos[i];
        else if (named < a->n_named)
            v = a->named[named];
        else if (i >= first)
            v = loam_tmpl_eval(c, n->items[i - first]);
        else
            v = missing_argument(c, name);
        loam_tmpl_define(c, c->frame, name, v);
    }
}

/* varargs, kwargs and caller, for macros that use them; an error for those that do not. */
static void bind_rest(tmpl_ctx *c, const tmpl_node *n, const tmpl_args *a) {
    static const tmpl_str CALLER = {"caller", 6}, VARARGS = {"varargs", 7}, KWARGS = {"kwargs", 6};
    tmpl_dict *rest = loam_tmpl_dict_new(c, a->n_named);
    const int wants_caller = (n->flags & TMPL_USES_CALLER) && !is_param(n, CALLER);
    tmpl_value caller = loam_tmpl_undefined_hint(c, "No caller defined");
    for (size_t i = 0; i < a->n_named; i++) {
        if (wants_caller && loam_tmpl_same(a->names[i], CALLER)) {
            caller = a->named[i];
            continue;
        }
        const int param = is_param(n, a->names[i]);
        size_t at = 0;
        while (at < n->n_params && !loam_tmpl_same(n->params[at], a->names[i])) at++;
        if (param && at >= a->n) continue;
        if (!(n->flags & TMPL_USES_KWARGS))
            loam_tmpl_fail(c, LOAM_ERR_FORMAT, "macro '%.*s' takes no keyword argument '%.*s'",
                           (int)n->name.n, n->name.p, (int)a->names[i].n, a->names[i].p);
        loam_tmpl_dict_set(c, rest, loam_tmpl_str(a->names[i]), a->named[i]);
    }
    const size_t extra = a->n > n->n_params ? a->n - n->n_params : 0;
    if (extra && !(n->flags & TMPL_USES_VARARGS))
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "macro '%.*s' takes not more than %zu argument(s)",
                       (int)n->name.n, n->name.p, n->n_params);
    if (wants_caller) loam_tmpl_define(c, c->frame, CALLER, caller);
    if (n->flags & TMPL_USES_KWARGS)
        loam_tmpl_define(c, c->frame, KWARGS, loam_tmpl_ref(TMPL_DICT, rest));
    if (n->flags & TMPL_USES_VARARGS)
        loam_tmpl_define(c, c->frame, VARARGS,
                         loam_tmpl_list(TMPL_TUPLE, extra ? a->pos + n->n_params : NULL, extra));
}

tmpl_value loam_tmpl_call_macro(tmpl_ctx *c, const tmpl_macro *m, const tmpl_args *a) {
    tmpl_buf b = loam_tmpl_buf(c);
    const saved s = redirect(c, &b, loam_tmpl_frame_new(c, m->frame));
    loam_tmpl_enter(c);
    bind_rest(c, m->node, a);
    bind_params(c, m->node, a);
    loam_tmpl_exec(c, m->node->c);
    c->depth--;
    restore(c, s);
    return take_text(c, &b);
}

/* {% call %}: the macro is called with the block as its caller. */
static void exec_call_block(tmpl_ctx *c, const tmpl_node *n) {
    tmpl_args a;
    const tmpl_value f = loam_tmpl_eval(c, n->a->a);
    loam_tmpl_args(c, n->a->call, &a);
    tmpl_value *named = loam_tmpl_alloc(c, a.n_named + 1, sizeof *named);
    tmpl_str *names = loam_tmpl_alloc(c, a.n_named + 1, sizeof *names);
    for (size_t i = 0; i < a.n_named; i++) {
        named[i] = a.named[i];
        names[i] = a.names[i];
    }
    names[a.n_named] = (tmpl_str){"caller", 6};
    named[a.n_named] = make_macro(c, n->b);
    a = (tmpl_args){a.pos, a.n, names, named, a.n_named + 1};
    print_value(c, loam_tmpl_call_value(c, f, &a));
}

tmpl_value loam_tmpl_run_block(tmpl_ctx *c, const tmpl_node *n) {
    tmpl_buf b = loam_tmpl_buf(c);
    const saved s = redirect(c, &b, loam_tmpl_frame_new(c, c->root));
    loam_tmpl_enter(c);
    loam_tmpl_exec(c, n->c);
    c->depth--;
    restore(c, s);
    return take_text(c, &b);
}

const tmpl_node *loam_tmpl_find_block(const tmpl_node *n, tmpl_str name) {
    if (!n) return NULL;
    if (n->kind == TMPL_N_BLOCK && loam_tmpl_same(n->name, name)) return n;
    const tmpl_node *found = NULL;
    if (n->kind < TMPL_N_TEXT) return NULL; /* blocks stand among statements only */
    for (size_t i = 0; i < n->n_items && !found; i++)
        found = loam_tmpl_find_block(n->items[i], name);
    if (!found) found = loam_tmpl_find_block(n->b, name);
    return found ? found : loam_tmpl_find_block(n->c, name);
}

static void exec_block(tmpl_ctx *c, const tmpl_node *n) {
    const saved s = redirect(c, NULL, loam_tmpl_frame_new(c, n->op ? c->frame : c->root));
    loam_tmpl_exec(c, n->c);
    restore(c, s);
}

/* ---- loops ---- */

int loam_tmpl_loop_fill(tmpl_ctx *c, tmpl_loop *l, size_t upto) {
    const tmpl_node *test = l->node->c;
    while ((upto == SIZE_MAX || l->n <= upto) && l->i_source < l->n_source) {
        const tmpl_value item = l->source[l->i_source++];
        loam_tmpl_step(c, 0);
        if (test) {
            tmpl_frame *outer = c->frame;
            c->frame = loam_tmpl_frame_new(c, l->frame);
            assign(c, c->frame, l->node->a, item);
            const int passes = loam_tmpl_truth(c, loam_tmpl_eval(c, test));
            c->frame = outer;
            if (!passes) continue;
        }
        l->items[l->n++] = item;
    }
    return l->n > upto;
}

static void run_loop(tmpl_ctx *c, const tmpl_node *n, tmpl_frame *frame, tmpl_value items,
                     int depth0) {
    static const tmpl_str LOOP = {"loop", 4};
    tmpl_loop *l = loam_tmpl_alloc(c, 1, sizeof *l);
    *l = (tmpl_loop){.node = n, .frame = frame, .depth0 = depth0};
    l->source = loam_tmpl_items(c, items, &l->n_source);
    l->items = loam_tmpl_alloc(c, l->n_source, sizeof *l->items);
    const tmpl_value self = loam_tmpl_ref(TMPL_LOOP, l);
    tmpl_frame *body = NULL;
    saved s = redirect(c, NULL, frame);
    for (; loam_tmpl_loop_fill(c, l, l->at); l->at++) {
        if (!body || body->captured) body = loam_tmpl_frame_new(c, frame);
        body->n = 0;
        assign(c, body, n->a, l->items[l->at]);
        loam_tmpl_define(c, body, LOOP, self);
        c->frame = body;
        loam_tmpl_exec(c, n->items[0]);
        c->frame = frame;
        const int leaving = c->leaving;
        c->leaving = 0;
        if (leaving == 1) break;
    }
    if (l->n == 0 && n->n_items > 1) {
        c->frame = loam_tmpl_frame_new(c, frame);
        loam_tmpl_exec(c, n->items[1]);
        s.leaving |= c->leaving; /* of the loop around */
    }
    restore(c, s);
}

tmpl_value loam_tmpl_run_loop(tmpl_ctx *c, const tmpl_node *n, tmpl_frame *frame, tmpl_value items,
                              int depth0) {
    tmpl_buf b = loam_tmpl_buf(c);
    const saved s = redirect(c, &b, frame);
    loam_tmpl_enter(c);
    run_loop(c, n, frame, items, depth0);
    c->depth--;
    restore(c, s);
    return take_text(c, &b);
}

/* ---- statements ---- */

static void exec_if(tmpl_ctx *c, const tmpl_node *n) {
    while (n && n->kind == TMPL_N_IF) { /* elif is an if in the else branch */
        c->line = n->line;
        if (loam_tmpl_truth(c, loam_tmpl_eval(c, n->a))) {
            loam_tmpl_exec(c, n->b);
            return;
        }
        n = n->c;
    }
    if (n) loam_tmpl_exec(c, n);
}

static tmpl_value apply_filters(tmpl_ctx *c, const tmpl_node *chain, tmpl_value text) {
    const tmpl_value before = c->block_text;
    c->block_text = text;
    const tmpl_value v = chain ? loam_tmpl_eval(c, chain) : text;
    c->block_text = before;
    return v;
}

static void exec_with(tmpl_ctx *c, const tmpl_node *n) {
    tmpl_frame *f = loam_tmpl_frame_new(c, c->frame);
    for (size_t i = 0; i + 1 < n->n_items; i += 2)
        assign(c, f, n->items[i], loam_tmpl_eval(c, n->items[i + 1]));
    saved s = redirect(c, NULL, f);
    loam_tmpl_exec(c, n->c);
    s.leaving |= c->leaving;
    restore(c, s);
}

static void exec_autoescape(tmpl_ctx *c, const tmpl_node *n) {
    const int before = c->autoescape;
    if (n->a) c->autoescape = loam_tmpl_truth(c, loam_tmpl_eval(c, n->a));
    saved s = redirect(c, NULL, loam_tmpl_frame_new(c, c->frame));
    loam_tmpl_exec(c, n->c);
    s.leaving |= c->leaving;
    restore(c, s);
    c->autoescape = before;
}

void loam_tmpl_exec(tmpl_ctx *c, const tmpl_node *n) {
    tmpl_value v;
    c->line = n->line;
    loam_tmpl_step(c, 0);
    loam_tmpl_enter(c);
    switch (n->kind) {
    case TMPL_N_TEXT: loam_tmpl_put(c->out, n->value.as.s.p, n->value.as.s.n); break;
    case TMPL_N_PRINT: print_value(c, loam_tmpl_eval(c, n->a)); break;
    case TMPL_N_BODY:
        for (size_t i = 0; i < n->n_items && !c->leaving; i++) loam_tmpl_exec(c, n->items[i]);
        break;
    case TMPL_N_IF: exec_if(c, n); break;
    case TMPL_N_FOR: run_loop(c, n, c->frame, loam_tmpl_eval(c, n->b), 0); break;
    case TMPL_N_SET: assign(c, c->frame, n->a, loam_tmpl_eval(c, n->b)); break;
    case TMPL_N_SET_BLOCK:
        v = capture(c, n->c);
        if (!c->leaving) assign(c, c->frame, n->a, apply_filters(c, n->b, v));
        break;
    case TMPL_N_MACRO: loam_tmpl_define(c, c->frame, n->name, make_macro(c, n)); break;
    case TMPL_N_CALL_BLOCK: exec_call_block(c, n); break;
    case TMPL_N_FILTER_BLOCK:
        v = capture(c, n->c);
        if (!c->leaving) print_value(c, apply_filters(c, n->b, v));
        break;
    case TMPL_N_WITH: exec_with(c, n); break;
    case TMPL_N_BLOCK: exec_block(c, n); break;
    case TMPL_N_AUTOESCAPE:
    case TMPL_N_SCOPE: exec_autoescape(c, n); break;
    case TMPL_N_NO_LOADER:
        loam_tmpl_eval(c, n->a);
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "no loader for this environment specified");
    case TMPL_N_BREAK: c->leaving = 1; break;
    case TMPL_N_CONTINUE: c->leaving = 2; break;
    default: LOAM_ASSERT(n->kind == TMPL_N_TEXT); break;
    }
    c->depth--;
}

/* ---- expressions ---- */

static tmpl_value eval_items(tmpl_ctx *c, const tmpl_node *n, tmpl_type type) {
    tmpl_value *items = loam_tmpl_alloc(c, n->n_items, sizeof *items);
    for (size_t i = 0; i < n->n_items; i++) items[i] = loam_tmpl_eval(c, n->items[i]);
    return loam_tmpl_list(type, items, n->n_items);
}

static tmpl_value eval_dict(tmpl_ctx *c, const tmpl_node *n) {
    tmpl_dict *d = loam_tmpl_dict_new(c, n->n_items / 2);
    for (size_t i = 0; i + 1 < n->n_items; i += 2) {
        const tmpl_value key = loam_tmpl_eval(c, n->items[i]);
        loam_tmpl_dict_set(c, d, key, loam_tmpl_eval(c, n->items[i + 1]));
    }
    return loam_tmpl_ref(TMPL_DICT, d);
}

static tmpl_value eval_item(tmpl_ctx *c, const tmpl_node *n) {
    const tmpl_value v = loam_tmpl_eval(c, n->a);
    if (n->b->kind != TMPL_N_SLICE) return loam_tmpl_item(c, v, loam_tmpl_eval(c, n->b));
    const tmpl_node *const parts[3] = {n->b->a, n->b->b, n->b->c};
    tmpl_value bounds[3];
    for (int i = 0; i < 3; i++)
        bounds[i] = parts[i] ? loam_tmpl_eval(c, parts[i]) : loam_tmpl_none();
    return loam_tmpl_slice(c, v, bounds);
}

static tmpl_value eval_call(tmpl_ctx *c, const tmpl_node *n) {
    tmpl_args a;
    const tmpl_value f = loam_tmpl_eval(c, n->a);
    loam_tmpl_args(c, n->call, &a);
    c->line = n->line;
    return loam_tmpl_call_value(c, f, &a);
}

static tmpl_value eval_filter(tmpl_ctx *c, const tmpl_node *n) {
    tmpl_args a;
    const tmpl_value v = n->a ? loam_tmpl_eval(c, n->a) : c->block_text;
    loam_tmpl_args(c, n->call, &a);
    c->line = n->line;
    return loam_tmpl_filter(c, n->name, v, &a);
}

static tmpl_value eval_test(tmpl_ctx *c, const tmpl_node *n) {
    tmpl_args a;
    const tmpl_value v = loam_tmpl_eval(c, n->a);
    loam_tmpl_args(c, n->call, &a);
    return loam_tmpl_bool(loam_tmpl_test(c, n->name, v, &a));
}

static tmpl_value eval_compare(tmpl_ctx *c, const tmpl_node *n) {
    tmpl_value left = loam_tmpl_eval(c, n->a);
    for (size_t i = 0; i < n->n_items; i++) {
        const tmpl_value right = loam_tmpl_eval(c, n->items[i]);
        if (!loam_tmpl_compare(c, (tmpl_op)n->ops[i], left, right)) return loam_tmpl_bool(0);
        left = right;
    }
    return loam_tmpl_bool(1);
}

static tmpl_value eval_concat(tmpl_ctx *c, const tmpl_node *n) {
    const tmpl_value all = eval_items(c, n, TMPL_LIST);
    int safe = 0;
    for (size_t i = 0; i < all.as.l.n; i++)
        safe |= all.as.l.items[i].type == TMPL_STR && (all.as.l.items[i].flags & TMPL_SAFE);
    safe = safe && c->autoescape;
    tmpl_value out = all.as.l.items[0];
    if (safe)
        out = loam_tmpl_escape(c, out);
    else if (out.type != TMPL_STR)
        out = loam_tmpl_str(loam_tmpl_to_str(c, out));
    for (size_t i = 1; i < all.as.l.n; i++) {
        const tmpl_value v = all.as.l.items[i];
        out = loam_tmpl_concat_str(c, out,
                                   safe ? loam_tmpl_escape(c, v).as.s : loam_tmpl_to_str(c, v));
    }
    out.flags = safe ? TMPL_SAFE : 0;
    return out;
}

static tmpl_value eval_cond(tmpl_ctx *c, const tmpl_node *n) {
    if (loam_tmpl_truth(c, loam_tmpl_eval(c, n->b))) return loam_tmpl_eval(c, n->a);
    if (n->c) return loam_tmpl_eval(c, n->c);
    return loam_tmpl_undefined_hint(
        c, "the inline if-expression evaluated to false and no else section was defined.");
}

static tmpl_value eval_binary(tmpl_ctx *c, const tmpl_node *n) {
    const tmpl_value a = loam_tmpl_eval(c, n->a);
    return loam_tmpl_binary(c, (tmpl_op)n->op, a, loam_tmpl_eval(c, n->b));
}

static tmpl_value eval_logic(tmpl_ctx *c, const tmpl_node *n) {
    const tmpl_value a = loam_tmpl_eval(c, n->a);
    if (n->kind == TMPL_N_NOT) return loam_tmpl_bool(!loam_tmpl_truth(c, a));
    return loam_tmpl_truth(c, a) == (n->kind == TMPL_N_OR) ? a : loam_tmpl_eval(c, n->b);
}

static tmpl_value eval_sign(tmpl_ctx *c, const tmpl_node *n) {
    const tmpl_value v = loam_tmpl_eval(c, n->a);
    const tmpl_value minus = loam_tmpl_negate(c, v); /* also says what has no sign */
    return n->kind == TMPL_N_NEG ? minus : loam_tmpl_negate(c, minus);
}

tmpl_value loam_tmpl_eval(tmpl_ctx *c, const tmpl_node *n) {
    tmpl_value v;
    loam_tmpl_step(c, 0);
    loam_tmpl_enter(c);
    switch (n->kind) {
    case TMPL_N_CONST: v = n->value; break;
    case TMPL_N_NAME: v = find_name(c, n->name); break;
    case TMPL_N_TUPLE: v = eval_items(c, n, TMPL_TUPLE); break;
    case TMPL_N_LIST: v = eval_items(c, n, TMPL_LIST); break;
    case TMPL_N_DICT: v = eval_dict(c, n); break;
    case TMPL_N_ATTR: v = loam_tmpl_attr(c, loam_tmpl_eval(c, n->a), n->name); break;
    case TMPL_N_ITEM: v = eval_item(c, n); break;
    case TMPL_N_CALL: v = eval_call(c, n); break;
    case TMPL_N_FILTER: v = eval_filter(c, n); break;
    case TMPL_N_TEST: v = eval_test(c, n); break;
    case TMPL_N_NOT:
    case TMPL_N_AND:
    case TMPL_N_OR: v = eval_logic(c, n); break;
    case TMPL_N_NEG:
    case TMPL_N_POS: v = eval_sign(c, n); break;
    case TMPL_N_BINARY: v = eval_binary(c, n); break;
    case TMPL_N_COMPARE: v = eval_compare(c, n); break;
    case TMPL_N_CONCAT: v = eval_concat(c, n); break;
    case TMPL_N_COND: v = eval_cond(c, n); break;
    default: loam_tmpl_fail(c, LOAM_ERR_UNSUPPORTED, "a slice among several subscripts");
    }
    c->depth--;
    return v;
}
