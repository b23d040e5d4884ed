/* post.c - added tokens and what the post-processor adds. */
#include "text/tok.h"
#include "text/utf8.h"

/* ---- added tokens ---- */

loam_status loam_added_put(loam_tokenizer *t, const char *s, size_t n, int64_t id,
                           const loam_added *flags, loam_err *err) {
    if (n == 0) return LOAM_OK;
    const int32_t there = loam_vocab_get(&t->vocab, s, n);
    if (there >= 0) id = there;
    if (id < 0) /* no id given: behind all others */
        id = (int64_t)t->vocab.n_ids;
    const int again = (size_t)id < t->vocab.n_ids && (t->vocab.flags[id] & LOAM_TOK_ADDED);
    loam_status st =
        loam_vocab_put(&t->vocab, s, n, id,
                       LOAM_TOK_ADDED | (flags->special ? LOAM_TOK_SPECIAL : 0u), t->name, err);
    if (st) return st;
    size_t k = again ? 0 : t->n_added;
    while (k < t->n_added && t->added[k].id != (int32_t)id) k++;
    if (k == t->n_added &&
        !loam_grow((void **)&t->added, &t->cap_added, t->n_added + 1, sizeof *t->added))
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: added tokens", t->name);
    loam_added *a = &t->added[k];
    *a = *flags;
    a->id = (int32_t)id;
    a->at = a->norm_at = t->added_pool.n;
    a->n = a->norm_n = n;
    if (k == t->n_added) t->n_added++;
    loam_buf_append(&t->added_pool, s, n);
    return t->added_pool.failed ? loam_fail(err, LOAM_ERR_MEMORY, "%s: added tokens", t->name)
                                : LOAM_OK;
}

/* The text that an added token becomes when it is normalized, kept in the pool when it differs. */
static loam_status keep_normalized(loam_tokenizer *t, loam_added *x, const char **s, size_t n,
                                   loam_err *err) {
    if (n == x->n && memcmp(*s, t->added_pool.data + x->at, n) == 0) return LOAM_OK;
    const size_t at = t->added_pool.n;
    loam_buf copy = {0}; /* *s may view the pool, which moves */
    loam_buf_append(&copy, *s, n);
    loam_buf_append(&t->added_pool, copy.data, copy.n);
    const int failed = copy.failed || t->added_pool.failed;
    loam_buf_deinit(&copy);
    if (failed) return loam_fail(err, LOAM_ERR_MEMORY, "%s: added tokens", t->name);
    x->norm_at = at;
    x->norm_n = n;
    t->vocab.flags[x->id] |= LOAM_TOK_NORMED;
    *s = t->added_pool.data + at;
    return LOAM_OK;
}

/* Build the two tries, once the normalizers are known. */
loam_status loam_added_finish(loam_tokenizer *t, loam_err *err) {
    loam_buf a = {0}, b = {0};
    loam_status st = LOAM_OK;
    for (size_t i = 0; i < t->n_added && !st; i++) {
        loam_added *x = &t->added[i];
        int *has = x->normalized ? &t->has_norm_trie : &t->has_raw_trie;
        loam_trie *trie = x->normalized ? &t->norm_trie : &t->raw_trie;
        const char *s = t->added_pool.data + x->at;
        size_t n = x->n;
        if (x->normalized && t->n_norm) {
            st = loam_norm_apply(t, s, n, &a, &b, &s, &n, err);
            if (st) break;
            st = keep_normalized(t, x, &s, n, err);
            if (st) break;
        }
        if (!n) continue;
        if ((!*has && !loam_trie_init(trie)) || !loam_trie_put(trie, s, n, (int32_t)i))
            st = loam_fail(err, LOAM_ERR_MEMORY, "%s: added tokens", t->name);
        *has = 1;
    }
    loam_buf_deinit(&a);
    loam_buf_deinit(&b);
    return st;
}

/* ---- templates ---- */

static loam_status add_item(loam_tokenizer *t, loam_post *p, int kind, int type_id,
                            const int32_t *ids, size_t n, loam_err *err) {
    if (!loam_grow((void **)&p->items, &p->cap, p->n + 1, sizeof *p->items) ||
        !loam_grow((void **)&t->post_ids, &t->cap_post_ids, t->n_post_ids + n, sizeof *t->post_ids))
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: post_processor", t->name);
    p->items[p->n++] = (loam_post_item){kind, type_id, t->n_post_ids, n};
    if (n) memcpy(t->post_ids + t->n_post_ids, ids, n * sizeof *ids);
    t->n_post_ids += n;
    if (kind == 0) p->n_added += n;
    return LOAM_OK;
}

static loam_status add_token(loam_tokenizer *t, loam_post *p, const char *text, int type_id,
                             loam_err *err) {
    if (!text) return LOAM_OK;
    const int32_t id = loam_vocab_get(&t->vocab, text, strlen(text));
    if (id < 0)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: special token '%s' is not in the vocabulary",
                         t->name, text);
    return add_item(t, p, 0, type_id, &id, 1, err);
}

loam_status loam_post_bert(loam_tokenizer *t, const char *cls, const char *sep, int double_sep,
                           loam_err *err) {
    loam_status st = LOAM_OK;
    const int second =
        double_sep ? 0 : 1; /* RoBERTa has no second segment, but a second separator */
    for (int pair = 0; pair < 2 && !st; pair++) {
        loam_post *p = pair ? &t->pair : &t->single;
        st = add_token(t, p, cls, 0, err);
        if (!st) st = add_item(t, p, 1, 0, NULL, 0, err);
        if (!st) st = add_token(t, p, sep, 0, err);
        if (!pair || st) continue;
        if (double_sep) st = add_token(t, p, sep, 0, err);
        if (!st) st = add_item(t, p, 2, second, NULL, 0, err);
        if (!st) st = add_token(t, p, sep, second, err);
    }
    t->has_pair = 1;
    return st;
}

loam_status loam_post_around(loam_tokenizer *t, const char *bos, const char *eos, loam_err *err) {
    loam_status st = LOAM_OK;
    for (int pair = 0; pair < 2 && !st; pair++) {
        loam_post *p = pair ? &t->pair : &t->single;
        for (int side = 0; side <= pair && !st; side++) {
            st = add_token(t, p, bos, side, err);
            if (!st) st = add_item(t, p, 1 + side, side, NULL, 0, err);
            if (!st) st = add_token(t, p, eos, side, err);
        }
    }
    t->has_pair = 1;
    return st;
}

static loam_status bad(const loam_tokenizer *t, const char *what, loam_err *err) {
    return loam_fail(err, LOAM_ERR_FORMAT, "%s: post_processor: %s", t->name, what);
}

/* ids of template token `name` from the processor's special_tokens. */
static loam_status add_template_token(loam_tokenizer *t, loam_post *p, const loam_json_value *table,
                                      const char *name, int type_id, loam_err *err) {
    const loam_json_value *ids = loam_json_get(loam_json_get(table, name), "ids");
    if (loam_json_type_of(ids) != LOAM_JSON_ARRAY)
        return bad(t, "a template names a token without ids", err);
    for (const loam_json_value *v = loam_json_first(ids); v; v = loam_json_next(v)) {
        int64_t id;
        if (!loam_json_int(v, &id) || id < 0 || id >= LOAM_TOK_MAX_ID)
            return bad(t, "id out of range", err);
        const int32_t one = (int32_t)id;
        const loam_status st = add_item(t, p, 0, type_id, &one, 1, err);
        if (st) return st;
    }
    return LOAM_OK;
}

static loam_status read_template(loam_tokenizer *t, loam_post *p, const loam_json_value *list,
                                 const loam_json_value *table, loam_err *err) {
    if (loam_json_type_of(list) != LOAM_JSON_ARRAY)
        return bad(t, "template without its lists", err);
    for (const loam_json_value *v = loam_json_first(list); v; v = loam_json_next(v)) {
        const loam_json_value *seq = loam_json_get(v, "Sequence"),
                              *tok = loam_json_get(v, "SpecialToken");
        const loam_json_value *it = seq ? seq : tok;
        const char *id = loam_json_string(loam_json_get(it, "id"), NULL);
        int64_t type = 0;
        loam_json_int(loam_json_get(it, "type_id"), &type);
        if (!id || type < 0 || type > 1000) return bad(t, "template item without id", err);
        const loam_status st = seq ? add_item(t, p, id[0] == 'A' ? 1 : 2, (int)type, NULL, 0, err)
                                   : add_template_token(t, p, table, id, (int)type, err);
        if (st) return st;
    }
    return LOAM_OK;
}

/* Bert and Roberta: "sep": [text, id], "cls": [text, id]. */
static loam_status read_bert(loam_tokenizer *t, const loam_json_value *v, int roberta,
                             loam_err *err) {
    int64_t id[2];
    static const char *const KEYS[2] = {"cls", "sep"};
    for (int i = 0; i < 2; i++) {
        const loam_json_value *x = loam_json_get(v, KEYS[i]);
        if (loam_json_type_of(x) != LOAM_JSON_ARRAY || !loam_json_int(loam_json_at(x, 1), &id[i]) ||
            id[i] < 0 || id[i] >= LOAM_TOK_MAX_ID)
            return bad(t, "cls or sep is not [text, id]", err);
    }
    const int32_t cls = (int32_t)id[0], sep = (int32_t)id[1];
    const int second = roberta ? 0 : 1;
    loam_status st = add_item(t, &t->single, 0, 0, &cls, 1, err);
    if (!st) st = add_item(t, &t->single, 1, 0, NULL, 0, err);
    if (!st) st = add_item(t, &t->single, 0, 0, &sep, 1, err);
    if (!st) st = add_item(t, &t->pair, 0, 0, &cls, 1, err);
    if (!st) st = add_item(t, &t->pair, 1, 0, NULL, 0, err);
    if (!st) st = add_item(t, &t->pair, 0, 0, &sep, 1, err);
    if (!st && roberta) st = add_item(t, &t->pair, 0, 0, &sep, 1, err);
    if (!st) st = add_item(t, &t->pair, 2, second, NULL, 0, err);
    if (!st) st = add_item(t, &t->pair, 0, second, &sep, 1, err);
    t->has_pair = 1;
    return st;
}

static loam_status read_one(loam_tokenizer *t, const loam_json_value *v, loam_err *err) {
    const char *type = loam_json_string(loam_json_get(v, "type"), NULL);
    if (!type) return bad(t, "no type", err);
    if (strcmp(type, "ByteLevel") == 0) return LOAM_OK; /* changes offsets only */
    const int is_template = strcmp(type, "TemplateProcessing") == 0,
              roberta = strcmp(type, "RobertaProcessing") == 0;
    if (!is_template && !roberta && strcmp(type, "BertProcessing") != 0)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: post_processor '%s' is not supported",
                         t->name, type);
    if (t->single.n)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: post_processor: two that add tokens",
                         t->name);
    if (!is_template) return read_bert(t, v, roberta, err);
    const loam_json_value *table = loam_json_get(v, "special_tokens");
    loam_status st = read_template(t, &t->single, loam_json_get(v, "single"), table, err);
    const loam_json_value *pair = loam_json_get(v, "pair");
    if (!st && pair) {
        st = read_template(t, &t->pair, pair, table, err);
        t->has_pair = !st;
    }
    return st;
}

loam_status loam_post_read(loam_tokenizer *t, const loam_json_value *v, loam_err *err) {
    if (!v || loam_json_type_of(v) == LOAM_JSON_NULL) return LOAM_OK;
    const char *type = loam_json_string(loam_json_get(v, "type"), NULL);
    if (!type || strcmp(type, "Sequence") != 0) return read_one(t, v, err);
    const loam_json_value *list = loam_json_get(v, "processors");
    if (loam_json_type_of(list) != LOAM_JSON_ARRAY)
        return bad(t, "Sequence without processors", err);
    for (const loam_json_value *x = loam_json_first(list); x; x = loam_json_next(x)) {
        const loam_status st = read_one(t, x, err);
        if (st) return st;
    }
    return LOAM_OK;
}
