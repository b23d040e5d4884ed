/* template_unicode.c - characters as Python's str sees them: counting, white space, case.
 *
 * Strings are UTF-8 and positions are code points, so an index costs a walk; real
 * templates index short strings only.  Simple case mappings and categories come
 * from utf8proc, the hundred that grow (ß to SS) from template_case.inc.
 */
#include "text/template.h"
#include <utf8proc.h>

size_t loam_tmpl_runes(tmpl_str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

uint32_t loam_tmpl_rune(const char **p, const char *end) {
    const unsigned char *q = (const unsigned char *)*p;
    utf8proc_int32_t r;
    if (*q < 0x80) {
        (*p)++;
        return *q;
    }
    const utf8proc_ssize_t n = utf8proc_iterate(q, end - *p, &r);
    *p += n > 0 ? n : 1;
    return n > 0 ? (uint32_t)r : 0xfffd;
}

size_t loam_tmpl_offset(tmpl_str s, size_t i_rune) {
    size_t i = 0;
    for (; i < s.n; i++)
        if (((unsigned char)s.p[i] & 0xc0) != 0x80 && i_rune-- == 0) return i;
    return i;
}

int loam_tmpl_is_space(uint32_t r) {
    if (r < 0x80) return (r >= 9 && r <= 13) || (r >= 0x1c && r <= 0x20);
    return r == 0x85 || r == 0xa0 || r == 0x1680 || (r >= 0x2000 && r <= 0x200a) || r == 0x2028 ||
           r == 0x2029 || r == 0x202f || r == 0x205f || r == 0x3000;
}

int loam_tmpl_is_line_end(uint32_t r) {
    return (r >= 10 && r <= 13) || (r >= 0x1c && r <= 0x1e) || r == 0x85 || r == 0x2028 ||
           r == 0x2029;
}

static utf8proc_category_t category(uint32_t r) {
    return utf8proc_category((utf8proc_int32_t)r);
}

int loam_tmpl_is_printable(uint32_t r) {
    if (r < 0x7f) return r >= 0x20;
    switch (category(r)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return 0;
    default: return 1;
    }
}

static int is_alpha(uint32_t r) {
    if (r < 0x80) return (r | 32) >= 'a' && (r | 32) <= 'z';
    const utf8proc_category_t k = category(r);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

static int is_numeric(uint32_t r) {
    if (r < 0x80) return r >= '0' && r <= '9';
    const utf8proc_category_t k = category(r);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

static int is_decimal(uint32_t r) {
    return r < 0x80 ? r >= '0' && r <= '9' : category(r) == UTF8PROC_CATEGORY_ND;
}

/* Superscripts and subscripts count as digits; other digit-like signs are left out. */
static int is_digit(uint32_t r) {
    return is_decimal(r) || r == 0xb2 || r == 0xb3 || r == 0xb9 || r == 0x2070 ||
           (r >= 0x2074 && r <= 0x2079) || (r >= 0x2080 && r <= 0x2089);
}

int loam_tmpl_is_word(uint32_t r) {
    return is_alpha(r) || is_numeric(r) || r == '_';
}

/* 'l' lower, 'u' upper, 't' title, 0 without case. */
static int case_of(uint32_t r) {
    if (r < 0x80) return r >= 'a' && r <= 'z' ? 'l' : r >= 'A' && r <= 'Z' ? 'u' : 0;
    switch (category(r)) {
    case UTF8PROC_CATEGORY_LL: return 'l';
    case UTF8PROC_CATEGORY_LU: return 'u';
    case UTF8PROC_CATEGORY_LT: return 't';
    default: return r == 0xaa || r == 0xba ? 'l' : 0;
    }
}

/* islower, isupper, istitle: which is 'l', 'u' or 't'. */
static int has_case(tmpl_str s, int which) {
    int cased = 0, before = 0;
    for (const char *p = s.p, *end = s.p + s.n; p < end;) {
        const int k = case_of(loam_tmpl_rune(&p, end));
        if (which == 't') {
            if (k == 'l' ? !before : k && before) return 0;
        } else if (k && k != which) {
            return 0;
        }
        cased |= k != 0;
        before = k;
    }
    return cased;
}

static int all(tmpl_str s, int (*is)(uint32_t r)) {
    for (const char *p = s.p, *end = s.p + s.n; p < end;)
        if (!is(loam_tmpl_rune(&p, end))) return 0;
    return 1;
}

static int is_alnum(uint32_t r) {
    return is_alpha(r) || is_numeric(r);
}
static int is_ascii(uint32_t r) {
    return r < 0x80;
}

int loam_tmpl_is_class(tmpl_str s, const char *which) {
    static const struct {
        const char *name;
        int (*is)(uint32_t r);
    } ALL[] = {{"isalpha", is_alpha},     {"isalnum", is_alnum},
               {"isdigit", is_digit},     {"isspace", loam_tmpl_is_space},
               {"isdecimal", is_decimal}, {"isnumeric", is_numeric}};
    for (size_t i = 0; i < sizeof ALL / sizeof *ALL; i++)
        if (strcmp(ALL[i].name, which) == 0) return s.n > 0 && all(s, ALL[i].is);
    if (strcmp(which, "isascii") == 0) return all(s, is_ascii);
    if (strcmp(which, "isprintable") == 0) return all(s, loam_tmpl_is_printable);
    if (strcmp(which, "islower") == 0) return has_case(s, 'l');
    if (strcmp(which, "isupper") == 0) return has_case(s, 'u');
    if (strcmp(which, "istitle") == 0) return has_case(s, 't');
    const char *p = s.p; /* isidentifier */
    if (!s.n) return 0;
    const uint32_t first = loam_tmpl_rune(&p, s.p + s.n);
    return (is_alpha(first) || first == '_') && all(s, loam_tmpl_is_word);
}

/* ---- case ---- */

static const struct {
    uint32_t rune, upper[3], title[3];
} GROWING[] = {
#include "text/template_case.inc"
};

static const uint32_t *growing(uint32_t r, int title) {
    size_t lo = 0, hi = sizeof GROWING / sizeof *GROWING;
    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        if (GROWING[mid].rune == r) return title ? GROWING[mid].title : GROWING[mid].upper;
        if (GROWING[mid].rune < r)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static void put_upper(tmpl_buf *b, uint32_t r, int title) {
    const uint32_t *more = r < 0x80 ? NULL : growing(r, title);
    if (more) {
        for (size_t i = 0; i < 3 && more[i]; i++) loam_tmpl_put_rune(b, more[i]);
        return;
    }
    const utf8proc_int32_t c = (utf8proc_int32_t)r;
    loam_tmpl_put_rune(b, (uint32_t)(title ? utf8proc_totitle(c) : utf8proc_toupper(c)));
}

/* A capital sigma at the end of a word becomes the final one: a cased letter before, none after
 * (signs that case ignores are looked through). */
static int is_final_sigma(tmpl_str s, const char *at, const char *after) {
    const char *end = s.p + s.n, *p = at;
    int before = 0;
    while (p > s.p && !before) {
        do p--;
        while (p > s.p && ((unsigned char)*p & 0xc0) == 0x80);
        const char *q = p;
        const uint32_t r = loam_tmpl_rune(&q, end);
        const utf8proc_category_t k = category(r);
        if (case_of(r))
            before = 1;
        else if (k != UTF8PROC_CATEGORY_MN && r != '\'' && r != '.' && r != 0x2019)
            break;
    }
    if (!before) return 0;
    for (p = after; p < end;) {
        const uint32_t r = loam_tmpl_rune(&p, end);
        if (case_of(r)) return 0;
        if (category(r) != UTF8PROC_CATEGORY_MN && r != '\'' && r != '.' && r != 0x2019) break;
    }
    return 1;
}

static void put_lower(tmpl_buf *b, tmpl_str s, const char *at, const char *after, uint32_t r) {
    if (r == 0x130) { /* I with a dot: the dot stays */
        loam_tmpl_put_rune(b, 'i');
        loam_tmpl_put_rune(b, 0x307);
    } else if (r == 0x3a3) {
        loam_tmpl_put_rune(b, is_final_sigma(s, at, after) ? 0x3c2 : 0x3c3);
    } else {
        loam_tmpl_put_rune(b, (uint32_t)utf8proc_tolower((utf8proc_int32_t)r));
    }
}

static void put_folded(tmpl_buf *b, uint32_t r) {
    utf8proc_int32_t out[8];
    int last = 0;
    const utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)r, out, 8, UTF8PROC_CASEFOLD, &last);
    for (utf8proc_ssize_t i = 0; i < n && i < 8; i++) loam_tmpl_put_rune(b, (uint32_t)out[i]);
}

void loam_tmpl_put_case(tmpl_buf *b, tmpl_str s, tmpl_case k) {
    int before = 0;
    for (const char *p = s.p, *end = s.p + s.n; p < end;) {
        const char *at = p;
        const uint32_t r = loam_tmpl_rune(&p, end);
        const int is = k == TMPL_TITLE || k == TMPL_SWAPCASE ? case_of(r) : 0;
        if (k == TMPL_UPPER || (k == TMPL_SWAPCASE && is == 'l'))
            put_upper(b, r, 0);
        else if (k == TMPL_CASEFOLD)
            put_folded(b, r);
        else if (k == TMPL_SWAPCASE && is != 'u')
            loam_tmpl_put(b, at, (size_t)(p - at));
        else if ((k == TMPL_TITLE && !before) || (k == TMPL_CAPITALIZE && at == s.p))
            put_upper(b, r, 1);
        else
            put_lower(b, s, at, p, r);
        before = is;
    }
}

tmpl_value loam_tmpl_recase(tmpl_ctx *c, tmpl_str s, tmpl_case k) {
    tmpl_buf b = loam_tmpl_buf(c);
    loam_tmpl_put_case(&b, s, k);
    return loam_tmpl_take(&b);
}

/* ---- stripping ---- */

static int strips(uint32_t r, const tmpl_str *chars) {
    if (!chars) return loam_tmpl_is_space(r);
    for (const char *p = chars->p, *end = p + chars->n; p < end;)
        if (loam_tmpl_rune(&p, end) == r) return 1;
    return 0;
}

tmpl_str loam_tmpl_strip(tmpl_str s, const tmpl_str *chars, int side) {
    const char *p = s.p, *end = s.p + s.n;
    while ((side & 1) && p < end) {
        const char *q = p;
        if (!strips(loam_tmpl_rune(&q, end), chars)) break;
        p = q;
    }
    while ((side & 2) && p < end) {
        const char *q = end - 1;
        while (q > p && ((unsigned char)*q & 0xc0) == 0x80) q--;
        const char *after = q;
        if (!strips(loam_tmpl_rune(&after, end), chars)) break;
        end = q;
    }
    return (tmpl_str){p, (size_t)(end - p)};
}
