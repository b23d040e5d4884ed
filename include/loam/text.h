/* text.h - text to token ids and back, and chat templates.
 *
 *     loam_tokenizer *tok;
 *     loam_ids ids = {0};
 *     if (loam_tokenizer_open(&tok, "models/smollm2", &err)) die(err.msg);
 *     if (loam_tokenizer_encode(tok, text, n, LOAM_ENCODE_SPECIAL, &ids, &err)) ...
 *     loam_ids_deinit(&ids);
 *     loam_tokenizer_close(tok);
 *
 * Same ids as Hugging Face tokenizers for the components it accepts; a component
 * it does not know is an error at open, never silently other ids.
 * A tokenizer and a template are immutable after open: any number of threads.
 */
#ifndef LOAM_TEXT_H
#define LOAM_TEXT_H

#include <loam/base.h>
#include <loam/json.h>

typedef struct loam_ids {
    int32_t *ids;
    size_t n, cap;
} loam_ids;
LOAM_API int loam_ids_push(loam_ids *v, int32_t id); /* 0 when out of memory */
LOAM_API void loam_ids_deinit(loam_ids *v);

typedef struct loam_tokenizer loam_tokenizer;

/* `folder` holds tokenizer.json (+ tokenizer_config.json), or tokenizer.model
 * (SentencePiece), or vocab.json + merges.txt, or vocab.txt (WordPiece); or is one
 * of these files itself.  Errors: NOT_FOUND, FORMAT, UNSUPPORTED, MEMORY, LIMIT. */
LOAM_API loam_status loam_tokenizer_open(loam_tokenizer **out, const char *folder, loam_err *err);
LOAM_API void loam_tokenizer_close(loam_tokenizer *tok); /* NULL is allowed */

enum {
    LOAM_ENCODE_SPECIAL = 1,      /* add what the post-processor adds (BOS, [CLS] ... [SEP]) */
    LOAM_ENCODE_PARSE_SPECIAL = 2 /* special tokens written in the text become their ids; without
                                      it they are plain text: use that for documents and questions */
};
/* Append ids to `out`.  Text that is not UTF-8 is an error (FORMAT) naming the byte. */
LOAM_API loam_status loam_tokenizer_encode(const loam_tokenizer *tok, const char *text, size_t n,
                                           unsigned flags, loam_ids *out, loam_err *err);
/* Many texts over the pool (NULL: on this thread), which also share what is known of their words.
 * The ids of text i, as encode makes them, stand in out->ids from starts[i] to starts[i + 1]
 * (starts [n + 1]), after what `out` had.  A text that is an error is named by its number from 1;
 * the first one counts, and `out` is as before. */
LOAM_API loam_status loam_tokenizer_encode_batch(const loam_tokenizer *tok, loam_pool *pool,
                                                 const loam_text *texts, size_t n, unsigned flags,
                                                 loam_ids *out, size_t *starts, loam_err *err);
/* Pair input of a cross-encoder: ids and segment ids of A and B with the
 * post-processor's special tokens, cut "longest first" to `max_ids` in all
 * (0: no cut).  flags: LOAM_ENCODE_PARSE_SPECIAL or 0.
 * Errors: UNSUPPORTED when the tokenizer has no pair form. */
LOAM_API loam_status loam_tokenizer_encode_pair(const loam_tokenizer *tok, const char *a,
                                                size_t n_a, const char *b, size_t n_b,
                                                size_t max_ids, unsigned flags, loam_ids *ids,
                                                loam_ids *type_ids, loam_err *err);
/* How many special tokens LOAM_ENCODE_SPECIAL adds to one text. */
LOAM_API size_t loam_tokenizer_n_added(const loam_tokenizer *tok);

/* Append the text of ids.  Ids outside the vocabulary are an error (ARGUMENT). */
enum {
    LOAM_DECODE_SKIP_SPECIAL = 1,
    LOAM_DECODE_CLEAN_UP = 2 /* tokenizer_config's clean_up_tokenization_spaces */
};
LOAM_API loam_status loam_tokenizer_decode(const loam_tokenizer *tok, const int32_t *ids, size_t n,
                                           unsigned flags, loam_buf *out, loam_err *err);

LOAM_API size_t loam_tokenizer_size(const loam_tokenizer *tok); /* highest id + 1 */
LOAM_API int32_t loam_tokenizer_id(const loam_tokenizer *tok, const char *token); /* -1: none */
LOAM_API const char *
loam_tokenizer_token(const loam_tokenizer *tok, int32_t id,
                     size_t *n); /* as in the file, NUL-terminated; NULL: none */
LOAM_API int loam_tokenizer_is_special(const loam_tokenizer *tok, int32_t id);
LOAM_API const char *
loam_tokenizer_bos(const loam_tokenizer *tok); /* token text of tokenizer_config, or NULL */
LOAM_API const char *loam_tokenizer_eos(const loam_tokenizer *tok);

/* Streaming: text as soon as it is whole characters.  Concatenated pieces equal
 * loam_tokenizer_decode of all ids with the same flags. */
typedef struct loam_detok loam_detok;
LOAM_API loam_status loam_detok_new(loam_detok **out, const loam_tokenizer *tok, unsigned flags,
                                    loam_err *err);
LOAM_API loam_status loam_detok_push(loam_detok *d, int32_t id, loam_buf *out,
                                     loam_err *err); /* appends 0 or more characters */
LOAM_API void loam_detok_flush(loam_detok *d,
                               loam_buf *out); /* what is held back, broken bytes as U+FFFD */
LOAM_API void loam_detok_free(loam_detok *d);

/* Chat templates: the Jinja subset that real templates use, in a sandbox with
 * limits on steps, depth and output; no I/O. */
typedef struct loam_template loam_template;
/* chat_template.jinja, else tokenizer_config.json's chat_template (string, or the
 * list's "default"), else chat_template.json.  NOT_FOUND when the folder has none.
 * `folder` may also be the path of a template file. */
LOAM_API loam_status loam_template_open(loam_template **out, const char *folder, loam_err *err);
LOAM_API loam_status loam_template_new(loam_template **out, const char *source, size_t n,
                                       const char *name, loam_err *err);
LOAM_API void loam_template_free(loam_template *t);

enum {
    /* As transformers' apply_chat_template: null message keys dropped, `tools` and `documents`
     * always defined, reasoning_content/thinking copied to each other, bos_token/eos_token/...
     * from the folder defined. */
    LOAM_TEMPLATE_CHAT = 1,
    LOAM_TEMPLATE_UTC = 2 /* strftime_now shows `now` in UTC (SOURCE_DATE_EPOCH), else local time */
};
/* Render with the members of the object `vars` as variables.  `now` is seconds
 * since the epoch for strftime_now (UTC when it comes from SOURCE_DATE_EPOCH, see the app).
 * Errors: FORMAT (template raised: the message is its own), LIMIT, MEMORY. */
LOAM_API loam_status loam_template_render(const loam_template *t, const loam_json_value *vars,
                                          unsigned flags, int64_t now, loam_buf *out,
                                          loam_err *err);

#endif
