/* tokenizer.c - opening a tokenizer, and text -> ids. */
#include "text/tok.h"
#include "text/unicode.h"
#include "text/utf8.h"

int loam_ids_push(loam_ids *v, int32_t id) {
    if (!loam_grow((void **)&v->ids, &v->cap, v->n + 1, sizeof *v->ids)) return 0;
    v->ids[v->n++] = id;
    return 1;
}

void loam_ids_deinit(loam_ids *v) {
    free(v->ids);
    *v = (loam_ids){0};
}

void loam_tokenizer_close(loam_tokenizer *t) {
    if (!t) return;
    loam_vocab_deinit(&t->vocab);
    free(t->bpe.table);
    loam_str_free(&t->bpe.prefix);
    loam_str_free(&t->bpe.suffix);
    free(t->unigram.score);
    loam_trie_deinit(&t->unigram.trie);
    loam_str_free(&t->unk_token);
    loam_str_free(&t->wordpiece_prefix);
    for (size_t i = 0; i < t->n_norm; i++) loam_norm_free(&t->norm[i]);
    for (size_t i = 0; i < t->n_pre; i++) {
        loam_regex_free(t->pre[i].regex);
        loam_str_free(&t->pre[i].text);
    }
    for (size_t i = 0; i < t->n_dec; i++) {
        loam_regex_free(t->dec[i].regex);
        loam_str_free(&t->dec[i].pattern);
        loam_str_free(&t->dec[i].content);
    }
    free(t->single.items);
    free(t->pair.items);
    free(t->post_ids);
    free(t->added);
    loam_buf_deinit(&t->added_pool);
    loam_trie_deinit(&t->raw_trie);
    loam_trie_deinit(&t->norm_trie);
    free(t->bos);
    free(t->eos);
    free(t->name);
    free(t);
}

/* ---- opening ---- */

typedef enum source { FROM_NONE, FROM_JSON, FROM_SPM, FROM_BPE, FROM_VOCAB_TXT } source;

/* What there is to read: `path` is a folder or one of the files. */
static loam_status find_source(const char *path, source *kind, char **file, char **folder,
                               loam_err *err) {
    static const struct {
        const char *name;
        source kind;
    } FILES[] = {{"tokenizer.json", FROM_JSON}, {"tokenizer.model", FROM_SPM},
                 {"spiece.model", FROM_SPM},    {"sentencepiece.bpe.model", FROM_SPM},
                 {"vocab.json", FROM_BPE},      {"vocab.txt", FROM_VOCAB_TXT}};
    *kind = FROM_NONE;
    if (!loam_path_is_folder(path)) {
        if (!loam_path_exists(path))
            return loam_fail(err, LOAM_ERR_NOT_FOUND, "%s: no such file or folder", path);
        *kind = loam_ends_with(path, ".model") ? FROM_SPM
                : loam_ends_with(path, "vocab.json") || loam_ends_with(path, "merges.txt")
                    ? FROM_BPE
                : loam_ends_with(path, ".txt") ? FROM_VOCAB_TXT
                                               : FROM_JSON;
        const char *slash = strrchr(path, '/');
        *folder = slash ? loam_strndup(path, slash == path ? 1 : (size_t)(slash - path))
                        : loam_strdup(".");
        *file = !*folder ? NULL
                : *kind == FROM_BPE && loam_ends_with(path, "merges.txt")
                    ? loam_path_join(*folder, "vocab.json")
                    : loam_strdup(path);
        return *file ? LOAM_OK : loam_fail(err, LOAM_ERR_MEMORY, "%s", path);
    }
    *folder = loam_strdup(path);
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES && *folder; i++) {
        char *p = loam_path_join(path, FILES[i].name);
        if (!p) break;
        if (loam_path_exists(p)) {
            *file = p;
            *kind = FILES[i].kind;
            return LOAM_OK;
        }
        free(p);
    }
    return loam_fail(err, LOAM_ERR_NOT_FOUND,
                     "%s: no tokenizer: needs tokenizer.json, or tokenizer.model, or vocab.json "
                     "and merges.txt, or vocab.txt",
                     path);
}

/* tokenizer_config.json, or special_tokens_map.json beside it, when there. */
static loam_status read_config(const char *folder, const char *name, loam_json **out,
                               loam_err *err) {
    char *path = loam_path_join(folder, name);
    if (!path) return loam_fail(err, LOAM_ERR_MEMORY, "%s", folder);
    loam_status st = LOAM_OK;
    *out = NULL;
    if (loam_path_exists(path))
        st = loam_json_read(out, path, (size_t)64 << 20, LOAM_JSON_ALLOW_NAN, err);
    free(path);
    return st;
}

/* added_tokens_decoder: {"id": {content, flags}}; tokens that tokenizer.json has already stay as they are. */
static loam_status read_added_decoder(loam_tokenizer *t, const loam_json_value *config,
                                      loam_err *err) {
    const loam_json_value *map = loam_json_get(config, "added_tokens_decoder");
    for (const loam_json_value *v = loam_json_first(map); v; v = loam_json_next(v)) {
        size_t n = 0, n_key = 0;
        const char *s = loam_json_string(loam_json_get(v, "content"), &n);
        const char *key = loam_json_own_key(v, &n_key);
        if (!s || !n || !key) continue;
        const int32_t there = loam_vocab_get(&t->vocab, s, n);
        if (there >= 0 && (t->vocab.flags[there] & LOAM_TOK_ADDED)) continue;
        char *end = NULL;
        const long long id = strtoll(key, &end, 10);
        size_t taken = 0;
        if (end == key || *end || id < 0 || id >= LOAM_TOK_MAX_ID)
            return loam_fail(err, LOAM_ERR_FORMAT,
                             "%s: tokenizer_config.json: added_tokens_decoder: id '%s'", t->name,
                             key);
        if (there < 0 && loam_vocab_text(&t->vocab, (int32_t)id, &taken))
            continue; /* the file with the vocabulary wins */
        int flag[5] = {0, 0, 0, 0, 1};
        static const char *const KEYS[5] = {"special", "lstrip", "rstrip", "single_word",
                                            "normalized"};
        for (int i = 0; i < 5; i++) loam_json_bool(loam_json_get(v, KEYS[i]), &flag[i]);
        const loam_added a = {.special = (unsigned char)flag[0],
                              .lstrip = (unsigned char)flag[1],
                              .rstrip = (unsigned char)flag[2],
                              .single_word = (unsigned char)flag[3],
                              .normalized = (unsigned char)flag[4]};
        const loam_status st = loam_added_put(t, s, n, id, &a, err);
        if (st) return st;
    }
    return LOAM_OK;
}

static loam_status keep_names(loam_tokenizer *t, const loam_json_value *config,
                              const loam_json_value *map, loam_err *err) {
    char **out[2] = {&t->bos, &t->eos};
    static const char *const KEYS[2] = {"bos_token", "eos_token"};
    for (int i = 0; i < 2; i++) {
        const char *s = loam_tok_config_text(config, KEYS[i], NULL);
        if (!s && !loam_json_get(config, KEYS[i])) s = loam_tok_config_text(map, KEYS[i], NULL);
        if (s && !(*out[i] = loam_strdup(s))) return loam_fail(err, LOAM_ERR_MEMORY, "%s", t->name);
    }
    loam_json_bool(loam_json_get(config, "clean_up_tokenization_spaces"), &t->clean_up);
    return LOAM_OK;
}

static loam_status load(loam_tokenizer *t, source kind, const char *file, const char *folder,
                        const loam_json_value *config, loam_err *err) {
    if (kind == FROM_JSON) return loam_tok_load_json(t, file, err);
    if (kind == FROM_SPM) return loam_tok_load_spm(t, file, config, err);
    if (kind == FROM_VOCAB_TXT) return loam_tok_load_vocab_txt(t, file, config, err);
    char *merges = loam_path_join(folder, "merges.txt");
    const loam_status st = merges ? loam_tok_load_bpe_files(t, file, merges, config, err)
                                  : loam_fail(err, LOAM_ERR_MEMORY, "%s", file);
    free(merges);
    return st;
}

/* Last steps, once everything is read: what the parts mean together. */
static loam_status finish(loam_tokenizer *t, loam_err *err) {
    const loam_status st = loam_added_finish(t, err);
    if (st) return st;
    for (size_t i = 0; i < t->n_post_ids; i++)
        if (t->post_ids[i] < 0)
            return loam_fail(err, LOAM_ERR_FORMAT, "%s: post_processor: negative id", t->name);
    if (t->kind != LOAM_BPE) return LOAM_OK;
    t->raw_bytes = t->bpe.raw && t->n_pre && t->pre[t->n_pre - 1].kind == LOAM_PRE_BYTE_LEVEL;
    const int32_t mark = loam_vocab_model(&t->vocab, "\xe2\x96\x81", 3);
    const int byte_level = t->n_pre && t->pre[t->n_pre - 1].kind == LOAM_PRE_BYTE_LEVEL;
    if (!byte_level && mark >= 0 && !t->bpe.ignore_merges && !t->bpe.prefix.n && !t->bpe.suffix.n)
        t->pre[t->n_pre++].kind = LOAM_PRE_SAFE_SPLIT;
    return LOAM_OK;
}

loam_status loam_tokenizer_open(loam_tokenizer **out, const char *path, loam_err *err) {
    source kind = FROM_NONE;
    char *file = NULL, *folder = NULL;
    loam_json *config = NULL, *map = NULL;
    loam_tokenizer *t = NULL;
    *out = NULL;
    loam_status st = find_source(path, &kind, &file, &folder, err);
    if (st) goto done;
    t = loam_alloc(1, sizeof *t);
    if (!t || !(t->name = loam_strdup(file))) {
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s", file);
        goto done;
    }
    t->unk_id = -1;
    st = read_config(folder, "tokenizer_config.json", &config, err);
    if (!st) st = read_config(folder, "special_tokens_map.json", &map, err);
    if (!st) st = load(t, kind, file, folder, loam_json_root(config), err);
    if (!st) st = read_added_decoder(t, loam_json_root(config), err);
    if (!st) st = keep_names(t, loam_json_root(config), loam_json_root(map), err);
    if (!st) st = finish(t, err);
    if (st) goto done;
    *out = t;
    t = NULL;
done:
    loam_tokenizer_close(t);
    loam_json_free(config);
    loam_json_free(map);
    free(file);
    free(folder);
    return st;
}

/* ---- encoding ---- */

/* Plain text between added tokens; `first`: it starts the whole text. */
typedef loam_status (*segment)(loam_encoding *e, const char *s, size_t n, int first);

/* Longest added token at s[i], or -1. */
static int32_t match_added(const loam_trie *trie, const char *s, size_t n, size_t i, size_t *end) {
    int32_t found = -1;
    uint32_t node = 0;
    for (size_t k = i; k < n; k++) {
        node = loam_trie_step(trie, node, (unsigned char)s[k]);
        if (!node) break;
        if (trie->value[node] >= 0) {
            found = trie->value[node];
            *end = k + 1;
        }
    }
    return found;
}

static size_t next_start(const loam_trie *trie, const char *s, size_t n, size_t i) {
    if (trie->n_first == 1) {
        const char *hit = i < n ? memchr(s + i, trie->only_first, n - i) : NULL;
        return hit ? (size_t)(hit - s) : n;
    }
    while (i < n && !trie->root[(unsigned char)s[i]]) i++;
    return i;
}

static int is_single_word(const char *s, size_t n, size_t start, size_t end) {
    if (start) {
        size_t at = loam_utf8_prev(s, start);
        if (loam_uc_is_word(loam_utf8_next(s, &at))) return 0;
    }
    return end == n || !loam_uc_is_word(loam_utf8_next(s, &end));
}

/* Cut the added tokens of the trie out of the text; everything between goes to `rest`. */
static loam_status cut_added(loam_encoding *e, const loam_trie *trie, int skip_special,
                             const char *s, size_t n, int first, segment rest) {
    const loam_tokenizer *t = e->tok;
    size_t done = 0, end = 0;
    loam_status st = LOAM_OK;
    for (size_t i = next_start(trie, s, n, 0); i < n && !st; i = next_start(trie, s, n, i)) {
        const int32_t k = match_added(trie, s, n, i, &end);
        if (k < 0) {
            i++;
            continue;
        }
        const loam_added *a = &t->added[k];
        size_t start = i;
        i = end;
        if ((skip_special && a->special) || (a->single_word && !is_single_word(s, n, start, end)))
            continue;
        while (a->lstrip && start > done) {
            const size_t prev = loam_utf8_prev(s, start);
            size_t at = prev;
            if (!loam_uc_is_space(loam_utf8_next(s, &at))) break;
            start = prev;
        }
        while (a->rstrip && end < n) {
            size_t next = end;
            if (!loam_uc_is_space(loam_utf8_next(s, &next))) break;
            end = next;
        }
        if (done < start) st = rest(e, s + done, start - done, first && done == 0);
        if (!st) st = loam_encoding_push(e, a->id);
        done = end;
    }
    if (!st && done < n) st = rest(e, s + done, n - done, first && done == 0);
    return st;
}

static loam_status encode_piece(loam_encoding *e, const char *s, size_t n, int first) {
    return loam_pre_apply(e, 0, s, n, first);
}

static loam_status encode_plain(loam_encoding *e, const char *s, size_t n, int first) {
    const loam_tokenizer *t = e->tok;
    if (t->n_norm) {
        const loam_status st = loam_norm_apply(t, s, n, &e->norm[0], &e->norm[1], &s, &n, e->err);
        if (st) return st;
    }
    if (!n) return LOAM_OK;
    if (!t->has_norm_trie) return encode_piece(e, s, n, first);
    return cut_added(e, &t->norm_trie, e->skip_special, s, n, first, encode_piece);
}

static loam_status encode_sequence(loam_encoding *e, const char *s, size_t n) {
    if (!n) return LOAM_OK;
    if (!e->tok->has_raw_trie) return encode_plain(e, s, n, 1);
    return cut_added(e, &e->tok->raw_trie, e->skip_special, s, n, 1, encode_plain);
}

void loam_encoding_deinit(loam_encoding *e) {
    loam_words_deinit(e);
    free(e->symbols);
    free(e->heap);
    free(e->best);
    loam_buf_deinit(&e->word);
    loam_buf_deinit(&e->norm[0]);
    loam_buf_deinit(&e->norm[1]);
    for (size_t i = 0; i < LOAM_TOK_MAX_STEPS; i++) loam_buf_deinit(&e->step[i]);
}

static loam_status check_text(const char *s, size_t n, loam_err *err) {
    if (n > LOAM_TOK_MAX_TEXT)
        return loam_fail(err, LOAM_ERR_LIMIT,
                         "text of %zu bytes: at most %d can be tokenized at once", n,
                         LOAM_TOK_MAX_TEXT);
    const size_t bad = loam_utf8_check(s, n);
    return bad == n ? LOAM_OK
                    : loam_fail(err, LOAM_ERR_FORMAT, "text is not UTF-8 at byte %zu", bad);
}

static loam_status push_post(const loam_tokenizer *t, const loam_post_item *item, loam_ids *ids,
                             loam_ids *types, loam_err *err) {
    for (size_t i = 0; i < item->n; i++)
        if (!loam_ids_push(ids, t->post_ids[item->at + i]) ||
            (types && !loam_ids_push(types, item->type_id)))
            return loam_fail(err, LOAM_ERR_MEMORY, "%s: ids", t->name);
    return LOAM_OK;
}

loam_status loam_encoding_text(loam_encoding *e, const char *text, size_t n, unsigned flags) {
    const loam_tokenizer *tok = e->tok;
    loam_status st = check_text(text, n, e->err);
    if (st) return st;
    const size_t before = e->out->n;
    e->skip_special = !(flags & LOAM_ENCODE_PARSE_SPECIAL);
    if (!tok->single.n) st = encode_sequence(e, text, n);
    for (size_t i = 0; i < tok->single.n && !st; i++) {
        const loam_post_item *item = &tok->single.items[i];
        if (item->kind == 1)
            st = encode_sequence(e, text, n);
        else if (item->kind == 0 && (flags & LOAM_ENCODE_SPECIAL))
            st = push_post(tok, item, e->out, NULL, e->err);
    }
    if (st) e->out->n = before;
    return st;
}

loam_status loam_tokenizer_encode(const loam_tokenizer *tok, const char *text, size_t n,
                                  unsigned flags, loam_ids *out, loam_err *err) {
    loam_encoding e = {.tok = tok, .out = out, .err = err};
    loam_words_init(&e, n);
    const loam_status st = loam_encoding_text(&e, text, n, flags);
    loam_encoding_deinit(&e);
    return st;
}

/* "Longest first": cut the longer one, then both to halves, as the reference does. */
static void cut_longest_first(size_t room, size_t *a, size_t *b) {
    if (*a + *b <= room) return;
    size_t n1 = *a < *b ? *a : *b, n2;
    if (n1 > room)
        n2 = n1;
    else
        n2 = n1 > room - n1 ? n1 : room - n1;
    if (n1 + n2 > room) {
        n1 = room / 2;
        n2 = n1 + room % 2;
    }
    if (*a <= *b) {
        *a = n1;
        *b = n2;
    } else {
        *a = n2;
        *b = n1;
    }
}

loam_status loam_tokenizer_encode_pair(const loam_tokenizer *tok, const char *a, size_t n_a,
                                       const char *b, size_t n_b, size_t max_ids, unsigned flags,
                                       loam_ids *ids, loam_ids *type_ids, loam_err *err) {
    if (!tok->has_pair)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: no form for pairs of texts", tok->name);
    if (max_ids && max_ids < tok->pair.n_added)
        return loam_fail(err, LOAM_ERR_ARGUMENT,
                         "%s: %zu ids do not hold the %zu special tokens of a pair", tok->name,
                         max_ids, tok->pair.n_added);
    loam_ids part[2] = {{0}, {0}};
    const char *text[2] = {a, b};
    const size_t size[2] = {n_a, n_b};
    const size_t before = ids->n, types_before = type_ids ? type_ids->n : 0;
    loam_status st = LOAM_OK;
    for (int i = 0; i < 2 && !st; i++) {
        st = check_text(text[i], size[i], err);
        if (st) break;
        loam_encoding e = {.tok = tok,
                           .out = &part[i],
                           .err = err,
                           .skip_special = !(flags & LOAM_ENCODE_PARSE_SPECIAL)};
        loam_words_init(&e, size[i]);
        st = encode_sequence(&e, text[i], size[i]);
        loam_encoding_deinit(&e);
    }
    size_t keep[2] = {part[0].n, part[1].n};
    if (max_ids) cut_longest_first(max_ids - tok->pair.n_added, &keep[0], &keep[1]);
    for (size_t i = 0; i < tok->pair.n && !st; i++) {
        const loam_post_item *item = &tok->pair.items[i];
        if (item->kind == 0) {
            st = push_post(tok, item, ids, type_ids, err);
            continue;
        }
        const loam_ids *p = &part[item->kind - 1];
        for (size_t k = 0; k < keep[item->kind - 1] && !st; k++)
            if (!loam_ids_push(ids, p->ids[k]) ||
                (type_ids && !loam_ids_push(type_ids, item->type_id)))
                st = loam_fail(err, LOAM_ERR_MEMORY, "%s: ids", tok->name);
    }
    loam_ids_deinit(&part[0]);
    loam_ids_deinit(&part[1]);
    if (st) {
        ids->n = before;
        if (type_ids) type_ids->n = types_before;
    }
    return st;
}

/* ---- asking ---- */

size_t loam_tokenizer_n_added(const loam_tokenizer *tok) {
    return tok->single.n_added;
}
size_t loam_tokenizer_size(const loam_tokenizer *tok) {
    return tok->vocab.n_ids;
}
int32_t loam_tokenizer_id(const loam_tokenizer *tok, const char *token) {
    return loam_vocab_get(&tok->vocab, token, strlen(token));
}
const char *loam_tokenizer_token(const loam_tokenizer *tok, int32_t id, size_t *n) {
    size_t length = 0;
    const char *s = loam_vocab_text(&tok->vocab, id, &length);
    if (n) *n = length;
    return s;
}
int loam_tokenizer_is_special(const loam_tokenizer *tok, int32_t id) {
    return id >= 0 && (size_t)id < tok->vocab.n_ids &&
           (tok->vocab.flags[id] & LOAM_TOK_SPECIAL) != 0;
}
const char *loam_tokenizer_bos(const loam_tokenizer *tok) {
    return tok->bos;
}
const char *loam_tokenizer_eos(const loam_tokenizer *tok) {
    return tok->eos;
}
