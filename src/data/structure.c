/* structure.c - headings and pages of plain text and Markdown.
 *
 * Markdown stays as it was written: models read it well, and a chunk can be found
 * again in the file.  Only HTML comments outside of code go: nobody who sees the
 * page sees them, so they must not speak to the model either.
 */
#include "base/base.h"
#include "base/utf8.h"
#include "data/document.h"

enum { HEADING_MAX_BYTES = 300 };

/* One line [begin, end) without its newline. */
typedef struct line {
    size_t begin, end;
} line;

static line line_at(const loam_buf *text, size_t at) {
    const char *nl = at < text->n ? memchr(text->data + at, '\n', text->n - at) : NULL;
    return (line){at, nl ? (size_t)(nl - text->data) : text->n};
}

static line trim_line(const loam_buf *text, line l) {
    while (l.end > l.begin && strchr(" \t\f", text->data[l.end - 1])) l.end--;
    while (l.begin < l.end && strchr(" \t\f", text->data[l.begin])) l.begin++;
    return l;
}

/* The punctuation character that makes up the whole line, at least 3 of them; or 0. */
static char underline_of(const loam_buf *text, line l) {
    l = trim_line(text, l);
    const size_t n = l.end - l.begin;
    if (n < 3) return 0;
    const char c = text->data[l.begin];
    if (!strchr("=-~^\"'`*+#.:_", c)) return 0;
    for (size_t i = l.begin; i < l.end; i++)
        if (text->data[i] != c) return 0;
    return c;
}

/* Levels of underlines are given in order of appearance, as reStructuredText does. */
static int level_of_underline(char seen[8], char c) {
    for (int i = 0; i < 8; i++) {
        if (seen[i] == 0) seen[i] = c;
        if (seen[i] == c) return i + 1;
    }
    return 8;
}

static int is_heading_text(const loam_buf *text, line l) {
    const line t = trim_line(text, l);
    return t.end > t.begin && t.end - t.begin <= HEADING_MAX_BYTES && underline_of(text, l) == 0;
}

static loam_status fail_memory(loam_err *err) {
    return loam_fail(err, LOAM_ERR_MEMORY, "document structure");
}

/* Form feeds become newlines and page starts. */
static int split_pages(loam_document *doc) {
    loam_buf *text = &doc->text;
    const char *ff = text->n ? memchr(text->data, '\f', text->n) : NULL;
    if (!ff) return 1;
    int64_t number = 1;
    if (!document_add_page(doc, number, 0)) return 0;
    for (; ff; ff = memchr(ff, '\f', text->n - (size_t)(ff - text->data))) {
        const size_t at = (size_t)(ff - text->data);
        text->data[at] = '\n';
        if (at + 1 < text->n && !document_add_page(doc, ++number, at + 1)) return 0;
    }
    return 1;
}

loam_status document_structure_text(loam_document *doc, loam_err *err) {
    if (!split_pages(doc)) return fail_memory(err);
    const loam_buf *text = &doc->text;
    char seen[8] = {0};
    line before = {0, 0};
    int before_is_heading = 0; /* a line that follows a blank one */
    int blank_above = 1;
    for (size_t at = 0; at < text->n;) {
        const line l = line_at(text, at);
        const char c = underline_of(text, l);
        const line t = trim_line(text, before);
        /* an underline about as long as its title, not a table rule */
        if (c && before_is_heading && l.end - l.begin + 2 >= t.end - t.begin &&
            l.end - l.begin <= 2 * (t.end - t.begin) + 8) {
            if (!document_add_heading(doc, before.begin, l.end, level_of_underline(seen, c)))
                return fail_memory(err);
            before_is_heading = 0;
        } else {
            const line own = trim_line(text, l);
            before_is_heading =
                (blank_above || underline_of(text, before)) && is_heading_text(text, l);
            blank_above = own.begin == own.end;
        }
        before = l;
        at = l.end + 1;
    }
    return LOAM_OK;
}

/* Length of the code fence that starts at the line, and its character; 0: none. */
static size_t fence_of(const loam_buf *text, line l, char *c) {
    size_t i = l.begin;
    while (i < l.end && i - l.begin < 4 && text->data[i] == ' ') i++;
    if (i >= l.end || i - l.begin > 3 || (text->data[i] != '`' && text->data[i] != '~')) return 0;
    *c = text->data[i];
    size_t n = 0;
    while (i + n < l.end && text->data[i + n] == *c) n++;
    return n >= 3 ? n : 0;
}

/* 1 when the fence of `n` times `c` is closed by this line. */
static int closes_fence(const loam_buf *text, line l, char c, size_t n) {
    char own;
    const size_t m = fence_of(text, l, &own);
    if (m < n || own != c) return 0;
    const line t = trim_line(text, l);
    return t.end - t.begin == m;
}

/* Where the comment that begins at `at` ends; 0: none begins; SIZE_MAX: it does not end. */
static size_t comment_end(const char *data, size_t n, size_t at) {
    if (n - at < 4 || memcmp(data + at, "<!--", 4) != 0) return 0;
    const char *close = memmem(data + at + 4, n - at - 4, "-->", 3);
    return close ? (size_t)(close - data) + 3 : SIZE_MAX;
}

/* Drop comments outside of fences and code spans.  An unclosed comment is text: it shows. */
static void drop_comments(loam_buf *text) {
    char *data = text->data;
    const size_t n = text->n;
    size_t to = 0, fence = 0;
    char fence_char = 0;
    int no_more = 0;      /* no "-->" lies ahead: keeps the scan linear, as does to look for a */
    size_t known_end = 0; /* line's end once, however many comments it holds */
    for (size_t at = 0; at < n;) {
        const loam_buf view = {.data = data, .n = n};
        const line l = at > 0 && at <= known_end ? (line){at, known_end} : line_at(&view, at);
        known_end = l.end;
        const size_t stop = l.end < n ? l.end + 1 : n;
        size_t run = 0;
        char c = 0;
        if (fence ? closes_fence(&view, l, fence_char, fence)
                  : (run = fence_of(&view, l, &c)) > 0) {
            fence = fence ? 0 : run;
            fence_char = c;
            memmove(data + to, data + at, stop - at);
            to += stop - at;
            at = stop;
            continue;
        }
        int in_span = 0, closed = 0; /* closed: what follows a comment is looked at anew */
        while (at < stop && !closed) {
            if (data[at] == '`') in_span = !in_span;
            const size_t end = fence || in_span || no_more ? 0 : comment_end(data, n, at);
            closed = end && end != SIZE_MAX;
            no_more |= end == SIZE_MAX;
            if (closed)
                at = end;
            else
                data[to++] = data[at++];
        }
    }
    text->n = to;
    if (data) data[to] = '\0';
}

/* "## Title ##" -> 2; 0: no heading. */
static int atx_level(const loam_buf *text, line l) {
    size_t i = l.begin;
    while (i < l.end && i - l.begin < 3 && text->data[i] == ' ') i++;
    int level = 0;
    while (i < l.end && text->data[i] == '#' && level < 7) {
        i++;
        level++;
    }
    return level >= 1 && level <= 6 && (i == l.end || text->data[i] == ' ' || text->data[i] == '\t')
               ? level
               : 0;
}

/* Bytes of YAML front matter at the start ("---" to "---"), with its title; 0: none. */
static size_t front_matter(loam_document *doc) {
    const loam_buf *text = &doc->text;
    line l = line_at(text, 0);
    if (l.end != 3 || memcmp(text->data, "---", 3) != 0) return 0;
    line title = {0, 0};
    for (size_t at = l.end + 1; at < text->n && at < 65536; at = l.end + 1) {
        l = line_at(text, at);
        if (l.end - l.begin == 3 &&
            (memcmp(text->data + at, "---", 3) == 0 || memcmp(text->data + at, "...", 3) == 0)) {
            if (title.end > title.begin)
                doc->title = loam_strndup(text->data + title.begin, title.end - title.begin);
            return l.end < text->n ? l.end + 1 : text->n;
        }
        if (l.end - l.begin > 6 && memcmp(text->data + at, "title:", 6) == 0)
            title = trim_line(text, (line){l.begin + 6, l.end});
    }
    return 0;
}

loam_status document_structure_markdown(loam_document *doc, loam_err *err) {
    loam_buf *text = &doc->text;
    for (size_t i = 0; i < text->n; i++)
        if (text->data[i] == '\f') text->data[i] = '\n';
    drop_comments(text);
    size_t at = front_matter(doc), fence = 0;
    char fence_char = 0;
    line before = {at, at};
    int before_is_text = 0;
    while (at < text->n) {
        const line l = line_at(text, at);
        char c = 0;
        const size_t run = fence ? 0 : fence_of(text, l, &c);
        int level = 0;
        if (fence) {
            if (closes_fence(text, l, fence_char, fence)) fence = 0;
        } else if (run) {
            fence = run;
            fence_char = c;
        } else if ((level = atx_level(text, l)) > 0) {
            if (!document_add_heading(doc, l.begin, l.end, level)) return fail_memory(err);
        } else if (before_is_text && (c = underline_of(text, l)) != 0 && (c == '=' || c == '-')) {
            level = c == '=' ? 1 : 2;
            if (!document_add_heading(doc, before.begin, l.end, level)) return fail_memory(err);
        }
        before_is_text = !fence && !run && !level && is_heading_text(text, l) && !before_is_text;
        before = l;
        at = l.end + 1;
    }
    if (!doc->title && doc->n_headings > 0) {
        line t = trim_line(text, line_at(text, doc->headings[0].begin));
        while (t.begin < t.end && strchr("# ", text->data[t.begin])) t.begin++;
        doc->title = loam_strndup(text->data + t.begin, t.end - t.begin);
    }
    return LOAM_OK;
}
