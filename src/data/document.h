/* document.h - how the readers fill a loam_document. */
#ifndef LOAM_SRC_DATA_DOCUMENT_H
#define LOAM_SRC_DATA_DOCUMENT_H

#include <loam/data.h>

/* 1, or 0 when out of memory. */
int document_add_page(loam_document *doc, int64_t number, size_t begin);
int document_add_heading(loam_document *doc, size_t begin, size_t end, int level);
int document_add_part(loam_document *doc, const char *name, size_t begin);

/* From the clean text in doc->text: pages at form feeds, headings by underlines; Markdown also
 * by '#', without its HTML comments. */
loam_status document_structure_text(loam_document *doc, loam_err *err);
loam_status document_structure_markdown(loam_document *doc, loam_err *err);

/* Records of JSONL and CSV into parts. */
loam_status document_read_jsonl(loam_document *doc, const char *name, const loam_buf *text,
                                const loam_reader *reader, loam_err *err);
loam_status document_read_csv(loam_document *doc, const char *name, const loam_buf *text,
                              char separator, const loam_reader *reader, loam_err *err);

/* Let the helper program turn the bytes into text, pages and headings. */
loam_status document_run_helper(loam_document *doc, const char *program, const void *bytes,
                                size_t n, const loam_cancel *cancel, loam_err *err);

/* Parse what a helper wrote; every number and character is checked, for the
 * helper may have been taken over by its input.  A message of the helper's is the error. */
loam_status document_parse_helper(loam_document *doc, const char *bytes, size_t n, loam_err *err);

#endif
