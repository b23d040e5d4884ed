/* page_layout.h - words with boxes to lines in reading order, and what runs through all pages.
 *
 *     page_add_word(&p, &w) ...      the words of a page, in any order
 *     page_read_lines(&p, height);   appends the page's lines in reading order, forgets the words
 *     page_drop_running_lines(&p, n_pages);   after the last page
 *
 * y grows downwards.  Functions that return int give 0 when memory is out.
 */
#ifndef LOAM_PDF_PAGE_LAYOUT_H
#define LOAM_PDF_PAGE_LAYOUT_H

#include <loam/base.h>

typedef struct page_word {
    float x0, y0, x1, y1;
    size_t begin, n; /* bytes of the layout's text */
} page_word;

typedef struct page_line {
    size_t begin, n;  /* bytes of the layout's text */
    float y0, height; /* the mean over its letters: a raised note must not make a heading */
    uint32_t page;
    uint32_t n_letters;
    uint8_t after_gap; /* more space above than between lines: a paragraph begins */
    uint8_t in_margin; /* 1: in the top eighth of the page, 2: in the bottom eighth */
    uint8_t dropped;
} page_line;

typedef struct page_layout {
    loam_buf text; /* of all words, then of all lines */
    page_word *words;
    size_t n_words, cap_words;
    page_line *lines; /* of all pages */
    size_t n_lines, cap_lines;
    uint32_t page;
} page_layout;

int page_add_word(page_layout *p, const page_word *w);
int page_read_lines(page_layout *p, float page_height);
/* The line height that most of the text is set in. */
float page_body_height(const page_layout *p);
/* Lines in the margins that come back on page after page (digits aside) are kept once; page numbers never. */
int page_drop_running_lines(page_layout *p, size_t n_pages);
void page_layout_deinit(page_layout *p);

#endif
