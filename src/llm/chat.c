/* chat.c - messages to ids, with contents kept out of reach of special tokens.
 *
 * The usual case is the exact one: render, then encode the whole string, so that
 * tokens may merge across the template's seams as they did in training.  Only when
 * a content would be read differently with special tokens recognised is the prompt
 * rendered with placeholders and encoded piece by piece, contents as plain text.
 */
#include "base/base.h"

#include <loam/chat.h>
#include <stdio.h>

enum { MARK_BYTES = 48 };

static void put_message(loam_buf *b, const loam_chat_message *m) {
    loam_buf_puts(b, "{\"role\":");
    loam_json_put_string(b, m->role, strlen(m->role));
    loam_buf_puts(b, ",\"content\":");
    loam_json_put_string(b, m->content, m->n);
    loam_buf_putc(b, '}');
}

/* {"messages": [...], "add_generation_prompt": true, ...extra} */
static void put_variables(loam_buf *b, const loam_chat_message *m, size_t n,
                          const loam_json_value *extra) {
    loam_buf_puts(b, "{\"messages\":[");
    for (size_t i = 0; i < n; i++) {
        if (i) loam_buf_putc(b, ',');
        put_message(b, &m[i]);
    }
    loam_buf_puts(b, "],\"add_generation_prompt\":true");
    for (const loam_json_value *v = loam_json_first(extra); v; v = loam_json_next(v)) {
        size_t key_n;
        const char *key = loam_json_own_key(v, &key_n);
        loam_buf_putc(b, ',');
        loam_json_put_string(b, key, key_n);
        loam_buf_putc(b, ':');
        loam_json_put_value(b, v, -1, 0);
    }
    loam_buf_putc(b, '}');
}

static loam_status render(const loam_template *t, const loam_chat_message *m, size_t n,
                          const loam_chat_options *o, loam_buf *out, loam_err *err) {
    loam_buf text = {0};
    loam_json *doc = NULL;
    put_variables(&text, m, n, o->extra);
    loam_status st = text.failed
                         ? loam_fail(err, LOAM_ERR_MEMORY, "chat prompt")
                         : loam_json_parse(&doc, text.data, text.n, "chat messages", 0, err);
    if (!st)
        st = loam_template_render(t, loam_json_root(doc),
                                  LOAM_TEMPLATE_CHAT | (o->utc ? (unsigned)LOAM_TEMPLATE_UTC : 0),
                                  o->now, out, err);
    loam_json_free(doc);
    loam_buf_deinit(&text);
    return st;
}

/* Sets *yes when recognising special tokens changes how a content is read. */
static loam_status find_special(const loam_tokenizer *tok, const loam_chat_message *m, int *yes,
                                loam_err *err) {
    loam_ids plain = {0}, parsed = {0};
    loam_status st = loam_tokenizer_encode(tok, m->content, m->n, 0, &plain, err);
    if (!st)
        st = loam_tokenizer_encode(tok, m->content, m->n, LOAM_ENCODE_PARSE_SPECIAL, &parsed, err);
    if (!st && (plain.n != parsed.n ||
                (plain.n && memcmp(plain.ids, parsed.ids, plain.n * sizeof *plain.ids) != 0)))
        *yes = 1;
    loam_ids_deinit(&plain);
    loam_ids_deinit(&parsed);
    return st;
}

/* The earliest mark in `text`, or NULL. */
static const char *find_mark(const char *text, char (*marks)[MARK_BYTES], size_t n, size_t *which) {
    const char *first = NULL;
    for (size_t i = 0; i < n; i++) {
        const char *at = strstr(text, marks[i]);
        if (at && (!first || at < first)) {
            first = at;
            *which = i;
        }
    }
    return first;
}

/* Encode `text` with every occurrence of mark i replaced by content i, as plain text. */
static loam_status encode_marked(const loam_tokenizer *tok, const char *text,
                                 const loam_chat_message *m, size_t n, char (*marks)[MARK_BYTES],
                                 loam_ids *out, loam_err *err) {
    for (;;) {
        size_t which = 0;
        const char *mark = find_mark(text, marks, n, &which);
        const size_t before = mark ? (size_t)(mark - text) : strlen(text);
        loam_status st = LOAM_OK;
        if (before)
            st = loam_tokenizer_encode(tok, text, before, LOAM_ENCODE_PARSE_SPECIAL, out, err);
        if (st || !mark) return st;
        st = loam_tokenizer_encode(tok, m[which].content, m[which].n, 0, out, err);
        if (st) return st;
        text = mark + strlen(marks[which]);
    }
}

static loam_status encode_apart(const loam_tokenizer *tok, const loam_template *t,
                                const loam_chat_message *m, size_t n, const loam_chat_options *o,
                                loam_ids *out, loam_err *err) {
    loam_buf text = {0};
    char(*marks)[MARK_BYTES] = loam_alloc(n, sizeof *marks);
    loam_chat_message *shadow = loam_alloc(n, sizeof *shadow);
    loam_status st = marks && shadow ? LOAM_OK : loam_fail(err, LOAM_ERR_MEMORY, "chat prompt");
    /* a mark must not occur in any content: derive it from all of them */
    uint64_t seed = 1;
    for (size_t i = 0; i < n; i++) seed = loam_hash(m[i].content, m[i].n, seed);
    for (size_t i = 0; marks && shadow && i < n; i++) {
        snprintf(marks[i], sizeof marks[i], "CONTENT%016llxN%zuE", (unsigned long long)seed, i);
        shadow[i] = (loam_chat_message){m[i].role, marks[i], strlen(marks[i])};
    }
    if (!st) st = render(t, shadow, n, o, &text, err);
    if (!st) st = encode_marked(tok, text.data ? text.data : "", m, n, marks, out, err);
    loam_buf_deinit(&text);
    free(shadow);
    free(marks);
    return st;
}

static loam_status encode_messages(const loam_tokenizer *tok, const loam_template *t,
                                   const loam_chat_message *m, size_t n, const loam_chat_options *o,
                                   loam_ids *out, loam_err *err) {
    int special = 0;
    loam_status st = LOAM_OK;
    for (size_t i = 0; i < n && !st; i++) st = find_special(tok, &m[i], &special, err);
    if (st) return st;
    if (special) return encode_apart(tok, t, m, n, o, out, err);

    loam_buf text = {0};
    st = render(t, m, n, o, &text, err);
    if (!st)
        st = loam_tokenizer_encode(tok, text.data ? text.data : "", text.n,
                                   LOAM_ENCODE_PARSE_SPECIAL, out, err);
    loam_buf_deinit(&text);
    return st;
}

/* Gemma's and Mistral's first templates raise on a system message: join it to the user's. */
static loam_status encode_joined(const loam_tokenizer *tok, const loam_template *t,
                                 const loam_chat_message *m, size_t n, const loam_chat_options *o,
                                 loam_ids *out, loam_err *err) {
    loam_buf joined = {0};
    loam_chat_message *rest = loam_alloc(n - 1, sizeof *rest);
    if (!rest) return loam_fail(err, LOAM_ERR_MEMORY, "chat prompt");
    memcpy(rest, m + 1, (n - 1) * sizeof *rest);
    loam_buf_append(&joined, m[0].content, m[0].n);
    loam_buf_puts(&joined, "\n\n");
    loam_buf_append(&joined, rest[0].content, rest[0].n);
    rest[0].content = joined.data;
    rest[0].n = joined.n;
    loam_status st = joined.failed ? loam_fail(err, LOAM_ERR_MEMORY, "chat prompt")
                                   : encode_messages(tok, t, rest, n - 1, o, out, err);
    loam_buf_deinit(&joined);
    free(rest);
    return st;
}

static loam_status encode_without_template(const loam_tokenizer *tok, const loam_chat_message *m,
                                           size_t n, loam_ids *out, loam_err *err) {
    loam_buf text = {0};
    for (size_t i = 0; i < n; i++) {
        if (i) loam_buf_puts(&text, "\n\n");
        loam_buf_append(&text, m[i].content, m[i].n);
    }
    loam_status st = text.failed ? loam_fail(err, LOAM_ERR_MEMORY, "chat prompt")
                                 : loam_tokenizer_encode(tok, text.data ? text.data : "", text.n,
                                                         LOAM_ENCODE_SPECIAL, out, err);
    loam_buf_deinit(&text);
    return st;
}

loam_status loam_chat_encode(const loam_tokenizer *tok, const loam_template *t,
                             const loam_chat_message *m, size_t n, const loam_chat_options *o,
                             loam_ids *out, loam_err *err) {
    if (!t) return encode_without_template(tok, m, n, out, err);
    const size_t start = out->n;
    loam_status st = encode_messages(tok, t, m, n, o, out, err);
    if (st == LOAM_ERR_FORMAT && n > 1 && !strcmp(m[0].role, "system") &&
        !strcmp(m[1].role, "user")) {
        out->n = start;
        loam_err second = {0};
        if (encode_joined(tok, t, m, n, o, out, &second) == LOAM_OK) return LOAM_OK;
    }
    return st;
}
