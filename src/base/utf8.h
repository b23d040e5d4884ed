/* utf8.h - the one place that knows how UTF-8 is built: no overlong forms, no surrogates,
 * nothing above U+10FFFF.
 *
 *     for (size_t i = 0; i < n; i += length)
 *         if (!(length = loam_utf8_length(text + i, n - i))) ...       broken at byte i
 *
 * Checking a whole text is loam_utf8_check of loam/base.h.
 */
#ifndef LOAM_SRC_UTF8_H
#define LOAM_SRC_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the sound character at `text`, 0 when there is none in these `n` bytes. */
static inline size_t loam_utf8_length(const char *text, size_t n) {
    const unsigned char *p = (const unsigned char *)text;
    if (n == 0) return 0;
    if (p[0] < 0x80) return 1;
    if (p[0] < 0xC2 || p[0] > 0xF4) return 0;
    if (n < 2 || (p[1] & 0xC0) != 0x80) return 0;
    if (p[0] < 0xE0) return 2;
    if (n < 3 || (p[2] & 0xC0) != 0x80) return 0;
    if (p[0] < 0xF0) {
        if (p[0] == 0xE0 && p[1] < 0xA0) return 0; /* overlong */
        if (p[0] == 0xED && p[1] > 0x9F) return 0; /* surrogate */
        return 3;
    }
    if (n < 4 || (p[3] & 0xC0) != 0x80) return 0;
    if (p[0] == 0xF0 && p[1] < 0x90) return 0; /* overlong */
    if (p[0] == 0xF4 && p[1] > 0x8F) return 0; /* above U+10FFFF */
    return 4;
}

/* Code point of a character of that length. */
static inline uint32_t loam_utf8_code(const char *text, size_t length) {
    const unsigned char *p = (const unsigned char *)text;
    if (length == 1) return p[0];
    if (length == 2) return (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F);
    if (length == 3)
        return (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    return (uint32_t)(p[0] & 7) << 18 | (uint32_t)(p[1] & 0x3F) << 12 |
           (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3F);
}

/* Write a code point to `out` (4 bytes of room); returns its length. */
static inline size_t loam_utf8_put(char *out, uint32_t c) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

/* ---- of text that has been checked ---- */

/* 1 for the bytes that start a character. */
static inline int loam_utf8_is_start(char c) {
    return ((unsigned char)c & 0xC0) != 0x80;
}

/* How many code points. */
static inline int64_t loam_utf8_count(const char *text, size_t n) {
    int64_t count = 0;
    for (size_t i = 0; i < n; i++) count += loam_utf8_is_start(text[i]);
    return count;
}

#endif
