/* template_call.c - arguments, callable values and the global functions. */
#include "text/template.h"
#include <stdio.h>
#include <time.h>

/* ---- arguments ---- */

int loam_tmpl_given(tmpl_value v) {
    return v.type != TMPL_UNDEFINED || v.ref != NULL;
}

/* Index of a name in "a,b,c", or how many there are. */
static size_t find_param(const char *params, tmpl_str name, tmpl_str *at_i, size_t want) {
    size_t i = 0;
    for (const char *p = params; *p; i++) {
        const char *end = strchr(p, ',');
        const size_t n = end ? (size_t)(end - p) : strlen(p);
        if (at_i && i == want) *at_i = (tmpl_str){p, n};
        if (!at_i && loam_tmpl_same((tmpl_str){p, n}, name)) return i;
        p += n + (end != NULL);
    }
    return i;
}

void loam_tmpl_bind(tmpl_ctx *c, const char *what, const char *params, size_t required,
                    const tmpl_args *a, tmpl_value *out) {
    const size_t n = find_param(params, (tmpl_str){NULL, SIZE_MAX}, NULL, 0);
    for (size_t i = 0; i < n; i++) out[i] = (tmpl_value){.type = TMPL_UNDEFINED};
    if (a->n > n)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "%s takes at most %zu arguments (%zu given)", what, n,
                       a->n);
    for (size_t i = 0; i < a->n; i++) out[i] = a->pos[i];
    for (size_t i = 0; i < a->n_named; i++) {
        const size_t at = find_param(params, a->names[i], NULL, 0);
        const int len = (int)a->names[i].n;
        if (at == n)
            loam_tmpl_fail(c, LOAM_ERR_FORMAT, "%s got an unexpected keyword argument '%.*s'", what,
                           len, a->names[i].p);
        if (loam_tmpl_given(out[at]))
            loam_tmpl_fail(c, LOAM_ERR_FORMAT, "%s got multiple values for argument '%.*s'", what,
                           len, a->names[i].p);
        out[at] = a->named[i];
    }
    for (size_t i = 0; i < required; i++) {
        tmpl_str name = {"", 0};
        if (loam_tmpl_given(out[i])) continue;
        find_param(params, name, &name, i);
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "%s missing 1 required argument: '%.*s'", what,
                       (int)name.n, name.p);
    }
}

void loam_tmpl_args(tmpl_ctx *c, const tmpl_call *k, tmpl_args *out) {
    *out = (tmpl_args){0};
    if (!k) return;
    size_t n_star = 0;
    const tmpl_value *star = NULL;
    tmpl_value *pos = loam_tmpl_alloc(c, k->n, sizeof *pos);
    tmpl_value *named = loam_tmpl_alloc(c, k->n_named, sizeof *named);
    const tmpl_str *names = k->names;
    size_t n = k->n, n_named = k->n_named;
    for (size_t i = 0; i < n; i++) pos[i] = loam_tmpl_eval(c, k->pos[i]);
    for (size_t i = 0; i < n_named; i++) named[i] = loam_tmpl_eval(c, k->named[i]);
    if (k->star) {
        star = loam_tmpl_items(c, loam_tmpl_eval(c, k->star), &n_star);
        tmpl_value *more = loam_tmpl_alloc(c, n + n_star, sizeof *more);
        if (n) memcpy(more, pos, n * sizeof *more);
        if (n_star) memcpy(more + n, star, n_star * sizeof *more);
        pos = more;
        n += n_star;
    }
    if (k->star_star) {
        const tmpl_value v = loam_tmpl_eval(c, k->star_star);
        if (v.type != TMPL_DICT)
            loam_tmpl_fail(c, LOAM_ERR_FORMAT, "argument after ** must be a mapping, not %s",
                           loam_tmpl_type_name(v));
        const tmpl_dict *d = v.ref;
        tmpl_value *more = loam_tmpl_alloc(c, n_named + d->n, sizeof *more);
        tmpl_str *more_names = loam_tmpl_alloc(c, n_named + d->n, sizeof *more_names);
        if (n_named) {
            memcpy(more, named, n_named * sizeof *more);
            memcpy(more_names, names, n_named * sizeof *more_names);
        }
        for (size_t i = 0; i < d->n; i++) {
            more_names[n_named] = loam_tmpl_need_str(c, d->entries[i].key);
            more[n_named++] = d->entries[i].value;
        }
        named = more;
        names = more_names;
    }
    *out = (tmpl_args){pos, n, names, named, n_named};
}

/* ---- global functions ---- */

static tmpl_value call_range(tmpl_ctx *c, const tmpl_args *a) {
    tmpl_value v[3];
    loam_tmpl_bind(c, "range()", "start,stop,step", 1, a, v);
    tmpl_range *r = loam_tmpl_alloc(c, 1, sizeof *r);
    r->start = loam_tmpl_given(v[1]) ? loam_tmpl_index(c, v[0]) : 0;
    r->stop = loam_tmpl_index(c, loam_tmpl_given(v[1]) ? v[1] : v[0]);
    r->step = loam_tmpl_given(v[2]) ? loam_tmpl_index(c, v[2]) : 1;
    if (r->step == 0) loam_tmpl_fail(c, LOAM_ERR_FORMAT, "range() arg 3 must not be zero");
    const int64_t span = r->step > 0 ? r->stop - r->start : r->start - r->stop;
    const int64_t by = r->step > 0 ? r->step : -r->step;
    r->n = span > 0 ? (size_t)((span - 1) / by + 1) : 0;
    if (r->n > TMPL_MAX_RANGE)
        loam_tmpl_fail(c, LOAM_ERR_LIMIT,
                       "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
                       TMPL_MAX_RANGE);
    return loam_tmpl_ref(TMPL_RANGE, r);
}

static void add_pairs(tmpl_ctx *c, tmpl_dict *d, tmpl_value from) {
    size_t n, two;
    if (from.type == TMPL_DICT || from.type == TMPL_NAMESPACE) {
        const tmpl_dict *other = from.ref;
        for (size_t i = 0; i < other->n; i++)
            loam_tmpl_dict_set(c, d, other->entries[i].key, other->entries[i].value);
        return;
    }
    const tmpl_value *items = loam_tmpl_items(c, from, &n);
    for (size_t i = 0; i < n; i++) {
        const tmpl_value *pair = loam_tmpl_items(c, items[i], &two);
        if (two != 2)
            loam_tmpl_fail(c, LOAM_ERR_FORMAT,
                           "dictionary update sequence element #%zu has length %zu; 2 is required",
                           i, two);
        loam_tmpl_dict_set(c, d, pair[0], pair[1]);
    }
}

static tmpl_dict *make_dict(tmpl_ctx *c, const tmpl_args *a) {
    tmpl_dict *d = loam_tmpl_dict_new(c, a->n_named);
    if (a->n > 1)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "dict expected at most 1 argument, got %zu", a->n);
    if (a->n) add_pairs(c, d, a->pos[0]);
    for (size_t i = 0; i < a->n_named; i++)
        loam_tmpl_dict_set(c, d, loam_tmpl_str(a->names[i]), a->named[i]);
    return d;
}

static tmpl_value call_dict(tmpl_ctx *c, const tmpl_args *a) {
    return loam_tmpl_ref(TMPL_DICT, make_dict(c, a));
}

static tmpl_value call_from_keys(tmpl_ctx *c, const tmpl_args *a) {
    tmpl_value v[2];
    size_t n;
    loam_tmpl_bind(c, "fromkeys()", "iterable,value", 1, a, v);
    const tmpl_value *keys = loam_tmpl_items(c, v[0], &n);
    tmpl_dict *d = loam_tmpl_dict_new(c, n);
    for (size_t i = 0; i < n; i++)
        loam_tmpl_dict_set(c, d, keys[i], loam_tmpl_given(v[1]) ? v[1] : loam_tmpl_none());
    return loam_tmpl_ref(TMPL_DICT, d);
}

static tmpl_value call_namespace(tmpl_ctx *c, const tmpl_args *a) {
    tmpl_dict *d = make_dict(c, a);
    for (size_t i = 0; i < d->n; i++) {
        const tmpl_value k = d->entries[i].key;
        if (k.type == TMPL_STR && k.as.s.n && k.as.s.p[0] == '_')
            loam_tmpl_fail(c, LOAM_ERR_FORMAT,
                           "Chat templates cannot store underscore-prefixed attributes on a "
                           "namespace, but got '%.*s'. Please rename the attribute.",
                           (int)k.as.s.n, k.as.s.p);
    }
    return loam_tmpl_ref(TMPL_NAMESPACE, d);
}

static tmpl_value call_raise(tmpl_ctx *c, const tmpl_args *a) {
    tmpl_value v[1];
    loam_tmpl_bind(c, "raise_exception()", "message", 1, a, v);
    loam_tmpl_raise(c, loam_tmpl_to_str(c, v[0]));
}

/* Python's strftime of a time without zone: %f is its own, %z and %Z are empty. */
static tmpl_value call_strftime(tmpl_ctx *c, const tmpl_args *a) {
    tmpl_value v[1];
    loam_tmpl_bind(c, "strftime_now()", "format", 1, a, v);
    const tmpl_str f = loam_tmpl_need_str(c, v[0]);
    tmpl_buf out = loam_tmpl_buf(c);
    const time_t now = (time_t)c->now;
    struct tm tm = {0};
    if (c->utc ? !gmtime_r(&now, &tm) : !localtime_r(&now, &tm))
        loam_tmpl_fail(c, LOAM_ERR_ARGUMENT, "time out of range");
    for (size_t i = 0; i < f.n; i++) {
        char spec[8] = "%", text[256];
        if (f.p[i] != '%') {
            loam_tmpl_put(&out, f.p + i, 1);
            continue;
        }
        size_t n = 1;
        while (++i < f.n && n < 6 && strchr("-_0^#EO", f.p[i]) && f.p[i]) spec[n++] = f.p[i];
        if (i >= f.n) {
            loam_tmpl_puts(&out, spec);
            break;
        }
        if (f.p[i] == 'z' || f.p[i] == 'Z') continue;
        if (f.p[i] == 'f') {
            loam_tmpl_puts(&out, "000000");
            continue;
        }
        spec[n++] = f.p[i];
        if ((unsigned char)f.p[i] >= 0x80 || !f.p[i]) {
            loam_tmpl_put(&out, spec, n);
            continue;
        }
        spec[n] = 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        loam_tmpl_put(&out, text, strftime(text, sizeof text, spec, &tm));
#pragma GCC diagnostic pop
    }
    return loam_tmpl_take(&out);
}

static tmpl_value call_lipsum(tmpl_ctx *c, const tmpl_args *a) {
    (void)c;
    (void)a;
    return loam_tmpl_strz("Lorem ipsum dolor sit amet, consectetur adipiscing elit.");
}

static tmpl_value call_cycler(tmpl_ctx *c, const tmpl_args *a) {
    if (a->n == 0) loam_tmpl_fail(c, LOAM_ERR_FORMAT, "at least one item has to be provided");
    tmpl_cycler *k = loam_tmpl_alloc(c, 1, sizeof *k);
    *k = (tmpl_cycler){a->pos, a->n, 0};
    return loam_tmpl_ref(TMPL_CYCLER, k);
}

static tmpl_value call_joiner(tmpl_ctx *c, const tmpl_args *a) {
    tmpl_value v[1];
    loam_tmpl_bind(c, "joiner()", "sep", 0, a, v);
    tmpl_joiner *j = loam_tmpl_alloc(c, 1, sizeof *j);
    j->sep = loam_tmpl_given(v[0]) ? v[0] : loam_tmpl_strz(", ");
    return loam_tmpl_ref(TMPL_JOINER, j);
}

static const struct {
    char name[20];
    tmpl_value (*call)(tmpl_ctx *c, const tmpl_args *a);
} FUNCTIONS[] = {{"range", call_range},
                 {"dict", call_dict},
                 {"namespace", call_namespace},
                 {"raise_exception", call_raise},
                 {"strftime_now", call_strftime},
                 {"lipsum", call_lipsum},
                 {"cycler", call_cycler},
                 {"joiner", call_joiner},
                 {"dict.fromkeys", call_from_keys}};

int loam_tmpl_global(tmpl_str name, tmpl_value *out) {
    if (loam_tmpl_is(name, "self")) {
        *out = loam_tmpl_ref(TMPL_SELF, NULL);
        return 1;
    }
    for (size_t i = 0; i + 1 < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++) {
        if (!loam_tmpl_is(name, FUNCTIONS[i].name)) continue;
        /* the name is only read; ref is shared with types that are written */
        *out = (tmpl_value){.type = TMPL_FUNCTION};
        memcpy(&out->ref, &(const char *){FUNCTIONS[i].name}, sizeof out->ref);
        return 1;
    }
    return 0;
}

tmpl_value loam_tmpl_call_function(tmpl_ctx *c, const char *name, const tmpl_args *a) {
    for (size_t i = 0; i < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++)
        if (strcmp(FUNCTIONS[i].name, name) == 0) return FUNCTIONS[i].call(c, a);
    loam_tmpl_fail(c, LOAM_ERR_FORMAT, "'%s' is not callable", name);
}

/* ---- calling a value ---- */

static tmpl_value call_loop(tmpl_ctx *c, tmpl_loop *l, const tmpl_args *a) {
    tmpl_value v[1] = {{0}};
    loam_tmpl_bind(c, "loop()", "iterable", 1, a, v);
    if (!l->node->op)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT,
                       "The loop must have the 'recursive' marker to be called recursively.");
    return loam_tmpl_run_loop(c, l->node, l->frame, v[0], l->depth0 + 1);
}

tmpl_value loam_tmpl_call_value(tmpl_ctx *c, tmpl_value f, const tmpl_args *a) {
    loam_tmpl_step(c, a->n);
    switch (f.type) {
    case TMPL_UNDEFINED: loam_tmpl_fail_undefined(c, f);
    case TMPL_FUNCTION: return loam_tmpl_call_function(c, f.ref, a);
    case TMPL_METHOD: return loam_tmpl_call_method(c, f.ref, a);
    case TMPL_MACRO: return loam_tmpl_call_macro(c, f.ref, a);
    case TMPL_LOOP: return call_loop(c, f.ref, a);
    case TMPL_BLOCK: return loam_tmpl_run_block(c, *(const tmpl_node *const *)f.ref);
    case TMPL_JOINER: {
        tmpl_joiner *j = f.ref;
        const int used = j->used;
        j->used = 1;
        return used ? j->sep : loam_tmpl_strz("");
    }
    default:
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "'%s' object is not callable", loam_tmpl_type_name(f));
    }
}
