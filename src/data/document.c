/* document.c - one file's bytes to text with pages and headings: which reader, and the plain-text one. */
#include "data/document.h"
#include "base/base.h"
#include "base/utf8.h"

#include <strings.h>

int document_add_page(loam_document *doc, int64_t number, size_t begin) {
    void *grown = doc->pages;
    if (!loam_grow(&grown, &doc->cap_pages, doc->n_pages + 1, sizeof *doc->pages)) return 0;
    doc->pages = grown;
    doc->pages[doc->n_pages++] = (loam_page){number, begin};
    return 1;
}

int document_add_heading(loam_document *doc, size_t begin, size_t end, int level) {
    void *grown = doc->headings;
    if (!loam_grow(&grown, &doc->cap_headings, doc->n_headings + 1, sizeof *doc->headings))
        return 0;
    doc->headings = grown;
    doc->headings[doc->n_headings++] = (loam_heading){begin, end, level};
    return 1;
}

int document_add_part(loam_document *doc, const char *name, size_t begin) {
    void *grown = doc->parts;
    if (!loam_grow(&grown, &doc->cap_parts, doc->n_parts + 1, sizeof *doc->parts)) return 0;
    doc->parts = grown;
    char *copy = loam_strdup(name);
    if (!copy) return 0;
    doc->parts[doc->n_parts++] = (loam_part){copy, begin};
    return 1;
}

void loam_document_deinit(loam_document *doc) {
    free(doc->title);
    loam_buf_deinit(&doc->text);
    free(doc->pages);
    free(doc->headings);
    for (size_t i = 0; i < doc->n_parts; i++) free(doc->parts[i].name);
    free(doc->parts);
    memset(doc, 0, sizeof *doc);
}

int64_t loam_document_page(const loam_document *doc, size_t at) {
    size_t low = 0, high = doc->n_pages; /* the last page that begins at or before `at` */
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (doc->pages[middle].begin <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? doc->pages[low - 1].number : 0;
}

/* Kinds by extension.  Programs and data that people write as text count as text. */
static const struct {
    const char *extension;
    loam_document_kind kind;
} KINDS[] = {
    {"md", LOAM_DOCUMENT_MARKDOWN},    {"markdown", LOAM_DOCUMENT_MARKDOWN},
    {"mdown", LOAM_DOCUMENT_MARKDOWN}, {"mkd", LOAM_DOCUMENT_MARKDOWN},
    {"mdx", LOAM_DOCUMENT_MARKDOWN},   {"html", LOAM_DOCUMENT_HTML},
    {"htm", LOAM_DOCUMENT_HTML},       {"xhtml", LOAM_DOCUMENT_HTML},
    {"shtml", LOAM_DOCUMENT_HTML},     {"pdf", LOAM_DOCUMENT_PDF},
    {"jsonl", LOAM_DOCUMENT_JSONL},    {"ndjson", LOAM_DOCUMENT_JSONL},
    {"csv", LOAM_DOCUMENT_CSV},        {"tsv", LOAM_DOCUMENT_CSV},
    {"txt", LOAM_DOCUMENT_TEXT},       {"text", LOAM_DOCUMENT_TEXT},
    {"rst", LOAM_DOCUMENT_TEXT},       {"log", LOAM_DOCUMENT_TEXT},
    {"adoc", LOAM_DOCUMENT_TEXT},      {"asciidoc", LOAM_DOCUMENT_TEXT},
    {"org", LOAM_DOCUMENT_TEXT},       {"tex", LOAM_DOCUMENT_TEXT},
    {"pod", LOAM_DOCUMENT_TEXT},       {"texi", LOAM_DOCUMENT_TEXT},
    {"srt", LOAM_DOCUMENT_TEXT},       {"vtt", LOAM_DOCUMENT_TEXT},
    {"eml", LOAM_DOCUMENT_TEXT},       {"c", LOAM_DOCUMENT_TEXT},
    {"h", LOAM_DOCUMENT_TEXT},         {"cc", LOAM_DOCUMENT_TEXT},
    {"cpp", LOAM_DOCUMENT_TEXT},       {"hpp", LOAM_DOCUMENT_TEXT},
    {"py", LOAM_DOCUMENT_TEXT},        {"js", LOAM_DOCUMENT_TEXT},
    {"ts", LOAM_DOCUMENT_TEXT},        {"go", LOAM_DOCUMENT_TEXT},
    {"rs", LOAM_DOCUMENT_TEXT},        {"java", LOAM_DOCUMENT_TEXT},
    {"rb", LOAM_DOCUMENT_TEXT},        {"pl", LOAM_DOCUMENT_TEXT},
    {"sh", LOAM_DOCUMENT_TEXT},        {"lua", LOAM_DOCUMENT_TEXT},
    {"sql", LOAM_DOCUMENT_TEXT},       {"swift", LOAM_DOCUMENT_TEXT},
    {"json", LOAM_DOCUMENT_TEXT},      {"yaml", LOAM_DOCUMENT_TEXT},
    {"yml", LOAM_DOCUMENT_TEXT},       {"toml", LOAM_DOCUMENT_TEXT},
    {"ini", LOAM_DOCUMENT_TEXT},       {"conf", LOAM_DOCUMENT_TEXT},
    {"cfg", LOAM_DOCUMENT_TEXT},       {"xml", LOAM_DOCUMENT_TEXT},
};

/* Documents of other programs: silence about them would hide why an answer is not found. */
static const char *const FOREIGN[] = {"docx", "doc", "odt",  "rtf",   "epub", "mobi", "pptx",
                                      "ppt",  "odp", "xlsx", "xls",   "ods",  "zip",  "tar",
                                      "tgz",  "7z",  "rar",  "pages", "djvu", "ps",   "chm"};

/* The extension without its dot, ".gz" taken off; n 0: none. */
static const char *extension_of(const char *name, size_t *n) {
    const char *base = strrchr(name, '/');
    base = base ? base + 1 : name;
    size_t end = strlen(base);
    if (end > 3 && strcasecmp(base + end - 3, ".gz") == 0) end -= 3;
    size_t dot = end;
    while (dot > 0 && base[dot - 1] != '.') dot--;
    *n = dot > 1 ? end - dot : 0; /* a leading dot is no extension */
    return base + dot;
}

static int is_extension(const char *at, size_t n, const char *extension) {
    return strlen(extension) == n && strncasecmp(at, extension, n) == 0;
}

loam_document_kind loam_document_kind_of_name(const char *name) {
    size_t n;
    const char *at = extension_of(name, &n);
    if (n == 0) return LOAM_DOCUMENT_TEXT; /* README, LICENSE */
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (is_extension(at, n, KINDS[i].extension)) return KINDS[i].kind;
    return LOAM_DOCUMENT_UNKNOWN;
}

int loam_document_is_foreign(const char *name) {
    size_t n;
    const char *at = extension_of(name, &n);
    for (size_t i = 0; i < sizeof FOREIGN / sizeof *FOREIGN; i++)
        if (is_extension(at, n, FOREIGN[i])) return 1;
    return 0;
}

const char *loam_document_kind_name(loam_document_kind kind) {
    static const char *const names[] = {"text",  "markdown", "html",   "pdf",
                                        "jsonl", "csv",      "unknown"};
    return names[kind <= LOAM_DOCUMENT_UNKNOWN ? kind : LOAM_DOCUMENT_UNKNOWN];
}

/* PDF allows junk in front of its header; readers look at the first kilobyte. */
static int has_pdf_header(const char *bytes, size_t n) {
    const size_t look = n < 1024 ? n : 1024;
    for (size_t i = 0; i + 5 <= look; i++)
        if (memcmp(bytes + i, "%PDF-", 5) == 0) return 1;
    return 0;
}

/* A web page saved under a name that does not say so. */
static int has_html_start(const char *bytes, size_t n) {
    size_t i = n >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    while (i < n && strchr(" \t\r\n", bytes[i]) && bytes[i]) i++;
    return (n - i > 14 && strncasecmp(bytes + i, "<!doctype html", 14) == 0) ||
           (n - i > 6 && strncasecmp(bytes + i, "<html", 5) == 0 &&
            (bytes[i + 5] == '>' || bytes[i + 5] == ' '));
}

static loam_document_kind decide_kind(const char *name, const char *bytes, size_t n) {
    size_t n_extension;
    extension_of(name, &n_extension);
    loam_document_kind kind = loam_document_kind_of_name(name);
    if (n >= 5 && memcmp(bytes, "%PDF-", 5) == 0) return LOAM_DOCUMENT_PDF;
    if (kind == LOAM_DOCUMENT_UNKNOWN && has_pdf_header(bytes, n)) return LOAM_DOCUMENT_PDF;
    if ((kind == LOAM_DOCUMENT_UNKNOWN || n_extension == 0) && has_html_start(bytes, n))
        return LOAM_DOCUMENT_HTML;
    return kind == LOAM_DOCUMENT_UNKNOWN ? LOAM_DOCUMENT_TEXT : kind;
}

static loam_status refuse_containers(const char *bytes, size_t n, loam_err *err) {
    if (n >= 4 && memcmp(bytes, "PK\3\4", 4) == 0)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                         "zip archives and office documents are not read: unpack it or save it as "
                         "PDF, HTML or text");
    if (n >= 4 && memcmp(bytes, "PK\5\6", 4) == 0)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED, "empty zip archive");
    if (n >= 8 && memcmp(bytes, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", 8) == 0)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                         "old office documents are not read: save it as PDF, HTML or text");
    if (n >= 5 && memcmp(bytes, "{\\rtf", 5) == 0)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                         "RTF is not read: save it as PDF, HTML or text");
    return LOAM_OK;
}

static loam_status read_plain(loam_document *doc, const char *name, const char *bytes, size_t n,
                              const loam_reader *reader, loam_err *err) {
    if (doc->kind == LOAM_DOCUMENT_TEXT || doc->kind == LOAM_DOCUMENT_MARKDOWN) {
        loam_status st = loam_text_decode(bytes, n, NULL, &doc->text, err);
        if (st) return st;
        return doc->kind == LOAM_DOCUMENT_TEXT ? document_structure_text(doc, err)
                                               : document_structure_markdown(doc, err);
    }
    loam_buf text = {0};
    loam_status st = loam_text_decode(bytes, n, NULL, &text, err);
    if (!st && doc->kind == LOAM_DOCUMENT_JSONL)
        st = document_read_jsonl(doc, name, &text, reader, err);
    if (!st && doc->kind == LOAM_DOCUMENT_CSV) {
        size_t n_extension;
        const char *extension = extension_of(name, &n_extension);
        st = document_read_csv(doc, name, &text,
                               is_extension(extension, n_extension, "tsv") ? '\t' : ',', reader,
                               err);
    }
    loam_buf_deinit(&text);
    return st;
}

static int is_blank(const loam_buf *text) {
    for (size_t i = 0; i < text->n; i++)
        if (!strchr(" \t\n\f", text->data[i])) return 0;
    return 1;
}

loam_status loam_document_read(loam_document *doc, const char *name, const void *bytes, size_t n,
                               const loam_reader *reader, loam_err *err) {
    loam_buf unpacked = {0};
    loam_status st = LOAM_OK;

    doc->kind = LOAM_DOCUMENT_UNKNOWN;
    if (n == 0) return loam_fail(err, LOAM_ERR_FORMAT, "empty file");
    if (loam_is_gzip(bytes, n)) {
        st = loam_gunzip(bytes, n, LOAM_DOCUMENT_MAX_BYTES, &unpacked, err);
        if (st) goto done;
        bytes = unpacked.data;
        n = unpacked.n;
        if (n == 0) st = loam_fail(err, LOAM_ERR_FORMAT, "empty file");
    }
    if (!st && n > LOAM_DOCUMENT_MAX_BYTES)
        st = loam_fail(err, LOAM_ERR_LIMIT, "larger than %d MiB: split it",
                       LOAM_DOCUMENT_MAX_BYTES >> 20);
    if (!st) st = refuse_containers(bytes, n, err);
    if (st) goto done;

    doc->kind = decide_kind(name, bytes, n);
    if (doc->kind == LOAM_DOCUMENT_PDF)
        st = document_run_helper(doc, reader->pdf_helper ? reader->pdf_helper : "loam-pdf", bytes,
                                 n, reader->cancel, err);
    else if (doc->kind == LOAM_DOCUMENT_HTML)
        st = document_run_helper(doc, reader->html_helper ? reader->html_helper : "loam-html",
                                 bytes, n, reader->cancel, err);
    else
        st = read_plain(doc, name, bytes, n, reader, err);
    if (!st && is_blank(&doc->text))
        st = loam_fail(err, LOAM_ERR_FORMAT,
                       doc->kind == LOAM_DOCUMENT_PDF
                           ? "no text layer (%zu pages): it needs OCR first"
                           : "no text in it",
                       doc->n_pages);
done:
    loam_buf_deinit(&unpacked);
    return st;
}

loam_status loam_content_read(loam_buf *out, char hash[65], const char *path, loam_err *err) {
    loam_err own = {0};
    const size_t from = out->n;
    loam_status st = loam_file_read(out, path, LOAM_DOCUMENT_MAX_BYTES, &own);
    if (st) {
        const size_t n = strlen(path);
        const char *why =
            strncmp(own.msg, path, n) == 0 && own.msg[n] == ':' ? own.msg + n + 2 : own.msg;
        return loam_fail(err, st, "%s", why);
    }
    loam_sha256 h;
    loam_sha256_init(&h);
    loam_sha256_update(&h, out->data + from, out->n - from);
    loam_sha256_hex(&h, hash);
    return LOAM_OK;
}
