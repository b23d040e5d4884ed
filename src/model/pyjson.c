/* pyjson.c - see pyjson.h. */
#include "model/pyjson.h"

#include "base/base.h"

static void new_line(loam_pyjson *w) {
    loam_buf_putc(&w->out, '\n');
    for (int i = 0; i < w->depth * w->indent; i++) loam_buf_putc(&w->out, ' ');
}

void loam_pyjson_key(loam_pyjson *w, const char *key, size_t n) {
    if (w->depth > 0) {
        if (w->n_items[w->depth - 1]++) loam_buf_putc(&w->out, ',');
        new_line(w);
    }
    if (key) {
        loam_json_put_string(&w->out, key, n);
        loam_buf_puts(&w->out, ": ");
    }
}

/* "" means that the key has been written already. */
static void begin_item(loam_pyjson *w, const char *key) {
    if (key && !*key) return;
    loam_pyjson_key(w, key, key ? strlen(key) : 0);
}

void loam_pyjson_open(loam_pyjson *w, const char *key, char bracket) {
    LOAM_ASSERT(w->depth < LOAM_PYJSON_DEPTH);
    begin_item(w, key);
    loam_buf_putc(&w->out, bracket);
    w->n_items[w->depth] = 0;
    w->closing[w->depth++] = bracket == '{' ? '}' : ']';
}

void loam_pyjson_close(loam_pyjson *w) {
    LOAM_ASSERT(w->depth > 0);
    w->depth--;
    if (w->n_items[w->depth]) new_line(w);
    loam_buf_putc(&w->out, w->closing[w->depth]);
}

void loam_pyjson_text(loam_pyjson *w, const char *key, const char *s, size_t n) {
    begin_item(w, key);
    loam_json_put_string(&w->out, s, n);
}

void loam_pyjson_string(loam_pyjson *w, const char *key, const char *s) {
    loam_pyjson_text(w, key, s, strlen(s));
}

void loam_pyjson_int(loam_pyjson *w, const char *key, int64_t v) {
    begin_item(w, key);
    loam_buf_printf(&w->out, "%lld", (long long)v);
}

void loam_pyjson_bool(loam_pyjson *w, const char *key, int v) {
    begin_item(w, key);
    loam_buf_puts(&w->out, v ? "true" : "false");
}

void loam_pyjson_null(loam_pyjson *w, const char *key) {
    begin_item(w, key);
    loam_buf_puts(&w->out, "null");
}

/* Python's repr: always with ".0" or an exponent. */
void loam_pyjson_float(loam_pyjson *w, const char *key, float v) {
    begin_item(w, key);
    const size_t start = w->out.n;
    loam_json_put_float(&w->out, v);
    if (!w->out.failed && !strpbrk(w->out.data + start, ".en")) loam_buf_puts(&w->out, ".0");
}

void loam_pyjson_value(loam_pyjson *w, const char *key, const loam_json_value *v,
                       int ensure_ascii) {
    loam_buf text = {0};
    begin_item(w, key);
    loam_json_put_value(&text, v, w->indent, ensure_ascii);
    if (text.failed) w->out.failed = 1;
    /* strings hold no raw line ends, so every one of them is layout */
    for (size_t i = 0; i < text.n; i++) {
        if (text.data[i] == '\n')
            new_line(w);
        else
            loam_buf_putc(&w->out, text.data[i]);
    }
    loam_buf_deinit(&text);
}
