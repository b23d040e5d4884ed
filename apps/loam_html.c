/* loam_html.c - HTML on stdin to text, title and headings on stdout; run by `loam ingest`.
 *
 * gumbo builds the tree as a browser would; one walk over it writes what a reader
 * of the page sees: no scripts, styles, comments, nor what is marked hidden.  Blocks end lines, paragraphs
 * end with a blank line, items begin with "- " or their number, cells are divided
 * by " | ", <pre> is kept as it is.  The walk uses the tree's own links, never the stack:
 * depth is the document's to choose.
 *
 * tests/fuzz/fuzz_html.c includes this file with LOAM_HTML_NO_MAIN.
 */
#include "cli/helper.h"

#include <gumbo.h>
#include <iconv.h>
#include <loam/data.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct html_heading {
    int level;
    size_t begin, end;
} html_heading;

/* The text being written.  Breaks and spaces are owed until the next visible character. */
typedef struct html_text {
    loam_buf markup, out, title, clean;
    html_heading *headings;
    size_t n_headings, cap_headings;
    int owed_newlines, owed_space, after_marker;
    int pre;        /* depth of <pre> */
    int level;      /* of the heading we are in; 0: none */
    size_t h_begin; /* where it began; SIZE_MAX: nothing of it is written yet */
    int failed;
} html_text;

static void owe_newlines(html_text *t, int n) {
    if (t->after_marker) return; /* <li><p>: the text goes behind the marker */
    if (n > t->owed_newlines) t->owed_newlines = n;
    t->owed_space = 0;
}

static void pay(html_text *t) {
    if (t->out.n > 0)
        for (int i = 0; i < t->owed_newlines; i++) loam_buf_putc(&t->out, '\n');
    if (t->owed_newlines == 0 && t->owed_space && t->out.n > 0) loam_buf_putc(&t->out, ' ');
    t->owed_newlines = t->owed_space = t->after_marker = 0;
    if (t->level && t->h_begin == SIZE_MAX) t->h_begin = t->out.n;
}

/* White space of the page, and the no-break space, at p: its length. */
static size_t space_length(const char *p, size_t n) {
    if (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\f') return 1;
    return n >= 2 && (unsigned char)p[0] == 0xC2 && (unsigned char)p[1] == 0xA0 ? 2 : 0;
}

/* Characters that print nothing: soft hyphen, zero-width space, word joiner, byte order mark. */
static size_t invisible_length(const char *p, size_t n) {
    const unsigned char *u = (const unsigned char *)p;
    if (n >= 2 && u[0] == 0xC2 && u[1] == 0xAD) return 2;
    if (n >= 3 && u[0] == 0xE2 && u[1] == 0x80 && u[2] == 0x8B) return 3;
    if (n >= 3 && u[0] == 0xE2 && u[1] == 0x81 && u[2] == 0xA0) return 3;
    return n >= 3 && u[0] == 0xEF && u[1] == 0xBB && u[2] == 0xBF ? 3 : 0;
}

static void put_words(html_text *t, const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        const size_t space = space_length(s + i, n - i), invisible = invisible_length(s + i, n - i);
        if (space) {
            t->owed_space = !t->after_marker;
            i += space;
        } else if (invisible) {
            i += invisible;
        } else {
            size_t end = i + 1;
            while (end < n && !space_length(s + end, n - end) &&
                   !invisible_length(s + end, n - end))
                end++;
            pay(t);
            loam_buf_append(&t->out, s + i, end - i);
            i = end;
        }
    }
}

static void put_verbatim(html_text *t, const char *s, size_t n) {
    if (n == 0) return;
    pay(t);
    for (size_t i = 0; i < n; i++) loam_buf_putc(&t->out, s[i] == '\f' ? '\n' : s[i]);
}

static void put_text(html_text *t, const char *s) {
    const size_t n = strlen(s);
    loam_buf_clear(&t->clean);
    /* entities may stand for what a text must not hold */
    if (n == 0 || loam_text_decode(s, n, "utf-8", &t->clean, NULL)) return;
    if (t->pre)
        put_verbatim(t, t->clean.data, t->clean.n);
    else
        put_words(t, t->clean.data, t->clean.n);
}

/* ---- elements ---- */

static int has_style(const char *style, const char *property, const char *value) {
    char squeezed[512];
    size_t n = 0;
    for (; *style && n + 1 < sizeof squeezed; style++)
        if (!strchr(" \t\n\r\f", *style))
            squeezed[n++] = (char)(*style >= 'A' && *style <= 'Z' ? *style + 32 : *style);
    squeezed[n] = '\0';
    const size_t n_property = strlen(property), n_value = strlen(value);
    for (const char *at = strstr(squeezed, property); at; at = strstr(at + 1, property)) {
        const char *v = at + n_property;
        if ((at == squeezed || at[-1] == ';') && *v == ':' && strncmp(v + 1, value, n_value) == 0 &&
            strchr(";!", v[1 + n_value]))
            return 1;
    }
    return 0;
}

static int is_hidden(const GumboElement *e) {
    if (gumbo_get_attribute(&e->attributes, "hidden")) return 1;
    const GumboAttribute *style = gumbo_get_attribute(&e->attributes, "style");
    if (style &&
        (has_style(style->value, "display", "none") ||
         has_style(style->value, "visibility", "hidden") ||
         has_style(style->value, "font-size", "0") || has_style(style->value, "font-size", "0px") ||
         has_style(style->value, "opacity", "0")))
        return 1;
    const GumboAttribute *class =
        e->tag == GUMBO_TAG_A ? gumbo_get_attribute(&e->attributes, "class") : NULL;
    return class && strstr(class->value, "headerlink"); /* the paragraph sign behind a heading */
}

static int is_skipped(const GumboNode *node) {
    if (node->type == GUMBO_NODE_TEMPLATE) return 1;
    switch (node->v.element.tag) {
    case GUMBO_TAG_SCRIPT:
    case GUMBO_TAG_STYLE:
    case GUMBO_TAG_NOSCRIPT:
    case GUMBO_TAG_TEMPLATE:
    case GUMBO_TAG_TITLE:
    case GUMBO_TAG_SVG:
    case GUMBO_TAG_IFRAME:
    case GUMBO_TAG_OBJECT:
    case GUMBO_TAG_EMBED:
    case GUMBO_TAG_AUDIO:
    case GUMBO_TAG_VIDEO:
    case GUMBO_TAG_CANVAS:
    case GUMBO_TAG_SELECT:
    case GUMBO_TAG_DATALIST:
    case GUMBO_TAG_TEXTAREA:
    case GUMBO_TAG_NOFRAMES:
    case GUMBO_TAG_NOEMBED: return 1;
    default: return is_hidden(&node->v.element);
    }
}

/* Newlines around an element: 2 a paragraph, 1 a line, 0 inline. */
static int breaks_of(GumboTag tag) {
    switch (tag) {
    case GUMBO_TAG_P:
    case GUMBO_TAG_H1:
    case GUMBO_TAG_H2:
    case GUMBO_TAG_H3:
    case GUMBO_TAG_H4:
    case GUMBO_TAG_H5:
    case GUMBO_TAG_H6:
    case GUMBO_TAG_UL:
    case GUMBO_TAG_OL:
    case GUMBO_TAG_DL:
    case GUMBO_TAG_TABLE:
    case GUMBO_TAG_PRE:
    case GUMBO_TAG_LISTING:
    case GUMBO_TAG_XMP:
    case GUMBO_TAG_BLOCKQUOTE:
    case GUMBO_TAG_FIGURE:
    case GUMBO_TAG_HR: return 2;
    case GUMBO_TAG_DIV:
    case GUMBO_TAG_SECTION:
    case GUMBO_TAG_ARTICLE:
    case GUMBO_TAG_ASIDE:
    case GUMBO_TAG_NAV:
    case GUMBO_TAG_HEADER:
    case GUMBO_TAG_FOOTER:
    case GUMBO_TAG_MAIN:
    case GUMBO_TAG_ADDRESS:
    case GUMBO_TAG_CENTER:
    case GUMBO_TAG_DETAILS:
    case GUMBO_TAG_SUMMARY:
    case GUMBO_TAG_FIGCAPTION:
    case GUMBO_TAG_FIELDSET:
    case GUMBO_TAG_LEGEND:
    case GUMBO_TAG_FORM:
    case GUMBO_TAG_LI:
    case GUMBO_TAG_DT:
    case GUMBO_TAG_DD:
    case GUMBO_TAG_TR:
    case GUMBO_TAG_CAPTION:
    case GUMBO_TAG_OPTION:
    case GUMBO_TAG_BODY:
    case GUMBO_TAG_BR: return 1;
    default: return 0;
    }
}

static int heading_level(GumboTag tag) {
    return tag >= GUMBO_TAG_H1 && tag <= GUMBO_TAG_H6 ? (int)(tag - GUMBO_TAG_H1) + 1 : 0;
}

static int is_pre(GumboTag tag) {
    return tag == GUMBO_TAG_PRE || tag == GUMBO_TAG_LISTING || tag == GUMBO_TAG_XMP;
}

/* Elements of the same tag before this one: the number of a list item, or whether a cell is the first. */
static unsigned index_among(const GumboNode *node, GumboTag a, GumboTag b) {
    const GumboVector *siblings = &node->parent->v.element.children;
    unsigned n = 0;
    for (unsigned i = 0; i < node->index_within_parent && i < siblings->length; i++) {
        const GumboNode *s = siblings->data[i];
        if (s->type == GUMBO_NODE_ELEMENT && (s->v.element.tag == a || s->v.element.tag == b)) n++;
    }
    return n;
}

static void put_marker(html_text *t, const GumboNode *node) {
    const GumboNode *parent = node->parent;
    pay(t);
    if (parent && parent->type == GUMBO_NODE_ELEMENT && parent->v.element.tag == GUMBO_TAG_OL &&
        node->index_within_parent < 10000)
        loam_buf_printf(&t->out, "%u. ", index_among(node, GUMBO_TAG_LI, GUMBO_TAG_LI) + 1);
    else
        loam_buf_puts(&t->out, "- ");
    t->after_marker = 1;
}

static void open_element(html_text *t, const GumboNode *node) {
    const GumboTag tag = node->v.element.tag;
    const int breaks = breaks_of(tag);
    if (breaks) owe_newlines(t, breaks);
    if (is_pre(tag)) t->pre++;
    if (tag == GUMBO_TAG_LI) put_marker(t, node);
    if ((tag == GUMBO_TAG_TD || tag == GUMBO_TAG_TH) && node->parent &&
        node->parent->type == GUMBO_NODE_ELEMENT && node->index_within_parent > 0 &&
        node->index_within_parent < 10000 && index_among(node, GUMBO_TAG_TD, GUMBO_TAG_TH) > 0) {
        if (t->owed_newlines == 0 && t->out.n > 0) loam_buf_puts(&t->out, " |");
        t->owed_space = 1;
    }
    if (heading_level(tag) && !t->level) {
        t->level = heading_level(tag);
        t->h_begin = SIZE_MAX;
    }
}

static void end_heading(html_text *t) {
    if (t->h_begin < t->out.n) {
        if (t->n_headings == t->cap_headings) {
            const size_t cap = t->cap_headings ? 2 * t->cap_headings : 16;
            html_heading *grown = realloc(t->headings, cap * sizeof *grown);
            if (!grown) {
                t->failed = 1;
                return;
            }
            t->headings = grown;
            t->cap_headings = cap;
        }
        t->headings[t->n_headings++] = (html_heading){t->level, t->h_begin, t->out.n};
    }
    t->level = 0;
}

static void close_element(html_text *t, const GumboNode *node) {
    const GumboTag tag = node->v.element.tag;
    const int breaks = breaks_of(tag);
    if (is_pre(tag)) t->pre--;
    if (heading_level(tag) && t->level == heading_level(tag)) end_heading(t);
    if (tag == GUMBO_TAG_LI) t->after_marker = 0; /* an empty item */
    if (breaks) owe_newlines(t, tag == GUMBO_TAG_HR || tag == GUMBO_TAG_BR ? 1 : breaks);
}

static void take_title(html_text *t, const GumboElement *e) {
    if (t->title.n > 0) return;
    html_text own = {0};
    for (unsigned i = 0; i < e->children.length; i++) {
        const GumboNode *c = e->children.data[i];
        if (c->type == GUMBO_NODE_TEXT) put_text(&own, c->v.text.text);
    }
    loam_buf_append(&t->title, own.out.data, own.out.n);
    loam_buf_deinit(&own.out);
    loam_buf_deinit(&own.clean);
}

/* 1 when the walk goes into the node's children. */
static int enter_node(html_text *t, const GumboNode *node) {
    switch (node->type) {
    case GUMBO_NODE_TEXT:
    case GUMBO_NODE_CDATA:
    case GUMBO_NODE_WHITESPACE: put_text(t, node->v.text.text); return 0;
    case GUMBO_NODE_ELEMENT:
    case GUMBO_NODE_TEMPLATE:
        if (node->v.element.tag == GUMBO_TAG_TITLE &&
            node->v.element.tag_namespace == GUMBO_NAMESPACE_HTML)
            take_title(t, &node->v.element);
        if (is_skipped(node)) return 0;
        open_element(t, node);
        return 1;
    default: return 0;
    }
}

/* Pre-order with the tree's links only. */
static void walk_tree(html_text *t, const GumboNode *root) {
    const GumboNode *node = root;
    int down = enter_node(t, node);
    while (node) {
        const GumboVector *children = &node->v.element.children;
        if (down && children->length > 0) {
            node = children->data[0];
            down = enter_node(t, node);
            continue;
        }
        if (down) close_element(t, node);
        for (;;) { /* to the next sibling, of this node or of one above */
            if (node == root || !node->parent || node->parent->type == GUMBO_NODE_DOCUMENT) return;
            const GumboNode *parent = node->parent;
            const size_t next = node->index_within_parent + 1;
            if (next < parent->v.element.children.length) {
                node = parent->v.element.children.data[next];
                down = enter_node(t, node);
                break;
            }
            close_element(t, parent);
            node = parent;
        }
    }
}

/* ---- before gumbo: tags that cost it quadratic time ----
 *
 * gumbo compares every attribute of a tag with all before it, and looks through
 * all open elements at every block.  So tags are cut at 4 KB (which also drops embedded images), and elements nested deeper than 1000 lose
 * their tags but not their text.  Everything else is copied as it is. */

enum { TAG_MAX_BYTES = 4096, MAX_DEPTH = 1000 };

static int is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int tag_is(const char *name, size_t n, const char *const *list) {
    for (; *list; list++)
        if (strlen(*list) == n && strncasecmp(*list, name, n) == 0) return 1;
    return 0;
}

/* Elements whose text is no markup. */
static const char *const RAW[] = {"script", "style",   "textarea", "title", "xmp",
                                  "iframe", "noembed", "noframes", NULL};
/* Elements that need no closing tag: counting their depth would be wrong. */
static const char *const UNCLOSED[] = {
    "p",        "li",       "td",  "th",     "tr",    "dt",    "dd",   "option", "tbody",
    "thead",    "tfoot",    "br",  "img",    "hr",    "input", "meta", "link",   "col",
    "area",     "base",     "wbr", "source", "embed", "param", "html", "head",   "body",
    "colgroup", "optgroup", "rp",  "rt",     "track", NULL};

/* End of the tag at `at` (its '>' included), 0 when it has none; *cut is where its attributes are cut. */
static size_t tag_end(const char *s, size_t at, size_t n, size_t *cut) {
    char quote = 0;
    *cut = 0;
    for (size_t i = at + 1; i < n; i++) {
        if (quote) {
            if (s[i] == quote) quote = 0;
        } else if ((s[i] == '"' || s[i] == '\'') && s[i - 1] == '=') {
            quote = s[i];
        } else if (s[i] == '>') {
            return i + 1;
        } else if ((s[i] == ' ' || s[i] == '\n' || s[i] == '\t') && i - at < TAG_MAX_BYTES) {
            *cut = i;
        }
    }
    return 0;
}

/* First byte at or behind `from` where "</name" stands, else n. */
static size_t find_close(const char *s, size_t from, size_t n, const char *name, size_t n_name) {
    while (from < n) {
        const char *lt = memchr(s + from, '<', n - from);
        if (!lt) return n;
        from = (size_t)(lt - s);
        if (n - from > n_name + 2 && lt[1] == '/' && strncasecmp(lt + 2, name, n_name) == 0)
            return from;
        from++;
    }
    return n;
}

/* A tag at `at` (s[at] is '<' and a name follows): copy it, shortened or not at all; returns the byte behind it. */
static size_t copy_tag(loam_buf *out, const char *s, size_t at, size_t n, long *depth) {
    const int closing = s[at + 1] == '/';
    const char *name = s + at + 1 + closing;
    size_t n_name = 0, cut = 0;
    while (name + n_name < s + n && n_name < 16 &&
           (is_letter(name[n_name]) || (name[n_name] >= '0' && name[n_name] <= '9')))
        n_name++;
    const size_t end = tag_end(s, at, n, &cut);
    if (end == 0) {
        loam_buf_append(out, s + at, n - at);
        return n;
    }
    int keep = 1;
    if (!tag_is(name, n_name, UNCLOSED)) {
        if (!closing) (*depth)++;
        keep = *depth <= MAX_DEPTH;
        if (closing && *depth > 0) (*depth)--;
    }
    if (!keep) {
        loam_buf_putc(out, '\n');
    } else if (end - at > TAG_MAX_BYTES && cut > at + n_name) {
        loam_buf_append(out, s + at, cut - at);
        loam_buf_putc(out, '>');
    } else {
        loam_buf_append(out, s + at, end - at);
    }
    if (closing || !tag_is(name, n_name, RAW)) return end;
    const size_t stop = find_close(s, end, n, name, n_name);
    if (keep) loam_buf_append(out, s + end, stop - end);
    return stop;
}

static void tame_markup(loam_buf *out, const char *s, size_t n) {
    long depth = 0;
    size_t at = 0;
    while (at < n) {
        const char *lt = memchr(s + at, '<', n - at);
        const size_t next = lt ? (size_t)(lt - s) : n;
        loam_buf_append(out, s + at, next - at);
        at = next;
        if (n - at >= 4 && memcmp(s + at, "<!--", 4) == 0) {
            const char *close = memmem(s + at + 4, n - at - 4, "-->", 3);
            at = close ? (size_t)(close - s) + 3
                       : n; /* a comment is dropped; so is what an open one hides */
        } else if (n - at >= 3 &&
                   (is_letter(s[at + 1]) || (s[at + 1] == '/' && is_letter(s[at + 2])))) {
            at = copy_tag(out, s, at, n, &depth);
        } else if (at < n) {
            loam_buf_putc(out, s[at++]);
        }
    }
}

/* A page without headings of the first rank gets its title as one: chunks should know what they are about. */
static void put_title_first(html_text *t) {
    for (size_t i = 0; i < t->n_headings; i++)
        if (t->headings[i].level == 1) return;
    if (t->title.n == 0 || t->title.n > 300) return;
    if (t->n_headings > 0 && t->headings[0].end - t->headings[0].begin == t->title.n &&
        memcmp(t->out.data + t->headings[0].begin, t->title.data, t->title.n) == 0)
        return;
    const size_t shift = t->title.n + 2;
    loam_buf all = {0};
    loam_buf_append(&all, t->title.data, t->title.n);
    loam_buf_puts(&all, "\n\n");
    loam_buf_append(&all, t->out.data, t->out.n);
    for (size_t i = 0; i < t->n_headings; i++) {
        t->headings[i].begin += shift;
        t->headings[i].end += shift;
    }
    loam_buf_deinit(&t->out);
    t->out = all;
    html_heading first = {1, 0, t->title.n};
    html_heading *grown = realloc(t->headings, (t->n_headings + 1) * sizeof *grown);
    if (!grown) {
        t->failed = 1;
        return;
    }
    memmove(grown + 1, grown, t->n_headings * sizeof *grown);
    grown[0] = first;
    t->headings = grown;
    t->cap_headings = ++t->n_headings;
}

/* The charset a page declares in its first 1024 bytes: <meta charset=x>, or http-equiv's "charset=x", or
 * an XML declaration's encoding.  0: none. */
static int sniff_charset(const char *bytes, size_t n, char out[40]) {
    char head[1025];
    size_t n_head = n < 1024 ? n : 1024;
    for (size_t i = 0; i < n_head; i++) {
        const char c = bytes[i] ? bytes[i] : ' ';
        head[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    head[n_head] = '\0';
    static const char *const KEYS[] = {"charset", "encoding"};
    for (int k = 0; k < 2; k++) {
        for (const char *at = strstr(head, KEYS[k]); at; at = strstr(at + 1, KEYS[k])) {
            const char *v = at + strlen(KEYS[k]);
            while (*v == ' ') v++;
            if (*v++ != '=') continue;
            while (*v == ' ' || *v == '"' || *v == '\'') v++;
            const size_t length = strspn(v, "abcdefghijklmnopqrstuvwxyz0123456789-_:.");
            if (length == 0 || length > 39) continue;
            memcpy(out, v, length);
            out[length] = '\0';
            return 1;
        }
    }
    return 0;
}

/* gumbo asks for memory and does not look whether it got it. */
static void *take_memory(void *ctx, size_t n) {
    (void)ctx;
    void *p = malloc(n ? n : 1);
    if (!p) cli_helper_fail(LOAM_ERR_LIMIT, "needs more memory than a reader may use");
    return p;
}

static void give_memory(void *ctx, void *p) {
    (void)ctx;
    free(p);
}

/* `text` is clean UTF-8.  The tree is returned for who wants to free it. */
static GumboOutput *html_to_text(html_text *t, const char *text, size_t n) {
    GumboOptions options = kGumboDefaultOptions;
    options.allocator = take_memory;
    options.deallocator = give_memory;
    options.max_errors = 0;
    tame_markup(&t->markup, text, n);
    if (t->markup.failed)
        cli_helper_fail(LOAM_ERR_LIMIT, "needs more memory than a reader may use");
    GumboOutput *tree =
        gumbo_parse_with_options(&options, t->markup.data ? t->markup.data : "", t->markup.n);
    walk_tree(t, tree->root);
    if (t->level) end_heading(t);
    put_title_first(t);
    return tree;
}

#ifndef LOAM_HTML_NO_MAIN
int main(int argc, char **argv) {
    const char *bytes;
    size_t n;
    char charset[40];
    loam_err err = {0};
    html_text t = {0};
    loam_buf text = {0};

    cli_helper_start(argc, argv, "loam-html", "text of an HTML page");
    cli_helper_input(&bytes, &n);
    const int declared = sniff_charset(bytes, n, charset);
    /* the C library loads converters from files: that must happen before the door closes */
    if (declared) (void)iconv_open("UTF-8", charset);
    cli_helper_lock(0);

    if (loam_text_decode(bytes, n, declared ? charset : NULL, &text, &err))
        cli_helper_fail(err.status, "%s", err.msg);
    (void)html_to_text(&t, text.data ? text.data : "", text.n);
    if (t.failed || t.out.failed || t.title.failed)
        cli_helper_fail(LOAM_ERR_LIMIT, "needs more memory than a reader may use");
    if (t.title.n > 0) cli_helper_put('T', t.title.data, t.title.n);
    cli_helper_put('X', t.out.data, t.out.n);
    for (size_t i = 0; i < t.n_headings; i++)
        cli_helper_heading((uint32_t)t.headings[i].level, t.headings[i].begin, t.headings[i].end);
    cli_helper_end();
}
#endif
