/* records.c - JSONL and CSV: every record is a part of its own. */
#include "base/base.h"
#include "data/document.h"

#include <loam/json.h>
#include <stdio.h>
#include <strings.h>

static const char *const TEXT_FIELDS[] = {"text", "content", "body", NULL};
static const char *const ID_FIELDS[] = {"source", "id", "_id", "url", NULL};

static loam_status fail_memory(loam_err *err) {
    return loam_fail(err, LOAM_ERR_MEMORY, "records");
}

/* A row of small cells repeats the header's names: a long header must not make a text larger
 * than any file may be. */
static int is_too_large(const loam_document *doc, loam_status *st, loam_err *err) {
    if (doc->text.n <= LOAM_DOCUMENT_MAX_BYTES) return 0;
    *st = loam_fail(err, LOAM_ERR_LIMIT, "more than %d MiB of text: split it",
                    LOAM_DOCUMENT_MAX_BYTES >> 20);
    return 1;
}

/* Append one record; a blank line keeps the parts apart for readers of the whole text. */
static int add_record(loam_document *doc, const char *path, const char *id, size_t n_line,
                      const char *text, size_t n) {
    char *name = id && *id ? loam_format("%s#%s", path, id) : loam_format("%s#%zu", path, n_line);
    if (!name) return 0;
    if (doc->text.n > 0) loam_buf_puts(&doc->text, "\n\n");
    const int ok = document_add_part(doc, name, doc->text.n);
    free(name);
    loam_buf_append(&doc->text, text, n);
    return ok && !doc->text.failed;
}

static const char *json_text(const loam_json_value *record, const char *field, size_t *n) {
    if (loam_json_type_of(record) == LOAM_JSON_STRING) return loam_json_string(record, n);
    if (field) return loam_json_string(loam_json_get(record, field), n);
    for (size_t i = 0; TEXT_FIELDS[i]; i++) {
        const char *text = loam_json_string(loam_json_get(record, TEXT_FIELDS[i]), n);
        if (text) return text;
    }
    return NULL;
}

/* The record's name: a string or an integer. */
static void json_id(const loam_json_value *record, char out[512]) {
    out[0] = '\0';
    for (size_t i = 0; ID_FIELDS[i] && !out[0]; i++) {
        const loam_json_value *v = loam_json_get(record, ID_FIELDS[i]);
        int64_t number;
        const char *s = loam_json_string(v, NULL);
        if (s)
            snprintf(out, 512, "%s", s);
        else if (loam_json_type_of(v) == LOAM_JSON_INT && loam_json_int(v, &number))
            snprintf(out, 512, "%lld", (long long)number);
    }
}

/* Was the record left out, as the reader wanted?  Only what is wrong with the record itself. */
static int is_skipped(loam_document *doc, const loam_reader *reader, const loam_err *err) {
    if (!reader->skip_bad || err->status != LOAM_ERR_FORMAT) return 0;
    if (doc->n_skipped++ == 0)
        snprintf(doc->first_skipped, sizeof doc->first_skipped, "%.159s", err->msg);
    return 1;
}

static loam_status add_json_line(loam_document *doc, const char *name, const char *text, size_t n,
                                 size_t n_line, const loam_reader *reader, loam_err *err) {
    char where[64], id[512];
    loam_json *json = NULL;
    snprintf(where, sizeof where, "line %zu", n_line);
    loam_status st = loam_json_parse(&json, text, n, where, LOAM_JSON_LONE_SURROGATES, err);
    if (st) return st;
    size_t n_text = 0;
    const loam_json_value *record = loam_json_root(json);
    const char *found = json_text(record, reader->text_field, &n_text);
    json_id(record, id);
    loam_buf clean = {0};
    if (!found)
        st = loam_fail(err, LOAM_ERR_FORMAT, "line %zu: no text field (%s)", n_line,
                       reader->text_field ? reader->text_field : "text, content or body");
    else /* escapes may hold what the file's bytes may not */
        st = n_text ? loam_text_decode(found, n_text, "utf-8", &clean, err) : LOAM_OK;
    if (!st && clean.n > 0 && !add_record(doc, name, id, n_line, clean.data, clean.n))
        st = fail_memory(err);
    loam_buf_deinit(&clean);
    loam_json_free(json);
    return st;
}

loam_status document_read_jsonl(loam_document *doc, const char *name, const loam_buf *text,
                                const loam_reader *reader, loam_err *err) {
    size_t n_line = 0;
    for (size_t at = 0; at < text->n;) {
        const char *nl = memchr(text->data + at, '\n', text->n - at);
        const size_t end = nl ? (size_t)(nl - text->data) : text->n;
        n_line++;
        size_t first = at;
        while (first < end && strchr(" \t", text->data[first])) first++;
        if (first < end) {
            loam_err own = {0};
            const loam_status st =
                add_json_line(doc, name, text->data + at, end - at, n_line, reader, &own);
            if (st && !is_skipped(doc, reader, &own)) {
                if (err) *err = own;
                return st;
            }
        }
        at = end + 1;
    }
    return LOAM_OK;
}

/* Column of the first of `names` that the header has; SIZE_MAX: none. */
static size_t find_column(const loam_csv *csv, const char *const *names) {
    for (; *names; names++)
        for (size_t i = 0; i < csv->n_fields; i++)
            if (strcasecmp(loam_csv_field(csv, i, NULL), *names) == 0) return i;
    return SIZE_MAX;
}

/* No text column by name: the row as "column: value" lines, so that nothing is lost. */
static int add_whole_row(loam_document *doc, const char *name, const loam_csv *csv,
                         const loam_buf *header, const size_t *ends, const char *id, size_t n_row) {
    loam_buf row = {0};
    for (size_t i = 0; i < csv->n_fields; i++) {
        size_t n;
        const char *value = loam_csv_field(csv, i, &n);
        if (n == 0) continue;
        loam_buf_puts(&row, header->data + (i == 0 ? 0 : ends[i - 1] + 1));
        loam_buf_puts(&row, ": ");
        loam_buf_append(&row, value, n);
        loam_buf_putc(&row, '\n');
    }
    if (row.n > 0) row.n--;
    const int ok = !row.failed && (row.n == 0 || add_record(doc, name, id, n_row, row.data, row.n));
    loam_buf_deinit(&row);
    return ok;
}

static loam_status read_rows(loam_document *doc, const char *name, loam_csv *csv,
                             const loam_reader *reader, loam_err *err) {
    int r = loam_csv_next(csv, err);
    if (r < 0) return err->status;
    if (r == 0) return LOAM_OK;
    const char *wanted[] = {reader->text_field, NULL};
    const size_t i_text = find_column(csv, reader->text_field ? wanted : TEXT_FIELDS);
    const size_t i_id = find_column(csv, ID_FIELDS);
    if (reader->text_field && i_text == SIZE_MAX)
        return loam_fail(err, LOAM_ERR_FORMAT, "no column '%s'", reader->text_field);

    LOAM_ASSERT(csv->ends); /* a row has a field at least */
    loam_status st = LOAM_OK;
    loam_buf header = {0};
    size_t *ends = loam_alloc(csv->n_fields, sizeof *ends);
    loam_buf_append(&header, csv->row.data, csv->row.n);
    if (!ends || header.failed) st = fail_memory(err);
    if (!st) memcpy(ends, csv->ends, csv->n_fields * sizeof *ends);
    for (size_t n_row = 1; !st; n_row++) {
        r = loam_csv_next(csv, err);
        if (r == 0) break;
        if (r < 0 && is_skipped(doc, reader, err)) continue;
        if (r < 0) {
            st = err->status;
            break;
        }
        size_t n = 0;
        const char *id = i_id == SIZE_MAX ? NULL : loam_csv_field(csv, i_id, NULL);
        const char *text = i_text == SIZE_MAX ? NULL : loam_csv_field(csv, i_text, &n);
        if (i_text == SIZE_MAX ? !add_whole_row(doc, name, csv, &header, ends, id, n_row)
                               : n > 0 && !add_record(doc, name, id, n_row, text, n))
            st = fail_memory(err);
        if (!st && is_too_large(doc, &st, err)) break;
    }
    free(ends);
    loam_buf_deinit(&header);
    return st;
}

loam_status document_read_csv(loam_document *doc, const char *name, const loam_buf *text,
                              char separator, const loam_reader *reader, loam_err *err) {
    loam_csv csv = {.text = text->data, .n = text->n, .separator = separator, .quote = '"'};
    loam_err own = {0};
    loam_status st = read_rows(doc, name, &csv, reader, &own);
    if (st && err) *err = own;
    loam_csv_deinit(&csv);
    return st;
}
