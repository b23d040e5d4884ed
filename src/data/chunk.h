/* chunk.h - between the two halves of the sentence chunker. */
#ifndef LOAM_SRC_DATA_CHUNK_H
#define LOAM_SRC_DATA_CHUNK_H

#include <loam/data.h>

/* A sentence, list item, table or code line, or heading: text[begin, end), trimmed, never empty. */
typedef struct unit {
    size_t begin, end;
    uint32_t tokens; /* filled by the packer */
    uint8_t is_heading;
    uint8_t level;        /* of a heading */
    uint8_t is_paragraph; /* the first of a paragraph */
} unit;

typedef struct units {
    unit *items;
    size_t n, cap;
} units;

/* Cut text[begin, end) into units, in order.  `headings` of the document are used.  0: out of memory. */
int units_cut(units *out, const loam_document *doc, size_t begin, size_t end);

int pieces_push(loam_pieces *p, loam_piece piece); /* 0: out of memory */

#endif
