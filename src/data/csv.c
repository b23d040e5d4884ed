/* csv.c - RFC 4180 rows, one at a time, out of a text in memory. */
#include "base/base.h"

#include <loam/data.h>

static int push_field(loam_csv *csv) {
    loam_buf_putc(&csv->row, '\0');
    if (csv->row.failed) return 0;
    union {
        void *any;
        size_t *ends;
    } u = {.ends = csv->ends};
    if (!loam_grow(&u.any, &csv->cap, csv->n_fields + 1, sizeof *csv->ends)) return 0;
    csv->ends = u.ends;
    csv->ends[csv->n_fields++] = csv->row.n - 1;
    return 1;
}

/* Leave the rest of a broken row: up to the end of its line. */
static void skip_line(loam_csv *csv) {
    while (csv->at < csv->n && csv->text[csv->at] != '\n') csv->at++;
    if (csv->at < csv->n) csv->at++;
    csv->line++;
}

/* A quoted field, csv->at behind its opening quote.  NULL, or what is wrong. */
static const char *read_quoted(loam_csv *csv) {
    const char *text = csv->text;
    for (;;) {
        const size_t start = csv->at;
        while (csv->at < csv->n && text[csv->at] != csv->quote)
            csv->line += text[csv->at++] == '\n';
        loam_buf_append(&csv->row, text + start, csv->at - start);
        if (csv->at == csv->n) return "quote is never closed";
        csv->at++;
        if (csv->at == csv->n || text[csv->at] != csv->quote) break;
        loam_buf_putc(&csv->row, csv->quote);
        csv->at++;
    }
    const char c = csv->at < csv->n ? text[csv->at] : '\n';
    const int crlf = c == '\r' && (csv->at + 1 == csv->n || text[csv->at + 1] == '\n');
    return c == csv->separator || c == '\n' || crlf ? NULL : "text after the closing quote";
}

static const char *read_bare(loam_csv *csv) {
    const char *text = csv->text;
    const size_t start = csv->at;
    while (csv->at < csv->n && text[csv->at] != csv->separator && text[csv->at] != '\n') {
        if (text[csv->at] == csv->quote) return "quote inside a field that does not begin with one";
        csv->at++;
    }
    size_t end = csv->at;
    if (end > start && text[end - 1] == '\r' && (end == csv->n || text[end] == '\n')) end--;
    loam_buf_append(&csv->row, text + start, end - start);
    return NULL;
}

static void skip_blank_lines(loam_csv *csv) {
    while (csv->at < csv->n) {
        if (csv->text[csv->at] == '\n')
            csv->at++;
        else if (csv->text[csv->at] == '\r' && csv->at + 1 < csv->n &&
                 csv->text[csv->at + 1] == '\n')
            csv->at += 2;
        else
            return;
        csv->line++;
    }
}

int loam_csv_next(loam_csv *csv, loam_err *err) {
    skip_blank_lines(csv);
    if (csv->at >= csv->n) return 0;
    const size_t line = csv->line + 1;
    loam_buf_clear(&csv->row);
    csv->n_fields = 0;
    for (;;) {
        const int quoted = csv->at < csv->n && csv->text[csv->at] == csv->quote;
        if (quoted) csv->at++;
        const char *wrong = quoted ? read_quoted(csv) : read_bare(csv);
        if (wrong) {
            skip_line(csv);
            loam_fail(err, LOAM_ERR_FORMAT, "line %zu: %s", line, wrong);
            return -1;
        }
        if (!push_field(csv)) {
            csv->at = csv->n;
            loam_fail(err, LOAM_ERR_MEMORY, "line %zu: CSV row", line);
            return -1;
        }
        if (csv->at < csv->n && csv->text[csv->at] == '\r') csv->at++;
        if (csv->at >= csv->n) break;
        if (csv->text[csv->at++] == '\n') {
            csv->line++;
            break;
        }
    }
    if (csv->n_columns == 0) csv->n_columns = csv->n_fields;
    if (csv->n_fields == csv->n_columns) return 1;
    loam_fail(err, LOAM_ERR_FORMAT, "line %zu: %zu fields where the header has %zu", line,
              csv->n_fields, csv->n_columns);
    return -1;
}

const char *loam_csv_field(const loam_csv *csv, size_t i, size_t *n) {
    LOAM_ASSERT(i < csv->n_fields);
    const size_t begin = i == 0 ? 0 : csv->ends[i - 1] + 1;
    if (n) *n = csv->ends[i] - begin;
    return csv->row.data + begin;
}

void loam_csv_deinit(loam_csv *csv) {
    loam_buf_deinit(&csv->row);
    free(csv->ends);
    memset(csv, 0, sizeof *csv);
}
