/* unicode.c - properties and normal forms on utf8proc's tables.
 *
 * The parts of the reference tokenizers know different versions of Unicode, from 9 to 17; so that
 * ids are the same for every character, unicode_diff.inc says where they and utf8proc differ.
 *
 * utf8proc_decompose() sorts combining marks by bubbling, which a text of nothing but
 * marks turns into n^2; here each run of marks is sorted by a stable counting of
 * classes, and only the composition (linear) is left to utf8proc. */
#include "text/unicode.h"
#include "text/utf8.h"
#include <utf8proc.h>

#define U LOAM_UC_UPPER
#define L LOAM_UC_LOWER
#define N LOAM_UC_NUMBER
#define S LOAM_UC_SPACE
#define B (LOAM_UC_SPACE | LOAM_UC_BREAK)
const unsigned char loam_uc_ascii[128] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, S, B, S, S, B, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    S, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, N, N, N, N, N, N, N, N, N, N, 0, 0, 0, 0, 0, 0,
    0, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, 0, 0, 0, 0, 0,
    0, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, 0, 0, 0, 0, 0};
#undef U
#undef L
#undef N
#undef S
#undef B

typedef struct range {
    uint32_t from, to;
} range;
#include "text/unicode_diff.inc"

static int is_in(const range *r, size_t n, uint32_t c) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        if (c > r[mid].to)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && c >= r[lo].from && c <= r[lo].to;
}
#define IS_IN(table, c) is_in(table, sizeof table / sizeof *table, c)

static utf8proc_category_t category_of(uint32_t c) {
    return utf8proc_category((utf8proc_int32_t)c);
}

int loam_uc_is_space(uint32_t c) {
    if (c < 128) return loam_uc_ascii[c] & LOAM_UC_SPACE;
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

unsigned loam_uc_class_wide(uint32_t c) {
    switch (category_of(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT: return LOAM_UC_UPPER;
    case UTF8PROC_CATEGORY_LL: return LOAM_UC_LOWER;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return LOAM_UC_CASELESS;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return LOAM_UC_MARK;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return LOAM_UC_NUMBER;
    case UTF8PROC_CATEGORY_CN:
        for (size_t i = 0; i < sizeof NEW_CLASS / sizeof *NEW_CLASS; i++)
            if (c >= NEW_CLASS[i].from && c <= NEW_CLASS[i].to) return NEW_CLASS[i].class;
        return 0;
    default: return loam_uc_is_space(c) ? LOAM_UC_SPACE : 0;
    }
}

int loam_uc_is_punct(uint32_t c) {
    if (c < 128)
        return c > 32 && c < 127 && !(loam_uc_ascii[c] & (LOAM_UC_LETTER | LOAM_UC_NUMBER));
    const utf8proc_category_t k = category_of(c);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO ? !IS_IN(NOT_PUNCT, c)
                                                                  : IS_IN(ALSO_PUNCT, c);
}

int loam_uc_is_word(uint32_t c) {
    const utf8proc_category_t k = category_of(c);
    if ((loam_uc_class(c) & (LOAM_UC_LETTER | LOAM_UC_MARK)) || k == UTF8PROC_CATEGORY_ND ||
        k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_PC)
        return 1;
    /* Other_Alphabetic outside marks: enclosed letters; Join_Control */
    return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
           (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189) || c == 0x200c ||
           c == 0x200d || (k == UTF8PROC_CATEGORY_CN && IS_IN(NEW_WORD, c));
}

int loam_uc_is_numeric(uint32_t c) {
    if (c < 128) return c >= '0' && c <= '9';
    const utf8proc_category_t k = category_of(c);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO ||
           (k == UTF8PROC_CATEGORY_CN && IS_IN(NEW_NUMERIC, c));
}

int loam_uc_is_other(uint32_t c) {
    const utf8proc_category_t k = category_of(c);
    return (k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO ||
            k == UTF8PROC_CATEGORY_CS) &&
           !IS_IN(NOT_OTHER, c);
}

int loam_uc_is_mark(uint32_t c) {
    const utf8proc_category_t k = category_of(c);
    return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME
               ? !IS_IN(NOT_COMBINING, c)
               : IS_IN(ALSO_COMBINING, c);
}

int loam_uc_is_nonspacing(uint32_t c) {
    if (c < 0x300) return 0;
    return category_of(c) == UTF8PROC_CATEGORY_MN ? !IS_IN(NOT_NONSPACING, c)
                                                  : IS_IN(ALSO_NONSPACING, c);
}

void loam_uc_lower(loam_buf *out, uint32_t c) {
    if (c == 0x130) { /* the one character whose lower case is two */
        loam_buf_append(out, "i\xcc\x87", 3);
        return;
    }
    for (size_t i = 0; i < sizeof NEW_LOWER / sizeof *NEW_LOWER && c >= NEW_LOWER[i].from; i++)
        if (c <= NEW_LOWER[i].to) {
            loam_utf8_append(out, (uint32_t)((int32_t)c + NEW_LOWER[i].add));
            return;
        }
    loam_utf8_append(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
}

/* First code point that any normalization to the form may change or reorder. */
static uint32_t first_unsafe(loam_uc_form form) {
    return form == LOAM_UC_NFC ? 0x300 : form == LOAM_UC_NFD ? 0xc0 : 0xa0;
}

/* 1 when c stays as it is wherever it stands, and nothing after it can reach before it. */
static int is_safe(uint32_t c, loam_uc_form form, uint32_t unsafe) {
    if (c < unsafe) return 1;
    const int composes = form == LOAM_UC_NFC || form == LOAM_UC_NFKC;
    if (c >= 0xac00 && c <= 0xd7a3) return composes;
    if (c >= 0x1100 && c <= 0x11ff) return 0; /* jamo compose by rule */
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)c);
    /* A composed letter is normal in C, but telling it from the excluded ones needs the
     * composition table: such text goes the full way. */
    if (p->combining_class || p->decomp_seqindex != UINT16_MAX) return 0;
    return !composes || p->comb_index == UINT16_MAX || p->comb_index < 0x8000;
}

/* Start of the first character at s[i] or later that is not safe; *last: start of the safe
 * one before it, to which it may still be joined. */
static size_t find_unsafe(const char *s, size_t n, size_t i, loam_uc_form form, size_t *last) {
    const uint32_t unsafe = first_unsafe(form);
    *last = i;
    while (i < n) {
        const size_t from = i;
        while (n - i >= 8 && !(loam_read_u64(s + i) & 0x8080808080808080u)) i += 8;
        if (i > from) *last = i - 1;
        if (i >= n) break;
        const size_t at = i;
        if (!is_safe(loam_utf8_next(s, &i), form, unsafe)) return at;
        *last = at;
    }
    return n;
}

int loam_uc_is_normal(const char *s, size_t n, loam_uc_form form) {
    size_t last;
    return find_unsafe(s, n, 0, form, &last) == n;
}

static unsigned combining_class(utf8proc_int32_t c) {
    const utf8proc_propval_t k = utf8proc_get_property(c)->combining_class;
    return k && !IS_IN(NO_ORDER, (uint32_t)c) ? (unsigned)k : 0;
}

/* Canonical ordering of one run of marks: stable, linear; `tmp` has room for n. */
static void sort_marks(utf8proc_int32_t *run, size_t n, utf8proc_int32_t *tmp) {
    size_t start[257] = {0};
    int sorted = 1;
    for (size_t i = 0; i < n; i++) {
        start[combining_class(run[i]) + 1]++;
        if (i && combining_class(run[i]) < combining_class(run[i - 1])) sorted = 0;
    }
    if (sorted) return;
    for (size_t k = 1; k < 257; k++) start[k] += start[k - 1];
    for (size_t i = 0; i < n; i++) tmp[start[combining_class(run[i])]++] = run[i];
    memcpy(run, tmp, n * sizeof *run);
}

static void order_marks(utf8proc_int32_t *c, size_t n, utf8proc_int32_t *tmp) {
    for (size_t i = 0; i < n;) {
        if (!combining_class(c[i])) {
            i++;
            continue;
        }
        size_t end = i + 1;
        while (end < n && combining_class(c[end])) end++;
        if (end - i > 1) sort_marks(c + i, end - i, tmp);
        i = end;
    }
}

static int normalize_part(loam_buf *out, const char *s, size_t n, loam_uc_form form) {
    const int compat = form == LOAM_UC_NFKC || form == LOAM_UC_NFKD;
    const int compose = form == LOAM_UC_NFC || form == LOAM_UC_NFKC;
    const utf8proc_option_t options =
        (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0));
    utf8proc_int32_t *c = NULL;
    size_t n_c = 0, cap = 0;
    int ok = 0;
    for (size_t i = 0; i < n;) {
        const uint32_t x = loam_utf8_next(s, &i);
        /* the longest decomposition of one character is 18 */
        if (cap - n_c < 32 && !loam_grow((void **)&c, &cap, n_c + n / 2 + 64, sizeof *c)) goto done;
        int last = 0;
        const utf8proc_ssize_t k =
            utf8proc_decompose_char((utf8proc_int32_t)x, c + n_c, 32, options, &last);
        if (k < 0 || k > 32 || (k > 0 && c[n_c] != (utf8proc_int32_t)x && IS_IN(NO_COMPAT, x))) {
            c[n_c++] = (utf8proc_int32_t)x;
        } else {
            n_c += (size_t)k;
        }
    }
    if (n_c) {
        utf8proc_int32_t *tmp = loam_alloc(n_c, sizeof *tmp);
        if (!tmp) goto done;
        order_marks(c, n_c, tmp);
        free(tmp);
        if (compose) {
            const utf8proc_ssize_t k = utf8proc_normalize_utf32(
                c, (utf8proc_ssize_t)n_c, (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
            if (k >= 0) n_c = (size_t)k;
        }
    }
    if (!loam_buf_reserve(out, n_c * 4 + 1)) goto done;
    for (size_t i = 0; i < n_c; i++) loam_utf8_append(out, (uint32_t)c[i]);
    ok = !out->failed;
done:
    free(c);
    return ok;
}

/* Only the parts around characters that need it are normalized: from the safe character
 * before the first of them to the next safe one. */
int loam_uc_normalize(loam_buf *out, const char *s, size_t n, loam_uc_form form) {
    const uint32_t unsafe = first_unsafe(form);
    size_t done = 0, last = 0;
    while (done < n) {
        const size_t bad = find_unsafe(s, n, done, form, &last);
        const size_t from = bad == n ? n : last;
        loam_buf_append(out, s + done, from - done);
        if (bad == n) break;
        size_t end = bad, next = bad;
        while (end < n && !is_safe(loam_utf8_next(s, &next), form, unsafe)) end = next;
        if (!normalize_part(out, s + from, end - from, form)) return 0;
        done = end;
    }
    return !out->failed;
}
