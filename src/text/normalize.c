/* normalize.c - the normalizers of tokenizer.json.
 *
 * Each step takes text and gives text; a step that changes nothing gives back what it got,
 * without a copy, so that plain ASCII passes NFC at the speed of reading. */
#include "text/tok.h"
#include "text/unicode.h"
#include "text/utf8.h"
#include <utf8proc.h>

void loam_charsmap_free(loam_charsmap *m) {
    free(m->units);
    free(m->texts);
    *m = (loam_charsmap){0};
}

void loam_norm_free(loam_norm *s) {
    loam_str_free(&s->pattern);
    loam_str_free(&s->content);
    loam_regex_free(s->regex);
    loam_charsmap_free(&s->map);
}

/*  blob:  | u32 bytes of the trie | trie: u32 units | texts, each ended by NUL |  */
loam_status loam_charsmap_parse(loam_charsmap *m, const unsigned char *blob, size_t n,
                                const char *name, loam_err *err) {
    if (n < 4)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: precompiled_charsmap: %zu bytes", name, n);
    const size_t trie = loam_read_u32(blob);
    if (trie % 4 || trie == 0 || trie > n - 4)
        return loam_fail(err, LOAM_ERR_FORMAT, "%s: precompiled_charsmap: trie of %zu bytes in %zu",
                         name, trie, n - 4);
    m->n_units = trie / 4;
    m->n_texts = n - 4 - trie;
    m->units = loam_alloc(m->n_units, 4);
    m->texts = loam_strndup((const char *)blob + 4 + trie, m->n_texts);
    if (!m->units || !m->texts)
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: precompiled_charsmap", name);
    for (size_t i = 0; i < m->n_units; i++) m->units[i] = loam_read_u32(blob + 4 + 4 * i);
    const size_t bad = loam_utf8_check(m->texts, m->n_texts);
    if (bad != m->n_texts)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "%s: precompiled_charsmap: text not UTF-8 at byte %zu", name, bad);
    return LOAM_OK;
}

static size_t unit_offset(uint32_t u) {
    return (size_t)(u >> 10) << ((u & 0x200) >> 6);
}

/* What the map says for `s`: the text of its shortest prefix that has one (sic: the
 * reference takes the first result of the prefix search and replaces all of `s`). */
static const char *map_lookup(const loam_charsmap *m, const char *s, size_t n, size_t *n_out) {
    size_t at = unit_offset(m->units[0]);
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)s[i];
        if (c == 0) return NULL;
        at ^= c;
        if (at >= m->n_units) return NULL;
        const uint32_t u = m->units[at];
        if ((u & 0x800000ffu) != c) return NULL;
        at ^= unit_offset(u);
        if (at >= m->n_units) return NULL;
        if (u >> 8 & 1) {
            const size_t text = m->units[at] & 0x7fffffffu;
            if (text >= m->n_texts) return NULL;
            *n_out = strnlen(m->texts + text, m->n_texts - text);
            return m->texts + text;
        }
    }
    return NULL;
}

static void apply_charsmap(const loam_charsmap *m, const char *s, size_t n, loam_buf *out) {
    for (size_t i = 0; i < n;) {
        /* one grapheme cluster */
        utf8proc_int32_t state = 0;
        size_t end = i;
        uint32_t c = loam_utf8_next(s, &end);
        while (end < n) {
            size_t next = end;
            const uint32_t d = loam_utf8_next(s, &next);
            if (c < 0x300 && d < 0x300 && c != '\r'
                    ? 1
                    : utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)d,
                                                       &state))
                break;
            c = d;
            end = next;
        }
        size_t n_text = 0;
        const char *text = end - i < 6 ? map_lookup(m, s + i, end - i, &n_text) : NULL;
        if (text) {
            loam_buf_append(out, text, n_text);
            i = end;
            continue;
        }
        while (i < end) {
            const size_t len = loam_utf8_len(s, i);
            text = map_lookup(m, s + i, len, &n_text);
            loam_buf_append(out, text ? text : s + i, text ? n_text : len);
            i += len;
        }
    }
}

static int is_chinese(uint32_t c) {
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
           (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) || /* sic */
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

/* clean_text and handle_chinese_chars in one pass. */
static void clean_bert(const loam_norm *step, const char *s, size_t n, loam_buf *out) {
    if (!loam_buf_reserve(out, n + 16)) return;
    for (size_t i = 0; i < n;) {
        const unsigned char b = (unsigned char)s[i];
        if (b >= 0x20 && b < 0x7f) {
            loam_buf_putc(out, s[i++]);
            continue;
        }
        const uint32_t c = loam_utf8_next(s, &i);
        const int space = loam_uc_is_space(c);
        if (step->clean) {
            if (c == 0 || c == 0xfffd) continue;
            if (c != '\t' && c != '\n' && c != '\r' && loam_uc_is_other(c)) continue;
            if (space) {
                loam_buf_putc(out, ' ');
                continue;
            }
        }
        if (step->chinese && is_chinese(c)) {
            loam_buf_putc(out, ' ');
            loam_utf8_append(out, c);
            loam_buf_putc(out, ' ');
        } else {
            loam_utf8_append(out, c);
        }
    }
}

static void lower_all(const char *s, size_t n, loam_buf *out) {
    if (!loam_buf_reserve(out, n + 16)) return;
    for (size_t i = 0; i < n;) {
        const unsigned char b = (unsigned char)s[i];
        if (b < 0x80) {
            loam_buf_putc(out, (char)(b >= 'A' && b <= 'Z' ? b + 32 : b));
            i++;
            continue;
        }
        loam_uc_lower(out, loam_utf8_next(s, &i));
    }
}

static void drop_marks(const char *s, size_t n, loam_buf *out, int (*drop)(uint32_t)) {
    if (!loam_buf_reserve(out, n + 1)) return;
    for (size_t i = 0; i < n;) {
        const size_t from = i;
        const uint32_t c = loam_utf8_next(s, &i);
        if (c < 0x300 || !drop(c)) loam_buf_append(out, s + from, i - from);
    }
}

static void apply_nmt(const char *s, size_t n, loam_buf *out) {
    for (size_t i = 0; i < n;) {
        const size_t from = i;
        const uint32_t c = loam_utf8_next(s, &i);
        if ((c >= 1 && c <= 8) || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f || c == 0x8f ||
            c == 0x9f)
            continue;
        if (c == 9 || c == 10 || c == 12 || c == 13 || c == 0x1680 ||
            (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
            c == 0xfeff || c == 0xfffd)
            loam_buf_putc(out, ' ');
        else
            loam_buf_append(out, s + from, i - from);
    }
}

static loam_status replace_all(const loam_norm *step, const char *s, size_t n, loam_buf *out,
                               int *changed, loam_err *err) {
    const loam_str *p = &step->pattern, *c = &step->content;
    size_t from = 0;
    *changed = 0;
    if (!step->regex) {
        if (!p->n) return LOAM_OK;
        const char *hit;
        while (from < n && (hit = memmem(s + from, n - from, p->s, p->n)) != NULL) {
            const size_t at = (size_t)(hit - s);
            loam_buf_append(out, s + from, at - from);
            loam_buf_append(out, c->s, c->n);
            from = at + p->n;
            *changed = 1;
        }
    } else {
        loam_regex_scan scan;
        int found = 0;
        size_t start = 0, end = 0;
        loam_status st = loam_regex_scan_init(&scan, step->regex, s, n, err);
        while (!st) {
            st = loam_regex_next(&scan, &found, &start, &end, err);
            if (st || !found) break;
            loam_buf_append(out, s + from, start - from);
            loam_buf_append(out, c->s, c->n);
            from = end;
            *changed = 1;
        }
        loam_regex_scan_deinit(&scan);
        if (st) return st;
    }
    if (*changed) loam_buf_append(out, s + from, n - from);
    return LOAM_OK;
}

static int is_ascii(const char *s, size_t n) {
    size_t i = 0;
    if (!s) return 1; /* an empty buffer */
    for (; n - i >= 8; i += 8)
        if (loam_read_u64(s + i) & 0x8080808080808080u) return 0;
    for (; i < n; i++)
        if ((unsigned char)s[i] & 0x80) return 0;
    return 1;
}

/* BertNormalizer from text to text in `out`; `tmp` is scratch. */
static int apply_bert(const loam_norm *step, const char *s, size_t n, loam_buf *out,
                      loam_buf *tmp) {
    const int strip = step->strip_accents < 0 ? step->lower : step->strip_accents;
    loam_buf marked = {0};
    int ok = 1;
    loam_buf_clear(tmp);
    clean_bert(step, s, n, tmp);
    if (strip && !loam_uc_is_normal(tmp->data ? tmp->data : "", tmp->n, LOAM_UC_NFD)) {
        ok = loam_uc_normalize(&marked, tmp->data, tmp->n, LOAM_UC_NFD);
        loam_buf_clear(tmp);
        if (ok) drop_marks(marked.data, marked.n, tmp, loam_uc_is_nonspacing);
        loam_buf_deinit(&marked);
    } else if (strip && !is_ascii(tmp->data, tmp->n)) { /* marks of class 0 may still be there */
        loam_buf_append(&marked, tmp->data, tmp->n);
        loam_buf_clear(tmp);
        if (marked.data) drop_marks(marked.data, marked.n, tmp, loam_uc_is_nonspacing);
        ok = !marked.failed;
        loam_buf_deinit(&marked);
    }
    if (step->lower)
        lower_all(tmp->data ? tmp->data : "", tmp->n, out);
    else
        loam_buf_append(out, tmp->data, tmp->n);
    return ok && !tmp->failed;
}

static void find_strip(const loam_norm *step, const char *s, size_t n, size_t *from, size_t *to) {
    size_t a = 0, b = n;
    while (step->left && a < n) {
        size_t next = a;
        if (!loam_uc_is_space(loam_utf8_next(s, &next))) break;
        a = next;
    }
    while (step->right && b > a) {
        const size_t prev = loam_utf8_prev(s, b);
        size_t at = prev;
        if (!loam_uc_is_space(loam_utf8_next(s, &at))) break;
        b = prev;
    }
    *from = a;
    *to = b;
}

/* One step: text in, text out; either a view of what came in or the content of `out`. */
static loam_status apply_step(const loam_tokenizer *t, const loam_norm *step, const char **s,
                              size_t *n, loam_buf *out, loam_err *err) {
    int changed = 1, ok = 1;
    loam_buf tmp = {0};
    loam_status st = LOAM_OK;
    loam_buf_clear(out);
    switch (step->kind) {
    case LOAM_NORM_FORM:
        changed = !loam_uc_is_normal(*s, *n, (loam_uc_form)step->form);
        if (changed) ok = loam_uc_normalize(out, *s, *n, (loam_uc_form)step->form);
        break;
    case LOAM_NORM_LOWER: lower_all(*s, *n, out); break;
    case LOAM_NORM_BERT: ok = apply_bert(step, *s, *n, out, &tmp); break;
    case LOAM_NORM_STRIP: {
        size_t from, to;
        find_strip(step, *s, *n, &from, &to);
        *s += from;
        *n = to - from;
        changed = 0;
        break;
    }
    case LOAM_NORM_STRIP_ACCENTS: drop_marks(*s, *n, out, loam_uc_is_mark); break;
    case LOAM_NORM_PREPEND:
        changed = *n > 0;
        if (changed) {
            loam_buf_append(out, step->content.s, step->content.n);
            loam_buf_append(out, *s, *n);
        }
        break;
    case LOAM_NORM_REPLACE: st = replace_all(step, *s, *n, out, &changed, err); break;
    case LOAM_NORM_NMT: apply_nmt(*s, *n, out); break;
    case LOAM_NORM_PRECOMPILED: apply_charsmap(&step->map, *s, *n, out); break;
    case LOAM_NORM_BYTE_LEVEL: loam_byte_map(out, *s, *n); break;
    }
    loam_buf_deinit(&tmp);
    if (st) return st;
    if (!ok || out->failed)
        return loam_fail(err, LOAM_ERR_MEMORY, "%s: normalizing a text of %zu bytes", t->name, *n);
    if (changed) {
        *s = out->data ? out->data : "";
        *n = out->n;
    }
    return LOAM_OK;
}

loam_status loam_norm_apply(const loam_tokenizer *t, const char *s, size_t n, loam_buf *a,
                            loam_buf *b, const char **out, size_t *n_out, loam_err *err) {
    *out = s;
    *n_out = n;
    for (size_t i = 0; i < t->n_norm; i++) {
        const int in_a = a->data && *out >= a->data && *out <= a->data + a->n;
        const loam_status st = apply_step(t, &t->norm[i], out, n_out, in_a ? b : a, err);
        if (st) return st;
        if (*n_out > LOAM_TOK_MAX_TEXT)
            return loam_fail(err, LOAM_ERR_LIMIT, "%s: a text grows beyond %d bytes in normalizing",
                             t->name, LOAM_TOK_MAX_TEXT);
    }
    return LOAM_OK;
}
