/* words.c - the models other than BPE, and the cache of words in front of all of them.
 *
 * English text repeats its words: the cache answers four words in five without touching
 * the model.  It belongs to one call, so tokenizers need no lock; an entry holds words of up
 * to 15 bytes with up to 3 ids, which is half a cache line. */
#include "text/tok.h"
#include "text/utf8.h"
#include "text/work.h"
#include <math.h>
#include <stdio.h>

struct loam_word_entry {
    uint64_t key[2]; /* bytes, zero-padded; the last byte is the length */
    int32_t ids[3];
    uint32_t n; /* 0: free */
};
_Static_assert(sizeof(loam_word_entry) == 32, "half a cache line");

loam_status loam_wordpiece_word(loam_encoding *e, const char *s, size_t n) {
    const loam_tokenizer *t = e->tok;
    const size_t first_out = e->out->n;
    const loam_str prefix = t->wordpiece_prefix;
    size_t n_chars = 0;
    for (size_t i = 0; i < n; i += loam_utf8_len(s, i)) n_chars++;
    size_t start = 0;
    while (n_chars <= t->max_word_chars && start < n) {
        /* no further than the longest token: a file may allow words of any length */
        size_t end = n - start > t->vocab.longest ? start + t->vocab.longest : n;
        int32_t id = -1;
        while (end < n && end > start && ((unsigned char)s[end] & 0xc0) == 0x80) end--;
        loam_buf_clear(&e->word);
        if (start) loam_buf_append(&e->word, prefix.s, prefix.n);
        loam_buf_append(&e->word, s + start, end - start);
        if (e->word.failed)
            return loam_fail(e->err, LOAM_ERR_MEMORY, "tokenizer: a word of %zu bytes", n);
        const size_t head = e->word.n - (end - start);
        while (end > start) {
            id = loam_vocab_model(&t->vocab, e->word.data, head + (end - start));
            LOAM_WORK(end - start);
            if (id >= 0) break;
            end = loam_utf8_prev(s, end);
        }
        if (id < 0) break;
        const loam_status st = loam_encoding_push(e, id);
        if (st) return st;
        start = end;
    }
    if (start == n && n_chars <= t->max_word_chars) return LOAM_OK;
    e->out->n = first_out;
    if (t->unk_id < 0)
        return loam_fail(e->err, LOAM_ERR_FORMAT, "%s: the unknown token is not in the vocabulary",
                         t->name);
    return loam_encoding_push(e, t->unk_id);
}

static loam_status wordlevel_word(loam_encoding *e, const char *s, size_t n) {
    int32_t id = loam_vocab_model(&e->tok->vocab, s, n);
    if (id < 0) id = e->tok->unk_id;
    if (id < 0)
        return loam_fail(e->err, LOAM_ERR_FORMAT, "%s: the unknown token is not in the vocabulary",
                         e->tok->name);
    return loam_encoding_push(e, id);
}

/* ---- unigram ---- */

loam_status loam_unigram_finish(loam_tokenizer *t, loam_err *err) {
    loam_unigram *u = &t->unigram;
    if (u->unk >= 0 && (size_t)u->unk >= u->n_pieces)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: unk_id %d is not in the vocabulary of %zu",
                         t->name, u->unk, u->n_pieces);
    if (!loam_trie_init(&u->trie))
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: vocabulary", t->name);
    u->min_score = (double)HUGE_VAL;
    for (size_t i = 0; i < u->n_pieces; i++) {
        size_t n = 0;
        const char *s = loam_vocab_text(&t->vocab, (int32_t)i, &n);
        if (u->score[i] < u->min_score) u->min_score = u->score[i];
        /* of equal texts the last one counts */
        if (s && n && !loam_trie_put(&u->trie, s, n, loam_vocab_get(&t->vocab, s, n)))
            return loam_fail(err, LOAM_ERR_MEMORY, "%s: vocabulary", t->name);
    }
    return LOAM_OK;
}

static void reach(loam_best *b, double score, size_t from, int32_t id) {
    if (b->from == UINT32_MAX || score > b->score) *b = (loam_best){score, (uint32_t)from, id};
}

/* Best path to every byte position (Viterbi). */
static loam_status find_best(loam_encoding *e, const char *s, size_t n) {
    const loam_unigram *u = &e->tok->unigram;
    if (n > LOAM_TOK_MAX_WORD)
        return loam_fail(e->err, LOAM_ERR_LIMIT, "tokenizer: a word of %zu bytes: at most %d", n,
                         LOAM_TOK_MAX_WORD);
    if (!loam_grow((void **)&e->best, &e->cap_best, n + 1, sizeof *e->best))
        return loam_fail(e->err, LOAM_ERR_MEMORY, "tokenizer: a word of %zu bytes", n);
    for (size_t i = 0; i <= n; i++) e->best[i] = (loam_best){0.0, UINT32_MAX, 0};
    for (size_t i = 0; i < n;) {
        const double here = e->best[i].score;
        const size_t len = loam_utf8_len(s, i);
        int single = 0;
        uint32_t node = 0;
        for (size_t k = i; k < n; k++) {
            LOAM_WORK(1);
            node = loam_trie_step(&u->trie, node, (unsigned char)s[k]);
            if (!node) break;
            const int32_t id = u->trie.value[node];
            if (id < 0) continue;
            reach(&e->best[k + 1], here + u->score[id], i, id);
            if (k + 1 - i == len) single = 1;
        }
        if (!single) {
            if (u->unk < 0)
                return loam_fail(e->err, LOAM_ERR_FORMAT,
                                 "%s: a character is not in the vocabulary, and there is no unk_id",
                                 e->tok->name);
            reach(&e->best[i + len], here + (u->min_score - 10.0), i, u->unk);
        }
        i += len;
    }
    return LOAM_OK;
}

static loam_status push_piece(loam_encoding *e, const char *s, size_t n) {
    const loam_unigram *u = &e->tok->unigram;
    const int32_t id = loam_vocab_model(&e->tok->vocab, s, n);
    if (id >= 0) return loam_encoding_push(e, id);
    if (u->byte_fallback) {
        const size_t before = e->out->n;
        size_t i = 0;
        for (; i < n; i++) {
            char name[8];
            snprintf(name, sizeof name, "<0x%02X>", (unsigned)(unsigned char)s[i]);
            const int32_t byte = loam_vocab_model(&e->tok->vocab, name, 6);
            if (byte < 0) break;
            const loam_status st = loam_encoding_push(e, byte);
            if (st) return st;
        }
        if (i == n) return LOAM_OK;
        e->out->n = before;
    }
    return loam_encoding_push(e, u->unk);
}

loam_status loam_unigram_word(loam_encoding *e, const char *s, size_t n) {
    const loam_unigram *u = &e->tok->unigram;
    loam_status st = find_best(e, s, n);
    if (st) return st;
    size_t count = 0;
    for (size_t end = n; end > 0; end = e->best[end].from) {
        if (count == e->cap_symbols &&
            !loam_grow((void **)&e->symbols, &e->cap_symbols, count + 1, sizeof *e->symbols))
            return loam_fail(e->err, LOAM_ERR_MEMORY, "tokenizer: a word of %zu bytes", n);
        e->symbols[count++] = (loam_symbol){e->best[end].id, e->best[end].from, (uint32_t)end};
    }
    while (count && !st) { /* the path was found from its end */
        const loam_symbol piece = e->symbols[--count];
        uint32_t end = piece.next;
        if (piece.id == u->unk)
            while (count && e->symbols[count - 1].id == u->unk) end = e->symbols[--count].next;
        st = push_piece(e, s + piece.prev, end - piece.prev);
    }
    return st;
}

/* ---- the cache ---- */

static loam_status compute_word(loam_encoding *e, const char *s, size_t n, int raw) {
    switch (e->tok->kind) {
    case LOAM_BPE: return loam_bpe_word(e, s, n, raw);
    case LOAM_WORDPIECE: return loam_wordpiece_word(e, s, n);
    case LOAM_UNIGRAM: return loam_unigram_word(e, s, n);
    case LOAM_WORDLEVEL: return wordlevel_word(e, s, n);
    }
    return LOAM_OK;
}

static void make_key(uint64_t key[2], const char *s, size_t n) {
    const unsigned char *p = (const unsigned char *)s;
    if (n >= 8) {
        key[0] = loam_read_u64(s);
        key[1] = n == 8 ? 0 : loam_read_u64(s + n - 8) >> (8 * (16 - n));
    } else if (n >= 4) {
        key[0] = loam_read_u32(s) | (uint64_t)loam_read_u32(s + n - 4) << (8 * (n - 4));
        key[1] = 0;
    } else {
        key[0] = p[0] | (uint64_t)p[n / 2] << (8 * (n / 2)) | (uint64_t)p[n - 1] << (8 * (n - 1));
        key[1] = 0;
    }
    key[1] |= (uint64_t)n << 56;
}

loam_status loam_model_word(loam_encoding *e, const char *s, size_t n, int raw) {
    if (n == 0) return LOAM_OK;
    if (n > 15 || !e->cache) return compute_word(e, s, n, raw);
    uint64_t key[2];
    make_key(key, s, n);
    uint64_t h = (key[0] ^ key[1] * 0xd6e8feb86659fd93u) * 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
    loam_word_entry *w = &e->cache[h & e->cache_mask], *other = &e->cache[(h & e->cache_mask) ^ 1];
    if (w->key[0] != key[0] || w->key[1] != key[1]) {
        if (other->key[0] == key[0] && other->key[1] == key[1]) {
            w = other;
        } else {
            if (w->n && !other->n) w = other;
            const size_t before = e->out->n;
            const loam_status st = compute_word(e, s, n, raw);
            const size_t made = e->out->n - before;
            if (!st && made && made <= 3) {
                *w = (loam_word_entry){{key[0], key[1]}, {0}, (uint32_t)made};
                memcpy(w->ids, e->out->ids + before, made * sizeof *w->ids);
            }
            return st;
        }
    }
    if (e->out->cap - e->out->n >= 3) { /* copy all three, count some */
        memcpy(e->out->ids + e->out->n, w->ids, sizeof w->ids);
        e->out->n += w->n;
        return LOAM_OK;
    }
    for (uint32_t i = 0; i < w->n; i++) {
        const loam_status st = loam_encoding_push(e, w->ids[i]);
        if (st) return st;
    }
    return LOAM_OK;
}

void loam_words_init(loam_encoding *e, size_t text_bytes) {
    size_t slots = 64;
    if (text_bytes < 256) return;
    while (slots < text_bytes / 8 && slots < 65536) slots *= 2;
    e->cache = calloc(slots, sizeof *e->cache); /* without it words are only slower */
    e->cache_mask = slots - 1;
}

void loam_words_deinit(loam_encoding *e) {
    free(e->cache);
    e->cache = NULL;
}
