/* convert_tokenizer.c - tokenizer.json and tokenizer_config.json from a GGUF's vocabulary.
 *
 * GGUF names the pre-tokeniser ("qwen2", "llama-bpe") where Hugging Face spells
 * it out, so what a name stands for is a table here.  A name that is not in the
 * table is an error: text cut in other places gives other tokens, silently.
 */
#include "model/convert_job.h"

#include <stdio.h>

/* Values of tokenizer.ggml.token_type. */
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };

enum { MAX_TOKENS = 1 << 24, MAX_PIECE = 512 };

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER        "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER        "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define TAIL         "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const char QWEN2[] =
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" TAIL;
static const char LLAMA3[] =
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" TAIL;
static const char O200K[] =
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" CONTRACTIONS "?|[^\\r\\n\\p{L}\\p{N}]?" UPPER
    "+" LOWER "*" CONTRACTIONS "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" TAIL;
static const char TEKKEN[] =
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER
    "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" TAIL;

typedef struct pre_tokenizer {
    const char *name;
    const char *split; /* NULL: GPT-2's own pattern, inside ByteLevel */
    int digits;        /* each digit by itself, before anything else */
    int nfc, ignore_merges, bos;
} pre_tokenizer;

static const pre_tokenizer PRE_TOKENIZERS[] = {
    {"smollm", NULL, 1, 0, 0, 0},     {"starcoder", NULL, 1, 0, 0, 0},
    {"refact", NULL, 1, 0, 0, 0},     {"command-r", NULL, 1, 0, 0, 0},
    {"gpt-2", NULL, 0, 0, 0, 0},      {"gpt2", NULL, 0, 0, 0, 0},
    {"phi-2", NULL, 0, 0, 0, 0},      {"olmo", NULL, 0, 0, 0, 0},
    {"qwen2", QWEN2, 0, 1, 0, 0},     {"deepseek-r1-qwen", QWEN2, 0, 1, 0, 0},
    {"stablelm2", QWEN2, 0, 0, 0, 0}, {"llama-bpe", LLAMA3, 0, 0, 1, 1},
    {"llama3", LLAMA3, 0, 0, 1, 1},   {"llama-v3", LLAMA3, 0, 0, 1, 1},
    {"falcon3", LLAMA3, 0, 0, 1, 0},  {"dbrx", LLAMA3, 0, 0, 0, 0},
    {"gpt-4o", O200K, 0, 0, 0, 0},    {"llama4", O200K, 0, 0, 0, 1},
    {"tekken", TEKKEN, 0, 0, 1, 1},
};

typedef struct token {
    const char *text;
    size_t n;
    int64_t type;
    double score;
} token;

typedef struct vocabulary {
    const char *src;
    const loam_json_value *kv;
    token *tokens;
    size_t n;
    uint32_t *slots; /* open addressing by text; id + 1, the last of equal texts */
    size_t n_slots;
    int is_spm, phi3;
    const pre_tokenizer *pre;
} vocabulary;

static const loam_json_value *get(const vocabulary *v, const char *key) {
    char name[96];
    snprintf(name, sizeof name, "tokenizer.ggml.%s", key);
    return loam_json_get(v->kv, name);
}

static int get_flag(const vocabulary *v, const char *key, int fallback) {
    loam_json_bool(get(v, key), &fallback);
    return fallback;
}

/* Slot of a text: where it stands or where it would. */
static size_t find_slot(const vocabulary *v, const char *s, size_t n) {
    size_t i = (size_t)loam_hash(s, n, 0x6c6f616d) & (v->n_slots - 1);
    while (v->slots[i]) {
        const token *t = &v->tokens[v->slots[i] - 1];
        if (t->n == n && memcmp(t->text, s, n) == 0) break;
        i = (i + 1) & (v->n_slots - 1);
    }
    return i;
}

/* Id of a text, or -1. */
static int64_t find_token(const vocabulary *v, const char *s, size_t n) {
    return (int64_t)v->slots[find_slot(v, s, n)] - 1;
}

static loam_status read_tokens(vocabulary *v, loam_err *err) {
    const loam_json_value *texts = get(v, "tokens"), *types = get(v, "token_type"),
                          *scores = get(v, "scores");
    v->n = loam_json_count(texts);
    if (loam_json_type_of(texts) != LOAM_JSON_ARRAY || !v->n || v->n > MAX_TOKENS)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: tokenizer.ggml.tokens: %zu tokens", v->src,
                         v->n);
    if ((types && loam_json_count(types) != v->n) || (scores && loam_json_count(scores) != v->n))
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: tokens, token_type and scores differ in number",
                         v->src);
    if (v->is_spm && !scores)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: no tokenizer.ggml.scores", v->src);

    v->n_slots = 64;
    while (v->n_slots < 2 * v->n) v->n_slots *= 2;
    v->tokens = loam_alloc(v->n, sizeof *v->tokens);
    v->slots = loam_alloc(v->n_slots, sizeof *v->slots);
    if (!v->tokens || !v->slots) return loam_fail(err, LOAM_ERR_MEMORY, "%s: vocabulary", v->src);

    const loam_json_value *x = loam_json_first(texts), *y = loam_json_first(types),
                          *z = loam_json_first(scores);
    for (size_t i = 0; i < v->n; i++) {
        token *t = &v->tokens[i];
        t->text = loam_json_string(x, &t->n);
        t->type = TYPE_NORMAL;
        if (!t->text || (y && !loam_json_int(y, &t->type)) ||
            (z && !loam_json_number(z, &t->score)))
            return loam_fail(err, LOAM_ERR_FORMAT, "%s: token %zu is damaged", v->src, i);
        v->slots[find_slot(v, t->text, t->n)] = (uint32_t)i + 1;
        x = loam_json_next(x);
        if (y) y = loam_json_next(y);
        if (z) z = loam_json_next(z);
    }
    return LOAM_OK;
}

static int is_added(const token *t) {
    return t->type == TYPE_CONTROL || t->type == TYPE_USER || t->type == TYPE_UNKNOWN;
}

/* Added tokens that stand behind all others are no part of the model's own
 * vocabulary (qwen, llama 3); ones in front are (smollm, llama 2). */
static size_t count_own(const vocabulary *v) {
    size_t n = v->n;
    while (n > 0 && (is_added(&v->tokens[n - 1]) || v->tokens[n - 1].type == TYPE_UNUSED)) n--;
    return n ? n : v->n;
}

/* Qwen's code marks are ordinary added tokens; llama.cpp's converter takes every
 * <|...|> for a control token. */
static int is_special(const vocabulary *v, const token *t) {
    const int qwen = v->pre && v->pre->nfc;
    if (qwen && (strncmp(t->text, "<|fim_", 6) == 0 || strcmp(t->text, "<|repo_name|>") == 0 ||
                 strcmp(t->text, "<|file_sep|>") == 0))
        return 0;
    return t->type != TYPE_USER;
}

static void put_added(const vocabulary *v, loam_pyjson *w) {
    loam_pyjson_open(w, "added_tokens", '[');
    for (size_t i = 0; i < v->n; i++) {
        const token *t = &v->tokens[i];
        if (!is_added(t) || find_token(v, t->text, t->n) != (int64_t)i || t->n == 0) continue;
        /* Phi-3's turn marks swallow the white space behind them */
        const int rstrip = v->phi3 && strcmp(t->text, "<unk>") != 0 &&
                           strcmp(t->text, "<s>") != 0 && strcmp(t->text, "<|endoftext|>") != 0;
        loam_pyjson_open(w, NULL, '{');
        loam_pyjson_int(w, "id", (int64_t)i);
        loam_pyjson_text(w, "content", t->text, t->n);
        loam_pyjson_bool(w, "single_word", 0);
        loam_pyjson_bool(w, "lstrip", 0);
        loam_pyjson_bool(w, "rstrip", rstrip);
        loam_pyjson_bool(w, "normalized", 0);
        loam_pyjson_bool(w, "special", is_special(v, t));
        loam_pyjson_close(w);
    }
    loam_pyjson_close(w);
}

static void put_byte_level(loam_pyjson *w, const char *key, int add_prefix_space, int trim_offsets,
                           int use_regex) {
    loam_pyjson_open(w, key, '{');
    loam_pyjson_string(w, "type", "ByteLevel");
    loam_pyjson_bool(w, "add_prefix_space", add_prefix_space);
    loam_pyjson_bool(w, "trim_offsets", trim_offsets);
    loam_pyjson_bool(w, "use_regex", use_regex);
    loam_pyjson_close(w);
}

static void put_replace(loam_pyjson *w, const char *from, const char *to) {
    loam_pyjson_open(w, NULL, '{');
    loam_pyjson_string(w, "type", "Replace");
    loam_pyjson_open(w, "pattern", '{');
    loam_pyjson_string(w, "String", from);
    loam_pyjson_close(w);
    loam_pyjson_string(w, "content", to);
    loam_pyjson_close(w);
}

static void put_type(loam_pyjson *w, const char *type) {
    loam_pyjson_open(w, NULL, '{');
    loam_pyjson_string(w, "type", type);
    loam_pyjson_close(w);
}

static void put_sequence(loam_pyjson *w, const char *key, const char *items) {
    loam_pyjson_open(w, key, '{');
    loam_pyjson_string(w, "type", "Sequence");
    loam_pyjson_open(w, items, '[');
}

static void close_sequence(loam_pyjson *w) {
    loam_pyjson_close(w);
    loam_pyjson_close(w);
}

static void put_template_part(loam_pyjson *w, const char *kind, const char *id, size_t n,
                              int type) {
    loam_pyjson_open(w, NULL, '{');
    loam_pyjson_open(w, kind, '{');
    loam_pyjson_text(w, "id", id, n);
    loam_pyjson_int(w, "type_id", type);
    loam_pyjson_close(w);
    loam_pyjson_close(w);
}

/* The first token that the tokenizer puts before every text. */
static void put_bos(const vocabulary *v, loam_pyjson *w, const char *key, int64_t bos) {
    const token *t = &v->tokens[bos];
    loam_pyjson_open(w, key, '{');
    loam_pyjson_string(w, "type", "TemplateProcessing");
    loam_pyjson_open(w, "single", '[');
    put_template_part(w, "SpecialToken", t->text, t->n, 0);
    put_template_part(w, "Sequence", "A", 1, 0);
    loam_pyjson_close(w);
    loam_pyjson_open(w, "pair", '[');
    put_template_part(w, "SpecialToken", t->text, t->n, 0);
    put_template_part(w, "Sequence", "A", 1, 0);
    put_template_part(w, "SpecialToken", t->text, t->n, 1);
    put_template_part(w, "Sequence", "B", 1, 1);
    loam_pyjson_close(w);
    loam_pyjson_open(w, "special_tokens", '{');
    loam_pyjson_key(w, t->text, t->n);
    loam_pyjson_open(w, "", '{');
    loam_pyjson_text(w, "id", t->text, t->n);
    loam_pyjson_open(w, "ids", '[');
    loam_pyjson_int(w, NULL, bos);
    loam_pyjson_close(w);
    loam_pyjson_open(w, "tokens", '[');
    loam_pyjson_text(w, NULL, t->text, t->n);
    loam_pyjson_close(w);
    loam_pyjson_close(w);
    loam_pyjson_close(w);
    loam_pyjson_close(w);
}

/* normalizer, pre_tokenizer, post_processor, decoder of a byte-level BPE. */
static void put_bpe_stages(const vocabulary *v, loam_pyjson *w, int64_t bos) {
    const pre_tokenizer *p = v->pre;
    LOAM_ASSERT(p); /* else it is a SentencePiece vocabulary, or was refused */
    const int split = p->split != NULL;
    if (p->nfc) {
        loam_pyjson_open(w, "normalizer", '{');
        loam_pyjson_string(w, "type", "NFC");
        loam_pyjson_close(w);
    } else {
        loam_pyjson_null(w, "normalizer");
    }
    if (split || p->digits) {
        put_sequence(w, "pre_tokenizer", "pretokenizers");
        loam_pyjson_open(w, NULL, '{');
        if (split) {
            loam_pyjson_string(w, "type", "Split");
            loam_pyjson_open(w, "pattern", '{');
            loam_pyjson_string(w, "Regex", p->split);
            loam_pyjson_close(w);
            loam_pyjson_string(w, "behavior", "Isolated");
            loam_pyjson_bool(w, "invert", 0);
        } else {
            loam_pyjson_string(w, "type", "Digits");
            loam_pyjson_bool(w, "individual_digits", 1);
        }
        loam_pyjson_close(w);
        put_byte_level(w, NULL, 0, !split, !split);
        close_sequence(w);
    } else {
        put_byte_level(w, "pre_tokenizer", 0, 1, 1);
    }
    if (bos >= 0)
        put_bos(v, w, "post_processor", bos);
    else if (split)
        put_byte_level(w, "post_processor", 0, 0, 0);
    else
        loam_pyjson_null(w, "post_processor");
    put_byte_level(w, "decoder", !split, !split, !split);
}

/* The same of a SentencePiece model: spaces are U+2581. */
static void put_spm_stages(const vocabulary *v, loam_pyjson *w, int64_t bos) {
    static const char space[] = "\xe2\x96\x81";
    const int prefix = get_flag(v, "add_space_prefix", 1);
    put_sequence(w, "normalizer", "normalizers");
    if (prefix) {
        loam_pyjson_open(w, NULL, '{');
        loam_pyjson_string(w, "type", "Prepend");
        loam_pyjson_string(w, "prepend", space);
        loam_pyjson_close(w);
    }
    put_replace(w, " ", space);
    close_sequence(w);
    loam_pyjson_null(w, "pre_tokenizer");
    if (bos >= 0)
        put_bos(v, w, "post_processor", bos);
    else
        loam_pyjson_null(w, "post_processor");
    put_sequence(w, "decoder", "decoders");
    put_replace(w, space, " ");
    put_type(w, "ByteFallback");
    put_type(w, "Fuse");
    if (prefix) {
        loam_pyjson_open(w, NULL, '{');
        loam_pyjson_string(w, "type", "Strip");
        loam_pyjson_string(w, "content", " ");
        loam_pyjson_int(w, "start", 1);
        loam_pyjson_int(w, "stop", 0);
        loam_pyjson_close(w);
    }
    close_sequence(w);
}

static void put_vocab(const vocabulary *v, loam_pyjson *w) {
    const size_t n = v->is_spm ? v->n : count_own(v);
    loam_pyjson_open(w, "vocab", '{');
    for (size_t i = 0; i < n; i++) {
        const token *t = &v->tokens[i];
        if (t->type == TYPE_UNUSED || find_token(v, t->text, t->n) != (int64_t)i) continue;
        loam_pyjson_key(w, t->text, t->n);
        loam_pyjson_int(w, "", (int64_t)i);
    }
    loam_pyjson_close(w);
}

/* Two pieces that join to a third: SentencePiece joins by score alone. */
typedef struct merge {
    uint32_t left, right;
    double score;
    uint32_t left_chars, right_chars;
    uint32_t order;
} merge;

static uint32_t count_chars(const token *t) {
    uint32_t n = 0;
    for (size_t i = 0; i < t->n; i++) n += ((unsigned char)t->text[i] & 0xc0) != 0x80;
    return n;
}

/* Best score first, then the longer left and right; equal ones stay in order. */
static int compare_merges(const void *a, const void *b) {
    const merge *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->left_chars != y->left_chars) return x->left_chars > y->left_chars ? -1 : 1;
    if (x->right_chars != y->right_chars) return x->right_chars > y->right_chars ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static int compare_ids(const void *a, const void *b) {
    const merge *x = a, *y = b;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return x->right < y->right ? -1 : x->right > y->right;
}

static loam_status find_merges(const vocabulary *v, merge **out, size_t *n_out, loam_err *err) {
    merge *list = NULL;
    size_t n = 0, cap = 0;
    for (size_t i = 0; i < v->n; i++) {
        const token *t = &v->tokens[i];
        const size_t first = n;
        if (t->type != TYPE_NORMAL || t->n > MAX_PIECE) continue;
        for (size_t cut = 1; cut < t->n; cut++) {
            if (((unsigned char)t->text[cut] & 0xc0) == 0x80) continue;
            const int64_t left = find_token(v, t->text, cut);
            const int64_t right = left < 0 ? -1 : find_token(v, t->text + cut, t->n - cut);
            if (right < 0 || v->tokens[left].type != TYPE_NORMAL ||
                v->tokens[right].type != TYPE_NORMAL)
                continue;
            if (n >= UINT32_MAX / 2 || !loam_grow((void **)&list, &cap, n + 1, sizeof *list)) {
                free(list);
                return loam_fail(err, LOAM_ERR_MEMORY, "%s: merges", v->src);
            }
            list[n++] = (merge){.left = (uint32_t)left,
                                .right = (uint32_t)right,
                                .score = t->score,
                                .left_chars = count_chars(&v->tokens[left]),
                                .right_chars = count_chars(&v->tokens[right])};
        }
        if (n > first) qsort(list + first, n - first, sizeof *list, compare_ids);
    }
    for (size_t i = 0; i < n; i++) list[i].order = (uint32_t)i;
    if (n) qsort(list, n, sizeof *list, compare_merges);
    *out = list;
    *n_out = n;
    return LOAM_OK;
}

static loam_status put_merges(const vocabulary *v, loam_pyjson *w, loam_err *err) {
    loam_status st = LOAM_OK;
    loam_pyjson_open(w, "merges", '[');
    if (v->is_spm) {
        merge *list = NULL;
        size_t n = 0;
        st = find_merges(v, &list, &n, err);
        for (size_t i = 0; i < n; i++) {
            const token *l = &v->tokens[list[i].left], *r = &v->tokens[list[i].right];
            char pair[2 * MAX_PIECE + 2];
            memcpy(pair, l->text, l->n);
            pair[l->n] = ' ';
            memcpy(pair + l->n + 1, r->text, r->n);
            loam_pyjson_text(w, NULL, pair, l->n + r->n + 1);
        }
        free(list);
    } else {
        const loam_json_value *merges = get(v, "merges");
        if (loam_json_type_of(merges) != LOAM_JSON_ARRAY)
            return loam_fail(err, LOAM_ERR_FORMAT, "%s: no tokenizer.ggml.merges", v->src);
        for (const loam_json_value *m = loam_json_first(merges); m; m = loam_json_next(m)) {
            size_t n;
            const char *s = loam_json_string(m, &n);
            if (!s || !memchr(s, ' ', n))
                return loam_fail(err, LOAM_ERR_FORMAT, "%s: tokenizer.ggml.merges is damaged",
                                 v->src);
            loam_pyjson_text(w, NULL, s, n);
        }
    }
    loam_pyjson_close(w);
    return st;
}

/* A token id of the metadata, or -1. */
static int64_t get_id(const vocabulary *v, const char *key) {
    int64_t id = -1;
    return loam_json_int(get(v, key), &id) && id >= 0 && (uint64_t)id < v->n ? id : -1;
}

static loam_status plan_tokenizer_json(convert_job *job, const vocabulary *v, loam_err *err) {
    loam_pyjson w = {.indent = 2};
    const int add_bos = get_flag(v, "add_bos_token", v->is_spm || (v->pre && v->pre->bos));
    const int64_t bos = add_bos ? get_id(v, "bos_token_id") : -1;
    const int64_t unk = get_id(v, "unknown_token_id");
    loam_pyjson_open(&w, NULL, '{');
    loam_pyjson_string(&w, "version", "1.0");
    loam_pyjson_null(&w, "truncation");
    loam_pyjson_null(&w, "padding");
    put_added(v, &w);
    if (v->is_spm)
        put_spm_stages(v, &w, bos);
    else
        put_bpe_stages(v, &w, bos);
    loam_pyjson_open(&w, "model", '{');
    loam_pyjson_string(&w, "type", "BPE");
    loam_pyjson_null(&w, "dropout");
    if (v->is_spm && unk >= 0)
        loam_pyjson_text(&w, "unk_token", v->tokens[unk].text, v->tokens[unk].n);
    else
        loam_pyjson_null(&w, "unk_token");
    loam_pyjson_null(&w, "continuing_subword_prefix");
    loam_pyjson_null(&w, "end_of_word_suffix");
    loam_pyjson_bool(&w, "fuse_unk", v->is_spm);
    loam_pyjson_bool(&w, "byte_fallback", v->is_spm);
    loam_pyjson_bool(&w, "ignore_merges", v->pre && v->pre->ignore_merges);
    put_vocab(v, &w);
    loam_status st = put_merges(v, &w, err);
    if (!st) {
        loam_pyjson_close(&w);
        loam_pyjson_close(&w);
        loam_buf_putc(&w.out, '\n');
        return loam_convert_add_file(job, "tokenizer.json", &w.out, err);
    }
    loam_buf_deinit(&w.out);
    return st;
}

static void put_token(const vocabulary *v, loam_pyjson *w, const char *key, int64_t id) {
    if (id >= 0) loam_pyjson_text(w, key, v->tokens[id].text, v->tokens[id].n);
}

static loam_status plan_tokenizer_config(convert_job *job, const vocabulary *v, int64_t context,
                                         loam_err *err) {
    loam_pyjson w = {.indent = 2};
    size_t n = 0;
    const char *template = loam_json_string(loam_json_get(v->kv, "tokenizer.chat_template"), &n);
    loam_pyjson_open(&w, NULL, '{');
    if (get_flag(v, "add_bos_token", 0)) loam_pyjson_bool(&w, "add_bos_token", 1);
    loam_pyjson_bool(&w, "add_prefix_space", 0);
    put_token(v, &w, "bos_token", get_id(v, "bos_token_id"));
    put_token(v, &w, "eos_token", get_id(v, "eos_token_id"));
    put_token(v, &w, "pad_token", get_id(v, "padding_token_id"));
    put_token(v, &w, "unk_token", get_id(v, "unknown_token_id"));
    loam_pyjson_bool(&w, "clean_up_tokenization_spaces", 0);
    loam_pyjson_int(&w, "model_max_length", context);
    loam_pyjson_string(&w, "tokenizer_class", "PreTrainedTokenizerFast");
    if (template) loam_pyjson_text(&w, "chat_template", template, n);
    loam_pyjson_close(&w);
    loam_buf_putc(&w.out, '\n');
    return loam_convert_add_file(job, "tokenizer_config.json", &w.out, err);
}

static loam_status find_pre_tokenizer(vocabulary *v, loam_err *err) {
    const char *name = loam_json_string(get(v, "pre"), NULL);
    for (size_t i = 0; name && i < sizeof PRE_TOKENIZERS / sizeof *PRE_TOKENIZERS; i++)
        if (strcmp(name, PRE_TOKENIZERS[i].name) == 0) v->pre = &PRE_TOKENIZERS[i];
    if (v->pre) return LOAM_OK;
    return loam_fail(err, LOAM_ERR_UNSUPPORTED,
                     "%s: tokenizer.ggml.pre is %.60s: no rule for this pre-tokeniser", v->src,
                     name ? name : "missing");
}

loam_status loam_convert_plan_tokenizer(convert_job *job, int64_t context, loam_err *err) {
    vocabulary v = {.src = job->src, .kv = loam_arrays_metadata(job->arrays)};
    const char *model = loam_json_string(get(&v, "model"), NULL);
    const char *arch = loam_json_string(loam_json_get(v.kv, "general.architecture"), NULL);
    if (!model || strcmp(model, "none") == 0 || strcmp(model, "no_vocab") == 0) return LOAM_OK;
    v.is_spm = strcmp(model, "llama") == 0;
    v.phi3 = v.is_spm && arch && strcmp(arch, "phi3") == 0;
    if (!v.is_spm && strcmp(model, "gpt2") != 0)
        return loam_fail(err, LOAM_ERR_UNSUPPORTED, "%s: tokenizer.ggml.model is %.60s", v.src,
                         model);
    loam_status st = v.is_spm ? LOAM_OK : find_pre_tokenizer(&v, err);
    if (!st) st = read_tokens(&v, err);
    if (!st) st = plan_tokenizer_json(job, &v, err);
    if (!st) st = plan_tokenizer_config(job, &v, context, err);
    free(v.tokens);
    free(v.slots);
    return st;
}
