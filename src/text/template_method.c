/* template_method.c - methods of strings, lists, dicts and the rest, as far as the sandbox lets
 * templates call them: what would change a value is known by name and refused. */
#include "text/template.h"
#include <math.h>

/* ---- strings: arguments ---- */

static tmpl_value same_kind(tmpl_value v, tmpl_value self) {
    v.flags = self.flags;
    return v;
}

static tmpl_value part(tmpl_value self, const char *p, size_t n) {
    return same_kind(loam_tmpl_str((tmpl_str){p, n}), self);
}

/* start and end of find, count, ... : byte range, code points before it; 0: start is too far. */
static int sub_range(tmpl_ctx *c, tmpl_str s, tmpl_value start, tmpl_value end, tmpl_str *out,
                     size_t *before) {
    const int64_t n = (int64_t)loam_tmpl_runes(s);
    int64_t from =
        loam_tmpl_given(start) && start.type != TMPL_NONE ? loam_tmpl_index(c, start) : 0;
    int64_t to = loam_tmpl_given(end) && end.type != TMPL_NONE ? loam_tmpl_index(c, end) : n;
    loam_tmpl_step(c, s.n);
    if (from < 0) from = from + n < 0 ? 0 : from + n;
    if (to < 0) to = to + n < 0 ? 0 : to + n;
    if (to > n) to = n;
    if (from > n || from > to) return 0;
    const size_t a = loam_tmpl_offset(s, (size_t)from), b = loam_tmpl_offset(s, (size_t)to);
    *out = (tmpl_str){s.p + a, b - a};
    *before = (size_t)from;
    return 1;
}

static const char *find_last(tmpl_str s, tmpl_str what) {
    if (what.n > s.n) return NULL;
    for (size_t i = s.n - what.n + 1; i-- > 0;)
        if (what.n == 0 || memcmp(s.p + i, what.p, what.n) == 0) return s.p + i;
    return NULL;
}

static const char *find_first(tmpl_str s, tmpl_str what) {
    if (what.n == 0) return s.p;
    return s.n ? memmem(s.p, s.n, what.p, what.n) : NULL;
}

static tmpl_value call_find(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    tmpl_value v[3];
    tmpl_str in;
    size_t before = 0;
    loam_tmpl_bind(c, name, "sub,start,end", 1, a, v);
    const tmpl_str what = loam_tmpl_need_str(c, v[0]);
    const int found = sub_range(c, self.as.s, v[1], v[2], &in, &before);
    if (strcmp(name, "count") == 0) {
        if (!found) return loam_tmpl_int(0);
        if (what.n == 0) return loam_tmpl_int((tmpl_int)loam_tmpl_runes(in) + 1);
        tmpl_int n = 0;
        for (const char *p; (p = find_first(in, what)) != NULL; n++) {
            in.n -= (size_t)(p - in.p) + what.n;
            in.p = p + what.n;
        }
        return loam_tmpl_int(n);
    }
    const char *p = !found ? NULL : name[0] == 'r' ? find_last(in, what) : find_first(in, what);
    if (p)
        return loam_tmpl_int(
            (tmpl_int)(before + loam_tmpl_runes((tmpl_str){in.p, (size_t)(p - in.p)})));
    if (strstr(name, "index")) loam_tmpl_fail(c, LOAM_ERR_FORMAT, "substring not found");
    return loam_tmpl_int(-1);
}

static tmpl_value call_starts(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    tmpl_value v[3];
    tmpl_str in;
    size_t before, n = 1;
    loam_tmpl_bind(c, name, "prefix,start,end", 1, a, v);
    const tmpl_value *all = &v[0];
    if (v[0].type == TMPL_TUPLE) all = loam_tmpl_items(c, v[0], &n);
    const int found = sub_range(c, self.as.s, v[1], v[2], &in, &before);
    for (size_t i = 0; i < n; i++) {
        const tmpl_str x = loam_tmpl_need_str(c, all[i]);
        if (!found || x.n > in.n) continue;
        const char *at = name[0] == 's' ? in.p : in.p + in.n - x.n;
        if (x.n == 0 || memcmp(at, x.p, x.n) == 0) return loam_tmpl_bool(1);
    }
    return loam_tmpl_bool(0);
}

/* ---- strings: splitting and joining ---- */

typedef struct parts {
    tmpl_value *items;
    size_t n, cap;
} parts;

static void add_part(tmpl_ctx *c, parts *l, const char *p, const char *end) {
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 8;
        tmpl_value *more = loam_tmpl_alloc(c, l->cap, sizeof *more);
        if (l->n) memcpy(more, l->items, l->n * sizeof *more);
        l->items = more;
    }
    loam_tmpl_step(c, 0);
    l->items[l->n++] = loam_tmpl_str((tmpl_str){p, (size_t)(end - p)});
}

static void split_space(tmpl_ctx *c, parts *l, tmpl_str s, int64_t max) {
    s = loam_tmpl_strip(s, NULL, 1);
    while (s.n) {
        const char *end = s.p + s.n, *p = s.p;
        if (max >= 0 && (int64_t)l->n >= max) {
            s = loam_tmpl_strip(s, NULL, 2);
            add_part(c, l, s.p, s.p + s.n);
            return;
        }
        while (p < end) {
            const char *q = p;
            if (loam_tmpl_is_space(loam_tmpl_rune(&q, end))) break;
            p = q;
        }
        add_part(c, l, s.p, p);
        s = loam_tmpl_strip((tmpl_str){p, (size_t)(end - p)}, NULL, 1);
    }
}

static void rsplit_space(tmpl_ctx *c, parts *l, tmpl_str s, int64_t max) {
    s = loam_tmpl_strip(s, NULL, 2);
    while (s.n) {
        const char *p = s.p + s.n;
        if (max >= 0 && (int64_t)l->n >= max) {
            s = loam_tmpl_strip(s, NULL, 1);
            add_part(c, l, s.p, s.p + s.n);
            return;
        }
        while (p > s.p) {
            const char *q = p - 1;
            while (q > s.p && ((unsigned char)*q & 0xc0) == 0x80) q--;
            const char *after = q;
            if (loam_tmpl_is_space(loam_tmpl_rune(&after, s.p + s.n))) break;
            p = q;
        }
        add_part(c, l, p, s.p + s.n);
        s = loam_tmpl_strip((tmpl_str){s.p, (size_t)(p - s.p)}, NULL, 2);
    }
}

static void split_by(tmpl_ctx *c, parts *l, tmpl_str s, tmpl_str sep, int64_t max, int right) {
    const char *p;
    loam_tmpl_step(c, s.n);
    while ((max < 0 || (int64_t)l->n < max) &&
           (p = right ? find_last(s, sep) : find_first(s, sep)) != NULL) {
        if (right) {
            add_part(c, l, p + sep.n, s.p + s.n);
            s.n = (size_t)(p - s.p);
        } else {
            add_part(c, l, s.p, p);
            s.n -= (size_t)(p - s.p) + sep.n;
            s.p = p + sep.n;
        }
    }
    add_part(c, l, s.p, s.p + s.n);
}

static tmpl_value call_split(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    tmpl_value v[2];
    parts l = {0};
    const int right = name[0] == 'r';
    loam_tmpl_bind(c, name, "sep,maxsplit", 0, a, v);
    const int64_t max = loam_tmpl_given(v[1]) ? loam_tmpl_index(c, v[1]) : -1;
    if (!loam_tmpl_given(v[0]) || v[0].type == TMPL_NONE) {
        if (right)
            rsplit_space(c, &l, self.as.s, max);
        else
            split_space(c, &l, self.as.s, max);
    } else {
        const tmpl_str sep = loam_tmpl_need_str(c, v[0]);
        if (sep.n == 0) loam_tmpl_fail(c, LOAM_ERR_FORMAT, "empty separator");
        split_by(c, &l, self.as.s, sep, max, right);
    }
    for (size_t i = 0; right && i < l.n / 2; i++) {
        const tmpl_value t = l.items[i];
        l.items[i] = l.items[l.n - 1 - i];
        l.items[l.n - 1 - i] = t;
    }
    return loam_tmpl_list(TMPL_LIST, l.items, l.n);
}

static tmpl_value call_splitlines(tmpl_ctx *c, tmpl_value self, const char *name,
                                  const tmpl_args *a) {
    tmpl_value v[1];
    parts l = {0};
    loam_tmpl_bind(c, name, "keepends", 0, a, v);
    const int keep = loam_tmpl_given(v[0]) && loam_tmpl_truth(c, v[0]);
    const char *p = self.as.s.p, *end = p + self.as.s.n, *from = p;
    while (p < end) {
        const char *at = p;
        const uint32_t r = loam_tmpl_rune(&p, end);
        if (!loam_tmpl_is_line_end(r)) continue;
        if (r == '\r' && p < end && *p == '\n') p++;
        add_part(c, &l, from, keep ? p : at);
        from = p;
    }
    if (from < end) add_part(c, &l, from, end);
    return loam_tmpl_list(TMPL_LIST, l.items, l.n);
}

static tmpl_value call_partition(tmpl_ctx *c, tmpl_value self, const char *name,
                                 const tmpl_args *a) {
    tmpl_value v[1];
    loam_tmpl_bind(c, name, "sep", 1, a, v);
    const tmpl_str s = self.as.s, sep = loam_tmpl_need_str(c, v[0]);
    const int right = name[0] == 'r';
    if (sep.n == 0) loam_tmpl_fail(c, LOAM_ERR_FORMAT, "empty separator");
    const char *p = right ? find_last(s, sep) : find_first(s, sep);
    tmpl_value *out = loam_tmpl_alloc(c, 3, sizeof *out);
    for (int i = 0; i < 3; i++) out[i] = part(self, "", 0);
    if (p) {
        out[0] = part(self, s.p, (size_t)(p - s.p));
        out[1] = part(self, sep.p, sep.n);
        out[2] = part(self, p + sep.n, s.n - (size_t)(p - s.p) - sep.n);
    } else {
        out[right ? 2 : 0] = self;
    }
    return loam_tmpl_list(TMPL_TUPLE, out, 3);
}

static tmpl_value call_join(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    tmpl_value v[1];
    size_t n;
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_bind(c, name, "iterable", 1, a, v);
    const tmpl_value *items = loam_tmpl_items(c, v[0], &n);
    for (size_t i = 0; i < n; i++) {
        if (items[i].type != TMPL_STR)
            loam_tmpl_fail(c, LOAM_ERR_FORMAT, "sequence item %zu: expected str instance, %s found",
                           i, loam_tmpl_type_name(items[i]));
        if (i) loam_tmpl_put(&b, self.as.s.p, self.as.s.n);
        loam_tmpl_put(&b, items[i].as.s.p, items[i].as.s.n);
    }
    return same_kind(loam_tmpl_take(&b), self);
}

static tmpl_value call_replace(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    tmpl_value v[3];
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_bind(c, name, "old,new,count", 2, a, v);
    const tmpl_str old = loam_tmpl_need_str(c, v[0]), with = loam_tmpl_need_str(c, v[1]);
    int64_t left = loam_tmpl_given(v[2]) ? loam_tmpl_index(c, v[2]) : -1;
    tmpl_str s = self.as.s;
    loam_tmpl_step(c, s.n);
    while (left != 0) {
        const char *p = find_first(s, old), *after;
        if (!p) break;
        after = p + old.n;
        loam_tmpl_put(&b, s.p, (size_t)(p - s.p));
        loam_tmpl_put(&b, with.p, with.n);
        left -= left > 0;
        if (old.n == 0) { /* before every character and at the end */
            if (s.n == 0) return same_kind(loam_tmpl_take(&b), self);
            loam_tmpl_rune(&after, s.p + s.n);
            loam_tmpl_put(&b, p, (size_t)(after - p));
        }
        s.n -= (size_t)(after - s.p);
        s.p = after;
    }
    loam_tmpl_put(&b, s.p, s.n);
    return same_kind(loam_tmpl_take(&b), self);
}

/* ---- strings: the rest ---- */

static tmpl_value call_strip(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    tmpl_value v[1];
    loam_tmpl_bind(c, name, "chars", 0, a, v);
    const int side = name[0] == 'l' ? 1 : name[0] == 'r' ? 2 : 3;
    loam_tmpl_step(c, self.as.s.n);
    if (!loam_tmpl_given(v[0]) || v[0].type == TMPL_NONE)
        return same_kind(loam_tmpl_str(loam_tmpl_strip(self.as.s, NULL, side)), self);
    const tmpl_str chars = loam_tmpl_need_str(c, v[0]);
    return same_kind(loam_tmpl_str(loam_tmpl_strip(self.as.s, &chars, side)), self);
}

static tmpl_value call_justify(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    tmpl_value v[2];
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_bind(c, name, "width,fillchar", 1, a, v);
    const tmpl_str fill = loam_tmpl_given(v[1]) ? loam_tmpl_need_str(c, v[1]) : (tmpl_str){" ", 1};
    if (loam_tmpl_runes(fill) != 1)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "The fill character must be exactly one character long");
    const int64_t width = loam_tmpl_index(c, v[0]);
    const int64_t room = width - (int64_t)loam_tmpl_runes(self.as.s);
    if (room <= 0) return self;
    const int64_t left = name[0] == 'l' ? 0 : name[0] == 'r' ? room : room / 2 + (room & width & 1);
    loam_tmpl_put_fill(&b, fill, left);
    loam_tmpl_put(&b, self.as.s.p, self.as.s.n);
    loam_tmpl_put_fill(&b, fill, room - left);
    return same_kind(loam_tmpl_take(&b), self);
}

static tmpl_value call_zfill(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    tmpl_value v[1];
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_bind(c, name, "width", 1, a, v);
    const tmpl_str s = self.as.s;
    const size_t sign = s.n && (s.p[0] == '+' || s.p[0] == '-');
    loam_tmpl_put(&b, s.p, sign);
    loam_tmpl_put_fill(&b, (tmpl_str){"0", 1},
                       loam_tmpl_index(c, v[0]) - (int64_t)loam_tmpl_runes(s));
    loam_tmpl_put(&b, s.p + sign, s.n - sign);
    return same_kind(loam_tmpl_take(&b), self);
}

static tmpl_value call_expandtabs(tmpl_ctx *c, tmpl_value self, const char *name,
                                  const tmpl_args *a) {
    tmpl_value v[1];
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_bind(c, name, "tabsize", 0, a, v);
    const int64_t size = loam_tmpl_given(v[0]) ? loam_tmpl_index(c, v[0]) : 8;
    int64_t column = 0;
    for (const char *p = self.as.s.p, *end = p + self.as.s.n; p < end;) {
        const char *at = p;
        const uint32_t r = loam_tmpl_rune(&p, end);
        if (r == '\t') {
            const int64_t n = size > 0 ? size - column % size : 0;
            loam_tmpl_put_fill(&b, (tmpl_str){" ", 1}, n);
            column += n;
            continue;
        }
        loam_tmpl_put(&b, at, (size_t)(p - at));
        column = r == '\n' || r == '\r' ? 0 : column + 1;
    }
    return same_kind(loam_tmpl_take(&b), self);
}

static tmpl_value call_remove(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    tmpl_value v[1];
    loam_tmpl_bind(c, name, "affix", 1, a, v);
    const tmpl_str x = loam_tmpl_need_str(c, v[0]), s = self.as.s;
    const int prefix = strcmp(name, "removeprefix") == 0;
    if (x.n == 0 || x.n > s.n) return self;
    if (memcmp(prefix ? s.p : s.p + s.n - x.n, x.p, x.n) != 0) return self;
    return part(self, prefix ? s.p + x.n : s.p, s.n - x.n);
}

static tmpl_value call_case(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    static const struct {
        const char *name;
        tmpl_case k;
    } CASES[] = {{"upper", TMPL_UPPER},       {"lower", TMPL_LOWER},
                 {"title", TMPL_TITLE},       {"capitalize", TMPL_CAPITALIZE},
                 {"swapcase", TMPL_SWAPCASE}, {"casefold", TMPL_CASEFOLD}};
    size_t i = 0;
    loam_tmpl_bind(c, name, "", 0, a, NULL);
    while (strcmp(CASES[i].name, name) != 0) i++;
    return same_kind(loam_tmpl_recase(c, self.as.s, CASES[i].k), self);
}

static tmpl_value call_is(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    loam_tmpl_bind(c, name, "", 0, a, NULL);
    loam_tmpl_step(c, self.as.s.n);
    return loam_tmpl_bool(loam_tmpl_is_class(self.as.s, name));
}

static tmpl_value call_format(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    tmpl_args with = *a;
    if (strcmp(name, "format_map") == 0) {
        tmpl_value v[1];
        loam_tmpl_bind(c, name, "mapping", 1, a, v);
        if (v[0].type != TMPL_DICT)
            loam_tmpl_fail(c, LOAM_ERR_FORMAT, "format_map() takes a mapping");
        const tmpl_dict *d = v[0].ref;
        tmpl_str *names = loam_tmpl_alloc(c, d->n, sizeof *names);
        tmpl_value *named = loam_tmpl_alloc(c, d->n, sizeof *named);
        for (size_t i = 0; i < d->n; i++) {
            names[i] = loam_tmpl_to_str(c, d->entries[i].key);
            named[i] = d->entries[i].value;
        }
        with = (tmpl_args){NULL, 0, names, named, d->n};
    }
    return same_kind(loam_tmpl_format(c, self.as.s, &with), self);
}

static tmpl_value call_encode(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    tmpl_value v[2];
    loam_tmpl_bind(c, name, "encoding,errors", 0, a, v);
    if (loam_tmpl_given(v[0])) {
        const tmpl_str k = loam_tmpl_recase(c, loam_tmpl_need_str(c, v[0]), TMPL_LOWER).as.s;
        if (!loam_tmpl_is(k, "utf-8") && !loam_tmpl_is(k, "utf8") && !loam_tmpl_is(k, "utf_8") &&
            !(loam_tmpl_is(k, "ascii") && loam_tmpl_is_class(self.as.s, "isascii")))
            loam_tmpl_fail(c, LOAM_ERR_UNSUPPORTED, "encoding '%.*s'", (int)k.n, k.p);
    }
    return (tmpl_value){.type = TMPL_BYTES, .as.s = self.as.s};
}

static tmpl_value call_decode(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    tmpl_value v[2];
    loam_tmpl_bind(c, name, "encoding,errors", 0, a, v);
    tmpl_buf b = loam_tmpl_buf(c); /* bytes may have been cut inside a character */
    for (const char *p = self.as.s.p, *end = p + self.as.s.n; p < end;)
        loam_tmpl_put_rune(&b, loam_tmpl_rune(&p, end));
    return loam_tmpl_take(&b);
}

/* ---- lists, tuples, ranges, dicts ---- */

static tmpl_value call_list_find(tmpl_ctx *c, tmpl_value self, const char *name,
                                 const tmpl_args *a) {
    tmpl_value v[3];
    size_t n;
    tmpl_int count = 0;
    loam_tmpl_bind(c, name, "value,start,stop", 1, a, v);
    const tmpl_value *items = loam_tmpl_items(c, self, &n);
    int64_t from = loam_tmpl_given(v[1]) ? loam_tmpl_index(c, v[1]) : 0;
    int64_t to = loam_tmpl_given(v[2]) ? loam_tmpl_index(c, v[2]) : (int64_t)n;
    if (from < 0) from = from + (int64_t)n < 0 ? 0 : from + (int64_t)n;
    if (to < 0) to += (int64_t)n;
    for (int64_t i = from; i < to && i < (int64_t)n; i++) {
        if (!loam_tmpl_equal(c, items[i], v[0])) continue;
        if (name[0] == 'i') return loam_tmpl_int(i);
        count++;
    }
    if (name[0] == 'i') loam_tmpl_fail(c, LOAM_ERR_FORMAT, "value is not in list");
    return loam_tmpl_int(count);
}

static tmpl_value call_copy(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    loam_tmpl_bind(c, name, "", 0, a, NULL);
    return self; /* nothing can change it */
}

static tmpl_value call_get(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    tmpl_value v[2];
    loam_tmpl_bind(c, name, "key,default", 1, a, v);
    const tmpl_value *found = loam_tmpl_dict_get(c, self.ref, v[0]);
    return found ? *found : loam_tmpl_given(v[1]) ? v[1] : loam_tmpl_none();
}

static tmpl_value call_view(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    loam_tmpl_bind(c, name, "", 0, a, NULL);
    tmpl_view *view = loam_tmpl_alloc(c, 1, sizeof *view);
    *view = (tmpl_view){self.ref, name[0] == 'k' ? 0 : name[0] == 'v' ? 1 : 2};
    return loam_tmpl_ref(TMPL_VIEW, view);
}

static tmpl_value call_from_keys(tmpl_ctx *c, tmpl_value self, const char *name,
                                 const tmpl_args *a) {
    (void)self;
    (void)name;
    return loam_tmpl_call_function(c, "dict.fromkeys", a);
}

/* ---- numbers, loops, cyclers ---- */

static tmpl_value call_bit_length(tmpl_ctx *c, tmpl_value self, const char *name,
                                  const tmpl_args *a) {
    loam_tmpl_bind(c, name, "", 0, a, NULL);
    tmpl_uint u = self.as.i < 0 ? 0 - (tmpl_uint)self.as.i : (tmpl_uint)self.as.i;
    tmpl_int bits = 0, ones = 0;
    for (; u; u >>= 1, bits++) ones += (tmpl_int)(u & 1);
    return loam_tmpl_int(name[4] == 'l' ? bits : ones);
}

static tmpl_value call_is_integer(tmpl_ctx *c, tmpl_value self, const char *name,
                                  const tmpl_args *a) {
    loam_tmpl_bind(c, name, "", 0, a, NULL);
    return loam_tmpl_bool(isfinite(self.as.f) && floor(self.as.f) >= self.as.f);
}

static tmpl_value call_cycle(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    const tmpl_loop *l = self.ref;
    (void)name;
    if (a->n == 0) loam_tmpl_fail(c, LOAM_ERR_FORMAT, "no items for cycling given");
    return a->pos[l->at % a->n];
}

static tmpl_value call_changed(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    tmpl_loop *l = self.ref;
    const tmpl_value now = loam_tmpl_list(TMPL_TUPLE, a->pos, a->n);
    (void)name;
    if (l->has_changed && loam_tmpl_equal(c, l->changed, now)) return loam_tmpl_bool(0);
    l->has_changed = 1;
    l->changed = now;
    return loam_tmpl_bool(1);
}

static tmpl_value call_next(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a) {
    tmpl_cycler *k = self.ref;
    loam_tmpl_bind(c, name, "", 0, a, NULL);
    if (name[0] == 'r') {
        k->at = 0;
        return loam_tmpl_none();
    }
    const tmpl_value v = k->items[k->at];
    k->at = (k->at + 1) % k->n;
    return v;
}

/* ---- the tables ---- */

typedef tmpl_value method(tmpl_ctx *c, tmpl_value self, const char *name, const tmpl_args *a);
typedef struct method_row {
    const char *name;
    method *call; /* NULL: there in Python, but unsafe */
} method_row;

static const method_row STR_METHODS[] = {
    {"find", call_find},           {"rfind", call_find},
    {"index", call_find},          {"rindex", call_find},
    {"count", call_find},          {"startswith", call_starts},
    {"endswith", call_starts},     {"split", call_split},
    {"rsplit", call_split},        {"splitlines", call_splitlines},
    {"partition", call_partition}, {"rpartition", call_partition},
    {"join", call_join},           {"replace", call_replace},
    {"strip", call_strip},         {"lstrip", call_strip},
    {"rstrip", call_strip},        {"center", call_justify},
    {"ljust", call_justify},       {"rjust", call_justify},
    {"zfill", call_zfill},         {"expandtabs", call_expandtabs},
    {"removeprefix", call_remove}, {"removesuffix", call_remove},
    {"upper", call_case},          {"lower", call_case},
    {"title", call_case},          {"capitalize", call_case},
    {"swapcase", call_case},       {"casefold", call_case},
    {"isalpha", call_is},          {"isalnum", call_is},
    {"isdigit", call_is},          {"isspace", call_is},
    {"isdecimal", call_is},        {"isnumeric", call_is},
    {"isascii", call_is},          {"isprintable", call_is},
    {"islower", call_is},          {"isupper", call_is},
    {"istitle", call_is},          {"isidentifier", call_is},
    {"format", call_format},       {"format_map", call_format},
    {"encode", call_encode},       {NULL, NULL}};
static const method_row BYTES_METHODS[] = {{"decode", call_decode}, {NULL, NULL}};
static const method_row LIST_METHODS[] = {
    {"index", call_list_find}, {"count", call_list_find}, {"copy", call_copy},
    {"append", NULL},          {"clear", NULL},           {"pop", NULL},
    {"reverse", NULL},         {"insert", NULL},          {"sort", NULL},
    {"extend", NULL},          {"remove", NULL},          {NULL, NULL}};
static const method_row TUPLE_METHODS[] = {
    {"index", call_list_find}, {"count", call_list_find}, {NULL, NULL}};
static const method_row DICT_METHODS[] = {
    {"get", call_get},   {"items", call_view},         {"keys", call_view}, {"values", call_view},
    {"copy", call_copy}, {"fromkeys", call_from_keys}, {"clear", NULL},     {"pop", NULL},
    {"popitem", NULL},   {"setdefault", NULL},         {"update", NULL},    {NULL, NULL}};
static const method_row INT_METHODS[] = {{"bit_length", call_bit_length},
                                         {"bit_count", call_bit_length},
                                         {"conjugate", call_copy},
                                         {NULL, NULL}};
static const method_row FLOAT_METHODS[] = {
    {"is_integer", call_is_integer}, {"conjugate", call_copy}, {NULL, NULL}};
static const method_row LOOP_METHODS[] = {
    {"cycle", call_cycle}, {"changed", call_changed}, {NULL, NULL}};
static const method_row CYCLER_METHODS[] = {
    {"next", call_next}, {"reset", call_next}, {NULL, NULL}};

static const method_row *methods_of(tmpl_value v) {
    switch (v.type) {
    case TMPL_STR: return STR_METHODS;
    case TMPL_BYTES: return BYTES_METHODS;
    case TMPL_LIST: return LIST_METHODS;
    case TMPL_TUPLE:
    case TMPL_RANGE: return TUPLE_METHODS;
    case TMPL_DICT: return DICT_METHODS;
    case TMPL_BOOL:
    case TMPL_INT: return INT_METHODS;
    case TMPL_FLOAT: return FLOAT_METHODS;
    case TMPL_LOOP: return LOOP_METHODS;
    case TMPL_CYCLER: return CYCLER_METHODS;
    default: return NULL;
    }
}

tmpl_found loam_tmpl_find_method(tmpl_value v, tmpl_str name, const char **known) {
    for (const method_row *m = methods_of(v); m && m->name; m++) {
        if (!loam_tmpl_is(name, m->name)) continue;
        *known = m->name;
        return m->call ? TMPL_HAS_ATTR : TMPL_UNSAFE_ATTR;
    }
    return TMPL_NO_ATTR;
}

tmpl_value loam_tmpl_call_method(tmpl_ctx *c, const tmpl_method *m, const tmpl_args *a) {
    const method_row *row = methods_of(m->self);
    while (row->name != m->name) row++;
    return row->call(c, m->self, m->name, a);
}
