/* template_lex.c - template source to tokens, with Jinja's white space rules.
 *
 * Owns the four states (text, {{ }}, {% %}, raw) and the environment that
 * transformers uses: the first newline after a block tag or comment is dropped
 * (trim_blocks), white space before one is dropped when it starts the line
 * (lstrip_blocks), "-" strips all, "+" switches lstrip off.
 */
#include "text/template.h"
#include <stdio.h>

typedef struct lexer {
    tmpl_ctx *c;
    const char *p; /* normalised source */
    size_t n, at;
    int line, line_starts;
    tmpl_token *tokens;
    size_t n_tokens, cap;
    char open[TMPL_MAX_NESTING]; /* closing brackets awaited */
    size_t n_open;
} lexer;

static tmpl_token *push(lexer *l, tmpl_token_type type, const char *p, size_t n) {
    if (l->n_tokens == l->cap) {
        const size_t cap = l->cap ? l->cap * 2 : 64;
        tmpl_token *more = loam_tmpl_alloc(l->c, cap, sizeof *more);
        if (l->n_tokens) memcpy(more, l->tokens, l->n_tokens * sizeof *more);
        l->tokens = more;
        l->cap = cap;
    }
    tmpl_token *t = &l->tokens[l->n_tokens++];
    *t = (tmpl_token){.type = type, .line = l->line, .text = {p, n}};
    return t;
}

/* "\r\n" and "\r" become "\n"; one newline at the end goes. */
static tmpl_str normalise(tmpl_ctx *c, tmpl_str s) {
    char *out = loam_tmpl_alloc(c, s.n + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];
        if (ch == '\r') {
            ch = '\n';
            if (i + 1 < s.n && s.p[i + 1] == '\n') i++;
        }
        out[n++] = ch;
    }
    if (n && out[n - 1] == '\n') n--;
    return (tmpl_str){out, n};
}

static size_t space_end(const lexer *l, size_t at) {
    const char *p = l->p + at, *end = l->p + l->n;
    while (p < end) {
        const char *q = p;
        if (!loam_tmpl_is_space(loam_tmpl_rune(&q, end))) break;
        p = q;
    }
    return (size_t)(p - l->p);
}

static void advance(lexer *l, size_t to) {
    for (size_t i = l->at; i < to; i++) l->line += l->p[i] == '\n';
    if (to > l->at) l->line_starts = l->p[to - 1] == '\n';
    l->at = to;
}

static int starts(const lexer *l, size_t at, const char *z) {
    const size_t n = strlen(z);
    return l->n - at >= n && memcmp(l->p + at, z, n) == 0;
}

/* Text before a tag, cut by the tag's sign ('-', '+' or 0). */
static void push_data(lexer *l, size_t begin, size_t end, char sign, int variable) {
    tmpl_str s = {l->p + begin, end - begin};
    if (sign == '-') {
        s = loam_tmpl_strip(s, NULL, 2);
    } else if (sign != '+' && !variable) {
        size_t line = s.n;
        while (line > 0 && s.p[line - 1] != '\n') line--;
        const tmpl_str tail = {s.p + line, s.n - line};
        if ((line > 0 || l->line_starts) && tail.n && loam_tmpl_strip(tail, NULL, 1).n == 0)
            s.n = line;
    }
    if (s.n) push(l, TMPL_T_DATA, s.p, s.n);
}

/* Length of the end of a tag `close` ("%}", "#}", "}}") at `at`, 0 when it is not there. */
static size_t tag_end(const lexer *l, size_t at, const char *close, int trims) {
    if (trims && at < l->n && l->p[at] == '+' && starts(l, at + 1, close)) return 3;
    if (at < l->n && l->p[at] == '-' && starts(l, at + 1, close)) return space_end(l, at + 3) - at;
    if (!starts(l, at, close)) return 0;
    return trims && at + 2 < l->n && l->p[at + 2] == '\n' ? 3 : 2;
}

static char sign_at(const lexer *l, size_t at) {
    return at < l->n && (l->p[at] == '-' || l->p[at] == '+') ? l->p[at] : 0;
}

static size_t word_end(const lexer *l, size_t at, const char *word) {
    at = space_end(l, at);
    if (!starts(l, at, word)) return 0;
    return space_end(l, at + strlen(word));
}

/* {% raw %} at l->at: emits its text and returns 1, or returns 0 when it is another tag. */
static int lex_raw(lexer *l) {
    size_t at = word_end(l, l->at + 2 + (sign_at(l, l->at + 2) != 0), "raw");
    if (!at) return 0;
    if (starts(l, at, "-%}"))
        at = space_end(l, at + 3);
    else if (starts(l, at, "%}"))
        at += 2;
    else
        return 0;
    advance(l, at);
    for (size_t i = at; i + 1 < l->n; i++) {
        if (l->p[i] != '{' || l->p[i + 1] != '%') continue;
        const char sign = sign_at(l, i + 2);
        size_t end = word_end(l, i + 2 + (sign != 0), "endraw");
        if (!end) continue;
        const size_t len = tag_end(l, end, "%}", 1);
        if (!len) continue;
        push_data(l, at, i, sign, 0);
        advance(l, end + len);
        return 1;
    }
    l->c->line = l->line;
    loam_tmpl_fail(l->c, LOAM_ERR_FORMAT, "Missing end of raw directive");
}

static void lex_comment(lexer *l) {
    for (size_t i = l->at + 2 + (sign_at(l, l->at + 2) != 0); i < l->n; i++) {
        const size_t len = tag_end(l, i, "#}", 1);
        if (!len) continue;
        advance(l, i + len);
        return;
    }
    l->c->line = l->line;
    loam_tmpl_fail(l->c, LOAM_ERR_FORMAT, "Missing end of comment tag");
}

static int is_digit(char ch, int base) {
    if (base <= 10) return ch >= '0' && ch < '0' + base;
    return (ch >= '0' && ch <= '9') || ((ch | 32) >= 'a' && (ch | 32) <= 'f');
}

/* Digits with single underscores between them; returns the end. */
static size_t digits_end(const lexer *l, size_t at, int base) {
    while (at < l->n && (is_digit(l->p[at], base) ||
                         (l->p[at] == '_' && at + 1 < l->n && is_digit(l->p[at + 1], base))))
        at++;
    return at;
}

/* A float at `at`?  Digits, then a fraction, an exponent, or both. */
static size_t float_end(const lexer *l, size_t at) {
    if (at > 0 && l->p[at - 1] == '.') return 0;
    size_t end = digits_end(l, at, 10), found = 0;
    if (end + 1 < l->n && l->p[end] == '.' && is_digit(l->p[end + 1], 10))
        found = end = digits_end(l, end + 1, 10);
    if (end < l->n && (l->p[end] | 32) == 'e') {
        size_t e = end + 1;
        if (e < l->n && (l->p[e] == '+' || l->p[e] == '-')) e++;
        if (e < l->n && is_digit(l->p[e], 10)) found = digits_end(l, e, 10);
    }
    return found;
}

static size_t integer_end(const lexer *l, size_t at, int *base) {
    *base = 10;
    if (l->p[at] != '0') return digits_end(l, at, 10);
    if (at + 1 < l->n) {
        const char k = (char)(l->p[at + 1] | 32);
        *base = k == 'x' ? 16 : k == 'o' ? 8 : k == 'b' ? 2 : 10;
        size_t from = at + 2;
        if (*base != 10 && from < l->n && l->p[from] == '_') from++;
        if (*base != 10 && from < l->n && is_digit(l->p[from], *base))
            return digits_end(l, from, *base);
        *base = 10;
    }
    while (at < l->n &&
           (l->p[at] == '0' || (l->p[at] == '_' && at + 1 < l->n && l->p[at + 1] == '0')))
        at++;
    return at;
}

static void lex_number(lexer *l) {
    const size_t begin = l->at;
    size_t end = float_end(l, begin);
    if (end) {
        char text[512];
        size_t n = 0;
        for (size_t i = begin; i < end && n < sizeof text - 1; i++)
            if (l->p[i] != '_') text[n++] = l->p[i];
        text[n] = 0;
        push(l, TMPL_T_NUMBER, l->p + begin, end - begin)->value =
            loam_tmpl_float(strtod(text, NULL));
        advance(l, end);
        return;
    }
    int base;
    end = integer_end(l, begin, &base);
    tmpl_int v = 0;
    for (size_t i = begin + (base != 10 ? 2 : 0); i < end; i++) {
        if (l->p[i] == '_') continue;
        const char ch = l->p[i];
        const int digit = ch <= '9' ? ch - '0' : (ch | 32) - 'a' + 10;
        if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, digit, &v))
            loam_tmpl_fail(l->c, LOAM_ERR_LIMIT, "integer too large");
    }
    push(l, TMPL_T_NUMBER, l->p + begin, end - begin)->value = loam_tmpl_int(v);
    advance(l, end);
}

static int hex_value(const char *p, size_t n, uint32_t *out) {
    uint32_t v = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_digit(p[i], 16)) return 0;
        v = v * 16 + (uint32_t)(p[i] <= '9' ? p[i] - '0' : (p[i] | 32) - 'a' + 10);
    }
    *out = v;
    return 1;
}

/* One escape after a backslash at p[0]; returns what it used up.  Unknown ones stay. */
static size_t put_escape(lexer *l, tmpl_buf *b, const char *p, size_t n) {
    static const char FROM[] = "\\'\"abfnrtv", TO[] = "\\'\"\a\b\f\n\r\t\v";
    const char *known = p[0] ? strchr(FROM, p[0]) : NULL;
    if (p[0] == '\n') return 1;
    if (known) {
        loam_tmpl_put(b, &TO[known - FROM], 1);
        return 1;
    }
    if (p[0] >= '0' && p[0] <= '7') {
        uint32_t v = 0;
        size_t i = 0;
        for (; i < 3 && i < n && p[i] >= '0' && p[i] <= '7'; i++)
            v = v * 8 + (uint32_t)(p[i] - '0');
        loam_tmpl_put_rune(b, v);
        return i;
    }
    const size_t digits = p[0] == 'x' ? 2 : p[0] == 'u' ? 4 : p[0] == 'U' ? 8 : 0;
    if (digits) {
        uint32_t v;
        if (n < 1 + digits || !hex_value(p + 1, digits, &v) || v > 0x10ffff)
            loam_tmpl_fail(l->c, LOAM_ERR_FORMAT, "truncated or illegal \\%c escape", p[0]);
        loam_tmpl_put_rune(b, v);
        return 1 + digits;
    }
    if (p[0] == 'N') loam_tmpl_fail(l->c, LOAM_ERR_UNSUPPORTED, "\\N{...} escape");
    loam_tmpl_puts(b, "\\");
    if ((unsigned char)p[0] < 0x80) return 0;
    /* Python escapes the character first, so that the backslash ends up before its digits */
    const char *q = p;
    const uint32_t rune = loam_tmpl_rune(&q, p + n);
    char text[16];
    snprintf(text, sizeof text, rune < 0x100 ? "x%02x" : rune < 0x10000 ? "u%04x" : "U%08x", rune);
    loam_tmpl_puts(b, text);
    return (size_t)(q - p);
}

static void lex_string(lexer *l) {
    const char quote = l->p[l->at];
    size_t end = l->at + 1;
    while (end < l->n && l->p[end] != quote) end += l->p[end] == '\\' ? 2 : 1;
    if (end >= l->n)
        loam_tmpl_fail(l->c, LOAM_ERR_FORMAT, "unexpected char '%c' at %zu", quote, l->at);
    const char *p = l->p + l->at + 1;
    const size_t n = end - l->at - 1;
    tmpl_token *t = push(l, TMPL_T_STRING, p, n);
    if (memchr(p, '\\', n)) {
        tmpl_buf b = loam_tmpl_buf(l->c);
        for (size_t i = 0; i < n;) {
            if (p[i] == '\\' && i + 1 < n) {
                i++;
                i += put_escape(l, &b, p + i, n - i);
            } else {
                loam_tmpl_put(&b, p + i, 1);
                i++;
            }
        }
        t->text = loam_tmpl_take(&b).as.s;
    }
    t->value = loam_tmpl_str(t->text);
    advance(l, end + 1);
}

static void lex_operator(lexer *l) {
    static const char *const OPS[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                      "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                      ">",  "<",  "=",  ".",  ":",  "|",  ",", ";", NULL};
    const char *op = NULL;
    for (size_t i = 0; OPS[i] && !op; i++)
        if (starts(l, l->at, OPS[i])) op = OPS[i];
    if (!op)
        loam_tmpl_fail(l->c, LOAM_ERR_FORMAT, "unexpected char '%c' at %zu", l->p[l->at], l->at);
    const char ch = op[1] ? 0 : op[0];
    if (ch == '(' || ch == '[' || ch == '{') {
        if (l->n_open == sizeof l->open) loam_tmpl_fail(l->c, LOAM_ERR_LIMIT, "nested too deeply");
        l->open[l->n_open++] = (char)(ch == '(' ? ')' : ch == '[' ? ']' : '}');
    } else if (ch == ')' || ch == ']' || ch == '}') {
        if (!l->n_open) loam_tmpl_fail(l->c, LOAM_ERR_FORMAT, "unexpected '%c'", ch);
        const char want = l->open[--l->n_open];
        if (want != ch)
            loam_tmpl_fail(l->c, LOAM_ERR_FORMAT, "unexpected '%c', expected '%c'", ch, want);
    }
    push(l, TMPL_T_OP, op, strlen(op));
    advance(l, l->at + strlen(op));
}

static void lex_name(lexer *l, size_t end) {
    push(l, TMPL_T_NAME, l->p + l->at, end - l->at);
    advance(l, end);
}

static size_t name_end(const lexer *l, size_t at) {
    const char *p = l->p + at, *end = l->p + l->n;
    while (p < end) {
        const char *q = p;
        if (!loam_tmpl_is_word(loam_tmpl_rune(&q, end))) break;
        p = q;
    }
    return (size_t)(p - l->p);
}

/* The inside of {{ }} or {% %}, from after its opening to after its end. */
static void lex_code(lexer *l, int variable) {
    l->n_open = 0;
    while (l->at < l->n) {
        l->c->line = l->line;
        const size_t end = l->n_open ? 0 : tag_end(l, l->at, variable ? "}}" : "%}", !variable);
        if (end) {
            push(l, variable ? TMPL_T_VAR_END : TMPL_T_BLOCK_END, l->p + l->at, 2);
            advance(l, l->at + end);
            return;
        }
        const size_t space = space_end(l, l->at);
        const char ch = l->p[l->at];
        size_t word;
        if (space > l->at)
            advance(l, space);
        else if (is_digit(ch, 10))
            lex_number(l);
        else if ((word = name_end(l, l->at)) > l->at)
            lex_name(l, word);
        else if (ch == '\'' || ch == '"')
            lex_string(l);
        else
            lex_operator(l);
    }
}

tmpl_token *loam_tmpl_lex(tmpl_ctx *c, tmpl_str source, size_t *n) {
    const tmpl_str s = normalise(c, source);
    lexer *l = loam_tmpl_alloc(c, 1, sizeof *l);
    *l = (lexer){.c = c, .p = s.p, .n = s.n, .line = 1, .line_starts = 1};
    size_t begin = 0;
    for (size_t i = 0; i < l->n;) {
        const char kind = l->p[i] == '{' && i + 1 < l->n ? l->p[i + 1] : 0;
        if (kind != '{' && kind != '%' && kind != '#') {
            i++;
            continue;
        }
        const char sign = sign_at(l, i + 2);
        push_data(l, begin, i, sign, kind == '{');
        advance(l, i);
        if (kind == '#') {
            lex_comment(l);
        } else if (kind == '{' || !lex_raw(l)) {
            push(l, kind == '{' ? TMPL_T_VAR_BEGIN : TMPL_T_BLOCK_BEGIN, l->p + i, 2);
            advance(l, i + 2 + (sign != 0));
            lex_code(l, kind == '{');
        }
        begin = i = l->at;
    }
    if (begin < l->n) push(l, TMPL_T_DATA, l->p + begin, l->n - begin);
    push(l, TMPL_T_EOF, "", 0);
    *n = l->n_tokens;
    return l->tokens;
}
