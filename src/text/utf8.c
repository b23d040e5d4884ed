/* utf8.c - repairing UTF-8. */
#include "text/utf8.h"

/* Length of the sound character at p[0 .. n), or 0; then *bad is the length of the
 * maximal broken part (Unicode's "substitution of maximal subparts"), and *open says
 * that the text ended before the part was shown to be wrong. */
static size_t measure_char(const unsigned char *p, size_t n, size_t *bad, int *open) {
    const unsigned c = p[0];
    unsigned lo = 0x80, hi = 0xbf;
    size_t need;
    *bad = 1;
    *open = 0;
    if (c < 0x80) return 1;
    if (c >= 0xc2 && c <= 0xdf) {
        need = 2;
    } else if (c >= 0xe0 && c <= 0xef) {
        need = 3;
        if (c == 0xe0) lo = 0xa0;
        if (c == 0xed) hi = 0x9f;
    } else if (c >= 0xf0 && c <= 0xf4) {
        need = 4;
        if (c == 0xf0) lo = 0x90;
        if (c == 0xf4) hi = 0x8f;
    } else {
        return 0;
    }
    for (size_t k = 1; k < need; k++) {
        if (k == n) {
            *open = 1;
            return 0;
        }
        if (p[k] < lo || p[k] > hi) return 0;
        lo = 0x80;
        hi = 0xbf;
        *bad = k + 1;
    }
    return need;
}

size_t loam_utf8_lossy(loam_buf *out, const char *s, size_t n, int more) {
    const unsigned char *p = (const unsigned char *)s;
    size_t i = 0, from = 0, bad;
    int open;
    while (i < n) {
        if (p[i] < 0x80) {
            i++;
            continue;
        }
        const size_t k = measure_char(p + i, n - i, &bad, &open);
        if (k) {
            i += k;
            continue;
        }
        if (open && more) break;
        loam_buf_append(out, s + from, i - from);
        loam_buf_append(out, "\xef\xbf\xbd", 3);
        i += bad;
        from = i;
    }
    loam_buf_append(out, s + from, i - from);
    return i;
}

void loam_utf8_append(loam_buf *b, uint32_t c) {
    char s[4];
    loam_buf_append(b, s, loam_utf8_put(s, c));
}
