/* test_documents.c - readers: encodings, structure, records, the two helper programs and their conduct. */
#include "base/base.h"
#include "data/document.h"
#include "test.h"
#include <loam/data.h>
#include <loam/json.h>
#include <sys/resource.h>
#include <unistd.h>

#define GOLDEN "tests/golden/ingest/extract/"

static char pdf_helper[512], html_helper[512];
static loam_reader reader;

static loam_status read_bytes(loam_document *doc, const char *name, const void *bytes, size_t n,
                              loam_err *err) {
    memset(doc, 0, sizeof *doc);
    return loam_document_read(doc, name, bytes, n, &reader, err);
}

static int holds(const loam_document *doc, const char *what) {
    return doc->text.n > 0 && memmem(doc->text.data, doc->text.n, what, strlen(what)) != NULL;
}

static int is_utf8(const char *s, size_t n) {
    loam_json *json = NULL;
    loam_buf quoted = {0};
    for (size_t i = 0; i < n; i++) /* the JSON reader checks UTF-8 strictly */
        loam_buf_putc(&quoted,
                      (unsigned char)s[i] < 0x20 || s[i] == '"' || s[i] == '\\' ? ' ' : s[i]);
    loam_buf all = {0};
    loam_buf_putc(&all, '"');
    loam_buf_append(&all, quoted.data, quoted.n);
    loam_buf_putc(&all, '"');
    const int ok = loam_json_parse(&json, all.data, all.n, "text", 0, NULL) == LOAM_OK;
    loam_json_free(json);
    loam_buf_deinit(&quoted);
    loam_buf_deinit(&all);
    return ok;
}

static void test_decoding(void) {
    static const struct {
        const char *bytes;
        size_t n;
        const char *charset, *want; /* NULL: refused */
    } cases[] = {
        {"\xEF\xBB\xBFK\xC3\xA4se\r\nx\ry", 13, NULL, "K\xC3\xA4se\nx\ny"},
        {"K\xE4se und Brot", 13, NULL, "K\xC3\xA4se und Brot"},
        {"\xFF\xFEK\0\xE4\0", 6, NULL, "K\xC3\xA4"},
        {"\xFE\xFF\0K\0\xE4\xD8\x3D\xDE\x00", 10, NULL, "K\xC3\xA4\xF0\x9F\x98\x80"},
        {"\x93quoted\x94", 8, NULL, "\xE2\x80\x9Cquoted\xE2\x80\x9D"},
        {"a\0b\x1B[1mc\x7F\xC2\x85", 11, NULL, "a b [1mc  "},
        {"\xC3\xA4\xC3\xB6\xC3\xBC\xC3\x9F\xC3\xA9 \xFF", 12, NULL,
         "\xC3\xA4\xC3\xB6\xC3\xBC\xC3\x9F\xC3\xA9 \xEF\xBF\xBD"},
        {"\x83\x65", 2, "shift_jis", "\xE3\x83\x86"},
        {"\xED\xA0\x80", 3, "utf-8", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\0\0\xFE\xFF\0\0\0A", 8, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        loam_buf out = {0};
        loam_err err = {0};
        const loam_status st =
            loam_text_decode(cases[i].bytes, cases[i].n, cases[i].charset, &out, &err);
        CHECK((st != LOAM_OK) == (cases[i].want == NULL), "case %zu: %d %s", i, st, err.msg);
        if (!st) CHECK(strcmp(out.data, cases[i].want) == 0, "case %zu: %s", i, out.data);
        loam_buf_deinit(&out);
    }
    unsigned char junk[4096];
    loam_rng rng;
    loam_rng_seed(&rng, 5);
    for (size_t i = 0; i < sizeof junk; i++) junk[i] = (unsigned char)loam_rng_next(&rng);
    loam_buf out = {0};
    loam_err err = {0};
    CHECK(loam_text_decode((char *)junk, sizeof junk, NULL, &out, &err) == LOAM_ERR_FORMAT,
          "random bytes are no text");
    loam_buf_deinit(&out);
}

static void test_markdown(void) {
    loam_document doc;
    static const char text[] = "---\ntitle: The Title\n---\n# One\n\na <!-- hidden\nhidden --> b "
                               "`<!-- shown -->`\n\n```\n# no heading <!-- shown too -->\n```\n"
                               "Setext\n===\n\n<!-- never closed\nstays\n";
    CHECK(read_bytes(&doc, "x.md", text, strlen(text), NULL) == LOAM_OK, "markdown");
    CHECK(!holds(&doc, "hidden") && holds(&doc, "a  b `<!-- shown -->`") &&
              holds(&doc, "shown too") && holds(&doc, "stays"),
          "%s", doc.text.data);
    CHECK(doc.title && strcmp(doc.title, "The Title") == 0, "%s", doc.title);
    CHECK(doc.n_headings == 2 && doc.headings[0].level == 1 && doc.headings[1].level == 1,
          "%zu headings", doc.n_headings);
    if (doc.n_headings == 2)
        CHECK(strncmp(doc.text.data + doc.headings[1].begin, "Setext\n===", 10) == 0 &&
                  doc.headings[1].end - doc.headings[1].begin == 10,
              "setext");
    loam_document_deinit(&doc);
    static const char rst[] =
        "Title\n=====\n\nBody text here.\n\nPart\n----\n\na  b\n== ==\n1  2\n";
    CHECK(read_bytes(&doc, "x.rst", rst, strlen(rst), NULL) == LOAM_OK && doc.n_headings == 2 &&
              doc.headings[1].level == 2,
          "rst: %zu headings", doc.n_headings);
    loam_document_deinit(&doc);
}

/* A line of a million comments: looked through once, not once a comment (which takes minutes). */
static void test_markdown_many_comments(void) {
    enum { N = 1000000 };
    loam_document doc;
    loam_err err = {0};
    loam_buf text = {0};
    for (int i = 0; i < N; i++) loam_buf_puts(&text, "<!---->");
    loam_buf_puts(&text, "seen");
    CHECK(!read_bytes(&doc, "x.md", text.data, text.n, &err), "%s", err.msg);
    CHECK(doc.text.n == 4 && holds(&doc, "seen"), "%zu bytes", doc.text.n);
    loam_document_deinit(&doc);
    loam_buf_deinit(&text);
}

static void test_records(void) {
    loam_document doc;
    loam_err err = {0};
    static const char csv[] = "id,title,text\r\n7,A,\"Hello, \"\"you\"\"\nthere\"\r\n8,B,Bye\r\n";
    CHECK(read_bytes(&doc, "d.csv", csv, strlen(csv), &err) == LOAM_OK, "%s", err.msg);
    CHECK(doc.n_parts == 2 && strcmp(doc.parts[0].name, "d.csv#7") == 0 &&
              holds(&doc, "Hello, \"you\"\nthere"),
          "%s", doc.text.data);
    loam_document_deinit(&doc);
    static const char plain[] = "name,price\napple,3\npear,\n";
    CHECK(read_bytes(&doc, "d.csv", plain, strlen(plain), &err) == LOAM_OK &&
              holds(&doc, "name: apple\nprice: 3\n\nname: pear"),
          "%s", doc.text.data);
    loam_document_deinit(&doc);
    static const char tsv[] = "text\tid\none\tx\n";
    CHECK(read_bytes(&doc, "d.tsv", tsv, strlen(tsv), &err) == LOAM_OK && doc.n_parts == 1 &&
              strcmp(doc.parts[0].name, "d.tsv#x") == 0,
          "tsv");
    loam_document_deinit(&doc);
    static const struct {
        const char *name, *bytes, *message;
    } bad[] = {{"d.csv", "a,b\n1\n", "line 2: 1 fields where the header has 2"},
               {"d.csv", "a,b\n\"x", "line 2: quote is never closed"},
               {"d.jsonl", "{\"text\": \"a\"}\n{\"text\": }\n", "line 2"},
               {"d.jsonl", "{\"nothing\": 1}\n", "line 1: no text field (text, content or body)"},
               {"d.txt", " \n\t\n", "no text in it"},
               {"d.txt", "PK\3\4junk", "zip archives"},
               {"d.md", "", "empty file"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const loam_status st =
            read_bytes(&doc, bad[i].name, bad[i].bytes, strlen(bad[i].bytes), &err);
        CHECK(st != LOAM_OK && strstr(err.msg, bad[i].message), "%s: %d %s", bad[i].bytes, st,
              err.msg);
        loam_document_deinit(&doc);
    }
}

static void load(const char *path, loam_buf *out) {
    loam_err err = {0};
    loam_buf_clear(out);
    CHECK(loam_file_read(out, path, 64 << 20, &err) == LOAM_OK, "%s", err.msg);
}

static void test_gzip(void) {
    loam_buf packed = {0}, out = {0};
    load("tests/golden/ingest/mlx-data/files/lines.txt.gz", &packed);
    CHECK(loam_gunzip(packed.data, packed.n, 1 << 20, &out, NULL) == LOAM_OK && out.n == 66,
          "%zu bytes", out.n);
    loam_buf_clear(&out);
    CHECK(loam_gunzip(packed.data, packed.n, 65, &out, NULL) == LOAM_ERR_LIMIT, "size cap");
    for (size_t n = 0; n < packed.n; n++) {
        char *part =
            loam_strndup(packed.data, n); /* exactly n bytes: the sanitizer sees a step too far */
        loam_buf_clear(&out);
        CHECK(loam_gunzip(part, n, 1 << 20, &out, NULL) == LOAM_ERR_FORMAT, "cut at %zu", n);
        free(part);
    }
    loam_buf two = {0};
    loam_buf_append(&two, packed.data, packed.n);
    loam_buf_append(&two, packed.data, packed.n);
    loam_buf_clear(&out);
    CHECK(loam_gunzip(two.data, two.n, 1 << 20, &out, NULL) == LOAM_OK && out.n == 132,
          "two members: %zu bytes", out.n);
    loam_buf_deinit(&two);
    loam_buf_deinit(&packed);
    loam_buf_deinit(&out);
}

/* A helper that lies: every prefix of its answer, and wrong records. */
static void test_helper_answers(void) {
    static const char good[] = "LOAMDOC1"
                               "T\2\0\0\0Hi"
                               "P\4\0\0\0\1\0\0\0"
                               "X\5\0\0\0abc\n\xC3"
                               "X\1\0\0\0\xA4"
                               "H\x14\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0"
                               "Z\0\0\0\0";
    const size_t n_good = sizeof good - 1;
    for (size_t n = 0; n <= n_good; n++) {
        loam_document doc = {0};
        char *part = loam_strndup(good, n);
        CHECK((document_parse_helper(&doc, part, n, NULL) == LOAM_OK) == (n == n_good),
              "cut at %zu", n);
        free(part);
        loam_document_deinit(&doc);
    }
    static const struct {
        const char *bytes;
        size_t n;
    } lies[] = {
        {"LOAMDOC1X\1\0\0\0\xFFZ\0\0\0\0", 19},     /* no UTF-8 */
        {"LOAMDOC1X\1\0\0\0\x1BZ\0\0\0\0", 19},     /* an escape */
        {"LOAMDOC1X\xFF\xFF\xFF\xFFZ\0\0\0\0", 18}, /* longer than there is */
        {"LOAMDOC1H\x14\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0Z\0\0\0\0",
         38}, /* heading outside */
        {"LOAMDOC1X\2\0\0\0\xC3\xA4H\x14\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0Z\0\0\0\0",
         45},                                     /* inside a character */
        {"LOAMDOC1P\3\0\0\0\1\0\0Z\0\0\0\0", 21}, /* short page record */
        {"LOAMDOC1E\1\0\0\0\0", 14},              /* an error that is none */
        {"LOAMDOC1?\0\0\0\0Z\0\0\0\0", 18},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        loam_document doc = {0};
        CHECK(document_parse_helper(&doc, lies[i].bytes, lies[i].n, NULL) == LOAM_ERR_FORMAT,
              "lie %zu", i);
        loam_document_deinit(&doc);
    }
}

/* ---- the programs ---- */

/* Words as the goldens count them: runs of letters and digits, ASCII in lower case. */
typedef struct words {
    char **items;
    size_t n, cap;
} words;

static void split_words(words *w, const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && ((unsigned char)s[end] >= 0x80 || (s[end] >= '0' && s[end] <= '9') ||
                           (s[end] >= 'a' && s[end] <= 'z') || (s[end] >= 'A' && s[end] <= 'Z') ||
                           s[end] == '_'))
            end++;
        if (end > i) {
            void *grown = w->items;
            if (!loam_grow(&grown, &w->cap, w->n + 1, sizeof(char *))) abort();
            w->items = grown;
            char *word = loam_strndup(s + i, end - i);
            for (char *c = word; c && *c; c++)
                if (*c >= 'A' && *c <= 'Z') *c = (char)(*c + 32);
            w->items[w->n++] = word;
        }
        i = end > i ? end : i + 1;
    }
}

static void free_words(words *w) {
    for (size_t i = 0; i < w->n; i++) free(w->items[i]);
    free(w->items);
    memset(w, 0, sizeof *w);
}

static int compare_words(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* F1 of the bags; both get sorted. */
static double word_f1(words *a, words *b) {
    size_t i = 0, k = 0, same = 0;
    qsort(a->items, a->n, sizeof(char *), compare_words);
    qsort(b->items, b->n, sizeof(char *), compare_words);
    while (i < a->n && k < b->n) {
        const int order = strcmp(a->items[i], b->items[k]);
        same += order == 0;
        i += order <= 0;
        k += order >= 0;
    }
    return a->n + b->n ? 2.0 * (double)same / (double)(a->n + b->n) : 0;
}

/* Length of the longest common subsequence over the mean length: order counts. */
static double ordered_match(const words *a, const words *b) {
    size_t *row = calloc(b->n + 1, sizeof *row);
    for (size_t i = 0; i < a->n; i++) {
        size_t diagonal = 0;
        for (size_t k = 1; k <= b->n; k++) {
            const size_t up = row[k];
            if (strcmp(a->items[i], b->items[k - 1]) == 0)
                row[k] = diagonal + 1;
            else if (row[k - 1] > up)
                row[k] = row[k - 1];
            diagonal = up;
        }
    }
    const double match = 2.0 * (double)row[b->n] / (double)(a->n + b->n);
    free(row);
    return match;
}

static void test_html_pages(void) {
    static const char *const pages[] = {
        "debian-faq__kernel.en.html", "debian-policy__ap-pkg-conffiles.html",
        "developers-reference__l10n.html", "debmake-doc__ch02.ja.html"};
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        char path[512];
        loam_buf bytes = {0}, text = {0};
        loam_document doc;
        loam_err err = {0};
        double best = 0;
        snprintf(path, sizeof path, GOLDEN "docs/%s", pages[i]);
        load(path, &bytes);
        CHECK(read_bytes(&doc, path, bytes.data, bytes.n, &err) == LOAM_OK, "%s: %s", path,
              err.msg);
        CHECK(doc.kind == LOAM_DOCUMENT_HTML && doc.title && doc.n_headings > 0,
              "%s: title and headings", path);
        for (int k = 0; k < 2; k++) {
            words own = {0}, other = {0};
            snprintf(path, sizeof path, GOLDEN "text/%s.%s.txt", pages[i],
                     k ? "beautifulsoup" : "lynx");
            load(path, &text);
            split_words(&own, doc.text.data, doc.text.n);
            split_words(&other, text.data, text.n);
            best = fmax(best, word_f1(&own, &other));
            free_words(&own);
            free_words(&other);
        }
        CHECK(best >= 0.96, "%s: word F1 %.4f", pages[i], best);
        loam_document_deinit(&doc);
        loam_buf_deinit(&bytes);
        loam_buf_deinit(&text);
    }
}

static void test_pdf_twins(void) {
    static const char *const twins[] = {"one_column", "one_column_head", "two_columns",
                                        "three_columns_landscape", "code_font"};
    for (size_t i = 0; i < sizeof twins / sizeof *twins; i++) {
        char path[512];
        loam_buf bytes = {0}, text = {0};
        words own = {0}, twin = {0};
        loam_document doc;
        loam_err err = {0};
        snprintf(path, sizeof path, GOLDEN "twins/%s.pdf", twins[i]);
        load(path, &bytes);
        CHECK(read_bytes(&doc, path, bytes.data, bytes.n, &err) == LOAM_OK, "%s: %s", path,
              err.msg);
        snprintf(path, sizeof path, GOLDEN "twins/%s.txt", twins[i]);
        load(path, &text);
        split_words(&own, doc.text.data, doc.text.n);
        split_words(&twin, text.data, text.n);
        const double match = ordered_match(&own, &twin);
        /* five words of a running head are kept once: 0.9978 */
        CHECK(match >= 0.997, "%s: %zu words in the order of the twin's %zu: %.4f", twins[i], own.n,
              twin.n, match);
        CHECK(doc.n_pages > 0 && doc.pages[0].number == 1, "%s: pages", twins[i]);
        free_words(&own);
        free_words(&twin);
        loam_document_deinit(&doc);
        loam_buf_deinit(&bytes);
        loam_buf_deinit(&text);
    }
}

/* Every string of the list is (not) in the text. */
static void check_strings(const loam_document *doc, const loam_json_value *list, int wanted,
                          const char *file) {
    for (size_t i = 0; i < loam_json_count(list); i++) {
        const char *s = loam_json_string(loam_json_at(list, i), NULL);
        CHECK(holds(doc, s) == wanted, "%s: '%s'", file, s);
    }
}

static int check_conduct(const char *folder, const loam_json_value *c) {
    char path[512];
    loam_buf bytes = {0};
    loam_document doc;
    loam_err err = {0};
    const char *file = loam_json_string(loam_json_get(c, "file"), NULL);
    const char *conduct = loam_json_string(loam_json_get(c, "conduct"), NULL);
    snprintf(path, sizeof path, "%s%s", folder, file);
    if (access(path, R_OK) != 0) return 0;
    load(path, &bytes);
    const double started = loam_now();
    const loam_status st = read_bytes(&doc, path, bytes.data, bytes.n, &err);
    CHECK(loam_now() - started < 10, "%s: %.1f s", file, loam_now() - started);
    if (strcmp(conduct, "text") == 0) CHECK(st == LOAM_OK, "%s: %s", file, err.msg);
    if (strcmp(conduct, "error") == 0) CHECK(st != LOAM_OK, "%s: no error", file);
    CHECK(st == LOAM_OK || (st != LOAM_ERR_NOT_FOUND && err.msg[0] && !strchr(err.msg, '\n')),
          "%s: %d %s", file, st, err.msg);
    if (!st) {
        check_strings(&doc, loam_json_get(c, "contains"), 1, file);
        check_strings(&doc, loam_json_get(c, "absent"), 0, file);
        CHECK(is_utf8(doc.text.data, doc.text.n), "%s: UTF-8", file);
    }
    loam_document_deinit(&doc);
    loam_buf_deinit(&bytes);
    return 1;
}

static void test_conduct(const char *folder) {
    char path[512];
    loam_stream *lines = NULL;
    loam_sample *line;
    int n = 0;
    snprintf(path, sizeof path, "%shostile.jsonl", folder);
    if (loam_stream_from_lines(&lines, path, NULL) != LOAM_OK) return;
    while (loam_stream_next(lines, &line, NULL) == LOAM_OK && line) {
        loam_json *json = NULL;
        CHECK(loam_json_parse(&json, line->data.data, line->data.n, line->name, 0, NULL) == LOAM_OK,
              "%s", line->name);
        n += check_conduct(folder, loam_json_root(json));
        loam_json_free(json);
        loam_sample_free(line);
    }
    loam_stream_free(lines);
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
#ifndef __SANITIZE_ADDRESS__
    CHECK(usage.ru_maxrss < 300 * 1024, "a reader took %ld kB", usage.ru_maxrss);
#endif
    CHECK(n >= 40, "%d hostile documents", n);
    printf("%s: conduct of %d documents, readers took at most %ld MB\n", folder, n,
           usage.ru_maxrss / 1024);
}

static void test_missing_helper(void) {
    loam_document doc;
    loam_err err = {0};
    const loam_reader lost = {.html_helper = "/nonexistent/loam-html"};
    memset(&doc, 0, sizeof doc);
    CHECK(loam_document_read(&doc, "x.html", "<p>x", 4, &lost, &err) == LOAM_ERR_NOT_FOUND &&
              strstr(err.msg, "/nonexistent/loam-html"),
          "%s", err.msg);
    loam_document_deinit(&doc);
}

/* The programs of this configuration: $BIN, else where make puts them. */
static void find_helpers(const char *self) {
    const char *bin = getenv("BIN");
    char own[400] = "build/bin";
    const char *config = strstr(self, "build/");
    if (!bin && config && strncmp(config + 6, "release/", 8) != 0)
        snprintf(own, sizeof own, "build/%.*s/bin", (int)strcspn(config + 6, "/"), config + 6);
    snprintf(pdf_helper, sizeof pdf_helper, "%s/loam-pdf", bin ? bin : own);
    snprintf(html_helper, sizeof html_helper, "%s/loam-html", bin ? bin : own);
    reader = (loam_reader){.pdf_helper = pdf_helper, .html_helper = html_helper};
}

int main(int argc, char **argv) {
    (void)argc;
    find_helpers(argv[0]);
    test_decoding();
    test_markdown();
    test_markdown_many_comments();
    test_records();
    test_gzip();
    test_helper_answers();
    test_missing_helper();
    CHECK(access(pdf_helper, X_OK) == 0 && access(html_helper, X_OK) == 0,
          "%s and loam-html: run 'make all' first", pdf_helper);
    test_html_pages();
    test_pdf_twins();
    test_conduct(GOLDEN);
    test_conduct("../shared/golden/rag/extract/");
    return TEST_END("test_documents");
}
