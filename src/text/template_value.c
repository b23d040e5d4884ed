/* template_value.c - the values of templates: truth, equality, order, dicts, iteration.
 *
 * They behave as Python's, since templates were written against Jinja: 1 == 1.0 ==
 * true, dicts keep their order, undefined is empty but not usable, iterators are
 * read once.  How values look as text is in template_text.c.
 */
#include "text/template.h"
#include <math.h>

/* No items have an address too. */
static const tmpl_value NO_ITEMS[1];

/* ---- making ---- */

tmpl_value loam_tmpl_none(void) {
    return (tmpl_value){.type = TMPL_NONE};
}
tmpl_value loam_tmpl_bool(int b) {
    return (tmpl_value){.type = TMPL_BOOL, .as.i = b != 0};
}
tmpl_value loam_tmpl_int(tmpl_int i) {
    return (tmpl_value){.type = TMPL_INT, .as.i = i};
}
tmpl_value loam_tmpl_float(double f) {
    return (tmpl_value){.type = TMPL_FLOAT, .as.f = f};
}
tmpl_value loam_tmpl_str(tmpl_str s) {
    return (tmpl_value){.type = TMPL_STR, .as.s = s};
}
tmpl_value loam_tmpl_strz(const char *s) {
    return loam_tmpl_str((tmpl_str){s, strlen(s)});
}

tmpl_value loam_tmpl_list(tmpl_type type, const tmpl_value *items, size_t n) {
    return (tmpl_value){.type = (uint8_t)type, .as.l = {items ? items : NO_ITEMS, n}};
}

tmpl_value loam_tmpl_ref(tmpl_type type, void *ref) {
    return (tmpl_value){.type = (uint8_t)type, .ref = ref};
}

tmpl_value loam_tmpl_iter(tmpl_ctx *c, const tmpl_value *items, size_t n, const char *name) {
    tmpl_iter *it = loam_tmpl_alloc(c, 1, sizeof *it);
    *it = (tmpl_iter){items ? items : NO_ITEMS, n, 0, name};
    return loam_tmpl_ref(TMPL_ITER, it);
}

tmpl_value loam_tmpl_pair(tmpl_ctx *c, tmpl_value a, tmpl_value b) {
    tmpl_value *items = loam_tmpl_alloc(c, 2, sizeof *items);
    items[0] = a;
    items[1] = b;
    return loam_tmpl_list(TMPL_TUPLE, items, 2);
}

/* ---- undefined ---- */

static tmpl_value new_undefined(tmpl_ctx *c, tmpl_undefined u) {
    tmpl_undefined *p = loam_tmpl_alloc(c, 1, sizeof *p);
    *p = u;
    return loam_tmpl_ref(TMPL_UNDEFINED, p);
}

tmpl_value loam_tmpl_undefined_name(tmpl_ctx *c, tmpl_str name) {
    return new_undefined(c, (tmpl_undefined){.name = loam_tmpl_str(name)});
}

tmpl_value loam_tmpl_undefined_attr(tmpl_ctx *c, tmpl_value object, tmpl_value name) {
    return new_undefined(c, (tmpl_undefined){.type = loam_tmpl_type_name(object), .name = name});
}

tmpl_value loam_tmpl_undefined_hint(tmpl_ctx *c, const char *hint) {
    return new_undefined(c, (tmpl_undefined){.hint = hint, .name = loam_tmpl_none()});
}

tmpl_value loam_tmpl_unsafe(tmpl_ctx *c, tmpl_value object, tmpl_str name) {
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_puts(&b, "access to attribute ");
    loam_tmpl_put_repr(&b, loam_tmpl_str(name));
    loam_tmpl_puts(&b, " of '");
    loam_tmpl_puts(&b, loam_tmpl_type_name(object));
    loam_tmpl_puts(&b, "' object is unsafe.");
    loam_tmpl_put(&b, "", 1);
    return loam_tmpl_undefined_hint(c, b.p);
}

_Noreturn void loam_tmpl_fail_undefined(tmpl_ctx *c, tmpl_value v) {
    const tmpl_undefined *u = v.ref;
    tmpl_buf b = loam_tmpl_buf(c);
    if (u->hint) {
        loam_tmpl_puts(&b, u->hint);
    } else if (!u->type) {
        loam_tmpl_put_repr(&b, u->name);
        loam_tmpl_puts(&b, " is undefined");
    } else {
        const int none = strcmp(u->type, "NoneType") == 0, named = u->name.type == TMPL_STR;
        loam_tmpl_puts(&b, named ? "'" : "");
        loam_tmpl_puts(&b, none ? "None" : u->type);
        loam_tmpl_puts(&b, none ? "" : " object");
        loam_tmpl_puts(&b, named ? "' has no attribute " : " has no element ");
        loam_tmpl_put_repr(&b, u->name);
    }
    loam_tmpl_put(&b, "", 1);
    loam_tmpl_fail(c, LOAM_ERR_FORMAT, "%s", b.p);
}

/* ---- asking ---- */

const char *loam_tmpl_type_name(tmpl_value v) {
    static const char *const NAMES[] = {[TMPL_UNDEFINED] = "Undefined",
                                        [TMPL_NONE] = "NoneType",
                                        [TMPL_BOOL] = "bool",
                                        [TMPL_INT] = "int",
                                        [TMPL_FLOAT] = "float",
                                        [TMPL_STR] = "str",
                                        [TMPL_BYTES] = "bytes",
                                        [TMPL_LIST] = "list",
                                        [TMPL_TUPLE] = "tuple",
                                        [TMPL_DICT] = "dict",
                                        [TMPL_RANGE] = "range",
                                        [TMPL_ITER] = "generator",
                                        [TMPL_VIEW] = "dict_items",
                                        [TMPL_NAMESPACE] = "Namespace",
                                        [TMPL_LOOP] = "LoopContext",
                                        [TMPL_MACRO] = "Macro",
                                        [TMPL_FUNCTION] = "function",
                                        [TMPL_METHOD] = "builtin_function_or_method",
                                        [TMPL_CYCLER] = "Cycler",
                                        [TMPL_JOINER] = "Joiner",
                                        [TMPL_SELF] = "TemplateReference",
                                        [TMPL_BLOCK] = "BlockReference"};
    return NAMES[v.type];
}

int loam_tmpl_is(tmpl_str s, const char *z) {
    return strlen(z) == s.n && memcmp(s.p, z, s.n) == 0;
}

int loam_tmpl_same(tmpl_str a, tmpl_str b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

int loam_tmpl_is_int(tmpl_value v, tmpl_int *out) {
    if (v.type != TMPL_INT && v.type != TMPL_BOOL) return 0;
    *out = v.as.i;
    return 1;
}

int loam_tmpl_is_number(tmpl_value v, double *out) {
    tmpl_int i;
    if (v.type == TMPL_FLOAT)
        *out = v.as.f;
    else if (loam_tmpl_is_int(v, &i))
        *out = (double)i;
    else
        return 0;
    return 1;
}

int64_t loam_tmpl_index(tmpl_ctx *c, tmpl_value v) {
    tmpl_int i;
    if (v.type == TMPL_UNDEFINED) loam_tmpl_fail_undefined(c, v);
    if (!loam_tmpl_is_int(v, &i))
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "'%s' object cannot be interpreted as an integer",
                       loam_tmpl_type_name(v));
    return i > INT64_MAX / 4 ? INT64_MAX / 4 : i < INT64_MIN / 4 ? INT64_MIN / 4 : (int64_t)i;
}

tmpl_str loam_tmpl_need_str(tmpl_ctx *c, tmpl_value v) {
    if (v.type == TMPL_UNDEFINED) loam_tmpl_fail_undefined(c, v);
    if (v.type != TMPL_STR)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "expected str, got '%s'", loam_tmpl_type_name(v));
    return v.as.s;
}

static size_t view_count(tmpl_value v) {
    return ((const tmpl_view *)v.ref)->dict->n;
}

int loam_tmpl_truth(tmpl_ctx *c, tmpl_value v) {
    (void)c;
    switch (v.type) {
    case TMPL_UNDEFINED:
    case TMPL_NONE: return 0;
    case TMPL_BOOL:
    case TMPL_INT: return v.as.i != 0;
    case TMPL_FLOAT: return v.as.f < 0 || v.as.f > 0 || isnan(v.as.f);
    case TMPL_STR:
    case TMPL_BYTES: return v.as.s.n != 0;
    case TMPL_LIST:
    case TMPL_TUPLE: return v.as.l.n != 0;
    case TMPL_DICT: return ((const tmpl_dict *)v.ref)->n != 0;
    case TMPL_RANGE: return ((const tmpl_range *)v.ref)->n != 0;
    case TMPL_VIEW: return view_count(v) != 0;
    default: return 1;
    }
}

int64_t loam_tmpl_length(tmpl_ctx *c, tmpl_value v) {
    switch (v.type) {
    case TMPL_UNDEFINED: return 0;
    case TMPL_STR: loam_tmpl_step(c, v.as.s.n); return (int64_t)loam_tmpl_runes(v.as.s);
    case TMPL_BYTES: return (int64_t)v.as.s.n;
    case TMPL_LIST:
    case TMPL_TUPLE: return (int64_t)v.as.l.n;
    case TMPL_DICT: return (int64_t)((const tmpl_dict *)v.ref)->n;
    case TMPL_RANGE: return (int64_t)((const tmpl_range *)v.ref)->n;
    case TMPL_VIEW: return (int64_t)view_count(v);
    case TMPL_LOOP:
        loam_tmpl_loop_fill(c, v.ref, SIZE_MAX);
        return (int64_t)((const tmpl_loop *)v.ref)->n;
    default:
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "object of type '%s' has no len()",
                       loam_tmpl_type_name(v));
    }
}

/* ---- equality and order ---- */

static int int_equals_float(tmpl_int i, double f) {
    return f >= -1.7e38 && f <= 1.7e38 && floor(f) >= f && (tmpl_int)f == i;
}

static int numbers_equal(tmpl_value a, tmpl_value b) {
    if (a.type == TMPL_FLOAT && b.type == TMPL_FLOAT) return a.as.f <= b.as.f && a.as.f >= b.as.f;
    if (a.type == TMPL_FLOAT) return int_equals_float(b.as.i, a.as.f);
    if (b.type == TMPL_FLOAT) return int_equals_float(a.as.i, b.as.f);
    return a.as.i == b.as.i;
}

static int lists_equal(tmpl_ctx *c, tmpl_value a, tmpl_value b) {
    if (a.as.l.n != b.as.l.n) return 0;
    for (size_t i = 0; i < a.as.l.n; i++)
        if (!loam_tmpl_equal(c, a.as.l.items[i], b.as.l.items[i])) return 0;
    return 1;
}

static int dicts_equal(tmpl_ctx *c, const tmpl_dict *a, const tmpl_dict *b) {
    if (a->n != b->n) return 0;
    for (size_t i = 0; i < a->n; i++) {
        const tmpl_value *other = loam_tmpl_dict_get(c, b, a->entries[i].key);
        if (!other || !loam_tmpl_equal(c, a->entries[i].value, *other)) return 0;
    }
    return 1;
}

int loam_tmpl_equal(tmpl_ctx *c, tmpl_value a, tmpl_value b) {
    double x;
    if (loam_tmpl_is_number(a, &x) && loam_tmpl_is_number(b, &x)) return numbers_equal(a, b);
    if (a.type != b.type) return 0;
    int same = 0;
    loam_tmpl_enter(c);
    switch (a.type) {
    case TMPL_UNDEFINED:
    case TMPL_NONE: same = 1; break;
    case TMPL_STR:
    case TMPL_BYTES:
        loam_tmpl_step(c, a.as.s.n);
        same = loam_tmpl_same(a.as.s, b.as.s);
        break;
    case TMPL_LIST:
    case TMPL_TUPLE:
        loam_tmpl_step(c, a.as.l.n);
        same = lists_equal(c, a, b);
        break;
    case TMPL_DICT: same = dicts_equal(c, a.ref, b.ref); break;
    case TMPL_RANGE: {
        const tmpl_range *p = a.ref, *q = b.ref;
        same = p->n == q->n &&
               (p->n == 0 || (p->start == q->start && (p->n == 1 || p->step == q->step)));
        break;
    }
    default: same = a.ref == b.ref; break;
    }
    c->depth--;
    return same;
}

static int three_way(tmpl_str a, tmpl_str b) {
    const size_t n = a.n < b.n ? a.n : b.n;
    const int d = n ? memcmp(a.p, b.p, n) : 0;
    return d ? d : (a.n > b.n) - (a.n < b.n);
}

static int holds(tmpl_op op, int order) {
    return op == TMPL_OP_LT   ? order < 0
           : op == TMPL_OP_LE ? order <= 0
           : op == TMPL_OP_GT ? order > 0
                              : order >= 0;
}

static int order_numbers(tmpl_op op, tmpl_value a, tmpl_value b) {
    if (a.type != TMPL_FLOAT && b.type != TMPL_FLOAT)
        return holds(op, (a.as.i > b.as.i) - (a.as.i < b.as.i));
    double x = 0, y = 0;
    loam_tmpl_is_number(a, &x);
    loam_tmpl_is_number(b, &y);
    if (isnan(x) || isnan(y)) return 0;
    return holds(op, (x > y) - (x < y));
}

int loam_tmpl_order(tmpl_ctx *c, tmpl_op op, tmpl_value a, tmpl_value b) {
    static const char *const SIGNS[] = {"<", "<=", ">", ">="};
    double x;
    if (a.type == TMPL_UNDEFINED) loam_tmpl_fail_undefined(c, a);
    if (b.type == TMPL_UNDEFINED) loam_tmpl_fail_undefined(c, b);
    if (loam_tmpl_is_number(a, &x) && loam_tmpl_is_number(b, &x)) return order_numbers(op, a, b);
    if (a.type == b.type && (a.type == TMPL_STR || a.type == TMPL_BYTES)) {
        loam_tmpl_step(c, a.as.s.n);
        return holds(op, three_way(a.as.s, b.as.s)); /* UTF-8 sorts as its code points */
    }
    if (a.type != b.type || (a.type != TMPL_LIST && a.type != TMPL_TUPLE))
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "'%s' not supported between instances of '%s' and '%s'",
                       SIGNS[op - TMPL_OP_LT], loam_tmpl_type_name(a), loam_tmpl_type_name(b));
    const size_t n = a.as.l.n < b.as.l.n ? a.as.l.n : b.as.l.n;
    loam_tmpl_enter(c);
    for (size_t i = 0; i < n; i++) {
        if (loam_tmpl_equal(c, a.as.l.items[i], b.as.l.items[i])) continue;
        const int r = loam_tmpl_order(c, op, a.as.l.items[i], b.as.l.items[i]);
        c->depth--;
        return r;
    }
    c->depth--;
    return holds(op, (a.as.l.n > b.as.l.n) - (a.as.l.n < b.as.l.n));
}

int loam_tmpl_contains(tmpl_ctx *c, tmpl_value item, tmpl_value in) {
    if (in.type == TMPL_STR) {
        if (item.type != TMPL_STR)
            loam_tmpl_fail(c, LOAM_ERR_FORMAT,
                           "'in <string>' requires string as left operand, not %s",
                           loam_tmpl_type_name(item));
        loam_tmpl_step(c, in.as.s.n);
        return item.as.s.n == 0 || memmem(in.as.s.p, in.as.s.n, item.as.s.p, item.as.s.n) != NULL;
    }
    if (in.type == TMPL_DICT) return loam_tmpl_dict_get(c, in.ref, item) != NULL;
    if (in.type == TMPL_VIEW && ((const tmpl_view *)in.ref)->kind == 0)
        return loam_tmpl_dict_get(c, ((const tmpl_view *)in.ref)->dict, item) != NULL;
    if (!loam_tmpl_iterable(in))
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "argument of type '%s' is not iterable",
                       loam_tmpl_type_name(in));
    size_t n;
    const tmpl_value *items = loam_tmpl_items(c, in, &n);
    for (size_t i = 0; i < n; i++)
        if (loam_tmpl_equal(c, items[i], item)) return 1;
    return 0;
}

/* ---- iteration ---- */

int loam_tmpl_iterable(tmpl_value v) {
    switch (v.type) {
    case TMPL_UNDEFINED:
    case TMPL_STR:
    case TMPL_BYTES:
    case TMPL_LIST:
    case TMPL_TUPLE:
    case TMPL_DICT:
    case TMPL_RANGE:
    case TMPL_ITER:
    case TMPL_VIEW:
    case TMPL_LOOP: return 1;
    default: return 0;
    }
}

static const tmpl_value *string_items(tmpl_ctx *c, tmpl_value v, size_t *n) {
    const char *p = v.as.s.p, *end = p + v.as.s.n;
    tmpl_value *items = loam_tmpl_alloc(c, v.as.s.n, sizeof *items);
    *n = 0;
    while (p < end) {
        const char *from = p;
        loam_tmpl_rune(&p, end);
        items[*n] = loam_tmpl_str((tmpl_str){from, (size_t)(p - from)});
        items[(*n)++].flags = 0;
    }
    return items;
}

static const tmpl_value *dict_items(tmpl_ctx *c, const tmpl_dict *d, int kind, size_t *n) {
    tmpl_value *items = loam_tmpl_alloc(c, d->n, sizeof *items);
    for (size_t i = 0; i < d->n; i++) {
        const tmpl_entry *e = &d->entries[i];
        items[i] = kind == 0 ? e->key : kind == 1 ? e->value : loam_tmpl_pair(c, e->key, e->value);
    }
    *n = d->n;
    return items;
}

const tmpl_value *loam_tmpl_items(tmpl_ctx *c, tmpl_value v, size_t *n) {
    *n = 0;
    switch (v.type) {
    case TMPL_UNDEFINED: return NO_ITEMS;
    case TMPL_STR: loam_tmpl_step(c, v.as.s.n * 8); return string_items(c, v, n);
    case TMPL_BYTES: {
        tmpl_value *items = loam_tmpl_alloc(c, v.as.s.n, sizeof *items);
        for (size_t i = 0; i < v.as.s.n; i++) items[i] = loam_tmpl_int((unsigned char)v.as.s.p[i]);
        *n = v.as.s.n;
        return items;
    }
    case TMPL_LIST:
    case TMPL_TUPLE: *n = v.as.l.n; return v.as.l.items;
    case TMPL_DICT: return dict_items(c, v.ref, 0, n);
    case TMPL_VIEW: {
        const tmpl_view *view = v.ref;
        return dict_items(c, view->dict, view->kind, n);
    }
    case TMPL_RANGE: {
        const tmpl_range *r = v.ref;
        tmpl_value *items = loam_tmpl_alloc(c, r->n, sizeof *items);
        for (size_t i = 0; i < r->n; i++)
            items[i] = loam_tmpl_int(r->start + (tmpl_int)r->step * (tmpl_int)i);
        loam_tmpl_step(c, r->n);
        *n = r->n;
        return items;
    }
    case TMPL_ITER: {
        tmpl_iter *it = v.ref;
        const tmpl_value *rest = it->items + it->at;
        *n = it->n - it->at;
        it->at = it->n;
        return rest;
    }
    case TMPL_LOOP: { /* what is left of it */
        tmpl_loop *l = v.ref;
        loam_tmpl_loop_fill(c, l, SIZE_MAX);
        const size_t from = l->at + 1 < l->n ? l->at + 1 : l->n;
        *n = l->n - from;
        return l->items + from;
    }
    default:
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "'%s' object is not iterable", loam_tmpl_type_name(v));
    }
}

static void merge(tmpl_ctx *c, tmpl_value *keys, tmpl_value *items, tmpl_value *room, size_t n,
                  int reverse) {
    const size_t half = n / 2;
    tmpl_value *k = room, *v = room + n;
    size_t i = 0, j = half, out = 0;
    while (i < half || j < n) {
        int right;
        if (i == half || j == n)
            right = i == half;
        else
            right = reverse ? loam_tmpl_order(c, TMPL_OP_LT, keys[i], keys[j])
                            : loam_tmpl_order(c, TMPL_OP_LT, keys[j], keys[i]);
        const size_t from = right ? j++ : i++;
        k[out] = keys[from];
        v[out++] = items[from];
    }
    memcpy(keys, k, n * sizeof *k);
    memcpy(items, v, n * sizeof *v);
}

static void sort_range(tmpl_ctx *c, tmpl_value *keys, tmpl_value *items, tmpl_value *room, size_t n,
                       int reverse) {
    if (n < 2) return;
    const size_t half = n / 2;
    loam_tmpl_step(c, n);
    sort_range(c, keys, items, room, half, reverse);
    sort_range(c, keys + half, items + half, room, n - half, reverse);
    merge(c, keys, items, room, n, reverse);
}

void loam_tmpl_sort(tmpl_ctx *c, tmpl_value *keys, tmpl_value *items, size_t n, int reverse) {
    sort_range(c, keys, items, loam_tmpl_alloc(c, 2 * n, sizeof *keys), n, reverse);
}

/* ---- dicts ---- */

static uint64_t hash_value(tmpl_ctx *c, tmpl_value v) {
    const uint64_t seed = (uint64_t)(uintptr_t)c;
    tmpl_int i;
    if (loam_tmpl_is_int(v, &i)) return loam_hash(&i, sizeof i, seed);
    switch (v.type) {
    case TMPL_FLOAT:
        if (v.as.f >= -1.7e38 && v.as.f <= 1.7e38 && floor(v.as.f) >= v.as.f) {
            i = (tmpl_int)v.as.f;
            return loam_hash(&i, sizeof i, seed);
        }
        return loam_hash(&v.as.f, sizeof v.as.f, seed);
    case TMPL_STR:
    case TMPL_BYTES: return loam_hash(v.as.s.p, v.as.s.n, seed);
    case TMPL_TUPLE: {
        uint64_t h = seed;
        for (size_t k = 0; k < v.as.l.n; k++) h = h * 31 + hash_value(c, v.as.l.items[k]);
        return h;
    }
    case TMPL_LIST:
    case TMPL_DICT:
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "unhashable type: '%s'", loam_tmpl_type_name(v));
    default: return v.type;
    }
}

tmpl_dict *loam_tmpl_dict_new(tmpl_ctx *c, size_t room) {
    tmpl_dict *d = loam_tmpl_alloc(c, 1, sizeof *d);
    d->cap = room;
    d->entries = loam_tmpl_alloc(c, room, sizeof *d->entries);
    return d;
}

static void index_entry(tmpl_dict *d, size_t i) {
    size_t at = (size_t)d->entries[i].hash & (d->n_slots - 1);
    while (d->slots[at]) at = (at + 1) & (d->n_slots - 1);
    d->slots[at] = (uint32_t)i + 1;
}

static tmpl_entry *find_entry(tmpl_ctx *c, const tmpl_dict *d, tmpl_value key, uint64_t hash) {
    if (!d->n_slots) {
        for (size_t i = 0; i < d->n; i++)
            if (d->entries[i].hash == hash && loam_tmpl_equal(c, d->entries[i].key, key))
                return &d->entries[i];
        return NULL;
    }
    for (size_t at = (size_t)hash & (d->n_slots - 1); d->slots[at];
         at = (at + 1) & (d->n_slots - 1)) {
        tmpl_entry *e = &d->entries[d->slots[at] - 1];
        if (e->hash == hash && loam_tmpl_equal(c, e->key, key)) return e;
    }
    return NULL;
}

void loam_tmpl_dict_set(tmpl_ctx *c, tmpl_dict *d, tmpl_value key, tmpl_value value) {
    const uint64_t hash = hash_value(c, key);
    tmpl_entry *e = find_entry(c, d, key, hash);
    if (e) { /* the first key stays */
        e->value = value;
        return;
    }
    if (d->n == d->cap) {
        d->cap = d->cap ? d->cap * 2 : 4;
        tmpl_entry *more = loam_tmpl_alloc(c, d->cap, sizeof *more);
        if (d->n) memcpy(more, d->entries, d->n * sizeof *more);
        d->entries = more;
    }
    d->entries[d->n++] = (tmpl_entry){key, value, hash};
    if (d->n > 8 && d->n * 2 > d->n_slots) {
        d->n_slots = d->n_slots ? d->n_slots * 4 : 64;
        d->slots = loam_tmpl_alloc(c, d->n_slots, sizeof *d->slots);
        for (size_t i = 0; i < d->n; i++) index_entry(d, i);
    } else if (d->n_slots) {
        index_entry(d, d->n - 1);
    }
}

const tmpl_value *loam_tmpl_dict_get(tmpl_ctx *c, const tmpl_dict *d, tmpl_value key) {
    const tmpl_entry *e = find_entry(c, d, key, hash_value(c, key));
    return e ? &e->value : NULL;
}

const tmpl_value *loam_tmpl_dict_gets(tmpl_ctx *c, const tmpl_dict *d, const char *key) {
    return loam_tmpl_dict_get(c, d, loam_tmpl_strz(key));
}

/* ---- from JSON ---- */

/* An integer that JSON could not keep as one: 128 bits where they do. */
static tmpl_value big_number(const loam_json_value *v, double f) {
    loam_buf b = {0};
    char text[64];
    loam_json_put_value(&b, v, -1, 1);
    const size_t n = b.failed || b.n >= sizeof text ? 0 : b.n;
    if (n) memcpy(text, b.data, n);
    loam_buf_deinit(&b);
    tmpl_int i = 0;
    const size_t from = n && text[0] == '-';
    for (size_t k = from; k < n; k++) {
        if (text[k] < '0' || text[k] > '9') return loam_tmpl_float(f);
        if (__builtin_mul_overflow(i, 10, &i) || __builtin_add_overflow(i, text[k] - '0', &i))
            return loam_tmpl_float(f);
    }
    return n > from ? loam_tmpl_int(from ? -i : i) : loam_tmpl_float(f);
}

tmpl_value loam_tmpl_from_json(tmpl_ctx *c, const loam_json_value *v) {
    size_t n = 0;
    double f;
    switch (loam_json_type_of(v)) {
    case LOAM_JSON_NULL: return loam_tmpl_none();
    case LOAM_JSON_FALSE: return loam_tmpl_bool(0);
    case LOAM_JSON_TRUE: return loam_tmpl_bool(1);
    case LOAM_JSON_INT: {
        int64_t i = 0;
        loam_json_int(v, &i);
        return loam_tmpl_int(i);
    }
    case LOAM_JSON_REAL:
        f = 0;
        loam_json_number(v, &f);
        return fabs(f) >= 9.2e18 ? big_number(v, f) : loam_tmpl_float(f);
    case LOAM_JSON_STRING: {
        const char *p = loam_json_string(v, &n);
        return loam_tmpl_str((tmpl_str){p, n});
    }
    case LOAM_JSON_ARRAY: {
        tmpl_value *items = loam_tmpl_alloc(c, loam_json_count(v), sizeof *items);
        for (const loam_json_value *i = loam_json_first(v); i; i = loam_json_next(i))
            items[n++] = loam_tmpl_from_json(c, i);
        return loam_tmpl_list(TMPL_LIST, items, n);
    }
    case LOAM_JSON_OBJECT: break;
    }
    tmpl_dict *d = loam_tmpl_dict_new(c, loam_json_count(v));
    for (const loam_json_value *i = loam_json_first(v); i; i = loam_json_next(i)) {
        const char *key = loam_json_own_key(i, &n);
        loam_tmpl_dict_set(c, d, loam_tmpl_str((tmpl_str){key, n}), loam_tmpl_from_json(c, i));
    }
    return loam_tmpl_ref(TMPL_DICT, d);
}
