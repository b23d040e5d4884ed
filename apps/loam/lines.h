/* lines.h - what several commands take: texts from standard input, one a line, and lists of ids. */
#ifndef LOAM_APPS_LINES_H
#define LOAM_APPS_LINES_H

#include <loam/rag.h>
#include <loam/text.h>

typedef struct lines {
    loam_text *items;
    size_t n, cap;
    loam_buf bytes; /* what the items point into */
} lines;

/* Read to the end.  A line that is a JSON string is decoded, any other taken as it is; an
 * empty line is an empty text.  Exits on a line that is not UTF-8 (its number is named). */
void lines_read(lines *l);
void lines_deinit(lines *l);

/* Exits 4 with "WHAT: line NUMBER: not UTF-8 at byte N" (number 0: no line). */
void lines_check_utf8(const char *text, size_t n, const char *what, size_t number);

/* The token ids of --ids '[1, 2, 3]', at least one; exits 2 on anything else. */
void lines_ids(const char *text, loam_ids *out);

#endif
