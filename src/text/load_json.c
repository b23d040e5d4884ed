/* load_json.c - tokenizer.json.
 *
 * The file is nearly all vocabulary and merges: up to 33 MB, 800,000 strings.  Those two are
 * read here in one pass over the mapped file, straight into their tables; the small rest
 * (components, added tokens) goes through the JSON reader.  Both are equally strict. */
#include "text/tok.h"
#include "text/utf8.h"

enum { MAX_DEPTH = 128 };

typedef struct scan {
    const char *base, *p, *end;
    const char *name;
    loam_err *err;
    loam_buf text[2]; /* strings with escapes, decoded */
} scan;

static loam_status bad(scan *s, const char *what) {
    return loam_fail(s->err, LOAM_ERR_FORMAT, "%s: %s at byte %zu", s->name, what,
                     (size_t)(s->p - s->base));
}

static void skip_space(scan *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
        s->p++;
}

/* The next byte that is not white space; 0 at the end. */
static char peek(scan *s) {
    skip_space(s);
    return s->p < s->end ? *s->p : 0;
}

static int take(scan *s, char c) {
    if (peek(s) != c) return 0;
    s->p++;
    return 1;
}

static int read_hex4(scan *s, uint32_t *out) {
    uint32_t v = 0;
    if (s->end - s->p < 4) return 0;
    for (int i = 0; i < 4; i++) {
        const char c = *s->p++;
        const int d = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
        if (d < 0) return 0;
        v = v << 4 | (uint32_t)d;
    }
    *out = v;
    return 1;
}

static loam_status read_escape(scan *s, loam_buf *out) {
    static const char FROM[] = "\"\\/bfnrt", TO[] = "\"\\/\b\f\n\r\t";
    if (s->p == s->end) return bad(s, "unfinished string");
    const char c = *s->p++;
    const char *k = c ? strchr(FROM, c) : NULL;
    uint32_t v, low;
    if (k) {
        loam_buf_putc(out, TO[k - FROM]);
        return LOAM_OK;
    }
    if (c != 'u' || !read_hex4(s, &v)) return bad(s, "bad escape");
    if (v >= 0xd800 && v < 0xe000) {
        if (v >= 0xdc00 || s->end - s->p < 6 || s->p[0] != '\\' || s->p[1] != 'u')
            return bad(s, "lone surrogate");
        s->p += 2;
        if (!read_hex4(s, &low) || low < 0xdc00 || low > 0xdfff) return bad(s, "lone surrogate");
        v = 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
    }
    loam_utf8_append(out, v);
    return LOAM_OK;
}

/* A string: a view of the file when it has no escapes, else of s->text[which]. */
static loam_status read_string(scan *s, int which, const char **out, size_t *n) {
    if (!take(s, '"')) return bad(s, "expected a string");
    const char *from = s->p;
    loam_buf *b = &s->text[which];
    int wide = 0, escaped = 0;
    loam_buf_clear(b);
    for (;;) {
        while (s->p < s->end && *s->p != '"' && *s->p != '\\' && (unsigned char)*s->p >= 0x20)
            wide |= *s->p++ & 0x80;
        if (s->p == s->end) return bad(s, "unfinished string");
        if (*s->p == '"') break;
        if (*s->p != '\\') return bad(s, "control character in a string");
        escaped = 1;
        loam_buf_append(b, from, (size_t)(s->p - from));
        s->p++;
        const loam_status st = read_escape(s, b);
        if (st) return st;
        from = s->p;
    }
    *out = from;
    *n = (size_t)(s->p - from);
    if (escaped) {
        loam_buf_append(b, from, *n);
        if (b->failed) return loam_fail(s->err, LOAM_ERR_MEMORY, "%s: string", s->name);
        *out = b->data;
        *n = b->n;
    }
    s->p++;
    if (wide && loam_utf8_check(*out, *n) != *n) return bad(s, "string is not UTF-8");
    return LOAM_OK;
}

static loam_status read_id(scan *s, int64_t *out) {
    int64_t v = 0;
    skip_space(s);
    const char *from = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9' && v < INT64_MAX / 16)
        v = v * 10 + (*s->p++ - '0');
    const size_t n = (size_t)(s->p - from);
    if (n == 0 || (n > 1 && *from == '0') ||
        (s->p < s->end &&
         (*s->p == '.' || *s->p == 'e' || *s->p == 'E' || (*s->p >= '0' && *s->p <= '9'))))
        return bad(s, "expected a token id");
    *out = v;
    return LOAM_OK;
}

/* Pass over any value; only brackets and strings are looked at. */
static loam_status skip_value(scan *s, const char **from, size_t *n) {
    size_t depth = 0;
    const char *text;
    size_t n_text;
    skip_space(s);
    *from = s->p;
    do {
        const char c = peek(s);
        if (!c) return bad(s, "unfinished value");
        if (c == '"') {
            const loam_status st = read_string(s, 0, &text, &n_text);
            if (st) return st;
        } else if (c == '{' || c == '[') {
            if (++depth > MAX_DEPTH) return bad(s, "nested too deeply");
            s->p++;
        } else if (c == '}' || c == ']') {
            if (!depth) return bad(s, "expected a value");
            depth--;
            s->p++;
        } else if (c == ',' || c == ':') {
            if (!depth) return bad(s, "expected a value");
            s->p++;
        } else {
            const char *at = s->p;
            while (s->p < s->end && !strchr(",:{}[]\" \t\r\n", *s->p)) s->p++;
            if (s->p == at) return bad(s, "unexpected byte");
        }
    } while (depth);
    *n = (size_t)(s->p - *from);
    return LOAM_OK;
}

/* ---- vocabulary ---- */

typedef struct entry {
    const char *s;
    size_t n;
    int64_t id;
} entry;

static loam_status put_entries(loam_tokenizer *t, const entry *e, size_t n, scan *s) {
    for (size_t i = 0; i < n; i++)
        loam_vocab_prefetch(&t->vocab, loam_tok_hash(e[i].s, e[i].n, t->vocab.seed), 0);
    for (size_t i = 0; i < n; i++) {
        const loam_status st =
            loam_vocab_put(&t->vocab, e[i].s, e[i].n, e[i].id, LOAM_TOK_IN_MODEL, s->name, s->err);
        if (st) return st;
    }
    return LOAM_OK;
}

static loam_status scan_vocab_object(loam_tokenizer *t, scan *s) {
    entry batch[LOAM_TOK_BATCH];
    size_t n = 0;
    loam_status st;
    if (!take(s, '{')) return bad(s, "expected the vocabulary");
    if (take(s, '}')) return LOAM_OK;
    do {
        entry *e = &batch[n];
        st = read_string(s, 0, &e->s, &e->n);
        if (st) return st;
        if (!take(s, ':')) return bad(s, "expected ':'");
        st = read_id(s, &e->id);
        if (st) return st;
        n++;
        if (n == LOAM_TOK_BATCH ||
            e->s == s->text[0].data) { /* a copy lasts until the next string */
            st = put_entries(t, batch, n, s);
            if (st) return st;
            n = 0;
        }
    } while (take(s, ','));
    if (!take(s, '}')) return bad(s, "expected ',' or '}'");
    return put_entries(t, batch, n, s);
}

/* [[text, score], ...] */
static loam_status scan_vocab_list(loam_tokenizer *t, scan *s) {
    loam_unigram *u = &t->unigram;
    const char *text;
    size_t n, cap = 0;
    loam_status st;
    if (!take(s, '[')) return bad(s, "expected the vocabulary");
    if (take(s, ']')) return LOAM_OK;
    do {
        if (!take(s, '[')) return bad(s, "expected [text, score]");
        st = read_string(s, 0, &text, &n);
        if (st) return st;
        if (!take(s, ',')) return bad(s, "expected ','");
        skip_space(s);
        char number[64], *end = NULL;
        size_t k = 0;
        while (s->p + k < s->end && k + 1 < sizeof number && strchr("+-.0123456789eE", s->p[k]) &&
               s->p[k])
            k++;
        memcpy(number, s->p, k);
        number[k] = 0;
        const double score = strtod(number, &end);
        if (k == 0 || *end) return bad(s, "expected a score");
        s->p += k;
        if (!loam_grow((void **)&u->score, &cap, u->n_pieces + 1, sizeof *u->score))
            return loam_fail(s->err, LOAM_ERR_MEMORY, "%s: vocabulary", s->name);
        st = loam_vocab_put(&t->vocab, text, n, (int64_t)u->n_pieces, LOAM_TOK_IN_MODEL, s->name,
                            s->err);
        if (st) return st;
        u->score[u->n_pieces++] = score;
        if (!take(s, ']')) return bad(s, "expected ']'");
    } while (take(s, ','));
    return take(s, ']') ? LOAM_OK : bad(s, "expected ',' or ']'");
}

loam_status loam_tok_scan_vocab(loam_tokenizer *t, const char *text, size_t n, const char *name,
                                loam_err *err) {
    scan s = {.base = text, .p = text, .end = text + n, .name = name, .err = err};
    loam_status st = scan_vocab_object(t, &s);
    if (!st && peek(&s)) st = bad(&s, "more after the vocabulary");
    loam_buf_deinit(&s.text[0]);
    loam_buf_deinit(&s.text[1]);
    return st;
}

/* One merge: "a b" or ["a", "b"].  *copied: the texts lie in the buffers of the scan. */
static loam_status read_merge(scan *s, loam_merge_text *m, int *copied) {
    const char *a, *b;
    size_t n_a, n_b;
    loam_status st;
    if (take(s, '[')) {
        st = read_string(s, 0, &a, &n_a);
        if (!st && !take(s, ',')) st = bad(s, "expected ','");
        if (!st) st = read_string(s, 1, &b, &n_b);
        if (!st && !take(s, ']')) st = bad(s, "expected ']'");
        if (st) return st;
        *copied = a == s->text[0].data || b == s->text[1].data;
    } else {
        st = read_string(s, 0, &a, &n_a);
        if (st) return st;
        *copied = a == s->text[0].data;
        const char *space = memchr(a, ' ', n_a);
        if (!space || memchr(space + 1, ' ', n_a - (size_t)(space + 1 - a)))
            return bad(s, "a merge is not two tokens");
        b = space + 1;
        n_b = n_a - (size_t)(b - a);
        n_a = (size_t)(space - a);
    }
    if (n_a >= UINT32_MAX || n_b >= UINT32_MAX) return bad(s, "a merge is too long");
    *m = (loam_merge_text){a, b, (uint32_t)n_a, (uint32_t)n_b};
    return LOAM_OK;
}

static loam_status scan_merges(loam_tokenizer *t, scan *s) {
    loam_merge_text batch[LOAM_TOK_BATCH];
    size_t n = 0;
    loam_status st;
    if (!take(s, '[')) return bad(s, "expected the merges");
    /* there are about as many merges as tokens, or twice as many */
    st = loam_bpe_start(t, t->vocab.n_used, s->err);
    if (st || take(s, ']')) return st;
    do {
        int copied = 0;
        st = read_merge(s, &batch[n], &copied);
        if (st) return st;
        n++;
        if (n == LOAM_TOK_BATCH || copied) { /* copies last until the next merge is read */
            st = loam_bpe_merges(t, batch, n, s->err);
            if (st) return st;
            n = 0;
        }
    } while (take(s, ','));
    if (!take(s, ']')) return bad(s, "expected ',' or ']'");
    return loam_bpe_merges(t, batch, n, s->err);
}

/* ---- the file ---- */

/* Small values of the file, as JSON text to be parsed after the scan. */
typedef struct parts {
    loam_json *normalizer, *pre_tokenizer, *post_processor, *decoder, *added_tokens;
    loam_json *model; /* the members of "model" but vocab and merges, as an object */
    loam_buf model_text;
    const char *merges; /* where they start */
    size_t merged_with; /* bytes of the prefix that was known when they were read */
    int has_model, has_vocab, vocab_is_list, is_merged;
} parts;

static loam_status get_text(const loam_tokenizer *t, const loam_json_value *m, const char *key,
                            loam_str *out, loam_err *err) {
    size_t n = 0;
    const char *s = loam_json_string(loam_json_get(m, key), &n);
    if (s && !loam_str_set(out, s, n)) return loam_fail(err, LOAM_ERR_MEMORY, "%s: model", t->name);
    return LOAM_OK;
}

/* Merges right when they come, in the usual case: the vocabulary stands before them, and so
 * does the prefix (read_bpe looks whether it really did). */
static loam_status scan_merges_early(loam_tokenizer *t, scan *s, parts *p) {
    loam_json *doc = NULL;
    loam_buf text = {0};
    loam_buf_append(&text, p->model_text.data, p->model_text.n);
    loam_buf_puts(&text, "\"\":0}");
    loam_status st = text.failed ? loam_fail(s->err, LOAM_ERR_MEMORY, "%s: model", s->name)
                                 : loam_json_parse(&doc, text.data, text.n, s->name, 0, s->err);
    if (!st)
        st = get_text(t, loam_json_root(doc), "continuing_subword_prefix", &t->bpe.prefix, s->err);
    if (!st) st = scan_merges(t, s);
    loam_json_free(doc);
    loam_buf_deinit(&text);
    p->merged_with = t->bpe.prefix.n;
    p->is_merged = 1;
    return st;
}

/* continuing_subword_prefix decides what a merge makes, so it is needed before the merges. */
static loam_status read_model_member(loam_tokenizer *t, scan *s, parts *p, const char *key,
                                     size_t n_key) {
    const char *from;
    size_t n;
    loam_status st;
    if (n_key == 5 && memcmp(key, "vocab", 5) == 0) {
        if (p->has_vocab) return bad(s, "a second vocabulary");
        p->has_vocab = 1;
        p->vocab_is_list = peek(s) == '[';
        return p->vocab_is_list ? scan_vocab_list(t, s) : scan_vocab_object(t, s);
    }
    if (n_key == 6 && memcmp(key, "merges", 6) == 0) {
        if (p->merges) return bad(s, "a second list of merges");
        skip_space(s);
        p->merges = s->p;
        if (p->has_vocab && !p->vocab_is_list) return scan_merges_early(t, s, p);
        return skip_value(s, &from, &n);
    }
    loam_json_put_string(&p->model_text, key, n_key);
    st = skip_value(s, &from, &n);
    if (st) return st;
    loam_buf_putc(&p->model_text, ':');
    loam_buf_append(&p->model_text, from, n);
    loam_buf_putc(&p->model_text, ',');
    return LOAM_OK;
}

static loam_status scan_model(loam_tokenizer *t, scan *s, parts *p) {
    if (p->has_model) return bad(s, "a second model");
    p->has_model = 1;
    loam_buf_putc(&p->model_text, '{');
    if (!take(s, '{')) return bad(s, "expected the model");
    if (!take(s, '}')) {
        do {
            const char *key = NULL;
            size_t n = 0;
            loam_status st = read_string(s, 1, &key, &n);
            if (st) return st;
            char name[64]; /* the key's buffer is used again by what follows */
            if (n >= sizeof name) n = sizeof name - 1;
            memcpy(name, key, n);
            if (!take(s, ':')) return bad(s, "expected ':'");
            st = read_model_member(t, s, p, name, n);
            if (st) return st;
        } while (take(s, ','));
        if (!take(s, '}')) return bad(s, "expected ',' or '}'");
    }
    loam_buf_puts(&p->model_text, "\"\":0}");
    if (p->model_text.failed) return loam_fail(s->err, LOAM_ERR_MEMORY, "%s: model", s->name);
    return loam_json_parse(&p->model, p->model_text.data, p->model_text.n, s->name, 0, s->err);
}

static loam_status scan_member(loam_tokenizer *t, scan *s, parts *p, const char *key) {
    const struct {
        const char *key;
        loam_json **doc;
    } small[] = {{"normalizer", &p->normalizer},
                 {"pre_tokenizer", &p->pre_tokenizer},
                 {"post_processor", &p->post_processor},
                 {"decoder", &p->decoder},
                 {"added_tokens", &p->added_tokens}};
    const char *from = NULL;
    size_t n = 0;
    if (strcmp(key, "model") == 0) return scan_model(t, s, p);
    loam_status st = skip_value(s, &from, &n);
    if (st) return st;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
        if (strcmp(key, small[i].key) != 0) continue;
        loam_json_free(*small[i].doc);
        *small[i].doc = NULL;
        char *name = loam_format("%s: %s", s->name, key);
        st = name ? loam_json_parse(small[i].doc, from, n, name, 0, s->err)
                  : loam_fail(s->err, LOAM_ERR_MEMORY, "%s", s->name);
        free(name);
        return st;
    }
    return LOAM_OK;
}

static loam_status scan_file(loam_tokenizer *t, scan *s, parts *p) {
    if (!take(s, '{')) return bad(s, "expected an object");
    if (!take(s, '}')) {
        do {
            const char *key = NULL;
            size_t n = 0;
            char name[32] = {0};
            loam_status st = read_string(s, 0, &key, &n);
            if (st) return st;
            memcpy(name, key, n < sizeof name - 1 ? n : sizeof name - 1);
            if (!take(s, ':')) return bad(s, "expected ':'");
            st = scan_member(t, s, p, name);
            if (st) return st;
        } while (take(s, ','));
        if (!take(s, '}')) return bad(s, "expected ',' or '}'");
    }
    if (peek(s)) return bad(s, "more after the end");
    return LOAM_OK;
}

static loam_status read_model_kind(loam_tokenizer *t, const parts *p, const loam_json_value *m,
                                   loam_err *err) {
    const char *type = loam_json_string(loam_json_get(m, "type"), NULL);
    if (!type) /* files older than the field */
        type = p->merges                                      ? "BPE"
               : p->vocab_is_list                             ? "Unigram"
               : loam_json_get(m, "max_input_chars_per_word") ? "WordPiece"
                                                              : "WordLevel";
    if (strcmp(type, "BPE") == 0)
        t->kind = LOAM_BPE;
    else if (strcmp(type, "WordPiece") == 0)
        t->kind = LOAM_WORDPIECE;
    else if (strcmp(type, "Unigram") == 0)
        t->kind = LOAM_UNIGRAM;
    else if (strcmp(type, "WordLevel") == 0)
        t->kind = LOAM_WORDLEVEL;
    else
        return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: model '%s' is not supported", t->name,
                         type);
    if (!p->has_vocab || p->vocab_is_list != (t->kind == LOAM_UNIGRAM))
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: model: no vocabulary of the kind that %s has",
                         t->name, type);
    return LOAM_OK;
}

static loam_status read_bpe(loam_tokenizer *t, scan *s, const parts *p, const loam_json_value *m) {
    loam_bpe *b = &t->bpe;
    double dropout = 0;
    loam_status st = get_text(t, m, "continuing_subword_prefix", &b->prefix, s->err);
    if (!st) st = get_text(t, m, "end_of_word_suffix", &b->suffix, s->err);
    if (!st) st = get_text(t, m, "unk_token", &t->unk_token, s->err);
    if (st) return st;
    loam_json_bool(loam_json_get(m, "fuse_unk"), &b->fuse_unk);
    loam_json_bool(loam_json_get(m, "byte_fallback"), &b->byte_fallback);
    loam_json_bool(loam_json_get(m, "ignore_merges"), &b->ignore_merges);
    if (loam_json_number(loam_json_get(m, "dropout"), &dropout) && (dropout < 0 || dropout > 0))
        return loam_fail(s->err, LOAM_ERR_UNSUPPORTED,
                         "%s: model: dropout makes ids random; set it to null", t->name);
    b->has_unk = t->unk_token.s != NULL;
    b->unk = b->has_unk ? loam_vocab_model(&t->vocab, t->unk_token.s, t->unk_token.n) : -1;
    if (p->merges && (!p->is_merged || p->merged_with != b->prefix.n)) {
        s->p = p->merges;
        st = scan_merges(t, s);
    }
    return st ? st : loam_bpe_finish(t, s->err);
}

static loam_status read_model(loam_tokenizer *t, scan *s, parts *p) {
    const loam_json_value *m = loam_json_root(p->model);
    if (!p->has_model) return loam_fail(s->err, LOAM_ERR_FORMAT, "%s: no model", t->name);
    loam_status st = read_model_kind(t, p, m, s->err);
    if (st) return st;
    int64_t number = 100;
    switch (t->kind) {
    case LOAM_BPE: return read_bpe(t, s, p, m);
    case LOAM_UNIGRAM: {
        const loam_json_value *unk = loam_json_get(m, "unk_id");
        t->unigram.unk = -1;
        if (loam_json_int(unk, &number)) {
            if (number < 0 || number >= LOAM_TOK_MAX_ID)
                return loam_fail(s->err, LOAM_ERR_FORMAT, "%s: unk_id %lld", t->name,
                                 (long long)number);
            t->unigram.unk = (int32_t)number;
        }
        loam_json_bool(loam_json_get(m, "byte_fallback"), &t->unigram.byte_fallback);
        return loam_unigram_finish(t, s->err);
    }
    case LOAM_WORDPIECE:
        if (loam_json_int(loam_json_get(m, "max_input_chars_per_word"), &number) && number < 0)
            return loam_fail(s->err, LOAM_ERR_FORMAT, "%s: max_input_chars_per_word %lld", t->name,
                             (long long)number);
        t->max_word_chars = (size_t)number;
        st = loam_str_set(&t->wordpiece_prefix, "##", 2)
                 ? LOAM_OK
                 : loam_fail(s->err, LOAM_ERR_MEMORY, "%s: model", t->name);
        if (!st) st = get_text(t, m, "continuing_subword_prefix", &t->wordpiece_prefix, s->err);
        break;
    case LOAM_WORDLEVEL: break;
    }
    if (!st) st = get_text(t, m, "unk_token", &t->unk_token, s->err);
    t->unk_id = t->unk_token.s ? loam_vocab_model(&t->vocab, t->unk_token.s, t->unk_token.n) : -1;
    return st;
}

static loam_status read_added(loam_tokenizer *t, const loam_json_value *list, loam_err *err) {
    if (!list || loam_json_type_of(list) == LOAM_JSON_NULL) return LOAM_OK;
    if (loam_json_type_of(list) != LOAM_JSON_ARRAY)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: added_tokens is not a list", t->name);
    for (const loam_json_value *v = loam_json_first(list); v; v = loam_json_next(v)) {
        size_t n = 0;
        int64_t id;
        const char *s = loam_json_string(loam_json_get(v, "content"), &n);
        if (!s || !loam_json_int(loam_json_get(v, "id"), &id) || id < 0)
            return loam_fail(err, LOAM_ERR_FORMAT,
                             "%s: added_tokens: an entry without content or id", t->name);
        const struct {
            const char *key;
            unsigned char standard;
        } flag[5] = {
            {"special", 0}, {"lstrip", 0}, {"rstrip", 0}, {"single_word", 0}, {"normalized", 1}};
        unsigned char b[5];
        for (int i = 0; i < 5; i++) {
            int x = flag[i].standard;
            loam_json_bool(loam_json_get(v, flag[i].key), &x);
            b[i] = (unsigned char)x;
        }
        const loam_added a = {.special = b[0],
                              .lstrip = b[1],
                              .rstrip = b[2],
                              .single_word = b[3],
                              .normalized = b[4]};
        const loam_status st = loam_added_put(t, s, n, id, &a, err);
        if (st) return st;
    }
    return LOAM_OK;
}

loam_status loam_tok_load_json(loam_tokenizer *t, const char *path, loam_err *err) {
    loam_map map = {0};
    parts p = {0};
    loam_status st = loam_map_open(&map, path, err);
    if (st) return st;
    const char *text = map.size ? (const char *)map.base : "";
    scan s = {.base = text, .p = text, .end = text + map.size, .name = t->name, .err = err};
    /* about 30 bytes of file stand for a token and its merge */
    if (map.size > (size_t)1 << 30)
        st = loam_fail(err, LOAM_ERR_LIMIT, "%s: larger than 1 GiB", t->name);
    if (!st && !loam_vocab_init(&t->vocab, map.size / 40))
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: vocabulary", t->name);
    if (!st) st = scan_file(t, &s, &p);
    if (!st) st = read_model(t, &s, &p);
    if (!st) st = read_added(t, loam_json_root(p.added_tokens), err);
    if (!st) st = loam_norm_read(t, loam_json_root(p.normalizer), err);
    if (!st) st = loam_pre_read(t, loam_json_root(p.pre_tokenizer), err);
    if (!st) st = loam_post_read(t, loam_json_root(p.post_processor), err);
    if (!st) st = loam_dec_read(t, loam_json_root(p.decoder), err);
    loam_json_free(p.normalizer);
    loam_json_free(p.pre_tokenizer);
    loam_json_free(p.post_processor);
    loam_json_free(p.decoder);
    loam_json_free(p.added_tokens);
    loam_json_free(p.model);
    loam_buf_deinit(&p.model_text);
    loam_buf_deinit(&s.text[0]);
    loam_buf_deinit(&s.text[1]);
    loam_map_close(&map);
    return st;
}
