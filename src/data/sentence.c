/* sentence.c - where sentences, list items, table rows and code lines begin and end.
 *
 * Lines are grouped to paragraphs by blank lines; inside prose, single newlines
 * are spaces and sentences end at . ! ? (and their CJK forms).  The rules err on the
 * side of not cutting: a missed end makes a longer unit, a wrong one tears a name apart.
 */
#include "base/base.h"
#include "base/utf8.h"
#include "data/chunk.h"

#include <strings.h>

static int is_space(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\f';
}
static int is_digit(char c) {
    return c >= '0' && c <= '9';
}
static int is_lower(char c) {
    return c >= 'a' && c <= 'z';
}
static int is_alpha(char c) {
    return is_lower(c) || (c >= 'A' && c <= 'Z');
}

/* Add text[begin, end) without the white space around it. */
static int push_unit(units *out, const char *text, size_t begin, size_t end, int paragraph,
                     int level) {
    while (begin < end && is_space(text[begin])) begin++;
    while (end > begin && is_space(text[end - 1])) end--;
    if (begin == end) return 1;
    void *grown = out->items;
    if (!loam_grow(&grown, &out->cap, out->n + 1, sizeof *out->items)) return 0;
    out->items = grown;
    out->items[out->n++] = (unit){.begin = begin,
                                  .end = end,
                                  .is_paragraph = paragraph != 0,
                                  .is_heading = level > 0,
                                  .level = (uint8_t)level};
    return 1;
}

/* Words before a full stop that seldom end a sentence. */
static const char *const ABBREVIATIONS[] = {
    "e.g", "i.e", "mr", "mrs", "ms",  "dr",  "prof", "st",  "vs",  "cf",     "fig",  "figs", "no",
    "nos", "vol", "pp", "p",   "ed",  "eds", "eq",   "eqs", "sec", "ch",     "al",   "etc",  "inc",
    "ltd", "jr",  "sr", "z.b", "bzw", "ca",  "vgl",  "usw", "nr",  "approx", "resp", "dept", "ref"};

/* 1 when the dot at `dot` belongs to an abbreviation or an initial. */
static int is_abbreviation(const char *text, size_t begin, size_t dot) {
    size_t at = dot;
    while (at > begin && (is_alpha(text[at - 1]) || text[at - 1] == '.')) at--;
    const size_t n = dot - at;
    if (n == 0 || n > 7) return 0;
    if (n == 1 && text[at] >= 'A' && text[at] <= 'Z') return 1;
    for (size_t i = 0; i < sizeof ABBREVIATIONS / sizeof *ABBREVIATIONS; i++)
        if (strlen(ABBREVIATIONS[i]) == n && strncasecmp(ABBREVIATIONS[i], text + at, n) == 0)
            return 1;
    return 0;
}

/* Length of a CJK sentence end at `at`: these need no space behind them. */
static size_t cjk_end(const char *text, size_t at, size_t end) {
    static const char *const ENDS[] = {"\xE3\x80\x82", "\xEF\xBC\x81", "\xEF\xBC\x9F",
                                       "\xEF\xBD\xA1"};
    for (int i = 0; i < 4; i++)
        if (end - at >= 3 && memcmp(text + at, ENDS[i], 3) == 0) return 3;
    return 0;
}

/* Skip quotes and brackets that close with the sentence. */
static size_t skip_closers(const char *text, size_t at, size_t end) {
    static const char *const CLOSERS[] = {"\xE2\x80\x9D", "\xE2\x80\x99", "\xC2\xBB",
                                          "\xE3\x80\x8D", "\xE3\x80\x8F", "\xEF\xBC\x89"};
    for (;;) {
        const size_t start = at;
        if (at < end && strchr("\"')]*_`", text[at]) && text[at]) at++;
        for (size_t i = 0; i < sizeof CLOSERS / sizeof *CLOSERS; i++) {
            const size_t n = strlen(CLOSERS[i]);
            if (end - at >= n && memcmp(text + at, CLOSERS[i], n) == 0) at += n;
        }
        if (at == start) return at;
    }
}

/* 1 when what follows a possible end at `at` lets a sentence begin. */
static int may_begin(const char *text, size_t at, size_t end) {
    if (at >= end) return 1;
    if (!is_space(text[at])) return 0;
    while (at < end && is_space(text[at])) at++;
    return at >= end || !is_lower(text[at]);
}

/* Prose [begin, end) to sentences. */
static int cut_sentences(units *out, const char *text, size_t begin, size_t end) {
    size_t start = begin, at = begin;
    int paragraph = 1;
    while (at < end) {
        size_t stop = 0;
        const size_t cjk = cjk_end(text, at, end);
        if (cjk) {
            stop = skip_closers(text, at + cjk, end);
        } else if (text[at] == '.' || text[at] == '!' || text[at] == '?') {
            size_t after = at + 1;
            while (after < end && strchr(".!?", text[after])) after++;
            after = skip_closers(text, after, end);
            /* "3. October", "1. First" at the start, "e.g." */
            const int numbered =
                text[at] == '.' && at > begin && is_digit(text[at - 1]) && at - start <= 3;
            if (may_begin(text, after, end) && !numbered &&
                !(text[at] == '.' && after == at + 1 && is_abbreviation(text, start, at)))
                stop = after;
            else
                at = after - 1;
        }
        if (stop) {
            if (!push_unit(out, text, start, stop, paragraph, 0)) return 0;
            paragraph = 0;
            start = at = stop;
        } else {
            at++;
        }
    }
    return push_unit(out, text, start, end, paragraph, 0);
}

/* Does the line begin a list item ("- ", "* ", "1. ", "(a) ", bullets)? */
static int is_item(const char *text, size_t begin, size_t end) {
    while (begin < end && (text[begin] == ' ' || text[begin] == '\t')) begin++;
    if (end - begin < 2) return 0;
    if (strchr("-*+", text[begin]) && text[begin + 1] == ' ') return 1;
    if (end - begin >= 4 && memcmp(text + begin, "\xE2\x80\xA2", 3) == 0) return 1; /* bullet */
    size_t at = begin;
    while (at < end && is_digit(text[at]) && at - begin < 4) at++;
    return at > begin && at + 1 < end && (text[at] == '.' || text[at] == ')') &&
           text[at + 1] == ' ';
}

/* A line whose breaks mean something: table row, code, a definition. */
static int is_verbatim(const char *text, size_t begin, size_t end) {
    if (end > begin && text[begin] == '|') return 1;
    if (end - begin >= 5 && memcmp(text + begin, "    ", 4) == 0) return 1;
    return end > begin && text[begin] == '\t';
}

static size_t line_end(const char *text, size_t at, size_t end) {
    const char *nl = memchr(text + at, '\n', end - at);
    return nl ? (size_t)(nl - text) : end;
}

static int is_blank(const char *text, size_t begin, size_t end) {
    while (begin < end && is_space(text[begin])) begin++;
    return begin == end;
}

/* A fenced block is kept line by line; returns the byte behind it, or 0 when there is none at `at`. */
static size_t fenced_end(const char *text, size_t at, size_t end) {
    size_t first = at;
    while (first < end && text[first] == ' ') first++;
    if (end - first < 3 ||
        (memcmp(text + first, "```", 3) != 0 && memcmp(text + first, "~~~", 3) != 0))
        return 0;
    const char *mark = text + first;
    for (size_t l = line_end(text, at, end); l < end; l = line_end(text, l + 1, end)) {
        size_t b = l + 1;
        while (b < end && text[b] == ' ') b++;
        if (end - b >= 3 && memcmp(text + b, mark, 3) == 0) {
            const size_t stop = line_end(text, b, end);
            return stop < end ? stop + 1 : end;
        }
    }
    return end;
}

static int push_lines(units *out, const char *text, size_t begin, size_t end) {
    int paragraph = 1;
    for (size_t at = begin; at < end;) {
        const size_t stop = line_end(text, at, end);
        if (!push_unit(out, text, at, stop, paragraph, 0)) return 0;
        paragraph = 0;
        at = stop + 1;
    }
    return 1;
}

/* Body text between headings. */
static int cut_body(units *out, const char *text, size_t begin, size_t end) {
    size_t start = begin; /* of the paragraph or item under way */
    size_t at = begin;
    while (at < end) {
        const size_t stop = line_end(text, at, end);
        const size_t next = stop < end ? stop + 1 : end;
        const size_t fence = fenced_end(text, at, end);
        if (fence || is_blank(text, at, stop) || is_item(text, at, stop) ||
            is_verbatim(text, at, stop)) {
            if (!cut_sentences(out, text, start, at)) return 0;
            start = at;
        }
        if (fence) {
            if (!push_lines(out, text, at, fence)) return 0;
            start = at = fence;
            continue;
        }
        if (is_verbatim(text, at, stop)) {
            if (!push_unit(out, text, at, stop,
                           at == begin || text[at - 1] != '\n' || (at > 1 && text[at - 2] == '\n'),
                           0))
                return 0;
            start = next;
        }
        at = next;
    }
    return cut_sentences(out, text, start, end);
}

/* First heading that ends behind `at`. */
static size_t find_heading(const loam_document *doc, size_t at) {
    size_t low = 0, high = doc->n_headings;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (doc->headings[middle].end <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int units_cut(units *out, const loam_document *doc, size_t begin, size_t end) {
    const char *text = doc->text.data;
    for (size_t i = find_heading(doc, begin); i < doc->n_headings && doc->headings[i].begin < end;
         i++) {
        const loam_heading h = doc->headings[i];
        if (h.begin < begin || h.end > end) continue;
        if (!cut_body(out, text, begin, h.begin)) return 0;
        if (!push_unit(out, text, h.begin, h.end, 1, h.level)) return 0;
        begin = h.end;
    }
    return begin >= end || cut_body(out, text, begin, end);
}
