/* chat.h - messages through a model's chat template to token ids.
 *
 *     loam_chat_message m[] = {{"user", text, n}};
 *     loam_ids ids = {0};
 *     loam_chat_encode(tok, tmpl, m, 1, &(loam_chat_options){.now = time(NULL)}, &ids, &err);
 *
 * What a message holds is text: a special token written in a document or a
 * question ("<|im_end|>") never becomes one.
 */
#ifndef LOAM_CHAT_H
#define LOAM_CHAT_H

#include <loam/base.h>
#include <loam/text.h>

typedef struct loam_chat_message {
    const char *role; /* "system", "user", "assistant" */
    const char *content;
    size_t n;
} loam_chat_message;

typedef struct loam_chat_options {
    int64_t now;                  /* seconds since 1970, for templates that print the date */
    int utc;                      /* print it in UTC instead of local time */
    const loam_json_value *extra; /* further template variables (an object), or NULL */
} loam_chat_options;

/* Append to `out` the ids of the rendered conversation with a generation prompt.
 * Without a template (NULL) the contents are joined by blank lines and encoded with
 * the tokenizer's own special tokens.  A template that refuses a system message gets
 * it at the head of the first user message.  Errors: FORMAT (contents not UTF-8, or
 * the template raised), LIMIT, MEMORY. */
LOAM_API loam_status loam_chat_encode(const loam_tokenizer *tok, const loam_template *t,
                                      const loam_chat_message *m, size_t n,
                                      const loam_chat_options *o, loam_ids *out, loam_err *err);

#endif
