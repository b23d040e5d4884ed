/* template_format.c - "%d" % x and "{:>5}".format(x), as Python's str formats.
 *
 * One place lays out a number (sign, prefix, grouping, padding); the two mini
 * languages only fill in a `spec`.
 */
#include "text/template.h"
#include <math.h>
#include <stdio.h>

enum { MAX_WIDTH = 1 << 20, MAX_PRECISION = 1000 };

typedef struct spec {
    uint32_t fill;
    char align; /* < > ^ = or 0: the type's own */
    char sign;  /* + space or 0 */
    char group; /* , _ or 0 */
    char type;  /* 0: none given */
    int alt, zero;
    int64_t width;
    int precision; /* -1: none */
} spec;

/* sign and prefix, then body, padded.  `number`: '0' pads between them. */
static void put_padded(tmpl_buf *b, const spec *s, const char *lead, tmpl_str body, char align) {
    tmpl_buf fill = loam_tmpl_buf(b->ctx);
    loam_tmpl_put_rune(&fill, s->fill ? s->fill : ' ');
    const tmpl_str pad = {fill.p, fill.n};
    const int64_t room = s->width - (int64_t)strlen(lead) - (int64_t)loam_tmpl_runes(body);
    const int64_t left = align == '>' ? room : align == '^' ? room / 2 : 0;
    loam_tmpl_put_fill(b, pad, left);
    loam_tmpl_puts(b, lead);
    if (align == '=') loam_tmpl_put_fill(b, pad, room);
    loam_tmpl_put(b, body.p, body.n);
    if (align == '<' || align == '^') loam_tmpl_put_fill(b, pad, room - left);
}

static void put_number(tmpl_buf *b, const spec *s, int negative, const char *prefix,
                       tmpl_str body) {
    char lead[8];
    snprintf(lead, sizeof lead, "%s%s",
             negative         ? "-"
             : s->sign == '+' ? "+"
             : s->sign == ' ' ? " "
                              : "",
             prefix);
    spec with = *s;
    char align = s->align ? s->align : '>';
    if (s->zero && !s->align) {
        align = '=';
        with.fill = '0';
    }
    put_padded(b, &with, lead, body, align);
}

/* Digits before the point in groups of `every`. */
static tmpl_str group_digits(tmpl_ctx *c, tmpl_str digits, char mark, size_t every) {
    size_t whole = 0;
    while (whole < digits.n && digits.p[whole] != '.' && (digits.p[whole] | 32) != 'e') whole++;
    if (!mark) return digits;
    tmpl_buf b = loam_tmpl_buf(c);
    for (size_t i = 0; i < whole; i++) {
        if (i && (whole - i) % every == 0) loam_tmpl_put(&b, &mark, 1);
        loam_tmpl_put(&b, digits.p + i, 1);
    }
    loam_tmpl_put(&b, digits.p + whole, digits.n - whole);
    return (tmpl_str){b.p, b.n};
}

static void upper_ascii(char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] >= 'a' && p[i] <= 'z') p[i] = (char)(p[i] - 32);
}

static void put_int(tmpl_buf *b, const spec *s, tmpl_int v, int precision) {
    tmpl_ctx *c = b->ctx;
    const char type = s->type ? s->type : 'd';
    const unsigned base = (type | 32) == 'x' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
    tmpl_buf digits = loam_tmpl_buf(c);
    loam_tmpl_put_int(&digits, v, base);
    tmpl_str body = {digits.p + (v < 0), digits.n - (v < 0)};
    if (precision > (int)body.n) {
        tmpl_buf more = loam_tmpl_buf(c);
        loam_tmpl_put_fill(&more, (tmpl_str){"0", 1}, precision - (int64_t)body.n);
        loam_tmpl_put(&more, body.p, body.n);
        body = (tmpl_str){more.p, more.n};
    }
    if (type == 'X') upper_ascii(digits.p, digits.n);
    const char *prefix = !s->alt       ? ""
                         : type == 'x' ? "0x"
                         : type == 'X' ? "0X"
                         : type == 'o' ? "0o"
                         : type == 'b' ? "0b"
                                       : "";
    put_number(b, s, v < 0, prefix, group_digits(c, body, s->group, base == 10 ? 3 : 4));
}

static void put_real(tmpl_buf *b, const spec *s, double v) {
    char text[MAX_PRECISION + 400];
    tmpl_ctx *c = b->ctx;
    const int negative = signbit(v) && !isnan(v), precision = s->precision < 0 ? 6 : s->precision;
    const char kind = (char)(s->type | 32);
    const double a = fabs(s->type == '%' ? v * 100 : v);
    tmpl_buf plain = loam_tmpl_buf(c);
    int n;
    if (isnan(a) || isinf(a)) {
        n = snprintf(text, sizeof text, "%s", isnan(a) ? "nan" : "inf");
    } else if (s->type == 0 && s->precision < 0) {
        loam_tmpl_put_float(&plain, a);
        n = snprintf(text, sizeof text, "%.*s", (int)plain.n, plain.p);
    } else if (kind == 'f' || s->type == '%') {
        n = snprintf(text, sizeof text, s->alt ? "%#.*f" : "%.*f", precision, a);
    } else if (kind == 'e') {
        n = snprintf(text, sizeof text, s->alt ? "%#.*e" : "%.*e", precision, a);
    } else {
        n = snprintf(text, sizeof text, s->alt ? "%#.*g" : "%.*g", precision ? precision : 1, a);
        if (s->type == 0 && !strpbrk(text, ".e")) n += snprintf(text + n, 4, ".0");
    }
    if (s->type >= 'A' && s->type <= 'Z') upper_ascii(text, (size_t)n);
    if (s->type == '%') n += snprintf(text + n, 4, "%%");
    put_number(b, s, negative, "", group_digits(c, (tmpl_str){text, (size_t)n}, s->group, 3));
}

static void put_text(tmpl_buf *b, const spec *s, tmpl_str text, char align) {
    if (s->precision >= 0) text.n = loam_tmpl_offset(text, (size_t)s->precision);
    put_padded(b, s, "", text, s->align ? s->align : align);
}

static void put_ascii(tmpl_buf *b, tmpl_str s) { /* ascii() of a repr */
    for (const char *p = s.p, *end = s.p + s.n; p < end;) {
        char text[16];
        const uint32_t r = loam_tmpl_rune(&p, end);
        if (r < 0x80) {
            loam_tmpl_put_rune(b, r);
            continue;
        }
        snprintf(text, sizeof text, r < 0x100 ? "\\x%02x" : r < 0x10000 ? "\\u%04x" : "\\U%08x", r);
        loam_tmpl_puts(b, text);
    }
}

/* str, repr or ascii of a value by the letter s, r or a. */
static tmpl_str convert(tmpl_ctx *c, tmpl_value v, char how) {
    tmpl_buf b = loam_tmpl_buf(c);
    if (how == 's') return loam_tmpl_to_str(c, v);
    loam_tmpl_put_repr(&b, v);
    if (how == 'a') {
        tmpl_buf ascii = loam_tmpl_buf(c);
        put_ascii(&ascii, (tmpl_str){b.p, b.n});
        b = ascii;
    }
    return (tmpl_str){b.p, b.n};
}

static int read_count(tmpl_ctx *c, tmpl_str f, size_t *at, int64_t *out) {
    int64_t v = 0;
    const size_t from = *at;
    while (*at < f.n && f.p[*at] >= '0' && f.p[*at] <= '9') {
        v = v * 10 + (f.p[(*at)++] - '0');
        if (v > MAX_WIDTH) loam_tmpl_fail(c, LOAM_ERR_LIMIT, "width or precision too large");
    }
    *out = v;
    return *at > from;
}

/* ---- "%..." % args ---- */

typedef struct percent {
    tmpl_ctx *c;
    tmpl_str f;
    size_t at;
    tmpl_value args;
    const tmpl_value *items;
    size_t n, used;
} percent;

static tmpl_value next_arg(percent *p) {
    if (p->used >= p->n)
        loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "not enough arguments for format string");
    return p->items[p->used++];
}

static tmpl_value named_arg(percent *p) {
    size_t end = p->at + 1, depth = 1;
    for (; end < p->f.n; end++) {
        if (p->f.p[end] == '(')
            depth++;
        else if (p->f.p[end] == ')' && --depth == 0)
            break;
    }
    if (end >= p->f.n) loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "incomplete format key");
    if (p->args.type != TMPL_DICT)
        loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "format requires a mapping");
    const tmpl_str key = {p->f.p + p->at + 1, end - p->at - 1};
    const tmpl_value *v = loam_tmpl_dict_get(p->c, p->args.ref, loam_tmpl_str(key));
    if (!v) loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "KeyError: '%.*s'", (int)key.n, key.p);
    p->at = end + 1;
    p->used = p->n;
    return *v;
}

static int64_t star_or_count(percent *p, int *found) {
    int64_t v = 0;
    *found = 1;
    if (p->at < p->f.n && p->f.p[p->at] == '*') {
        p->at++;
        v = loam_tmpl_index(p->c, next_arg(p));
        if (v > MAX_WIDTH || v < -MAX_WIDTH)
            loam_tmpl_fail(p->c, LOAM_ERR_LIMIT, "width or precision too large");
        return v;
    }
    *found = read_count(p->c, p->f, &p->at, &v);
    return v;
}

static void put_percent_number(tmpl_buf *b, const spec *s, tmpl_value v) {
    tmpl_int i;
    double x;
    tmpl_ctx *c = b->ctx;
    if (v.type == TMPL_UNDEFINED) loam_tmpl_fail_undefined(c, v);
    if (strchr("diuoxX", s->type)) {
        spec with = *s;
        const int decimal = strchr("diu", s->type) != NULL;
        if (decimal) with.type = 'd';
        if (v.type == TMPL_FLOAT && decimal && fabs(v.as.f) < 1e37)
            i = (tmpl_int)v.as.f;
        else if (!loam_tmpl_is_int(v, &i))
            loam_tmpl_fail(c, LOAM_ERR_FORMAT, "%%%c format: a number is required, not %s", s->type,
                           loam_tmpl_type_name(v));
        with.precision = -1;
        put_int(b, &with, i, s->precision);
        return;
    }
    if (!loam_tmpl_is_number(v, &x))
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "must be real number, not %s", loam_tmpl_type_name(v));
    put_real(b, s, x);
}

static void put_char(tmpl_buf *b, const spec *s, tmpl_value v) {
    tmpl_int i;
    tmpl_buf one = loam_tmpl_buf(b->ctx);
    if (loam_tmpl_is_int(v, &i) && i >= 0 && i <= 0x10ffff)
        loam_tmpl_put_rune(&one, (uint32_t)i);
    else if (v.type == TMPL_STR && loam_tmpl_runes(v.as.s) == 1)
        loam_tmpl_put(&one, v.as.s.p, v.as.s.n);
    else
        loam_tmpl_fail(b->ctx, LOAM_ERR_FORMAT, "%%c requires int or char");
    put_text(b, s, (tmpl_str){one.p, one.n}, '>');
}

/* One conversion; p->at stands after the '%'. */
static void put_conversion(percent *p, tmpl_buf *b, int markup) {
    spec s = {.precision = -1};
    tmpl_value v = loam_tmpl_none();
    int named = 0, found, left = 0;
    if (p->at < p->f.n && p->f.p[p->at] == '(') {
        v = named_arg(p);
        named = 1;
    }
    for (; p->at < p->f.n && p->f.p[p->at] && strchr("-+ #0", p->f.p[p->at]); p->at++) {
        const char flag = p->f.p[p->at];
        if (flag == '-')
            left = 1;
        else if (flag == '+')
            s.sign = '+';
        else if (flag == ' ')
            s.sign = s.sign ? s.sign : ' ';
        else if (flag == '#')
            s.alt = 1;
        else
            s.zero = 1;
    }
    s.width = star_or_count(p, &found);
    if (s.width < 0) {
        left = 1;
        s.width = -s.width;
    }
    if (p->at < p->f.n && p->f.p[p->at] == '.') {
        p->at++;
        const int64_t n = star_or_count(p, &found);
        s.precision = n < 0 ? 0 : n > MAX_PRECISION ? MAX_PRECISION : (int)n;
    }
    while (p->at < p->f.n && p->f.p[p->at] && strchr("hlL", p->f.p[p->at])) p->at++;
    if (p->at >= p->f.n) loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "incomplete format");
    s.type = p->f.p[p->at++];
    if (left) s.align = '<';
    if (s.type == '%') {
        loam_tmpl_puts(b, "%");
        return;
    }
    if (!s.type || !strchr("diuoxXeEfFgGcsra", s.type))
        loam_tmpl_fail(p->c, LOAM_ERR_FORMAT, "unsupported format character '%c'", s.type);
    if (!named) v = next_arg(p);
    if (s.type == 'c') {
        put_char(b, &s, v);
    } else if (strchr("sra", s.type)) {
        s.zero = 0;
        tmpl_str text = convert(p->c, v, s.type);
        if (markup && !(v.type == TMPL_STR && (v.flags & TMPL_SAFE)))
            text = loam_tmpl_escape(p->c, loam_tmpl_str(text)).as.s;
        put_text(b, &s, text, '>');
    } else {
        put_percent_number(b, &s, v);
    }
}

tmpl_value loam_tmpl_percent(tmpl_ctx *c, tmpl_value format, tmpl_value args) {
    percent p = {.c = c, .f = format.as.s, .args = args, .items = &args, .n = 1};
    tmpl_buf b = loam_tmpl_buf(c);
    if (args.type == TMPL_TUPLE) {
        p.items = args.as.l.items;
        p.n = args.as.l.n;
    }
    while (p.at < p.f.n) {
        if (p.f.p[p.at] != '%') {
            const char *next = memchr(p.f.p + p.at, '%', p.f.n - p.at);
            const size_t n = next ? (size_t)(next - p.f.p) - p.at : p.f.n - p.at;
            loam_tmpl_put(&b, p.f.p + p.at, n);
            p.at += n;
            continue;
        }
        p.at++;
        put_conversion(&p, &b, format.flags & TMPL_SAFE);
    }
    if (p.used < p.n && args.type != TMPL_DICT && args.type != TMPL_LIST &&
        args.type != TMPL_UNDEFINED)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "not all arguments converted during string formatting");
    tmpl_value out = loam_tmpl_take(&b);
    out.flags = format.flags;
    return out;
}

/* ---- "{...}".format(args) ---- */

static int is_align(char ch) {
    return ch == '<' || ch == '>' || ch == '^' || ch == '=';
}

static spec parse_spec(tmpl_ctx *c, tmpl_str f) {
    spec s = {.precision = -1};
    size_t at = 0;
    int64_t n = 0;
    const char *p = f.p, *end = f.p + f.n;
    const uint32_t first = f.n ? loam_tmpl_rune(&p, end) : 0;
    if (f.n && p < end && is_align(*p)) {
        s.fill = first;
        s.align = *p;
        at = (size_t)(p - f.p) + 1;
    } else if (f.n && is_align(f.p[0])) {
        s.align = f.p[0];
        at = 1;
    }
    if (at < f.n && f.p[at] && strchr("+- ", f.p[at])) {
        s.sign = f.p[at] == '-' ? 0 : f.p[at];
        at++;
    }
    if (at < f.n && f.p[at] == 'z') at++;
    s.alt = at < f.n && f.p[at] == '#';
    at += (size_t)s.alt;
    s.zero = at < f.n && f.p[at] == '0';
    at += (size_t)s.zero;
    read_count(c, f, &at, &s.width);
    if (at < f.n && (f.p[at] == ',' || f.p[at] == '_')) s.group = f.p[at++];
    if (at < f.n && f.p[at] == '.') {
        at++;
        if (!read_count(c, f, &at, &n))
            loam_tmpl_fail(c, LOAM_ERR_FORMAT, "Format specifier missing precision");
        s.precision = n > MAX_PRECISION ? MAX_PRECISION : (int)n;
    }
    if (at < f.n) s.type = f.p[at++];
    if (at < f.n) loam_tmpl_fail(c, LOAM_ERR_FORMAT, "Invalid format specifier");
    return s;
}

_Noreturn static void fail_code(tmpl_ctx *c, char type, tmpl_value v) {
    loam_tmpl_fail(c, LOAM_ERR_FORMAT, "Unknown format code '%c' for object of type '%s'", type,
                   loam_tmpl_type_name(v));
}

/* format(v, spec) */
static void put_formatted(tmpl_buf *b, tmpl_value v, tmpl_str f) {
    tmpl_ctx *c = b->ctx;
    tmpl_int i;
    if (f.n == 0) {
        loam_tmpl_put_str(b, v);
        return;
    }
    spec s = parse_spec(c, f);
    if (v.type == TMPL_STR) {
        if (s.type && s.type != 's') fail_code(c, s.type, v);
        if (s.align == '=' || s.sign)
            loam_tmpl_fail(c, LOAM_ERR_FORMAT, "not allowed in string format specifier");
        if (s.zero && !s.fill) s.fill = '0';
        put_text(b, &s, v.as.s, '<');
    } else if (loam_tmpl_is_int(v, &i) && (!s.type || strchr("bdoxXnc", s.type))) {
        if (s.precision >= 0)
            loam_tmpl_fail(c, LOAM_ERR_FORMAT, "Precision not allowed in integer format specifier");
        if (s.type == 'n') s.type = 'd';
        if (s.type == 'c')
            put_char(b, &s, v);
        else
            put_int(b, &s, i, -1);
    } else if (v.type == TMPL_FLOAT || loam_tmpl_is_int(v, &i)) {
        double x = 0;
        if (s.type && !strchr("eEfFgGn%", s.type)) fail_code(c, s.type, v);
        if (s.type == 'n') s.type = 'g';
        loam_tmpl_is_number(v, &x);
        put_real(b, &s, x);
    } else {
        if (v.type == TMPL_UNDEFINED) loam_tmpl_fail_undefined(c, v);
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "unsupported format string passed to %s.__format__",
                       loam_tmpl_type_name(v));
    }
}

typedef struct formatter {
    tmpl_ctx *c;
    const tmpl_args *a;
    size_t next;              /* of automatic numbering */
    int automatic, by_number; /* one excludes the other */
} formatter;

static tmpl_value number_or_text(tmpl_str s) {
    tmpl_int v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || i > 9) return loam_tmpl_str(s);
        v = v * 10 + (s.p[i] - '0');
    }
    return s.n ? loam_tmpl_int(v) : loam_tmpl_str(s);
}

static tmpl_value field_base(formatter *m, tmpl_str name) {
    const tmpl_args *a = m->a;
    const tmpl_value key = name.n ? number_or_text(name) : loam_tmpl_int((tmpl_int)m->next++);
    m->automatic |= name.n == 0;
    m->by_number |= name.n && key.type == TMPL_INT;
    if (m->automatic && m->by_number)
        loam_tmpl_fail(m->c, LOAM_ERR_FORMAT,
                       "cannot switch between manual and automatic field numbering");
    if (key.type == TMPL_INT) {
        if (key.as.i >= (tmpl_int)a->n)
            loam_tmpl_fail(m->c, LOAM_ERR_FORMAT,
                           "Replacement index out of range for positional args tuple");
        return a->pos[key.as.i];
    }
    for (size_t i = 0; i < a->n_named; i++)
        if (loam_tmpl_same(a->names[i], name)) return a->named[i];
    loam_tmpl_fail(m->c, LOAM_ERR_FORMAT, "KeyError: '%.*s'", (int)name.n, name.p);
}

/* "name.attr[key]" */
static tmpl_value find_field(formatter *m, tmpl_str f) {
    size_t at = 0;
    while (at < f.n && f.p[at] != '.' && f.p[at] != '[') at++;
    tmpl_value v = field_base(m, (tmpl_str){f.p, at});
    while (at < f.n) {
        const int dot = f.p[at] == '.';
        const size_t from = ++at;
        while (at < f.n && (dot ? f.p[at] != '.' && f.p[at] != '[' : f.p[at] != ']')) at++;
        const tmpl_str part = {f.p + from, at - from};
        if (part.n == 0) loam_tmpl_fail(m->c, LOAM_ERR_FORMAT, "Empty attribute in format string");
        v = dot ? loam_tmpl_attr(m->c, v, part) : loam_tmpl_item(m->c, v, number_or_text(part));
        if (!dot) at++;
    }
    return v;
}

static void put_fields(formatter *m, tmpl_buf *b, tmpl_str f, int depth);

/* The replacement field between braces. */
static void put_field(formatter *m, tmpl_buf *b, tmpl_str f, int depth) {
    size_t name = 0;
    int in_brackets = 0;
    while (name < f.n && (in_brackets || (f.p[name] != '!' && f.p[name] != ':'))) {
        if (f.p[name] == '[') in_brackets = 1;
        if (f.p[name] == ']') in_brackets = 0;
        name++;
    }
    tmpl_value v = find_field(m, (tmpl_str){f.p, name});
    size_t at = name;
    if (at < f.n && f.p[at] == '!') {
        if (at + 1 >= f.n || !f.p[at + 1] || !strchr("sra", f.p[at + 1]))
            loam_tmpl_fail(m->c, LOAM_ERR_FORMAT, "unknown conversion specifier");
        v = loam_tmpl_str(convert(m->c, v, f.p[at + 1]));
        at += 2;
        if (at < f.n && f.p[at] != ':')
            loam_tmpl_fail(m->c, LOAM_ERR_FORMAT, "expected ':' after conversion specifier");
    }
    tmpl_buf inner = loam_tmpl_buf(m->c);
    if (at < f.n) put_fields(m, &inner, (tmpl_str){f.p + at + 1, f.n - at - 1}, depth + 1);
    put_formatted(b, v, (tmpl_str){inner.p, inner.n});
}

static void put_fields(formatter *m, tmpl_buf *b, tmpl_str f, int depth) {
    if (depth > 2) loam_tmpl_fail(m->c, LOAM_ERR_FORMAT, "Max string recursion exceeded");
    for (size_t i = 0; i < f.n; i++) {
        const char ch = f.p[i];
        if (ch != '{' && ch != '}') {
            loam_tmpl_put(b, &f.p[i], 1);
            continue;
        }
        if (i + 1 < f.n && f.p[i + 1] == ch) {
            loam_tmpl_put(b, &ch, 1);
            i++;
            continue;
        }
        if (ch == '}')
            loam_tmpl_fail(m->c, LOAM_ERR_FORMAT, "Single '}' encountered in format string");
        size_t end = i + 1, open = 1;
        for (; end < f.n; end++) {
            if (f.p[end] == '{')
                open++;
            else if (f.p[end] == '}' && --open == 0)
                break;
        }
        if (end >= f.n) loam_tmpl_fail(m->c, LOAM_ERR_FORMAT, "expected '}' before end of string");
        put_field(m, b, (tmpl_str){f.p + i + 1, end - i - 1}, depth);
        i = end;
    }
}

tmpl_value loam_tmpl_format(tmpl_ctx *c, tmpl_str format, const tmpl_args *a) {
    formatter m = {.c = c, .a = a};
    tmpl_buf b = loam_tmpl_buf(c);
    put_fields(&m, &b, format, 0);
    return loam_tmpl_take(&b);
}
