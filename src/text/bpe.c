/* bpe.c - byte-pair merging.
 *
 * The rule: again and again join the pair of neighbours with the lowest rank, the leftmost
 * of equals.  Short words (nearly all) do that by scanning a small array; long ones, such as
 * whole prompts of SentencePiece models that have no pre-tokenizer, with a heap of candidate
 * pairs over a linked list, O(n log n).
 *
 * Such prompts are mostly cut before that: when no merge joins "...x" with "\u2581y...", no
 * token can reach across that border, merges on its two sides do not see each other, and
 * each side is a word of its own (LOAM_PRE_SAFE_SPLIT).  Which x can is asked by its last byte. */
#include "text/tok.h"
#include "text/utf8.h"
#include "text/work.h"
#include <stdio.h>

enum { SMALL = 40 }; /* symbols; beyond it the heap is faster */
#define NONE UINT32_MAX

static size_t slot_of(const loam_bpe *b, uint64_t pair) {
    uint64_t h = pair * 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
    return (size_t)(h * 0xd6e8feb86659fd93u >> 32) & b->mask;
}

static const loam_merge *find_merge(const loam_bpe *b, int32_t left, int32_t right) {
    const uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t k = slot_of(b, pair);
    LOAM_WORK(1);
    while (b->table[k].pair != pair) {
        if (b->table[k].pair == UINT64_MAX) return NULL;
        k = (k + 1) & b->mask;
        LOAM_WORK(1);
    }
    return &b->table[k];
}

static int set_table(loam_bpe *b, size_t slots) {
    b->table = malloc(slots * sizeof *b->table);
    if (!b->table) return 0;
    memset(b->table, 0xff, slots * sizeof *b->table);
    b->mask = slots - 1;
    return 1;
}

loam_status loam_bpe_start(loam_tokenizer *t, size_t n_merges, loam_err *err) {
    size_t slots = 64;
    while (slots < n_merges + n_merges / 2 && slots < (size_t)1 << 26) slots *= 2;
    free(t->bpe.table);
    t->bpe.n = 0;
    t->bpe.last = -1;
    if (!set_table(&t->bpe, slots)) return loam_fail(err, LOAM_ERR_MEMORY, "%s: merges", t->name);
    return LOAM_OK;
}

static int grow_merges(loam_bpe *b) {
    loam_merge *old = b->table;
    const size_t n_old = b->mask + 1;
    if (!set_table(b, n_old * 2)) {
        b->table = old;
        return 0;
    }
    for (size_t i = 0; i < n_old; i++) {
        if (old[i].pair == UINT64_MAX) continue;
        size_t k = slot_of(b, old[i].pair);
        while (b->table[k].pair != UINT64_MAX) k = (k + 1) & b->mask;
        b->table[k] = old[i];
    }
    free(old);
    return 1;
}

static int32_t find_joined(loam_tokenizer *t, const char *a, size_t n_a, const char *b,
                           size_t n_b) {
    /* merges mostly stand in the order of the ids they make: look at the next id first */
    size_t n = 0;
    const char *text = loam_vocab_text(&t->vocab, t->bpe.last + 1, &n);
    if (text && n == n_a + n_b && memcmp(text, a, n_a) == 0 && memcmp(text + n_a, b, n_b) == 0)
        return t->bpe.last + 1;
    char small[128], *joined = n_a + n_b <= sizeof small ? small : malloc(n_a + n_b);
    if (!joined) return -1;
    memcpy(joined, a, n_a);
    memcpy(joined + n_a, b, n_b);
    const int32_t id = loam_vocab_model(&t->vocab, joined, n_a + n_b);
    if (joined != small) free(joined);
    return id;
}

/* The ids of a merge: *pair and what it makes. */
static loam_status resolve_merge(loam_tokenizer *t, const loam_merge_text *x, size_t number,
                                 uint64_t *pair, int32_t *made, loam_err *err) {
    loam_bpe *m = &t->bpe;
    const int32_t left = loam_vocab_model(&t->vocab, x->a, x->n_a);
    const int32_t right = loam_vocab_model(&t->vocab, x->b, x->n_b);
    const int shown_a = (int)(x->n_a < 60 ? x->n_a : 60),
              shown_b = (int)(x->n_b < 60 ? x->n_b : 60);
    if (left < 0 || right < 0)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: merge %zu names a token that is not in the vocabulary: '%.*s'",
                         t->name, number, left < 0 ? shown_a : shown_b, left < 0 ? x->a : x->b);
    const char *tail = x->b;
    size_t n_tail = x->n_b;
    if (m->prefix.n) { /* the right side's continuation mark vanishes inside a word */
        if (n_tail < m->prefix.n)
            return loam_fail(err, LOAM_ERR_FORMAT,
                             "%s: merge %zu: '%.*s' is shorter than the prefix of continued words",
                             t->name, number, shown_b, x->b);
        tail += m->prefix.n;
        n_tail -= m->prefix.n;
    }
    *made = find_joined(t, x->a, x->n_a, tail, n_tail);
    if (*made < 0)
        return loam_fail(
            err, LOAM_ERR_FORMAT,
            "%s: merge %zu makes a token that is not in the vocabulary: '%.*s' + '%.*s'", t->name,
            number, shown_a, x->a, shown_b, x->b);
    m->last = *made;
    *pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    if (x->n_a && x->n_b >= 3 && memcmp(x->b, "\xe2\x96\x81", 3) == 0) {
        const unsigned char c = (unsigned char)x->a[x->n_a - 1];
        m->cross_after[c / 32] |= 1u << c % 32;
        if (c == '>' && x->n_a > 1) /* may be a <0xNN>, which stands for any last byte */
            memset(m->cross_after, 0xff, sizeof m->cross_after);
    }
    return LOAM_OK;
}

static loam_status insert_merge(loam_tokenizer *t, uint64_t pair, int32_t made, uint32_t rank,
                                loam_err *err) {
    loam_bpe *m = &t->bpe;
    if (m->n >= UINT32_MAX - 1 || (m->n * 10 > m->mask * 7 && !grow_merges(m)))
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: merges", t->name);
    size_t k = slot_of(m, pair);
    while (m->table[k].pair != UINT64_MAX && m->table[k].pair != pair) k = (k + 1) & m->mask;
    m->table[k] = (loam_merge){pair, rank, made};
    m->n++;
    return LOAM_OK;
}

loam_status loam_bpe_merge(loam_tokenizer *t, const char *a, size_t n_a, const char *b, size_t n_b,
                           uint32_t rank, loam_err *err) {
    uint64_t pair = 0;
    int32_t made = -1;
    if (n_a >= NONE || n_b >= NONE)
        return loam_fail(err, LOAM_ERR_LIMIT, "%s: merge %zu is too long", t->name, t->bpe.n);
    const loam_merge_text x = {a, b, (uint32_t)n_a, (uint32_t)n_b};
    const loam_status st = resolve_merge(t, &x, t->bpe.n, &pair, &made, err);
    return st ? st : insert_merge(t, pair, made, rank == NONE ? (uint32_t)t->bpe.n : rank, err);
}

loam_status loam_bpe_merges(loam_tokenizer *t, const loam_merge_text *x, size_t n, loam_err *err) {
    uint64_t pair[LOAM_TOK_BATCH] = {0};
    int32_t made[LOAM_TOK_BATCH] = {0};
    for (int step = 0; step < 3; step++) {
        for (size_t i = 0; i < n; i++) {
            loam_vocab_prefetch(&t->vocab, loam_tok_hash(x[i].a, x[i].n_a, t->vocab.seed), step);
            loam_vocab_prefetch(&t->vocab, loam_tok_hash(x[i].b, x[i].n_b, t->vocab.seed), step);
        }
    }
    for (size_t i = 0; i < n; i++) {
        const loam_status st = resolve_merge(t, &x[i], t->bpe.n + i, &pair[i], &made[i], err);
        if (st) return st;
        __builtin_prefetch(&t->bpe.table[slot_of(&t->bpe, pair[i])], 1);
    }
    for (size_t i = 0; i < n; i++) {
        const loam_status st = insert_merge(t, pair[i], made[i], (uint32_t)t->bpe.n, err);
        if (st) return st;
    }
    return LOAM_OK;
}

/* Vocabulary id of one character inside a word, with the marks that its place asks for. */
static int32_t char_id(const loam_tokenizer *t, const char *c, size_t n, int first, int last) {
    const loam_bpe *b = &t->bpe;
    if ((first || !b->prefix.n) && (!last || !b->suffix.n))
        return loam_vocab_model(&t->vocab, c, n);
    loam_buf s = {0};
    if (!first) loam_buf_append(&s, b->prefix.s, b->prefix.n);
    loam_buf_append(&s, c, n);
    if (last) loam_buf_append(&s, b->suffix.s, b->suffix.n);
    const int32_t id = s.failed || !s.data ? -1 : loam_vocab_model(&t->vocab, s.data, s.n);
    loam_buf_deinit(&s);
    return id;
}

loam_status loam_bpe_finish(loam_tokenizer *t, loam_err *err) {
    loam_bpe *b = &t->bpe;
    if (!b->table && loam_bpe_start(t, 0, err)) return err ? err->status : LOAM_ERR_MEMORY;
    for (unsigned i = 0; i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", i);
        b->fallback[i] = loam_vocab_model(&t->vocab, name, 6);
    }
    int all_bytes = b->byte_fallback;
    for (unsigned i = 0; i < 256; i++) all_bytes &= b->fallback[i] >= 0;
    if (b->unk >= 0 && !all_bytes) { /* the unknown token too stands for any last byte */
        size_t n = 0;
        const char *unk = loam_vocab_text(&t->vocab, b->unk, &n);
        const unsigned char c = unk && n ? (unsigned char)unk[n - 1] : 0;
        if (b->cross_after[c / 32] >> c % 32 & 1)
            memset(b->cross_after, 0xff, sizeof b->cross_after);
    }
    b->raw = 1;
    for (unsigned place = 0; place < 4; place++) {
        for (unsigned i = 0; i < 256; i++) {
            char c[4];
            const size_t n = loam_utf8_put(c, loam_byte_char((unsigned char)i));
            b->byte_id[place][i] = char_id(t, c, n, !(place & 2), place & 1);
            if (b->byte_id[place][i] < 0) b->raw = 0;
        }
    }
    for (unsigned i = 0; i < 128; i++) {
        const char c = (char)i;
        b->ascii_id[i] = loam_vocab_model(&t->vocab, &c, 1);
    }
    return LOAM_OK;
}

/* ---- merging ---- */

static loam_status merge_small(loam_encoding *e, int32_t *ids, size_t n) {
    const loam_bpe *b = &e->tok->bpe;
    uint32_t rank[SMALL] = {0};
    int32_t made[SMALL] = {0};
    for (size_t i = 0; i + 1 < n; i++) {
        const loam_merge *m = find_merge(b, ids[i], ids[i + 1]);
        rank[i] = m ? m->rank : NONE;
        made[i] = m ? m->id : -1;
    }
    while (n > 1) {
        size_t best = 0;
        LOAM_WORK(n);
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == NONE) break;
        ids[best] = made[best];
        for (size_t i = best + 1; i + 1 < n; i++) {
            ids[i] = ids[i + 1];
            rank[i] = rank[i + 1];
            made[i] = made[i + 1];
        }
        n--;
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const loam_merge *m = find_merge(b, ids[i], ids[i + 1]);
            rank[i] = m ? m->rank : NONE;
            made[i] = m ? m->id : -1;
        }
    }
    for (size_t i = 0; i < n; i++) {
        const loam_status st = loam_encoding_push(e, ids[i]);
        if (st) return st;
    }
    return LOAM_OK;
}

static void sift_down(loam_candidate *h, size_t n, size_t i) {
    const loam_candidate x = h[i];
    for (;;) {
        size_t k = 2 * i + 1;
        LOAM_WORK(1);
        if (k >= n) break;
        if (k + 1 < n && h[k + 1].key < h[k].key) k++;
        if (h[k].key >= x.key) break;
        h[i] = h[k];
        i = k;
    }
    h[i] = x;
}

static int push_candidate(loam_encoding *e, size_t *n_heap, uint32_t at, int heapify) {
    const loam_symbol *s = e->symbols;
    if (at == NONE || s[at].next == NONE) return 1;
    const loam_merge *m = find_merge(&e->tok->bpe, s[at].id, s[s[at].next].id);
    if (!m) return 1;
    if (*n_heap == e->cap_heap &&
        !loam_grow((void **)&e->heap, &e->cap_heap, *n_heap + 1, sizeof *e->heap))
        return 0;
    size_t i = (*n_heap)++;
    const loam_candidate c = {(uint64_t)m->rank << 32 | at, m->id};
    if (heapify)
        while (i && e->heap[(i - 1) / 2].key > c.key) {
            LOAM_WORK(1);
            e->heap[i] = e->heap[(i - 1) / 2];
            i = (i - 1) / 2;
        }
    e->heap[i] = c;
    return 1;
}

static loam_status merge_large(loam_encoding *e, size_t n) {
    loam_symbol *s = e->symbols;
    size_t n_heap = 0;
    for (size_t i = 0; i < n; i++) {
        s[i].prev = i ? (uint32_t)i - 1 : NONE;
        s[i].next = i + 1 < n ? (uint32_t)i + 1 : NONE;
    }
    for (size_t i = 0; i < n; i++)
        if (!push_candidate(e, &n_heap, (uint32_t)i, 0)) goto memory;
    for (size_t i = n_heap / 2; i-- > 0;) sift_down(e->heap, n_heap, i);
    while (n_heap) {
        const loam_candidate top = e->heap[0];
        e->heap[0] = e->heap[--n_heap];
        if (n_heap) sift_down(e->heap, n_heap, 0);
        const uint32_t at = (uint32_t)top.key, right = s[at].next;
        if (s[at].id < 0 || right == NONE) continue; /* swallowed meanwhile */
        const loam_merge *m = find_merge(&e->tok->bpe, s[at].id, s[right].id);
        if (!m || m->id != top.id) continue; /* its neighbour changed */
        s[at].id = top.id;
        s[at].next = s[right].next;
        s[right].id = -1;
        if (s[at].next != NONE) s[s[at].next].prev = at;
        if (!push_candidate(e, &n_heap, s[at].prev, 1) || !push_candidate(e, &n_heap, at, 1))
            goto memory;
    }
    for (uint32_t i = 0; i != NONE; i = s[i].next) {
        const loam_status st = loam_encoding_push(e, s[i].id);
        if (st) return st;
    }
    return LOAM_OK;
memory:
    return loam_fail(e->err, LOAM_ERR_MEMORY, "tokenizer: merging a word of %zu symbols", n);
}

/* ---- words ---- */

static int push_symbol(loam_encoding *e, size_t *n, int32_t id) {
    if (*n == e->cap_symbols &&
        !loam_grow((void **)&e->symbols, &e->cap_symbols, *n + 1, sizeof *e->symbols))
        return 0;
    e->symbols[(*n)++].id = id;
    return 1;
}

/* The bytes of an unknown character as <0xNN> tokens: 1 when all exist. */
static int push_fallback(loam_encoding *e, size_t *n, const char *c, size_t n_c, int first,
                         int last, int *ok) {
    const loam_bpe *b = &e->tok->bpe;
    const loam_str none = {0};
    const loam_str part[3] = {first ? none : b->prefix, none, last ? b->suffix : none};
    for (int pass = 0; pass < 2; pass++) {
        for (int p = 0; p < 3; p++) {
            const char *s = p == 1 ? c : part[p].s;
            const size_t n_s = p == 1 ? n_c : part[p].n;
            for (size_t i = 0; i < n_s; i++) {
                const int32_t id = b->fallback[(unsigned char)s[i]];
                if (id < 0) return 0;
                if (pass && !push_symbol(e, n, id)) *ok = 0;
            }
        }
    }
    return 1;
}

/* Characters of a word -> symbols.  Pending unknowns are added where the reference adds
 * them: before the next known character, even when byte tokens came in between. */
static loam_status split_chars(loam_encoding *e, const char *s, size_t n, size_t *n_out) {
    const loam_bpe *b = &e->tok->bpe;
    const int plain = !b->prefix.n && !b->suffix.n;
    size_t count = 0;
    int pending = 0, ok = 1;
    for (size_t i = 0; i < n && ok;) {
        const size_t from = i, len = loam_utf8_len(s, i);
        i += len;
        const int32_t id = plain && len == 1 ? b->ascii_id[(unsigned char)s[from]]
                                             : char_id(e->tok, s + from, len, from == 0, i == n);
        if (id >= 0) {
            if (pending) ok = push_symbol(e, &count, b->unk);
            pending = 0;
            ok = ok && push_symbol(e, &count, id);
            continue;
        }
        if (b->byte_fallback && push_fallback(e, &count, s + from, len, from == 0, i == n, &ok))
            continue;
        if (!b->has_unk) continue; /* the reference drops such characters */
        if (b->unk < 0)
            return loam_fail(e->err, LOAM_ERR_FORMAT,
                             "%s: the unknown token is not in the vocabulary", e->tok->name);
        if (pending && !b->fuse_unk) ok = push_symbol(e, &count, b->unk);
        pending = 1;
    }
    if (pending && ok) ok = push_symbol(e, &count, b->unk);
    if (!ok) return loam_fail(e->err, LOAM_ERR_MEMORY, "tokenizer: a word of %zu bytes", n);
    *n_out = count;
    return LOAM_OK;
}

loam_status loam_bpe_word(loam_encoding *e, const char *s, size_t n, int raw) {
    const loam_bpe *b = &e->tok->bpe;
    int32_t ids[SMALL];
    if (n > LOAM_TOK_MAX_WORD)
        return loam_fail(e->err, LOAM_ERR_LIMIT, "tokenizer: a word of %zu bytes: at most %d", n,
                         LOAM_TOK_MAX_WORD);
    if (b->ignore_merges) {
        const char *word = s;
        size_t n_word = n;
        if (raw) {
            loam_buf_clear(&e->word);
            loam_byte_map(&e->word, s, n);
            if (e->word.failed)
                return loam_fail(e->err, LOAM_ERR_MEMORY, "tokenizer: a word of %zu bytes", n);
            word = e->word.data;
            n_word = e->word.n;
        }
        const int32_t id = loam_vocab_model(&e->tok->vocab, word, n_word);
        if (id >= 0) return loam_encoding_push(e, id);
    }
    if (raw && n <= SMALL) {
        for (size_t i = 0; i < n; i++)
            ids[i] = b->byte_id[(i ? 2 : 0) + (i + 1 == n ? 1 : 0)][(unsigned char)s[i]];
        return merge_small(e, ids, n);
    }
    size_t count = 0;
    if (raw) {
        if (!loam_grow((void **)&e->symbols, &e->cap_symbols, n, sizeof *e->symbols))
            return loam_fail(e->err, LOAM_ERR_MEMORY, "tokenizer: a word of %zu bytes", n);
        for (size_t i = 0; i < n; i++)
            e->symbols[i].id = b->byte_id[(i ? 2 : 0) + (i + 1 == n ? 1 : 0)][(unsigned char)s[i]];
        count = n;
    } else {
        const loam_status st = split_chars(e, s, n, &count);
        if (st) return st;
    }
    if (count == 0) return LOAM_OK;
    if (count > SMALL) return merge_large(e, count);
    for (size_t i = 0; i < count; i++) ids[i] = e->symbols[i].id;
    return merge_small(e, ids, count);
}
