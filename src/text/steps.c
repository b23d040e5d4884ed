/* steps.c - reading the component lists of tokenizer.json.
 *
 * A component that is not known here is an error that names it: passing over it would
 * give other ids than the model was trained with, without a sign. */
#include "text/tok.h"
#include "text/utf8.h"

static loam_status unsupported(const loam_tokenizer *t, const char *what, const char *type,
                               loam_err *err) {
    return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: %s '%s' is not supported", t->name, what,
                     type ? type : "(no type)");
}

static loam_status bad_field(const loam_tokenizer *t, const char *type, const char *field,
                             loam_err *err) {
    return loam_fail(err, LOAM_ERR_FORMAT, "%s: %s: '%s' is missing or has the wrong type", t->name,
                     type, field);
}

static const char *type_of(const loam_json_value *v) {
    const char *s = loam_json_string(loam_json_get(v, "type"), NULL);
    return s ? s : "";
}

static int get_bool(const loam_json_value *v, const char *key, int standard) {
    int b = standard;
    loam_json_bool(loam_json_get(v, key), &b);
    return b;
}

static loam_status get_str(const loam_tokenizer *t, const loam_json_value *v, const char *type,
                           const char *key, loam_str *out, loam_err *err) {
    size_t n = 0;
    const char *s = loam_json_string(loam_json_get(v, key), &n);
    if (!s) return bad_field(t, type, key, err);
    return loam_str_set(out, s, n) ? LOAM_OK
                                   : loam_fail(err, LOAM_ERR_MEMORY, "%s: %s", t->name, type);
}

/* "pattern": {"String": s} or {"Regex": s} */
static loam_status get_pattern(const loam_tokenizer *t, const loam_json_value *v, const char *type,
                               loam_str *text, loam_regex **regex, loam_err *err) {
    const loam_json_value *p = loam_json_get(v, "pattern");
    size_t n = 0;
    const char *s = loam_json_string(loam_json_get(p, "Regex"), &n);
    if (s) return loam_regex_new(regex, s, n, t->name, err);
    return get_str(t, p, type, "String", text, err);
}

/* ---- base64, as far as precompiled_charsmap needs it ---- */

static int base64_value(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int decode_base64(loam_buf *out, const char *s, size_t n) {
    uint32_t bits = 0;
    unsigned have = 0;
    while (n && s[n - 1] == '=') n--;
    if (!loam_buf_reserve(out, n)) return 0;
    for (size_t i = 0; i < n; i++) {
        const int v = base64_value(s[i]);
        if (v < 0) return 0;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            loam_buf_putc(out, (char)(bits >> have & 0xff));
        }
    }
    return !out->failed;
}

/* ---- normalizers ---- */

static loam_status read_bert_norm(const loam_json_value *v, loam_norm *s) {
    s->kind = LOAM_NORM_BERT;
    s->clean = get_bool(v, "clean_text", 1);
    s->chinese = get_bool(v, "handle_chinese_chars", 1);
    s->strip_accents = get_bool(v, "strip_accents", -1);
    s->lower = get_bool(v, "lowercase", 1);
    return LOAM_OK;
}

static loam_status read_charsmap(loam_tokenizer *t, const loam_json_value *v, loam_norm *s,
                                 loam_err *err) {
    size_t n = 0;
    const char *text = loam_json_string(loam_json_get(v, "precompiled_charsmap"), &n);
    loam_buf blob = {0};
    loam_status st;
    s->kind = LOAM_NORM_PRECOMPILED;
    if (!text) return bad_field(t, "Precompiled", "precompiled_charsmap", err);
    if (!decode_base64(&blob, text, n))
        st = loam_fail(err, LOAM_ERR_FORMAT, "%s: precompiled_charsmap is not base64", t->name);
    else
        st = loam_charsmap_parse(&s->map, (const unsigned char *)(blob.data ? blob.data : ""),
                                 blob.n, t->name, err);
    loam_buf_deinit(&blob);
    return st;
}

static loam_status read_norm(loam_tokenizer *t, const loam_json_value *v, loam_err *err) {
    static const struct {
        const char *type;
        loam_norm_kind kind;
        int form;
    } PLAIN[] = {{"NFC", LOAM_NORM_FORM, 0},        {"NFD", LOAM_NORM_FORM, 1},
                 {"NFKC", LOAM_NORM_FORM, 2},       {"NFKD", LOAM_NORM_FORM, 3},
                 {"Lowercase", LOAM_NORM_LOWER, 0}, {"StripAccents", LOAM_NORM_STRIP_ACCENTS, 0},
                 {"Nmt", LOAM_NORM_NMT, 0},         {"ByteLevel", LOAM_NORM_BYTE_LEVEL, 0}};
    const char *type = type_of(v);
    if (t->n_norm == LOAM_TOK_MAX_STEPS)
        return loam_fail(err, LOAM_ERR_LIMIT, "%s: more than %d normalizers", t->name,
                         LOAM_TOK_MAX_STEPS);
    loam_norm *s = &t->norm[t->n_norm++];
    for (size_t i = 0; i < sizeof PLAIN / sizeof *PLAIN; i++) {
        if (strcmp(type, PLAIN[i].type) != 0) continue;
        s->kind = PLAIN[i].kind;
        s->form = PLAIN[i].form;
        return LOAM_OK;
    }
    if (strcmp(type, "BertNormalizer") == 0) return read_bert_norm(v, s);
    if (strcmp(type, "Precompiled") == 0) return read_charsmap(t, v, s, err);
    if (strcmp(type, "Strip") == 0) {
        s->kind = LOAM_NORM_STRIP;
        s->left = get_bool(v, "strip_left", 1);
        s->right = get_bool(v, "strip_right", 1);
        return LOAM_OK;
    }
    if (strcmp(type, "Prepend") == 0) {
        s->kind = LOAM_NORM_PREPEND;
        return get_str(t, v, type, "prepend", &s->content, err);
    }
    if (strcmp(type, "Replace") == 0) {
        s->kind = LOAM_NORM_REPLACE;
        const loam_status st = get_pattern(t, v, type, &s->pattern, &s->regex, err);
        return st ? st : get_str(t, v, type, "content", &s->content, err);
    }
    return unsupported(t, "normalizer", type, err);
}

/* ---- pre-tokenizers ---- */

static loam_status get_behavior(loam_tokenizer *t, const loam_json_value *v, const char *type,
                                loam_behavior standard, loam_behavior *out, loam_err *err) {
    static const char *const NAMES[] = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious",
                                        "MergedWithNext"};
    const char *s = loam_json_string(loam_json_get(v, "behavior"), NULL);
    *out = standard;
    if (!s && !loam_json_get(v, "behavior")) return LOAM_OK;
    for (int i = 0; s && i < 5; i++) {
        if (strcmp(s, NAMES[i]) != 0) continue;
        *out = (loam_behavior)i;
        return LOAM_OK;
    }
    return s ? unsupported(t, "behavior", s, err) : bad_field(t, type, "behavior", err);
}

/* "prepend_scheme", or add_prefix_space of older files: 0 never, 1 first, 2 always */
static loam_status get_scheme(loam_tokenizer *t, const loam_json_value *v, int *out,
                              loam_err *err) {
    const char *s = loam_json_string(loam_json_get(v, "prepend_scheme"), NULL);
    *out = s && strcmp(s, "never") == 0 ? 0 : s && strcmp(s, "first") == 0 ? 1 : 2;
    if (s && *out == 2 && strcmp(s, "always") != 0) return unsupported(t, "prepend_scheme", s, err);
    if (get_bool(v, "add_prefix_space", 1) == 0) *out = 0;
    return LOAM_OK;
}

static loam_status read_metaspace(loam_tokenizer *t, const loam_json_value *v, loam_pre *s,
                                  loam_err *err) {
    s->kind = LOAM_PRE_METASPACE;
    s->split = get_bool(v, "split", 1);
    const loam_status st = get_scheme(t, v, &s->scheme, err);
    return st ? st : get_str(t, v, "Metaspace", "replacement", &s->text, err);
}

static loam_status read_split(loam_tokenizer *t, const loam_json_value *v, loam_pre *s,
                              loam_err *err) {
    s->kind = LOAM_PRE_SPLIT;
    s->invert = get_bool(v, "invert", 0);
    const loam_status st = get_behavior(t, v, "Split", LOAM_ISOLATED, &s->behavior, err);
    return st ? st : get_pattern(t, v, "Split", &s->text, &s->regex, err);
}

static loam_status read_other_pre(loam_tokenizer *t, const loam_json_value *v, loam_pre *s,
                                  const char *type, loam_err *err) {
    if (strcmp(type, "Digits") == 0) {
        s->kind = LOAM_PRE_DIGITS;
        s->behavior = get_bool(v, "individual_digits", 0) ? LOAM_ISOLATED : LOAM_CONTIGUOUS;
        return LOAM_OK;
    }
    if (strcmp(type, "Punctuation") == 0) {
        s->kind = LOAM_PRE_PUNCTUATION;
        return get_behavior(t, v, type, LOAM_ISOLATED, &s->behavior, err);
    }
    if (strcmp(type, "CharDelimiterSplit") == 0) {
        size_t n = 0, i = 0;
        const char *c = loam_json_string(loam_json_get(v, "delimiter"), &n);
        if (!c || !n) return bad_field(t, type, "delimiter", err);
        s->kind = LOAM_PRE_DELIMITER;
        s->delimiter = loam_utf8_next(c, &i);
        return i == n ? LOAM_OK : bad_field(t, type, "delimiter", err);
    }
    if (strcmp(type, "FixedLength") == 0) {
        int64_t n = 5;
        if (loam_json_get(v, "length") &&
            (!loam_json_int(loam_json_get(v, "length"), &n) || n < 1 || n > 1 << 30))
            return bad_field(t, type, "length", err);
        s->kind = LOAM_PRE_FIXED;
        s->length = (size_t)n;
        return LOAM_OK;
    }
    return unsupported(t, "pre_tokenizer", type, err);
}

static loam_status read_pre(loam_tokenizer *t, const loam_json_value *v, loam_err *err) {
    const char *type = type_of(v);
    if (t->n_pre == LOAM_TOK_MAX_STEPS - 1) /* one place is ours, for LOAM_PRE_SAFE_SPLIT */
        return loam_fail(err, LOAM_ERR_LIMIT, "%s: more than %d pre-tokenizers", t->name,
                         LOAM_TOK_MAX_STEPS - 1);
    loam_pre *s = &t->pre[t->n_pre++];
    s->behavior = LOAM_ISOLATED;
    if (strcmp(type, "ByteLevel") == 0) {
        s->kind = LOAM_PRE_BYTE_LEVEL;
        s->prefix_space = get_bool(v, "add_prefix_space", 1);
        s->use_regex = get_bool(v, "use_regex", 1);
        return LOAM_OK;
    }
    if (strcmp(type, "Split") == 0) return read_split(t, v, s, err);
    if (strcmp(type, "Metaspace") == 0) return read_metaspace(t, v, s, err);
    if (strcmp(type, "BertPreTokenizer") == 0) {
        s->kind = LOAM_PRE_BERT;
        return LOAM_OK;
    }
    if (strcmp(type, "Whitespace") == 0) {
        s->kind = LOAM_PRE_WHITESPACE;
        return LOAM_OK;
    }
    if (strcmp(type, "WhitespaceSplit") == 0) {
        s->kind = LOAM_PRE_SPACE_SPLIT;
        s->behavior = LOAM_REMOVED;
        return LOAM_OK;
    }
    return read_other_pre(t, v, s, type, err);
}

/* ---- decoders ---- */

static loam_status read_dec_fields(loam_tokenizer *t, const loam_json_value *v, loam_dec *s,
                                   const char *type, loam_err *err) {
    loam_status st;
    switch (s->kind) {
    case LOAM_DEC_WORDPIECE:
        s->cleanup = get_bool(v, "cleanup", 1);
        return get_str(t, v, type, "prefix", &s->pattern, err);
    case LOAM_DEC_METASPACE: {
        int scheme = 0;
        st = get_scheme(t, v, &scheme, err);
        s->prepends = scheme != 0;
        return st ? st : get_str(t, v, type, "replacement", &s->pattern, err);
    }
    case LOAM_DEC_BPE: return get_str(t, v, type, "suffix", &s->pattern, err);
    case LOAM_DEC_CTC:
        s->cleanup = get_bool(v, "cleanup", 1);
        st = get_str(t, v, type, "pad_token", &s->pattern, err);
        return st ? st : get_str(t, v, type, "word_delimiter_token", &s->content, err);
    case LOAM_DEC_REPLACE:
        st = get_pattern(t, v, type, &s->pattern, &s->regex, err);
        return st ? st : get_str(t, v, type, "content", &s->content, err);
    case LOAM_DEC_STRIP: {
        int64_t start = 0, stop = 0;
        loam_json_int(loam_json_get(v, "start"), &start);
        loam_json_int(loam_json_get(v, "stop"), &stop);
        if (start < 0 || stop < 0) return bad_field(t, type, "start", err);
        s->start = (size_t)start;
        s->stop = (size_t)stop;
        st = get_str(t, v, type, "content", &s->content, err);
        return st ? st : s->content.n ? LOAM_OK : bad_field(t, type, "content", err);
    }
    default: return LOAM_OK;
    }
}

static loam_status read_dec(loam_tokenizer *t, const loam_json_value *v, loam_err *err) {
    static const struct {
        const char *type;
        loam_dec_kind kind;
    } TYPES[] = {{"ByteLevel", LOAM_DEC_BYTE_LEVEL},
                 {"WordPiece", LOAM_DEC_WORDPIECE},
                 {"Metaspace", LOAM_DEC_METASPACE},
                 {"BPEDecoder", LOAM_DEC_BPE},
                 {"CTC", LOAM_DEC_CTC},
                 {"Replace", LOAM_DEC_REPLACE},
                 {"Fuse", LOAM_DEC_FUSE},
                 {"Strip", LOAM_DEC_STRIP},
                 {"ByteFallback", LOAM_DEC_BYTE_FALLBACK}};
    const char *type = type_of(v);
    if (t->n_dec == LOAM_TOK_MAX_STEPS)
        return loam_fail(err, LOAM_ERR_LIMIT, "%s: more than %d decoders", t->name,
                         LOAM_TOK_MAX_STEPS);
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
        if (strcmp(type, TYPES[i].type) != 0) continue;
        loam_dec *s = &t->dec[t->n_dec++];
        s->kind = TYPES[i].kind;
        return read_dec_fields(t, v, s, type, err);
    }
    return unsupported(t, "decoder", type, err);
}

/* ---- lists ---- */

typedef loam_status (*reader)(loam_tokenizer *, const loam_json_value *, loam_err *);

/* One component, or a Sequence of them (which may hold Sequences). */
static loam_status read_list(loam_tokenizer *t, const loam_json_value *v, const char *key,
                             reader read, int depth, loam_err *err) {
    if (!v || loam_json_type_of(v) == LOAM_JSON_NULL) return LOAM_OK;
    if (loam_json_type_of(v) != LOAM_JSON_OBJECT)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: a component is not an object", t->name);
    if (strcmp(type_of(v), "Sequence") != 0) return read(t, v, err);
    const loam_json_value *list = loam_json_get(v, key);
    if (loam_json_type_of(list) != LOAM_JSON_ARRAY) return bad_field(t, "Sequence", key, err);
    if (depth == 8)
        return loam_fail(err, LOAM_ERR_LIMIT, "%s: Sequences nested too deeply", t->name);
    for (const loam_json_value *x = loam_json_first(list); x; x = loam_json_next(x)) {
        const loam_status st = read_list(t, x, key, read, depth + 1, err);
        if (st) return st;
    }
    return LOAM_OK;
}

loam_status loam_norm_read(loam_tokenizer *t, const loam_json_value *v, loam_err *err) {
    return read_list(t, v, "normalizers", read_norm, 0, err);
}

loam_status loam_pre_read(loam_tokenizer *t, const loam_json_value *v, loam_err *err) {
    return read_list(t, v, "pretokenizers", read_pre, 0, err);
}

loam_status loam_dec_read(loam_tokenizer *t, const loam_json_value *v, loam_err *err) {
    if (!v || loam_json_type_of(v) == LOAM_JSON_NULL) {
        t->dec[t->n_dec++].kind = LOAM_DEC_JOIN_SPACE;
        return LOAM_OK;
    }
    return read_list(t, v, "decoders", read_dec, 0, err);
}

static loam_status read_text(loam_tokenizer *t, const char *json,
                             loam_status (*read)(loam_tokenizer *, const loam_json_value *,
                                                 loam_err *),
                             loam_err *err) {
    loam_json *doc = NULL;
    loam_status st = loam_json_parse(&doc, json, strlen(json), "component", 0, err);
    if (!st) st = read(t, loam_json_root(doc), err);
    loam_json_free(doc);
    return st;
}

loam_status loam_norm_read_text(loam_tokenizer *t, const char *json, loam_err *err) {
    return read_text(t, json, loam_norm_read, err);
}
loam_status loam_pre_read_text(loam_tokenizer *t, const char *json, loam_err *err) {
    return read_text(t, json, loam_pre_read, err);
}
loam_status loam_dec_read_text(loam_tokenizer *t, const char *json, loam_err *err) {
    return read_text(t, json, loam_dec_read, err);
}
