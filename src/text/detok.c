/* detok.c - ids -> text, one token at a time.
 *
 * There is one decoder, the streaming one; decoding a list is pushing its ids and
 * flushing, so a stream's pieces always join to the decoded text.  The decoders of
 * tokenizer.json become a chain of stages.  A stage passes on what can no longer
 * change and holds back the rest: an unfinished character, a run of byte tokens (the
 * reference judges the run as a whole), the beginning of a text to be replaced.
 *
 *   token -> [stage 0] -> [stage 1] ... -> out
 *
 * Until a Fuse (or ByteLevel, which fuses too) a stage sees whole tokens; behind it, pieces
 * of one long token. */
#include "text/tok.h"
#include "text/utf8.h"

enum { MAX_STAGES = LOAM_TOK_MAX_STEPS + 16 };

typedef struct stage {
    const loam_dec *dec;
    int fused;     /* sees pieces of one token */
    size_t count;  /* tokens seen */
    size_t cut;    /* STRIP behind a fuse: characters stripped so far */
    int begun;     /* ... and something else has been seen */
    loam_buf held; /* what is not decided yet */
    loam_buf work;
    int has_held; /* BPE: a whole token waits */
} stage;

struct loam_detok {
    const loam_tokenizer *tok;
    unsigned flags;
    stage stages[MAX_STAGES];
    size_t n_stages;
    loam_buf *out;
    int failed;
    int over_limit;
};

static const char *const CLEAN_UP[][2] = {{" .", "."},     {" ?", "?"},           {" !", "!"},
                                          {" ,", ","},     {" ' ", "'"},          {" n't", "n't"},
                                          {" 'm", "'m"},   {" do not", " don't"}, {" 's", "'s"},
                                          {" 've", "'ve"}, {" 're", "'re"}};
enum { N_CLEAN_UP = sizeof CLEAN_UP / sizeof *CLEAN_UP };

/* transformers' clean_up_tokenization: the list without "do not". */
static const loam_dec CLEAN_UP_STAGES[N_CLEAN_UP] = {
#define ROW(a, b)                                                                                  \
    {                                                                                              \
        .kind = LOAM_DEC_REPLACE, .pattern = {(char *)(uintptr_t)(a), sizeof(a) - 1}, .content = { \
            (char *)(uintptr_t)(b),                                                                \
            sizeof(b) - 1                                                                          \
        }                                                                                          \
    }
    ROW(" .", "."),
    ROW(" ?", "?"),
    ROW(" !", "!"),
    ROW(" ,", ","),
    ROW(" ' ", "'"),
    ROW(" n't", "n't"),
    ROW(" 'm", "'m"),
    ROW(" 's", "'s"),
    ROW(" 've", "'ve"),
    ROW(" 're", "'re"),
    {0}
#undef ROW
};

static void push(loam_detok *d, size_t i, const char *s, size_t n);

static void replace_string(loam_buf *out, const char *s, size_t n, const char *from, size_t n_from,
                           const char *to, size_t n_to) {
    size_t at = 0;
    const char *hit;
    while (n_from && at < n && (hit = memmem(s + at, n - at, from, n_from)) != NULL) {
        loam_buf_append(out, s + at, (size_t)(hit - s) - at);
        loam_buf_append(out, to, n_to);
        at = (size_t)(hit - s) + n_from;
    }
    loam_buf_append(out, s + at, n - at);
}

/* WordPiece's clean-up of one token, in place. */
static void clean_token(loam_buf *b) {
    if (!b->data || !memchr(b->data, ' ', b->n)) return; /* every rule starts with a space */
    for (size_t i = 0; i < N_CLEAN_UP; i++) {
        const char *from = CLEAN_UP[i][0], *to = CLEAN_UP[i][1];
        if (!memmem(b->data, b->n, from, strlen(from))) continue;
        loam_buf next = {0};
        replace_string(&next, b->data, b->n, from, strlen(from), to, strlen(to));
        loam_buf_deinit(b);
        *b = next;
    }
}

static void replace_regex(loam_detok *d, const loam_dec *dec, const char *s, size_t n,
                          loam_buf *out) {
    loam_regex_scan scan;
    size_t at = 0, start = 0, end = 0;
    int found = 0;
    loam_status st = loam_regex_scan_init(&scan, dec->regex, s, n, NULL);
    while (!st) {
        st = loam_regex_next(&scan, &found, &start, &end, NULL);
        if (st || !found) break;
        loam_buf_append(out, s + at, start - at);
        loam_buf_append(out, dec->content.s, dec->content.n);
        at = end;
    }
    loam_regex_scan_deinit(&scan);
    loam_buf_append(out, s + at, n - at);
    if (st == LOAM_ERR_LIMIT)
        d->over_limit = 1;
    else if (st)
        d->failed = 1;
}

/* Length of the longest end of s[0 .. n) that begins the pattern but is not all of it. */
static size_t partial(const char *s, size_t n, const loam_str *p) {
    size_t k = p->n - 1 < n ? p->n - 1 : n;
    while (k && memcmp(s + n - k, p->s, k) != 0) k--;
    return k;
}

static void push_replace(loam_detok *d, size_t i, const char *s, size_t n) {
    stage *g = &d->stages[i];
    const loam_dec *dec = g->dec;
    loam_buf_clear(&g->work);
    if (!g->fused) {
        if (dec->regex)
            replace_regex(d, dec, s, n, &g->work);
        else
            replace_string(&g->work, s, n, dec->pattern.s, dec->pattern.n, dec->content.s,
                           dec->content.n);
        push(d, i + 1, g->work.data ? g->work.data : "", g->work.n);
        return;
    }
    loam_buf_append(&g->held, s, n);
    if (dec->regex || !dec->pattern.n || !g->held.n)
        return; /* a pattern may need all of it: see finish */
    /* replace all whole matches; hold back what may become one */
    size_t at = 0;
    const char *hit;
    while (at < g->held.n && (hit = memmem(g->held.data + at, g->held.n - at, dec->pattern.s,
                                           dec->pattern.n)) != NULL) {
        loam_buf_append(&g->work, g->held.data + at, (size_t)(hit - g->held.data) - at);
        loam_buf_append(&g->work, dec->content.s, dec->content.n);
        at = (size_t)(hit - g->held.data) + dec->pattern.n;
    }
    const size_t keep = partial(g->held.data + at, g->held.n - at, &dec->pattern);
    loam_buf_append(&g->work, g->held.data + at, g->held.n - at - keep);
    if (keep) memmove(g->held.data, g->held.data + g->held.n - keep, keep);
    g->held.n = keep;
    push(d, i + 1, g->work.data ? g->work.data : "", g->work.n);
}

/* Up to `start` leading and `stop` trailing characters, when they are `content`. */
static void push_strip(loam_detok *d, size_t i, const char *s, size_t n) {
    stage *g = &d->stages[i];
    const loam_str *c = &g->dec->content;
    size_t from = 0, to = n;
    if (!g->fused) {
        for (size_t k = 0;
             k < g->dec->start && to - from >= c->n && memcmp(s + from, c->s, c->n) == 0; k++)
            from += c->n;
        size_t end = n; /* counted on the whole token, as the reference does */
        for (size_t k = 0;
             k < g->dec->stop && end >= c->n && memcmp(s + end - c->n, c->s, c->n) == 0; k++)
            end -= c->n;
        if (end < from) end = from;
        push(d, i + 1, s + from, end - from);
        return;
    }
    while (!g->begun && n > from) {
        if (g->cut < g->dec->start && n - from >= c->n && memcmp(s + from, c->s, c->n) == 0) {
            from += c->n;
            g->cut++;
        } else {
            g->begun = 1;
        }
    }
    if (!g->dec->stop) {
        if (n > from) push(d, i + 1, s + from, n - from);
        return;
    }
    loam_buf_append(&g->held, s + from, n - from);
    LOAM_ASSERT(c->n); /* read_dec saw to it */
    size_t keep = 0;
    while (keep / c->n < g->dec->stop && g->held.n - keep >= c->n &&
           memcmp(g->held.data + g->held.n - keep - c->n, c->s, c->n) == 0)
        keep += c->n;
    loam_buf_clear(&g->work);
    loam_buf_append(&g->work, g->held.data, g->held.n - keep);
    if (keep) memmove(g->held.data, g->held.data + g->held.n - keep, keep);
    g->held.n = keep;
    if (g->work.n) push(d, i + 1, g->work.data, g->work.n);
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* A run of byte tokens is text when all of it is, else one U+FFFD a byte. */
static void end_run(loam_detok *d, size_t i) {
    stage *g = &d->stages[i];
    const size_t n = g->held.n;
    if (!n) return;
    loam_buf run = g->held;
    g->held = (loam_buf){0};
    if (loam_utf8_check(run.data, n) == n)
        push(d, i + 1, run.data, n);
    else
        for (size_t k = 0; k < n; k++) push(d, i + 1, "\xef\xbf\xbd", 3);
    loam_buf_clear(&run);
    if (!g->held.data)
        g->held = run;
    else
        loam_buf_deinit(&run);
}

static void push_byte_fallback(loam_detok *d, size_t i, const char *s, size_t n) {
    if (n == 6 && memcmp(s, "<0x", 3) == 0 && s[5] == '>' && hex_digit(s[3]) >= 0 &&
        hex_digit(s[4]) >= 0) {
        loam_buf_putc(&d->stages[i].held, (char)(hex_digit(s[3]) * 16 + hex_digit(s[4])));
        return;
    }
    end_run(d, i);
    push(d, i + 1, s, n);
}

static void push_byte_level(loam_detok *d, size_t i, const char *s, size_t n) {
    stage *g = &d->stages[i];
    const size_t before = g->held.n;
    for (size_t k = 0; k < n;) {
        const int b = loam_char_byte(loam_utf8_next(s, &k));
        if (b < 0) { /* not of the alphabet: the token stands for its own text */
            g->held.n = before;
            loam_buf_append(&g->held, s, n);
            break;
        }
        loam_buf_putc(&g->held, (char)b);
    }
    if (!g->held.n) return;
    loam_buf_clear(&g->work);
    const size_t used = loam_utf8_lossy(&g->work, g->held.data, g->held.n, 1);
    memmove(g->held.data, g->held.data + used, g->held.n - used);
    g->held.n -= used;
    if (g->work.n) push(d, i + 1, g->work.data, g->work.n);
}

static void push_wordpiece(loam_detok *d, size_t i, const char *s, size_t n) {
    stage *g = &d->stages[i];
    const loam_str *p = &g->dec->pattern;
    loam_buf_clear(&g->work);
    if (g->count++) {
        if (n >= p->n && memcmp(s, p->s, p->n) == 0) {
            s += p->n;
            n -= p->n;
        } else {
            loam_buf_putc(&g->work, ' ');
        }
    }
    loam_buf_append(&g->work, s, n);
    if (g->dec->cleanup) clean_token(&g->work);
    push(d, i + 1, g->work.data ? g->work.data : "", g->work.n);
}

static void push_metaspace(loam_detok *d, size_t i, const char *s, size_t n) {
    stage *g = &d->stages[i];
    const int drop = g->count++ == 0 && g->dec->prepends;
    loam_buf_clear(&g->work);
    replace_string(&g->work, s, n, g->dec->pattern.s, g->dec->pattern.n, " ", drop ? 0 : 1);
    push(d, i + 1, g->work.data ? g->work.data : "", g->work.n);
}

/* The suffix of words becomes a space, but vanishes in the last token: one token waits. */
static void release_bpe(loam_detok *d, size_t i, int last) {
    stage *g = &d->stages[i];
    if (!g->has_held) return;
    g->has_held = 0;
    loam_buf_clear(&g->work);
    replace_string(&g->work, g->held.data ? g->held.data : "", g->held.n, g->dec->pattern.s,
                   g->dec->pattern.n, " ", last ? 0 : 1);
    push(d, i + 1, g->work.data ? g->work.data : "", g->work.n);
}

static void push_ctc(loam_detok *d, size_t i, const char *s, size_t n) {
    stage *g = &d->stages[i];
    const int same = g->count++ && g->held.n == n && (!n || memcmp(g->held.data, s, n) == 0);
    if (same) return;
    loam_buf_clear(&g->held);
    loam_buf_append(&g->held, s, n);
    loam_buf_clear(&g->work);
    replace_string(&g->work, s, n, g->dec->pattern.s, g->dec->pattern.n, "", 0);
    if (g->dec->cleanup) {
        clean_token(&g->work);
        loam_buf words = {0};
        replace_string(&words, g->work.data ? g->work.data : "", g->work.n, g->dec->content.s,
                       g->dec->content.n, " ", 1);
        loam_buf_deinit(&g->work);
        g->work = words;
    }
    if (g->work.n) push(d, i + 1, g->work.data, g->work.n);
}

/* White space at both ends of the whole. */
static void push_trim(loam_detok *d, size_t i, const char *s, size_t n) {
    stage *g = &d->stages[i];
    size_t from = 0;
    while (!g->begun && from < n && (s[from] == ' ' || (s[from] >= 9 && s[from] <= 13))) from++;
    if (from < n) g->begun = 1;
    loam_buf_append(&g->held, s + from, n - from);
    size_t keep = g->held.n;
    while (keep && (g->held.data[keep - 1] == ' ' ||
                    (g->held.data[keep - 1] >= 9 && g->held.data[keep - 1] <= 13)))
        keep--;
    if (!keep) return;
    loam_buf_clear(&g->work);
    loam_buf_append(&g->work, g->held.data, keep);
    memmove(g->held.data, g->held.data + keep, g->held.n - keep);
    g->held.n -= keep;
    push(d, i + 1, g->work.data, g->work.n);
}

static void push(loam_detok *d, size_t i, const char *s, size_t n) {
    if (i == d->n_stages) {
        loam_buf_append(d->out, s, n);
        return;
    }
    stage *g = &d->stages[i];
    switch (g->dec->kind) {
    case LOAM_DEC_BYTE_LEVEL: push_byte_level(d, i, s, n); break;
    case LOAM_DEC_WORDPIECE: push_wordpiece(d, i, s, n); break;
    case LOAM_DEC_METASPACE: push_metaspace(d, i, s, n); break;
    case LOAM_DEC_BPE:
        release_bpe(d, i, 0);
        loam_buf_clear(&g->held);
        loam_buf_append(&g->held, s, n);
        g->has_held = 1;
        break;
    case LOAM_DEC_CTC: push_ctc(d, i, s, n); break;
    case LOAM_DEC_REPLACE: push_replace(d, i, s, n); break;
    case LOAM_DEC_FUSE: push(d, i + 1, s, n); break;
    case LOAM_DEC_STRIP: push_strip(d, i, s, n); break;
    case LOAM_DEC_BYTE_FALLBACK: push_byte_fallback(d, i, s, n); break;
    case LOAM_DEC_JOIN_SPACE:
        if (g->count++) push(d, i + 1, " ", 1);
        push(d, i + 1, s, n);
        break;
    case LOAM_DEC_TRIM: push_trim(d, i, s, n); break;
    }
}

/* The end of the text: every stage in turn gives what it still holds. */
static void finish(loam_detok *d, size_t i) {
    stage *g = &d->stages[i];
    switch (g->dec->kind) {
    case LOAM_DEC_BYTE_LEVEL:
        loam_buf_clear(&g->work);
        loam_utf8_lossy(&g->work, g->held.data ? g->held.data : "", g->held.n, 0);
        g->held.n = 0;
        if (g->work.n) push(d, i + 1, g->work.data, g->work.n);
        break;
    case LOAM_DEC_BPE: release_bpe(d, i, 1); break;
    case LOAM_DEC_REPLACE:
        if (!g->fused || !g->held.n) break;
        loam_buf_clear(&g->work);
        if (g->dec->regex)
            replace_regex(d, g->dec, g->held.data, g->held.n, &g->work);
        else
            loam_buf_append(&g->work, g->held.data, g->held.n);
        g->held.n = 0;
        push(d, i + 1, g->work.data ? g->work.data : "", g->work.n);
        break;
    case LOAM_DEC_BYTE_FALLBACK: end_run(d, i); break;
    default: break; /* what STRIP and TRIM hold at the end is what they strip */
    }
}

static void reset(loam_detok *d) {
    for (size_t i = 0; i < d->n_stages; i++) {
        stage *g = &d->stages[i];
        loam_buf_clear(&g->held);
        g->count = g->cut = 0;
        g->begun = g->has_held = 0;
    }
}

loam_status loam_detok_new(loam_detok **out, const loam_tokenizer *tok, unsigned flags,
                           loam_err *err) {
    loam_detok *d = loam_alloc(1, sizeof *d);
    *out = d;
    if (!d) return loam_fail(err, LOAM_ERR_MEMORY, "detokenizer");
    d->tok = tok;
    d->flags = flags;
    int fused = 0;
    for (size_t i = 0; i < tok->n_dec; i++) {
        d->stages[d->n_stages++] = (stage){.dec = &tok->dec[i], .fused = fused};
        const loam_dec_kind k = tok->dec[i].kind;
        if (k == LOAM_DEC_FUSE || k == LOAM_DEC_BYTE_LEVEL || k == LOAM_DEC_JOIN_SPACE) fused = 1;
    }
    if ((flags & LOAM_DECODE_CLEAN_UP) && tok->clean_up)
        for (const loam_dec *s = CLEAN_UP_STAGES; s->pattern.n; s++)
            d->stages[d->n_stages++] = (stage){.dec = s, .fused = 1};
    return LOAM_OK;
}

void loam_detok_free(loam_detok *d) {
    if (!d) return;
    for (size_t i = 0; i < d->n_stages; i++) {
        loam_buf_deinit(&d->stages[i].held);
        loam_buf_deinit(&d->stages[i].work);
    }
    free(d);
}

static loam_status check(loam_detok *d, loam_err *err) {
    int failed = d->failed || d->out->failed;
    for (size_t i = 0; i < d->n_stages; i++)
        failed |= d->stages[i].held.failed || d->stages[i].work.failed;
    if (failed) return loam_fail(err, LOAM_ERR_MEMORY, "%s: decoding", d->tok->name);
    if (d->over_limit)
        return loam_fail(err, LOAM_ERR_LIMIT, "%s: decoding: a pattern takes too long",
                         d->tok->name);
    return LOAM_OK;
}

static loam_status push_id(loam_detok *d, int32_t id, loam_err *err) {
    size_t n = 0;
    const char *s = loam_vocab_text(&d->tok->vocab, id, &n);
    if (!s)
        return loam_fail(err, LOAM_ERR_ARGUMENT, "%s: id %d is not in the vocabulary", d->tok->name,
                         id);
    if ((d->flags & LOAM_DECODE_SKIP_SPECIAL) && (d->tok->vocab.flags[id] & LOAM_TOK_SPECIAL))
        return LOAM_OK;
    if (d->tok->vocab.flags[id] & LOAM_TOK_NORMED) { /* rare: decoders undo what normalizers did */
        for (size_t i = 0; i < d->tok->n_added; i++) {
            const loam_added *a = &d->tok->added[i];
            if (a->id != id) continue;
            s = d->tok->added_pool.data + a->norm_at;
            n = a->norm_n;
        }
    }
    push(d, 0, s, n);
    return LOAM_OK;
}

loam_status loam_detok_push(loam_detok *d, int32_t id, loam_buf *out, loam_err *err) {
    d->out = out;
    const loam_status st = push_id(d, id, err);
    return st ? st : check(d, err);
}

void loam_detok_flush(loam_detok *d, loam_buf *out) {
    d->out = out;
    for (size_t i = 0; i < d->n_stages; i++) finish(d, i);
    reset(d);
}

loam_status loam_tokenizer_decode(const loam_tokenizer *tok, const int32_t *ids, size_t n,
                                  unsigned flags, loam_buf *out, loam_err *err) {
    loam_detok *d = NULL;
    loam_status st = loam_detok_new(&d, tok, flags, err);
    if (st) return st;
    d->out = out;
    for (size_t i = 0; i < n && !st; i++) st = push_id(d, ids[i], err);
    if (!st) {
        loam_detok_flush(d, out);
        st = check(d, err);
    }
    loam_detok_free(d);
    return st;
}
