/* vocab.c - token texts and ids: one pool, one open-addressing table; and a byte trie.
 *
 * A model's vocabulary is the slow part of opening it: 150,000 texts must cost a few
 * milliseconds, so there is no allocation per token, the hash is kept beside the id
 * (a probe touches the pool only for a likely hit), and tables start at their final size.
 * The seed differs from run to run, so a file cannot be written to collide. */
#include "text/tok.h"
#include "text/utf8.h"
#include <stdatomic.h>
#include <time.h>

uint64_t loam_tok_hash(const char *s, size_t n, uint64_t seed) {
    const uint64_t k0 = 0xa0761d6478bd642fu, k1 = 0xe7037ed1a0b428dbu;
    uint64_t a, b, h = seed ^ k0;
    if (n < 4) {
        const unsigned char *p = (const unsigned char *)s;
        a = n ? (uint64_t)p[0] << 16 | (uint64_t)p[n / 2] << 8 | p[n - 1] : 0;
        b = 0;
    } else if (n < 8) {
        a = loam_read_u32(s);
        b = loam_read_u32(s + n - 4);
    } else {
        size_t i = 0;
        for (; n - i > 16; i += 16)
            h = loam_fold(loam_read_u64(s + i) ^ k1, loam_read_u64(s + i + 8) ^ h);
        a = n - i >= 8 ? loam_read_u64(s + i) : 0;
        b = loam_read_u64(s + n - 8);
    }
    return loam_fold(k1 ^ n, loam_fold(a ^ k1, b ^ h));
}

static uint64_t fresh_seed(const void *p) {
    static atomic_uint_fast64_t count;
    struct timespec now = {0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return loam_fold((uint64_t)(uintptr_t)p ^ (uint64_t)now.tv_nsec, 0x9e3779b97f4a7c15u + ++count);
}

int loam_vocab_init(loam_vocab *v, size_t expected) {
    size_t slots = 1024;
    *v = (loam_vocab){0};
    v->seed = fresh_seed(v);
    while (slots < expected * 2 && slots < (size_t)1 << 24) slots *= 2;
    v->table = loam_alloc(slots, sizeof *v->table);
    v->mask = slots - 1;
    return v->table && loam_buf_reserve(&v->pool, expected * 8 + 64);
}

void loam_vocab_deinit(loam_vocab *v) {
    loam_buf_deinit(&v->pool);
    free(v->span);
    free(v->flags);
    free(v->table);
    *v = (loam_vocab){0};
}

static int grow_table(loam_vocab *v) {
    const size_t slots = (v->mask + 1) * 2, mask = slots - 1;
    uint64_t *table = loam_alloc(slots, sizeof *table);
    if (!table) return 0;
    for (size_t i = 0; i <= v->mask; i++) {
        if (!v->table[i]) continue;
        /* the hash's upper half is kept; the slot comes from it alone, see slot_of */
        size_t k = (size_t)(v->table[i] >> 32) & mask;
        while (table[k]) k = (k + 1) & mask;
        table[k] = v->table[i];
    }
    free(v->table);
    v->table = table;
    v->mask = mask;
    return 1;
}

static size_t slot_of(const loam_vocab *v, uint64_t h) {
    return (size_t)(h >> 32) & v->mask;
}

/* Slot of the text, or the free slot where it belongs. */
static size_t find(const loam_vocab *v, const char *s, size_t n, uint64_t h) {
    const uint64_t tag = h >> 32;
    size_t k = slot_of(v, h);
    while (v->table[k]) {
        if (v->table[k] >> 32 == tag) {
            const uint32_t id = (uint32_t)v->table[k] - 1;
            if (v->span[id].n == n && memcmp(v->pool.data + v->span[id].at, s, n) == 0) return k;
        }
        k = (k + 1) & v->mask;
    }
    return k;
}

int32_t loam_vocab_get(const loam_vocab *v, const char *s, size_t n) {
    if (!v->table) return -1;
    const size_t k = find(v, s, n, loam_tok_hash(s, n, v->seed));
    return v->table[k] ? (int32_t)((uint32_t)v->table[k] - 1) : -1;
}

void loam_vocab_prefetch(const loam_vocab *v, uint64_t hash, int step) {
    const uint64_t *slot = &v->table[slot_of(v, hash)];
    if (step == 0) {
        __builtin_prefetch(slot);
        return;
    }
    /* mostly the first slot is the right one */
    const uint32_t id = (uint32_t)*slot - 1;
    if (*slot == 0 || id >= v->n_ids) return;
    if (step == 1)
        __builtin_prefetch(&v->span[id]);
    else if (v->span[id].n != UINT32_MAX)
        __builtin_prefetch(v->pool.data + v->span[id].at);
}

static int grow_ids(loam_vocab *v, size_t need) {
    const size_t old = v->cap_ids;
    size_t cap = old;
    if (!loam_grow((void **)&v->span, &cap, need, sizeof *v->span)) return 0;
    cap = old;
    if (!loam_grow((void **)&v->flags, &cap, need, sizeof *v->flags)) return 0;
    memset(v->span + old, 0xff, (cap - old) * sizeof *v->span);
    memset(v->flags + old, 0, cap - old);
    v->cap_ids = cap;
    return 1;
}

loam_status loam_vocab_put(loam_vocab *v, const char *s, size_t n, int64_t id, unsigned flags,
                           const char *name, loam_err *err) {
    if (id < 0 || id >= LOAM_TOK_MAX_ID)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: token id %lld is not in 0 .. %d", name,
                         (long long)id, LOAM_TOK_MAX_ID - 1);
    if (v->pool.n + n >= UINT32_MAX)
        return loam_fail(err, LOAM_ERR_LIMIT, "%s: vocabulary of more than 4 GB", name);
    if (((size_t)id >= v->cap_ids && !grow_ids(v, (size_t)id + 1)) ||
        (v->n_used * 10 > v->mask * 7 && !grow_table(v)))
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: vocabulary", name);
    const uint64_t h = loam_tok_hash(s, n, v->seed);
    const size_t k = find(v, s, n, h);
    if (!v->table[k]) {
        v->n_used++;
        if (flags & LOAM_TOK_IN_MODEL) v->n_model++;
        if (n > v->longest) v->longest = n;
    }
    if ((size_t)id >= v->n_ids) v->n_ids = (size_t)id + 1;
    /* Two texts with one id: the later one is what the id decodes to, and the earlier is still
     * found, because its slot keeps a pool text of its own only through the id.  So it is an error. */
    if (v->span[id].n != UINT32_MAX &&
        (v->span[id].n != n || memcmp(v->pool.data + v->span[id].at, s, n) != 0))
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: two tokens have the id %lld", name,
                         (long long)id);
    if (v->table[k] && (uint32_t)v->table[k] == (uint64_t)id + 1) { /* there already */
        v->flags[id] |= (unsigned char)flags;
        return LOAM_OK;
    }
    v->table[k] = (h >> 32) << 32 | (uint64_t)(id + 1);
    v->span[id] = (loam_span){(uint32_t)v->pool.n, (uint32_t)n};
    v->flags[id] |= (unsigned char)flags;
    loam_buf_append(&v->pool, s, n);
    loam_buf_putc(&v->pool, 0); /* texts are handed out as C strings too */
    return v->pool.failed ? loam_fail(err, LOAM_ERR_MEMORY, "%s: vocabulary", name) : LOAM_OK;
}

/* ---- trie ---- */

int loam_trie_init(loam_trie *t) {
    *t = (loam_trie){0};
    t->mask = 1023;
    t->keys = loam_alloc(t->mask + 1, sizeof *t->keys);
    t->next = loam_alloc(t->mask + 1, sizeof *t->next);
    if (!t->keys || !t->next || !loam_grow((void **)&t->value, &t->cap_nodes, 64, sizeof *t->value))
        return 0;
    t->value[0] = -1;
    t->n_nodes = 1;
    return 1;
}

void loam_trie_deinit(loam_trie *t) {
    free(t->keys);
    free(t->next);
    free(t->value);
    *t = (loam_trie){0};
}

static size_t trie_slot(const loam_trie *t, uint64_t key) {
    size_t k = (size_t)loam_fold(key, 0x9e3779b97f4a7c15u) & t->mask;
    while (t->keys[k] && t->keys[k] != key) k = (k + 1) & t->mask;
    return k;
}

static int grow_trie(loam_trie *t) {
    loam_trie old = *t;
    t->mask = old.mask * 2 + 1;
    t->keys = loam_alloc(t->mask + 1, sizeof *t->keys);
    t->next = loam_alloc(t->mask + 1, sizeof *t->next);
    if (!t->keys || !t->next) {
        free(t->keys);
        free(t->next);
        *t = old;
        return 0;
    }
    for (size_t i = 0; i <= old.mask; i++) {
        if (!old.keys[i]) continue;
        const size_t k = trie_slot(t, old.keys[i]);
        t->keys[k] = old.keys[i];
        t->next[k] = old.next[i];
    }
    free(old.keys);
    free(old.next);
    return 1;
}

uint32_t loam_trie_step(const loam_trie *t, uint32_t node, unsigned char byte) {
    if (!node) return t->root[byte];
    const size_t k = trie_slot(t, ((uint64_t)node << 8 | byte) + 1);
    return t->keys[k] ? t->next[k] : 0;
}

int loam_trie_put(loam_trie *t, const char *s, size_t n, int32_t value) {
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        const unsigned char byte = (unsigned char)s[i];
        uint32_t next = loam_trie_step(t, node, byte);
        if (!next) {
            if (t->n_nodes >= UINT32_MAX / 2 || (t->n_used * 10 > t->mask * 7 && !grow_trie(t)) ||
                !loam_grow((void **)&t->value, &t->cap_nodes, t->n_nodes + 1, sizeof *t->value))
                return 0;
            next = (uint32_t)t->n_nodes++;
            t->value[next] = -1;
            if (!node) {
                t->root[byte] = next;
                t->n_first++;
                t->only_first = byte;
            } else {
                const uint64_t key = ((uint64_t)node << 8 | byte) + 1;
                const size_t k = trie_slot(t, key);
                t->keys[k] = key;
                t->next[k] = next;
                t->n_used++;
            }
        }
        node = next;
    }
    t->value[node] = value;
    return 1;
}

/* ---- byte-level alphabet ---- */

uint32_t loam_byte_char(unsigned char b) {
    if ((b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad)) return b;
    if (b <= 0x20) return 0x100u + b;
    if (b >= 0x7f && b <= 0xa0) return 0x121u + (b - 0x7fu);
    return 0x143; /* 0xad */
}

int loam_char_byte(uint32_t c) {
    if ((c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xff && c != 0xad)) return (int)c;
    if (c >= 0x100 && c <= 0x120) return (int)(c - 0x100);
    if (c >= 0x121 && c <= 0x142) return (int)(c - 0x121 + 0x7f);
    return c == 0x143 ? 0xad : -1;
}

void loam_byte_map(loam_buf *out, const char *s, size_t n) {
    if (!loam_buf_reserve(out, n * 2 + 4)) return;
    for (size_t i = 0; i < n; i++) {
        const uint32_t c = loam_byte_char((unsigned char)s[i]);
        out->n += loam_utf8_put(out->data + out->n, c);
    }
    out->data[out->n] = 0;
}

int loam_str_set(loam_str *s, const char *text, size_t n) {
    free(s->s);
    s->s = loam_strndup(text, n);
    s->n = s->s ? n : 0;
    return s->s != NULL;
}

void loam_str_free(loam_str *s) {
    free(s->s);
    *s = (loam_str){0};
}
