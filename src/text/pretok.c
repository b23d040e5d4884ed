/* pretok.c - pre-tokenizers: text -> pieces -> words, depth first.
 *
 * Each step cuts a piece and hands every part to the next step; the last one hands to
 * the model.  That gives the same pieces in the same order as step after step over the
 * whole list, without ever making the list. */
#include "text/tok.h"
#include "text/unicode.h"
#include "text/utf8.h"

/* A cutter turns intervals (match or not) into parts, as SplitDelimiterBehavior says. */
typedef struct cutter {
    loam_encoding *e;
    size_t next_step;
    const char *s;
    loam_behavior behavior;
    int invert, first;
    int pending, pending_match; /* an interval held back */
    size_t from, to;
} cutter;

static loam_status emit(cutter *c, size_t from, size_t to) {
    if (from == to) return LOAM_OK;
    return loam_pre_apply(c->e, c->next_step, c->s + from, to - from, c->first && from == 0);
}

static loam_status flush(cutter *c) {
    if (!c->pending) return LOAM_OK;
    c->pending = 0;
    return emit(c, c->from, c->to);
}

static loam_status hold(cutter *c, size_t from, size_t to, int match) {
    c->pending = 1;
    c->pending_match = match;
    c->from = from;
    c->to = to;
    return LOAM_OK;
}

static loam_status add_interval(cutter *c, size_t from, size_t to, int match) {
    loam_status st;
    if (c->invert) match = !match;
    switch (c->behavior) {
    case LOAM_ISOLATED: return emit(c, from, to);
    case LOAM_REMOVED: return match ? LOAM_OK : emit(c, from, to);
    case LOAM_CONTIGUOUS:
        if (c->pending && c->pending_match == match) {
            c->to = to;
            return LOAM_OK;
        }
        st = flush(c);
        return st ? st : hold(c, from, to, match);
    case LOAM_MERGED_PREVIOUS:
        if (c->pending && match && !c->pending_match) {
            c->to = to;
            c->pending_match = 1;
            return LOAM_OK;
        }
        st = flush(c);
        return st ? st : hold(c, from, to, match);
    case LOAM_MERGED_NEXT:
        if (c->pending && c->pending_match && !match) {
            c->to = to;
            c->pending_match = 0;
            return LOAM_OK;
        }
        st = flush(c);
        return st ? st : hold(c, from, to, match);
    }
    return LOAM_OK;
}

static loam_status split_regex(cutter *c, const loam_regex *re, size_t n) {
    const loam_matcher match = loam_regex_matcher(re);
    loam_status st = LOAM_OK;
    if (match) {
        for (size_t i = 0; i < n && !st;) {
            const size_t end = match(c->s, n, i);
            st = add_interval(c, i, end, 1);
            i = end;
        }
        return st;
    }
    loam_regex_scan scan;
    size_t prev = 0, start = 0, end = 0;
    int found = 0;
    st = loam_regex_scan_init(&scan, re, c->s, n, c->e->err);
    while (!st) {
        st = loam_regex_next(&scan, &found, &start, &end, c->e->err);
        if (st || !found) break;
        if (prev != start) st = add_interval(c, prev, start, 0);
        if (!st) st = add_interval(c, start, end, 1);
        prev = end;
    }
    loam_regex_scan_deinit(&scan);
    if (!st && prev != n) st = add_interval(c, prev, n, 0);
    return st;
}

static loam_status split_string(cutter *c, const loam_str *p, size_t n) {
    size_t prev = 0;
    loam_status st = LOAM_OK;
    const char *hit;
    while (!st && p->n && prev < n && (hit = memmem(c->s + prev, n - prev, p->s, p->n)) != NULL) {
        const size_t at = (size_t)(hit - c->s);
        if (at > prev) st = add_interval(c, prev, at, 0);
        if (!st) st = add_interval(c, at, at + p->n, 1);
        prev = at + p->n;
    }
    if (!st && prev != n) st = add_interval(c, prev, n, 0);
    return st;
}

static loam_status split_chars(cutter *c, size_t n, int (*is)(uint32_t)) {
    size_t prev = 0;
    loam_status st = LOAM_OK;
    for (size_t i = 0; i < n && !st;) {
        const size_t from = i;
        if (!is(loam_utf8_next(c->s, &i))) continue;
        if (prev < from) st = add_interval(c, prev, from, 0);
        if (!st) st = add_interval(c, from, i, 1);
        prev = i;
    }
    if (!st && prev != n) st = add_interval(c, prev, n, 0);
    return st;
}

/* \w+|[^\w\s]+, everything else removed */
static loam_status split_words(cutter *c, size_t n) {
    loam_status st = LOAM_OK;
    int kind = -1; /* 0 space, 1 word, 2 other */
    size_t from = 0;
    for (size_t i = 0; i <= n && !st;) {
        size_t next = i;
        int k = -1;
        if (i < n) {
            const uint32_t x = loam_utf8_next(c->s, &next);
            k = loam_uc_is_word(x) ? 1 : loam_uc_is_space(x) ? 0 : 2;
        }
        if (k != kind) {
            if (kind > 0) st = emit(c, from, i);
            kind = k;
            from = i;
        }
        i = i < n ? next : n + 1;
    }
    return st;
}

/* White space removed, each punctuation character alone. */
static loam_status split_bert(cutter *c, size_t n) {
    loam_status st = LOAM_OK;
    size_t from = 0;
    for (size_t i = 0; i < n && !st;) {
        const size_t at = i;
        const unsigned char b = (unsigned char)c->s[i];
        if (b < 0x80 && (loam_uc_ascii[b] & (LOAM_UC_LETTER | LOAM_UC_NUMBER))) {
            i++;
            continue;
        }
        const uint32_t x = loam_utf8_next(c->s, &i);
        const int space = loam_uc_is_space(x);
        if (!space && !loam_uc_is_punct(x)) continue;
        st = emit(c, from, at);
        if (!st && !space) st = emit(c, at, i);
        from = i;
    }
    return st ? st : emit(c, from, n);
}

static loam_status split_fixed(cutter *c, size_t n, size_t length) {
    loam_status st = LOAM_OK;
    for (size_t i = 0; i < n && !st;) {
        const size_t from = i;
        for (size_t k = 0; k < length && i < n; k++) i += loam_utf8_len(c->s, i);
        st = emit(c, from, i);
    }
    return st;
}

/* Before each U+2581 that no merge joins to the character before it. */
static loam_status split_safe(cutter *c, size_t n) {
    size_t from = 0;
    const uint32_t *cross = c->e->tok->bpe.cross_after;
    loam_status st = LOAM_OK;
    for (size_t i = 0; i < n && !st;) {
        const int mark = n - i >= 3 && (unsigned char)c->s[i] == 0xe2 &&
                         (unsigned char)c->s[i + 1] == 0x96 && (unsigned char)c->s[i + 2] == 0x81;
        const unsigned char before = i ? (unsigned char)c->s[i - 1] : 0;
        if (mark && i && !(cross[before / 32] >> before % 32 & 1)) {
            st = emit(c, from, i);
            from = i;
        }
        i += mark ? 3 : loam_utf8_len(c->s, i);
    }
    return st ? st : emit(c, from, n);
}

static loam_status no_memory(loam_encoding *e, size_t n) {
    return loam_fail(e->err, LOAM_ERR_MEMORY, "tokenizer: a text of %zu bytes", n);
}

static loam_status apply_metaspace(cutter *c, const loam_pre *p, loam_buf *buf, size_t n) {
    loam_buf_clear(buf);
    const size_t m = p->text.n;
    const int starts = n >= m && memcmp(c->s, p->text.s, m) == 0;
    const int wanted = p->scheme == 2 || (p->scheme == 1 && c->first);
    if (wanted && !starts && c->s[0] != ' ') loam_buf_append(buf, p->text.s, m);
    size_t from = 0;
    for (const char *hit; from < n && (hit = memchr(c->s + from, ' ', n - from)) != NULL;) {
        loam_buf_append(buf, c->s + from, (size_t)(hit - c->s) - from);
        loam_buf_append(buf, p->text.s, m);
        from = (size_t)(hit - c->s) + 1;
    }
    loam_buf_append(buf, c->s + from, n - from);
    if (buf->failed) return no_memory(c->e, n);
    c->s = buf->data;
    if (!p->split) return emit(c, 0, buf->n);
    c->behavior = LOAM_MERGED_NEXT;
    return split_string(c, &p->text, buf->n);
}

/* ByteLevel cuts by GPT-2's pattern; its mapping of bytes is left to the model's tables when
 * it is the last step, and done here otherwise. */
static loam_status apply_byte_level(cutter *c, const loam_pre *p, loam_buf *buf, size_t n,
                                    int last) {
    loam_encoding *e = c->e;
    const int raw = last && e->tok->raw_bytes;
    loam_status st = LOAM_OK;
    if (p->prefix_space && c->s[0] != ' ') {
        loam_buf_clear(buf);
        loam_buf_putc(buf, ' ');
        loam_buf_append(buf, c->s, n);
        if (buf->failed) return no_memory(e, n);
        c->s = buf->data;
        n = buf->n;
    }
    for (size_t i = 0; i < n && !st;) {
        const size_t end = p->use_regex ? loam_match_gpt2(c->s, n, i) : n;
        if (raw) {
            st = loam_model_word(e, c->s + i, end - i, 1);
        } else {
            loam_buf mapped = {0};
            loam_byte_map(&mapped, c->s + i, end - i);
            st = mapped.failed
                     ? no_memory(e, n)
                     : loam_pre_apply(e, c->next_step, mapped.data, mapped.n, c->first && i == 0);
            loam_buf_deinit(&mapped);
        }
        i = end;
    }
    return st;
}

static loam_status split_delimiter(cutter *c, uint32_t delimiter, size_t n) {
    char text[4];
    const loam_str p = {text, loam_utf8_put(text, delimiter)};
    c->behavior = LOAM_REMOVED;
    return split_string(c, &p, n);
}

loam_status loam_pre_apply(loam_encoding *e, size_t i_step, const char *s, size_t n, int first) {
    const loam_tokenizer *t = e->tok;
    if (n == 0) return LOAM_OK;
    if (i_step == t->n_pre) return loam_model_word(e, s, n, 0);
    const loam_pre *p = &t->pre[i_step];
    loam_buf *buf = &e->step[i_step];
    cutter c = {.e = e,
                .next_step = i_step + 1,
                .s = s,
                .behavior = p->behavior,
                .invert = p->invert,
                .first = first};
    loam_status st = LOAM_OK;
    switch (p->kind) {
    case LOAM_PRE_SPLIT:
        st = p->regex ? split_regex(&c, p->regex, n) : split_string(&c, &p->text, n);
        break;
    case LOAM_PRE_BYTE_LEVEL: return apply_byte_level(&c, p, buf, n, i_step + 1 == t->n_pre);
    case LOAM_PRE_METASPACE: st = apply_metaspace(&c, p, buf, n); break;
    case LOAM_PRE_BERT: return split_bert(&c, n);
    case LOAM_PRE_WHITESPACE: return split_words(&c, n);
    case LOAM_PRE_SPACE_SPLIT: st = split_chars(&c, n, loam_uc_is_space); break;
    case LOAM_PRE_PUNCTUATION: st = split_chars(&c, n, loam_uc_is_punct); break;
    case LOAM_PRE_DIGITS: st = split_chars(&c, n, loam_uc_is_numeric); break;
    case LOAM_PRE_DELIMITER: st = split_delimiter(&c, p->delimiter, n); break;
    case LOAM_PRE_FIXED: return split_fixed(&c, n, p->length);
    case LOAM_PRE_SAFE_SPLIT: return split_safe(&c, n);
    }
    return st ? st : flush(&c);
}
