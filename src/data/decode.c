/* decode.c - bytes of unknown origin to clean UTF-8.
 *
 * Everything later (chunks, index, terminal) relies on this: valid UTF-8, lines
 * ended by LF, no control characters but tab, LF and FF.  A character is never
 * dropped but for the byte order mark and the CR of CR LF, so that spans of plain
 * text agree with what an editor shows.
 */
#include "base/base.h"
#include "base/utf8.h"

#include <errno.h>
#include <iconv.h>
#include <loam/data.h>
#include <strings.h>

/* Windows-1252, 0x80 .. 0x9F; 0 where nothing is assigned. */
static const uint16_t CP1252[32] = {0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                    0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017D, 0,
                                    0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                    0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178};

enum { REPLACEMENT = 0xFFFD };

static void put_code(loam_buf *out, uint32_t c) {
    char bytes[4];
    loam_buf_append(out, bytes, loam_utf8_put(bytes, c));
}

/* What a look over the bytes says. */
typedef struct survey {
    size_t n_multi;    /* well-formed characters of several bytes */
    size_t n_bad;      /* bytes that are part of none */
    size_t n_controls; /* C0 but for tab, LF, FF, CR, BS, ESC */
    size_t n_high;
} survey;

static survey survey_bytes(const char *bytes, size_t n) {
    survey s = {0};
    for (size_t i = 0; i < n;) {
        const unsigned char c = (unsigned char)bytes[i];
        const size_t length = loam_utf8_length(bytes + i, n - i);
        if (c < 0x20 && c != '\t' && c != '\n' && c != '\f' && c != '\r' && c != '\b' && c != 0x1B)
            s.n_controls++;
        if (c >= 0x80) s.n_high += length ? length : 1;
        if (length > 1) s.n_multi++;
        if (length == 0) s.n_bad++;
        i += length ? length : 1;
    }
    return s;
}

static void decode_utf8(const char *bytes, size_t n, loam_buf *out) {
    for (size_t i = 0; i < n;) {
        size_t start = i, length = 0;
        while (i < n && (length = loam_utf8_length(bytes + i, n - i)) > 0) i += length;
        loam_buf_append(out, bytes + start, i - start);
        if (i < n) {
            put_code(out, REPLACEMENT);
            i++;
        }
    }
}

static void decode_cp1252(const char *bytes, size_t n, loam_buf *out) {
    for (size_t i = 0; i < n; i++) {
        uint32_t c = (unsigned char)bytes[i];
        if (c >= 0x80 && c < 0xA0) c = CP1252[c - 0x80] ? CP1252[c - 0x80] : REPLACEMENT;
        put_code(out, c);
    }
}

static void decode_utf16(const char *bytes, size_t n, int big_endian, loam_buf *out) {
    const unsigned char *p = (const unsigned char *)bytes;
    const int hi = big_endian ? 0 : 1, lo = 1 - hi;
    for (size_t i = 0; i + 1 < n; i += 2) {
        uint32_t c = (uint32_t)p[i + (size_t)hi] << 8 | p[i + (size_t)lo];
        if (c >= 0xD800 && c < 0xDC00 && i + 3 < n) {
            const uint32_t low = (uint32_t)p[i + 2 + (size_t)hi] << 8 | p[i + 2 + (size_t)lo];
            if (low >= 0xDC00 && low < 0xE000) {
                c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
                i += 2;
            }
        }
        if (c >= 0xD800 && c < 0xE000) c = REPLACEMENT;
        put_code(out, c);
    }
    if (n % 2) put_code(out, REPLACEMENT);
}

/* By the C library's converter; broken input becomes U+FFFD byte by byte.  0: it knows no such charset. */
static int decode_iconv(const char *bytes, size_t n, const char *charset, loam_buf *out) {
    iconv_t cd = iconv_open("UTF-8", charset);
    if (cd == (iconv_t)-1) return 0;
    char *in = loam_strndup(bytes, n); /* iconv wants it writable */
    char *at = in, piece[4096];
    size_t left = in ? n : 0;
    if (!in) out->failed = 1;
    while (left > 0 && !out->failed) {
        char *to = piece;
        size_t room = sizeof piece;
        const size_t r = iconv(cd, &at, &left, &to, &room);
        loam_buf_append(out, piece, sizeof piece - room);
        if (r != (size_t)-1 || errno == E2BIG) continue;
        put_code(out, REPLACEMENT);
        if (errno == EINVAL) break; /* cut inside a character */
        at++;
        left--;
    }
    iconv_close(cd);
    free(in);
    return 1;
}

static int is_one_of(const char *name, const char *const *list) {
    for (; *list; list++)
        if (strcasecmp(name, *list) == 0) return 1;
    return 0;
}

/* The names under which pages declare Latin-1 mean Windows-1252 (WHATWG's encoding standard). */
static const char *const LATIN1_NAMES[] = {
    "iso-8859-1", "iso8859-1", "latin1",       "latin-1",    "l1",   "ascii", "us-ascii",
    "cp1252",     "x-cp1252",  "windows-1252", "iso_8859-1", "ansi", NULL};
static const char *const UTF8_NAMES[] = {"utf-8", "utf8", "unicode-1-1-utf-8", NULL};

/* UTF-16 without a mark: every other byte is NUL in most of it.  'l', 'b' or 0. */
static int guess_utf16(const char *bytes, size_t n) {
    const size_t look = n < 4096 ? n & ~(size_t)1 : 4096;
    size_t even = 0, odd = 0;
    for (size_t i = 0; i < look; i += 2) {
        even += bytes[i] == 0;
        odd += bytes[i + 1] == 0;
    }
    if (look < 16) return 0;
    if (odd * 10 > look * 4 && even * 50 < look) return 'l';
    if (even * 10 > look * 4 && odd * 50 < look) return 'b';
    return 0;
}

/* Without a mark or a declared charset. */
static loam_status decode_guess(const char *bytes, size_t n, int declared_utf8, loam_buf *out,
                                loam_err *err) {
    const int utf16 = guess_utf16(bytes, n);
    if (utf16) {
        decode_utf16(bytes, n, utf16 == 'b', out);
        return LOAM_OK;
    }
    const survey s = survey_bytes(bytes, n);
    const size_t allowed = s.n_bad ? n / 50 : n / 4 + 64;
    if (s.n_controls > allowed)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "binary data, not text (%zu control characters in %zu bytes)",
                         s.n_controls, n);
    if (s.n_bad == 0 || declared_utf8 || s.n_multi > 4 * s.n_bad) {
        decode_utf8(bytes, n, out);
        return LOAM_OK;
    }
    if (s.n_high * 3 > n && n > 64)
        return loam_fail(err, LOAM_ERR_FORMAT,
                         "neither UTF-8 nor Latin-1 text: convert it to UTF-8 (iconv)");
    decode_cp1252(bytes, n, out);
    return LOAM_OK;
}

/* Line ends and control characters of out->data[from ..], in place: it only gets shorter. */
static void clean_controls(loam_buf *out, size_t from) {
    size_t to = from;
    for (size_t i = from; i < out->n; i++) {
        unsigned char c = (unsigned char)out->data[i];
        if (c == '\r') {
            if (i + 1 < out->n && out->data[i + 1] == '\n') continue;
            c = '\n';
        } else if ((c < 0x20 && c != '\t' && c != '\n' && c != '\f') || c == 0x7F) {
            c = ' ';
        } else if (c == 0xC2 && i + 1 < out->n && (unsigned char)out->data[i + 1] < 0xA0) {
            c = ' '; /* C1: U+0080 .. U+009F */
            i++;
        }
        out->data[to++] = (char)c;
    }
    out->n = to;
    if (out->data) out->data[to] = '\0';
}

loam_status loam_text_decode(const char *bytes, size_t n, const char *charset, loam_buf *out,
                             loam_err *err) {
    const unsigned char *p = (const unsigned char *)bytes;
    const size_t from = out->n;
    loam_status st = LOAM_OK;

    if (n >= 4 && (memcmp(p, "\0\0\xFE\xFF", 4) == 0 || memcmp(p, "\xFF\xFE\0\0", 4) == 0))
        return loam_fail(err, LOAM_ERR_UNSUPPORTED, "UTF-32 text: convert it to UTF-8 (iconv)");
    if (n >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0)
        st = decode_guess(bytes + 3, n - 3, 1, out, err);
    else if (n >= 2 && p[0] == 0xFF && p[1] == 0xFE)
        decode_utf16(bytes + 2, n - 2, 0, out);
    else if (n >= 2 && p[0] == 0xFE && p[1] == 0xFF)
        decode_utf16(bytes + 2, n - 2, 1, out);
    else if (charset && is_one_of(charset, LATIN1_NAMES))
        decode_cp1252(bytes, n, out);
    else if (charset && is_one_of(charset, UTF8_NAMES))
        decode_utf8(bytes, n, out);
    else if (charset && strncasecmp(charset, "utf-16", 6) != 0 &&
             decode_iconv(bytes, n, charset, out))
        st = LOAM_OK;
    else
        st = decode_guess(bytes, n, 0, out, err);
    if (st) return st;
    if (out->failed) return loam_fail(err, LOAM_ERR_MEMORY, "text of %zu bytes", n);
    clean_controls(out, from);
    return LOAM_OK;
}
