/* chunk.c - documents to chunks: fixed windows, or whole sentences up to a number of tokens.
 *
 * A chunk is always a stretch of the document's text, unchanged: text[begin, end).
 * A reader can find it again, and a citation can be checked.  A heading is kept with what
 * follows it; a chunk ends at a heading, else at a paragraph when most of it is full,
 * else between sentences, and then the next one repeats up to `overlap` tokens of whole sentences.
 */
#include "data/chunk.h"
#include "base/base.h"
#include "base/utf8.h"

int pieces_push(loam_pieces *p, loam_piece piece) {
    void *grown = p->items;
    if (!loam_grow(&grown, &p->cap, p->n + 1, sizeof *p->items)) return 0;
    p->items = grown;
    p->items[p->n++] = piece;
    return 1;
}

void loam_pieces_deinit(loam_pieces *p) {
    free(p->items);
    memset(p, 0, sizeof *p);
}

/* The stretch of the document being cut: all of it, or one part. */
typedef struct job {
    const loam_chunker *c;
    const loam_document *doc;
    size_t begin, end, i_part;
    /* a place in bytes and in code points that only moves forward */
    size_t at_byte;
    int64_t at_code;
    loam_pieces *out;
    loam_err *err;
} job;

static loam_status fail_memory(loam_err *err) {
    return loam_fail(err, LOAM_ERR_MEMORY, "chunks");
}

/* Code points before `byte`; calls go forward, but for overlaps, so that the whole is linear. */
static int64_t code_at(job *j, size_t byte) {
    const char *text = j->doc->text.data;
    if (byte >= j->at_byte)
        j->at_code += loam_utf8_count(text + j->at_byte, byte - j->at_byte);
    else
        j->at_code -= loam_utf8_count(text + byte, j->at_byte - byte);
    j->at_byte = byte;
    return j->at_code;
}

static int add_piece(job *j, size_t begin, size_t end) {
    loam_piece p = {.begin_byte = begin, .end_byte = end, .i_part = j->i_part};
    p.begin = code_at(j, begin);
    p.end = code_at(j, end);
    p.page = loam_document_page(j->doc, begin);
    return pieces_push(j->out, p);
}

/* `n` code points on from `at`, at most to j->end. */
static size_t advance(const job *j, size_t at, size_t n) {
    const char *text = j->doc->text.data;
    while (n > 0 && at < j->end) {
        at++;
        while (at < j->end && !loam_utf8_is_start(text[at])) at++;
        n--;
    }
    return at;
}

/* text[i : i + size] for i = 0, size - overlap, ... : the last one may be pure overlap, as in the reference. */
static loam_status chunk_fixed(job *j) {
    const size_t stride = j->c->size - j->c->overlap;
    for (size_t at = j->begin; at < j->end; at = advance(j, at, stride))
        if (!add_piece(j, at, advance(j, at, j->c->size))) return fail_memory(j->err);
    return LOAM_OK;
}

static loam_status count_tokens(const job *j, size_t begin, size_t end, size_t *n) {
    if (!j->c->count) {
        *n = (end - begin + 3) / 4;
        return LOAM_OK;
    }
    return j->c->count(j->c->ctx, j->doc->text.data + begin, end - begin, n, j->err);
}

enum { PROBE_BYTES = 4 }; /* of a too long unit, this many bytes a token are tried first */

static int is_white(char c) {
    return c == ' ' || c == '\n' || c == '\t';
}

/* Where to cut [begin, end) at the latest at `limit`: behind white space, else between characters. */
static size_t cut_before(const char *text, size_t begin, size_t limit) {
    for (size_t at = limit; at > begin + (limit - begin) / 2; at--)
        if (is_white(text[at - 1])) return at;
    size_t at = limit;
    while (at > begin && !loam_utf8_is_start(text[at])) at--;
    if (at > begin) return at;
    at = limit;
    while (!loam_utf8_is_start(text[at]))
        at++; /* a single character: keep it whole; text[end] is NUL */
    return at;
}

static int push_measured(units *out, unit u) {
    void *grown = out->items;
    if (!loam_grow(&grown, &out->cap, out->n + 1, sizeof *out->items)) return 0;
    out->items = grown;
    out->items[out->n++] = u;
    return 1;
}

/* A unit above the limit becomes several.  Work is linear: each try halves what the last one took. */
static loam_status split_unit(job *j, unit u, size_t limit, units *out) {
    const char *text = j->doc->text.data;
    size_t begin = u.begin;
    while (begin < u.end) {
        size_t take = limit * PROBE_BYTES, end, n = 0;
        for (;;) {
            end = u.end - begin <= take ? u.end : cut_before(text, begin, begin + take);
            loam_status st = count_tokens(j, begin, end, &n);
            if (st) return st;
            if (n <= limit || take <= 1) break;
            take /= 2;
        }
        unit piece = u;
        piece.begin = begin;
        piece.end = end;
        piece.tokens = (uint32_t)n;
        piece.is_heading = 0; /* a heading that long is prose */
        piece.is_paragraph = u.is_paragraph && begin == u.begin;
        while (piece.begin < piece.end && is_white(text[piece.begin])) piece.begin++;
        while (piece.end > piece.begin && is_white(text[piece.end - 1])) piece.end--;
        if (piece.begin < piece.end && !push_measured(out, piece)) return fail_memory(j->err);
        begin = end;
    }
    return LOAM_OK;
}

/* Count every unit and split those above `limit`. */
static loam_status measure_units(job *j, const units *in, size_t limit, units *out) {
    for (size_t i = 0; i < in->n; i++) {
        unit u = in->items[i];
        size_t n = SIZE_MAX;
        loam_status st =
            u.end - u.begin > limit * 32 ? LOAM_OK : count_tokens(j, u.begin, u.end, &n);
        if (!st && n > limit) {
            st = split_unit(j, u, limit, out);
        } else if (!st) {
            u.tokens = (uint32_t)n;
            if (!push_measured(out, u)) return fail_memory(j->err);
        }
        if (st) return st;
    }
    return LOAM_OK;
}

/* Tokens of units[i ..] up to the next paragraph, at most a little over `enough`. */
static size_t paragraph_tokens(const units *u, size_t i, size_t enough) {
    size_t n = u->items[i].tokens;
    for (i++; i < u->n && !u->items[i].is_paragraph && n <= enough; i++) n += u->items[i].tokens;
    return n;
}

/* Does the chunk units[first, i) end before unit i? */
static int ends_before(const job *j, const units *u, size_t first, size_t i, size_t tokens) {
    const size_t size = j->c->size;
    const unit *next = &u->items[i];
    int only_headings = 1;
    for (size_t k = first; k < i && only_headings; k++) only_headings = u->items[k].is_heading;
    if (tokens + next->tokens > size) return 1;
    if (only_headings) return 0;
    /* a section of a line or two is kept with the next one of the same rank or below */
    if (next->is_heading)
        return tokens * 4 >= size || u->items[first].level > next->level ||
               !u->items[first].is_heading;
    return next->is_paragraph && tokens * 10 >= size * 6 &&
           tokens + paragraph_tokens(u, i, size) > size;
}

/* First unit of the chunk after the one that ended before unit i. */
static size_t overlap_start(const job *j, const units *u, size_t first, size_t i) {
    size_t n = 0, start = i;
    if (u->items[i].is_heading) return i;
    while (start > first + 1 && !u->items[start - 1].is_heading &&
           n + u->items[start - 1].tokens <= j->c->overlap) {
        start--;
        n += u->items[start].tokens;
    }
    return n + u->items[i].tokens <= j->c->size ? start : i;
}

/* The sum over units is near the truth, not it: take units off until the model's limit holds. */
static loam_status fit_limit(job *j, const units *u, size_t first, size_t *end) {
    if (j->c->max_tokens == 0) return LOAM_OK;
    for (;;) {
        size_t n;
        loam_status st = count_tokens(j, u->items[first].begin, u->items[*end - 1].end, &n);
        if (st || n <= j->c->max_tokens || *end == first + 1) return st;
        (*end)--;
    }
}

static loam_status pack_units(job *j, const units *u) {
    size_t first = 0;
    while (first < u->n) {
        size_t end = first + 1, tokens = u->items[first].tokens;
        while (end < u->n && !ends_before(j, u, first, end, tokens))
            tokens += u->items[end++].tokens;
        loam_status st = fit_limit(j, u, first, &end);
        if (st) return st;
        if (!add_piece(j, u->items[first].begin, u->items[end - 1].end)) return fail_memory(j->err);
        first = end < u->n ? overlap_start(j, u, first, end) : end;
    }
    return LOAM_OK;
}

static loam_status chunk_sentences(job *j) {
    units raw = {0}, measured = {0};
    const size_t max = j->c->max_tokens;
    const size_t limit = max && max < j->c->size ? max : j->c->size;
    loam_status st = LOAM_OK;
    if (!units_cut(&raw, j->doc, j->begin, j->end)) st = fail_memory(j->err);
    if (!st) st = measure_units(j, &raw, limit, &measured);
    if (!st) st = pack_units(j, &measured);
    free(raw.items);
    free(measured.items);
    return st;
}

loam_status loam_chunk_document(const loam_chunker *c, const loam_document *doc, loam_pieces *out,
                                loam_err *err) {
    if (c->size == 0) return loam_fail(err, LOAM_ERR_ARGUMENT, "chunk size must be at least 1");
    if (c->overlap >= c->size)
        return loam_fail(err, LOAM_ERR_ARGUMENT,
                         "chunk overlap %zu must be smaller than the chunk size %zu", c->overlap,
                         c->size);
    const size_t n = doc->n_parts ? doc->n_parts : 1;
    for (size_t i = 0; i < n; i++) {
        job j = {.c = c, .doc = doc, .end = doc->text.n, .i_part = i, .out = out, .err = err};
        if (doc->n_parts) {
            j.begin = doc->parts[i].begin;
            /* the two newlines in front of the next part belong to neither */
            if (i + 1 < n) j.end = doc->parts[i + 1].begin - 2;
        }
        if (j.end < j.begin) j.end = j.begin;
        j.at_byte = j.begin;
        loam_status st = c->kind == LOAM_CHUNK_FIXED ? chunk_fixed(&j) : chunk_sentences(&j);
        if (st) return st;
    }
    return LOAM_OK;
}
