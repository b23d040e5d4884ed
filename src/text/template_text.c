/* template_text.c - values as text: str, repr, JSON, HTML; and text being built.
 *
 * Byte-equal to Python 3: shortest floats, quotes of repr, json.dumps.
 */
#include "text/template.h"
#include <math.h>
#include <stdio.h>

/* ---- buffers ---- */

tmpl_buf loam_tmpl_buf(tmpl_ctx *c) {
    static char empty[1]; /* an empty text has an address too; never written, as cap is 0 */
    return (tmpl_buf){.ctx = c, .p = empty};
}

void loam_tmpl_put(tmpl_buf *b, const char *p, size_t n) {
    tmpl_ctx *c = b->ctx;
    if (b->n + n > TMPL_MAX_OUTPUT)
        loam_tmpl_fail(c, LOAM_ERR_LIMIT, "text larger than %d MB", TMPL_MAX_OUTPUT >> 20);
    loam_tmpl_step(c, n / 4);
    if (b->out) {
        loam_buf_append(b->out, p, n);
        if (b->out->failed) loam_tmpl_fail(c, LOAM_ERR_MEMORY, "out of memory");
        b->n += n;
        return;
    }
    if (b->cap - b->n < n) {
        size_t cap = b->cap ? b->cap * 2 : 64;
        while (cap < b->n + n) cap *= 2;
        char *more = loam_tmpl_alloc(c, cap, 1);
        if (b->n) memcpy(more, b->p, b->n);
        b->p = more;
        b->cap = cap;
    }
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
}

void loam_tmpl_puts(tmpl_buf *b, const char *s) {
    loam_tmpl_put(b, s, strlen(s));
}

void loam_tmpl_put_rune(tmpl_buf *b, uint32_t r) {
    char out[4];
    size_t n;
    if (r > 0x10ffff || (r >= 0xd800 && r < 0xe000)) r = 0xfffd;
    if (r < 0x80) {
        out[0] = (char)r;
        n = 1;
    } else if (r < 0x800) {
        out[0] = (char)(0xc0 | r >> 6);
        out[1] = (char)(0x80 | (r & 63));
        n = 2;
    } else if (r < 0x10000) {
        out[0] = (char)(0xe0 | r >> 12);
        out[1] = (char)(0x80 | (r >> 6 & 63));
        out[2] = (char)(0x80 | (r & 63));
        n = 3;
    } else {
        out[0] = (char)(0xf0 | r >> 18);
        out[1] = (char)(0x80 | (r >> 12 & 63));
        out[2] = (char)(0x80 | (r >> 6 & 63));
        out[3] = (char)(0x80 | (r & 63));
        n = 4;
    }
    loam_tmpl_put(b, out, n);
}

void loam_tmpl_put_fill(tmpl_buf *b, tmpl_str fill, int64_t times) {
    if (times <= 0 || fill.n == 0) return;
    if ((uint64_t)times > TMPL_MAX_OUTPUT / fill.n)
        loam_tmpl_fail(b->ctx, LOAM_ERR_LIMIT, "text larger than %d MB", TMPL_MAX_OUTPUT >> 20);
    for (int64_t i = 0; i < times; i++) loam_tmpl_put(b, fill.p, fill.n);
}

tmpl_value loam_tmpl_take(tmpl_buf *b) {
    return loam_tmpl_str((tmpl_str){b->p, b->n});
}

/* Room behind a string or list that was joined once, so that the next `+` is not a copy of all
 * that came before.  Values are immutable: a prefix stays valid when the room behind it fills. */
typedef struct growth {
    char *p;
    size_t used, cap; /* bytes */
} growth;

/* Bytes of `a` with `n_b` more behind them; *ref is the growth buffer of a, or NULL. */
static char *grow(tmpl_ctx *c, void **ref, const void *a, size_t n_a, const void *b, size_t n_b) {
    growth *g = *ref;
    if (!g || g->p + g->used != (const char *)a + n_a || g->cap - g->used < n_b) {
        growth *fresh = loam_tmpl_alloc(c, 1, sizeof *fresh);
        fresh->cap = g ? (n_a + n_b) * 2 : n_a + n_b; /* the second time it pays */
        fresh->p = loam_tmpl_alloc(c, fresh->cap, 1);
        fresh->used = n_a;
        if (n_a) memcpy(fresh->p, a, n_a);
        loam_tmpl_step(c, n_a);
        *ref = g = fresh;
    }
    if (n_b) memcpy(g->p + g->used, b, n_b);
    g->used += n_b;
    loam_tmpl_step(c, n_b);
    return g->p + g->used - n_b - n_a;
}

tmpl_value loam_tmpl_concat_str(tmpl_ctx *c, tmpl_value a, tmpl_str b) {
    if (a.as.s.n + b.n > TMPL_MAX_OUTPUT)
        loam_tmpl_fail(c, LOAM_ERR_LIMIT, "text larger than %d MB", TMPL_MAX_OUTPUT >> 20);
    tmpl_value out = a;
    out.as.s.p = grow(c, &out.ref, a.as.s.p, a.as.s.n, b.p, b.n);
    out.as.s.n = a.as.s.n + b.n;
    return out;
}

tmpl_value loam_tmpl_concat_list(tmpl_ctx *c, tmpl_value a, tmpl_value b) {
    const size_t size = sizeof(tmpl_value);
    tmpl_value out = loam_tmpl_list((tmpl_type)a.type, NULL, a.as.l.n + b.as.l.n);
    out.ref = a.ref;
    out.as.l.items = (const tmpl_value *)(void *)grow(c, &out.ref, a.as.l.items, a.as.l.n * size,
                                                      b.as.l.items, b.as.l.n * size);
    return out;
}

/* ---- numbers ---- */

void loam_tmpl_put_int(tmpl_buf *b, tmpl_int v, unsigned base) {
    char text[136];
    size_t n = sizeof text;
    tmpl_uint u = v < 0 ? 0 - (tmpl_uint)v : (tmpl_uint)v;
    do {
        text[--n] = "0123456789abcdef"[u % base];
        u /= base;
    } while (u);
    if (v < 0) text[--n] = '-';
    loam_tmpl_put(b, text + n, sizeof text - n);
}

void loam_tmpl_put_float(tmpl_buf *b, double v) {
    char text[40] = "";
    loam_buf repr = {0};
    loam_json_put_repr(&repr, v);
    if (repr.n < sizeof text) memcpy(text, repr.data ? repr.data : "", repr.n);
    const int failed = repr.failed;
    loam_buf_deinit(&repr); /* before anything that may leave by longjmp */
    if (failed) loam_tmpl_fail(b->ctx, LOAM_ERR_MEMORY, "a number's text");
    loam_tmpl_puts(b, text);
}

/* ---- str and repr ---- */

/* A backslash, a letter and hex digits: \xNN, \uNNNN, \UNNNNNNNN. */
static void put_hex(tmpl_buf *b, char letter, uint32_t v) {
    char text[16];
    snprintf(text, sizeof text, "\\%c%0*x", letter, letter == 'x' ? 2 : letter == 'u' ? 4 : 8, v);
    loam_tmpl_puts(b, text);
}

static void put_quoted(tmpl_buf *b, tmpl_str s) {
    const int single = s.n && memchr(s.p, '\'', s.n) && !memchr(s.p, '"', s.n);
    const uint32_t quote = single ? '"' : '\'';
    loam_tmpl_put_rune(b, quote);
    for (const char *p = s.p, *end = s.p + s.n; p < end;) {
        const uint32_t r = loam_tmpl_rune(&p, end);
        if (r == quote || r == '\\') {
            loam_tmpl_puts(b, "\\");
            loam_tmpl_put_rune(b, r);
        } else if (r == '\n')
            loam_tmpl_puts(b, "\\n");
        else if (r == '\r')
            loam_tmpl_puts(b, "\\r");
        else if (r == '\t')
            loam_tmpl_puts(b, "\\t");
        else if (loam_tmpl_is_printable(r))
            loam_tmpl_put_rune(b, r);
        else
            put_hex(b, r < 0x100 ? 'x' : r < 0x10000 ? 'u' : 'U', r);
    }
    loam_tmpl_put_rune(b, quote);
}

static void put_bytes(tmpl_buf *b, tmpl_str s) {
    const int single = s.n && memchr(s.p, '\'', s.n) && !memchr(s.p, '"', s.n);
    const char quote = single ? '"' : '\'';
    loam_tmpl_puts(b, "b");
    loam_tmpl_put(b, &quote, 1);
    for (size_t i = 0; i < s.n; i++) {
        const unsigned char ch = (unsigned char)s.p[i];
        if (ch == (unsigned char)quote || ch == '\\') loam_tmpl_puts(b, "\\");
        if (ch == '\n')
            loam_tmpl_puts(b, "\\n");
        else if (ch == '\r')
            loam_tmpl_puts(b, "\\r");
        else if (ch == '\t')
            loam_tmpl_puts(b, "\\t");
        else if (ch < 0x20 || ch >= 0x7f)
            put_hex(b, 'x', ch);
        else
            loam_tmpl_put(b, &s.p[i], 1);
    }
    loam_tmpl_put(b, &quote, 1);
}

static void put_list(tmpl_buf *b, const char *open, const tmpl_value *items, size_t n,
                     const char *close) {
    loam_tmpl_puts(b, open);
    for (size_t i = 0; i < n; i++) {
        if (i) loam_tmpl_puts(b, ", ");
        loam_tmpl_put_repr(b, items[i]);
    }
    loam_tmpl_puts(b, close);
}

static void put_dict(tmpl_buf *b, const tmpl_dict *d) {
    loam_tmpl_puts(b, "{");
    for (size_t i = 0; i < d->n; i++) {
        if (i) loam_tmpl_puts(b, ", ");
        loam_tmpl_put_repr(b, d->entries[i].key);
        loam_tmpl_puts(b, ": ");
        loam_tmpl_put_repr(b, d->entries[i].value);
    }
    loam_tmpl_puts(b, "}");
}

static void put_range(tmpl_buf *b, const tmpl_range *r) {
    loam_tmpl_puts(b, "range(");
    loam_tmpl_put_int(b, r->start, 10);
    loam_tmpl_puts(b, ", ");
    loam_tmpl_put_int(b, r->stop, 10);
    if (r->step != 1) {
        loam_tmpl_puts(b, ", ");
        loam_tmpl_put_int(b, r->step, 10);
    }
    loam_tmpl_puts(b, ")");
}

/* Things that Python shows with an address, or that only Jinja has. */
static void put_object(tmpl_buf *b, tmpl_value v) {
    size_t n;
    switch (v.type) {
    case TMPL_VIEW: {
        static const char *const OPEN[] = {"dict_keys([", "dict_values([", "dict_items(["};
        const tmpl_value *items = loam_tmpl_items(b->ctx, v, &n);
        put_list(b, OPEN[((const tmpl_view *)v.ref)->kind], items, n, "])");
        return;
    }
    case TMPL_NAMESPACE:
        loam_tmpl_puts(b, "<Namespace ");
        put_dict(b, v.ref);
        loam_tmpl_puts(b, ">");
        return;
    case TMPL_LOOP: {
        const tmpl_loop *l = v.ref;
        loam_tmpl_loop_fill(b->ctx, v.ref, SIZE_MAX);
        loam_tmpl_puts(b, "<LoopContext ");
        loam_tmpl_put_int(b, (tmpl_int)l->at + 1, 10);
        loam_tmpl_puts(b, "/");
        loam_tmpl_put_int(b, (tmpl_int)l->n, 10);
        loam_tmpl_puts(b, ">");
        return;
    }
    case TMPL_MACRO: {
        const tmpl_macro *m = v.ref;
        loam_tmpl_puts(b, "<Macro ");
        put_quoted(b, m->node->name);
        loam_tmpl_puts(b, ">");
        return;
    }
    case TMPL_SELF: loam_tmpl_puts(b, "<TemplateReference None>"); return;
    case TMPL_ITER:
        loam_tmpl_puts(b, "<");
        loam_tmpl_puts(b, ((const tmpl_iter *)v.ref)->name);
        loam_tmpl_puts(b, " object>");
        return;
    default:
        loam_tmpl_puts(b, "<");
        loam_tmpl_puts(b, loam_tmpl_type_name(v));
        loam_tmpl_puts(b, " object>");
    }
}

void loam_tmpl_put_repr(tmpl_buf *b, tmpl_value v) {
    loam_tmpl_step(b->ctx, 0);
    loam_tmpl_enter(b->ctx);
    switch (v.type) {
    case TMPL_UNDEFINED: loam_tmpl_puts(b, "Undefined"); break;
    case TMPL_NONE: loam_tmpl_puts(b, "None"); break;
    case TMPL_BOOL: loam_tmpl_puts(b, v.as.i ? "True" : "False"); break;
    case TMPL_INT: loam_tmpl_put_int(b, v.as.i, 10); break;
    case TMPL_FLOAT: loam_tmpl_put_float(b, v.as.f); break;
    case TMPL_STR:
        if (v.flags & TMPL_SAFE) loam_tmpl_puts(b, "Markup(");
        put_quoted(b, v.as.s);
        if (v.flags & TMPL_SAFE) loam_tmpl_puts(b, ")");
        break;
    case TMPL_BYTES: put_bytes(b, v.as.s); break;
    case TMPL_LIST: put_list(b, "[", v.as.l.items, v.as.l.n, "]"); break;
    case TMPL_TUPLE: put_list(b, "(", v.as.l.items, v.as.l.n, v.as.l.n == 1 ? ",)" : ")"); break;
    case TMPL_DICT: put_dict(b, v.ref); break;
    case TMPL_RANGE: put_range(b, v.ref); break;
    default: put_object(b, v); break;
    }
    b->ctx->depth--;
}

void loam_tmpl_put_str(tmpl_buf *b, tmpl_value v) {
    if (v.type == TMPL_STR)
        loam_tmpl_put(b, v.as.s.p, v.as.s.n);
    else if (v.type != TMPL_UNDEFINED)
        loam_tmpl_put_repr(b, v);
}

tmpl_str loam_tmpl_to_str(tmpl_ctx *c, tmpl_value v) {
    if (v.type == TMPL_STR) return v.as.s;
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_put_str(&b, v);
    return (tmpl_str){b.p, b.n};
}

/* ---- HTML ---- */

void loam_tmpl_put_escaped(tmpl_buf *b, tmpl_str s) {
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        const char *as = s.p[i] == '&'    ? "&amp;"
                         : s.p[i] == '<'  ? "&lt;"
                         : s.p[i] == '>'  ? "&gt;"
                         : s.p[i] == '"'  ? "&#34;"
                         : s.p[i] == '\'' ? "&#39;"
                                          : NULL;
        if (!as) continue;
        loam_tmpl_put(b, s.p + from, i - from);
        loam_tmpl_puts(b, as);
        from = i + 1;
    }
    if (s.n > from) loam_tmpl_put(b, s.p + from, s.n - from);
}

tmpl_value loam_tmpl_escape(tmpl_ctx *c, tmpl_value v) {
    if (v.type == TMPL_STR && (v.flags & TMPL_SAFE)) return v;
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_put_escaped(&b, loam_tmpl_to_str(c, v));
    tmpl_value out = loam_tmpl_take(&b);
    out.flags = TMPL_SAFE;
    return out;
}

/* ---- JSON ---- */

static void put_json_string(tmpl_buf *b, tmpl_str s, int ascii) {
    static const char FROM[] = "\"\\\b\f\n\r\t", TO[] = "\"\\bfnrt";
    loam_tmpl_puts(b, "\"");
    for (const char *p = s.p, *end = s.p + s.n; p < end;) {
        const uint32_t r = loam_tmpl_rune(&p, end);
        const char *known = r && r < 0x80 ? strchr(FROM, (int)r) : NULL;
        if (known) {
            loam_tmpl_puts(b, "\\");
            loam_tmpl_put(b, &TO[known - FROM], 1);
        } else if (r < 0x20 || (ascii && r > 0x7e && r < 0x10000)) {
            put_hex(b, 'u', r);
        } else if (ascii && r >= 0x10000) {
            put_hex(b, 'u', 0xd800 + ((r - 0x10000) >> 10));
            put_hex(b, 'u', 0xdc00 + ((r - 0x10000) & 0x3ff));
        } else {
            loam_tmpl_put_rune(b, r);
        }
    }
    loam_tmpl_puts(b, "\"");
}

static void put_json_float(tmpl_buf *b, double v) {
    if (isnan(v))
        loam_tmpl_puts(b, "NaN");
    else if (isinf(v))
        loam_tmpl_puts(b, v < 0 ? "-Infinity" : "Infinity");
    else
        loam_tmpl_put_float(b, v);
}

static void put_json_break(tmpl_buf *b, const tmpl_json_style *s, size_t level) {
    if (!s->pretty) return;
    loam_tmpl_puts(b, "\n");
    loam_tmpl_put_fill(b, s->indent, (int64_t)level);
}

static void put_json_key(tmpl_buf *b, tmpl_value k, const tmpl_json_style *s) {
    tmpl_buf text = loam_tmpl_buf(b->ctx);
    switch (k.type) {
    case TMPL_STR: put_json_string(b, k.as.s, s->ascii); return;
    case TMPL_NONE: loam_tmpl_puts(&text, "null"); break;
    case TMPL_BOOL: loam_tmpl_puts(&text, k.as.i ? "true" : "false"); break;
    case TMPL_INT: loam_tmpl_put_int(&text, k.as.i, 10); break;
    case TMPL_FLOAT: put_json_float(&text, k.as.f); break;
    default:
        loam_tmpl_fail(b->ctx, LOAM_ERR_FORMAT,
                       "keys must be str, int, float, bool or None, not %s",
                       loam_tmpl_type_name(k));
    }
    put_json_string(b, (tmpl_str){text.p, text.n}, s->ascii);
}

static void put_json_dict(tmpl_buf *b, const tmpl_dict *d, const tmpl_json_style *s, size_t level) {
    tmpl_ctx *c = b->ctx;
    if (!d->n) {
        loam_tmpl_puts(b, "{}");
        return;
    }
    size_t n;
    tmpl_value *keys = loam_tmpl_alloc(c, d->n, sizeof *keys);
    tmpl_value *values = loam_tmpl_alloc(c, d->n, sizeof *values);
    for (n = 0; n < d->n; n++) {
        keys[n] = d->entries[n].key;
        values[n] = d->entries[n].value;
    }
    if (s->sort) loam_tmpl_sort(c, keys, values, n, 0);
    loam_tmpl_puts(b, "{");
    for (size_t i = 0; i < n; i++) {
        if (i) loam_tmpl_put(b, s->item.p, s->item.n);
        put_json_break(b, s, level + 1);
        put_json_key(b, keys[i], s);
        loam_tmpl_put(b, s->key.p, s->key.n);
        loam_tmpl_put_json(b, values[i], s, level + 1);
    }
    put_json_break(b, s, level);
    loam_tmpl_puts(b, "}");
}

static void put_json_list(tmpl_buf *b, tmpl_value v, const tmpl_json_style *s, size_t level) {
    if (!v.as.l.n) {
        loam_tmpl_puts(b, "[]");
        return;
    }
    loam_tmpl_puts(b, "[");
    for (size_t i = 0; i < v.as.l.n; i++) {
        if (i) loam_tmpl_put(b, s->item.p, s->item.n);
        put_json_break(b, s, level + 1);
        loam_tmpl_put_json(b, v.as.l.items[i], s, level + 1);
    }
    put_json_break(b, s, level);
    loam_tmpl_puts(b, "]");
}

void loam_tmpl_put_json(tmpl_buf *b, tmpl_value v, const tmpl_json_style *s, size_t level) {
    loam_tmpl_step(b->ctx, 0);
    loam_tmpl_enter(b->ctx);
    switch (v.type) {
    case TMPL_NONE: loam_tmpl_puts(b, "null"); break;
    case TMPL_BOOL: loam_tmpl_puts(b, v.as.i ? "true" : "false"); break;
    case TMPL_INT: loam_tmpl_put_int(b, v.as.i, 10); break;
    case TMPL_FLOAT: put_json_float(b, v.as.f); break;
    case TMPL_STR: put_json_string(b, v.as.s, s->ascii); break;
    case TMPL_LIST:
    case TMPL_TUPLE: put_json_list(b, v, s, level); break;
    case TMPL_DICT: put_json_dict(b, v.ref, s, level); break;
    default:
        loam_tmpl_fail(b->ctx, LOAM_ERR_FORMAT, "Object of type %s is not JSON serializable",
                       loam_tmpl_type_name(v));
    }
    b->ctx->depth--;
}
