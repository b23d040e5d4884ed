/* loam_pdf.c - PDF on stdin to text by page, title and headings on stdout; run by `loam ingest`.
 *
 * poppler gives characters and their boxes; the reading order is our own, for no
 * engine's is reliable on columns: words are cut into bands and columns (page_layout.h), columns are read one
 * after the other, tables row by row.  Then, over the whole document: running heads
 * and feet are kept once and page numbers never, words hyphenated at a line's end are joined
 * ("exam-" + "ple": a letter before the hyphen, a small letter after the break), and lines set larger than the
 * body are headings.
 *
 * poppler is GPL: this program links it, and the rest of loam does not.
 */
#include "cli/helper.h"
#include "pdf/page_layout.h"

#include <math.h>
#include <poppler.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT_BYTES = 128 << 20, MAX_PAGES = 100000 };

static _Noreturn void fail_memory(void) {
    cli_helper_fail(LOAM_ERR_LIMIT, "needs more memory than a reader may use");
}

/* ---- characters to words ---- */

/* Presentation forms of ligatures, U+FB00 .. U+FB06, as letters: nobody searches for them. */
static const char *const LIGATURES[] = {"ff", "fi", "fl", "ffi", "ffl", "st", "st"};

static void put_char(loam_buf *text, gunichar c) {
    char bytes[8];
    if (c >= 0xFB00 && c <= 0xFB06)
        loam_buf_puts(text, LIGATURES[c - 0xFB00]);
    else if (c >= 0x20 && !(c >= 0x7F && c < 0xA0) && c != 0x200B && c != 0xFEFF)
        loam_buf_append(text, bytes, (size_t)g_unichar_to_utf8(c, bytes));
}

static void widen(page_word *w, const PopplerRectangle *r) {
    const float x0 = (float)(r->x1 < r->x2 ? r->x1 : r->x2),
                x1 = (float)(r->x1 < r->x2 ? r->x2 : r->x1);
    const float y0 = (float)(r->y1 < r->y2 ? r->y1 : r->y2),
                y1 = (float)(r->y1 < r->y2 ? r->y2 : r->y1);
    if (w->n == 0) {
        w->x0 = x0;
        w->y0 = y0;
        w->x1 = x1;
        w->y1 = y1;
        return;
    }
    if (x0 < w->x0) w->x0 = x0;
    if (y0 < w->y0) w->y0 = y0;
    if (x1 > w->x1) w->x1 = x1;
    if (y1 > w->y1) w->y1 = y1;
}

/* Is the box far from the one before it?  poppler now and then runs two columns into one word. */
static int is_apart(const PopplerRectangle *a, const PopplerRectangle *b) {
    const double height = fmax(fabs(a->y2 - a->y1), fabs(b->y2 - b->y1));
    const double right = fmin(b->x1, b->x2) - fmax(a->x1, a->x2);
    const double left = fmin(a->x1, a->x2) - fmax(b->x1, b->x2);
    const double below = fmin(b->y1, b->y2) - fmax(a->y1, a->y2);
    const double above = fmin(a->y1, a->y2) - fmax(b->y1, b->y2);
    return fmax(right, left) > 0.4 * height || fmax(below, above) > 0.1 * height;
}

/* `text` and one rectangle a character, from poppler. */
static void take_words(page_layout *p, const char *text, const PopplerRectangle *boxes,
                       guint n_boxes) {
    page_word w = {.begin = p->text.n};
    guint i = 0;
    for (const char *at = text; *at && i < n_boxes; at += g_utf8_skip[*(const guchar *)at], i++) {
        const gunichar c = g_utf8_get_char(at);
        if (g_unichar_isspace(c)) {
            if (w.n > 0 && !page_add_word(p, &w)) fail_memory();
            w = (page_word){.begin = p->text.n};
            continue;
        }
        if (w.n > 0 && is_apart(&boxes[i - 1], &boxes[i])) {
            if (!page_add_word(p, &w)) fail_memory();
            w = (page_word){.begin = p->text.n};
        }
        widen(&w, &boxes[i]);
        put_char(&p->text, c);
        w.n = p->text.n - w.begin;
    }
    if (w.n > 0 && !page_add_word(p, &w)) fail_memory();
}

static void read_page(page_layout *p, PopplerDocument *doc, int i) {
    PopplerPage *page = poppler_document_get_page(doc, i);
    if (!page) return; /* damaged: the page stays empty */
    double width = 0, height = 0;
    poppler_page_get_size(page, &width, &height);
    char *text = poppler_page_get_text(page);
    PopplerRectangle *boxes = NULL;
    guint n_boxes = 0;
    if (text && *text && poppler_page_get_text_layout(page, &boxes, &n_boxes)) {
        if (!g_utf8_validate(text, -1, NULL))
            cli_helper_fail(LOAM_ERR_FORMAT, "damaged: text of page %d", i + 1);
        take_words(p, text, boxes, n_boxes);
    }
    g_free(boxes);
    g_free(text);
    g_object_unref(page);
    if (!page_read_lines(p, (float)height)) fail_memory();
}

/* ---- the document's lines to its text ---- */

typedef struct output {
    loam_buf text;
    struct heading {
        uint64_t begin, end;
        uint32_t level;
    } * headings;
    size_t n_headings, cap_headings;
    float heading_height; /* of the last line, when it was a heading */
} output;

static void add_heading(output *o, size_t begin, size_t end, uint32_t level, int goes_on) {
    if (goes_on && o->n_headings > 0) {
        o->headings[o->n_headings - 1].end = end;
        return;
    }
    if (o->n_headings == o->cap_headings) {
        o->cap_headings = o->cap_headings ? 2 * o->cap_headings : 64;
        o->headings = realloc(o->headings, o->cap_headings * sizeof *o->headings);
        if (!o->headings) fail_memory();
    }
    o->headings[o->n_headings++] = (struct heading){begin, end, level};
}

static int is_ascii_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

/* Take the hyphen at the end of the text off when the line goes on with a small letter. */
static int join_hyphen(loam_buf *text, size_t page_begin, const char *line) {
    const size_t n = text->n;
    gunichar next = g_utf8_get_char(line);
    if (!g_unichar_islower(next) || n < page_begin + 2) return 0;
    if (text->data[n - 1] == '-' && is_ascii_letter(text->data[n - 2])) {
        text->n = n - 1;
        return 1;
    }
    if (n >= page_begin + 3 && memcmp(text->data + n - 2, "\xC2\xAD", 2) == 0) {
        text->n = n - 2;
        return 1;
    }
    return 0;
}

static uint32_t level_of(const page_line *l, float body) {
    if (body <= 0 || l->height < 1.15F * body || l->n > 300 || l->n_letters < 2) return 0;
    return l->height >= 1.7F * body ? 1 : l->height >= 1.35F * body ? 2 : 3;
}

/* What divides this line from what was written before. */
static void put_break(output *o, const page_line *l, int first_of_page, int is_heading,
                      const char *line) {
    if (o->text.n == 0) return;
    const char last = o->text.data[o->text.n - 1];
    const int ended = strchr(".!?:;", last) != NULL;
    int blank = l->after_gap || is_heading || o->heading_height > 0;
    if (first_of_page)
        blank = ended || is_heading || o->heading_height > 0 ||
                !g_unichar_islower(g_utf8_get_char(line));
    loam_buf_puts(&o->text, blank ? "\n\n" : "\n");
}

static void put_page(output *o, const page_layout *p, size_t *i_line, uint32_t number, float body) {
    const size_t page_begin = o->text.n;
    int first = 1;
    loam_buf line = {0};
    cli_helper_page(number);
    for (; *i_line < p->n_lines && p->lines[*i_line].page == number; (*i_line)++) {
        const page_line *l = &p->lines[*i_line];
        if (l->dropped || l->n == 0) continue;
        loam_buf_clear(&line);
        loam_buf_append(&line, p->text.data + l->begin, l->n);
        if (line.failed) fail_memory();
        const uint32_t level = level_of(l, body);
        const float diff = o->heading_height - l->height;
        const int goes_on = level && !first && o->heading_height > 0 && diff < 0.6F &&
                            diff > -0.6F && !l->after_gap;
        if (goes_on)
            loam_buf_putc(&o->text, ' ');
        else if (level || first || l->after_gap || !join_hyphen(&o->text, page_begin, line.data))
            put_break(o, l, first, level != 0, line.data);
        const size_t begin = o->text.n;
        loam_buf_append(&o->text, line.data, line.n);
        if (level) add_heading(o, begin, o->text.n, level, goes_on);
        o->heading_height = level ? l->height : 0;
        first = 0;
        if (o->text.failed) fail_memory();
        if (o->text.n > MAX_TEXT_BYTES)
            cli_helper_fail(LOAM_ERR_LIMIT, "more than %d MiB of text", MAX_TEXT_BYTES >> 20);
    }
    loam_buf_deinit(&line);
    cli_helper_put('X', o->text.data + page_begin, o->text.n - page_begin);
}

/* ---- the document ---- */

static PopplerDocument *open_document(const char *bytes, size_t n) {
    GError *error = NULL;
    GBytes *view = g_bytes_new_static(bytes, n);
    PopplerDocument *doc = poppler_document_new_from_bytes(view, NULL, &error);
    if (doc) return doc;
    if (error && error->code == POPPLER_ERROR_ENCRYPTED)
        cli_helper_fail(LOAM_ERR_FORMAT,
                        "encrypted PDF: it needs a password, which loam does not ask for");
    cli_helper_fail(LOAM_ERR_FORMAT, "damaged PDF: %s",
                    error ? error->message : "it cannot be opened");
}

int main(int argc, char **argv) {
    const char *bytes;
    size_t n;
    page_layout layout = {0};
    output o = {0};

    cli_helper_start(argc, argv, "loam-pdf", "text of a PDF file in reading order");
    cli_helper_input(&bytes, &n);
    /* titles are UTF-16: the C library loads that converter from a file, which must be before the lock */
    (void)g_iconv_open("UTF-8", "UTF-16BE");
    cli_helper_lock(1);

    PopplerDocument *doc = open_document(bytes, n);
    const int n_pages = poppler_document_get_n_pages(doc);
    if (n_pages <= 0) cli_helper_fail(LOAM_ERR_FORMAT, "damaged PDF: it has no pages");
    if (n_pages > MAX_PAGES)
        cli_helper_fail(LOAM_ERR_LIMIT, "%d pages: more than %d", n_pages, MAX_PAGES);
    char *title = poppler_document_get_title(doc);
    if (title && *title && g_utf8_validate(title, -1, NULL))
        cli_helper_put('T', title, strlen(title));
    for (int i = 0; i < n_pages; i++) {
        layout.page = (uint32_t)i + 1;
        read_page(&layout, doc, i);
    }
    const float body = page_body_height(&layout);
    if (!page_drop_running_lines(&layout, (size_t)n_pages)) fail_memory();
    size_t i_line = 0;
    for (int i = 0; i < n_pages; i++) put_page(&o, &layout, &i_line, (uint32_t)i + 1, body);
    for (size_t i = 0; i < o.n_headings; i++)
        cli_helper_heading(o.headings[i].level, o.headings[i].begin, o.headings[i].end);
    cli_helper_end();
}
