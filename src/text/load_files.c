/* load_files.c - vocab.json + merges.txt, vocab.txt, and SentencePiece models.
 *
 * None of these says how text is normalized and cut; the tokenizer's class in
 * tokenizer_config.json does.  Each is turned into the components that the class has in
 * transformers, written as the JSON that tokenizer.json would hold. */
#include "text/tok.h"
#include "text/utf8.h"

const char *loam_tok_config_text(const loam_json_value *config, const char *key, size_t *n) {
    const loam_json_value *v = loam_json_get(config, key);
    const char *s = loam_json_string(v, n);
    return s ? s : loam_json_string(loam_json_get(v, "content"), n);
}

static const char *config_or(const loam_json_value *config, const char *key, const char *standard) {
    const char *s = loam_tok_config_text(config, key, NULL);
    return s ? s : standard;
}

static int config_bool(const loam_json_value *config, const char *key, int standard) {
    int b = standard;
    loam_json_bool(loam_json_get(config, key), &b);
    return b;
}

/* The class name without "Fast", as a prefix test. */
static int class_is(const loam_json_value *config, const char *name) {
    const char *c = loam_json_string(loam_json_get(config, "tokenizer_class"), NULL);
    return c && strncmp(c, name, strlen(name)) == 0;
}

/* CLIP's files, by their class, or without one by their words' ends. */
static int is_clip(const loam_tokenizer *t, const loam_json_value *config) {
    if (loam_json_string(loam_json_get(config, "tokenizer_class"), NULL))
        return class_is(config, "CLIPTokenizer");
    return loam_vocab_get(&t->vocab, "a</w>", 5) >= 0 &&
           loam_vocab_get(&t->vocab, "<|startoftext|>", 15) >= 0;
}

/* Make `text` a special token, when the vocabulary holds it. */
static loam_status mark_special(loam_tokenizer *t, const char *text, loam_err *err) {
    static const loam_added SPECIAL = {.special = 1};
    if (!text) return LOAM_OK;
    const int32_t id = loam_vocab_get(&t->vocab, text, strlen(text));
    if (id < 0 || (t->vocab.flags[id] & LOAM_TOK_ADDED)) return LOAM_OK;
    return loam_added_put(t, text, strlen(text), id, &SPECIAL, err);
}

static const char *if_known(const loam_tokenizer *t, const char *text) {
    return text && loam_vocab_get(&t->vocab, text, strlen(text)) >= 0 ? text : NULL;
}

/* ---- vocab.json + merges.txt ---- */

static loam_status read_merges_txt(loam_tokenizer *t, const char *path, loam_err *err) {
    loam_map map = {0};
    loam_status st = loam_map_open(&map, path, err);
    if (st) return st;
    const char *p = map.size ? (const char *)map.base : "", *end = p + map.size;
    st = loam_bpe_start(t, t->vocab.n_used, err);
    for (size_t line = 1; p < end && !st; line++) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        const char *stop = nl ? nl : end;
        size_t n = (size_t)(stop - p);
        if (n && p[n - 1] == '\r') n--;
        if (n && !(n >= 8 && memcmp(p, "#version", 8) == 0)) {
            const char *space = memchr(p, ' ', n);
            if (!space || memchr(space + 1, ' ', n - (size_t)(space + 1 - p)))
                st = loam_fail(err, LOAM_ERR_FORMAT, "%s: line %zu is not two tokens", path, line);
            else
                st = loam_bpe_merge(t, p, (size_t)(space - p), space + 1,
                                    n - (size_t)(space + 1 - p), UINT32_MAX, err);
        }
        p = nl ? nl + 1 : end;
    }
    loam_map_close(&map);
    return st;
}

#define LLAMA_SPLIT(digits)                                                                        \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{" \
    "L}\\\\p{N}]?\\\\p{L}+|"                                                                       \
    "\\\\p{N}" digits                                                                              \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},"     \
    "\"behavior\":\"Isolated\",\"invert\":false}"
#define BYTES_ONLY   "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define BYTE_DECODER "{\"type\":\"ByteLevel\"}"

static loam_status clip_components(loam_tokenizer *t, loam_err *err) {
    loam_status st =
        loam_norm_read_text(t,
                            "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":"
                            "\"Replace\",\"pattern\":{\"Regex\":"
                            "\"\\\\s+\"},\"content\":\" \"},{\"type\":\"Lowercase\"}]}",
                            err);
    if (!st)
        st = loam_pre_read_text(
            t,
            "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
            "\"<\\\\|startoftext\\\\|>|<\\\\|endoftext\\\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\\\p{L}]+|["
            "\\\\p{N}]|[^\\\\s\\\\p{L}\\\\p{N}]+\"},"
            "\"behavior\":\"Removed\",\"invert\":true},{\"type\":\"ByteLevel\",\"add_prefix_"
            "space\":false}]}",
            err);
    if (!st)
        st = loam_dec_read_text(
            t,
            "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteLevel\"},"
            "{\"type\":\"Replace\",\"pattern\":{\"String\":\"</w>\"},\"content\":\" \"}]}",
            err);
    if (!st) t->dec[t->n_dec++].kind = LOAM_DEC_TRIM;
    return st;
}

static loam_status gpt2_components(loam_tokenizer *t, const loam_json_value *config,
                                   loam_err *err) {
    const int prefix = config_bool(config, "add_prefix_space", 0);
    loam_status st =
        loam_pre_read_text(t,
                           prefix ? "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}"
                                  : "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}",
                           err);
    return st ? st : loam_dec_read_text(t, BYTE_DECODER, err);
}

static loam_status bpe_components(loam_tokenizer *t, const loam_json_value *config, loam_err *err) {
    loam_status st;
    if (is_clip(t, config)) {
        st = clip_components(t, err);
        const char *bos = config_or(config, "bos_token", "<|startoftext|>"),
                   *eos = config_or(config, "eos_token", "<|endoftext|>");
        if (!st) st = mark_special(t, bos, err);
        if (!st) st = mark_special(t, eos, err);
        return st ? st : loam_post_bert(t, bos, eos, 1, err);
    }
    if (class_is(config, "Qwen2Tokenizer")) {
        st = loam_norm_read_text(t, "{\"type\":\"NFC\"}", err);
        if (!st)
            st = loam_pre_read_text(
                t, "{\"type\":\"Sequence\",\"pretokenizers\":[" LLAMA_SPLIT("") "," BYTES_ONLY "]}",
                err);
        if (!st) st = loam_dec_read_text(t, BYTE_DECODER, err);
        return st ? st : mark_special(t, config_or(config, "eos_token", "<|endoftext|>"), err);
    }
    st = gpt2_components(t, config, err);
    if (class_is(config, "RobertaTokenizer") && !st) {
        static const char *const SPECIALS[] = {"<s>", "</s>", "<unk>", "<pad>", "<mask>"};
        for (size_t i = 0; i < 5 && !st; i++) st = mark_special(t, SPECIALS[i], err);
        if (!st)
            st = loam_post_bert(t, config_or(config, "cls_token", "<s>"),
                                config_or(config, "sep_token", "</s>"), 1, err);
        return st;
    }
    static const char *const KEYS[] = {"bos_token", "eos_token", "unk_token", "pad_token"};
    for (size_t i = 0; i < 4 && !st; i++)
        st = mark_special(t, config_or(config, KEYS[i], i < 3 ? "<|endoftext|>" : NULL), err);
    if (!st && config_bool(config, "add_bos_token", 0))
        st = loam_post_around(t, config_or(config, "bos_token", "<|endoftext|>"), NULL, err);
    return st;
}

loam_status loam_tok_load_bpe_files(loam_tokenizer *t, const char *vocab, const char *merges,
                                    const loam_json_value *config, loam_err *err) {
    loam_map map = {0};
    loam_bpe *b = &t->bpe;
    loam_status st = loam_map_open(&map, vocab, err);
    if (st) return st;
    t->kind = LOAM_BPE;
    if (!loam_vocab_init(&t->vocab, map.size / 20))
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: vocabulary", vocab);
    if (!st)
        st = loam_tok_scan_vocab(t, map.size ? (const char *)map.base : "", map.size, vocab, err);
    loam_map_close(&map);
    b->unk = -1;
    if (!st && is_clip(t, config)) {
        const char *unk = config_or(config, "unk_token", "<|endoftext|>");
        if (!loam_str_set(&b->suffix, "</w>", 4))
            st = loam_fail(err, LOAM_ERR_MEMORY, "%s: model", vocab);
        b->unk = loam_vocab_get(&t->vocab, unk, strlen(unk));
        b->has_unk = b->unk >= 0;
    }
    if (!st) st = read_merges_txt(t, merges, err);
    if (!st) st = loam_bpe_finish(t, err);
    return st ? st : bpe_components(t, config, err);
}

/* ---- vocab.txt ---- */

loam_status loam_tok_load_vocab_txt(loam_tokenizer *t, const char *path,
                                    const loam_json_value *config, loam_err *err) {
    loam_map map = {0};
    loam_status st = loam_map_open(&map, path, err);
    if (st) return st;
    const char *p = map.size ? (const char *)map.base : "", *end = p + map.size;
    if (!loam_vocab_init(&t->vocab, map.size / 8))
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: vocabulary", path);
    for (int64_t id = 0; p < end && !st; id++) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((nl ? nl : end) - p);
        if (n && p[n - 1] == '\r') n--;
        if (loam_utf8_check(p, n) != n)
            st = loam_fail(err, LOAM_ERR_FORMAT, "%s: line %lld is not UTF-8", path,
                           (long long)id + 1);
        else
            st = loam_vocab_put(&t->vocab, p, n, id, LOAM_TOK_IN_MODEL, path, err);
        p = nl ? nl + 1 : end;
    }
    loam_map_close(&map);
    if (st) return st;
    t->kind = LOAM_WORDPIECE;
    t->max_word_chars = 100;
    const char *unk = config_or(config, "unk_token", "[UNK]"),
               *cls = config_or(config, "cls_token", "[CLS]");
    const char *sep = config_or(config, "sep_token", "[SEP]");
    t->unk_id = loam_vocab_get(&t->vocab, unk, strlen(unk));
    if (!loam_str_set(&t->wordpiece_prefix, "##", 2))
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: model", path);
    const char *specials[] = {unk, cls, sep, config_or(config, "pad_token", "[PAD]"),
                              config_or(config, "mask_token", "[MASK]")};
    for (size_t i = 0; i < 5 && !st; i++) st = mark_special(t, specials[i], err);
    if (!st) st = loam_norm_read_text(t, "{\"type\":\"BertNormalizer\"}", err);
    if (st) return st;
    t->norm[0].lower = config_bool(config, "do_lower_case", 1);
    t->norm[0].chinese = config_bool(config, "tokenize_chinese_chars", 1);
    t->norm[0].strip_accents = config_bool(config, "strip_accents", -1);
    st = loam_pre_read_text(t, "{\"type\":\"BertPreTokenizer\"}", err);
    if (!st)
        st = loam_dec_read_text(t, "{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true}",
                                err);
    return st ? st : loam_post_bert(t, cls, sep, 0, err);
}

/* ---- SentencePiece ---- */

enum { SPM_NORMAL = 1, SPM_UNKNOWN, SPM_CONTROL, SPM_USER_DEFINED, SPM_UNUSED, SPM_BYTE };
enum { SPM_UNIGRAM = 1, SPM_BPE };

/* A protobuf message being read. */
typedef struct wire {
    const unsigned char *p, *end;
} wire;

typedef struct wire_field {
    uint32_t number, type; /* 0 varint, 1 64-bit, 2 bytes, 5 32-bit */
    uint64_t value;
    wire bytes;
} wire_field;

static int read_varint(wire *w, uint64_t *out) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (w->p == w->end) return 0;
        const unsigned char b = *w->p++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *out = v;
            return 1;
        }
    }
    return 0;
}

/* 1: a field, 0: the end, -1: damaged. */
static int read_field(wire *w, wire_field *f) {
    uint64_t tag, n;
    *f = (wire_field){0};
    if (w->p == w->end) return 0;
    if (!read_varint(w, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff) return -1;
    f->number = (uint32_t)(tag >> 3);
    f->type = (uint32_t)(tag & 7);
    switch (f->type) {
    case 0: return read_varint(w, &f->value) ? 1 : -1;
    case 1:
        if (w->end - w->p < 8) return -1;
        f->value = loam_read_u64(w->p);
        w->p += 8;
        return 1;
    case 5:
        if (w->end - w->p < 4) return -1;
        f->value = loam_read_u32(w->p);
        w->p += 4;
        return 1;
    case 2:
        if (!read_varint(w, &n) || n > (uint64_t)(w->end - w->p)) return -1;
        f->bytes = (wire){w->p, w->p + n};
        w->p += n;
        return 1;
    default: return -1;
    }
}

typedef struct spm {
    unsigned char *types; /* [n] */
    float *scores;        /* [n] */
    size_t n, cap_types, cap_scores;
    int model_type, dummy_prefix, bos_id, byte_fallback;
    wire charsmap;
} spm;

static loam_status read_piece(loam_tokenizer *t, spm *m, wire w, loam_err *err) {
    wire_field f;
    wire text = {0};
    float score = 0;
    uint64_t type = SPM_NORMAL;
    int rc;
    while ((rc = read_field(&w, &f)) > 0) {
        if (f.number == 1 && f.type == 2) text = f.bytes;
        if (f.number == 2 && f.type == 5) {
            const uint32_t bits = (uint32_t)f.value;
            memcpy(&score, &bits, sizeof score);
        }
        if (f.number == 3 && f.type == 0) type = f.value;
    }
    const size_t n = (size_t)(text.end - text.p);
    const char *s = n ? (const char *)text.p : "";
    if (rc < 0 || type < SPM_NORMAL || type > SPM_BYTE || loam_utf8_check(s, n) != n ||
        !(score > -1e30f && score < 1e30f))
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: piece %zu is damaged", t->name, m->n);
    if (!loam_grow((void **)&m->types, &m->cap_types, m->n + 1, sizeof *m->types) ||
        !loam_grow((void **)&m->scores, &m->cap_scores, m->n + 1, sizeof *m->scores))
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: vocabulary", t->name);
    m->types[m->n] = (unsigned char)type;
    m->scores[m->n] = score;
    return loam_vocab_put(&t->vocab, s, n, (int64_t)m->n++, LOAM_TOK_IN_MODEL, t->name, err);
}

static int read_specs(spm *m, wire_field top) {
    wire_field f;
    wire w = top.bytes;
    int rc;
    while ((rc = read_field(&w, &f)) > 0) {
        if (top.number == 2) { /* trainer_spec */
            if (f.number == 3) m->model_type = (int)(f.value & 0xff);
            if (f.number == 35) m->byte_fallback = f.value != 0;
            if (f.number == 41) m->bos_id = (int32_t)(uint32_t)f.value;
        } else { /* normalizer_spec */
            if (f.number == 2 && f.type == 2) m->charsmap = f.bytes;
            if (f.number == 3) m->dummy_prefix = f.value != 0;
        }
    }
    return rc;
}

static int compare_scores(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return x > y ? -1 : x < y;
}

/* Merges are implied: two pieces join when the vocabulary holds the result, best score
 * first, the leftmost of equals. */
static loam_status make_merges(loam_tokenizer *t, const spm *m, loam_err *err) {
    float *sorted = loam_alloc(m->n + 1, sizeof *sorted);
    loam_status st = sorted ? loam_bpe_start(t, m->n * 2, err)
                            : loam_fail(err, LOAM_ERR_MEMORY, "%s: merges", t->name);
    size_t n_sorted = 0;
    if (!st) {
        if (m->n) memcpy(sorted, m->scores, m->n * sizeof *sorted);
        qsort(sorted, m->n, sizeof *sorted, compare_scores);
        for (size_t i = 0; i < m->n; i++)
            if (!i || sorted[i] < sorted[n_sorted - 1]) sorted[n_sorted++] = sorted[i];
    }
    for (size_t id = 0; id < m->n && !st; id++) {
        size_t n = 0;
        const char *s = loam_vocab_text(&t->vocab, (int32_t)id, &n);
        if (!s || (m->types[id] != SPM_NORMAL && m->types[id] != SPM_USER_DEFINED) || n > 1024)
            continue;
        size_t lo = 0, hi = n_sorted;
        while (lo + 1 < hi) {
            const size_t mid = (lo + hi) / 2;
            if (sorted[mid] >= m->scores[id])
                lo = mid;
            else
                hi = mid;
        }
        for (size_t cut = loam_utf8_len(s, 0); cut < n && !st; cut += loam_utf8_len(s, cut)) {
            const int32_t a = loam_vocab_get(&t->vocab, s, cut),
                          b = loam_vocab_get(&t->vocab, s + cut, n - cut);
            if (a < 0 || b < 0 || m->types[a] == SPM_BYTE || m->types[b] == SPM_BYTE) continue;
            t->bpe.last = (int32_t)id - 1;
            st = loam_bpe_merge(t, s, cut, s + cut, n - cut, (uint32_t)lo, err);
        }
    }
    free(sorted);
    return st;
}

static loam_status spm_bpe(loam_tokenizer *t, const spm *m, loam_err *err) {
    loam_bpe *b = &t->bpe;
    t->kind = LOAM_BPE;
    b->fuse_unk = b->byte_fallback = 1;
    b->unk = -1;
    for (size_t i = 0; i < m->n; i++)
        if (m->types[i] == SPM_UNKNOWN) b->unk = (int32_t)i;
    b->has_unk = b->unk >= 0;
    loam_status st = make_merges(t, m, err);
    if (!st) st = loam_bpe_finish(t, err);
    if (!st)
        st = loam_norm_read_text(
            t,
            m->dummy_prefix
                ? "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"▁\"}"
                  ","
                  "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"▁\"}]}"
                : "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"▁\"}",
            err);
    if (!st)
        st = loam_dec_read_text(t,
                                m->dummy_prefix
                                    ? "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\","
                                      "\"pattern\":{\"String\":\"▁\"},\"content\":\" \"},"
                                      "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":"
                                      "\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}"
                                    : "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\","
                                      "\"pattern\":{\"String\":\"▁\"},\"content\":\" \"},"
                                      "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]}",
                                err);
    return st;
}

static loam_status spm_unigram(loam_tokenizer *t, const spm *m, loam_err *err) {
    loam_unigram *u = &t->unigram;
    loam_status st = LOAM_OK;
    t->kind = LOAM_UNIGRAM;
    u->unk = -1;
    u->byte_fallback = m->byte_fallback;
    u->score = loam_alloc(m->n, sizeof *u->score);
    if (!u->score) return loam_fail(err, LOAM_ERR_MEMORY, "%s: vocabulary", t->name);
    for (size_t i = 0; i < m->n; i++) {
        u->score[i] = (double)m->scores[i];
        if (m->types[i] == SPM_UNKNOWN) u->unk = (int32_t)i;
    }
    u->n_pieces = m->n;
    if (m->charsmap.p && m->charsmap.end > m->charsmap.p) {
        loam_norm *s = &t->norm[t->n_norm++];
        s->kind = LOAM_NORM_PRECOMPILED;
        st = loam_charsmap_parse(&s->map, m->charsmap.p, (size_t)(m->charsmap.end - m->charsmap.p),
                                 t->name, err);
    }
    if (!st)
        st = loam_norm_read_text(
            t,
            "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Strip\",\"strip_left\":false,"
            "\"strip_right\":true},"
            "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\"▁\"}]}",
            err);
    const char *metaspace = m->dummy_prefix ? "{\"type\":\"Metaspace\",\"replacement\":\"▁\","
                                              "\"prepend_scheme\":\"always\",\"split\":true}"
                                            : "{\"type\":\"Metaspace\",\"replacement\":\"▁\","
                                              "\"prepend_scheme\":\"never\",\"split\":true}";
    if (!st) st = loam_pre_read_text(t, metaspace, err);
    if (!st) st = loam_dec_read_text(t, metaspace, err);
    return st ? st : loam_unigram_finish(t, err);
}

static loam_status spm_specials(loam_tokenizer *t, const spm *m, const loam_json_value *config,
                                loam_err *err) {
    loam_status st = LOAM_OK;
    for (size_t i = 0; i < m->n && !st; i++) {
        const loam_added a = {.special = m->types[i] != SPM_USER_DEFINED};
        size_t n = 0;
        if (m->types[i] != SPM_UNKNOWN && m->types[i] != SPM_CONTROL &&
            m->types[i] != SPM_USER_DEFINED)
            continue;
        const char *s = loam_vocab_text(&t->vocab, (int32_t)i, &n);
        char *copy = s ? loam_strndup(s, n) : NULL; /* the pool may move */
        if (copy) st = loam_added_put(t, copy, n, (int64_t)i, &a, err);
        free(copy);
    }
    if (st) return st;
    const int bpe = t->kind == LOAM_BPE;
    const char *bos = if_known(t, config_or(config, "bos_token", "<s>")),
               *eos = if_known(t, config_or(config, "eos_token", "</s>"));
    const int with_bos = config_bool(config, "add_bos_token", bpe && m->bos_id >= 0);
    const int with_eos = config_bool(config, "add_eos_token", !bpe && m->bos_id < 0);
    if (with_bos || with_eos)
        st = loam_post_around(t, with_bos ? bos : NULL, with_eos ? eos : NULL, err);
    return st;
}

static loam_status read_spm(loam_tokenizer *t, spm *m, const loam_map *map, loam_err *err) {
    wire w = {0};
    if (map->size) w = (wire){map->base, map->base + map->size};
    wire_field f;
    int rc;
    loam_status st = LOAM_OK;
    while (!st && (rc = read_field(&w, &f)) != 0) {
        if (rc < 0 || ((f.number == 2 || f.number == 3) && f.type == 2 && read_specs(m, f) < 0))
            return loam_fail(err, LOAM_ERR_FORMAT,
                             "%s: not a SentencePiece model: damaged at byte %zu", t->name,
                             (size_t)(w.p - map->base));
        if (f.number == 1 && f.type == 2) st = read_piece(t, m, f.bytes, err);
    }
    if (!st && !m->n)
        st = loam_fail(err, LOAM_ERR_FORMAT, "%s: not a SentencePiece model: no pieces", t->name);
    return st;
}

loam_status loam_tok_load_spm(loam_tokenizer *t, const char *path, const loam_json_value *config,
                              loam_err *err) {
    loam_map map = {0};
    spm m = {.model_type = SPM_UNIGRAM, .dummy_prefix = 1, .bos_id = 1};
    static const char *const SHIFTED[] = {"XLMRoberta", "MBart", "Camembert", "Nllb", "Barthez"};
    for (size_t i = 0; i < sizeof SHIFTED / sizeof *SHIFTED; i++)
        if (class_is(config, SHIFTED[i]))
            return loam_fail(
                err, LOAM_ERR_UNSUPPORTED,
                "%s: %sTokenizer numbers its pieces otherwise: add the model's tokenizer.json",
                path, SHIFTED[i]);
    loam_status st = loam_map_open(&map, path, err);
    if (st) return st;
    if (!loam_vocab_init(&t->vocab, map.size / 16))
        st = loam_fail(err, LOAM_ERR_MEMORY, "%s: vocabulary", path);
    if (!st) st = read_spm(t, &m, &map, err);
    if (!st && m.model_type == SPM_BPE)
        st = spm_bpe(t, &m, err);
    else if (!st && m.model_type == SPM_UNIGRAM)
        st = spm_unigram(t, &m, err);
    else if (!st)
        st = loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: SentencePiece model type %d", path,
                       m.model_type);
    if (!st) st = spm_specials(t, &m, config, err);
    free(m.types);
    free(m.scores);
    loam_map_close(&map);
    return st;
}
