/* page_layout.c - the reading order of a page.
 *
 *      +---------------------+      rows: words that share a height on the page
 *      |  a title, all wide  |      gutter: a stretch of x that most rows leave empty
 *      +---------+ +---------+      bands: runs of rows that respect the gutter; a row that
 *      | band,   | | read    |             spans it ends a band
 *      | left    | | second  |
 *      +---------+ +---------+      A band is columns when both sides hold running text (three rows and
 *      |  a table, all wide  |      2.5 words a line or more, filled to a good half); else it is read row by row,
 *      +---------------------+      as tables and tables of contents must be.
 *
 * Columns are laid out in turn the same way, so three columns are two cuts.
 */
#include "cli/page_layout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_DEPTH = 12,     /* of cuts within cuts */
    MAX_BINS = 4000,    /* points across; wider pages are scaled */
    MIN_COLUMN_ROWS = 3 /* fewer are a coincidence */
};
static const float MIN_WORDS_A_LINE = 2.4F;
static const float MIN_FILL = 0.5F;

typedef struct row {
    size_t first, n; /* of the region's words, sorted by x */
    float y0, y1;
} row;

/* A set of words being laid out. */
typedef struct region {
    page_layout *p;
    page_word *words; /* borrowed part of a sorted copy */
    size_t n;
    row *rows;
    size_t n_rows;
    float height; /* median of the words' */
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

/* ---- rows ---- */

static int compare_y(const void *a, const void *b) {
    const page_word *x = a, *y = b;
    const float cx = x->y0 + x->y1, cy = y->y0 + y->y1;
    if (cx < cy || cx > cy) return cx < cy ? -1 : 1;
    if (x->x0 < y->x0 || x->x0 > y->x0) return x->x0 < y->x0 ? -1 : 1;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

static int compare_x(const void *a, const void *b) {
    const page_word *x = a, *y = b;
    if (x->x0 < y->x0 || x->x0 > y->x0) return x->x0 < y->x0 ? -1 : 1;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

static int compare_float(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static float median_height(const page_word *words, size_t n) {
    float *heights = malloc((n ? n : 1) * sizeof *heights);
    if (!heights || n == 0) {
        free(heights);
        return 10;
    }
    for (size_t i = 0; i < n; i++) heights[i] = words[i].y1 - words[i].y0;
    qsort(heights, n, sizeof *heights, compare_float);
    const float m = heights[n / 2];
    free(heights);
    return m > 0.1F ? m : 0.1F;
}

/* Group the words (sorted by height on the page) into rows: a word joins when half of it lies within
 * the row's first word, or the other way round. */
static int find_rows(region *r) {
    r->rows = malloc((r->n ? r->n : 1) * sizeof *r->rows);
    if (!r->rows) return 0;
    qsort(r->words, r->n, sizeof *r->words, compare_y);
    r->n_rows = 0;
    for (size_t i = 0; i < r->n; i++) {
        const page_word *w = &r->words[i];
        row *last = r->n_rows ? &r->rows[r->n_rows - 1] : NULL;
        if (last) {
            const float low = fmaxf(w->y0, last->y0), high = fminf(w->y1, last->y1);
            const float smaller = fminf(w->y1 - w->y0, last->y1 - last->y0);
            if (high - low > 0.5F * smaller) {
                last->n++;
                /* a tall letter may widen a row a little, never swallow the next one */
                if (w->y1 - w->y0 < 1.5F * r->height) {
                    last->y0 = fminf(last->y0, w->y0);
                    last->y1 = fmaxf(last->y1, fminf(w->y1, last->y0 + 1.6F * r->height));
                }
                continue;
            }
        }
        r->rows[r->n_rows++] = (row){i, 1, w->y0, w->y1};
    }
    for (size_t k = 0; k < r->n_rows; k++)
        qsort(r->words + r->rows[k].first, r->rows[k].n, sizeof *r->words, compare_x);
    return 1;
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

static int put_row(region *r, const row *w, float pitch, const row *before) {
    page_layout *p = r->p;
    const page_word *words = r->words + w->first;
    const int rtl = is_right_to_left(p, words, w->n);
    page_line l = {.begin = p->text.n, .y0 = w->y0, .page = p->page};
    for (size_t i = 0; i < w->n; i++) {
        const page_word *word = &words[rtl ? w->n - 1 - i : i];
        if (i > 0) loam_buf_putc(&p->text, ' ');
        if (!loam_buf_reserve(&p->text, word->n)) return 0; /* or the bytes below might move */
        loam_buf_append(&p->text, p->text.data + word->begin, word->n);
        l.height = fmaxf(l.height, word->y1 - word->y0);
    }
    l.n = p->text.n - l.begin;
    for (size_t i = 0; i < l.n; i++) {
        const unsigned char c = (unsigned char)p->text.data[l.begin + i];
        l.n_letters += (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c >= 0xC3;
    }
    l.after_gap = !before || w->y0 - before->y0 > 1.3F * pitch;
    return !p->text.failed && add_line(p, &l);
}

/* Usual distance from line to line: the median. */
static float line_pitch(const region *r) {
    if (r->n_rows < 3) return 1.3F * r->height;
    float *d = malloc(r->n_rows * sizeof *d);
    if (!d) return 1.3F * r->height;
    for (size_t i = 1; i < r->n_rows; i++) d[i - 1] = r->rows[i].y0 - r->rows[i - 1].y0;
    qsort(d, r->n_rows - 1, sizeof *d, compare_float);
    const float m = d[(r->n_rows - 1) / 2];
    free(d);
    return fminf(fmaxf(m, r->height), 2.2F * r->height);
}

static int put_rows(region *r, size_t from, size_t to) {
    const float pitch = line_pitch(r);
    for (size_t i = from; i < to; i++)
        if (!put_row(r, &r->rows[i], pitch, i > from ? &r->rows[i - 1] : NULL)) return 0;
    return 1;
}

/* ---- gutters and bands ---- */

typedef struct gutter {
    float x, width;
} gutter;

/* How one row meets the gutter. */
typedef enum meeting { LEFT_ONLY, RIGHT_ONLY, BOTH_SIDES, SPANS } meeting;

static meeting meet(const region *r, const row *w, const gutter *g) {
    const page_word *words = r->words + w->first;
    float left = -1e9F, right = 1e9F; /* nearest edges on both sides */
    for (size_t i = 0; i < w->n; i++) {
        const float middle = 0.5F * (words[i].x0 + words[i].x1);
        if (words[i].x0 < g->x - 1 && words[i].x1 > g->x + 1) return SPANS;
        if (middle < g->x)
            left = fmaxf(left, words[i].x1);
        else
            right = fminf(right, words[i].x0);
    }
    if (right > 1e8F) return LEFT_ONLY;
    if (left < -1e8F) return RIGHT_ONLY;
    /* a space of running text that happens to lie there is narrower than what divides columns */
    return right - left < fmaxf(0.6F * g->width, 0.55F * r->height) ? SPANS : BOTH_SIDES;
}

/* Rows from .. to - 1: do both sides hold running text? */
static int is_columns(const region *r, const gutter *g, size_t from, size_t to) {
    size_t n_words[2] = {0}, n_rows[2] = {0};
    float min_left = 1e9F, max_left = -1e9F, sum_fill = 0;
    for (size_t k = from; k < to; k++) {
        const page_word *words = r->words + r->rows[k].first;
        size_t n[2] = {0};
        for (size_t i = 0; i < r->rows[k].n; i++) {
            const int side = 0.5F * (words[i].x0 + words[i].x1) >= g->x;
            n[side]++;
            if (side == 0) {
                min_left = fminf(min_left, words[i].x0);
                max_left = fmaxf(max_left, words[i].x1);
            }
        }
        for (int s = 0; s < 2; s++) {
            n_words[s] += n[s];
            n_rows[s] += n[s] > 0;
        }
    }
    for (int s = 0; s < 2; s++)
        if (n_rows[s] < MIN_COLUMN_ROWS || (float)n_words[s] < MIN_WORDS_A_LINE * (float)n_rows[s])
            return 0;
    for (size_t k = from; k < to; k++) {
        const page_word *words = r->words + r->rows[k].first;
        float end = min_left;
        for (size_t i = 0; i < r->rows[k].n; i++)
            if (0.5F * (words[i].x0 + words[i].x1) < g->x) end = fmaxf(end, words[i].x1);
        sum_fill += end - min_left;
    }
    return sum_fill >= MIN_FILL * (max_left - min_left) * (float)n_rows[0];
}

/* End of the band that starts at `from`: rows that do not span the gutter. */
static size_t band_end(const region *r, const gutter *g, size_t from) {
    size_t to = from;
    while (to < r->n_rows && meet(r, &r->rows[to], g) != SPANS) to++;
    return to;
}

/* Rows of the region that column bands at this gutter would take. */
static size_t rows_in_columns(const region *r, const gutter *g) {
    size_t n = 0;
    for (size_t k = 0; k < r->n_rows;) {
        const size_t to = band_end(r, g, k);
        if (to > k && is_columns(r, g, k, to)) n += to - k;
        k = to > k ? to : k + 1;
    }
    return n;
}

/* The stretch of x that fewest rows cross and whose columns take most rows.  0: none; -1: memory. */
static int find_gutter(const region *r, gutter *best) {
    float x0 = 1e9F, x1 = -1e9F;
    for (size_t i = 0; i < r->n; i++) {
        x0 = fminf(x0, r->words[i].x0);
        x1 = fmaxf(x1, r->words[i].x1);
    }
    if (!(x1 - x0 > 4 * r->height)) return 0;
    const float scale = x1 - x0 > (float)MAX_BINS ? (float)MAX_BINS / (x1 - x0) : 1;
    const size_t n_bins = (size_t)((x1 - x0) * scale) + 2;
    int *cover = calloc(n_bins + 1, sizeof *cover); /* words over each point, by differences */
    if (!cover) return -1;
    for (size_t i = 0; i < r->n; i++) {
        const size_t a = (size_t)((r->words[i].x0 - x0) * scale),
                     b = (size_t)((r->words[i].x1 - x0) * scale);
        cover[a < n_bins ? a : n_bins - 1]++;
        cover[b < n_bins ? b : n_bins - 1]--;
    }
    size_t best_rows = 0;
    long over = 0;
    const long allowed = (long)(r->n_rows * 4 / 10);
    const float min_width = 0.6F * r->height;
    for (size_t i = 0, start = 0; i <= n_bins; i++) {
        over += i < n_bins ? cover[i] : 0;
        if (i < n_bins && over <= allowed) continue;
        const float from = x0 + (float)start / scale, to = x0 + (float)i / scale;
        start = i + 1;
        if (to - from < min_width || from < x0 + 2 * r->height || to > x1 - 2 * r->height) continue;
        /* the narrow inner part is what all rows of the columns leave free: try three places */
        for (int k = 1; k <= 3; k++) {
            const gutter g = {from + (to - from) * (float)k / 4, fminf(to - from, 3 * r->height)};
            const size_t rows = rows_in_columns(r, &g);
            if (rows > best_rows) {
                best_rows = rows;
                *best = g;
            }
        }
    }
    free(cover);
    return best_rows > 0;
}

static int lay_out(page_layout *p, page_word *words, size_t n, int depth);

/* A band of columns: the words of the left side, then those of the right. */
static int put_columns(region *r, const gutter *g, size_t from, size_t to) {
    const size_t first = r->rows[from].first, end = r->rows[to - 1].first + r->rows[to - 1].n;
    page_word *sorted = malloc((end - first) * sizeof *sorted);
    if (!sorted) return 0;
    size_t n_left = 0, n = 0;
    for (int side = 0; side < 2; side++) {
        for (size_t i = first; i < end; i++)
            if ((0.5F * (r->words[i].x0 + r->words[i].x1) >= g->x) == side)
                sorted[n++] = r->words[i];
        if (side == 0) n_left = n;
    }
    const int ok = lay_out(r->p, sorted, n_left, r->depth + 1) &&
                   lay_out(r->p, sorted + n_left, n - n_left, r->depth + 1);
    free(sorted);
    return ok;
}

/* Rows that are no columns at this gutter may be at another one. */
static int put_rest(region *r, size_t from, size_t to) {
    if (from == to) return 1;
    if (to - from == r->n_rows || to - from < 2 * MIN_COLUMN_ROWS) return put_rows(r, from, to);
    const size_t first = r->rows[from].first, end = r->rows[to - 1].first + r->rows[to - 1].n;
    return lay_out(r->p, r->words + first, end - first, r->depth + 1);
}

static int lay_out(page_layout *p, page_word *words, size_t n, int depth) {
    region r = {.p = p, .words = words, .n = n, .depth = depth, .height = median_height(words, n)};
    gutter g = {0, 0};
    if (n == 0) return 1;
    if (!find_rows(&r)) return 0;
    const int found = depth < MAX_DEPTH && n >= 12 ? find_gutter(&r, &g) : 0;
    int ok = found >= 0;
    if (found <= 0) {
        ok = ok && put_rows(&r, 0, r.n_rows);
    } else {
        size_t rest = 0; /* rows from here on wait */
        for (size_t k = 0; k < r.n_rows && ok;) {
            const size_t to = band_end(&r, &g, k);
            if (to > k && is_columns(&r, &g, k, to)) {
                ok = put_rest(&r, rest, k) && put_columns(&r, &g, k, to);
                rest = to;
            }
            k = to > k ? to : k + 1;
        }
        ok = ok && put_rest(&r, rest, r.n_rows);
    }
    free(r.rows);
    return ok;
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

int page_read_lines(page_layout *p, float page_height) {
    const size_t first_line = p->n_lines;
    const float height = median_height(p->words, p->n_words);
    page_word *odd = malloc((p->n_words ? p->n_words : 1) * sizeof *odd);
    size_t n = 0, n_odd = 0;
    if (!odd) return 0;
    for (size_t i = 0; i < p->n_words; i++) {
        if (!is_sane(&p->words[i]) || is_sideways(&p->words[i], height))
            odd[n_odd++] = p->words[i];
        else
            p->words[n++] = p->words[i];
    }
    const int ok = lay_out(p, p->words, n, 0) && put_odd_words(p, odd, n_odd);
    free(odd);
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
