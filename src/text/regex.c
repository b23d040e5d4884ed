/* regex.c - split patterns: hand-written matchers for the known ones, PCRE2 for others.
 *
 * The matchers follow what a backtracking engine does with the pattern at one place: the
 * first alternative that matches, each with its greedy repeats and their giving back.
 * Every known pattern covers every character, so a match always exists. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"
#include "text/unicode.h"
#include "text/utf8.h"
#include "text/work.h"
#include <pcre2.h>

struct loam_regex {
    loam_matcher match;
    pcre2_code *code;
    pcre2_match_context *context;
    char *name;
};

/* ---- hand-written ---- */

/* Class of the character at s[i] and where it ends. */
static inline unsigned class_at(const char *s, size_t i, size_t *end) {
    const unsigned char c = (unsigned char)s[i];
    LOAM_WORK(1);
    if (c < 0x80) {
        *end = i + 1;
        return loam_uc_ascii[c];
    }
    *end = i;
    return loam_uc_class_wide(loam_utf8_next(s, end));
}

/* End of the run of characters of `classes` that starts at s[i]. */
static inline size_t skip_class(const char *s, size_t n, size_t i, unsigned classes) {
    size_t end;
    while (i < n && (class_at(s, i, &end) & classes)) i = end;
    return i;
}

/* End of the run of characters of none of `classes`. */
static inline size_t skip_others(const char *s, size_t n, size_t i, unsigned classes) {
    size_t end;
    while (i < n && !(class_at(s, i, &end) & classes)) i = end;
    return i;
}

/* 's 't 're 've 'm 'll 'd at s[i]: its end, or i.  Without regard to case also the long s. */
static size_t match_contraction(const char *s, size_t n, size_t i, int any_case) {
    if (n - i < 2 || s[i] != '\'') return i;
    const char fold = any_case ? 0x20 : 0;
    const char a = s[i + 1] | fold;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return i + 2;
    if (any_case && n - i >= 3 && (unsigned char)s[i + 1] == 0xc5 &&
        (unsigned char)s[i + 2] == 0xbf)
        return i + 3;
    if (n - i < 3) return i;
    const char b = s[i + 2] | fold;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? i + 3 : i;
}

/* \s+(?!\S)|\s+ : all white space up to the end of the text, else all but the last one
 * before a word, else that one. */
static size_t match_spaces(const char *s, size_t n, size_t i) {
    const size_t end = skip_class(s, n, i, LOAM_UC_SPACE);
    if (end == n) return end;
    const size_t last = loam_utf8_prev(s, end);
    return last > i ? last : end;
}

/* \s*[\r\n]+ : up to the last line break of the run of white space, or i. */
static size_t match_breaks(const char *s, size_t n, size_t i) {
    size_t end = i, next;
    while (i < n) {
        const unsigned c = class_at(s, i, &next);
        if (!(c & LOAM_UC_SPACE)) break;
        i = next;
        if (c & LOAM_UC_BREAK) end = i;
    }
    return end;
}

size_t loam_match_gpt2(const char *s, size_t n, size_t i) {
    size_t end = match_contraction(s, n, i, 0), next;
    if (end > i) return end;
    const size_t at = s[i] == ' ' && i + 1 < n ? i + 1 : i;
    const unsigned c = class_at(s, at, &next);
    if (c & LOAM_UC_LETTER) return skip_class(s, n, next, LOAM_UC_LETTER);
    if (c & LOAM_UC_NUMBER) return skip_class(s, n, next, LOAM_UC_NUMBER);
    if (!(c & LOAM_UC_SPACE))
        return skip_others(s, n, next, LOAM_UC_SPACE | LOAM_UC_LETTER | LOAM_UC_NUMBER);
    return match_spaces(s, n, i);
}

/* The family of llama3's pattern.  `letters`: what a word is made of besides its first
 * character, `digits`: how many numbers stand together. */
static inline size_t match_llama(const char *s, size_t n, size_t i, unsigned letters, int digits) {
    size_t end = match_contraction(s, n, i, 1), next, next2;
    if (end > i) return end;
    const unsigned c = class_at(s, i, &next);
    /* [^\r\n\p{L}\p{N}]?\p{L}+ */
    if (!(c & (LOAM_UC_BREAK & ~LOAM_UC_SPACE)) && !(c & (LOAM_UC_LETTER | LOAM_UC_NUMBER)) &&
        next < n && (class_at(s, next, &next2) & letters))
        return skip_class(s, n, next2, letters);
    if (c & letters) return skip_class(s, n, next, letters);
    if (c & LOAM_UC_NUMBER) {
        for (int k = 1; k < digits && next < n && (class_at(s, next, &next2) & LOAM_UC_NUMBER); k++)
            next = next2;
        return next;
    }
    /*  ?[^\s\p{L}\p{N}]+[\r\n]* */
    const unsigned known = LOAM_UC_SPACE | letters | LOAM_UC_NUMBER;
    const size_t at = s[i] == ' ' && i + 1 < n ? i + 1 : i;
    if (!(class_at(s, at, &next) & known)) {
        end = skip_others(s, n, next, known);
        while (end < n && (s[end] == '\r' || s[end] == '\n')) end++;
        return end;
    }
    end = match_breaks(s, n, i);
    return end > i ? end : match_spaces(s, n, i);
}

static size_t match_llama3(const char *s, size_t n, size_t i) {
    return match_llama(s, n, i, LOAM_UC_LETTER, 3);
}
static size_t match_qwen2(const char *s, size_t n, size_t i) {
    return match_llama(s, n, i, LOAM_UC_LETTER, 1);
}
static size_t match_qwen35(const char *s, size_t n, size_t i) {
    return match_llama(s, n, i, LOAM_UC_LETTER | LOAM_UC_MARK, 1);
}

enum {
    O200K_HEAD = LOAM_UC_UPPER | LOAM_UC_CASELESS | LOAM_UC_MARK,
    O200K_TAIL = LOAM_UC_LOWER | LOAM_UC_CASELESS | LOAM_UC_MARK
};

/* [head]*[tail]+ at s[i]: its end, or i when it does not match. */
static size_t match_head_tail(const char *s, size_t n, size_t i) {
    const size_t end = skip_class(s, n, i, O200K_HEAD);
    const size_t tail = skip_class(s, n, end, O200K_TAIL);
    size_t at = end, next;
    if (tail > end) return tail;
    while (at > i) { /* give back until one of them can be the tail */
        const size_t prev = loam_utf8_prev(s, at);
        if (class_at(s, prev, &next) & O200K_TAIL) return skip_class(s, n, next, O200K_TAIL);
        at = prev;
    }
    return i;
}

/* [head]+[tail]* */
static size_t match_heads(const char *s, size_t n, size_t i) {
    const size_t end = skip_class(s, n, i, O200K_HEAD);
    return end > i ? skip_class(s, n, end, O200K_TAIL) : i;
}

static inline size_t match_o200k_like(const char *s, size_t n, size_t i, int contractions,
                                      int digits) {
    size_t next, next2;
    const unsigned c = class_at(s, i, &next);
    const int may_lead =
        !(c & (LOAM_UC_BREAK & ~LOAM_UC_SPACE)) && !(c & (LOAM_UC_LETTER | LOAM_UC_NUMBER));
    for (int alternative = 0; alternative < 2; alternative++) {
        for (int lead = may_lead; lead >= 0; lead--) {
            const size_t from = lead ? next : i;
            if (from >= n) continue;
            const size_t end = alternative ? match_heads(s, n, from) : match_head_tail(s, n, from);
            if (end == from) continue;
            return contractions ? match_contraction(s, n, end, 1) : end;
        }
    }
    if (c & LOAM_UC_NUMBER) {
        for (int k = 1; k < digits && next < n && (class_at(s, next, &next2) & LOAM_UC_NUMBER); k++)
            next = next2;
        return next;
    }
    const unsigned known = LOAM_UC_SPACE | LOAM_UC_LETTER | LOAM_UC_NUMBER;
    const size_t at = s[i] == ' ' && i + 1 < n ? i + 1 : i;
    if (!(class_at(s, at, &next) & known)) {
        size_t end = skip_others(s, n, next, known);
        while (end < n && (s[end] == '\r' || s[end] == '\n' || s[end] == '/')) end++;
        return end;
    }
    const size_t end = match_breaks(s, n, i);
    return end > i ? end : match_spaces(s, n, i);
}

static size_t match_o200k(const char *s, size_t n, size_t i) {
    return match_o200k_like(s, n, i, 1, 3);
}
static size_t match_tekken(const char *s, size_t n, size_t i) {
    return match_o200k_like(s, n, i, 0, 1);
}

#define UPPERS "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWERS "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define SHORT  "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
static const struct {
    const char *pattern;
    loam_matcher match;
} KNOWN[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
     loam_match_gpt2},
    {SHORT "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES,
     match_llama3},
    {SHORT "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES,
     match_qwen2},
    {SHORT
     "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES,
     match_qwen35},
    {"[^\\r\\n\\p{L}\\p{N}]?" UPPERS "*" LOWERS "+" SHORT "?|[^\\r\\n\\p{L}\\p{N}]?" UPPERS
     "+" LOWERS "*" SHORT "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES,
     match_o200k},
    {"[^\\r\\n\\p{L}\\p{N}]?" UPPERS "*" LOWERS "+|[^\\r\\n\\p{L}\\p{N}]?" UPPERS "+" LOWERS
     "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES,
     match_tekken},
};

/* ---- PCRE2 ---- */

/* Where Ruby's syntax and Perl's differ the pattern is rewritten, or refused: \s (PCRE2's counts
 * U+180E), \w and \b (PCRE2's know no marks), \h (a hexadecimal digit), X{n,m}+ (a repeat of
 * the repeat, not a possessive one), sets inside sets and their intersection (refused). */
#define SPACE_SET                                                                                  \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"
#define WORD_SET                                                                                   \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}\\x{24b6}-\\x{24e9}"     \
    "\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"
static const struct {
    char name;
    const char *in_class, *outside; /* NULL: as it is */
} ESCAPES[] = {
    {'s', SPACE_SET, "[" SPACE_SET "]"},
    {'S', NULL, "[^" SPACE_SET "]"},
    {'w', WORD_SET, "[" WORD_SET "]"},
    {'W', NULL, "[^" WORD_SET "]"},
    {'h', "0-9a-fA-F", "[0-9a-fA-F]"},
    {'b', NULL, "(?:(?<=[" WORD_SET "])(?![" WORD_SET "])|(?<![" WORD_SET "])(?=[" WORD_SET "]))"},
    {'B', NULL, "(?:(?<=[" WORD_SET "])(?=[" WORD_SET "])|(?<![" WORD_SET "])(?![" WORD_SET "]))"},
};

/* The escape at p[*i], behind its backslash. */
static void put_escape(loam_buf *out, const char *p, size_t n, size_t *i, int in_class) {
    const char d = p[(*i)++];
    for (size_t k = 0; k < sizeof ESCAPES / sizeof *ESCAPES; k++) {
        const char *text = in_class ? ESCAPES[k].in_class : ESCAPES[k].outside;
        if (ESCAPES[k].name != d || !text) continue;
        loam_buf_puts(out, text);
        return;
    }
    loam_buf_putc(out, '\\');
    loam_buf_putc(out, d);
    if ((d == 'p' || d == 'P' || d == 'x') && *i < n && p[*i] == '{')
        while (*i < n) { /* its braces are no repeat */
            loam_buf_putc(out, p[*i]);
            if (p[(*i)++] == '}') break;
        }
}

/* The pattern in Perl's syntax; returns what is refused, or NULL. */
static const char *translate(loam_buf *out, const char *p, size_t n) {
    int in_class = 0;
    size_t i = 0;
    while (i < n) {
        const char c = p[i++];
        if (c == '\\' && i < n) {
            put_escape(out, p, n, &i, in_class);
        } else if (c == '[' && !in_class) {
            in_class = 1;
            loam_buf_putc(out, c);
            if (i < n && p[i] == '^') loam_buf_putc(out, p[i++]);
            if (i < n && p[i] == ']') loam_buf_putc(out, p[i++]);
        } else if (in_class && c == '[' && (i == n || p[i] != ':')) {
            return "a set inside a set";
        } else if (in_class && c == '&' && i < n && p[i] == '&') {
            return "an intersection of sets";
        } else if (!in_class && c == '}' && i < n && p[i] == '+' && out->n) {
            size_t k = out->n; /* {lo,hi}+ becomes {lo,} */
            while (k > 0 && out->data[k - 1] != '{') k--;
            const char lo = k ? out->data[k] : 0;
            if (!k || (lo != '0' && lo != '1') || (out->n > k + 1 && out->data[k + 1] != ','))
                return "a repeat of a repeat";
            out->n = k + 1;
            loam_buf_puts(out, ",}");
            i++;
        } else {
            if (c == ']' && in_class) in_class = 0;
            loam_buf_putc(out, c);
        }
    }
    return NULL;
}

loam_status loam_regex_new(loam_regex **out, const char *pattern, size_t n, const char *name,
                           loam_err *err) {
    loam_status st = LOAM_OK;
    loam_buf text = {0};
    loam_regex *r = loam_alloc(1, sizeof *r);
    *out = NULL;
    if (!r) return loam_fail(err, LOAM_ERR_MEMORY, "%s: pattern", name);
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (strlen(KNOWN[i].pattern) == n && memcmp(KNOWN[i].pattern, pattern, n) == 0)
            r->match = KNOWN[i].match;
    if (!r->match) {
        int code = 0;
        PCRE2_SIZE at = 0;
        const char *refused = translate(&text, pattern, n);
        if (refused) {
            st = loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: pattern '%.*s': %s", name,
                           (int)(n < 120 ? n : 120), pattern, refused);
            goto done;
        }
        r->name = loam_strdup(name);
        r->context = pcre2_match_context_create(NULL);
        if (text.failed || !r->name || !r->context) {
            st = loam_fail(err, LOAM_ERR_MEMORY, "%s: pattern", name);
            goto done;
        }
        r->code = pcre2_compile((PCRE2_SPTR)(text.data ? text.data : ""), text.n,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C |
                                    PCRE2_USE_OFFSET_LIMIT,
                                &code, &at, NULL);
        if (!r->code) {
            PCRE2_UCHAR why[160] = {0};
            pcre2_get_error_message(code, why, sizeof why);
            st = loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: pattern '%.*s': %s", name,
                           (int)(n < 120 ? n : 120), pattern, (const char *)why);
            goto done;
        }
        pcre2_set_match_limit(r->context, 2000000);
        pcre2_set_depth_limit(r->context, 200000);
        pcre2_set_heap_limit(r->context, 64 * 1024); /* KiB */
    }
    *out = r;
    r = NULL;
done:
    loam_buf_deinit(&text);
    loam_regex_free(r);
    return st;
}

void loam_regex_free(loam_regex *r) {
    if (!r) return;
    pcre2_code_free(r->code);
    pcre2_match_context_free(r->context);
    free(r->name);
    free(r);
}

loam_matcher loam_regex_matcher(const loam_regex *r) {
    return r->match;
}

loam_status loam_regex_scan_init(loam_regex_scan *c, const loam_regex *re, const char *s, size_t n,
                                 loam_err *err) {
    *c = (loam_regex_scan){.re = re, .s = s, .n = n};
    if (re->match) return LOAM_OK;
    c->match = pcre2_match_data_create(1, NULL);
    c->limits = pcre2_match_context_copy(re->context);
    c->deadline = loam_now() + 20.0;
    return c->match && c->limits ? LOAM_OK
                                 : loam_fail(err, LOAM_ERR_MEMORY, "%s: pattern", re->name);
}

void loam_regex_scan_deinit(loam_regex_scan *c) {
    if (c->match) pcre2_match_data_free(c->match);
    if (c->limits) pcre2_match_context_free(c->limits);
    c->match = NULL;
    c->limits = NULL;
}

/* First match that starts at c->at or later.  A single search may try every start, each with
 * work up to the limits, so starts are tried in windows with a look at the clock between. */
static loam_status search(loam_regex_scan *c, int *found, size_t *start, size_t *end,
                          loam_err *err) {
    pcre2_match_context *limits = c->limits;
    loam_status st = LOAM_OK;
    *found = 0;
    for (size_t from = c->at; !*found;) {
        const size_t window = c->n - from > 512 ? from + 512 : c->n;
        pcre2_set_offset_limit(limits, window);
        const int rc = pcre2_match(c->re->code, (PCRE2_SPTR)c->s, c->n, from, PCRE2_NO_UTF_CHECK,
                                   c->match, limits);
        if (rc >= 0) {
            const PCRE2_SIZE *v = pcre2_get_ovector_pointer(c->match);
            *start = v[0];
            *end = v[1] < v[0] ? v[0] : v[1];
            *found = 1;
        } else if (rc == PCRE2_ERROR_NOMATCH) {
            if (window == c->n) break;
            from = window;
            while (from < c->n && ((unsigned char)c->s[from] & 0xc0) == 0x80) from++;
        } else {
            PCRE2_UCHAR why[160] = {0};
            pcre2_get_error_message(rc, why, sizeof why);
            st = loam_fail(err, LOAM_ERR_LIMIT, "%s: split pattern: %s at byte %zu of the text",
                           c->re->name, (const char *)why, c->at);
            break;
        }
        if (loam_now() > c->deadline) {
            st = loam_fail(err, LOAM_ERR_LIMIT,
                           "%s: split pattern: takes longer than 20 s on a text of %zu bytes",
                           c->re->name, c->n);
            break;
        }
    }
    return st;
}

loam_status loam_regex_next(loam_regex_scan *c, int *found, size_t *start, size_t *end,
                            loam_err *err) {
    *found = 0;
    if (c->re->match) {
        if (c->at >= c->n) return LOAM_OK;
        *start = c->at;
        *end = c->at = c->re->match(c->s, c->n, c->at);
        *found = 1;
        return LOAM_OK;
    }
    while (c->at <= c->n) {
        const loam_status st = search(c, found, start, end, err);
        if (st || !*found) return st;
        if (*end > *start || !c->any || c->last_end != *end) {
            c->at = c->last_end = *end;
            c->any = 1;
            return LOAM_OK;
        }
        /* an empty match right behind the last one does not count */
        c->at += c->at < c->n ? loam_utf8_len(c->s, c->at) : 1;
        *found = 0;
    }
    return LOAM_OK;
}
