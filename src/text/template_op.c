/* template_op.c - operators, attributes, subscripts and slices, as Python and Jinja's sandbox do.
 *
 * A dot looks for an attribute first and for a key second, brackets the other way
 * round; methods that would change a value, and everything with two underscores,
 * give an undefined that complains when it is used.
 */
#include "text/template.h"
#include <math.h>

_Noreturn static void fail_operands(tmpl_ctx *c, const char *op, tmpl_value a, tmpl_value b) {
    loam_tmpl_fail(c, LOAM_ERR_FORMAT, "unsupported operand type(s) for %s: '%s' and '%s'", op,
                   loam_tmpl_type_name(a), loam_tmpl_type_name(b));
}

_Noreturn static void fail_overflow(tmpl_ctx *c) {
    loam_tmpl_fail(c, LOAM_ERR_LIMIT, "integer too large");
}

_Noreturn static void fail_zero(tmpl_ctx *c) {
    loam_tmpl_fail(c, LOAM_ERR_FORMAT, "division by zero");
}

/* ---- arithmetic ---- */

static tmpl_int floor_divide(tmpl_int a, tmpl_int b) {
    const tmpl_int q = a / b;
    return q - (a % b != 0 && (a < 0) != (b < 0));
}

static tmpl_value power_int(tmpl_ctx *c, tmpl_int a, tmpl_int n) {
    if (n < 0) {
        if (a == 0) fail_zero(c);
        return loam_tmpl_float(pow((double)a, (double)n));
    }
    tmpl_int out = 1;
    if (n > 128 && (a > 1 || a < -1)) fail_overflow(c);
    if (n > 128) n = 128 + n % 2; /* of -1, 0, 1 only whether it is odd matters */
    for (; n > 0; n--)
        if (__builtin_mul_overflow(out, a, &out)) fail_overflow(c);
    return loam_tmpl_int(out);
}

static tmpl_value arithmetic_int(tmpl_ctx *c, tmpl_op op, tmpl_int a, tmpl_int b) {
    tmpl_int out = 0;
    int over = 0;
    switch (op) {
    case TMPL_OP_ADD: over = __builtin_add_overflow(a, b, &out); break;
    case TMPL_OP_SUB: over = __builtin_sub_overflow(a, b, &out); break;
    case TMPL_OP_MUL: over = __builtin_mul_overflow(a, b, &out); break;
    case TMPL_OP_POW: return power_int(c, a, b);
    default:
        if (b == 0) fail_zero(c);
        if (op == TMPL_OP_DIV) return loam_tmpl_float((double)a / (double)b);
        if (b == -1) { /* the one quotient that can overflow */
            over = __builtin_sub_overflow(0, a, &out);
            if (op == TMPL_OP_MOD) return loam_tmpl_int(0);
            break;
        }
        out = op == TMPL_OP_FLOORDIV ? floor_divide(a, b) : a - floor_divide(a, b) * b;
    }
    if (over) fail_overflow(c);
    return loam_tmpl_int(out);
}

static double float_mod(double a, double b) {
    double m = fmod(a, b);
    if ((m < 0 || m > 0) && (b < 0) != (m < 0)) m += b;
    return m < 0 || m > 0 ? m : copysign(0.0, b);
}

static double float_floor_divide(double a, double b) {
    double m = fmod(a, b), q = (a - m) / b;
    if ((m < 0 || m > 0) && (b < 0) != (m < 0)) q -= 1;
    if (!(q < 0 || q > 0)) return copysign(0.0, a / b);
    const double f = floor(q);
    return q - f > 0.5 ? f + 1 : f;
}

static tmpl_value arithmetic_float(tmpl_ctx *c, tmpl_op op, double a, double b) {
    const int zero = !(b < 0 || b > 0 || isnan(b));
    switch (op) {
    case TMPL_OP_ADD: return loam_tmpl_float(a + b);
    case TMPL_OP_SUB: return loam_tmpl_float(a - b);
    case TMPL_OP_MUL: return loam_tmpl_float(a * b);
    case TMPL_OP_POW: {
        if (!(a < 0 || a > 0 || isnan(a)) && b < 0) fail_zero(c);
        const double r = pow(a, b);
        if (isinf(r) && !isinf(a) && !isinf(b))
            loam_tmpl_fail(c, LOAM_ERR_LIMIT, "Numerical result out of range");
        if (isnan(r) && !isnan(a) && !isnan(b))
            loam_tmpl_fail(c, LOAM_ERR_UNSUPPORTED, "complex number");
        return loam_tmpl_float(r);
    }
    default:
        if (zero) fail_zero(c);
        return loam_tmpl_float(op == TMPL_OP_DIV   ? a / b
                               : op == TMPL_OP_MOD ? float_mod(a, b)
                                                   : float_floor_divide(a, b));
    }
}

static tmpl_value repeat(tmpl_ctx *c, tmpl_value v, tmpl_value by) {
    const int64_t times = loam_tmpl_index(c, by);
    if (v.type == TMPL_STR) {
        tmpl_buf b = loam_tmpl_buf(c);
        loam_tmpl_put_fill(&b, v.as.s, times);
        tmpl_value out = loam_tmpl_take(&b);
        out.flags = v.flags;
        return out;
    }
    size_t n = 0, count;
    if (times > 0 && !loam_mul(v.as.l.n, (size_t)times, &n))
        loam_tmpl_fail(c, LOAM_ERR_LIMIT, "list too long");
    loam_tmpl_step(c, n > TMPL_MAX_OUTPUT ? TMPL_MAX_OUTPUT : n);
    tmpl_value *items = loam_tmpl_alloc(c, n, sizeof *items);
    for (count = 0; count < n; count += v.as.l.n)
        memcpy(items + count, v.as.l.items, v.as.l.n * sizeof *items);
    return loam_tmpl_list((tmpl_type)v.type, items, n);
}

static tmpl_value add_str(tmpl_ctx *c, tmpl_value a, tmpl_value b) {
    if ((a.flags | b.flags) & TMPL_SAFE) { /* markup escapes what joins it */
        a = loam_tmpl_escape(c, a);
        b = loam_tmpl_escape(c, b);
    }
    return loam_tmpl_concat_str(c, a, b.as.s);
}

static int repeats(tmpl_value v) {
    return v.type == TMPL_STR || v.type == TMPL_LIST || v.type == TMPL_TUPLE;
}

tmpl_value loam_tmpl_binary(tmpl_ctx *c, tmpl_op op, tmpl_value a, tmpl_value b) {
    static const char *const SIGNS[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
    tmpl_int i, j;
    double x, y;
    loam_tmpl_step(c, 0);
    if (op == TMPL_OP_MOD && a.type == TMPL_STR) return loam_tmpl_percent(c, a, b);
    if (a.type == TMPL_UNDEFINED) loam_tmpl_fail_undefined(c, a);
    if (b.type == TMPL_UNDEFINED) loam_tmpl_fail_undefined(c, b);
    if (loam_tmpl_is_int(a, &i) && loam_tmpl_is_int(b, &j)) return arithmetic_int(c, op, i, j);
    if (loam_tmpl_is_number(a, &x) && loam_tmpl_is_number(b, &y))
        return arithmetic_float(c, op, x, y);
    if (op == TMPL_OP_MUL && repeats(a) && loam_tmpl_is_int(b, &i)) return repeat(c, a, b);
    if (op == TMPL_OP_MUL && repeats(b) && loam_tmpl_is_int(a, &i)) return repeat(c, b, a);
    if (op != TMPL_OP_ADD) fail_operands(c, SIGNS[op], a, b);
    if (a.type == b.type && a.type == TMPL_STR) return add_str(c, a, b);
    if (a.type == b.type && (a.type == TMPL_LIST || a.type == TMPL_TUPLE))
        return loam_tmpl_concat_list(c, a, b);
    if (a.type == TMPL_STR || a.type == TMPL_LIST || a.type == TMPL_TUPLE)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "can only concatenate %s (not \"%s\") to %s",
                       loam_tmpl_type_name(a), loam_tmpl_type_name(b), loam_tmpl_type_name(a));
    fail_operands(c, "+", a, b);
}

tmpl_value loam_tmpl_negate(tmpl_ctx *c, tmpl_value v) {
    tmpl_int i;
    if (v.type == TMPL_UNDEFINED) loam_tmpl_fail_undefined(c, v);
    if (v.type == TMPL_FLOAT) return loam_tmpl_float(-v.as.f);
    if (!loam_tmpl_is_int(v, &i))
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "bad operand type for unary -: '%s'",
                       loam_tmpl_type_name(v));
    if (__builtin_sub_overflow(0, i, &i)) fail_overflow(c);
    return loam_tmpl_int(i);
}

int loam_tmpl_compare(tmpl_ctx *c, tmpl_op op, tmpl_value a, tmpl_value b) {
    loam_tmpl_step(c, 0);
    switch (op) {
    case TMPL_OP_EQ: return loam_tmpl_equal(c, a, b);
    case TMPL_OP_NE: return !loam_tmpl_equal(c, a, b);
    case TMPL_OP_IN: return loam_tmpl_contains(c, a, b);
    case TMPL_OP_NOT_IN: return !loam_tmpl_contains(c, a, b);
    default: return loam_tmpl_order(c, op, a, b);
    }
}

/* ---- attributes ---- */

static int find_loop_attr(tmpl_ctx *c, tmpl_loop *l, tmpl_str name, tmpl_value *out) {
    const tmpl_int at = (tmpl_int)l->at;
    if (loam_tmpl_is(name, "index"))
        *out = loam_tmpl_int(at + 1);
    else if (loam_tmpl_is(name, "index0"))
        *out = loam_tmpl_int(at);
    else if (loam_tmpl_is(name, "first"))
        *out = loam_tmpl_bool(at == 0);
    else if (loam_tmpl_is(name, "last"))
        *out = loam_tmpl_bool(!loam_tmpl_loop_fill(c, l, l->at + 1));
    else if (loam_tmpl_is(name, "depth"))
        *out = loam_tmpl_int(l->depth0 + 1);
    else if (loam_tmpl_is(name, "depth0"))
        *out = loam_tmpl_int(l->depth0);
    else if (loam_tmpl_is(name, "previtem"))
        *out = at ? l->items[at - 1] : loam_tmpl_undefined_hint(c, "there is no previous item");
    else if (loam_tmpl_is(name, "nextitem"))
        *out = loam_tmpl_loop_fill(c, l, l->at + 1)
                   ? l->items[at + 1]
                   : loam_tmpl_undefined_hint(c, "there is no next item");
    else {
        const int length = loam_tmpl_is(name, "length"), rev = loam_tmpl_is(name, "revindex");
        if (!length && !rev && !loam_tmpl_is(name, "revindex0")) return 0;
        loam_tmpl_loop_fill(c, l, SIZE_MAX);
        *out = loam_tmpl_int((tmpl_int)l->n - (length ? 0 : at + !rev));
    }
    return 1;
}

static int find_macro_attr(tmpl_ctx *c, const tmpl_macro *m, tmpl_str name, tmpl_value *out) {
    const tmpl_node *n = m->node;
    if (loam_tmpl_is(name, "name"))
        *out = loam_tmpl_str(n->name);
    else if (loam_tmpl_is(name, "caller"))
        *out = loam_tmpl_bool(n->flags & TMPL_USES_CALLER);
    else if (loam_tmpl_is(name, "catch_kwargs"))
        *out = loam_tmpl_bool(n->flags & TMPL_USES_KWARGS);
    else if (loam_tmpl_is(name, "catch_varargs"))
        *out = loam_tmpl_bool(n->flags & TMPL_USES_VARARGS);
    else if (loam_tmpl_is(name, "arguments")) {
        tmpl_value *items = loam_tmpl_alloc(c, n->n_params, sizeof *items);
        for (size_t i = 0; i < n->n_params; i++) items[i] = loam_tmpl_str(n->params[i]);
        *out = loam_tmpl_list(TMPL_TUPLE, items, n->n_params);
    } else {
        return 0;
    }
    return 1;
}

/* Attributes that are values, not methods. */
static int find_value_attr(tmpl_ctx *c, tmpl_value v, tmpl_str name, tmpl_value *out) {
    if (v.type == TMPL_LOOP) return find_loop_attr(c, v.ref, name, out);
    if (v.type == TMPL_MACRO) return find_macro_attr(c, v.ref, name, out);
    if (v.type == TMPL_TUPLE && (v.flags & TMPL_GROUP)) {
        const int list = loam_tmpl_is(name, "list");
        if (!list && !loam_tmpl_is(name, "grouper")) return 0;
        *out = v.as.l.items[list];
        return 1;
    }
    if (v.type == TMPL_NAMESPACE) {
        const tmpl_value *found = loam_tmpl_dict_get(c, v.ref, loam_tmpl_str(name));
        if (found) *out = *found;
        return found != NULL;
    }
    if (v.type == TMPL_CYCLER && loam_tmpl_is(name, "current")) {
        const tmpl_cycler *k = v.ref;
        *out = k->items[k->at];
        return 1;
    }
    if (v.type == TMPL_FUNCTION && loam_tmpl_is(name, "fromkeys") && strcmp(v.ref, "dict") == 0) {
        static char from_keys[] = "dict.fromkeys";
        *out = loam_tmpl_ref(TMPL_FUNCTION, from_keys);
        return 1;
    }
    if (v.type == TMPL_SELF) {
        const tmpl_node *block = loam_tmpl_find_block(c->tree, name);
        if (!block) return 0;
        const tmpl_node **ref = loam_tmpl_alloc(c, 1, sizeof *ref);
        *ref = block;
        *out = loam_tmpl_ref(TMPL_BLOCK, ref);
        return 1;
    }
    if (v.type == TMPL_INT || v.type == TMPL_BOOL || v.type == TMPL_FLOAT) {
        tmpl_int i = 0;
        if (loam_tmpl_is(name, "real"))
            *out = loam_tmpl_is_int(v, &i) ? loam_tmpl_int(i) : v;
        else if (loam_tmpl_is(name, "imag"))
            *out = v.type == TMPL_FLOAT ? loam_tmpl_float(0) : loam_tmpl_int(0);
        else if (loam_tmpl_is(name, "numerator") && loam_tmpl_is_int(v, &i))
            *out = loam_tmpl_int(i);
        else if (loam_tmpl_is(name, "denominator") && loam_tmpl_is_int(v, &i))
            *out = loam_tmpl_int(1);
        else
            return 0;
        return 1;
    }
    return 0;
}

/* Names that every Python object has. */
static int is_dunder(tmpl_str s) {
    static const char *const KNOWN[] = {"class",
                                        "doc",
                                        "dir",
                                        "eq",
                                        "ne",
                                        "lt",
                                        "le",
                                        "gt",
                                        "ge",
                                        "hash",
                                        "init",
                                        "new",
                                        "repr",
                                        "str",
                                        "reduce",
                                        "reduce_ex",
                                        "setattr",
                                        "getattribute",
                                        "delattr",
                                        "sizeof",
                                        "format",
                                        "subclasshook",
                                        "init_subclass",
                                        "getstate",
                                        "len",
                                        "iter",
                                        "getitem",
                                        "contains",
                                        "add",
                                        "mul",
                                        "rmul",
                                        "mod",
                                        "rmod",
                                        "dict",
                                        "module",
                                        "bool",
                                        "int",
                                        "float",
                                        "index",
                                        "call",
                                        "self",
                                        "name",
                                        "qualname",
                                        "setitem",
                                        "delitem",
                                        "reversed",
                                        "or",
                                        "ror",
                                        "ior",
                                        "iadd",
                                        "imul",
                                        "class_getitem",
                                        "next",
                                        "globals",
                                        "code",
                                        "builtins",
                                        "closure",
                                        "defaults",
                                        "annotations"};
    if (s.n < 5 || memcmp(s.p, "__", 2) != 0 || memcmp(s.p + s.n - 2, "__", 2) != 0) return 0;
    const tmpl_str inner = {s.p + 2, s.n - 4};
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (loam_tmpl_is(inner, KNOWN[i])) return 1;
    return 0;
}

/* getattr of the sandbox: 1 and the value (or an undefined that says it is unsafe), or 0. */
static int find_attr(tmpl_ctx *c, tmpl_value v, tmpl_str name, tmpl_value *out) {
    const char *known;
    if (find_value_attr(c, v, name, out)) return 1;
    const tmpl_found found = loam_tmpl_find_method(v, name, &known);
    if (found == TMPL_UNSAFE_ATTR || is_dunder(name)) {
        *out = loam_tmpl_unsafe(c, v, name);
        return 1;
    }
    if (found == TMPL_NO_ATTR) return 0;
    tmpl_method *m = loam_tmpl_alloc(c, 1, sizeof *m);
    *m = (tmpl_method){v, known};
    *out = loam_tmpl_ref(TMPL_METHOD, m);
    return 1;
}

tmpl_value loam_tmpl_attr(tmpl_ctx *c, tmpl_value v, tmpl_str name) {
    tmpl_value out;
    if (v.type == TMPL_UNDEFINED && !is_dunder(name)) loam_tmpl_fail_undefined(c, v);
    if (find_attr(c, v, name, &out)) return out;
    if (v.type == TMPL_DICT) {
        const tmpl_value *found = loam_tmpl_dict_get(c, v.ref, loam_tmpl_str(name));
        if (found) return *found;
    }
    return loam_tmpl_undefined_attr(c, v, loam_tmpl_str(name));
}

/* ---- subscripts ---- */

static int is_hashable(tmpl_value v) {
    if (v.type == TMPL_LIST || v.type == TMPL_DICT) return 0;
    for (size_t i = 0; v.type == TMPL_TUPLE && i < v.as.l.n; i++)
        if (!is_hashable(v.as.l.items[i])) return 0;
    return 1;
}

static tmpl_value rune_at(tmpl_str s, size_t i) {
    const size_t from = loam_tmpl_offset(s, i);
    const tmpl_str rest = {s.p + from, s.n - from};
    return loam_tmpl_str((tmpl_str){rest.p, loam_tmpl_offset(rest, 1)});
}

static int find_index(tmpl_ctx *c, tmpl_value v, tmpl_value key, tmpl_value *out) {
    tmpl_int i;
    if (!loam_tmpl_is_int(key, &i)) return 0;
    if (v.type != TMPL_STR && v.type != TMPL_BYTES && v.type != TMPL_LIST && v.type != TMPL_TUPLE &&
        v.type != TMPL_RANGE)
        return 0;
    const int64_t n = loam_tmpl_length(c, v);
    if (i < 0) i += n;
    if (i < 0 || i >= n) return 0;
    if (v.type == TMPL_STR)
        *out = rune_at(v.as.s, (size_t)i);
    else if (v.type == TMPL_BYTES)
        *out = loam_tmpl_int((unsigned char)v.as.s.p[i]);
    else if (v.type == TMPL_RANGE) {
        const tmpl_range *r = v.ref;
        *out = loam_tmpl_int(r->start + r->step * i);
    } else
        *out = v.as.l.items[i];
    return 1;
}

tmpl_value loam_tmpl_item(tmpl_ctx *c, tmpl_value v, tmpl_value key) {
    tmpl_value out;
    if (v.type == TMPL_UNDEFINED) loam_tmpl_fail_undefined(c, v);
    if (v.type == TMPL_DICT && is_hashable(key)) {
        const tmpl_value *found = loam_tmpl_dict_get(c, v.ref, key);
        if (found) return *found;
    }
    if (find_index(c, v, key, &out)) return out;
    if (key.type == TMPL_STR && find_attr(c, v, key.as.s, &out)) return out;
    return loam_tmpl_undefined_attr(c, v, key);
}

/* Python's slice.indices for a sequence of n; returns how many items that are. */
static size_t slice_bounds(tmpl_ctx *c, const tmpl_value b[3], int64_t n, int64_t *start,
                           int64_t *stop, int64_t *step) {
    *step = b[2].type == TMPL_NONE ? 1 : loam_tmpl_index(c, b[2]);
    if (*step == 0) loam_tmpl_fail(c, LOAM_ERR_FORMAT, "slice step cannot be zero");
    const int64_t low = *step < 0 ? -1 : 0, high = *step < 0 ? n - 1 : n;
    int64_t at[2];
    for (int i = 0; i < 2; i++) {
        if (b[i].type == TMPL_NONE) {
            at[i] = (*step < 0) == (i == 0) ? high : low;
            continue;
        }
        at[i] = loam_tmpl_index(c, b[i]);
        if (at[i] < 0) at[i] += n;
        at[i] = at[i] < low ? low : at[i] > high ? high : at[i];
    }
    *start = at[0];
    *stop = at[1];
    const int64_t span = *step > 0 ? at[1] - at[0] : at[0] - at[1];
    const int64_t by = *step > 0 ? *step : -*step;
    return span > 0 ? (size_t)((span - 1) / by + 1) : 0;
}

static tmpl_value slice_str(tmpl_ctx *c, tmpl_value v, int64_t start, int64_t step, size_t n) {
    tmpl_value out = v;
    out.ref = NULL;
    if (n == 0 || step == 1) {
        const size_t from = loam_tmpl_offset(v.as.s, (size_t)(n ? start : 0));
        const tmpl_str rest = {v.as.s.p + from, v.as.s.n - from};
        out.as.s = (tmpl_str){rest.p, loam_tmpl_offset(rest, n)};
        return out;
    }
    size_t n_runes;
    const tmpl_value *runes = loam_tmpl_items(c, v, &n_runes);
    tmpl_buf b = loam_tmpl_buf(c);
    for (size_t i = 0; i < n; i++) {
        const tmpl_str s = runes[start + (int64_t)i * step].as.s;
        loam_tmpl_put(&b, s.p, s.n);
    }
    out = loam_tmpl_take(&b);
    out.flags = v.flags;
    return out;
}

tmpl_value loam_tmpl_slice(tmpl_ctx *c, tmpl_value v, const tmpl_value bounds[3]) {
    int64_t start, stop, step;
    if (v.type == TMPL_UNDEFINED) loam_tmpl_fail_undefined(c, v);
    if (v.type != TMPL_STR && v.type != TMPL_BYTES && v.type != TMPL_LIST && v.type != TMPL_TUPLE &&
        v.type != TMPL_RANGE)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "'%s' object cannot be sliced", loam_tmpl_type_name(v));
    const size_t n = slice_bounds(c, bounds, loam_tmpl_length(c, v), &start, &stop, &step);
    loam_tmpl_step(c, n);
    if (v.type == TMPL_STR) return slice_str(c, v, start, step, n);
    if (v.type == TMPL_RANGE) {
        const tmpl_range *r = v.ref;
        tmpl_range *out = loam_tmpl_alloc(c, 1, sizeof *out);
        const int64_t first = r->start + start * r->step, by = r->step * step;
        *out = (tmpl_range){first, r->start + stop * r->step, by, n};
        return loam_tmpl_ref(TMPL_RANGE, out);
    }
    if (v.type == TMPL_BYTES) {
        char *p = loam_tmpl_alloc(c, n, 1);
        for (size_t i = 0; i < n; i++) p[i] = v.as.s.p[start + (int64_t)i * step];
        v.as.s = (tmpl_str){p, n};
        return v;
    }
    if (step == 1 || n == 0)
        return loam_tmpl_list((tmpl_type)v.type, n ? v.as.l.items + start : NULL, n);
    tmpl_value *items = loam_tmpl_alloc(c, n, sizeof *items);
    for (size_t i = 0; i < n; i++) items[i] = v.as.l.items[start + (int64_t)i * step];
    return loam_tmpl_list((tmpl_type)v.type, items, n);
}
