/* utf8.h - UTF-8 in memory: check once at the border, then walk without checks.
 *
 *     size_t bad = loam_utf8_check(text, n);
 *     if (bad != n) return loam_fail(err, LOAM_ERR_FORMAT, "text: not UTF-8 at byte %zu", bad);
 *     for (size_t i = 0; i < n;) use(loam_utf8_next(text, &i));
 */
#ifndef LOAM_TEXT_UTF8_H
#define LOAM_TEXT_UTF8_H

#include "base/base.h"
#include "base/utf8.h"

/* Append `s` with each maximal broken part as one U+FFFD, as Rust's from_utf8_lossy.
 * With `more` set, bytes at the end that may still become a character are not
 * appended; returns how many bytes were consumed. */
size_t loam_utf8_lossy(loam_buf *out, const char *s, size_t n, int more);
/* Bytes of the character that starts at s[i] of checked text. */
static inline size_t loam_utf8_len(const char *s, size_t i) {
    const unsigned char c = (unsigned char)s[i];
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}
/* The character at s[*i] of checked text; *i moves behind it. */
static inline uint32_t loam_utf8_next(const char *s, size_t *i) {
    const unsigned char *p = (const unsigned char *)s + *i;
    if (p[0] < 0x80) {
        *i += 1;
        return p[0];
    }
    if (p[0] < 0xe0) {
        *i += 2;
        return (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    }
    if (p[0] < 0xf0) {
        *i += 3;
        return (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
    }
    *i += 4;
    return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 |
           (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3f);
}
/* Start of the character that ends before s[i]; i > 0, checked text. */
static inline size_t loam_utf8_prev(const char *s, size_t i) {
    do i--;
    while (i > 0 && ((unsigned char)s[i] & 0xc0) == 0x80);
    return i;
}
void loam_utf8_append(loam_buf *b, uint32_t c);

#endif
