/* template_filter.c - filters on single values: numbers and text.  Those on sequences are in
 * template_sequence.c, those for HTML and URLs in template_html.c. */
#include "text/template.h"
#include <math.h>
#include <stdio.h>

/* The text of any value, markup kept. */
static tmpl_value soft_str(tmpl_ctx *c, tmpl_value v) {
    return v.type == TMPL_STR ? v : loam_tmpl_str(loam_tmpl_to_str(c, v));
}

static tmpl_value with_flags(tmpl_value v, uint8_t flags) {
    v.flags = flags;
    return v;
}

/* A string method applied to the text of v. */
static tmpl_value by_method(tmpl_ctx *c, tmpl_value v, const char *name, const tmpl_args *a) {
    const char *known = NULL;
    v = soft_str(c, v);
    loam_tmpl_find_method(v, (tmpl_str){name, strlen(name)}, &known);
    const tmpl_method m = {v, known};
    return loam_tmpl_call_method(c, &m, a);
}

/* ---- text ---- */

static tmpl_value filter_upper(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    return by_method(c, v, "upper", a);
}
static tmpl_value filter_lower(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    return by_method(c, v, "lower", a);
}
static tmpl_value filter_capitalize(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    return by_method(c, v, "capitalize", a);
}
static tmpl_value filter_trim(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    return by_method(c, v, "strip", a);
}

static tmpl_value filter_center(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value width[1];
    loam_tmpl_bind(c, "center", "width", 0, a, width);
    if (!loam_tmpl_given(width[0])) width[0] = loam_tmpl_int(80);
    return by_method(c, v, "center", &(tmpl_args){.pos = width, .n = 1});
}

/* Words begin after white space, '-', '(', '{', '[' and '<'; the first letter only is raised. */
static tmpl_value filter_title(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_bind(c, "title", "", 0, a, NULL);
    v = soft_str(c, v);
    int begins = 1;
    const char *p = v.as.s.p, *end = p + v.as.s.n;
    while (p < end) {
        const char *at = p;
        const uint32_t r = loam_tmpl_rune(&p, end);
        if (loam_tmpl_is_space(r) || (r < 0x80 && strchr("-({[<", (int)r))) {
            loam_tmpl_put(&b, at, (size_t)(p - at));
            begins = 1;
        } else if (begins) {
            loam_tmpl_put_case(&b, (tmpl_str){at, (size_t)(p - at)}, TMPL_UPPER);
            begins = 0;
        } else { /* lower the rest of the word at once: a final sigma needs its neighbours */
            while (p < end) {
                const char *q = p;
                const uint32_t s = loam_tmpl_rune(&q, end);
                if (loam_tmpl_is_space(s) || (s < 0x80 && strchr("-({[<", (int)s))) break;
                p = q;
            }
            loam_tmpl_put_case(&b, (tmpl_str){at, (size_t)(p - at)}, TMPL_LOWER);
        }
    }
    return with_flags(loam_tmpl_take(&b), v.flags);
}

static tmpl_value filter_replace(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value given[3], text[3];
    loam_tmpl_bind(c, "replace", "old,new,count", 2, a, given);
    text[0] = soft_str(c, given[0]);
    text[1] = soft_str(c, given[1]);
    text[2] = given[2];
    if (c->autoescape) { /* what is not markup is escaped as soon as markup takes part */
        if (!(v.flags & TMPL_SAFE) && ((text[0].flags | text[1].flags) & TMPL_SAFE))
            v = loam_tmpl_escape(c, v);
        if (v.flags & TMPL_SAFE) text[1] = loam_tmpl_escape(c, text[1]);
    } else {
        v = with_flags(soft_str(c, v), 0);
    }
    const int counted = loam_tmpl_given(given[2]) && given[2].type != TMPL_NONE;
    return by_method(c, v, "replace", &(tmpl_args){.pos = text, .n = counted ? 3 : 2});
}

static tmpl_value filter_string(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    loam_tmpl_bind(c, "string", "", 0, a, NULL);
    return soft_str(c, v);
}

static tmpl_value filter_format(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    if (a->n && a->n_named)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT,
                       "can't handle positional and keyword arguments at the same time");
    tmpl_value args = loam_tmpl_list(TMPL_TUPLE, a->pos, a->n);
    if (a->n_named) {
        tmpl_dict *d = loam_tmpl_dict_new(c, a->n_named);
        for (size_t i = 0; i < a->n_named; i++)
            loam_tmpl_dict_set(c, d, loam_tmpl_str(a->names[i]), a->named[i]);
        args = loam_tmpl_ref(TMPL_DICT, d);
    }
    return loam_tmpl_percent(c, soft_str(c, v), args);
}

static const tmpl_value *lines_of(tmpl_ctx *c, tmpl_value v, size_t *n) {
    return loam_tmpl_items(c, by_method(c, v, "splitlines", &(tmpl_args){0}), n);
}

static tmpl_value filter_indent(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[3];
    size_t n;
    loam_tmpl_bind(c, "indent", "width,first,blank", 0, a, g);
    loam_tmpl_need_str(c, v);
    tmpl_buf by = loam_tmpl_buf(c), b = loam_tmpl_buf(c);
    if (loam_tmpl_given(g[0]) && g[0].type == TMPL_STR)
        loam_tmpl_put_str(&by, g[0]);
    else
        loam_tmpl_put_fill(&by, (tmpl_str){" ", 1},
                           loam_tmpl_given(g[0]) ? loam_tmpl_index(c, g[0]) : 4);
    const int first = loam_tmpl_given(g[1]) && loam_tmpl_truth(c, g[1]);
    const int blank = loam_tmpl_given(g[2]) && loam_tmpl_truth(c, g[2]);
    /* a newline is added first, so that a text that ends with one keeps it */
    const tmpl_value *lines = lines_of(c, loam_tmpl_concat_str(c, v, (tmpl_str){"\n", 1}), &n);
    for (size_t i = 0; i < n; i++) {
        const tmpl_str line = lines[i].as.s;
        if (i) loam_tmpl_puts(&b, "\n");
        if (i ? blank || line.n : first) loam_tmpl_put(&b, by.p, by.n);
        loam_tmpl_put(&b, line.p, line.n);
    }
    return with_flags(loam_tmpl_take(&b), v.flags);
}

static tmpl_value filter_truncate(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[4];
    loam_tmpl_bind(c, "truncate", "length,killwords,end,leeway", 0, a, g);
    const tmpl_str end = loam_tmpl_given(g[2]) ? loam_tmpl_need_str(c, g[2]) : (tmpl_str){"...", 3};
    const int64_t length = loam_tmpl_given(g[0]) ? loam_tmpl_index(c, g[0]) : 255;
    const int64_t leeway =
        loam_tmpl_given(g[3]) && g[3].type != TMPL_NONE ? loam_tmpl_index(c, g[3]) : 5;
    const int64_t keep = length - (int64_t)loam_tmpl_runes(end);
    if (keep < 0 || leeway < 0)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "truncate: length is shorter than its end mark");
    if (loam_tmpl_length(c, v) <= length + leeway) return v; /* of any kind */
    const tmpl_str s = loam_tmpl_need_str(c, v);
    tmpl_str cut = {s.p, loam_tmpl_offset(s, (size_t)keep)};
    if (!loam_tmpl_given(g[1]) || !loam_tmpl_truth(c, g[1])) {
        const char *space = cut.n ? memrchr(cut.p, ' ', cut.n) : NULL;
        if (space) cut.n = (size_t)(space - cut.p);
    }
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_put(&b, cut.p, cut.n);
    loam_tmpl_put(&b, end.p, end.n);
    return with_flags(loam_tmpl_take(&b), v.flags);
}

static tmpl_value filter_wordcount(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_int n = 0;
    int in_word = 0;
    loam_tmpl_bind(c, "wordcount", "", 0, a, NULL);
    v = soft_str(c, v);
    for (const char *p = v.as.s.p, *end = p + v.as.s.n; p < end;) {
        const int is = loam_tmpl_is_word(loam_tmpl_rune(&p, end));
        n += is && !in_word;
        in_word = is;
    }
    return loam_tmpl_int(n);
}

/* The end of the next piece of a line that may stand alone: white space, or a word up to and with
 * a hyphen between letters. */
static const char *piece_end(const char *p, const char *end, int hyphens) {
    const char *at = p;
    uint32_t before = loam_tmpl_rune(&at, end);
    const int space = loam_tmpl_is_space(before);
    while (at < end) {
        const char *next = at;
        const uint32_t r = loam_tmpl_rune(&next, end);
        if (loam_tmpl_is_space(r) != space) break;
        if (!space && hyphens && before == '-' && loam_tmpl_is_word(r) && at - p > 1) break;
        before = r;
        at = next;
    }
    return at;
}

static void wrap_line(tmpl_buf *b, tmpl_str s, int64_t width, int break_long, int hyphens,
                      tmpl_str newline) {
    int64_t column = 0;
    int lines = 0;
    tmpl_str space = {s.p, 0}; /* held back: dropped at the end of a line */
    for (const char *p = s.p, *end = s.p + s.n; p < end;) {
        const char *stop = piece_end(p, end, hyphens);
        tmpl_str piece = {p, (size_t)(stop - p)};
        p = stop;
        const char *q = piece.p;
        if (loam_tmpl_is_space(loam_tmpl_rune(&q, stop))) {
            if (column || !lines) space = piece;
            continue;
        }
        int64_t n = (int64_t)loam_tmpl_runes(piece), gap = (int64_t)loam_tmpl_runes(space);
        if (column && column + gap + n > width) {
            if (break_long && n > width && width - column - gap > 0) {
                const size_t cut = loam_tmpl_offset(piece, (size_t)(width - column - gap));
                loam_tmpl_put(b, space.p, space.n);
                loam_tmpl_put(b, piece.p, cut);
                piece = (tmpl_str){piece.p + cut, piece.n - cut};
                n = (int64_t)loam_tmpl_runes(piece);
            }
            loam_tmpl_put(b, newline.p, newline.n);
            column = gap = 0;
            space.n = 0;
            lines++;
        }
        loam_tmpl_put(b, space.p, space.n);
        while (break_long && gap + n > width) {
            const size_t cut = loam_tmpl_offset(piece, (size_t)(gap < width ? width - gap : 1));
            loam_tmpl_put(b, piece.p, cut);
            loam_tmpl_put(b, newline.p, newline.n);
            piece = (tmpl_str){piece.p + cut, piece.n - cut};
            n = (int64_t)loam_tmpl_runes(piece);
            gap = 0;
            lines++;
        }
        loam_tmpl_put(b, piece.p, piece.n);
        column += gap + n;
        space.n = 0;
    }
}

static tmpl_value filter_wordwrap(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[4];
    size_t n;
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_bind(c, "wordwrap", "width,break_long_words,wrapstring,break_on_hyphens", 0, a, g);
    const int64_t width = loam_tmpl_given(g[0]) ? loam_tmpl_index(c, g[0]) : 79;
    const int break_long = !loam_tmpl_given(g[1]) || loam_tmpl_truth(c, g[1]);
    const int hyphens = !loam_tmpl_given(g[3]) || loam_tmpl_truth(c, g[3]);
    const tmpl_str newline = loam_tmpl_given(g[2]) && g[2].type != TMPL_NONE
                                 ? loam_tmpl_need_str(c, g[2])
                                 : (tmpl_str){"\n", 1};
    if (width <= 0) loam_tmpl_fail(c, LOAM_ERR_FORMAT, "invalid width (must be > 0)");
    loam_tmpl_need_str(c, v);
    const tmpl_value *lines = lines_of(c, v, &n);
    for (size_t i = 0; i < n; i++) {
        if (i) loam_tmpl_put(&b, newline.p, newline.n);
        wrap_line(&b, lines[i].as.s, width, break_long, hyphens, newline);
    }
    return loam_tmpl_take(&b);
}

/* ---- numbers ---- */

/* Digits of a number as Python reads them: surrounding space, underscores between digits. */
static int clean_number(tmpl_str s, char *out, size_t room) {
    size_t n = 0;
    s = loam_tmpl_strip(s, NULL, 3);
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '_') {
            const int inside = i > 0 && i + 1 < s.n && s.p[i - 1] != '_' && s.p[i + 1] != '_';
            if (!inside) return 0;
            continue;
        }
        if (n + 1 >= room || !s.p[i]) return 0;
        out[n++] = s.p[i];
    }
    out[n] = 0;
    return n > 0;
}

static int digit_of(char ch) {
    if (ch >= '0' && ch <= '9') return ch - '0';
    if ((ch | 32) >= 'a' && (ch | 32) <= 'z') return (ch | 32) - 'a' + 10;
    return 99;
}

static int read_int(tmpl_ctx *c, tmpl_str s, int64_t base, tmpl_int *out) {
    char text[256];
    if (!clean_number(s, text, sizeof text)) return 0;
    const char *p = text;
    const int negative = *p == '-';
    if (*p == '-' || *p == '+') p++;
    const int k = p[0] == '0' ? p[1] | 32 : 0;
    const int prefix = k == 'x' ? 16 : k == 'o' ? 8 : k == 'b' ? 2 : 0;
    if (prefix && (base == prefix || base == 0)) {
        base = prefix;
        p += 2;
    } else if (base == 0) {
        base = 10;
    }
    if (base < 2 || base > 36 || !*p) return 0;
    tmpl_int v = 0;
    for (; *p; p++) {
        const int d = digit_of(*p);
        if (d >= base) return 0;
        if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, d, &v))
            loam_tmpl_fail(c, LOAM_ERR_LIMIT, "integer too large");
    }
    *out = negative ? -v : v;
    return 1;
}

static int read_float(tmpl_str s, double *out) {
    char text[512], *end;
    if (!clean_number(s, text, sizeof text) || strpbrk(text, "xXpP(")) return 0;
    *out = strtod(text, &end);
    return end != text && *end == 0 && text[0] != ' ';
}

static tmpl_value float_to_int(tmpl_ctx *c, double f) {
    if (isnan(f) || isinf(f)) loam_tmpl_fail(c, LOAM_ERR_FORMAT, "cannot convert float to integer");
    if (fabs(f) >= 1.7e38) loam_tmpl_fail(c, LOAM_ERR_LIMIT, "integer too large");
    return loam_tmpl_int((tmpl_int)f);
}

static tmpl_value filter_int(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[2];
    tmpl_int i;
    double f;
    loam_tmpl_bind(c, "int", "default,base", 0, a, g);
    if (v.type == TMPL_UNDEFINED) loam_tmpl_fail_undefined(c, v);
    if (loam_tmpl_is_int(v, &i)) return loam_tmpl_int(i);
    if (v.type == TMPL_FLOAT) return float_to_int(c, v.as.f);
    if (v.type == TMPL_STR) {
        if (read_int(c, v.as.s, loam_tmpl_given(g[1]) ? loam_tmpl_index(c, g[1]) : 10, &i))
            return loam_tmpl_int(i);
        if (read_float(v.as.s, &f) && isfinite(f)) return float_to_int(c, f);
    }
    return loam_tmpl_given(g[0]) ? g[0] : loam_tmpl_int(0);
}

static tmpl_value filter_float(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[1];
    double f;
    loam_tmpl_bind(c, "float", "default", 0, a, g);
    if (v.type == TMPL_UNDEFINED) loam_tmpl_fail_undefined(c, v);
    if (loam_tmpl_is_number(v, &f)) return loam_tmpl_float(f);
    if (v.type == TMPL_STR && read_float(v.as.s, &f)) return loam_tmpl_float(f);
    return loam_tmpl_given(g[0]) ? g[0] : loam_tmpl_float(0);
}

static tmpl_value filter_abs(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    loam_tmpl_bind(c, "abs", "", 0, a, NULL);
    if (v.type == TMPL_FLOAT) return loam_tmpl_float(fabs(v.as.f));
    tmpl_int i;
    if (loam_tmpl_is_int(v, &i) && i >= 0) return loam_tmpl_int(i);
    return loam_tmpl_negate(c, v);
}

static double rounded(double f, int64_t digits) {
    char text[800];
    if (!isfinite(f) || digits > 330) return f;
    if (digits >= 0) {
        snprintf(text, sizeof text, "%.*f", (int)digits, f);
        return strtod(text, NULL);
    }
    if (digits < -330) return 0 * f;
    const double by = pow(10, (double)-digits);
    return nearbyint(f / by) * by;
}

static tmpl_int rounded_int(tmpl_int i, int64_t digits) {
    if (digits >= 0) return i;
    tmpl_int by = 1;
    for (; digits < 0; digits++)
        if (__builtin_mul_overflow(by, 10, &by)) return 0;
    tmpl_int rest = i % by, down = i - rest;
    if (rest < 0) {
        rest += by;
        down -= by;
    }
    const int up = rest > by - rest || (rest == by - rest && (down / by) % 2 != 0);
    return down + (up ? by : 0);
}

static tmpl_value filter_round(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[2];
    tmpl_int i;
    double f;
    loam_tmpl_bind(c, "round", "precision,method", 0, a, g);
    const int64_t digits = loam_tmpl_given(g[0]) ? loam_tmpl_index(c, g[0]) : 0;
    const tmpl_str how =
        loam_tmpl_given(g[1]) ? loam_tmpl_need_str(c, g[1]) : (tmpl_str){"common", 6};
    if (v.type == TMPL_UNDEFINED) loam_tmpl_fail_undefined(c, v);
    if (!loam_tmpl_is_number(v, &f))
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "type %s doesn't define __round__ method",
                       loam_tmpl_type_name(v));
    if (loam_tmpl_is(how, "common"))
        return loam_tmpl_is_int(v, &i) ? loam_tmpl_int(rounded_int(i, digits))
                                       : loam_tmpl_float(rounded(f, digits));
    const double by = pow(10, (double)digits);
    if (loam_tmpl_is(how, "ceil")) return loam_tmpl_float((ceil(f * by) + 0.0) / by);
    if (loam_tmpl_is(how, "floor")) return loam_tmpl_float((floor(f * by) + 0.0) / by);
    loam_tmpl_fail(c, LOAM_ERR_FORMAT, "method must be common, ceil or floor");
}

static tmpl_value filter_filesizeformat(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    static const char PREFIXES[] = "kMGTPEZY";
    tmpl_value g[1];
    char text[400];
    loam_tmpl_bind(c, "filesizeformat", "binary", 0, a, g);
    const int binary = loam_tmpl_given(g[0]) && loam_tmpl_truth(c, g[0]);
    double bytes;
    if (!loam_tmpl_is_number(v, &bytes) && !(v.type == TMPL_STR && read_float(v.as.s, &bytes)))
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "float() argument must be a number, not '%s'",
                       loam_tmpl_type_name(v));
    const double base = binary ? 1024 : 1000;
    if (bytes >= 1 && bytes <= 1) return loam_tmpl_strz("1 Byte");
    if (bytes < base) {
        snprintf(text, sizeof text, "%.0f Bytes", trunc(bytes) + 0.0);
    } else {
        double unit = base * base;
        size_t i = 0;
        for (; bytes >= unit && i < 7; i++) unit *= base;
        snprintf(text, sizeof text, "%.1f %c%sB", base * bytes / unit,
                 i == 0 && binary ? 'K' : PREFIXES[i], binary ? "i" : "");
    }
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_puts(&b, text);
    return loam_tmpl_take(&b);
}

/* ---- any value ---- */

static tmpl_value filter_default(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[2];
    loam_tmpl_bind(c, "default", "default_value,boolean", 0, a, g);
    const int boolean = loam_tmpl_given(g[1]) && loam_tmpl_truth(c, g[1]);
    if (v.type != TMPL_UNDEFINED && !(boolean && !loam_tmpl_truth(c, v))) return v;
    return loam_tmpl_given(g[0]) ? g[0] : loam_tmpl_strz("");
}

static tmpl_value filter_pprint(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_bind(c, "pprint", "", 0, a, NULL);
    loam_tmpl_put_repr(&b, v);
    return loam_tmpl_take(&b);
}

static tmpl_value filter_attr(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[1];
    loam_tmpl_bind(c, "attr", "name", 1, a, g);
    const tmpl_str name = loam_tmpl_need_str(c, g[0]);
    if (v.type != TMPL_DICT) return loam_tmpl_attr(c, v, name);
    /* attributes only: an empty dict has them all and no keys */
    return loam_tmpl_attr(c, loam_tmpl_ref(TMPL_DICT, loam_tmpl_dict_new(c, 0)), name);
}

static tmpl_value filter_tojson(tmpl_ctx *c, tmpl_value v, const tmpl_args *a) {
    tmpl_value g[4];
    size_t n;
    tmpl_buf indent = loam_tmpl_buf(c), b = loam_tmpl_buf(c);
    tmpl_json_style s = {.item = {", ", 2}, .key = {": ", 2}};
    loam_tmpl_bind(c, "tojson", "ensure_ascii,indent,separators,sort_keys", 0, a, g);
    s.ascii = loam_tmpl_given(g[0]) && loam_tmpl_truth(c, g[0]);
    s.sort = loam_tmpl_given(g[3]) && loam_tmpl_truth(c, g[3]);
    if (loam_tmpl_given(g[1]) && g[1].type != TMPL_NONE) {
        s.pretty = 1;
        s.item.n = 1;
        if (g[1].type == TMPL_STR)
            loam_tmpl_put_str(&indent, g[1]);
        else
            loam_tmpl_put_fill(&indent, (tmpl_str){" ", 1}, loam_tmpl_index(c, g[1]));
        s.indent = (tmpl_str){indent.p, indent.n};
    }
    if (loam_tmpl_given(g[2]) && g[2].type != TMPL_NONE) {
        const tmpl_value *two = loam_tmpl_items(c, g[2], &n);
        if (n != 2) loam_tmpl_fail(c, LOAM_ERR_FORMAT, "separators are a pair");
        s.item = loam_tmpl_need_str(c, two[0]);
        s.key = loam_tmpl_need_str(c, two[1]);
    }
    loam_tmpl_put_json(&b, v, &s, 0);
    return loam_tmpl_take(&b);
}

static const tmpl_filter_row FILTERS[] = {
    {"upper", filter_upper},           {"lower", filter_lower},
    {"capitalize", filter_capitalize}, {"trim", filter_trim},
    {"center", filter_center},         {"title", filter_title},
    {"replace", filter_replace},       {"string", filter_string},
    {"format", filter_format},         {"indent", filter_indent},
    {"truncate", filter_truncate},     {"wordcount", filter_wordcount},
    {"wordwrap", filter_wordwrap},     {"int", filter_int},
    {"float", filter_float},           {"abs", filter_abs},
    {"round", filter_round},           {"filesizeformat", filter_filesizeformat},
    {"default", filter_default},       {"d", filter_default},
    {"pprint", filter_pprint},         {"attr", filter_attr},
    {"tojson", filter_tojson},         {NULL, NULL}};

static tmpl_filter *find_filter(tmpl_str name) {
    const tmpl_filter_row *const tables[] = {FILTERS, loam_tmpl_sequence_filters,
                                             loam_tmpl_html_filters};
    for (size_t i = 0; i < 3; i++)
        for (const tmpl_filter_row *f = tables[i]; f->name; f++)
            if (loam_tmpl_is(name, f->name)) return f->run;
    return NULL;
}

int loam_tmpl_filter_exists(tmpl_str name) {
    return find_filter(name) != NULL;
}

tmpl_value loam_tmpl_filter(tmpl_ctx *c, tmpl_str name, tmpl_value v, const tmpl_args *a) {
    tmpl_filter *f = find_filter(name);
    loam_tmpl_step(c, 0);
    if (!f) loam_tmpl_fail(c, LOAM_ERR_FORMAT, "No filter named '%.*s'.", (int)name.n, name.p);
    return f(c, v, a);
}
