/* json_write.c - JSON out: strings, shortest numbers, and values as Python's json.dumps
 * writes them, so that a config that passes through loam stays the same bytes. */
#include "io/json_value.h"

#include "base/base.h"
#include "base/utf8.h"

#include <math.h>
#include <stdio.h>

/* ---- strings ---- */

/* Decode one character at *p (broken: U+FFFD) and advance. */
static uint32_t next_char(const unsigned char **p, const unsigned char *end) {
    const char *s = (const char *)*p;
    const size_t length = loam_utf8_length(s, (size_t)(end - *p));
    *p += length ? length : 1;
    return length ? loam_utf8_code(s, length) : 0xfffd;
}

static void put_unit(loam_buf *b, uint32_t unit) {
    static const char HEX[] = "0123456789abcdef";
    const char text[6] = {
        '\\', 'u', HEX[unit >> 12 & 15], HEX[unit >> 8 & 15], HEX[unit >> 4 & 15], HEX[unit & 15]};
    loam_buf_append(b, text, sizeof text);
}

static void put_escaped(loam_buf *b, uint32_t c) {
    if (c > 0xffff) {
        c -= 0x10000;
        put_unit(b, 0xd800 + (c >> 10));
        put_unit(b, 0xdc00 + (c & 0x3ff));
    } else {
        put_unit(b, c);
    }
}

static const char *short_escape(uint32_t c) {
    switch (c) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    case '\f': return "\\f";
    case '\b': return "\\b";
    default: return NULL;
    }
}

static void put_quoted(loam_buf *b, const char *s, size_t n, int ensure_ascii) {
    const unsigned char *p = (const unsigned char *)s, *end = p + n;
    loam_buf_putc(b, '"');
    while (p < end) {
        const unsigned char *run = p;
        while (p < end && *p >= 0x20 && *p < 0x7f && *p != '"' && *p != '\\') p++;
        loam_buf_append(b, run, (size_t)(p - run));
        if (p == end) break;
        const unsigned char *start = p;
        const uint32_t c = next_char(&p, end);
        const char *escape = short_escape(c);
        if (escape)
            loam_buf_puts(b, escape);
        else if (c < 0x20 || (ensure_ascii && c >= 0x7f))
            put_escaped(b, c);
        else if (c == 0xfffd)
            loam_buf_puts(b, "\xef\xbf\xbd");
        else
            loam_buf_append(b, start, (size_t)(p - start));
    }
    loam_buf_putc(b, '"');
}

void loam_json_put_string(loam_buf *b, const char *s, size_t n) {
    put_quoted(b, s, n, 0);
}

/* ---- numbers ---- */

/* The decimal digits of a positive number: 0.d1d2d3... times 10^point. */
typedef struct decimal {
    char digits[20];
    int n, point;
} decimal;

/* Correctly rounded to `precision` digits.  The text of "%e" is d.ddde+xx: digits are
 * picked out of it, so a locale's decimal point does not matter. */
static decimal round_decimal(double v, int precision) {
    char text[40];
    decimal d = {.n = 0};
    (void)snprintf(text, sizeof text, "%.*e", precision - 1, v);
    const char *p = text;
    for (; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9') d.digits[d.n++] = *p;
    d.point = (*p ? (int)strtol(p + 1, NULL, 10) : 0) + 1;
    while (d.n > 1 && d.digits[d.n - 1] == '0') d.n--;
    return d;
}

static double decimal_value(const decimal *d) {
    char text[40];
    (void)snprintf(text, sizeof text, "0.%.*se%d", d->n, d->digits, d->point);
    return loam_json_strtod(text);
}

static int same_value(double a, double b, int is_float) {
    return is_float ? (float)a == (float)b : a == b;
}

/* One more in the last of `precision` places. */
static decimal next_decimal(decimal d, int precision) {
    while (d.n < precision) d.digits[d.n++] = '0';
    int i = d.n - 1;
    while (i >= 0 && d.digits[i] == '9') d.digits[i--] = '0';
    if (i >= 0) {
        d.digits[i]++;
    } else {
        d.digits[0] = '1';
        d.point++;
    }
    while (d.n > 1 && d.digits[d.n - 1] == '0') d.n--;
    return d;
}

/* Fewest digits that read back as `v` > 0.  Below a power of two floating numbers stand
 * twice as close, so there the nearest decimal may lie outside while the next one up is
 * inside: it is tried too.  (float)a rounds a double that was rounded before; nine digits
 * are too few for that to matter. */
static decimal shortest(double v, int is_float) {
    const int most = is_float ? 9 : 17, safe = is_float ? 6 : 15;
    const double least = is_float ? 0x1p-126 : 0x1p-1022;
    int exponent;
    const int power_of_two = frexp(v, &exponent) == 0.5;
    /* normal numbers keep `safe` digits, so stripping zeros gives the shortest; subnormals
     * keep fewer */
    for (int precision = v < least ? 1 : safe; precision < most; precision++) {
        decimal d = round_decimal(v, precision);
        if (same_value(decimal_value(&d), v, is_float)) return d;
        if (!power_of_two) continue;
        d = next_decimal(d, precision);
        if (same_value(decimal_value(&d), v, is_float)) return d;
    }
    return round_decimal(v, most);
}

/* Python's repr: fixed for 1e-4 <= v < 1e16, else d.ddde+xx.  `whole`: what follows a
 * number without a fraction (".0" or ""). */
static void put_decimal(loam_buf *b, const decimal *d, const char *whole) {
    const int exponent = d->point - 1;
    if (exponent < -4 || exponent >= 16) {
        loam_buf_append(b, d->digits, 1);
        if (d->n > 1) {
            loam_buf_putc(b, '.');
            loam_buf_append(b, d->digits + 1, (size_t)d->n - 1);
        }
        loam_buf_printf(b, "e%c%02d", exponent < 0 ? '-' : '+',
                        exponent < 0 ? -exponent : exponent);
    } else if (d->point <= 0) {
        loam_buf_puts(b, "0.");
        for (int i = d->point; i < 0; i++) loam_buf_putc(b, '0');
        loam_buf_append(b, d->digits, (size_t)d->n);
    } else if (d->point >= d->n) {
        loam_buf_append(b, d->digits, (size_t)d->n);
        for (int i = d->n; i < d->point; i++) loam_buf_putc(b, '0');
        loam_buf_puts(b, whole);
    } else {
        loam_buf_append(b, d->digits, (size_t)d->point);
        loam_buf_putc(b, '.');
        loam_buf_append(b, d->digits + d->point, (size_t)(d->n - d->point));
    }
}

static void put_finite(loam_buf *b, double v, int is_float, const char *whole) {
    if (signbit(v)) loam_buf_putc(b, '-');
    v = fabs(v);
    if (v < 0x1p24 && v == (double)(uint32_t)v) { /* token scores, shapes: no search needed */
        loam_buf_printf(b, "%u%s", (uint32_t)v, whole);
        return;
    }
    decimal d = {.digits = "0", .n = 1, .point = 1};
    if (v > 0.0) d = shortest(v, is_float);
    put_decimal(b, &d, whole);
}

void loam_json_put_number(loam_buf *b, double v) {
    if (isfinite(v))
        put_finite(b, v, 0, "");
    else
        loam_buf_puts(b, "null");
}

void loam_json_put_float(loam_buf *b, float v) {
    if (isfinite(v))
        put_finite(b, (double)v, 1, "");
    else
        loam_buf_puts(b, "null");
}

static void put_python(loam_buf *b, double v, const char *nan, const char *infinity) {
    if (isnan(v)) {
        loam_buf_puts(b, nan);
    } else if (isinf(v)) {
        if (v < 0) loam_buf_putc(b, '-');
        loam_buf_puts(b, infinity);
    } else {
        put_finite(b, v, 0, ".0");
    }
}

void loam_json_put_repr(loam_buf *b, double v) {
    put_python(b, v, "nan", "inf");
}

/* ---- values ---- */

typedef struct style {
    int indent, ensure_ascii;
} style;

static void put_line_break(loam_buf *b, const style *s, int depth) {
    if (s->indent < 0) return;
    loam_buf_putc(b, '\n');
    for (int i = 0; i < depth * s->indent; i++) loam_buf_putc(b, ' ');
}

static void put_any(loam_buf *b, const loam_json_value *v, const style *s, int depth);

/* A Python dict keeps a repeated key where it first stood, with the last value: the value
 * to write for `member`, or NULL when an earlier member stood for it.  `written` has a byte for
 * each node of the object. */
static const loam_json_value *
effective_member(const loam_json_value *v, const loam_json_value *member, unsigned char *written) {
    const loam_json_value *last = loam_json_get_n(v, member->key, member->key_bytes);
    if (written[last - v]) return NULL;
    written[last - v] = 1;
    return last;
}

static void put_container(loam_buf *b, const loam_json_value *v, const style *s, int depth) {
    const int object = v->type == LOAM_JSON_OBJECT;
    unsigned char *written = NULL;
    int first = 1;
    if (object && (v->flags & JSON_DUPLICATES)) {
        written = loam_alloc(v->span, 1);
        if (!written) {
            b->failed = 1;
            return;
        }
    }
    loam_buf_putc(b, object ? '{' : '[');
    for (const loam_json_value *m = loam_json_first(v); m; m = loam_json_next(m)) {
        const loam_json_value *child = written ? effective_member(v, m, written) : m;
        if (!child) continue;
        if (!first) loam_buf_puts(b, s->indent < 0 ? ", " : ",");
        first = 0;
        put_line_break(b, s, depth + 1);
        if (object) {
            put_quoted(b, child->key, child->key_bytes, s->ensure_ascii);
            loam_buf_puts(b, ": ");
        }
        put_any(b, child, s, depth + 1);
    }
    free(written);
    if (!first) put_line_break(b, s, depth);
    loam_buf_putc(b, object ? '}' : ']');
}

static void put_any(loam_buf *b, const loam_json_value *v, const style *s, int depth) {
    switch (loam_json_type_of(v)) {
    case LOAM_JSON_NULL: loam_buf_puts(b, "null"); break;
    case LOAM_JSON_FALSE: loam_buf_puts(b, "false"); break;
    case LOAM_JSON_TRUE: loam_buf_puts(b, "true"); break;
    case LOAM_JSON_INT: loam_buf_printf(b, "%lld", (long long)v->as.integer); break;
    case LOAM_JSON_REAL:
        if (v->flags & JSON_BIG_INTEGER)
            loam_buf_append(b, v->as.text, v->n);
        else
            put_python(b, v->as.real, "NaN", "Infinity");
        break;
    case LOAM_JSON_STRING: put_quoted(b, v->as.text, v->n, s->ensure_ascii); break;
    case LOAM_JSON_ARRAY:
    case LOAM_JSON_OBJECT: put_container(b, v, s, depth); break;
    }
}

void loam_json_put_value(loam_buf *b, const loam_json_value *v, int indent, int ensure_ascii) {
    const style s = {.indent = indent, .ensure_ascii = ensure_ascii};
    put_any(b, v, &s, 0);
}
