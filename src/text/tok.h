/* tok.h - the parts of a tokenizer, as its files inside src/text share them.
 *
 *   text -> added tokens cut out -> normalizers -> added tokens (normalized) cut out
 *        -> pre-tokenizers (pieces) -> model (ids) -> post-processor (special tokens)
 *   ids -> token texts -> decoders -> text
 *
 * Each arrow is a list of steps read from tokenizer.json; the other file types are turned
 * into the same lists.  Everything here is read-only once loam_tokenizer_open returns. */
#ifndef LOAM_TEXT_TOK_H
#define LOAM_TEXT_TOK_H

#include "base/base.h"
#include "text/regex.h"
#include <loam/json.h>
#include <loam/text.h>

enum {
    LOAM_TOK_BATCH = 32,
    LOAM_TOK_MAX_ID = 1 << 22,   /* ids are array indices: a file may not ask for gigabytes */
    LOAM_TOK_MAX_STEPS = 32,     /* in one list */
    LOAM_TOK_MAX_WORD = 1 << 25, /* bytes that one BPE or unigram word may have */
    LOAM_TOK_MAX_TEXT = 1 << 28  /* bytes of one text */
};

/* ---- vocabulary: token text <-> id ---- */
enum { LOAM_TOK_IN_MODEL = 1, LOAM_TOK_ADDED = 2, LOAM_TOK_SPECIAL = 4, LOAM_TOK_NORMED = 8 };
typedef struct loam_span {
    uint32_t at, n;
} loam_span;
typedef struct loam_vocab {
    loam_buf pool;   /* all token texts */
    loam_span *span; /* [cap_ids]: text of an id in the pool; n UINT32_MAX: no such id */
    unsigned char *flags;
    size_t n_ids, cap_ids; /* n_ids: highest id + 1 */
    size_t n_model;        /* distinct texts in the model's vocabulary */
    size_t longest;        /* bytes of the longest text */
    uint64_t *table;       /* hash << 32 | id + 1; 0 is free */
    size_t mask, n_used;
    uint64_t seed;
} loam_vocab;
int loam_vocab_init(loam_vocab *v, size_t expected);
void loam_vocab_deinit(loam_vocab *v);
/* Add text -> id; a text that is there already gets the new id.  The text must not lie in the pool. */
loam_status loam_vocab_put(loam_vocab *v, const char *s, size_t n, int64_t id, unsigned flags,
                           const char *name, loam_err *err);
int32_t loam_vocab_get(const loam_vocab *v, const char *s, size_t n); /* -1: none */
/* For many look-ups in a row: ask for the memory of one, step by step, before it is needed. */
void loam_vocab_prefetch(const loam_vocab *v, uint64_t hash, int step);
static inline int32_t loam_vocab_model(const loam_vocab *v, const char *s, size_t n) {
    const int32_t id = loam_vocab_get(v, s, n);
    return id >= 0 && (v->flags[id] & LOAM_TOK_IN_MODEL) ? id : -1;
}
static inline const char *loam_vocab_text(const loam_vocab *v, int32_t id, size_t *n) {
    if (id < 0 || (size_t)id >= v->n_ids || v->span[id].n == UINT32_MAX) return NULL;
    *n = v->span[id].n;
    return v->pool.data + v->span[id].at;
}
uint64_t loam_tok_hash(const char *s, size_t n, uint64_t seed);

/* ---- trie over bytes: longest match and all prefixes ---- */
typedef struct loam_trie {
    uint64_t *keys; /* (node << 8 | byte) + 1; 0 is free */
    uint32_t *next; /* node reached */
    int32_t *value; /* [cap_nodes] -1: no entry ends here */
    size_t mask, n_used, n_nodes, cap_nodes;
    uint32_t root[256];       /* 0: none (node 0 is the root) */
    unsigned n_first;         /* distinct first bytes, */
    unsigned char only_first; /* and the one, when it is one */
} loam_trie;
int loam_trie_init(loam_trie *t);
void loam_trie_deinit(loam_trie *t);
int loam_trie_put(loam_trie *t, const char *s, size_t n, int32_t value);        /* 0: no memory */
uint32_t loam_trie_step(const loam_trie *t, uint32_t node, unsigned char byte); /* 0: none */

/* ---- byte-level alphabet ---- */
/* GPT-2's printable stand-in of each byte (U+0021 .. U+0143) and back (-1: none). */
uint32_t loam_byte_char(unsigned char b);
int loam_char_byte(uint32_t c);
void loam_byte_map(loam_buf *out, const char *s, size_t n);

/* ---- steps ---- */
typedef enum loam_norm_kind {
    LOAM_NORM_FORM,
    LOAM_NORM_LOWER,
    LOAM_NORM_BERT,
    LOAM_NORM_STRIP,
    LOAM_NORM_STRIP_ACCENTS,
    LOAM_NORM_PREPEND,
    LOAM_NORM_REPLACE,
    LOAM_NORM_NMT,
    LOAM_NORM_PRECOMPILED,
    LOAM_NORM_BYTE_LEVEL
} loam_norm_kind;

typedef struct loam_str {
    char *s;
    size_t n;
} loam_str;

/* SentencePiece's compiled character map: a double-array trie and the texts it names. */
typedef struct loam_charsmap {
    uint32_t *units;
    size_t n_units;
    char *texts;
    size_t n_texts;
} loam_charsmap;

typedef struct loam_norm {
    loam_norm_kind kind;
    int form;                                 /* FORM */
    int clean, chinese, strip_accents, lower; /* BERT */
    int left, right;                          /* STRIP */
    loam_str pattern, content;                /* PREPEND: content; REPLACE */
    loam_regex *regex;                        /* REPLACE by a pattern */
    loam_charsmap map;                        /* PRECOMPILED */
} loam_norm;

typedef enum loam_pre_kind {
    LOAM_PRE_SPLIT,
    LOAM_PRE_BYTE_LEVEL,
    LOAM_PRE_METASPACE,
    LOAM_PRE_BERT,
    LOAM_PRE_WHITESPACE,
    LOAM_PRE_SPACE_SPLIT,
    LOAM_PRE_PUNCTUATION,
    LOAM_PRE_DIGITS,
    LOAM_PRE_DELIMITER,
    LOAM_PRE_FIXED,
    LOAM_PRE_SAFE_SPLIT /* made by us: before a separator no merge can cross, see bpe.c */
} loam_pre_kind;
typedef enum loam_behavior {
    LOAM_ISOLATED,
    LOAM_REMOVED,
    LOAM_CONTIGUOUS,
    LOAM_MERGED_PREVIOUS,
    LOAM_MERGED_NEXT
} loam_behavior;
typedef struct loam_pre {
    loam_pre_kind kind;
    loam_behavior behavior;
    int invert;
    loam_regex *regex; /* SPLIT by a pattern (known ones included) */
    loam_str text;     /* SPLIT by a string, METASPACE's replacement */
    uint32_t delimiter;
    size_t length;    /* FIXED */
    int prefix_space; /* BYTE_LEVEL */
    int use_regex;    /* BYTE_LEVEL */
    int individual;   /* DIGITS */
    int scheme;       /* METASPACE: 0 never, 1 first, 2 always */
    int split;        /* METASPACE */
} loam_pre;

typedef enum loam_dec_kind {
    LOAM_DEC_BYTE_LEVEL,
    LOAM_DEC_WORDPIECE,
    LOAM_DEC_METASPACE,
    LOAM_DEC_BPE,
    LOAM_DEC_CTC,
    LOAM_DEC_REPLACE,
    LOAM_DEC_FUSE,
    LOAM_DEC_STRIP,
    LOAM_DEC_BYTE_FALLBACK,
    LOAM_DEC_JOIN_SPACE, /* no decoder in the file: tokens joined by spaces */
    LOAM_DEC_TRIM        /* made by us for CLIP: white space at both ends of the whole */
} loam_dec_kind;
typedef struct loam_dec {
    loam_dec_kind kind;
    loam_str pattern,
        content; /* REPLACE; WORDPIECE prefix, METASPACE replacement, BPE suffix, CTC pad:
                                  pattern; CTC delimiter, STRIP char: content */
    loam_regex *regex;
    size_t start, stop; /* STRIP */
    int cleanup;        /* WORDPIECE, CTC */
    int prepends;       /* METASPACE */
} loam_dec;

typedef struct loam_post_item {
    int kind; /* 0: special ids, 1: sequence A, 2: sequence B */
    int type_id;
    size_t at, n; /* in post_ids */
} loam_post_item;
typedef struct loam_post {
    loam_post_item *items;
    size_t n, cap, n_added;
} loam_post;

typedef struct loam_added {
    int32_t id;
    size_t at, n;           /* text as written, in added_pool */
    size_t norm_at, norm_n; /* the text that is looked for: normalized where `normalized` */
    unsigned char special, lstrip, rstrip, single_word, normalized;
} loam_added;

/* ---- models ---- */
typedef enum loam_model_kind {
    LOAM_BPE,
    LOAM_WORDPIECE,
    LOAM_UNIGRAM,
    LOAM_WORDLEVEL
} loam_model_kind;

typedef struct loam_merge {
    uint64_t pair; /* left id << 32 | right id; UINT64_MAX: free */
    uint32_t rank;
    int32_t id;
} loam_merge;

typedef struct loam_merge_text {
    const char *a, *b;
    uint32_t n_a, n_b;
} loam_merge_text;

typedef struct loam_bpe {
    loam_merge *table;
    size_t mask, n;
    int32_t last;            /* result of the last merge read */
    uint32_t cross_after[8]; /* bit set of last bytes: a merge joins "...c" and "\u2581...", so
                                words may not be cut between the two */
    int32_t unk;             /* -1: none */
    int has_unk;             /* unk_token named */
    int fuse_unk, byte_fallback, ignore_merges;
    loam_str prefix, suffix; /* continuing_subword_prefix, end_of_word_suffix */
    int32_t fallback[256];   /* ids of <0x00> .. <0xFF>, -1 */
    int raw;                 /* byte tables below are complete: words may come as raw bytes */
    int32_t byte_id[4][256]; /* [2 * not_first + last][byte] */
    int32_t ascii_id[128];   /* plain characters, without prefix and suffix */
} loam_bpe;

typedef struct loam_unigram {
    double *score; /* [n_pieces] */
    size_t n_pieces;
    int32_t unk;
    double min_score;
    int byte_fallback;
    loam_trie trie;
} loam_unigram;

struct loam_tokenizer {
    char *name; /* file, for messages */
    loam_vocab vocab;
    loam_model_kind kind;
    loam_bpe bpe;
    loam_unigram unigram;
    loam_str unk_token; /* WordPiece, WordLevel */
    loam_str wordpiece_prefix;
    size_t max_word_chars;
    int32_t unk_id;
    loam_norm norm[LOAM_TOK_MAX_STEPS];
    size_t n_norm;
    loam_pre pre[LOAM_TOK_MAX_STEPS];
    size_t n_pre;
    int raw_bytes; /* the last pre-tokenizer is ByteLevel and the model takes raw bytes */
    loam_dec dec[LOAM_TOK_MAX_STEPS];
    size_t n_dec;
    loam_post single, pair;
    int has_pair;
    int32_t *post_ids;
    size_t n_post_ids, cap_post_ids;
    loam_added *added;
    size_t n_added, cap_added;
    loam_buf added_pool;
    loam_trie raw_trie, norm_trie; /* value: index in added */
    int has_raw_trie, has_norm_trie;
    char *bos, *eos;
    int clean_up;
};

/* ---- reading ---- */
/* A list of steps from the JSON of a component (NULL or null: no steps). */
loam_status loam_norm_read(loam_tokenizer *t, const loam_json_value *v, loam_err *err);
loam_status loam_pre_read(loam_tokenizer *t, const loam_json_value *v, loam_err *err);
loam_status loam_dec_read(loam_tokenizer *t, const loam_json_value *v, loam_err *err);
loam_status loam_post_read(loam_tokenizer *t, const loam_json_value *v, loam_err *err);
/* The same from JSON text: what the other file types are turned into. */
loam_status loam_norm_read_text(loam_tokenizer *t, const char *json, loam_err *err);
loam_status loam_pre_read_text(loam_tokenizer *t, const char *json, loam_err *err);
loam_status loam_dec_read_text(loam_tokenizer *t, const char *json, loam_err *err);
void loam_norm_free(loam_norm *s);
void loam_charsmap_free(loam_charsmap *m);
loam_status loam_charsmap_parse(loam_charsmap *m, const unsigned char *blob, size_t n,
                                const char *name, loam_err *err);
/* [CLS] A [SEP] B [SEP] and the like: each token by its text and id; NULL first or last: left out. */
loam_status loam_post_bert(loam_tokenizer *t, const char *cls, const char *sep, int double_sep,
                           loam_err *err);
loam_status loam_post_around(loam_tokenizer *t, const char *bos, const char *eos, loam_err *err);
loam_status loam_added_put(loam_tokenizer *t, const char *s, size_t n, int64_t id,
                           const loam_added *flags, loam_err *err);
loam_status loam_added_finish(loam_tokenizer *t, loam_err *err);

loam_status loam_bpe_start(loam_tokenizer *t, size_t n_merges, loam_err *err);
/* The next merge in the file's order.  `rank` UINT32_MAX: its number in that order. */
loam_status loam_bpe_merge(loam_tokenizer *t, const char *a, size_t n_a, const char *b, size_t n_b,
                           uint32_t rank, loam_err *err);
/* The same for up to LOAM_TOK_BATCH at once, which hides the waiting for memory. */
loam_status loam_bpe_merges(loam_tokenizer *t, const loam_merge_text *m, size_t n, loam_err *err);
loam_status loam_bpe_finish(loam_tokenizer *t, loam_err *err);
loam_status loam_unigram_finish(loam_tokenizer *t, loam_err *err);

loam_status loam_tok_load_json(loam_tokenizer *t, const char *path, loam_err *err);
loam_status loam_tok_load_spm(loam_tokenizer *t, const char *path, const loam_json_value *config,
                              loam_err *err);
loam_status loam_tok_load_bpe_files(loam_tokenizer *t, const char *vocab, const char *merges,
                                    const loam_json_value *config, loam_err *err);
loam_status loam_tok_load_vocab_txt(loam_tokenizer *t, const char *path,
                                    const loam_json_value *config, loam_err *err);
/* vocab.json: one object text -> id. */
loam_status loam_tok_scan_vocab(loam_tokenizer *t, const char *text, size_t n, const char *name,
                                loam_err *err);
int loam_str_set(loam_str *s, const char *text, size_t n); /* 0: no memory */
void loam_str_free(loam_str *s);
/* Token text of a tokenizer_config value: a string or an object with "content". */
const char *loam_tok_config_text(const loam_json_value *config, const char *key, size_t *n);

/* ---- encoding ---- */
typedef struct loam_word_entry loam_word_entry;
typedef struct loam_symbol {
    int32_t id;
    uint32_t prev, next; /* UINT32_MAX: none */
} loam_symbol;
typedef struct loam_candidate {
    uint64_t key; /* rank << 32 | position */
    int32_t id;
} loam_candidate;
typedef struct loam_best {
    double score;
    uint32_t from; /* UINT32_MAX: not reached */
    int32_t id;
} loam_best;

/* What one call of encode needs; the tokenizer itself is never written. */
typedef struct loam_encoding {
    const loam_tokenizer *tok;
    loam_ids *out;
    loam_err *err;
    int skip_special;       /* special tokens written in the text are plain text */
    loam_word_entry *cache; /* words seen in this call -> ids */
    size_t cache_mask;
    loam_symbol *symbols;
    size_t cap_symbols;
    loam_candidate *heap;
    size_t cap_heap;
    loam_best *best;
    size_t cap_best;
    loam_buf word; /* a mapped or joined word */
    loam_buf norm[2];
    loam_buf step[LOAM_TOK_MAX_STEPS];
} loam_encoding;
loam_status loam_norm_apply(const loam_tokenizer *t, const char *s, size_t n, loam_buf *a,
                            loam_buf *b, const char **out, size_t *n_out, loam_err *err);
loam_status loam_pre_apply(loam_encoding *e, size_t i_step, const char *s, size_t n, int first);
/* Ids of one word.  `raw`: bytes that stand for their ByteLevel characters. */
loam_status loam_model_word(loam_encoding *e, const char *s, size_t n, int raw);
loam_status loam_bpe_word(loam_encoding *e, const char *s, size_t n, int raw);
loam_status loam_wordpiece_word(loam_encoding *e, const char *s, size_t n);
loam_status loam_unigram_word(loam_encoding *e, const char *s, size_t n);
/* One text, after what e->out has; the encoding may be used again, for the same tokenizer. */
loam_status loam_encoding_text(loam_encoding *e, const char *text, size_t n, unsigned flags);
void loam_encoding_deinit(loam_encoding *e);
void loam_words_init(loam_encoding *e, size_t text_bytes); /* the cache */
void loam_words_deinit(loam_encoding *e);
static inline loam_status loam_encoding_push(loam_encoding *e, int32_t id) {
    if (e->out->n < e->out->cap) {
        e->out->ids[e->out->n++] = id;
        return LOAM_OK;
    }
    return loam_ids_push(e->out, id) ? LOAM_OK
                                     : loam_fail(e->err, LOAM_ERR_MEMORY, "tokenizer: ids");
}

#endif
