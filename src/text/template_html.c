/* template_html.c - filters for HTML and URLs.  Chat templates have little use for them; they are
 * here because Jinja has them. */
#include "text/template.h"
#include <stdio.h>

static tmpl_value safe(tmpl_value v) {
    v.flags = TMPL_SAFE;
    return v;
}

static tmpl_value filter_escape(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    loam_tmpl_bind(c, "escape", "", 0, a, NULL);
    return loam_tmpl_escape(c, v);
}

static tmpl_value filter_forceescape(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    loam_tmpl_bind(c, "forceescape", "", 0, a, NULL);
    return loam_tmpl_escape(c, loam_tmpl_str(loam_tmpl_to_str(c, v)));
}

static tmpl_value filter_safe(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    loam_tmpl_bind(c, "safe", "", 0, a, NULL);
    return safe(loam_tmpl_str(loam_tmpl_to_str(c, v)));
}

/* ---- striptags ---- */

/* Drop from `open` to `close`, as often as it occurs. */
static tmpl_str drop_between(tmpl_ctx *c, tmpl_str s, const char *open, const char *close) {
    tmpl_buf b = loam_tmpl_buf(c);
    const size_t n_open = strlen(open), n_close = strlen(close);
    while (s.n) {
        const char *from = memmem(s.p, s.n, open, n_open);
        const char *rest = from ? from + n_open : NULL;
        const char *to = rest ? memmem(rest, (size_t)(s.p + s.n - rest), close, n_close) : NULL;
        if (!to) break;
        loam_tmpl_put(&b, s.p, (size_t)(from - s.p));
        s.n -= (size_t)(to + n_close - s.p);
        s.p = to + n_close;
    }
    loam_tmpl_put(&b, s.p, s.n);
    return (tmpl_str){b.p, b.n};
}

/* The character of an entity "name;" at p, and what it uses up; 0: none. */
static uint32_t entity(const char *p, size_t n, size_t *used) {
    static const struct {
        const char *name;
        uint32_t rune;
    } NAMES[] = {{"amp;", '&'},  {"lt;", '<'},    {"gt;", '>'},
                 {"quot;", '"'}, {"apos;", '\''}, {"nbsp;", 0xa0}};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        *used = strlen(NAMES[i].name);
        if (n >= *used && memcmp(p, NAMES[i].name, *used) == 0) return NAMES[i].rune;
    }
    if (n < 3 || p[0] != '#') return 0;
    const int hex = (p[1] | 32) == 'x';
    uint32_t v = 0;
    size_t i = hex ? 2 : 1;
    for (; i < n && p[i] != ';'; i++) {
        const int d = p[i] >= '0' && p[i] <= '9'                        ? p[i] - '0'
                      : hex && (p[i] | 32) >= 'a' && (p[i] | 32) <= 'f' ? (p[i] | 32) - 'a' + 10
                                                                        : -1;
        if (d < 0 || v > 0x10ffff) return 0;
        v = v * (hex ? 16 : 10) + (uint32_t)d;
    }
    *used = i + 1;
    return i < n ? v : 0;
}

static tmpl_value filter_striptags(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    loam_tmpl_bind(c, "striptags", "", 0, a, NULL);
    tmpl_str s = drop_between(c, loam_tmpl_to_str(c, v), "<!--", "-->");
    s = loam_tmpl_strip(drop_between(c, s, "<", ">"), NULL, 3);
    tmpl_buf b = loam_tmpl_buf(c);
    int space = 0;
    for (const char *p = s.p, *end = s.p + s.n; p < end;) {
        const char *at = p;
        const uint32_t r = loam_tmpl_rune(&p, end);
        if (loam_tmpl_is_space(r)) {
            space = 1;
            continue;
        }
        if (space) loam_tmpl_puts(&b, " ");
        space = 0;
        size_t used;
        const uint32_t e = r == '&' ? entity(p, (size_t)(end - p), &used) : 0;
        if (e) {
            loam_tmpl_put_rune(&b, e);
            p += used;
        } else {
            loam_tmpl_put(&b, at, (size_t)(p - at));
        }
    }
    return loam_tmpl_take(&b);
}

/* ---- xmlattr ---- */

static tmpl_value filter_xmlattr(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[1];
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_bind(c, "xmlattr", "autospace", 0, a, g);
    if (v.type != TMPL_DICT)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "'%s' object has no attribute 'items'",
                       loam_tmpl_type_name(v));
    const int space = !loam_tmpl_given(g[0]) || loam_tmpl_truth(c, g[0]);
    const tmpl_dict *d = v.ref;
    for (size_t i = 0; i < d->n; i++) {
        const tmpl_value x = d->entries[i].value;
        if (x.type == TMPL_NONE || x.type == TMPL_UNDEFINED) continue;
        const tmpl_str key = loam_tmpl_need_str(c, d->entries[i].key);
        for (size_t k = 0; k < key.n; k++)
            if (strchr(" \t\n\r\f\v/>=", key.p[k]))
                loam_tmpl_fail(c, LOAM_ERR_FORMAT, "Invalid character in attribute name");
        if (space || b.n) loam_tmpl_puts(&b, " ");
        loam_tmpl_put_escaped(&b, key);
        loam_tmpl_puts(&b, "=\"");
        loam_tmpl_put_str(&b, loam_tmpl_escape(c, x));
        loam_tmpl_puts(&b, "\"");
    }
    return c->autoescape ? safe(loam_tmpl_take(&b)) : loam_tmpl_take(&b);
}

/* ---- URLs ---- */

static void put_quoted(tmpl_buf *b, tmpl_str s, int query) {
    for (size_t i = 0; i < s.n; i++) {
        const unsigned char ch = (unsigned char)s.p[i];
        const int plain = (ch >= '0' && ch <= '9') || ((ch | 32) >= 'a' && (ch | 32) <= 'z') ||
                          (ch && strchr(query ? "_.-~" : "_.-~/", ch));
        char text[8];
        if (plain)
            loam_tmpl_put(b, &s.p[i], 1);
        else if (query && ch == ' ')
            loam_tmpl_puts(b, "+");
        else {
            snprintf(text, sizeof text, "%%%02X", ch);
            loam_tmpl_puts(b, text);
        }
    }
}

static tmpl_value filter_urlencode(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    size_t n, two;
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_bind(c, "urlencode", "", 0, a, NULL);
    if (v.type == TMPL_STR || !loam_tmpl_iterable(v)) {
        put_quoted(&b, loam_tmpl_to_str(c, v), 0);
        return loam_tmpl_take(&b);
    }
    tmpl_view view = {v.ref, 2};
    if (v.type == TMPL_DICT) v = loam_tmpl_ref(TMPL_VIEW, &view);
    const tmpl_value *items = loam_tmpl_items(c, v, &n);
    for (size_t i = 0; i < n; i++) {
        const tmpl_value *pair = loam_tmpl_items(c, items[i], &two);
        if (two != 2) loam_tmpl_fail(c, LOAM_ERR_FORMAT, "urlencode takes pairs");
        if (i) loam_tmpl_puts(&b, "&");
        put_quoted(&b, loam_tmpl_to_str(c, pair[0]), 1);
        loam_tmpl_puts(&b, "=");
        put_quoted(&b, loam_tmpl_to_str(c, pair[1]), 1);
    }
    return loam_tmpl_take(&b);
}

static int begins(tmpl_str s, const char *z) {
    return s.n > strlen(z) && memcmp(s.p, z, strlen(z)) == 0;
}

/* A word as a link when it is one, punctuation around it left outside. */
static void put_word(tmpl_buf *b, tmpl_str w, tmpl_value limit, const char *rel,
                     tmpl_value target) {
    size_t head = 0;
    tmpl_ctx *c = b->ctx;
    while (head < w.n && strchr("(<", w.p[head])) head++;
    tmpl_str url = {w.p + head, w.n - head};
    while (url.n && strchr(".,>)", url.p[url.n - 1])) url.n--;
    const int full = begins(url, "http://") || begins(url, "https://");
    if (!full && !begins(url, "www.")) {
        loam_tmpl_put_escaped(b, w);
        return;
    }
    loam_tmpl_put_escaped(b, (tmpl_str){w.p, head});
    loam_tmpl_puts(b, full ? "<a href=\"" : "<a href=\"https://");
    loam_tmpl_put_escaped(b, url);
    loam_tmpl_puts(b, "\"");
    if (rel[0]) {
        loam_tmpl_puts(b, " rel=\"");
        loam_tmpl_puts(b, rel);
        loam_tmpl_puts(b, "\"");
    }
    if (loam_tmpl_given(target) && target.type == TMPL_STR) {
        loam_tmpl_puts(b, " target=\"");
        loam_tmpl_put_escaped(b, target.as.s);
        loam_tmpl_puts(b, "\"");
    }
    loam_tmpl_puts(b, ">");
    const int64_t most =
        loam_tmpl_given(limit) && limit.type != TMPL_NONE ? loam_tmpl_index(c, limit) : INT64_MAX;
    const int cut = (int64_t)loam_tmpl_runes(url) > most && most >= 0;
    loam_tmpl_put_escaped(b, (tmpl_str){url.p, cut ? loam_tmpl_offset(url, (size_t)most) : url.n});
    loam_tmpl_puts(b, cut ? "...</a>" : "</a>");
    loam_tmpl_put_escaped(b, (tmpl_str){url.p + url.n, w.n - head - url.n});
}

static tmpl_value filter_urlize(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[5];
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_bind(c, "urlize", "trim_url_limit,nofollow,target,rel,extra_schemes", 0, a, g);
    const int nofollow = loam_tmpl_given(g[1]) && loam_tmpl_truth(c, g[1]);
    const tmpl_str s = loam_tmpl_to_str(c, v);
    for (const char *p = s.p, *end = s.p + s.n; p < end;) {
        const char *from = p, *q = p;
        const int space = loam_tmpl_is_space(loam_tmpl_rune(&q, end));
        for (p = q; p < end; p = q)
            if (loam_tmpl_is_space(loam_tmpl_rune(&q, end)) != space) break;
        const tmpl_str word = {from, (size_t)(p - from)};
        if (space)
            loam_tmpl_put(&b, word.p, word.n);
        else
            put_word(&b, word, g[0], nofollow ? "nofollow noopener" : "noopener", g[2]);
    }
    return c->autoescape ? safe(loam_tmpl_take(&b)) : loam_tmpl_take(&b);
}

const tmpl_filter_row loam_tmpl_html_filters[] = {{"e", filter_escape},
                                                  {"escape", filter_escape},
                                                  {"forceescape", filter_forceescape},
                                                  {"safe", filter_safe},
                                                  {"striptags", filter_striptags},
                                                  {"xmlattr", filter_xmlattr},
                                                  {"urlencode", filter_urlencode},
                                                  {"urlize", filter_urlize},
                                                  {NULL, NULL}};
