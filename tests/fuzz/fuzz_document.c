/* fuzz_document.c - text, Markdown, JSONL, CSV and gzip of any bytes, and a helper's answer; then both
 * chunkers: spans in order, inside the text, on characters. */
#include "data/document.h"
#include <loam/data.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_chunks(const loam_document *doc, const loam_chunker *c) {
    loam_pieces p = {0};
    if (loam_chunk_document(c, doc, &p, NULL) != LOAM_OK) abort();
    for (size_t i = 0; i < p.n; i++) {
        const loam_piece *x = &p.items[i];
        if (x->begin_byte >= x->end_byte || x->end_byte > doc->text.n || x->begin < 0 ||
            x->begin >= x->end)
            abort();
        if (((unsigned char)doc->text.data[x->begin_byte] & 0xC0) == 0x80) abort();
        if (x->end_byte < doc->text.n &&
            ((unsigned char)doc->text.data[x->end_byte] & 0xC0) == 0x80)
            abort();
        if (doc->n_parts ? x->i_part >= doc->n_parts
                         : i > 0 && x->begin_byte <= p.items[i - 1].begin_byte)
            abort();
    }
    loam_pieces_deinit(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const char *const names[] = {"a.txt", "a.md", "a.jsonl", "a.csv", "a.tsv", "a.txt.gz"};
    static const loam_reader reader = {.pdf_helper = "/nonexistent", .html_helper = "/nonexistent"};
    if (n < 3) return 0;
    loam_document doc = {0};
    loam_status st;
    if (data[0] % 7 == 6)
        st = document_parse_helper(&doc, (const char *)data + 3, n - 3, NULL);
    else
        st = loam_document_read(&doc, names[data[0] % 7], data + 3, n - 3, &reader, NULL);
    if (st == LOAM_OK) {
        const size_t size = 1 + data[1] % 64;
        loam_chunker c = {.kind = LOAM_CHUNK_FIXED, .size = size, .overlap = data[2] % size};
        check_chunks(&doc, &c);
        c.kind = LOAM_CHUNK_SENTENCE;
        c.max_tokens = data[2] % 2 ? size + 1 : 0;
        check_chunks(&doc, &c);
    }
    loam_document_deinit(&doc);
    return 0;
}
