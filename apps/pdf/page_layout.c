/* page_layout.c - the reading order of a page.
 *
 *      +---------------------+      fragments: words that follow each other on a line without a wide gap; no
 *      |  a title, all wide  |            fragment reaches across two columns
 *      +---------+ +---------+      gutter: a stretch of x that most fragments leave free
 *      | band,   | | read    |      bands: runs of fragments that respect the gutter, ended by one that crosses it
 *      | left    | | second  |
 *      +---------+ +---------+      A band is columns when both sides hold running text (2.4 words a fragment,
 *      |  a table, all wide  |      three lines or more); else it is read row by row, as tables and tables of
 *      +---------------------+      contents must be.
 *
 * Columns are laid out in turn the same way, so three columns are two cuts.
 */
#include "pdf/page_layout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_DEPTH = 12,     /* of cuts within cuts */
    MAX_TRIES = 200,    /* gutters looked at in one region */
    MIN_COLUMN_ROWS = 3 /* fewer are a coincidence */
};
static const float MIN_WORDS = 2.4F; /* a fragment, on average; cells of tables hold fewer */
static const float MIN_FILL = 0.3F;  /* width of a fragment to that of its side */

typedef struct fragment {
    float x0, y0, x1, y1;
    float base;      /* lower edge of the first word: notes and indices move the others */
    size_t first, n; /* of the page's words */
} fragment;

typedef struct row {
    size_t first, n; /* of the region's fragments, sorted by x */
    float y0, y1, base;
} row;

/* Fragments being laid out, sorted by their middle's height. */
typedef struct region {
    page_layout *p;
    fragment *items; /* borrowed */
    size_t n;
    float height; /* median */
    int depth;
} region;

int page_add_word(page_layout *p, const page_word *w) {
    if (p->n_words == p->cap_words) {
        const size_t cap = p->cap_words ? 2 * p->cap_words : 512;
        page_word *grown = realloc(p->words, cap * sizeof *grown);
        if (!grown) return 0;
        p->words = grown;
        p->cap_words = cap;
    }
    p->words[p->n_words++] = *w;
    return 1;
}

void page_layout_deinit(page_layout *p) {
    loam_buf_deinit(&p->text);
    free(p->words);
    free(p->lines);
    memset(p, 0, sizeof *p);
}

/* ---- fragments and rows ---- */

static int compare_y(const void *a, const void *b) {
    const fragment *x = a, *y = b;
    const float cx = x->y0 + x->y1, cy = y->y0 + y->y1;
    if (cx < cy || cx > cy) return cx < cy ? -1 : 1;
    if (x->x0 < y->x0 || x->x0 > y->x0) return x->x0 < y->x0 ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

static int compare_x(const void *a, const void *b) {
    const fragment *x = a, *y = b;
    if (x->x0 < y->x0 || x->x0 > y->x0) return x->x0 < y->x0 ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

static int compare_float(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static float median_height(const fragment *f, size_t n) {
    float *heights = malloc((n ? n : 1) * sizeof *heights);
    if (!heights || n == 0) {
        free(heights);
        return 10;
    }
    for (size_t i = 0; i < n; i++) heights[i] = f[i].y1 - f[i].y0;
    qsort(heights, n, sizeof *heights, compare_float);
    const float m = heights[n / 2];
    free(heights);
    return m > 0.1F ? m : 0.1F;
}

/* Do the two share a line: by half of the smaller one's height? */
static int on_one_line(float a0, float a1, float b0, float b1) {
    return fminf(a1, b1) - fmaxf(a0, b0) > 0.5F * fminf(a1 - a0, b1 - b0);
}

/* Distance between neighbours, whichever way the script runs. */
static float gap_between(const page_word *a, const page_word *b) {
    return fmaxf(b->x0 - a->x1, a->x0 - b->x1);
}

/* What is no space between words on the line words[from .. to): 0.6 line heights, or more where the line is
 * set loosely (justified lines reach 1.0; gutters begin at 0.8 on lines that are not). */
static float widest_space(const page_word *words, size_t from, size_t to, float *gaps) {
    const float height = words[from].y1 - words[from].y0;
    size_t n = 0;
    for (size_t i = from + 1; i < to; i++) gaps[n++] = gap_between(&words[i - 1], &words[i]);
    if (n == 0) return height;
    qsort(gaps, n, sizeof *gaps, compare_float);
    return fmaxf(0.6F * height, fminf(1.6F * gaps[n / 2], 1.3F * height));
}

/* Words that the engine gave one after the other, on one line and near to each other.  gaps: [n]. */
static size_t find_fragments(const page_word *words, size_t n, fragment *out, float *gaps) {
    size_t n_out = 0;
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1;
             to < n && on_one_line(words[to - 1].y0, words[to - 1].y1, words[to].y0, words[to].y1);)
            to++;
        const float space = widest_space(words, from, to, gaps);
        for (size_t i = from; i < to; i++) {
            const page_word *w = &words[i];
            if (i == from || gap_between(&words[i - 1], w) > space) {
                out[n_out++] = (fragment){w->x0, w->y0, w->x1, w->y1, w->y1, i, 1};
                continue;
            }
            fragment *f = &out[n_out - 1];
            f->n++;
            f->x0 = fminf(f->x0, w->x0);
            f->x1 = fmaxf(f->x1, w->x1);
            /* the height of the tallest word: raised notes must not reach into the line above */
            if (w->y1 - w->y0 > f->y1 - f->y0) {
                f->y0 = w->y0;
                f->y1 = w->y1;
            }
        }
    }
    return n_out;
}

/* Group the region's fragments into rows.  NULL: no memory. */
static row *find_rows(region *r, size_t *n_rows) {
    row *rows = malloc((r->n ? r->n : 1) * sizeof *rows);
    *n_rows = 0;
    for (size_t i = 0; rows && i < r->n; i++) {
        const fragment *f = &r->items[i];
        row *last = *n_rows ? &rows[*n_rows - 1] : NULL;
        if (last && on_one_line(last->y0, last->y1, f->y0, f->y1)) {
            last->n++;
            continue; /* the row keeps the height of its first fragment: it never grows over the next row */
        }
        rows[(*n_rows)++] = (row){i, 1, f->y0, f->y1, f->base};
    }
    for (size_t k = 0; k < *n_rows; k++) {
        qsort(r->items + rows[k].first, rows[k].n, sizeof *r->items, compare_x);
        rows[k].base = r->items[rows[k].first].base;
    }
    return rows;
}

/* ---- lines ---- */

static int add_line(page_layout *p, const page_line *l) {
    if (p->n_lines == p->cap_lines) {
        const size_t cap = p->cap_lines ? 2 * p->cap_lines : 1024;
        page_line *grown = realloc(p->lines, cap * sizeof *grown);
        if (!grown) return 0;
        p->lines = grown;
        p->cap_lines = cap;
    }
    p->lines[p->n_lines++] = *l;
    return 1;
}

/* Hebrew and Arabic letters in UTF-8 begin with 0xD6 .. 0xDF. */
static int is_right_to_left(const page_layout *p, const page_word *words, size_t n) {
    size_t rtl = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)p->text.data[words[i].begin];
        rtl += c >= 0xD6 && c <= 0xDF;
        all += c >= 0x80 || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    }
    return rtl * 2 > all;
}

static int put_word(page_layout *p, const page_word *word, int first) {
    if (!first) loam_buf_putc(&p->text, ' ');
    if (!loam_buf_reserve(&p->text, word->n)) return 0; /* or the bytes below might move */
    loam_buf_append(&p->text, p->text.data + word->begin, word->n);
    return 1;
}

static int put_row(const region *r, const row *w, float pitch, const row *before) {
    page_layout *p = r->p;
    const fragment *f = r->items + w->first;
    const int rtl = is_right_to_left(p, p->words + f->first, f->n);
    page_line l = {.begin = p->text.n, .y0 = w->y0, .page = p->page};
    float sum_height = 0, sum_bytes = 0;
    for (size_t i = 0; i < w->n; i++) {
        const fragment *part = &f[rtl ? w->n - 1 - i : i];
        for (size_t k = 0; k < part->n; k++) {
            const page_word *word = &p->words[part->first + k];
            if (!put_word(p, word, p->text.n == l.begin)) return 0;
            sum_height += (word->y1 - word->y0) * (float)word->n;
            sum_bytes += (float)word->n;
        }
    }
    l.height = sum_bytes > 0 ? sum_height / sum_bytes : 0;
    l.n = p->text.n - l.begin;
    for (size_t i = 0; i < l.n; i++) {
        const unsigned char c = (unsigned char)p->text.data[l.begin + i];
        l.n_letters += (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c >= 0xC3;
    }
    /* large type is set with large leading */
    const float usual = fmaxf(pitch, 1.25F * fmaxf(l.height, before ? before->y1 - before->y0 : 0));
    l.after_gap = !before || w->base - before->base > 1.3F * usual;
    return !p->text.failed && add_line(p, &l);
}

/* Usual distance from line to line: the median. */
static float line_pitch(const row *rows, size_t n, float height) {
    if (n < 3) return 1.3F * height;
    float *d = malloc(n * sizeof *d);
    if (!d) return 1.3F * height;
    for (size_t i = 1; i < n; i++) d[i - 1] = rows[i].base - rows[i - 1].base;
    qsort(d, n - 1, sizeof *d, compare_float);
    const float m = d[(n - 1) / 2];
    free(d);
    return fminf(fmaxf(m, height), 2.2F * height);
}

static int put_rows(region *r) {
    size_t n;
    row *rows = find_rows(r, &n);
    int ok = rows != NULL;
    const float pitch = ok ? line_pitch(rows, n, r->height) : 0;
    for (size_t i = 0; ok && i < n; i++)
        ok = put_row(r, &rows[i], pitch, i > 0 ? &rows[i - 1] : NULL);
    free(rows);
    return ok;
}

/* ---- gutters and bands ---- */

static int crosses(const fragment *f, float x) {
    return f->x0 < x - 0.5F && f->x1 > x + 0.5F;
}

static int side_of(const fragment *f, float x) {
    return f->x0 >= x - 0.5F;
}

/* Fragments from .. to - 1: do both sides hold running text? */
static int is_columns(const region *r, float x, size_t from, size_t to) {
    for (int side = 0; side < 2; side++) {
        size_t n = 0, n_words = 0, n_rows = 0;
        float left = 1e9F, right = -1e9F, sum_width = 0, row_y = -1e9F;
        for (size_t i = from; i < to; i++) {
            const fragment *f = &r->items[i];
            if (side_of(f, x) != side) continue;
            n++;
            n_words += f->n;
            left = fminf(left, f->x0);
            right = fmaxf(right, f->x1);
            sum_width += f->x1 - f->x0;
            if (0.5F * (f->y0 + f->y1) > row_y + 0.5F * r->height) {
                n_rows++;
                row_y = 0.5F * (f->y0 + f->y1);
            }
        }
        /* where the text ends the second column may be down to two lines */
        if (n_rows < (size_t)(side ? MIN_COLUMN_ROWS - 1 : MIN_COLUMN_ROWS)) return 0;
        if ((float)n_words < MIN_WORDS * (float)n ||
            sum_width < MIN_FILL * (right - left) * (float)n)
            return 0;
    }
    return 1;
}

/* End of the band that starts at `from`. */
static size_t band_end(const region *r, float x, size_t from) {
    size_t to = from;
    while (to < r->n && !crosses(&r->items[to], x)) to++;
    return to;
}

/* Fragments of the region that column bands at this gutter would take. */
static size_t count_in_columns(const region *r, float x) {
    size_t n = 0;
    for (size_t k = 0; k < r->n;) {
        const size_t to = band_end(r, x, k);
        if (to > k && is_columns(r, x, k, to)) n += to - k;
        k = to > k ? to : k + 1;
    }
    return n;
}

/* Columns are set flush left: a gutter is looked for in front of every x where several fragments
 * begin.  The one whose columns take most fragments wins.  1: found; 0: none; -1: no memory. */
static int find_gutter(const region *r, float *best) {
    float *edges = malloc(r->n * sizeof *edges);
    size_t best_count = 0, n_tried = 0;
    if (!edges) return -1;
    for (size_t i = 0; i < r->n; i++) edges[i] = r->items[i].x0;
    qsort(edges, r->n, sizeof *edges, compare_float);
    for (size_t i = 0, end; i < r->n && n_tried < MAX_TRIES; i = end) {
        for (end = i + 1; end < r->n && edges[end] < edges[i] + 0.3F * r->height;) end++;
        if (end - i + 1 < MIN_COLUMN_ROWS || edges[i] < edges[0] + 4 * r->height) continue;
        const float x = edges[i] - 0.2F * r->height;
        const size_t count = count_in_columns(r, x);
        n_tried++;
        if (count > best_count) {
            best_count = count;
            *best = x;
        }
    }
    free(edges);
    return best_count > 0;
}

static int lay_out(page_layout *p, fragment *items, size_t n, int depth);

/* A band of columns: the left side, then the right. */
static int put_columns(region *r, float x, size_t from, size_t to) {
    fragment *sides = malloc((to - from) * sizeof *sides);
    size_t n_left = 0, n = 0;
    if (!sides) return 0;
    for (int side = 0; side < 2; side++) {
        for (size_t i = from; i < to; i++)
            if (side_of(&r->items[i], x) == side) sides[n++] = r->items[i];
        if (side == 0) n_left = n;
    }
    const int ok = lay_out(r->p, sides, n_left, r->depth + 1) &&
                   lay_out(r->p, sides + n_left, n - n_left, r->depth + 1);
    free(sides);
    return ok;
}

/* What is no columns at this gutter may be at another one. */
static int put_rest(region *r, size_t from, size_t to) {
    return from == to || lay_out(r->p, r->items + from, to - from, r->depth + 1);
}

static int lay_out(page_layout *p, fragment *items, size_t n, int depth) {
    region r = {.p = p, .items = items, .n = n, .depth = depth, .height = median_height(items, n)};
    float x = 0;
    if (n == 0) return 1;
    qsort(items, n, sizeof *items, compare_y);
    const int found = depth < MAX_DEPTH && n >= 2 * MIN_COLUMN_ROWS - 1 ? find_gutter(&r, &x) : 0;
    if (found < 0) return 0;
    if (found == 0) return put_rows(&r);
    size_t rest = 0; /* fragments from here on wait */
    int ok = 1;
    for (size_t k = 0; k < n && ok;) {
        const size_t to = band_end(&r, x, k);
        if (to > k && is_columns(&r, x, k, to)) {
            ok = put_rest(&r, rest, k) && put_columns(&r, x, k, to);
            rest = to;
        }
        k = to > k ? to : k + 1;
    }
    return ok && put_rest(&r, rest, n);
}

/* Set sideways: taller than wide, though of several characters. */
static int is_sideways(const page_word *w, float height) {
    return w->n >= 3 && w->y1 - w->y0 > 2.5F * height && w->y1 - w->y0 > 1.5F * (w->x1 - w->x0);
}

static int is_sane(const page_word *w) {
    return isfinite(w->x0) && isfinite(w->x1) && isfinite(w->y0) && isfinite(w->y1) &&
           fabsf(w->x0) < 1e6F && fabsf(w->x1) < 1e6F && fabsf(w->y0) < 1e6F && fabsf(w->y1) < 1e6F;
}

/* Words set sideways, or outside of all bounds, come last, as the engine gave them. */
static int put_odd_words(page_layout *p, const page_word *odd, size_t n) {
    page_line l = {.begin = p->text.n, .page = p->page, .after_gap = 1};
    for (size_t i = 0; i < n; i++) {
        if (i > 0) loam_buf_putc(&p->text, ' ');
        if (!loam_buf_reserve(&p->text, odd[i].n)) return 0;
        loam_buf_append(&p->text, p->text.data + odd[i].begin, odd[i].n);
    }
    l.n = p->text.n - l.begin;
    return n == 0 || (!p->text.failed && add_line(p, &l));
}

/* Move the words that take part in the layout to the front; the others to `odd`. */
static size_t sort_out_odd(page_layout *p, page_word *odd, size_t *n_odd) {
    float height = 0;
    size_t n = 0;
    for (size_t i = 0; i < p->n_words; i++)
        height += is_sane(&p->words[i]) ? fminf(p->words[i].y1 - p->words[i].y0, 100) : 0;
    height = p->n_words ? fmaxf(height / (float)p->n_words, 1) : 1;
    for (size_t i = 0; i < p->n_words; i++) {
        const page_word w = p->words[i];
        if (!is_sane(&w) || is_sideways(&w, height))
            odd[(*n_odd)++] = w;
        else
            p->words[n++] = w;
    }
    return n;
}

int page_read_lines(page_layout *p, float page_height) {
    const size_t first_line = p->n_lines;
    page_word *odd = malloc((p->n_words + 1) * sizeof *odd);
    fragment *fragments = malloc((p->n_words + 1) * sizeof *fragments);
    float *gaps = malloc((p->n_words + 1) * sizeof *gaps);
    size_t n_odd = 0;
    int ok = odd && fragments && gaps;
    if (ok) {
        const size_t n_words = sort_out_odd(p, odd, &n_odd);
        const size_t n = find_fragments(p->words, n_words, fragments, gaps);
        ok = lay_out(p, fragments, n, 0) && put_odd_words(p, odd, n_odd);
    }
    free(odd);
    free(fragments);
    free(gaps);
    p->n_words = 0;
    for (size_t i = first_line; i < p->n_lines; i++) {
        page_line *l = &p->lines[i];
        if (l->y0 + l->height < page_height / 8) l->in_margin = 1;
        if (l->y0 > page_height * 7 / 8) l->in_margin = 2;
    }
    return ok;
}

/* ---- over all pages ---- */

float page_body_height(const page_layout *p) {
    /* a histogram of tenths of points, by letters */
    static size_t letters[2000];
    size_t best = 0;
    memset(letters, 0, sizeof letters);
    for (size_t i = 0; i < p->n_lines; i++) {
        const float h = p->lines[i].height * 10;
        const size_t bin = h >= 0 && h < 2000 ? (size_t)h : 0;
        letters[bin] += p->lines[i].n_letters;
        if (letters[bin] > letters[best]) best = bin;
    }
    return (float)best / 10;
}

/* FNV-1a over the line with every run of digits as one '#'. */
static uint64_t line_key(const page_layout *p, const page_line *l) {
    uint64_t h = 0xcbf29ce484222325ULL;
    int digits = 0;
    for (size_t i = 0; i < l->n; i++) {
        unsigned char c = (unsigned char)p->text.data[l->begin + i];
        if (c >= '0' && c <= '9') {
            if (digits) continue;
            digits = 1;
            c = '#';
        } else {
            digits = 0;
        }
        h = (h ^ c) * 0x100000001b3ULL;
    }
    return (h ^ l->in_margin) | 1;
}

/* Nothing but a number, plain or Roman, and what is set around it. */
static int is_page_number(const page_layout *p, const page_line *l) {
    size_t n_digits = 0, n_roman = 0;
    if (l->n > 16) return 0;
    for (size_t i = 0; i < l->n; i++) {
        const char c = p->text.data[l->begin + i];
        if (c >= '0' && c <= '9')
            n_digits++;
        else if (strchr("ivxlc", c))
            n_roman++;
        else if (!strchr(" -./()[]|", c))
            return 0;
    }
    return (n_digits > 0 && n_digits <= 5 && n_roman == 0) || (n_roman > 0 && n_digits == 0);
}

typedef struct seen {
    uint64_t key;
    uint32_t count, last_page;
    int kept;
} seen;

static seen *find_seen(seen *table, size_t mask, uint64_t key) {
    size_t at = (size_t)(key * 0x9E3779B97F4A7C15ULL >> 32) & mask;
    while (table[at].key && table[at].key != key) at = (at + 1) & mask;
    table[at].key = key;
    return &table[at];
}

int page_drop_running_lines(page_layout *p, size_t n_pages) {
    size_t n = 0, size = 64;
    for (size_t i = 0; i < p->n_lines; i++) n += p->lines[i].in_margin != 0;
    while (size < 2 * n + 2) size *= 2;
    seen *table = calloc(size, sizeof *table);
    if (!table) return 0;
    for (size_t i = 0; i < p->n_lines; i++) {
        if (!p->lines[i].in_margin) continue;
        seen *s = find_seen(table, size - 1, line_key(p, &p->lines[i]));
        if (s->last_page != p->lines[i].page) s->count++;
        s->last_page = p->lines[i].page;
    }
    for (size_t i = 0; i < p->n_lines; i++) {
        page_line *l = &p->lines[i];
        if (!l->in_margin) continue;
        seen *s = find_seen(table, size - 1, line_key(p, l));
        if (s->count < 2 || (s->count < 3 && n_pages > 3)) continue;
        l->dropped = is_page_number(p, l) || s->kept;
        s->kept = 1;
    }
    free(table);
    return 1;
}
