/* template_sequence.c - filters on sequences: choosing, sorting, grouping, joining.
 *
 * Where Jinja gives a generator, these give an iterator that is already computed
 * and, like it, can be read once.
 */
#include "text/template.h"

/* ---- attribute paths: "a.b.0" ---- */

static tmpl_value path_part(tmpl_str s) {
    tmpl_int v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || i > 17) return loam_tmpl_str(s);
        v = v * 10 + (s.p[i] - '0');
    }
    return s.n ? loam_tmpl_int(v) : loam_tmpl_str(s);
}

/* The item's attribute by path; `fallback` where it is undefined (when given). */
static tmpl_value get_path(tmpl_ctx *c, tmpl_value item, tmpl_value path, tmpl_value fallback) {
    const int with = loam_tmpl_given(fallback) && fallback.type != TMPL_NONE;
    if (!loam_tmpl_given(path) || path.type == TMPL_NONE) return item;
    if (path.type != TMPL_STR) {
        item = loam_tmpl_item(c, item, path);
        return with && item.type == TMPL_UNDEFINED ? fallback : item;
    }
    for (tmpl_str rest = path.as.s;;) {
        const char *dot = memchr(rest.p, '.', rest.n);
        const size_t n = dot ? (size_t)(dot - rest.p) : rest.n;
        item = loam_tmpl_item(c, item, path_part((tmpl_str){rest.p, n}));
        if (with && item.type == TMPL_UNDEFINED) item = fallback;
        if (!dot) return item;
        rest = (tmpl_str){dot + 1, rest.n - n - 1};
    }
}

static tmpl_value ignore_case(tmpl_ctx *c, tmpl_value v) {
    return v.type == TMPL_STR ? loam_tmpl_recase(c, v.as.s, TMPL_LOWER) : v;
}

static int is_set(tmpl_ctx *c, tmpl_value v) {
    return loam_tmpl_given(v) && loam_tmpl_truth(c, v);
}

static const tmpl_value NOT_GIVEN = {.type = TMPL_UNDEFINED};

/* Keys to sort or compare by: each item's attribute, in lower case unless told otherwise. */
static tmpl_value *make_keys(tmpl_ctx *c, const tmpl_value *items, size_t n, tmpl_value attribute,
                             tmpl_value fallback, int case_sensitive) {
    tmpl_value *keys = loam_tmpl_alloc(c, n, sizeof *keys);
    for (size_t i = 0; i < n; i++) {
        keys[i] = get_path(c, items[i], attribute, fallback);
        if (!case_sensitive) keys[i] = ignore_case(c, keys[i]);
    }
    return keys;
}

static tmpl_value *copy_items(tmpl_ctx *c, const tmpl_value *items, size_t n) {
    tmpl_value *out = loam_tmpl_alloc(c, n, sizeof *out);
    if (n) memcpy(out, items, n * sizeof *out);
    return out;
}

/* ---- ends, lengths, lists ---- */

static tmpl_value filter_length(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    loam_tmpl_bind(c, "length", "", 0, a, NULL);
    return loam_tmpl_int(loam_tmpl_length(c, v));
}

static tmpl_value filter_first(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    size_t n;
    loam_tmpl_bind(c, "first", "", 0, a, NULL);
    if (v.type == TMPL_ITER) {
        tmpl_iter *it = v.ref;
        if (it->at < it->n) return it->items[it->at++];
    }
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    return n ? items[0] : loam_tmpl_undefined_hint(c, "No first item, sequence was empty.");
}

static tmpl_value filter_last(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    size_t n;
    loam_tmpl_bind(c, "last", "", 0, a, NULL);
    if (v.type == TMPL_ITER)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "'generator' object is not reversible");
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    return n ? items[n - 1] : loam_tmpl_undefined_hint(c, "No last item, sequence was empty.");
}

static tmpl_value filter_random(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    size_t n;
    loam_tmpl_bind(c, "random", "", 0, a, NULL);
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    if (!n) return loam_tmpl_undefined_hint(c, "No random item, sequence was empty.");
    return items[loam_hash(&c->steps, sizeof c->steps, (uint64_t)c->now) % n];
}

static tmpl_value filter_list(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    size_t n;
    loam_tmpl_bind(c, "list", "", 0, a, NULL);
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    return loam_tmpl_list(TMPL_LIST, items, n);
}

static tmpl_value filter_reverse(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    size_t n;
    loam_tmpl_bind(c, "reverse", "", 0, a, NULL);
    const int is_str = v.type == TMPL_STR, is_list = v.type == TMPL_ITER;
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    tmpl_value *out = loam_tmpl_alloc(c, n, sizeof *out);
    for (size_t i = 0; i < n; i++) out[i] = items[n - 1 - i];
    if (is_list) return loam_tmpl_list(TMPL_LIST, out, n);
    if (!is_str) return loam_tmpl_iter(c, out, n, "list_reverseiterator");
    tmpl_buf b = loam_tmpl_buf(c);
    for (size_t i = 0; i < n; i++) loam_tmpl_put_str(&b, out[i]);
    return loam_tmpl_take(&b);
}

static tmpl_value filter_items(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    size_t n = 0;
    const tmpl_value *items = NULL;
    loam_tmpl_bind(c, "items", "", 0, a, NULL);
    if (v.type == TMPL_DICT) {
        tmpl_view view = {v.ref, 2};
        items = loam_tmpl_items(c, loam_tmpl_ref(TMPL_VIEW, &view), &n);
    } else if (v.type != TMPL_UNDEFINED) {
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "Can only get item pairs from a mapping.");
    }
    return loam_tmpl_iter(c, items, n, "generator");
}

static tmpl_value filter_batch(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[2];
    size_t n, n_out = 0;
    loam_tmpl_bind(c, "batch", "linecount,fill_with", 1, a, g);
    const int64_t count = loam_tmpl_index(c, g[0]);
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    const size_t per = count > 0 ? (size_t)count : n + 1;
    const int fills = loam_tmpl_given(g[1]) && g[1].type != TMPL_NONE;
    tmpl_value *out = loam_tmpl_alloc(c, n / per + 1, sizeof *out);
    for (size_t i = 0; i < n; i += per) {
        const size_t have = n - i < per ? n - i : per;
        const size_t all = fills && count > 0 ? per : have;
        tmpl_value *row = loam_tmpl_alloc(c, all, sizeof *row);
        for (size_t k = 0; k < all; k++) row[k] = k < have ? items[i + k] : g[1];
        out[n_out++] = loam_tmpl_list(TMPL_LIST, row, all);
    }
    return loam_tmpl_iter(c, out, n_out, "generator");
}

static tmpl_value filter_slice(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[2];
    size_t n, from = 0;
    loam_tmpl_bind(c, "slice", "slices,fill_with", 1, a, g);
    const int64_t count = loam_tmpl_index(c, g[0]);
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    if (count == 0) loam_tmpl_fail(c, LOAM_ERR_FORMAT, "integer division or modulo by zero");
    if (count > TMPL_MAX_RANGE) loam_tmpl_fail(c, LOAM_ERR_LIMIT, "slice: too many slices");
    const size_t slices = count > 0 ? (size_t)count : 0;
    const int fills = loam_tmpl_given(g[1]) && g[1].type != TMPL_NONE;
    tmpl_value *out = loam_tmpl_alloc(c, slices, sizeof *out);
    for (size_t i = 0; i < slices; i++) {
        const int extra = i < n % slices;
        const size_t have = n / slices + (size_t)extra, all = have + (fills && !extra);
        tmpl_value *row = loam_tmpl_alloc(c, all, sizeof *row);
        for (size_t k = 0; k < all; k++) row[k] = k < have ? items[from + k] : g[1];
        from += have;
        out[i] = loam_tmpl_list(TMPL_LIST, row, all);
    }
    return loam_tmpl_iter(c, out, slices, "generator");
}

/* ---- joining, adding, extremes ---- */

static tmpl_value filter_join(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[2];
    size_t n;
    int safe = 0;
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_bind(c, "join", "d,attribute", 0, a, g);
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    tmpl_value *values = loam_tmpl_alloc(c, n, sizeof *values);
    tmpl_value between = loam_tmpl_given(g[0]) ? g[0] : loam_tmpl_strz("");
    for (size_t i = 0; i < n; i++) {
        values[i] = get_path(c, items[i], g[1], NOT_GIVEN);
        safe |= values[i].type == TMPL_STR && (values[i].flags & TMPL_SAFE);
    }
    safe = c->autoescape && (safe || (between.flags & TMPL_SAFE));
    if (safe) between = loam_tmpl_escape(c, between);
    for (size_t i = 0; i < n; i++) {
        if (i) loam_tmpl_put_str(&b, between);
        loam_tmpl_put_str(&b, safe ? loam_tmpl_escape(c, values[i]) : values[i]);
    }
    tmpl_value out = loam_tmpl_take(&b);
    out.flags = safe ? TMPL_SAFE : 0;
    return out;
}

static tmpl_value filter_sum(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[2];
    size_t n;
    loam_tmpl_bind(c, "sum", "attribute,start", 0, a, g);
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    tmpl_value sum = loam_tmpl_given(g[1]) ? g[1] : loam_tmpl_int(0);
    if (sum.type == TMPL_STR) loam_tmpl_fail(c, LOAM_ERR_FORMAT, "sum() can't sum strings");
    for (size_t i = 0; i < n; i++)
        sum = loam_tmpl_binary(c, TMPL_OP_ADD, sum, get_path(c, items[i], g[0], NOT_GIVEN));
    return sum;
}

static tmpl_value extreme(tmpl_ctx *c, tmpl_value v, const tmpl_args *a, tmpl_op op) {
    tmpl_value g[2];
    size_t n, best = 0;
    loam_tmpl_bind(c, "min or max", "case_sensitive,attribute", 0, a, g);
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    if (!n) return loam_tmpl_undefined_hint(c, "No aggregated item, sequence was empty.");
    const tmpl_value *keys = make_keys(c, items, n, g[1], NOT_GIVEN, is_set(c, g[0]));
    for (size_t i = 1; i < n; i++)
        if (loam_tmpl_order(c, op, keys[i], keys[best])) best = i;
    return items[best];
}

static tmpl_value filter_min(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    return extreme(c, v, a, TMPL_OP_LT);
}
static tmpl_value filter_max(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    return extreme(c, v, a, TMPL_OP_GT);
}

/* ---- order ---- */

/* A list of the attributes named "a,b.c", which is what sort compares. */
static tmpl_value sort_key(tmpl_ctx *c, tmpl_value item, tmpl_value attribute, int case_sensitive) {
    size_t n = 1, i = 0;
    if (loam_tmpl_given(attribute) && attribute.type == TMPL_STR)
        for (size_t k = 0; k < attribute.as.s.n; k++) n += attribute.as.s.p[k] == ',';
    tmpl_value *key = loam_tmpl_alloc(c, n, sizeof *key);
    if (n == 1) {
        key[0] = get_path(c, item, attribute, NOT_GIVEN);
    } else {
        for (tmpl_str rest = attribute.as.s; i < n; i++) {
            const char *comma = memchr(rest.p, ',', rest.n);
            const size_t len = comma ? (size_t)(comma - rest.p) : rest.n;
            key[i] = get_path(c, item, loam_tmpl_str((tmpl_str){rest.p, len}), NOT_GIVEN);
            if (comma) rest = (tmpl_str){comma + 1, rest.n - len - 1};
        }
    }
    for (i = 0; i < n && !case_sensitive; i++) key[i] = ignore_case(c, key[i]);
    return loam_tmpl_list(TMPL_LIST, key, n);
}

static tmpl_value filter_sort(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[3];
    size_t n;
    loam_tmpl_bind(c, "sort", "reverse,case_sensitive,attribute", 0, a, g);
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    tmpl_value *out = copy_items(c, items, n), *keys = loam_tmpl_alloc(c, n, sizeof *keys);
    for (size_t i = 0; i < n; i++) keys[i] = sort_key(c, items[i], g[2], is_set(c, g[1]));
    loam_tmpl_sort(c, keys, out, n, is_set(c, g[0]));
    return loam_tmpl_list(TMPL_LIST, out, n);
}

static tmpl_value filter_dictsort(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[3];
    loam_tmpl_bind(c, "dictsort", "case_sensitive,by,reverse", 0, a, g);
    const int by_value =
        loam_tmpl_given(g[1]) && g[1].type == TMPL_STR && loam_tmpl_is(g[1].as.s, "value");
    if (loam_tmpl_given(g[1]) && !by_value &&
        !(g[1].type == TMPL_STR && loam_tmpl_is(g[1].as.s, "key")))
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "You can only sort by either \"key\" or \"value\"");
    if (v.type == TMPL_UNDEFINED) loam_tmpl_fail_undefined(c, v);
    if (v.type != TMPL_DICT)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "'%s' object has no attribute 'items'",
                       loam_tmpl_type_name(v));
    const tmpl_dict *d = v.ref;
    tmpl_value *out = loam_tmpl_alloc(c, d->n, sizeof *out),
               *keys = loam_tmpl_alloc(c, d->n, sizeof *keys);
    for (size_t i = 0; i < d->n; i++) {
        const tmpl_entry *e = &d->entries[i];
        out[i] = loam_tmpl_pair(c, e->key, e->value);
        keys[i] = by_value ? e->value : e->key;
        if (!is_set(c, g[0])) keys[i] = ignore_case(c, keys[i]);
    }
    loam_tmpl_sort(c, keys, out, d->n, is_set(c, g[2]));
    return loam_tmpl_list(TMPL_LIST, out, d->n);
}

static tmpl_value filter_unique(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[2];
    size_t n, n_out = 0;
    loam_tmpl_bind(c, "unique", "case_sensitive,attribute", 0, a, g);
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    const tmpl_value *keys = make_keys(c, items, n, g[1], NOT_GIVEN, is_set(c, g[0]));
    tmpl_value *out = loam_tmpl_alloc(c, n, sizeof *out);
    tmpl_dict *seen = loam_tmpl_dict_new(c, n);
    for (size_t i = 0; i < n; i++) {
        if (loam_tmpl_dict_get(c, seen, keys[i])) continue;
        loam_tmpl_dict_set(c, seen, keys[i], loam_tmpl_none());
        out[n_out++] = items[i];
    }
    return loam_tmpl_iter(c, out, n_out, "generator");
}

static tmpl_value filter_groupby(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[3];
    size_t n, n_out = 0;
    loam_tmpl_bind(c, "groupby", "attribute,default,case_sensitive", 1, a, g);
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    tmpl_value *sorted = copy_items(c, items, n), *out = loam_tmpl_alloc(c, n, sizeof *out);
    tmpl_value *keys = make_keys(c, items, n, g[0], g[1], is_set(c, g[2]));
    loam_tmpl_sort(c, keys, sorted, n, 0);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && loam_tmpl_equal(c, keys[i], keys[end]);) end++;
        /* named in the case of the first of the group */
        out[n_out] = loam_tmpl_pair(c, get_path(c, sorted[i], g[0], g[1]),
                                    loam_tmpl_list(TMPL_LIST, sorted + i, end - i));
        out[n_out++].flags = TMPL_GROUP;
    }
    return loam_tmpl_list(TMPL_LIST, out, n_out);
}

/* ---- mapping and choosing ---- */

static tmpl_args args_from(const tmpl_args *a, size_t skip) {
    tmpl_args rest = *a;
    if (skip) rest.pos += skip;
    rest.n -= skip;
    return rest;
}

static tmpl_value filter_map(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    size_t n;
    if (!loam_tmpl_truth(c, v)) return loam_tmpl_iter(c, NULL, 0, "generator");
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    tmpl_value *out = loam_tmpl_alloc(c, n, sizeof *out);
    if (a->n == 0) {
        tmpl_value g[2];
        loam_tmpl_bind(c, "map", "attribute,default", 0, a, g);
        if (!loam_tmpl_given(g[0]))
            loam_tmpl_fail(c, LOAM_ERR_FORMAT, "map requires a filter argument");
        for (size_t i = 0; i < n; i++) out[i] = get_path(c, items[i], g[0], g[1]);
    } else {
        const tmpl_args rest = args_from(a, 1);
        const tmpl_str name = loam_tmpl_need_str(c, a->pos[0]);
        if (!loam_tmpl_filter_exists(name)) loam_tmpl_filter(c, name, v, a); /* says so */
        for (size_t i = 0; i < n; i++) out[i] = loam_tmpl_filter(c, name, items[i], &rest);
    }
    return loam_tmpl_iter(c, out, n, "generator");
}

/* select, reject (by_attr 0) and selectattr, rejectattr (1). */
static tmpl_value choose(tmpl_ctx *c, tmpl_value v, const tmpl_args *a, int wanted, int by_attr) {
    size_t n, n_out = 0;
    const size_t skip = (size_t)by_attr;
    if (!loam_tmpl_truth(c, v)) return loam_tmpl_iter(c, NULL, 0, "generator");
    if (a->n < skip) loam_tmpl_fail(c, LOAM_ERR_FORMAT, "Missing parameter for attribute name");
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    tmpl_value *out = loam_tmpl_alloc(c, n, sizeof *out);
    const int tested = a->n > skip;
    const tmpl_args rest = args_from(a, skip + (size_t)tested);
    const tmpl_str name = tested ? loam_tmpl_need_str(c, a->pos[skip]) : (tmpl_str){NULL, 0};
    for (size_t i = 0; i < n; i++) {
        const tmpl_value x = by_attr ? get_path(c, items[i], a->pos[0], NOT_GIVEN) : items[i];
        const int is = tested ? loam_tmpl_test(c, name, x, &rest) : loam_tmpl_truth(c, x);
        if (is == wanted) out[n_out++] = items[i];
    }
    return loam_tmpl_iter(c, out, n_out, "generator");
}

static tmpl_value filter_select(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    return choose(c, v, a, 1, 0);
}
static tmpl_value filter_reject(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    return choose(c, v, a, 0, 0);
}
static tmpl_value filter_selectattr(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    return choose(c, v, a, 1, 1);
}
static tmpl_value filter_rejectattr(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    return choose(c, v, a, 0, 1);
}

const tmpl_filter_row loam_tmpl_sequence_filters[] = {{"length", filter_length},
                                                      {"count", filter_length},
                                                      {"first", filter_first},
                                                      {"last", filter_last},
                                                      {"random", filter_random},
                                                      {"list", filter_list},
                                                      {"reverse", filter_reverse},
                                                      {"items", filter_items},
                                                      {"batch", filter_batch},
                                                      {"slice", filter_slice},
                                                      {"join", filter_join},
                                                      {"sum", filter_sum},
                                                      {"min", filter_min},
                                                      {"max", filter_max},
                                                      {"sort", filter_sort},
                                                      {"dictsort", filter_dictsort},
                                                      {"unique", filter_unique},
                                                      {"groupby", filter_groupby},
                                                      {"map", filter_map},
                                                      {"select", filter_select},
                                                      {"reject", filter_reject},
                                                      {"selectattr", filter_selectattr},
                                                      {"rejectattr", filter_rejectattr},
                                                      {NULL, NULL}};
